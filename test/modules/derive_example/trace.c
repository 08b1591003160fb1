/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  A derivation that writes down all changes that it sees, in order.
 *
 * Its view is a log, not a function of the rows that there are now.  Numbers
 * come from a state table of one row, which is read when the derivation begins
 * and remembered; so a number given twice, or left out, means that a batch was
 * applied twice, or that begin() was not called after one was rolled back.
 *
 *	option "keep"	expire() removes all but so many of the newest entries
 *	option "fail"	ERROR for new rows with this text
 *
 * The derivation strict_trace is the same without resync().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "extension/pg_derive/derivation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(trace_handler);
PG_FUNCTION_INFO_V1(strict_trace_handler);

typedef enum Column
{
	NUMBER,
	OPERATION,
	SOURCE,
	OLD_ROW,
	NEW_ROW,
	XID,
	COMMIT_LSN,
	COMMIT_TIME,
	NCOLUMNS
} Column;

static const struct
{
	const char *name;
	Oid			type;
}			view_columns[NCOLUMNS] = {
	{"n", INT8OID},
	{"operation", TEXTOID},
	{"source", TEXTOID},
	{"old", TEXTOID},
	{"new", TEXTOID},
	{"xid", XID8OID},
	{"commit_lsn", LSNOID},
	{"commit_time", TIMESTAMPTZOID}
};

typedef struct Trace
{
	int64		keep;			/* -1: everything */
	char	   *fail;			/* or NULL */
	int			state;
	bool		known;			/* the next number */
	int64		next;
	int64		oldest;
} Trace;

static TupleDesc
columns(DeriveContext *context)
{
	TupleDesc	desc = CreateTemplateTupleDesc(NCOLUMNS);

	for (int i = 0; i < NCOLUMNS; i++)
	{
		TupleDescInitEntry(desc, i + 1, view_columns[i].name, view_columns[i].type, -1, 0);
		TupleDescInitEntryCollation(desc, i + 1, get_typcollation(view_columns[i].type));
	}
	return desc;
}

static void
declare(DeriveContext *context)
{
	Trace	   *trace = MemoryContextAllocZero(context->memory, sizeof(Trace));
	TupleDesc	desc = CreateTemplateTupleDesc(3);
	AttrNumber	key = 1;
	bool		isnull;
	Datum		fail = context->option(context, "fail", TEXTOID, NULL, &isnull);

	if (!isnull)
		trace->fail = MemoryContextStrdup(context->memory, TextDatumGetCString(fail));
	for (int i = 0; i < NCOLUMNS; i++)
		if (context->view_column(context, view_columns[i].name, view_columns[i].type) != i + 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
					 errmsg("the columns of a trace come in another order")));
	trace->keep = DatumGetInt64(context->option(context, "keep", INT8OID, "-1", NULL));
	context->set_key(context, 1, &key, true);

	TupleDescInitEntry(desc, 1, "id", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "next", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 3, "oldest", INT8OID, -1, 0);
	trace->state = context->declare_state(context, desc, 1);
	context->private = trace;
}

static void
begin(DeriveContext *context)
{
	((Trace *) context->private)->known = false;
}

static void
find_last(void *arg, TupleTableSlot *row)
{
	bool		isnull;

	*(int64 *) arg = Max(*(int64 *) arg, DatumGetInt64(slot_getattr(row, 1, &isnull)));
}

/* A view that was released, or restored, has entries and no state. */
static void
load(DeriveContext *context)
{
	Trace	   *trace = context->private;
	Datum		key = Int32GetDatum(0);
	bool		isnull = false;
	TupleTableSlot *row;

	if (trace->known)
		return;
	row = context->get(context, trace->state, &key, &isnull);
	if (row != NULL)
	{
		trace->next = DatumGetInt64(slot_getattr(row, 2, &isnull));
		trace->oldest = DatumGetInt64(slot_getattr(row, 3, &isnull));
	}
	else
	{
		int64		last = 0;

		context->read_table(context, DERIVE_VIEW, find_last, &last);
		trace->next = last + 1;
		trace->oldest = 1;
	}
	trace->known = true;
}

