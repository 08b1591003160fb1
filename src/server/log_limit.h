/*-------------------------------------------------------------------------
 *
 * log_limit.h
 *	  Giving up the log of databases whose views have not caught up with it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LOG_LIMIT_H
#define DERIVE_LOG_LIMIT_H

/*
 * For the launcher, outside of a transaction: drop the slots that keep too much.
 * Returns in how many ms to look again, -1 if there is nothing to look at.  Raises no
 * ERROR.
 */
extern long derive_log_limit_tend(void);

#endif							/* DERIVE_LOG_LIMIT_H */
