/*-------------------------------------------------------------------------
 *
 * standing.c
 *	  Where a view stands, what it waits for, and how far behind it is.
 *
 * What is stored.  The catalog says what has been decided about a view: its row in
 * derive_state.views, the ones in derive_state.waiting and lane.  It is read under the
 * caller's snapshot, so that state and position fit what the view has for him.  Shared
 * memory says what our processes are doing now.  Neither is enough alone: a view that
 * the catalog calls ready does not follow if there is no worker.  For example
 *
 *		catalog			processes									state		waiting_for
 *		building		no worker, since none was left				queued		a background worker (max_worker_processes)
 *		building		the worker waits to create its slot			queued		transactions older than 761 to end (pid 20387)
 *		building		a builder waits for a lock					building	lock on public.orders held by pid 20387
 *		ready, waiting											waiting		lock on public.orders held by pid 20387
 *		ready			no launcher, and so no worker				waiting		the launcher process (max_worker_processes)
 *		ready			reads a view that has failed				waiting		view public.ratio, which it reads and which has failed
 *		ready			the worker fails to read the log			waiting		another try of the worker after an error (see derive.worker)
 *		ready, rebuild											rebuilding	its next batch
 *
 * Nothing here waits for a lock: who holds one is what people want to know.
 *
 * How far behind.  The lag is the age of the oldest commit that a view lacks.  Nobody
 * writes down when transactions commit, least of all those who commit.  What is known:
 *
 *	  - whether anything is lacking: commits are counted (DeriveGroup.commits), and
 *		so are those that the worker has seen.  If they are equal, everything up to
 *		now is contained.  The worker notes that before it sleeps and when it is woken
 *		up, and so does who looks: a commit that comes later is younger than that;
 *	  - when the oldest transaction of a batch committed: the log says so, as soon as
 *		the worker has read that far;
 *	  - for views that stand still: their rows in the catalog have the time of the
 *		oldest commit of the batch that left them behind, for which only transactions
 *		count that change rows of some table.
 *
 *		12:00:00	the last batch; nothing more to do			lag 0
 *		12:09:57	the worker looks around						"complete until 12:09:57"
 *		12:10:00	COMMIT of 300,000 rows; the worker wakes up	"lacks something since 12:10:00"
 *		12:10:01	still reading them							lag 1 s
 *		12:10:02	written										lag 0
 *
 * So the lag is right to within moments if the worker works.  If it does not answer, the
 * lag may be too large by the time for which it had nothing to do before, which is at
 * most the ten seconds in which it looks around; if there has not been one since
 * the server started, by the time since the last position was stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "base/error_context.h"
#include "base/groups.h"
#include "base/lane.h"
#include "base/lock_waiters.h"
#include "base/rights.h"
#include "base/waiting.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "replication/slot.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/shmem.h"
#include "server/standing.h"
#include "server/statistics.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

/* A view that is where all are waits for the worker if it is behind by as much; or if there is as much to read. */
#define LATE_US		INT64CONST(1000000)
#define MUCH_LOG	(1024 * 1024)

/* What one look finds out once, for all views of a group. */
typedef struct Look
{
	int			group;			/* its number */
	TimestampTz now;
	bool		standby;
	DeriveGroup *place;			/* NULL: no place in shared memory */
	DeriveGroup seen;			/* a copy of what is under the lock */
	DeriveReason missing;		/* why there is nobody to move views */
	DeriveReason busy;			/* what the worker is kept by */
	bool		much_to_read;	/* by the log */
	bool		failing;		/* it has had an error since its last batch */
	bool		current;		/* views that follow lack nothing */
	TimestampTz behind_since;	/* else: they lack nothing older */
	TimestampTz changed_at;		/* when the worker came or went */

	List	   *waiting;		/* of DeriveWaitingRow * */
	List	   *lanes;			/* of DeriveLaneRow * */
	List	   *stale;			/* of DeriveStale * */
	List	   *standings;		/* of DeriveStanding * */
} Look;

static DeriveReason
plainly(const char *what)
{
	DeriveReason reason = {what, what, NIL, 0};

	return reason;
}

static DeriveReason
in_private(const char *what, const char *in_general)
{
	DeriveReason reason = {what, in_general, NIL, 0};

	return reason;
}

