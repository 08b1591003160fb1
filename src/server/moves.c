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
 *	2. pin			the new worker sees that, and for now no longer lets go of the log: its slot stays
 *					where it is, also across crashes.  It says so in shared memory, with the LSN from
 *					which on it has all (DeriveGroup.pinned_lsn, "the word"): it may have let go of what is
 *					before, and the snapshot with which its hold on old row versions began may see as far
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
 * pin ends.  So an old worker takes a lock of the new group (derive_group_lock_arrivals()), then looks at the
 * word, and keeps the lock to the end of its batch; and the new worker
 *
 *	  - takes the word back;
 *	  - takes a lock that conflicts with that one: nobody is handing anything over who has seen the word;
 *	  - reads the registry, which shows what has been handed over; and then lets go.
 *
 * Nobody waits for these locks: who does not get one tries again.  A new worker that starts meanwhile sees the plan,
 * or the view, and pins the slot where it finds it.  Should a slot be further nevertheless, since
 * somebody else has moved it, or it was lost, the view is computed anew, as ever (cohort.c, reading.c), and
 * what only the log had is said to be lost.
 *
 * How long.  The pin ends when no view is to come any more.  But one that does not come (a session has locked it)
 * must not keep log and old rows, for the whole cluster.  So the pin ends after PIN_MS in any case, and the
 * slot is pinned again where it is then:
 *
 *		seconds			0				5				10
 *		new worker		pins 250		pins 900		pins 1400
 *		view v			locked			locked			free: handed over in the next batch
 *
 * It is longer only while an old worker is in a batch, since none that began before counts; the old worker's
 * own slot keeps as much then.  pg_derive.max_hold and max_hold_age limit that, too.  A new worker that
 * leaves, or is to read all of the log before, does without a pin.
 *
 * The new worker reads the log again, which makes builders begin anew.  So it has none while it is pinned: they take
 * turns.  The pin waits for those that are at work.  As long as it has to wait for one that was when it was first
 * wanted, others may start, too; then it is its turn.  Those that wait for the pin all start when it ends, before it
 * is taken again, as far as pg_derive.max_builds lets them.
 *
 *		seconds			0				600			700			705
 *		builder of a	at work			ends
 *		pin				wanted			waits		taken		ends
 *		builder of b	starts			at work		ends
 *		builder of c					waits					starts
 *
 * What a builder has left to be handed over by a batch counts, too, but not for long if a session has locked it:
 * it is built anew then.
 *
 * What becomes of which view:
 *
 *		ready				as above, once it is where its batch is: not locked, or being computed
 *		in the slow lane	is marked: the new worker's lane computes it
 *		paused, failed		just gets the other group, since it stands still in any case
 *		being built			waits for the builder; one that has none yet is built there, or here if the move takes long
 *		being replaced		is refused, as it is to replace what moves (sql/replace.c); of two that did not see each
 *							other the move is given up, since it can take for ever until the new query has succeeded
 *
 * Subscribers, counters and rights are of the view, and stay.
 *
 * Views that are declared over others meanwhile.  Who declares one locks what it reads against being handed over
 * (derive_group_keep_view()), then looks in which group that is, and keeps the lock until he commits.  The view
 * then goes with the others if it has the owner of one that somebody wanted to move; else they stay, since nobody
 * asked its owner.  Should a view nevertheless be where what it reads is not, it follows that if it is to be filled
 * or computed anew, and fails otherwise, or if it reads views of several groups.
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
#include "base/rights.h"
#include "base/waiting.h"
#include "capture/decoder.h"
#include "capture/hold.h"
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

/* The slot is pinned for so long, then where it is by then. */
#define PIN_MS			5000

/* A view that has been built and is locked delays the pin for so long. */
#define LOCKED_MS		10000

/* So many views, with those that go with each, are looked at in one batch. */
#define MOST_TRIES		16

static TimestampTz try_at = 0;	/* do not try to hand over before */
static int	tries = 0;			/* in a row that came to nothing */
static uint32 first = 0;		/* which view is looked at first, the next
								 * time */

