/*-------------------------------------------------------------------------
 *
 * exchange.c
 *	  Two relations exchange what is stored in them.
 *
 * As the server does at the end of CLUSTER and REFRESH (cluster.c,
 * swap_relation_files()): the rows of pg_class exchange the numbers of their files and
 * what is known of these, and TOAST tables change their owners.  So the rows
 * change places in no time, whatever their number.
 *
 * Indexes point into the files.  The server builds those of the table anew, under its
 * AccessExclusiveLock.  We have a second relation that was written in peace, and its
 * indexes with it: where it has one that is defined as the view's, the two exchange
 * their files as well,
 *
 *		orders_per_day						orders_per_day_replacement
 *		  CREATE UNIQUE INDEX a ON .. (day)		CREATE UNIQUE INDEX x ON .. (day)	exchanged
 *		  CREATE INDEX b ON .. (total)			-									built
 *
 * and only an index that came since then is built (or one that cannot be copied, since
 * it is on whole rows).  "Defined as" is to say that pg_get_indexdef() gives the same
 * text but for the names: access method, columns, operator classes, collations, order,
 * predicate, and parameters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/error_context.h"
#include "base/registry.h"
#include "base/usercode.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "deposit/exchange.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_utilcmd.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#define EXCHANGE(type, a, b) \
	do { \
		type		exchanged = (a); \
		(a) = (b); \
		(b) = exchanged; \
	} while (0)


/* ----------------------------------------------------------------
 *		Files
 * ----------------------------------------------------------------
 */

/* Let a TOAST table go with the relation, whoever had it so far. */
static void
give_toast(Oid toast, Oid relid)
{
	ObjectAddress object;
	ObjectAddress owner;

	if (!OidIsValid(toast))
		return;
	(void) deleteDependencyRecordsFor(RelationRelationId, toast, false);
	ObjectAddressSet(object, RelationRelationId, toast);
	ObjectAddressSet(owner, RelationRelationId, relid);
	recordDependencyOn(&object, &owner, DEPENDENCY_INTERNAL);
}

/* Two tables, or two indexes. */
static void
exchange_files(Oid first, Oid second)
{
	Relation	classes = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuples[2] = {
		SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(first)),
		SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(second))
	};
	Form_pg_class a;
	Form_pg_class b;
	CatalogIndexState indexes;

	if (!HeapTupleIsValid(tuples[0]) || !HeapTupleIsValid(tuples[1]))
		elog(ERROR, "cache lookup failed for relation %u or %u", first, second);
	a = (Form_pg_class) GETSTRUCT(tuples[0]);
	b = (Form_pg_class) GETSTRUCT(tuples[1]);
	if (a->relkind != b->relkind || a->relam != b->relam || a->relpersistence != b->relpersistence ||
		!OidIsValid(a->relfilenode) || !OidIsValid(b->relfilenode))
		elog(ERROR, "relations %u and %u cannot exchange their files", first, second);

	EXCHANGE(Oid, a->relfilenode, b->relfilenode);
	EXCHANGE(Oid, a->reltablespace, b->reltablespace);
	EXCHANGE(int32, a->relpages, b->relpages);
	EXCHANGE(float4, a->reltuples, b->reltuples);
	EXCHANGE(int32, a->relallvisible, b->relallvisible);
	derive_compat_exchange_frozen(a, b);
	EXCHANGE(TransactionId, a->relfrozenxid, b->relfrozenxid);
	EXCHANGE(TransactionId, a->relminmxid, b->relminmxid);
	EXCHANGE(Oid, a->reltoastrelid, b->reltoastrelid);

	indexes = CatalogOpenIndexes(classes);
	CatalogTupleUpdateWithInfo(classes, &tuples[0]->t_self, tuples[0], indexes);
	CatalogTupleUpdateWithInfo(classes, &tuples[1]->t_self, tuples[1], indexes);
	CatalogCloseIndexes(indexes);
	give_toast(a->reltoastrelid, first);
	give_toast(b->reltoastrelid, second);
	derive_compat_close_files(first);
	derive_compat_close_files(second);
	table_close(classes, RowExclusiveLock);
	CommandCounterIncrement();
}


