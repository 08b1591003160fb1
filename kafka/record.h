/*-------------------------------------------------------------------------
 *
 * record.h
 *	  What a record in Kafka is made of: key and value.
 *
 * A row of orders, whose key is id, and an UPDATE of it:
 *
 *		key		{"id":7}
 *		value	{"before":{"id":7,"amount":40},"after":{"id":7,"amount":45},
 *				 "source":{"version":"0.1","connector":"pg_derive","name":"shop","db":"shop",
 *				 "schema":"public","table":"orders","snapshot":"false","ts_ms":1764403200123,
 *				 "lsn":24023128,"txId":739,"sequence":"[\"24023128\",\"3\"]"},
 *				 "op":"u","ts_ms":1764403200125}
 *
 * It is Debezium's envelope, without its schemas.  lsn is that of the transaction's
 * commit record; sequence counts the changes of a transaction.  A column that the log
 * does not carry (docs/event-stream.md: unchanged, omitted) has the value that Debezium
 * gives it, "__debezium_unavailable_value".
 *
 *-------------------------------------------------------------------------
 */
#ifndef RECORD_H
#define RECORD_H

#include "client/buffer.h"
#include "relation.h"

/* The transaction that a record is of. */
typedef struct RecordOrigin
{
	uint64_t	lsn;			/* of its commit record */
	uint64_t	changes;		/* so far */
	char		source[160];	/* what "source" has of it */
	size_t		length;
	int64_t		now;			/* when we have seen it, in ms since 1970 */
} RecordOrigin;

typedef enum KeyState
{
	KEY_GOOD,
	KEY_MISSING,				/* a column of it is not there */
	KEY_NULL					/* several rows may have this key */
} KeyState;

/* A transaction begins, or with xid NULL the initial rows. */
extern void record_origin(RecordOrigin *origin, uint64_t lsn, int64_t commit_ms, Span xid);

/*
 * The key of a row, written into the empty buffer.  What an UPDATE left alone may not be in the new row, if it is
 * large: it is as in the old row, unless that is NULL.
 */
extern KeyState record_key(ClientBuffer *buffer, const Relation *relation, Span row, Span old_row);

/*
 * The value, written into the empty buffer.  op is Debezium's; before and after are rows, or NULL; unavailable
 * are two arrays of names of columns, or NULL: of those that either row may lack, and of those that only the new one does.
 */
extern void record_value(ClientBuffer *buffer, const Relation *relation, const RecordOrigin *origin, char op,
						 Span before, Span after, const Span unavailable[2]);

#endif							/* RECORD_H */
