/*-------------------------------------------------------------------------
 *
 * shape.c
 *	  Which rows and columns of a view a client sees.
 *
 *-------------------------------------------------------------------------
 */
#include "shape.h"

#include "memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>


/* ----------------------------------------------------------------
 *		Making one
 * ----------------------------------------------------------------
 */

static char *
check_condition(const GwView *view, const GwCondition *condition, int *number)
{
	const GwColumn *column;
	bool		is_null = condition->operator == GW_IS_NULL || condition->operator == GW_IS_NOT_NULL;
	bool		is_boolean = condition->operator == GW_IS_TRUE || condition->operator == GW_IS_FALSE;

	*number = gw_view_column(view, condition->column);
	if (*number < 0)
		return client_sprintf("there is no column \"%s\"", condition->column);
	column = &view->columns[*number];
	if (is_null && column->kind != GW_NOTHING)
		return NULL;
	if (is_null || column->kind == GW_NOTHING || column->kind == GW_NULLABLE || (is_boolean && column->kind != GW_BOOLEAN))
		return client_sprintf("column \"%s\" of type %s cannot be compared in this way", column->name, column->type_name);
	if (gw_operator_needs_order(condition->operator) && !column->ordered)
		return client_sprintf("column \"%s\" of type %s can be compared with eq, neq and in only: its order is that of a language",
							  column->name, column->type_name);
	return NULL;
}

static char *
add_condition(GwShape *shape, const GwCondition *condition)
{
	GwFilter   *filter = &shape->filters[shape->filter_count];
	char	   *wrong = check_condition(shape->view, condition, &filter->column);

	if (wrong != NULL)
		return wrong;
	filter->operator = condition->operator;
	filter->count = condition->count;
	filter->values = client_alloc((size_t) (filter->count + 1) * sizeof(char *));
	filter->json = client_alloc((size_t) (filter->count + 1) * sizeof(char *));
	for (int i = 0; i < filter->count; i++)
		filter->values[i] = client_strdup(condition->values[i]);
	shape->filter_count++;
	return NULL;
}

static char *
add_columns(GwShape *shape, char **names)
{
	const GwView *view = shape->view;
	bool	   *selected = client_alloc((size_t) view->column_count * sizeof(bool));
	char	   *wrong = NULL;

	for (char **name = names; *name != NULL && wrong == NULL; name++)
	{
		int			column = gw_view_column(view, *name);

		if (column < 0)
			wrong = client_sprintf("there is no column \"%s\"", *name);
		else
			selected[column] = true;
	}
	shape->columns = client_alloc((size_t) view->column_count * sizeof(int));
	for (int i = 0; i < view->column_count; i++)
	{
		if (selected[i])
			shape->columns[shape->column_count++] = i;
	}
	free(selected);
	return wrong;
}

/* A value may contain anything, so each one comes with its length. */
static void
make_key(GwShape *shape)
{
	ClientBuffer key = {0};

	if (shape->columns == NULL)
		client_buffer_add_char(&key, '*');
	for (int i = 0; i < shape->column_count; i++)
		client_buffer_addf(&key, "%d,", shape->columns[i]);
	for (int i = 0; i < shape->filter_count; i++)
	{
		const GwFilter *filter = &shape->filters[i];

		client_buffer_addf(&key, "&%d:%d", filter->column, (int) filter->operator);
		for (int j = 0; j < filter->count; j++)
			client_buffer_addf(&key, ":%zu:%s", strlen(filter->values[j]), filter->values[j]);
	}
	shape->key = client_buffer_take(&key);
}

GwShape *
gw_shape_create(const GwView *view, const GwRequest *request, char **wrong)
{
	GwShape    *shape = client_alloc(sizeof(GwShape));

	*wrong = NULL;
	shape->view = view;
	for (int i = 0; i < request->condition_count && *wrong == NULL; i++)
		*wrong = add_condition(shape, &request->conditions[i]);
	if (*wrong == NULL && request->select != NULL)
		*wrong = add_columns(shape, request->select);
	if (*wrong != NULL)
	{
		gw_shape_free(shape);
		return NULL;
	}
	make_key(shape);
	return shape;
}

void
gw_shape_free(GwShape *shape)
{
	if (shape == NULL)
		return;
	for (int i = 0; i < shape->filter_count; i++)
	{
		for (int j = 0; j < shape->filters[i].count; j++)
		{
			free(shape->filters[i].values[j]);
			free(shape->filters[i].json[j]);
		}
		free(shape->filters[i].values);
		free(shape->filters[i].json);
	}
	free(shape->columns);
	free(shape->key);
	free(shape);
}


/* ----------------------------------------------------------------
 *		What the values mean
 * ----------------------------------------------------------------
 */

