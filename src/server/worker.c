/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The process that maintains the views of one database.
 *
 * Its loop runs batches.  A batch moves all views of the database from one
 * snapshot of the database to a later one, in one transaction: run_batch() is
 * the table of contents of the whole extension,
 *
 *		capture		decode the log up to now				src/capture
 *		delta		what changed between the two snapshots	src/delta
 *		derive		what that means for each view, and
 *		materialize	change the views' rows					src/derive, materialize
 *		notify		tell those who wait						src/notify
 *		confirm		tell the slot what is not needed again
 *
 * Order inside a batch.  Locks come before the snapshot S: a rewrite or
 * TRUNCATE that commits between the two would make the tables look empty under
 * S.  S comes before the end of WAL: whatever S sees has its commit record
 * before it.  What was decoded but S does not see yet is kept by the stream
 * for a later batch.
 *
 * Positions.  The snapshot is stored with the views' rows, in the same
 * transaction (derive_state.position).  After a crash the slot delivers again
 * from its confirmed LSN on, and what the stored position covers is skipped.
 * A batch whose transactions touched nothing that is tracked writes nothing,
 * not even its position, although it may confirm its LSN.  So the stored
 * position P can lag behind the confirmed LSN F.  That is exact: a transaction
 * that committed before F and is not covered by P contains no row of a
 * relation that was tracked, so that nothing is lost by its not being
 * delivered again; one that is delivered again, because it committed after F,
 * is not in P and was not applied (had anything been applied, its batch would
 * have stored a later position).  A view that reads other relations and came
 * later has a position of its own until the batch that hands it over, and
 * that batch stores both.
 *
 * Confirming.  Batches commit asynchronously.  If the slot were told of an LSN
 * whose batch is then lost in a crash, its changes would be lost too.  So each
 * batch's LSN is confirmed only once the batch's commit record is known to be
 * on disk; in practice when the next batch flushes the log in order to read it.
 *
 * Waking up.  Every transaction with an xid that commits in the database adds
 * one to DeriveDatabase.commits after it has become visible.  The worker reads
 * the counter before it takes S; as long as the counter is what it was then,
 * there is nothing new.  Only if the worker has announced that it sleeps does
 * a commit also set its latch.  The worker's own commits do not count.
 *
 * Lives.  An ERROR while decoding leaves decoder and stream unusable; both are
 * thrown away and made anew, which is a new life of the worker, with a new
 * epoch.  Views that a builder filled for an earlier life have lost their
 * backlog and are built again.
 *
 * Errors.  Batches normally run all views without subtransactions.  After an
 * ERROR the batch is rolled back, while its deltas stay in the stream, and run
 * again in careful mode: each view in a subtransaction of its own.  A view whose
 * deltas cannot be applied there is recomputed: its rows may not be what they
 * must have been (DERIVE_ERRCODE_DIVERGED), and an expression may fail on rows
 * that only a delta has.  If the query fails as well, the view is marked with
 * the message and stands still; the others go on.  Errors that say nothing
 * about a view (no memory, no disk) make the whole batch be tried again, later
 * and later, before a view is blamed for them; a batch that fails elsewhere is
 * retried for ever.
 *
 * Locks: see background.c.  The worker never waits for a lock while it holds
 * another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/gucs.h"
#include "base/position.h"
#include "base/registry.h"
#include "capture/decoder.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "delta/delta.h"
#include "delta/stream.h"
#include "delta/target.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/background.h"
#include "server/builder.h"
#include "server/hooks.h"
#include "server/shmem.h"
#include "server/worker.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define IDLE_MS				10000	/* look at the WAL of other databases this often */
#define RELOAD_MS			100		/* look again at a view that is locked while it is built */
#define RETRY_MS			1000	/* after a lock or process could not be had */
#define FIRST_BACKOFF_MS	100
#define LAST_BACKOFF_MS		10000
#define PATIENCE			5	/* transient errors in a row before a view is blamed */

/* Where an ERROR came from decides what must be thrown away. */
typedef enum Phase
{
	PHASE_OTHER,
	PHASE_CAPTURE,				/* opening or running the decoder */
	PHASE_APPLY					/* changing views */
} Phase;

/*
 * A maintained view, as this process knows it.
 */
typedef struct WorkerView
{
	Oid			relid;
	DeriveViewRow *row;			/* as last read, in config_cxt */
	DeriveProgram *program;		/* NULL if not needed in this state, or unusable */
	List	   *reads;			/* relations to lock, of Oid, in program->cxt */
	List	   *writes;
	bool		dirty;			/* an invalidation hit one of its relations; set in callbacks */
	bool		seen;			/* while reading the registry */
	bool		repair;			/* a session asked for it */
	bool		backlog;		/* the stream keeps the backlog of its sources */
	bool		fill;			/* it is to be filled in the next batch, see can_fill_here() */
	bool		diverged;		/* recompute it, in this batch and careful mode */
	uint64		digest;			/* of the members of its sources, now */
	bool		has_children;	/* some source has partitions or children */

	/* While it is built by a builder. */
	DeriveBuild *build;
	BackgroundWorkerHandle *builder;
	int64		build_epoch;	/* our life when it was started */
	bool		keeping;		/* its backlog has been kept ever since it asked */
	TimestampTz retry_at;		/* not before */
} WorkerView;

/* A request that takes part in the current batch. */
typedef struct ActiveRequest
{
	DeriveRequest *request;
	DeriveRequestKind kind;
	Oid			view;
	bool		answered;
	int64		missing;
	int64		extra;
	int			sqlerrcode;		/* 0: fine */
	char	   *error;
} ActiveRequest;

/*
 * The process's state.
 */
static struct
{
	DeriveDatabase *db;
	char	   *slot;
	char	   *dbname;
	MemoryContext cxt;			/* life of the process */
	MemoryContext config_cxt;	/* rows of the registry; reset when they are read again */
	MemoryContext batch_cxt;	/* one batch */

	/* capture */
	DeriveDecoder *decoder;
	DeriveStream *stream;
	int64		epoch;
	XLogRecPtr	decoded_upto;
	XLogRecPtr	covered;		/* as last published */

	/* The position of all ready views; in cxt; NULL: none yet. */
	DerivePosition *position;

	/* Views in dependency order. */
	List	   *views;			/* of WorkerView * */
	List	   *without_identity;	/* Oids of members, in cxt */
	TimestampTz identity_retry_at;
	Oid			registry_oid;	/* derive_state.views */
	volatile bool reload;		/* the registry changed; set in callbacks */
	volatile bool any_dirty;	/* some view is dirty; set in callbacks */
	TimestampTz reload_at;		/* reload then, 0: need not */
	WorkerView *loading;		/* whose program is being loaded */
	uint64		decode_counter; /* SharedInvalidMessageCounter when decoding began */
	bool		decoding;

	/* What is to be confirmed once the log is flushed up to confirm_after. */
	XLogRecPtr	confirm_after;
	XLogRecPtr	confirm_lsn;

	/* What there is to do. */
	uint64		commits_seen;
	bool		unfinished;		/* something waits for the next batch */
	bool		look_around;	/* the idle timeout has passed */
	int			pending_rounds; /* batches in a row that left transactions pending */
	List	   *requests;		/* of ActiveRequest *, in batch_cxt */

