/*-------------------------------------------------------------------------
 *
 * cohort.c
 *	  Views that move together, and views that cannot be moved now.
 *
 * Nearly always all views of a database stand at one position and move to the
 * next one in one transaction.  A view that cannot be moved now (a session holds
 * a lock, its query took too long, the disk was full for its changes) must not
 * stop the others.  It is set aside: it keeps the position at which it stands,
 * and the others go on.  Views of one position are a cohort; a cohort moves in
 * one transaction, from its position to that of the batch, and then its views
 * are with the others again.
 *
 *		batch		1		2		3		4		5
 *		view a		P1		P2		P3		P4		P5
 *		view b		P1		P1 ---- P1 ---------------> P5		its table was locked
 *		view c		P1		P2		P2 ---> P4		P5			another one
 *		view d		P1		P1 ---- P1 ---------------> P5		reads view b
 *
 * In batch 5, b and d move from P1 to P5: the deltas of their tables are what P5
 * covers and P1 does not, and d gets the delta of b in this step.
 *
 * When a view is set aside.  Locks are only ever taken if they are free, before
 * the snapshot, and only those of views that seem to need them (concerned.c).  Whether a view that lacks a lock must be set aside is known after
 * decoding: if nothing that it reads has changed, it contains what the snapshot
 * shows, and is where the others are (it is "fresh").  A view that reads one that
 * is not fresh cannot be fresh either.  A view that is paused or has failed is read
 * as the table that it is, by the views over it.
 *
 * What it missed.  From the batch in which it is set aside on, the stream keeps the
 * changes of its tables with their xids (the backlog).  Its position is stored in
 * derive_state.waiting, by the batch that leaves it behind, and the slot is not
 * confirmed beyond it.  So if the process ends, the log still has it all, and the
 * next one reads it again: what the others' position covers goes to the backlog
 * only (FATE_WAITING).  If the log that is held for it exceeds
 * pg_derive.waiting_max_size its changes are given up, and it is computed anew when
 * it can be moved.  Its tables as they were where it stands are another matter: if
 * their old row versions have been let go (holding.c, "past_gone"), it still comes back
 * by its changes, except what needs them, which is computed anew then.
 *
 * What a view reads, its program says.  As long as that could not be loaded the
 * stream has not followed all of it.  So a view whose changes are not "kept" does not
 * move, and is not fresh either, whatever the batch seems to have for it; once its
 * program is loaded, the decoder is opened anew ("reread").
 *
 * A view over other views catches up exactly if these come back in the same step,
 * from the same position.  Otherwise it is recomputed: the log does not have the
 * changes of a materialized view.
 *
 * When it is tried again.  With every batch; if there is none, after a pause that
 * grows, since a lock can be released by a transaction that changes nothing.  One
 * that was too slow, or that met an error of the system, is held back for a while
 * (derive_worker_hold_back()).
 *
 * Rows of derive_state.waiting say why a view does not move.  Where the view has no
 * position of its own (it is to be filled, or computed anew) the row is just that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/error_context.h"
#include "base/gucs.h"
#include "base/lock_waiters.h"
#include "base/waiting.h"
#include "delta/stream.h"
#include "miscadmin.h"
#include "server/background.h"
#include "server/statistics.h"
#include "server/worker_internal.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Pauses between two tries, if nothing else makes a batch. */
#define FIRST_TRY_MS	20
#define LAST_TRY_MS		1000

/* An error of the system holds a view back for so long, twice as long the next time, ... */
#define FIRST_HOLD_MS	200
#define LAST_HOLD_MS	30000

/* One that is back by then is not worth two lines of the log. */
#define ANNOUNCE_MS		1000

/* The views that come back from one position. */
typedef struct Cohort
{
	const DerivePosition *position;
	DeriveBatch *batch;
} Cohort;

static List *cohorts;			/* of Cohort *, of this batch */
static int	tries;				/* in a row that left some view behind */


/* ----------------------------------------------------------------
 *		What is known of a view
 * ----------------------------------------------------------------
 */

