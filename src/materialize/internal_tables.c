/*-------------------------------------------------------------------------
 *
 * internal_tables.c
 *	  The internal tables of a view: states and derived tables.
 *
 * They are materialized views in name: nobody publishes those, and our rows are
 * of no use to a subscriber, who does not have the table.  The query of each has
 * its columns and fails when it is run, so that REFRESH does (see
 * pg_derive--0.1.sql, which makes the fixed ones in the same way):
 *
 *		SELECT NULL::pg_catalog.int4 AS c1, NULL::pg_catalog.text COLLATE "C" AS c2
 *			WHERE derive_state.is_written_by_us()
 *
 * They are members of the extension, so that pg_dump leaves them out and DROP
 * EXTENSION takes them along.  A dependency on the view would be natural as
 * well, but a member of an extension cannot be dropped through another object;
 * so the drop hook calls derive_internal_drop().
 *
 * The locator index of a view, if we have made it, goes away with the extension
 * or with the view's maintenance.  It cannot be a member, since that is the view's
 * business and not asked of an index by pg_dump; it depends on the extension
 * automatically.  An index that the person had made serves as well, and stays.
 *
 * They belong to the extension's owner: the owner of the view can neither read
 * nor change them, and needs no right to create anything in derive_state.
 *
 * What they must look like follows from the view's program, and that can become
 * another one while the view stays the same (see derive_program_renew()):
 * derive_internal_digest() is what is remembered of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "catalog/toasting.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/matview.h"
#include "commands/tablecmds.h"
#include "commands/vacuum.h"
#include "commands/view.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "parser/parse_node.h"
#include "rewrite/rewriteSupport.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/class_row.h"
#include "base/compat.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "compile/digest.h"
#include "compile/query.h"
#include "derive/order_index.h"
#include "materialize/internal_tables.h"

typedef struct SavedUser
{
	Oid			userid;
	int			sec_context;
} SavedUser;

/* The owner of schema derive_state, who owns the extension. */
static Oid
internal_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID,
										ObjectIdGetDatum(derive_state_schema_oid(false)));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema derive_state");
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Restored by the abort of the transaction or subtransaction in case of error. */
static void
become_internal_owner(SavedUser *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(internal_owner(), saved->sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

static void
become_saved_user(SavedUser *saved)
{
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

/*
 * The query of an internal materialized view.  Whoever calls this function when
 * it was created already wants to refresh it.
 */
PG_FUNCTION_INFO_V1(derive_is_written_by_us);
Datum
derive_is_written_by_us(PG_FUNCTION_ARGS)
{
	if (!creating_extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the materialized views in schema \"%s\" cannot be refreshed", "derive_state"),
				 errdetail("pg_derive keeps its state there.")));
	PG_RETURN_BOOL(false);
}

static void
set_query(Oid relid)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;
	RawStmt    *raw;
	Oid			rule;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		appendStringInfo(&sql, "%s NULL::%s", i == 0 ? "" : ",",
						 format_type_extended(att->atttypid, att->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(att->attcollation))
			appendStringInfo(&sql, " COLLATE %s", generate_collation_name(att->attcollation));
		appendStringInfo(&sql, " AS %s", quote_identifier(NameStr(att->attname)));
	}
	appendStringInfoString(&sql, " WHERE derive_state.is_written_by_us()");
	raw = linitial_node(RawStmt, pg_parse_query(sql.data));
	StoreViewQuery(relid, parse_analyze_fixedparams(raw, sql.data, NULL, 0, NULL), false);
	CommandCounterIncrement();

	/*
	 * PITFALL: the query must not depend on people's types.  DROP TYPE ...
	 * CASCADE would drop it, with it the view, and with a member the
	 * extension.  The columns depend on them, and go alone.
	 */
	rule = get_rewrite_oid(relid, ViewSelectRuleName, false);
	(void) deleteDependencyRecordsForClass(RewriteRelationId, rule, TypeRelationId, DEPENDENCY_NORMAL);
	(void) deleteDependencyRecordsForClass(RewriteRelationId, rule, CollationRelationId, DEPENDENCY_NORMAL);
	SetMatViewPopulatedState(rel, true);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Columns keep their names, or are c1, c2, ... */
static Oid
create_table(char *name, char persistence, TupleDesc desc, bool keep_names)
{
	CreateStmt *stmt = makeNode(CreateStmt);
	ObjectAddress table;
	SavedUser	saved;

	stmt->relation = makeRangeVar(persistence == RELPERSISTENCE_TEMP ? NULL : "derive_state", name, -1);
	stmt->relation->relpersistence = persistence;
	stmt->oncommit = ONCOMMIT_NOOP;
	stmt->options = list_make1(makeDefElem("fillfactor", (Node *) makeInteger(derive_fillfactor), -1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char	   *column = keep_names ? NameStr(att->attname) : psprintf("c%d", i + 1);

		stmt->tableElts = lappend(stmt->tableElts,
								  makeColumnDef(column, att->atttypid, att->atttypmod, att->attcollation));
	}

	become_internal_owner(&saved);

	/*
	 * a restricted operation may not make temporary tables; here nobody's
	 * code runs
	 */
	if (persistence == RELPERSISTENCE_TEMP)
		SetUserIdAndSecContext(internal_owner(), SECURITY_LOCAL_USERID_CHANGE);
	table = DefineRelation(stmt, persistence == RELPERSISTENCE_TEMP ? RELKIND_RELATION : RELKIND_MATVIEW,
						   internal_owner(), NULL, NULL);
	CommandCounterIncrement();
	NewRelationCreateToastTable(table.objectId, (Datum) 0);
	if (persistence != RELPERSISTENCE_TEMP)
		set_query(table.objectId);
	become_saved_user(&saved);
	return table.objectId;
}

Oid
derive_internal_create(Oid view, int operator, char role, TupleDesc desc)
{
	char	   *name = psprintf("%s_%u_%d", role == 's' ? "state" : "rows", view, operator);
	ObjectAddress table;
	ObjectAddress extension;

	ObjectAddressSet(table, RelationRelationId,
					 create_table(name, RELPERSISTENCE_PERMANENT, desc, role == 's'));
	ObjectAddressSet(extension, ExtensionRelationId, derive_extension_oid(false));
	recordDependencyOn(&table, &extension, DEPENDENCY_EXTENSION);
	CommandCounterIncrement();
	derive_registry_set_relation(view, operator, role, table.objectId);
	return table.objectId;
}

/*
 * PITFALL: it must not be unlogged.  When the creation of an unlogged table is
 * rolled back, its main file stays, empty, until the next checkpoint.  If the
 * server crashes before that, and before the log says that it was rolled back,
 * recovery makes the init file again, wants to copy it over the main one, finds
 * it there, and gives up: the server does not start any more.
 */
Oid
derive_internal_create_scratch(int number, TupleDesc desc)
{
	static uint32 counter = 0;
	Oid			relid = create_table(psprintf("derive_scratch_%u_%d", counter++, number),
									 RELPERSISTENCE_TEMP, desc, false);

	CommandCounterIncrement();
	return relid;
}

bool
derive_internal_has_columns(Oid relid, TupleDesc desc)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	TupleDesc	stored;
	bool		result;

	if (rel == NULL)
		return false;
	stored = RelationGetDescr(rel);
	result = stored->natts == desc->natts;
	for (int i = 0; result && i < desc->natts; i++)
		result = !TupleDescAttr(stored, i)->attisdropped &&
			TupleDescAttr(stored, i)->atttypid == TupleDescAttr(desc, i)->atttypid;
	relation_close(rel, NoLock);
	return result;
}

bool
derive_internal_has_state_index(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
		result |= get_index_isvalid(lfirst_oid(lc));
	table_close(rel, NoLock);
	return result;
}

/* Composite types forget the columns that are dropped, but values that are stored do not. */
uint64
derive_internal_digest_types(uint64 digest, TupleDesc desc)
{
	List	   *relids = derive_row_types_of(desc);
	ListCell   *lc;

	foreach(lc, relids)
	{
		TupleDesc	row = lookup_rowtype_tupdesc(get_rel_type_id(lfirst_oid(lc)), -1);

		for (int i = 0; i < row->natts; i++)
			if (TupleDescAttr(row, i)->attisdropped)
				digest = derive_digest_add(derive_digest_add(digest, lfirst_oid(lc)), i);
		ReleaseTupleDesc(row);
	}
	return digest;
}

uint64
derive_internal_digest(uint64 digest, TupleDesc desc, const DeriveLocator *locator)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		digest = derive_digest_add(digest, att->atttypid);
		digest = derive_digest_add(digest, att->atttypmod);
		digest = derive_digest_add(digest, att->attcollation);
	}
	if (locator != NULL)
	{
		digest = derive_digest_add(digest, locator->unique);
		for (int i = 0; i < locator->nattrs; i++)
			digest = derive_digest_add(digest, locator->attrs[i]);
	}
	return derive_internal_digest_types(digest, desc);
}

