/*-------------------------------------------------------------------------
 *
 * watchdog.c
 *	  A limit on the time that one view may take in a batch.
 *
 * All views of a database move in one process, one after the other, and a view runs
 * code of its owner.  Whoever can create a view could stop all others with a function
 * that does not return.  So while a view moves a timer looks at it:
 *
 *	it waits	for a lock, another process, a client, or just sleeps, for a second
 *				at a stretch.  Maintaining a view has no reason to.
 *	it is slow	and has taken longer than pg_derive.view_timeout.
 *	it is large	and the process has grown by more than pg_derive.view_max_memory
 *				meanwhile.  Before the system kills it, and the whole server with it.
 *
 * In all cases the query is cancelled, as by pg_cancel_backend(), and again with
 * each tick, since a function can catch that.  One that does not heed it for some
 * seconds ends the process; the next one finds the view's name in shared memory and
 * marks it as failed.
 *
 * A view that was bitten is set aside (cohort.c) and tried again after a pause of
 * ten times what it took, so that it takes no more than a tenth of everybody's time,
 * and with twice the limit.  After MAX_BITES it is not tried again but goes to a
 * builder, a process of its own that may take as long as it likes as long as it does
 * something (tend.c); one that no builder can fill (a view over views, or one that
 * contains more than its tables have now) has failed.  Where another try is of no use,
 * since it waits, is large, or is slow in being computed anew, a builder gets it at
 * once.
 *
 * A view that is computed as a whole, and only moves here because that took no time so
 * far, has a tenth of a second, and goes to the slow lane (slow_views.c).
 *
 * The memory is the high-water mark of the process, pages of shared buffers that it
 * touched included, since that is what can be asked for in a signal handler.  So a
 * view is not noticed as long as it needs less than another one before it did.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/gucs.h"
#include "miscadmin.h"
#include "server/clock_step.h"
#include "server/worker_internal.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

#define TICK_MS			100
#define WHOLE_MS		100		/* for one that can be computed in the slow
								 * lane */
#define WAITING_MS		1000	/* at a stretch */
#define PATIENCE_MS		5000	/* for it to heed the cancellation */
#define PAUSE_FACTOR	10
#define MAX_BITES		2

typedef enum Bite
{
	BITE_NONE,
	BITE_WAITS,
	BITE_SLOW,
	BITE_LARGE
} Bite;

static bool registered = false;
static bool running = false;	/* the timer */
static TimeoutId timer;

/* The view that moves now; NULL: none.  Read by the timer's handler. */
static WorkerView *volatile watched = NULL;
static int64 started_at;		/* derive_monotonic_ms() */
static int64 limit_ms;
static int64 limit_kb;			/* of the high-water mark; 0: none */

/* What the handler found. */
static volatile int waiting_ms;
static volatile uint32 waits_for;	/* wait event */
static volatile Bite bite = BITE_NONE;
static volatile int64 bitten_at;

/* The other clock at the last tick: it is by that one that the timer counts. */
static volatile TimestampTz ticked_at;

bool
derive_watchdog_is_idle_wait(uint32 wait_event_info)
{
	switch (wait_event_info & 0xFF000000U)
	{
		case PG_WAIT_LOCK:
		case PG_WAIT_ACTIVITY:
		case PG_WAIT_CLIENT:
		case PG_WAIT_EXTENSION:
		case PG_WAIT_IPC:
		case PG_WAIT_TIMEOUT:
			return true;
		default:
			return false;
	}
}

static int64
high_water_kb(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : 0;
}

