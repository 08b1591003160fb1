/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The one static process: starts a worker for each group of views that needs one.
 *
 * Which databases have maintained views is known only inside each of them.  So
 * after the server has started, the launcher lists the databases and probes
 * them one after another: it marks the default group of the database as wanted and
 * starts a worker there, which clears the mark and exits at once if it finds no views;
 * of other groups that have views it says, before that, that they want a worker
 * (server/views.c).  A slot of a group may be there though its last view is gone: so groups
 * that have slots are probed as well.  From
 * then on sessions say when a worker is wanted (the first view of a group,
 * or a session that waits and sees no worker), so nothing is polled.
 *
 * Per group, in shared memory:
 *
 *		wanted, no worker	-> start one, unless a session holds it away
 *		wanted, worker died	-> start again: one that had done a batch, or was told to
 *							   end, at once, but not twice in a second; else after
 *							   1 s, 2 s, ... 30 s
 *		not wanted, no worker -> give the place back
 *
 * Groups that find no place are probed as soon as there is one.  What slots keep
 * that have no worker, unattended.c sees to, and what they keep of the log, log_limit.c;
 * what is under way when the clock is set back, clock_step.c.
 *
 * On a standby there are no workers, and the launcher only tidies up (unattended.c), and waits
 * for the end of recovery.
 *
 * The worker clears "wanted" before its last look at the registry, and a
 * session sets it after its commit, so a view is never overlooked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/groups.h"
#include "base/lock_waiters.h"
#include "base/wait_event.h"
#include "capture/lives.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "server/background.h"
#include "server/clock_step.h"
#include "server/launcher.h"
#include "server/log_limit.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "server/unattended.h"
#include "server/worker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define FIRST_DELAY_MS	1000
#define LAST_DELAY_MS	30000

/* Is the server still a standby? */
#define LOOK_MS			500

/* A worker that lived this long did not fail at its start. */
#define HEALTHY_MS		60000

/* What we know of the worker in each place of shared memory. */
typedef struct Child
{
	BackgroundWorkerHandle *handle; /* NULL if none */
	DeriveGroupId group;
	TimestampTz started_at;
	TimestampTz retry_at;
	int			failures;
	TimestampTz no_process_logged;	/* 0: it has a process, or was not tried */
} Child;

static Child *children;
static List *to_probe;			/* of DeriveGroupId *, still to be looked at;
								 * in TopMemoryContext */

static void list_databases(void);
static void forget_dropped_databases(void);
static void probe_next(void);
static long tend(int i);
static void start_worker(int i);
static void detach(int code, Datum arg);


void
derive_launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_derive launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, DERIVE_PROCESS_TYPE "launcher");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "pg_derive");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "derive_launcher_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 5;
	RegisterBackgroundWorker(&worker);
}

static void
reload_config(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

static void
wait_for_promotion(void)
{
	while (RecoveryInProgress())
	{
		derive_unattended_on_standby();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, derive_wait_event(DERIVE_WAIT_LAUNCHER_IDLE));
		ResetLatch(MyLatch);
		derive_background_check_interrupts();
		reload_config();
	}
}

/* Of two times to wait, of which -1 is for ever. */
static long
sooner(long a, long b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

void
derive_launcher_main(Datum arg)
{
	DeriveShared *shared = derive_shared();
	int			i;

	derive_background_init();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("pg_derive launcher");
	wait_for_promotion();
	derive_lives_mark();

	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(LOG,
				(errmsg("pg_derive maintains no views because \"wal_level\" is not \"logical\""),
				 errhint("Set \"wal_level\" to \"logical\" and restart the server.")));

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_latch = MyLatch;
	LWLockRelease(shared->lock);
	before_shmem_exit(detach, (Datum) 0);

	children = MemoryContextAllocZero(TopMemoryContext,
									  sizeof(Child) * shared->ngroups);
	list_databases();
	forget_dropped_databases();

	for (;;)
	{
		long		sleep_ms = -1;

		ResetLatch(MyLatch);
		derive_background_check_interrupts();
		reload_config();

		if (wal_level >= WAL_LEVEL_LOGICAL)
		{
			/* before a worker that has just ended is back */
			sleep_ms = derive_log_limit_tend();
			probe_next();
			for (i = 0; i < shared->ngroups; i++)
			{
				long		ms = tend(i);

				sleep_ms = sooner(sleep_ms, ms);
			}
			sleep_ms = sooner(sleep_ms, derive_unattended_tend());
			sleep_ms = sooner(sleep_ms, derive_clock_step_tend());
		}

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (sleep_ms >= 0 ? WL_TIMEOUT : 0),
						 sleep_ms, derive_wait_event(DERIVE_WAIT_LAUNCHER_IDLE));
	}
}

