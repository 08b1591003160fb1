/*-------------------------------------------------------------------------
 *
 * stages.c
 *	  One query, one thing: the steps of a SELECT as sub-queries of each other.
 *
 * A SELECT is evaluated in steps: FROM and WHERE, GROUP BY and HAVING, window
 * functions and the select list, DISTINCT, ORDER BY and LIMIT.  Here each of them
 * that is there becomes a query of its own:
 *
 *	SELECT k, count(*) AS n, rank() OVER (ORDER BY count(*)) FROM t GROUP BY k ORDER BY n LIMIT 10
 *
 *		SELECT k, n, r FROM (
 *			SELECT k, n, rank() OVER (ORDER BY n) AS r FROM (
 *				SELECT k, count(*) AS n FROM t GROUP BY k))
 *		ORDER BY n LIMIT 10
 *
 * So each operator has one thing to do, and what cannot be done incrementally reads
 * the result of what can.  Windows without PARTITION BY are kept with what they sort by
 * (running.c).  Sub-queries and set-returning functions over groups go
 * the same way; they are evaluated for each row of the grouped sub-query.
 *
 * A block with windows evaluates the partitions that they have in common.  Windows that have
 * none in common become a chain of blocks, each of which adds columns to the rows of the
 * one before.  A block has either windows with a common PARTITION BY expression, or
 * windows all without PARTITION BY, or windows with a sub-query in their frame:
 *
 *	SELECT a, rank() OVER (PARTITION BY x ORDER BY v) AS r, sum(v) OVER (PARTITION BY y) AS s, count(*) OVER () AS n FROM t
 *
 *		SELECT a, r, s, count(*) OVER () AS n FROM (
 *			SELECT a, r, sum(v) OVER (PARTITION BY y) AS s FROM (
 *				SELECT a, v, y, rank() OVER (PARTITION BY x ORDER BY v) AS r FROM t))
 *
 * That makes no difference to the windows: none of them sees the results of another.  Those
 * that make most work of a change come last, so that it is made once.  A block that refers to
 * rows around it stays one: it is evaluated for one such row at a time, whatever its windows.
 *
 * So does HAVING that compares with the present (passing_time.c): it becomes WHERE.
 *
 * A select list that may fail comes after LIMIT, so that it is evaluated for the rows that are
 * shown, and for no row behind them:
 *
 *	SELECT id, 1 / x AS r FROM t ORDER BY id LIMIT 10
 *
 *		SELECT id, 1 / x AS r FROM (SELECT id, x FROM t ORDER BY id LIMIT 10) ORDER BY id
 *
 * HAVING without groups and aggregates makes one row or none, whatever FROM and WHERE have; so
 * these go, unread and unevaluated, as in PostgreSQL:
 *
 *	SELECT 1 FROM t WHERE 1 / x > 0 HAVING EXISTS (SELECT FROM u)
 *
 *		SELECT 1 WHERE EXISTS (SELECT FROM u)
 *
 * Sub-queries that read no relation are functions of a row and left alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "base/compat.h"
#include "compile/guarded.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "compile/running.h"
#include "compile/stages.h"

/* -------------------------------------------------------------------------
 * Pushing down
 * -------------------------------------------------------------------------
 */

typedef struct PushContext
{
	DerivePushDown *push;
	int			depth;			/* of sub-queries in the expression */
} PushContext;

/* Does the node belong to the query itself, from this many levels below, and is it pushed down as it is? */
static bool
is_pushed(Node *node, PushContext *context)
{
	Index		depth = context->depth;
	DerivePushDown *push = context->push;

	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup == depth;
	if (IsA(node, Aggref))
		return push->aggregates && ((Aggref *) node)->agglevelsup == depth;
	if (IsA(node, GroupingFunc))
		return push->aggregates && ((GroupingFunc *) node)->agglevelsup == depth;
	if (IsA(node, WindowFunc) && push->windows != NULL)
		return depth == 0 && !bms_is_member(((WindowFunc *) node)->winref, push->windows);
	return depth == 0 && list_member(push->wholes, node);
}

