/*-------------------------------------------------------------------------
 *
 * sink.h
 *	  A topic of a database as a consumer of Kafka: what its parts share.
 *
 * from_kafka.c reads Kafka, append.c writes to the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SINK_H
#define SINK_H

#include <libpq-fe.h>
#include <signal.h>

#include "broker.h"
#include "client/buffer.h"

typedef struct SinkOptions
{
	BrokerOptions broker;
	const char *database;		/* connection string */
	const char *name;			/* of the consumer group, and of its offsets */
	const char *topics;			/* of Kafka */
	const char *into;			/* topic of ours, as SQL has it */
	const char *value_column;	/* NULL: the members of the value are columns */
	bool		value_is_text;	/* and not JSON */
	const char *key_column;		/* of what records have besides; NULL: left
								 * out */
	const char *topic_column;
	const char *partition_column;
	const char *offset_column;
	const char *time_column;
	bool		start_at_end;	/* of partitions without an offset */
	bool		skip_gaps;		/* of records that Kafka has removed unread */
	bool		dead_letters;	/* keep records that are refused, and go on */
	int64_t		batch_rows;
} SinkOptions;

/* A partition whose records we get. */
typedef struct Assigned
{
	char	   *topic;
	int32_t		partition;
	int64_t		next;			/* offset that the database has */
	int64_t		taken;			/* where the batch brings it to; -1: nowhere */
	int64_t		end;			/* where it has ended, with no record since;
								 * -1: it goes on */
} Assigned;

typedef struct Sink
{
	const SinkOptions *options;
	rd_kafka_t *client;
	PGconn	   *connection;
	char	   *into;			/* OID of the topic, as text */
	char	   *append_sql;
	rd_kafka_message_t **batch; /* records that were read, and not yet written */
	int			count;
	size_t		bytes;			/* that these have */
	Assigned   *assigned;
	int			nassigned;
	Outcome		rebalanced;		/* how taking over partitions went */
} Sink;

/* --- append.c --- */

typedef enum WriteResult
{
	WRITE_DONE,
	WRITE_REFUSED,				/* what is in the records cannot be an event */
	WRITE_RETRY,
	WRITE_FAILED
} WriteResult;

/* Connect, make what is not there, and look at the topic. */
extern Outcome append_open(Sink *sink);
extern void append_close(Sink *sink);

/*
 * The offset at which to go on, of a partition that we get; if it has none yet, it
 * begins at "start".
 */
extern Outcome append_get_offset(Sink *sink, const char *topic, int32_t partition, int64_t start, int64_t *next);

/*
 * Append so many records, and move the offsets of their partitions, in one transaction.  *error is what the server
 * says to WRITE_REFUSED, for free().
 */
extern WriteResult append_records(Sink *sink, rd_kafka_message_t **records, int count, char **error);

/* Move the offset of a partition to its end, which is behind its last record. */
extern WriteResult append_end(Sink *sink, Assigned *assigned);

/* Put one record among the dead letters, and move the offset, in one transaction. */
extern WriteResult append_dead_letter(Sink *sink, rd_kafka_message_t *record, const char *error);

/* --- from_kafka.c --- */

/* The partition of a record; it is assigned. */
extern Assigned *sink_find(Sink *sink, const rd_kafka_message_t *record);

/* The program, in this direction; its exit status. */
extern int	from_kafka(int argc, char **argv);

#endif							/* SINK_H */
