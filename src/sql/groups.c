/*-------------------------------------------------------------------------
 *
 * groups.c
 *	  Groups of maintained views: derive.create_group(), drop_group(), move() and wait_moved().
 *
 * Rights.  A group takes a process and a replication slot of the server, of which there are
 * few, so that the owner of the database creates and drops it, as he sets what concerns
 * all of the database.  A group is then like the default group: open to everybody's views.
 * A view is moved by its owner, and so are all that move with it.
 *
 *	create_group, drop_group	owner of the database
 *	move						owner of the view, and of all that go with it
 *	wait_moved					who may read the view, and its owner
 *
 * How a view moves, and what moves with it, says server/moves.c; here is only written down what
 * is wanted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/groups.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "notify/wait.h"
#include "server/hooks.h"
#include "server/dependents.h"
#include "server/request.h"
#include "server/standing.h"
#include "sql/arguments.h"
#include "sql/maintain.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(derive_create_group_sql);
PG_FUNCTION_INFO_V1(derive_drop_group_sql);
PG_FUNCTION_INFO_V1(derive_move_sql);
PG_FUNCTION_INFO_V1(derive_wait_moved_sql);

static void
check_rights(void)
{
	if (!derive_may_create_groups())
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_DATABASE, get_database_name(MyDatabaseId));
}

/* derive.create_group(name) */
Datum
derive_create_group_sql(PG_FUNCTION_ARGS)
{
	derive_require_arguments(fcinfo, 1);
	PreventCommandIfReadOnly("derive.create_group()");
	(void) derive_extension_oid(false);
	check_rights();
	if (NameStr(*PG_GETARG_NAME(0))[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of a group must not be empty")));
	(void) derive_group_create(NameStr(*PG_GETARG_NAME(0)));
	PG_RETURN_VOID();
}

/* derive.drop_group(name, if_exists) */
Datum
derive_drop_group_sql(PG_FUNCTION_ARGS)
{
	const char *name;
	int			group;
	ListCell   *lc;

	derive_require_arguments(fcinfo, 2);
	PreventCommandIfReadOnly("derive.drop_group()");
	(void) derive_extension_oid(false);
	check_rights();
	name = NameStr(*PG_GETARG_NAME(0));
	derive_group_lock_to_drop();
	group = derive_group_number(name, PG_GETARG_BOOL(1));
	if (group < 0)
	{
		ereport(NOTICE,
				(errmsg("group \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	if (group == DERIVE_DEFAULT_GROUP)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot drop the default group")));
	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->group == group || row->move_to == group)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot drop group \"%s\" because it has views", name),
					 errdetail(row->group == group ? "View \"%s\" is in it." : "View \"%s\" is to move there.",
							   get_rel_name(row->relid)),
					 errhint("Move its views to another group with derive.move(), or drop them.")));
	}
	derive_registry_forget_position(group);
	derive_group_drop(group);
	PG_RETURN_VOID();
}

/* The view and all that go with it, of Oid: locked, and the caller's. */
static List *
lock_connected(Oid view)
{
	List	   *locked = NIL;
	List	   *views;
	ListCell   *lc;

	/*
	 * In one order, whichever of them is to be moved.  There may be others
	 * once we have the locks.
	 */
	while ((views = list_difference_oid(derive_connected_views(view), locked)) != NIL)
	{
		list_sort(views, list_oid_cmp);
		foreach(lc, views)
			(void) derive_lock_own_view(lfirst_oid(lc), ShareUpdateExclusiveLock);
		locked = list_concat(locked, views);
	}
	return locked;
}

/* Have the workers move the view and all that go with it; if they are there, give up a move to another group. */
static void
plan_move(Oid view, int group)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, lock_connected(view))
	{
		DeriveViewRow *row = derive_registry_get(lfirst_oid(lc));
		DeriveMove	move = {.view = row->relid,.declared_at = row->created_at,.to_group = group};

		if (row->group == group)
		{
			derive_move_end(row->relid);
			continue;
		}
		if (OidIsValid(row->replaces))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot move view \"%s\" while it is replaced", get_rel_name(row->replaces)),
					 errhint("Wait for that with derive.wait_replaced().")));
		derive_move_set(&move);
		derive_want_worker_at_commit(row->group);
		any = true;
	}
	if (any)
		derive_reserve_worker(group);
}

