/*-------------------------------------------------------------------------
 *
 * order_index.h
 *	  The rows of an internal table, in an order of its columns, from a place on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ORDER_INDEX_H
#define DERIVE_ORDER_INDEX_H

#include "executor/tuptable.h"
#include "nodes/parsenodes.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "compile/running.h"

/* How rows compare by order columns. */
typedef struct DeriveOrdering DeriveOrdering;

/* order: List of DeriveOrderColumn *; in CurrentMemoryContext. */
extern DeriveOrdering *derive_ordering_create(List *order);

/* Values of the order columns, each by its position in the order, not toasted; in a memory context of its own. */
typedef struct DerivePlace
{
	MemoryContext cxt;
	Datum	   *values;
	bool	   *nulls;
} DerivePlace;

extern DerivePlace *derive_place_create(DeriveOrdering *ordering);
extern void derive_place_copy(DeriveOrdering *ordering, DerivePlace *place, const DerivePlace *other);

/* Of a row of the table, or, if input, of the windows' input. */
extern void derive_place_set(DeriveOrdering *ordering, DerivePlace *place, TupleTableSlot *row, bool input);

/* < 0: the one comes before the other. */
extern int	derive_places_compare(DeriveOrdering *ordering, const DerivePlace *place, const DerivePlace *other);

/* < 0: the row comes before the place; 0: it is there. */
extern int	derive_place_compare(DeriveOrdering *ordering, TupleTableSlot *row, bool input, const DerivePlace *place);

/* The statements (List of IndexStmt *) that make the indexes for this order on the table, but for those that are there. */
extern List *derive_order_index_statements(Relation table, List *order);

/*
 * What several scans of the table have in common; NULL if it has not the indexes.  In
 * CurrentMemoryContext; the table and the snapshot, by which all scans see it, must stay.
 */
typedef struct DeriveOrderReader DeriveOrderReader;
extern DeriveOrderReader *derive_order_reader_open(Relation table, List *order, DeriveOrdering *ordering, Snapshot snapshot);
extern void derive_order_reader_close(DeriveOrderReader *reader);

/*
 * Read the table in the order or, if backward, against it.  Begins with the rows at a place
 * (NULL: at the end), or before that; the first ones may still come before the place, in the
 * direction of reading.  A row that next() returns (NULL: there are no more) is good until the
 * next call.
 */
typedef struct DeriveOrderScan DeriveOrderScan;
extern DeriveOrderScan *derive_order_scan_begin(DeriveOrderReader *reader, bool backward, const DerivePlace *place);
extern TupleTableSlot *derive_order_scan_next(DeriveOrderScan *scan);
extern void derive_order_scan_end(DeriveOrderScan *scan);

#endif							/* DERIVE_ORDER_INDEX_H */
