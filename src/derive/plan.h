/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Cached plans of query trees, and running them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PLAN_H
#define DERIVE_PLAN_H

#include "base/past.h"
#include "base/usercode.h"
#include "executor/tuptable.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "utils/timestamp.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

/* Receives one result row (the columns of desc) and its weight. */
typedef void (*DeriveRowSink) (void *arg, TupleTableSlot *row, int64 weight);

/*
 * Plan and run one query (not cached) with the tuplestores of env, under the
 * active snapshot.  The sink's rows have the query's columns; weight is 1.
 */
extern void derive_query_run(Query *query, QueryEnvironment *env, DeriveRowSink sink, void *arg);

/* What the planner expects that to cost; the query is scribbled on.  Needs an active snapshot. */
extern Cost derive_query_cost(Query *query);

/* ERROR if the current user may not run the query; it is scribbled on.  Needs an active snapshot. */
extern void derive_query_check_permissions(Query *query);

/*
 * A query with cached plans of its own: restricted to a set of keys that is
 * passed in as a tuplestore.  See aggregate.c.
 */
typedef struct DerivePlan DerivePlan;
extern DerivePlan *derive_plan_create(Query *query, int cursor_options);
extern void derive_plan_run(DerivePlan *plan, QueryEnvironment *env, DerivePast *past, bool weighted,
							DeriveRowSink sink, void *arg);

/*
 * What now() is in all queries that are run from here on (compile/passing_time.c), and in the
 * plans that are at the old time; 0: not known, a query that depends on it must not be run.
 */
extern void derive_plan_set_time(TimestampTz before, TimestampTz now);
extern void derive_plan_at_old_time(DerivePlan *plan);

/* The query's GROUP BY stops before the final functions of its aggregates: see plan.c. */
extern void derive_plan_of_states(DerivePlan *plan);

extern PlannedStmt *derive_plan_stmt(DerivePlan *plan);

/* Mark cached plans that use this relation (InvalidOid: all); safe in invalidation callbacks. */
extern void derive_plans_invalidate(Oid relid);

/* An environment with one more tuplestore under a name. */
extern void derive_env_register(QueryEnvironment *env, const char *name, TupleDesc desc, Tuplestorestate *rows, double nrows);

#endif							/* DERIVE_PLAN_H */
