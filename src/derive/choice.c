/*-------------------------------------------------------------------------
 *
 * choice.c
 *	  Of the right answers that a query may have, one.
 *
 * SQL leaves some things open, and the executor decides them by chance, that
 * is, by the plan.  A view that is maintained and a query that it is compared
 * with must decide them in the same way:
 *
 *	array_agg(t ORDER BY o)		the order of rows with the same o
 *	array_agg(t)				the order of all rows
 *	max(n)						1.0 or 1.00, where both are there
 *	GROUP BY n, DISTINCT, UNION	which of them the group shows
 *	SELECT id, v .. GROUP BY id which v, where id is the primary key of a table
 *								whose children repeat it
 *	LIMIT, OFFSET, DISTINCT ON	which of several rows that are ties in ORDER BY
 *	ARRAY(SELECT ..)			the order of such rows
 *	row_number() OVER ..		which of several ties comes first
 *
 * What all types have is an order of their images (base/rowhash.h).  So
 *
 *	- the input of an aggregate is sorted, after what it asks for, by all of its
 *	  arguments: first by the order of their type, then, where equal values may
 *	  differ, by their images.  Rows that are the same in all of that are the
 *	  same to the aggregate, in whatever order they come;
 *	- of equal extrema the one with the least image is taken;
 *	- rows that ORDER BY leaves in any order, or that have none, are sorted likewise
 *	  by all columns of the select list.  A window gets its rows so from a
 *	  sub-query, as its own ORDER BY says which rows are peers;
 *	- a group shows the row whose grouping columns, and columns that depend on
 *	  them, have the least images.  All of them from one row: a group never
 *	  shows a combination that does not occur.
 *
 *		n (numeric)		v
 *		1.00			7
 *		1.0				9		SELECT n, v FROM .. GROUP BY .. shows "1.0, 9"
 *		1.0				8		or "1.0, 8", by their images, never "1.0, 7"
 *
 * A program keeps to this by its own means while it adds and subtracts
 * (agggroups.c, aggstate.c).  For the executor it is written down here as an
 * aggregate, derive_state.first(x ORDER BY ..), which replaces the others.
 *
 * So each query here does one thing (compile/stages.c).
 *
 * Left as they are: sub-queries that read no table, such as "SELECT array_agg(x)
 * FROM unnest(t.a) x".  They are functions of a row, evaluated by the executor
 * alone, and people count on the order that FROM has there.
 *
 * Not decided: which of several equal values an aggregate with DISTINCT is
 * given, and which of them percentile_disc() or mode() return; the executor
 * sorts their input in its own way.  Their results are compared as values are,
 * by "=", so that it makes no difference; where there is no "=" (json) they are
 * refused.  So are the others that remove duplicates, where equal values need not be
 * the same: UNION in WITH RECURSIVE, INTERSECT, EXCEPT and GROUPING SETS.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/registry.h"
#include "compile/check.h"
#include "compile/lower.h"
#include "compile/query.h"
#include "compile/stages.h"
#include "delta/consolidate.h"
#include "derive/aggclass.h"
#include "derive/choice.h"
#include "derive/term.h"

PG_FUNCTION_INFO_V1(derive_first_add);
PG_FUNCTION_INFO_V1(derive_first_get);

/* -------------------------------------------------------------------------
 * The aggregate derive_state.first(anyelement): NULLs count
 * -------------------------------------------------------------------------
 */

