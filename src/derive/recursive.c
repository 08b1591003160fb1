/*-------------------------------------------------------------------------
 *
 * recursive.c
 *	  WITH RECURSIVE: the recursive operator.
 *
 * Its table has the rows of x in "x AS (base UNION [ALL] step(x))", where each row of x
 * makes rows of step by itself (compile/recursion.c), and step reads that table.  What
 * base and step read otherwise are relations as any others, whose changes give terms
 * (term.c).  In what follows x is the table as it was before the batch; nothing is written
 * to it before all is known.
 *
 *
 * UNION: x is a set, the least that has all rows of base and step(x).  A row may have
 * many derivations, and may be among those that it is derived from:
 *
 *	edge	1-2  2-3  3-2		x (reached from 1)	2, 3
 *
 * 2 follows from 1 and from 3, 3 follows from 2.  If the edge 1-2 goes, 2 and 3 still have
 * a derivation each, one from the other, yet both must go.  So derivations cannot be counted.
 * What is done is to delete and rederive (Gupta, Mumick, Subrahmanian 1993):
 *
 *	1	Delete.  A row goes that has lost a derivation, and, round by round, all that follows
 *		from those, with relations as they were.  Rows that are left have all the
 *		derivations that they had, none of them from a row that has gone, so they stay.
 *			lost: 2 (from 1).  From 2 followed 3, from 3 followed 2.  Gone: 2, 3
 *	2	Rederive.  Of the rows that have gone those come back that follow from base, or
 *		from a row that is left, with relations as they are.
 *			none here; had there been an edge 4-3 with 4 in x, then 3
 *	3	Insert.  So do rows with a derivation that is new, unless it is from a row that has
 *		gone; and, round by round, all that follows from those that came, with relations as
 *		they are, and was not there.
 *			from 3 follows 2 by 3-2
 *
 * For 1 and 3 one must know which derivations were lost and which are new.  A derivation is
 * a row of step together with the row of x that it was made of, its origin: step is
 * evaluated with the columns of x added.  The terms of the relations, summed by equal rows
 * with equal origins, tell how many more or less there are; some of the rows in
 * terms that cancel never were.
 *
 * Rows that have gone or come are in a hash table, as much as pg_derive.work_mem allows;
 * beyond that the table is made equal to the query by difference, as the whole operator
 * does.  Whether a row was there says the index of the table's locator.  Values that are
 * equal are the same by image (choice.c refuses UNION of others).
 *
 *
 * UNION ALL: x is a multiset, and all is linear, so that weights do: with step' and base'
 * after the batch,
 *
 *		d0   = (base' - base) + (step'(x) - step(x))		the terms
 *		dn+1 = step'(dn)									round by round, summed by equal rows
 *
 * x changes by the sum of all dn: x + d = base' + step'(x + d) follows from x = base +
 * step(x).  It ends where the query ends, save where rows that are gone would go on
 * for ever along what has come; therefore, and because a round costs more than a row, there
 * is a bound on rounds, beyond which it is the difference again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/gucs.h"
#include "base/rowhash.h"
#include "compile/digest.h"
#include "compile/query.h"
#include "delta/consolidate.h"
#include "derive/plan.h"
#include "derive/recursive.h"

/* A round costs about as much as to evaluate a hundred rows. */
#define MAX_ROUNDS	1000

#define CANDIDATES	"candidates"

/* "Which of these rows follow from the input?", for candidates that are NULL in the same columns. */
typedef struct CheckPlan
{
	bool		of_step;
	Bitmapset  *nulls;
	int			size_class;
	DerivePlan *plan;
} CheckPlan;

typedef struct DeriveRecursive
{
	MemoryContext cxt;
	bool		all;
	DeriveLinear *base;
	DeriveLinear *step;			/* UNION: with the origin of each row */
	Query	   *query;			/* x as a whole */
	DerivePlan *plan;			/* of that, made when first needed */
	List	   *checks;			/* of CheckPlan * */
} DeriveRecursive;

/* -------------------------------------------------------------------------
 * Compiling
 * -------------------------------------------------------------------------
 */

