/*-------------------------------------------------------------------------
 *
 * append.c
 *	  Records of Kafka into a topic of the database: see sink.h.
 *
 * Offsets are kept in the database, in the transaction that appends:
 *
 *		derive_kafka.offsets			name, topic, partition: the next offset
 *		derive_kafka.dead_letters	records that were refused
 *
 * The offset is moved from the one that we know to the next: a consumer that has
 * lost a partition without having noticed moves nothing, and appends nothing.  The row
 * of the offset is locked first, so that two of them take turns.
 *
 * The tables are made by the program, and belong to its role: they are needed where
 * it is run, and must not go when the extension is dropped and made again.
 *
 * A batch is three arrays and more, in the binary format, which needs no quoting.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/memory.h"
#include "database.h"
#include "debug_point.h"
#include "sink.h"

/* OIDs of types that do not change. */
#define INT4OID 23
#define INT8OID 20
#define TEXTOID 25

/* Errors of the data, as classes of SQLSTATE and single ones. */
static const char *const refusals[] = {
	"22",						/* data exceptions: no JSON, no number */
	"23",						/* constraints of domains */
	"42703",					/* a member that is no column */
	"42804",					/* another type than the column's */
	"54",						/* too large */
	"P0001",					/* RAISE, in somebody's CHECK */
};

/*
 * Who has made the tables, or their schema, before us could have put a trigger there, which would run with our
 * rights.  A superuser is a member of every role, but does not trust all of them.
 */
static const char *const set_up_sql =
"DO $$ DECLARE stranger text; BEGIN\n"
"	PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);\n"
"	PERFORM pg_advisory_xact_lock(hashtext('pg_derive_kafka'));\n"
"	IF to_regclass('derive_kafka.dead_letters') IS NULL THEN\n"
"	CREATE SCHEMA IF NOT EXISTS derive_kafka;\n"
"	CREATE TABLE derive_kafka.offsets (\n"
"		name text, topic text, partition integer,\n"
"		next_offset bigint NOT NULL,\n"
"		changed_at timestamptz NOT NULL DEFAULT now(),\n"
"		PRIMARY KEY (name, topic, partition));\n"
"	COMMENT ON TABLE derive_kafka.offsets IS 'how far pg_derive_kafka has read partitions of Kafka';\n"
"	CREATE TABLE derive_kafka.dead_letters (\n"
"		name text, topic text, partition integer, record_offset bigint,\n"
"		key bytea, value bytea, record_time timestamptz, error text NOT NULL,\n"
"		at timestamptz NOT NULL DEFAULT now(),\n"
"		PRIMARY KEY (name, topic, partition, record_offset));\n"
"	COMMENT ON TABLE derive_kafka.dead_letters IS 'records of Kafka that could not be events';\n"
"	END IF;\n"
"	SELECT o.rolname INTO stranger FROM (\n"
"		SELECT nspowner FROM pg_namespace WHERE nspname = 'derive_kafka'\n"
"		UNION ALL SELECT relowner FROM pg_class\n"
"			WHERE oid IN (to_regclass('derive_kafka.offsets'), to_regclass('derive_kafka.dead_letters'))\n"
"	) made(owner) JOIN pg_roles o ON o.oid = owner JOIN pg_roles r ON r.rolname = current_user\n"
"	WHERE owner <> r.oid AND NOT o.rolsuper AND (r.rolsuper OR NOT pg_has_role(r.oid, owner, 'MEMBER')) LIMIT 1;\n"
"	IF FOUND THEN\n"
"		RAISE EXCEPTION 'schema derive_kafka, or a table in it, belongs to role \"%\", of which \"%\" is no member', stranger, current_user;\n"
"	END IF;\n"
"END $$";

/* Arrays: topics, partitions, the offsets that we know, and those to come. */
static const char *const move_sql =
"UPDATE derive_kafka.offsets o SET next_offset = b.next, changed_at = now()\n"
"FROM unnest($2::text[], $3::int4[], $4::int8[], $5::int8[]) b(topic, partition, known, next)\n"
"WHERE o.name = $1 AND o.topic = b.topic AND o.partition = b.partition AND o.next_offset = b.known";