	/* errors */
	Phase		phase;
	bool		careful;
	int			failures;

	bool		leave;			/* nothing to do here any more */
} me;

static void worker_attach(Oid dboid);
static void worker_detach(int code, Datum arg);
static void note_invalidation(Datum arg, Oid relid);
static void main_loop(void);
static void handle_error(void);
static void open_capture(void);
static void close_capture(void);
static void load_registry(void);
static void load_views(List *rows);
static void order_views(void);
static void tend_builds(void);
static void tend_identity(void);
static void run_batch(void);
static void leave_database(void);
static bool anything_to_do(void);
static void gather(void);
static void idle(void);
static void confirm_durable(void);
static void mark_repairs(void);


char *
derive_slot_name(Oid dboid)
{
	return psprintf("pg_derive_%u", dboid);
}

/* ----------------------------------------------------------------
 *		Coming and going
 * ----------------------------------------------------------------
 */

void
derive_worker_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);
	static const char *const settings[][2] =
	{
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"},
	};
	int			i;

	worker_attach(dboid);
	derive_background_start(dboid);
	pgstat_report_appname("pg_derive worker");
	for (i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("logical_decoding_work_mem", psprintf("%dkB", derive_decoding_work_mem),
					PGC_SUSET, PGC_S_OVERRIDE);

	me.cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive worker",
								   ALLOCSET_DEFAULT_SIZES);
	me.config_cxt = AllocSetContextCreate(me.cxt, "pg_derive registry",
										  ALLOCSET_DEFAULT_SIZES);
	me.batch_cxt = AllocSetContextCreate(me.cxt, "pg_derive batch",
										 ALLOCSET_DEFAULT_SIZES);
	me.slot = MemoryContextStrdup(me.cxt, derive_slot_name(dboid));
	StartTransactionCommand();
	me.dbname = MemoryContextStrdup(me.cxt, get_database_name(dboid));
	CommitTransactionCommand();
	me.reload = true;
	CacheRegisterRelcacheCallback(note_invalidation, (Datum) 0);

	main_loop();
	proc_exit(0);
}

/* Take the database's place in shared memory, or exit if another worker has it. */
static void
worker_attach(Oid dboid)
{
	DeriveShared *shared = derive_shared();
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	me.db = derive_database_find(dboid);
	if (me.db == NULL || me.db->worker_pid != 0 || me.db->holds > 0)
	{
		LWLockRelease(shared->lock);
		proc_exit(0);
	}
	me.db->worker_pid = MyProcPid;
	me.db->worker_latch = MyLatch;
	me.db->epoch = 0;

	/* What an earlier worker left half done. */
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &shared->requests[i];

		if (request->dboid != dboid)
			continue;
		if (request->status == DERIVE_REQUEST_RUNNING)
			request->status = DERIVE_REQUEST_PENDING;
		else if (request->status == DERIVE_REQUEST_ABANDONED)
			request->status = DERIVE_REQUEST_FREE;
	}
	for (i = 0; i < DERIVE_MAX_BUILD_SLOTS; i++)
	{
		DeriveBuild *build = &shared->builds[i];

		if (build->dboid == dboid && build->pid == 0)
			build->view = InvalidOid;
	}
	LWLockRelease(shared->lock);

	derive_blocked_clear(&me.db->point.blocked_on);
	/* After the slot was released and the process has left the list of sessions. */
	on_shmem_exit(worker_detach, (Datum) 0);
}

static void
worker_detach(int code, Datum arg)
{
	DeriveShared *shared = derive_shared();

	pg_atomic_write_u32(&me.db->sleeping, 0);
	derive_blocked_clear(&me.db->point.blocked_on);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	me.db->worker_pid = 0;
	me.db->worker_latch = NULL;
	me.db->epoch = 0;
	me.db->left = (code == 0);
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&me.db->point.cv);
	derive_launcher_wake();
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

	close_capture();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	me.db->wanted = false;
	LWLockRelease(shared->lock);

	StartTransactionCommand();
	views = OidIsValid(derive_extension_oid(true)) && derive_registry_all() != NIL;
	CommitTransactionCommand();
	if (views)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		me.db->wanted = true;
		LWLockRelease(shared->lock);
		me.leave = false;
		me.reload = true;
		return;
	}

	StartTransactionCommand();
	derive_slot_drop(me.slot);
	CommitTransactionCommand();
	proc_exit(0);
}


/* ----------------------------------------------------------------
 *		The loop
 * ----------------------------------------------------------------
 */

static void
main_loop(void)
{
	for (;;)
	{
		bool		held;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		held = me.db->holds > 0;
		LWLockRelease(derive_shared()->lock);
		if (held)
		{
			close_capture();
			return;
		}

		PG_TRY();
		{
			MemoryContextSwitchTo(me.batch_cxt);
			mark_repairs();
			if (me.reload_at != 0 && GetCurrentTimestamp() >= me.reload_at)
				me.reload = true;
			if (me.reload || me.any_dirty)
				load_registry();
			if (me.leave)
				leave_database();
			if (me.decoder == NULL && !me.leave)
			{
				open_capture();
				load_registry();
			}
			tend_identity();
			tend_builds();
			if (anything_to_do() && !me.reload && !me.any_dirty && !me.leave)
			{
				gather();
				run_batch();
			}
		}
		PG_CATCH();
		{
			handle_error();
		}
		PG_END_TRY();

		MemoryContextSwitchTo(me.cxt);
		MemoryContextReset(me.batch_cxt);
		me.requests = NIL;
		if (me.decoder != NULL && !me.reload && !me.any_dirty && !me.leave)
			idle();
	}
}

