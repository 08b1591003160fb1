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

#include "delta/delta.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "utils/queryenvironment.h"

typedef struct DeriveLinear DeriveLinear;

/* One place where a relation is read. */
typedef struct DeriveOccurrence
{
	Oid			relid;
	bool		inh;
	int			branch;
} DeriveOccurrence;

/* Receives one result row (the columns of desc) and its weight. */
typedef void (*DeriveRowSink) (void *arg, TupleTableSlot *row, int64 weight);

/*
 * Prepare; branches (List of Query *, linear and normalized) and everything
 * else are kept in CurrentMemoryContext, which must outlive the result; deleting
 * it frees everything, cached plans included.  parallel: may the whole result be
 * computed in parallel?
 */
extern DeriveLinear *derive_linear_create(List *branches, bool parallel);

extern TupleDesc derive_linear_desc(DeriveLinear *linear);
extern List *derive_linear_branches(DeriveLinear *linear);
extern int	derive_linear_occurrences(DeriveLinear *linear, DeriveOccurrence **occurrences);

/* The whole result as one query, to be a sub-query. */
extern Query *derive_linear_query(DeriveLinear *linear);

/* Add what is read, with its columns, to a list of DeriveSource *. */
extern List *derive_linear_sources(DeriveLinear *linear, List *sources);

/* Has any relation that is read a delta in the batch?  *unknown: one whose contents must be re-read. */
extern bool derive_linear_touched(DeriveLinear *linear, DeriveBatch *batch, const char **unknown);

/* The delta of the result, under the active snapshot, as weighted rows in no order. */
extern void derive_linear_delta(DeriveLinear *linear, DeriveBatch *batch, DeriveRowSink sink, void *arg);

/* The whole result, each row with weight 1. */
extern void derive_linear_full(DeriveLinear *linear, DeriveRowSink sink, void *arg);

/* The same, sorted by the first nkeys columns, so that equal ones are adjacent; false if they cannot be sorted. */
extern bool derive_linear_sorted(DeriveLinear *linear, int nkeys, DeriveRowSink sink, void *arg);

/*
 * Plan and run one query (not cached) with the tuplestores of env, under the
 * active snapshot.  The sink's rows have the query's columns; weight is 1.
 */
extern void derive_query_run(Query *query, QueryEnvironment *env, DeriveRowSink sink, void *arg);

/* ERROR if the current user may not run the query; it is scribbled on.  Needs an active snapshot. */
extern void derive_query_check_permissions(Query *query);

/*
 * A query with cached plans of its own: restricted to a set of keys that is
 * passed in as a tuplestore.  See aggregate.c.
 */
typedef struct DerivePlan DerivePlan;
extern DerivePlan *derive_plan_create(Query *query, int cursor_options);
extern void derive_plan_run(DerivePlan *plan, QueryEnvironment *env, bool weighted, DeriveRowSink sink, void *arg);
extern PlannedStmt *derive_plan_stmt(DerivePlan *plan);

/* Mark cached plans that use this relation (InvalidOid: all); safe in invalidation callbacks. */
extern void derive_plans_invalidate(Oid relid);

/* An environment with one more tuplestore under a name. */
extern void derive_env_register(QueryEnvironment *env, const char *name, TupleDesc desc, Tuplestorestate *rows, double nrows);

#endif							/* DERIVE_TERM_H */
