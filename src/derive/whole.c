/*-------------------------------------------------------------------------
 *
 * whole.c
 *	  The whole operator: any query, evaluated anew when what it reads changes.
 *
 * For blocks that no other operator maintains (compile/verdict.c), and for views that read
 * no table and so are evaluated once; these have no verdict.  The executor
 * evaluates the block under the batch's snapshot, and the table is made equal to
 * the result by difference:
 *
 *	table		result		difference
 *	(1, a)		(1, a)
 *	(2, b)					(2, b) x -1
 *				(3, c)		(3, c) x +1
 *
 * The difference is an exact delta, so what is built over the table is
 * maintained by it as over any other.  There is no state.
 *
 * The cost is that of the query and of the table, however little has changed.
 * Nothing is done if nothing changed in a column that the block reads.  Which
 * row versions and keys the log tells of does not matter.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "base/rowhash.h"
#include "compile/digest.h"
#include "compile/hidden.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "derive/choice.h"
#include "derive/plan.h"
#include "derive/whole.h"

typedef struct DeriveWhole
{
	Query	   *query;			/* with the columns of the table */
	List	   *sources;		/* of DeriveSource * */
	DerivePlan *plan;			/* made when first needed */
} DeriveWhole;

/* -------------------------------------------------------------------------
 * Compiling
 * -------------------------------------------------------------------------
 */

void
derive_whole_compile(DeriveOperator *op, Query *block)
{
	DeriveWhole *whole = palloc0(sizeof(DeriveWhole));

	Assert(!derive_query_refers_outside(block));
	derive_check_time_places(block, false);
	derive_query_choose(block);

	/* without the columns that only ORDER BY needs */
	whole->query = derive_query_wrap(block);
	whole->sources = derive_query_sources(whole->query, NIL);
	op->routine = &derive_whole_routine;
	op->whole = whole;
	op->desc = derive_query_desc(whole->query);
}

/* The rows of two results may be equal. */
static List *
whole_key(DeriveOperator *op, List **constraints)
{
	return NIL;
}

static void
whole_hide(DeriveOperator *op)
{
	if (derive_hide_targets(op->whole->query->targetList))
		op->desc = derive_query_desc(op->whole->query);
}

static List *
whole_sources(DeriveOperator *op, List *sources)
{
	return derive_query_sources(op->whole->query, sources);
}

/* It is for the planner to say which indexes it would like. */
static List *
whole_queries(DeriveOperator *op, Query **by_key)
{
	*by_key = NULL;
	return NIL;
}

static uint64
whole_digest(DeriveOperator *op, uint64 digest, List *own)
{
	return derive_digest_tree(digest, op->whole->query, own);
}

/* -------------------------------------------------------------------------
 * Running
 * -------------------------------------------------------------------------
 */

static bool
source_touched(DeriveSource *source, DeriveBatch *batch)
{
	DeriveDelta *delta = derive_batch_find(batch, source->relid, source->inh);

	if (delta == NULL)
		return false;
	if (delta->unknown || delta->ntouched > 0)
		return true;
	return derive_batch_narrow(batch, delta, source->columns)->nrows > 0;
}

static bool
whole_touched(DeriveOperator *op, DeriveBatch *batch, const char **unknown)
{
	ListCell   *lc;

	*unknown = NULL;
	foreach(lc, op->whole->sources)
		if (source_touched(lfirst(lc), batch))
		return true;
	return false;
}

static void
whole_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	DeriveWhole *whole = op->whole;

	if (whole->plan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(whole));

		whole->plan = derive_plan_create(whole->query, CURSOR_OPT_PARALLEL_OK);
		MemoryContextSwitchTo(old);
	}
	derive_plan_run(whole->plan, NULL, NULL, false, sink, arg);
}

static void
add_to_target(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

static void
whole_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	derive_target_subtract_contents(target);
	whole_produce(op, add_to_target, target);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

static List *
whole_explain(DeriveOperator *op, List *lines)
{
	if (op->verdict == NULL)
		return lappend(lines, pstrdup("Reads no table: computed once, and never changes"));
	lines = lappend(lines, pstrdup("Computed anew as a whole when anything that it reads changes"));
	lines = lappend(lines, psprintf("Because: %s", op->verdict->detail));
	if (op->verdict->hint)
		lines = lappend(lines, psprintf("Incremental instead: %s", op->verdict->hint));
	return lines;
}

const DeriveOperatorRoutine derive_whole_routine = {
	.name = "whole",
	.key = whole_key,
	.hide = whole_hide,
	.sources = whole_sources,
	.queries = whole_queries,
	.digest = whole_digest,
	.touched = whole_touched,
	.apply = whole_apply,
	.produce = whole_produce,
	.explain = whole_explain,
};
