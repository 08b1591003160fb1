/*-------------------------------------------------------------------------
 *
 * events.h
 *	  An event log: what committed transactions did, in order, row by row.
 *
 * Deltas (delta.h) say what changed between two positions; derivation
 * functions in C are told how: each change with its operation, its rows as
 * they were logged, its transaction, commit LSN and commit time.  A stream
 * keeps one log for all sources that are followed in this way
 * (DeriveSource.events).
 *
 * Rows are kept as the bytes that were decoded, with the descriptor of the time
 * of the change.  Up to pg_derive.work_mem is kept in memory, the rest in
 * temporary files that outlive transactions.
 *
 * A log is not told which transactions a batch covers: whoever reads it gives
 * two positions, and gets the transactions that the second covers and the
 * first does not.  So the same log serves a batch that is run again after an
 * error, transactions that are committed but not visible yet, and views that
 * catch up from a position of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_EVENTS_H
#define DERIVE_EVENTS_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "base/position.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

typedef struct DeriveEventLog DeriveEventLog;
typedef struct DeriveEventReader DeriveEventReader;

typedef enum DeriveEventKind
{
	DERIVE_EVENT_INSERT = 'I',
	DERIVE_EVENT_UPDATE = 'U',
	DERIVE_EVENT_DELETE = 'D',
	DERIVE_EVENT_TRUNCATE = 'T',
	DERIVE_EVENT_MESSAGE = 'M', /* relid: the topic; newtuple: its row */
	DERIVE_EVENT_UNKNOWN = '?'	/* the log does not say what changed */
} DeriveEventKind;

typedef struct DeriveEvent
{
	DeriveEventKind kind;
	Oid			relid;			/* the table, or the topic */
	TupleDesc	desc;			/* of the rows; lives as long as the reader;
								 * NULL for messages and where nothing was
								 * logged at all */
	HeapTuple	oldtuple;		/* or NULL; valid until the next event */
	HeapTuple	newtuple;		/* or NULL; likewise */
	XLogRecPtr	lsn;			/* messages: start of their record */
	FullTransactionId xid;
	XLogRecPtr	commit_lsn;
	TimestampTz commit_time;
} DeriveEvent;

/* Lives in a child of CurrentMemoryContext; usable across transactions. */
extern DeriveEventLog *derive_events_create(void);
extern void derive_events_free(DeriveEventLog *log);

/*
 * Writing, from the sink: begin, any number of events, commit.  A transaction
 * without events leaves no trace.  abandon: forget the one that was begun, if
 * any.  Tuples must not have out-of-line values.  The content of a message
 * is that of base/topic.h without the Oid and the token.
 */
extern void derive_events_begin(DeriveEventLog *log, FullTransactionId xid,
								XLogRecPtr commit_lsn, TimestampTz commit_time);
extern void derive_events_add(DeriveEventLog *log, DeriveEventKind kind, Relation relation,
							  HeapTuple oldtuple, HeapTuple newtuple);
extern void derive_events_add_message(DeriveEventLog *log, Oid topic, XLogRecPtr lsn,
									  const char *content, Size size);
extern void derive_events_commit(DeriveEventLog *log);
extern void derive_events_abandon(DeriveEventLog *log);

/*
 * Something happened to a relation that is no event of a transaction (a
 * partition was attached): readers get DERIVE_EVENT_UNKNOWN for it.  With an
 * xid, those whose positions ask for this transaction; without one, those of
 * the next batch that succeeds, and all who are going to catch up from before.
 */
extern void derive_events_mark(DeriveEventLog *log, Oid relid, FullTransactionId xid);

/*
 * A batch has committed.  everything: all there is was in it, and nobody is going
 * to catch up, so forget all.  Must not fail for other reasons than a disk that
 * does.
 */
extern void derive_events_applied(DeriveEventLog *log, bool everything);

/*
 * What the position covers was applied: forget it, or, if someone is going to
 * catch up, just know that most readers will not ask for it.  To be called
 * before the next batch is read.
 */
extern void derive_events_forget(DeriveEventLog *log, const DerivePosition *covered, bool keep);

/*
 * Do transactions that "to" covers and "from" (NULL: nothing) does not have
 * events of any of these relations?  relids: List of Oid, all members of the
 * sources.  Sets *unknown if one of them is DERIVE_EVENT_UNKNOWN, *truncated if
 * one is DERIVE_EVENT_TRUNCATE, and otherwise leaves them alone.  Returns their
 * number.  ERROR, here and below, if some were forgotten.
 */
extern int64 derive_events_count(DeriveEventLog *log, List *relids,
								 const DerivePosition *from, const DerivePosition *to,
								 bool *unknown, bool *truncated);

/* The relations that have events, or are marked, between the two: List of Oid, in CurrentMemoryContext. */
extern List *derive_events_relations(DeriveEventLog *log, const DerivePosition *from, const DerivePosition *to);

/*
 * Read these events, in order.  The reader lives in a child of
 * CurrentMemoryContext and must be ended before the log is written again;
 * positions must live as long.  Several may be open at a time.
 */
extern DeriveEventReader *derive_events_read(DeriveEventLog *log, List *relids,
											 const DerivePosition *from, const DerivePosition *to);
extern bool derive_events_next(DeriveEventReader *reader, DeriveEvent *event);
extern void derive_events_end(DeriveEventReader *reader);

#endif							/* DERIVE_EVENTS_H */
