/*-------------------------------------------------------------------------
 *
 * verdict.c
 *	  Which parts of a query have no incremental operator.
 *
 * Everything that is a function of the rows that the log tells about is
 * maintained (check.c refuses the rest).  Most blocks are by what changed in
 * their input; a block that does one of the things below is evaluated anew, as
 * a whole, when anything that it reads has changed, and its table is made equal
 * by difference.  Who declares such a view is told, in these words.
 *
 * The table is the one place that decides.  A construct that gets an operator
 * leaves it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"

#include "compile/derivative.h"
#include "compile/limit.h"
#include "compile/query.h"
#include "compile/running.h"
#include "compile/verdict.h"

/* -------------------------------------------------------------------------
 * Questions
 * -------------------------------------------------------------------------
 */

static bool
recursive(Query *query)
{
	return query->cteList != NIL;
}

static bool
limits_by_expression(Query *query)
{
	DeriveLimit limit;

	return derive_query_limit(query, &limit) == DERIVE_LIMIT_UNKNOWN;
}

static bool
leaves_out_rows(Query *query)
{
	DeriveLimit limit;

	return derive_query_limit(query, &limit) == DERIVE_LIMIT_UNBOUNDED;
}

static bool
limits_to_many(Query *query)
{
	DeriveLimit limit;

	return derive_query_limit(query, &limit) == DERIVE_LIMIT_CONSTANT &&
		(limit.offset > DERIVE_LIMIT_MOST || limit.count > DERIVE_LIMIT_MOST - limit.offset);
}

/*
 * Is there a window that has all rows, and do rows not follow from those before?  Windows with PARTITION BY have
 * some of it in common (stages.c).
 */
static bool
has_one_window(Query *query)
{
	return query->hasWindowFuncs && derive_partition_clauses(query) == NIL && !derive_query_is_running(query);
}

/* Does it take rows of other relations to know how far the frame of a window reaches? */
static bool
frames_by_subquery(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (derive_sublinks_read_relations(window->startOffset) || derive_sublinks_read_relations(window->endOffset))
			return true;
	}
	return false;
}

static bool
groups_by_sets(Query *query)
{
	return query->groupingSets != NIL;
}

/* -------------------------------------------------------------------------
 * Places
 *
 * Where the construct stands in a block as it was written; NULL: not there.
 * -------------------------------------------------------------------------
 */

static Node *
place_of_recursion(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		if (lfirst_node(CommonTableExpr, lc)->cterecursive)
			return lfirst(lc);
	}
	return NULL;
}

static Node *
place_of_limit(Query *query)
{
	return query->limitCount != NULL ? query->limitCount : query->limitOffset;
}

typedef struct WindowPlace
{
	List	   *windows;
	Node	   *function;
} WindowPlace;

static bool
window_place_walker(Node *node, WindowPlace *place)
{
	if (node == NULL)
		return false;
	if (IsA(node, WindowFunc) &&
		list_nth_node(WindowClause, place->windows, ((WindowFunc *) node)->winref - 1)->partitionClause == NIL)
	{
		place->function = node;
		return true;
	}
	return expression_tree_walker(node, window_place_walker, place);
}

static Node *
place_of_window(Query *query)
{
	WindowPlace place = {query->windowClause, NULL};

	(void) window_place_walker((Node *) query->targetList, &place);
	return place.function;
}

static Node *
place_of_frame(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (derive_sublinks_read_relations(window->startOffset))
			return window->startOffset;
		if (derive_sublinks_read_relations(window->endOffset))
			return window->endOffset;
	}
	return NULL;
}

static Node *
place_of_sets(Query *query)
{
	return query->groupingSets != NIL ? linitial(query->groupingSets) : NULL;
}

/* -------------------------------------------------------------------------
 * The table
 * -------------------------------------------------------------------------
 */

static const struct
{
	bool		(*present) (Query *query);
	Node	   *(*place) (Query *query);	/* or NULL */
	DeriveVerdict verdict;
}			constructs[] =

{
	{recursive, place_of_recursion, {"WITH RECURSIVE",
			"A row may follow from others over any number of steps.",
	"Let it read itself in FROM, without SEARCH, CYCLE and windows; then it is maintained step by step."}},
	{limits_by_expression, place_of_limit, {"LIMIT or OFFSET by an expression",
			"How many rows there will be cannot be known before.",
	"Write a number; then the first rows are kept."}},
	{leaves_out_rows, place_of_limit, {"OFFSET without LIMIT",
			"Which rows are left out depends on all the others.",
	"Leave it out and apply it when reading the view; an index on the view makes that fast."}},
	{limits_to_many, place_of_limit, {"LIMIT and OFFSET of more than " CppAsString2(DERIVE_LIMIT_MOST) " rows",
			"So many rows would be read again with every change among them.",
	"Leave it out and apply it when reading the view; an index on the view makes that fast."}},
	{has_one_window, place_of_window, {"a window function over all rows",
			"Each row may count for all the others.",
	"Add PARTITION BY; or ORDER BY, and no frames that reach to the end."}},
	{frames_by_subquery, place_of_frame, {"a sub-query in the frame of a window function",
			"Its rows may count for all partitions.",
	"Leave frames that are constant to the view, and apply the others when reading it."}},
	{groups_by_sets, place_of_sets, {"GROUPING SETS, ROLLUP or CUBE over a constant",
			"PostgreSQL shows the constant as NULL in some places, and as what it is in others.",
	"Leave the constant out of GROUP BY."}},
	{derive_query_has_other_setop, NULL, {"INTERSECT or EXCEPT",
	"No operator maintains it yet.", NULL}},
};

const DeriveVerdict derive_verdict_without_terms = {
	"a sub-query whose changes cannot be followed",
	"Where it stands, there is no telling which rows a change of it concerns.",
	"Put it in FROM, or in the select list of a sub-query there."
};

const DeriveVerdict *
derive_query_verdict(Query *query)
{
	for (int i = 0; i < lengthof(constructs); i++)
		if (constructs[i].present(query))
			return &constructs[i].verdict;
	return NULL;
}

typedef struct PlaceContext
{
	Node	   *(*place) (Query *query);
	int			location;
} PlaceContext;

static bool
place_walker(Node *node, PlaceContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = castNode(Query, node);
		Node	   *found = context->place(query);

		if (found != NULL)
			context->location = exprLocation(found);
		return context->location >= 0 || query_tree_walker(query, place_walker, context, 0);
	}
	return expression_tree_walker(node, place_walker, context);
}

int
derive_verdict_location(const DeriveVerdict *verdict, Query *query)
{
	for (int i = 0; i < lengthof(constructs); i++)
	{
		PlaceContext context = {constructs[i].place, -1};

		if (&constructs[i].verdict == verdict && constructs[i].place != NULL)
			(void) place_walker((Node *) query, &context);
		if (&constructs[i].verdict == verdict)
			return context.location;
	}
	return -1;
}
