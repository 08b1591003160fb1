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
 * why.  What is in the log only, events of topics, is lost; the server log says
 * which part of the log was not read.
 *
 * The worker crashes (crash_guard.c) before its first batch is done:
 *
 *		twice, at the same view				this view fails, the others go on
 *		twice, at the same place of the log	as if it could not be decoded
 *		else, or once more					all views fail, and the next worker leaves again
 *
 * until a person calls derive.resume() or derive.repair().  What such views stand
 * for is computed anew then; so nothing needs the slot, which goes, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "base/lane.h"
#include "base/registry.h"
#include "derive/definition.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "server/crash_guard.h"
#include "server/shmem.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"


/* Oids of all maintained views, in batch_cxt; in a transaction of its own. */
static List *
all_views(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	if (OidIsValid(derive_extension_oid(true)))
	{
		foreach(lc, derive_registry_all())
			result = lappend_oid(result, ((DeriveViewRow *) lfirst(lc))->relid);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	return result;
}


/* ----------------------------------------------------------------
 *		The log is not to be had
 * ----------------------------------------------------------------
 */

void
derive_worker_report_skipped(XLogRecPtr start)
{
	StringInfoData topics;
	XLogRecPtr	stored = InvalidXLogRecPtr;
	ListCell   *lc;

	(void) derive_registry_position(&stored, NULL);
	if (XLogRecPtrIsInvalid(stored) || start <= stored)
		return;
	initStringInfo(&topics);
	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		/* one that is being built has never taken events */
		if (row->state != DERIVE_VIEW_BUILDING && get_rel_name(row->relid) != NULL &&
			strcmp(derive_definition_of_view(row->relid)->derivation, "topic") == 0)
			appendStringInfo(&topics, "%s\"%s\"", topics.len > 0 ? ", " : "", get_rel_name(row->relid));
	}
	ereport(topics.len > 0 ? WARNING : LOG,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the log from %X/%X to %X/%X (%llu bytes) was not read for database \"%s\"",
					LSN_FORMAT_ARGS(stored), LSN_FORMAT_ARGS(start),
					(unsigned long long) (start - stored), derive_worker.dbname),
			 topics.len > 0 ? errdetail("Events of topics that were committed there are lost: %s.", topics.data) : 0));
}

void
derive_worker_note_slot_error(const ErrorData *edata)
{
	DeriveDatabase *db = derive_worker.db;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	if (db->reading)
		db->reading_changed_at = GetCurrentTimestamp();
	db->reading = false;
	db->slot_failures++;
	db->slot_sqlerrcode = edata->sqlerrcode;
	strlcpy(db->slot_error, edata->message, DERIVE_ERROR_LENGTH);
	strlcpy(db->slot_hint, edata->hint ? edata->hint : "See the server log.", DERIVE_ERROR_LENGTH);
	LWLockRelease(derive_shared()->lock);
}

void
derive_worker_note_undecodable(const ErrorData *edata)
{
	XLogRecPtr	lsn = derive_decoder_failed_at(derive_worker.decoder);

	if (XLogRecPtrIsInvalid(lsn) || derive_error_is_transient(edata->sqlerrcode))
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

/* Each in a transaction of its own, since we wait for its lock. */
static void
fail_views(List *relids, const char *reason)
{
	ListCell   *lc;

	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		DeriveViewRow *row;

		StartTransactionCommand();
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		derive_blocked_set(&derive_worker.db->point.blocked_on, relid, RowExclusiveLock);
		LockRelationOid(relid, RowExclusiveLock);
		derive_blocked_clear(&derive_worker.db->point.blocked_on);
		PushActiveSnapshot(GetTransactionSnapshot());
		row = derive_registry_get(relid);
		if (row != NULL && row->state != DERIVE_VIEW_FAILED && row->state != DERIVE_VIEW_PAUSED)
		{
			ereport(WARNING,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("maintenance of view \"%s\" has failed: %s", get_rel_name(relid), reason),
					 errhint("Remove the cause, then call derive.repair() for the view.")));
			derive_stand_still(row);
			row->state = DERIVE_VIEW_FAILED;
			row->retry = false;
			row->error = pstrdup(reason);
			row->error_at = GetCurrentTimestamp();
			row->epoch = 0;
			derive_registry_update(row);
		}
		PopActiveSnapshot();
		CommitTransactionCommand();
		MemoryContextSwitchTo(derive_worker.batch_cxt);
	}
}

bool
derive_worker_survive_crashes(void)
{
	DeriveCrashes crashes;
	char	   *reason;

	derive_crash_guard_enter(MyDatabaseId, InvalidOid, &crashes);
	if (crashes.count < DERIVE_MAX_CRASHES)
		return true;

	MemoryContextSwitchTo(derive_worker.batch_cxt);
	reason = psprintf("the worker process crashed %d times in a row, while %s",
					  crashes.count, crashes.activity);
	if (crashes.count == DERIVE_MAX_CRASHES && !XLogRecPtrIsInvalid(crashes.lsn))
	{
		MemoryContextSwitchTo(derive_worker.cxt);
		derive_worker.undecodable = psprintf("%s at %X/%X", reason, LSN_FORMAT_ARGS(crashes.lsn));
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		return true;
	}
	if (crashes.count == DERIVE_MAX_CRASHES && OidIsValid(crashes.view))
	{
		fail_views(list_make1_oid(crashes.view), reason);
		return true;
	}

	ereport(WARNING,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("pg_derive stays away from database \"%s\": %s", derive_worker.dbname, reason),
			 errhint("Remove the cause, then call derive.resume() for its views.")));
	fail_views(all_views(), reason);
	derive_worker_drop_slot();
	derive_crash_guard_keep();
	return false;
}
