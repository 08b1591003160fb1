/*-------------------------------------------------------------------------
 *
 * event.h
 *	  One line of the event stream (docs/event-stream.md), taken apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENT_H
#define EVENT_H

#include <stdint.h>

#include "client/json_span.h"

typedef enum EventKind
{
	EVENT_UNKNOWN,				/* of a later version: a reason to stop */
	EVENT_BEGIN,
	EVENT_COMMIT,
	EVENT_RELATION,
	EVENT_INSERT,
	EVENT_UPDATE,
	EVENT_DELETE,
	EVENT_TRUNCATE,
	EVENT_REPLACE,
	EVENT_MESSAGE
} EventKind;

/* Spans are of the line; data is NULL for what it does not have. */
typedef struct Event
{
	EventKind	kind;
	Span		event;			/* name of the kind, as all strings with
								 * quotes */
	Span		xid;
	Span		commit_lsn;
	Span		end_lsn;
	Span		commit_time;
	Span		schema;
	Span		table;
	Span		old_row;
	Span		new_row;
	Span		unchanged;
	Span		omitted;
	Span		tables;
	Span		oid;
	Span		columns;
	Span		key;
	Span		key_nulls;
} Event;

/* Take the line apart; false if it is no JSON object. */
extern bool event_parse(Event *event, Span line);

/* "0/16B3740", with or without quotes, as a number; false if it is none. */
extern bool lsn_parse(Span word, uint64_t *lsn);

/* A number without sign, with or without quotes; 0 if it is none. */
extern uint32_t number_parse(Span word);

/* A time of the stream, "2026-11-23T09:09:09.837903+00:00", in ms since 1970; false if it is none. */
extern bool time_parse(Span word, int64_t *ms);

#endif							/* EVENT_H */
