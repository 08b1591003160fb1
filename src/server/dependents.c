/*-------------------------------------------------------------------------
 *
 * dependents.c
 *	  Maintained views that rely on the definition of something else.
 *
 * What a view contains can change without any change of a table:
 *
 *	CREATE OR REPLACE VIEW		of a plain view inside the maintained one is
 *								refused.  The program and its internal tables
 *								were made for the old definition.
 *	CREATE OR REPLACE FUNCTION	of a function that the view calls: rows that
 *								the old one computed are wrong now, so the view
 *								is recomputed.
 *	ALTER TYPE ... RENAME VALUE	of an enum: likewise, since texts made of its
 *								values change.
 *	ALTER TYPE ... ADD VALUE	of an enum that JSON_VALUE() or its kin returns: a
 *								text that was none becomes a value.
 *	CREATE CAST, DROP CAST		to json: to_json() and its kin call it.
 *	CREATE, DROP OPERATOR CLASS	of a type, ALTER OPERATOR FAMILY, and functions that
 *								these have: by them its values are sorted, grouped and
 *								hashed, and rows and arrays of them compared.
 *	ALTER COLUMN SET EXPRESSION	of a generated column (from PostgreSQL 17 on)
 *								changes all rows without a word in the log: the
 *								same.
 *	ALTER COLUMN TYPE			likewise; a SELECT's columns have fixed types, but
 *								a derivation in C may read this one, and whole
 *								rows have all of them.  So SELECTs only where
 *								the table was rewritten: that a varchar may be
 *								longer changes no row.
 *	SET UNLOGGED, SET LOGGED	what is written while a table is unlogged is not in
 *								the log.  Its views are recomputed, or fail and
 *								come back, if it stays so for a while.  What counts is
 *								that the persistence changed, whatever the command;
 *								the new files alone tell nothing, since VACUUM FULL and
 *								many others make new ones with the same rows.
 *	CREATE, ALTER, DROP TEXT	of a configuration, a dictionary and so on changes
 *	SEARCH						the result of to_tsvector() and others: the same.
 *
 * All of this is noted by the session that runs the command, in its transaction.
 * Where a table was no part of a source meanwhile (DETACH PARTITION, SET UNLOGGED,
 * SET LOGGED, ATTACH PARTITION) there is nothing to note; derive_source_members_digest()
 * sees that it came anew.  While a server runs without our library nobody takes notes;
 * see basis.c.
 *
 * Who relies on what is in pg_depend, through plain views, operators, other
 * functions with parsed bodies and so on.  What a function calls in a body that
 * is a string is not known to anyone.  Of text search pg_depend knows part only:
 * the default configuration of a view is among its recorded settings, each row
 * may name one of its own, and PostgreSQL's own ones may be pinned.  So there
 * the queries themselves are looked at, too; as they are for the types that JSON_VALUE()
 * and its kin return.
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
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_ts_parser.h"
#include "catalog/pg_ts_template.h"
#include "catalog/pg_type.h"
#include "compile/check.h"
#include "compile/conversion.h"
#include "compile/query.h"
#include "compile/stable.h"
#include "derive/definition.h"
#include "materialize/program.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/hooks.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* The relation that a rewrite rule belongs to, or InvalidOid. */
static Oid
relation_of_rule(Oid rule)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	HeapTuple	tuple = get_catalog_object_by_oid(rewrite, Anum_pg_rewrite_oid, rule);

	table_close(rewrite, AccessShareLock);
	return HeapTupleIsValid(tuple) ? ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class : InvalidOid;
}

static void
add_dependent(Oid class_id, Oid object_id, ObjectAddresses *addresses, List **found)
{
	ObjectAddress *dependent = palloc(sizeof(ObjectAddress));

	ObjectAddressSet(*dependent, class_id, object_id);
	if (!OidIsValid(object_id) || object_address_present(dependent, addresses))
		return;
	add_exact_object_address(dependent, addresses);
	*found = lappend(*found, dependent);
}

/* Add to addresses what depends on the object, directly. */
static void
add_direct_dependents(const ObjectAddress *object, ObjectAddresses *addresses, List **found)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->classId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->classid == RewriteRelationId)
			add_dependent(RelationRelationId, relation_of_rule(row->objid), addresses, found);
		else
			add_dependent(row->classid, row->objid, addresses, found);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
}

/* Built-in types have been given what they have for good. */
static List *
add_type(List *types, Oid type)
{
	return type >= FirstNormalObjectId ? list_append_unique_oid(types, type) : types;
}

