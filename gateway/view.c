/*-------------------------------------------------------------------------
 *
 * view.c
 *	  What the catalogs say of a maintained view.
 *
 *-------------------------------------------------------------------------
 */
#include "view.h"

#include "memory.h"
#include "request.h"
#include "settings.h"

#include <stdlib.h>
#include <string.h>

/* The types that the one of "p" is made of. */
#define PARTS_OF_TYPE \
	"JOIN pg_type t ON t.oid = p.type CROSS JOIN LATERAL (" \
	"SELECT t.typbasetype UNION ALL SELECT t.typelem UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid " \
	"UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0) AS x(type) WHERE x.type <> 0"

/* Has that one a cast to json? */
#define HAS_CAST \
	"p.type >= 16384 AND EXISTS (SELECT FROM pg_cast k WHERE k.castsource = p.type AND k.casttarget IN ('json'::regtype, 'jsonb'::regtype))"

/* Also what the types of the columns are made of, and their casts, which may come later. */
#define FINGERPRINT \
	"pg_catalog.md5(pg_catalog.concat_ws(' ', n.nspname, c.relname, " \
	"(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, pg_catalog.quote_ident(a.attname), a.atttypid, a.atttypmod), ',' ORDER BY a.attnum) " \
	"FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0), " \
	"(WITH RECURSIVE part(type) AS (" \
	"SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped " \
	"UNION SELECT x.type FROM part p " PARTS_OF_TYPE ") " \
	"SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', p.type, " HAS_CAST ", " \
	"(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', pg_catalog.quote_ident(a.attname), a.atttypid), ',' ORDER BY a.attnum) " \
	"FROM pg_attribute a JOIN pg_type t ON t.typrelid = a.attrelid WHERE t.oid = p.type AND a.attnum > 0)), ';' ORDER BY p.type) FROM part p)))"

const char *const gw_fingerprint_sql =
"SELECT " FINGERPRINT ", v.state, pg_catalog.date_part('epoch', v.lag) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
"LEFT JOIN derive.views v ON v.view = c.oid WHERE c.oid = $1::oid";

/* The relation of that name in the first of the schemas that has one. */
static const char *const find_sql =
"SELECT c.oid, n.nspname, c.relname, c.relkind, EXISTS (SELECT FROM derive.views v WHERE v.view = c.oid), "
"pg_catalog.format('%I.%I', n.nspname, c.relname), " FINGERPRINT " "
"FROM pg_catalog.unnest(pg_catalog.regexp_split_to_array($1, '\\s*,\\s*')) WITH ORDINALITY AS s(name, place) "
"JOIN pg_namespace n ON n.nspname = s.name JOIN pg_class c ON c.relnamespace = n.oid "
"WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (c.relname = $2::text OR n.nspname || '.' || c.relname = $2::text) "
"ORDER BY c.relname = $2::text DESC, s.place LIMIT 1";

/*
 * Columns with the type below their domain.  Is the order of their texts that of bytes?
 * And: has a type below a column a cast to json?  That is code of whoever owns the type,
 * and to_jsonb() would run it as the client's role.
 */
static const char *const columns_sql =
"WITH RECURSIVE part(number, type) AS ("
"SELECT attnum, atttypid FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped "
"UNION SELECT p.number, x.type FROM part p " PARTS_OF_TYPE "), "
"base(number, type, next) AS ("
"SELECT attnum, atttypid, typbasetype FROM pg_attribute JOIN pg_type t ON t.oid = atttypid WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped "
"UNION ALL SELECT b.number, t.oid, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.next) "
"SELECT a.attname, pg_catalog.quote_ident(a.attname), pg_catalog.to_json(a.attname::text), a.attnum, b.type, t.typtype, "
"pg_catalog.format_type(a.atttypid, a.atttypmod), t.typelem <> 0, coalesce(l.collisdeterministic, true), "
"coalesce(l.collprovider IN ('c', 'b') AND l.collcollate IN ('C', 'POSIX') "
"OR l.collprovider = 'd' AND d.datlocprovider = 'c' AND d.datcollate IN ('C', 'POSIX'), false), "
"EXISTS (SELECT FROM part p WHERE p.number = a.attnum AND " HAS_CAST ") "
"FROM pg_attribute a JOIN base b ON b.number = a.attnum AND b.next = 0 JOIN pg_type t ON t.oid = b.type "
"LEFT JOIN pg_collation l ON l.oid = a.attcollation JOIN pg_database d ON d.datname = pg_catalog.current_database() "
"WHERE a.attrelid = $1::oid ORDER BY a.attnum";

/* Types that come with PostgreSQL, by their OIDs, which never change. */
static const struct
{
	Oid			type;
	GwKind		kind;
	bool		ordered;		/* whatever the collation */
}			kinds[] =

{
	{16, GW_BOOLEAN, true},
	{21, GW_NUMBER, true},		/* smallint, integer, bigint */
	{23, GW_NUMBER, true},
	{20, GW_NUMBER, true},
	{1700, GW_NUMBER, true},	/* numeric, real, double precision */
	{700, GW_NUMBER, true},
	{701, GW_NUMBER, true},
	{1082, GW_TIME, true},		/* date, time, timestamp, timestamptz */
	{1083, GW_TIME, true},
	{1114, GW_TIME, true},
	{1184, GW_TIME, true},
	{25, GW_TEXT, false},		/* text, varchar, name */
	{1043, GW_TEXT, false},
	{19, GW_TEXT, false},
	{1042, GW_PADDED, false},	/* char(n) */
	{2950, GW_TEXT, true},		/* uuid */
	{114, GW_NOTHING, false},	/* json, jsonb */
	{3802, GW_NOTHING, false},
};

