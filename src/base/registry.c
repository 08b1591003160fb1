/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Our catalog tables in schema derive_state: reading and writing them.
 *
 * The tables are ordinary ones, members of the extension, and are treated as
 * the server treats its own catalogs: scanned with a fresh catalog snapshot
 * (so that even a repeatable-read transaction sees what was committed since it
 * began), written with the rights of the server itself, and announced by a
 * relcache invalidation of derive_state.views, which every process that keeps
 * a copy listens to.
 *
 * Who may change the row of a view: whoever holds a lock on the view that
 * conflicts with RowExclusiveLock (sessions: pause, resume, release, ...), or
 * the worker of its group or a builder holding RowExclusiveLock on it.  Worker
 * and builder never both own a view: the builder owns it while it is
 * 'building' and has a builder, the worker otherwise.  So rows are never
 * updated concurrently.
 *
 * The OIDs of the tables and indexes are looked up by name once and kept until
 * an invalidation of derive_state.views says that they may have changed.
 *
 * Versions.  After an installation of another library the tables may be others than
 * this one knows, until ALTER EXTENSION UPDATE.  Then none of them is touched: for our
 * hooks it is as if there was no extension, so that DDL works; functions and processes
 * of ours end with an error that says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/error_context.h"
#include "base/groups.h"
#include "base/label.h"
#include "base/registry.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define STATE_SCHEMA	"derive_state"

/* derive_state.views */
#define Anum_views_relid		1
#define Anum_views_state		2
#define Anum_views_rebuild		3
#define Anum_views_error		4
#define Anum_views_error_at		5
#define Anum_views_created_at	6
#define Anum_views_position		7
#define Anum_views_epoch		8
#define Anum_views_members		9
#define Anum_views_basis		10
#define Anum_views_settings		11
#define Anum_views_program		12
#define Anum_views_maintained	13
#define Anum_views_timed		14
#define Anum_views_as_of		15
#define Anum_views_retry		16
#define Anum_views_replaces		17
#define Anum_views_since		18
#define Anum_views_behind_since	19
#define Anum_views_crashes		20
#define Anum_views_retry_at		21
#define Anum_views_in_group		22
#define Natts_views				22

/* derive_state.relations */
#define Anum_relations_view		1
#define Anum_relations_operator	2
#define Anum_relations_role		3
#define Anum_relations_relid	4
#define Natts_relations			4

/* derive_state.position */
#define Anum_position_snapshot	1
#define Anum_position_lsn		2
#define Anum_position_committed_at 3
#define Anum_position_held_since 4
#define Anum_position_as_of		5
#define Anum_position_cluster	6
#define Anum_position_of_group	7
#define Natts_position			7

/*
 * What we know by name.  Opening a relation can take in an invalidation that
 * makes us forget it all, so every function works with a copy of its own.
 */
typedef struct Names
{
	Oid			extension;
	Oid			schema;
	Oid			views;
	Oid			views_pkey;
	Oid			relations;
	Oid			relations_pkey;
	Oid			position;
} Names;

static Names known;				/* all InvalidOid: not looked up yet */

static bool callback_registered = false;

static void forget_on_invalidation(Datum arg, Oid relid);
static bool is_known_version(const char *version);
static bool lookup_names(Names *names);
static void announce_change(Names names);
static HeapTuple form_view_tuple(TupleDesc desc, const DeriveViewRow *row);
static DeriveViewRow *deform_view_tuple(TupleDesc desc, HeapTuple tuple);
static HeapTuple find_view_tuple(Names names, Relation views, Oid view, Snapshot snapshot);
static Datum position_datum(const DerivePosition *position);
static DerivePosition *position_of_datum(Datum value);


/* ----------------------------------------------------------------
 *		Names
 * ----------------------------------------------------------------
 */

void
derive_registry_reset(void)
{
	memset(&known, 0, sizeof(known));
}

static void
forget_on_invalidation(Datum arg, Oid relid)
{
	/* what happens to an index is announced for its table */
	if (!OidIsValid(relid) || relid == known.views || relid == known.relations)
		derive_registry_reset();
}

