/*-------------------------------------------------------------------------
 *
 * derivative.c
 *	  What a change of one relation changes in the rows of a query, as a query.
 *
 * A query Q reads the relations R1 .. Rn, the same table read twice being two of
 * them.  Whatever Q does with them, the difference that a batch makes is the sum of
 * n terms, in each of which one relation changes while those before it are as they
 * are now and those after it as they were:
 *
 *	Q(R1', .., Rn') - Q(R1, .., Rn)
 *		= sum over k of  Q(R1', .., Rk', R(k+1), .., Rn) - Q(R1', .., R(k-1)', Rk, .., Rn)
 *
 * That is no more than telescoping, so it holds for every Q.  This file writes one such
 * term as a query whose cost follows the change of Rk.  How depends on the place of Rk.
 *
 *
 * Direct.  Where every row of Rk makes rows of Q by itself, and no other row of Rk has a
 * say in them, that is, in FROM, by inner joins or on the side of outer joins that is
 * kept, Q is linear in Rk.  The changed rows take its place, their weight becomes the
 * weight of what they make, and weights multiply:
 *
 *	FROM f LEFT JOIN d ON d.id = f.d, change of f:		FROM delta_f LEFT JOIN d ON d.id = f.d
 *
 * An entry that only repeats the rows beside it (derive_lower_series()) is a factor of the
 * weight, too, so that a row that is there a thousand times costs no more than another.
 *
 *
 * By key.  Elsewhere (on the other side of an outer join, in a sub-query of an
 * expression, in a LATERAL sub-query that groups or limits) Rk decides, together with
 * its other rows, what becomes of a row of the rest of FROM, the "outer row".  It can only
 * become something else if Rk's part, seen from that outer row, has changed.  So find the
 * outer rows that may be concerned, evaluate Q for these alone with Rk as it is and with
 * Rk as it was, and take the difference:
 *
 *	FROM f LEFT JOIN d ON d.id = f.d, change of d:
 *		+1	FROM (SELECT DISTINCT id FROM delta_d) touched JOIN f ON touched.id = f.d LEFT JOIN d ON ..
 *		-1	the same with d as it was
 *
 * Any superset of the concerned outer rows will do, since for others the two evaluations
 * give the same.  And since it is a condition on outer rows, equal in both evaluations,
 * it makes no difference whether outer rows are unique or have a key.
 *
 * Which outer rows are concerned?  Rk's part is a query of its own, correlated with the
 * outer row (carve.c for an outer join; the sub-query without what it does with the rows
 * of its FROM and WHERE, for others).  If none of the rows of its FROM and WHERE has
 * changed, as seen from an outer row, neither has what it makes of them.  So: the outer
 * rows for which the term of that query, for Rk, by this very recursion, has a row.
 * Equalities between the outer row and the part are taken out of the part, which then
 * stands for itself, and become the condition by which DISTINCT keys are joined with the
 * outer rows, so that the planner can look these up by an index.  (What other conditions
 * on both there are is left out: a few outer rows more.)  Where there are none, it is
 * EXISTS (the part's term), and all outer rows are read.
 *
 *	WHERE f.x IN (SELECT y FROM g WHERE g.z < f.z), change of g:
 *		touched: SELECT DISTINCT y FROM delta_g, joined by f.x = touched.y
 *
 * The value that a sub-query is compared with is such an equality, too.  Under NOT, or
 * where the sub-query's result is shown, a NULL on either side matters as well.
 *
 *
 * By partition.  A query with window functions, or DISTINCT ON, evaluates whole
 * partitions of its rows.  The partitions of which rows have changed are the touched
 * keys; NULLs are equal here, so keys with NULLs are joined apart, by a condition that
 * no index serves.
 *
 *
 * Both evaluations see all other relations alike, as the term demands; only the marks of
 * Rk differ (occurrence.c).  In the log's way to the past (undone: "R' UNION ALL its
 * changes, negated") rows have weights, which have a meaning in direct places only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "compile/derivative_internal.h"
#include "compile/lower.h"
#include "compile/query.h"
#include "compile/shape.h"

static void weigh(Query *query, const DeriveTerm *term, Expr **weight);

/* -------------------------------------------------------------------------
 * Weights
 * -------------------------------------------------------------------------
 */

