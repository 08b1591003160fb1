/*-------------------------------------------------------------------------
 *
 * running.c
 *	  Windows over all rows, of which each row follows from those before it.
 *
 * Without PARTITION BY a change may concern any row.  With most functions it does not
 * concern those that come before it in the window's ORDER BY, and what follows from
 * those, for the rows after it, is a single value, the carry:
 *
 *	SELECT x, rank() OVER w, sum(n) OVER w FROM t WINDOW w AS (ORDER BY x)
 *
 *		x	n	rank	sum		count
 *		1	5	1		5		1			(count: of all rows up to here, peers included)
 *		3	2	2		9		3
 *		3	2	2		9		3
 *		4	7	4		16		4			a row (4, 1) comes: the first that changes
 *		6	1	5		17		5			is at x = 4
 *
 * The rows before x = 4 stay.  The query is evaluated for "x >= 4" alone, with the values
 * of the last row before that added:
 *
 *		4	7	1+3		8+9		2+3
 *		4	1	1+3		8+9		2+3
 *		6	1	3+3		9+9		3+3
 *
 * Where what is carried is what it was, rows stay again, up to the next change.  Had the row come
 * from x = 5, its rank and the sum would have ended there.  (Sums of numeric begin with what is carried instead,
 * by derive/sumfrom.c: without it they may be larger than any numeric.)
 *
 * Carried is what is the same in all peers of a row, so that any of them has it: the count
 * for row_number() and rank(), the function itself with a RANGE frame, else the same
 * aggregate with one.  Where the select list does not have these columns, or what is
 * sorted by, a query around it leaves them out again (derive_running_split()).  avg() is
 * sum() / count() there.
 *
 * Of other functions the value follows from some rows around its own: lag(), lead(), frames
 * between so many rows before and after.  Rows up to "ahead" rows before a change, and up
 * to "back" rows after it, may have other values, and are evaluated with as many more:
 *
 *	lag(x, 3)												back 3
 *	lead(x, 2)												ahead 2
 *	sum(n) OVER (.. ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)	back 2, ahead 1
 *
 * Nothing of that is true where all rows count for each: ntile(), percent_rank(),
 * cume_dist(), frames that end with UNBOUNDED FOLLOWING.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "compile/hidden.h"
#include "compile/query.h"
#include "compile/running.h"
#include "compile/stages.h"

/* What else a frame is called does not matter. */
#define frame_is_default(window) \
	(((window)->frameOptions & ~(FRAMEOPTION_NONDEFAULT | FRAMEOPTION_BETWEEN)) == FRAMEOPTION_DEFAULTS)

/* -------------------------------------------------------------------------
 * Functions
 * -------------------------------------------------------------------------
 */

/* What follows from the rows before, if the frame begins with the first row and ends with the current one. */
static const struct
{
	Oid			function;
	DeriveCarry carry;
}			aggregates[] =

{
	{F_COUNT_, DERIVE_CARRY_SUM},
	{F_COUNT_ANY, DERIVE_CARRY_SUM},
	/* of floating-point numbers the sum depends on where one begins */
	{F_SUM_INT2, DERIVE_CARRY_SUM},
	{F_SUM_INT4, DERIVE_CARRY_SUM},
	{F_SUM_INT8, DERIVE_CARRY_SUM},
	{F_SUM_NUMERIC, DERIVE_CARRY_SUM},

	/*
	 * of equal values that are not the same these return the last one, and so
	 * do LEAST(new, old) and GREATEST()
	 */
	{F_MIN_INT2, DERIVE_CARRY_LEAST},
	{F_MIN_INT4, DERIVE_CARRY_LEAST},
	{F_MIN_INT8, DERIVE_CARRY_LEAST},
	{F_MIN_NUMERIC, DERIVE_CARRY_LEAST},
	{F_MIN_FLOAT4, DERIVE_CARRY_LEAST},
	{F_MIN_FLOAT8, DERIVE_CARRY_LEAST},
	{F_MIN_TEXT, DERIVE_CARRY_LEAST},
	{F_MIN_DATE, DERIVE_CARRY_LEAST},
	{F_MIN_TIME, DERIVE_CARRY_LEAST},
	{F_MIN_TIMESTAMP, DERIVE_CARRY_LEAST},
	{F_MIN_TIMESTAMPTZ, DERIVE_CARRY_LEAST},
	{F_MAX_INT2, DERIVE_CARRY_GREATEST},
	{F_MAX_INT4, DERIVE_CARRY_GREATEST},
	{F_MAX_INT8, DERIVE_CARRY_GREATEST},
	{F_MAX_NUMERIC, DERIVE_CARRY_GREATEST},
	{F_MAX_FLOAT4, DERIVE_CARRY_GREATEST},
	{F_MAX_FLOAT8, DERIVE_CARRY_GREATEST},
	{F_MAX_TEXT, DERIVE_CARRY_GREATEST},
	{F_MAX_DATE, DERIVE_CARRY_GREATEST},
	{F_MAX_TIME, DERIVE_CARRY_GREATEST},
	{F_MAX_TIMESTAMP, DERIVE_CARRY_GREATEST},
	{F_MAX_TIMESTAMPTZ, DERIVE_CARRY_GREATEST},
};

