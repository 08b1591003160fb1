/*-------------------------------------------------------------------------
 *
 * views.c
 *	  What the worker knows of the views: the registry and their programs.
 *
 * The registry in the database is what is wanted; the list of WorkerViews is what
 * this process has.  derive_worker_load_registry() brings the list in line: it
 * reads the registry, compiles the views that need a program and have none, or
 * whose program may have become wrong, sorts the views so that each comes after
 * those that it reads, and tells the stream which tables to follow and of which
 * ones to keep a backlog.  It is cheap enough to be done whenever something may
 * have changed, and always done between two batches, never inside one.
 *
 * A view whose program does not fit its internal tables any more (outdated, see
 * materialize/program.c) is sent back to be built before a batch can run it.
 *
 * What may have changed is told by relcache invalidations.  The callback only sets
 * flags: "reload" if it was the registry, "dirty" for each view of which a relation
 * was hit.  What roles may do is told by syscache invalidations; of the views, those are
 * dirty then whose roles' rights follow from something else than before.  The loop starts
 * no batch while one of the flags is set, and a batch looks at them again once it has its
 * locks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/debug_point.h"
#include "base/groups.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/past.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/pg_class.h"
#include "delta/stream.h"
#include "derive/definition.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "server/background.h"
#include "server/builder.h"
#include "server/crash_guard.h"
#include "server/crashed_view.h"
#include "server/hooks.h"
#include "server/replica_identity.h"
#include "server/shmem.h"
#include "server/worker_internal.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Wait no longer for a lock on a relation that only compiling a view comes upon; the others wait, too. */
#define LOAD_LOCK_MS	10

/* Programs are loaded in one transaction until they have so many relations: their locks must find room. */
#define LOCKS_AT_ONCE	200

/* Entry of a table by OID. */
typedef struct RelationViews
{
	Oid			relid;			/* hash key */
	WorkerView *view;			/* if it is one; or NULL */
	List	   *views;			/* those that have to do with it, see
								 * derive_worker_views_of() */
} RelationViews;

static HTAB *relations = NULL;	/* of RelationViews */

static void load_views(List *rows);
static void fail_stubborn_view(void);
static void count_still(void);
static void forget_dropped_views(void);
static void mark_outdated_views(void);
static void order_views(void);


/* ----------------------------------------------------------------
 *		Views by relation
 * ----------------------------------------------------------------
 */

static RelationViews *
find_relation(Oid relid)
{
	return relations == NULL ? NULL : hash_search(relations, &relid, HASH_FIND, NULL);
}

static RelationViews *
enter_relation(Oid relid)
{
	RelationViews *entry;
	bool		found;

	if (relations == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(RelationViews),.hcxt = derive_worker.cxt};

		relations = hash_create("pg_derive views by relation", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(relations, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->view = NULL;
		entry->views = NIL;
	}
	return entry;
}

/* The view has, or no longer has, to do with these relations. */
static void
enter_relations(WorkerView *view, List *relids)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	ListCell   *lc;

	foreach(lc, relids)
	{
		RelationViews *entry = enter_relation(lfirst_oid(lc));

		entry->views = lappend(entry->views, view);
	}
	MemoryContextSwitchTo(oldcontext);
}

static void
remove_relations(WorkerView *view, List *relids)
{
	ListCell   *lc;

	foreach(lc, relids)
	{
		RelationViews *entry = find_relation(lfirst_oid(lc));

		if (entry == NULL)
			continue;
		entry->views = list_delete_ptr(entry->views, view);
		if (entry->views == NIL && entry->view == NULL)
			hash_search(relations, &entry->relid, HASH_REMOVE, NULL);
	}
}

WorkerView *
derive_worker_find_view(Oid relid)
{
	RelationViews *entry = find_relation(relid);

	return entry != NULL ? entry->view : NULL;
}

List *
derive_worker_views_of(Oid relid)
{
	RelationViews *entry = find_relation(relid);

	return entry != NULL ? entry->views : NIL;
}

List *
derive_worker_view_oids(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, derive_worker.views)
		result = lappend_oid(result, ((WorkerView *) lfirst(lc))->relid);
	return result;
}

