/*-------------------------------------------------------------------------
 *
 * lower_in.c
 *	  "x IN (SELECT y ..)" as EXISTS, where no NULL makes a difference.
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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
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

static Node *
column_mutator(Node *node, Query *subquery)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
		return copyObject((Node *) get_tle_by_resno(subquery->targetList, ((Param *) node)->paramid)->expr);
	return expression_tree_mutator(node, column_mutator, subquery);
}

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
	conditions = (List *) column_mutator((Node *) conditions, subquery);
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
