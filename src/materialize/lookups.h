/*-------------------------------------------------------------------------
 *
 * lookups.h
 *	  By which columns the operators of a SELECT look up relations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LOOKUPS_H
#define DERIVE_LOOKUPS_H

#include "derive/operator.h"

/* A column that rows of its relation are found by. */
typedef struct DeriveLookup
{
	Oid			relid;
	AttrNumber	attno;
	bool		range;			/* by what is between two values */
	int			group;			/* columns of one relation with the same
								 * number are known at the same time */
} DeriveLookup;

/* Those of an operator, List of DeriveLookup * in CurrentMemoryContext, in the order of the query. */
extern List *derive_operator_lookups(DeriveOperator *op);

/* The columns of a relation in one group, List of int, ascending. */
extern List *derive_lookup_columns(List *lookups, Oid relid, int group);

/*
 * Make the indexes that look-ups of derived tables (List of DeriveOperator *)
 * need.  The tables are there, but empty.
 */
extern void derive_index_lookups(List *operators);

#endif							/* DERIVE_LOOKUPS_H */
