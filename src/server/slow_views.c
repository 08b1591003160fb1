/*-------------------------------------------------------------------------
 *
 * slow_views.c
 *	  Views with a pace of their own: the worker's side of the slow lane.
 *
 * A view of which some part is computed anew as a whole (DeriveProgram.whole) takes
 * as long as its tables are large, however little has changed.  It must not be moved
 * in a batch, which moves all others.  So it is in the slow lane, and so are the views
 * that read it: a process of its own (lane.c) computes them, at positions that the
 * worker has passed, and not without pause.  The worker only says what there is to do:
 *
 *	assign		Who is in the lane is in derive_state.lane.  A view enters it where it
 *				stands: when its builder hands it over, when it is to be filled
 *				and reads other views, or when it turns out to be slow.
 *	watch		A batch that has changes of something that such a view reads
 *				inserts a row into derive_state.stale.  It is of the same transaction
 *				as the batch's position, so that at each position that the
 *				catalog shows it also says which of these views lack something.  One that
 *				lacks nothing is where all others are.
 *	tend		The lane's process is started when there is something to do for it,
 *				and cancelled when it stands in somebody's way.
 *
 * Not every view with such a part is slow: the first ten rows by an index take no time.
 * So each of them begins in the lane, where it is measured, and leaves it if it is
 * cheap; in batches it is measured, too, and the dearest one enters again if they become
 * dear together.  One that
 * grows by a factor of thousands from one batch to the next is stopped there (watchdog.c).
 * To leave costs nothing: it is done when the view lacks nothing.  A view over views of the
 * lane stays as long as they do.
 *
 * Nothing is kept for a view in the lane: no backlog, no log, no old row versions.
 *
 * Marks.  A run of the lane sees what some batch m has seen, and deletes the marks that
 * this batch and those before it have made.  A view that is marked need not be marked
 * again by every batch, as long as that mark survives:
 *
 *		batch			4		5		6		7		8		9
 *		changes			yes		yes		no		yes		yes		no
 *		run				------ of another view		sees 7 ----------
 *		mark			yes		no		no		yes		yes		no
 *
 * In 5 the mark of 4 is there, and the next run will see at least batch 6.  From the
 * moment when a run is about to ask for its batch until it knows which one it got
 * (DeriveLane.sees) every batch marks; here 7.  Then only a mark of a later one is
 * safe.
 *
 * A view that reads another one in the lane lacks something when that does: it is
 * marked in the same batch, but as one that follows, which need not be computed if the other
 * turns out to be what it was.
 *
 * Repair.  A session that asks for it gets its answer when a run has ended that saw
 * the batch which marked the view for it, or that failed after that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/lane.h"
#include "base/lock_waiters.h"
#include "base/registry.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "server/assistant.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/shmem.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/*
 * A view leaves the lane if what is computed as a whole in batches would take no longer
 * than that with it, and enters it again when that has taken longer.
 */
#define LEAVE_BELOW_MS	2.0
#define ENTER_ABOVE_MS	8.0

/* Look after the lane's process that often. */
#define LOOK_MS		1000

/* One that does not heed a cancellation by then is terminated. */
#define HEED_MS		5000

static uint64 runs_seen = 0;	/* DeriveLane.runs, when derive_state.lane was
								 * read */
static bool marked = false;		/* in this batch */

/* The number of this batch, or, between two, of the next one. */
static uint64
batch_number(void)
{
	return pg_atomic_read_u64(&derive_worker.place->batches) + 1;
}


/* ----------------------------------------------------------------
 *		What is known
 * ----------------------------------------------------------------
 */

void
derive_worker_forget_lane(WorkerView *view)
{
	DeriveLaneRow *row = view->lane;

	view->lane = NULL;
	view->stale = false;
	if (row == NULL)
		return;
	if (row->position)
		pfree(row->position);
	if (row->error)
		pfree(row->error);
	pfree(row);
}

/* Keep a copy of the row, which is or will be in the table. */
static void
remember(WorkerView *view, const DeriveLaneRow *row)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	DeriveLaneRow *copy = palloc(sizeof(DeriveLaneRow));

	*copy = *row;
	copy->position = derive_position_copy(row->position);
	copy->error = row->error ? pstrdup(row->error) : NULL;
	derive_worker_forget_lane(view);
	view->lane = copy;
	MemoryContextSwitchTo(oldcontext);
}

