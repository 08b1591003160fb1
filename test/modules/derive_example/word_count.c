/* word_count: how often each word occurs in a column of text. */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "extension/pg_derive/derivation.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(word_count_handler);

/* Option "column" names the text; the view has the columns word and n. */
static void
declare(DeriveContext *context)
{
	char	   *column = TextDatumGetCString(context->option(context, "column", TEXTOID, NULL, NULL));
	AttrNumber	word = context->view_column(context, "word", TEXTOID);
	AttrNumber *attno = MemoryContextAlloc(context->memory, sizeof(AttrNumber));

	if (word != 1 || context->view_column(context, "n", INT8OID) != 2 || context->desc->natts != 2)
		ereport(ERROR, (errmsg("the columns must be word text, n bigint")));
	*attno = context->source_column(context, 0, column);
	if (TupleDescAttr(context->sources[0].desc, *attno - 1)->atttypid != TEXTOID)
		ereport(ERROR, (errmsg("column \"%s\" must be of type text", column)));
	context->private = attno;
	context->set_key(context, 1, &word, true);
}

/* Count the words of a row, up or down. */
static void
count_words(DeriveContext *context, TupleTableSlot *row, int64 by)
{
	bool		nulls[2] = {false, false};
	Datum		text = slot_getattr(row, *(AttrNumber *) context->private, &nulls[0]);
	char	   *rest = nulls[0] ? NULL : TextDatumGetCString(text);
	char	   *word;

	nulls[0] = false;
	while (rest != NULL && (word = strtok_r(rest, " \t\n.,;:!?()\"", &rest)) != NULL)
	{
		Datum		values[2] = {CStringGetTextDatum(word), Int64GetDatum(by)};
		TupleTableSlot *found = context->get(context, DERIVE_VIEW, values, nulls);

		if (found == NULL)
			context->insert(context, DERIVE_VIEW, values, nulls);
		else
		{
			values[1] = Int64GetDatum(by + DatumGetInt64(slot_getattr(found, 2, &nulls[1])));
			context->replace(context, DERIVE_VIEW, DatumGetInt64(values[1]) == 0 ? NULL : values, nulls);
		}
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
		.flags = DERIVE_OF_CURRENT_ROWS,
		.declare = declare,
		.apply = apply,
	};

	PG_RETURN_POINTER(&routine);
}
