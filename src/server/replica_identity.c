/*-------------------------------------------------------------------------
 *
 * replica_identity.c
 *	  Replica identities of the tables that views read.
 *
 * REPLICA IDENTITY FULL makes the log carry the old image of updated and deleted rows.
 * Tables without a usable key need it, and the sources of histories.  What a table had
 * before is remembered (base/identities.h), and is given back when no view needs the old
 * images any more: by the worker after a view was dropped or released, or the table got
 * a primary key; by DROP EXTENSION in its own transaction, which is the last that
 * can.  Of a view of another group, whose program another worker has, it is known what it reads
 * (pg_depend), and whether that is by a SELECT, for which a key will do, or by a derivation, of which nothing is
 * known: then the table keeps its identity.
 * An identity that somebody else has set since is left alone.
 *
 * With FULL the server may refuse all changes of a table, because of a publication (base/published.h).
 * Then the table does not get it.  Who changes publications, or a table so that it comes to that, gives
 * back what it had, in the same transaction, so that no writer ever finds it so; and a worker
 * that finds such a table does.  Views of it move without old rows, mostly by computing anew, and
 * derive.explain says so.
 *
 *		CREATE TABLE log (line text);			d
 *		create_view('v', '.. FROM log ..')		f, and the row (log, d, 0)
 *		DROP MATERIALIZED VIEW v				d again
 *
 * Either change needs AccessExclusiveLock for a moment, and everybody who comes while we wait
 * for it queues up behind us.  Hence the lock timeout, a transaction per table, and later
 * another try.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/identities.h"
#include "base/lock_waiters.h"
#include "base/published.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/unlocked.h"
#include "base/wait_event.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "commands/event_trigger.h"
#include "commands/tablecmds.h"
#include "delta/keys.h"
#include "delta/stream.h"
#include "derive/definition.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "notify/wait.h"
#include "server/background.h"
#include "server/dependents.h"
#include "server/replica_identity.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A session tries so often to lock a table, and rests so long in between. */
#define YIELD_TRIES		10
#define YIELD_PAUSE_MS	100

/* What a table's replica identity is; false if it is no table, or is gone. */
static bool
get_identity(Oid relid, char *identity)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	*identity = ((Form_pg_class) GETSTRUCT(tuple))->relreplident;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_RELATION;
	ReleaseSysCache(tuple);
	return result;
}

static void
alter(Oid relid, char identity, Oid index)
{
	AlterTableCmd *cmd = makeNode(AlterTableCmd);
	ReplicaIdentityStmt *stmt = makeNode(ReplicaIdentityStmt);

	stmt->identity_type = identity;
	stmt->name = OidIsValid(index) ? get_rel_name(index) : NULL;
	cmd->subtype = AT_ReplicaIdentity;
	cmd->def = (Node *) stmt;
	AlterTableInternal(relid, list_make1(cmd), false);
}

/* Does a publication not allow that it is FULL? */
static bool
is_refused(Oid relid)
{
	const char *hint;

	return derive_publication_refuses_full(relid, &hint) != NULL;
}

/* The table is locked. */
static void
set_full(Oid relid)
{
	DeriveIdentity before = {.relid = relid};
	Relation	rel;

	/* It may have been dropped, or set, meanwhile. */
	if (!get_identity(relid, &before.identity) || before.identity == REPLICA_IDENTITY_FULL)
		return;
	if (is_refused(relid))
		return;
	if (before.identity == REPLICA_IDENTITY_INDEX)
	{
		rel = relation_open(relid, NoLock);
		before.index = RelationGetReplicaIndex(rel);
		relation_close(rel, NoLock);
	}
	alter(relid, REPLICA_IDENTITY_FULL, InvalidOid);
	derive_identities_set(&before);
	ereport(LOG,
			(errmsg("table \"%s\" gets replica identity FULL", get_rel_name(relid)),
			 errdetail("A view that reads it needs old rows in full.")));
}

