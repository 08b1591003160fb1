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
	TupleDesc	(*describe) (Oid relid);	/* the columns of changes: the
											 * relation's, then the weight */
} DeriveTerm;

/*
 * How the term of an occurrence (occurrence.h) finds its rows; NONE if the query itself,
 * or a sub-query that is as good as its FROM, groups, limits and so on.  The query is
 * in the form of lower.h, and not changed.
 */
extern DeriveReach derive_query_reach(Query *query, int occurrence);

/*
 * The term of an occurrence, unless its reach is NONE: a query for the rows of the given one, which is
 * scribbled on, and as last column their weight, an int8 that is never NULL.  It
 * reads tuplestores by the names of derive_delta_name().  The same row may come
 * several times, with weights that cancel.
 */
extern Query *derive_query_term(Query *query, const DeriveTerm *term);

/* The clauses (SortGroupClause *) by which all window functions of the query partition, or DISTINCT ON. */
extern List *derive_partition_clauses(Query *query);

/* The name of the tuplestore that has a relation's changes. */
extern char *derive_delta_name(Oid relid, bool inh);

#endif							/* DERIVE_DERIVATIVE_H */
