/*-------------------------------------------------------------------------
 *
 * running.c
 *	  Windows over all rows: the running operator.
 *
 * For queries of which each row follows from those before it, in the order of the windows
 * (compile/running.c, with an example).  The operator's table has all rows of the result,
 * what they are sorted by, and what must be carried; it has an index on the order
 * (order_index.c).  In a batch the terms of the input (term.c) tell which of its rows
 * changed.  Their places in the order, as they were and as they are, are gone through, first
 * to last:
 *
 *	1	The table tells where rows begin that may have other values, where those
 *		begin that must be evaluated, and what the last row before these carries.
 *	2	The query is evaluated from there up to the place.  Its rows are added, those of
 *		the table are subtracted, and the target writes the difference.
 *	3	Does the last of these rows carry what it did?  Then the rows after it stay, and the
 *		next place begins anew.  Else the next part goes on where this one ended, twice as many
 *		places at once, and from the last place to the end of the table.
 *
 *		n						sum(n) OVER (ORDER BY x), where 2 moves from x = 2 to x = 4
 *		x = 1	5	5
 *		x = 2	4 -> 2	9 -> 7	part 1: 7 is not 9
 *		x = 3	1	10 -> 8
 *		x = 4	0 -> 2	10		part 2, from x = 3 on: 10 is 10
 *		x = 5	8	18			is not looked at
 *
 * So a row at the end of the order costs that row, one that comes elsewhere costs the rows after
 * it, which get other numbers, and one that moves those between its places.  With functions that
 * carry nothing it costs the rows around.
 *
 * Where a part ends and the next one begins, rows next to each other may count for both (back
 * and ahead).  Then the next place belongs to the same part.
 *
 * Without an index for its conditions a part reads all of the input.  Where the first part has ended
 * and there are other places, it may be cheaper to read once from the next one to the last:
 * the rows around each of them are gathered, and the parts that need no others are evaluated
 * from these.
 *
 * There is no state besides the table, and nothing is read as it was.  What is evaluated
 * is the present, whatever the terms say, which need only name rows enough.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/gucs.h"
#include "compile/digest.h"
#include "compile/hidden.h"
#include "compile/join_key.h"
#include "compile/query.h"
#include "delta/consolidate.h"
#include "delta/delta.h"
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

#define GATHERED	"derive_gathered"

/* Of more places only the first and the last one are kept. */
#define MAX_PLACES	256

/* Where a part begins, or ends. */
typedef struct Bound
{
	bool		open;			/* at the end of the table, on this side */
	DerivePlace *rows;			/* of the rows that may have other values */
	DerivePlace *input;			/* of the rows that are evaluated */
	NullableDatum *carried;		/* by the last row before the input, or NULL */
	bool		strict;			/* after "input", not at it */
} Bound;

typedef struct Run
{
	DeriveOperator *op;
	DeriveRunning *running;
	DeriveTarget *target;
	Relation	table;
	TupleDesc	desc;
	DeriveOrdering *ordering;
	DeriveOrderReader *reader;	/* of the table as it was before */

	/* what changed */
	List	   *places;			/* of DerivePlace *, in order of arrival, then
								 * sorted */
	bool		too_many;		/* only the first one and the last */
	int64		more;			/* rows than there were */

	/* the part that is evaluated */
	Bound	   *from;
	Bound	   *to;
	DerivePlace *done;			/* rows up to here have been replaced, or NULL */
	DerivePlace *last_place;
	TupleTableSlot *last;		/* the last row up to "to", or empty */
	NullableDatum *carried;		/* by it; NULL: there is none */

	/* rows of the input, of all of these parts; NULL: not gathered */
	Tuplestorestate *gathered;	/* ends with the memory context */
	TupleDesc	gathered_desc;
	double		ngathered;
	DerivePlace *gathering;		/* where the row is that is looked at */
	struct Range
	{
		Bound	   *from;
		Bound	   *to;
	}		   *ranges;			/* sorted, apart from each other */
	int			nranges;
} Run;