static DeriveReason
for_lock(pid_t pid, Oid relid, LOCKMODE mode)
{
	DeriveReason reason = {NULL, "a lock", NIL, 0};

	reason.text = derive_lock_reason(pid, relid, mode, &reason.blockers);
	return reason;
}

/* A table gets its identity when its lock is free. */
static DeriveReason
for_identity(pid_t pid, Oid relid, LOCKMODE mode)
{
	DeriveReason reason = {NULL, "the replica identity of a table", NIL, 0};
	char	   *holders = derive_lock_holders(pid, relid, mode, &reason.blockers);

	reason.text = psprintf("replica identity of %s%s%s%s", derive_relation_name(relid),
						   *holders ? " (lock" : "", holders, *holders ? ")" : "");
	return reason;
}

/* A new slot waits for the end of all transactions that are older than it. */
static DeriveReason
for_transactions(const DeriveGroup *place)
{
	TransactionId awaited = derive_awaited_transaction(place->worker_pid);
	TransactionId cutoff = place->slot_cutoff;
	DeriveReason reason = {NULL, NULL, NIL, 0};
	StringInfoData text;
	List	   *older;
	ListCell   *lc;

	/* it waits in several steps, each of which begins anew */
	if (TransactionIdIsNormal(awaited) && !TransactionIdPrecedes(awaited, cutoff))
	{
		cutoff = awaited;
		TransactionIdAdvance(cutoff);
	}
	older = derive_older_transactions(cutoff, place->worker_pid);
	if (older == NIL)
		return plainly("its replication slot to be created");
	initStringInfo(&text);
	appendStringInfo(&text, "transactions older than %u to end (", cutoff);
	foreach(lc, older)
	{
		if (lfirst_int(lc) == 0)
			continue;
		appendStringInfo(&text, "%s%d", reason.blockers == NIL ? "pid " : ", ", lfirst_int(lc));
		reason.blockers = lappend_int(reason.blockers, lfirst_int(lc));
	}
	if (list_member_int(older, 0))
		appendStringInfo(&text, "%sa prepared transaction", reason.blockers == NIL ? "" : " and ");
	appendStringInfoChar(&text, ')');
	reason.text = reason.in_general = text.data;

	reason.lockers = place->slot_lockers;
	return reason;
}


/* ----------------------------------------------------------------
 *		The worker
 * ----------------------------------------------------------------
 */

/* Why does nobody move the views of this database?  No text: the worker reads the log. */
static DeriveReason
why_no_service(Look *look)
{
	const DeriveGroup *seen = &look->seen;
	DerivePlace what;
	Oid			relid;
	LOCKMODE	mode;

	if (look->standby)
		return plainly(NULL);
	if (derive_shared() == NULL)
		return plainly("pg_derive (shared_preload_libraries)");
	if (wal_level < WAL_LEVEL_LOGICAL)
		return plainly("the log to have rows (wal_level)");
	if (look->place == NULL || seen->worker_pid == 0)
	{
		if (!derive_has_launcher())
			return plainly("the launcher process (max_worker_processes)");
		what = look->place == NULL ? derive_group_place(MyDatabaseId, look->group) : DERIVE_PLACE_IS_THERE;
		if (what != DERIVE_PLACE_IS_THERE)
			return plainly(what == DERIVE_PLACES_TAKEN ? "a place among the databases (pg_derive.max_databases)" :
						   "a place among the groups of this database (pg_derive.max_groups)");
		if (look->place == NULL || seen->holds == 0)
			return plainly(look->place == NULL ? "the worker of this database to start" :
						   seen->no_process ? "a background worker (max_worker_processes)" :
						   seen->start_failures > 0 ? "the worker of this database, which has ended (see the server log)" :
						   "the worker of this database to start");
		return plainly("a command on the database to end");
	}
	if (seen->away_until != 0)
		return plainly(psprintf("another try at %s: %s", timestamptz_to_str(seen->away_until), seen->away_reason));
	if (seen->reading)
		return plainly(NULL);
	if (derive_blocked_get(&look->place->point.blocked_on, &relid, &mode) == DERIVE_BLOCKED_ON_XACTS)
		return for_transactions(seen);
	if (seen->slot_failures > 0)
		return plainly(max_replication_slots == 0 || seen->slot_sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED ?
					   "a replication slot (max_replication_slots)" :
					   psprintf("the replication slot: %s", seen->slot_error));
	return plainly("the worker of this database to start");
}

