/*-------------------------------------------------------------------------
 *
 * concerned.c
 *	  Which views a batch looks at.
 *
 * A batch moves all views to one position, but mostly only a few of them have anything to
 * do for that.  A view of which no table has changed is what its query is at the new
 * position, too, without being locked or looked at.  So a batch looks only at those that
 * are selected, and costs what they cost, however many others there are.
 *
 * But locks come before the snapshot S, and what has changed is known only when the log
 * has been read up to what S sees.  So the selection is a guess, of
 *
 *		unsettled views		that are not just ready and where the others are: being built,
 *							paused, failed, set aside, in the slow lane, new, to be computed
 *							anew, to take another one's place, to move to another group, without a program
 *		hot views			for which one of the last batches had changes
 *		by the time			those of whose rows some are too old by now; those that depend
 *							on now(), if that moves
 *		readers				of all of these
 *
 * and whether it was right is known before anything is done with the views.  If it was not,
 * the batch is left: what was read stays in the stream, as after an error, those that were
 * missing are hot now, and the next batch, with new locks and a new S, has them:
 *
 *		round	locked		S sees changes for		then
 *		1		a			a, b					left, b is hot
 *		2		a, b		a, b, c (just now)		left, c is hot
 *		3		a, b, c		a, b, c					moves a, b, c; d .. z are where S is, too
 *
 * While the same views change again and again there is one round.  After a few, or
 * where nobody can tell, all views are selected, and then nothing can be missing.
 *
 * What is not selected, and why that is exact.  It is settled, and
 *
 *		its rows		are changed by the worker only, in a batch that has it selected and
 *						locked.  What sessions do to it (REFRESH, pause, DROP) they write down
 *						in the registry, in the same transaction (hooks.c).
 *		its tables		have no change in the log between the two positions, TRUNCATE
 *						included, which is a change that nobody knows.
 *		other views		that it reads are not selected either, or it would be as a reader of
 *						them; so they have not changed.
 *		its members		(partitions, children) are what they were.  ATTACH changes rows with
 *						nothing in the log but changes of the catalog.  A transaction that S
 *						sees is in the log that was read; while it is decoded its invalidations
 *						are repeated.  So a view that one of them hit is dirty, and the batch
 *						is left until the registry was read again.  If the transaction was
 *						decoded before it could be seen, that was too early: then members are compared.
 *						Of views that have children they are compared after every change of the
 *						catalog.
 *		the time		does not move, if it depends on that.
 *
 * A view that has been selected without need does no harm: it is where S is as soon as it is
 * its turn, as one that could not be locked (cohort.c).  Builds with assertions look
 * after each batch whether one was left out that had changes.
 *
 * Who looks at views between batches, to wake up in time or to start processes, looks at the
 * unsettled ones, or at lists of those that depend on the time.  What makes a view unsettled
 * happens in a batch that has it selected, or sets "reload"; the lists are made anew
 * when the registry was read, and after each batch of what it looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/gucs.h"
#include "capture/decoder.h"
#include "delta/stream.h"
#include "materialize/program.h"
#include "server/builder.h"
#include "server/worker_internal.h"
#include "utils/memutils.h"

/* A view is hot for so many batches after one that had changes for it. */
#define HOT_BATCHES		16

/* No more hot views are selected when they have so many relations, but for those of the batch that was just left. */
#define HOT_RELATIONS	256

/* So many batches in a row are left before all views are selected. */
#define MOST_ROUNDS		4

/* Lists of WorkerView *, in derive_worker.cxt. */
static List *hot = NIL;
static List *timed = NIL;		/* depend on now() */
static List *expiring = NIL;	/* remove what is too old */

static uint64 number = 1;		/* of this batch, those that were left
								 * included */
static int	rounds = 0;			/* left in a row */
static bool select_all = false;
static uint64 timed_until = 0;	/* the timed ones are hot */
static TimestampTz expire_next = 0; /* when the first of the expiring is due;
									 * 0: never */


