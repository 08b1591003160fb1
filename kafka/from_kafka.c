/*-------------------------------------------------------------------------
 *
 * from_kafka.c
 *	  From Kafka to a topic of the database.
 *
 * A consumer of a group gets partitions; for each it goes on at the offset that the
 * database has (append.c), whatever Kafka thinks of the group.  Records are gathered
 * for a moment, and become events of the topic in one transaction, which moves the
 * offsets, too.  So each record is an event once, and records of a partition are in their
 * order; where a batch is refused, its records are tried one by one, to find the one.
 *
 * Kafka is told of the offsets afterwards, for those who watch the group's lag.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <time.h>

#include "client/clock.h"
#include "client/log.h"
#include "client/memory.h"
#include "client/options.h"
#include "sink.h"
#include "stream.h"

/* How long records are gathered, and how long we rest before we begin anew, in ms. */
#define GATHER 20
#define PAUSE 1000

/* A batch is written when it has so many bytes. */
#define BATCH_BYTES (32 * 1024 * 1024)

static volatile sig_atomic_t stopping = 0;

static void
stop(int number)
{
	(void) number;
	stopping = 1;
}


/* ----------------------------------------------------------------
 *		Partitions
 * ----------------------------------------------------------------
 */

Assigned *
sink_find(Sink *sink, const rd_kafka_message_t *record)
{
	const char *topic = rd_kafka_topic_name(record->rkt);

	for (int i = 0; i < sink->nassigned; i++)
	{
		if (sink->assigned[i].partition == record->partition && strcmp(sink->assigned[i].topic, topic) == 0)
			return &sink->assigned[i];
	}
	client_fatal("a record of a partition that is not ours");
}

/* What was gathered is read again by whoever gets the partitions. */
static void
drop_batch(Sink *sink)
{
	for (int i = 0; i < sink->count; i++)
		rd_kafka_message_destroy(sink->batch[i]);
	sink->count = 0;
	sink->bytes = 0;
}

static void
give_up_partitions(Sink *sink)
{
	drop_batch(sink);
	for (int i = 0; i < sink->nassigned; i++)
		free(sink->assigned[i].topic);
	sink->nassigned = 0;
}

/* Where a partition begins, for us, if the database does not know it yet. */
static Outcome
find_start(Sink *sink, const char *topic, int32_t partition, int64_t *start)
{
	int64_t		low;
	int64_t		high;
	rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(sink->client, topic, partition, &low, &high, BROKER_TIMEOUT);

	if (error)
		return broker_error(error, "ask for the offsets of a partition", NULL);
	*start = sink->options->start_at_end ? high : low;
	return OUTCOME_OK;
}

static Outcome
take_partition(Sink *sink, rd_kafka_topic_partition_t *partition)
{
	Assigned   *assigned;
	int64_t		start = 0;
	Outcome		outcome = find_start(sink, partition->topic, partition->partition, &start);

	if (outcome == OUTCOME_OK)
		outcome = append_get_offset(sink, partition->topic, partition->partition, start, &partition->offset);
	if (outcome != OUTCOME_OK)
		return outcome;
	sink->assigned = client_realloc(sink->assigned, sizeof(Assigned) * (sink->nassigned + 1));
	assigned = &sink->assigned[sink->nassigned++];
	assigned->topic = client_strdup(partition->topic);
	assigned->partition = partition->partition;
	assigned->next = partition->offset;
	assigned->taken = -1;
	assigned->end = -1;
	client_log(CLIENT_INFO, "partition %d of \"%s\" from %lld on", (int) partition->partition, partition->topic,
			   (long long) partition->offset);
	return OUTCOME_OK;
}