/* Must it be computed anew, whatever changed? */
bool
derive_worker_needs_recompute(WorkerView *view)
{
	return view->row->rebuild || view->repair || view->retried || view->diverged ||
		(view->row->state == DERIVE_VIEW_READY && view->waiting != NULL && view->waiting->position == NULL);
}

/* Does it stand still at a position of its own? */
bool
derive_worker_stands_still(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_READY && !view->row->rebuild &&
		view->waiting != NULL && view->waiting->position != NULL;
}

/* What it stands still at or, for the others, stands at. */
const DerivePosition *
derive_worker_position_of(WorkerView *view)
{
	if (view->lane != NULL)
		return view->lane->position;
	return derive_worker_stands_still(view) ? view->waiting->position : derive_worker.position;
}

static void
free_waiting(WorkerView *view)
{
	DeriveWaitingRow *row = view->waiting;

	view->waiting = NULL;
	if (row == NULL)
		return;
	if (row->position)
		pfree(row->position);
	pfree(row->reason);
	pfree(row);
}

/* Keep a copy of the row, which is or will be in the table. */
static void
remember_waiting(WorkerView *view, const DeriveWaitingRow *row)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	DeriveWaitingRow *copy = palloc(sizeof(DeriveWaitingRow));

	*copy = *row;
	copy->position = derive_position_copy(row->position);
	copy->reason = pstrdup(row->reason);
	free_waiting(view);
	view->waiting = copy;
	MemoryContextSwitchTo(oldcontext);
}

static void
write_waiting(WorkerView *view, const DeriveWaitingRow *row)
{
	derive_waiting_set(row);
	remember_waiting(view, row);
}

void
derive_worker_forget_view_state(WorkerView *view)
{
	free_waiting(view);
	if (view->hold_reason)
		pfree(view->hold_reason);
	view->hold_reason = NULL;
}

/*
 * While the registry is read: match the table with the views, and remove rows that
 * are void.
 */
void
derive_worker_load_waiting(void)
{
	List	   *rows = derive_waiting_all();
	List	   *positions = NIL;
	ListCell   *lc;

	foreach(lc, derive_worker.views)
		free_waiting(lfirst(lc));
	foreach(lc, rows)
	{
		DeriveWaitingRow *row = lfirst(lc);
		WorkerView *view = derive_worker_find_view(row->view);

		if (view == NULL)
		{
			if (derive_worker_is_leftover(row->view))
				derive_waiting_end(row->view);
			continue;
		}
		if (view->row->created_at != row->declared_at ||
			view->row->state == DERIVE_VIEW_PAUSED ||
			(view->row->state == DERIVE_VIEW_FAILED && !view->repair && !view->retried))
			derive_waiting_end(row->view);
		else
			remember_waiting(view, row);
	}

	/*
	 * What is captured for them from now on, and was so far?  Nothing is kept
	 * for one that stands still but need not come back from there.
	 */
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (derive_worker_stands_still(view))
			positions = lappend(positions, view->waiting->position);
		else if (view->waiting != NULL && view->waiting->position != NULL)
			view->kept = false;
		if (view->program == NULL)
			view->kept = false;
		else if (derive_worker.stream != NULL && XLogRecPtrIsInvalid(derive_worker.decoded_upto))
			view->kept = true;
	}
	if (derive_worker.stream != NULL)
		derive_stream_set_waiting(derive_worker.stream, positions);
}

/*
 * The log is needed from here on by views that stand still, or are to come (moves.c); invalid: by none.  Also
 * by one that is to be computed anew, as long as its row has a position: partitions
 * that came may go again, before that is written down.
 */
XLogRecPtr
derive_worker_waiting_lsn(void)
{
	XLogRecPtr	result = derive_worker.pin;
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->waiting != NULL && view->waiting->position != NULL &&
			(XLogRecPtrIsInvalid(result) || view->waiting->lsn < result))
			result = view->waiting->lsn;
	}
	return result;
}


/* ----------------------------------------------------------------
 *		Locks
 * ----------------------------------------------------------------
 */

