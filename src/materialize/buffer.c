/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  Rows of a derivation's table in memory, by key, until the batch ends.
 *
 * A table keeps every version of a row until the transaction is over, and who
 * looks for the newest one passes by all others.  So a row that is changed a
 * thousand times in one batch, such as a counter, costs a million steps.  A
 * derivation that is DERIVE_BUFFERED reads and writes each of its rows once.
 *
 * An entry is a key that was asked for, with the row as it is in the table and
 * as it shall be.  When memory is full, and at the end, the rows that differ are
 * written, deletions first, and all is forgotten.
 *
 * Keys are the same if their images are.  Where the index of a table says
 * otherwise (floating-point numbers, intervals), the table has no buffer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/gucs.h"
#include "base/rowhash.h"
#include "materialize/program_internal.h"

/* How often to look at how much memory is used. */
#define CHECK_MEMORY	64

typedef struct BufferedRow
{
	struct BufferedRow *next;	/* with the same hash */
	MinimalTuple key;			/* a row with the key */
	MinimalTuple old;			/* in the table; NULL: not there */
	MinimalTuple new;			/* what shall be; may be "old" */
} BufferedRow;

typedef struct BufferEntry
{
	int64		hash;			/* hash key */
	BufferedRow *rows;
} BufferEntry;

struct DeriveBuffer
{
	MemoryContext cxt;			/* of hash table and rows */
	HTAB	   *rows;
	int			calls;
	BufferedRow *current;		/* get() has returned it; or NULL */
	TupleTableSlot *slot;		/* that row */
	TupleTableSlot *other;		/* for comparing */
};

static void
begin(DeriveBuffer *buffer)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(BufferEntry);
	ctl.hcxt = buffer->cxt;
	buffer->rows = hash_create("pg_derive buffered rows", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	buffer->current = NULL;
	ExecClearTuple(buffer->slot);
	ExecClearTuple(buffer->other);
}

/* For a table that is open; NULL if it cannot have one. */
DeriveBuffer *
derive_buffer_create(DeriveTable *table)
{
	DeriveBuffer *buffer;

	if (!table->unique || table->locator.nattrs == 0)
		return NULL;
	if (table->locator.unique)
	{
		Relation	index = index_open(table->index, AccessShareLock);
		bool		by_image = _bt_allequalimage(index, false);

		index_close(index, NoLock);
		if (!by_image)
			return NULL;
	}

	buffer = palloc0(sizeof(DeriveBuffer));
	buffer->cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive buffer", ALLOCSET_DEFAULT_SIZES);
	buffer->slot = MakeSingleTupleTableSlot(table->desc, &TTSOpsMinimalTuple);
	buffer->other = MakeSingleTupleTableSlot(table->desc, &TTSOpsMinimalTuple);
	begin(buffer);
	return buffer;
}

void
derive_buffer_free(DeriveTable *table)
{
	ExecDropSingleTupleTableSlot(table->buffer->slot);
	ExecDropSingleTupleTableSlot(table->buffer->other);
	MemoryContextDelete(table->buffer->cxt);
	pfree(table->buffer);
	table->buffer = NULL;
}

/* -------------------------------------------------------------------------
 * Writing
 * -------------------------------------------------------------------------
 */

/* Let the table's target stand on the row that is there. */
static void
find_old(DeriveTable *table, BufferedRow *row)
{
	ExecStoreMinimalTuple(row->old, table->buffer->other, false);
	if (derive_target_lookup(table->target, table->buffer->other) == NULL)
		ereport(ERROR,
				(errcode(DERIVE_ERRCODE_DIVERGED),
				 errmsg("a row that was read before is not there any more")));
}

static void
write_row(DeriveTable *table, BufferedRow *row)
{
	DeriveBuffer *buffer = table->buffer;

	ExecStoreMinimalTuple(row->new, buffer->slot, false);
	if (row->old == NULL)
	{
		derive_target_insert(table->target, buffer->slot);
		return;
	}
	ExecStoreMinimalTuple(row->old, buffer->other, false);
	if (derive_row_equal(buffer->slot, buffer->other, 0, NULL))
		return;
	find_old(table, row);
	derive_target_replace_found(table->target, buffer->slot);
}