/* In PG_CATCH: clean up so that the loop can go on. */
static void
handle_error(void)
{
	ErrorData  *edata;
	long		backoff;
	ListCell   *lc;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(me.cxt);
	edata = CopyErrorData();
	if (me.phase == PHASE_APPLY && !me.careful)
	{
		FlushErrorState();
		ereport(LOG,
				(errmsg("a batch failed and is run again, view by view: %s", edata->message)));
	}
	else if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		FlushErrorState();
		ereport(LOG,
				(errmsg("maintenance of views is waiting for a lock: %s", edata->message)));
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
	derive_blocked_clear(&me.db->point.blocked_on);
	me.decoding = false;
	me.loading = NULL;
	RESUME_INTERRUPTS();

	/* Requests of this batch wait for the next one. */
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	foreach(lc, me.requests)
	{
		DeriveRequest *request = ((ActiveRequest *) lfirst(lc))->request;

		if (request->status == DERIVE_REQUEST_RUNNING)
			request->status = DERIVE_REQUEST_PENDING;
		else if (request->status == DERIVE_REQUEST_ABANDONED)
			request->status = DERIVE_REQUEST_FREE;
	}
	LWLockRelease(derive_shared()->lock);
	me.requests = NIL;

	me.failures++;
	if (me.phase == PHASE_CAPTURE || (me.failures % (2 * PATIENCE)) == 0)
		close_capture();

	/* The first time, try again at once, in careful mode. */
	backoff = me.failures < 2 && me.phase == PHASE_APPLY ? 0 :
		Min(FIRST_BACKOFF_MS << Min(me.failures - 1, 10), LAST_BACKOFF_MS);
	me.careful = true;
	me.phase = PHASE_OTHER;
	me.reload = true;
	me.unfinished = true;
	if (backoff > 0)
	{
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 backoff, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Has the log grown since we last read it? */
static bool
log_has_grown(void)
{
	return derive_wait_target(InvalidXLogRecPtr) > me.decoded_upto;
}

static bool
has_pending_request(void)
{
	DeriveShared *shared = derive_shared();
	bool		result = false;
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_REQUESTS && !result; i++)
		result = shared->requests[i].status == DERIVE_REQUEST_PENDING &&
			shared->requests[i].dboid == MyDatabaseId;
	LWLockRelease(shared->lock);
	return result;
}

static bool
anything_to_do(void)
{
	if (me.decoder == NULL)
		return false;
	if (me.unfinished || pg_atomic_read_u64(&me.db->commits) != me.commits_seen)
		return true;
	if (derive_stream_has_pending(me.stream))
		return true;
	if (pg_atomic_read_u64(&me.db->point.wanted_lsn) > me.covered && log_has_grown())
		return true;
	if (me.look_around)
	{
		me.look_around = false;
		if (log_has_grown())
			return true;
	}
	return has_pending_request();
}

/*
 * A batch costs little more for ten transactions than for one.  So while they
 * come one upon the other and nobody waits for them, let some come together.
 * Commits do not wake us from this (see DeriveDatabase.sleeping), who waits does.
 */
static void
gather(void)
{
	TimestampTz started = (TimestampTz) pg_atomic_read_u64(&me.db->covered_at);
	TimestampTz now = GetCurrentTimestamp();
	long		passed = now < started ? LONG_MAX : (now - started) / 1000;

	if (passed >= derive_batch_interval || me.unfinished)
		return;

	pg_atomic_write_u32(&me.db->sleeping, 2);
	pg_memory_barrier();
	if (pg_atomic_read_u64(&me.db->point.wanted_lsn) <= me.covered && !has_pending_request())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 derive_batch_interval - passed, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	pg_atomic_write_u32(&me.db->sleeping, 0);
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

	if (me.decoder != NULL && derive_stream_has_pending(me.stream))
	{
		/* Committed, but not visible yet: a matter of microseconds, mostly. */
		timeout = Min(1 + me.pending_rounds / 4, 10);
		me.pending_rounds++;
	}
	else
	{
		me.pending_rounds = 0;
		if (anything_to_do())
			return;
	}

	if (me.without_identity != NIL)
		timeout = Min(timeout, RETRY_MS);
	if (me.reload_at != 0)
		timeout = Min(timeout, RELOAD_MS);
	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->retry_at > now)
			timeout = Min(timeout, TimestampDifferenceMilliseconds(now, view->retry_at) + 1);
	}
	if (me.confirm_lsn != InvalidXLogRecPtr)
	{
		confirm_durable();
		if (me.confirm_lsn != InvalidXLogRecPtr)
			timeout = Min(timeout, RETRY_MS);
	}

	pgstat_report_activity(STATE_IDLE, NULL);
	if (timeout > 100)
		pgstat_report_stat(true);

	pg_atomic_write_u32(&me.db->sleeping, 1);
	pg_memory_barrier();
	if (derive_stream_has_pending(me.stream) ? true : !anything_to_do())
	{
		events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if ((events & WL_TIMEOUT) && timeout == IDLE_MS)
			me.look_around = true;
	}
	pg_atomic_write_u32(&me.db->sleeping, 0);
}


/* ----------------------------------------------------------------
 *		Capture: the slot, the decoder and the stream
 * ----------------------------------------------------------------
 */

static WorkerView *
find_view(Oid relid)
{
	ListCell   *lc;

	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->relid == relid)
			return view;
	}
	return NULL;
}

/*
 * The log between the stored position and now cannot be had: every view that
 * was filled must be computed anew.  Each in a transaction of its own, since
 * we wait for its lock.
 */
static void
mark_all_for_rebuild(void)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, me.views)
		relids = lappend_oid(relids, ((WorkerView *) lfirst(lc))->relid);

	foreach(lc, relids)
	{
		DeriveViewRow *row;

		StartTransactionCommand();
		derive_blocked_set(&me.db->point.blocked_on, lfirst_oid(lc), RowExclusiveLock);
		LockRelationOid(lfirst_oid(lc), RowExclusiveLock);
		derive_blocked_clear(&me.db->point.blocked_on);
		row = derive_registry_get(lfirst_oid(lc));
		if (row != NULL && row->state == DERIVE_VIEW_READY && !row->rebuild)
		{
			row->rebuild = true;
			derive_registry_update(row);
		}
		else if (row != NULL && row->state == DERIVE_VIEW_CATCHUP)
		{
			row->state = DERIVE_VIEW_BUILDING;
			row->position = NULL;
			row->epoch = 0;
			derive_registry_update(row);
		}
		CommitTransactionCommand();
		MemoryContextSwitchTo(me.batch_cxt);
	}
}

/* Is there a view whose contents depend on where the slot stood? */
static bool
any_view_ready(void)
{
	ListCell   *lc;

	foreach(lc, me.views)
	{
		if (((WorkerView *) lfirst(lc))->row->state == DERIVE_VIEW_READY &&
			!((WorkerView *) lfirst(lc))->row->rebuild)
			return true;
	}
	return false;
}

/*
 * Begin a life: find or create the slot, open the decoder, begin where the
 * stored position says.
 */
static void
open_capture(void)
{
	DeriveSlotState state;
	bool		fresh = false;
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	DerivePosition *stored;

	me.phase = PHASE_CAPTURE;

	StartTransactionCommand();
	state = derive_slot_state(me.slot);
	CommitTransactionCommand();
	MemoryContextSwitchTo(me.batch_cxt);

	if (state != DERIVE_SLOT_USABLE)
	{
		if (any_view_ready())
		{
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("replication slot \"%s\" %s, all maintained views of database \"%s\" are computed anew",
							me.slot,
							state == DERIVE_SLOT_LOST ? "has lost required WAL" : "does not exist",
							me.dbname)));
			/* Before the slot is there: a crash in between must not hide it. */
			mark_all_for_rebuild();
		}
		if (state == DERIVE_SLOT_LOST)
		{
			StartTransactionCommand();
			derive_slot_drop(me.slot);
			CommitTransactionCommand();
		}
		pgstat_report_activity(STATE_RUNNING, "creating the replication slot");
		StartTransactionCommand();
		derive_blocked_set_xacts(&me.db->point.blocked_on);
		derive_slot_create(me.slot);
		derive_blocked_clear(&me.db->point.blocked_on);
		CommitTransactionCommand();
		fresh = true;
	}

	MemoryContextSwitchTo(me.cxt);
	me.epoch = Max(me.epoch + 1, GetCurrentTimestamp());
	me.stream = derive_stream_create();

	StartTransactionCommand();
	MemoryContextSwitchTo(me.cxt);
	me.decoder = derive_decoder_open(me.slot, derive_stream_sink(me.stream));
	MemoryContextSwitchTo(me.batch_cxt);
	stored = fresh ? NULL : derive_registry_position(&lsn);
	MemoryContextSwitchTo(me.cxt);
	if (me.position == NULL || fresh)
		me.position = derive_position_copy(stored);
	CommitTransactionCommand();
	MemoryContextSwitchTo(me.batch_cxt);

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	me.db->epoch = me.epoch;
	me.db->start_failures = 0;
	LWLockRelease(derive_shared()->lock);

	if (lsn != InvalidXLogRecPtr)
	{
		me.covered = lsn;
		derive_wait_publish(&me.db->point, lsn);
	}
	me.confirm_lsn = InvalidXLogRecPtr;
	me.decoded_upto = InvalidXLogRecPtr;
	me.unfinished = true;
	me.reload = true;
	me.phase = PHASE_OTHER;
}