static uint64
log_to_read(DeriveGroup *place)
{
	uint64		upto = pg_atomic_read_u64(&place->read_upto);
	uint64		lsn = pg_atomic_read_u64(&place->read_lsn);

	return upto > lsn ? upto - lsn : 0;
}

/* What keeps the worker, as far as it takes longer than a moment? */
static DeriveReason
why_busy(Look *look)
{
	Oid			relid;
	LOCKMODE	mode;

	if (look->place == NULL || look->missing.text !=NULL)
		return plainly(NULL);
	if (derive_blocked_get(&look->place->point.blocked_on, &relid, &mode) == DERIVE_BLOCKED_ON_LOCK)
		return for_lock(look->seen.worker_pid, relid, mode);
	switch ((DeriveActivity) pg_atomic_read_u32(&look->place->activity))
	{
		case DERIVE_READING:
			if (log_to_read(look->place) < MUCH_LOG)
				break;
			look->much_to_read = true;
			return plainly(psprintf("the worker to read the log (%s left)",
									TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum((int64) log_to_read(look->place))))));
		default:
			break;
	}
	return plainly(look->failing ? "another try of the worker after an error (see derive.worker)" : NULL);
}

/* Do the views that follow lack something, and since when?  See the head of the file. */
static void
look_for_commits(Look *look, Snapshot snapshot)
{
	DeriveGroup *place = look->place;
	uint64		known = 0;

	if (place != NULL)
	{
		look->current = pg_atomic_read_u64(&place->covered_at) != 0 &&
			pg_atomic_read_u64(&place->commits_applied) == pg_atomic_read_u64(&place->commits);
		known = pg_atomic_read_u64(&place->behind_since);
		while (look->current && known < (uint64) look->now &&
			   !pg_atomic_compare_exchange_u64(&place->behind_since, &known, (uint64) look->now))
			;
	}
	look->behind_since = (TimestampTz) known;
	if (look->behind_since == 0)
		look->behind_since = derive_registry_committed_at(look->group, snapshot);
	if (look->behind_since == 0)
		look->behind_since = PgStartTime;
}

static void
look_around(Look *look, int group, Snapshot snapshot)
{
	memset(look, 0, sizeof(*look));
	look->group = group;
	look->now = GetCurrentTimestamp();
	pg_memory_barrier();
	look->standby = RecoveryInProgress();
	look->place = derive_group_mine(group);
	if (look->place != NULL)
	{
		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		look->seen = *look->place;
		LWLockRelease(derive_shared()->lock);
	}
	look->changed_at = look->seen.reading_changed_at != 0 ? look->seen.reading_changed_at : PgStartTime;
	look->missing = why_no_service(look);
	look->failing = look->place != NULL &&
		(uint64) look->seen.error_at > pg_atomic_read_u64(&look->place->covered_at);
	look->busy = why_busy(look);
	look_for_commits(look, snapshot);
}

/* The worker of a group. */
static DeriveService *
look_at_service(int group)
{
	DeriveService *service = palloc0(sizeof(DeriveService));
	Look		look;
	DeriveReason *reason;
	DeriveActivity activity;

	look_around(&look, group, NULL);
	service->group = group;
	service->pid = look.seen.worker_pid;
	if (look.place != NULL)
		service->lsn = pg_atomic_read_u64(&look.place->point.applied_lsn);
	service->current = look.current;
	service->error_at = look.seen.error_at;
	service->error = pstrdup(look.seen.error);
	reason = look.missing.text !=NULL ? &look.missing : &look.busy;
	activity = look.place != NULL ? pg_atomic_read_u32(&look.place->activity) : DERIVE_STARTING;
	if (service->pid == 0)
		service->state = "missing";
	else if (!look.seen.reading)
		service->state = "starting";
	else if (activity == DERIVE_READING || activity == DERIVE_MOVING)
		service->state = "running";
	else if (reason->text !=NULL)
		service->state = "waiting";
	else
		service->state = "idle";
	if (activity == DERIVE_READING && service->pid != 0 && look.seen.reading)
		service->activity = log_to_read(look.place) < MUCH_LOG ? "reading the log" :
			psprintf("reading the log, %s left",
					 TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum((int64) log_to_read(look.place)))));
	else if (activity == DERIVE_MOVING && service->pid != 0 && look.seen.reading)
		service->activity = "moving views";
	else if (reason->text !=NULL)
		service->activity = psprintf("waiting for %s", reason->text);
	return service;
}

