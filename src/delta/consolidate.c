/*-------------------------------------------------------------------------
 *
 * consolidate.c
 *	  Net effect of a stream of weighted rows.
 *
 * Phases
 *
 *	adding		The first MAX_IN_MEMORY distinct rows are kept in an array,
 *				where equal rows are summed on the spot.  This is all there is
 *				to the small batches of an idle database, so it must be cheap.
 *				When the array is full it moves into a tuplesort, and further
 *				rows follow it.
 *	finishing	Rows come in the order of their hash.  A run of rows with the
 *				same hash is summed in memory, one entry per distinct row, so
 *				a million copies of one row need the memory of one.
 *
 * Sort order
 *
 *	(group hash, row hash).  Without a key both are the hash of the row.  With
 *	a key the group hash is that of the key, so all rows of a key are in one
 *	run, and the row hash keeps equal rows together within it.  The group hash
 *	is by image the same as that of the locator's index (rowhash.h): changes
 *	are then applied in index order.
 *
 * A stored row is the original one behind three more columns, in front, where
 * they are cheap to reach: group hash, row hash, weight.
 *
 * Equality by value
 *
 *	The hash of a column must not tell apart what the type calls equal.  Where
 *	the type has a hash function that belongs to its equality operator that is
 *	used; else, where the type's btree says that equality is that of the image,
 *	the image; else nothing, and rows differ by their other columns only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "base/compat.h"
#include "base/gucs.h"
#include "base/rowhash.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "delta/consolidate.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#define MAX_IN_MEMORY		64

/* attribute numbers of the columns in front */
#define GROUP_HASH_ATTNO	1
#define ROW_HASH_ATTNO		2
#define WEIGHT_ATTNO		3
#define NLEADING			3

/* How one column is compared by value. */
typedef enum ColumnHash
{
	HASH_BY_FUNCTION,			/* FmgrInfo hash, 32 bits */
	HASH_BY_FUNCTION_EXTENDED,	/* FmgrInfo hash, 64 bits */
	HASH_BY_IMAGE,
	HASH_NOTHING
} ColumnHash;

typedef struct ColumnRule
{
	bool		by_operator;	/* else equality by image */
	FmgrInfo	equal;
	ColumnHash	how;
	FmgrInfo	hash;
} ColumnRule;

/* A distinct row and its weight so far. */
typedef struct Entry
{
	int64		group_hash;
	int64		row_hash;
	int64		weight;
	MinimalTuple tuple;			/* with the leading columns, whose weight is
								 * out of date */
} Entry;

struct DeriveConsolidator
{
	MemoryContext cxt;			/* holds all of this */
	MemoryContext rows_cxt;		/* tuples of entries */
	MemoryContext scratch_cxt;	/* what functions leave behind; reset per row */

	TupleDesc	desc;			/* the rows */
	TupleDesc	stored_desc;	/* leading columns, then the rows */
	int			nkeys;
	AttrNumber *keys;
	bool		by_value;
	ColumnRule *rules;			/* by_value only */

	Entry	   *entries;
	int			nentries;
	int			maxentries;
	Tuplesortstate *sort;		/* NULL while everything is in entries */

	TupleTableSlot *stored;		/* virtual, stored_desc: a row to be kept */
	TupleTableSlot *entry_slot; /* minimal, stored_desc: a row to compare with */
	TupleTableSlot *old;		/* virtual, desc: for the callback */
	TupleTableSlot *new;
};

/*
 * Preparing
 */

bool
derive_equality_is_image(Oid typid, Oid collation)
{
	TypeCacheEntry *type = lookup_type_cache(typid, TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);
	Oid			proc;

	/*
	 * these can only be hashed, so that nobody asks them; their "=" compares
	 * all bytes
	 */
	if (typid == XIDOID || typid == CIDOID || typid == ACLITEMOID)
		return true;
	if (!OidIsValid(type->btree_opf))
		return false;
	if (type->eq_opr != get_opfamily_member(type->btree_opf, type->btree_opintype,
											type->btree_opintype, BTEqualStrategyNumber))
		return false;
	proc = get_opfamily_proc(type->btree_opf, type->btree_opintype,
							 type->btree_opintype, BTEQUALIMAGE_PROC);

	return OidIsValid(proc) &&
		DatumGetBool(OidFunctionCall1Coll(proc, collation, ObjectIdGetDatum(type->btree_opintype)));
}

