/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  The derivation "topic": events that derive.append() wrote to the log, kept
 *	  as rows.
 *
 * The first columns of a topic are filled in here: event_id, a number that counts
 * the events in the order in which they come; event_lsn, where the event is in
 * the log; event_time, when its transaction committed.  The others are the
 * event's.
 *
 * Retention.  Events leave in the order of their numbers, so removing is a walk
 * from the oldest one on, as far as the age, the number of rows or their size
 * demand.  Each batch removes at most a few more events than it brings, and
 * expire() a bounded number, so no batch ever has to remove all at once.
 *
 * Compaction keeps only the newest event of each key.  A state table knows it,
 * and the older one goes in the batch that brings the newer one.  Those that come
 * and go within a batch are never written (pending.h).
 *
 * Counters.  Another state table has one row: the number of the last event,
 * which must never be given again although its row may be gone, the oldest one
 * that can still be there, and how many rows and bytes there are.  The bytes are
 * those of the values as they were appended, so that what a row counts when it
 * goes is what it counted when it came, compressed or not.
 *
 * A lost log loses the events that were in it; resync() keeps what is there, and then
 * leaves out a number, by which everybody who reads the topic or follows it can tell:
 *
 *		event_id	1	2	[log lost]	4	5
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "derivations/pending.h"
#include "derivations/support.h"
#include "miscadmin.h"
#include "pg_derive/derivation.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(derive_topic_handler);

#define EVENT_ID	1
#define EVENT_LSN	2
#define EVENT_TIME	3
#define METADATA	3

/* Events that expire() looks at, and a batch beyond twice those that it brings. */
#define EXPIRE_EVENTS	50000
#define EXTRA_EVENTS	100

typedef struct Topic
{
	/* the declaration */
	bool		compact;
	int64		max_rows;		/* -1: no limit */
	int64		max_bytes;		/* -1: no limit */
	Interval   *max_age;		/* or NULL */
	AttrNumber *keys;

	/* numbers of the state tables */
	int			counters;
	int			newest;			/* key -> its newest event; if compact */

	/* the row of "counters" */
	bool		loaded;
	int64		last_id;
	int64		first_id;
	int64		rows;
	int64		bytes;

	DerivePending *pending;		/* events of a batch; if compact */
	Datum	   *values;			/* scratch */
	bool	   *nulls;
} Topic;


/* -------------------------------------------------------------------------
 * Declaring
 * -------------------------------------------------------------------------
 */

static void
check_columns(DeriveContext *context)
{
	static const Oid types[METADATA] = {INT8OID, LSNOID, TIMESTAMPTZOID};
	bool		good = context->desc->natts > METADATA;

	for (int i = 0; good && i < METADATA; i++)
		good = TupleDescAttr(context->desc, i)->atttypid == types[i];
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("a topic must have the columns event_id bigint, event_lsn pg_lsn, event_time timestamptz, and then those of its events"),
				 errhint("Use derive.create_topic().")));
	if (context->nsources > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a topic has no sources")));
}

static int64
limit_option(DeriveContext *context, const char *name, bool size)
{
	bool		isnull;
	Datum		value = context->option(context, name, size ? TEXTOID : INT8OID, NULL, &isnull);
	int64		limit;

	if (isnull)
		return -1;
	limit = size ? DatumGetInt64(DirectFunctionCall1(pg_size_bytes, value)) : DatumGetInt64(value);
	if (limit < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be greater than zero", name)));
	return limit;
}

static void
read_options(DeriveContext *context, Topic *topic)
{
	bool		isnull;
	Datum		value;

	topic->compact = DatumGetBool(context->option(context, "compact", BOOLOID, "false", NULL));
	topic->max_rows = limit_option(context, "retention_rows", false);
	topic->max_bytes = limit_option(context, "retention_size", true);
	value = context->option(context, "retention_age", INTERVALOID, NULL, &isnull);
	if (!isnull)
	{
		Interval	zero = {0};

		topic->max_age = DatumGetIntervalP(value);
		if (!DatumGetBool(DirectFunctionCall2(interval_gt, value, IntervalPGetDatum(&zero))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" must be greater than zero", "retention_age")));
	}
}

