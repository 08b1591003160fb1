/*-------------------------------------------------------------------------
 *
 * standbys.c
 *	  What the standbys have that may take over with a copy of our slot.
 *
 * From 17 on a standby with sync_replication_slots copies our slot, now and then.  It takes
 * a copy as soon as the log that the slot has confirmed is there.  The commit which
 * stored that this was in the views comes a little later in the log:
 *
 *		log				....  100  ........  120  ......
 *							  ^ covered by		 ^ committed
 *							  the position
 *		slot			confirmed 100, if 120 is on our disk
 *		standby			has the log up to 110, so takes the slot; its tables are at 60
 *
 * If it were promoted now, the slot would not deliver what was committed between 60 and 100.  That
 * is noticed (reading.c), and views are computed anew.  It does not happen if the slot waits until
 * 120 is on the standby as well.
 *
 * Nor is a copy good for anything before the slot of the primary has come to where the standby
 * was when it began to make the copy.  So somebody has to move it even if nothing
 * happens: see reading.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "capture/standbys.h"
#include "common/hashfn.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/spin.h"

/* One that streams: its process, and how far it is; false: none. */
static bool
read_sender(int i, pid_t *pid, XLogRecPtr *flushed)
{
	WalSnd	   *sender = &WalSndCtl->walsnds[i];
	bool		result;

	SpinLockAcquire(&sender->mutex);
	*pid = sender->pid;
	*flushed = sender->flush;
	result = sender->pid != 0 && sender->state == WALSNDSTATE_STREAMING &&
		derive_compat_sends_to_copies(sender);
	SpinLockRelease(&sender->mutex);

	/* pg_receivewal does not say */
	return result && !XLogRecPtrIsInvalid(*flushed);
}

bool
derive_standbys_have(XLogRecPtr lsn)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		pid_t		pid;
		XLogRecPtr	flushed;

		if (read_sender(i, &pid, &flushed) && flushed < lsn)
			return false;
	}
	return true;
}

uint64
derive_standbys_connected(void)
{
	uint64		result = 0;

	for (int i = 0; i < max_wal_senders; i++)
	{
		pid_t		pid;
		XLogRecPtr	flushed;

		if (read_sender(i, &pid, &flushed))
			result += hash_bytes_uint32_extended((uint32) pid, 1);
	}
	return result;
}
