/*-------------------------------------------------------------------------
 *
 * json_stream.c
 *	  The readable event stream: changes as JSON, one event per line.
 *
 * For anybody who reads a slot with the plugin pg_derive (pg_recvlogical,
 * pg_logical_slot_get_changes()) except our own worker.  Format 1:
 *
 *	{"event":"begin","xid":7,"commit_lsn":"0/1A","commit_time":"..."}
 *	{"event":"insert","xid":7,"commit_lsn":"0/1A",
 *	 "schema":"public","table":"t","new":{"id":1,"name":"x"}}
 *	{"event":"update",... ,"old":{...},"new":{...},"unchanged":["big"]}
 *	{"event":"delete",... ,"old":{...}}
 *	{"event":"truncate",... ,"tables":[{"schema":"public","table":"t"}],
 *	 "cascade":false,"restart_identity":false}
 *	{"event":"message",... ,"transactional":true,"prefix":"p","content":"c"}
 *	{"event":"relation",... ,"schema":"public","table":"t","oid":16384,
 *	 "columns":[{"name":"id","type":"integer","not_null":true}],
 *	 "key":["id"],"key_nulls":"none"}
 *	{"event":"commit",... ,"commit_time":"...","end_lsn":"0/1B"}
 *
 * The events of a transaction come together, between its begin and its
 * commit, in the order in which they happened; transactions in the order of
 * their commits.  A message that is not part of a transaction stands alone and
 * has "lsn" in place of xid and commit_lsn.
 *
 * "old" is the whole row under REPLICA IDENTITY FULL, else the columns of the
 * replica identity, and missing from an update that did not change those.  A
 * TOASTed value that an update left alone is not in the log: it is taken from
 * "old" where that is the whole row; else it is missing from "new" and its
 * column is listed in "unchanged".
 *
 * A value that cannot be written (see json_text.c) is missing, and its column
 * listed in "omitted": whatever is in the tables, the stream goes on.  The same
 * goes for prefix and content of a message.
 *
 * Values: integers, oid, float and numeric are JSON numbers, except for NaN and
 * infinities, which are strings; boolean; json and jsonb are embedded (line
 * breaks between their tokens become spaces); dates and times are ISO 8601
 * strings, as to_json() writes them, in UTC; everything else is the type's text as
 * a string, under fixed settings.  Domains are written as their base types.  SQL NULL is null.
 *
 * Options: see the table below.  Patterns of tables and exclude are lists of
 * schema.table, with * for any characters, and a backslash before a comma,
 * period, asterisk, backslash or blank that is part of a name.
 *
 * Views.  The option views names materialized views (relkind 'm') to follow, in
 * the form of tables; it then takes the option tables to send anything else.
 * pg_derive's worker marks its transactions as not to be replicated; with this
 * option they pass also where origin is none.  What a whole new set of rows is
 * written to, by the build of a view or by REFRESH, is a new heap that takes the
 * view's place: it comes as a truncate of the view and inserts.  Rewrites of
 * other tables change no rows and are never sent.  A view that takes the place of another,
 * by derive.replace_view(), was followed under its own name, if it was wanted; then
 * comes
 *
 *	{"event":"replace",... ,"schema":"public","table":"v",
 *	 "with":{"schema":"public","table":"v_replacement"}}
 *
 * and from there on v has the rows that v_replacement had.  That a maintained view is
 * about to be filled is known from a message in the log, so that the truncate
 * comes even if there are no rows; for REFRESH, the first row tells.
 *
 * What pg_derive keeps for itself in schema derive_state is never sent.
 *
 * Relations.  With the option relations, what a relation is like comes before the
 * first of its changes, and again before the first one after that was altered, from
 * the catalog as it was there.  "key" is the unique index by which a reader can know
 * a row (see key_of()), null if there is none; "key_nulls" whether several rows can
 * have NULLs in it ("distinct"), one row can ("equal"), or none ("none").
 *
 * Joined.  A message to the reader costs the server and him a system call each, which is
 * more than most events.  With the option joined, a message has several events of a
 * transaction, with line feeds between them.
 *
 * Transactions of which nothing is sent are left out, unless include_empty is
 * set; so begin is sent late, with the first event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "capture/json_stream.h"
#include "capture/json_text.h"

/* A schema.table pattern; both halves keep their backslashes. */
typedef struct Pattern
{
	char	   *schema;
	char	   *table;
} Pattern;