static Node *
push_mutator(Node *node, PushContext *context)
{
	DerivePushDown *push = context->push;
	TargetEntry *column = NULL;
	Var		   *var;
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Query	   *query;

		context->depth++;
		query = query_tree_mutator((Query *) node, push_mutator, context, 0);
		context->depth--;
		return (Node *) query;
	}
	if (!is_pushed(node, context))
		return expression_tree_mutator(node, push_mutator, context);

	node = copyObject(node);
	IncrementVarSublevelsUp(node, -context->depth, 0);
	foreach(lc, push->columns)
		if (equal(lfirst_node(TargetEntry, lc)->expr, node))
		column = lfirst(lc);
	if (column == NULL)
	{
		AttrNumber	resno = list_length(push->columns) + 1;

		column = makeTargetEntry((Expr *) node, resno, psprintf("c%d", resno), false);
		push->columns = lappend(push->columns, column);
	}
	var = makeVarFromTargetEntry(1, column);
	var->varlevelsup = context->depth;
	return (Node *) var;
}

Node *
derive_push_down(Node *node, DerivePushDown *push)
{
	PushContext context = {push, 0};

	return push_mutator(node, &context);
}

void
derive_push_down_sorted(SortGroupClause *clause, Query *query, DerivePushDown *push)
{
	Node	   *expr = get_sortgroupclause_expr(clause, query->targetList);
	TargetEntry *column;

	push->wholes = lappend(push->wholes, expr);
	column = list_nth(push->columns, castNode(Var, derive_push_down(expr, push))->varattno - 1);
	if (column->ressortgroupref != 0 && column->ressortgroupref != clause->tleSortGroupRef)
	{
		/* the same expression once more */
		column = flatCopyTargetEntry(column);
		push->columns = lappend(push->columns, column);
		column->resno = list_length(push->columns);
	}
	column->ressortgroupref = clause->tleSortGroupRef;
}

/* References to a query's WITH, which is one level further away now. */
static bool
raise_ctes_walker(Node *node, Index *depth)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == *depth)
			rte->ctelevelsup++;
		return false;
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, raise_ctes_walker, depth);
	(*depth)++;
	result = query_tree_walker((Query *) node, raise_ctes_walker, depth, QTW_EXAMINE_RTES_BEFORE);
	(*depth)--;
	return result;
}

void
derive_query_read_from(Query *query, Query *inner)
{
	RangeTblRef *ref = makeNode(RangeTblRef);
	Index		depth = 0;

	inner->cteList = NIL;
	inner->hasRecursive = false;
	inner->sortClause = NIL;
	inner->limitCount = inner->limitOffset = NULL;
	inner->limitOption = LIMIT_OPTION_COUNT;
	IncrementVarSublevelsUp((Node *) inner, 1, 1);
	if (query->cteList != NIL)
		(void) query_tree_walker(inner, raise_ctes_walker, &depth, QTW_EXAMINE_RTES_BEFORE);

	ref->rtindex = 1;
	query->rtable = list_make1(derive_query_subquery_rte(inner, "inner"));
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	query->setOperations = NULL;
	derive_compat_strip_permissions(query);
}

void
derive_push_down_sets(Query *query)
{
	DerivePushDown push = {0};
	Query	   *inner = makeNode(Query);
	ListCell   *lc;

	foreach(lc, query->groupClause)
		push.wholes = lappend(push.wholes, get_sortgroupclause_expr(lfirst(lc), query->targetList));
	if (!expression_returns_set((Node *) push.wholes))
		return;
	*inner = *query;
	query->targetList = (List *) derive_push_down((Node *) query->targetList, &push);
	query->havingQual = derive_push_down(query->havingQual, &push);
	inner->targetList = push.columns;
	inner->groupClause = inner->groupingSets = NIL;
	inner->groupDistinct = false;
	inner->havingQual = NULL;
	inner->hasAggs = false;
	derive_query_read_from(query, inner);
	query->hasTargetSRFs = false;
}

