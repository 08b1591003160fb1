/*-------------------------------------------------------------------------
 *
 * journals.c
 *	  What the worker does for subscribers.
 *
 * In a batch: the changes of subscribed views go to their journals
 * (src/notify/journal.c).  After it, NOTIFY for those that changed.  Now and then:
 * journals are trimmed, and what belongs to dropped views is removed.
 *
 * The last two are done aside: in short transactions between batches, never
 * waiting for a lock for long, and an ERROR in them is logged and otherwise does
 * not matter.  A notification that could not be sent (all who NOTIFY take turns,
 * and the queue may be full of what some session does not read) is tried again
 * later; those of several batches become one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/debug_point.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "notify/journal.h"
#include "notify/subscription.h"
#include "server/background.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Trim journals that often. */
#define TEND_MS				5000

/* Rows to remove in one transaction; batches wait for it. */
#define TEND_ROWS			2000

/* Try again to notify. */
#define NOTIFY_RETRY_MS		1000

static TimestampTz tend_at = 0; /* 0: at once */
static TimestampTz notify_at = 0;	/* not before */
static bool any_journal = false;
static bool any_to_announce = false;
static bool more_to_tend = false;
static bool must_sweep = true;	/* a journal may be gone */
static DeriveJournalSweep sweep;

/* Run it in a transaction of its own; false if it ended with an ERROR, which is logged. */
static bool
run_aside(const char *what, void (*function) (void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		derive_background_begin();
		derive_background_limit_lock_waits(derive_lock_timeout);
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		PushActiveSnapshot(GetTransactionSnapshot());
		function();
		PopActiveSnapshot();
		derive_background_commit();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata = derive_background_catch(context);

		ereport(edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ? DEBUG1 : LOG,
				(errcode(edata->sqlerrcode),
				 errmsg("%s failed and is tried again later: %s", what, edata->message)));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}


/* ----------------------------------------------------------------
 *		In the batch
 * ----------------------------------------------------------------
 */

static const DeriveJournalRow *
find_row(List *rows, Oid view)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		if (((DeriveJournalRow *) lfirst(lc))->view == view)
			return lfirst(lc);
	}
	return NULL;
}

/*
 * While the registry is read: which views have a journal.  What a batch that was
 * rolled back did to one in memory does no harm: numbers may have gaps, bytes
 * are counted anew, and whether it is active is read again here.
 */
void
derive_worker_load_journals(void)
{
	List	   *rows = derive_journals_all();
	ListCell   *lc;

	tend_at = 0;
	must_sweep = true;
	any_journal = (rows != NIL);
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);
		const DeriveJournalRow *row = find_row(rows, view->relid);

		if (view->journal != NULL && (row == NULL || row->id != view->journal->id))
			derive_worker_drop_journal(view);
		if (view->journal == NULL && row != NULL)
		{
			MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);

			view->journal = derive_journal_load(row);
			MemoryContextSwitchTo(oldcontext);
		}
		if (view->journal != NULL)
		{
			view->journal->active = row->active;
			any_to_announce |= view->journal->announce;
		}
		if (view->program != NULL)
		{
			view->program->observer = view->journal ? derive_journal_observe : NULL;
			view->program->observer_arg = view->journal;
		}
	}
}

void
derive_worker_drop_journal(WorkerView *view)
{
	if (view->journal == NULL)
		return;
	if (view->program != NULL)
		view->program->observer = NULL;
	derive_journal_free(view->journal);
	view->journal = NULL;
}

List *
derive_worker_journal_relations(void)
{
	return any_journal ? derive_journal_relations() : NIL;
}

/* What the changes of this batch will be marked with. */
void
derive_worker_begin_journals(XLogRecPtr lsn, TimestampTz at)
{
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		DeriveJournal *journal = ((WorkerView *) lfirst(lc))->journal;

		if (journal == NULL)
			continue;
		journal->lsn = lsn;
		journal->at = at;
		journal->nchanges = 0;
	}
}

/* After the views were moved: journals that are complete from here on.  True if there was one. */
bool
derive_worker_activate_journals(void)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		if (view->journal == NULL || view->journal->active || view->program == NULL ||
			view->row->state != DERIVE_VIEW_READY || view->lane != NULL)
			continue;
		derive_journal_begin(view->journal);
		result = true;
	}
	return result;
}


/* ----------------------------------------------------------------
 *		NOTIFY
 * ----------------------------------------------------------------
 */

