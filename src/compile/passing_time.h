/*-------------------------------------------------------------------------
 *
 * passing_time.h
 *	  Conditions that compare something with now(): rows enter and leave as time passes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PASSING_TIME_H
#define DERIVE_PASSING_TIME_H

#include "nodes/parsenodes.h"

/* External parameters of type timestamptz that stand in a query for the present. */
#define DERIVE_PARAM_NOW	1	/* what now() is */
#define DERIVE_PARAM_LATER	2	/* in a term of time: what it is afterwards */
#define DERIVE_TIME_PARAMS	2

/* Is the node one of them? */
extern bool derive_is_time_param(Node *node);

/* Does the tree have any? */
extern bool derive_holds_time(Node *tree);

/* The functions of the present that can be in such a condition. */
extern bool derive_is_now_function(Oid funcid);
extern bool derive_is_now(Node *node);

/*
 * In a query as the parser made it: let the present be a parameter in all conditions of
 * the form that is maintained, and let those of inner joins be in WHERE.
 */
extern void derive_take_time(Query *query);

/*
 * In a query in stages: let WHERE be a query of its own where it has such conditions and
 * something else is done with all its rows (windows, LIMIT), or it is correlated.
 */
extern void derive_split_time(Query *query);

/* The conditions of time in WHERE of a query: how many. */
extern int	derive_count_time_conditions(Query *query);

/* ERROR if there are any elsewhere, or if at_all is false, anywhere. */
extern void derive_check_time_places(Query *query, bool at_all);

/*
 * The rows of a query (it is not changed) that condition number n of time (from 0) lets
 * in, or does not let in any more, as the present moves from DERIVE_PARAM_NOW to
 * DERIVE_PARAM_LATER: those before it have moved, those after it have not.  The weight
 * is the last column.
 */
extern Query *derive_time_term(Query *query, int n, bool entering);

/* For people who look for indexes: the sides of these conditions that are compared (of Node *). */
extern List *derive_time_sides(Query *query);

#endif							/* DERIVE_PASSING_TIME_H */
