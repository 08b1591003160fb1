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

/*
 * The same on a standby, where workers never are: nothing is held, and slots go that are not
 * copies of the primary's.  Raises no ERROR; to be called again and again.
 */
extern void derive_unattended_on_standby(void);

#endif							/* DERIVE_UNATTENDED_H */
