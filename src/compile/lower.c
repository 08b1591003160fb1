/*-------------------------------------------------------------------------
 *
 * lower.c
 *	  Constructs of SQL in terms of those that operators maintain.
 *
 * From the inside out: a sub-query is lowered before the block around it is taken
 * apart, so that each part looks at one block and nothing else.  A sub-query that
 * reads no relation is a function of the row and stays what it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"

#include "compile/lower.h"
#include "compile/query.h"

#define COPIES "copies"

Expr *
derive_lower_number(int64 number)
{
	return (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(number), false, FLOAT8PASSBYVAL);
}

RangeTblEntry *
derive_lower_series(Expr *copies)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblFunction *function = makeNode(RangeTblFunction);
	FuncExpr   *series = makeFuncExpr(F_GENERATE_SERIES_INT8_INT8, INT8OID,
									  list_make2(derive_lower_number(1), copies),
									  InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

	series->funcretset = true;
	function->funcexpr = (Node *) series;
	function->funccolcount = 1;
	rte->rtekind = RTE_FUNCTION;
	rte->functions = list_make1(function);
	rte->lateral = true;
	rte->inFromCl = true;

	/*
	 * SQL makes an entry of that function without an alias, but no such name,
	 * or with both
	 */
	rte->eref = makeAlias(COPIES, list_make1(makeString(pstrdup("number"))));
	return rte;
}

Expr *
derive_lower_take_copies(RangeTblEntry *rte)
{
	FuncExpr   *series;
	Expr	   *copies;

	if (rte->rtekind != RTE_FUNCTION || rte->alias != NULL || strcmp(rte->eref->aliasname, COPIES) != 0)
		return NULL;
	series = (FuncExpr *) linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	if (!IsA(series, FuncExpr) || series->funcid != F_GENERATE_SERIES_INT8_INT8)
		return NULL;
	copies = lsecond(series->args);
	lsecond(series->args) = derive_lower_number(1);
	return copies;
}

void
derive_lower_block(Query *query)
{
	if (derive_query_has_other_setop(query))
		derive_lower_setops(query);
	if (query->groupingSets != NIL)
		derive_lower_grouping(query);
	else if (query->groupClause != NIL)
		derive_lower_one_set(query);
}

static bool
lower_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		if (derive_query_reads_relations((Query *) node))
			derive_lower_query((Query *) node);
		return false;
	}
	return expression_tree_walker(node, lower_walker, context);
}

void
derive_lower_query(Query *query)
{
	check_stack_depth();
	if (query->hasRecursive)
		return;
	(void) query_tree_walker(query, lower_walker, NULL, 0);
	derive_lower_block(query);
}
