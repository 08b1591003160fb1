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
 * So the launcher compares the clock with the one that only goes on:
 *
 *		clock		elapsed.h	difference
 *		12:00:00	5,000 s		a
 *		12:00:05	5,005 s		a
 *		10:00:10	5,010 s		a - 2 h		set back: cancel what workers are doing
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
#include "server/shmem.h"
#include "utils/timestamp.h"

#define LOOK_MS		5000
#define STEP_MS		1000		/* what is less, timers may be late */

/* Is there any?  If the clock was set back, those in a batch are cancelled. */
static bool
look_at_workers(bool cancel)
{
	DeriveShared *shared = derive_shared();
	bool		any = false;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < shared->ngroups; i++)
	{
		DeriveGroup *place = &shared->groups[i];

		if (place->worker_pid == 0)
			continue;
		any = true;
		if (cancel && pg_atomic_read_u32(&place->activity) == DERIVE_MOVING)
			kill(place->worker_pid, SIGINT);
	}
	LWLockRelease(shared->lock);
	return any;
}

long
derive_clock_step_tend(void)
{
	static int64 difference = PG_INT64_MAX;
	int64		before = difference;

	difference = GetCurrentTimestamp() / 1000 - derive_monotonic_ms();
	return look_at_workers(before != PG_INT64_MAX && difference < before - STEP_MS) ? LOOK_MS : -1;
}