void
derive_buffer_flush(DeriveTable *table)
{
	DeriveBuffer *buffer = table->buffer;

	for (int deleting = 1; deleting >= 0; deleting--)
	{
		HASH_SEQ_STATUS scan;
		BufferEntry *entry;

		hash_seq_init(&scan, buffer->rows);
		while ((entry = hash_seq_search(&scan)) != NULL)
			for (BufferedRow *row = entry->rows; row != NULL; row = row->next)
			{
				if (row->new == row->old || (row->new == NULL) != deleting)
					continue;
				if (row->new != NULL)
					write_row(table, row);
				else
				{
					find_old(table, row);
					derive_target_replace_found(table->target, NULL);
				}
			}
	}
	ExecClearTuple(buffer->slot);
	ExecClearTuple(buffer->other);
	MemoryContextReset(buffer->cxt);
	begin(buffer);
}

/* -------------------------------------------------------------------------
 * Rows by key
 * -------------------------------------------------------------------------
 */

static MinimalTuple
copy_row(DeriveBuffer *buffer, TupleTableSlot *row)
{
	MemoryContext old = MemoryContextSwitchTo(buffer->cxt);
	MinimalTuple result = ExecCopySlotMinimalTuple(row);

	MemoryContextSwitchTo(old);
	return result;
}

/* The row may have values of one that get() returned. */
static void
make_room(DeriveTable *table, TupleTableSlot *row)
{
	DeriveBuffer *buffer = table->buffer;

	if (++buffer->calls % CHECK_MEMORY == 0 &&
		MemoryContextMemAllocated(buffer->cxt, true) > (Size) derive_work_mem * 1024)
	{
		ExecMaterializeSlot(row);
		derive_buffer_flush(table);
	}
}

/* The entry with the key that this row has. */
static BufferedRow *
find(DeriveTable *table, TupleTableSlot *key)
{
	DeriveBuffer *buffer = table->buffer;
	const DeriveLocator *locator = &table->locator;
	int64		hash = derive_row_hash(key, locator->nattrs, locator->attrs);
	TupleTableSlot *present;
	BufferEntry *entry;
	BufferedRow *row;
	bool		known;

	entry = hash_search(buffer->rows, &hash, HASH_ENTER, &known);
	if (!known)
		entry->rows = NULL;
	for (row = entry->rows; row != NULL; row = row->next)
	{
		ExecStoreMinimalTuple(row->key, buffer->other, false);
		if (derive_row_equal(key, buffer->other, locator->nattrs, locator->attrs))
			return row;
	}

	present = derive_target_lookup(table->target, key);
	row = MemoryContextAllocZero(buffer->cxt, sizeof(BufferedRow));
	row->old = row->new = present ? copy_row(buffer, present) : NULL;
	row->key = row->old ? row->old : copy_row(buffer, key);
	row->next = entry->rows;
	entry->rows = row;
	return row;
}

static void
set_new(DeriveBuffer *buffer, BufferedRow *row, TupleTableSlot *new)
{
	MinimalTuple before = row->new;

	row->new = new ? copy_row(buffer, new) : NULL;
	if (before != NULL && before != row->old && before != row->key)
		pfree(before);
	buffer->current = NULL;
}

TupleTableSlot *
derive_buffer_get(DeriveTable *table, TupleTableSlot *key)
{
	DeriveBuffer *buffer = table->buffer;
	BufferedRow *row;

	make_room(table, key);
	row = find(table, key);
	buffer->current = row->new ? row : NULL;
	return row->new ? ExecStoreMinimalTuple(row->new, buffer->slot, false) : NULL;
}

/* False: there is one already. */
bool
derive_buffer_insert(DeriveTable *table, TupleTableSlot *new)
{
	BufferedRow *row;

	make_room(table, new);
	row = find(table, new);
	if (row->new != NULL)
		return false;
	set_new(table->buffer, row, new);
	return true;
}

void
derive_buffer_put(DeriveTable *table, TupleTableSlot *new)
{
	make_room(table, new);
	set_new(table->buffer, find(table, new), new);
}

/* False: there is none. */
bool
derive_buffer_remove(DeriveTable *table, TupleTableSlot *key)
{
	BufferedRow *row;

	make_room(table, key);
	row = find(table, key);
	if (row->new == NULL)
		return false;
	set_new(table->buffer, row, NULL);
	return true;
}

/*
 * In the place of the row that get() has just returned; false: the new row's
 * key is that of another one.
 */
bool
derive_buffer_replace(DeriveTable *table, TupleTableSlot *new)
{
	DeriveBuffer *buffer = table->buffer;
	BufferedRow *row = buffer->current;
	BufferedRow *other = new ? find(table, new) : row;

	if (other != row && other->new != NULL)
		return false;
	set_new(buffer, other, new);
	if (other != row)
		set_new(buffer, row, NULL);
	return true;
}
