/*-------------------------------------------------------------------------
 *
 * sources.c
 *	  The sources that a stream follows, and the tables whose rows they get.
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
 * When the set changes
 *
 *	A new set is made beside the old one, from the catalog, which may fail.  Then
 *	what is held for a source moves to its successor, is copied if the layout of
 *	the table is another, and becomes unknown where a type changed.
 *
 *	A changed set of members makes everything held for the source unknown,
 *	pending transactions included: rows that they wrote to a new member before
 *	it was known were not captured.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/debug_point.h"
#include "base/unlocked.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "delta/stream.h"
#include "delta/stream_internal.h"
#include "executor/spi.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* In a set of columns: the existence of rows, which count(*) reads. */
#define ROWS_THEMSELVES 0

#define REASON_MEMBERS		"its partitions or child tables changed"
#define REASON_KEY			"its primary key or replica identity changed"
#define REASON_LAYOUT		"the type of a column changed"

/*
 * Members of a source
 */

/* Those of the relations that have rows of their own, in order. */
static List *
tables_among(List *relids)
{
	List	   *members = NIL;
	ListCell   *lc;

	foreach(lc, relids)
	{
		char		relkind = get_rel_relkind(lfirst_oid(lc));

		if (relkind == RELKIND_RELATION || relkind == RELKIND_MATVIEW)
			members = lappend_oid(members, lfirst_oid(lc));
	}
	list_sort(members, list_oid_cmp);

	return members;
}

static List *
family(Oid relid, bool inh)
{
	return inh ? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);
}

List *
derive_source_members(Oid relid, bool inh)
{
	return tables_among(family(relid, inh));
}

/*
 * The transactions in which the relation's partitions or children became that.
 * One that was taken away and put back in a single transaction may have been
 * anything in between, such as unlogged, that nobody noted since it was nobody's
 * source.  Rows of the catalog come in no particular order, hence the sum.
 */
static uint64
children_digest(Oid parent)
{
	uint64		digest = 0;
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(parent));
	scan = systable_beginscan(inherits, InheritsParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tuple);

		if (!form->inhdetachpending)
			digest += hash_bytes_uint32_extended(form->inhrelid, HeapTupleHeaderGetRawXmin(tuple->t_data));
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return digest;
}

uint64
derive_source_members_digest(const DeriveSource *source)
{
	List	   *relids = family(source->relid, source->inh);
	uint64		digest = 0;
	ListCell   *lc;

	foreach(lc, tables_among(relids))
		digest = hash_combine64(digest, hash_bytes_uint32_extended(lfirst_oid(lc), 0));
	foreach(lc, relids)
		if (source->inh && has_subclass(lfirst_oid(lc)))
		digest = hash_combine64(digest, children_digest(lfirst_oid(lc)));

	return digest;
}

/*
 * Making a set of sources
 */

/* By what columns rows of its members are named, which it must then follow. */
static void
find_keys(Source *source)
{
	ListCell   *lc;

	foreach(lc, source->members)
	{
		const DeriveUnlocked *member = derive_unlocked_read(lfirst_oid(lc));
		DeriveMemberKey *key;
		bool		in_log;

		if (member == NULL)
			continue;
		DERIVE_DEBUG_POINT("member-read");
		key = derive_member_key(member, source->pub.relid, source->desc, &in_log);
		if (key == NULL)
			continue;
		source->keys.members = lappend(source->keys.members, key);
		for (int i = 0; i < key->nkeys; i++)
			source->pub.columns = bms_add_member(source->pub.columns, key->columns[i]);
	}
	derive_keys_finish(&source->keys, source->pub.relid, list_length(source->members));
}

List *
derive_source_without_identity(const DeriveSource *source)
{
	const DeriveUnlocked *rel = derive_unlocked_read(source->relid);
	List	   *result = NIL;
	ListCell   *lc;

	if (rel == NULL)
		return NIL;
	foreach(lc, derive_source_members(source->relid, source->inh))
	{
		const DeriveUnlocked *member = derive_unlocked_read(lfirst_oid(lc));
		bool		in_log = false;

		if (member == NULL)
			continue;
		if (!source->events)
			(void) derive_member_key(member, source->relid, rel->desc, &in_log);
		if (member->form.relkind == RELKIND_RELATION && !in_log &&
			member->form.relreplident != REPLICA_IDENTITY_FULL)
			result = lappend_oid(result, lfirst_oid(lc));
	}
	return result;
}

