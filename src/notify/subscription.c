/*-------------------------------------------------------------------------
 *
 * subscription.c
 *	  Subscriptions: who has got which changes of a view.
 *
 * A subscription is a name, a view, and a position: the number of the last
 * change of the view's journal that was delivered.  Delivering moves the
 * position in the caller's transaction.  If that commits, so does what the
 * caller did with the rows; if not, they come again.
 *
 * The first delivery looks at the view and its journal under one snapshot: the
 * rows that the view has then are delivered first, and the position is the last
 * change that the snapshot sees.  Rows that the caller did not want yet go to
 * derive_state.spool, from which later deliveries take them.
 *
 * Two deliveries of one subscription follow each other: each one locks the
 * subscription's row, and only then takes the snapshot under which it reads.
 * Nobody else ever waits for that row.  The worker reads positions when it trims
 * journals, and skips locked rows when it removes subscriptions whose view or
 * owner is gone.  One without its view does not exist any more for those who name
 * it: it is known by the id of its journal, which is not there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "notify/journal.h"
#include "notify/subscription.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* derive_state.subscriptions */
#define Anum_subscriptions_name			1
#define Anum_subscriptions_view			2
#define Anum_subscriptions_journal		3
#define Anum_subscriptions_owner		4
#define Anum_subscriptions_position		5
#define Anum_subscriptions_lsn			6
#define Anum_subscriptions_created_at	7
#define Anum_subscriptions_polled_at	8
#define Anum_subscriptions_spooled		9
#define Natts_subscriptions				9

/* derive_state.spool */
#define Anum_spool_subscription	1
#define Anum_spool_n			2
#define Anum_spool_row			3
#define Natts_spool				3

/* derive_state.position */
#define Anum_position_lsn		2

typedef struct Subscription
{
	NameData	name;
	Oid			view;
	int64		journal;		/* id of the view's journal */
	Oid			owner;
	bool		started;		/* the rows of the view were delivered, or are
								 * in the spool */
	int64		position;		/* if so */
	XLogRecPtr	lsn;			/* if so: of those rows */
	TimestampTz created_at;
	TimestampTz polled_at;		/* 0: never */
	int64		spooled;		/* the spool was delivered up to this row */
} Subscription;

/* A delivery under way. */
typedef struct Delivery
{
	Subscription *sub;
	Snapshot	snapshot;
	DeriveSubscriptionReceiver receiver;
	void	   *arg;
	int64		wanted;
	int64		delivered;
} Delivery;


/* ----------------------------------------------------------------
 *		The table
 * ----------------------------------------------------------------
 */

static Relation
open_subscriptions(LOCKMODE mode)
{
	return table_open(derive_registry_table_oid("subscriptions", false), mode);
}

static void
deform_subscription(Relation rel, HeapTuple tuple, Subscription *sub)
{
	Datum		values[Natts_subscriptions];
	bool		nulls[Natts_subscriptions];

	memset(sub, 0, sizeof(Subscription));
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	namestrcpy(&sub->name, NameStr(*DatumGetName(values[Anum_subscriptions_name - 1])));
	sub->view = DatumGetObjectId(values[Anum_subscriptions_view - 1]);
	sub->journal = DatumGetInt64(values[Anum_subscriptions_journal - 1]);
	sub->owner = DatumGetObjectId(values[Anum_subscriptions_owner - 1]);
	sub->started = !nulls[Anum_subscriptions_position - 1];
	if (sub->started)
	{
		sub->position = DatumGetInt64(values[Anum_subscriptions_position - 1]);
		sub->lsn = DatumGetLSN(values[Anum_subscriptions_lsn - 1]);
	}
	sub->created_at = DatumGetTimestampTz(values[Anum_subscriptions_created_at - 1]);
	if (!nulls[Anum_subscriptions_polled_at - 1])
		sub->polled_at = DatumGetTimestampTz(values[Anum_subscriptions_polled_at - 1]);
	sub->spooled = DatumGetInt64(values[Anum_subscriptions_spooled - 1]);
}

