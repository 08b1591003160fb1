/*-------------------------------------------------------------------------
 *
 * batch_snapshot.h
 *	  Seeing what a batch of the worker showed, from another process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BATCH_SNAPSHOT_H
#define DERIVE_BATCH_SNAPSHOT_H

#include "access/xlogdefs.h"
#include "base/position.h"
#include "server/shmem.h"

/*
 * Ask the worker for a batch, and wait until it is committed.  False if it is not to be
 * had soon; who holds locks must let go of them then.
 */
extern bool derive_await_batch(DeriveGroup *place);

/*
 * Make the snapshot of the latest batch of the group that stored its position, and push it
 * as the active snapshot: base tables as the batch saw them, views and the
 * registry as it left them.  The current transaction must be repeatable read
 * and have taken its snapshot before the batch took its own.  False, and
 * nothing is pushed, if that is not so, or if there is no such batch or too
 * much has happened since: ask for another one.  Unless NULL, *stored and *lsn are
 * what it stored as its position, in CurrentMemoryContext.
 */
extern bool derive_push_batch_snapshot(int group, DerivePosition **stored, XLogRecPtr *lsn);

#endif							/* DERIVE_BATCH_SNAPSHOT_H */
