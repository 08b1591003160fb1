/*-------------------------------------------------------------------------
 *
 * keyed.c
 *	  From the keys of rows that were touched to what was done to the rows.
 *
 * For tables with a key the log need not carry old rows.  An UPDATE or DELETE then
 * leaves in the delta only which key was touched ("touches", delta.h) and, mostly,
 * what the row has become; inserted rows are there as they are.  Before a batch uses
 * the delta, every touched key is looked up twice in the table's own index:
 *
 *		rows with the key in the past		weight -1
 *		rows with the key now				weight +1
 *
 * That is the net effect of whatever was done to rows with this key, in any number of
 * transactions; so inserted rows with it count no more, nor do old and new rows that
 * the log did have (the identity was FULL for a while).  A key that occurs only once in
 * the delta is looked up in the past alone, unless the log lacks a part of the new row.
 *
 *		batch				delta			the past	now		resolved
 *		INSERT 1 a			+(1,a)			-			-		+(1,a)
 *		INSERT 2 b			+(2,b)			-
 *		UPDATE 2 b -> c		touch 2			-			(2,c)	+(2,c)
 *		UPDATE 3 -> 4		touch 3, 4		(3,d)		-		-(3,d)
 *											-			(4,d)	+(4,d)
 *		UPDATE 5 e -> e		touch 5			(5,e)		(5,e)	nothing
 *		DELETE 6			touch 6			(6,f)		-		-(6,f)
 *
 * Keys are sorted by the index's own order, so equal keys are equal to the index
 * (1.0 and 1.00 are), and lookups go through the index from left to right.
 *
 * Members.  A touch says in which table (partition, child) it was.  An inserted row
 * does not, so it is known by its key alone; that is possible if all members have
 * their keys on the same columns ("uniform").  If a key can be in several members
 * and an inserted row was dropped, all members are asked.  In sources that are not
 * uniform, inserts into members with a key are touches as well (sink.c), and whole
 * rows are only those of members without one: there is nothing to be dropped.
 *
 * What the log says of rows, be it of new ones only or of all of them (REPLICA IDENTITY
 * FULL), is what lookups under both sights would find.  Assertion builds compare them.
 *
 * Where the past cannot be read the delta becomes unknown: nothing holds it, the
 * table was altered since, or its index is younger (REINDEX CONCURRENTLY).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/error_context.h"
#include "base/gucs.h"
#include "catalog/pg_operator_d.h"
#include "delta/keys.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"
#include "utils/tuplesort.h"

#define REASON_PAST		"its old rows could not be read"

/* A member that is looked into. */
typedef struct Lookup
{
	DeriveMemberKey *key;
	Relation	heap;
	Relation	index;
	IndexScanDesc scans[2];		/* in the past, now */
	ScanKey		scan_keys;
	TupleTableSlot *slot;
} Lookup;

typedef struct Resolution
{
	DeriveDelta *delta;
	DeriveDelta *result;
	DerivePast *past;
	List	   *lookups;		/* of Lookup * */
	int			ncolumns;		/* of the source */
	MemoryContext row_cxt;
	const char *unknown;

	/*
	 * one row of the source, in the past and now; columns not followed stay
	 * NULL
	 */
	Datum	   *values[2];
	bool	   *nulls[2];

	/* the group of equal keys that is being read, if it has more than one row */
	bool		touched;
	bool		dropped;		/* a whole row with the key */
	List	   *asked;			/* of Oid: members looked into */
} Resolution;


/* ----------------------------------------------------------------
 *		Looking up
 * ----------------------------------------------------------------
 */

static Oid
operator_of(const DeriveMemberKey *key, int column, StrategyNumber strategy)
{
	Oid			operator = get_opfamily_member(key->opfamilies[column], key->opcintypes[column],
											   key->opcintypes[column], strategy);

	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d in operator family %u", strategy, key->opfamilies[column]);
	return operator;
}

/*
 * May the index be used for both sights?  The past does not know a younger one, and
 * one with broken HOT chains is for later snapshots than ours.
 */