/*
 * What belongs to views that are gone, is nobody's: any worker that comes upon it removes it, but not two at
 * the same time.  The lock keeps out nobody else who reads or writes the table.
 */
bool
derive_worker_may_sweep(const char *table)
{
	return ConditionalLockRelationOid(derive_registry_table_oid(table, false), ShareUpdateExclusiveLock);
}

/* Another worker may be about to find it: so it is the catalog, as it is now, that decides. */
bool
derive_worker_is_leftover(Oid relid)
{
	return derive_registry_get(relid) == NULL && derive_worker_may_sweep("moves");
}

/*
 * Relcache callback: flags only.  A decoder that clears all caches for its own
 * purposes says "everything" without anything having changed; what has changed
 * was announced one by one before.
 */
void
derive_worker_note_invalidation(Datum arg, Oid relid)
{
	ListCell   *lc;

	if (!OidIsValid(relid))
	{
		if (derive_worker.decoding && SharedInvalidMessageCounter == derive_worker.decode_counter)
			return;
		derive_worker.reload = true;
	}
	else if (relid == derive_worker.registry_oid)
		derive_worker.reload = true;

	foreach(lc, OidIsValid(relid) ? derive_worker_views_of(relid) : derive_worker.views)
		((WorkerView *) lfirst(lc))->dirty = derive_worker.any_dirty = true;
	if (derive_worker.loading != NULL)
	{
		/* Whether it concerns this one is not known yet. */
		derive_worker.loading->dirty = true;
		derive_worker.any_dirty = true;
	}
	derive_program_invalidate_plans(relid);
	derive_past_note_invalidation(relid);
}

/* Syscache callback: flags only.  Which roles are concerned is found out by their digests. */
void
derive_worker_note_role_change(Datum arg, int cacheid, uint32 hashvalue)
{
	if (hashvalue == 0 && derive_worker.decoding && SharedInvalidMessageCounter == derive_worker.decode_counter)
		return;
	derive_worker.role_changes++;
	derive_worker.reload = true;
	if (derive_worker.loading != NULL)
		derive_worker.loading->dirty = derive_worker.any_dirty = true;
}


/* ----------------------------------------------------------------
 *		Programs
 * ----------------------------------------------------------------
 */

static void
unload_program(WorkerView *view)
{
	DeriveProgram *program = view->program;

	view->program = NULL;
	remove_relations(view, view->reads);
	remove_relations(view, view->writes);
	view->reads = view->writes = NIL;
	view->backlog = false;
	view->fill = false;
	if (program)
		derive_program_free(program);
}

/* Are all sources of the second one, with all columns, sources of the first one? */
bool
derive_worker_follows_all(DeriveProgram *program, DeriveProgram *other)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, other->sources)
	{
		DeriveSource *wanted = lfirst(lc);
		bool		found = false;

		foreach(lc2, program->sources)
		{
			DeriveSource *source = lfirst(lc2);

			if (source->relid == wanted->relid && source->inh == wanted->inh &&
				source->events == wanted->events && bms_is_subset(wanted->columns, source->columns))
				found = true;
		}
		if (!found)
			return false;
	}
	return true;
}

/*
 * The old program goes when the new one is there: until then it tells what to follow.
 * Where there is none, what is locked is found out first, to be able to say it; then
 * there still is none.
 */
static void
load_program_guarded(void *arg)
{
	WorkerView *view = arg;
	DeriveProgram *program;
	MemoryContext oldcontext;

	if (view->program == NULL && !derive_lock_definition(view->relid, &view->busy))
	{
		view->busy_mode = AccessShareLock;
		return;
	}
	program = derive_program_load(view->relid, derive_worker.cxt);
	oldcontext = MemoryContextSwitchTo(program->cxt);
	if (view->program == NULL || !derive_worker_follows_all(view->program, program))
		view->kept = derive_worker_followed_by_replacement(view, program);
	unload_program(view);
	view->reads = list_copy(derive_program_read_relations(program));
	view->writes = list_copy(derive_program_write_relations(program));
	enter_relations(view, view->reads);
	enter_relations(view, view->writes);
	view->digest = derive_sources_digest(program);
	view->basis = derive_worker_basis(program);
	view->roles_digest = derive_roles_digest(program->roles);
	view->has_children = list_length(list_difference_oid(view->reads, program->plain_views)) > list_length(program->sources);
	view->program = program;
	MemoryContextSwitchTo(oldcontext);
}

