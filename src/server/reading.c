/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  How the worker reads the log: its slot, decoder and stream.
 *
 * Positions.  The snapshot is stored with the views' rows, in the same
 * transaction, together with the LSN before which it covers everything
 * (derive_state.position).  After a crash the slot delivers again from its
 * confirmed LSN on, and what the stored position covers is skipped.  A batch
 * whose transactions touched nothing that is tracked writes nothing, mostly not
 * even its position; those transactions are read again after a crash, with the
 * same result.
 *
 * Confirming.  The slot is told of an LSN only once a position that covers it
 * is on disk.  Batches commit asynchronously; so that is when their commit
 * record has been flushed, in practice when the next batch flushes the log in
 * order to read it.
 *
 * The stored LSN is thus never behind the slot: the row is durable before the
 * slot is told, a crash can only take the slot back, and a batch that makes a
 * view ready stores a position with it.  A slot that is ahead of the stored LSN
 * was moved by somebody else, who has got changes that the views lack.  Then
 * all views are computed afresh.  This is found out before the first batch, by
 * comparing two values that only a batch changes; a crash in between finds it
 * out again.
 *
 * A database in which nothing changes that concerns a view must not hold the
 * slot back for ever.  So a batch without changes stores its position now and
 * then: when enough has been read since the last time that it is worth a
 * commit.  What such a commit itself adds to the log, here and in other
 * databases, is much less than that, so that an idle server comes to rest.
 * Empty space in the log (archive_timeout) counts only where much WAL is held.
 * After the last changes, a few more positions are stored as soon as they let go
 * of WAL: the server finds out in steps what the slot can do without.
 *
 * Not quite to rest while there are standbys that may copy the slot (capture/standbys.c).
 * They wait for it to come to where they were when they began.  So when one has connected, positions
 * are stored after a record that lets the slot move, more and more rarely.
 *
 * At rest.  A commit that stores a position is not covered by it, so a slot is never quite at the
 * end of the log.  pg_upgrade, which since 17 takes slots along, wants those of a server that was stopped
 * to be: no commit in the database may be left.  So a worker that is told to leave, and has nothing
 * else to do, moves the stored LSN on without a commit, and then the slot.
 *
 *		stored 40, slot 40		commit of 40 ends at 43		(at rest) stored 43, slot 43
 *
 * Upgrade.  pg_upgrade copies our tables, and makes a slot of the same name behind the end of
 * the old log.  It has made sure that nothing that the old one would have delivered is left; so events of
 * topics and versions in histories go on without a gap.  But functions, dictionaries and
 * collations of another version may give other results.  So all views are computed anew, from tables
 * that are what they were.  That it was pg_upgrade tells the cluster's identifier, which is stored with the position.
 *
 * Lives.  An ERROR while decoding leaves decoder and stream unusable; both are
 * thrown away and made anew, which is a new life of the worker, with a new
 * epoch.  Views that a builder filled for an earlier life have lost their
 * backlog and are built again.
 *
 * A slot that is gone, was invalidated, or cannot be decoded is made anew as well.
 * Then, too, all views are computed afresh, since nobody can say what they have
 * missed (setbacks.c).
 *
 * Promotion.  The new primary has our tables, and the log with them: the stored position, and all
 * transactions that it covers.  So it goes on with a slot that delivers what comes after it, whether
 * that is at the position, as a copy of the old primary's slot, or delivers more.  A slot
 * of another kind is no use, see capture/branch.c.  The same for a server that was restored to a
 * point in time.  Old row versions were not held from the end of recovery until now.
 *
 *		the tables say			slot						views
 *		position of now			any						as after a crash
 *		of an earlier timeline	copy, at or behind it	go on; those that need old rows, anew
 *								copy, ahead of it		anew: it came before the position did
 *								none, or left behind	anew
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/lock_waiters.h"
#include "base/position.h"
#include "base/registry.h"
#include "capture/branch.h"
#include "capture/decoder.h"
#include "capture/standbys.h"
#include "delta/stream.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "pgstat.h"
#include "server/crash_guard.h"
#include "server/shmem.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "storage/standby.h"

