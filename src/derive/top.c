/*-------------------------------------------------------------------------
 *
 * top.c
 *	  ORDER BY .. LIMIT: the top operator.
 *
 * Which rows are the first ones, one cannot know without the others; but one can know more
 * of the first ones than is asked for.  The state is K, all rows of the input that sort up to a
 * bound:
 *
 *	SELECT name, score FROM t ORDER BY score DESC LIMIT 2			(K: 3 rows or more)
 *
 *	score	9  8  7  7 | 5  3  1		the bound is 7
 *			-----			shown
 *			-----------		K
 *
 *	+ 4			behind the bound: nothing to do
 *	+ 8.5		K is 9  8.5  8  7  7, and the view is 9  8.5
 *	- 9, - 8	K is 8.5  7  7, and the view is 8.5  7
 *	- 8.5, - 7	K is 7, fewer than are asked for, and there are others behind the bound: it is filled
 *				again, by "ORDER BY .. LIMIT" on the input
 *
 * So a change behind the bound, which is nearly every one where few of many rows are asked for,
 * costs its comparison.  One within it costs the reading and sorting of K.  To fill K costs what the
 * query costs.  It is filled with so many rows that half of what is asked for has to go, and some
 * more, before it is filled again: a queue from which the first row is taken, again and again, fills it
 * once in so many times; a batch that deletes many of the first rows, once.  K grows by rows that come;
 * when it is twice too large the bound is set to where it should be, and K is cut there.  As long as
 * K is all of the input there is no bound.
 *
 * The order.  It is total (choice.c): ORDER BY, all columns, images where equal values may not be the
 * same, which are columns of K.  So rows that it does not tell apart are the same, and are one row of K
 * with the number of its copies: a table in which every row is the same is one row of K.  Rows are
 * compared here with the operators that the executor sorts by.
 *
 * WITH TIES the bound is one in the columns of ORDER BY alone, so that K has all the ties of any of
 * its rows.  Where these are many, K has many rows, as has the view.
 *
 * Filling.  The first rows come from a query with LIMIT, for which an index may be good.  The last one may
 * have more copies or ties, so it is left out, with all that are like it, and what remains is complete up
 * to its last row, the bound.  If too little remains, because of many copies or ties, the whole input
 * is looked at for rows up to that one.
 *
 * Many changes.  Rows that come to be within the bound are kept in memory, and sorted whenever they are
 * many more than K should have; then a bound that lets pass as many as are needed takes the place of
 * the one that was, and the others are forgotten.  Any bound is right as long as K has no rows behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/debug_point.h"
#include "base/rowhash.h"
#include "compile/digest.h"
#include "compile/hidden.h"
#include "compile/query.h"
#include "deposit/fill.h"
#include "derive/choice.h"
#include "derive/plan.h"
#include "deposit/statetable.h"
#include "derive/top.h"
#include "derive/toprows.h"

/* Rows that are kept beyond those that are asked for: half of these, and this. */
#define SPARE_ROWS	50

/* Of so many changes, and a few times as many as are kept, none is forgotten before the end. */
#define SORT_CHANGES_AT	1000

/* The state table: how often the row is there, and its columns. */
enum
{
	STATE_KIND = 1,				/* what the index is on */
	STATE_WEIGHT,
	STATE_COLUMNS				/* the first one */
};

enum
{
	KIND_ROW,					/* a row of K */
	KIND_BOUND					/* the bound; none: K is all of the input */
};

typedef struct DeriveTop
{
	MemoryContext cxt;
	DeriveLimit limit;
	int64		asked;			/* offset and count */
	int64		filled;			/* with so many rows K is filled */
	int64		most;			/* K is cut when it has more */
	Query	   *first;			/* the query that fills it */
	DerivePlan *plan;			/* made when first needed */
	TupleDesc	desc;			/* of the input and of K: what is shown, what
								 * is sorted by, images */
	int			nshown;
	DeriveTopOrder order;
	int			nbound;			/* the bound is in so many of its columns */
	bool	   *stored_hidden;	/* columns that are images in the state table */
	bool	   *shown_hidden;	/* and in the derived table */
} DeriveTop;

