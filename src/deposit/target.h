/*-------------------------------------------------------------------------
 *
 * target.h
 *	  Changing the rows of a view's table (a materialized view) or of an
 *	  internal table, at table-AM level.
 *
 * No SQL, no triggers, no permission checks: the relkind is 'm' for views and
 * nobody but us may write it.  Indexes are maintained through the executor.
 *
 * A row is found by its locator: a unique btree index on key columns of
 * fixed-length types, else a btree index on a hash of ROW(key columns or all
 * columns); never by scanning.  After the index, the full row
 * is compared by image: a row that should be there and is not means that the
 * view has diverged (a function that was declared IMMUTABLE was replaced, say)
 * and raises ERROR with DERIVE_ERRCODE_DIVERGED, upon which the worker
 * recomputes the view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_TARGET_H
#define DERIVE_TARGET_H

#include "delta/delta.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

/* A class of our own: PD001. */
#define DERIVE_ERRCODE_DIVERGED MAKE_SQLSTATE('P','D','0','0','1')

typedef struct DeriveLocator
{
	bool		unique;			/* unique index on the columns themselves,
								 * NULLS NOT DISTINCT */
	int			nattrs;			/* 0: hash over all columns */
	AttrNumber *attrs;
} DeriveLocator;

typedef struct DeriveTarget DeriveTarget;

typedef struct DeriveTargetCounts
{
	int64		inserted;
	int64		updated;
	int64		deleted;
} DeriveTargetCounts;

/*
 * Create the locator's index on a relation and return its OID.  Caller holds
 * a lock that allows it (ShareLock or stronger).  Index names follow
 * PostgreSQL's: <relation>_<columns>_idx, ..._derive_idx for the hash.
 */
extern Oid	derive_locator_create_index(Relation relation, const DeriveLocator *locator);

/* Is this valid index the locator's? */
extern bool derive_locator_matches(Relation index, const DeriveLocator *locator);

/*
 * Open for changing; the caller holds RowExclusiveLock on the relation.
 * Everything is allocated in a child of CurrentMemoryContext.  output: if not
 * NULL, every change is also appended there as a delta of the relation.
 */
extern DeriveTarget *derive_target_open(Oid relid, Oid index, const DeriveLocator *locator, DeriveDelta *output);

/*
 * Have every change of a row reported as it is applied: old (removed) and new
 * (added), one of them NULL, count > 0 copies.
 */
typedef void (*DeriveObserver) (void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count);
extern void derive_target_observe(DeriveTarget *target, DeriveObserver observer, void *arg);

/*
 * Two ways in, not to be mixed.  add(): weighted rows in any order, net effect
 * applied at close (sorting by key, replacing in place where the key stays).
 * change(): one row goes, one comes, either may be NULL; the caller vouches
 * that old rows exist.  Where the relation has unique indexes besides the
 * locator, insertions wait until close so that deletions come first.
 */
extern void derive_target_add(DeriveTarget *target, TupleTableSlot *row, int64 weight);
extern void derive_target_change(DeriveTarget *target, TupleTableSlot *old, TupleTableSlot *new);

/*
 * A third way, by key: for tables where every change is to be seen at once.
 * lookup(): the (or a) row whose locator columns have the values of this row's,
 * valid until the next call; NULL if there is none.  A unique locator's index
 * decides what is equal, else the image does.  replace_found() puts new in the
 * place of the row that lookup() has just returned, or deletes it (NULL);
 * insert() adds a row.
 */
extern TupleTableSlot *derive_target_lookup(DeriveTarget *target, TupleTableSlot *row);
extern void derive_target_replace_found(DeriveTarget *target, TupleTableSlot *new);
extern void derive_target_insert(DeriveTarget *target, TupleTableSlot *row);

/*
 * Add every present row of the relation with weight -1, as the first half of
 * "make it equal to": the caller then adds what should be there.
 */
extern void derive_target_subtract_contents(DeriveTarget *target);

/* Finish all changes; adds to *counts unless NULL. */
extern void derive_target_close(DeriveTarget *target, DeriveTargetCounts *counts);

#endif							/* DERIVE_TARGET_H */
