/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  What the current user may do with a view, what rights of roles follow from, and
 *	  becoming another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "base/rights.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/catcache.h"
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
derive_on_role_change(SyscacheCallbackFunction callback)
{
	CacheRegisterSyscacheCallback(AUTHOID, callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, callback, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, callback, (Datum) 0);
}

static uint64
attributes_digest(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Form_pg_authid form;
	uint64		digest;

	if (!HeapTupleIsValid(tuple))
		return 0;
	form = (Form_pg_authid) GETSTRUCT(tuple);
	digest = hash_bytes_uint32_extended(role, 1 | form->rolsuper << 1 | form->rolbypassrls << 2 | form->rolinherit << 3);
	ReleaseSysCache(tuple);
	return digest;
}

uint64
derive_roles_digest(List *roles)
{
	List	   *all = list_copy(roles);
	HeapTuple	database = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	uint64		digest;

	/* who is a member of pg_database_owner */
	digest = HeapTupleIsValid(database) ? ((Form_pg_database) GETSTRUCT(database))->datdba : 0;
	if (HeapTupleIsValid(database))
		ReleaseSysCache(database);
	for (int i = 0; i < list_length(all); i++)
	{
		CatCList   *memberships = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(list_nth_oid(all, i)));

		digest += attributes_digest(list_nth_oid(all, i));
		for (int j = 0; j < memberships->n_members; j++)
		{
			HeapTuple	membership = &memberships->members[j]->tuple;
			Oid			group = ((Form_pg_auth_members) GETSTRUCT(membership))->roleid;

			/*
			 * its options are those of the row; the order of rows does not
			 * matter
			 */
			digest += hash_bytes_uint32_extended(group, HeapTupleHeaderGetRawXmin(membership->t_data));
			all = list_append_unique_oid(all, group);
		}
		ReleaseCatCacheList(memberships);
	}
	list_free(all);
	return digest;
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