typedef struct Kind
{
	Oid			view;
	bool		of_rows;		/* it follows from the rows that there are */
} Kind;

static void
ask_kind(void *arg)
{
	Kind	   *kind = arg;

	kind->of_rows = derive_view_comparable(kind->view);
}

/*
 * The view cannot be compiled.  May that change, and be tried until it does?  A function has
 * become VOLATILE, say, a type has lost its operator, or a column has another name.  What only
 * the log has for a view is lost meanwhile, so there it is for people to say when it goes on.
 */
static bool
may_be_compiled_later(WorkerView *view, const ErrorData *edata)
{
	Kind		kind = {view->relid, false};

	return derive_error_may_pass(edata->sqlerrcode) && derive_guarded(ask_kind, &kind) == NULL && kind.of_rows;
}

/* The view itself and its internal tables; what it reads is known from its program, if it has one. */
static List *
relations_of(WorkerView *view)
{
	return lcons_oid(view->relid, derive_registry_relations(view->relid));
}

/* The view keeps the program that it has, if any, and cannot be moved until it has a new one. */
static void
load_later(WorkerView *view)
{
	view->dirty = true;
	derive_worker.reload_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														  Min(RELOAD_MS << Min(derive_worker.reload_tries, 10), RETRY_MS));
}

/*
 * Compile the view, again if need be.  Compiling takes locks: those that we know of are
 * taken if they are free; for others never be the one for whom a deadlock is broken.  If it cannot be done for reasons of the view
 * then it has failed; if for others (a lock), it is tried again later, and batches
 * leave it where it is.
 */
static void
load_program(WorkerView *view)
{
	ErrorData  *edata;

	if (!derive_worker_lock_to_load(view, view->reads) || !derive_worker_lock_to_load(view, relations_of(view)))
	{
		load_later(view);
		return;
	}
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view->relid)))
	{
		view->seen = false;		/* dropped meanwhile */
		derive_worker.reload = true;
		return;
	}

	derive_worker.loading = view;
	derive_crash_guard_note(view->relid, "loading the view");
	view->dirty = false;
	DERIVE_DEBUG_POINT(psprintf("load-%s", get_rel_name(view->relid)));
	edata = derive_guarded(load_program_guarded, view);
	derive_worker.loading = NULL;
	if (edata == NULL && view->program == NULL)
	{
		load_later(view);
		return;
	}
	if (edata == NULL)
	{
		DeriveProgram *program = view->program;

		if (view->row->state != DERIVE_VIEW_BUILDING && (program->outdated != NULL || program->unfilled) &&
			!(view->row->state == DERIVE_VIEW_FAILED && !view->repair) &&	/* when it is tried
																			 * again */
			!derive_worker_rebuild_view(view, program->outdated ? program->outdated :
										"its internal tables were made anew"))
			load_later(view);
		return;
	}
	if (derive_error_is_transient(edata->sqlerrcode))
	{
		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			derive_worker_hold_back_after_error(view, edata);
		load_later(view);
		return;
	}

	/*
	 * Who wanted it repaired gets its answer; writing the same once more
	 * would bring us here again.
	 */
	if (view->row->state == DERIVE_VIEW_FAILED && view->row->error != NULL &&
		strcmp(view->row->error, derive_error_text(edata)) == 0)
		unload_program(view);
	else if (derive_worker_fail_view(view, derive_error_text(edata), edata, may_be_compiled_later(view, edata)))
		unload_program(view);
	else
		load_later(view);
}

