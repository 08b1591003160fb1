/*-------------------------------------------------------------------------
 *
 * builder.c
 *	  Filling a new view in a process of its own.
 *
 * The worker starts one builder per view, several at once.  Neither writers nor
 * the maintenance of other views stand still meanwhile.  Steps, each of which
 * ends in a commit or in a word in shared memory:
 *
 *	0. renewal		internal tables that were made for another program than the
 *					view has now are made anew; its contents stay what they are
 *	1. identity		REPLICA IDENTITY FULL where the view's base tables lack it
 *	2. tracking		ask the worker to capture the changes of these tables and to
 *					keep them (the backlog); wait until it says that every
 *					transaction not yet visible is captured
 *	3. filling		lock, take the snapshot S_b, run the query, write the rows; or,
 *					if the view has been maintained before by the same program,
 *					recompute it and change what differs, so that its readers notice
 *					nothing
 *	4. hand-over	the view's row says: state 'catching up', position S_b, and
 *					which life of the worker has its backlog; commit
 *
 * The worker's next batch applies what its own snapshot S covers and S_b does
 * not, and the view is ready.  The order is what makes it exact: identity
 * before tracking, so that every captured old image is complete (writers from
 * before held the ALTER TABLE up and are therefore in S_b); tracking before
 * S_b, so that nothing falls between.
 *
 * If anything fails for reasons of the view, it is marked as failed.  If the
 * reason lies elsewhere (a lock, a worker that restarted, shutdown), the view
 * stays 'building' and the worker starts another builder.  A transaction of a
 * builder that dies leaves nothing behind.  If builders crash, again and again,
 * the next one marks the view as failed (crashed_view.c).
 *
 * People may read a view that is built anew: they see its old contents until the
 * commit.  The new ones can only take their place while nobody reads, and who comes
 * while we wait for that waits for us.  So we wait for moments only, again and again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/error_context.h"
#include "base/groups.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "common/hashfn.h"
#include "catalog/pg_class.h"
#include "delta/stream.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "server/background.h"
#include "server/build_progress.h"
#include "server/builder.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "server/replica_identity.h"
#include "server/statistics.h"
#include "server/throttle.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* What the worker passes to the builder, in bgw_extra. */
typedef struct BuilderArgs
{
	int			slot;
	DeriveGroupId group;
	Oid			view;
	int64		epoch;
} BuilderArgs;

/* This process's slot and group. */
static DeriveBuild *build = NULL;
static DeriveGroup *group = NULL;
static BuilderArgs args;
static int64 started_at;		/* derive_monotonic_ms() */

/* The view's contents are changed, not replaced. */
static bool recomputing = false;

/* The query runs: an error is its own. */
static bool evaluating = false;

/* When the view had failed before, as its row had it when we looked last; 0: it had not. */
static TimestampTz error_at_seen = 0;

static void detach(int code, Datum arg);
static bool enter_crash_guard(void);
static void set_resting(bool resting);
static void set_phase(const char *phase);
static bool renew(void);
static bool ensure_identity(void);
static bool await_tracking(void);
static bool fill(void);
static bool load_relations(List **reads, List **writes, List **without_identity);
static void take_lock(void *arg, Oid view);
static void show_progress(void *arg, const char *phase);
static void report_failure(ErrorData *edata);


BackgroundWorkerHandle *
derive_builder_start(DeriveBuild *slot)
{
	BuilderArgs extra;

	memset(&extra, 0, sizeof(extra));
	extra.slot = slot - derive_shared()->builds;
	extra.group = slot->group;
	extra.view = slot->view;
	extra.epoch = slot->epoch;
	StaticAssertStmt(sizeof(BuilderArgs) <= BGW_EXTRALEN, "builder arguments do not fit");

	return derive_background_launch("builder", "view", slot->view, "derive_builder_main", &extra, sizeof(extra));
}

