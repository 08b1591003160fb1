/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  derive_state.lane and derive_state.stale: the views in the slow lane, and
 *	  which of them have something to catch up with.
 *
 * Few rows, mostly none: the tables are read as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/lane.h"
#include "base/waiting.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"

#define Anum_lane_view			1
#define Anum_lane_declared_at	2
#define Anum_lane_position		3
#define Anum_lane_lsn			4
#define Anum_lane_at			5
#define Anum_lane_duration		6
#define Anum_lane_whole			7
#define Anum_lane_error			8
#define Anum_lane_error_at		9
#define Anum_lane_as_of			10
#define Anum_lane_behind_since	11
#define Natts_lane				11

#define Anum_stale_view			1
#define Anum_stale_kind		2
#define Anum_stale_behind_since	3
#define Natts_stale				3

/* Its first column, in both tables. */
static Oid
view_of(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetObjectId(heap_getattr(tuple, Anum_lane_view, RelationGetDescr(rel), &isnull));
}


/* ----------------------------------------------------------------
 *		lane
 * ----------------------------------------------------------------
 */

static HeapTuple
form_lane(TupleDesc desc, const DeriveLaneRow *row)
{
	Datum		values[Natts_lane] = {0};
	bool		nulls[Natts_lane] = {false};

	values[Anum_lane_view - 1] = ObjectIdGetDatum(row->view);
	values[Anum_lane_declared_at - 1] = TimestampTzGetDatum(row->declared_at);
	nulls[Anum_lane_position - 1] = row->position == NULL;
	if (row->position != NULL)
		values[Anum_lane_position - 1] =
			DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(derive_position_out(row->position)));
	derive_position_time_out(row->position, &values[Anum_lane_as_of - 1], &nulls[Anum_lane_as_of - 1]);
	values[Anum_lane_lsn - 1] = LSNGetDatum(row->lsn);
	nulls[Anum_lane_lsn - 1] = XLogRecPtrIsInvalid(row->lsn);
	values[Anum_lane_at - 1] = TimestampTzGetDatum(row->at);
	nulls[Anum_lane_at - 1] = row->at == 0;
	values[Anum_lane_duration - 1] = Float8GetDatum(row->duration);
	nulls[Anum_lane_duration - 1] = row->duration < 0;
	values[Anum_lane_whole - 1] = Float8GetDatum(row->whole);
	nulls[Anum_lane_whole - 1] = row->whole < 0;
	nulls[Anum_lane_error - 1] = nulls[Anum_lane_error_at - 1] = row->error == NULL;
	values[Anum_lane_behind_since - 1] = TimestampTzGetDatum(row->behind_since);
	nulls[Anum_lane_behind_since - 1] = row->behind_since == 0;
	if (row->error != NULL)
	{
		values[Anum_lane_error - 1] = CStringGetTextDatum(row->error);
		values[Anum_lane_error_at - 1] = TimestampTzGetDatum(row->error_at);
	}
	return heap_form_tuple(desc, values, nulls);
}

static DeriveLaneRow *
deform_lane(TupleDesc desc, HeapTuple tuple)
{
	DeriveLaneRow *row = palloc0(sizeof(DeriveLaneRow));
	Datum		values[Natts_lane];
	bool		nulls[Natts_lane];

	heap_deform_tuple(tuple, desc, values, nulls);
	row->view = DatumGetObjectId(values[Anum_lane_view - 1]);
	row->declared_at = DatumGetTimestampTz(values[Anum_lane_declared_at - 1]);
	if (!nulls[Anum_lane_position - 1])
	{
		row->position =
			derive_position_in(DatumGetCString(DirectFunctionCall1(pg_snapshot_out,
																   values[Anum_lane_position - 1])));
		derive_position_time_in(row->position, values[Anum_lane_as_of - 1], nulls[Anum_lane_as_of - 1]);
	}
	if (!nulls[Anum_lane_lsn - 1])
		row->lsn = DatumGetLSN(values[Anum_lane_lsn - 1]);
	if (!nulls[Anum_lane_at - 1])
		row->at = DatumGetTimestampTz(values[Anum_lane_at - 1]);
	row->duration = nulls[Anum_lane_duration - 1] ? -1 : DatumGetFloat8(values[Anum_lane_duration - 1]);
	row->whole = nulls[Anum_lane_whole - 1] ? -1 : DatumGetFloat8(values[Anum_lane_whole - 1]);
	if (!nulls[Anum_lane_error - 1])
	{
		row->error = TextDatumGetCString(values[Anum_lane_error - 1]);
		row->error_at = DatumGetTimestampTz(values[Anum_lane_error_at - 1]);
	}
	if (!nulls[Anum_lane_behind_since - 1])
		row->behind_since = DatumGetTimestampTz(values[Anum_lane_behind_since - 1]);
	return row;
}

static bool
collect_lane(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **rows = arg;

	*rows = lappend(*rows, deform_lane(RelationGetDescr(rel), tuple));
	return true;
}

List *
derive_lane_all(Snapshot snapshot)
{
	List	   *rows = NIL;

	derive_registry_read("lane", AccessShareLock, snapshot, collect_lane, &rows);
	return rows;
}

