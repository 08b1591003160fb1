/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  What the current user may do with a view, and becoming another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/rights.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static AclResult
check_schema(Oid schema)
{
	return derive_compat_schema_aclcheck(schema, GetUserId(), ACL_USAGE);
}

bool
derive_may_read(Oid view)
{
	Oid			schema = get_rel_namespace(view);

	return OidIsValid(schema) && check_schema(schema) == ACLCHECK_OK &&
		pg_class_aclcheck(view, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

void
derive_check_may(Oid view, AclMode mode)
{
	AclResult	aclresult = pg_class_aclcheck(view, GetUserId(), mode);
	Oid			schema;

	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, get_relkind_objtype(get_rel_relkind(view)), get_rel_name(view));
	schema = get_rel_namespace(view);
	aclresult = check_schema(schema);
	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_SCHEMA, get_namespace_name(schema));
}

bool
derive_may_watch(Oid view)
{
	return derive_may_read(view) ||
		(get_rel_relkind(view) != '\0' && derive_owns_relation(view, GetUserId()));
}

bool
derive_may_see_errors(Oid view)
{
	return derive_owns_relation(view, GetUserId()) ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

bool
derive_may_create_groups(void)
{
	return derive_owns_database(MyDatabaseId, GetUserId());
}

Oid
derive_owner_of(Oid view)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", view)));
	result = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return result;
}

void
derive_role_enter(Oid role, DeriveRole *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(role, saved->sec_context | SECURITY_RESTRICTED_OPERATION);
	saved->guc_level = NewGUCNestLevel();
	derive_compat_restrict_search_path();
}

void
derive_role_leave(DeriveRole *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}