/* Averages are spelled as sums and counts. */
static const struct
{
	Oid			function;
	Oid			sum;
	Oid			sum_type;
}			averages[] =

{
	{F_AVG_INT2, F_SUM_INT2, INT8OID},
	{F_AVG_INT4, F_SUM_INT4, INT8OID},
	{F_AVG_INT8, F_SUM_INT8, NUMERICOID},
	{F_AVG_NUMERIC, F_SUM_NUMERIC, NUMERICOID},
};

static int
find_average(Oid function)
{
	for (int i = 0; i < lengthof(averages); i++)
		if (averages[i].function == function)
			return i;
	return -1;
}

/* Everything that a function follows from. */
typedef struct Behaviour
{
	DeriveCarry carry;
	int64		back;
	int64		ahead;
} Behaviour;

static WindowClause *
window_of(Query *query, WindowFunc *function)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
		if (lfirst_node(WindowClause, lc)->winref == function->winref)
		return lfirst(lc);
	elog(ERROR, "window function without a window");
}

/* A number of rows that is the same in all rows; false if it is not, or NULL. */
static bool
constant_rows(Node *expr, int64 *nrows)
{
	Const	   *value = (Const *) eval_const_expressions(NULL, expr);

	if (!IsA(value, Const) || value->constisnull)
		return false;
	if (value->consttype == INT4OID)
		*nrows = DatumGetInt32(value->constvalue);
	else if (value->consttype == INT8OID)
		*nrows = DatumGetInt64(value->constvalue);
	else
		return false;
	return true;
}

/* The row that lag(), if sign is 1, or lead() looks at. */
static bool
behaviour_of_shift(WindowFunc *function, int sign, Behaviour *behaviour)
{
	int64		distance = 1;

	if (list_length(function->args) > 1 && !constant_rows(lsecond(function->args), &distance))
		return false;
	distance *= sign;
	behaviour->back = Max(distance, 0);
	behaviour->ahead = Max(-distance, 0);
	return true;
}

/* Do frames reach from so many rows before to so many after? */
static bool
frame_is_near(WindowClause *window, Behaviour *behaviour)
{
	int			options = window->frameOptions;
	bool		rows = (options & FRAMEOPTION_ROWS) != 0;

	if (options & FRAMEOPTION_START_OFFSET_PRECEDING)
	{
		if (!rows || !constant_rows(window->startOffset, &behaviour->back))
			return false;
	}
	else if (!(options & FRAMEOPTION_START_CURRENT_ROW) && !((options & FRAMEOPTION_START_OFFSET_FOLLOWING) && rows))
		return false;
	if (options & FRAMEOPTION_END_OFFSET_FOLLOWING)
		return rows && constant_rows(window->endOffset, &behaviour->ahead);
	return (options & FRAMEOPTION_END_CURRENT_ROW) || ((options & FRAMEOPTION_END_OFFSET_PRECEDING) && rows);
}

static bool
frame_is_running(WindowClause *window)
{
	return (window->frameOptions & FRAMEOPTION_START_UNBOUNDED_PRECEDING) != 0 &&
		(window->frameOptions & FRAMEOPTION_END_CURRENT_ROW) != 0 &&
		(window->frameOptions & FRAMEOPTION_EXCLUSION) == 0;
}

