/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The process that maintains one group of the views of a database.
 *
 * Its loop runs batches.  A batch moves all views of the group from one
 * snapshot of the database to a later one, in one transaction, and looks only at those
 * that have something to do for that (concerned.c): run_batch() is the table of contents
 * of the whole extension,
 *
 *		capture		decode the log up to now				src/capture
 *		delta		what changed between the two snapshots	src/delta
 *		derive		what that means for each view, and
 *		materialize	change the views' rows					src/derive, materialize
 *		notify		tell those who wait						src/notify
 *		confirm		tell the slot what is not needed again
 *
 * Its parts are in files of their own, and share worker_internal.h:
 *
 *		reading.c	the slot, the decoder and the stream; positions, confirming
 *		holding.c	old row versions: for how long they are kept
 *		views.c		what is known of the views: the registry, their programs
 *		concerned.c	which of them a batch looks at
 *		basis.c		what they rest on besides the log
 *		advance.c	moving the views, and what becomes of one that fails
 *		cohort.c	views that cannot be moved now, and how they come back
 *		retry.c		views that have failed, and when they are tried again
 *		slow_views.c	views that another process moves, at a pace of its own
 *		replace.c	views that take the place of others
 *		moves.c		views that move to other groups
 *		watchdog.c	a limit on the time that one view may take
 *		serve.c		requests of others: repairs, and batches for the verifier
 *		pace.c		how long to rest between batches
 *		tend.c		between batches: builders, the verifier, replica identity
 *		setbacks.c	when it cannot go on: the log is not to be had, or it crashes
 *
 * Order inside a batch.  Locks come before the snapshot S: a rewrite or
 * TRUNCATE that commits between the two would make the tables look empty under
 * S.  S comes before the end of WAL: whatever S sees has its commit record
 * before it.  What was decoded but S does not see yet is kept by the stream
 * for a later batch.  If then there are changes for a view that is not locked since nobody knew
 * of them, the batch is left, and begins again with more locks.
 *
 * Waking up.  Every transaction with an xid that commits in the database adds
 * one to DeriveGroup.commits after it has become visible.  The worker reads
 * the counter before it takes S; as long as the counter is what it was then,
 * there is nothing new.  Only if the worker has announced that it sleeps does
 * a commit also set its latch.  The worker's own commits do not count.  If some view
 * depends on the time (compile/passing_time.c), the worker wakes up by itself as well.
 *
 * Errors.  After an ERROR the batch is rolled back, while its deltas stay in the
 * stream, and run again in careful mode, which finds the view that is to blame
 * (advance.c).  Errors that say nothing about a view (no memory, no disk) set it
 * aside for a while, or, if they concern all, make the whole batch be tried again,
 * later and later, for ever.  An ERROR while decoding ends a life of the worker
 * (reading.c); one that comes again and again in the same place ends the slot's
 * (setbacks.c).
 *
 * Locks: see background.c.  The worker never waits for a lock while it holds
 * another one, and for one of a view not at all: a view that is locked is set aside
 * (cohort.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/groups.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/past.h"
#include "base/position.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/wait_event.h"
#include "commands/dbcommands.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "server/background.h"
#include "server/clock_step.h"
#include "server/builder.h"
#include "server/crash_guard.h"
#include "server/pace.h"
#include "server/shmem.h"
#include "server/worker.h"
#include "server/worker_internal.h"
#include "storage/ipc.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define LOOK_MS				1000	/* after others, while we wait for a lock */
#define IDLE_MS				10000	/* the WAL of other databases grows too */
#define FIRST_BACKOFF_MS	100
#define LAST_BACKOFF_MS		10000

/* Before we leave: as much of the log is read, in so many batches. */
#define LITTLE_LOG			(1024 * 1024)
#define MOST_LAST_BATCHES	10

DeriveWorker derive_worker;

static bool announced = false;	/* in the server log */
static bool coming_to_rest = false;

static char *whose_views(void);
static void worker_attach(DeriveGroupId group);
static void worker_detach(int code, Datum arg);
static void main_loop(void);
static bool must_read_on(void);
static void handle_error(void);
static void run_batch(void);
static void leave_database(void);
static bool anything_to_do(void);
static bool gather(void);
static void idle(void);


char *
derive_slot_name(Oid dboid, int group)
{
	return group == DERIVE_DEFAULT_GROUP ? psprintf("pg_derive_%u", dboid) : psprintf("pg_derive_%u_%d", dboid, group);
}

bool
derive_is_slot_name(const char *name, Oid dboid, int *group)
{
	const char *prefix = derive_slot_name(dboid, DERIVE_DEFAULT_GROUP);
	size_t		len = strlen(prefix);
	int			number = DERIVE_DEFAULT_GROUP;

	if (strncmp(name, prefix, len) != 0)
		return false;
	if (name[len] != '\0')
		number = name[len] == '_' ? atoi(name + len + 1) : 0;
	if (strcmp(name, derive_slot_name(dboid, number)) != 0)
		return false;
	if (group != NULL)
		*group = number;
	return true;
}


/* ----------------------------------------------------------------
 *		Coming and going
 * ----------------------------------------------------------------
 */

void
derive_worker_main(Datum arg)
{
	DeriveGroupId group = derive_background_group();
	Oid			dboid = DERIVE_GROUP_DATABASE(group);
	static const char *const settings[][2] =
	{
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"},

		/*
		 * what is kept for all views is no view's fault; others keep to the
		 * server's
		 */
		{"temp_file_limit", "-1"},
	};
	int			i;

	derive_worker.group = DERIVE_GROUP_NUMBER(group);
	worker_attach(group);
	derive_background_start(group);
	pgstat_report_appname("pg_derive worker");
	for (i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("logical_decoding_work_mem", psprintf("%dkB", derive_decoding_work_mem),
					PGC_SUSET, PGC_S_OVERRIDE);

	derive_worker.cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive worker",
											  ALLOCSET_DEFAULT_SIZES);
	derive_worker.config_cxt = AllocSetContextCreate(derive_worker.cxt, "pg_derive registry",
													 ALLOCSET_DEFAULT_SIZES);
	derive_worker.batch_cxt = AllocSetContextCreate(derive_worker.cxt, "pg_derive batch",
													ALLOCSET_DEFAULT_SIZES);
	derive_worker.slot = MemoryContextStrdup(derive_worker.cxt, derive_slot_name(dboid, derive_worker.group));
	StartTransactionCommand();
	derive_worker.dbname = MemoryContextStrdup(derive_worker.cxt, get_database_name(dboid));
	derive_worker.whose = MemoryContextStrdup(derive_worker.cxt, whose_views());
	CommitTransactionCommand();
	derive_worker.reload = true;
	CacheRegisterRelcacheCallback(derive_worker_note_invalidation, (Datum) 0);
	derive_on_role_change(derive_worker_note_role_change);

	derive_worker_survive_crashes();
	main_loop();
	proc_exit(0);
}

/* For messages.  The group may be gone. */
static char *
whose_views(void)
{
	const char *name = derive_worker.group == DERIVE_DEFAULT_GROUP ? NULL : derive_group_name(derive_worker.group);

	if (derive_worker.group == DERIVE_DEFAULT_GROUP)
		return psprintf("database \"%s\"", derive_worker.dbname);
	return name == NULL ? psprintf("group %d of database \"%s\"", derive_worker.group, derive_worker.dbname) :
		psprintf("group \"%s\" of database \"%s\"", name, derive_worker.dbname);
}

/* Take the group's place in shared memory, or exit if another worker has it. */
static void
worker_attach(DeriveGroupId group)
{
	DeriveShared *shared = derive_shared();
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	derive_worker.place = derive_group_find(DERIVE_GROUP_DATABASE(group), DERIVE_GROUP_NUMBER(group));
	if (derive_worker.place == NULL || derive_worker.place->worker_pid != 0 || derive_worker.place->holds > 0)
	{
		LWLockRelease(shared->lock);
		proc_exit(0);
	}
	derive_worker.place->worker_pid = MyProcPid;
	derive_worker.place->worker_latch = MyLatch;
	derive_worker.place->epoch = 0;
	derive_worker.place->reading = false;
	derive_worker.place->slot_failures = 0;
	derive_worker.place->away_until = 0;
	pg_atomic_write_u64(&derive_worker.place->pinned_lsn, InvalidXLogRecPtr);
	derive_worker.place->slot_cutoff = InvalidTransactionId;
	pg_atomic_write_u32(&derive_worker.place->activity, DERIVE_STARTING);

	/* What an earlier worker left half done. */
	for (i = 0; i < DERIVE_MAX_BUILD_SLOTS; i++)
	{
		DeriveBuild *build = &shared->builds[i];

		if (build->group == group && build->pid == 0)
			build->view = InvalidOid;
	}
	LWLockRelease(shared->lock);

	derive_blocked_clear(&derive_worker.place->point.blocked_on);

	/*
	 * After the slot was released and the process has left the list of
	 * sessions.
	 */
	on_shmem_exit(worker_detach, (Datum) 0);
}

void
derive_worker_announce(void)
{
	announced = true;
	ereport(LOG,
			(errmsg("pg_derive worker for %s started", derive_worker.whose)));
}

static void
worker_detach(int code, Datum arg)
{
	DeriveShared *shared = derive_shared();

	if (announced)
		ereport(LOG,
				(errmsg("pg_derive worker for %s stopped", derive_worker.whose)));

	pg_atomic_write_u32(&derive_worker.place->sleeping, 0);
	pg_atomic_write_u64(&derive_worker.place->pinned_lsn, InvalidXLogRecPtr);
	derive_blocked_clear(&derive_worker.place->point.blocked_on);
	derive_requests_hand_back(derive_worker.place, DERIVE_REQUEST_REPAIR);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	derive_worker.place->worker_pid = 0;
	derive_worker.place->worker_latch = NULL;
	derive_worker.place->epoch = 0;
	derive_worker.place->left = (code == 0);
	derive_worker.place->was_told_to_end = derive_background_was_told_to_end();
	derive_worker.place->reading = false;
	derive_worker.place->reading_changed_at = GetCurrentTimestamp();
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&derive_worker.place->point.cv);
	derive_launcher_wake();
}

