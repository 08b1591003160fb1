/*-------------------------------------------------------------------------
 *
 * round.c
 *	  Rows of a view at a known place in its changes.
 *
 * A round goes through these steps, each the handler of a query of the one before:
 *
 *	begin_round()		feed: a reader is free; polls of the feed pause
 *	gw_round_export()	feed: BEGIN, export, poll; more polls, if there is more
 *	import()			reader: BEGIN, SET TRANSACTION SNAPSHOT
 *	imported()			feed: COMMIT.  Polls go on
 *	next_job()			reader: SAVEPOINT, the role, the rows, ROLLBACK TO SAVEPOINT
 *	end_round()			reader: COMMIT
 *
 * Jobs stay with the feed, where others can join them, until the snapshot is taken: who
 * joins sees what was committed before he asked.
 *
 * If a connection is lost, the jobs wait for the next round.
 *
 *-------------------------------------------------------------------------
 */
#include "round.h"

#include "log.h"
#include "memory.h"
#include "session.h"
#include "settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TRIES	3

typedef struct Reader
{
	ClientConnection *connection;
	GwFeed	   *feed;			/* of its round, NULL: it is free */
	bool		exported;		/* the jobs are its own now */
	unsigned	session;		/* of the feed's connection, that has exported */
	char	   *snapshot;
	GwJob	   *jobs;			/* the first one is under way */
	GwPosition	position;
	uint64_t	seq;
} Reader;

static Reader *readers;

static void export_polled(void *arg, const PGresult *result);
static void next_job(Reader *reader);


/* ----------------------------------------------------------------
 *		Jobs
 * ----------------------------------------------------------------
 */

static void
free_job(GwJob *job)
{
	client_buffer_free(&job->text);
	gw_blob_release(job->blob);
	gw_channel_release(job->channel);
	free(job->problem);
	free(job);
}

/* Hand it to its clients. */
static void
finish_job(GwJob *job)
{
	GwFeed	   *feed = job->feed;

	for (GwClient *client = feed->clients, *next; client != NULL && job->users > 0; client = next)
	{
		next = client->feed_next;
		if (client->job == job)
			gw_session_got_rows(client);
	}
	free_job(job);
}

static void
fail_job(GwJob *job, int status, const char *problem)
{
	job->status = status;
	free(job->problem);
	job->problem = client_strdup(problem);
}

void
gw_job_join(GwClient *client)
{
	GwFeed	   *feed = client->feed;
	const GwRequest *request = &client->request;
	GwForm		form = request->kind == GW_CHANGES ? GW_FORM_EVENTS : client->csv ? GW_FORM_CSV : GW_FORM_JSON;
	int			order_column = request->order_column ? gw_view_column(feed->view, request->order_column) : -1;
	GwJob	   *job;

	for (job = feed->jobs; job != NULL; job = job->next)
	{
		if (job->channel == client->channel && job->form == form && job->limit == request->limit &&
			job->order_column == order_column && job->descending == request->descending &&
			strcmp(job->role, client->identity.role) == 0)
			break;
	}
	if (job == NULL)
	{
		job = client_alloc(sizeof(GwJob));
		job->feed = feed;
		job->channel = client->channel;
		job->channel->users++;
		memcpy(job->role, client->identity.role, sizeof(job->role));
		job->form = form;
		job->limit = request->limit;
		job->order_column = order_column;
		job->descending = request->descending;
		job->next = feed->jobs;
		feed->jobs = job;
	}
	job->users++;
	client->job = job;
	gw_rounds_continue();
}

void
gw_job_leave(GwClient *client)
{
	if (client->job != NULL)
		client->job->users--;
	client->job = NULL;
}

void
gw_job_drop(GwFeed *feed)
{
	GwJob	   *job = feed->jobs;

	feed->jobs = job->next;
	fail_job(job, 503, "the view is gone");
	finish_job(job);
}

/* Those of a round come again. */
static void
give_back(Reader *reader)
{
	GwFeed	   *feed = reader->feed;
	GwJob	   *job;

	while ((job = reader->jobs) != NULL)
	{
		reader->jobs = job->next;
		job->running = false;
		client_buffer_free(&job->text);
		job->rows = 0;
		if (++job->tries < MAX_TRIES && !feed->closing)
		{
			job->next = feed->jobs;
			feed->jobs = job;
			continue;
		}
		fail_job(job, 503, "the connection to the database is lost again and again");
		finish_job(job);
	}
}

static void
free_reader(Reader *reader)
{
	free(reader->snapshot);
	reader->snapshot = NULL;
	reader->feed = NULL;
	reader->exported = false;
}