static void
notify(void)
{
	ListCell   *lc;
	char		payload[32];

	snprintf(payload, sizeof(payload), "%X/%X", LSN_FORMAT_ARGS(derive_worker.covered));
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);
		char	   *name;
		char	   *channel;

		if (view->journal == NULL || !view->journal->announce ||
			(name = get_rel_name(view->relid)) == NULL)
			continue;
		channel = psprintf("derive_%s", name);
		channel[pg_mbcliplen(channel, strlen(channel), NAMEDATALEN - 1)] = '\0';
		Async_Notify(channel, payload);
	}
}

static void
try_to_notify(void)
{
	ListCell   *lc;

	if (!any_to_announce || derive_worker.covered == InvalidXLogRecPtr ||
		(notify_at != 0 && GetCurrentTimestamp() < notify_at &&
		 !derive_clock_was_set_back(GetCurrentTimestamp(), notify_at, NOTIFY_RETRY_MS)))
		return;

	if (!run_aside("notifying subscribers", notify))
	{
		notify_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NOTIFY_RETRY_MS);
		return;
	}
	notify_at = 0;
	any_to_announce = false;
	foreach(lc, derive_worker.views)
	{
		DeriveJournal *journal = ((WorkerView *) lfirst(lc))->journal;

		if (journal != NULL)
			journal->announce = false;
	}
}

/* After the commit of a batch. */
void
derive_worker_notify_subscribers(void)
{
	ListCell   *lc;

	if (!any_journal)
		return;
	foreach(lc, derive_worker.selected)
	{
		DeriveJournal *journal = ((WorkerView *) lfirst(lc))->journal;

		if (journal == NULL)
			continue;
		if (journal->nchanges > 0)
			journal->announce = true;
		any_to_announce |= journal->announce;
		journal->committed = journal->total;
	}
	try_to_notify();
}


/* ----------------------------------------------------------------
 *		Tending
 * ----------------------------------------------------------------
 */

static void
tend(void)
{
	ListCell   *lc;

	more_to_tend = false;
	if (!OidIsValid(derive_extension_oid(true)))
		return;
	foreach(lc, derive_worker.views)
	{
		DeriveJournal *journal = ((WorkerView *) lfirst(lc))->journal;
		DeriveJournalRow row;

		/* somebody may be about to drop or release the view, or has done so */
		if (journal == NULL || !ConditionalLockRelationOid(journal->view, AccessShareLock) ||
			!derive_journal_get(journal->view, NULL, &row, NULL) || row.id != journal->id)
			continue;
		if (derive_subscriptions_none(row.view))
			derive_journal_drop(row.view, derive_subscriptions_none);
		else if (!derive_journal_trim(&row, &journal->trimmed, derive_subscriptions_passed(&row), TEND_ROWS))
			more_to_tend = true;
	}
	if (!derive_worker_may_sweep("subscriptions"))
	{
		more_to_tend |= must_sweep; /* another worker is just doing it, in a
									 * short transaction */
		return;
	}
	if (must_sweep)
		must_sweep = !derive_journals_sweep(&sweep, TEND_ROWS);
	if (!derive_subscriptions_sweep(TEND_ROWS) || must_sweep)
		more_to_tend = true;
}

/* What was removed may be back. */
static void
tending_failed(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		DeriveJournal *journal = ((WorkerView *) lfirst(lc))->journal;

		if (journal != NULL)
			journal->trimmed = 0;
	}
	memset(&sweep, 0, sizeof(sweep));
	must_sweep = true;
	more_to_tend = false;
}

/* Trim and sweep, if it is time. */
void
derive_worker_tend_journals(void)
{
	TimestampTz now;

	if (notify_at != 0)
		try_to_notify();
	if (tend_at != 0 && !any_journal && !more_to_tend)
		return;
	now = GetCurrentTimestamp();
	if (now < tend_at && !derive_clock_was_set_back(now, tend_at, TEND_MS))
		return;
	if (!run_aside("trimming the changes of views", tend))
		tending_failed();
	tend_at = TimestampTzPlusMilliseconds(now, more_to_tend ? 1 : TEND_MS);
}

/* Before the worker leaves: nothing must be left of views that are gone. */
void
derive_worker_sweep_journals(void)
{
	must_sweep = true;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!run_aside("removing the changes of dropped views", tend))
			tending_failed();
		if (more_to_tend)
			pg_usleep(1000L);
	} while (more_to_tend);
}

/* How long the worker may sleep, in ms. */
long
derive_worker_journals_timeout(long timeout)
{
	TimestampTz now;

	if (!any_journal && !more_to_tend)
		return timeout;
	now = GetCurrentTimestamp();
	if (notify_at != 0)
		timeout = Min(timeout, TimestampDifferenceMilliseconds(now, notify_at) + 1);
	return Min(timeout, TimestampDifferenceMilliseconds(now, tend_at) + 1);
}
