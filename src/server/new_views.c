/*-------------------------------------------------------------------------
 *
 * new_views.c
 *	  CREATE MATERIALIZED VIEW where pg_derive.maintain_new is on.
 *
 * Object-relational mappers, dbt, migrations and pg_restore know nothing of
 * derive.create_view().  With this setting what they create is maintained, whoever
 * issues the command and wherever: in a function, in DO, under EXPLAIN ANALYZE.
 *
 * A view becomes maintained when it first has data: as a part of the command that
 * created it, or of the first REFRESH of one that was created WITH NO DATA.
 * pg_restore does the latter.  At its CREATE no table has a key yet, and nobody the
 * right to read it; at its REFRESH all of that is there.
 *
 *		CREATE MATERIALIZED VIEW a ..					maintained
 *		CREATE MATERIALIZED VIEW IF NOT EXISTS a ..		nothing is created
 *		CREATE MATERIALIZED VIEW b .. WITH NO DATA		not yet
 *		REFRESH MATERIALIZED VIEW b						now
 *		REFRESH MATERIALIZED VIEW old					had data before: stays as it is
 *
 * It is as if the owner of the view had called derive.maintain(), right after the
 * command and in its transaction, so who may not call that function does not get
 * around it by the setting.  That happens in a subtransaction: what is refused stays
 * an ordinary view, with a NOTICE.  Errors that say nothing about the view (a
 * cancelled query, no memory left, a deadlock) end the command as any other.
 *
 * Which views a command has created the object access hook tells; the commands in
 * whose course that may be are kept apart by level, since the query of the view that one
 * creates may call a function that creates another one.  Views that scripts of
 * extensions create are those of the extension, and stay as they are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/usercode.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "server/dependents.h"
#include "server/new_views.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static DeriveNewViews *current = NULL;

void
derive_new_views_begin(DeriveNewViews *level, Node *stmt)
{
	level->outer = current;
	level->cxt = CurrentMemoryContext;
	level->relations = NIL;
	current = NULL;
	if (derive_maintain_new && !creating_extension && !derive_is_worker &&
		(IsA(stmt, CreateTableAsStmt) || IsA(stmt, RefreshMatViewStmt) || IsA(stmt, ExplainStmt)))
		current = level;
}

void
derive_new_views_note(Oid relid)
{
	MemoryContext oldcontext;

	if (current == NULL)
		return;
	oldcontext = MemoryContextSwitchTo(current->cxt);
	current->relations = list_append_unique_oid(current->relations, relid);
	MemoryContextSwitchTo(oldcontext);
}

void
derive_new_views_end(DeriveNewViews *level)
{
	current = level->outer;
}

/* derive.maintain(regclass) */
static Oid
maintain_function(void)
{
	Oid			argtype = REGCLASSOID;
	Oid			schema = get_namespace_oid("derive", false);
	Oid			result = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("maintain"),
										 PointerGetDatum(buildoidvector(&argtype, 1)), ObjectIdGetDatum(schema));
	AclResult	aclresult = derive_compat_schema_aclcheck(schema, GetUserId(), ACL_USAGE);

	if (!OidIsValid(result))
		elog(ERROR, "function derive.maintain(regclass) does not exist");
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_SCHEMA, "derive");
	aclresult = derive_compat_function_aclcheck(result, GetUserId(), ACL_EXECUTE);
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_FUNCTION, "derive.maintain");
	return result;
}

/*
 * As its owner, whose functions may be called when the query is compiled, and restricted
 * like the REFRESH that somebody else may have issued.  An ERROR ends that with the
 * subtransaction.
 */
void
derive_maintain_for_owner(void *arg)
{
	Oid			view = *(Oid *) arg;
	int			nest_level = NewGUCNestLevel();
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(derive_owner_of(view), sec_context | SECURITY_RESTRICTED_OPERATION);
	(void) OidFunctionCall1(maintain_function(), ObjectIdGetDatum(view));
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(userid, sec_context);
}

bool
derive_is_refusal(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
		return true;			/* no place for this database */
	return !derive_error_is_transient(sqlerrcode) &&
		ERRCODE_TO_CATEGORY(sqlerrcode) != ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR);
}

static void
declare(Oid view)
{
	ErrorData  *edata = derive_guarded(derive_maintain_for_owner, &view);

	if (edata == NULL)
		return;
	if (!derive_is_refusal(edata->sqlerrcode))
		ReThrowError(edata);
	ereport(NOTICE,
			(errcode(edata->sqlerrcode),
			 errmsg("materialized view \"%s\" is not maintained: %s", get_rel_name(view), edata->message),
			 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
			 edata->hint ? errhint("%s", edata->hint) : 0));
	FreeErrorData(edata);
}

void
derive_new_views_declare(DeriveNewViews *level)
{
	ListCell   *lc;

	if (level->relations == NIL)
		return;
	CommandCounterIncrement();
	if (!OidIsValid(derive_extension_oid(true)))
		return;
	foreach(lc, level->relations)
	{
		Oid			relid = lfirst_oid(lc);

		if (get_rel_relkind(relid) == RELKIND_MATVIEW && derive_is_populated(relid) &&
			get_rel_namespace(relid) != derive_state_schema_oid(true) && derive_registry_get(relid) == NULL)
			declare(relid);
	}
}