/* -------------------------------------------------------------------------
 * What changed
 * -------------------------------------------------------------------------
 */

static void
net_row(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_consolidate_add(arg, row, weight);
}

static int
compare_places(const void *a, const void *b, void *arg)
{
	return derive_places_compare(arg, *(DerivePlace *const *) a, *(DerivePlace *const *) b);
}

/* Sorted, each once. */
static void
sort_places(Run *run)
{
	int			n = list_length(run->places);
	DerivePlace **places = palloc(sizeof(DerivePlace *) * Max(n, 1));
	ListCell   *lc;

	foreach(lc, run->places)
		places[foreach_current_index(lc)] = lfirst(lc);
	qsort_arg(places, n, sizeof(DerivePlace *), compare_places, run->ordering);
	run->places = NIL;
	for (int i = 0; i < n; i++)
		if (i == 0 || derive_places_compare(run->ordering, places[i], llast(run->places)) != 0)
			run->places = lappend(run->places, places[i]);
}

static void
note_place(Run *run, TupleTableSlot *row)
{
	DerivePlace *place;

	if (run->too_many)
	{
		if (derive_place_compare(run->ordering, row, true, linitial(run->places)) < 0)
			derive_place_set(run->ordering, linitial(run->places), row, true);
		if (derive_place_compare(run->ordering, row, true, llast(run->places)) > 0)
			derive_place_set(run->ordering, llast(run->places), row, true);
		return;
	}
	place = derive_place_create(run->ordering);
	derive_place_set(run->ordering, place, row, true);
	run->places = lappend(run->places, place);
	if (list_length(run->places) <= MAX_PLACES)
		return;
	sort_places(run);
	run->too_many = list_length(run->places) > MAX_PLACES / 2;
	if (run->too_many)
		run->places = list_make2(linitial(run->places), llast(run->places));
}

static void
row_changed(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	Run		   *run = arg;

	note_place(run, old != NULL ? old : new);
	run->more += old != NULL ? -count : count;
}

/* -------------------------------------------------------------------------
 * What the table says
 * -------------------------------------------------------------------------
 */

/* By function, the value that a row carries; NULL of no row. */
static NullableDatum *
carried_by(Run *run, TupleTableSlot *row)
{
	NullableDatum *values;
	ListCell   *lc;

	if (row == NULL)
		return NULL;
	values = palloc0(sizeof(NullableDatum) * list_length(run->running->functions));
	foreach(lc, run->running->functions)
	{
		DeriveRunningFunction *function = lfirst(lc);
		NullableDatum *value = &values[foreach_current_index(lc)];
		Form_pg_attribute att;

		if (function->carry == DERIVE_CARRY_NOTHING)
			continue;
		att = TupleDescAttr(run->desc, function->carried - 1);
		value->value = slot_getattr(row, function->carried, &value->isnull);
		if (!value->isnull)
			value->value = datumCopy(value->value, att->attbyval, att->attlen);
	}
	return values;
}

/* The first row that is farther than the place, in the direction of the scan; or, if so wanted, at it. */
static TupleTableSlot *
first_beyond(Run *run, DeriveOrderScan *scan, bool backward, const DerivePlace *place, bool or_at)
{
	TupleTableSlot *row;

	while ((row = derive_order_scan_next(scan)) != NULL)
	{
		int			order = derive_place_compare(run->ordering, row, false, place);

		if ((backward ? order < 0 : order > 0) || (or_at && order == 0))
			break;
	}
	return row;
}

/* From a row over so many rows, and the peers of the last of them, whose place is noted.  Returns the row that follows. */
static TupleTableSlot *
step(Run *run, DeriveOrderScan *scan, TupleTableSlot *row, int64 nrows, DerivePlace *place)
{
	for (int64 i = 0; row != NULL; i++)
	{
		if (i >= nrows && (i == 0 || derive_place_compare(run->ordering, row, false, place) != 0))
			break;
		derive_place_set(run->ordering, place, row, false);
		row = derive_order_scan_next(scan);
	}
	return row;
}

