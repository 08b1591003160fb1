/*-------------------------------------------------------------------------
 *
 * operator.h
 *	  One node of a view's program.
 *
 * An operator reads relations (base tables, other views, derived tables of
 * earlier operators) and keeps the rows of one table: a derived table of the
 * program or, for the last operator, the view.  What is inside of it only its
 * routine knows; everyone else asks through DeriveOperatorRoutine.  A new kind of
 * operator is a new routine and a place in compile.c that makes it.
 *
 *	select		a linear query: joins, UNION ALL			select.c
 *	aggregate	groups over a linear query, DISTINCT		aggregate.c
 *	recursive	an entry of WITH RECURSIVE					recursive.c
 *	running		windows, from the first change on			running.c
 *	top			ORDER BY .. LIMIT over a linear query		top.c
 *	whole		any query, evaluated anew					whole.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_OPERATOR_H
#define DERIVE_OPERATOR_H

#include "compile/verdict.h"
#include "deposit/target.h"
#include "derive/term.h"

typedef struct DeriveOperator DeriveOperator;

typedef struct DeriveOperatorRoutine
{
	const char *name;

	/*
	 * Compiling.  The columns that identify a row of the output (List of
	 * int), or NIL; *constraints (of Oid): primary keys that this relies on.
	 */
	List	   *(*key) (DeriveOperator *op, List **constraints);

	/*
	 * The output is to be stored: let values of row types be images
	 * (hidden.h), and set op->desc accordingly.
	 */
	void		(*hide) (DeriveOperator *op);

	/*
	 * What is read.  Add it, with its columns, to a list of DeriveSource *,
	 * in the order of the query.
	 */
	List	   *(*sources) (DeriveOperator *op, List *sources);

	/*
	 * The queries (List of Query *) of which single rows are looked up when
	 * something changes.  *by_key: one of which rows are looked up by the
	 * first column, or NULL.
	 */
	List	   *(*queries) (DeriveOperator *op, Query **by_key);

	/* See derive_operator_digest(). */
	uint64		(*digest) (DeriveOperator *op, uint64 digest, List *own);

	/*
	 * Has anything that is read changed in the batch?  *unknown: the reason
	 * why apply() cannot do, but produce() must; or NULL.
	 */
	bool		(*touched) (DeriveOperator *op, DeriveBatch *batch, const char **unknown);

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
	const DeriveVerdict *verdict;	/* why it is evaluated as a whole, or NULL */
	TupleDesc	desc;			/* the rows of table */

	/* the inside, for the routine alone */
	DeriveLinear *input;		/* of select, aggregate, running and top */
	struct DeriveAggregation *aggregation;
	struct DeriveRecursive *recursive;
	struct DeriveRunningState *running;
	struct DeriveTop *top;
	struct DeriveWhole *whole;

	List	   *order;			/* of DeriveOrderColumn *: the table has an
								 * index on these (materialize/internal.c) */
	Oid			state;			/* its state table, or InvalidOid */
	TupleDesc	state_desc;		/* NULL: it has none */
	Oid			table;			/* the view, or a derived table */
	Oid			index;			/* of the locator */
	DeriveLocator locator;
	List	   *constraints;	/* of Oid: primary keys that the locator
								 * relies on */
};

/*
 * Add to a digest what the rows in the operator's tables follow from; identity.c.  own:
 * List of Oid, the derived tables of the program in the order of their operators.
 */
extern uint64 derive_operator_digest(uint64 digest, DeriveOperator *op, List *own);

extern const DeriveOperatorRoutine derive_select_routine;
extern const DeriveOperatorRoutine derive_aggregate_routine;
extern const DeriveOperatorRoutine derive_recursive_routine;
extern const DeriveOperatorRoutine derive_running_routine;
extern const DeriveOperatorRoutine derive_top_routine;
extern const DeriveOperatorRoutine derive_whole_routine;

#endif							/* DERIVE_OPERATOR_H */