static bool
behaviour_of_aggregate(WindowFunc *function, WindowClause *window, Behaviour *behaviour)
{
	if (!frame_is_running(window))
		return frame_is_near(window, behaviour);
	if (find_average(function->winfnoid) >= 0)
	{
		behaviour->carry = DERIVE_CARRY_SUM;
		return true;
	}
	for (int i = 0; i < lengthof(aggregates); i++)
		if (aggregates[i].function == function->winfnoid)
			behaviour->carry = aggregates[i].carry;
	return behaviour->carry != DERIVE_CARRY_NOTHING;
}

static bool
behaviour_of(Query *query, WindowFunc *function, Behaviour *behaviour)
{
	WindowClause *window = window_of(query, function);

	*behaviour = (Behaviour)
	{
		DERIVE_CARRY_NOTHING, 0, 0
	};
	if (function->winagg)
		return behaviour_of_aggregate(function, window, behaviour);
	switch (function->winfnoid)
	{
		case F_ROW_NUMBER:
		case F_RANK_:
		case F_DENSE_RANK_:
			behaviour->carry = DERIVE_CARRY_SUM;
			return true;
		case F_LAG_ANYELEMENT:
		case F_LAG_ANYELEMENT_INT4:
		case F_LAG_ANYCOMPATIBLE_INT4_ANYCOMPATIBLE:
			return behaviour_of_shift(function, 1, behaviour);
		case F_LEAD_ANYELEMENT:
		case F_LEAD_ANYELEMENT_INT4:
		case F_LEAD_ANYCOMPATIBLE_INT4_ANYCOMPATIBLE:
			return behaviour_of_shift(function, -1, behaviour);
		case F_FIRST_VALUE:
			if (!frame_is_running(window))
				return frame_is_near(window, behaviour);
			behaviour->carry = DERIVE_CARRY_SAME;
			return !derive_is_row_type(function->wintype);
		case F_LAST_VALUE:
			/* of a frame that ends with the row, or its peers */
			return frame_is_running(window) || frame_is_near(window, behaviour);
		case F_NTH_VALUE:
			return frame_is_near(window, behaviour);
		default:
			return false;		/* all rows may count */
	}
}

/* -------------------------------------------------------------------------
 * Is a query such?
 * -------------------------------------------------------------------------
 */

/* Append the window functions of the query itself in an expression. */
static bool
functions_walker(Node *node, List **functions)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, WindowFunc))
	{
		*functions = list_append_unique(*functions, node);
		return false;
	}
	return expression_tree_walker(node, functions_walker, functions);
}

static List *
functions_of(Query *query)
{
	List	   *functions = NIL;

	(void) functions_walker((Node *) query->targetList, &functions);
	return functions;
}

/* How a sort column is ordered; false if there is no btree index that has its order. */
static bool
describe_order(Query *query, SortGroupClause *clause, DeriveOrderColumn *column)
{
	Node	   *expr = get_sortgroupclause_expr(clause, query->targetList);
	int			strategy;

	column->type = exprType(expr);
	column->typmod = exprTypmod(expr);
	column->collation = exprCollation(expr);
	column->sortop = clause->sortop;
	column->nulls_first = clause->nulls_first;
	column->opfamily = lookup_type_cache(column->type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	if (checkExprHasSubLink(expr) || derive_is_row_type(column->type) || !OidIsValid(column->opfamily))
		return false;
	strategy = get_op_opfamily_strategy(column->sortop, column->opfamily);
	column->reverse = strategy == BTGreaterStrategyNumber;
	return column->reverse || strategy == BTLessStrategyNumber;
}

static bool
has_one_order(Query *query)
{
	List	   *order = linitial_node(WindowClause, query->windowClause)->orderClause;
	DeriveOrderColumn column;
	int			fixed = 0;		/* bytes */
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (window->partitionClause != NIL || !equal(window->orderClause, order))
			return false;
	}
	foreach(lc, order)
	{
		if (!describe_order(query, lfirst_node(SortGroupClause, lc), &column))
			return false;
		fixed += Max(get_typlen(column.type), 0);
	}
	return order != NIL && list_length(order) < INDEX_MAX_KEYS && fixed <= DERIVE_LONGEST_IN_INDEX;
}

