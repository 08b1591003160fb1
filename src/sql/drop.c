/*-------------------------------------------------------------------------
 *
 * drop.c
 *	  derive.drop_view(): DROP MATERIALIZED VIEW for maintained views only.
 *
 * The command is run as the caller's own, so that dependencies, event triggers and
 * messages are the server's; what was kept for the view goes with it by our hooks
 * (server/hooks.c), as it does whoever drops it.  Before that the view is looked up
 * and locked, by its owner only, so that nothing else has its name when the command
 * runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/registry.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "sql/arguments.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(derive_drop_view_sql);

/* What else there is under the name, and what removes it. */
static const struct
{
	char		relkind;
	const char *kind;
	const char *command;
}			others[] =

{
	{RELKIND_MATVIEW, "an ordinary materialized view", "DROP MATERIALIZED VIEW"},
	{RELKIND_VIEW, "a plain view", "DROP VIEW"},
	{RELKIND_RELATION, "a table", "DROP TABLE"},
	{RELKIND_PARTITIONED_TABLE, "a table", "DROP TABLE"},
	{RELKIND_FOREIGN_TABLE, "a foreign table", "DROP FOREIGN TABLE"},
};

/* ERROR unless the relation is a maintained view. */
static void
check_is_maintained(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	int			i = 0;

	if (relkind == RELKIND_MATVIEW && derive_registry_get(relid) != NULL)
		return;
	derive_require_version();
	while (i < lengthof(others) && others[i].relkind != relkind)
		i++;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a maintained view", get_rel_name(relid)),
			 i == lengthof(others) ? 0 : errdetail("It is %s.", others[i].kind),
			 i == lengthof(others) ? 0 : errhint("Use %s to remove it.", others[i].command)));
}

/* DROP MATERIALIZED VIEW; names: of one, or maybe of none if missing_ok. */
static void
drop_matview(List *names, DropBehavior behavior, bool missing_ok)
{
	DropStmt   *stmt = makeNode(DropStmt);
	PlannedStmt *planned = makeNode(PlannedStmt);

	stmt->objects = list_make1(names);
	stmt->removeType = OBJECT_MATVIEW;
	stmt->behavior = behavior;
	stmt->missing_ok = missing_ok;
	planned->commandType = CMD_UTILITY;
	planned->canSetTag = true;
	planned->utilityStmt = (Node *) stmt;
	planned->stmt_location = -1;
	ProcessUtility(planned, "DROP MATERIALIZED VIEW", false, PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

/* derive.drop_view(name, if_exists, cascade) */
Datum
derive_drop_view_sql(PG_FUNCTION_ARGS)
{
	List	   *names;
	bool		if_exists;
	Oid			view;

	derive_require_arguments(fcinfo, 3);
	PreventCommandIfReadOnly("derive.drop_view()");
	PreventCommandDuringRecovery("derive.drop_view()");
	names = textToQualifiedNameList(PG_GETARG_TEXT_PP(0));
	if_exists = PG_GETARG_BOOL(1);
	view = RangeVarGetRelidExtended(makeRangeVarFromNameList(names), AccessExclusiveLock,
									if_exists ? RVR_MISSING_OK : 0, RangeVarCallbackOwnsRelation, NULL);
	if (OidIsValid(view))
	{
		check_is_maintained(view);
		names = list_make2(makeString(get_namespace_name(get_rel_namespace(view))),
						   makeString(get_rel_name(view)));
	}
	/* of one that is not there the command says so */
	drop_matview(names, PG_GETARG_BOOL(2) ? DROP_CASCADE : DROP_RESTRICT, !OidIsValid(view));
	PG_RETURN_VOID();
}
