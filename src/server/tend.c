/*-------------------------------------------------------------------------
 *
 * tend.c
 *	  What the worker looks after between batches: builders, the verifier and
 *	  identities.
 *
 * Builders.  A view that reads only tables is filled by a process of its own
 * (builder.c), while the others go on.  The builder asks that the stream keep the
 * backlog of the view's tables, waits until it does for all transactions from some
 * moment on, and only then takes its snapshot.  So the worker starts builders, up to
 * a limit, answers that question, and looks at what they left when they have ended:
 * a view to be handed over by the next batch, or one that is to be tried again.
 *
 * A builder runs code of the view's owner, for as long as that takes, and holds a
 * lock on the view.  Someone who wants to drop the view must get through: once a
 * second we look whether a session waits for an exclusive lock on anything that the builder
 * has locked (the view, a table, their schema), and if so cancel the builder, which is
 * started again later.  One that does nothing but wait (for a lock, or
 * asleep) while the query runs takes the place of others: after some seconds it is
 * cancelled, and the view has failed.
 * A view that reads other views is filled by the worker in a batch, and where its
 * internal tables were made for another program than it has now, the worker makes
 * them anew before, in a transaction of its own.
 *
 * Verifier.  Views are compared with their queries by a process of its own
 * (verifier.c), which is wanted when a session has asked for that.
 *
 * Identity (replica_identity.c).  Partitions may come later without the replica identity that
 * a view needs; they get it here.  Tables that no longer need what we gave them get
 * back what they had.  Either is tried again if the lock is not to be had in time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "base/elapsed.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/lock_waiters.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "server/assistant.h"
#include "server/background.h"
#include "server/builder.h"
#include "server/replica_identity.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "server/worker_internal.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Look after a builder that often, and cancel one that has only waited so many times in a row. */
#define LOOK_MS		1000
#define IDLE_LOOKS	10

/* A view that is to move to another group is built there, if it has come there by then. */
#define MOVE_MS		10000

/* A builder that does not heed the cancellation by then is terminated. */
#define HEED_MS		5000

/* Change the identity of these tables, if it is time.  What could not be done is left in the list. */
static void
tend_identity(List **relids, bool (*change) (List *relids))
{
	List	   *todo = *relids;

	if (todo == NIL || GetCurrentTimestamp() < derive_worker.identity_retry_at)
		return;
	*relids = NIL;
	if (change(todo))
		list_free(todo);
	else
	{
		*relids = todo;
		derive_worker.identity_retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	}
}

/* Views move without it, so nobody who waits for them need know what we try to lock. */
static bool
set(List *relids)
{
	return derive_identity_set(relids, NULL, NULL);
}

static bool
restore(List *relids)
{
	return derive_identity_restore(derive_worker_view_oids(), relids);
}

/*
 * Members that came later, or whose owner set the identity back: until they
 * have it, changes without old images make their views be recomputed.
 */
void
derive_worker_tend_identity(void)
{
	tend_identity(&derive_worker.without_identity, set);
	tend_identity(&derive_worker.identity_not_needed, restore);
}