/* Does a view in this state need its program? */
static bool
needs_program(WorkerView *view)
{
	switch (view->row->state)
	{
		case DERIVE_VIEW_BUILDING:
		case DERIVE_VIEW_CATCHUP:
		case DERIVE_VIEW_READY:
			return true;
		case DERIVE_VIEW_FAILED:
			return view->repair || view->tried_after_crash || view->row->retry; /* what it reads is
																				 * followed */
		case DERIVE_VIEW_PAUSED:
			return false;
	}
	return false;
}


/* ----------------------------------------------------------------
 *		The registry
 * ----------------------------------------------------------------
 */

/*
 * As long as the SQL objects are of another version, hooks do not see what sessions do.
 * When they are not, it is as after a life without the library (basis.c).
 */
static void
require_version(void)
{
	char	   *version = derive_extension_version();

	if (version != NULL && strcmp(version, DERIVE_EXTENSION_VERSION) != 0)
	{
		derive_worker.unwatched = true;
		derive_worker.basis_checked = false;
		derive_worker.reload = true;
	}
	derive_require_version();
}

/* The launcher does not know of other groups; whoever has views is to have a worker. */
static void
want_workers(List *groups)
{
	ListCell   *lc;

	foreach(lc, groups)
	{
		int			group = lfirst_int(lc);
		DeriveGroup *place = group == derive_worker.group ? derive_worker.place : derive_group_mine(group);
		bool		wanted = false;

		if (place != NULL)
		{
			LWLockAcquire(derive_shared()->lock, LW_SHARED);
			wanted = place->wanted;
			LWLockRelease(derive_shared()->lock);
		}
		if (!wanted)
			(void) derive_group_want(MyDatabaseId, group);
	}
}

/* The views that are ours, of DeriveViewRow *; and what is to be known of the others. */
static List *
rows_of_group(void)
{
	List	   *result = NIL;
	List	   *groups = NIL;
	List	   *incoming = NIL;
	List	   *wanted = NIL;
	ListCell   *lc;
	MemoryContext oldcontext;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		groups = list_append_unique_int(groups, row->group);
		if (row->group == derive_worker.group)
			result = lappend(result, row);
		else if (row->move_to == derive_worker.group)
			incoming = list_append_unique_int(incoming, row->group);
		if (row->move_to >= 0)
			wanted = list_append_unique_int(wanted, row->move_to);
	}
	oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	list_free(derive_worker.incoming);
	derive_worker.incoming = list_copy(incoming);
	MemoryContextSwitchTo(oldcontext);
	foreach(lc, derive_moves_all(NULL))
	{
		if (derive_worker_is_leftover(((DeriveMove *) lfirst(lc))->view))
			derive_move_end(((DeriveMove *) lfirst(lc))->view);
	}
	want_workers(list_delete_int(list_union_int(groups, wanted), derive_worker.group));
	return result;
}

/*
 * Read the registry and bring everything that we keep in line with it.
 */
