/* word_count.c: how often each word occurs in a column of text. */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "extension/pg_derive/derivation.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(word_count_handler);

/* Check the declaration, and remember where in the source the text is. */
static void
declare(DeriveContext *context)
{
	Datum		column = context->option(context, "column", TEXTOID, NULL, NULL);
	AttrNumber *attno = MemoryContextAlloc(context->memory, sizeof(AttrNumber));
	AttrNumber	word = context->view_column(context, "word", TEXTOID);

	*attno = context->source_column(context, 0, TextDatumGetCString(column));
	if (word != 1 || context->view_column(context, "n", INT8OID) != 2 || context->desc->natts != 2 ||
		TupleDescAttr(context->sources[0].desc, *attno - 1)->atttypid != TEXTOID)
		ereport(ERROR, (errmsg("word_count needs columns (word text, n bigint) and a source with text")));
	context->private = attno;
	context->set_key(context, 1, &word, true);
}

/* Count the words of a row up or down. */
static void
count_words(DeriveContext *context, TupleTableSlot *row, int64 by)
{
	bool		nulls[2] = {false, false};
	Datum		value = slot_getattr(row, *(AttrNumber *) context->private, &nulls[1]);
	char	   *rest = nulls[1] ? "" : TextDatumGetCString(value);

	for (char *word; (word = strtok_r(rest, " \t\n.,;:!?()", &rest)) != NULL;)
	{
		Datum		values[2] = {CStringGetTextDatum(word)};
		TupleTableSlot *old = context->get(context, DERIVE_VIEW, values, nulls);
		int64		n = by + (old ? DatumGetInt64(slot_getattr(old, 2, &nulls[1])) : 0);

		values[1] = Int64GetDatum(n);
		if (old == NULL)
			context->insert(context, DERIVE_VIEW, values, nulls);
		else
			context->replace(context, DERIVE_VIEW, n != 0 ? values : NULL, nulls);
	}
}

static void
apply(DeriveContext *context)
{
	DeriveChange change;

	while (context->next_change(context, &change))
	{
		if (change.oldrow != NULL)
			count_words(context, change.oldrow, -1);
		if (change.newrow != NULL)
			count_words(context, change.newrow, 1);
	}
}

Datum
word_count_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
		.flags = DERIVE_OF_CURRENT_ROWS | DERIVE_BUFFERED,
		.declare = declare,
		.apply = apply,
	};

	PG_RETURN_POINTER(&routine);
}