static void
read_keys(DeriveContext *context, Topic *topic)
{
	if (topic->compact && context->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" needs a key", "compact"),
				 errhint("Name the columns of which only the newest event is kept.")));
	if (!topic->compact && context->nkeys > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key of a topic has no meaning without the option \"%s\"", "compact")));

	topic->keys = palloc(sizeof(AttrNumber) * (context->nkeys + 1));
	for (int i = 0; i < context->nkeys; i++)
	{
		topic->keys[i] = context->view_column(context, context->keys[i], InvalidOid);
		if (topic->keys[i] <= METADATA)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot be in the key of a topic", context->keys[i]),
					 errdetail("It is given to each event when it comes.")));
	}
}

static TupleDesc
counters_desc(void)
{
	static const char *const names[] = {"id", "last_id", "first_id", "rows", "bytes"};
	TupleDesc	desc = CreateTemplateTupleDesc(lengthof(names));

	for (int i = 0; i < lengthof(names); i++)
		TupleDescInitEntry(desc, i + 1, names[i], INT8OID, -1, 0);
	return desc;
}

static void
topic_declare(DeriveContext *context)
{
	MemoryContext old = MemoryContextSwitchTo(context->memory);
	Topic	   *topic = palloc0(sizeof(Topic));
	AttrNumber	event_id = EVENT_ID;

	check_columns(context);
	read_options(context, topic);
	read_keys(context, topic);
	context->set_key(context, 1, &event_id, true);
	topic->counters = context->declare_state(context, counters_desc(), 1);
	if (topic->compact)
		topic->newest = context->declare_state(context, derive_support_keyed_number(context->desc, context->nkeys, topic->keys, "newest_event_id"), context->nkeys);
	topic->values = palloc(sizeof(Datum) * (context->desc->natts + 1));
	topic->nulls = palloc(sizeof(bool) * (context->desc->natts + 1));
	context->private = topic;
	MemoryContextSwitchTo(old);
}

static void
topic_begin(DeriveContext *context)
{
	((Topic *) context->private)->loaded = false;
}


/* -------------------------------------------------------------------------
 * Counters
 * -------------------------------------------------------------------------
 */

static int64
int8_column(TupleTableSlot *slot, AttrNumber column)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(slot, column, &isnull));
}

static int64 row_bytes(TupleDesc desc, const Datum *values, const bool *nulls);
static void take_key(DeriveContext *context, Topic *topic, TupleTableSlot *event);

static void
count_event(void *arg, TupleTableSlot *event)
{
	DeriveContext *context = arg;
	Topic	   *topic = context->private;
	int64		id = int8_column(event, EVENT_ID);

	slot_getallattrs(event);
	topic->first_id = topic->rows == 0 ? id : Min(topic->first_id, id);
	topic->last_id = Max(topic->last_id, id);
	topic->rows++;
	topic->bytes += row_bytes(context->desc, event->tts_values, event->tts_isnull);
	if (!topic->compact)
		return;
	take_key(context, topic, event);
	topic->values[context->nkeys] = Int64GetDatum(id);
	topic->nulls[context->nkeys] = false;
	context->put(context, topic->newest, topic->values, topic->nulls);
}

static void
collect_row(void *arg, TupleTableSlot *row)
{
	tuplestore_puttupleslot((Tuplestorestate *) arg, row);
}

/* No key has a newest event any more. */
static void
forget_newest(DeriveContext *context, Topic *topic)
{
	TupleDesc	desc = derive_support_keyed_number(context->desc, context->nkeys, topic->keys, "newest_event_id");
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	context->read_table(context, topic->newest, collect_row, rows);
	while (tuplestore_gettupleslot(rows, true, false, row))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		(void) context->remove(context, topic->newest, row->tts_values, row->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(row);
	tuplestore_end(rows);
}

/*
 * What the state tables say, or, after derive.release(), the events that there
 * are.  Numbers of events that are lost are not given again.
 */
static void
load_counters(DeriveContext *context, Topic *topic)
{
	Datum		id = Int64GetDatum(1);
	bool		isnull = false;
	TupleTableSlot *row;

	if (topic->loaded)
		return;
	row = context->get(context, topic->counters, &id, &isnull);
	topic->last_id = row ? int8_column(row, 2) : 0;
	topic->first_id = row ? int8_column(row, 3) : 1;
	topic->rows = row ? int8_column(row, 4) : 0;
	topic->bytes = row ? int8_column(row, 5) : 0;
	if (context->emptied)
	{
		topic->first_id = topic->last_id + 1;
		topic->rows = topic->bytes = 0;
		if (topic->compact)
			forget_newest(context, topic);
	}
	else if (row == NULL)
		context->read_table(context, DERIVE_VIEW, count_event, context);
	topic->loaded = true;
}

static void
store_counters(DeriveContext *context, Topic *topic)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = Int64GetDatum(1);
	values[1] = Int64GetDatum(topic->last_id);
	values[2] = Int64GetDatum(topic->first_id);
	values[3] = Int64GetDatum(topic->rows);
	values[4] = Int64GetDatum(topic->bytes);
	context->put(context, topic->counters, values, nulls);
}

