/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Compare values as the database does.
 *
 *-------------------------------------------------------------------------
 */
#include "value.h"

#include "json_string.h"

#include <stdlib.h>
#include <string.h>

static int
compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int			result = memcmp(a, b, a_length < b_length ? a_length : b_length);

	if (result != 0)
		return result;
	return a_length < b_length ? -1 : a_length > b_length;
}

static int
sign(int number)
{
	return (number > 0) - (number < 0);
}


/* ----------------------------------------------------------------
 *		Numbers
 * ----------------------------------------------------------------
 */

/* The parts of a decimal number, without zeros that mean nothing. */
typedef struct Decimal
{
	int			class;			/* -1: -Infinity, 0: a number, 1: Infinity, 2:
								 * NaN */
	bool		negative;		/* and not zero */
	Span		whole;
	Span		fraction;
} Decimal;

static Span
digits_from(const char **c, const char *end)
{
	Span		result = {*c, 0};

	while (*c < end && **c >= '0' && **c <= '9')
		(*c)++;
	result.length = (size_t) (*c - result.data);
	return result;
}

static Decimal
read_decimal(Span value)
{
	Decimal		result = {0};
	const char *c = value.data;
	const char *end = value.data + value.length;

	if (c < end && *c == '"')
	{
		result.class = span_is(value, "\"NaN\"") ? 2 : span_is(value, "\"Infinity\"") ? 1 : -1;
		return result;
	}
	if (c < end && *c == '-')
	{
		result.negative = true;
		c++;
	}
	while (c < end && *c == '0')
		c++;
	result.whole = digits_from(&c, end);
	if (c < end && *c == '.')
	{
		c++;
		result.fraction = digits_from(&c, end);
	}
	while (result.fraction.length > 0 && result.fraction.data[result.fraction.length - 1] == '0')
		result.fraction.length--;
	if (result.whole.length == 0 && result.fraction.length == 0)
		result.negative = false;
	return result;
}

static int
compare_numbers(Span x, Span y)
{
	Decimal		a = read_decimal(x);
	Decimal		b = read_decimal(y);
	int			result;

	if (a.class != b.class || a.class != 0)
		return sign(a.class - b.class);
	if (a.negative != b.negative)
		return a.negative ? -1 : 1;
	if (a.whole.length != b.whole.length)
		result = a.whole.length < b.whole.length ? -1 : 1;
	else
	{
		result = a.whole.length > 0 ? memcmp(a.whole.data, b.whole.data, a.whole.length) : 0;
		if (result == 0 && (a.fraction.length == 0 || b.fraction.length == 0))
			result = a.fraction.length > 0 ? 1 : b.fraction.length > 0 ? -1 : 0;
		else if (result == 0)
			result = compare_bytes(a.fraction.data, a.fraction.length, b.fraction.data, b.fraction.length);
	}
	return a.negative ? -sign(result) : sign(result);
}


/* ----------------------------------------------------------------
 *		Times
 * ----------------------------------------------------------------
 */

/*
 * A time: whether it is finite, its year (that of Christ's birth is 1, the one before it
 * is -1), and the rest, which is in the order of its characters:
 *
 *	"0044-03-15T08:00:00.5+00:00 BC"	year -44, rest 03-15T08:00:00.5
 *	"08:00:00"							year 0, rest 08:00:00
 */
typedef struct Time
{
	int			class;			/* -1: -infinity, 0: finite, 1: infinity */
	long		year;
	Span		rest;
} Time;

static bool
cut_end(Span *slice, const char *end)
{
	size_t		length = strlen(end);

	if (slice->length < length || memcmp(slice->data + slice->length - length, end, length) != 0)
		return false;
	slice->length -= length;
	return true;
}

static Time
read_time(Span value)
{
	Time		result = {0};
	bool		before_christ;
	const char *c;

	/* without the quotes */
	if (value.length >= 2)
	{
		value.data++;
		value.length -= 2;
	}
	if (span_is(value, "infinity") || span_is(value, "-infinity"))
	{
		result.class = value.data[0] == '-' ? -1 : 1;
		return result;
	}
	before_christ = cut_end(&value, " BC");
	(void) cut_end(&value, "+00:00");
	c = value.data;
	for (long year = 0; c < value.data + value.length && *c >= '0' && *c <= '9' && year < 1000000000; c++)
		result.year = year = year * 10 + (*c - '0');
	if (c < value.data + value.length && *c == '-')
	{
		c++;
		if (before_christ)
			result.year = -result.year;
	}
	else
	{
		/* a time of the day */
		result.year = 0;
		c = value.data;
	}
	result.rest.data = c;
	result.rest.length = value.length - (size_t) (c - value.data);
	return result;
}

static int
compare_times(Span x, Span y)
{
	Time		a = read_time(x);
	Time		b = read_time(y);

	if (a.class != b.class || a.class != 0)
		return sign(a.class - b.class);
	if (a.year != b.year)
		return a.year < b.year ? -1 : 1;
	return sign(compare_bytes(a.rest.data, a.rest.length, b.rest.data, b.rest.length));
}


/* ----------------------------------------------------------------
 *		Texts
 * ----------------------------------------------------------------
 */

static int
compare_texts(Span x, Span y, bool padded)
{
	size_t		lengths[2] = {0, 0};
	char	   *texts[2] = {gw_json_string(x, &lengths[0]), gw_json_string(y, &lengths[1])};
	int			result;

	for (int i = 0; i < 2; i++)
	{
		while (padded && lengths[i] > 0 && texts[i][lengths[i] - 1] == ' ')
			lengths[i]--;
	}
	result = compare_bytes(texts[0] ? texts[0] : "", lengths[0], texts[1] ? texts[1] : "", lengths[1]);
	free(texts[0]);
	free(texts[1]);
	return sign(result);
}

int
gw_value_compare(GwKind kind, Span a, Span b)
{
	switch (kind)
	{
		case GW_NUMBER:
			return compare_numbers(a, b);
		case GW_TIME:
			return compare_times(a, b);
		case GW_TEXT:
		case GW_PADDED:
			return compare_texts(a, b, kind == GW_PADDED);
		case GW_BOOLEAN:
			/* "false" < "true", as it happens */
		default:
			return sign(compare_bytes(a.data, a.length, b.data, b.length));
	}
}
