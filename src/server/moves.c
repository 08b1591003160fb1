/*-------------------------------------------------------------------------
 *
 * moves.c
 *	  Views that move from one group to another.
 *
 * Which.  Views that read one another are in one group (base/groups.c), so a view takes with it
 * those that it reads and those that read it, in any number of steps.  All of them are handed over
 * in one batch.
 *
 * How.  A view that stands still at a position of its own, with its changes kept in the log, comes
 * back by them (cohort.c).  That is just what a view does that comes from elsewhere.  So it is handed
 * over by two rows in one transaction, the one of a batch of the old worker: its group is the new one, and
 * it stands still, at the position to which that batch has moved it.  Who reads it notices
 * nothing; it is behind for as long as the new worker needs to read the log again from there.
 *
 *	1. plan			derive.move() says where it shall go, in derive_state.moves
 *	2. pin			the new worker sees that, and no longer lets go of the log: its slot stays
 *					where it is, also across crashes, as long as there is a view that is to
 *					come.  It says so in shared memory, with the LSN from which on it has all
 *					(DeriveGroup.pinned_lsn): it may have let go of what is before, and the snapshot
 *					with which its hold on old row versions began may see as far
 *	3. hand over	the old worker, in a batch that ends behind that LSN, writes group and
 *					position, and forgets the view
 *	4. take over	the new worker finds a view that stands still, opens its decoder anew, and
 *					moves it with the next batch
 *
 *		group		slot			batch			view v
 *		0			300				310				moves to 310; is to go to group 1
 *		1			250, pinned		305
 *		0			310				320				moves to 320; group 1, stands still at 320
 *		1			250				330
 *		1			250				340				the log from 250 on again; moves from 320 to 340
 *		1			340
 *
 * Why nothing is lost, and nothing is counted twice.  In 3, all that the view lacks has its commit
 * record behind the LSN that goes with its position, and the slot of the new worker delivers that, as it has not
 * been confirmed further than the LSN that was pinned.  After 3 the view's row in
 * derive_state.waiting keeps it there.  What is between must not be the moment at which the
 * pin ends:
 *
 *	  - it ends when the new worker has read the registry and no view is to come any more.  That
 *		read is begun with the word in shared memory set back;
 *	  - a session that gives up the move (or plans it again) needs ShareUpdateExclusiveLock on the view.
 *		The old worker takes one that conflicts with it, and then looks whether the move is
 *		still planned, and after that at the word; and it keeps the lock to the end of its batch.
 *
 * So the word that it sees is of a worker who has seen this plan, or one who will see it before
 * it lets go of anything.  A new worker that starts meanwhile, sees the plan, and pins the slot where it
 * finds it.  Should a slot be further nevertheless, since somebody else has moved it, or it was lost,
 * the view is computed anew, as ever (cohort.c, reading.c).
 *
 * The new worker reads the log again, which makes builders begin anew.  So it has none while it is pinned:
 * the pin waits for those that are at work, and others wait for the move.
 *
 * What becomes of which view:
 *
 *		ready				as above, once it is where its batch is: not locked, or being computed
 *		in the slow lane	is marked: the new worker's lane computes it
 *		paused, failed		just gets the other group, since it stands still in any case
 *		being built			waits for the builder; one that has none yet is built there
 *		being replaced		is refused, and if it happens later, waits for the end of that
 *
 * Subscribers, counters and rights are of the view, and stay.
 *
 * A view over others that is declared while these move, in a transaction that began before, may be
 * left behind.  Nobody has filled it yet, and it follows them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/groups.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "base/waiting.h"
#include "capture/decoder.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "server/background.h"
#include "server/dependents.h"
#include "server/shmem.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* Look so often whether views can be handed over that could not. */
#define FIRST_TRY_MS	20
#define LAST_TRY_MS		1000

/* So many views, with those that go with each, are looked at in one batch. */
#define MOST_TRIES		16

static TimestampTz try_at = 0;	/* do not try to hand over before */
static int	tries = 0;			/* in a row that came to nothing */
static uint32 first = 0;		/* which view is looked at first, the next
								 * time */

/* For tests: it has been done, and nothing since. */
static bool handed_over = false;
static bool taken_over = false;


/* ----------------------------------------------------------------
 *		The new worker: pin, and take over
 * ----------------------------------------------------------------
 */

void
derive_worker_begin_pin(void)
{
	if (handed_over)
		DERIVE_DEBUG_POINT("move-committed");
	handed_over = false;
	pg_atomic_write_u64(&derive_worker.db->pinned_lsn, InvalidXLogRecPtr);
	pg_memory_barrier();
}

void
derive_worker_end_pin(void)
{
	if (derive_worker.incoming == NIL && !XLogRecPtrIsInvalid(derive_worker.pin))
	{
		taken_over = true;
		DERIVE_DEBUG_POINT("move-found");
		derive_worker.pin = InvalidXLogRecPtr;
		derive_worker.pin_xmin = InvalidFullTransactionId;
	}
}