/* ----------------------------------------------------------------
 *		Indexes
 * ----------------------------------------------------------------
 */

/* What follows the names in CREATE INDEX name ON table USING .., and whether it is unique; NULL: it cannot be told. */
static char *
definition_of(Oid index, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool		usable;
	char	   *text;
	char	   *names;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	form = (Form_pg_index) GETSTRUCT(tuple);
	usable = form->indisvalid && form->indisready && form->indislive && !form->indcheckxmin;
	names = psprintf("CREATE %sINDEX %s ON %s USING ", form->indisunique ? "UNIQUE " : "",
					 quote_identifier(get_rel_name(index)), derive_relation_name(relid));
	text = pg_get_indexdef_string(index);

	if (!usable || strncmp(text, names, strlen(names)) != 0)
		text = NULL;

	else
		text = psprintf("%s%s", form->indisunique ? "unique " : "", text +strlen(names));

	ReleaseSysCache(tuple);
	return text;
}

static List *
indexes_of(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	List	   *result = RelationGetIndexList(rel);

	table_close(rel, NoLock);
	return result;
}

/* One among the others that is defined as this one; or InvalidOid. */
static Oid
counterpart(Oid index, Oid view, List *others, Oid other)
{
	char	   *definition = definition_of(index, view);
	ListCell   *lc;

	foreach(lc, definition != NULL ? others : NIL)
	{
		char	   *candidate = definition_of(lfirst_oid(lc), other);

		if (candidate != NULL && strcmp(definition, candidate) == 0)
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/* The expressions of an index are its table's owner's code. */
static void
build_index(Oid index)
{
	DeriveUserCode code;

	derive_usercode_enter(&code);
	derive_compat_reindex_index(index);
	derive_usercode_leave(&code);
	CommandCounterIncrement();
}

void
derive_exchange_contents(Oid view, Oid other)
{
	List	   *others = indexes_of(other);
	List	   *missing = NIL;
	ListCell   *lc;

	foreach(lc, indexes_of(view))
	{
		Oid			index = lfirst_oid(lc);
		Oid			match = counterpart(index, view, others, other);

		if (!OidIsValid(match))
			missing = lappend_oid(missing, index);
		else
		{
			exchange_files(index, match);
			others = list_delete_oid(others, match);
		}
	}
	exchange_files(view, other);
	foreach(lc, missing)
		build_index(lfirst_oid(lc));
}

/* It would have to name the row type of another relation. */
static bool
is_on_whole_rows(Relation index)
{
	Bitmapset  *attrs = NULL;

	pull_varattnos(derive_index_stored(index, Anum_pg_index_indexprs), 1, &attrs);
	pull_varattnos(derive_index_stored(index, Anum_pg_index_indpred), 1, &attrs);
	return bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attrs);
}

void
derive_exchange_prepare(Oid view, Oid other)
{
	Relation	rel = table_open(view, NoLock);
	int			natts = RelationGetNumberOfAttributes(rel);
	AttrMap    *map = make_attrmap(natts);
	RangeVar   *name = makeRangeVar(get_namespace_name(get_rel_namespace(other)), get_rel_name(other), -1);
	ListCell   *lc;

	table_close(rel, NoLock);
	for (int i = 0; i < natts; i++)
		map->attnums[i] = i + 1;
	foreach(lc, indexes_of(view))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && !derive_registry_owns_index(lfirst_oid(lc)) && !is_on_whole_rows(index))
			(void) derive_compat_define_index(other, generateClonedIndexStmt(name, index, map, NULL));
		index_close(index, NoLock);
		CommandCounterIncrement();
	}
	free_attrmap(map);
}
