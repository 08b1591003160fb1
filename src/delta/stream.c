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
 * From a decoded row to a source
 *
 *	A source is a relation as a query reads it: with or without its partitions
 *	and children.  A decoded row comes from one table, a member of any number
 *	of sources.  For each of these a Route says which attribute of the member
 *	gives which column of the source.  Routes are made from today's catalog and
 *	used on rows of the past; this is right because an attribute number never
 *	changes its meaning.  An attribute that a row of the past does not have yet
 *	was added later; whoever reads it was built later still and contains the
 *	row already, so NULL will do.
 *
 * When the log does not say what changed
 *
 *	The source's delta becomes unknown, in whichever of the three places the
 *	transaction belongs to.  A backlog remembers the xid of the transaction, so
 *	that a view that was built after it is not bothered.
 *
 *	A changed set of members makes everything held for the source unknown,
 *	pending transactions included: rows that they wrote to a new member before
 *	it was known were not captured.
 *
 * Interrupted transactions
 *
 *	If decoding fails within a transaction, half of its rows may be in current.
 *	The decoder will deliver the transaction again, so nothing is lost, but
 *	what is held twice cannot be told apart: what the half touched becomes
 *	unknown.  Transactions that were delivered in full are known by the LSN of
 *	their commit record and are not taken twice.
 *
 *	The same holds where moving a pending transaction to current fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "delta/stream.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* A pending delta of this many rows becomes the current one, rather than being copied. */
#define MOVE_AS_A_WHOLE 1000

/* In a set of columns: the existence of rows, which count(*) reads. */
#define ROWS_THEMSELVES 0

#define REASON_TRUNCATE		"it was truncated"
#define REASON_OLD_ROW		"an UPDATE or DELETE was logged without the old row"
#define REASON_NEW_ROW		"a row was logged without its out-of-line values"
#define REASON_MEMBERS		"its partitions or child tables changed"
#define REASON_LAYOUT		"the type of a column changed"
#define REASON_INTERRUPTED	"reading its changes was interrupted"

/* A transaction that makes a backlog's source unknown; xid invalid: for everyone. */
typedef struct UnknownMark
{
	FullTransactionId xid;
	const char *reason;
} UnknownMark;

typedef struct Backlog
{
	MemoryContext cxt;			/* holds all of this */
	DeriveDelta *rows;			/* the source's columns, xid, weight */
	List	   *marks;			/* of UnknownMark * */
} Backlog;

/* Belongs to DeriveStream.sources_cxt, except where noted. */
typedef struct Source
{
	DeriveSource pub;			/* columns: all that are tracked */
	bool		is_view;		/* a materialized view: the log does not have its changes */
	TupleDesc	desc;			/* the relation's */
	List	   *members;		/* of Oid, ascending */
	bool		keep;			/* backlog is wanted */

	/*
	 * Columns (and ROWS_THEMSELVES) that every transaction in sight was
	 * captured with.  The others will join them when no transaction up to
	 * number incomplete_upto is pending.
	 */
	Bitmapset  *complete;
	uint64		incomplete_upto;

	DeriveDelta *current;		/* in DeriveStream.cxt; NULL until needed */
	Backlog    *backlog;		/* in DeriveStream.cxt; NULL unless keep */

	/* the transaction that is being delivered */
	uint64		touched_by;		/* number of the last one that changed this source */
	DeriveDelta *pending;		/* its delta, if it is pending */

	/* one row on its way; columns that are not tracked stay NULL */
	Datum	   *values;
	bool	   *nulls;
	Datum	   *oldvalues;
	bool	   *oldnulls;
} Source;

/* How rows of a member become rows of a source. */
typedef struct Route
{
	Source	   *source;
	int			ncolumns;		/* tracked columns */
	AttrNumber *from;			/* attribute of the member, or 0 */
	AttrNumber *to;				/* attribute of the source */
} Route;

typedef struct Member
{
	Oid			relid;			/* hash key */
	List	   *routes;			/* of Route * */
} Member;

typedef struct Pending
{
	MemoryContext cxt;			/* holds all of this */
	FullTransactionId xid;
	uint64		number;
	XLogRecPtr	commit_lsn;
	TimestampTz commit_time;
	List	   *deltas;			/* of DeriveDelta * */
	bool		moving;			/* half of it may be in current already */
} Pending;

