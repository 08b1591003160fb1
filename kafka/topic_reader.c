/*-------------------------------------------------------------------------
 *
 * topic_reader.c
 *	  All that a Kafka topic has at the moment: see topic_reader.h.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "client/log.h"
#include "client/memory.h"
#include "topic_reader.h"

/* From where to where to read a partition. */
typedef struct Range
{
	int64_t		from;
	int64_t		to;
	bool		done;			/* that was read */
} Range;

static rd_kafka_t *
reader(const BrokerOptions *options, const char *isolation)
{
	const BrokerProperty properties[] = {
		{"group.id", "pg_derive_kafka"},	/* is not joined */
		{"enable.auto.commit", "false"},
		{"enable.partition.eof", "true"},
		{"auto.offset.reset", "error"},
		{"isolation.level", isolation},
		{"fetch.wait.max.ms", "50"},
		{NULL, NULL}
	};

	return broker_client(RD_KAFKA_CONSUMER, options, properties);
}

/* Up to where this reader would come, for each partition. */
static Outcome
find_ends(rd_kafka_t *client, const char *topic, int partitions, Range *ranges)
{
	for (int i = 0; i < partitions; i++)
	{
		int64_t		begin;
		rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(client, topic, i, &begin, &ranges[i].to, BROKER_TIMEOUT);

		if (error)
			return broker_error(error, "ask for the end of a Kafka topic", NULL);
		if (ranges[i].from < begin)
			ranges[i].from = begin;
	}
	return OUTCOME_OK;
}

/*
 * Has this end of a partition brought it to where it ended when we have asked?  A replica that is behind, or has just
 * become the leader, may have an end that is before.  The same end may come again.
 */
static bool
is_end(Range *range, const rd_kafka_message_t *record)
{
	if (range->done || record->offset < range->to)
		return false;
	return range->done = true;
}

/* Read what is assigned until each of its partitions has come to its end. */
static Outcome
read_to_ends(rd_kafka_t *client, int open_ends, Range *ranges, TopicRecordHandler handler, void *arg)
{
	while (open_ends > 0)
	{
		rd_kafka_message_t *record = rd_kafka_consumer_poll(client, BROKER_TIMEOUT);
		Outcome		outcome = OUTCOME_OK;

		if (record == NULL)
			return broker_error(RD_KAFKA_RESP_ERR__TIMED_OUT, "read a Kafka topic", NULL);
		if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			outcome = handler(arg, record);
		else if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			open_ends -= is_end(&ranges[record->partition], record);
		else if (record->err != RD_KAFKA_RESP_ERR__TRANSPORT && record->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
			outcome = broker_error(record->err, "read a Kafka topic", rd_kafka_message_errstr(record));
		rd_kafka_message_destroy(record);
		if (outcome != OUTCOME_OK)
			return outcome;
	}
	return OUTCOME_OK;
}

/* One pass, with this isolation level; then the ranges begin where it has ended. */
static Outcome
read_pass(const BrokerOptions *options, const char *topic, int partitions, const char *isolation,
		  Range *ranges, TopicRecordHandler handler, void *arg)
{
	rd_kafka_t *client = reader(options, isolation);
	rd_kafka_topic_partition_list_t *assigned = rd_kafka_topic_partition_list_new(partitions);
	Outcome		outcome = find_ends(client, topic, partitions, ranges);

	for (int i = 0; outcome == OUTCOME_OK && i < partitions; i++)
	{
		ranges[i].done = false;
		if (ranges[i].from < ranges[i].to)
			rd_kafka_topic_partition_list_add(assigned, topic, i)->offset = ranges[i].from;
		ranges[i].from = ranges[i].to;
	}
	if (outcome == OUTCOME_OK && assigned->cnt > 0)
	{
		rd_kafka_resp_err_t error = rd_kafka_assign(client, assigned);

		outcome = error ? broker_error(error, "read a Kafka topic", NULL) :
			read_to_ends(client, assigned->cnt, ranges, handler, arg);
	}
	rd_kafka_topic_partition_list_destroy(assigned);
	rd_kafka_consumer_close(client);
	rd_kafka_destroy(client);
	return outcome;
}

Outcome
topic_read(const BrokerOptions *options, const char *topic, int partitions, bool with_open,
		   TopicRecordHandler handler, void *arg)
{
	Range	   *ranges = client_alloc(sizeof(Range) * partitions);
	Outcome		outcome = read_pass(options, topic, partitions, "read_committed", ranges, handler, arg);

	if (outcome == OUTCOME_OK && with_open)
		outcome = read_pass(options, topic, partitions, "read_uncommitted", ranges, handler, arg);
	free(ranges);
	return outcome;
}
