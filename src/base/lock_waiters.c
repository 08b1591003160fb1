/*-------------------------------------------------------------------------
 *
 * lock_waiters.c
 *	  Who waits for locks that we hold?
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

#include "base/lock_waiters.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"

/* Does the process hold a lock that conflicts with the one that is waited for? */
static bool
holds_conflicting(pid_t pid, LockData *locks, const LockInstanceData *waiter)
{
	for (int i = 0; i < locks->nelements; i++)
	{
		LockInstanceData *ours = &locks->locks[i];

		if (ours->pid != pid || memcmp(&ours->locktag, &waiter->locktag, sizeof(LOCKTAG)) != 0)
			continue;
		for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
		{
			if ((ours->holdMask & LOCKBIT_ON(mode)) && DoLockModesConflict(mode, waiter->waitLockMode))
				return true;
		}
	}

	return false;
}

/* Is there a waiter for one of the relations, in AccessExclusiveLock; or, relids NIL, for whom the process stands in the way? */
static bool
any_waiter(List *relids, pid_t pid)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive locks", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	LockData   *locks = GetLockStatusData();
	bool		result = false;

	for (int i = 0; i < locks->nelements && !result; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (lock->waitLockMode == NoLock || lock->locktag.locktag_type != LOCKTAG_RELATION)
			continue;
		if (relids != NIL)
			result = lock->waitLockMode == AccessExclusiveLock &&
				lock->locktag.locktag_field1 == MyDatabaseId &&
				list_member_oid(relids, lock->locktag.locktag_field2);
		else
			result = lock->pid != pid && holds_conflicting(pid, locks, lock);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);

	return result;
}

bool
derive_someone_waits(List *relids)
{
	return relids != NIL && any_waiter(relids, 0);
}

bool
derive_someone_waits_for_us(void)
{
	return any_waiter(NIL, MyProcPid);
}

bool
derive_someone_waits_for(pid_t pid)
{
	return any_waiter(NIL, pid);
}