/* Called from within the poll for records. */
static void
rebalance(rd_kafka_t *client, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *partitions, void *arg)
{
	Sink	   *sink = arg;

	give_up_partitions(sink);
	if (event != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
	{
		(void) rd_kafka_assign(client, NULL);
		return;
	}
	for (int i = 0; i < partitions->cnt && sink->rebalanced == OUTCOME_OK; i++)
		sink->rebalanced = take_partition(sink, &partitions->elems[i]);
	if (sink->rebalanced == OUTCOME_OK)
		(void) rd_kafka_assign(client, partitions);
	else
		(void) rd_kafka_assign(client, NULL);
}


/* ----------------------------------------------------------------
 *		Records
 * ----------------------------------------------------------------
 */

/* For those who watch the group; nothing depends on it. */
static void
tell_kafka(Sink *sink)
{
	rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(sink->nassigned);

	for (int i = 0; i < sink->nassigned; i++)
		rd_kafka_topic_partition_list_add(offsets, sink->assigned[i].topic, sink->assigned[i].partition)->offset = sink->assigned[i].next;
	(void) rd_kafka_commit(sink->client, offsets, 1);
	rd_kafka_topic_partition_list_destroy(offsets);
}

static Outcome
outcome_of(WriteResult write)
{
	return write == WRITE_DONE ? OUTCOME_OK : write == WRITE_FAILED ? OUTCOME_FAILED : OUTCOME_RETRY;
}

static Outcome
refuse(Sink *sink, rd_kafka_message_t *record, const char *error)
{
	client_log(sink->options->dead_letters ? CLIENT_WARNING : CLIENT_ERROR,
			   "record %lld of partition %d of \"%s\" cannot be an event: %s", (long long) record->offset,
			   (int) record->partition, rd_kafka_topic_name(record->rkt), error);
	if (!sink->options->dead_letters)
		return OUTCOME_FAILED;
	return outcome_of(append_dead_letter(sink, record, error));
}

/* Records of a batch that was refused. */
static Outcome
write_singly(Sink *sink)
{
	Outcome		outcome = OUTCOME_OK;

	for (int i = 0; i < sink->count && outcome == OUTCOME_OK; i++)
	{
		char	   *error;
		WriteResult write = append_records(sink, &sink->batch[i], 1, &error);

		outcome = write == WRITE_REFUSED ? refuse(sink, sink->batch[i], error) : outcome_of(write);
		free(error);
	}
	return outcome;
}

static Outcome
write_batch(Sink *sink)
{
	char	   *error;
	WriteResult write;
	Outcome		outcome;

	if (sink->count == 0)
		return OUTCOME_OK;
	write = append_records(sink, sink->batch, sink->count, &error);
	free(error);
	outcome = write == WRITE_REFUSED ? write_singly(sink) : outcome_of(write);
	drop_batch(sink);
	if (outcome == OUTCOME_OK)
		tell_kafka(sink);
	return outcome;
}

/*
 * Behind the last record of a partition may be the marks of transactions that are committed or aborted.  When
 * these are removed by Kafka, an offset before them would look as if records were gone that nobody has read.
 */
static Outcome
write_ends(Sink *sink)
{
	Outcome		outcome = OUTCOME_OK;
	bool		moved = false;

	for (int i = 0; i < sink->nassigned && outcome == OUTCOME_OK; i++)
	{
		if (sink->assigned[i].end <= sink->assigned[i].next)
			continue;
		outcome = outcome_of(append_end(sink, &sink->assigned[i]));
		moved = true;
	}
	if (outcome == OUTCOME_OK && moved)
		tell_kafka(sink);
	return outcome;
}

static Outcome
consumer_error(Sink *sink, const rd_kafka_message_t *record)
{
	switch (record->err)
	{
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
			client_log(CLIENT_WARNING, "waiting for Kafka: %s", rd_kafka_message_errstr(record));
			return OUTCOME_OK;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			client_log(CLIENT_ERROR, "records of \"%s\" are gone that \"%s\" has not read (%s); skip_gaps = on goes on without them",
					   sink->options->topics, sink->options->name, rd_kafka_message_errstr(record));
			return OUTCOME_FAILED;
		default:
			return broker_error(record->err, "read records", rd_kafka_message_errstr(record));
	}
}

static Outcome
take_record(Sink *sink, rd_kafka_message_t *record)
{
	Outcome		outcome;

	if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		sink_find(sink, record)->end = -1;
		sink->batch[sink->count++] = record;
		sink->bytes += record->len + record->key_len;
		return OUTCOME_OK;
	}
	if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
	{
		sink_find(sink, record)->end = record->offset;
		outcome = OUTCOME_OK;
	}
	else
		outcome = consumer_error(sink, record);
	rd_kafka_message_destroy(record);
	return outcome;
}

static Outcome
consume(Sink *sink)
{
	Outcome		outcome = OUTCOME_OK;
	int64_t		begun_at = 0;

	while (outcome == OUTCOME_OK && !stopping)
	{
		rd_kafka_message_t *record = rd_kafka_consumer_poll(sink->client, sink->count > 0 ? GATHER : 500);

		outcome = sink->rebalanced;
		if (record != NULL && outcome == OUTCOME_OK)
		{
			if (sink->count == 0)
				begun_at = client_now_ms();
			outcome = take_record(sink, record);
		}
		else if (record != NULL)
			rd_kafka_message_destroy(record);
		if (outcome == OUTCOME_OK &&
			(sink->count >= sink->options->batch_rows || sink->bytes >= BATCH_BYTES || (sink->count > 0 && (record == NULL || client_now_ms() - begun_at >= GATHER))))
			outcome = write_batch(sink);
		if (outcome == OUTCOME_OK && record == NULL)
			outcome = write_ends(sink);
	}
	return outcome;
}


/* ----------------------------------------------------------------
 *		The program
 * ----------------------------------------------------------------
 */

static Outcome
subscribe(Sink *sink)
{
	char	  **topics = client_split_list(sink->options->topics);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t error;

	for (char **topic = topics; *topic != NULL; topic++)
		rd_kafka_topic_partition_list_add(list, *topic, RD_KAFKA_PARTITION_UA);
	free(topics);
	error = rd_kafka_subscribe(sink->client, list);
	rd_kafka_topic_partition_list_destroy(list);
	return error ? broker_error(error, "subscribe", NULL) : OUTCOME_OK;
}

