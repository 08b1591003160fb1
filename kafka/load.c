/*-------------------------------------------------------------------------
 *
 * load.c
 *	  The rows that were there before the event stream: see source.h.
 *
 * A temporary slot exports a snapshot, and says where in the log the transactions begin
 * which that cannot see:
 *
 *		slot of the source		|------------------------------->
 *		temporary slot						|
 *		snapshot			all that		|
 *								is before	|
 *		Kafka				rows of the		| changes from here on, of those
 *							snapshot		  relations; others all along
 *
 * All rows of all relations that are to be loaded are one transaction in Kafka, and
 * with them goes the word that they are loaded.  So a crash leaves either all of it,
 * or nothing.
 *
 * Where the topic has rows already (a slot was lost, a view was replaced), rows that
 * are there come again with op "r", and keys that have no row any more are deleted.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/log.h"
#include "client/memory.h"
#include "database.h"
#include "debug_point.h"
#include "live_keys.h"
#include "source.h"

/* Signature, flags, and length of an extension, of COPY in its binary format. */
#define COPY_HEADER		19
/* Number of fields, and length of the first one. */
#define COPY_ROW_HEADER 6

/* What a load is doing. */
typedef struct Load
{
	Source	   *source;
	Relation   *relation;
	PGconn	   *connection;		/* sees the snapshot */
	LiveKeys	old_keys;		/* that have no row yet */
	ClientBuffer ascii;			/* the row, if it has to be escaped */
	bool		must_escape;
	uint64_t	rows;
} Load;

static Outcome
load_row(Load *load, Span row)
{
	Outcome		outcome;

	if (load->must_escape)
	{
		client_buffer_clear(&load->ascii);
		json_add_ascii(&load->ascii, row);
		row.data = load->ascii.data;
		row.length = load->ascii.length;
	}
	load->rows++;
	load->source->origin.changes++;
	debug_point("load");
	outcome = emit_row(load->source, load->relation, row);
	if (outcome == OUTCOME_OK && load->old_keys.count > 0)
		live_keys_remove(&load->old_keys, span_at(load->source->key.data, load->source->key.length));
	return outcome;
}

/* A message of COPY: the header comes with the first row, and the end has no field. */
static Outcome
load_message(Load *load, const char *message, int length)
{
	uint16_t	fields;
	uint32_t	size;

	if (length >= COPY_HEADER && memcmp(message, "PGCOPY\n\377\r\n\0", 11) == 0)
	{
		message += COPY_HEADER;
		length -= COPY_HEADER;
	}
	if (length < COPY_ROW_HEADER)
		return OUTCOME_OK;
	memcpy(&fields, message, sizeof(fields));
	memcpy(&size, message + 2, sizeof(size));
	if (ntohs(fields) != 1 || ntohl(size) != (uint32_t) length - COPY_ROW_HEADER)
	{
		client_log(CLIENT_ERROR, "COPY sends something unexpected");
		return OUTCOME_FAILED;
	}
	return load_row(load, span_at(message + COPY_ROW_HEADER, ntohl(size)));
}

static Outcome
copy_rows(Load *load, const char *select)
{
	char	   *command = client_sprintf("COPY (%s) TO STDOUT (FORMAT binary)", select);
	Outcome		outcome = database_command(load->connection, NULL, PGRES_COPY_OUT, "read the initial rows", command);
	char	   *message;
	int			length = -1;

	free(command);
	while (outcome == OUTCOME_OK && (length = PQgetCopyData(load->connection, &message, 0)) > 0)
	{
		outcome = load_message(load, message, length);
		PQfreemem(message);
		if (outcome == OUTCOME_OK && source_stopping)
			outcome = OUTCOME_AGAIN;
	}
	if (outcome == OUTCOME_OK)
	{
		PGresult   *result = PQgetResult(load->connection);

		if (length < -1 || PQresultStatus(result) != PGRES_COMMAND_OK)
			outcome = database_error(load->connection, length < -1 ? NULL : result, "read the initial rows");
		PQclear(result);
		PQclear(PQgetResult(load->connection));
	}
	return outcome;
}

