/*-------------------------------------------------------------------------
 *
 * replace.c
 *	  derive.replace_view(), and waiting for what it does.
 *
 * The new query becomes a view of its own beside the old one, orders_per_day_replacement
 * for orders_per_day, declared and built like every other one.  Its row in
 * derive_state.views says whose place it is to take, and the worker sees to that
 * (server/replace.c).  What can be refused is refused here: other columns, queries that
 * cannot be maintained, one that would read itself.
 *
 * It is an ordinary view until then, and dropped by an ordinary command if people think
 * otherwise; it goes with the old one, on which it depends automatically.  It is given
 * indexes as the old one has, while it is still empty, so that its builder builds them,
 * too, and finds what violates a unique one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/groups.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "deposit/exchange.h"
#include "derive/definition.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "server/dependents.h"
#include "server/replace.h"
#include "server/request.h"
#include "server/standing.h"
#include "sql/arguments.h"
#include "sql/declare.h"
#include "sql/maintain.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(derive_replace_view_sql);
PG_FUNCTION_INFO_V1(derive_wait_replaced_sql);
PG_FUNCTION_INFO_V1(derive_relation_to_replace_sql);


/* ----------------------------------------------------------------
 *		derive.replace_view()
 * ----------------------------------------------------------------
 */

static void
refuse_derivation(Oid view, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot replace the query of view \"%s\"", get_rel_name(view)),
			 errdetail_internal("%s", detail),
			 errhint("Create another view.")));
}

static void
check_view(const DeriveViewRow *row)
{
	DeriveDefinition *definition = derive_definition_of_view(row->relid);

	if (strcmp(definition->derivation, DERIVE_SELECT_NAME) != 0)
		refuse_derivation(row->relid, psprintf("It is made by derivation \"%s\", not by a SELECT.", definition->derivation));
	if (OidIsValid(row->replaces))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view \"%s\" is itself to take the place of view \"%s\"",
						get_rel_name(row->relid), get_rel_name(row->replaces)),
				 errhint("Call derive.replace_view() for the other one.")));
}

static void
check_query(Oid view, Query *query)
{
	Relation	rel = table_open(view, NoLock);

	if (derive_definition_is_call(query))
		refuse_derivation(view, "The new query calls derive.apply().");
	derive_check_columns(ExecCleanTypeFromTL(query->targetList), RelationGetDescr(rel));
	table_close(rel, NoLock);
}

/* As the view is stored; in its schema, with a name that is free. */
static IntoClause *
describe_replacement(Oid view)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	Form_pg_class form;
	IntoClause *into;
	Datum		options;
	bool		no_options;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", view);
	form = (Form_pg_class) GETSTRUCT(tuple);
	into = derive_new_matview(makeRangeVar(get_namespace_name(form->relnamespace),
										   ChooseRelationName(NameStr(form->relname), NULL, "replacement",
															  form->relnamespace, false), -1));
	into->accessMethod = get_am_name(form->relam);
	into->tableSpaceName = get_tablespace_name(OidIsValid(form->reltablespace) ? form->reltablespace : MyDatabaseTableSpace);
	options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &no_options);
	into->options = no_options ? NIL : untransformRelOptions(options);
	ReleaseSysCache(tuple);
	return into;
}

static char *
query_text(Oid view)
{
	return TextDatumGetCString(OidFunctionCall1(F_PG_GET_VIEWDEF_OID, ObjectIdGetDatum(view)));
}

/* One of them may have been made by this very command. */
static bool
have_same_query(Oid view, Oid other)
{
	bool		result;

	PushActiveSnapshot(GetTransactionSnapshot());
	result = strcmp(query_text(view), query_text(other)) == 0;
	PopActiveSnapshot();
	return result;
}

/* It goes with the view; its row says what for it is there. */
static void
attach(Oid replacement, Oid view)
{
	ObjectAddress object;
	ObjectAddress owner;
	DeriveViewRow *row = derive_registry_get(replacement);

	ObjectAddressSet(object, RelationRelationId, replacement);
	ObjectAddressSet(owner, RelationRelationId, view);
	recordDependencyOn(&object, &owner, DEPENDENCY_AUTO);
	row->replaces = view;
	derive_registry_update(row);
}

/*
 * A view that is replaced does not move (server/moves.c), maybe for ever, if the new query fails.  So
 * neither it nor anything that goes with it, what the new query reads included, may be about to.
 */
static void
refuse_if_moving(Oid view)
{
	List	   *connected = derive_connected_views(view);
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (row->move_to >= 0 && list_member_oid(connected, row->relid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot replace the query of view \"%s\" while it moves to another group", get_rel_name(view)),
					 errdetail("View \"%s\" is to move to group \"%s\".", get_rel_name(row->relid), derive_group_name(row->move_to)),
					 errhint("Wait for that with derive.wait_moved(), or give it up with derive.move() to group \"%s\".",
							 derive_group_name(row->group))));
	}
}