/* Note what a view lacks, to be found in view->busy and view->busy_mode. */
static bool
lock_or_note(WorkerView *view, List *relids, LOCKMODE mode)
{
	if (derive_lock_all(relids, mode, &view->busy))
	{
		view->busy = InvalidOid;
		return true;
	}
	view->busy_mode = mode;
	return false;
}

bool
derive_worker_lock_to_load(WorkerView *view, List *relids)
{
	return lock_or_note(view, relids, AccessShareLock);
}

/*
 * In a batch, before its snapshot: take the locks of those selected that can be had.
 * Sets "locked" of each.  False if what a view lacks must be read from the log
 * again first.
 */
bool
derive_worker_lock_views(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		reread = false;
	ListCell   *lc;

	cohorts = NIL;
	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (!view->dirty)
			view->busy = InvalidOid;
		if (!derive_worker_takes_part(view) || (view->lane != NULL && (view->slow || view->stale)))
			continue;
		view->locked = view->hold_until <= now && !view->dirty &&
			lock_or_note(view, view->reads, AccessShareLock) &&
			lock_or_note(view, view->writes, view->fill ? AccessExclusiveLock : RowExclusiveLock);
		if (view->locked && view->row->state == DERIVE_VIEW_READY && !view->kept &&
			!derive_worker_needs_recompute(view) && view->lane == NULL)
		{
			view->locked = false;
			reread = true;
		}
	}
	return !reread;
}


/* ----------------------------------------------------------------
 *		Standing still
 * ----------------------------------------------------------------
 */

/* Do not try the view for a while. */
void
derive_worker_hold_back(WorkerView *view, const char *reason, int64 ms)
{
	char	   *copy = MemoryContextStrdup(derive_worker.cxt, reason);

	if (view->hold_reason)
		pfree(view->hold_reason);
	view->hold_reason = copy;
	view->hold_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* After an error that says nothing about the view. */
void
derive_worker_hold_back_after_error(WorkerView *view, const ErrorData *edata)
{
	int64		ms = Min((int64) FIRST_HOLD_MS << Min(view->transient_errors, 20), LAST_HOLD_MS);

	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("view \"%s\" could not be moved and is tried again later: %s",
					get_rel_name(view->relid), edata->message),
			 edata->context ? errcontext("%s", edata->context) : 0));
	view->transient_errors++;
	derive_worker_hold_back(view, edata->message, ms);
}

/* Why it cannot be moved. */
static char *
cause_of(WorkerView *view)
{
	ListCell   *lc;

	if (view->hold_until > GetCurrentTimestamp() && view->hold_reason != NULL)
		return view->hold_reason;
	if (view->locked && derive_worker.yielding)
		return pstrdup("its turn, since a session waits for a lock that a batch had");
	if (OidIsValid(view->busy))
		return derive_lock_reason(MyProcPid, view->busy, view->busy_mode, NULL);
	foreach(lc, view->program != NULL ? view->program->view_sources : NIL)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && !derive_worker_is_fresh(source))
			return psprintf("view %s, which it reads", derive_relation_name(source->relid));
	}
	return pstrdup("a lock on something that it reads");
}

/* The same for people, and what that has come to. */
static char *
reason_of(WorkerView *view)
{
	char	   *cause = cause_of(view);

	return view->past_gone ? psprintf("%s%s", cause, DERIVE_PAST_IS_GONE) : cause;
}

/* Its sources that are in the log. */
static List *
logged_sources(WorkerView *view)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, view->program->sources)
	{
		DeriveSource *source = lfirst(lc);

		if (!list_member_oid(view->program->view_sources, source->relid))
			result = lappend(result, source);
	}
	return result;
}

/* Say in the log what it waits for, once it has waited for a while. */
static void
announce(WorkerView *view, const DeriveWaitingRow *row)
{
	bool		long_ago = TimestampDifferenceExceeds(row->since, GetCurrentTimestamp(), ANNOUNCE_MS);

	if (view->announced || (view->waiting != NULL && !long_ago))
		return;
	ereport(long_ago ? LOG : DEBUG1,
			(errmsg("view \"%s\" is set aside; it waits for: %s",
					get_rel_name(view->relid), row->reason)));
	view->announced = long_ago;
}