static HeapTuple
form_subscription(Relation rel, const Subscription *sub)
{
	Datum		values[Natts_subscriptions];
	bool		nulls[Natts_subscriptions] = {false};

	values[Anum_subscriptions_name - 1] = NameGetDatum(&sub->name);
	values[Anum_subscriptions_view - 1] = ObjectIdGetDatum(sub->view);
	values[Anum_subscriptions_journal - 1] = Int64GetDatum(sub->journal);
	values[Anum_subscriptions_owner - 1] = ObjectIdGetDatum(sub->owner);
	values[Anum_subscriptions_position - 1] = Int64GetDatum(sub->position);
	nulls[Anum_subscriptions_position - 1] = !sub->started;
	values[Anum_subscriptions_lsn - 1] = LSNGetDatum(sub->lsn);
	nulls[Anum_subscriptions_lsn - 1] = !sub->started;
	values[Anum_subscriptions_created_at - 1] = TimestampTzGetDatum(sub->created_at);
	values[Anum_subscriptions_polled_at - 1] = TimestampTzGetDatum(sub->polled_at);
	nulls[Anum_subscriptions_polled_at - 1] = (sub->polled_at == 0);
	values[Anum_subscriptions_spooled - 1] = Int64GetDatum(sub->spooled);
	return heap_form_tuple(RelationGetDescr(rel), values, nulls);
}

/* A copy of its tuple, or NULL.  Snapshot NULL: as committed, and by us. */
static HeapTuple
find_subscription(Relation rel, const char *name, Snapshot snapshot)
{
	NameData	key_name;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	namestrcpy(&key_name, name);
	ScanKeyInit(&key, Anum_subscriptions_name, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&key_name));
	scan = systable_beginscan(rel, derive_registry_table_oid("subscriptions_pkey", false), true,
							  snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static bool
has_journal(const Subscription *sub, Snapshot snapshot, DeriveJournalRow *row, bool *own)
{
	return derive_journal_get(sub->view, snapshot, row, own) && row->id == sub->journal;
}

static void
no_subscription(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("subscription \"%s\" does not exist", name),
			 errhint("It is made by derive.subscribe(), and goes with its view.")));
}

static void
check_owner(const Subscription *sub)
{
	if (!has_privs_of_role(GetUserId(), sub->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of subscription \"%s\"", NameStr(sub->name))));
}

Oid
derive_subscription_view(const char *name)
{
	Relation	rel = open_subscriptions(AccessShareLock);
	HeapTuple	tuple = find_subscription(rel, name, NULL);
	Subscription sub;
	DeriveJournalRow journal;

	if (!HeapTupleIsValid(tuple))
		no_subscription(name);
	deform_subscription(rel, tuple, &sub);
	table_close(rel, AccessShareLock);
	if (!has_journal(&sub, NULL, &journal, NULL))
		no_subscription(name);
	check_owner(&sub);
	derive_check_may(sub.view, ACL_SELECT);
	return sub.view;
}

/*
 * Lock its row, waiting for others or not, and read what it says then.  False
 * if there is no such row, or not for us.
 */
static bool
lock_subscription(Relation rel, const char *name, bool wait, TupleTableSlot *slot, Subscription *sub)
{
	Snapshot	snapshot;
	HeapTuple	tuple;
	TM_Result	result = TM_Deleted;
	TM_FailureData failure;
	bool		fixed = IsolationUsesXactSnapshot();

	PushActiveSnapshot(GetTransactionSnapshot());
	snapshot = GetActiveSnapshot();
	tuple = find_subscription(rel, name, snapshot);
	if (HeapTupleIsValid(tuple))
		result = table_tuple_lock(rel, &tuple->t_self, snapshot, slot, GetCurrentCommandId(true),
								  LockTupleExclusive, wait ? LockWaitBlock : LockWaitSkip,
								  fixed ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	PopActiveSnapshot();
	if (HeapTupleIsValid(tuple) && wait && fixed && (result == TM_Updated || result == TM_Deleted))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to subscription \"%s\" due to concurrent use", name)));
	if (result != TM_Ok)
		return false;
	deform_subscription(rel, ExecFetchSlotHeapTuple(slot, false, NULL), sub);
	return true;
}


/* ----------------------------------------------------------------
 *		The spool
 * ----------------------------------------------------------------
 */

static Relation
open_spool(LOCKMODE mode)
{
	return table_open(derive_registry_table_oid("spool", false), mode);
}

static Relation
open_spool_index(void)
{
	return index_open(derive_registry_table_oid("spool_pkey", false), AccessShareLock);
}

/* What is left of it: rows that were removed may stay in the index for long. */
static SysScanDesc
begin_spool_scan(Relation spool, Relation index, const Subscription *sub, Snapshot snapshot)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], Anum_spool_subscription, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&sub->name));
	ScanKeyInit(&key[1], Anum_spool_n, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(sub->spooled));
	return systable_beginscan_ordered(spool, index, snapshot, 2, key);
}

