/*-------------------------------------------------------------------------
 *
 * crashed_view.h
 *	  Views over which processes have crashed, and when they are tried again.
 *
 * Called by the processes that find by their crash guard that those before them have
 * crashed, in a transaction, with a lock on the view that lets them write its row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CRASHED_VIEW_H
#define DERIVE_CRASHED_VIEW_H

#include "base/registry.h"

/* The longest time in ms until a view is tried again. */
#define DERIVE_LAST_CRASH_PAUSE_MS	(24 * 60 * 60 * INT64CONST(1000))

/* Processes have crashed over the view, so many in a row: has it failed by that? */
extern bool derive_has_crashed_enough(const DeriveViewRow *row, int ncrashes);

/* It has, for this reason (not copied): its row says so, which is written, and the server log.  For one that had contents, after derive_stand_still(). */
extern void derive_fail_crashed_view(DeriveViewRow *row, const char *reason);

/* Has it failed by that, so that it is tried again at row->retry_at? */
extern bool derive_has_failed_by_crash(const DeriveViewRow *row);

/* That time for people. */
extern const char *derive_retry_time(const DeriveViewRow *row);

/* A person wants it to be tried, or it is another view now: begin anew; the caller writes the row. */
extern void derive_end_crash_series(DeriveViewRow *row);

/* It is tried again now: plan the try after this one, as if it had ended with a crash; the row is written. */
extern void derive_note_try_after_crash(DeriveViewRow *row);

#endif							/* DERIVE_CRASHED_VIEW_H */
