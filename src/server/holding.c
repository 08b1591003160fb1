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
 *						while a builder is at work, the one at which it began;
 *						while views are to come from another group, some seconds ago (moves.c).
 *		moved			when the position that is later is on disk, with the slot's
 *						confirmation (reading.c): under load with every batch
 *		idle			a position that nobody needs to know is not stored; but it
 *						is after a second, if there were commits since, or if other
 *						databases have used many transaction ids
 *
 * Gaps.  VACUUM removes old row versions with nothing said, so that two things decide
 * whether the past of a position can be had: the slot's xmin is there and not later
 * than that of the position; and the hold has no gap since then, that is, it began
 * with a batch that the position includes.  The first batch without a hold begins one
 * with its snapshot, and must store its position, together with where the hold began
 * (derive_state.position.held_since).  Only when that is on disk is the slot's file
 * told of the hold, so that a hold in the file always is the one of which the table
 * tells.  A slot that was made anew, one that came by failover (its xmin is not
 * copied) and one that was let go have none.
 *
 *		batch		began	position	the slot's xmin		what its past is
 *		1, failed	S1					700 (memory)		-
 *		2			S2		S2			700, then file		none: nothing was held before
 *		3			S2		S3			700					S2
 *		let go								none
 *		5			S5		S5			700, then file		none, though S4's xmin may be 700
 *
 * Limits.  A view that has stood still for longer than pg_derive.max_hold, or for
 * more than pg_derive.max_hold_age transactions, is no longer taken into account:
 * when it comes back its past is gone, and where it needs that it is computed anew.
 * A worker that does not come to the end of a batch for so long lets go altogether;
 * its views then do the same.  For a worker that is not there, the launcher does it
 * (unattended.c).  A builder's hold has no limit, since its own snapshot is as old; that
 * of a view which waits to be handed over has one.
 * What is let go while somebody on disk still wants it is let go in the slot's file
 * first: see hold.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "base/gucs.h"
#include "base/past.h"
#include "capture/hold.h"
#include "server/background.h"
#include "server/worker_internal.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How often an xmin is moved on for which nothing else is to be stored. */
#define STORE_AFTER_MS			1000
#define STORE_AFTER_XIDS		1000
#define STORE_AFTER_LONG_MS		10000
#define STORE_AFTER_FEW_XIDS	64


/* ----------------------------------------------------------------
 *		Beginning and ending
 * ----------------------------------------------------------------
 */

static bool
is_holding(void)
{
	return derive_worker.decoder != NULL && TransactionIdIsValid(derive_hold_xmin());
}

static void
set_since(const DerivePosition *since)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);

	if (derive_worker.hold_since)
		pfree(derive_worker.hold_since);
	derive_worker.hold_since = derive_position_copy(since);
	MemoryContextSwitchTo(oldcontext);
}

static void
end_hold(void)
{
	derive_hold_end();
	derive_worker.hold_begun = false;
	set_since(NULL);
}

/* What is held is no more than what must be: the limits count from here on. */
static void
note_progress(void)
{
	pg_atomic_write_u64(&derive_worker.place->hold_moved_at, (uint64) GetCurrentTimestamp());
	derive_worker.hold_moved_xid = ReadNextFullTransactionId();
}

void
derive_worker_open_hold(const DerivePosition *since)
{
	derive_worker.hold_begun = false;
	derive_worker.hold_pinned = true;
	set_since(since);
	if (since == NULL)
		derive_hold_end();
	if (pg_atomic_read_u64(&derive_worker.place->hold_moved_at) == 0)
		note_progress();
	if (!FullTransactionIdIsValid(derive_worker.hold_moved_xid))
		derive_worker.hold_moved_xid = ReadNextFullTransactionId();
}

/*
 * The snapshot is live until the end of the transaction, so that a hold can begin
 * with it.
 */
void
derive_worker_hold_present(const DerivePosition *to)
{
	if (!derive_old_rows_are_read())
		end_hold();
	else if (!is_holding())
	{
		derive_hold_begin(XidFromFullTransactionId(to->xmin));
		derive_worker.hold_begun = true;
		set_since(to);
	}
	derive_past_present(to);
}

