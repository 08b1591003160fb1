/*-------------------------------------------------------------------------
 *
 * producer.c
 *	  Records to Kafka, in transactions: see producer.h.
 *
 * librdkafka sends and repeats in threads of its own; what it could not deliver makes
 * the transaction one that cannot be committed, so that there is one place where
 * we hear of it.  A transaction that failed is never mended: we begin anew (outcome.h).
 *
 * Calls that wait return after some seconds, so that the server of the event stream
 * can be told that we are alive, and go on where they were.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/log.h"
#include "debug_point.h"
#include "producer.h"

#define STEP 3000				/* ms */

Outcome
producer_keep_alive(Producer *producer)
{
	return producer->keep_alive ? producer->keep_alive(producer->arg) : OUTCOME_OK;
}

/* Of a call for transactions; frees the error. */
static Outcome
transaction_error(rd_kafka_error_t *error, const char *what)
{
	rd_kafka_resp_err_t code = rd_kafka_error_code(error);
	Outcome		outcome;

	if (code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH ||
		code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED)
	{
		client_log(CLIENT_WARNING, "could not %s: another program with this name has taken over, or the transaction took too long",
				   what);
		outcome = OUTCOME_RETRY;
	}
	else
		outcome = broker_error(code, what, rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return outcome;
}

/* Call something that may have to be called again to go on waiting. */
static Outcome
insist(Producer *producer, rd_kafka_error_t *(*call) (rd_kafka_t *, int), const char *what)
{
	for (;;)
	{
		rd_kafka_error_t *error = call(producer->client, STEP);
		Outcome		outcome;

		if (error == NULL)
			return OUTCOME_OK;
		if (!rd_kafka_error_is_retriable(error))
			return transaction_error(error, what);
		client_log(CLIENT_DEBUG, "still trying to %s: %s", what, rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		outcome = producer_keep_alive(producer);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
}

Outcome
producer_open(Producer *producer, const BrokerOptions *options, const char *id, int64_t timeout_ms)
{
	char		timeout[32];
	const BrokerProperty properties[] = {
		{"transactional.id", id},
		{"transaction.timeout.ms", timeout},
		{"partitioner", "murmur2_random"},	/* as Java's clients */
		{"linger.ms", "20"},
		{"batch.size", "1000000"},
		{"queue.buffering.max.messages", "500000"},
		{"queue.buffering.max.kbytes", "262144"},
		{NULL, NULL}
	};

	snprintf(timeout, sizeof(timeout), "%" PRId64, timeout_ms);
	producer->client = broker_client(RD_KAFKA_PRODUCER, options, properties);
	producer->in_transaction = false;
	return insist(producer, rd_kafka_init_transactions, "become the producer of this name");
}

void
producer_close(Producer *producer)
{
	if (producer->client == NULL)
		return;
	if (producer->in_transaction)
	{
		rd_kafka_error_t *error = rd_kafka_abort_transaction(producer->client, STEP);

		/* the next producer of our id will do it */
		if (error)
			rd_kafka_error_destroy(error);
	}
	(void) rd_kafka_purge(producer->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	rd_kafka_destroy(producer->client);
	producer->client = NULL;
}

Outcome
producer_begin(Producer *producer)
{
	rd_kafka_error_t *error;

	if (producer->in_transaction)
		return OUTCOME_OK;
	error = rd_kafka_begin_transaction(producer->client);
	if (error)
		return transaction_error(error, "begin a transaction in Kafka");
	producer->in_transaction = true;
	producer->records = 0;
	return OUTCOME_OK;
}

static rd_kafka_error_t *
try_to_send(Producer *producer, rd_kafka_topic_t *topic, int32_t partition, Span key, Span value, const char *schema_id)
{
	rd_kafka_vu_t parts[6];
	size_t		count = 0;

	parts[count].vtype = RD_KAFKA_VTYPE_RKT;
	parts[count++].u.rkt = topic;
	parts[count].vtype = RD_KAFKA_VTYPE_PARTITION;
	parts[count++].u.i32 = partition;
	parts[count].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	parts[count++].u.i = RD_KAFKA_MSG_F_COPY;
	parts[count].vtype = RD_KAFKA_VTYPE_KEY;
	parts[count].u.mem.ptr = (void *) key.data;
	parts[count++].u.mem.size = key.length;
	parts[count].vtype = RD_KAFKA_VTYPE_VALUE;
	parts[count].u.mem.ptr = (void *) value.data;
	parts[count++].u.mem.size = value.length;
	if (schema_id)
	{
		parts[count].vtype = RD_KAFKA_VTYPE_HEADER;
		parts[count].u.header.name = "schema";
		parts[count].u.header.val = schema_id;
		parts[count++].u.header.size = (ssize_t) strlen(schema_id);
	}
	return rd_kafka_produceva(producer->client, parts, count);
}

Outcome
producer_send(Producer *producer, rd_kafka_topic_t *topic, int32_t partition, Span key, Span value,
			  const char *schema_id)
{
	for (;;)
	{
		rd_kafka_error_t *error = try_to_send(producer, topic, partition, key, value, schema_id);
		Outcome		outcome;

		if (error == NULL)
			break;
		if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			return transaction_error(error, "send a record");
		rd_kafka_error_destroy(error);
		rd_kafka_poll(producer->client, 10);
		outcome = producer_keep_alive(producer);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
	if (++producer->records % 1024 == 0)
		rd_kafka_poll(producer->client, 0);
	return OUTCOME_OK;
}

Outcome
producer_flush(Producer *producer)
{
	char		message[512];

	while (rd_kafka_flush(producer->client, STEP) == RD_KAFKA_RESP_ERR__TIMED_OUT)
	{
		rd_kafka_resp_err_t error = rd_kafka_fatal_error(producer->client, message, sizeof(message));
		Outcome		outcome;

		if (error)
			return broker_error(error, "deliver records to Kafka", message);
		outcome = producer_keep_alive(producer);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
	return OUTCOME_OK;
}

Outcome
producer_commit(Producer *producer)
{
	Outcome		outcome;

	debug_point("before_commit");
	outcome = insist(producer, rd_kafka_commit_transaction, "commit a transaction in Kafka");
	if (outcome == OUTCOME_OK)
	{
		producer->in_transaction = false;
		debug_point("after_commit");
	}
	return outcome;
}
