/*-------------------------------------------------------------------------
 *
 * unqualified.h
 *	  Functions that call others by names that will not be found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_UNQUALIFIED_H
#define DERIVE_UNQUALIFIED_H

#include "nodes/parsenodes.h"

typedef struct DeriveUnqualifiedCall
{
	Oid			caller;			/* a function that the query calls */
	Oid			callee;			/* what the name in its body means here */
} DeriveUnqualifiedCall;

/*
 * Of a checked query: the functions in it, their operators' and aggregates'
 * included, whose bodies seem to call functions by names that are found by the
 * search_path of this session and not by that of views.  List of
 * DeriveUnqualifiedCall *; at most one for each function.
 */
extern List *derive_query_unqualified_calls(Query *query);

#endif							/* DERIVE_UNQUALIFIED_H */
