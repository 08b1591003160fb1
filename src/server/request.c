/*-------------------------------------------------------------------------
 *
 * request.c
 *	  A session's side: asking the worker of a group of views, or its verifier, for
 *	  something, and waiting for it.
 *
 * Whoever waits here looks at the world after every wake-up: that a worker runs
 * (if not, the launcher is asked for one), that no worker or builder waits for
 * a lock of this very session, and, for waits on views, what the registry says.
 * All waits end on a cancel, and a request that was given up is taken back.  The
 * places for requests are limited; who finds none waits for one.
 *
 * A view may move to another group meanwhile (moves.c), and a group may lose its last view, so
 * that its worker leaves and its place is another group's.  So who waits looks first whether his views are in
 * the group still, and asks for its worker only then; else the wait, or the request, begins anew
 * with what the registry says by now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/groups.h"
#include "base/lane.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/waiting.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "server/background.h"
#include "server/crashed_view.h"
#include "server/dependents.h"
#include "server/request.h"
#include "server/requirements.h"
#include "server/shmem.h"
#include "server/standing.h"
#include "server/verifier.h"
#include "storage/ipc.h"
#include "utils/inval.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* So many failed starts of the worker, or errors in a row that keep it from reading, and it is said aloud. */
#define TOO_MANY_STARTS 3
#define TOO_MANY_ERRORS 5

/* Nobody waits for a worker that stays away for so long. */
#define LONG_AWAY_MS	15000

/* A message names so many views. */
#define MAX_NAMED 10

/* Look so often at what only changes slowly. */
#define LOOK_MS 1000

typedef struct ViewWait
{
	DeriveGroup *place;
	int			group;			/* its number */
	Oid			view;			/* InvalidOid: all of that group */
	bool		moved;			/* what is waited for is not there any more:
								 * begin anew */
	XLogRecPtr	lsn;
	MemoryContext cxt;			/* reset with every look */
} ViewWait;

typedef struct RequestWait
{
	DeriveGroup *place;
	int			group;			/* its number */
	DeriveRequestKind kind;
	Oid			view;
	bool		moved;			/* the view, or the group's place, is another
								 * one now: begin anew */
	bool		missing_ok;		/* the view may be gone by now, ... */
	bool		gone;			/* ... and is */
	uint64		number;
	DeriveRequest *request;		/* NULL until there is a place for it */
	DeriveRequest seen;			/* as it was last seen; in the end the answer */
	int			failures;		/* to start the verifier, before this call */
	int64		looked_at;		/* at what only changes slowly */
	MemoryContext cxt;			/* reset with every look */
} RequestWait;

static DeriveGroup *find_service(int group);
static void check_extension(void);
static bool check_service(DeriveGroup *place, int group);
static bool check_view_row(const DeriveViewRow *row, XLogRecPtr lsn, bool reached);
static bool view_reached(void *arg, bool reached);
static bool request_answered(void *arg, bool reached);
static void give_up_request(int code, Datum arg);
static bool run_request(RequestWait *wait, int64 timeout_ms);
static void refuse_uncommitted(Oid view);


void
derive_require_service(void)
{
	derive_requirements_report(ERROR, true);
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("views are not maintained on a standby server"),
				 errhint("Call this function on the primary server.")));
}

void
derive_refuse_group(int group)
{
	if (derive_group_place(MyDatabaseId, group) == DERIVE_TOO_MANY_GROUPS)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many groups with maintained views in database \"%s\"", get_database_name(MyDatabaseId)),
				 errdetail_internal("%s", derive_requirement_words("pg_derive.max_groups")),
				 errhint("Put the view into a group that has views, or increase \"pg_derive.max_groups\".")));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many databases with maintained views"),
			 errdetail_internal("%s", derive_requirement_words("pg_derive.max_databases")),
			 errhint("Increase \"pg_derive.max_databases\" and restart the server.")));
}

