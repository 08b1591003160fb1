/*-------------------------------------------------------------------------
 *
 * advance.c
 *	  Moving the views to the position of a batch.
 *
 * Views in the slow lane are not moved here, but watched (slow_views.c).
 *
 * A view moves in one of five ways: by its deltas, which is the rule; by being
 * recomputed, if a delta is not enough; by being handed over from its builder,
 * with the backlog of what its builder did not see; by coming back from where it
 * stood still, likewise; or, if it reads other maintained views, by being filled
 * here and now.  The views come in the order in which they read each other, so that
 * each finds the deltas of those before it in the batch.  One that cannot be moved
 * now is set aside (cohort.c).
 *
 * Errors.  Batches normally run all views without subtransactions.  After an
 * ERROR the batch is run again in careful mode: each view in a subtransaction of
 * its own.  A view whose deltas cannot be applied there is recomputed: its rows may
 * not be what they must have been (DERIVE_ERRCODE_DIVERGED), and an expression may
 * fail on rows that only a delta has.  If even the difference between what there
 * is and what should be cannot be applied, because internal tables or indexes are
 * damaged, the view is sent to be built anew.  If the query fails as well, the view
 * is marked with the message and stands still; the others go on, and it is tried again
 * outside of batches (retry.c).  An error that says
 * nothing about the view (no memory, no disk, a serialization failure), or a view
 * that takes too long (watchdog.c), sets it aside: it is tried again, for as long as
 * it takes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/error_context.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/lock_waiters.h"
#include "base/registry.h"
#include "delta/delta.h"
#include "delta/stream.h"
#include "deposit/target.h"
#include "materialize/program.h"
#include "notify/journal.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "server/background.h"
#include "server/builder.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "server/worker_internal.h"
#include "storage/itemptr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* What the views did in a batch; added to the statistics once it is committed. */
typedef struct BatchStats
{
	Oid			view;
	DeriveCounters stats;
} BatchStats;

/* A view's move, as an argument for derive_guarded(). */
typedef struct Move
{
	WorkerView *view;
	DeriveBatch *batch;
	List	  **stats;			/* of BatchStats * */
	double		delta_ms;
} Move;


/* Is the view one that the next batch may change? */
bool
derive_worker_takes_part(WorkerView *view)
{
	if (view->program == NULL)
		return false;
	switch (view->row->state)
	{
		case DERIVE_VIEW_READY:
		case DERIVE_VIEW_CATCHUP:
			return true;
		case DERIVE_VIEW_BUILDING:
			return view->fill || (view->give_up != KEEP_TRYING && view->builder == NULL);
		case DERIVE_VIEW_FAILED:
			return view->repair || view->retried;
		default:
			return false;
	}
}


bool
derive_worker_can_be_built(WorkerView *view)
{
	return view->program->view_sources == NIL && (view->program->routine->flags & DERIVE_OF_CURRENT_ROWS);
}

/* Is it time to remove from the view what is too old? */
bool
derive_worker_expire_due(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_READY && view->program != NULL && view->lane == NULL &&
		view->program->routine->expire != NULL && GetCurrentTimestamp() >= view->expire_at;
}


/* ----------------------------------------------------------------
 *		Failing
 * ----------------------------------------------------------------
 */

/*
 * May the view's row be written in the current transaction?  If not, *gone tells
 * whether because it is dropped or released at this very moment, or because a session
 * has locked the view.
 */
static bool
lock_row(WorkerView *view, bool *gone)
{
	*gone = get_rel_name(view->relid) == NULL || derive_registry_get(view->relid) == NULL;
	if (*gone)
	{
		derive_worker.reload = true;
		return false;
	}
	if (!ConditionalLockRelationOid(view->relid, RowExclusiveLock))
	{
		view->busy = view->relid;
		view->busy_mode = RowExclusiveLock;
		return false;
	}
	return true;
}

/* From now on it lacks something, if it did not before. */
static void
note_behind(WorkerView *view)
{
	if (view->row->behind_since == 0)
		view->row->behind_since = view->waiting != NULL ? view->waiting->behind_since : derive_worker_lacking_since();
}

