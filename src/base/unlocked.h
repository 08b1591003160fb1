/*-------------------------------------------------------------------------
 *
 * unlocked.h
 *	  What the catalogs say of a relation that nobody keeps from being dropped.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_UNLOCKED_H
#define DERIVE_UNLOCKED_H

#include "access/tupdesc.h"
#include "catalog/pg_class.h"

/* A unique index that can name rows: valid, immediate, without predicate. */
typedef struct DeriveUnlockedIndex
{
	Oid			relid;
	bool		primary;
	bool		identity;		/* REPLICA IDENTITY USING INDEX */
	Oid			relam;
	int			nkeys;
	AttrNumber *columns;		/* of the table; 0: an expression */
	Oid		   *opclasses;
	Oid		   *collations;
} DeriveUnlockedIndex;

typedef struct DeriveUnlocked
{
	MemoryContext cxt;			/* of all of it */
	Oid			relid;
	FormData_pg_class form;		/* without what is of variable length */
	TupleDesc	desc;			/* without constraints and defaults */
	List	   *indexes;		/* of DeriveUnlockedIndex * */
} DeriveUnlocked;

/*
 * For who holds no lock on it, or does not know whether he does; NULL: there is no such
 * relation.  Good until the end of the transaction, without which it cannot be had, and
 * not in what decodes, which sees catalogs of the past.
 */
extern const DeriveUnlocked *derive_unlocked_read(Oid relid);

#endif							/* DERIVE_UNLOCKED_H */