char *
derive_extension_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *result = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(DERIVE_EXTENSION_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		result = TextDatumGetCString(version);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static bool
is_known_version(const char *version)
{
	return version != NULL && strcmp(version, DERIVE_EXTENSION_VERSION) == 0;
}

void
derive_require_version(void)
{
	char	   *version = derive_extension_version();

	if (version != NULL && !is_known_version(version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the SQL objects of extension \"%s\" are of version %s, the library is of version %s",
						DERIVE_EXTENSION_NAME, version, DERIVE_EXTENSION_VERSION),
				 errhint(DERIVE_VERSION_HINT)));
}

void
derive_registry_version_changed(void)
{
	Oid			schema = get_namespace_oid(STATE_SCHEMA, true);
	Oid			views = OidIsValid(schema) ? get_relname_relid("views", schema) : InvalidOid;

	derive_registry_reset();
	if (OidIsValid(views))
		CacheInvalidateRelcacheByRelid(views);
}

/*
 * Look up everything at once; false where the extension is not installed, or is of
 * another version.
 */
static bool
lookup_names(Names *names)
{
	if (OidIsValid(known.position))
	{
		*names = known;
		return true;
	}

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_on_invalidation, (Datum) 0);
		callback_registered = true;
	}

	memset(names, 0, sizeof(*names));
	names->extension = get_extension_oid(DERIVE_EXTENSION_NAME, true);
	if (!OidIsValid(names->extension) || !is_known_version(derive_extension_version()))
		return false;
	names->schema = get_namespace_oid(STATE_SCHEMA, true);
	if (!OidIsValid(names->schema))
		return false;
	names->views = get_relname_relid("views", names->schema);
	names->views_pkey = get_relname_relid("views_pkey", names->schema);
	names->relations = get_relname_relid("relations", names->schema);
	names->relations_pkey = get_relname_relid("relations_pkey", names->schema);
	names->position = get_relname_relid("position", names->schema);

	if (!OidIsValid(names->views) || !OidIsValid(names->views_pkey) ||
		!OidIsValid(names->relations) || !OidIsValid(names->relations_pkey) ||
		!OidIsValid(names->position))
		return false;
	known = *names;
	return true;
}

/* As lookup_names(), with an error for people. */
static Names
require_names(void)
{
	Names		names;

	if (lookup_names(&names))
		return names;
	derive_require_version();
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"%s\" is not installed in this database", DERIVE_EXTENSION_NAME),
			 errhint("Run CREATE EXTENSION %s.", DERIVE_EXTENSION_NAME)));
	return names;				/* keep compilers quiet */
}

/* Whoever waits for the lock finds that DROP EXTENSION, which held it, has removed the table. */
static Relation
open_table(Oid relid, LOCKMODE mode)
{
	Relation	result = try_table_open(relid, mode);

	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" was dropped", DERIVE_EXTENSION_NAME)));
	return result;
}

Relation
derive_registry_open(const char *name, LOCKMODE mode)
{
	return open_table(derive_registry_table_oid(name, false), mode);
}

void
derive_registry_read(const char *name, LOCKMODE mode, Snapshot snapshot, DeriveTupleReader reader, void *arg)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(derive_registry_table_oid(name, true)))
		return;
	rel = derive_registry_open(name, mode);
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)) && reader(rel, tuple, arg))
		;
	systable_endscan(scan);
	table_close(rel, mode == AccessShareLock ? mode : NoLock);
}

Oid
derive_extension_oid(bool missing_ok)
{
	Names		names;

	if (missing_ok)
		return lookup_names(&names) ? names.extension : InvalidOid;
	return require_names().extension;
}

Oid
derive_state_schema_oid(bool missing_ok)
{
	Names		names;

	if (missing_ok)
		return lookup_names(&names) ? names.schema : InvalidOid;
	return require_names().schema;
}

Oid
derive_registry_table_oid(const char *name, bool missing_ok)
{
	Names		names;
	Oid			result;

	if (!lookup_names(&names))
	{
		if (missing_ok)
			return InvalidOid;
		names = require_names();
	}
	result = get_relname_relid(name, names.schema);
	if (!OidIsValid(result) && !missing_ok)
		elog(ERROR, "table \"%s.%s\" does not exist", STATE_SCHEMA, name);
	return result;
}

