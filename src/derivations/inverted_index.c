/*-------------------------------------------------------------------------
 *
 * inverted_index.c
 *	  The derivation "inverted_index": the words of documents.
 *
 * The source has a row per document, the view one per word and document:
 *
 *		word		as the text search configuration makes it from the text
 *		document	the document's key
 *		positions	where the word stands, ascending
 *		frequency	how often
 *		length		words in the document, each as often as it stands there
 *
 * The last two are what ranking functions are made of.
 *
 * The view is the union of what each row of the source gives by itself, so the
 * changes of a batch only have to be added up: for each one the words of the old
 * text go and those of the new text come.  Words that stay as they were are
 * left out at once.  Nothing is looked up, order does not matter, and documents
 * need not be unique, although one that is there twice has each word twice.
 * An index on the words, which the parser keeps short enough for it, serves
 * queries.
 *
 * Texts are taken apart by the parser that to_tsvector() uses, but no tsvector
 * is made: a document may have any number of words, and they may stand at any
 * number of places, where tsvector ends at 1 MB and at 256 positions of a word.
 * What remains are the parser's own limits, which are no errors: words of 2 kB
 * and more are ignored, and positions end at 16383, which all later words get.
 * Places with that position are all counted, but listed once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "derivations/support.h"
#include "miscadmin.h"
#include "tsearch/ts_type.h"
#include "tsearch/ts_utils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(derive_inverted_index_handler);

/*
 * Bytes from which on the parser is given room for all words at once, because
 * its array must not grow over 1 GB.
 */
#define LARGE_DOCUMENT (64 * 1024 * 1024)

/* Columns of the view. */
enum
{
	INDEX_WORD,
	INDEX_DOCUMENT,
	INDEX_POSITIONS,
	INDEX_FREQUENCY,
	INDEX_LENGTH,
	INDEX_NATTS
};

typedef struct InvertedIndex
{
	AttrNumber	document;		/* columns of the source */
	AttrNumber	body;
	Oid			config;			/* text search configuration */
	bool		documentbyval;
	int16		documentlen;
} InvertedIndex;

/* A word of a document, with its places in an array of the document. */
typedef struct Word
{
	const char *word;			/* not terminated */
	int			len;
	const int32 *positions;
	int			npositions;
	int			frequency;
} Word;

/* A document taken apart; words in the order of their bytes. */
typedef struct Words
{
	Word	   *items;
	int			n;
	int			length;
} Words;

/* ---------- declaration ---------- */

/* The primary key's column, if it is a single one. */
static AttrNumber
single_primary_key(DeriveContext *context)
{
	Relation	relation = table_open(context->sources[0].relid, AccessShareLock);
	Oid			index;
	AttrNumber	result = InvalidAttrNumber;

	(void) RelationGetIndexList(relation);
	index = relation->rd_pkindex;
	if (OidIsValid(index))
	{
		Relation	primary = index_open(index, AccessShareLock);

		if (IndexRelationGetNumberOfKeyAttributes(primary) == 1)
			result = primary->rd_index->indkey.values[0];
		index_close(primary, AccessShareLock);
	}
	table_close(relation, AccessShareLock);
	return result;
}

static void
learn(DeriveContext *context, InvertedIndex *ii, DeriveSupportColumn *columns)
{
	Form_pg_attribute att;

	derive_support_one_source(context);
	ii->document = derive_support_column_option(context, "document", false);
	if (ii->document == InvalidAttrNumber)
		ii->document = derive_support_named(context, single_primary_key(context));
	if (ii->document == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"document\" is missing"),
				 errdetail("\"%s\" has no primary key of one column, which would be the default.",
						   derive_support_relation(context->sources[0].relid)),
				 errhint("Name the column by which documents are known.")));
	ii->body = derive_support_column_option(context, "text", true);
	att = TupleDescAttr(context->sources[0].desc, ii->body - 1);
	if (att->atttypid != TEXTOID && att->atttypid != VARCHAROID && att->atttypid != BPCHAROID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\", option \"text\", must be of type text, varchar or char",
						NameStr(att->attname))));
	ii->config = DatumGetObjectId(context->option(context, "config", REGCONFIGOID, "pg_catalog.simple", NULL));

	att = TupleDescAttr(context->sources[0].desc, ii->document - 1);
	ii->documentbyval = att->attbyval;
	ii->documentlen = att->attlen;
	columns[INDEX_WORD] = derive_support_new_column("word", TEXTOID);
	columns[INDEX_DOCUMENT] = derive_support_column(context, ii->document, "document");
	columns[INDEX_POSITIONS] = derive_support_new_column("positions", INT4ARRAYOID);
	columns[INDEX_FREQUENCY] = derive_support_new_column("frequency", INT4OID);
	columns[INDEX_LENGTH] = derive_support_new_column("length", INT4OID);
}

