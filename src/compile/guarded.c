/*-------------------------------------------------------------------------
 *
 * guarded.c
 *	  What keeps an expression from being evaluated, and how it is kept elsewhere.
 *
 * People write CASE, COALESCE, AND and OR so that what may fail is not evaluated for rows
 * for which it would.  Where a term (derivative.c) takes an expression out of its place, to
 * look for rows by it, say, these guards have to come along:
 *
 *	SELECT CASE WHEN x <> 0 THEN 10 / x IN (SELECT y FROM g) END FROM f
 *
 *	change of g (y)		5
 *	outer rows			f JOIN touched ON CASE WHEN x <> 0 THEN 10 / x END = touched.y
 *
 * NULL stands for "not evaluated".  That is right for who looks for rows by an equality or a
 * condition: rows of which the sub-query is not evaluated do not change with it.
 *
 *	in place of the dots				guard
 *
 *	CASE WHEN a THEN b WHEN c THEN ..	CASE WHEN a THEN NULL WHEN c THEN .. END
 *	CASE v WHEN a THEN b ELSE .. END	CASE v WHEN a THEN NULL ELSE .. END
 *	COALESCE(a, ..)						CASE WHEN a IS NOT NULL THEN NULL ELSE .. END
 *	a OR ..								CASE WHEN a THEN NULL ELSE .. END
 *	a AND ..							CASE WHEN NOT a THEN NULL ELSE .. END
 *
 * Expressions that cannot fail go without, since no index serves one in a CASE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compile/guarded.h"
#include "compile/occurrence.h"

/* An expression is evaluated if none of some conditions is true, and one other is. */
typedef struct Guard
{
	Expr	   *arg;			/* of a CASE: conditions have it as
								 * CaseTestExpr */
	List	   *unless;			/* of Expr * */
	Expr	   *when;			/* or NULL */
} Guard;

/* -------------------------------------------------------------------------
 * Keeping guards
 * -------------------------------------------------------------------------
 */

static void
add_when(CaseExpr *result, Expr *condition, Expr *value)
{
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = copyObject(condition);
	when->result = value;
	when->location = -1;
	result->args = lappend(result->args, when);
}

static Expr *
guard_by(const Guard *guard, Expr *expr)
{
	CaseExpr   *result = makeNode(CaseExpr);
	Expr	   *null = (Expr *) makeNullConst(exprType((Node *) expr), exprTypmod((Node *) expr),
											  exprCollation((Node *) expr));
	ListCell   *lc;

	result->casetype = exprType((Node *) expr);
	result->casecollid = exprCollation((Node *) expr);
	result->arg = copyObject(guard->arg);
	result->location = -1;
	foreach(lc, guard->unless)
		add_when(result, lfirst(lc), copyObject(null));
	if (guard->when != NULL)
		add_when(result, guard->when, expr);
	result->defresult = guard->when != NULL ? null : expr;
	return (Expr *) result;
}

Expr *
derive_keep_guards(List *guards, Expr *expr)
{
	for (int i = list_length(guards) - 1; i >= 0; i--)
		expr = guard_by(list_nth(guards, i), expr);
	return expr;
}

List *
derive_guards_by_condition(List *guards, Expr *condition)
{
	Guard	   *guard = palloc0(sizeof(Guard));

	guard->when = condition;
	return lappend(list_copy(guards), guard);
}

/* -------------------------------------------------------------------------
 * Finding them
 * -------------------------------------------------------------------------
 */

typedef struct FindContext
{
	int			occurrence;
	SubLink    *found;
	List	   *guards;			/* of Guard *, of where we are; the outermost
								 * one first */
} FindContext;

static bool find_walker(Node *node, FindContext *context);

/* Look at what is evaluated if none of these conditions is true, and one other, if any, is. */
static bool
find_behind(FindContext *context, Expr *arg, List *unless, Expr *when, Expr *node)
{
	Guard	   *guard;

	if (unless == NIL && when == NULL)
		return find_walker((Node *) node, context);
	guard = palloc0(sizeof(Guard));
	guard->arg = arg;
	guard->unless = list_copy(unless);
	guard->when = when;
	context->guards = lappend(context->guards, guard);
	if (find_walker((Node *) node, context))
		return true;
	context->guards = list_delete_last(context->guards);
	return false;
}

