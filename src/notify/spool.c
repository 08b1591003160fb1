/*-------------------------------------------------------------------------
 *
 * spool.c
 *	  Initial rows of subscriptions that are still to be delivered.
 *
 * Who subscribes to a view with a million rows and takes a hundred of them with the
 * first call gets the others later, as they were then: they are copied.  A copy of
 * each row by itself, with its header, the name of the subscription and an entry in
 * the index, would take many times what the view does.  So many rows are a chunk:
 *
 *	subscription	n		rows
 *	mailer			512		rows 1 to 512, one after the other; 32 kB, compressed
 *	mailer			987		rows 513 to 987
 *
 * n is the number of the last row in it.  What has been delivered is known by its
 * number, which the subscription has; a chunk goes when all of its rows have, and
 * one of which some have gone is read again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "base/registry.h"
#include "catalog/indexing.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "notify/spool.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* derive_state.spool */
#define Anum_spool_subscription	1
#define Anum_spool_n			2
#define Anum_spool_rows			3
#define Natts_spool				3

/* Bytes of rows in a chunk; a row that is larger is one of its own. */
#define CHUNK_SIZE	(32 * 1024)

/* Tuples of the TOAST table that a chunk may have. */
#define CHUNK_TUPLES	16

struct DeriveSpoolWriter
{
	const NameData *subscription;
	Relation	spool;
	CatalogIndexState indexes;
	MemoryContext chunk_cxt;	/* reset with each chunk */
	StringInfoData rows;		/* the chunk: a bytea */
	int64		n;				/* number of the last row */
	int64		size;
};

static Relation
open_spool(LOCKMODE mode)
{
	return derive_registry_open("spool", mode);
}

static Relation
open_index(void)
{
	return index_open(derive_registry_table_oid("spool_pkey", false), AccessShareLock);
}

/* What is left of it: chunks that were removed may stay in the index for long. */
static SysScanDesc
begin_scan(Relation spool, Relation index, const NameData *subscription, int64 passed, Snapshot snapshot)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], Anum_spool_subscription, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(subscription));
	ScanKeyInit(&key[1], Anum_spool_n, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(passed));
	return systable_beginscan_ordered(spool, index, snapshot, 2, key);
}

static int64
last_number(Relation spool, HeapTuple chunk)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(chunk, Anum_spool_n, RelationGetDescr(spool), &isnull));
}


/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

static void
start_chunk(DeriveSpoolWriter *writer)
{
	static const char no_header[VARHDRSZ] = {0};
	MemoryContext old;

	MemoryContextReset(writer->chunk_cxt);
	old = MemoryContextSwitchTo(writer->chunk_cxt);
	initStringInfo(&writer->rows);
	appendBinaryStringInfo(&writer->rows, no_header, VARHDRSZ);
	MemoryContextSwitchTo(old);
}

DeriveSpoolWriter *
derive_spool_begin(const NameData *subscription)
{
	DeriveSpoolWriter *writer = palloc0(sizeof(DeriveSpoolWriter));

	writer->subscription = subscription;
	writer->spool = open_spool(RowExclusiveLock);
	writer->indexes = CatalogOpenIndexes(writer->spool);
	writer->chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive spool", ALLOCSET_DEFAULT_SIZES);
	start_chunk(writer);
	return writer;
}

static void
write_chunk(DeriveSpoolWriter *writer)
{
	MemoryContext old = MemoryContextSwitchTo(writer->chunk_cxt);
	Datum		values[Natts_spool];
	bool		nulls[Natts_spool] = {false};

	SET_VARSIZE(writer->rows.data, writer->rows.len);
	values[Anum_spool_subscription - 1] = NameGetDatum(writer->subscription);
	values[Anum_spool_n - 1] = Int64GetDatum(writer->n);
	values[Anum_spool_rows - 1] = PointerGetDatum(writer->rows.data);
	CatalogTupleInsertWithInfo(writer->spool, heap_form_tuple(RelationGetDescr(writer->spool), values, nulls),
							   writer->indexes);
	MemoryContextSwitchTo(old);
	start_chunk(writer);
}

