/*-------------------------------------------------------------------------
 *
 * history.c
 *	  The derivation "history": every version that each row of a source has had,
 *	  and the transactions that made and ended it.
 *
 * A version is a row of the view: the source's columns, and then those of
 * DeriveHistoryColumn.  It is open (until_lsn NULL) while it is the present
 * state of a row of the source.  INSERT begins a version, DELETE and TRUNCATE
 * end one, UPDATE does both.  Versions that were made and ended in one
 * transaction are kept, too; no moment sees them.
 *
 * Finding the open version of a row: by the source's primary key, or where
 * there is none that is checked at once, by the whole row, of which there may
 * be several equal ones; then one of them is as good as the other.
 *
 * Versions that a batch begins are written when they end, or at the end of the
 * batch: until then they are found in memory (pending.h).
 *
 * Moments.  A version is seen at a place in the log, or a time, if that is in
 * [lsn, until_lsn), or [committed_at, until).  So for each row these must
 * never run backwards.  Clocks do; and a transaction which committed a moment
 * before another may come after it.  So times are corrected to be never
 * earlier than one that was used before, and a version never ends before it
 * began.
 *
 * The rows that are there when the history is built have the operation
 * "initial"; nobody knows who made them.  What happened while changes were lost
 * is put right by comparing the open versions with the source, and marked by
 * the operation "resync", at the place where that was done.
 *
 * TRUNCATE of one partition says that some of the source's rows are gone, not
 * which: the same comparison finds out, at the end of the batch.
 *
 * Retention.  expire() goes around the view's pages, as many as it can look at
 * in a short time, and removes ended versions that are too old; so no index is
 * needed.  The horizon remembers what was removed: before it the history is
 * incomplete.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "base/elapsed.h"
#include "catalog/pg_type.h"
#include "derivations/history_internal.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg_derive/derivation.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(derive_history_handler);

/* expire() works in steps of so many pages until so many ms have passed. */
#define EXPIRE_PAGES	512
#define EXPIRE_MS		200

static void
history_begin(DeriveContext *context)
{
	((History *) context->private)->loaded = false;
}


/* -------------------------------------------------------------------------
 * State
 * -------------------------------------------------------------------------
 */

static void remember_newest(DeriveContext *context, History *history, const Datum *values, const bool *nulls);

static void
count_version(void *arg, TupleTableSlot *row)
{
	DeriveContext *context = arg;
	History    *history = context->private;
	Datum	   *values;
	int			until = INDEX(history, HISTORY_UNTIL);
	TimestampTz latest = DatumGetTimestampTz(history->state[HISTORY_STATE_LATEST]);

	slot_getallattrs(row);
	values = row->tts_values;
	latest = Max(latest, DatumGetTimestampTz(values[INDEX(history, HISTORY_COMMITTED_AT)]));
	if (!row->tts_isnull[until])
		latest = Max(latest, DatumGetTimestampTz(values[until]));
	history->state[HISTORY_STATE_LATEST] = TimestampTzGetDatum(latest);
	history->state[HISTORY_STATE_LAST_VERSION] =
		Int64GetDatum(Max(DatumGetInt64(history->state[HISTORY_STATE_LAST_VERSION]),
						  DatumGetInt64(values[INDEX(history, HISTORY_VERSION)])));
	if (history->compact)
		remember_newest(context, history, values, row->tts_isnull);
}

/*
 * Without a state table's row, or without versions, the history begins here.  After derive.release()
 * it has versions from before, which stay; but what happened since then is not
 * known, so as_of() does not go back behind this point.
 */
