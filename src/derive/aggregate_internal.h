/*-------------------------------------------------------------------------
 *
 * aggregate_internal.h
 *	  The aggregate operator at work, for the files agg*.c only.
 *
 * aggregate.c runs it, agggroups.c holds the groups, aggstate.c their states,
 * aggredo.c computes groups afresh.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_AGGREGATE_INTERNAL_H
#define DERIVE_AGGREGATE_INTERNAL_H

#include "deposit/statetable.h"
#include "derive/aggregate.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

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
	bool		redo;			/* EXTREMUM: it went, look for the next one */
	int64		count;			/* inputs that were not skipped */
} CallState;

typedef struct TouchedGroup
{
	GroupKey	key;
	int64		nrows;			/* rows of the input, weighted */
	int64		nsame;			/* those with exactly this key, if
								 * agg->same_attno */
	CallState  *states;
	bool		stored;			/* there is a row in the state table */
	ItemPointerData tid;		/* its place */
	bool		redo;			/* all states must be computed afresh */
	bool		patch;			/* some extremum must be */
	MinimalTuple before;		/* output before the batch, NULL: none */
} TouchedGroup;

struct groups_hash;

typedef struct AggRun
{
	DeriveOperator *op;
	DeriveAggregation *agg;
	bool		fresh;			/* building: nothing to load */
	MemoryContext cxt;			/* groups and states */
	MemoryContext tmp;			/* one row's work */
	Size		memory_limit;	/* for cxt, bytes */
	bool		overflow;		/* more groups than that: start over in
								 * another way */
	struct groups_hash *groups;
	DeriveStateTable *state;	/* NULL if fresh */
	TupleTableSlot *group_slot; /* keys and results */
	TupleTableSlot *before_slot;
	TupleTableSlot *after_slot;
	WindowAggState *caller;		/* what transition functions see */
	EState	   *estate;
	ExprContext *econtext;
	List	   *targets;		/* of ExprState * */
	ExprState  *having;

	/* a batch */
	DeriveTarget *target;
	Tuplestorestate *removals;	/* rows with negative weight: columns, weight,
								 * hash */
	Tuplesortstate *sort;		/* all rows, after an overflow */
	TupleTableSlot *removal_slot;

	/* a build */
	DeriveRowSink sink;
	void	   *sink_arg;
	struct DeriveFill *fill;	/* of the state table */
	TupleTableSlot *state_slot;
	TouchedGroup *current;		/* of sorted input */
} AggRun;

/* aggstate.c */
extern void derive_agg_advance(AggRun *run, TouchedGroup *group, DeriveAggCall *call, CallState *state,
							   TupleTableSlot *row, int64 weight);
extern void derive_agg_set_state(AggRun *run, DeriveAggFunction *f, CallState *state, Datum value, bool isnull);

/* ERROR if the state of this aggregate must not be NULL once it has an input. */
extern void derive_agg_check_null(DeriveAggFunction *f);
extern void derive_agg_reset_states(AggRun *run, TouchedGroup *group);
extern Datum derive_agg_final_value(AggRun *run, DeriveAggFunction *f, CallState *state, bool *isnull);
extern void derive_agg_load_states(AggRun *run, TouchedGroup *group, TupleTableSlot *stored);
extern void derive_agg_store_states(AggRun *run, TouchedGroup *group, TupleTableSlot *slot);
extern Datum derive_agg_copy_datum(Datum value, bool isnull, bool byval, int16 len);

/* agggroups.c */
typedef void (*DeriveGroupFunction) (AggRun *run, TouchedGroup *group, void *arg);
extern void derive_agg_groups_create(AggRun *run);
extern void derive_agg_groups_forget(AggRun *run, bool keep_unfinished);
extern void derive_agg_groups_each(AggRun *run, DeriveGroupFunction function, void *arg);
extern bool derive_agg_groups_full(AggRun *run);
extern uint32 derive_agg_hash(AggRun *run, TupleTableSlot *row);
extern TouchedGroup *derive_agg_find_group(AggRun *run, TupleTableSlot *row);
extern bool derive_agg_same_group(AggRun *run, TouchedGroup *group, TupleTableSlot *row);
extern TupleTableSlot *derive_agg_project(AggRun *run, TouchedGroup *group, TupleTableSlot *output);
extern void derive_agg_fold(AggRun *run, TouchedGroup *group, TupleTableSlot *row, int64 weight);
extern void derive_agg_take_results(AggRun *run, TouchedGroup *group, TupleTableSlot *row);

/* aggredo.c */
extern void derive_agg_redo(AggRun *run);

#endif							/* DERIVE_AGGREGATE_INTERNAL_H */
