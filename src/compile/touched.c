/*-------------------------------------------------------------------------
 *
 * touched.c
 *	  Which outer rows a change of one relation may concern.
 *
 * See derivative.c for what it is for.  Here the part of a query in which the relation has
 * its say is made a query of its own, one level below, and what it has in common with
 * the outer row is taken out of it:
 *
 *	SELECT .. FROM f WHERE EXISTS (SELECT FROM g JOIN h ON h.id = g.h WHERE g.x = f.x AND g.y < f.y)
 *
 *	change of h:	rows of the part	SELECT FROM g JOIN delta_h ON h.id = g.h
 *					keys				f.x = g.x
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
#include "utils/typcache.h"

#include "base/compat.h"
#include "compile/carve.h"
#include "compile/derivative_internal.h"
#include "compile/query.h"

/* -------------------------------------------------------------------------
 * The rows of a part
 * -------------------------------------------------------------------------
 */

static Query *
add_target(Query *query, Expr *expr)
{
	AttrNumber	resno = list_length(query->targetList) + 1;

	query->targetList = lappend(query->targetList, makeTargetEntry(expr, resno, psprintf("c%d", resno), false));
	return query;
}

static bool
upper_aggregate_walker(Node *node, int *depth)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref) && (int) ((Aggref *) node)->agglevelsup == *depth)
		return true;
	if (IsA(node, GroupingFunc) && (int) ((GroupingFunc *) node)->agglevelsup == *depth)
		return true;
	if (IsA(node, WindowFunc) && *depth == 0)
		return true;
	if (IsA(node, Query))
	{
		bool		result;

		(*depth)++;
		result = query_tree_walker((Query *) node, upper_aggregate_walker, depth, 0);
		(*depth)--;
		return result;
	}
	return expression_tree_walker(node, upper_aggregate_walker, depth);
}

/* Does an expression use aggregates or window functions of its own level? */
static bool
uses_groups(Node *node)
{
	int			depth = 0;

	return upper_aggregate_walker(node, &depth);
}

typedef struct FindEntryContext
{
	int			occurrence;
	RangeTblEntry *found;
} FindEntryContext;

static bool
find_entry_walker(Node *node, FindEntryContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		if (derive_occurrence_of((RangeTblEntry *) node) != context->occurrence)
			return false;
		context->found = (RangeTblEntry *) node;
		return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_entry_walker, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_entry_walker, context);
}

/* "SELECT FROM the relation": what has changed at all. */
static Query *
any_change(Query *query, int occurrence)
{
	FindEntryContext context = {occurrence, NULL};
	Query	   *part = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);

	(void) find_entry_walker((Node *) query, &context);
	ref->rtindex = 1;
	part->commandType = CMD_SELECT;
	part->canSetTag = true;
	part->rtable = list_make1(copyObject(context.found));
	part->jointree = makeFromExpr(list_make1(ref), NULL);
	derive_compat_strip_permissions(part);
	return part;
}

/*
 * The rows that a sub-query makes its result of: its FROM and WHERE, and nothing of what
 * it does with them.  If the occurrence is in a sublink of another clause, the target list
 * has that, behind its guards as far as these are no functions of all rows.
 */
