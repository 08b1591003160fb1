/*-------------------------------------------------------------------------
 *
 * exactsum.c
 *	  sum() and avg() of floating-point numbers that can be taken back.
 *
 * Floating-point addition rounds, so adding and later subtracting a number
 * does not give back what was there: a sum maintained that way drifts.  The
 * sums here are exact.  Every finite double is a multiple of 2^-1074 below
 * 2^1024, so a sum of doubles is an integer of some 2,100 bits plus carries;
 * we keep it as limbs of 32 bits in 64-bit words, so that carries need to be
 * propagated only now and then.  NaN and infinities are counted.  The result
 * is the exact sum rounded once, to nearest even: it depends neither on the
 * order of the input nor on history.  PostgreSQL's own sum() differs from it
 * in the last digits, as it does from itself under another plan.
 *
 * The idea is that of Kulisch's long accumulator; the deferred carries are
 * those of R. M. Neal, "Fast exact summation using small and large
 * superaccumulators" (2015).
 *
 * To the rest of pg_derive these are ordinary aggregates with moving-aggregate
 * functions (see aggclass.c): the compiler puts them in the place of the
 * built-in ones, also in the query that a view is compared with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/registry.h"
#include "derive/exactsum.h"

#define LOWEST_EXPONENT	(-1074) /* of the unit that all doubles are multiples
								 * of */
#define LIMB_BITS		32
#define NLIMBS			68		/* 2176 bits: 2098 for one number, the rest
								 * for carries and sign */
#define ADDITIONS_BEFORE_CARRY (1 << 29)

typedef struct ExactSum
{
	int64		count;			/* inputs, special ones included */
	int64		nan;
	int64		plus_infinity;
	int64		minus_infinity;
	int32		additions;		/* since carries were last propagated */
	int64		limbs[NLIMBS];	/* little end first; the last one carries the
								 * sign */
} ExactSum;

PG_FUNCTION_INFO_V1(derive_exact_add4);
PG_FUNCTION_INFO_V1(derive_exact_add8);
PG_FUNCTION_INFO_V1(derive_exact_remove4);
PG_FUNCTION_INFO_V1(derive_exact_remove8);
PG_FUNCTION_INFO_V1(derive_exact_combine);
PG_FUNCTION_INFO_V1(derive_exact_serialize);
PG_FUNCTION_INFO_V1(derive_exact_deserialize);
PG_FUNCTION_INFO_V1(derive_exact_sum4);
PG_FUNCTION_INFO_V1(derive_exact_sum8);
PG_FUNCTION_INFO_V1(derive_exact_avg);

/* -------------------------------------------------------------------------
 * The accumulator
 * -------------------------------------------------------------------------
 */

/* Bring every limb but the last into 0 .. 2^32 - 1: the canonical form. */
static void
propagate_carries(ExactSum *sum)
{
	for (int i = 0; i < NLIMBS - 1; i++)
	{
		int64		carry = sum->limbs[i] >> LIMB_BITS;

		sum->limbs[i] -= carry * ((int64) 1 << LIMB_BITS);
		sum->limbs[i + 1] += carry;
	}
	sum->additions = 0;
}

/* Add sign (1 or -1) times a finite number. */
static void
add_finite(ExactSum *sum, double value, int sign)
{
	int			exponent;
	double		fraction = frexp(value, &exponent); /* value = fraction *
													 * 2^exponent */
	int64		mantissa;
	int			position;
	int			limb;
	unsigned	__int128 bits;

	if (value == 0)
		return;
	exponent -= DBL_MANT_DIG;
	if (exponent < LOWEST_EXPONENT)
	{
		/* subnormal: fewer bits */
		fraction = ldexp(fraction, exponent - LOWEST_EXPONENT);
		exponent = LOWEST_EXPONENT;
	}
	mantissa = (int64) ldexp(fraction, DBL_MANT_DIG);
	if (mantissa < 0)
	{
		mantissa = -mantissa;
		sign = -sign;
	}
	position = exponent - LOWEST_EXPONENT;
	limb = position / LIMB_BITS;
	bits = (unsigned __int128) mantissa << (position % LIMB_BITS);
	for (; bits != 0; bits >>= LIMB_BITS)
		sum->limbs[limb++] += sign * (int64) (uint32) bits;
	if (++sum->additions >= ADDITIONS_BEFORE_CARRY)
		propagate_carries(sum);
}

static void
add_value(ExactSum *sum, double value, int sign)
{
	sum->count += sign;
	if (isnan(value))
		sum->nan += sign;
	else if (isinf(value))
		*(value > 0 ? &sum->plus_infinity : &sum->minus_infinity) += sign;
	else
		add_finite(sum, value, sign);
}

/* The value of bits high .. high - 52 of the canonical, non-negative limbs. */
static int64
leading_bits(const int64 *limbs, int high)
{
	int64		result = 0;

	for (int bit = high; bit > high - DBL_MANT_DIG; bit--)
		result = result * 2 + ((limbs[bit / LIMB_BITS] >> (bit % LIMB_BITS)) & 1);
	return result;
}

