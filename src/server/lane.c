/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  The slow lane: views with a pace of their own, in a process of its own.
 *
 * Views of which some part is computed anew as a whole, and views that read them, are
 * not moved in the worker's batches (slow_views.c says which they are).  This process
 * recomputes them, so that nobody waits for them.  Views that read one another are a
 * group.  A group moves in one transaction, a run, to one position, and then rests for
 * so long that all groups together take no more than pg_derive.recompute_share of
 * one processor.  Runs follow one another; so one waits for others, but only for
 * those in the lane.
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
 * Giving way.  A run holds locks for long.  Once a second the worker looks whether
 * somebody waits for one of them, and cancels the run, which begins again after him.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/debug_point.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/lane.h"
#include "base/registry.h"
#include "base/waiting.h"
#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/journal.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "server/background.h"
#include "server/batch_snapshot.h"
#include "server/builder.h"
#include "server/crash_guard.h"
#include "server/dependents.h"
#include "server/lane.h"
#include "server/shmem.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* It ends when there was nothing to do for so long. */
#define IDLE_MS				5000

/* Pauses before a run begins again. */
#define FIRST_PAUSE_MS		20
#define LAST_PAUSE_MS		1000

/* A view that could not be computed is tried again, although nothing has changed. */
#define ERROR_RETRY_MS		60000

/* Our file is not the one of a view. */
#define GUARD_OID			((Oid) 1)

/* What was last done for a view. */
typedef struct Pace
{
	Oid			view;
	TimestampTz ended_at;
	double		duration;		/* of the run, in ms */
	int			attempts;		/* since then, in a row, that came to nothing */
} Pace;

/* A group of which a view is to be computed. */
typedef struct LaneGroup
{
	List	   *views;			/* of Oid */
	TimestampTz due;			/* not before */
} LaneGroup;

/* A view in a run. */
typedef struct LaneView
{
	Oid			relid;
	DeriveViewRow *row;
	DeriveLaneRow *lane;		/* as S+ shows it */
	DeriveProgram *program;
	List	   *reads;
	List	   *writes;			/* without the view itself */
	uint64		digest;			/* of its sources, before V */
	DeriveStale *stale;			/* as S+ shows it; or NULL */
	DeriveJournal *journal;		/* or NULL */

	bool		moved;			/* its contents may be others now */
	bool		replaced;		/* and nobody knows by which changes */
	bool		rebuild;		/* what is stored of it is damaged */
	const char *error;			/* why it could not be computed; or NULL */
	int			sqlerrcode;
	const char *context;		/* of that error; or NULL */
	DeriveStats stats;
} LaneView;

/* A run. */
typedef struct Run
{
	List	   *views;			/* of LaneView *, in the order in which they
								 * read each other */
	Oid			busy;			/* what could not be locked; or InvalidOid */
	LOCKMODE	busy_mode;
	DerivePosition *position;	/* S */
	XLogRecPtr	lsn;
	TimestampTz at;				/* S was taken after this */
	DeriveBatch *batch;
	double		duration;		/* in ms; below 0: it came to nothing */
} Run;

typedef struct Move
{
	Run		   *run;
	LaneView   *view;
} Move;

static DeriveDatabase *database = NULL;
static DeriveLane *self = NULL;
static MemoryContext lane_cxt = NULL;	/* life of the process */
static List *paces = NIL;		/* of Pace *; in lane_cxt */
static List *announcements = NIL;	/* of Oid: views whose subscribers are to
									 * be notified; in lane_cxt */

/* What the programs of this run were made for may have changed; set in callbacks. */
static volatile bool changed = false;


/* ----------------------------------------------------------------
 *		The process
 * ----------------------------------------------------------------
 */

BackgroundWorkerHandle *
derive_lane_start(void)
{
	return derive_background_launch("slow lane", "database", MyDatabaseId, "derive_lane_main", NULL, 0);
}

/* However we end: what was not done is for the next one, which the worker starts. */
static void
detach(int code, Datum arg)
{
	derive_blocked_clear(&self->blocked_on);
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	self->pid = 0;
	self->latch = NULL;
	LWLockRelease(derive_shared()->lock);
	derive_database_wake(database);
	ConditionVariableBroadcast(&database->point.cv);
	derive_launcher_wake();
}

