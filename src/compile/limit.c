/*-------------------------------------------------------------------------
 *
 * limit.c
 *	  What a LIMIT asks for.
 *
 *	LIMIT 10 OFFSET 2 + 3		rows 6 to 15
 *	OFFSET 5, LIMIT ALL			unbounded
 *	LIMIT (SELECT ..)			unknown; so are negative ones, which are an error
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type_d.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"

#include "compile/limit.h"

static bool
is_foreign(Oid function, void *context)
{
	return function >= FirstGenbkiObjectId;
}

/* What people's functions return may become something else by CREATE OR REPLACE. */
static bool
calls_foreign_walker(Node *node, void *context)
{
	return node != NULL && (check_functions_in_node(node, is_foreign, context) ||
							expression_tree_walker(node, calls_foreign_walker, context));
}

/* An int8, if it is a constant; NULL is absent. */
static bool
constant_value(Node *node, int64 absent, int64 *value)
{
	Const	   *constant;

	*value = absent;
	if (node == NULL)
		return true;
	if (contain_mutable_functions(node) || contain_subplans(node) || calls_foreign_walker(node, NULL))
		return false;
	constant = (Const *) eval_const_expressions(NULL, copyObject(node));
	if (!IsA(constant, Const))
		return false;
	Assert(constant->consttype == INT8OID);
	if (!constant->constisnull)
		*value = DatumGetInt64(constant->constvalue);
	return constant->constisnull || *value >= 0;
}

DeriveLimitKind
derive_query_limit(Query *query, DeriveLimit *limit)
{
	if (query->limitCount == NULL && query->limitOffset == NULL)
		return DERIVE_LIMIT_NONE;
	if (!constant_value(query->limitOffset, 0, &limit->offset) || !constant_value(query->limitCount, -1, &limit->count))
		return DERIVE_LIMIT_UNKNOWN;
	limit->ties = query->limitOption == LIMIT_OPTION_WITH_TIES;
	return limit->count < 0 ? DERIVE_LIMIT_UNBOUNDED : DERIVE_LIMIT_CONSTANT;
}
