/*-------------------------------------------------------------------------
 *
 * backlog.c
 *	  What went through the current delta of a source, transaction by transaction.
 *
 * Kept while a view that reads the source is being built.  The view's snapshot
 * has some of the transactions that the backlog has and lacks others; so each row
 * stands with the xid of its transaction, in one more column, and a view takes the
 * rows whose xid its position does not cover.  What could not be read from the log
 * is remembered as a mark, with the xid too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "delta/stream_internal.h"
#include "executor/tuptable.h"
#include "utils/memutils.h"

/* A transaction that makes a backlog's source unknown; xid invalid: for everyone. */
typedef struct UnknownMark
{
	FullTransactionId xid;
	const char *reason;
} UnknownMark;

struct Backlog
{
	MemoryContext cxt;			/* holds all of this */
	DeriveDelta *rows;			/* the source's columns, xid, weight */
	List	   *marks;			/* of UnknownMark * */
};

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

Backlog *
derive_backlog_create(DeriveStream *stream, Source *source)
{
	MemoryContext cxt = AllocSetContextCreate(stream->cxt, "pg_derive backlog", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	Backlog    *backlog = palloc0(sizeof(Backlog));

	backlog->cxt = cxt;
	backlog->rows = derive_delta_create(source->pub.relid, source->pub.inh, backlog_desc(source->desc));
	MemoryContextSwitchTo(old);

	return backlog;
}

void
derive_backlog_free(Backlog *backlog)
{
	MemoryContextDelete(backlog->cxt);
}

void
derive_backlog_mark(Backlog *backlog, FullTransactionId xid, const char *reason)
{
	MemoryContext old = MemoryContextSwitchTo(backlog->cxt);
	UnknownMark *mark = palloc(sizeof(UnknownMark));

	mark->xid = xid;
	mark->reason = reason;
	backlog->marks = lappend(backlog->marks, mark);
	MemoryContextSwitchTo(old);
}

void
derive_backlog_add(Backlog *backlog, FullTransactionId xid, const Datum *values, const bool *nulls, int64 weight)
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

void
derive_backlog_append(Backlog *backlog, FullTransactionId xid, DeriveDelta *delta)
{
	TupleTableSlot *slot;

	if (delta->unknown)
		derive_backlog_mark(backlog, xid, delta->reason);
	if (delta->nrows == 0)
		return;

	slot = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
	derive_delta_rewind(delta);
	while (derive_delta_next(delta, slot))
	{
		slot_getallattrs(slot);
		derive_backlog_add(backlog, xid, slot->tts_values, slot->tts_isnull,
						   DatumGetInt64(slot->tts_values[delta->desc->natts - 1]));
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Copy what since does not cover, or everything, by attribute number. */
void
derive_backlog_copy(Backlog *backlog, const DerivePosition *since, DeriveDelta *delta, Backlog *copy)
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
			derive_backlog_mark(copy, mark->xid, mark->reason);
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
			derive_backlog_add(copy, xid, values, nulls, weight);
		else if (!derive_position_covers(since, xid))
			derive_delta_add_values(delta, values, nulls, weight);
	}
	ExecDropSingleTupleTableSlot(slot);
	pfree(values);
	pfree(nulls);
}
