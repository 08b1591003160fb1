/*-------------------------------------------------------------------------
 *
 * toprows.c
 *	  Rows in an order, in memory, each different one once.
 *
 * An array, sorted with the operators that the executor would sort by, in the same
 * way.  As rows that are the same are one with a weight, a table that has a row a million times
 * takes no more room than one that has it once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"

#include "derive/toprows.h"

/* Of rows that are in order but for some: how many in a row may be too high to be left where they are. */
#define MOST_TOO_HIGH	8

struct DeriveTopRows
{
	MemoryContext cxt;			/* holds all of this but values */
	MemoryContext values_cxt;
	TupleDesc	desc;
	int			nkeys;
	SortSupportData *keys;
	DeriveTopRow *rows;
	int64		count;
	int64		size;
};

DeriveTopRows *
derive_top_rows_create(TupleDesc desc, const DeriveTopOrder *order)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive first rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveTopRows *rows = palloc0(sizeof(DeriveTopRows));

	rows->cxt = cxt;
	rows->values_cxt = AllocSetContextCreate(cxt, "pg_derive values of first rows", ALLOCSET_DEFAULT_SIZES);
	rows->desc = desc;
	rows->nkeys = order->nkeys;
	rows->keys = palloc0(sizeof(SortSupportData) * Max(order->nkeys, 1));
	for (int i = 0; i < order->nkeys; i++)
	{
		SortSupport key = &rows->keys[i];

		key->ssup_cxt = cxt;
		key->ssup_collation = order->collations[i];
		key->ssup_nulls_first = order->nulls_first[i];
		key->ssup_attno = order->columns[i];
		PrepareSortSupportFromOrderingOp(order->operators[i], key);
	}
	rows->size = 64;
	rows->rows = palloc(sizeof(DeriveTopRow) * rows->size);
	MemoryContextSwitchTo(old);
	return rows;
}

void
derive_top_rows_free(DeriveTopRows *rows)
{
	MemoryContextDelete(rows->cxt);
}

int64
derive_top_rows_count(const DeriveTopRows *rows)
{
	return rows->count;
}

DeriveTopRow *
derive_top_rows_get(const DeriveTopRows *rows, int64 i)
{
	Assert(i >= 0 && i < rows->count);
	return &rows->rows[i];
}

int64
derive_top_rows_weight(const DeriveTopRows *rows)
{
	int64		weight = 0;

	for (int64 i = 0; i < rows->count; i++)
		weight += rows->rows[i].weight;
	return weight;
}

int
derive_top_compare(DeriveTopRows *rows, int nkeys, const Datum *values_a, const bool *nulls_a,
				   const Datum *values_b, const bool *nulls_b)
{
	Assert(nkeys <= rows->nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		SortSupport key = &rows->keys[i];
		int			column = key->ssup_attno - 1;
		int			result = ApplySortComparator(values_a[column], nulls_a[column],
												 values_b[column], nulls_b[column], key);

		if (result != 0)
			return result;
	}
	return 0;
}

DeriveTopRow *
derive_top_rows_share(DeriveTopRows *rows, const DeriveTopRow *row)
{
	DeriveTopRow *added;

	if (rows->count == rows->size)
	{
		rows->size *= 2;
		rows->rows = repalloc_huge(rows->rows, sizeof(DeriveTopRow) * rows->size);
	}
	added = &rows->rows[rows->count++];
	*added = *row;
	return added;
}