void
derive_worker_pin_slot(void)
{
	if (derive_worker.incoming != NIL)
		derive_worker.pin = derive_decoder_confirmed(derive_worker.decoder);
}

/* Is there a view whose backlog is, or will be, in the stream only? */
static bool
any_build(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if (view->builder != NULL || view->row->state == DERIVE_VIEW_CATCHUP)
			return true;
	}
	return false;
}

/* The workers that wait for it. */
static void
wake_old_workers(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.incoming)
	{
		DeriveGroup *db = derive_group_mine(lfirst_int(lc));

		if (db != NULL)
			derive_group_wake(db);
	}
}

void
derive_worker_tend_moves(void)
{
	FullTransactionId xmin;

	if (taken_over && XLogRecPtrIsInvalid(derive_worker_waiting_lsn()))
	{
		taken_over = false;
		DERIVE_DEBUG_POINT("move-taken");
	}
	if (derive_worker.incoming == NIL || derive_worker.decoder == NULL || derive_worker.reload ||
		pg_atomic_read_u64(&derive_worker.db->pinned_lsn) != InvalidXLogRecPtr)
		return;
	if (XLogRecPtrIsInvalid(derive_worker.pin))
	{
		if (any_build() || !derive_worker_hold_is_set(&xmin))
			return;
		derive_worker.pin = Max(derive_worker.stored_lsn, derive_decoder_asked(derive_worker.decoder));
		derive_worker.pin_xmin = xmin;
	}
	else if (any_build() || !derive_worker_hold_is_set(&xmin))
		return;
	else if (!FullTransactionIdIsValid(derive_worker.pin_xmin))
		derive_worker.pin_xmin = xmin;
	DERIVE_DEBUG_POINT("move-pin");
	pg_atomic_write_u64(&derive_worker.db->pinned_lsn, Max(derive_worker.pin, derive_wait_target(InvalidXLogRecPtr)));
	wake_old_workers();
	DERIVE_DEBUG_POINT("move-pinned");
}

/*
 * Whatever has come to stand still here, from elsewhere or before a crash: does the slot still
 * deliver what it lacks?
 */
void
derive_worker_check_waiting(void)
{
	ListCell   *lc;

	if (derive_worker.decoder == NULL)
		return;
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (derive_worker_stands_still(view) && view->waiting->lsn < derive_decoder_asked(derive_worker.decoder))
			derive_worker_lose_changes(view, "its turn to be computed anew: the replication slot no longer has what it lacks");
	}
}


/* ----------------------------------------------------------------
 *		The old worker: hand over
 * ----------------------------------------------------------------
 */

/* May it have let go of nothing that is behind this LSN? */
static bool
is_pinned(int group, XLogRecPtr lsn)
{
	DeriveGroup *db = derive_group_mine(group);
	XLogRecPtr	pinned = db != NULL ? pg_atomic_read_u64(&db->pinned_lsn) : InvalidXLogRecPtr;

	return !XLogRecPtrIsInvalid(pinned) && pinned <= lsn;
}

/* Is it to go to a group that waits for it? */
static bool
may_go(WorkerView *view)
{
	return view->row->move_to >= 0 && is_pinned(view->row->move_to, PG_UINT64_MAX);
}

/* Could it go now?  What is ready must be where the batch is. */
static bool
is_at_rest(WorkerView *view)
{
	if (OidIsValid(view->row->replaces) || derive_worker_replacement(view) != NULL || view->builder != NULL ||
		(view->row->state == DERIVE_VIEW_BUILDING && derive_build_find(MyDatabaseId, view->relid) != NULL))
		return false;
	switch (view->row->state)
	{
		case DERIVE_VIEW_PAUSED:
		case DERIVE_VIEW_FAILED:
		case DERIVE_VIEW_BUILDING:
			return true;
		case DERIVE_VIEW_CATCHUP:
			return false;
		case DERIVE_VIEW_READY:
			break;
	}
	return view->lane != NULL || (view->fresh && view->waiting == NULL && !derive_worker_needs_recompute(view));
}

/*
 * Nobody else may write its row, nor its label, until we commit.  False if somebody may have, or
 * is about to.  Who appends to a topic need not wait.
 */
static bool
lock_row(WorkerView *view)
{
	DeriveViewRow *now;

	if (!ConditionalLockRelationOid(view->relid, ShareUpdateExclusiveLock))
		return false;
	now = get_rel_name(view->relid) == NULL ? NULL : derive_registry_get(view->relid);
	if (now != NULL && ItemPointerEquals(&now->version, &view->row->version))
		return true;
	derive_worker.reload = true;
	return false;
}

/* Views that go together, of WorkerView *; NIL if they cannot go now. */
static List *
lock_connected(List *connected)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, connected)
	{
		WorkerView *other = derive_worker_find_view(lfirst_oid(lc));

		if (other == NULL || !is_at_rest(other) || !lock_row(other))
			return NIL;
		result = lappend(result, other);
	}
	return result;
}