static TupleDesc
inverted_index_columns(DeriveContext *context)
{
	InvertedIndex ii = {0};
	DeriveSupportColumn columns[INDEX_NATTS];

	learn(context, &ii, columns);
	return derive_support_columns(context, INDEX_NATTS, columns);
}

static void
inverted_index_declare(DeriveContext *context)
{
	InvertedIndex *ii = MemoryContextAllocZero(context->memory, sizeof(InvertedIndex));
	DeriveSupportColumn columns[INDEX_NATTS];
	AttrNumber	word = INDEX_WORD + 1;

	learn(context, ii, columns);
	derive_support_check_columns(context, INDEX_NATTS, columns);
	derive_support_first_columns_are_key(context, 2, false);
	context->add_index(context, "btree", 1, &word);
	context->private = ii;
}

/* ---------- words ---------- */

static int
compare_parsed(const void *a, const void *b)
{
	const ParsedWord *x = a;
	const ParsedWord *y = b;
	int			result = memcmp(x->word, y->word, Min(x->len, y->len));

	if (result == 0)
		result = (int) x->len - (int) y->len;
	if (result == 0)
		result = (int) x->pos.pos - (int) y->pos.pos;
	return result;
}

static int
compare_words(const Word *x, const Word *y)
{
	int			result = memcmp(x->word, y->word, Min(x->len, y->len));

	return result != 0 ? result : x->len - y->len;
}

/*
 * Gather sorted parsed words.  A word can come twice from one place, if two
 * dictionary entries or parts of a compound lead to it; that is one occurrence.
 * At the last position many places meet.
 */
static void
gather(const ParsedText *parsed, Words *words)
{
	int32	   *positions = palloc(parsed->curwords * sizeof(int32));

	words->items = MemoryContextAllocHuge(CurrentMemoryContext, parsed->curwords * sizeof(Word));
	for (int i = 0; i < parsed->curwords; i++)
	{
		const ParsedWord *from = &parsed->words[i];
		Word	   *word = words->n > 0 ? &words->items[words->n - 1] : NULL;
		int32		last;

		if (word == NULL || word->len != from->len || memcmp(word->word, from->word, word->len) != 0)
		{
			word = &words->items[words->n++];
			memset(word, 0, sizeof(Word));
			word->word = from->word;
			word->len = from->len;
			word->positions = positions;
		}
		last = word->npositions > 0 ? word->positions[word->npositions - 1] : 0;
		if (from->pos.pos != last)
		{
			*positions++ = from->pos.pos;
			word->npositions++;
		}
		else if (last < MAXENTRYPOS - 1)
			continue;
		word->frequency++;
		words->length++;
	}
}

static void
take_apart(const InvertedIndex *ii, TupleTableSlot *row, Words *words)
{
	ParsedText	parsed = {0};
	bool		isnull;
	Datum		value = slot_getattr(row, ii->body, &isnull);
	text	   *string;
	int			size;

	memset(words, 0, sizeof(Words));
	if (isnull)
		return;
	string = DatumGetTextPP(value);
	size = VARSIZE_ANY_EXHDR(string);
	parsed.lenwords = Max(16, size > LARGE_DOCUMENT ? size / 2 : size / 6);
	parsed.words = MemoryContextAllocHuge(CurrentMemoryContext, parsed.lenwords * sizeof(ParsedWord));
	parsetext(ii->config, &parsed, VARDATA_ANY(string), size);
	if (parsed.curwords == 0)
		return;
	qsort(parsed.words, parsed.curwords, sizeof(ParsedWord), compare_parsed);
	gather(&parsed, words);
}

