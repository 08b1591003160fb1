/*-------------------------------------------------------------------------
 *
 * connection.c
 *	  A connection to PostgreSQL that comes back by itself.
 *
 * States, and who makes the change:
 *
 *	WAITING ---begin_to_connect()---> CONNECTING ---continue_to_connect()---> SETTING_UP
 *	   ^                                  |                                      |
 *	   |                                  |                        settings_made()
 *	   |                                  v                                      v
 *	   +------------------------------- lost() <------------------------------ OPEN
 *
 * In SETTING_UP the queue has one query of our own, those of others are refused.  In OPEN "current" is the query
 * that the server has, and "queue" those after it.
 *
 * Handlers may queue queries and restart the connection, which calls nobody at once:
 * what a restart and a refused query have to tell is told from timers.
 *
 *-------------------------------------------------------------------------
 */
#include "connection.h"

#include "log.h"
#include "memory.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PAUSE_MS		100
#define LONGEST_PAUSE_MS	10000
#define CONNECT_TIMEOUT_MS	20000

typedef enum State
{
	WAITING,
	CONNECTING,
	SETTING_UP,
	OPEN
} State;

typedef struct Query
{
	struct Query *next;
	char	   *sql;
	int			count;
	Oid		   *types;			/* or NULL */
	char	  **values;
	bool		by_row;
	ClientResultHandler handler;
	void	   *arg;
} Query;

struct ClientConnection
{
	ClientLoop *loop;
	char	   *label;
	char	   *conninfo;		/* or NULL */
	char	   *application_name;
	ClientConnectionHandlers handlers;
	State		state;
	PGconn	   *pq;				/* NULL: WAITING */
	ClientWatch watch;
	ClientTimer timer;			/* the pause; the timeout of connecting; a
								 * restart */
	int64_t		pause_ms;
	Query	   *current;
	PGresult   *result;			/* of it, until the server is ready for the
								 * next */
	Query	   *queue;
	Query	  **queue_end;
	Query	   *refused;		/* came without a session; their handlers are
								 * still to be told */
	Query	  **refused_end;
	ClientTimer refusing;
	char	   *restart_why;	/* a restart is due */
};

static const char *const settings_sql =
"SELECT pg_catalog.set_config(name, value, false) FROM (VALUES "
"('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('bytea_output', 'hex'), "
"('extra_float_digits', '1'), ('lc_monetary', 'C'), ('xmlbinary', 'base64'), ('statement_timeout', '0'), ('lock_timeout', '0'), "
"('idle_in_transaction_session_timeout', '0'), ('default_transaction_isolation', 'read committed'), "
"('default_transaction_read_only', 'off'), "
"('search_path', 'pg_catalog')) AS s(name, value)";

static void begin_to_connect(void *arg);
static void service(void *arg, int fd, short events);


/* ----------------------------------------------------------------
 *		Queries
 * ----------------------------------------------------------------
 */

static void
free_query(Query *query)
{
	for (int i = 0; i < query->count; i++)
		free(query->values[i]);
	free(query->values);
	free(query->types);
	free(query->sql);
	free(query);
}

static void
end_query(Query *query, const PGresult *result)
{
	if (query->handler != NULL)
		query->handler(query->arg, result);
	free_query(query);
}

static void
watch(ClientConnection *connection, short events)
{
	client_watch(connection->loop, &connection->watch, PQsocket(connection->pq), events, service, connection);
}

static void
flush(ClientConnection *connection)
{
	watch(connection, PQflush(connection->pq) == 1 ? POLLIN | POLLOUT : POLLIN);
}

/* The next one in the queue.  What cannot be sent is found out when the socket is read. */
static void
send_next(ClientConnection *connection)
{
	Query	   *query = connection->queue;

	if (connection->current != NULL || query == NULL || connection->pq == NULL)
		return;
	connection->queue = query->next;
	if (connection->queue == NULL)
		connection->queue_end = &connection->queue;
	connection->current = query;
	(void) PQsendQueryParams(connection->pq, query->sql, query->count, query->types,
							 (const char *const *) query->values, NULL, NULL, 0);
	if (query->by_row)
		(void) PQsetSingleRowMode(connection->pq);
	flush(connection);
}

