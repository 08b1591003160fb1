/*-------------------------------------------------------------------------
 *
 * output_plugin.c
 *	  The logical decoding output plugin "pg_derive".
 *
 * Two modes.  Anybody who may replicate can name the plugin, with
 * pg_recvlogical or the SQL functions, and gets the readable event stream of
 * json_stream.c.  Our own worker decodes in its own process and gets rows as
 * tuples, through a DeriveSink.
 *
 * The mode is chosen when the server loads the plugin for a new decoding
 * context, by a static variable that only derive_decoder_open() sets, around
 * the creation of its context.  No option, name or pointer that a caller could
 * supply takes part.
 *
 * The in-process callbacks run under a historic catalog snapshot, and caches.c
 * relies on their not touching the catalogs: they look at the relation
 * descriptor they are given and copy bytes.
 *
 * Unchanged and rebuilt rows.  Most rows go to the sink as the reorder buffer
 * holds them.  Only a new row with out-of-line values is rebuilt:
 *
 *	indirect pointer	the value's chunks were in the same transaction and the
 *						reorder buffer put them together: copy it in
 *	on-disk pointer		an UPDATE that left the value alone: take it from the old
 *						row, which carries it under REPLICA IDENTITY FULL, else
 *						leave it and say that the row is not complete
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/position.h"
#include "capture/decoder_internal.h"
#include "capture/json_stream.h"

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

static DeriveCapture *expected = NULL;

void
derive_plugin_expect(DeriveCapture *capture)
{
	expected = capture;
}

static void
capture_startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	Assert(expected != NULL);
	ctx->output_plugin_private = expected;
	ctx->streaming = false;
	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
}

/* Our worker's own writes carry this origin, which belongs to no node. */
static bool
capture_filter_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	return origin == DoNotReplicateId;
}

/*
 * Those that the reorder buffer knows are those that have changes, all of them:
 * also of tables that nobody follows, and of the catalog.
 */
static void
send_subtransactions(const DeriveSink *sink, ReorderBufferTXN *txn, FullTransactionId xid)
{
	FullTransactionId *subxids;
	int			n = 0;
	dlist_iter	iter;

	if (txn->nsubtxns == 0)
		return;
	subxids = palloc(sizeof(FullTransactionId) * txn->nsubtxns);
	dlist_foreach(iter, &txn->subtxns)
		subxids[n++] = derive_widen_xid(dlist_container(ReorderBufferTXN, node, iter.cur)->xid);
	sink->subtransactions(sink->arg, xid, n, subxids);
	pfree(subxids);
}

static void
capture_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	DeriveCapture *capture = ctx->output_plugin_private;
	const DeriveSink *sink = capture->sink;
	FullTransactionId xid = derive_widen_xid(txn->xid);

	capture->xid = txn->xid;
	capture->oldest_snapshot = Min(capture->oldest_snapshot, txn->base_snapshot_lsn);
	send_subtransactions(sink, txn, xid);
	capture->touched = false;
	capture->skipping = !sink->begin(sink->arg, xid, txn->final_lsn, txn->xact_time.commit_time);
	if (!capture->skipping && (rbtxn_has_catalog_changes(txn) || txn->ninvalidations > 0))
		sink->catalog(sink->arg);
}

static void
capture_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	DeriveCapture *capture = ctx->output_plugin_private;
	const DeriveSink *sink = capture->sink;

	capture->skipping = false;
	sink->commit(sink->arg, txn->end_lsn);
	capture->xid = InvalidTransactionId;
}

/*
 * A copy of the new row without out-of-line values.  An unchanged value that
 * the old row does not carry stays as it is and clears *complete.
 */
static HeapTuple
rebuild_row(TupleDesc desc, HeapTuple row, HeapTuple oldrow, bool *complete)
{
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	Datum	   *oldvalues = palloc(sizeof(Datum) * desc->natts);
	bool	   *oldnulls = palloc(sizeof(bool) * desc->natts);

	heap_deform_tuple(row, desc, values, nulls);
	if (oldrow != NULL)
		heap_deform_tuple(oldrow, desc, oldvalues, oldnulls);

	for (int i = 0; i < desc->natts; i++)
	{
		struct varlena *value;

		if (nulls[i] || TupleDescAttr(desc, i)->attlen != -1)
			continue;
		value = (struct varlena *) DatumGetPointer(values[i]);
		if (!VARATT_IS_EXTERNAL(value))
			continue;
		if (!VARATT_IS_EXTERNAL_ONDISK(value))
			values[i] = PointerGetDatum(detoast_external_attr(value));
		else if (oldrow != NULL && !oldnulls[i] &&
				 !VARATT_IS_EXTERNAL(DatumGetPointer(oldvalues[i])))
			values[i] = oldvalues[i];
		else
			*complete = false;
	}
	return heap_form_tuple(desc, values, nulls);
}