/* The pin: since when, and what is said of it. */
static TimestampTz pinned_at = 0;
static FullTransactionId pinned_xid;	/* the next one then */
static XLogRecPtr word = InvalidXLogRecPtr;
static bool give_up = false;	/* it is to end */
static bool nobody_arrives = false; /* while the registry is read: the lock
									 * says so */
static bool wanted = false;		/* those that were built when it was first
								 * wanted, are marked */
static bool builders_wait = false;
static bool builders_turn = false;

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
	pg_atomic_write_u64(&derive_worker.place->pinned_lsn, InvalidXLogRecPtr);
	pg_memory_barrier();
	nobody_arrives = !XLogRecPtrIsInvalid(derive_worker.pin) &&
		derive_group_lock_arrivals(derive_worker.group, ExclusiveLock);
}

/* At this LSN; what it had of old rows may not be held any more. */
static void
pin_at(XLogRecPtr lsn)
{
	derive_worker.pin = lsn;
	derive_worker.pin_xmin = InvalidFullTransactionId;
	word = InvalidXLogRecPtr;
	pinned_at = GetCurrentTimestamp();
	pinned_xid = ReadNextFullTransactionId();
}

void
derive_worker_end_pin(void)
{
	if (XLogRecPtrIsInvalid(derive_worker.pin) || (derive_worker.incoming != NIL && !give_up))
		return;
	if (!nobody_arrives)
	{
		derive_worker.reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RELOAD_MS);
		return;
	}
	if (derive_worker.incoming == NIL)
	{
		taken_over = true;
		DERIVE_DEBUG_POINT("move-found");
	}
	builders_turn = builders_wait;
	builders_wait = wanted = give_up = false;
	pin_at(InvalidXLogRecPtr);
	if (derive_worker.decoder != NULL && !XLogRecPtrIsInvalid(derive_worker.stored_lsn))
		derive_worker_confirm_stored();
}

void
derive_worker_pin_slot(void)
{
	if (derive_worker.incoming != NIL || !XLogRecPtrIsInvalid(derive_worker.pin))
		pin_at(derive_decoder_confirmed(derive_worker.decoder));
}

void
derive_worker_give_up_pin(void)
{
	if (XLogRecPtrIsInvalid(derive_worker.pin) || give_up)
		return;
	give_up = true;
	derive_worker.reload = true;	/* if that cannot end it, end_pin() says
									 * when to try again */
}

/* Has it been long enough for who wanted to hand something over? */
static bool
pin_is_over(void)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		xids;
	bool		awaited = false;
	ListCell   *lc;

	if (derive_worker.finishing)
		return true;
	if (XLogRecPtrIsInvalid(derive_worker.pin))
		return false;
	pinned_at = Min(pinned_at, now);	/* the clock may be set back */
	if (!TimestampDifferenceExceeds(pinned_at, now, PIN_MS))
		return false;
	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	foreach(lc, derive_worker.incoming)
	{
		DeriveGroup *place = derive_group_mine(lfirst_int(lc));

		awaited |= place != NULL && place->reading && pg_atomic_read_u64(&place->point.applied_lsn) < word;
	}
	LWLockRelease(derive_shared()->lock);
	xids = U64FromFullTransactionId(ReadNextFullTransactionId()) - U64FromFullTransactionId(pinned_xid);
	return !awaited || derive_hold_remaining((int64) xids, pinned_at) == 0;
}

/* Is its backlog, or will it be, in the stream only, and not for too long already? */
static bool
is_built(WorkerView *view)
{
	if (view->row->state == DERIVE_VIEW_CATCHUP && view->builder == NULL)
		return derive_worker_wants_backlog(view) &&
			(view->waiting == NULL ||
			 !TimestampDifferenceExceeds(view->waiting->since, GetCurrentTimestamp(), LOCKED_MS));
	return view->builder != NULL;
}

