/*-------------------------------------------------------------------------
 *
 * misbehaving.c
 *	  A derivation that does what it should not, and handlers that are none.
 *
 * Option "fail" says what goes wrong.  A word of its own is one misuse of a
 * function of the context; "declare", "begin", ... is an ERROR in that
 * callback, and "row" an ERROR for each change with a negative value in column
 * "a" of the source.  "sql" is a statement that apply() runs through SPI.
 *
 * The view is (k int, t text).  What works leaves a row there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "extension/pg_derive/derivation.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(misbehaving_handler);
PG_FUNCTION_INFO_V1(misbehaving_buffered_handler);
PG_FUNCTION_INFO_V1(other_version_handler);
PG_FUNCTION_INFO_V1(empty_handler);
PG_FUNCTION_INFO_V1(null_handler);

typedef struct Misbehaving
{
	char	   *fail;
	char	   *sql;			/* or NULL */
	int			state;
} Misbehaving;

/* Is this what is to go wrong? */
static bool
fails(DeriveContext *context, const char *how)
{
	return strcmp(((Misbehaving *) context->private)->fail, how) == 0;
}

static void
fail_if(DeriveContext *context, const char *callback)
{
	if (fails(context, callback))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("misbehaving in %s", callback),
				 errdetail("As it was told."),
				 errhint("Tell it otherwise.")));
}

static TupleDesc
state_desc(Oid type)
{
	TupleDesc	desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "k", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 2, "t", type, -1, 0);
	if (type == TEXTOID)
		TupleDescInitEntryCollation(desc, 2, DEFAULT_COLLATION_OID);
	return desc;
}

static TupleDesc
columns(DeriveContext *context)
{
	char	   *fail = TextDatumGetCString(context->option(context, "fail", TEXTOID, "", NULL));

	if (strcmp(fail, "columns") == 0)
		elog(ERROR, "misbehaving in columns");
	if (strcmp(fail, "no columns") == 0)
		return NULL;
	return state_desc(TEXTOID);
}

/* What a derivation may only do in apply(), resync() and expire(). */
static void
read_and_write(DeriveContext *context)
{
	Datum		values[2] = {Int32GetDatum(1), CStringGetTextDatum("early")};
	bool		nulls[2] = {false, false};
	DeriveChange change;

	if (fails(context, "insert early"))
		context->insert(context, DERIVE_VIEW, values, nulls);
	if (fails(context, "get early"))
		(void) context->get(context, DERIVE_VIEW, values, nulls);
	if (fails(context, "next_change early"))
		(void) context->next_change(context, &change);
	if (fails(context, "rewind_changes early"))
		context->rewind_changes(context);
	if (fails(context, "read_source early"))
		context->read_source(context, 0, NULL, NULL);
	if (fails(context, "read_table early"))
		context->read_table(context, DERIVE_VIEW, NULL, NULL);
}

/* What it may only do in declare(). */
static void
declare_late(DeriveContext *context)
{
	AttrNumber	one = 1;

	if (fails(context, "declare_state late"))
		(void) context->declare_state(context, state_desc(TEXTOID), 1);
	if (fails(context, "set_key late"))
		context->set_key(context, 1, &one, true);
}

static void
misuse_options(DeriveContext *context)
{
	bool		isnull;

	if (fails(context, "option"))
		(void) context->option(context, "number", INT4OID, NULL, &isnull);
	if (fails(context, "required option"))
		(void) context->option(context, "number", INT4OID, NULL, NULL);
	if (fails(context, "option default"))
		(void) context->option(context, "number", INT4OID, "no number", NULL);
	if (fails(context, "option type"))
		(void) context->option(context, "number", 1, NULL, NULL);
	if (fails(context, "many options"))
	{
		(void) context->option(context, "number", INT4OID, "1", NULL);
		(void) context->option(context, "day", DATEOID, "2026-01-01", NULL);
		(void) context->option(context, "flag", BOOLOID, "true", NULL);
		(void) context->option(context, "list", INT4ARRAYOID, "{1}", NULL);
	}
}