static bool
index_serves(Relation index, DerivePast *past)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(index->rd_indextuple->t_data);

	return (!derive_past_lacks(past->snapshot, xmin) || DERIVE_DEBUG_SKIPS("young-keys")) &&
		!(index->rd_index->indcheckxmin && !TransactionIdPrecedes(xmin, TransactionXmin));
}

static Lookup *
open_lookup(Resolution *r, DeriveMemberKey *key)
{
	Lookup	   *lookup;
	Relation	heap;
	Relation	index;
	Snapshot	snapshots[2];

	if (!derive_past_shows(r->past, key->relid, false))
		return NULL;
	heap = table_open(key->relid, AccessShareLock);
	index = index_open(key->index, AccessShareLock);
	if (!index_serves(index, r->past))
	{
		elog(DEBUG1, "index \"%s\" cannot be read as it was: it is younger", derive_relation_name(key->index));
		index_close(index, NoLock);
		table_close(heap, NoLock);
		return NULL;
	}

	lookup = palloc0(sizeof(Lookup));
	lookup->key = key;
	lookup->heap = heap;
	lookup->index = index;
	lookup->slot = table_slot_create(heap, NULL);
	lookup->scan_keys = palloc(sizeof(ScanKeyData) * key->nkeys);
	snapshots[0] = r->past->snapshot;
	snapshots[1] = GetActiveSnapshot();
	for (int i = 0; i < 2; i++)
		lookup->scans[i] = derive_compat_index_beginscan(heap, index, snapshots[i], key->nkeys);
	for (int i = 0; i < key->nkeys; i++)
		ScanKeyEntryInitialize(&lookup->scan_keys[i], 0, i + 1, BTEqualStrategyNumber, key->opcintypes[i],
							   key->collations[i], get_opcode(operator_of(key, i, BTEqualStrategyNumber)),
							   (Datum) 0);
	r->lookups = lappend(r->lookups, lookup);
	return lookup;
}

static void
close_lookups(Resolution *r)
{
	ListCell   *lc;

	foreach(lc, r->lookups)
	{
		Lookup	   *lookup = lfirst(lc);

		for (int i = 0; i < 2; i++)
			index_endscan(lookup->scans[i]);
		ExecDropSingleTupleTableSlot(lookup->slot);
		index_close(lookup->index, NoLock);
		table_close(lookup->heap, NoLock);
	}
}

/* The row that was found, as one of the source. */
static void
take_row(Resolution *r, Lookup *lookup, int sight)
{
	TupleTableSlot *slot = lookup->slot;
	MemoryContext old = MemoryContextSwitchTo(r->row_cxt);

	slot_getallattrs(slot);
	for (int i = 0; i < lookup->key->ncolumns; i++)
	{
		int			from = lookup->key->from[i] - 1;
		int			to = lookup->key->to[i] - 1;

		r->nulls[sight][to] = slot->tts_isnull[from];
		if (!slot->tts_isnull[from])
			r->values[sight][to] = datumCopy(slot->tts_values[from],
											 TupleDescAttr(slot->tts_tupleDescriptor, from)->attbyval,
											 TupleDescAttr(slot->tts_tupleDescriptor, from)->attlen);
	}
	MemoryContextSwitchTo(old);
}

static void
add_row(Resolution *r, int sight)
{
	derive_delta_add_values(r->result, r->values[sight], r->nulls[sight], sight == 0 ? -1 : 1);
}

/*
 * By the bytes that are stored; a value out of line is the same one if it is the same
 * pointer.
 */