/* -------------------------------------------------------------------------
 * The steps
 * -------------------------------------------------------------------------
 */

static void
clear_grouping(Query *query)
{
	query->groupClause = NIL;
	query->groupDistinct = false;
	query->groupingSets = NIL;
	query->havingQual = NULL;
	query->hasAggs = false;
	derive_compat_forget_groups(query);
}

static void
clear_distinct(Query *query)
{
	query->distinctClause = NIL;
	query->hasDistinctOn = false;
}

static void
clear_windows(Query *query)
{
	query->windowClause = NIL;
	query->hasWindowFuncs = false;
}

/* -------------------------------------------------------------------------
 * Windows
 * -------------------------------------------------------------------------
 */

typedef struct WindowsContext
{
	Bitmapset  *used;			/* numbers of windows that have functions */
	Index	   *renumber;		/* their new numbers, or NULL */
} WindowsContext;

static bool
windows_walker(Node *node, WindowsContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, WindowFunc))
	{
		WindowFunc *function = (WindowFunc *) node;

		context->used = bms_add_member(context->used, function->winref);
		if (context->renumber != NULL)
			function->winref = context->renumber[function->winref];
	}
	return expression_tree_walker(node, windows_walker, context);
}

void
derive_query_keep_used_windows(Query *query)
{
	WindowsContext context = {NULL, NULL};
	List	   *windows = NIL;
	ListCell   *lc;

	if (query->windowClause == NIL)
		return;
	(void) windows_walker((Node *) query->targetList, &context);
	context.renumber = palloc0(sizeof(Index) * (list_length(query->windowClause) + 1));
	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (!bms_is_member(window->winref, context.used))
			continue;
		window = copyObject(window);
		windows = lappend(windows, window);
		context.renumber[window->winref] = list_length(windows);
		window->winref = list_length(windows);
	}
	query->windowClause = windows;
	query->hasWindowFuncs = windows != NIL;
	query->targetList = copyObject(query->targetList);
	(void) windows_walker((Node *) query->targetList, &context);
}

Bitmapset *
derive_windows_in_order_of(Query *query, WindowClause *one)
{
	Bitmapset  *windows = NULL;
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (equal(window->partitionClause, one->partitionClause) && equal(window->orderClause, one->orderClause))
			windows = bms_add_member(windows, window->winref);
	}
	return windows;
}

Query *
derive_query_split_windows(Query *query, Bitmapset *outer)
{
	DerivePushDown push = {.windows = outer};
	Query	   *inner = makeNode(Query);
	ListCell   *lc,
			   *lc2;

	*inner = *query;
	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		foreach(lc2, window->partitionClause)
			derive_push_down_sorted(lfirst(lc2), query, &push);
		foreach(lc2, window->orderClause)
			derive_push_down_sorted(lfirst(lc2), query, &push);
	}
	query->targetList = (List *) derive_push_down((Node *) query->targetList, &push);
	inner->targetList = push.columns != NIL ? push.columns : derive_query_one_target();
	derive_query_read_from(query, inner);
	inner->hasTargetSRFs = expression_returns_set((Node *) inner->targetList);
	query->hasTargetSRFs = expression_returns_set((Node *) query->targetList);
	derive_query_keep_used_windows(inner);
	derive_query_keep_used_windows(query);
	return inner;
}

/* Do windows partition or sort by a set-returning function, which multiplies the rows that they are given? */
static bool
windows_multiply(Query *query)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, query->hasTargetSRFs ? query->windowClause : NIL)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		foreach(lc2, list_concat_copy(window->partitionClause, window->orderClause))
		{
			if (expression_returns_set(get_sortgroupclause_expr(lfirst(lc2), query->targetList)))
				return true;
		}
	}
	return false;
}