/* May a view in this state be in the lane?  One that only reads tables is filled by a builder. */
static bool
has_place(WorkerView *view)
{
	switch (view->row->state)
	{
		case DERIVE_VIEW_READY:
			return true;
		case DERIVE_VIEW_BUILDING:
			return view->program == NULL || view->program->view_sources != NIL;
		default:
			return false;
	}
}

/* While the registry is read: match the tables with the views, and remove rows that are void. */
void
derive_worker_load_lane(void)
{
	List	   *rows;
	List	   *stale;
	ListCell   *lc;

	runs_seen = pg_atomic_read_u64(&derive_worker.place->lane.runs);
	pg_read_barrier();
	rows = derive_lane_all(NULL);
	stale = derive_stale_all(NULL);
	foreach(lc, derive_worker.views)
		derive_worker_forget_lane(lfirst(lc));
	foreach(lc, rows)
	{
		DeriveLaneRow *row = lfirst(lc);
		WorkerView *view = derive_worker_find_view(row->view);

		if (view == NULL ? derive_worker_is_leftover(row->view) :
			(view->row->created_at != row->declared_at || !has_place(view)))
			derive_lane_end(row->view);
		else if (view == NULL)
			continue;
		else
			remember(view, row);
	}
	foreach(lc, stale)
	{
		WorkerView *view = derive_worker_find_view(((DeriveStale *) lfirst(lc))->view);

		if (view != NULL && view->lane != NULL)
			view->stale = true;
	}
}


/* ----------------------------------------------------------------
 *		Marks
 * ----------------------------------------------------------------
 */

static void
add_mark(WorkerView *view, DeriveStaleKind kind)
{
	derive_stale_add(view->relid, kind, derive_worker_lacking_since());
	view->stale = true;
	if (kind == DERIVE_STALE_FOLLOWS)
		view->follows_in = batch_number();
	else
		view->marked_in = batch_number();
	marked = true;
}

void
derive_worker_mark_stale(WorkerView *view, bool restart)
{
	add_mark(view, restart ? DERIVE_STALE_RESTART : DERIVE_STALE_CHANGED);
}

/* Is there a mark that was made in this earlier batch and that no run so far deletes? */
static bool
mark_lasts(uint64 made_in)
{
	return made_in != 0 && made_in < batch_number() &&
		made_in > pg_atomic_read_u64(&derive_worker.place->lane.sees);
}

/* Will a view in the lane that it reads be computed for something that this batch has found? */
static bool
follows(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program != NULL ? view->program->view_sources : NIL)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && source->lane != NULL && source->found_stale)
			return true;
	}
	return false;
}

/* A source that came back brought changes which the batch itself does not have. */
static bool
any_source_came_back(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && source->cohort != NULL)
			return true;
	}
	return false;
}

/* Is there another reason than changes to compute it? */
static bool
is_wanted(WorkerView *view)
{
	return view->program == NULL || view->row->rebuild || any_source_came_back(view) ||
		(view->journal != NULL && !view->journal->active) ||
		(view->row->state == DERIVE_VIEW_READY && !derive_is_populated(view->relid));
}

/* A session has asked for its repair: let that be done, or tell that it is.  True if something was written. */
static bool
watch_repair(WorkerView *view)
{
	ErrorData	edata = {.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE};
	bool		failed = view->lane->error != NULL && !view->stale;

	if (view->repair_in == 0 || view->repair_in >= batch_number())
	{
		view->repair_in = batch_number();
		view->stuck = true;
		derive_worker_mark_stale(view, false);
		return true;
	}
	if (failed)
		edata.message = view->lane->error;
	else if (!derive_position_includes(view->lane->position, view->repair_position))
	{
		view->stuck = true;
		return false;
	}
	view->repair_in = 0;
	derive_worker_answer_repairs(view, failed ? &edata : NULL);
	return false;
}

bool
derive_worker_watch_slow_view(WorkerView *view, bool changed)
{
	bool		wrote = false;

	Assert(view->lane != NULL && view->waiting == NULL);
	view->fresh = false;
	if (view->repair)
		wrote = watch_repair(view);

	/*
	 * Changes of what is not followed, or has not been for long enough,
	 * nobody sees.
	 */
	view->followed = view->kept || (view->program != NULL && derive_worker_sources_complete(view));
	if (!view->followed && view->program != NULL)
		derive_worker.unfinished = true;
	changed = changed || is_wanted(view);
	view->found_stale = changed || wrote || follows(view);
	if (changed && !(view->kept && mark_lasts(view->marked_in)))
	{
		add_mark(view, DERIVE_STALE_CHANGED);
		wrote = true;
	}
	else if (!changed && view->found_stale && !mark_lasts(view->marked_in) && !mark_lasts(view->follows_in))
	{
		add_mark(view, DERIVE_STALE_FOLLOWS);
		wrote = true;
	}
	return wrote;
}