DeriveLaneRow *
derive_lane_get(Oid view, Snapshot snapshot)
{
	ListCell   *lc;

	foreach(lc, derive_lane_all(snapshot))
	{
		DeriveLaneRow *row = lfirst(lc);

		if (row->view == view)
			return row;
	}
	return NULL;
}

DeriveLaneRow *
derive_lane_of(const DeriveViewRow *row, Snapshot snapshot)
{
	DeriveLaneRow *lane = derive_lane_get(row->relid, snapshot);

	return lane != NULL && lane->declared_at == row->created_at ? lane : NULL;
}

typedef struct Search
{
	Oid			view;
	HeapTuple	found;			/* a copy */
} Search;

static bool
find_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	Search	   *search = arg;

	if (view_of(rel, tuple) != search->view)
		return true;
	search->found = heap_copytuple(tuple);
	return false;
}

void
derive_lane_set(const DeriveLaneRow *row)
{
	Relation	rel = derive_registry_open("lane", RowExclusiveLock);
	HeapTuple	new = form_lane(RelationGetDescr(rel), row);
	Search		search = {row->view, NULL};

	derive_registry_read("lane", RowExclusiveLock, NULL, find_tuple, &search);
	if (search.found != NULL)
		CatalogTupleUpdate(rel, &search.found->t_self, new);
	else
		CatalogTupleInsert(rel, new);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static bool
delete_if_found(Relation rel, HeapTuple tuple, void *arg)
{
	if (view_of(rel, tuple) == *(Oid *) arg)
		CatalogTupleDelete(rel, &tuple->t_self);
	return true;
}

void
derive_lane_end(Oid view)
{
	derive_registry_read("lane", RowExclusiveLock, NULL, delete_if_found, &view);
	derive_stale_end(view, NULL);
}


/* ----------------------------------------------------------------
 *		stale
 * ----------------------------------------------------------------
 */

static bool
collect_stale(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **rows = arg;
	DeriveStale *stale = NULL;
	ListCell   *lc;
	bool		isnull;
	char		kind;
	TimestampTz since;

	foreach(lc, *rows)
	{
		if (((DeriveStale *) lfirst(lc))->view == view_of(rel, tuple))
			stale = lfirst(lc);
	}
	if (stale == NULL)
	{
		stale = palloc0(sizeof(DeriveStale));
		stale->view = view_of(rel, tuple);
		*rows = lappend(*rows, stale);
	}
	kind = DatumGetChar(heap_getattr(tuple, Anum_stale_kind, RelationGetDescr(rel), &isnull));
	stale->changed |= kind != DERIVE_STALE_FOLLOWS;
	stale->restart |= kind == DERIVE_STALE_RESTART;
	since = DatumGetTimestampTz(heap_getattr(tuple, Anum_stale_behind_since, RelationGetDescr(rel), &isnull));
	if (stale->behind_since == 0 || since < stale->behind_since)
		stale->behind_since = since;
	return true;
}

List *
derive_stale_all(Snapshot snapshot)
{
	List	   *rows = NIL;

	derive_registry_read("stale", AccessShareLock, snapshot, collect_stale, &rows);
	return rows;
}

DeriveStale *
derive_stale_get(Oid view, Snapshot snapshot)
{
	ListCell   *lc;

	foreach(lc, derive_stale_all(snapshot))
	{
		DeriveStale *stale = lfirst(lc);

		if (stale->view == view)
			return stale;
	}
	return NULL;
}

void
derive_stale_add(Oid view, DeriveStaleKind kind, TimestampTz behind_since)
{
	Relation	rel = derive_registry_open("stale", RowExclusiveLock);
	Datum		values[Natts_stale] = {ObjectIdGetDatum(view), CharGetDatum(kind), TimestampTzGetDatum(behind_since)};
	bool		nulls[Natts_stale] = {false};

	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
derive_stale_end(Oid view, Snapshot snapshot)
{
	derive_registry_read("stale", RowExclusiveLock, snapshot, delete_if_found, &view);
	CommandCounterIncrement();
}


/* ----------------------------------------------------------------
 *		Where a view stands
 * ----------------------------------------------------------------
 */

DerivePosition *
derive_position_of_view(const DeriveViewRow *row)
{
	DeriveWaitingRow *waiting = derive_waiting_get(row->relid);
	DeriveLaneRow *lane = derive_lane_of(row, NULL);

	if (waiting != NULL && waiting->declared_at == row->created_at && waiting->position != NULL)
		return waiting->position;
	if (lane != NULL && lane->position != NULL &&
		(lane->error != NULL || derive_stale_get(row->relid, NULL) != NULL))
		return lane->position;
	return row->position != NULL ? row->position : derive_registry_position(row->group, NULL, NULL);
}

void
derive_stand_still(DeriveViewRow *row)
{
	DeriveWaitingRow *waiting = derive_waiting_get(row->relid);
	DeriveLaneRow *lane = derive_lane_of(row, NULL);
	DeriveStale *stale = lane != NULL ? derive_stale_get(row->relid, NULL) : NULL;

	row->position = derive_position_of_view(row);
	if (row->behind_since != 0)
		;						/* has stood still before */
	else if (waiting != NULL && waiting->declared_at == row->created_at)
		row->behind_since = waiting->behind_since;
	else if (lane != NULL && lane->error != NULL)
		row->behind_since = lane->behind_since;
	else if (stale != NULL)
		row->behind_since = stale->behind_since;
}
