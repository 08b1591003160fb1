/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  A text that grows.
 *
 *-------------------------------------------------------------------------
 */
#include "buffer.h"

#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST	64

char *
client_buffer_reserve(ClientBuffer *buffer, size_t more)
{
	size_t		needed = buffer->length + more + 1;

	if (needed > buffer->size)
	{
		size_t		size = buffer->size ? buffer->size : SMALLEST;

		while (size < needed)
			size *= 2;
		buffer->data = client_realloc(buffer->data, size);
		buffer->size = size;
	}
	return buffer->data + buffer->length;
}

void
client_buffer_add(ClientBuffer *buffer, const void *data, size_t length)
{
	char	   *place = client_buffer_reserve(buffer, length);

	if (length > 0)
		memcpy(place, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
}

void
client_buffer_add_text(ClientBuffer *buffer, const char *text)
{
	client_buffer_add(buffer, text, strlen(text));
}

void
client_buffer_add_char(ClientBuffer *buffer, char c)
{
	client_buffer_add(buffer, &c, 1);
}

void
client_buffer_addf(ClientBuffer *buffer, const char *format,...)
{
	va_list		args;
	int			length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		return;
	va_start(args, format);
	(void) vsnprintf(client_buffer_reserve(buffer, (size_t) length), (size_t) length + 1, format, args);
	va_end(args);
	buffer->length += (size_t) length;
}

void
client_buffer_add_json(ClientBuffer *buffer, const char *text)
{
	client_buffer_add_char(buffer, '"');
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '"' || *c == '\\')
			client_buffer_addf(buffer, "\\%c", *c);
		else if (*c == '\n')
			client_buffer_add_text(buffer, "\\n");
		else if ((unsigned char) *c < 0x20)
			client_buffer_addf(buffer, "\\u%04x", (unsigned char) *c);
		else
			client_buffer_add_char(buffer, *c);
	}
	client_buffer_add_char(buffer, '"');
}

void
client_buffer_clear(ClientBuffer *buffer)
{
	buffer->length = 0;
	if (buffer->data != NULL)
		buffer->data[0] = '\0';
}

void
client_buffer_free(ClientBuffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}

char *
client_buffer_take(ClientBuffer *buffer)
{
	char	   *result;

	(void) client_buffer_reserve(buffer, 0);
	buffer->data[buffer->length] = '\0';
	result = buffer->data;
	memset(buffer, 0, sizeof(*buffer));
	return result;
}
