/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  The tables, topics and views that go to Kafka, and what is known of each.
 *
 * A relation public.orders of the source "shop" goes to the Kafka topic
 * shop.public.orders.  Its key is that of a unique index, which the event stream names
 * (option relations of the plugin), and the catalog before there is a stream.  Only an
 * index will do: it is what makes sure that a row is gone before another one has its
 * key, and so that the last record of a key in Kafka is the row that there is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELATION_H
#define RELATION_H

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/buffer.h"
#include "client/json_span.h"
#include "outcome.h"

#define SCHEMA_ID_LENGTH 16

typedef struct Relation
{
	char	   *schema;			/* as in the catalog */
	char	   *table;
	char	   *schema_json;	/* as in the event stream, with quotes */
	char	   *table_json;
	char	   *topic;			/* of Kafka */
	rd_kafka_topic_t *handle;	/* of the producer */
	bool		keyless;		/* records have no keys, by the user's wish */
	bool		is_view;		/* a materialized view */
	bool		loaded;			/* Kafka has its initial rows */
	uint64_t	loaded_lsn;		/* if so: they have all before this */
	char	   *loaded_as;		/* and the identity was this */

	/* As of the last description: */
	char	   *columns;		/* a JSON array, as the stream has it */
	char		schema_id[SCHEMA_ID_LENGTH + 1];	/* stands for the columns;
													 * empty: unknown */
	char	   *identity;		/* its OID, names and types of the key: where
								 * that changes, keys do; as members of an
								 * object of JSON */
	char	  **key;			/* names of columns, as in rows, with quotes */
	int			nkey;			/* 0: there is no key */
	bool		key_nulls_distinct; /* several rows may have a NULL in it */
	char	   *source;			/* what "source" of each record begins with */
} Relation;

typedef struct RelationSet
{
	Relation   *relations;
	int			count;
	Relation   *last;			/* found by relation_find() */
} RelationSet;

/*
 * Take the lists of schema.table, with double quotes as in SQL where a name needs
 * them; keyless is a part of the relations.  What is wrong ends the program.
 */
extern void relations_parse(RelationSet *set, const char *source, const char *relations, const char *keyless);

/*
 * Look the relation up in the catalog, and refuse what cannot be followed.  *rows, if
 * not NULL, becomes the SELECT whose only column is each row as the event stream would write
 * it, for free().
 */
extern Outcome relation_look_up(Relation *relation, const char *source, PGconn *connection, char **rows);

/* Take what a relation event says; key is null or an array of names, key_nulls a word, with quotes. */
extern void relation_describe(Relation *relation, Span oid, Span columns, Span key, Span key_nulls);

/* Its rows are in Kafka, as of lsn, with the identity that it has. */
extern void relation_set_loaded(Relation *relation, uint64_t lsn);

/* The relation of these names of the event stream; NULL if it is none of ours. */
extern Relation *relation_find(RelationSet *set, Span schema, Span table);

/* All that is not ASCII as escapes, in a text of JSON in which it is only in strings. */
extern void json_add_ascii(ClientBuffer *buffer, Span json);

/* Does the stream write all that is not ASCII as escapes? */
extern bool stream_is_ascii(PGconn *connection);

#endif							/* RELATION_H */
