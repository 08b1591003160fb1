/*-------------------------------------------------------------------------
 *
 * split_groups.c
 *	  A grouped query as a query over a sub-query that groups, and no more.
 *
 * What SQL does with the rows of groups, after it has made them, is what it does with the
 * rows of any table:
 *
 *	SELECT k, rank() OVER (ORDER BY sum(x)), unnest(array_agg(y)) FROM t GROUP BY k
 *	HAVING sum(x) > (SELECT avg(z) FROM u WHERE u.k = t.k)
 *
 *	SELECT k, rank() OVER (ORDER BY a1), unnest(a2)
 *	FROM (SELECT k, sum(x) AS a1, array_agg(y) AS a2 FROM t GROUP BY k) groups
 *	WHERE a1 > (SELECT avg(z) FROM u WHERE u.k = groups.k)
 *
 * So window functions, set-returning functions, sub-queries and DISTINCT ON over groups
 * are maintained as they are over tables, and the operator for groups knows nothing of
 * them.  Sub-queries may refer to groups, and to aggregates, from any depth.  A condition
 * of HAVING that has no sub-query stays with the groups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteManip.h"

#include "base/compat.h"
#include "compile/lower.h"
#include "compile/query.h"

typedef struct SplitContext
{
	Query	   *groups;			/* its target list grows */
	int			depth;
} SplitContext;

/* The column of the groups that has this, an expression of their level; it is added if it is new. */
static Var *
group_column(SplitContext *context, Node *expr)
{
	TargetEntry *tle;
	ListCell   *lc;
	Var		   *var;

	foreach(lc, context->groups->targetList)
	{
		tle = lfirst_node(TargetEntry, lc);
		if (equal(tle->expr, expr))
		{
			var = makeVarFromTargetEntry(1, tle);
			var->varlevelsup = context->depth;
			return var;
		}
	}
	tle = makeTargetEntry((Expr *) expr, list_length(context->groups->targetList) + 1, pstrdup("group"), false);
	context->groups->targetList = lappend(context->groups->targetList, tle);
	return group_column(context, expr);
}

/* Is this the expression of a column that the groups have already? */
static bool
is_group_column(SplitContext *context, Node *expr)
{
	ListCell   *lc;

	foreach(lc, context->groups->targetList)
		if (equal(lfirst_node(TargetEntry, lc)->expr, expr))
		return true;
	return false;
}

/* An expression, found somewhere below, as it would stand at the level of the groups; NULL if it is more than that. */
static Node *
at_level_of_groups(Node *node, int depth)
{
	if (depth == 0)
		return node;
	if (!contain_vars_of_level(node, depth) || checkExprHasSubLink(node))
		return NULL;
	for (int level = 0; level < depth; level++)
		if (contain_vars_of_level(node, level))
			return NULL;
	node = copyObject(node);
	IncrementVarSublevelsUp(node, -depth, depth);
	return node;
}

static Node *
split_mutator(Node *node, SplitContext *context)
{
	Node	   *here;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Node	   *result;

		context->depth++;
		result = (Node *) query_tree_mutator((Query *) node, split_mutator, context, QTW_IGNORE_JOINALIASES);
		context->depth--;
		return result;
	}
	if (IsA(node, List) || IsA(node, TargetEntry))
		return expression_tree_mutator(node, split_mutator, context);
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup == context->depth)
	{
		here = copyObject(node);
		IncrementVarSublevelsUp(here, -context->depth, context->depth);
		return (Node *) group_column(context, here);
	}
	here = at_level_of_groups(node, context->depth);

	/* a column that is not grouped by depends on those that are */
	if (here != NULL &&
		(is_group_column(context, here) ||
		 (IsA(node, Var) && (int) ((Var *) node)->varlevelsup == context->depth)))
		return (Node *) group_column(context, here);
	return expression_tree_mutator(node, split_mutator, context);
}

