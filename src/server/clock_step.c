/*-------------------------------------------------------------------------
 *
 * clock_step.c
 *	  What was under way when the clock of the machine was set back.
 *
 * The timers of a server (utils/misc/timeout.c) count by the clock that people set.  One
 * that was started before the clock was set back by an hour goes off an hour late: the
 * watchdog's (watchdog.c), a lock_timeout with which a worker waits in the middle of a batch,
 * the one after which a deadlock is looked for; and pg_sleep() in a function of a view sleeps
 * for an hour more.  A worker cannot notice that in a batch, and all its views would stand
 * still.
 *
 * So a worker notes by how much the clock is ahead of the one that only goes on whenever it
 * begins to move views, and with each tick of the watchdog, and the launcher compares:
 *
 *		clock		elapsed.h	ahead
 *		12:00:00	5,000 s		a			noted by the worker
 *		12:00:05	5,005 s		a			the launcher looks
 *		10:00:10	5,010 s		a - 2 h		set back: it cancels what the worker is doing
 *
 * Their batches are rolled back and begin anew, with timers by the clock that there is now.
 * What they have planned for later, each of them plans anew when it comes to rest
 * (worker.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "base/elapsed.h"
#include "server/clock_step.h"
#include "utils/timestamp.h"

#define LOOK_MS		5000
#define STEP_MS		1000		/* what is less, timers may be late */

/* In ms. */
static int64
clock_ahead(void)
{
	return GetCurrentTimestamp() / 1000 - derive_monotonic_ms();
}

void
derive_clock_step_note(DeriveGroup *place)
{
	pg_atomic_write_u64(&place->clock_ahead, (uint64) clock_ahead());
}

long
derive_clock_step_tend(void)
{
	DeriveShared *shared = derive_shared();
	long		result = -1;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->ngroups; i++)
	{
		DeriveGroup *place = &shared->groups[i];

		if (place->worker_pid == 0)
			continue;
		result = LOOK_MS;
		if (pg_atomic_read_u32(&place->activity) == DERIVE_MOVING &&
			clock_ahead() < (int64) pg_atomic_read_u64(&place->clock_ahead) - STEP_MS)
			kill(place->worker_pid, SIGINT);
	}
	LWLockRelease(shared->lock);
	return result;
}