bool
derive_query_is_running(Query *query)
{
	ListCell   *lc;

	if (!query->hasWindowFuncs || query->setOperations != NULL || query->distinctClause != NIL ||
		query->limitCount != NULL || query->limitOffset != NULL || derive_query_is_grouped(query) ||
		!has_one_order(query) || derive_query_refers_outside(query))
		return false;
	foreach(lc, functions_of(query))
	{
		Behaviour	behaviour;

		if (checkExprHasSubLink(lfirst(lc)) || !behaviour_of(query, lfirst_node(WindowFunc, lc), &behaviour))
			return false;
	}
	return true;
}

/* -------------------------------------------------------------------------
 * The query with a column for each function
 * -------------------------------------------------------------------------
 */

/* The same with the other function, of the same arguments. */
static WindowFunc *
other_function(WindowFunc *function, Oid other, Oid type, bool any_row)
{
	WindowFunc *result = copyObject(function);

	result->winfnoid = other;
	result->wintype = type;
	result->wincollid = InvalidOid;
	result->winagg = true;
	result->winstar = any_row;
	if (any_row)
		result->args = NIL;
	return result;
}

static Expr *
to_numeric(Expr *expr)
{
	if (exprType((Node *) expr) == NUMERICOID)
		return expr;
	return (Expr *) makeFuncExpr(F_NUMERIC_INT8, NUMERICOID, list_make1(expr), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* Averages over frames that begin with the first row: "sum(x) / NULLIF(count(x), 0)", as numeric. */
static Node *
spell_averages_mutator(Node *node, Query *query)
{
	WindowFunc *function = (WindowFunc *) node;
	int			average;
	Expr	   *sum;
	Expr	   *count;
	NullIfExpr *divisor;

	if (node == NULL || IsA(node, Query))
		return node;
	if (!IsA(node, WindowFunc))
		return expression_tree_mutator(node, spell_averages_mutator, query);
	average = find_average(function->winfnoid);
	if (average < 0 || !frame_is_running(window_of(query, function)))
		return node;
	sum = (Expr *) other_function(function, averages[average].sum, averages[average].sum_type, false);
	count = (Expr *) other_function(function, F_COUNT_ANY, INT8OID, false);
	divisor = makeNode(NullIfExpr);
	divisor->opno = lookup_type_cache(INT8OID, TYPECACHE_EQ_OPR)->eq_opr;
	divisor->opfuncid = get_opcode(divisor->opno);
	divisor->opresulttype = INT8OID;
	divisor->args = list_make2(count, makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(0), false, FLOAT8PASSBYVAL));
	divisor->location = -1;
	return (Node *) makeFuncExpr(F_NUMERIC_DIV, NUMERICOID, list_make2(to_numeric(sum), to_numeric((Expr *) divisor)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* The window with the default frame; make: if need be. */
static WindowClause *
default_window(Query *query, bool make)
{
	WindowClause *window;
	Index		winref = 0;
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		window = lfirst_node(WindowClause, lc);
		if (frame_is_default(window))
			return window;
		winref = Max(winref, window->winref);
	}
	if (!make)
		return NULL;
	window = makeNode(WindowClause);
	window->orderClause = copyObject(linitial_node(WindowClause, query->windowClause)->orderClause);
	window->frameOptions = FRAMEOPTION_DEFAULTS;
	window->winref = winref + 1;
	query->windowClause = lappend(list_copy(query->windowClause), window);
	return window;
}

static AttrNumber
column_of(Query *query, WindowFunc *function)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
		if (equal(lfirst_node(TargetEntry, lc)->expr, function))
		return lfirst_node(TargetEntry, lc)->resno;
	return 0;
}

/* The column whose value is carried for a function; 0: there is none.  make: then make it. */
static AttrNumber
carried_column(Query *query, WindowFunc *function, bool make)
{
	WindowFunc *carried = function;
	AttrNumber	attno;

	if (function->winfnoid == F_ROW_NUMBER || function->winfnoid == F_RANK_)
		carried = other_function(function, F_COUNT_, INT8OID, true);
	else if (function->winagg && (window_of(query, function)->frameOptions & FRAMEOPTION_ROWS) != 0)
		carried = copyObject(function);
	if (carried != function)
	{
		WindowClause *window = default_window(query, make);

		if (window == NULL)
			return 0;
		carried->winref = window->winref;
	}
	attno = column_of(query, carried);
	if (attno == 0 && make)
	{
		attno = list_length(query->targetList) + 1;
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) carried, attno, psprintf("c%d", attno), false));
	}
	return attno;
}