void
derive_recursive_compile(DeriveOperator *op, DeriveRecursion *recursion, DeriveTableResolver resolve, void *arg)
{
	DeriveRecursive *recursive = palloc0(sizeof(DeriveRecursive));
	Query	   *step;

	op->routine = &derive_recursive_routine;
	op->recursive = recursive;
	op->desc = recursion->desc;
	op->table = resolve(arg, op->number, 'd', op->desc);

	recursive->cxt = CurrentMemoryContext;
	recursive->all = recursion->op->all;
	recursive->query = derive_recursion_query(recursion);
	step = derive_recursion_step(recursion, linitial(derive_query_scan(op->table, op->desc, op->desc)->rtable),
								 !recursive->all);
	recursive->base = derive_linear_create(list_make1(recursion->base), false);
	recursive->step = derive_linear_create(list_make1(step), false);
}

static List *
recursive_key(DeriveOperator *op, List **constraints)
{
	List	   *key = NIL;

	for (int i = 1; !op->recursive->all && i <= op->desc->natts; i++)
		key = lappend_int(key, i);
	return key;
}

/* Row types are not stored (compile/recursion.c). */
static void
recursive_hide(DeriveOperator *op)
{
}

static List *
recursive_sources(DeriveOperator *op, List *sources)
{
	return derive_linear_sources(op->recursive->step, derive_linear_sources(op->recursive->base, sources));
}

static List *
recursive_queries(DeriveOperator *op, Query **by_key)
{
	*by_key = NULL;
	return list_concat_copy(derive_linear_branches(op->recursive->base), derive_linear_branches(op->recursive->step));
}

static uint64
recursive_digest(DeriveOperator *op, uint64 digest, List *own)
{
	digest = derive_digest_add(digest, op->recursive->all);
	digest = derive_digest_tree(digest, derive_linear_branches(op->recursive->base), own);
	return derive_digest_tree(digest, derive_linear_branches(op->recursive->step), own);
}

/* -------------------------------------------------------------------------
 * As a whole
 * -------------------------------------------------------------------------
 */

static bool
recursive_touched(DeriveOperator *op, DeriveBatch *batch, const char **unknown)
{
	DeriveRecursive *recursive = op->recursive;
	const char *unknown_base;
	bool		touched = derive_linear_touched(recursive->base, batch, &unknown_base);

	touched |= derive_linear_touched(recursive->step, batch, unknown);
	if (unknown_base != NULL)
		*unknown = unknown_base;
	if (*unknown == NULL && touched && !recursive->all && !derive_linear_was_shown(recursive->step, batch))
		*unknown = "a relation cannot be read as it was";
	return touched;
}

static void
recursive_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	DeriveRecursive *recursive = op->recursive;

	if (recursive->plan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(recursive->cxt);

		recursive->plan = derive_plan_create(recursive->query, CURSOR_OPT_PARALLEL_OK);
		MemoryContextSwitchTo(old);
	}
	derive_plan_run(recursive->plan, NULL, NULL, false, sink, arg);
}

static void
add_to_target(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

/* -------------------------------------------------------------------------
 * A run
 * -------------------------------------------------------------------------
 */

/* A row that has gone, or come, or both. */
typedef struct ChangedRow
{
	MinimalTuple tuple;
	uint32		hash;
	char		status;
	bool		gone;
	bool		came;
} ChangedRow;

typedef struct Run Run;
static bool rows_equal(Run *run, MinimalTuple a, MinimalTuple b);

#define SH_PREFIX rows
#define SH_ELEMENT_TYPE ChangedRow
#define SH_KEY_TYPE MinimalTuple
#define SH_KEY tuple
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) ((a)->hash)
#define SH_HASH_KEY(tb, key) (((Run *) (tb)->private_data)->probe_hash)
#define SH_EQUAL(tb, a, b) rows_equal((tb)->private_data, a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE

struct Run
{
	DeriveOperator *op;
	DeriveRecursive *recursive;
	DeriveBatch *batch;
	DeriveTarget *target;

	TupleDesc	layout;			/* of the table */
	TupleTableSlot *row;		/* columns of a result as a row of x */
	TupleTableSlot *origin;		/* and those of its origin */
	DeriveDelta *frontier;		/* of the round: what is new */
	DeriveDelta *next;			/* of the next one */
	int			rounds;
	bool		gave_up;		/* too much for this; nothing has been written */

