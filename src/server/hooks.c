/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  What people do with ordinary SQL to maintained views and their databases.
 *
 *	REFRESH MATERIALIZED VIEW	would replace the rows behind the worker's back;
 *								the worker recomputes the view instead
 *	CREATE MATERIALIZED VIEW	may be to be maintained: see new_views.c
 *	SECURITY LABEL				says that a view is to be: see labelled_views.c
 *	DROP MATERIALIZED VIEW		registry rows and internal tables go with it
 *	DROP FUNCTION				a derivation goes with its handler
 *	CREATE OR REPLACE VIEW, FUNCTION; ALTER of a generated column, of a
 *								column's type, of a table's persistence, of
 *								enums, of casts to json, of objects of text
 *								search	that a maintained view relies on: see
 *								dependents.c
 *	CREATE, ALTER PUBLICATION and others	may not go with the replica identity
 *								that a table has for views: see replica_identity.c
 *	DROP DATABASE and others	need a database without sessions: its worker,
 *								builders, verifier and slow lane are sent away meanwhile
 *	COMMIT, COMMIT PREPARED		wake the workers
 *
 * Dropping.  The object access hook sees a view while it is dropped, in the
 * middle of a deletion whose list of objects is already complete; deleting more
 * objects there could delete something twice.  So the hook only takes notes,
 * and the internal tables are dropped when the utility command is done.
 *
 * Waking.  The moment is after the transaction has become visible, has sent
 * its invalidation messages and has released its locks, so that the worker
 * which wakes up finds all of it done: that is the last phase of the release of
 * the transaction's resources, not the commit callback, which comes earlier.
 *
 * Everything else that people do to a view (ALTER, CREATE INDEX, VACUUM FULL,
 * GRANT, ...) needs no help: it is an ordinary materialized view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/elapsed.h"
#include "base/groups.h"
#include "base/label.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_ts_parser.h"
#include "catalog/pg_ts_template.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "derive/handlers.h"
#include "materialize/internal_tables.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "notify/journal.h"
#include "notify/wait.h"
#include "parser/parse_type.h"
#include "pgstat.h"
#include "server/background.h"
#include "server/build_progress.h"
#include "server/dependents.h"
#include "server/hooks.h"
#include "server/labelled_views.h"
#include "server/new_views.h"
#include "server/replica_identity.h"
#include "server/request.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A worker that has not left by then is told by signal; one that is to read the log first. */
#define POLITE_MS 500
#define FINISH_MS 60000

/* A place that is about to become free is waited for; look so often. */
#define PLACE_MS 10000
#define PLACE_LOOK_MS 20

static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* Maintained views dropped by the utility command that is running; in TopTransactionContext. */
static List *dropped_views = NIL;

/* What derive_definition_changed() is to be called for: pairs of class and object. */
static List *defined_objects = NIL;

/* The utility command that is running changes types of columns. */
static bool changing_type = false;

/* The utility command dropped a handler of a derivation. */
static bool dropped_handler = false;

/* What is to be done when the transaction's resources are released. */
static List *reserved = NIL;	/* places of groups, kept until the end: of
								 * DeriveGroup *, or NULL where none was to be
								 * had; in TopMemoryContext */
static List *wanted_groups = NIL;	/* their numbers; likewise */
static Oid	want_copy = InvalidOid; /* a database that was made */
static bool committed_changes = false;

static void process_utility(PlannedStmt *pstmt, const char *query_string,
							bool read_only_tree, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *query_env,
							DestReceiver *dest, QueryCompletion *qc);
static void object_access(ObjectAccessType access, Oid class_id, Oid object_id,
						  int sub_id, void *arg);
static void at_transaction_end(XactEvent event, void *arg);
static void at_resource_release(ResourceReleasePhase phase, bool is_commit,
								bool is_top_level, void *arg);
static Oid	enum_with_other_values(Node *stmt);
static bool changes_column_type(Node *stmt);
static bool may_publish(Node *stmt);
static bool changes_publication(Node *stmt);
static void tell_of_definitions(void);
static bool refresh_maintained(RefreshMatViewStmt *stmt, Oid *to_fill, Oid *labelled);
static Oid	database_to_empty(Node *stmt);
static bool may_copy(Oid dboid);
static void send_away(Oid dboid, bool finish);
static void release_hold(int code, Datum arg);
static void wake_workers(void);
static void want_workers_of_views(void);


