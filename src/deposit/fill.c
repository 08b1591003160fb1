/*-------------------------------------------------------------------------
 *
 * fill.c
 *	  Giving a relation wholly new contents, as REFRESH MATERIALIZED VIEW does.
 *
 * The rows go into a new heap, made like the relation's.  Nobody can see it,
 * and if the transaction aborts it is gone, so its rows are written frozen and
 * without looking for free space, many at once: then a page is locked, and
 * logged, once for all of its rows, and known to be all-visible from the start.
 * At the end the two heaps swap their files, the old one is dropped, and all
 * indexes are built, which is cheaper than to keep them up row by row.
 *
 * Giving way
 *
 *	The filling may take hours, all the time holding a lock on the relation, a
 *	weak one.  Somebody who wants to drop the relation would wait for us, and
 *	everybody else behind him.  So we look now and then whether someone waits
 *	for AccessExclusiveLock and if so give up; the worker tries again later.
 *
 *	At the end the row in pg_class is locked as well (base/class_row.h), which an open
 *	transaction with a GRANT may have.
 *
 * Locks that are not on relations
 *
 *	The server locks what a new object depends on when it writes that down: the
 *	schema of a heap, the types of its columns, its owner.  It waits for those, while
 *	we hold locks on the tables that the query reads:
 *
 *		DROP SCHEMA s CASCADE		filling s.v from s.t
 *									s.t: AccessShareLock
 *		schema s: exclusive
 *		s.t: waits for us
 *									schema s: would wait for him
 *
 *	So these are locked first, if they are free, and else we try again later.  The new
 *	heap depends on what the relation depends on, which pg_depend tells.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/class_row.h"
#include "base/compat.h"
#include "base/elapsed.h"
#include "base/lock_waiters.h"
#include "capture/json_stream.h"
#include "catalog/catalog.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "commands/cluster.h"
#include "commands/matview.h"
#include "commands/tablecmds.h"
#include "deposit/fill.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define ROWS_BETWEEN_LOOKS	1000
#define MS_BETWEEN_LOOKS	1000

#define INSERT_OPTIONS		(TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN)

/* So many rows are written at once, or so many bytes of them. */
#define MAX_WAITING_ROWS	1000
#define MAX_WAITING_BYTES	(64 * 1024)

struct DeriveFill
{
	MemoryContext cxt;			/* holds all of this */
	Oid			relid;
	char	   *name;
	char		persistence;
	Oid			heap_oid;		/* the new heap */
	Relation	heap;
	MemoryContext write_cxt;	/* reset after each writing */
	BulkInsertState bulk;
	TupleTableSlot *waiting[MAX_WAITING_ROWS];	/* of the new heap; NULL until
												 * needed */
	int			nwaiting;
	Size		waiting_bytes;
	int64		nrows;
	int64		last_look;		/* derive_monotonic_ms() */
};

static void
lock_object(Oid relid, Oid classid, Oid objid)
{
	ObjectAddress object;
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, IsSharedRelation(classid) ? InvalidOid : MyDatabaseId, classid, objid, 0);
	if (LockAcquire(&tag, AccessShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return;
	ObjectAddressSet(object, classid, objid);
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not obtain lock on %s", getObjectDescription(&object, true)),
			 errdetail("\"%s\" depends on it.", get_rel_name(relid))));
}

void
derive_fill_lock_dependencies(List *relids)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ListCell   *lc;

	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		Relation	rel = table_open(relid, AccessShareLock);
		Oid			owner = rel->rd_rel->relowner;
		ScanKeyData key[2];
		SysScanDesc scan;
		HeapTuple	tuple;

		table_close(rel, NoLock);
		if (!IsPinnedObject(AuthIdRelationId, owner))
			lock_object(relid, AuthIdRelationId, owner);
		ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
		ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
		scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

			if (form->refclassid != RelationRelationId)
				lock_object(relid, form->refclassid, form->refobjid);
		}
		systable_endscan(scan);
	}
	table_close(depend, AccessShareLock);
}

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
	fill->write_cxt = AllocSetContextCreate(cxt, "pg_derive written rows", ALLOCSET_DEFAULT_SIZES);
	fill->bulk = GetBulkInsertState();
	fill->last_look = derive_monotonic_ms();
	MemoryContextSwitchTo(old);

	return fill;
}

static void
give_way(DeriveFill *fill)
{
	if (!derive_has_elapsed(fill->last_look, MS_BETWEEN_LOOKS))
		return;

	if (derive_someone_waits_for(MyProcPid, AccessExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("filling of \"%s\" gives way to another session", fill->name),
				 errdetail("The session waits for an exclusive lock on what is read or written.")));
	fill->last_look = derive_monotonic_ms();
}

static void
write_waiting(DeriveFill *fill)
{
	MemoryContext old = MemoryContextSwitchTo(fill->write_cxt);

	if (fill->nwaiting > 0)
		table_multi_insert(fill->heap, fill->waiting, fill->nwaiting, GetCurrentCommandId(true), INSERT_OPTIONS, fill->bulk);
	for (int i = 0; i < fill->nwaiting; i++)
		ExecClearTuple(fill->waiting[i]);
	fill->nwaiting = 0;
	fill->waiting_bytes = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(fill->write_cxt);
}

static TupleTableSlot *
next_waiting(DeriveFill *fill)
{
	TupleTableSlot **slot = &fill->waiting[fill->nwaiting++];

	if (*slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fill->cxt);

		*slot = table_slot_create(fill->heap, NULL);
		MemoryContextSwitchTo(old);
	}
	return *slot;
}

void
derive_fill_add(DeriveFill *fill, TupleTableSlot *row)
{
	TupleTableSlot *slot = next_waiting(fill);
	HeapTuple	tuple;
	bool		is_copy;

	ExecCopySlot(slot, row);
	tuple = ExecFetchSlotHeapTuple(slot, false, &is_copy);
	fill->waiting_bytes += tuple->t_len;
	if (is_copy)
		heap_freetuple(tuple);
	if (fill->nwaiting == MAX_WAITING_ROWS || fill->waiting_bytes >= MAX_WAITING_BYTES)
		write_waiting(fill);

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
	derive_class_row_require(fill->relid);
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

	write_waiting(fill);
	for (int i = 0; i < MAX_WAITING_ROWS && fill->waiting[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(fill->waiting[i]);
	FreeBulkInsertState(fill->bulk);
	table_finish_bulk_insert(fill->heap, INSERT_OPTIONS);
	table_close(fill->heap, NoLock);

	swap_in(fill);
	CommandCounterIncrement();
	MemoryContextDelete(fill->cxt);

	return nrows;
}
