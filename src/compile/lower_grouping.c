/*-------------------------------------------------------------------------
 *
 * lower_grouping.c
 *	  GROUPING SETS, ROLLUP and CUBE as a UNION ALL of groupings.
 *
 * A block with grouping sets makes rows of groups, and then does with them what any
 * block does with rows: expressions, windows, DISTINCT, ORDER BY, LIMIT.  So it is cut
 * there.  The row of a group has a column for each grouping expression, aggregate and
 * GROUPING() that is read; for each set a block of its own makes such rows, by the
 * same FROM and WHERE, with
 *
 *		NULL			for a grouping expression that is not in the set
 *		a constant		for GROUPING()
 *		the same		for an aggregate, whose arguments are columns of FROM
 *
 *		SELECT a, b, sum(x) + 1, GROUPING(a, b) FROM t
 *		GROUP BY ROLLUP (a, b) HAVING a IS NULL OR count(*) > 1
 *
 *		SELECT r.c1, r.c2, r.c3 + 1, r.c4 FROM (
 *			SELECT a, b, sum(x), 0 FROM t GROUP BY a, b HAVING a IS NULL OR count(*) > 1
 *			UNION ALL
 *			SELECT a, NULL, sum(x), 1 FROM t GROUP BY a HAVING a IS NULL OR count(*) > 1
 *			UNION ALL
 *			SELECT NULL, NULL, sum(x), 3 FROM t HAVING NULL IS NULL OR count(*) > 1) r
 *
 *		t (a, b, x): (1, 1, 5), (1, 1, 6), (1, 2, 7), (NULL, 1, 8)
 *
 *		(1, 1, 12, 0)  (NULL, 1, 9, 0)
 *		(1, NULL, 19, 1)  (NULL, NULL, 9, 1)
 *		(NULL, NULL, 27, 3)
 *
 * The empty set is one group whether or not there are rows.  With an aggregate, that is
 * what a block without GROUP BY is; without any, the row does not depend on the table,
 * and the block reads none.
 *
 * Without sets there is one, of all that is grouped by, and GROUPING() is 0.
 *
 * Sets that are the same are one block whose rows are repeated.  A column that is not
 * grouped but depends on a grouped primary key stays what it is: PostgreSQL accepts
 * it where the key is in all sets.  A grouping expression that returns a set multiplies
 * the rows of all groupings, in which it is or not, so it goes into FROM first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_agg.h"
#include "rewrite/rewriteManip.h"

#include "base/compat.h"
#include "compile/lower.h"
#include "compile/query.h"
#include "compile/stages.h"

/* A grouping set; its members are the references of grouping clauses. */
typedef struct GroupingSetCount
{
	Bitmapset  *members;
	int64		copies;
} GroupingSetCount;

/* Expressions over a group, in terms of its row. */
typedef struct RowContext
{
	List	   *keys;			/* of Expr *: what is grouped by */
	List	   *columns;		/* of Expr *: of the row */
	List	   *values;			/* what to put in the place of each; NIL:
								 * collect them */
	int			depth;			/* levels below the block */
} RowContext;

/* -------------------------------------------------------------------------
 * The row of a group
 * -------------------------------------------------------------------------
 */

/* Does the expression, so deep below the block, belong to the block's group? */
static bool
is_column(Node *node, RowContext *context)
{
	switch (nodeTag(node))
	{
		case T_Aggref:
			return ((Aggref *) node)->agglevelsup == context->depth;
		case T_GroupingFunc:
			return ((GroupingFunc *) node)->agglevelsup == context->depth;
		case T_Var:
			return ((Var *) node)->varlevelsup == context->depth;
		default:
			/* as the parser has it: in sub-queries, grouped columns only */
			return context->depth == 0 && list_member(context->keys, node);
	}
}

static Node *
row_mutator(Node *node, RowContext *context)
{
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		context->depth++;
		node = (Node *) query_tree_mutator((Query *) node, row_mutator, context, 0);
		context->depth--;
		return node;
	}
	if (!is_column(node, context))
		return expression_tree_mutator(node, row_mutator, context);
	node = copyObject(node);
	IncrementVarSublevelsUp(node, -context->depth, context->depth);
	foreach(lc, context->columns)
	{
		if (!equal(lfirst(lc), node))
			continue;
		if (context->values != NIL)
			node = copyObject(list_nth(context->values, foreach_current_index(lc)));
		IncrementVarSublevelsUp(node, context->depth, 0);
		return node;
	}
	Assert(context->values == NIL);
	context->columns = lappend(context->columns, node);
	node = copyObject(node);
	IncrementVarSublevelsUp(node, context->depth, 0);
	return node;
}

static bool
has_aggregate(RowContext *row)
{
	ListCell   *lc;

	foreach(lc, row->columns)
		if (IsA(lfirst(lc), Aggref))
		return true;
	return false;
}

/* -------------------------------------------------------------------------
 * Sets
 * -------------------------------------------------------------------------
 */

static int
compare_sets(const void *a, const void *b)
{
	return bms_compare(((const GroupingSetCount *) a)->members, ((const GroupingSetCount *) b)->members);
}