typedef struct JsonStream
{
	MemoryContext event_cxt;	/* reset after each event */
	List	   *tables;			/* of Pattern *; NIL: all */
	List	   *exclude;		/* of Pattern * */
	List	   *views;			/* of Pattern *; NIL: no difference is made
								 * between tables and views */
	List	   *replaced;		/* of Oid: new heaps whose truncate was sent
								 * in the current transaction, and views for
								 * which it was sent ahead; in txn_cxt */
	MemoryContext txn_cxt;		/* reset with each transaction */
	bool		include_xids;
	bool		include_lsns;
	bool		include_times;
	bool		include_empty;
	bool		relations;		/* say what relations are like */
	HTAB	   *described;		/* if so: of Described, by OID */
	bool		origin_none;	/* only what was written here, by users */
	bool		joined;			/* a message may have several events */
	bool		open;			/* if so: there is one, to which more can be
								 * added */
	bool		begun;			/* the begin of the current transaction was
								 * sent */
} JsonStream;

/* ---------- options ---------- */

typedef struct JsonOption
{
	const char *name;
	void		(*parse) (JsonStream *stream, const char *name, const char *value, size_t field);
	size_t		field;			/* in JsonStream, for parse */
} JsonOption;

static void parse_boolean(JsonStream *stream, const char *name, const char *value, size_t field);
static void parse_format(JsonStream *stream, const char *name, const char *value, size_t field);
static void parse_origin(JsonStream *stream, const char *name, const char *value, size_t field);
static void parse_patterns(JsonStream *stream, const char *name, const char *value, size_t field);

static const JsonOption json_options[] = {
	{"exclude", parse_patterns, offsetof(JsonStream, exclude)},
	{"format", parse_format, 0},
	{"include_empty", parse_boolean, offsetof(JsonStream, include_empty)},
	{"include_lsns", parse_boolean, offsetof(JsonStream, include_lsns)},
	{"include_times", parse_boolean, offsetof(JsonStream, include_times)},
	{"include_xids", parse_boolean, offsetof(JsonStream, include_xids)},
	{"joined", parse_boolean, offsetof(JsonStream, joined)},
	{"origin", parse_origin, 0},
	{"relations", parse_boolean, offsetof(JsonStream, relations)},
	{"tables", parse_patterns, offsetof(JsonStream, tables)},
	{"views", parse_patterns, offsetof(JsonStream, views)},
};

static void
bad_value(const char *name, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\" of output plugin \"%s\": \"%s\"",
					name, "pg_derive", value),
			 errhint("%s", hint)));
}

static void
parse_boolean(JsonStream *stream, const char *name, const char *value, size_t field)
{
	if (!parse_bool(value, (bool *) ((char *) stream + field)))
		bad_value(name, value, "Valid values are on and off.");
}

static void
parse_format(JsonStream *stream, const char *name, const char *value, size_t field)
{
	if (strcmp(value, "1") != 0)
		bad_value(name, value, "The only format is 1.");
}

static void
parse_origin(JsonStream *stream, const char *name, const char *value, size_t field)
{
	if (pg_strcasecmp(value, "any") == 0)
		stream->origin_none = false;
	else if (pg_strcasecmp(value, "none") == 0)
		stream->origin_none = true;
	else
		bad_value(name, value, "Valid values are any and none.");
}

/* Find c outside of backslash escapes; or the end of the string. */
static const char *
find_plain(const char *s, char c)
{
	while (*s != '\0' && *s != c)
		s += (s[0] == '\\' && s[1] != '\0') ? 2 : 1;
	return s;
}

