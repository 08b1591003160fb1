/*-------------------------------------------------------------------------
 *
 * limit.h
 *	  What a LIMIT asks for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LIMIT_H
#define DERIVE_LIMIT_H

#include "nodes/parsenodes.h"

/*
 * The most rows, OFFSET and LIMIT together, for which the first rows are kept: each change
 * among them costs reading them, about a microsecond a row.
 */
#define DERIVE_LIMIT_MOST	5000

/* Rows offset + 1 to offset + count, in the order of the query. */
typedef struct DeriveLimit
{
	int64		offset;
	int64		count;
	bool		ties;			/* and those that ORDER BY does not tell from
								 * the last one */
} DeriveLimit;

typedef enum DeriveLimitKind
{
	DERIVE_LIMIT_NONE,			/* there is no LIMIT and no OFFSET */
	DERIVE_LIMIT_CONSTANT,		/* *limit says it */
	DERIVE_LIMIT_UNBOUNDED,		/* an OFFSET alone */
	DERIVE_LIMIT_UNKNOWN		/* it takes an evaluation, or an ERROR, to
								 * know */
} DeriveLimitKind;

extern DeriveLimitKind derive_query_limit(Query *query, DeriveLimit *limit);

#endif							/* DERIVE_LIMIT_H */