static void
misuse_columns(DeriveContext *context)
{
	AttrNumber	keys[3] = {1, 2, 99};
	AttrNumber	twice[2] = {1, 1};

	if (fails(context, "source_column"))
		(void) context->source_column(context, 0, "no such column");
	if (fails(context, "source_column number"))
		(void) context->source_column(context, 7, "a");
	if (fails(context, "view_column"))
		(void) context->view_column(context, "no such column", InvalidOid);
	if (fails(context, "view_column type"))
		(void) context->view_column(context, "t", INT4OID);
	if (fails(context, "set_key column"))
		context->set_key(context, 3, keys, true);
	if (fails(context, "set_key number"))
		context->set_key(context, -1, keys, true);
	if (fails(context, "set_key twice"))
		context->set_key(context, 2, twice, true);
}

static void
misuse_states(DeriveContext *context)
{
	static int	calls = 0;

	if (fails(context, "declare_state keys"))
		(void) context->declare_state(context, state_desc(TEXTOID), 3);
	if (fails(context, "declare_state NULL"))
		(void) context->declare_state(context, NULL, 0);
	if (fails(context, "declare_state type"))
		(void) context->declare_state(context, state_desc(INTERNALOID), 1);
	if (fails(context, "declare_state again"))
		(void) context->declare_state(context, state_desc(calls++ % 2 == 0 ? TEXTOID : INT8OID), 1);
}

static void
declare(DeriveContext *context)
{
	Misbehaving *misbehaving = MemoryContextAllocZero(context->memory, sizeof(Misbehaving));
	bool		isnull;
	Datum		sql = context->option(context, "sql", TEXTOID, NULL, &isnull);
	AttrNumber	key = 1;

	misbehaving->fail = TextDatumGetCString(context->option(context, "fail", TEXTOID, "", NULL));
	misbehaving->fail = MemoryContextStrdup(context->memory, misbehaving->fail);
	misbehaving->sql = isnull ? NULL : MemoryContextStrdup(context->memory, TextDatumGetCString(sql));
	context->private = misbehaving;

	(void) context->view_column(context, "k", INT4OID);
	(void) context->view_column(context, "t", TEXTOID);
	context->set_key(context, 1, &key, true);
	misbehaving->state = context->declare_state(context, state_desc(TEXTOID), 1);
	misuse_options(context);
	misuse_columns(context);
	misuse_states(context);
	read_and_write(context);
	fail_if(context, "declare");
}

static void
begin(DeriveContext *context)
{
	declare_late(context);
	fail_if(context, "begin");
}

static void
misuse_tables(DeriveContext *context, int table)
{
	Datum		values[2] = {Int32GetDatum(1), CStringGetTextDatum("one")};
	bool		nulls[2] = {false, false};
	Datum		key = Int32GetDatum(42);

	if (fails(context, "insert twice"))
	{
		context->insert(context, table, values, nulls);
		context->insert(context, table, values, nulls);
	}
	if (fails(context, "replace nothing"))
		context->replace(context, table, values, nulls);
	if (fails(context, "replace missing"))
	{
		if (context->get(context, table, &key, nulls) != NULL)
			elog(ERROR, "there is a row with key 42");
		context->replace(context, table, values, nulls);
	}
	if (fails(context, "replace twice"))
	{
		context->put(context, table, values, nulls);
		if (context->get(context, table, values, nulls) == NULL)
			elog(ERROR, "the row is not there");
		context->replace(context, table, values, nulls);
		context->replace(context, table, values, nulls);
	}
	if (fails(context, "replace key"))
	{
		context->put(context, table, values, nulls);
		values[0] = key;
		context->put(context, table, values, nulls);
		(void) context->get(context, table, &key, nulls);
		values[0] = Int32GetDatum(1);
		context->replace(context, table, values, nulls);
	}
	if (fails(context, "take away too much"))
		context->add(context, values, nulls, -1);
	if (fails(context, "no such table"))
		context->insert(context, 99, values, nulls);
	if (fails(context, "negative table"))
		(void) context->remove(context, -1, values, nulls);
	if (fails(context, "read_source number"))
		context->read_source(context, 7, NULL, NULL);
}

/* As should be. */
static void
behave(DeriveContext *context, int table)
{
	Datum		values[2] = {Int32GetDatum(1), CStringGetTextDatum("one")};
	bool		nulls[2] = {false, false};
	Datum		key = Int32GetDatum(1);

	if (context->remove(context, table, &key, nulls) &&
		context->get(context, table, &key, nulls) != NULL)
		elog(ERROR, "a row that was removed is still there");
	if (context->remove(context, table, &key, nulls))
		elog(ERROR, "a row was removed twice");
	context->put(context, table, values, nulls);
	context->put(context, table, values, nulls);
	if (context->get(context, table, &key, nulls) == NULL)
		elog(ERROR, "a row that was put is not there");
	context->replace(context, table, NULL, NULL);
	if (context->get(context, table, &key, nulls) != NULL)
		elog(ERROR, "a row that was deleted is still there");
	nulls[1] = true;
	context->insert(context, table, values, nulls);
}