void
derive_running_split(Query *query)
{
	Query	   *inner = makeNode(Query);
	DerivePushDown push = {0};
	List	   *targets = NIL;
	ListCell   *lc;

	query->targetList = (List *) spell_averages_mutator((Node *) query->targetList, query);
	*inner = *query;
	foreach(lc, linitial_node(WindowClause, query->windowClause)->orderClause)
		derive_push_down_sorted(lfirst_node(SortGroupClause, lc), query, &push);
	push.wholes = list_concat(push.wholes, functions_of(query));
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk && get_sortgroupref_clause_noerr(tle->ressortgroupref, query->sortClause) == NULL)
			continue;
		tle->resno = list_length(targets) + 1;
		targets = lappend(targets, tle);
	}
	query->targetList = (List *) derive_push_down((Node *) targets, &push);
	inner->targetList = push.columns;
	foreach(lc, functions_of(inner))
	{
		Behaviour	behaviour;

		if (behaviour_of(inner, lfirst_node(WindowFunc, lc), &behaviour) && behaviour.carry != DERIVE_CARRY_NOTHING)
			(void) carried_column(inner, lfirst_node(WindowFunc, lc), true);
	}
	inner->hasTargetSRFs = false;
	derive_query_read_from(query, inner);
	query->windowClause = NIL;
	query->hasWindowFuncs = false;
}

/* -------------------------------------------------------------------------
 * Taking it apart
 * -------------------------------------------------------------------------
 */

DeriveRunning *
derive_running_take_apart(Query *query)
{
	DeriveRunning *running = palloc0(sizeof(DeriveRunning));
	List	   *order = linitial_node(WindowClause, query->windowClause)->orderClause;
	Query	   *input = makeNode(Query);
	DerivePushDown push = {0};
	ListCell   *lc;

	Assert(derive_query_is_running(query));
	foreach(lc, order)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		TargetEntry *tle = get_sortgroupclause_tle(clause, query->targetList);
		DeriveOrderColumn *column = palloc0(sizeof(DeriveOrderColumn));

		Assert(!tle->resjunk);
		(void) describe_order(query, clause, column);
		column->attno = tle->resno;
		column->not_null = derive_column_is_not_null(query, (Node *) tle->expr, 0);
		running->order = lappend(running->order, column);
	}
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		WindowFunc *expr = (WindowFunc *) tle->expr;
		DeriveRunningFunction *function;
		Behaviour	behaviour;

		if (!IsA(expr, WindowFunc))
			continue;
		if (!behaviour_of(query, expr, &behaviour))
			elog(ERROR, "a window function that depends on all rows");
		function = palloc0(sizeof(DeriveRunningFunction));
		function->attno = tle->resno;
		function->carry = behaviour.carry;
		function->inputcollid = expr->inputcollid;
		if (behaviour.carry != DERIVE_CARRY_NOTHING)
		{
			function->carried = carried_column(query, expr, false);
			Assert(function->carried != 0);
		}
		running->functions = lappend(running->functions, function);
		running->counts |= expr->winfnoid == F_COUNT_ && expr->aggfilter == NULL && behaviour.carry != DERIVE_CARRY_NOTHING;
		running->back = Max(running->back, behaviour.back);
		running->ahead = Max(running->ahead, behaviour.ahead);
	}

	*input = *query;
	foreach(lc, order)
	{
		derive_push_down_sorted(lfirst_node(SortGroupClause, lc), query, &push);
		((DeriveOrderColumn *) list_nth(running->order, foreach_current_index(lc)))->input =
			castNode(Var, derive_push_down(get_sortgroupclause_expr(lfirst(lc), query->targetList), &push))->varattno;
	}
	query->targetList = (List *) derive_push_down((Node *) query->targetList, &push);
	input->targetList = push.columns;
	input->windowClause = NIL;
	input->hasWindowFuncs = false;
	derive_query_read_from(query, input);
	derive_query_normalize(input);
	running->query = query;
	running->input = input;
	return running;
}