static void
close_capture(void)
{
	DeriveDecoder *decoder = me.decoder;
	DeriveStream *stream = me.stream;

	me.decoder = NULL;
	me.stream = NULL;
	if (decoder)
		derive_decoder_close(decoder);
	if (stream)
		derive_stream_free(stream);
}


/* ----------------------------------------------------------------
 *		Configuration: the registry and the views' programs
 * ----------------------------------------------------------------
 */

/*
 * Relcache callback: flags only.  A decoder that clears all caches for its own
 * purposes says "everything" without anything having changed; what has changed
 * was announced one by one before.
 */
static void
note_invalidation(Datum arg, Oid relid)
{
	ListCell   *lc;

	if (!OidIsValid(relid))
	{
		if (me.decoding && SharedInvalidMessageCounter == me.decode_counter)
			return;
		me.reload = true;
	}
	else if (relid == me.registry_oid)
		me.reload = true;

	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (!OidIsValid(relid) || relid == view->relid ||
			list_member_oid(view->reads, relid) ||
			list_member_oid(view->writes, relid))
		{
			view->dirty = true;
			me.any_dirty = true;
		}
	}
	if (me.loading != NULL)
	{
		/* Whether it concerns this one is not known yet. */
		me.loading->dirty = true;
		me.any_dirty = true;
	}
	derive_program_invalidate_plans(relid);
}

static void
unload_program(WorkerView *view)
{
	DeriveProgram *program = view->program;

	view->program = NULL;
	view->reads = view->writes = NIL;
	view->backlog = false;
	view->fill = false;
	if (program)
		derive_program_free(program);
}

/*
 * A view can go no further: write down why, in the current transaction.
 */
static void
fail_view(WorkerView *view, const char *message, int sqlerrcode)
{
	char	   *name = get_rel_name(view->relid);

	/* Dropped or released at this very moment: not a failure. */
	if (name == NULL || derive_registry_get(view->relid) == NULL)
	{
		me.reload = true;
		return;
	}
	if (!ConditionalLockRelationOid(view->relid, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not mark view \"%s\" as failed because it is locked: %s",
						name, message)));

	ereport(WARNING,
			(errcode(sqlerrcode),
			 errmsg("maintenance of view \"%s\" has failed: %s", name, message),
			 errhint("Remove the cause, then call derive.repair() for the view.")));

	view->row->state = DERIVE_VIEW_FAILED;
	view->row->error = pstrdup(message);
	view->row->error_at = GetCurrentTimestamp();
	if (view->row->position == NULL)
		view->row->position = me.position;
	view->row->epoch = 0;
	derive_registry_update(view->row);
	view->fill = false;
}

typedef void (*GuardedFunction) (void *arg);

/*
 * Call a function in a subtransaction of its own.  Returns NULL, or the ERROR
 * that it ended with.
 */
static ErrorData *
guarded(GuardedFunction function, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return edata;
}

static void
load_program_guarded(void *arg)
{
	WorkerView *view = arg;
	DeriveProgram *program = derive_program_load(view->relid, me.cxt);
	MemoryContext oldcontext = MemoryContextSwitchTo(program->cxt);

	view->reads = list_copy(derive_program_read_relations(program));
	view->writes = list_copy(derive_program_write_relations(program));
	view->digest = derive_sources_digest(program);
	view->has_children = list_length(view->reads) > list_length(program->sources);
	view->program = program;
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Compile the view, again if need be.  If it cannot be done for reasons of the view then only
 * this view has failed; if for others (a lock), nobody can go on, because a
 * batch without this view would lose its changes.
 */
static void
load_program(WorkerView *view)
{
	ErrorData  *edata;

	/* The others were locked before; see load_registry(). */
	if (view->row->state != DERIVE_VIEW_READY && view->row->state != DERIVE_VIEW_CATCHUP &&
		!ConditionalLockRelationOid(view->relid, AccessShareLock))
	{
		me.reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RELOAD_MS);
		return;
	}
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view->relid)))
	{
		view->seen = false;		/* dropped meanwhile */
		me.reload = true;
		return;
	}

	unload_program(view);
	me.loading = view;
	view->dirty = false;
	edata = guarded(load_program_guarded, view);
	me.loading = NULL;
	if (edata == NULL)
		return;
	view->reads = view->writes = NIL;
	view->program = NULL;
	if (derive_error_is_transient(edata->sqlerrcode))
		ReThrowError(edata);
	fail_view(view, edata->message, edata->sqlerrcode);
}

/* Does a view in this state need its program? */
static bool
needs_program(WorkerView *view)
{
	switch (view->row->state)
	{
		case DERIVE_VIEW_BUILDING:
		case DERIVE_VIEW_CATCHUP:
		case DERIVE_VIEW_READY:
			return true;
		case DERIVE_VIEW_FAILED:
			return view->repair;
		case DERIVE_VIEW_PAUSED:
			return false;
	}
	return false;
}

/* Sessions that want failed views repaired need their programs. */
static void
mark_repairs(void)
{
	DeriveShared *shared = derive_shared();
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &shared->requests[i];
		WorkerView *view;

		if (request->status != DERIVE_REQUEST_PENDING ||
			request->dboid != MyDatabaseId ||
			request->kind != DERIVE_REQUEST_REPAIR)
			continue;
		view = find_view(request->view);
		if (view == NULL || view->repair)
			continue;
		view->repair = true;
		me.reload = true;
	}
	LWLockRelease(shared->lock);
}

/*
 * Read the registry and bring everything that we keep in line with it.
 */
static void
load_registry(void)
{
	MemoryContext config_cxt;
	List	   *rows;
	ListCell   *lc;
	char		timeout[32];

	me.reload = false;
	me.reload_at = 0;
	me.any_dirty = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(me.batch_cxt);
	if (!OidIsValid(derive_extension_oid(true)))
	{
		CommitTransactionCommand();
		me.leave = true;
		return;
	}
	me.registry_oid = derive_registry_table_oid("views", false);

	/*
	 * Compiling and looking at the sources takes locks.  Those that we know
	 * of are taken if they are free; for others never be the one for whom a
	 * deadlock is broken.
	 */
	snprintf(timeout, sizeof(timeout), "%d", derive_lock_timeout);
	(void) set_config_option("lock_timeout", timeout, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);
		Oid			busy;

		if (!derive_lock_all(view->reads, AccessShareLock, &busy))
		{
			me.reload = true;
			AbortCurrentTransaction();
			MemoryContextSwitchTo(me.batch_cxt);
			derive_lock_wait(busy, AccessShareLock, &me.db->point.blocked_on);
			return;
		}
	}

	PushActiveSnapshot(GetTransactionSnapshot());
	config_cxt = AllocSetContextCreate(me.batch_cxt, "pg_derive registry",
									   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(config_cxt);
	rows = derive_registry_all();
	foreach(lc, rows)
	{
		DeriveViewRow *row = lfirst(lc);

		/* One that does not move yet can wait, for its builder perhaps. */
		if ((row->state == DERIVE_VIEW_READY || row->state == DERIVE_VIEW_CATCHUP) &&
			!ConditionalLockRelationOid(row->relid, AccessShareLock))
		{
			Oid			busy = row->relid;

			me.reload = true;
			AbortCurrentTransaction();
			MemoryContextSwitchTo(me.batch_cxt);
			derive_lock_wait(busy, AccessShareLock, &me.db->point.blocked_on);
			return;
		}
	}
	load_views(rows);
	order_views();

	PopActiveSnapshot();
	CommitTransactionCommand();

	if (me.config_cxt)
		MemoryContextDelete(me.config_cxt);
	me.config_cxt = config_cxt;
	MemoryContextSetParent(config_cxt, me.cxt);
	MemoryContextSwitchTo(me.batch_cxt);

	me.unfinished = true;
	if (me.views == NIL)
		me.leave = true;
	else if (me.db->epoch == 0)
	{
		/* The launcher may probe the next database. */
		LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
		me.db->epoch = 1;
		LWLockRelease(derive_shared()->lock);
		derive_launcher_wake();
	}
}

