/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Keeping old row versions: the xmin of the replication slot.
 *
 * For the process that has acquired the slot (capture/decoder.h).  While the
 * slot holds an xmin, no row version is removed, anywhere in the cluster, that a
 * snapshot with this xmin or a later one sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HOLD_H
#define DERIVE_HOLD_H

#include "access/transam.h"

/* What is held now; InvalidTransactionId: nothing. */
extern TransactionId derive_hold_xmin(void);

/*
 * Begin to hold an xmin, also across restarts; writes the slot to disk.  The
 * caller has a live snapshot with this xmin until the end of its transaction.
 */
extern void derive_hold_begin(TransactionId xmin);

/*
 * Hold only from here on.  Whoever needs a later xmin must be on disk: see
 * hold.c.  Does nothing if that is not later than what is held.
 */
extern void derive_hold_move(TransactionId xmin);

/* Hold nothing, also on disk. */
extern void derive_hold_end(void);

#endif							/* DERIVE_HOLD_H */
