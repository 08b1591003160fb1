/*-------------------------------------------------------------------------
 *
 * toprows.h
 *	  Rows in an order, in memory, each different one once.
 *
 * For the operator that keeps the first rows of a result (top.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_TOPROWS_H
#define DERIVE_TOPROWS_H

#include "access/tupdesc.h"
#include "storage/itemptr.h"

/* What decides the order of rows: columns, the first ones first. */
typedef struct DeriveTopOrder
{
	int			nkeys;
	AttrNumber *columns;
	Oid		   *operators;
	Oid		   *collations;
	bool	   *nulls_first;
} DeriveTopOrder;

typedef struct DeriveTopRow
{
	Datum	   *values;
	bool	   *nulls;
	int64		weight;			/* how often it is there; of changes also
								 * negative */
	int64		shown;			/* in the view */
	ItemPointerData tid;		/* where it is stored; invalid: nowhere */
} DeriveTopRow;

typedef struct DeriveTopRows DeriveTopRows;

/*
 * For rows with these columns, in a child of CurrentMemoryContext, in which the rows that
 * are added are copied.  The order has to be total: rows that it does not tell apart are the same.
 */
extern DeriveTopRows *derive_top_rows_create(TupleDesc desc, const DeriveTopOrder *order);
extern void derive_top_rows_free(DeriveTopRows *rows);

extern int64 derive_top_rows_count(const DeriveTopRows *rows);
extern DeriveTopRow *derive_top_rows_get(const DeriveTopRows *rows, int64 i);
extern int64 derive_top_rows_weight(const DeriveTopRows *rows);

/* How two rows are in the order, by its first nkeys columns. */
extern int	derive_top_compare(DeriveTopRows *rows, int nkeys, const Datum *values_a, const bool *nulls_a,
							   const Datum *values_b, const bool *nulls_b);

/* Append a row; it need not be in order. */
extern DeriveTopRow *derive_top_rows_add(DeriveTopRows *rows, const Datum *values, const bool *nulls, int64 weight);

/* Append a row whose values live elsewhere, at least as long. */
extern DeriveTopRow *derive_top_rows_share(DeriveTopRows *rows, const DeriveTopRow *row);

/* Put them in order, the same rows into one; without those whose weight is 0 then. */
extern void derive_top_rows_sort(DeriveTopRows *rows);

/*
 * Of rows in order: how many of the first ones there must be so that min_rows are there,
 * with min_weight, counting those with positive weights; and so that the next one does not have the
 * same values in the first nkeys columns of the order as the last one.
 */
extern int64 derive_top_rows_needed(DeriveTopRows *rows, int nkeys, int64 min_rows, int64 min_weight);

/* Append, to none, the rows of two others with their weights summed; all in order, values are shared. */
extern void derive_top_rows_merge(DeriveTopRows *rows, const DeriveTopRows *a, const DeriveTopRows *b);

/* Forget all but the first ones. */
extern void derive_top_rows_truncate(DeriveTopRows *rows, int64 count);

/*
 * Append, to none, rows that are different and mostly in order already, in order; they are
 * taken apart for that, and "aside" has some of them.  Values are shared.
 */
extern void derive_top_rows_merge_sort(DeriveTopRows *rows, DeriveTopRows *unsorted, DeriveTopRows *aside);

/* Let go of the memory of rows that are forgotten, or were the same as others. */
extern void derive_top_rows_compact(DeriveTopRows *rows);

#endif							/* DERIVE_TOPROWS_H */