/* The different sets, sorted; how many. */
static int
expand_sets(Query *query, GroupingSetCount **sets)
{
	List	   *expanded = expand_grouping_sets(query->groupingSets, query->groupDistinct, -1);
	int			n = 0;
	ListCell   *lc,
			   *lc2;

	*sets = palloc0(sizeof(GroupingSetCount) * list_length(expanded));
	foreach(lc, expanded)
	{
		GroupingSetCount *set = &(*sets)[foreach_current_index(lc)];

		set->copies = 1;
		foreach(lc2, (List *) lfirst(lc))
			set->members = bms_add_member(set->members, lfirst_int(lc2));
	}
	qsort(*sets, list_length(expanded), sizeof(GroupingSetCount), compare_sets);
	for (int i = 0; i < list_length(expanded); i++)
	{
		if (n > 0 && bms_equal((*sets)[n - 1].members, (*sets)[i].members))
			(*sets)[n - 1].copies++;
		else
			(*sets)[n++] = (*sets)[i];
	}
	return n;
}

static Expr *
grouping_constant(GroupingFunc *grouping, Bitmapset *members)
{
	int32		bits = 0;
	ListCell   *lc;

	foreach(lc, grouping->refs)
		bits = (bits << 1) | !bms_is_member(lfirst_int(lc), members);
	return (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(bits), false, true);
}

/* Is this one of the expressions that the set groups by? */
static bool
is_grouped_by(Query *query, Bitmapset *members, Node *expr)
{
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		if (bms_is_member(clause->tleSortGroupRef, members) &&
			equal(get_sortgroupclause_expr(clause, query->targetList), expr))
			return true;
	}
	return false;
}

/* The columns of the row, for the groups of one set. */
static List *
values_of(Query *query, RowContext *row, Bitmapset *members)
{
	RowContext	keys = {row->keys, row->keys, NIL, 0};
	List	   *values = NIL;
	ListCell   *lc;

	foreach(lc, row->keys)
	{
		Node	   *key = lfirst(lc);

		keys.values = lappend(keys.values, is_grouped_by(query, members, key) ? key :
							  (Node *) makeNullConst(exprType(key), exprTypmod(key), exprCollation(key)));
	}
	foreach(lc, row->columns)
	{
		Node	   *column = lfirst(lc);

		if (IsA(column, GroupingFunc))
			column = (Node *) grouping_constant((GroupingFunc *) column, members);
		else if (IsA(column, Aggref))
		{
			Aggref	   *aggref = copyObject((Aggref *) column);

			/* these are evaluated over the group, the others over its rows */
			if (aggref->aggdirectargs != NIL)
				aggref->aggdirectargs = (List *) row_mutator((Node *) aggref->aggdirectargs, &keys);
			column = (Node *) aggref;
		}
		else if (list_member(row->keys, column))
			column = row_mutator(column, &keys);
		values = lappend(values, column);
	}
	return values;
}

/* -------------------------------------------------------------------------
 * Blocks
 * -------------------------------------------------------------------------
 */

/* Make a branch of a union of it: without columns that only GROUP BY needs, the others that often. */
static Query *
make_branch(Query *inner, int64 copies)
{
	Query	   *query;
	RangeTblRef *ref = makeNode(RangeTblRef);

	if (copies == 1 && !llast_node(TargetEntry, inner->targetList)->resjunk)
		return inner;
	query = derive_query_wrap(inner);
	IncrementVarSublevelsUp((Node *) inner, 1, 1);
	if (copies == 1)
		return query;
	query->rtable = lappend(query->rtable, derive_lower_series(derive_lower_number(copies)));
	ref->rtindex = 2;
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
	return query;
}

/* Group by an expression, which may be a column of the row or not. */
static void
add_key(Query *block, SortGroupClause *clause, Node *expr)
{
	TargetEntry *tle = tlist_member((Expr *) expr, block->targetList);

	if (tle != NULL && get_sortgroupref_clause_noerr(tle->ressortgroupref, block->groupClause) != NULL)
		return;
	if (tle == NULL)
	{
		tle = makeTargetEntry(copyObject((Expr *) expr), list_length(block->targetList) + 1, NULL, true);
		block->targetList = lappend(block->targetList, tle);
	}
	tle->ressortgroupref = clause->tleSortGroupRef;
	block->groupClause = lappend(block->groupClause, copyObject(clause));
}

