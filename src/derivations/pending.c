/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  Rows of a batch that are not written yet, in memory, by key.
 *
 * A hash table has the rows by the hash of their key; a list has them in the
 * order in which they were added, which is that in which they are to be written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "derivations/pending.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

struct DerivePendingRow
{
	dlist_node	order;
	dlist_node	same_hash;
	uint64		hash;
	MinimalTuple tuple;
};

typedef struct Bucket
{
	uint64		hash;			/* hash key */
	dlist_head	rows;			/* the newest first */
} Bucket;

struct DerivePending
{
	MemoryContext cxt;
	TupleDesc	desc;
	int			nkeys;
	const AttrNumber *keys;
	HTAB	   *buckets;
	dlist_head	order;
	TupleTableSlot *slot;
	DerivePendingRow *in_slot;
	TupleTableSlot *added;
};

DerivePending *
derive_pending_create(TupleDesc desc, int nkeys, const AttrNumber *keys)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive pending rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DerivePending *pending = palloc0(sizeof(DerivePending));
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(Bucket),.hcxt = cxt};

	pending->cxt = cxt;
	pending->desc = desc;
	pending->nkeys = nkeys;
	pending->keys = keys;
	pending->buckets = hash_create("pg_derive pending rows", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	pending->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	pending->added = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	dlist_init(&pending->order);
	MemoryContextSwitchTo(old);
	return pending;
}

void
derive_pending_free(DerivePending *pending)
{
	ExecDropSingleTupleTableSlot(pending->slot);
	ExecDropSingleTupleTableSlot(pending->added);
	MemoryContextDelete(pending->cxt);
}

static inline uint64
add_to_hash(DerivePending *pending, int i, uint64 hash, Datum value, bool isnull)
{
	Form_pg_attribute att = TupleDescAttr(pending->desc, pending->keys[i] - 1);

	return hash_combine64(hash, isnull ? 0 : datum_image_hash(value, att->attbyval, att->attlen));
}

void
derive_pending_add(DerivePending *pending, const Datum *values, const bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(pending->cxt);
	DerivePendingRow *row = palloc(sizeof(DerivePendingRow));
	uint64		hash = 0;
	Bucket	   *bucket;
	bool		found;

	for (int i = 0; i < pending->nkeys; i++)
		hash = add_to_hash(pending, i, hash, values[pending->keys[i] - 1], isnull[pending->keys[i] - 1]);
	row->hash = hash;
	ExecClearTuple(pending->added);
	memcpy(pending->added->tts_values, values, sizeof(Datum) * pending->desc->natts);
	memcpy(pending->added->tts_isnull, isnull, sizeof(bool) * pending->desc->natts);
	row->tuple = ExecCopySlotMinimalTuple(ExecStoreVirtualTuple(pending->added));
	bucket = hash_search(pending->buckets, &hash, HASH_ENTER, &found);
	if (!found)
		dlist_init(&bucket->rows);
	dlist_push_head(&bucket->rows, &row->same_hash);
	dlist_push_tail(&pending->order, &row->order);
	MemoryContextSwitchTo(old);
}

TupleTableSlot *
derive_pending_slot(DerivePending *pending, DerivePendingRow *row)
{
	if (pending->in_slot != row)
		ExecStoreMinimalTuple(row->tuple, pending->slot, false);
	pending->in_slot = row;
	return pending->slot;
}

static bool
has_key(DerivePending *pending, DerivePendingRow *row, const Datum *key, const bool *isnull)
{
	TupleTableSlot *slot = derive_pending_slot(pending, row);

	for (int i = 0; i < pending->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(pending->desc, pending->keys[i] - 1);
		bool		null;
		Datum		value = slot_getattr(slot, pending->keys[i], &null);

		if (null != isnull[i] || (!null && !datum_image_eq(value, key[i], att->attbyval, att->attlen)))
			return false;
	}
	return true;
}

DerivePendingRow *
derive_pending_find(DerivePending *pending, const Datum *key, const bool *isnull)
{
	uint64		hash = 0;
	Bucket	   *bucket;
	dlist_iter	iter;

	if (dlist_is_empty(&pending->order))
		return NULL;
	for (int i = 0; i < pending->nkeys; i++)
		hash = add_to_hash(pending, i, hash, key[i], isnull[i]);
	bucket = hash_search(pending->buckets, &hash, HASH_FIND, NULL);
	if (bucket == NULL)
		return NULL;
	dlist_foreach(iter, &bucket->rows)
	{
		DerivePendingRow *row = dlist_container(DerivePendingRow, same_hash, iter.cur);

		if (has_key(pending, row, key, isnull))
			return row;
	}
	return NULL;
}

DerivePendingRow *
derive_pending_first(DerivePending *pending)
{
	if (dlist_is_empty(&pending->order))
		return NULL;
	return dlist_container(DerivePendingRow, order, dlist_head_node(&pending->order));
}

void
derive_pending_remove(DerivePending *pending, DerivePendingRow *row)
{
	Bucket	   *bucket = hash_search(pending->buckets, &row->hash, HASH_FIND, NULL);

	dlist_delete(&row->same_hash);
	if (dlist_is_empty(&bucket->rows))
		hash_search(pending->buckets, &row->hash, HASH_REMOVE, NULL);
	dlist_delete(&row->order);
	ExecClearTuple(pending->slot);
	pending->in_slot = NULL;
	pfree(row->tuple);
	pfree(row);
}

bool
derive_pending_full(DerivePending *pending)
{
	return MemoryContextMemAllocated(pending->cxt, false) > (Size) work_mem * 1024;
}
