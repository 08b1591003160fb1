/*-------------------------------------------------------------------------
 *
 * inherited_order.h
 *	  The order that rows have from a sub-query in FROM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_INHERITED_ORDER_H
#define DERIVE_INHERITED_ORDER_H

#include "nodes/parsenodes.h"

/* Where the order of rows matters and is left to a sub-query with ORDER BY, write it down, in all of the tree. */
extern void derive_query_inherit_order(Query *query);

#endif							/* DERIVE_INHERITED_ORDER_H */
