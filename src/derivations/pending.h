/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  Rows of a batch that are not written yet, in memory, by key.
 *
 * A table keeps every version of a row until the transaction is over, and who
 * looks for the newest one passes by all others.  So where one batch may make a
 * row and change it a thousand times, it is written when it is known what
 * becomes of it.
 *
 * All of it lives in a child of CurrentMemoryContext.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PENDING_H
#define DERIVE_PENDING_H

#include "access/tupdesc.h"
#include "executor/tuptable.h"

typedef struct DerivePending DerivePending;
typedef struct DerivePendingRow DerivePendingRow;

/* keys: numbers of columns of desc.  Several rows may have the same key. */
extern DerivePending *derive_pending_create(TupleDesc desc, int nkeys, const AttrNumber *keys);
extern void derive_pending_free(DerivePending *pending);

/* Add a row, which is copied, behind all others. */
extern void derive_pending_add(DerivePending *pending, const Datum *values, const bool *isnull);

/* A row with this key, or NULL.  Keys are the same if their images are. */
extern DerivePendingRow *derive_pending_find(DerivePending *pending, const Datum *key, const bool *isnull);

/* The row that was added first of those that are there, or NULL. */
extern DerivePendingRow *derive_pending_first(DerivePending *pending);

/* Its contents, in a slot that is valid until the next call for another row. */
extern TupleTableSlot *derive_pending_slot(DerivePending *pending, DerivePendingRow *row);
extern void derive_pending_remove(DerivePending *pending, DerivePendingRow *row);

/* Do they take more memory than they should (work_mem)? */
extern bool derive_pending_full(DerivePending *pending);

#endif							/* DERIVE_PENDING_H */
