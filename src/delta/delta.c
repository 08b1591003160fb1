/*-------------------------------------------------------------------------
 *
 * delta.c
 *	  Deltas: multisets of rows with signed weights, in tuplestores.
 *
 * Memory
 *
 * A delta is a memory context of its own, child of the one that was current
 * when it was made.  The tuplestore needs more than memory: temporary files
 * that must survive the end of a transaction, or its abort, because a batch
 * that fails is tried again with the same rows.  So the files are created as
 * "interXact" and no resource owner knows them; instead the memory context
 * closes them when it goes (a reset callback).  Whatever deletes the context,
 * be it derive_delta_free() or the end of some parent after an ERROR, leaves
 * no file behind.  The tuplestore itself lives in a context beneath
 * TopMemoryContext, not beneath the delta's: children are gone before the
 * callbacks of their parent run, and closing needs the memory intact.
 *
 * A tuplestore remembers the resource owner that was current at its creation
 * and makes it current while it opens files.  That of a transaction would be
 * a dangling pointer later, hence a resource owner of the process's own,
 * which never owns anything.
 *
 * Values
 *
 * Rows are copied as minimal tuples.  A pointer to an out-of-line value would
 * not survive: the TOAST row belongs to a table version that vacuum may remove
 * before the delta is used.  So such values are fetched when a row is added.
 * Compressed values stay compressed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "base/gucs.h"
#include "base/rowhash.h"
#include "catalog/pg_type.h"
#include "delta/consolidate.h"
#include "delta/delta.h"
#include "delta/held.h"
#include "delta/keys.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Smaller deltas are not worth sorting. */
#define NET_FROM_ROWS 64

/* Nor is it worth looking for rows that cancel out in them. */
#ifdef USE_ASSERT_CHECKING
#define HOLD_FROM_ROWS 2
#else
#define HOLD_FROM_ROWS NET_FROM_ROWS
#endif

#define REASON_HALF_WAY	"not all of its changes could be kept"

/* If less than one in eight of so many rows is left out, there is little that could be. */
#define NARROW_SAMPLE 1000

/* A delta and what only this file needs of it. */
typedef struct PrivateDelta
{
	DeriveDelta pub;			/* must be first */
	MemoryContext cxt;			/* holds all of this */
	MemoryContext rows_cxt;		/* its callback closes the tuplestore */
	MemoryContext flat_cxt;		/* fetched values of one row; NULL until
								 * needed */
	Datum	   *values;			/* one row, with weight */
	bool	   *nulls;
	DeriveHeld *held;			/* rows that are not in the tuplestore yet;
								 * NULL until needed */
} PrivateDelta;

/* A delta of a batch, as seen by a reader of some of its columns. */
typedef struct NarrowDelta
{
	DeriveDelta *delta;
	Bitmapset  *columns;
	DeriveDelta *narrow;
} NarrowDelta;

/* A delta of a batch, and what was made of it: its net effect, or without touches. */
typedef struct MadeDelta
{
	DeriveDelta *delta;
	DeriveDelta *made;
} MadeDelta;

/* A tuplestore and the context it lives in. */
typedef struct OwnedStore
{
	MemoryContextCallback callback;
	MemoryContext cxt;
	Tuplestorestate *store;
} OwnedStore;

/*
 * Tuplestores
 */

static void
close_store(void *arg)
{
	OwnedStore *owned = arg;

	if (owned->store != NULL)
		tuplestore_end(owned->store);
	MemoryContextDelete(owned->cxt);
}

Tuplestorestate *
derive_tuplestore_create(int kilobytes)
{
	static ResourceOwner nobody = NULL;
	OwnedStore *owned = palloc0(sizeof(OwnedStore));
	ResourceOwner save_owner = CurrentResourceOwner;
	MemoryContext old;

	if (nobody == NULL)
		nobody = ResourceOwnerCreate(NULL, "pg_derive stores");

	owned->cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive store", ALLOCSET_SMALL_SIZES);
	owned->callback.func = close_store;
	owned->callback.arg = owned;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &owned->callback);

	old = MemoryContextSwitchTo(owned->cxt);
	CurrentResourceOwner = nobody;
	owned->store = tuplestore_begin_heap(true, true, kilobytes);
	CurrentResourceOwner = save_owner;
	MemoryContextSwitchTo(old);

	return owned->store;
}

