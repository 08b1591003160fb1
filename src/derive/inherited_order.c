/*-------------------------------------------------------------------------
 *
 * inherited_order.c
 *	  The order that rows have from a sub-query in FROM.
 *
 * PostgreSQL evaluates
 *
 *	SELECT array_agg(x) FROM (SELECT x FROM t ORDER BY y) s
 *
 * in the order of the sub-query, and people count on it (see "Aggregate Functions" in its
 * manual), though the order of a table is nothing that SQL knows.  A view keeps rows, not
 * their order.  So what such a query leaves to the executor is written down:
 *
 *	SELECT array_agg(x ORDER BY s.y) FROM (SELECT x, y FROM t ORDER BY y) s
 *
 * The same with LIMIT, ARRAY(SELECT ..) and windows without ORDER BY, as row_number() OVER ().
 * Those keep their frames: where all rows were peers, the frame is all of them still.
 *
 * It is done where FROM is one such sub-query and nothing else, or one that passes on the rows of
 * another, WHERE or not.  What is done with groups is in the order of the input, whatever groups them.
 *
 * Left as they are: functions that tell peers (rank() OVER () is 1 for all) or may do so, and aggregates to
 * which the order is nothing, so that they can be maintained by adding and removing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"

#include "compile/query.h"
#include "derive/aggclass.h"
#include "derive/choice.h"
#include "derive/inherited_order.h"

/* The order of the rows in FROM. */
typedef struct Order
{
	int			varno;
	Query	   *input;
	List	   *clauses;		/* of SortGroupClause *, of the input */
} Order;

static bool find_order(Query *query, Order *order);

/* -------------------------------------------------------------------------
 * Writing it down
 * -------------------------------------------------------------------------
 */

/* Let a sub-query show what it is sorted by. */
static void
show_sorted(RangeTblEntry *rte)
{
	Query	   *query = rte->subquery;
	List	   *shown = NIL;
	List	   *junk = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			shown = lappend(shown, tle);
	}
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			continue;
		if (get_sortgroupref_clause_noerr(tle->ressortgroupref, query->sortClause) == NULL)
		{
			junk = lappend(junk, tle);
			continue;
		}
		tle->resjunk = false;
		tle->resname = psprintf("sorted_%d", list_length(shown) + 1);
		shown = lappend(shown, tle);
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup(tle->resname)));
	}
	query->targetList = list_concat(shown, junk);
	foreach(lc, query->targetList)
		lfirst_node(TargetEntry, lc)->resno = foreach_current_index(lc) + 1;
}

/* ORDER BY for rows that are made of these targets; what they lack is added. */
static List *
sort_clauses(const Order *order, List **targets)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, order->clauses)
	{
		SortGroupClause *clause = copyObject(lfirst_node(SortGroupClause, lc));
		Var		   *var = makeVarFromTargetEntry(order->varno, get_sortgroupclause_tle(clause, order->input->targetList));
		TargetEntry *target = NULL;

		foreach(lc2, *targets)
			if (equal(lfirst_node(TargetEntry, lc2)->expr, var))
			target = lfirst(lc2);
		if (target == NULL)
		{
			target = makeTargetEntry((Expr *) var, list_length(*targets) + 1, NULL, true);
			*targets = lappend(*targets, target);
		}
		clause->tleSortGroupRef = assignSortGroupRef(target, *targets);
		result = lappend(result, clause);
	}
	return result;
}

/* -------------------------------------------------------------------------
 * Where rows have an order
 * -------------------------------------------------------------------------
 */

/* Are the rows of its result those of FROM, one for one, but for some that are left out? */
static bool
passes_rows(Query *query)
{
	return query->setOperations == NULL && query->distinctClause == NIL && !query->hasWindowFuncs &&
		!query->hasTargetSRFs && !derive_query_is_grouped(query);
}

/* Give it the order of its FROM, if it has none of its own; false if neither has. */
static bool
take_order(Query *query)
{
	Order		order;

	if (query->sortClause != NIL)
		return true;
	if (!passes_rows(query) || !find_order(query, &order))
		return false;
	query->sortClause = sort_clauses(&order, &query->targetList);
	return true;
}

static bool
find_order(Query *query, Order *order)
{
	Node	   *from;
	RangeTblEntry *rte;

	if (query->jointree == NULL || list_length(query->jointree->fromlist) != 1)
		return false;
	from = linitial(query->jointree->fromlist);
	if (!IsA(from, RangeTblRef))
		return false;
	order->varno = ((RangeTblRef *) from)->rtindex;
	rte = rt_fetch(order->varno, query->rtable);
	if (rte->rtekind != RTE_SUBQUERY || !take_order(rte->subquery))
		return false;
	show_sorted(rte);
	order->input = rte->subquery;
	order->clauses = rte->subquery->sortClause;
	return true;
}