/* Parameters of the statement that appends. */
enum
{
	INTO, KEYS, VALUES, TOPICS, PARTITIONS, OFFSETS, TIMES, VALUE_COLUMN, KEY_COLUMN, TOPIC_COLUMN,
	PARTITION_COLUMN, OFFSET_COLUMN, TIME_COLUMN, NPARAMS
};


/* ----------------------------------------------------------------
 *		Arrays
 * ----------------------------------------------------------------
 */

static void
add_int32(ClientBuffer *buffer, uint32_t number)
{
	number = htonl(number);
	client_buffer_add(buffer, &number, sizeof(number));
}

static void
add_int64(ClientBuffer *buffer, uint64_t number)
{
	number = htobe64(number);
	client_buffer_add(buffer, &number, sizeof(number));
}

/* An array of one dimension, of elements that may be NULL; they follow. */
static void
begin_array(ClientBuffer *buffer, uint32_t type, int count)
{
	client_buffer_clear(buffer);
	add_int32(buffer, 1);
	add_int32(buffer, 1);
	add_int32(buffer, type);
	add_int32(buffer, (uint32_t) count);
	add_int32(buffer, 1);
}

static void
add_int32_element(ClientBuffer *buffer, int32_t number)
{
	add_int32(buffer, 4);
	add_int32(buffer, (uint32_t) number);
}

static void
add_int64_element(ClientBuffer *buffer, int64_t number)
{
	add_int32(buffer, 8);
	add_int64(buffer, (uint64_t) number);
}

static void
add_text_element(ClientBuffer *buffer, const void *bytes, size_t length)
{
	add_int32(buffer, bytes ? (uint32_t) length : UINT32_MAX);
	if (bytes)
		client_buffer_add(buffer, bytes, length);
}

/* Parameters of a statement. */
typedef struct Params
{
	const char *values[NPARAMS];
	int			lengths[NPARAMS];
	int			formats[NPARAMS];
} Params;

static void
set_text(Params *params, int number, const char *value)
{
	params->values[number] = value;
	params->formats[number] = 0;
}

static void
set_binary(Params *params, int number, const ClientBuffer *buffer)
{
	params->values[number] = buffer->data;
	params->lengths[number] = (int) buffer->length;
	params->formats[number] = 1;
}


/* ----------------------------------------------------------------
 *		Connecting
 * ----------------------------------------------------------------
 */

/* The event is made of the value, and of what else the user wants; names of columns are parameters. */
static char *
make_append_sql(const SinkOptions *options)
{
	const struct
	{
		const char *column;
		int			param;
		const char *value;
	}			parts[] =

	{
		{options->key_column, KEY_COLUMN, "r.key"},
		{options->topic_column, TOPIC_COLUMN, "r.topic"},
		{options->partition_column, PARTITION_COLUMN, "r.partition"},
		{options->offset_column, OFFSET_COLUMN, "r.record_offset"},
		{options->time_column, TIME_COLUMN, "to_timestamp(r.ms / 1000.0)"},
	};
	ClientBuffer sql = {0};

	client_buffer_add_text(&sql, "SELECT count(derive.append($1::oid::regclass, ");
	if (options->value_column == NULL)
		client_buffer_add_text(&sql, "r.value::jsonb");
	else
		client_buffer_addf(&sql, "jsonb_build_object($%d::text, r.value%s)", VALUE_COLUMN + 1,
						   options->value_is_text ? "" : "::jsonb");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
	{
		if (parts[i].column)
			client_buffer_addf(&sql, " || jsonb_build_object($%d::text, %s)", parts[i].param + 1, parts[i].value);
	}
	client_buffer_add_text(&sql, ")) FROM unnest($2::text[], $3::text[], $4::text[], $5::int4[], $6::int8[], $7::int8[]) "
						   "r(key, value, topic, partition, record_offset, ms) WHERE ");
	/* every parameter has a type, also one that is not used */
	for (int i = VALUE_COLUMN; i < NPARAMS; i++)
		client_buffer_addf(&sql, "($%d::text IS NULL OR true) AND ", i + 1);
	/* a tombstone is no event, unless it is one of a column that is NULL */
	client_buffer_add_text(&sql, options->value_column ? "true" : "r.value IS NOT NULL");
	return client_buffer_take(&sql);
}

