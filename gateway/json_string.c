/*-------------------------------------------------------------------------
 *
 * json_string.c
 *	  What a string of JSON says.
 *
 *-------------------------------------------------------------------------
 */
#include "json_string.h"

#include "buffer.h"

#include <stdlib.h>
#include <string.h>

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
gw_json_string(Span value, size_t *length)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	ClientBuffer result = {0};
	const char *end = value.data + value.length - 1;

	if (value.length < 2 || value.data[0] != '"' || *end != '"')
		return NULL;
	for (const char *c = value.data + 1; c < end; c++)
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
