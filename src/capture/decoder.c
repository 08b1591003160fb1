/*-------------------------------------------------------------------------
 *
 * decoder.c
 *	  In-process logical decoding: the slot, and the loop that reads WAL.
 *
 * One LogicalDecodingContext lives as long as the decoder.  Each run reads on
 * where the last one ended, so a run costs what its records cost.  Memory of
 * the server's decoding machinery (record buffers, the reorder buffer, the
 * snapshot builder) hangs below the context's own memory context, which is
 * current while records are read, since XLogReadRecord() keeps what it
 * allocates.
 *
 * Replaying a transaction starts and aborts a subtransaction of the caller's
 * transaction; afterwards the current resource owner and memory context may be
 * any, and are put back here.
 *
 * Catalog caches: see caches.c for why and when.
 *
 * Confirming.  Once WAL is confirmed, the transactions in it are never
 * delivered again, also after a crash.  So their effects must be on disk
 * before that.  Workers commit asynchronously, and the slot may be written to
 * disk at any moment (by a checkpoint, or here when it lets go of WAL or
 * catalog rows), so a confirmation waits until the commit that came before it
 * has been flushed; the WAL writer does that within moments.  Two pending
 * confirmations are enough: the oldest one, which will be due first, and the
 * newest, which takes its place.
 *
 *		confirm()			waiting := newest, if nothing waits
 *		advance()			newest durable?		confirm it, both are done
 *							waiting durable?	confirm it, waiting := newest
 *
 * A copy of the slot on a standby must not be ahead of what the tables there say
 * either.  So durable means there, too (standbys.c), for as long as a standby that is
 * slow can be waited for: the worst that comes of it is that views are computed anew.
 *
 * The server writes the slot to disk only when restart_lsn or catalog_xmin
 * move, for which it needs a running-xacts record: every 15 seconds or at a
 * checkpoint.  So a confirmation normally costs no fsync.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "base/elapsed.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/reorderbuffer.h"
#include "replication/slot.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/gucs.h"
#include "capture/branch.h"
#include "capture/caches.h"
#include "capture/decoder.h"
#include "capture/decoder_internal.h"
#include "capture/lives.h"
#include "capture/standbys.h"

#define NO_COPY "the server was promoted or restored, and no replication slot came with it"

/* For so long a confirmation waits for standbys. */
#define STANDBY_PATIENCE_MS		10000

/* A confirmation, and the WAL that must be on disk before it is given. */
typedef struct Confirmation
{
	XLogRecPtr	lsn;
	XLogRecPtr	after;
	int64		since;			/* derive_monotonic_ms(); 0: need not be on
								 * the disks of standbys */
} Confirmation;

struct DeriveDecoder
{
	LogicalDecodingContext *ctx;
	DeriveCapture capture;
	bool		broken;			/* a run failed: only good for closing */
	bool		flushed;		/* caches are fit for old transactions in this
								 * run */
	uint64		bytes_read;		/* sizes of all records that were read */
	pg_atomic_uint64 *shown;	/* where others see how far it is; or NULL */
	void		(*on_progress) (XLogRecPtr lsn);	/* or NULL */
	bool		each_record;	/* it is called for each one */
	DeriveLives lives;			/* of the server, as far as was read */
	Confirmation waiting;
	Confirmation newest;
};

/* ---------- the slot ---------- */

/* Minor releases since August 2026 refuse output plugins that it does not name. */
#define PLUGINS_SETTING "output_plugin_libraries"

bool
derive_plugin_is_allowed(void)
{
	const char *value = GetConfigOption(PLUGINS_SETTING, true, false);
	char	   *copy = value ? pstrdup(value) : NULL;
	List	   *names;
	ListCell   *lc;

	if (copy == NULL)
		return true;
	if (!SplitIdentifierString(copy, ',', &names))
		return false;
	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), DERIVE_PLUGIN_NAME) == 0)
			return true;
	}
	return false;
}

void
derive_plugin_allow(GucContext context, GucSource source)
{
	const char *value = GetConfigOption(PLUGINS_SETTING, true, false);
	const char *extended;

	if (derive_plugin_is_allowed())
		return;
	extended = value[0] ? psprintf("%s, %s", value, DERIVE_PLUGIN_NAME) : DERIVE_PLUGIN_NAME;
	SetConfigOption(PLUGINS_SETTING, extended, context, source);
}

/* For this process, where we may. */
static void
allow_plugin(void)
{
	if (superuser())
		derive_plugin_allow(PGC_SUSET, PGC_S_SESSION);
}