/* Tell every process, at commit, that the catalog changed; see it ourselves now. */
static void
announce_change(Names names)
{
	CacheInvalidateRelcacheByRelid(names.views);
	CommandCounterIncrement();
}


/* ----------------------------------------------------------------
 *		derive_state.views
 * ----------------------------------------------------------------
 */

static Datum
position_datum(const DerivePosition *position)
{
	return DirectFunctionCall1(pg_snapshot_in,
							   CStringGetDatum(derive_position_out(position)));
}

static DerivePosition *
position_of_datum(Datum value)
{
	return derive_position_in(DatumGetCString(DirectFunctionCall1(pg_snapshot_out, value)));
}

static HeapTuple
form_view_tuple(TupleDesc desc, const DeriveViewRow *row)
{
	Datum		values[Natts_views];
	bool		nulls[Natts_views];

	memset(nulls, 0, sizeof(nulls));
	values[Anum_views_relid - 1] = ObjectIdGetDatum(row->relid);
	values[Anum_views_state - 1] = CharGetDatum((char) row->state);
	values[Anum_views_rebuild - 1] = BoolGetDatum(row->rebuild);
	if (row->error != NULL)
		values[Anum_views_error - 1] = CStringGetTextDatum(row->error);
	else
		nulls[Anum_views_error - 1] = true;
	values[Anum_views_error_at - 1] = TimestampTzGetDatum(row->error_at);
	nulls[Anum_views_error_at - 1] = (row->error_at == 0);
	values[Anum_views_created_at - 1] = TimestampTzGetDatum(row->created_at);
	if (row->position != NULL)
		values[Anum_views_position - 1] = position_datum(row->position);
	else
		nulls[Anum_views_position - 1] = true;
	values[Anum_views_epoch - 1] = Int64GetDatum(row->epoch);
	values[Anum_views_members - 1] = Int64GetDatum(row->members);
	values[Anum_views_basis - 1] = Int64GetDatum(row->basis);
	values[Anum_views_settings - 1] = PointerGetDatum(row->settings);
	values[Anum_views_program - 1] = Int64GetDatum(row->program);
	values[Anum_views_maintained - 1] = CharGetDatum((char) row->maintained);
	values[Anum_views_timed - 1] = BoolGetDatum(row->timed);
	derive_position_time_out(row->position, &values[Anum_views_as_of - 1], &nulls[Anum_views_as_of - 1]);
	values[Anum_views_retry - 1] = BoolGetDatum(row->retry && row->error != NULL);
	values[Anum_views_replaces - 1] = ObjectIdGetDatum(row->replaces);
	nulls[Anum_views_replaces - 1] = !OidIsValid(row->replaces);
	values[Anum_views_since - 1] = TimestampTzGetDatum(row->since);
	values[Anum_views_behind_since - 1] = TimestampTzGetDatum(row->behind_since);
	nulls[Anum_views_behind_since - 1] = (row->behind_since == 0);
	values[Anum_views_crashes - 1] = Int32GetDatum(row->crashes);
	values[Anum_views_retry_at - 1] = TimestampTzGetDatum(row->retry_at);
	nulls[Anum_views_retry_at - 1] = (row->retry_at == 0);
	values[Anum_views_in_group - 1] = Int32GetDatum(row->group);

	return heap_form_tuple(desc, values, nulls);
}