bool
derive_worker_confirm_hold(void)
{
	if (derive_worker.hold_begun)
		derive_hold_confirm();
	return derive_worker.hold_begun;
}

/*
 * The batch's position is noted as the one to wait for, so that a hold that began with
 * it cannot get into the slot's file before that is on disk.  If an error comes between
 * the commit and this, the hold ends as that of a failed batch does.
 */
void
derive_worker_hold_committed(void)
{
	derive_worker.hold_begun = false;
	if (derive_worker_hold_is_due())
		derive_worker.hold_asked_at = GetCurrentTimestamp();
	note_progress();
}

void
derive_worker_leave_hold(void)
{
	if (derive_worker.hold_begun)
		end_hold();
}

void
derive_worker_hold_idle(void)
{
	note_progress();
}


/* ----------------------------------------------------------------
 *		What is needed
 * ----------------------------------------------------------------
 */

/* Is what was there then, at a time when this was the next xid, too old to be held? */
static bool
is_too_old(FullTransactionId xid, TimestampTz since)
{
	uint64		age = U64FromFullTransactionId(ReadNextFullTransactionId()) - U64FromFullTransactionId(xid);

	return derive_hold_remaining((int64) age, since) == 0;
}

/* Has all that the position sees been held ever since? */
static bool
is_held(const DerivePosition *position)
{
	return is_holding() && derive_worker.hold_since != NULL &&
		!TransactionIdPrecedes(XidFromFullTransactionId(position->xmin), derive_hold_xmin()) &&
		derive_position_includes(position, derive_worker.hold_since);
}

static void
take_earlier(FullTransactionId *xmin, FullTransactionId other)
{
	if (FullTransactionIdPrecedes(other, *xmin))
		*xmin = other;
}

/* A view's own position, if it has one. */
static const DerivePosition *
own_position(WorkerView *view)
{
	if (derive_worker_stands_still(view))
		return view->waiting->position;
	if (view->row->state == DERIVE_VIEW_CATCHUP && view->row->epoch == derive_worker.epoch)
		return view->row->position;
	return NULL;
}

/*
 * Only as far back as this batch reads, not to all that is held: an index with broken
 * HOT chains cannot be used by transactions with an xmin from before it.
 */
void
derive_worker_open_past(void)
{
	FullTransactionId xmin;
	ListCell   *lc;

	Assert(!derive_worker.hold_begun);
	if (!derive_old_rows_are_read() || derive_worker.position == NULL || !is_holding())
		return;
	xmin = derive_widen_xid(derive_hold_xmin());
	if (is_held(derive_worker.position))
		xmin = derive_worker.position->xmin;
	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);
		const DerivePosition *position = own_position(view);

		if (view->locked && position != NULL && is_held(position))
			take_earlier(&xmin, position->xmin);
	}
	derive_past_begin(XidFromFullTransactionId(xmin), derive_worker.hold_since);
}

/* Can the view come back by old rows?  Where it cannot, people are told (cohort.c). */
static void
look_at_past(WorkerView *view)
{
	bool		stands = derive_worker_stands_still(view) && derive_old_rows_are_read();
	bool		held = stands && is_held(view->waiting->position);

	if (held && is_too_old(view->waiting->position->xmax, view->waiting->since))
		held = false;
	view->past_gone = stands && (view->past_gone || !held);
}

/* What a view needs besides the position of all. */
static void
add_view(FullTransactionId *xmin, WorkerView *view)
{
	if (derive_worker_stands_still(view) && !view->past_gone)
		take_earlier(xmin, view->waiting->position->xmin);
	if (view->builder != NULL && FullTransactionIdIsValid(view->build_xmin))
		take_earlier(xmin, view->build_xmin);
	else if (view->row->state == DERIVE_VIEW_CATCHUP && own_position(view) != NULL &&
			 is_held(view->row->position) &&
			 !(view->waiting != NULL && is_too_old(view->row->position->xmax, view->waiting->since)))
		take_earlier(xmin, view->row->position->xmin);
}

