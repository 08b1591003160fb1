/*-------------------------------------------------------------------------
 *
 * recursion.h
 *	  WITH RECURSIVE, taken apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_RECURSION_H
#define DERIVE_RECURSION_H

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"

/* "x AS (base UNION [ALL] step)", where step reads x once. */
typedef struct DeriveRecursion
{
	CommonTableExpr *cte;
	SetOperationStmt *op;
	Query	   *base;
	Query	   *step;
	int			self;			/* the entry of step's range table that is x */
	TupleDesc	desc;			/* the rows of x */
} DeriveRecursion;

/*
 * Can one see that it does not end, if there is a row to begin with?  PostgreSQL evaluates
 * no more of it than a LIMIT around it asks for; but which rows these are is an order of rounds.
 */
extern bool derive_recursion_is_endless(CommonTableExpr *cte);

/*
 * Take an entry of WITH RECURSIVE apart; false if it is not such that each row of x makes
 * rows of step by itself (see recursion.c).  The entry is not changed; base and step are
 * copies in the form of lower.h, with the columns of x.  *recursion is undefined if false.
 */
extern bool derive_recursion_take_apart(CommonTableExpr *cte, DeriveRecursion *recursion);

/*
 * A copy of step that reads x from an entry of another kind with the same columns; NULL:
 * from a relation that is not known yet.
 * with_origin: each row is followed by the columns of the row of x that it was made of.
 */
extern Query *derive_recursion_step(const DeriveRecursion *recursion, RangeTblEntry *x, bool with_origin);

/* "WITH RECURSIVE x AS (base UNION step) SELECT every column FROM x", of copies. */
extern Query *derive_recursion_query(const DeriveRecursion *recursion);

#endif							/* DERIVE_RECURSION_H */