/* No view of ours is left, but perhaps tables that had another identity before; until a worker is wanted again. */
void
derive_worker_restore_identities(void)
{
	for (;;)
	{
		List	   *relids;
		bool		wanted;

		StartTransactionCommand();
		relids = derive_identity_not_needed(NIL, NIL);
		MemoryContextSwitchTo(derive_worker.cxt);
		relids = list_copy(relids);
		CommitTransactionCommand();
		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		wanted = derive_worker.place->wanted;
		LWLockRelease(derive_shared()->lock);
		if (wanted || restore(relids))
			return;
		list_free(relids);

		derive_background_idle();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RETRY_MS, derive_wait_event(DERIVE_WAIT_LOCK));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Is the build slot still that of the builder that we started for this view? */
static bool
owns_build_slot(WorkerView *view)
{
	return view->build->view == view->relid && view->build->group == pg_atomic_read_u64(&derive_worker.place->id) &&
		view->build->epoch == view->build_epoch;
}

/*
 * Must the stream keep what the view may have to catch up with?  Once begun,
 * until the builder's process has ended and the registry was read after that:
 * the row that we have read may be older than what the builder committed.  A view
 * that was filled by a builder which we know nothing of, since it was released and is
 * maintained again, has no backlog, whatever its row says.
 */
bool
derive_worker_wants_backlog(WorkerView *view)
{
	if (view->row->state == DERIVE_VIEW_CATCHUP)
		return view->keeping && view->row->epoch == derive_worker.epoch;
	if (view->row->state != DERIVE_VIEW_BUILDING || view->builder == NULL ||
		view->build_epoch != derive_worker.epoch)
	{
		view->keeping = false;
		return false;
	}
	if (!view->keeping)
	{
		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		view->keeping = owns_build_slot(view) && view->build->tracking_requested;
		LWLockRelease(derive_shared()->lock);
	}
	return view->keeping;
}

/* Once a second: must the builder be stopped? */
static void
look_after_builder(WorkerView *view)
{
	PGPROC	   *proc;
	bool		filling;
	bool		resting;
	pid_t		pid;

	if (!derive_has_elapsed(view->looked_at, LOOK_MS) ||
		GetBackgroundWorkerPid(view->builder, &pid) != BGWH_STARTED)
		return;
	view->looked_at = derive_monotonic_ms();
	if (view->cancelled_at != 0)
	{
		if (derive_has_elapsed(view->cancelled_at, HEED_MS))
			kill(pid, SIGTERM);
		return;
	}

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	filling = owns_build_slot(view) && view->build->filling;
	resting = filling && view->build->resting;
	LWLockRelease(derive_shared()->lock);
	proc = BackendPidGetProc(pid);
	if (!filling || proc == NULL)
		return;
	view->idle_looks = !resting && derive_watchdog_is_idle_wait(proc->wait_event_info) ? view->idle_looks + 1 : 0;
	if (view->idle_looks >= IDLE_LOOKS)
	{
		view->give_up = GIVE_UP;
		derive_worker_hold_back(view, psprintf("a function that it calls, which waits (%s)",
											   pgstat_get_wait_event(proc->wait_event_info)), 0);
	}
	else if (!derive_someone_waits_for(pid, AccessExclusiveLock) &&
			 !derive_holder_waits_for(pid, view->relid, AccessExclusiveLock, false))
		return;
	kill(pid, SIGINT);
	view->cancelled_at = derive_monotonic_ms();
}

bool
derive_worker_look_after(void)
{
	bool		any;
	ListCell   *lc;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	any = derive_worker.place->assistants[DERIVE_SLOW_LANE].pid != 0;
	LWLockRelease(derive_shared()->lock);
	if (any)
		derive_worker_look_after_lane();
	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->builder == NULL)
			continue;
		look_after_builder(view);
		any = true;
	}
	return any;
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
		view->idle_looks = 0;
		view->cancelled_at = 0;
		view->waits_for = DERIVE_WAITS_FOR_NOTHING; /* the builder has said it */
		view->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
		derive_worker.reload = true;	/* see what it left */
		return;
	}

	if (!requested || ready || view->build_epoch != derive_worker.epoch)
		return;
	if (!view->backlog)
		derive_worker.reload = true;	/* makes the stream keep it */
	else if (view->program != NULL && derive_worker_sources_complete(view) &&
			 derive_worker_hold_for_build(view))
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		view->build->tracking_ready = true;
		LWLockRelease(shared->lock);
		ConditionVariableBroadcast(&view->build->cv);
	}
	else
		derive_worker.unfinished = true;
}

/* For people. */
static void
set_waits(WorkerView *view, DeriveWaitsFor what, Oid relation, LOCKMODE mode)
{
	if (view->waits_for == what && view->waits_relation == relation)
		return;
	view->waits_for = what;
	view->waits_relation = relation;
	derive_stats_set_waits(view->relid, what, relation, mode);
}

/* It has no program, or is filled by the worker itself. */
static void
say_why_no_builder(WorkerView *view)
{
	ListCell   *lc;

	if (view->program == NULL)
	{
		if (OidIsValid(view->busy))
			set_waits(view, DERIVE_WAITS_FOR_LOCK, view->busy, view->busy_mode);
		else
			set_waits(view, DERIVE_WAITS_FOR_RETRY, InvalidOid, NoLock);
		return;
	}
	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && (source->row->state == DERIVE_VIEW_BUILDING || source->row->state == DERIVE_VIEW_CATCHUP))
		{
			set_waits(view, DERIVE_WAITS_FOR_VIEW, source->relid, NoLock);
			return;
		}
	}
	set_waits(view, DERIVE_WAITS_FOR_NOTHING, InvalidOid, NoLock);
}

