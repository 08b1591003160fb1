/*-------------------------------------------------------------------------
 *
 * shape.h
 *	  What query trees look like after the passes of the compiler.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SHAPE_H
#define DERIVE_SHAPE_H

#include "nodes/parsenodes.h"

/* What is true of a tree besides that it is one that the planner takes. */
typedef enum DeriveShape
{
	DERIVE_SHAPE_ANY,
	DERIVE_SHAPE_LOWERED,		/* by all passes of lower.h */
	DERIVE_SHAPE_NUMBERED		/* and derive_occurrences_number() */
} DeriveShape;

/* Fail an assertion if it is not; nothing in builds without assertions.  The query stands for itself. */
#ifdef USE_ASSERT_CHECKING
extern void derive_assert_shape(Query *query, DeriveShape shape);
#else
#define derive_assert_shape(query, shape) ((void) true)
#endif

#endif							/* DERIVE_SHAPE_H */
