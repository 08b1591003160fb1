/*-------------------------------------------------------------------------
 *
 * identities.c
 *	  derive_state.identities: the tables whose replica identity we changed.
 *
 * Few rows, mostly none: the table is read as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/identities.h"
#include "base/registry.h"
#include "catalog/indexing.h"
#include "utils/rel.h"

#define Anum_identities_relid		1
#define Anum_identities_identity	2
#define Anum_identities_index		3
#define Natts_identities			3

static DeriveIdentity *
deform_tuple(TupleDesc desc, HeapTuple tuple)
{
	DeriveIdentity *row = palloc(sizeof(DeriveIdentity));
	Datum		values[Natts_identities];
	bool		nulls[Natts_identities];

	heap_deform_tuple(tuple, desc, values, nulls);
	row->relid = DatumGetObjectId(values[Anum_identities_relid - 1]);
	row->identity = DatumGetChar(values[Anum_identities_identity - 1]);
	row->index = DatumGetObjectId(values[Anum_identities_index - 1]);
	return row;
}

static bool
collect(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **result = arg;

	*result = lappend(*result, deform_tuple(RelationGetDescr(rel), tuple));
	return true;
}

List *
derive_identities_all(void)
{
	List	   *result = NIL;

	derive_registry_read("identities", AccessShareLock, NULL, collect, &result);
	return result;
}

static bool
forget(Relation rel, HeapTuple tuple, void *arg)
{
	if (deform_tuple(RelationGetDescr(rel), tuple)->relid == *(Oid *) arg)
		CatalogTupleDelete(rel, &tuple->t_self);
	return true;
}

void
derive_identities_forget(Oid relid)
{
	derive_registry_read("identities", RowExclusiveLock, NULL, forget, &relid);
	CommandCounterIncrement();
}

void
derive_identities_set(const DeriveIdentity *identity)
{
	Relation	rel;
	Datum		values[Natts_identities];
	bool		nulls[Natts_identities] = {false};

	derive_identities_forget(identity->relid);
	values[Anum_identities_relid - 1] = ObjectIdGetDatum(identity->relid);
	values[Anum_identities_identity - 1] = CharGetDatum(identity->identity);
	values[Anum_identities_index - 1] = ObjectIdGetDatum(identity->index);
	rel = derive_registry_open("identities", RowExclusiveLock);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}