static void
init_rule(ColumnRule *rule, Form_pg_attribute att)
{
	TypeCacheEntry *type;

	rule->how = HASH_BY_IMAGE;

	/* the operator of record is only good for what the fields are good for */
	if (att->attisdropped || att->atttypid == RECORDOID || att->atttypid == RECORDARRAYOID)
		return;

	type = lookup_type_cache(att->atttypid,
							 TYPECACHE_EQ_OPR | TYPECACHE_HASH_PROC | TYPECACHE_HASH_EXTENDED_PROC);
	if (!OidIsValid(type->eq_opr))
		return;

	rule->by_operator = true;
	fmgr_info(get_opcode(type->eq_opr), &rule->equal);
	if (OidIsValid(type->hash_extended_proc))
	{
		rule->how = HASH_BY_FUNCTION_EXTENDED;
		fmgr_info(type->hash_extended_proc, &rule->hash);
	}
	else if (OidIsValid(type->hash_proc))
	{
		rule->how = HASH_BY_FUNCTION;
		fmgr_info(type->hash_proc, &rule->hash);
	}
	else if (!derive_equality_is_image(att->atttypid, att->attcollation))
		rule->how = HASH_NOTHING;
}

static TupleDesc
make_stored_desc(TupleDesc desc)
{
	TupleDesc	stored = CreateTemplateTupleDesc(desc->natts + NLEADING);

	TupleDescInitBuiltinEntry(stored, GROUP_HASH_ATTNO, "group_hash", INT8OID, -1, 0);
	TupleDescInitBuiltinEntry(stored, ROW_HASH_ATTNO, "row_hash", INT8OID, -1, 0);
	TupleDescInitBuiltinEntry(stored, WEIGHT_ATTNO, "weight", INT8OID, -1, 0);
	for (int i = 1; i <= desc->natts; i++)
		TupleDescCopyEntry(stored, i + NLEADING, desc, i);

	return stored;
}

DeriveConsolidator *
derive_consolidate_begin(TupleDesc desc, int nkeys, const AttrNumber *keys, bool by_value)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive consolidator",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveConsolidator *c = palloc0(sizeof(DeriveConsolidator));

	c->cxt = cxt;
	c->rows_cxt = AllocSetContextCreate(cxt, "pg_derive consolidated rows", ALLOCSET_DEFAULT_SIZES);
	c->scratch_cxt = AllocSetContextCreate(cxt, "pg_derive consolidator scratch", ALLOCSET_DEFAULT_SIZES);
	c->desc = CreateTupleDescCopy(desc);
	c->stored_desc = make_stored_desc(desc);
	c->nkeys = nkeys;
	if (nkeys > 0)
	{
		c->keys = palloc(sizeof(AttrNumber) * nkeys);
		memcpy(c->keys, keys, sizeof(AttrNumber) * nkeys);
	}
	c->by_value = by_value;
	if (by_value)
	{
		c->rules = palloc0(sizeof(ColumnRule) * desc->natts);
		for (int i = 0; i < desc->natts; i++)
			init_rule(&c->rules[i], TupleDescAttr(desc, i));
	}

	c->maxentries = MAX_IN_MEMORY;
	c->entries = palloc(sizeof(Entry) * c->maxentries);
	c->stored = MakeSingleTupleTableSlot(c->stored_desc, &TTSOpsVirtual);
	c->entry_slot = MakeSingleTupleTableSlot(c->stored_desc, &TTSOpsMinimalTuple);
	c->old = MakeSingleTupleTableSlot(c->desc, &TTSOpsVirtual);
	c->new = MakeSingleTupleTableSlot(c->desc, &TTSOpsVirtual);
	MemoryContextSwitchTo(old);

	return c;
}

/*
 * Hash and equality of columns.  values and nulls are those of the rows,
 * without the leading columns.
 */

static uint64
column_hash(DeriveConsolidator *c, int attno, Datum value)
{
	Form_pg_attribute att = TupleDescAttr(c->desc, attno - 1);
	ColumnRule *rule;

	if (!c->by_value)
		return derive_datum_hash(att, value);

	rule = &c->rules[attno - 1];
	switch (rule->how)
	{
		case HASH_BY_FUNCTION:
			return DatumGetUInt32(FunctionCall1Coll(&rule->hash, att->attcollation, value));
		case HASH_BY_FUNCTION_EXTENDED:
			return DatumGetUInt64(FunctionCall2Coll(&rule->hash, att->attcollation,
													value, UInt64GetDatum(0)));
		case HASH_BY_IMAGE:
			return derive_datum_hash(att, value);
		case HASH_NOTHING:
			break;
	}

	return 0;
}