/* Take the database's place for this process, or exit if another one has it. */
static void
attach(Oid dboid)
{
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	database = derive_database_find(dboid);
	if (database == NULL || database->holds > 0 || database->lane.pid != 0)
	{
		LWLockRelease(derive_shared()->lock);
		proc_exit(0);
	}
	self = &database->lane;
	self->pid = MyProcPid;
	self->latch = MyLatch;
	self->start_failures = 0;
	LWLockRelease(derive_shared()->lock);
	derive_blocked_clear(&self->blocked_on);
	on_shmem_exit(detach, (Datum) 0);
}

/* Relcache callback: flags only. */
static void
note_invalidation(Datum arg, Oid relid)
{
	changed = true;
	derive_program_invalidate_plans(relid);
}

/* A view fails if the processes before this one have crashed over it. */
static void
enter_crash_guard(void)
{
	DeriveCrashes crashes;
	DeriveViewRow *row;

	derive_crash_guard_enter(MyDatabaseId, GUARD_OID, &crashes);
	if (crashes.count < DERIVE_MAX_CRASHES || !OidIsValid(crashes.view))
		return;
	StartTransactionCommand();
	derive_blocked_set(&self->blocked_on, crashes.view, RowExclusiveLock);
	LockRelationOid(crashes.view, RowExclusiveLock);
	derive_blocked_clear(&self->blocked_on);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(crashes.view)) &&
		(row = derive_registry_get(crashes.view)) != NULL)
	{
		row->position = derive_position_of_view(row);
		row->error = psprintf("the process that computes the view crashed %d times in a row, while %s",
							  crashes.count, crashes.activity);
		row->error_at = GetCurrentTimestamp();
		row->retry = false;
		row->state = DERIVE_VIEW_FAILED;
		ereport(WARNING,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("maintenance of view \"%s\" has failed: %s", get_rel_name(row->relid), row->error),
				 errhint("Remove the cause, then call derive.repair() for the view.")));
		derive_registry_update(row);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}


/* ----------------------------------------------------------------
 *		Pace
 * ----------------------------------------------------------------
 */

static Pace *
pace_of(Oid view)
{
	MemoryContext oldcontext;
	Pace	   *pace;
	ListCell   *lc;

	foreach(lc, paces)
	{
		if (((Pace *) lfirst(lc))->view == view)
			return lfirst(lc);
	}
	oldcontext = MemoryContextSwitchTo(lane_cxt);
	pace = palloc0(sizeof(Pace));
	pace->view = view;
	paces = lappend(paces, pace);
	MemoryContextSwitchTo(oldcontext);
	return pace;
}

/* After a run over these views; duration below 0: an attempt that came to nothing. */
static void
note_end(List *views, double duration)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		Pace	   *pace = pace_of(lfirst_oid(lc));

		pace->ended_at = GetCurrentTimestamp();
		pace->attempts = duration < 0 ? pace->attempts + 1 : 0;
		if (duration >= 0)
			pace->duration = duration;
	}
}

/*
 * When may the view be computed again, if so many groups want to be, its own included,
 * and share what there is?
 */
static TimestampTz
due_at(Oid view, int ngroups)
{
	Pace	   *pace = pace_of(view);
	double		pause = pace->duration * (ngroups / derive_recompute_share - 1);

	if (pace->attempts > 0)
		pause = Min(FIRST_PAUSE_MS << Min(pace->attempts - 1, 10), LAST_PAUSE_MS);
	return pace->ended_at + (TimestampTz) (pause * 1000);
}

static bool
is_stale(List *stale, Oid view)
{
	ListCell   *lc;

	foreach(lc, stale)
	{
		if (((DeriveStale *) lfirst(lc))->view == view)
			return true;
	}
	return false;
}

/* The groups of views in the lane: who reads whom, in any number of steps. */
static List *
find_groups(List *rows)
{
	List	   *groups = NIL;	/* of List of Oid */
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, rows)
	{
		Oid			view = ((DeriveLaneRow *) lfirst(lc))->view;
		List	   *group = list_make1_oid(view);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view)))
			continue;
		foreach(lc2, derive_readers(view))
		{
			ListCell   *lc3;

			foreach(lc3, rows)
			{
				if (((DeriveLaneRow *) lfirst(lc3))->view == lfirst_oid(lc2))
					group = list_append_unique_oid(group, lfirst_oid(lc2));
			}
		}
		foreach(lc2, groups)
		{
			List	   *other = lfirst(lc2);

			if (list_length(list_difference_oid(other, group)) == list_length(other))
				continue;
			group = list_concat_unique_oid(group, other);
			groups = foreach_delete_current(groups, lc2);
		}
		groups = lappend(groups, group);
	}
	return groups;
}