	/* UNION */
	MemoryContext rows_cxt;
	struct rows_hash *rows;		/* that have changed */
	TupleTableSlot *probe;		/* that is looked for; a NULL key stands for
								 * it */
	uint32		probe_hash;
	TupleTableSlot *stored;
	Tuplestorestate *gained;	/* derivations that are new */

	/* UNION ALL */
	DeriveConsolidator *net;	/* what comes into "next" */
	DeriveDelta *changes;		/* all so far */
};

#include "lib/simplehash.h"

static bool
rows_equal(Run *run, MinimalTuple a, MinimalTuple b)
{
	Assert((a == NULL) != (b == NULL));
	ExecForceStoreMinimalTuple(a ? a : b, run->stored, false);
	return derive_row_equal(run->stored, run->probe, 0, NULL);
}

static void
give_up(Run *run, const char *reason)
{
	if (!run->gave_up)
		elog(DEBUG1, "computing a recursion anew: %s", reason);
	run->gave_up = true;
}

/* Columns of a result as a row of x; the values are the result's. */
static TupleTableSlot *
columns_from(TupleTableSlot *slot, TupleTableSlot *result, int first)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	Assert(result->tts_tupleDescriptor->natts >= first + natts);
	slot_getallattrs(result);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, result->tts_values + first, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, result->tts_isnull + first, natts * sizeof(bool));
	return ExecStoreVirtualTuple(slot);
}

/* The next round begins; false if there is nothing to do in it. */
static bool
next_round(Run *run)
{
	DeriveDelta *swap = run->frontier;

	CHECK_FOR_INTERRUPTS();
	if (run->gave_up || run->next->nrows == 0)
		return false;
	if (++run->rounds > MAX_ROUNDS)
	{
		give_up(run, "too many rounds");
		return false;
	}
	derive_delta_reset(swap);
	run->frontier = run->next;
	run->next = swap;
	return true;
}

/* The last round is over: the rows of the one before it may take as much memory as all that is still to be done. */
static void
end_rounds(Run *run)
{
	derive_delta_reset(run->frontier);
	derive_delta_reset(run->next);
}

static void
begin_run(Run *run, DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	Relation	rel = table_open(op->table, AccessShareLock);

	memset(run, 0, sizeof(Run));
	run->op = op;
	run->recursive = op->recursive;
	run->batch = batch;
	run->target = target;
	run->layout = CreateTupleDescCopy(RelationGetDescr(rel));
	run->frontier = derive_delta_create(op->table, false, run->layout);
	run->next = derive_delta_create(op->table, false, run->layout);
	table_close(rel, NoLock);
	run->row = MakeSingleTupleTableSlot(run->layout, &TTSOpsVirtual);
	run->origin = MakeSingleTupleTableSlot(run->layout, &TTSOpsVirtual);
}

static void
end_run(Run *run)
{
	ExecDropSingleTupleTableSlot(run->row);
	ExecDropSingleTupleTableSlot(run->origin);
	derive_delta_free(run->frontier);
	derive_delta_free(run->next);
}

/* -------------------------------------------------------------------------
 * UNION: the rows that have changed
 * -------------------------------------------------------------------------
 */

static ChangedRow *
find_row(Run *run, TupleTableSlot *row)
{
	run->probe = row;
	run->probe_hash = (uint32) derive_row_hash(row, 0, NULL);
	return rows_lookup_hash(run->rows, NULL, run->probe_hash);
}

/* After find_row(), which did not. */
static ChangedRow *
make_row(Run *run)
{
	bool		found;
	ChangedRow *entry = rows_insert_hash(run->rows, NULL, run->probe_hash, &found);
	MemoryContext old = MemoryContextSwitchTo(run->rows_cxt);

	Assert(!found);
	entry->tuple = ExecCopySlotMinimalTuple(run->probe);
	entry->gone = entry->came = false;
	MemoryContextSwitchTo(old);
	if (MemoryContextMemAllocated(run->rows_cxt, true) > (Size) derive_work_mem * 1024)
		give_up(run, "more rows change than there is memory for");
	return entry;
}