/* The windows that have an expression in PARTITION BY. */
static Bitmapset *
windows_by(Query *query, Node *expr)
{
	Bitmapset  *windows = NULL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		foreach(lc2, window->partitionClause)
			if (equal(get_sortgroupclause_expr(lfirst(lc2), query->targetList), expr))
			windows = bms_add_member(windows, window->winref);
	}
	return windows;
}

/* Of windows without PARTITION BY, those of one order, if they are maintained in it (running.c), and so are the others. */
static Bitmapset *
run_in_order(Query *query, Bitmapset *windows)
{
	Bitmapset  *first = NULL;
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		Query	   *alone = copyObject(query);
		Bitmapset  *in_order = derive_windows_in_order_of(query, lfirst_node(WindowClause, lc));

		if (!bms_is_subset(in_order, windows))
			continue;
		(void) derive_query_split_windows(alone, in_order);
		if (!derive_query_is_running(alone))
			return windows;
		if (first == NULL)
			first = in_order;
	}
	return first;
}

/*
 * The windows that come last.  Of those with PARTITION BY, as many as have an expression in
 * common, so that few blocks are left for the others.  Windows of one order stay together, as
 * PostgreSQL promises that they see the same rows first.
 */
static Bitmapset *
outermost_windows(Query *query)
{
	Bitmapset  *frames = NULL;
	Bitmapset  *unpartitioned = NULL;
	Bitmapset  *most = NULL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (derive_sublinks_read_relations(window->startOffset) || derive_sublinks_read_relations(window->endOffset))
			frames = bms_add_members(frames, derive_windows_in_order_of(query, window));
		if (window->partitionClause == NIL)
			unpartitioned = bms_add_member(unpartitioned, window->winref);
		foreach(lc2, window->partitionClause)
		{
			Bitmapset  *windows = windows_by(query, get_sortgroupclause_expr(lfirst(lc2), query->targetList));

			if (bms_num_members(windows) > bms_num_members(most))
				most = windows;
		}
	}
	if (frames != NULL)
		return frames;
	if (unpartitioned != NULL)
		return run_in_order(query, unpartitioned);
	return most;
}

/* Is there more than one block's work in the windows of this one?  Then the first block of the chain is split off. */
static bool
split_windows(Query *query)
{
	Bitmapset  *outer;

	if (!query->hasWindowFuncs)
		return false;
	derive_query_keep_used_windows(query);
	if (windows_multiply(query))
		outer = bms_add_range(NULL, 1, list_length(query->windowClause));
	else if (derive_query_refers_outside(query))
		return false;
	else
	{
		outer = outermost_windows(query);
		if (bms_num_members(outer) == list_length(query->windowClause))
			return false;
	}
	(void) derive_query_split_windows(query, outer);
	return true;
}

static bool
is_limited(Query *query)
{
	return query->limitCount != NULL || query->limitOffset != NULL;
}

Query *
derive_query_split(Query *query, bool distinct)
{
	Query	   *inner = makeNode(Query);
	List	   *needed = list_concat_copy(query->sortClause, distinct ? query->distinctClause : NIL);
	List	   *columns = NIL;
	List	   *junk = NIL;
	ListCell   *lc;

	*inner = *query;
	query->targetList = NIL;
	foreach(lc, inner->targetList)
	{
		TargetEntry *tle = flatCopyTargetEntry(lfirst_node(TargetEntry, lc));
		TargetEntry *outer = flatCopyTargetEntry(tle);

		if (tle->resjunk && get_sortgroupref_clause_noerr(tle->ressortgroupref, needed) == NULL &&
			!expression_returns_set((Node *) tle->expr))
		{
			junk = lappend(junk, tle);
			continue;
		}
		columns = lappend(columns, tle);
		tle->resjunk = false;
		tle->resno = outer->resno = list_length(columns);
		outer->expr = (Expr *) makeVarFromTargetEntry(1, tle);
		query->targetList = lappend(query->targetList, outer);
	}
	inner->targetList = list_concat(columns, junk);
	foreach(lc, junk)
		lfirst_node(TargetEntry, lc)->resno = list_length(columns) - list_length(junk) + foreach_current_index(lc) + 1;
	derive_query_read_from(query, inner);
	if (distinct)
		clear_distinct(inner);
	else
	{
		/* the order in which it takes rows is a matter of its own */
		if (inner->hasDistinctOn)
			inner->sortClause = copyObject(query->sortClause);
		clear_distinct(query);
	}
	clear_grouping(query);
	clear_windows(query);
	query->hasTargetSRFs = false;
	return inner;
}

