/*-------------------------------------------------------------------------
 *
 * stages.h
 *	  One query, one thing: the steps of a SELECT as sub-queries of each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STAGES_H
#define DERIVE_STAGES_H

#include "nodes/parsenodes.h"

/*
 * Rewrite a query and all its sub-queries in place, so that each of them groups, or
 * has windows, or removes duplicates, or limits.  See stages.c.
 */
extern void derive_query_stage(Query *query);

/* Which parts of an expression become columns of a sub-query, besides single columns. */
typedef struct DerivePushDown
{
	List	   *wholes;			/* expressions, as they are at the level of
								 * the query */
	bool		aggregates;		/* aggregates and GROUPING() */
	Bitmapset  *windows;		/* window functions, but for those of these
								 * windows; NULL: none */

	List	   *columns;		/* of TargetEntry *: the sub-query's columns
								 * so far, which it has with their positions
								 * here */
} DerivePushDown;

/*
 * Replace such parts of an expression of a query, and all other columns in it, by
 * columns of a sub-query that becomes the first entry of its range table.
 */
extern Node *derive_push_down(Node *node, DerivePushDown *push);

/* The same for what a query sorts or groups by: the sub-query's column has the clause's number as well. */
extern void derive_push_down_sorted(SortGroupClause *clause, Query *query, DerivePushDown *push);

/*
 * Make the query "SELECT .. FROM (inner)", where inner was a shallow copy of it, but
 * for its target list: with FROM, WHERE and WITH.  Grouping, windows and what comes
 * after them are left as they are in both.
 */
extern void derive_query_read_from(Query *query, Query *inner);

/*
 * An aggregate cannot be given a set: if a grouping expression of the query returns one,
 * FROM and WHERE go into a sub-query that has the grouping expressions as columns.
 */
extern void derive_push_down_sets(Query *query);

/* Leave the windows of which the query has functions, numbered from 1: a number is a place in the list. */
extern void derive_query_keep_used_windows(Query *query);

/* The numbers of the windows with the PARTITION BY and ORDER BY of this one: they see rows in the same order. */
extern Bitmapset *derive_windows_in_order_of(Query *query, WindowClause *one);

/*
 * Leave these windows to the query, and the others, with FROM and WHERE, to the sub-query
 * that it reads from then on, which is returned.  In both the windows are numbered anew.
 */
extern Query *derive_query_split_windows(Query *query, Bitmapset *outer);

/*
 * Make the query "SELECT the same columns FROM (inner) ORDER BY LIMIT", where inner,
 * which is returned, does all the rest; distinct: but for DISTINCT.
 */
extern Query *derive_query_split(Query *query, bool distinct);

#endif							/* DERIVE_STAGES_H */
