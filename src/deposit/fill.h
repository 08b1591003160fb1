/*-------------------------------------------------------------------------
 *
 * fill.h
 *	  Giving a relation wholly new contents, as REFRESH MATERIALIZED VIEW does:
 *	  write a new heap, then swap it in and rebuild the indexes.
 *
 * Works for materialized views and for internal tables.  The old contents
 * stay readable until the swap, which takes AccessExclusiveLock to the end of
 * the transaction.  While rows are written only AccessShareLock is held, and
 * if someone waits for a stronger lock on the relation (DROP, say) the filling
 * gives way with ERROR lock_not_available.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_FILL_H
#define DERIVE_FILL_H

#include "executor/tuptable.h"

typedef struct DeriveFill DeriveFill;

extern DeriveFill *derive_fill_begin(Oid relid);

/* Append a row; the slot has the relation's columns. */
extern void derive_fill_add(DeriveFill *fill, TupleTableSlot *row);

/* Swap in, reindex, mark a materialized view populated, count rows; CommandCounterIncrement()s. */
extern int64 derive_fill_finish(DeriveFill *fill);

#endif							/* DERIVE_FILL_H */
