/*-------------------------------------------------------------------------
 *
 * restrict.c
 *	  A query for some of its outer rows only.
 *
 *	SELECT .. FROM f LEFT JOIN d ON d.id = f.d, for the rows of f that have keys of touched
 *
 *	SELECT .. FROM ((SELECT DISTINCT id FROM (rows)) touched JOIN f ON f.d = touched.id) LEFT JOIN d ON ..
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "base/compat.h"
#include "compile/derivative_internal.h"
#include "compile/query.h"

static Expr *
null_test(Expr *arg, NullTestType type)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = copyObject(arg);
	test->nulltesttype = type;
	test->location = -1;
	return (Expr *) test;
}

static void
add_condition(Query *query, Node *condition)
{
	query->jointree->quals = derive_all_of(lappend(derive_conditions_of(query->jointree->quals), condition));
}

/* "SELECT DISTINCT keys FROM (rows)", those without or with NULLs where these are equal, too. */
static Query *
distinct_keys(Query *rows, List *pairs, bool with_nulls)
{
	Query	   *query;
	List	   *null_tests = NIL;
	List	   *columns;
	ListCell   *lc;

	IncrementVarSublevelsUp((Node *) rows, 1, 1);
	query = derive_query_wrap(rows);
	columns = query->targetList;
	query->targetList = NIL;
	foreach(lc, pairs)
	{
		DeriveKeyPair *pair = lfirst(lc);
		TargetEntry *tle = flatCopyTargetEntry(list_nth_node(TargetEntry, columns, pair->column - 1));
		SortGroupClause *clause = makeNode(SortGroupClause);

		query->targetList = lappend(query->targetList, tle);
		tle->resno = list_length(query->targetList);
		get_sort_group_operators(exprType((Node *) tle->expr), true, true, false,
								 &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		tle->ressortgroupref = clause->tleSortGroupRef = foreach_current_index(lc) + 1;
		query->distinctClause = lappend(query->distinctClause, clause);
		if (pair->nulls_too)
			null_tests = lappend(null_tests, null_test(tle->expr, with_nulls ? IS_NULL : IS_NOT_NULL));
	}
	if (null_tests != NIL)
		query->jointree->quals = (Node *) (with_nulls ? make_orclause(null_tests) : make_andclause(null_tests));
	return query;
}

static Node *
key_condition(DeriveKeyPair *pair, Var *touched, bool with_nulls)
{
	OpExpr	   *op = copyObject(pair->condition);
	Expr	   *outer = copyObject(pair->outer);

	op->args = pair->outer_first ? list_make2(outer, touched) : list_make2(touched, outer);
	if (!with_nulls || !pair->nulls_too)
		return (Node *) op;
	return (Node *) make_orclause(list_make2(op, make_andclause(list_make2(null_test(outer, IS_NULL),
																		   null_test((Expr *) touched, IS_NULL)))));
}

/*
 * Put an entry beside the smallest part of FROM that has all of these columns and does
 * not depend on an outer join around it: there it comes first even where FROM is long.
 */
static void
join_beside(Node **node, const Bitmapset *columns, int rtindex, Node *condition)
{
	RangeTblRef *ref;
	JoinExpr   *join;
	ListCell   *lc;

	if (IsA(*node, FromExpr))
	{
		foreach(lc, ((FromExpr *) *node)->fromlist)
			if (bms_is_subset(columns, derive_from_members(lfirst(lc))))
		{
			join_beside((Node **) &lfirst(lc), columns, rtindex, condition);
			return;
		}
	}
	else if (IsA(*node, JoinExpr))
	{
		join = (JoinExpr *) *node;
		if (bms_is_subset(columns, derive_from_members(join->larg)))
		{
			join_beside(&join->larg, columns, rtindex, condition);
			return;
		}
		if (join->jointype == JOIN_INNER && bms_is_subset(columns, derive_from_members(join->rarg)))
		{
			join_beside(&join->rarg, columns, rtindex, condition);
			return;
		}
	}
	ref = makeNode(RangeTblRef);
	ref->rtindex = rtindex;
	if (IsA(*node, FromExpr))
	{
		FromExpr   *from = (FromExpr *) *node;

		from->fromlist = lcons(ref, from->fromlist);
		from->quals = derive_all_of(lappend(derive_conditions_of(from->quals), condition));
		return;
	}
	join = makeNode(JoinExpr);
	join->jointype = JOIN_INNER;
	join->larg = (Node *) ref;
	join->rarg = *node;
	join->quals = condition;
	*node = (Node *) join;
}

/*
 * The query for outer rows with these keys.  Where NULLs are equal (partitions) it takes two
 * such queries, so that the one for keys without NULLs has conditions that an index
 * serves; keys are in one or the other, and each partition with them:
 *
 *	PARTITION BY x, y		touched (1, 2), (1, NULL)
 *
 *		without		(1, 2)			x = touched.x AND y = touched.y
 *		with		(1, NULL)		(x = touched.x OR x IS NULL AND touched.x IS NULL) AND (y = ..)
 *
 * The latter is not evaluated at all if there are no such keys: a condition on no row of the
 * query (EXISTS), which the executor checks first.
 */
static Query *
join_keys(Query *query, Query *rows, List *pairs, bool with_nulls)
{
	Query	   *keys = distinct_keys(copyObject(rows), pairs, with_nulls);
	int			rtindex = list_length(query->rtable) + 1;
	List	   *conditions = NIL;
	Bitmapset  *columns = NULL;
	Node	   *jointree;
	ListCell   *lc;

	query = copyObject(query);
	if (with_nulls)
		add_condition(query, (Node *) derive_query_sublink(EXISTS_SUBLINK, copyObject(keys)));
	query->hasSubLinks |= with_nulls;
	query->rtable = lappend(query->rtable, derive_query_subquery_rte(keys, "touched"));
	foreach(lc, pairs)
	{
		DeriveKeyPair *pair = lfirst(lc);
		TargetEntry *tle = list_nth_node(TargetEntry, keys->targetList, foreach_current_index(lc));

		conditions = lappend(conditions, key_condition(pair, makeVarFromTargetEntry(rtindex, tle), with_nulls));
		columns = bms_join(columns, pull_varnos(NULL, (Node *) pair->outer));
	}
	jointree = (Node *) query->jointree;
	join_beside(&jointree, columns, rtindex, derive_all_of(conditions));
	Assert(jointree == (Node *) query->jointree);
	derive_compat_strip_permissions(query);
	return query;
}

/*
 * Rows that come in an order, or of whose partitions come others, come from a sub-query, which the
 * planner does not look into (choice.c): it has to be restricted itself, where the keys
 * are its own.
 */
typedef struct ReplaceContext
{
	Query	   *subquery;
	bool		failed;
} ReplaceContext;

static Node *
replace_mutator(Node *node, ReplaceContext *context)
{
	TargetEntry *tle;

	if (node == NULL)
		return NULL;
	if (!IsA(node, Var) || ((Var *) node)->varlevelsup > 0)
		return expression_tree_mutator(node, replace_mutator, context);
	tle = get_tle_by_resno(context->subquery->targetList, ((Var *) node)->varattno);
	if (tle == NULL || expression_returns_set((Node *) tle->expr) || contain_window_function((Node *) tle->expr))
	{
		context->failed = true;
		return node;
	}
	return copyObject((Node *) tle->expr);
}

static bool
is_partition_key(Query *query, Expr *expr)
{
	ListCell   *lc;

	foreach(lc, derive_partition_clauses(query))
	{
		if (equal(get_sortgroupclause_expr(lfirst(lc), query->targetList), expr))
			return true;
	}
	return false;
}

/*
 * The pairs for a sub-query that is all of FROM and that has to be restricted itself; NIL if it has not, or cannot.
 * Of a sub-query's partitions there are no parts, so pairs that cut these into pieces are left out, which
 * means more outer rows than those concerned:
 *
 *	row_number() OVER (PARTITION BY x, y)	pairs x, y
 *		FROM (.. OVER (PARTITION BY x))		pair x
 */
static List *
pairs_for_subquery(Query *query, List *pairs)
{
	RangeTblRef *ref;
	List	   *inner = NIL;
	Query	   *subquery;
	ListCell   *lc;

	if (list_length(query->jointree->fromlist) != 1)
		return NIL;
	ref = linitial(query->jointree->fromlist);
	if (!IsA(ref, RangeTblRef) || rt_fetch(ref->rtindex, query->rtable)->rtekind != RTE_SUBQUERY)
		return NIL;
	subquery = rt_fetch(ref->rtindex, query->rtable)->subquery;
	if (subquery->setOperations != NULL ||
		!(derive_place_is_partitioned(subquery) || (derive_query_is_linear(subquery) && subquery->sortClause != NIL)))
		return NIL;
	foreach(lc, pairs)
	{
		DeriveKeyPair *pair = palloc(sizeof(DeriveKeyPair));
		ReplaceContext context = {subquery, false};

		*pair = *(DeriveKeyPair *) lfirst(lc);
		context.failed = checkExprHasSubLink((Node *) pair->outer);
		pair->outer = (Expr *) replace_mutator((Node *) pair->outer, &context);
		if (!context.failed &&
			(!derive_place_is_partitioned(subquery) || is_partition_key(subquery, pair->outer)))
			inner = lappend(inner, pair);
	}
	return inner;
}

static List *
restrict_subquery(Query *query, Query *rows, List *pairs)
{
	int			rtindex = linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex;
	List	   *queries = NIL;
	ListCell   *lc;

	rows = copyObject(rows);
	IncrementVarSublevelsUp((Node *) rows, 1, 1);
	foreach(lc, derive_restrict_query(rt_fetch(rtindex, query->rtable)->subquery, rows, pairs, NIL))
	{
		Query	   *restricted = copyObject(query);

		rt_fetch(rtindex, restricted->rtable)->subquery = lfirst_node(Query, lc);
		queries = lappend(queries, restricted);
	}
	return queries;
}

/*
 * The query for those outer rows alone that have one of these rows: as queries of which
 * each outer row is in one.  By keys, which are columns of rows, or, without
 * pairs, where rows, which refer to the outer row, are not empty; as far as guards let that be
 * evaluated.
 */
List *
derive_restrict_query(Query *query, Query *rows, List *pairs, List *guards)
{
	bool		nulls = false;
	List	   *inner = pairs != NIL ? pairs_for_subquery(query, pairs) : NIL;
	ListCell   *lc;

	if (inner != NIL)
		return restrict_subquery(query, rows, inner);
	if (pairs == NIL)
	{
		query = copyObject(query);
		add_condition(query, (Node *) derive_keep_guards(guards, (Expr *) derive_query_sublink(EXISTS_SUBLINK, rows)));
		query->hasSubLinks = true;
		return list_make1(query);
	}
	foreach(lc, pairs)
		nulls |= ((DeriveKeyPair *) lfirst(lc))->nulls_too;
	if (nulls)
		return list_make2(join_keys(query, rows, pairs, false), join_keys(query, rows, pairs, true));
	return list_make1(join_keys(query, rows, pairs, false));
}