/* "SELECT expressions over groups FROM (SELECT keys, aggregates GROUP BY ..) WHERE having" */
static void
split_after_group(Query *query)
{
	Query	   *inner = makeNode(Query);
	DerivePushDown push = {.aggregates = true};
	List	   *having = NIL;
	List	   *conditions = NIL;
	ListCell   *lc;

	*inner = *query;
	foreach(lc, query->groupClause)
		derive_push_down_sorted(lfirst(lc), query, &push);
	query->targetList = (List *) derive_push_down((Node *) query->targetList, &push);
	foreach(lc, make_ands_implicit((Expr *) query->havingQual))
	{
		if (checkExprHasSubLink(lfirst(lc)) || derive_holds_time(lfirst(lc)))
			conditions = lappend(conditions, derive_push_down(lfirst(lc), &push));
		else
			having = lappend(having, lfirst(lc));
	}

	/* it may be HAVING alone that says that there is a group */
	if (having == NIL && query->groupClause == NIL)
		having = list_make1(makeBoolConst(true, false));
	inner->targetList = push.columns != NIL ? push.columns : derive_query_one_target();
	inner->havingQual = having ? (Node *) make_ands_explicit(having) : NULL;
	inner->hasTargetSRFs = expression_returns_set((Node *) inner->targetList);
	derive_query_read_from(query, inner);
	query->jointree->quals = conditions ? (Node *) make_ands_explicit(conditions) : NULL;
	query->hasTargetSRFs = expression_returns_set((Node *) query->targetList);
	clear_windows(inner);
	clear_distinct(inner);
	clear_grouping(query);
}

/* Is there something in the select list, but for what ORDER BY sorts by, that may fail for rows behind LIMIT? */
static bool
may_fail_behind_limit(Query *query)
{
	ListCell   *lc;

	if (!is_limited(query) || query->setOperations != NULL || query->distinctClause != NIL || query->groupingSets != NIL ||
		query->hasWindowFuncs || query->hasTargetSRFs || derive_query_refers_outside(query) ||
		checkExprHasSubLink(query->limitCount) || checkExprHasSubLink(query->limitOffset))
		return false;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!IsA(tle->expr, Aggref) && !checkExprHasSubLink((Node *) tle->expr) && derive_may_fail((Node *) tle->expr) &&
			get_sortgroupref_clause_noerr(tle->ressortgroupref, query->sortClause) == NULL &&
			get_sortgroupref_clause_noerr(tle->ressortgroupref, query->groupClause) == NULL)
			return true;
	}
	return false;
}

