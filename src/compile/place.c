/*-------------------------------------------------------------------------
 *
 * place.c
 *	  Where in a query a relation stands that changes.
 *
 * The place says in what way rows of the query depend on those of the relation; see
 * derivative.c, which it is for.
 *
 *		FROM a JOIN b ON ..			a, b direct
 *		FROM a LEFT JOIN b ON ..	a direct, b nullable
 *		WHERE EXISTS (.. c ..)		c in an expression
 *		FROM a, LATERAL (SELECT count(*) FROM d WHERE d.x = a.x)
 *									d lateral
 *
 * Of several of these inside of each other the outermost counts: derivatives go on to
 * the inner ones by themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

#include "compile/derivative_internal.h"
#include "compile/query.h"

bool
derive_place_is_partitioned(Query *query)
{
	return query->hasWindowFuncs || query->hasDistinctOn;
}

/*
 * Has a sub-query in FROM a term that is no more work than it must be?  One that evaluates
 * partitions has, but in LATERAL only those of some outer rows count.
 */
static bool
stands_for_itself(Query *subquery)
{
	return derive_query_is_linear(subquery) ||
		(derive_place_is_partitioned(subquery) && !derive_query_refers_outside(subquery));
}

static bool
find_in_condition(Node *quals, int occurrence, Place *place)
{
	ListCell   *lc;

	/* conditions are no guards of each other: their order is the planner's */
	foreach(lc, make_ands_implicit((Expr *) quals))
	{
		place->sublink = derive_find_sublink(lfirst(lc), occurrence, &place->guards);
		if (place->sublink == NULL)
			continue;
		place->kind = PLACE_EXPRESSION;
		place->must_hold = lfirst(lc) == place->sublink;
		return true;
	}
	return false;
}

static bool
find_in_from(Query *query, Node *node, int occurrence, Place *place)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);

		if (!derive_holds_occurrence((Node *) rte, occurrence))
			return false;
		place->entry = rte;
		place->kind = PLACE_DIRECT;
		if (rte->rtekind == RTE_SUBQUERY && !stands_for_itself(rte->subquery))
			place->kind = PLACE_LATERAL;
		else if (rte->rtekind != RTE_RELATION && rte->rtekind != RTE_SUBQUERY)
		{
			/* a function, or VALUES */
			place->kind = PLACE_EXPRESSION;
			place->sublink = derive_find_sublink_of_entry(rte, occurrence);
		}
		return true;
	}
	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			if (find_in_from(query, lfirst(lc), occurrence, place))
			return true;
		return find_in_condition(((FromExpr *) node)->quals, occurrence, place);
	}
	else
	{
		JoinExpr   *join = castNode(JoinExpr, node);

		if (find_in_from(query, join->larg, occurrence, place))
			return true;
		if (join->jointype == JOIN_INNER)
			return find_in_from(query, join->rarg, occurrence, place) ||
				find_in_condition(join->quals, occurrence, place);
		Assert(join->jointype == JOIN_LEFT);
		if (!find_in_from(query, join->rarg, occurrence, place) &&
			derive_find_sublink(join->quals, occurrence, &place->guards) == NULL)
			return false;
		place->kind = PLACE_NULLABLE;
		place->guards = NIL;
		place->join = join;
		return true;
	}
}

/* False if it is nowhere that we know of: WITH, a window's frame. */
bool
derive_try_find_place(Query *query, int occurrence, Place *place)
{
	Node	   *const expressions[] = {(Node *) query->targetList, query->havingQual,
	query->limitCount, query->limitOffset};

	Assert(query->setOperations == NULL);
	memset(place, 0, sizeof(Place));
	if (find_in_from(query, (Node *) query->jointree, occurrence, place))
		return place->kind != PLACE_EXPRESSION || place->sublink != NULL;
	place->kind = PLACE_EXPRESSION;
	for (int i = 0; i < lengthof(expressions) && place->sublink == NULL; i++)
		place->sublink = derive_find_sublink(expressions[i], occurrence, &place->guards);
	return place->sublink != NULL;
}

Place
derive_find_place(Query *query, int occurrence)
{
	Place		place;

	if (!derive_try_find_place(query, occurrence, &place))
		elog(ERROR, "an occurrence of a relation was not found");
	return place;
}

List *
derive_find_guards(Query *query, int occurrence)
{
	return derive_place_is_partitioned(query) ? NIL : derive_find_place(query, occurrence).guards;
}
