/*-------------------------------------------------------------------------
 *
 * replace.c
 *	  Views that are to take the place of others: another query for a view.
 *
 * derive.replace_view() declares the new query as a view of its own, the replacement
 * (sql/replace.c).  It is built and maintained like every view, while the old one goes on.
 * Once both stand at one position, the worker lets the replacement take the view's place,
 * in a batch:
 *
 *		batch				1		2		3		4		5
 *		view				P1		P2		P3		P4		P5, new query
 *		replacement			building ------ P3		P4		gone
 *		a view that reads	P1		P2		P3		P4		P5, by difference
 *		the view
 *
 * All of 5 is one transaction, so whoever looks sees the old query's rows at P4 or the
 * new one's at P5, also after a crash.
 *
 * Files change places, not rows.  The view's rows could be made equal to the new ones by
 * difference, as a repair does.  But mostly all of them differ (a column is added), so a
 * batch would write each of them, while no other view moves; and columns must be
 * added, and locator indexes made, before that, under AccessExclusiveLock.  To exchange the
 * files (materialize/succession.c) takes a moment for any number of rows, since the
 * replacement was written and indexed beforehand.  REFRESH exchanges the files of tables, too,
 * but then builds the indexes under the lock, which is what takes its time.
 *
 * Only where somebody follows the view its old and new rows are compared: subscribers
 * and views that read it get the difference as its changes in this batch.  Where that takes
 * longer than a view may in a batch (watchdog.c), the next try does without: such views are
 * computed anew then, and subscribers begin anew, as after a rebuild.  The event stream,
 * which nobody knows who reads, says "replace" (capture/json_stream.c).
 *
 * Locks.  The view's AccessExclusiveLock makes readers wait.  The worker waits for it in
 * its batch, but not longer than pg_derive.lock_timeout, once a second, and not if anybody
 * waits for one of its own locks: he may be the one who has this one.  Locks of
 * tables are those of every batch, so writers never wait.
 *
 * The slow lane (slow_views.c).  A replacement with a part that is computed as a whole stands
 * at some earlier position, nearly always.  The view must not go back to that.  So it is set
 * aside, until a run of the lane has passed the position where it then stands; from there on
 * it has the replacement's pace anyway.
 *
 * What does not work out (a view over the replacement, an index that was made meanwhile and
 * is violated, another owner) makes the replacement fail, with the message.  The view goes
 * on as it is.  derive.resume() of the replacement is another try.
 *
 * The rest of the batch must not make it a waste.  Views that come after the switch are moved
 * each in a subtransaction, as after an error.  If the batch is rolled back all the same, the
 * next try comes later and later, and in the end the replacement has failed.
 *
 * A view that is paused stays so, at the position of the switch.  One that has failed
 * is ready.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "base/class_row.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/lane.h"
#include "base/lock_waiters.h"
#include "base/past.h"
#include "base/registry.h"
#include "base/rights.h"
#include "capture/json_stream.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "delta/delta.h"
#include "materialize/program.h"
#include "notify/journal.h"
#include "notify/wait.h"
#include "server/background.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/hooks.h"
#include "server/replace.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* So many batches in a row in which it took the view's place were rolled back: give up. */
#define MAX_TRIES	8

/* The switch, as an argument for derive_guarded(). */
typedef struct Switch
{
	WorkerView *view;
	WorkerView *replacement;
	DeriveBatch *batch;
	bool		more_columns;	/* the view gets some */
	DeriveDelta *delta;			/* the difference, for views that read this
								 * one; or NULL */
	DeriveJournal *journal;		/* for subscribers; or NULL */
	bool		journal_open;
} Switch;


/* ----------------------------------------------------------------
 *		For sessions, too
 * ----------------------------------------------------------------
 */

/* With our rows first: the drop hook need not look after them. */
static void
drop_view(Oid view)
{
	ObjectAddress object;

	derive_forget_view(view);
	CommandCounterIncrement();
	ObjectAddressSet(object, RelationRelationId, view);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
	CommandCounterIncrement();
}