/*
 * Deltas
 */

TupleDesc
derive_delta_desc(TupleDesc relation_desc)
{
	int			natts = relation_desc->natts;
	TupleDesc	desc = CreateTemplateTupleDesc(natts + 1);

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, relation_desc, i);
	TupleDescInitBuiltinEntry(desc, natts + 1, "weight", INT8OID, -1, 0);

	return desc;
}

static void
create_rows(PrivateDelta *private)
{
	MemoryContext old = MemoryContextSwitchTo(private->rows_cxt);

	private->pub.rows = derive_tuplestore_create(derive_work_mem);
	MemoryContextSwitchTo(old);
}

DeriveDelta *
derive_delta_create(Oid relid, bool inh, TupleDesc relation_desc)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive delta",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	PrivateDelta *private = palloc0(sizeof(PrivateDelta));

	private->pub.relid = relid;
	private->pub.inh = inh;
	private->pub.desc = derive_delta_desc(relation_desc);
	private->cxt = cxt;
	private->rows_cxt = AllocSetContextCreate(cxt, "pg_derive delta rows", ALLOCSET_SMALL_SIZES);
	private->values = palloc(sizeof(Datum) * private->pub.desc->natts);
	private->nulls = palloc(sizeof(bool) * private->pub.desc->natts);
	create_rows(private);
	MemoryContextSwitchTo(old);

	return &private->pub;
}

void
derive_delta_free(DeriveDelta *delta)
{
	MemoryContextDelete(((PrivateDelta *) delta)->cxt);
}

/*
 * A fresh tuplestore, not tuplestore_clear(): each executor scan adds a read
 * pointer, and there is no way to take one back.
 */
void
derive_delta_reset(DeriveDelta *delta)
{
	PrivateDelta *private = (PrivateDelta *) delta;

	if (private->held != NULL)
		derive_held_free(private->held);
	private->held = NULL;
	delta->rows = NULL;
	delta->nrows = 0;
	delta->nremoved = delta->ntouched = 0;
	delta->unknown = false;
	delta->reason = NULL;
	MemoryContextReset(private->rows_cxt);
	create_rows(private);
}

void
derive_delta_mark_unknown(DeriveDelta *delta, const char *reason)
{
	if (delta->unknown)
		return;

	delta->unknown = true;
	delta->reason = reason;
}

/* Fetch what is stored out of line; true if there was something. */
static bool
flatten_values(PrivateDelta *private)
{
	TupleDesc	desc = private->pub.desc;
	bool		fetched = false;

	for (int i = 0; i < desc->natts - 1; i++)
	{
		MemoryContext old;

		if (private->nulls[i] || TupleDescAttr(desc, i)->attlen != -1 ||
			!VARATT_IS_EXTERNAL(DatumGetPointer(private->values[i])))
			continue;

		if (private->flat_cxt == NULL)
			private->flat_cxt = AllocSetContextCreate(private->cxt, "pg_derive fetched values",
													  ALLOCSET_DEFAULT_SIZES);
		old = MemoryContextSwitchTo(private->flat_cxt);
		private->values[i] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(private->values[i])));
		MemoryContextSwitchTo(old);
		fetched = true;
	}

	return fetched;
}

void
derive_delta_add_values(DeriveDelta *delta, const Datum *values, const bool *nulls, int64 weight)
{
	PrivateDelta *private = (PrivateDelta *) delta;
	int			ncolumns = delta->desc->natts - 1;
	bool		fetched;

	if (weight == 0)
		return;

	memcpy(private->values, values, sizeof(Datum) * ncolumns);
	memcpy(private->nulls, nulls, sizeof(bool) * ncolumns);
	private->values[ncolumns] = Int64GetDatum(weight);
	private->nulls[ncolumns] = false;

	fetched = flatten_values(private);
	tuplestore_putvalues(delta->rows, delta->desc, private->values, private->nulls);
	delta->nrows++;
	if (derive_weight_is_touch(weight))
		delta->ntouched++;
	else if (weight < 0)
		delta->nremoved++;

	if (fetched)
		MemoryContextReset(private->flat_cxt);
}

