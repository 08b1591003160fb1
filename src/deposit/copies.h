/*-------------------------------------------------------------------------
 *
 * copies.h
 *	  Where rows are that have the same key as one that was taken away.
 *
 * For target.c alone, which looks up one row after another by the hash of its key.
 * All is a hint: what is at a place must be looked at before it is believed, and
 * when nothing is remembered the index has the truth.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_COPIES_H
#define DERIVE_COPIES_H

#include "storage/itemptr.h"

typedef struct DeriveCopies DeriveCopies;

/* Everything is allocated in a child of the context. */
extern DeriveCopies *derive_copies_create(MemoryContext parent);

/* A row whose key has this hash was taken away: from now on find() knows it. */
extern void derive_copies_note_taken(DeriveCopies *copies, int64 hash);

/* Turn to a hash; false if no such row was taken away, or that is forgotten. */
extern bool derive_copies_find(DeriveCopies *copies, int64 hash);

/* For the hash that find() turned to: the first place, NULL if there is none. */
extern ItemPointer derive_copies_first(DeriveCopies *copies);
extern void derive_copies_remove_first(DeriveCopies *copies);

/* None is left: begin anew, add() while want_more(). */
extern void derive_copies_refill(DeriveCopies *copies);
extern bool derive_copies_want_more(DeriveCopies *copies);
extern void derive_copies_add(DeriveCopies *copies, ItemPointer tid);

#endif							/* DERIVE_COPIES_H */
