/*-------------------------------------------------------------------------
 *
 * broker.c
 *	  What both directions need of Kafka: see broker.h.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "client/log.h"
#include "client/memory.h"

/* Errors that a person has to mend; all others may pass. */
static const rd_kafka_resp_err_t permanent[] = {
	RD_KAFKA_RESP_ERR__AUTHENTICATION,
	RD_KAFKA_RESP_ERR__INVALID_ARG,
	RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE,
	RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
	RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
	RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
	RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
	RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
	RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT,
	RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
	RD_KAFKA_RESP_ERR_INVALID_RECORD,
	RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
	RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
	RD_KAFKA_RESP_ERR_INVALID_PARTITIONS,
	RD_KAFKA_RESP_ERR_INVALID_CONFIG,
};

Outcome
broker_error(rd_kafka_resp_err_t error, const char *what, const char *message)
{
	bool		passes = true;

	for (size_t i = 0; i < sizeof(permanent) / sizeof(permanent[0]); i++)
		passes = passes && error != permanent[i];
	client_log(passes ? CLIENT_WARNING : CLIENT_ERROR, "could not %s: %s", what,
			   message ? message : rd_kafka_err2str(error));
	return passes ? OUTCOME_RETRY : OUTCOME_FAILED;
}

static void
log_line(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
	(void) client;
	/* what librdkafka says of connections that come back is not worth more */
	client_log(level <= 3 ? CLIENT_WARNING : CLIENT_DEBUG, "librdkafka: %s: %s", facility, text);
}

static void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		client_fatal("property \"%s\" of Kafka cannot be set to \"%s\": %s", name, value, error);
}

/* name=value; name=value */
static void
set_user_properties(rd_kafka_conf_t *conf, const char *list)
{
	char	   *copy = client_strdup(list);
	char	   *rest = copy;
	char	   *item;

	while ((item = strsep(&rest, ";")) != NULL)
	{
		char	   *value = strchr(item, '=');
		char	   *end = item + strlen(item);

		while (isspace((unsigned char) *item))
			item++;
		while (end > item && isspace((unsigned char) end[-1]))
			*--end = '\0';
		if (*item == '\0')
			continue;
		if (value == NULL)
			client_fatal("\"%s\" is no property of Kafka: give name=value", item);
		*value++ = '\0';
		set_property(conf, item, value);
	}
	free(copy);
}

static rd_kafka_conf_t *
configure(const BrokerOptions *options, const BrokerProperty *properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	rd_kafka_conf_set_log_cb(conf, log_line);
	set_property(conf, "client.id", "pg_derive_kafka");
	set_property(conf, "bootstrap.servers", options->brokers);
	/* a broker that restarts is tried again soon */
	set_property(conf, "reconnect.backoff.max.ms", "1000");
	set_property(conf, "topic.metadata.refresh.fast.interval.ms", "100");
	if (options->properties)
		set_user_properties(conf, options->properties);
	for (; properties->name != NULL; properties++)
		set_property(conf, properties->name, properties->value);
	return conf;
}

static rd_kafka_t *
make_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		error[512];
	rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof(error));

	if (client == NULL)
		client_fatal("there can be no client of Kafka: %s", error);
	return client;
}

rd_kafka_t *
broker_client(rd_kafka_type_t type, const BrokerOptions *options, const BrokerProperty *properties)
{
	return make_client(type, configure(options, properties));
}

rd_kafka_t *
broker_consumer(const BrokerOptions *options, const BrokerProperty *properties, BrokerRebalance rebalance, void *arg)
{
	rd_kafka_conf_t *conf = configure(options, properties);

	rd_kafka_conf_set_rebalance_cb(conf, rebalance);
	rd_kafka_conf_set_opaque(conf, arg);
	return make_client(RD_KAFKA_CONSUMER, conf);
}


/* ----------------------------------------------------------------
 *		Topics
 * ----------------------------------------------------------------
 */

/* The answer to a request of this kind, for rd_kafka_event_destroy(); NULL if there is none in time. */
static rd_kafka_event_t *
wait_for_answer(rd_kafka_queue_t *queue)
{
	return rd_kafka_queue_poll(queue, BROKER_TIMEOUT + 5000);
}

