/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *	  The aggregate operator at work.
 *
 * Every group that a batch touches is loaded from the state table once, its
 * output row before the batch is remembered, the batch's rows are folded into
 * its states, and state and output are written back:
 *
 *	fold	rows with positive weight first, those with negative weight after
 *			them (they wait in a tuplestore): removing then always takes away
 *			something that is there, as inverse transitions demand
 *	redo	groups whose states could not be updated (the extremum went, an
 *			inverse transition gave up) are computed from the input's rows of
 *			just these groups, under the batch's snapshot.  Where an aggregate
 *			cannot be maintained by transitions at all, this is done for every
 *			group that is touched, and by the executor
 *	write	new state; and old and new output row to the target
 *
 * Building from nothing is the same with all rows of the input, nothing to
 * load, and a new state table written in one go.
 *
 * Transition functions are called as a window aggregate calls them: the fake
 * WindowAggState tells them so and names the memory context of the states.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

#include "base/gucs.h"
#include "base/rowhash.h"
#include "delta/fill.h"
#include "derive/aggregate.h"
#include "derive/statetable.h"

typedef struct GroupKey
{
	uint32		hash;
	Datum	   *values;
	bool	   *isnull;
} GroupKey;

/* One aggregate of one group. */
typedef struct CallState
{
	Datum		value;
	bool		isnull;
	int64		count;			/* inputs that were not skipped */
} CallState;

typedef struct TouchedGroup
{
	GroupKey	key;
	int64		nrows;			/* rows of the input, weighted */
	CallState   *states;
	bool		stored;			/* there is a row in the state table */
	ItemPointerData tid;		/* its place */
	bool		redo;			/* the states must be computed afresh */
	MinimalTuple before;		/* output before the batch, NULL: none */
} TouchedGroup;

typedef struct GroupEntry
{
	GroupKey   *key;
	TouchedGroup	   *group;
	char		status;
} GroupEntry;

typedef struct AggRun AggRun;

static bool group_keys_equal(AggRun *run, const GroupKey *a, const GroupKey *b);

#define SH_PREFIX groups
#define SH_ELEMENT_TYPE GroupEntry
#define SH_KEY_TYPE GroupKey *
#define SH_KEY key
#define SH_HASH_KEY(tb, k) ((k)->hash)
#define SH_EQUAL(tb, a, b) ((a)->hash == (b)->hash && group_keys_equal((tb)->private_data, a, b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct AggRun
{
	DeriveOperator *op;
	DeriveAggregation *agg;
	bool		fresh;			/* building: nothing to load */
	MemoryContext cxt;			/* groups and states */
	MemoryContext tmp;			/* one row's work */
	groups_hash *groups;
	DeriveStateTable *state;	/* NULL if fresh */
	Tuplestorestate *removals;	/* rows with negative weight: columns, weight */
	TupleTableSlot *removal_slot;
	TupleTableSlot *group_slot; /* keys and results */
	TupleTableSlot *before_slot;
	TupleTableSlot *after_slot;
	WindowAggState *caller;		/* what transition functions see */
	EState	   *estate;
	ExprContext *econtext;
	List	   *targets;		/* of ExprState * */
	ExprState  *having;
};

static void redo_groups(AggRun *run);

/* -------------------------------------------------------------------------
 * Keys
 * -------------------------------------------------------------------------
 */

static bool
keys_equal_datum(DeriveKey *key, Datum a, Datum b)
{
	if (OidIsValid(key->eqop))
		return DatumGetBool(FunctionCall2Coll(&key->eq, key->collation, a, b));
	return datum_image_eq(a, b, key->byval, key->len);
}

static bool
keys_equal_arrays(DeriveAggregation *agg, Datum *avalues, bool *anulls, Datum *bvalues, bool *bnulls)
{
	for (int i = 0; i < agg->nkeys; i++)
	{
		if (anulls[i] != bnulls[i])
			return false;
		if (!anulls[i] && !keys_equal_datum(&agg->keys[i], avalues[i], bvalues[i]))
			return false;
	}
	return true;
}

static bool
group_keys_equal(AggRun *run, const GroupKey *a, const GroupKey *b)
{
	return keys_equal_arrays(run->agg, a->values, a->isnull, b->values, b->isnull);
}

