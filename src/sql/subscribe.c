/*-------------------------------------------------------------------------
 *
 * subscribe.c
 *	  derive.subscribe(), derive.poll() and derive.unsubscribe().
 *
 * Subscribing needs the right to read the view, which is checked again whenever
 * the subscription is polled; polling and unsubscribing is for its owner.
 *
 * poll() waits without a lock.  Each time the worker tells that it has done a
 * batch, it looks under a new snapshot whether there is something for it, and
 * only then locks the subscription and delivers; so a poll that finds nothing
 * writes nothing.  Under a snapshot that stays the same for the transaction
 * nothing new can be seen, and so it does not wait.
 *
 * Rows become jsonb here (rowjson.c), in the session of the caller: the worker
 * never calls a type's functions for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/elapsed.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "notify/subscription.h"
#include "server/hooks.h"
#include "server/request.h"
#include "sql/arguments.h"
#include "sql/rowjson.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(derive_subscribe_sql);
PG_FUNCTION_INFO_V1(derive_unsubscribe_sql);
PG_FUNCTION_INFO_V1(derive_poll_sql);

/* A new subscription of a view that is ready starts with the next batch: a matter of moments. */
#define START_MS	10000

typedef struct Poll
{
	const char *name;
	Oid			view;
	int64		started_at;		/* how long to wait for a view that is not
								 * ready */
	int64		timeout_ms;		/* below 0: for ever */
	DerivePollState state;
	MemoryContext cxt;			/* reset with every look */

	ReturnSetInfo *rsinfo;		/* where rows go */
	DeriveRowJson json;
} Poll;

Datum
derive_subscribe_sql(PG_FUNCTION_ARGS)
{
	Oid			view;
	char	   *name;
	char		relkind;
	DeriveViewRow *row;

	derive_require_arguments(fcinfo, 2);
	view = PG_GETARG_OID(0);
	PreventCommandIfReadOnly("derive.subscribe()");
	derive_require_service();

	name = get_rel_name(view);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", view)));
	relkind = get_rel_relkind(view);
	if (relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", name)));
	derive_check_may(view, ACL_SELECT); /* before the lock, which is not for
										 * everybody */
	LockRelationOid(view, AccessShareLock);
	row = derive_registry_get(view);
	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("materialized view \"%s\" is not maintained", name),
				 errhint("Call derive.maintain() for the view.")));

	derive_reserve_worker(row->group);
	derive_subscription_create(text_to_cstring(PG_GETARG_TEXT_PP(1)), view);
	PG_RETURN_VOID();
}

Datum
derive_unsubscribe_sql(PG_FUNCTION_ARGS)
{
	derive_require_argument(fcinfo, 0);
	PreventCommandIfReadOnly("derive.unsubscribe()");
	derive_subscription_drop(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}


/* ----------------------------------------------------------------
 *		Polling
 * ----------------------------------------------------------------
 */

/* The journal has not begun: will it? */
static bool
keep_waiting_to_start(Poll *poll, bool own)
{
	DeriveViewRow *row = derive_registry_get(poll->view);

	if (own)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot poll subscription \"%s\" in the transaction that created it", poll->name),
				 errdetail("The changes of the view are kept from the commit of this transaction on."),
				 errhint("Commit first, then poll.")));
	if (row != NULL && (row->state == DERIVE_VIEW_PAUSED || row->state == DERIVE_VIEW_FAILED))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("maintenance of view \"%s\" %s", get_rel_name(poll->view),
						row->state == DERIVE_VIEW_PAUSED ? "is paused" : "has failed"),
				 errdetail("Subscription \"%s\" has not started yet.", poll->name),
				 row->state == DERIVE_VIEW_PAUSED ?
				 errhint("Call derive.resume() for the view.") :
				 errhint("Remove the cause, then call derive.repair() for the view.")));
	return (row != NULL && row->state == DERIVE_VIEW_READY) ||
		derive_time_left(poll->started_at, poll->timeout_ms) != 0;
}

static void
look(Poll *poll)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(poll->cxt);
	bool		own;

	poll->state = derive_subscription_look(poll->name, &own);
	if (poll->state == DERIVE_POLL_STARTING && !keep_waiting_to_start(poll, own))
		poll->state = DERIVE_POLL_EMPTY;
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(poll->cxt);
}

static bool
has_started(void *arg, bool reached)
{
	look(arg);
	return ((Poll *) arg)->state != DERIVE_POLL_STARTING;
}

static bool
has_something(void *arg, bool reached)
{
	look(arg);
	return ((Poll *) arg)->state == DERIVE_POLL_PENDING || ((Poll *) arg)->state == DERIVE_POLL_LOST;
}

static void
receive(void *arg, const char *operation, Datum oldrow, Datum newrow, XLogRecPtr lsn)
{
	Poll	   *poll = arg;
	Datum		values[5] = {0};
	bool		nulls[5] = {false};
	List	   *omitted = NIL;

	values[0] = CStringGetTextDatum(operation);
	nulls[1] = (oldrow == (Datum) 0);
	if (!nulls[1])
		values[1] = derive_row_to_jsonb(&poll->json, oldrow, &omitted);
	nulls[2] = (newrow == (Datum) 0);
	if (!nulls[2])
		values[2] = derive_row_to_jsonb(&poll->json, newrow, &omitted);
	values[3] = LSNGetDatum(lsn);
	nulls[3] = XLogRecPtrIsInvalid(lsn);
	values[4] = derive_omitted_array(omitted);
	nulls[4] = (omitted == NIL);
	tuplestore_putvalues(poll->rsinfo->setResult, poll->rsinfo->setDesc, values, nulls);
}

static void
run_poll(Poll *poll, int64 max_rows, int64 timeout_ms)
{
	bool		can_wait = !IsolationUsesXactSnapshot();

	poll->started_at = derive_monotonic_ms();
	poll->timeout_ms = timeout_ms;
	look(poll);
	if (poll->state == DERIVE_POLL_STARTING && can_wait)
		(void) derive_wait_for_worker(poll->view, timeout_ms < 0 ? -1 : Max(timeout_ms, START_MS), has_started, poll);

	/* what was there may have gone to another session with the same name */
	for (;;)
	{
		if ((poll->state == DERIVE_POLL_PENDING || poll->state == DERIVE_POLL_LOST) &&
			derive_subscription_deliver(poll->name, max_rows, receive, poll) > 0)
			break;
		if (!can_wait || derive_time_left(poll->started_at, timeout_ms) == 0 ||
			!derive_wait_for_worker(poll->view, derive_time_left(poll->started_at, timeout_ms), has_something, poll))
			break;
	}
}

Datum
derive_poll_sql(PG_FUNCTION_ARGS)
{
	Poll		poll = {0};
	int64		timeout_ms = -1;
	int32		max_rows;

	derive_require_argument(fcinfo, 0);
	derive_require_argument(fcinfo, 1);
	max_rows = PG_GETARG_INT32(1);
	if (max_rows <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be greater than zero")));
	if (!PG_ARGISNULL(2))
		timeout_ms = derive_timeout_ms(PG_GETARG_INTERVAL_P(2));
	PreventCommandIfReadOnly("derive.poll()");

	InitMaterializedSRF(fcinfo, 0);
	poll.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	poll.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	poll.view = derive_subscription_view(poll.name);
	poll.json.view = poll.view;
	poll.cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive poll", ALLOCSET_SMALL_SIZES);
	run_poll(&poll, max_rows, timeout_ms);
	return (Datum) 0;
}
