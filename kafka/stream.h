/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  The event stream of a logical slot (docs/event-stream.md), line by line; lines may be joined.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STREAM_H
#define STREAM_H

#include <libpq-fe.h>
#include <stdint.h>

#include "client/json_span.h"
#include "outcome.h"

typedef struct Stream
{
	PGconn	   *connection;		/* a walsender */
	char	   *message;		/* the last one of the server */
	Span		rest;			/* its lines that were not given yet */
	uint64_t	seen;			/* what the server has sent, or has passed
								 * over as nothing for us */
	uint64_t	confirmed;		/* what it need not send again */
	uint64_t	reported;		/* what it was told of that */
	int64_t		reported_at;	/* and when, in ms */
	bool		reply_wanted;
} Stream;

typedef enum StreamState
{
	STREAM_LINE,				/* *line is the next one, until the next call */
	STREAM_EMPTY,				/* nothing at the moment */
	STREAM_LOST					/* the connection; was logged */
} StreamState;

/*
 * Connect to the database of this connection string as a walsender.  A stream that
 * is {0}, or was opened, is to be closed.
 */
extern Outcome stream_open(Stream *stream, const char *conninfo, const char *name);
extern void stream_close(Stream *stream);

/*
 * Make a slot; a temporary one goes with the stream, another one goes to standbys that synchronize
 * slots (from 17 on).  *consistent is where it
 * begins: it sends the transactions whose commit record begins there or later.  With a
 * snapshot (for free(); NULL: none is made) all others can be seen, until the next
 * command of the stream.
 */
extern Outcome stream_create_slot(Stream *stream, const char *slot, bool temporary,
								  uint64_t *consistent, char **snapshot);

/* Begin to read, with what has the form of START_REPLICATION's options: name 'value', ... */
extern Outcome stream_start(Stream *stream, const char *slot, uint64_t from, const char *options);

extern StreamState stream_next(Stream *stream, Span *line);

/* Wait until there may be something, but not longer than this. */
extern void stream_wait(Stream *stream, int timeout_ms);

/*
 * All before this is safe.  The server is told now and then, and that we are alive; to be
 * called at least every few seconds.
 */
extern Outcome stream_confirm(Stream *stream, uint64_t lsn);

#endif							/* STREAM_H */