static Outcome
delete_key(void *arg, Span key)
{
	Load	   *load = arg;

	return emit_delete_of_key(load->source, load->relation, key);
}

/* The rows of one relation, and what becomes of those that its topic had. */
static Outcome
load_relation(Load *load, const char *select)
{
	Source	   *source = load->source;
	Relation   *relation = load->relation;
	int			partitions;
	Outcome		outcome = broker_partitions(source->producer.client, relation->topic, &partitions);

	if (outcome == OUTCOME_OK)
		outcome = live_keys_read(&load->old_keys, &source->options->broker, &source->producer, relation->topic, partitions, false);
	if (outcome == OUTCOME_OK && relation->keyless && load->old_keys.records > 0)
		outcome = emit_truncate_keyless(source, relation, partitions);
	if (outcome == OUTCOME_OK)
		outcome = copy_rows(load, select);
	if (outcome == OUTCOME_OK)
		outcome = live_keys_each(&load->old_keys, delete_key, load);
	live_keys_free(&load->old_keys);
	return outcome;
}

static Outcome
load_all(Load *load, uint64_t lsn)
{
	Source	   *source = load->source;
	Outcome		outcome = producer_begin(&source->producer);

	record_origin(&source->origin, lsn, 0, no_span());
	for (int i = 0; outcome == OUTCOME_OK && i < source->relations.count; i++)
	{
		Relation   *relation = &source->relations.relations[i];
		char	   *select = NULL;

		if (relation->loaded)
			continue;
		load->relation = relation;
		load->rows = 0;
		outcome = relation_look_up(relation, source->options->name, load->connection, &select);
		if (outcome == OUTCOME_OK)
			outcome = load_relation(load, select);
		free(select);
		if (outcome != OUTCOME_OK)
			break;
		relation_set_loaded(relation, lsn);
		outcome = control_write_loaded(&source->control, &source->producer, relation);
		if (outcome == OUTCOME_OK)
			outcome = control_write_schema(&source->control, &source->producer, relation);
		client_log(CLIENT_INFO, "\"%s\".\"%s\": %llu initial rows", relation->schema, relation->table,
				   (unsigned long long) load->rows);
	}
	if (outcome == OUTCOME_OK)
		outcome = control_write_position(&source->control, &source->producer, source->control.lsn,
										 source->timeline, source->system);
	if (outcome == OUTCOME_OK)
		outcome = producer_commit(&source->producer);
	debug_point("loaded");
	return outcome;
}

static Outcome
see_snapshot(PGconn *connection, const char *snapshot)
{
	Outcome		outcome = database_command(connection, NULL, PGRES_COMMAND_OK, "read the initial rows",
										   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
	char	   *command = client_sprintf("SET TRANSACTION SNAPSHOT '%s'", snapshot);

	if (outcome == OUTCOME_OK)
		outcome = database_command(connection, NULL, PGRES_COMMAND_OK, "read the initial rows", command);
	free(command);
	return outcome;
}

Outcome
load_relations(Source *source)
{
	Load		load = {.source = source};
	Stream		stream = {0};
	char	   *slot = client_sprintf("kafka_%s_%d", source->options->name, (int) getpid());
	char	   *snapshot = NULL;
	uint64_t	lsn = 0;
	Outcome		outcome = stream_open(&stream, source->options->database, "pg_derive_kafka");

	client_log(CLIENT_INFO, "waiting for the end of transactions that run, to take a snapshot");
	if (outcome == OUTCOME_OK)
		outcome = stream_create_slot(&stream, slot, true, &lsn, &snapshot);
	if (outcome == OUTCOME_OK)
		outcome = database_connect(&load.connection, source->options->database, "pg_derive_kafka", NULL);
	if (outcome == OUTCOME_OK)
		outcome = database_write_as_stream(load.connection);
	if (outcome == OUTCOME_OK)
		outcome = see_snapshot(load.connection, snapshot);
	if (outcome == OUTCOME_OK)
	{
		load.must_escape = stream_is_ascii(load.connection);
		outcome = load_all(&load, lsn);
	}
	client_buffer_free(&load.ascii);
	PQfinish(load.connection);
	stream_close(&stream);
	free(snapshot);
	free(slot);
	return outcome;
}