bool
derive_cancel_replacement(Oid view)
{
	DeriveViewRow *row = derive_registry_replacement(view);

	if (row == NULL)
		return false;
	LockRelationOid(row->relid, AccessExclusiveLock);
	if (get_rel_name(row->relid) != NULL)
		drop_view(row->relid);
	return true;
}

void
derive_detach_replacement(DeriveViewRow *row)
{
	if (!OidIsValid(row->replaces))
		return;
	(void) deleteDependencyRecordsForSpecific(RelationRelationId, row->relid, DEPENDENCY_AUTO,
											  RelationRelationId, row->replaces);
	CommandCounterIncrement();
	row->replaces = InvalidOid;
}

void
derive_check_replacement(Oid replacement, Oid view)
{
	if (derive_view_reads(replacement, view))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("the new query of view \"%s\" reads the view itself, or one that reads it",
						get_rel_name(view))));
}


/* ----------------------------------------------------------------
 *		The switch
 * ----------------------------------------------------------------
 */

static void
announce_in_log(Oid view, Oid replacement)
{
	Oid			relids[2] = {view, replacement};

	derive_compat_log_message(DERIVE_REPLACE_MESSAGE, (const char *) relids, sizeof(relids));
}

/* The TOAST table that came with the rows takes the name that it should have. */
static void
rename_toast(Oid view)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	Oid			toast;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", view);
	toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;
	ReleaseSysCache(tuple);
	if (!OidIsValid(toast))
		return;
	RenameRelationInternal(toast, psprintf("pg_toast_%u", view), true, false);
	RenameRelationInternal(toast_get_valid_index(toast, NoLock), psprintf("pg_toast_%u_index", view), true, true);
	CommandCounterIncrement();
}

/* The view's row as it will be: where it stands is where the replacement does. */
static DeriveViewRow *
succeeding_row(Switch *sw, const DeriveViewRow *replacement)
{
	DeriveViewRow *row = derive_registry_get(sw->view->relid);

	if (row->state != DERIVE_VIEW_PAUSED)
	{
		row->state = DERIVE_VIEW_READY;
		row->position = NULL;
	}
	else
		row->position = derive_position_copy(sw->replacement->lane != NULL && sw->replacement->stale ?
											 sw->replacement->lane->position : sw->batch->to);
	row->rebuild = false;
	row->error = NULL;
	row->error_at = row->behind_since = 0;
	row->retry = false;
	derive_end_crash_series(row);
	row->epoch = 0;
	row->members = (int64) sw->replacement->digest;
	row->basis = replacement->basis;
	row->settings = replacement->settings;
	row->program = replacement->program;
	row->maintained = replacement->maintained;
	row->timed = replacement->timed;
	return row;
}

/* It is in the slow lane if the replacement was, and where that was. */
static void
take_lane(Switch *sw, const DeriveViewRow *row)
{
	derive_lane_end(row->relid);
	if (sw->replacement->lane != NULL && row->state == DERIVE_VIEW_READY)
	{
		DeriveLaneRow lane = *sw->replacement->lane;

		lane.view = row->relid;
		lane.declared_at = row->created_at;
		derive_lane_set(&lane);
		if (sw->replacement->stale)
			derive_stale_add(row->relid, DERIVE_STALE_CHANGED, derive_worker_lacking_since());
	}
	derive_lane_end(sw->replacement->relid);
}

static int
number_of_columns(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	int			result = RelationGetNumberOfAttributes(rel);

	table_close(rel, NoLock);
	return result;
}

/* Can the reader, as it was compiled, take the difference as a change of the view? */
static bool
can_follow(Switch *sw, WorkerView *reader)
{
	return sw->replacement->lane == NULL &&
		!(sw->more_columns && list_member_oid(reader->program->row_types, sw->view->relid));
}