/* Say once that it will not come back from where it stands, if that needs old rows. */
static void
announce_past(WorkerView *view, const DeriveWaitingRow *row)
{
	if (view->past_gone && !view->past_announced)
		ereport(LOG,
				(errmsg("old row versions are no longer kept for view \"%s\"", get_rel_name(view->relid)),
				 errdetail("It has been waiting since %s for: %s.", timestamptz_to_str(row->since), row->reason),
				 errhint("\"pg_derive.max_hold\" and \"pg_derive.max_hold_age\" say for how long they are kept.")));
	view->past_announced = view->past_gone;
}

/*
 * The view should move in this batch and cannot: write down that it does not, and
 * why.  One that is to be computed anew meanwhile, since it has other partitions now,
 * say, loses its position for good: nothing is kept for it any more.  Returns whether
 * something was written.
 */
bool
derive_worker_set_aside(WorkerView *view)
{
	DeriveWaitingRow row = {0};

	view->stuck = true;
	row.view = view->relid;
	row.declared_at = view->row->created_at;
	row.since = GetCurrentTimestamp();
	row.behind_since = derive_worker_lacking_since();
	row.reason = reason_of(view);
	if (OidIsValid(view->busy))
	{
		row.relation = view->busy;
		row.mode = view->busy_mode;
	}
	if (view->waiting != NULL)
	{
		row.since = view->waiting->since;
		row.behind_since = view->waiting->behind_since;
	}
	announce(view, &row);
	announce_past(view, &row);
	if (view->waiting != NULL)
	{
		if (derive_worker_stands_still(view))
		{
			row.position = view->waiting->position;
			row.lsn = view->waiting->lsn;
		}
		if (strcmp(view->waiting->reason, row.reason) == 0 && view->waiting->relation == row.relation &&
			view->waiting->mode == row.mode && row.lsn == view->waiting->lsn)
			return false;
	}
	else if (view->row->state == DERIVE_VIEW_READY && !view->row->rebuild && derive_worker.position != NULL)
	{
		view->kept = view->kept && derive_stream_keep(derive_worker.stream, logged_sources(view));
		Assert(!XLogRecPtrIsInvalid(derive_worker.covered));
		row.position = derive_worker.position;
		row.lsn = derive_worker.covered;
	}
	write_waiting(view, &row);
	return true;
}

/* It was moved, or can go no further: its row in the table is void. */
void
derive_worker_end_waiting(WorkerView *view)
{
	view->transient_errors = view->timeouts = 0;
	view->give_up = KEEP_TRYING;
	view->hold_until = 0;
	if (view->waiting == NULL)
		return;
	if (view->row->state == DERIVE_VIEW_READY)
		ereport(view->announced ? LOG : DEBUG1,
				(errmsg("view \"%s\" is with the others again", get_rel_name(view->relid))));
	view->announced = false;
	derive_worker.reload = true;	/* nothing need be kept for it */
	derive_stats_came_back(view->relid);
	derive_waiting_end(view->relid);
	free_waiting(view);
}

/*
 * What the view lacks cannot be had: it is to be computed anew.  In a transaction.
 */
void
derive_worker_lose_changes(WorkerView *view, const char *reason)
{
	DeriveWaitingRow row = {0};

	if (view->lane != NULL)
	{
		derive_worker_mark_stale(view, false);
		return;
	}
	row.view = view->relid;
	row.declared_at = view->row->created_at;
	row.since = view->waiting ? view->waiting->since : GetCurrentTimestamp();
	row.behind_since = view->waiting ? view->waiting->behind_since : derive_worker_lacking_since();
	row.reason = unconstify(char *, reason);
	write_waiting(view, &row);
	derive_worker.reload = true;
}

/*
 * In a batch: give up the changes of views for which too much of the log is held.
 * One that only has to wait for the next batch is not meant, nor is a topic: its
 * events are nowhere but in the log.  Returns whether something was written.
 */
