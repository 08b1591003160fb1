/*-------------------------------------------------------------------------
 *
 * lower_in.c
 *	  "x IN (SELECT y ..)" as EXISTS.
 *
 *	x NOT IN (SELECT y FROM g WHERE c)		NOT EXISTS (SELECT FROM g WHERE c AND y = x)
 *
 * if neither x nor y can be NULL.  Where IN alone is a condition for a row, the planner
 * makes a join of it.  Elsewhere, under NOT or OR, or in the select list, it evaluates the
 * sub-query as a whole, into a hash table, since it expects to be asked for many rows;
 * we ask for the few that have changed.  As EXISTS the sub-query is looked up by the row,
 * and NOT EXISTS is a join.
 *
 * That the columns are NOT NULL is true of the tables as they are, but not of changes from
 * before somebody said so.  Such a sub-query is marked, by a location that no text has, so
 * that term.c can take care.
 *
 * Where a NULL makes a difference, and the sub-query does not refer to the row, so that it
 * would be read as a whole for the hash table, derive_lower_in_for_few() says with EXISTS
 * what IN says with one of three values.  That is for few rows:
 *
 *	CASE WHEN EXISTS (SELECT FROM g WHERE c AND y = x) THEN true
 *		WHEN EXISTS (SELECT FROM g WHERE c AND y IS NULL) OR x IS NULL AND EXISTS (SELECT FROM g WHERE c) THEN NULL
 *		ELSE false END
 *
 *		x		y			IN
 *		1		2, 1, NULL	true
 *		1		2, NULL		NULL
 *		NULL	2			NULL
 *		NULL	none		false
 *
 * Of rows, (x1, x2) IN (SELECT y1, y2 ..) is NULL where none is equal and some is "equal or
 * NULL" in each column.  In the first column these are three cases, so that its index serves:
 *
 *		EXISTS (.. WHERE y1 = x1 AND (y2 = x2 OR x2 IS NULL OR y2 IS NULL))
 *		EXISTS (.. WHERE y1 IS NULL AND (y2 = x2 OR ..))
 *		x1 IS NULL AND EXISTS (.. WHERE (y2 = x2 OR ..))
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "compile/lower.h"
#include "compile/query.h"

/* As location of a sublink. */
#define RELIES_ON_NOT_NULL (-2)

static bool lower_walker(Node *node, Query *query);

/* Is this "x = a column of the sub-query", neither of which can be NULL? */
static bool
compares_without_nulls(Query *query, Query *subquery, Node *condition)
{
	OpExpr	   *op = (OpExpr *) condition;
	Param	   *param;
	TargetEntry *tle;

	if (!IsA(op, OpExpr) || list_length(op->args) != 2 || !IsA(lsecond(op->args), Param) ||
		!op_mergejoinable(op->opno, exprType(linitial(op->args))))
		return false;
	param = lsecond(op->args);
	tle = get_tle_by_resno(subquery->targetList, param->paramid);
	return param->paramkind == PARAM_SUBLINK && tle != NULL &&
		derive_column_is_not_null(query, linitial(op->args), 0) &&
		derive_column_is_not_null(subquery, (Node *) tle->expr, 0);
}

static void
lower_sublink(Query *query, SubLink *sublink)
{
	Query	   *subquery = (Query *) sublink->subselect;
	List	   *conditions;
	ListCell   *lc;

	if (sublink->subLinkType != ANY_SUBLINK || subquery->setOperations != NULL ||
		!derive_query_is_linear(subquery) || !derive_query_reads_relations(subquery))
		return;
	conditions = derive_conditions_of(sublink->testexpr);
	foreach(lc, conditions)
	{
		if (!compares_without_nulls(query, subquery, lfirst(lc)))
			return;
	}
	conditions = copyObject(conditions);
	IncrementVarSublevelsUp((Node *) conditions, 1, 0);
	conditions = (List *) derive_query_put_outputs((Node *) conditions, subquery, NULL);
	subquery->jointree->quals = derive_all_of(list_concat(derive_conditions_of(subquery->jointree->quals), conditions));
	subquery->targetList = derive_query_one_target();
	subquery->sortClause = NIL;
	subquery->hasTargetSRFs = false;
	sublink->subLinkType = EXISTS_SUBLINK;
	sublink->testexpr = NULL;
	sublink->operName = NIL;
	sublink->location = RELIES_ON_NOT_NULL;
}