/* A row of x has lost a derivation. */
static void
row_goes(Run *run, TupleTableSlot *row)
{
	if (run->gave_up || find_row(run, row) != NULL)
		return;
	make_row(run)->gone = true;
	derive_delta_add_slot(run->next, row, 1);
}

/* A row has a derivation. */
static void
row_comes(Run *run, TupleTableSlot *row)
{
	ChangedRow *entry;

	if (run->gave_up)
		return;
	entry = find_row(run, row);
	if (entry == NULL)
	{
		if (derive_target_lookup(run->target, row) != NULL)
			return;				/* it has been there all the time */
		entry = make_row(run);
	}
	if (entry->came)
		return;
	entry->came = true;
	derive_delta_add_slot(run->next, row, 1);
}

/* Is a row there that was there before the batch? */
static bool
is_left(Run *run, TupleTableSlot *row)
{
	ChangedRow *entry = find_row(run, row);

	return entry == NULL || entry->came;
}

/* -------------------------------------------------------------------------
 * UNION: delete
 * -------------------------------------------------------------------------
 */

static void
net_row(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_consolidate_add(arg, row, weight);
}

/* Of base, or of step with its origin. */
static void
derivation_changed(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	Run		   *run = arg;

	if (old != NULL)
		row_goes(run, columns_from(run->row, old, 0));
	else
		tuplestore_puttupleslot(run->gained, new);
}

static void
derivation_lost(void *arg, TupleTableSlot *result, int64 weight)
{
	Run		   *run = arg;

	Assert(weight > 0);
	row_goes(run, columns_from(run->row, result, 0));
}

/* Step 1.  Which derivations were lost, and what followed; keeps those that are new. */
static void
delete_rows(Run *run, Tuplestorestate **gained_by_base, Tuplestorestate **gained_by_step)
{
	DeriveLinear *const parts[] = {run->recursive->base, run->recursive->step};
	Tuplestorestate **const gained[] = {gained_by_base, gained_by_step};

	for (int i = 0; i < lengthof(parts); i++)
	{
		DeriveConsolidator *net = derive_consolidate_begin(derive_linear_desc(parts[i]), 0, NULL, false);

		derive_linear_delta(parts[i], run->batch, net_row, net);
		*gained[i] = run->gained = tuplestore_begin_heap(false, false, derive_work_mem);
		derive_consolidate_finish(net, derivation_changed, run);
	}
	while (next_round(run))
		derive_linear_step(run->recursive->step, run->frontier, run->batch->past, derivation_lost, run);
}

/* -------------------------------------------------------------------------
 * UNION: rederive
 * -------------------------------------------------------------------------
 */

/* "SELECT every column FROM (query), candidates WHERE columns that are not NULL are equal" */
static Query *
check_query(Run *run, Query *input, Bitmapset *nulls, double ncandidates)
{
	Query	   *query = derive_query_wrap(copyObject(input));
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *conditions = NIL;

	query->rtable = lappend(query->rtable, derive_query_enr_rte(CANDIDATES, run->next->desc, ncandidates));
	ref->rtindex = 2;
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
	for (int i = 0; i < run->layout->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(run->layout, i);
		TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR);
		Expr	   *condition;

		if (bms_is_member(i, nulls) || !OidIsValid(type->eq_opr))
			continue;
		condition = make_opclause(type->eq_opr, BOOLOID, false,
								  (Expr *) makeVar(2, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0),
								  (Expr *) makeVar(1, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0),
								  InvalidOid, att->attcollation);
		set_opfuncid((OpExpr *) condition);
		conditions = lappend(conditions, condition);
	}
	query->jointree->quals = (Node *) make_ands_explicit(conditions);
	return query;
}

