/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  What sessions ask of the worker: to verify a view, or to repair it.
 *
 * A session writes its request to shared memory and waits (request.c).  A batch
 * takes all pending requests and answers them after its commit, so that an answer
 * never tells of something that is rolled back; if the batch fails they are pending
 * again.
 *
 * Repair.  The view is marked before the registry is read, so that a failed view gets
 * its program; the batch then recomputes it, or, if it never had any contents,
 * sends it to a builder.
 *
 * Verify.  All views stand at the position of the batch once they have moved, and
 * its snapshot shows the tables at the same position: there, and only there, a view
 * must be equal to its query.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "base/registry.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "server/background.h"
#include "server/shmem.h"
#include "server/worker_state.h"
#include "utils/snapmgr.h"

/* A request that takes part in the current batch. */
typedef struct ActiveRequest
{
	DeriveRequest *request;
	DeriveRequestKind kind;
	Oid			view;
	bool		answered;
	int64		missing;
	int64		extra;
	int			sqlerrcode;		/* 0: fine */
	char	   *error;
} ActiveRequest;


bool
derive_worker_has_pending_request(void)
{
	DeriveShared *shared = derive_shared();
	bool		result = false;
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_REQUESTS && !result; i++)
		result = shared->requests[i].status == DERIVE_REQUEST_PENDING &&
			shared->requests[i].dboid == MyDatabaseId &&
			!derive_worker_is_stuck(shared->requests[i].view);
	LWLockRelease(shared->lock);
	return result;
}

/* Sessions that want failed views repaired need their programs. */
void
derive_worker_mark_repairs(void)
{
	DeriveShared *shared = derive_shared();
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &shared->requests[i];
		WorkerView *view;

		if (request->status != DERIVE_REQUEST_PENDING ||
			request->dboid != MyDatabaseId ||
			request->kind != DERIVE_REQUEST_REPAIR)
			continue;
		view = derive_worker_find_view(request->view);
		if (view == NULL || view->repair)
			continue;
		view->repair = true;
		derive_worker.reload = true;
	}
	LWLockRelease(shared->lock);
}

/*
 * Take the pending requests into this batch.  Those that need no work are
 * answered here.
 */
bool
derive_worker_collect_requests(void)
{
	DeriveShared *shared = derive_shared();
	bool		wrote = false;
	ListCell   *lc;
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &shared->requests[i];
		ActiveRequest *active;

		if (request->status != DERIVE_REQUEST_PENDING || request->dboid != MyDatabaseId)
			continue;
		request->status = DERIVE_REQUEST_RUNNING;
		active = palloc0(sizeof(ActiveRequest));
		active->request = request;
		active->kind = request->kind;
		active->view = request->view;
		derive_worker.requests = lappend(derive_worker.requests, active);
	}
	LWLockRelease(shared->lock);

	foreach(lc, derive_worker.requests)
	{
		ActiveRequest *active = lfirst(lc);
		WorkerView *view = derive_worker_find_view(active->view);

		if (view == NULL)
		{
			active->answered = true;
			active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			active->error = "the view is not maintained";
			continue;
		}
		if (active->kind == DERIVE_REQUEST_VERIFY)
			continue;			/* after the views have moved */

		switch (view->row->state)
		{
			case DERIVE_VIEW_BUILDING:
			case DERIVE_VIEW_CATCHUP:
				active->answered = true;	/* being built already */
				view->repair = false;
				break;
			case DERIVE_VIEW_READY:
				break;			/* is marked for repair, or will be */
			case DERIVE_VIEW_PAUSED:
				active->answered = true;
				active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
				active->error = "the view is paused";
				break;
			case DERIVE_VIEW_FAILED:
				if (!view->repair)
					break;		/* its program will be loaded first */
				if (view->program == NULL)
				{
					active->answered = true;
					active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
					active->error = view->row->error ? view->row->error : "the view has failed";
					view->repair = false;
				}
				else if (!derive_worker_is_populated(view->relid))
				{
					/* It never was built: do that. */
					view->row->state = DERIVE_VIEW_BUILDING;
					view->row->error = NULL;
					view->row->error_at = 0;
					view->row->position = NULL;
					derive_registry_update(view->row);
					active->answered = true;
					view->repair = false;
					derive_worker.reload = true;
					wrote = true;
				}
				break;
		}
	}
	return wrote;
}