void
derive_internal_index_state(Oid relid)
{
	IndexStmt  *stmt = makeNode(IndexStmt);
	IndexElem  *element = makeNode(IndexElem);
	SavedUser	saved;

	element->name = "h";
	element->ordering = SORTBY_DEFAULT;
	element->nulls_ordering = SORTBY_NULLS_DEFAULT;
	stmt->relation = makeRangeVar("derive_state", get_rel_name(relid), -1);
	stmt->accessMethod = DEFAULT_INDEX_TYPE;
	stmt->indexParams = list_make1(element);
	become_internal_owner(&saved);
	(void) derive_compat_define_index(relid, stmt);
	become_saved_user(&saved);
	CommandCounterIncrement();
}

Oid
derive_internal_index_locator(Oid relid, const DeriveLocator *locator)
{
	Relation	rel = table_open(relid, ShareLock);
	SavedUser	saved;
	Oid			index;

	become_internal_owner(&saved);
	index = derive_locator_create_index(rel, locator);
	become_saved_user(&saved);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return index;
}

/* Has the relation an index for look-ups by these columns? */
static bool
has_index(Relation rel, const char *method, int nattrs, const AttrNumber *attrs)
{
	Oid			am = get_index_am_oid(method, false);
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		same = form->indisvalid && form->indnkeyatts >= nattrs &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		(index->rd_rel->relam == am || index->rd_rel->relam == BTREE_AM_OID);

		for (int i = 0; same && i < nattrs; i++)
			same = form->indkey.values[i] == attrs[i];
		result = result || same;
		index_close(index, NoLock);
	}
	return result;
}