/* In a signal handler. */
static void
tick(void)
{
	uint32		wait_event_info = *(volatile uint32 *) my_wait_event_info;
	int64		now = derive_monotonic_ms();

	ticked_at = GetCurrentTimestamp();
	derive_clock_step_note(derive_worker.place);
	if (watched == NULL || derive_debug_point_waiting())
		return;
	if (bite == BITE_NONE)
	{
		waiting_ms = derive_watchdog_is_idle_wait(wait_event_info) ? waiting_ms + TICK_MS : 0;
		if (waiting_ms >= WAITING_MS)
		{
			bite = BITE_WAITS;
			waits_for = wait_event_info;
		}
		else if (now - started_at >= limit_ms)
			bite = BITE_SLOW;
		else if (limit_kb > 0 && high_water_kb() > limit_kb)
			bite = BITE_LARGE;
		else
			return;
		bitten_at = now;
	}
	if (now - bitten_at >= PATIENCE_MS)
	{
		derive_worker.place->stubborn_view = watched->relid;
		ProcDiePending = true;
	}
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static void
start(WorkerView *view, int64 limit)
{
	if (derive_view_timeout == 0)
		return;
	if (!registered)
	{
		timer = RegisterTimeout(USER_TIMEOUT, tick);
		registered = true;
	}
	limit_ms = limit;
	limit_kb = derive_view_max_memory == 0 ? 0 : high_water_kb() + derive_view_max_memory;
	started_at = derive_monotonic_ms();
	waiting_ms = 0;
	bite = BITE_NONE;
	watched = view;

	/* one that was set before the clock was set back would tick much later */
	if (!running || GetCurrentTimestamp() < ticked_at)
	{
		ticked_at = GetCurrentTimestamp();
		enable_timeout_every(timer, TimestampTzPlusMilliseconds(ticked_at, TICK_MS), TICK_MS);
		running = true;
	}
}

/* From here to the stop, this view moves. */
void
derive_watchdog_start(WorkerView *view)
{
	int64		limit = (int64) derive_view_timeout << Min(view->timeouts, 20);

	start(view, view->program->whole != NULL && !DERIVE_DEBUG_SKIPS("lane-costs") ? Min(limit, WHOLE_MS) : limit);
}

void
derive_watchdog_start_switch(WorkerView *replacement)
{
	start(replacement, derive_view_timeout);
}

void
derive_watchdog_stop(void)
{
	if (watched == NULL)
		return;
	watched = NULL;
	if (bite != BITE_NONE)
		QueryCancelPending = false; /* it came too late */
	bite = BITE_NONE;
}

void
derive_watchdog_rest(void)
{
	derive_watchdog_stop();
	if (running)
		disable_timeout(timer, false);
	running = false;
}

/* What to do with it next. */
static void
decide(WorkerView *view, Bite how, int64 took_ms)
{
	const char *what;

	if (view->program != NULL && view->program->whole != NULL)
	{
		view->costly = true;
		derive_worker.reload = true;
		return;
	}
	view->timeouts++;
	if (how == BITE_WAITS)
		what = psprintf("a function that it calls, which waits (%s)", pgstat_get_wait_event(waits_for));
	else if (how == BITE_LARGE)
		what = psprintf("more memory than %d MB (pg_derive.view_max_memory)", derive_view_max_memory / 1024);
	else
		what = psprintf("more time than %ld ms (pg_derive.view_timeout)", (long) took_ms);
	if (view->timeouts >= MAX_BITES || how == BITE_LARGE ||
		(derive_worker_can_be_built(view) && (how == BITE_WAITS || derive_worker_needs_recompute(view))))
		view->give_up = GIVE_TO_BUILDER;
	derive_worker_hold_back(view, what, view->give_up != KEEP_TRYING ? 0 : took_ms * PAUSE_FACTOR);
}

/*
 * After an ERROR, outside of any transaction or in one that has not failed: the
 * view that was bitten, which has been told what becomes of it; or NULL.
 */
WorkerView *
derive_watchdog_bitten(void)
{
	WorkerView *view = watched;
	Bite		how = bite;
	int64		took_ms = derive_monotonic_ms() - started_at;

	derive_watchdog_stop();
	if (view == NULL || how == BITE_NONE)
		return NULL;
	decide(view, how, took_ms);
	return view;
}
