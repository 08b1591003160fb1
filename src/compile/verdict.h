/*-------------------------------------------------------------------------
 *
 * verdict.h
 *	  Which parts of a query have no incremental operator.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_VERDICT_H
#define DERIVE_VERDICT_H

#include "nodes/parsenodes.h"

/* Why a block is evaluated as a whole. */
typedef struct DeriveVerdict
{
	const char *construct;		/* "LIMIT or OFFSET" */
	const char *detail;			/* why, a sentence */
	const char *hint;			/* what would be incremental, or NULL */
} DeriveVerdict;

/*
 * Of a block that reads relations; what its sub-queries in FROM do is their own
 * affair, unless they depend on its rows.  NULL: some operator maintains it.
 */
extern const DeriveVerdict *derive_query_verdict(Query *query);

/*
 * Where in its text a query, as it was written, has what the verdict is about: a byte, from
 * 0 on, or -1 where that is not known.  The first such place.
 */
extern int	derive_verdict_location(const DeriveVerdict *verdict, Query *query);

/* Of a block that has a relation in a place from which its changes cannot be followed: a window's frame, say. */
extern const DeriveVerdict derive_verdict_without_terms;

#endif							/* DERIVE_VERDICT_H */
