/*-------------------------------------------------------------------------
 *
 * connection.h
 *	  A connection to PostgreSQL that comes back by itself.
 *
 * It is made when it is created, and again whenever it is lost, after a pause that
 * doubles from 0.1 to 10 s.  A session begins with settings under which values do
 * not depend on who reads them: UTF-8, TimeZone UTC, ISO dates, floating point
 * numbers exact, search_path pg_catalog.
 *
 * Queries are queued and run one after the other; each one ends with a call of its
 * handler.  When the connection is lost, the handler of each query in the queue is
 * called with NULL, in order, then "disconnected".  Whether the query that was under
 * way has been done, nobody knows.  Nothing is sent again by itself.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "loop.h"

#include <libpq-fe.h>

typedef struct ClientConnection ClientConnection;

/* What happens to it; each may be NULL. */
typedef struct ClientConnectionHandlers
{
	void		(*connected) (void *arg);	/* a new session: LISTEN and so on
											 * are to be done again */
	void		(*disconnected) (void *arg, const char *why);	/* the queue is empty */
	void		(*notified) (void *arg, const char *channel, const char *payload);
	void	   *arg;
} ClientConnectionHandlers;

/*
 * The result of a query, which is not to be cleared; NULL: the connection was lost.
 * Of a query by client_query_rows() it is called with each row (PGRES_SINGLE_TUPLE),
 * and at the end with PGRES_TUPLES_OK without rows, or an error.
 */
typedef void (*ClientResultHandler) (void *arg, const PGresult *result);

/*
 * "label" is for lines in the log; "conninfo" is a connection string or URI, NULL:
 * all by PG* in the environment; "application_name" holds unless conninfo has one.
 */
extern ClientConnection *client_connection_create(ClientLoop *loop, const char *label, const char *conninfo,
												  const char *application_name,
												  const ClientConnectionHandlers *handlers);

/* No handler is called any more.  Not from within a handler of this connection. */
extern void client_connection_destroy(ClientConnection *connection);

/* There is a session, and queries may be queued. */
extern bool client_connection_is_open(const ClientConnection *connection);

/* No query is under way or in the queue. */
extern bool client_connection_is_idle(const ClientConnection *connection);

/* The session's libpq connection, for PQescapeIdentifier() and the like; NULL if there is none. */
extern PGconn *client_connection_pq(const ClientConnection *connection);

/* Give up the session and make a new one, for a reason that is logged. */
extern void client_connection_restart(ClientConnection *connection, const char *why);

/*
 * Queue one statement with parameters as text (NULL: a null; "types" NULL: the
 * server finds out).  Everything is copied.  Without a session the handler is called
 * with NULL.
 */
extern void client_query(ClientConnection *connection, const char *sql, int count,
						 const Oid *types, const char *const *values,
						 ClientResultHandler handler, void *arg);
extern void client_query_rows(ClientConnection *connection, const char *sql, int count,
							  const Oid *types, const char *const *values,
							  ClientResultHandler handler, void *arg);

/* Whether a result is one of success, and not NULL. */
extern bool client_result_ok(const PGresult *result);

/* Its SQLSTATE, "" if it has none; "08006" for NULL. */
extern const char *client_result_sqlstate(const PGresult *result);

/* Its message in one line, without "ERROR:"; never NULL.  Valid until the next call. */
extern const char *client_result_message(const PGresult *result);

#endif
