/*-------------------------------------------------------------------------
 *
 * rowhash.h
 *	  Hash and equality of rows by their binary image.
 *
 * Views may hold types without an equality operator (json, xml, point), so
 * rows are found by image: two rows are the same iff each pair of columns is
 * both NULL or datum_image_eq(); for types whose images may differ without
 * meaning anything, see rowhash.c.  SQL sees the same hash as
 * derive_state.row_hash(record), which expression indexes on view tables use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ROWHASH_H
#define DERIVE_ROWHASH_H

#include "access/tupdesc.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"

/*
 * 64-bit image hash of the columns attrs[0..nattrs-1] (attribute numbers) of
 * the slot's row; nattrs = 0 means all columns.  Equals, for the same values
 * in the same order, derive_state.row_hash(ROW(...)).
 */
extern int64 derive_row_hash(TupleTableSlot *slot, int nattrs, const AttrNumber *attrs);

/* Same, over arrays of values; dropped columns must not be in desc. */
extern int64 derive_values_hash(TupleDesc desc, const Datum *values, const bool *nulls);

/* Are the rows the same by image in these columns (nattrs = 0: all)? */
extern bool derive_row_equal(TupleTableSlot *a, TupleTableSlot *b, int nattrs, const AttrNumber *attrs);

/* The same for single values that are not NULL; att gives type and storage. */
extern uint64 derive_datum_hash(Form_pg_attribute att, Datum value);
extern bool derive_datum_equal(Form_pg_attribute att, Datum a, Datum b);

/* Total order of values that are not NULL, by their images: 0 iff derive_datum_equal(). */
extern int	derive_datum_compare(Form_pg_attribute att, Datum a, Datum b);

/*
 * A value of variable length whose bytes are the same whenever derive_datum_equal()
 * says so and the row types in it have not changed.  It is still a value of its type.
 * In CurrentMemoryContext, may be the argument itself.
 */
extern Datum derive_datum_image(Oid type, Datum value);

#endif							/* DERIVE_ROWHASH_H */