void
derive_worker_load_registry(void)
{
	MemoryContext config_cxt;
	List	   *rows;

	derive_worker.reload = false;
	derive_worker.reload_tries = derive_worker.reload_at != 0 ? derive_worker.reload_tries + 1 : 0;
	derive_worker.reload_at = 0;
	derive_worker.any_dirty = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	require_version();
	if (!OidIsValid(derive_extension_oid(true)))
	{
		CommitTransactionCommand();
		derive_stats_forget_database(MyDatabaseId);
		derive_worker.leave = true;
		return;
	}
	derive_worker.registry_oid = derive_registry_table_oid("views", false);

	derive_background_limit_lock_waits(LOAD_LOCK_MS);
	PushActiveSnapshot(GetTransactionSnapshot());
	config_cxt = AllocSetContextCreate(derive_worker.batch_cxt, "pg_derive registry",
									   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(config_cxt);
	derive_worker_begin_pin();
	rows = rows_of_group();
	load_views(rows);
	derive_worker_follow_sources();
	fail_stubborn_view();
	mark_outdated_views();
	derive_worker_plan_retries();
	derive_worker_load_waiting();
	derive_worker_check_waiting();
	derive_worker_load_lane();
	count_still();
	order_views();
	derive_worker_load_journals();
	derive_worker_sort_out_views();

	PopActiveSnapshot();
	CommitTransactionCommand();

	if (derive_worker.config_cxt)
		MemoryContextDelete(derive_worker.config_cxt);
	derive_worker.config_cxt = config_cxt;
	MemoryContextSetParent(config_cxt, derive_worker.cxt);
	MemoryContextSwitchTo(derive_worker.batch_cxt);

	/* a view that stood still may be gone by a commit that a crash would undo */
	derive_worker.confirm_after = Max(derive_worker.confirm_after, derive_wait_target(InvalidXLogRecPtr));
	derive_worker_end_pin();
	derive_worker.unfinished = true;
	if (derive_worker.views == NIL && derive_worker.incoming == NIL)
		derive_worker.leave = true;
	else if (derive_worker.place->epoch == 0)
	{
		forget_dropped_views();
		derive_worker_announce();

		/* The launcher may probe the next database. */
		LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
		derive_worker.place->epoch = 1;
		LWLockRelease(derive_shared()->lock);
		derive_launcher_wake();
	}
}

/* Of those that were dropped while the server ran without us, there are still counters. */
static void
forget_dropped_views(void)
{
	ListCell   *lc;

	StartTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
	foreach(lc, derive_stats_views())
	{
		if (derive_registry_get(lfirst_oid(lc)) == NULL)
			derive_stats_forget(lfirst_oid(lc));
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(derive_worker.batch_cxt);
}

/* For sessions: is there any view whose readers lack what it lacks? */
static void
count_still(void)
{
	uint32		still = 0;
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->row->state == DERIVE_VIEW_PAUSED || view->row->state == DERIVE_VIEW_FAILED ||
			(view->lane != NULL && view->lane->error != NULL))
			still++;
	}
	pg_atomic_write_u32(&derive_worker.place->still, still);
}

/* The last worker had to end because a function of this view did not stop. */
static void
fail_stubborn_view(void)
{
	WorkerView *view = derive_worker_find_view(derive_worker.place->stubborn_view);
	ErrorData	error = {.sqlerrcode = ERRCODE_QUERY_CANCELED};

	if (!OidIsValid(derive_worker.place->stubborn_view))
		return;
	if (view != NULL && view->row->state == DERIVE_VIEW_READY &&
		!derive_worker_fail_view(view, "a function that it calls did not stop when it was cancelled",
								 &error, false))
		return;					/* try again with the next look */
	derive_worker.place->stubborn_view = InvalidOid;
}

/* Views that cannot go on from what they contain, though nobody wrote that down. */
static void
mark_outdated_views(void)
{
	ListCell   *lc;

	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->program == NULL || view->row->state != DERIVE_VIEW_READY)
			continue;
		if ((uint64) view->row->members != view->digest)
			view->row->rebuild = true;	/* partitions came or went, or columns
										 * took other names */
		if (!derive_is_populated(view->relid))
			view->row->rebuild = true;	/* emptied without our library */
	}
}

/* A view is gone.  Its builder must not fill it for somebody who maintains it again, nor wait for ever for our answer. */
static void
forget(WorkerView *view)
{
	derive_worker.views = list_delete_ptr(derive_worker.views, view);
	derive_worker_deselect(view);
	enter_relation(view->relid)->view = NULL;
	remove_relations(view, list_make1_oid(view->relid));
	if (view->builder != NULL)
	{
		TerminateBackgroundWorker(view->builder);
		pfree(view->builder);
		view->builder = NULL;
	}
	derive_worker_drop_journal(view);
	derive_worker_forget_view_state(view);
	derive_worker_forget_lane(view);
	unload_program(view);		/* may raise an error of the derivation */
	pfree(view);
}

static void
forget_unseen(void)
{
	ListCell   *lc;

	foreach(lc, list_copy(derive_worker.views))
	{
		if (!((WorkerView *) lfirst(lc))->seen)
			forget(lfirst(lc));
	}
}

/*
 * Match the rows with what we have: new views, gone views, changed states.  Before anything
 * that may raise an error, since after one that did the rows of the last time are gone.
 */
