/*-------------------------------------------------------------------------
 *
 * copies.c
 *	  Where rows are that have the same key as one that was taken away.
 *
 * Each search for a row passes those of the key that this transaction has taken
 * away before.  So each search remembers twice as many places as the one before,
 * and to take n rows costs about 3 n steps, whatever rows of other keys are taken
 * in between, while who takes one row does not look for others:
 *
 *		search	passes	remembers	then taken
 *		1		0		1			1
 *		2		1		2			3
 *		3		3		4			7
 *		4		7		8			15
 *
 * A place is 6 bytes.  When they are too many, all is forgotten, and counting begins
 * anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/gucs.h"
#include "deposit/copies.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* One key may have this part of the memory. */
#define SHARE_OF_KEY	4

typedef struct Key
{
	int64		hash;			/* hash key */
	int			next;			/* the first one that is left */
	int			filled;
	int			wanted;			/* places in the array */
	ItemPointerData *tids;		/* NULL before the second search */
} Key;

struct DeriveCopies
{
	MemoryContext cxt;			/* of the table and the arrays */
	HTAB	   *keys;
	Key		   *key;			/* that find() turned to */
};

static void
begin(DeriveCopies *copies)
{
	HASHCTL		ctl = {.keysize = sizeof(int64),.entrysize = sizeof(Key),.hcxt = copies->cxt};

	copies->keys = hash_create("pg_derive copies of rows", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	copies->key = NULL;
}

DeriveCopies *
derive_copies_create(MemoryContext parent)
{
	DeriveCopies *copies = MemoryContextAlloc(parent, sizeof(DeriveCopies));

	copies->cxt = AllocSetContextCreate(parent, "pg_derive copies of rows", ALLOCSET_DEFAULT_SIZES);
	begin(copies);
	return copies;
}

void
derive_copies_note_taken(DeriveCopies *copies, int64 hash)
{
	bool		found;
	Key		   *key;

	if (MemoryContextMemAllocated(copies->cxt, true) > (Size) derive_work_mem * 1024)
	{
		MemoryContextReset(copies->cxt);
		begin(copies);
	}
	key = hash_search(copies->keys, &hash, HASH_ENTER, &found);
	if (found)
		return;
	key->next = key->filled = 0;
	key->wanted = 1;			/* which the search has met */
	key->tids = NULL;
}

bool
derive_copies_find(DeriveCopies *copies, int64 hash)
{
	copies->key = hash_search(copies->keys, &hash, HASH_FIND, NULL);
	return copies->key != NULL;
}

ItemPointer
derive_copies_first(DeriveCopies *copies)
{
	Key		   *key = copies->key;

	return key->next < key->filled ? &key->tids[key->next] : NULL;
}

void
derive_copies_remove_first(DeriveCopies *copies)
{
	Assert(derive_copies_first(copies) != NULL);
	copies->key->next++;
}

void
derive_copies_refill(DeriveCopies *copies)
{
	Key		   *key = copies->key;
	int			met = Max(key->filled, 1);

	Assert(derive_copies_first(copies) == NULL);
	if (key->tids != NULL)
		pfree(key->tids);
	key->next = key->filled = 0;
	key->wanted = Min(2 * met, (Size) derive_work_mem * 1024 / SHARE_OF_KEY / sizeof(ItemPointerData));
	key->tids = MemoryContextAlloc(copies->cxt, sizeof(ItemPointerData) * key->wanted);
}

bool
derive_copies_want_more(DeriveCopies *copies)
{
	return copies->key->filled < copies->key->wanted;
}

void
derive_copies_add(DeriveCopies *copies, ItemPointer tid)
{
	Assert(derive_copies_want_more(copies));
	copies->key->tids[copies->key->filled++] = *tid;
}