int64
derive_spool_add(DeriveSpoolWriter *writer, Datum row)
{
	Size		size = VARSIZE(DatumGetPointer(row));

	if (writer->rows.len > VARHDRSZ && writer->rows.len + size > CHUNK_SIZE)
		write_chunk(writer);
	appendBinaryStringInfo(&writer->rows, DatumGetPointer(row), size);
	writer->n++;
	writer->size += size;
	return writer->size;
}

void
derive_spool_end(DeriveSpoolWriter *writer)
{
	if (writer->rows.len > VARHDRSZ)
		write_chunk(writer);
	CatalogCloseIndexes(writer->indexes);
	table_close(writer->spool, NoLock);
	MemoryContextDelete(writer->chunk_cxt);
	pfree(writer);
}


/* ----------------------------------------------------------------
 *		Reading
 * ----------------------------------------------------------------
 */

bool
derive_spool_is_empty(const NameData *subscription, int64 passed, Snapshot snapshot)
{
	Relation	spool = open_spool(AccessShareLock);
	Relation	index = open_index();
	SysScanDesc scan = begin_scan(spool, index, subscription, passed, snapshot);
	bool		result = !HeapTupleIsValid(systable_getnext_ordered(scan, ForwardScanDirection));

	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(spool, AccessShareLock);
	return result;
}

/* Size of the row at this place, which may not be aligned. */
static Size
row_size(const char *row)
{
	char		header[VARHDRSZ] pg_attribute_aligned (MAXIMUM_ALIGNOF);

	memcpy(header, row, VARHDRSZ);
	return VARSIZE(header);
}

/* Hand out the rows of a chunk that have not been delivered; false if the reader had enough. */
static bool
read_chunk(bytea *rows, int64 last, int64 *passed, DeriveSpoolReader reader, void *arg,
		   MemoryContext row_cxt)
{
	const char *end = (char *) rows + VARSIZE(rows);
	const char *row;
	int64		number = last;

	for (row = VARDATA(rows); row < end; row += row_size(row))
		number--;
	for (row = VARDATA(rows); row < end; row += row_size(row))
	{
		MemoryContext old;
		Size		size = row_size(row);
		bool		taken;

		if (++number <= *passed)
			continue;
		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(row_cxt);
		taken = reader(arg, PointerGetDatum(memcpy(palloc(size), row, size)));
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_cxt);
		if (!taken)
			return false;
		*passed = number;
	}
	Assert(number == last);
	return true;
}

bool
derive_spool_read(const NameData *subscription, int64 *passed, Snapshot snapshot,
				  DeriveSpoolReader reader, void *arg)
{
	Relation	spool = open_spool(RowExclusiveLock);
	Relation	index = open_index();
	SysScanDesc scan = begin_scan(spool, index, subscription, *passed, snapshot);
	MemoryContext chunk_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive chunk", ALLOCSET_DEFAULT_SIZES);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row", ALLOCSET_DEFAULT_SIZES);
	HeapTuple	chunk;
	bool		more = true;

	while (more && HeapTupleIsValid(chunk = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext old = MemoryContextSwitchTo(chunk_cxt);
		bool		isnull;
		Datum		rows = heap_getattr(chunk, Anum_spool_rows, RelationGetDescr(spool), &isnull);

		more = read_chunk(DatumGetByteaP(rows), last_number(spool, chunk), passed, reader, arg, row_cxt);
		if (more)
			CatalogTupleDelete(spool, &chunk->t_self);
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk_cxt);
	}
	systable_endscan_ordered(scan);
	MemoryContextDelete(row_cxt);
	MemoryContextDelete(chunk_cxt);
	index_close(index, NoLock);
	table_close(spool, NoLock);
	return more;
}

bool
derive_spool_clear(const NameData *subscription, int64 *passed, int64 max_rows)
{
	Relation	spool = open_spool(RowExclusiveLock);
	Relation	index = open_index();
	SysScanDesc scan = begin_scan(spool, index, subscription, *passed, NULL);
	HeapTuple	chunk;
	int64		left = max_rows;

	while (HeapTupleIsValid(chunk = systable_getnext_ordered(scan, ForwardScanDirection)) && left > 0)
	{
		CHECK_FOR_INTERRUPTS();
		*passed = last_number(spool, chunk);
		CatalogTupleDelete(spool, &chunk->t_self);
		left -= CHUNK_TUPLES;
	}
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
	table_close(spool, NoLock);
	return !HeapTupleIsValid(chunk);
}
