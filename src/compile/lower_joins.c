/*-------------------------------------------------------------------------
 *
 * lower_joins.c
 *	  RIGHT and FULL joins by LEFT joins.
 *
 *	a RIGHT JOIN b ON c		b LEFT JOIN a ON c
 *
 *	a FULL JOIN b ON c		(SELECT a.*, b.* FROM a LEFT JOIN b ON c
 *							 UNION ALL
 *							 SELECT NULLs, b.* FROM b WHERE NOT EXISTS (SELECT FROM a WHERE c))
 *
 *		a: 1, 2		b: 2, 3		ON a.x = b.x		(1, NULL) (2, 2)
 *													(NULL, 3)
 *
 * where a and b may be joins themselves.  Only those of their columns are passed on that
 * are used somewhere; references to them, at any depth, become references to the
 * sub-query.
 *
 * Columns of joins (USING, NATURAL) are replaced by what they stand for, so that nobody
 * after us has to look into joins.  And from EXISTS (..) goes what has no influence on
 * whether there is a row, as the planner does it itself later (simplify_EXISTS_query() in
 * subselect.c): but here it makes a sub-query that we would have to call limited an
 * ordinary one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "base/compat.h"
#include "compile/carve.h"
#include "compile/lower.h"
#include "compile/query.h"

/* -------------------------------------------------------------------------
 * FULL JOIN
 * -------------------------------------------------------------------------
 */

/* The columns of some entries that are used outside of these. */
typedef struct ColumnsContext
{
	const Bitmapset *members;
	int			depth;
	List	   *columns;		/* of Var *, level 0; position + 1 is the
								 * sub-query's column */
	int			rtindex;		/* 0: collect; else replace by columns of this
								 * entry */
} ColumnsContext;

static int
column_of(ColumnsContext *context, Var *var)
{
	ListCell   *lc;

	foreach(lc, context->columns)
	{
		Var		   *column = lfirst_node(Var, lc);

		if (column->varno == var->varno && column->varattno == var->varattno)
			return foreach_current_index(lc) + 1;
	}
	return 0;
}

static bool
columns_walker(Node *node, ColumnsContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		int			column;

		if ((int) var->varlevelsup != context->depth || !bms_is_member(var->varno, context->members))
			return false;
		column = column_of(context, var);
		if (context->rtindex != 0)
		{
			Assert(column > 0);
			var->varno = context->rtindex;
			var->varattno = column;
			derive_compat_not_nulled_by(var, context->members);
		}
		else if (column == 0)
		{
			var = copyObject(var);
			var->varlevelsup = 0;
			context->columns = lappend(context->columns, var);
		}
		return false;
	}
	if (IsA(node, Query))
	{
		bool		result;

		context->depth++;
		result = query_tree_walker((Query *) node, columns_walker, context, QTW_IGNORE_JOINALIASES);
		context->depth--;
		return result;
	}
	return expression_tree_walker(node, columns_walker, context);
}

/* The target list that passes the columns on, if only one that nobody asks for; those of missing entries are NULL. */
static List *
pass_on(List *columns, const Bitmapset *missing, const Bitmapset *joins)
{
	List	   *targets = NIL;
	ListCell   *lc;

	foreach(lc, columns)
	{
		Var		   *var = copyObject(lfirst_node(Var, lc));
		AttrNumber	resno = foreach_current_index(lc) + 1;
		Expr	   *expr = (Expr *) var;

		if (bms_is_member(var->varno, missing))
			expr = (Expr *) makeNullConst(var->vartype, var->vartypmod, var->varcollid);
		else
			derive_compat_nulled_by_only(var, joins);
		targets = lappend(targets, makeTargetEntry(expr, resno, psprintf("c%d", resno), false));
	}
	return targets ? targets : derive_query_one_target();
}

/* The rows of the right side that meet none of the left. */
static Query *
unmatched_rows(Query *query, JoinExpr *join, Bitmapset *left, Bitmapset *right)
{
	Bitmapset  *both = bms_union(left, right);
	Query	   *part = derive_query_carve(query, both, join->rarg, NULL);
	Query	   *partner = derive_query_carve(query, both, join->larg, join->quals);
	Query	   *from_left;

	/* partner stands where part does: let its right columns refer to part's */
	from_left = derive_query_carve(partner, left, linitial(partner->jointree->fromlist), partner->jointree->quals);
	from_left->targetList = derive_query_one_target();
	part->jointree->quals = (Node *) makeBoolExpr(NOT_EXPR, list_make1(derive_query_sublink(EXISTS_SUBLINK, from_left)), -1);
	part->hasSubLinks = true;
	for (int i = 1; i <= list_length(part->rtable); i++)
		if (bms_is_member(i, left))
			derive_query_clear_entry(part, i);
	derive_compat_strip_permissions(part);
	return part;
}

