/*-------------------------------------------------------------------------
 *
 * aggredo.c
 *	  Computing groups afresh whose states could not be updated.
 *
 * Three ways, all for a set of keys that is handed to the executor as a
 * tuplestore:
 *
 *	block	the results of whole groups, where some aggregate cannot be
 *			maintained by transitions at all
 *	input	the input rows of whole groups, folded into new states: an inverse
 *			transition gave up
 *	extrema	only what min() or max() are now, one sub-query for each of them
 *			and each key, which the planner answers from an index where there
 *			is one on the keys and the argument.  Only where the planner
 *			thinks that this is less work than to read the groups as a whole,
 *			in one pass
 *
 * All of them read the base tables under the batch's snapshot, that is, as
 * they are after the batch, so whatever deltas are still to come for such a
 * group must not be applied to it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/queryenvironment.h"

#include "base/gucs.h"
#include "derive/aggregate_internal.h"
#include "derive/joinorder.h"

/* Keys without NULLs, which equality finds, and keys with. */
typedef struct KeySets
{
	AggRun	   *run;
	TupleDesc	desc;
	Tuplestorestate *keys[2];
	int64		count[2];
} KeySets;

typedef enum RedoWay
{
	REDO_BLOCK,
	REDO_INPUT,
	REDO_EXTREMA
} RedoWay;

static void
begin_key_sets(KeySets *sets, AggRun *run)
{
	sets->run = run;
	sets->desc = derive_aggregation_key_desc(run->agg);
	for (int i = 0; i < 2; i++)
	{
		sets->keys[i] = tuplestore_begin_heap(false, false, derive_work_mem);
		sets->count[i] = 0;
	}
}

static void
end_key_sets(KeySets *sets)
{
	for (int i = 0; i < 2; i++)
		tuplestore_end(sets->keys[i]);
}

static void
add_key(KeySets *sets, TouchedGroup *group)
{
	DeriveAggregation *agg = sets->run->agg;
	int			with_nulls = 0;

	for (int i = 0; i < agg->nidentity; i++)
		if (group->key.isnull[i])
			with_nulls = 1;
	tuplestore_putvalues(sets->keys[with_nulls], sets->desc, group->key.values, group->key.isnull);
	sets->count[with_nulls]++;
}

static void
count_patches(AggRun *run, TouchedGroup *group, void *arg)
{
	if (group->patch && !group->redo)
		(*(int64 *) arg)++;
}

/* Do not look up: compute these groups as a whole. */
static void
promote_patch(AggRun *run, TouchedGroup *group, void *arg)
{
	if (group->patch)
		group->redo = true;
}

static void
collect_redo(AggRun *run, TouchedGroup *group, void *arg)
{
	if (!group->redo)
		return;
	add_key(arg, group);
	group->redo = group->patch = false;
	group->nrows = group->nsame = 0;
	if (!run->agg->recompute)
		derive_agg_reset_states(run, group);
}

static void
collect_patch(AggRun *run, TouchedGroup *group, void *arg)
{
	if (!group->patch)
		return;
	add_key(arg, group);
	group->patch = false;
}

static void
receive_block(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	derive_agg_take_results(run, derive_agg_find_group(run, row), row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

static void
receive_input(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	derive_agg_fold(run, derive_agg_find_group(run, row), row, weight);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

static void
receive_extrema(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	DeriveAggregation *agg = run->agg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);
	TouchedGroup *group = derive_agg_find_group(run, row);
	int			column = agg->nkeys;

	for (int i = 0; i < agg->ncalls; i++)
	{
		CallState  *state = &group->states[i];

		if (agg->calls[i].function->cls != DERIVE_AGG_EXTREMUM)
			continue;
		derive_agg_set_state(run, agg->calls[i].function, state,
							 row->tts_values[column], row->tts_isnull[column]);
		state->redo = false;
		column++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

static const DeriveRowSink receivers[] = {
	[REDO_BLOCK] = receive_block,
	[REDO_INPUT] = receive_input,
	[REDO_EXTREMA] = receive_extrema,
};

static Query *
redo_query(DeriveAggregation *agg, RedoWay way, bool with_nulls)
{
	switch (way)
	{
		case REDO_BLOCK:
			return derive_aggregation_block(agg, true, with_nulls);
		case REDO_INPUT:
			return derive_aggregation_input(agg, true, with_nulls);
		case REDO_EXTREMA:
			return derive_aggregation_extrema(agg, with_nulls);
	}
	return NULL;
}

static DerivePlan *
redo_plan(DeriveAggregation *agg, RedoWay way, int with_nulls)
{
	DerivePlan **plan = &agg->redo_plans[way == REDO_EXTREMA][with_nulls];

	if (*plan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(agg));

		*plan = derive_plan_create(redo_query(agg, way, with_nulls), 0);
		MemoryContextSwitchTo(old);
	}
	return *plan;
}

static void
run_redo(AggRun *run, RedoWay way, DeriveGroupFunction collect)
{
	KeySets		sets;

	begin_key_sets(&sets, run);
	derive_agg_groups_each(run, collect, &sets);
	for (int i = 0; i < 2; i++)
	{
		QueryEnvironment *env;

		if (sets.count[i] == 0)
			continue;
		env = create_queryEnv();
		derive_env_register(env, DERIVE_KEYS_ENR, sets.desc, sets.keys[i], sets.count[i]);
		derive_plan_run(redo_plan(run->agg, way, i), env, NULL, false, receivers[way], run);
	}
	end_key_sets(&sets);
}

/*
 * Is looking up extrema less work than reading the groups?  Both plans were
 * made for the same number of keys.  Not in a long join: no index has the extremum
 * of a join, and to make the plans is work, too.
 */
static bool
lookups_pay(DeriveAggregation *agg)
{
	return !derive_join_is_long(agg->core) &&
		derive_plan_stmt(redo_plan(agg, REDO_EXTREMA, 0))->planTree->total_cost <=
		derive_plan_stmt(redo_plan(agg, REDO_INPUT, 0))->planTree->total_cost;
}

void
derive_agg_redo(AggRun *run)
{
	int64		patches = 0;
	bool		look_up;

	derive_agg_groups_each(run, count_patches, &patches);
	look_up = patches > 0 && lookups_pay(run->agg);
	if (!look_up)
		derive_agg_groups_each(run, promote_patch, NULL);
	run_redo(run, run->agg->recompute ? REDO_BLOCK : REDO_INPUT, collect_redo);
	if (look_up)
		run_redo(run, REDO_EXTREMA, collect_patch);
}
