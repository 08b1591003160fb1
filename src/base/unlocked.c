/*-------------------------------------------------------------------------
 *
 * unlocked.c
 *	  What the catalogs say of a relation that nobody keeps from being dropped.
 *
 * A worker follows tables that it does not lock all the time: whoever holds one of
 * them locked is to stop the views that read it, and no others.  But the relation
 * cache is for who has a lock:
 *
 *		worker		RelationIdGetRelation(t)
 *		a session	DROP TABLE t
 *		worker		looks at any catalog, which takes in invalidations
 *					ERROR:  relation 16401 deleted while still in use
 *
 * and while it reads a relation that is dropped meanwhile it says that an index has no
 * row in pg_index, or that columns are missing in pg_attribute: each of its looks at a
 * catalog is by the newest snapshot.  So here the rows of the catalogs themselves are
 * read, all by one snapshot, in which the relation is there with all of its columns and
 * indexes, or is not there at all.  What is outdated when it returns has sent an
 * invalidation, as it has for a relation that is kept open.
 *
 * That takes 20 us, and a worker with a thousand views asks some thousand times when
 * one of them comes or goes: what was read is kept until it is invalidated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/unlocked.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* That many relations have been changed or dropped since they were read before they are forgotten. */
#define STALE_AT_MOST	64


/* ----------------------------------------------------------------
 *		Rows of catalogs
 * ----------------------------------------------------------------
 */

/* A scan of the rows of a catalog that belong to a relation. */
typedef struct Rows
{
	Relation	catalog;
	SysScanDesc scan;
} Rows;

static Rows
begin_rows(Oid catalog, Oid index, AttrNumber column, Oid relid, Snapshot snapshot)
{
	Rows		rows = {.catalog = table_open(catalog, AccessShareLock)};
	ScanKeyData key;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	rows.scan = systable_beginscan(rows.catalog, index, true, snapshot, 1, &key);
	return rows;
}

static void
end_rows(Rows *rows)
{
	systable_endscan(rows->scan);
	table_close(rows->catalog, AccessShareLock);
}

static bool
read_class(Oid relid, Snapshot snapshot, FormData_pg_class * form)
{
	Rows		rows = begin_rows(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid, snapshot);
	HeapTuple	tuple = systable_getnext(rows.scan);

	if (HeapTupleIsValid(tuple))
		memcpy(form, GETSTRUCT(tuple), CLASS_TUPLE_SIZE);
	end_rows(&rows);
	return HeapTupleIsValid(tuple);
}

static TupleDesc
read_columns(Oid relid, int natts, Snapshot snapshot)
{
	Rows		rows = begin_rows(AttributeRelationId, AttributeRelidNumIndexId, Anum_pg_attribute_attrelid, relid, snapshot);
	Form_pg_attribute *atts = palloc(sizeof(Form_pg_attribute) * natts);
	int			nfound = 0;
	TupleDesc	result;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(rows.scan)))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		if (att->attnum <= 0)
			continue;
		Assert(att->attnum <= natts);
		atts[att->attnum - 1] = palloc(ATTRIBUTE_FIXED_PART_SIZE);
		memcpy(atts[att->attnum - 1], att, ATTRIBUTE_FIXED_PART_SIZE);
		nfound++;
	}
	end_rows(&rows);
	if (nfound != natts)
		elog(ERROR, "relation %u has %d columns in pg_class and %d in pg_attribute", relid, natts, nfound);
	result = CreateTupleDesc(natts, atts);
	for (int i = 0; i < natts; i++)
		pfree(atts[i]);
	pfree(atts);
	return result;
}

/* The elements of an oidvector of a row, of which there are n at least. */
static Oid *
vector_of(HeapTuple tuple, AttrNumber column, TupleDesc desc, int n)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);
	Oid		   *result = palloc(sizeof(Oid) * n);

	Assert(!isnull && ((oidvector *) DatumGetPointer(value))->dim1 >= n);
	memcpy(result, ((oidvector *) DatumGetPointer(value))->values, sizeof(Oid) * n);
	return result;
}

