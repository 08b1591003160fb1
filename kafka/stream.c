/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  The event stream of a logical slot: see stream.h.
 *
 * The protocol is that of streaming replication.  Messages of the server are
 *
 *		w	start, end, time (int64 each), and lines
 *		k	end, time (int64 each), and whether an answer is wanted
 *
 * and ours is r: what was written, flushed and applied (int64 each), the time, and
 * whether we want an answer.
 *
 *-------------------------------------------------------------------------
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/clock.h"
#include "client/log.h"
#include "client/memory.h"
#include "event.h"
#include "database.h"
#include "stream.h"

#define LINE_HEADER		25
#define KEEPALIVE_SIZE	18
#define STATUS_SIZE		34

/* How often the server is told that we are alive, and how far we are where that is news, in ms. */
#define REPORT_INTERVAL 1000
#define NEWS_INTERVAL	100

/* PostgreSQL's times begin in 2000. */
#define POSTGRES_EPOCH	INT64_C(946684800)

static uint64_t
get_number(const char *from)
{
	uint64_t	number;

	memcpy(&number, from, sizeof(number));
	return be64toh(number);
}

static void
put_number(char *to, uint64_t number)
{
	number = htobe64(number);
	memcpy(to, &number, sizeof(number));
}

Outcome
stream_open(Stream *stream, const char *conninfo, const char *name)
{
	memset(stream, 0, sizeof(*stream));
	return database_connect(&stream->connection, conninfo, name, "database");
}

void
stream_close(Stream *stream)
{
	PQfreemem(stream->message);
	PQfinish(stream->connection);
	memset(stream, 0, sizeof(*stream));
}

Outcome
stream_create_slot(Stream *stream, const char *slot, bool temporary, uint64_t *consistent, char **snapshot)
{
	const char *standby = PQparameterStatus(stream->connection, "in_hot_standby");
	bool		failover = !temporary && PQserverVersion(stream->connection) >= 170000 &&
	!(standby && strcmp(standby, "on") == 0);
	char	   *command = client_sprintf("CREATE_REPLICATION_SLOT \"%s\" %sLOGICAL pg_derive (SNAPSHOT '%s'%s)",
										 slot, temporary ? "TEMPORARY " : "", snapshot ? "export" : "nothing",
										 failover ? ", FAILOVER true" : "");
	PGresult   *result;
	Outcome		outcome;

	outcome = database_command(stream->connection, &result, PGRES_TUPLES_OK, "create the replication slot", command);
	free(command);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (!lsn_parse(span_of(PQgetvalue(result, 0, 1)), consistent))
		*consistent = 0;
	if (snapshot)
		*snapshot = client_strdup(PQgetvalue(result, 0, 2));
	PQclear(result);
	return OUTCOME_OK;
}

Outcome
stream_start(Stream *stream, const char *slot, uint64_t from, const char *options)
{
	char	   *command = client_sprintf("START_REPLICATION SLOT \"%s\" LOGICAL %X/%X (%s)", slot,
										 (unsigned) (from >> 32), (unsigned) from, options);
	Outcome		outcome;

	outcome = database_command(stream->connection, NULL, PGRES_COPY_BOTH, "read the replication slot", command);
	free(command);
	stream->confirmed = stream->seen = from;
	return outcome;
}

static StreamState
lost(Stream *stream)
{
	(void) database_error(stream->connection, NULL, "read the event stream");
	return STREAM_LOST;
}

/* The end of the stream, whose reason is the result that follows. */
static StreamState
ended(Stream *stream)
{
	PGresult   *result = PQgetResult(stream->connection);

	(void) database_error(stream->connection, PQresultStatus(result) == PGRES_FATAL_ERROR ? result : NULL,
						  "read the event stream");
	PQclear(result);
	return STREAM_LOST;
}

static void
take_keepalive(Stream *stream, int length)
{
	if (length < KEEPALIVE_SIZE)
		return;
	stream->seen = get_number(stream->message + 1);
	stream->reply_wanted = stream->reply_wanted || stream->message[17] != 0;
}

/* The next line of the last message. */
static void
take_line(Stream *stream, Span *line)
{
	const char *end = memchr(stream->rest.data, '\n', stream->rest.length);

	*line = stream->rest;
	stream->rest = no_span();
	if (end == NULL)
		return;
	stream->rest = span_at(end + 1, line->length - (end + 1 - line->data));
	line->length = end - line->data;
}

StreamState
stream_next(Stream *stream, Span *line)
{
	if (stream->rest.data != NULL)
	{
		take_line(stream, line);
		return STREAM_LINE;
	}
	for (;;)
	{
		int			length;

		PQfreemem(stream->message);
		stream->message = NULL;
		length = PQgetCopyData(stream->connection, &stream->message, 1);
		if (length == 0)
		{
			if (!PQconsumeInput(stream->connection))
				return lost(stream);
			length = PQgetCopyData(stream->connection, &stream->message, 1);
			if (length == 0)
				return STREAM_EMPTY;
		}
		if (length < 0)
			return length == -1 ? ended(stream) : lost(stream);
		if (stream->message[0] == 'w' && length >= LINE_HEADER)
		{
			stream->rest = span_at(stream->message + LINE_HEADER, length - LINE_HEADER);
			take_line(stream, line);
			return STREAM_LINE;
		}
		if (stream->message[0] == 'k')
			take_keepalive(stream, length);
	}
}

void
stream_wait(Stream *stream, int timeout_ms)
{
	struct pollfd descriptor = {.fd = PQsocket(stream->connection),.events = POLLIN};

	if (timeout_ms > 0)
		(void) poll(&descriptor, 1, timeout_ms);
}

Outcome
stream_confirm(Stream *stream, uint64_t lsn)
{
	int64_t		now = client_now_ms();
	struct timespec clock;
	char		message[STATUS_SIZE] = "r";

	if (lsn > stream->confirmed)
		stream->confirmed = lsn;
	if (!stream->reply_wanted &&
		now - stream->reported_at < (stream->confirmed > stream->reported ? NEWS_INTERVAL : REPORT_INTERVAL))
		return OUTCOME_OK;
	clock_gettime(CLOCK_REALTIME, &clock);
	for (int i = 0; i < 3; i++)
		put_number(message + 1 + 8 * i, stream->confirmed);
	put_number(message + 25, (uint64_t) ((clock.tv_sec - POSTGRES_EPOCH) * 1000000 + clock.tv_nsec / 1000));
	if (PQputCopyData(stream->connection, message, STATUS_SIZE) <= 0 || PQflush(stream->connection) < 0)
		return database_error(stream->connection, NULL, "answer the event stream");
	stream->reply_wanted = false;
	stream->reported_at = now;
	stream->reported = stream->confirmed;
	return OUTCOME_OK;
}
