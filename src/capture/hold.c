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
 * set under that lock in exclusive mode; and it is computed once more at the end of the
 * transaction (derive_hold_confirm()), which is much later than any such gap.
 * CreateInitDecodingContext() (logical.c) does the like for catalog_xmin.
 *
 * Until the first move the hold is in memory only (effective_xmin, not data.xmin): it
 * ends with the process, or when the slot is released.  So a hold that the slot has
 * after a restart is one of which a position was stored durably, together with the
 * moment at which it began (see server/holding.c).
 *
 * Moving.  data.xmin and effective_xmin together, without writing the file: if the
 * server crashes, an older file only holds more.  PhysicalReplicationSlotNewXmin()
 * (walsender.c) does the same.  What must not happen is to move before the commit
 * that makes the older xmin superfluous is on disk: a scan of ours may have marked
 * index entries as dead, which need not be in the log, and after a crash without that
 * commit the older position would not find the rows.
 *
 * Letting go.  Where somebody still wanted the older xmin, the order is that of
 * catalog_xmin: the file first.  If a crash brought the older one back, after VACUUM
 * has removed rows, nobody could tell that there was a gap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/gucs.h"
#include "capture/decoder.h"
#include "capture/hold.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

long
derive_hold_remaining(int64 age, TimestampTz since)
{
	if (derive_max_hold_age > 0 && age > derive_max_hold_age)
		return 0;
	if (derive_max_hold == 0)
		return DERIVE_HOLD_LOOK_MS;
	return Min(DERIVE_HOLD_LOOK_MS,
			   TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
											   TimestampTzPlusMilliseconds(since, derive_max_hold)));
}

void
derive_hold_report_end(const char *whose, const char *detail)
{
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("old row versions are no longer kept for the maintained views of %s",
					whose),
			 errdetail_internal("%s", detail),
			 errhint("Views that need them will be computed anew. \"pg_derive.max_hold\" and \"pg_derive.max_hold_age\" say for how long they are kept.")));
}

static void
set_stored_xmin(TransactionId xmin)
{
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->data.xmin = xmin;
	SpinLockRelease(&MyReplicationSlot->mutex);
	ReplicationSlotMarkDirty();
}

static void
set_effective_xmin(TransactionId xmin)
{
	SpinLockAcquire(&MyReplicationSlot->mutex);
	MyReplicationSlot->effective_xmin = xmin;
	SpinLockRelease(&MyReplicationSlot->mutex);
}

/* What all slots hold. */
static void
tell_vacuum(void)
{
	ReplicationSlotsComputeRequiredXmin(false);
	if (DERIVE_DEBUG_SKIPS("hold"))
	{
		TransactionId xmin;
		TransactionId catalog_xmin;

		ProcArrayGetReplicationSlotXmin(&xmin, &catalog_xmin);
		ProcArraySetReplicationSlotXmin(InvalidTransactionId, catalog_xmin, false);
	}
}

TransactionId
derive_hold_xmin(void)
{
	/* nobody else writes it */
	return MyReplicationSlot->effective_xmin;
}

void
derive_hold_begin(TransactionId xmin)
{
	Assert(!TransactionIdIsValid(derive_hold_xmin()));
	LWLockAcquire(ReplicationSlotControlLock, LW_EXCLUSIVE);
	set_effective_xmin(xmin);
	LWLockRelease(ReplicationSlotControlLock);
	tell_vacuum();
}

void
derive_hold_confirm(void)
{
	tell_vacuum();
}

void
derive_hold_move(TransactionId xmin, bool file_first)
{
	bool		stored = TransactionIdIsValid(MyReplicationSlot->data.xmin);

	Assert(TransactionIdIsValid(derive_hold_xmin()));
	if (TransactionIdPrecedes(xmin, derive_hold_xmin()))
		xmin = derive_hold_xmin();
	if (stored && xmin == derive_hold_xmin())
		return;
	set_stored_xmin(xmin);
	if (file_first || !stored)
		ReplicationSlotSave();
	set_effective_xmin(xmin);
	tell_vacuum();
}

void
derive_hold_end(void)
{
	if (TransactionIdIsValid(MyReplicationSlot->data.xmin))
	{
		set_stored_xmin(InvalidTransactionId);
		ReplicationSlotSave();
	}
	if (!TransactionIdIsValid(derive_hold_xmin()))
		return;
	set_effective_xmin(InvalidTransactionId);
	tell_vacuum();
}

List *
derive_hold_unattended(void)
{
	List	   *result = NIL;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		DeriveUnattendedHold hold;

		bool		unattended;

		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		unattended = slot->active_pid == 0 && strcmp(NameStr(slot->data.plugin), DERIVE_PLUGIN_NAME) == 0;
		hold.slot = slot->data.name;
		hold.dboid = slot->data.database;
		hold.xmin = derive_slot_is_invalidated(&slot->data) ? InvalidTransactionId : slot->data.xmin;
		hold.synced = derive_slot_is_synced(&slot->data);
		SpinLockRelease(&slot->mutex);
		if (unattended)
		{
			DeriveUnattendedHold *copy = palloc(sizeof(DeriveUnattendedHold));

			*copy = hold;
			result = lappend(result, copy);
		}
	}
	LWLockRelease(ReplicationSlotControlLock);
	return result;
}

void
derive_hold_end_unattended(const char *slot)
{
	derive_slot_acquire(slot, true);
	PG_TRY();
	{
		derive_hold_end();
	}
	PG_FINALLY();
	{
		ReplicationSlotRelease();
	}
	PG_END_TRY();
}