static void
detach(int code, Datum arg)
{
	DeriveShared *shared = derive_shared();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher_latch = NULL;
	LWLockRelease(shared->lock);
}

/* Is there one, and can one connect to it? */
static bool
is_usable(Form_pg_database form)
{
	return form->datconnlimit >= -1;	/* less: DROP DATABASE was interrupted */
}

static bool
exists(Oid dboid)
{
	HeapTuple	tuple;
	bool		result = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	if (HeapTupleIsValid(tuple))
	{
		result = is_usable((Form_pg_database) GETSTRUCT(tuple));
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	return result;
}

/* They may have been dropped while the server ran without us. */
static void
forget_dropped_databases(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	List	   *known = derive_stats_databases();
	ListCell   *lc;

	foreach(lc, known)
	{
		if (!exists(lfirst_oid(lc)))
			derive_stats_forget_database(lfirst_oid(lc));
		MemoryContextSwitchTo(cxt);
	}
	list_free(known);
}

/* Once, and if it is to be the next one, first. */
static void
add_probe(DeriveGroupId group, bool first)
{
	MemoryContext oldcontext;
	DeriveGroupId *copy;
	ListCell   *lc;

	foreach(lc, to_probe)
	{
		if (*(DeriveGroupId *) lfirst(lc) == group)
			return;
	}
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	copy = palloc(sizeof(DeriveGroupId));
	*copy = group;
	to_probe = first ? lcons(copy, to_probe) : lappend(to_probe, copy);
	MemoryContextSwitchTo(oldcontext);
}

static void
end_probe(DeriveGroupId *probe)
{
	to_probe = list_delete_ptr(to_probe, probe);
	pfree(probe);
}

/* The first one of an existing database that has a place, or can have one; or NULL. */
static DeriveGroupId *
next_probe(void)
{
	ListCell   *lc;

	foreach(lc, to_probe)
	{
		DeriveGroupId *probe = lfirst(lc);

		if (!exists(DERIVE_GROUP_DATABASE(*probe)))
		{
			to_probe = foreach_delete_current(to_probe, lc);
			pfree(probe);
		}
		else if (derive_group_place(DERIVE_GROUP_DATABASE(*probe), DERIVE_GROUP_NUMBER(*probe)) == DERIVE_PLACE_IS_THERE)
			return probe;
	}
	return NULL;
}

/* Of the first one that has none. */
static void
warn_of_no_place(void)
{
	DeriveGroupId group = *(DeriveGroupId *) linitial(to_probe);

	if (derive_group_place(DERIVE_GROUP_DATABASE(group), DERIVE_GROUP_NUMBER(group)) == DERIVE_TOO_MANY_GROUPS)
		ereport(WARNING,
				(errmsg("pg_derive cannot maintain all groups of views of a database"),
				 errhint("Increase \"pg_derive.max_groups\".")));
	else
		ereport(WARNING,
				(errmsg("pg_derive cannot maintain or look for views in all databases"),
				 errhint("Increase \"pg_derive.max_databases\" and restart the server.")));
}

/* Those of a database. */
static List *
groups_with_slots(Oid dboid)
{
	List	   *result = NIL;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		int			group;

		if (slot->in_use && slot->data.database == dboid &&
			derive_is_slot_name(NameStr(slot->data.name), dboid, &group))
			result = lappend_int(result, group);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return result;
}

/*
 * All databases that may have views, to be probed; first those groups that have
 * a slot, which keeps the log until somebody reads it.  A database that lets nobody in
 * has views only if it has a slot.
 */
static void
list_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		List	   *groups = groups_with_slots(form->oid);
		ListCell   *lc;

		if (!is_usable(form) || !(form->datallowconn || groups != NIL))
			continue;
		foreach(lc, groups)
			add_probe(DERIVE_GROUP_ID(form->oid, lfirst_int(lc)), true);
		add_probe(DERIVE_GROUP_ID(form->oid, DERIVE_DEFAULT_GROUP), false);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

/*
 * If no probe is under way, begin the next one.  A probe is under way while
 * the worker of a database has neither exited nor come to life.
 */
static void
probe_next(void)
{
	static DeriveGroup *probed = NULL;
	static bool warned = false;
	DeriveShared *shared = derive_shared();
	DeriveGroupId waiting;

	while ((waiting = derive_group_next_waiting()) != 0)
		add_probe(waiting, false);

	while (to_probe != NIL || probed != NULL)
	{
		DeriveGroupId *probe;
		DeriveGroupId group;

		if (probed != NULL)
		{
			bool		undecided;

			LWLockAcquire(shared->lock, LW_SHARED);
			undecided = probed->wanted && probed->epoch == 0 &&
				probed->start_failures == 0 && probed->holds == 0;
			LWLockRelease(shared->lock);
			if (undecided)
				return;
			probed = NULL;
			continue;
		}

		probe = next_probe();
		if (probe == NULL)
		{
			if (to_probe == NIL)
				return;
			/* Places of groups without views come free as we tend them. */
			if (!warned)
			{
				int			i;
				bool		any_unwanted = false;

				LWLockAcquire(shared->lock, LW_SHARED);
				for (i = 0; i < shared->ngroups; i++)
					if (!shared->groups[i].wanted)
						any_unwanted = true;
				LWLockRelease(shared->lock);
				if (!any_unwanted)
				{
					warned = true;
					warn_of_no_place();
				}
			}
			return;
		}
		group = *probe;
		end_probe(probe);
		warned = false;
		probed = derive_group_want(DERIVE_GROUP_DATABASE(group), DERIVE_GROUP_NUMBER(group));
		return;
	}
}

/*
 * Bring one place forward.  Returns in how many ms to look again, -1 if only
 * when the latch is set.
 */
static long
tend(int i)
{
	DeriveShared *shared = derive_shared();
	DeriveGroup *place = &shared->groups[i];
	Child	   *child = &children[i];
	DeriveGroupId group = pg_atomic_read_u64(&place->id);
	TimestampTz now = GetCurrentTimestamp();
	bool		wanted;
	bool		held;
	bool		alive;
	bool		left;
	bool		told;
	int			failures;
	pid_t		pid;

	if (child->handle != NULL)
	{
		if (GetBackgroundWorkerPid(child->handle, &pid) != BGWH_STOPPED)
			return -1;
		pfree(child->handle);
		child->handle = NULL;
	}
	if (group == 0)
		return -1;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	left = place->left;
	told = place->was_told_to_end;
	place->left = place->was_told_to_end = false;
	wanted = place->wanted;
	held = place->holds > 0;
	alive = place->worker_pid != 0;
	failures = place->start_failures;
	LWLockRelease(shared->lock);

	if (child->group != group)
	{
		child->group = group;
		child->failures = 0;
		child->started_at = child->retry_at = 0;
	}

	if (!wanted)
	{
		child->failures = 0;
		child->started_at = child->retry_at = 0;
		if (derive_group_free(place))
			SetLatch(MyLatch);	/* a probe may wait for the place */
		return -1;
	}
	if (left)
		child->started_at = 0;	/* it had nothing to do then, but has now */
	if (held)
	{
		child->started_at = 0;	/* it ended because it had to */
		return -1;
	}
	if (alive)
		return -1;				/* started by an earlier life of the launcher */

	/* It was there and ended although it was wanted. */
	if (child->started_at != 0)
	{
		long		delay;

		if (told || TimestampDifferenceExceeds(child->started_at, now, HEALTHY_MS))
			failures = 0;
		child->failures = failures;
		delay = Min(FIRST_DELAY_MS << Min(failures, 5), LAST_DELAY_MS);
		child->retry_at = TimestampTzPlusMilliseconds(failures == 0 ? child->started_at : now, delay);
		child->failures++;
		child->started_at = 0;
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		place->start_failures = child->failures;
		LWLockRelease(shared->lock);
	}
	if (now < child->retry_at && !derive_clock_was_set_back(now, child->retry_at, LAST_DELAY_MS))
		return TimestampDifferenceMilliseconds(now, child->retry_at) + 1;

	if (!exists(DERIVE_GROUP_DATABASE(group)))
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		place->wanted = false;
		LWLockRelease(shared->lock);
		return 0;
	}
	start_worker(i);
	return child->handle == NULL ? FIRST_DELAY_MS : -1;
}

static void
warn_no_process(Oid dboid)
{
	char	   *name;

	StartTransactionCommand();
	name = get_database_name(dboid);
	if (name != NULL)			/* else it was dropped meanwhile */
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("pg_derive cannot start a worker process for database \"%s\"", name),
				 errhint("Increase \"max_worker_processes\".")));
	CommitTransactionCommand();
}

static void
start_worker(int i)
{
	DeriveShared *shared = derive_shared();
	DeriveGroup *place = &shared->groups[i];
	Child	   *child = &children[i];
	MemoryContext oldcontext;

	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	child->handle = derive_background_launch("worker", "database", DERIVE_GROUP_DATABASE(child->group),
											 "derive_worker_main", &child->group, sizeof(child->group));
	if (child->handle != NULL)
	{
		child->started_at = GetCurrentTimestamp();
		child->no_process_logged = 0;
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		place->no_process = false;
		LWLockRelease(shared->lock);
	}
	else
	{
		child->failures++;
		if (derive_background_log_again(&child->no_process_logged))
			warn_no_process(DERIVE_GROUP_DATABASE(child->group));
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		place->start_failures = child->failures;
		place->no_process = true;
		LWLockRelease(shared->lock);
	}
	MemoryContextSwitchTo(oldcontext);
}