List *
derive_services(void)
{
	List	   *groups = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	derive_require_version();
	foreach(lc, RecoveryInProgress() ? NIL : derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		groups = list_append_unique_int(groups, row->group);
		if (row->move_to >= 0)
			groups = list_append_unique_int(groups, row->move_to);
	}
	foreach(lc, groups)
		result = lappend(result, look_at_service(lfirst_int(lc)));
	return result;
}



/* ----------------------------------------------------------------
 *		A view
 * ----------------------------------------------------------------
 */

static DeriveWaitingRow *
waiting_of(Look *look, const DeriveViewRow *row)
{
	ListCell   *lc;

	foreach(lc, look->waiting)
	{
		DeriveWaitingRow *waiting = lfirst(lc);

		if (waiting->view == row->relid && waiting->declared_at == row->created_at)
			return waiting;
	}
	return NULL;
}

static DeriveLaneRow *
lane_of(Look *look, const DeriveViewRow *row)
{
	ListCell   *lc;

	foreach(lc, look->lanes)
	{
		DeriveLaneRow *lane = lfirst(lc);

		if (lane->view == row->relid && lane->declared_at == row->created_at)
			return lane;
	}
	return NULL;
}

static DeriveStale *
stale_of(Look *look, const DeriveViewRow *row)
{
	ListCell   *lc;

	foreach(lc, look->stale)
	{
		if (((DeriveStale *) lfirst(lc))->view == row->relid)
			return lfirst(lc);
	}
	return NULL;
}

/* If there is a reason, it is this one's. */
static bool
say(DeriveStanding *standing, DeriveReason reason)
{
	if (reason.text !=NULL)
		standing->reason = reason;
	return reason.text !=NULL;
}

/* The row was written when the view could not be moved; who holds the lock now is what counts. */
static DeriveReason
for_what_is_noted(Look *look, const DeriveWaitingRow *waiting)
{
	DeriveReason reason;

	if (waiting == NULL)
		return plainly(NULL);
	if (!OidIsValid(waiting->relation))
		return in_private(waiting->reason, "another try");
	reason = for_lock(look->seen.worker_pid, waiting->relation, waiting->mode);
	if (reason.blockers == NIL)
		reason.text = waiting->reason;	/* it is free by now, or a prepared
										 * transaction has it */
	else if (strstr(waiting->reason, DERIVE_PAST_IS_GONE) != NULL)
		reason.text = psprintf("%s%s", reason.text, DERIVE_PAST_IS_GONE);
	return reason;
}

/* What its next builder waits for, as the worker or the last one has said. */
static DeriveReason
for_builder(Look *look, const DeriveStats *stats)
{
	switch (stats->waits_for)
	{
		case DERIVE_WAITS_FOR_NOTHING:
			break;
		case DERIVE_WAITS_FOR_LOCK:
			return for_lock(look->seen.worker_pid, stats->waits_relation, stats->waits_mode);
		case DERIVE_WAITS_FOR_IDENTITY:
			return for_identity(0, stats->waits_relation, stats->waits_mode);
		case DERIVE_WAITS_FOR_VIEW:
			return in_private(psprintf("view %s, which it reads", derive_relation_name(stats->waits_relation)),
							  "a view that it reads");
		case DERIVE_WAITS_FOR_TURN:
			return plainly("its turn (pg_derive.max_builds)");
		case DERIVE_WAITS_FOR_PLACE:
			return plainly("its turn, after builds in other databases");
		case DERIVE_WAITS_FOR_PROCESS:
			return plainly("a background worker (max_worker_processes)");
		case DERIVE_WAITS_FOR_BATCH:
			return plainly("the next batch");
		case DERIVE_WAITS_FOR_LANE:
			return plainly("a run of the slow lane");
		case DERIVE_WAITS_FOR_RETRY:
			return plainly("another try after an error (see the server log)");
	}
	return plainly(NULL);
}