static uint32
hash_keys(DeriveAggregation *agg, Datum *values, bool *isnull)
{
	uint32		hash = 0;

	for (int i = 0; i < agg->nkeys; i++)
	{
		DeriveKey  *key = &agg->keys[i];
		uint32		one = 0;

		if (!isnull[i])
		{
			if (OidIsValid(key->hash.fn_oid))
				one = DatumGetUInt32(FunctionCall1Coll(&key->hash, key->collation, values[i]));
			else if (key->image_hash)
				one = datum_image_hash(values[i], key->byval, key->len);
		}
		hash = hash_combine(hash, one);
	}
	return murmurhash32(hash);
}

/* A copy that does not point into any table. */
static Datum
copy_datum(Datum value, bool isnull, bool byval, int16 len)
{
	if (isnull || byval)
		return value;
	if (len == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		return PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value)));
	return datumCopy(value, byval, len);
}

/* -------------------------------------------------------------------------
 * Transitions
 * -------------------------------------------------------------------------
 */

static void
set_state(AggRun *run, DeriveAggFunction *f, CallState *state, Datum value, bool isnull)
{
	MemoryContext old;
	Datum		previous = state->value;
	bool		free_previous = !f->state_byval && !state->isnull;

	if (!f->state_byval && !isnull)
	{
		if (!state->isnull && DatumGetPointer(value) == DatumGetPointer(previous))
			return;
		old = MemoryContextSwitchTo(run->cxt);
		value = copy_datum(value, false, f->state_byval, f->state_len);
		MemoryContextSwitchTo(old);
	}
	state->value = value;
	state->isnull = isnull;
	if (free_previous)
		pfree(DatumGetPointer(previous));
}

static void
reset_state(AggRun *run, DeriveAggFunction *f, CallState *state)
{
	set_state(run, f, state, f->initial, f->initial_isnull);
	state->count = 0;
}

/* Call a transition function: false if the result is NULL. */
static bool
call_transition(AggRun *run, DeriveAggFunction *f, FmgrInfo *function, CallState *state,
				Datum *args, bool *nulls, Datum *result)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);

	InitFunctionCallInfoData(*fcinfo, function, f->nargs + 1, f->collation,
							 (void *) run->caller, NULL);
	fcinfo->args[0].value = state->value;
	fcinfo->args[0].isnull = state->isnull;
	for (int i = 0; i < f->nargs; i++)
	{
		fcinfo->args[i + 1].value = args[i];
		fcinfo->args[i + 1].isnull = nulls[i];
	}
	*result = FunctionCallInvoke(fcinfo);
	return !fcinfo->isnull;
}

static void
add_input(AggRun *run, DeriveAggFunction *f, CallState *state, Datum *args, bool *nulls)
{
	Datum		result;

	state->count++;
	switch (f->cls)
	{
		case DERIVE_AGG_COUNT:
			return;
		case DERIVE_AGG_BOOL:
			if (DatumGetBool(args[0]))
				state->value = Int64GetDatum(DatumGetInt64(state->value) + 1);
			return;
		default:
			break;
	}
	if (f->strict && state->isnull)
	{
		/* the first input is the state, as nodeAgg.c has it */
		if (state->count == 1)
			set_state(run, f, state, args[0], false);
		return;
	}
	if (call_transition(run, f, &f->transfn, state, args, nulls, &result))
		set_state(run, f, state, result, false);
	else if (f->cls == DERIVE_AGG_INVERTIBLE)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("moving-aggregate transition function must not return null")));
	else
		set_state(run, f, state, (Datum) 0, true);
}

/* False if the state cannot be updated and the group must be recomputed. */
static bool
remove_input(AggRun *run, DeriveAggFunction *f, CallState *state, Datum *args, bool *nulls)
{
	Datum		result;

	if (state->count <= 0)
		return false;			/* not ours to explain here: recompute */
	if (--state->count == 0)
	{
		reset_state(run, f, state);
		return true;
	}
	switch (f->cls)
	{
		case DERIVE_AGG_COUNT:
			return true;
		case DERIVE_AGG_BOOL:
			if (DatumGetBool(args[0]))
				state->value = Int64GetDatum(DatumGetInt64(state->value) - 1);
			return true;
		case DERIVE_AGG_EXTREMUM:
			return DatumGetBool(FunctionCall2Coll(&f->better, f->collation, state->value, args[0]));
		default:
			break;
	}
	if (f->strict && state->isnull)
		return true;
	if (!call_transition(run, f, &f->invtransfn, state, args, nulls, &result))
		return false;
	set_state(run, f, state, result, false);
	return true;
}

