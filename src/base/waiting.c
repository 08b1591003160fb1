/*-------------------------------------------------------------------------
 *
 * waiting.c
 *	  derive_state.waiting: the views that should move and cannot.
 *
 * Few rows, mostly none: the table is read as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/registry.h"
#include "base/waiting.h"
#include "catalog/indexing.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"

#define Anum_waiting_view			1
#define Anum_waiting_declared_at	2
#define Anum_waiting_position		3
#define Anum_waiting_lsn			4
#define Anum_waiting_since			5
#define Anum_waiting_reason			6
#define Anum_waiting_relation		7
#define Anum_waiting_mode			8
#define Anum_waiting_as_of			9
#define Anum_waiting_behind_since	10
#define Natts_waiting				10

/* The mode of a lock by its name, as in pg_locks. */
static LOCKMODE
mode_from_name(const char *name)
{
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
	{
		if (strcmp(GetLockmodeName(DEFAULT_LOCKMETHOD, mode), name) == 0)
			return mode;
	}
	return NoLock;
}

static HeapTuple
form_tuple(TupleDesc desc, const DeriveWaitingRow *row)
{
	Datum		values[Natts_waiting] = {0};
	bool		nulls[Natts_waiting] = {false};

	values[Anum_waiting_view - 1] = ObjectIdGetDatum(row->view);
	values[Anum_waiting_declared_at - 1] = TimestampTzGetDatum(row->declared_at);
	if (row->position != NULL)
	{
		values[Anum_waiting_position - 1] =
			DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(derive_position_out(row->position)));
		values[Anum_waiting_lsn - 1] = LSNGetDatum(row->lsn);
	}
	else
		nulls[Anum_waiting_position - 1] = nulls[Anum_waiting_lsn - 1] = true;
	derive_position_time_out(row->position, &values[Anum_waiting_as_of - 1], &nulls[Anum_waiting_as_of - 1]);
	values[Anum_waiting_since - 1] = TimestampTzGetDatum(row->since);
	values[Anum_waiting_behind_since - 1] = TimestampTzGetDatum(row->behind_since);
	values[Anum_waiting_reason - 1] = CStringGetTextDatum(row->reason);
	if (OidIsValid(row->relation))
	{
		values[Anum_waiting_relation - 1] = ObjectIdGetDatum(row->relation);
		values[Anum_waiting_mode - 1] = CStringGetTextDatum(GetLockmodeName(DEFAULT_LOCKMETHOD, row->mode));
	}
	else
		nulls[Anum_waiting_relation - 1] = nulls[Anum_waiting_mode - 1] = true;
	return heap_form_tuple(desc, values, nulls);
}

static DeriveWaitingRow *
deform_tuple(TupleDesc desc, HeapTuple tuple)
{
	DeriveWaitingRow *row = palloc0(sizeof(DeriveWaitingRow));
	Datum		values[Natts_waiting];
	bool		nulls[Natts_waiting];

	heap_deform_tuple(tuple, desc, values, nulls);
	row->view = DatumGetObjectId(values[Anum_waiting_view - 1]);
	row->declared_at = DatumGetTimestampTz(values[Anum_waiting_declared_at - 1]);
	if (!nulls[Anum_waiting_position - 1])
	{
		row->position =
			derive_position_in(DatumGetCString(DirectFunctionCall1(pg_snapshot_out,
																   values[Anum_waiting_position - 1])));
		derive_position_time_in(row->position, values[Anum_waiting_as_of - 1], nulls[Anum_waiting_as_of - 1]);
		row->lsn = DatumGetLSN(values[Anum_waiting_lsn - 1]);
	}
	row->since = DatumGetTimestampTz(values[Anum_waiting_since - 1]);
	row->behind_since = DatumGetTimestampTz(values[Anum_waiting_behind_since - 1]);
	row->reason = TextDatumGetCString(values[Anum_waiting_reason - 1]);
	if (!nulls[Anum_waiting_relation - 1])
	{
		row->relation = DatumGetObjectId(values[Anum_waiting_relation - 1]);
		row->mode = mode_from_name(TextDatumGetCString(values[Anum_waiting_mode - 1]));
	}
	return row;
}

/* A copy of the view's tuple, or NULL. */
static HeapTuple
find_tuple(Relation rel, Oid view)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		if (DatumGetObjectId(heap_getattr(tuple, Anum_waiting_view, RelationGetDescr(rel), &isnull)) == view)
			break;
	}
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static bool
collect(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **result = arg;

	*result = lappend(*result, deform_tuple(RelationGetDescr(rel), tuple));
	return true;
}

List *
derive_waiting_all_at(Snapshot snapshot)
{
	List	   *result = NIL;

	derive_registry_read("waiting", AccessShareLock, snapshot, collect, &result);
	return result;
}

List *
derive_waiting_all(void)
{
	return derive_waiting_all_at(NULL);
}

DeriveWaitingRow *
derive_waiting_get_at(Oid view, Snapshot snapshot)
{
	ListCell   *lc;

	foreach(lc, derive_waiting_all_at(snapshot))
	{
		DeriveWaitingRow *row = lfirst(lc);

		if (row->view == view)
			return row;
	}
	return NULL;
}

DeriveWaitingRow *
derive_waiting_get(Oid view)
{
	return derive_waiting_get_at(view, NULL);
}

void
derive_waiting_set(const DeriveWaitingRow *row)
{
	Relation	rel = derive_registry_open("waiting", RowExclusiveLock);
	HeapTuple	old = find_tuple(rel, row->view);
	HeapTuple	new = form_tuple(RelationGetDescr(rel), row);

	if (old != NULL)
		CatalogTupleUpdate(rel, &old->t_self, new);
	else
		CatalogTupleInsert(rel, new);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
derive_waiting_end(Oid view)
{
	Relation	rel = derive_registry_open("waiting", RowExclusiveLock);
	HeapTuple	old = find_tuple(rel, view);

	if (old != NULL)
		CatalogTupleDelete(rel, &old->t_self);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}