static void
load_state(DeriveContext *context, History *history)
{
	Datum		id = Int64GetDatum(1);
	bool		isnull = false;
	TupleTableSlot *row;

	if (history->loaded)
		return;
	row = context->get(context, HISTORY_STATE, &id, &isnull);
	history->state[HISTORY_STATE_LAST_VERSION] = Int64GetDatum(0);
	if (row)
	{
		slot_getallattrs(row);	/* all of them are passed by value */
		memcpy(history->state, row->tts_values, sizeof(history->state));
	}
	if (row == NULL || context->emptied)
	{
		history->state[HISTORY_STATE_ID] = id;
		history->state[HISTORY_STATE_BEGAN_LSN] = LSNGetDatum(context->lsn);
		history->state[HISTORY_STATE_BEGAN] = TimestampTzGetDatum(context->time);
		history->state[HISTORY_STATE_HORIZON_LSN] = LSNGetDatum(context->lsn);
		history->state[HISTORY_STATE_HORIZON] = TimestampTzGetDatum(context->time);
		history->state[HISTORY_STATE_LATEST] = TimestampTzGetDatum(context->time);
		history->state[HISTORY_STATE_KNOWN_LSN] = LSNGetDatum(InvalidXLogRecPtr);
		history->state[HISTORY_STATE_GAP_LSN] = LSNGetDatum(InvalidXLogRecPtr);
		history->state[HISTORY_STATE_GAP] = TimestampTzGetDatum(0);
		history->state[HISTORY_STATE_GAP_END_LSN] = LSNGetDatum(InvalidXLogRecPtr);
		history->state[HISTORY_STATE_GAP_END] = TimestampTzGetDatum(0);
		context->read_table(context, DERIVE_VIEW, count_version, context);
	}
	history->loaded = true;
}

static void
store_state(DeriveContext *context, History *history)
{
	bool		nulls[HISTORY_STATE_NCOLUMNS] = {false};

	context->put(context, HISTORY_STATE, history->state, nulls);
}

static void
raise_lsn(History *history, DeriveHistoryState column, XLogRecPtr lsn)
{
	history->state[column] = LSNGetDatum(Max(DatumGetLSN(history->state[column]), lsn));
}

static void
raise_time(History *history, DeriveHistoryState column, TimestampTz time)
{
	history->state[column] = TimestampTzGetDatum(Max(DatumGetTimestampTz(history->state[column]), time));
}

/*
 * It is not known what happened in between.  One gap is remembered; if there
 * was one before, the history is good from its end on only.
 */
static void
add_gap(History *history, XLogRecPtr from_lsn, TimestampTz from, XLogRecPtr to_lsn, TimestampTz to)
{
	XLogRecPtr	end_lsn = DatumGetLSN(history->state[HISTORY_STATE_GAP_END_LSN]);

	if (end_lsn == InvalidXLogRecPtr || end_lsn < from_lsn)
	{
		raise_lsn(history, HISTORY_STATE_HORIZON_LSN, end_lsn);
		raise_time(history, HISTORY_STATE_HORIZON, DatumGetTimestampTz(history->state[HISTORY_STATE_GAP_END]));
		history->state[HISTORY_STATE_GAP_LSN] = LSNGetDatum(from_lsn);
		history->state[HISTORY_STATE_GAP] = TimestampTzGetDatum(from);
	}
	else
	{
		/* they meet */
		history->state[HISTORY_STATE_GAP_LSN] =
			LSNGetDatum(Min(DatumGetLSN(history->state[HISTORY_STATE_GAP_LSN]), from_lsn));
		history->state[HISTORY_STATE_GAP] =
			TimestampTzGetDatum(Min(DatumGetTimestampTz(history->state[HISTORY_STATE_GAP]), from));
	}
	raise_lsn(history, HISTORY_STATE_GAP_END_LSN, to_lsn);
	raise_time(history, HISTORY_STATE_GAP_END, to);
}

/* A cause, with the time corrected. */
static Cause
make_cause(History *history, const char *operation, FullTransactionId xid, XLogRecPtr lsn, TimestampTz time)
{
	Cause		cause;

	cause.operation = operation;
	cause.xid = xid;
	cause.lsn = lsn;
	cause.time = Max(time, DatumGetTimestampTz(history->state[HISTORY_STATE_LATEST]));
	history->state[HISTORY_STATE_LATEST] = TimestampTzGetDatum(cause.time);
	return cause;
}

