/*-------------------------------------------------------------------------
 *
 * fill.h
 *	  Giving a relation wholly new contents, as REFRESH MATERIALIZED VIEW does:
 *	  write a new heap, then swap it in and rebuild the indexes.
 *
 * Works for materialized views and for internal tables.  The old contents
 * stay readable until the swap, which takes AccessExclusiveLock to the end of
 * the transaction.  While rows are written only AccessShareLock is held, and
 * if someone waits for an exclusive lock on that or anything else that the
 * transaction has locked (DROP, say) the filling gives way with ERROR
 * lock_not_available.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_FILL_H
#define DERIVE_FILL_H

#include "executor/tuptable.h"
#include "nodes/pg_list.h"

typedef struct DeriveFill DeriveFill;

/*
 * Before anything is computed: lock what the new heaps of these relations (List of Oid)
 * will depend on, such as schemas and types.  ERROR lock_not_available if it is not free.
 */
extern void derive_fill_lock_dependencies(List *relids);

extern DeriveFill *derive_fill_begin(Oid relid);

/* Append a row; the slot has the relation's columns. */
extern void derive_fill_add(DeriveFill *fill, TupleTableSlot *row);

/* Swap in, reindex, mark a materialized view populated, count rows; CommandCounterIncrement()s. */
extern int64 derive_fill_finish(DeriveFill *fill);

#endif							/* DERIVE_FILL_H */
