/*-------------------------------------------------------------------------
 *
 * compile.h
 *	  From a view's SELECT to its operators.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_COMPILE_H
#define DERIVE_COMPILE_H

#include "derive/operator.h"

/*
 * Returns the internal table with this role ('s' state, 'd' derived) of an
 * operator: creates it when the view is declared, finds it later.
 */
typedef Oid (*DeriveTableResolver) (void *arg, int operator, char role, TupleDesc desc);

/*
 * Check and compile the definition of a materialized view, as its owner.
 * Returns the operators (List of DeriveOperator *) in the order in which they
 * are to run, the last one with table InvalidOid: it keeps the view itself.
 * All of it is in CurrentMemoryContext.  *query is the view's rewritten query,
 * for comparisons.
 */
extern List *derive_compile(Oid view, Oid owner, DeriveTableResolver resolve, void *arg, Query **query);

/*
 * The same of a rewritten query (derive_query_rewrite()), which is scribbled on.  The tables
 * that the resolver returns need not be there, as long as nothing is run.
 */
extern List *derive_compile_query(Query *tree, Oid owner, DeriveTableResolver resolve, void *arg, Query **query);

#endif							/* DERIVE_COMPILE_H */
