/*-------------------------------------------------------------------------
 *
 * derivative.h
 *	  What a change of one relation changes in the rows of a query, as a query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DERIVATIVE_H
#define DERIVE_DERIVATIVE_H

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"

#include "compile/occurrence.h"

/* How the rows are found that a change of an occurrence concerns. */
typedef enum DeriveReach
{
	DERIVE_REACH_DIRECT,		/* the changed rows take the relation's place */
	DERIVE_REACH_BY_KEY,		/* rows that match them are evaluated again */
	DERIVE_REACH_ALL,			/* all rows are */
	DERIVE_REACH_NONE			/* the query has no such term */
} DeriveReach;

typedef struct DeriveTerm
{
	int			occurrence;		/* that changed */
	const Bitmapset *old;		/* occurrences that are read as they were
								 * before the batch */
	const Bitmapset *undone;	/* others, that are read by undoing their
								 * changes; only where all is DIRECT */
	double		ntuples;		/* what the planner is told of changes */
	TupleDesc	(*describe) (RangeTblEntry *rte);	/* the columns of changes:
													 * the relation's, then
													 * the weight */
	List	  **steps;			/* where to note the steps (DeriveStep *) by
								 * which rows are found, the first one first;
								 * or NULL */
} DeriveTerm;

/* Equal values of an outer row and of a part. */
typedef struct DeriveKeyPair
{
	Expr	   *outer;			/* at the level of the query that has the part */
	Expr	   *inner;			/* at the part's level */
	OpExpr	   *condition;		/* with the two, in their order */
	bool		outer_first;
	bool		nulls_too;		/* NULLs are equal */
	AttrNumber	column;			/* of the rows that have the key */
} DeriveKeyPair;

/* Rows of a part that have changed find rows of the query that has the part, see derivative.c. */
typedef struct DeriveStep
{
	Query	   *query;
	Query	   *part;			/* one level below */
	List	   *pairs;			/* of DeriveKeyPair *; NIL: all rows are
								 * looked at */
	bool		partitions;		/* the part is the query itself, and the pairs
								 * are of its own columns */
} DeriveStep;

/*
 * How the term of an occurrence (occurrence.h) finds its rows; NONE if the query itself,
 * or a sub-query that is as good as its FROM, groups, limits and so on.  The query is
 * in the form of lower.h, and not changed.
 */
extern DeriveReach derive_query_reach(Query *query, int occurrence);

/* The steps by which they are found, List of DeriveStep *; NIL if that is direct. */
extern List *derive_query_steps(Query *query, int occurrence);

/* The same for people: "rows found by key (f.d = d.id)"; NULL if that is direct. */
extern char *derive_query_reach_text(Query *query, int occurrence);

/*
 * The term of an occurrence, unless its reach is NONE: a query for the rows of the given one, which is
 * scribbled on, and as last column their weight, an int8 that is never NULL.  It
 * reads tuplestores by the names of derive_delta_name().  The same row may come
 * several times, with weights that cancel.
 */
extern Query *derive_query_term(Query *query, const DeriveTerm *term);

/* The clauses (SortGroupClause *) by which all window functions of the query partition, or DISTINCT ON. */
extern List *derive_partition_clauses(Query *query);

/* Append the weight as the last column of a query; NULL is 1. */
extern Query *derive_with_weight(Query *query, Expr *weight);

/* The name of the tuplestore that has the changes of an occurrence. */
extern char *derive_delta_name(int occurrence);

#endif							/* DERIVE_DERIVATIVE_H */