/* Is there a view in our group, or on its way? */
static bool
any_view_is_ours(void)
{
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->group == derive_worker.group || row->move_to == derive_worker.group)
			return true;
	}
	return false;
}

/*
 * There are no views here, or no extension.  Drop the slot and say that no
 * worker is wanted; but look once more, since a view may have been declared
 * meanwhile (its session says "wanted" after its commit).
 */
static void
leave_database(void)
{
	DeriveShared *shared = derive_shared();
	bool		views;

	derive_worker_close_capture();
	derive_worker_sweep_journals();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	derive_worker.place->wanted = false;
	LWLockRelease(shared->lock);

	StartTransactionCommand();
	views = OidIsValid(derive_extension_oid(true)) && any_view_is_ours();
	CommitTransactionCommand();
	if (views)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		derive_worker.place->wanted = true;
		LWLockRelease(shared->lock);
		derive_worker.leave = false;
		derive_worker.reload = true;
		return;
	}

	/*
	 * Files do not wait for commits: after a crash that undid the one by
	 * which the last view went, it would be there without its slot.
	 */
	XLogFlush(derive_wait_target(InvalidXLogRecPtr));
	derive_worker_drop_slot();
	derive_worker_restore_identities();
	proc_exit(0);
}


/* ----------------------------------------------------------------
 *		The loop
 * ----------------------------------------------------------------
 */

