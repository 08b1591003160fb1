/*-------------------------------------------------------------------------
 *
 * pace.h
 *	  How long the worker rests between two batches.
 *
 * For worker.c.  No errors, no memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PACE_H
#define DERIVE_PACE_H

/* Take the time since the last call into account: was it spent on a batch? */
extern void derive_pace_account(bool worked);

/* For how many ms the worker has to rest before its next batch, by what was accounted for; 0: it has not. */
extern long derive_pace_rest(void);

#endif
