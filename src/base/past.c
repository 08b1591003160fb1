/*-------------------------------------------------------------------------
 *
 * past.c
 *	  Reading tables as they were at an earlier position.
 *
 * What a table was before a batch need not be put together from the log: the
 * old versions of its rows are still in the heap as long as VACUUM may not remove
 * them.  A position (position.h) is a snapshot reduced to top-level transactions;
 * from it a snapshot is made again, and scans under that see the table as it was,
 * through the table's own indexes.
 *
 * Four things are needed, or the result is silently wrong:
 *
 *	1. Nobody removes, freezes or prunes what the position sees.  The slot's xmin
 *	   has held it all the time (capture/hold.c), that is, since before the position
 *	   was taken.  The xmin alone does not tell: that of a snapshot stands still while
 *	   some transaction runs, also one of another database, for which VACUUM keeps
 *	   nothing in this one.
 *	2. TransactionXmin, and MyProc->xmin, are not later than the position's xmin,
 *	   also while a query is planned.  SubTransGetTopmostTransaction() does not look
 *	   beyond TransactionXmin, and an index with broken HOT chains
 *	   (pg_index.indcheckxmin) is used if its xmin is before TransactionXmin.  They
 *	   can go back because the slot holds.  GetSnapshotData() leaves a valid
 *	   MyProc->xmin as it is; after that a registered snapshot with that xmin keeps
 *	   SnapshotResetXmin() from moving them.  (It cannot be there before: the first
 *	   snapshot of a transaction must find none registered.)
 *	3. Subtransactions.  A position does not know them.  So the snapshot is marked
 *	   as overflowed, and the server looks up the parent of an xid in pg_subtrans
 *	   before it searches xip.  A restart empties pg_subtrans.  Then a subtransaction
 *	   of a transaction that was running at the position would be taken for one that
 *	   is long committed.  The log delivers such a transaction again, with its
 *	   subtransactions, which are put into xip beside it: a lookup that works finds
 *	   the parent there, one that does not finds the subtransaction.
 *	4. Indexes that are younger than the position may lack rows that only it sees
 *	   (CREATE INDEX CONCURRENTLY waits for processes with old snapshots, but not
 *	   for slots).  Who plans a query keeps them away (derive/old_scan.c).
 *
 *	   Worked example.  Transaction 100, with a subtransaction 101, runs when the
 *	   position 100:103:100 is taken, and commits later.  The snapshot has xmin 100,
 *	   xmax 103, xip {100}, and after a restart {100, 101}.  A row written by 101:
 *	   pg_subtrans says 100, in xip, invisible; or pg_subtrans says nothing, 101, in
 *	   xip, invisible.  One by 102: not in xip, visible if it has committed.
 *
 * Tables that the transaction itself writes, the views, are another matter: the
 * position is not their old state, since the batch that led to it has committed
 * after it.  They are read under the present snapshot with the command id of the
 * beginning; those that got another query and other files in the transaction, not
 * at all.
 *
 * DDL changes what old row versions mean.  A relation is not shown if
 *
 *		it has another file (TRUNCATE, a rewrite; also VACUUM FULL, which would do)
 *		a column that it had is gone, or has another type
 *		a column has become NOT NULL, by which the planner drops tests
 *
 * since the position, or it was created after it.  That is asked of the catalogs,
 * which can be read in the past too.  The answer is kept until an invalidation
 * names the relation; it holds for the position that was checked, and, from the
 * present of that batch on, for all later ones.  CHECK constraints mislead nobody
 * with constraint_exclusion off; which partitions and children there are, the
 * stream watches (delta/sources.c); TRUNCATE it reads from the log.
 *
 * Source of all this: procarray.c (ComputeXidHorizons), snapmgr.c, subtrans.c,
 * heapam_visibility.c, plancat.c (get_relation_info) and indexcmds.c of PostgreSQL
 * 15 to 18.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/error_context.h"
#include "base/past.h"
#include "base/unlocked.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* pg_constraint.contype of NOT NULL, which 18 has. */
#define CONTYPE_NOT_NULL 'n'