/* Does a process build it?  Then the standing says how far it is, and what it waits for. */
static bool
look_at_builder(DeriveStanding *standing)
{
	DeriveShared *shared = derive_shared();
	DeriveBuild *build = shared != NULL ? derive_build_find(MyDatabaseId, standing->row->relid) : NULL;
	Oid			relid;
	LOCKMODE	mode;

	if (build == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	standing->pid = build->pid;
	standing->phase = pstrdup(build->phase);
	standing->started_at = build->started_at;
	standing->phase_at = build->phase_at;
	LWLockRelease(shared->lock);
	standing->tuples_done = pg_atomic_read_u64(&build->tuples_done);
	standing->tuples_total = pg_atomic_read_u64(&build->tuples_total);
	standing->blocks_done = pg_atomic_read_u64(&build->blocks_done);
	standing->blocks_total = pg_atomic_read_u64(&build->blocks_total);
	if (derive_blocked_get(&build->blocked_on, &relid, &mode) == DERIVE_BLOCKED_ON_LOCK)
		standing->reason = strcmp(standing->phase, DERIVE_PHASE_IDENTITY) == 0 ?
			for_identity(standing->pid, relid, mode) : for_lock(standing->pid, relid, mode);
	return true;
}

static void
describe_build(Look *look, DeriveStanding *standing)
{
	DeriveStats stats;
	bool		known = derive_stats_get(standing->row->relid, &stats);

	if (look_at_builder(standing))
	{
		standing->state = standing->row->rebuild ? "rebuilding" : "building";
		if (!standing->row->rebuild)
			standing->since = Max(standing->since, standing->started_at);
		if (standing->reason.text == NULL && strcmp(standing->phase, DERIVE_PHASE_TRACKING) == 0)
			(void) (say(standing, look->busy) || say(standing, plainly("the next batch")));
		return;
	}
	standing->state = standing->row->rebuild ? "rebuilding" : "queued";
	if (look->standby)
	{
		standing->reason = plainly("the primary server");
		return;
	}
	if (!standing->row->rebuild && known && stats.waits_for != DERIVE_WAITS_FOR_NOTHING)
		standing->since = Max(standing->since, stats.waits_since);
	(void) (say(standing, look->missing) ||
			say(standing, for_what_is_noted(look, waiting_of(look, standing->row))) ||
			(known && say(standing, for_builder(look, &stats))) ||
			say(standing, look->busy) ||
			say(standing, plainly("its turn")));
}

/* Its error is in another column. */
static void
describe_failed(Look *look, DeriveStanding *standing)
{
	DeriveStats stats;
	bool		crashed = derive_has_failed_by_crash(standing->row);
	TimestampTz at = crashed ? standing->row->retry_at : TimestampTzPlusMilliseconds(standing->row->error_at, DERIVE_RETRY_PAUSE_MS);

	standing->state = "failed";
	if (standing->row->state != DERIVE_VIEW_FAILED)
	{
		(void) look_at_builder(standing);
		if (standing->reason.text == NULL)
			standing->reason = plainly("the end of another try");
	}
	else if (!standing->row->retry && !crashed)
		standing->reason = plainly("derive.repair()");
	else
	{
		/* the worker may have other plans, or not have told them yet */
		if (derive_stats_get(standing->row->relid, &stats) && stats.next_try_at != 0)
			at = stats.next_try_at;
		standing->reason = plainly(at <= look->now ? "another try" :
								   psprintf("another try at %s", timestamptz_to_str(at - at % USECS_PER_SEC)));
	}
}

/* Does a view that is computed by the slow lane wait for more than its turn? */
static DeriveReason
why_lane_waits(Look *look, const DeriveViewRow *row)
{
	DeriveAssistant *lane = &look->place->assistants[DERIVE_SLOW_LANE];
	Oid			relid;
	LOCKMODE	mode;

	if (look->seen.assistants[DERIVE_SLOW_LANE].pid == 0 && look->seen.assistants[DERIVE_SLOW_LANE].start_failures > 1)
		return plainly("a background worker (max_worker_processes)");
	if (derive_blocked_get(&lane->blocked_on, &relid, &mode) == DERIVE_BLOCKED_ON_LOCK &&
		(relid == row->relid || list_member_oid(derive_readers(relid), row->relid)))
		return for_lock(look->seen.assistants[DERIVE_SLOW_LANE].pid, relid, mode);
	return plainly(NULL);
}

static void
describe_ready(Look *look, DeriveStanding *standing)
{
	DeriveViewRow *row = standing->row;
	DeriveWaitingRow *waiting = waiting_of(look, row);
	DeriveLaneRow *lane = lane_of(look, row);
	DeriveStats stats;

	if (row->rebuild || (waiting != NULL && waiting->position == NULL))
	{
		standing->state = "rebuilding";
		if (!row->rebuild)
			standing->since = waiting->since;
		(void) (say(standing, look->missing) || say(standing, for_what_is_noted(look, waiting)) ||
				say(standing, look->busy) || say(standing, plainly("its next batch")));
		return;
	}
	if (say(standing, look->missing))
	{
		standing->state = "waiting";
		standing->since = Max(standing->since, look->changed_at);
		return;
	}
	if (say(standing, for_what_is_noted(look, waiting)))
	{
		standing->state = "waiting";
		standing->since = waiting->since;
		return;
	}
	if (lane != NULL && lane->error != NULL)
	{
		standing->state = "failed";
		standing->since = Max(standing->since, lane->error_at);
		standing->reason = plainly("another try, or a change of what it reads");
		return;
	}
	if (look->place != NULL && stale_of(look, row) != NULL && say(standing, why_lane_waits(look, row)))
	{
		standing->state = "waiting";
		return;
	}
	standing->state = "ready";
	standing->since = Max(standing->since, look->changed_at);
	if (row->move_to >= 0)
		standing->reason = plainly(psprintf("its move to group \"%s\"", derive_group_name(row->move_to)));
	if (derive_stats_get(row->relid, &stats))
	{
		standing->since = Max(standing->since, stats.came_back_at);
		if (OidIsValid(row->replaces) && say(standing, for_builder(look, &stats)))
			return;				/* to take the place of another one */
	}
	if (OidIsValid(row->replaces))
		standing->reason = plainly("the next batch");
	if (!look->current && look->now - look->behind_since >= LATE_US && say(standing, look->busy) &&
		(look->busy.blockers != NIL || look->failing))
		standing->state = "waiting";
}

static TimestampTz
earlier(TimestampTz a, TimestampTz b)
{
	return a == 0 ? b : b == 0 ? a : Min(a, b);
}

/* Since when does it lack something?  For one that stands still the catalog knows. */
static void
look_at_lag(Look *look, DeriveStanding *standing)
{
	DeriveViewRow *row = standing->row;
	DeriveWaitingRow *waiting = row->state == DERIVE_VIEW_READY ? waiting_of(look, row) : NULL;
	DeriveLaneRow *lane = row->state == DERIVE_VIEW_READY ? lane_of(look, row) : NULL;
	DeriveStale *stale = lane != NULL ? stale_of(look, row) : NULL;
	TimestampTz all = look->current ? 0 : look->behind_since;

	standing->lag_known = !look->standby;
	if (row->state == DERIVE_VIEW_PAUSED || row->error != NULL)
		standing->behind_since = !derive_is_populated(row->relid) ? row->since :
			row->behind_since != 0 ? row->behind_since : all;
	else if ((row->state == DERIVE_VIEW_BUILDING || row->state == DERIVE_VIEW_CATCHUP) && !row->rebuild)
		standing->lag_known = false;
	else if (row->state != DERIVE_VIEW_READY || row->rebuild)
		standing->behind_since = row->behind_since != 0 ? row->behind_since : row->since;
	else if (waiting != NULL)
		standing->behind_since = waiting->behind_since;
	else if (lane != NULL && lane->error != NULL)
		standing->behind_since = earlier(lane->behind_since, stale != NULL ? stale->behind_since : 0);
	else
		standing->behind_since = stale != NULL ? earlier(stale->behind_since, all) : all;
}

/* Does it wait for that?  How far has the worker come? */
static void
look_at_reading(Look *look, DeriveStanding *standing)
{
	DeriveGroup *place = look->place;

	if (!look->much_to_read || standing->pid != 0 || standing->reason.text !=look->busy.text)
		return;
	standing->log_total = pg_atomic_read_u64(&place->read_upto) - pg_atomic_read_u64(&place->read_from);
	standing->log_done = standing->log_total - Min(log_to_read(place), standing->log_total);
	standing->phase_at = (TimestampTz) pg_atomic_read_u64(&place->read_since);
}

static void
describe(Look *look, DeriveStanding *standing)
{
	DeriveViewRow *row = standing->row;

	standing->since = row->since;
	if (row->state == DERIVE_VIEW_PAUSED)
	{
		standing->state = "paused";
		standing->reason = plainly("derive.resume()");
	}
	else if (row->error != NULL)
		describe_failed(look, standing);
	else if (row->state == DERIVE_VIEW_BUILDING)
		describe_build(look, standing);
	else if (row->state == DERIVE_VIEW_CATCHUP)
	{
		standing->state = row->rebuild ? "rebuilding" : "catching up";
		(void) (say(standing, look->missing) || say(standing, for_what_is_noted(look, waiting_of(look, row))) ||
				say(standing, look->busy) || say(standing, plainly("its next batch")));
	}
	else
		describe_ready(look, standing);
	look_at_lag(look, standing);
	look_at_reading(look, standing);
}

/*
 * A view that is paused or has failed is read as the table that it is, by the views over
 * it, and those over them: these move, but do not contain what it lacks.
 */
static void
pass_on(Look *look, DeriveStanding *source)
{
	List	   *todo = list_make1(source);

	/* each of them once, by however many ways it reads the view */
	for (int i = 0; i < list_length(todo); i++)
	{
		Oid			read = ((DeriveStanding *) list_nth(todo, i))->row->relid;
		List	   *readers = derive_readers(read);
		ListCell   *lc;

		foreach(lc, look->standings)
		{
			DeriveStanding *reader = lfirst(lc);

			/* what is to take its place goes with it, but does not read it */
			if (!list_member_oid(readers, reader->row->relid) || reader->row->replaces == read)
				continue;
			todo = list_append_unique_ptr(todo, reader);
			reader->behind_since = earlier(reader->behind_since, source->behind_since);
			if (strcmp(reader->state, "ready") != 0)
				continue;
			reader->state = "waiting";
			reader->lacking = source->row->relid;
			reader->since = Max(reader->since, source->since);
			reader->reason = in_private(psprintf("view %s, which it reads and which %s", derive_relation_name(source->row->relid),
												 strcmp(source->state, "paused") == 0 ? "is paused" : "has failed"),
										"a view that it reads");
		}
	}
}

/* The views of a group, of these rows. */
static List *
standings_of_group(int group, List *rows, Snapshot snapshot)
{
	Look		look;
	ListCell   *lc;

	look_around(&look, group, snapshot);
	look.waiting = derive_waiting_all_at(snapshot);
	look.lanes = derive_lane_all(snapshot);
	look.stale = derive_stale_all(snapshot);
	foreach(lc, rows)
	{
		DeriveStanding *standing;

		if (((DeriveViewRow *) lfirst(lc))->group != group)
			continue;
		standing = palloc0(sizeof(DeriveStanding));
		standing->row = lfirst(lc);
		describe(&look, standing);
		look.standings = lappend(look.standings, standing);
	}
	foreach(lc, look.standings)
	{
		DeriveStanding *standing = lfirst(lc);

		if (strcmp(standing->state, "paused") == 0 || strcmp(standing->state, "failed") == 0)
			pass_on(&look, standing);
	}
	return look.standings;
}

List *
derive_standings(Snapshot snapshot)
{
	List	   *rows;
	List	   *groups = NIL;
	List	   *result = NIL;
	ListCell   *lc;

	derive_require_version();
	rows = derive_registry_all_at(snapshot);
	foreach(lc, rows)
		groups = list_append_unique_int(groups, ((DeriveViewRow *) lfirst(lc))->group);
	foreach(lc, groups)
		result = list_concat(result, standings_of_group(lfirst_int(lc), rows, snapshot));
	return result;
}

const char *
derive_reason_text(const DeriveStanding *standing)
{
	return derive_may_see_errors(standing->row->relid) ? standing->reason.text : standing->reason.in_general;
}

const char *
derive_waits_for(Oid view)
{
	ListCell   *lc;

	foreach(lc, derive_standings(NULL))
	{
		if (((DeriveStanding *) lfirst(lc))->row->relid == view)
			return derive_reason_text(lfirst(lc));
	}
	return NULL;
}
