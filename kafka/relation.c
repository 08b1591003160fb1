/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  The tables, topics and views that go to Kafka: see relation.h.
 *
 * What the catalog is asked for before there is a stream must come out as the
 * stream has it, byte for byte: columns, key, and rows.  So the query below follows
 * key_of() in src/capture/json_stream.c and derive_json_append_value() in
 * src/capture/json_text.c, and a test compares them (test/t/084_kafka.pl).
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "client/log.h"
#include "client/memory.h"
#include "client/options.h"
#include "database.h"
#include "relation.h"

static const char *const look_up_sql =
"WITH RECURSIVE r AS (\n"
"	SELECT c.oid, c.relkind, c.relreplident, c.relispopulated, c.relpersistence\n"
"	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n"
"	WHERE n.nspname = $1 AND c.relname = $2 AND n.nspname NOT IN ('derive_state', 'pg_catalog', 'information_schema')\n"
"), k AS (\n"
"	SELECT i.indrelid, i.indkey, i.indnkeyatts, i.indnullsnotdistinct\n"
"	FROM pg_index i JOIN r ON r.oid = i.indrelid\n"
"	WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indexprs IS NULL AND i.indpred IS NULL\n"
"	AND CASE r.relreplident WHEN 'f' THEN true WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END\n"
"	ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1\n"
"), base AS (\n"
"	SELECT a.attnum, a.atttypid AS type FROM pg_attribute a JOIN r ON r.oid = a.attrelid WHERE a.attnum > 0\n"
"	UNION ALL\n"
"	SELECT b.attnum, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'\n"
"), a AS (\n"
"	SELECT a.attnum, a.attname, a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid\n"
"			AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated) AS never_null, to_json(a.attname::text)::text AS name,\n"
"		to_json(format_type(a.atttypid, a.atttypmod))::text AS type, b.type::regtype::text AS base\n"
"	FROM pg_attribute a JOIN r ON r.oid = a.attrelid\n"
"		JOIN base b ON b.attnum = a.attnum JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'\n"
"	WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated IN ('', 's')\n"
"), c AS (\n"
"	SELECT a.*, CASE\n"
"			WHEN base IN ('boolean', 'smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric',\n"
"				'date', 'timestamp without time zone', 'timestamp with time zone') THEN 'to_json(t.%I)::text'\n"
"			WHEN base = 'oid' THEN 'concat(t.%I)'\n"
"			WHEN base IN ('json', 'jsonb') THEN E'translate(t.%I::text, E''\\\\n\\\\r'', ''  '')'\n"
"			ELSE 'to_json(concat(t.%I))::text'\n"
"		END AS expression, attnum = min(attnum) OVER () AS first\n"
"	FROM a\n"
")\n"
"SELECT r.relkind, r.relreplident, r.relispopulated, r.relpersistence,\n"
"	to_json($1::text)::text, to_json($2::text)::text,\n"
"	(SELECT '[' || coalesce(string_agg('{\"name\":' || name || ',\"type\":' || type || ',\"not_null\":' || never_null::text || '}',\n"
"		',' ORDER BY attnum), '') || ']' FROM a),\n"
"	(SELECT '[' || string_agg(a.name, ',' ORDER BY i.n) || ']'\n"
"		FROM k CROSS JOIN generate_series(1, k.indnkeyatts) i(n) JOIN a ON a.attnum = k.indkey[i.n - 1]),\n"
"	(SELECT CASE WHEN bool_and(a.never_null) THEN '\"none\"' WHEN bool_and(k.indnullsnotdistinct) THEN '\"equal\"' ELSE '\"distinct\"' END\n"
"		FROM k CROSS JOIN generate_series(1, k.indnkeyatts) i(n) JOIN a ON a.attnum = k.indkey[i.n - 1]),\n"
"	(SELECT 'SELECT ' || coalesce(string_agg(format('%L || CASE WHEN num_nulls(t.%I) = 1 THEN ''null'' ELSE '\n"
"		|| expression || ' END', CASE WHEN first THEN '{' ELSE ',' END || name || ':', attname, attname), ' || ' ORDER BY attnum),\n"
"		'''{''') || ' || ''}'' FROM ONLY ' || r.oid::regclass::text || ' t' FROM c), r.oid\n"
"FROM r\n";

enum
{
	KIND, IDENTITY, POPULATED, PERSISTENCE, SCHEMA_JSON, TABLE_JSON, COLUMNS, KEY, KEY_NULLS, ROWS, RELATION_OID
};


/* ----------------------------------------------------------------
 *		Names
 * ----------------------------------------------------------------
 */

