/*-------------------------------------------------------------------------
 *
 * carve.h
 *	  A part of a query's FROM as a query of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CARVE_H
#define DERIVE_CARVE_H

#include "nodes/parsenodes.h"

/*
 * "SELECT .. FROM tree WHERE quals" as a query one level below the given one, whose
 * FROM has the tree, and whose level the quals are written for.  Members are the
 * entries that remain in the range table, those of the tree among them; they keep
 * their numbers.  All other columns become references to the query around.  The
 * target list is empty.  A new tree in CurrentMemoryContext.
 */
extern Query *derive_query_carve(Query *query, const Bitmapset *members, Node *tree, Node *quals);

/* Leave an entry in the range table that means nothing, others being numbered after it. */
extern void derive_query_clear_entry(Query *query, int rtindex);

/* Does the query, at any depth, use columns, or aggregates, of the query this many levels around it (1: the next)? */
extern bool derive_query_refers_to_level(Query *query, int level);

#endif							/* DERIVE_CARVE_H */