/* first_add(internal, anyelement) returns internal */
Datum
derive_first_add(PG_FUNCTION_ARGS)
{
	NullableDatum *first;
	MemoryContext cxt;
	int16		len;
	bool		byval;

	if (!PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (!AggCheckCallContext(fcinfo, &cxt))
		elog(ERROR, "derive_first_add called in non-aggregate context");
	cxt = MemoryContextSwitchTo(cxt);
	first = palloc0(sizeof(NullableDatum));
	first->isnull = PG_ARGISNULL(1);
	if (!first->isnull)
	{
		get_typlenbyval(get_fn_expr_argtype(fcinfo->flinfo, 1), &len, &byval);
		first->value = datumCopy(PG_GETARG_DATUM(1), byval, len);
	}
	MemoryContextSwitchTo(cxt);
	PG_RETURN_POINTER(first);
}

/* first_get(internal, anyelement) returns anyelement */
Datum
derive_first_get(PG_FUNCTION_ARGS)
{
	NullableDatum *first = PG_ARGISNULL(0) ? NULL : (NullableDatum *) PG_GETARG_POINTER(0);

	if (first == NULL || first->isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(first->value);
}

Oid
derive_state_function(const char *name, int nargs, Oid argtype)
{
	Oid			argtypes[2] = {argtype, argtype};
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name),
										   PointerGetDatum(buildoidvector(argtypes, nargs)),
										   ObjectIdGetDatum(derive_state_schema_oid(false)));

	Assert(nargs <= lengthof(argtypes));
	if (!OidIsValid(function))
		elog(ERROR, "function derive_state.%s is missing", name);
	return function;
}

/* "first(expr)", as yet in no order. */
static Aggref *
make_first(Expr *expr)
{
	Aggref	   *first = makeNode(Aggref);

	first->aggfnoid = derive_state_function("first", 1, ANYELEMENTOID);
	first->aggtype = exprType((Node *) expr);
	first->aggcollid = first->inputcollid = exprCollation((Node *) expr);
	first->aggargtypes = list_make1_oid(first->aggtype);
	first->args = list_make1(makeTargetEntry(expr, 1, NULL, false));
	first->aggkind = AGGKIND_NORMAL;
	first->aggno = first->aggtransno = -1;
	first->location = -1;
	return first;
}

/* -------------------------------------------------------------------------
 * The order of an aggregate's input
 * -------------------------------------------------------------------------
 */

/*
 * A numeric with a declared scale is stored in one way only, so for these
 * there is no need to ask.
 */
bool
derive_type_is_loose(Oid type, int32 typmod, Oid collation)
{
	if (type == NUMERICOID && typmod >= (int32) VARHDRSZ)
		return false;
	return OidIsValid(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr) &&
		!derive_equality_is_image(type, collation);
}

static bool
is_loose(Expr *expr)
{
	return derive_type_is_loose(exprType((Node *) expr), exprTypmod((Node *) expr),
								exprCollation((Node *) expr));
}

/* Sort by one more of these columns, NULLs last. */
static void
add_order(List **order, List *targets, TargetEntry *tle, Oid sortop)
{
	SortGroupClause *clause = makeNode(SortGroupClause);
	bool		reverse;

	clause->tleSortGroupRef = assignSortGroupRef(tle, targets);
	clause->sortop = sortop;
	clause->eqop = get_equality_op_for_ordering_op(sortop, &reverse);
	derive_compat_set_reverse_sort(clause, reverse);
	clause->hashable = op_hashjoinable(clause->eqop, exprType((Node *) tle->expr));
	*order = lappend(*order, clause);
}

static void
add_image_order(List **order, List **targets, Expr *expr)
{
	FuncExpr   *image = makeFuncExpr(derive_state_function("image", 1, ANYOID), BYTEAOID, list_make1(copyObject(expr)),
									 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	TargetEntry *tle = makeTargetEntry((Expr *) image, list_length(*targets) + 1, NULL, true);

	*targets = lappend(*targets, tle);
	add_order(order, *targets, tle, ByteaLessOperator);
}

Aggref *
derive_value_of_least(Expr *expr, List *by)
{
	Aggref	   *first = make_first(copyObject(expr));
	ListCell   *lc;

	foreach(lc, by)
		add_image_order(&first->aggorder, &first->args, lfirst(lc));
	return first;
}

/* "<" of a type; not of anonymous rows, whose fields need not have one. */
static Oid
ordering_operator(Oid type)
{
	Oid			sortop;

	if (type == RECORDOID || type == RECORDARRAYOID)
		return InvalidOid;
	get_sort_group_operators(type, false, false, false, &sortop, NULL, NULL, NULL);
	return sortop;
}

/*
 * Sort by all columns, after what is asked for.  One that is sorted by already, with another
 * equality (ORDER BY x USING ..), is added by its image: of one column with two orders
 * the executor sees the first only (nodeSort.c and nodeAgg.c sort single columns as
 * datums).
 */
static void
break_ties(List **order, List **targets)
{
	List	   *columns = list_copy(*targets);
	ListCell   *lc;

	foreach(lc, columns)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		SortGroupClause *asked;
		Oid			sortop;

		if (tle->resjunk || IsA(tle->expr, Const))
			continue;
		sortop = ordering_operator(exprType((Node *) tle->expr));
		asked = get_sortgroupref_clause_noerr(tle->ressortgroupref, *order);
		if (OidIsValid(sortop) && asked == NULL)
			add_order(order, *targets, tle, sortop);
		if (!OidIsValid(sortop) || is_loose(tle->expr) ||
			(asked != NULL && asked->eqop != get_equality_op_for_ordering_op(sortop, NULL)))
			add_image_order(order, targets, tle->expr);
	}
}