/* Copy without blanks at both ends (an escaped blank at the end stays). */
static char *
trimmed(const char *start, const char *end)
{
	while (start < end && isspace((unsigned char) *start))
		start++;
	while (end > start && isspace((unsigned char) end[-1]) &&
		   !(end - 1 > start && end[-2] == '\\'))
		end--;
	return pnstrdup(start, end - start);
}

static void
parse_patterns(JsonStream *stream, const char *name, const char *value, size_t field)
{
	List	  **patterns = (List **) ((char *) stream + field);
	const char *item = value;

	for (;;)
	{
		const char *end = find_plain(item, ',');
		const char *dot = find_plain(item, '.');
		Pattern    *pattern = palloc(sizeof(Pattern));

		if (dot >= end)
			bad_value(name, value, "Give a comma-separated list of schema.table, where * stands for any characters.");
		pattern->schema = trimmed(item, dot);
		pattern->table = trimmed(dot + 1, end);
		if (pattern->schema[0] == '\0' || pattern->table[0] == '\0' ||
			*find_plain(pattern->table, '.') != '\0')
			bad_value(name, value, "Give a comma-separated list of schema.table, where * stands for any characters.");
		*patterns = lappend(*patterns, pattern);
		if (*end == '\0')
			return;
		item = end + 1;
	}
}

static void
unknown_option(const char *name)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(json_options); i++)
		appendStringInfo(&list, "%s\"%s\"", i ? ", " : "", json_options[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\" for output plugin \"%s\"", name, "pg_derive"),
			 errhint("Valid options are %s.", list.data)));
}

static void
parse_option(JsonStream *stream, DefElem *option)
{
	for (int i = 0; i < lengthof(json_options); i++)
	{
		const JsonOption *known = &json_options[i];
		const char *value;

		if (strcmp(known->name, option->defname) != 0)
			continue;
		/* pg_recvlogical -o name, without a value, means true */
		value = option->arg ? strVal(option->arg) : "on";
		known->parse(stream, known->name, value, known->field);
		return;
	}
	unknown_option(option->defname);
}

/* ---------- which tables ---------- */