static void
run_sql(DeriveContext *context, const char *sql)
{
	Datum		values[2] = {Int32GetDatum(2)};
	bool		nulls[2] = {false, false};
	MemoryContext cxt = CurrentMemoryContext;
	char	   *result = NULL;

	SPI_connect();
	if (SPI_execute(sql, false, 1) < 0)
		elog(ERROR, "SPI failed");
	if (SPI_tuptable != NULL && SPI_processed > 0)
		result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (result != NULL)
		result = MemoryContextStrdup(cxt, result);
	SPI_finish();
	values[1] = result ? CStringGetTextDatum(result) : (Datum) 0;
	nulls[1] = (result == NULL);
	context->put(context, DERIVE_VIEW, values, nulls);
}

static void
count_row(void *arg, TupleTableSlot *row)
{
	++*(int *) arg;
}

/* Read the changes twice, and the source and the tables. */
static void
read_all(DeriveContext *context)
{
	DeriveChange change;
	int			first = 0;
	int			second = 0;
	int			rows = 0;

	while (context->next_change(context, &change))
		first++;
	if (context->next_change(context, &change))
		elog(ERROR, "a change after the last one");
	context->rewind_changes(context);
	if (context->next_change(context, &change))
		context->rewind_changes(context);
	while (context->next_change(context, &change))
	{
		bool		isnull;
		AttrNumber	a = context->source_column(context, change.source, "a");

		second++;
		if (change.newrow != NULL && fails(context, "row") &&
			DatumGetInt32(slot_getattr(change.newrow, a, &isnull)) < 0 && !isnull)
			elog(ERROR, "row with a = %d", DatumGetInt32(slot_getattr(change.newrow, a, &isnull)));
	}
	if (first != second)
		elog(ERROR, "%d changes, then %d", first, second);
	for (int i = 0; i < context->nsources; i++)
		context->read_source(context, i, count_row, &rows);
	if (context->building && rows != first)
		elog(ERROR, "%d rows are built from %d changes", rows, first);
}

static void
apply(DeriveContext *context)
{
	Misbehaving *misbehaving = context->private;
	int			rows = 0;

	fail_if(context, "apply");
	if (!context->building)
		fail_if(context, "change");
	declare_late(context);
	read_all(context);
	misuse_tables(context, DERIVE_VIEW);
	behave(context, DERIVE_VIEW);
	behave(context, misbehaving->state);
	context->read_table(context, misbehaving->state, count_row, &rows);
	if (rows != 1)
		elog(ERROR, "%d rows in the state table", rows);
	if (misbehaving->sql != NULL)
		run_sql(context, misbehaving->sql);
}

static void
expire(DeriveContext *context)
{
	fail_if(context, "expire");
}

static void
end(DeriveContext *context)
{
	fail_if(context, "end");
	if (MyBackendType == B_BG_WORKER)
		fail_if(context, "end in worker");
}

static void
explain(DeriveContext *context, StringInfo text)
{
	fail_if(context, "explain");
	read_and_write(context);
	if (!fails(context, "silent explain"))
		appendStringInfoString(text, "Behaves\n\nnow");
}

#define CALLBACKS \
	.api_version = DERIVE_API_VERSION, \
	.columns = columns, \
	.declare = declare, \
	.begin = begin, \
	.apply = apply, \
	.expire = expire, \
	.end = end, \
	.explain = explain

Datum
misbehaving_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		CALLBACKS,
		.flags = DERIVE_OF_CURRENT_ROWS,
	};

	PG_RETURN_POINTER(&routine);
}

Datum
misbehaving_buffered_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		CALLBACKS,
		.flags = DERIVE_OF_CURRENT_ROWS | DERIVE_BUFFERED,
	};

	PG_RETURN_POINTER(&routine);
}

Datum
other_version_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION + 1,
		.declare = declare,
		.apply = apply,
	};

	PG_RETURN_POINTER(&routine);
}

Datum
empty_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
	};

	PG_RETURN_POINTER(&routine);
}

Datum
null_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}
