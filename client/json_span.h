/*-------------------------------------------------------------------------
 *
 * json_span.h
 *	  Parts of a text of JSON, where they stand.
 *
 * What the server says in JSON leaves as it came: no value is decoded and written
 * again, so that a number of 100 digits is the same one behind us.  All that we need
 * to know is where the members of an object are:
 *
 *		{"id":1,"name":"x"}		names:  "id"  "name"		values:  1  "x"
 *
 * Names and strings are spans with their quotes.  The text must be sound JSON of
 * one value, as PostgreSQL writes it; of a broken one the scan ends early, with
 * "broken" set, and never reads beyond its end.  Where it is no object or array, nothing is
 * found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSON_SPAN_H
#define JSON_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Some bytes of somebody else's; data is NULL where there is nothing. */
typedef struct Span
{
	const char *data;
	size_t		length;
} Span;

/* Where a scan of an object or an array is. */
typedef struct JsonScan
{
	const char *at;
	const char *end;
	bool		broken;
} JsonScan;

/* Begin with the object or array in the span. */
extern JsonScan json_scan(Span value);

/* The next member of an object; false at its end. */
extern bool json_next_member(JsonScan *scan, Span *name, Span *value);

/* The next element of an array; false at its end. */
extern bool json_next_element(JsonScan *scan, Span *value);

/* What is between the quotes of a string, escapes as they are. */
extern Span json_inside(Span string);

static inline Span
span_at(const char *data, size_t length)
{
	Span		span = {data, length};

	return span;
}

/* Nothing. */
static inline Span
no_span(void)
{
	return span_at(NULL, 0);
}

static inline Span
span_of(const char *data)
{
	return span_at(data, strlen(data));
}

static inline bool
span_equal(Span a, Span b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static inline bool
span_is(Span span, const char *data)
{
	return span.data != NULL && span_equal(span, span_of(data));
}

/* A member of an object, by what is between the quotes of its name; data is NULL if it is not there. */
extern Span json_member(Span object, Span name);

#endif							/* JSON_SPAN_H */
