/*-------------------------------------------------------------------------
 *
 * exactsum.h
 *	  sum() and avg() of floating-point numbers that can be taken back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_EXACTSUM_H
#define DERIVE_EXACTSUM_H

#include "nodes/parsenodes.h"

/*
 * Replace sum() and avg() of float4 and float8, at any depth of the query, by
 * our own aggregates derive_state.exact_sum and exact_avg (in place).
 */
extern void derive_query_exact_floats(Query *query);

#endif							/* DERIVE_EXACTSUM_H */