static void
check_unused_slot(void)
{
	if (MyReplicationSlot != NULL)
		elog(ERROR, "this process already uses replication slot \"%s\"",
			 NameStr(MyReplicationSlot->data.name));
}

static XLogRecPtr
find_start(void)
{
	LogicalDecodingContext *ctx;

	ctx = CreateInitDecodingContext(DERIVE_PLUGIN_NAME, NIL, false, InvalidXLogRecPtr,
									XL_ROUTINE(.page_read = read_local_xlog_page,
											   .segment_open = wal_segment_open,
											   .segment_close = wal_segment_close),
									NULL, NULL, NULL);
	DecodingContextFindStartpoint(ctx);
	FreeDecodingContext(ctx);
	return MyReplicationSlot->data.confirmed_flush;
}

XLogRecPtr
derive_slot_create(const char *name)
{
	XLogRecPtr	start = InvalidXLogRecPtr;

	Assert(IsTransactionState());
	check_unused_slot();
	CheckLogicalDecodingRequirements();
	allow_plugin();

	/* Until it is persistent, releasing the slot drops it. */
	derive_slot_create_ephemeral(name);
	PG_TRY();
	{
		start = find_start();
		ReplicationSlotPersist();
	}
	PG_CATCH();
	{
		ReplicationSlotRelease();
		PG_RE_THROW();
	}
	PG_END_TRY();
	ReplicationSlotRelease();
	return start;
}

/* A copy of the slot's data, if there is such a slot. */
static bool
read_slot(const char *name, ReplicationSlotPersistentData *data, bool *active)
{
	ReplicationSlot *slot;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		*data = slot->data;
		*active = slot->active_pid != 0;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return slot != NULL;
}

static bool
is_ours(const ReplicationSlotPersistentData *data)
{
	return data->database == MyDatabaseId && strcmp(NameStr(data->plugin), DERIVE_PLUGIN_NAME) == 0;
}

/* Waits for a process that uses the slot to release it. */
void
derive_slot_drop(const char *name)
{
	ReplicationSlotPersistentData data;
	bool		active;

	if (read_slot(name, &data, &active) && is_ours(&data))
		ReplicationSlotDrop(name, false);
}

/* See branch.c. */
static bool
is_left_behind(const ReplicationSlotPersistentData *data, XLogRecPtr stored)
{
	if (data->confirmed_flush > GetXLogInsertRecPtr())
		return true;
	if (derive_slot_is_synced(data))
		return derive_log_has_branched(stored) && !derive_log_has_branched(data->confirmed_flush);
	return derive_log_has_branched(stored) || derive_log_has_branched(data->confirmed_flush);
}

DeriveSlotState
derive_slot_state(const char *name, XLogRecPtr stored, const char **why)
{
	ReplicationSlotPersistentData data;
	bool		active;
	bool		left_behind;

	*why = derive_log_has_branched(stored) ? NO_COPY : "the replication slot does not exist";
	if (!read_slot(name, &data, &active))
		return DERIVE_SLOT_MISSING;
	if (!is_ours(&data))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("replication slot \"%s\" is in the way of pg_derive", name),
				 errdetail("It was created for another output plugin or in another database."),
				 errhint("Drop the slot with pg_drop_replication_slot().")));
	/* recovery invalidates some of those */
	left_behind = is_left_behind(&data, stored);
	*why = left_behind ? NO_COPY : derive_slot_invalidation(&data);
	if (derive_slot_is_invalidated(&data) || XLogRecPtrIsInvalid(data.restart_lsn))
		return DERIVE_SLOT_LOST;
	if (!active && GetWALAvailability(data.restart_lsn) == WALAVAIL_REMOVED)
		return DERIVE_SLOT_LOST;
	return left_behind ? DERIVE_SLOT_LEFT_BEHIND : DERIVE_SLOT_USABLE;
}

/* ---------- opening and closing ---------- */

/* Our own setting in place of the server's; again after a reload or abort. */
static void
set_decoding_work_mem(void)
{
	char		value[32];

	if (logical_decoding_work_mem == derive_decoding_work_mem)
		return;
	snprintf(value, sizeof(value), "%dkB", derive_decoding_work_mem);
	SetConfigOption("logical_decoding_work_mem", value, PGC_USERSET, PGC_S_SESSION);
}