typedef enum TransactionFate
{
	FATE_SKIP,
	FATE_CURRENT,
	FATE_PENDING
} TransactionFate;

/* The transaction that is being delivered. */
typedef struct Delivery
{
	bool		active;
	TransactionFate fate;
	FullTransactionId xid;
	uint64		number;
	XLogRecPtr	commit_lsn;
	TimestampTz commit_time;
	Pending    *pending;
} Delivery;

struct DeriveStream
{
	MemoryContext cxt;			/* holds all of this */
	DeriveSink	sink;

	MemoryContext sources_cxt;	/* sources, members, routes; replaced as a whole */
	List	   *sources;		/* of Source * */
	HTAB	   *members;		/* of Member */
	bool		broken;			/* set_sources failed half-way */

	MemoryContext batch_cxt;	/* from, to; reset by begin_batch */
	DerivePosition *from;
	DerivePosition *to;
	MemoryContext views_cxt;	/* batches handed out */

	List	   *pending;		/* of Pending *, in order of commit */
	Delivery	delivery;
	uint64		ndelivered;		/* numbers transactions */
	XLogRecPtr	last_commit_lsn;	/* of the last one delivered in full */
	TimestampTz commit_time;

	/* scratch for deforming */
	int			natts;
	Datum	   *oldvalues;
	bool	   *oldnulls;
	Datum	   *newvalues;
	bool	   *newnulls;
};

/*
 * Members of a source
 */

List *
derive_source_members(Oid relid, bool inh)
{
	List	   *all = inh ? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);
	List	   *members = NIL;
	ListCell   *lc;

	foreach(lc, all)
	{
		char		relkind = get_rel_relkind(lfirst_oid(lc));

		if (relkind == RELKIND_RELATION || relkind == RELKIND_MATVIEW)
			members = lappend_oid(members, lfirst_oid(lc));
	}
	list_sort(members, list_oid_cmp);

	return members;
}

uint64
derive_source_members_digest(const DeriveSource *source)
{
	uint64		digest = 0;
	ListCell   *lc;

	foreach(lc, derive_source_members(source->relid, source->inh))
		digest = hash_combine64(digest, hash_bytes_uint32_extended(lfirst_oid(lc), 0));

	return digest;
}

/*
 * Life
 */

static bool sink_begin(void *arg, FullTransactionId xid, XLogRecPtr commit_lsn, TimestampTz commit_time);
static void sink_change(void *arg, DeriveChangeKind kind, Relation relation,
						HeapTuple oldtuple, bool old_complete, HeapTuple newtuple, bool new_complete);
static bool sink_wants(void *arg, Oid relid);
static void sink_truncate(void *arg, int nrelations, Relation *relations);
static void sink_commit(void *arg, XLogRecPtr end_lsn);

DeriveStream *
derive_stream_create(void)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive stream",
											  ALLOCSET_DEFAULT_SIZES);
	DeriveStream *stream = MemoryContextAllocZero(cxt, sizeof(DeriveStream));

	stream->cxt = cxt;
	stream->batch_cxt = AllocSetContextCreate(cxt, "pg_derive batch positions", ALLOCSET_SMALL_SIZES);
	stream->views_cxt = AllocSetContextCreate(cxt, "pg_derive batch deltas", ALLOCSET_SMALL_SIZES);
	stream->sink.begin = sink_begin;
	stream->sink.change = sink_change;
	stream->sink.wants = sink_wants;
	stream->sink.truncate = sink_truncate;
	stream->sink.commit = sink_commit;
	stream->sink.arg = stream;

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

static Source *
find_source(List *sources, Oid relid, bool inh)
{
	ListCell   *lc;

	foreach(lc, sources)
	{
		Source	   *source = lfirst(lc);

		if (source->pub.relid == relid && source->pub.inh == inh)
			return source;
	}

	return NULL;
}

static DeriveDelta *
create_delta(MemoryContext parent, Source *source)
{
	MemoryContext old = MemoryContextSwitchTo(parent);
	DeriveDelta *delta = derive_delta_create(source->pub.relid, source->pub.inh, source->desc);

	MemoryContextSwitchTo(old);

	return delta;
}