/* A relation that was found to be the same at a position, and ever since. */
typedef struct KnownRelation
{
	Oid			relid;			/* hash key */
	bool		stale;			/* not looked at yet, or invalidated since */
	uint64		ninvalidated;
	DerivePosition *since;		/* in known_cxt */
} KnownRelation;

/* What was asked of a past. */
typedef struct Answer
{
	Oid			relid;
	bool		inh;
	bool		shown;
	List	   *family;			/* of Oid: with all below it */
} Answer;

/* The current transaction. */
static struct
{
	LocalTransactionId lxid;
	TransactionId xmin;
	const DerivePosition *since;
	const DerivePosition *present;
	Snapshot	now;			/* the present, before anything is written */
	List	   *snapshots;		/* registered; of Snapshot */
	List	   *pasts;			/* of DerivePast * */
	List	   *replaced;		/* of Oid: views that have other files now */
}			current;

static HTAB *known = NULL;
static MemoryContext known_cxt = NULL;


/* ----------------------------------------------------------------
 *		Snapshots
 * ----------------------------------------------------------------
 */

/* Until derive_past_end(), also where a subtransaction registers it. */
static Snapshot
keep_snapshot(Snapshot snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	snapshot = RegisterSnapshotOnOwner(snapshot, TopTransactionResourceOwner);
	current.snapshots = lappend(current.snapshots, snapshot);
	MemoryContextSwitchTo(old);
	return snapshot;
}

static bool
begun(void)
{
	return TransactionIdIsValid(current.xmin) && current.lxid == derive_compat_lxid(MyProc);
}

void
derive_past_begin(TransactionId xmin, const DerivePosition *since)
{
	SnapshotData guard = {.snapshot_type = SNAPSHOT_MVCC,.xmin = xmin,.xmax = xmin};

	Assert(IsTransactionState() && !FirstSnapshotSet && !ActiveSnapshotSet());
	Assert(TransactionIdIsNormal(xmin));

	memset(&current, 0, sizeof(current));
	current.lxid = derive_compat_lxid(MyProc);
	current.xmin = xmin;
	current.since = since;

	/* a catalog snapshot that went later would take our xmin with it */
	InvalidateCatalogSnapshot();
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	if (!DERIVE_DEBUG_SKIPS("past-xmin"))
		MyProc->xmin = TransactionXmin = xmin;
	LWLockRelease(ProcArrayLock);
	(void) GetTransactionSnapshot();
	Assert(TransactionXmin == xmin || DERIVE_DEBUG_SKIPS("past-xmin"));
	(void) keep_snapshot(&guard);
}

void
derive_past_end(void)
{
	ListCell   *lc;

	if (!begun())
		return;
	foreach(lc, current.snapshots)
		UnregisterSnapshotFromOwner(lfirst(lc), TopTransactionResourceOwner);
	memset(&current, 0, sizeof(current));
}

void
derive_past_present(const DerivePosition *position)
{
	SnapshotData now = *GetActiveSnapshot();

	if (!begun())
		return;
	now.copied = false;
	current.now = keep_snapshot(&now);
	current.present = position;
}

