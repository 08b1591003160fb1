/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  How the worker reads the log: its slot, decoder and stream.
 *
 * Positions.  The snapshot is stored with the views' rows, in the same
 * transaction (derive_state.position).  After a crash the slot delivers again
 * from its confirmed LSN on, and what the stored position covers is skipped.
 * A batch whose transactions touched nothing that is tracked writes nothing,
 * not even its position, although it may confirm its LSN.  So the stored
 * position P can lag behind the confirmed LSN F.  That is exact: a transaction
 * that committed before F and is not covered by P contains no row of a
 * relation that was tracked, so that nothing is lost by its not being
 * delivered again; one that is delivered again, because it committed after F,
 * is not in P and was not applied (had anything been applied, its batch would
 * have stored a later position).  A view that reads other relations and came
 * later has a position of its own until the batch that hands it over, and
 * that batch stores both.
 *
 * Confirming.  Batches commit asynchronously.  If the slot were told of an LSN
 * whose batch is then lost in a crash, its changes would be lost too.  So each
 * batch's LSN is confirmed only once the batch's commit record is known to be
 * on disk; in practice when the next batch flushes the log in order to read it.
 *
 * Lives.  An ERROR while decoding leaves decoder and stream unusable; both are
 * thrown away and made anew, which is a new life of the worker, with a new
 * epoch.  Views that a builder filled for an earlier life have lost their
 * backlog and are built again.
 *
 * A slot that is gone, or has lost WAL, is made anew as well.  Then all views
 * are computed afresh, since nobody can say what they have missed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/position.h"
#include "base/registry.h"
#include "capture/decoder.h"
#include "delta/stream.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "server/shmem.h"
#include "server/worker_state.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"

/*
 * The log between the stored position and now cannot be had: every view that
 * was filled must be computed anew.  Each in a transaction of its own, since
 * we wait for its lock.
 */
static void
mark_all_for_rebuild(void)
{
	List	   *relids = NIL;
	ListCell   *lc;

	foreach(lc, derive_worker.views)
		relids = lappend_oid(relids, ((WorkerView *) lfirst(lc))->relid);

	foreach(lc, relids)
	{
		DeriveViewRow *row;

		StartTransactionCommand();
		derive_blocked_set(&derive_worker.db->point.blocked_on, lfirst_oid(lc), RowExclusiveLock);
		LockRelationOid(lfirst_oid(lc), RowExclusiveLock);
		derive_blocked_clear(&derive_worker.db->point.blocked_on);
		row = derive_registry_get(lfirst_oid(lc));
		if (row != NULL && row->state == DERIVE_VIEW_READY && !row->rebuild)
		{
			row->rebuild = true;
			derive_registry_update(row);
		}
		else if (row != NULL && row->state == DERIVE_VIEW_CATCHUP)
		{
			row->state = DERIVE_VIEW_BUILDING;
			row->position = NULL;
			row->epoch = 0;
			derive_registry_update(row);
		}
		CommitTransactionCommand();
		MemoryContextSwitchTo(derive_worker.batch_cxt);
	}
}

/* Is there a view whose contents depend on where the slot stood? */
static bool
any_view_ready(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		if (((WorkerView *) lfirst(lc))->row->state == DERIVE_VIEW_READY &&
			!((WorkerView *) lfirst(lc))->row->rebuild)
			return true;
	}
	return false;
}

/*
 * Begin a life: find or create the slot, open the decoder, begin where the
 * stored position says.
 */
void
derive_worker_open_capture(void)
{
	DeriveSlotState state;
	bool		fresh = false;
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	DerivePosition *stored;

	derive_worker.phase = PHASE_CAPTURE;

	StartTransactionCommand();
	state = derive_slot_state(derive_worker.slot);
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);

	if (state != DERIVE_SLOT_USABLE)
	{
		if (any_view_ready())
		{
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("replication slot \"%s\" %s, all maintained views of database \"%s\" are computed anew",
							derive_worker.slot,
							state == DERIVE_SLOT_LOST ? "has lost required WAL" : "does not exist",
							derive_worker.dbname)));
			/* Before the slot is there: a crash in between must not hide it. */
			mark_all_for_rebuild();
		}
		if (state == DERIVE_SLOT_LOST)
		{
			StartTransactionCommand();
			derive_slot_drop(derive_worker.slot);
			CommitTransactionCommand();
		}
		pgstat_report_activity(STATE_RUNNING, "creating the replication slot");
		StartTransactionCommand();
		derive_blocked_set_xacts(&derive_worker.db->point.blocked_on);
		derive_slot_create(derive_worker.slot);
		derive_blocked_clear(&derive_worker.db->point.blocked_on);
		CommitTransactionCommand();
		fresh = true;
	}

	MemoryContextSwitchTo(derive_worker.cxt);
	derive_worker.epoch = Max(derive_worker.epoch + 1, GetCurrentTimestamp());
	derive_worker.stream = derive_stream_create();

	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.cxt);
	derive_worker.decoder = derive_decoder_open(derive_worker.slot,
												derive_stream_sink(derive_worker.stream));
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	stored = fresh ? NULL : derive_registry_position(&lsn);
	MemoryContextSwitchTo(derive_worker.cxt);
	if (derive_worker.position == NULL || fresh)
		derive_worker.position = derive_position_copy(stored);
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_worker.db->epoch = derive_worker.epoch;
	derive_worker.db->start_failures = 0;
	LWLockRelease(derive_shared()->lock);

	if (lsn != InvalidXLogRecPtr)
	{
		derive_worker.covered = lsn;
		derive_wait_publish(&derive_worker.db->point, lsn);
	}
	derive_worker.confirm_lsn = InvalidXLogRecPtr;
	derive_worker.decoded_upto = InvalidXLogRecPtr;
	derive_worker.unfinished = true;
	derive_worker.reload = true;
	derive_worker.phase = PHASE_OTHER;
}

void
derive_worker_close_capture(void)
{
	DeriveDecoder *decoder = derive_worker.decoder;
	DeriveStream *stream = derive_worker.stream;

	derive_worker.decoder = NULL;
	derive_worker.stream = NULL;
	if (decoder)
		derive_decoder_close(decoder);
	if (stream)
		derive_stream_free(stream);
}

/*
 * Read the log up to now.  Returns how far the views will have come.
 */
XLogRecPtr
derive_worker_capture(const DerivePosition *to, XLogRecPtr *upto)
{
	*upto = derive_decoder_end_of_wal();
	derive_worker_confirm_durable();

	derive_stream_begin_batch(derive_worker.stream, derive_worker.position, to);
	derive_worker.decode_counter = SharedInvalidMessageCounter;
	derive_worker.decoding = true;
	derive_worker.decoded_upto = derive_decoder_run(derive_worker.decoder, *upto);
	derive_worker.decoding = false;
	return derive_stream_covered(derive_worker.stream, derive_worker.decoded_upto);
}

/* Tell the slot, once what it would no longer deliver is safely on disk. */
void
derive_worker_confirm_durable(void)
{
	if (derive_worker.confirm_lsn == InvalidXLogRecPtr ||
		GetFlushRecPtr(NULL) < derive_worker.confirm_after)
		return;
	derive_decoder_confirm(derive_worker.decoder, derive_worker.confirm_lsn);
	derive_worker.confirm_lsn = InvalidXLogRecPtr;
}