static void
alter_back(void *arg)
{
	const DeriveIdentity *before = arg;

	if (before->identity == REPLICA_IDENTITY_INDEX &&
		(get_rel_relkind(before->index) != RELKIND_INDEX || IndexGetRelation(before->index, true) != before->relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the index that was its replica identity no longer exists")));
	alter(before->relid, before->identity, before->index);
}

/*
 * The table is locked.  It may be as it was no longer, so that the server refuses: an index
 * that was its identity may be gone, or have a column that is nullable by now.  That must stop
 * nobody.  refused: it must not stay FULL.
 */
static void
set_back(DeriveIdentity *before, bool refused)
{
	ErrorData  *edata;
	char		now;

	derive_identities_forget(before->relid);
	if (!get_identity(before->relid, &now) || now != REPLICA_IDENTITY_FULL)
		return;
	edata = derive_guarded(alter_back, before);
	if (edata == NULL)
	{
		ereport(LOG,
				(errmsg("table \"%s\" has its former replica identity again", get_rel_name(before->relid)),
				 refused ? errdetail("A publication does not go with replica identity FULL of it.") :
				 errdetail("No view needs old rows of it in full.")));
		return;
	}
	if (derive_error_is_transient(edata->sqlerrcode))
		ReThrowError(edata);
	if (refused)
		alter(before->relid, REPLICA_IDENTITY_DEFAULT, InvalidOid);
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg(refused ? "replica identity of table \"%s\" becomes the default: %s" :
					"replica identity of table \"%s\" stays FULL: %s", get_rel_name(before->relid), edata->message)));
}

static DeriveIdentity *
find_remembered(Oid relid)
{
	ListCell   *lc;

	foreach(lc, derive_identities_all())
	{
		if (((DeriveIdentity *) lfirst(lc))->relid == relid)
			return lfirst(lc);
	}
	return NULL;
}

/*
 * Would the source lack anything if its member had that identity again?  Only by the
 * default are rows named by the key that it follows now.
 */
static bool
needs_full(const DeriveSource *source, const DeriveIdentity *before)
{
	const DeriveUnlocked *rel;
	const DeriveUnlocked *member;
	bool		in_log;

	if (!list_member_oid(derive_source_members(source->relid, source->inh), before->relid))
		return false;
	if (source->events || before->identity != REPLICA_IDENTITY_DEFAULT)
		return true;
	rel = derive_unlocked_read(source->relid);
	member = derive_unlocked_read(before->relid);
	return rel == NULL || member == NULL ||
		derive_member_key(member, source->relid, rel->desc, &in_log) == NULL;
}

/* A view of another group, that reads the table as that of a source. */
typedef struct Reader
{
	Oid			view;
	Oid			table;
	const DeriveIdentity *before;
	bool		needs_full;
} Reader;

static void
ask_reader(void *arg)
{
	Reader	   *reader = arg;
	DeriveSource source = {.relid = reader->table,.inh = true};

	source.events = strcmp(derive_definition_of_view(reader->view)->derivation, DERIVE_SELECT_NAME) != 0;
	reader->needs_full = needs_full(&source, reader->before);
}

/* Who cannot say it, needs it. */
static bool
reader_needs_full(Oid view, Oid table, void *arg)
{
	Reader		reader = {view, table, arg, false};

	return derive_guarded(ask_reader, &reader) != NULL || reader.needs_full;
}

static bool
is_needed_elsewhere(DeriveIdentity *before, List *views)
{
	return derive_is_read_elsewhere(before->relid, views, reader_needs_full, before);
}

/* Back to what it had, if other views than ours do not need that it is FULL, or it must not be. */
static void
set_back_if_unneeded(List *views, Oid relid)
{
	DeriveIdentity *before = find_remembered(relid);
	bool		refused = is_refused(relid);

	if (before != NULL && (refused || !is_needed_elsewhere(before, views)))
		set_back(before, refused);
}