/* Who will want to know the difference? */
static void
find_followers(Switch *sw)
{
	WorkerView *view = sw->view;
	Relation	rel = table_open(view->relid, NoLock);
	ListCell   *lc;

	sw->more_columns = number_of_columns(sw->replacement->relid) > RelationGetNumberOfAttributes(rel);
	foreach(lc, sw->more_columns || sw->replacement->switch_blindly ? NIL : derive_worker.views)
	{
		WorkerView *reader = lfirst(lc);

		if (sw->delta == NULL && reader->program != NULL && can_follow(sw, reader) &&
			list_member_oid(reader->program->view_sources, view->relid))
			sw->delta = derive_delta_create(view->relid, false, RelationGetDescr(rel));
	}
	table_close(rel, NoLock);

	if (view->journal != NULL && view->lane != NULL)
		derive_worker_take_journal(view);
	if (view->journal == NULL || !view->journal->active || sw->replacement->switch_blindly)
		return;
	sw->journal = view->journal;
	if (sw->replacement->lane != NULL && sw->replacement->stale)
		sw->journal->lsn = sw->replacement->lane->lsn;
}

/* A DeriveObserver.  The view has its new columns by now. */
static void
observe(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	Switch	   *sw = arg;

	if (sw->delta != NULL && old != NULL)
		derive_delta_add_slot(sw->delta, old, -count);
	if (sw->delta != NULL && new != NULL)
		derive_delta_add_slot(sw->delta, new, count);
	if (sw->journal == NULL)
		return;
	if (!sw->journal_open)
		derive_journal_open(sw->journal);
	sw->journal_open = true;
	derive_journal_observe(sw->journal, old, new, count);
}

static void
take_place(void *arg)
{
	Switch	   *sw = arg;
	Oid			view = sw->view->relid;
	Oid			replacement = sw->replacement->relid;
	DeriveViewRow *from = derive_registry_get(replacement);
	DeriveViewRow *row = succeeding_row(sw, from);

	DERIVE_DEBUG_POINT("replace-begin");
	if (derive_owner_of(view) != derive_owner_of(replacement))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the view has got another owner meanwhile")));
	derive_detach_replacement(from);
	derive_check_replacement(replacement, view);
	derive_registry_update(row);
	announce_in_log(view, replacement);
	find_followers(sw);
	derive_program_succeed(sw->replacement->program, view,
						   sw->delta != NULL || sw->journal != NULL ? observe : NULL, sw);
	if (sw->journal_open)
		derive_journal_close(sw->journal);
	DERIVE_DEBUG_POINT("replace-exchanged");
	derive_registry_write_label(row);
	take_lane(sw, row);
	drop_view(replacement);
	rename_toast(view);
	DERIVE_DEBUG_POINT("replace-done");
}


/* ----------------------------------------------------------------
 *		When
 * ----------------------------------------------------------------
 */

static WorkerView *
find_replacement(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		if (((WorkerView *) lfirst(lc))->replaces == view->relid)
			return lfirst(lc);
	}
	return NULL;
}

WorkerView *
derive_worker_replacement(WorkerView *view)
{
	return derive_worker.any_replacement ? find_replacement(view) : NULL;
}

/* Has it been built, and does it move? */
static bool
is_built(WorkerView *replacement)
{
	return replacement->row->state == DERIVE_VIEW_READY && replacement->program != NULL && !replacement->dirty &&
		!derive_worker_needs_recompute(replacement) && (replacement->lane == NULL || replacement->lane->error == NULL);
}

/* Do the others see the view move, so that it must not go back? */
static bool
moves(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_READY && !derive_worker_needs_recompute(view);
}

/* In its view's turn, after its own: has it come so far? */
static bool
has_caught_up(WorkerView *replacement, WorkerView *view)
{
	const DerivePosition *position;

	if (replacement->lane == NULL)
		return replacement->fresh;
	if (!replacement->stale && !replacement->found_stale && replacement->kept)
		return true;
	if (replacement->lane->position == NULL)
		return false;
	position = derive_worker_position_of(view);
	return !moves(view) || position == NULL ||
		((derive_worker_stands_still(view) || (view->lane != NULL && (view->stale || view->found_stale))) &&
		 derive_position_includes(replacement->lane->position, position));
}