/* -------------------------------------------------------------------------
 * Compiling
 * -------------------------------------------------------------------------
 */

Query *
derive_top_input(Query *block)
{
	Query	   *input = copyObject(block);
	List	   *shown = NIL;
	List	   *sorted = NIL;
	ListCell   *lc;

	input->limitCount = input->limitOffset = NULL;
	input->limitOption = LIMIT_OPTION_COUNT;
	foreach(lc, input->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk)
			shown = lappend(shown, tle);
		else if (get_sortgroupref_clause_noerr(tle->ressortgroupref, input->sortClause) != NULL)
			sorted = lappend(sorted, tle);
	}
	input->targetList = list_concat(shown, sorted);
	foreach(lc, input->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->resno = foreach_current_index(lc) + 1;
		if (tle->resjunk || tle->resname == NULL)
			tle->resname = tle->resjunk ? psprintf("c%d", tle->resno) : pstrdup("?column?");
		tle->resjunk = false;
	}
	return input;
}

static int
count_shown(Query *block)
{
	int			count = 0;
	ListCell   *lc;

	foreach(lc, block->targetList)
		count += !lfirst_node(TargetEntry, lc)->resjunk;
	return count;
}

static void
set_order(DeriveTopOrder *order, Query *query)
{
	ListCell   *lc;

	order->nkeys = list_length(query->sortClause);
	order->columns = palloc(sizeof(AttrNumber) * Max(order->nkeys, 1));
	order->operators = palloc(sizeof(Oid) * Max(order->nkeys, 1));
	order->collations = palloc(sizeof(Oid) * Max(order->nkeys, 1));
	order->nulls_first = palloc(sizeof(bool) * Max(order->nkeys, 1));
	foreach(lc, query->sortClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		TargetEntry *tle = get_sortgroupclause_tle(clause, query->targetList);
		int			i = foreach_current_index(lc);

		order->columns[i] = tle->resno;
		order->operators[i] = clause->sortop;
		order->collations[i] = exprCollation((Node *) tle->expr);
		order->nulls_first[i] = clause->nulls_first;
	}
}

static TupleDesc
state_desc(DeriveTop *top)
{
	TupleDesc	desc = CreateTemplateTupleDesc(STATE_COLUMNS - 1 + top->desc->natts);

	TupleDescInitEntry(desc, STATE_KIND, "h", INT4OID, -1, 0);
	TupleDescInitEntry(desc, STATE_WEIGHT, "n", INT8OID, -1, 0);
	for (int i = 0; i < top->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(top->desc, i);

		derive_hidden_column(desc, STATE_COLUMNS + i, psprintf("c%d", i + 1), att->atttypid, att->atttypmod,
							 att->attcollation);
		top->stored_hidden[i] = derive_is_row_type(att->atttypid);
	}
	return desc;
}

