/*-------------------------------------------------------------------------
 *
 * running.h
 *	  Windows over all rows, of which each row follows from those before it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_RUNNING_H
#define DERIVE_RUNNING_H

#include "nodes/parsenodes.h"

/* How the value of a function in a row follows from the rows before some other one. */
typedef enum DeriveCarry
{
	DERIVE_CARRY_NOTHING,		/* from rows near it alone */
	DERIVE_CARRY_SUM,			/* add the carried value */
	DERIVE_CARRY_LEAST,			/* the carried value if it is less */
	DERIVE_CARRY_GREATEST,		/* or greater */
	DERIVE_CARRY_SAME			/* the carried value */
} DeriveCarry;

/* A window function in the select list. */
typedef struct DeriveRunningFunction
{
	AttrNumber	attno;			/* its column */
	DeriveCarry carry;
	AttrNumber	carried;		/* the column whose value is carried, the same
								 * in all peers; 0 for DERIVE_CARRY_NOTHING */
	Oid			inputcollid;
} DeriveRunningFunction;

/* Rows whose order columns have more bytes are not in the index of the order. */
#define DERIVE_LONGEST_IN_INDEX	2000

/* What the windows sort by. */
typedef struct DeriveOrderColumn
{
	AttrNumber	attno;			/* in the result */
	AttrNumber	input;			/* in the input */
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			sortop;
	Oid			opfamily;		/* btree, the default one of the type */
	bool		reverse;		/* sortop is its ">" */
	bool		nulls_first;
	bool		not_null;		/* the input has no NULLs */
} DeriveOrderColumn;

/*
 * Where rows have changed, others may have other values than before: up to so many rows before
 * the changed ones (ahead), and so many after them (back); and, if something is carried, all rows
 * after them.
 */
typedef struct DeriveRunning
{
	Query	   *query;			/* "SELECT .. FROM (input)" */
	Query	   *input;			/* its rows, sort columns included */
	List	   *order;			/* of DeriveOrderColumn * */
	List	   *functions;		/* of DeriveRunningFunction * */
	int64		back;
	int64		ahead;
	bool		counts;			/* the number of rows is carried */
} DeriveRunning;

/* One end of a part of the rows: the values of the order columns, by position. */
typedef struct DeriveRunningBound
{
	const Datum *values;
	const bool *nulls;
	bool		strict;			/* without the rows that have them */
} DeriveRunningBound;

/*
 * Have all its windows the same ORDER BY and no PARTITION BY, and does the value of each
 * function follow from the rows up to some rows after its own?  What its FROM is like
 * does not matter.
 */
extern bool derive_query_is_running(Query *query);

/*
 * Make it "SELECT .. FROM (inner)", where inner has the window functions, each of them a
 * column of its own, what they sort by and what must be carried.
 */
extern void derive_running_split(Query *query);

/* Take such an inner query apart; it is scribbled on. */
extern DeriveRunning *derive_running_take_apart(Query *query);

/* The rows of the input from one bound to the other; NULL: there is no bound. */
extern Query *derive_running_rows(DeriveRunning *running, const DeriveRunningBound *from, const DeriveRunningBound *to);

/*
 * A copy of the query for a part of the input (NULL: there is no bound).  carried: by function,
 * the value as of the last row before that part (NULL: there is no row before it), of the
 * type of the function's column.  sum_from: the aggregate that adds values of type numeric to a
 * first one.  rows: what has these rows of the input, among others; NULL: the input itself.
 */
extern Query *derive_running_part(DeriveRunning *running, const DeriveRunningBound *from, const DeriveRunningBound *to,
								  const NullableDatum *carried, Oid sum_from, RangeTblEntry *rows);

#endif							/* DERIVE_RUNNING_H */