/* To a builder, or to be filled here.  What it contains until then, it contains. */
static void
send_back(WorkerView *view)
{
	view->row->rebuild = derive_is_populated(view->relid);
	if (!view->row->rebuild)
		view->row->position = NULL;
	else if (view->row->position == NULL)
		view->row->position = derive_position_copy(derive_worker_position_of(view));
	note_behind(view);
	view->row->state = DERIVE_VIEW_BUILDING;
	view->row->epoch = 0;
	derive_registry_update(view->row);
	derive_worker_end_waiting(view);
	derive_worker.reload = true;
}

bool
derive_worker_rebuild_view(WorkerView *view, const char *reason)
{
	bool		gone;

	if (!lock_row(view, &gone))
		return gone;
	ereport(LOG,
			(errmsg("view \"%s\" is built anew: %s", get_rel_name(view->relid), reason)));
	view->row->error = NULL;
	view->row->error_at = 0;
	send_back(view);
	view->repair = false;		/* who asked for it can wait for the builder */
	return true;
}

/* Committed before the try is made, after which its program is loaded. */
bool
derive_worker_announce_try(WorkerView *view)
{
	bool		gone;

	view->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);	/* if it is locked */
	if (!lock_row(view, &gone))
		return gone;
	view->tried_after_crash = true;
	derive_note_try_after_crash(view->row);
	derive_worker.reload = true;
	return true;
}

/* Its error stays until it is known to be gone. */
bool
derive_worker_send_to_retry(WorkerView *view)
{
	bool		gone;

	if (!lock_row(view, &gone))
		return gone;
	ereport(DEBUG1,
			(errmsg("view \"%s\", which has failed, is tried again", get_rel_name(view->relid))));
	send_back(view);
	return true;
}

/*
 * A view can go no further: write down why, in the current transaction.
 */
bool
derive_worker_fail_view(WorkerView *view, const char *message, const ErrorData *error, bool retry)
{
	bool		gone;

	if (!lock_row(view, &gone))
		return gone;

	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("maintenance of view \"%s\" has failed: %s", get_rel_name(view->relid), message),
			 retry ? errhint("Remove the cause. The view is tried again when something that it reads has changed, now and then, and by derive.repair().") :
			 errhint("Remove the cause, then call derive.repair() for the view."),
			 error->context ? errcontext("%s", error->context) : 0));

	view->retried = false;
	view->retry_changed = false;
	view->whole_ms = 0;
	if (view->row->position == NULL)
		view->row->position = derive_position_copy(derive_worker_position_of(view));
	note_behind(view);
	derive_row_set_error(view->row, pstrdup(message), retry);
	pg_atomic_fetch_add_u32(&derive_worker.place->still, 1);	/* counted anew when the
																 * registry is read */
	view->row->epoch = 0;
	derive_registry_update(view->row);
	derive_worker_end_waiting(view);
	view->fill = false;
	return true;
}


/* ----------------------------------------------------------------
 *		Moving one view
 * ----------------------------------------------------------------
 */

/*
 * Views that read this one must not rely on a delta that nobody has: its
 * contents were replaced as a whole.
 */
void
derive_worker_export_unknown(WorkerView *view, DeriveBatch *batch, const char *reason)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, derive_worker.views)
	{
		WorkerView *reader = lfirst(lc);

		if (reader->program == NULL ||
			!list_member_oid(reader->program->view_sources, view->relid))
			continue;
		foreach(lc2, reader->program->sources)
		{
			DeriveSource *source = lfirst(lc2);
			Relation	rel;
			DeriveDelta *delta;

			if (source->relid != view->relid)
				continue;
			delta = derive_batch_find(batch, source->relid, source->inh);
			if (delta == NULL)
			{
				rel = table_open(view->relid, NoLock);
				delta = derive_delta_create(source->relid, source->inh, RelationGetDescr(rel));
				table_close(rel, NoLock);
				derive_batch_add(batch, delta);
			}
			delta->unknown = true;
			delta->reason = reason;
		}
	}
}

static void
export_unknown(WorkerView *view, DeriveBatch *batch)
{
	derive_worker_export_unknown(view, batch, "the view it reads was built");
}

/*
 * Move one view to the batch's position: by its deltas, by recomputing it, by
 * handing it over from its builder, or by filling it.
 */
