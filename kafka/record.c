/*-------------------------------------------------------------------------
 *
 * record.c
 *	  What a record in Kafka is made of: see record.h.
 *
 * This is done for each change.  Rows are copied as they are; all around them is
 * made once for each relation or each transaction.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "record.h"

#define UNAVAILABLE "\"__debezium_unavailable_value\""

/* Literal text, whose length is known to the compiler. */
#define add_literal(buffer, text) client_buffer_add(buffer, text, sizeof(text) - 1)

void
record_origin(RecordOrigin *origin, uint64_t lsn, int64_t commit_ms, Span xid)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	origin->now = (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
	origin->lsn = lsn;
	origin->changes = 0;
	origin->length = snprintf(origin->source, sizeof(origin->source),
							  "\"snapshot\":\"%s\",\"ts_ms\":%" PRId64 ",\"lsn\":%" PRIu64 ",\"txId\":%.*s,",
							  xid.data ? "false" : "true", xid.data ? commit_ms : origin->now, lsn,
							  xid.data ? (int) xid.length : 4, xid.data ? xid.data : "null");
}

/* The value of a column of a row; keys are often the first columns. */
static bool
find_column(Span row, const char *name, Span *value)
{
	JsonScan	scan = json_scan(row);
	size_t		length = strlen(name);
	Span		found;

	while (json_next_member(&scan, &found, value))
	{
		if (found.length == length && memcmp(found.data, name, length) == 0)
			return true;
	}
	return false;
}

KeyState
record_key(ClientBuffer *buffer, const Relation *relation, Span row, Span old_row)
{
	Span		value;

	for (int i = 0; i < relation->nkey; i++)
	{
		if (!find_column(row, relation->key[i], &value) &&
			(old_row.data == NULL || !find_column(old_row, relation->key[i], &value)))
			return KEY_MISSING;
		if (relation->key_nulls_distinct && span_is(value, "null"))
			return KEY_NULL;
		client_buffer_add_char(buffer, i == 0 ? '{' : ',');
		client_buffer_add_text(buffer, relation->key[i]);
		client_buffer_add_char(buffer, ':');
		client_buffer_add(buffer, value.data, value.length);
	}
	client_buffer_add_char(buffer, '}');
	return KEY_GOOD;
}

/* Columns that the row does not have; some lists name those of the old and the new row together. */
static void
add_unavailable(ClientBuffer *buffer, Span row, Span names)
{
	JsonScan	scan = json_scan(names);
	Span		name;

	while (json_next_element(&scan, &name))
	{
		char		column[400];
		Span		value;

		if (name.length >= sizeof(column))
			continue;			/* longer than an escaped name can be */
		memcpy(column, name.data, name.length);
		column[name.length] = '\0';
		if (find_column(row, column, &value))
			continue;
		if (buffer->data[buffer->length - 1] != '{')
			client_buffer_add_char(buffer, ',');
		client_buffer_add(buffer, name.data, name.length);
		add_literal(buffer, ":" UNAVAILABLE);
	}
}

static void
add_row(ClientBuffer *buffer, Span row, const Span *unavailable, int lists)
{
	if (row.data == NULL)
	{
		add_literal(buffer, "null");
		return;
	}
	client_buffer_add(buffer, row.data, row.length - 1);
	for (int i = 0; unavailable != NULL && i < lists; i++)
	{
		if (unavailable[i].data != NULL)
			add_unavailable(buffer, row, unavailable[i]);
	}
	client_buffer_add_char(buffer, '}');
}

void
record_value(ClientBuffer *buffer, const Relation *relation, const RecordOrigin *origin, char op,
			 Span before, Span after, const Span unavailable[2])
{
	char		tail[128];
	int			length;

	add_literal(buffer, "{\"before\":");
	add_row(buffer, before, unavailable, 1);
	add_literal(buffer, ",\"after\":");
	add_row(buffer, after, unavailable, 2);
	add_literal(buffer, ",\"source\":");
	client_buffer_add_text(buffer, relation->source);
	client_buffer_add(buffer, origin->source, origin->length);
	length = snprintf(tail, sizeof(tail),
					  "\"sequence\":\"[\\\"%" PRIu64 "\\\",\\\"%" PRIu64 "\\\"]\"},\"op\":\"%c\",\"ts_ms\":%" PRId64 "}",
					  origin->lsn, origin->changes, op, origin->now);
	client_buffer_add(buffer, tail, length);
}
