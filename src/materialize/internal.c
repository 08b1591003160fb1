/*-------------------------------------------------------------------------
 *
 * internal.c
 *	  The internal tables of a view: states and derived tables.
 *
 * They are members of the extension, so that pg_dump leaves them out and DROP
 * EXTENSION takes them along.  A dependency on the view would be natural as
 * well, but a member of an extension cannot be dropped through another object;
 * so the drop hook calls derive_internal_drop().
 *
 * They belong to the extension's owner: the owner of the view can neither read
 * nor change them, and needs no right to create anything in derive_state.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/toasting.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "materialize/internal.h"

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
	table = DefineRelation(stmt, RELKIND_RELATION, internal_owner(), NULL, NULL);
	CommandCounterIncrement();
	NewRelationCreateToastTable(table.objectId, (Datum) 0);
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
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	stored = RelationGetDescr(rel);
	bool		result = stored->natts == desc->natts;

	for (int i = 0; result && i < desc->natts; i++)
		result = !TupleDescAttr(stored, i)->attisdropped &&
			TupleDescAttr(stored, i)->atttypid == TupleDescAttr(desc, i)->atttypid;
	table_close(rel, NoLock);
	return result;
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
	if (OidIsValid(index) && get_rel_relkind(index) != '\0' && get_index_isvalid(index))
		return index;
	index = find_locator(relid, locator);
	if (!OidIsValid(index))
		index = derive_internal_index_locator(relid, locator);
	derive_registry_set_relation(view, operator, 'i', index);
	return index;
}

void
derive_internal_drop(Oid view)
{
	ListCell   *lc;
	List	   *relations = derive_registry_relations(view);

	/* forget them first: dropping runs hooks that ask the registry */
	derive_registry_delete(view);
	CommandCounterIncrement();
	foreach(lc, relations)
	{
		ObjectAddress object;

		if (get_rel_relkind(lfirst_oid(lc)) == '\0')
			continue;			/* an index that went with the view */
		ObjectAddressSet(object, RelationRelationId, lfirst_oid(lc));
		performDeletion(&object, DROP_CASCADE,
						PERFORM_DELETION_INTERNAL | PERFORM_DELETION_SKIP_EXTENSIONS);
	}
}