static DeriveDelta *
current_delta(DeriveStream *stream, Source *source)
{
	if (source->current == NULL)
		source->current = create_delta(stream->cxt, source);

	return source->current;
}

static DeriveDelta *
find_pending_delta(Pending *pending, Oid relid, bool inh)
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

static DeriveDelta *
pending_delta(Pending *pending, Source *source)
{
	DeriveDelta *delta = find_pending_delta(pending, source->pub.relid, source->pub.inh);

	if (delta == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(pending->cxt);

		delta = create_delta(pending->cxt, source);
		pending->deltas = lappend(pending->deltas, delta);
		MemoryContextSwitchTo(old);
	}

	return delta;
}

/*
 * Backlogs
 */

/* The source's columns, then xid. */
static TupleDesc
backlog_desc(TupleDesc desc)
{
	TupleDesc	result = CreateTemplateTupleDesc(desc->natts + 1);

	for (int i = 1; i <= desc->natts; i++)
		TupleDescCopyEntry(result, i, desc, i);
	TupleDescInitBuiltinEntry(result, desc->natts + 1, "xid", INT8OID, -1, 0);

	return result;
}

static Backlog *
create_backlog(DeriveStream *stream, Source *source)
{
	MemoryContext cxt = AllocSetContextCreate(stream->cxt, "pg_derive backlog", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	Backlog    *backlog = palloc0(sizeof(Backlog));

	backlog->cxt = cxt;
	backlog->rows = derive_delta_create(source->pub.relid, source->pub.inh, backlog_desc(source->desc));
	MemoryContextSwitchTo(old);

	return backlog;
}

static void
mark_backlog(Backlog *backlog, FullTransactionId xid, const char *reason)
{
	MemoryContext old = MemoryContextSwitchTo(backlog->cxt);
	UnknownMark *mark = palloc(sizeof(UnknownMark));

	mark->xid = xid;
	mark->reason = reason;
	backlog->marks = lappend(backlog->marks, mark);
	MemoryContextSwitchTo(old);
}

static void
add_to_backlog(Backlog *backlog, FullTransactionId xid, const Datum *values, const bool *nulls, int64 weight)
{
	int			natts = backlog->rows->desc->natts - 2;
	Datum	   *allvalues = palloc(sizeof(Datum) * (natts + 1));
	bool	   *allnulls = palloc(sizeof(bool) * (natts + 1));

	memcpy(allvalues, values, sizeof(Datum) * natts);
	memcpy(allnulls, nulls, sizeof(bool) * natts);
	allvalues[natts] = Int64GetDatum((int64) U64FromFullTransactionId(xid));
	allnulls[natts] = false;
	derive_delta_add_values(backlog->rows, allvalues, allnulls, weight);
	pfree(allvalues);
	pfree(allnulls);
}

static void
append_to_backlog(Backlog *backlog, FullTransactionId xid, DeriveDelta *delta)
{
	TupleTableSlot *slot;

	if (delta->unknown)
		mark_backlog(backlog, xid, delta->reason);
	if (delta->nrows == 0)
		return;

	slot = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
	derive_delta_rewind(delta);
	while (derive_delta_next(delta, slot))
	{
		slot_getallattrs(slot);
		add_to_backlog(backlog, xid, slot->tts_values, slot->tts_isnull,
					   DatumGetInt64(slot->tts_values[delta->desc->natts - 1]));
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Copy what since does not cover, or everything, by attribute number. */
static void
copy_from_backlog(Backlog *backlog, const DerivePosition *since, DeriveDelta *delta, Backlog *copy)
{
	int			natts = (delta != NULL ? delta->desc->natts - 1 : copy->rows->desc->natts - 2);
	int			nold = backlog->rows->desc->natts - 2;
	TupleTableSlot *slot;
	Datum	   *values;
	bool	   *nulls;
	ListCell   *lc;

	foreach(lc, backlog->marks)
	{
		UnknownMark *mark = lfirst(lc);

		if (copy != NULL)
			mark_backlog(copy, mark->xid, mark->reason);
		else if (!FullTransactionIdIsValid(mark->xid) || !derive_position_covers(since, mark->xid))
			derive_delta_mark_unknown(delta, mark->reason);
	}

	slot = MakeSingleTupleTableSlot(backlog->rows->desc, &TTSOpsMinimalTuple);
	values = palloc0(sizeof(Datum) * natts);
	nulls = palloc(sizeof(bool) * natts);
	memset(nulls, true, sizeof(bool) * natts);
	derive_delta_rewind(backlog->rows);
	while (derive_delta_next(backlog->rows, slot))
	{
		FullTransactionId xid;
		int64		weight;

		slot_getallattrs(slot);
		xid = FullTransactionIdFromU64((uint64) DatumGetInt64(slot->tts_values[nold]));
		weight = DatumGetInt64(slot->tts_values[nold + 1]);
		memcpy(values, slot->tts_values, sizeof(Datum) * Min(natts, nold));
		memcpy(nulls, slot->tts_isnull, sizeof(bool) * Min(natts, nold));
		if (copy != NULL)
			add_to_backlog(copy, xid, values, nulls, weight);
		else if (!derive_position_covers(since, xid))
			derive_delta_add_values(delta, values, nulls, weight);
	}
	ExecDropSingleTupleTableSlot(slot);
	pfree(values);
	pfree(nulls);
}

/* Half a transaction was delivered: see the head of the file. */
static void
forget_interrupted(DeriveStream *stream)
{
	Delivery   *delivery = &stream->delivery;
	ListCell   *lc;

	if (!delivery->active)
		return;

	if (delivery->fate == FATE_PENDING)
	{
		stream->pending = list_delete_ptr(stream->pending, delivery->pending);
		MemoryContextDelete(delivery->pending->cxt);
	}
	else if (delivery->fate == FATE_CURRENT)
	{
		foreach(lc, stream->sources)
		{
			Source	   *source = lfirst(lc);

			if (source->touched_by != delivery->number)
				continue;
			derive_delta_mark_unknown(current_delta(stream, source), REASON_INTERRUPTED);
			if (source->backlog != NULL)
				mark_backlog(source->backlog, delivery->xid, REASON_INTERRUPTED);
		}
	}
	memset(delivery, 0, sizeof(Delivery));
}

/*
 * Taking over what is held by one set of sources to the next cannot be undone
 * half-way.  If that fails the worker must start over from the slot.
 */
static void
check_usable(DeriveStream *stream)
{
	if (stream->broken)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("changes that were held in memory are lost"),
				 errdetail("They will be read from the write-ahead log again.")));
}

/*
 * The set of sources
 */

/* Did a column that was tracked get another type?  Its held values are of no use then. */
static bool
tracked_type_changed(Source *old, Source *new)
{
	int			attno = 0;

	while ((attno = bms_next_member(old->pub.columns, attno)) > 0)
	{
		Form_pg_attribute a;
		Form_pg_attribute b;

		if (attno > old->desc->natts || attno > new->desc->natts)
			continue;
		a = TupleDescAttr(old->desc, attno - 1);
		b = TupleDescAttr(new->desc, attno - 1);
		if (!a->attisdropped && !b->attisdropped && a->atttypid != b->atttypid)
			return true;
	}

	return false;
}

/* A source as the catalog has it now, with nothing held for it. */
static Source *
make_source(DeriveSource *wanted)
{
	Relation	rel = RelationIdGetRelation(wanted->relid);
	Source	   *source;

	/* dropped: whoever reads it will find out */
	if (rel == NULL)
		return NULL;

	source = palloc0(sizeof(Source));
	source->pub.relid = wanted->relid;
	source->pub.inh = wanted->inh;
	source->is_view = (rel->rd_rel->relkind == RELKIND_MATVIEW);
	source->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	source->values = palloc0(sizeof(Datum) * source->desc->natts);
	source->oldvalues = palloc0(sizeof(Datum) * source->desc->natts);
	source->nulls = palloc(sizeof(bool) * source->desc->natts);
	source->oldnulls = palloc(sizeof(bool) * source->desc->natts);
	memset(source->nulls, true, sizeof(bool) * source->desc->natts);
	memset(source->oldnulls, true, sizeof(bool) * source->desc->natts);
	if (!source->is_view)
		source->members = derive_source_members(wanted->relid, wanted->inh);
	RelationClose(rel);

	return source;
}

static List *
make_sources(List *wanted, List *keep_backlog)
{
	List	   *sources = NIL;
	ListCell   *lc;

	foreach(lc, wanted)
	{
		DeriveSource *w = lfirst(lc);
		Source	   *source = find_source(sources, w->relid, w->inh);

		if (source == NULL)
		{
			source = make_source(w);
			if (source == NULL)
				continue;
			sources = lappend(sources, source);
		}
		source->pub.columns = bms_add_members(source->pub.columns, w->columns);
		source->pub.columns = bms_add_member(source->pub.columns, ROWS_THEMSELVES);
	}

	foreach(lc, keep_backlog)
	{
		DeriveSource *k = lfirst(lc);
		Source	   *source = find_source(sources, k->relid, k->inh);

		if (source != NULL && !source->is_view)
			source->keep = true;
	}

	return sources;
}

static Route *
make_route(Source *source, Relation member)
{
	TupleDesc	desc = RelationGetDescr(member);
	Route	   *route = palloc0(sizeof(Route));
	int			n = bms_num_members(source->pub.columns);
	int			attno = 0;

	route->source = source;
	route->from = palloc(sizeof(AttrNumber) * n);
	route->to = palloc(sizeof(AttrNumber) * n);
	while ((attno = bms_next_member(source->pub.columns, attno)) > 0)
	{
		Form_pg_attribute att;
		AttrNumber	from = 0;

		if (attno > source->desc->natts)
			continue;
		att = TupleDescAttr(source->desc, attno - 1);
		if (att->attisdropped)
			continue;
		if (RelationGetRelid(member) == source->pub.relid)
			from = attno;
		else
			from = get_attnum(RelationGetRelid(member), NameStr(att->attname));
		if (from <= 0 || from > desc->natts)
			continue;

		route->from[route->ncolumns] = from;
		route->to[route->ncolumns] = attno;
		route->ncolumns++;
	}

	return route;
}

/* Fill the table of members, from the point of view of decoded rows. */
static HTAB *
make_members(List *sources)
{
	HASHCTL		ctl = {0};
	HTAB	   *members;
	ListCell   *lc;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Member);
	ctl.hcxt = CurrentMemoryContext;
	members = hash_create("pg_derive members", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	foreach(lc, sources)
	{
		Source	   *source = lfirst(lc);
		ListCell   *lc2;

		foreach(lc2, source->members)
		{
			Oid			relid = lfirst_oid(lc2);
			Relation	rel = RelationIdGetRelation(relid);
			Member	   *member;
			bool		found;

			if (rel == NULL)
				continue;
			member = hash_search(members, &relid, HASH_ENTER, &found);
			if (!found)
				member->routes = NIL;
			member->routes = lappend(member->routes, make_route(source, rel));
			RelationClose(rel);
		}
	}

	return members;
}

/* Make everything that is held for a source unknown. */
static void
mark_all_unknown(DeriveStream *stream, Source *source, const char *reason)
{
	ListCell   *lc;

	derive_delta_mark_unknown(current_delta(stream, source), reason);
	if (source->backlog != NULL)
		mark_backlog(source->backlog, InvalidFullTransactionId, reason);
	foreach(lc, stream->pending)
		derive_delta_mark_unknown(pending_delta(lfirst(lc), source), reason);
}

/* Rows that are held have the old layout: copy them. */
static void
convert_rows(DeriveStream *stream, Source *source)
{
	ListCell   *lc;

	if (source->current != NULL)
	{
		DeriveDelta *converted = create_delta(stream->cxt, source);

		derive_delta_append(converted, source->current);
		derive_delta_free(source->current);
		source->current = converted;
	}

	if (source->backlog != NULL)
	{
		Backlog    *converted = create_backlog(stream, source);

		copy_from_backlog(source->backlog, NULL, NULL, converted);
		MemoryContextDelete(source->backlog->cxt);
		source->backlog = converted;
	}

	foreach(lc, stream->pending)
	{
		Pending    *pending = lfirst(lc);
		DeriveDelta *delta = find_pending_delta(pending, source->pub.relid, source->pub.inh);
		DeriveDelta *converted;

		if (delta == NULL)
			continue;
		pending->deltas = list_delete_ptr(pending->deltas, delta);
		converted = pending_delta(pending, source);
		derive_delta_append(converted, delta);
		derive_delta_free(delta);
	}
}

/* Is some transaction up to this number pending? */
static bool
pending_upto(DeriveStream *stream, uint64 number)
{
	return stream->pending != NIL && ((Pending *) linitial(stream->pending))->number <= number;
}

/* Take over from the source as it was before what is held for it. */
static void
inherit_source(DeriveStream *stream, Source *old, Source *new)
{
	bool		was_complete = !pending_upto(stream, old->incomplete_upto);

	new->current = old->current;
	new->backlog = old->backlog;
	old->current = NULL;
	old->backlog = NULL;

	new->complete = bms_copy(was_complete ? old->pub.columns : old->complete);
	if (bms_is_subset(new->pub.columns, new->complete))
		new->incomplete_upto = 0;
	else if (bms_is_subset(new->pub.columns, old->pub.columns))
		new->incomplete_upto = old->incomplete_upto;
	else
		new->incomplete_upto = stream->ndelivered;

	if (!equalTupleDescs(old->desc, new->desc))
		convert_rows(stream, new);
	if (tracked_type_changed(old, new))
		mark_all_unknown(stream, new, REASON_LAYOUT);
	if (!equal(old->members, new->members))
		mark_all_unknown(stream, new, REASON_MEMBERS);
}

static void
free_source_rows(Source *source)
{
	if (source->current != NULL)
		derive_delta_free(source->current);
	if (source->backlog != NULL)
		MemoryContextDelete(source->backlog->cxt);
	source->current = NULL;
	source->backlog = NULL;
}

void
derive_stream_set_sources(DeriveStream *stream, List *sources, List *keep_backlog)
{
	MemoryContext cxt = AllocSetContextCreate(stream->cxt, "pg_derive sources", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	List	   *new_sources = make_sources(sources, keep_backlog);
	HTAB	   *members = make_members(new_sources);
	ListCell   *lc;

	/* the catalog was read; from here on only memory and disk can fail us */
	check_usable(stream);
	forget_interrupted(stream);
	stream->broken = true;
	foreach(lc, new_sources)
	{
		Source	   *source = lfirst(lc);
		Source	   *before = find_source(stream->sources, source->pub.relid, source->pub.inh);

		if (source->is_view)
			continue;
		if (before != NULL)
			inherit_source(stream, before, source);
		else
			source->incomplete_upto = stream->ndelivered;

		if (source->keep && source->backlog == NULL)
			source->backlog = create_backlog(stream, source);
		else if (!source->keep && source->backlog != NULL)
		{
			MemoryContextDelete(source->backlog->cxt);
			source->backlog = NULL;
		}
	}
	foreach(lc, stream->sources)
		free_source_rows(lfirst(lc));

	MemoryContextSwitchTo(old);
	MemoryContextReset(stream->views_cxt);
	if (stream->sources_cxt != NULL)
		MemoryContextDelete(stream->sources_cxt);
	stream->sources_cxt = cxt;
	stream->sources = new_sources;
	stream->members = members;
	stream->broken = false;
}

bool
derive_stream_complete(DeriveStream *stream, const DeriveSource *wanted)
{
	Source	   *source = find_source(stream->sources, wanted->relid, wanted->inh);

	if (source == NULL)
		return false;
	if (source->is_view)
		return true;
	if (!bms_is_subset(wanted->columns, source->pub.columns))
		return false;
	if (!pending_upto(stream, source->incomplete_upto))
		return true;

	return bms_is_member(ROWS_THEMSELVES, source->complete) &&
		bms_is_subset(wanted->columns, source->complete);
}

/*
 * Batches
 */

/* Hand the rows of a pending transaction over to a source. */
static void
move_delta(DeriveStream *stream, Pending *pending, DeriveDelta *delta, Source *source, bool applied)
{
	if (source->backlog != NULL)
		append_to_backlog(source->backlog, pending->xid, delta);
	if (applied)
		return;

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
		Source	   *source = find_source(stream->sources, delta->relid, delta->inh);

		if (source == NULL)
			continue;
		if (pending->moving)
			derive_delta_mark_unknown(delta, REASON_INTERRUPTED);
	}

	pending->moving = true;
	foreach(lc, deltas)
	{
		DeriveDelta *delta = lfirst(lc);
		Source	   *source = find_source(stream->sources, delta->relid, delta->inh);

		if (source != NULL)
			move_delta(stream, pending, delta, source, applied);
	}

	if (!applied)
		stream->commit_time = Max(stream->commit_time, pending->commit_time);
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
		stream->pending = foreach_delete_current(stream->pending, lc);
		MemoryContextDelete(pending->cxt);
	}
}

