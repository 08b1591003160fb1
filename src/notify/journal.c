/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  Journals: the changes of subscribed views, written by the worker.
 *
 * A view that somebody subscribes to has a row in derive_state.journals.  From
 * the next batch on the worker writes each change of the view's rows into
 * derive_state.changes, in the transaction of the batch; so a change is there
 * exactly if the view has it.  Changes are numbered, per view, in the order in
 * which they are applied.  Numbers only grow; they may have gaps.
 *
 * Beginning.  The first batch that writes a view's journal marks it active, in
 * the same transaction.  A snapshot that sees the mark sees, as the view, what
 * the changes up to some number have made of it, and every later change comes
 * under a higher number.  That is all that a subscriber needs: nobody has to
 * stop the worker for a moment, or to wait for it.
 *
 * Breaking.  Where the contents of a view are replaced as a whole, nobody knows
 * its changes.  Then the number of a change that does not exist becomes the
 * journal's floor: whoever has not come that far is lost.  Trimming raises the
 * floor, too.
 *
 * Rows are kept as values of the view's row type, in a bytea: a composite value
 * has the same header.  The columns of a materialized view never change, only
 * their names, and those are looked up when it is read.
 *
 * Who writes what.  The worker never waits for a subscriber: it is the only one
 * to change or remove rows here, and subscribers keep what they change in tables
 * of their own (subscription.c).  Only when a view is dropped or released, a
 * session removes the journal's row; its lock on the view keeps the worker
 * away.  What is left then is swept up later.  Subscribing takes a lock on the
 * journal (not on the view, which is not locked more than by any reader), so
 * that the worker does not drop it as unused at that very moment.
 *
 * Rows that were removed stay in the index as long as somebody's old snapshot
 * may see them, maybe millions of them.  So no search that the worker makes
 * again and again passes over them: it begins behind what it has removed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/error_context.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "miscadmin.h"
#include "notify/journal.h"
#include "storage/lock.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* derive_state.journals */
#define Anum_journals_view		1
#define Anum_journals_active	2
#define Anum_journals_floor		3
#define Anum_journals_id		4
#define Natts_journals			4

/* derive_state.changes */
#define Anum_changes_view		1
#define Anum_changes_seq		2
#define Anum_changes_total		3
#define Anum_changes_lsn		4
#define Anum_changes_at			5
#define Anum_changes_old		6
#define Anum_changes_new		7
#define Natts_changes			7

/* Changes that are written together. */
#define MAX_WAITING			64

/* An old and a new row that are larger than this together become two changes. */
#define LARGE_CHANGE	((Size) 256 * 1024 * 1024)

static Oid
journals_oid(void)
{
	return derive_registry_table_oid("journals", false);
}

static Oid
changes_oid(void)
{
	return derive_registry_table_oid("changes", false);
}

static Oid
changes_pkey_oid(void)
{
	return derive_registry_table_oid("changes_pkey", false);
}

List *
derive_journal_relations(void)
{
	return list_make2_oid(journals_oid(), changes_oid());
}


/* ----------------------------------------------------------------
 *		derive_state.journals
 * ----------------------------------------------------------------
 */

static DeriveJournalRow *
deform_journal(Relation journals, HeapTuple tuple, DeriveJournalRow *row)
{
	Datum		values[Natts_journals];
	bool		nulls[Natts_journals];

	heap_deform_tuple(tuple, RelationGetDescr(journals), values, nulls);
	row->view = DatumGetObjectId(values[Anum_journals_view - 1]);
	row->active = DatumGetBool(values[Anum_journals_active - 1]);
	row->floor = DatumGetInt64(values[Anum_journals_floor - 1]);
	row->id = DatumGetInt64(values[Anum_journals_id - 1]);
	return row;
}

static HeapTuple
form_journal(Relation journals, const DeriveJournalRow *row)
{
	Datum		values[Natts_journals];
	bool		nulls[Natts_journals] = {false};

	values[Anum_journals_view - 1] = ObjectIdGetDatum(row->view);
	values[Anum_journals_active - 1] = BoolGetDatum(row->active);
	values[Anum_journals_floor - 1] = Int64GetDatum(row->floor);
	values[Anum_journals_id - 1] = Int64GetDatum(row->id);
	return heap_form_tuple(RelationGetDescr(journals), values, nulls);
}