/* The output plugin finds decoder->capture in the context it starts up for. */
static void
create_context(DeriveDecoder *decoder)
{
	derive_plugin_expect(&decoder->capture);
	PG_TRY();
	{
		decoder->ctx = CreateDecodingContext(InvalidXLogRecPtr, NIL, false,
											 XL_ROUTINE(.page_read = read_local_xlog_page,
														.segment_open = wal_segment_open,
														.segment_close = wal_segment_close),
											 NULL, NULL, NULL);
	}
	PG_FINALLY();
	{
		derive_plugin_expect(NULL);
	}
	PG_END_TRY();
	Assert(decoder->ctx->output_plugin_private == &decoder->capture);
}

/* The server would begin to read at 0/0. */
static void
check_slot_not_lost(void)
{
	const ReplicationSlotPersistentData *data = &MyReplicationSlot->data;

	if (derive_slot_is_invalidated(data) || XLogRecPtrIsInvalid(data->restart_lsn))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("can no longer get changes from replication slot \"%s\"",
						NameStr(data->name)),
				 errdetail("The WAL that it needs has been removed.")));
}

DeriveDecoder *
derive_decoder_open(const char *slotname, const DeriveSink *sink)
{
	DeriveDecoder *decoder = palloc0(sizeof(DeriveDecoder));

	/* see the header for what happens outside of a transaction */
	Assert(IsTransactionState());
	check_unused_slot();
	CheckLogicalDecodingRequirements();
	allow_plugin();
	set_decoding_work_mem();

	derive_slot_acquire(slotname, true);
	PG_TRY();
	{
		check_slot_not_lost();
		decoder->capture.sink = sink;
		create_context(decoder);
		decoder->capture.row_cxt = AllocSetContextCreate(decoder->ctx->context,
														 "pg_derive decoded row",
														 ALLOCSET_DEFAULT_SIZES);
		XLogBeginRead(decoder->ctx->reader, MyReplicationSlot->data.restart_lsn);
	}
	PG_CATCH();
	{
		ReplicationSlotRelease();
		PG_RE_THROW();
	}
	PG_END_TRY();
	derive_caches_watch();
	return decoder;
}

/*
 * Also after an error, and inside or outside of a transaction.  The error
 * handling of an ordinary session has released the slot by then, which the
 * server's own clean-up needs; what it leaves on disk the next user of the
 * slot removes.
 */
void
derive_decoder_close(DeriveDecoder *decoder)
{
	LogicalDecodingContext *ctx = decoder->ctx;

	if (MyReplicationSlot == ctx->slot)
	{
		FreeDecodingContext(ctx);
		ReplicationSlotRelease();
	}
	else
	{
		if (ctx->reader->seg.ws_file >= 0)
			wal_segment_close(ctx->reader);
		MemoryContextDelete(ctx->context);
	}
	pfree(decoder);
}

/* ---------- reading ---------- */

/*
 * An insert position exactly behind a page header is no place where a record
 * ends: the last record ended with the page before.  Waiting for a reader to
 * get there would take until the next record is written.
 */
static XLogRecPtr
before_page_header(XLogRecPtr lsn)
{
	uint64		in_page = lsn % XLOG_BLCKSZ;

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD ||
		(in_page == SizeOfXLogShortPHD &&
		 XLogSegmentOffset(lsn, wal_segment_size) > XLOG_BLCKSZ))
		return lsn - in_page;
	return lsn;
}

XLogRecPtr
derive_decoder_end_of_wal(void)
{
	XLogRecPtr	end = before_page_header(GetXLogInsertRecPtr());

	XLogFlush(end);
	return end;
}

/* Every transaction that is still to be replayed has its base snapshot at or behind this. */
static XLogRecPtr
oldest_snapshot_to_come(DeriveDecoder *decoder)
{
	ReorderBuffer *rb = decoder->ctx->reorder;
	XLogRecPtr	oldest = decoder->ctx->reader->EndRecPtr;

	if (!dlist_is_empty(&rb->txns_by_base_snapshot_lsn))
	{
		ReorderBufferTXN *txn = dlist_head_element(ReorderBufferTXN, base_snapshot_node,
												   &rb->txns_by_base_snapshot_lsn);

		oldest = Min(oldest, txn->base_snapshot_lsn);
	}
	return oldest;
}

/*
 * Is this record the commit of a transaction that is old in the sense of
 * caches.c?  The list is in order of base snapshots, old ones come first.  The
 * xid of COMMIT PREPARED is not the record's own; any old transaction counts.
 */
