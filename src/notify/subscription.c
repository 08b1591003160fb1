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
 * derive_state.spool (spool.c), from which later deliveries take them.
 *
 * Spools are bounded as changes are: those of one role's subscriptions together by
 * pg_derive.subscription_max_size, beyond which a first delivery that leaves rows
 * is refused, and each one by pg_derive.subscription_retention, after which it is
 * removed and the subscription lost.  First deliveries that spool are one after the
 * other for a role, while they write, and count what others have written that is
 * not committed yet.
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
#include "base/gucs.h"
#include "base/lane.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/waiting.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "notify/journal.h"
#include "notify/spool.h"
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
#define Anum_subscriptions_spool_size	10
#define Natts_subscriptions				10

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
	int64		spool_size;		/* bytes that it had; 0: it is empty */
} Subscription;

/* A delivery under way. */
typedef struct Delivery
{
	Relation	rel;			/* derive_state.subscriptions */
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
	return derive_registry_open("subscriptions", mode);
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
	sub->spool_size = DatumGetInt64(values[Anum_subscriptions_spool_size - 1]);
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
	values[Anum_subscriptions_spool_size - 1] = Int64GetDatum(sub->spool_size);
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

static bool
clear_spool(Subscription *sub, int64 max_rows)
{
	if (!derive_spool_clear(&sub->name, &sub->spooled, max_rows))
		return false;
	sub->spool_size = 0;
	return true;
}

/* Two spools of one role are not written at the same time. */
static void
owner_lock(Oid owner, LOCKTAG *tag)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, derive_registry_table_oid("subscriptions", false), owner, 1);
}

/* Bytes in the spools of other subscriptions of this one's owner, committed or not. */
static int64
size_of_others(Relation rel, const Subscription *sub)
{
	SnapshotData dirty;
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		result = 0;

	InitDirtySnapshot(dirty);
	scan = systable_beginscan(rel, InvalidOid, false, &dirty, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Subscription other;

		/* one that somebody is about to replace comes again */
		if (TransactionIdIsValid(dirty.xmax))
			continue;
		deform_subscription(rel, tuple, &other);
		if (other.owner == sub->owner && strcmp(NameStr(other.name), NameStr(sub->name)) != 0)
			result += other.spool_size;
	}
	systable_endscan(scan);
	return result;
}

static void
too_much_to_spool(const Subscription *sub)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many initial rows for subscription \"%s\" are left for later", NameStr(sub->name)),
			 errdetail("Those of all subscriptions of role \"%s\" together may take %d kB (\"pg_derive.subscription_max_size\").",
					   GetUserNameFromId(sub->owner, false), derive_subscription_max_size),
			 errhint("Take more rows with the first call of derive.poll() (max_rows), or first those of other subscriptions.")));
}

/* Before anything is written: do the rows of the view, but for the first ones, fit? */
static void
check_space(const Delivery *d, Relation view, int64 space)
{
	TupleTableSlot *slot;
	TableScanDesc scan;
	MemoryContext row_cxt;
	int64		skip = d->wanted;

	/* TOAST may have compressed them, but hardly more than that */
	if ((int64) DatumGetInt64(DirectFunctionCall1(pg_table_size, ObjectIdGetDatum(RelationGetRelid(view)))) < space / 4)
		return;
	slot = table_slot_create(view, NULL);
	scan = table_beginscan(view, d->snapshot, 0, NULL);
	row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row", ALLOCSET_DEFAULT_SIZES);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_cxt);

		CHECK_FOR_INTERRUPTS();
		if (--skip < 0)
			space -= VARSIZE(DatumGetPointer(ExecFetchSlotHeapTupleDatum(slot)));
		if (space < 0)
			too_much_to_spool(d->sub);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_cxt);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_cxt);
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
	if (sub->spool_size > 0 && !derive_spool_is_empty(&sub->name, sub->spooled, snapshot))
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

/* What the view contained in this snapshot: what all views of its group did, unless it stood still or had its own pace. */
static XLogRecPtr
lsn_of(Oid view, Snapshot snapshot)
{
	DeriveWaitingRow *waiting = derive_waiting_get_at(view, snapshot);
	DeriveLaneRow *lane = derive_lane_get(view, snapshot);
	DeriveViewRow *row = derive_registry_get_at(view, snapshot);
	XLogRecPtr	result = InvalidXLogRecPtr;
	TransactionId stored_by;

	if (row != NULL)
		(void) derive_registry_position_at(row->group, snapshot, &stored_by, &result);
	if (lane != NULL && (lane->error != NULL || derive_stale_get(view, snapshot) != NULL))
		return lane->lsn;
	return waiting != NULL && waiting->position != NULL ? waiting->lsn : result;
}

