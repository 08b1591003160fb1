/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  Letting sessions wait until the views of a database have reached an LSN.
 *
 * The worker publishes one LSN per database: every transaction whose commit
 * record starts before it is contained in all views that are ready.  A session
 * that waits names the LSN that it needs and sleeps on a condition variable.
 * The LSN alone is not the whole truth: a view may be paused, failed, under
 * construction, or about to be recomputed; so each wait has a check of its own,
 * called after every wake-up, which looks at the registry.
 *
 * LSNs come in two forms.  The insert position of the server is where the next
 * record would start; where that is exactly behind a page header, the decoder
 * never gets there, because it reports the end of the last record, which is
 * before the header.  derive_wait_target() brings every LSN to the decoder's
 * form.
 *
 * Silent deadlocks: a session that holds a lock and waits for the worker, which
 * waits for that lock, would wait for ever, unseen by the deadlock detector.
 * Workers therefore announce what they wait for, and waiting sessions check
 * whether it is theirs, or whether who has it, or will have it before the worker, waits
 * for one of theirs (derive_blocked_check_lock()).  A worker never waits for a lock while
 * it holds another one, so it is in no other cycle.  Whoever builds a view will
 * need to have it for itself in the end; that is known before it is announced.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "base/elapsed.h"
#include "base/lock_waiters.h"
#include "base/wait_event.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* Look at the world this often even if nobody wakes us. */
#define RECHECK_MS	500

/* and at the locks of others this often, at most */
#define LOOK_MS		1000

#define BLOCKED_ON_XACTS	PG_UINT64_MAX

static void raise_to(pg_atomic_uint64 *value, uint64 to);

void
derive_wait_point_init(DeriveWaitPoint *point)
{
	pg_atomic_init_u64(&point->applied_lsn, InvalidXLogRecPtr);
	pg_atomic_init_u64(&point->wanted_lsn, InvalidXLogRecPtr);
	pg_atomic_init_u64(&point->blocked_on, 0);
	ConditionVariableInit(&point->cv);
}

/* *value = max(*value, to) */
static void
raise_to(pg_atomic_uint64 *value, uint64 to)
{
	uint64		seen = pg_atomic_read_u64(value);

	while (seen < to && !pg_atomic_compare_exchange_u64(value, &seen, to))
		;
}

void
derive_wait_publish(DeriveWaitPoint *point, XLogRecPtr lsn)
{
	raise_to(&point->applied_lsn, lsn);
	ConditionVariableBroadcast(&point->cv);
}

XLogRecPtr
derive_wait_target(XLogRecPtr lsn)
{
	uint32		header;

	if (XLogRecPtrIsInvalid(lsn))
		lsn = GetXLogInsertRecPtr();

	header = XLogSegmentOffset(lsn, wal_segment_size) < XLOG_BLCKSZ ?
		SizeOfXLogLongPHD : SizeOfXLogShortPHD;
	if (lsn % XLOG_BLCKSZ == header)
		lsn -= header;
	return lsn;
}

bool
derive_wait_until(DeriveWaitPoint *point, XLogRecPtr lsn, int64 timeout_ms,
				  DeriveWaitCheck check, void *arg)
{
	int64		start = derive_monotonic_ms();
	bool		result = false;

	raise_to(&point->wanted_lsn, lsn);

	/* From here on no broadcast is missed. */
	ConditionVariablePrepareToSleep(&point->cv);
	for (;;)
	{
		long		sleep_ms = RECHECK_MS;

		CHECK_FOR_INTERRUPTS();

		if (check(arg, pg_atomic_read_u64(&point->applied_lsn) >= lsn))
		{
			result = true;
			break;
		}
		derive_blocked_check(&point->blocked_on);

		if (timeout_ms >= 0)
		{
			int64		left = derive_time_left(start, timeout_ms);

			if (left <= 0)
				break;
			sleep_ms = Min(sleep_ms, left);
		}
		(void) ConditionVariableTimedSleep(&point->cv, sleep_ms, derive_wait_event(DERIVE_WAIT_VIEW));
	}
	ConditionVariableCancelSleep();
	return result;
}