static Query *
rows_of(Query *subquery, int occurrence)
{
	Query	   *part;
	Place		place;

	if (subquery->cteList != NIL)
		return any_change(subquery, occurrence);	/* its FROM is not all
													 * that it reads */
	if (subquery->setOperations != NULL)
	{
		Bitmapset  *used = derive_query_used(subquery);
		int			i = -1;

		while ((i = bms_next_member(used, i)) >= 0)
		{
			RangeTblEntry *rte = rt_fetch(i, subquery->rtable);

			if (!derive_holds_occurrence((Node *) rte, occurrence))
				continue;
			part = copyObject(rte->subquery);
			IncrementVarSublevelsUp((Node *) part, -1, 1);
			return rows_of(part, occurrence);
		}
	}
	if (subquery->setOperations != NULL || !derive_try_find_place(subquery, occurrence, &place))
		return any_change(subquery, occurrence);

	part = makeNode(Query);
	part->commandType = CMD_SELECT;
	part->canSetTag = true;
	part->hasSubLinks = subquery->hasSubLinks;
	part->rtable = copyObject(subquery->rtable);
	part->jointree = copyObject(subquery->jointree);
	derive_compat_strip_permissions(part);
	if (!derive_holds_occurrence((Node *) part, occurrence))
	{
		SubLink    *sublink = copyObject(place.sublink);
		Expr	   *guarded;

		/*
		 * what it compares its rows with may be a window function, or an
		 * aggregate, which the part has not; it is the rows that change
		 */
		if (uses_groups(sublink->testexpr))
		{
			sublink->subLinkType = EXISTS_SUBLINK;
			sublink->testexpr = NULL;
			sublink->operName = NIL;
		}
		if (uses_groups((Node *) sublink))
			return any_change(subquery, occurrence);
		guarded = derive_keep_guards(place.guards, (Expr *) sublink);
		add_target(part, uses_groups((Node *) guarded) ? (Expr *) sublink : guarded);
	}
	return part;
}

/* -------------------------------------------------------------------------
 * Keys that a part has in common with the outer row
 * -------------------------------------------------------------------------
 */

/*
 * Equality that agrees with DISTINCT about what is one value: the default one of the
 * inner type, or its sister for another outer type, under the same collation.
 */
static bool
is_key_equality(OpExpr *op, Expr *inner)
{
	TypeCacheEntry *entry = lookup_type_cache(exprType((Node *) inner), TYPECACHE_BTREE_OPFAMILY | TYPECACHE_EQ_OPR);
	Oid			opfamily = entry->btree_opf;

	return OidIsValid(opfamily) && OidIsValid(entry->eq_opr) &&
		get_op_opfamily_strategy(op->opno, opfamily) == BTEqualStrategyNumber &&
		(!OidIsValid(exprCollation((Node *) inner)) || op->inputcollid == exprCollation((Node *) inner));
}

static bool
contain_vars_of_levels(Node *node, int first, int last)
{
	for (int level = first; level <= last; level++)
		if (contain_vars_of_level(node, level))
			return true;
	return false;
}

/* What a part has of the outer row, as an expression there. */
static Expr *
outer_expression(Node *expr)
{
	Node	   *result = copyObject(expr);

	IncrementVarSublevelsUp(result, -1, 1);
	return (Expr *) result;
}

/* Is this "an expression of the outer row = an expression of the part", and neither refers to what is around these? */
static DeriveKeyPair *
key_pair(Node *condition, int depth)
{
	OpExpr	   *op = (OpExpr *) condition;

	if (!IsA(op, OpExpr) || list_length(op->args) != 2 || checkExprHasSubLink(condition))
		return NULL;
	for (int side = 0; side < 2; side++)
	{
		Node	   *outer = list_nth(op->args, side);
		Node	   *inner = list_nth(op->args, 1 - side);
		DeriveKeyPair *pair;

		if (contain_vars_of_level(outer, 0) || !contain_vars_of_level(outer, 1) ||
			contain_vars_of_levels(outer, 2, depth) ||
			!contain_vars_of_level(inner, 0) || contain_vars_of_levels(inner, 1, depth) ||
			uses_groups(inner) || !is_key_equality(op, (Expr *) inner))
			continue;
		pair = palloc0(sizeof(DeriveKeyPair));
		pair->outer = outer_expression(outer);
		pair->inner = (Expr *) inner;
		pair->condition = op;
		pair->outer_first = side == 0;
		return pair;
	}
	return NULL;
}

/* Is a condition of the part one on the outer row alone? */
static bool
is_of_outer_row(Node *condition, int depth)
{
	return !contain_vars_of_level(condition, 0) && !contain_vars_of_levels(condition, 2, depth) &&
		!checkExprHasSubLink(condition);
}