static DeriveViewRow *
deform_view_tuple(TupleDesc desc, HeapTuple tuple)
{
	DeriveViewRow *row = palloc0(sizeof(DeriveViewRow));
	Datum		values[Natts_views];
	bool		nulls[Natts_views];

	if (desc->natts != Natts_views)
		elog(ERROR, "table \"%s.views\" has %d columns instead of %d",
			 STATE_SCHEMA, desc->natts, Natts_views);
	heap_deform_tuple(tuple, desc, values, nulls);

	row->relid = DatumGetObjectId(values[Anum_views_relid - 1]);
	row->state = (DeriveViewState) DatumGetChar(values[Anum_views_state - 1]);
	row->rebuild = DatumGetBool(values[Anum_views_rebuild - 1]);
	if (!nulls[Anum_views_error - 1])
		row->error = TextDatumGetCString(values[Anum_views_error - 1]);
	if (!nulls[Anum_views_error_at - 1])
		row->error_at = DatumGetTimestampTz(values[Anum_views_error_at - 1]);
	row->created_at = DatumGetTimestampTz(values[Anum_views_created_at - 1]);
	if (!nulls[Anum_views_position - 1])
	{
		row->position = position_of_datum(values[Anum_views_position - 1]);
		derive_position_time_in(row->position, values[Anum_views_as_of - 1], nulls[Anum_views_as_of - 1]);
	}
	row->epoch = DatumGetInt64(values[Anum_views_epoch - 1]);
	row->members = DatumGetInt64(values[Anum_views_members - 1]);
	row->basis = DatumGetInt64(values[Anum_views_basis - 1]);
	row->settings = DatumGetArrayTypePCopy(values[Anum_views_settings - 1]);
	row->program = DatumGetInt64(values[Anum_views_program - 1]);
	row->maintained = (DeriveMaintained) DatumGetChar(values[Anum_views_maintained - 1]);
	row->timed = DatumGetBool(values[Anum_views_timed - 1]);
	row->retry = DatumGetBool(values[Anum_views_retry - 1]);
	row->replaces = nulls[Anum_views_replaces - 1] ? InvalidOid : DatumGetObjectId(values[Anum_views_replaces - 1]);
	row->since = DatumGetTimestampTz(values[Anum_views_since - 1]);
	if (!nulls[Anum_views_behind_since - 1])
		row->behind_since = DatumGetTimestampTz(values[Anum_views_behind_since - 1]);
	row->crashes = DatumGetInt32(values[Anum_views_crashes - 1]);
	if (!nulls[Anum_views_retry_at - 1])
		row->retry_at = DatumGetTimestampTz(values[Anum_views_retry_at - 1]);
	row->group = DatumGetInt32(values[Anum_views_in_group - 1]);
	row->move_to = -1;
	row->version = tuple->t_self;
	return row;
}