/*
 * A function of a view, which our own process runs, would wait for itself, or for
 * others of its kind.
 */
static void
refuse_in_worker(void)
{
	if (derive_is_worker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a maintained view cannot wait for maintained views"),
				 errdetail("A function that it calls asks the worker process for something, or waits for it.")));
}

/* The place of the group in shared memory, taken if need be. */
static DeriveGroup *
find_service(int group)
{
	DeriveGroup *place;

	refuse_in_worker();
	derive_require_service();
	place = derive_group_mine(group);
	if (place == NULL || !derive_group_has_worker(place))
		place = derive_group_want(MyDatabaseId, group);
	if (place == NULL)
		derive_refuse_group(group);
	return place;
}

/* While waiting: somebody may drop the extension. */
static void
check_extension(void)
{
	AcceptInvalidationMessages();
	if (!OidIsValid(derive_extension_oid(true)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"pg_derive\" was dropped")));
}

/*
 * While waiting: is there somebody who can do it, and free to do so?  ERROR if there will not be; false
 * if the place is no longer the group's, since it had no view for a while.
 */
static bool
check_service(DeriveGroup *place, int group)
{
	DeriveShared *shared = derive_shared();
	DeriveGroup now;
	int			i;

	check_extension();
	if (pg_atomic_read_u64(&place->id) != DERIVE_GROUP_ID(MyDatabaseId, group))
		return false;

	LWLockAcquire(shared->lock, LW_SHARED);
	now = *place;
	LWLockRelease(shared->lock);

	if (now.worker_pid == 0)
	{
		if (now.start_failures >= TOO_MANY_STARTS && now.no_process)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no background worker is left to maintain the views of this database"),
					 errhint("Increase \"max_worker_processes\" and restart the server.")));
		if (now.start_failures >= TOO_MANY_STARTS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the worker process that maintains the views of this database ends whenever it is started"),
					 errhint("See the server log.")));
		(void) derive_group_want(MyDatabaseId, group);
	}
	else if (TimestampDifferenceExceeds(GetCurrentTimestamp(), now.away_until, LONG_AWAY_MS))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the worker process that maintains the views of this database stays away until %s: %s",
						timestamptz_to_str(now.away_until), now.away_reason),
				 errhint("See the server log. derive.repair() for a view has it try at once.")));
	else if (now.slot_failures >= TOO_MANY_ERRORS)
		ereport(ERROR,
				(errcode(now.slot_sqlerrcode),
				 errmsg("the worker process that maintains the views of this database cannot read the log: %s",
						now.slot_error),
				 errhint("%s", now.slot_hint)));

	derive_blocked_check(&place->assistants[DERIVE_SLOW_LANE].blocked_on);
	for (i = 0; i < DERIVE_MAX_BUILD_SLOTS; i++)
	{
		if (shared->builds[i].group == pg_atomic_read_u64(&place->id) && OidIsValid(shared->builds[i].view))
			derive_blocked_check(&shared->builds[i].blocked_on);
	}
	return true;
}


/* ----------------------------------------------------------------
 *		Waiting for views
 * ----------------------------------------------------------------
 */

/* What this transaction has declared, nobody else can see. */
static void
refuse_uncommitted(Oid view)
{
	if (derive_registry_changed_here(view))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for view \"%s\" in the transaction that declared or changed it",
						get_rel_name(view)),
				 errdetail("Its maintenance begins when this transaction commits."),
				 errhint("Commit first, then wait.")));
}

/*
 * Does the view stand still?  ERROR if it, or a view that it reads, does so because of a
 * lock of this very session.
 */
static bool
is_waiting(const DeriveViewRow *row)
{
	DeriveWaitingRow *waiting = derive_waiting_get(row->relid);
	ListCell   *lc;

	if (waiting == NULL || waiting->declared_at != row->created_at)
		return false;
	foreach(lc, OidIsValid(waiting->relation) ? list_make1(waiting) : derive_waiting_all())
	{
		DeriveWaitingRow *other = lfirst(lc);

		if (OidIsValid(other->relation) &&
			(other == waiting || derive_view_reads(row->relid, other->view)))
			derive_blocked_check_lock(other->relation, other->mode);
	}
	return true;
}