void
derive_top_compile(DeriveOperator *op, Query *block, const DeriveLimit *limit, DeriveTableResolver resolve, void *arg)
{
	DeriveTop  *top = palloc0(sizeof(DeriveTop));
	Query	   *input = derive_top_input(block);
	Query	   *shown = makeNode(Query);
	ListCell   *lc;

	derive_query_choose_inside(input);
	top->cxt = CurrentMemoryContext;
	top->limit = *limit;
	top->asked = limit->offset + limit->count;
	top->filled = top->asked + top->asked / 2 + SPARE_ROWS;
	top->most = 2 * top->asked + 2 * SPARE_ROWS;
	top->nshown = count_shown(block);
	top->nbound = list_length(input->sortClause);
	derive_query_complete_order(input);
	foreach(lc, input->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			tle->resname = psprintf("c%d", tle->resno);
		tle->resjunk = false;
	}
	set_order(&top->order, input);
	if (!limit->ties)
		top->nbound = top->order.nkeys;

	top->first = copyObject(input);
	top->first->limitCount = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(top->filled),
												false, FLOAT8PASSBYVAL);
	derive_query_normalize(input);
	top->desc = derive_query_desc(input);
	top->stored_hidden = palloc0(sizeof(bool) * top->desc->natts);
	top->shown_hidden = palloc0(sizeof(bool) * top->desc->natts);
	shown->targetList = list_truncate(copyObject(input->targetList), top->nshown);

	op->routine = &derive_top_routine;
	op->top = top;
	op->input = derive_linear_create(list_make1(input), true);
	op->desc = derive_query_desc(shown);
	op->state_desc = state_desc(top);
	op->state = resolve(arg, op->number, 's', op->state_desc);
}

/* The rows of two results may be equal. */
static List *
top_key(DeriveOperator *op, List **constraints)
{
	return NIL;
}

static void
top_hide(DeriveOperator *op)
{
	DeriveTop  *top = op->top;
	TupleDesc	desc = CreateTemplateTupleDesc(top->nshown);

	for (int i = 0; i < top->nshown; i++)
	{
		Form_pg_attribute att = TupleDescAttr(op->desc, i);

		derive_hidden_column(desc, i + 1, NameStr(att->attname), att->atttypid, att->atttypmod, att->attcollation);
		top->shown_hidden[i] = top->stored_hidden[i];
	}
	op->desc = desc;
}

static List *
top_sources(DeriveOperator *op, List *sources)
{
	return derive_linear_sources(op->input, sources);
}

static List *
top_queries(DeriveOperator *op, Query **by_key)
{
	*by_key = NULL;
	return derive_linear_branches(op->input);
}

static uint64
top_digest(DeriveOperator *op, uint64 digest, List *own)
{
	DeriveTop  *top = op->top;

	digest = derive_digest_tree(digest, top->first, own);
	digest = derive_digest_add(digest, top->limit.offset);
	digest = derive_digest_add(digest, top->limit.count);
	return derive_digest_add(digest, top->limit.ties);
}

static bool
top_touched(DeriveOperator *op, DeriveBatch *batch, const char **unknown)
{
	return derive_linear_touched(op->input, batch, unknown);
}

/* -------------------------------------------------------------------------
 * A run
 * -------------------------------------------------------------------------
 */

typedef struct Run
{
	DeriveOperator *op;
	DeriveTop  *top;
	MemoryContext cxt;			/* holds all of this */
	MemoryContext tmp;			/* for comparisons; reset after each row */
	DeriveStateTable *state;	/* NULL when everything is made anew */

	DeriveTopRows *bound;		/* the one row; none: there is no bound */
	bool		bound_moved;
	DeriveTopRows *rows;		/* that have come or gone within the bound */
	int64		sort_at;		/* when there are so many */
	int64		nfirst;			/* rows that the query gave */
} Run;

static DeriveTopRows *
create_rows(Run *run)
{
	MemoryContext old = MemoryContextSwitchTo(run->cxt);
	DeriveTopRows *rows = derive_top_rows_create(run->top->desc, &run->top->order);

	MemoryContextSwitchTo(old);
	return rows;
}

/* Begin to gather rows within the bound. */
static void
begin_rows(Run *run)
{
	run->rows = create_rows(run);
	run->sort_at = 2 * run->top->most + SORT_CHANGES_AT;
}

static Run *
begin_run(DeriveOperator *op)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive top", ALLOCSET_DEFAULT_SIZES);
	Run		   *run = MemoryContextAllocZero(cxt, sizeof(Run));

	run->op = op;
	run->top = op->top;
	run->cxt = cxt;
	run->tmp = AllocSetContextCreate(cxt, "pg_derive top row", ALLOCSET_DEFAULT_SIZES);
	run->bound = create_rows(run);
	begin_rows(run);
	return run;
}