void
derive_hooks_install(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterResourceReleaseCallback(at_resource_release, NULL);
	derive_build_progress_install();
}


/* ----------------------------------------------------------------
 *		Utility commands
 * ----------------------------------------------------------------
 */

/* The views outlive us, as what they are in PostgreSQL; those of derivations need CASCADE. */
static void
warn_of_views(void)
{
	int			n = list_length(derive_registry_all());

	if (n > 0)
		ereport(NOTICE,
				(errmsg_plural("%d materialized view is no longer maintained", "%d materialized views are no longer maintained", n, n),
				 errdetail("They keep the rows that they have, until REFRESH MATERIALIZED VIEW.")));
}

/* DROP EXTENSION that drops us, by somebody who may? */
static bool
drops_extension(Node *stmt)
{
	ListCell   *lc;

	if (!IsA(stmt, DropStmt) || ((DropStmt *) stmt)->removeType != OBJECT_EXTENSION ||
		!OidIsValid(derive_extension_oid(true)))
		return false;
	foreach(lc, ((DropStmt *) stmt)->objects)
	{
		if (get_extension_oid(strVal(lfirst(lc)), true) == derive_extension_oid(true))
			return derive_owns_relation(derive_registry_table_oid("views", false), GetUserId());
	}
	return false;
}

/* Whoever comes after us in the chain. */
static void
process_further(PlannedStmt *pstmt, const char *query_string,
				bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *query_env,
				DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, query_string, read_only_tree, context,
							 params, query_env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, qc);
}

/* The arguments of that, for derive_labelled_view_refresh(). */
typedef struct Command
{
	PlannedStmt *pstmt;
	const char *query_string;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *query_env;
	DestReceiver *dest;
	QueryCompletion *qc;
} Command;

