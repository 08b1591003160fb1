/*-------------------------------------------------------------------------
 *
 * buffer.h
 *	  A text that grows.
 *
 * {0} is an empty one.  "data" is NULL or ends with a zero byte, which "length"
 * does not count; it moves as the text grows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_BUFFER_H
#define CLIENT_BUFFER_H

#include <stddef.h>

typedef struct ClientBuffer
{
	char	   *data;
	size_t		length;
	size_t		size;			/* of the memory */
} ClientBuffer;

extern void client_buffer_add(ClientBuffer *buffer, const void *data, size_t length);
extern void client_buffer_add_text(ClientBuffer *buffer, const char *text);
extern void client_buffer_add_char(ClientBuffer *buffer, char c);
extern void client_buffer_addf(ClientBuffer *buffer, const char *format,...) __attribute__((format(printf, 2, 3)));

/* Room for so many more bytes; returns where they go.  "length" is then the caller's to raise. */
extern char *client_buffer_reserve(ClientBuffer *buffer, size_t more);

/* As a string of JSON, with its quotes.  The text is UTF-8, which is not checked. */
extern void client_buffer_add_json(ClientBuffer *buffer, const char *text);

/* Empty again, with its memory kept; and without. */
extern void client_buffer_clear(ClientBuffer *buffer);
extern void client_buffer_free(ClientBuffer *buffer);

/* The text, never NULL, for free(); the buffer is empty then. */
extern char *client_buffer_take(ClientBuffer *buffer);

#endif
