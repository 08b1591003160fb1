/*-------------------------------------------------------------------------
 *
 * events.c
 *	  An event log: what committed transactions did, in order, row by row.
 *
 * Two tapes (tape.h)
 *
 *	events	a header and the bytes of the rows, for each event
 *	index	for each transaction its xid, commit, where its events are, and how
 *			many of which relation: enough to count, and to step over what a
 *			reader does not want
 *
 * A transaction gets into the index when it ends; to abandon it is to truncate
 * the events to where it began.  Adding an event is a look at the layout of the
 * last one, some counting, and a copy into memory.
 *
 * Layouts
 *
 *	An event names its relation and the descriptor of its rows by one number.
 *	The descriptor is compared with the copy that we have only when the relation
 *	cache comes with another one: a reference to the one seen last keeps its
 *	address from being used again, so that the same pointer means the same
 *	descriptor.
 *
 * Forgetting
 *
 *	What was applied is skipped by the positions of whoever reads, so that
 *	forgetting is about space alone and may come late.  Mostly everything goes at
 *	once.  Otherwise what remains is copied to new tapes as soon as the rest is
 *	the larger part; the index by itself, since a large transaction that is not
 *	visible for long should not be copied for the sake of many small ones.
 *
 *	If somebody is going to catch up, everything is kept, and the other readers
 *	begin at the first transaction that was not applied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/gucs.h"
#include "base/topic.h"
#include "delta/events.h"
#include "delta/tape.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Layouts of dropped tables are forgotten when there are so many. */
#define MANY_LAYOUTS	4096

/* Less is not worth copying. */
#define LITTLE			(64 * 1024)

/* One event, followed by the rows, each at a MAXALIGNed place. */
typedef struct EventHeader
{
	int32		layout;
	uint32		oldlen;			/* 0: none */
	uint32		newlen;
	char		kind;
} EventHeader;

#define EVENT_HEADER_SIZE MAXALIGN(sizeof(EventHeader))

/* What a transaction did to a relation. */
typedef struct Summary
{
	int32		layout;
	bool		unknown;
	bool		truncated;
	int64		nevents;
} Summary;

/* In the index. */
typedef struct Transaction
{
	FullTransactionId xid;
	XLogRecPtr	commit_lsn;
	TimestampTz commit_time;
	int64		start;			/* offset of its first event */
	int64		end;
	int64		nsummaries;
	/* followed by the summaries */
} Transaction;

#define TRANSACTION_SIZE(n) (sizeof(Transaction) + sizeof(Summary) * (n))
#define SUMMARIES(transaction) ((const Summary *) ((transaction) + 1))

/* A relation, and the descriptor of its rows. */
typedef struct Layout
{
	Oid			relid;
	TupleDesc	desc;			/* ours; NULL for topics */
	TupleDesc	seen;			/* an equal one of the relation cache, on
								 * which we hold a reference */
	uint64		touched_by;		/* number of the last transaction with such
								 * rows */
	int			summary;		/* that one's summary */
} Layout;

/* Entry of DeriveEventLog.relations. */
typedef struct KnownRelation
{
	Oid			relid;			/* hash key */
	int			layout;			/* its newest */
} KnownRelation;

/* See derive_events_mark(). */
typedef struct Mark
{
	Oid			relid;
	FullTransactionId xid;		/* or invalid; then: */
	bool		told;			/* a batch has succeeded since */
	DerivePosition *applied;	/* its position, once it is known */
} Mark;

struct DeriveEventLog
{
	MemoryContext cxt;			/* holds all of this */
	MemoryContextCallback callback;
	DeriveTape *events;
	DeriveTape *index;
	uint64		version;		/* counts writes, against misuse */

	Layout	   *layouts;
	int			nlayouts;
	int			maxlayouts;
	HTAB	   *relations;		/* of KnownRelation */
	int			last;			/* layout of the last event, or -1 */

	List	   *marks;			/* of Mark * */

	/* the transaction that is being written */
	bool		writing;
	uint64		number;
	FullTransactionId xid;
	XLogRecPtr	commit_lsn;
	TimestampTz commit_time;
	int64		start;
	Summary    *summaries;
	int			nsummaries;
	int			maxsummaries;