static void
process_command(void *arg)
{
	Command    *command = arg;

	process_further(command->pstmt, command->query_string, command->read_only_tree, command->context,
					command->params, command->query_env, command->dest, command->qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string,
				bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *query_env,
				DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	Oid			emptied = InvalidOid;	/* the database that is to have no
										 * sessions */

	/* The statement may be freed by the time it has been executed. */
	bool		is_drop_database = IsA(stmt, DropdbStmt);
	bool		is_new_version = IsA(stmt, AlterExtensionStmt) &&
	strcmp(((AlterExtensionStmt *) stmt)->extname, DERIVE_EXTENSION_NAME) == 0;
	bool		is_commit_prepared = IsA(stmt, TransactionStmt) &&
	((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED;
	char	   *copy_name = IsA(stmt, CreatedbStmt) ?
	pstrdup(((CreatedbStmt *) stmt)->dbname) : NULL;
	Oid			altered_enum = enum_with_other_values(stmt);
	bool		renames_value = OidIsValid(altered_enum) && ((AlterEnumStmt *) stmt)->oldVal != NULL;
	bool		publishes = may_publish(stmt);
	bool		is_publication = changes_publication(stmt);
	bool		outer_changing_type = changing_type;
	Oid			to_fill = InvalidOid;
	Oid			labelled = InvalidOid;
	DeriveNewViews new_views;

	derive_usercode_check_command(stmt);
	if (drops_extension(stmt))
	{
		warn_of_views();
		derive_identity_restore_here();
	}
	if (IsA(stmt, RefreshMatViewStmt) && refresh_maintained((RefreshMatViewStmt *) stmt, &to_fill, &labelled))
	{
		if (qc)
			SetQueryCompletion(qc, CMDTAG_REFRESH_MATERIALIZED_VIEW, 0);
		return;
	}

	if (IsA(stmt, DropdbStmt) || IsA(stmt, CreatedbStmt) ||
		IsA(stmt, AlterDatabaseStmt) || IsA(stmt, RenameStmt))
	{
		emptied = database_to_empty(stmt);
	}

	/*
	 * After the move, what was written before can no longer be decoded: the
	 * log names files by their tablespace.
	 */
	if (OidIsValid(emptied) && derive_shared() != NULL && derive_groups_hold(emptied, IsA(stmt, AlterDatabaseStmt)))
	{
		bool		finish = IsA(stmt, AlterDatabaseStmt);

		PG_ENSURE_ERROR_CLEANUP(release_hold, ObjectIdGetDatum(emptied));
		{
			send_away(emptied, finish);
			process_further(pstmt, query_string, read_only_tree, context,
							params, query_env, dest, qc);
			if (is_drop_database)
			{
				derive_groups_unwanted(emptied);
				derive_stats_forget_database(emptied);
			}
			if (copy_name != NULL)
			{
				/*
				 * The copy has the views, too; others see it after the
				 * commit.
				 */
				CommandCounterIncrement();
				want_copy = get_database_oid(copy_name, true);
			}
		}
		PG_END_ENSURE_ERROR_CLEANUP(release_hold, ObjectIdGetDatum(emptied));
		release_hold(0, ObjectIdGetDatum(emptied));
		return;
	}

	derive_new_views_begin(&new_views, stmt);
	PG_TRY();
	{
		if (OidIsValid(to_fill))
			derive_new_views_note(to_fill);
		changing_type = changes_column_type(stmt);
		if (OidIsValid(labelled))
		{
			Command		command = {pstmt, query_string, read_only_tree, context, params, query_env, dest, qc};

			if (!derive_labelled_view_refresh(labelled, process_command, &command) && qc)
				SetQueryCompletion(qc, CMDTAG_REFRESH_MATERIALIZED_VIEW, 0);
		}
		else
			process_further(pstmt, query_string, read_only_tree, context,
							params, query_env, dest, qc);
		changing_type = outer_changing_type;
		if (is_new_version)
			derive_registry_version_changed();
		if (IsA(stmt, SecLabelStmt))
			derive_labelled_view_end((SecLabelStmt *) stmt);
		if (renames_value)
			derive_definition_changed(TypeRelationId, altered_enum);
		else if (OidIsValid(altered_enum))
			derive_enum_value_added(altered_enum);
		tell_of_definitions();
		if (publishes)
			derive_identity_yield(is_publication);
		if (dropped_views != NIL)
		{
			List	   *views = dropped_views;
			ListCell   *lc;

			dropped_views = NIL;
			CommandCounterIncrement();
			foreach(lc, views)
				derive_forget_view(lfirst_oid(lc));
		}
		if (dropped_handler)
		{
			dropped_handler = false;
			CommandCounterIncrement();
			derive_handlers_dropped();
		}
		derive_new_views_end(&new_views);
		derive_new_views_declare(&new_views);
	}
	PG_CATCH();
	{
		derive_new_views_end(&new_views);
		dropped_views = NIL;
		defined_objects = NIL;
		dropped_handler = false;
		changing_type = outer_changing_type;
		PG_RE_THROW();
	}
	PG_END_TRY();

	/* Its own transaction has no xid: what became visible is another one. */
	if (is_commit_prepared)
	{
		wake_workers();
		if (!derive_is_worker && OidIsValid(derive_extension_oid(true)) && derive_shared() != NULL)
			want_workers_of_views();
	}
}

static bool
changes_publication(Node *stmt)
{
	return IsA(stmt, CreatePublicationStmt) || IsA(stmt, AlterPublicationStmt);
}

/* May it have tables published, or with other columns, than before?  Also by another schema, or as partitions. */
static bool
may_publish(Node *stmt)
{
	return changes_publication(stmt) || IsA(stmt, AlterTableStmt) || IsA(stmt, AlterObjectSchemaStmt);
}

/* What the command has redefined. */
static void
tell_of_definitions(void)
{
	List	   *objects = defined_objects;
	List	   *types = NIL;
	ListCell   *lc;

	if (objects == NIL)
		return;
	defined_objects = NIL;
	CommandCounterIncrement();
	for (int i = 0; i < list_length(objects); i += 2)
	{
		Oid			class_id = list_nth_oid(objects, i);
		Oid			object_id = list_nth_oid(objects, i + 1);

		/* an operator class has many members, of the same type mostly */
		types = list_concat_unique_oid(types, derive_types_served_by(class_id, object_id));
		if (class_id == TypeRelationId)
			types = list_append_unique_oid(types, object_id);
		else
			derive_definition_changed(class_id, object_id);
	}
	foreach(lc, types)
	{
		if (SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(lfirst_oid(lc))))
			derive_definition_changed(TypeRelationId, lfirst_oid(lc));
	}
}

/* The type, if this is ALTER TYPE ... RENAME VALUE or ADD VALUE; the server reports one that does not exist. */
static Oid
enum_with_other_values(Node *stmt)
{
	Type		type;
	Oid			result;

	if (!IsA(stmt, AlterEnumStmt))
		return InvalidOid;
	type = LookupTypeName(NULL, makeTypeNameFromNameList(((AlterEnumStmt *) stmt)->typeName), NULL, true);
	if (type == NULL)
		return InvalidOid;
	result = typeTypeId(type);
	ReleaseSysCache(type);
	return result;
}

/* Is this ALTER TABLE ... ALTER COLUMN ... TYPE, maybe among others? */
static bool
changes_column_type(Node *stmt)
{
	ListCell   *lc;

	if (!IsA(stmt, AlterTableStmt))
		return false;
	foreach(lc, ((AlterTableStmt *) stmt)->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AlterColumnType)
		return true;
	return false;
}

/* Was the view put under maintenance by this transaction, so that nobody else knows? */
static bool
declared_here(DeriveViewRow *row)
{
	return row->state == DERIVE_VIEW_BUILDING && derive_registry_changed_here(row->relid) &&
		row->created_at >= GetCurrentTransactionStartTimestamp();
}

/*
 * A view that nobody maintains yet, since it was declared without data or by this very
 * transaction, is filled now, with what this transaction has written, as ever.  Its
 * maintenance begins at the commit.
 */
static bool
begins_now(DeriveViewRow *row)
{
	if (row->state == DERIVE_VIEW_PAUSED && !derive_is_populated(row->relid))
	{
		LockRelationOid(row->relid, AccessExclusiveLock);
		row = derive_registry_get(row->relid);
		if (row == NULL)
			return false;
		if (row->state != DERIVE_VIEW_PAUSED || derive_is_populated(row->relid))
			return declared_here(row);
		derive_restart_view(row);
		return true;
	}
	return declared_here(row);
}

/*
 * REFRESH MATERIALIZED VIEW of a maintained view.  False: not ours, or what the
 * server itself does or reports best; to_fill: an ordinary view that gets data for the
 * first time; labelled: one whose label says that it is to be maintained.
 */
static bool
refresh_maintained(RefreshMatViewStmt *stmt, Oid *to_fill, Oid *labelled)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	DeriveViewRow *row;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_MATVIEW ||
		!derive_may_refresh(relid, GetUserId()))
		return false;
	/* by who refreshes all that there are */
	if (get_rel_namespace(relid) == derive_state_schema_oid(true))
	{
		ereport(NOTICE,
				(errmsg("\"%s\" belongs to pg_derive and is not refreshed", get_rel_name(relid))));
		return true;
	}
	row = derive_registry_get(relid);
	if (row == NULL)
	{
		if (!stmt->skipData && derive_labelled_view_waits(relid))
			*labelled = relid;
		else if (!stmt->skipData && !derive_is_populated(relid))
			*to_fill = relid;
		return false;
	}

	PreventCommandIfReadOnly("REFRESH MATERIALIZED VIEW");
	PreventCommandDuringRecovery("REFRESH MATERIALIZED VIEW");
	if (stmt->skipData)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot empty the maintained view \"%s\"", get_rel_name(relid)),
				 errhint("Call derive.release() for the view first.")));
	if (begins_now(row))
		return false;
	derive_repair_view(relid);
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && !derive_registry_changed_here(relid))
		ereport(NOTICE,
				(errmsg("view \"%s\" does not have the changes of this transaction yet", get_rel_name(relid)),
				 errdetail("It follows when the transaction has committed.")));
	return true;
}