/* With DISTINCT, which of several equal values the aggregate is given remains open. */
static void
check_distinct(Aggref *aggref)
{
	ListCell   *lc;

	if (OidIsValid(lookup_type_cache(aggref->aggtype, TYPECACHE_EQ_OPR)->eq_opr))
		return;
	foreach(lc, aggref->args)
	{
		Expr	   *expr = lfirst_node(TargetEntry, lc)->expr;

		if (is_loose(expr))
			derive_refuse(psprintf("DISTINCT over type %s in an aggregate that returns %s",
								   format_type_be(exprType((Node *) expr)), format_type_be(aggref->aggtype)),
						  "Values of that type may be equal without being the same, and the result may be any of them.",
						  "Cast the argument to text, or to numeric with a scale.");
	}
}

/* "max(x)" as "first(x ORDER BY x DESC NULLS LAST, image(x))" */
static Aggref *
first_of_extrema(Aggref *aggref, Expr *expr)
{
	Aggref	   *first;

	if (exprType((Node *) expr) != aggref->aggtype)
		expr = (Expr *) makeRelabelType(expr, aggref->aggtype, -1, aggref->aggcollid, COERCE_IMPLICIT_CAST);
	first = make_first(expr);
	first->aggfilter = aggref->aggfilter;
	add_order(&first->aggorder, first->args, linitial_node(TargetEntry, first->args),
			  derive_aggregate_sort_operator(aggref->aggfnoid));
	add_image_order(&first->aggorder, &first->args, expr);
	return first;
}

Aggref *
derive_aggref_choose(Aggref *aggref)
{
	Expr	   *expr;

	switch (derive_aggregate_class(aggref))
	{
		case DERIVE_AGG_EXTREMUM:
			expr = linitial_node(TargetEntry, aggref->args)->expr;
			return is_loose(expr) ? first_of_extrema(aggref, expr) : aggref;
		case DERIVE_AGG_RECOMPUTE:
			if (aggref->aggkind != AGGKIND_NORMAL || aggref->aggfnoid == F_COUNT_ANY)
				return aggref;
			if (aggref->aggdistinct != NIL)
				check_distinct(aggref);
			else
				break_ties(&aggref->aggorder, &aggref->args);
			return aggref;
		default:
			return aggref;		/* the order makes no difference */
	}
}

/* -------------------------------------------------------------------------
 * What a group shows
 * -------------------------------------------------------------------------
 */

typedef struct UngroupedContext
{
	List	   *keys;
	List	   *columns;
} UngroupedContext;

static bool
ungrouped_walker(Node *node, UngroupedContext *context)
{
	if (node == NULL || IsA(node, Aggref) || list_member(context->keys, node))
		return false;
	if (IsA(node, Var))
	{
		if (((Var *) node)->varlevelsup == 0 && !list_member(context->columns, node))
			context->columns = lappend(context->columns, node);
		return false;
	}
	return expression_tree_walker(node, ungrouped_walker, context);
}

