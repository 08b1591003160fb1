/*-------------------------------------------------------------------------
 *
 * assistant.c
 *	  What the verifier and the slow lane have in common: processes that a group has one of.
 *
 * The worker starts them when there is something to do for them, and tries again if
 * that fails.  They take their place in shared memory, do one thing after the other,
 * and end when there was nothing to do for a while, when somebody needs the database
 * to be empty, or with the server.  However one ends, it gives the place back and
 * wakes all who may wait for it: the worker, which starts the next one for what
 * was not done; sessions; and the launcher, which may be waiting for the slot in shared memory.
 *
 *	free -> place taken (derive_assistant_begin) -> free (detach, at exit)
 *
 * A start that the worker has asked for is counted as failed until the process
 * has taken its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/rights.h"
#include "base/wait_event.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/assistant.h"
#include "server/background.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* Start it not more often than that. */
#define RETRY_MS	1000

static const struct
{
	const char *name;
	const char *function;		/* in which it begins */
	const char *purpose;		/* for a message */
}			roles[] =

{
	[DERIVE_VERIFIER] = {"verifier", "derive_verifier_main", "verify views"},
	[DERIVE_SLOW_LANE] = {"slow lane", "derive_lane_main", "recompute views"},
};

StaticAssertDecl(lengthof(roles) == DERIVE_ASSISTANTS, "each role has its row");

/* In the worker: those that it has started. */
static struct
{
	BackgroundWorkerHandle *handle; /* or NULL; in TopMemoryContext */
	TimestampTz retry_at;
	TimestampTz no_process_logged;	/* 0: it has had a process since */
}			started[DERIVE_ASSISTANTS];

DeriveAssistant *derive_assistant_self = NULL;
DeriveGroup *derive_assistant_group = NULL;
volatile bool derive_assistant_changed = false;


/* ----------------------------------------------------------------
 *		For the worker
 * ----------------------------------------------------------------
 */

void
derive_assistant_tend(DeriveAssistantRole role, DeriveGroup *place)
{
	DeriveAssistant *assistant = &place->assistants[role];
	DeriveGroupId id = pg_atomic_read_u64(&place->id);
	BackgroundWorkerHandle **handle = &started[role].handle;
	TimestampTz now;
	MemoryContext oldcontext;
	bool		runs;
	pid_t		pid;

	if (*handle != NULL)
	{
		if (GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
			return;
		pfree(*handle);
		*handle = NULL;
	}
	now = GetCurrentTimestamp();
	if (now < started[role].retry_at && !derive_clock_was_set_back(now, started[role].retry_at, RETRY_MS))
		return;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	runs = assistant->pid != 0; /* that of an earlier worker */
	if (!runs)
		assistant->start_failures++;	/* until it says that it is there */
	LWLockRelease(derive_shared()->lock);
	if (runs)
		return;

	started[role].retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	*handle = derive_background_launch(roles[role].name, "database", MyDatabaseId, roles[role].function, &id, sizeof(id));
	MemoryContextSwitchTo(oldcontext);
	if (*handle != NULL)
		started[role].no_process_logged = 0;
	else if (derive_background_log_again(&started[role].no_process_logged))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("pg_derive has no background worker left to %s and tries again until it gets one", roles[role].purpose),
				 errhint("You might need to increase \"max_worker_processes\".")));
}


/* ----------------------------------------------------------------
 *		For the process itself
 * ----------------------------------------------------------------
 */

/* However we end: what was not done is for the next one, which the worker starts. */
static void
detach(int code, Datum arg)
{
	derive_blocked_clear(&derive_assistant_self->blocked_on);
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_assistant_self->pid = 0;
	derive_assistant_self->latch = NULL;
	LWLockRelease(derive_shared()->lock);
	derive_group_wake(derive_assistant_group);
	ConditionVariableBroadcast(&derive_assistant_group->point.cv);
	derive_launcher_wake();
}

/* Take the place, or exit. */
static void
attach(DeriveAssistantRole role, DeriveGroupId group)
{
	DeriveGroup *place;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	place = derive_group_find(DERIVE_GROUP_DATABASE(group), DERIVE_GROUP_NUMBER(group));
	if (place == NULL || place->holds > 0 || place->assistants[role].pid != 0)
	{
		LWLockRelease(derive_shared()->lock);
		proc_exit(0);
	}
	derive_assistant_group = place;
	derive_assistant_self = &place->assistants[role];
	derive_assistant_self->pid = MyProcPid;
	derive_assistant_self->latch = MyLatch;
	derive_assistant_self->start_failures = 0;
	LWLockRelease(derive_shared()->lock);
	derive_blocked_clear(&derive_assistant_self->blocked_on);
	on_shmem_exit(detach, (Datum) 0);
}

int
derive_assistant_number(void)
{
	return DERIVE_GROUP_NUMBER(pg_atomic_read_u64(&derive_assistant_group->id));
}

/* Syscache callback: a flag only. */
static void
note_role_change(Datum arg, int cacheid, uint32 hashvalue)
{
	derive_assistant_changed = true;
}

/* Relcache callback: flags only. */
static void
note_invalidation(Datum arg, Oid relid)
{
	derive_assistant_changed = true;
	derive_program_invalidate_plans(relid);
}

void
derive_assistant_begin(DeriveAssistantRole role)
{
	attach(role, derive_background_group());
	derive_background_start(derive_background_group());
	pgstat_report_appname(psprintf("pg_derive %s", roles[role].name));
	SetConfigOption("jit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_SUSET, PGC_S_OVERRIDE);
	CacheRegisterRelcacheCallback(note_invalidation, (Datum) 0);
	derive_on_role_change(note_role_change);
}

void
derive_assistant_heed_signals(void)
{
	derive_background_check_interrupts();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

bool
derive_assistant_nap(long ms)
{
	int			events;

	derive_background_idle();
	pgstat_report_stat(true);
	events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, derive_wait_event(DERIVE_WAIT_ASSISTANT_IDLE));
	ResetLatch(MyLatch);
	return (events & WL_LATCH_SET) != 0;
}

bool
derive_assistant_must_leave(void)
{
	bool		held;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	held = derive_assistant_group->holds > 0;
	LWLockRelease(derive_shared()->lock);
	return held;
}
