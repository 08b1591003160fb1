/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  From the decoder's transactions to the deltas of a batch.
 *
 * Where rows are held
 *
 *	current		per source: what the batch will apply.  Survives a batch that
 *				fails; emptied by derive_stream_end_batch().
 *	pending		per transaction that is committed in the WAL but not visible
 *				in the batch's snapshot, and in it per source.  Moves to
 *				current as a whole when a later snapshot sees it.
 *	backlog		per source, only while asked for: what went through current,
 *				with the xid of each row.
 *
 * All of them are DeriveDeltas, that is, tuplestores that spill.  A backlog
 * has one more column, "xid".
 *
 * Sources that are followed event by event have none of these but are all in
 * one event log (events.h), whose readers sort out by themselves what is
 * current, pending or backlog, by their positions.
 *
 * Subtransactions
 *
 *	A position knows top-level transactions only.  To read tables as they were at one
 *	(base/past.h) the subtransactions must be known, too, of those that were running
 *	then and have committed since: after a restart the server no longer knows whose
 *	they are.  The log names them.  So they are noted as long as the position is in
 *	use, always, though it matters only in the first batches after a restart.
 *
 * The parts
 *
 *	stream.c is the life of a stream and of a batch.  sources.c makes the set of
 *	sources and takes over what is held when it changes, sink.c receives what the
 *	decoder delivers, backlog.c holds the backlog of one source.  What they share
 *	is in stream_internal.h.
 *
 * When the log does not say what changed
 *
 *	The source's delta becomes unknown, in whichever of the three places the
 *	transaction belongs to.  A backlog remembers the xid of the transaction, so
 *	that a view that was built after it is not bothered.
 *
 * Interrupted transactions
 *
 *	If decoding fails within a transaction, half of its rows may be in current.
 *	The decoder will deliver the transaction again, so nothing is lost, but
 *	what is held twice cannot be told apart: what the half touched becomes
 *	unknown.  Transactions that were delivered in full are known by the LSN of
 *	their commit record and are not taken twice.  The event log forgets the
 *	half, so that nothing becomes unknown.
 *
 *	The same holds where moving a pending transaction to current fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/error_context.h"
#include "catalog/pg_class.h"
#include "delta/stream.h"
#include "delta/stream_internal.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* A pending delta of this many rows becomes the current one, rather than being copied. */
#define MOVE_AS_A_WHOLE 1000

#define REASON_INTERRUPTED	"reading its changes was interrupted"

/*
 * Life
 */

DeriveStream *
derive_stream_create(void)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive stream",
											  ALLOCSET_DEFAULT_SIZES);
	DeriveStream *stream = MemoryContextAllocZero(cxt, sizeof(DeriveStream));
	MemoryContext old;

	stream->cxt = cxt;
	stream->batch_cxt = AllocSetContextCreate(cxt, "pg_derive batch positions", ALLOCSET_SMALL_SIZES);
	stream->views_cxt = AllocSetContextCreate(cxt, "pg_derive batch deltas", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	stream->log = derive_events_create();
	MemoryContextSwitchTo(old);
	derive_stream_set_sink(stream);

	return stream;
}

void
derive_stream_free(DeriveStream *stream)
{
	MemoryContextDelete(stream->cxt);
}

const DeriveSink *
derive_stream_sink(DeriveStream *stream)
{
	return &stream->sink;
}

/*
 * Deltas of sources
 */

Source *
derive_stream_find_source(List *sources, Oid relid, bool inh, bool events)
{
	ListCell   *lc;

	foreach(lc, sources)
	{
		Source	   *source = lfirst(lc);

		if (source->pub.relid == relid && source->pub.inh == inh && source->pub.events == events)
			return source;
	}

	return NULL;
}

DeriveDelta *
derive_stream_create_delta(MemoryContext parent, Source *source)
{
	MemoryContext old = MemoryContextSwitchTo(parent);
	DeriveDelta *delta = derive_delta_create(source->pub.relid, source->pub.inh, source->desc);

	MemoryContextSwitchTo(old);

	return delta;
}

void
derive_stream_note_changed(DeriveStream *stream, Source *source)
{
	MemoryContext old;

	if (source->changed)
		return;
	old = MemoryContextSwitchTo(stream->cxt);
	stream->changed = lappend(stream->changed, source);
	MemoryContextSwitchTo(old);
	source->changed = true;
}

DeriveDelta *
derive_stream_current_delta(DeriveStream *stream, Source *source)
{
	if (source->current == NULL)
		source->current = derive_stream_create_delta(stream->cxt, source);
	derive_stream_note_changed(stream, source);

	return source->current;
}