/* Match the rows with what we have: new views, gone views, changed states. */
static void
load_views(List *rows)
{
	List	   *kept = NIL;
	ListCell   *lc;

	foreach(lc, me.views)
		((WorkerView *) lfirst(lc))->seen = false;

	foreach(lc, rows)
	{
		DeriveViewRow *row = lfirst(lc);
		WorkerView *view = find_view(row->relid);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row->relid)))
		{
			derive_forget_view(row->relid);
			continue;
		}
		if (view == NULL)
		{
			MemoryContext oldcontext = MemoryContextSwitchTo(me.cxt);

			view = palloc0(sizeof(WorkerView));
			view->relid = row->relid;
			me.views = lappend(me.views, view);
			MemoryContextSwitchTo(oldcontext);
		}
		view->seen = true;
		view->row = row;
		/* a function that was redefined (dependents.c) may mean another program */
		if (needs_program(view) && (view->program == NULL || view->dirty || row->rebuild))
			load_program(view);
		if (view->program != NULL && !needs_program(view))
			unload_program(view);
	}

	/* Forget what is gone.  A builder of such a view notices by itself. */
	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->seen)
			kept = lappend(kept, view);
		else
			unload_program(view);
	}
	{
		List	   *old = me.views;
		MemoryContext oldcontext = MemoryContextSwitchTo(me.cxt);

		me.views = list_copy(kept);
		foreach(lc, old)
		{
			if (!((WorkerView *) lfirst(lc))->seen)
				pfree(lfirst(lc));
		}
		list_free(old);
		MemoryContextSwitchTo(oldcontext);
	}
}

static bool
is_populated(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relispopulated;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * A view that reads other maintained views cannot be left to a builder, since
 * only the worker knows at which position they stand: it is filled inside a
 * batch, once they are.
 */
static bool
can_fill_here(WorkerView *view)
{
	ListCell   *lc;

	if (view->row->state != DERIVE_VIEW_BUILDING || view->program == NULL ||
		view->program->view_sources == NIL)
		return false;
	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = find_view(lfirst_oid(lc));

		if (source == NULL)
			continue;
		if (source->row->state == DERIVE_VIEW_FAILED && !is_populated(source->relid))
		{
			fail_view(view, psprintf("it reads view \"%s\", which could not be built",
									 get_rel_name(source->relid)),
					  ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
			return false;
		}
		if (source->row->state == DERIVE_VIEW_BUILDING ||
			source->row->state == DERIVE_VIEW_CATCHUP)
			return false;
	}
	return true;
}

/* Is the build slot still that of the builder that we started for this view? */
static bool
owns_build_slot(WorkerView *view)
{
	return view->build->view == view->relid && view->build->dboid == MyDatabaseId &&
		view->build->epoch == view->build_epoch;
}

/*
 * Must the stream keep what the view may have to catch up with?  Once begun,
 * until the builder's process has ended and the registry was read after that:
 * the row that we have read may be older than what the builder committed.
 */
static bool
wants_backlog(WorkerView *view)
{
	if (view->row->state == DERIVE_VIEW_CATCHUP)
		return view->row->epoch == me.epoch;
	if (view->row->state != DERIVE_VIEW_BUILDING || view->builder == NULL ||
		view->build_epoch != me.epoch)
		return false;
	if (!view->keeping)
	{
		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		view->keeping = owns_build_slot(view) && view->build->tracking_requested;
		LWLockRelease(derive_shared()->lock);
	}
	return view->keeping;
}

/*
 * Sort the views so that each comes after those that it reads, and tell the
 * stream which sources to follow.
 */
static void
order_views(void)
{
	List	   *todo = list_copy(me.views);
	List	   *ordered = NIL;
	List	   *sources = NIL;
	List	   *backlog = NIL;
	List	   *members = NIL;
	ListCell   *lc;
	ListCell   *lc2;
	MemoryContext oldcontext;
	bool		progress = true;

	while (todo != NIL && progress)
	{
		progress = false;
		foreach(lc, todo)
		{
			WorkerView *view = lfirst(lc);
			bool		free_to_go = true;

			if (view->program != NULL)
			{
				foreach(lc2, view->program->view_sources)
				{
					WorkerView *source = find_view(lfirst_oid(lc2));

					if (source != NULL && !list_member_ptr(ordered, source))
						free_to_go = false;
				}
			}
			if (free_to_go)
			{
				ordered = lappend(ordered, view);
				todo = foreach_delete_current(todo, lc);
				progress = true;
			}
		}
	}
	Assert(todo == NIL);
	ordered = list_concat(ordered, todo);

	oldcontext = MemoryContextSwitchTo(me.cxt);
	{
		List	   *old = me.views;

		me.views = list_copy(ordered);
		list_free(old);
	}
	MemoryContextSwitchTo(oldcontext);

	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->program != NULL)
			view->program->exported = false;
	}
	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		view->backlog = view->fill = false;
		if (view->program == NULL)
			continue;

		view->fill = can_fill_here(view);
		view->backlog = wants_backlog(view);
		if (view->row->state == DERIVE_VIEW_READY && (uint64) view->row->members != view->digest)
			view->row->rebuild = true;	/* partitions came or went */

		foreach(lc2, view->program->view_sources)
		{
			WorkerView *source = find_view(lfirst_oid(lc2));

			if (source != NULL && source->program != NULL)
				source->program->exported = true;
		}
		foreach(lc2, view->program->sources)
		{
			DeriveSource *source = lfirst(lc2);

			if (list_member_oid(view->program->view_sources, source->relid))
				continue;
			sources = lappend(sources, source);
			if (view->backlog)
				backlog = lappend(backlog, source);
			if (view->row->state == DERIVE_VIEW_READY || view->program->view_sources != NIL)
				members = list_concat_unique_oid(members,
												 derive_source_members(source->relid, source->inh));
		}
	}

	if (me.stream != NULL)
		derive_stream_set_sources(me.stream, sources, backlog);

	members = derive_identity_missing(members);
	oldcontext = MemoryContextSwitchTo(me.cxt);
	list_free(me.without_identity);
	me.without_identity = list_copy(members);
	MemoryContextSwitchTo(oldcontext);
}