/*
 * Find the topic, as the session's search_path has it; statements that follow find what is PostgreSQL's
 * own only.  It is said here if it is none, and not at the first record.
 */
static Outcome
find_topic(Sink *sink)
{
	const char *params[] = {sink->options->into};
	PGresult   *result;
	Outcome		outcome = database_query(sink->connection, &result, PGRES_TUPLES_OK, "find the topic",
										 "SELECT oid, relkind = 'm', has_table_privilege(oid, 'INSERT'), set_config('search_path', 'pg_catalog', false) "
										 "FROM pg_class WHERE oid = $1::regclass", 1, params);

	if (outcome != OUTCOME_OK)
		return outcome;
	if (PQgetvalue(result, 0, 1)[0] != 't' || PQgetvalue(result, 0, 2)[0] != 't')
	{
		client_log(CLIENT_ERROR, PQgetvalue(result, 0, 1)[0] != 't' ? "\"%s\" is not a topic" : "\"%s\" may not be appended to",
				   sink->options->into);
		outcome = OUTCOME_FAILED;
	}
	free(sink->into);
	sink->into = client_strdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return outcome;
}

Outcome
append_open(Sink *sink)
{
	Outcome		outcome = database_connect(&sink->connection, sink->options->database, "pg_derive_kafka", NULL);

	if (outcome == OUTCOME_OK)
		outcome = database_command(sink->connection, NULL, PGRES_COMMAND_OK, "make the tables of offsets", set_up_sql);
	if (outcome == OUTCOME_OK)
		outcome = find_topic(sink);
	if (outcome == OUTCOME_OK && sink->append_sql == NULL)
		sink->append_sql = make_append_sql(sink->options);
	return outcome;
}

void
append_close(Sink *sink)
{
	PQfinish(sink->connection);
	sink->connection = NULL;
}

Outcome
append_get_offset(Sink *sink, const char *topic, int32_t partition, int64_t start, int64_t *next)
{
	char		partition_text[16];
	char		start_text[32];
	const char *params[] = {sink->options->name, topic, partition_text, start_text};
	PGresult   *result;
	Outcome		outcome;

	snprintf(partition_text, sizeof(partition_text), "%d", partition);
	snprintf(start_text, sizeof(start_text), "%lld", (long long) start);
	outcome = database_query(sink->connection, NULL, PGRES_COMMAND_OK, "set the offset of a partition",
							 "INSERT INTO derive_kafka.offsets (name, topic, partition, next_offset) VALUES ($1, $2, $3, $4) "
							 "ON CONFLICT DO NOTHING", 4, params);
	if (outcome == OUTCOME_OK)
		outcome = database_query(sink->connection, &result, PGRES_TUPLES_OK, "get the offset of a partition",
								 "SELECT next_offset FROM derive_kafka.offsets WHERE name = $1 AND topic = $2 AND partition = $3",
								 3, params);
	if (outcome != OUTCOME_OK)
		return outcome;
	*next = PQntuples(result) == 1 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : start;
	PQclear(result);
	return OUTCOME_OK;
}


/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

static bool
is_refusal(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	for (size_t i = 0; state != NULL && i < sizeof(refusals) / sizeof(refusals[0]); i++)
	{
		if (strncmp(state, refusals[i], strlen(refusals[i])) == 0)
			return true;
	}
	return false;
}

static WriteResult
failure(Sink *sink, const PGresult *result, const char *what)
{
	return database_error(sink->connection, result, what) == OUTCOME_RETRY ? WRITE_RETRY : WRITE_FAILED;
}

/* BEGIN, COMMIT, ROLLBACK. */
static WriteResult
control(Sink *sink, const char *command)
{
	PGresult   *result = PQexec(sink->connection, command);
	WriteResult write = PQresultStatus(result) == PGRES_COMMAND_OK ? WRITE_DONE : failure(sink, result, command);

	PQclear(result);
	return write;
}