void
derive_stream_settle(DeriveStream *stream)
{
	ListCell   *lc;

	foreach(lc, stream->changed)
	{
		Source	   *source = lfirst(lc);

		if (source->current != NULL)
			derive_delta_settle(source->current);
	}
}

DeriveDelta *
derive_stream_find_pending_delta(Pending *pending, Oid relid, bool inh)
{
	ListCell   *lc;

	foreach(lc, pending->deltas)
	{
		DeriveDelta *delta = lfirst(lc);

		if (delta->relid == relid && delta->inh == inh)
			return delta;
	}

	return NULL;
}

DeriveDelta *
derive_stream_pending_delta(Pending *pending, Source *source)
{
	DeriveDelta *delta = derive_stream_find_pending_delta(pending, source->pub.relid, source->pub.inh);

	if (delta == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(pending->cxt);

		delta = derive_stream_create_delta(pending->cxt, source);
		pending->deltas = lappend(pending->deltas, delta);
		MemoryContextSwitchTo(old);
	}

	return delta;
}

/*
 * After errors
 */

/* Half a transaction was delivered: see the head of the file. */
void
derive_stream_forget_interrupted(DeriveStream *stream)
{
	Delivery   *delivery = &stream->delivery;
	ListCell   *lc;

	if (!delivery->active)
		return;

	derive_events_abandon(stream->log);
	if (delivery->fate == FATE_PENDING)
	{
		stream->pending = list_delete_ptr(stream->pending, delivery->pending);
		MemoryContextDelete(delivery->pending->cxt);
	}
	else if (delivery->fate == FATE_CURRENT || delivery->fate == FATE_WAITING)
	{
		foreach(lc, stream->sources)
		{
			Source	   *source = lfirst(lc);

			if (source->touched_by != delivery->number)
				continue;
			if (delivery->fate == FATE_CURRENT)
				derive_delta_mark_unknown(derive_stream_current_delta(stream, source), REASON_INTERRUPTED);
			if (source->backlog != NULL)
				derive_backlog_mark(source->backlog, delivery->xid, REASON_INTERRUPTED);
		}
	}
	memset(delivery, 0, sizeof(Delivery));
}

/*
 * Taking over what is held by one set of sources to the next cannot be undone
 * half-way.  If that fails the worker must start over from the slot.
 */
void
derive_stream_check_usable(DeriveStream *stream)
{
	if (stream->broken)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("changes that were held in memory are lost"),
				 errdetail("They will be read from the write-ahead log again.")));
}

/*
 * Batches
 */

/* Hand the rows of a pending transaction over to a source. */
static void
move_delta(DeriveStream *stream, Pending *pending, DeriveDelta *delta, Source *source, bool applied)
{
	if (source->backlog != NULL)
		derive_backlog_append(source->backlog, pending->xid, delta);
	if (applied)
		return;
	source->current_xid = pending->xid;
	derive_stream_note_changed(stream, source);

	/* no need to copy where there is nothing to add to */
	if (source->current != NULL && source->current->nrows == 0 && !source->current->unknown &&
		delta->nrows >= MOVE_AS_A_WHOLE)
	{
		derive_delta_free(source->current);
		source->current = NULL;
	}

	if (source->current == NULL)
	{
		pending->deltas = list_delete_ptr(pending->deltas, delta);
		MemoryContextSetParent(GetMemoryChunkContext(delta), stream->cxt);
		source->current = delta;
	}
	else
		derive_delta_append(source->current, delta);
}

static void
move_pending(DeriveStream *stream, Pending *pending)
{
	bool		applied = derive_position_covers(stream->from, pending->xid);
	List	   *deltas = list_copy(pending->deltas);
	ListCell   *lc;

	foreach(lc, deltas)
	{
		DeriveDelta *delta = lfirst(lc);
		Source	   *source = derive_stream_find_source(stream->sources, delta->relid, delta->inh, false);

		if (source == NULL)
			continue;
		if (pending->moving)
			derive_delta_mark_unknown(delta, REASON_INTERRUPTED);
	}

	pending->moving = true;
	foreach(lc, deltas)
	{
		DeriveDelta *delta = lfirst(lc);
		Source	   *source = derive_stream_find_source(stream->sources, delta->relid, delta->inh, false);

		if (source != NULL)
			move_delta(stream, pending, delta, source, applied);
	}

	list_free(deltas);
}