/* By image this must equal derive_row_hash() of the same columns, so it is used there. */
static int64
columns_hash_by_value(DeriveConsolidator *c, const Datum *values, const bool *nulls,
					  int ncolumns, const AttrNumber *columns)
{
	uint64		hash = 0;

	for (int i = 0; i < ncolumns; i++)
	{
		int			attno = columns != NULL ? columns[i] : i + 1;
		uint64		h = nulls[attno - 1] ? UINT64CONST(0x9e3779b97f4a7c15) : column_hash(c, attno, values[attno - 1]);

		/* hash functions of 32 bits leave the upper half empty: spread them */
		hash = hash_combine64(hash * UINT64CONST(0x9e3779b97f4a7c15), h);
	}

	return (int64) hash;
}

static void
hash_row(DeriveConsolidator *c, TupleTableSlot *row, int64 *group_hash, int64 *row_hash)
{
	if (c->by_value)
		*row_hash = columns_hash_by_value(c, row->tts_values, row->tts_isnull, c->desc->natts, NULL);
	else
		*row_hash = derive_values_hash(c->desc, row->tts_values, row->tts_isnull);

	if (c->nkeys == 0)
		*group_hash = *row_hash;
	else if (c->by_value)
		*group_hash = columns_hash_by_value(c, row->tts_values, row->tts_isnull, c->nkeys, c->keys);
	else
		*group_hash = derive_row_hash(row, c->nkeys, c->keys);
}

static bool
columns_equal(DeriveConsolidator *c, const Datum *avalues, const bool *anulls,
			  const Datum *bvalues, const bool *bnulls, int ncolumns, const AttrNumber *columns)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int			attno = columns != NULL ? columns[i] - 1 : i;
		Form_pg_attribute att = TupleDescAttr(c->desc, attno);

		if (anulls[attno] != bnulls[attno])
			return false;
		if (anulls[attno])
			continue;
		if (c->by_value && c->rules[attno].by_operator)
		{
			if (!DatumGetBool(FunctionCall2Coll(&c->rules[attno].equal, att->attcollation,
												avalues[attno], bvalues[attno])))
				return false;
		}
		else if (!derive_datum_equal(att, avalues[attno], bvalues[attno]))
			return false;
	}

	return true;
}

/* Is this entry's row the given one?  Leaves the entry's row in entry_slot. */
static bool
entry_matches(DeriveConsolidator *c, Entry *entry, const Datum *values, const bool *nulls,
			  int ncolumns, const AttrNumber *columns)
{
	TupleTableSlot *slot = c->entry_slot;

	ExecStoreMinimalTuple(entry->tuple, slot, false);
	slot_getallattrs(slot);

	return columns_equal(c, slot->tts_values + NLEADING, slot->tts_isnull + NLEADING,
						 values, nulls, ncolumns, columns);
}

/*
 * Entries
 */

/* Add a row to the entries; sorted: rows come in the order of their hash. */
static void
add_entry(DeriveConsolidator *c, TupleTableSlot *stored, int64 group_hash, int64 row_hash,
		  int64 weight, bool sorted)
{
	Entry	   *entry;
	MemoryContext old;

	for (int i = c->nentries - 1; i >= 0; i--)
	{
		entry = &c->entries[i];
		if (entry->row_hash != row_hash || entry->group_hash != group_hash)
		{
			if (sorted)
				break;
			continue;
		}
		if (entry_matches(c, entry, stored->tts_values + NLEADING, stored->tts_isnull + NLEADING,
						  c->desc->natts, NULL))
		{
			entry->weight += weight;
			return;
		}
	}

	if (c->nentries == c->maxentries)
	{
		c->maxentries *= 2;
		c->entries = repalloc_huge(c->entries, sizeof(Entry) * c->maxentries);
	}
	entry = &c->entries[c->nentries];
	entry->group_hash = group_hash;
	entry->row_hash = row_hash;
	entry->weight = weight;
	old = MemoryContextSwitchTo(c->rows_cxt);
	entry->tuple = ExecCopySlotMinimalTuple(stored);
	MemoryContextSwitchTo(old);
	c->nentries++;
}

static void
forget_entries(DeriveConsolidator *c)
{
	ExecClearTuple(c->entry_slot);
	MemoryContextReset(c->rows_cxt);
	c->nentries = 0;
}