/* "SELECT expressions FROM (SELECT columns .. ORDER BY .. LIMIT ..) ORDER BY .." */
static void
split_after_limit(Query *query)
{
	Query	   *inner = makeNode(Query);
	DerivePushDown push = {.aggregates = true};
	Query		limited;
	ListCell   *lc;

	*inner = limited = *query;
	foreach(lc, query->groupClause)
		derive_push_down_sorted(lfirst(lc), query, &push);
	foreach(lc, query->sortClause)
		derive_push_down_sorted(lfirst(lc), query, &push);
	query->targetList = (List *) derive_push_down((Node *) query->targetList, &push);
	inner->targetList = push.columns != NIL ? push.columns : derive_query_one_target();
	derive_query_read_from(query, inner);
	inner->sortClause = copyObject(limited.sortClause);
	inner->limitCount = limited.limitCount;
	inner->limitOffset = limited.limitOffset;
	inner->limitOption = limited.limitOption;
	query->limitCount = query->limitOffset = NULL;
	query->limitOption = LIMIT_OPTION_COUNT;
	clear_grouping(query);
}

/* Is there something in an expression over groups that an expression over one row of them would not have? */
static bool
over_groups_walker(Node *node, List *keys)
{
	if (node == NULL || IsA(node, Aggref) || list_member(keys, node))
		return false;
	if (IsA(node, SubLink) || IsA(node, WindowFunc) ||
		(IsA(node, FuncExpr) && ((FuncExpr *) node)->funcretset) ||
		(IsA(node, OpExpr) && ((OpExpr *) node)->opretset))
		return true;
	return expression_tree_walker(node, over_groups_walker, keys);
}

static bool
does_more_with_groups(Query *query)
{
	List	   *keys = NIL;
	ListCell   *lc;

	if (derive_holds_time(query->havingQual))
		return true;
	foreach(lc, query->groupClause)
		keys = lappend(keys, get_sortgroupclause_expr(lfirst(lc), query->targetList));
	return over_groups_walker((Node *) query->targetList, keys) || over_groups_walker(query->havingQual, keys);
}

/* Does ORDER BY, or a window, multiply rows by a set-returning function that only it needs? */
static bool
has_junk_sets(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->hasTargetSRFs ? query->targetList : NIL)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk && expression_returns_set((Node *) tle->expr) &&
			get_sortgroupref_clause_noerr(tle->ressortgroupref, query->groupClause) == NULL)
			return true;
	}
	return false;
}

/* Do HAVING, or GROUP BY (), make one group of all rows, of which nothing is asked? */
static bool
groups_nothing(Query *query)
{
	if (query->hasAggs || query->groupClause != NIL || list_length(query->groupingSets) > 1)
		return false;
	if (query->groupingSets != NIL)
		return linitial_node(GroupingSet, query->groupingSets)->kind == GROUPING_SET_EMPTY;
	return query->havingQual != NULL;
}

static void
forget_rows(Query *query)
{
	query->jointree = makeFromExpr(NIL, query->havingQual);
	query->rtable = NIL;
	derive_compat_strip_permissions(query);
	clear_grouping(query);
}

static void
stage_block(Query *query)
{
	bool		grouped;
	bool		split = true;
	bool		selects;

	if (groups_nothing(query))
		forget_rows(query);
	grouped = derive_query_is_grouped(query);
	selects = grouped || query->hasWindowFuncs || query->hasTargetSRFs || query->setOperations != NULL;
	if (may_fail_behind_limit(query))
		split_after_limit(query);
	else if ((is_limited(query) && (selects || query->distinctClause != NIL)) || has_junk_sets(query))
		(void) derive_query_split(query, false);
	else if (query->distinctClause != NIL && (grouped || query->hasWindowFuncs || (query->hasDistinctOn && selects)))
		(void) derive_query_split(query, true);
	else if (grouped && does_more_with_groups(query))
		split_after_group(query);
	else
		split = split_windows(query);
	if (split)
		stage_block(linitial_node(RangeTblEntry, query->rtable)->subquery);
	if (derive_query_is_running(query))
		derive_running_split(query);
}

static bool
stage_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, stage_walker, context);
	if (derive_query_reads_relations((Query *) node))
		derive_query_stage((Query *) node);
	return false;
}

void
derive_query_stage(Query *query)
{
	(void) query_tree_walker(query, stage_walker, NULL, 0);
	stage_block(query);
}