static int
compare_due(const ListCell *a, const ListCell *b)
{
	TimestampTz x = ((LaneGroup *) lfirst(a))->due;
	TimestampTz y = ((LaneGroup *) lfirst(b))->due;

	return (x > y) - (x < y);
}

/*
 * The groups of which a view is to be computed, that which is due first at the head.
 * In CurrentMemoryContext, in a transaction of its own.  *any_error: some view could
 * not be computed, and waits for another try.
 */
static List *
wanted_groups(bool *any_error)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	List	   *rows;
	List	   *stale;
	ListCell   *lc;
	ListCell   *lc2;

	*any_error = false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	rows = derive_lane_all(NULL);
	stale = derive_stale_all(NULL);
	foreach(lc, find_groups(rows))
	{
		LaneGroup  *group = palloc0(sizeof(LaneGroup));
		bool		wanted = false;

		group->views = lfirst(lc);
		foreach(lc2, rows)
		{
			DeriveLaneRow *row = lfirst(lc2);

			if (!list_member_oid(group->views, row->view))
				continue;
			wanted |= is_stale(stale, row->view);
			*any_error |= row->error != NULL;
			wanted |= row->error != NULL &&
				TimestampDifferenceExceeds(row->error_at, GetCurrentTimestamp(), ERROR_RETRY_MS);
		}
		if (wanted)
			result = lappend(result, group);
	}
	foreach(lc, result)
	{
		LaneGroup  *group = lfirst(lc);

		foreach(lc2, group->views)
			group->due = Max(group->due, due_at(lfirst_oid(lc2), list_length(result)));
	}
	list_sort(result, compare_due);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}


/* ----------------------------------------------------------------
 *		A run: what it is about
 * ----------------------------------------------------------------
 */

static LaneView *
find_view(Run *run, Oid relid)
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
	if (row == NULL || (row->state != DERIVE_VIEW_READY && row->state != DERIVE_VIEW_BUILDING) ||
		derive_lane_of(row, NULL) == NULL)
		return NULL;
	return row;
}

/* Add a view after those that it reads. */
static void
add_in_order(List **ordered, Run *run, LaneView *view)
{
	ListCell   *lc;

	if (list_member_ptr(*ordered, view))
		return;
	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = find_view(run, lfirst_oid(lc));

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
look(Run *run, List *relids)
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
	changed = false;
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
lock_all(Run *run, List *relids, LOCKMODE mode)
{
	if (derive_lock_all(relids, mode, &run->busy))
		return true;
	run->busy_mode = mode;
	return false;
}

/* 2. */
static bool
lock_views(Run *run)
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
	return !changed;
}

/* 5. Under S+: is the view that one of ours reads, and that is not in the run, where the batch is? */
static bool
is_at_batch(Oid relid)
{
	DeriveViewRow *row = derive_registry_get_at(relid, GetActiveSnapshot());
	DeriveWaitingRow *waiting;

	if (row == NULL)
		return true;
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
check_views(Run *run)
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
			if (find_view(run, lfirst_oid(lc2)) == NULL && !is_at_batch(lfirst_oid(lc2)))
				return false;
		}
	}
	return true;
}


/* ----------------------------------------------------------------
 *		A run: computing a view
 * ----------------------------------------------------------------
 */

static void
open_journal(Run *run, LaneView *view)
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
	derive_lock_at_end(view, AccessExclusiveLock, &self->blocked_on);
}

/* Does a view that must be told of its changes read this one? */
static bool
is_read_by_changes(Run *run, LaneView *view)
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
knows_changes(Run *run, LaneView *view)
{
	ListCell   *lc;

	if (is_changed(view) || view->lane->position == NULL || view->lane->error != NULL || view->row->rebuild)
		return false;
	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = find_view(run, lfirst_oid(lc));

		if (source != NULL && source->replaced)
			return false;
	}
	return true;
}

/* 6. One view, in a subtransaction. */
static void
compute(void *arg)
{
	Run		   *run = ((Move *) arg)->run;
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
}

/* Must it be computed?  Else it is at S as it is. */
static bool
must_be_computed(Run *run, LaneView *view)
{
	ListCell   *lc;

	if (is_changed(view) || view->lane->position == NULL || view->lane->error != NULL ||
		view->row->rebuild || view->row->state != DERIVE_VIEW_READY)
		return true;
	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = find_view(run, lfirst_oid(lc));

		if (source != NULL && source->moved)
			return true;
	}
	return false;
}