/* Does the name match a pattern with * and backslash escapes? */
static bool
name_matches(const char *pattern, const char *name)
{
	const char *star = NULL;	/* behind the last * that was passed */
	const char *retry = NULL;	/* where its rest was last tried */

	while (*name != '\0')
	{
		const char *p = pattern;

		if (*p == '*')
		{
			star = pattern = p + 1;
			retry = name;
			continue;
		}
		if (*p == '\\' && p[1] != '\0')
			p++;
		if (*p == *name)
		{
			pattern = p + 1;
			name++;
		}
		else if (star != NULL)
		{
			pattern = star;
			name = ++retry;
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool
any_matches(List *patterns, const char *schema, const char *table)
{
	ListCell   *lc;

	foreach(lc, patterns)
	{
		Pattern    *pattern = lfirst(lc);

		if (name_matches(pattern->schema, schema) && name_matches(pattern->table, table))
			return true;
	}
	return false;
}

static const char *
schema_of(Relation relation)
{
	const char *schema = get_namespace_name(RelationGetNamespace(relation));

	return schema ? schema : "";
}

static bool
wanted(JsonStream *stream, Relation relation)
{
	const char *table = RelationGetRelationName(relation);
	const char *schema = schema_of(relation);
	List	   *patterns = stream->tables;

	if (strcmp(schema, "derive_state") == 0)
		return false;
	if (stream->views != NIL)
	{
		if (relation->rd_rel->relkind == RELKIND_MATVIEW)
			patterns = stream->views;
		else if (patterns == NIL)
			return false;
	}
	return (patterns == NIL || any_matches(patterns, schema, table)) &&
		!any_matches(stream->exclude, schema, table);
}

/* ---------- parts of an event ---------- */

static void
append_key(StringInfo out, const char *key)
{
	/* after an opening brace or a colon no comma is due */
	if (out->data[out->len - 1] != '{')
		appendStringInfoChar(out, ',');
	derive_json_append_name(out, key);
	appendStringInfoChar(out, ':');
}

/* A name, or anything else that is short. */
static void
append_string(StringInfo out, const char *key, const char *value)
{
	append_key(out, key);
	derive_json_append_name(out, value);
}

static void
append_bool(StringInfo out, const char *key, bool value)
{
	append_key(out, key);
	appendStringInfoString(out, value ? "true" : "false");
}

static void
append_lsn(StringInfo out, const char *key, XLogRecPtr lsn)
{
	append_key(out, key);
	appendStringInfo(out, "\"%X/%X\"", LSN_FORMAT_ARGS(lsn));
}

static void
append_time(StringInfo out, const char *key, TimestampTz time)
{
	char		buffer[MAXDATELEN + 1];

	append_string(out, key,
				  JsonEncodeDateTime(buffer, TimestampTzGetDatum(time), TIMESTAMPTZOID, NULL));
}

static void
append_names(StringInfo out, const char *key, List *names)
{
	ListCell   *lc;

	if (names == NIL)
		return;
	append_key(out, key);
	foreach(lc, names)
	{
		appendStringInfoChar(out, foreach_current_index(lc) ? ',' : '[');
		derive_json_append_name(out, lfirst(lc));
	}
	appendStringInfoChar(out, ']');
}

/* Take back what was appended since. */
static void
cut(StringInfo out, int len)
{
	out->len = len;
	out->data[len] = '\0';
}

/* ---------- rows ---------- */

/* Columns that an event does not have: of char *. */
typedef struct Missing
{
	List	   *unchanged;
	List	   *omitted;
} Missing;

static List *
add_name(List *names, char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return names;
	}
	return lappend(names, name);
}

static bool
is_unchanged_toast(Form_pg_attribute att, Datum value)
{
	return att->attlen == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/* Does the log carry the column? */
static bool
is_logged(Form_pg_attribute att)
{
	return !att->attisdropped &&
		(att->attgenerated == '\0' || att->attgenerated == ATTRIBUTE_GENERATED_STORED);
}

/*
 * One row as an object.  keys_only: the columns outside of the replica
 * identity are null because they were not logged, leave them out.  fallback: a
 * whole old row for unchanged TOASTed values, or NULL.  Columns whose values
 * are nowhere, or cannot be written, are collected in *missing.
 */
static void
append_row(StringInfo out, TupleDesc desc, HeapTuple row, bool keys_only,
		   HeapTuple fallback, Missing *missing)
{
	appendStringInfoChar(out, '{');
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value;
		int			len = out->len;

		if (!is_logged(att))
			continue;
		value = heap_getattr(row, i + 1, desc, &isnull);
		if (isnull && keys_only)
			continue;
		if (!isnull && is_unchanged_toast(att, value) && fallback != NULL)
			value = heap_getattr(fallback, i + 1, desc, &isnull);
		if (!isnull && is_unchanged_toast(att, value))
		{
			missing->unchanged = lappend(missing->unchanged, NameStr(att->attname));
			continue;
		}
		append_key(out, NameStr(att->attname));
		if (isnull)
			appendStringInfoString(out, "null");
		else if (!derive_json_append_value(out, att->atttypid, value))
		{
			cut(out, len);
			missing->omitted = add_name(missing->omitted, NameStr(att->attname));
		}
	}
	appendStringInfoChar(out, '}');
}

static void
append_rows(StringInfo out, Relation relation, HeapTuple oldrow, HeapTuple newrow)
{
	TupleDesc	desc = RelationGetDescr(relation);
	bool		full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	Missing		missing = {NIL, NIL};

	if (oldrow != NULL)
	{
		append_key(out, "old");
		append_row(out, desc, oldrow, !full, NULL, &missing);
	}
	if (newrow != NULL)
	{
		append_key(out, "new");
		append_row(out, desc, newrow, false, full ? oldrow : NULL, &missing);
	}
	append_names(out, "unchanged", missing.unchanged);
	append_names(out, "omitted", missing.omitted);
}

static void
append_table(StringInfo out, Relation relation)
{
	append_string(out, "schema", schema_of(relation));
	append_string(out, "table", RelationGetRelationName(relation));
}

/* ---------- what relations are like ---------- */

/* What was said of a relation. */
typedef struct Described
{
	Oid			relid;			/* key of the hash table */
	bool		valid;			/* nothing has changed since */
	char	   *said;			/* NULL: nothing */
} Described;

/* Of the stream that this process decodes; NULL: it does not say. */
static HTAB *described = NULL;

static void
forget_described(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Described  *entry;

	if (described == NULL)
		return;
	if (OidIsValid(relid))
	{
		entry = hash_search(described, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, described);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

static void
end_described(void *arg)
{
	described = NULL;
}

/* The callback cannot be taken back, and so is registered once in a process. */
static void
begin_described(LogicalDecodingContext *ctx, JsonStream *stream)
{
	static bool registered = false;
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Described),.hcxt = ctx->context};
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	stream->described = hash_create("pg_derive described relations", 64, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	described = stream->described;
	callback->func = end_described;
	MemoryContextRegisterResetCallback(ctx->context, callback);
	if (!registered)
		CacheRegisterRelcacheCallback(forget_described, (Datum) 0);
	registered = true;
}

/* Does a reader know rows by this index?  The log must have its columns of each old row. */
static bool
is_key(Relation relation, Form_pg_index index, HeapTuple tuple)
{
	if (!index->indisunique || !index->indimmediate || !index->indisvalid ||
		!heap_attisnull(tuple, Anum_pg_index_indexprs, NULL) ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return false;
	switch (relation->rd_rel->relreplident)
	{
		case REPLICA_IDENTITY_FULL:
			return true;
		case REPLICA_IDENTITY_DEFAULT:
			return index->indisprimary;
		case REPLICA_IDENTITY_INDEX:
			return index->indisreplident;
		default:
			return false;
	}
}

/* The index that is the key, to be closed; the primary key before others, which are taken in the order of their OIDs. */
static Relation
key_of(Relation relation)
{
	Relation	key = NULL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(relation))
	{
		Relation	index = RelationIdGetRelation(lfirst_oid(lc));

		if (!RelationIsValid(index))
			continue;
		if (!is_key(relation, index->rd_index, index->rd_indextuple) ||
			(key != NULL && !index->rd_index->indisprimary))
		{
			RelationClose(index);
			continue;
		}
		if (key != NULL)
			RelationClose(key);
		key = index;
	}
	return key;
}

static void
append_key_columns(StringInfo out, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Relation	key = key_of(relation);
	bool		nullable = false;

	append_key(out, "key");
	if (key == NULL)
	{
		appendStringInfoString(out, "null");
		return;
	}
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(key); i++)
	{
		int			attno = key->rd_index->indkey.values[i] - 1;

		appendStringInfoChar(out, i == 0 ? '[' : ',');
		derive_json_append_name(out, NameStr(TupleDescAttr(desc, attno)->attname));
		nullable = nullable || !derive_compat_attribute_is_not_null(desc, attno);
	}
	appendStringInfoChar(out, ']');
	append_string(out, "key_nulls",
				  !nullable ? "none" : key->rd_index->indnullsnotdistinct ? "equal" : "distinct");
	RelationClose(key);
}

static void
append_description(StringInfo out, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	bool		first = true;

	append_key(out, "oid");
	appendStringInfo(out, "%u", RelationGetRelid(relation));
	append_key(out, "columns");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!is_logged(att))
			continue;
		appendStringInfoString(out, first ? "{" : ",{");
		append_string(out, "name", NameStr(att->attname));
		append_string(out, "type", format_type_with_typemod(att->atttypid, att->atttypmod));
		append_bool(out, "not_null", derive_compat_attribute_is_not_null(desc, i));
		appendStringInfoChar(out, '}');
		first = false;
	}
	appendStringInfoChar(out, ']');
	append_key_columns(out, relation);
}

