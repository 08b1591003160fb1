/*-------------------------------------------------------------------------
 *
 * debug_point.h
 *	  Named points where a test can stop or fail the code.
 *
 * Compiled in with USE_ASSERT_CHECKING only; nothing in release builds.  The
 * setting pg_derive.debug_point (superuser, reloadable) is a comma-separated
 * list of "name:action":
 *
 *	error	raise ERROR there, every time
 *	once	raise ERROR there the first time after the setting changed
 *	full	raise ERROR there that the disk is full, every time
 *	kill	SIGKILL this process there
 *	wait	wait until the session-level advisory lock hashtext(name) can be
 *			taken (a test holds it and lets go)
 *	skip	leave out what DERIVE_DEBUG_SKIPS(name) guards: a precaution whose
 *			test thereby shows that it would notice if it were missing, or what
 *			the clock decides
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DEBUG_POINT_H
#define DERIVE_DEBUG_POINT_H

#ifdef USE_ASSERT_CHECKING
#include "utils/guc.h"

extern bool derive_debug_point_check(char **newval, void **extra, GucSource source);
extern void derive_debug_point_reached(const char *name);
extern bool derive_debug_point_skips(const char *name);
#define DERIVE_DEBUG_POINT(name) derive_debug_point_reached(name)
#define DERIVE_DEBUG_SKIPS(name) derive_debug_point_skips(name)

/* Is this process being held at one?  May be called in a signal handler. */
extern bool derive_debug_point_waiting(void);

/* Does a test want processes to stop or fail anywhere? */
extern bool derive_debug_point_any(void);
#else
#define DERIVE_DEBUG_POINT(name) ((void) 0)
#define DERIVE_DEBUG_SKIPS(name) false
#define derive_debug_point_waiting() false
#define derive_debug_point_any() false
#endif

#endif							/* DERIVE_DEBUG_POINT_H */
