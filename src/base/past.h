/*-------------------------------------------------------------------------
 *
 * past.h
 *	  Reading tables as they were at an earlier position.
 *
 * API (of a process that holds a replication slot whose xmin is not later than
 * the positions, see capture/hold.h)
 *
 *	derive_past_begin()			takes the first snapshot of a transaction
 *	derive_past_present()		once the batch's own snapshot is active
 *	derive_past_create()		the sight of one position; any number in a transaction
 *	derive_past_shows()			may this relation be read in it?
 *	derive_past_was_shaken()	when all has been read
 *	derive_past_end()			before the commit
 *
 * After an abort nothing need be done.  What derive_past_create() returned is
 * good until derive_past_end().
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PAST_H
#define DERIVE_PAST_H

#include "base/position.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/* The database at a position, before a batch that leads to the present. */
typedef struct DerivePast
{
	DerivePosition *position;
	Snapshot	snapshot;		/* for relations that the transaction itself
								 * does not write */
	Snapshot	own;			/* for those that it writes (materialized
								 * views): the present without what it did
								 * since derive_past_present() */
	List	   *answers;		/* of derive_past_shows(); see past.c */
	MemoryContext cxt;			/* holds all of this, but the snapshots */
} DerivePast;

/*
 * Protect all that snapshots from xmin on may see, and take the first snapshot of
 * the transaction, which must have none yet.  Its isolation level is REPEATABLE
 * READ.  Something else must have held xmin up to now without a gap since the
 * position "since", which stays where it is until derive_past_end().
 */
extern void derive_past_begin(TransactionId xmin, const DerivePosition *since);
extern void derive_past_end(void);

/*
 * The active snapshot is the present that batches lead to; nothing was written
 * yet.  After derive_past_begin(); without it, derive_past_create() returns NULL.
 */
extern void derive_past_present(const DerivePosition *position);

/*
 * The sight of a position; NULL if what it would see is not protected.  subxids:
 * subtransactions of transactions that the position does not cover, as far as
 * these have committed since (see past.c).  In CurrentMemoryContext.
 */
extern DerivePast *derive_past_create(const DerivePosition *position, const FullTransactionId *subxids,
									  int nsubxids);

/*
 * Can the relation (inh: with its partitions and children) be read as it was?
 * Not if DDL has changed since what that would mean.  The caller has held a lock
 * on it, and on its members, since before derive_past_present().
 */
extern bool derive_past_shows(DerivePast *past, Oid relid, bool inh);

/* The transaction has given the view other files, in which its old rows are not. */
extern void derive_past_hide_view(Oid view);

/* Relcache callback; relid invalid: all relations. */
extern void derive_past_note_invalidation(Oid relid);

/*
 * Before the end of the batch: has anything that was read in some past become
 * unreadable meanwhile, by DDL that did not wait for our locks?
 */
extern bool derive_past_was_shaken(void);

/* Would a row of a catalog with this xmin be new to somebody in that past? */
extern bool derive_past_lacks(Snapshot snapshot, TransactionId xmin);

#endif							/* DERIVE_PAST_H */