static bool
refers_to_levels(Query *query, int depth)
{
	for (int level = 1; level <= depth; level++)
		if (derive_query_refers_to_level(query, level))
			return true;
	return false;
}

/*
 * Take the equalities with the outer row out of a part, and with them what else there is
 * of conditions on both, and on rows around the outer one (depth: as far as that many
 * levels up); NIL, and nothing changed, if it would still not stand for itself.
 *
 *	f WHERE EXISTS (SELECT FROM g WHERE g.x = f.x AND g.y < f.y AND g.z > 0)
 *
 *	kept		g.z > 0			it says nothing of f
 *	key			g.x = f.x
 *	left out	g.y < f.y		what is left are rows of more outer rows, never of fewer
 *
 *		changes of g (x, y, z)		(1, 5, 1), (1, 9, 1), (2, 5, 0)
 *		rows, keys					(1, 5, 1), (1, 9, 1)			1
 *		f (x, y)					(1, 6), (1, 3): evaluated again, the latter in vain; (2, 6): not
 *
 * No matter what a row of g is NULL in: "=" is not true then, for any outer row.
 *
 * The outer row's side of a key is evaluated for rows that the part may never have been evaluated
 * for, so it keeps its guards: those of the part, and conditions before it on the outer row alone. Of
 * several keys those are left out of which the part's side may fail, as the others may have kept it
 * from that:
 *
 *	f WHERE EXISTS (SELECT FROM g WHERE g.kind = f.kind AND g.v::int = f.x)		key	g.kind = f.kind
 */
static List *
take_keys(Query *part, int depth, List *guards)
{
	Node	   *quals = part->jointree->quals;
	List	   *pairs = NIL;
	List	   *sure = NIL;
	List	   *remaining = NIL;
	ListCell   *lc;

	foreach(lc, derive_conditions_of(quals))
	{
		DeriveKeyPair *pair = key_pair(lfirst(lc), depth);
		Query		probe = {.type = T_Query,.jointree = makeFromExpr(NIL, lfirst(lc))};

		if (pair != NULL)
		{
			if (derive_may_fail((Node *) pair->outer))
				pair->outer = derive_keep_guards(guards, pair->outer);
			pairs = lappend(pairs, pair);
			if (!derive_may_fail((Node *) pair->inner))
				sure = lappend(sure, pair);
		}
		else if (!refers_to_levels(&probe, depth))
			remaining = lappend(remaining, lfirst(lc));
		else if (is_of_outer_row(lfirst(lc), depth))
			guards = derive_guards_by_condition(guards, outer_expression(lfirst(lc)));
	}
	if (pairs == NIL)
		return NIL;
	part->jointree->quals = derive_all_of(remaining);
	if (refers_to_levels(part, depth))
	{
		part->jointree->quals = quals;
		return NIL;
	}
	return sure != NIL ? sure : pairs;
}

/* -------------------------------------------------------------------------
 * What a sub-query is compared with
 * -------------------------------------------------------------------------
 */

static bool
is_usable_output(Node *output)
{
	return !uses_groups(output) && !expression_returns_set(output);
}

/* "x = y" for "NOT (x <> y)" where the two cannot be NULL; NULL if they can. */
static Node *
condition_without_nulls(Node *condition, bool negated, Query *query, Query *part)
{
	OpExpr	   *op = (OpExpr *) condition;

	if (!IsA(op, OpExpr) || list_length(op->args) != 2)
		return NULL;
	for (int side = 0; side < 2; side++)
		if (!derive_column_is_not_null(query, list_nth(op->args, side), 1) && !derive_column_is_not_null(part, list_nth(op->args, side), 0))
			return NULL;
	if (!negated)
		return condition;
	if (!OidIsValid(get_negator(op->opno)))
		return NULL;
	op = copyObject(op);
	op->opno = get_negator(op->opno);
	op->opfuncid = InvalidOid;
	set_opfuncid(op);
	return (Node *) op;
}

