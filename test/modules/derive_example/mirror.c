/*-------------------------------------------------------------------------
 *
 * mirror.c
 *	  A derivation that copies the rows of its sources.
 *
 * The view has a column "source", the number of the source that a row is from
 * (1, 2, ...), and then all columns of the first source, which the others must
 * have too, by name.
 *
 * Without a key, copies of rows are added and taken away.  With one, which must
 * contain "source", rows are found by their key; the state table counts the
 * rows of each source, so that state and view can be compared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "extension/pg_derive/derivation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(mirror_handler);

typedef struct Mirror
{
	bool		keyed;
	int			counts;			/* number of the state table; if keyed */
	AttrNumber *keys;			/* the key's columns in the view */
	AttrNumber **attnos;		/* by source: where the view's columns 2, 3,
								 * ... are */
	Datum	   *values;
	bool	   *nulls;
	Datum	   *key;
	bool	   *key_nulls;
	Datum	   *old_key;
} Mirror;

static TupleDesc
columns(DeriveContext *context)
{
	TupleDesc	from;
	TupleDesc	desc;
	int			n = 1;

	if (context->nsources == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a mirror needs a source")));
	from = context->sources[0].desc;
	for (int i = 0; i < from->natts; i++)
		n += TupleDescAttr(from, i)->attisdropped ? 0 : 1;

	desc = CreateTemplateTupleDesc(n);
	TupleDescInitEntry(desc, 1, "source", INT4OID, -1, 0);
	n = 1;
	for (int i = 0; i < from->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(from, i);

		if (att->attisdropped)
			continue;
		n++;
		TupleDescInitEntry(desc, n, NameStr(att->attname), att->atttypid, att->atttypmod, 0);
		TupleDescInitEntryCollation(desc, n, att->attcollation);
	}
	return desc;
}

static void
declare(DeriveContext *context)
{
	MemoryContext old = MemoryContextSwitchTo(context->memory);
	Mirror	   *mirror = palloc0(sizeof(Mirror));
	int			natts = context->desc->natts;

	if (context->view_column(context, "source", INT4OID) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("the first column of a mirror must be source integer")));
	mirror->attnos = palloc0(sizeof(AttrNumber *) * context->nsources);
	for (int i = 0; i < context->nsources; i++)
	{
		mirror->attnos[i] = palloc0(sizeof(AttrNumber) * natts);
		for (int j = 1; j < natts; j++)
		{
			Form_pg_attribute att = TupleDescAttr(context->desc, j);

			mirror->attnos[i][j] = context->source_column(context, i, NameStr(att->attname));
			if (TupleDescAttr(context->sources[i].desc, mirror->attnos[i][j] - 1)->atttypid != att->atttypid)
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("column \"%s\" of source \"%s\" has another type than in the view",
								NameStr(att->attname), get_rel_name(context->sources[i].relid))));
		}
	}

	mirror->keyed = context->nkeys > 0;
	mirror->keys = palloc0(sizeof(AttrNumber) * natts);
	for (int i = 0; i < context->nkeys; i++)
		mirror->keys[i] = context->view_column(context, context->keys[i], InvalidOid);
	if (mirror->keyed)
	{
		TupleDesc	desc = CreateTemplateTupleDesc(2);

		if (mirror->keys[0] != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the key of a mirror must begin with \"source\"")));
		TupleDescInitEntry(desc, 1, "source", INT4OID, -1, 0);
		TupleDescInitEntry(desc, 2, "rows", INT8OID, -1, 0);
		mirror->counts = context->declare_state(context, desc, 1);
	}
	mirror->values = palloc(sizeof(Datum) * natts);
	mirror->nulls = palloc(sizeof(bool) * natts);
	mirror->key = palloc(sizeof(Datum) * natts);
	mirror->key_nulls = palloc(sizeof(bool) * natts);
	mirror->old_key = palloc(sizeof(Datum) * natts);
	context->private = mirror;
	MemoryContextSwitchTo(old);
}

/* A source's row as one of the view, in mirror->values, and its key. */
static void
set_row(DeriveContext *context, int source, TupleTableSlot *row)
{
	Mirror	   *mirror = context->private;

	mirror->values[0] = Int32GetDatum(source + 1);
	mirror->nulls[0] = false;
	for (int i = 1; i < context->desc->natts; i++)
		mirror->values[i] = slot_getattr(row, mirror->attnos[source][i], &mirror->nulls[i]);
	for (int i = 0; i < context->nkeys; i++)
	{
		mirror->key[i] = mirror->values[mirror->keys[i] - 1];
		mirror->key_nulls[i] = mirror->nulls[mirror->keys[i] - 1];
	}
}

