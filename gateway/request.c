/*-------------------------------------------------------------------------
 *
 * request.c
 *	  What a client asks for, by its URL.
 *
 *-------------------------------------------------------------------------
 */
#include "request.h"

#include "buffer.h"
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct
{
	const char *name;			/* as in a URL, before the value */
	const char *sql;
	bool		ordered;
}			operators[] =

{
	[GW_EQ] = {"eq.", "=", false},
	[GW_NEQ] = {"neq.", "<>", false},
	[GW_LT] = {"lt.", "<", true},
	[GW_LTE] = {"lte.", "<=", true},
	[GW_GT] = {"gt.", ">", true},
	[GW_GTE] = {"gte.", ">=", true},
	[GW_IN] = {"in.", NULL, false},
	[GW_IS_NULL] = {"is.null", NULL, false},
	[GW_IS_NOT_NULL] = {"is.not_null", NULL, false},
	[GW_IS_TRUE] = {"is.true", NULL, false},
	[GW_IS_FALSE] = {"is.false", NULL, false},
};

const char *
gw_operator_sql(GwOperator operator)
{
	return operators[operator].sql;
}

bool
gw_operator_needs_order(GwOperator operator)
{
	return operators[operator].ordered;
}

void
gw_request_init(GwRequest *request, const char *path)
{
	static const char views[] = "/views/";
	const char *name = path + sizeof(views) - 1;
	const char *slash;

	memset(request, 0, sizeof(*request));
	request->limit = -1;
	if (strcmp(path, "/health") == 0)
		request->kind = GW_HEALTH;
	else if (strcmp(path, "/metrics") == 0)
		request->kind = GW_METRICS;
	if (strncmp(path, views, sizeof(views) - 1) != 0)
		return;
	slash = strrchr(name, '/');
	if (slash == NULL)
	{
		request->kind = *name != '\0' ? GW_ROWS : GW_UNKNOWN;
		request->view = client_strdup(name);
	}
	else if (strcmp(slash, "/changes") == 0 && slash > name)
	{
		request->kind = GW_CHANGES;
		request->view = client_strndup(name, (size_t) (slash - name));
	}
}


/* ----------------------------------------------------------------
 *		Lists
 * ----------------------------------------------------------------
 */

/*
 * The next element of a list with commas, which may be in double quotes, with a
 * backslash before a quote or a backslash in it: a,"b,c","d\"e".  NULL at the end, and
 * where a quote is not closed.
 */
static char *
next_element(const char **place)
{
	const char *c = *place;
	ClientBuffer element = {0};

	if (*c == '\0')
		return NULL;
	if (*c == '"')
	{
		for (c++; *c != '"'; c++)
		{
			if (*c == '\\' && (c[1] == '"' || c[1] == '\\'))
				c++;
			if (*c == '\0')
			{
				client_buffer_free(&element);
				return NULL;
			}
			client_buffer_add_char(&element, *c);
		}
		c++;
	}
	else
	{
		while (*c != '\0' && *c != ',')
			client_buffer_add_char(&element, *c++);
	}
	if (*c != '\0' && *c != ',')
	{
		client_buffer_free(&element);
		return NULL;
	}
	/* a comma at the end is followed by an empty element */
	*place = *c == ',' && c[1] != '\0' ? c + 1 : c + (*c == ',');
	return client_buffer_take(&element);
}

/* The elements of a list, with NULL at the end; NULL if it is none, or has more than so many. */
static char **
read_list(const char *list, int most, int *count)
{
	char	  **result = client_alloc(sizeof(char *));
	char	   *element;

	*count = 0;
	while ((element = next_element(&list)) != NULL)
	{
		result = client_realloc(result, (size_t) (*count + 2) * sizeof(char *));
		result[(*count)++] = element;
		result[*count] = NULL;
		if (*count > most)
			break;
	}
	if (*list != '\0' || *count == 0 || *count > most)
	{
		for (int i = 0; i < *count; i++)
			free(result[i]);
		free(result);
		return NULL;
	}
	return result;
}


/* ----------------------------------------------------------------
 *		Parameters
 * ----------------------------------------------------------------
 */