static void
add_held(void *arg, const Datum *values, const bool *nulls, int64 weight)
{
	derive_delta_add_values(arg, values, nulls, weight);
}

/* What holds rows back, or NULL: they are to be added. */
static DeriveHeld *
holder(DeriveDelta *delta)
{
	PrivateDelta *private = (PrivateDelta *) delta;
	MemoryContext old;

	if (private->held == NULL && delta->nrows >= HOLD_FROM_ROWS)
	{
		old = MemoryContextSwitchTo(private->cxt);
		private->held = derive_held_create(delta->desc, delta->desc->natts - 1, add_held, delta);
		MemoryContextSwitchTo(old);
	}
	return delta->nrows >= HOLD_FROM_ROWS && derive_held_wanted(private->held) ? private->held : NULL;
}

void
derive_delta_update(DeriveDelta *delta, const Datum *oldvalues, const bool *oldnulls,
					const Datum *newvalues, const bool *newnulls)
{
	DeriveHeld *held = holder(delta);

	if (held != NULL)
	{
		derive_held_update(held, oldvalues, oldnulls, newvalues, newnulls);
		return;
	}
	derive_delta_add_values(delta, oldvalues, oldnulls, -1);
	derive_delta_add_values(delta, newvalues, newnulls, 1);
}

void
derive_delta_touch(DeriveDelta *delta, const Datum *values, const bool *nulls, int64 weight,
				   int nkeys, const AttrNumber *keys)
{
	DeriveHeld *held = holder(delta);

	Assert(derive_weight_is_touch(weight));
	if (held != NULL)
		derive_held_touch(held, values, nulls, weight, nkeys, keys);
	else
		derive_delta_add_values(delta, values, nulls, weight);
}

void
derive_delta_settle(DeriveDelta *delta)
{
	PrivateDelta *private = (PrivateDelta *) delta;
	bool		unknown = delta->unknown;
	const char *reason = delta->reason;

	if (private->held == NULL)
		return;

	/* if the disk is full, say, some are there and some are not */
	delta->unknown = true;
	delta->reason = REASON_HALF_WAY;
	derive_held_release(private->held);
	delta->unknown = unknown;
	delta->reason = reason;
}

void
derive_delta_add_slot(DeriveDelta *delta, TupleTableSlot *slot, int64 weight)
{
	slot_getallattrs(slot);
	Assert(slot->tts_tupleDescriptor->natts >= delta->desc->natts - 1);
	derive_delta_add_values(delta, slot->tts_values, slot->tts_isnull, weight);
}

/*
 * The relation may have got columns since the other delta was made, so rows
 * are copied by attribute number; columns that one side lacks are NULL.
 */
void
derive_delta_append(DeriveDelta *delta, DeriveDelta *other)
{
	int			ncolumns = delta->desc->natts - 1;
	int			nother = other->desc->natts - 1;
	TupleTableSlot *slot;
	Datum	   *values;
	bool	   *nulls;

	if (other->unknown)
		derive_delta_mark_unknown(delta, other->reason);
	if (other->nrows == 0)
		return;

	slot = MakeSingleTupleTableSlot(other->desc, &TTSOpsMinimalTuple);
	values = palloc0(sizeof(Datum) * ncolumns);
	nulls = palloc(sizeof(bool) * ncolumns);
	memset(nulls, true, sizeof(bool) * ncolumns);

	derive_delta_rewind(other);
	while (derive_delta_next(other, slot))
	{
		slot_getallattrs(slot);
		memcpy(values, slot->tts_values, sizeof(Datum) * Min(ncolumns, nother));
		memcpy(nulls, slot->tts_isnull, sizeof(bool) * Min(ncolumns, nother));
		derive_delta_add_values(delta, values, nulls, DatumGetInt64(slot->tts_values[nother]));
	}

	ExecDropSingleTupleTableSlot(slot);
	pfree(values);
	pfree(nulls);
}

void
derive_delta_rewind(DeriveDelta *delta)
{
	tuplestore_select_read_pointer(delta->rows, 0);
	tuplestore_rescan(delta->rows);
}