static bool
commits_old_transaction(DeriveDecoder *decoder, XLogReaderState *record)
{
	ReorderBuffer *rb = decoder->ctx->reorder;
	uint8		op = XLogRecGetInfo(record) & XLOG_XACT_OPMASK;
	XLogRecPtr	newest;
	dlist_iter	iter;

	if (XLogRecGetRmid(record) != RM_XACT_ID ||
		(op != XLOG_XACT_COMMIT && op != XLOG_XACT_COMMIT_PREPARED))
		return false;

	newest = derive_caches_newest();
	dlist_foreach(iter, &rb->txns_by_base_snapshot_lsn)
	{
		ReorderBufferTXN *txn = dlist_container(ReorderBufferTXN, base_snapshot_node, iter.cur);

		if (txn->base_snapshot_lsn >= newest)
			break;
		if (txn->xid == XLogRecGetXid(record) || op == XLOG_XACT_COMMIT_PREPARED)
			return true;
	}
	return false;
}

static void
tell_progress(DeriveDecoder *decoder, XLogRecPtr lsn)
{
	if (decoder->on_progress != NULL)
		decoder->on_progress(lsn);
}

static void
read_record(DeriveDecoder *decoder)
{
	LogicalDecodingContext *ctx = decoder->ctx;
	char	   *message = NULL;

	/* replaying a transaction leaves another one current */
	MemoryContextSwitchTo(ctx->context);

	if (XLogReadRecord(ctx->reader, &message) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read WAL for replication slot \"%s\" at %X/%X: %s",
						NameStr(ctx->slot->data.name),
						LSN_FORMAT_ARGS(ctx->reader->EndRecPtr),
						message ? message : "no record found")));
	decoder->bytes_read += XLogRecGetTotalLen(ctx->reader);
	if (decoder->shown != NULL)
		pg_atomic_write_u64(decoder->shown, ctx->reader->EndRecPtr);
	if (decoder->each_record || XLogRecGetRmid(ctx->reader) == RM_XACT_ID)
		tell_progress(decoder, ctx->reader->ReadRecPtr);
	derive_lives_note(&decoder->lives, ctx->reader);
	DERIVE_DEBUG_POINT("decode-record");

	if (!decoder->flushed && commits_old_transaction(decoder, ctx->reader))
	{
		derive_caches_flush(InvalidXLogRecPtr);
		decoder->flushed = true;
	}
	LogicalDecodingProcessRecord(ctx, ctx->reader);
	CHECK_FOR_INTERRUPTS();
}

/* Where in the log; the server adds the slot, and the place of the change. */
static void
add_context(void *arg)
{
	DeriveDecoder *decoder = arg;
	XLogRecPtr	lsn = decoder->ctx->reader->ReadRecPtr;

	if (decoder->capture.relation != NULL)
		errcontext("reading a change of table \"%s\" by transaction %u, committed at %X/%X",
				   decoder->capture.relation, decoder->capture.xid, LSN_FORMAT_ARGS(lsn));
	else if (TransactionIdIsValid(decoder->capture.xid))
		errcontext("reading transaction %u, committed at %X/%X", decoder->capture.xid, LSN_FORMAT_ARGS(lsn));
	else
		errcontext("reading the write-ahead log at %X/%X", LSN_FORMAT_ARGS(lsn));
}

static void
read_until(DeriveDecoder *decoder, XLogRecPtr upto)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorContextCallback callback = {error_context_stack, add_context, decoder};

	decoder->capture.xid = InvalidTransactionId;
	decoder->capture.relation = NULL;
	error_context_stack = &callback;
	decoder->broken = true;
	PG_TRY();
	{
		while (decoder->ctx->reader->EndRecPtr < upto)
			read_record(decoder);
	}
	PG_CATCH();
	{
		/* whatever the caches hold now may be historic */
		CurrentResourceOwner = owner;
		InvalidateSystemCaches();
		tell_progress(decoder, InvalidXLogRecPtr);
		PG_RE_THROW();
	}
	PG_END_TRY();
	decoder->broken = false;
	error_context_stack = callback.previous;

	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(caller);
}

static void advance_confirmation(DeriveDecoder *decoder);

XLogRecPtr
derive_decoder_run(DeriveDecoder *decoder, XLogRecPtr upto)
{
	Assert(IsTransactionState());
	if (decoder->broken || MyReplicationSlot != decoder->ctx->slot)
		elog(ERROR, "decoder is used after an error");

	advance_confirmation(decoder);
	set_decoding_work_mem();
	upto = before_page_header(upto);
	if (decoder->ctx->reader->EndRecPtr >= upto)
		return decoder->ctx->reader->EndRecPtr;

	AcceptInvalidationMessages();
	derive_caches_collect();
	derive_caches_forget(oldest_snapshot_to_come(decoder));
	decoder->flushed = false;
	decoder->capture.oldest_snapshot = PG_UINT64_MAX;

	read_until(decoder, upto);
	tell_progress(decoder, InvalidXLogRecPtr);

	derive_caches_collect();
	if (decoder->capture.oldest_snapshot != PG_UINT64_MAX)
		derive_caches_flush(decoder->capture.oldest_snapshot);
	DERIVE_DEBUG_POINT("decoded");
	return decoder->ctx->reader->EndRecPtr;
}