/* A copy of the row's tuple, or NULL; snapshot NULL: the latest. */
static HeapTuple
find_view_tuple(Names names, Relation views, Oid view, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_views_relid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(view));
	scan = systable_beginscan(views, names.views_pkey, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/* Is the view in the same state, as people see it?  One that failed has failed while it is tried again. */
static bool
same_state(const DeriveViewRow *a, const DeriveViewRow *b)
{
	if ((a->state == DERIVE_VIEW_PAUSED) != (b->state == DERIVE_VIEW_PAUSED) ||
		(a->error == NULL) != (b->error == NULL))
		return false;
	return a->error != NULL || (a->state == b->state && a->rebuild == b->rebuild);
}

void
derive_registry_insert(const DeriveViewRow *row)
{
	DeriveViewRow fresh = *row;
	Names		names;
	Relation	views;

	fresh.since = GetCurrentTimestamp();
	names = require_names();
	views = open_table(names.views, RowExclusiveLock);
	CatalogTupleInsert(views, form_view_tuple(RelationGetDescr(views), &fresh));
	table_close(views, NoLock);
	announce_change(names);
	derive_registry_write_label(row);
}

/* Does the label of the view say something else than before? */
static bool
other_label(const DeriveViewRow *before, const DeriveViewRow *after)
{
	return (before->state == DERIVE_VIEW_PAUSED) != (after->state == DERIVE_VIEW_PAUSED) ||
		before->replaces != after->replaces || before->group != after->group ||
		!datumIsEqual(PointerGetDatum(before->settings), PointerGetDatum(after->settings), false, -1);
}

void
derive_registry_write_label(const DeriveViewRow *row)
{
	DeriveViewLabel label;

	label.paused = row->state == DERIVE_VIEW_PAUSED && derive_is_populated(row->relid);
	label.group = row->group == DERIVE_DEFAULT_GROUP ? NULL : derive_group_name(row->group);
	label.settings = row->settings;
	derive_view_label_set(row->relid, OidIsValid(row->replaces) ? NULL : &label);
}

void
derive_registry_update(const DeriveViewRow *row)
{
	Names		names;
	Relation	views;
	HeapTuple	old;
	HeapTuple	new;
	DeriveViewRow *before;
	DeriveViewRow after = *row;
	bool		relabel;

	names = require_names();
	views = open_table(names.views, RowExclusiveLock);
	old = find_view_tuple(names, views, row->relid, NULL);
	if (!HeapTupleIsValid(old))
		elog(ERROR, "relation \"%s\" is not in the registry of maintained views", derive_relation_name(row->relid));
	before = deform_view_tuple(RelationGetDescr(views), old);
	relabel = other_label(before, row);
	after.since = same_state(before, row) ? before->since : GetCurrentTimestamp();
	new = form_view_tuple(RelationGetDescr(views), &after);
	CatalogTupleUpdate(views, &old->t_self, new);
	heap_freetuple(new);
	heap_freetuple(old);
	table_close(views, NoLock);
	announce_change(names);
	if (relabel)
		derive_registry_write_label(row);
}

void
derive_row_set_error(DeriveViewRow *row, const char *message, bool retry)
{
	row->state = DERIVE_VIEW_FAILED;
	row->error = unconstify(char *, message);
	row->error_at = GetCurrentTimestamp();
	row->retry = retry;
	row->crashes = 0;
	row->retry_at = 0;
}

void
derive_registry_delete(Oid view)
{
	Names		names;
	Relation	rel;
	HeapTuple	tuple;

	derive_registry_forget_relations(view, 0);
	names = require_names();
	rel = open_table(names.views, RowExclusiveLock);
	tuple = find_view_tuple(names, rel, view, NULL);
	if (HeapTupleIsValid(tuple))
	{
		CatalogTupleDelete(rel, &tuple->t_self);
		heap_freetuple(tuple);
	}
	table_close(rel, NoLock);
	announce_change(names);
	derive_view_label_set(view, NULL);
}

bool
derive_is_populated(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relispopulated;
	ReleaseSysCache(tuple);
	return result;
}

DeriveViewRow *
derive_registry_get_at(Oid view, Snapshot snapshot)
{
	Names		names;
	Relation	views;
	HeapTuple	tuple;
	DeriveViewRow *row = NULL;

	if (!lookup_names(&names))
		return NULL;
	views = open_table(names.views, AccessShareLock);
	tuple = find_view_tuple(names, views, view, snapshot);
	if (HeapTupleIsValid(tuple))
	{
		row = deform_view_tuple(RelationGetDescr(views), tuple);
		heap_freetuple(tuple);
	}
	table_close(views, AccessShareLock);
	return row;
}

DeriveViewRow *
derive_registry_get(Oid view)
{
	return derive_registry_get_at(view, NULL);
}

bool
derive_registry_changed_here(Oid view)
{
	Names		names;
	Relation	views;
	HeapTuple	tuple;
	bool		result = false;

	if (!lookup_names(&names))
		return false;
	views = open_table(names.views, AccessShareLock);
	tuple = find_view_tuple(names, views, view, NULL);
	if (HeapTupleIsValid(tuple))
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

		result = TransactionIdIsCurrentTransactionId(xmin);
		heap_freetuple(tuple);
	}
	table_close(views, AccessShareLock);
	return result;
}

DeriveViewRow *
derive_registry_replacement(Oid view)
{
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->replaces == view)
			return row;
	}
	return NULL;
}

List *
derive_registry_all(void)
{
	return derive_registry_all_at(NULL);
}

/* Which of them are to move, and where?  One that has done so since that was read is not. */
static void
add_moves(List *rows, List *moves)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, moves)
	{
		DeriveMove *move = lfirst(lc);

		foreach(lc2, rows)
		{
			DeriveViewRow *row = lfirst(lc2);

			if (row->relid == move->view && row->created_at == move->declared_at && row->group != move->to_group)
				row->move_to = move->to_group;
		}
	}
}

