/*-------------------------------------------------------------------------
 *
 * select.c
 *	  The select operator: projection, selection, joins, UNION ALL.
 *
 * It has no state of its own: the delta of its linear input is the delta of
 * its table, up to consolidation, which the target does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compile/digest.h"
#include "compile/hidden.h"
#include "compile/join_key.h"
#include "compile/query.h"
#include "derive/operator.h"

/* A UNION ALL may have the same row from several branches. */
static List *
select_key(DeriveOperator *op, List **constraints)
{
	List	   *branches = derive_linear_branches(op->input);

	return list_length(branches) == 1 ? derive_join_key(linitial_node(Query, branches), constraints) : NIL;
}

static void
select_hide(DeriveOperator *op)
{
	List	   *branches = derive_linear_branches(op->input);
	bool		hidden = false;
	ListCell   *lc;

	foreach(lc, branches)
		hidden |= derive_hide_targets(lfirst_node(Query, lc)->targetList);
	if (!hidden)
		return;
	op->input = derive_linear_create(branches, true);
	op->desc = derive_query_desc(linitial_node(Query, branches));
}

static List *
select_sources(DeriveOperator *op, List *sources)
{
	return derive_linear_sources(op->input, sources);
}

static List *
select_queries(DeriveOperator *op, Query **by_key)
{
	*by_key = NULL;
	return derive_linear_branches(op->input);
}

static uint64
select_digest(DeriveOperator *op, uint64 digest, List *own)
{
	return derive_digest_tree(digest, derive_linear_branches(op->input), own);
}

static bool
select_touched(DeriveOperator *op, DeriveBatch *batch, const char **unknown)
{
	return derive_linear_touched(op->input, batch, unknown);
}

static void
receive(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

static void
select_apply(DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target)
{
	derive_linear_delta(op->input, batch, receive, target);
}

static void
select_produce(DeriveOperator *op, DeriveRowSink sink, void *arg)
{
	derive_linear_full(op->input, sink, arg);
}

static List *
select_explain(DeriveOperator *op, List *lines)
{
	return lines;
}

const DeriveOperatorRoutine derive_select_routine = {
	.name = "select",
	.key = select_key,
	.hide = select_hide,
	.sources = select_sources,
	.queries = select_queries,
	.digest = select_digest,
	.touched = select_touched,
	.apply = select_apply,
	.produce = select_produce,
	.explain = select_explain,
};