/* ----------------------------------------------------------------
 *		What is known of the views
 * ----------------------------------------------------------------
 */

/* Is it ready, where the others are, and nothing to be done for it as long as nothing changes? */
static bool
is_settled(WorkerView *view)
{
	return view->row->state == DERIVE_VIEW_READY && view->row->error == NULL && !derive_worker_needs_recompute(view) &&
		view->program != NULL && view->program->outdated == NULL && !view->program->unfilled && !view->dirty &&
		view->kept && view->waiting == NULL && !view->past_gone && view->lane == NULL && !view->slow &&
		!view->fill && view->builder == NULL && view->give_up == KEEP_TRYING && view->told_try_at == 0 &&
		!OidIsValid(view->replaces) && !view->replaced && view->row->move_to < 0 && (view->journal == NULL || view->journal->active);
}

void
derive_worker_plan_expiry(void)
{
	ListCell   *lc;

	expire_next = 0;
	foreach(lc, expiring)
	{
		WorkerView *view = lfirst(lc);

		if (view->row->state == DERIVE_VIEW_READY && view->lane == NULL &&
			(expire_next == 0 || view->expire_at < expire_next))
			expire_next = Max(view->expire_at, 1);
	}
}

/* While the registry is read, at its end: which of the views need looking after? */
void
derive_worker_sort_out_views(void)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	ListCell   *lc;

	list_free(derive_worker.unsettled);
	list_free(timed);
	list_free(expiring);
	derive_worker.unsettled = timed = expiring = NIL;
	foreach(lc, derive_worker.views)
		((WorkerView *) lfirst(lc))->replaced = false;
	foreach(lc, derive_worker.any_replacement ? derive_worker.views : NIL)
	{
		WorkerView *view = derive_worker_find_view(((WorkerView *) lfirst(lc))->replaces);

		if (view != NULL)
			view->replaced = true;
	}
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (!is_settled(view))
			derive_worker.unsettled = lappend(derive_worker.unsettled, view);
		if (view->program != NULL && view->program->timed)
			timed = lappend(timed, view);
		if (view->program != NULL && view->program->routine->expire != NULL)
			expiring = lappend(expiring, view);
	}
	derive_worker_plan_expiry();
	MemoryContextSwitchTo(oldcontext);
}

/* The process no longer knows the view. */
void
derive_worker_deselect(WorkerView *view)
{
	derive_worker.selected = list_delete_ptr(derive_worker.selected, view);
	derive_worker.unsettled = list_delete_ptr(derive_worker.unsettled, view);
	hot = list_delete_ptr(hot, view);
	timed = list_delete_ptr(timed, view);
	expiring = list_delete_ptr(expiring, view);
}

/* After a batch has committed: what has become of those that it looked at? */
void
derive_worker_settle(void)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	bool		expires = false;
	ListCell   *lc;

	list_free(derive_worker.unsettled);
	derive_worker.unsettled = NIL;
	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		/* what comes after the position of this batch, the stream has */
		if (view->fresh)
			view->kept = true;
		if (!is_settled(view))
			derive_worker.unsettled = lappend(derive_worker.unsettled, view);
		expires |= view->program != NULL && view->program->routine->expire != NULL;
	}
	if (expires)
		derive_worker_plan_expiry();
	MemoryContextSwitchTo(oldcontext);
	rounds = 0;
	select_all = false;
}


/* ----------------------------------------------------------------
 *		Time
 * ----------------------------------------------------------------
 */

TimestampTz
derive_worker_next_expiry(void)
{
	return expire_next;
}

/*
 * When must views move for no other reason than that time has passed?  0: never.  A clock
 * that was set back is no reason to wait: they follow it.
 */
TimestampTz
derive_worker_next_tick(TimestampTz now)
{
	ListCell   *lc;

	foreach(lc, derive_worker.position != NULL ? timed : NIL)
	{
		if (((WorkerView *) lfirst(lc))->row->state != DERIVE_VIEW_READY)
			continue;
		if (now < derive_worker.position->time)
			return now;
		return TimestampTzPlusMilliseconds(derive_worker.position->time, derive_time_resolution);
	}
	return 0;
}

