/*-------------------------------------------------------------------------
 *
 * source.h
 *	  A database as a source of records for Kafka: what its parts share.
 *
 * to_kafka.c follows the event stream, load.c brings the rows that were there before,
 * emit.c makes records of both.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SOURCE_H
#define SOURCE_H

#include <libpq-fe.h>
#include <signal.h>

#include "control.h"
#include "producer.h"
#include "record.h"
#include "relation.h"
#include "stream.h"

typedef struct SourceOptions
{
	BrokerOptions broker;
	const char *database;		/* connection string */
	const char *name;			/* of the source */
	const char *relations;
	const char *keyless;
	const char *slot;			/* NULL: kafka_NAME */
	int64_t		partitions;		/* of the topics that we make */
	int64_t		replication;	/* of those, too; -1: as the brokers are set */
	int64_t		commit_interval;	/* ms */
	int64_t		position_interval;	/* ms */
	int64_t		transaction_timeout;	/* ms */
	bool		reload_lost;	/* load anew where the slot is lost, and do
								 * not stop */
} SourceOptions;

/* One attempt: from connecting to whatever ends it. */
typedef struct Source
{
	const SourceOptions *options;
	RelationSet relations;
	char	   *slot;
	PGconn	   *connection;		/* for the catalog */
	char	   *system;			/* the cluster's identifier */
	uint32_t	timeline;
	uint64_t	end_of_log;		/* when we have connected */
	uint64_t	slot_begin;		/* and what the slot had been told of then */
	Stream		stream;
	Producer	producer;
	Control		control;
	RecordOrigin origin;		/* of the records that are made */
	ClientBuffer key;			/* of the present record */
	ClientBuffer old_key;
	ClientBuffer value;
	bool		diverged;		/* Kafka has transactions of another timeline,
								 * which this one does not have */
	bool		waiting;		/* for the slot; it was said */
	bool		in_transaction; /* of the event stream */
	bool		skipped;		/* it is in Kafka already */
	bool		reload;			/* a relation has to be loaded before we go on */
	uint64_t	done;			/* all transactions before this have been sent */
	int64_t		moved_at;		/* when the position was written, in ms */
	int64_t		begun_at;		/* when the transaction in Kafka was begun */
} Source;

/* Set when the program is to end. */
extern volatile sig_atomic_t source_stopping;

/* --- emit.c: a record for each of these, in the producer's transaction --- */

/* A row of the initial contents; its key stays in source->key. */
extern Outcome emit_row(Source *source, Relation *relation, Span row);

/* A change. */
extern Outcome emit_insert(Source *source, Relation *relation, Span new_row, const Span unavailable[2]);
extern Outcome emit_update(Source *source, Relation *relation, Span old_row, Span new_row, const Span unavailable[2]);
extern Outcome emit_delete(Source *source, Relation *relation, Span old_row, const Span unavailable[2]);

/* The deletes of all rows that the topic has, with those of the transaction in Kafka that is open. */
extern Outcome emit_truncate(Source *source, Relation *relation);

/* The delete of a row of which only the key is known. */
extern Outcome emit_delete_of_key(Source *source, Relation *relation, Span key);

/* Every partition of a topic without keys hears that all rows are gone. */
extern Outcome emit_truncate_keyless(Source *source, Relation *relation, int partitions);

/* --- load.c --- */

/* Bring the initial rows of all relations that are not loaded. */
extern Outcome load_relations(Source *source);

/* --- to_kafka.c --- */

/* The program, in this direction; its exit status. */
extern int	to_kafka(int argc, char **argv);

#endif							/* SOURCE_H */
