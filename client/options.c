/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Settings of a program: a table, read from a file and the command line.
 *
 *-------------------------------------------------------------------------
 */
#include "options.h"

#include "buffer.h"
#include "log.h"
#include "memory.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct Unit
{
	const char *name;
	int64_t		factor;
} Unit;

/* The first one is that of a plain number. */
static const Unit duration_units[] = {
	{"s", 1000}, {"ms", 1}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0}
};
static const Unit size_units[] = {
	{"B", 1}, {"kB", 1024}, {"MB", 1024 * 1024}, {"GB", 1024 * 1024 * 1024}, {NULL, 0}
};
static const Unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct
{
	const char *name;
	bool		value;
}			booleans[] =

{
	{"on", true}, {"true", true}, {"yes", true}, {"1", true},
	{"off", false}, {"false", false}, {"no", false}, {"0", false},
};


/* ----------------------------------------------------------------
 *		Values
 * ----------------------------------------------------------------
 */

/* Each of these returns NULL, or what is wrong, for free(). */
static char *
set_number(const ClientOption *option, const char *value, const Unit *units)
{
	const Unit *unit = units;
	char	   *end;
	long long	number;

	errno = 0;
	number = strtoll(value, &end, 10);
	while (isspace((unsigned char) *end))
		end++;
	if (*end != '\0')
	{
		while (unit->name != NULL && strcasecmp(unit->name, end) != 0)
			unit++;
	}
	if (errno != 0 || end == value || unit->name == NULL || number > INT64_MAX / unit->factor || number < INT64_MIN / unit->factor)
		return client_sprintf("\"%s\" is not a %s", value,
							  units == no_units ? "number" :
							  units == duration_units ? "duration, such as 500ms, 10s, 5min, 1h or 1d" :
							  "size, such as 64kB, 16MB or 1GB");
	if ((option->min != 0 || option->max != 0) &&
		(number * unit->factor < option->min || number * unit->factor > option->max))
		return client_sprintf("\"%s\" is not between %" PRId64 " and %" PRId64 "%s", value, option->min, option->max,
							  units == duration_units ? " ms" : units == size_units ? " bytes" : "");
	*(int64_t *) option->target = number * unit->factor;
	return NULL;
}

static char *
set_boolean(const ClientOption *option, const char *value)
{
	for (size_t i = 0; i < sizeof(booleans) / sizeof(booleans[0]); i++)
	{
		if (strcasecmp(booleans[i].name, value) == 0)
		{
			*(bool *) option->target = booleans[i].value;
			return NULL;
		}
	}
	return client_sprintf("\"%s\" is neither on nor off", value);
}

static char *
set_option(const ClientOption *option, const char *value)
{
	switch (option->type)
	{
		case CLIENT_STRING:
			free(*(char **) option->target);
			*(const char **) option->target = value[0] != '\0' ? client_strdup(value) : NULL;
			return NULL;
		case CLIENT_INTEGER:
			return set_number(option, value, no_units);
		case CLIENT_DURATION:
			return set_number(option, value, duration_units);
		case CLIENT_SIZE:
			return set_number(option, value, size_units);
		case CLIENT_BOOLEAN:
			return set_boolean(option, value);
	}
	return NULL;
}

/* "-" stands for "_". */
static const ClientOption *
find_option(const ClientOption *options, const char *name, size_t length)
{
	for (; options->name != NULL; options++)
	{
		size_t		i = 0;

		while (i < length && options->name[i] == (name[i] == '-' ? '_' : name[i]))
			i++;
		if (i == length && options->name[i] == '\0')
			return options;
	}
	return NULL;
}


/* ----------------------------------------------------------------
 *		The file
 * ----------------------------------------------------------------
 */

static const char *
skip_blanks(const char *c)
{
	while (*c == ' ' || *c == '\t' || *c == '\r')
		c++;
	return c;
}

/* The value that begins here, for free(); NULL if its quote is not closed or something follows. */
static char *
read_value(const char *c)
{
	ClientBuffer value = {0};

	if (*c == '\'')
	{
		for (c++; *c != '\'' || c[1] == '\''; c++)
		{
			if (*c == '\0' || *c == '\n')
			{
				client_buffer_free(&value);
				return NULL;
			}
			if (*c == '\'')
				c++;
			client_buffer_add_char(&value, *c);
		}
		c = skip_blanks(c + 1);
		if (*c != '\0' && *c != '\n' && *c != '#')
		{
			client_buffer_free(&value);
			return NULL;
		}
	}
	else
	{
		while (*c != '\0' && *c != '\n' && *c != '#')
			client_buffer_add_char(&value, *c++);
		while (value.length > 0 && isspace((unsigned char) value.data[value.length - 1]))
			value.data[--value.length] = '\0';
	}
	return client_buffer_take(&value);
}

/* One line of a file.  NULL, or what is wrong. */
static char *
read_line(const ClientOption *options, const char *c)
{
	const ClientOption *option;
	const char *name = c = skip_blanks(c);
	size_t		length;
	char	   *value;
	char	   *wrong;

	if (*c == '\0' || *c == '\n' || *c == '#')
		return NULL;
	while (isalnum((unsigned char) *c) || *c == '_' || *c == '-')
		c++;
	length = (size_t) (c - name);
	c = skip_blanks(c);
	if (length == 0 || *c != '=')
		return client_strdup("not of the form: name = value");
	option = find_option(options, name, length);
	if (option == NULL)
		return client_sprintf("there is no setting \"%.*s\"", (int) length, name);
	value = read_value(skip_blanks(c + 1));
	if (value == NULL)
		return client_sprintf("%s: a quote is not closed, or something follows it", option->name);
	wrong = set_option(option, value);
	free(value);
	if (wrong != NULL)
	{
		char	   *message = client_sprintf("%s: %s", option->name, wrong);

		free(wrong);
		return message;
	}
	return NULL;
}