/* Where old rows come from decides what is followed, and what tables must log. */
static void
reload_config(void)
{
	bool		old_rows_were_read = derive_old_rows_are_read();

	ProcessConfigFile(PGC_SIGHUP);
	if (derive_old_rows_are_read() != old_rows_were_read)
		derive_worker.reload = true;
}

/*
 * We are told to leave, most likely with the server.  If little is left to be read, do it,
 * so that the slot comes to the end of the log; see "At rest" in reading.c.  No lock is waited for,
 * nothing is handed over, which other workers would have to read the log for again, and another signal
 * ends that.
 */
static void
come_to_rest(void)
{
	XLogRecPtr	stored;
	int			tries = 0;

	/* a test that stops processes somewhere wants one that it ends to go */
	if (derive_debug_point_any() ||
		derive_worker.decoder == NULL || derive_worker.failures > 0 || derive_worker.leave ||
		XLogRecPtrIsInvalid(derive_worker.stored_lsn) ||
		(XLogRecPtrIsInvalid(derive_worker.pin) && !XLogRecPtrIsInvalid(derive_worker_waiting_lsn())) ||
		derive_wait_target(InvalidXLogRecPtr) > derive_worker.decoded_upto + LITTLE_LOG)
		return;
	ProcDiePending = false;
	coming_to_rest = true;
	PG_TRY();
	{
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		derive_worker_give_up_pin();

		/*
		 * One that writes adds its own commit to the log.  The pin ends with
		 * a reload, unless another worker, which most likely is about to
		 * leave as well, looks at it.
		 */
		do
		{
			if (tries > 0 && !XLogRecPtrIsInvalid(derive_worker.pin))
				pg_usleep(10 * 1000L);
			if (!XLogRecPtrIsInvalid(derive_worker.pin) || derive_worker.reload || derive_worker.any_dirty)
				derive_worker_load_registry();
			stored = derive_worker.stored_lsn;
			run_batch();
		} while (++tries < MOST_LAST_BATCHES && derive_worker.decoder != NULL &&
				 (derive_worker.unfinished || derive_worker.stored_lsn != stored ||
				  !XLogRecPtrIsInvalid(derive_worker.pin) || derive_stream_has_pending(derive_worker.stream)));
		if (tries < MOST_LAST_BATCHES && derive_worker.decoder != NULL)
			derive_worker_store_at_rest();
	}
	PG_CATCH();
	{
		handle_error();
	}
	PG_END_TRY();
	ProcDiePending = true;
	InterruptPending = true;
}

