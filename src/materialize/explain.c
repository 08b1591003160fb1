/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  What a view's program does, for people.
 *
 * One paragraph for each operator, the last one (the view's) first and the
 * operators that it reads indented below it.  Where a changed row does not simply take the place
 * of its relation, it is said how the rows are found that it concerns
 * (compile/derivative.c).  For each relation that is looked up
 * (lookups.c), the indexes that can be used are named, and a CREATE INDEX for columns
 * that no index serves.  Whoever declares a view is told of such an index only where it
 * would be felt: a table of some pages is read as fast without one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/error_context.h"
#include "compile/derivative.h"
#include "compile/query.h"
#include "materialize/lookups.h"
#include "materialize/program.h"
#include "materialize/program_internal.h"

/* -------------------------------------------------------------------------
 * Index advice
 * -------------------------------------------------------------------------
 */

/* To read a table that is not larger takes a millisecond or less. */
#define SMALL_TABLE_PAGES	(1024 * 1024 / BLCKSZ)

/* An index that would help. */
typedef struct MissingIndex
{
	Oid			relid;
	List	   *columns;		/* of int */
	int			nfirst;			/* so many columns have to come first, if any */
} MissingIndex;

typedef struct AdviceContext
{
	List	   *missing;		/* of MissingIndex * */
	List	   *used;			/* of char *: "relation: index" */
} AdviceContext;

/* Does the index find rows by this column, all columns before it being known as well? */
static bool
index_serves(Form_pg_index index, AttrNumber attno, List *known)
{
	for (int i = 0; i < index->indnkeyatts; i++)
	{
		if (index->indkey.values[i] == attno)
			return true;
		if (!list_member_int(known, index->indkey.values[i]))
			return false;
	}
	return false;
}

/* A valid index that serves, or InvalidOid. */
static Oid
serving_index(Oid relid, AttrNumber attno, bool range, List *known)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && index_serves(index->rd_index, attno, known) &&
			!(range && index->rd_rel->relam == HASH_AM_OID) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			found = lfirst_oid(lc);
		index_close(index, AccessShareLock);
	}
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * One index serves for several sets of columns, where each of them comes first: "a, b" for
 * a alone and for both.
 */
static void
add_missing(AdviceContext *context, Oid relid, List *columns)
{
	MissingIndex *missing;
	ListCell   *lc;

	foreach(lc, context->missing)
	{
		missing = lfirst(lc);
		if (missing->relid != relid)
			continue;
		if (list_difference_int(missing->columns, columns) == NIL)
		{
			if (list_length(missing->columns) < list_length(columns))
				missing->nfirst = list_length(missing->columns);
			missing->columns = list_concat_unique_int(missing->columns, columns);
			return;
		}
		if (list_difference_int(columns, missing->columns) == NIL && missing->nfirst == 0)
		{
			missing->nfirst = list_length(columns);
			missing->columns = list_concat_unique_int(list_copy(columns), missing->columns);
			return;
		}
		if (list_difference_int(columns, list_truncate(list_copy(missing->columns), list_length(columns))) == NIL)
			return;
	}
	missing = palloc0(sizeof(MissingIndex));
	missing->relid = relid;
	missing->columns = list_copy(columns);
	context->missing = lappend(context->missing, missing);
}

/* Are there indexes to find its rows by these columns?  One index would do for those that have none. */
static void
consider_columns(AdviceContext *context, Oid relid, List *known, bool range)
{
	List	   *missing = NIL;
	ListCell   *lc;

	foreach(lc, known)
	{
		Oid			index = serving_index(relid, lfirst_int(lc), range, known);
		char	   *line;

		if (!OidIsValid(index))
		{
			missing = lappend_int(missing, lfirst_int(lc));
			continue;
		}
		line = psprintf("%s by index %s", derive_relation_name(relid), quote_identifier(get_rel_name(index)));
		context->used = list_append_unique(context->used, makeString(line));
	}
	if (missing != NIL)
		add_missing(context, relid, missing);
}

/* "CREATE INDEX ..", List of char *. */
static List *
statements(List *indexes)
{
	List	   *lines = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, indexes)
	{
		MissingIndex *missing = lfirst(lc);
		StringInfoData text;

		initStringInfo(&text);
		foreach(lc2, missing->columns)
			appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "",
							 quote_identifier(get_attname(missing->relid, lfirst_int(lc2), false)));
		lines = lappend(lines, psprintf("CREATE INDEX ON %s (%s);", derive_relation_name(missing->relid), text.data));
	}
	return lines;
}

static void
advise_operator(DeriveOperator *op, AdviceContext *context)
{
	List	   *lookups = derive_operator_lookups(op);
	ListCell   *lc;

	foreach(lc, lookups)
	{
		DeriveLookup *lookup = lfirst(lc);

		/* a derived table that is not there will have what it needs */
		if (get_rel_relkind(lookup->relid) != '\0')
			consider_columns(context, lookup->relid, derive_lookup_columns(lookups, lookup->relid, lookup->group),
							 lookup->range);
	}
}

static List *
strings(List *values)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, values)
		result = lappend(result, strVal(lfirst(lc)));
	return result;
}