/* ----------------------------------------------------------------
 *		Commands on whole databases
 * ----------------------------------------------------------------
 */

/*
 * The database in which the command tolerates no sessions, if the user may do
 * that to it at all.
 */
static Oid
database_to_empty(Node *stmt)
{
	const char *name = NULL;
	Oid			dboid;
	ListCell   *lc;

	if (IsA(stmt, DropdbStmt))
		name = ((DropdbStmt *) stmt)->dbname;
	else if (IsA(stmt, RenameStmt))
	{
		if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
			name = ((RenameStmt *) stmt)->subname;
	}
	else if (IsA(stmt, AlterDatabaseStmt))
	{
		foreach(lc, ((AlterDatabaseStmt *) stmt)->options)
		{
			if (strcmp(lfirst_node(DefElem, lc)->defname, "tablespace") == 0)
				name = ((AlterDatabaseStmt *) stmt)->dbname;
		}
	}
	else if (IsA(stmt, CreatedbStmt))
	{
		name = "template1";
		foreach(lc, ((CreatedbStmt *) stmt)->options)
		{
			DefElem    *option = lfirst_node(DefElem, lc);

			if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
				name = defGetString(option);
		}
	}
	if (name == NULL)
		return InvalidOid;

	dboid = get_database_oid(name, true);
	if (!OidIsValid(dboid) || dboid == MyDatabaseId ||
		!(IsA(stmt, CreatedbStmt) ? may_copy(dboid) : derive_owns_database(dboid, GetUserId())))
		return InvalidOid;
	return dboid;
}

