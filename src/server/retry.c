/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  Views that have failed, and when they are tried again.
 *
 * The query of a view can fail: by a division by zero, a cast, a sub-query that has two
 * rows, a function that raises an error, or that has become VOLATILE so that the query is
 * not even compiled.  The view then stands still with the message, and
 * the cause is mostly a row, which somebody mends.  So it is tried again, if what it
 * contains follows from the rows that there are; the row of the registry says so
 * (DeriveViewRow.retry).  What only people can end is not tried: a right that was taken
 * away, a function that waits.
 *
 * Where.  Never as a part of the view's move with the others, which would cost them a
 * batch each time.  A view that only reads tables goes to a builder (state building, with
 * the error; it comes back by its backlog like a new one).  Only what no builder can
 * compute, a view over views, is computed in a batch, in a subtransaction and under the
 * watchdog's eyes.
 *
 * When.  Nothing changed, and the error is still there; so the tables of such a view are
 * followed as if it were maintained.  A batch that has changes for it makes another try
 * due, after a pause, which doubles as long as tries fail:
 *
 *		seconds		0		5		6		7		8		10		11
 *		changes		x		x		x		x				x
 *		error		yes		yes				yes				no
 *		try					5		6				8				(in 11: fresh)
 *					pause 1			2				4
 *
 * The first one waits for a change, which comes in 5.  In 6 it is too early, and the one
 * in 7 is early too, so that one try, in 8, sees both.  What is no change of
 * a table (a function's body that nobody announced, what it reads by itself) is found by
 * a try without any change, after the longest pause.
 *
 * A view that fails, comes back and fails again soon after has each time cost a
 * batch, so its pauses go on where they were.
 *
 * All of this is memory of the process; a new one begins with a try.
 *
 * A crash is another matter: processes that crashed over a view try it again at the time
 * that its row says, changes or not, and until then it is neither followed nor even
 * compiled (crashed_view.c).  That it is tried is committed first, by a batch that does nothing
 * else for it; then its program is loaded, and the rest is as above.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "materialize/program.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/statistics.h"
#include "server/worker_internal.h"

/* After an error, if there was a change; the longest pause, which is also that without a change, others know. */
#define FIRST_PAUSE_MS	1000
#define LAST_PAUSE_MS	DERIVE_RETRY_PAUSE_MS

/* An error that comes within so many times the last pause continues the series. */
#define SERIES_FACTOR	4


/* Is it one that is tried again, and not being tried now? */
static bool
is_to_be_tried(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_FAILED && !view->repair && !view->retried &&
		(view->row->retry || view->tried_after_crash || derive_has_failed_by_crash(view->row));
}

/* It has failed at that time, or not even been tried. */
static void
plan(WorkerView *view, TimestampTz failed_at)
{
	bool		series = view->failed_at != 0 &&
	failed_at < TimestampTzPlusMilliseconds(view->failed_at, view->retry_pause * SERIES_FACTOR);

	view->retry_pause = series ? Min(view->retry_pause * 2, LAST_PAUSE_MS) : FIRST_PAUSE_MS;
	view->failed_at = failed_at;
}

void
derive_worker_plan_retries(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (!is_to_be_tried(view) || !view->row->retry || view->row->error_at == view->known_error_at)
			continue;
		view->known_error_at = view->row->error_at;
		plan(view, view->row->error_at);
	}
}

static TimestampTz
due_at(WorkerView *view, TimestampTz now)
{
	int64		pause = view->retry_changed ? view->retry_pause : LAST_PAUSE_MS;

	if (!view->row->retry && !view->tried_after_crash)
		return view->row->retry_at <= TimestampTzPlusMilliseconds(now, DERIVE_LAST_CRASH_PAUSE_MS) ?
			Max(view->row->retry_at, view->retry_at) : now; /* the clock was set
															 * back */
	view->failed_at = Min(view->failed_at, now);	/* the clock was set back */
	return Max(TimestampTzPlusMilliseconds(view->failed_at, pause), view->retry_at);
}

/* Have the views that it reads been built? */
static bool
can_read_sources(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->view_sources)
	{
		if (!derive_is_populated(lfirst_oid(lc)))
			return false;
	}
	return true;
}

void
derive_worker_note_retry(WorkerView *view)
{
	view->retry_changed = false;
}

bool
derive_worker_watch_failed_view(WorkerView *view, DeriveBatch *batch)
{
	TimestampTz now = GetCurrentTimestamp();

	/* while it is tried, too: the try may not see it */
	if (view->row->error != NULL)
		view->retry_changed |= view->program == NULL || derive_program_changes(view->program, batch) >= 0;
	if (!is_to_be_tried(view) || due_at(view, now) > now)
		return false;
	if (!view->row->retry && !view->tried_after_crash)
		return derive_worker_announce_try(view);
	if (view->program == NULL)
	{
		derive_worker.reload = true;	/* may be had by now */
		plan(view, now);
		return false;
	}
	view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);	/* if it is locked */
	if (!can_read_sources(view))
	{
		plan(view, now);		/* it is told when they are */
		return false;
	}
	if (derive_worker_can_be_built(view) || !derive_is_populated(view->relid))
		return derive_worker_send_to_retry(view);
	derive_worker_note_retry(view);
	view->retried = true;
	derive_worker.reload = derive_worker.unfinished = true;
	return false;
}

bool
derive_worker_retry_is_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (is_to_be_tried(view) && due_at(view, now) <= now)
			return true;
	}
	return false;
}

/* For people: when is it tried again?  0: it is not. */
static void
tell(WorkerView *view, TimestampTz at)
{
	if (view->told_try_at == at)
		return;
	view->told_try_at = at;
	derive_stats_set_next_try(view->relid, at);
}

long
derive_worker_retry_timeout(long timeout)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);
		bool		tried = is_to_be_tried(view);

		if (tried)
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, due_at(view, now)) + 1);
		tell(view, tried ? due_at(view, now) : 0);
	}
	return timeout;
}
