/*-------------------------------------------------------------------------
 *
 * basis.c
 *	  What the contents of a view rest on besides the log, and how the worker
 *	  finds out that it changed while nobody was there to notice.
 *
 * While a server runs with our library, hooks note what changes rows without a
 * word in the log (hooks.c, dependents.c).  While it runs without, nobody does: a
 * cron job refreshes a view, a function gets another body, a table is unlogged for
 * an hour.  All of that leaves traces in the catalogs, of which we keep a digest with
 * each view, its basis:
 *
 *	files			of the view, its internal tables, and the tables that it reads.
 *					REFRESH makes a new one, ALTER TABLE SET LOGGED too.
 *	definitions		the rows of pg_proc, pg_type, pg_rewrite and so on that the
 *					view's rule depends on, through whatever lies between, and
 *					those that pg_depend does not know of (casts to json, types that
 *					JSON_VALUE() and its kin return, operator classes); of each which transaction
 *					wrote it.  Not of histories and topics.
 *
 * A digest that is another one says little by itself: VACUUM FULL makes new
 * files, and the worker, told by invalidations, only writes the new digest down.  It
 * counts once, in the first batch of a worker, and only if the log says that the
 * server has run without the library since then (capture/lives.c):
 *
 *		with			REFRESH: the hook calls the worker		basis 17 -> 17
 *		with			VACUUM FULL								basis 17 -> 23
 *		without			REFRESH									catalogs say 42
 *		with again		first batch, 23 is not 42: computed anew
 *
 * A view that cannot be looked at in that batch, since a session has locked
 * something of it, is computed anew without a look.  Views over a view read its
 * file, so if it was refreshed theirs is another basis as well.  Who subscribed to
 * one begins anew.  Subscribers of views that are paused or have failed, of which
 * nothing is known before they move again, do so in any case.
 *
 * Old and new definitions are told apart by the xmin of their rows, which GRANT
 * changes, too.  So does pg_upgrade for all of them.  Then views are computed anew
 * without need, if the server ran without the library as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/eval_settings.h"
#include "base/registry.h"
#include "capture/decoder.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_config_map.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compile/conversion.h"
#include "materialize/program.h"
#include "notify/journal.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/*
 * Catalogs whose rows say how something is computed, and where rows of another
 * catalog are a part of that, this one and its index and column with the OID.
 */
static const struct
{
	Oid			class_id;
	Oid			parts;
	Oid			parts_index;
	AttrNumber	parts_column;
}			catalogs[] =

{
	{CastRelationId},
	{OperatorRelationId},
	{ProcedureRelationId},
	{RewriteRelationId},
	{TSConfigRelationId, TSConfigMapRelationId, TSConfigMapIndexId, Anum_pg_ts_config_map_mapcfg},
	{TSDictionaryRelationId},
	{TypeRelationId, EnumRelationId, EnumTypIdLabelIndexId, Anum_pg_enum_enumtypid},
};

/* Objects that are looked at once each; they come in any order, so that their digests are added. */
typedef struct Definitions
{
	ObjectAddresses *seen;
	List	   *todo;			/* of ObjectAddress * */
	uint64		digest;
} Definitions;


/* ----------------------------------------------------------------
 *		The digest
 * ----------------------------------------------------------------
 */

static uint64
files_digest(List *relids)
{
	uint64		digest = 0;
	ListCell   *lc;

	foreach(lc, relids)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc)));

		if (!HeapTupleIsValid(tuple))
			continue;
		digest += hash_bytes_uint32_extended(lfirst_oid(lc), ((Form_pg_class) GETSTRUCT(tuple))->relfilenode);
		ReleaseSysCache(tuple);
	}
	return digest;
}

static void
add_object(Definitions *definitions, Oid class_id, Oid object_id)
{
	ObjectAddress *object = palloc(sizeof(ObjectAddress));

	ObjectAddressSet(*object, class_id, object_id);
	if (object_address_present(object, definitions->seen))
		return;
	add_exact_object_address(object, definitions->seen);
	definitions->todo = lappend(definitions->todo, object);
}