/* Of a condition for rows, IN stays what it is. */
static void
lower_conditions(Node *node, Query *query)
{
	Node	   *quals;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			lower_conditions(lfirst(lc), query);
		quals = ((FromExpr *) node)->quals;
	}
	else
	{
		lower_conditions(((JoinExpr *) node)->larg, query);
		lower_conditions(((JoinExpr *) node)->rarg, query);
		quals = ((JoinExpr *) node)->quals;
	}
	foreach(lc, derive_conditions_of(quals))
	{
		if (IsA(lfirst(lc), SubLink))
			(void) expression_tree_walker(lfirst(lc), lower_walker, query);
		else
			(void) lower_walker(lfirst(lc), query);
	}
}

static bool
lower_walker(Node *node, Query *query)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		derive_lower_in((Query *) node);
		return false;
	}
	if (IsA(node, FromExpr))
	{
		lower_conditions(node, query);
		return false;
	}
	if (IsA(node, SubLink))
		lower_sublink(query, (SubLink *) node);
	return expression_tree_walker(node, lower_walker, query);
}

void
derive_lower_in(Query *query)
{
	(void) query_tree_walker(query, lower_walker, query, QTW_IGNORE_JOINALIASES);
}

static bool
relies_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->location == RELIES_ON_NOT_NULL)
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, relies_walker, context, QTW_IGNORE_JOINALIASES);
	return expression_tree_walker(node, relies_walker, context);
}

bool
derive_query_relies_on_not_null(Query *query)
{
	return relies_walker((Node *) query, NULL);
}

/* -------------------------------------------------------------------------
 * With NULLs, for few rows
 * -------------------------------------------------------------------------
 */

/* Is the expression more than something of the row that may well be evaluated three times? */
static bool
dear_walker(Node *node, void *context)
{
	if (node == NULL || IsA(node, Var) || IsA(node, Const))
		return false;
	if (!IsA(node, RelabelType) && !IsA(node, OpExpr) && !IsA(node, List))
		return true;
	return contain_mutable_functions(node) || expression_returns_set(node) ||
		expression_tree_walker(node, dear_walker, context);
}

static Expr *
is_null(Node *arg)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = copyObject((Expr *) arg);
	test->nulltesttype = IS_NULL;
	test->location = -1;
	return (Expr *) test;
}

/* "EXISTS (SELECT FROM the sub-query's WHERE conditions)" */
static Expr *
exists_where(Query *subquery, List *conditions)
{
	subquery = copyObject(subquery);
	conditions = list_concat(derive_conditions_of(subquery->jointree->quals), copyObject(conditions));
	subquery->jointree->quals = derive_all_of(conditions);
	subquery->targetList = derive_query_one_target();
	subquery->sortClause = NIL;
	return (Expr *) derive_query_sublink(EXISTS_SUBLINK, subquery);
}

static CaseWhen *
when(Expr *condition, Node *result)
{
	CaseWhen   *branch = makeNode(CaseWhen);

	branch->expr = condition;
	branch->result = (Expr *) result;
	branch->location = -1;
	return branch;
}

/* Is this "x = y" that is NULL where one of these is, and nowhere else? */
static bool
is_plain_equality(OpExpr *op)
{
	return IsA(op, OpExpr) && list_length(op->args) == 2 &&
		op_mergejoinable(op->opno, exprType(linitial(op->args))) && op_strict(op->opno) &&
		!dear_walker(linitial(op->args), NULL) && !contain_var_clause(lsecond(op->args)) &&
		!contain_mutable_functions(lsecond(op->args));
}

/*
 * Beside the sub-query's conditions an output would be evaluated for rows that these leave
 * out: "SELECT s::int FROM h WHERE is_number(s)".
 */