/* ---------- events ---------- */

/* A message with joined events is sent when it has this many bytes, or is the last one of a transaction. */
#define JOINED_SIZE		(16 * 1024)

static StringInfo
start_event(LogicalDecodingContext *ctx, const char *event)
{
	JsonStream *stream = ctx->output_plugin_private;

	if (stream->open)
		appendStringInfoChar(ctx->out, '\n');
	else
		OutputPluginPrepareWrite(ctx, true);
	appendStringInfoString(ctx->out, "{\"event\":");
	derive_json_append_name(ctx->out, event);
	return ctx->out;
}

/* The event is complete; last: none of its transaction follows. */
static void
end_event(LogicalDecodingContext *ctx, bool last)
{
	JsonStream *stream = ctx->output_plugin_private;

	appendStringInfoChar(ctx->out, '}');
	stream->open = stream->joined && !last && ctx->out->len < JOINED_SIZE;
	if (!stream->open)
		OutputPluginWrite(ctx, true);
}

static StringInfo
start_transaction_event(LogicalDecodingContext *ctx, const char *event, ReorderBufferTXN *txn)
{
	JsonStream *stream = ctx->output_plugin_private;
	StringInfo	out = start_event(ctx, event);

	if (stream->include_xids)
	{
		append_key(out, "xid");
		appendStringInfo(out, "%u", txn->xid);
	}
	if (stream->include_lsns)
		append_lsn(out, "commit_lsn", txn->final_lsn);
	return out;
}