/*
 * Why the view in the slow lane that was to be computed anew could not be, and nothing
 * has changed since; or NULL.
 */
static const char *
lane_error(const DeriveViewRow *row)
{
	DeriveLaneRow *lane = row->state == DERIVE_VIEW_READY ? derive_lane_of(row, NULL) : NULL;

	return lane != NULL && derive_stale_get(row->relid, NULL) == NULL ? lane->error : NULL;
}

/*
 * Has it its own pace, and not come that far?  It may contain what is waited for and
 * lack something else already.
 */
static bool
is_behind(const DeriveViewRow *row, XLogRecPtr lsn)
{
	DeriveLaneRow *lane = derive_lane_of(row, NULL);

	return lane != NULL && lane->lsn < lsn && derive_stale_get(row->relid, NULL) != NULL;
}

static void
report_error(const DeriveViewRow *row, const char *error, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("maintenance of view \"%s\" has failed", get_rel_name(row->relid)),
			 error && derive_may_see_errors(row->relid) ? errdetail("The error was: %s", error) : 0,
			 errhint("%s", hint)));
}

/*
 * Is the view where it should be?  ERROR if it will not get there.  What stale and lane
 * say is of the batch that has reached the LSN, or of a later one.
 */
static bool
check_view_row(const DeriveViewRow *row, XLogRecPtr lsn, bool reached)
{
	switch (row->state)
	{
		case DERIVE_VIEW_READY:
			if (reached && lane_error(row) != NULL)
				report_error(row, lane_error(row),
							 "Remove the cause; the view is computed again when something that it reads changes, or by derive.repair().");
			return !is_waiting(row) && !row->rebuild && !is_behind(row, lsn);
		case DERIVE_VIEW_BUILDING:
		case DERIVE_VIEW_CATCHUP:
			(void) is_waiting(row);
			return false;
		case DERIVE_VIEW_PAUSED:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("maintenance of view \"%s\" is paused", get_rel_name(row->relid)),
					 errhint("Call derive.resume() for the view.")));
			break;
		case DERIVE_VIEW_FAILED:
			report_error(row, row->error, row->retry ?
						 "Remove the cause; the view is tried again when something that it reads changes, or by derive.repair()." :
						 derive_has_failed_by_crash(row) ?
						 psprintf("Remove the cause; the view is tried again at %s, or by derive.repair().", derive_retry_time(row)) :
						 "Remove the cause, then call derive.repair() for the view.");
			break;
	}
	return false;
}

/* Has failed, and is tried again now? */
static bool
is_being_tried(const DeriveViewRow *row)
{
	return (row->state == DERIVE_VIEW_BUILDING || row->state == DERIVE_VIEW_CATCHUP) && row->error != NULL;
}

/* May it be waited for, and if not, does it concern the caller? */
static bool
stands_still(const DeriveViewRow *row)
{
	return row->state == DERIVE_VIEW_PAUSED || row->state == DERIVE_VIEW_FAILED || is_being_tried(row) ||
		lane_error(row) != NULL;
}

/*
 * Those of all views that a wait for all of them is for: the caller may read them, and they do not stand
 * still, unless there are no others.  Of DeriveViewRow *.
 */
static List *
rows_to_wait_for(void)
{
	List	   *result = NIL;
	DeriveViewRow *still = NULL;
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (!derive_may_watch(row->relid))
			continue;
		if (stands_still(row))
			still = row;
		else
			result = lappend(result, row);
	}
	return result == NIL && still != NULL ? list_make1(still) : result;
}

