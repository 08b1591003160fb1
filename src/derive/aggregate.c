/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *	  The aggregate operator: GROUP BY, aggregates, HAVING, DISTINCT, UNION.
 *
 * Every group that a batch touches is loaded from the state table once, its
 * output row before the batch is remembered, the batch's rows are folded into
 * its states, and state and output are written back:
 *
 *	fold	rows with positive weight first, those with negative weight after
 *			them (they wait in a tuplestore): removing then always takes away
 *			something that is there, as inverse transitions demand
 *	redo	groups whose states could not be updated are computed afresh from
 *			the base tables (aggredo.c)
 *	write	new state; and old and new output row to the target
 *
 * If the groups of a batch outgrow memory, nothing has been written yet: it
 * starts over with the batch's rows sorted by group, and writes groups as they
 * become complete.  A group that is half-way is never written or shown: HAVING
 * and the output's expressions may fail on values that never were.
 *
 * Building from nothing there is nothing to load, and the executor knows best how to
 * compute groups: in parallel, and with more of them than memory holds.  It returns what
 * the state table gets, a group in a row, and the view's row is made of that:
 *
 *	SELECT g, avg(x) FROM t GROUP BY g
 *
 *	from the executor	to the state table		to the view
 *	1 | 2 | 2 | {2,30}	h | 1 | 2 | 2 | {2,30}	1 | 15
 *
 * What it cannot compute is folded row by row, as in a batch (aggcompile.c says what that
 * is).  If the groups outgrow memory then, the build starts over with its input sorted by the
 * keys and holds one group at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "base/gucs.h"
#include "base/rowhash.h"
#include "compile/digest.h"
#include "compile/hidden.h"
#include "compile/query.h"
#include "deposit/fill.h"
#include "derive/aggregate_internal.h"

/* -------------------------------------------------------------------------
 * The inside, for others
 * -------------------------------------------------------------------------
 */

/* The columns that identify a group, where the output shows them all. */
static List *
aggregate_key(DeriveOperator *op, List **constraints)
{
	List	   *attnos = NIL;

	for (int i = 0; i < op->aggregation->nidentity; i++)
	{
		AttrNumber	attno = derive_query_find_output(op->aggregation->targets, 1, i + 1);

		if (attno == 0)
			return NIL;
		attnos = lappend_int(attnos, attno);
	}
	return attnos;
}

static void
aggregate_hide(DeriveOperator *op)
{
	if (derive_hide_targets(op->aggregation->targets))
		op->desc = derive_aggregation_desc(op->aggregation);
}

static List *
aggregate_sources(DeriveOperator *op, List *sources)
{
	return derive_linear_sources(op->input, sources);
}

/* Groups that may have to be computed afresh are found by their keys. */
static List *
aggregate_queries(DeriveOperator *op, Query **by_key)
{
	DeriveAggregation *agg = op->aggregation;
	bool		redo = agg->recompute;

	for (int i = 0; i < agg->ncalls; i++)
		redo |= agg->calls[i].function->cls == DERIVE_AGG_EXTREMUM;
	*by_key = redo && agg->grouped ? agg->core : NULL;
	return derive_linear_branches(op->input);
}

static uint64
aggregate_digest(DeriveOperator *op, uint64 digest, List *own)
{
	digest = derive_digest_tree(digest, derive_linear_branches(op->input), own);
	return derive_aggregation_digest(digest, op->aggregation, own);
}

static bool
aggregate_touched(DeriveOperator *op, DeriveBatch *batch, const char **unknown)
{
	return derive_linear_touched(op->input, batch, unknown);
}

/* -------------------------------------------------------------------------
 * A run
 * -------------------------------------------------------------------------
 */