/*
 * A batch without changes stores its position after as much has been read, if
 * that was long ago or in another segment of WAL; or after so many segments.
 */
#define STORE_AFTER_BYTES		(16 * 1024)
#define STORE_AFTER_MS			10000
#define STORE_AFTER_SEGMENTS	8
#define STORES_TO_RELEASE		3

/* For standbys: the time from one stored position to the next, which doubles. */
#define FIRST_BEAT_MS			1000
#define LAST_BEAT_MS			(60 * 60 * 1000)

/*
 * Before this LSN the log cannot be had: every view that was filled and that lacks
 * something of it must be computed anew.  stored: where those stand that do not
 * stand still.  (One that catches up with what an earlier life kept comes too late
 * in any case.)
 */
static void
mark_for_rebuild(XLogRecPtr stored, XLogRecPtr lost_before, const char *reason)
{
	ListCell   *lc;

	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	reason = psprintf("its turn to be computed anew: %s", reason);
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->row->state == DERIVE_VIEW_READY && !derive_worker_needs_recompute(view) &&
			(derive_worker_stands_still(view) ? view->waiting->lsn : stored) < lost_before)
			derive_worker_lose_log(view, lost_before, reason);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
}

/* The views have come that far, but one that stands still may need more. */
static XLogRecPtr
still_needed(XLogRecPtr covered)
{
	XLogRecPtr	waiting = derive_worker_waiting_lsn();

	return XLogRecPtrIsInvalid(waiting) ? covered : Min(waiting, covered);
}

/* Is there a view whose contents depend on where the slot stood? */
static bool
any_view_ready(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		if (((WorkerView *) lfirst(lc))->row->state == DERIVE_VIEW_READY &&
			!derive_worker_needs_recompute(lfirst(lc)))
			return true;
	}
	return false;
}

static void
report_skipped(XLogRecPtr start)
{
	StartTransactionCommand();
	derive_worker_report_skipped(start);
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
}

/*
 * Has somebody else read from the slot?  See the head of the file.  The slot is
 * ours now, so nobody can do it after this.
 */
static void
check_slot_untouched(XLogRecPtr stored, bool branched)
{
	XLogRecPtr	confirmed = derive_decoder_confirmed(derive_worker.decoder);
	XLogRecPtr	needed = still_needed(stored);

	if (!any_view_ready())
		return;
	if (confirmed <= needed)
	{
		if (branched)
			ereport(LOG,
					(errmsg("maintained views of %s go on with replication slot \"%s\" after the promotion of the server",
							derive_worker.whose, derive_worker.slot),
					 errdetail("The slot is at %X/%X, the views contain what committed before %X/%X.",
							   LSN_FORMAT_ARGS(confirmed), LSN_FORMAT_ARGS(needed))));
		return;
	}
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 branched ?
			 errmsg("replication slot \"%s\" was synchronized further than the maintained views of %s were replicated, they are computed anew",
					derive_worker.slot, derive_worker.whose) :
			 errmsg("somebody else has read from replication slot \"%s\", maintained views of %s are computed anew",
					derive_worker.slot, derive_worker.whose),
			 errdetail("The slot is at %X/%X, but the views contain only what committed before %X/%X.",
					   LSN_FORMAT_ARGS(confirmed), LSN_FORMAT_ARGS(needed)),
			 branched ? 0 : errhint("Create a slot of your own to read changes from.")));
	report_skipped(confirmed);
	mark_for_rebuild(stored, confirmed,
					 branched ? "the replication slot was synchronized further than the views were replicated" :
					 "somebody else has read from the replication slot");
}

void
derive_worker_drop_slot(void)
{
	StartTransactionCommand();
	derive_slot_drop(derive_worker.slot);
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
}

/* Did the launcher drop the slot? */
static bool
log_was_given_up(void)
{
	bool		result;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	result = derive_worker.place->log_given_up;
	LWLockRelease(derive_shared()->lock);
	return result;
}