static void
replace_query(Oid view, const char *query)
{
	bool		cancelled = derive_cancel_replacement(view);
	Query	   *command = derive_analyse_matview(describe_replacement(view), query);
	Query	   *written = copyObject(derive_query_of_command(command));
	Oid			replacement;

	check_query(view, derive_query_of_command(command));
	replacement = derive_create_matview(command, get_rel_namespace(view), query);
	LockRelationOid(replacement, AccessExclusiveLock);
	if (have_same_query(view, replacement))
	{
		ObjectAddress object;

		ObjectAddressSet(object, RelationRelationId, replacement);
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
		ereport(NOTICE,
				(cancelled ? errmsg("the replacement of view \"%s\" is given up", get_rel_name(view)) :
				 errmsg("view \"%s\" has this query already", get_rel_name(view))));
		return;
	}
	if (derive_owner_of(replacement) != derive_owner_of(view))
	{
		/* by a superuser, or a member of the owner's role */
		ATExecChangeOwner(replacement, derive_owner_of(view), true, AccessExclusiveLock);
		CommandCounterIncrement();
	}
	derive_exchange_prepare(view, replacement);
	derive_declare_view(replacement, true, view, written, query);
	derive_check_replacement(replacement, view);
	attach(replacement, view);
	refuse_if_moving(view);
}

/* Two calls at once take turns.  The worker goes on with the view meanwhile. */
Datum
derive_replace_view_sql(PG_FUNCTION_ARGS)
{
	Oid			view;

	derive_require_arguments(fcinfo, 2);
	view = PG_GETARG_OID(0);
	PreventCommandIfReadOnly("derive.replace_view()");
	derive_require_service();
	check_view(derive_lock_own_view(view, ShareUpdateExclusiveLock));
	replace_query(view, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_OID(view);
}

/*
 * derive_state.relation_to_replace(name): what derive.create_or_replace_view() would find in
 * the place where it would create a view, or NULL.
 */
Datum
derive_relation_to_replace_sql(PG_FUNCTION_ARGS)
{
	RangeVar   *relation = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	Oid			found = get_relname_relid(relation->relname, RangeVarGetCreationNamespace(relation));

	if (!OidIsValid(found))
		PG_RETURN_NULL();
	PG_RETURN_OID(found);
}


/* ----------------------------------------------------------------
 *		derive.wait_replaced()
 * ----------------------------------------------------------------
 */

static bool
is_replaced(void *arg, bool reached)
{
	Oid			view = *(Oid *) arg;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_derive replacement", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch); /* one may wait for long */
	DeriveViewRow *row = derive_registry_replacement(view);
	bool		result = row == NULL;

	if (row == NULL && derive_registry_get(view) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the view is no longer maintained")));
	if (row != NULL && derive_registry_changed_here(row->relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for the replacement of view \"%s\" in the transaction that declared or changed it",
						get_rel_name(view)),
				 errhint("Commit first, then wait.")));
	if (row != NULL && (row->state == DERIVE_VIEW_FAILED || row->state == DERIVE_VIEW_PAUSED))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 row->state == DERIVE_VIEW_PAUSED ?
				 errmsg("the replacement of view \"%s\" is paused", get_rel_name(view)) :
				 errmsg("the replacement of view \"%s\" has failed", get_rel_name(view)),
				 row->error != NULL && derive_may_see_errors(row->relid) ?
				 errdetail("The error was: %s", row->error) : 0,
				 errhint("The view goes on with its old query. Call derive.resume() for view \"%s\", or derive.replace_view() once more.",
						 get_rel_name(row->relid))));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return result;
}

static void
report_timeout(Oid view)
{
	DeriveViewRow *row = derive_registry_replacement(view);
	const char *reason = row != NULL ? derive_waits_for(row->relid) : NULL;

	ereport(NOTICE,
			(errmsg("timed out while waiting for the replacement of view \"%s\"", get_rel_name(view)),
			 reason != NULL ? errdetail("It waits for: %s.", reason) :
			 errdetail("See derive.replacements and derive.progress.")));
}

Datum
derive_wait_replaced_sql(PG_FUNCTION_ARGS)
{
	Oid			view;
	bool		result;

	derive_require_arguments(fcinfo, 1);
	view = PG_GETARG_OID(0);
	if (get_rel_relkind(view) != '\0' && !derive_may_watch(view))
		derive_check_may(view, ACL_SELECT);
	result = derive_wait_for_worker(view, PG_ARGISNULL(1) ? -1 : derive_timeout_ms(PG_GETARG_INTERVAL_P(1)),
									is_replaced, &view);
	if (!result)
		report_timeout(view);
	PG_RETURN_BOOL(result);
}