/* -------------------------------------------------------------------------
 * A part of it
 * -------------------------------------------------------------------------
 */

static Var *
input_column(const DeriveOrderColumn *column)
{
	return makeVar(1, column->input, column->type, column->typmod, column->collation, 0);
}

static Node *
null_test(const DeriveOrderColumn *column, NullTestType type)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) input_column(column);
	test->nulltesttype = type;
	test->location = -1;
	return (Node *) test;
}

static Node *
either(Node *a, Node *b)
{
	return (Node *) makeBoolExpr(OR_EXPR, list_make2(a, b), -1);
}

static Const *
constant(Oid type, int32 typmod, Oid collation, Datum value, bool isnull)
{
	int16		len;
	bool		byval;

	get_typlenbyval(type, &len, &byval);
	return makeConst(type, typmod, collation, len, value, isnull, byval);
}

/* "The column comes before the value" or after it; or, if so wanted, is equal to it. */
static Node *
column_beyond(const DeriveOrderColumn *column, Datum value, bool isnull, bool after, bool or_equal)
{
	bool		greater = after != column->reverse;
	bool		nulls_beyond = after != column->nulls_first;	/* than any value */
	StrategyNumber strategy = or_equal ? (greater ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber)
	: (greater ? BTGreaterStrategyNumber : BTLessStrategyNumber);
	Oid			opcintype;
	Oid			righttype;
	Oid			operator;
	Oid			compared;
	int			unused;
	Expr	   *var = (Expr *) input_column(column);
	Expr	   *key;
	Node	   *condition;

	if (isnull && nulls_beyond)
		return or_equal ? null_test(column, IS_NULL) : makeBoolConst(false, false);
	if (isnull)
		return or_equal ? makeBoolConst(true, false) : null_test(column, IS_NOT_NULL);

	get_op_opfamily_properties(column->sortop, column->opfamily, false, &unused, &opcintype, &righttype);
	operator = get_opfamily_member(column->opfamily, opcintype, opcintype, strategy);
	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d(%u,%u) in opfamily %u", strategy, opcintype, opcintype, column->opfamily);
	key = (Expr *) constant(column->type, column->typmod, column->collation, value, false);

	/*
	 * as the parser has it: varchar is compared as text, and a domain over a
	 * range as that range
	 */
	compared = IsPolymorphicType(opcintype) ? getBaseType(column->type) : opcintype;
	if (compared != column->type)
	{
		var = (Expr *) makeRelabelType(var, compared, -1, column->collation, COERCE_IMPLICIT_CAST);
		key = (Expr *) makeRelabelType(key, compared, -1, column->collation, COERCE_IMPLICIT_CAST);
	}
	condition = (Node *) make_opclause(operator, BOOLOID, false, var, key, InvalidOid, column->collation);
	set_opfuncid((OpExpr *) condition);
	if (!nulls_beyond || column->not_null)
		return condition;
	return either(condition, null_test(column, IS_NULL));
}

/*
 * "The row does not come before the bound" (or after it):
 *
 *		a >= 1 AND (a > 1 OR b >= 2)
 *
 * The first condition is one that an index serves.
 */
static Node *
row_beyond(List *order, const DeriveRunningBound *bound, bool after)
{
	Node	   *condition = NULL;

	for (int i = list_length(order) - 1; i >= 0; i--)
	{
		DeriveOrderColumn *column = list_nth(order, i);
		Datum		value = bound->values[i];
		bool		isnull = bound->nulls[i];

		if (condition == NULL)
			condition = column_beyond(column, value, isnull, after, !bound->strict);
		else
			condition = (Node *) makeBoolExpr(AND_EXPR,
											  list_make2(column_beyond(column, value, isnull, after, true),
														 either(column_beyond(column, value, isnull, after, false), condition)), -1);
	}
	return condition;
}