static void
remove_from_spool(Relation spool, HeapTuple tuple, Subscription *sub)
{
	bool		isnull;

	CatalogTupleDelete(spool, &tuple->t_self);
	sub->spooled = DatumGetInt64(heap_getattr(tuple, Anum_spool_n, RelationGetDescr(spool), &isnull));
}

static bool
spool_is_empty(const Subscription *sub, Snapshot snapshot)
{
	Relation	spool = open_spool(AccessShareLock);
	Relation	index = open_spool_index();
	SysScanDesc scan = begin_spool_scan(spool, index, sub, snapshot);
	bool		result = !HeapTupleIsValid(systable_getnext_ordered(scan, ForwardScanDirection));

	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(spool, AccessShareLock);
	return result;
}

/* Remove its rows, but not more than that; false if there are more. */
static bool
clear_spool(Subscription *sub, int64 max_rows)
{
	Relation	spool = open_spool(RowExclusiveLock);
	Relation	index = open_spool_index();
	SysScanDesc scan = begin_spool_scan(spool, index, sub, NULL);
	HeapTuple	tuple = NULL;

	for (int64 n = 0; n <= max_rows; n++)
	{
		tuple = systable_getnext_ordered(scan, ForwardScanDirection);
		if (!HeapTupleIsValid(tuple) || n == max_rows)
			break;
		CHECK_FOR_INTERRUPTS();
		remove_from_spool(spool, tuple, sub);
	}
	systable_endscan_ordered(scan);
	index_close(index, NoLock);
	table_close(spool, NoLock);
	return !HeapTupleIsValid(tuple);
}


/* ----------------------------------------------------------------
 *		Subscribing
 * ----------------------------------------------------------------
 */

/* Two who subscribe under the same name come one after the other. */
static void
lock_name(const char *name)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, derive_registry_table_oid("subscriptions", false),
					   hash_bytes((const unsigned char *) name, strlen(name)), 0);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* One whose view is gone must not be in the way of a new one of that name. */
static void
remove_remains(Relation rel, const char *name)
{
	HeapTuple	tuple = find_subscription(rel, name, NULL);
	TupleTableSlot *slot;
	Subscription sub;
	DeriveJournalRow journal;

	if (!HeapTupleIsValid(tuple))
		return;
	deform_subscription(rel, tuple, &sub);
	if (has_journal(&sub, NULL, &journal, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("subscription \"%s\" already exists", name)));
	slot = table_slot_create(rel, NULL);
	if (lock_subscription(rel, name, true, slot, &sub))
	{
		(void) clear_spool(&sub, PG_INT64_MAX);
		CatalogTupleDelete(rel, &slot->tts_tid);
	}
	ExecDropSingleTupleTableSlot(slot);
	CommandCounterIncrement();
}

