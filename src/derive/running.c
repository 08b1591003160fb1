/*-------------------------------------------------------------------------
 *
 * running.c
 *	  Windows over all rows: the running operator.
 *
 * For queries of which each row follows from those before it, in the order of the windows
 * (compile/running.c, with the example).  The operator's table has all rows of the result,
 * what they are sorted by, and what must be carried; it has an index on the order
 * (order_index.c).  In a batch
 *
 *	1	the terms of the input (term.c) tell which of its rows changed.  The first of them, as
 *		they were or as they are, is where changes begin.
 *	2	The table is read backwards from its end: rows that are not before that place
 *		are subtracted, and with lead() some more, whole peers.  If functions look back,
 *		some more are read.  The last row before all of these has what is carried.
 *	3	The query is evaluated from there on, and its rows are added.
 *
 * The target writes the difference.  A row at the end of the order costs that row.  The cost
 * of others is that of the rows after them, which mostly do have other values; in that
 * order the operator evaluates them and finds them, it does not look at those before.
 *
 * There is no state besides the table, and nothing is read as it was.  What is evaluated
 * is the present, whatever the terms say, which need only name rows enough.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compile/digest.h"
#include "compile/hidden.h"
#include "compile/join_key.h"
#include "compile/query.h"
#include "delta/consolidate.h"
#include "derive/choice.h"
#include "derive/order_index.h"
#include "derive/plan.h"
#include "derive/running.h"

typedef struct DeriveRunningState
{
	MemoryContext cxt;
	DeriveRunning *running;
	DerivePlan *plan;			/* of all rows; made when first needed */
	bool		hidden;			/* the table has images of row types */
} DeriveRunningState;

/* -------------------------------------------------------------------------
 * Compiling
 * -------------------------------------------------------------------------
 */

void
derive_running_compile(DeriveOperator *op, DeriveRunning *running)
{
	DeriveRunningState *state = palloc0(sizeof(DeriveRunningState));
	Query	   *input = copyObject(running->input);

	derive_query_choose_inside(input);
	state->cxt = CurrentMemoryContext;
	state->running = running;
	op->routine = &derive_running_routine;
	op->running = state;
	op->input = derive_linear_create(list_make1(input), false);
	op->desc = derive_query_desc(running->query);
	op->order = running->order;
}

/* The query with the one answer that it has in views, and the columns of the table; takes it. */
static Query *
finished(DeriveOperator *op, Query *query)
{
	derive_query_choose(query);
	query = derive_query_wrap(query);
	if (op->running->hidden)
		(void) derive_hide_targets(query->targetList);
	return query;
}

/* That of the input, if all of it is shown. */
static List *
running_key(DeriveOperator *op, List **constraints)
{
	DeriveRunning *running = op->running->running;
	List	   *key = NIL;
	ListCell   *lc;

	foreach(lc, derive_join_key(running->input, constraints))
	{
		AttrNumber	attno = derive_query_find_output(running->query->targetList, 1, lfirst_int(lc));

		if (attno == 0)
			return NIL;
		key = lappend_int(key, attno);
	}
	return key;
}

static void
running_hide(DeriveOperator *op)
{
	Query	   *shown = derive_query_wrap(copyObject(op->running->running->query));

	op->running->hidden = derive_hide_targets(shown->targetList);
	if (op->running->hidden)
		op->desc = derive_query_desc(shown);
}

static List *
running_sources(DeriveOperator *op, List *sources)
{
	return derive_linear_sources(op->input, sources);
}

static List *
running_queries(DeriveOperator *op, Query **by_key)
{
	*by_key = NULL;
	return derive_linear_branches(op->input);
}

static uint64
running_digest(DeriveOperator *op, uint64 digest, List *own)
{
	return derive_digest_tree(digest, op->running->running->query, own);
}

static bool
running_touched(DeriveOperator *op, DeriveBatch *batch, const char **unknown)
{
	return derive_linear_touched(op->input, batch, unknown);
}

static void
running_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	DeriveRunningState *state = op->running;

	if (state->plan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(state->cxt);

		state->plan = derive_plan_create(finished(op, copyObject(state->running->query)), CURSOR_OPT_PARALLEL_OK);
		MemoryContextSwitchTo(old);
	}
	derive_plan_run(state->plan, NULL, NULL, false, sink, arg);
}

/* -------------------------------------------------------------------------
 * A batch
 * -------------------------------------------------------------------------
 */

typedef struct Run
{
	DeriveOperator *op;
	DeriveRunning *running;
	DeriveTarget *target;
	DeriveOrdering *ordering;
	bool		changed;		/* is there a first change? */
	DerivePlace *first;			/* rows from here on are replaced */
	DerivePlace *begin;			/* and evaluated from here on */
	DeriveOrderScan *scan;
} Run;

