/*-------------------------------------------------------------------------
 *
 * aggstate.c
 *	  States of aggregates: transitions, results, the state table.
 *
 * Transition functions are called as a window aggregate calls them: the fake
 * WindowAggState tells them so and names the memory context of the states.
 * What nodeWindowAgg.c does about strict functions, first inputs and last
 * inputs is done here too, since the inverse functions rely on it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/rowhash.h"
#include "compile/hidden.h"
#include "derive/aggregate_internal.h"

/* A copy that does not point into any table. */
Datum
derive_agg_copy_datum(Datum value, bool isnull, bool byval, int16 len)
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

void
derive_agg_set_state(AggRun *run, DeriveAggFunction *f, CallState *state, Datum value, bool isnull)
{
	MemoryContext old;
	Datum		previous = state->value;
	bool		free_previous = !f->state_byval && !state->isnull;

	if (!f->state_byval && !isnull)
	{
		if (!state->isnull && DatumGetPointer(value) == DatumGetPointer(previous))
			return;
		old = MemoryContextSwitchTo(run->cxt);
		value = derive_agg_copy_datum(value, false, f->state_byval, f->state_len);
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
	derive_agg_set_state(run, f, state, f->initial, f->initial_isnull);
	state->count = 0;
	state->redo = false;
}

void
derive_agg_reset_states(AggRun *run, TouchedGroup *group)
{
	for (int i = 0; i < run->agg->ncalls; i++)
		reset_state(run, run->agg->calls[i].function, &group->states[i]);
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

/* Of equal extrema, the one with the least image. */
static bool
settle_tie(AggRun *run, DeriveAggFunction *f, CallState *state, Datum input)
{
	if (DatumGetBool(FunctionCall2Coll(&f->better, f->collation, input, state->value)) ||
		DatumGetBool(FunctionCall2Coll(&f->better, f->collation, state->value, input)))
		return false;
	if (derive_datum_compare(&f->attribute, input, state->value) < 0)
		derive_agg_set_state(run, f, state, input, false);
	return true;
}

void
derive_agg_check_null(DeriveAggFunction *f)
{
	if (f->cls == DERIVE_AGG_INVERTIBLE)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("moving-aggregate transition function must not return null")));
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
			derive_agg_set_state(run, f, state, args[0], false);
		return;
	}
	if (f->loose && !state->isnull && settle_tie(run, f, state, args[0]))
		return;
	if (call_transition(run, f, &f->transfn, state, args, nulls, &result))
		derive_agg_set_state(run, f, state, result, false);
	else
	{
		derive_agg_check_null(f);
		derive_agg_set_state(run, f, state, (Datum) 0, true);
	}
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
		default:
			break;
	}
	if (f->strict && state->isnull)
		return true;
	if (!call_transition(run, f, &f->invtransfn, state, args, nulls, &result))
		return false;
	derive_agg_set_state(run, f, state, result, false);
	return true;
}

/* Take inputs away from min() or max(): only if the extremum stays do we know the result. */
static void
remove_from_extremum(AggRun *run, TouchedGroup *group, DeriveAggFunction *f, CallState *state,
					 Datum input, int64 number)
{
	state->count -= number;
	if (state->count <= 0)
	{
		reset_state(run, f, state);
		return;
	}
	if (!state->redo &&
		!DatumGetBool(FunctionCall2Coll(&f->better, f->collation, state->value, input)))
		state->redo = group->patch = true;
}

/*
 * Fold one input row, weight times, into one aggregate.  Sets group->redo
 * where the state cannot be updated.
 */
void
derive_agg_advance(AggRun *run, TouchedGroup *group, DeriveAggCall *call, CallState *state,
				   TupleTableSlot *row, int64 weight)
{
	DeriveAggFunction *f = call->function;
	Datum		args[FUNC_MAX_ARGS];
	bool		nulls[FUNC_MAX_ARGS];

	if (call->filter >= 0 &&
		(row->tts_isnull[call->filter] || !DatumGetBool(row->tts_values[call->filter])))
		return;
	for (int i = 0; i < f->nargs; i++)
	{
		args[i] = row->tts_values[call->args[i]];
		nulls[i] = row->tts_isnull[call->args[i]];
		if (nulls[i] && f->strict)
			return;
	}
	if (f->cls == DERIVE_AGG_COUNT)
	{
		state->count += weight;
		return;
	}
	if (f->cls == DERIVE_AGG_EXTREMUM && weight < 0)
	{
		remove_from_extremum(run, group, f, state, args[0], -weight);
		return;
	}
	if (state->redo)
	{
		state->count += weight;
		return;
	}
	for (; weight > 0; weight--)
		add_input(run, f, state, args, nulls);
	for (; weight < 0 && !group->redo; weight++)
		if (!remove_input(run, f, state, args, nulls))
			group->redo = true;
}