/* It is locked. */
static bool
is_still_planned(WorkerView *view, int group)
{
	ListCell   *lc;

	foreach(lc, derive_moves_all(NULL))
	{
		DeriveMove *move = lfirst(lc);

		if (move->view == view->relid && move->declared_at == view->row->created_at && move->to_group == group)
			return true;
	}
	derive_worker.reload = true;
	return false;
}

static void
hand_over(WorkerView *view, int group, const DerivePosition *position, XLogRecPtr lsn)
{
	DeriveViewRow row = *view->row;

	if (view->row->state == DERIVE_VIEW_READY && view->lane != NULL)
		derive_worker_mark_stale(view, false);
	else if (view->row->state == DERIVE_VIEW_READY)
	{
		DeriveWaitingRow waiting = {0};

		waiting.view = view->relid;
		waiting.declared_at = view->row->created_at;
		waiting.position = unconstify(DerivePosition *, position);
		waiting.lsn = lsn;
		waiting.since = waiting.behind_since = GetCurrentTimestamp();
		waiting.reason = psprintf("its move to group \"%s\"", derive_group_name(group));
		derive_waiting_set(&waiting);
	}
	row.group = group;
	derive_registry_update(&row);
	derive_move_end(view->relid);
	ereport(LOG,
			(errmsg("view \"%s\" moves to group \"%s\"", get_rel_name(view->relid), derive_group_name(group))));
}

/* A view, with all that go with it, which are added to *seen.  True if they went. */
static bool
try_to_hand_over(WorkerView *view, const DerivePosition *position, XLogRecPtr lsn, List **seen)
{
	int			group = view->row->move_to;
	List	   *connected = derive_connected_views(view->relid);
	List	   *views = lock_connected(connected);
	ListCell   *lc;

	*seen = list_concat_unique_oid(*seen, connected);
	DERIVE_DEBUG_POINT("move-locked");
	if (views == NIL || !is_still_planned(view, group) || !is_pinned(group, lsn))
		return false;
	foreach(lc, views)
		hand_over(lfirst(lc), group, position, lsn);
	derive_worker.reload = true;
	handed_over = true;
	DERIVE_DEBUG_POINT("move-written");
	return true;
}

bool
derive_worker_hand_over(const DerivePosition *position, XLogRecPtr lsn)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *seen = NIL;
	bool		any = false;
	int			n = list_length(derive_worker.unsettled);
	int			ntried = 0;

	if (now < try_at)
		return false;
	/* in turns, so that none that cannot go keeps others from it */
	for (int i = 0; i < n && ntried < MOST_TRIES; i++)
	{
		WorkerView *view = list_nth(derive_worker.unsettled, (first + i) % n);

		if (!may_go(view) || list_member_oid(seen, view->relid))
			continue;
		ntried++;
		any |= try_to_hand_over(view, position, lsn, &seen);
	}
	first += ntried;
	if (seen == NIL)
		return false;
	tries = any ? 0 : tries + 1;
	try_at = any ? 0 : TimestampTzPlusMilliseconds(now, Min(FIRST_TRY_MS << Min(tries, 10), LAST_TRY_MS));
	return any;
}

List *
derive_worker_moves_relations(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		if (((WorkerView *) lfirst(lc))->row->move_to >= 0)
			return list_make1_oid(derive_registry_table_oid("moves", false));
	}
	return NIL;
}

bool
derive_worker_move_is_due(void)
{
	ListCell   *lc;

	if (GetCurrentTimestamp() < try_at)
		return false;
	foreach(lc, derive_worker.unsettled)
	{
		if (may_go(lfirst(lc)))
			return true;
	}
	return false;
}

long
derive_worker_moves_timeout(long timeout)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		if (((WorkerView *) lfirst(lc))->row->move_to >= 0)
			return Min(timeout, LAST_TRY_MS);
	}
	return timeout;
}


/* ----------------------------------------------------------------
 *		Views that were left behind
 * ----------------------------------------------------------------
 */

/* The group of a view that it reads, if that is not ours; else -1. */
static int
group_of_sources(WorkerView *view, Oid *elsewhere)
{
	ListCell   *lc;

	foreach(lc, view->program != NULL ? view->program->view_sources : NIL)
	{
		DeriveViewRow *source;

		if (derive_worker_find_view(lfirst_oid(lc)) != NULL)
			continue;
		source = derive_registry_get(lfirst_oid(lc));
		*elsewhere = lfirst_oid(lc);
		if (source != NULL && source->group != derive_worker.group)
			return source->group;
	}
	return -1;
}

void
derive_worker_follow_sources(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);
		Oid			source;
		int			group = group_of_sources(view, &source);
		ErrorData	error = {.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE};

		if (group < 0 || view->row->state == DERIVE_VIEW_FAILED)
			continue;
		if (view->row->state != DERIVE_VIEW_BUILDING)
			(void) derive_worker_fail_view(view, psprintf("it reads view \"%s\", which is in group \"%s\"",
														  get_rel_name(source), derive_group_name(group)), &error, false);
		else if (lock_row(view))
		{
			DeriveViewRow row = *view->row;

			row.group = group;
			derive_registry_update(&row);
			derive_worker.reload = true;
		}
		else
			derive_worker.reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	}
}
