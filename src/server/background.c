/*-------------------------------------------------------------------------
 *
 * background.c
 *	  What every background process of ours does: connecting, taking locks
 *	  without ever waiting while holding, and renewing the internal tables of a
 *	  view.
 *
 * Locks.  A batch needs locks on many relations at once, and people take locks
 * on the same relations in any order.  If a background process waited for one
 * while holding others, it would sooner or later deadlock with somebody's
 * transaction, and the detector might well choose that one as the victim.  So
 * our processes only ever take a lock if it is free.  If it is not, they give
 * up the whole transaction, wait for this one lock in a transaction of its own
 * (so they get their turn in the queue), let it go, and begin again.
 *
 * A builder that has filled a view for an hour and needs a lock to show it cannot
 * give up so easily; it tries again, but gives way to whoever waits for one of its
 * locks, since he may be the one who holds what we want.
 *
 * What the server locks on its own, deep inside CREATE INDEX, say, or what a function of
 * a view waits for, nobody can foresee.  Of the processes of a deadlock, the one fails that
 * finds it, and each looks for it once it has waited for its deadlock_timeout.  Ours is very
 * short: if the lock that we wait for completes the circle, it is we who fail, and try
 * again.  (An autovacuum in the way is cancelled as soon; and log_lock_waits would log
 * each wait of that length, while derive.views tells of those that last.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/class_row.h"
#include "base/compat.h"
#include "base/elapsed.h"
#include "base/error_context.h"
#include "base/groups.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/lock_waiters.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "compile/query.h"
#include "deposit/fill.h"
#include "deposit/target.h"
#include "derive/definition.h"
#include "libpq/pqsignal.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "server/background.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ps_status.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Between two attempts, for others to get their turn. */
#define LOCK_PAUSE_MS	200

/* A lasting shortage is logged so often. */
#define LOG_AGAIN_MS	60000

static volatile sig_atomic_t told_to_end = false;

/*
 * Settings of all our processes, whatever the database or the file says; those that
 * the server does not know it does not need.
 *
 * Functions of views may change the rest while they run, in our process, which hurts
 * nobody else.  But by two of these settings a view would end the process, and
 * with it the maintenance of all others: an error, or one that takes too long.
 */
static const struct
{
	const char *name;
	const char *value;
	bool		fixed;			/* also for functions of views */
}			settings[] =

{
	{"search_path", "pg_catalog, pg_temp"},
	{"synchronous_commit", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"transaction_timeout", "0", true},
	{"exit_on_error", "off", true},
	{"session_replication_role", "origin"},
	{"restrict_nonsystem_relation_kind", ""},
	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
	{"row_security", "on"},
	{"gin_fuzzy_search_limit", "0"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"plpgsql.variable_conflict", "error"},
	{"deadlock_timeout", "10ms"},
	{"log_lock_waits", "off"},
};

static emit_log_hook_type prev_emit_log = NULL;
static bool quiet = false;

static void release_user_locks(XactEvent event, void *arg);

BackgroundWorkerHandle *
derive_background_launch(const char *kind, const char *class, Oid object, const char *function,
						 const void *extra, Size size)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	Assert(size <= BGW_EXTRALEN);
	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_derive %s for %s %u", kind, class, object);
	snprintf(worker.bgw_type, BGW_MAXLEN, DERIVE_PROCESS_TYPE "%s", kind);
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "pg_derive");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "%s", function);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(object);
	if (size > 0)
		memcpy(worker.bgw_extra, extra, size);

	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return NULL;
	return handle;
}

/* For ps: "pg_derive worker shop", or "pg_derive worker shop, group 1". */
static void
set_title(DeriveGroupId group)
{
	int			number = DERIVE_GROUP_NUMBER(group);

	StartTransactionCommand();
	init_ps_display(psprintf("%s %s%s", MyBgworkerEntry->bgw_type, get_database_name(DERIVE_GROUP_DATABASE(group)),
							 number == DERIVE_DEFAULT_GROUP ? "" : psprintf(", group %d", number)));
	CommitTransactionCommand();
}

bool
derive_background_log_again(TimestampTz *last)
{
	TimestampTz now = GetCurrentTimestamp();

	if (*last != 0 && !TimestampDifferenceExceeds(*last, now, LOG_AGAIN_MS))
		return false;
	*last = now;
	return true;
}

void
derive_background_idle(void)
{
	/* NULL would leave what was done before */
	pgstat_report_activity(STATE_IDLE, "");
}

void
derive_background_be_quiet(bool on)
{
	quiet = on;
}

/* Of what the server says each time when decoding begins. */
static bool
is_of_decoding(const ErrorData *edata)
{
	return edata->elevel == LOG && edata->filename != NULL &&
		(strcmp(edata->filename, "logical.c") == 0 || strcmp(edata->filename, "snapbuild.c") == 0);
}