/* Send the begin of the transaction, if that was not done. */
static void
send_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	JsonStream *stream = ctx->output_plugin_private;
	StringInfo	out;

	if (stream->begun)
		return;
	stream->begun = true;
	derive_json_fix_settings();
	out = start_transaction_event(ctx, "begin", txn);
	if (stream->include_times)
		append_time(out, "commit_time", txn->xact_time.commit_time);
	end_event(ctx, false);
}

static void
json_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	JsonStream *stream = ctx->output_plugin_private;

	stream->begun = false;
	stream->open = false;
	stream->replaced = NIL;
	MemoryContextReset(stream->txn_cxt);
	if (stream->include_empty)
		send_begin(ctx, txn);
}

static void
json_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	JsonStream *stream = ctx->output_plugin_private;
	StringInfo	out;

	if (!stream->begun)
		return;
	out = start_transaction_event(ctx, "commit", txn);
	if (stream->include_times)
		append_time(out, "commit_time", txn->xact_time.commit_time);
	if (stream->include_lsns)
		append_lsn(out, "end_lsn", txn->end_lsn);
	end_event(ctx, true);
}

/* Say what the relation is like, unless that is known. */
static void
send_description(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation)
{
	JsonStream *stream = ctx->output_plugin_private;
	Oid			relid = RelationGetRelid(relation);
	StringInfoData text;
	Described  *entry;
	StringInfo	out;
	bool		found;

	if (stream->described == NULL)
		return;
	entry = hash_search(stream->described, &relid, HASH_ENTER, &found);
	if (!found)
		entry->said = NULL;
	else if (entry->valid)
		return;

	/* what changes while we look makes it invalid again */
	entry->valid = true;
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	append_table(&text, relation);
	append_description(&text, relation);
	if (entry->said != NULL && strcmp(entry->said, text.data) == 0)
		return;
	if (entry->said != NULL)
		pfree(entry->said);
	entry->said = MemoryContextStrdup(GetMemoryChunkContext(stream), text.data);

	out = start_transaction_event(ctx, "relation", txn);
	appendStringInfoChar(out, ',');
	appendStringInfoString(out, text.data + 1);
	end_event(ctx, false);
}

static const char *
change_name(ReorderBufferChange *change)
{
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			return "insert";
		case REORDER_BUFFER_CHANGE_UPDATE:
			return "update";
		case REORDER_BUFFER_CHANGE_DELETE:
			return "delete";
		default:
			elog(ERROR, "unexpected change action %d", (int) change->action);
	}
	return NULL;				/* keep compiler quiet */
}

/*
 * The contents of a view are replaced as a whole: say so, once for each new heap
 * (InvalidOid: it comes next, if there are rows).
 */
