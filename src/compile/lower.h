/*-------------------------------------------------------------------------
 *
 * lower.h
 *	  Constructs of SQL in terms of fewer others.
 *
 * Each pass takes an analysed Query that is its own to change, sub-queries at any
 * depth included, and leaves a query with the same result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LOWER_H
#define DERIVE_LOWER_H

#include "nodes/parsenodes.h"

/*
 * FROM has inner joins and LEFT joins only, and no expression refers to columns of a
 * join; EXISTS has nothing in it that makes no difference.
 */
extern void derive_lower_joins(Query *query);

/* IN that is more than a condition for a row is EXISTS, where no NULL makes a difference.  After derive_lower_joins(). */
extern void derive_lower_in(Query *query);

/*
 * A copy of the query in which IN, where it is not a condition for a row, looks up what the row
 * is compared with instead of reading its sub-query as a whole.  For queries of few rows.
 */
extern Query *derive_lower_in_for_few(Query *query);

/* Has derive_lower_in() been at work anywhere in the query?  It may be wrong for rows from before the columns were NOT NULL. */
extern bool derive_query_relies_on_not_null(Query *query);

/*
 * Without INTERSECT, EXCEPT and grouping sets.  Equal as the types' "=" says: which of several equal
 * values a row shows (1.0 or 1.00) is decided by the groups that come out; therefore a
 * comparison whose types leave that open must be lowered in the same way
 * (derive/choice.c).  What WITH RECURSIVE is made of stays as it is.
 */
extern void derive_lower_query(Query *query);

/* The same for this block alone. */
extern void derive_lower_block(Query *query);

/* The parts.  Each takes one block that has the construct. */
extern void derive_lower_setops(Query *query);
extern void derive_lower_grouping(Query *query);
extern void derive_lower_one_set(Query *query); /* GROUP BY without grouping
												 * sets */

/*
 * "generate_series(1, copies)" as an entry in FROM, where a row shall be there that
 * often; copies is an int8 over the entries before it, at least 0.
 */
extern RangeTblEntry *derive_lower_series(Expr *copies);

/*
 * Have such an entry repeat rows no more; returns copies, which is how often it did,
 * and is never negative or NULL.  NULL if it is another kind of entry.  For deltas,
 * where a weight says that cheaper: of 1000 copies of which one goes, one row is left.
 */
extern Expr *derive_lower_take_copies(RangeTblEntry *rte);

/* An int8 constant. */
extern Expr *derive_lower_number(int64 number);

#endif							/* DERIVE_LOWER_H */