/*
 * Who changes publications sees what we set, or we what he has changed.  Before the table is
 * locked, for which he would wait.
 */
static void
exclude_publishers(void)
{
	Oid			identities = derive_registry_table_oid("identities", true);

	if (OidIsValid(identities) && !ConditionalLockRelationOid(identities, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock relation \"%s\"", get_rel_name(identities))));
}

/* In a transaction of its own, to FULL or back; false if the lock could not be had. */
static bool
change(List *views, Oid relid, bool full, pg_atomic_uint64 *blocked_on)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	bool		result = true;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		derive_background_limit_lock_waits(derive_lock_timeout);
		exclude_publishers();

		if (blocked_on != NULL)
			derive_blocked_set(blocked_on, relid, AccessExclusiveLock);
		LockRelationOid(relid, AccessExclusiveLock);
		if (blocked_on != NULL)
			derive_blocked_clear(blocked_on);

		PushActiveSnapshot(GetTransactionSnapshot());
		if (full)
			set_full(relid);
		else
			set_back_if_unneeded(views, relid);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		if (blocked_on != NULL)
			derive_blocked_clear(blocked_on);
		MemoryContextSwitchTo(oldcontext);
		edata = CopyErrorData();
		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		FreeErrorData(edata);
		result = false;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(oldcontext);
	return result;
}

static bool
change_all(List *views, List *relids, bool full, pg_atomic_uint64 *blocked_on, Oid *busy)
{
	bool		all = true;
	ListCell   *lc;

	foreach(lc, relids)
	{
		if (change(views, lfirst_oid(lc), full, blocked_on))
			continue;
		all = false;
		if (busy != NULL)
			*busy = lfirst_oid(lc);
	}
	return all;
}

bool
derive_identity_set(List *relids, pg_atomic_uint64 *blocked_on, Oid *busy)
{
	return change_all(NIL, relids, true, blocked_on, busy);
}

bool
derive_identity_restore(List *views, List *relids)
{
	return change_all(views, relids, false, NULL, NULL);
}

void
derive_identity_restore_here(void)
{
	ListCell   *lc;

	foreach(lc, derive_identities_all())
	{
		DeriveIdentity *before = lfirst(lc);

		LockRelationOid(before->relid, AccessExclusiveLock);
		set_back(before, false);
	}
}

/* Tables of which the log says already that they do not get it; in TopMemoryContext. */
static List *said = NIL;

static void
say_refused(Oid relid, const char *reason, const char *hint)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);

	said = lappend_oid(said, relid);
	MemoryContextSwitchTo(oldcontext);
	ereport(LOG,
			(errmsg("table \"%s\" cannot get replica identity FULL, since %s", get_rel_name(relid), reason),
			 errdetail("The server would refuse every UPDATE and DELETE of it.  Views that need its old rows are computed anew instead, or fail."),
			 errhint("%s", hint)));
}

List *
derive_identity_possible(List *relids)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		const char *hint;
		char	   *reason = derive_publication_refuses_full(relid, &hint);

		if (reason == NULL)
		{
			result = lappend_oid(result, relid);
			said = list_delete_oid(said, relid);
		}
		else if (!list_member_oid(said, relid))
			say_refused(relid, reason, hint);
	}
	return result;
}

/* Has it FULL by us, although a publication does not allow that by now? */
static bool
must_yield(const DeriveIdentity *before)
{
	char		now;

	return get_identity(before->relid, &now) && now == REPLICA_IDENTITY_FULL && is_refused(before->relid);
}

List *
derive_identity_refused(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, derive_identities_all())
	{
		if (must_yield(lfirst(lc)))
			result = lappend_oid(result, ((DeriveIdentity *) lfirst(lc))->relid);
	}
	return result;
}

/* Tables that a session locks. */
typedef struct ToLock
{
	List	   *relids;
	Oid			busy;			/* the one that could not be had */
} ToLock;

