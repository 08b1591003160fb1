/*-------------------------------------------------------------------------
 *
 * hidden.h
 *	  Values of row types in columns that nobody sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HIDDEN_H
#define DERIVE_HIDDEN_H

#include "access/tupdesc.h"
#include "nodes/primnodes.h"

/* Is this a row type, or a domain, array or range over one? */
extern bool derive_is_row_type(Oid type);

/* Make a column of an internal table: of that type, or of bytea where values are stored as images. */
extern void derive_hidden_column(TupleDesc desc, AttrNumber attno, const char *name, Oid type, int32 typmod, Oid collation);

/* A value as it was before it was stored in such a column; a copy in CurrentMemoryContext. */
extern Datum derive_hidden_value(Datum image);

/* The same as expressions: the image of a value of a row type, and the value of an image (a bytea). */
extern Expr *derive_hide(Expr *value);
extern Expr *derive_show(Expr *image, Oid type);

/* Hide the values of row types among these (List of TargetEntry *, changed in place); false if there are none. */
extern bool derive_hide_targets(List *targets);

#endif							/* DERIVE_HIDDEN_H */