/*
 * The clock was set back: what was to be done later would be done much later than it should
 * be, so it is now.  An idle moment is at most as long as IDLE_MS, and then we come here.
 */
static void
note_clock(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	if (now >= last)
	{
		last = now;
		return;
	}
	last = now;
	derive_worker.reload_at = Min(derive_worker.reload_at, now);
	derive_worker.identity_retry_at = Min(derive_worker.identity_retry_at, now);
	derive_worker.stored_at = Min(derive_worker.stored_at, now);
	derive_worker.hold_asked_at = Min(derive_worker.hold_asked_at, now);
	derive_worker.beat_at = Min(derive_worker.beat_at, now);
	derive_worker.try_at = Min(derive_worker.try_at, now);
	derive_worker_moves_note_clock(now);
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		view->hold_until = Min(view->hold_until, now);
		view->switch_at = Min(view->switch_at, now);
		view->retry_at = Min(view->retry_at, now);
		view->expire_at = Min(view->expire_at, now);
	}
	derive_worker_plan_expiry();
}

static void
main_loop(void)
{
	for (;;)
	{
		bool		held;

		note_clock();

		if (ProcDiePending)
			come_to_rest();
		derive_background_check_interrupts();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			reload_config();
		}

		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		held = derive_worker.place->holds > 0;
		derive_worker.finishing = held && derive_worker.place->finish;
		LWLockRelease(derive_shared()->lock);
		if (held && !(derive_worker.finishing && must_read_on()))
		{
			derive_worker_close_capture();
			return;
		}

		PG_TRY();
		{
			MemoryContextSwitchTo(derive_worker.batch_cxt);
			(void) derive_worker_look_after();
			derive_worker_mark_repairs();
			if (derive_worker.reload_at != 0 && GetCurrentTimestamp() >= derive_worker.reload_at)
				derive_worker.reload = true;
			if (derive_worker.reload || derive_worker.any_dirty)
				derive_worker_load_registry();
			if (derive_worker.leave)
				leave_database();
			if (derive_worker.decoder == NULL && !derive_worker.leave)
			{
				derive_worker_open_capture();
				derive_worker_load_registry();
			}
			derive_worker_tend_hold();
			derive_worker_tend_identity();
			derive_worker_tend_builds();
			derive_worker_tend_verifier();
			derive_worker_tend_lane();
			derive_worker_tend_journals();
			derive_worker_tend_moves();
			if (anything_to_do() && !derive_worker.reload && !derive_worker.any_dirty &&
				!derive_worker.leave && gather())
			{
				run_batch();
				derive_pace_account(true);
			}
		}
		PG_CATCH();
		{
			handle_error();
		}
		PG_END_TRY();

		MemoryContextSwitchTo(derive_worker.cxt);
		MemoryContextReset(derive_worker.batch_cxt);
		derive_worker.requests = NIL;
		if (derive_worker.decoder != NULL && !derive_worker.reload && !derive_worker.any_dirty &&
			!derive_worker.leave)
			idle();
	}
}

/*
 * Before the worker leaves, all that was committed up to now is to be in the
 * views, and confirmed, so that nobody has to decode it again.
 */
static bool
must_read_on(void)
{
	static XLogRecPtr upto = InvalidXLogRecPtr;

	if (XLogRecPtrIsInvalid(upto))
		upto = derive_wait_target(InvalidXLogRecPtr);
	if (derive_worker.decoder == NULL || derive_worker.stored_lsn < upto ||
		!XLogRecPtrIsInvalid(derive_worker_waiting_lsn()) ||
		derive_stream_has_pending(derive_worker.stream) ||
		pg_atomic_read_u64(&derive_worker.place->commits) != derive_worker.commits_seen)
	{
		derive_worker.unfinished = true;
		return true;
	}
	derive_worker_confirm_stored();
	return false;
}

void
derive_worker_set_activity(DeriveActivity activity)
{
	static const char *const texts[] =
	{
		[DERIVE_STARTING] = "starting",
		[DERIVE_CREATING_SLOT] = "creating the replication slot",
		[DERIVE_IDLE] = "",
		[DERIVE_LOCKING] = "waiting for a lock",
		[DERIVE_READING] = "maintaining views",
		[DERIVE_MOVING] = "maintaining views",
		[DERIVE_PAUSING] = "waiting after an error"
	};
	DeriveActivity before = pg_atomic_read_u32(&derive_worker.place->activity);

	if (activity == DERIVE_MOVING)
		derive_clock_step_note(derive_worker.place);
	pg_atomic_write_u32(&derive_worker.place->activity, activity);
	if (activity == DERIVE_IDLE)
		derive_background_idle();
	else if (before == DERIVE_IDLE || texts[activity] != texts[before])
		pgstat_report_activity(STATE_RUNNING, texts[activity]);
}

