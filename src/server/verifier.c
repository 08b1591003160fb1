/*-------------------------------------------------------------------------
 *
 * verifier.c
 *	  Comparing views with their queries, in a process of its own.
 *
 * A view must equal its query under one sight only: that of a batch, once the batch
 * has moved the view.  The comparison may take hours, and runs functions of the
 * view's owner, so it must not be done there.  The verifier has the same sight
 * later and for as long as it likes (batch_snapshot.c); all that the worker does for
 * it is one more batch.  There is one verifier in a group of views (base/groups.c).  The worker starts it
 * when there is something to verify, and it ends when there was nothing for a
 * while.
 *
 * Sessions write requests to shared memory (request.c).  They are served one after
 * the other, in the order of their numbers, and a session has one at a time: who
 * verifies in a loop takes turns with all others.
 *
 * Steps for a request; whatever is found changed on the way, or is locked, makes it
 * begin again:
 *
 *	1. look			what does the view read?  Is it ready at all?
 *	2. lock			all of it in AccessShareLock, if free
 *	3. snapshot V	which holds what S+ will need
 *	4. batch		asked for, and waited for
 *	5. S+			and under it: is the view ready, at the position of the batch?
 *	6. compare		as the view's owner
 *	7. check		that nothing changed that no snapshot protects from
 *
 * Locks come before V, and V before the batch; batch_snapshot.c says why.  In 5 the
 * registry is read under S+ as well, so its rows are what the batch left: a view that
 * is being built, or stands still at a position of its own (cohort.c), or is yet to be
 * recomputed is not compared.  In 7 the row must still be the same version: a function that the query
 * calls, for instance, can be replaced without any lock of ours in the way, and who
 * does that marks the view to be recomputed (dependents.c).  The partitions of its
 * tables must be the ones that the worker knew.
 *
 * Waiting.  Locks are taken as everywhere in our processes: if they are free, and
 * waited for without holding others (background.c).  In 4 it waits for the worker
 * while it holds locks, so not when the worker itself waits for a lock, which may be
 * one that somebody wants who waits for us: then it lets go of everything and begins
 * again.  In 6 it waits for nobody; but whoever waits for AccessExclusiveLock on
 * one of its tables would wait for long, and everybody else behind him, the worker
 * included.  It cannot look for itself while a function runs, so the session that
 * has nothing to do but to wait for its answer looks, once a second, and makes it
 * give way: it begins again, behind the other.
 *
 * Interrupts.  A session that gives up marks its request and sends the signal that
 * cancels queries.  What arrives too late hits the next request, which begins again.
 * A function may catch the cancel and go on; if it does so for a while and somebody
 * waits, that session ends the process, and the worker starts another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/elapsed.h"
#include "base/error_context.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/lane.h"
#include "base/lock_waiters.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "base/waiting.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "server/assistant.h"
#include "server/background.h"
#include "server/batch_snapshot.h"
#include "server/builder.h"
#include "server/verifier.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* It ends when there was nothing to verify for so long. */
#define IDLE_MS				5000

/* Pauses before it begins again, if there is no lock to wait for. */
#define FIRST_PAUSE_MS		20
#define LAST_PAUSE_MS		1000

/* A cancelled comparison that goes on for so long is ended with its process. */
#define STUCK_MS			10000

/* So many processes may end over one request. */
#define MAX_LIVES			3

typedef enum Outcome
{
	ANSWERED,					/* counted, or refused */
	AGAIN						/* begin again, after a pause or a lock */
} Outcome;

/* The request that is being served. */
typedef struct Verification
{
	DeriveRequest *request;
	Oid			view;
	DeriveProgram *program;		/* of this attempt, or NULL */
	Oid			busy;			/* AGAIN: wait for a lock on it first */
	long		pause_ms;		/* or so long; 0 before the first attempt */
	bool		comparing;		/* an ERROR is the view's own */
	bool		tried_twice;	/* an ERROR before that is, too */

	/* the answer */
	int64		missing;
	int64		extra;
	int			sqlerrcode;		/* 0: fine */
	const char *error;
} Verification;

static DeriveVerifier *self = NULL;

/* Of the view that is being verified, as far as it is known; for messages. */
static char view_name[4 * NAMEDATALEN + 8];

static void hand_back(int code, Datum arg);
static bool take_request(Verification *v);
static void serve(Verification *v);
static Outcome verify(Verification *v);