	DerivePosition *applied;	/* as told by derive_events_forget() */
	DerivePosition *forgotten;	/* what this covers may be gone */
	bool		cleared;		/* and what "applied" will cover next time */
	int64		live;			/* in the index: what was not applied begins
								 * here or later */
};

/* Steps through the index. */
typedef struct Scan
{
	DeriveTapeReader index;
	int64		next;
	int64		end;
} Scan;

struct DeriveEventReader
{
	MemoryContext cxt;			/* holds all of this */
	DeriveEventLog *log;
	uint64		version;
	const DerivePosition *from;
	const DerivePosition *to;
	bool	   *wanted;			/* by layout */
	List	   *marks;			/* of Mark *, to be told first */
	int			nmarks;			/* that were */
	Scan		scan;
	DeriveTapeReader events;
	Transaction transaction;
	bool		all_wanted;		/* of its events */
	int64		next;			/* offset of its next event */
	HeapTupleData oldtuple;
	HeapTupleData newtuple;
};

/*
 * Life
 */

/* Take a reference without a resource owner, as it outlives transactions. */
static void
see(Layout *layout, TupleDesc desc)
{
	Assert(desc->tdrefcount > 0);
	desc->tdrefcount++;
	if (layout->seen != NULL && --layout->seen->tdrefcount == 0)
		FreeTupleDesc(layout->seen);
	layout->seen = desc;
}

static void
release_descriptors(void *arg)
{
	DeriveEventLog *log = arg;

	for (int i = 0; i < log->nlayouts; i++)
	{
		TupleDesc	seen = log->layouts[i].seen;

		log->layouts[i].seen = NULL;
		if (seen != NULL && --seen->tdrefcount == 0)
			FreeTupleDesc(seen);
	}
}

static void
create_relations(DeriveEventLog *log)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(KnownRelation);
	ctl.hcxt = log->cxt;
	log->relations = hash_create("pg_derive relations with events", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	log->last = -1;
}

static DeriveTape *
create_events(DeriveEventLog *log)
{
	MemoryContext old = MemoryContextSwitchTo(log->cxt);
	DeriveTape *tape = derive_tape_create((Size) derive_work_mem * 1024 / 8 * 7);

	MemoryContextSwitchTo(old);
	return tape;
}

static DeriveTape *
create_index(DeriveEventLog *log)
{
	MemoryContext old = MemoryContextSwitchTo(log->cxt);
	DeriveTape *tape = derive_tape_create((Size) derive_work_mem * 1024 / 8);

	MemoryContextSwitchTo(old);
	return tape;
}

DeriveEventLog *
derive_events_create(void)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive event log",
											  ALLOCSET_DEFAULT_SIZES);
	DeriveEventLog *log = MemoryContextAllocZero(cxt, sizeof(DeriveEventLog));

	log->cxt = cxt;
	log->events = create_events(log);
	log->index = create_index(log);
	create_relations(log);
	log->callback.func = release_descriptors;
	log->callback.arg = log;
	MemoryContextRegisterResetCallback(cxt, &log->callback);

	return log;
}

void
derive_events_free(DeriveEventLog *log)
{
	MemoryContextDelete(log->cxt);
}

/*
 * Layouts
 */

/* Where everything is gone, so may be what described it. */
static void
forget_layouts(DeriveEventLog *log)
{
	release_descriptors(log);
	for (int i = 0; i < log->nlayouts; i++)
	{
		if (log->layouts[i].desc != NULL)
			FreeTupleDesc(log->layouts[i].desc);
	}
	log->nlayouts = 0;
	hash_destroy(log->relations);
	create_relations(log);
}

static void
add_layout(DeriveEventLog *log, KnownRelation *relation, TupleDesc desc)
{
	MemoryContext old = MemoryContextSwitchTo(log->cxt);
	Layout	   *layout;

	if (log->nlayouts == log->maxlayouts)
	{
		int			max = Max(log->maxlayouts * 2, 16);

		if (log->layouts == NULL)
			log->layouts = palloc(sizeof(Layout) * max);
		else
			log->layouts = repalloc(log->layouts, sizeof(Layout) * max);
		log->maxlayouts = max;
	}

	/* with constraints: they have the values of columns that old rows lack */
	desc = (desc != NULL ? CreateTupleDescCopyConstr(desc) : NULL);
	layout = &log->layouts[log->nlayouts];
	memset(layout, 0, sizeof(Layout));
	layout->relid = relation->relid;
	layout->desc = desc;
	relation->layout = log->nlayouts++;
	MemoryContextSwitchTo(old);
}

