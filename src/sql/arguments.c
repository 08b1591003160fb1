/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  Arguments that functions of schema derive cannot do without.
 *
 * A STRICT function that is given NULL by mistake does nothing, and says nothing: a view that
 * was to be created or repaired is not.  So functions that people call are not STRICT, and
 * this tells which argument it was, by its name in SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "sql/arguments.h"

static const char *
argument_name(Oid function, int arg)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid		   *types;
	char	  **names;
	char	   *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	(void) get_func_arg_info(tuple, &types, &names, &modes);
	ReleaseSysCache(tuple);
	return names != NULL ? names[arg] : psprintf("$%d", arg + 1);
}

void
derive_require_argument(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" of derive.%s() must not be null",
						argument_name(fcinfo->flinfo->fn_oid, arg), get_func_name(fcinfo->flinfo->fn_oid))));
}

void
derive_require_arguments(FunctionCallInfo fcinfo, int n)
{
	for (int i = 0; i < n; i++)
		derive_require_argument(fcinfo, i);
}