/* Show an entry's row in a slot of the callback. */
static void
show_entry(DeriveConsolidator *c, Entry *entry, TupleTableSlot *slot)
{
	TupleDesc	desc = c->stored_desc;
	HeapTupleData tuple;
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	ExecClearTuple(slot);
	tuple.t_len = entry->tuple->t_len + MINIMAL_TUPLE_OFFSET;
	tuple.t_data = (HeapTupleHeader) ((char *) entry->tuple - MINIMAL_TUPLE_OFFSET);
	heap_deform_tuple(&tuple, desc, values, nulls);
	memcpy(slot->tts_values, values + NLEADING, sizeof(Datum) * c->desc->natts);
	memcpy(slot->tts_isnull, nulls + NLEADING, sizeof(bool) * c->desc->natts);
	ExecStoreVirtualTuple(slot);
}

static void
report(DeriveConsolidator *c, Entry *old, Entry *new, int64 count, DeriveNetChange callback, void *arg)
{
	MemoryContext save = MemoryContextSwitchTo(c->scratch_cxt);

	if (old != NULL)
		show_entry(c, old, c->old);
	if (new != NULL)
		show_entry(c, new, c->new);
	MemoryContextSwitchTo(save);

	callback(arg, old != NULL ? c->old : NULL, new != NULL ? c->new : NULL, count);
	MemoryContextReset(c->scratch_cxt);
}

/* The first of entries[from..to-1] with the key of old that is still to be added, or -1. */
static int
find_partner(DeriveConsolidator *c, Entry *old, int from, int to)
{
	TupleTableSlot *slot = c->old;

	show_entry(c, old, slot);
	for (int i = from; i < to; i++)
	{
		if (c->entries[i].weight > 0 &&
			entry_matches(c, &c->entries[i], slot->tts_values, slot->tts_isnull, c->nkeys, c->keys))
			return i;
	}

	return -1;
}

/* Report replacements among entries[from..to-1], which have the same group hash. */
static void
report_replacements(DeriveConsolidator *c, int from, int to, DeriveNetChange callback, void *arg)
{
	int			next = from;	/* partners before this one are used up */

	for (int i = from; i < to; i++)
	{
		Entry	   *old = &c->entries[i];

		while (old->weight < 0)
		{
			MemoryContext save;
			int			partner;

			while (next < to && c->entries[next].weight <= 0)
				next++;
			if (next == to)
				return;

			save = MemoryContextSwitchTo(c->scratch_cxt);
			partner = find_partner(c, old, next, to);
			MemoryContextSwitchTo(save);
			if (partner < 0)
				break;

			old->weight++;
			c->entries[partner].weight--;
			report(c, old, &c->entries[partner], 1, callback, arg);
		}
	}
}

/* Report the net changes of entries[from..to-1], which have the same group hash. */
static void
report_run(DeriveConsolidator *c, int from, int to, DeriveNetChange callback, void *arg)
{
	if (c->nkeys > 0 && to - from > 1)
		report_replacements(c, from, to, callback, arg);

	for (int i = from; i < to; i++)
	{
		Entry	   *entry = &c->entries[i];

		if (entry->weight < 0)
			report(c, entry, NULL, -entry->weight, callback, arg);
	}
	for (int i = from; i < to; i++)
	{
		Entry	   *entry = &c->entries[i];

		if (entry->weight > 0)
			report(c, NULL, entry, entry->weight, callback, arg);
	}
}

/*
 * Adding
 */

static void
begin_sort(DeriveConsolidator *c)
{
	AttrNumber	attnos[] = {GROUP_HASH_ATTNO, ROW_HASH_ATTNO};
	Oid			operators[] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};
	MemoryContext old = MemoryContextSwitchTo(c->cxt);

	c->sort = tuplesort_begin_heap(c->stored_desc, c->nkeys > 0 ? 2 : 1, attnos, operators,
								   collations, nulls_first, derive_work_mem, NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(old);
}