static void
advance(void *arg)
{
	Move	   *move = arg;
	WorkerView *view = move->view;
	DeriveProgram *program = view->program;
	DeriveViewRow row = *view->row;
	DeriveBatch *batch;
	DeriveTargetCounts counts = {0};
	BatchStats *stats = palloc0(sizeof(BatchStats));
	instr_time	start;
	instr_time	duration;
	bool		settled = true; /* the registry must know */

	INSTR_TIME_SET_CURRENT(start);
	derive_crash_guard_note(view->relid, "changing the view");
	if (view->journal != NULL)
	{
		/* its contents are replaced, by its builder or here */
		if (view->journal->active &&
			(view->fill || (row.state != DERIVE_VIEW_READY && row.state != DERIVE_VIEW_FAILED)))
			derive_journal_begin(view->journal);
		derive_journal_open(view->journal);
	}

	/* See what the views before this one did. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	derive_watchdog_start(view);
	program->present = move->batch->to->time;
	/* of one that has failed, nothing was kept since */
	program->log_lost = row.error != NULL || (view->waiting != NULL && view->waiting->position == NULL);

	if (row.state == DERIVE_VIEW_BUILDING || view->fill)
	{
		int64		since = derive_monotonic_ms();

		counts.inserted = derive_program_build(program, NULL, NULL, NULL);
		derive_log_built(view->relid, counts.inserted, since);
		export_unknown(view, move->batch);
	}
	else if (row.state == DERIVE_VIEW_CATCHUP && view->slow)
	{
		batch = derive_stream_batch_since(derive_worker.stream, program->sources, row.position);
		derive_worker_hand_to_lane(view, row.rebuild || derive_program_changes(program, batch) >= 0);
		export_unknown(view, move->batch);
	}
	else if (row.state == DERIVE_VIEW_CATCHUP && !row.rebuild && !view->diverged)
	{
		batch = derive_stream_batch_since(derive_worker.stream, program->sources, row.position);
		batch->lsn = move->batch->lsn;
		batch->covered = move->batch->covered;
		batch->time = move->batch->time;
		stats->stats.changes_in = derive_program_apply(program, batch, &counts);
		export_unknown(view, move->batch);
	}
	else if (!derive_worker_needs_recompute(view) && derive_worker_stands_still(view) &&
			 (batch = derive_worker_cohort_batch(view, move->batch)) != NULL)
	{
		stats->stats.changes_in = derive_program_apply(program, batch, &counts);
		settled = false;
	}
	else if (derive_worker_needs_recompute(view) || derive_worker_stands_still(view))
	{
		elog(DEBUG1, "recomputing view \"%s\"", derive_relation_name(view->relid));
		derive_program_recompute(program, move->batch, &counts);
		if (row.state == DERIVE_VIEW_CATCHUP)
			export_unknown(view, move->batch);
	}
	else
	{
		bool		expire = derive_worker_expire_due(view);

		Assert(view->kept);
		program->expire = expire;
		stats->stats.changes_in = derive_program_apply(program, move->batch, &counts);
		if (expire)
			view->expire_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), derive_cleanup_interval);
		settled = false;
	}
	derive_watchdog_stop();
	PopActiveSnapshot();
	if (view->journal != NULL)
		derive_journal_close(view->journal);
	DERIVE_DEBUG_POINT("batch-view-applied");

	if (settled)
	{
		if (row.error != NULL)
			ereport(LOG,
					(errmsg("view \"%s\" no longer fails", get_rel_name(view->relid))));
		row.state = DERIVE_VIEW_READY;
		row.rebuild = false;
		row.error = NULL;
		row.error_at = 0;
		row.position = NULL;
		row.behind_since = 0;
		row.epoch = 0;
		row.members = (int64) view->digest;
		row.basis = (int64) view->basis;
		if (view->repair)
			derive_end_crash_series(&row);
		view->retried = false;
		derive_registry_update(&row);
		*view->row = row;
		derive_worker.reload = true;
	}

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	stats->view = view->relid;
	stats->stats.batches = 1;
	stats->stats.inserted = counts.inserted;
	stats->stats.updated = counts.updated;
	stats->stats.deleted = counts.deleted;
	stats->stats.delta_ms = move->delta_ms;
	stats->stats.apply_ms = INSTR_TIME_GET_MILLISEC(duration);
	derive_log_slow_view(view->relid, &stats->stats);
	*move->stats = lappend(*move->stats, stats);
}