/* Tell the sessions that asked for something on this view; NULL edata: it was done. */
void
derive_worker_answer_repairs(WorkerView *view, ErrorData *edata)
{
	ListCell   *lc;

	view->repair = false;
	foreach(lc, derive_worker.requests)
	{
		ActiveRequest *active = lfirst(lc);

		if (active->view != view->relid || active->kind != DERIVE_REQUEST_REPAIR ||
			active->answered)
			continue;
		active->answered = true;
		if (edata)
		{
			active->sqlerrcode = edata->sqlerrcode;
			active->error = derive_error_text(edata);
		}
	}
}

static void
compare_guarded(void *arg)
{
	ActiveRequest *active = arg;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	derive_program_compare(derive_worker_find_view(active->view)->program,
						   &active->missing, &active->extra);
	PopActiveSnapshot();
}

/* Compare views with their queries: all of them are at this batch's position now. */
void
derive_worker_verify_views(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.requests)
	{
		ActiveRequest *active = lfirst(lc);
		WorkerView *view = derive_worker_find_view(active->view);
		ErrorData  *edata;

		if (active->answered || active->kind != DERIVE_REQUEST_VERIFY)
			continue;
		if (view->row->state == DERIVE_VIEW_READY && view->program != NULL)
		{
			/*
			 * In a later batch, if it is not there yet.  A view that did not
			 * have to move may lack its locks, and then TRUNCATE may have
			 * emptied a table since the snapshot was taken, or hold us up.
			 */
			if (!view->locked)
				view->stuck = true;
			if (!view->locked || !view->fresh)
				continue;
			edata = derive_guarded(compare_guarded, active);
			if (edata)
			{
				active->sqlerrcode = edata->sqlerrcode;
				active->error = derive_error_text(edata);
			}
		}
		else
		{
			active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			active->error = view->row->state == DERIVE_VIEW_PAUSED ? "the view is paused" :
				view->row->state == DERIVE_VIEW_FAILED ? "maintenance of the view has failed" :
				"the view is being built";
		}
		active->answered = true;
	}
}

/* After the commit: hand out the answers; what has none waits for the next batch. */
void
derive_worker_answer_requests(void)
{
	ListCell   *lc;

	if (derive_worker.requests == NIL)
		return;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	foreach(lc, derive_worker.requests)
	{
		ActiveRequest *active = lfirst(lc);
		DeriveRequest *request = active->request;

		if (request->status == DERIVE_REQUEST_ABANDONED)
			request->status = DERIVE_REQUEST_FREE;
		else if (!active->answered)
		{
			request->status = DERIVE_REQUEST_PENDING;
			if (!derive_worker_is_stuck(request->view))
				derive_worker.unfinished = true;
		}
		else if (active->error != NULL)
		{
			request->sqlerrcode = active->sqlerrcode;
			strlcpy(request->error, active->error, DERIVE_ERROR_LENGTH);
			request->status = DERIVE_REQUEST_ERROR;
		}
		else
		{
			request->missing = active->missing;
			request->extra = active->extra;
			request->status = DERIVE_REQUEST_DONE;
		}
	}
	LWLockRelease(derive_shared()->lock);
	derive_worker.requests = NIL;
}

/* The batch failed: its requests wait for the next one. */
void
derive_worker_postpone_requests(void)
{
	ListCell   *lc;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	foreach(lc, derive_worker.requests)
	{
		DeriveRequest *request = ((ActiveRequest *) lfirst(lc))->request;

		if (request->status == DERIVE_REQUEST_RUNNING)
			request->status = DERIVE_REQUEST_PENDING;
		else if (request->status == DERIVE_REQUEST_ABANDONED)
			request->status = DERIVE_REQUEST_FREE;
	}
	LWLockRelease(derive_shared()->lock);
	derive_worker.requests = NIL;
}
