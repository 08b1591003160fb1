/*-------------------------------------------------------------------------
 *
 * recursion.c
 *	  WITH RECURSIVE, taken apart.
 *
 * PostgreSQL evaluates "x AS (base UNION [ALL] step)" round by round: step is given the
 * new rows of the round before in place of x.  Its rules say that step reads x once, and
 * not below an aggregate or where an outer join may leave it out.  If, besides, each row of
 * step is made of one row of x (x is in a direct place of a linear query, see
 * derivative.c), it makes no difference in which rounds rows come:
 *
 *		UNION		x is the least set with  x = base + step(x)
 *		UNION ALL	x is the sum of base, step(base), step(step(base)) ..
 *
 * and that is what derive/recursive.c maintains.  All others are computed anew as a whole:
 *
 *	window functions, LIMIT ..		a round's rows decide together
 *	SEARCH, CYCLE					the rewriter gives x columns of type record[], which
 *									no table can have, and reads it in a sub-query
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "compile/derivative.h"
#include "compile/hidden.h"
#include "compile/lower.h"
#include "compile/query.h"
#include "compile/recursion.h"

/* ---------- questions ---------- */

/* The entry of the range table by which the query itself reads the recursion, or 0. */
static int
find_self(Query *step, const char *name)
{
	Bitmapset  *used = derive_query_used(step);
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, step->rtable);

		if (rte->rtekind == RTE_CTE && rte->self_reference && strcmp(rte->ctename, name) == 0)
			return i;
	}
	return 0;
}

/* Can a table have these columns, as they are? */
static bool
can_be_stored(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
		if (get_typtype(TupleDescAttr(desc, i)->atttypid) == TYPTYPE_PSEUDO)
			return false;
	return desc->natts > 0 && derive_row_types_of(desc) == NIL;
}

/* Is each row of step made of one row of x, and of nothing around the recursion? */
static bool
is_stepwise(const DeriveRecursion *recursion)
{
	Query	   *step = derive_recursion_step(recursion, NULL, false);
	int			occurrence;

	if (derive_query_refers_outside(step) || derive_query_refers_outside(recursion->base))
		return false;
	(void) derive_occurrences_number(step, 0, NIL);
	occurrence = derive_occurrence_of(rt_fetch(recursion->self, step->rtable));
	return derive_query_reach(step, occurrence) == DERIVE_REACH_DIRECT;
}

/* ---------- questions of the whole ---------- */

static Query *
find_with(Query *query, const char *name)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, name) == 0)
			return castNode(Query, cte->ctequery);
	}
	return NULL;
}

/* Does it make a row of every row of x, whatever there is in it? */
static bool
passes_all_on(Query *query)
{
	RangeTblEntry *rte;
	Query	   *inner;

	if (query->setOperations != NULL || query->distinctClause != NIL || query->hasTargetSRFs ||
		query->limitCount != NULL || query->limitOffset != NULL || derive_query_is_grouped(query) ||
		query->jointree->quals != NULL || list_length(query->jointree->fromlist) != 1 ||
		!IsA(linitial(query->jointree->fromlist), RangeTblRef))
		return false;
	rte = rt_fetch(((RangeTblRef *) linitial(query->jointree->fromlist))->rtindex, query->rtable);
	if (rte->rtekind == RTE_SUBQUERY)
		return passes_all_on(rte->subquery);
	if (rte->rtekind != RTE_CTE || rte->self_reference)
		return rte->rtekind == RTE_CTE;
	inner = rte->ctelevelsup == 0 ? find_with(query, rte->ctename) : NULL;
	return inner != NULL && passes_all_on(inner);
}

bool
derive_recursion_is_endless(CommonTableExpr *cte)
{
	Query	   *query = castNode(Query, cte->ctequery);
	SetOperationStmt *op = (SetOperationStmt *) query->setOperations;

	return cte->cterecursive && op != NULL && IsA(op, SetOperationStmt) && op->op == SETOP_UNION && op->all &&
		IsA(op->rarg, RangeTblRef) &&
		passes_all_on(rt_fetch(((RangeTblRef *) op->rarg)->rtindex, query->rtable)->subquery);
}

/* ---------- taking apart ---------- */

/* A side of the set operation, as a query. */
static Query *
side_of(Query *query, Node *side)
{
	Query	   *result;

	if (IsA(side, RangeTblRef))
		return copyObject(rt_fetch(((RangeTblRef *) side)->rtindex, query->rtable)->subquery);

	/* base may be a tree of its own; its leaves stay where they are */
	result = copyObject(query);
	result->setOperations = copyObject(side);
	return result;
}