static Cause
cause_of(History *history, const DeriveChange *change, const char *operation)
{
	return make_cause(history, operation, change->xid, change->commit_lsn, change->commit_time);
}


/* -------------------------------------------------------------------------
 * Versions
 * -------------------------------------------------------------------------
 */

/* By what the open version of a row, of the source or of the view, is found: in history->key. */
static void
take_key(History *history, TupleTableSlot *row, bool of_view)
{
	for (int i = 0; i < history->nlocate; i++)
	{
		AttrNumber	column = history->locate[i];

		history->key[i] = slot_getattr(row, of_view ? column : history->from[column - 1], &history->key_nulls[i]);
	}
	history->key[history->nlocate] = (Datum) 0;
	history->key_nulls[history->nlocate] = true;
}

/* The open version of a row that is written, or NULL. */
TupleTableSlot *
derive_history_find_open(DeriveContext *context, History *history, TupleTableSlot *row, bool of_view)
{
	take_key(history, row, of_view);
	return context->get(context, DERIVE_VIEW, history->key, history->key_nulls);
}

/* Remember the version if it is the newest one of its key. */
static void
remember_newest(DeriveContext *context, History *history, const Datum *values, const bool *nulls)
{
	Datum		version = values[INDEX(history, HISTORY_VERSION)];
	TupleTableSlot *newest;
	bool		isnull;

	for (int i = 0; i < history->nkeys; i++)
	{
		history->key[i] = values[history->keys[i] - 1];
		history->key_nulls[i] = nulls[history->keys[i] - 1];
	}
	newest = context->get(context, history->newest, history->key, history->key_nulls);
	if (newest != NULL &&
		DatumGetInt64(slot_getattr(newest, history->nkeys + 1, &isnull)) > DatumGetInt64(version))
		return;
	history->key[history->nkeys] = version;
	history->key_nulls[history->nkeys] = false;
	context->put(context, history->newest, history->key, history->key_nulls);
}

/* Write a version that has not been written yet. */
static void
write_version(DeriveContext *context, History *history, const Datum *values, const bool *nulls)
{
	context->insert(context, DERIVE_VIEW, values, nulls);
	if (history->compact)
		remember_newest(context, history, values, nulls);
}

/* Write all open versions. */
static void
write_pending(DeriveContext *context, History *history)
{
	DerivePendingRow *row;

	while (history->pending && (row = derive_pending_first(history->pending)) != NULL)
	{
		TupleTableSlot *slot = derive_pending_slot(history->pending, row);

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		write_version(context, history, slot->tts_values, slot->tts_isnull);
		derive_pending_remove(history->pending, row);
	}
}

/*
 * Begin a version of a row (of the source, or of the view), after the end of
 * the one before, if there was one.
 */
void
derive_history_begin_version(DeriveContext *context, History *history, TupleTableSlot *row, bool of_view,
							 const Cause *cause, XLogRecPtr after)
{
	Datum	   *values = history->values;
	bool	   *nulls = history->nulls;
	int64		version = DatumGetInt64(history->state[HISTORY_STATE_LAST_VERSION]) + 1;

	for (int i = 0; i < history->ncolumns; i++)
		values[i] = slot_getattr(row, of_view ? i + 1 : history->from[i], &nulls[i]);
	memset(nulls + history->ncolumns, true, sizeof(bool) * HISTORY_NCOLUMNS);

	history->state[HISTORY_STATE_LAST_VERSION] = Int64GetDatum(version);
	values[INDEX(history, HISTORY_VERSION)] = Int64GetDatum(version);
	nulls[INDEX(history, HISTORY_VERSION)] = false;
	values[INDEX(history, HISTORY_OPERATION)] = CStringGetTextDatum(cause->operation);
	nulls[INDEX(history, HISTORY_OPERATION)] = false;
	values[INDEX(history, HISTORY_XID)] = FullTransactionIdGetDatum(cause->xid);
	nulls[INDEX(history, HISTORY_XID)] = !FullTransactionIdIsValid(cause->xid);
	values[INDEX(history, HISTORY_LSN)] = LSNGetDatum(Max(cause->lsn, after));
	nulls[INDEX(history, HISTORY_LSN)] = false;
	values[INDEX(history, HISTORY_COMMITTED_AT)] = TimestampTzGetDatum(cause->time);
	nulls[INDEX(history, HISTORY_COMMITTED_AT)] = false;
	if (history->pending)
		derive_pending_add(history->pending, values, nulls);
	else
		write_version(context, history, values, nulls);
	pfree(DatumGetPointer(values[INDEX(history, HISTORY_OPERATION)]));
}

