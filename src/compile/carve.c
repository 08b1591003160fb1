/*-------------------------------------------------------------------------
 *
 * carve.c
 *	  A part of a query's FROM as a query of its own.
 *
 *		FROM a LEFT JOIN (b JOIN c ON b.x = c.x) ON a.y = b.y
 *
 * The right side with its condition, carved out, is
 *
 *		SELECT FROM b JOIN c ON b.x = c.x WHERE outer.a.y = b.y
 *
 * as it would stand in EXISTS (..) in the query's WHERE.  Entries keep their places
 * in the range table, so that no column is numbered anew, and since 16, where a column
 * names the outer joins that may make it NULL, those inside of the part are right, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"

#include "base/compat.h"
#include "compile/carve.h"

typedef struct CarveContext
{
	int			depth;			/* below the part */
	const Bitmapset *members;
} CarveContext;

void
derive_query_clear_entry(Query *query, int rtindex)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RESULT;
	rte->eref = makeAlias("*RESULT*", NIL);
	list_nth_cell(query->rtable, rtindex - 1)->ptr_value = rte;
}

/* Move references that leave the part one level up, in place. */
static bool
carve_walker(Node *node, CarveContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if ((int) var->varlevelsup > context->depth ||
			((int) var->varlevelsup == context->depth && !bms_is_member(var->varno, context->members)))
			var->varlevelsup++;
		return false;
	}
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup >= context->depth + 1)
		((Aggref *) node)->agglevelsup++;
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup >= context->depth + 1)
		((GroupingFunc *) node)->agglevelsup++;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && (int) rte->ctelevelsup >= context->depth)
			rte->ctelevelsup++;
		return false;
	}
	if (IsA(node, Query))
	{
		bool		result;

		context->depth++;
		result = query_tree_walker((Query *) node, carve_walker, context,
								   QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
		context->depth--;
		return result;
	}
	return expression_tree_walker(node, carve_walker, context);
}

Query *
derive_query_carve(Query *query, const Bitmapset *members, Node *tree, Node *quals)
{
	Query	   *part = makeNode(Query);
	CarveContext context = {0, members};

	part->commandType = CMD_SELECT;
	part->canSetTag = true;
	part->hasSubLinks = query->hasSubLinks;
	part->rtable = copyObject(query->rtable);
	part->jointree = makeFromExpr(list_make1(copyObject(tree)), copyObject(quals));
	for (int i = 1; i <= list_length(part->rtable); i++)
		if (!bms_is_member(i, members))
			derive_query_clear_entry(part, i);
	(void) query_tree_walker(part, carve_walker, &context,
							 QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
	derive_compat_strip_permissions(part);
	return part;
}

typedef struct LevelContext
{
	int			level;
} LevelContext;

static bool
level_walker(Node *node, LevelContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return (int) ((Var *) node)->varlevelsup == context->level;
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup == context->level && context->level > 0)
		return true;
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup == context->level && context->level > 0)
		return true;
	if (IsA(node, Query))
	{
		bool		result;

		context->level++;
		result = query_tree_walker((Query *) node, level_walker, context, QTW_IGNORE_JOINALIASES);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, level_walker, context);
}

bool
derive_query_refers_to_level(Query *query, int level)
{
	LevelContext context = {level};

	return query_tree_walker(query, level_walker, &context, QTW_IGNORE_JOINALIASES);
}