/* Entries that a set operation does not use must not stand for what they are not. */
static void
forget_unused(Query *query)
{
	Bitmapset  *used = derive_query_used(query);
	ListCell   *lc;

	foreach(lc, query->setOperations ? query->rtable : NIL)
	{
		if (bms_is_member(foreach_current_index(lc) + 1, used))
			continue;
		lfirst(lc) = makeNode(RangeTblEntry);
		lfirst_node(RangeTblEntry, lc)->rtekind = RTE_RESULT;
		lfirst_node(RangeTblEntry, lc)->eref = makeAlias("unused", NIL);
	}
}

static TupleDesc
describe(CommonTableExpr *cte, SetOperationStmt *op)
{
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(op->colTypes));
	ListCell   *lc;

	foreach(lc, op->colTypes)
	{
		int			i = foreach_current_index(lc);

		TupleDescInitEntry(desc, i + 1, strVal(list_nth(cte->ctecolnames, i)), lfirst_oid(lc),
						   list_nth_int(op->colTypmods, i), 0);
		TupleDescInitEntryCollation(desc, i + 1, list_nth_oid(op->colCollations, i));
	}
	return desc;
}

static void
lower(Query *query)
{
	derive_lower_query(query);
	derive_lower_joins(query);
}

bool
derive_recursion_take_apart(CommonTableExpr *cte, DeriveRecursion *recursion)
{
	Query	   *query = castNode(Query, cte->ctequery);
	SetOperationStmt *op = (SetOperationStmt *) query->setOperations;

	if (!cte->cterecursive || op == NULL || op->op != SETOP_UNION || query->cteList != NIL ||
		!IsA(op->rarg, RangeTblRef) || list_length(op->colTypes) != list_length(cte->ctecolnames))
		return false;

	recursion->cte = cte;
	recursion->op = op;
	recursion->desc = describe(cte, op);
	recursion->base = side_of(query, op->larg);
	forget_unused(recursion->base);
	recursion->step = side_of(query, op->rarg);
	if (!op->all && !recursion->step->hasDistinctOn)
		recursion->step->distinctClause = NIL;	/* UNION sees to that */
	lower(recursion->base);
	lower(recursion->step);
	recursion->self = find_self(recursion->step, cte->ctename);
	if (recursion->self == 0 || !derive_query_is_linear(recursion->step) || recursion->step->setOperations != NULL ||
		!can_be_stored(recursion->desc))
		return false;
	derive_query_coerce_columns(recursion->step, op);
	return is_stepwise(recursion);
}

/* ---------- putting together ---------- */

Query *
derive_recursion_step(const DeriveRecursion *recursion, RangeTblEntry *x, bool with_origin)
{
	Query	   *step = copyObject(recursion->step);

	if (x == NULL)
		x = linitial(derive_query_scan(InvalidOid, recursion->desc, recursion->desc)->rtable);
	lfirst(list_nth_cell(step->rtable, recursion->self - 1)) = copyObject(x);
	derive_compat_strip_permissions(step);
	for (int i = 0; with_origin && i < recursion->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(recursion->desc, i);
		Var		   *var = makeVar(recursion->self, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0);
		AttrNumber	resno = list_length(step->targetList) + 1;

		step->targetList = lappend(step->targetList,
								   makeTargetEntry((Expr *) var, resno, psprintf("origin%d", i + 1), false));
	}
	return step;
}

Query *
derive_recursion_query(const DeriveRecursion *recursion)
{
	Query	   *query = makeNode(Query);
	Query	   *united = derive_query_union_all(list_make2(copyObject(recursion->base), copyObject(recursion->step)));
	CommonTableExpr *cte = copyObject(recursion->cte);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	SetOperationStmt *op = copyObject(recursion->op);

	op->larg = castNode(SetOperationStmt, united->setOperations)->larg;
	op->rarg = castNode(SetOperationStmt, united->setOperations)->rarg;
	united->setOperations = (Node *) op;
	cte->ctequery = (Node *) united;
	cte->cterefcount = 1;

	rte->rtekind = RTE_CTE;
	rte->ctename = pstrdup(cte->ctename);
	rte->inFromCl = true;
	rte->eref = makeAlias(cte->ctename, copyObject(cte->ctecolnames));
	ref->rtindex = 1;
	for (int i = 0; i < recursion->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(recursion->desc, i);
		Var		   *var = makeVar(1, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0);

		rte->coltypes = lappend_oid(rte->coltypes, att->atttypid);
		rte->coltypmods = lappend_int(rte->coltypmods, att->atttypmod);
		rte->colcollations = lappend_oid(rte->colcollations, att->attcollation);
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) var, i + 1, pstrdup(NameStr(att->attname)), false));
	}
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->hasRecursive = true;
	query->cteList = list_make1(cte);
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	return query;
}