/* Is it something else than an idle moment of a view that depends on the time? */
static bool
wants_present(WorkerView *view, DeriveBatch *batch)
{
	return view->row->state != DERIVE_VIEW_READY || view->waiting != NULL || derive_worker_needs_recompute(view) ||
		derive_program_changes(view->program, batch) >= 0 ||
		(view->program->view_sources != NIL && batch->deltas != NIL);
}

/*
 * What now() is in the queries at the end of the batch.  All views that depend on it move
 * with it, changed or not.  So not every batch moves it that has nothing for any of them;
 * one that has must, or a row that is valid from now() on would not be seen.
 */
TimestampTz
derive_worker_time_of_batch(DeriveBatch *batch, TimestampTz present)
{
	TimestampTz before = batch->from != NULL ? batch->from->time : 0;
	ListCell   *lc;

	if (before == 0 || present < before || present - before >= derive_time_resolution * INT64CONST(1000))
		return present;
	foreach(lc, timed)
	{
		WorkerView *view = lfirst(lc);

		if (derive_worker_takes_part(view) && wants_present(view, batch))
			return present;
	}
	return before;
}


/* ----------------------------------------------------------------
 *		The guess
 * ----------------------------------------------------------------
 */

static void
add(WorkerView *view)
{
	if (view->selected)
		return;
	view->selected = true;
	derive_worker.selected = lappend(derive_worker.selected, view);
}

static void
add_all(List *views)
{
	ListCell   *lc;

	foreach(lc, views)
		add(lfirst(lc));
}

/* The hottest first. */
static int
compare_heat(const ListCell *a, const ListCell *b)
{
	uint64		x = ((WorkerView *) lfirst(a))->hot_until;
	uint64		y = ((WorkerView *) lfirst(b))->hot_until;

	return (x < y) - (x > y);
}

/* Those that have been hot for long enough are not any more. */
static void
add_hot(void)
{
	int			nrelations = 0;
	ListCell   *lc;

	list_sort(hot, compare_heat);
	foreach(lc, hot)
	{
		WorkerView *view = lfirst(lc);

		if (view->hot_until < number)
		{
			view->hot_until = 0;
			hot = foreach_delete_current(hot, lc);
			continue;
		}
		if (view->hot_until < number - 1 + HOT_BATCHES && nrelations >= HOT_RELATIONS)
			continue;
		nrelations += list_length(view->reads) + list_length(view->writes);
		add(view);
	}
}

static void
add_expiring(void)
{
	ListCell   *lc;

	foreach(lc, expire_next != 0 && GetCurrentTimestamp() >= expire_next ? expiring : NIL)
	{
		if (derive_worker_expire_due(lfirst(lc)))
			add(lfirst(lc));
	}
}

static void
add_timed(void)
{
	TimestampTz now = derive_position_present();
	TimestampTz tick = derive_worker_next_tick(now);

	if (timed_until >= number || (tick != 0 && tick <= now))
		add_all(timed);
}

/* Can the batch change what it contains, for those that read it? */
static bool
may_change(WorkerView *view)
{
	bool		still = view->row->state == DERIVE_VIEW_PAUSED || view->row->state == DERIVE_VIEW_FAILED;

	return !still || view->repair || view->retried || view->replaced;
}

/* Views that read one that is in the list are in it, too; it grows while we go through it. */
static void
add_readers(void)
{
	for (int i = 0; i < list_length(derive_worker.selected); i++)
	{
		WorkerView *view = list_nth(derive_worker.selected, i);

		if (may_change(view))
			add_all(derive_worker_views_of(view->relid));
	}
}

static int
compare_rank(const ListCell *a, const ListCell *b)
{
	return ((WorkerView *) lfirst(a))->rank - ((WorkerView *) lfirst(b))->rank;
}