static Query *
new_query(bool by_row, const char *sql, int count, const Oid *types, const char *const *values,
		  ClientResultHandler handler, void *arg)
{
	Query	   *query = client_alloc(sizeof(Query));

	query->sql = client_strdup(sql);
	query->count = count;
	query->values = client_alloc((size_t) (count + 1) * sizeof(char *));
	for (int i = 0; i < count; i++)
		query->values[i] = values[i] ? client_strdup(values[i]) : NULL;
	if (types != NULL && count > 0)
	{
		query->types = client_alloc((size_t) count * sizeof(Oid));
		memcpy(query->types, types, (size_t) count * sizeof(Oid));
	}
	query->by_row = by_row;
	query->handler = handler;
	query->arg = arg;
	return query;
}

static void
append(Query ***end, Query *query)
{
	**end = query;
	*end = &query->next;
}

/* End all of a list, which is empty then, with NULL. */
static void
end_all(Query **list, Query ***end)
{
	Query	   *query = *list;

	*list = NULL;
	*end = list;
	while (query != NULL)
	{
		Query	   *next = query->next;

		end_query(query, NULL);
		query = next;
	}
}

static void
refuse(void *arg)
{
	ClientConnection *connection = arg;

	end_all(&connection->refused, &connection->refused_end);
}

static void
add_query(ClientConnection *connection, Query *query)
{
	if (client_connection_is_open(connection))
	{
		append(&connection->queue_end, query);
		send_next(connection);
		return;
	}
	append(&connection->refused_end, query);
	client_timer_set(connection->loop, &connection->refusing, 0, refuse, connection);
}


/* ----------------------------------------------------------------
 *		Connecting
 * ----------------------------------------------------------------
 */

static void
close_session(ClientConnection *connection)
{
	client_timer_clear(&connection->timer);
	client_unwatch(&connection->watch);
	PQclear(connection->result);
	connection->result = NULL;
	if (connection->pq != NULL)
		PQfinish(connection->pq);
	connection->pq = NULL;
	connection->state = WAITING;
}

/* Tell everybody, and try again after a pause. */
static void
lost(ClientConnection *connection, const char *message)
{
	bool		was_open = connection->state == OPEN;
	char	   *why = client_strdup(message);

	for (size_t end = strlen(why); end > 0 && why[end - 1] == '\n'; end--)
		why[end - 1] = '\0';
	client_log(CLIENT_WARNING, "%s: %s: %s", connection->label, was_open ? "connection lost" : "cannot connect", why);
	close_session(connection);
	free(connection->restart_why);
	connection->restart_why = NULL;
	if (was_open)
		connection->pause_ms = FIRST_PAUSE_MS;
	/* some more or less, so that not all come at the same time */
	client_timer_set(connection->loop, &connection->timer, connection->pause_ms + random() % (connection->pause_ms / 2),
					 begin_to_connect, connection);
	connection->pause_ms = connection->pause_ms * 2 < LONGEST_PAUSE_MS ? connection->pause_ms * 2 : LONGEST_PAUSE_MS;

	/* the one that was under way comes first again */
	if (connection->current != NULL)
	{
		connection->current->next = connection->queue;
		if (connection->queue == NULL)
			connection->queue_end = &connection->current->next;
		connection->queue = connection->current;
		connection->current = NULL;
	}
	end_all(&connection->queue, &connection->queue_end);
	if (was_open && connection->handlers.disconnected != NULL)
		connection->handlers.disconnected(connection->handlers.arg, why);
	free(why);
}

static void
took_too_long(void *arg)
{
	lost(arg, "no answer");
}

