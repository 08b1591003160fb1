/*-------------------------------------------------------------------------
 *
 * serve.c
 *	  What others ask of the worker: to repair a view, or to run a batch.
 *
 * Repair.  A session writes its request to shared memory and waits (request.c).  A
 * batch takes all pending requests and answers them after its commit, so that an
 * answer never tells of something that is rolled back; if the batch fails they are
 * pending again.  The view is marked before the registry is read, so that a failed
 * view gets its program; the batch then recomputes it, or, if it never had any
 * contents, sends it to a builder.
 *
 * A batch.  The verifier (verifier.c) and the slow lane (lane.c) ask for one whose
 * snapshot is taken after they asked, and which stores its position even if it changed nothing.  One number says
 * how often they have asked, another one how far that is answered: the first is read
 * before the snapshot and becomes the second after the commit.  It is not worth to hurry:
 * such a batch keeps pg_derive.batch_interval, so that who verifies in a loop does not
 * take from the others what they gain by batches of many transactions.
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
#include "server/dependents.h"
#include "server/shmem.h"
#include "server/worker_internal.h"

/* A request that takes part in the current batch. */
typedef struct ActiveRequest
{
	DeriveRequest *request;
	Oid			view;
	bool		answered;
	int			sqlerrcode;		/* 0: fine */
	char	   *error;
} ActiveRequest;


/* How often others had asked for one before the snapshot of this batch. */
static uint64 asked = 0;

bool
derive_worker_has_pending_request(void)
{
	bool		result = false;
	int			i;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_REQUESTS && !result; i++)
	{
		DeriveRequest *request = &derive_worker.place->requests[i];

		result = request->status == DERIVE_REQUEST_PENDING &&
			request->kind == DERIVE_REQUEST_REPAIR && !derive_worker_is_stuck(request->view);
	}
	LWLockRelease(derive_shared()->lock);
	return result;
}

bool
derive_worker_is_asked_for_batch(void)
{
	return pg_atomic_read_u64(&derive_worker.place->asked) != pg_atomic_read_u64(&derive_worker.place->answered);
}

void
derive_worker_note_asked(void)
{
	asked = pg_atomic_read_u64(&derive_worker.place->asked);
}

bool
derive_worker_must_store_position(void)
{
	return asked != pg_atomic_read_u64(&derive_worker.place->answered);
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
		DeriveRequest *request = &derive_worker.place->requests[i];
		WorkerView *view;

		if (request->status != DERIVE_REQUEST_PENDING ||
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
		DeriveRequest *request = &derive_worker.place->requests[i];
		ActiveRequest *active;

		if (request->status != DERIVE_REQUEST_PENDING || request->kind != DERIVE_REQUEST_REPAIR)
			continue;
		request->status = DERIVE_REQUEST_RUNNING;
		active = palloc0(sizeof(ActiveRequest));
		active->request = request;
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
				if (!view->repair || (view->program == NULL && view->dirty))
					break;		/* its program will be loaded first */
				if (view->program == NULL)
				{
					active->answered = true;
					active->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
					active->error = view->row->error ? view->row->error : "the view has failed";
					view->repair = false;
				}
				else if (!derive_is_populated(view->relid))
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

		if (active->view != view->relid || active->answered)
			continue;
		active->answered = true;
		if (edata)
		{
			active->sqlerrcode = edata->sqlerrcode;
			active->error = derive_error_text(edata);
		}
	}
}

/* After the commit: hand out the answers; what has none waits for the next batch. */
void
derive_worker_answer_requests(void)
{
	ListCell   *lc;

	pg_atomic_write_u64(&derive_worker.place->answered, asked);
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
			request->status = DERIVE_REQUEST_DONE;
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