/* Move the entries into the sort. */
static void
sort_entries(DeriveConsolidator *c)
{
	begin_sort(c);
	for (int i = 0; i < c->nentries; i++)
	{
		Entry	   *entry = &c->entries[i];

		if (entry->weight == 0)
			continue;
		ExecStoreMinimalTuple(entry->tuple, c->entry_slot, false);
		slot_getallattrs(c->entry_slot);
		memcpy(c->stored->tts_values, c->entry_slot->tts_values, sizeof(Datum) * c->stored_desc->natts);
		memcpy(c->stored->tts_isnull, c->entry_slot->tts_isnull, sizeof(bool) * c->stored_desc->natts);
		c->stored->tts_values[WEIGHT_ATTNO - 1] = Int64GetDatum(entry->weight);
		ExecStoreVirtualTuple(c->stored);
		tuplesort_puttupleslot(c->sort, c->stored);
		ExecClearTuple(c->stored);
	}
	forget_entries(c);
}

void
derive_consolidate_add(DeriveConsolidator *c, TupleTableSlot *row, int64 weight)
{
	TupleTableSlot *stored = c->stored;
	int64		group_hash;
	int64		row_hash;
	MemoryContext old;

	if (weight == 0)
		return;

	/* whatever type functions leave behind goes with the row */
	old = MemoryContextSwitchTo(c->scratch_cxt);
	slot_getallattrs(row);
	Assert(row->tts_tupleDescriptor->natts >= c->desc->natts);
	hash_row(c, row, &group_hash, &row_hash);

	if (c->sort == NULL && c->nentries == MAX_IN_MEMORY)
		sort_entries(c);

	stored->tts_values[GROUP_HASH_ATTNO - 1] = Int64GetDatum(group_hash);
	stored->tts_values[ROW_HASH_ATTNO - 1] = Int64GetDatum(row_hash);
	stored->tts_values[WEIGHT_ATTNO - 1] = Int64GetDatum(weight);
	memset(stored->tts_isnull, false, sizeof(bool) * NLEADING);
	memcpy(stored->tts_values + NLEADING, row->tts_values, sizeof(Datum) * c->desc->natts);
	memcpy(stored->tts_isnull + NLEADING, row->tts_isnull, sizeof(bool) * c->desc->natts);
	ExecStoreVirtualTuple(stored);

	if (c->sort != NULL)
		tuplesort_puttupleslot(c->sort, stored);
	else
		add_entry(c, stored, group_hash, row_hash, weight, false);

	ExecClearTuple(stored);
	MemoryContextSwitchTo(old);
	MemoryContextReset(c->scratch_cxt);
}

/*
 * Finishing
 */

static int
compare_entries(const void *a, const void *b)
{
	const Entry *x = a;
	const Entry *y = b;

	if (x->group_hash != y->group_hash)
		return x->group_hash < y->group_hash ? -1 : 1;
	if (x->row_hash != y->row_hash)
		return x->row_hash < y->row_hash ? -1 : 1;
	return 0;
}

static void
finish_in_memory(DeriveConsolidator *c, DeriveNetChange callback, void *arg)
{
	int			from = 0;

	if (c->nentries > 1)
		qsort(c->entries, c->nentries, sizeof(Entry), compare_entries);

	for (int i = 1; i <= c->nentries; i++)
	{
		if (i < c->nentries && c->entries[i].group_hash == c->entries[from].group_hash)
			continue;
		report_run(c, from, i, callback, arg);
		from = i;
	}
}

static void
finish_sorted(DeriveConsolidator *c, DeriveNetChange callback, void *arg)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(c->stored_desc, &TTSOpsMinimalTuple);

	tuplesort_performsort(c->sort);
	while (tuplesort_gettupleslot(c->sort, true, false, slot, NULL))
	{
		int64		group_hash;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		group_hash = DatumGetInt64(slot->tts_values[GROUP_HASH_ATTNO - 1]);
		if (c->nentries > 0 && c->entries[0].group_hash != group_hash)
		{
			report_run(c, 0, c->nentries, callback, arg);
			forget_entries(c);
		}

		old = MemoryContextSwitchTo(c->scratch_cxt);
		add_entry(c, slot, group_hash, DatumGetInt64(slot->tts_values[ROW_HASH_ATTNO - 1]),
				  DatumGetInt64(slot->tts_values[WEIGHT_ATTNO - 1]), true);
		MemoryContextSwitchTo(old);
		MemoryContextReset(c->scratch_cxt);
	}
	report_run(c, 0, c->nentries, callback, arg);

	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(c->sort);
}

void
derive_consolidate_finish(DeriveConsolidator *c, DeriveNetChange callback, void *arg)
{
	if (c->sort != NULL)
		finish_sorted(c, callback, arg);
	else
		finish_in_memory(c, callback, arg);

	MemoryContextDelete(c->cxt);
}