static bool
nothing_changed(Resolution *r, Lookup *lookup)
{
	for (int i = 0; i < lookup->key->ncolumns; i++)
	{
		int			to = lookup->key->to[i] - 1;
		Form_pg_attribute att = TupleDescAttr(r->delta->desc, to);

		if (r->nulls[0][to] != r->nulls[1][to])
			return false;
		if (!r->nulls[0][to] &&
			!datumIsEqual(r->values[0][to], r->values[1][to], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

static void
set_key(Lookup *lookup, TupleTableSlot *row)
{
	for (int i = 0; i < lookup->key->nkeys; i++)
		lookup->scan_keys[i].sk_argument = row->tts_values[lookup->key->columns[i] - 1];
}

/* Take the row that there is in a sight, mostly, or none; more are added at once. */
static bool
find_row(Resolution *r, Lookup *lookup, int sight)
{
	bool		found = false;

	index_rescan(lookup->scans[sight], lookup->scan_keys, lookup->key->nkeys, NULL, 0);
	while (index_getnext_slot(lookup->scans[sight], ForwardScanDirection, lookup->slot))
	{
		if (found)
			add_row(r, sight);
		take_row(r, lookup, sight);
		found = true;
	}
	return found;
}

static void
add_difference(Resolution *r, Lookup *lookup, const bool *found)
{
	if (found[0] && found[1] && nothing_changed(r, lookup))
		return;
	for (int sight = 0; sight < 2; sight++)
		if (found[sight])
			add_row(r, sight);
}

static void
look_up(Resolution *r, Lookup *lookup, TupleTableSlot *row)
{
	bool		found[2];

	set_key(lookup, row);
	for (int sight = 0; sight < 2; sight++)
		found[sight] = find_row(r, lookup, sight);
	add_difference(r, lookup, found);
	MemoryContextReset(r->row_cxt);
}

/* The row of the touch says what there is now, or that there is none. */
static void
look_up_past(Resolution *r, Lookup *lookup, TupleTableSlot *row, DeriveTouch touch)
{
	bool		found[2];

	set_key(lookup, row);
	found[0] = find_row(r, lookup, 0);
	found[1] = touch == DERIVE_TOUCH_ROW;
	for (int i = 0; found[1] && i < lookup->key->ncolumns; i++)
	{
		int			column = lookup->key->to[i] - 1;

		r->values[1][column] = row->tts_values[column];
		r->nulls[1][column] = row->tts_isnull[column];
	}
	add_difference(r, lookup, found);
	MemoryContextReset(r->row_cxt);
}

static Lookup *
find_lookup(Resolution *r, Oid member)
{
	Lookup	   *lookup = NULL;
	DeriveMemberKey *key;
	ListCell   *lc;

	foreach(lc, r->lookups)
	{
		if (((Lookup *) lfirst(lc))->key->relid == member)
			return lfirst(lc);
	}
	key = derive_keys_find(r->delta->keys, member);
	if (key != NULL)
		lookup = open_lookup(r, key);
	if (lookup == NULL)
		r->unknown = REASON_PAST;
	return lookup;
}

/* Look into a member for the key of a row, once in a group. */
static void
ask_member(Resolution *r, Oid member, TupleTableSlot *row)
{
	Lookup	   *lookup;

	if (r->unknown != NULL || list_member_oid(r->asked, member))
		return;
	r->asked = lappend_oid(r->asked, member);
	lookup = find_lookup(r, member);
	if (lookup != NULL)
		look_up(r, lookup, row);
}


/* ----------------------------------------------------------------
 *		Groups of equal keys
 * ----------------------------------------------------------------
 */

static int64
weight_of(Resolution *r, TupleTableSlot *row)
{
	return DatumGetInt64(row->tts_values[r->ncolumns]);
}

/* A row of the delta.  In a group, touches come first. */
static void
take_change(Resolution *r, TupleTableSlot *row)
{
	int64		weight = weight_of(r, row);

	if (derive_weight_is_touch(weight))
	{
		r->touched = true;
		ask_member(r, derive_touched_member(weight), row);
	}
	else if (r->touched)
		r->dropped = true;
	else
		derive_delta_add_values(r->result, row->tts_values, row->tts_isnull, weight);
}

/* A row of the delta that is alone in its group: what the log says is what there is now. */
static void
take_single(Resolution *r, TupleTableSlot *row)
{
	int64		weight = weight_of(r, row);
	DeriveTouch touch;
	Lookup	   *lookup;

	if (!derive_weight_is_touch(weight))
	{
		derive_delta_add_values(r->result, row->tts_values, row->tts_isnull, weight);
		return;
	}
	touch = derive_touch_of_weight(weight);
	lookup = find_lookup(r, derive_touched_member(weight));
	if (lookup == NULL)
		return;
	if (touch == DERIVE_TOUCH_SOMETHING)
		look_up(r, lookup, row);
	else
		look_up_past(r, lookup, row, touch);
}

/* The last row of a group: the one that was dropped may have been in any member. */
static void
end_group(Resolution *r, TupleTableSlot *row)
{
	ListCell   *lc;

	if (r->dropped && !r->delta->keys->key_tells_member)
	{
		foreach(lc, r->delta->keys->members)
			ask_member(r, ((DeriveMemberKey *) lfirst(lc))->relid, row);
	}
	r->touched = r->dropped = false;
	list_free(r->asked);
	r->asked = NIL;
}

static void
leave_group(Resolution *r, TupleTableSlot *last, bool single)
{
	if (single)
		take_single(r, last);
	else
		end_group(r, last);
}

/* The delta's rows, or only touches of one member, by key, then by weight: touches are the least. */
typedef struct SortedKeys
{
	DeriveMemberKey *key;
	Tuplesortstate *sort;
	SortSupport support;
} SortedKeys;

/* One of so many sorts at the same time. */
static void
begin_keys(SortedKeys *sorted, Resolution *r, DeriveMemberKey *key, int nsorts)
{
	int			n = key->nkeys;
	AttrNumber *columns = palloc(sizeof(AttrNumber) * (n + 1));
	Oid		   *operators = palloc(sizeof(Oid) * (n + 1));
	Oid		   *collations = palloc(sizeof(Oid) * (n + 1));
	bool	   *nulls_first = palloc0(sizeof(bool) * (n + 1));

	sorted->key = key;
	sorted->support = palloc0(sizeof(SortSupportData) * n);
	for (int i = 0; i < n; i++)
	{
		columns[i] = key->columns[i];
		operators[i] = operator_of(key, i, BTLessStrategyNumber);
		collations[i] = key->collations[i];
		sorted->support[i].ssup_cxt = CurrentMemoryContext;
		sorted->support[i].ssup_collation = key->collations[i];
		sorted->support[i].ssup_attno = key->columns[i];
		PrepareSortSupportFromOrderingOp(operators[i], &sorted->support[i]);
	}
	columns[n] = r->ncolumns + 1;
	operators[n] = Int8LessOperator;
	collations[n] = InvalidOid;
	sorted->sort = tuplesort_begin_heap(r->delta->desc, n + 1, columns, operators, collations, nulls_first,
										derive_work_mem / nsorts, NULL, TUPLESORT_NONE);
}

static bool
same_key(SortedKeys *sorted, TupleTableSlot *a, TupleTableSlot *b)
{
	for (int i = 0; i < sorted->key->nkeys; i++)
	{
		int			column = sorted->key->columns[i] - 1;

		if (ApplySortComparator(a->tts_values[column], a->tts_isnull[column],
								b->tts_values[column], b->tts_isnull[column],
								&sorted->support[i]) != 0)
			return false;
	}
	return true;
}

static void
resolve_sorted(Resolution *r, SortedKeys *sorted)
{
	TupleTableSlot *slots[2];
	TupleTableSlot *before = NULL;
	bool		single = true;	/* "before" is the first of its group, and not
								 * taken yet */
	int			which = 0;

	for (int i = 0; i < 2; i++)
		slots[i] = MakeSingleTupleTableSlot(r->delta->desc, &TTSOpsMinimalTuple);
	tuplesort_performsort(sorted->sort);
	while (r->unknown == NULL && tuplesort_gettupleslot(sorted->sort, true, true, slots[which], NULL))
	{
		TupleTableSlot *row = slots[which];

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		if (before != NULL && same_key(sorted, before, row))
		{
			if (single)
				take_change(r, before);
			single = false;
			take_change(r, row);
		}
		else
		{
			if (before != NULL)
				leave_group(r, before, single);
			single = true;
		}
		before = row;
		which = 1 - which;
	}
	if (before != NULL && r->unknown == NULL)
		leave_group(r, before, single);
	tuplesort_end(sorted->sort);
	for (int i = 0; i < 2; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
}

/* All rows in one order of keys. */
static void
resolve_uniform(Resolution *r)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(r->delta->desc, &TTSOpsMinimalTuple);
	SortedKeys	sorted;

	derive_delta_rewind(r->delta);
	if (r->delta->nrows == 1)
	{
		(void) derive_delta_next(r->delta, slot);
		slot_getallattrs(slot);
		take_single(r, slot);
	}
	else
	{
		begin_keys(&sorted, r, linitial(r->delta->keys->members), 1);
		while (derive_delta_next(r->delta, slot))
			tuplesort_puttupleslot(sorted.sort, slot);
		resolve_sorted(r, &sorted);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* The touches of each member by its own key; whole rows are of others. */
static void
resolve_each(Resolution *r)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(r->delta->desc, &TTSOpsMinimalTuple);
	List	   *sorts = NIL;	/* of SortedKeys * */
	ListCell   *lc;

	derive_delta_rewind(r->delta);
	while (r->unknown == NULL && derive_delta_next(r->delta, slot))
	{
		SortedKeys *sorted = NULL;
		DeriveMemberKey *key;
		int64		weight;

		slot_getallattrs(slot);
		weight = weight_of(r, slot);
		if (!derive_weight_is_touch(weight))
		{
			derive_delta_add_values(r->result, slot->tts_values, slot->tts_isnull, weight);
			continue;
		}
		foreach(lc, sorts)
		{
			if (((SortedKeys *) lfirst(lc))->key->relid == derive_touched_member(weight))
				sorted = lfirst(lc);
		}
		if (sorted == NULL)
		{
			key = derive_keys_find(r->delta->keys, derive_touched_member(weight));
			if (key == NULL)
			{
				r->unknown = REASON_PAST;
				break;
			}
			sorted = palloc(sizeof(SortedKeys));
			begin_keys(sorted, r, key, list_length(r->delta->keys->members));
			sorts = lappend(sorts, sorted);
		}
		tuplesort_puttupleslot(sorted->sort, slot);
	}
	foreach(lc, sorts)
		resolve_sorted(r, lfirst(lc));
	ExecDropSingleTupleTableSlot(slot);
}

DeriveDelta *
derive_keys_resolve(DeriveDelta *delta, DerivePast *past)
{
	Resolution	r = {.delta = delta,.past = past,.ncolumns = delta->desc->natts - 1};
	TupleDesc	desc = CreateTemplateTupleDesc(r.ncolumns);
	MemoryContext cxt;
	MemoryContext old;

	Assert(delta->ntouched > 0 && !delta->unknown);
	for (int i = 1; i <= r.ncolumns; i++)
		TupleDescCopyEntry(desc, i, delta->desc, i);
	r.result = derive_delta_create(delta->relid, delta->inh, desc);
	r.result->columns = delta->columns;
	if (past == NULL || delta->keys == NULL)
	{
		derive_delta_mark_unknown(r.result, REASON_PAST);
		return r.result;
	}

	cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive rows by key", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	r.row_cxt = AllocSetContextCreate(cxt, "pg_derive row by key", ALLOCSET_SMALL_SIZES);
	for (int i = 0; i < 2; i++)
	{
		r.values[i] = palloc0(sizeof(Datum) * r.ncolumns);
		r.nulls[i] = palloc(sizeof(bool) * r.ncolumns);
		memset(r.nulls[i], true, sizeof(bool) * r.ncolumns);
	}
	if (delta->keys->uniform)
		resolve_uniform(&r);
	else
		resolve_each(&r);
	close_lookups(&r);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	if (r.unknown != NULL)
		derive_delta_mark_unknown(r.result, r.unknown);
	return r.result;
}

#ifdef USE_ASSERT_CHECKING

/* Larger deltas are not checked. */
#define CHECK_UPTO_ROWS 200

bool
derive_keys_can_check(const DeriveDelta *delta, const DerivePast *past)
{
	return past != NULL && delta->keys != NULL && delta->settled && !delta->unknown &&
		(delta->keys->uniform || delta->ntouched > 0) &&
		delta->nrows > 0 && delta->nrows <= CHECK_UPTO_ROWS;
}

/*
 * Add the rows of a delta to another one, or take them from it.  Columns that nobody follows
 * any more, since a view was dropped after the log had been read, do not count: rows from the
 * log still have them, rows that are looked up do not.
 */
static void
add_rows(DeriveDelta *to, DeriveDelta *from, const Bitmapset *columns, int sign)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(from->desc, &TTSOpsMinimalTuple);

	derive_delta_rewind(from);
	while (derive_delta_next(from, slot))
	{
		slot_getallattrs(slot);
		for (int i = 0; i < from->desc->natts - 1; i++)
			slot->tts_isnull[i] |= !bms_is_member(i + 1, columns);
		derive_delta_add_values(to, slot->tts_values, slot->tts_isnull,
								sign * DatumGetInt64(slot->tts_values[from->desc->natts - 1]));
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* The key of a row of the delta. */
static void
add_touches(DeriveDelta *touched, TupleTableSlot *row)
{
	int64		weight = DatumGetInt64(row->tts_values[touched->desc->natts - 1]);
	ListCell   *lc;

	if (derive_weight_is_touch(weight))
		derive_delta_add_values(touched, row->tts_values, row->tts_isnull,
								derive_touch_weight(DERIVE_TOUCH_SOMETHING, derive_touched_member(weight)));
	else if (!touched->keys->uniform)
		derive_delta_add_values(touched, row->tts_values, row->tts_isnull, weight);
	else
		foreach(lc, touched->keys->members)
			derive_delta_add_values(touched, row->tts_values, row->tts_isnull,
									derive_touch_weight(DERIVE_TOUCH_SOMETHING, ((DeriveMemberKey *) lfirst(lc))->relid));
}

/* As if the log had named only the keys of the rows. */
static DeriveDelta *
only_keys(DeriveDelta *delta, TupleDesc desc)
{
	DeriveDelta *touched = derive_delta_create(delta->relid, delta->inh, desc);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(delta->desc, &TTSOpsMinimalTuple);

	touched->columns = delta->columns;
	touched->keys = delta->keys;
	derive_delta_rewind(delta);
	while (derive_delta_next(delta, slot))
	{
		slot_getallattrs(slot);
		add_touches(touched, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return touched;
}

void
derive_keys_check(DeriveDelta *delta, DeriveDelta *rows, DerivePast *past)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive check of rows by key",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	TupleDesc	desc = CreateTemplateTupleDesc(delta->desc->natts - 1);
	DeriveDelta *by_key;

	for (int i = 1; i < delta->desc->natts; i++)
		TupleDescCopyEntry(desc, i, delta->desc, i);
	by_key = derive_keys_resolve(only_keys(delta, desc), past);
	if (!rows->unknown && !by_key->unknown)
	{
		DeriveDelta *difference = derive_delta_create(delta->relid, delta->inh, desc);

		add_rows(difference, rows, delta->columns, 1);
		add_rows(difference, by_key, delta->columns, -1);
		difference = derive_delta_net(difference);
		if (difference->nrows != 0)
			elog(WARNING, "the log and old rows of relation \"%s\" do not agree: " INT64_FORMAT " rows, " INT64_FORMAT " by key",
				 derive_relation_name(delta->relid), rows->nrows, by_key->nrows);
		Assert(difference->nrows == 0);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

#endif							/* USE_ASSERT_CHECKING */