/* ----------------------------------------------------------------
 *		The process
 * ----------------------------------------------------------------
 */

void
derive_verifier_main(Datum arg)
{
	MemoryContext context;

	derive_assistant_begin(DERIVE_VERIFIER);
	self = &derive_assistant_group->verifier;
	on_shmem_exit(hand_back, (Datum) 0);

	context = AllocSetContextCreate(TopMemoryContext, "pg_derive verifier", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		Verification v = {0};

		derive_assistant_heed_signals();
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		if (take_request(&v))
			serve(&v);
		else if (derive_assistant_must_leave() || !derive_assistant_nap(IDLE_MS))
			break;
	}
	proc_exit(0);
}

/*
 * However we end, and before our place is free: somebody else will have to serve what we
 * have not, and nobody interrupts him for what was meant for us.
 */
static void
hand_back(int code, Datum arg)
{
	derive_requests_hand_back(derive_assistant_group, DERIVE_REQUEST_VERIFY);
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	self->view = InvalidOid;
	self->running = 0;
	self->interrupted_at = 0;
	self->give_way = false;
	LWLockRelease(derive_shared()->lock);
}

static void
set_phase(const char *phase)
{
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	strlcpy(self->phase, phase, DERIVE_PHASE_LENGTH);
	LWLockRelease(derive_shared()->lock);
	pgstat_report_activity(STATE_RUNNING, view_name[0] == '\0' ? phase :
						   psprintf("verifying view %s: %s", view_name, phase));
}


/* ----------------------------------------------------------------
 *		Requests
 * ----------------------------------------------------------------
 */

/* The oldest request that waits. */
static bool
take_request(Verification *v)
{
	DeriveRequest *oldest = NULL;
	int			i;

	/* Meant for one that is done. */
	QueryCancelPending = false;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &derive_assistant_group->requests[i];

		if (request->status == DERIVE_REQUEST_PENDING && request->kind == DERIVE_REQUEST_VERIFY &&
			(oldest == NULL || request->number < oldest->number))
			oldest = request;
	}
	if (oldest != NULL)
	{
		oldest->status = DERIVE_REQUEST_RUNNING;
		v->request = oldest;
		v->view = self->view = oldest->view;
		view_name[0] = '\0';
		self->running = oldest->number;
		self->started_at = GetCurrentTimestamp();
		if (oldest->lives >= MAX_LIVES)
		{
			v->sqlerrcode = ERRCODE_INTERNAL_ERROR;
			v->error = "the processes that compared it have ended";
		}
	}
	LWLockRelease(derive_shared()->lock);
	return oldest != NULL;
}

static bool
is_abandoned(Verification *v)
{
	bool		result;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	result = v->request->status == DERIVE_REQUEST_ABANDONED;
	LWLockRelease(derive_shared()->lock);
	return result;
}

static bool
must_give_way(void)
{
	bool		result;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	result = self->give_way;
	self->give_way = false;
	self->interrupted_at = 0;
	LWLockRelease(derive_shared()->lock);
	return result;
}

/* Hand out the answer, if somebody still wants it. */
static void
answer(Verification *v)
{
	DeriveRequest *request = v->request;

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	if (request->status == DERIVE_REQUEST_ABANDONED)
		request->status = DERIVE_REQUEST_FREE;
	else if (v->error != NULL)
	{
		request->sqlerrcode = v->sqlerrcode;
		strlcpy(request->error, v->error, DERIVE_ERROR_LENGTH);
		request->status = DERIVE_REQUEST_ERROR;
	}
	else
	{
		request->missing = v->missing;
		request->extra = v->extra;
		request->status = DERIVE_REQUEST_DONE;
	}
	self->view = InvalidOid;
	self->running = 0;
	self->interrupted_at = 0;
	self->give_way = false;
	LWLockRelease(derive_shared()->lock);
	ConditionVariableBroadcast(&derive_assistant_group->point.cv);
}

static void
refuse(Verification *v, const char *error)
{
	v->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	v->error = error;
}

