/*-------------------------------------------------------------------------
 *
 * choice.h
 *	  Of the right answers that a query may have, one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CHOICE_H
#define DERIVE_CHOICE_H

#include "nodes/parsenodes.h"

/* A function of ours with so many arguments, all of this type; ERROR if it is not there. */
extern Oid	derive_state_function(const char *name, int nargs, Oid argtype);

/* May values of this type be equal without being the same? */
extern bool derive_type_is_loose(Oid type, int32 typmod, Oid collation);

/*
 * Rewrite a query, its sub-queries in FROM included, so that it has only the
 * answer that a program gives.  The tree, which is not yet flattened or taken
 * apart, is changed in place.  ERROR (feature_not_supported) where there is no
 * telling.
 */
extern void derive_query_choose(Query *query);

/* Only its sub-queries, those in expressions included. */
extern void derive_query_choose_inside(Query *query);

/*
 * Which rows there are in a result, or their order, depends on ORDER BY: let it be total.
 * It goes on with all columns, and with images of those whose values may be equal without
 * being the same, which become columns of their own that nobody sees.
 */
extern void derive_query_complete_order(Query *query);

/* Does the order matter in which an aggregate, as a window function, is given the rows of a frame? */
extern bool derive_window_aggregate_has_order(WindowFunc *function);

/* For one aggregate, which is changed or replaced. */
extern Aggref *derive_aggref_choose(Aggref *aggref);

/* "The value of expr in the row of the group that has the least images of these expressions." */
extern Aggref *derive_value_of_least(Expr *expr, List *by);

/* The columns outside of aggregates, not among keys, of an expression over a group. */
extern List *derive_ungrouped_columns(Node *node, List *keys);

#endif							/* DERIVE_CHOICE_H */