/* Those in the group; *any: are there some? */
static bool
check_all_rows(int group, XLogRecPtr lsn, bool reached, bool *any)
{
	bool		result = true;
	ListCell   *lc;

	*any = false;
	foreach(lc, rows_to_wait_for())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->group != group)
			continue;
		*any = true;
		if (!check_view_row(row, lsn, reached))
			result = false;
	}
	return result;
}

/* For whom nobody has waited; and who is there, but lacks what those lack. */
static void
report_standing_still(void)
{
	StringInfoData names;
	StringInfoData readers;
	bool		any = false;
	bool		still = false;
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		still = still || row->state == DERIVE_VIEW_PAUSED || row->state == DERIVE_VIEW_FAILED || is_being_tried(row);
		any = any || derive_may_watch(row->relid);
	}
	foreach(lc, derive_lane_all(NULL))
		still = still || ((DeriveLaneRow *) lfirst(lc))->error != NULL;
	initStringInfo(&names);
	initStringInfo(&readers);
	foreach(lc, still ? derive_standings(NULL) : NIL)
	{
		DeriveStanding *standing = lfirst(lc);
		Oid			relid = standing->row->relid;

		if (!derive_may_watch(relid))
			continue;
		if (stands_still(standing->row))
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", get_rel_name(relid));
		else if (OidIsValid(standing->lacking))
			appendStringInfo(&readers, "%s\"%s\"", readers.len > 0 ? ", " : "", get_rel_name(relid));
	}
	if (names.len > 0)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("not waiting for views that are paused or have failed: %s", names.data),
				 readers.len == 0 ? 0 : errdetail("Views that read them lack what they lack: %s.", readers.data)));
	else if (readers.len > 0)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("views that read others which are paused or have failed lack what these lack: %s", readers.data)));
	if (!any)
		ereport(NOTICE,
				(errmsg("you may read none of the maintained views of this database")));
}

/* The view has come that far, but does it read one that has not? */
static void
report_lacking(Oid view)
{
	ListCell   *lc;

	foreach(lc, derive_standings(NULL))
	{
		DeriveStanding *standing = lfirst(lc);

		if (standing->row->relid == view && OidIsValid(standing->lacking))
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("view \"%s\" lacks what a view that it reads lacks", get_rel_name(view)),
					 derive_reason_text(standing) == NULL ? 0 :
					 errdetail("It waits for %s.", derive_reason_text(standing))));
	}
}

/* The time was over.  Why is the view, or are views, not there?  InvalidOid: all that one may read. */
static void
report_timeout(Oid view)
{
	StringInfoData detail;
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&detail);
	foreach(lc, derive_standings(NULL))
	{
		DeriveStanding *standing = lfirst(lc);
		Oid			relid = standing->row->relid;
		const char *what = derive_reason_text(standing);

		if (OidIsValid(view) ? relid != view : (!derive_may_watch(relid) || stands_still(standing->row)))
			continue;
		if (what == NULL && strcmp(standing->state, "ready") == 0)
			continue;
		if (++n > MAX_NAMED)
			continue;
		appendStringInfo(&detail, "%sView \"%s\" is %s", n > 1 ? "\n" : "", get_rel_name(relid), standing->state);
		if (what != NULL)
			appendStringInfo(&detail, "%s waits for: %s", strcmp(standing->state, "waiting") == 0 ? ", it" : " and", what);
		appendStringInfoChar(&detail, '.');
	}
	if (n > MAX_NAMED)
		appendStringInfo(&detail, "\nThere are %d others, see derive.views.", n - MAX_NAMED);
	ereport(NOTICE,
			(OidIsValid(view) ?
			 errmsg("timed out while waiting for view \"%s\"", get_rel_name(view)) :
			 errmsg("timed out while waiting for maintained views"),
			 detail.len > 0 ? errdetail_internal("%s", detail.data) :
			 errdetail("The worker process of this database has not come that far, see derive.worker.")));
}