/* In PG_CATCH: what to do after an ERROR. */
static Outcome
handle_error(Verification *v, MemoryContext context, bool *spurious)
{
	ErrorData  *edata = derive_background_catch(context);

	derive_blocked_clear(&derive_assistant_self->blocked_on);
	if (is_abandoned(v))
		return ANSWERED;
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		if (must_give_way())
			return AGAIN;
		if (*spurious)
		{
			/* The one before was cancelled: it was meant for that one. */
			*spurious = false;
			return AGAIN;
		}
	}
	else if (!v->comparing &&
			 (derive_error_is_transient(edata->sqlerrcode) || !v->tried_twice))
	{
		/* something that it reads may just be dropped */
		v->tried_twice = true;
		return AGAIN;
	}
	v->sqlerrcode = edata->sqlerrcode;
	v->error = derive_error_text(edata);
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("view \"%s\" could not be verified: %s", view_name, v->error),
			 edata->context ? errcontext("%s", edata->context) : 0));
	return ANSWERED;
}

static void
forget_program(Verification *v)
{
	DeriveProgram *program = v->program;

	v->program = NULL;
	if (program != NULL)
		derive_program_free(program);
}

/* Before another attempt: wait for what the last one has not got, or a moment. */
static void
wait_for_next(Verification *v)
{
	Oid			busy = v->busy;

	v->busy = InvalidOid;
	if (OidIsValid(busy))
	{
		set_phase("waiting for a lock");
		derive_lock_wait(busy, AccessShareLock, &derive_assistant_self->blocked_on, 0);
		return;
	}
	if (v->pause_ms > 0)
	{
		set_phase("waiting for the view");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, v->pause_ms,
						 derive_wait_event(DERIVE_WAIT_VERIFIER));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	v->pause_ms = Min(Max(v->pause_ms * 2, FIRST_PAUSE_MS), LAST_PAUSE_MS);
}

/* Until it is answered, or abandoned. */
static void
serve(Verification *v)
{
	static bool last_was_abandoned = false;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext attempt = AllocSetContextCreate(context, "pg_derive verification",
												  ALLOCSET_DEFAULT_SIZES);
	bool		spurious = last_was_abandoned;
	volatile Outcome outcome = v->error != NULL ? ANSWERED : AGAIN;

	while (outcome == AGAIN)
	{
		PG_TRY();
		{
			forget_program(v);
			MemoryContextReset(attempt);
			MemoryContextSwitchTo(attempt);
			wait_for_next(v);
			MemoryContextSwitchTo(attempt);
			v->comparing = false;
			outcome = verify(v);
			if (outcome == AGAIN)
				derive_background_abort();
		}
		PG_CATCH();
		{
			outcome = handle_error(v, context, &spurious);
		}
		PG_END_TRY();
	}

	MemoryContextSwitchTo(context);
	forget_program(v);
	last_was_abandoned = is_abandoned(v);
	answer(v);
}


/* ----------------------------------------------------------------
 *		Verifying a view
 * ----------------------------------------------------------------
 */

/* Is there anything that could be compared?  If not, says why. */
static bool
check_state(Verification *v)
{
	DeriveViewRow *row = NULL;

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(v->view)))
		row = derive_registry_get(v->view);
	if (row == NULL)
	{
		refuse(v, "the view is not maintained");
		return false;
	}
	if (row->group != derive_assistant_number())
	{
		refuse(v, "the view has moved to another group");	/* who asks looks there */
		return false;
	}
	switch (row->state)
	{
		case DERIVE_VIEW_READY:
			return true;
		case DERIVE_VIEW_PAUSED:
			refuse(v, "the view is paused");
			return false;
		case DERIVE_VIEW_FAILED:
			refuse(v, "maintenance of the view has failed");
			return false;
		case DERIVE_VIEW_BUILDING:
		case DERIVE_VIEW_CATCHUP:
			break;
	}
	refuse(v, "the view is being built");
	return false;
}

/*
 * 1. In a transaction of its own, because to compile the view takes locks one by
 * one, also on its internal tables, and the worker may want to replace these.  Sets
 * v->program, and returns the relations that its query reads, and the view, in
 * CurrentMemoryContext.  NIL if something is locked, or there is nothing to compare.
 */
static List *
look(Verification *v)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *relations = NIL;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	derive_background_limit_lock_waits(derive_lock_timeout);
	if (check_state(v) && derive_lock_definition(v->view, &v->busy))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		strlcpy(view_name, derive_relation_name(v->view), sizeof(view_name));
		derive_assistant_changed = false;
		v->program = derive_program_load(v->view, context);
		MemoryContextSwitchTo(context);
		relations = list_copy(derive_program_read_relations(v->program));
		relations = list_append_unique_oid(relations, v->view);
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return relations;
}