/* What a view that failed has added to the batch is void. */
typedef struct MoveStart
{
	int			ndeltas;
	int			nstats;
	DeriveViewRow row;
} MoveStart;

static void
take_back(Move *move, const MoveStart *start)
{
	move->batch->deltas = list_truncate(move->batch->deltas, start->ndeltas);
	*move->stats = list_truncate(*move->stats, start->nstats);
	*move->view->row = start->row;
	if (move->view->cohort != NULL)
		derive_worker_leave_cohort(move->view);
}

/*
 * The view is computed anew after an error.  One that no expression of a query raises
 * is likely a fault of ours, which must not stay hidden behind contents that are right.
 */
static void
report_recompute(WorkerView *view, const ErrorData *edata)
{
	bool		internal = edata->sqlerrcode == ERRCODE_INTERNAL_ERROR;

	ereport(internal && !view->bug_reported ? WARNING : LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("view \"%s\" is computed anew because its changes could not be computed: %s",
					get_rel_name(view->relid), edata->message),
			 internal ? errhint("If no function that the view calls raises this error, please report it as a bug of pg_derive.") : 0,
			 edata->context ? errcontext("%s", edata->context) : 0));
	view->bug_reported |= internal;
}

/*
 * The same in a subtransaction: a failure is the view's own, not the batch's.  True
 * if it has moved.
 */
static bool
advance_carefully(Move *move)
{
	WorkerView *view = move->view;
	MoveStart	start = {list_length(move->batch->deltas), list_length(*move->stats), *view->row};
	ErrorData  *edata;

	edata = derive_guarded(advance, move);
	if (edata != NULL && derive_watchdog_bitten() != NULL)
	{
		take_back(move, &start);
		return false;
	}

	/*
	 * A delta has rows that no snapshot ever showed, such as one that was
	 * inserted and changed in one transaction, or a new row beside an old one
	 * of another table.  An expression may fail on them although the query
	 * does not.  So let the query decide.  Where a view is more than that,
	 * not to go on is better than to leave out what happened.
	 */
	if (edata != NULL && !derive_error_is_transient(edata->sqlerrcode) &&
		(view->program->routine->flags & DERIVE_OF_CURRENT_ROWS) &&
		(start.row.state == DERIVE_VIEW_CATCHUP ||
		 (start.row.state == DERIVE_VIEW_READY && !derive_worker_needs_recompute(view))))
	{
		if (edata->sqlerrcode == DERIVE_ERRCODE_DIVERGED)
			ereport(WARNING,
					(errcode(edata->sqlerrcode),
					 errmsg("view \"%s\" is computed anew because its contents were not as expected: %s",
							get_rel_name(view->relid), edata->message),
					 edata->context ? errcontext("%s", edata->context) : 0));
		else
			report_recompute(view, edata);
		take_back(move, &start);
		view->diverged = true;
		edata = derive_guarded(advance, move);
		view->diverged = false;
	}
	if (edata == NULL)
		return true;

	take_back(move, &start);
	if (derive_watchdog_bitten() != NULL)
		return false;
	if (derive_error_is_transient(edata->sqlerrcode))
	{
		derive_worker_hold_back_after_error(view, edata);
		return false;
	}
	/* what has just been built would be no better another time */
	if ((start.row.state == DERIVE_VIEW_READY || start.row.state == DERIVE_VIEW_FAILED) &&
		derive_error_is_damage(edata->sqlerrcode) && (view->program->routine->flags & DERIVE_OF_CURRENT_ROWS))
	{
		if (derive_worker_rebuild_view(view, edata->message))
			derive_registry_forget_relations(view->relid, 'i');
		derive_worker_answer_repairs(view, NULL);
		return false;
	}
	(void) derive_worker_fail_view(view, derive_error_text(edata), edata,
								   (view->program->routine->flags & DERIVE_OF_CURRENT_ROWS) &&
								   derive_error_may_pass(edata->sqlerrcode));
	derive_worker_answer_repairs(view, edata);
	derive_worker.reload = true;
	return false;
}


/* ----------------------------------------------------------------
 *		Moving all views
 * ----------------------------------------------------------------
 */