static bool
any_bit_below(const int64 *limbs, int bit)
{
	int			limb = bit / LIMB_BITS;

	for (int i = 0; i < limb; i++)
		if (limbs[i] != 0)
			return true;
	return (limbs[limb] & (((int64) 1 << (bit % LIMB_BITS)) - 1)) != 0;
}

/* Round the canonical, non-negative limbs to the nearest double, ties to even. */
static double
round_limbs(const int64 *limbs)
{
	int			high = NLIMBS * LIMB_BITS - 1;
	int			shift;
	int64		mantissa;

	while (high >= 0 && ((limbs[high / LIMB_BITS] >> (high % LIMB_BITS)) & 1) == 0)
		high--;
	if (high < DBL_MANT_DIG)
		return ldexp((double) (limbs[0] + limbs[1] * ((int64) 1 << LIMB_BITS)), LOWEST_EXPONENT);

	shift = high - DBL_MANT_DIG + 1;
	mantissa = leading_bits(limbs, high);
	if ((limbs[(shift - 1) / LIMB_BITS] >> ((shift - 1) % LIMB_BITS)) & 1)
	{
		if (any_bit_below(limbs, shift - 1) || (mantissa & 1))
			mantissa++;
	}
	return ldexp((double) mantissa, shift + LOWEST_EXPONENT);
}

static double
rounded(ExactSum *sum)
{
	int64		limbs[NLIMBS];
	double		result;

	if (sum->nan > 0 || (sum->plus_infinity > 0 && sum->minus_infinity > 0))
		return get_float8_nan();
	if (sum->plus_infinity > 0)
		return get_float8_infinity();
	if (sum->minus_infinity > 0)
		return -get_float8_infinity();

	propagate_carries(sum);
	memcpy(limbs, sum->limbs, sizeof(limbs));
	if (limbs[NLIMBS - 1] < 0)
	{
		ExactSum	negative = {0};

		for (int i = 0; i < NLIMBS; i++)
			negative.limbs[i] = -limbs[i];
		propagate_carries(&negative);
		result = -round_limbs(negative.limbs);
	}
	else
		result = round_limbs(limbs);
	if (isinf(result))
		float_overflow_error();
	return result;
}

/* -------------------------------------------------------------------------
 * The aggregates' functions
 * -------------------------------------------------------------------------
 */

static ExactSum *
state_argument(FunctionCallInfo fcinfo, bool create)
{
	MemoryContext aggcontext;

	if (!AggCheckCallContext(fcinfo, &aggcontext))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (!PG_ARGISNULL(0))
		return (ExactSum *) PG_GETARG_POINTER(0);
	return create ? MemoryContextAllocZero(aggcontext, sizeof(ExactSum)) : NULL;
}

static Datum
accumulate(FunctionCallInfo fcinfo, double value, int sign)
{
	ExactSum   *sum = state_argument(fcinfo, true);

	if (!PG_ARGISNULL(1))
		add_value(sum, value, sign);
	PG_RETURN_POINTER(sum);
}

Datum
derive_exact_add4(PG_FUNCTION_ARGS)
{
	return accumulate(fcinfo, PG_ARGISNULL(1) ? 0 : PG_GETARG_FLOAT4(1), 1);
}

Datum
derive_exact_add8(PG_FUNCTION_ARGS)
{
	return accumulate(fcinfo, PG_ARGISNULL(1) ? 0 : PG_GETARG_FLOAT8(1), 1);
}

Datum
derive_exact_remove4(PG_FUNCTION_ARGS)
{
	return accumulate(fcinfo, PG_ARGISNULL(1) ? 0 : PG_GETARG_FLOAT4(1), -1);
}

Datum
derive_exact_remove8(PG_FUNCTION_ARGS)
{
	return accumulate(fcinfo, PG_ARGISNULL(1) ? 0 : PG_GETARG_FLOAT8(1), -1);
}

