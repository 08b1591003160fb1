/*-------------------------------------------------------------------------
 *
 * debug_point.c
 *	  Places where a test lets the program be killed: see debug_point.h.
 *
 *-------------------------------------------------------------------------
 */
#include "debug_point.h"

#ifdef USE_ASSERT_CHECKING
#include <signal.h>
#include <stdlib.h>
#include <string.h>

void
debug_point(const char *name)
{
	static long passes = 0;
	const char *wanted = getenv("PG_DERIVE_KAFKA_KILL");
	size_t		length = strlen(name);

	if (wanted == NULL || strncmp(wanted, name, length) != 0 ||
		(wanted[length] != ':' && wanted[length] != '\0'))
		return;
	passes++;
	if (wanted[length] == '\0' || passes >= strtol(wanted + length + 1, NULL, 10))
		raise(SIGKILL);
}
#else
/* a file must have something */
typedef int DebugPointNothing;
#endif