/* For people: the new slot waits for transactions older than that. */
static void
note_cutoff(void)
{
	TransactionId cutoff = XidFromFullTransactionId(ReadNextFullTransactionId());
	int			n = list_length(derive_older_transactions(cutoff, MyProcPid));

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_worker.place->slot_cutoff = cutoff;
	derive_worker.place->slot_lockers = n;
	LWLockRelease(derive_shared()->lock);
}

/* Before the slot is there, if it is to be made: a crash in between must not hide it. */
static void
compute_all_anew(const char *reason)
{
	if (!any_view_ready())
		return;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("all maintained views of %s are computed anew: %s",
					derive_worker.whose, reason),
			 errdetail("The replication slot is \"%s\".", derive_worker.slot)));
	mark_for_rebuild(InvalidXLogRecPtr, PG_UINT64_MAX, reason);
}

/*
 * Begin a life: find or create the slot, open the decoder, begin where the
 * stored position says.
 */
void
derive_worker_open_capture(void)
{
	DeriveSlotState state;
	const char *why;
	bool		fresh = false;
	bool		branched;
	bool		upgraded;
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	DerivePosition *stored;
	DerivePosition *held_since = NULL;

	derive_worker.phase = PHASE_CAPTURE;

	StartTransactionCommand();
	(void) derive_registry_position(derive_worker.group, &lsn, NULL);
	branched = derive_log_has_branched(lsn);
	state = derive_slot_state(derive_worker.slot, lsn, &why);
	upgraded = derive_registry_position_is_foreign(derive_worker.group);
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);

	if (state != DERIVE_SLOT_USABLE || derive_worker.undecodable != NULL)
	{
		XLogRecPtr	start;

		if (derive_worker.undecodable != NULL)
			why = derive_worker.undecodable;
		else if (state == DERIVE_SLOT_MISSING && log_was_given_up())
			why = "more of the log was kept for them than \"pg_derive.max_wal_backlog\"";
		else if (state == DERIVE_SLOT_MISSING && upgraded)
			why = "pg_upgrade does not keep replication slots of this version";
		compute_all_anew(why);
		if (state != DERIVE_SLOT_MISSING)
			derive_worker_drop_slot();
		derive_worker_set_activity(DERIVE_CREATING_SLOT);
		StartTransactionCommand();
		note_cutoff();
		derive_blocked_set_xacts(&derive_worker.place->point.blocked_on);
		start = derive_slot_create(derive_worker.slot);
		derive_blocked_clear(&derive_worker.place->point.blocked_on);
		CommitTransactionCommand();
		MemoryContextSwitchTo(derive_worker.batch_cxt);
		report_skipped(start);
		if (derive_worker.undecodable)
			pfree(derive_worker.undecodable);
		derive_worker.undecodable = NULL;
		derive_worker.stuck_tries = 0;
		LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
		derive_worker.place->log_given_up = false;
		LWLockRelease(derive_shared()->lock);
		fresh = true;
	}
	else if (upgraded)
	{
		compute_all_anew("the server was upgraded by pg_upgrade");
		fresh = true;
	}

	MemoryContextSwitchTo(derive_worker.cxt);
	derive_worker.epoch = Max(derive_worker.epoch + 1, GetCurrentTimestamp());
	derive_worker.stream = derive_stream_create();

	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.cxt);
	derive_worker.decoder = derive_decoder_open(derive_worker.slot,
												derive_stream_sink(derive_worker.stream));
	derive_decoder_show(derive_worker.decoder, &derive_worker.place->read_lsn);
	derive_decoder_on_progress(derive_worker.decoder, derive_crash_guard_note_reading, derive_crash_guard_is_wary());
	derive_stream_show(derive_worker.stream, &derive_worker.place->behind_since);
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	lsn = InvalidXLogRecPtr;
	stored = fresh ? NULL : derive_registry_position(derive_worker.group, &lsn, &held_since);
	if (branched)
		held_since = NULL;
	MemoryContextSwitchTo(derive_worker.cxt);
	if (derive_worker.position == NULL || fresh)
		derive_worker.position = derive_position_copy(stored);
	derive_worker.stored_xmin = stored != NULL ? stored->xmin : InvalidFullTransactionId;
	derive_worker_open_hold(held_since);
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	if (!fresh)
		check_slot_untouched(lsn, branched);

	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	derive_worker.place->epoch = derive_worker.epoch;
	if (!derive_worker.place->reading)
		derive_worker.place->reading_changed_at = GetCurrentTimestamp();
	derive_worker.place->reading = true;
	derive_worker.place->slot_failures = 0;
	LWLockRelease(derive_shared()->lock);

	if (lsn != InvalidXLogRecPtr)
	{
		derive_worker.covered = lsn;
		derive_wait_publish(&derive_worker.place->point, lsn);
	}
	derive_decoder_watch_lives(derive_worker.decoder, lsn != InvalidXLogRecPtr ? lsn : PG_UINT64_MAX);
	derive_worker.stored_lsn = lsn;
	derive_worker.stored_at = GetCurrentTimestamp();
	derive_worker.stored_bytes = 0;
	derive_worker.stores_left = STORES_TO_RELEASE;
	derive_worker.standbys = 0;
	derive_worker.beating = false;

	derive_worker_pin_slot();

	/* The slot may not have heard of it; nor need it be on disk yet. */
	derive_worker.confirm_lsn = still_needed(lsn);
	derive_worker.confirm_after = derive_wait_target(InvalidXLogRecPtr);
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
	pg_atomic_write_u64(&derive_worker.place->pinned_lsn, InvalidXLogRecPtr);	/* the next slot may be
																				 * another one */
	if (decoder)
		derive_decoder_close(decoder);
	if (stream)
		derive_stream_free(stream);
}