/* All values as parameters of the types of their columns. */
static int
parameters(const GwShape *shape, Oid **types, const char ***values)
{
	int			count = 0;
	int			n = 0;

	for (int i = 0; i < shape->filter_count; i++)
		count += shape->filters[i].count;
	*types = client_alloc((size_t) (count + 1) * sizeof(Oid));
	*values = client_alloc((size_t) (count + 1) * sizeof(char *));
	for (int i = 0; i < shape->filter_count; i++)
	{
		for (int j = 0; j < shape->filters[i].count; j++)
		{
			(*types)[n] = shape->view->columns[shape->filters[i].column].type;
			(*values)[n++] = shape->filters[i].values[j];
		}
	}
	return count;
}

bool
gw_shape_question(const GwShape *shape, char **sql, int *count, Oid **types, const char ***values)
{
	ClientBuffer text = {0};

	*count = parameters(shape, types, values);
	if (*count == 0)
	{
		free(*types);
		free(*values);
		return false;
	}
	/* one column: there may be more values than a query has columns */
	client_buffer_add_text(&text, "SELECT j, j #>> '{}' FROM pg_catalog.unnest(ARRAY[");
	for (int i = 0; i < *count; i++)
	{
		/*
		 * to_jsonb() of somebody's type runs code of his, if there is a cast
		 * by now; the text of an enum does not
		 */
		client_buffer_addf(&text, (*types)[i] < 16384 ? "%spg_catalog.to_jsonb($%d)" : "%spg_catalog.to_jsonb(pg_catalog.format('%%s', $%d))",
						   i > 0 ? ", " : "", i + 1);
	}
	client_buffer_addf(&text, "]) WITH ORDINALITY AS v(j, n) WHERE pg_catalog.octet_length(j::pg_catalog.text) <= %d ORDER BY n", GW_MAX_VALUE_BYTES);
	*sql = client_buffer_take(&text);
	return true;
}

bool
gw_shape_answer(GwShape *shape, const PGresult *result)
{
	int			row = 0;
	int			count = 0;
	int			bytes = 0;

	for (int i = 0; i < shape->filter_count; i++)
		count += shape->filters[i].count;
	/* those that are too long are not among them */
	for (int i = 0; i < PQntuples(result) && bytes <= GW_MAX_SHAPE_BYTES; i++)
		bytes += PQgetlength(result, i, 0);
	if (count != PQntuples(result) || bytes > GW_MAX_SHAPE_BYTES)
		return false;
	for (int i = 0; i < shape->filter_count; i++)
	{
		GwFilter   *filter = &shape->filters[i];

		for (int j = 0; j < filter->count; j++, row++)
		{
			free(filter->values[j]);
			filter->json[j] = client_strdup(PQgetvalue(result, row, 0));
			filter->values[j] = client_strdup(PQgetvalue(result, row, 1));
		}
	}
	return true;
}


/* ----------------------------------------------------------------
 *		Its rows
 * ----------------------------------------------------------------
 */

static void
add_list(const GwShape *shape, ClientBuffer *sql, const char *suffix)
{
	int			count = shape->columns ? shape->column_count : shape->view->column_count;

	for (int i = 0; i < count; i++)
		client_buffer_addf(sql, "%s%s%s", i > 0 ? ", " : "",
						   shape->view->columns[shape->columns ? shape->columns[i] : i].identifier, suffix);
}

static void
add_filter(const GwShape *shape, ClientBuffer *sql, const GwFilter *filter, int *parameter)
{
	static const char *const tests[] = {
		[GW_IS_NULL] = "IS NULL",[GW_IS_NOT_NULL] = "IS NOT NULL",[GW_IS_TRUE] = "IS TRUE",[GW_IS_FALSE] = "IS FALSE"
	};
	const char *column = shape->view->columns[filter->column].identifier;

	if (filter->operator == GW_IN)
	{
		client_buffer_addf(sql, "%s IN (", column);
		for (int i = 0; i < filter->count; i++)
			client_buffer_addf(sql, "%s$%d", i > 0 ? ", " : "", ++*parameter);
		client_buffer_add_char(sql, ')');
	}
	else if (filter->count == 0)
		client_buffer_addf(sql, "%s %s", column, tests[filter->operator]);
	else
		client_buffer_addf(sql, "%s %s $%d", column, gw_operator_sql(filter->operator), ++*parameter);
}

char *
gw_shape_query(const GwShape *shape, bool as_text, int64_t limit, int order_column, bool descending,
			   int *count, Oid **types, const char ***values)
{
	ClientBuffer sql = {0};
	int			parameter = 0;

	*count = parameters(shape, types, values);
	client_buffer_add_text(&sql, "SELECT ");
	if (as_text)
		add_list(shape, &sql, "::pg_catalog.text");
	else
	{
		client_buffer_add_text(&sql, "pg_catalog.to_jsonb(r.*) FROM (SELECT ");
		add_list(shape, &sql, "");
	}
	client_buffer_addf(&sql, " FROM %s", shape->view->identifier);
	for (int i = 0; i < shape->filter_count; i++)
	{
		client_buffer_add_text(&sql, i == 0 ? " WHERE " : " AND ");
		add_filter(shape, &sql, &shape->filters[i], &parameter);
	}
	if (order_column >= 0)
		client_buffer_addf(&sql, " ORDER BY %s.%s%s", shape->view->identifier, shape->view->columns[order_column].identifier, descending ? " DESC" : "");
	client_buffer_addf(&sql, " LIMIT %" PRId64, limit);
	if (!as_text)
		client_buffer_add_text(&sql, ") AS r");
	return client_buffer_take(&sql);
}

