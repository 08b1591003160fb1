/*-------------------------------------------------------------------------
 *
 * unattended.h
 *	  Letting go of old row versions for workers that are not there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_UNATTENDED_H
#define DERIVE_UNATTENDED_H

/*
 * For the launcher, outside of a transaction: let go where it is time.  Returns in
 * how many ms to look again, -1 if only after a worker has ended.  Raises no ERROR.
 */
extern long derive_unattended_tend(void);

#endif							/* DERIVE_UNATTENDED_H */