/* One name, folded to lower case unless it is quoted; returns what follows, or NULL if it is none. */
static const char *
parse_name(const char *at, char **name)
{
	ClientBuffer buffer = {0};

	if (*at == '"')
	{
		for (at++; *at != '\0'; at++)
		{
			if (*at == '"' && *++at != '"')
				break;
			client_buffer_add_char(&buffer, *at);
		}
		if (at[-1] != '"')
			buffer.length = 0;
	}
	else
	{
		for (; *at != '\0' && *at != '.' && !isspace((unsigned char) *at) && *at != '"'; at++)
			client_buffer_add_char(&buffer, (*at >= 'A' && *at <= 'Z') ? *at - 'A' + 'a' : *at);
	}
	if (buffer.length == 0)
	{
		client_buffer_free(&buffer);
		return NULL;
	}
	*name = client_buffer_take(&buffer);
	return at;
}

static void
parse_relation(const char *text, char **schema, char **table)
{
	const char *rest = parse_name(text, schema);

	if (rest != NULL && *rest == '.')
		rest = parse_name(rest + 1, table);
	else
		rest = NULL;
	if (rest == NULL || *rest != '\0')
		client_fatal("\"%s\" is no name of a relation: give schema.table", text);
}

/* Elements of a list with commas, which may be within quotes; the array ends with NULL. */
static char **
split_names(const char *list)
{
	char	  **names = client_alloc(sizeof(char *) * (strlen(list) + 2));
	int			count = 0;
	bool		quoted = false;
	const char *start = list;

	for (const char *at = list;; at++)
	{
		if (*at == '"')
			quoted = !quoted;
		if (*at == '\0' || (*at == ',' && !quoted))
		{
			const char *end = at;

			while (start < end && isspace((unsigned char) *start))
				start++;
			while (end > start && isspace((unsigned char) end[-1]))
				end--;
			if (end > start)
				names[count++] = client_strndup(start, end - start);
			start = at + 1;
		}
		if (*at == '\0')
			break;
	}
	names[count] = NULL;
	return names;
}

static Relation *
find_by_name(RelationSet *set, const char *schema, const char *table)
{
	for (int i = 0; i < set->count; i++)
	{
		if (strcmp(set->relations[i].schema, schema) == 0 && strcmp(set->relations[i].table, table) == 0)
			return &set->relations[i];
	}
	return NULL;
}

/* Kafka's topics know letters, digits, period, underscore and hyphen; all else becomes an underscore. */
static char *
topic_name(const char *source, const char *schema, const char *table)
{
	char	   *name = client_sprintf("%s.%s.%s", source, schema, table);
	char	   *end = name;

	for (const char *c = name; *c != '\0'; c++)
	{
		bool		continues = ((unsigned char) *c & 0xC0) == 0x80;	/* a character of UTF-8 */
		bool		known = isascii((unsigned char) *c) && (isalnum((unsigned char) *c) || strchr("._-", *c) != NULL);

		if (!continues)
			*end++ = known ? *c : '_';
	}
	*end = '\0';
	if (strlen(name) > 249)
		client_fatal("the Kafka topic \"%s\" would have a name of more than 249 bytes", name);
	return name;
}

void
relations_parse(RelationSet *set, const char *source, const char *relations, const char *keyless)
{
	char	  **names = split_names(relations);
	char	   *schema;
	char	   *table;

	memset(set, 0, sizeof(*set));
	for (char **name = names; *name != NULL; name++)
	{
		Relation   *relation;
		char	   *topic;

		parse_relation(*name, &schema, &table);
		if (find_by_name(set, schema, table) != NULL)
			client_fatal("relation %s is named twice", *name);
		topic = topic_name(source, schema, table);
		for (int i = 0; i < set->count; i++)
		{
			if (strcmp(set->relations[i].topic, topic) == 0)
				client_fatal("%s and %s.%s would have the same Kafka topic \"%s\"", *name,
							 set->relations[i].schema, set->relations[i].table, topic);
		}
		set->relations = client_realloc(set->relations, sizeof(Relation) * (set->count + 1));
		relation = &set->relations[set->count++];
		memset(relation, 0, sizeof(*relation));
		relation->schema = schema;
		relation->table = table;
		relation->topic = topic;
		free(*name);
	}
	free(names);
	if (set->count == 0)
		client_fatal("no relations are named");

	names = split_names(keyless ? keyless : "");
	for (char **name = names; *name != NULL; name++)
	{
		Relation   *relation;

		parse_relation(*name, &schema, &table);
		relation = find_by_name(set, schema, table);
		if (relation == NULL)
			client_fatal("keyless names %s, which is not among the relations", *name);
		relation->keyless = true;
		free(schema);
		free(table);
		free(*name);
	}
	free(names);
}