void
derive_wait_ask(DeriveWaitPoint *point, XLogRecPtr lsn)
{
	raise_to(&point->wanted_lsn, lsn);
}


/* ----------------------------------------------------------------
 *		Who waits for what
 * ----------------------------------------------------------------
 */

void
derive_blocked_set(pg_atomic_uint64 *blocked_on, Oid relid, LOCKMODE mode)
{
	pg_atomic_write_u64(blocked_on, ((uint64) relid << 8) | (uint64) mode);
}

void
derive_blocked_set_xacts(pg_atomic_uint64 *blocked_on)
{
	pg_atomic_write_u64(blocked_on, BLOCKED_ON_XACTS);
}

void
derive_blocked_clear(pg_atomic_uint64 *blocked_on)
{
	pg_atomic_write_u64(blocked_on, 0);
}

DeriveBlockedOn
derive_blocked_get(pg_atomic_uint64 *blocked_on, Oid *relid, LOCKMODE *mode)
{
	uint64		what = pg_atomic_read_u64(blocked_on);

	if (what == 0)
		return DERIVE_BLOCKED_ON_NOTHING;
	if (what == BLOCKED_ON_XACTS)
		return DERIVE_BLOCKED_ON_XACTS;
	*relid = (Oid) (what >> 8);
	*mode = (LOCKMODE) (what & 0xFF);
	return DERIVE_BLOCKED_ON_LOCK;
}

void
derive_blocked_check(pg_atomic_uint64 *blocked_on)
{
	Oid			relid;
	LOCKMODE	mode;

	switch (derive_blocked_get(blocked_on, &relid, &mode))
	{
		case DERIVE_BLOCKED_ON_NOTHING:
			break;
		case DERIVE_BLOCKED_ON_LOCK:
			derive_blocked_check_lock(relid, mode);
			break;
		case DERIVE_BLOCKED_ON_XACTS:
			if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
				ereport(ERROR,
						(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
						 errmsg("cannot wait for maintained views in a transaction that has changed data"),
						 errdetail("The worker process of this database waits for this very transaction to end, in order to create its replication slot."),
						 errhint("Commit first, then wait.")));
			break;
	}
}

/* It takes a look at all locks of the server. */
static bool
time_to_look(void)
{
	static int64 looked_at = 0;

	if (!derive_has_elapsed(looked_at, LOOK_MS))
		return false;
	looked_at = derive_monotonic_ms();
	return true;
}

/*
 * The server does not know that we wait for the worker, and would not find this deadlock:
 *
 *		session			another session		worker
 *		SELECT .. FROM a
 *						LOCK TABLE b
 *						LOCK TABLE a
 *		derive.wait()						b, for view v
 *
 * It is one as well if the other session has nothing yet and is the first to wait for a,
 * since the worker queues up behind it.
 */
void
derive_blocked_check_lock(Oid relid, LOCKMODE wanted)
{
	LOCKMODE	mode = derive_we_hold(relid, wanted);
	char	   *name;

	if (mode != NoLock)
	{
		name = get_rel_name(relid);
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("cannot wait for maintained views while holding a lock on relation \"%s\"",
						name ? name : "?"),
				 errdetail("The worker process waits for %s on it, and this transaction holds %s.",
						   GetLockmodeName(DEFAULT_LOCKMETHOD, wanted),
						   GetLockmodeName(DEFAULT_LOCKMETHOD, mode)),
				 errhint("Commit first, then wait.")));
	}
	if (!time_to_look() || !derive_holder_waits_for(MyProcPid, relid, wanted, true))
		return;
	name = get_rel_name(relid);
	ereport(ERROR,
			(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
			 errmsg("cannot wait for maintained views while another session waits for a lock of this transaction"),
			 errdetail("The worker process waits for %s on relation \"%s\", which that session has locked or is about to lock.",
					   GetLockmodeName(DEFAULT_LOCKMETHOD, wanted), name ? name : "?"),
			 errhint("Commit first, then wait.")));
}