/*
 * Read the log up to now.  Returns how far the views will have come.
 */
XLogRecPtr
derive_worker_capture(const DerivePosition *to)
{
	XLogRecPtr	upto = derive_decoder_end_of_wal();
	XLogRecPtr	from = Max(derive_worker.decoded_upto, derive_decoder_confirmed(derive_worker.decoder));

	derive_worker_confirm_durable();
	pg_atomic_write_u64(&derive_worker.place->read_from, from);
	pg_atomic_write_u64(&derive_worker.place->read_lsn, from);
	pg_atomic_write_u64(&derive_worker.place->read_upto, upto);
	pg_atomic_write_u64(&derive_worker.place->read_since, (uint64) GetCurrentTimestamp());

	derive_stream_begin_batch(derive_worker.stream, derive_worker.position, to);
	derive_worker.decode_counter = SharedInvalidMessageCounter;
	derive_worker.decoding = true;
	derive_worker.decoded_upto = derive_decoder_run(derive_worker.decoder, upto);
	derive_worker.decoding = false;
	return derive_stream_covered(derive_worker.stream, derive_worker.decoded_upto);
}

/*
 * Of one that changes rows, if the batch has one, or else of whatever made it; about,
 * since what wakes us up tells no more than that.
 */
TimestampTz
derive_worker_lacking_since(void)
{
	TimestampTz result = derive_worker.stream != NULL ? derive_stream_oldest_commit(derive_worker.stream) : 0;

	if (result == 0)
		result = (TimestampTz) pg_atomic_read_u64(&derive_worker.place->behind_since);
	return result == 0 ? GetCurrentTimestamp() : Min(result, GetCurrentTimestamp());
}

static uint64
bytes_since_stored(void)
{
	return derive_decoder_bytes_read(derive_worker.decoder) - derive_worker.stored_bytes;
}

/*
 * The slot's catalog_xmin moves to the oldest transaction that a record of the running ones
 * names, once a position after it is confirmed.  The server writes none while it is idle.  Two or
 * three are needed, since the slot first moves to what it has seen before.
 */