/* Put it off, and say why.  Each attempt that fails ends here; ms 0: until the batch in which that may be another. */
static bool
wait_for(WorkerView *replacement, DeriveWaitsFor what, Oid relid, LOCKMODE mode, int ms)
{
	replacement->switch_at = ms == 0 ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	derive_stats_set_waits(replacement->relid, what, relid, mode);
	return false;
}

static bool
put_off(WorkerView *replacement, DeriveWaitsFor what, int ms)
{
	return wait_for(replacement, what, InvalidOid, NoLock, ms);
}

/* The same until a lock is free, or so. */
static bool
wait_for_lock(WorkerView *replacement, Oid relid, LOCKMODE mode)
{
	return wait_for(replacement, DERIVE_WAITS_FOR_LOCK, relid, mode, RETRY_MS);
}

static bool
lock_or_wait_for(WorkerView *replacement, List *relids, LOCKMODE mode)
{
	Oid			busy;

	if (derive_lock_all(relids, mode, &busy))
		return true;
	return wait_for_lock(replacement, busy, mode);
}

/* Those that read the view, as far as they are to be told in a row of ours. */
static List *
readers_outside(WorkerView *view)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *reader = lfirst(lc);

		if (reader->program != NULL && reader->lane == NULL && reader->row->state == DERIVE_VIEW_READY &&
			list_member_oid(reader->program->view_sources, view->relid))
			result = lappend_oid(result, reader->relid);
	}
	return result;
}

/*
 * Is all that we know of it still so?  Of one that stands still and has no program that is
 * its row; that there is something to load, if it ever is, stays so.
 */
static bool
is_as_known(WorkerView *view)
{
	DeriveViewRow *row = derive_registry_get(view->relid);
	bool		still = view->row->state == DERIVE_VIEW_PAUSED || view->row->state == DERIVE_VIEW_FAILED;

	return (!view->dirty || (still && view->program == NULL)) && row != NULL && ItemPointerEquals(&row->version, &view->row->version);
}

/*
 * All that the switch needs, the view itself last: only for that is waited.  Composite types
 * must not come to contain the view's rows while columns of such types are added.  False:
 * what is missing has been noted.
 */
static bool
lock_for_switch(Switch *sw)
{
	Oid			view = sw->view->relid;
	WorkerView *replacement = sw->replacement;
	bool		locked;
	Oid			busy;

	/* before anybody is kept waiting for a lock that would be for nothing */
	if (!derive_class_row_is_free(view) || !derive_class_row_is_free(replacement->relid))
		return wait_for_lock(replacement, view, AccessExclusiveLock);
	if (!derive_lock_definition(replacement->relid, &busy))
		return wait_for_lock(replacement, busy, AccessShareLock);
	if (!lock_or_wait_for(replacement, readers_outside(sw->view), RowExclusiveLock) ||
		!lock_or_wait_for(replacement, replacement->program->row_types, AccessShareLock) ||
		!lock_or_wait_for(replacement, derive_internal_tables(replacement->relid), AccessExclusiveLock) ||
		!lock_or_wait_for(replacement, list_make1_oid(replacement->relid), AccessExclusiveLock) ||
		!lock_or_wait_for(replacement, derive_internal_tables(view), AccessExclusiveLock))
		return false;

	/*
	 * said before the wait: nothing else about it is new for those who look
	 * meanwhile
	 */
	derive_stats_set_waits(replacement->relid, DERIVE_WAITS_FOR_LOCK, view, AccessExclusiveLock);
	derive_blocked_set(&derive_worker.place->point.blocked_on, view, AccessExclusiveLock);
	locked = derive_lock_within(view, AccessExclusiveLock, derive_someone_waits_for_us() ? 0 : derive_lock_timeout);
	derive_blocked_clear(&derive_worker.place->point.blocked_on);
	if (!locked)
		return wait_for_lock(replacement, view, AccessExclusiveLock);
	/* somebody may have changed something before we had it */
	if (!is_as_known(sw->view) || !is_as_known(replacement))
		return put_off(replacement, DERIVE_WAITS_FOR_BATCH, RELOAD_MS);
	if (!derive_class_row_lock(view) || !derive_class_row_lock(replacement->relid))
		return wait_for_lock(replacement, view, AccessExclusiveLock);
	return true;
}