Relation *
relation_find(RelationSet *set, Span schema, Span table)
{
	Relation   *last = set->last;

	if (last && span_is(table, last->table_json) && span_is(schema, last->schema_json))
		return last;
	for (int i = 0; i < set->count; i++)
	{
		Relation   *relation = &set->relations[i];

		if (span_is(table, relation->table_json) && span_is(schema, relation->schema_json))
			return set->last = relation;
	}
	return NULL;
}


/* ----------------------------------------------------------------
 *		Other encodings than UTF-8
 * ----------------------------------------------------------------
 */

bool
stream_is_ascii(PGconn *connection)
{
	const char *encoding = PQparameterStatus(connection, "server_encoding");

	return encoding == NULL || strcmp(encoding, "UTF8") != 0;
}

/* The character of UTF-8 here, and its length. */
static unsigned
decode(const unsigned char *at, size_t left, size_t *length)
{
	unsigned	c = at[0];

	*length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
	if (*length > left)
		*length = left;
	c &= 0xFF >> (*length + 1);
	for (size_t i = 1; i < *length; i++)
		c = (c << 6) | (at[i] & 0x3F);
	return c;
}

void
json_add_ascii(ClientBuffer *buffer, Span json)
{
	size_t		length;

	for (size_t i = 0; i < json.length; i += length)
	{
		unsigned	c;

		length = 1;
		if (isascii((unsigned char) json.data[i]))
		{
			client_buffer_add_char(buffer, json.data[i]);
			continue;
		}
		c = decode((const unsigned char *) json.data + i, json.length - i, &length);
		if (c >= 0x10000)
			client_buffer_addf(buffer, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
		else
			client_buffer_addf(buffer, "\\u%04x", c);
	}
}

/* A value of the result that is JSON, as the stream would write it; for free(). */
static char *
get_json(PGconn *connection, const PGresult *result, int column)
{
	ClientBuffer buffer = {0};
	Span		value = {PQgetvalue(result, 0, column), PQgetlength(result, 0, column)};

	if (stream_is_ascii(connection))
		json_add_ascii(&buffer, value);
	else
		client_buffer_add(&buffer, value.data, value.length);
	return client_buffer_take(&buffer);
}


/* ----------------------------------------------------------------
 *		What they are like
 * ----------------------------------------------------------------
 */

static void
replace_text(char **target, char *text)
{
	free(*target);
	*target = text;
}

/* Two sets of columns have the same one only if they are the same, but for once in 2^64 times (FNV-1a). */
static void
set_schema_id(Relation *relation)
{
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	for (const char *c = relation->columns; *c != '\0'; c++)
		hash = (hash ^ (unsigned char) *c) * UINT64_C(0x100000001b3);
	snprintf(relation->schema_id, sizeof(relation->schema_id), "%016llx", (unsigned long long) hash);
}

/* The type of a column of a description, as there; the name is, too. */
static Span
type_of_column(Span columns, const char *wanted)
{
	JsonScan	scan = json_scan(columns);
	Span		column;

	while (json_next_element(&scan, &column))
	{
		if (span_is(json_member(column, span_of("name")), wanted))
			return json_member(column, span_of("type"));
	}
	return no_span();
}

static void
set_identity(Relation *relation, Span oid)
{
	ClientBuffer buffer = {0};

	client_buffer_addf(&buffer, "\"oid\":%.*s,\"key\":[", (int) oid.length, oid.data);
	for (int i = 0; i < relation->nkey; i++)
	{
		Span		type = type_of_column(span_of(relation->columns), relation->key[i]);

		client_buffer_addf(&buffer, "%s{\"name\":%s,\"type\":%.*s}", i > 0 ? "," : "", relation->key[i],
						   (int) type.length, type.data);
	}
	client_buffer_add_char(&buffer, ']');
	replace_text(&relation->identity, client_buffer_take(&buffer));
}

void
relation_set_loaded(Relation *relation, uint64_t lsn)
{
	relation->loaded = true;
	relation->loaded_lsn = lsn;
	replace_text(&relation->loaded_as, client_strdup(relation->identity));
}

void
relation_describe(Relation *relation, Span oid, Span columns, Span key, Span key_nulls)
{
	replace_text(&relation->columns, client_strndup(columns.data, columns.length));
	set_schema_id(relation);
	for (int i = 0; i < relation->nkey; i++)
		free(relation->key[i]);
	relation->nkey = 0;
	if (!relation->keyless && key.data != NULL && key.data[0] == '[')
	{
		JsonScan	scan = json_scan(key);
		Span		name;

		while (json_next_element(&scan, &name))
		{
			relation->key = client_realloc(relation->key, sizeof(char *) * (relation->nkey + 1));
			relation->key[relation->nkey++] = client_strndup(name.data, name.length);
		}
	}
	relation->key_nulls_distinct = span_is(key_nulls, "\"distinct\"");
	set_identity(relation, oid);
}

static Outcome
refuse(const Relation *relation, const char *why, const char *advice)
{
	client_log(CLIENT_ERROR, "cannot follow \"%s\".\"%s\": %s%s%s", relation->schema, relation->table, why,
			   advice ? "; " : "", advice ? advice : "");
	return OUTCOME_FAILED;
}

/* What can be said against following it. */
static Outcome
check_relation(const Relation *relation, const PGresult *result)
{
	char		kind = PQgetvalue(result, 0, KIND)[0];
	char		identity = PQgetvalue(result, 0, IDENTITY)[0];

	if (kind == 'p')
		return refuse(relation, "it is partitioned", "name its partitions");
	if (kind != 'm' && kind != 'r')
		return refuse(relation, "it is neither a table nor a materialized view", NULL);
	if (PQgetvalue(result, 0, PERSISTENCE)[0] != 'p')
		return refuse(relation, "it is not in the write-ahead log", NULL);
	if (kind == 'm' && identity != 'f')
		return refuse(relation, "its old rows are not in the log", "ALTER MATERIALIZED VIEW ... REPLICA IDENTITY FULL");
	if (PQgetvalue(result, 0, POPULATED)[0] != 't')
	{
		client_log(CLIENT_WARNING, "\"%s\".\"%s\" is not populated yet", relation->schema, relation->table);
		return OUTCOME_RETRY;
	}
	if (!relation->keyless && PQgetisnull(result, 0, KEY))
		return refuse(relation, "it has no unique index by which its rows can be known",
					  kind == 'm' || identity == 'f' ?
					  "CREATE UNIQUE INDEX, or name it in keyless" :
					  "give it a primary key, or another REPLICA IDENTITY, or name it in keyless");
	if (relation->keyless && identity != 'f' && PQgetisnull(result, 0, KEY))
		return refuse(relation, "its old rows are not in the log", "give it a primary key, or another REPLICA IDENTITY");
	return OUTCOME_OK;
}

/* What does not change from record to record. */
static void
set_source(Relation *relation, const char *source, PGconn *connection)
{
	ClientBuffer buffer = {0};
	ClientBuffer database = {0};

	client_buffer_add_json(&database, PQdb(connection));
	client_buffer_addf(&buffer, "{\"version\":\"" PG_DERIVE_VERSION "\",\"connector\":\"pg_derive\",\"name\":\"%s\",\"db\":%s,"
					   "\"schema\":%s,\"table\":%s,", source, database.data, relation->schema_json, relation->table_json);
	replace_text(&relation->source, client_buffer_take(&buffer));
	client_buffer_free(&database);
}

Outcome
relation_look_up(Relation *relation, const char *source, PGconn *connection, char **rows)
{
	const char *params[] = {relation->schema, relation->table};
	PGresult   *result;
	Outcome		outcome;
	char	   *columns;
	char	   *key;

	outcome = database_query(connection, &result, PGRES_TUPLES_OK, "look up the relation", look_up_sql, 2, params);
	if (outcome != OUTCOME_OK)
		return outcome;
	if (PQntuples(result) == 0)
		outcome = refuse(relation, "there is no such relation", NULL);
	else
		outcome = check_relation(relation, result);
	if (outcome != OUTCOME_OK)
	{
		PQclear(result);
		return outcome;
	}
	relation->is_view = PQgetvalue(result, 0, KIND)[0] == 'm';
	replace_text(&relation->schema_json, get_json(connection, result, SCHEMA_JSON));
	replace_text(&relation->table_json, get_json(connection, result, TABLE_JSON));
	set_source(relation, source, connection);
	columns = get_json(connection, result, COLUMNS);
	key = get_json(connection, result, KEY);
	relation_describe(relation, span_of(PQgetvalue(result, 0, RELATION_OID)), span_of(columns), span_of(key), span_of(PQgetvalue(result, 0, KEY_NULLS)));
	free(columns);
	free(key);
	if (rows)
		*rows = client_strdup(PQgetvalue(result, 0, ROWS));
	PQclear(result);
	return OUTCOME_OK;
}