/* A version as it ends, in history->values; returns where that is. */
static XLogRecPtr
take_ended(DeriveContext *context, History *history, TupleTableSlot *version, const Cause *cause)
{
	Datum	   *values = history->values;
	bool	   *nulls = history->nulls;
	XLogRecPtr	until;

	slot_getallattrs(version);
	memcpy(values, version->tts_values, sizeof(Datum) * context->desc->natts);
	memcpy(nulls, version->tts_isnull, sizeof(bool) * context->desc->natts);

	until = Max(cause->lsn, DatumGetLSN(values[INDEX(history, HISTORY_LSN)]));
	values[INDEX(history, HISTORY_ENDED_BY)] = CStringGetTextDatum(cause->operation);
	values[INDEX(history, HISTORY_UNTIL_XID)] = FullTransactionIdGetDatum(cause->xid);
	values[INDEX(history, HISTORY_UNTIL_LSN)] = LSNGetDatum(until);
	values[INDEX(history, HISTORY_UNTIL)] = TimestampTzGetDatum(cause->time);
	memset(nulls + history->ncolumns + HISTORY_ENDED_BY, false, sizeof(bool) * 4);
	nulls[INDEX(history, HISTORY_UNTIL_XID)] = !FullTransactionIdIsValid(cause->xid);
	return until;
}

/* End the version that derive_history_find_open() returned; returns where it ends. */
XLogRecPtr
derive_history_end_version(DeriveContext *context, History *history, TupleTableSlot *version, const Cause *cause)
{
	XLogRecPtr	until = take_ended(context, history, version, cause);

	context->replace(context, DERIVE_VIEW, history->values, history->nulls);
	pfree(DatumGetPointer(history->values[INDEX(history, HISTORY_ENDED_BY)]));
	return until;
}

void
derive_history_write_ended(DeriveContext *context, History *history, TupleTableSlot *version, const Cause *cause)
{
	(void) take_ended(context, history, version, cause);
	context->insert(context, DERIVE_VIEW, history->values, history->nulls);
	pfree(DatumGetPointer(history->values[INDEX(history, HISTORY_ENDED_BY)]));
}

/* The same for one that is not written yet. */
static XLogRecPtr
end_pending(DeriveContext *context, History *history, DerivePendingRow *row, const Cause *cause)
{
	XLogRecPtr	until = take_ended(context, history, derive_pending_slot(history->pending, row), cause);

	write_version(context, history, history->values, history->nulls);
	pfree(DatumGetPointer(history->values[INDEX(history, HISTORY_ENDED_BY)]));
	derive_pending_remove(history->pending, row);
	return until;
}

/* End the version of a row of the source; invalid if there is none. */
static XLogRecPtr
try_end_row(DeriveContext *context, History *history, TupleTableSlot *row, const Cause *cause)
{
	TupleTableSlot *version;

	take_key(history, row, false);
	if (history->pending)
	{
		DerivePendingRow *pending = derive_pending_find(history->pending, history->key, history->key_nulls);

		if (pending)
			return end_pending(context, history, pending, cause);
		if (derive_pending_full(history->pending))
		{
			write_pending(context, history);
			take_key(history, row, false);
		}
	}
	version = context->get(context, DERIVE_VIEW, history->key, history->key_nulls);
	return version ? derive_history_end_version(context, history, version, cause) : InvalidXLogRecPtr;
}