void
derive_internal_index_columns(Oid relid, const char *method, int nattrs, const AttrNumber *attrs)
{
	Relation	rel = table_open(relid, ShareLock);
	IndexStmt  *stmt = makeNode(IndexStmt);
	SavedUser	saved;

	stmt->relation = makeRangeVar(get_namespace_name(RelationGetNamespace(rel)),
								  pstrdup(RelationGetRelationName(rel)), -1);
	stmt->accessMethod = pstrdup(method);
	stmt->transformed = true;
	for (int i = 0; i < nattrs; i++)
	{
		IndexElem  *element = makeNode(IndexElem);

		element->name = pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), attrs[i] - 1)->attname));
		element->ordering = SORTBY_DEFAULT;
		element->nulls_ordering = SORTBY_NULLS_DEFAULT;
		stmt->indexParams = lappend(stmt->indexParams, element);
	}
	if (!has_index(rel, method, nattrs, attrs))
	{
		become_internal_owner(&saved);
		(void) derive_compat_define_index(relid, stmt);
		become_saved_user(&saved);
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
derive_internal_index_order(Oid relid, List *order)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *statements = derive_order_index_statements(rel, order);
	SavedUser	saved;
	ListCell   *lc;

	if (statements != NIL)
	{
		LockRelationOid(relid, ShareLock);
		derive_class_row_require(relid);
	}
	foreach(lc, statements)
	{
		become_internal_owner(&saved);
		(void) derive_compat_define_index(relid, lfirst_node(IndexStmt, lc));
		become_saved_user(&saved);
		CommandCounterIncrement();
	}
	table_close(rel, NoLock);
}

