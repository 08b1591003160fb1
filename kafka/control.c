/*-------------------------------------------------------------------------
 *
 * control.c
 *	  How far a source has come, kept in Kafka itself: see control.h.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/log.h"
#include "client/memory.h"
#include "control.h"
#include "event.h"
#include "topic_reader.h"

#define POSITION_KEY "position"
#define LOADED_PREFIX "loaded "

/* For the handler of records. */
typedef struct Reading
{
	Control    *control;
	RelationSet *relations;
	bool		broken;
} Reading;

static char *
loaded_key(const Relation *relation)
{
	return client_sprintf(LOADED_PREFIX "%s.%s", relation->schema_json, relation->table_json);
}

static void
take_position(Reading *reading, Span value)
{
	Control    *control = reading->control;
	Span		system = json_member(value, span_of("system"));

	free(control->system);
	control->system = NULL;
	control->timeline = number_parse(json_member(value, span_of("timeline")));
	if (system.data && lsn_parse(json_member(value, span_of("lsn")), &control->lsn))
	{
		system = json_inside(system);
		control->system = client_strndup(system.data, system.length);
	}
	else
		reading->broken = true;
}

static void
remove_unknown(Control *control, Span key)
{
	for (int i = 0; i < control->nunknown; i++)
	{
		if (span_is(key, control->unknown[i]))
		{
			free(control->unknown[i]);
			control->unknown[i] = control->unknown[--control->nunknown];
			return;
		}
	}
}

static void
take_unknown(Control *control, Span key, bool loaded)
{
	remove_unknown(control, key);
	if (!loaded)
		return;
	control->unknown = client_realloc(control->unknown, sizeof(char *) * (control->nunknown + 1));
	control->unknown[control->nunknown++] = client_strndup(key.data, key.length);
}

static bool
take_identity(Relation *relation, Span value)
{
	Span		oid = json_member(value, span_of("oid"));
	Span		key = json_member(value, span_of("key"));

	free(relation->loaded_as);
	relation->loaded_as = client_sprintf("\"oid\":%.*s,\"key\":%.*s", (int) oid.length, oid.data ? oid.data : "",
										 (int) key.length, key.data ? key.data : "");
	return lsn_parse(json_member(value, span_of("lsn")), &relation->loaded_lsn);
}

static void
take_loaded(Reading *reading, Span key, Span value)
{
	for (int i = 0; i < reading->relations->count; i++)
	{
		Relation   *relation = &reading->relations->relations[i];
		char	   *own = loaded_key(relation);
		bool		found = span_is(key, own);

		free(own);
		if (!found)
			continue;
		relation->loaded = value.data != NULL;
		if (relation->loaded && !take_identity(relation, value))
			reading->broken = true;
		return;
	}
	take_unknown(reading->control, key, value.data != NULL);
}

static Outcome
take_record(void *arg, const rd_kafka_message_t *record)
{
	Reading    *reading = arg;
	Span		key = {record->key, record->key_len};
	Span		value = {record->payload, record->len};

	if (key.data == NULL)
		return OUTCOME_OK;
	if (span_is(key, POSITION_KEY))
		take_position(reading, value);
	else if (key.length > strlen(LOADED_PREFIX) && memcmp(key.data, LOADED_PREFIX, strlen(LOADED_PREFIX)) == 0)
		take_loaded(reading, key, value);
	return OUTCOME_OK;
}

/* That it may lose nothing, and that there is one order of its records. */
static Outcome
check_topic(const Control *control, Producer *producer)
{
	char	   *policy;
	int			partitions;
	Outcome		outcome = broker_partitions(producer->client, control->topic, &partitions);

	if (outcome == OUTCOME_OK)
		outcome = broker_topic_property(producer->client, control->topic, "cleanup.policy", &policy);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (partitions == 0)
		outcome = broker_error(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "find the control topic", NULL);
	else if (partitions != 1 || policy == NULL || strcmp(policy, "compact") != 0)
	{
		client_log(CLIENT_ERROR, "the Kafka topic \"%s\" must have one partition and cleanup.policy=compact", control->topic);
		outcome = OUTCOME_FAILED;
	}
	free(policy);
	return outcome;
}