void
derive_builder_main(Datum arg)
{
	MemoryContext context;

	started_at = derive_monotonic_ms();
	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	build = &derive_shared()->builds[args.slot];
	group = derive_group_find(DERIVE_GROUP_DATABASE(args.group), DERIVE_GROUP_NUMBER(args.group));

	/* Is the slot still meant for us? */
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	if (group == NULL || build->view != args.view || build->group != args.group ||
		build->epoch != args.epoch || build->pid != 0)
	{
		LWLockRelease(derive_shared()->lock);
		proc_exit(0);
	}
	build->pid = MyProcPid;
	LWLockRelease(derive_shared()->lock);
	on_shmem_exit(detach, (Datum) 0);

	derive_background_start(args.group);
	pgstat_report_appname("pg_derive builder");
	StartTransactionCommand();
	set_ps_display(derive_relation_name(args.view));
	CommitTransactionCommand();

	context = AllocSetContextCreate(TopMemoryContext, "pg_derive builder",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	PG_TRY();
	{
		derive_stats_set_waits(args.view, DERIVE_WAITS_FOR_NOTHING, InvalidOid, NoLock);
		derive_throttle_queries(set_resting);
		if (enter_crash_guard() && renew() && ensure_identity() && await_tracking())
			while (!fill())
				CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		derive_build_progress_end();
		report_failure(derive_background_catch(context));
	}
	PG_END_TRY();

	pgstat_report_stat(true);
	proc_exit(0);
}

/* However we end: give the slot back, and let the worker look. */
static void
detach(int code, Datum arg)
{
	derive_blocked_clear(&build->blocked_on);
	derive_build_free(build);
	derive_group_wake(group);
}

static void
set_phase(const char *phase)
{
	derive_crash_guard_note(args.view, phase);
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	strlcpy(build->phase, phase, DERIVE_PHASE_LENGTH);
	build->phase_at = GetCurrentTimestamp();
	LWLockRelease(derive_shared()->lock);
	pgstat_report_activity(STATE_RUNNING, phase);
}

/* Does code of the view's owner run?  The worker looks after us meanwhile (tend.c). */
static void
set_filling(bool filling)
{
	evaluating = filling;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	build->filling = filling;
	LWLockRelease(derive_shared()->lock);
}

static void
set_resting(bool resting)
{
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	build->resting = resting;
	LWLockRelease(derive_shared()->lock);
}

/* Is the worker that keeps our backlog still alive? */
static bool
worker_is_ours(void)
{
	bool		result;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	result = (group->worker_pid != 0 && group->epoch == args.epoch);
	LWLockRelease(derive_shared()->lock);
	return result;
}


/* The view's row, if it is still to be built. */
static DeriveViewRow *
row_to_build(void)
{
	DeriveViewRow *row;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(args.view)))
		return NULL;
	row = derive_registry_get(args.view);
	if (row == NULL || row->state != DERIVE_VIEW_BUILDING)
		return NULL;
	error_at_seen = row->error_at;
	return row;
}

/* Give up this attempt; if a lock was not free, wait for it first. */
static void
retreat(MemoryContext context, Oid busy, LOCKMODE mode)
{
	derive_background_abort();
	MemoryContextSwitchTo(context);
	if (OidIsValid(busy))
		derive_lock_wait(busy, mode, &build->blocked_on, 0);
	MemoryContextSwitchTo(context);
}


/* The view fails if the builders before this one have crashed.  False if there is nothing to build any more. */
static bool
enter_crash_guard(void)
{
	MemoryContext context = CurrentMemoryContext;
	DeriveCrashes crashes;
	DeriveViewRow *row;

	derive_crash_guard_enter(DERIVE_GROUP_ID(MyDatabaseId, DERIVE_DEFAULT_GROUP), args.view, &crashes);
	while (crashes.count > 0)
	{
		Oid			busy = InvalidOid;
		bool		failed = false;

		CHECK_FOR_INTERRUPTS();
		derive_background_begin();
		if (derive_lock_all(list_make2_oid(derive_registry_table_oid("views", true), args.view), RowExclusiveLock, &busy))
		{
			PushActiveSnapshot(GetTransactionSnapshot());
			row = row_to_build();
			if (row != NULL && derive_has_crashed_enough(row, crashes.count))
			{
				derive_fail_crashed_view(row, psprintf("the process that builds the view %s",
													   derive_crashes_text(&crashes, crashes.count)));
				failed = true;
			}
			PopActiveSnapshot();
			derive_background_commit();
			MemoryContextSwitchTo(context);
			return row != NULL && !failed;
		}
		retreat(context, busy, RowExclusiveLock);
	}
	return true;
}


/* ----------------------------------------------------------------
 *		0. Renewal
 * ----------------------------------------------------------------
 */