static bool
view_reached(void *arg, bool reached)
{
	ViewWait   *wait = arg;
	MemoryContext oldcontext = MemoryContextSwitchTo(wait->cxt);
	bool		result;

	check_extension();
	if (OidIsValid(wait->view))
	{
		DeriveViewRow *row = derive_registry_get(wait->view);

		if (row == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the view is no longer maintained")));
		wait->moved = row->group != wait->group;
		result = !wait->moved && check_view_row(row, wait->lsn, reached);
	}
	else
	{
		bool		any;

		result = check_all_rows(wait->group, wait->lsn, reached, &any);
		wait->moved = !any;
	}
	wait->moved = wait->moved || !check_service(wait->place, wait->group);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(wait->cxt);

	if (!(result && reached) && pg_atomic_read_u32(&wait->place->sleeping) != 0)
		derive_group_wake(wait->place);
	return wait->moved || (result && reached);
}

/* False on timeout. */
static bool
wait_in_group(ViewWait *wait, int group, int64 timeout_ms)
{
	wait->group = group;
	wait->place = find_service(group);
	wait->moved = false;
	return derive_wait_until(&wait->place->point, wait->lsn, timeout_ms, view_reached, wait);
}

/* In its group, whichever that is. */
static bool
wait_for_one(ViewWait *wait, int64 timeout_ms)
{
	int64		start = derive_monotonic_ms();
	bool		result;

	do
	{
		DeriveViewRow *row = derive_registry_get(wait->view);

		if (row == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the view is no longer maintained")));
		result = wait_in_group(wait, row->group, derive_time_left(start, timeout_ms));
	} while (result && wait->moved);
	return result;
}

/* Is each view in the group in which it was? */
static bool
same_groups(List *rows, List *before)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, rows)
	{
		foreach(lc2, before)
		{
			DeriveViewRow *row = lfirst(lc2);

			if (row->relid == ((DeriveViewRow *) lfirst(lc))->relid && row->group != ((DeriveViewRow *) lfirst(lc))->group)
				return false;
		}
	}
	return true;
}

/* Have all of them left this group? */
static bool
none_in_group(int group)
{
	ListCell   *lc;

	foreach(lc, rows_to_wait_for())
	{
		if (((DeriveViewRow *) lfirst(lc))->group == group)
			return false;
	}
	return true;
}

/*
 * Group after group; once more if a view may have gone from one that we have still to wait for to one of
 * the others.  Groups of which the caller may read nothing are none of his business.
 */
static bool
wait_for_all(ViewWait *wait, int64 timeout_ms)
{
	int64		start = derive_monotonic_ms();
	List	   *rows;
	List	   *before;
	bool		again;

	refuse_in_worker();
	derive_require_service();
	rows = rows_to_wait_for();
	do
	{
		List	   *groups = NIL;
		ListCell   *lc;

		before = rows;
		again = false;
		foreach(lc, rows)
			groups = list_append_unique_int(groups, ((DeriveViewRow *) lfirst(lc))->group);
		foreach(lc, groups)
		{
			if (none_in_group(lfirst_int(lc)))
				continue;
			if (!wait_in_group(wait, lfirst_int(lc), derive_time_left(start, timeout_ms)))
				return false;
			again |= wait->moved;
		}
		rows = rows_to_wait_for();
	} while (again || !same_groups(rows, before));
	return true;
}

bool
derive_wait_for_view(Oid view, XLogRecPtr lsn, int64 timeout_ms)
{
	ViewWait	wait = {0};
	bool		result;

	lsn = derive_wait_target(lsn);
	if (OidIsValid(view))
		refuse_uncommitted(view);
	else
	{
		List	   *rows = derive_registry_all();
		ListCell   *lc;

		if (rows == NIL)
		{
			ereport(NOTICE,
					(errmsg("no view is maintained in this database")));
			return true;
		}
		foreach(lc, rows)
			refuse_uncommitted(((DeriveViewRow *) lfirst(lc))->relid);
	}

	wait.view = view;
	wait.lsn = lsn;
	wait.cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive wait",
									 ALLOCSET_SMALL_SIZES);
	result = OidIsValid(view) ? wait_for_one(&wait, timeout_ms) : wait_for_all(&wait, timeout_ms);
	MemoryContextDelete(wait.cxt);
	if (!result)
		report_timeout(view);
	if (!OidIsValid(view))
		report_standing_still();
	else if (result && pg_atomic_read_u32(&wait.place->still) > 0)
		report_lacking(view);
	return result;
}