static void
store(DeriveContext *context)
{
	Trace	   *trace = context->private;
	Datum		values[3] = {Int32GetDatum(0), Int64GetDatum(trace->next), Int64GetDatum(trace->oldest)};
	bool		nulls[3] = {false, false, false};

	context->put(context, trace->state, values, nulls);
}

/* "column=value, ..." */
static Datum
row_text(TupleTableSlot *row)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < row->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(row->tts_tupleDescriptor, i);
		bool		isnull;
		Datum		value;
		Oid			output;
		bool		is_varlena;

		if (att->attisdropped)
			continue;
		value = slot_getattr(row, i + 1, &isnull);
		getTypeOutputInfo(att->atttypid, &output, &is_varlena);
		appendStringInfo(&text, "%s%s=%s", text.len > 0 ? ", " : "", NameStr(att->attname),
						 isnull ? "null" : OidOutputFunctionCall(output, value));
	}
	return CStringGetTextDatum(text.data);
}

static void
write_down(DeriveContext *context, const char *operation, DeriveChange *change)
{
	Trace	   *trace = context->private;
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	memset(nulls, true, sizeof(nulls));
	values[NUMBER] = Int64GetDatum(trace->next++);
	values[OPERATION] = CStringGetTextDatum(operation);
	nulls[NUMBER] = nulls[OPERATION] = false;
	if (change != NULL)
	{
		values[SOURCE] = CStringGetTextDatum(get_rel_name(context->sources[change->source].relid));
		values[OLD_ROW] = change->oldrow ? row_text(change->oldrow) : 0;
		values[NEW_ROW] = change->newrow ? row_text(change->newrow) : 0;
		values[XID] = FullTransactionIdGetDatum(change->xid);
		values[COMMIT_LSN] = LSNGetDatum(change->commit_lsn);
		values[COMMIT_TIME] = TimestampTzGetDatum(change->commit_time);
		nulls[SOURCE] = nulls[COMMIT_LSN] = nulls[COMMIT_TIME] = false;
		nulls[OLD_ROW] = change->oldrow == NULL;
		nulls[NEW_ROW] = change->newrow == NULL;
		nulls[XID] = !FullTransactionIdIsValid(change->xid);
	}
	context->insert(context, DERIVE_VIEW, values, nulls);
}

static void
apply(DeriveContext *context)
{
	Trace	   *trace = context->private;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "trace", ALLOCSET_DEFAULT_SIZES);
	DeriveChange change;

	load(context);
	while (context->next_change(context, &change))
	{
		char		operation[2] = {(char) change.operation, '\0'};
		MemoryContext old = MemoryContextSwitchTo(cxt);

		if (trace->fail != NULL && change.newrow != NULL &&
			strstr(TextDatumGetCString(row_text(change.newrow)), trace->fail) != NULL)
			elog(ERROR, "a row contains \"%s\"", trace->fail);
		write_down(context, context->building ? "build" : operation, &change);
		MemoryContextSwitchTo(old);
		MemoryContextReset(cxt);
	}
	store(context);
}

static void
resync(DeriveContext *context)
{
	load(context);
	write_down(context, "resync", NULL);
	store(context);
}

static void
expire(DeriveContext *context)
{
	Trace	   *trace = context->private;

	load(context);
	for (; trace->keep >= 0 && trace->oldest < trace->next - trace->keep; trace->oldest++)
	{
		Datum		key = Int64GetDatum(trace->oldest);
		bool		isnull = false;

		if (!context->remove(context, DERIVE_VIEW, &key, &isnull))
			elog(ERROR, "there is no entry number %lld", (long long) trace->oldest);
	}
	store(context);
}

static void
explain(DeriveContext *context, StringInfo text)
{
	appendStringInfoString(text, "Writes all changes down\n");
}

Datum
trace_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
		.flags = DERIVE_TAKES_TRUNCATE,
		.columns = columns,
		.declare = declare,
		.begin = begin,
		.apply = apply,
		.resync = resync,
		.expire = expire,
		.explain = explain,
	};

	PG_RETURN_POINTER(&routine);
}

Datum
strict_trace_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
		.columns = columns,
		.declare = declare,
		.begin = begin,
		.apply = apply,
	};

	PG_RETURN_POINTER(&routine);
}