static void
add_group_keys(SplitContext *context, Query *query)
{
	List	   *clauses = NIL;
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		SortGroupClause *clause = copyObject(lfirst_node(SortGroupClause, lc));
		Node	   *expr = copyObject(get_sortgroupclause_expr(clause, query->targetList));
		TargetEntry *tle;

		(void) group_column(context, expr);
		tle = tlist_member((Expr *) expr, context->groups->targetList);
		clause->tleSortGroupRef = tle->ressortgroupref = tle->resno;
		clauses = lappend(clauses, clause);
	}
	context->groups->groupClause = clauses;
}

/* Does it return sets of what the groups have?  A set by which is grouped is made before. */
static bool
returns_sets_of_groups(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (expression_returns_set((Node *) tle->expr) &&
			get_sortgroupref_clause_noerr(tle->ressortgroupref, query->groupClause) == NULL)
			return true;
	}
	return false;
}

bool
derive_must_split_groups(Query *query)
{
	if (!query->hasAggs && query->groupClause == NIL && query->havingQual == NULL)
		return false;
	return query->hasWindowFuncs || query->hasDistinctOn ||
		returns_sets_of_groups(query) ||
		derive_sublinks_read_relations((Node *) query->targetList) ||
		derive_sublinks_read_relations(query->havingQual);
}

Query *
derive_split_groups(Query *query)
{
	Query	   *groups = makeNode(Query);
	SplitContext context = {groups, 0};
	List	   *having = NIL;
	List	   *conditions = NIL;
	Query	   *outer;
	ListCell   *lc;

	groups->commandType = CMD_SELECT;
	groups->canSetTag = true;
	groups->hasSubLinks = query->hasSubLinks;
	groups->hasAggs = query->hasAggs;
	groups->rtable = query->rtable;
	groups->jointree = query->jointree;
	add_group_keys(&context, query);
	foreach(lc, make_ands_implicit((Expr *) query->havingQual))
	{
		if (checkExprHasSubLink(lfirst(lc)))
			conditions = lappend(conditions, split_mutator(lfirst(lc), &context));
		else
			having = lappend(having, lfirst(lc));
	}

	/*
	 * without aggregates and keys it is HAVING alone that says that there is
	 * one group
	 */
	if (having == NIL && query->groupClause == NIL)
		having = list_make1(makeBoolConst(true, false));
	groups->havingQual = having ? (Node *) make_ands_explicit(having) : NULL;

	outer = query;
	outer->targetList = (List *) split_mutator((Node *) outer->targetList, &context);
	foreach(lc, outer->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		window->startOffset = split_mutator(window->startOffset, &context);
		window->endOffset = split_mutator(window->endOffset, &context);
	}
	outer->groupClause = NIL;
	outer->havingQual = NULL;
	outer->hasAggs = false;
	outer->rtable = list_make1(derive_query_subquery_rte(groups, "groups"));
	outer->jointree = makeFromExpr(list_make1(makeNode(RangeTblRef)),
								   conditions ? (Node *) make_ands_explicit(conditions) : NULL);
	linitial_node(RangeTblRef, outer->jointree->fromlist)->rtindex = 1;
	derive_compat_strip_permissions(groups);
	derive_compat_strip_permissions(outer);
	return outer;
}

Query *
derive_split_windows(Query *query)
{
	Query	   *outer = makeNode(Query);
	ListCell   *lc;

	outer->commandType = CMD_SELECT;
	outer->canSetTag = true;
	outer->hasDistinctOn = true;
	outer->distinctClause = query->distinctClause;
	outer->sortClause = query->sortClause;
	query->hasDistinctOn = false;
	query->distinctClause = query->sortClause = NIL;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		TargetEntry *shown = flatCopyTargetEntry(tle);

		shown->expr = (Expr *) makeVarFromTargetEntry(1, tle);
		outer->targetList = lappend(outer->targetList, shown);
		tle->resjunk = false;
	}
	outer->rtable = list_make1(derive_query_subquery_rte(query, "windows"));
	outer->jointree = makeFromExpr(list_make1(makeNode(RangeTblRef)), NULL);
	linitial_node(RangeTblRef, outer->jointree->fromlist)->rtindex = 1;
	derive_compat_strip_permissions(outer);
	return outer;
}