/* derive.move(view, to_group): the views that go with it, too. */
Datum
derive_move_sql(PG_FUNCTION_ARGS)
{
	Oid			view;
	int			group;

	derive_require_arguments(fcinfo, 2);
	view = PG_GETARG_OID(0);
	PreventCommandIfReadOnly("derive.move()");
	derive_require_service();
	group = derive_group_number(NameStr(*PG_GETARG_NAME(1)), false);
	derive_group_keep(group);
	plan_move(view, group);
	PG_RETURN_VOID();
}

typedef struct MoveToWaitFor
{
	Oid			view;
	int			group;			/* to which it was to move when we came; or -1 */
} MoveToWaitFor;

static bool
has_moved(void *arg, bool reached)
{
	MoveToWaitFor *wait = arg;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive move", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch); /* one may wait for long */
	bool		result;
	DeriveViewRow *found = NULL;
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->relid == wait->view)
			found = row;
	}
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the view is no longer maintained")));
	if (found->move_to >= 0)
		wait->group = found->move_to;
	else if (wait->group >= 0 && wait->group != found->group)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the move of view \"%s\" was given up", get_rel_name(wait->view)),
				 errdetail("It is in group \"%s\".", derive_group_name(found->group)),
				 errhint("If nobody has called derive.move() again, the server log says why.")));
	result = found->move_to < 0;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return result;
}

/*
 * A view is handed over when nobody is in the way, and nobody waits in a queue for that; so who waits
 * for it and is in the way himself would wait for ever.
 */
static void
refuse_being_in_the_way(Oid view)
{
	ListCell   *lc;

	foreach(lc, derive_connected_views(view))
	{
		derive_blocked_check_lock(lfirst_oid(lc), ShareUpdateExclusiveLock);
		if (derive_group_view_is_kept(lfirst_oid(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
					 errmsg("cannot wait for the move of view \"%s\" in a transaction that has declared a view over it", get_rel_name(view)),
					 errdetail("Until it ends, view \"%s\" stays where it is.", get_rel_name(lfirst_oid(lc))),
					 errhint("Commit first, then wait.")));
	}
	derive_blocked_check_lock(derive_registry_table_oid("groups", false), RowExclusiveLock);
}

/* derive.wait_moved(view, timeout) */
Datum
derive_wait_moved_sql(PG_FUNCTION_ARGS)
{
	Oid			view;
	bool		result;
	MoveToWaitFor wait;
	const char *reason;
	ListCell   *lc;

	derive_require_arguments(fcinfo, 1);
	view = PG_GETARG_OID(0);
	wait = (MoveToWaitFor)
	{
		.view = view,.group = -1
	};
	if (get_rel_relkind(view) != '\0' && !derive_may_watch(view))
		derive_check_may(view, ACL_SELECT);
	foreach(lc, derive_moves_all(NULL))
	{
		DeriveMove *move = lfirst(lc);

		if (move->view == view && move->planned_here)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot wait for the move of view \"%s\" in the transaction that planned it", get_rel_name(view)),
					 errhint("Commit first, then wait.")));
	}
	if (!has_moved(&wait, true))
		refuse_being_in_the_way(view);
	result = derive_wait_for_worker(view, PG_ARGISNULL(1) ? -1 : derive_timeout_ms(PG_GETARG_INTERVAL_P(1)),
									has_moved, &wait);
	if (!result)
	{
		reason = derive_waits_for(view);
		ereport(NOTICE,
				(errmsg("timed out while waiting for the move of view \"%s\"", get_rel_name(view)),
				 reason != NULL ? errdetail("It waits for: %s.", reason) : errdetail("See derive.views.")));
	}
	PG_RETURN_BOOL(result);
}
