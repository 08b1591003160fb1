/*-------------------------------------------------------------------------
 *
 * held.h
 *	  Rows of a delta that may be gone with the next change.
 *
 * For delta.c.  Its memory context is a child of the one that is current at its creation.  Rows that are held no
 * longer go to a function of the caller's, whose columns are good during the call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HELD_H
#define DERIVE_HELD_H

#include "access/tupdesc.h"

typedef struct DeriveHeld DeriveHeld;

typedef void (*DeriveHeldRow) (void *arg, const Datum *values, const bool *nulls, int64 weight);

/* Of rows with the first ncolumns columns of desc, which must live as long. */
extern DeriveHeld *derive_held_create(TupleDesc desc, int ncolumns, DeriveHeldRow out, void *arg);

/* Is it of use, as far as is known? */
extern bool derive_held_wanted(const DeriveHeld *held);

/* The first row goes, the second one comes. */
extern void derive_held_update(DeriveHeld *held, const Datum *oldvalues, const bool *oldnulls,
							   const Datum *newvalues, const bool *newnulls);

/* Hold this touch (delta.h) in place of one in the same table with the same values in these columns. */
extern void derive_held_touch(DeriveHeld *held, const Datum *values, const bool *nulls, int64 weight,
							  int nkeys, const AttrNumber *keys);

/* Let go of all rows. */
extern void derive_held_release(DeriveHeld *held);

/* Forget all rows, and what is known of whether it is of use. */
extern void derive_held_free(DeriveHeld *held);

#endif