bool
derive_delta_next(DeriveDelta *delta, TupleTableSlot *slot)
{
	return tuplestore_gettupleslot(delta->rows, true, false, slot);
}

/*
 * Batches
 */

DeriveDelta *
derive_batch_find(DeriveBatch *batch, Oid relid, bool inh)
{
	ListCell   *lc;

	foreach(lc, batch->deltas)
	{
		DeriveDelta *delta = lfirst(lc);

		if (delta->relid == relid && delta->inh == inh)
			return delta;
	}

	return NULL;
}

void
derive_batch_add(DeriveBatch *batch, DeriveDelta *delta)
{
	MemoryContext old = CurrentMemoryContext;

	Assert(derive_batch_find(batch, delta->relid, delta->inh) == NULL);

	if (batch->cxt != NULL)
		MemoryContextSwitchTo(batch->cxt);
	batch->deltas = lappend(batch->deltas, delta);
	MemoryContextSwitchTo(old);
}

/* The layout of the rows themselves, without the weight. */
static TupleDesc
row_desc(DeriveDelta *delta)
{
	int			ncolumns = delta->desc->natts - 1;
	TupleDesc	desc = CreateTemplateTupleDesc(ncolumns);

	for (int i = 1; i <= ncolumns; i++)
		TupleDescCopyEntry(desc, i, delta->desc, i);
	return desc;
}

static void
add_net_change(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	if (old != NULL)
		derive_delta_add_slot(arg, old, -count);
	if (new != NULL)
		derive_delta_add_slot(arg, new, count);
}

DeriveDelta *
derive_delta_net(DeriveDelta *delta)
{
	int			ncolumns = delta->desc->natts - 1;
	TupleDesc	desc = row_desc(delta);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
	TupleTableSlot *row;
	DeriveConsolidator *consolidator;
	DeriveDelta *net;

	Assert(delta->ntouched == 0);
	row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	net = derive_delta_create(delta->relid, delta->inh, desc);
	consolidator = derive_consolidate_begin(desc, 0, NULL, false);

	derive_delta_rewind(delta);
	while (derive_delta_next(delta, slot))
	{
		slot_getallattrs(slot);
		ExecClearTuple(row);
		memcpy(row->tts_values, slot->tts_values, sizeof(Datum) * ncolumns);
		memcpy(row->tts_isnull, slot->tts_isnull, sizeof(bool) * ncolumns);
		ExecStoreVirtualTuple(row);
		derive_consolidate_add(consolidator, row, DatumGetInt64(slot->tts_values[ncolumns]));
	}
	derive_consolidate_finish(consolidator, add_net_change, net);

	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(slot);
	return net;
}

/* What was made of a delta before, or is now. */
static DeriveDelta *
make_once(DeriveBatch *batch, List **list, DeriveDelta *delta,
		  DeriveDelta *(*make) (DeriveBatch *batch, DeriveDelta *delta))
{
	MemoryContext old = CurrentMemoryContext;
	MadeDelta  *entry;
	ListCell   *lc;

	foreach(lc, *list)
	{
		entry = lfirst(lc);
		if (entry->delta == delta)
			return entry->made;
	}

	if (batch->cxt != NULL)
		MemoryContextSwitchTo(batch->cxt);
	entry = palloc(sizeof(MadeDelta));
	entry->delta = delta;
	entry->made = make(batch, delta);
	*list = lappend(*list, entry);
	MemoryContextSwitchTo(old);

	return entry->made;
}

static DeriveDelta *
make_net(DeriveBatch *batch, DeriveDelta *delta)
{
	return derive_delta_net(delta);
}

DeriveDelta *
derive_batch_net(DeriveBatch *batch, DeriveDelta *delta)
{
	/* Rows that were only added do not cancel out. */
	if (delta->unknown || delta->nrows < NET_FROM_ROWS || delta->nremoved < delta->nrows / 8)
		return delta;

	return make_once(batch, &batch->nets, delta, make_net);
}