/* A view that is looked for. */
typedef struct Search
{
	ClientConnection *connection;
	GwView	   *view;
	GwViewHandler handler;
	void	   *arg;
} Search;

static void
end_search(Search *search, int status, const char *message)
{
	GwView	   *view = search->view;

	if (status != 0)
	{
		gw_view_free(view);
		view = NULL;
	}
	search->handler(search->arg, view, status, message);
	free(search);
}

static bool
is_true(const PGresult *result, int row, int column)
{
	return strcmp(PQgetvalue(result, row, column), "t") == 0;
}

static void
set_kind(GwColumn *column, char typtype, bool has_elements, bool deterministic, bool bytes)
{
	column->kind = GW_NULLABLE;
	if (typtype == 'e')
		column->kind = GW_TEXT;
	else if (typtype == 'c' || (typtype == 'b' && column->type >= 16384 && !has_elements))
		column->kind = GW_NOTHING;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		if (kinds[i].type == column->type)
		{
			column->kind = kinds[i].kind;
			column->ordered = kinds[i].ordered || bytes;
		}
	}
	if (!deterministic)
		column->kind = GW_NULLABLE;
}

static void
got_columns(void *arg, const PGresult *result)
{
	Search	   *search = arg;
	GwView	   *view = search->view;
	char	   *message = NULL;

	if (!client_result_ok(result))
	{
		end_search(search, 503, client_result_message(result));
		return;
	}
	view->column_count = PQntuples(result);
	view->columns = client_alloc((size_t) view->column_count * sizeof(GwColumn));
	for (int i = 0; i < view->column_count; i++)
	{
		GwColumn   *column = &view->columns[i];

		column->name = client_strdup(PQgetvalue(result, i, 0));
		column->identifier = client_strdup(PQgetvalue(result, i, 1));
		column->json_name = client_strdup(PQgetvalue(result, i, 2));
		column->number = atoi(PQgetvalue(result, i, 3));
		column->type = (Oid) strtoul(PQgetvalue(result, i, 4), NULL, 10);
		column->type_name = client_strdup(PQgetvalue(result, i, 6));
		set_kind(column, PQgetvalue(result, i, 5)[0], is_true(result, i, 7), is_true(result, i, 8), is_true(result, i, 9));
		if (is_true(result, i, 10) && message == NULL)
			message = client_sprintf("column \"%s\" has a type with a cast to json, which is code of its owner and is not run for others", column->name);
	}
	end_search(search, message ? 422 : 0, message);
	free(message);
}

static void
found(void *arg, const PGresult *result)
{
	Search	   *search = arg;
	GwView	   *view = search->view;
	const char *values[1];

	if (!client_result_ok(result))
	{
		/* a name that is no UTF-8, for example */
		end_search(search, result != NULL && strncmp(client_result_sqlstate(result), "22", 2) == 0 ? 404 : 503, client_result_message(result));
		return;
	}
	if (PQntuples(result) == 0)
	{
		end_search(search, 404, "there is no such view");
		return;
	}
	if (!is_true(result, 0, 4))
	{
		end_search(search, 422,
				   PQgetvalue(result, 0, 3)[0] == 'v' ?
				   "it is an ordinary view, whose rows depend on who reads it (row-level security, security barriers): only maintained views are offered" :
				   PQgetvalue(result, 0, 3)[0] == 'm' ?
				   "it is a materialized view that is not maintained; derive.maintain() does that" :
				   "it is a table: only maintained views are offered");
		return;
	}
	view->oid = (Oid) strtoul(PQgetvalue(result, 0, 0), NULL, 10);
	view->schema = client_strdup(PQgetvalue(result, 0, 1));
	view->name = client_strdup(PQgetvalue(result, 0, 2));
	view->identifier = client_strdup(PQgetvalue(result, 0, 5));
	view->fingerprint = client_strdup(PQgetvalue(result, 0, 6));
	values[0] = PQgetvalue(result, 0, 0);
	client_query(search->connection, columns_sql, 1, NULL, values, got_columns, search);
}

void
gw_view_describe(ClientConnection *connection, const char *name, GwViewHandler handler, void *arg)
{
	Search	   *search = client_alloc(sizeof(Search));
	const char *const values[] = {gw_settings.schemas, name};

	search->connection = connection;
	search->view = client_alloc(sizeof(GwView));
	search->handler = handler;
	search->arg = arg;
	client_query(connection, find_sql, 2, NULL, values, found, search);
}

void
gw_view_free(GwView *view)
{
	if (view == NULL)
		return;
	for (int i = 0; i < view->column_count; i++)
	{
		free(view->columns[i].name);
		free(view->columns[i].identifier);
		free(view->columns[i].json_name);
		free(view->columns[i].type_name);
	}
	free(view->columns);
	free(view->schema);
	free(view->name);
	free(view->identifier);
	free(view->fingerprint);
	free(view);
}

int
gw_view_column(const GwView *view, const char *name)
{
	for (int i = 0; i < view->column_count; i++)
	{
		if (strcmp(view->columns[i].name, name) == 0)
			return i;
	}
	return -1;
}