long
derive_worker_beat(long timeout)
{
	uint64		standbys = derive_standbys_connected();
	TimestampTz now = GetCurrentTimestamp();

	if (standbys != derive_worker.standbys)
	{
		derive_worker.standbys = standbys;
		derive_worker.beat_ms = FIRST_BEAT_MS;
		derive_worker.beat_at = now;
	}
	if (standbys == 0 || DERIVE_DEBUG_SKIPS("beat"))
		return timeout;
	if (now >= derive_worker.beat_at)
	{
		derive_worker.beat_at = TimestampTzPlusMilliseconds(now, derive_worker.beat_ms);
		derive_worker.beat_ms = Min(2 * derive_worker.beat_ms, LAST_BEAT_MS);
		derive_worker.beating = true;
		(void) LogStandbySnapshot();
	}
	return Min(timeout, TimestampDifferenceMilliseconds(now, derive_worker.beat_at) + 1);
}

/* For a new slot, which has no stored LSN, at once. */
bool
derive_worker_position_is_due(XLogRecPtr covered)
{
	XLogRecPtr	stored = derive_worker.stored_lsn;
	bool		long_ago;

	if (covered <= stored)
		return false;
	if (derive_worker.finishing || derive_worker.beating || derive_worker_hold_is_due())
		return true;
	if (covered - stored >= STORE_AFTER_SEGMENTS * (uint64) wal_segment_size)
		return true;
	long_ago = TimestampDifferenceExceeds(derive_worker.stored_at, GetCurrentTimestamp(),
										  STORE_AFTER_MS);
	if (bytes_since_stored() >= STORE_AFTER_BYTES)
		return long_ago || covered / wal_segment_size != stored / wal_segment_size;
	return long_ago && derive_worker.stores_left > 0 &&
		derive_decoder_would_release(derive_worker.decoder, covered);
}

void
derive_worker_position_stored(const DerivePosition *position, XLogRecPtr covered, bool due)
{
	if (!due || bytes_since_stored() >= STORE_AFTER_BYTES)
		derive_worker.stores_left = STORES_TO_RELEASE;
	else if (derive_worker.stores_left > 0)
		derive_worker.stores_left--;
	derive_worker.stored_lsn = covered;
	derive_worker.stored_xmin = position->xmin;
	derive_worker.commits_stored = derive_worker.commits_seen;
	derive_worker.stored_at = GetCurrentTimestamp();
	derive_worker.stored_bytes = derive_decoder_bytes_read(derive_worker.decoder);
	derive_worker.confirm_lsn = still_needed(covered);
	derive_worker.confirm_after = XactLastCommitEnd;
}

/* Tell the slot, once what it would no longer deliver is safely on disk. */
void
derive_worker_confirm_durable(void)
{
	if (derive_worker.confirm_lsn == InvalidXLogRecPtr ||
		GetFlushRecPtr(NULL) < derive_worker.confirm_after)
		return;
	derive_decoder_confirm(derive_worker.decoder, derive_worker.confirm_lsn, false);
	derive_worker_move_hold();
	derive_worker.confirm_lsn = InvalidXLogRecPtr;
}

bool
derive_worker_is_confirming(void)
{
	derive_worker_confirm_durable();
	return !XLogRecPtrIsInvalid(derive_worker.confirm_lsn) || derive_decoder_is_confirming(derive_worker.decoder);
}

void
derive_worker_store_at_rest(void)
{
	XLogRecPtr	covered = derive_worker.covered;

	if (covered <= derive_worker.stored_lsn || !XLogRecPtrIsInvalid(derive_worker_waiting_lsn()))
		return;
	StartTransactionCommand();
	if (!ConditionalLockRelationOid(derive_registry_table_oid("position", false), RowExclusiveLock))
	{
		CommitTransactionCommand();
		return;
	}
	if (!derive_registry_overwrite_lsn(derive_worker.group, covered))
	{
		/* the group was dropped, and nobody will read on from there */
		CommitTransactionCommand();
		return;
	}
	XLogFlush(XactLastRecEnd);
	CommitTransactionCommand();
	derive_worker.stored_lsn = covered;
	derive_worker_confirm_stored();
}

void
derive_worker_confirm_stored(void)
{
	XLogFlush(Max(derive_worker.confirm_after, XactLastCommitEnd));
	derive_decoder_confirm(derive_worker.decoder, still_needed(derive_worker.stored_lsn), true);
	derive_worker_move_hold();
	derive_worker.confirm_lsn = InvalidXLogRecPtr;
}