static XLogRecPtr
end_row(DeriveContext *context, History *history, TupleTableSlot *row, const Cause *cause)
{
	XLogRecPtr	until = try_end_row(context, history, row, cause);

	if (XLogRecPtrIsInvalid(until))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a row of \"%s\" was changed that is not in its history",
						get_rel_name(context->sources[0].relid)),
				 errhint("Call derive.repair() for the history.")));
	return until;
}

typedef struct OpenVersions
{
	History    *history;
	Tuplestorestate *rows;
} OpenVersions;

static void
collect_open(void *arg, TupleTableSlot *row)
{
	OpenVersions *open = arg;

	if (slot_attisnull(row, ATTNO(open->history, HISTORY_UNTIL_LSN)))
		tuplestore_puttupleslot(open->rows, row);
}

/* All rows of the source are gone. */
static void
end_all(DeriveContext *context, History *history, const Cause *cause)
{
	OpenVersions open = {history, tuplestore_begin_heap(false, false, work_mem)};
	TupleTableSlot *row = MakeSingleTupleTableSlot(context->desc, &TTSOpsMinimalTuple);

	write_pending(context, history);
	context->read_table(context, DERIVE_VIEW, collect_open, &open);
	while (tuplestore_gettupleslot(open.rows, true, false, row))
	{
		TupleTableSlot *version = derive_history_find_open(context, history, row, true);

		CHECK_FOR_INTERRUPTS();
		if (version == NULL)
			elog(ERROR, "a version of a row is missing");
		(void) derive_history_end_version(context, history, version, cause);
	}
	ExecDropSingleTupleTableSlot(row);
	tuplestore_end(open.rows);
}


/* -------------------------------------------------------------------------
 * Changes
 * -------------------------------------------------------------------------
 */

static void
build(DeriveContext *context, History *history)
{
	DeriveChange change;
	Cause		initial = make_cause(history, "initial", InvalidFullTransactionId, context->lsn, context->time);

	while (context->next_change(context, &change))
		derive_history_begin_version(context, history, change.newrow, false, &initial, InvalidXLogRecPtr);
}

/*
 * The rows of a view come and go in any order, so the new ones come first: then
 * those that go are there.
 */
static void
apply_changes_of_view(DeriveContext *context, History *history)
{
	DeriveChange change;
	Cause		cause;

	while (context->next_change(context, &change))
	{
		if (change.operation != DERIVE_INSERTED)
			continue;
		cause = cause_of(history, &change, "insert");
		derive_history_begin_version(context, history, change.newrow, false, &cause, InvalidXLogRecPtr);
	}
	context->rewind_changes(context);
	while (context->next_change(context, &change))
	{
		if (change.operation != DERIVE_DELETED)
			continue;
		cause = cause_of(history, &change, "delete");
		(void) end_row(context, history, change.oldrow, &cause);
	}
}

/* After TRUNCATE of a partition: a row with this key may have been there. */
static void
end_truncated(DeriveContext *context, History *history, TupleTableSlot *newrow, const Cause *truncate)
{
	if (history->nlocate < history->ncolumns)	/* equal rows may be there by
												 * right */
		(void) try_end_row(context, history, newrow, truncate);
}