/* The layout of a relation's rows now; desc NULL: a topic. */
static int
find_layout(DeriveEventLog *log, Oid relid, TupleDesc desc)
{
	bool		found;
	KnownRelation *relation = hash_search(log->relations, &relid, HASH_ENTER, &found);
	Layout	   *layout;

	if (!found)
		relation->layout = -1;
	layout = (relation->layout >= 0 ? &log->layouts[relation->layout] : NULL);
	if (layout == NULL || (layout->desc == NULL) != (desc == NULL) ||
		(desc != NULL && layout->seen != desc && !equalTupleDescs(layout->desc, desc)))
	{
		add_layout(log, relation, desc);
		layout = &log->layouts[relation->layout];
	}
	if (desc != NULL && layout->seen != desc)
		see(layout, desc);

	return relation->layout;
}

/*
 * Writing
 */

void
derive_events_begin(DeriveEventLog *log, FullTransactionId xid,
					XLogRecPtr commit_lsn, TimestampTz commit_time)
{
	derive_events_abandon(log);
	log->version++;
	log->number++;
	log->xid = xid;
	log->commit_lsn = commit_lsn;
	log->commit_time = commit_time;
	log->start = derive_tape_end(log->events);
	log->nsummaries = 0;
	log->writing = true;
}

static void
begin_summary(DeriveEventLog *log, int number)
{
	Layout	   *layout = &log->layouts[number];
	Summary    *summary;

	if (log->nsummaries == log->maxsummaries)
	{
		int			max = Max(log->maxsummaries * 2, 16);

		if (log->summaries == NULL)
			log->summaries = MemoryContextAlloc(log->cxt, sizeof(Summary) * max);
		else
			log->summaries = repalloc(log->summaries, sizeof(Summary) * max);
		log->maxsummaries = max;
	}
	summary = &log->summaries[log->nsummaries];
	memset(summary, 0, sizeof(Summary));
	summary->layout = number;
	layout->touched_by = log->number;
	layout->summary = log->nsummaries++;
}

/* Write an event, all but the rows; returns where they go. */
static inline char *
add_event(DeriveEventLog *log, DeriveEventKind kind, int number, uint32 oldlen, uint32 newlen,
		  Size rowsize)
{
	Layout	   *layout = &log->layouts[number];
	Summary    *summary;
	EventHeader *header;

	Assert(log->writing);
	header = (EventHeader *) derive_tape_reserve(log->events, EVENT_HEADER_SIZE + rowsize);
	header->layout = number;
	header->oldlen = oldlen;
	header->newlen = newlen;
	header->kind = (char) kind;

	if (layout->touched_by != log->number)
		begin_summary(log, number);
	summary = &log->summaries[layout->summary];
	summary->nevents++;
	if (kind == DERIVE_EVENT_UNKNOWN)
		summary->unknown = true;
	else if (kind == DERIVE_EVENT_TRUNCATE)
		summary->truncated = true;

	return (char *) header + EVENT_HEADER_SIZE;
}

void
derive_events_add(DeriveEventLog *log, DeriveEventKind kind, Relation relation,
				  HeapTuple oldtuple, HeapTuple newtuple)
{
	Oid			relid = RelationGetRelid(relation);
	TupleDesc	desc = RelationGetDescr(relation);
	uint32		oldlen = (oldtuple != NULL ? oldtuple->t_len : 0);
	uint32		newlen = (newtuple != NULL ? newtuple->t_len : 0);
	char	   *rows;

	if (log->last < 0 || log->layouts[log->last].relid != relid ||
		log->layouts[log->last].seen != desc)
		log->last = find_layout(log, relid, desc);

	rows = add_event(log, kind, log->last, oldlen, newlen,
					 MAXALIGN((Size) oldlen) + MAXALIGN((Size) newlen));
	if (oldlen > 0)
		memcpy(rows, oldtuple->t_data, oldlen);
	if (newlen > 0)
		memcpy(rows + MAXALIGN((Size) oldlen), newtuple->t_data, newlen);
}