/* Fold one input row, weight times, into one aggregate. */
static bool
advance(AggRun *run, DeriveAggCall *call, CallState *state, TupleTableSlot *row, int64 weight)
{
	DeriveAggFunction *f = call->function;
	Datum		args[FUNC_MAX_ARGS];
	bool		nulls[FUNC_MAX_ARGS];

	if (call->filter >= 0 &&
		(row->tts_isnull[call->filter] || !DatumGetBool(row->tts_values[call->filter])))
		return true;
	for (int i = 0; i < f->nargs; i++)
	{
		args[i] = row->tts_values[call->args[i]];
		nulls[i] = row->tts_isnull[call->args[i]];
		if (nulls[i] && f->strict)
			return true;
	}
	if (f->cls == DERIVE_AGG_COUNT)
	{
		state->count += weight;
		return true;
	}
	for (; weight > 0; weight--)
		add_input(run, f, state, args, nulls);
	for (; weight < 0; weight++)
		if (!remove_input(run, f, state, args, nulls))
			return false;
	return true;
}

/* The aggregate's result, in the current memory context or the state's. */
static Datum
final_value(AggRun *run, DeriveAggFunction *f, CallState *state, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	Datum		result;

	*isnull = false;
	switch (f->cls)
	{
		case DERIVE_AGG_COUNT:
			return Int64GetDatum(state->count);
		case DERIVE_AGG_BOOL:
			*isnull = (state->count == 0);
			return BoolGetDatum(f->bool_or ? DatumGetInt64(state->value) > 0
								: DatumGetInt64(state->value) == state->count);
		default:
			break;
	}
	*isnull = state->isnull;
	if (!OidIsValid(f->finalfn.fn_oid) || (f->finalfn.fn_strict && state->isnull))
		return state->value;

	InitFunctionCallInfoData(*fcinfo, &f->finalfn, f->final_nargs, f->collation,
							 (void *) run->caller, NULL);
	fcinfo->args[0].value = state->value;
	fcinfo->args[0].isnull = state->isnull;
	for (int i = 1; i < f->final_nargs; i++)
	{
		fcinfo->args[i].value = (Datum) 0;
		fcinfo->args[i].isnull = true;
	}
	if (f->finalfn.fn_strict && f->final_nargs > 1)
	{
		*isnull = true;
		return (Datum) 0;
	}
	result = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

/* -------------------------------------------------------------------------
 * States in the state table
 * -------------------------------------------------------------------------
 */

static Datum
call_with_state(AggRun *run, FmgrInfo *function, Datum arg0, Datum arg1, int nargs)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, function, nargs, InvalidOid, (void *) run->caller, NULL);
	fcinfo->args[0].value = arg0;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = arg1;
	fcinfo->args[1].isnull = (nargs > 1);	/* deserialization's dummy argument */
	result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		elog(ERROR, "function %u returned NULL for an aggregate state", function->fn_oid);
	return result;
}

static void
load_states(AggRun *run, TouchedGroup *group, TupleTableSlot *stored)
{
	DeriveAggregation *agg = run->agg;
	MemoryContext old = MemoryContextSwitchTo(run->cxt);

	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];
		DeriveAggFunction *f = call->function;
		CallState   *state = &group->states[i];
		Datum		value;
		bool		isnull;

		if (call->count_attno)
			state->count = DatumGetInt64(slot_getattr(stored, call->count_attno, &isnull));
		if (!call->value_attno)
			continue;
		value = slot_getattr(stored, call->value_attno, &isnull);
		if (agg->recompute)
		{
			int16		len;
			bool		byval;

			get_typlenbyval(f->result_type, &len, &byval);
			state->value = copy_datum(value, isnull, byval, len);
		}
		else if (f->state_type == INTERNALOID && !isnull)
			state->value = call_with_state(run, &f->deserialfn,
										   PointerGetDatum(PG_DETOAST_DATUM(value)), (Datum) 0, 2);
		else
			state->value = copy_datum(value, isnull, f->state_byval, f->state_len);
		state->isnull = isnull;
	}
	MemoryContextSwitchTo(old);
}