/* A copy of the journal's tuple, or NULL.  Snapshot NULL: as committed, and by us. */
static HeapTuple
find_journal(Relation journals, Oid view, Snapshot snapshot)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_journals_view, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
	scan = systable_beginscan(journals, derive_registry_table_oid("journals_pkey", false), true,
							  snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

List *
derive_journals_all(void)
{
	Relation	journals = derive_registry_open("journals", AccessShareLock);
	SysScanDesc scan = systable_beginscan(journals, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *result = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend(result, deform_journal(journals, tuple, palloc(sizeof(DeriveJournalRow))));
	systable_endscan(scan);
	table_close(journals, AccessShareLock);
	return result;
}

bool
derive_journal_get(Oid view, Snapshot snapshot, DeriveJournalRow *row, bool *own)
{
	Relation	journals = derive_registry_open("journals", AccessShareLock);
	HeapTuple	tuple = find_journal(journals, view, snapshot);

	if (HeapTupleIsValid(tuple))
	{
		deform_journal(journals, tuple, row);
		if (own != NULL)
			*own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	}
	table_close(journals, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/* Write a row that exists, or NULL: remove it. */
static void
change_journal(Oid view, const DeriveJournalRow *row)
{
	Relation	journals = derive_registry_open("journals", RowExclusiveLock);
	HeapTuple	old = find_journal(journals, view, NULL);

	if (HeapTupleIsValid(old) && row != NULL)
		CatalogTupleUpdate(journals, &old->t_self, form_journal(journals, row));
	else if (HeapTupleIsValid(old))
		CatalogTupleDelete(journals, &old->t_self);
	else if (row != NULL)
		elog(ERROR, "view \"%s\" has no journal", derive_relation_name(view));
	table_close(journals, NoLock);
	CommandCounterIncrement();
}

/* Against its being dropped as unused. */
static bool
lock_journal(Oid view, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, journals_oid(), view, 0);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

int64
derive_journal_create(Oid view)
{
	DeriveJournalRow row = {.view = view,.id = GetCurrentTimestamp()};
	Relation	journals;
	HeapTuple	old;

	(void) lock_journal(view, true);
	journals = derive_registry_open("journals", RowExclusiveLock);
	old = find_journal(journals, view, NULL);
	if (HeapTupleIsValid(old))
		deform_journal(journals, old, &row);
	else
	{
		CatalogTupleInsert(journals, form_journal(journals, &row));
		/* so that the worker reads it */
		CacheInvalidateRelcacheByRelid(derive_registry_table_oid("views", false));
		CommandCounterIncrement();
	}
	table_close(journals, NoLock);
	return row.id;
}

void
derive_journal_forget(Oid view)
{
	change_journal(view, NULL);
}

void
derive_journal_drop(Oid view, DeriveJournalCheck unused)
{
	if (!lock_journal(view, false) || !unused(view))
		return;
	change_journal(view, NULL);
	CacheInvalidateRelcacheByRelid(derive_registry_table_oid("views", false));
}


/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

/* The view's entries after a number, in order. */
static SysScanDesc
begin_scan(Relation changes, Relation index, Oid view, int64 after, Snapshot snapshot)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], Anum_changes_view, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
	ScanKeyInit(&key[1], Anum_changes_seq, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	return systable_beginscan_ordered(changes, index, snapshot, 2, key);
}

/* The last entry of a view after a number; false if there is none. */
static bool
last_change(Oid view, int64 after, Snapshot snapshot, int64 *seq, int64 *total)
{
	Relation	changes = derive_registry_open("changes", AccessShareLock);
	Relation	index = index_open(changes_pkey_oid(), AccessShareLock);
	SysScanDesc scan = begin_scan(changes, index, view, after, snapshot);
	HeapTuple	tuple;
	bool		isnull;

	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
	{
		*seq = DatumGetInt64(heap_getattr(tuple, Anum_changes_seq, RelationGetDescr(changes), &isnull));
		*total = DatumGetInt64(heap_getattr(tuple, Anum_changes_total, RelationGetDescr(changes), &isnull));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(changes, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

DeriveJournal *
derive_journal_load(const DeriveJournalRow *row)
{
	DeriveJournal *journal = palloc0(sizeof(DeriveJournal));
	int64		seq;
	int64		total;

	journal->view = row->view;
	journal->id = row->id;
	journal->active = row->active;
	journal->last_seq = row->floor;
	if (last_change(row->view, row->floor, NULL, &seq, &total))
	{
		journal->last_seq = seq;
		journal->total = journal->committed = total;
	}
	journal->announce = true;	/* what an earlier worker may have failed to */
	journal->cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive journal",
										 ALLOCSET_SMALL_SIZES);
	return journal;
}

void
derive_journal_free(DeriveJournal *journal)
{
	MemoryContextDelete(journal->cxt);
	pfree(journal);
}

void
derive_journal_open(DeriveJournal *journal)
{
	MemoryContext oldcontext;
	Relation	view;

	/* an ERROR may have left it open, and what it wrote is gone */
	MemoryContextReset(journal->cxt);
	journal->total = journal->committed;
	journal->nchanges = 0;
	oldcontext = MemoryContextSwitchTo(journal->cxt);
	view = table_open(journal->view, NoLock);
	journal->rowdesc = CreateTupleDescCopy(RelationGetDescr(view));
	journal->rowdesc->tdtypeid = view->rd_rel->reltype;
	table_close(view, NoLock);
	journal->row_cxt = AllocSetContextCreate(journal->cxt, "pg_derive change", ALLOCSET_DEFAULT_SIZES);
	journal->changes = derive_registry_open("changes", RowExclusiveLock);
	journal->indexes = CatalogOpenIndexes(journal->changes);
	journal->waiting = palloc0(sizeof(TupleTableSlot *) * MAX_WAITING);
	journal->nwaiting = 0;
	MemoryContextSwitchTo(oldcontext);
}

/* Write the changes that wait. */
static void
flush_changes(DeriveJournal *journal)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(journal->row_cxt);

	if (journal->nwaiting > 0)
		CatalogTuplesMultiInsertWithInfo(journal->changes, journal->waiting, journal->nwaiting,
										 journal->indexes);
	for (int i = 0; i < journal->nwaiting; i++)
		ExecClearTuple(journal->waiting[i]);
	journal->nwaiting = 0;
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(journal->row_cxt);
}

void
derive_journal_close(DeriveJournal *journal)
{
	flush_changes(journal);
	for (int i = 0; i < MAX_WAITING && journal->waiting[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(journal->waiting[i]);
	CatalogCloseIndexes(journal->indexes);
	table_close(journal->changes, NoLock);
	MemoryContextReset(journal->cxt);
}

/* The row as a value of the view's row type, all of it in one piece. */
static Datum
row_datum(DeriveJournal *journal, TupleTableSlot *row)
{
	HeapTuple	tuple;

	slot_getallattrs(row);
	tuple = heap_form_tuple(journal->rowdesc, row->tts_values, row->tts_isnull);
	return heap_copy_tuple_as_datum(tuple, journal->rowdesc);
}

static void
write_change(DeriveJournal *journal, Datum oldrow, Datum newrow)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(journal->row_cxt);
	TupleDesc	desc = RelationGetDescr(journal->changes);
	TupleTableSlot **slot = &journal->waiting[journal->nwaiting];
	HeapTuple	tuple;
	Datum		values[Natts_changes];
	bool		nulls[Natts_changes] = {false};

	journal->total += (oldrow ? VARSIZE(DatumGetPointer(oldrow)) : 0) +
		(newrow ? VARSIZE(DatumGetPointer(newrow)) : 0);
	values[Anum_changes_view - 1] = ObjectIdGetDatum(journal->view);
	values[Anum_changes_seq - 1] = Int64GetDatum(++journal->last_seq);
	values[Anum_changes_total - 1] = Int64GetDatum(journal->total);
	values[Anum_changes_lsn - 1] = LSNGetDatum(journal->lsn);
	values[Anum_changes_at - 1] = TimestampTzGetDatum(journal->at);
	values[Anum_changes_old - 1] = oldrow;
	nulls[Anum_changes_old - 1] = (oldrow == (Datum) 0);
	values[Anum_changes_new - 1] = newrow;
	nulls[Anum_changes_new - 1] = (newrow == (Datum) 0);
	tuple = heap_form_tuple(desc, values, nulls);
	journal->nchanges++;

	/*
	 * PITFALL: where a row is stored out of line, inserting several at once
	 * does not tell the index where it is.
	 */
	if (tuple->t_len > TOAST_TUPLE_THRESHOLD)
	{
		CatalogTupleInsertWithInfo(journal->changes, tuple, journal->indexes);
		MemoryContextSwitchTo(oldcontext);
		flush_changes(journal);
		return;
	}
	if (*slot == NULL)
	{
		MemoryContextSwitchTo(journal->cxt);
		*slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(desc), &TTSOpsHeapTuple);
	}
	ExecStoreHeapTuple(tuple, *slot, false);
	MemoryContextSwitchTo(oldcontext);
	journal->nwaiting++;
	if (journal->nwaiting == MAX_WAITING)
		flush_changes(journal);
}

/* Called in a memory context that the caller resets. */
void
derive_journal_observe(void *arg, TupleTableSlot *oldrow, TupleTableSlot *newrow, int64 count)
{
	DeriveJournal *journal = arg;
	Datum		olddatum = oldrow ? row_datum(journal, oldrow) : (Datum) 0;
	Datum		newdatum = newrow ? row_datum(journal, newrow) : (Datum) 0;

	for (int64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (olddatum && newdatum &&
			(Size) VARSIZE(DatumGetPointer(olddatum)) + VARSIZE(DatumGetPointer(newdatum)) > LARGE_CHANGE)
		{
			write_change(journal, olddatum, (Datum) 0);
			write_change(journal, (Datum) 0, newdatum);
		}
		else
			write_change(journal, olddatum, newdatum);
	}
}

/* From here on everything is written, and nothing before it counts. */
void
derive_journal_begin(DeriveJournal *journal)
{
	DeriveJournalRow row = {.view = journal->view,.active = true,.id = journal->id};

	row.floor = ++journal->last_seq;
	change_journal(journal->view, &row);
	journal->active = true;
	journal->announce = true;
}


/* ----------------------------------------------------------------
 *		Removing
 * ----------------------------------------------------------------
 */

/* Is the change older, or farther back, than the settings allow? */
static bool
beyond_limits(TimestampTz at, int64 total, int64 last_total)
{
	if (derive_subscription_retention > 0 &&
		at < GetCurrentTimestamp() - derive_subscription_retention * USECS_PER_SEC)
		return true;
	return derive_subscription_max_size > 0 &&
		total <= last_total - (int64) derive_subscription_max_size * 1024;
}

bool
derive_journal_trim(const DeriveJournalRow *row, int64 *trimmed, int64 passed, int max_rows)
{
	DeriveJournalRow changed = *row;
	Relation	changes;
	Relation	index;
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		last;
	int64		last_total;
	int			nremoved = 0;

	if (!last_change(row->view, *trimmed, NULL, &last, &last_total))
		return true;

	changes = derive_registry_open("changes", RowExclusiveLock);
	index = index_open(changes_pkey_oid(), AccessShareLock);
	scan = begin_scan(changes, index, row->view, *trimmed, NULL);
	while (nremoved < max_rows &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		Datum		values[Natts_changes];
		bool		nulls[Natts_changes];
		int64		seq;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(changes), values, nulls);
		seq = DatumGetInt64(values[Anum_changes_seq - 1]);
		if (seq > passed &&
			!beyond_limits(DatumGetTimestampTz(values[Anum_changes_at - 1]),
						   DatumGetInt64(values[Anum_changes_total - 1]), last_total))
			break;
		CatalogTupleDelete(changes, &tuple->t_self);
		*trimmed = seq;
		nremoved++;
	}
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
	table_close(changes, NoLock);
	if (nremoved > 0 && *trimmed > row->floor)
	{
		changed.floor = *trimmed;
		change_journal(row->view, &changed);
	}
	return nremoved < max_rows;
}

/* The first view between two that has changes; InvalidOid as "before": no limit. */
static Oid
view_between(Relation changes, Relation index, Oid after, Oid before)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;
	bool		isnull;

	ScanKeyInit(&key[0], Anum_changes_view, BTGreaterStrategyNumber, F_OIDGT, ObjectIdGetDatum(after));
	ScanKeyInit(&key[1], Anum_changes_view, BTLessStrategyNumber, F_OIDLT, ObjectIdGetDatum(before));
	scan = systable_beginscan_ordered(changes, index, NULL, OidIsValid(before) ? 2 : 1, key);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		result = DatumGetObjectId(heap_getattr(tuple, Anum_changes_view, RelationGetDescr(changes), &isnull));
	systable_endscan_ordered(scan);
	return result;
}

/* The first view after one that has changes, but no journal: views has those that have one, in order. */
static Oid
next_without_journal(Relation changes, Relation index, List *views, Oid after)
{
	ListCell   *lc;

	foreach(lc, views)
	{
		Oid			found;

		if (lfirst_oid(lc) <= after)
			continue;
		found = view_between(changes, index, after, lfirst_oid(lc));
		if (OidIsValid(found))
			return found;
		after = lfirst_oid(lc);
	}
	return view_between(changes, index, after, InvalidOid);
}

/* Remove changes of the view after the number, up to max_rows; returns how many. */
static int
remove_changes(Relation changes, Relation index, DeriveJournalSweep *sweep, int max_rows)
{
	SysScanDesc scan = begin_scan(changes, index, sweep->view, sweep->seq, NULL);
	HeapTuple	tuple;
	int			result = 0;
	bool		isnull;

	while (result < max_rows &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		CHECK_FOR_INTERRUPTS();
		CatalogTupleDelete(changes, &tuple->t_self);
		sweep->seq = DatumGetInt64(heap_getattr(tuple, Anum_changes_seq, RelationGetDescr(changes), &isnull));
		result++;
	}
	systable_endscan_ordered(scan);
	return result;
}

bool
derive_journals_sweep(DeriveJournalSweep *sweep, int max_rows)
{
	Relation	changes = derive_registry_open("changes", RowExclusiveLock);
	Relation	index = index_open(changes_pkey_oid(), AccessShareLock);
	List	   *views = NIL;
	int			left = max_rows;
	ListCell   *lc;

	foreach(lc, derive_journals_all())
		views = lappend_oid(views, ((DeriveJournalRow *) lfirst(lc))->view);
	list_sort(views, list_oid_cmp);

	for (;;)
	{
		if (OidIsValid(sweep->view) && !list_member_oid(views, sweep->view))
			left -= remove_changes(changes, index, sweep, left);
		if (left == 0)
			break;
		sweep->view = next_without_journal(changes, index, views, sweep->view);
		sweep->seq = 0;
		if (!OidIsValid(sweep->view))
			break;
	}
	index_close(index, NoLock);
	table_close(changes, NoLock);
	return left > 0;
}


/* ----------------------------------------------------------------
 *		Reading
 * ----------------------------------------------------------------
 */

int64
derive_journal_last(const DeriveJournalRow *row, Snapshot snapshot)
{
	int64		seq;
	int64		total;

	return last_change(row->view, row->floor, snapshot, &seq, &total) ? seq : row->floor;
}

/* A composite value out of its bytea, aligned as it must be. */
static Datum
composite(Datum value, bool isnull)
{
	return isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

void
derive_journal_read(Oid view, int64 after, Snapshot snapshot, DeriveJournalReader reader, void *arg)
{
	Relation	changes = derive_registry_open("changes", AccessShareLock);
	Relation	index = index_open(changes_pkey_oid(), AccessShareLock);
	SysScanDesc scan = begin_scan(changes, index, view, after, snapshot);
	HeapTuple	tuple;
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive change",
												  ALLOCSET_DEFAULT_SIZES);
	bool		more = true;

	while (more && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		Datum		values[Natts_changes];
		bool		nulls[Natts_changes];
		DeriveJournalEntry entry;

		MemoryContext oldcontext = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(changes), values, nulls);
		entry.seq = DatumGetInt64(values[Anum_changes_seq - 1]);
		entry.lsn = DatumGetLSN(values[Anum_changes_lsn - 1]);
		entry.oldrow = composite(values[Anum_changes_old - 1], nulls[Anum_changes_old - 1]);
		entry.newrow = composite(values[Anum_changes_new - 1], nulls[Anum_changes_new - 1]);
		more = reader(arg, &entry);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(row_cxt);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(changes, AccessShareLock);
	MemoryContextDelete(row_cxt);
}
