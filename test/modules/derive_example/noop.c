/*-------------------------------------------------------------------------
 *
 * noop.c
 *	  A derivation that takes all changes and does nothing with them.
 *
 * It is for measuring what pg_derive itself costs.  Its view is always empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "extension/pg_derive/derivation.h"

PG_FUNCTION_INFO_V1(noop_handler);

static TupleDesc
columns(DeriveContext *context)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "nothing", BOOLOID, -1, 0);
	return desc;
}

static void
declare(DeriveContext *context)
{
}

static void
apply(DeriveContext *context)
{
	DeriveChange change;

	while (context->next_change(context, &change))
		;
}

Datum
noop_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
		.flags = DERIVE_OF_CURRENT_ROWS | DERIVE_TAKES_TRUNCATE,
		.columns = columns,
		.declare = declare,
		.apply = apply,
	};

	PG_RETURN_POINTER(&routine);
}
