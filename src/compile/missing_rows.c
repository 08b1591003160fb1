/*-------------------------------------------------------------------------
 *
 * missing_rows.c
 *	  Whole rows, and columns computed from rows, that an outer join may leave out.
 *
 *	SELECT b FROM a LEFT JOIN b ON ..
 *
 * shows NULL where there is no b.  A whole row becomes ROW(b.x, b.y)::b (see check.c), which
 * is never NULL itself; and so a virtual generated column becomes an expression, such as
 * coalesce(b.x, 0), which need not be.  So here these are computed below the join:
 *
 *	SELECT b.whole FROM a LEFT JOIN (SELECT b.x, b.y, b AS whole FROM b) b ON ..
 *
 * All other columns keep their numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "compile/missing_rows.h"
#include "compile/query.h"

typedef struct MissingContext
{
	List	   *queries;		/* enclosing queries, innermost first */
	List	   *kept;			/* of RangeTblEntry *: those that were
								 * replaced */
} MissingContext;

/* Would check.c expand it? */
static bool
is_expanded(Var *var, RangeTblEntry *rte)
{
	if (var->varattno == InvalidAttrNumber)
		return rte->rtekind == RTE_RELATION || rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_CTE;
	return var->varattno > 0 && rte->rtekind == RTE_RELATION &&
		get_attgenerated(rte->relid, var->varattno) == 'v';
}

/* Replace an entry by "SELECT every column, the whole row FROM entry". */
static void
keep_entry(Query *query, RangeTblEntry *rte)
{
	Query	   *inner = makeNode(Query);
	RangeTblEntry *below = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names;
	List	   *columns;
	ListCell   *lc;

	*below = *rte;
	below->lateral = false;
	if (below->rtekind == RTE_SUBQUERY)
		IncrementVarSublevelsUp((Node *) below->subquery, 1, 1);
	else if (below->rtekind == RTE_CTE)
		below->ctelevelsup++;
	ref->rtindex = 1;
	inner->commandType = CMD_SELECT;
	inner->canSetTag = true;
	inner->rtable = list_make1(below);
	inner->jointree = makeFromExpr(list_make1(ref), NULL);
	derive_compat_strip_permissions(inner);
	derive_compat_expand_rte(below, 1, 0, -1, true, &names, &columns);
	foreach(lc, columns)
	{
		AttrNumber	resno = foreach_current_index(lc) + 1;

		inner->targetList = lappend(inner->targetList,
									makeTargetEntry(lfirst(lc), resno, strVal(list_nth(names, resno - 1)), false));
	}
	*rte = *derive_query_subquery_rte(inner, below->eref->aliasname);
	rte->lateral = below->rtekind == RTE_SUBQUERY && derive_query_refers_outside(inner);
	derive_compat_strip_permissions(query);
}

/* The column of a replaced entry that is the whole row; added when first needed. */
static AttrNumber
whole_row_column(Var *var, RangeTblEntry *rte)
{
	List	   *targets = rte->subquery->targetList;
	Var		   *whole = castNode(Var, copyObject(var));
	AttrNumber	resno = list_length(targets) + 1;
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (IsA(tle->expr, Var) && ((Var *) tle->expr)->varattno == InvalidAttrNumber)
			return tle->resno;
	}
	whole->varno = whole->varnosyn = 1;
	whole->varlevelsup = 0;
	derive_compat_nulled_by_only(whole, NULL);
	rte->subquery->targetList = lappend(targets, makeTargetEntry((Expr *) whole, resno, pstrdup("whole"), false));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("whole")));
	return resno;
}

static void
keep_var(Var *var, MissingContext *context)
{
	Query	   *query = list_nth(context->queries, var->varlevelsup);
	RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);

	if (!list_member_ptr(context->kept, rte))
	{
		if (!is_expanded(var, rte) || !bms_is_member(var->varno, derive_query_nullable(query)))
			return;
		keep_entry(query, rte);
		context->kept = lappend(context->kept, rte);
	}
	if (var->varattno == InvalidAttrNumber)
		var->varattno = var->varattnosyn = whole_row_column(var, rte);
}

static bool
missing_walker(Node *node, MissingContext *context)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		keep_var((Var *) node, context);
		return false;
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, missing_walker, context);
	context->queries = lcons(node, context->queries);
	result = query_tree_walker((Query *) node, missing_walker, context, 0);
	context->queries = list_delete_first(context->queries);
	return result;
}

void
derive_keep_missing_rows(Query *query)
{
	MissingContext context = {NIL, NIL};

	(void) missing_walker((Node *) query, &context);
}
