/*-------------------------------------------------------------------------
 *
 * wait.h
 *	  Letting sessions wait until the views of a database have reached an LSN.
 *
 * API
 *
 *	derive_wait_point_init()	when shared memory is made, or the slot changes hands
 *	derive_wait_publish()		worker: everything before this LSN is in the views
 *	derive_wait_until()			session: wait for an LSN, and for a condition of its own
 *
 *	derive_blocked_set()		worker, builder: "I wait for this lock"
 *	derive_blocked_check()		session: ERROR if that lock is mine
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WAIT_H
#define DERIVE_WAIT_H

#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lockdefs.h"

/* In shared memory, one per database. */
typedef struct DeriveWaitPoint
{
	pg_atomic_uint64 applied_lsn;	/* all views contain what committed
									 * before; written by the worker, only
									 * grows */
	pg_atomic_uint64 wanted_lsn;	/* the highest LSN that a session waits
									 * for; written by sessions, only grows */
	pg_atomic_uint64 blocked_on;	/* see derive_blocked_set(); written by
									 * the worker */
	ConditionVariable cv;		/* broadcast when applied_lsn or a view's
								 * state changed */
} DeriveWaitPoint;

extern void derive_wait_point_init(DeriveWaitPoint *point);
extern void derive_wait_publish(DeriveWaitPoint *point, XLogRecPtr lsn);

/* Have the worker come as far, without waiting for it; it is to be woken up then. */
extern void derive_wait_ask(DeriveWaitPoint *point, XLogRecPtr lsn);

/* The end of all that was committed so far, as the decoder would report it; or a person's LSN brought to that form. */
extern XLogRecPtr derive_wait_target(XLogRecPtr lsn);

/*
 * Called while waiting, with *reached telling whether the LSN was reached.
 * Returns true when the wait is over; raises ERROR if it can never be.
 */
typedef bool (*DeriveWaitCheck) (void *arg, bool reached);

/*
 * Wait until check() returns true.  timeout_ms < 0: no limit.  Returns false
 * on timeout.  Interruptible.
 */
extern bool derive_wait_until(DeriveWaitPoint *point, XLogRecPtr lsn, int64 timeout_ms,
							  DeriveWaitCheck check, void *arg);

/*
 * A worker or builder announces the lock that it is about to wait for, since
 * the deadlock detector cannot see a session that waits for a worker.
 */
extern void derive_blocked_set(pg_atomic_uint64 *blocked_on, Oid relid, LOCKMODE mode);
extern void derive_blocked_set_xacts(pg_atomic_uint64 *blocked_on); /* waits for all running
																	 * transactions */
extern void derive_blocked_clear(pg_atomic_uint64 *blocked_on);

/* What it waits for, for people; *relid and *mode are set if it is a lock. */
typedef enum DeriveBlockedOn
{
	DERIVE_BLOCKED_ON_NOTHING,
	DERIVE_BLOCKED_ON_LOCK,
	DERIVE_BLOCKED_ON_XACTS
} DeriveBlockedOn;

extern DeriveBlockedOn derive_blocked_get(pg_atomic_uint64 *blocked_on, Oid *relid, LOCKMODE *mode);
extern void derive_blocked_check(pg_atomic_uint64 *blocked_on);

/* The same for one lock: ERROR if this session, or who waits for it, stands in the way of that. */
extern void derive_blocked_check_lock(Oid relid, LOCKMODE wanted);

#endif							/* DERIVE_WAIT_H */