static void
count_row(DeriveContext *context, int source, int64 by)
{
	Mirror	   *mirror = context->private;
	Datum		values[2] = {Int32GetDatum(source + 1), Int64GetDatum(by)};
	bool		nulls[2] = {false, false};
	TupleTableSlot *found = context->get(context, mirror->counts, values, nulls);

	if (found != NULL)
		values[1] = Int64GetDatum(by + DatumGetInt64(slot_getattr(found, 2, &nulls[1])));
	context->put(context, mirror->counts, values, nulls);
}

static void
take_away(DeriveContext *context, int source, TupleTableSlot *row)
{
	Mirror	   *mirror = context->private;

	set_row(context, source, row);
	if (!mirror->keyed)
		context->add(context, mirror->values, mirror->nulls, -1);
	else if (!context->remove(context, DERIVE_VIEW, mirror->key, mirror->key_nulls))
		elog(ERROR, "the row to be removed is not there");
	else
		count_row(context, source, -1);
}

static void
copy(DeriveContext *context, int source, TupleTableSlot *row)
{
	Mirror	   *mirror = context->private;

	set_row(context, source, row);
	if (!mirror->keyed)
		context->add(context, mirror->values, mirror->nulls, 1);
	else
	{
		context->insert(context, DERIVE_VIEW, mirror->values, mirror->nulls);
		count_row(context, source, 1);
	}
}

/* By replace() if the key stays. */
static void
change_row(DeriveContext *context, DeriveChange *change)
{
	Mirror	   *mirror = context->private;
	bool		same = mirror->keyed;

	if (mirror->keyed)
	{
		set_row(context, change->source, change->oldrow);
		memcpy(mirror->old_key, mirror->key, sizeof(Datum) * context->nkeys);
		set_row(context, change->source, change->newrow);
		for (int i = 0; i < context->nkeys; i++)
		{
			Form_pg_attribute att = TupleDescAttr(context->desc, mirror->keys[i] - 1);

			same = same && att->attbyval && !mirror->key_nulls[i] && mirror->key[i] == mirror->old_key[i];
		}
	}
	if (same)
	{
		if (context->get(context, DERIVE_VIEW, mirror->key, mirror->key_nulls) == NULL)
			elog(ERROR, "the row to be updated is not there");
		context->replace(context, DERIVE_VIEW, mirror->values, mirror->nulls);
	}
	else
	{
		take_away(context, change->source, change->oldrow);
		copy(context, change->source, change->newrow);
	}
}

/* Rows of the view, copied: tables must not be changed while they are read. */
typedef struct Collect
{
	int			source;
	List	   *rows;			/* of HeapTuple */
} Collect;

static void
collect(void *arg, TupleTableSlot *row)
{
	Collect    *rows = arg;
	bool		isnull;

	if (DatumGetInt32(slot_getattr(row, 1, &isnull)) == rows->source + 1)
		rows->rows = lappend(rows->rows, ExecCopySlotHeapTuple(row));
}

static void
take_away_all(DeriveContext *context, int source)
{
	Mirror	   *mirror = context->private;
	Collect		rows = {source, NIL};
	ListCell   *lc;

	context->read_table(context, DERIVE_VIEW, collect, &rows);
	foreach(lc, rows.rows)
	{
		heap_deform_tuple(lfirst(lc), context->desc, mirror->values, mirror->nulls);
		for (int i = 0; i < context->nkeys; i++)
		{
			mirror->key[i] = mirror->values[mirror->keys[i] - 1];
			mirror->key_nulls[i] = mirror->nulls[mirror->keys[i] - 1];
		}
		(void) context->remove(context, DERIVE_VIEW, mirror->keyed ? mirror->key : mirror->values,
							   mirror->keyed ? mirror->key_nulls : mirror->nulls);
		if (mirror->keyed)
			count_row(context, source, -1);
	}
}

static void
apply(DeriveContext *context)
{
	Mirror	   *mirror = context->private;
	DeriveChange change;

	while (context->next_change(context, &change))
	{
		switch (change.operation)
		{
			case DERIVE_INSERTED:
				copy(context, change.source, change.newrow);
				break;
			case DERIVE_UPDATED:
				change_row(context, &change);
				break;
			case DERIVE_DELETED:
				take_away(context, change.source, change.oldrow);
				break;
			case DERIVE_TRUNCATED:
				if (!mirror->keyed)
					elog(ERROR, "a mirror without a key cannot take TRUNCATE");
				take_away_all(context, change.source);
				break;
			default:
				elog(ERROR, "unexpected operation %d", (int) change.operation);
		}
	}
}

static void
explain(DeriveContext *context, StringInfo text)
{
	appendStringInfo(text, "Copies %d tables\n", context->nsources);
	if (((Mirror *) context->private)->keyed)
		appendStringInfoString(text, "By key\n");
}

Datum
mirror_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
		.flags = DERIVE_OF_CURRENT_ROWS | DERIVE_TAKES_TRUNCATE | DERIVE_BUFFERED,
		.columns = columns,
		.declare = declare,
		.apply = apply,
		.explain = explain,
	};

	PG_RETURN_POINTER(&routine);
}