/* False if there is nothing to build any more. */
static bool
renew(void)
{
	MemoryContext context = CurrentMemoryContext;

	set_phase("checking internal tables");
	for (;;)
	{
		Oid			busy = InvalidOid;
		LOCKMODE	mode = NoLock;

		CHECK_FOR_INTERRUPTS();
		derive_background_begin();
		derive_background_limit_lock_waits(derive_lock_timeout);
		if (row_to_build() == NULL)
		{
			retreat(context, InvalidOid, NoLock);
			return false;
		}
		if (derive_renew_view(args.view, &busy, &mode))
			break;
		retreat(context, busy, mode);
	}
	DERIVE_DEBUG_POINT("build-renewed");
	derive_background_commit();
	MemoryContextSwitchTo(context);
	return true;
}


/* ----------------------------------------------------------------
 *		1. Identity
 * ----------------------------------------------------------------
 */

/*
 * Learn, in a transaction of its own, which relations the view's program reads
 * and writes, and which tables they stand for.  The lists are made in
 * CurrentMemoryContext.  False if there is nothing to build any more.
 */
static bool
load_relations(List **reads, List **writes, List **without_identity)
{
	MemoryContext context = CurrentMemoryContext;
	DeriveProgram *program;
	List	   *missing = NIL;
	ListCell   *lc;

	for (;;)
	{
		Oid			busy = InvalidOid;

		CHECK_FOR_INTERRUPTS();
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		derive_background_limit_lock_waits(derive_lock_timeout);
		PushActiveSnapshot(GetTransactionSnapshot());
		if (row_to_build() == NULL)
		{
			retreat(context, InvalidOid, NoLock);
			return false;
		}
		if (derive_lock_definition(args.view, &busy))
			break;
		retreat(context, busy, AccessShareLock);
	}
	program = derive_program_load(args.view, CurrentMemoryContext);
	foreach(lc, program->sources)
		missing = list_concat_unique_oid(missing, derive_source_without_identity(lfirst(lc)));

	MemoryContextSwitchTo(context);
	*reads = list_copy(derive_program_read_relations(program));
	*writes = list_copy(derive_program_write_relations(program));
	*without_identity = derive_identity_possible(missing);
	derive_program_free(program);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return true;
}

/* False if it cannot be had now, or there is nothing to build. */
static bool
ensure_identity(void)
{
	List	   *reads;
	List	   *writes;
	List	   *missing;
	Oid			busy = InvalidOid;

	set_phase(DERIVE_PHASE_IDENTITY);
	if (!load_relations(&reads, &writes, &missing))
		return false;
	DERIVE_DEBUG_POINT("build-before-identity");
	if (derive_identity_set(missing, &build->blocked_on, &busy))
		return true;
	derive_stats_set_waits(args.view, DERIVE_WAITS_FOR_IDENTITY, busy, AccessExclusiveLock);
	return false;
}


/* ----------------------------------------------------------------
 *		2. Tracking
 * ----------------------------------------------------------------
 */

/* False if the worker went away. */
static bool
await_tracking(void)
{
	set_phase(DERIVE_PHASE_TRACKING);
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	build->tracking_requested = true;
	LWLockRelease(derive_shared()->lock);
	derive_group_wake(group);

	for (;;)
	{
		bool		ready;

		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		ready = build->tracking_ready;
		LWLockRelease(derive_shared()->lock);
		if (ready || !worker_is_ours())
		{
			ConditionVariableCancelSleep();
			return ready;
		}
		(void) ConditionVariableTimedSleep(&build->cv, 1000, derive_wait_event(DERIVE_WAIT_CAPTURE));
		CHECK_FOR_INTERRUPTS();
	}
}


/* ----------------------------------------------------------------
 *		3. Filling, and 4. hand-over
 * ----------------------------------------------------------------
 */

/*
 * True when done, or when there is nothing to do any more; false to begin
 * again, because a lock was not free or the world has changed.
 */