List *
derive_types_served_by(Oid class_id, Oid object_id)
{
	List	   *types = NIL;
	Relation	catalog;
	HeapTuple	tuple;

	if (class_id != CastRelationId && class_id != AccessMethodProcedureRelationId && class_id != AccessMethodOperatorRelationId)
		return NIL;
	catalog = table_open(class_id, AccessShareLock);
	tuple = get_catalog_object_by_oid(catalog, get_object_attnum_oid(class_id), object_id);
	table_close(catalog, AccessShareLock);
	if (!HeapTupleIsValid(tuple))
		return NIL;
	if (class_id == CastRelationId)
	{
		Form_pg_cast form = (Form_pg_cast) GETSTRUCT(tuple);

		return form->casttarget == JSONOID ? add_type(types, form->castsource) : NIL;
	}
	if (class_id == AccessMethodProcedureRelationId)
	{
		Form_pg_amproc form = (Form_pg_amproc) GETSTRUCT(tuple);

		return add_type(add_type(types, form->amproclefttype), form->amprocrighttype);
	}
	else
	{
		Form_pg_amop form = (Form_pg_amop) GETSTRUCT(tuple);

		return add_type(add_type(types, form->amoplefttype), form->amoprighttype);
	}
}

/*
 * All other maintained views that depend on the object, through whatever lies
 * between.  What of that is of the class "among" is added to a list, if one is given; if
 * these are types, who uses them depends on what serves them.
 */
static List *
dependent_views(Oid class_id, Oid object_id, Oid among, List **between)
{
	ObjectAddresses *seen = new_object_addresses();
	ObjectAddress *start = palloc0(sizeof(ObjectAddress));
	List	   *todo = list_make1(start);
	List	   *views = NIL;
	ListCell   *lc;

	ObjectAddressSet(*start, class_id, object_id);
	add_exact_object_address(start, seen);
	while (todo != NIL)
	{
		ObjectAddress *object = linitial(todo);

		todo = list_delete_first(todo);
		if (between != NULL && object->classId == among)
			*between = list_append_unique_oid(*between, object->objectId);
		if (among == TypeRelationId)
			foreach(lc, derive_types_served_by(object->classId, object->objectId))
				add_dependent(TypeRelationId, lfirst_oid(lc), seen, &todo);
		if (object != start && object->classId == RelationRelationId &&
			get_rel_relkind(object->objectId) == RELKIND_MATVIEW &&
			derive_registry_get(object->objectId) != NULL)
			views = list_append_unique_oid(views, object->objectId);
		else
			add_direct_dependents(object, seen, &todo);

		/*
		 * A composite type has its attributes from a relation, and depends by
		 * it on what they are.  But who uses a type with the row of a table
		 * as an attribute does not read the table.
		 */
		if (class_id != RelationRelationId && object->classId == RelationRelationId &&
			get_rel_relkind(object->objectId) == RELKIND_COMPOSITE_TYPE)
			add_dependent(TypeRelationId, get_rel_type_id(object->objectId), seen, &todo);
	}
	free_object_addresses(seen);
	return views;
}

List *
derive_readers(Oid view)
{
	return dependent_views(RelationRelationId, view, InvalidOid, NULL);
}

bool
derive_view_reads(Oid reader, Oid view)
{
	List	   *views = list_make1_oid(view);

	for (int i = 0; i < list_length(views); i++)
		views = list_concat_unique_oid(views, derive_readers(list_nth_oid(views, i)));
	return list_member_oid(list_delete_first(views), reader);
}

/* Of lists of two Oids. */
List *
derive_connections(void)
{
	List	   *edges = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		foreach(lc2, derive_readers(row->relid))
			edges = lappend(edges, list_make2_oid(row->relid, lfirst_oid(lc2)));
		if (OidIsValid(row->replaces))
			edges = lappend(edges, list_make2_oid(row->relid, row->replaces));
	}
	return edges;
}

List *
derive_connected_by(List *connections, Oid view)
{
	List	   *result = list_make1_oid(view);
	bool		more = true;
	ListCell   *lc;

	while (more)
	{
		more = false;
		foreach(lc, connections)
		{
			List	   *edge = lfirst(lc);

			if (list_member_oid(result, linitial_oid(edge)) == list_member_oid(result, lsecond_oid(edge)))
				continue;
			result = list_concat_unique_oid(result, edge);
			more = true;
		}
	}
	return result;
}

