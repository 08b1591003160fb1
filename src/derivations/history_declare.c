/*-------------------------------------------------------------------------
 *
 * history_declare.c
 *	  The declaration of a history: its columns, keys and options.
 *
 * The columns of the source are known by their names, the nine that a history
 * adds by their place and type, so that they may be named otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "derivations/history_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static const struct
{
	const char *name;
	Oid			type;
}			history_columns[HISTORY_NCOLUMNS] =

{
	{"version", INT8OID},
	{"operation", TEXTOID},
	{"xid", XID8OID},
	{"lsn", LSNOID},
	{"committed_at", TIMESTAMPTZOID},
	{"ended_by", TEXTOID},
	{"until_xid", XID8OID},
	{"until_lsn", LSNOID},
	{"until", TIMESTAMPTZOID},
};

static void
check_source(DeriveContext *context)
{
	if (context->nsources != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a history has one source")));
}

TupleDesc
derive_history_columns(DeriveContext *context)
{
	TupleDesc	source;
	TupleDesc	desc;
	int			kept = 0;
	int			n = 0;

	check_source(context);
	source = context->sources[0].desc;
	for (int i = 0; i < source->natts; i++)
		kept += !TupleDescAttr(source, i)->attisdropped;
	desc = CreateTemplateTupleDesc(kept + HISTORY_NCOLUMNS);
	for (int i = 0; i < source->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(source, i);

		if (att->attisdropped)
			continue;
		for (int j = 0; j < HISTORY_NCOLUMNS; j++)
			if (strcmp(NameStr(att->attname), history_columns[j].name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("source \"%s\" has a column \"%s\", as histories have",
								get_rel_name(context->sources[0].relid), NameStr(att->attname)),
						 errhint("Name the columns of the view: first those of the source, then nine of your own choice of the types bigint, text, xid8, pg_lsn, timestamptz, text, xid8, pg_lsn, timestamptz.")));
		n++;
		TupleDescInitEntry(desc, n, NameStr(att->attname), att->atttypid, att->atttypmod, 0);
		TupleDescInitEntryCollation(desc, n, att->attcollation);
	}
	for (int j = 0; j < HISTORY_NCOLUMNS; j++)
		TupleDescInitEntry(desc, ++n, history_columns[j].name, history_columns[j].type, -1, 0);
	return desc;
}

/* The columns at the end are known by place and type, so they can be renamed. */
static void
check_columns(DeriveContext *context, History *history)
{
	history->ncolumns = context->desc->natts - HISTORY_NCOLUMNS;
	for (int j = 0; j < HISTORY_NCOLUMNS; j++)
	{
		if (history->ncolumns < 1 ||
			TupleDescAttr(context->desc, INDEX(history, j))->atttypid != history_columns[j].type)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
					 errmsg("the last columns of a history must be of the types bigint, text, xid8, pg_lsn, timestamptz, text, xid8, pg_lsn, timestamptz"),
					 errdetail("They are: version, operation, xid, lsn, committed_at, ended_by, until_xid, until_lsn, until.")));
	}
}

/* The source's column of this name; the history knows it by nothing else. */
static AttrNumber
find_source_column(DeriveContext *context, Form_pg_attribute column)
{
	DeriveContextSource *source = &context->sources[0];

	for (int i = 0; i < source->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(source->desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), NameStr(column->attname)) != 0)
			continue;
		if (att->atttypid != column->atttypid ||
			(column->atttypmod >= 0 && att->atttypmod != column->atttypmod))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of source \"%s\" is not of the type that it has in the history",
							NameStr(att->attname), get_rel_name(source->relid)),
					 errhint("Keep the history as it is, and create a new one.")));
		return context->source_column(context, 0, NameStr(att->attname));
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("source \"%s\" has no column \"%s\"",
					get_rel_name(source->relid), NameStr(column->attname)),
			 errhint("If it was renamed, rename the column of the history, too, and call derive.resume().")));
	return InvalidAttrNumber;	/* keep compiler quiet */
}

/* The view's column for a column of the source, or 0. */
static AttrNumber
view_column_of(History *history, AttrNumber column)
{
	for (int i = 0; i < history->ncolumns; i++)
		if (history->from[i] == column)
			return i + 1;
	return InvalidAttrNumber;
}

/*
 * The columns of the view that have the source's primary key, if it is one that
 * is never violated, not even within a statement.
 */
