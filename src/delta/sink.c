/*-------------------------------------------------------------------------
 *
 * sink.c
 *	  What the decoder delivers, transaction by transaction and row by row.
 *
 * The position of a batch decides the fate of a transaction when it begins: skip
 * what the views contain already (or, if one that stands still does not, keep it
 * for that one), what the batch covers goes to the current deltas, and the rest is
 * pending.  Its rows then take the routes of their table to each
 * source that the table is a member of.  Sources that are followed event by event
 * share the event log, where a change goes once.
 *
 * Of an UPDATE or DELETE of a table with a key (keys.h) the log may have the old key
 * only, and only if it changed.  Then the delta gets touches (delta.h), which keyed.c
 * makes rows of.  With the key id, and t the table:
 *
 *		in the log							in the delta
 *		UPDATE, no old columns, new (1,a)	touch of t, row (1,a)
 *		UPDATE, old key 1, new (2,a)		touch of t, nothing at 1; touch of t, row (2,a)
 *		UPDATE, new (1,out of line)			touch of t, something at 1
 *		DELETE, old key 1					touch of t, nothing at 1
 *		UPDATE, old (1,a), new (1,b)		-(1,a), +(1,b): the identity is FULL
 *		INSERT (1,a)						+(1,a)
 *
 * Where members of the source have keys on different columns ("not uniform"), the last
 * two are touches, too.
 *
 * All of this runs inside decoding, with the catalog of the past: it copies tuples,
 * and runs no type's own code.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "base/topic.h"
#include "delta/events.h"
#include "delta/stream.h"
#include "delta/stream_internal.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define REASON_TRUNCATE		"it was truncated"
#define REASON_OLD_ROW		"an UPDATE or DELETE was logged without the old row"
#define REASON_NEW_ROW		"a row was logged without its out-of-line values"
#define REASON_NO_KEY		"a row had no key when it was logged"

static inline Member *
find_member(DeriveStream *stream, Oid relid)
{
	if (stream->members == NULL)
		return NULL;
	if (relid != stream->last_relid)
	{
		stream->last_member = hash_search(stream->members, &relid, HASH_FIND, NULL);
		stream->last_relid = relid;
	}

	return stream->last_member;
}

/* Does a view that stands still lack a transaction that the others have? */
static bool
is_waited_for(DeriveStream *stream, FullTransactionId xid)
{
	ListCell   *lc;

	foreach(lc, stream->waiting)
	{
		if (!derive_position_covers(lfirst(lc), xid))
			return true;
	}

	return false;
}

/* Does it run at this position? */
static bool
runs_at(const DerivePosition *position, FullTransactionId xid)
{
	return position != NULL && FullTransactionIdPrecedes(xid, position->xmax) &&
		!derive_position_covers(position, xid);
}

bool
derive_stream_runs_somewhere(DeriveStream *stream, FullTransactionId xid)
{
	ListCell   *lc;

	if (runs_at(stream->from, xid) || runs_at(stream->to, xid))
		return true;
	foreach(lc, stream->waiting)
	{
		if (runs_at(lfirst(lc), xid))
			return true;
	}
	return false;
}

/* See stream.c. */
static void
sink_subtransactions(void *arg, FullTransactionId xid, int n, const FullTransactionId *subxids)
{
	DeriveStream *stream = arg;
	MemoryContext old;
	Subtransactions *subs;

	if (!derive_stream_runs_somewhere(stream, xid))
		return;
	old = MemoryContextSwitchTo(stream->cxt);
	subs = palloc(offsetof(Subtransactions, subxids) + sizeof(FullTransactionId) * n);
	subs->xid = xid;
	subs->n = n;
	memcpy(subs->subxids, subxids, sizeof(FullTransactionId) * n);
	stream->subtransactions = lappend(stream->subtransactions, subs);
	MemoryContextSwitchTo(old);
}