static void
settings_made(void *arg, const PGresult *result)
{
	ClientConnection *connection = arg;

	if (result == NULL)
		return;
	if (!client_result_ok(result))
	{
		client_connection_restart(connection, client_result_message(result));
		return;
	}
	client_timer_clear(&connection->timer);
	connection->state = OPEN;
	connection->pause_ms = FIRST_PAUSE_MS;
	if (connection->handlers.connected != NULL)
		connection->handlers.connected(connection->handlers.arg);
}

static void
continue_to_connect(ClientConnection *connection)
{
	switch (PQconnectPoll(connection->pq))
	{
		case PGRES_POLLING_READING:
			watch(connection, POLLIN);
			break;
		case PGRES_POLLING_WRITING:
			watch(connection, POLLOUT);
			break;
		case PGRES_POLLING_OK:
			(void) PQsetnonblocking(connection->pq, 1);
			connection->state = SETTING_UP;
			append(&connection->queue_end, new_query(false, settings_sql, 0, NULL, NULL, settings_made, connection));
			send_next(connection);
			break;
		default:
			lost(connection, PQerrorMessage(connection->pq));
	}
}

static void
ignore_notice(void *arg, const PGresult *result)
{
	ClientConnection *connection = arg;

	client_log(CLIENT_DEBUG, "%s: %s", connection->label, client_result_message(result));
}

static void
begin_to_connect(void *arg)
{
	ClientConnection *connection = arg;

	/* what the connection string says comes later, and counts */
	const char *const keywords[] = {"fallback_application_name", "keepalives_idle", "keepalives_interval", "keepalives_count",
	"tcp_user_timeout", "dbname", "client_encoding", NULL};
	const char *const values[] = {connection->application_name, "15", "5", "3", "30000", connection->conninfo ? connection->conninfo : "", "UTF8", NULL};

	connection->pq = PQconnectStartParams(keywords, values, 1);
	if (connection->pq == NULL)
		client_fatal("out of memory");
	connection->state = CONNECTING;
	(void) PQsetNoticeReceiver(connection->pq, ignore_notice, connection);
	if (PQstatus(connection->pq) == CONNECTION_BAD)
	{
		lost(connection, PQerrorMessage(connection->pq));
		return;
	}
	client_timer_set(connection->loop, &connection->timer, CONNECT_TIMEOUT_MS, took_too_long, connection);
	watch(connection, POLLOUT);
}


/* ----------------------------------------------------------------
 *		Results
 * ----------------------------------------------------------------
 */

static void
take_notifications(ClientConnection *connection)
{
	PGnotify   *notify;

	while (connection->pq != NULL && connection->restart_why == NULL && (notify = PQnotifies(connection->pq)) != NULL)
	{
		if (connection->handlers.notified != NULL)
			connection->handlers.notified(connection->handlers.arg, notify->relname, notify->extra);
		PQfreemem(notify);
	}
}

/*
 * A query has one result, or rows and then one.  Its handler is called when the
 * server is ready for the next one, which is sent before.
 */
static void
take_results(ClientConnection *connection)
{
	while (connection->current != NULL && connection->restart_why == NULL && !PQisBusy(connection->pq))
	{
		PGresult   *result = PQgetResult(connection->pq);

		if (PQstatus(connection->pq) == CONNECTION_BAD)
		{
			PQclear(result);
			return;
		}
		if (result == NULL)
		{
			Query	   *query = connection->current;
			PGresult   *last = connection->result;

			connection->current = NULL;
			connection->result = NULL;
			send_next(connection);
			end_query(query, last);
			PQclear(last);
		}
		else if (PQresultStatus(result) == PGRES_SINGLE_TUPLE)
		{
			connection->current->handler(connection->current->arg, result);
			PQclear(result);
		}
		else
		{
			PQclear(connection->result);
			connection->result = result;
		}
	}
}

