/*-------------------------------------------------------------------------
 *
 * class_row.c
 *	  The row of pg_class of a relation that gets other files.
 *
 * Who gives a relation another file changes its row in pg_class, under
 * AccessExclusiveLock.  GRANT changes it too, for the rights, and takes no lock on the
 * relation.  What everybody writes runs into that:
 *
 *		SELECT derive.create_view('v', ..);		a builder fills v, and changes the row
 *		GRANT SELECT ON v TO web;				waits for the builder's transaction, and
 *												ERROR:  tuple concurrently updated
 *
 * and a GRANT whose transaction stays open would have a worker wait, and all of its
 * views.  But since 15.9 GRANT first locks the row (LockTuple()), so that it does not
 * get lost in an update in place, and when it has waited for that looks for the row
 * anew (SearchSysCacheLocked1() in syscache.c).  So we take that lock before we change
 * the row and keep it until our transaction ends, when the new row can be seen: GRANT
 * waits, and goes on.
 *
 * An index that is made changes the row as well, in place, which waits for whoever has
 * changed it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/class_row.h"
#include "base/usercode.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The mode of LockTuple() that GRANT and updates in place take; InplaceUpdateTupleLock (heapam.c). */
#define ROW_LOCK	ExclusiveLock

static bool
find_row(Oid relid, ItemPointer tid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		return false;
	*tid = tuple->t_self;
	ReleaseSysCache(tuple);
	return true;
}

/*
 * Has another transaction put another row in its place?  One that has not ended, or one
 * that just has, and whose invalidation is still to come.
 */
static bool
is_being_changed(Oid relid, ItemPointer tid)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	SnapshotData dirty;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(classes, ClassOidIndexId, true, &dirty, 1, &key);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax) ||
			!ItemPointerEquals(&tuple->t_self, tid);
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return result;
}

static bool
lock_row(Oid relid, LOCKTAG *tag)
{
	ItemPointerData tid;
	ItemPointerData found;

	while (find_row(relid, &tid))
	{
		bool		moved;

		SET_LOCKTAG_TUPLE(*tag, MyDatabaseId, RelationRelationId,
						  ItemPointerGetBlockNumber(&tid), ItemPointerGetOffsetNumber(&tid));
		if (LockAcquire(tag, ROW_LOCK, false, true) == LOCKACQUIRE_NOT_AVAIL)
			return false;
		/* who had it may have changed the row */
		AcceptInvalidationMessages();
		moved = !find_row(relid, &found) || !ItemPointerEquals(&found, &tid);
		if (!moved && !is_being_changed(relid, &tid))
			return true;
		LockRelease(tag, ROW_LOCK, false);
		if (!moved)
			return false;
	}
	return false;
}

bool
derive_class_row_lock(Oid relid)
{
	LOCKTAG		tag;

	return lock_row(relid, &tag);
}

void
derive_class_row_require(Oid relid)
{
	if (derive_is_worker && !derive_class_row_lock(relid))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on the entry of \"%s\" in pg_class", get_rel_name(relid)),
				 errdetail("A transaction that has not ended has changed it, perhaps with GRANT.")));
}

bool
derive_class_row_is_free(Oid relid)
{
	LOCKTAG		tag;

	if (!lock_row(relid, &tag))
		return false;
	LockRelease(&tag, ROW_LOCK, false);
	return true;
}
