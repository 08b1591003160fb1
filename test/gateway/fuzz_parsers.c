/*-------------------------------------------------------------------------
 *
 * fuzz_parsers.c
 *	  All that reads what a client has sent, under libFuzzer (make fuzz-gateway).
 *
 * The first byte of an input chooses the parser, the rest is the text.  Beside what the
 * sanitizers find, some things must hold: what is written is read as the same, an order
 * is an order, a row that is projected is a row.  HTTP itself is read by libwebsockets;
 * test/t/083_gateway_faults.pl tries requests that are none.
 *
 *-------------------------------------------------------------------------
 */
#include "auth.h"
#include "json_string.h"
#include "memory.h"
#include "options.h"
#include "position.h"
#include "settings.h"
#include "shape.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern int	LLVMFuzzerInitialize(int *argc, char ***argv);
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)		do { if (!(condition)) abort(); } while (0)

static GwColumn columns[] = {
	{"n", "n", "\"n\"", 1, 23, "integer", GW_NUMBER, true},
	{"t", "t", "\"t\"", 2, 25, "text", GW_TEXT, true},
	{"at", "at", "\"at\"", 3, 1184, "timestamptz", GW_TIME, true},
	{"b", "b", "\"b\"", 4, 16, "boolean", GW_BOOLEAN, true},
	{"p", "p", "\"p\"", 5, 1042, "char(3)", GW_PADDED, false},
	{"j", "j", "\"j\"", 6, 3802, "jsonb", GW_NOTHING, false},
};
static GwView view = {.schema = "public",.name = "v",.identifier = "public.v",.columns = columns,.column_count = 6};

/* A path, and after each line end a parameter; and the shape that follows from them. */
static void
fuzz_request(char *text)
{
	GwRequest	request;
	GwShape    *shape;
	char	   *wrong = NULL;

	gw_request_init(&request, strsep(&text, "\n"));
	for (char *parameter; wrong == NULL && (parameter = strsep(&text, "\n")) != NULL;)
		wrong = gw_request_parameter(&request, parameter);
	if (wrong == NULL)
	{
		shape = gw_shape_create(&view, &request, &wrong);
		MUST((shape == NULL) == (wrong != NULL));
		if (shape != NULL)
		{
			Oid		   *types;
			const char **values;
			int			count;
			char	   *sql = gw_shape_query(shape, false, 10, -1, false, &count, &types, &values);

			/* what a client says is in parameters only */
			for (int i = 0; i < count; i++)
				MUST(strlen(values[i]) < 12 || strstr(sql, values[i]) == NULL);
			free(sql);
			free(types);
			free(values);
			free(gw_shape_attributes(shape, -1));
			gw_shape_free(shape);
		}
	}
	free(wrong);
	gw_request_free(&request);
}

static void
fuzz_position(char *text)
{
	GwPosition	position;
	GwPosition	again;
	char		written[GW_POSITION_SIZE];

	if (!gw_position_parse(text, &position))
		return;
	MUST(gw_position_parse(gw_position_text(position, written), &again));
	MUST(gw_position_compare(position, again) == 0);
}

/* A row, projected and looked for its members. */
static void
fuzz_row(char *text)
{
	GwRequest	request;
	char	   *wrong;
	GwShape    *shape;
	ClientBuffer buffer = {0};
	ClientBuffer again = {0};
	Span		value;

	gw_request_init(&request, "/views/v");
	(void) gw_request_parameter(&request, "select=n,t");
	shape = gw_shape_create(&view, &request, &wrong);
	gw_shape_add_row(shape, &buffer, text);
	gw_shape_add_row(shape, &again, buffer.data);
	MUST(strcmp(buffer.data, again.data) == 0);
	gw_shape_add_omitted(shape, &again, text);
	(void) gw_shape_differs(shape, text, buffer.data);
	value = json_member(span_of(text), span_of("t"));
	if (value.data != NULL)
		free(gw_json_string(value, NULL));
	client_buffer_free(&buffer);
	client_buffer_free(&again);
	gw_shape_free(shape);
	gw_request_free(&request);
}

/* Two values with a line end between them. */
static void
fuzz_values(char *text)
{
	char	   *first = strsep(&text, "\n");
	Span		a = span_of(first);
	Span		b = span_of(text ? text : "");

	for (GwKind kind = GW_NUMBER; kind <= GW_PADDED; kind++)
	{
		MUST(gw_value_compare(kind, a, b) == -gw_value_compare(kind, b, a));
		MUST(gw_value_compare(kind, a, a) == 0);
	}
}

static void
fuzz_key(char *text)
{
	char		role[GW_MAX_NAME + 1];
	unsigned char hash[32];

	(void) gw_auth_parse_key(text, role, hash);
}

static void
fuzz_token(char *text)
{
	GwIdentity	identity;
	char	   *header = client_sprintf("Bearer %s", text);

	/* nobody guesses a signature */
	MUST(gw_auth_identify(header, NULL, NULL, &identity) != NULL);
	MUST(gw_auth_identify(text, NULL, NULL, &identity) != NULL);
	MUST(gw_auth_identify(NULL, text, NULL, &identity) != NULL);
	free(header);
}

static void
fuzz_options(char *text)
{
	GwSettings	before = gw_settings;

	memset(&gw_settings, 0, sizeof(gw_settings));
	free(client_options_parse(gw_options, text));
	for (const ClientOption *option = gw_options; option->name != NULL; option++)
	{
		if (option->type == CLIENT_STRING)
			free(*(char **) option->target);
	}
	gw_settings = before;
}

static void
fuzz_list(char *text)
{
	free(client_split_list(text));
}

static void (*const targets[]) (char *text) =
{
	fuzz_request, fuzz_position, fuzz_row, fuzz_values, fuzz_key, fuzz_token, fuzz_options, fuzz_list
};

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void) argc;
	(void) argv;
	gw_settings.jwt_role_claim = "role";
	gw_settings.jwt_secret = getenv("FUZZ_SECRET");
	free(gw_auth_load());
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text;

	if (size == 0)
		return 0;
	text = client_strndup((const char *) data + 1, size - 1);
	targets[data[0] % (sizeof(targets) / sizeof(targets[0]))] (text);
	free(text);
	return 0;
}
