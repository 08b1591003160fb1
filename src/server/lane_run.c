/*-------------------------------------------------------------------------
 *
 * lane_run.c
 *	  The slow lane: a run, in which a group of views moves to one position.
 *
 * Steps of a run; whatever is found changed on the way, or is locked, makes it begin
 * again:
 *
 *	1. look			what do the views read?
 *	2. lock			all of it in AccessShareLock, and the views in
 *					ShareRowExclusiveLock, if free
 *	3. snapshot V	which holds what S+ will need
 *	4. batch		asked for, and waited for
 *	5. S+			what that batch saw, and left (batch_snapshot.c)
 *	6. compute		each view from what S+ shows, and change what differs in it
 *	7. check		that nothing changed that no snapshot protects from
 *	8. note			where the views stand now, in derive_state.lane
 *
 * Why it is exact.  Under S+, tables are as of S, the position of a batch, and each
 * view of the worker is what its query gives under S (that it is, and does not stand
 * still elsewhere, is looked up under S+, too).  So a query over both has one value at
 * S, whatever has been committed since; a view in the lane that it reads is in the
 * same group, and was moved to S just before.  All rows that differ are changed, and
 * the view's row says S, in one transaction.  The view's own rows are found as they
 * are, not as S+ shows them; nobody else changes them while we have the lock, with
 * which the worker's RowExclusiveLock conflicts.
 *
 * And what is it that S does not contain?  Each batch after it that has changes for
 * the view says so in derive_state.stale, in its own transaction.  We delete
 * the marks that S+ shows, which are those of S and earlier, and no others.  A view
 * without a mark is where the worker is.  A crash, of this process or of all, takes
 * back all of it or nothing; when the commit of a run is on disk then so is that of its
 * batch, which is before it in the log.
 *
 * The program of a view is run afresh, with everything that it keeps for itself, from
 * nothing to the difference.  It costs what REFRESH CONCURRENTLY costs, and nothing
 * has to be kept for it between runs, however long it rests.  Only
 * what is more than a function of its sources' rows (a history of such a view) is
 * given the changes of the views that it reads.
 *
 * A view that cannot be computed stays where it is, with the message in
 * derive_state.lane, and so do those that read it; the others of the group move.  It
 * is tried again when something that it reads has changed, and now and then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/debug_point.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/waiting.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "server/assistant.h"
#include "server/background.h"
#include "server/batch_snapshot.h"
#include "server/builder.h"
#include "server/crash_guard.h"
#include "server/lane_internal.h"
#include "server/statistics.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"


/* ----------------------------------------------------------------
 *		What it is about
 * ----------------------------------------------------------------
 */

LaneView *
derive_lane_find_view(LaneRun *run, Oid relid)
{
	ListCell   *lc;

	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		if (view->relid == relid)
			return view;
	}
	return NULL;
}

/* The row of a view that the lane may compute; or NULL. */
static DeriveViewRow *
row_to_compute(Oid relid)
{
	DeriveViewRow *row = NULL;

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		row = derive_registry_get(relid);
	if (row == NULL || row->group != derive_assistant_number() ||
		(row->state != DERIVE_VIEW_READY && row->state != DERIVE_VIEW_BUILDING) ||
		derive_lane_of(row, NULL) == NULL)
		return NULL;
	return row;
}

/* Add a view after those that it reads. */
static void
add_in_order(List **ordered, LaneRun *run, LaneView *view)
{
	ListCell   *lc;

	if (list_member_ptr(*ordered, view))
		return;
	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = derive_lane_find_view(run, lfirst_oid(lc));

		if (source != NULL)
			add_in_order(ordered, run, source);
	}
	*ordered = lappend(*ordered, view);
}

/*
 * 1. In a transaction of its own, because to compile the views takes locks one by one.
 * False if something is locked, or there is nothing to compute.
 */
static bool
look(LaneRun *run, List *relids)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *ordered = NIL;
	ListCell   *lc;
	bool		result = true;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	derive_background_limit_lock_waits(derive_lock_timeout);
	derive_assistant_changed = false;
	foreach(lc, relids)
	{
		DeriveViewRow *row = row_to_compute(lfirst_oid(lc));
		LaneView   *view;

		if (row == NULL)
			continue;
		if (!derive_lock_definition(row->relid, &run->busy))
		{
			run->busy_mode = AccessShareLock;
			result = false;
			break;
		}
		derive_crash_guard_note(row->relid, "loading the view");
		view = palloc0(sizeof(LaneView));
		view->relid = row->relid;
		view->row = row;
		view->program = derive_program_load(row->relid, context);
		MemoryContextSwitchTo(context);
		view->reads = derive_program_read_relations(view->program);
		view->writes = list_delete_oid(derive_program_write_relations(view->program), view->relid);
		view->digest = derive_sources_digest(view->program);
		if (view->program->outdated != NULL)
			result = false;		/* the worker will renew its tables first */
		run->views = lappend(run->views, view);
	}
	foreach(lc, run->views)
		add_in_order(&ordered, run, lfirst(lc));
	run->views = ordered;
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result && run->views != NIL;
}

