/*-------------------------------------------------------------------------
 *
 * missing_rows.h
 *	  Whole rows, and columns computed from rows, that an outer join may leave out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_MISSING_ROWS_H
#define DERIVE_MISSING_ROWS_H

#include "nodes/parsenodes.h"

/*
 * Make what check.c would expand into an expression, and an outer join may make NULL, a
 * column of a sub-query below the join.  In the tree, at any depth.
 */
extern void derive_keep_missing_rows(Query *query);

#endif							/* DERIVE_MISSING_ROWS_H */