/* A source as the catalog has it now, with nothing held for it. */
static Source *
make_source(DeriveSource *wanted)
{
	const DeriveUnlocked *rel = derive_unlocked_read(wanted->relid);
	Source	   *source;

	/* dropped: whoever reads it will find out */
	if (rel == NULL)
		return NULL;

	source = palloc0(sizeof(Source));
	source->pub.relid = wanted->relid;
	source->pub.inh = wanted->inh;
	source->pub.events = wanted->events;
	if (rel->form.relkind == RELKIND_MATVIEW)
	{
		source->is_view = !wanted->events;
		source->is_topic = wanted->events;
	}
	source->desc = CreateTupleDescCopy(rel->desc);
	source->values = palloc0(sizeof(Datum) * source->desc->natts);
	source->oldvalues = palloc0(sizeof(Datum) * source->desc->natts);
	source->nulls = palloc(sizeof(bool) * source->desc->natts);
	source->oldnulls = palloc(sizeof(bool) * source->desc->natts);
	memset(source->nulls, true, sizeof(bool) * source->desc->natts);
	source->keyvalues = palloc0(sizeof(Datum) * source->desc->natts);
	source->keynulls = palloc(sizeof(bool) * source->desc->natts);
	memset(source->oldnulls, true, sizeof(bool) * source->desc->natts);
	memset(source->keynulls, true, sizeof(bool) * source->desc->natts);
	if (!source->is_view)
		source->members = derive_source_members(wanted->relid, wanted->inh);
	if (!source->is_view && !source->pub.events)
		find_keys(source);

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
		Source	   *source = derive_stream_find_source(sources, w->relid, w->inh, w->events);

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
		Source	   *source = derive_stream_find_source(sources, k->relid, k->inh, k->events);

		if (source != NULL && !source->is_view)
			source->keep = true;
	}

	return sources;
}

static Route *
make_route(Source *source, const DeriveUnlocked *member)
{
	Route	   *route = palloc0(sizeof(Route));
	int			n = bms_num_members(source->pub.columns);
	int			attno = 0;

	route->source = source;
	route->key = derive_keys_find(&source->keys, member->relid);
	route->from = palloc(sizeof(AttrNumber) * n);
	route->to = palloc(sizeof(AttrNumber) * n);
	while ((attno = bms_next_member(source->pub.columns, attno)) > 0)
	{
		Form_pg_attribute att;
		int			from;

		if (attno > source->desc->natts)
			continue;
		att = TupleDescAttr(source->desc, attno - 1);
		if (att->attisdropped)
			continue;
		if (member->relid == source->pub.relid)
			from = attno;
		else
			from = SPI_fnumber(member->desc, NameStr(att->attname));
		if (from <= 0 || from > member->desc->natts)
			continue;

		route->from[route->ncolumns] = from;
		route->to[route->ncolumns] = attno;
		route->ncolumns++;
	}
	if (route->key != NULL)
	{
		route->key->ncolumns = route->ncolumns;
		route->key->from = route->from;
		route->key->to = route->to;
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
			const DeriveUnlocked *rel = derive_unlocked_read(relid);
			Member	   *member;
			bool		found;

			if (rel == NULL)
				continue;
			member = hash_search(members, &relid, HASH_ENTER, &found);
			if (!found)
			{
				member->routes = NIL;
				member->events = member->topic = false;
			}
			if (source->is_topic)
				member->topic = true;
			else if (source->pub.events)
				member->events = true;
			else
				member->routes = lappend(member->routes, make_route(source, rel));
		}
	}

	return members;
}

/*
 * Taking over what is held
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

/* Make everything that is held for a source unknown. */
static void
mark_all_unknown(DeriveStream *stream, Source *source, const char *reason)
{
	ListCell   *lc;

	derive_delta_mark_unknown(derive_stream_current_delta(stream, source), reason);
	if (source->backlog != NULL)
		derive_backlog_mark(source->backlog, InvalidFullTransactionId, reason);
	foreach(lc, stream->pending)
		derive_delta_mark_unknown(derive_stream_pending_delta(lfirst(lc), source), reason);
}

/*
 * The same for one that is followed event by event.  Whoever reads its events
 * asks for all members, so one of them is enough: a new one.  What pending
 * transactions did to that is not in the log.
 */
static void
mark_events_unknown(DeriveStream *stream, Source *old, Source *new)
{
	List	   *relids = list_difference_oid(new->members, old->members);
	ListCell   *lc;
	ListCell   *lc2;

	if (relids == NIL && new->members != NIL)
		relids = list_make1_oid(linitial_oid(new->members));
	relids = list_append_unique_oid(relids, new->pub.relid);
	foreach(lc, relids)
	{
		derive_events_mark(stream->log, lfirst_oid(lc), InvalidFullTransactionId);
		foreach(lc2, stream->pending)
			derive_events_mark(stream->log, lfirst_oid(lc), ((Pending *) lfirst(lc2))->xid);
	}
}