static bool
lock_all(LaneRun *run, List *relids, LOCKMODE mode)
{
	if (derive_lock_all(relids, mode, &run->busy))
		return true;
	run->busy_mode = mode;
	return false;
}

/* 2. */
static bool
lock_views(LaneRun *run)
{
	ListCell   *lc;

	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		/*
		 * the views first: in a weaker mode they may be read by others of
		 * them
		 */
		if (!lock_all(run, list_make1_oid(view->relid), ShareRowExclusiveLock))
			return false;
	}
	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		if (!lock_all(run, view->reads, AccessShareLock) || !lock_all(run, view->writes, RowExclusiveLock))
			return false;
	}
	/* to lock them tells us what has changed since we looked */
	return !derive_assistant_changed;
}

/* 5. Under S+: is the view that one of ours reads, and that is not in the run, where the batch is? */
static bool
is_at_batch(Oid relid)
{
	DeriveViewRow *row = derive_registry_get_at(relid, GetActiveSnapshot());
	DeriveWaitingRow *waiting;

	if (row == NULL)
		return true;
	if (row->group != derive_assistant_number())
		return false;			/* the worker will find out */
	switch (row->state)
	{
		case DERIVE_VIEW_PAUSED:
		case DERIVE_VIEW_FAILED:
			return true;		/* it is read as the table that it is */
		case DERIVE_VIEW_BUILDING:
		case DERIVE_VIEW_CATCHUP:
			return false;
		case DERIVE_VIEW_READY:
			break;
	}
	waiting = derive_waiting_get_at(relid, GetActiveSnapshot());
	return !row->rebuild && row->position == NULL && derive_lane_of(row, GetActiveSnapshot()) == NULL &&
		(waiting == NULL || waiting->declared_at != row->created_at);
}

/* 5. Under S+: can all views be computed?  Sets what S+ shows of them. */
static bool
check_views(LaneRun *run)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);
		DeriveViewRow *now = derive_registry_get(view->relid);

		/* locked since before V, so that now is as good as any time since */
		if (now == NULL || !ItemPointerEquals(&now->version, &view->row->version))
			return false;
		view->lane = derive_lane_of(now, GetActiveSnapshot());
		view->stale = derive_stale_get(view->relid, GetActiveSnapshot());
		if (view->lane == NULL)
			return false;
		foreach(lc2, view->program->view_sources)
		{
			if (derive_lane_find_view(run, lfirst_oid(lc2)) == NULL && !is_at_batch(lfirst_oid(lc2)))
				return false;
		}
	}
	return true;
}


/* ----------------------------------------------------------------
 *		Its end
 * ----------------------------------------------------------------
 */

/* What those who are given changes get: those of the views before them. */
static DeriveBatch *
make_batch(LaneRun *run)
{
	DeriveBatch *batch = palloc0(sizeof(DeriveBatch));

	batch->cxt = CurrentMemoryContext;
	batch->to = run->position;
	batch->lsn = GetXLogInsertRecPtr();
	batch->covered = run->lsn;
	batch->time = run->at;
	return batch;
}

/* 7. Are the partitions of their tables those that we knew before V? */
static bool
is_unchanged(LaneRun *run)
{
	ListCell   *lc;

	AcceptInvalidationMessages();
	InvalidateCatalogSnapshot();
	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		if (derive_sources_digest(view->program) != view->digest)
			return false;
	}
	return true;
}

/* It could not be computed: it stands still with a message, or is to be built again, or never was. */
static void
note_error(LaneRun *run, LaneView *view, DeriveViewRow *row, DeriveLaneRow *lane)
{
	if (lane->error == NULL || strcmp(lane->error, view->error) != 0)
		ereport(view->rebuild ? LOG : WARNING,
				(errcode(view->sqlerrcode),
				 view->rebuild ?
				 errmsg("view \"%s\" is built anew: %s", get_rel_name(view->relid), view->error) :
				 errmsg("view \"%s\" could not be computed: %s", get_rel_name(view->relid), view->error),
				 view->context ? errcontext("%s", view->context) : 0));
	if (lane->behind_since == 0)
		lane->behind_since = view->stale != NULL ? view->stale->behind_since : run->at;
	lane->error = unconstify(char *, view->error);
	lane->error_at = GetCurrentTimestamp();
	if (view->rebuild)
	{
		row->state = DERIVE_VIEW_BUILDING;
		row->rebuild = true;
		row->position = lane->position;
		row->behind_since = lane->behind_since;
		derive_registry_forget_relations(view->relid, 'i');
	}
	else if (row->state == DERIVE_VIEW_BUILDING)
		derive_row_set_error(row, lane->error, derive_error_may_pass(view->sqlerrcode));
	else
		row->rebuild = false;	/* that it has an error says as much */
}

