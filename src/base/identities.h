/*-------------------------------------------------------------------------
 *
 * identities.h
 *	  derive_state.identities: the tables whose replica identity we changed.
 *
 * Table (schema derive_state, as in registry.h):
 *
 *	identities	relid oid			a table of people, to which we gave REPLICA IDENTITY FULL
 *				identity "char"		what it had, as in pg_class.relreplident
 *				index oid			that index, if it was one; else 0
 *
 * Rows of tables that are gone, or that somebody has given another identity since, may
 * be there; who reads the row finds out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_IDENTITIES_H
#define DERIVE_IDENTITIES_H

#include "nodes/pg_list.h"

typedef struct DeriveIdentity
{
	Oid			relid;
	char		identity;
	Oid			index;			/* InvalidOid unless identity is an index */
} DeriveIdentity;

/* All rows, in CurrentMemoryContext; NIL where the extension is not installed. */
extern List *derive_identities_all(void);	/* of DeriveIdentity * */

/* Enter a row, in place of the table's old one, if any. */
extern void derive_identities_set(const DeriveIdentity *identity);

/* Remove the table's row; no error if there is none. */
extern void derive_identities_forget(Oid relid);

#endif							/* DERIVE_IDENTITIES_H */