List *
derive_connected_views(Oid view)
{
	return derive_connected_by(derive_connections(), view);
}

static void
refuse_for_views(Oid view, List *dependents)
{
	if (dependents == NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot redefine view \"%s\" because maintained view \"%s\" reads it",
					get_rel_name(view), get_rel_name(linitial_oid(dependents))),
			 errhint("Call derive.release() for the maintained view first and derive.maintain() afterwards.")));
}

static bool
is_by_select(Oid view)
{
	return strcmp(derive_definition_of_view(view)->derivation, DERIVE_SELECT_NAME) == 0;
}

void
derive_restart_view(DeriveViewRow *row)
{
	bool		populated = derive_is_populated(row->relid);

	/*
	 * The log since it stood still has not been kept for it: compute it anew.
	 * Until then it contains what it did.
	 */
	row->state = populated ? DERIVE_VIEW_READY : DERIVE_VIEW_BUILDING;
	row->rebuild = populated;
	row->error = NULL;
	row->error_at = 0;
	derive_end_crash_series(row);
	row->epoch = 0;
	if (!populated)
		row->position = NULL;
	derive_registry_update(row);
	derive_want_worker_at_commit(row->group);
}

/*
 * retry: also those that have failed, whatever the reason, for that may be gone; else
 * those of them that are tried again in any case
 */
static void
recompute_views(List *views, bool retry)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		DeriveViewRow *row;

		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
		row = derive_registry_get(lfirst_oid(lc));
		if (row == NULL)
			continue;
		if ((retry || row->retry) && row->state == DERIVE_VIEW_FAILED)
		{
			derive_restart_view(row);
			continue;
		}
		row->rebuild = (row->state == DERIVE_VIEW_READY || row->state == DERIVE_VIEW_CATCHUP);
		derive_registry_update(row);
	}
}

/* The relation and all that it is a child or partition of, through which its rows may be read. */
static List *
with_ancestors(Oid relid)
{
	List	   *tables = list_make1_oid(relid);
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);

	for (int i = 0; i < list_length(tables); i++)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(list_nth_oid(tables, i)));
		scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			tables = list_append_unique_oid(tables, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
		systable_endscan(scan);
	}
	table_close(inherits, AccessShareLock);
	return tables;
}

/* Views by a SELECT, and others. */
#define BY_SELECT		(1 << 0)
#define BY_DERIVATION	(1 << 1)

/* A column of a table was redefined, or its rows were; that counts for readers of these kinds. */
static void
recompute_readers(Oid relid, int kinds)
{
	ListCell   *table;

	foreach(table, with_ancestors(relid))
	{
		List	   *views = dependent_views(RelationRelationId, lfirst_oid(table), InvalidOid, NULL);
		ListCell   *lc;

		foreach(lc, views)
		{
			if ((kinds & (is_by_select(lfirst_oid(lc)) ? BY_SELECT : BY_DERIVATION)) == 0)
				views = foreach_delete_current(views, lc);
		}
		recompute_views(views, (kinds & BY_SELECT) != 0);
	}
}

bool
derive_is_read_elsewhere(Oid relid, List *views, DeriveReaderCheck matters, void *arg)
{
	ListCell   *table;
	ListCell   *lc;

	foreach(table, with_ancestors(relid))
	{
		foreach(lc, derive_readers(lfirst_oid(table)))
		{
			if (!list_member_oid(views, lfirst_oid(lc)) && matters(lfirst_oid(lc), lfirst_oid(table), arg))
				return true;
		}
	}
	return false;
}

/* -------------------------------------------------------------------------
 * Text search
 * -------------------------------------------------------------------------
 */

/* The recorded name of the view's default configuration may just have become another one. */
static void
follow_renamed_config(Oid view, Oid config)
{
	DeriveViewRow *row;

	LockRelationOid(view, ShareRowExclusiveLock);
	row = derive_registry_get(view);
	if (row == NULL || OidIsValid(derive_settings_text_search_config(derive_settings_read(row->settings))))
		return;
	row->settings = derive_settings_set_text_search_config(row->settings, config);
	derive_registry_update(row);
	CacheInvalidateRelcacheByRelid(view);	/* programs have the settings */
}

static bool
searches_text(DeriveViewRow *row, List *objects)
{
	Oid			config = derive_settings_text_search_config(derive_settings_read(row->settings));
	Query	   *query;

	/* others depend on the objects that their options name */
	if (!is_by_select(row->relid))
		return objects == NIL && derive_view_comparable(row->relid);
	query = derive_query_of_view(row->relid);
	derive_query_expand(query);
	return derive_query_searches_text(query, config, objects);
}

