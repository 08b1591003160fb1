/*-------------------------------------------------------------------------
 *
 * operator.h
 *	  One node of a view's program.
 *
 * An operator reads relations (base tables, other views, derived tables of
 * earlier operators) through its linear input and keeps the rows of one
 * table: a derived table of the program or, for the last operator, the view.
 * What it does beyond its linear input is behind DeriveOperatorRoutine; a new
 * kind of operator is a new routine and a place in compile.c that makes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_OPERATOR_H
#define DERIVE_OPERATOR_H

#include "delta/target.h"
#include "derive/term.h"

typedef struct DeriveOperator DeriveOperator;

typedef struct DeriveOperatorRoutine
{
	const char *name;

	/*
	 * Turn the batch's deltas into changes of the target (the operator's
	 * table) and of its own state.
	 */
	void		(*apply) (DeriveOperator *op, DeriveBatch *batch, DeriveTarget *target);

	/*
	 * Start over: rebuild the operator's own state and send every row to the
	 * sink.
	 */
	void		(*produce) (DeriveOperator *op, DeriveRowSink sink, void *arg);

	/* Append lines (char *) that say how it is maintained. */
	List	   *(*explain) (DeriveOperator *op, List *lines);
} DeriveOperatorRoutine;

struct DeriveOperator
{
	int			number;			/* in the program, from 0 */
	const DeriveOperatorRoutine *routine;
	const char *label;			/* for people: "join", "GROUP BY", "DISTINCT"
								 * ... */
	DeriveLinear *input;
	struct DeriveAggregation *aggregation;	/* of the aggregate operator, else
											 * NULL */
	TupleDesc	desc;			/* the rows of table */

	Oid			table;			/* the view, or a derived table */
	Oid			index;			/* of the locator */
	DeriveLocator locator;
	List	   *constraints;	/* of Oid: primary keys that the locator
								 * relies on */
};

extern const DeriveOperatorRoutine derive_select_routine;
extern const DeriveOperatorRoutine derive_aggregate_routine;

#endif							/* DERIVE_OPERATOR_H */
