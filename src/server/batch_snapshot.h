/*-------------------------------------------------------------------------
 *
 * batch_snapshot.h
 *	  Seeing what a batch of the worker showed, from another process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BATCH_SNAPSHOT_H
#define DERIVE_BATCH_SNAPSHOT_H

/*
 * Make the snapshot of the latest batch that stored its position, and push it
 * as the active snapshot: base tables as the batch saw them, views and the
 * registry as it left them.  The current transaction must be repeatable read
 * and have taken its snapshot before the batch took its own.  False, and
 * nothing is pushed, if that is not so, or if there is no such batch or too
 * much has happened since: ask for another one.
 */
extern bool derive_push_batch_snapshot(void);

#endif							/* DERIVE_BATCH_SNAPSHOT_H */