static AggRun *
begin_run(DeriveOperator *op, bool fresh)
{
	DeriveAggregation *agg = op->aggregation;
	AggRun	   *run = palloc0(sizeof(AggRun));
	TupleDesc	input_desc = derive_linear_desc(op->input);
	TupleDesc	removal_desc = CreateTemplateTupleDesc(input_desc->natts + 2);
	ListCell   *lc;

	run->op = op;
	run->agg = agg;
	run->fresh = fresh;
	run->caller = makeNode(WindowAggState);
	run->memory_limit = (Size) derive_work_mem * 1024 * 2;
	run->tmp = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row", ALLOCSET_DEFAULT_SIZES);
	derive_agg_groups_create(run);
	if (!fresh)
		run->state = derive_state_open(op->state);

	for (int i = 1; i <= input_desc->natts; i++)
		TupleDescCopyEntry(removal_desc, i, input_desc, i);
	TupleDescInitEntry(removal_desc, input_desc->natts + 1, "weight", INT8OID, -1, 0);
	TupleDescInitEntry(removal_desc, input_desc->natts + 2, "hash", INT4OID, -1, 0);
	run->removals = tuplestore_begin_heap(false, false, derive_work_mem);
	run->removal_slot = MakeSingleTupleTableSlot(removal_desc, &TTSOpsVirtual);
	run->group_slot = MakeSingleTupleTableSlot(agg->group_desc, &TTSOpsVirtual);
	run->state_slot = MakeSingleTupleTableSlot(op->state_desc, &TTSOpsVirtual);
	run->before_slot = MakeSingleTupleTableSlot(op->desc, &TTSOpsVirtual);
	run->after_slot = MakeSingleTupleTableSlot(op->desc, &TTSOpsVirtual);

	run->estate = CreateExecutorState();
	run->econtext = GetPerTupleExprContext(run->estate);
	foreach(lc, agg->targets)
		run->targets = lappend(run->targets,
							   ExecPrepareExpr(lfirst_node(TargetEntry, lc)->expr, run->estate));
	if (agg->having)
		run->having = ExecPrepareQual(make_ands_implicit((Expr *) copyObject(agg->having)), run->estate);
	return run;
}

static void
end_run(AggRun *run)
{
	if (run->state)
		derive_state_close(run->state);
	tuplestore_end(run->removals);
	ExecDropSingleTupleTableSlot(run->removal_slot);
	ExecDropSingleTupleTableSlot(run->group_slot);
	ExecDropSingleTupleTableSlot(run->state_slot);
	ExecDropSingleTupleTableSlot(run->before_slot);
	ExecDropSingleTupleTableSlot(run->after_slot);
	FreeExecutorState(run->estate);
	MemoryContextDelete(run->tmp);
	MemoryContextDelete(run->cxt);
	pfree(run);
}

/* -------------------------------------------------------------------------
 * A batch
 * -------------------------------------------------------------------------
 */

/* An input row with its weight and the hash of its group, to be kept for a while. */
static TupleTableSlot *
row_to_keep(AggRun *run, TupleTableSlot *row, int64 weight)
{
	int			natts = row->tts_tupleDescriptor->natts;
	TupleTableSlot *slot = ExecClearTuple(run->removal_slot);

	memcpy(slot->tts_values, row->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, natts * sizeof(bool));
	slot->tts_values[natts] = Int64GetDatum(weight);
	slot->tts_isnull[natts] = false;
	slot->tts_values[natts + 1] = Int32GetDatum((int32) derive_agg_hash(run, row));
	slot->tts_isnull[natts + 1] = false;
	return ExecStoreVirtualTuple(slot);
}

