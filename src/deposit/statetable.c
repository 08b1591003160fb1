/*-------------------------------------------------------------------------
 *
 * statetable.c
 *	  Access to an operator's state table by the hash in its first column.
 *
 * A state table is an ordinary heap table with one plain btree index, on the
 * hash.  It is written the way core writes its catalogs (indexing.c): there
 * are no expressions, constraints or triggers to care for.
 *
 * Look-ups use SnapshotSelf: only this process changes the table, and it must
 * see its own latest changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/indexing.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "deposit/statetable.h"

struct DeriveStateTable
{
	Relation	rel;
	Relation	index;
	CatalogIndexState indexes;
	TupleTableSlot *found;
	TupleTableSlot *row;
};

DeriveStateTable *
derive_state_open(Oid relid)
{
	DeriveStateTable *table = palloc0(sizeof(DeriveStateTable));
	ListCell   *lc;

	table->rel = table_open(relid, RowExclusiveLock);
	/* there are two for a while when people run REINDEX CONCURRENTLY */
	foreach(lc, RelationGetIndexList(table->rel))
		if (table->index == NULL && get_index_isvalid(lfirst_oid(lc)))
		table->index = index_open(lfirst_oid(lc), RowExclusiveLock);
	if (table->index == NULL)
		elog(ERROR, "state table \"%s\" has no index", RelationGetRelationName(table->rel));
	table->indexes = CatalogOpenIndexes(table->rel);
	table->found = table_slot_create(table->rel, NULL);
	table->row = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsVirtual);
	return table;
}

void
derive_state_close(DeriveStateTable *table)
{
	ExecDropSingleTupleTableSlot(table->found);
	ExecDropSingleTupleTableSlot(table->row);
	CatalogCloseIndexes(table->indexes);
	index_close(table->index, NoLock);
	table_close(table->rel, NoLock);
	pfree(table);
}

static IndexScanDesc
begin_scan(DeriveStateTable *table, int32 hash)
{
	ScanKeyData key;
	IndexScanDesc scan;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(hash));
	scan = derive_compat_index_beginscan(table->rel, table->index, SnapshotSelf, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	return scan;
}

TupleTableSlot *
derive_state_find(DeriveStateTable *table, int32 hash, DeriveStateMatch match, void *arg)
{
	IndexScanDesc scan = begin_scan(table, hash);
	bool		found = false;

	while (!found && index_getnext_slot(scan, ForwardScanDirection, table->found))
		found = match(arg, table->found);
	if (found)
		ExecMaterializeSlot(table->found);
	index_endscan(scan);
	return found ? table->found : NULL;
}

void
derive_state_each(DeriveStateTable *table, int32 hash, DeriveStateVisit visit, void *arg)
{
	IndexScanDesc scan = begin_scan(table, hash);

	while (index_getnext_slot(scan, ForwardScanDirection, table->found))
		visit(arg, table->found);
	index_endscan(scan);
	ExecClearTuple(table->found);
}

TupleTableSlot *
derive_state_slot(DeriveStateTable *table)
{
	return ExecClearTuple(table->row);
}

void
derive_state_insert(DeriveStateTable *table, TupleTableSlot *row)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(row);

	CatalogTupleInsertWithInfo(table->rel, tuple, table->indexes);
	heap_freetuple(tuple);
}

void
derive_state_update(DeriveStateTable *table, ItemPointer tid, TupleTableSlot *row)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(row);

	tuple->t_self = *tid;
	CatalogTupleUpdateWithInfo(table->rel, tid, tuple, table->indexes);
	heap_freetuple(tuple);
}

void
derive_state_delete(DeriveStateTable *table, ItemPointer tid)
{
	CatalogTupleDelete(table->rel, tid);
}