void
derive_worker_move_hold(void)
{
	FullTransactionId xmin = derive_worker.stored_xmin;
	ListCell   *lc;

	if (!FullTransactionIdIsValid(xmin) || derive_worker.reload || derive_worker.hold_begun || !is_holding())
		return;
	if (FullTransactionIdIsValid(derive_worker.pin_xmin))
		take_earlier(&xmin, derive_worker.pin_xmin);
	foreach(lc, derive_worker.unsettled)
	{
		look_at_past(lfirst(lc));
		add_view(&xmin, lfirst(lc));
	}

	/*
	 * What has kept it from moving, or may have before we came, may be there
	 * again after a crash.
	 */
	derive_hold_move(XidFromFullTransactionId(xmin), derive_worker.hold_pinned);
	derive_worker.hold_pinned = !FullTransactionIdEquals(xmin, derive_worker.stored_xmin);
}

bool
derive_worker_hold_is_set(FullTransactionId *xmin)
{
	*xmin = InvalidFullTransactionId;
	if (!derive_old_rows_are_read())
		return true;
	if (!is_holding() || derive_worker.hold_begun)
		return false;
	*xmin = derive_widen_xid(derive_hold_xmin());
	return true;
}

bool
derive_worker_hold_for_build(WorkerView *view)
{
	FullTransactionId xmin;

	if (!derive_worker_hold_is_set(&xmin))
		return false;
	if (FullTransactionIdIsValid(xmin))
		view->build_xmin = xmin;
	return true;
}


/* ----------------------------------------------------------------
 *		Between batches
 * ----------------------------------------------------------------
 */

/* Does only the hold ask for a batch, to store its position? */
bool
derive_worker_hold_is_due(void)
{
	TimestampTz now;
	int32		xids;

	if (!is_holding())
		return false;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(Max(derive_worker.stored_at, derive_worker.hold_asked_at), now, STORE_AFTER_MS))
		return false;
	if (derive_worker.commits_stored != pg_atomic_read_u64(&derive_worker.place->commits))
		return true;

	/*
	 * how far it would come; not how old it is, which others may be to blame
	 * for
	 */
	xids = (int32) (GetOldestActiveTransactionId() - XidFromFullTransactionId(derive_worker.stored_xmin));
	return xids >= STORE_AFTER_XIDS ||
		(xids >= STORE_AFTER_FEW_XIDS &&
		 TimestampDifferenceExceeds(derive_worker.stored_at, now, STORE_AFTER_LONG_MS));
}

/* Wake up for it. */
long
derive_worker_hold_timeout(long timeout)
{
	if (!is_holding() || derive_worker.commits_stored == pg_atomic_read_u64(&derive_worker.place->commits))
		return timeout;
	return Min(timeout, STORE_AFTER_MS);
}

int
derive_worker_lock_wait_ms(void)
{
	if (!is_holding() || (derive_max_hold == 0 && derive_max_hold_age == 0))
		return 0;
	return derive_max_hold == 0 ? DERIVE_HOLD_LOOK_MS : Min(DERIVE_HOLD_LOOK_MS, derive_max_hold);
}

void
derive_worker_tend_hold(void)
{
	TimestampTz moved_at;

	if (!is_holding())
		return;
	if (derive_worker.hold_begun || !derive_old_rows_are_read())
	{
		end_hold();				/* the batch that began it has failed */
		return;
	}
	if (XLogRecPtrIsInvalid(derive_worker.confirm_lsn))
		derive_worker_move_hold();

	moved_at = (TimestampTz) pg_atomic_read_u64(&derive_worker.place->hold_moved_at);
	if (!is_too_old(derive_worker.hold_moved_xid, moved_at))
		return;
	derive_hold_report_end(derive_worker.whose,
						   psprintf("No batch has succeeded since %s.", timestamptz_to_str(moved_at)));
	end_hold();
}