void
derive_internal_analyze(Oid relid)
{
	VacuumStmt *stmt = makeNode(VacuumStmt);
	MemoryContext portal_context = PortalContext;
	SavedUser	saved;

	stmt->rels = list_make1(makeVacuumRelation(makeRangeVar("derive_state", get_rel_name(relid), -1), relid, NIL));
	CommandCounterIncrement();
	become_internal_owner(&saved);
	/* where the command keeps its memory */
	PortalContext = CurrentMemoryContext;
	PG_TRY();
	{
		ExecVacuum(make_parsestate(NULL), stmt, false);
	}
	PG_FINALLY();
	{
		PortalContext = portal_context;
	}
	PG_END_TRY();
	become_saved_user(&saved);
	CommandCounterIncrement();
}

/* An index of the table that can serve as its locator, or InvalidOid. */
static Oid
find_locator(Oid relid, const DeriveLocator *locator)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (derive_locator_matches(index, locator))
			result = lfirst_oid(lc);
		index_close(index, NoLock);
		if (OidIsValid(result))
			break;
	}
	table_close(rel, NoLock);
	return result;
}

Oid
derive_internal_locator(Oid view, int operator, Oid relid, Oid index, const DeriveLocator *locator)
{
	Oid			found;

	if (OidIsValid(index) && get_rel_relkind(index) != '\0' && get_index_isvalid(index))
		return index;
	found = find_locator(relid, locator);
	index = OidIsValid(found) ? found : derive_internal_index_locator(relid, locator);
	/* nobody but us has a use for one on a hash */
	if (!OidIsValid(found) || (relid == view && !locator->unique))
		derive_registry_own_index(index);
	derive_registry_set_relation(view, operator, 'i', index);
	return index;
}

Oid
derive_internal_registered_locator(Oid view, int operator, const DeriveLocator *locator)
{
	Oid			relid = derive_registry_relation(view, operator, 'i');
	Relation	index;
	bool		fits;

	if (!OidIsValid(relid))
		return InvalidOid;
	/* lock first: REINDEX CONCURRENTLY may be about to drop it */
	LockRelationOid(relid, AccessShareLock);
	if (get_rel_relkind(relid) != RELKIND_INDEX)
	{
		UnlockRelationOid(relid, AccessShareLock);
		return InvalidOid;
	}
	index = index_open(relid, NoLock);
	fits = derive_locator_matches(index, locator);
	index_close(index, NoLock);
	return fits ? relid : InvalidOid;
}

bool
derive_internal_located_by_hash(Oid view, int operator)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID,
										ObjectIdGetDatum(derive_registry_relation(view, operator, 'i')));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = !((Form_pg_index) GETSTRUCT(tuple))->indisunique;
	ReleaseSysCache(tuple);
	return result;
}

static void
drop_relation(Oid relid)
{
	ObjectAddress object;

	ObjectAddressSet(object, RelationRelationId, relid);
	performDeletion(&object, DROP_CASCADE,
					PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY |
					PERFORM_DELETION_SKIP_EXTENSIONS);
}

void
derive_internal_drop_misfits(Oid relid, const DeriveLocator *locator)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);
	List	   *misfits = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessExclusiveLock);

		if (derive_registry_owns_index(lfirst_oid(lc)) &&
			(locator == NULL || !derive_locator_matches(index, locator)))
			misfits = lappend_oid(misfits, lfirst_oid(lc));
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
	foreach(lc, misfits)
		drop_relation(lfirst_oid(lc));
}

/* The tables, and, if so wanted, the locator index that we made for the view. */
static void
drop_relations(List *relations, bool indexes_too)
{
	ListCell   *lc;

	foreach(lc, relations)
	{
		char		relkind = get_rel_relkind(lfirst_oid(lc));

		if (relkind == '\0')
			continue;			/* an index that went with its table */
		if (relkind == RELKIND_INDEX && !(indexes_too && derive_registry_owns_index(lfirst_oid(lc))))
			continue;
		drop_relation(lfirst_oid(lc));
	}
}

/* Both forget them first: dropping runs hooks that ask the registry. */
void
derive_internal_drop(Oid view)
{
	List	   *relations = derive_registry_relations(view);

	derive_registry_delete(view);
	CommandCounterIncrement();
	drop_relations(relations, true);
}

void
derive_internal_drop_tables(Oid view)
{
	List	   *relations = derive_registry_relations(view);

	derive_registry_forget_relations(view, 0);
	CommandCounterIncrement();
	drop_relations(relations, false);
}