/* ----------------------------------------------------------------
 *		Between batches: identity and builders
 * ----------------------------------------------------------------
 */

/*
 * Members that came later, or whose owner set the identity back.  Until they
 * have it, changes without old images make their views be recomputed.
 */
static void
tend_identity(void)
{
	List	   *missing = me.without_identity;

	if (missing == NIL || GetCurrentTimestamp() < me.identity_retry_at)
		return;
	me.without_identity = NIL;
	if (!derive_identity_set(missing, &me.db->point.blocked_on))
	{
		me.without_identity = missing;
		me.identity_retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	}
	else
		list_free(missing);
}

/* Does the stream follow all base tables of the view, and has it done so long enough? */
static bool
sources_complete(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->sources)
	{
		DeriveSource *source = lfirst(lc);

		if (!list_member_oid(view->program->view_sources, source->relid) &&
			!derive_stream_complete(me.stream, source))
			return false;
	}
	return true;
}

/* What became of the view's builder? */
static void
tend_builder(WorkerView *view)
{
	DeriveShared *shared = derive_shared();
	bool		requested;
	bool		ready;
	bool		ours;
	pid_t		pid;

	LWLockAcquire(shared->lock, LW_SHARED);
	ours = owns_build_slot(view);
	requested = ours && view->build->tracking_requested;
	ready = ours && view->build->tracking_ready;
	LWLockRelease(shared->lock);

	if (GetBackgroundWorkerPid(view->builder, &pid) == BGWH_STOPPED)
	{
		if (ours)
			derive_build_free(view->build);
		pfree(view->builder);
		view->builder = NULL;
		view->build = NULL;
		view->keeping = false;
		view->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
		me.reload = true;		/* see what it left */
		return;
	}

	if (!requested || ready || view->build_epoch != me.epoch)
		return;
	if (!view->backlog)
		me.reload = true;		/* makes the stream keep it */
	else if (view->program != NULL && sources_complete(view))
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		view->build->tracking_ready = true;
		LWLockRelease(shared->lock);
		ConditionVariableBroadcast(&view->build->cv);
	}
	else
		me.unfinished = true;
}

static void
tend_builds(void)
{
	int			running = 0;
	ListCell   *lc;
	TimestampTz now = 0;

	if (me.decoder == NULL)
		return;

	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->builder != NULL)
			tend_builder(view);
		if (view->builder != NULL)
			running++;
	}

	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);
		MemoryContext oldcontext;

		if (view->row->state != DERIVE_VIEW_BUILDING || view->program == NULL ||
			view->program->view_sources != NIL || view->builder != NULL)
			continue;
		if (running >= derive_max_builds)
			break;
		if (now == 0)
			now = GetCurrentTimestamp();
		if (view->retry_at > now)
			continue;
		if (derive_build_find(MyDatabaseId, view->relid) != NULL)
		{
			/* The builder of an earlier worker has not ended yet. */
			view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
			continue;
		}

		view->build = derive_build_take(MyDatabaseId, view->relid, me.epoch);
		if (view->build == NULL)
		{
			view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
			continue;
		}
		oldcontext = MemoryContextSwitchTo(me.cxt);
		view->builder = derive_builder_start(view->build);
		view->build_epoch = me.epoch;
		view->keeping = false;
		MemoryContextSwitchTo(oldcontext);
		if (view->builder == NULL)
		{
			derive_build_free(view->build);
			view->build = NULL;
			view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("pg_derive has no background worker left to build a view and tries again later"),
					 errhint("You might need to increase \"max_worker_processes\".")));
			break;
		}
		running++;
	}
}


/* ----------------------------------------------------------------
 *		The batch
 * ----------------------------------------------------------------
 */

/* What the views did in a batch; added to the statistics once it is committed. */
typedef struct BatchStats
{
	Oid			view;
	DeriveStats stats;
} BatchStats;

/* A view's move, as an argument for guarded(). */
typedef struct Move
{
	WorkerView *view;
	DeriveBatch *batch;
	List	  **stats;			/* of BatchStats * */
	double		delta_ms;
} Move;

/* Is the view one that the next batch may change? */
static bool
takes_part(WorkerView *view)
{
	if (view->program == NULL)
		return false;
	switch (view->row->state)
	{
		case DERIVE_VIEW_READY:
		case DERIVE_VIEW_CATCHUP:
			return true;
		case DERIVE_VIEW_BUILDING:
			return view->fill;
		case DERIVE_VIEW_FAILED:
			return view->repair;
		default:
			return false;
	}
}

/*
 * Take all locks of the batch.  If one is not free, end the transaction, wait
 * for it, and return false.
 */
static bool
lock_everything(void)
{
	List	   *registry;
	Oid			busy = InvalidOid;
	LOCKMODE	mode = RowExclusiveLock;
	bool		done;
	ListCell   *lc;

	registry = list_make3_oid(me.registry_oid,
							  derive_registry_table_oid("relations", false),
							  derive_registry_table_oid("position", false));
	done = derive_lock_all(registry, RowExclusiveLock, &busy);
	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		if (!done)
			break;
		if (!takes_part(view))
			continue;
		mode = AccessShareLock;
		done = derive_lock_all(view->reads, mode, &busy);
		if (!done)
			break;
		mode = view->fill ? AccessExclusiveLock : RowExclusiveLock;
		done = derive_lock_all(view->writes, mode, &busy);
	}
	if (done)
		return true;

	derive_background_abort();
	MemoryContextSwitchTo(me.batch_cxt);
	pgstat_report_activity(STATE_RUNNING, "waiting for a lock");
	derive_lock_wait(busy, mode, &me.db->point.blocked_on);
	return false;
}

/*
 * Read the log up to now.  Returns how far the views will have come.
 */
static XLogRecPtr
capture(const DerivePosition *to, XLogRecPtr *upto)
{
	*upto = derive_decoder_end_of_wal();
	confirm_durable();

	derive_stream_begin_batch(me.stream, me.position, to);
	me.decode_counter = SharedInvalidMessageCounter;
	me.decoding = true;
	me.decoded_upto = derive_decoder_run(me.decoder, *upto);
	me.decoding = false;
	return derive_stream_covered(me.stream, me.decoded_upto);
}

/* How many rows of its sources changed; -1 if none, and nothing is unknown. */
static int64
changes_of(DeriveProgram *program, DeriveBatch *batch)
{
	int64		result = -1;
	ListCell   *lc;

	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);
		DeriveDelta *delta = derive_batch_find(batch, source->relid, source->inh);

		if (delta != NULL && (delta->nrows > 0 || delta->unknown))
			result = Max(result, 0) + delta->nrows;
	}
	return result;
}

/*
 * Views that read this one must not rely on a delta that nobody has: its
 * contents were replaced as a whole.
 */
