/*-------------------------------------------------------------------------
 *
 * padded_type.c
 *	  A type without an equality operator, whose values have bytes that are
 *	  never set.
 *
 * Here they are set, to something else each time, which is what a palloc()
 * without a memset() comes to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/float.h"

PG_MODULE_MAGIC;

typedef struct Padded
{
	char		kind;			/* and seven bytes of padding */
	double		value;
} Padded;

PG_FUNCTION_INFO_V1(padded_in);
PG_FUNCTION_INFO_V1(padded_out);
PG_FUNCTION_INFO_V1(padded_make);
PG_FUNCTION_INFO_V1(padded_larger);

static Datum
make_padded(double value)
{
	static uint8 garbage = 0;
	Padded	   *result = palloc(sizeof(Padded));

	memset(result, ++garbage, sizeof(Padded));
	result->kind = 'p';
	result->value = value;
	return PointerGetDatum(result);
}

Datum
padded_in(PG_FUNCTION_ARGS)
{
	return make_padded(float8in_internal(PG_GETARG_CSTRING(0), NULL, "padded", PG_GETARG_CSTRING(0)
#if PG_VERSION_NUM >= 160000
										 ,NULL
#endif
										 ));
}

Datum
padded_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(float8out_internal(((Padded *) PG_GETARG_POINTER(0))->value));
}

Datum
padded_make(PG_FUNCTION_ARGS)
{
	return make_padded(PG_GETARG_FLOAT8(0));
}

Datum
padded_larger(PG_FUNCTION_ARGS)
{
	return make_padded(Max(((Padded *) PG_GETARG_POINTER(0))->value, PG_GETARG_FLOAT8(1)));
}
