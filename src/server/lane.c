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
 * The steps of a run, and why it is exact: lane_run.c.
 *
 * Giving way.  A run holds locks for long.  Once a second the worker looks whether
 * somebody waits for one of them, and cancels the run, which begins again after him.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/gucs.h"
#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "server/assistant.h"
#include "server/background.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "server/lane.h"
#include "server/lane_internal.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* It ends when there was nothing to do for so long. */
#define IDLE_MS				5000

/* Our file is not the one of a view. */
#define GUARD_OID			((Oid) 1)

MemoryContext derive_lane_cxt = NULL;

static List *announcements = NIL;	/* of Oid: views whose subscribers are to
									 * be notified; in derive_lane_cxt */


/* A view fails if the processes before this one have crashed over it. */
static void
enter_crash_guard(void)
{
	DeriveCrashes crashes;
	DeriveViewRow *row;
	bool		failed = false;

	derive_crash_guard_enter(pg_atomic_read_u64(&derive_assistant_group->id), GUARD_OID, &crashes);
	if (crashes.at_view == 0)
		return;
	StartTransactionCommand();
	derive_blocked_set(&derive_assistant_self->blocked_on, crashes.view, RowExclusiveLock);
	LockRelationOid(crashes.view, RowExclusiveLock);
	derive_blocked_clear(&derive_assistant_self->blocked_on);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(crashes.view)) &&
		(row = derive_registry_get(crashes.view)) != NULL && derive_has_crashed_enough(row, crashes.at_view))
	{
		derive_stand_still(row);
		derive_fail_crashed_view(row, psprintf("the process that computes the view %s",
											   derive_crashes_text(&crashes, crashes.at_view)));
		failed = true;
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	/* who resumes it gets another try, of another process too */
	if (failed)
		derive_crash_guard_settle(crashes.view);
}

void
derive_lane_handle_error(MemoryContext context)
{
	ErrorData  *edata = derive_background_catch(context);

	derive_blocked_clear(&derive_assistant_self->blocked_on);
	ereport(edata->sqlerrcode == ERRCODE_QUERY_CANCELED ? DEBUG1 : LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("views could not be recomputed and are tried again later: %s", edata->message)));
	FreeErrorData(edata);
}

void
derive_lane_announce(Oid view)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_lane_cxt);

	announcements = list_append_unique_oid(announcements, view);
	MemoryContextSwitchTo(oldcontext);
}

/* Tell subscribers; false if it is to be tried again. */
static bool
tell_subscribers(void)
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
		derive_lane_handle_error(context);
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

/* The next worker starts the next one. */
static bool
must_leave(void)
{
	return derive_assistant_must_leave() || !derive_group_has_worker(derive_assistant_group);
}

void
derive_lane_main(Datum arg)
{
	MemoryContext context;

	derive_assistant_begin(DERIVE_SLOW_LANE);
	derive_lane_cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive slow lane", ALLOCSET_DEFAULT_SIZES);
	context = AllocSetContextCreate(TopMemoryContext, "pg_derive run", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	enter_crash_guard();
	for (;;)
	{
		List	   *groups;
		bool		any_error;
		bool		announced;
		long		ms;

		derive_assistant_heed_signals();
		if (must_leave())
			break;
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		announced = tell_subscribers();
		groups = derive_lane_wanted_groups(&any_error);
		if (groups != NIL)
		{
			LaneGroup  *first = linitial(groups);

			ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), first->due);
			if (ms <= 0)
			{
				derive_blocked_clear(&derive_assistant_self->blocked_on);
				derive_lane_run(first);
			}
			else
				(void) derive_assistant_nap(Min(ms, LAST_PAUSE_MS));
		}
		else
		{
			derive_blocked_clear(&derive_assistant_self->blocked_on);
			if (!derive_assistant_nap(announced ? IDLE_MS : LAST_PAUSE_MS) && announced && !any_error)
				break;
		}
	}
	proc_exit(0);
}