/* Where the part begins, or ends, that has a changed place first, or last. */
static Bound *
find_bound(Run *run, const DerivePlace *place, bool backward)
{
	Bound	   *bound = palloc0(sizeof(Bound));
	DeriveOrderScan *scan = derive_order_scan_begin(run->reader, backward, place);
	int64		nrows = backward ? run->running->ahead : run->running->back;
	int64		ninput = backward ? run->running->back : run->running->ahead;
	TupleTableSlot *row = first_beyond(run, scan, backward, place, false);

	bound->rows = derive_place_create(run->ordering);
	bound->input = derive_place_create(run->ordering);
	derive_place_copy(run->ordering, bound->rows, place);
	row = step(run, scan, row, nrows, bound->rows);
	derive_place_copy(run->ordering, bound->input, bound->rows);
	row = step(run, scan, row, ninput, bound->input);
	bound->open = row == NULL;
	if (backward)
		bound->carried = carried_by(run, row);
	derive_order_scan_end(scan);
	return bound;
}

/* What the table's last row up to a place carries. */
static NullableDatum *
carried_before(Run *run, const DerivePlace *place)
{
	DeriveOrderScan *scan = derive_order_scan_begin(run->reader, true, place);
	NullableDatum *carried = carried_by(run, first_beyond(run, scan, true, place, true));

	derive_order_scan_end(scan);
	return carried;
}

static bool
same_carried(Run *run, const NullableDatum *a, const NullableDatum *b)
{
	ListCell   *lc;

	foreach(lc, run->running->functions)
	{
		DeriveRunningFunction *function = lfirst(lc);
		int			i = foreach_current_index(lc);
		Form_pg_attribute att;

		if (function->carry == DERIVE_CARRY_NOTHING)
			continue;
		if (a == NULL || b == NULL)
			return a == b;
		att = TupleDescAttr(run->desc, function->carried - 1);
		if (a[i].isnull != b[i].isnull ||
			(!a[i].isnull && !datum_image_eq(a[i].value, b[i].value, att->attbyval, att->attlen)))
			return false;
	}
	return true;
}

/* -------------------------------------------------------------------------
 * Parts
 * -------------------------------------------------------------------------
 */

static void
subtract_rows(Run *run)
{
	DerivePlace *last = run->to->open ? NULL : run->to->rows;
	DeriveOrderScan *scan = derive_order_scan_begin(run->reader, true, last);
	TupleTableSlot *row = last ? first_beyond(run, scan, true, last, true) : derive_order_scan_next(scan);

	while (row != NULL && derive_place_compare(run->ordering, row, false, run->from->rows) >= 0 &&
		   (run->done == NULL || derive_place_compare(run->ordering, row, false, run->done) > 0))
	{
		derive_target_add(run->target, row, -1);
		row = derive_order_scan_next(scan);
	}
	derive_order_scan_end(scan);
}

static void
row_evaluated(void *arg, TupleTableSlot *row, int64 weight)
{
	Run		   *run = arg;

	if (!run->to->open)
	{
		if (derive_place_compare(run->ordering, row, false, run->to->rows) > 0)
			return;
		if (TTS_EMPTY(run->last) || derive_place_compare(run->ordering, row, false, run->last_place) > 0)
		{
			derive_place_set(run->ordering, run->last_place, row, false);
			ExecCopySlot(run->last, row);
		}
	}
	if (derive_place_compare(run->ordering, row, false, run->from->rows) >= 0 &&
		(run->done == NULL || derive_place_compare(run->ordering, row, false, run->done) > 0))
		derive_target_add(run->target, row, weight);
}