/* ----------------------------------------------------------------
 *		Waiting for something else
 * ----------------------------------------------------------------
 */

typedef struct WorkerWait
{
	DeriveGroup *place;
	int			group;			/* its number */
	Oid			view;
	bool		moved;			/* as in a ViewWait */
	DeriveWaitCheck check;
	void	   *arg;
} WorkerWait;

/* That of a view; -1 for one that is not maintained, of which the check will tell. */
static int
group_of(Oid view)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive group of a view", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch); /* one may wait for long */
	DeriveViewRow *row = derive_registry_get(view);
	int			result = row != NULL ? row->group : -1;

	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return result;
}

static bool
check_with_service(void *arg, bool reached)
{
	WorkerWait *wait = arg;
	int			group = group_of(wait->view);

	wait->moved = group >= 0 && (group != wait->group || !check_service(wait->place, group));
	return wait->moved || wait->check(wait->arg, reached);
}

bool
derive_wait_for_worker(Oid view, int64 timeout_ms, DeriveWaitCheck check, void *arg)
{
	int64		start = derive_monotonic_ms();
	WorkerWait	wait = {.view = view,.check = check,.arg = arg};
	bool		result;

	do
	{
		wait.group = group_of(view);
		if (wait.group < 0 && check(arg, true))
			return true;
		wait.group = Max(wait.group, DERIVE_DEFAULT_GROUP);
		wait.place = find_service(wait.group);
		result = derive_wait_until(&wait.place->point, InvalidXLogRecPtr, derive_time_left(start, timeout_ms), check_with_service, &wait);
	} while (result && wait.moved);
	return result;
}

int64
derive_timeout_ms(const Interval *timeout)
{
	int64		result = timeout->time / 1000 +
	((int64) timeout->day + (int64) timeout->month * DAYS_PER_MONTH) * (int64) SECS_PER_DAY * 1000;

	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return result;
}


/* ----------------------------------------------------------------
 *		Requests
 * ----------------------------------------------------------------
 */

/* How often, in a row, did the verifier not start? */
static int
verifier_failures(DeriveGroup *place)
{
	DeriveAssistant *verifier = &place->assistants[DERIVE_VERIFIER];
	int			result;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	result = verifier->pid == 0 ? verifier->start_failures : 0;
	LWLockRelease(derive_shared()->lock);
	return result;
}

/* ERROR if nobody will serve a request for verifying. */
static void
check_verifier(RequestWait *wait)
{
	/* one start may be under way */
	if (verifier_failures(wait->place) - wait->failures > TOO_MANY_STARTS)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the process that verifies views of this database cannot be started"),
				 errhint("See the server log; \"max_worker_processes\" may be too small.")));
	derive_blocked_check(&wait->place->assistants[DERIVE_VERIFIER].blocked_on);
}

/*
 * ERROR if the view cannot get there.  Who drops the extension has locked our
 * tables, and may wait for the verifier, which only we can make give way: so do
 * not wait for them.
 */
static void
check_view(RequestWait *wait)
{
	List	   *tables = list_make2_oid(derive_registry_table_oid("views", true),
										derive_registry_table_oid("waiting", true));
	int			locked = 0;

	while (locked < list_length(tables) && OidIsValid(list_nth_oid(tables, locked)) &&
		   ConditionalLockRelationOid(list_nth_oid(tables, locked), AccessShareLock))
		locked++;
	if (locked == list_length(tables) || !OidIsValid(linitial_oid(tables)))
	{
		DeriveViewRow *row = derive_registry_get(wait->view);

		wait->moved = row == NULL || row->group != wait->group;
		if (row != NULL)
			(void) is_waiting(row);
	}
	while (locked > 0)
		UnlockRelationOid(list_nth_oid(tables, --locked), AccessShareLock);
}