/* Move the offsets of the partitions that have records in the batch. */
static WriteResult
move_offsets(Sink *sink)
{
	ClientBuffer arrays[4] = {{0}, {0}, {0}, {0}};
	Params		params = {{NULL}, {0}, {0}};
	PGresult   *result;
	WriteResult write = WRITE_DONE;
	int			count = 0;

	for (int i = 0; i < sink->nassigned; i++)
		count += sink->assigned[i].taken >= 0;
	begin_array(&arrays[0], TEXTOID, count);
	begin_array(&arrays[1], INT4OID, count);
	begin_array(&arrays[2], INT8OID, count);
	begin_array(&arrays[3], INT8OID, count);
	for (int i = 0; i < sink->nassigned; i++)
	{
		const Assigned *assigned = &sink->assigned[i];

		if (assigned->taken < 0)
			continue;
		add_text_element(&arrays[0], assigned->topic, strlen(assigned->topic));
		add_int32_element(&arrays[1], assigned->partition);
		add_int64_element(&arrays[2], assigned->next);
		add_int64_element(&arrays[3], assigned->taken);
	}
	set_text(&params, 0, sink->options->name);
	for (int i = 0; i < 4; i++)
		set_binary(&params, 1 + i, &arrays[i]);
	result = PQexecParams(sink->connection, move_sql, 5, NULL, params.values, params.lengths, params.formats, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		write = failure(sink, result, "move the offsets");
	else if (atoi(PQcmdTuples(result)) != count)
	{
		client_log(CLIENT_WARNING, "another consumer of \"%s\" has taken over", sink->options->name);
		write = WRITE_RETRY;
	}
	PQclear(result);
	for (int i = 0; i < 4; i++)
		client_buffer_free(&arrays[i]);
	return write;
}

static WriteResult
append_events(Sink *sink, rd_kafka_message_t **records, int count, char **error)
{
	static ClientBuffer arrays[6];	/* keep their memory */
	const SinkOptions *options = sink->options;
	Params		params = {{NULL}, {0}, {0}};
	PGresult   *result;
	WriteResult write = WRITE_DONE;
	static const uint32_t types[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, INT8OID, INT8OID};

	for (int i = 0; i < 6; i++)
		begin_array(&arrays[i], types[i], count);
	for (int i = 0; i < count; i++)
	{
		const rd_kafka_message_t *record = records[i];
		const char *topic = rd_kafka_topic_name(record->rkt);

		add_text_element(&arrays[0], options->key_column ? record->key : NULL, record->key_len);
		add_text_element(&arrays[1], record->payload, record->len);
		add_text_element(&arrays[2], topic, strlen(topic));
		add_int32_element(&arrays[3], record->partition);
		add_int64_element(&arrays[4], record->offset);
		add_int64_element(&arrays[5], rd_kafka_message_timestamp(record, NULL));
	}
	set_text(&params, INTO, sink->into);
	for (int i = 0; i < 6; i++)
		set_binary(&params, KEYS + i, &arrays[i]);
	set_text(&params, VALUE_COLUMN, options->value_column);
	set_text(&params, KEY_COLUMN, options->key_column);
	set_text(&params, TOPIC_COLUMN, options->topic_column);
	set_text(&params, PARTITION_COLUMN, options->partition_column);
	set_text(&params, OFFSET_COLUMN, options->offset_column);
	set_text(&params, TIME_COLUMN, options->time_column);
	result = PQexecParams(sink->connection, sink->append_sql, NPARAMS, NULL, params.values, params.lengths, params.formats, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		if (is_refusal(result))
		{
			*error = client_strdup(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
			write = WRITE_REFUSED;
		}
		else
			write = failure(sink, result, "append records");
	}
	PQclear(result);
	return write;
}

static void
take_nothing(Sink *sink)
{
	for (int i = 0; i < sink->nassigned; i++)
		sink->assigned[i].taken = -1;
}

/* How far these records bring their partitions. */
static void
take(Sink *sink, rd_kafka_message_t **records, int count)
{
	take_nothing(sink);
	for (int i = 0; i < count; i++)
		sink_find(sink, records[i])->taken = records[i]->offset + 1;
}

/* End the transaction: whatever happened, the connection is ready for the next one. */
static WriteResult
end_transaction(Sink *sink, WriteResult write)
{
	if (write == WRITE_DONE)
	{
		debug_point("before_commit");
		write = control(sink, "COMMIT");
		debug_point("after_commit");
	}
	else if (write == WRITE_REFUSED && control(sink, "ROLLBACK") != WRITE_DONE)
		write = WRITE_RETRY;
	for (int i = 0; write == WRITE_DONE && i < sink->nassigned; i++)
	{
		if (sink->assigned[i].taken >= 0)
			sink->assigned[i].next = sink->assigned[i].taken;
	}
	return write;
}

WriteResult
append_records(Sink *sink, rd_kafka_message_t **records, int count, char **error)
{
	WriteResult write = control(sink, "BEGIN");

	*error = NULL;
	take(sink, records, count);
	if (write == WRITE_DONE)
		write = move_offsets(sink);
	if (write == WRITE_DONE)
		write = append_events(sink, records, count, error);
	return end_transaction(sink, write);
}

WriteResult
append_end(Sink *sink, Assigned *assigned)
{
	WriteResult write = control(sink, "BEGIN");

	take_nothing(sink);
	assigned->taken = assigned->end;
	if (write == WRITE_DONE)
		write = move_offsets(sink);
	return end_transaction(sink, write);
}

/* bytea, in the binary format: the bytes. */
static void
set_bytes(Params *params, int number, const void *bytes, size_t length)
{
	params->values[number] = bytes;
	params->lengths[number] = (int) length;
	params->formats[number] = 1;
}

/* What is read anew may be there; a time is that of whoever has sent the record, and may be none of PostgreSQL's. */
static const char *const dead_letter_sql =
"INSERT INTO derive_kafka.dead_letters (name, topic, partition, record_offset, key, value, record_time, error)\n"
"VALUES ($1, $2, $3::int4, $4::int8, $5::bytea, $6::bytea,\n"
"	CASE WHEN $7::int8 BETWEEN 0 AND 9224318015999000 THEN to_timestamp($7::int8 / 1000.0) END, $8)\n"
"ON CONFLICT (name, topic, partition, record_offset) DO UPDATE SET key = excluded.key, value = excluded.value,\n"
"	record_time = excluded.record_time, error = excluded.error, at = now()";

static WriteResult
insert_dead_letter(Sink *sink, rd_kafka_message_t *record, const char *error)
{
	Params		params = {{NULL}, {0}, {0}};
	char		numbers[3][32];
	PGresult   *result;
	WriteResult write = WRITE_DONE;

	snprintf(numbers[0], sizeof(numbers[0]), "%d", record->partition);
	snprintf(numbers[1], sizeof(numbers[1]), "%lld", (long long) record->offset);
	snprintf(numbers[2], sizeof(numbers[2]), "%lld", (long long) rd_kafka_message_timestamp(record, NULL));
	set_text(&params, 0, sink->options->name);
	set_text(&params, 1, rd_kafka_topic_name(record->rkt));
	set_text(&params, 2, numbers[0]);
	set_text(&params, 3, numbers[1]);
	set_bytes(&params, 4, record->key, record->key_len);
	set_bytes(&params, 5, record->payload, record->len);
	set_text(&params, 6, numbers[2]);
	set_text(&params, 7, error);
	result = PQexecParams(sink->connection,
						  dead_letter_sql, 8, NULL, params.values, params.lengths, params.formats, 0);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		write = failure(sink, result, "keep a dead letter");
	PQclear(result);
	return write;
}

WriteResult
append_dead_letter(Sink *sink, rd_kafka_message_t *record, const char *error)
{
	WriteResult write = control(sink, "BEGIN");

	take(sink, &record, 1);
	if (write == WRITE_DONE)
		write = move_offsets(sink);
	if (write == WRITE_DONE)
		write = insert_dead_letter(sink, record, error);
	return end_transaction(sink, write);
}