void
derive_subscription_create(const char *name, Oid view)
{
	Subscription sub = {.view = view,.owner = GetUserId()};
	Relation	rel;

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a subscription must have 1 to %d bytes", NAMEDATALEN - 1)));
	derive_check_may(view, ACL_SELECT);
	lock_name(name);
	rel = open_subscriptions(RowExclusiveLock);
	remove_remains(rel, name);
	namestrcpy(&sub.name, name);
	sub.journal = derive_journal_create(view);
	sub.created_at = GetCurrentTimestamp();
	CatalogTupleInsert(rel, form_subscription(rel, &sub));
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
derive_subscription_drop(const char *name)
{
	Relation	rel = open_subscriptions(RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	HeapTuple	tuple = find_subscription(rel, name, NULL);
	Subscription sub;

	if (!HeapTupleIsValid(tuple))
		no_subscription(name);
	deform_subscription(rel, tuple, &sub);
	check_owner(&sub);
	if (!lock_subscription(rel, name, true, slot, &sub))
		no_subscription(name);
	check_owner(&sub);
	(void) clear_spool(&sub, PG_INT64_MAX);
	CatalogTupleDelete(rel, &slot->tts_tid);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}


/* ----------------------------------------------------------------
 *		Delivering
 * ----------------------------------------------------------------
 */

static bool
stop_at_first(void *arg, const DeriveJournalEntry *entry)
{
	*(bool *) arg = true;
	return false;
}

static DerivePollState
state_of(const Subscription *sub, Snapshot snapshot, bool *own)
{
	DeriveJournalRow journal;
	bool		found = false;

	if (!has_journal(sub, snapshot, &journal, own))
		return DERIVE_POLL_STARTING;	/* or dropped; the caller has checked */
	if (!journal.active)
		return DERIVE_POLL_STARTING;
	if (!sub->started)
		return DERIVE_POLL_PENDING;
	if (sub->position < journal.floor)
		return DERIVE_POLL_LOST;
	if (!spool_is_empty(sub, snapshot))
		return DERIVE_POLL_PENDING;
	derive_journal_read(sub->view, sub->position, snapshot, stop_at_first, &found);
	return found ? DERIVE_POLL_PENDING : DERIVE_POLL_EMPTY;
}

DerivePollState
derive_subscription_look(const char *name, bool *own)
{
	Relation	rel;
	HeapTuple	tuple;
	Subscription sub;
	DerivePollState result = DERIVE_POLL_STARTING;

	(void) derive_subscription_view(name);
	*own = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = open_subscriptions(AccessShareLock);
	tuple = find_subscription(rel, name, GetActiveSnapshot());
	if (HeapTupleIsValid(tuple))
	{
		deform_subscription(rel, tuple, &sub);
		result = state_of(&sub, GetActiveSnapshot(), own);
	}
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	return result;
}

static void
deliver(Delivery *d, const char *operation, Datum oldrow, Datum newrow, XLogRecPtr lsn)
{
	d->receiver(d->arg, operation, oldrow, newrow, lsn);
	d->delivered++;
}

/* What the views of the database contained in this snapshot. */
static XLogRecPtr
lsn_of(Snapshot snapshot)
{
	Relation	position = table_open(derive_registry_table_oid("position", false), AccessShareLock);
	SysScanDesc scan = systable_beginscan(position, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	XLogRecPtr	result = InvalidXLogRecPtr;
	bool		isnull;

	if (HeapTupleIsValid(tuple))
		result = DatumGetLSN(heap_getattr(tuple, Anum_position_lsn, RelationGetDescr(position), &isnull));
	systable_endscan(scan);
	table_close(position, AccessShareLock);
	return result;
}

/* The first delivery: the rows of the view, and from where on to read the journal. */
static void
deliver_view(Delivery *d, Relation view, const DeriveJournalRow *journal)
{
	Relation	spool = open_spool(RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(spool);
	TupleTableSlot *slot = table_slot_create(view, NULL);
	TableScanDesc scan = table_beginscan(view, d->snapshot, 0, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row",
												  ALLOCSET_DEFAULT_SIZES);
	int64		n = 0;

	d->sub->lsn = lsn_of(d->snapshot);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(row_cxt);
		Datum		row = ExecFetchSlotHeapTupleDatum(slot);

		CHECK_FOR_INTERRUPTS();
		if (d->delivered < d->wanted)
			deliver(d, "initial", (Datum) 0, row, d->sub->lsn);
		else
		{
			Datum		values[Natts_spool];
			bool		nulls[Natts_spool] = {false};

			values[Anum_spool_subscription - 1] = NameGetDatum(&d->sub->name);
			values[Anum_spool_n - 1] = Int64GetDatum(++n);
			values[Anum_spool_row - 1] = row;
			CatalogTupleInsertWithInfo(spool, heap_form_tuple(RelationGetDescr(spool), values, nulls), indexes);
		}
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(row_cxt);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_cxt);
	CatalogCloseIndexes(indexes);
	table_close(spool, NoLock);
	d->sub->started = true;
	d->sub->position = derive_journal_last(journal, d->snapshot);
}

static void
deliver_spool(Delivery *d)
{
	Relation	spool = open_spool(RowExclusiveLock);
	Relation	index = open_spool_index();
	SysScanDesc scan = begin_spool_scan(spool, index, d->sub, d->snapshot);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row",
												  ALLOCSET_DEFAULT_SIZES);
	HeapTuple	tuple;

	while (d->delivered < d->wanted &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(row_cxt);
		bool		isnull;
		Datum		row = heap_getattr(tuple, Anum_spool_row, RelationGetDescr(spool), &isnull);

		CHECK_FOR_INTERRUPTS();
		deliver(d, "initial", (Datum) 0, PointerGetDatum(PG_DETOAST_DATUM_COPY(row)), d->sub->lsn);
		remove_from_spool(spool, tuple, d->sub);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(row_cxt);
	}
	systable_endscan_ordered(scan);
	MemoryContextDelete(row_cxt);
	index_close(index, NoLock);
	table_close(spool, NoLock);
}

static bool
deliver_change(void *arg, const DeriveJournalEntry *entry)
{
	Delivery   *d = arg;
	const char *operation = !entry->oldrow ? "insert" : !entry->newrow ? "delete" : "update";

	if (d->delivered >= d->wanted)
		return false;
	deliver(d, operation, entry->oldrow, entry->newrow, entry->lsn);
	d->sub->position = entry->seq;
	return true;
}

static void
fallen_behind(const Subscription *sub)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("subscription \"%s\" has fallen behind", NameStr(sub->name)),
			 errdetail("Changes of view \"%s\" that it has not got yet are not kept any more.",
					   get_rel_name(sub->view)),
			 errhint("Call derive.unsubscribe() and derive.subscribe(), and begin with the rows that the view has now.")));
}

