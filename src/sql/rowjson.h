/*-------------------------------------------------------------------------
 *
 * rowjson.h
 *	  Rows of views as jsonb, for sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ROWJSON_H
#define DERIVE_ROWJSON_H

#include "nodes/pg_list.h"

/* What is known of the rows of a view; all zero but for the view at first. */
typedef struct DeriveRowJson
{
	Oid			view;
	Oid			type;			/* of the last row */
	int32		typmod;
	bool		harmless;
} DeriveRowJson;

/*
 * A composite value of the view as to_jsonb() makes it, computed as the view's
 * owner, in CurrentMemoryContext.  Columns that jsonb cannot hold are not in it;
 * their names are added to *omitted (List of char *), each once.
 */
extern Datum derive_row_to_jsonb(DeriveRowJson *state, Datum row, List **omitted);

/* The names as text[]; 0 for NIL. */
extern Datum derive_omitted_array(List *omitted);

#endif							/* DERIVE_ROWJSON_H */