/* Put a sub-query in the place of a FULL JOIN. */
static void
lower_full(Query *query, JoinExpr *join, Node **place)
{
	Bitmapset  *left = derive_from_members(join->larg);
	Bitmapset  *right = derive_from_members(join->rarg);
	Bitmapset  *members = bms_add_member(bms_union(left, right), join->rtindex);
	ColumnsContext context = {members, 0, NIL, 0};
	RangeTblRef *ref = makeNode(RangeTblRef);
	RangeTblEntry *rte;
	Query	   *joined;
	List	   *branches;
	ListCell   *lc;

	joined = derive_query_carve(query, members, (Node *) join, NULL);
	rt_fetch(join->rtindex, joined->rtable)->jointype = JOIN_LEFT;
	linitial_node(JoinExpr, joined->jointree->fromlist)->jointype = JOIN_LEFT;
	branches = list_make2(joined, unmatched_rows(query, join, left, right));

	/* what is left of the query is what is outside of the join */
	ref->rtindex = list_length(query->rtable) + 1;
	*place = (Node *) ref;
	for (int i = 1; i < ref->rtindex; i++)
		if (bms_is_member(i, members))
			derive_query_clear_entry(query, i);
	(void) query_tree_walker(query, columns_walker, &context, QTW_IGNORE_JOINALIASES);
	joined->targetList = pass_on(context.columns, NULL, members);
	foreach(lc, joined->targetList)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(var, Var) && bms_is_member(var->varno, left))
			derive_compat_not_nulled_by(var, bms_make_singleton(join->rtindex));
	}
	lsecond_node(Query, branches)->targetList = pass_on(context.columns, left, right);
	context.rtindex = ref->rtindex;
	(void) query_tree_walker(query, columns_walker, &context, QTW_IGNORE_JOINALIASES);

	/* below the set operation */
	foreach(lc, branches)
		IncrementVarSublevelsUp(lfirst(lc), 1, 1);
	rte = derive_query_subquery_rte(derive_query_union_all(branches), "full_join");
	rte->lateral = derive_query_refers_to_level(rte->subquery, 1);
	query->rtable = lappend(query->rtable, rte);
	derive_compat_strip_permissions(query);
}

/* -------------------------------------------------------------------------
 * Joins
 * -------------------------------------------------------------------------
 */

/* Inner joins first, so that what is carved out has no FULL or RIGHT join left. */
static void
lower_from(Query *query, Node **place)
{
	ListCell   *lc;
	JoinExpr   *join;
	Node	   *arg;

	if (IsA(*place, RangeTblRef))
		return;
	if (IsA(*place, FromExpr))
	{
		foreach(lc, ((FromExpr *) *place)->fromlist)
			lower_from(query, (Node **) &lfirst(lc));
		return;
	}
	join = castNode(JoinExpr, *place);
	lower_from(query, &join->larg);
	lower_from(query, &join->rarg);
	if (join->jointype == JOIN_FULL)
		lower_full(query, join, place);
	else if (join->jointype == JOIN_RIGHT)
	{
		arg = join->larg;
		join->larg = join->rarg;
		join->rarg = arg;
		join->jointype = JOIN_LEFT;
		rt_fetch(join->rtindex, query->rtable)->jointype = JOIN_LEFT;
	}
}

/* Is it a positive constant, or nothing at all?  A number in the query is still to be cast to bigint. */
static bool
limits_to_some(Node *limit)
{
	Const	   *count = (Const *) eval_const_expressions(NULL, limit);

	return limit == NULL ||
		(IsA(count, Const) && count->consttype == INT8OID &&
		 (count->constisnull || DatumGetInt64(count->constvalue) > 0));
}

/* In EXISTS; see the head of the file. */
static void
simplify_exists(Query *query)
{
	if (query->setOperations != NULL || query->hasAggs || query->groupingSets != NIL || query->hasTargetSRFs ||
		query->havingQual != NULL || query->limitOffset != NULL || query->cteList != NIL ||
		query->rowMarks != NIL || !limits_to_some(query->limitCount))
		return;
	query->limitCount = NULL;
	query->targetList = derive_query_one_target();
	query->groupClause = query->windowClause = query->distinctClause = query->sortClause = NIL;
	query->hasDistinctOn = query->hasWindowFuncs = false;
}

static bool
lower_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == EXISTS_SUBLINK)
	{
		derive_compat_flatten_groups((Query *) ((SubLink *) node)->subselect);
		simplify_exists((Query *) ((SubLink *) node)->subselect);
	}
	if (IsA(node, Query))
	{
		derive_lower_joins((Query *) node);
		return false;
	}
	return expression_tree_walker(node, lower_walker, context);
}

void
derive_lower_joins(Query *query)
{
	Node	   *jointree;

	derive_compat_flatten_groups(query);
	derive_query_flatten_aliases(query);

	/*
	 * sub-queries first, since what is used of a FULL JOIN is replaced in
	 * these
	 */
	(void) query_tree_walker(query, lower_walker, NULL, QTW_IGNORE_JOINALIASES);
	jointree = (Node *) query->jointree;
	lower_from(query, &jointree);
	Assert(jointree == (Node *) query->jointree);
}
