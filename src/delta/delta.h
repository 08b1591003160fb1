/*-------------------------------------------------------------------------
 *
 * delta.h
 *	  A delta: the net change of one relation, a multiset of rows with signed
 *	  weights.
 *
 * An inserted row has weight +1, a deleted one -1, an UPDATE is both.  The
 * rows have the layout of the relation (attribute numbers are kept, dropped
 * columns are NULL) followed by one more column, the weight (int8), at
 * attribute number derive_delta_weight_attno(delta->desc).  A delta need not
 * be consolidated: the same row may occur several times, with weights that
 * cancel.
 *
 * Touches.  Of a row that was updated or deleted the log may say only by which key
 * it is found.  Then the delta has a row with the key's columns, or with all that
 * the row was changed to, and, instead of a weight, a number that says that it is a
 * touch, which of these, and of which table (the member of the source).
 * derive_batch_rows() resolves them; nothing else that reads rows takes a delta with
 * touches, but to copy it.
 *
 * Rows live in a tuplestore that spills to disk beyond pg_derive.work_mem.
 * PITFALL: every executor scan of a tuplestore selects its own read pointer;
 * C code must call derive_delta_rewind() before it reads.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DELTA_H
#define DERIVE_DELTA_H

#include "access/tupdesc.h"
#include "base/past.h"
#include "base/position.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* A relation whose changes a view needs. */
typedef struct DeriveSource
{
	Oid			relid;
	bool		inh;			/* with its partitions and inheritance
								 * children */
	Bitmapset  *columns;		/* attribute numbers that are read, as plain
								 * numbers (no offset) */
	bool		events;			/* its changes go to the event log (events.h),
								 * whole rows and one by one, instead of to a
								 * delta; columns is empty */
} DeriveSource;

typedef struct DeriveDelta
{
	Oid			relid;
	bool		inh;
	TupleDesc	desc;			/* the relation's columns, then "weight" int8 */
	Tuplestorestate *rows;
	int64		nrows;
	int64		nremoved;		/* of these, with a negative weight */
	int64		ntouched;		/* and these are touches */
	const Bitmapset *columns;	/* those that hold values, or NULL: all; not
								 * owned */
	const struct DeriveKeys *keys;	/* how touches are resolved (keys.h); not
									 * owned */

	/*
	 * The log did not say what changed (TRUNCATE, an UPDATE without a full
	 * old image, a change of the set of partitions): rows is meaningless and
	 * whoever reads the relation must recompute.  reason is a short English
	 * phrase for logs, a constant.
	 */
	bool		unknown;
	const char *reason;

#ifdef USE_ASSERT_CHECKING
	bool		settled;		/* all columns are as they were in the log */
#endif
} DeriveDelta;

/* Less than any weight. */
#define DERIVE_TOUCH_LIMIT (PG_INT64_MIN / 2)

static inline bool
derive_weight_is_touch(int64 weight)
{
	return weight < DERIVE_TOUCH_LIMIT;
}

/* What the change left under the key. */
typedef enum DeriveTouch
{
	DERIVE_TOUCH_ROW,			/* the row that the touch has */
	DERIVE_TOUCH_NOTHING,
	DERIVE_TOUCH_SOMETHING		/* a row that the log does not have in full */
} DeriveTouch;

static inline int64
derive_touch_weight(DeriveTouch touch, Oid member)
{
	return PG_INT64_MIN + ((int64) touch << 32) + (int64) member;
}

static inline DeriveTouch
derive_touch_of_weight(int64 weight)
{
	return (DeriveTouch) ((weight - PG_INT64_MIN) >> 32);
}

static inline Oid
derive_touched_member(int64 weight)
{
	return (Oid) ((weight - PG_INT64_MIN) & 0xFFFFFFFF);
}

#define derive_delta_weight_attno(desc) ((AttrNumber) (desc)->natts)

/* The layout of deltas of a relation: its columns plus weight; palloc'd in CurrentMemoryContext. */
extern TupleDesc derive_delta_desc(TupleDesc relation_desc);

/* A new empty delta in CurrentMemoryContext, usable across transactions until freed. */
extern DeriveDelta *derive_delta_create(Oid relid, bool inh, TupleDesc relation_desc);
extern void derive_delta_free(DeriveDelta *delta);

/* Append a row given as the relation's columns (desc->natts - 1 values) and its weight. */
extern void derive_delta_add_values(DeriveDelta *delta, const Datum *values, const bool *nulls, int64 weight);

