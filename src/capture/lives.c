/*-------------------------------------------------------------------------
 *
 * lives.c
 *	  Did the server ever run without our library?  The log tells.
 *
 * The log has all changes of tables, whoever was there when they were made.  But
 * some things are only noticed by hooks, and a server that runs without
 * pg_derive in shared_preload_libraries has none: REFRESH replaces the rows of a
 * maintained view, a function gets another body.  When the library is back, this has to
 * be found out.
 *
 * The log of a server is divided into lives: a shutdown ends with a checkpoint
 * record of its own kind, and so does recovery after a crash (after a promotion, another
 * kind).  Early in each life the launcher writes a mark.  So whoever reads the log in
 * order sees which of the lives that have ended had none:
 *
 *		... mark ... SHUTDOWN ... mark ... SHUTDOWN ... SHUTDOWN ...
 *		    with               with                 without      now
 *
 * Reading begins at a stored position, which a worker wrote, so that life had the
 * library.  A life that ended before its launcher came to write looks like one
 * without; that costs a comparison and nothing else, see server/basis.c.
 *
 * The mark is a logical message without a database, which no session can write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "base/compat.h"
#include "capture/lives.h"
#include "catalog/pg_control.h"
#include "miscadmin.h"
#include "replication/message.h"

#define MARK	"pg_derive.loaded"

void
derive_lives_mark(void)
{
	Assert(!OidIsValid(MyDatabaseId));
	(void) derive_compat_log_message_at_once(MARK, "", 0);
}

void
derive_lives_watch(DeriveLives *lives, XLogRecPtr since)
{
	lives->since = since;
	lives->marked = true;
	lives->unmarked = false;
}

static bool
ends_life(XLogReaderState *record)
{
	uint8		info = XLogRecGetInfo(record) & ~XLR_INFO_MASK;

	return XLogRecGetRmid(record) == RM_XLOG_ID &&
		(info == XLOG_CHECKPOINT_SHUTDOWN || info == XLOG_END_OF_RECOVERY);
}

static bool
is_mark(XLogReaderState *record)
{
	const xl_logical_message *message = (const xl_logical_message *) XLogRecGetData(record);

	return XLogRecGetRmid(record) == RM_LOGICALMSG_ID &&
		!OidIsValid(message->dbId) && strcmp(message->message, MARK) == 0;
}

void
derive_lives_note(DeriveLives *lives, XLogReaderState *record)
{
	if (record->ReadRecPtr < lives->since)
		return;
	if (ends_life(record))
	{
		lives->unmarked |= !lives->marked;
		lives->marked = false;
	}
	else if (is_mark(record))
		lives->marked = true;
}
