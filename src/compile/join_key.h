/*-------------------------------------------------------------------------
 *
 * join_key.h
 *	  Which columns of a join's result are a key of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_JOIN_KEY_H
#define DERIVE_JOIN_KEY_H

#include "nodes/parsenodes.h"

/*
 * The columns of a join's result (List of int) that are a key of it, or NIL;
 * *constraints (of Oid): the primary keys that this follows from.
 */
extern List *derive_join_key(Query *query, List **constraints);

#endif							/* DERIVE_JOIN_KEY_H */