void
derive_stream_begin_batch(DeriveStream *stream, const DerivePosition *from, const DerivePosition *to)
{
	MemoryContext old;

	check_usable(stream);
	forget_interrupted(stream);

	MemoryContextReset(stream->views_cxt);
	MemoryContextReset(stream->batch_cxt);
	old = MemoryContextSwitchTo(stream->batch_cxt);
	stream->from = derive_position_copy(from);
	stream->to = derive_position_copy(to);
	MemoryContextSwitchTo(old);

	move_visible(stream);
}

DeriveBatch *
derive_stream_batch(DeriveStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->views_cxt);
	DeriveBatch *batch = palloc0(sizeof(DeriveBatch));
	ListCell   *lc;

	batch->cxt = stream->views_cxt;
	foreach(lc, stream->sources)
	{
		Source	   *source = lfirst(lc);

		if (source->current == NULL || (source->current->nrows == 0 && !source->current->unknown))
			continue;
		source->current->columns = source->pub.columns;
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
	foreach(lc, sources)
	{
		DeriveSource *wanted = lfirst(lc);
		Source	   *source = find_source(stream->sources, wanted->relid, wanted->inh);
		DeriveDelta *delta;

		/* the log does not have the changes of a materialized view */
		if (source != NULL ? source->is_view : get_rel_relkind(wanted->relid) == RELKIND_MATVIEW)
			continue;
		if (derive_batch_find(batch, wanted->relid, wanted->inh) != NULL)
			continue;
		if (source == NULL || source->backlog == NULL)
			elog(ERROR, "no backlog is kept of relation %u", wanted->relid);

		delta = create_delta(stream->views_cxt, source);
		copy_from_backlog(source->backlog, since, delta, NULL);
		delta->columns = source->pub.columns;
		if (delta->nrows > 0 || delta->unknown)
			derive_batch_add(batch, delta);
		else
			derive_delta_free(delta);
	}
	MemoryContextSwitchTo(old);

	return batch;
}

