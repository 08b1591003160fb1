/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Keeping old row versions: the xmin of the replication slot.
 *
 * A logical slot holds the catalog rows that decoding needs (catalog_xmin).  Its
 * other field, xmin, which a physical slot uses for a standby's queries, holds the
 * rows of all tables, and the server applies it to every kind of slot:
 * ComputeXidHorizons() takes it into account for the shared, catalog and data
 * horizons, and for pg_subtrans.  It is in the slot's file, so it holds across
 * restarts and crashes too.
 *
 * Beginning.  Between the moment at which an xmin is chosen and that at which the
 * slot holds it, something else must: a live snapshot of this process.  The server
 * computes the minimum over all slots by first reading them and then storing the
 * result, and another process may be between the two with a result from before us.
 * It holds ReplicationSlotControlLock in shared mode meanwhile (up to the store since
 * the minor releases of 2026, before that up to the end of reading).  So the xmin is
 * set under that lock in exclusive mode; and it is computed once more after the file
 * was written, which takes longer than any such gap.  CreateInitDecodingContext()
 * (logical.c) does the like for catalog_xmin.
 *
 * Moving.  data.xmin and effective_xmin together, without writing the file: if the
 * server crashes, an older file only holds more.  PhysicalReplicationSlotNewXmin()
 * (walsender.c) does the same.  What must not happen is to move before the commit
 * that makes the older xmin superfluous is on disk: a scan of ours may have marked
 * index entries as dead, which need not be in the log, and after a crash without that
 * commit the older position would not find the rows.
 *
 * (The opposite order from catalog_xmin, where the file comes first, because there
 * the file says what will be needed.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/debug_point.h"
#include "capture/hold.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

static void
set_xmin(TransactionId xmin)
{
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.xmin = xmin;
	MyReplicationSlot->effective_xmin = DERIVE_DEBUG_SKIPS("hold") ? InvalidTransactionId : xmin;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
}

TransactionId
derive_hold_xmin(void)
{
	/* nobody else writes it */
	return MyReplicationSlot->data.xmin;
}

void
derive_hold_begin(TransactionId xmin)
{
	LWLockAcquire(ReplicationSlotControlLock, LW_EXCLUSIVE);
	set_xmin(xmin);
	LWLockRelease(ReplicationSlotControlLock);
	ReplicationSlotsComputeRequiredXmin(false);
	ReplicationSlotSave();
	ReplicationSlotsComputeRequiredXmin(false);
}

void
derive_hold_move(TransactionId xmin)
{
	Assert(TransactionIdIsValid(derive_hold_xmin()));
	if (!TransactionIdFollows(xmin, derive_hold_xmin()))
		return;
	set_xmin(xmin);
	ReplicationSlotsComputeRequiredXmin(false);
}

void
derive_hold_end(void)
{
	if (!TransactionIdIsValid(derive_hold_xmin()))
		return;
	set_xmin(InvalidTransactionId);
	ReplicationSlotsComputeRequiredXmin(false);
	ReplicationSlotSave();
}