/* Do the views contain all that has been committed by now?  Then say so. */
static bool
nothing_is_lacking(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (derive_worker.unfinished || derive_stream_has_pending(derive_worker.stream) ||
		pg_atomic_read_u64(&derive_worker.place->commits) != derive_worker.commits_seen)
		return false;
	pg_atomic_write_u64(&derive_worker.place->behind_since, (uint64) now);
	return true;
}

/* One that lasts is worth some lines of the log, and then one a minute. */
static bool
is_worth_logging(const ErrorData *edata)
{
	static TimestampTz logged_at = 0;

	if (derive_worker.failures < PATIENCE || strcmp(derive_worker.place->error, edata->message) != 0)
		logged_at = 0;
	return derive_background_log_again(&logged_at);
}

/* For derive.worker. */
static void
note_error(const ErrorData *edata)
{
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_worker.place->error_at = GetCurrentTimestamp();
	strlcpy(derive_worker.place->error, edata->message, DERIVE_ERROR_LENGTH);
	LWLockRelease(derive_shared()->lock);
}

/* In PG_CATCH: clean up so that the loop can go on. */
static void
handle_error(void)
{
	ErrorData  *edata;
	bool		log;
	long		backoff;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(derive_worker.cxt);
	edata = derive_copy_error();
	log = is_worth_logging(edata);
	derive_background_be_quiet(!log);
	note_error(edata);
	if (derive_worker.phase == PHASE_CAPTURE && derive_worker.decoder == NULL)
		derive_worker_note_slot_error(edata);
	else if (derive_worker.phase == PHASE_CAPTURE)
		derive_worker_note_undecodable(edata);
	if (!log)
		FlushErrorState();
	else if (derive_worker.phase == PHASE_APPLY && !derive_worker.careful)
	{
		FlushErrorState();
		ereport(LOG,
				(errmsg("a batch failed and is run again, view by view: %s", edata->message),
				 edata->context ? errcontext("%s", edata->context) : 0));
	}
	else if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		FlushErrorState();
		ereport(LOG,
				(errmsg("maintenance of views is waiting for a lock: %s", edata->message),
				 edata->context ? errcontext("%s", edata->context) : 0));
	}
	else
	{
		EmitErrorReport();
		FlushErrorState();
	}
	FreeErrorData(edata);

	derive_background_abort();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	derive_blocked_clear(&derive_worker.place->point.blocked_on);
	derive_worker.decoding = false;
	derive_worker.loading = NULL;
	RESUME_INTERRUPTS();

	derive_worker_guess_again();
	derive_worker_postpone_requests();
	(void) derive_watchdog_bitten();	/* it is set aside by the next try */
	derive_watchdog_rest();

	derive_worker.failures++;
	if (derive_worker.phase == PHASE_CAPTURE || (derive_worker.failures % (2 * PATIENCE)) == 0)
		derive_worker_close_capture();

	/* The first time, try again at once, in careful mode. */
	backoff = derive_worker.failures < 2 && derive_worker.phase == PHASE_APPLY ? 0 :
		Min(FIRST_BACKOFF_MS << Min(derive_worker.failures - 1, 10), LAST_BACKOFF_MS);
	derive_worker.careful = true;
	derive_worker.phase = PHASE_OTHER;
	derive_worker.reload = true;
	derive_worker.unfinished = true;
	if (backoff > 0)
	{
		derive_worker_set_activity(DERIVE_PAUSING);
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 backoff, derive_wait_event(DERIVE_WAIT_ERROR_PAUSE));
		derive_background_check_interrupts();
	}
}

/* Has the log grown since we last read it? */
static bool
log_has_grown(void)
{
	return derive_wait_target(InvalidXLogRecPtr) > derive_worker.decoded_upto;
}

static bool
anything_to_expire(void)
{
	TimestampTz due = derive_worker_next_expiry();

	return due != 0 && GetCurrentTimestamp() >= due;
}

/* In ms; -1: never. */
static long
ms_to_tick(void)
{
	TimestampTz now = derive_position_present();
	TimestampTz tick = derive_worker_next_tick(now);

	return tick == 0 ? -1 : tick <= now ? 0 : TimestampDifferenceMilliseconds(now, tick);
}

static bool
anything_to_do(void)
{
	if (derive_worker.decoder == NULL)
		return false;
	if (derive_worker.unfinished || derive_worker.beating ||
		pg_atomic_read_u64(&derive_worker.place->commits) != derive_worker.commits_seen)
		return true;
	if (derive_stream_has_pending(derive_worker.stream))
		return true;
	if (derive_worker.try_at != 0 && GetCurrentTimestamp() >= derive_worker.try_at)
		return true;
	if (pg_atomic_read_u64(&derive_worker.place->point.wanted_lsn) > derive_worker.covered &&
		log_has_grown())
		return true;
	if (derive_worker.look_around)
	{
		derive_worker.look_around = false;
		if (log_has_grown() || derive_worker_position_is_due(derive_worker.covered))
			return true;
	}
	return ms_to_tick() == 0 || anything_to_expire() || derive_worker_hold_is_due() || derive_worker_has_pending_request() ||
		derive_worker_is_asked_for_batch() || derive_worker_retry_is_due() || derive_worker_replace_is_due() ||
		derive_worker_move_is_due();
}