/* Pending transactions that the batch covers become part of it. */
static void
move_visible(DeriveStream *stream)
{
	ListCell   *lc;

	foreach(lc, stream->pending)
	{
		Pending    *pending = lfirst(lc);

		if (!derive_position_covers(stream->to, pending->xid))
			continue;
		move_pending(stream, pending);
		if (pending->touched_at != 0 && !derive_position_covers(stream->from, pending->xid))
			derive_stream_note_commit(stream, pending->touched_at);
		if (pending->catalog)
			stream->catalog = DERIVE_CATALOG_CHANGED_LATE;
		stream->pending = foreach_delete_current(stream->pending, lc);
		MemoryContextDelete(pending->cxt);
	}
}

/* Forget subtransactions that no position lacks any more. */
static void
prune_subtransactions(DeriveStream *stream)
{
	ListCell   *lc;

	foreach(lc, stream->subtransactions)
	{
		Subtransactions *subs = lfirst(lc);

		if (derive_stream_runs_somewhere(stream, subs->xid))
			continue;
		stream->subtransactions = foreach_delete_current(stream->subtransactions, lc);
		pfree(subs);
	}
}

/* The tables as they were at a position.  In CurrentMemoryContext. */
static DerivePast *
past_of(DeriveStream *stream, const DerivePosition *position)
{
	FullTransactionId *subxids;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, stream->subtransactions)
		n += ((Subtransactions *) lfirst(lc))->n;
	subxids = palloc(sizeof(FullTransactionId) * Max(n, 1));
	n = 0;
	foreach(lc, stream->subtransactions)
	{
		Subtransactions *subs = lfirst(lc);

		if (derive_position_covers(position, subs->xid))
			continue;
		memcpy(subxids + n, subs->subxids, sizeof(FullTransactionId) * subs->n);
		n += subs->n;
	}
	return derive_past_create(position, subxids, n);
}

void
derive_stream_begin_batch(DeriveStream *stream, const DerivePosition *from, const DerivePosition *to)
{
	MemoryContext old;

	derive_stream_check_usable(stream);
	derive_stream_forget_interrupted(stream);
	derive_stream_settle(stream);

	MemoryContextReset(stream->views_cxt);
	MemoryContextReset(stream->batch_cxt);
	old = MemoryContextSwitchTo(stream->batch_cxt);
	stream->from = derive_position_copy(from);
	stream->to = derive_position_copy(to);
	MemoryContextSwitchTo(old);

	derive_events_forget(stream->log, stream->from, stream->events_kept);
	prune_subtransactions(stream);
	move_visible(stream);
}

void
derive_stream_set_time(DeriveStream *stream, TimestampTz time)
{
	stream->to->time = time;
}

DeriveBatch *
derive_stream_batch(DeriveStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->views_cxt);
	DeriveBatch *batch = palloc0(sizeof(DeriveBatch));
	ListCell   *lc;

	derive_stream_settle(stream);
	batch->cxt = stream->views_cxt;
	batch->log = stream->log;
	batch->from = stream->from;
	batch->to = stream->to;
	batch->past = past_of(stream, stream->from);
	foreach(lc, stream->changed)
	{
		Source	   *source = lfirst(lc);

		if (source->current == NULL || (source->current->nrows == 0 && !source->current->unknown))
			continue;
		source->current->columns = source->pub.columns;
		source->current->keys = &source->keys;
#ifdef USE_ASSERT_CHECKING
		source->current->settled = source->settled;
#endif
		derive_batch_add(batch, source->current);
	}
	MemoryContextSwitchTo(old);

	return batch;
}

DeriveBatch *
derive_stream_batch_since(DeriveStream *stream, List *sources, const DerivePosition *since)
{
	MemoryContext old;
	DeriveBatch *batch;
	ListCell   *lc;

	if (since == NULL)
		return derive_stream_batch(stream);

	old = MemoryContextSwitchTo(stream->views_cxt);
	batch = palloc0(sizeof(DeriveBatch));
	batch->cxt = stream->views_cxt;
	batch->log = stream->log;
	batch->from = derive_position_copy(since);
	batch->to = stream->to;
	batch->past = past_of(stream, since);
	foreach(lc, sources)
	{
		DeriveSource *wanted = lfirst(lc);
		Source	   *source = derive_stream_find_source(stream->sources, wanted->relid, wanted->inh,
													   wanted->events);
		DeriveDelta *delta;

		/* how far back the log goes, it says itself when it is read */
		if (wanted->events)
		{
			if (source == NULL || !source->keep)
				elog(ERROR, "no events are kept of relation \"%s\"", derive_relation_name(wanted->relid));
			continue;
		}

		/* the log does not have the changes of a materialized view */
		if (source != NULL ? source->is_view : get_rel_relkind(wanted->relid) == RELKIND_MATVIEW)
			continue;
		if (derive_batch_find(batch, wanted->relid, wanted->inh) != NULL)
			continue;
		if (source == NULL || source->backlog == NULL)
			elog(ERROR, "no backlog is kept of relation \"%s\"", derive_relation_name(wanted->relid));

		delta = derive_stream_create_delta(stream->views_cxt, source);
		derive_backlog_copy(source->backlog, since, delta, NULL);
		if (!delta->unknown && delta->nremoved > 0 && delta->ntouched == 0)
		{
			/* what came and went meanwhile need not be seen at all */
			DeriveDelta *net = derive_delta_net(delta);

			derive_delta_free(delta);
			delta = net;
		}
		delta->columns = source->pub.columns;
		delta->keys = &source->keys;
		if (delta->nrows > 0 || delta->unknown)
			derive_batch_add(batch, delta);
		else
			derive_delta_free(delta);
	}
	MemoryContextSwitchTo(old);

	return batch;
}