Outcome
control_open(Control *control, const BrokerOptions *options, Producer *producer, const char *source,
			 int replication, RelationSet *relations)
{
	/* a record for each transaction is soon of no use */
	const BrokerProperty properties[] = {
		{"cleanup.policy", "compact"},
		{"segment.ms", "3600000"},
		{"segment.bytes", "16777216"},
		{replication >= 3 ? "min.insync.replicas" : NULL, "2"},
		{NULL, NULL}
	};
	Reading		reading = {control, relations, false};
	Outcome		outcome;

	memset(control, 0, sizeof(*control));
	control->topic = client_sprintf("%s.control", source);
	for (int i = 0; i < relations->count; i++)
	{
		relations->relations[i].loaded = false;
		relations->relations[i].loaded_lsn = 0;
	}
	outcome = broker_create_topic(producer->client, control->topic, 1, replication, properties);
	if (outcome == OUTCOME_OK)
		outcome = check_topic(control, producer);
	if (outcome == OUTCOME_OK)
		outcome = topic_read(options, control->topic, 1, false, take_record, &reading);
	if (outcome == OUTCOME_OK && reading.broken)
	{
		client_log(CLIENT_ERROR, "the Kafka topic \"%s\" has records that are not ours", control->topic);
		outcome = OUTCOME_FAILED;
	}
	if (outcome == OUTCOME_OK)
		control->handle = rd_kafka_topic_new(producer->client, control->topic, NULL);
	return outcome;
}

void
control_close(Control *control)
{
	if (control->handle)
		rd_kafka_topic_destroy(control->handle);
	for (int i = 0; i < control->nunknown; i++)
		free(control->unknown[i]);
	free(control->unknown);
	free(control->system);
	free(control->topic);
	memset(control, 0, sizeof(*control));
}

/* A record; a value that is NULL is a tombstone. */
static Outcome
write_record(Control *control, Producer *producer, const char *key, const char *value)
{
	return producer_send(producer, control->handle, 0, span_of(key),
						 value ? span_of(value) : no_span(), NULL);
}

Outcome
control_write_position(Control *control, Producer *producer, uint64_t lsn, uint32_t timeline, const char *system)
{
	char		value[128];

	snprintf(value, sizeof(value), "{\"lsn\":\"%X/%X\",\"timeline\":%u,\"system\":\"%.32s\"}",
			 (unsigned) (lsn >> 32), (unsigned) lsn, (unsigned) timeline, system);
	return write_record(control, producer, POSITION_KEY, value);
}

Outcome
control_write_loaded(Control *control, Producer *producer, const Relation *relation)
{
	char	   *key = loaded_key(relation);
	char	   *value = NULL;
	Outcome		outcome;

	if (relation->loaded)
		value = client_sprintf("{\"lsn\":\"%X/%X\",%s}", (unsigned) (relation->loaded_lsn >> 32), (unsigned) relation->loaded_lsn,
							   relation->loaded_as);
	outcome = write_record(control, producer, key, value);
	free(value);
	free(key);
	return outcome;
}

Outcome
control_write_schema(Control *control, Producer *producer, const Relation *relation)
{
	char	   *key = client_sprintf("schema %s %s", relation->topic, relation->schema_id);
	Outcome		outcome = write_record(control, producer, key, relation->columns);

	free(key);
	return outcome;
}

Outcome
control_forget_unknown(Control *control, Producer *producer)
{
	Outcome		outcome = OUTCOME_OK;

	while (outcome == OUTCOME_OK && control->nunknown > 0)
	{
		char	   *key = control->unknown[--control->nunknown];

		outcome = write_record(control, producer, key, NULL);
		free(key);
	}
	return outcome;
}