/* ----------------------------------------------------------------
 *		The snapshot
 * ----------------------------------------------------------------
 */

static Reader *
reader_of(const GwFeed *feed)
{
	for (int i = 0; i < gw_settings.readers; i++)
	{
		if (readers[i].feed == feed && !readers[i].exported)
			return &readers[i];
	}
	return NULL;
}

static void
begin_round(GwFeed *feed, Reader *reader)
{
	reader->feed = feed;
	feed->exporting = true;
	feed->export_wanted = true;
	client_subscription_pause(feed->subscription);
	if (client_subscription_is_idle(feed->subscription))
		gw_round_export(feed);
}

void
gw_rounds_continue(void)
{
	for (GwFeed *feed = gw_feeds; feed != NULL; feed = feed->next)
	{
		if (feed->jobs == NULL || feed->state != GW_FOLLOWING || feed->exporting)
			continue;
		for (int i = 0; i < gw_settings.readers; i++)
		{
			Reader	   *reader = &readers[i];

			if (reader->feed == NULL && client_connection_is_open(reader->connection))
			{
				begin_round(feed, reader);
				break;
			}
		}
	}
}

static void
end_export(GwFeed *feed)
{
	feed->exporting = false;
	feed->export_wanted = false;
	client_subscription_resume(feed->subscription);
}

/* The feed's connection fails in the middle, with an error: make a new session. */
static void
export_failed(GwFeed *feed, const PGresult *result)
{
	if (result != NULL)
		client_connection_restart(client_subscription_connection(feed->subscription), client_result_message(result));
}

static void
committed(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;

	if (!client_result_ok(result))
	{
		export_failed(feed, result);
		return;
	}
	end_export(feed);
	gw_rounds_continue();
}

static void
imported(void *arg, const PGresult *result)
{
	Reader	   *reader = arg;
	GwFeed	   *feed = reader->feed;

	/* a session of the feed that came later has not exported this one */
	if (feed->exporting && reader->session == feed->session)
		client_query(client_subscription_connection(feed->subscription), "COMMIT", 0, NULL, NULL, committed, feed);
	if (result == NULL)
		return;
	if (!client_result_ok(result))
	{
		client_connection_restart(reader->connection, client_result_message(result));
		return;
	}
	next_job(reader);
}