static void
take_rows(List *rows)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	derive_worker.any_replacement = false;
	foreach(lc, derive_worker.views)
		((WorkerView *) lfirst(lc))->seen = false;
	foreach(lc, rows)
	{
		DeriveViewRow *row = lfirst(lc);
		WorkerView *view = derive_worker_find_view(row->relid);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(row->relid)))
		{
			derive_forget_view(row->relid);
			continue;
		}
		if (view == NULL)
		{
			MemoryContext oldcontext = MemoryContextSwitchTo(derive_worker.cxt);

			view = palloc0(sizeof(WorkerView));
			view->relid = row->relid;
			enter_relation(view->relid)->view = view;
			enter_relations(view, list_make1_oid(view->relid));
			view->retry_changed = true; /* as nobody has watched */
			derive_worker.views = lappend(derive_worker.views, view);
			MemoryContextSwitchTo(oldcontext);
		}
		view->seen = true;
		view->row = row;
		/* only if that was committed */
		view->tried_after_crash &= derive_has_failed_by_crash(row) && row->retry_at > now;
		view->replaces = row->replaces;
		derive_worker.any_replacement |= OidIsValid(row->replaces);
	}
	forget_unseen();
}

/* Let go of locks. */
static void
begin_again(void)
{
	MemoryContext context = CurrentMemoryContext;

	PopActiveSnapshot();
	CommitTransactionCommand();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	derive_background_limit_lock_waits(LOAD_LOCK_MS);
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
}

/* A view without a program may have failed for want of a right. */
static void
look_at_roles(void)
{
	uint64		changes = derive_worker.role_changes;
	ListCell   *lc;

	if (changes == derive_worker.role_changes_seen)
		return;
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->program == NULL)
			view->retry_changed = true;
		else if (derive_roles_digest(view->program->roles) != view->roles_digest)
			view->dirty = true;
	}
	derive_worker.role_changes_seen = changes;	/* not if there was an error */
}

static void
load_views(List *rows)
{
	int			nlocks = 0;
	ListCell   *lc;

	take_rows(rows);
	look_at_roles();
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		/*
		 * a function that was redefined (dependents.c) may mean another
		 * program, and one that did not fit may do so now
		 */
		view->retry_changed |= view->dirty;
		if (needs_program(view) && (view->program == NULL || view->dirty || view->row->rebuild ||
									view->program->outdated != NULL || view->program->unfilled))
		{
			if (nlocks > LOCKS_AT_ONCE)
			{
				begin_again();
				nlocks = 0;
			}
			load_program(view);
			nlocks += list_length(view->reads) + list_length(view->writes);
		}
		if (view->program != NULL && !needs_program(view))
			unload_program(view);
	}
	forget_unseen();			/* dropped meanwhile */
}


/* ----------------------------------------------------------------
 *		Order, and what the stream is to follow
 * ----------------------------------------------------------------
 */

/*
 * A view that reads other maintained views cannot be left to a builder, since
 * only the worker knows at which position they stand: it is filled inside a
 * batch, once they are.
 */
static bool
can_fill_here(WorkerView *view)
{
	ListCell   *lc;

	if (view->row->state != DERIVE_VIEW_BUILDING || view->program == NULL ||
		view->program->outdated != NULL || view->program->view_sources == NIL)
		return false;
	foreach(lc, view->program->view_sources)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));
		ErrorData	error = {.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE};

		if (source == NULL)
			continue;
		if ((source->row->state == DERIVE_VIEW_FAILED || source->row->state == DERIVE_VIEW_PAUSED) &&
			!derive_is_populated(source->relid))
		{
			derive_worker_fail_view(view, psprintf("it reads view \"%s\", which %s", get_rel_name(source->relid),
												   source->row->state == DERIVE_VIEW_FAILED ? "could not be built" :
												   "is paused and has never been filled"),
									&error, true);
			return false;
		}
		if (source->row->state == DERIVE_VIEW_BUILDING ||
			source->row->state == DERIVE_VIEW_CATCHUP)
			return false;
	}
	return !view->slow;			/* that is up to the lane */
}