/* Does the batch have anything for this view, which is where the others are?  Or can nobody tell? */
static bool
has_changes(WorkerView *view, DeriveBatch *batch)
{
	return !view->kept || view->program->outdated != NULL || view->program->unfilled ||
		derive_program_changes(view->program, batch) >= 0;
}

/*
 * May the snapshot show other partitions than those that we know?  If the view is
 * locked the end of the batch will tell (check_members()), for all others this is the
 * moment to ask.
 */
static bool
other_members(WorkerView *view)
{
	return !view->locked && (view->has_children || view->dirty) &&
		derive_sources_digest(view->program) != view->digest;
}

/* Is it to be computed from scratch? */
static bool
from_scratch(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_BUILDING || derive_worker_needs_recompute(view);
}

/* A builder filled it for an earlier life of ours, or for other partitions. */
static bool
came_too_late(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_CATCHUP &&
		(view->row->epoch != derive_worker.epoch || !view->backlog ||
		 (uint64) view->row->members != view->digest);
}

/* The watchdog wants to see no more of the view here. */
static void
give_up(WorkerView *view)
{
	ErrorData	edata = {.sqlerrcode = ERRCODE_QUERY_CANCELED,.message = view->hold_reason};

	/*
	 * contents that only the worker can tell from what it has seen, a builder
	 * cannot make
	 */
	if (view->give_up == GIVE_TO_BUILDER && derive_worker_can_be_built(view))
		send_back(view);
	else
	{
		edata.message = psprintf("it would need %s", view->hold_reason);
		(void) derive_worker_fail_view(view, edata.message, &edata, false);
		derive_worker.reload = true;
	}
	derive_worker_answer_repairs(view, &edata);
}

/*
 * The batch holds locks of all views that it looks at until it ends.  Somebody who waits for one, to
 * TRUNCATE a table, say, has everybody else queue up behind him.  Then the batch ends
 * with what it has; the other views are set aside, and have their turn first in the
 * next one.
 */
static void
yield_if_wanted(void)
{
	static int64 looked_at = 0;

	if (derive_worker.yielding ||
		!derive_has_elapsed(Max(derive_worker.locked_at, looked_at), derive_lock_timeout))
		return;
	looked_at = derive_monotonic_ms();
	derive_worker.yielding = derive_someone_waits_for(MyProcPid, AccessExclusiveLock);
}

/* What is too old can wait until the view can be moved: look again after a while, not with every batch. */
static void
expire_later(WorkerView *view)
{
	if (derive_worker_expire_due(view))
		view->expire_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
}

/* Move one view, if it must and can be.  Returns whether anything was written. */
static bool
advance_or_set_aside(Move *move)
{
	WorkerView *view = move->view;
	DeriveViewState state = view->row->state;
	bool		sources_fresh = view->program == NULL || derive_worker_sources_fresh(view);
	bool		moved = true;

	if (view->lane != NULL)
		return derive_worker_watch_slow_view(view, view->program == NULL ||
											 (has_changes(view, move->batch) || other_members(view)));
	if (state == DERIVE_VIEW_READY && sources_fresh && !from_scratch(view) &&
		!derive_worker_stands_still(view) && !has_changes(view, move->batch) && !other_members(view))
	{
		view->fresh = true;
		if (!view->locked)
			expire_later(view);
		if (!derive_worker_expire_due(view))
			return false;
	}
	else if (!view->locked || !sources_fresh || derive_worker.yielding)
	{
		expire_later(view);
		return derive_worker_set_aside(view);
	}

	if (view->give_up != KEEP_TRYING)
		give_up(view);
	else if (came_too_late(view))
		send_back(view);
	else if (from_scratch(view) && !derive_worker_sources_complete(view))
	{
		/* only under a snapshot from which on all is captured */
		derive_worker.unfinished = true;
		return false;
	}
	else
	{
		/* that it fails once more is no surprise */
		if (derive_worker.careful || view->repair || view->row->error != NULL)
			moved = advance_carefully(move);
		else
			advance(move);
		yield_if_wanted();
		view->fresh = view->moved = moved;
		if (moved)
			derive_worker_end_waiting(view);
		else if (view->row->state == state)
			(void) derive_worker_set_aside(view);
		if (view->repair && moved)
			derive_worker_answer_repairs(view, NULL);
	}
	return true;
}