static void
receive_delta(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old;

	if (run->overflow)
		return;
	old = MemoryContextSwitchTo(run->tmp);
	if (run->agg->recompute)
		derive_agg_find_group(run, row)->redo = true;
	else if (weight < 0)
		tuplestore_puttupleslot(run->removals, row_to_keep(run, row, weight));
	else
		derive_agg_fold(run, derive_agg_find_group(run, row), row, weight);
	run->overflow = derive_agg_groups_full(run);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* Fold a row that was kept. */
static void
fold_kept(AggRun *run, TupleTableSlot *slot)
{
	int			weight_column = slot->tts_tupleDescriptor->natts - 2;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	slot_getallattrs(slot);
	derive_agg_fold(run, derive_agg_find_group(run, slot), slot,
					DatumGetInt64(slot->tts_values[weight_column]));
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

static void
fold_removals(AggRun *run)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(run->removal_slot->tts_tupleDescriptor,
													&TTSOpsMinimalTuple);

	while (!run->overflow && tuplestore_gettupleslot(run->removals, true, false, slot))
	{
		fold_kept(run, slot);
		run->overflow = derive_agg_groups_full(run);
	}
	ExecDropSingleTupleTableSlot(slot);
}

static void
write_state(AggRun *run, TouchedGroup *group)
{
	if (!run->agg->grouped || group->nrows > 0)
	{
		TupleTableSlot *slot = derive_state_slot(run->state);

		derive_agg_store_states(run, group, slot);
		if (group->stored)
			derive_state_update(run->state, &group->tid, slot);
		else
			derive_state_insert(run->state, slot);
	}
	else if (group->stored)
		derive_state_delete(run->state, &group->tid);
}

static void
write_output(AggRun *run, TouchedGroup *group)
{
	TupleTableSlot *before = NULL;
	TupleTableSlot *after;

	if (group->before)
	{
		before = ExecClearTuple(run->before_slot);
		ExecForceStoreMinimalTuple(group->before, before, false);
		slot_getallattrs(before);
	}
	after = derive_agg_project(run, group, run->after_slot);
	if (before && after && derive_row_equal(before, after, 0, NULL))
		return;
	if (before || after)
		derive_target_change(run->target, before, after);
}

static void
write_group(AggRun *run, TouchedGroup *group, void *arg)
{
	CHECK_FOR_INTERRUPTS();
	Assert(!group->redo && !group->patch);
	if (group->nrows < 0)
		ereport(ERROR,
				(errcode(DERIVE_ERRCODE_DIVERGED),
				 errmsg("a group of state table \"%s\" has %lld rows",
						get_rel_name(run->op->state), (long long) group->nrows)));
	write_state(run, group);
	write_output(run, group);
}

static void
write_complete_group(AggRun *run, TouchedGroup *group, void *arg)
{
	if (!group->redo && !group->patch)
		write_group(run, group, arg);
}

/*
 * All rows of the groups that are held were folded.  Those to be computed
 * afresh wait for all others like them, since that is one query then, and may
 * grow by as much again.
 */
static void
write_complete_groups(AggRun *run)
{
	derive_agg_groups_each(run, write_complete_group, NULL);
	derive_agg_groups_forget(run, true);
	run->memory_limit = Max(run->memory_limit, 2 * MemoryContextMemAllocated(run->cxt, true));
}

static void
receive_to_sort(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	tuplesort_puttupleslot(run->sort, row_to_keep(run, row, weight));
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* Sort by group, what is added to it before what is removed. */
static void
begin_sort(AggRun *run)
{
	TupleDesc	desc = run->removal_slot->tts_tupleDescriptor;
	AttrNumber	attnos[] = {desc->natts, desc->natts - 1};
	Oid			operators[] = {Int4LessOperator, lookup_type_cache(INT8OID, TYPECACHE_GT_OPR)->gt_opr};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	run->sort = tuplesort_begin_heap(desc, 2, attnos, operators, collations, nulls_first,
									 derive_work_mem, NULL, TUPLESORT_NONE);
}

/* The batch's rows once more, a few groups at a time. */
static void
apply_sorted(AggRun *run, DeriveBatch *batch)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(run->removal_slot->tts_tupleDescriptor,
													&TTSOpsMinimalTuple);
	int			hash_column = slot->tts_tupleDescriptor->natts - 1;
	int32		hash = 0;

	derive_agg_groups_forget(run, false);

	/*
	 * the sort has the other half; groups come in order, so fewer of them at
	 * a time cost nothing
	 */
	run->memory_limit /= 2;
	begin_sort(run);
	derive_linear_delta(run->op->input, batch, receive_to_sort, run);
	tuplesort_performsort(run->sort);
	while (tuplesort_gettupleslot(run->sort, true, false, slot, NULL))
	{
		slot_getallattrs(slot);
		if (DatumGetInt32(slot->tts_values[hash_column]) != hash && derive_agg_groups_full(run))
			write_complete_groups(run);
		hash = DatumGetInt32(slot->tts_values[hash_column]);
		fold_kept(run, slot);
	}
	tuplesort_end(run->sort);
	ExecDropSingleTupleTableSlot(slot);
}

static void
add_to_target(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

static void
aggregate_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	AggRun	   *run = begin_run(op, false);

	run->target = target;
	derive_linear_delta(op->input, batch, receive_delta, run);
	if (run->overflow && run->agg->recompute)
	{
		/* nothing was changed yet: make the whole table equal to the result */
		end_run(run);
		derive_target_subtract_contents(target);
		op->routine->produce(op, add_to_target, target);
		return;
	}
	fold_removals(run);
	if (run->overflow)
		apply_sorted(run, batch);
	derive_agg_redo(run);
	derive_agg_groups_each(run, write_group, NULL);
	end_run(run);
}

/* -------------------------------------------------------------------------
 * A build
 * -------------------------------------------------------------------------
 */

static void
emit_group(AggRun *run, TouchedGroup *group, void *arg)
{
	TupleTableSlot *output;

	CHECK_FOR_INTERRUPTS();
	ExecClearTuple(run->state_slot);
	derive_agg_store_states(run, group, run->state_slot);
	derive_fill_add(run->fill, run->state_slot);
	output = derive_agg_project(run, group, run->after_slot);
	if (output)
		run->sink(run->sink_arg, output, 1);
}

static void
receive_hashed(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old;

	if (run->overflow)
		return;
	old = MemoryContextSwitchTo(run->tmp);
	derive_agg_fold(run, derive_agg_find_group(run, row), row, weight);
	run->overflow = derive_agg_groups_full(run);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

static void
finish_current(AggRun *run)
{
	derive_agg_groups_each(run, emit_group, NULL);
	derive_agg_groups_forget(run, false);
	run->current = NULL;
}

static void
receive_sorted(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old;

	if (run->current && !derive_agg_same_group(run, run->current, row))
		finish_current(run);
	old = MemoryContextSwitchTo(run->tmp);
	if (run->current == NULL)
		run->current = derive_agg_find_group(run, row);
	derive_agg_fold(run, run->current, row, weight);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* The row of the state table, from keys, number of rows, and one or two columns for each aggregate. */
static TupleTableSlot *
state_of_group(AggRun *run, TupleTableSlot *row)
{
	TupleTableSlot *state = ExecClearTuple(run->state_slot);
	int			nkeys = run->agg->nkeys;
	int			nrest = state->tts_tupleDescriptor->natts - nkeys - DERIVE_STATE_FIRST_KEY + 1;
	Datum	   *values = state->tts_values;
	bool	   *isnull = state->tts_isnull;

	values[DERIVE_STATE_HASH - 1] = Int32GetDatum((int32) derive_agg_hash(run, row));
	values[DERIVE_STATE_ROWS - 1] = row->tts_values[nkeys];
	isnull[DERIVE_STATE_HASH - 1] = isnull[DERIVE_STATE_ROWS - 1] = false;
	memcpy(values + DERIVE_STATE_FIRST_KEY - 1, row->tts_values, nkeys * sizeof(Datum));
	memcpy(isnull + DERIVE_STATE_FIRST_KEY - 1, row->tts_isnull, nkeys * sizeof(bool));
	memcpy(values + DERIVE_STATE_FIRST_KEY - 1 + nkeys, row->tts_values + nkeys + 1, nrest * sizeof(Datum));
	memcpy(isnull + DERIVE_STATE_FIRST_KEY - 1 + nkeys, row->tts_isnull + nkeys + 1, nrest * sizeof(bool));
	return ExecStoreVirtualTuple(state);
}

/* A finished group, computed by the executor. */
static void
receive_group(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);
	TupleTableSlot *state = state_of_group(run, row);
	TouchedGroup group = {
		.key = {.values = row->tts_values,.isnull = row->tts_isnull},
		.nrows = DatumGetInt64(state->tts_values[DERIVE_STATE_ROWS - 1]),
		.states = palloc0(sizeof(CallState) * Max(run->agg->ncalls, 1)),
	};
	TupleTableSlot *output;

	derive_fill_add(run->fill, state);
	derive_agg_load_states(run, &group, state);
	for (int i = 0; i < run->agg->ncalls; i++)
		if (group.states[i].isnull && group.states[i].count > 0)
			derive_agg_check_null(run->agg->calls[i].function);
	output = derive_agg_project(run, &group, run->after_slot);
	if (output)
		run->sink(run->sink_arg, output, 1);
	ResetExprContext(run->econtext);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
	MemoryContextReset(run->cxt);
}

/*
 * The plan by which the executor computes all groups, or NULL.  While it runs we evaluate
 * what the groups show, so that has a say in whether it may be parallel.
 */
static DerivePlan *
plan_of_groups(DeriveAggregation *agg)
{
	Query		shown = {.type = T_Query,.targetList = agg->targets,.havingQual = agg->having};
	Query	   *query;
	MemoryContext old;

	if (agg->full != NULL)
		return agg->full;
	query = agg->recompute ? derive_aggregation_block(agg, false, false) : derive_aggregation_states(agg);
	if (query == NULL)
		return NULL;
	old = MemoryContextSwitchTo(GetMemoryChunkContext(agg));
	agg->full = derive_plan_create(query, max_parallel_hazard(&shown) == PROPARALLEL_UNSAFE ? 0 : CURSOR_OPT_PARALLEL_OK);
	if (!agg->recompute)
		derive_plan_of_states(agg->full);
	MemoryContextSwitchTo(old);
	return agg->full;
}

static void
fold_groups(AggRun *run)
{
	derive_linear_full(run->op->input, receive_hashed, run);
	if (run->overflow)
	{
		derive_agg_groups_forget(run, false);
		run->overflow = false;
		if (!derive_linear_sorted(run->op->input, run->agg->nidentity, receive_sorted, run))
		{
			/* a type that can only be hashed: there is no other way */
			run->memory_limit = SIZE_MAX;
			derive_linear_full(run->op->input, receive_hashed, run);
		}
	}
	/* the one group of a block without GROUP BY exists even without rows */
	if (!run->agg->grouped)
		(void) derive_agg_find_group(run, ExecStoreAllNullTuple(run->removal_slot));
	finish_current(run);
}

static void
aggregate_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	AggRun	   *run = begin_run(op, true);
	DerivePlan *plan;

	run->sink = sink;
	run->sink_arg = arg;
	run->fill = derive_fill_begin(op->state);
	plan = plan_of_groups(op->aggregation);
	if (plan != NULL)
	{
		/* of one group at a time, and no table of them */
		run->groups = NULL;
		MemoryContextReset(run->cxt);
		derive_plan_run(plan, NULL, NULL, false, receive_group, run);
	}
	else
		fold_groups(run);
	(void) derive_fill_finish(run->fill);
	end_run(run);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

static List *
aggregate_explain(DeriveOperator *op, List *lines)
{
	DeriveAggregation *agg = op->aggregation;

	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];

		lines = lappend(lines, psprintf("%s: %s", format_procedure(call->aggref->aggfnoid),
										derive_aggregate_class_name(agg->recompute ? DERIVE_AGG_RECOMPUTE
																	: call->function->cls)));
	}
	if (OidIsValid(op->state))
		lines = lappend(lines, psprintf("State: %s", get_rel_name(op->state)));
	return lines;
}

const DeriveOperatorRoutine derive_aggregate_routine = {
	.name = "aggregate",
	.key = aggregate_key,
	.hide = aggregate_hide,
	.sources = aggregate_sources,
	.queries = aggregate_queries,
	.digest = aggregate_digest,
	.touched = aggregate_touched,
	.apply = aggregate_apply,
	.produce = aggregate_produce,
	.explain = aggregate_explain,
};