static void
add_rules(Definitions *definitions, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);

	for (int i = 0; rel->rd_rules != NULL && i < rel->rd_rules->numLocks; i++)
		add_object(definitions, RewriteRelationId, rel->rd_rules->rules[i]->ruleId);
	table_close(rel, AccessShareLock);
}

/* What the object depends on, where that says how something is computed. */
static void
add_referenced(Definitions *definitions, const ObjectAddress *object)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->classId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->refclassid == RelationRelationId && get_rel_relkind(form->refobjid) == RELKIND_VIEW)
			add_rules(definitions, form->refobjid);
		else if (form->refclassid == RelationRelationId)
			add_object(definitions, RelationRelationId, form->refobjid);	/* for its columns'
																			 * types */
		else if (form->refclassid == TypeRelationId && OidIsValid(get_typ_typrelid(form->refobjid)))
			add_object(definitions, RelationRelationId, get_typ_typrelid(form->refobjid));	/* likewise */
		for (int i = 0; i < lengthof(catalogs); i++)
			if (form->refclassid == catalogs[i].class_id)
				add_object(definitions, form->refclassid, form->refobjid);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
}

/* What the operator family has for the type. */
static void
add_members(Definitions *definitions, Oid opfamily, Oid type)
{
	CatCList   *functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(opfamily));
	CatCList   *operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(opfamily));

	for (int i = 0; i < functions->n_members; i++)
	{
		Form_pg_amproc form = (Form_pg_amproc) GETSTRUCT(&functions->members[i]->tuple);

		if (form->amproclefttype == type || form->amprocrighttype == type)
			add_object(definitions, ProcedureRelationId, form->amproc);
	}
	for (int i = 0; i < operators->n_members; i++)
	{
		Form_pg_amop form = (Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple);

		if (form->amoplefttype == type || form->amoprighttype == type)
			add_object(definitions, OperatorRelationId, form->amopopr);
	}
	ReleaseCatCacheList(operators);
	ReleaseCatCacheList(functions);
}

/* What serves the object, if it is a user's type, as derive_types_served_by() knows it from the other side. */
static void
add_servants(Definitions *definitions, const ObjectAddress *object)
{
	TypeCacheEntry *type;
	Oid			cast;

	if (object->classId != TypeRelationId || object->objectId < FirstNormalObjectId)
		return;
	cast = GetSysCacheOid2(CASTSOURCETARGET, Anum_pg_cast_oid, ObjectIdGetDatum(object->objectId),
						   ObjectIdGetDatum(JSONOID));
	if (OidIsValid(cast))
		add_object(definitions, CastRelationId, cast);
	if (!get_typisdefined(object->objectId))
		return;
	type = lookup_type_cache(object->objectId, TYPECACHE_BTREE_OPFAMILY | TYPECACHE_HASH_OPFAMILY);
	if (OidIsValid(type->btree_opf))
		add_members(definitions, type->btree_opf, object->objectId);
	if (OidIsValid(type->hash_opf))
		add_members(definitions, type->hash_opf, object->objectId);
}

/* Rows of a catalog that belong to an object. */
static uint64
rows_digest(Oid catalog, Oid index, AttrNumber column, Oid object_id)
{
	uint64		digest = 0;
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object_id));
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		digest += hash_bytes_uint32_extended(object_id, HeapTupleHeaderGetRawXmin(tuple->t_data));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return digest;
}

static uint64
object_digest(const ObjectAddress *object)
{
	Relation	catalog;
	HeapTuple	tuple;
	uint64		digest = 0;

	if (object->classId == RelationRelationId)
		return 0;
	catalog = table_open(object->classId, AccessShareLock);
	tuple = get_catalog_object_by_oid(catalog, get_object_attnum_oid(object->classId), object->objectId);
	if (HeapTupleIsValid(tuple))
		digest = hash_bytes_uint32_extended(object->objectId, HeapTupleHeaderGetRawXmin(tuple->t_data));
	table_close(catalog, AccessShareLock);
	for (int i = 0; i < lengthof(catalogs); i++)
		if (object->classId == catalogs[i].class_id && OidIsValid(catalogs[i].parts))
			digest += rows_digest(catalogs[i].parts, catalogs[i].parts_index, catalogs[i].parts_column,
								  object->objectId);
	return digest;
}