/* May the user make a copy of the database?  As CREATE DATABASE decides. */
static bool
may_copy(Oid dboid)
{
	HeapTuple	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result = false;

	if (HeapTupleIsValid(role) && HeapTupleIsValid(tuple))
		result = superuser() ||
			(((Form_pg_authid) GETSTRUCT(role))->rolcreatedb &&
			 (((Form_pg_database) GETSTRUCT(tuple))->datistemplate ||
			  derive_owns_database(dboid, GetUserId())));
	if (HeapTupleIsValid(role))
		ReleaseSysCache(role);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* Is any process of ours left there?  Optionally signal them. */
static bool
is_inhabited(DeriveGroup *place, bool signal_them)
{
	DeriveShared *shared = derive_shared();
	Oid			dboid = DERIVE_GROUP_DATABASE(pg_atomic_read_u64(&place->id));
	bool		result = false;
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	if (place->worker_pid != 0)
	{
		result = true;
		if (signal_them)
			kill(place->worker_pid, SIGTERM);
	}
	for (i = 0; i < DERIVE_ASSISTANTS; i++)
	{
		if (place->assistants[i].pid == 0)
			continue;
		result = true;
		kill(place->assistants[i].pid, SIGTERM);
	}
	for (i = 0; i < DERIVE_MAX_BUILD_SLOTS; i++)
	{
		DeriveBuild *build = &shared->builds[i];

		if (!OidIsValid(build->view) || DERIVE_GROUP_DATABASE(build->group) != dboid || build->pid == 0)
			continue;
		result = true;
		kill(build->pid, SIGTERM);
	}
	LWLockRelease(shared->lock);
	return result;
}

/* Those of one group, and all builders.  The wait began then. */
static void
send_group_away(DeriveGroup *place, bool finish, int64 start)
{
	bool		impatient = false;

	ConditionVariablePrepareToSleep(&place->point.cv);
	while (is_inhabited(place, impatient))
	{
		CHECK_FOR_INTERRUPTS();
		if (!impatient &&
			derive_has_elapsed(start, finish ? FINISH_MS : POLITE_MS))
		{
			impatient = true;
			if (finish)
				ereport(WARNING,
						(errmsg("the worker process of pg_derive could not read the log of the database to its end within %d s",
								FINISH_MS / 1000),
						 errdetail("If the log cannot be read afterwards then the views are computed anew, and events of topics are lost.")));
		}
		(void) ConditionVariableTimedSleep(&place->point.cv, 100, derive_wait_event(DERIVE_WAIT_WORKER_EXIT));
	}
	ConditionVariableCancelSleep();
}

/*
 * Wait until our processes have left the database; the caller holds them away.
 * If they are to finish, after they have read what was committed there.
 */
static void
send_away(Oid dboid, bool finish)
{
	DeriveShared *shared = derive_shared();
	int64		start = derive_monotonic_ms();

	/* at once, so that they leave together */
	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < shared->ngroups; i++)
		{
			DeriveGroup *place = &shared->groups[i];

			if (DERIVE_GROUP_DATABASE(pg_atomic_read_u64(&place->id)) != dboid)
				continue;
			if (pass == 0)
				derive_group_wake(place);
			else
				send_group_away(place, finish, start);
		}
	}
}

static void
release_hold(int code, Datum arg)
{
	derive_groups_release_hold(DatumGetObjectId(arg));
}


/* ----------------------------------------------------------------
 *		Dropping
 * ----------------------------------------------------------------
 */

