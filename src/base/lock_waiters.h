/*-------------------------------------------------------------------------
 *
 * lock_waiters.h
 *	  Who waits for locks that we hold, and who holds those that we wait for?
 *
 * One look costs as much as to read pg_locks: not more than about one a second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LOCK_WAITERS_H
#define DERIVE_LOCK_WAITERS_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

/* What the type of a background process of ours begins with, in pg_stat_activity. */
#define DERIVE_PROCESS_TYPE "pg_derive "

/*
 * Does a session wait for a lock of any kind that the process holds (or has a conflicting
 * one)?  Only who waits in that mode counts; NoLock: in any.
 */
extern bool derive_someone_waits_for(pid_t pid, LOCKMODE mode);
extern bool derive_someone_waits_for_us(void);	/* in any mode */

/*
 * Does somebody who holds a lock on the relation that conflicts with that one (or who waits
 * for it, if so wanted) wait for the process, even if only for the end of its transaction?
 * Processes of ours do not count: none of them waits for long.
 */
extern bool derive_holder_waits_for(pid_t pid, Oid relid, LOCKMODE mode, bool or_queued);

/*
 * For people, why a process waits for a lock: "lock on public.orders held by pid 1234,
 * 1250".  The process itself, pid, may hold another one, which does not count.  pids (may
 * be NULL) gets those of the holders, as integers.  In CurrentMemoryContext.
 */
extern char *derive_lock_reason(pid_t pid, Oid relid, LOCKMODE mode, List **pids);

/* The same of whoever holds it alone: " held by pid 1234", or "" if nobody does. */
extern char *derive_lock_holders(pid_t pid, Oid relid, LOCKMODE mode, List **pids);

/*
 * The weakest lock of this process on the relation, which is of this database, that conflicts with that one; NoLock: it
 * has none.
 */
extern LOCKMODE derive_we_hold(Oid relid, LOCKMODE wanted);

/*
 * The processes whose transactions have numbers before that one and run, but for one
 * process, as integers; 0 is a prepared transaction.
 */
extern List *derive_older_transactions(TransactionId cutoff, pid_t but_for);

/* The number of the transaction whose end the process waits for, or InvalidTransactionId. */
extern TransactionId derive_awaited_transaction(pid_t pid);

#endif							/* DERIVE_LOCK_WAITERS_H */