List *
derive_ungrouped_columns(Node *node, List *keys)
{
	UngroupedContext context = {keys, NIL};

	(void) ungrouped_walker(node, &context);
	return context.columns;
}

/* Expressions over a group; shown: what is replaced by the value in its least row. */
static Node *
choose_mutator(Node *node, List *shown)
{
	if (node == NULL)
		return NULL;
	if (list_member(shown, node))
		return (Node *) derive_value_of_least((Expr *) node, shown);
	if (IsA(node, Aggref))
		return (Node *) derive_aggref_choose(copyObject((Aggref *) node));
	return expression_tree_mutator(node, choose_mutator, shown);
}

/* The grouping columns and those that depend on them, in the order of aggcompile.c; NIL if they leave no choice. */
static List *
undecided_columns(Query *query, List *targets)
{
	List	   *keys = NIL;
	List	   *ungrouped;
	bool		loose = false;
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Expr	   *expr = (Expr *) get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		keys = list_append_unique(keys, expr);
		loose |= is_loose(expr);
	}
	ungrouped = derive_ungrouped_columns((Node *) list_make2(targets, query->havingQual), keys);
	return loose || ungrouped != NIL ? list_concat(keys, ungrouped) : NIL;
}

/* A block with GROUP BY or aggregates. */
static void
choose_in_group(Query *query)
{
	List	   *targets = NIL;
	List	   *junk = NIL;
	List	   *shown;
	ListCell   *lc;

	derive_compat_flatten_groups(query);
	query->sortClause = NIL;
	derive_push_down_sets(query);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			targets = lappend(targets, tle);
		/* what is grouped by is no longer what is shown */
		if (get_sortgroupref_clause_noerr(tle->ressortgroupref, query->groupClause) != NULL)
			junk = lappend(junk, flatCopyTargetEntry(tle));
	}
	shown = undecided_columns(query, targets);
	query->havingQual = choose_mutator(query->havingQual, shown);
	query->targetList = (List *) choose_mutator((Node *) targets, shown);
	foreach(lc, query->targetList)
		lfirst_node(TargetEntry, lc)->ressortgroupref = 0;
	foreach(lc, junk)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->resjunk = true;
		query->targetList = lappend(query->targetList, tle);
		tle->resno = list_length(query->targetList);
	}
	query->hasAggs |= shown != NIL;
}

/* -------------------------------------------------------------------------
 * What cannot be told
 * -------------------------------------------------------------------------
 */

static void
refuse_loose(const char *construct, Oid type)
{
	derive_refuse(psprintf("%s over type %s", construct, format_type_be(type)),
				  "Values of that type may be equal without being the same, and the result may have any of them.",
				  "Cast the column to text, or to numeric with a scale.");
}

/*
 * Rows are removed one step at a time, and which of two equal ones came first is not known.
 * The last columns may be made of the others, and then say nothing that these do not.
 */
static void
check_loose_setop(Node *node, const char *construct, int made)
{
	SetOperationStmt *op = (SetOperationStmt *) node;
	ListCell   *lc,
			   *lc2,
			   *lc3;

	if (node == NULL || !IsA(node, SetOperationStmt))
		return;
	forthree(lc, op->colTypes, lc2, op->colTypmods, lc3, op->colCollations)
	{
		if (foreach_current_index(lc) >= list_length(op->colTypes) - made)
			break;
		if ((op->op != SETOP_UNION || !op->all) &&
			derive_type_is_loose(lfirst_oid(lc), lfirst_int(lc2), lfirst_oid(lc3)))
			refuse_loose(construct, lfirst_oid(lc));
	}
	check_loose_setop(op->larg, construct, made);
	check_loose_setop(op->rarg, construct, made);
}

/* The columns that SEARCH and CYCLE add, after the others: an order; a mark and a path. */
static int
columns_of_clauses(CommonTableExpr *cte)
{
	return (cte->search_clause != NULL ? 1 : 0) + (cte->cycle_clause != NULL ? 2 : 0);
}

