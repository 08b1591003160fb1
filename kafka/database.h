/*-------------------------------------------------------------------------
 *
 * database.h
 *	  Connections to PostgreSQL that wait for their answers.
 *
 * Both directions do one thing after the other, so that plain calls of libpq are
 * what they need.  A connection that breaks is not mended here: see outcome.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DATABASE_H
#define DATABASE_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "outcome.h"

/*
 * Connect, with "replication" as libpq has it (NULL: an ordinary connection), which then
 * has all texts in UTF-8 and no timeouts.  *connection is NULL unless the outcome is
 * OUTCOME_OK; to be given to PQfinish().
 */
extern Outcome database_connect(PGconn **connection, const char *conninfo, const char *name,
								const char *replication);

/* Set what values look like to what the event stream has, and row_security to off. */
extern Outcome database_write_as_stream(PGconn *connection);

/*
 * A statement with text parameters, whose result must have this status.  *result is
 * to be given to PQclear(); NULL may be passed, and is there unless the outcome is
 * OUTCOME_OK.  "what" is for the log: "could not " what.
 */
extern Outcome database_query(PGconn *connection, PGresult **result, ExecStatusType expected,
							  const char *what, const char *sql, int nparams, const char *const *params);

/* The same of a statement without parameters, in the simple protocol, as walsenders need it. */
extern Outcome database_command(PGconn *connection, PGresult **result, ExecStatusType expected,
								const char *what, const char *sql);

/* Log an error of the server or the connection, and tell by its SQLSTATE whether it may pass. */
extern Outcome database_error(PGconn *connection, const PGresult *result, const char *what);

#endif							/* DATABASE_H */