static bool
cannot_fail(Node *output)
{
	while (IsA(output, RelabelType))
		output = (Node *) ((RelabelType *) output)->arg;
	return IsA(output, Var) || IsA(output, Const);
}

static Node *
with_nulls(SubLink *sublink)
{
	Query	   *subquery = (Query *) sublink->subselect;
	List	   *equal = NIL;	/* at the sub-query's level */
	List	   *rest = NIL;		/* of the columns but for the first: equal or
								 * NULL */
	CaseExpr   *result = makeNode(CaseExpr);
	List	   *unknown;
	OpExpr	   *first;
	Node	   *first_outer;	/* at the level of the sublink */
	ListCell   *lc;

	if (sublink->subLinkType != ANY_SUBLINK || subquery->setOperations != NULL || subquery->hasTargetSRFs ||
		!derive_query_is_linear(subquery) || !derive_query_reads_relations(subquery) ||
		derive_query_refers_outside(subquery))
		return (Node *) sublink;
	foreach(lc, derive_conditions_of(sublink->testexpr))
	{
		OpExpr	   *op;

		if (!is_plain_equality(lfirst(lc)))
			return (Node *) sublink;
		op = copyObject(lfirst_node(OpExpr, lc));
		IncrementVarSublevelsUp((Node *) op, 1, 0);
		op = (OpExpr *) derive_query_put_outputs((Node *) op, subquery, NULL);
		if (!cannot_fail(lsecond(op->args)))
			return (Node *) sublink;
		if (equal != NIL)
			rest = lappend(rest, make_orclause(list_make3(op, is_null(linitial(op->args)), is_null(lsecond(op->args)))));
		equal = lappend(equal, op);
	}
	first = linitial(equal);
	first_outer = linitial(linitial_node(OpExpr, derive_conditions_of(sublink->testexpr))->args);
	unknown = list_make2(exists_where(subquery, lcons(is_null(lsecond(first->args)), list_copy(rest))),
						 make_andclause(list_make2(is_null(first_outer), exists_where(subquery, rest))));
	if (rest != NIL)
		unknown = lcons(exists_where(subquery, lcons(first, list_copy(rest))), unknown);
	result->casetype = BOOLOID;
	result->args = list_make2(when(exists_where(subquery, equal), makeBoolConst(true, false)),
							  when(make_orclause(unknown), makeBoolConst(false, true)));
	result->defresult = (Expr *) makeBoolConst(false, false);
	result->location = -1;
	return (Node *) result;
}

static Node *for_few_mutator(Node *node, void *context);

/* Of a condition for rows, IN stays what it is: a join. */
static Node *
conditions_for_few(Node *quals)
{
	List	   *conditions = NIL;
	ListCell   *lc;

	foreach(lc, derive_conditions_of(quals))
	{
		Node	   *condition = lfirst(lc);

		if (IsA(condition, SubLink))
			condition = expression_tree_mutator(condition, for_few_mutator, NULL);
		else
			condition = for_few_mutator(condition, NULL);
		conditions = lappend(conditions, condition);
	}
	return derive_all_of(conditions);
}

static Node *
for_few_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, for_few_mutator, context, QTW_IGNORE_JOINALIASES);
	if (IsA(node, FromExpr))
	{
		FromExpr   *from = (FromExpr *) node;

		return (Node *) makeFromExpr((List *) for_few_mutator((Node *) from->fromlist, context), conditions_for_few(from->quals));
	}
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = makeNode(JoinExpr);

		*join = *(JoinExpr *) node;
		join->larg = for_few_mutator(join->larg, context);
		join->rarg = for_few_mutator(join->rarg, context);
		join->quals = conditions_for_few(join->quals);
		return (Node *) join;
	}
	node = expression_tree_mutator(node, for_few_mutator, context);
	return IsA(node, SubLink) ? with_nulls((SubLink *) node) : node;
}

Query *
derive_lower_in_for_few(Query *query)
{
	return (Query *) for_few_mutator((Node *) query, NULL);
}