/*
 * A row of the sub-query can only matter to outer rows that it compares with: "x op y" is
 * not false, or for ALL not true; where the whole is a condition, it is true.
 */
static void
add_comparison(Query *query, Query *part, Place *place)
{
	SubLink    *sublink = place->sublink;
	Query	   *subquery = (Query *) sublink->subselect;
	Node	   *test;
	Node	   *plain;

	if (sublink->testexpr == NULL || (sublink->subLinkType != ANY_SUBLINK && sublink->subLinkType != ALL_SUBLINK))
		return;
	if (subquery->setOperations != NULL || subquery->hasWindowFuncs || subquery->hasDistinctOn ||
		subquery->limitCount != NULL || subquery->limitOffset != NULL || subquery->cteList != NIL ||
		subquery->groupingSets != NIL || part->targetList != NIL || (subquery->hasAggs && subquery->groupClause == NIL))
		return;
	test = copyObject(sublink->testexpr);
	IncrementVarSublevelsUp(test, 1, 0);
	test = derive_query_put_outputs(test, subquery, is_usable_output);
	if (test == NULL)
		return;
	plain = condition_without_nulls(test, sublink->subLinkType == ALL_SUBLINK, query, part);
	if (plain != NULL)
		test = plain;
	else if (sublink->subLinkType == ALL_SUBLINK || !place->must_hold)
	{
		BooleanTest *booltest = makeNode(BooleanTest);

		booltest->arg = (Expr *) test;
		booltest->booltesttype = sublink->subLinkType == ALL_SUBLINK ? IS_NOT_TRUE : IS_NOT_FALSE;
		booltest->location = -1;
		test = (Node *) booltest;
	}
	part->hasSubLinks |= checkExprHasSubLink(test);
	part->jointree->quals = derive_all_of(list_concat(derive_conditions_of(part->jointree->quals), derive_conditions_of(test)));
}

/* -------------------------------------------------------------------------
 * Partitions
 * -------------------------------------------------------------------------
 */

/* The expressions by which all window functions of the query partition, or DISTINCT ON. */
List *
derive_partition_clauses(Query *query)
{
	List	   *clauses = NIL;
	ListCell   *lc,
			   *lc2;

	if (query->hasDistinctOn)
		clauses = query->distinctClause;
	foreach(lc, query->windowClause)
	{
		List	   *common = NIL;
		List	   *partition = lfirst_node(WindowClause, lc)->partitionClause;

		if (foreach_current_index(lc) == 0 && !query->hasDistinctOn)
		{
			clauses = partition;
			continue;
		}
		foreach(lc2, clauses)
		{
			Node	   *expr = get_sortgroupclause_expr(lfirst(lc2), query->targetList);
			ListCell   *lc3;

			foreach(lc3, partition)
				if (equal(expr, get_sortgroupclause_expr(lfirst(lc3), query->targetList)))
			{
				common = lappend(common, lfirst(lc2));
				break;
			}
		}
		clauses = common;
	}
	return clauses;
}

/* The part that is the query's own rows, with the partition's keys; see the head of the file. */
static Query *
partition_rows(Query *query, int occurrence, List **pairs)
{
	Query	   *part = rows_of(query, occurrence);
	List	   *extra = part->targetList;
	ListCell   *lc;

	*pairs = NIL;
	part->targetList = NIL;
	IncrementVarSublevelsUp((Node *) part, 1, 1);
	foreach(lc, derive_partition_clauses(query))
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		DeriveKeyPair *pair = palloc0(sizeof(DeriveKeyPair));

		pair->outer = copyObject((Expr *) get_sortgroupclause_expr(clause, query->targetList));
		pair->inner = copyObject(pair->outer);
		pair->condition = (OpExpr *) make_opclause(clause->eqop, BOOLOID, false, pair->outer, pair->inner,
												   InvalidOid, exprCollation((Node *) pair->outer));
		set_opfuncid(pair->condition);
		pair->outer_first = true;
		pair->nulls_too = !derive_column_is_not_null(query, (Node *) pair->outer, 0);
		*pairs = lappend(*pairs, pair);
		add_target(part, pair->inner);
		pair->column = list_length(part->targetList);
	}
	foreach(lc, extra)
		add_target(part, lfirst_node(TargetEntry, lc)->expr);
	return part;
}

