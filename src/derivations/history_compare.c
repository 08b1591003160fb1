/*-------------------------------------------------------------------------
 *
 * history_compare.c
 *	  The open versions of a history against the rows that its source has.
 *
 * Both sets of rows are sorted by a hash of their images.  Rows with the same
 * hash are mostly equal, so among these different images are few.  Versions
 * that the source does not have are ended, rows without a version get one.
 *
 * Of equal open versions, some of which are ended by a truncation, these are the oldest: a row that was
 * inserted after it is not one that it took.
 *
 *		INSERT (1)		version 7
 *		TRUNCATE		the partition of 1, which says nothing of its rows
 *		INSERT (1)		version 8; the source has one row (1), so 7 is ended
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "derivations/history_internal.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

/* Columns of what is sorted, before those of the source. */
#define COMPARED_HASH	0
#define COMPARED_WEIGHT 1		/* 1: the source has it, -1: an open version */
#define COMPARED_ROW	2

typedef struct Comparison
{
	DeriveContext *context;
	History    *history;
	Tuplesortstate *sort;
	TupleTableSlot *slot;		/* of what is sorted */
	bool		of_view;		/* rows come from there */
	bool		oldest;			/* of equal versions are ended */
} Comparison;

/* An image, and how many more of it the source has. */
typedef struct Image
{
	MinimalTuple tuple;
	int64		weight;
	int64		nopen;			/* versions */
} Image;

static void
add_compared(void *arg, TupleTableSlot *row)
{
	Comparison *comparison = arg;
	History    *history = comparison->history;
	TupleTableSlot *slot = comparison->slot;
	uint64		hash = 0;

	if (comparison->of_view && !slot_attisnull(row, ATTNO(history, HISTORY_UNTIL_LSN)))
		return;
	ExecClearTuple(slot);
	for (int i = 0; i < history->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(comparison->context->desc, i);
		Datum	   *value = &slot->tts_values[COMPARED_ROW + i];
		bool	   *isnull = &slot->tts_isnull[COMPARED_ROW + i];

		*value = slot_getattr(row, comparison->of_view ? i + 1 : history->from[i], isnull);
		hash = hash_combine64(hash, *isnull ? 0 : datum_image_hash(*value, att->attbyval, att->attlen));
	}
	slot->tts_values[COMPARED_HASH] = Int64GetDatum((int64) hash);
	slot->tts_isnull[COMPARED_HASH] = false;
	slot->tts_values[COMPARED_WEIGHT] = Int32GetDatum(comparison->of_view ? -1 : 1);
	slot->tts_isnull[COMPARED_WEIGHT] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(comparison->sort, slot);
}