/* -------------------------------------------------------------------------
 * DISTINCT and UNION, as GROUP BY all columns
 * -------------------------------------------------------------------------
 */

/* "SELECT every column FROM (query)", in its place. */
static Query *
wrap(Query *inner)
{
	IncrementVarSublevelsUp((Node *) inner, 1, 1);
	return derive_query_wrap(inner);
}

static Query *
without_duplicates(Query *inner)
{
	Query	   *query = wrap(inner);

	derive_query_group_by_columns(query);
	choose_in_group(query);
	return query;
}

static void
choose_distinct(Query *query)
{
	bool		loose = false;
	Query	   *inner;
	ListCell   *lc;

	foreach(lc, query->targetList)
		loose |= !lfirst_node(TargetEntry, lc)->resjunk && is_loose(lfirst_node(TargetEntry, lc)->expr);
	Assert(!derive_query_is_grouped(query));
	if (!loose)
		return;
	inner = makeNode(Query);
	*inner = *query;
	inner->distinctClause = NIL;
	derive_query_normalize(inner);
	*query = *without_duplicates(inner);
}

/* Does this tree remove rows that are equal without being the same? */
static bool
unites_loosely(Node *node)
{
	SetOperationStmt *op = (SetOperationStmt *) node;
	ListCell   *lc,
			   *lc2,
			   *lc3;

	if (!IsA(node, SetOperationStmt))
		return false;
	forthree(lc, op->colTypes, lc2, op->colTypmods, lc3, op->colCollations)
		if ((op->op != SETOP_UNION || !op->all) &&
			derive_type_is_loose(lfirst_oid(lc), lfirst_int(lc2), lfirst_oid(lc3)))
		return true;
	return unites_loosely(op->larg) || unites_loosely(op->rarg);
}

static Query *
unite_all(List *branches)
{
	ListCell   *lc;

	/* a branch lies one level below the place that the set operation has */
	foreach(lc, list_length(branches) > 1 ? branches : NIL)
		IncrementVarSublevelsUp(lfirst(lc), 1, 1);
	return derive_query_union_all(branches);
}

/* Without the columns that only GROUP BY needs: it will be a branch itself. */
static Query *
unite(void *arg, List *branches)
{
	return wrap(without_duplicates(unite_all(branches)));
}

static void
choose_union(Query *query)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);
	List	   *branches;

	if (derive_query_has_other_setop(query))
		check_loose_setop((Node *) op, "INTERSECT or EXCEPT", 0);
	if (derive_query_has_other_setop(query) || !unites_loosely((Node *) op))
		return;
	if (query->cteList != NIL)
	{
		choose_union(derive_query_split(query, false));
		return;
	}
	branches = derive_query_union_branches(query, unite, NULL);
	*query = op->all ? *unite_all(branches) : *unite(NULL, branches);
}

/* -------------------------------------------------------------------------
 * The order of rows: LIMIT, DISTINCT ON, ARRAY(SELECT ..), windows
 * -------------------------------------------------------------------------
 */

void
derive_query_complete_order(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->hasDistinctOn ? query->distinctClause : NIL)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		if (get_sortgroupref_clause_noerr(clause->tleSortGroupRef, query->sortClause) == NULL)
			query->sortClause = lappend(query->sortClause, copyObject(clause));
	}
	break_ties(&query->sortClause, &query->targetList);
}

/*
 * WITH TIES takes all ties, so that there is nothing to decide; but OFFSET leaves out
 * some of them.  They come in the order of a sub-query, which the planner knows to be
 * sorted as the limit wants it.
 */
static void
choose_limited(Query *query)
{
	Query	   *inner;

	if (query->limitOption != LIMIT_OPTION_WITH_TIES)
		derive_query_complete_order(query);
	else if (query->limitOffset != NULL)
	{
		inner = derive_query_split(query, false);
		inner->sortClause = copyObject(query->sortClause);
		derive_query_complete_order(inner);
	}
}