/* -------------------------------------------------------------------------
 * Parts
 * -------------------------------------------------------------------------
 */

/* Which rows are touched has been decided, for both evaluations. */
static Query *
forget(Query *rows, int occurrence)
{
	Bitmapset  *changed = bms_make_singleton(occurrence);

	derive_occurrences_forget((Node *) rows, changed);
	bms_free(changed);
	return rows;
}

/* Leave out the conditions that hold the occurrence. */
static void
drop_conditions(Node *node, int occurrence)
{
	Node	  **quals;
	List	   *remaining = NIL;
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return;
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			drop_conditions(lfirst(lc), occurrence);
		quals = &((FromExpr *) node)->quals;
	}
	else
	{
		drop_conditions(((JoinExpr *) node)->larg, occurrence);
		drop_conditions(((JoinExpr *) node)->rarg, occurrence);
		quals = &((JoinExpr *) node)->quals;
	}
	foreach(lc, derive_conditions_of(*quals))
	{
		if (!derive_holds_occurrence(lfirst(lc), occurrence))
			remaining = lappend(remaining, lfirst(lc));
	}
	*quals = derive_all_of(remaining);
}

static bool
is_in_expression(Query *query, int occurrence)
{
	return !derive_place_is_partitioned(query) && derive_find_place(query, occurrence).kind == PLACE_EXPRESSION;
}

/*
 * Where the occurrence is in an expression of the part, in turn, rows of the part are
 * concerned whatever becomes of that expression.  So they need not be evaluated twice,
 * and the expression is left out, with which goes what it says of the outer row.
 *
 *	f WHERE EXISTS (SELECT FROM g WHERE g.x = f.x AND EXISTS (SELECT FROM h WHERE h.y = g.y))
 *
 *	change of h:	rows of h		y = 7		(derive_touched_rows() of the part)
 *					rows of g		(x = 1, y = 7), (x = 2, y = 7)
 *					keys			f.x = 1, 2
 *
 * An expression that has to do with the outer row alone (h.y = f.y) stands for itself: it tells
 * more of that row than rows of the part do, of which any may be concerned.
 */
static Query *
touch_part(Query *part, const DeriveTerm *term, int depth)
{
	Place		place = derive_find_place(part, term->occurrence);
	List	   *pairs;
	Query	   *rows = derive_touched_rows(part, term, depth + 1, &pairs);
	SubLink    *sublink = copyObject(place.sublink);

	if (pairs == NIL && !derive_query_refers_to_level(rows, 1))
	{
		Query	   *instead = copyObject(rows);

		IncrementVarSublevelsUp((Node *) instead, -1, 2);
		if (take_keys(copyObject(instead), depth, NIL) != NIL)
		{
			if (term->steps != NULL)
				*term->steps = list_delete_last(*term->steps);
			return instead;
		}
	}
	part = copyObject(part);
	drop_conditions((Node *) part->jointree, term->occurrence);
	part->targetList = NIL;
	if (derive_holds_occurrence((Node *) part, term->occurrence))
		return any_change((Query *) sublink->subselect, term->occurrence);	/* a function of FROM
																			 * has it */
	return linitial_node(Query, derive_restrict_query(part, rows, pairs, place.guards));
}

/* What is to be noted of a part, before it becomes a term; NULL if nothing is. */
static DeriveStep *
make_step(Query *query, Query *part, List *pairs, const DeriveTerm *term)
{
	DeriveStep *step;

	if (term->steps == NULL)
		return NULL;
	step = palloc0(sizeof(DeriveStep));
	step->query = copyObject(query);
	step->part = copyObject(part);
	step->pairs = pairs;
	step->partitions = derive_place_is_partitioned(query);
	return step;
}