DerivePast *
derive_past_create(const DerivePosition *position, const FullTransactionId *subxids, int nsubxids)
{
	SnapshotData then = {.snapshot_type = SNAPSHOT_MVCC,.suboverflowed = true,.curcid = FirstCommandId};
	DerivePast *past;
	MemoryContext old;

	if (!begun() || current.now == NULL || position == NULL ||
		TransactionIdPrecedes(XidFromFullTransactionId(position->xmin), current.xmin) ||
		!derive_position_includes(position, current.since))
		return NULL;
	Assert(TransactionIdPrecedesOrEquals(TransactionXmin, XidFromFullTransactionId(position->xmin)) ||
		   DERIVE_DEBUG_SKIPS("past-xmin"));

	then.xmin = XidFromFullTransactionId(position->xmin);
	then.xmax = XidFromFullTransactionId(position->xmax);
	then.xip = palloc(sizeof(TransactionId) * (position->nxip + nsubxids + 1));
	for (int i = 0; i < position->nxip; i++)
		then.xip[then.xcnt++] = XidFromFullTransactionId(position->xip[i]);
	for (int i = 0; i < nsubxids && !DERIVE_DEBUG_SKIPS("past-subtransactions"); i++)
	{
		if (FullTransactionIdFollowsOrEquals(subxids[i], position->xmin) &&
			FullTransactionIdPrecedes(subxids[i], position->xmax))
			then.xip[then.xcnt++] = XidFromFullTransactionId(subxids[i]);
	}

	past = palloc0(sizeof(DerivePast));
	past->cxt = CurrentMemoryContext;
	past->position = derive_position_copy(position);
	past->snapshot = keep_snapshot(&then);
	past->own = current.now;
	pfree(then.xip);

	old = MemoryContextSwitchTo(TopTransactionContext);
	current.pasts = lappend(current.pasts, past);
	MemoryContextSwitchTo(old);
	return past;
}

bool
derive_past_lacks(Snapshot snapshot, TransactionId xmin)
{
	return TransactionIdIsNormal(xmin) &&
		(TransactionIdIsCurrentTransactionId(xmin) || XidInMVCCSnapshot(xmin, snapshot));
}


/* ----------------------------------------------------------------
 *		Relations
 * ----------------------------------------------------------------
 */

static void
note_invalid(KnownRelation *entry)
{
	entry->stale = true;
	entry->ninvalidated++;
}

