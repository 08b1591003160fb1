/*-------------------------------------------------------------------------
 *
 * internal.h
 *	  The internal tables of a view: states and derived tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_INTERNAL_H
#define DERIVE_INTERNAL_H

#include "access/tupdesc.h"
#include "delta/target.h"

/*
 * Create the table of an operator (role 's' or 'd', see base/registry.h) in
 * schema derive_state, owned by the extension's owner and a member of the
 * extension, and register it.  Returns its OID; it has no index yet.
 */
extern Oid	derive_internal_create(Oid view, int operator, char role, TupleDesc desc);

/* Its index on the hash column (state tables), or its locator index. */
extern void derive_internal_index_state(Oid relid);
extern Oid	derive_internal_index_locator(Oid relid, const DeriveLocator *locator);

/* Drop all internal relations of a view and forget them. */
extern void derive_internal_drop(Oid view);

#endif							/* DERIVE_INTERNAL_H */
