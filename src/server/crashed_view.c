/*-------------------------------------------------------------------------
 *
 * crashed_view.c
 *	  Views over which processes have crashed, and when they are tried again.
 *
 * A process that crashes takes the whole server down for a moment.  If two in a row
 * did so over one view, it fails, and the others go on.  It may have been an accident:
 * an operator who kills, or the kernel for want of memory.  Or it is a function that the
 * view calls, and will happen again.  So it is tried again, but not soon, and later
 * and later:
 *
 *		crashes		row			tried again after
 *		2			crashes 1	10 min
 *		1 more		crashes 2	40 min
 *		1 more		crashes 3	2 h 40 min
 *		1 more		crashes 4	10 h 40 min
 *		1 more		crashes 5	24 h, and so on
 *
 * Shared memory does not outlive a crash; so all of that is in the view's row.  A try is
 * written down, and committed to disk, before it is made, as if it had ended with a crash:
 * whatever it then is, and whichever process crashes, no other try is made before the time.
 * That is also why a single crash is enough in a series.
 *
 * The series ends when the view has been well for as long as the last pause again, fails
 * for another reason, or a person calls derive.repair() for it or changes something that
 * it rests on.  A view that can be built but crashes when it is changed is well for a
 * moment only, so this time must be long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define FIRST_PAUSE_MS	(10 * 60 * INT64CONST(1000))

/* Each pause is so many times the one before. */
#define GROWTH			4


static int64
pause_after(int ncrashes)
{
	int64		pause = FIRST_PAUSE_MS;

	while (--ncrashes > 0 && pause < DERIVE_LAST_CRASH_PAUSE_MS)
		pause *= GROWTH;
	return Min(pause, DERIVE_LAST_CRASH_PAUSE_MS);
}

static bool
is_in_series(const DeriveViewRow *row, TimestampTz now)
{
	return row->crashes > 0 &&
		(derive_has_failed_by_crash(row) ||
		 now < TimestampTzPlusMilliseconds(row->retry_at, pause_after(row->crashes)));
}

/* The commit must not be lost in the next crash. */
static void
write_row(const DeriveViewRow *row)
{
	derive_registry_update(row);
	ForceSyncCommit();
}

static void
plan_try(DeriveViewRow *row, TimestampTz now)
{
	row->crashes = is_in_series(row, now) ? row->crashes + 1 : 1;
	row->retry_at = TimestampTzPlusMilliseconds(now, pause_after(row->crashes));
}

bool
derive_has_crashed_enough(const DeriveViewRow *row, int ncrashes)
{
	return ncrashes >= (is_in_series(row, GetCurrentTimestamp()) ? 1 : DERIVE_MAX_CRASHES);
}

bool
derive_has_failed_by_crash(const DeriveViewRow *row)
{
	return row->state == DERIVE_VIEW_FAILED && row->error != NULL && row->retry_at != 0;
}

void
derive_end_crash_series(DeriveViewRow *row)
{
	row->crashes = 0;
	row->retry_at = 0;
}

const char *
derive_retry_time(const DeriveViewRow *row)
{
	return timestamptz_to_str(row->retry_at - row->retry_at % USECS_PER_SEC);
}

void
derive_fail_crashed_view(DeriveViewRow *row, const char *reason)
{
	TimestampTz now = GetCurrentTimestamp();

	/* else this was a try, which has planned the next one */
	if (row->retry_at <= now)
		plan_try(row, now);
	row->state = DERIVE_VIEW_FAILED;
	row->error = unconstify(char *, reason);
	row->error_at = now;
	row->retry = false;
	row->epoch = 0;
	ereport(WARNING,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("maintenance of view \"%s\" has failed: %s", get_rel_name(row->relid), reason),
			 errhint("Remove the cause. The view is tried again at %s, or at once by derive.repair().",
					 derive_retry_time(row))));
	write_row(row);
}

void
derive_note_try_after_crash(DeriveViewRow *row)
{
	TimestampTz now = GetCurrentTimestamp();

	plan_try(row, now);
	write_row(row);
	ereport(LOG,
			(errmsg("view \"%s\", which has failed, is tried again", get_rel_name(row->relid)),
			 errdetail("It had failed: %s", row->error)));
}