void
derive_past_note_invalidation(Oid relid)
{
	HASH_SEQ_STATUS status;
	KnownRelation *entry;

	if (known == NULL)
		return;
	if (OidIsValid(relid))
	{
		entry = hash_search(known, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			note_invalid(entry);
		return;
	}
	hash_seq_init(&status, known);
	while ((entry = hash_seq_search(&status)) != NULL)
		note_invalid(entry);
}

static KnownRelation *
find_known(Oid relid)
{
	KnownRelation *entry;
	bool		found;

	if (known == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(KnownRelation)};

		known_cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive relations in the past",
										  ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = known_cxt;
		known = hash_create("pg_derive relations in the past", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(known, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->stale = true;
		entry->ninvalidated = 0;
		entry->since = NULL;
	}
	return entry;
}

/* Rows of a catalog that belong to a relation, in a snapshot (NULL: now). */
static SysScanDesc
scan_catalog(Relation catalog, Oid index, AttrNumber column, Oid relid, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	return systable_beginscan(catalog, index, true, snapshot, 1, &key);
}

/* Does it have the file that it had, and as many columns at least? */
static bool
same_class(const DeriveUnlocked *rel, Snapshot snapshot)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = scan_catalog(catalog, ClassOidIndexId, Anum_pg_class_oid, rel->relid, snapshot);
	HeapTuple	tuple = systable_getnext(scan);
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class then = (Form_pg_class) GETSTRUCT(tuple);

		result = then->relfilenode == rel->form.relfilenode &&
			then->relpersistence == rel->form.relpersistence &&
			then->relnatts <= rel->form.relnatts;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

static bool
same_columns(const DeriveUnlocked *rel, Snapshot snapshot)
{
	Relation	catalog = table_open(AttributeRelationId, AccessShareLock);
	SysScanDesc scan = scan_catalog(catalog, AttributeRelidNumIndexId, Anum_pg_attribute_attrelid,
									rel->relid, snapshot);
	HeapTuple	tuple;
	bool		result = true;

	while (result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_attribute then = (Form_pg_attribute) GETSTRUCT(tuple);
		Form_pg_attribute now;

		if (then->attnum <= 0)
			continue;
		now = TupleDescAttr(rel->desc, then->attnum - 1);
		result = then->attisdropped == now->attisdropped && then->atttypid == now->atttypid &&
			(then->attnotnull || !now->attnotnull) && then->attgenerated == now->attgenerated;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/* Is every NOT NULL constraint as old as that, and as valid? */
static bool
same_not_null(const DeriveUnlocked *rel, Snapshot snapshot)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan = scan_catalog(catalog, ConstraintRelidTypidNameIndexId, Anum_pg_constraint_conrelid,
									rel->relid, NULL);
	HeapTuple	tuple;
	bool		result = true;

	while (result && HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = ((Form_pg_constraint) GETSTRUCT(tuple))->contype != CONTYPE_NOT_NULL ||
			!derive_past_lacks(snapshot, HeapTupleHeaderGetXmin(tuple->t_data));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

static bool
is_same(Oid relid, Snapshot snapshot)
{
	const DeriveUnlocked *rel = derive_unlocked_read(relid);

	return rel != NULL && same_class(rel, snapshot) && same_columns(rel, snapshot) && same_not_null(rel, snapshot);
}

/* Look it up in what is known, or in the catalogs. */
static bool
shows_one(DerivePast *past, Oid relid)
{
	KnownRelation *entry = find_known(relid);
	uint64		ninvalidated = entry->ninvalidated;
	MemoryContext old;

	if (!entry->stale && derive_position_includes(past->position, entry->since))
		return true;
	entry->stale = true;		/* also if it fails, and while it is looked at */
	if (!is_same(relid, past->snapshot))
	{
		elog(DEBUG1, "relation \"%s\" cannot be read as it was: it was altered since", derive_relation_name(relid));
		return false;
	}

	/* an invalidation meanwhile may be of something that was not seen */
	entry = find_known(relid);
	entry->stale = entry->ninvalidated != ninvalidated;
	if (entry->since)
		pfree(entry->since);
	old = MemoryContextSwitchTo(known_cxt);
	entry->since = derive_position_copy(current.present);
	MemoryContextSwitchTo(old);
	return true;
}

void
derive_past_hide_view(Oid view)
{
	MemoryContext old;
	ListCell   *lc;
	ListCell   *lc2;

	if (!begun())
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	current.replaced = list_append_unique_oid(current.replaced, view);
	MemoryContextSwitchTo(old);
	foreach(lc, current.pasts)
	{
		foreach(lc2, ((DerivePast *) lfirst(lc))->answers)
		{
			Answer	   *answer = lfirst(lc2);

			if (answer->relid == view)
				answer->shown = false;
		}
	}
}

bool
derive_past_shows(DerivePast *past, Oid relid, bool inh)
{
	MemoryContext old;
	Answer	   *answer;
	ListCell   *lc;

	foreach(lc, past->answers)
	{
		answer = lfirst(lc);
		if (answer->relid == relid && answer->inh == inh)
			return answer->shown;
	}

	old = MemoryContextSwitchTo(past->cxt);
	answer = palloc(sizeof(Answer));
	answer->relid = relid;
	answer->inh = inh;
	answer->shown = !list_member_oid(current.replaced, relid);
	answer->family = NIL;
	if (get_rel_relkind(relid) != RELKIND_MATVIEW)
		answer->family = inh && has_subclass(relid) ? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);
	foreach(lc, answer->family)
		answer->shown = answer->shown && shows_one(past, lfirst_oid(lc));
	past->answers = lappend(past->answers, answer);
	MemoryContextSwitchTo(old);
	return answer->shown;
}

static bool
is_shaken(DerivePast *past, const Answer *answer)
{
	ListCell   *lc;

	foreach(lc, answer->family)
	{
		if (find_known(lfirst_oid(lc))->stale && !shows_one(past, lfirst_oid(lc)))
			return true;
	}
	return false;
}

bool
derive_past_was_shaken(void)
{
	ListCell   *lc;
	ListCell   *lc2;

	if (!begun())
		return false;
	foreach(lc, current.pasts)
	{
		DerivePast *past = lfirst(lc);

		foreach(lc2, past->answers)
		{
			Answer	   *answer = lfirst(lc2);

			if (answer->shown && is_shaken(past, answer))
				return true;
		}
	}
	return false;
}
