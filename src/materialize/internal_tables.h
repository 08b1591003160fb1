/*-------------------------------------------------------------------------
 *
 * internal_tables.h
 *	  The internal tables of a view: states and derived tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_INTERNAL_TABLES_H
#define DERIVE_INTERNAL_TABLES_H

#include "access/tupdesc.h"
#include "deposit/target.h"

/*
 * Create the table of an operator (role 's' or 'd', see base/registry.h) in
 * schema derive_state, owned by the extension's owner and a member of the
 * extension, and register it.  Returns its OID; it has no index yet.
 */
extern Oid	derive_internal_create(Oid view, int operator, char role, TupleDesc desc);

/* Is there such a table, and was it made for these columns? */
extern bool derive_internal_has_columns(Oid relid, TupleDesc desc);

/* Has a state table its index? */
extern bool derive_internal_has_state_index(Oid relid);

/*
 * Add to a digest what a table of these columns is like, as far as it matters to
 * the rows in it: types, dropped columns of composite types, and how rows are
 * found (locator may be NULL).  The same in every server of the same data.
 */
extern uint64 derive_internal_digest(uint64 digest, TupleDesc desc, const DeriveLocator *locator);

/* Only the dropped columns of composite types. */
extern uint64 derive_internal_digest_types(uint64 digest, TupleDesc desc);

/* Its index on the hash column (state tables), or its locator index. */
extern void derive_internal_index_state(Oid relid);
extern Oid	derive_internal_index_locator(Oid relid, const DeriveLocator *locator);

/*
 * Statistics for the planner, which would take a derived table without any for one
 * of few different values and read all of it.
 */
extern void derive_internal_analyze(Oid relid);

/* An index of a view for look-ups by these columns, unless there is one. */
extern void derive_internal_index_columns(Oid relid, const char *method, int nattrs, const AttrNumber *attrs);

/* The indexes by which a table is read in an order (order_index.h), unless they are there. */
extern void derive_internal_index_order(Oid relid, List *order);

/*
 * The locator index of an operator's table: the one given, if it is still
 * there, or another one that fits, or a new one, which is registered.
 */
extern Oid	derive_internal_locator(Oid view, int operator, Oid relid, Oid index, const DeriveLocator *locator);

/* The registered one if it fits, else InvalidOid. */
extern Oid	derive_internal_registered_locator(Oid view, int operator, const DeriveLocator *locator);

/* Is there a registered one, and is it an index on a hash? */
extern bool derive_internal_located_by_hash(Oid view, int operator);

/*
 * Drop locator indexes that we made for the relation when its rows were found in
 * another way than by this (NULL: in any).  Takes AccessExclusiveLock on the relation.
 */
extern void derive_internal_drop_misfits(Oid relid, const DeriveLocator *locator);

/* An unlogged table in schema derive_state, not registered: for the current subtransaction. */
extern Oid	derive_internal_create_scratch(int number, TupleDesc desc);

/* Drop all internal relations of a view and forget them, and the view. */
extern void derive_internal_drop(Oid view);

/* Drop its internal tables; all internal relations are forgotten, the view is not. */
extern void derive_internal_drop_tables(Oid view);

#endif							/* DERIVE_INTERNAL_TABLES_H */