/* Is there who should not wait for a pause to pass? */
static bool
somebody_waits(void)
{
	return pg_atomic_read_u64(&derive_worker.place->point.wanted_lsn) > derive_worker.covered ||
		derive_worker_has_pending_request() || InterruptPending || ConfigReloadPending;
}

/*
 * A batch costs little more for ten transactions than for one.  So while they
 * come one upon the other and nobody waits for them, let some come together, as pace.c
 * says.  Commits do not wake us from this (see DeriveGroup.sleeping), who waits does.
 * False: something else did, which the loop has to see to first.
 */
static bool
gather(void)
{
	TimestampTz started = (TimestampTz) pg_atomic_read_u64(&derive_worker.place->covered_at);
	TimestampTz now = GetCurrentTimestamp();
	int64		left = now < started ? 0 : derive_batch_interval - (now - started) / 1000;
	int			events = WL_TIMEOUT;

	derive_pace_account(false);
	left = Min(left, derive_pace_rest());
	if (left <= 0 || derive_worker.unfinished)
		return true;

	pg_atomic_write_u32(&derive_worker.place->sleeping, 2);
	pg_memory_barrier();
	if (!somebody_waits())
	{
		events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   (long) left, derive_wait_event(DERIVE_WAIT_BATCH_INTERVAL));
		ResetLatch(MyLatch);
		derive_pace_account(false);
	}
	pg_atomic_write_u32(&derive_worker.place->sleeping, 0);
	return (events & WL_TIMEOUT) || somebody_waits();
}

/*
 * Sleep until there is something to do.
 */
static void
idle(void)
{
	long		timeout = IDLE_MS;
	int			events;
	ListCell   *lc;
	TimestampTz now = GetCurrentTimestamp();

	if (derive_worker.decoder != NULL && derive_stream_has_pending(derive_worker.stream))
	{
		/* Committed, but not visible yet: a matter of microseconds, mostly. */
		timeout = Min(1 + derive_worker.pending_rounds / 4, 10);
		derive_worker.pending_rounds++;
	}
	else
	{
		derive_worker.pending_rounds = 0;
		if (anything_to_do())
			return;
	}

	if (derive_worker.without_identity != NIL || derive_worker.identity_not_needed != NIL)
		timeout = Min(timeout, RETRY_MS);
	if (derive_worker.reload_at != 0)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(now, derive_worker.reload_at) + 1);
	if (derive_worker.try_at != 0)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(now, derive_worker.try_at) + 1);
	if (derive_worker_next_expiry() > now)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(now, derive_worker_next_expiry()) + 1);
	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->builder != NULL)
			timeout = Min(timeout, RETRY_MS);
		if (view->retry_at > now)
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, view->retry_at) + 1);
	}
	if (derive_worker_is_confirming())
		timeout = Min(timeout, RETRY_MS);
	timeout = derive_worker_beat(timeout);

	if (ms_to_tick() >= 0)
		timeout = Min(timeout, ms_to_tick() + 1);
	timeout = derive_worker_retry_timeout(derive_worker_lane_timeout(timeout));
	timeout = derive_worker_moves_timeout(derive_worker_replace_timeout(timeout));
	timeout = derive_worker_hold_timeout(derive_worker_journals_timeout(timeout));

	derive_worker_set_activity(DERIVE_IDLE);
	if (timeout > 100)
		pgstat_report_stat(true);

	pg_atomic_write_u32(&derive_worker.place->sleeping, 1);
	pg_memory_barrier();
	if (derive_stream_has_pending(derive_worker.stream) ? true : !anything_to_do())
	{
		bool		complete = nothing_is_lacking();

		events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   timeout, derive_wait_event(DERIVE_WAIT_IDLE));
		ResetLatch(MyLatch);

		/* who wakes us has committed just now; when exactly, the log will say */
		if (complete)
			pg_atomic_write_u64(&derive_worker.place->behind_since, (uint64) GetCurrentTimestamp());
		derive_worker_hold_idle();
		if ((events & WL_TIMEOUT) && timeout == IDLE_MS)
			derive_worker.look_around = true;
	}
	pg_atomic_write_u32(&derive_worker.place->sleeping, 0);
}


/* ----------------------------------------------------------------
 *		The batch
 * ----------------------------------------------------------------
 */