static DeriveUnlockedIndex *
make_index(HeapTuple tuple, TupleDesc desc, Snapshot snapshot)
{
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);
	DeriveUnlockedIndex *index = palloc0(sizeof(DeriveUnlockedIndex));
	FormData_pg_class class;

	if (!read_class(form->indexrelid, snapshot, &class))
		elog(ERROR, "index %u has no row in pg_class", form->indexrelid);
	index->relid = form->indexrelid;
	index->primary = form->indisprimary;
	index->identity = form->indisreplident;
	index->relam = class.relam;
	index->nkeys = form->indnkeyatts;
	index->columns = palloc(sizeof(AttrNumber) * index->nkeys);
	memcpy(index->columns, form->indkey.values, sizeof(AttrNumber) * index->nkeys);
	index->opclasses = vector_of(tuple, Anum_pg_index_indclass, desc, index->nkeys);
	index->collations = vector_of(tuple, Anum_pg_index_indcollation, desc, index->nkeys);
	return index;
}

static List *
read_indexes(Oid relid, Snapshot snapshot)
{
	Rows		rows = begin_rows(IndexRelationId, IndexIndrelidIndexId, Anum_pg_index_indrelid, relid, snapshot);
	List	   *indexes = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(rows.scan)))
	{
		Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);

		if (form->indislive && form->indisvalid && form->indisunique && form->indimmediate &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
			indexes = lappend(indexes, make_index(tuple, RelationGetDescr(rows.catalog), snapshot));
	}
	end_rows(&rows);
	return indexes;
}

static DeriveUnlocked *
read_relation(Oid relid, Snapshot snapshot)
{
	MemoryContext cxt = AllocSetContextCreate(TopTransactionContext, "pg_derive unlocked relation", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveUnlocked *result = palloc0(sizeof(DeriveUnlocked));

	result->cxt = cxt;
	result->relid = relid;
	if (read_class(relid, snapshot, &result->form))
	{
		result->desc = read_columns(relid, result->form.relnatts, snapshot);
		result->desc->tdtypeid = result->form.reltype;
		if (result->form.relhasindex)
			result->indexes = read_indexes(relid, snapshot);
	}
	else
		result = NULL;
	MemoryContextSwitchTo(old);
	return result;
}


/* ----------------------------------------------------------------
 *		What was read is kept
 * ----------------------------------------------------------------
 */

/* What has not been changed since it was read; or that it is being read. */
typedef struct Known
{
	Oid			relid;
	bool		current;
	DeriveUnlocked *relation;	/* or NULL */
} Known;

static HTAB *known = NULL;
static int	nstale = 0;			/* of known */

static void
note_stale(Known *entry)
{
	if (entry->current)
		nstale++;
	entry->current = false;
}

/* Called for relations of which there is nothing known as well, and in aborted transactions. */
static void
forget(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Known	   *entry;

	if (OidIsValid(relid))
	{
		entry = hash_search(known, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			note_stale(entry);
		return;
	}
	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
		note_stale(entry);
}

/* It may still be in use: from now on it is the transaction's. */
static void
let_go(Known *entry)
{
	if (entry->relation != NULL)
		MemoryContextSetParent(entry->relation->cxt, TopTransactionContext);
	entry->relation = NULL;
}

static void
sweep(void)
{
	HASH_SEQ_STATUS status;
	Known	   *entry;

	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->current)
			continue;
		let_go(entry);
		hash_search(known, &entry->relid, HASH_REMOVE, NULL);
	}
	nstale = 0;
}

static void
begin_to_know(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Known)};

	if (known == NULL)
	{
		known = hash_create("pg_derive unlocked relations", 64, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	}
	else if (nstale > STALE_AT_MOST)
		sweep();
}

const DeriveUnlocked *
derive_unlocked_read(Oid relid)
{
	Known	   *entry;
	Snapshot	snapshot;
	DeriveUnlocked *relation;
	bool		found;

	Assert(IsTransactionState() && !HistoricSnapshotActive());
	begin_to_know();
	entry = hash_search(known, &relid, HASH_ENTER, &found);
	if (found && entry->current && entry->relation != NULL)
		return entry->relation;
	if (found)
		let_go(entry);
	entry->relation = NULL;
	entry->current = true;		/* unless an invalidation comes while it is
								 * read */

	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationRelationId));
	relation = read_relation(relid, snapshot);
	UnregisterSnapshot(snapshot);

	entry->relation = relation;
	if (relation != NULL)
		MemoryContextSetParent(relation->cxt, CacheMemoryContext);
	else
		note_stale(entry);
	return relation;
}
