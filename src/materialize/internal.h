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

/*
 * Was the table made for these columns?  How an aggregate is maintained, and
 * so what is kept of it, changes with CREATE OR REPLACE AGGREGATE, for instance.
 */
extern bool derive_internal_has_columns(Oid relid, TupleDesc desc);

/* Its index on the hash column (state tables), or its locator index. */
extern void derive_internal_index_state(Oid relid);
extern Oid	derive_internal_index_locator(Oid relid, const DeriveLocator *locator);

/* An index of a view for look-ups by these columns, unless there is one. */
extern void derive_internal_index_columns(Oid relid, const char *method, int nattrs, const AttrNumber *attrs);

/*
 * The locator index of an operator's table: the one given, if it is still
 * there, or another one that fits, or a new one, which is registered.
 */
extern Oid	derive_internal_locator(Oid view, int operator, Oid relid, Oid index, const DeriveLocator *locator);

/* An unlogged table in schema derive_state, not registered: for the current subtransaction. */
extern Oid	derive_internal_create_scratch(int number, TupleDesc desc);

/* Drop all internal relations of a view and forget them. */
extern void derive_internal_drop(Oid view);

#endif							/* DERIVE_INTERNAL_H */