static void
service(void *arg, int fd, short events)
{
	ClientConnection *connection = arg;

	(void) fd;
	if (connection->state == CONNECTING)
	{
		continue_to_connect(connection);
		return;
	}
	if ((events & POLLOUT) != 0)
		flush(connection);
	if ((events & (POLLIN | POLLERR | POLLHUP)) == 0)
		return;
	if (PQconsumeInput(connection->pq) == 0)
	{
		lost(connection, PQerrorMessage(connection->pq));
		return;
	}
	take_results(connection);
	if (connection->restart_why != NULL)
		return;
	take_notifications(connection);
	if (connection->restart_why == NULL && PQstatus(connection->pq) == CONNECTION_BAD)
		lost(connection, PQerrorMessage(connection->pq));
}


/* ----------------------------------------------------------------
 *		Calls
 * ----------------------------------------------------------------
 */

ClientConnection *
client_connection_create(ClientLoop *loop, const char *label, const char *conninfo,
						 const char *application_name, const ClientConnectionHandlers *handlers)
{
	ClientConnection *connection = client_alloc(sizeof(ClientConnection));

	connection->loop = loop;
	connection->label = client_strdup(label);
	connection->conninfo = conninfo ? client_strdup(conninfo) : NULL;
	connection->application_name = client_strdup(application_name);
	connection->handlers = *handlers;
	connection->pause_ms = FIRST_PAUSE_MS;
	connection->queue_end = &connection->queue;
	connection->refused_end = &connection->refused;
	client_timer_set(loop, &connection->timer, 0, begin_to_connect, connection);
	return connection;
}

void
client_connection_destroy(ClientConnection *connection)
{
	Query	   *lists[] = {connection->current, connection->queue, connection->refused};

	close_session(connection);
	client_timer_clear(&connection->refusing);
	if (connection->current != NULL)
		connection->current->next = NULL;
	for (int i = 0; i < 3; i++)
	{
		for (Query *query = lists[i], *next; query != NULL; query = next)
		{
			next = query->next;
			free_query(query);
		}
	}
	free(connection->label);
	free(connection->conninfo);
	free(connection->application_name);
	free(connection->restart_why);
	free(connection);
}

bool
client_connection_is_open(const ClientConnection *connection)
{
	return connection->state == OPEN && connection->restart_why == NULL;
}

bool
client_connection_is_idle(const ClientConnection *connection)
{
	return connection->current == NULL && connection->queue == NULL;
}

PGconn *
client_connection_pq(const ClientConnection *connection)
{
	return connection->state == OPEN ? connection->pq : NULL;
}

static void
restart(void *arg)
{
	ClientConnection *connection = arg;
	char	   *why = connection->restart_why;

	connection->restart_why = NULL;
	lost(connection, why);
	free(why);
}

void
client_connection_restart(ClientConnection *connection, const char *why)
{
	if (connection->pq == NULL || connection->restart_why != NULL)
		return;
	connection->restart_why = client_strdup(why);
	client_unwatch(&connection->watch);
	client_timer_set(connection->loop, &connection->timer, 0, restart, connection);
}

void
client_query(ClientConnection *connection, const char *sql, int count, const Oid *types,
			 const char *const *values, ClientResultHandler handler, void *arg)
{
	add_query(connection, new_query(false, sql, count, types, values, handler, arg));
}

void
client_query_rows(ClientConnection *connection, const char *sql, int count, const Oid *types,
				  const char *const *values, ClientResultHandler handler, void *arg)
{
	add_query(connection, new_query(true, sql, count, types, values, handler, arg));
}

bool
client_result_ok(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return result != NULL && (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_SINGLE_TUPLE);
}

const char *
client_result_sqlstate(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return result == NULL ? "08006" : sqlstate ? sqlstate : "";
}

const char *
client_result_message(const PGresult *result)
{
	static char message[1024];
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *whole = result ? PQresultErrorMessage(result) : "connection lost";

	(void) snprintf(message, sizeof(message), "%s", primary ? primary : whole);
	for (char *c = message; *c != '\0'; c++)
	{
		if (*c == '\n')
			*c = ' ';
	}
	return message;
}
