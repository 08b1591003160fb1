/*-------------------------------------------------------------------------
 *
 * lock_waiters.c
 *	  Who waits for locks that we hold, and who holds those that we wait for?
 *
 * Our processes hold weak locks for long, and people who want a strong one must get
 * through; everybody else queues up behind them.  So who works for long looks now and
 * then, and gives way.
 *
 * LockHasWaiters() cannot be asked, since it does not work for locks that were
 * granted by the fast path; the list of locks, as in pg_locks, can, at a price
 * that is small at one look a second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "base/error_context.h"
#include "base/lock_waiters.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static bool
conflicts(LOCKMASK held, LOCKMODE wanted)
{
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		if ((held & LOCKBIT_ON(mode)) && DoLockModesConflict(mode, wanted))
			return true;
	}
	return false;
}

/* Does the process hold a lock that conflicts with the one that is waited for? */
static bool
holds_conflicting(pid_t pid, LockData *locks, const LockInstanceData *waiter)
{
	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *ours = &locks->locks[i];

		if (ours->pid == pid && memcmp(&ours->locktag, &waiter->locktag, sizeof(LOCKTAG)) == 0 &&
			conflicts(ours->holdMask, waiter->waitLockMode))
			return true;
	}

	return false;
}

/*
 * Does a process wait for a lock that this one holds?  In that mode (NoLock: in any), and
 * one of these, if any are given.  Others that wait for a virtual transaction do not
 * count: CREATE INDEX CONCURRENTLY waits for all that could see old rows, whatever they do,
 * and nobody has to wait behind it.
 */
static bool
any_waiter(pid_t pid, LOCKMODE mode, List *among)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive locks", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	LockData   *locks = GetLockStatusData();
	bool		result = false;

	for (int i = 0; i < locks->nelements && !result; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->waitLockMode == NoLock || lock->pid == pid || (mode != NoLock && lock->waitLockMode != mode))
			continue;
		if (among != NIL ? list_member_int(among, lock->pid) : lock->locktag.locktag_type != LOCKTAG_VIRTUALTRANSACTION)
			result = holds_conflicting(pid, locks, lock);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);

	return result;
}

bool
derive_someone_waits_for(pid_t pid, LOCKMODE mode)
{
	return any_waiter(pid, mode, NIL);
}

bool
derive_someone_waits_for_us(void)
{
	return any_waiter(MyProcPid, NoLock, NIL);
}

/*
 * One of ours?  It may want the lock, for a replica identity for example, but gives up after
 * pg_derive.lock_timeout.
 */
static bool
waits_with_limit(pid_t pid)
{
	const char *type = GetBackgroundWorkerTypeByPid(pid);

	return type != NULL && strncmp(type, DERIVE_PROCESS_TYPE, strlen(DERIVE_PROCESS_TYPE)) == 0;
}

bool
derive_holder_waits_for(pid_t pid, Oid relid, LOCKMODE mode, bool or_queued)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive locks", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	LockData   *locks = GetLockStatusData();
	List	   *pids = NIL;
	LOCKTAG		tag;
	bool		result;
	ListCell   *lc;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->pid != pid && memcmp(&lock->locktag, &tag, sizeof(LOCKTAG)) == 0 &&
			(conflicts(lock->holdMask, mode) ||
			 (or_queued && lock->waitLockMode != NoLock && DoLockModesConflict(lock->waitLockMode, mode))))
			pids = lappend_int(pids, lock->pid);
	}
	foreach(lc, pids)
	{
		if (waits_with_limit(lfirst_int(lc)))
			pids = foreach_delete_current(pids, lc);
	}
	result = pids != NIL && any_waiter(pid, NoLock, pids);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);

	return result;
}


/* ----------------------------------------------------------------
 *		Who holds them
 * ----------------------------------------------------------------
 */

/* GetLockConflicts() leaves that out. */
LOCKMODE
derive_we_hold(Oid relid, LOCKMODE wanted)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		if (DoLockModesConflict(mode, wanted) && derive_lock_held_by_me(&tag, mode))
			return mode;
	}
	return NoLock;
}

char *
derive_lock_holders(pid_t pid, Oid relid, LOCKMODE mode, List **pids)
{
	StringInfoData text;
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	List	   *found = NIL;
	bool		prepared = false;
	int			n;
	ListCell   *lc;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	holders = GetLockConflicts(&tag, mode, &n);
	for (int i = 0; i < n; i++)
	{
		int			holder = derive_compat_vxid_pid(&holders[i]);

		if (holder == 0)
			prepared = true;
		else if (holder != pid)
			found = list_append_unique_int(found, holder);
	}
	if (pid != MyProcPid && derive_we_hold(relid, mode) != NoLock)
		found = list_append_unique_int(found, MyProcPid);

	initStringInfo(&text);
	if (found != NIL)
		appendStringInfo(&text, " held by pid ");
	foreach(lc, found)
		appendStringInfo(&text, "%s%d", foreach_current_index(lc) > 0 ? ", " : "", lfirst_int(lc));
	if (prepared)
		appendStringInfo(&text, "%s a prepared transaction", found != NIL ? " and" : " held by");
	if (pids != NULL)
		*pids = list_concat_unique_int(*pids, found);
	return text.data;
}

char *
derive_lock_reason(pid_t pid, Oid relid, LOCKMODE mode, List **pids)
{
	if (get_rel_name(relid) == NULL)
		return pstrdup("a relation that is being dropped");
	return psprintf("lock on %s%s", derive_relation_name(relid), derive_lock_holders(pid, relid, mode, pids));
}

/* Calls the visitor, which tells whether to go on, for each lock on a transaction. */
static void
visit_transaction_locks(bool (*visit) (const LockInstanceData *lock, TransactionId xid, void *arg), void *arg)
{
	LockData   *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->locktag.locktag_type == LOCKTAG_TRANSACTION &&
			!visit(lock, (TransactionId) lock->locktag.locktag_field1, arg))
			break;
	}
}

typedef struct OlderTransactions
{
	TransactionId cutoff;
	pid_t		but_for;
	List	   *pids;
} OlderTransactions;

static bool
collect_older(const LockInstanceData *lock, TransactionId xid, void *arg)
{
	OlderTransactions *older = arg;

	if ((lock->holdMask & LOCKBIT_ON(ExclusiveLock)) && lock->pid != older->but_for &&
		TransactionIdPrecedes(xid, older->cutoff))
		older->pids = list_append_unique_int(older->pids, lock->pid);
	return true;
}

List *
derive_older_transactions(TransactionId cutoff, pid_t but_for)
{
	OlderTransactions older = {cutoff, but_for, NIL};

	if (TransactionIdIsValid(cutoff))
		visit_transaction_locks(collect_older, &older);
	return older.pids;
}

typedef struct AwaitedTransaction
{
	pid_t		pid;
	TransactionId xid;
} AwaitedTransaction;

static bool
find_awaited(const LockInstanceData *lock, TransactionId xid, void *arg)
{
	AwaitedTransaction *awaited = arg;

	if (lock->pid != awaited->pid || lock->waitLockMode == NoLock)
		return true;
	awaited->xid = xid;
	return false;
}

TransactionId
derive_awaited_transaction(pid_t pid)
{
	AwaitedTransaction awaited = {pid, InvalidTransactionId};

	visit_transaction_locks(find_awaited, &awaited);
	return awaited.xid;
}
