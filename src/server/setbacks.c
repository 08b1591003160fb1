/*-------------------------------------------------------------------------
 *
 * setbacks.c
 *	  What the worker does when it cannot go on from where the views stand.
 *
 * The log is not to be had.  The slot is gone or has lost WAL; somebody else has
 * read from it; or it has a record that cannot be decoded, which fails in the
 * same place again and again (say, because the database was moved to another
 * tablespace before it was read).  Then a new slot is made, if need be, and all
 * views are computed anew (reading.c).  Until a view has been, derive.views tells
 * why.  What is in the log only, events of topics and versions of rows, is lost; the
 * server log says which part of the log was not read, and who would have kept something of it.
 *
 * The worker crashes (crash_guard.c) before its first batch is done:
 *
 *		twice, at the same view				this view fails, the others go on (crashed_view.c)
 *		five times, at a view that keeps	the same
 *		what only the log has
 *		five times, at the same place		as if that could not be decoded
 *		of the log
 *		else, twice							the worker stays away for a while
 *
 * Somebody may have killed it, twice by accident, or the kernel, for want of memory: that
 * passes.  Or it is a fault of ours, and then each try takes the whole server down.  So
 * it is tried after 5 s, 10 s, .. 1 h; or at once if a person calls derive.repair() or
 * derive.resume() for any view, or restarts the server.  The slot is kept, as far as
 * pg_derive.max_wal_backlog lets it be, so nothing is lost.  The log is given up only when
 * there have been as many crashes in one place, one after the other, with these pauses
 * between them, as there are errors before it is (PATIENCE).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/debug_point.h"
#include "base/guard.h"
#include "base/lane.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "derive/definition.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "postmaster/interrupt.h"
#include "server/background.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "server/shmem.h"
#include "server/worker_internal.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* After crashes that tell nothing the worker stays away so long, first and at most. */
#define FIRST_AWAY_MS	5000
#define LAST_AWAY_MS	(60 * 60 * 1000)

/* and looks so often whether it is asked to go on. */
#define AWAY_LOOK_MS	1000


/* ----------------------------------------------------------------
 *		The log is not to be had
 * ----------------------------------------------------------------
 */

/* Derivations that keep what only the log has, and what becomes of it if that is not read. */
static const struct
{
	const char *derivation;
	const char *loss;
}			keepers[] =

{
	{"history", "Versions of rows that began and ended there are not in the histories: %s."},
	{"topic", "Events of topics that were committed there are lost: %s."},
};

/* Names of the views by a derivation that have taken something from the log. */
static char *
views_by(const char *derivation)
{
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&names);
	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->group == derive_worker.group && row->state != DERIVE_VIEW_BUILDING && get_rel_name(row->relid) != NULL &&
			strcmp(derive_definition_of_view(row->relid)->derivation, derivation) == 0)
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", get_rel_name(row->relid));
	}
	return names.data;
}

void
derive_worker_report_skipped(XLogRecPtr start)
{
	StringInfoData losses;
	XLogRecPtr	stored = InvalidXLogRecPtr;

	(void) derive_registry_position(derive_worker.group, &stored, NULL);
	if (XLogRecPtrIsInvalid(stored) || start <= stored)
		return;
	initStringInfo(&losses);
	for (int i = 0; i < lengthof(keepers); i++)
	{
		char	   *views = views_by(keepers[i].derivation);

		if (views[0] != '\0')
		{
			appendStringInfoString(&losses, losses.len > 0 ? "\n" : "");
			appendStringInfo(&losses, keepers[i].loss, views);
		}
	}
	ereport(losses.len > 0 ? WARNING : LOG,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the log from %X/%X to %X/%X (%llu bytes) was not read for %s",
					LSN_FORMAT_ARGS(stored), LSN_FORMAT_ARGS(start),
					(unsigned long long) (start - stored), derive_worker.whose),
			 losses.len > 0 ? errdetail_internal("%s", losses.data) : 0));
}

void
derive_worker_lose_log(WorkerView *view, XLogRecPtr start, const char *reason)
{
	const char *derivation = derive_definition_of_view(view->relid)->derivation;

	for (int i = 0; i < lengthof(keepers) && derive_worker_stands_still(view); i++)
	{
		if (strcmp(keepers[i].derivation, derivation) == 0)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 start == PG_UINT64_MAX ?
					 errmsg("the log from %X/%X on was not read for view \"%s\"",
							LSN_FORMAT_ARGS(view->waiting->lsn), get_rel_name(view->relid)) :
					 errmsg("the log from %X/%X to %X/%X was not read for view \"%s\"",
							LSN_FORMAT_ARGS(view->waiting->lsn), LSN_FORMAT_ARGS(start), get_rel_name(view->relid)),
					 errdetail(keepers[i].loss, psprintf("\"%s\"", get_rel_name(view->relid)))));
	}
	derive_worker_lose_changes(view, reason);
}

void
derive_worker_note_slot_error(const ErrorData *edata)
{
	DeriveGroup *place = derive_worker.place;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	if (place->reading)
		place->reading_changed_at = GetCurrentTimestamp();
	place->reading = false;
	place->slot_failures++;
	place->slot_sqlerrcode = edata->sqlerrcode;
	strlcpy(place->slot_error, edata->message, DERIVE_ERROR_LENGTH);
	strlcpy(place->slot_hint, edata->hint ? edata->hint : "See the server log.", DERIVE_ERROR_LENGTH);
	LWLockRelease(derive_shared()->lock);
}