static void
apply_changes(DeriveContext *context, History *history)
{
	DeriveChange change;
	Cause		cause;
	Cause		first_truncate;
	Cause		truncate;
	bool		truncated = false;
	XLogRecPtr	end;

	while (context->next_change(context, &change))
	{
		switch (change.operation)
		{
			case DERIVE_INSERTED:
				cause = cause_of(history, &change, "insert");
				if (truncated)
					end_truncated(context, history, change.newrow, &truncate);
				if (history->pending && derive_pending_full(history->pending))
					write_pending(context, history);
				derive_history_begin_version(context, history, change.newrow, false, &cause, InvalidXLogRecPtr);
				break;
			case DERIVE_UPDATED:
				cause = cause_of(history, &change, "update");
				end = end_row(context, history, change.oldrow, &cause);
				if (truncated)
					end_truncated(context, history, change.newrow, &truncate);
				derive_history_begin_version(context, history, change.newrow, false, &cause, end);
				break;
			case DERIVE_DELETED:
				cause = cause_of(history, &change, "delete");
				(void) end_row(context, history, change.oldrow, &cause);
				break;
			case DERIVE_TRUNCATED:
				cause = cause_of(history, &change, "truncate");
				if (history->family)
				{
					if (!truncated)
						first_truncate = cause;
					truncated = true;
					truncate = cause;
				}
				else
					end_all(context, history, &cause);
				break;
			default:
				elog(ERROR, "unexpected change of a source: %c", (char) change.operation);
		}
	}
	if (truncated)
	{
		write_pending(context, history);
		derive_history_compare(context, &truncate, &truncate, true);

		/* of several ones nobody can tell which took a row */
		if (first_truncate.lsn != truncate.lsn)
			add_gap(history, first_truncate.lsn, first_truncate.time, truncate.lsn, truncate.time);
	}
}

static void
history_apply(DeriveContext *context)
{
	History    *history = context->private;

	load_state(context, history);
	history->pending = NULL;
	if (context->building)
		build(context, history);
	else if (history->is_view)
		apply_changes_of_view(context, history);
	else
	{
		history->pending = derive_pending_create(context->desc, history->nlocate, history->locate);
		apply_changes(context, history);
		write_pending(context, history);
		derive_pending_free(history->pending);
		history->pending = NULL;
	}
	history->state[HISTORY_STATE_KNOWN_LSN] = LSNGetDatum(context->covered);
	store_state(context, history);
}


/* Changes were lost. */
static void
history_resync(DeriveContext *context)
{
	History    *history = context->private;
	Cause		resync;
	TimestampTz known;

	load_state(context, history);
	known = DatumGetTimestampTz(history->state[HISTORY_STATE_LATEST]);
	history->pending = NULL;
	resync = make_cause(history, "resync", InvalidFullTransactionId, context->lsn, context->time);
	derive_history_compare(context, &resync, &resync, false);
	add_gap(history, DatumGetLSN(history->state[HISTORY_STATE_KNOWN_LSN]), known, resync.lsn, resync.time);
	store_state(context, history);
}


/* -------------------------------------------------------------------------
 * Retention
 * -------------------------------------------------------------------------
 */

/* Is it the newest version of its row, which compaction keeps? */
static bool
is_newest(DeriveContext *context, History *history, TupleTableSlot *version)
{
	TupleTableSlot *newest;
	bool		isnull;

	for (int i = 0; i < history->nkeys; i++)
		history->key[i] = slot_getattr(version, history->keys[i], &history->key_nulls[i]);
	newest = context->get(context, history->newest, history->key, history->key_nulls);
	return newest != NULL &&
		DatumGetInt64(slot_getattr(newest, history->nkeys + 1, &isnull)) ==
		DatumGetInt64(slot_getattr(version, ATTNO(history, HISTORY_VERSION), &isnull));
}

/* Remove a version, unless it is to be kept. */
static bool
expire_version(DeriveContext *context, History *history, TimestampTz cutoff)
{
	TupleTableSlot *version = context->get(context, DERIVE_VIEW, history->key, history->key_nulls);
	bool		isnull;
	XLogRecPtr	until_lsn;
	TimestampTz until;

	if (version == NULL)
		return false;
	until_lsn = DatumGetLSN(slot_getattr(version, ATTNO(history, HISTORY_UNTIL_LSN), &isnull));
	until = DatumGetTimestampTz(slot_getattr(version, ATTNO(history, HISTORY_UNTIL), &isnull));
	if (isnull || until >= cutoff)
		return false;
	if (history->compact && is_newest(context, history, version))
		return false;
	context->replace(context, DERIVE_VIEW, NULL, NULL);
	raise_lsn(history, HISTORY_STATE_HORIZON_LSN, until_lsn);
	raise_time(history, HISTORY_STATE_HORIZON, until);
	return true;
}