/* The LSN stands before the row, which is made whole again. */
void
derive_events_add_message(DeriveEventLog *log, Oid topic, XLogRecPtr lsn,
						  const char *content, Size size)
{
	Size		length = DERIVE_TOPIC_TUPLE_OFFSET + size;
	char	   *rows;

	if (log->last < 0 || log->layouts[log->last].relid != topic ||
		log->layouts[log->last].desc != NULL)
		log->last = find_layout(log, topic, NULL);

	rows = add_event(log, DERIVE_EVENT_MESSAGE, log->last, sizeof(XLogRecPtr), (uint32) length,
					 MAXALIGN(sizeof(XLogRecPtr)) + MAXALIGN(length));
	memcpy(rows, &lsn, sizeof(XLogRecPtr));
	rows += MAXALIGN(sizeof(XLogRecPtr));
	memset(rows, 0, DERIVE_TOPIC_TUPLE_OFFSET);
	memcpy(rows + DERIVE_TOPIC_TUPLE_OFFSET, content, size);
}

void
derive_events_commit(DeriveEventLog *log)
{
	if (!log->writing)
		return;
	if (log->nsummaries > 0)
	{
		Transaction *transaction = (Transaction *)
		derive_tape_reserve(log->index, TRANSACTION_SIZE(log->nsummaries));

		transaction->xid = log->xid;
		transaction->commit_lsn = log->commit_lsn;
		transaction->commit_time = log->commit_time;
		transaction->start = log->start;
		transaction->end = derive_tape_end(log->events);
		transaction->nsummaries = log->nsummaries;
		memcpy(transaction + 1, log->summaries, sizeof(Summary) * log->nsummaries);
	}
	log->writing = false;
}

void
derive_events_abandon(DeriveEventLog *log)
{
	if (!log->writing)
		return;
	derive_tape_truncate(log->events, log->start);
	log->writing = false;
}

/*
 * Marks
 */

void
derive_events_mark(DeriveEventLog *log, Oid relid, FullTransactionId xid)
{
	MemoryContext old = MemoryContextSwitchTo(log->cxt);
	Mark	   *mark = palloc0(sizeof(Mark));

	mark->relid = relid;
	mark->xid = xid;
	log->marks = lappend(log->marks, mark);
	log->version++;
	MemoryContextSwitchTo(old);
}

static void
free_mark(Mark *mark)
{
	if (mark->applied != NULL)
		pfree(mark->applied);
	pfree(mark);
}

static bool
concerns(Mark *mark, List *relids, const DerivePosition *from, const DerivePosition *to)
{
	if (!list_member_oid(relids, mark->relid))
		return false;
	if (FullTransactionIdIsValid(mark->xid))
		return derive_position_covers(to, mark->xid) && !derive_position_covers(from, mark->xid);

	return mark->applied == NULL || !derive_position_includes(from, mark->applied);
}

/* In log->cxt. */
static void
forget_marks(DeriveEventLog *log, const DerivePosition *covered, bool keep)
{
	ListCell   *lc;

	foreach(lc, log->marks)
	{
		Mark	   *mark = lfirst(lc);

		if (FullTransactionIdIsValid(mark->xid) ?
			!derive_position_covers(covered, mark->xid) : !mark->told)
			continue;
		if (!keep)
		{
			log->marks = foreach_delete_current(log->marks, lc);
			free_mark(mark);
		}
		else if (mark->told && mark->applied == NULL)
			mark->applied = derive_position_copy(covered);
	}
}

/*
 * Stepping through the index
 */

static void
open_scan(Scan *scan, DeriveEventLog *log, int64 start)
{
	derive_tape_open(&scan->index, log->index);
	scan->next = start;
	scan->end = derive_tape_end(log->index);
}

/* Valid until the next call. */
static const Transaction *
next_transaction(Scan *scan)
{
	const Transaction *transaction;
	Size		size;

	if (scan->next >= scan->end)
		return NULL;
	transaction = (const Transaction *) derive_tape_read(&scan->index, scan->next, sizeof(Transaction));
	size = TRANSACTION_SIZE(transaction->nsummaries);
	transaction = (const Transaction *) derive_tape_read(&scan->index, scan->next, size);
	scan->next += size;

	return transaction;
}

