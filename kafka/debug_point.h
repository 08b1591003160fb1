/*-------------------------------------------------------------------------
 *
 * debug_point.h
 *	  Places where a test lets the program be killed.
 *
 * In a build with USE_ASSERT_CHECKING, PG_DERIVE_KAFKA_KILL="before_commit:3" ends the
 * program as kill -9 would, when it comes to that place for the third time.  In
 * others nothing is left of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DEBUG_POINT_H
#define DEBUG_POINT_H

#ifdef USE_ASSERT_CHECKING
extern void debug_point(const char *name);
#else
#define debug_point(name) ((void) 0)
#endif

#endif							/* DEBUG_POINT_H */