char *
derive_delta_name(int occurrence)
{
	return psprintf("delta_%d", occurrence);
}

static Expr *
multiply(Expr *a, Expr *b)
{
	if (a == NULL || b == NULL)
		return a ? a : b;
	return (Expr *) makeFuncExpr(F_INT8MUL, INT8OID, list_make2(a, b),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* Append the weight as the last column of a query; NULL is 1. */
Query *
derive_with_weight(Query *query, Expr *weight)
{
	AttrNumber	resno = list_length(query->targetList) + 1;

	query->targetList = lappend(query->targetList,
								makeTargetEntry(weight ? weight : derive_lower_number(1), resno,
												pstrdup("weight"), false));
	return query;
}

/* "SELECT all columns FROM rte", keeping attribute numbers; desc names the columns. */
static Query *
scan_query(RangeTblEntry *rte, TupleDesc desc, int natts)
{
	Query	   *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);

	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	derive_compat_strip_permissions(query);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr	   *expr;

		if (att->attisdropped)
			expr = (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
		else
			expr = (Expr *) makeVar(1, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0);
		query->targetList = lappend(query->targetList,
									makeTargetEntry(expr, i + 1, pstrdup(NameStr(att->attname)), false));
	}
	return query;
}

/* A relation as it was before the batch, by its changes. */
static RangeTblEntry *
undone_entry(RangeTblEntry *rte, TupleDesc desc, double ntuples)
{
	int			natts = desc->natts - 1;
	Query	   *after = scan_query(rte, desc, natts);
	Query	   *undo = scan_query(derive_query_enr_rte(derive_delta_name(derive_occurrence_of(rte)), desc, ntuples),
								  desc, natts);
	Var		   *weight = makeVar(1, natts + 1, INT8OID, -1, InvalidOid, 0);

	derive_with_weight(after, NULL);
	derive_with_weight(undo, (Expr *) makeFuncExpr(F_INT8UM, INT8OID, list_make1(weight),
												   InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
	return derive_query_subquery_rte(derive_query_union_all(list_make2(after, undo)), "before");
}

/* -------------------------------------------------------------------------
 * Direct places
 * -------------------------------------------------------------------------
 */

/* Does the tree hold the occurrence that changed, or one whose changes are undone? */
static bool
concerns(Node *node, const DeriveTerm *term)
{
	return derive_holds_occurrence(node, term->occurrence) || derive_holds_occurrences(node, term->undone);
}

/* Replace a relation by its changes, or by what it was; the number of the weight's column. */
static AttrNumber
weigh_relation(ListCell *cell, const DeriveTerm *term)
{
	RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
	TupleDesc	desc = term->describe(rte);
	RangeTblEntry *instead;

	if (derive_occurrence_of(rte) == term->occurrence)
		instead = derive_query_enr_rte(derive_delta_name(derive_occurrence_of(rte)), desc, term->ntuples);
	else
		instead = undone_entry(rte, desc, term->ntuples);
	instead->eref->aliasname = pstrdup(rte->eref->aliasname);
	lfirst(cell) = instead;
	return desc->natts;
}

/* Of a UNION ALL: the branch that changes, the others vanish; or, where changes are undone, all. */
static Query *
term_of_union(Query *query, const DeriveTerm *term)
{
	List	   *branches = derive_query_union_branches(query, NULL, NULL);
	bool		has_change = derive_holds_occurrence((Node *) query, term->occurrence);
	ListCell   *lc;

	foreach(lc, branches)
	{
		Query	   *branch = lfirst_node(Query, lc);
		Expr	   *weight = NULL;

		if (has_change && !derive_holds_occurrence((Node *) branch, term->occurrence))
			continue;			/* it does not change */
		if (has_change)
			return derive_term_of(branch, term);
		weigh(branch, term, &weight);
		lfirst(lc) = derive_with_weight(branch, weight);
		IncrementVarSublevelsUp(lfirst(lc), 1, 1);
	}
	Assert(!has_change);
	return derive_query_union_all(branches);
}

static AttrNumber
weigh_subquery(RangeTblEntry *rte, const DeriveTerm *term)
{
	AttrNumber	attno;

	if (derive_query_is_linear(rte->subquery))
		derive_query_normalize(rte->subquery);	/* changes have no order */
	if (rte->subquery->setOperations != NULL)
		rte->subquery = term_of_union(rte->subquery, term);
	else if (derive_holds_occurrence((Node *) rte->subquery, term->occurrence))
		rte->subquery = derive_term_of(rte->subquery, term);
	else
	{
		Expr	   *weight = NULL;

		weigh(rte->subquery, term, &weight);
		derive_with_weight(rte->subquery, weight);
	}
	attno = list_length(rte->subquery->targetList);

	/* columns may have been added to a view since its alias list was made */
	while (list_length(rte->eref->colnames) < attno - 1)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("?column?")));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("weight")));
	return attno;
}