static bool
fill(void)
{
	MemoryContext context = CurrentMemoryContext;
	DeriveProgram *program;
	DeriveViewRow *row;
	List	   *reads;
	List	   *writes;
	List	   *missing;
	int64		filled = -1;
	Oid			busy = InvalidOid;

	set_phase("taking locks");
	if (!load_relations(&reads, &writes, &missing))
		return true;

	derive_background_begin();
	DERIVE_DEBUG_POINT("build-tracked");
	if (!derive_lock_all(reads, AccessShareLock, &busy))
	{
		retreat(context, busy, AccessShareLock);
		return false;
	}
	if (!derive_lock_all(writes, RowExclusiveLock, &busy))
	{
		retreat(context, busy, RowExclusiveLock);
		return false;
	}
	row = row_to_build();
	if (row == NULL)
	{
		retreat(context, InvalidOid, NoLock);
		return true;
	}

	/* S_b.  What was locked above must be all that the query reads now. */
	PushActiveSnapshot(GetTransactionSnapshot());
	row->position = derive_position_from_snapshot(GetActiveSnapshot());
	row->position->time = derive_position_present();
	program = derive_program_load(args.view, CurrentMemoryContext);
	program->present = row->position->time;
	if (program->outdated != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("view \"%s\" got another program while it was built", get_rel_name(args.view))));
	if (list_difference_oid(derive_program_read_relations(program), reads) != NIL ||
		list_difference_oid(derive_program_write_relations(program), writes) != NIL)
	{
		retreat(context, InvalidOid, NoLock);
		return false;
	}

	set_phase("running the query");
	derive_build_progress_begin(build, program);
	DERIVE_DEBUG_POINT("build-before-fill");
	set_filling(true);
	if (row->rebuild && !program->unfilled && (program->routine->flags & DERIVE_OF_CURRENT_ROWS))
	{
		DeriveTargetCounts counts = {0};

		recomputing = true;
		derive_program_recompute(program, NULL, &counts);
		recomputing = false;
	}
	else
		filled = derive_program_build(program, show_progress, take_lock, NULL);
	set_filling(false);
	derive_build_progress_end();
	DERIVE_DEBUG_POINT("build-after-fill");

	row->state = DERIVE_VIEW_CATCHUP;
	row->rebuild = false;
	row->epoch = args.epoch;
	row->members = (int64) derive_sources_digest(program);
	derive_registry_update(row);

	PopActiveSnapshot();
	set_phase("handing over");
	if (filled >= 0)
		derive_log_built(args.view, filled, started_at);
	derive_background_commit();
	MemoryContextSwitchTo(context);
	return true;
}

uint64
derive_sources_digest(DeriveProgram *program)
{
	uint64		result = 0;
	ListCell   *lc;

	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		if (!list_member_oid(program->view_sources, source->relid))
			result = hash_combine64(result, derive_source_members_digest(source));
	}
	if (derive_program_row_types_digest(program) != 0)
		result = hash_combine64(result, derive_program_row_types_digest(program));
	if (derive_program_columns_digest(program) != 0)
		result = hash_combine64(result, derive_program_columns_digest(program));
	return result;
}

/* Its owner's code is done. */
static void
take_lock(void *arg, Oid view)
{
	set_filling(false);
	set_phase("waiting for the view's lock");
	derive_lock_at_end(view, AccessExclusiveLock, &build->blocked_on);
	set_filling(true);
}

static void
show_progress(void *arg, const char *phase)
{
	if (strncmp(build->phase, phase, DERIVE_PHASE_LENGTH - 1) != 0)
		set_phase(phase);
}

/*
 * Say why it did not work, and mark the view as failed if the reason is its
 * own.  If the lock on the view, or on our tables, is not free then somebody changes or
 * drops it right now; the worker will try again.  If it is gone, there is nothing to say.
 */
static void
report_failure(ErrorData *edata)
{
	bool		transient = derive_error_is_transient(edata->sqlerrcode);
	TimestampTz error_at_begin = error_at_seen;
	DeriveViewRow *row;
	Oid			busy;

	derive_background_begin();
	PushActiveSnapshot(GetTransactionSnapshot());	/* a message may be out of
													 * line */
	if (derive_lock_all(list_make2_oid(derive_registry_table_oid("views", true), args.view), RowExclusiveLock, &busy) &&
		(row = row_to_build()) != NULL)
	{
		bool		known = row->error != NULL && strcmp(row->error, derive_error_text(edata)) == 0;

		/* derive.resume(): its caller's commits are not in what we have seen */
		transient = transient || row->error_at != error_at_begin;
		ereport(transient || known ? LOG : WARNING,
				(errcode(edata->sqlerrcode),
				 errmsg("could not build view \"%s\": %s",
						get_rel_name(args.view), derive_error_text(edata)),
				 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
				 edata->context ? errcontext("%s", edata->context) : 0));
		if (transient)
			derive_stats_set_waits(args.view, DERIVE_WAITS_FOR_RETRY, InvalidOid, NoLock);
		else if (recomputing && derive_error_is_damage(edata->sqlerrcode))
			derive_registry_forget_relations(args.view, 'i');	/* another one replaces
																 * them */
		else
		{
			derive_row_set_error(row, derive_error_text(edata), evaluating && derive_error_may_pass(edata->sqlerrcode));
			derive_registry_update(row);
		}
	}
	PopActiveSnapshot();
	derive_background_commit();
}