/* The view that it reads and that could not be computed, if there is one. */
static LaneView *
source_in_error(Run *run, LaneView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->view_sources)
	{
		LaneView   *source = find_view(run, lfirst_oid(lc));

		if (source != NULL && source->error != NULL)
			return source;
	}
	return NULL;
}

static void
compute_carefully(Run *run, LaneView *view)
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

/* What those who are given changes get: those of the views before them. */
static DeriveBatch *
make_batch(Run *run)
{
	DeriveBatch *batch = palloc0(sizeof(DeriveBatch));

	batch->cxt = CurrentMemoryContext;
	batch->to = run->position;
	batch->lsn = GetXLogInsertRecPtr();
	batch->covered = run->lsn;
	batch->time = run->at;
	return batch;
}


/* ----------------------------------------------------------------
 *		A run: its end
 * ----------------------------------------------------------------
 */

/* 7. Are the partitions of their tables those that we knew before V? */
static bool
is_unchanged(Run *run)
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
note_error(LaneView *view, DeriveViewRow *row, DeriveLaneRow *lane)
{
	if (lane->error == NULL || strcmp(lane->error, view->error) != 0)
		ereport(view->rebuild ? LOG : WARNING,
				(errcode(view->sqlerrcode),
				 view->rebuild ?
				 errmsg("view \"%s\" is built anew: %s", get_rel_name(view->relid), view->error) :
				 errmsg("view \"%s\" could not be computed: %s", get_rel_name(view->relid), view->error),
				 view->context ? errcontext("%s", view->context) : 0));
	lane->error = unconstify(char *, view->error);
	lane->error_at = GetCurrentTimestamp();
	if (view->rebuild)
	{
		row->state = DERIVE_VIEW_BUILDING;
		row->rebuild = true;
		row->position = NULL;
		derive_registry_forget_relations(view->relid, 'i');
	}
	else if (row->state == DERIVE_VIEW_BUILDING)
	{
		row->state = DERIVE_VIEW_FAILED;
		row->error = lane->error;
		row->error_at = lane->error_at;
		row->retry = derive_error_may_pass(view->sqlerrcode);
	}
	else
		row->rebuild = false;	/* that it has an error says as much */
}

/* 8. */
static void
note_view(Run *run, LaneView *view)
{
	DeriveViewRow row = *view->row;
	DeriveLaneRow lane = *view->lane;

	row.members = (int64) view->digest;
	if (view->error != NULL)
		note_error(view, &row, &lane);
	else
	{
		row.state = DERIVE_VIEW_READY;
		row.rebuild = false;
		row.position = NULL;
		row.epoch = 0;
		lane.position = run->position;
		lane.lsn = run->lsn;
		lane.at = run->at;
		lane.error = NULL;
		lane.error_at = 0;
		if (view->stats.batches > 0)
		{
			lane.duration = view->stats.apply_ms;
			if (!view->replaced)
				lane.whole = view->program->whole_ms;
		}
	}
	if (row.state != view->row->state || row.rebuild != view->row->rebuild ||
		row.members != view->row->members || row.position != view->row->position)
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
compute_all(Run *run, List *relids)
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
	pg_atomic_write_u64(&self->sees, PG_UINT64_MAX);
	pg_memory_barrier();
	if (!derive_await_batch(database) || !derive_push_batch_snapshot(&run->position, &run->lsn))
		return false;
	/* the batch may be committed and not be counted yet */
	pg_memory_barrier();
	pg_atomic_write_u64(&self->sees, pg_atomic_read_u64(&database->batches) + 1);
	if (!check_views(run))
		return false;
	run->batch = make_batch(run);
	DERIVE_DEBUG_POINT("lane-snapshot");

	pgstat_report_activity(STATE_RUNNING, "computing views");
	INSTR_TIME_SET_CURRENT(start);
	foreach(lc, run->views)
		compute_carefully(run, lfirst(lc));
	DERIVE_DEBUG_POINT("lane-computed");
	if (!lock_all(run, our_tables(), RowExclusiveLock) || !is_unchanged(run))
		return false;
	foreach(lc, run->views)
		note_view(run, lfirst(lc));
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
report(Run *run)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(lane_cxt);
	ListCell   *lc;

	foreach(lc, run->views)
	{
		LaneView   *view = lfirst(lc);

		if (view->journal != NULL && (view->journal->nchanges > 0 || view->journal->announce))
			announcements = list_append_unique_oid(announcements, view->relid);
		if (view->stats.batches == 0 || view->error != NULL)
			continue;
		view->stats.last_batch_at = GetCurrentTimestamp();
		view->stats.last_batch_ms = view->stats.apply_ms;
		derive_stats_add(view->relid, &view->stats);
	}
	MemoryContextSwitchTo(oldcontext);
	pg_atomic_fetch_add_u64(&self->runs, 1);
	derive_database_wake(database);
	ConditionVariableBroadcast(&database->point.cv);
}