static void
lock_all(void *arg)
{
	ToLock	   *tables = arg;
	ListCell   *lc;

	foreach(lc, tables->relids)
	{
		tables->busy = lfirst_oid(lc);
		if (!derive_lock_within(tables->busy, AccessExclusiveLock, derive_lock_timeout))
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("could not lock table \"%s\" to give it its former replica identity back", get_rel_name(tables->busy)),
					 errdetail("It has replica identity FULL for a maintained view, with which the server would now refuse every UPDATE and DELETE of it."),
					 errhint("Try again when the transactions that use the table have ended.")));
	}
}

/*
 * Whoever writes to the tables meanwhile waits, so not for long; and again, since those who have
 * one locked will be done.  None is kept while we wait for another one again, which its writer may have.
 */
static void
lock_to_yield(List *relids)
{
	ToLock		tables = {relids, InvalidOid};

	for (int tries = 1;; tries++)
	{
		ErrorData  *edata = derive_guarded(lock_all, &tables);

		if (edata == NULL)
			return;
		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || tries == YIELD_TRIES)
			ReThrowError(edata);
		FreeErrorData(edata);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, YIELD_PAUSE_MS, derive_wait_event(DERIVE_WAIT_LOCK));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The table is locked.  As its owner, who need not be the one of the publication. */
static void
yield(DeriveIdentity *before)
{
	const char *hint;
	char	   *reason = derive_publication_refuses_full(before->relid, &hint);
	DeriveRole	saved;

	if (reason == NULL)
		return;
	derive_role_enter(derive_owner_of(before->relid), &saved);
	EventTriggerInhibitCommandCollection();
	set_back(before, true);
	EventTriggerUndoInhibitCommandCollection();
	derive_role_leave(&saved);
	ereport(NOTICE,
			(errmsg("table \"%s\" has its former replica identity again, since %s", get_rel_name(before->relid), reason),
			 errdetail("It was FULL for maintained views, which are computed anew instead when its rows change, or fail."),
			 errhint("%s", hint)));
}

/*
 * As what changes a table does, and not as a reader or writer.  Or what it is a partition of: a root may bring its
 * partitions into a publication, without a lock on them.
 */
static bool
is_locked_here(Oid relid)
{
	ListCell   *lc;

	if (derive_we_hold(relid, RowShareLock) != NoLock)
		return true;
	foreach(lc, get_partition_ancestors(relid))
	{
		if (derive_we_hold(lfirst_oid(lc), RowShareLock) != NoLock)
			return true;
	}
	return false;
}

void
derive_identity_yield(bool locks_no_table)
{
	Oid			identities = derive_registry_table_oid("identities", true);
	List	   *relids = NIL;
	ListCell   *lc;

	if (!OidIsValid(identities))
		return;
	CommandCounterIncrement();
	if (locks_no_table)
		LockRelationOid(identities, ShareRowExclusiveLock);
	foreach(lc, derive_identities_all())
	{
		DeriveIdentity *before = lfirst(lc);

		/* others have been so before, and are left to the worker */
		if ((locks_no_table || is_locked_here(before->relid)) && must_yield(before))
			relids = lappend_oid(relids, before->relid);
	}
	if (relids == NIL)
		return;
	list_sort(relids, list_oid_cmp);
	lock_to_yield(relids);
	foreach(lc, relids)
	{
		DeriveIdentity *before = find_remembered(lfirst_oid(lc));

		if (before != NULL)
			yield(before);
	}
}

List *
derive_identity_not_needed(List *views, List *sources)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, derive_identities_all())
	{
		DeriveIdentity *before = lfirst(lc);
		bool		needed = false;

		foreach(lc2, sources)
			needed = needed || needs_full(lfirst(lc2), before);
		if (!needed && !is_needed_elsewhere(before, views))
			result = lappend_oid(result, before->relid);
	}
	return result;
}