List *
derive_registry_all_at(Snapshot snapshot)
{
	Names		names;
	Relation	views;
	Relation	index;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *result = NIL;
	List	   *moves;

	/*
	 * Moves first: two snapshots are taken, if none is given, and a view that
	 * is handed over between them would else be in neither group, and on its
	 * way to none.
	 */
	names = require_names();
	moves = derive_moves_all(snapshot);
	views = open_table(names.views, AccessShareLock);
	index = index_open(names.views_pkey, AccessShareLock);
	scan = systable_beginscan_ordered(views, index, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		result = lappend(result, deform_view_tuple(RelationGetDescr(views), tuple));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(views, AccessShareLock);
	add_moves(result, moves);
	return result;
}


/* ----------------------------------------------------------------
 *		derive_state.relations
 * ----------------------------------------------------------------
 */

/*
 * Internal tables are members of the extension, so that pg_dump leaves them
 * out and nobody drops them by hand.  A locator index that we made is on a
 * person's view and cannot be a member, but goes away with the extension: it
 * depends on it automatically, which pg_dump does not look at.
 */
static void
depend_on_extension(Oid extension_oid, Oid relid, DependencyType type)
{
	ObjectAddress object;
	ObjectAddress extension;

	ObjectAddressSet(object, RelationRelationId, relid);
	ObjectAddressSet(extension, ExtensionRelationId, extension_oid);
	recordDependencyOn(&object, &extension, type);
}

void
derive_registry_own_index(Oid index)
{
	if (derive_registry_owns_index(index))
		return;
	depend_on_extension(require_names().extension, index, DEPENDENCY_AUTO);
	CommandCounterIncrement();
}

bool
derive_registry_owns_index(Oid index)
{
	Oid			extension = require_names().extension;
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		owns = false;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(index));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, key);
	while (!owns && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		owns = form->refclassid == ExtensionRelationId && form->refobjid == extension;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return owns;
}

