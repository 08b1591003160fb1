/*-------------------------------------------------------------------------
 *
 * agggroups.c
 *	  The groups that a batch touches.
 *
 * A group is loaded when the first of its rows comes: its state from the state
 * table, and its output row as it was before the batch.  All of them are held
 * in a hash table until they are written back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/rowhash.h"
#include "compile/hidden.h"
#include "derive/aggregate_internal.h"

typedef struct GroupEntry
{
	GroupKey   *key;
	TouchedGroup *group;
	char		status;
} GroupEntry;

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

/* -------------------------------------------------------------------------
 * Keys
 * -------------------------------------------------------------------------
 */

static bool
keys_equal_datum(DeriveKey *key, Datum a, Datum b)
{
	return DatumGetBool(FunctionCall2Coll(&key->eq, key->collation, a, b));
}

static bool
keys_equal_arrays(DeriveAggregation *agg, Datum *avalues, bool *anulls, Datum *bvalues, bool *bnulls)
{
	for (int i = 0; i < agg->nidentity; i++)
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

	for (int i = 0; i < agg->nidentity; i++)
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

uint32
derive_agg_hash(AggRun *run, TupleTableSlot *row)
{
	return hash_keys(run->agg, row->tts_values, row->tts_isnull);
}

/* -------------------------------------------------------------------------
 * Groups
 * -------------------------------------------------------------------------
 */

/*
 * The group's output row in the given slot, or NULL if it has none.  Values
 * may point into the group or into the run's per-row memory.
 */
TupleTableSlot *
derive_agg_project(AggRun *run, TouchedGroup *group, TupleTableSlot *output)
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
			*value = derive_agg_final_value(run, agg->calls[i].function, &group->states[i], isnull);
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
	DeriveAggregation *agg = probe->run->agg;
	int			first = DERIVE_STATE_FIRST_KEY - 1;
	Datum	   *values;
	bool	   *isnull;

	slot_getallattrs(stored);
	values = stored->tts_values + first;
	isnull = stored->tts_isnull + first;
	if (agg->hidden_keys)
	{
		values = palloc(sizeof(Datum) * agg->nkeys);
		for (int i = 0; i < agg->nkeys; i++)
			values[i] = agg->keys[i].hidden && !isnull[i] ?
				derive_hidden_value(stored->tts_values[first + i]) : stored->tts_values[first + i];
	}
	return keys_equal_arrays(agg, probe->key->values, probe->key->isnull, values, isnull);
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
		if (run->agg->same_attno)
			group->nsame = DatumGetInt64(slot_getattr(stored, run->agg->same_attno, &isnull));

		/* the stored keys are those that the output shows */
		for (int i = 0; i < run->agg->nkeys; i++)
		{
			DeriveKey  *key = &run->agg->keys[i];
			MemoryContext old = MemoryContextSwitchTo(run->cxt);
			Datum		value = slot_getattr(stored, DERIVE_STATE_FIRST_KEY + i, &isnull);

			group->key.values[i] = key->hidden && !isnull ? derive_hidden_value(value) :
				derive_agg_copy_datum(value, isnull, key->byval, key->len);
			group->key.isnull[i] = isnull;
			MemoryContextSwitchTo(old);
		}
		derive_agg_load_states(run, group, stored);
		output = derive_agg_project(run, group, run->before_slot);
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
		derive_agg_reset_states(run, group);
}

/* An empty group in the current memory context, its key copied. */
static TouchedGroup *
new_group(AggRun *run, const GroupKey *key)
{
	DeriveAggregation *agg = run->agg;
	TouchedGroup *group = palloc0(sizeof(TouchedGroup));

	group->states = palloc0(sizeof(CallState) * Max(agg->ncalls, 1));
	for (int i = 0; i < agg->ncalls; i++)
		group->states[i].isnull = true;
	group->key.hash = key->hash;
	group->key.values = palloc(sizeof(Datum) * Max(agg->nkeys, 1));
	group->key.isnull = palloc(sizeof(bool) * Max(agg->nkeys, 1));
	for (int i = 0; i < agg->nkeys; i++)
	{
		group->key.isnull[i] = key->isnull[i];
		group->key.values[i] = derive_agg_copy_datum(key->values[i], key->isnull[i],
													 agg->keys[i].byval, agg->keys[i].len);
	}
	return group;
}

/* The group that an input row belongs to, loaded when it is met first. */
TouchedGroup *
derive_agg_find_group(AggRun *run, TupleTableSlot *row)
{
	DeriveAggregation *agg = run->agg;
	GroupKey	probe = {0, row->tts_values, row->tts_isnull};
	GroupEntry *entry;
	MemoryContext old;
	TouchedGroup *group;
	bool		found;

	probe.hash = hash_keys(agg, probe.values, probe.isnull);
	entry = groups_insert(run->groups, &probe, &found);
	if (found)
		return entry->group;

	old = MemoryContextSwitchTo(run->cxt);
	group = new_group(run, &probe);
	MemoryContextSwitchTo(old);
	entry->group = group;
	entry->key = &group->key;
	load_group(run, group);
	return group;
}

