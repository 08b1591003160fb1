/*-------------------------------------------------------------------------
 *
 * statetable.h
 *	  Access to an operator's state table by the hash in its first column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STATETABLE_H
#define DERIVE_STATETABLE_H

#include "executor/tuptable.h"

typedef struct DeriveStateTable DeriveStateTable;

/* Is the row in the slot the one that is looked for? */
typedef bool (*DeriveStateMatch) (void *arg, TupleTableSlot *slot);

/* Open in RowExclusiveLock, in CurrentMemoryContext. */
extern DeriveStateTable *derive_state_open(Oid relid);
extern void derive_state_close(DeriveStateTable *table);

/* The row with this hash that match() accepts, valid until the next call; or NULL. */
extern TupleTableSlot *derive_state_find(DeriveStateTable *table, int32 hash, DeriveStateMatch match, void *arg);

/* Call visit() for each row with this hash; it must not change the table. */
typedef void (*DeriveStateVisit) (void *arg, TupleTableSlot *slot);
extern void derive_state_each(DeriveStateTable *table, int32 hash, DeriveStateVisit visit, void *arg);

/* A virtual slot with the table's columns, to be filled for insert and update. */
extern TupleTableSlot *derive_state_slot(DeriveStateTable *table);
extern void derive_state_insert(DeriveStateTable *table, TupleTableSlot *row);
extern void derive_state_update(DeriveStateTable *table, ItemPointer tid, TupleTableSlot *row);
extern void derive_state_delete(DeriveStateTable *table, ItemPointer tid);

#endif							/* DERIVE_STATETABLE_H */