static void
deliver_all(Delivery *d, Relation view)
{
	DeriveJournalRow journal;

	if (!has_journal(d->sub, d->snapshot, &journal, NULL) || !journal.active)
		return;
	if (!d->sub->started)
	{
		if (view != NULL && RelationIsPopulated(view))
			deliver_view(d, view, &journal);
		return;
	}
	if (d->sub->position < journal.floor)
		fallen_behind(d->sub);
	deliver_spool(d);
	if (d->delivered < d->wanted)
		derive_journal_read(d->sub->view, d->sub->position, d->snapshot, deliver_change, d);
}

int64
derive_subscription_deliver(const char *name, int64 max_rows,
							DeriveSubscriptionReceiver receiver, void *arg)
{
	Subscription sub;
	Delivery	d = {.sub = &sub,.receiver = receiver,.arg = arg,.wanted = max_rows};
	Relation	rel = open_subscriptions(RowExclusiveLock);
	Relation	view = NULL;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		started;

	if (!lock_subscription(rel, name, true, slot, &sub))
		no_subscription(name);
	check_owner(&sub);
	derive_check_may(sub.view, ACL_SELECT);
	started = sub.started;
	/* before the snapshot, or it might not see what a rewrite has moved */
	if (!started)
		view = try_table_open(sub.view, AccessShareLock);

	PushActiveSnapshot(GetTransactionSnapshot());
	d.snapshot = GetActiveSnapshot();
	deliver_all(&d, view);
	PopActiveSnapshot();

	if (sub.started != started || d.delivered > 0)
	{
		sub.polled_at = GetCurrentTimestamp();
		CatalogTupleUpdate(rel, &slot->tts_tid, form_subscription(rel, &sub));
		CommandCounterIncrement();
	}
	if (view != NULL)
		table_close(view, NoLock);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return d.delivered;
}


/* ----------------------------------------------------------------
 *		For the worker
 * ----------------------------------------------------------------
 */

/* List of Subscription *, as committed. */
static List *
all_subscriptions(void)
{
	Relation	rel = open_subscriptions(AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *result = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Subscription *sub = palloc(sizeof(Subscription));

		deform_subscription(rel, tuple, sub);
		result = lappend(result, sub);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

bool
derive_subscriptions_none(Oid view)
{
	ListCell   *lc;

	foreach(lc, all_subscriptions())
	{
		if (((Subscription *) lfirst(lc))->view == view)
			return false;
	}
	return true;
}

/*
 * One that was never polled needs nothing.  But it may be polled at this very
 * moment, and have read the journal's end already; so leave everything to it.
 */
int64
derive_subscriptions_passed(const DeriveJournalRow *row)
{
	int64		result = PG_INT64_MAX;
	ListCell   *lc;

	foreach(lc, all_subscriptions())
	{
		Subscription *sub = lfirst(lc);

		if (sub->view != row->view || sub->journal != row->id)
			continue;
		if (!sub->started)
			result = Min(result, row->floor);
		else if (sub->position >= row->floor)
			result = Min(result, sub->position);
	}
	return result;
}

/* Its view or its owner is gone. */
static bool
is_orphan(const Subscription *sub)
{
	DeriveJournalRow journal;

	return !has_journal(sub, NULL, &journal, NULL) ||
		!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(sub->owner));
}

bool
derive_subscriptions_sweep(int max_rows)
{
	Relation	rel = open_subscriptions(RowExclusiveLock);
	bool		result = true;
	ListCell   *lc;

	foreach(lc, all_subscriptions())
	{
		Subscription *sub = lfirst(lc);
		TupleTableSlot *slot;

		if (!is_orphan(sub))
			continue;
		slot = table_slot_create(rel, NULL);
		if (lock_subscription(rel, NameStr(sub->name), false, slot, sub) && is_orphan(sub))
		{
			if (clear_spool(sub, max_rows))
				CatalogTupleDelete(rel, &slot->tts_tid);
			else
			{
				CatalogTupleUpdate(rel, &slot->tts_tid, form_subscription(rel, sub));
				result = false;
			}
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(rel, NoLock);
	return result;
}