/* Fill a slot of the state table from a group. */
static void
store_states(AggRun *run, TouchedGroup *group, TupleTableSlot *slot)
{
	DeriveAggregation *agg = run->agg;

	memset(slot->tts_isnull, false, slot->tts_tupleDescriptor->natts * sizeof(bool));
	slot->tts_values[DERIVE_STATE_HASH - 1] = Int32GetDatum((int32) group->key.hash);
	slot->tts_values[DERIVE_STATE_ROWS - 1] = Int64GetDatum(group->nrows);
	for (int i = 0; i < agg->nkeys; i++)
	{
		slot->tts_values[DERIVE_STATE_FIRST_KEY - 1 + i] = group->key.values[i];
		slot->tts_isnull[DERIVE_STATE_FIRST_KEY - 1 + i] = group->key.isnull[i];
	}
	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];
		CallState   *state = &group->states[i];

		if (call->count_attno)
			slot->tts_values[call->count_attno - 1] = Int64GetDatum(state->count);
		if (!call->value_attno)
			continue;
		slot->tts_isnull[call->value_attno - 1] = state->isnull;
		if (!agg->recompute && call->function->state_type == INTERNALOID && !state->isnull)
			slot->tts_values[call->value_attno - 1] =
				call_with_state(run, &call->function->serialfn, state->value, (Datum) 0, 1);
		else
			slot->tts_values[call->value_attno - 1] = state->value;
	}
	ExecStoreVirtualTuple(slot);
}

/* -------------------------------------------------------------------------
 * Groups
 * -------------------------------------------------------------------------
 */

/*
 * The group's output row in the given slot, or NULL if it has none.  Values
 * may point into the group or into the run's per-row memory.
 */
static TupleTableSlot *
project(AggRun *run, TouchedGroup *group, TupleTableSlot *output)
{
	DeriveAggregation *agg = run->agg;
	TupleTableSlot *row = ExecClearTuple(run->group_slot);
	MemoryContext old;
	ListCell   *lc;

	if (agg->grouped && group->nrows <= 0)
		return NULL;

	old = MemoryContextSwitchTo(run->econtext->ecxt_per_tuple_memory);
	for (int i = 0; i < agg->nkeys; i++)
	{
		row->tts_values[i] = group->key.values[i];
		row->tts_isnull[i] = group->key.isnull[i];
	}
	for (int i = 0; i < agg->ncalls; i++)
	{
		Datum	   *value = &row->tts_values[agg->nkeys + i];
		bool	   *isnull = &row->tts_isnull[agg->nkeys + i];

		if (agg->recompute)
		{
			*value = group->states[i].value;
			*isnull = group->states[i].isnull;
		}
		else
			*value = final_value(run, agg->calls[i].function, &group->states[i], isnull);
	}
	ExecStoreVirtualTuple(row);
	run->econtext->ecxt_scantuple = row;
	MemoryContextSwitchTo(old);

	if (run->having && !ExecQual(run->having, run->econtext))
		return NULL;
	ExecClearTuple(output);
	foreach(lc, run->targets)
	{
		int			i = foreach_current_index(lc);

		output->tts_values[i] = ExecEvalExprSwitchContext(lfirst(lc), run->econtext,
														  &output->tts_isnull[i]);
	}
	return ExecStoreVirtualTuple(output);
}

static bool
match_stored(void *arg, TupleTableSlot *stored)
{
	struct
	{
		AggRun	   *run;
		GroupKey   *key;
	}		   *probe = arg;
	int			first = DERIVE_STATE_FIRST_KEY - 1;

	slot_getallattrs(stored);
	return keys_equal_arrays(probe->run->agg, probe->key->values, probe->key->isnull,
							 stored->tts_values + first, stored->tts_isnull + first);
}