/* 8. */
static void
note_view(LaneRun *run, LaneView *view)
{
	DeriveViewRow row = *view->row;
	DeriveLaneRow lane = *view->lane;

	row.members = (int64) view->digest;
	if (view->error != NULL)
		note_error(run, view, &row, &lane);
	else
	{
		row.state = DERIVE_VIEW_READY;
		row.rebuild = false;
		row.position = NULL;
		row.behind_since = 0;
		row.epoch = 0;
		lane.position = run->position;
		lane.lsn = run->lsn;
		lane.at = run->at;
		lane.error = NULL;
		lane.error_at = lane.behind_since = 0;
		if (view->stats.batches > 0)
		{
			lane.duration = view->stats.apply_ms;
			if (!view->replaced)
				lane.whole = view->program->whole_ms;
		}
	}
	if (row.state != view->row->state || row.rebuild != view->row->rebuild ||
		row.members != view->row->members || row.position != view->row->position ||
		row.behind_since != view->row->behind_since)
		derive_registry_update(&row);
	derive_lane_set(&lane);
	derive_stale_end(view->relid, GetActiveSnapshot());
}

static List *
our_tables(void)
{
	List	   *result = list_make3_oid(derive_registry_table_oid("views", false),
										derive_registry_table_oid("lane", false),
										derive_registry_table_oid("stale", false));

	return lappend_oid(result, derive_registry_table_oid("relations", false));
}

/* False: something was locked, or has changed; begin again. */
static bool
compute_all(LaneRun *run, List *relids)
{
	instr_time	start;
	instr_time	duration;
	ListCell   *lc;

	pgstat_report_activity(STATE_RUNNING, "taking locks");
	if (!look(run, relids))
		return false;
	derive_background_begin();
	if (!lock_views(run))
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());	/* V */
	run->at = GetCurrentTimestamp();
	DERIVE_DEBUG_POINT("lane-locked");

	pgstat_report_activity(STATE_RUNNING, "waiting for a batch");
	pg_atomic_write_u64(&derive_assistant_group->lane.sees, PG_UINT64_MAX);
	pg_memory_barrier();
	if (!derive_await_batch(derive_assistant_group) || !derive_push_batch_snapshot(derive_assistant_number(), &run->position, &run->lsn))
		return false;
	/* the batch may be committed and not be counted yet */
	pg_memory_barrier();
	pg_atomic_write_u64(&derive_assistant_group->lane.sees, pg_atomic_read_u64(&derive_assistant_group->batches) + 1);
	if (!check_views(run))
		return false;
	run->batch = make_batch(run);
	DERIVE_DEBUG_POINT("lane-snapshot");

	pgstat_report_activity(STATE_RUNNING, "computing views");
	INSTR_TIME_SET_CURRENT(start);
	foreach(lc, run->views)
		derive_lane_compute(run, lfirst(lc));
	DERIVE_DEBUG_POINT("lane-computed");
	if (!lock_all(run, our_tables(), RowExclusiveLock) || !is_unchanged(run))
		return false;
	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		note_view(run, view);
		/* the journal goes with the transaction */
		view->announces = view->journal != NULL && (view->journal->nchanges > 0 || view->journal->announce);
	}
	PopActiveSnapshot();
	PopActiveSnapshot();
	DERIVE_DEBUG_POINT("lane-before-commit");
	derive_background_commit();
	DERIVE_DEBUG_POINT("lane-committed");
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	run->duration = INSTR_TIME_GET_MILLISEC(duration);
	return true;
}

/* After the commit. */
static void
report(LaneRun *run)
{
	ListCell   *lc;

	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		if (view->announces)
			derive_lane_announce(view->relid);
		if (view->stats.batches == 0 || view->error != NULL)
			continue;
		view->stats.last_batch_at = GetCurrentTimestamp();
		view->stats.last_batch_ms = view->stats.apply_ms;
		derive_stats_add(view->relid, &view->stats);
	}
	pg_atomic_fetch_add_u64(&derive_assistant_group->lane.runs, 1);
	derive_group_wake(derive_assistant_group);
	ConditionVariableBroadcast(&derive_assistant_group->point.cv);
}

void
derive_lane_run(const LaneGroup *group)
{
	MemoryContext context = CurrentMemoryContext;
	LaneRun    *run = palloc0(sizeof(LaneRun));
	ListCell   *lc;

	run->duration = -1;
	PG_TRY();
	{
		if (compute_all(run, group->views))
			report(run);
		else
			derive_background_abort();
	}
	PG_CATCH();
	{
		derive_lane_handle_error(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	derive_crash_guard_note(InvalidOid, "waiting");
	foreach(lc, run->views)
		derive_program_free(((LaneView *) lfirst(lc))->program);
	foreach(lc, run->duration >= 0 ? group->views : NIL)
		derive_crash_guard_settle(lfirst_oid(lc));
	derive_lane_note_end(group->views, run->duration);
	if (OidIsValid(run->busy))
		derive_blocked_set(&derive_assistant_self->blocked_on, run->busy, run->busy_mode);
}