/* For a reader who is at this position. */
static void
open_scan_from(Scan *scan, DeriveEventLog *log, const DerivePosition *from)
{
	if (!derive_position_includes(from, log->forgotten))
		elog(ERROR, "events are wanted that were forgotten");
	open_scan(scan, log, derive_position_includes(from, log->applied) ? log->live : 0);
}

static inline bool
between(FullTransactionId xid, const DerivePosition *from, const DerivePosition *to)
{
	return derive_position_covers(to, xid) && !derive_position_covers(from, xid);
}

/*
 * Forgetting
 */

static void
remember(DeriveEventLog *log, DerivePosition **where, const DerivePosition *position)
{
	DerivePosition *before = *where;
	MemoryContext old = MemoryContextSwitchTo(log->cxt);

	*where = derive_position_copy(position);
	MemoryContextSwitchTo(old);
	if (before != NULL)
		pfree(before);
}

/* Let those who are at "applied" begin behind what they have. */
static void
skip_applied(DeriveEventLog *log)
{
	Scan		scan;
	const Transaction *transaction;

	open_scan(&scan, log, log->live);
	while ((transaction = next_transaction(&scan)) != NULL)
	{
		if (!derive_position_covers(log->applied, transaction->xid))
			break;
		log->live = scan.next;
	}
	derive_tape_close(&scan.index);
}

/* How much of the tapes is still of use? */
static void
measure(DeriveEventLog *log, int64 *events, int64 *index)
{
	Scan		scan;
	const Transaction *transaction;

	*events = *index = 0;
	open_scan(&scan, log, log->live);
	while ((transaction = next_transaction(&scan)) != NULL)
	{
		if (derive_position_covers(log->forgotten, transaction->xid))
			continue;
		*events += transaction->end - transaction->start;
		*index += TRANSACTION_SIZE(transaction->nsummaries);
	}
	derive_tape_close(&scan.index);
}

/* A transaction's events in one of the new tapes. */
static void
copy_events(DeriveTapeReader *reader, const Transaction *transaction, DeriveTape *events)
{
	int64		at = transaction->start;

	while (at < transaction->end)
	{
		const EventHeader *header = (const EventHeader *) derive_tape_read(reader, at, EVENT_HEADER_SIZE);
		Size		size = EVENT_HEADER_SIZE + MAXALIGN((Size) header->oldlen) +
		MAXALIGN((Size) header->newlen);

		header = (const EventHeader *) derive_tape_read(reader, at, size);
		memcpy(derive_tape_reserve(events, size), header, size);
		at += size;
	}
}

/* Copy what is of use; the events only if there is a tape for them. */
static void
copy_live(DeriveEventLog *log, DeriveTape *index, DeriveTape *events)
{
	Scan		scan;
	DeriveTapeReader reader;
	const Transaction *transaction;

	open_scan(&scan, log, log->live);
	derive_tape_open(&reader, log->events);
	while ((transaction = next_transaction(&scan)) != NULL)
	{
		Size		size = TRANSACTION_SIZE(transaction->nsummaries);
		Transaction *copy;

		if (derive_position_covers(log->forgotten, transaction->xid))
			continue;
		copy = (Transaction *) derive_tape_reserve(index, size);
		memcpy(copy, transaction, size);
		if (events == NULL)
			continue;
		copy->start = derive_tape_end(events);
		copy_events(&reader, transaction, events);
		copy->end = derive_tape_end(events);
	}
	derive_tape_close(&reader);
	derive_tape_close(&scan.index);
}

static void
empty(DeriveEventLog *log)
{
	log->live = 0;
	derive_tape_truncate(log->index, 0);
	derive_tape_truncate(log->events, 0);
	if (log->nlayouts >= MANY_LAYOUTS)
		forget_layouts(log);
}

/*
 * Give room back.  If that fails nothing has happened, but for new tapes that
 * live until the log is freed.
 */
static void
compact(DeriveEventLog *log)
{
	int64		events;
	int64		index;
	DeriveTape *new_events = NULL;
	DeriveTape *new_index;

	measure(log, &events, &index);
	if (index == 0)
	{
		empty(log);
		return;
	}
	if (derive_tape_end(log->index) <= Max(index * 2, LITTLE) &&
		derive_tape_end(log->events) <= Max(events * 2, LITTLE))
		return;

	if (derive_tape_end(log->events) > Max(events * 2, LITTLE))
		new_events = create_events(log);
	new_index = create_index(log);
	copy_live(log, new_index, new_events);

	derive_tape_free(log->index);
	log->index = new_index;
	log->live = 0;
	if (new_events != NULL)
	{
		derive_tape_free(log->events);
		log->events = new_events;
	}
}