/* A copy of the row with this key, or NULL. */
static HeapTuple
find_relation_tuple(Names names, Relation relations, Oid view, int operator, char role)
{
	ScanKeyData key[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_relations_view, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(view));
	ScanKeyInit(&key[1], Anum_relations_operator, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(operator));
	ScanKeyInit(&key[2], Anum_relations_role, BTEqualStrategyNumber, F_CHAREQ,
				CharGetDatum(role));
	scan = systable_beginscan(relations, names.relations_pkey, true, NULL, 3, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

void
derive_registry_set_relation(Oid view, int operator, char role, Oid relid)
{
	Names		names;
	Relation	relations;
	HeapTuple	existing;
	HeapTuple	tuple;
	Datum		values[Natts_relations];
	bool		nulls[Natts_relations];

	names = require_names();
	memset(nulls, 0, sizeof(nulls));
	values[Anum_relations_view - 1] = ObjectIdGetDatum(view);
	values[Anum_relations_operator - 1] = Int32GetDatum(operator);
	values[Anum_relations_role - 1] = CharGetDatum(role);
	values[Anum_relations_relid - 1] = ObjectIdGetDatum(relid);

	relations = open_table(names.relations, RowExclusiveLock);
	tuple = heap_form_tuple(RelationGetDescr(relations), values, nulls);
	existing = find_relation_tuple(names, relations, view, operator, role);
	if (existing != NULL)
		CatalogTupleUpdate(relations, &existing->t_self, tuple);
	else
		CatalogTupleInsert(relations, tuple);
	table_close(relations, NoLock);

	/* Its pg_class row may have been made by this very command. */
	CommandCounterIncrement();
	if (role != 'i' && !OidIsValid(getExtensionOfObject(RelationRelationId, relid)))
		depend_on_extension(names.extension, relid, DEPENDENCY_EXTENSION);
	announce_change(names);
}

/* Called for each row of a view, with what it is to do. */
typedef void (*RelationVisitor) (Relation relations, HeapTuple tuple, void *arg);

static void
visit_relations(Names names, Oid view, LOCKMODE mode, RelationVisitor visitor, void *arg)
{
	Relation	relations = open_table(names.relations, mode);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_relations_view, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(view));
	scan = systable_beginscan(relations, names.relations_pkey, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		visitor(relations, tuple, arg);
	systable_endscan(scan);
	table_close(relations, mode == AccessShareLock ? mode : NoLock);
}

static void
forget_relation(Relation relations, HeapTuple tuple, void *arg)
{
	char		role = *(char *) arg;
	bool		isnull;

	if (role == 0 ||
		DatumGetChar(heap_getattr(tuple, Anum_relations_role, RelationGetDescr(relations), &isnull)) == role)
		CatalogTupleDelete(relations, &tuple->t_self);
}

void
derive_registry_forget_relations(Oid view, char role)
{
	Names		names = require_names();

	visit_relations(names, view, RowExclusiveLock, forget_relation, &role);
	announce_change(names);
}

static void
move_relation(Relation relations, HeapTuple tuple, void *arg)
{
	Datum		values[Natts_relations] = {0};
	bool		nulls[Natts_relations] = {false};
	bool		replace[Natts_relations] = {false};

	values[Anum_relations_view - 1] = ObjectIdGetDatum(*(Oid *) arg);
	replace[Anum_relations_view - 1] = true;
	CatalogTupleUpdate(relations, &tuple->t_self,
					   heap_modify_tuple(tuple, RelationGetDescr(relations), values, nulls, replace));
}

void
derive_registry_move_relations(Oid view, Oid to)
{
	Names		names = require_names();

	visit_relations(names, view, RowExclusiveLock, move_relation, &to);
	announce_change(names);
}

Oid
derive_registry_relation(Oid view, int operator, char role)
{
	Names		names;
	Relation	relations;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	names = require_names();
	relations = open_table(names.relations, AccessShareLock);
	tuple = find_relation_tuple(names, relations, view, operator, role);
	if (tuple != NULL)
	{
		bool		isnull;

		result = DatumGetObjectId(heap_getattr(tuple, Anum_relations_relid,
											   RelationGetDescr(relations), &isnull));
	}
	table_close(relations, AccessShareLock);
	return result;
}

static void
collect_relation(Relation relations, HeapTuple tuple, void *arg)
{
	List	  **result = arg;
	bool		isnull;

	*result = lappend_oid(*result, DatumGetObjectId(heap_getattr(tuple, Anum_relations_relid,
																 RelationGetDescr(relations), &isnull)));
}

List *
derive_registry_relations(Oid view)
{
	Names		names;
	List	   *result = NIL;

	if (lookup_names(&names))
		visit_relations(names, view, AccessShareLock, collect_relation, &result);
	return result;
}

/* ----------------------------------------------------------------
 *		derive_state.position
 * ----------------------------------------------------------------
 */

/* A copy of the group's row, or NULL; snapshot NULL: the latest. */
static HeapTuple
find_position_tuple(Relation position, int group, Snapshot snapshot)
{
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	scan = systable_beginscan(position, InvalidOid, false, snapshot, 0, NULL);
	do
	{
		tuple = systable_getnext(scan);
	} while (HeapTupleIsValid(tuple) &&
			 DatumGetInt32(heap_getattr(tuple, Anum_position_of_group, RelationGetDescr(position), &isnull)) != group);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/* The row as a snapshot shows it, and which transaction stored it. */
static DerivePosition *
read_position(int group, Snapshot snapshot, XLogRecPtr *lsn, DerivePosition **held_since, TransactionId *stored_by)
{
	Names		names;
	Relation	rel;
	HeapTuple	tuple;
	DerivePosition *result = NULL;

	*lsn = InvalidXLogRecPtr;
	*held_since = NULL;
	*stored_by = InvalidTransactionId;
	if (!lookup_names(&names))
		return NULL;
	rel = open_table(names.position, AccessShareLock);
	tuple = find_position_tuple(rel, group, snapshot);
	if (HeapTupleIsValid(tuple))
	{
		Datum		values[Natts_position];
		bool		nulls[Natts_position];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		result = position_of_datum(values[Anum_position_snapshot - 1]);
		derive_position_time_in(result, values[Anum_position_as_of - 1], nulls[Anum_position_as_of - 1]);
		if (!nulls[Anum_position_held_since - 1])
			*held_since = position_of_datum(values[Anum_position_held_since - 1]);
		*lsn = DatumGetLSN(values[Anum_position_lsn - 1]);
		*stored_by = HeapTupleHeaderGetXmin(tuple->t_data);
	}
	table_close(rel, AccessShareLock);
	return result;
}

DerivePosition *
derive_registry_position(int group, XLogRecPtr *lsn, DerivePosition **held_since)
{
	TransactionId stored_by;
	XLogRecPtr	unused;
	DerivePosition *unused_too;

	return read_position(group, NULL, lsn ? lsn : &unused, held_since ? held_since : &unused_too, &stored_by);
}

DerivePosition *
derive_registry_position_at(int group, Snapshot snapshot, TransactionId *stored_by, XLogRecPtr *lsn)
{
	XLogRecPtr	unused;
	DerivePosition *unused_too;

	return read_position(group, snapshot, lsn ? lsn : &unused, &unused_too, stored_by);
}

/* A column of the row; false if it was never set. */
static bool
read_position_column(int group, Snapshot snapshot, AttrNumber column, Datum *value)
{
	Relation	rel;
	HeapTuple	tuple;
	Names		names;
	bool		isnull = true;

	if (!lookup_names(&names))
		return false;
	rel = open_table(names.position, AccessShareLock);
	tuple = find_position_tuple(rel, group, snapshot);
	if (HeapTupleIsValid(tuple))
		*value = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);
	table_close(rel, AccessShareLock);
	return !isnull;
}

TimestampTz
derive_registry_committed_at(int group, Snapshot snapshot)
{
	Datum		value;

	return read_position_column(group, snapshot, Anum_position_committed_at, &value) ? DatumGetTimestampTz(value) : 0;
}

bool
derive_registry_position_is_foreign(int group)
{
	Datum		value;

	return read_position_column(group, NULL, Anum_position_cluster, &value) &&
		(uint64) DatumGetInt64(value) != GetSystemIdentifier();
}

void
derive_registry_set_position(int group, const DerivePosition *position, XLogRecPtr lsn, const DerivePosition *held_since)
{
	Names		names;
	Relation	rel;
	HeapTuple	old;
	HeapTuple	new;
	Datum		values[Natts_position];
	bool		nulls[Natts_position];

	names = require_names();
	memset(nulls, 0, sizeof(nulls));
	values[Anum_position_of_group - 1] = Int32GetDatum(group);
	values[Anum_position_snapshot - 1] = position_datum(position);
	values[Anum_position_lsn - 1] = LSNGetDatum(lsn);
	derive_position_time_out(position, &values[Anum_position_as_of - 1], &nulls[Anum_position_as_of - 1]);
	values[Anum_position_committed_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_position_cluster - 1] = Int64GetDatum((int64) GetSystemIdentifier());
	if (held_since != NULL)
		values[Anum_position_held_since - 1] = position_datum(held_since);
	else
		nulls[Anum_position_held_since - 1] = true;

	rel = open_table(names.position, RowExclusiveLock);
	new = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	old = find_position_tuple(rel, group, NULL);
	if (HeapTupleIsValid(old))
		CatalogTupleUpdate(rel, &old->t_self, new);
	else
		CatalogTupleInsert(rel, new);
	table_close(rel, NoLock);
}

bool
derive_registry_overwrite_lsn(int group, XLogRecPtr lsn)
{
	Relation	rel = open_table(require_names().position, RowExclusiveLock);
	HeapTuple	tuple = find_position_tuple(rel, group, NULL);
	Datum		values[Natts_position];
	bool		nulls[Natts_position];
	HeapTuple	new;
	ScanKeyData key;

	if (!HeapTupleIsValid(tuple))
	{
		table_close(rel, NoLock);
		return false;
	}
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	values[Anum_position_lsn - 1] = LSNGetDatum(lsn);
	new = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	new->t_self = tuple->t_self;
	ScanKeyInit(&key, Anum_position_of_group, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(group));
	derive_compat_overwrite(rel, new, &key);
	table_close(rel, NoLock);
	return true;
}

void
derive_registry_forget_position(int group)
{
	Relation	rel = open_table(require_names().position, RowExclusiveLock);
	HeapTuple	tuple;
	TM_FailureData failure;
	TM_Result	result;

	/*
	 * the group's worker may be about to store another one; to lock it out
	 * would be to lock out all workers
	 */
	do
	{
		CHECK_FOR_INTERRUPTS();
		tuple = find_position_tuple(rel, group, NULL);
		result = !HeapTupleIsValid(tuple) ? TM_Ok :
			heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false);
	} while (result == TM_Updated || result == TM_Deleted);
	Assert(result == TM_Ok);
	table_close(rel, NoLock);
}

void
derive_registry_announce(void)
{
	announce_change(require_names());
}
