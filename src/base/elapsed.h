/*-------------------------------------------------------------------------
 *
 * elapsed.h
 *	  How long something takes, whatever happens to the clock that people set.
 *
 * The clock of a machine is set: by hand, in a step by NTP, when a virtual machine goes on.
 * For example, while a view moves that may take one second:
 *
 *				clock		ours (ms)
 *		start	12:00:00	5,000,000
 *		end		14:00:00	5,000,200		7,200 s, or 0.2 s
 *
 * So what is measured, or limited, within the life of a server is so by the clock that
 * only goes on, which all processes of a machine share.  What people are told, what
 * outlives a server, and pauses, which may end early, are by GetCurrentTimestamp().
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ELAPSED_H
#define DERIVE_ELAPSED_H

#include "portability/instr_time.h"

/* Milliseconds since some moment in the past, never 0.  May be called in a signal handler. */
static inline int64
derive_monotonic_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now) + 1;
}

/* Has it been as long as that, in ms, since then?  0 is long ago. */
static inline bool
derive_has_elapsed(int64 since, int64 ms)
{
	return since == 0 || derive_monotonic_ms() - since >= ms;
}

/* What is left, in ms, of a timeout that began then; below 0: there is none. */
static inline int64
derive_time_left(int64 since, int64 timeout_ms)
{
	return timeout_ms < 0 ? timeout_ms : Max(timeout_ms - (derive_monotonic_ms() - since), 0);
}

#endif							/* DERIVE_ELAPSED_H */