/* In PG_CATCH. */
static void
handle_error(MemoryContext context)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	FlushErrorState();
	derive_background_abort();
	MemoryContextSwitchTo(context);
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	derive_blocked_clear(&self->blocked_on);
	RESUME_INTERRUPTS();
	ereport(edata->sqlerrcode == ERRCODE_QUERY_CANCELED ? DEBUG1 : LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("views could not be recomputed and are tried again later: %s", edata->message)));
	FreeErrorData(edata);
}

static void
run_group(const LaneGroup *group)
{
	MemoryContext context = CurrentMemoryContext;
	Run		   *run = palloc0(sizeof(Run));
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
		handle_error(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	derive_crash_guard_note(InvalidOid, "waiting");
	foreach(lc, run->views)
		derive_program_free(((LaneView *) lfirst(lc))->program);
	note_end(group->views, run->duration);
	if (OidIsValid(run->busy))
		derive_blocked_set(&self->blocked_on, run->busy, run->busy_mode);
}


/* ----------------------------------------------------------------
 *		The loop
 * ----------------------------------------------------------------
 */

/* Tell subscribers; false if it is to be tried again. */
static bool
announce(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	if (announcements == NIL)
		return true;
	PG_TRY();
	{
		ListCell   *lc;

		derive_background_begin();
		derive_background_limit_lock_waits(derive_lock_timeout);
		foreach(lc, announcements)
		{
			char	   *name = get_rel_name(lfirst_oid(lc));
			DeriveLaneRow *lane = name == NULL ? NULL : derive_lane_get(lfirst_oid(lc), NULL);
			char	   *channel;

			if (lane == NULL)
				continue;
			channel = psprintf("derive_%s", name);
			channel[pg_mbcliplen(channel, strlen(channel), NAMEDATALEN - 1)] = '\0';
			Async_Notify(channel, psprintf("%X/%X", LSN_FORMAT_ARGS(lane->lsn)));
		}
		derive_background_commit();
		done = true;
	}
	PG_CATCH();
	{
		handle_error(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (done)
	{
		list_free(announcements);
		announcements = NIL;
	}
	return done;
}

/* Sleep; false if there was nothing to be woken for. */
static bool
nap(long ms)
{
	int			events;

	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_stat(true);
	events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	return (events & WL_LATCH_SET) != 0;
}

static bool
must_leave(void)
{
	bool		held;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	held = database->holds > 0;
	LWLockRelease(derive_shared()->lock);
	return held || !derive_database_has_worker(database);
}

void
derive_lane_main(Datum arg)
{
	MemoryContext context;

	attach(DatumGetObjectId(arg));
	derive_background_start(DatumGetObjectId(arg));
	pgstat_report_appname("pg_derive slow lane");
	SetConfigOption("jit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_SUSET, PGC_S_OVERRIDE);
	CacheRegisterRelcacheCallback(note_invalidation, (Datum) 0);

	lane_cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive slow lane", ALLOCSET_DEFAULT_SIZES);
	context = AllocSetContextCreate(TopMemoryContext, "pg_derive run", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	enter_crash_guard();
	for (;;)
	{
		List	   *groups;
		bool		any_error;
		bool		announced;
		long		ms;

		QueryCancelPending = false; /* meant for a run that is over */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (must_leave())
			break;
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		announced = announce();
		groups = wanted_groups(&any_error);
		if (groups != NIL)
		{
			LaneGroup  *first = linitial(groups);

			ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), first->due);
			if (ms <= 0)
			{
				derive_blocked_clear(&self->blocked_on);
				run_group(first);
			}
			else
				(void) nap(Min(ms, LAST_PAUSE_MS));
		}
		else
		{
			derive_blocked_clear(&self->blocked_on);
			if (!nap(announced ? IDLE_MS : LAST_PAUSE_MS) && announced && !any_error)
				break;
		}
	}
	proc_exit(0);
}