/* Does the stream follow all base tables of the view, and has it done so long enough? */
bool
derive_worker_sources_complete(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program->sources)
	{
		DeriveSource *source = lfirst(lc);

		if (!list_member_oid(view->program->view_sources, source->relid) &&
			!derive_stream_complete(derive_worker.stream, source))
			return false;
	}
	return true;
}

/* Have all views that it reads got their place? */
static bool
is_next(WorkerView *view)
{
	ListCell   *lc;

	foreach(lc, view->program != NULL ? view->program->view_sources : NIL)
	{
		WorkerView *source = derive_worker_find_view(lfirst_oid(lc));

		if (source != NULL && source->rank < 0)
			return false;
	}
	return true;
}

/* Each comes after those that it reads. */
static void
sort_views(void)
{
	List	   *todo = derive_worker.views;
	List	   *ordered = NIL;
	List	   *old = derive_worker.views;
	bool		progress = true;
	MemoryContext oldcontext;
	ListCell   *lc;

	foreach(lc, todo)
		((WorkerView *) lfirst(lc))->rank = -1;
	while (todo != NIL && progress)
	{
		List	   *rest = NIL;

		progress = false;
		foreach(lc, todo)
		{
			WorkerView *view = lfirst(lc);

			if (!is_next(view))
			{
				rest = lappend(rest, view);
				continue;
			}
			view->rank = list_length(ordered);
			ordered = lappend(ordered, view);
			progress = true;
		}
		todo = rest;
	}
	Assert(todo == NIL);
	oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	derive_worker.views = list_concat_copy(ordered, todo);
	MemoryContextSwitchTo(oldcontext);
	list_free(old);
}

/*
 * Sort the views so that each comes after those that it reads, and tell the
 * stream which sources to follow.
 */
static void
order_views(void)
{
	List	   *sources = NIL;
	List	   *backlog = NIL;
	List	   *missing = NIL;
	List	   *not_needed = NIL;
	bool		all_known = true;
	ListCell   *lc;
	ListCell   *lc2;
	MemoryContext oldcontext;

	sort_views();
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		if (view->program != NULL)
			view->program->exported = false;
	}
	foreach(lc, derive_worker.views)
	{
		WorkerView *view = lfirst(lc);

		view->backlog = view->fill = false;
		if (view->program == NULL)
		{
			all_known = false;
			continue;
		}

		view->slow = derive_worker_is_slow(view);
		view->fill = can_fill_here(view);
		view->backlog = derive_worker_wants_backlog(view);
		if (view->row->state == DERIVE_VIEW_READY && !view->slow && !derive_is_populated(view->relid))
			view->fill = true;
		derive_worker_store_basis(view);

		foreach(lc2, view->program->view_sources)
		{
			WorkerView *source = derive_worker_find_view(lfirst_oid(lc2));

			if (source != NULL && source->program != NULL)
				source->program->exported = true;
		}
		foreach(lc2, view->program->sources)
		{
			DeriveSource *source = lfirst(lc2);

			if (list_member_oid(view->program->view_sources, source->relid))
				continue;
			sources = lappend(sources, source);
			if (view->backlog || derive_worker_stands_still(view))
				backlog = lappend(backlog, source);
			if (view->row->state == DERIVE_VIEW_READY || view->program->view_sources != NIL)
				missing = list_concat_unique_oid(missing, derive_source_without_identity(source));
		}
	}

	if (derive_worker.stream != NULL)
		derive_stream_set_sources(derive_worker.stream, sources, backlog);

	/* what a view reads that stands still is not known */
	if (all_known)
		not_needed = derive_identity_not_needed(derive_worker_view_oids(), sources);
	not_needed = list_concat_unique_oid(not_needed, derive_identity_refused());
	missing = derive_identity_possible(missing);

	oldcontext = MemoryContextSwitchTo(derive_worker.cxt);
	list_free(derive_worker.without_identity);
	list_free(derive_worker.identity_not_needed);
	derive_worker.without_identity = list_copy(missing);
	derive_worker.identity_not_needed = list_copy(not_needed);
	MemoryContextSwitchTo(oldcontext);
}
