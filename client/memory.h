/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  Memory that is there, or the program ends.
 *
 * Who uses these functions bounds what he asks for.  What is then still refused
 * by the system cannot be mended: the program says so and ends, and whoever runs
 * it starts it again.  The memory is that of malloc(), for free().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_MEMORY_H
#define CLIENT_MEMORY_H

#include <stddef.h>

/* Of zeroes. */
extern void *client_alloc(size_t size);
extern void *client_realloc(void *memory, size_t size);
extern char *client_strdup(const char *text);
extern char *client_strndup(const char *text, size_t length);
extern char *client_sprintf(const char *format,...) __attribute__((format(printf, 1, 2)));

#endif