static bool
find_in_case(CaseExpr *expr, FindContext *context)
{
	List	   *unless = NIL;
	ListCell   *lc;

	if (find_walker((Node *) expr->arg, context))
		return true;
	foreach(lc, expr->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, lc);

		if (find_behind(context, expr->arg, unless, NULL, when->expr) ||
			find_behind(context, expr->arg, unless, when->expr, when->result))
			return true;
		unless = lappend(unless, when->expr);
	}
	return find_behind(context, expr->arg, unless, NULL, expr->defresult);
}

/* When an argument of COALESCE, AND or OR has this value, those after it are not evaluated. */
static Expr *
is_decided(Node *node, Expr *arg)
{
	NullTest   *test;

	if (IsA(node, BoolExpr))
		return ((BoolExpr *) node)->boolop == OR_EXPR ? arg : make_notclause(arg);
	test = makeNode(NullTest);
	test->arg = arg;
	test->nulltesttype = IS_NOT_NULL;
	test->location = -1;
	return (Expr *) test;
}

static bool
find_in_sequence(Node *node, List *args, FindContext *context)
{
	List	   *unless = NIL;
	ListCell   *lc;

	foreach(lc, args)
	{
		if (find_behind(context, NULL, unless, NULL, lfirst(lc)))
			return true;
		unless = lappend(unless, is_decided(node, lfirst(lc)));
	}
	return false;
}

static bool
find_walker(Node *node, FindContext *context)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, SubLink) && derive_holds_occurrence(((SubLink *) node)->subselect, context->occurrence))
	{
		context->found = (SubLink *) node;
		return true;
	}
	if (IsA(node, CaseExpr))
		return find_in_case((CaseExpr *) node, context);
	if (IsA(node, CoalesceExpr))
		return find_in_sequence(node, ((CoalesceExpr *) node)->args, context);
	if (IsA(node, BoolExpr) && ((BoolExpr *) node)->boolop != NOT_EXPR)
		return find_in_sequence(node, ((BoolExpr *) node)->args, context);
	return expression_tree_walker(node, find_walker, context);
}

SubLink *
derive_find_sublink(Node *node, int occurrence, List **guards)
{
	FindContext context = {occurrence, NULL, NIL};

	(void) find_walker(node, &context);
	*guards = context.guards;
	return context.found;
}

SubLink *
derive_find_sublink_of_entry(RangeTblEntry *rte, int occurrence)
{
	FindContext context = {occurrence, NULL, NIL};

	(void) range_table_entry_walker(rte, find_walker, &context, 0);
	return context.found;
}

/* -------------------------------------------------------------------------
 * What needs none
 * -------------------------------------------------------------------------
 */

/* Functions that people look up rows by, which fail for no argument; and those that are leakproof. */
static const Oid infallible[] = {
	F_BTRIM_TEXT, F_DATE_TIMESTAMP, F_DATE_TIMESTAMPTZ, F_LENGTH_TEXT, F_LOWER_TEXT, F_LTRIM_TEXT, F_MD5_TEXT,
	F_RTRIM_TEXT, F_UPPER_TEXT
};

static bool
function_may_fail(Oid function, void *context)
{
	for (int i = 0; i < lengthof(infallible); i++)
		if (infallible[i] == function)
			return false;
	return !get_func_leakproof(function);
}

static bool
fallible_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_Param:
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_CollateExpr:
		case T_CoerceViaIO:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_List:
			break;
		default:
			return true;
	}
	if (check_functions_in_node(node, function_may_fail, NULL))
		return true;
	return expression_tree_walker(node, fallible_walker, context);
}

bool
derive_may_fail(Node *expr)
{
	return fallible_walker(expr, NULL);
}