void
derive_stream_end_batch(DeriveStream *stream)
{
	ListCell   *lc;

	MemoryContextReset(stream->views_cxt);
	foreach(lc, stream->sources)
	{
		Source	   *source = lfirst(lc);

		if (source->current != NULL && (source->current->nrows > 0 || source->current->unknown))
			derive_delta_reset(source->current);
	}
	stream->commit_time = 0;
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

int64
derive_stream_nrows(DeriveStream *stream)
{
	int64		nrows = 0;
	ListCell   *lc;

	foreach(lc, stream->sources)
	{
		Source	   *source = lfirst(lc);

		if (source->current != NULL)
			nrows += source->current->nrows + (source->current->unknown ? 1 : 0);
	}

	return nrows;
}

TimestampTz
derive_stream_commit_time(DeriveStream *stream)
{
	return stream->commit_time;
}

/*
 * The sink.  Runs inside decoding: copies tuples, runs no type's own code.
 */

static bool
sink_begin(void *arg, FullTransactionId xid, XLogRecPtr commit_lsn, TimestampTz commit_time)
{
	DeriveStream *stream = arg;
	Delivery   *delivery = &stream->delivery;

	forget_interrupted(stream);

	delivery->fate = FATE_SKIP;
	delivery->xid = xid;
	delivery->number = ++stream->ndelivered;
	delivery->commit_lsn = commit_lsn;
	delivery->commit_time = commit_time;
	if (commit_lsn <= stream->last_commit_lsn || derive_position_covers(stream->from, xid))
		delivery->fate = FATE_SKIP;
	else if (derive_position_covers(stream->to, xid))
		delivery->fate = FATE_CURRENT;
	else
	{
		MemoryContext cxt = AllocSetContextCreate(stream->cxt, "pg_derive pending transaction",
												  ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(stream->cxt);
		Pending    *pending = MemoryContextAllocZero(cxt, sizeof(Pending));
		ListCell   *lc;

		pending->cxt = cxt;
		pending->xid = xid;
		pending->number = delivery->number;
		pending->commit_lsn = commit_lsn;
		pending->commit_time = commit_time;
		stream->pending = lappend(stream->pending, pending);
		MemoryContextSwitchTo(old);

		delivery->fate = FATE_PENDING;
		delivery->pending = pending;
		foreach(lc, stream->sources)
			((Source *) lfirst(lc))->pending = NULL;
	}
	delivery->active = true;

	return delivery->fate != FATE_SKIP;
}

static bool
sink_wants(void *arg, Oid relid)
{
	DeriveStream *stream = arg;

	return stream->members != NULL &&
		hash_search(stream->members, &relid, HASH_FIND, NULL) != NULL;
}

/* The delta that the transaction's changes of a source go to. */
static DeriveDelta *
delivery_delta(DeriveStream *stream, Source *source)
{
	source->touched_by = stream->delivery.number;
	if (stream->delivery.fate == FATE_CURRENT)
		return current_delta(stream, source);

	if (source->pending == NULL)
		source->pending = pending_delta(stream->delivery.pending, source);

	return source->pending;
}

static void
deliver_row(DeriveStream *stream, Source *source, const Datum *values, const bool *nulls, int64 weight)
{
	DeriveDelta *delta = delivery_delta(stream, source);

	/* rows of an unknown delta are of no use to anyone */
	if (!delta->unknown)
		derive_delta_add_values(delta, values, nulls, weight);
	if (stream->delivery.fate == FATE_CURRENT && source->backlog != NULL)
		add_to_backlog(source->backlog, stream->delivery.xid, values, nulls, weight);
}

static void
deliver_unknown(DeriveStream *stream, Source *source, const char *reason)
{
	derive_delta_mark_unknown(delivery_delta(stream, source), reason);
	if (stream->delivery.fate == FATE_CURRENT && source->backlog != NULL)
		mark_backlog(source->backlog, stream->delivery.xid, reason);
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

/* One change, for one source. */
static void
deliver_change(DeriveStream *stream, Route *route, TupleDesc desc, bool has_old, bool old_complete, bool has_new)
{
	Source	   *source = route->source;

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

	if (has_old && has_new && nothing_changed(route))
		return;
	if (has_old)
		deliver_row(stream, source, source->oldvalues, source->oldnulls, -1);
	if (has_new)
		deliver_row(stream, source, source->values, source->nulls, 1);
}

static void
sink_change(void *arg, DeriveChangeKind kind, Relation relation,
			HeapTuple oldtuple, bool old_complete, HeapTuple newtuple, bool new_complete)
{
	DeriveStream *stream = arg;
	TupleDesc	desc = RelationGetDescr(relation);
	Oid			relid = RelationGetRelid(relation);
	bool		has_old = (kind != DERIVE_INSERT);
	bool		has_new = (kind != DERIVE_DELETE);
	Member	   *member;
	ListCell   *lc;

	if (stream->delivery.fate == FATE_SKIP || stream->members == NULL)
		return;
	member = hash_search(stream->members, &relid, HASH_FIND, NULL);
	if (member == NULL)
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

	/* new_complete is about all columns; take_columns() looks at those that count */
	foreach(lc, member->routes)
		deliver_change(stream, lfirst(lc), desc, has_old, old_complete && oldtuple != NULL, has_new);
}

static void
sink_truncate(void *arg, int nrelations, Relation *relations)
{
	DeriveStream *stream = arg;

	if (stream->delivery.fate == FATE_SKIP || stream->members == NULL)
		return;

	for (int i = 0; i < nrelations; i++)
	{
		Oid			relid = RelationGetRelid(relations[i]);
		Member	   *member = hash_search(stream->members, &relid, HASH_FIND, NULL);
		ListCell   *lc;

		if (member == NULL)
			continue;
		foreach(lc, member->routes)
			deliver_unknown(stream, ((Route *) lfirst(lc))->source, REASON_TRUNCATE);
	}
}

static void
sink_commit(void *arg, XLogRecPtr end_lsn)
{
	DeriveStream *stream = arg;
	Delivery   *delivery = &stream->delivery;

	stream->last_commit_lsn = Max(stream->last_commit_lsn, delivery->commit_lsn);
	if (delivery->fate == FATE_CURRENT)
		stream->commit_time = Max(stream->commit_time, delivery->commit_time);
	memset(delivery, 0, sizeof(Delivery));
}