/* Mark those that are built now, the first time. */
static void
want_pin(void)
{
	ListCell   *lc;

	foreach(lc, wanted ? NIL : derive_worker.unsettled)
		((WorkerView *) lfirst(lc))->delays_pin = is_built(lfirst(lc));
	wanted = true;
}

/* Is there any, or one that is marked? */
static bool
any_build(bool marked)
{
	ListCell   *lc;

	foreach(lc, derive_worker.unsettled)
	{
		WorkerView *view = lfirst(lc);

		if ((view->delays_pin || !marked) && is_built(view))
			return true;
	}
	return false;
}

bool
derive_worker_may_build(void)
{
	if (XLogRecPtrIsInvalid(derive_worker.pin))
	{
		if (derive_worker.incoming == NIL || builders_turn)
			return true;
		want_pin();
		if (any_build(true))
			return true;
	}
	builders_wait = true;
	return false;
}

/* The workers that wait for it. */
static void
wake_old_workers(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.incoming)
	{
		DeriveGroup *place = derive_group_mine(lfirst_int(lc));

		if (place != NULL)
			derive_group_wake(place);
	}
}

void
derive_worker_tend_moves(void)
{
	FullTransactionId xmin;

	builders_turn = false;
	if (derive_worker.incoming == NIL)
		wanted = false;
	if (pin_is_over())
		derive_worker_give_up_pin();
	if (taken_over && XLogRecPtrIsInvalid(derive_worker_waiting_lsn()))
	{
		taken_over = false;
		DERIVE_DEBUG_POINT("move-taken");
	}
	if (derive_worker.incoming == NIL || derive_worker.decoder == NULL || derive_worker.reload || derive_worker.finishing ||
		give_up || pg_atomic_read_u64(&derive_worker.place->pinned_lsn) != InvalidXLogRecPtr)
		return;
	want_pin();
	if (XLogRecPtrIsInvalid(derive_worker.stored_lsn) || any_build(false) || !derive_worker_hold_is_set(&xmin))
		return;
	if (XLogRecPtrIsInvalid(derive_worker.pin))
		pin_at(Max(derive_worker.stored_lsn, derive_decoder_asked(derive_worker.decoder)));
	if (!FullTransactionIdIsValid(derive_worker.pin_xmin))
		derive_worker.pin_xmin = xmin;
	DERIVE_DEBUG_POINT("move-pin");
	if (XLogRecPtrIsInvalid(word))
		word = Max(derive_worker.pin, derive_wait_target(InvalidXLogRecPtr));
	pg_atomic_write_u64(&derive_worker.place->pinned_lsn, word);
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
			derive_worker_lose_log(view, derive_decoder_asked(derive_worker.decoder),
								   "its turn to be computed anew: the replication slot no longer has what it lacks");
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
	DeriveGroup *place = derive_group_mine(group);
	XLogRecPtr	pinned = place != NULL ? pg_atomic_read_u64(&place->pinned_lsn) : InvalidXLogRecPtr;

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
	return view->lane != NULL || (derive_worker_is_fresh(view) && view->waiting == NULL && !derive_worker_needs_recompute(view));
}

/*
 * Nobody else may write its row, nor its label, nor declare a view that reads it, until we commit.  False if somebody
 * may have, or is about to.  Who appends to a topic need not wait.
 */
static bool
lock_row(WorkerView *view)
{
	DeriveViewRow *now;

	if (!ConditionalLockRelationOid(view->relid, ShareUpdateExclusiveLock) || !derive_group_may_leave(view->relid))
		return false;
	now = get_rel_name(view->relid) == NULL ? NULL : derive_registry_get(view->relid);
	if (now != NULL && ItemPointerEquals(&now->version, &view->row->version))
		return true;
	derive_worker.reload = true;
	return false;
}

/* Views that go together, of WorkerView *; NIL if they cannot go now.  Those of other groups are not ours to hand over. */
static List *
all_at_rest(List *connected)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, connected)
	{
		WorkerView *other = derive_worker_find_view(lfirst_oid(lc));
		DeriveViewRow *elsewhere = other == NULL ? derive_registry_get(lfirst_oid(lc)) : NULL;

		if (elsewhere != NULL && elsewhere->group != derive_worker.group)
			continue;
		if (other == NULL || !is_at_rest(other))
			return NIL;
		result = lappend(result, other);
	}
	return result;
}

