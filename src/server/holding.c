/*-------------------------------------------------------------------------
 *
 * holding.c
 *	  Old row versions: for how long the worker keeps them.
 *
 * With pg_derive.old_rows = auto, batches read tables as they were at the views'
 * position (base/past.h).  The slot's xmin keeps the row versions for that
 * (capture/hold.h), in the whole cluster.  So it must move on.
 *
 *		from			the xmin of the oldest position that is in use:
 *						the one on disk, from which a restart would go on;
 *						those of views that stand still (cohort.c);
 *						that of a view whose builder has finished;
 *						while a builder is at work, the one at which it began.
 *		moved			when the position that is later is on disk, with the slot's
 *						confirmation (reading.c): under load with every batch
 *		idle			a position that nobody needs to know is not stored; but it
 *						is after a second, if there were commits since, or if other
 *						databases have used many transaction ids
 *
 * Limits.  A view that has stood still for longer than pg_derive.max_hold, or for
 * more than pg_derive.max_hold_age transactions, is no longer taken into account:
 * when it comes back its past is gone, and where it needs that it is computed anew.
 * A worker that does not come to the end of a batch for so long lets go altogether;
 * its views then do the same.  For a worker that is not there, the launcher does it.
 * A builder's hold has no limit, since its own snapshot is as old.
 *
 * What is held is lost with nothing said by the server, so that two numbers decide
 * whether a past can be had: the slot's xmin, and that of the position.  If the first
 * is not there or later, it cannot.  A slot that was made anew, one that came by
 * failover (its xmin is not copied) and one that was let go all look like this.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "base/gucs.h"
#include "base/past.h"
#include "capture/hold.h"
#include "server/worker_state.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* How often an xmin is moved on for which nothing else is to be stored. */
#define STORE_AFTER_MS			1000
#define STORE_AFTER_XIDS		1000
#define STORE_AFTER_LONG_MS		10000
#define STORE_AFTER_FEW_XIDS	64

void
derive_worker_open_past(void)
{
	if (derive_old_rows_are_read() && derive_worker.position != NULL &&
		TransactionIdIsValid(derive_hold_xmin()))
		derive_past_begin(derive_hold_xmin());
}

/*
 * The snapshot is live until the end of the transaction, so that a hold can begin
 * with it.
 */
void
derive_worker_hold_present(const DerivePosition *to)
{
	if (!derive_old_rows_are_read())
		derive_hold_end();
	else if (!TransactionIdIsValid(derive_hold_xmin()))
	{
		derive_hold_begin(XidFromFullTransactionId(to->xmin));
		derive_worker.hold_moved_at = GetCurrentTimestamp();
	}
	derive_past_present(to);
}

/* Is this too old to be held? */
static bool
is_too_old(FullTransactionId xmin, TimestampTz since)
{
	uint64		age = U64FromFullTransactionId(ReadNextFullTransactionId()) - U64FromFullTransactionId(xmin);

	if (derive_max_hold_age > 0 && age > (uint64) derive_max_hold_age)
		return true;
	return derive_max_hold > 0 && TimestampDifferenceExceeds(since, GetCurrentTimestamp(), derive_max_hold * 1000);
}

static void
take_earlier(FullTransactionId *xmin, FullTransactionId other)
{
	if (FullTransactionIdPrecedes(other, *xmin))
		*xmin = other;
}

/* What a view needs besides the position of all. */
static void
add_view(FullTransactionId *xmin, WorkerView *view)
{
	if (derive_worker_stands_still(view))
	{
		FullTransactionId needed = view->waiting->position->xmin;

		if (!is_too_old(needed, view->waiting->since))
			take_earlier(xmin, needed);
		else if (!view->past_given_up)
		{
			ereport(LOG,
					(errmsg("old row versions are no longer kept for view \"%s\"", get_rel_name(view->relid)),
					 errdetail("It has been waiting since %s for: %s.",
							   timestamptz_to_str(view->waiting->since), view->waiting->reason),
					 errhint("\"pg_derive.max_hold\" and \"pg_derive.max_hold_age\" say for how long they are.")));
			view->past_given_up = true;
		}
	}
	else
		view->past_given_up = false;
	if (view->builder != NULL && FullTransactionIdIsValid(view->build_xmin))
		take_earlier(xmin, view->build_xmin);
	else if (view->row->state == DERIVE_VIEW_CATCHUP && view->row->position != NULL &&
			 view->row->epoch == derive_worker.epoch)
		take_earlier(xmin, view->row->position->xmin);
}

/* The position with this xmin is on disk. */
void
derive_worker_move_hold(FullTransactionId durable_xmin)
{
	FullTransactionId xmin = durable_xmin;
	ListCell   *lc;

	if (!FullTransactionIdIsValid(xmin) || derive_worker.reload ||
		!TransactionIdIsValid(derive_hold_xmin()))
		return;
	foreach(lc, derive_worker.views)
		add_view(&xmin, lfirst(lc));
	if (TransactionIdPrecedes(derive_hold_xmin(), XidFromFullTransactionId(xmin)))
		derive_hold_move(XidFromFullTransactionId(xmin));
	derive_worker.hold_moved_at = GetCurrentTimestamp();
}

bool
derive_worker_hold_for_build(WorkerView *view)
{
	if (!derive_old_rows_are_read())
		return true;
	if (derive_worker.decoder == NULL || !TransactionIdIsValid(derive_hold_xmin()))
		return false;
	view->build_xmin = derive_widen_xid(derive_hold_xmin());
	return true;
}

/* Does only the hold ask for a batch, to store its position? */
bool
derive_worker_hold_is_due(void)
{
	TimestampTz now;
	int32		xids;

	if (derive_worker.decoder == NULL || !TransactionIdIsValid(derive_hold_xmin()))
		return false;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(Max(derive_worker.stored_at, derive_worker.hold_asked_at), now, STORE_AFTER_MS))
		return false;
	if (derive_worker.commits_stored != pg_atomic_read_u64(&derive_worker.db->commits))
		return true;
	xids = (int32) (XidFromFullTransactionId(ReadNextFullTransactionId()) - derive_hold_xmin());
	return xids >= STORE_AFTER_XIDS ||
		(xids >= STORE_AFTER_FEW_XIDS &&
		 TimestampDifferenceExceeds(derive_worker.stored_at, now, STORE_AFTER_LONG_MS));
}

/* Wake up for it. */
long
derive_worker_hold_timeout(long timeout)
{
	if (derive_worker.decoder == NULL || !TransactionIdIsValid(derive_hold_xmin()) ||
		derive_worker.commits_stored == pg_atomic_read_u64(&derive_worker.db->commits))
		return timeout;
	return Min(timeout, STORE_AFTER_MS);
}

/* After an error, or when a batch was not possible. */
void
derive_worker_limit_hold(void)
{
	if (derive_worker.decoder == NULL || derive_worker.position == NULL ||
		!TransactionIdIsValid(derive_hold_xmin()) ||
		!is_too_old(derive_widen_xid(derive_hold_xmin()), derive_worker.hold_moved_at))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("old row versions are no longer kept for the maintained views of database \"%s\"",
					derive_worker.dbname),
			 errdetail("No batch has succeeded since %s.", timestamptz_to_str(derive_worker.hold_moved_at)),
			 errhint("Views that need them will be computed anew. \"pg_derive.max_hold\" and \"pg_derive.max_hold_age\" say for how long they are kept.")));
	derive_hold_end();
}