static Outcome
run(Sink *sink)
{
	const SinkOptions *options = sink->options;
	const BrokerProperty properties[] = {
		{"group.id", options->name},
		{"enable.auto.commit", "false"},
		{"enable.auto.offset.store", "false"},
		{"auto.offset.reset", options->skip_gaps ? "earliest" : "error"},
		{"enable.partition.eof", "true"},
		{"isolation.level", "read_committed"},
		{"partition.assignment.strategy", "range,roundrobin"},
		{"fetch.wait.max.ms", "100"},
		{NULL, NULL}
	};
	Outcome		outcome = append_open(sink);

	sink->rebalanced = OUTCOME_OK;
	if (outcome == OUTCOME_OK)
	{
		sink->client = broker_consumer(&options->broker, properties, rebalance, sink);
		rd_kafka_poll_set_consumer(sink->client);
		outcome = subscribe(sink);
	}
	if (outcome == OUTCOME_OK)
		outcome = consume(sink);
	if (sink->client)
	{
		drop_batch(sink);
		(void) rd_kafka_consumer_close(sink->client);
		rd_kafka_destroy(sink->client);
		sink->client = NULL;
	}
	give_up_partitions(sink);
	append_close(sink);
	return outcome;
}

int
from_kafka(int argc, char **argv)
{
	static SinkOptions options;
	static const char *log_level;
	static const ClientOption table[] = {
		{"name", CLIENT_STRING, &options.name, NULL, 0, 0, "Name of the consumer: its group in Kafka, and of its offsets in the database."},
		{"database", CLIENT_STRING, &options.database, NULL, 0, 0, "Connection string of the database."},
		{"brokers", CLIENT_STRING, &options.broker.brokers, "localhost:9092", 0, 0, "Brokers to begin with: host:port, ..."},
		{"kafka", CLIENT_STRING, &options.broker.properties, NULL, 0, 0, "Properties of librdkafka: name=value; ..."},
		{"topics", CLIENT_STRING, &options.topics, NULL, 0, 0, "Topics of Kafka to read."},
		{"into", CLIENT_STRING, &options.into, NULL, 0, 0, "Topic of the database (derive.create_topic) to append to."},
		{"value_column", CLIENT_STRING, &options.value_column, NULL, 0, 0, "Column for the whole value; if none is given, members of the value are columns."},
		{"value_is_text", CLIENT_BOOLEAN, &options.value_is_text, "off", 0, 0, "The value is text, and not JSON; with value_column."},
		{"key_column", CLIENT_STRING, &options.key_column, NULL, 0, 0, "Column for the key."},
		{"topic_column", CLIENT_STRING, &options.topic_column, NULL, 0, 0, "Column for the name of the topic of Kafka."},
		{"partition_column", CLIENT_STRING, &options.partition_column, NULL, 0, 0, "Column for the partition."},
		{"offset_column", CLIENT_STRING, &options.offset_column, NULL, 0, 0, "Column for the offset."},
		{"time_column", CLIENT_STRING, &options.time_column, NULL, 0, 0, "Column for the record's time."},
		{"start_at_end", CLIENT_BOOLEAN, &options.start_at_end, "off", 0, 0, "Begin with what comes, and not with what is there."},
		{"skip_gaps", CLIENT_BOOLEAN, &options.skip_gaps, "off", 0, 0, "Go on where Kafka has removed records that were not read."},
		{"dead_letters", CLIENT_BOOLEAN, &options.dead_letters, "off", 0, 0, "Keep records that cannot be events in a table, and go on."},
		{"batch_rows", CLIENT_INTEGER, &options.batch_rows, "5000", 1, 100000, "Records of a transaction, at most."},
		{"log_level", CLIENT_STRING, &log_level, "info", 0, 0, "error, warning, info or debug."},
		{NULL, CLIENT_STRING, NULL, NULL, 0, 0, NULL}
	};
	Sink		sink = {.options = &options};
	struct sigaction action = {.sa_handler = stop};
	const struct timespec pause = {.tv_sec = PAUSE / 1000};
	Outcome		outcome;

	client_options_read(table, argc, argv, "pg_derive_kafka from_kafka", PG_DERIVE_VERSION,
						"Appends records of Kafka to a topic of a database, each once.");
	client_log_set_level(log_level);
	if (options.name == NULL || options.database == NULL || options.topics == NULL || options.into == NULL)
		client_fatal("set name, database, topics and into");
	if (options.value_is_text && options.value_column == NULL)
		client_fatal("value_is_text goes with value_column");
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	sink.batch = client_alloc(sizeof(rd_kafka_message_t *) * options.batch_rows);
	do
	{
		outcome = run(&sink);
		if (outcome == OUTCOME_RETRY && !stopping)
			(void) nanosleep(&pause, NULL);
	} while (outcome != OUTCOME_FAILED && !stopping);
	free(sink.batch);
	free(sink.assigned);
	free(sink.into);
	free(sink.append_sql);
	client_log(CLIENT_INFO, "ends");
	return outcome == OUTCOME_FAILED ? 1 : 0;
}