bool
derive_worker_limit_waiting(XLogRecPtr covered)
{
	bool		wrote = false;
	ListCell   *lc;

	if (derive_waiting_max_size == 0)
		return false;
	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (!derive_worker_stands_still(view) || (view->locked && derive_worker_sources_fresh(view)) ||
			covered - view->waiting->lsn <= (uint64) derive_waiting_max_size * 1024 ||
			derive_view_is_topic(view->relid))
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the changes that view \"%s\" has missed are no longer kept, it will be computed anew",
						get_rel_name(view->relid)),
				 errdetail("It has been waiting since %s for: %s.",
						   timestamptz_to_str(view->waiting->since), view->waiting->reason),
				 errhint("\"pg_derive.waiting_max_size\" says how much of the log is held for such views.")));
		derive_worker_lose_changes(view, view->waiting->reason);
		wrote = true;
	}
	return wrote;
}


/* ----------------------------------------------------------------
 *		Coming back
 * ----------------------------------------------------------------
 */

/* Are all views that it reads where this batch's snapshot is, once it is this view's turn? */
bool
derive_worker_sources_fresh(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && !derive_worker_is_fresh(source) &&
			source->row->state != DERIVE_VIEW_PAUSED && source->row->state != DERIVE_VIEW_FAILED)
			return false;
	}
	return true;
}

static bool
same_position(const DerivePosition *a, const DerivePosition *b)
{
	return a->time == b->time && derive_position_includes(a, b) && derive_position_includes(b, a);
}

/*
 * The deltas with which a view comes back, in common with all that stand where it
 * does; NULL: it must be recomputed.
 */
DeriveBatch *
derive_worker_cohort_batch(WorkerView *view, const DeriveBatch *batch)
{
	const DerivePosition *position = view->waiting->position;
	Cohort	   *cohort = NULL;
	List	   *sources = NIL;
	ListCell   *lc;

	Assert(derive_worker_stands_still(view) && view->kept);
	foreach(lc, cohorts)
	{
		if (same_position(((Cohort *) lfirst(lc))->position, position))
			cohort = lfirst(lc);
	}
	if (cohort == NULL)
	{
		cohort = palloc(sizeof(Cohort));
		cohort->position = derive_position_copy(position);
		foreach(lc, derive_worker.selected)
		{
			WorkerView *other = lfirst(lc);

			if (derive_worker_stands_still(other) && other->kept && other->locked &&
				same_position(other->waiting->position, position))
				sources = list_concat(sources, logged_sources(other));
		}
		cohort->batch = derive_stream_batch_since(derive_worker.stream, sources, position);
		cohort->batch->lsn = batch->lsn;
		cohort->batch->covered = batch->covered;
		cohort->batch->time = batch->time;
		cohorts = lappend(cohorts, cohort);
	}

	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && source->cohort != cohort->batch)
			return NULL;
	}
	view->cohort = cohort->batch;
	view->cohort_deltas = list_length(cohort->batch->deltas);
	return cohort->batch;
}

void
derive_worker_leave_cohort(WorkerView *view)
{
	view->cohort->deltas = list_truncate(view->cohort->deltas, view->cohort_deltas);
	view->cohort = NULL;
}


/* ----------------------------------------------------------------
 *		When to try again
 * ----------------------------------------------------------------
 */

/* After a batch. */
void
derive_worker_plan_next_try(void)
{
	TimestampTz at = 0;
	TimestampTz soon = 0;
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (!view->stuck)
			continue;
		if (soon == 0)
			soon = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   Min(FIRST_TRY_MS << Min(tries, 10), LAST_TRY_MS));
		if (at == 0 || Max(soon, view->hold_until) < at)
			at = Max(soon, view->hold_until);
	}
	tries = at == 0 ? 0 : tries + 1;
	derive_worker.try_at = at;
}

/* A view that a session asks something for cannot be moved: the request must wait. */
bool
derive_worker_is_stuck(Oid relid)
{
	WorkerView *view = derive_worker_find_view(relid);

	return view != NULL && view->stuck && derive_worker.try_at > GetCurrentTimestamp();
}