/* Rows that are held have the old layout: copy them. */
static void
convert_rows(DeriveStream *stream, Source *source)
{
	ListCell   *lc;

	if (source->current != NULL)
	{
		DeriveDelta *converted = derive_stream_create_delta(stream->cxt, source);

		derive_delta_append(converted, source->current);
		derive_delta_free(source->current);
		source->current = converted;
	}

	if (source->backlog != NULL)
	{
		Backlog    *converted = derive_backlog_create(stream, source);

		derive_backlog_copy(source->backlog, NULL, NULL, converted);
		derive_backlog_free(source->backlog);
		source->backlog = converted;
	}

	foreach(lc, stream->pending)
	{
		Pending    *pending = lfirst(lc);
		DeriveDelta *delta = derive_stream_find_pending_delta(pending, source->pub.relid, source->pub.inh);
		DeriveDelta *converted;

		if (delta == NULL)
			continue;
		pending->deltas = list_delete_ptr(pending->deltas, delta);
		converted = derive_stream_pending_delta(pending, source);
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

/* Is anything held for it? */
static bool
holds_rows(DeriveStream *stream, Source *source)
{
	ListCell   *lc;

	if ((source->current != NULL && source->current->nrows > 0) || source->backlog != NULL)
		return true;
	foreach(lc, stream->pending)
	{
		if (derive_stream_find_pending_delta(lfirst(lc), source->pub.relid, source->pub.inh) != NULL)
			return true;
	}
	return false;
}

/* Take over from the source as it was before what is held for it. */
static void
inherit_source(DeriveStream *stream, Source *old, Source *new)
{
	bool		was_complete = !pending_upto(stream, old->incomplete_upto);

	new->current = old->current;
	new->current_xid = old->current_xid;
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

#ifdef USE_ASSERT_CHECKING
	new->settled = old->settled && bms_is_subset(new->pub.columns, old->pub.columns);
#endif

	/* each event has the layout of its time */
	if (new->pub.events)
	{
		if (!equal(old->members, new->members))
			mark_events_unknown(stream, old, new);
		return;
	}

	if (!equalTupleDescs(old->desc, new->desc))
		convert_rows(stream, new);
	if (!derive_keys_same(&old->keys, &new->keys) && holds_rows(stream, new))
		mark_all_unknown(stream, new, REASON_KEY);
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
		derive_backlog_free(source->backlog);
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
	derive_stream_check_usable(stream);
	derive_stream_forget_interrupted(stream);
	derive_stream_settle(stream);
	stream->broken = true;
	foreach(lc, new_sources)
	{
		Source	   *source = lfirst(lc);
		Source	   *before = derive_stream_find_source(stream->sources, source->pub.relid,
													   source->pub.inh, source->pub.events);

		if (source->is_view)
			continue;
		if (before != NULL)
			inherit_source(stream, before, source);
		else
			source->incomplete_upto = stream->ndelivered;

		if (source->pub.events)
			continue;
		if (source->keep && source->backlog == NULL)
			derive_stream_begin_backlog(stream, source);
		else if (!source->keep && source->backlog != NULL)
		{
			derive_backlog_free(source->backlog);
			source->backlog = NULL;
		}
	}
	foreach(lc, stream->sources)
		free_source_rows(lfirst(lc));

	/* before what is in them goes */
	list_free(stream->changed);
	stream->changed = NIL;
	stream->events_kept = false;
	foreach(lc, new_sources)
	{
		Source	   *source = lfirst(lc);

		source->changed = false;
		if (source->current != NULL)
			derive_stream_note_changed(stream, source);
		stream->events_kept |= source->pub.events && source->keep;
	}

	MemoryContextSwitchTo(old);
	MemoryContextReset(stream->views_cxt);
	if (stream->sources_cxt != NULL)
		MemoryContextDelete(stream->sources_cxt);
	stream->sources_cxt = cxt;
	stream->sources = new_sources;
	stream->members = members;
	stream->last_relid = InvalidOid;
	stream->last_member = NULL;
	stream->broken = false;
}

bool
derive_stream_complete(DeriveStream *stream, const DeriveSource *wanted)
{
	Source	   *source = derive_stream_find_source(stream->sources, wanted->relid, wanted->inh,
												   wanted->events);

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