static void
send_replaced(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation view, Oid heap)
{
	JsonStream *stream = ctx->output_plugin_private;
	Oid			relid = RelationGetRelid(view);
	bool		sent_ahead = OidIsValid(heap) && list_member_oid(stream->replaced, relid);
	MemoryContext caller;
	StringInfo	out;

	if (OidIsValid(heap) && list_member_oid(stream->replaced, heap))
		return;
	caller = MemoryContextSwitchTo(stream->txn_cxt);
	if (sent_ahead)
		stream->replaced = list_delete_oid(stream->replaced, relid);
	stream->replaced = list_append_unique_oid(stream->replaced, OidIsValid(heap) ? heap : relid);
	MemoryContextSwitchTo(caller);
	if (sent_ahead)
		return;

	send_begin(ctx, txn);
	out = start_transaction_event(ctx, "truncate", txn);
	append_key(out, "tables");
	appendStringInfoString(out, "[{");
	append_table(out, view);
	appendStringInfoString(out, "}]");
	append_bool(out, "cascade", false);
	append_bool(out, "restart_identity", false);
	end_event(ctx, false);
}

/* The rows of a view are from here on those of another one. */
static void
send_replace(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation view, Oid replacement)
{
	Relation	other = RelationIdGetRelation(replacement);
	StringInfo	out;

	send_begin(ctx, txn);
	out = start_transaction_event(ctx, "replace", txn);
	append_table(out, view);
	if (RelationIsValid(other))
	{
		append_key(out, "with");
		appendStringInfoChar(out, '{');
		append_table(out, other);
		appendStringInfoChar(out, '}');
		RelationClose(other);
	}
	end_event(ctx, false);
}

/* The view, if it is wanted; to be closed. */
static Relation
wanted_view(JsonStream *stream, Oid relid)
{
	Relation	view = RelationIdGetRelation(relid);

	if (RelationIsValid(view) &&
		(view->rd_rel->relkind != RELKIND_MATVIEW || !wanted(stream, view)))
	{
		RelationClose(view);
		view = NULL;
	}
	return view;
}

/* What our worker says of views; anybody can write such a message, but not with its origin. */
static void
send_word_of_worker(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, const char *prefix,
					const char *content, Size size)
{
	JsonStream *stream = ctx->output_plugin_private;
	Oid			relids[2] = {InvalidOid, InvalidOid};
	bool		fill = strcmp(prefix, DERIVE_FILL_MESSAGE) == 0 && size == sizeof(Oid);
	bool		replace = strcmp(prefix, DERIVE_REPLACE_MESSAGE) == 0 && size == sizeof(relids);
	Relation	view;

	if (stream->views == NIL || txn->origin_id != DoNotReplicateId || !(fill || replace))
		return;
	memcpy(relids, content, size);
	view = wanted_view(stream, relids[0]);
	if (view == NULL)
		return;
	if (fill)
		send_replaced(ctx, txn, view, InvalidOid);
	else
		send_replace(ctx, txn, view, relids[1]);
	RelationClose(view);
}

static void
json_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			Relation relation, ReorderBufferChange *change)
{
	JsonStream *stream = ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(stream->event_cxt);
	bool		is_rewrite = OidIsValid(relation->rd_rel->relrewrite);
	Relation	known = is_rewrite ? RelationIdGetRelation(relation->rd_rel->relrewrite) : relation;

	if (RelationIsValid(known) && wanted(stream, known) &&
		(!is_rewrite || known->rd_rel->relkind == RELKIND_MATVIEW))
	{
		StringInfo	out;

		if (is_rewrite)
			send_replaced(ctx, txn, known, RelationGetRelid(relation));
		send_begin(ctx, txn);
		send_description(ctx, txn, known);
		out = start_transaction_event(ctx, change_name(change), txn);
		append_table(out, known);
		append_rows(out, relation, derive_change_oldtuple(change),
					derive_change_newtuple(change));
		end_event(ctx, false);
	}
	if (is_rewrite && RelationIsValid(known))
		RelationClose(known);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(stream->event_cxt);
}

