/*-------------------------------------------------------------------------
 *
 * control.h
 *	  How far a source has come, kept in Kafka itself.
 *
 * The topic shop.control has one partition, is compacted, and is written by the
 * source "shop" only, in the same transactions as its records.  So after any crash what
 * it says is exactly what the other topics have.
 *
 *		key								value
 *		position						{"lsn":"0/16B3740","timeline":1,"system":"7577..."}
 *		loaded "public"."orders"		{"lsn":"0/16B3700","oid":16384,"key":[{"name":"id","type":"integer"}]}
 *		schema shop.public.orders 8f..	[{"name":"id","type":"integer","not_null":true}]
 *
 * position: every transaction whose commit record begins before lsn is in Kafka, of
 * the database cluster with this system identifier, on this timeline.  loaded: the initial rows of that
 * relation are, and contain all before lsn; it had this OID and key; a tombstone takes that back.  schema: what the
 * header "schema" of records stands for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "producer.h"
#include "relation.h"

typedef struct Control
{
	char	   *topic;
	rd_kafka_topic_t *handle;	/* of the producer */
	char	   *system;			/* NULL: nothing is there */
	uint64_t	lsn;
	uint32_t	timeline;		/* of that place in the log; 0: unknown */
	char	  **unknown;		/* keys of loaded relations that are not
								 * followed any more */
	int			nunknown;
} Control;

/*
 * Make the topic if it is not there, and read it: into control, and "loaded" of the relations, whose names in
 * JSON must be known.  The producer must be open: then nobody else writes.
 */
extern Outcome control_open(Control *control, const BrokerOptions *options, Producer *producer, const char *source,
							int replication, RelationSet *relations);
extern void control_close(Control *control);

/* Records of the producer's transaction. */
extern Outcome control_write_position(Control *control, Producer *producer, uint64_t lsn,
									  uint32_t timeline, const char *system);
extern Outcome control_write_loaded(Control *control, Producer *producer, const Relation *relation);
extern Outcome control_write_schema(Control *control, Producer *producer, const Relation *relation);

/* Take back that relations were loaded which are not followed any more. */
extern Outcome control_forget_unknown(Control *control, Producer *producer);

#endif							/* CONTROL_H */
