/*-------------------------------------------------------------------------
 *
 * lane_pace.c
 *	  The slow lane: which views are to be computed, and when.
 *
 * Views that read one another are a group here (a small one, inside that of base/groups.c, which
 * has one lane).  A group is to be computed when one of its
 * views has a mark in derive_state.stale, or an error that is old enough to be tried
 * again.  After a run of d ms, with n such groups, it rests for
 *
 *		d * (n / pg_derive.recompute_share - 1)
 *
 * so that all of them together take no more than their share of one processor: at a
 * share of 0.5, one group that takes 2 s begins every 4 s, and two such groups every
 * 8 s each.  An attempt that came to nothing (something was locked, say) begins again
 * after a short pause, twice as long each time.
 *
 * The paces are those of this process.  The next one begins afresh.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/gucs.h"
#include "base/lane.h"
#include "base/registry.h"
#include "server/assistant.h"
#include "server/dependents.h"
#include "server/lane_internal.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* First pause before a run begins again. */
#define FIRST_PAUSE_MS		20

/* A view that could not be computed is tried again, although nothing has changed. */
#define ERROR_RETRY_MS		60000

/* What was last done for a view. */
typedef struct Pace
{
	Oid			view;
	TimestampTz ended_at;
	double		duration;		/* of the run, in ms */
	int			attempts;		/* since then, in a row, that came to nothing */
} Pace;

static List *paces = NIL;		/* of Pace *; in the life of the process */


static Pace *
pace_of(Oid view)
{
	MemoryContext oldcontext;
	Pace	   *pace;
	ListCell   *lc;

	foreach(lc, paces)
	{
		if (((Pace *) lfirst(lc))->view == view)
			return lfirst(lc);
	}
	oldcontext = MemoryContextSwitchTo(derive_lane_cxt);
	pace = palloc0(sizeof(Pace));
	pace->view = view;
	paces = lappend(paces, pace);
	MemoryContextSwitchTo(oldcontext);
	return pace;
}

void
derive_lane_note_end(List *views, double duration)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		Pace	   *pace = pace_of(lfirst_oid(lc));

		pace->ended_at = GetCurrentTimestamp();
		pace->attempts = duration < 0 ? pace->attempts + 1 : 0;
		if (duration >= 0)
			pace->duration = duration;
	}
}

/*
 * When may the view be computed again, if so many groups want to be, its own included,
 * and share what there is?
 */
static TimestampTz
due_at(Oid view, int ngroups)
{
	Pace	   *pace = pace_of(view);
	double		pause = pace->duration * (ngroups / derive_recompute_share - 1);

	if (pace->attempts > 0)
		pause = Min(FIRST_PAUSE_MS << Min(pace->attempts - 1, 10), LAST_PAUSE_MS);
	return pace->ended_at + (TimestampTz) (pause * 1000);
}

static bool
is_stale(List *stale, Oid view)
{
	ListCell   *lc;

	foreach(lc, stale)
	{
		if (((DeriveStale *) lfirst(lc))->view == view)
			return true;
	}
	return false;
}

/* Of derive_state.lane, those that are ours. */
static List *
rows_of_group(void)
{
	List	   *rows = derive_lane_all(NULL);
	ListCell   *lc;

	foreach(lc, rows)
	{
		DeriveViewRow *view = derive_registry_get(((DeriveLaneRow *) lfirst(lc))->view);

		if (view == NULL || view->group != derive_assistant_number())
			rows = foreach_delete_current(rows, lc);
	}
	return rows;
}

/* The groups of views in the lane: who reads whom, in any number of steps. */
static List *
find_groups(List *rows)
{
	List	   *groups = NIL;	/* of List of Oid */
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, rows)
	{
		Oid			view = ((DeriveLaneRow *) lfirst(lc))->view;
		List	   *group = list_make1_oid(view);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view)))
			continue;
		foreach(lc2, derive_readers(view))
		{
			ListCell   *lc3;

			foreach(lc3, rows)
			{
				if (((DeriveLaneRow *) lfirst(lc3))->view == lfirst_oid(lc2))
					group = list_append_unique_oid(group, lfirst_oid(lc2));
			}
		}
		foreach(lc2, groups)
		{
			List	   *other = lfirst(lc2);

			if (list_length(list_difference_oid(other, group)) == list_length(other))
				continue;
			group = list_concat_unique_oid(group, other);
			groups = foreach_delete_current(groups, lc2);
		}
		groups = lappend(groups, group);
	}
	return groups;
}

static int
compare_due(const ListCell *a, const ListCell *b)
{
	TimestampTz x = ((LaneGroup *) lfirst(a))->due;
	TimestampTz y = ((LaneGroup *) lfirst(b))->due;

	return (x > y) - (x < y);
}

List *
derive_lane_wanted_groups(bool *any_error)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	List	   *rows;
	List	   *stale;
	ListCell   *lc;
	ListCell   *lc2;

	*any_error = false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	rows = rows_of_group();
	stale = derive_stale_all(NULL);
	foreach(lc, find_groups(rows))
	{
		LaneGroup  *group = palloc0(sizeof(LaneGroup));
		bool		wanted = false;

		group->views = lfirst(lc);
		foreach(lc2, rows)
		{
			DeriveLaneRow *row = lfirst(lc2);

			if (!list_member_oid(group->views, row->view))
				continue;
			wanted |= is_stale(stale, row->view);
			*any_error |= row->error != NULL;
			wanted |= row->error != NULL &&
				TimestampDifferenceExceeds(row->error_at, GetCurrentTimestamp(), ERROR_RETRY_MS);
		}
		if (wanted)
			result = lappend(result, group);
	}
	foreach(lc, result)
	{
		LaneGroup  *group = lfirst(lc);

		foreach(lc2, group->views)
			group->due = Max(group->due, due_at(lfirst_oid(lc2), list_length(result)));
	}
	list_sort(result, compare_due);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}