static void
text_search_changed(Oid class_id, Oid object_id)
{
	bool		pinned = object_id < FirstUnpinnedObjectId;
	List	   *configs = NIL;
	List	   *views = NIL;
	List	   *objects;
	ListCell   *lc;

	if (class_id != NamespaceRelationId)
		views = dependent_views(class_id, object_id, TSConfigRelationId, &configs);
	if (class_id == TSConfigRelationId && SearchSysCacheExists1(TSCONFIGOID, ObjectIdGetDatum(object_id)))
		foreach(lc, views)
			follow_renamed_config(lfirst_oid(lc), object_id);

	/*
	 * Which configurations rely on a pinned dictionary is not recorded.  A
	 * schema is here because configurations are found by its name.
	 */
	objects = pinned && class_id != TSConfigRelationId ? NIL : lappend_oid(configs, object_id);
	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		/* it may go with the object */
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row->relid)) &&
			!list_member_oid(views, row->relid) && searches_text(row, objects))
			views = lappend_oid(views, row->relid);
	}
	recompute_views(views, false);
}

/* -------------------------------------------------------------------------
 * Types
 * -------------------------------------------------------------------------
 */

/* Does a JSON expression of the view return one of the types, or what consists of them? */
static bool
returns_of_json(DeriveViewRow *row, List *types)
{
	List	   *returned;
	ListCell   *lc;

	/* it may go with the object, or have gone while we waited */
	LockRelationOid(row->relid, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row->relid)))
		return false;
	returned = derive_json_types_of_view(row->relid);
	foreach(lc, types)
		if (list_member_oid(returned, lfirst_oid(lc)))
		return true;
	return false;
}

static List *
views_with_json_of(List *types)
{
	List	   *views = NIL;
	ListCell   *lc;

	if (types == NIL)
		return NIL;
	foreach(lc, derive_registry_all())
	{
		if (returns_of_json(lfirst(lc), types))
			views = lappend_oid(views, ((DeriveViewRow *) lfirst(lc))->relid);
	}
	return views;
}

static void
type_or_function_changed(Oid class_id, Oid object_id)
{
	List	   *types = NIL;
	List	   *views = dependent_views(class_id, object_id, TypeRelationId, &types);
	ListCell   *lc;

	/*
	 * What has happened, as histories and topics have it, is what it was.  To
	 * compute these anew would lose what the batch has for them.
	 */
	foreach(lc, views)
		if (!derive_view_comparable(lfirst_oid(lc)))
		views = foreach_delete_current(views, lc);

	/* who returns rows or arrays returns what they consist of, too */
	foreach(lc, types)
		if (get_typtype(lfirst_oid(lc)) == TYPTYPE_COMPOSITE || OidIsValid(get_element_type(lfirst_oid(lc))))
		types = foreach_delete_current(types, lc);
	recompute_views(list_concat_unique_oid(views, views_with_json_of(types)), false);
}

void
derive_enum_value_added(Oid type)
{
	if (OidIsValid(derive_extension_oid(true)))
		recompute_views(views_with_json_of(list_make1_oid(type)), false);
}

void
derive_definition_changed(Oid class_id, Oid object_id)
{
	if (!OidIsValid(derive_extension_oid(true)))
		return;
	if (class_id == ProcedureRelationId || class_id == TypeRelationId)
		type_or_function_changed(class_id, object_id);
	else if (class_id == TSConfigRelationId || class_id == TSDictionaryRelationId ||
			 class_id == TSParserRelationId || class_id == TSTemplateRelationId ||
			 class_id == NamespaceRelationId)
		text_search_changed(class_id, object_id);
	else if (class_id == RelationRelationId)
		recompute_readers(object_id, BY_SELECT | BY_DERIVATION);
	else if (class_id == AttrDefaultRelationId)
		recompute_readers(object_id, BY_SELECT);
	else if (class_id == AttributeRelationId)
		recompute_readers(object_id, BY_DERIVATION);
	else if (class_id == RewriteRelationId)
	{
		Oid			relid = relation_of_rule(object_id);

		if (get_rel_relkind(relid) == RELKIND_VIEW)
			refuse_for_views(relid, dependent_views(RelationRelationId, relid, InvalidOid, NULL));
	}
}