/*
 * Who has locked our tables (DROP EXTENSION) may be waiting for a builder, which only we
 * can make give way.  So we look after that, and wait again.
 */
static void
wait_for_registry(Oid busy)
{
	int			ms = derive_worker_lock_wait_ms();

	if (derive_worker_look_after())
		ms = ms == 0 ? LOOK_MS : Min(ms, LOOK_MS);
	PG_TRY();
	{
		derive_lock_wait(busy, RowExclusiveLock, &derive_worker.place->point.blocked_on, ms);
	}
	PG_CATCH();
	{
		ErrorData  *edata = derive_background_catch(derive_worker.batch_cxt);

		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(edata);
	}
	PG_END_TRY();
}

/*
 * Take the locks of the batch.  Those of our own catalog it cannot do without: if
 * one is not free, end the transaction, wait for it, and return false.
 */
static bool
lock_everything(void)
{
	List	   *registry;
	Oid			busy;

	derive_worker_set_activity(DERIVE_MOVING);
	registry = list_make4_oid(derive_worker.registry_oid,
							  derive_registry_table_oid("relations", false),
							  derive_registry_table_oid("position", false),
							  derive_registry_table_oid("waiting", false));
	registry = list_concat(registry, list_make2_oid(derive_registry_table_oid("lane", false),
													derive_registry_table_oid("stale", false)));
	registry = list_concat(registry, derive_worker_journal_relations());
	registry = list_concat(registry, derive_worker_moves_relations());
	if (!derive_lock_all(registry, RowExclusiveLock, &busy))
	{
		derive_background_abort();
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		if (coming_to_rest)
			return false;
		derive_worker_set_activity(DERIVE_LOCKING);
		wait_for_registry(busy);
		return false;
	}
	if (!derive_worker_lock_views())
	{
		derive_background_abort();
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		derive_worker_close_capture();
		return false;
	}
	return true;
}

/*
 * ATTACH PARTITION and the like are visible a moment before they are announced
 * to us, and they do not wait for our locks.  A batch that may have read other
 * partitions than it has changes of must not commit.
 */
static void
check_members(void)
{
	ListCell   *lc;

	AcceptInvalidationMessages();
	InvalidateCatalogSnapshot();
	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		/* one without children so far may just have got its first */
		if (!view->locked || !(view->has_children || view->dirty))
			continue;
		if (derive_sources_digest(view->program) != view->digest)
		{
			derive_worker.reload = view->dirty = derive_worker.any_dirty = true;
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("partitions of a table that view \"%s\" reads changed during the batch",
							get_rel_name(view->relid))));
		}
	}
}

/*
 * The same of DDL that takes the meaning from old row versions.  Nearly all of it
 * waits for our locks.
 */
static void
check_past(void)
{
	if (derive_past_was_shaken())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a table was altered while a batch read it as it was before")));
}

/* What went wrong is over: for derive.worker. */
static void
forget_error(void)
{
	ListCell   *lc;

	/* no lock, as nobody else writes it */
	if (derive_worker.place->error_at == 0)
		return;
	foreach(lc, derive_worker.unsettled)
	{
		if (((WorkerView *) lfirst(lc))->row->error != NULL)
			return;
	}
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_worker.place->error_at = 0;
	derive_worker.place->error[0] = '\0';
	LWLockRelease(derive_shared()->lock);
}

/* A batch has succeeded and left nothing over: so the start has, too. */
static void
note_health(void)
{
	static bool noted = false;

	forget_error();

	if (noted)
		return;
	noted = true;
	derive_crash_guard_leave();
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_worker.place->start_failures = 0;
	LWLockRelease(derive_shared()->lock);
}

/* The batch has something for views that were not selected: nothing was done yet, and the next one has them. */
static void
leave_batch(void)
{
	PopActiveSnapshot();
	derive_past_end();
	derive_worker_leave_hold();
	derive_background_commit();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	derive_worker.phase = PHASE_OTHER;
	derive_worker.unfinished = true;
}