/* "COALESCE(value + carried, value, carried)": both may be NULL where there was nothing to add. */
static Expr *
add_carried(Expr *value, Const *carried)
{
	CoalesceExpr *coalesce = makeNode(CoalesceExpr);
	Oid			type = carried->consttype;

	Assert(type == INT8OID || type == NUMERICOID);
	coalesce->coalescetype = type;
	coalesce->args = list_make3(makeFuncExpr(type == INT8OID ? F_INT8PL : F_NUMERIC_ADD, type,
											 list_make2(value, copyObject(carried)),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
								copyObject(value), copyObject(carried));
	coalesce->location = -1;
	return (Expr *) coalesce;
}

/* "COALESCE(sum_from(x, carried), carried)": without any row the aggregate is not called. */
static Expr *
go_on_from_carried(WindowFunc *function, Const *carried, Oid sum_from)
{
	WindowFunc *going_on = copyObject(function);
	CoalesceExpr *coalesce = makeNode(CoalesceExpr);

	going_on->winfnoid = sum_from;
	going_on->args = lappend(going_on->args, copyObject(carried));
	coalesce->coalescetype = carried->consttype;
	coalesce->args = list_make2(going_on, copyObject(carried));
	coalesce->location = -1;
	return (Expr *) coalesce;
}

static Expr *
carry_value(const DeriveRunningFunction *function, Expr *value, NullableDatum carried, Oid sum_from)
{
	Const	   *con;
	MinMaxExpr *extremum;

	if (function->carry == DERIVE_CARRY_NOTHING)
		return value;
	con = constant(exprType((Node *) value), exprTypmod((Node *) value), exprCollation((Node *) value),
				   carried.value, carried.isnull);
	switch (function->carry)
	{
		case DERIVE_CARRY_NOTHING:
			break;
		case DERIVE_CARRY_SUM:
			if (con->constisnull)
				return value;
			if (castNode(WindowFunc, value)->winfnoid == F_SUM_NUMERIC)
				return go_on_from_carried((WindowFunc *) value, con, sum_from);
			return add_carried(value, con);
		case DERIVE_CARRY_LEAST:
		case DERIVE_CARRY_GREATEST:
			extremum = makeNode(MinMaxExpr);
			extremum->minmaxtype = con->consttype;
			extremum->minmaxcollid = con->constcollid;
			extremum->inputcollid = function->inputcollid;
			extremum->op = function->carry == DERIVE_CARRY_LEAST ? IS_LEAST : IS_GREATEST;
			extremum->args = list_make2(value, con);
			extremum->location = -1;
			return (Expr *) extremum;
		case DERIVE_CARRY_SAME:
			return (Expr *) con;
	}
	pg_unreachable();
}

static Node *
part_condition(DeriveRunning *running, const DeriveRunningBound *from, const DeriveRunningBound *to)
{
	List	   *conditions = NIL;

	if (from != NULL)
		conditions = lappend(conditions, row_beyond(running->order, from, true));
	if (to != NULL)
		conditions = lappend(conditions, row_beyond(running->order, to, false));
	return derive_all_of(conditions);
}

Query *
derive_running_rows(DeriveRunning *running, const DeriveRunningBound *from, const DeriveRunningBound *to)
{
	Query	   *query = derive_query_wrap(copyObject(running->input));

	query->jointree->quals = part_condition(running, from, to);
	return query;
}

Query *
derive_running_part(DeriveRunning *running, const DeriveRunningBound *from, const DeriveRunningBound *to,
					const NullableDatum *carried, Oid sum_from, RangeTblEntry *rows)
{
	Query	   *query = copyObject(running->query);
	ListCell   *lc;

	query->jointree->quals = part_condition(running, from, to);
	if (rows != NULL)
		lfirst(list_head(query->rtable)) = rows;
	foreach(lc, carried != NULL ? running->functions : NIL)
	{
		DeriveRunningFunction *function = lfirst(lc);
		TargetEntry *tle = list_nth_node(TargetEntry, query->targetList, function->attno - 1);

		tle->expr = carry_value(function, tle->expr, carried[foreach_current_index(lc)], sum_from);
	}
	return query;
}