/* Fetch a group's state and remember its output. */
static void
load_group(AggRun *run, TouchedGroup *group)
{
	TupleTableSlot *stored = NULL;
	bool		isnull;
	struct
	{
		AggRun	   *run;
		GroupKey   *key;
	}			probe = {run, &group->key};

	if (!run->fresh)
		stored = derive_state_find(run->state, (int32) group->key.hash, match_stored, &probe);
	if (stored != NULL)
	{
		TupleTableSlot *output;

		group->stored = true;
		group->tid = stored->tts_tid;
		group->nrows = DatumGetInt64(slot_getattr(stored, DERIVE_STATE_ROWS, &isnull));
		/* the stored representative of the key is the one that the output shows */
		for (int i = 0; i < run->agg->nkeys; i++)
		{
			DeriveKey  *key = &run->agg->keys[i];
			MemoryContext old = MemoryContextSwitchTo(run->cxt);
			Datum		value = slot_getattr(stored, DERIVE_STATE_FIRST_KEY + i, &isnull);

			group->key.values[i] = copy_datum(value, isnull, key->byval, key->len);
			MemoryContextSwitchTo(old);
		}
		load_states(run, group, stored);
		output = project(run, group, run->before_slot);
		if (output != NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(run->cxt);

			group->before = ExecCopySlotMinimalTuple(output);
			MemoryContextSwitchTo(old);
		}
		ResetExprContext(run->econtext);
		return;
	}
	if (!run->agg->recompute)
		for (int i = 0; i < run->agg->ncalls; i++)
		{
			group->states[i].isnull = true;
			reset_state(run, run->agg->calls[i].function, &group->states[i]);
		}
}

static TouchedGroup *
find_group(AggRun *run, TupleTableSlot *row)
{
	DeriveAggregation *agg = run->agg;
	GroupKey	probe = {0, row->tts_values, row->tts_isnull};
	GroupEntry *entry;
	MemoryContext old;
	TouchedGroup	   *group;
	bool		found;

	probe.hash = hash_keys(agg, probe.values, probe.isnull);
	entry = groups_insert(run->groups, &probe, &found);
	if (found)
		return entry->group;

	old = MemoryContextSwitchTo(run->cxt);
	group = palloc0(sizeof(TouchedGroup));
	group->states = palloc0(sizeof(CallState) * Max(agg->ncalls, 1));
	group->key.hash = probe.hash;
	group->key.values = palloc(sizeof(Datum) * Max(agg->nkeys, 1));
	group->key.isnull = palloc(sizeof(bool) * Max(agg->nkeys, 1));
	for (int i = 0; i < agg->nkeys; i++)
	{
		group->key.isnull[i] = probe.isnull[i];
		group->key.values[i] = copy_datum(probe.values[i], probe.isnull[i],
										  agg->keys[i].byval, agg->keys[i].len);
	}
	entry->group = group;
	entry->key = &group->key;
	MemoryContextSwitchTo(old);
	load_group(run, group);
	return group;
}

static void
fold(AggRun *run, TouchedGroup *group, TupleTableSlot *row, int64 weight)
{
	if (group->redo)
		return;
	group->nrows += weight;
	for (int i = 0; i < run->agg->ncalls; i++)
		if (!advance(run, &run->agg->calls[i], &group->states[i], row, weight))
			group->redo = true;
}