static void
ignore(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

static void
import(Reader *reader)
{
	GwFeed	   *feed = reader->feed;
	PGconn	   *pq = client_connection_pq(reader->connection);
	char	   *literal = pq ? PQescapeLiteral(pq, reader->snapshot, strlen(reader->snapshot)) : NULL;
	char	   *sql = client_sprintf("SET TRANSACTION SNAPSHOT %s", literal ? literal : "''");

	PQfreemem(literal);
	reader->exported = true;
	reader->session = feed->session;
	reader->position = gw_ring_position(&feed->ring);
	reader->seq = feed->ring.next_seq;
	reader->jobs = feed->jobs;
	feed->jobs = NULL;
	for (GwJob *job = reader->jobs; job != NULL; job = job->next)
	{
		job->running = true;
		job->epoch = feed->epoch;
	}
	client_query(reader->connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL, NULL, ignore, NULL);
	client_query(reader->connection, sql, 0, NULL, NULL, imported, reader);
	free(sql);
}

static void
got_snapshot(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;
	Reader	   *reader = reader_of(feed);

	if (!client_result_ok(result))
	{
		export_failed(feed, result);
		return;
	}
	if (reader != NULL)
		reader->snapshot = client_strdup(PQgetvalue(result, 0, 0));
}

static void
poll_for_export(GwFeed *feed)
{
	const char *const values[] = {feed->live};

	client_query(client_subscription_connection(feed->subscription),
				 "SELECT operation, old, new, lsn, pg_catalog.to_jsonb(omitted) FROM derive.poll($1, 1000)",
				 1, NULL, values, export_polled, feed);
}

static void
export_polled(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;
	Reader	   *reader = reader_of(feed);

	if (!client_result_ok(result))
	{
		export_failed(feed, result);
		return;
	}
	if (!gw_feed_take(feed, result))
		return;
	if (PQntuples(result) > 0)
	{
		/* so that the ring is trimmed: there may be more than memory */
		gw_feed_publish(feed, PQntuples(result) == 1000);
		poll_for_export(feed);
		return;
	}
	gw_feed_publish(feed, false);
	if (reader != NULL && reader->snapshot != NULL && client_connection_is_open(reader->connection))
		import(reader);
	else
		client_query(client_subscription_connection(feed->subscription), "COMMIT", 0, NULL, NULL, committed, feed);
}

void
gw_round_export(GwFeed *feed)
{
	ClientConnection *connection = client_subscription_connection(feed->subscription);

	feed->export_wanted = false;
	client_query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ", 0, NULL, NULL, ignore, NULL);
	client_query(connection, "SELECT pg_catalog.pg_export_snapshot()", 0, NULL, NULL, got_snapshot, feed);
	poll_for_export(feed);
}

void
gw_rounds_feed_lost(GwFeed *feed)
{
	Reader	   *reader = reader_of(feed);

	feed->exporting = false;
	feed->export_wanted = false;
	if (reader != NULL)
		free_reader(reader);
}


/* ----------------------------------------------------------------
 *		Reading
 * ----------------------------------------------------------------
 */

static void
add_csv(ClientBuffer *text, const char *value)
{
	/* an empty text is told from a null by its quotes */
	if (*value != '\0' && strpbrk(value, "\",\n\r") == NULL)
	{
		client_buffer_add_text(text, value);
		return;
	}
	client_buffer_add_char(text, '"');
	for (; *value != '\0'; value++)
	{
		if (*value == '"')
			client_buffer_add_char(text, '"');
		client_buffer_add_char(text, *value);
	}
	client_buffer_add_char(text, '"');
}

static void
add_row(GwJob *job, const PGresult *result)
{
	switch (job->form)
	{
		case GW_FORM_EVENTS:
			client_buffer_addf(&job->text, "data: {\"operation\": \"initial\", \"new\": %s}\n\n", PQgetvalue(result, 0, 0));
			break;
		case GW_FORM_JSON:
			client_buffer_addf(&job->text, "%s%s", job->rows > 0 ? ",\n" : "", PQgetvalue(result, 0, 0));
			break;
		case GW_FORM_CSV:
			for (int i = 0; i < PQnfields(result); i++)
			{
				if (i > 0)
					client_buffer_add_char(&job->text, ',');
				if (!PQgetisnull(result, 0, i))
					add_csv(&job->text, PQgetvalue(result, 0, i));
			}
			client_buffer_add_text(&job->text, "\r\n");
	}
	job->rows++;
}

static void
begin_text(GwJob *job)
{
	const GwShape *shape = job->channel->shape;

	client_buffer_clear(&job->text);
	job->rows = 0;
	switch (job->form)
	{
		case GW_FORM_EVENTS:
			client_buffer_add_text(&job->text, "id\ndata: {\"operation\": \"reset\"}\n\n");
			break;
		case GW_FORM_JSON:
			client_buffer_add_char(&job->text, '[');
			break;
		case GW_FORM_CSV:
			for (int i = 0; i < (shape->columns ? shape->column_count : shape->view->column_count); i++)
			{
				if (i > 0)
					client_buffer_add_char(&job->text, ',');
				add_csv(&job->text, shape->view->columns[shape->columns ? shape->columns[i] : i].name);
			}
			client_buffer_add_text(&job->text, "\r\n");
	}
}

static void
end_text(GwJob *job)
{
	char		id[GW_POSITION_SIZE];

	if (job->form == GW_FORM_EVENTS)
	{
		gw_position_text(job->position, id);
		client_buffer_addf(&job->text, "id: %s\ndata: {\"id\": \"%s\", \"operation\": \"ready\", \"rows\": %" PRId64 "}\n\n",
						   id, id, job->rows);
	}
	else if (job->form == GW_FORM_JSON)
		client_buffer_add_text(&job->text, "]\n");
}

static void
end_round(void *arg, const PGresult *result)
{
	Reader	   *reader = arg;

	if (result == NULL)
		return;
	free_reader(reader);
	gw_rounds_continue();
}

static void
job_rolled_back(void *arg, const PGresult *result)
{
	Reader	   *reader = arg;
	GwJob	   *job = reader->jobs;

	if (result == NULL)
		return;
	if (!client_result_ok(result))
	{
		client_connection_restart(reader->connection, client_result_message(result));
		return;
	}
	reader->jobs = job->next;
	if (job->status == 0)
	{
		job->status = 200;
		job->position = reader->position;
		job->seq = reader->seq;
		end_text(job);
		job->blob = gw_blob_create_result(&job->text);
	}
	finish_job(job);
	next_job(reader);
}

static int
status_of(const PGresult *result)
{
	const char *sqlstate = client_result_sqlstate(result);

	return strcmp(sqlstate, "42501") == 0 ? 403 :
		strcmp(sqlstate, "57014") == 0 ? 503 :
		strncmp(sqlstate, "42", 2) == 0 ? 409 : 500;
}

/* Bytes of all results: of those that are read now, and of those that are not sent to all yet. */
static int64_t
bytes_of_results(void)
{
	int64_t		result = gw_result_bytes;

	for (int i = 0; i < gw_settings.readers; i++)
		result += readers[i].exported && readers[i].jobs != NULL ? (int64_t) readers[i].jobs->text.length : 0;
	return result;
}

static void
got_row(void *arg, const PGresult *result)
{
	Reader	   *reader = arg;
	GwJob	   *job = reader->jobs;

	if (result == NULL)
		return;
	if (PQresultStatus(result) == PGRES_SINGLE_TUPLE)
	{
		if (job->status != 0)
			return;
		if (job->rows == gw_settings.max_rows || (int64_t) job->text.length > gw_settings.max_result)
		{
			client_buffer_free(&job->text);
			fail_job(job, 413, "there are more rows, or bytes, than are sent at once; use conditions, select or limit");
		}
		else if (bytes_of_results() > gw_settings.result_memory)
		{
			client_buffer_free(&job->text);
			fail_job(job, 503, "too many rows wait for their clients (result_memory)");
		}
		else
			add_row(job, result);
		return;
	}
	/* after the role was refused, this is an error that says nothing */
	if (!client_result_ok(result) && job->status == 0)
		fail_job(job, status_of(result), client_result_message(result));
}

static void
role_is_set(void *arg, const PGresult *result)
{
	Reader	   *reader = arg;

	if (result != NULL && !client_result_ok(result))
		fail_job(reader->jobs, status_of(result), client_result_message(result));
}

/* Its statements are sent one after the other; after one that fails the others do nothing. */
static void
next_job(Reader *reader)
{
	GwJob	   *job;
	char	   *sql;
	int			count;
	Oid		   *types;
	const char **values;
	const char *role[1];
	int64_t		limit;

	while ((job = reader->jobs) != NULL && job->users == 0)
	{
		reader->jobs = job->next;
		free_job(job);
	}
	if (job == NULL)
	{
		client_query(reader->connection, "COMMIT", 0, NULL, NULL, end_round, reader);
		return;
	}
	job->status = 0;
	begin_text(job);
	gw_metrics.reads++;
	role[0] = job->role;
	limit = job->limit >= 0 && job->limit <= gw_settings.max_rows ? job->limit : gw_settings.max_rows + 1;
	sql = gw_shape_query(job->channel->shape, job->form == GW_FORM_CSV, limit, job->order_column, job->descending, &count, &types, &values);
	client_query(reader->connection, "SAVEPOINT job", 0, NULL, NULL, ignore, NULL);
	client_query(reader->connection, "SELECT pg_catalog.set_config('role', $1, true)", 1, NULL, role, role_is_set, reader);
	client_query_rows(reader->connection, sql, count, types, values, got_row, reader);
	client_query(reader->connection, "ROLLBACK TO SAVEPOINT job", 0, NULL, NULL, job_rolled_back, reader);
	free(sql);
	free(types);
	free(values);
}


/* ----------------------------------------------------------------
 *		Readers
 * ----------------------------------------------------------------
 */

static void
connected(void *arg)
{
	Reader	   *reader = arg;
	char		timeout[32];
	const char *const values[] = {timeout};

	(void) snprintf(timeout, sizeof(timeout), "%" PRId64, gw_settings.query_timeout);
	client_query(reader->connection, "SELECT pg_catalog.set_config('statement_timeout', $1, false)", 1, NULL, values, ignore, NULL);
	gw_rounds_continue();
}

static void
disconnected(void *arg, const char *why)
{
	Reader	   *reader = arg;

	(void) why;
	if (reader->feed != NULL)
	{
		give_back(reader);
		free_reader(reader);
	}
}

void
gw_rounds_start(ClientLoop *loop)
{
	readers = client_alloc((size_t) gw_settings.readers * sizeof(Reader));
	for (int i = 0; i < gw_settings.readers; i++)
	{
		Reader	   *reader = &readers[i];
		ClientConnectionHandlers handlers = {connected, disconnected, NULL, reader};

		reader->connection = client_connection_create(loop, "reader", gw_settings.database, gw_settings.name, &handlers);
	}
}

bool
gw_round_reads(const GwFeed *feed)
{
	for (int i = 0; i < gw_settings.readers; i++)
	{
		if (readers[i].feed == feed)
			return true;
	}
	return false;
}