/* Once in a while: is there still somebody and something to wait for? */
static void
look_around(RequestWait *wait)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(wait->cxt);

	if (wait->kind == DERIVE_REQUEST_VERIFY)
		derive_verifier_look_after(wait->place, &wait->seen);
	check_view(wait);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(wait->cxt);
	wait->looked_at = derive_monotonic_ms();
}

/* Is it there still?  It is not if the group has had no place meanwhile. */
static bool
look_at_request(RequestWait *wait)
{
	return wait->request == NULL || derive_request_look(wait->request, wait->number, &wait->seen);
}

static bool
request_answered(void *arg, bool reached)
{
	RequestWait *wait = arg;
	bool		is_there = look_at_request(wait);

	if (is_there && (wait->seen.status == DERIVE_REQUEST_DONE || wait->seen.status == DERIVE_REQUEST_ERROR))
		return true;
	check_extension();
	if (!derive_group_has_worker(wait->place) || derive_has_elapsed(wait->looked_at, LOOK_MS))
		look_around(wait);
	wait->moved = wait->moved || !is_there || !check_service(wait->place, wait->group);
	if (wait->moved)
		return true;

	if (wait->request == NULL)
	{
		DERIVE_DEBUG_POINT("request-submit");
		wait->request = derive_request_submit(wait->place, DERIVE_GROUP_ID(MyDatabaseId, wait->group),
											  wait->number, wait->kind, wait->view);
		wait->moved = !look_at_request(wait);
	}
	if (wait->kind == DERIVE_REQUEST_VERIFY)
		check_verifier(wait);
	if (pg_atomic_read_u32(&wait->place->sleeping) != 0 && wait->seen.status == DERIVE_REQUEST_PENDING)
		derive_group_wake(wait->place);
	return wait->moved;
}

static void
give_up_request(int code, Datum arg)
{
	RequestWait *wait = (RequestWait *) DatumGetPointer(arg);

	if (wait->request != NULL)
		derive_request_release(wait->place, wait->request, wait->number);
}

/* Of its group: submit, wait, copy the answer to wait->seen, release.  False on timeout. */
static bool
run_request_in_group(RequestWait *wait, int64 timeout_ms)
{
	bool		result;

	memset(&wait->seen, 0, sizeof(wait->seen));
	wait->request = NULL;
	wait->moved = false;
	wait->place = find_service(wait->group);
	wait->number = derive_request_number();
	wait->failures = verifier_failures(wait->place);
	wait->looked_at = derive_monotonic_ms();
	wait->cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive request",
									  ALLOCSET_SMALL_SIZES);
	PG_ENSURE_ERROR_CLEANUP(give_up_request, PointerGetDatum(wait));
	{
		result = derive_wait_until(&wait->place->point, InvalidXLogRecPtr, timeout_ms,
								   request_answered, wait);
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_up_request, PointerGetDatum(wait));
	give_up_request(0, PointerGetDatum(wait));
	MemoryContextDelete(wait->cxt);
	return result;
}

/*
 * The same of the group in which the view is when it is answered.  Of a view that is no longer maintained:
 * ERROR, or, if missing_ok, wait->gone is set.
 */
static bool
run_request(RequestWait *wait, int64 timeout_ms)
{
	int64		start = derive_monotonic_ms();
	DeriveViewRow *row = derive_registry_get(wait->view);
	bool		result;

	do
	{
		wait->gone = row == NULL;
		if (wait->gone && wait->missing_ok)
			return true;
		if (wait->gone)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the view is no longer maintained")));
		wait->group = row->group;
		result = run_request_in_group(wait, derive_time_left(start, timeout_ms));
		row = derive_registry_get(wait->view);
	} while (result && (wait->moved || (wait->seen.status == DERIVE_REQUEST_ERROR && (row == NULL || row->group != wait->group))));
	return result;
}