/*
 * Do the rows of the relation count as others, now that it has got new files?
 * That is so if it became unlogged or logged, or if a column has another
 * type.  The new row of pg_class is not visible yet, but to SnapshotSelf.
 */
static bool
has_other_rows(Oid relid)
{
	HeapTuple	old = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Relation	classes;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	new;
	bool		result = false;

	if (!HeapTupleIsValid(old))
		return false;
	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(classes, ClassOidIndexId, true, SnapshotSelf, 1, &key);
	new = systable_getnext(scan);
	if (HeapTupleIsValid(new))
	{
		Form_pg_class before = (Form_pg_class) GETSTRUCT(old);
		Form_pg_class after = (Form_pg_class) GETSTRUCT(new);

		result = before->relkind == RELKIND_RELATION &&
			(before->relpersistence != after->relpersistence ||
			 (changing_type && before->relfilenode != after->relfilenode));
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	ReleaseSysCache(old);
	return result;
}

/* As what derive_definition_changed() shall hear of the object; InvalidOid: not at all. */
static Oid
class_of_redefined(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id)
{
	char		generated;

	switch (class_id)
	{
		case ProcedureRelationId:
		case RewriteRelationId:
		case CastRelationId:
		case AccessMethodProcedureRelationId:
		case AccessMethodOperatorRelationId:
			return access != OAT_DROP ? class_id : InvalidOid;
		case TSConfigRelationId:
		case TSDictionaryRelationId:
		case TSParserRelationId:
		case TSTemplateRelationId:
			return class_id;
		case NamespaceRelationId:
			return access == OAT_POST_ALTER ? class_id : InvalidOid;
		case RelationRelationId:
			if (access != OAT_POST_ALTER)
				return InvalidOid;
			if (sub_id == 0)
				return has_other_rows(object_id) ? RelationRelationId : InvalidOid;
			generated = get_attgenerated(object_id, sub_id);
			if (generated == 'v')
				return AttrDefaultRelationId;	/* no row changes */
			if (generated != '\0')
				return RelationRelationId;
			return changing_type ? AttributeRelationId : InvalidOid;
		default:
			return InvalidOid;
	}
}

static void
note_redefined(Oid class_id, Oid object_id)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopTransactionContext);

	defined_objects = lappend_oid(defined_objects, class_id);
	defined_objects = lappend_oid(defined_objects, object_id);
	MemoryContextSwitchTo(oldcontext);
}

/* The tables of the extension may be gone already. */
static bool
is_ours(Oid extension)
{
	const char *name = get_extension_name(extension);

	return name != NULL && strcmp(name, DERIVE_EXTENSION_NAME) == 0;
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);

	if (access == OAT_FUNCTION_EXECUTE)
		derive_usercode_check_function(object_id);

	if (access == OAT_POST_CREATE || access == OAT_POST_ALTER || access == OAT_DROP)
	{
		Oid			redefined = class_of_redefined(access, class_id, object_id, sub_id);

		if (OidIsValid(redefined))
			note_redefined(redefined, object_id);
	}

	/* When the command is done, nobody knows any more which types it served. */
	if (access == OAT_DROP)
	{
		ListCell   *lc;

		foreach(lc, derive_types_served_by(class_id, object_id))
			note_redefined(TypeRelationId, lfirst_oid(lc));
	}

	if (access == OAT_POST_CREATE && class_id == RelationRelationId && sub_id == 0)
		derive_new_views_note(object_id);

	/* Everything of ours goes with the extension. */
	if (access == OAT_DROP && class_id == ExtensionRelationId && is_ours(object_id))
		derive_view_labels_remove();

	if (access == OAT_DROP && class_id == ProcedureRelationId && derive_is_handler(object_id))
		dropped_handler = true;

	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0 &&
		get_rel_relkind(object_id) == RELKIND_MATVIEW &&
		derive_registry_get(object_id) != NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(TopTransactionContext);

		dropped_views = lappend_oid(dropped_views, object_id);
		MemoryContextSwitchTo(oldcontext);
	}
}

void
derive_forget_view(Oid view)
{
	derive_stats_forget(view);
	if (!OidIsValid(derive_extension_oid(true)))
		return;					/* it took everything else with it */

	derive_journal_forget(view);
	derive_internal_drop(view);
}


/* ----------------------------------------------------------------
 *		Waking
 * ----------------------------------------------------------------
 */