/* Where do the row's keys stand to those that the group shows, by their images, NULLs last? */
static int
compare_keys(AggRun *run, TouchedGroup *group, TupleTableSlot *row)
{
	TupleDesc	desc = run->agg->group_desc;

	for (int i = 0; i < run->agg->nkeys; i++)
	{
		int			result;

		if (row->tts_isnull[i] != group->key.isnull[i])
			return row->tts_isnull[i] ? 1 : -1;
		if (row->tts_isnull[i])
			continue;
		result = derive_datum_compare(TupleDescAttr(desc, i), row->tts_values[i], group->key.values[i]);
		if (result != 0)
			return result;
	}
	return 0;
}

/* Show the row's keys from now on. */
static void
adopt_key(AggRun *run, TouchedGroup *group, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(run->cxt);

	for (int i = 0; i < run->agg->nkeys; i++)
	{
		group->key.values[i] = derive_agg_copy_datum(row->tts_values[i], row->tts_isnull[i],
													 run->agg->keys[i].byval, run->agg->keys[i].len);
		group->key.isnull[i] = row->tts_isnull[i];
	}
	MemoryContextSwitchTo(old);
}

/* Keep the least keys, and count the rows that have them. */
static void
count_same(AggRun *run, TouchedGroup *group, TupleTableSlot *row, int64 weight)
{
	int			order = compare_keys(run, group, row);

	/*
	 * the first row of a group, which may be computed afresh, is the least so
	 * far
	 */
	if (order != 0 && weight > 0 && (order < 0 || group->nrows == weight))
	{
		adopt_key(run, group, row);
		group->nsame = 0;
		order = 0;
	}
	if (order == 0)
		group->nsame += weight;
	/* what is removed comes last, so it does not come back */
	if (weight < 0 && group->nsame <= 0 && group->nrows > 0)
		group->redo = true;
}

void
derive_agg_fold(AggRun *run, TouchedGroup *group, TupleTableSlot *row, int64 weight)
{
	if (group->redo)
		return;
	group->nrows += weight;
	if (run->agg->same_attno)
		count_same(run, group, row, weight);
	for (int i = 0; i < run->agg->ncalls && !group->redo; i++)
		derive_agg_advance(run, group, &run->agg->calls[i], &group->states[i], row, weight);
}

/* Results that the executor computed: keys, number of rows, one column for each aggregate. */
void
derive_agg_take_results(AggRun *run, TouchedGroup *group, TupleTableSlot *row)
{
	DeriveAggregation *agg = run->agg;
	MemoryContext old = MemoryContextSwitchTo(run->cxt);

	if (agg->loose)
		adopt_key(run, group, row);
	group->nrows = DatumGetInt64(row->tts_values[agg->nkeys]);
	for (int i = 0; i < agg->ncalls; i++)
	{
		int			column = agg->nkeys + 1 + i;
		int16		len;
		bool		byval;

		get_typlenbyval(agg->calls[i].function->result_type, &len, &byval);
		group->states[i].isnull = row->tts_isnull[column];
		group->states[i].value = derive_agg_copy_datum(row->tts_values[column], row->tts_isnull[column],
													   byval, len);
	}
	MemoryContextSwitchTo(old);
}

/* -------------------------------------------------------------------------
 * All of them
 * -------------------------------------------------------------------------
 */

void
derive_agg_groups_create(AggRun *run)
{
	run->cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive groups", ALLOCSET_DEFAULT_SIZES);
	run->caller->curaggcontext = run->cxt;
	run->groups = groups_create(run->cxt, 64, run);
}

void
derive_agg_groups_each(AggRun *run, DeriveGroupFunction function, void *arg)
{
	groups_iterator iterator;
	GroupEntry *entry;

	groups_start_iterate(run->groups, &iterator);
	while ((entry = groups_iterate(run->groups, &iterator)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(run->tmp);

		function(run, entry->group, arg);
		ResetExprContext(run->econtext);
		MemoryContextSwitchTo(old);
		MemoryContextReset(run->tmp);
	}
}

bool
derive_agg_groups_full(AggRun *run)
{
	return MemoryContextMemAllocated(run->cxt, true) > run->memory_limit;
}

/*
 * Forget all groups.  keep_unfinished: but remember those that must be
 * computed afresh, and that they must be, in full.
 */
void
derive_agg_groups_forget(AggRun *run, bool keep_unfinished)
{
	MemoryContext old_cxt = run->cxt;
	groups_hash *old_groups = run->groups;
	groups_iterator iterator;
	GroupEntry *entry;
	MemoryContext caller;

	caller = MemoryContextSwitchTo(MemoryContextGetParent(old_cxt));
	derive_agg_groups_create(run);
	MemoryContextSwitchTo(run->cxt);
	groups_start_iterate(old_groups, &iterator);
	while (keep_unfinished && (entry = groups_iterate(old_groups, &iterator)) != NULL)
	{
		TouchedGroup *group;
		bool		found;

		if (!entry->group->redo && !entry->group->patch)
			continue;
		group = new_group(run, &entry->group->key);
		group->stored = entry->group->stored;
		group->tid = entry->group->tid;
		group->redo = true;
		if (entry->group->before)
			group->before = derive_compat_copy_minimal_tuple(entry->group->before);
		groups_insert(run->groups, &group->key, &found)->group = group;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(old_cxt);
}

/* Does the row belong to this group?  For sorted input. */
bool
derive_agg_same_group(AggRun *run, TouchedGroup *group, TupleTableSlot *row)
{
	return keys_equal_arrays(run->agg, group->key.values, group->key.isnull,
							 row->tts_values, row->tts_isnull);
}