static char *
read_condition(GwRequest *request, const char *column, size_t length, const char *text)
{
	GwCondition *condition = &request->conditions[request->condition_count];
	size_t		which = 0;
	const size_t count = sizeof(operators) / sizeof(operators[0]);

	if (request->condition_count == GW_MAX_CONDITIONS)
		return client_strdup("too many conditions");
	/* those that are whole words must be all of it */
	while (which < count &&
		   (which < GW_IS_NULL ? strncmp(text, operators[which].name, strlen(operators[which].name)) != 0 :
			strcmp(text, operators[which].name) != 0))
		which++;
	if (which == count)
		return client_sprintf("\"%.*s\": a condition is eq., neq., lt., lte., gt. or gte. and a value, in.(a,b,c), "
							  "is.null, is.not_null, is.true or is.false", (int) length, column);
	memset(condition, 0, sizeof(*condition));
	condition->operator = (GwOperator) which;
	text += strlen(operators[which].name);
	if (which == GW_IN)
	{
		size_t		end = strlen(text);
		char	   *list = end >= 2 && text[0] == '(' && text[end - 1] == ')' ? client_strndup(text + 1, end - 2) : NULL;

		condition->values = list ? read_list(list, GW_MAX_VALUES, &condition->count) : NULL;
		free(list);
		if (condition->values == NULL)
			return client_sprintf("\"%.*s\": a list is in.(a,b,c), of at most %d values", (int) length, column, GW_MAX_VALUES);
	}
	else if (which < GW_IN)
	{
		condition->values = client_alloc(2 * sizeof(char *));
		condition->values[0] = client_strdup(text);
		condition->count = 1;
	}
	condition->column = client_strndup(column, length);
	request->condition_count++;
	return NULL;
}

static char *
read_select(GwRequest *request, const char *value)
{
	int			count;

	if (request->select != NULL)
		return client_strdup("select is given twice");
	request->select = read_list(value, 1600, &count);
	return request->select ? NULL : client_strdup("select is a list of columns: select=a,b");
}

static char *
read_limit(GwRequest *request, const char *value)
{
	char	   *end;
	long long	limit;

	errno = 0;
	limit = strtoll(value, &end, 10);
	if (*value < '0' || *value > '9' || *end != '\0' || errno != 0)
		return client_strdup("limit is a number");
	request->limit = limit;
	return NULL;
}

static char *
read_order(GwRequest *request, const char *value)
{
	size_t		length = strlen(value);

	if (request->order_column != NULL)
		return client_strdup("order is given twice");
	if (length > 5 && strcmp(value + length - 5, ".desc") == 0)
	{
		request->descending = true;
		length -= 5;
	}
	else if (length > 4 && strcmp(value + length - 4, ".asc") == 0)
		length -= 4;
	if (length == 0)
		return client_strdup("order is a column: order=a or order=a.desc");
	request->order_column = client_strndup(value, length);
	return NULL;
}

static char *
read_event_id(GwRequest *request, const char *value)
{
	free(request->last_event_id);
	request->last_event_id = client_strdup(value);
	return NULL;
}

static char *
read_token(GwRequest *request, const char *value)
{
	free(request->access_token);
	request->access_token = client_strdup(value);
	return NULL;
}

static const struct
{
	const char *name;
	char	   *(*read) (GwRequest *request, const char *value);
}			parameters[] =

{
	{"select", read_select},
	{"limit", read_limit},
	{"order", read_order},
	{"last_event_id", read_event_id},
	{"access_token", read_token},
};

char *
gw_request_parameter(GwRequest *request, const char *parameter)
{
	const char *value = strchr(parameter, '=');
	size_t		length = value ? (size_t) (value - parameter) : 0;

	if (value == NULL || length == 0)
		return client_strdup("a parameter has the form NAME=VALUE");
	value++;
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
	{
		if (strncmp(parameters[i].name, parameter, length) == 0 && parameters[i].name[length] == '\0')
			return parameters[i].read(request, value);
	}
	return read_condition(request, parameter, length, value);
}

void
gw_request_free(GwRequest *request)
{
	for (int i = 0; i < request->condition_count; i++)
	{
		GwCondition *condition = &request->conditions[i];

		for (int j = 0; j < condition->count; j++)
			free(condition->values[j]);
		free(condition->values);
		free(condition->column);
	}
	for (char **name = request->select; name != NULL && *name != NULL; name++)
		free(*name);
	free(request->select);
	free(request->view);
	free(request->order_column);
	free(request->last_event_id);
	free(request->access_token);
	memset(request, 0, sizeof(*request));
}
