/*-------------------------------------------------------------------------
 *
 * stable.h
 *	  Which STABLE functions of PostgreSQL a view may call, and what then
 *	  changes its result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STABLE_H
#define DERIVE_STABLE_H

#include "nodes/parsenodes.h"

typedef enum DeriveStable
{
	DERIVE_STABLE_REFUSED,		/* may change its mind, nobody knows when */
	DERIVE_STABLE_SETTINGS,		/* depends on its arguments and on settings
								 * that are recorded for the view */
	DERIVE_STABLE_CONVERTS,		/* ... and calls the input and output
								 * functions of its arguments' and result's
								 * types */
	DERIVE_STABLE_TEXT_SEARCH,	/* ... and on the default text search
								 * configuration */
	DERIVE_STABLE_TEXT_SEARCH_NAME, /* ... and finds objects of text search by
									 * name */
} DeriveStable;

/* Of a STABLE function. */
extern DeriveStable derive_stable_function(Oid funcid);

/*
 * Does the query's result depend on the definition of one of these objects of
 * text search (of Oid, NIL: any)?  default_config is what functions take that
 * are not given one.  True also where each row says by which one it is searched.
 */
extern bool derive_query_searches_text(Query *query, Oid default_config, List *objects);

#endif							/* DERIVE_STABLE_H */
