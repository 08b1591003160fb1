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

#include "derive/operator.h"

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
	.apply = select_apply,
	.produce = select_produce,
	.explain = select_explain,
};