static void
send_row(DeriveCapture *capture, Relation relation, DeriveChangeKind kind,
		 HeapTuple oldrow, HeapTuple newrow)
{
	const DeriveSink *sink = capture->sink;
	bool		full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	bool		old_complete = full && oldrow != NULL;
	bool		new_complete = newrow != NULL;
	MemoryContext caller = NULL;

	DERIVE_DEBUG_POINT("decode-change");
	if (newrow != NULL && HeapTupleHasExternal(newrow))
	{
		MemoryContextReset(capture->row_cxt);
		caller = MemoryContextSwitchTo(capture->row_cxt);
		newrow = rebuild_row(RelationGetDescr(relation), newrow,
							 old_complete ? oldrow : NULL, &new_complete);
		MemoryContextSwitchTo(caller);
	}
	sink->change(sink->arg, kind, relation, oldrow, old_complete, newrow, new_complete);
}

/* Is the sink to get a change of this relation? */
static bool
is_wanted(DeriveCapture *capture, Relation relation)
{
	const DeriveSink *sink = capture->sink;
	bool		wanted = sink->wants(sink->arg, RelationGetRelid(relation));

	if (!capture->touched && (wanted || relation->rd_rel->relkind != RELKIND_MATVIEW))
	{
		capture->touched = true;
		sink->touch(sink->arg);
	}
	return wanted;
}

static void
capture_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			   Relation relation, ReorderBufferChange *change)
{
	DeriveCapture *capture = ctx->output_plugin_private;

	if (capture->skipping || !is_wanted(capture, relation))
		return;

	capture->relation = RelationGetRelationName(relation);
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			send_row(capture, relation, DERIVE_INSERT, NULL,
					 derive_change_newtuple(change));
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			send_row(capture, relation, DERIVE_UPDATE,
					 derive_change_oldtuple(change), derive_change_newtuple(change));
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			send_row(capture, relation, DERIVE_DELETE,
					 derive_change_oldtuple(change), NULL);
			break;
		default:
			elog(ERROR, "unexpected change action %d", (int) change->action);
	}
	capture->relation = NULL;
}

static void
capture_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				 int nrelations, Relation relations[], ReorderBufferChange *change)
{
	DeriveCapture *capture = ctx->output_plugin_private;
	const DeriveSink *sink = capture->sink;
	Relation   *wanted = palloc(sizeof(Relation) * nrelations);
	int			nwanted = 0;

	if (capture->skipping)
		return;
	for (int i = 0; i < nrelations; i++)
	{
		if (is_wanted(capture, relations[i]))
			wanted[nwanted++] = relations[i];
	}
	if (nwanted > 0)
		sink->truncate(sink->arg, nwanted, wanted);
}

/* Messages that are not transactional may be of transactions that abort. */
static void
capture_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
				bool transactional, const char *prefix, Size size, const char *content)
{
	DeriveCapture *capture = ctx->output_plugin_private;
	const DeriveSink *sink = capture->sink;

	if (transactional && !capture->skipping)
		sink->message(sink->arg, prefix, lsn, size, content);
}

/*
 * PostgreSQL 18 looks whether a transaction that outgrows memory has aborted,
 * drops its changes if so, and later calls this as if the transaction had been
 * streamed (reorderbuffer.c, ReorderBufferCheckAndTruncateAbortedTXN()).  Nothing
 * of it was ever delivered, so there is nothing to take back.
 */
static void
ignore_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr abort_lsn)
{
}

/*
 * No streaming and no *_prepare callbacks: transactions come whole, prepared
 * ones at COMMIT PREPARED, whatever the slot's options are.  The one stream_*
 * callback there is makes the server believe that we can stream; startup
 * callbacks say that we do not (ctx->streaming).
 */
void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->stream_abort_cb = ignore_abort;
	if (expected == NULL)
	{
		derive_json_stream_init(cb);
		return;
	}
	cb->startup_cb = capture_startup;
	cb->filter_by_origin_cb = capture_filter_origin;
	cb->begin_cb = capture_begin;
	cb->change_cb = capture_change;
	cb->truncate_cb = capture_truncate;
	cb->message_cb = capture_message;
	cb->commit_cb = capture_commit;
}
