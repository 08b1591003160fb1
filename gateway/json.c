/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Pieces of rows, as the server writes them.
 *
 *-------------------------------------------------------------------------
 */
#include "json.h"

#include "buffer.h"

#include <stdlib.h>
#include <string.h>

static const char *
skip_blanks(const char *c)
{
	while (*c == ' ' || *c == '\t' || *c == '\n' || *c == '\r')
		c++;
	return c;
}

/* Behind a string that begins here; NULL if it has no end. */
static const char *
skip_string(const char *c)
{
	if (*c++ != '"')
		return NULL;
	for (; *c != '"'; c++)
	{
		if (*c == '\\')
			c++;
		if (*c == '\0')
			return NULL;
	}
	return c + 1;
}

/* Behind a value that begins here; NULL if it has no end. */
static const char *
skip_value(const char *c)
{
	const char *start = c;
	int			depth = 0;

	for (;;)
	{
		if (*c == '"')
		{
			c = skip_string(c);
			if (c == NULL || depth == 0)
				return c;
			continue;
		}
		if (*c == '\0')
			return depth == 0 && c > start ? c : NULL;
		if (*c == '{' || *c == '[')
			depth++;
		else if (*c == '}' || *c == ']')
		{
			if (depth == 0)
				return c > start ? c : NULL;
			if (--depth == 0)
				return c + 1;
		}
		else if (depth == 0 && (*c == ',' || *c == ' '))
			return c > start ? c : NULL;
		c++;
	}
}

bool
gw_json_next(const char **place, GwSlice *name, GwSlice *value)
{
	const char *c = skip_blanks(*place);

	if (*c != '{' && *c != ',')
		return false;
	name->text = skip_blanks(c + 1);
	c = skip_string(name->text);
	if (c == NULL)
		return false;
	name->length = (size_t) (c - name->text);
	c = skip_blanks(c);
	if (*c != ':')
		return false;
	value->text = skip_blanks(c + 1);
	c = skip_value(value->text);
	if (c == NULL)
		return false;
	value->length = (size_t) (c - value->text);
	*place = c;
	return true;
}

bool
gw_json_element(const char **place, GwSlice *value)
{
	const char *c = skip_blanks(*place);

	if (*c != '[' && *c != ',')
		return false;
	value->text = skip_blanks(c + 1);
	c = skip_value(value->text);
	if (c == NULL)
		return false;
	value->length = (size_t) (c - value->text);
	*place = c;
	return true;
}

bool
gw_json_member(const char *object, const char *quoted_name, GwSlice *value)
{
	GwSlice		name;

	while (gw_json_next(&object, &name, value))
	{
		if (gw_slice_is(name, quoted_name))
			return true;
	}
	return false;
}

bool
gw_slice_is(GwSlice slice, const char *text)
{
	return strlen(text) == slice.length && memcmp(text, slice.text, slice.length) == 0;
}

/* The value of four hexadecimal digits, -1 if they are none. */
static int
hex4(const char *c, const char *end)
{
	int			result = 0;

	if (end - c < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		const char *digits = "0123456789abcdef";
		const char *digit = c[i] ? strchr(digits, c[i] | 0x20) : NULL;

		if (digit == NULL)
			return -1;
		result = result * 16 + (int) (digit - digits);
	}
	return result;
}

static void
add_utf8(ClientBuffer *buffer, int code)
{
	if (code < 0x80)
		client_buffer_add_char(buffer, (char) code);
	else if (code < 0x800)
	{
		client_buffer_add_char(buffer, (char) (0xC0 | code >> 6));
		client_buffer_add_char(buffer, (char) (0x80 | (code & 0x3F)));
	}
	else
	{
		client_buffer_add_char(buffer, (char) (0xE0 | code >> 12));
		client_buffer_add_char(buffer, (char) (0x80 | (code >> 6 & 0x3F)));
		client_buffer_add_char(buffer, (char) (0x80 | (code & 0x3F)));
	}
}

/* The server writes \u for control characters only, so pairs of surrogates do not come. */
char *
gw_json_string(GwSlice value, size_t *length)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	ClientBuffer result = {0};
	const char *end = value.text + value.length - 1;

	if (value.length < 2 || value.text[0] != '"' || *end != '"')
		return NULL;
	for (const char *c = value.text + 1; c < end; c++)
	{
		const char *escape;

		if (*c != '\\')
		{
			client_buffer_add_char(&result, *c);
			continue;
		}
		c++;
		if (c < end && *c == 'u' && hex4(c + 1, end) >= 0)
		{
			add_utf8(&result, hex4(c + 1, end));
			c += 4;
		}
		else if (c < end && (escape = memchr(escapes, *c, sizeof(escapes) - 1)) != NULL)
			client_buffer_add_char(&result, meanings[escape - escapes]);
		else
		{
			client_buffer_free(&result);
			return NULL;
		}
	}
	if (length != NULL)
		*length = result.length;
	return client_buffer_take(&result);
}
