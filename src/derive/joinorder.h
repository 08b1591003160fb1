/*-------------------------------------------------------------------------
 *
 * joinorder.h
 *	  Planning queries that join a few rows, in a tuplestore, with many relations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_JOINORDER_H
#define DERIVE_JOINORDER_H

#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/*
 * Does the query join more relations than the planner compares all orders of?
 * Sub-queries that it merges with the query around them are counted as such.
 */
extern bool derive_join_is_long(Query *query);

/*
 * As pg_plan_query(), but a long join with a tuplestore is evaluated in an order
 * that begins with the latter.  The query is rewritten, inner joins only, and
 * scribbled on; locks on the relations that are looked at are kept.  estimates: values of
 * parameters, not constant, by which costs are estimated; or NULL.
 */
extern PlannedStmt *derive_join_plan(Query *query, int cursor_options, ParamListInfo estimates);

#endif							/* DERIVE_JOINORDER_H */
