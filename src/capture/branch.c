/*-------------------------------------------------------------------------
 *
 * branch.c
 *	  Was the server promoted, or restored to a point in time, since an LSN?
 *
 * Tables are in the log, so on a standby they say what they said on the primary, and
 * after a restore what they said then.  A replication slot is a file of its own.  A
 * standby has none, or one of the time when it was a primary itself; a copy of a
 * data directory that was taken with its slots has those of that moment, whatever part
 * of the log is replayed over it.  Such a slot promises what nobody has kept:
 *
 *		xmin			old row versions.  The log that was replayed has removed them
 *						wherever the slot of the server that wrote it did not hold them.
 *		catalog_xmin	what decoding needs.  Likewise, up to 15; later, most such slots
 *						are invalidated.
 *		confirmed		may be far behind the tables, which is right, or ahead.
 *
 * All of these cases end with a new timeline, which a crash does not.  So the position
 * in the tables, or else the slot's, is of an earlier one:
 *
 *		timeline	1		1			1		2			2
 *		slot		create	confirm				(left)		create
 *		position			17			25		(25)		42
 *													^ 25 is of timeline 1: the slot is not used,
 *													  and nothing is held since then
 *
 * An exception are copies of a slot of the primary, which the server itself keeps, from 17 on: they can
 * be decoded from, and were confirmed on an earlier timeline.  Their xmin is not a copy.  Once
 * we have used one, it is no longer marked as a copy (decoder.c), so that it does not pass for one in a
 * copy of the files.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/xlog.h"
#include "capture/branch.h"

bool
derive_log_has_branched(XLogRecPtr lsn)
{
	TimeLineID	timeline = GetWALInsertionTimeLine();

	return !XLogRecPtrIsInvalid(lsn) &&
		tliOfPointInHistory(lsn, readTimeLineHistory(timeline)) != timeline;
}
