/*-------------------------------------------------------------------------
 *
 * fill.c
 *	  Giving a relation wholly new contents, as REFRESH MATERIALIZED VIEW does.
 *
 * The rows go into a new heap, made like the relation's.  Nobody can see it,
 * and if the transaction aborts it is gone, so its rows are written frozen and
 * without looking for free space.  At the end the two heaps swap their files,
 * the old one is dropped, and all indexes are built, which is cheaper than to
 * keep them up row by row.
 *
 * Giving way
 *
 *	The filling may take hours, all the time holding a lock on the relation, a
 *	weak one.  Somebody who wants to drop the relation would wait for us, and
 *	everybody else behind him.  So we look now and then whether someone waits
 *	for AccessExclusiveLock and if so give up; the worker tries again later.
 *	LockHasWaiters() cannot be asked, since it does not work for locks that
 *	were granted by the fast path; the list of locks, as in pg_locks, can, at
 *	a price that is small at one look a second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/cluster.h"
#include "commands/matview.h"
#include "commands/tablecmds.h"
#include "base/compat.h"
#include "capture/json_stream.h"
#include "delta/fill.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define ROWS_BETWEEN_LOOKS	1000
#define MS_BETWEEN_LOOKS	1000

#define INSERT_OPTIONS		(TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN)

struct DeriveFill
{
	MemoryContext cxt;			/* holds all of this */
	Oid			relid;
	char	   *name;
	char		persistence;
	Oid			heap_oid;		/* the new heap */
	Relation	heap;
	TupleTableSlot *slot;		/* of the new heap */
	BulkInsertState bulk;
	int64		nrows;
	TimestampTz last_look;
};

DeriveFill *
derive_fill_begin(Oid relid)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive fill",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveFill *fill = palloc0(sizeof(DeriveFill));
	Relation	rel = table_open(relid, AccessShareLock);

	fill->cxt = cxt;
	fill->relid = relid;
	fill->name = pstrdup(RelationGetRelationName(rel));
	fill->persistence = rel->rd_rel->relpersistence;
	if (rel->rd_rel->relkind == RELKIND_MATVIEW)
		derive_compat_log_message(DERIVE_FILL_MESSAGE, (const char *) &relid, sizeof(relid));
	fill->heap_oid = make_new_heap(relid, rel->rd_rel->reltablespace, rel->rd_rel->relam,
								   fill->persistence, AccessShareLock);
	table_close(rel, NoLock);

	fill->heap = table_open(fill->heap_oid, AccessExclusiveLock);
	fill->slot = table_slot_create(fill->heap, NULL);
	fill->bulk = GetBulkInsertState();
	fill->last_look = GetCurrentTimestamp();
	MemoryContextSwitchTo(old);

	return fill;
}

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

static void
give_way(DeriveFill *fill)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *relids;

	if (!TimestampDifferenceExceeds(fill->last_look, now, MS_BETWEEN_LOOKS))
		return;

	relids = list_make1_oid(fill->relid);
	if (derive_someone_waits(relids))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("filling of \"%s\" gives way to another session", fill->name),
				 errdetail("The session waits for an exclusive lock on it.")));
	list_free(relids);
	fill->last_look = now;
}

void
derive_fill_add(DeriveFill *fill, TupleTableSlot *row)
{
	ExecCopySlot(fill->slot, row);
	table_tuple_insert(fill->heap, fill->slot, GetCurrentCommandId(true), INSERT_OPTIONS, fill->bulk);

	fill->nrows++;
	if (fill->nrows % ROWS_BETWEEN_LOOKS == 0)
	{
		CHECK_FOR_INTERRUPTS();
		give_way(fill);
	}
}

/* Swap the heaps, and tell the statistics that the old rows are gone and the new ones there. */
static void
swap_in(DeriveFill *fill)
{
	Relation	rel = table_open(fill->relid, AccessExclusiveLock);

	/* an open scan would read from a file that is no longer there */
	CheckTableNotInUse(rel, "REFRESH MATERIALIZED VIEW");
	if (rel->rd_rel->relkind == RELKIND_MATVIEW && !rel->rd_rel->relispopulated)
		SetMatViewPopulatedState(rel, true);
	table_close(rel, NoLock);

	finish_heap_swap(fill->relid, fill->heap_oid, false, false, true, true,
					 RecentXmin, ReadNextMultiXactId(), fill->persistence);

	rel = table_open(fill->relid, NoLock);
	pgstat_count_truncate(rel);
	pgstat_count_heap_insert(rel, fill->nrows);
	table_close(rel, NoLock);
}

int64
derive_fill_finish(DeriveFill *fill)
{
	int64		nrows = fill->nrows;

	ExecDropSingleTupleTableSlot(fill->slot);
	FreeBulkInsertState(fill->bulk);
	table_finish_bulk_insert(fill->heap, INSERT_OPTIONS);
	table_close(fill->heap, NoLock);

	swap_in(fill);
	CommandCounterIncrement();
	MemoryContextDelete(fill->cxt);

	return nrows;
}