static rd_kafka_AdminOptions_t *
admin_options(rd_kafka_t *client, rd_kafka_admin_op_t operation)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client, operation);
	char		error[256];

	(void) rd_kafka_AdminOptions_set_request_timeout(options, BROKER_TIMEOUT, error, sizeof(error));
	return options;
}

static Outcome
created(rd_kafka_event_t *answer, const char *what)
{
	const rd_kafka_topic_result_t **results;
	rd_kafka_resp_err_t error;
	size_t		count;

	if (answer == NULL)
		return broker_error(RD_KAFKA_RESP_ERR__TIMED_OUT, what, NULL);
	if (rd_kafka_event_error(answer))
		return broker_error(rd_kafka_event_error(answer), what, rd_kafka_event_error_string(answer));
	results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer), &count);
	error = rd_kafka_topic_result_error(results[0]);
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return OUTCOME_OK;
	return broker_error(error, what, rd_kafka_topic_result_error_string(results[0]));
}

Outcome
broker_create_topic(rd_kafka_t *client, const char *topic, int partitions, int replication,
					const BrokerProperty *properties)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	rd_kafka_AdminOptions_t *options = admin_options(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	char	   *what = client_sprintf("create the Kafka topic \"%s\"", topic);
	char		error[256];
	rd_kafka_NewTopic_t *new_topic = rd_kafka_NewTopic_new(topic, partitions, replication, error, sizeof(error));
	rd_kafka_event_t *answer;
	Outcome		outcome;

	if (new_topic == NULL)
		client_fatal("could not %s: %s", what, error);
	for (; properties->name != NULL; properties++)
		(void) rd_kafka_NewTopic_set_config(new_topic, properties->name, properties->value);
	rd_kafka_CreateTopics(client, &new_topic, 1, options, queue);
	answer = wait_for_answer(queue);
	outcome = created(answer, what);
	if (answer)
		rd_kafka_event_destroy(answer);
	rd_kafka_NewTopic_destroy(new_topic);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	free(what);
	return outcome;
}

Outcome
broker_partitions(rd_kafka_t *client, const char *topic, int *partitions)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, handle, &metadata, BROKER_TIMEOUT);

	*partitions = 0;
	rd_kafka_topic_destroy(handle);
	if (error)
		return broker_error(error, "ask for the partitions of a Kafka topic", NULL);
	error = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
		*partitions = metadata->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(metadata);
	if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return OUTCOME_OK;
	return broker_error(error, "ask for the partitions of a Kafka topic", NULL);
}

static Outcome
described(rd_kafka_event_t *answer, const char *name, char **value)
{
	const char *what = "ask for the properties of a Kafka topic";
	const rd_kafka_ConfigResource_t **resources;
	const rd_kafka_ConfigEntry_t **entries;
	size_t		count;

	if (answer == NULL)
		return broker_error(RD_KAFKA_RESP_ERR__TIMED_OUT, what, NULL);
	if (rd_kafka_event_error(answer))
		return broker_error(rd_kafka_event_error(answer), what, rd_kafka_event_error_string(answer));
	resources = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(answer), &count);
	if (rd_kafka_ConfigResource_error(resources[0]))
		return broker_error(rd_kafka_ConfigResource_error(resources[0]), what,
							rd_kafka_ConfigResource_error_string(resources[0]));
	entries = rd_kafka_ConfigResource_configs(resources[0], &count);
	for (size_t i = 0; i < count; i++)
	{
		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0 && rd_kafka_ConfigEntry_value(entries[i]))
			*value = client_strdup(rd_kafka_ConfigEntry_value(entries[i]));
	}
	return OUTCOME_OK;
}

Outcome
broker_topic_property(rd_kafka_t *client, const char *topic, const char *name, char **value)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	rd_kafka_AdminOptions_t *options = admin_options(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
	rd_kafka_event_t *answer;
	Outcome		outcome;

	*value = NULL;
	rd_kafka_DescribeConfigs(client, &resource, 1, options, queue);
	answer = wait_for_answer(queue);
	outcome = described(answer, name, value);
	if (answer)
		rd_kafka_event_destroy(answer);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return outcome;
}