Datum
derive_exact_combine(PG_FUNCTION_ARGS)
{
	ExactSum   *other = PG_ARGISNULL(1) ? NULL : (ExactSum *) PG_GETARG_POINTER(1);
	ExactSum   *sum = state_argument(fcinfo, other != NULL);

	if (other == NULL)
	{
		if (sum == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(sum);
	}
	propagate_carries(sum);
	propagate_carries(other);
	for (int i = 0; i < NLIMBS; i++)
		sum->limbs[i] += other->limbs[i];
	sum->additions = 1;
	sum->count += other->count;
	sum->nan += other->nan;
	sum->plus_infinity += other->plus_infinity;
	sum->minus_infinity += other->minus_infinity;
	PG_RETURN_POINTER(sum);
}

/*
 * Stored form: the four counts, the number of the first limb that is not zero,
 * and the limbs from there to the last one that says more than the sign.
 */
Datum
derive_exact_serialize(PG_FUNCTION_ARGS)
{
	ExactSum   *sum = state_argument(fcinfo, false);
	StringInfoData buffer;
	int64		filler;
	int			first = 0;
	int			last = NLIMBS - 1;

	propagate_carries(sum);
	/* above the value all limbs are 0, or all ones with the last one -1 */
	filler = sum->limbs[NLIMBS - 1] < 0 ? (int64) 0xFFFFFFFF : 0;
	if (sum->limbs[last] == 0 || sum->limbs[last] == -1)
		for (last--; last > 0 && sum->limbs[last] == filler; last--)
			;
	while (first < last && sum->limbs[first] == 0)
		first++;

	pq_begintypsend(&buffer);
	pq_sendint64(&buffer, sum->count);
	pq_sendint64(&buffer, sum->nan);
	pq_sendint64(&buffer, sum->plus_infinity);
	pq_sendint64(&buffer, sum->minus_infinity);
	pq_sendint8(&buffer, sum->limbs[NLIMBS - 1] < 0);
	pq_sendint8(&buffer, first);
	pq_sendint8(&buffer, last);
	for (int i = first; i <= last; i++)
		pq_sendint64(&buffer, sum->limbs[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

Datum
derive_exact_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *stored = PG_GETARG_BYTEA_PP(0);
	ExactSum   *sum = palloc0(sizeof(ExactSum));
	StringInfoData buffer;
	bool		negative;
	int			first,
				last;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored));
	sum->count = pq_getmsgint64(&buffer);
	sum->nan = pq_getmsgint64(&buffer);
	sum->plus_infinity = pq_getmsgint64(&buffer);
	sum->minus_infinity = pq_getmsgint64(&buffer);
	negative = pq_getmsgbyte(&buffer);
	first = pq_getmsgbyte(&buffer);
	last = pq_getmsgbyte(&buffer);
	if (first > last || last >= NLIMBS)
		elog(ERROR, "invalid exact sum");
	for (int i = first; i <= last; i++)
		sum->limbs[i] = pq_getmsgint64(&buffer);
	if (negative && last < NLIMBS - 1)
	{
		for (int i = last + 1; i < NLIMBS - 1; i++)
			sum->limbs[i] = (int64) 0xFFFFFFFF;
		sum->limbs[NLIMBS - 1] = -1;
	}
	pq_getmsgend(&buffer);
	pfree(buffer.data);
	PG_RETURN_POINTER(sum);
}

Datum
derive_exact_sum8(PG_FUNCTION_ARGS)
{
	ExactSum   *sum = state_argument(fcinfo, false);

	if (sum == NULL || sum->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(rounded(sum));
}

Datum
derive_exact_sum4(PG_FUNCTION_ARGS)
{
	ExactSum   *sum = state_argument(fcinfo, false);
	double		exact;
	float4		result;

	if (sum == NULL || sum->count == 0)
		PG_RETURN_NULL();
	exact = rounded(sum);
	result = (float4) exact;
	if (isinf(result) && !isinf(exact))
		float_overflow_error();
	PG_RETURN_FLOAT4(result);
}

Datum
derive_exact_avg(PG_FUNCTION_ARGS)
{
	ExactSum   *sum = state_argument(fcinfo, false);

	if (sum == NULL || sum->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(rounded(sum) / sum->count);
}

/* -------------------------------------------------------------------------
 * Putting them in place
 * -------------------------------------------------------------------------
 */

static const struct
{
	Oid			builtin;
	const char *ours;
	Oid			argument;
}			replacements[] =

{
	{F_SUM_FLOAT4, "exact_sum", FLOAT4OID},
	{F_SUM_FLOAT8, "exact_sum", FLOAT8OID},
	{F_AVG_FLOAT4, "exact_avg", FLOAT4OID},
	{F_AVG_FLOAT8, "exact_avg", FLOAT8OID},
};

static bool
replace_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, replace_walker, context, 0);
	if (IsA(node, Aggref) && ((Aggref *) node)->aggdistinct == NIL)
	{
		Aggref	   *aggref = (Aggref *) node;

		for (int i = 0; i < lengthof(replacements); i++)
		{
			oidvector  *argtypes;

			if (aggref->aggfnoid != replacements[i].builtin)
				continue;
			argtypes = buildoidvector(&replacements[i].argument, 1);
			aggref->aggfnoid = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
											   CStringGetDatum(replacements[i].ours),
											   PointerGetDatum(argtypes),
											   ObjectIdGetDatum(derive_state_schema_oid(false)));
			if (!OidIsValid(aggref->aggfnoid))
				elog(ERROR, "aggregate derive_state.%s is missing", replacements[i].ours);
			aggref->aggorder = NIL; /* the order makes no difference */
		}
	}
	return expression_tree_walker(node, replace_walker, context);
}

void
derive_query_exact_floats(Query *query)
{
	(void) replace_walker((Node *) query, NULL);
}