/* Would it take part if its program could be loaded?  It may have missed something, or somebody waits for it. */
static bool
not_loaded_yet(WorkerView *view)
{
	return view->program == NULL &&
		(view->row->state == DERIVE_VIEW_READY ||
		 (view->row->state == DERIVE_VIEW_FAILED && view->repair && view->dirty));
}

/* It is the view's turn, after those that it reads, and the one that is to take its place.  Returns whether anything was written. */
static bool
take_turn(Move move, WorkerView *view)
{
	WorkerView *replacement = derive_worker_replacement(view);
	bool		wrote = false;
	ListCell   *lc;

	if (view->had_turn)
		return false;
	view->had_turn = true;
	foreach(lc, view->program != NULL ? view->program->view_sources : NIL)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && source->selected)
			wrote |= take_turn(move, source);
	}
	if (replacement != NULL && !derive_worker_reads(replacement, view))
		wrote |= take_turn(move, replacement);
	if (derive_worker_replace(view, move.batch, &wrote))
		return true;
	if (derive_worker_hold_for_replacement(view, &wrote))
		return wrote;
	move.view = view;
	if (derive_worker_watch_failed_view(view, move.batch))
		wrote = true;
	if ((derive_worker_takes_part(view) || not_loaded_yet(view) || view->lane != NULL) && advance_or_set_aside(&move))
		wrote = true;
	return wrote;
}

/*
 * The batch has changed tables, and views that are paused or have failed do not follow:
 * from now on they lack something.  Written once for each, when its row can be had.
 */
static bool
note_left_behind(WorkerView *view)
{
	bool		gone;

	if ((view->row->state != DERIVE_VIEW_PAUSED && view->row->state != DERIVE_VIEW_FAILED) ||
		view->row->behind_since != 0 || derive_stream_oldest_commit(derive_worker.stream) == 0 ||
		!lock_row(view, &gone))
		return false;

	/* nobody has kept sessions from changing it so far */
	if (!ItemPointerEquals(&derive_registry_get(view->relid)->version, &view->row->version))
	{
		derive_worker.reload = true;
		return false;
	}
	view->row->behind_since = derive_stream_oldest_commit(derive_worker.stream);
	derive_registry_update(view->row);
	return true;
}

static int
compare_since(const ListCell *a, const ListCell *b)
{
	TimestampTz x = ((WorkerView *) lfirst(a))->waiting->since;
	TimestampTz y = ((WorkerView *) lfirst(b))->waiting->since;

	return (x > y) - (x < y);
}

/* Those that wait and can move now, the one that has waited for longest first. */
static List *
views_that_come_back(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (view->waiting != NULL && view->locked)
			result = lappend(result, view);
	}
	list_sort(result, compare_since);
	return result;
}

/*
 * Move the selected views, first those that have waited: if batches keep giving way before
 * they come to their end, each view moves all the same.  Returns whether anything was
 * written.
 */
bool
derive_worker_advance_views(DeriveBatch *batch, List **stats, double delta_ms)
{
	Move		move = {NULL, batch, stats, delta_ms};
	bool		wrote = false;
	ListCell   *lc;

	wrote |= derive_worker_assign_lane();
	foreach(lc, views_that_come_back())
		wrote |= take_turn(move, lfirst(lc));
	foreach(lc, derive_worker.selected)
		wrote |= take_turn(move, lfirst(lc));
	foreach(lc, derive_worker.selected)
		wrote |= note_left_behind(lfirst(lc));
	derive_worker_watch_costs();
	derive_watchdog_rest();
	return wrote;
}

/* After the commit; reading the log took delta_ms. */
void
derive_worker_report_stats(List *stats, double delta_ms)
{
	double		total_ms = delta_ms;
	ListCell   *lc;

	foreach(lc, stats)
	{
		BatchStats *one = lfirst(lc);

		one->stats.last_batch_at = GetCurrentTimestamp();
		derive_stats_add(one->view, &one->stats);
		total_ms += one->stats.apply_ms;
	}
	if (derive_is_slow(total_ms) && (stats != NIL || derive_log_min_duration > 0))
		ereport(LOG,
				(errmsg("batch took %.3f ms: %.3f ms for reading the log, and %d of %d views changed",
						total_ms, delta_ms, list_length(stats), list_length(derive_worker.views))));
	pgstat_report_stat(false);
}
