/*-------------------------------------------------------------------------
 *
 * succession.c
 *	  A view takes over the query of another one, with all that belongs to it.
 *
 * The successor was built and is maintained like every view; it becomes what the view
 * is from now on, under the OID of the view, so that grants, comments, indexes, and
 * whatever depends on the view stay.  Piece by piece,
 *
 *		view								successor
 *		columns a, b						a, b, c				c is added
 *		rule: the old query					the new one			is copied
 *		internal tables						its own				change hands; the old ones go
 *		locator index, if we made it		its own				is dropped if it does not
 *																fit, and made again
 *		files of the rows and indexes		its own				are exchanged (deposit/exchange.c)
 *
 * Columns.  ALTER MATERIALIZED VIEW cannot add one, for want of what its rows would have
 * in it.  Here the rows come with it.  What is checked, and done to the catalogs, is what
 * ALTER TABLE ADD COLUMN checks and does: above all, a column whose type contains the view's
 * rows would make its row type contain itself, and who looks into that never comes to an
 * end.  That is checked when the new query is declared, and again now: types and names of
 * columns may have changed meanwhile.
 *
 * The options of a column come along: minor releases since November 2026 keep there since
 * when it is what it is ("pg_attver", a place in the log), by which values of the row type
 * are known that do not have the column yet.
 *
 * The locator index is made while the view has an empty file, in no time; then it
 * is exchanged with the successor's like every other index.
 *
 * In the end the view's program is loaded, as it will be by the next worker, and must be
 * the one of the successor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/registry.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/matview.h"
#include "commands/tablecmds.h"
#include "delta/consolidate.h"
#include "deposit/exchange.h"
#include "derive/definition.h"
#include "materialize/internal_tables.h"
#include "materialize/program_internal.h"
#include "pgstat.h"
#include "rewrite/rewriteDefine.h"
#include "rewrite/rewriteSupport.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"


/* ----------------------------------------------------------------
 *		Columns
 * ----------------------------------------------------------------
 */

static void
check_column(Form_pg_attribute new, Form_pg_attribute old)
{
	const char *name = NameStr(old->attname);

	if (strcmp(NameStr(new->attname), name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot change name of materialized view column \"%s\" to \"%s\"", name, NameStr(new->attname)),
				 errhint("Use ALTER MATERIALIZED VIEW ... RENAME COLUMN ... to change name of materialized view column instead.")));
	if (new->atttypid != old->atttypid || new->atttypmod != old->atttypmod)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot change data type of materialized view column \"%s\" from %s to %s", name,
						format_type_with_typemod(old->atttypid, old->atttypmod),
						format_type_with_typemod(new->atttypid, new->atttypmod))));
	if (new->attcollation != old->attcollation)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot change collation of materialized view column \"%s\" from \"%s\" to \"%s\"", name,
						get_collation_name(old->attcollation), get_collation_name(new->attcollation))));
}

void
derive_check_columns(TupleDesc new, TupleDesc old)
{
	if (new->natts < old->natts)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot drop columns from materialized view")));
	for (int i = 0; i < old->natts; i++)
		check_column(TupleDescAttr(new, i), TupleDescAttr(old, i));
	for (int i = old->natts; i < new->natts; i++)
		CheckAttributeType(NameStr(TupleDescAttr(new, i)->attname), TupleDescAttr(new, i)->atttypid,
						   TupleDescAttr(new, i)->attcollation, list_make1_oid(old->tdtypeid), 0);
}

/* One that the view had already may have been given the name of one that is added. */
static void
check_names(TupleDesc want, int nhave, const char *view)
{
	for (int i = nhave; i < want->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(want, i)->attname);

		for (int j = 0; j < i; j++)
			if (strcmp(NameStr(TupleDescAttr(want, j)->attname), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" of relation \"%s\" already exists", name, view)));
	}
}

static void
depend_on_type(Oid view, Form_pg_attribute att)
{
	ObjectAddress column;
	ObjectAddress referenced;

	ObjectAddressSubSet(column, RelationRelationId, view, att->attnum);
	ObjectAddressSet(referenced, TypeRelationId, att->atttypid);
	recordDependencyOn(&column, &referenced, DEPENDENCY_NORMAL);
	if (OidIsValid(att->attcollation) && att->attcollation != DEFAULT_COLLATION_OID)
	{
		ObjectAddressSet(referenced, CollationRelationId, att->attcollation);
		recordDependencyOn(&column, &referenced, DEPENDENCY_NORMAL);
	}
}

static void
set_number_of_columns(Oid view, int natts)
{
	Relation	classes = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(view));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", view);
	((Form_pg_class) GETSTRUCT(tuple))->relnatts = natts;
	CatalogTupleUpdate(classes, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(classes, RowExclusiveLock);
}

static Datum
options_of(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	bool		isnull;
	Datum		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for attribute %d of relation %u", attnum, relid);
	result = SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attoptions, &isnull);
	result = isnull ? (Datum) 0 : datumCopy(result, false, -1);
	ReleaseSysCache(tuple);
	return result;
}