/* The first delivery: the rows of the view, and from where on to read the journal. */
static void
deliver_view(Delivery *d, Relation view, const DeriveJournalRow *journal)
{
	DeriveSpoolWriter *spool = NULL;
	TupleTableSlot *slot = table_slot_create(view, NULL);
	TableScanDesc scan = table_beginscan(view, d->snapshot, 0, NULL);
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row",
												  ALLOCSET_DEFAULT_SIZES);
	int64		space = PG_INT64_MAX;

	d->sub->lsn = lsn_of(RelationGetRelid(view), d->snapshot);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext oldcontext;
		Datum		row;

		CHECK_FOR_INTERRUPTS();
		if (d->delivered == d->wanted && spool == NULL)
		{
			LOCKTAG		tag;

			owner_lock(d->sub->owner, &tag);
			(void) LockAcquire(&tag, ExclusiveLock, false, false);
			if (derive_subscription_max_size > 0)
			{
				space = (int64) derive_subscription_max_size * 1024 - size_of_others(d->rel, d->sub);
				check_space(d, view, space);
			}
			spool = derive_spool_begin(&d->sub->name);
		}
		oldcontext = MemoryContextSwitchTo(row_cxt);
		row = ExecFetchSlotHeapTupleDatum(slot);
		if (spool == NULL)
			deliver(d, "initial", (Datum) 0, row, d->sub->lsn);
		else
			d->sub->spool_size = derive_spool_add(spool, row);
		if (d->sub->spool_size > space)
			too_much_to_spool(d->sub);
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(row_cxt);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_cxt);
	if (spool != NULL)
		derive_spool_end(spool);
	d->sub->started = true;
	d->sub->position = derive_journal_last(journal, d->snapshot);
}

static bool
deliver_spooled(void *arg, Datum row)
{
	Delivery   *d = arg;

	if (d->delivered >= d->wanted)
		return false;
	deliver(d, "initial", (Datum) 0, row, d->sub->lsn);
	return true;
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
			 errdetail("Rows or changes of view \"%s\" that it has not got yet are not kept any more.",
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
	if (d->sub->spool_size > 0 &&
		derive_spool_read(&d->sub->name, &d->sub->spooled, d->snapshot, deliver_spooled, d))
		d->sub->spool_size = 0;
	if (d->delivered < d->wanted)
		derive_journal_read(d->sub->view, d->sub->position, d->snapshot, deliver_change, d);
}

int64
derive_subscription_deliver(const char *name, int64 max_rows,
							DeriveSubscriptionReceiver receiver, void *arg)
{
	Subscription sub;
	Relation	rel = open_subscriptions(RowExclusiveLock);
	Delivery	d = {.rel = rel,.sub = &sub,.receiver = receiver,.arg = arg,.wanted = max_rows};
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
	if (sub.started != started && sub.spool_size > 0)
	{
		LOCKTAG		tag;

		/* who counts from now on sees it */
		owner_lock(sub.owner, &tag);
		(void) LockRelease(&tag, ExclusiveLock, false);
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

/* It has rows to be delivered that have waited for too long, or that it cannot get any more. */
static bool
has_stale_spool(const Subscription *sub)
{
	DeriveJournalRow journal;

	if (sub->spool_size == 0 || !has_journal(sub, NULL, &journal, NULL))
		return false;
	return sub->position < journal.floor ||
		(derive_subscription_retention > 0 &&
		 sub->polled_at < GetCurrentTimestamp() - derive_subscription_retention * USECS_PER_SEC);
}

/* Remove what is to be removed of it, which is locked; false if there is more. */
static bool
sweep(Relation rel, Subscription *sub, ItemPointer tid, int max_rows)
{
	bool		orphan = is_orphan(sub);
	bool		done;

	if (!orphan && !has_stale_spool(sub))
		return true;
	done = clear_spool(sub, max_rows);
	if (done && orphan)
	{
		CatalogTupleDelete(rel, tid);
		return true;
	}
	sub->position = 0;			/* it is lost: no journal has a floor of 0 */
	CatalogTupleUpdate(rel, tid, form_subscription(rel, sub));
	return done;
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

		if (!is_orphan(sub) && !has_stale_spool(sub))
			continue;
		slot = table_slot_create(rel, NULL);
		if (lock_subscription(rel, NameStr(sub->name), false, slot, sub) &&
			!sweep(rel, sub, &slot->tts_tid, max_rows))
			result = false;
		ExecDropSingleTupleTableSlot(slot);
	}
	table_close(rel, NoLock);
	return result;
}