static void
run_batch(void)
{
	uint64		commits = pg_atomic_read_u64(&derive_worker.place->commits);
	TimestampTz taken_at;
	TimestampTz present;
	DerivePosition *to;
	DerivePosition *next;
	DeriveBatch *batch;
	XLogRecPtr	covered;
	List	   *stats = NIL;
	bool		wrote;
	bool		due = false;
	instr_time	start;
	instr_time	duration;
	double		delta_ms;

	derive_worker.unfinished = true;
	derive_worker_note_asked();
	pg_memory_barrier();
	derive_background_begin();
	MemoryContextSwitchTo(derive_worker.batch_cxt);

	/* Starting a transaction and taking locks tell us of changes. */
	if (derive_worker.reload || derive_worker.any_dirty)
	{
		derive_background_abort();
		return;
	}
	derive_worker_select_views();
	if (!lock_everything())
		return;
	if (derive_worker.reload || derive_worker.any_dirty)
	{
		derive_background_abort();
		return;
	}
	DERIVE_DEBUG_POINT("batch-locked");
	derive_worker.unfinished = false;
	derive_worker.locked_at = derive_monotonic_ms();
	derive_worker.yielding = false;

	/* Now, and not earlier, S. */
	INSTR_TIME_SET_CURRENT(start);
	taken_at = GetCurrentTimestamp();
	derive_worker_open_past();
	PushActiveSnapshot(GetTransactionSnapshot());
	to = derive_position_from_snapshot(GetActiveSnapshot());
	present = derive_position_present();
	to->time = derive_worker.position != NULL ? derive_worker.position->time : 0;
	derive_worker_hold_present(to);

	/* capture */
	derive_worker.phase = PHASE_CAPTURE;
	derive_crash_guard_note(InvalidOid, "reading the log");
	derive_worker_set_activity(DERIVE_READING);
	DERIVE_DEBUG_POINT("batch-snapshot");
	covered = derive_worker_capture(to);
	DERIVE_DEBUG_POINT("batch-decoded");

	/* delta */
	derive_worker.phase = PHASE_APPLY;
	derive_worker_set_activity(DERIVE_MOVING);
	batch = derive_stream_batch(derive_worker.stream);
	batch->lsn = derive_worker.decoded_upto;
	batch->covered = covered;
	batch->time = taken_at;
	to->time = derive_worker_time_of_batch(batch, present);
	derive_stream_set_time(derive_worker.stream, to->time);
	if (!derive_worker_selection_suffices(batch))
	{
		leave_batch();
		return;
	}
	DERIVE_DEBUG_POINT("batch-selected");
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	delta_ms = INSTR_TIME_GET_MILLISEC(duration);

	/* derive and materialize */
	wrote = derive_worker_collect_requests();
	derive_worker_begin_journals(covered, taken_at);
	wrote |= derive_worker_check_basis();
	if (derive_worker_advance_views(batch, &stats, delta_ms))
		wrote = true;
#ifdef USE_ASSERT_CHECKING
	derive_worker_check_selection(batch);
#endif
	if (derive_worker_limit_waiting(covered))
		wrote = true;
	if (derive_worker_activate_journals())
		wrote = true;
	if (!coming_to_rest && derive_worker_hand_over(to, covered))
		wrote = true;
	if (derive_worker_confirm_hold())
		wrote = true;
	if (derive_worker_must_store_position())
		wrote = true;
	if (!wrote)
		wrote = due = derive_worker_position_is_due(covered);
	DERIVE_DEBUG_POINT("batch-applied");
	if (wrote || derive_worker.requests != NIL)
	{
		check_members();
		check_past();
	}
	if (wrote)
		derive_registry_set_position(derive_worker.group, to, covered, derive_worker.hold_since);
	PopActiveSnapshot();
	derive_past_end();
	MemoryContextSwitchTo(derive_worker.cxt);
	next = derive_position_copy(to);
	MemoryContextSwitchTo(derive_worker.batch_cxt); /* the server leaves
													 * something there */
	derive_background_commit();

	/*
	 * The batch is done, whatever happens now.  Nothing that can raise ERROR
	 * may stand before its rows are forgotten and our position is moved.
	 */
	derive_stream_end_batch(derive_worker.stream);
	if (derive_worker.position)
		pfree(derive_worker.position);
	derive_worker.position = next;
	derive_worker.covered = Max(derive_worker.covered, covered);
	derive_worker.phase = PHASE_OTHER;
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	DERIVE_DEBUG_POINT("batch-committed");

	derive_worker_basis_checked();
	derive_worker_lane_committed();
	derive_worker_settle();
	derive_worker.commits_seen = commits;
	derive_worker.beating = false;
	derive_worker_plan_next_try();
	derive_worker.careful = false;
	derive_worker.failures = 0;
	derive_background_be_quiet(false);

	/* notify */
	pg_atomic_write_u64(&derive_worker.place->commits_applied, commits);
	pg_atomic_write_u64(&derive_worker.place->covered_at, (uint64) taken_at);
	pg_atomic_write_u64(&derive_worker.place->behind_since, (uint64) taken_at);
	derive_worker_answer_requests();
	derive_wait_publish(&derive_worker.place->point, covered);
	derive_worker_notify_subscribers();
	derive_worker_report_stats(stats, delta_ms);

	/* confirm */
	if (wrote)
		derive_worker_position_stored(derive_worker.position, covered, due);
	derive_worker_hold_committed();

	if (!derive_worker.unfinished)
		note_health();
}