/* So that all of these can be handed over there. */
static bool
lock_to_go(List *views, int group)
{
	ListCell   *lc;

	if (!derive_group_try_keep(group) || !derive_group_lock_arrivals(group, ShareLock))
		return false;
	foreach(lc, views)
	{
		if (!lock_row(lfirst(lc)))
			return false;
	}
	return true;
}

/* It is locked; moves: of DeriveMove *. */
static bool
is_planned(WorkerView *view, int group, List *moves)
{
	ListCell   *lc;

	foreach(lc, moves)
	{
		DeriveMove *move = lfirst(lc);

		if (move->view == view->relid && move->declared_at == view->row->created_at && move->to_group == group)
			return true;
	}
	return false;
}

/* Has somebody wanted it to move, or another one of these that has the same owner? */
static bool
owner_agrees(WorkerView *view, int group, List *views, List *moves)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		WorkerView *other = lfirst(lc);

		if (is_planned(other, group, moves) && (other == view || derive_owner_of(other->relid) == derive_owner_of(view->relid)))
			return true;
	}
	return false;
}

/* It does not move, nor do those of these, which are locked, that are to. */
static void
give_up_move(WorkerView *view, int group, List *views, char *detail, const char *hint)
{
	ListCell   *lc;

	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view \"%s\" does not move to group \"%s\"", get_rel_name(view->relid), derive_group_name(group)),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
	foreach(lc, views)
		derive_move_end(((WorkerView *) lfirst(lc))->relid);
	derive_worker.reload = true;
}

/* The view is to move, with all of these.  If somebody has to be asked none goes, and *gave_up is set. */
static bool
all_agree(WorkerView *view, int group, List *views, bool *gave_up)
{
	List	   *moves = derive_moves_all(NULL);
	WorkerView *stranger = NULL;
	ListCell   *lc;

	if (!is_planned(view, group, moves))
	{
		derive_worker.reload = true;
		return false;
	}
	foreach(lc, views)
	{
		if (!owner_agrees(lfirst(lc), group, views, moves))
			stranger = lfirst(lc);
	}
	if (stranger == NULL)
		return true;
	give_up_move(view, group, views,
				 psprintf("View \"%s\", which would have to move with it, was created since, by another owner.",
						  get_rel_name(stranger->relid)),
				 "Who owns both may call derive.move() again.");
	*gave_up = true;
	return false;
}

/* The one of these that is replaced, or InvalidOid. */
static Oid
replaced_among(List *connected)
{
	ListCell   *lc;

	foreach(lc, connected)
	{
		WorkerView *view = derive_worker_find_view(lfirst_oid(lc));
		DeriveViewRow *now;

		if (view == NULL || !OidIsValid(view->row->replaces))
			continue;
		now = derive_registry_get(view->relid);
		if (now != NULL && OidIsValid(now->replaces))
			return now->replaces;
	}
	return InvalidOid;
}

/*
 * The view would have to take one with it that is replaced.  Only those are locked that are to move, since
 * the replacement may be, by its builder.  True if something was written.
 */