static DeriveDelta *
make_rows(DeriveBatch *batch, DeriveDelta *delta)
{
	DeriveDelta *rows = delta->ntouched > 0 ? derive_keys_resolve(delta, batch->past) : delta;

#ifdef USE_ASSERT_CHECKING
	if (derive_keys_can_check(delta, batch->past))
		derive_keys_check(delta, rows, batch->past);
#endif
	return rows;
}

DeriveDelta *
derive_batch_rows(DeriveBatch *batch, DeriveDelta *delta)
{
	bool		as_it_is = delta->unknown || delta->ntouched == 0;

#ifdef USE_ASSERT_CHECKING
	as_it_is = as_it_is && !derive_keys_can_check(delta, batch->past);
#endif
	return as_it_is ? delta : make_once(batch, &batch->resolved, delta, make_rows);
}

/* The row that was read last, as it goes into another delta. */
static int64
take_row(DeriveDelta *delta, TupleTableSlot *slot, DeriveDelta *to)
{
	int			ncolumns = delta->desc->natts - 1;
	int64		weight;

	slot_getallattrs(slot);
	weight = DatumGetInt64(slot->tts_values[ncolumns]);
	if (to != NULL)
		derive_delta_add_values(to, slot->tts_values, slot->tts_isnull, weight);
	return weight;
}

/* NULL: it would be much the same. */
static DeriveDelta *
make_narrow(DeriveDelta *delta, int nattrs, const AttrNumber *attrs)
{
	TupleTableSlot *slots[2];
	TupleTableSlot *held = NULL;	/* a removed row that may be added again
									 * at once */
	int			which = 0;
	int64		nrows = 0;
	DeriveDelta *narrow = derive_delta_create(delta->relid, delta->inh, row_desc(delta));

	Assert(delta->ntouched == 0);
	for (int i = 0; i < 2; i++)
		slots[i] = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);
	derive_delta_rewind(delta);
	while (derive_delta_next(delta, slots[which]))
	{
		TupleTableSlot *slot = slots[which];
		int64		weight = take_row(delta, slot, NULL);

		if (++nrows == NARROW_SAMPLE && narrow->nrows > NARROW_SAMPLE - NARROW_SAMPLE / 8)
		{
			derive_delta_free(narrow);
			narrow = NULL;
			break;
		}
		if (held != NULL && weight == 1 && derive_row_equal(held, slot, nattrs, attrs))
		{
			held = NULL;
			continue;
		}
		if (held != NULL)
			(void) take_row(delta, held, narrow);
		held = NULL;
		if (weight == -1)
		{
			ExecMaterializeSlot(slot);
			held = slot;
			which = 1 - which;
		}
		else
			(void) take_row(delta, slot, narrow);
	}
	if (held != NULL && narrow != NULL)
		(void) take_row(delta, held, narrow);
	for (int i = 0; i < 2; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	return narrow;
}

DeriveDelta *
derive_batch_narrow(DeriveBatch *batch, DeriveDelta *delta, const Bitmapset *columns)
{
	MemoryContext old = CurrentMemoryContext;
	NarrowDelta *entry;
	AttrNumber *attrs;
	int			nattrs = 0;
	int			attno = -1;
	ListCell   *lc;

	if (delta->unknown || delta->nremoved == 0 || delta->columns == NULL ||
		bms_subset_compare(columns, delta->columns) != BMS_SUBSET1 || bms_is_empty(columns))
		return delta;
	foreach(lc, batch->narrowed)
	{
		entry = lfirst(lc);
		if (entry->delta == delta && bms_equal(entry->columns, columns))
			return entry->narrow;
	}

	if (batch->cxt != NULL)
		MemoryContextSwitchTo(batch->cxt);
	attrs = palloc(sizeof(AttrNumber) * bms_num_members(columns));
	while ((attno = bms_next_member(columns, attno)) >= 0)
		attrs[nattrs++] = attno;
	entry = palloc(sizeof(NarrowDelta));
	entry->delta = delta;
	entry->columns = bms_copy(columns);
	entry->narrow = make_narrow(delta, nattrs, attrs);
	if (entry->narrow == NULL)
		entry->narrow = delta;
	batch->narrowed = lappend(batch->narrowed, entry);
	MemoryContextSwitchTo(old);

	return entry->narrow;
}