static bool
sink_begin(void *arg, FullTransactionId xid, XLogRecPtr commit_lsn, TimestampTz commit_time)
{
	DeriveStream *stream = arg;
	Delivery   *delivery = &stream->delivery;

	derive_stream_forget_interrupted(stream);

	delivery->fate = FATE_SKIP;
	delivery->xid = xid;
	delivery->number = ++stream->ndelivered;
	delivery->commit_lsn = commit_lsn;
	delivery->commit_time = commit_time;
	if (commit_lsn <= stream->last_commit_lsn)
		delivery->fate = FATE_SKIP;
	else if (derive_position_covers(stream->from, xid))
		delivery->fate = is_waited_for(stream, xid) ? FATE_WAITING : FATE_SKIP;
	else if (derive_position_covers(stream->to, xid))
		delivery->fate = FATE_CURRENT;
	else
	{
		MemoryContext cxt = AllocSetContextCreate(stream->cxt, "pg_derive pending transaction",
												  ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(stream->cxt);
		Pending    *pending = MemoryContextAllocZero(cxt, sizeof(Pending));

		pending->cxt = cxt;
		pending->xid = xid;
		pending->number = delivery->number;
		pending->commit_lsn = commit_lsn;
		stream->pending = lappend(stream->pending, pending);
		MemoryContextSwitchTo(old);

		delivery->fate = FATE_PENDING;
		delivery->pending = pending;
	}
	delivery->active = true;
	if (delivery->fate != FATE_SKIP)
		derive_events_begin(stream->log, xid, commit_lsn, commit_time);

	return delivery->fate != FATE_SKIP;
}

/* The batch has a transaction that committed then. */
void
derive_stream_note_commit(DeriveStream *stream, TimestampTz commit_time)
{
	if (stream->oldest_commit != 0 && stream->oldest_commit <= commit_time)
		return;
	stream->oldest_commit = commit_time;
	if (stream->shown != NULL)
		pg_atomic_write_u64(stream->shown, (uint64) commit_time);
}

static void
sink_touch(void *arg)
{
	DeriveStream *stream = arg;
	Delivery   *delivery = &stream->delivery;

	if (delivery->fate == FATE_PENDING)
		delivery->pending->touched_at = delivery->commit_time;
	else if (delivery->fate == FATE_CURRENT)
		derive_stream_note_commit(stream, delivery->commit_time);
}

static void
sink_catalog(void *arg)
{
	DeriveStream *stream = arg;
	Delivery   *delivery = &stream->delivery;

	if (delivery->fate == FATE_PENDING)
		delivery->pending->catalog = true;
	else if (delivery->fate == FATE_CURRENT)
		stream->catalog = Max(stream->catalog, DERIVE_CATALOG_CHANGED);
}

static bool
sink_wants(void *arg, Oid relid)
{
	Member	   *member = find_member(arg, relid);

	return member != NULL && (member->events || member->routes != NIL);
}

/* The delta that the transaction's changes of a source go to. */
static DeriveDelta *
delivery_delta(DeriveStream *stream, Source *source)
{
	if (stream->delivery.fate == FATE_CURRENT)
	{
		source->current_xid = stream->delivery.xid;
		return derive_stream_current_delta(stream, source);
	}

	Assert(stream->delivery.fate == FATE_PENDING);
	if (source->pending_in != stream->delivery.number)
	{
		source->pending = derive_stream_pending_delta(stream->delivery.pending, source);
		source->pending_in = stream->delivery.number;
	}

	return source->pending;
}

static void
deliver_row(DeriveStream *stream, Source *source, const Datum *values, const bool *nulls, int64 weight)
{
	source->touched_by = stream->delivery.number;
	if (stream->delivery.fate != FATE_WAITING)
	{
		DeriveDelta *delta = delivery_delta(stream, source);

		/* rows of an unknown delta are of no use to anyone */
		if (!delta->unknown)
			derive_delta_add_values(delta, values, nulls, weight);
	}
	if (stream->delivery.fate != FATE_PENDING && source->backlog != NULL)
		derive_backlog_add(source->backlog, stream->delivery.xid, values, nulls, weight);
}

/* May changes be held back?  Those of transactions that are pending are moved elsewhere. */
static bool
can_hold(DeriveStream *stream, Source *source)
{
	return stream->delivery.fate == FATE_CURRENT && source->backlog == NULL &&
		!delivery_delta(stream, source)->unknown;
}

/* The row of an UPDATE, as it was and as it is. */
static void
deliver_update(DeriveStream *stream, Source *source)
{
	if (!can_hold(stream, source))
	{
		deliver_row(stream, source, source->oldvalues, source->oldnulls, -1);
		deliver_row(stream, source, source->values, source->nulls, 1);
		return;
	}
	source->touched_by = stream->delivery.number;
	derive_delta_update(delivery_delta(stream, source), source->oldvalues, source->oldnulls,
						source->values, source->nulls);
}

static void
deliver_touching_row(DeriveStream *stream, Source *source, const DeriveMemberKey *key,
					 const Datum *values, const bool *nulls, DeriveTouch touch)
{
	int64		weight = derive_touch_weight(touch, key->relid);

	if (!can_hold(stream, source))
	{
		deliver_row(stream, source, values, nulls, weight);
		return;
	}
	source->touched_by = stream->delivery.number;
	derive_delta_touch(delivery_delta(stream, source), values, nulls, weight, key->nkeys, key->columns);
}

static void
deliver_unknown(DeriveStream *stream, Source *source, const char *reason)
{
	source->touched_by = stream->delivery.number;
	if (stream->delivery.fate != FATE_WAITING)
		derive_delta_mark_unknown(delivery_delta(stream, source), reason);
	if (stream->delivery.fate != FATE_PENDING && source->backlog != NULL)
		derive_backlog_mark(source->backlog, stream->delivery.xid, reason);
}

static void
ensure_scratch(DeriveStream *stream, int natts)
{
	MemoryContext old;

	if (natts <= stream->natts)
		return;

	old = MemoryContextSwitchTo(stream->cxt);
	stream->natts = natts;
	stream->oldvalues = palloc(sizeof(Datum) * natts);
	stream->oldnulls = palloc(sizeof(bool) * natts);
	stream->newvalues = palloc(sizeof(Datum) * natts);
	stream->newnulls = palloc(sizeof(bool) * natts);
	MemoryContextSwitchTo(old);
}

/* Is this a pointer into a TOAST table, which we may not follow here? */
static inline bool
is_out_of_line(Form_pg_attribute att, Datum value)
{
	return att->attlen == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/*
 * Take the tracked columns of a member's row; false if the log lacks the value
 * of one of them.
 */
static bool
take_columns(Route *route, TupleDesc desc, const Datum *values, const bool *nulls,
			 Datum *tovalues, bool *tonulls)
{
	for (int i = 0; i < route->ncolumns; i++)
	{
		int			from = route->from[i] - 1;
		int			to = route->to[i] - 1;

		if (from >= desc->natts || nulls[from] || TupleDescAttr(desc, from)->attisdropped)
		{
			tonulls[to] = true;
			continue;
		}
		if (is_out_of_line(TupleDescAttr(desc, from), values[from]))
			return false;
		tovalues[to] = values[from];
		tonulls[to] = false;
	}

	return true;
}

/* Compare without looking into composite values: to take equal for different does no harm. */
static bool
same_value(Form_pg_attribute att, Datum a, Datum b)
{
	if (att->attlen == -1)
	{
		Size		size = VARSIZE_ANY(DatumGetPointer(a));

		if (size == VARSIZE_ANY(DatumGetPointer(b)) &&
			memcmp(DatumGetPointer(a), DatumGetPointer(b), size) == 0)
			return true;
	}

	return datum_image_eq(a, b, att->attbyval, att->attlen);
}

/* Are the source's old and new rows the same in all tracked columns? */
static bool
nothing_changed(Route *route)
{
	Source	   *source = route->source;

	for (int i = 0; i < route->ncolumns; i++)
	{
		int			attno = route->to[i] - 1;

		if (source->oldnulls[attno] != source->nulls[attno])
			return false;
		if (!source->nulls[attno] &&
			!same_value(TupleDescAttr(source->desc, attno),
						source->oldvalues[attno], source->values[attno]))
			return false;
	}

	return true;
}

/*
 * Did the log name rows by these columns when it was written?  The identity may have
 * been another one.
 */
static bool
names_rows(Relation relation, const DeriveMemberKey *key)
{
	if (relation->rd_idattr == NULL)
		bms_free(RelationGetIdentityKeyBitmap(relation));
	for (int i = 0; i < key->nkeys; i++)
		if (!bms_is_member(key->member_columns[i] - FirstLowInvalidHeapAttributeNumber, relation->rd_idattr))
			return false;
	return true;
}

/* The row with this key was changed or is gone; values are the member's. */
static void
deliver_touch(DeriveStream *stream, Route *route, DeriveTouch touch, const Datum *values, const bool *nulls)
{
	DeriveMemberKey *key = route->key;
	Source	   *source = route->source;

	for (int i = 0; i < key->nkeys; i++)
	{
		Assert(!nulls[key->member_columns[i] - 1]);
		source->keyvalues[key->columns[i] - 1] = values[key->member_columns[i] - 1];
		source->keynulls[key->columns[i] - 1] = false;
	}
	deliver_touching_row(stream, source, key, source->keyvalues, source->keynulls, touch);
	for (int i = 0; i < key->nkeys; i++)
		source->keynulls[key->columns[i] - 1] = true;
}

/* The new row, if the log has all of it, or else its key. */
static void
deliver_touched_row(DeriveStream *stream, Route *route, TupleDesc desc)
{
	Source	   *source = route->source;

	if (take_columns(route, desc, stream->newvalues, stream->newnulls, source->values, source->nulls))
		deliver_touching_row(stream, source, route->key, source->values, source->nulls, DERIVE_TOUCH_ROW);
	else
		deliver_touch(stream, route, DERIVE_TOUCH_SOMETHING, stream->newvalues, stream->newnulls);
}

/* The columns may have become a key later, or even have been added later. */
static bool
has_key(const DeriveMemberKey *key, TupleDesc desc, const bool *nulls)
{
	for (int i = 0; i < key->nkeys; i++)
		if (key->member_columns[i] > desc->natts || nulls[key->member_columns[i] - 1])
			return false;
	return true;
}

/* Is the key that the new row has another one?  Not if it is not even in the log. */
static bool
key_changed(DeriveStream *stream, DeriveMemberKey *key, TupleDesc desc)
{
	for (int i = 0; i < key->nkeys; i++)
	{
		int			attno = key->member_columns[i] - 1;
		Form_pg_attribute att = TupleDescAttr(desc, attno);

		if (!is_out_of_line(att, stream->newvalues[attno]) &&
			!same_value(att, stream->oldvalues[attno], stream->newvalues[attno]))
			return true;
	}
	return false;
}

/* What of the new key is not in the log is what it was. */
static void
complete_new_key(DeriveStream *stream, DeriveMemberKey *key, TupleDesc desc)
{
	for (int i = 0; i < key->nkeys; i++)
	{
		int			attno = key->member_columns[i] - 1;

		if (is_out_of_line(TupleDescAttr(desc, attno), stream->newvalues[attno]))
			stream->newvalues[attno] = stream->oldvalues[attno];
	}
}

/*
 * One change of a table with a key, for one source: its old row is not in the log, or
 * the source wants touches.  An UPDATE without any old column did not change the key.
 */
static void
deliver_keys(DeriveStream *stream, Route *route, TupleDesc desc, bool has_old, bool old_key, bool has_new)
{
	bool		other_key;

	if ((old_key && !has_key(route->key, desc, stream->oldnulls)) ||
		(has_new && !has_key(route->key, desc, stream->newnulls)))
	{
		deliver_unknown(stream, route->source, REASON_NO_KEY);
		return;
	}
	other_key = has_new && old_key && key_changed(stream, route->key, desc);

	/* whoever reads no other columns need not know */
	if (has_old && has_new && !other_key && route->ncolumns == route->key->nkeys)
		return;
	if (has_new && old_key)
		complete_new_key(stream, route->key, desc);
	if (!has_new || other_key)
		deliver_touch(stream, route, DERIVE_TOUCH_NOTHING, stream->oldvalues, stream->oldnulls);
	if (has_new)
		deliver_touched_row(stream, route, desc);
}

/* One change, for one source. */
static void
deliver_change(DeriveStream *stream, Route *route, Relation relation, bool has_old, bool old_key,
			   bool old_complete, bool has_new)
{
	Source	   *source = route->source;
	TupleDesc	desc = RelationGetDescr(relation);

	if (route->key != NULL && (!source->keys.uniform || (has_old && !old_complete)))
	{
		if (has_old && !old_complete && !(names_rows(relation, route->key) && (old_key || has_new)))
			deliver_unknown(stream, source, REASON_OLD_ROW);
		else
			deliver_keys(stream, route, desc, has_old, old_key, has_new);
		return;
	}

	/* where no column is read there is nothing that could be missing */
	if (has_old && !old_complete && route->ncolumns > 0)
	{
		deliver_unknown(stream, source, REASON_OLD_ROW);
		return;
	}
	if (has_old && !take_columns(route, desc, stream->oldvalues, stream->oldnulls,
								 source->oldvalues, source->oldnulls))
	{
		deliver_unknown(stream, source, REASON_OLD_ROW);
		return;
	}
	if (has_new && !take_columns(route, desc, stream->newvalues, stream->newnulls,
								 source->values, source->nulls))
	{
		deliver_unknown(stream, source, REASON_NEW_ROW);
		return;
	}

	if (has_old && has_new)
	{
		if (!nothing_changed(route))
			deliver_update(stream, source);
		return;
	}
	if (has_old)
		deliver_row(stream, source, source->oldvalues, source->oldnulls, -1);
	if (has_new)
		deliver_row(stream, source, source->values, source->nulls, 1);
}

/* One change, for all sources that are followed event by event. */
static void
log_change(DeriveStream *stream, DeriveChangeKind kind, Relation relation,
		   HeapTuple oldtuple, bool old_complete, HeapTuple newtuple, bool new_complete)
{
	bool		complete = true;

	if (kind != DERIVE_INSERT)
		complete = old_complete && oldtuple != NULL && !HeapTupleHasExternal(oldtuple);
	if (kind != DERIVE_DELETE)
		complete = complete && new_complete;

	if (!complete)
		derive_events_add(stream->log, DERIVE_EVENT_UNKNOWN, relation, NULL, NULL);
	else
		derive_events_add(stream->log, (DeriveEventKind) kind, relation,
						  kind != DERIVE_INSERT ? oldtuple : NULL,
						  kind != DERIVE_DELETE ? newtuple : NULL);
}

static void
sink_change(void *arg, DeriveChangeKind kind, Relation relation,
			HeapTuple oldtuple, bool old_complete, HeapTuple newtuple, bool new_complete)
{
	DeriveStream *stream = arg;
	TupleDesc	desc = RelationGetDescr(relation);
	bool		has_old = (kind != DERIVE_INSERT);
	bool		has_new = (kind != DERIVE_DELETE);
	Member	   *member;
	ListCell   *lc;

	if (stream->delivery.fate == FATE_SKIP)
		return;
	member = find_member(stream, RelationGetRelid(relation));
	if (member == NULL)
		return;
	if (member->events)
		log_change(stream, kind, relation, oldtuple, old_complete, newtuple, new_complete);
	if (member->routes == NIL)
		return;

	ensure_scratch(stream, desc->natts);
	if (has_old && oldtuple != NULL)
		heap_deform_tuple(oldtuple, desc, stream->oldvalues, stream->oldnulls);
	else
		memset(stream->oldnulls, true, sizeof(bool) * desc->natts);
	if (has_new)
	{
		Assert(newtuple != NULL);
		heap_deform_tuple(newtuple, desc, stream->newvalues, stream->newnulls);
	}

	/*
	 * new_complete is about all columns; take_columns() looks at those that
	 * count
	 */
	foreach(lc, member->routes)
		deliver_change(stream, lfirst(lc), relation, has_old, has_old && oldtuple != NULL,
					   old_complete && oldtuple != NULL, has_new);
}

static void
sink_truncate(void *arg, int nrelations, Relation *relations)
{
	DeriveStream *stream = arg;

	if (stream->delivery.fate == FATE_SKIP)
		return;

	for (int i = 0; i < nrelations; i++)
	{
		Member	   *member = find_member(stream, RelationGetRelid(relations[i]));
		ListCell   *lc;

		if (member == NULL)
			continue;
		if (member->events)
			derive_events_add(stream->log, DERIVE_EVENT_TRUNCATE, relations[i], NULL, NULL);
		foreach(lc, member->routes)
			deliver_unknown(stream, ((Route *) lfirst(lc))->source, REASON_TRUNCATE);
	}
}

/* See base/topic.h. */
static void
sink_message(void *arg, const char *prefix, XLogRecPtr lsn, Size size, const char *content)
{
	DeriveStream *stream = arg;
	DeriveTopicHeader header;
	Member	   *member;

	if (stream->delivery.fate == FATE_SKIP || strcmp(prefix, DERIVE_TOPIC_PREFIX) != 0 ||
		size <= DERIVE_TOPIC_HEADER_SIZE)
		return;
	sink_touch(stream);
	memcpy(&header, content, DERIVE_TOPIC_HEADER_SIZE);
	content += DERIVE_TOPIC_HEADER_SIZE;
	size -= DERIVE_TOPIC_HEADER_SIZE;
	member = find_member(stream, header.topic);
	if (member == NULL || !member->topic)
		return;
	if (header.seal == derive_topic_seal(stream->delivery.xid, header.topic, content, size))
		derive_events_add_message(stream->log, header.topic, lsn, content, size);
}

static void
sink_commit(void *arg, XLogRecPtr end_lsn)
{
	DeriveStream *stream = arg;
	Delivery   *delivery = &stream->delivery;

	if (delivery->fate != FATE_SKIP)
		derive_events_commit(stream->log);
	stream->last_commit_lsn = Max(stream->last_commit_lsn, delivery->commit_lsn);
	memset(delivery, 0, sizeof(Delivery));
}

void
derive_stream_set_sink(DeriveStream *stream)
{
	stream->sink.begin = sink_begin;
	stream->sink.subtransactions = sink_subtransactions;
	stream->sink.catalog = sink_catalog;
	stream->sink.change = sink_change;
	stream->sink.touch = sink_touch;
	stream->sink.wants = sink_wants;
	stream->sink.truncate = sink_truncate;
	stream->sink.message = sink_message;
	stream->sink.commit = sink_commit;
	stream->sink.arg = stream;
}