static void
json_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  int nrelations, Relation relations[], ReorderBufferChange *change)
{
	JsonStream *stream = ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(stream->event_cxt);
	StringInfo	out = NULL;

	for (int i = 0; i < nrelations; i++)
	{
		if (!wanted(stream, relations[i]))
			continue;
		if (out == NULL)
		{
			send_begin(ctx, txn);
			out = start_transaction_event(ctx, "truncate", txn);
			append_key(out, "tables");
			appendStringInfoString(out, "[{");
		}
		else
			appendStringInfoString(out, ",{");
		append_table(out, relations[i]);
		appendStringInfoChar(out, '}');
	}
	if (out != NULL)
	{
		appendStringInfoChar(out, ']');
		append_bool(out, "cascade", change->data.truncate.cascade);
		append_bool(out, "restart_identity", change->data.truncate.restart_seqs);
		end_event(ctx, false);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(stream->event_cxt);
}

/* The content may be any bytes; those that are no text are sent in hex.  False if there are too many. */
static bool
append_content(StringInfo out, const char *content, Size size)
{
	int			len = out->len;

	append_key(out, "content");
	if (memchr(content, '\0', size) == NULL &&
		pg_verify_mbstr(GetDatabaseEncoding(), content, size, true) &&
		derive_json_append_string(out, pnstrdup(content, size)))
		return true;
	cut(out, len);
	if (out->len + size * 2 > DERIVE_JSON_MAX)
		return false;
	append_key(out, "content_hex");
	appendStringInfoChar(out, '"');
	enlargeStringInfo(out, size * 2 + 1);
	out->len += hex_encode(content, size, out->data + out->len);
	appendStringInfoChar(out, '"');
	return true;
}

static void
append_message(StringInfo out, const char *prefix, const char *content, Size size)
{
	List	   *omitted = NIL;
	int			len = out->len;

	append_key(out, "prefix");
	if (!derive_json_append_string(out, prefix))
	{
		cut(out, len);
		omitted = lappend(omitted, "prefix");
	}
	if (!append_content(out, content, size))
		omitted = lappend(omitted, "content");
	append_names(out, "omitted", omitted);
}

static void
json_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
			 bool transactional, const char *prefix, Size size, const char *content)
{
	JsonStream *stream = ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(stream->event_cxt);
	StringInfo	out;

	/* our own */
	if (strncmp(prefix, "pg_derive.", strlen("pg_derive.")) == 0)
	{
		if (transactional)
			send_word_of_worker(ctx, txn, prefix, content, size);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(stream->event_cxt);
		return;
	}
	if (transactional)
	{
		send_begin(ctx, txn);
		out = start_transaction_event(ctx, "message", txn);
	}
	else
	{
		out = start_event(ctx, "message");
		if (stream->include_lsns)
			append_lsn(out, "lsn", lsn);
	}
	append_bool(out, "transactional", transactional);
	append_message(out, prefix, content, size);
	end_event(ctx, !transactional);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(stream->event_cxt);
}

static bool
json_filter_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	JsonStream *stream = ctx->output_plugin_private;

	if (origin == DoNotReplicateId && stream->views != NIL)
		return false;
	return stream->origin_none && origin != InvalidRepOriginId;
}

static void
json_startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	JsonStream *stream = palloc0(sizeof(JsonStream));	/* in ctx->context */
	ListCell   *lc;

	stream->event_cxt = AllocSetContextCreate(ctx->context, "pg_derive event",
											  ALLOCSET_DEFAULT_SIZES);
	stream->txn_cxt = AllocSetContextCreate(ctx->context, "pg_derive transaction",
											ALLOCSET_SMALL_SIZES);
	stream->include_xids = true;
	stream->include_lsns = true;
	stream->include_times = true;
	foreach(lc, ctx->output_plugin_options)
		parse_option(stream, lfirst(lc));

	if (stream->relations)
		begin_described(ctx, stream);
	ctx->output_plugin_private = stream;
	ctx->streaming = false;
	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	options->receive_rewrites = (stream->views != NIL);
}

void
derive_json_stream_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = json_startup;
	cb->filter_by_origin_cb = json_filter_origin;
	cb->begin_cb = json_begin;
	cb->change_cb = json_change;
	cb->truncate_cb = json_truncate;
	cb->message_cb = json_message;
	cb->commit_cb = json_commit;
}