static void
end_run(Run *run)
{
	MemoryContextDelete(run->cxt);
}

static bool
is_bounded(Run *run)
{
	return derive_top_rows_count(run->bound) > 0;
}

/* Let this row be the bound, or NULL: let there be none. */
static void
set_bound(Run *run, const DeriveTopRow *row)
{
	DeriveTopRows *bound = create_rows(run);

	if (row != NULL)
		derive_top_rows_add(bound, row->values, row->nulls, 0);
	derive_top_rows_free(run->bound);
	run->bound = bound;
	run->bound_moved = true;
}

static bool
is_behind_bound(Run *run, const Datum *values, const bool *nulls)
{
	DeriveTopRow *bound;

	if (!is_bounded(run))
		return false;
	bound = derive_top_rows_get(run->bound, 0);
	return derive_top_compare(run->bound, run->top->nbound, values, nulls, bound->values, bound->nulls) > 0;
}

/* Forget rows, in order, that are more than need be kept; those that are left are all up to the bound. */
static void
cut(Run *run, DeriveTopRows *rows)
{
	int64		needed = derive_top_rows_needed(rows, run->top->nbound, run->top->filled, run->top->asked);

	if (needed == derive_top_rows_count(rows))
		return;
	set_bound(run, derive_top_rows_get(rows, needed - 1));
	derive_top_rows_truncate(rows, needed);
}

static void
sort_rows(Run *run)
{
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	derive_top_rows_sort(run->rows);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* Takes a row and its weight, if it is within the bound. */
static void
gather(void *arg, TupleTableSlot *row, int64 weight)
{
	Run		   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	slot_getallattrs(row);
	if (!is_behind_bound(run, row->tts_values, row->tts_isnull))
		derive_top_rows_add(run->rows, row->tts_values, row->tts_isnull, weight);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);

	if (derive_top_rows_count(run->rows) < run->sort_at)
		return;
	sort_rows(run);
	cut(run, run->rows);
	derive_top_rows_compact(run->rows);
	run->sort_at = Max(run->sort_at, 2 * derive_top_rows_count(run->rows));
}

/* -------------------------------------------------------------------------
 * Filling
 * -------------------------------------------------------------------------
 */

