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

#endif							/* DERIVE_LOWER_H */
