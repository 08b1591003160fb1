/*-------------------------------------------------------------------------
 *
 * topic.h
 *	  The messages of topics: how an event gets into the log without a table.
 *
 * derive.append() writes one transactional logical message.  Its prefix is
 * DERIVE_TOPIC_PREFIX, its content
 *
 *		DeriveTopicHeader		the topic and a seal
 *		the row					a heap tuple from t_infomask2 on, without
 *								out-of-line values
 *
 * Everything that decoding needs is in there: the row is made, checked against
 * the topic's columns, and flattened in the session that appends.
 *
 * The seal.  Every user may call pg_logical_emit_message() with any prefix, and
 * a row is bytes that the worker takes as they are.  So each message is sealed
 * with a key that only the server knows; those with a wrong seal are ignored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_TOPIC_H
#define DERIVE_TOPIC_H

#include "access/htup_details.h"
#include "access/transam.h"

#define DERIVE_TOPIC_PREFIX "pg_derive.topic"

/* At the beginning of the content; not aligned there, so to be copied. */
typedef struct DeriveTopicHeader
{
	uint64		seal;
	Oid			topic;
} DeriveTopicHeader;

#define DERIVE_TOPIC_HEADER_SIZE (sizeof(uint64) + sizeof(Oid))

/* The part of a tuple that is not in the message. */
#define DERIVE_TOPIC_TUPLE_OFFSET offsetof(HeapTupleHeaderData, t_infomask2)

/*
 * The seal of a row in a message of this top-level transaction.  Needs no
 * catalog, and may be called while decoding.
 */
extern uint64 derive_topic_seal(FullTransactionId xid, Oid topic, const char *row, Size size);

#endif							/* DERIVE_TOPIC_H */
