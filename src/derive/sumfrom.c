/*-------------------------------------------------------------------------
 *
 * sumfrom.c
 *	  The aggregate derive_state.sum_from(numeric, numeric): a sum that goes on from a value.
 *
 * A window that is evaluated from a row on has the sum of the rows before it as a value
 * (compile/running.c).  To add that to the sum of the rows from there on would be the
 * same, if the latter is a numeric at all.  It may be larger than any:
 *
 *		y			sum(y) OVER (ORDER BY x)	from the second row on	sum_from(y, -9e131071)
 *		-9e131071	-9e131071
 *		 9e131071	0							9e131071				0
 *		 9e131071	9e131071					overflow				9e131071
 *
 * So the value is the first one that is added up, as PostgreSQL's sum() does it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(derive_sum_from_add);

/* The state with one more value, in the memory of the aggregate that we are called for. */
static NullableDatum
accumulate(FunctionCallInfo aggregate, NullableDatum state, NullableDatum value)
{
	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, aggregate->context, NULL);
	fcinfo->args[0] = state;
	fcinfo->args[1] = value;
	state.value = numeric_avg_accum(fcinfo);
	state.isnull = fcinfo->isnull;
	return state;
}

/* sum_from_add(internal, numeric, numeric) returns internal; the last one is the same in all calls, not NULL */
Datum
derive_sum_from_add(PG_FUNCTION_ARGS)
{
	NullableDatum state = fcinfo->args[0];

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "derive_sum_from_add called in non-aggregate context");
	if (state.isnull)
		state = accumulate(fcinfo, state, fcinfo->args[2]);
	PG_RETURN_DATUM(accumulate(fcinfo, state, fcinfo->args[1]).value);
}