static bool
give_up_for_replacement(WorkerView *view, int group, List *connected, Oid replaced)
{
	List	   *planned = NIL;
	ListCell   *lc;

	foreach(lc, connected)
	{
		WorkerView *other = derive_worker_find_view(lfirst_oid(lc));

		if (other == NULL || other->row->move_to < 0)
			continue;
		if (!lock_row(other))
			return false;
		planned = lappend(planned, other);
	}
	if (!is_planned(view, group, derive_moves_all(NULL)))
	{
		derive_worker.reload = true;
		return false;
	}
	give_up_move(view, group, planned,
				 psprintf("View \"%s\", which would have to move with it, is being replaced.", get_rel_name(replaced)),
				 "Call derive.move() again when it has been, see derive.wait_replaced().");
	return true;
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

/* A view, with all that go with it.  True if something was written. */
static bool
try_to_hand_over(WorkerView *view, List *connected, const DerivePosition *position, XLogRecPtr lsn)
{
	int			group = view->row->move_to;
	Oid			replaced = replaced_among(connected);
	List	   *views;
	bool		locked;
	bool		gave_up = false;
	ListCell   *lc;

	if (OidIsValid(replaced))
		return give_up_for_replacement(view, group, connected, replaced);
	views = all_at_rest(connected);
	if (views == NIL)
		return false;
	locked = lock_to_go(views, group);
	DERIVE_DEBUG_POINT("move-locked");
	if (!locked || !is_pinned(group, lsn) || list_difference_oid(derive_connected_views(view->relid), connected) != NIL ||
		!all_agree(view, group, views, &gave_up))
		return gave_up;
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
	List	   *connections = NIL;
	bool		awaited = false;
	bool		any = false;
	int			n = list_length(derive_worker.unsettled);
	int			ntried = 0;

	if (now < try_at)
		return false;
	/* in turns, so that none that cannot go keeps others from it */
	for (int i = 0; i < n && ntried < MOST_TRIES; i++)
	{
		WorkerView *view = list_nth(derive_worker.unsettled, (first + i) % n);
		List	   *connected;

		if (!may_go(view))
			continue;
		awaited = true;
		if (!is_at_rest(view) || list_member_oid(seen, view->relid))
			continue;
		if (ntried++ == 0)
			connections = derive_connections();
		connected = derive_connected_by(connections, view->relid);
		any |= try_to_hand_over(view, connected, position, lsn);
		seen = list_concat_unique_oid(seen, connected);
	}
	first += ntried;
	if (!awaited)
		return false;
	tries = any ? 0 : tries + 1;
	try_at = any ? 0 : TimestampTzPlusMilliseconds(now, Min(FIRST_TRY_MS << Min(tries, 10), LAST_TRY_MS));
	return any;
}

void
derive_worker_moves_note_clock(TimestampTz now)
{
	try_at = Min(try_at, now);
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

	if (!XLogRecPtrIsInvalid(derive_worker.pin))
		return Min(timeout, LAST_TRY_MS);
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

/* The group of a view that it reads, which is *elsewhere, if that is not ours; else -1.  *several: others are not in that one. */
static int
group_of_sources(WorkerView *view, Oid *elsewhere, bool *several)
{
	int			result = -1;
	bool		ours = false;
	ListCell   *lc;

	*several = false;
	foreach(lc, view->program != NULL ? view->program->view_sources : NIL)
	{
		DeriveViewRow *source = derive_worker_find_view(lfirst_oid(lc)) != NULL ? NULL : derive_registry_get(lfirst_oid(lc));

		if (source == NULL || source->group == derive_worker.group)
		{
			ours |= source != NULL || derive_worker_find_view(lfirst_oid(lc)) != NULL;
			continue;
		}
		*several |= result >= 0 && result != source->group;
		*elsewhere = lfirst_oid(lc);
		result = source->group;
	}
	*several |= ours && result >= 0;
	return result;
}

void
derive_worker_follow_sources(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);
		Oid			source;
		bool		several;
		int			group = group_of_sources(view, &source, &several);
		ErrorData	error = {.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE};

		if (group < 0 || view->row->state == DERIVE_VIEW_FAILED)
			continue;
		if ((view->row->state != DERIVE_VIEW_BUILDING && !view->row->rebuild) || several)
			(void) derive_worker_fail_view(view, psprintf("it reads view \"%s\", which is in group \"%s\"%s",
														  get_rel_name(source), derive_group_name(group),
														  several ? ", and views of other groups" : ""), &error, false);
		else if (lock_row(view))
		{
			DeriveViewRow row = *view->row;

			row.group = group;
			derive_registry_update(&row);
			derive_move_end(view->relid);	/* if those are to go on from
											 * there, it goes with them */
			derive_worker.reload = true;
		}
		else
			derive_worker.reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	}
}