void
derive_events_forget(DeriveEventLog *log, const DerivePosition *covered, bool keep)
{
	MemoryContext old;

	Assert(!log->writing);
	if (covered == NULL)
		return;

	log->version++;
	old = MemoryContextSwitchTo(log->cxt);
	forget_marks(log, covered, keep);
	MemoryContextSwitchTo(old);
	remember(log, &log->applied, covered);
	skip_applied(log);
	if (keep && !log->cleared)
		return;

	remember(log, &log->forgotten, covered);
	log->cleared = false;
	if (!keep)
		compact(log);
}

/* From where one may read then, the next derive_events_forget() will say. */
void
derive_events_applied(DeriveEventLog *log, bool everything)
{
	ListCell   *lc;

	Assert(!log->writing);
	log->version++;
	foreach(lc, log->marks)
	{
		Mark	   *mark = lfirst(lc);

		if (!FullTransactionIdIsValid(mark->xid))
			mark->told = true;
		if (everything)
			free_mark(mark);
	}
	if (!everything)
		return;

	list_free(log->marks);
	log->marks = NIL;
	log->cleared = true;
	empty(log);
}

/*
 * Reading
 */

/* Which layouts are of these relations? */
static bool *
wanted_layouts(DeriveEventLog *log, List *relids)
{
	bool	   *wanted = palloc(sizeof(bool) * Max(log->nlayouts, 1));
	int			n = list_length(relids);
	Oid		   *sorted = palloc(sizeof(Oid) * Max(n, 1));
	ListCell   *lc;

	foreach(lc, relids)
		sorted[foreach_current_index(lc)] = lfirst_oid(lc);
	qsort(sorted, n, sizeof(Oid), oid_cmp);
	for (int i = 0; i < log->nlayouts; i++)
		wanted[i] = bsearch(&log->layouts[i].relid, sorted, n, sizeof(Oid), oid_cmp) != NULL;
	pfree(sorted);

	return wanted;
}

int64
derive_events_count(DeriveEventLog *log, List *relids,
					const DerivePosition *from, const DerivePosition *to,
					bool *unknown, bool *truncated)
{
	bool	   *wanted = wanted_layouts(log, relids);
	int64		count = 0;
	Scan		scan;
	const Transaction *transaction;
	ListCell   *lc;

	foreach(lc, log->marks)
	{
		if (!concerns(lfirst(lc), relids, from, to))
			continue;
		*unknown = true;
		count++;
	}

	open_scan_from(&scan, log, from);
	while ((transaction = next_transaction(&scan)) != NULL)
	{
		if (!between(transaction->xid, from, to))
			continue;
		for (int i = 0; i < transaction->nsummaries; i++)
		{
			const Summary *summary = &SUMMARIES(transaction)[i];

			if (!wanted[summary->layout])
				continue;
			count += summary->nevents;
			*unknown |= summary->unknown;
			*truncated |= summary->truncated;
		}
	}
	derive_tape_close(&scan.index);
	pfree(wanted);

	return count;
}

List *
derive_events_relations(DeriveEventLog *log, const DerivePosition *from, const DerivePosition *to)
{
	List	   *result = NIL;
	bool	   *found;
	Scan		scan;
	const Transaction *transaction;
	ListCell   *lc;

	foreach(lc, log->marks)
	{
		Mark	   *mark = lfirst(lc);

		if (concerns(mark, list_make1_oid(mark->relid), from, to))
			result = lappend_oid(result, mark->relid);
	}
	if (derive_tape_end(log->index) == 0)
		return result;

	found = palloc0(sizeof(bool) * Max(log->nlayouts, 1));
	open_scan_from(&scan, log, from);
	while ((transaction = next_transaction(&scan)) != NULL)
	{
		for (int i = 0; between(transaction->xid, from, to) && i < transaction->nsummaries; i++)
			found[SUMMARIES(transaction)[i].layout] = true;
	}
	derive_tape_close(&scan.index);
	for (int i = 0; i < log->nlayouts; i++)
	{
		if (found[i])
			result = lappend_oid(result, log->layouts[i].relid);
	}
	pfree(found);

	return result;
}