void
derive_worker_note_undecodable(const ErrorData *edata)
{
	XLogRecPtr	lsn = derive_decoder_failed_at(derive_worker.decoder);

	/* a segment of the log that is not there does not come back */
	if (XLogRecPtrIsInvalid(lsn) ||
		(derive_error_is_transient(edata->sqlerrcode) && edata->sqlerrcode != ERRCODE_UNDEFINED_FILE))
	{
		derive_worker.stuck_tries = 0;
		return;
	}
	if (lsn != derive_worker.stuck_at)
		derive_worker.stuck_tries = 0;
	derive_worker.stuck_at = lsn;
	if (++derive_worker.stuck_tries >= PATIENCE && derive_worker.undecodable == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);

		derive_worker.undecodable = psprintf("a record of the log at %X/%X could not be decoded: %s",
											 LSN_FORMAT_ARGS(lsn), edata->message);
		MemoryContextSwitchTo(oldcontext);
	}
}


/* ----------------------------------------------------------------
 *		Crashes
 * ----------------------------------------------------------------
 */

/* Processes have crashed over the view, so many in a row: may it fail by that? */
static bool
has_crashed_enough(const DeriveViewRow *row, int ncrashes)
{
	const char *derivation = derive_definition_of_view(row->relid)->derivation;

	for (int i = 0; i < lengthof(keepers); i++)
	{
		if (strcmp(derivation, keepers[i].derivation) == 0)
			return ncrashes >= PATIENCE;
	}
	return derive_has_crashed_enough(row, ncrashes);
}

/* If it has; in a transaction of its own, since we wait for its lock. */
static bool
fail_view(const DeriveCrashes *crashes, const char *reason)
{
	Oid			relid = crashes->view;
	DeriveViewRow *row;
	bool		result = false;

	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	derive_blocked_set(&derive_worker.place->point.blocked_on, relid, RowExclusiveLock);
	LockRelationOid(relid, RowExclusiveLock);
	derive_blocked_clear(&derive_worker.place->point.blocked_on);
	PushActiveSnapshot(GetTransactionSnapshot());
	row = derive_registry_get(relid);
	if (row == NULL || get_rel_name(relid) == NULL)
		result = true;			/* dropped */
	else if (has_crashed_enough(row, crashes->at_view))
	{
		if (row->state != DERIVE_VIEW_FAILED && row->state != DERIVE_VIEW_PAUSED)
		{
			derive_stand_still(row);
			derive_fail_crashed_view(row, reason);
		}
		result = true;
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	if (result)
		derive_crash_guard_settle(relid);
	return result;
}

static void
note_away(TimestampTz until, const char *reason)
{
	DeriveGroup *place = derive_worker.place;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	place->away_until = until;
	strlcpy(place->away_reason, reason, DERIVE_ERROR_LENGTH);
	LWLockRelease(derive_shared()->lock);
}

/* Is the worker to leave the database now?  See shmem.h. */
static bool
is_held(void)
{
	bool		result;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	result = derive_worker.place->holds > 0;
	LWLockRelease(derive_shared()->lock);
	return result;
}

/* Wait, without a slot, a lock or a snapshot.  Another worker takes our place if we are asked to go on earlier. */
static void
stay_away(int ncrashes, const char *reason)
{
	int			ms = Min(FIRST_AWAY_MS << Min(ncrashes - DERIVE_MAX_CRASHES, 10), LAST_AWAY_MS);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(now, ms);

	ereport(WARNING,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("pg_derive stays away from %s for %d s: %s", derive_worker.whose, ms / 1000, reason),
			 errhint("It tries again by itself then, or at once if derive.repair() is called for a view.")));
	derive_worker_set_activity(DERIVE_PAUSING);
	derive_crash_guard_note(InvalidOid, "staying away");
	note_away(until, reason);
	for (; (now < until || DERIVE_DEBUG_SKIPS(psprintf("come-back-%d", ncrashes))) && !DERIVE_DEBUG_SKIPS("stay-away"); now = GetCurrentTimestamp())
	{
		if (derive_clock_was_set_back(now, until, ms))
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 now < until ? Min(TimestampDifferenceMilliseconds(now, until), AWAY_LOOK_MS) : AWAY_LOOK_MS,
						 derive_wait_event(DERIVE_WAIT_ERROR_PAUSE));
		ResetLatch(MyLatch);
		derive_background_check_interrupts();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (is_held() || derive_crash_guard_is_forgotten())
			proc_exit(0);
	}
	note_away(0, "");
}

void
derive_worker_survive_crashes(void)
{
	DeriveCrashes crashes;
	char	   *reason;

	derive_crash_guard_enter(DERIVE_GROUP_ID(MyDatabaseId, derive_worker.group), InvalidOid, &crashes);
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	reason = psprintf("the worker process %s", derive_crashes_text(&crashes, crashes.count));
	if (!XLogRecPtrIsInvalid(crashes.lsn))
		reason = psprintf("%s at %X/%X", reason, LSN_FORMAT_ARGS(crashes.lsn));
	if (crashes.at_lsn >= PATIENCE)
	{
		MemoryContextSwitchTo(derive_worker.cxt);
		derive_worker.undecodable = pstrdup(reason);
		MemoryContextSwitchTo(derive_worker.batch_cxt);
	}
	else if (crashes.at_view > 0 && fail_view(&crashes, reason))
		;						/* the others go on */
	else if (crashes.count >= DERIVE_MAX_CRASHES)
		stay_away(crashes.count, reason);
}