/* Those that the other one has more. */
static void
add_columns(Oid view, Oid successor, TupleDesc have, TupleDesc want)
{
	int			nmore = want->natts - have->natts;
	TupleDesc	more;
	Datum	   *options;
	Relation	attributes;
	CatalogIndexState indexes;

	if (nmore == 0)
		return;
	more = CreateTemplateTupleDesc(nmore);
	options = palloc0(sizeof(Datum) * nmore);
	for (int i = 0; i < nmore; i++)
	{
		TupleDescCopyEntry(more, i + 1, want, have->natts + i + 1);
		TupleDescAttr(more, i)->attnum = have->natts + i + 1;
		TupleDescAttr(more, i)->attislocal = true;
		options[i] = options_of(successor, have->natts + i + 1);
	}
	attributes = table_open(AttributeRelationId, RowExclusiveLock);
	indexes = CatalogOpenIndexes(attributes);
	derive_compat_insert_attributes(attributes, more, view, options, indexes);
	CatalogCloseIndexes(indexes);
	table_close(attributes, RowExclusiveLock);
	set_number_of_columns(view, want->natts);
	for (int i = 0; i < nmore; i++)
		depend_on_type(view, TupleDescAttr(more, i));
	CommandCounterIncrement();
}

/* The names of the view's columns are its own. */
static void
take_columns(Oid view, Oid successor)
{
	Relation	rel = table_open(view, NoLock);
	Relation	other = table_open(successor, NoLock);
	TupleDesc	have = CreateTupleDescCopy(RelationGetDescr(rel));
	TupleDesc	want = CreateTupleDescCopy(RelationGetDescr(other));

	CheckTableNotInUse(rel, "derive.replace_view()");
	CheckTableNotInUse(other, "derive.replace_view()");
	if (rel->rd_rel->relam != other->rd_rel->relam || rel->rd_rel->reltablespace != other->rd_rel->reltablespace)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("materialized view \"%s\" was moved to another tablespace or access method meanwhile",
						RelationGetRelationName(rel))));
	table_close(rel, NoLock);
	table_close(other, NoLock);
	for (int i = 0; i < have->natts && i < want->natts; i++)
		namestrcpy(&TupleDescAttr(want, i)->attname, NameStr(TupleDescAttr(have, i)->attname));
	derive_check_columns(want, have);
	check_names(want, have->natts, get_rel_name(view));
	add_columns(view, successor, have, want);
}


/* ----------------------------------------------------------------
 *		Query, tables, rows
 * ----------------------------------------------------------------
 */

/* As CREATE OR REPLACE VIEW does. */
static void
take_query(Oid view, Oid successor)
{
	Query	   *query = derive_definition_tree(successor);
	ListCell   *lc;

	/* before 16, the rule of a view names the view itself, for OLD and NEW */
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->relid == successor)
			rte->relid = view;
	}
	(void) DefineQueryRewrite(pstrdup(ViewSelectRuleName), view, NULL, CMD_SELECT, true, true, list_make1(query));
	CommandCounterIncrement();
}

/* state_17_0 of view 17 becomes state_4_0 of view 4. */
static void
take_internal_tables(Oid view, Oid successor)
{
	ListCell   *lc;

	derive_internal_drop_tables(view);
	derive_registry_move_relations(successor, view);
	foreach(lc, derive_registry_relations(view))
	{
		char	   *name = get_rel_name(lfirst_oid(lc));

		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_MATVIEW)
			continue;
		RenameRelationInternal(lfirst_oid(lc),
							   psprintf("%.*s_%u%s", (int) strcspn(name, "_"), name, view, strrchr(name, '_')),
							   true, false);
		CommandCounterIncrement();
	}
}

static void
add_rows(DeriveConsolidator *rows, Oid relid, int64 weight)
{
	Relation	rel = table_open(relid, NoLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		derive_consolidate_add(rows, slot, weight);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/* For those who follow the view; columns that it had not are NULL in its old rows. */
static void
report_difference(Oid view, DeriveProgram *successor, DeriveObserver observer, void *arg)
{
	DeriveOperator *op = llast(successor->operators->list);
	Relation	rel = table_open(view, NoLock);
	DeriveConsolidator *rows = derive_consolidate_begin(RelationGetDescr(rel), op->locator.nattrs, op->locator.attrs,
														false);

	derive_see_own_changes();
	add_rows(rows, successor->view, 1);
	add_rows(rows, view, -1);
	derive_consolidate_finish(rows, observer, arg);
	PopActiveSnapshot();
	table_close(rel, NoLock);
}

static void
take_rows(Oid view, DeriveProgram *successor)
{
	DeriveOperator *op = llast(successor->operators->list);
	Relation	rel;

	derive_internal_drop_misfits(view, &op->locator);
	rel = table_open(view, NoLock);
	derive_compat_empty_files(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	(void) derive_internal_locator(view, op->number, view, InvalidOid, &op->locator);
	derive_exchange_contents(view, successor->view);

	rel = table_open(view, NoLock);
	if (!RelationIsPopulated(rel))
		SetMatViewPopulatedState(rel, true);
	pgstat_count_truncate(rel);
	pgstat_count_heap_insert(rel, (PgStat_Counter) Max(rel->rd_rel->reltuples, 0));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The view's program as everybody will find it. */
static void
check_program(DeriveProgram *successor, Oid view)
{
	DeriveProgram *program = derive_program_load(view, CurrentMemoryContext);

	if (program->outdated != NULL || program->unfilled || program->digest != successor->digest)
		elog(ERROR, "the program of view \"%s\" is not the one that its new contents were made by",
			 get_rel_name(view));
	derive_depend_on_constraints(program);
	derive_depend_on_text_search(program);
	derive_program_free(program);
}

void
derive_program_succeed(DeriveProgram *successor, Oid view, DeriveObserver observer, void *arg)
{
	Assert(successor->kind == &derive_select_program);
	take_columns(view, successor->view);
	if (observer != NULL)
		report_difference(view, successor, observer, arg);
	derive_forget_dependencies(view);
	take_query(view, successor->view);
	take_internal_tables(view, successor->view);
	take_rows(view, successor);
	check_program(successor, view);
}