/* The view has other rows now, and who follows it must hear of that. */
static void
tell_others(Switch *sw)
{
	WorkerView *view = sw->view;
	ListCell   *lc;

	derive_past_hide_view(view->relid);
	if (sw->replacement->switch_blindly && view->journal != NULL && view->journal->active)
	{
		if (sw->replacement->lane == NULL)
			derive_journal_begin(view->journal);
		else
			derive_stale_add(view->relid, DERIVE_STALE_RESTART, derive_worker_lacking_since());
	}
	if (sw->delta != NULL && sw->delta->nrows > 0)
		derive_batch_add(sw->batch, sw->delta);
	else if (sw->delta == NULL && sw->replacement->lane == NULL)
		derive_worker_export_unknown(view, sw->batch, "the view it reads has another query");
	foreach(lc, derive_worker.views)
	{
		WorkerView *reader = lfirst(lc);

		if (reader->program == NULL || can_follow(sw, reader))
			continue;

		/*
		 * whole rows of it are others now; when it is loaded again, it will
		 * see that
		 */
		if (sw->more_columns && list_member_oid(reader->program->row_types, view->relid))
			reader->locked = false;
		if (!list_member_oid(reader->program->view_sources, view->relid))
			continue;
		if (reader->lane != NULL)
			derive_worker_mark_stale(reader, false);
		else if (reader->row->state == DERIVE_VIEW_READY)
		{
			reader->locked = false;
			reader->row->rebuild = true;
			derive_registry_update(reader->row);
		}
	}
}

/* The watchdog has stopped it.  To compare the rows can be left out; else another try would not be better. */
static void
blame_for_time(Switch *sw, ErrorData *edata)
{
	WorkerView *replacement = sw->replacement;

	replacement->give_up = KEEP_TRYING;
	replacement->hold_until = 0;
	if (sw->delta != NULL || sw->journal != NULL)
	{
		replacement->switch_blindly = true;
		return;
	}
	edata->sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	edata->message = "to build the indexes that it does not have takes longer than \"pg_derive.view_timeout\" allows";
}

static void
report_failure(Switch *sw, ErrorData *edata)
{
	WorkerView *replacement = sw->replacement;

	if (derive_error_is_transient(edata->sqlerrcode))
	{
		(void) put_off(replacement, DERIVE_WAITS_FOR_RETRY, RETRY_MS);
		ereport(LOG,
				(errcode(edata->sqlerrcode),
				 errmsg("view \"%s\" could not be given another query and is tried again later: %s",
						get_rel_name(sw->view->relid), edata->message)));
		return;
	}
	(void) derive_worker_fail_view(replacement,
								   psprintf("it cannot take the place of view \"%s\": %s%s%s", get_rel_name(sw->view->relid),
											edata->message, edata->detail != NULL ? "; " : "",
											edata->detail != NULL ? edata->detail : ""),
								   edata, false);
	derive_worker.reload = true;
}

bool
derive_worker_reads(WorkerView *reader, WorkerView *view)
{
	List	   *reached = list_make1(reader);

	for (int i = 0; i < list_length(reached); i++)
	{
		WorkerView *reached_view = list_nth(reached, i);
		ListCell   *lc;

		foreach(lc, reached_view->program != NULL ? reached_view->program->view_sources : NIL)
		{
			WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

			if (source == view)
				return true;
			if (source != NULL)
				reached = list_append_unique_ptr(reached, source);
		}
	}
	return false;
}

/*
 * In the view's turn: let its replacement take its place, if there is one that can.  True
 * if it has; then the view need not be moved.
 */