static uint64
definitions_digest(DeriveProgram *program)
{
	ObjectAddress itself;
	Definitions definitions = {.seen = new_object_addresses()};
	ListCell   *lc;

	add_rules(&definitions, program->view);
	foreach(lc, derive_json_types_of_view(program->view))
		add_object(&definitions, TypeRelationId, lfirst_oid(lc));
	/* what its settings and options name */
	add_object(&definitions, TSConfigRelationId, derive_settings_text_search_config(program->settings));
	ObjectAddressSet(itself, RelationRelationId, program->view);
	add_referenced(&definitions, &itself);
	while (definitions.todo != NIL)
	{
		ObjectAddress *object = linitial(definitions.todo);

		definitions.todo = list_delete_first(definitions.todo);
		definitions.digest += object_digest(object);
		add_referenced(&definitions, object);
		add_servants(&definitions, object);
	}
	free_object_addresses(definitions.seen);
	return definitions.digest;
}

uint64
derive_worker_basis(DeriveProgram *program)
{
	uint64		digest = 0;

	/* what has happened is what it was, whatever things mean now */
	if (derive_view_comparable(program->view))
		digest = definitions_digest(program);
	digest = hash_combine64(digest, files_digest(derive_program_read_relations(program)));
	return hash_combine64(digest, files_digest(derive_program_write_relations(program)));
}


/* ----------------------------------------------------------------
 *		Comparing, and writing down
 * ----------------------------------------------------------------
 */

/* In a batch: do what the view's rows rest on and what it was made from differ?  Or can nobody tell now? */
static bool
rests_on_something_else(WorkerView *view)
{
	return view->program == NULL || !view->locked || (uint64) view->row->basis != view->basis;
}

/* Have a view computed anew, now or when it can be locked. */
static void
distrust(WorkerView *view)
{
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view \"%s\" is computed anew because the server has run without library \"pg_derive\"",
					get_rel_name(view->relid)),
			 errdetail("Files or definitions that its rows rest on were changed meanwhile."),
			 errhint("Keep \"pg_derive\" in \"shared_preload_libraries\" as long as there are maintained views.")));
	if (view->program == NULL || !view->locked)
	{
		derive_worker_lose_changes(view, "what the server did without library \"pg_derive\" is not known");
		return;
	}
	view->row->rebuild = true;
	derive_registry_update(view->row);
}

bool
derive_worker_basis_is_due(void)
{
	return !derive_worker.basis_checked &&
		(derive_worker.unwatched || derive_decoder_saw_unmarked_life(derive_worker.decoder));
}

bool
derive_worker_check_basis(void)
{
	bool		wrote = false;
	ListCell   *lc;

	if (!derive_worker_basis_is_due())
		return false;
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->row->state == DERIVE_VIEW_READY)
		{
			if (!rests_on_something_else(view))
				continue;
			distrust(view);
			wrote = true;
		}
		if (view->journal != NULL && view->journal->active && view->lane != NULL)
			derive_worker_mark_stale(view, true);
		else if (view->journal != NULL && view->journal->active)
		{
			derive_journal_begin(view->journal);
			wrote = true;
		}
	}
	return wrote;
}

void
derive_worker_basis_checked(void)
{
	if (derive_worker.basis_checked)
		return;
	derive_worker.basis_checked = true;
	derive_worker.unwatched = false;
	derive_worker.reload = true;	/* writes down what is another one now */
}

void
derive_worker_store_basis(WorkerView *view)
{
	DeriveViewRow *row;

	if (!derive_worker.basis_checked || view->row->state != DERIVE_VIEW_READY || view->row->rebuild ||
		(uint64) view->row->basis == view->basis)
		return;
	if (!ConditionalLockRelationOid(view->relid, RowExclusiveLock))
	{
		derive_worker.reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RELOAD_MS);
		return;
	}

	/* somebody may have changed it before we had the lock; we shall be told */
	row = derive_registry_get(view->relid);
	if (row == NULL || row->state != DERIVE_VIEW_READY || row->rebuild)
		return;
	row->basis = (int64) view->basis;
	derive_registry_update(row);
	view->row->basis = row->basis;
}