char *
gw_shape_attributes(const GwShape *shape, int order_column)
{
	ClientBuffer text = {0};
	const GwView *view = shape->view;
	bool	   *read = client_alloc((size_t) (view->column_count + 1) * sizeof(bool));

	for (int i = 0; i < view->column_count; i++)
		read[i] = shape->columns == NULL;
	for (int i = 0; i < shape->column_count; i++)
		read[shape->columns[i]] = true;
	for (int i = 0; i < shape->filter_count; i++)
		read[shape->filters[i].column] = true;
	if (order_column >= 0)
		read[order_column] = true;
	client_buffer_add_char(&text, '{');
	for (int i = 0; i < view->column_count; i++)
	{
		if (read[i])
			client_buffer_addf(&text, "%s%d", text.length > 1 ? "," : "", view->columns[i].number);
	}
	client_buffer_add_char(&text, '}');
	free(read);
	return client_buffer_take(&text);
}


/* ----------------------------------------------------------------
 *		Its changes
 * ----------------------------------------------------------------
 */

static bool
compares(GwOperator operator, int order)
{
	switch (operator)
	{
		case GW_EQ:
			return order == 0;
		case GW_NEQ:
			return order != 0;
		case GW_LT:
			return order < 0;
		case GW_LTE:
			return order <= 0;
		case GW_GT:
			return order > 0;
		default:
			return order >= 0;
	}
}

/* A null is neither equal nor unequal to anything, as in SQL. */
static bool
filter_matches(const GwFilter *filter, GwKind kind, Span value)
{
	bool		is_null = span_is(value, "null");

	switch (filter->operator)
	{
		case GW_IS_NULL:
			return is_null;
		case GW_IS_NOT_NULL:
			return !is_null;
		case GW_IS_TRUE:
			return span_is(value, "true");
		case GW_IS_FALSE:
			return span_is(value, "false");
		default:
			break;
	}
	for (int i = 0; i < filter->count && !is_null; i++)
	{
		if (compares(filter->operator == GW_IN ? GW_EQ : filter->operator, gw_value_compare(kind, value, span_of(filter->json[i]))))
			return true;
	}
	return false;
}

int
gw_shape_matches(const GwShape *shape, const char *row)
{
	int			result = 1;

	for (int i = 0; i < shape->filter_count; i++)
	{
		const GwColumn *column = &shape->view->columns[shape->filters[i].column];
		Span		value = json_member(span_of(row), json_inside(span_of(column->json_name)));

		if (value.data == NULL)
			return -1;
		if (!filter_matches(&shape->filters[i], column->kind, value))
			result = 0;
	}
	return result;
}

static bool
is_selected(const GwShape *shape, Span name)
{
	if (shape->columns == NULL)
		return true;
	for (int i = 0; i < shape->column_count; i++)
	{
		if (span_is(name, shape->view->columns[shape->columns[i]].json_name))
			return true;
	}
	return false;
}

void
gw_shape_add_row(const GwShape *shape, ClientBuffer *buffer, const char *row)
{
	JsonScan	scan = json_scan(span_of(row));
	Span		name;
	Span		value;
	const char *separator = "{";

	if (shape->columns == NULL)
	{
		client_buffer_add_text(buffer, row);
		return;
	}
	while (json_next_member(&scan, &name, &value))
	{
		if (!is_selected(shape, name))
			continue;
		client_buffer_add_text(buffer, separator);
		client_buffer_add(buffer, name.data, name.length);
		client_buffer_add_text(buffer, ": ");
		client_buffer_add(buffer, value.data, value.length);
		separator = ", ";
	}
	client_buffer_add_text(buffer, *separator == '{' ? "{}" : "}");
}

void
gw_shape_add_omitted(const GwShape *shape, ClientBuffer *buffer, const char *omitted)
{
	JsonScan	scan = json_scan(span_of(omitted));
	bool		any = false;
	Span		name;

	while (json_next_element(&scan, &name))
	{
		if (!is_selected(shape, name))
			continue;
		client_buffer_add_text(buffer, any ? ", " : ", \"omitted\": [");
		client_buffer_add(buffer, name.data, name.length);
		any = true;
	}
	if (any)
		client_buffer_add_char(buffer, ']');
}

bool
gw_shape_differs(const GwShape *shape, const char *a, const char *b)
{
	ClientBuffer rows[2] = {{0}, {0}};
	bool		result;

	gw_shape_add_row(shape, &rows[0], a);
	gw_shape_add_row(shape, &rows[1], b);
	result = strcmp(rows[0].data, rows[1].data) != 0;
	client_buffer_free(&rows[0]);
	client_buffer_free(&rows[1]);
	return result;
}
