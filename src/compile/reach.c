/*-------------------------------------------------------------------------
 *
 * reach.c
 *	  How the rows are found that a change concerns, for people.
 *
 *	FROM f WHERE EXISTS (SELECT FROM g JOIN h ON h.id = g.h WHERE g.x = f.x), change of h:
 *
 *		rows found by key (g.x = f.x)
 *
 * One clause for each step, the first one first.  The server writes an expression down for
 * us, as it does in EXPLAIN: it takes names of columns from a range table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "compile/derivative.h"

/* -------------------------------------------------------------------------
 * Expressions
 * -------------------------------------------------------------------------
 */

/*
 * An entry of which only names are wanted.  Our derived tables may not be there yet, and
 * columns may have been added to a view since its alias list was made.
 */
static RangeTblEntry *
named_entry(RangeTblEntry *rte)
{
	RangeTblEntry *named = makeNode(RangeTblEntry);
	int			ncolumns = rte->rtekind == RTE_SUBQUERY ? list_length(rte->subquery->targetList) : 0;

	if (rte->rtekind == RTE_RELATION && get_rel_relkind(rte->relid) != '\0')
		return rte;
	named->rtekind = RTE_VALUES;
	named->alias = copyObject(rte->alias);
	named->eref = copyObject(rte->eref);
	for (int i = list_length(named->eref->colnames); i < ncolumns; i++)
	{
		char	   *name = list_nth_node(TargetEntry, rte->subquery->targetList, i)->resname;

		named->eref->colnames = lappend(named->eref->colnames, makeString(pstrdup(name ? name : "?column?")));
	}
	return named;
}

/* What the server needs to name the columns of a range table. */
static List *
names_of(List *rtable)
{
	PlannedStmt *stmt = makeNode(PlannedStmt);
	Bitmapset  *all = NULL;
	ListCell   *lc;

	foreach(lc, rtable)
	{
		stmt->rtable = lappend(stmt->rtable, named_entry(lfirst_node(RangeTblEntry, lc)));
		all = bms_add_member(all, foreach_current_index(lc) + 1);
	}
	return deparse_context_for_plan_tree(stmt, select_rtable_names_for_explain(stmt->rtable, all));
}

/* A column is named by where it comes from, not as it was written: that was another range table. */
static bool
forget_syntax_walker(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		((Var *) node)->varnosyn = 0;
		return false;
	}
	return expression_tree_walker(node, forget_syntax_walker, arg);
}

/* What sub-queries read may be derived tables, which say nothing to people. */
static char *
text_of(Node *expr, List *names)
{
	if (checkExprHasSubLink(expr))
		return pstrdup("what a sub-query returns");
	expr = copyObject(expr);
	(void) forget_syntax_walker(expr, NULL);
	return deparse_expression(expr, names, true, false);
}

/* -------------------------------------------------------------------------
 * Steps
 * -------------------------------------------------------------------------
 */

static void
append_step(StringInfo text, DeriveStep *step)
{
	List	   *names = names_of(step->part->rtable);
	ListCell   *lc;

	if (step->pairs == NIL)
	{
		appendStringInfoString(text, "by looking at all rows");
		return;
	}
	if (!step->partitions)
		names = list_concat(names, names_of(step->query->rtable));
	appendStringInfoString(text, step->partitions ? "by partition (" : "by key ");
	foreach(lc, step->pairs)
	{
		DeriveKeyPair *pair = lfirst(lc);
		const char *separator = foreach_current_index(lc) == 0 ? "" : step->partitions ? ", " : " AND ";

		appendStringInfo(text, "%s%s", separator,
						 text_of(step->partitions ? (Node *) pair->outer : (Node *) pair->condition, names));
	}
	if (step->partitions)
		appendStringInfoChar(text, ')');
}

char *
derive_query_reach_text(Query *query, int occurrence)
{
	List	   *steps = derive_query_steps(query, occurrence);
	StringInfoData text;
	ListCell   *lc;

	if (steps == NIL)
		return NULL;
	initStringInfo(&text);
	appendStringInfoString(&text, "rows found ");
	foreach(lc, steps)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoString(&text, ", then ");
		append_step(&text, lfirst(lc));
	}
	return text.data;
}