void
derive_worker_lane_committed(void)
{
	DeriveAssistant *process = &derive_worker.place->assistants[DERIVE_SLOW_LANE];
	uint64		number = batch_number();
	ListCell   *lc;

	pg_atomic_write_u64(&derive_worker.place->batches, number);
	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (view->lane == NULL)
			continue;
		view->kept = view->followed;
		if (view->repair_in != number)
			continue;
		if (view->repair_position)
			pfree(view->repair_position);
		{
			MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);

			view->repair_position = derive_position_copy(derive_worker.position);
			MemoryContextSwitchTo(oldcontext);
		}
	}
	if (!marked)
		return;
	marked = false;
	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	if (process->pid != 0)
		SetLatch(process->latch);
	LWLockRelease(derive_shared()->lock);
}


/* ----------------------------------------------------------------
 *		Coming and going
 * ----------------------------------------------------------------
 */

/* In place of its row, which the caller may write. */
static void
enter(WorkerView *view, const DerivePosition *position, XLogRecPtr lsn, bool stale)
{
	DeriveLaneRow row = {0};

	row.view = view->relid;
	row.declared_at = view->row->created_at;
	row.position = derive_position_copy(position);
	row.lsn = lsn;
	row.at = XLogRecPtrIsInvalid(lsn) ? 0 : GetCurrentTimestamp();
	row.duration = row.whole = -1;
	derive_lane_set(&row);
	derive_worker_end_waiting(view);
	remember(view, &row);
	view->marked_in = view->follows_in = 0;
	view->found_stale = true;
	if (stale)
		derive_worker_mark_stale(view, false);
	derive_worker.reload = true;
}

void
derive_worker_hand_to_lane(WorkerView *view, bool changed)
{
	Assert(view->row->state == DERIVE_VIEW_CATCHUP && view->row->position != NULL);
	enter(view, view->row->position, InvalidXLogRecPtr, changed);
}

/* From where it stands now; one that has failed is computed anew, as that is what a session wants. */
static void
enter_from_here(WorkerView *view)
{
	bool		at_position = view->row->state == DERIVE_VIEW_READY && !derive_worker_needs_recompute(view);

	if (view->row->state == DERIVE_VIEW_FAILED)
	{
		view->retried = false;
		view->row->state = DERIVE_VIEW_READY;
		view->row->rebuild = true;
		view->row->error = NULL;
		view->row->error_at = 0;
		if (view->repair)
			derive_end_crash_series(view->row);
		derive_registry_update(view->row);
	}
	if (!at_position)
		enter(view, NULL, InvalidXLogRecPtr, true);
	else if (derive_worker_stands_still(view))
		enter(view, view->waiting->position, view->waiting->lsn, true);
	else
		enter(view, derive_worker.position, derive_worker.covered, false);
}

void
derive_worker_take_journal(WorkerView *view)
{
	DeriveJournal *journal = view->journal;
	XLogRecPtr	lsn = journal != NULL ? journal->lsn : InvalidXLogRecPtr;
	TimestampTz at = journal != NULL ? journal->at : 0;

	if (journal == NULL)
		return;
	derive_worker_drop_journal(view);
	derive_worker_load_journals();
	if (view->journal != NULL)
	{
		view->journal->lsn = lsn;
		view->journal->at = at;
	}
}

/* It moves with the others from here on, where it lacks nothing; in this batch, too. */
static void
leave(WorkerView *view)
{
	view->whole_ms = view->lane->whole;
	view->costly = false;
	derive_lane_end(view->relid);
	derive_worker_forget_lane(view);
	derive_worker.reload = true;
	derive_worker_take_journal(view);
}

/* What those parts of views take that are computed as a whole in batches, by the last ones. */
static double
costs_of_batch(void)
{
	double		result = 0;
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->lane == NULL && view->program != NULL && view->program->whole != NULL)
			result += view->whole_ms;
	}
	return result;
}