/* Input rows of a batch. */
static void
receive_delta(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	if (run->agg->recompute)
		find_group(run, row)->redo = true;
	else if (weight > 0)
		fold(run, find_group(run, row), row, weight);
	else
	{
		int			natts = row->tts_tupleDescriptor->natts;
		TupleTableSlot *slot = ExecClearTuple(run->removal_slot);

		memcpy(slot->tts_values, row->tts_values, natts * sizeof(Datum));
		memcpy(slot->tts_isnull, row->tts_isnull, natts * sizeof(bool));
		slot->tts_values[natts] = Int64GetDatum(weight);
		slot->tts_isnull[natts] = false;
		ExecStoreVirtualTuple(slot);
		tuplestore_puttupleslot(run->removals, slot);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* Input rows of a build or of groups to be redone, where the states start afresh. */
static void
receive_fresh(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);

	fold(run, find_group(run, row), row, weight);
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

/* Rows of the regrouped block: keys, number of rows, results. */
static void
receive_block(void *arg, TupleTableSlot *row, int64 weight)
{
	AggRun	   *run = arg;
	DeriveAggregation *agg = run->agg;
	MemoryContext old = MemoryContextSwitchTo(run->tmp);
	TouchedGroup	   *group = find_group(run, row);

	group->nrows = DatumGetInt64(row->tts_values[agg->nkeys]);
	MemoryContextSwitchTo(run->cxt);
	for (int i = 0; i < agg->ncalls; i++)
	{
		int			column = agg->nkeys + 1 + i;
		int16		len;
		bool		byval;

		get_typlenbyval(agg->calls[i].function->result_type, &len, &byval);
		group->states[i].isnull = row->tts_isnull[column];
		group->states[i].value = copy_datum(row->tts_values[column], row->tts_isnull[column], byval, len);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->tmp);
}

static void
fold_removals(AggRun *run)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(run->removal_slot->tts_tupleDescriptor,
													&TTSOpsMinimalTuple);
	int			weight_column = slot->tts_tupleDescriptor->natts - 1;

	while (tuplestore_gettupleslot(run->removals, true, false, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(run->tmp);

		slot_getallattrs(slot);
		fold(run, find_group(run, slot), slot, DatumGetInt64(slot->tts_values[weight_column]));
		MemoryContextSwitchTo(old);
		MemoryContextReset(run->tmp);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* -------------------------------------------------------------------------
 * Recomputing groups
 * -------------------------------------------------------------------------
 */

/* The key sets of groups to be redone: without NULLs, and with. */
static void
collect_keys(AggRun *run, Tuplestorestate *keys[2], int64 count[2])
{
	DeriveAggregation *agg = run->agg;
	TupleDesc	desc = derive_aggregation_key_desc(agg);
	groups_iterator iterator;
	GroupEntry *entry;

	groups_start_iterate(run->groups, &iterator);
	while ((entry = groups_iterate(run->groups, &iterator)) != NULL)
	{
		TouchedGroup	   *group = entry->group;
		int			with_nulls = 0;

		if (!group->redo)
			continue;
		for (int i = 0; i < agg->nkeys; i++)
			if (group->key.isnull[i] && OidIsValid(agg->keys[i].eqop))
				with_nulls = 1;
		tuplestore_putvalues(keys[with_nulls], desc, group->key.values, group->key.isnull);
		count[with_nulls]++;

		group->redo = false;
		group->nrows = 0;
		if (!agg->recompute)
			for (int i = 0; i < agg->ncalls; i++)
				reset_state(run, agg->calls[i].function, &group->states[i]);
	}
}

static DerivePlan *
restricted_plan(AggRun *run, int with_nulls)
{
	DeriveAggregation *agg = run->agg;

	if (agg->restricted[with_nulls] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(agg));

		agg->restricted[with_nulls] =
			derive_plan_create(agg->recompute
							   ? derive_aggregation_block(agg, true, with_nulls)
							   : derive_aggregation_input(agg, true, with_nulls), 0);
		MemoryContextSwitchTo(old);
	}
	return agg->restricted[with_nulls];
}

static void
redo_groups(AggRun *run)
{
	Tuplestorestate *keys[2];
	int64		count[2] = {0, 0};

	for (int i = 0; i < 2; i++)
		keys[i] = tuplestore_begin_heap(false, false, derive_work_mem);
	collect_keys(run, keys, count);
	for (int i = 0; i < 2; i++)
	{
		QueryEnvironment *env;

		if (count[i] > 0)
		{
			env = create_queryEnv();
			derive_env_register(env, DERIVE_KEYS_ENR, derive_aggregation_key_desc(run->agg),
								keys[i], count[i]);
			derive_plan_run(restricted_plan(run, i), env, false,
							run->agg->recompute ? receive_block : receive_fresh, run);
		}
		tuplestore_end(keys[i]);
	}
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
	TupleDesc	removal_desc = CreateTemplateTupleDesc(input_desc->natts + 1);
	ListCell   *lc;

	run->op = op;
	run->agg = agg;
	run->fresh = fresh;
	run->cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive groups", ALLOCSET_DEFAULT_SIZES);
	run->tmp = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row", ALLOCSET_DEFAULT_SIZES);
	run->groups = groups_create(run->cxt, 64, run);
	if (!fresh)
		run->state = derive_state_open(agg->state_table);

	for (int i = 1; i <= input_desc->natts; i++)
		TupleDescCopyEntry(removal_desc, i, input_desc, i);
	TupleDescInitEntry(removal_desc, input_desc->natts + 1, "weight", INT8OID, -1, 0);
	run->removals = tuplestore_begin_heap(false, false, derive_work_mem);
	run->removal_slot = MakeSingleTupleTableSlot(removal_desc, &TTSOpsVirtual);
	run->group_slot = MakeSingleTupleTableSlot(agg->group_desc, &TTSOpsVirtual);
	run->before_slot = MakeSingleTupleTableSlot(op->desc, &TTSOpsVirtual);
	run->after_slot = MakeSingleTupleTableSlot(op->desc, &TTSOpsVirtual);

	run->caller = makeNode(WindowAggState);
	run->caller->curaggcontext = run->cxt;
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
	ExecDropSingleTupleTableSlot(run->before_slot);
	ExecDropSingleTupleTableSlot(run->after_slot);
	FreeExecutorState(run->estate);
	MemoryContextDelete(run->tmp);
	MemoryContextDelete(run->cxt);
	pfree(run);
}

/* The one group of a block without GROUP BY exists even without rows. */
static void
ensure_single_group(AggRun *run)
{
	TupleTableSlot *row;

	if (run->agg->grouped)
		return;
	row = ExecStoreAllNullTuple(run->removal_slot);
	(void) find_group(run, row);
}

static void
write_group(AggRun *run, TouchedGroup *group, DeriveTarget *target)
{
	TupleTableSlot *before = NULL;
	TupleTableSlot *after;
	TupleTableSlot *before_slot = run->before_slot;
	bool		exists = !run->agg->grouped || group->nrows > 0;

	if (group->nrows < 0)
		ereport(ERROR,
				(errcode(DERIVE_ERRCODE_DIVERGED),
				 errmsg("a group of state table %u has %lld rows",
						run->agg->state_table, (long long) group->nrows)));
	if (exists)
	{
		TupleTableSlot *slot = derive_state_slot(run->state);

		store_states(run, group, slot);
		if (group->stored)
			derive_state_update(run->state, &group->tid, slot);
		else
			derive_state_insert(run->state, slot);
	}
	else if (group->stored)
		derive_state_delete(run->state, &group->tid);

	if (group->before)
	{
		ExecClearTuple(before_slot);
		ExecForceStoreMinimalTuple(group->before, before_slot, false);
		slot_getallattrs(before_slot);
		before = before_slot;
	}
	after = project(run, group, run->after_slot);
	if (before && after && derive_row_equal(before, after, 0, NULL))
		return;
	if (before || after)
		derive_target_change(target, before, after);
}

static void
aggregate_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	AggRun	   *run = begin_run(op, false);
	groups_iterator iterator;
	GroupEntry *entry;

	derive_linear_delta(op->input, batch, receive_delta, run);
	fold_removals(run);
	redo_groups(run);

	groups_start_iterate(run->groups, &iterator);
	while ((entry = groups_iterate(run->groups, &iterator)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(run->tmp);

		CHECK_FOR_INTERRUPTS();
		write_group(run, entry->group, target);
		ResetExprContext(run->econtext);
		MemoryContextSwitchTo(old);
		MemoryContextReset(run->tmp);
	}
	end_run(run);
}

static void
produce_block(AggRun *run)
{
	DeriveAggregation *agg = run->agg;

	if (agg->full == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(agg));

		agg->full = derive_plan_create(derive_aggregation_block(agg, false, false),
									   CURSOR_OPT_PARALLEL_OK);
		MemoryContextSwitchTo(old);
	}
	derive_plan_run(agg->full, NULL, false, receive_block, run);
}

static void
aggregate_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	AggRun	   *run = begin_run(op, true);
	DeriveFill *fill = derive_fill_begin(op->aggregation->state_table);
	TupleTableSlot *state = MakeSingleTupleTableSlot(op->aggregation->state_desc, &TTSOpsVirtual);
	groups_iterator iterator;
	GroupEntry *entry;

	if (op->aggregation->recompute)
		produce_block(run);
	else
		derive_linear_full(op->input, receive_fresh, run);
	ensure_single_group(run);

	groups_start_iterate(run->groups, &iterator);
	while ((entry = groups_iterate(run->groups, &iterator)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(run->tmp);
		TupleTableSlot *after;

		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(state);
		store_states(run, entry->group, state);
		derive_fill_add(fill, state);
		after = project(run, entry->group, run->after_slot);
		MemoryContextSwitchTo(old);
		if (after)
			sink(arg, after, 1);
		ResetExprContext(run->econtext);
		MemoryContextReset(run->tmp);
	}
	ExecDropSingleTupleTableSlot(state);
	(void) derive_fill_finish(fill);
	end_run(run);
}

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
	lines = lappend(lines, psprintf("State: %s", get_rel_name(agg->state_table)));
	return lines;
}

const DeriveOperatorRoutine derive_aggregate_routine = {
	.name = "aggregate",
	.apply = aggregate_apply,
	.produce = aggregate_produce,
	.explain = aggregate_explain,
};
