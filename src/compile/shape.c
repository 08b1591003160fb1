/*-------------------------------------------------------------------------
 *
 * shape.c
 *	  What query trees look like after the passes of the compiler.
 *
 * A pass that leaves a tree that is not quite right makes an error in the planner, much
 * later, or wrong rows.  So, in builds with assertions, trees are looked at between passes.
 * Of any tree:
 *
 *	a Var			is a column of an entry that is in FROM, and has its type
 *	flags			say what is there: sub-queries in expressions, aggregates, windows
 *	target list		is numbered from 1
 *
 * Once it is lowered, joins are inner or LEFT, no column is one of a join, and what reads
 * relations has neither INTERSECT nor EXCEPT.  Once occurrences are numbered, no two have the
 * same number: an entry that is in two places of the tree would.
 *
 * WITH RECURSIVE stays as it was written, with all that is in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compile/shape.h"

#ifdef USE_ASSERT_CHECKING

#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"

#include "compile/occurrence.h"
#include "compile/query.h"

typedef struct ShapeContext
{
	DeriveShape shape;
	List	   *queries;		/* enclosing queries, innermost first */
	List	   *used;			/* of Bitmapset *: their entries in FROM */
	Bitmapset  *occurrences;	/* numbers that were seen */
} ShapeContext;

static bool shape_walker(Node *node, ShapeContext *context);

static Query *
query_at(ShapeContext *context, Index level)
{
	Assert((int) level < list_length(context->queries));
	return list_nth_node(Query, context->queries, level);
}

static void
check_var(Var *var, ShapeContext *context)
{
	Query	   *query = query_at(context, var->varlevelsup);
	RangeTblEntry *rte;
	TargetEntry *tle;

	Assert(var->varno >= 1 && var->varno <= list_length(query->rtable));
	rte = rt_fetch(var->varno, query->rtable);
	switch (rte->rtekind)
	{
		case RTE_SUBQUERY:
			Assert(bms_is_member(var->varno, list_nth(context->used, var->varlevelsup)));
			if (var->varattno == InvalidAttrNumber)
				break;
			tle = get_tle_by_resno(rte->subquery->targetList, var->varattno);
			Assert(tle != NULL && !tle->resjunk);

			/*
			 * those of a set operation have its types, whatever its first
			 * branch has
			 */
			Assert(exprType((Node *) tle->expr) == var->vartype || query->setOperations != NULL);
			break;
		case RTE_RELATION:
		case RTE_FUNCTION:
		case RTE_VALUES:
			Assert(bms_is_member(var->varno, list_nth(context->used, var->varlevelsup)));
			break;
		case RTE_JOIN:
			Assert(context->shape < DERIVE_SHAPE_LOWERED);
			break;
		default:
			break;
	}
}

static void
check_jointree(Node *node, Query *query, ShapeContext *context)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		Assert(((RangeTblRef *) node)->rtindex <= list_length(query->rtable));
	else if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			check_jointree(lfirst(lc), query, context);
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		Assert(context->shape < DERIVE_SHAPE_LOWERED || join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT);
		check_jointree(join->larg, query, context);
		check_jointree(join->rarg, query, context);
	}
}

static void
check_block(Query *query, ShapeContext *context)
{
	ListCell   *lc;

	Assert(query->commandType == CMD_SELECT);
	foreach(lc, query->targetList)
		Assert(lfirst_node(TargetEntry, lc)->resno == foreach_current_index(lc) + 1);
	Assert(query->hasTargetSRFs || !expression_returns_set((Node *) query->targetList));
	if (query->jointree != NULL)
		check_jointree((Node *) query->jointree, query, context);
	if (context->shape >= DERIVE_SHAPE_LOWERED && derive_query_reads_relations(query))
		Assert(!derive_query_has_other_setop(query));
}

static void
check_query(Query *query, ShapeContext *context)
{
	Bitmapset  *used;
	int			i = -1;

	if (query->hasRecursive)
		return;
	used = derive_query_used(query);
	context->queries = lcons(query, context->queries);
	context->used = lcons(used, context->used);
	check_block(query, context);
	(void) query_tree_walker(query, shape_walker, context, QTW_IGNORE_RANGE_TABLE);
	while ((i = bms_next_member(used, i)) >= 0)
		(void) shape_walker((Node *) rt_fetch(i, query->rtable), context);
	context->queries = list_delete_first(context->queries);
	context->used = list_delete_first(context->used);
}

static bool
shape_walker(Node *node, ShapeContext *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			check_query((Query *) node, context);
			return false;
		case T_RangeTblEntry:
			if (context->shape >= DERIVE_SHAPE_NUMBERED && ((RangeTblEntry *) node)->rtekind == RTE_RELATION)
			{
				int			occurrence = derive_occurrence_of((RangeTblEntry *) node);

				Assert(occurrence > 0 && !bms_is_member(occurrence, context->occurrences));
				context->occurrences = bms_add_member(context->occurrences, occurrence);
			}
			return range_table_entry_walker((RangeTblEntry *) node, shape_walker, context, QTW_IGNORE_JOINALIASES);
		case T_Var:
			check_var((Var *) node, context);
			return false;
		case T_SubLink:
			Assert(query_at(context, 0)->hasSubLinks);
			break;
		case T_Aggref:
			Assert(query_at(context, ((Aggref *) node)->agglevelsup)->hasAggs);
			break;
		case T_WindowFunc:
			Assert(query_at(context, 0)->hasWindowFuncs);
			break;
		default:
			break;
	}
	return expression_tree_walker(node, shape_walker, context);
}

void
derive_assert_shape(Query *query, DeriveShape shape)
{
	ShapeContext context = {shape, NIL, NIL, NULL};

	check_query(query, &context);
}

#endif							/* USE_ASSERT_CHECKING */