static Query *
finish_part(Query *part, const DeriveTerm *term, DeriveStep *step)
{
	if (derive_holds_occurrence((Node *) part, term->occurrence))
		part = derive_term_of(part, term);
	if (step != NULL)
		*term->steps = lappend(*term->steps, step);
	return forget(part, term->occurrence);
}

/*
 * Instead of a part, the rows of the sub-query in its FROM that has the occurrence: where
 * it is this that refers to the outer row, as in LEFT JOIN LATERAL.  If none of its rows has
 * changed as seen from an outer row, the part has not.  NULL if there is no such sub-query,
 * or if it refers to other rows of the part as well.
 */
static Query *
rows_below(Query *part, int occurrence)
{
	Place		place;
	Query	   *rows;

	if (!derive_try_find_place(part, occurrence, &place) ||
		place.entry == NULL || place.entry->rtekind != RTE_SUBQUERY)
		return NULL;
	rows = rows_of(place.entry->subquery, occurrence);
	if (derive_query_refers_to_level(rows, 1))
		return NULL;
	IncrementVarSublevelsUp((Node *) rows, -1, 2);
	return rows;
}

/* Take keys out of a part, or of what is below it, which is then returned in its place; NIL if that cannot be. */
static Query *
take_keys_of_part(Query *part, const DeriveTerm *term, int depth, List *guards, List **pairs)
{
	Query	   *whole = NULL;
	int			nsteps = term->steps ? list_length(*term->steps) : 0;

	for (Query *rows = part; rows != NULL; rows = rows_below(rows, term->occurrence))
	{
		part = is_in_expression(rows, term->occurrence) ? touch_part(rows, term, depth) : rows;
		*pairs = take_keys(part, depth, guards);
		if (*pairs != NIL)
			return part;
		if (whole == NULL)
			whole = part;
		if (term->steps != NULL)
			*term->steps = list_truncate(*term->steps, nsteps);
	}
	return whole;
}

/*
 * The rows of the part of a query in which an occurrence has its say, of those that may
 * have changed; with keys, or without and correlated.
 */
Query *
derive_touched_rows(Query *query, const DeriveTerm *term, int depth, List **pairs)
{
	int			occurrence = term->occurrence;
	Place		place = derive_find_place(query, occurrence);
	Query	   *part = NULL;
	DeriveStep *step;
	List	   *extra;
	ListCell   *lc;

	if (derive_place_is_partitioned(query))
	{
		part = partition_rows(query, occurrence, pairs);
		return finish_part(part, term, make_step(query, part, *pairs, term));
	}
	switch (place.kind)
	{
		case PLACE_DIRECT:
			Assert(false);
			break;
		case PLACE_LATERAL:
			part = rows_of(place.entry->subquery, occurrence);
			break;
		case PLACE_NULLABLE:
			part = derive_query_carve(query, derive_from_members(place.join->rarg), place.join->rarg, place.join->quals);
			break;
		case PLACE_EXPRESSION:
			part = rows_of((Query *) place.sublink->subselect, occurrence);
			add_comparison(query, part, &place);
			break;
	}
	part = take_keys_of_part(part, term, depth, place.guards, pairs);
	step = make_step(query, part, *pairs, term);
	extra = part->targetList;
	part->targetList = NIL;
	foreach(lc, *pairs)
	{
		DeriveKeyPair *pair = lfirst(lc);

		add_target(part, copyObject(pair->inner));
		pair->column = list_length(part->targetList);
	}
	foreach(lc, extra)
		add_target(part, lfirst_node(TargetEntry, lc)->expr);
	if (part->targetList == NIL)
		part->targetList = derive_query_one_target();
	return finish_part(part, term, step);
}
