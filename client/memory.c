/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  Memory that is there, or the program ends.
 *
 *-------------------------------------------------------------------------
 */
#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
must_be(void *memory)
{
	if (memory == NULL)
	{
		static const char message[] = "out of memory\n";

		(void) fwrite(message, 1, sizeof(message) - 1, stderr);
		exit(1);
	}
	return memory;
}

void *
client_alloc(size_t size)
{
	return must_be(calloc(1, size ? size : 1));
}

void *
client_realloc(void *memory, size_t size)
{
	return must_be(realloc(memory, size ? size : 1));
}

char *
client_strdup(const char *text)
{
	return must_be(strdup(text));
}

char *
client_strndup(const char *text, size_t length)
{
	return must_be(strndup(text, length));
}

char *
client_sprintf(const char *format,...)
{
	char	   *result;
	va_list		args;

	va_start(args, format);
	if (vasprintf(&result, format, args) < 0)
		result = NULL;
	va_end(args);
	return must_be(result);
}
