/*-------------------------------------------------------------------------
 *
 * term.h
 *	  The linear part of an operator: select, project and join, in any number
 *	  of UNION ALL branches, evaluated on deltas by the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_TERM_H
#define DERIVE_TERM_H

#include "compile/occurrence.h"
#include "delta/delta.h"
#include "derive/plan.h"
#include "nodes/parsenodes.h"

typedef struct DeriveLinear DeriveLinear;

/*
 * Prepare; branches (List of Query *, normalized and with terms, see derivative.h) and everything
 * else are kept in CurrentMemoryContext, which must outlive the result; deleting
 * it frees everything, cached plans included.  parallel: may the whole result be
 * computed in parallel?
 */
extern DeriveLinear *derive_linear_create(List *branches, bool parallel);

/* Could that be done for this query, or is there a relation whose changes have no term? */
extern bool derive_linear_is_possible(Query *query);

extern TupleDesc derive_linear_desc(DeriveLinear *linear);
extern List *derive_linear_branches(DeriveLinear *linear);

/* The whole result as one query, to be a sub-query. */
extern Query *derive_linear_query(DeriveLinear *linear);

/* Add what any query reads, at any depth, to a list of DeriveSource *. */
extern List *derive_query_sources(Query *query, List *sources);

/* Add what is read, with its columns, to a list of DeriveSource *. */
extern List *derive_linear_sources(DeriveLinear *linear, List *sources);

/* Has any relation that is read a delta in the batch?  *unknown: one whose contents must be re-read. */
extern bool derive_linear_touched(DeriveLinear *linear, DeriveBatch *batch, const char **unknown);

/* Does it depend on the time? */
extern bool derive_linear_timed(DeriveLinear *linear);

/* The delta of the result, under the active snapshot, as weighted rows in no order. */
extern void derive_linear_delta(DeriveLinear *linear, DeriveBatch *batch, DeriveRowSink sink, void *arg);

/*
 * The same for changes of one relation that the batch does not have: of the one occurrence
 * of a relation of which the result is linear.  past: all other relations as they were,
 * which derive_linear_was_shown(); NULL: as they are.
 */
extern void derive_linear_step(DeriveLinear *linear, DeriveDelta *delta, DerivePast *past, DeriveRowSink sink, void *arg);

/* The size class of a delta of so many rows, and how many the planner is told. */
extern int	derive_size_class(int64 nrows, double *planned_for);

/* Can everything that has changed be read as it was before the batch? */
extern bool derive_linear_was_shown(DeriveLinear *linear, DeriveBatch *batch);

/* The whole result, each row with weight 1. */
extern void derive_linear_full(DeriveLinear *linear, DeriveRowSink sink, void *arg);

/* The same, sorted by the first nkeys columns, so that equal ones are adjacent; false if they cannot be sorted. */
extern bool derive_linear_sorted(DeriveLinear *linear, int nkeys, DeriveRowSink sink, void *arg);

#endif							/* DERIVE_TERM_H */