/* If the group can have none. */
static void
warn_of_no_place(int group)
{
	switch (derive_group_place(MyDatabaseId, group))
	{
		case DERIVE_PLACE_IS_THERE:
			break;
		case DERIVE_PLACES_TAKEN:
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("the views of this database wait until fewer databases have maintained views"),
					 errhint("Increase \"pg_derive.max_databases\" and restart the server.")));
			break;
		case DERIVE_TOO_MANY_GROUPS:
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("the views of a group of this database wait until fewer of its groups have views"),
					 errhint("Increase \"pg_derive.max_groups\".")));
			break;
	}
}

static void
want_worker(int group)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);

	wanted_groups = list_append_unique_int(wanted_groups, group);
	MemoryContextSwitchTo(oldcontext);
}

void
derive_want_worker_at_commit(int group)
{
	want_worker(group);
	if (derive_shared() != NULL)
		warn_of_no_place(group);
}

/* Views of any group may have been declared by a transaction that was prepared. */
static void
want_workers_of_views(void)
{
	List	   *groups = NIL;
	ListCell   *lc;

	foreach(lc, derive_registry_all())
		groups = list_append_unique_int(groups, ((DeriveViewRow *) lfirst(lc))->group);
	foreach(lc, groups)
	{
		if (derive_group_want(MyDatabaseId, lfirst_int(lc)) == NULL)
			warn_of_no_place(lfirst_int(lc));
	}
}

/*
 * Of two databases that want the last place at the same time one gets it, here, and
 * has it at its commit.  After a rollback the place is free again.
 */
void
derive_reserve_worker(int group)
{
	DeriveGroup *place;
	MemoryContext oldcontext;
	int64		start = derive_monotonic_ms();
	bool		undecided;
	ListCell   *lc;

	if (derive_shared() == NULL)
		return;
	want_worker(group);
	foreach(lc, reserved)
	{
		if (lfirst(lc) != NULL && DERIVE_GROUP_NUMBER(pg_atomic_read_u64(&((DeriveGroup *) lfirst(lc))->id)) == group)
			return;
	}
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	reserved = lappend(reserved, NULL); /* nothing may fail once we have it */
	MemoryContextSwitchTo(oldcontext);
	while ((place = derive_group_reserve(MyDatabaseId, group, &undecided)) == NULL)
	{
		if (!undecided || derive_has_elapsed(start, PLACE_MS))
			derive_refuse_group(group);
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PLACE_LOOK_MS,
						 derive_wait_event(DERIVE_WAIT_PLACE));
		ResetLatch(MyLatch);
	}
	llast(reserved) = place;
}

static void
end_reservations(void)
{
	ListCell   *lc;

	foreach(lc, reserved)
	{
		if (lfirst(lc) != NULL)
			derive_group_release(lfirst(lc));
	}
	list_free(reserved);
	reserved = NIL;
	list_free(wanted_groups);
	wanted_groups = NIL;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* by code that is no utility command */
			tell_of_definitions();
			break;
		case XACT_EVENT_COMMIT:
			committed_changes = !derive_is_worker &&
				TransactionIdIsValid(GetTopTransactionIdIfAny());
			dropped_views = NIL;
			defined_objects = NIL;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			committed_changes = false;
			end_reservations();
			want_copy = InvalidOid;
			dropped_views = NIL;
			defined_objects = NIL;
			break;
		default:
			break;
	}
}

static void
at_resource_release(ResourceReleasePhase phase, bool is_commit,
					bool is_top_level, void *arg)
{
	ListCell   *lc;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !is_commit)
		return;
	foreach(lc, committed_changes ? wanted_groups : NIL)
		(void) derive_group_want(MyDatabaseId, lfirst_int(lc));
	end_reservations();
	if (!committed_changes)
		return;
	committed_changes = false;
	wake_workers();
	if (OidIsValid(want_copy))
	{
		(void) derive_group_want(want_copy, DERIVE_DEFAULT_GROUP);
		want_copy = InvalidOid;
	}
}

/* Something has become visible in this database. */
static void
wake_workers(void)
{
	DeriveGroup *place;
	int			i = 0;

	while ((place = derive_group_next_mine(&i)) != NULL)
	{
		pg_atomic_fetch_add_u64(&place->commits, 1);
		if (pg_atomic_read_u32(&place->sleeping) == 1)
			derive_group_wake(place);
	}
}