/* ---------- confirming ---------- */

static void
give_confirmation(XLogRecPtr lsn)
{
	LogicalConfirmReceivedLocation(lsn);

	/* else only a moved restart_lsn would make the next checkpoint write it */
	ReplicationSlotMarkDirty();

	/*
	 * a position of this timeline is on disk: the slot is not a mere copy any
	 * more
	 */
	if (derive_slot_is_synced(&MyReplicationSlot->data))
	{
		SpinLockAcquire(&MyReplicationSlot->mutex);
		derive_slot_unset_synced(&MyReplicationSlot->data);
		SpinLockRelease(&MyReplicationSlot->mutex);
		ReplicationSlotSave();
	}
}

static bool
is_durable(const Confirmation *confirmation)
{
	return confirmation->after <= GetFlushRecPtr(NULL) &&
		(derive_standbys_have(confirmation->after) ||
		 derive_has_elapsed(confirmation->since, STANDBY_PATIENCE_MS));
}

static void
advance_confirmation(DeriveDecoder *decoder)
{
	if (XLogRecPtrIsInvalid(decoder->waiting.lsn))
		return;
	if (is_durable(&decoder->newest))
	{
		give_confirmation(decoder->newest.lsn);
		decoder->waiting.lsn = InvalidXLogRecPtr;
	}
	else if (is_durable(&decoder->waiting))
	{
		give_confirmation(decoder->waiting.lsn);
		decoder->waiting = decoder->newest;
	}
}

void
derive_decoder_confirm(DeriveDecoder *decoder, XLogRecPtr lsn, bool at_once)
{
	if (lsn > decoder->newest.lsn &&
		lsn > MyReplicationSlot->data.confirmed_flush)
	{
		decoder->newest.lsn = lsn;
		decoder->newest.after = XactLastCommitEnd;
		decoder->newest.since = derive_monotonic_ms();
		if (XLogRecPtrIsInvalid(decoder->waiting.lsn))
			decoder->waiting = decoder->newest;
	}
	if (at_once)
		decoder->newest.since = 0;
	advance_confirmation(decoder);
}

bool
derive_decoder_is_confirming(DeriveDecoder *decoder)
{
	advance_confirmation(decoder);
	return !XLogRecPtrIsInvalid(decoder->waiting.lsn);
}

bool
derive_decoder_would_release(DeriveDecoder *decoder, XLogRecPtr lsn)
{
	const ReplicationSlot *slot = decoder->ctx->slot;

	return !XLogRecPtrIsInvalid(slot->candidate_restart_valid) &&
		slot->candidate_restart_valid <= lsn &&
		slot->candidate_restart_lsn / wal_segment_size > slot->data.restart_lsn / wal_segment_size;
}

void
derive_decoder_show(DeriveDecoder *decoder, pg_atomic_uint64 *lsn)
{
	decoder->shown = lsn;
}

void
derive_decoder_on_progress(DeriveDecoder *decoder, void (*callback) (XLogRecPtr lsn), bool each_record)
{
	decoder->on_progress = callback;
	decoder->each_record = each_record;
}

void
derive_decoder_watch_lives(DeriveDecoder *decoder, XLogRecPtr since)
{
	derive_lives_watch(&decoder->lives, since);
}

bool
derive_decoder_saw_unmarked_life(DeriveDecoder *decoder)
{
	return decoder->lives.unmarked;
}

uint64
derive_decoder_bytes_read(DeriveDecoder *decoder)
{
	return decoder->bytes_read;
}

XLogRecPtr
derive_decoder_failed_at(DeriveDecoder *decoder)
{
	XLogReaderState *reader = decoder->ctx->reader;

	if (!decoder->broken)
		return InvalidXLogRecPtr;
	/* before the first record was read, where that should be */
	return XLogRecPtrIsInvalid(reader->ReadRecPtr) ? reader->EndRecPtr : reader->ReadRecPtr;
}

XLogRecPtr
derive_decoder_confirmed(DeriveDecoder *decoder)
{
	return decoder->ctx->slot->data.confirmed_flush;
}

XLogRecPtr
derive_decoder_asked(DeriveDecoder *decoder)
{
	return Max(derive_decoder_confirmed(decoder), decoder->newest.lsn);
}
