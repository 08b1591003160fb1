/*-------------------------------------------------------------------------
 *
 * conversion.h
 *	  Values to text and back: where that depends on more than the value.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CONVERSION_H
#define DERIVE_CONVERSION_H

#include "nodes/parsenodes.h"

/* Refuse values of this type, or with parts of it, where they may be made text, or JSON. */
extern void derive_check_output(Oid type);

/* Refuse an expression that converts values of such types, itself: what is below it is not looked at. */
extern void derive_check_conversion(Node *node);

/* The same for the anonymous row that a call makes, if it does. */
extern void derive_check_made_row(Node *node);

/* The same for what stands in FROM. */
extern void derive_check_converted_rows(RangeTblEntry *rte);

/* The type and all that its values consist of, of Oid; of domains over domains, the first and what all are over. */
extern List *derive_types_within(Oid type);

/*
 * The types that JSON_VALUE() and its kin return in the query of a view, and all that these
 * consist of, of Oid: pg_depend does not know that the view relies on them.  Caller has a lock
 * on the view.
 */
extern List *derive_json_types_of_view(Oid view);

#endif							/* DERIVE_CONVERSION_H */
