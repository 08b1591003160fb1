/*-------------------------------------------------------------------------
 *
 * lane_compute.c
 *	  The slow lane: one view in a run.
 *
 * S+ is active, the views that it reads and that are in the run come before it.  A
 * view at which nothing has changed is at S as it is.  Another one is run afresh to the
 * difference (DERIVE_OF_CURRENT_ROWS), or given the changes of the views that it reads,
 * if all that has changed for it is known; one that has no contents yet is filled.
 * An ERROR of its own stays with the view, and with those that read it; one that says
 * nothing about it ends the run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/debug_point.h"
#include "base/guard.h"
#include "portability/instr_time.h"
#include "server/assistant.h"
#include "server/background.h"
#include "server/crash_guard.h"
#include "server/lane_internal.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

typedef struct Move
{
	LaneRun    *run;
	LaneView   *view;
} Move;


static void
open_journal(LaneRun *run, LaneView *view)
{
	DeriveJournalRow row;
	bool		replaced = view->row->state == DERIVE_VIEW_BUILDING || !derive_view_populated(view->relid);

	view->journal = NULL;
	view->program->observer = NULL;
	if (!derive_journal_get(view->relid, NULL, &row, NULL))
		return;
	view->journal = derive_journal_load(&row);
	view->journal->lsn = run->lsn;
	view->journal->at = run->at;
	view->program->observer = derive_journal_observe;
	view->program->observer_arg = view->journal;
	if (row.active && (replaced || (view->stale != NULL && view->stale->restart)))
		derive_journal_begin(view->journal);
	derive_journal_open(view->journal);
}

static void
close_journal(LaneView *view)
{
	if (view->journal == NULL)
		return;
	derive_journal_close(view->journal);
	if (!view->journal->active)
		derive_journal_begin(view->journal);
}

static void
take_lock(void *arg, Oid view)
{
	derive_lock_at_end(view, AccessExclusiveLock, &derive_assistant_self->blocked_on);
}

/* Does a view that must be told of its changes read this one? */
static bool
is_read_by_changes(LaneRun *run, LaneView *view)
{
	ListCell   *lc;

	foreach(lc, run->views)
	{
		DeriveProgram *program = ((LaneView *) lfirst(lc))->program;

		if (!(program->routine->flags & DERIVE_OF_CURRENT_ROWS) &&
			list_member_oid(program->view_sources, view->relid))
			return true;
	}
	return false;
}

/* Has anything that it reads changed, besides views of the run? */
static bool
is_changed(LaneView *view)
{
	return view->stale != NULL && view->stale->changed;
}

/* Do we know all that has changed for it? */
static bool
knows_changes(LaneRun *run, LaneView *view)
{
	ListCell   *lc;

	if (is_changed(view) || view->lane->position == NULL || view->lane->error != NULL || view->row->rebuild)
		return false;
	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = derive_lane_find_view(run, lfirst_oid(lc));

		if (source != NULL && source->replaced)
			return false;
	}
	return true;
}

/* 6. One view, in a subtransaction. */
static void
compute(void *arg)
{
	LaneRun    *run = ((Move *) arg)->run;
	LaneView   *view = ((Move *) arg)->view;
	DeriveProgram *program = view->program;
	DeriveTargetCounts counts = {0};
	bool		by_changes = !(program->routine->flags & DERIVE_OF_CURRENT_ROWS);
	instr_time	start;
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(start);
	derive_crash_guard_note(view->relid, "computing the view");
	open_journal(run, view);

	/* See what the views before this one did. */
	CommandCounterIncrement();
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	program->exported = is_read_by_changes(run, view);
	program->expire = program->routine->expire != NULL;
	program->present = run->position->time;
	if (view->row->state == DERIVE_VIEW_BUILDING || !derive_view_populated(view->relid))
	{
		counts.inserted = derive_program_build(program, NULL, take_lock, NULL);
		view->replaced = true;
	}
	else if (by_changes && knows_changes(run, view))
		view->stats.changes_in = derive_program_apply(program, run->batch, &counts);
	else
		derive_program_recompute(program, by_changes || program->exported ? run->batch : NULL, &counts);
	PopActiveSnapshot();
	close_journal(view);
	DERIVE_DEBUG_POINT(psprintf("lane-computed-%s", get_rel_name(view->relid)));

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	view->moved = view->replaced || counts.inserted + counts.updated + counts.deleted > 0;
	view->stats.batches = 1;
	view->stats.inserted = counts.inserted;
	view->stats.updated = counts.updated;
	view->stats.deleted = counts.deleted;
	view->stats.apply_ms = INSTR_TIME_GET_MILLISEC(duration);
	derive_log_slow_view(view->relid, &view->stats);
}

/* Must it be computed?  Else it is at S as it is. */
static bool
must_be_computed(LaneRun *run, LaneView *view)
{
	ListCell   *lc;

	if (is_changed(view) || view->lane->position == NULL || view->lane->error != NULL ||
		view->row->rebuild || view->row->state != DERIVE_VIEW_READY)
		return true;
	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = derive_lane_find_view(run, lfirst_oid(lc));

		if (source != NULL && source->moved)
			return true;
	}
	return false;
}

/* The view that it reads and that could not be computed, if there is one. */
static LaneView *
source_in_error(LaneRun *run, LaneView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = derive_lane_find_view(run, lfirst_oid(lc));

		if (source != NULL && source->error != NULL)
			return source;
	}
	return NULL;
}

void
derive_lane_compute(LaneRun *run, LaneView *view)
{
	Move		move = {run, view};
	LaneView   *source = source_in_error(run, view);
	int			ndeltas = list_length(run->batch->deltas);
	ErrorData  *edata;

	if (source != NULL)
	{
		view->error = psprintf("view \"%s\", which it reads, could not be computed", get_rel_name(source->relid));
		view->sqlerrcode = source->sqlerrcode;
		return;
	}
	if (!must_be_computed(run, view))
		return;
	edata = derive_guarded(compute, &move);
	if (edata == NULL)
		return;
	if (derive_error_is_transient(edata->sqlerrcode) || edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(edata);
	run->batch->deltas = list_truncate(run->batch->deltas, ndeltas);
	view->journal = NULL;
	view->moved = view->replaced = false;
	view->rebuild = derive_error_is_damage(edata->sqlerrcode) && view->row->state == DERIVE_VIEW_READY &&
		(view->program->routine->flags & DERIVE_OF_CURRENT_ROWS);
	view->error = derive_error_text(edata);
	view->sqlerrcode = edata->sqlerrcode;
	view->context = edata->context;
}