/*
 * Our processes have no clients whom they would fail: that one is asked to end, mostly
 * since the server stops, is nothing to be alarmed about.  Who monitors the log looks
 * for FATAL.  And one that tries the same again and again does not fill it.
 */
static void
hide_message(ErrorData *edata)
{
	if ((edata->elevel == FATAL && edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN) ||
		(quiet && is_of_decoding(edata)))
		edata->output_to_server = false;
	if (prev_emit_log)
		prev_emit_log(edata);
}

static void
end(SIGNAL_ARGS)
{
	told_to_end = true;
	die(postgres_signal_arg);
}

bool
derive_background_was_told_to_end(void)
{
	return told_to_end;
}

void
derive_background_init(void)
{
	derive_is_worker = true;
	prev_emit_log = emit_log_hook;
	emit_log_hook = hide_message;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, end);
	BackgroundWorkerUnblockSignals();
}

DeriveGroupId
derive_background_group(void)
{
	DeriveGroupId result;

	memcpy(&result, MyBgworkerEntry->bgw_extra, sizeof(result));
	return result;
}

void
derive_background_start(DeriveGroupId group)
{
	int			i;

	derive_background_init();

	/* a database that lets nobody in has a slot all the same */
	BackgroundWorkerInitializeConnectionByOid(DERIVE_GROUP_DATABASE(group), InvalidOid, BGWORKER_BYPASS_ALLOWCONN);

	for (i = 0; i < lengthof(settings); i++)
	{
		struct config_generic *setting = derive_compat_find_setting(settings[i].name);

		/*
		 * of another version; a library may be loaded later, and finds it
		 * then
		 */
		if (setting == NULL && strchr(settings[i].name, '.') == NULL)
			continue;
		SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET, PGC_S_OVERRIDE);
		if (settings[i].fixed)
			setting->context = PGC_INTERNAL;
	}
	RegisterXactCallback(release_user_locks, NULL);
	set_title(group);
}

/*
 * Functions of views may take advisory locks of the session, and the session is
 * ours: it would have them for ever.  All else that outlives a transaction is
 * refused in a security-restricted operation, or undone with its settings.
 */
static void
release_user_locks(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		LockReleaseAll(USER_LOCKMETHOD, true);
}

bool
derive_clock_was_set_back(TimestampTz now, TimestampTz at, int64 longest_ms)
{
	return at > TimestampTzPlusMilliseconds(now, longest_ms);
}

void
derive_background_check_interrupts(void)
{
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
}

void
derive_background_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	replorigin_session_origin = DoNotReplicateId;
}

void
derive_background_limit_lock_waits(int ms)
{
	char		timeout[32];

	snprintf(timeout, sizeof(timeout), "%d", ms);
	(void) set_config_option("lock_timeout", timeout, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

void
derive_background_commit(void)
{
	CommitTransactionCommand();
	replorigin_session_origin = InvalidRepOriginId;
}

void
derive_background_abort(void)
{
	AbortOutOfAnyTransaction();
	replorigin_session_origin = InvalidRepOriginId;
}

ErrorData *
derive_background_catch(MemoryContext context)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	edata = derive_copy_error();
	FlushErrorState();
	derive_background_abort();
	MemoryContextSwitchTo(context);
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	RESUME_INTERRUPTS();
	return edata;
}


/* ----------------------------------------------------------------
 *		Locks
 * ----------------------------------------------------------------
 */

bool
derive_lock_all(List *relids, LOCKMODE mode, Oid *busy)
{
	ListCell   *lc;

	foreach(lc, relids)
	{
		if (!ConditionalLockRelationOid(lfirst_oid(lc), mode))
		{
			*busy = lfirst_oid(lc);
			return false;
		}
	}
	return true;
}

void
derive_lock_wait(Oid relid, LOCKMODE mode, pg_atomic_uint64 *blocked_on, int ms)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	derive_background_limit_lock_waits(ms);
	derive_blocked_set(blocked_on, relid, mode);
	PG_TRY();
	{
		LockRelationOid(relid, mode);
	}
	PG_FINALLY();
	{
		derive_blocked_clear(blocked_on);
	}
	PG_END_TRY();
	CommitTransactionCommand();
}


/*
 * Lock what the definition of a view names, at any depth, without waiting: to
 * compile it waits for locks, and would not say for which.  True if it is not free.
 */
static bool
lock_name(Oid relid, void *busy)
{
	return !derive_lock_all(list_make1_oid(relid), AccessShareLock, busy);
}

bool
derive_lock_definition(Oid view, Oid *busy)
{
	return derive_lock_all(list_make1_oid(view), AccessShareLock, busy) &&
		!derive_visit_names(view, lock_name, busy) &&
		derive_lock_all(derive_definition_of_view(view)->sources, AccessShareLock, busy);
}