/* Copies of the values, where they are to live. */
static void
copy_values(DeriveTopRows *rows, DeriveTopRow *row, const Datum *values, const bool *nulls)
{
	int			natts = rows->desc->natts;
	MemoryContext old = MemoryContextSwitchTo(rows->values_cxt);

	row->values = palloc(natts * (sizeof(Datum) + sizeof(bool)));
	row->nulls = (bool *) (row->values + natts);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(rows->desc, i);

		row->nulls[i] = nulls[i];
		row->values[i] = nulls[i] ? (Datum) 0 : datumCopy(values[i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
}

DeriveTopRow *
derive_top_rows_add(DeriveTopRows *rows, const Datum *values, const bool *nulls, int64 weight)
{
	DeriveTopRow row = {.weight = weight};

	copy_values(rows, &row, values, nulls);
	ItemPointerSetInvalid(&row.tid);
	return derive_top_rows_share(rows, &row);
}

static int
compare_rows(const void *a, const void *b, void *arg)
{
	const DeriveTopRow *row_a = a;
	const DeriveTopRow *row_b = b;
	DeriveTopRows *rows = arg;

	return derive_top_compare(rows, rows->nkeys, row_a->values, row_a->nulls, row_b->values, row_b->nulls);
}

void
derive_top_rows_sort(DeriveTopRows *rows)
{
	int64		count = 0;

	CHECK_FOR_INTERRUPTS();
	qsort_arg(rows->rows, rows->count, sizeof(DeriveTopRow), compare_rows, rows);
	for (int64 i = 0; i < rows->count;)
	{
		DeriveTopRow row = rows->rows[i];

		while (++i < rows->count && compare_rows(&row, &rows->rows[i], rows) == 0)
			row.weight += rows->rows[i].weight;
		if (row.weight != 0)
			rows->rows[count++] = row;
	}
	rows->count = count;
}

/*
 * Leave rows that are in order, and share the others with "aside": a row that is too low, or up
 * to MOST_TOO_HIGH before it that are too high.
 *
 *		1 2 9 3 4 5 0 6		9 is too high for 3, 0 is too low; left are 1 2 3 4 5 6
 */
static void
set_disorder_aside(DeriveTopRows *rows, DeriveTopRows *aside)
{
	int64		count = 0;

	for (int64 i = 0; i < rows->count; i++)
	{
		DeriveTopRow row = rows->rows[i];
		int64		keep = count;

		while (keep > 0 && count - keep <= MOST_TOO_HIGH && compare_rows(&rows->rows[keep - 1], &row, rows) > 0)
			keep--;
		if (count - keep > MOST_TOO_HIGH)
			derive_top_rows_share(aside, &row);
		else
		{
			while (count > keep)
				derive_top_rows_share(aside, &rows->rows[--count]);
			rows->rows[count++] = row;
		}
	}
	rows->count = count;
}

void
derive_top_rows_merge_sort(DeriveTopRows *rows, DeriveTopRows *unsorted, DeriveTopRows *aside)
{
	set_disorder_aside(unsorted, aside);
	derive_top_rows_sort(aside);
	derive_top_rows_merge(rows, unsorted, aside);
}

int64
derive_top_rows_needed(DeriveTopRows *rows, int nkeys, int64 min_rows, int64 min_weight)
{
	int64		nrows = 0;
	int64		weight = 0;

	for (int64 i = 0; i < rows->count; i++)
	{
		DeriveTopRow *row = &rows->rows[i];

		if (row->weight > 0)
		{
			nrows++;
			weight += row->weight;
		}
		if (nrows >= min_rows && weight >= min_weight &&
			(i + 1 == rows->count ||
			 derive_top_compare(rows, nkeys, row->values, row->nulls, row[1].values, row[1].nulls) != 0))
			return i + 1;
	}
	return rows->count;
}

void
derive_top_rows_merge(DeriveTopRows *rows, const DeriveTopRows *a, const DeriveTopRows *b)
{
	int64		i = 0;
	int64		j = 0;

	Assert(rows->count == 0);
	while (i < a->count || j < b->count)
	{
		int			order = i == a->count ? 1 : j == b->count ? -1 : compare_rows(&a->rows[i], &b->rows[j], rows);
		const DeriveTopRow *row = order <= 0 ? &a->rows[i] : &b->rows[j];
		int64		weight = (order <= 0 ? a->rows[i++].weight : 0) + (order >= 0 ? b->rows[j++].weight : 0);

		if (weight != 0)
			derive_top_rows_share(rows, row)->weight = weight;
	}
}

void
derive_top_rows_truncate(DeriveTopRows *rows, int64 count)
{
	Assert(count <= rows->count);
	rows->count = count;
}

void
derive_top_rows_compact(DeriveTopRows *rows)
{
	MemoryContext before = rows->values_cxt;

	rows->values_cxt = AllocSetContextCreate(rows->cxt, "pg_derive values of first rows", ALLOCSET_DEFAULT_SIZES);
	for (int64 i = 0; i < rows->count; i++)
	{
		DeriveTopRow *row = &rows->rows[i];

		copy_values(rows, row, row->values, row->nulls);
	}
	MemoryContextDelete(before);
}