static void
choose_array(Query *query)
{
	if (query->limitCount != NULL || query->limitOffset != NULL)
		return;					/* done */
	if (query->setOperations != NULL || query->distinctClause != NIL || query->hasWindowFuncs ||
		query->hasTargetSRFs || derive_query_is_grouped(query))
		(void) derive_query_split(query, false);
	derive_query_complete_order(query);
}

bool
derive_window_aggregate_has_order(WindowFunc *function)
{
	Aggref	   *aggref = makeNode(Aggref);
	ListCell   *lc;

	aggref->aggfnoid = function->winfnoid;
	aggref->aggtype = function->wintype;
	aggref->aggcollid = function->wincollid;
	aggref->inputcollid = function->inputcollid;
	aggref->aggstar = function->winstar;
	aggref->aggkind = AGGKIND_NORMAL;
	foreach(lc, function->args)
	{
		aggref->aggargtypes = lappend_oid(aggref->aggargtypes, exprType(lfirst(lc)));
		aggref->args = lappend(aggref->args, makeTargetEntry(lfirst(lc), foreach_current_index(lc) + 1, NULL, false));
	}
	switch (derive_aggregate_class(aggref))
	{
		case DERIVE_AGG_EXTREMUM:
			return is_loose(linitial(function->args));
		case DERIVE_AGG_RECOMPUTE:
			return aggref->aggfnoid != F_COUNT_ANY && aggref->aggfnoid != derive_state_function("sum_from", 2, NUMERICOID);
		default:
			return false;
	}
}

/* Does a window function give another result where the peers of a row come in another order? */
static bool
has_order_walker(Node *node, List *windows)
{
	WindowFunc *function = (WindowFunc *) node;
	WindowClause *window;

	if (node == NULL)
		return false;
	if (!IsA(node, WindowFunc))
		return expression_tree_walker(node, has_order_walker, windows);
	if (!function->winagg)
		return !(function->winfnoid == F_RANK_ || function->winfnoid == F_DENSE_RANK_ ||
				 function->winfnoid == F_PERCENT_RANK_ || function->winfnoid == F_CUME_DIST_) ||
			expression_tree_walker(node, has_order_walker, windows);
	window = list_nth_node(WindowClause, windows, function->winref - 1);
	return (window->frameOptions & FRAMEOPTION_ROWS) != 0 || derive_window_aggregate_has_order(function) ||
		expression_tree_walker(node, has_order_walker, windows);
}

/*
 * Do the columns that the window sorts by name one row each: have they the primary key of the one table in FROM, and
 * are rows peers only if it is equal, as the key means that?
 */
static bool
has_total_order(Query *query, WindowClause *window)
{
	RangeTblRef *ref;
	Bitmapset  *columns = NULL;
	RangeTblEntry *rte;
	Bitmapset  *key;
	Oid			constraint;
	ListCell   *lc;

	if (list_length(query->jointree->fromlist) != 1)
		return false;
	ref = linitial(query->jointree->fromlist);
	if (!IsA(ref, RangeTblRef))
		return false;
	rte = rt_fetch(ref->rtindex, query->rtable);
	if (rte->rtekind != RTE_RELATION || (rte->relkind == RELKIND_RELATION && rte->inh && has_subclass(rte->relid)))
		return false;
	foreach(lc, list_concat_copy(window->partitionClause, window->orderClause))
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Var		   *var = derive_query_plain_column(get_sortgroupclause_expr(clause, query->targetList));

		if (var != NULL && var->varlevelsup == 0 &&
			clause->eqop == lookup_type_cache(var->vartype, TYPECACHE_EQ_OPR)->eq_opr)
			columns = bms_add_member(columns, var->varattno - FirstLowInvalidHeapAttributeNumber);
	}
	key = get_primary_key_attnos(rte->relid, false, &constraint);
	return key != NULL && bms_is_subset(key, columns);
}

/* Does the order of peers matter? */
static bool
has_peers(Query *query)
{
	ListCell   *lc;

	if (!has_order_walker((Node *) query->targetList, query->windowClause))
		return false;
	foreach(lc, query->windowClause)
	{
		if (!has_total_order(query, lfirst_node(WindowClause, lc)))
			return true;
	}
	return false;
}