/* Replace what changed, and what is undone, in all direct places of a query; multiplies their weights. */
static void
weigh(Query *query, const DeriveTerm *term, Expr **weight)
{
	Bitmapset  *used = derive_query_used(query);
	int			i = -1;

	Assert(query->setOperations == NULL);
	while ((i = bms_next_member(used, i)) >= 0)
	{
		ListCell   *cell = list_nth_cell(query->rtable, i - 1);
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		AttrNumber	attno;

		if (rte->rtekind == RTE_JOIN || !concerns((Node *) rte, term))
		{
			*weight = multiply(*weight, derive_lower_take_copies(rte));
			continue;
		}
		attno = rte->rtekind == RTE_RELATION ? weigh_relation(cell, term) : weigh_subquery(rte, term);
		*weight = multiply(*weight, (Expr *) makeVar(i, attno, INT8OID, -1, InvalidOid, 0));
	}
}

/* -------------------------------------------------------------------------
 * By key
 * -------------------------------------------------------------------------
 */

static bool
is_direct(Query *query, int occurrence)
{
	return !derive_place_is_partitioned(query) && derive_find_place(query, occurrence).kind == PLACE_DIRECT;
}

/*
 * The query with the occurrence as it is, minus the query with it as it was, where that can differ.
 *
 *	FROM f LEFT JOIN d ON d.id = f.d, d (7, 'x') becomes (7, 'y')
 *
 *		f (id, d)	touched		after			before				together
 *		(1, 7)		7			(1, y) x +1		(1, x) x -1			(1, x) x -1, (1, y) x +1
 *		(2, 7)		7			(2, y) x +1		(2, x) x -1			..
 *		(3, 8)					not read
 *
 * The two are copies of one query, with the touched rows in it.  These are the same in both, so
 * the occurrence has lost its number there (forget() in touched.c) before the copy is
 * marked as old.
 */
static Query *
term_by_key(Query *query, const DeriveTerm *term)
{
	List	   *pairs;
	Query	   *rows = derive_touched_rows(query, term, 1, &pairs);
	Bitmapset  *changed = bms_make_singleton(term->occurrence);
	List	   *branches = NIL;
	ListCell   *lc;

	Assert(bms_is_empty(term->undone));
	foreach(lc, derive_restrict_query(query, rows, pairs, derive_find_guards(query, term->occurrence)))
	{
		Query	   *after = lfirst_node(Query, lc);
		Query	   *before;

		if (derive_place_is_partitioned(after))
		{
			/*
			 * it may have columns that are not shown, and one too many for
			 * DISTINCT
			 */
			IncrementVarSublevelsUp((Node *) after, 1, 1);
			after = derive_query_wrap(after);
		}
		before = copyObject(after);
		derive_occurrences_mark_old((Node *) before, changed);
		branches = lappend(branches, derive_with_weight(after, derive_lower_number(1)));
		branches = lappend(branches, derive_with_weight(before, derive_lower_number(-1)));
	}
	foreach(lc, branches)
		IncrementVarSublevelsUp(lfirst(lc), 1, 1);
	return derive_query_union_all(branches);
}