/* What a row counts: the same for the same values, however they are stored. */
static int64
row_bytes(TupleDesc desc, const Datum *values, const bool *nulls)
{
	int64		bytes = MAXALIGN(SizeofHeapTupleHeader);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (nulls[i])
			continue;
		if (att->attlen == -1)
			bytes += toast_raw_datum_size(values[i]);
		else if (att->attlen == -2)
			bytes += strlen(DatumGetCString(values[i])) + 1;
		else
			bytes += att->attlen;
	}
	return bytes;
}


/* -------------------------------------------------------------------------
 * Events come and go
 * -------------------------------------------------------------------------
 */

static TupleTableSlot *
get_event(DeriveContext *context, int64 id)
{
	Datum		key = Int64GetDatum(id);
	bool		isnull = false;

	return context->get(context, DERIVE_VIEW, &key, &isnull);
}

/* Remove the event that get_event() returned. */
static void
remove_event(DeriveContext *context, Topic *topic, TupleTableSlot *row)
{
	slot_getallattrs(row);
	topic->rows--;
	topic->bytes -= row_bytes(context->desc, row->tts_values, row->tts_isnull);
	context->replace(context, DERIVE_VIEW, NULL, NULL);
}

/* The key columns of an event, in topic->values. */
static void
take_key(DeriveContext *context, Topic *topic, TupleTableSlot *row)
{
	for (int i = 0; i < context->nkeys; i++)
		topic->values[i] = slot_getattr(row, topic->keys[i], &topic->nulls[i]);
}

/* The event becomes the newest of its key, the one before it goes. */
static void
compact(DeriveContext *context, Topic *topic, TupleTableSlot *event)
{
	TupleTableSlot *row;

	take_key(context, topic, event);
	row = context->get(context, topic->newest, topic->values, topic->nulls);
	if (row)
	{
		TupleTableSlot *older = get_event(context, int8_column(row, context->nkeys + 1));

		if (older == NULL)
			elog(ERROR, "the newest event of a key is missing");
		remove_event(context, topic, older);
	}
	topic->values[context->nkeys] = Int64GetDatum(int8_column(event, EVENT_ID));
	topic->nulls[context->nkeys] = false;
	context->put(context, topic->newest, topic->values, topic->nulls);
}

/* Write the events that are still the newest of their keys. */
static void
write_pending(DeriveContext *context, Topic *topic)
{
	DerivePendingRow *row;

	while ((row = derive_pending_first(topic->pending)) != NULL)
	{
		TupleTableSlot *event = derive_pending_slot(topic->pending, row);

		CHECK_FOR_INTERRUPTS();
		compact(context, topic, event);
		slot_getallattrs(event);
		context->insert(context, DERIVE_VIEW, event->tts_values, event->tts_isnull);
		derive_pending_remove(topic->pending, row);
	}
}

/* Take out the event of this key that is waiting to be written, if there is one. */
static void
forget_pending(DeriveContext *context, Topic *topic, TupleTableSlot *newer)
{
	DerivePendingRow *row;
	TupleTableSlot *event;

	if (derive_pending_full(topic->pending))
		write_pending(context, topic);
	take_key(context, topic, newer);
	row = derive_pending_find(topic->pending, topic->values, topic->nulls);
	if (row == NULL)
		return;
	event = derive_pending_slot(topic->pending, row);
	slot_getallattrs(event);
	topic->rows--;
	topic->bytes -= row_bytes(context->desc, event->tts_values, event->tts_isnull);
	derive_pending_remove(topic->pending, row);
}

