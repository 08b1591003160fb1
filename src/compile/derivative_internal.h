/*-------------------------------------------------------------------------
 *
 * derivative_internal.h
 *	  The parts of derivatives, for derivative.c, place.c, touched.c and restrict.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DERIVATIVE_INTERNAL_H
#define DERIVE_DERIVATIVE_INTERNAL_H

#include "compile/derivative.h"
#include "compile/guarded.h"

/* ---------- place.c ---------- */

typedef enum PlaceKind
{
	PLACE_DIRECT,				/* entry is, or holds, the occurrence */
	PLACE_LATERAL,				/* entry is a sub-query that is not linear */
	PLACE_NULLABLE,				/* of the outer join */
	PLACE_EXPRESSION			/* sublink has it */
} PlaceKind;

typedef struct Place
{
	PlaceKind	kind;
	RangeTblEntry *entry;
	JoinExpr   *join;
	SubLink    *sublink;
	List	   *guards;			/* what keeps it from being evaluated
								 * (guarded.c) */
	bool		must_hold;		/* the sublink is a condition for the row */
} Place;

/* Does the query evaluate partitions of its rows: windows, DISTINCT ON? */
extern bool derive_place_is_partitioned(Query *query);

/*
 * Where an occurrence stands in a query that is no set operation; ERROR, or false, if
 * that is nowhere that we know of: WITH, the frame of a window.
 */
extern Place derive_find_place(Query *query, int occurrence);
extern bool derive_try_find_place(Query *query, int occurrence, Place *place);

/* What keeps the expression in which the occurrence stands, if it is one, from being evaluated. */
extern List *derive_find_guards(Query *query, int occurrence);

/* ---------- touched.c ---------- */

/*
 * The rows of the part of a query in which an occurrence, not in a direct place, has its
 * say, of those that may have changed: a query one level below.  *pairs (DeriveKeyPair *)
 * are its first columns; without pairs it refers to the query, or, with depth, to that
 * many levels of queries around it.
 */
extern Query *derive_touched_rows(Query *query, const DeriveTerm *term, int depth, List **pairs);

/* ---------- restrict.c ---------- */

/*
 * The query for those outer rows alone that have one of these rows: as queries of which
 * each outer row is in one.  By keys, which are columns of rows, or, without
 * pairs, where rows, which refer to the outer row, are not empty; as far as guards let that be
 * evaluated.
 */
extern List *derive_restrict_query(Query *query, Query *rows, List *pairs, List *guards);

/* ---------- derivative.c ---------- */

/* derive_query_term() of a query in which what is old was marked. */
extern Query *derive_term_of(Query *query, const DeriveTerm *term);

#endif							/* DERIVE_DERIVATIVE_INTERNAL_H */