/* -------------------------------------------------------------------------
 * Where the order matters
 * -------------------------------------------------------------------------
 */

static bool
aggregates_walker(Node *node, const Order *order)
{
	Aggref	   *aggref = (Aggref *) node;

	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, Aggref) && aggref->agglevelsup == 0 && aggref->aggkind == AGGKIND_NORMAL &&
		aggref->aggorder == NIL && aggref->aggdistinct == NIL && aggref->args != NIL &&
		derive_aggregate_class(aggref) == DERIVE_AGG_RECOMPUTE)
		aggref->aggorder = sort_clauses(order, &aggref->args);
	return expression_tree_walker(node, aggregates_walker, unconstify(Order *, order));
}

/* What the functions of a window look at. */
typedef struct WindowUse
{
	Index		winref;
	bool		order;
	bool		peers;
	bool		frame;
} WindowUse;

static const struct
{
	Oid			function;
	bool		frame;
}			without_peers[] =

{
	{F_ROW_NUMBER, false},
	{F_NTILE, false},
	{F_LAG_ANYELEMENT, false},
	{F_LAG_ANYELEMENT_INT4, false},
	{F_LAG_ANYCOMPATIBLE_INT4_ANYCOMPATIBLE, false},
	{F_LEAD_ANYELEMENT, false},
	{F_LEAD_ANYELEMENT_INT4, false},
	{F_LEAD_ANYCOMPATIBLE_INT4_ANYCOMPATIBLE, false},
	{F_FIRST_VALUE, true},
	{F_LAST_VALUE, true},
	{F_NTH_VALUE, true},
};

static void
note_function(WindowUse *use, WindowFunc *function)
{
	if (function->winagg)
	{
		use->frame = true;
		use->order |= derive_window_aggregate_has_order(function);
		return;
	}
	for (int i = 0; i < lengthof(without_peers); i++)
	{
		if (without_peers[i].function == function->winfnoid)
		{
			use->order = true;
			use->frame |= without_peers[i].frame;
			return;
		}
	}
	use->peers = true;
}

static bool
window_walker(Node *node, WindowUse *use)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, WindowFunc) && ((WindowFunc *) node)->winref == use->winref)
		note_function(use, (WindowFunc *) node);
	return expression_tree_walker(node, window_walker, use);
}

#define WHOLE_FRAME (FRAMEOPTION_NONDEFAULT | FRAMEOPTION_ROWS | FRAMEOPTION_BETWEEN | \
					 FRAMEOPTION_START_UNBOUNDED_PRECEDING | FRAMEOPTION_END_UNBOUNDED_FOLLOWING)

static void
order_window(Query *query, WindowClause *window, const Order *order)
{
	WindowUse	use = {.winref = window->winref};
	bool		rows = (window->frameOptions & FRAMEOPTION_ROWS) != 0;

	(void) window_walker((Node *) query->targetList, &use);
	if (window->orderClause != NIL || use.peers || (window->frameOptions & FRAMEOPTION_EXCLUSION) != 0 ||
		!(use.order || (rows && use.frame)))
		return;
	if (use.frame && !rows)
	{
		if ((window->frameOptions & FRAMEOPTION_NONDEFAULT) != 0)
			return;
		window->frameOptions = WHOLE_FRAME;
	}
	window->orderClause = sort_clauses(order, &query->targetList);
}

static bool
inherit_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		derive_query_inherit_order((Query *) node);
		return false;
	}
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == ARRAY_SUBLINK)
		(void) take_order((Query *) ((SubLink *) node)->subselect);
	return expression_tree_walker(node, inherit_walker, context);
}

/* Do all windows take rows as they come, and so does what is done with their results? */
static bool
windows_pass_order(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (window->partitionClause != NIL || window->orderClause != NIL)
			return false;
	}
	return query->sortClause == NIL && query->distinctClause == NIL && !derive_query_is_grouped(query);
}

void
derive_query_inherit_order(Query *query)
{
	Order		order;
	ListCell   *lc;

	(void) query_tree_walker(query, inherit_walker, NULL, 0);
	if (query->limitCount != NULL || query->limitOffset != NULL)
		(void) take_order(query);
	if (query->setOperations != NULL || !(query->hasAggs || query->hasWindowFuncs) || !find_order(query, &order))
		return;
	if ((query->limitCount != NULL || query->limitOffset != NULL) && windows_pass_order(query))
		query->sortClause = sort_clauses(&order, &query->targetList);
	(void) aggregates_walker((Node *) query->targetList, &order);
	(void) aggregates_walker(query->havingQual, &order);
	foreach(lc, derive_query_is_grouped(query) ? NIL : query->windowClause)
		order_window(query, lfirst_node(WindowClause, lc), &order);
}