/*
 * A window's peers are what ORDER BY makes them, so nothing can be added to that.  The
 * rows come in a total order from a sub-query, one for each window that wants another
 * order.  The planner knows that they are sorted as the window wants it, and sorts no more;
 * and sorting what is sorted changes nothing.
 */
static void
choose_windows(Query *query)
{
	WindowClause *last = llast_node(WindowClause, query->windowClause);
	Query	   *inner = derive_query_split_windows(query, derive_windows_in_order_of(query, last));
	WindowClause *window = linitial_node(WindowClause, query->windowClause);

	inner->sortClause = list_concat_copy(window->partitionClause, window->orderClause);
	break_ties(&inner->sortClause, &inner->targetList);
	if (inner->hasWindowFuncs)
		choose_windows(inner);
}

/* -------------------------------------------------------------------------
 * GROUPING SETS
 * -------------------------------------------------------------------------
 */

/* Of a group for each of several sets of columns. */
static void
choose_in_sets(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		Expr	   *key = (Expr *) get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList);

		if (is_loose(key))
			refuse_loose("GROUPING SETS, ROLLUP or CUBE", exprType((Node *) key));
	}
	query->targetList = (List *) choose_mutator((Node *) query->targetList, NIL);
	query->havingQual = choose_mutator(query->havingQual, NIL);
}

/* -------------------------------------------------------------------------
 * Entry point
 * -------------------------------------------------------------------------
 */

static bool
choose_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		if (derive_query_reads_relations((Query *) node))
			derive_query_choose((Query *) node);
		return false;
	}
	if (IsA(node, CommonTableExpr) && ((CommonTableExpr *) node)->cterecursive)
	{
		CommonTableExpr *cte = (CommonTableExpr *) node;
		Query	   *query = (Query *) cte->ctequery;

		/* the executor takes its two branches apart, so it stays what it is */
		check_loose_setop(query->setOperations, "WITH RECURSIVE with UNION", columns_of_clauses(cte));
		return query_tree_walker(query, choose_walker, context, QTW_IGNORE_JOINALIASES);
	}
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == ARRAY_SUBLINK)
	{
		Query	   *query = (Query *) ((SubLink *) node)->subselect;

		if (derive_query_reads_relations(query))
		{
			derive_query_choose(query);
			choose_array(query);
		}
		return false;
	}
	return expression_tree_walker(node, choose_walker, context);
}

void
derive_query_choose_inside(Query *query)
{
	(void) query_tree_walker(query, choose_walker, NULL, QTW_IGNORE_JOINALIASES);
}

/* Do grouping sets leave a choice of what a group shows?  Takes the query apart. */
static bool
groups_loosely(Query *query)
{
	derive_compat_flatten_groups(query);
	return undecided_columns(query, query->targetList) != NIL;
}

/*
 * Is this a block that the program has in another form (lower.h), and which leaves a
 * choice?  Then it is the groups of that form that choose.
 */
static bool
is_loose_when_lowered(Query *query)
{
	if (query->groupingSets != NIL)
		return groups_loosely(copyObject(query));
	return derive_query_has_other_setop(query) && unites_loosely(query->setOperations);
}

void
derive_query_choose(Query *query)
{
	/*
	 * its parts come to stand at other levels, so what they read by WITH must
	 * be outside
	 */
	if (is_loose_when_lowered(query))
		derive_lower_block(query->cteList != NIL ? derive_query_split(query, false) : query);
	derive_query_choose_inside(query);
	if (query->setOperations != NULL)
		choose_union(query);
	else if (query->hasDistinctOn)
		derive_query_complete_order(query);
	else if (query->distinctClause != NIL)
		choose_distinct(query);
	else if (query->groupingSets != NIL)
		choose_in_sets(query);
	else if (derive_query_is_grouped(query))
		choose_in_group(query);
	else if (query->hasWindowFuncs && has_peers(query))
		choose_windows(query);
	else if (query->limitCount != NULL || query->limitOffset != NULL)
		choose_limited(query);
}