/*
 * An UPDATE, or a touch of the key in these columns (as numbers of the delta's).  They may be held
 * back, until derive_delta_settle(), to cancel out with others (held.h).
 */
extern void derive_delta_update(DeriveDelta *delta, const Datum *oldvalues, const bool *oldnulls,
								const Datum *newvalues, const bool *newnulls);
extern void derive_delta_touch(DeriveDelta *delta, const Datum *values, const bool *nulls, int64 weight,
							   int nkeys, const AttrNumber *keys);

/* All of its rows are wanted: before it is read, or asked how many it has. */
extern void derive_delta_settle(DeriveDelta *delta);

/* Same as derive_delta_add_values(), from a slot whose columns are the relation's. */
extern void derive_delta_add_slot(DeriveDelta *delta, TupleTableSlot *slot, int64 weight);

/* Read all rows from C: rewind, then next until false.  slot: MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple). */
extern void derive_delta_rewind(DeriveDelta *delta);
extern bool derive_delta_next(DeriveDelta *delta, TupleTableSlot *slot);

/* Forget all rows and "unknown"; also what executor scans left behind in the tuplestore. */
extern void derive_delta_reset(DeriveDelta *delta);

/* Append all rows of another delta of the same relation (columns by attribute number), or its being unknown. */
extern void derive_delta_append(DeriveDelta *delta, DeriveDelta *other);

/* The same changes without those that cancel out: a new delta in CurrentMemoryContext.  Not of an unknown one. */
extern DeriveDelta *derive_delta_net(DeriveDelta *delta);

/* reason: a constant */
extern void derive_delta_mark_unknown(DeriveDelta *delta, const char *reason);

/*
 * A tuplestore that outlives transactions and their abort.  It belongs to
 * CurrentMemoryContext: resetting or deleting that closes it, and removes its
 * files.  kilobytes: memory before it spills.
 */
extern Tuplestorestate *derive_tuplestore_create(int kilobytes);

/*
 * A batch: the deltas of all relations between two positions.  Relations that
 * did not change have no entry.  Views that other views read add their own
 * output delta, so that a view of a view moves in the same batch.
 */
typedef struct DeriveBatch
{
	List	   *deltas;			/* of DeriveDelta *; small, searched linearly */
	List	   *narrowed;		/* see derive_batch_narrow() */
	List	   *nets;			/* see derive_batch_net() */
	List	   *resolved;		/* see derive_batch_rows() */
	MemoryContext cxt;			/* where the lists live; NULL:
								 * CurrentMemoryContext */

	DerivePast *past;			/* the tables as they were before the batch;
								 * NULL: not to be had */

	/* for sources that are followed event by event */
	struct DeriveEventLog *log;
	const DerivePosition *from; /* the batch is what "to" covers and this does
								 * not; NULL: nothing */
	const DerivePosition *to;
	XLogRecPtr	lsn;			/* everything that "to" covers committed
								 * before this; set by the worker */
	XLogRecPtr	covered;		/* "to" covers everything that committed
								 * before this; likewise */
	TimestampTz time;			/* when the snapshot was taken; likewise */
} DeriveBatch;

/* Does the present of the queries move with the batch?  See compile/passing_time.c. */
static inline bool
derive_batch_passes_time(const DeriveBatch *batch)
{
	return batch->from == NULL || batch->to == NULL || batch->from->time != batch->to->time;
}

/* NULL if it did not change.  It may have touches. */
extern DeriveDelta *derive_batch_find(DeriveBatch *batch, Oid relid, bool inh);

/*
 * The same without touches, or unknown.  Made once per batch, under the active
 * snapshot; the caller holds locks on the relation and its members.
 */
extern DeriveDelta *derive_batch_rows(DeriveBatch *batch, DeriveDelta *delta);
extern void derive_batch_add(DeriveBatch *batch, DeriveDelta *delta);

/*
 * The same changes for a reader of only some columns: without UPDATEs that
 * left all of these alone (a row removed, and right after it an equal one
 * added).  Returns the delta itself where it holds no other columns.
 */
extern DeriveDelta *derive_batch_narrow(DeriveBatch *batch, DeriveDelta *delta, const Bitmapset *columns);

/*
 * The same changes without those that cancel out, if that may be worth the
 * sorting; else the delta itself.  Made once per batch.  For joins: what a row
 * that changes a thousand times in a batch meets, it meets once.
 */
extern DeriveDelta *derive_batch_net(DeriveBatch *batch, DeriveDelta *delta);

#endif							/* DERIVE_DELTA_H */