char *
client_options_parse(const ClientOption *options, const char *text)
{
	for (int number = 1; text != NULL; number++)
	{
		char	   *wrong = read_line(options, text);

		if (wrong != NULL)
		{
			char	   *message = client_sprintf("line %d: %s", number, wrong);

			free(wrong);
			return message;
		}
		text = strchr(text, '\n');

		if (text != NULL)
			text++;
	}
	return NULL;
}

static void
read_file(const ClientOption *options, const char *path)
{
	ClientBuffer text = {0};
	char		part[4096];
	size_t		length;
	FILE	   *file = fopen(path, "r");
	char	   *wrong;

	if (file == NULL)
		client_fatal("cannot read \"%s\": %s", path, strerror(errno));
	while ((length = fread(part, 1, sizeof(part), file)) > 0)
		client_buffer_add(&text, part, length);
	if (ferror(file))
		client_fatal("cannot read \"%s\": %s", path, strerror(errno));
	fclose(file);
	wrong = text.data != NULL ? client_options_parse(options, text.data) : NULL;

	if (wrong != NULL)
		client_fatal("%s, %s", path, wrong);
	client_buffer_free(&text);
}


/* ----------------------------------------------------------------
 *		The command line
 * ----------------------------------------------------------------
 */

static void
help(const ClientOption *options, const char *program, const char *about)
{
	printf("%s\n\nUsage: %s [--config=FILE] [--NAME=VALUE]...\n\n"
		   "The file has lines NAME = VALUE; the command line comes before it.\n\n", about, program);
	for (; options->name != NULL; options++)
	{
		printf("  %s%s%s\n      %s\n", options->name, options->preset && options->preset[0] ? " = " : "",
			   options->preset ? options->preset : "", options->help);
	}
	printf("\n  --help, --version\n");
}

/* The value of an argument "--name=value" or "--name value"; NULL if that is another one. */
static const char *
value_of(const char *name, int argc, char **argv, int *i)
{
	size_t		length = strlen(name);

	if (strncmp(argv[*i], name, length) != 0)
		return NULL;
	if (argv[*i][length] == '=')
		return argv[*i] + length + 1;
	if (argv[*i][length] == '\0' && *i + 1 < argc)
		return argv[++*i];
	return NULL;
}

static void
read_argument(const ClientOption *options, int argc, char **argv, int *i)
{
	const char *argument = argv[*i];
	const ClientOption *option = NULL;
	const char *value = NULL;
	char	   *wrong;

	if (strncmp(argument, "--", 2) == 0)
		option = find_option(options, argument + 2, strcspn(argument + 2, "="));
	if (option == NULL)
		client_fatal("\"%s\" is not an option; --help tells which there are", argument);
	if (strchr(argument, '=') != NULL)
		value = strchr(argument, '=') + 1;
	else if (option->type == CLIENT_BOOLEAN)
		value = "on";
	else if (*i + 1 < argc)
		value = argv[++*i];
	else
		client_fatal("%s: there is no value", argument);
	wrong = set_option(option, value);
	if (wrong != NULL)
		client_fatal("%s: %s", option->name, wrong);
}

void
client_options_read(const ClientOption *options, int argc, char **argv,
					const char *program, const char *version, const char *about)
{
	const char *path;

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--help") == 0)
			help(options, program, about);
		else if (strcmp(argv[i], "--version") == 0)
			printf("%s (pg_derive) %s\n", program, version);
		else
			continue;
		exit(0);
	}
	for (const ClientOption *option = options; option->name != NULL; option++)
	{
		char	   *wrong = set_option(option, option->preset ? option->preset : "");

		if (wrong != NULL)
			client_fatal("default of %s: %s", option->name, wrong);
	}
	for (int i = 1; i < argc; i++)
	{
		if ((path = value_of("--config", argc, argv, &i)) != NULL)
			read_file(options, path);
	}
	for (int i = 1; i < argc; i++)
	{
		if (value_of("--config", argc, argv, &i) == NULL)
			read_argument(options, argc, argv, &i);
	}
}

char	  **
client_split_list(const char *list)
{
	size_t		length = list ? strlen(list) : 0;
	size_t		count = 1;
	char	  **result;
	char	   *text;
	size_t		n = 0;

	for (size_t i = 0; i < length; i++)
		count += list[i] == ',';
	result = client_alloc((count + 1) * sizeof(char *) + length + 1);
	text = (char *) (result + count + 1);

	if (length > 0)
		memcpy(text, list, length);
	for (char *rest = text, *element; (element = strsep(&rest, ",")) != NULL;)
	{
		while (isspace((unsigned char) *element))
			element++;
		for (size_t end = strlen(element); end > 0 && isspace((unsigned char) element[end - 1]); end--)
			element[end - 1] = '\0';
		if (*element != '\0')
			result[n++] = element;
	}
	return result;
}