bool
derive_lock_within(Oid relid, LOCKMODE mode, int timeout_ms)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char		timeout[32];
	bool		result = true;

	if (ConditionalLockRelationOid(relid, mode))
		return true;
	if (timeout_ms == 0)
		return false;
	snprintf(timeout, sizeof(timeout), "%d", timeout_ms);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		int			level = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", timeout, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		LockRelationOid(relid, mode);
		AtEOXact_GUC(true, level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = derive_copy_error();
		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(edata);
		RollbackAndReleaseCurrentSubTransaction();
		result = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

/* With its row in pg_class, for which nobody who wants the relation is kept waiting. */
static bool
lock_with_row(Oid relid, LOCKMODE mode)
{
	if (!derive_class_row_is_free(relid) || !derive_lock_within(relid, mode, derive_lock_timeout))
		return false;
	if (derive_class_row_lock(relid))
		return true;
	UnlockRelationOid(relid, mode);
	return false;
}

void
derive_lock_at_end(Oid relid, LOCKMODE mode, pg_atomic_uint64 *blocked_on)
{
	derive_blocked_set(blocked_on, relid, mode);
	while (!lock_with_row(relid, mode))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOCK_PAUSE_MS, derive_wait_event(DERIVE_WAIT_LOCK));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (derive_someone_waits_for_us() || derive_holder_waits_for(MyProcPid, relid, mode, false))
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("could not lock relation \"%s\" while another session waits for one of our locks",
							get_rel_name(relid))));
	}
	derive_blocked_clear(blocked_on);
}


/* ----------------------------------------------------------------
 *		Internal tables
 * ----------------------------------------------------------------
 */

List *
derive_internal_tables(Oid view)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, derive_registry_relations(view))
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_MATVIEW)
		result = lappend_oid(result, lfirst_oid(lc));
	return result;
}

bool
derive_renew_view(Oid view, Oid *busy, LOCKMODE *mode)
{
	DeriveProgram *program;
	bool		outdated;
	bool		done = true;

	PushActiveSnapshot(GetTransactionSnapshot());
	*mode = AccessShareLock;
	if (!derive_lock_definition(view, busy))
	{
		PopActiveSnapshot();
		return false;
	}
	program = derive_program_load(view, CurrentMemoryContext);
	derive_program_check_stable(program);
	outdated = program->outdated != NULL;
	if (outdated)
		ereport(LOG,
				(errmsg("internal tables of view \"%s\" are made anew: %s", get_rel_name(view), program->outdated)));
	derive_program_free(program);
	if (outdated)
	{
		*mode = RowExclusiveLock;
		done = derive_lock_all(list_make1_oid(view), *mode, busy);
	}
	if (outdated && done)
	{
		List	   *internal = derive_internal_tables(view);

		*mode = AccessExclusiveLock;
		done = derive_lock_all(internal, *mode, busy);
		if (done)
		{
			derive_fill_lock_dependencies(lcons_oid(view, internal));
			derive_program_renew(view);
		}
	}
	PopActiveSnapshot();
	return done;
}


void
derive_log_built(Oid view, int64 rows, int64 since)
{
	double		seconds = (derive_monotonic_ms() - since) / 1000.0;

	ereport(LOG,
			(errmsg_plural("view \"%s\" is filled: " INT64_FORMAT " row in %.1f s",
						   "view \"%s\" is filled: " INT64_FORMAT " rows in %.1f s",
						   (unsigned long) rows, derive_relation_name(view), rows, seconds)));
}

bool
derive_is_slow(double ms)
{
	return derive_log_min_duration >= 0 && ms >= derive_log_min_duration;
}

void
derive_log_slow_view(Oid view, const DeriveCounters *did)
{
	if (derive_is_slow(did->apply_ms))
		ereport(LOG,
				(errmsg("view \"%s\" took %.3f ms: " INT64_FORMAT " changes in, " INT64_FORMAT " rows inserted, " INT64_FORMAT " updated, " INT64_FORMAT " deleted",
						derive_relation_name(view), did->apply_ms, did->changes_in, did->inserted, did->updated, did->deleted)));
}

char *
derive_error_text(const ErrorData *edata)
{
	switch (edata->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_TABLE:
			if (edata->hint != NULL)
				return psprintf("%s (%s)", edata->message, edata->hint);
			/* FALLTHROUGH */
		default:
			return edata->message;
	}
}

bool
derive_error_is_damage(int sqlerrcode)
{
	return sqlerrcode == DERIVE_ERRCODE_DIVERGED || sqlerrcode == ERRCODE_DATA_CORRUPTED ||
		sqlerrcode == ERRCODE_INDEX_CORRUPTED;
}