static int
find_primary_key(History *history, Relation source, AttrNumber *columns)
{
	List	   *indexes = RelationGetIndexList(source);
	int			n = 0;
	ListCell   *lc;

	/* the key of a parent says nothing of its children */
	if (source->rd_rel->relkind == RELKIND_RELATION && history->family)
		return 0;
	foreach(lc, indexes)
	{
		Relation	index;
		Form_pg_index form;

		/* while REINDEX CONCURRENTLY exchanges them, two may look like it */
		if (n > 0)
			break;
		index = index_open(lfirst_oid(lc), AccessShareLock);
		form = index->rd_index;
		if (form->indisprimary && form->indimmediate && form->indisvalid)
		{
			for (int i = 0; i < form->indnkeyatts; i++)
			{
				AttrNumber	column = view_column_of(history, form->indkey.values[i]);

				if (column == InvalidAttrNumber)
				{
					n = 0;
					break;
				}
				columns[n++] = column;
			}
		}
		index_close(index, NoLock);
	}
	return n;
}

/* How versions are found, and which are versions of the same row. */
static void
choose_keys(DeriveContext *context, History *history)
{
	Relation	source = table_open(context->sources[0].relid, AccessShareLock);

	history->is_view = source->rd_rel->relkind == RELKIND_MATVIEW;
	history->family = source->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || source->rd_rel->relhassubclass;
	history->locate = palloc(sizeof(AttrNumber) * (history->ncolumns + 1));
	history->keys = palloc(sizeof(AttrNumber) * (history->ncolumns + 1));

	history->nlocate = find_primary_key(history, source, history->locate);
	if (history->nlocate == 0)
	{
		history->nlocate = history->ncolumns;
		for (int i = 0; i < history->ncolumns; i++)
			history->locate[i] = i + 1;
	}
	history->nkeys = context->nkeys;
	for (int i = 0; i < context->nkeys; i++)
	{
		history->keys[i] = context->view_column(context, context->keys[i], InvalidOid);
		if (history->keys[i] > history->ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key column \"%s\" is not a column of the source", context->keys[i])));
	}
	history->locate[history->nlocate] = ATTNO(history, HISTORY_UNTIL_LSN);
	table_close(source, NoLock);
}

static void
read_options(DeriveContext *context, History *history)
{
	bool		isnull;
	Datum		retention = context->option(context, "retention", INTERVALOID, NULL, &isnull);
	Interval	zero = {0};

	history->compact = DatumGetBool(context->option(context, "compact", BOOLOID, "false", NULL));
	if (history->compact && history->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" needs a key", "compact"),
				 errhint("Name the columns of which only the newest version is kept.")));
	if (isnull)
		return;
	history->retention = DatumGetIntervalP(retention);
	if (DatumGetBool(DirectFunctionCall2(interval_lt, retention, IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must not be negative", "retention")));
}

static TupleDesc
state_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(HISTORY_STATE_NCOLUMNS);

	TupleDescInitEntry(desc, HISTORY_STATE_ID + 1, "id", INT8OID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_LAST_VERSION + 1, "last_version", INT8OID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_BEGAN_LSN + 1, "began_lsn", LSNOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_BEGAN + 1, "began", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_HORIZON_LSN + 1, "horizon_lsn", LSNOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_HORIZON + 1, "horizon", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_LATEST + 1, "latest", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_KNOWN_LSN + 1, "known_lsn", LSNOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_GAP_LSN + 1, "gap_lsn", LSNOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_GAP + 1, "gap", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_GAP_END_LSN + 1, "gap_end_lsn", LSNOID, -1, 0);
	TupleDescInitEntry(desc, HISTORY_STATE_GAP_END + 1, "gap_end", TIMESTAMPTZOID, -1, 0);
	return desc;
}

void
derive_history_declare(DeriveContext *context)
{
	MemoryContext old = MemoryContextSwitchTo(context->memory);
	History    *history = palloc0(sizeof(History));

	check_source(context);
	check_columns(context, history);
	history->from = palloc(sizeof(AttrNumber) * history->ncolumns);
	for (int i = 0; i < history->ncolumns; i++)
		history->from[i] = find_source_column(context, TupleDescAttr(context->desc, i));
	choose_keys(context, history);
	read_options(context, history);

	context->set_key(context, history->nlocate + 1, history->locate, false);
	if (context->declare_state(context, state_desc(), 1) != HISTORY_STATE)
		elog(ERROR, "unexpected number of a state table");
	if (history->compact)
		history->newest = context->declare_state(context, derive_support_keyed_number(context->desc, history->nkeys, history->keys, "newest_version"), history->nkeys);

	history->values = palloc(sizeof(Datum) * context->desc->natts);
	history->nulls = palloc(sizeof(bool) * context->desc->natts);
	history->key = palloc(sizeof(Datum) * (history->ncolumns + 1));
	history->key_nulls = palloc(sizeof(bool) * (history->ncolumns + 1));
	context->private = history;
	MemoryContextSwitchTo(old);
}
