/*-------------------------------------------------------------------------
 *
 * spool.h
 *	  Initial rows of subscriptions that are still to be delivered.  Private to
 *	  notify.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SPOOL_H
#define DERIVE_SPOOL_H

#include "utils/snapshot.h"

typedef struct DeriveSpoolWriter DeriveSpoolWriter;

/*
 * Write a spool, in CurrentMemoryContext.  add() takes a composite value and
 * returns how many bytes the spool has so far.
 */
extern DeriveSpoolWriter *derive_spool_begin(const NameData *subscription);
extern int64 derive_spool_add(DeriveSpoolWriter *writer, Datum row);
extern void derive_spool_end(DeriveSpoolWriter *writer);

/* *passed: number of the last row that was delivered. */
extern bool derive_spool_is_empty(const NameData *subscription, int64 passed, Snapshot snapshot);

/*
 * Read rows in order, until the callback returns false, which then has not taken
 * the row; move *passed, and remove what was read.  True if nothing is left.
 * The callback is called in a memory context that is reset after it.
 */
typedef bool (*DeriveSpoolReader) (void *arg, Datum row);
extern bool derive_spool_read(const NameData *subscription, int64 *passed, Snapshot snapshot,
							  DeriveSpoolReader reader, void *arg);

/* Remove it, but not more than about max_rows tuples; true if nothing is left. */
extern bool derive_spool_clear(const NameData *subscription, int64 *passed, int64 max_rows);

#endif							/* DERIVE_SPOOL_H */