static DerivePlan *
find_check(Run *run, bool of_step, Bitmapset *nulls, DeriveDelta *candidates)
{
	DeriveRecursive *recursive = run->recursive;
	double		planned_for;
	int			size_class = derive_size_class(candidates->nrows, &planned_for);
	CheckPlan  *check;
	MemoryContext old;
	ListCell   *lc;

	foreach(lc, recursive->checks)
	{
		check = lfirst(lc);
		if (check->of_step == of_step && check->size_class == size_class && bms_equal(check->nulls, nulls))
			return check->plan;
	}
	old = MemoryContextSwitchTo(recursive->cxt);
	check = palloc0(sizeof(CheckPlan));
	check->of_step = of_step;
	check->nulls = bms_copy(nulls);
	check->size_class = size_class;
	check->plan = derive_plan_create(check_query(run, linitial(derive_linear_branches(of_step ? recursive->step : recursive->base)),
												 nulls, planned_for), 0);
	recursive->checks = lappend(recursive->checks, check);
	MemoryContextSwitchTo(old);
	return check->plan;
}

/* A row that has gone may be among the results: one that follows from what is left. */
static void
check_found(void *arg, TupleTableSlot *result, int64 weight)
{
	Run		   *run = arg;
	TupleTableSlot *row = columns_from(run->row, result, 0);
	ChangedRow *entry;

	if (result->tts_tupleDescriptor->natts > run->layout->natts &&
		!is_left(run, columns_from(run->origin, result, run->layout->natts)))
		return;
	entry = find_row(run, row);
	if (entry != NULL && entry->gone)
		row_comes(run, row);
}

/* The columns in which a row is NULL. */
static Bitmapset *
nulls_of(TupleTableSlot *row)
{
	Bitmapset  *nulls = NULL;

	slot_getallattrs(row);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
		if (row->tts_isnull[i])
			nulls = bms_add_member(nulls, i);
	return nulls;
}

typedef struct Candidates
{
	Bitmapset  *nulls;
	DeriveDelta *rows;
} Candidates;

static List *
add_candidate(Run *run, List *groups, TupleTableSlot *row)
{
	Bitmapset  *nulls = nulls_of(row);
	Candidates *group = NULL;
	ListCell   *lc;

	foreach(lc, groups)
		if (bms_equal(((Candidates *) lfirst(lc))->nulls, nulls))
		group = lfirst(lc);
	if (group == NULL)
	{
		group = palloc(sizeof(Candidates));
		group->nulls = nulls;
		group->rows = derive_delta_create(run->op->table, false, run->layout);
		groups = lappend(groups, group);
	}
	derive_delta_add_slot(group->rows, row, 1);
	return groups;
}

/* Step 2, its first round. */
static void
rederive_rows(Run *run)
{
	List	   *groups = NIL;
	rows_iterator iterator;
	ChangedRow *entry;
	ListCell   *lc;

	rows_start_iterate(run->rows, &iterator);
	while ((entry = rows_iterate(run->rows, &iterator)) != NULL)
	{
		ExecForceStoreMinimalTuple(entry->tuple, run->stored, false);
		groups = add_candidate(run, groups, run->stored);
	}
	foreach(lc, groups)
	{
		Candidates *group = lfirst(lc);

		for (int of_step = 0; of_step <= 1; of_step++)
		{
			QueryEnvironment *env = create_queryEnv();

			derive_env_register(env, CANDIDATES, group->rows->desc, group->rows->rows, group->rows->nrows);
			derive_plan_run(find_check(run, of_step, group->nulls, group->rows), env, NULL, false, check_found, run);
		}
		derive_delta_free(group->rows);
	}
}

/* -------------------------------------------------------------------------
 * UNION: insert
 * -------------------------------------------------------------------------
 */

/* Derivations that are new, but for those from rows that have gone. */
static void
insert_gained(Run *run, Tuplestorestate *gained, TupleDesc desc)
{
	TupleTableSlot *result = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(gained, true, false, result))
	{
		CHECK_FOR_INTERRUPTS();
		if (desc->natts == run->layout->natts ||
			is_left(run, columns_from(run->origin, result, run->layout->natts)))
			row_comes(run, columns_from(run->row, result, 0));
	}
	ExecDropSingleTupleTableSlot(result);
	tuplestore_end(gained);
}

static void
derivation_found(void *arg, TupleTableSlot *result, int64 weight)
{
	Run		   *run = arg;

	Assert(weight > 0);
	row_comes(run, columns_from(run->row, result, 0));
}