/* For derive_running_part(); NULL if there is no bound. */
static DeriveRunningBound *
input_bound(const Bound *bound)
{
	DeriveRunningBound *input = palloc(sizeof(DeriveRunningBound));

	if (bound->open)
		return NULL;
	*input = (DeriveRunningBound)
	{
		bound->input->values, bound->input->nulls, bound->strict
	};
	return input;
}

/* Have the rows that it evaluates been gathered? */
static bool
part_is_gathered(Run *run)
{
	for (int i = 0; i < run->nranges; i++)
	{
		Bound	   *from = run->ranges[i].from;
		Bound	   *to = run->ranges[i].to;

		if ((from->open || (!run->from->open && derive_places_compare(run->ordering, from->input, run->from->input) <= 0)) &&
			(to->open || (!run->to->open && derive_places_compare(run->ordering, to->input, run->to->input) >= 0)))
			return true;
	}
	return false;
}

static void
run_part(Run *run)
{
	Oid			sum_from = derive_state_function("sum_from", 2, NUMERICOID);
	QueryEnvironment *env = NULL;
	RangeTblEntry *rows = NULL;

	if (part_is_gathered(run))
	{
		env = create_queryEnv();
		derive_env_register(env, GATHERED, run->gathered_desc, run->gathered, run->ngathered);
		rows = derive_query_enr_rte(GATHERED, run->gathered_desc, run->ngathered);
	}
	derive_query_run(finished(run->op, derive_running_part(run->running, input_bound(run->from), input_bound(run->to),
														   run->from->carried, sum_from, rows)),
					 env, row_evaluated, run);
}

/* Evaluates the part, and leaves what its last row carries. */
static void
replace_part(Run *run)
{
	subtract_rows(run);
	ExecClearTuple(run->last);
	if (run->from->open && run->to->open)
		running_produce(run->op, row_evaluated, run);
	else
		run_part(run);
	run->carried = TTS_EMPTY(run->last) ? run->from->carried : carried_by(run, run->last);
}

/* Do rows that are evaluated for one place count for the next one? */
static bool
is_near(Run *run, int next)
{
	Bound	   *from;

	if (run->running->back == 0 && run->running->ahead == 0)
		return false;
	from = find_bound(run, list_nth(run->places, next), true);
	return from->open || derive_places_compare(run->ordering, from->input, run->to->input) <= 0;
}

/* The next part goes on behind this one. */
static void
go_on(Run *run)
{
	run->done = run->to->rows;
	if (run->running->back > 0)
		return;					/* it evaluates what was before once more */
	run->from->open = false;
	run->from->input = run->to->rows;
	run->from->strict = true;
	run->from->carried = run->carried;
}

/* From the place with this number on, until rows stay.  Returns the number of the place after these. */
static int
replace_from(Run *run, int first)
{
	int			nplaces = list_length(run->places);
	int			last = first;
	int			at_once = 1;
	bool		to_end = false;

	if (run->too_many)
		last = nplaces - 1;		/* all between the two as one part */
	run->from = find_bound(run, list_nth(run->places, first), true);
	run->done = NULL;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		run->to = find_bound(run, list_nth(run->places, last), false);
		while (last + 1 < nplaces && !run->to->open && is_near(run, last + 1))
			run->to = find_bound(run, list_nth(run->places, ++last), false);
		if (to_end || (last == nplaces - 1 && run->running->counts && run->more != 0))
			run->to->open = true;
		replace_part(run);
		if (run->to->open)
			return nplaces;
		if (same_carried(run, run->carried, carried_before(run, run->to->rows)))
			return last + 1;
		go_on(run);
		to_end = last == nplaces - 1;
		at_once *= 2;
		last = Min(last + at_once, nplaces - 1);
	}
}

/* -------------------------------------------------------------------------
 * Gathering the rows of several parts
 * -------------------------------------------------------------------------
 */

static Query *
rows_between(Run *run, const Bound *from, const Bound *to)
{
	Query	   *query = derive_running_rows(run->running, input_bound(from), input_bound(to));

	derive_query_choose(query);
	return query;
}