/* The rows of the groups of one set; input: FROM and WHERE of the block. */
static Query *
make_block(Query *query, Query *input, RowContext *row, RowContext *having, GroupingSetCount *set)
{
	Query	   *block;
	bool		aggregates = has_aggregate(row) || has_aggregate(having);
	ListCell   *lc;

	having->values = values_of(query, having, set->members);
	if (bms_is_empty(set->members) && !aggregates)
	{
		block = makeNode(Query);
		block->hasSubLinks = query->hasSubLinks;
		block->commandType = CMD_SELECT;
		block->canSetTag = true;
		block->jointree = makeFromExpr(NIL, row_mutator(query->havingQual, having));
	}
	else
	{
		block = copyObject(input);
		block->havingQual = row_mutator(query->havingQual, having);
		block->hasAggs = aggregates;
	}
	foreach(lc, values_of(query, row, set->members))
	{
		AttrNumber	attno = foreach_current_index(lc) + 1;

		block->targetList = lappend(block->targetList,
									makeTargetEntry(copyObject(lfirst(lc)), attno, psprintf("c%d", attno), false));
	}
	foreach(lc, query->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		if (bms_is_member(clause->tleSortGroupRef, set->members))
			add_key(block, clause, get_sortgroupclause_expr(clause, query->targetList));
	}
	return make_branch(block, set->copies);
}

/* FROM and WHERE of a block, and nothing else of it. */
static Query *
input_of(Query *query)
{
	Query	   *input = makeNode(Query);

	input->commandType = CMD_SELECT;
	input->canSetTag = true;
	input->rtable = query->rtable;
	input->jointree = query->jointree;
	input->hasSubLinks = query->hasSubLinks;
	derive_compat_strip_permissions(input);
	return input;
}

static bool
sorts_by(Query *query, Index ref)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (get_sortgroupref_clause_noerr(ref, window->partitionClause) ||
			get_sortgroupref_clause_noerr(ref, window->orderClause))
			return true;
	}
	return get_sortgroupref_clause_noerr(ref, query->sortClause) || get_sortgroupref_clause_noerr(ref, query->distinctClause);
}

/* The columns of the block without those that only GROUP BY needs. */
static List *
targets_around(Query *query)
{
	List	   *targets = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = flatCopyTargetEntry(lfirst_node(TargetEntry, lc));

		if (tle->resjunk && !sorts_by(query, tle->ressortgroupref))
			continue;
		tle->resno = list_length(targets) + 1;
		targets = lappend(targets, tle);
	}
	return targets;
}

/*
 * PostgreSQL shows a constant that is not in the set as NULL where it is the grouped
 * column itself, and else, in expressions or when it is said twice, as what it is.
 * So do we, by leaving such a query to the executor.  Takes the query apart.
 */
static bool
has_constant_key(Query *query)
{
	ListCell   *lc;

	derive_compat_flatten_groups(query);
	foreach(lc, query->groupClause)
		if (!contain_vars_of_level(get_sortgroupclause_expr(lfirst(lc), query->targetList), 0))
		return true;
	return false;
}

static Node *
one_set_mutator(Node *node, int *depth)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup == *depth)
		return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(0), false, true);
	if (IsA(node, Query))
	{
		(*depth)++;
		node = (Node *) query_tree_mutator((Query *) node, one_set_mutator, depth, 0);
		(*depth)--;
		return node;
	}
	return expression_tree_mutator(node, one_set_mutator, depth);
}

void
derive_lower_one_set(Query *query)
{
	int			depth = 0;

	Assert(query->groupingSets == NIL);
	query->targetList = (List *) one_set_mutator((Node *) query->targetList, &depth);
	query->havingQual = one_set_mutator(query->havingQual, &depth);
}

void
derive_lower_grouping(Query *query)
{
	RowContext	row = {NIL, NIL, NIL, 0};
	RowContext	having;
	bool		has_sublinks = query->hasSubLinks;
	RangeTblRef *ref = makeNode(RangeTblRef);
	GroupingSetCount *sets;
	int			nsets;
	List	   *targets;
	List	   *blocks = NIL;
	Query	   *input;
	Query	   *rows;
	ListCell   *lc;

	if (has_constant_key(copyObject(query)))
		return;
	derive_compat_flatten_groups(query);
	derive_push_down_sets(query);
	nsets = expand_sets(query, &sets);
	foreach(lc, query->groupClause)
		row.keys = list_append_unique(row.keys, get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList));
	query->hasSubLinks = has_sublinks;
	having = row;
	targets = targets_around(query);
	(void) row_mutator((Node *) targets, &row);
	(void) row_mutator(query->havingQual, &having);
	/* rows have at least one column */
	if (row.columns == NIL)
		row.columns = list_make1(derive_lower_number(1));

	input = input_of(query);
	for (int i = 0; i < nsets; i++)
	{
		Query	   *block = make_block(query, input, &row, &having, &sets[i]);

		IncrementVarSublevelsUp((Node *) block, nsets > 1 ? 2 : 1, 1);
		blocks = lappend(blocks, block);
	}
	rows = derive_query_union_all(blocks);

	foreach(lc, linitial_node(Query, blocks)->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		row.values = lappend(row.values, makeVarFromTargetEntry(1, tle));
	}
	query->targetList = (List *) row_mutator((Node *) targets, &row);
	query->groupClause = query->groupingSets = NIL;
	query->groupDistinct = false;
	query->havingQual = NULL;
	query->hasAggs = false;
	query->hasTargetSRFs = expression_returns_set((Node *) query->targetList);
	query->rtable = list_make1(derive_query_subquery_rte(rows, "groups"));
	ref->rtindex = 1;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	derive_compat_strip_permissions(query);
}