static void
export_unknown(WorkerView *view, DeriveBatch *batch)
{
	ListCell   *lc;
	ListCell   *lc2;

	if (!view->program->exported)
		return;
	foreach(lc, me.views)
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

			if (source->relid != view->relid ||
				derive_batch_find(batch, source->relid, source->inh) != NULL)
				continue;
			rel = RelationIdGetRelation(view->relid);
			delta = derive_delta_create(source->relid, source->inh, RelationGetDescr(rel));
			RelationClose(rel);
			delta->unknown = true;
			delta->reason = "the view it reads was built";
			derive_batch_add(batch, delta);
		}
	}
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
	DeriveTargetCounts counts = {0};
	BatchStats *stats = palloc0(sizeof(BatchStats));
	instr_time	start;
	instr_time	duration;
	bool		settled = true; /* the registry must know */

	INSTR_TIME_SET_CURRENT(start);

	/* See what the views before this one did. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());

	if (row.state == DERIVE_VIEW_BUILDING)
	{
		counts.inserted = derive_program_build(program, NULL, NULL);
		export_unknown(view, move->batch);
	}
	else if (row.state == DERIVE_VIEW_CATCHUP && !view->diverged)
	{
		DeriveBatch *batch = derive_stream_batch_since(me.stream, program->sources,
													   row.position);

		stats->stats.changes_in = Max(changes_of(program, batch), 0);
		derive_program_apply(program, batch, &counts);
		export_unknown(view, move->batch);
	}
	else if (row.rebuild || view->repair || view->diverged)
		derive_program_recompute(program, move->batch, &counts);
	else
	{
		stats->stats.changes_in = Max(changes_of(program, move->batch), 0);
		derive_program_apply(program, move->batch, &counts);
		settled = false;
	}
	PopActiveSnapshot();
	DERIVE_DEBUG_POINT("batch-view-applied");

	if (settled)
	{
		row.state = DERIVE_VIEW_READY;
		row.rebuild = false;
		row.error = NULL;
		row.error_at = 0;
		row.position = NULL;
		row.epoch = 0;
		row.members = (int64) view->digest;
		derive_registry_update(&row);
		*view->row = row;
		me.reload = true;
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
	*move->stats = lappend(*move->stats, stats);
}

/* Tell the sessions that asked for something on this view; NULL edata: it was done. */
static void
answer_repairs(WorkerView *view, ErrorData *edata)
{
	ListCell   *lc;

	view->repair = false;
	foreach(lc, me.requests)
	{
		ActiveRequest *active = lfirst(lc);

		if (active->view != view->relid || active->kind != DERIVE_REQUEST_REPAIR ||
			active->answered)
			continue;
		active->answered = true;
		if (edata)
		{
			active->sqlerrcode = edata->sqlerrcode;
			active->error = edata->message;
		}
	}
}

/*
 * The same in a subtransaction: a failure is the view's own, not the batch's.
 */
static void
advance_carefully(Move *move)
{
	WorkerView *view = move->view;
	int			ndeltas = list_length(move->batch->deltas);
	int			nstats = list_length(*move->stats);
	DeriveViewRow row = *view->row;
	ErrorData  *edata;

	edata = guarded(advance, move);

	/*
	 * A delta has rows that no snapshot ever showed, such as one that was
	 * inserted and changed in one transaction, or a new row beside an old one
	 * of another table.  An expression may fail on them although the query
	 * does not.  So let the query decide.
	 */
	if (edata != NULL && !derive_error_is_transient(edata->sqlerrcode) &&
		(row.state == DERIVE_VIEW_CATCHUP ||
		 (row.state == DERIVE_VIEW_READY && !row.rebuild && !view->repair)))
	{
		if (edata->sqlerrcode == DERIVE_ERRCODE_DIVERGED)
			ereport(WARNING,
					(errcode(edata->sqlerrcode),
					 errmsg("view \"%s\" is computed anew because its contents were not as expected: %s",
							get_rel_name(view->relid), edata->message)));
		else
			ereport(LOG,
					(errcode(edata->sqlerrcode),
					 errmsg("view \"%s\" is computed anew because its changes could not be computed: %s",
							get_rel_name(view->relid), edata->message)));
		move->batch->deltas = list_truncate(move->batch->deltas, ndeltas);
		*move->stats = list_truncate(*move->stats, nstats);
		*view->row = row;
		view->diverged = true;
		edata = guarded(advance, move);
		view->diverged = false;
	}
	if (edata == NULL)
		return;

	move->batch->deltas = list_truncate(move->batch->deltas, ndeltas);
	*move->stats = list_truncate(*move->stats, nstats);
	*view->row = row;
	if (derive_error_is_transient(edata->sqlerrcode) && me.failures < PATIENCE)
		ReThrowError(edata);
	fail_view(view, edata->message, edata->sqlerrcode);
	answer_repairs(view, edata);
	me.reload = true;
}

/*
 * Take the pending requests into this batch.  Those that need no work are
 * answered here.
 */
static bool
collect_requests(void)
{
	DeriveShared *shared = derive_shared();
	bool		wrote = false;
	ListCell   *lc;
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &shared->requests[i];
		ActiveRequest *active;

		if (request->status != DERIVE_REQUEST_PENDING || request->dboid != MyDatabaseId)
			continue;
		request->status = DERIVE_REQUEST_RUNNING;
		active = palloc0(sizeof(ActiveRequest));
		active->request = request;
		active->kind = request->kind;
		active->view = request->view;
		me.requests = lappend(me.requests, active);
	}
	LWLockRelease(shared->lock);

	foreach(lc, me.requests)
	{
		ActiveRequest *active = lfirst(lc);
		WorkerView *view = find_view(active->view);

		if (view == NULL)
		{
			active->answered = true;
			active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			active->error = "the view is not maintained";
			continue;
		}
		if (active->kind == DERIVE_REQUEST_VERIFY)
			continue;			/* after the views have moved */

		switch (view->row->state)
		{
			case DERIVE_VIEW_BUILDING:
			case DERIVE_VIEW_CATCHUP:
				active->answered = true;	/* being built already */
				break;
			case DERIVE_VIEW_READY:
				break;			/* mark_repairs() has seen it, or will */
			case DERIVE_VIEW_PAUSED:
				active->answered = true;
				active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
				active->error = "the view is paused";
				break;
			case DERIVE_VIEW_FAILED:
				if (!view->repair)
					break;		/* its program will be loaded first */
				if (view->program == NULL)
				{
					active->answered = true;
					active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
					active->error = view->row->error ? view->row->error : "the view has failed";
					view->repair = false;
				}
				else if (!is_populated(view->relid))
				{
					/* It never was built: do that. */
					view->row->state = DERIVE_VIEW_BUILDING;
					view->row->error = NULL;
					view->row->error_at = 0;
					view->row->position = NULL;
					derive_registry_update(view->row);
					active->answered = true;
					view->repair = false;
					me.reload = true;
					wrote = true;
				}
				break;
		}
	}
	return wrote;
}

static void
compare_guarded(void *arg)
{
	ActiveRequest *active = arg;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	derive_program_compare(find_view(active->view)->program, &active->missing, &active->extra);
	PopActiveSnapshot();
}

/* Compare views with their queries: all of them are at this batch's position now. */
static void
verify_views(void)
{
	ListCell   *lc;

	foreach(lc, me.requests)
	{
		ActiveRequest *active = lfirst(lc);
		WorkerView *view = find_view(active->view);
		ErrorData  *edata;

		if (active->answered || active->kind != DERIVE_REQUEST_VERIFY)
			continue;
		if (view->row->state == DERIVE_VIEW_READY && view->program != NULL)
		{
			if (view->row->rebuild)
				continue;		/* in a later batch */
			edata = guarded(compare_guarded, active);
			if (edata)
			{
				active->sqlerrcode = edata->sqlerrcode;
				active->error = edata->message;
			}
		}
		else
		{
			active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			active->error = view->row->state == DERIVE_VIEW_PAUSED ? "the view is paused" :
				view->row->state == DERIVE_VIEW_FAILED ? "maintenance of the view has failed" :
				"the view is being built";
		}
		active->answered = true;
	}
}

