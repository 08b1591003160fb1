/*-------------------------------------------------------------------------
 *
 * event.c
 *	  One line of the event stream: see event.h.
 *
 * This is done for each change, so it looks at each member once, and at values
 * not at all.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "event.h"

static const struct
{
	const char *name;			/* with quotes */
	EventKind	kind;
}			kinds[] =

{
	{"\"insert\"", EVENT_INSERT},
	{"\"update\"", EVENT_UPDATE},
	{"\"delete\"", EVENT_DELETE},
	{"\"begin\"", EVENT_BEGIN},
	{"\"commit\"", EVENT_COMMIT},
	{"\"relation\"", EVENT_RELATION},
	{"\"truncate\"", EVENT_TRUNCATE},
	{"\"replace\"", EVENT_REPLACE},
	{"\"message\"", EVENT_MESSAGE},
};

#define MEMBER(name, field) {"\"" name "\"", sizeof(name) + 1, offsetof(Event, field)}

static const struct
{
	const char *name;			/* with quotes */
	size_t		length;
	size_t		field;			/* in Event */
}			members[] =

{
	MEMBER("event", event),
	MEMBER("xid", xid),
	MEMBER("commit_lsn", commit_lsn),
	MEMBER("schema", schema),
	MEMBER("table", table),
	MEMBER("old", old_row),
	MEMBER("new", new_row),
	MEMBER("commit_time", commit_time),
	MEMBER("end_lsn", end_lsn),
	MEMBER("unchanged", unchanged),
	MEMBER("omitted", omitted),
	MEMBER("tables", tables),
	MEMBER("oid", oid),
	MEMBER("columns", columns),
	MEMBER("key", key),
	MEMBER("key_nulls", key_nulls),
};

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

static EventKind
kind_of(Span name)
{
	for (size_t i = 0; i < lengthof(kinds); i++)
	{
		if (span_is(name, kinds[i].name))
			return kinds[i].kind;
	}
	return EVENT_UNKNOWN;
}

bool
event_parse(Event *event, Span line)
{
	JsonScan	scan = json_scan(line);
	Span		name;
	Span		value;

	memset(event, 0, sizeof(*event));
	while (json_next_member(&scan, &name, &value))
	{
		for (size_t i = 0; i < lengthof(members); i++)
		{
			if (name.length == members[i].length && memcmp(name.data, members[i].name, name.length) == 0)
			{
				*(Span *) ((char *) event + members[i].field) = value;
				break;
			}
		}
	}
	event->kind = kind_of(event->event);
	return !scan.broken;
}

/* A copy that ends with a zero byte, for the functions of the C library. */
static const char *
terminated(Span word, char *buffer, size_t size)
{
	if (word.length > 0 && word.data[0] == '"')
		word = json_inside(word);
	if (word.length >= size)
		word.length = 0;
	if (word.length > 0)
		memcpy(buffer, word.data, word.length);
	buffer[word.length] = '\0';
	return buffer;
}

uint32_t
number_parse(Span word)
{
	char		buffer[32];

	return (uint32_t) strtoul(terminated(word, buffer, sizeof(buffer)), NULL, 10);
}

bool
lsn_parse(Span word, uint64_t *lsn)
{
	char		buffer[32];
	unsigned	high;
	unsigned	low;
	int			used = 0;

	terminated(word, buffer, sizeof(buffer));
	if (sscanf(buffer, "%8X/%8X%n", &high, &low, &used) != 2 || buffer[used] != '\0')
		return false;
	*lsn = ((uint64_t) high << 32) | low;
	return true;
}

bool
time_parse(Span word, int64_t *ms)
{
	char		buffer[64];
	char		fraction[8] = "";
	struct tm	tm = {0};

	terminated(word, buffer, sizeof(buffer));
	if (sscanf(buffer, "%4d-%2d-%2dT%2d:%2d:%2d.%6[0-9]", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
			   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, fraction) < 6)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ms = (int64_t) timegm(&tm) * 1000;
	for (int i = 0, scale = 100; i < 3 && fraction[i] != '\0'; i++, scale /= 10)
		*ms += (fraction[i] - '0') * scale;
	return true;
}
