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

/*
 * A grouped query whose groups are more than shown (windows, set-returning functions,
 * sub-queries that read relations, DISTINCT ON) must be split: into a query that does
 * that, which is returned, over a sub-query in FROM that groups.
 */
extern bool derive_must_split_groups(Query *query);
extern Query *derive_split_groups(Query *query);

/* Of a query with window functions and DISTINCT ON: the latter over a sub-query with the former. */
extern Query *derive_split_windows(Query *query);

#endif							/* DERIVE_LOWER_H */