typedef struct Renewal
{
	WorkerView *view;
	bool		done;
} Renewal;

static void
renew_guarded(void *arg)
{
	Renewal    *renewal = arg;
	Oid			busy;
	LOCKMODE	mode;

	renewal->done = derive_renew_view(renewal->view->relid, &busy, &mode);
}

/*
 * A view that the worker itself is going to fill needs internal tables that fit
 * its program; what builders do for others, see there.
 */
static void
tend_internal(WorkerView *view)
{
	Renewal		renewal = {view, false};
	ErrorData  *edata;

	derive_background_begin();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	derive_background_limit_lock_waits(derive_lock_timeout);
	edata = derive_guarded(renew_guarded, &renewal);
	if (edata != NULL && !derive_error_is_transient(edata->sqlerrcode))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) derive_worker_fail_view(view, edata->message, edata, false);
		PopActiveSnapshot();
	}
	if (renewal.done || edata != NULL)
		derive_background_commit();
	else
		derive_background_abort();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	if (!renewal.done)
		view->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	derive_worker.reload = true;
}

void
derive_worker_tend_builds(void)
{
	static TimestampTz no_process_logged = 0;
	int			running = 0;
	int			may_build = -1; /* has not been asked */
	ListCell   *lc;
	TimestampTz now = 0;

	if (derive_worker.decoder == NULL)
		return;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->row->state == DERIVE_VIEW_BUILDING && view->program != NULL &&
			view->program->outdated != NULL && view->program->view_sources != NIL &&
			view->retry_at <= GetCurrentTimestamp())
			tend_internal(view);
	}
	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->builder != NULL)
			tend_builder(view);
		if (view->builder != NULL)
			running++;
	}

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);
		MemoryContext oldcontext;

		if (view->row->state != DERIVE_VIEW_BUILDING || view->builder != NULL || view->give_up != KEEP_TRYING)
			continue;
		if (view->program == NULL || view->program->view_sources != NIL)
		{
			say_why_no_builder(view);
			continue;
		}
		if (now == 0)
			now = GetCurrentTimestamp();
		if (view->retry_at > now)
			continue;

		if (running < derive_max_builds && may_build < 0)
			may_build = derive_worker_may_build();

		/* those that move wait for the move, for a while */
		if (running >= derive_max_builds || !may_build ||
			(view->row->move_to >= 0 && !TimestampDifferenceExceeds(view->row->since, now, MOVE_MS)))
		{
			set_waits(view, DERIVE_WAITS_FOR_TURN, InvalidOid, NoLock);
			continue;
		}
		if (derive_build_find(MyDatabaseId, view->relid) != NULL)
		{
			/* The builder of an earlier worker has not ended yet. */
			view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
			continue;
		}

		view->build = derive_build_take(pg_atomic_read_u64(&derive_worker.place->id), view->relid, derive_worker.epoch);
		if (view->build == NULL)
		{
			view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
			set_waits(view, DERIVE_WAITS_FOR_PLACE, InvalidOid, NoLock);
			continue;
		}
		oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
		derive_worker_note_retry(view);
		view->builder = derive_builder_start(view->build);
		view->build_epoch = derive_worker.epoch;
		view->build_xmin = InvalidFullTransactionId;
		view->delays_pin = false;
		view->keeping = false;
		MemoryContextSwitchTo(oldcontext);
		if (view->builder == NULL)
		{
			derive_build_free(view->build);
			view->build = NULL;
			view->retry_at = TimestampTzPlusMilliseconds(now, RETRY_MS);
			set_waits(view, DERIVE_WAITS_FOR_PROCESS, InvalidOid, NoLock);
			if (derive_background_log_again(&no_process_logged))
				ereport(LOG,
						(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						 errmsg("pg_derive has no background worker left to build a view and tries again until it gets one"),
						 errhint("You might need to increase \"max_worker_processes\".")));
			break;
		}
		no_process_logged = 0;
		running++;
	}
}

/* Who waits for it wakes us now and then, so we need not look at the time ourselves. */
void
derive_worker_tend_verifier(void)
{
	if (derive_requests_pending(derive_worker.place, DERIVE_REQUEST_VERIFY))
		derive_assistant_tend(DERIVE_VERIFIER, derive_worker.place);
}