/* In words: what was it that the verification waited for? */
static char *
reason_for_waiting(RequestWait *wait)
{
	DeriveVerifier *verifier = &wait->place->verifier;
	char		phase[DERIVE_PHASE_LENGTH];
	DeriveViewRow *row = derive_registry_get(wait->view);
	Oid			view;
	char	   *name;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	view = verifier->view;
	memcpy(phase, verifier->phase, sizeof(phase));
	LWLockRelease(derive_shared()->lock);

	if (wait->seen.status == DERIVE_REQUEST_RUNNING && row != NULL && is_waiting(row))
		return pstrdup("The view cannot be moved at present, see derive.views.");
	if (wait->seen.status == DERIVE_REQUEST_RUNNING)
		return psprintf("The process that verifies it was last seen %s.", phase);
	name = OidIsValid(view) && derive_may_watch(view) ? get_rel_name(view) : NULL;
	if (OidIsValid(view) && name == NULL)
		return pstrdup("Its turn had not come, another view was being verified for another session.");
	if (name != NULL)
		return psprintf("Its turn had not come, view \"%s\" was being verified for another session.",
						name);
	return pstrdup("The process that verifies views had not started.");
}

bool
derive_verify_view(Oid view, bool missing_ok, int64 timeout_ms, int64 *missing, int64 *extra)
{
	RequestWait wait = {.kind = DERIVE_REQUEST_VERIFY,.view = view,.missing_ok = missing_ok};

	refuse_uncommitted(view);
	if (!run_request(&wait, timeout_ms))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("could not verify view \"%s\" within the timeout", get_rel_name(view)),
				 errdetail_internal("%s", reason_for_waiting(&wait))));
	if (wait.gone)
		return false;
	if (wait.seen.status == DERIVE_REQUEST_ERROR)
		ereport(ERROR,
				(errcode(wait.seen.sqlerrcode),
				 errmsg("could not verify view \"%s\"", get_rel_name(view)),
				 derive_may_see_errors(view) ? errdetail_internal("%s", wait.seen.error) : 0));
	*missing = wait.seen.missing;
	*extra = wait.seen.extra;
	return true;
}

static bool
try_is_over(void *arg, bool reached)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive try", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	DeriveViewRow *row = derive_registry_get(*(Oid *) arg);
	bool		result = row == NULL || !is_being_tried(row);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return result;
}

void
derive_repair_view(Oid view)
{
	DeriveViewRow *row = derive_registry_get(view);
	RequestWait wait = {.kind = DERIVE_REQUEST_REPAIR,.view = view};

	if (row->state == DERIVE_VIEW_PAUSED)
		(void) check_view_row(row, InvalidXLogRecPtr, false);	/* says so */
	if (derive_registry_changed_here(view))
	{
		ereport(NOTICE,
				(errmsg("view \"%s\" is filled when this transaction has committed",
						get_rel_name(view))));
		return;
	}

	/* That try may have begun before whatever the caller has done. */
	if (is_being_tried(row))
	{
		(void) derive_wait_for_worker(view, -1, try_is_over, &view);
		row = derive_registry_get(view);
	}
	if (row != NULL && row->state != DERIVE_VIEW_BUILDING && row->state != DERIVE_VIEW_CATCHUP)
	{
		(void) run_request(&wait, -1);
		if (wait.seen.status == DERIVE_REQUEST_ERROR)
			ereport(ERROR,
					(errcode(wait.seen.sqlerrcode),
					 errmsg("could not recompute view \"%s\"", get_rel_name(view)),
					 errdetail_internal("%s", wait.seen.error)));
	}

	/* Done, unless it has to be built first. */
	(void) derive_wait_for_view(view, InvalidXLogRecPtr, -1);
}