static void
add_event(DeriveContext *context, Topic *topic, DeriveChange *change)
{
	TupleDesc	desc = context->desc;

	if (topic->compact)
		forget_pending(context, topic, change->newrow);

	slot_getallattrs(change->newrow);
	memcpy(topic->values, change->newrow->tts_values, sizeof(Datum) * desc->natts);
	memcpy(topic->nulls, change->newrow->tts_isnull, sizeof(bool) * desc->natts);
	topic->values[EVENT_ID - 1] = Int64GetDatum(++topic->last_id);
	topic->values[EVENT_LSN - 1] = LSNGetDatum(change->lsn);
	topic->values[EVENT_TIME - 1] = TimestampTzGetDatum(change->commit_time);
	memset(topic->nulls, false, sizeof(bool) * METADATA);
	topic->rows++;
	topic->bytes += row_bytes(desc, topic->values, topic->nulls);
	if (topic->compact)
		derive_pending_add(topic->pending, topic->values, topic->nulls);
	else
		context->insert(context, DERIVE_VIEW, topic->values, topic->nulls);
}

/* Must the oldest event go? */
static bool
must_go(Topic *topic, TupleTableSlot *row, TimestampTz oldest)
{
	bool		isnull;

	if (topic->max_rows >= 0 && topic->rows > topic->max_rows)
		return true;
	if (topic->max_bytes >= 0 && topic->bytes > topic->max_bytes)
		return true;
	return topic->max_age != NULL &&
		DatumGetTimestampTz(slot_getattr(row, EVENT_TIME, &isnull)) < oldest;
}

/* Remove events from the oldest one on, looking at some at most. */
static void
enforce_retention(DeriveContext *context, Topic *topic, int64 some)
{
	TimestampTz oldest = 0;

	if (topic->max_age)
		oldest = derive_support_before(context->time, topic->max_age);
	if (topic->max_age == NULL && topic->max_rows < 0 && topic->max_bytes < 0)
		return;
	for (; some > 0 && topic->first_id <= topic->last_id; some--, topic->first_id++)
	{
		TupleTableSlot *row = get_event(context, topic->first_id);

		if (row == NULL)		/* compacted */
			continue;
		if (!must_go(topic, row, oldest))
			break;
		if (topic->compact)
		{
			take_key(context, topic, row);
			context->remove(context, topic->newest, topic->values, topic->nulls);
		}
		remove_event(context, topic, row);
	}
}

static void
topic_apply(DeriveContext *context)
{
	Topic	   *topic = context->private;
	DeriveChange change;
	int64		added = 0;

	if (topic->compact)
		topic->pending = derive_pending_create(context->desc, context->nkeys, topic->keys);
	while (context->next_change(context, &change))
	{
		if (change.operation != DERIVE_APPENDED)
			elog(ERROR, "unexpected change of a topic: %c", (char) change.operation);
		load_counters(context, topic);
		add_event(context, topic, &change);
		added++;
	}
	if (topic->compact)
	{
		write_pending(context, topic);
		derive_pending_free(topic->pending);
	}
	if (added == 0)
		return;
	enforce_retention(context, topic, added * 2 + EXTRA_EVENTS);
	store_counters(context, topic);
}

static void
topic_expire(DeriveContext *context)
{
	Topic	   *topic = context->private;
	int64		first_id;

	load_counters(context, topic);
	first_id = topic->first_id;
	enforce_retention(context, topic, EXPIRE_EVENTS);
	if (topic->first_id != first_id)
		store_counters(context, topic);
}

/* The events that were in the lost part of the log are nowhere else. */
static void
topic_resync(DeriveContext *context)
{
	Topic	   *topic = context->private;

	load_counters(context, topic);
	if (topic->last_id > 0 && context->log_lost)
		topic->last_id++;
	store_counters(context, topic);
}

static void
topic_explain(DeriveContext *context, StringInfo text)
{
	Topic	   *topic = context->private;

	if (topic->compact)
		appendStringInfoString(text, "the newest event of each key is kept\n");
	if (topic->max_age)
		appendStringInfo(text, "events are kept for %s\n",
						 DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(topic->max_age))));
	if (topic->max_rows >= 0)
		appendStringInfo(text, "the newest " INT64_FORMAT " events are kept\n", topic->max_rows);
	if (topic->max_bytes >= 0)
		appendStringInfo(text, "the newest events of " INT64_FORMAT " bytes are kept\n", topic->max_bytes);
	if (!topic->compact && !topic->max_age && topic->max_rows < 0 && topic->max_bytes < 0)
		appendStringInfoString(text, "all events are kept\n");
}

static const DeriveRoutine topic_routine = {
	.api_version = DERIVE_API_VERSION,
	.flags = DERIVE_WITHOUT_SOURCES,
	.declare = topic_declare,
	.begin = topic_begin,
	.apply = topic_apply,
	.resync = topic_resync,
	.expire = topic_expire,
	.explain = topic_explain,
};

Datum
derive_topic_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&topic_routine);
}