static bool
same_word(const Word *a, const Word *b)
{
	return a->frequency == b->frequency && a->npositions == b->npositions &&
		memcmp(a->positions, b->positions, a->npositions * sizeof(int32)) == 0;
}

/* ---------- writing ---------- */

static Datum
positions_array(const Word *word)
{
	Datum	   *values = palloc(word->npositions * sizeof(Datum));

	for (int i = 0; i < word->npositions; i++)
		values[i] = Int32GetDatum(word->positions[i]);
	return PointerGetDatum(construct_array(values, word->npositions, INT4OID,
										   sizeof(int32), true, TYPALIGN_INT));
}

static void
write_word(DeriveContext *context, TupleTableSlot *row, const Words *words, const Word *word, int64 weight)
{
	InvertedIndex *ii = context->private;
	Datum		values[INDEX_NATTS];
	bool		isnull[INDEX_NATTS] = {false};

	values[INDEX_WORD] = PointerGetDatum(cstring_to_text_with_len(word->word, word->len));
	values[INDEX_DOCUMENT] = slot_getattr(row, ii->document, &isnull[INDEX_DOCUMENT]);
	values[INDEX_POSITIONS] = positions_array(word);
	values[INDEX_FREQUENCY] = Int32GetDatum(word->frequency);
	values[INDEX_LENGTH] = Int32GetDatum(words->length);
	if (context->building)
		context->insert(context, DERIVE_VIEW, values, isnull);
	else
		context->add(context, values, isnull, weight);
}

static bool
same_column(TupleTableSlot *a, TupleTableSlot *b, AttrNumber attno, bool byval, int16 len)
{
	bool		anull;
	bool		bnull;
	Datum		avalue = slot_getattr(a, attno, &anull);
	Datum		bvalue = slot_getattr(b, attno, &bnull);

	if (anull || bnull)
		return anull && bnull;
	return datum_image_eq(avalue, bvalue, byval, len);
}

/* The words of the old row go, those of the new one come; either may be NULL. */
static void
apply_change(DeriveContext *context, TupleTableSlot *oldrow, TupleTableSlot *newrow)
{
	InvertedIndex *ii = context->private;
	Words		old = {0};
	Words		new = {0};
	bool		comparable = false;
	int			i = 0;
	int			j = 0;

	if (oldrow && newrow)
	{
		comparable = same_column(oldrow, newrow, ii->document, ii->documentbyval, ii->documentlen);
		if (comparable && same_column(oldrow, newrow, ii->body, false, -1))
			return;
	}
	if (oldrow)
		take_apart(ii, oldrow, &old);
	if (newrow)
		take_apart(ii, newrow, &new);
	comparable = comparable && old.length == new.length;

	while (i < old.n || j < new.n)
	{
		int			order;

		if (i == old.n || j == new.n)
			order = i == old.n ? 1 : -1;
		else
			order = compare_words(&old.items[i], &new.items[j]);
		if (order == 0 && comparable && same_word(&old.items[i], &new.items[j]))
		{
			i++;
			j++;
			continue;
		}
		if (order <= 0)
			write_word(context, oldrow, &old, &old.items[i++], -1);
		if (order >= 0)
			write_word(context, newrow, &new, &new.items[j++], 1);
	}
}

static void
inverted_index_apply(DeriveContext *context)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "inverted_index document",
											  ALLOCSET_DEFAULT_SIZES);
	DeriveChange change;

	while (context->next_change(context, &change))
	{
		MemoryContext oldcxt = MemoryContextSwitchTo(cxt);

		CHECK_FOR_INTERRUPTS();
		apply_change(context, change.oldrow, change.newrow);
		MemoryContextSwitchTo(oldcxt);
		MemoryContextReset(cxt);
	}
	MemoryContextDelete(cxt);
}

static void
inverted_index_explain(DeriveContext *context, StringInfo text)
{
	appendStringInfo(text, "changed documents: take old and new text apart, write the words that differ; nothing is read\n");
}

static const DeriveRoutine inverted_index_routine = {
	.api_version = DERIVE_API_VERSION,
	.flags = DERIVE_OF_CURRENT_ROWS,
	.columns = inverted_index_columns,
	.declare = inverted_index_declare,
	.apply = inverted_index_apply,
	.explain = inverted_index_explain
};

Datum
derive_inverted_index_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&inverted_index_routine);
}