/* The rows of the query come in order. */
static void
take_first(void *arg, TupleTableSlot *row, int64 weight)
{
	Run		   *run = arg;
	int64		count = derive_top_rows_count(run->rows);
	DeriveTopRow *last = count > 0 ? derive_top_rows_get(run->rows, count - 1) : NULL;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	run->nfirst++;
	slot_getallattrs(row);
	if (last != NULL && derive_top_compare(run->rows, run->top->order.nkeys, last->values, last->nulls,
										   row->tts_values, row->tts_isnull) == 0)
		last->weight += weight;
	else
		derive_top_rows_add(run->rows, row->tts_values, row->tts_isnull, weight);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* Leave out the last row with all that are like it; false if too little would be left. */
static bool
leave_out_last(Run *run)
{
	DeriveTopRows *rows = run->rows;
	int64		count = derive_top_rows_count(rows) - 1;
	DeriveTopRow *last = derive_top_rows_get(rows, count);
	int64		weight = derive_top_rows_weight(rows) - last->weight;

	while (count > 0)
	{
		DeriveTopRow *before = derive_top_rows_get(rows, count - 1);

		if (derive_top_compare(rows, run->top->nbound, before->values, before->nulls, last->values, last->nulls) != 0)
			break;
		weight -= before->weight;
		count--;
	}
	if (count == 0 || weight < run->top->asked)
		return false;
	set_bound(run, derive_top_rows_get(rows, count - 1));
	derive_top_rows_truncate(rows, count);
	return true;
}

/* K from nothing: it is in run->rows then, in order. */
static void
fill(Run *run)
{
	DeriveTop  *top = run->top;

	DERIVE_DEBUG_POINT("top-fill");
	if (top->plan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(top->cxt);

		top->plan = derive_plan_create(top->first, CURSOR_OPT_PARALLEL_OK);
		MemoryContextSwitchTo(old);
	}
	begin_rows(run);
	run->nfirst = 0;
	derive_plan_run(top->plan, NULL, NULL, false, take_first, run);
	if (run->nfirst < top->filled)
		set_bound(run, NULL);
	else if (!leave_out_last(run))
	{
		set_bound(run, derive_top_rows_get(run->rows, derive_top_rows_count(run->rows) - 1));
		begin_rows(run);
		derive_linear_full(run->op->input, gather, run);
		sort_rows(run);
	}
}

/* -------------------------------------------------------------------------
 * What is shown
 * -------------------------------------------------------------------------
 */

/* Rows in order: those from offset on, as many as are asked for, and ties of the last one. */
static void
show(Run *run, DeriveTopRows *rows)
{
	DeriveLimit *limit = &run->top->limit;
	int64		end = limit->offset + limit->count;
	int64		before = 0;
	DeriveTopRow *last = NULL;

	for (int64 i = 0; i < derive_top_rows_count(rows); i++)
	{
		DeriveTopRow *row = derive_top_rows_get(rows, i);
		int64		after = before + row->weight;

		if (last != NULL && derive_top_compare(rows, run->top->nbound, last->values, last->nulls,
											   row->values, row->nulls) == 0)
			end = after;
		else if (limit->ties && limit->count > 0 && before < end && end <= after)
		{
			last = row;
			end = after;
		}
		row->shown = Max(Min(after, end) - Max(before, limit->offset), 0);
		before = after;
	}
}

static TupleTableSlot *
output_slot(Run *run)
{
	return MakeSingleTupleTableSlot(run->op->desc, &TTSOpsVirtual);
}

/* A row of K as one of the view, or of the derived table. */
static TupleTableSlot *
output_row(Run *run, const DeriveTopRow *row, TupleTableSlot *slot)
{
	DeriveTop  *top = run->top;

	ExecClearTuple(slot);
	for (int i = 0; i < top->nshown; i++)
	{
		slot->tts_isnull[i] = row->nulls[i];
		slot->tts_values[i] = top->shown_hidden[i] && !row->nulls[i] ?
			derive_datum_image(TupleDescAttr(top->desc, i)->atttypid, row->values[i]) : row->values[i];
	}
	return ExecStoreVirtualTuple(slot);
}

/* -------------------------------------------------------------------------
 * What is stored
 * -------------------------------------------------------------------------
 */

static TupleTableSlot *
state_row(Run *run, int kind, const DeriveTopRow *row, TupleTableSlot *slot)
{
	int			first = STATE_COLUMNS - 1;

	ExecClearTuple(slot);
	slot->tts_values[STATE_KIND - 1] = Int32GetDatum(kind);
	slot->tts_isnull[STATE_KIND - 1] = false;
	slot->tts_values[STATE_WEIGHT - 1] = Int64GetDatum(row->weight);
	slot->tts_isnull[STATE_WEIGHT - 1] = false;
	memcpy(slot->tts_values + first, row->values, sizeof(Datum) * run->top->desc->natts);
	memcpy(slot->tts_isnull + first, row->nulls, sizeof(bool) * run->top->desc->natts);
	return ExecStoreVirtualTuple(slot);
}

typedef struct LoadContext
{
	Run		   *run;
	DeriveTopRows *rows;
} LoadContext;

static void
load_row(void *arg, TupleTableSlot *slot)
{
	LoadContext *load = arg;
	DeriveTop  *top = load->run->top;
	MemoryContext old = MemoryContextSwitchTo(load->run->tmp);
	DeriveTopRow *row;

	slot_getallattrs(slot);
	for (int i = 0; i < top->desc->natts; i++)
	{
		Datum	   *value = &slot->tts_values[STATE_COLUMNS - 1 + i];

		if (top->stored_hidden[i] && !slot->tts_isnull[STATE_COLUMNS - 1 + i])
			*value = derive_hidden_value(*value);
	}
	row = derive_top_rows_add(load->rows, slot->tts_values + STATE_COLUMNS - 1, slot->tts_isnull + STATE_COLUMNS - 1,
							  DatumGetInt64(slot->tts_values[STATE_WEIGHT - 1]));
	row->tid = slot->tts_tid;
	MemoryContextSwitchTo(old);
	MemoryContextReset(load->run->tmp);
}

/* K, in order: as it was filled, but for rows that came later. */
static DeriveTopRows *
load_rows(Run *run)
{
	LoadContext load = {run, create_rows(run)};
	DeriveTopRows *rows = create_rows(run);

	derive_state_each(run->state, KIND_ROW, load_row, &load);
	derive_top_rows_merge_sort(rows, load.rows, create_rows(run));
	return rows;
}

static void
load_bound(Run *run)
{
	LoadContext load = {run, run->bound};

	derive_state_each(run->state, KIND_BOUND, load_row, &load);
	Assert(derive_top_rows_count(run->bound) <= 1);
}

static void
store_bound(Run *run)
{
	DeriveTopRows *stored = create_rows(run);
	LoadContext load = {run, stored};

	if (!run->bound_moved)
		return;
	derive_state_each(run->state, KIND_BOUND, load_row, &load);
	if (derive_top_rows_count(stored) > 0)
		derive_state_delete(run->state, &derive_top_rows_get(stored, 0)->tid);
	if (is_bounded(run))
		derive_state_insert(run->state, state_row(run, KIND_BOUND, derive_top_rows_get(run->bound, 0),
												  derive_state_slot(run->state)));
}

/* The stored row that was becomes the one that is; either may be NULL. */
static void
store_row(Run *run, DeriveTopRow *was, DeriveTopRow *is)
{
	if (is == NULL)
		derive_state_delete(run->state, &was->tid);
	else if (was == NULL)
		derive_state_insert(run->state, state_row(run, KIND_ROW, is, derive_state_slot(run->state)));
	else if (was->weight != is->weight)
		derive_state_update(run->state, &was->tid, state_row(run, KIND_ROW, is, derive_state_slot(run->state)));
}

/* K was these rows and becomes those, both in order. */
static void
store(Run *run, DeriveTopRows *before, DeriveTopRows *after, DeriveTarget *target)
{
	TupleTableSlot *output = output_slot(run);
	int64		i = 0;
	int64		j = 0;

	show(run, before);
	show(run, after);
	while (i < derive_top_rows_count(before) || j < derive_top_rows_count(after))
	{
		DeriveTopRow *was = i < derive_top_rows_count(before) ? derive_top_rows_get(before, i) : NULL;
		DeriveTopRow *is = j < derive_top_rows_count(after) ? derive_top_rows_get(after, j) : NULL;
		int			order = was == NULL ? 1 : is == NULL ? -1 : was->values == is->values ? 0 :
		derive_top_compare(before, run->top->order.nkeys, was->values, was->nulls, is->values, is->nulls);
		int64		change;

		if (order < 0)
			is = NULL;
		else if (order > 0)
			was = NULL;
		i += was != NULL;
		j += is != NULL;
		change = (is ? is->shown : 0) - (was ? was->shown : 0);
		if (change != 0)
			derive_target_add(target, output_row(run, is ? is : was, output), change);
		store_row(run, was, is);
	}
	store_bound(run);
	ExecDropSingleTupleTableSlot(output);
}

/* -------------------------------------------------------------------------
 * Running
 * -------------------------------------------------------------------------
 */

/* What was removed had to be there, and to be behind no bound that there has been. */
static void
check_rows(Run *run, DeriveTopRows *rows)
{
	for (int64 i = 0; i < derive_top_rows_count(rows); i++)
		if (derive_top_rows_get(rows, i)->weight < 0)
			ereport(ERROR,
					(errcode(DERIVE_ERRCODE_DIVERGED),
					 errmsg("contents of \"%s\" do not agree with its definition", get_rel_name(run->op->state)),
					 errdetail_internal("A row that should be removed is not there.")));
}

/* The rows in order that are within the bound. */
static void
leave_out_behind(Run *run, DeriveTopRows *rows)
{
	int64		count = derive_top_rows_count(rows);

	while (count > 0 && is_behind_bound(run, derive_top_rows_get(rows, count - 1)->values,
										derive_top_rows_get(rows, count - 1)->nulls))
		count--;
	derive_top_rows_truncate(rows, count);
}

static void
apply_rows(Run *run, DeriveTarget *target)
{
	DeriveTopRows *before = load_rows(run);
	DeriveTopRows *after = create_rows(run);

	derive_top_rows_merge(after, before, run->rows);
	leave_out_behind(run, after);
	check_rows(run, after);
	if (derive_top_rows_count(after) > run->top->most)
		cut(run, after);
	if (is_bounded(run) && derive_top_rows_weight(after) < run->top->asked)
	{
		elog(DEBUG1, "reading the first rows anew");
		fill(run);
		after = run->rows;
	}
	store(run, before, after, target);
}

static void
top_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	Run		   *run = begin_run(op);
	MemoryContext old = MemoryContextSwitchTo(run->cxt);

	run->state = derive_state_open(op->state);
	load_bound(run);
	MemoryContextSwitchTo(old);
	derive_linear_delta(op->input, batch, gather, run);
	MemoryContextSwitchTo(run->cxt);
	sort_rows(run);
	if (derive_top_rows_count(run->rows) > 0 || run->bound_moved)
		apply_rows(run, target);
	derive_state_close(run->state);
	MemoryContextSwitchTo(old);
	end_run(run);
}