DeriveEventReader *
derive_events_read(DeriveEventLog *log, List *relids,
				   const DerivePosition *from, const DerivePosition *to)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive event reader",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveEventReader *reader = palloc0(sizeof(DeriveEventReader));
	ListCell   *lc;

	Assert(!log->writing);
	reader->cxt = cxt;
	reader->log = log;
	reader->version = log->version;
	reader->from = from;
	reader->to = to;
	reader->wanted = wanted_layouts(log, relids);
	foreach(lc, log->marks)
	{
		if (concerns(lfirst(lc), relids, from, to))
			reader->marks = lappend(reader->marks, lfirst(lc));
	}
	open_scan_from(&reader->scan, log, from);
	derive_tape_open(&reader->events, log->events);
	MemoryContextSwitchTo(old);

	return reader;
}

void
derive_events_end(DeriveEventReader *reader)
{
	MemoryContextDelete(reader->cxt);
}

/* Step to the next transaction with events that are wanted. */
static bool
step(DeriveEventReader *reader)
{
	const Transaction *transaction;

	while ((transaction = next_transaction(&reader->scan)) != NULL)
	{
		bool		any = false;

		if (!between(transaction->xid, reader->from, reader->to))
			continue;
		reader->all_wanted = true;
		for (int i = 0; i < transaction->nsummaries; i++)
		{
			if (reader->wanted[SUMMARIES(transaction)[i].layout])
				any = true;
			else
				reader->all_wanted = false;
		}
		if (!any)
			continue;
		reader->transaction = *transaction;
		reader->next = transaction->start;
		return true;
	}

	return false;
}

static HeapTuple
set_tuple(HeapTuple tuple, const char *data, uint32 length, Oid relid)
{
	tuple->t_len = length;
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = relid;
	tuple->t_data = (HeapTupleHeader) unconstify(char *, data);

	return tuple;
}

static void
set_event(DeriveEventReader *reader, const EventHeader *header, DeriveEvent *event)
{
	Layout	   *layout = &reader->log->layouts[header->layout];
	const char *rows = (const char *) header + EVENT_HEADER_SIZE;
	const char *newrow = rows + MAXALIGN((Size) header->oldlen);

	event->kind = (DeriveEventKind) header->kind;
	event->relid = layout->relid;
	event->desc = layout->desc;
	event->oldtuple = event->newtuple = NULL;
	event->lsn = InvalidXLogRecPtr;
	event->xid = reader->transaction.xid;
	event->commit_lsn = reader->transaction.commit_lsn;
	event->commit_time = reader->transaction.commit_time;

	if (event->kind == DERIVE_EVENT_MESSAGE)
		memcpy(&event->lsn, rows, sizeof(XLogRecPtr));
	else if (header->oldlen > 0)
		event->oldtuple = set_tuple(&reader->oldtuple, rows, header->oldlen, layout->relid);
	if (header->newlen > 0)
		event->newtuple = set_tuple(&reader->newtuple, newrow, header->newlen, layout->relid);
}

bool
derive_events_next(DeriveEventReader *reader, DeriveEvent *event)
{
	if (reader->version != reader->log->version)
		elog(ERROR, "the event log was written while it is read");

	if (reader->nmarks < list_length(reader->marks))
	{
		Mark	   *mark = list_nth(reader->marks, reader->nmarks++);

		memset(event, 0, sizeof(DeriveEvent));
		event->kind = DERIVE_EVENT_UNKNOWN;
		event->relid = mark->relid;
		event->xid = mark->xid;
		return true;
	}

	for (;;)
	{
		const EventHeader *header;
		int64		at;
		Size		size;

		if (reader->next >= reader->transaction.end && !step(reader))
			return false;

		at = reader->next;
		header = (const EventHeader *) derive_tape_read(&reader->events, at, EVENT_HEADER_SIZE);
		size = EVENT_HEADER_SIZE + MAXALIGN((Size) header->oldlen) + MAXALIGN((Size) header->newlen);
		reader->next += size;
		if (!reader->all_wanted && !reader->wanted[header->layout])
			continue;
		header = (const EventHeader *) derive_tape_read(&reader->events, at, size);
		set_event(reader, header, event);
		return true;
	}
}
