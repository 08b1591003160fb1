/*-------------------------------------------------------------------------
 *
 * consolidate.h
 *	  Net effect of a stream of weighted rows.
 *
 * Rows are sorted by a hash (external sort, so any amount of them works in
 * bounded memory), equal rows are summed, zeros dropped.  Two equalities:
 *
 *	by image	each row exactly as stored; for changing tables
 *	by value	the types' own default equality operator where there is one,
 *				else image; for comparing a view with its query, as EXCEPT ALL
 *				would
 *
 * With key columns, rows are grouped by key and a removed and an added row of
 * the same key are reported together, as one replacement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CONSOLIDATE_H
#define DERIVE_CONSOLIDATE_H

#include "access/tupdesc.h"
#include "executor/tuptable.h"

typedef struct DeriveConsolidator DeriveConsolidator;

/*
 * One net change: old (removed) and new (added); one of them may be NULL;
 * count > 0 says how many copies (always 1 where both are given).
 */
typedef void (*DeriveNetChange) (void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count);

/*
 * nkeys = 0: no key.  The consolidator lives in a child of
 * CurrentMemoryContext.  Sorting memory is pg_derive.work_mem.
 */
extern DeriveConsolidator *derive_consolidate_begin(TupleDesc desc, int nkeys, const AttrNumber *keys, bool by_value);
extern void derive_consolidate_add(DeriveConsolidator *c, TupleTableSlot *row, int64 weight);

/* Report every net change, then free all. */
extern void derive_consolidate_finish(DeriveConsolidator *c, DeriveNetChange callback, void *arg);

/* Does the type's btree say that equal values are the same bits? */
extern bool derive_equality_is_image(Oid typid, Oid collation);

#endif							/* DERIVE_CONSOLIDATE_H */
