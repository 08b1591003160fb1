/*-------------------------------------------------------------------------
 *
 * lock_waiters.h
 *	  Who waits for locks that we hold?
 *
 * One look costs as much as to read pg_locks: not more than about one a second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LOCK_WAITERS_H
#define DERIVE_LOCK_WAITERS_H

#include "nodes/pg_list.h"

/* Does a session wait for AccessExclusiveLock on one of these relations (List of Oid, of this database)? */
extern bool derive_someone_waits(List *relids);

/* Does a session wait for a lock on any relation, in any mode, that a lock of this process conflicts with? */
extern bool derive_someone_waits_for_us(void);
extern bool derive_someone_waits_for(pid_t pid);	/* likewise, for another
													 * process */

#endif							/* DERIVE_LOCK_WAITERS_H */