/* May its rows in our catalog be written?  Then no run of the lane has it. */
static bool
lock_rows(WorkerView *view)
{
	DeriveViewRow *now;

	if (!ConditionalLockRelationOid(view->relid, RowExclusiveLock))
		return false;
	now = get_rel_name(view->relid) == NULL ? NULL : derive_registry_get(view->relid);
	if (now != NULL && ItemPointerEquals(&now->version, &view->row->version))
		return true;
	derive_worker.reload = true;
	return false;
}

/* It reads a view that is in the lane, or will be, or it has a part that is computed as a whole and takes too long. */
bool
derive_worker_is_slow(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && (source->slow || source->lane != NULL))
			return true;
	}
	if (view->program->whole == NULL)
		return false;
	if (view->row->state != DERIVE_VIEW_READY || derive_worker_needs_recompute(view))
		return true;
	if (view->lane == NULL)
		return view->costly;
	return view->lane->whole <= 0 || view->lane->whole + costs_of_batch() > LEAVE_BELOW_MS;
}

void
derive_worker_watch_costs(void)
{
	WorkerView *most = NULL;
	double		costs = 0;
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (view->lane != NULL || view->program == NULL || view->program->whole == NULL || !view->moved)
			continue;
		view->whole_ms = view->program->whole_ms;
		costs += view->whole_ms;
		if (most == NULL || view->whole_ms > most->whole_ms)
			most = view;
	}
	if (costs < ENTER_ABOVE_MS || DERIVE_DEBUG_SKIPS("lane-costs"))
		return;
	most->costly = true;
	derive_worker.reload = true;
}

/* Is it where the worker is, with nothing that it could miss from here on? */
static bool
can_leave(WorkerView *view)
{
	return view->locked && view->row->state == DERIVE_VIEW_READY && !view->stale && view->kept &&
		view->lane->error == NULL && !derive_worker_needs_recompute(view) &&
		derive_is_populated(view->relid);
}

bool
derive_worker_assign_lane(void)
{
	bool		wrote = false;
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);
		bool		repaired = view->row->state == DERIVE_VIEW_FAILED && (view->repair || view->retried) &&
		derive_is_populated(view->relid);

		if (view->program == NULL || view->slow == (view->lane != NULL) ||
			!(has_place(view) || repaired) || (view->lane != NULL && !can_leave(view)) || !lock_rows(view))
			continue;
		if (view->slow)
			enter_from_here(view);
		else
			leave(view);
		wrote = true;
	}
	return wrote;
}


/* ----------------------------------------------------------------
 *		Between batches
 * ----------------------------------------------------------------
 */

/* Is there anything for the lane to do, now or after a pause? */
static bool
is_needed(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->lane != NULL && (view->stale || view->lane->error != NULL))
			return true;
	}
	return false;
}

static bool
any_repair(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->lane != NULL && view->repair)
			return true;
	}
	return false;
}

/* Once a second: does the process, whoever has started it, stand in somebody's way? */
void
derive_worker_look_after_lane(void)
{
	static int64 looked_at = 0;
	static int64 cancelled_at = 0;
	static pid_t cancelled = 0;
	pid_t		pid;

	if (!derive_has_elapsed(looked_at, LOOK_MS))
		return;
	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	pid = derive_worker.place->assistants[DERIVE_SLOW_LANE].pid;
	LWLockRelease(derive_shared()->lock);
	if (pid == 0)
		return;
	looked_at = derive_monotonic_ms();
	if (!derive_someone_waits_for(pid, NoLock))
		cancelled = 0;
	else
	{
		if (cancelled != pid)
			cancelled_at = looked_at;
		cancelled = pid;
		kill(pid, derive_has_elapsed(cancelled_at, HEED_MS) ? SIGTERM : SIGINT);
	}
}

void
derive_worker_tend_lane(void)
{
	if (pg_atomic_read_u64(&derive_worker.place->lane.runs) != runs_seen)
	{
		derive_worker.reload = true;
		if (any_repair())
			derive_worker.unfinished = true;
	}
	if (!is_needed())
		return;
	derive_assistant_tend(DERIVE_SLOW_LANE, derive_worker.place);
}

/* How long the worker may sleep, in ms. */
long
derive_worker_lane_timeout(long timeout)
{
	return is_needed() ? Min(timeout, RETRY_MS) : timeout;
}