static void
write_rows(Run *run)
{
	rows_iterator iterator;
	ChangedRow *entry;

	rows_start_iterate(run->rows, &iterator);
	while ((entry = rows_iterate(run->rows, &iterator)) != NULL)
	{
		if (entry->gone == entry->came)
			continue;
		ExecForceStoreMinimalTuple(entry->tuple, run->stored, false);
		derive_target_add(run->target, run->stored, entry->gone ? -1 : 1);
	}
}

static void
apply_union(Run *run)
{
	Tuplestorestate *gained_by_base;
	Tuplestorestate *gained_by_step;

	run->rows_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive recursion", ALLOCSET_DEFAULT_SIZES);
	run->rows = rows_create(run->rows_cxt, 256, run);
	run->stored = MakeSingleTupleTableSlot(run->layout, &TTSOpsMinimalTuple);

	delete_rows(run, &gained_by_base, &gained_by_step);
	if (!run->gave_up && run->rows->members > 0)
		rederive_rows(run);
	insert_gained(run, gained_by_base, derive_linear_desc(run->recursive->base));
	insert_gained(run, gained_by_step, derive_linear_desc(run->recursive->step));
	while (next_round(run))
		derive_linear_step(run->recursive->step, run->frontier, NULL, derivation_found, run);
	end_rounds(run);
	if (!run->gave_up)
		write_rows(run);

	ExecDropSingleTupleTableSlot(run->stored);
	MemoryContextDelete(run->rows_cxt);
}

/* -------------------------------------------------------------------------
 * UNION ALL
 * -------------------------------------------------------------------------
 */

static void
net_changed(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	Run		   *run = arg;

	derive_delta_add_slot(run->next, old ? old : new, old ? -count : count);
}

static void
begin_net(Run *run)
{
	run->net = derive_consolidate_begin(run->layout, 0, NULL, false);
}

/* What was collected is what the next round begins with, and part of the result. */
static void
finish_net(Run *run)
{
	derive_consolidate_finish(run->net, net_changed, run);
	derive_delta_append(run->changes, run->next);
}

static void
apply_union_all(Run *run)
{
	TupleTableSlot *slot;

	run->changes = derive_delta_create(run->op->table, false, run->layout);
	begin_net(run);
	derive_linear_delta(run->recursive->base, run->batch, net_row, run->net);
	derive_linear_delta(run->recursive->step, run->batch, net_row, run->net);
	finish_net(run);
	while (next_round(run))
	{
		begin_net(run);
		derive_linear_step(run->recursive->step, run->frontier, NULL, net_row, run->net);
		finish_net(run);
	}
	end_rounds(run);
	if (!run->gave_up)
	{
		slot = MakeSingleTupleTableSlot(run->changes->desc, &TTSOpsMinimalTuple);
		derive_delta_rewind(run->changes);
		while (derive_delta_next(run->changes, slot))
		{
			TupleTableSlot *row = columns_from(run->row, slot, 0);

			derive_target_add(run->target, row, DatumGetInt64(slot->tts_values[run->layout->natts]));
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	derive_delta_free(run->changes);
}

static void
recursive_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	Run			run;

	begin_run(&run, op, batch, target);
	if (op->recursive->all)
		apply_union_all(&run);
	else
		apply_union(&run);
	if (run.gave_up)
	{
		derive_target_subtract_contents(target);
		recursive_produce(op, add_to_target, target);
	}
	end_run(&run);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

static List *
recursive_explain(DeriveOperator *op, List *lines)
{
	if (op->recursive->all)
		return lappend(lines, pstrdup("Changes are followed step by step, with how often each row came or went"));
	return lappend(lines, pstrdup("Changes are followed step by step: what followed from lost rows goes, unless it follows from others"));
}

const DeriveOperatorRoutine derive_recursive_routine = {
	.name = "recursive",
	.key = recursive_key,
	.hide = recursive_hide,
	.sources = recursive_sources,
	.queries = recursive_queries,
	.digest = recursive_digest,
	.touched = recursive_touched,
	.apply = recursive_apply,
	.produce = recursive_produce,
	.explain = recursive_explain,
};