static void
top_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	Run		   *run = begin_run(op);
	DeriveFill *state = derive_fill_begin(op->state);
	TupleTableSlot *stored = MakeSingleTupleTableSlot(op->state_desc, &TTSOpsVirtual);
	TupleTableSlot *output = output_slot(run);

	fill(run);
	show(run, run->rows);
	for (int64 i = 0; i < derive_top_rows_count(run->rows); i++)
	{
		DeriveTopRow *row = derive_top_rows_get(run->rows, i);

		CHECK_FOR_INTERRUPTS();
		derive_fill_add(state, state_row(run, KIND_ROW, row, stored));
		for (int64 copy = 0; copy < row->shown; copy++)
			sink(arg, output_row(run, row, output), 1);
	}
	if (is_bounded(run))
		derive_fill_add(state, state_row(run, KIND_BOUND, derive_top_rows_get(run->bound, 0), stored));
	(void) derive_fill_finish(state);
	ExecDropSingleTupleTableSlot(stored);
	ExecDropSingleTupleTableSlot(output);
	end_run(run);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

static List *
top_explain(DeriveOperator *op, List *lines)
{
	DeriveTop  *top = op->top;

	lines = lappend(lines, psprintf("Kept: the first %lld to %lld rows%s; changes behind them do nothing",
									(long long) top->asked, (long long) top->most,
									top->limit.ties ? " with their ties" : ""));
	lines = lappend(lines, pstrdup("When fewer are left: read again"));
	if (OidIsValid(op->state))
		lines = lappend(lines, psprintf("State: %s", get_rel_name(op->state)));
	return lines;
}

const DeriveOperatorRoutine derive_top_routine = {
	.name = "top",
	.key = top_key,
	.hide = top_hide,
	.sources = top_sources,
	.queries = top_queries,
	.digest = top_digest,
	.touched = top_touched,
	.apply = top_apply,
	.produce = top_produce,
	.explain = top_explain,
};