/* After the commit: hand out the answers; what has none waits for the next batch. */
static void
answer_requests(void)
{
	ListCell   *lc;

	if (me.requests == NIL)
		return;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	foreach(lc, me.requests)
	{
		ActiveRequest *active = lfirst(lc);
		DeriveRequest *request = active->request;

		if (request->status == DERIVE_REQUEST_ABANDONED)
			request->status = DERIVE_REQUEST_FREE;
		else if (!active->answered)
		{
			request->status = DERIVE_REQUEST_PENDING;
			me.unfinished = true;
		}
		else if (active->error != NULL)
		{
			request->sqlerrcode = active->sqlerrcode;
			strlcpy(request->error, active->error, DERIVE_ERROR_LENGTH);
			request->status = DERIVE_REQUEST_ERROR;
		}
		else
		{
			request->missing = active->missing;
			request->extra = active->extra;
			request->status = DERIVE_REQUEST_DONE;
		}
	}
	LWLockRelease(derive_shared()->lock);
	me.requests = NIL;
}

/*
 * Does the batch have anything for this view?
 */
static bool
has_work(WorkerView *view, DeriveBatch *batch)
{
	switch (view->row->state)
	{
		case DERIVE_VIEW_READY:
			if (!view->row->rebuild && !view->repair)
				return changes_of(view->program, batch) >= 0;
			break;
		case DERIVE_VIEW_CATCHUP:
			return true;
		default:
			break;
	}

	/* To be computed from scratch: only under a snapshot from which on all is captured. */
	if (sources_complete(view))
		return true;
	me.unfinished = true;
	return false;
}

/* A builder filled it for an earlier life of ours, or for other partitions. */
static bool
came_too_late(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_CATCHUP &&
		(view->row->epoch != me.epoch || !view->backlog ||
		 (uint64) view->row->members != view->digest);
}

static void
send_back(WorkerView *view)
{
	view->row->state = DERIVE_VIEW_BUILDING;
	view->row->position = NULL;
	view->row->epoch = 0;
	derive_registry_update(view->row);
	me.reload = true;
}

/*
 * Move all views.  Returns whether anything was written.
 */
static bool
advance_views(DeriveBatch *batch, List **stats, double delta_ms)
{
	bool		wrote = false;
	ListCell   *lc;

	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);
		Move		move = {view, batch, stats, delta_ms};

		if (!takes_part(view))
			continue;
		if (came_too_late(view))
		{
			send_back(view);
			wrote = true;
			continue;
		}
		if (!has_work(view, batch))
			continue;
		wrote = true;
		if (me.careful || view->repair)
			advance_carefully(&move);
		else
			advance(&move);
		if (view->repair && view->row->state == DERIVE_VIEW_READY)
			answer_repairs(view, NULL);
	}
	return wrote;
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
	foreach(lc, me.views)
	{
		WorkerView *view = lfirst(lc);

		/* one without children so far may just have got its first */
		if (!takes_part(view) || !(view->has_children || view->dirty))
			continue;
		if (derive_sources_digest(view->program) != view->digest)
		{
			me.reload = view->dirty = me.any_dirty = true;
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("partitions of a table that view \"%s\" reads changed during the batch",
							get_rel_name(view->relid))));
		}
	}
}

/* Tell the slot, once what it would no longer deliver is safely on disk. */
static void
confirm_durable(void)
{
	if (me.confirm_lsn == InvalidXLogRecPtr || GetFlushRecPtr(NULL) < me.confirm_after)
		return;
	derive_decoder_confirm(me.decoder, me.confirm_lsn);
	me.confirm_lsn = InvalidXLogRecPtr;
}

static void
run_batch(void)
{
	uint64		commits = pg_atomic_read_u64(&me.db->commits);
	TimestampTz taken_at;
	DerivePosition *to;
	DerivePosition *next;
	DeriveBatch *batch;
	XLogRecPtr	upto;
	XLogRecPtr	covered;
	List	   *stats = NIL;
	bool		wrote;
	instr_time	start;
	instr_time	duration;
	ListCell   *lc;

	me.unfinished = true;
	pg_memory_barrier();
	derive_background_begin();
	MemoryContextSwitchTo(me.batch_cxt);

	/* Starting a transaction and taking locks tell us of changes. */
	if (me.reload || me.any_dirty)
	{
		derive_background_abort();
		return;
	}
	if (!lock_everything())
		return;
	if (me.reload || me.any_dirty)
	{
		derive_background_abort();
		return;
	}
	DERIVE_DEBUG_POINT("batch-locked");
	me.unfinished = false;

	/* Now, and not earlier, S. */
	INSTR_TIME_SET_CURRENT(start);
	taken_at = GetCurrentTimestamp();
	PushActiveSnapshot(GetTransactionSnapshot());
	to = derive_position_from_snapshot(GetActiveSnapshot());

	/* capture */
	me.phase = PHASE_CAPTURE;
	DERIVE_DEBUG_POINT("batch-snapshot");
	covered = capture(to, &upto);
	DERIVE_DEBUG_POINT("batch-decoded");

	/* delta */
	me.phase = PHASE_APPLY;
	batch = derive_stream_batch(me.stream);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);

	/* derive and materialize */
	wrote = collect_requests();
	if (advance_views(batch, &stats, INSTR_TIME_GET_MILLISEC(duration)))
		wrote = true;
	verify_views();
	DERIVE_DEBUG_POINT("batch-applied");
	if (wrote || me.requests != NIL)
		check_members();
	if (wrote)
		derive_registry_set_position(to, covered);
	PopActiveSnapshot();
	MemoryContextSwitchTo(me.cxt);
	next = derive_position_copy(to);
	derive_background_commit();

	/*
	 * The batch is done, whatever happens now.  Nothing that can raise ERROR
	 * may stand before its rows are forgotten and our position is moved.
	 */
	derive_stream_end_batch(me.stream);
	if (me.position)
		pfree(me.position);
	me.position = next;
	me.phase = PHASE_OTHER;
	MemoryContextSwitchTo(me.batch_cxt);
	DERIVE_DEBUG_POINT("batch-committed");

	me.commits_seen = commits;
	me.careful = false;
	me.failures = 0;

	/* notify */
	me.covered = Max(me.covered, covered);
	pg_atomic_write_u64(&me.db->commits_applied, commits);
	pg_atomic_write_u64(&me.db->covered_at, (uint64) taken_at);
	answer_requests();
	derive_wait_publish(&me.db->point, covered);
	foreach(lc, stats)
	{
		BatchStats *one = lfirst(lc);

		one->stats.last_batch_at = GetCurrentTimestamp();
		derive_stats_add(one->view, &one->stats);
	}
	pgstat_report_stat(false);

	/* confirm */
	me.confirm_lsn = covered;
	me.confirm_after = wrote ? XactLastCommitEnd : upto;
	if (!wrote)
		confirm_durable();
}