static void
net_row(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_consolidate_add(arg, row, weight);
}

static void
row_changed(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	Run		   *run = arg;
	TupleTableSlot *row = old != NULL ? old : new;

	if (!run->changed || derive_place_compare(run->ordering, row, true, run->first) < 0)
		derive_place_set(run->ordering, run->first, row, true);
	run->changed = true;
}

/*
 * From a row of the table backwards over so many rows, and the peers of the last of them,
 * whose place is noted.  Returns the row before, or NULL.
 */
static TupleTableSlot *
step_back(Run *run, TupleTableSlot *row, int64 nrows, DerivePlace *place, bool subtract)
{
	for (int64 i = 0; row != NULL; i++)
	{
		if (i >= nrows && (i == 0 || derive_place_compare(run->ordering, row, false, place) != 0))
			break;
		derive_place_set(run->ordering, place, row, false);
		if (subtract)
			derive_target_add(run->target, row, -1);
		row = derive_order_scan_next(run->scan);
	}
	return row;
}

/* Take away all rows that may have other values.  Returns the last row before those that are evaluated, or NULL. */
static TupleTableSlot *
subtract_rows(Run *run)
{
	TupleTableSlot *row = derive_order_scan_next(run->scan);

	while (row != NULL && derive_place_compare(run->ordering, row, false, run->first) >= 0)
	{
		derive_target_add(run->target, row, -1);
		row = derive_order_scan_next(run->scan);
	}
	row = step_back(run, row, run->running->ahead, run->first, true);
	derive_place_copy(run->ordering, run->begin, run->first);
	return step_back(run, row, run->running->back, run->begin, false);
}

/* By function, the value that is carried. */
static NullableDatum *
carried_values(Run *run, TupleTableSlot *row)
{
	List	   *functions = run->running->functions;
	NullableDatum *values = palloc0(sizeof(NullableDatum) * list_length(functions));
	ListCell   *lc;

	foreach(lc, functions)
	{
		DeriveRunningFunction *function = lfirst(lc);
		NullableDatum *value = &values[foreach_current_index(lc)];
		Form_pg_attribute att;

		if (function->carry == DERIVE_CARRY_NOTHING)
			continue;
		att = TupleDescAttr(row->tts_tupleDescriptor, function->carried - 1);
		value->value = slot_getattr(row, function->carried, &value->isnull);
		if (!value->isnull)
			value->value = datumCopy(value->value, att->attbyval, att->attlen);
	}
	return values;
}

static void
add_row(void *arg, TupleTableSlot *row, int64 weight)
{
	Run		   *run = arg;

	if (derive_place_compare(run->ordering, row, false, run->first) >= 0)
		derive_target_add(run->target, row, weight);
}

static void
add_to_target(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

static void
replace_rows(Run *run)
{
	Relation	table = table_open(run->op->table, AccessShareLock);
	TupleTableSlot *before;

	run->scan = derive_order_scan_begin(table, run->op->order, run->ordering, GetActiveSnapshot());
	if (run->scan == NULL)
	{
		/* people have dropped it, and it has not been made again */
		derive_target_subtract_contents(run->target);
		running_produce(run->op, add_to_target, run->target);
		table_close(table, NoLock);
		return;
	}
	before = subtract_rows(run);
	if (before == NULL)
		running_produce(run->op, add_row, run);
	else
	{
		Query	   *query = derive_running_from(run->running, run->begin->values, run->begin->nulls, carried_values(run, before));

		derive_query_run(finished(run->op, query), NULL, add_row, run);
	}
	derive_order_scan_end(run->scan);
	table_close(table, NoLock);
}

static void
running_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	Run			run = {.op = op,.running = op->running->running,.target = target};
	DeriveConsolidator *net = derive_consolidate_begin(derive_linear_desc(op->input), 0, NULL, false);

	run.ordering = derive_ordering_create(op->order);
	run.first = derive_place_create(run.ordering);
	run.begin = derive_place_create(run.ordering);
	derive_linear_delta(op->input, batch, net_row, net);
	derive_consolidate_finish(net, row_changed, &run);
	if (run.changed)
		replace_rows(&run);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

static List *
running_explain(DeriveOperator *op, List *lines)
{
	lines = lappend(lines, pstrdup("Rows are evaluated again from the first change on, in the order of the windows"));
	if (op->running->running->ahead > 0)
		lines = lappend(lines, psprintf("and up to " INT64_FORMAT " rows before it", op->running->running->ahead));
	return lines;
}

const DeriveOperatorRoutine derive_running_routine = {
	.name = "running",
	.key = running_key,
	.hide = running_hide,
	.sources = running_sources,
	.queries = running_queries,
	.digest = running_digest,
	.touched = running_touched,
	.apply = running_apply,
	.produce = running_produce,
	.explain = running_explain,
};