Query *
derive_term_of(Query *query, const DeriveTerm *term)
{
	Expr	   *weight = NULL;

	CHECK_FOR_INTERRUPTS();
	if (query->setOperations != NULL)
		return term_of_union(query, term);
	if (!is_direct(query, term->occurrence))
		return term_by_key(query, term);
	weigh(query, term, &weight);
	return derive_with_weight(query, weight);
}

Query *
derive_query_term(Query *query, const DeriveTerm *term)
{
	derive_occurrences_mark_old((Node *) query, term->old);
	query = derive_term_of(query, term);
	derive_assert_shape(query, DERIVE_SHAPE_ANY);
	Assert(exprType((Node *) llast_node(TargetEntry, query->targetList)->expr) == INT8OID);
	return query;
}

/* -------------------------------------------------------------------------
 * Questions
 * -------------------------------------------------------------------------
 */

/* The names alone: the query is not run, and derived tables need not be there. */
static TupleDesc
describe_names(RangeTblEntry *rte)
{
	int			ncolumns = list_length(rte->eref->colnames);
	TupleDesc	desc = CreateTemplateTupleDesc(ncolumns + 1);
	ListCell   *lc;

	foreach(lc, rte->eref->colnames)
		TupleDescInitEntry(desc, foreach_current_index(lc) + 1, strVal(lfirst(lc)), INT4OID, -1, 0);
	TupleDescInitEntry(desc, ncolumns + 1, "weight", INT8OID, -1, 0);
	return desc;
}

/* Add the steps to a list; false if the query has no term. */
static bool
find_steps(Query *query, int occurrence, List **steps)
{
	DeriveTerm	term = {.occurrence = occurrence,.describe = describe_names,.steps = steps};
	List	   *pairs;
	Place		place;

	if (query->setOperations != NULL)
	{
		ListCell   *lc;

		if (!derive_query_is_linear(query))
			return false;
		foreach(lc, derive_query_union_branches(copyObject(query), NULL, NULL))
			if (derive_holds_occurrence(lfirst(lc), occurrence))
			return find_steps(lfirst(lc), occurrence, steps);
		return false;
	}
	if (query->hasAggs || query->groupClause != NIL || query->havingQual != NULL || query->groupingSets != NIL ||
		query->cteList != NIL || query->limitCount != NULL || query->limitOffset != NULL ||
		(query->distinctClause != NIL && !query->hasDistinctOn) || (query->hasDistinctOn && query->hasWindowFuncs) ||
		!derive_try_find_place(query, occurrence, &place))
		return false;
	if (is_direct(query, occurrence))
		return place.entry->rtekind == RTE_RELATION || find_steps(place.entry->subquery, occurrence, steps);
	(void) derive_touched_rows(query, &term, 1, &pairs);
	return true;
}

DeriveReach
derive_query_reach(Query *query, int occurrence)
{
	DeriveReach reach = DERIVE_REACH_DIRECT;
	List	   *steps = NIL;
	ListCell   *lc;

	if (!find_steps(query, occurrence, &steps))
		return DERIVE_REACH_NONE;
	foreach(lc, steps)
		reach = Max(reach, ((DeriveStep *) lfirst(lc))->pairs != NIL ? DERIVE_REACH_BY_KEY : DERIVE_REACH_ALL);
	return reach;
}

List *
derive_query_steps(Query *query, int occurrence)
{
	List	   *steps = NIL;

	(void) find_steps(query, occurrence, &steps);
	return steps;
}