/* Does it take long to read the table, with its partitions and children? */
static bool
is_large(Oid relid)
{
	List	   *members = find_all_inheritors(relid, AccessShareLock, NULL);
	uint64		pages = 0;
	ListCell   *lc;

	foreach(lc, members)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
			pages += RelationGetNumberOfBlocks(rel);
		table_close(rel, NoLock);
	}
	return pages > SMALL_TABLE_PAGES;
}

List *
derive_operators_advice(DeriveProgram *program)
{
	AdviceContext context = {NIL, NIL};
	ListCell   *lc;

	foreach(lc, program->operators->list)
		advise_operator(lfirst(lc), &context);
	foreach(lc, context.missing)
	{
		if (!is_large(((MissingIndex *) lfirst(lc))->relid))
			context.missing = foreach_delete_current(context.missing, lc);
	}
	return statements(context.missing);
}

/* -------------------------------------------------------------------------
 * The tree
 * -------------------------------------------------------------------------
 */

static List *
indented(List *lines, int depth, const char *text)
{
	return lappend(lines, psprintf("%*s%s", depth * 2, "", text));
}

/* A relation's name; that of a derived table that is not there (preview.c) is its number. */
static char *
source_name(DeriveProgram *program, Oid relid)
{
	ListCell   *lc;

	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);

		if (op->table == relid && get_rel_relkind(relid) == '\0')
			return psprintf("derived table %d", op->number);
	}
	return derive_relation_name(relid);
}

static char *
target_text(DeriveProgram *program, DeriveOperator *op)
{
	if (op->table != program->view)
		return get_rel_relkind(op->table) == '\0' ? source_name(program, op->table)
			: psprintf("derived table %s", derive_relation_name(op->table));
	return OidIsValid(program->view) ? psprintf("view %s", derive_relation_name(op->table)) : "the view";
}

/* How changes find the rows that they concern, for relations where they have to. */
static List *
reach_texts(DeriveProgram *program, DeriveOperator *op)
{
	List	   *lines = NIL;
	Query	   *by_key;
	ListCell   *lc,
			   *lc2;

	foreach(lc, op->routine->queries(op, &by_key))
	{
		Query	   *query = copyObject(lfirst_node(Query, lc));

		foreach(lc2, derive_occurrences_number(query, 0, NIL))
		{
			DeriveOccurrence *occurrence = lfirst(lc2);
			char	   *text = derive_query_reach_text(query, foreach_current_index(lc2) + 1);

			if (text !=NULL)
				lines = list_append_unique(lines, makeString(psprintf("Changes of %s: %s", source_name(program, occurrence->relid), text)));
		}
	}
	return strings(lines);
}

static char *
locator_text(DeriveOperator *op)
{
	if (op->locator.unique)
		return psprintf("Rows found by: unique index %s", quote_identifier(get_rel_name(op->index) ? get_rel_name(op->index) : "(to be created)"));
	return psprintf("Rows found by: hash of %s, index %s",
					op->locator.nattrs > 0 ? "the key" : "the row",
					quote_identifier(get_rel_name(op->index) ? get_rel_name(op->index) : "(to be created)"));
}

static List *
explain_operator(DeriveProgram *program, DeriveOperator *op, int depth, List *lines)
{
	AdviceContext advice = {NIL, NIL};
	ListCell   *lc,
			   *lc2;
	List	   *seen = NIL;

	lines = indented(lines, depth, psprintf("%s%s (%s) -> %s", depth > 0 ? "<- " : "",
											op->label, op->routine->name, target_text(program, op)));
	foreach(lc, op->routine->explain(op, NIL))
		lines = indented(lines, depth + 2, lfirst(lc));
	if (op->input != NULL && derive_linear_timed(op->input))
		lines = indented(lines, depth + 2, "As time passes: rows enter and leave by conditions with now()");
	foreach(lc, reach_texts(program, op))
		lines = indented(lines, depth + 2, lfirst(lc));
	if (OidIsValid(program->view))
		lines = indented(lines, depth + 2, locator_text(op));

	advise_operator(op, &advice);
	foreach(lc, strings(advice.used))
		lines = indented(lines, depth + 2, psprintf("Looks up: %s", (char *) lfirst(lc)));
	foreach(lc, statements(advice.missing))
		lines = indented(lines, depth + 2, psprintf("Would help: %s", (char *) lfirst(lc)));

	foreach(lc2, op->routine->sources(op, NIL))
	{
		Oid			relid = ((DeriveSource *) lfirst(lc2))->relid;
		DeriveOperator *inner = NULL;

		/* a recursion reads its own table */
		if (relid == op->table || list_member_oid(seen, relid))
			continue;
		seen = lappend_oid(seen, relid);
		foreach(lc, program->operators->list)
			if (((DeriveOperator *) lfirst(lc))->table == relid)
			inner = lfirst(lc);
		if (inner)
			lines = explain_operator(program, inner, depth + 1, lines);
		else
			lines = indented(lines, depth + 1,
							 psprintf("<- %s %s", get_rel_relkind(relid) == RELKIND_MATVIEW ? "changes of view" : "changes of",
									  derive_relation_name(relid)));
	}
	return lines;
}

List *
derive_operators_explain(DeriveProgram *program)
{
	return explain_operator(program, llast(program->operators->list), 0, NIL);
}