bool
derive_stream_keep(DeriveStream *stream, List *sources)
{
	ListCell   *lc;

	foreach(lc, sources)
	{
		DeriveSource *wanted = lfirst(lc);

		if (derive_stream_find_source(stream->sources, wanted->relid, wanted->inh, wanted->events) == NULL)
			return false;
	}
	foreach(lc, sources)
	{
		DeriveSource *wanted = lfirst(lc);
		Source	   *source = derive_stream_find_source(stream->sources, wanted->relid, wanted->inh,
													   wanted->events);

		Assert(!source->is_view);
		source->keep = true;
		stream->events_kept |= source->pub.events;
		if (!source->pub.events && source->backlog == NULL)
			derive_stream_begin_backlog(stream, source);
	}

	return true;
}

/*
 * A backlog begins with what the batch has collected so far.  These rows have no
 * xid of their own; that of any of their transactions will do, since "from" covers
 * none of them, and every position after the batch all.  There is none if all that
 * is known is that something is not known.
 */
void
derive_stream_begin_backlog(DeriveStream *stream, Source *source)
{
	source->backlog = derive_backlog_create(stream, source);
	if (source->current != NULL)
		derive_backlog_append(source->backlog, source->current_xid, source->current);
}

void
derive_stream_set_waiting(DeriveStream *stream, List *positions)
{
	MemoryContext old = MemoryContextSwitchTo(stream->cxt);
	ListCell   *lc;

	list_free_deep(stream->waiting);
	stream->waiting = NIL;
	foreach(lc, positions)
		stream->waiting = lappend(stream->waiting, derive_position_copy(lfirst(lc)));
	MemoryContextSwitchTo(old);
}

void
derive_stream_end_batch(DeriveStream *stream)
{
	ListCell   *lc;

	MemoryContextReset(stream->views_cxt);
	stream->oldest_commit = 0;
	stream->catalog = DERIVE_CATALOG_SAME;
	foreach(lc, stream->changed)
	{
		Source	   *source = lfirst(lc);

		source->current_xid = InvalidFullTransactionId;
		source->changed = false;
		if (source->current != NULL && (source->current->nrows > 0 || source->current->unknown))
			derive_delta_reset(source->current);
	}
	list_free(stream->changed);
	stream->changed = NIL;
#ifdef USE_ASSERT_CHECKING
	foreach(lc, stream->sources)
	{
		Source	   *source = lfirst(lc);

		Assert(source->current == NULL || (source->current->nrows == 0 && !source->current->unknown));
		source->settled = derive_stream_complete(stream, &source->pub);
	}
#endif
	derive_events_applied(stream->log, stream->pending == NIL && !stream->events_kept);
}

List *
derive_stream_changed(DeriveStream *stream)
{
	List	   *result = derive_events_relations(stream->log, stream->from, stream->to);
	ListCell   *lc;

	foreach(lc, stream->changed)
	{
		Source	   *source = lfirst(lc);

		if (source->current->nrows > 0 || source->current->unknown)
			result = lappend_oid(result, source->pub.relid);
	}
	return result;
}

DeriveCatalogChange
derive_stream_catalog_change(DeriveStream *stream)
{
	return stream->catalog;
}

XLogRecPtr
derive_stream_covered(DeriveStream *stream, XLogRecPtr decoded_upto)
{
	if (stream->pending != NIL)
		return ((Pending *) linitial(stream->pending))->commit_lsn;

	return decoded_upto;
}

bool
derive_stream_has_pending(DeriveStream *stream)
{
	return stream->pending != NIL;
}

void
derive_stream_show(DeriveStream *stream, pg_atomic_uint64 *oldest_commit)
{
	stream->shown = oldest_commit;
}

TimestampTz
derive_stream_oldest_commit(DeriveStream *stream)
{
	return stream->oldest_commit;
}