void
derive_worker_select_views(void)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	ListCell   *lc;

	foreach(lc, derive_worker.selected)
	{
		WorkerView *view = lfirst(lc);

		view->selected = view->locked = view->fresh = view->stuck = view->had_turn = view->moved = false;
		view->cohort = NULL;
	}
	list_free(derive_worker.selected);
	derive_worker.selected = NIL;
	number++;
	if (select_all || derive_worker.position == NULL)
		add_all(derive_worker.views);
	else
	{
		add_all(derive_worker.unsettled);
		add_hot();
		add_expiring();
		add_timed();
		add_readers();
		list_sort(derive_worker.selected, compare_rank);
	}
	MemoryContextSwitchTo(oldcontext);
}

void
derive_worker_guess_again(void)
{
	ListCell   *lc;

	rounds = 0;
	select_all = false;
	foreach(lc, hot)
		((WorkerView *) lfirst(lc))->hot_until = 0;
	list_free(hot);
	hot = NIL;
}

bool
derive_worker_is_fresh(WorkerView *view)
{
	return !view->selected || view->fresh;
}


/* ----------------------------------------------------------------
 *		Was it right?
 * ----------------------------------------------------------------
 */

static void
heat(WorkerView *view)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);

	if (view->hot_until == 0)
		hot = lappend(hot, view);
	view->hot_until = number + HOT_BATCHES;
	MemoryContextSwitchTo(oldcontext);
}

/* Are all selected that the batch has changes for?  They are hot now. */
static bool
has_all_changed(void)
{
	bool		result = true;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, derive_stream_changed(derive_worker.stream))
	{
		foreach(lc2, derive_worker_views_of(lfirst_oid(lc)))
		{
			heat(lfirst(lc2));
			result &= ((WorkerView *) lfirst(lc2))->selected;
		}
	}
	return result;
}

/* The same of those that move with the time. */
static bool
has_timed(DeriveBatch *batch)
{
	ListCell   *lc;

	if (!derive_batch_passes_time(batch))
		return true;
	foreach(lc, timed)
	{
		if (!((WorkerView *) lfirst(lc))->selected)
		{
			timed_until = number + HOT_BATCHES;
			return false;
		}
	}
	return true;
}

/* Of all others: are they what they were when the registry was read, and the tables that they read? */
static bool
others_are_as_known(void)
{
	DeriveCatalogChange change = derive_stream_catalog_change(derive_worker.stream);
	bool		result = true;
	ListCell   *lc;

	if (change == DERIVE_CATALOG_SAME && !derive_worker.any_dirty)
		return true;
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->selected)
			continue;
		if (!view->dirty && change != DERIVE_CATALOG_SAME &&
			(view->has_children || change == DERIVE_CATALOG_CHANGED_LATE))
			view->dirty = derive_sources_digest(view->program) != view->digest;
		result &= !view->dirty;
	}
	if (!result)
		derive_worker.any_dirty = derive_worker.reload = true;
	return result;
}

bool
derive_worker_selection_suffices(DeriveBatch *batch)
{
	bool		result = true;

	if (list_length(derive_worker.selected) == list_length(derive_worker.views))
		return true;
	result &= has_all_changed();
	result &= has_timed(batch);
	result &= others_are_as_known();
	if (derive_worker_basis_is_due())
	{
		result = false;
		select_all = true;
	}
	if (!result && ++rounds >= MOST_ROUNDS)
		select_all = true;
	return result;
}

#ifdef USE_ASSERT_CHECKING
/* The views have moved: was nothing left out that should have? */
void
derive_worker_check_selection(DeriveBatch *batch)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->selected)
			continue;
		Assert(!view->locked && !view->stuck && !view->moved && view->cohort == NULL);
		Assert(view->row->state == DERIVE_VIEW_READY && view->waiting == NULL && view->lane == NULL && view->kept);
		Assert(derive_program_changes(view->program, batch) < 0);
	}
}
#endif
