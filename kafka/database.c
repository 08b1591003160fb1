/*-------------------------------------------------------------------------
 *
 * database.c
 *	  Connections to PostgreSQL that wait for their answers: see database.h.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/memory.h"
#include "database.h"

static const char *const common_settings =
"SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/* Those of src/capture/json_text.c; a walsender's own are set by the plugin. */
static const char *const stream_settings =
"SET bytea_output = 'hex'; SET datestyle = 'ISO, MDY'; SET extra_float_digits = 1; "
"SET intervalstyle = 'postgres'; SET lc_monetary = 'C'; SET quote_all_identifiers = off; "
"SET search_path = pg_catalog; SET timezone = 'GMT'; SET row_security = off";

/* What passes by itself, as classes of SQLSTATE and single ones. */
static const char *const transient[] = {
	"08",						/* connection */
	"40",						/* serialization failures, deadlocks */
	"53",						/* no memory, no disk, too many connections */
	"55P03",					/* a lock is not available */
	"55006",					/* the slot is in use */
	"57",						/* shutdown, crash, cancelled */
	"58",						/* I/O errors */
	"25006",					/* read only: a standby that is not promoted
								 * yet */
};

Outcome
database_error(PGconn *connection, const PGresult *result, const char *what)
{
	const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *message = result ? PQresultErrorMessage(result) : PQerrorMessage(connection);
	bool		passes = (state == NULL && PQstatus(connection) == CONNECTION_BAD);
	char	   *line = client_strdup(message);
	size_t		length = strlen(line);

	while (length > 0 && line[length - 1] == '\n')
		line[--length] = '\0';
	for (size_t i = 0; state != NULL && i < sizeof(transient) / sizeof(transient[0]); i++)
		passes = passes || strncmp(state, transient[i], strlen(transient[i])) == 0;
	client_log(passes ? CLIENT_WARNING : CLIENT_ERROR, "could not %s: %s", what, line);
	free(line);
	return passes ? OUTCOME_RETRY : OUTCOME_FAILED;
}

static Outcome
check(PGconn *connection, PGresult *got, PGresult **result, ExecStatusType expected, const char *what)
{
	Outcome		outcome = OUTCOME_OK;

	if (result)
		*result = NULL;
	if (PQresultStatus(got) != expected)
		outcome = database_error(connection, got, what);
	if (outcome == OUTCOME_OK && result)
		*result = got;
	else
		PQclear(got);
	return outcome;
}

Outcome
database_query(PGconn *connection, PGresult **result, ExecStatusType expected,
			   const char *what, const char *sql, int nparams, const char *const *params)
{
	return check(connection, PQexecParams(connection, sql, nparams, NULL, params, NULL, NULL, 0),
				 result, expected, what);
}

Outcome
database_command(PGconn *connection, PGresult **result, ExecStatusType expected,
				 const char *what, const char *sql)
{
	return check(connection, PQexec(connection, sql), result, expected, what);
}

Outcome
database_connect(PGconn **connection, const char *conninfo, const char *name, const char *replication)
{
	const char *keywords[] = {"dbname", "fallback_application_name", "connect_timeout", "client_encoding",
	replication ? "replication" : NULL, NULL};
	const char *values[] = {conninfo, name, "10", "UTF8", replication, NULL};
	Outcome		outcome = OUTCOME_OK;

	*connection = PQconnectdbParams(keywords, values, 1);
	if (PQstatus(*connection) != CONNECTION_OK)
	{
		/* There is no SQLSTATE; a wrong password may become a right one, too. */
		(void) database_error(*connection, NULL, "connect to the database");
		outcome = OUTCOME_RETRY;
	}
	else if (!replication)
		outcome = database_command(*connection, NULL, PGRES_COMMAND_OK, "set up the session", common_settings);
	if (outcome != OUTCOME_OK)
	{
		PQfinish(*connection);
		*connection = NULL;
	}
	return outcome;
}

Outcome
database_write_as_stream(PGconn *connection)
{
	return database_command(connection, NULL, PGRES_COMMAND_OK, "set up the session", stream_settings);
}
