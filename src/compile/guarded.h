/*-------------------------------------------------------------------------
 *
 * guarded.h
 *	  What keeps an expression from being evaluated, and how it is kept elsewhere.
 *
 * Trees are made in CurrentMemoryContext.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_GUARDED_H
#define DERIVE_GUARDED_H

#include "nodes/parsenodes.h"

/*
 * The outermost sublink of an expression, or of a function or VALUES in FROM, whose sub-query
 * holds the occurrence, or NULL; and what keeps it from being evaluated, the outermost guard
 * first.
 */
extern SubLink *derive_find_sublink(Node *node, int occurrence, List **guards);
extern SubLink *derive_find_sublink_of_entry(RangeTblEntry *rte, int occurrence);

/* An expression that is NULL, and is not evaluated, where the guards do not let it be. */
extern Expr *derive_keep_guards(List *guards, Expr *expr);

/* These guards, and within them a condition. */
extern List *derive_guards_by_condition(List *guards, Expr *condition);

/* Is there, as far as we know, a row for which evaluating the expression is an error? */
extern bool derive_may_fail(Node *expr);

#endif							/* DERIVE_GUARDED_H */