/* The query for the keys of ended versions in some pages. */
static char *
expired_query(DeriveContext *context, History *history)
{
	Oid			view = context->view;
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	for (int i = 0; i <= history->nlocate; i++)
		appendStringInfo(&query, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(context->desc, history->locate[i] - 1)->attname)));
	appendStringInfo(&query, " FROM %s WHERE ctid OPERATOR(pg_catalog.>=) $1 AND ctid OPERATOR(pg_catalog.<) $2 AND %s OPERATOR(pg_catalog.<) $3",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)), get_rel_name(view)),
					 quote_identifier(NameStr(TupleDescAttr(context->desc, INDEX(history, HISTORY_UNTIL))->attname)));
	return query.data;
}

/* Remove what is too old in some pages; returns the number of versions. */
static int64
expire_pages(DeriveContext *context, History *history, const char *query, TimestampTz cutoff)
{
	Oid			types[3] = {TIDOID, TIDOID, TIMESTAMPTZOID};
	MemoryContext old = CurrentMemoryContext;
	ItemPointerData from;
	ItemPointerData to;
	Datum		values[3];
	int64		removed = 0;

	ItemPointerSet(&from, history->next_block, 0);
	ItemPointerSet(&to, history->next_block + EXPIRE_PAGES, 0);
	values[0] = PointerGetDatum(&from);
	values[1] = PointerGetDatum(&to);
	values[2] = TimestampTzGetDatum(cutoff);

	SPI_connect();
	if (SPI_execute_with_args(query, 3, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for ended versions");
	MemoryContextSwitchTo(old);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int j = 0; j <= history->nlocate; j++)
			history->key[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1,
											&history->key_nulls[j]);
		removed += expire_version(context, history, cutoff);
	}
	SPI_finish();
	return removed;
}

static void
history_expire(DeriveContext *context)
{
	History    *history = context->private;
	int64		start = derive_monotonic_ms();
	TimestampTz cutoff = context->time;
	Relation	view;
	BlockNumber nblocks;
	BlockNumber looked_at = 0;
	char	   *query;
	int64		removed = 0;

	if (history->retention == NULL && !history->compact)
		return;
	if (history->retention)
		cutoff = derive_support_before(cutoff, history->retention);
	view = table_open(context->view, NoLock);
	nblocks = RelationGetNumberOfBlocks(view);
	table_close(view, NoLock);

	load_state(context, history);
	query = expired_query(context, history);
	do
	{
		if (history->next_block >= nblocks)
			history->next_block = 0;
		removed += expire_pages(context, history, query, cutoff);
		history->next_block += EXPIRE_PAGES;
		looked_at += EXPIRE_PAGES;
	} while (looked_at < nblocks &&
			 !derive_has_elapsed(start, EXPIRE_MS));
	if (removed > 0)
		store_state(context, history);
}


static void
history_explain(DeriveContext *context, StringInfo text)
{
	History    *history = context->private;

	if (history->nlocate < history->ncolumns)
		appendStringInfoString(text, "versions are found by the primary key of the source\n");
	else
		appendStringInfoString(text, "versions are found by the whole row\n");
	if (history->retention)
		appendStringInfo(text, "ended versions are kept for %s\n",
						 DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(history->retention))));
	if (history->compact)
		appendStringInfoString(text, "the newest version of each key is kept\n");
}

static const DeriveRoutine history_routine = {
	.api_version = DERIVE_API_VERSION,
	.flags = DERIVE_TAKES_TRUNCATE | DERIVE_TAKES_PARTITION_TRUNCATE | DERIVE_BUFFERED,
	.columns = derive_history_columns,
	.declare = derive_history_declare,
	.begin = history_begin,
	.apply = history_apply,
	.resync = history_resync,
	.expire = history_expire,
	.explain = history_explain,
};

Datum
derive_history_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&history_routine);
}