/* All rows, sorted. */
static void
sort_rows(Comparison *comparison)
{
	DeriveContext *context = comparison->context;
	TupleDesc	desc = CreateTemplateTupleDesc(COMPARED_ROW + comparison->history->ncolumns);
	AttrNumber	column = COMPARED_HASH + 1;
	Oid			less = Int8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;

	TupleDescInitEntry(desc, COMPARED_HASH + 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(desc, COMPARED_WEIGHT + 1, "weight", INT4OID, -1, 0);
	for (int i = 0; i < comparison->history->ncolumns; i++)
		TupleDescCopyEntry(desc, COMPARED_ROW + i + 1, context->desc, i + 1);

	comparison->sort = tuplesort_begin_heap(desc, 1, &column, &less, &collation, &nulls_first,
											work_mem, NULL, 0);
	comparison->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	comparison->of_view = false;
	context->read_source(context, 0, add_compared, comparison);
	comparison->of_view = true;
	context->read_table(context, DERIVE_VIEW, add_compared, comparison);
	ExecDropSingleTupleTableSlot(comparison->slot);
	tuplesort_performsort(comparison->sort);
	comparison->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
}

static bool
same_image(Comparison *comparison, TupleTableSlot *a, TupleTableSlot *b)
{
	for (int i = 0; i < comparison->history->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(comparison->context->desc, i);
		bool		anull;
		bool		bnull;
		Datum		avalue = slot_getattr(a, COMPARED_ROW + i + 1, &anull);
		Datum		bvalue = slot_getattr(b, COMPARED_ROW + i + 1, &bnull);

		if (anull != bnull || (!anull && !datum_image_eq(avalue, bvalue, att->attbyval, att->attlen)))
			return false;
	}
	return true;
}

/* Count a row among the images with its hash. */
static List *
count_image(Comparison *comparison, List *images, TupleTableSlot *scratch)
{
	bool		isnull;
	int64		weight = DatumGetInt32(slot_getattr(comparison->slot, COMPARED_WEIGHT + 1, &isnull));
	Image	   *image = NULL;
	ListCell   *lc;

	foreach(lc, images)
	{
		image = lfirst(lc);
		ExecStoreMinimalTuple(image->tuple, scratch, false);
		if (same_image(comparison, comparison->slot, scratch))
			break;
		image = NULL;
	}
	if (image == NULL)
	{
		image = palloc0(sizeof(Image));
		image->tuple = ExecCopySlotMinimalTuple(comparison->slot);
		images = lappend(images, image);
	}
	image->weight += weight;
	image->nopen += weight < 0;
	return images;
}

/* A compared row in the form of the view's. */
static void
to_view_row(Comparison *comparison, TupleTableSlot *compared, TupleTableSlot *row)
{
	ExecClearTuple(row);
	memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
	for (int i = 0; i < comparison->history->ncolumns; i++)
		row->tts_values[i] = slot_getattr(compared, COMPARED_ROW + i + 1, &row->tts_isnull[i]);
	ExecStoreVirtualTuple(row);
}

/* The open version of a row. */
static TupleTableSlot *
find_version(Comparison *comparison, TupleTableSlot *row)
{
	TupleTableSlot *version = derive_history_find_open(comparison->context, comparison->history, row, true);

	if (version == NULL)
		elog(ERROR, "a version of a row is missing");
	return version;
}

static void
end_one(Comparison *comparison, TupleTableSlot *row, const Cause *end)
{
	(void) derive_history_end_version(comparison->context, comparison->history, find_version(comparison, row), end);
}

typedef struct OpenVersion
{
	int64		number;
	MinimalTuple tuple;
} OpenVersion;

static int
compare_numbers(const void *a, const void *b)
{
	int64		x = ((const OpenVersion *) a)->number;
	int64		y = ((const OpenVersion *) b)->number;

	return (x > y) - (x < y);
}

/* End the oldest ones of the open versions of a row.  These are found in no order, so they are taken out and put back. */
static void
end_oldest(Comparison *comparison, TupleTableSlot *row, int64 nended, int64 nopen, const Cause *end)
{
	DeriveContext *context = comparison->context;
	OpenVersion *versions = palloc(sizeof(OpenVersion) * nopen);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(context->desc, &TTSOpsMinimalTuple);

	for (int64 i = 0; i < nopen; i++)
	{
		TupleTableSlot *version = find_version(comparison, row);
		bool		isnull;

		versions[i].number = DatumGetInt64(slot_getattr(version, ATTNO(comparison->history, HISTORY_VERSION), &isnull));
		versions[i].tuple = ExecCopySlotMinimalTuple(version);
		context->replace(context, DERIVE_VIEW, NULL, NULL);
	}
	qsort(versions, nopen, sizeof(OpenVersion), compare_numbers);
	for (int64 i = 0; i < nopen; i++)
	{
		ExecStoreMinimalTuple(versions[i].tuple, slot, false);
		slot_getallattrs(slot);
		if (i < nended)
			derive_history_write_ended(context, comparison->history, slot, end);
		else
			context->insert(context, DERIVE_VIEW, slot->tts_values, slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* End versions that the source does not have, remember rows of which versions are to begin. */
static void
settle_images(Comparison *comparison, List *images, TupleTableSlot *scratch, TupleTableSlot *row,
			  const Cause *end, Tuplestorestate *to_begin)
{
	ListCell   *lc;

	foreach(lc, images)
	{
		Image	   *image = lfirst(lc);

		ExecStoreMinimalTuple(image->tuple, scratch, false);
		to_view_row(comparison, scratch, row);
		if (comparison->oldest && image->weight < 0 && image->nopen > -image->weight)
			end_oldest(comparison, row, -image->weight, image->nopen, end);
		else
			for (; image->weight < 0; image->weight++)
				end_one(comparison, row, end);
		for (; image->weight > 0; image->weight--)
			tuplestore_puttupleslot(to_begin, row);
	}
}

void
derive_history_compare(DeriveContext *context, const Cause *end, const Cause *begin, bool oldest)
{
	Comparison	comparison = {context, context->private};
	Tuplestorestate *to_begin = tuplestore_begin_heap(false, false, work_mem);
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive history", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *scratch;
	TupleTableSlot *row = MakeSingleTupleTableSlot(context->desc, &TTSOpsVirtual);
	TupleTableSlot *begun = MakeSingleTupleTableSlot(context->desc, &TTSOpsMinimalTuple);
	List	   *images = NIL;
	int64		hash = 0;

	comparison.oldest = oldest;
	sort_rows(&comparison);
	scratch = MakeSingleTupleTableSlot(comparison.slot->tts_tupleDescriptor, &TTSOpsMinimalTuple);
	while (tuplesort_gettupleslot(comparison.sort, true, false, comparison.slot, NULL))
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);
		bool		isnull;
		int64		this_hash = DatumGetInt64(slot_getattr(comparison.slot, COMPARED_HASH + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (images != NIL && this_hash != hash)
		{
			settle_images(&comparison, images, scratch, row, end, to_begin);
			ExecClearTuple(scratch);
			images = NIL;
			MemoryContextReset(cxt);
		}
		hash = this_hash;
		images = count_image(&comparison, images, scratch);
		MemoryContextSwitchTo(old);
	}
	settle_images(&comparison, images, scratch, row, end, to_begin);

	/* now that all others are ended, none of these is taken for one of them */
	while (tuplestore_gettupleslot(to_begin, true, false, begun))
		derive_history_begin_version(context, comparison.history, begun, true, begin, InvalidXLogRecPtr);

	tuplesort_end(comparison.sort);
	tuplestore_end(to_begin);
	ExecDropSingleTupleTableSlot(comparison.slot);
	ExecDropSingleTupleTableSlot(scratch);
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(begun);
	MemoryContextDelete(cxt);
}
