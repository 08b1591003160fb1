/*-------------------------------------------------------------------------
 *
 * json_span.c
 *	  Parts of a text of JSON: see json_span.h.
 *
 *-------------------------------------------------------------------------
 */
#include "json_span.h"

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
skip_blanks(JsonScan *scan)
{
	while (scan->at < scan->end && is_blank(*scan->at))
		scan->at++;
}

/* Behind the string that begins here; NULL if it does not end. */
static const char *
end_of_string(const char *at, const char *end)
{
	for (at++; at < end; at++)
	{
		if (*at == '"')
			return at + 1;
		if (*at == '\\')
			at++;
	}
	return NULL;
}

/* Behind the object or array that begins here; NULL if it does not end. */
static const char *
end_of_nest(const char *at, const char *end)
{
	size_t		depth = 0;

	while (at != NULL && at < end)
	{
		switch (*at)
		{
			case '"':
				at = end_of_string(at, end);
				continue;
			case '{':
			case '[':
				depth++;
				break;
			case '}':
			case ']':
				if (--depth == 0)
					return at + 1;
				break;
		}
		at++;
	}
	return NULL;
}

/* Behind a number, true, false or null. */
static const char *
end_of_word(const char *at, const char *end)
{
	while (at < end && *at != ',' && *at != '}' && *at != ']' && !is_blank(*at))
		at++;
	return at;
}

static bool
take_value(JsonScan *scan, Span *value)
{
	const char *start;
	const char *behind;

	skip_blanks(scan);
	start = scan->at;
	if (start == scan->end)
		return false;
	if (*start == '"')
		behind = end_of_string(start, scan->end);
	else if (*start == '{' || *start == '[')
		behind = end_of_nest(start, scan->end);
	else
		behind = end_of_word(start, scan->end);
	if (behind == NULL || behind == start)
		return false;
	scan->at = behind;
	*value = span_at(start, (size_t) (behind - start));
	return true;
}

/* Take this character, if it is next. */
static bool
take(JsonScan *scan, char c)
{
	skip_blanks(scan);
	if (scan->at == scan->end || *scan->at != c)
		return false;
	scan->at++;
	return true;
}

static bool
at_close(JsonScan *scan)
{
	skip_blanks(scan);
	return scan->at < scan->end && (*scan->at == '}' || *scan->at == ']');
}

JsonScan
json_scan(Span value)
{
	JsonScan	scan = {value.data, value.data + value.length, false};

	if (value.length == 0)
		scan.broken = true;
	else
		scan.broken = !take(&scan, '{') && !take(&scan, '[');
	return scan;
}

bool
json_next_member(JsonScan *scan, Span *name, Span *value)
{
	if (scan->broken || at_close(scan))
		return false;
	(void) take(scan, ',');
	if (take_value(scan, name) && take(scan, ':') && take_value(scan, value))
		return true;
	scan->broken = true;
	return false;
}

bool
json_next_element(JsonScan *scan, Span *value)
{
	if (scan->broken || at_close(scan))
		return false;
	(void) take(scan, ',');
	if (take_value(scan, value))
		return true;
	scan->broken = true;
	return false;
}

Span
json_inside(Span string)
{
	Span		inside = {string.data + 1, string.length - 2};

	if (string.length < 2)
		inside.length = 0;
	return inside;
}

Span
json_member(Span object, Span wanted)
{
	JsonScan	scan = json_scan(object);
	Span		name;
	Span		value;

	while (json_next_member(&scan, &name, &value))
	{
		if (span_equal(json_inside(name), wanted))
			return value;
	}
	return no_span();
}