bool
derive_worker_replace(WorkerView *view, DeriveBatch *batch, bool *wrote)
{
	Switch		sw = {.view = view,.replacement = derive_worker_replacement(view),.batch = batch};
	ErrorData	circle = {.sqlerrcode = ERRCODE_INVALID_OBJECT_DEFINITION,.message = "it has come to read the view itself"};
	ErrorData	wasted = {.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,.message = "batches in which it should are rolled back, see the server log"};
	ErrorData  *edata;

	if (sw.replacement != NULL && sw.replacement->row->state == DERIVE_VIEW_READY &&
		derive_worker_reads(sw.replacement, view))
	{
		report_failure(&sw, &circle);
		*wrote = true;
		return false;
	}
	if (sw.replacement == NULL || !is_built(sw.replacement) || sw.replacement->switch_at > GetCurrentTimestamp())
		return false;
	if (!has_caught_up(sw.replacement, view))
		return put_off(sw.replacement, sw.replacement->lane != NULL ? DERIVE_WAITS_FOR_LANE : DERIVE_WAITS_FOR_BATCH, 0);
	if (derive_worker.yielding)
		return put_off(sw.replacement, DERIVE_WAITS_FOR_BATCH, RELOAD_MS);
	DERIVE_DEBUG_POINT("replace-before-lock");
	if (!lock_for_switch(&sw))
		return false;
	if (sw.replacement->switch_tries >= MAX_TRIES)
	{
		sw.replacement->switch_tries = 0;
		report_failure(&sw, &wasted);
		*wrote = true;
		return false;
	}
	/* if this batch is rolled back */
	(void) put_off(sw.replacement, DERIVE_WAITS_FOR_RETRY, RELOAD_MS << sw.replacement->switch_tries++);
	derive_crash_guard_note(sw.replacement->relid, "taking the place of another view");
	derive_watchdog_start_switch(sw.replacement);
	edata = derive_guarded(take_place, &sw);
	*wrote = true;
	if (edata != NULL)
	{
		sw.replacement->switch_tries = 0;
		if (derive_watchdog_bitten() != NULL)
			blame_for_time(&sw, edata);
		report_failure(&sw, edata);
		return false;
	}
	derive_watchdog_stop();
	tell_others(&sw);
	ereport(LOG,
			(errmsg("view \"%s\" has another query now", get_rel_name(view->relid))));
	derive_worker_end_waiting(view);
	derive_worker_drop_journal(sw.replacement);
	derive_worker.careful = true;
	DERIVE_DEBUG_POINT("replace-committing");
	view->fresh = sw.replacement->lane == NULL;
	view->whole_ms = 0;
	if (view->repair)
		derive_worker_answer_repairs(view, NULL);
	derive_worker.reload = true;
	return true;
}

/*
 * Must the view stand still, so that its replacement in the slow lane can catch up with it?
 * True if so, and it does.  Not while it is another thing that the switch waits for.
 */
bool
derive_worker_hold_for_replacement(WorkerView *view, bool *wrote)
{
	WorkerView *replacement = derive_worker_replacement(view);

	if (replacement == NULL || replacement->lane == NULL || !is_built(replacement) || view->lane != NULL ||
		!moves(view) || view->program == NULL || replacement->lane->position == NULL || replacement->switch_at != 0)
		return false;
	derive_worker_hold_back(view, "its replacement, which is computed as a whole", 2 * RETRY_MS);
	*wrote |= derive_worker_set_aside(view);
	return true;
}

bool
derive_worker_followed_by_replacement(WorkerView *view, DeriveProgram *program)
{
	WorkerView *replacement = derive_worker_replacement(view);

	return replacement != NULL && replacement->program != NULL && replacement->kept && replacement->lane == NULL &&
		derive_worker_follows_all(replacement->program, program);
}

/* Has the switch been put off until some time? */
static bool
is_put_off(WorkerView *view)
{
	return OidIsValid(view->replaces) && is_built(view) && view->switch_at != 0;
}

bool
derive_worker_replace_is_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (is_put_off(view) && view->switch_at <= now)
			return true;
	}
	return false;
}

long
derive_worker_replace_timeout(long timeout)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (is_put_off(view))
			timeout = Min(timeout, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), view->switch_at) + 1);
	}
	return timeout;
}