/* The aggregate's result, in the current memory context or the state's. */
Datum
derive_agg_final_value(AggRun *run, DeriveAggFunction *f, CallState *state, bool *isnull)
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
call_with_state(AggRun *run, FmgrInfo *function, NullableDatum *args, int nargs)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, function, nargs, InvalidOid, (void *) run->caller, NULL);
	for (int i = 0; i < nargs; i++)
		fcinfo->args[i] = args[i];
	result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		elog(ERROR, "function \"%s\" returned NULL for an aggregate state", get_func_name(function->fn_oid));
	return result;
}

static Datum
serialize_state(AggRun *run, DeriveAggFunction *f, Datum state)
{
	NullableDatum args[] = {{state, false}};

	return call_with_state(run, &f->serialfn, args, 1);
}

/*
 * A state as it was before serialize_state().  What a deserialization function
 * returns need only be good as input of the combine function: in many releases
 * (15.18 and 18.6 among them) that of variances leaves the sum of squares alone
 * from then on.  Combined with nothing, it is a state like any other.
 */
static Datum
deserialize_state(AggRun *run, DeriveAggFunction *f, Datum stored)
{
	NullableDatum args[] = {{stored, false}, {(Datum) 0, true}};
	NullableDatum parts[] = {{(Datum) 0, true}, {(Datum) 0, false}};

	parts[1].value = call_with_state(run, &f->deserialfn, args, 2);
	if (!OidIsValid(f->combinefn.fn_oid))
		return parts[1].value;
	return call_with_state(run, &f->combinefn, parts, 2);
}

/* Of some inputs there is an extremum, of none there is not: who took it for one would follow a null pointer. */
static void
check_extremum(AggRun *run, const CallState *state)
{
	if (state->isnull != (state->count == 0))
		ereport(ERROR,
				(errcode(DERIVE_ERRCODE_DIVERGED),
				 errmsg("a group of state table \"%s\" is damaged", get_rel_name(run->op->state)),
				 errdetail("An extremum and the number of its inputs do not agree.")));
}

void
derive_agg_load_states(AggRun *run, TouchedGroup *group, TupleTableSlot *stored)
{
	DeriveAggregation *agg = run->agg;
	MemoryContext old = MemoryContextSwitchTo(run->cxt);

	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];
		DeriveAggFunction *f = call->function;
		CallState  *state = &group->states[i];
		Datum		value;
		bool		isnull;

		if (call->count_attno)
			state->count = DatumGetInt64(slot_getattr(stored, call->count_attno, &isnull));
		if (!call->value_attno)
			continue;
		value = slot_getattr(stored, call->value_attno, &isnull);
		if (call->hidden && !isnull)
			state->value = derive_hidden_value(value);
		else if (agg->recompute)
		{
			int16		len;
			bool		byval;

			get_typlenbyval(f->result_type, &len, &byval);
			state->value = derive_agg_copy_datum(value, isnull, byval, len);
		}
		else if (f->state_type == INTERNALOID && !isnull)
			state->value = deserialize_state(run, f, PointerGetDatum(PG_DETOAST_DATUM(value)));
		else
			state->value = derive_agg_copy_datum(value, isnull, f->state_byval, f->state_len);
		state->isnull = isnull;
		if (!agg->recompute && f->cls == DERIVE_AGG_EXTREMUM && call->count_attno)
			check_extremum(run, state);
	}
	MemoryContextSwitchTo(old);
}

/* Fill a slot of the state table from a group. */
void
derive_agg_store_states(AggRun *run, TouchedGroup *group, TupleTableSlot *slot)
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
	if (agg->same_attno)
		slot->tts_values[agg->same_attno - 1] = Int64GetDatum(group->nsame);
	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];
		CallState  *state = &group->states[i];

		if (call->count_attno)
			slot->tts_values[call->count_attno - 1] = Int64GetDatum(state->count);
		if (!call->value_attno)
			continue;
		slot->tts_isnull[call->value_attno - 1] = state->isnull;
		if (!agg->recompute && call->function->state_type == INTERNALOID && !state->isnull)
			slot->tts_values[call->value_attno - 1] =
				serialize_state(run, call->function, state->value);
		else
			slot->tts_values[call->value_attno - 1] = state->value;
	}
	ExecStoreVirtualTuple(slot);
}