/* Around each place from this one on: those of the first part from there. */
static void
find_ranges(Run *run, int first)
{
	struct Range *last = NULL;

	run->ranges = palloc(sizeof(struct Range) * (list_length(run->places) - first));
	for (int i = first; i < list_length(run->places); i++)
	{
		Bound	   *from = find_bound(run, list_nth(run->places, i), true);
		Bound	   *to = find_bound(run, list_nth(run->places, i), false);

		if (last == NULL ||
			!(from->open || last->to->open || derive_places_compare(run->ordering, from->input, last->to->input) <= 0))
		{
			last = &run->ranges[run->nranges++];
			last->from = from;
		}
		last->to = to;
	}
}

static void
gather_row(void *arg, TupleTableSlot *row, int64 weight)
{
	Run		   *run = arg;
	int			low = 0;
	int			high = run->nranges - 1;

	derive_place_set(run->ordering, run->gathering, row, true);
	/* the first range that does not end before the row */
	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		Bound	   *to = run->ranges[middle].to;

		if (!to->open && derive_places_compare(run->ordering, run->gathering, to->input) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (!run->ranges[low].from->open &&
		derive_places_compare(run->ordering, run->gathering, run->ranges[low].from->input) < 0)
		return;
	Assert(weight == 1);
	tuplestore_puttupleslot(run->gathered, row);
	run->ngathered++;
}

/* If reading once all there is from a place to the last one is cheaper than reading what is around each of them. */
static void
gather(Run *run, int first)
{
	int			nplaces = list_length(run->places) - first;
	Bound	   *from;
	Bound	   *to;
	Query	   *all;
	Cost		around_place;

	if (nplaces < 2)
		return;
	from = find_bound(run, list_nth(run->places, first), true);
	to = find_bound(run, list_nth(run->places, first), false);
	around_place = derive_query_cost(rows_between(run, from, to));
	to = find_bound(run, llast(run->places), false);
	if (derive_query_cost(rows_between(run, from, to)) >= around_place * nplaces)
		return;
	find_ranges(run, first);
	all = rows_between(run, from, to);
	run->gathering = derive_place_create(run->ordering);
	run->gathered_desc = derive_query_desc(all);
	run->gathered = derive_tuplestore_create(derive_work_mem);
	derive_query_run(all, NULL, gather_row, run);
}

static void
add_to_target(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

static void
replace_rows(Run *run)
{
	bool		tried = false;

	run->table = table_open(run->op->table, AccessShareLock);
	run->desc = RelationGetDescr(run->table);
	run->last_place = derive_place_create(run->ordering);
	run->last = MakeSingleTupleTableSlot(run->desc, &TTSOpsMinimalTuple);
	sort_places(run);
	run->reader = derive_order_reader_open(run->table, run->op->order, run->ordering, GetActiveSnapshot());
	if (run->reader == NULL)
	{
		/* people have dropped the index */
		derive_target_subtract_contents(run->target);
		running_produce(run->op, add_to_target, run->target);
	}
	else
	{
		for (int i = 0; i < list_length(run->places);)
		{
			if (i > 0 && !tried)
			{
				tried = true;
				gather(run, i);
			}
			i = replace_from(run, i);
		}
		derive_order_reader_close(run->reader);
	}
	ExecDropSingleTupleTableSlot(run->last);
	table_close(run->table, NoLock);
}

static void
running_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	Run			run = {.op = op,.running = op->running->running,.target = target};
	DeriveConsolidator *net = derive_consolidate_begin(derive_linear_desc(op->input), 0, NULL, false);

	run.ordering = derive_ordering_create(op->order);
	derive_linear_delta(op->input, batch, net_row, net);
	derive_consolidate_finish(net, row_changed, &run);
	if (run.places != NIL)
		replace_rows(&run);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

static List *
running_explain(DeriveOperator *op, List *lines)
{
	lines = lappend(lines, pstrdup("Rows are evaluated again from a change on, in the order of the windows, until they are what they were"));
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