/* 5. Under S+: did the batch leave the view at its position? */
static bool
is_at_batch(const DeriveViewRow *row, DeriveProgram *program)
{
	DeriveWaitingRow *waiting;
	DeriveLaneRow *lane;

	if (row == NULL || row->group != derive_assistant_number() || row->state != DERIVE_VIEW_READY ||
		row->rebuild || row->position != NULL ||
		(uint64) row->members != derive_sources_digest(program))
		return false;
	lane = derive_lane_of(row, GetActiveSnapshot());
	if (lane != NULL && (lane->error != NULL || derive_stale_get(row->relid, GetActiveSnapshot()) != NULL))
		return false;
	waiting = derive_waiting_get_at(row->relid, GetActiveSnapshot());
	return waiting == NULL || waiting->declared_at != row->created_at;
}

/* 7. Is the view's row still the one that S+ shows, and are its partitions? */
static bool
is_unchanged(DeriveViewRow *row, DeriveProgram *program)
{
	DeriveViewRow *now;

	AcceptInvalidationMessages();
	InvalidateCatalogSnapshot();
	now = derive_registry_get(row->relid);
	return now != NULL && ItemPointerEquals(&now->version, &row->version) &&
		(uint64) row->members == derive_sources_digest(program);
}

static Outcome
verify(Verification *v)
{
	DeriveViewRow *row;
	List	   *relations;
	DerivePosition *position;

	set_phase("taking locks");
	relations = look(v);
	if (relations == NIL)
		return v->error != NULL ? ANSWERED : AGAIN;

	/* To lock them tells us what has changed since we looked. */
	derive_background_begin();
	if (!derive_lock_all(relations, AccessShareLock, &v->busy) || derive_assistant_changed)
		return AGAIN;

	PushActiveSnapshot(GetTransactionSnapshot());	/* V */
	DERIVE_DEBUG_POINT("verify-locked");

	set_phase("waiting for a batch");
	if (!derive_await_batch(derive_assistant_group))
		return AGAIN;
	DERIVE_DEBUG_POINT("verify-batch");
	if (!derive_push_batch_snapshot(derive_assistant_number(), &position, NULL))
		return AGAIN;
	row = derive_registry_get_at(v->view, GetActiveSnapshot());
	if (!is_at_batch(row, v->program))
		return AGAIN;
	v->program->present = position->time;

	set_phase("comparing");
	DERIVE_DEBUG_POINT("verify-snapshot");
	v->comparing = true;
	derive_program_compare(v->program, &v->missing, &v->extra);
	DERIVE_DEBUG_POINT("verify-compared");
	if (!is_unchanged(row, v->program))
		return AGAIN;

	PopActiveSnapshot();
	PopActiveSnapshot();
	derive_background_commit();
	return ANSWERED;
}


/* ----------------------------------------------------------------
 *		For the session that waits
 * ----------------------------------------------------------------
 */

/*
 * If the request is being served, make the verifier give way to those that wait for
 * its locks.  If it was interrupted long ago, by whomever, end the process.
 */
void
derive_verifier_look_after(DeriveGroup *place, const DeriveRequest *request)
{
	DeriveAssistant *process = &place->assistants[DERIVE_VERIFIER];
	DeriveVerifier *verifier = &place->verifier;
	int64		interrupted_at;
	pid_t		pid;
	bool		give_way;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	pid = process->pid;
	interrupted_at = verifier->interrupted_at;
	LWLockRelease(derive_shared()->lock);
	if (pid == 0)
		return;
	if (interrupted_at != 0 &&
		!derive_has_elapsed(interrupted_at, STUCK_MS))
		return;
	give_way = interrupted_at == 0;
	if (give_way && !(request->status == DERIVE_REQUEST_RUNNING && derive_someone_waits_for(pid, NoLock)))
		return;

	/* Only if all is as it was. */
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	if (process->pid == pid && verifier->interrupted_at == interrupted_at)
	{
		if (!give_way)
			kill(pid, SIGTERM);
		else if (verifier->running == request->number)
		{
			verifier->give_way = true;
			verifier->interrupted_at = derive_monotonic_ms();
			kill(pid, SIGINT);
		}
	}
	LWLockRelease(derive_shared()->lock);
}
