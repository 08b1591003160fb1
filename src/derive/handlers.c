/*-------------------------------------------------------------------------
 *
 * handlers.c
 *	  The registry of derivations: derive.derivations.
 *
 * A derivation is a handler function and its name, which is the function's
 * security label of provider "pg_derive":
 *
 *		SECURITY LABEL FOR pg_derive ON FUNCTION word_count_handler(internal) IS 'word_count'
 *
 * which is what derive.register('word_count', 'word_count_handler') does.  A label
 * lives and dies with its function, and is dumped with it; those of an extension's
 * functions are left out of dumps, since its script registers them again.  A table
 * of ours would have to be an ordinary one to be dumped, and then a publication FOR
 * ALL TABLES would publish it.
 *
 * The derivation "select", which compiles a SELECT, is one of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_seclabel.h"
#include "catalog/pg_type.h"
#include "commands/seclabel.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/label.h"
#include "base/registry.h"
#include "derive/definition.h"
#include "derive/handlers.h"

PG_FUNCTION_INFO_V1(derive_register_sql);
PG_FUNCTION_INFO_V1(derive_unregister_sql);
PG_FUNCTION_INFO_V1(derive_handler_in);
PG_FUNCTION_INFO_V1(derive_handler_out);

/*
 * The handler of this derivation, or InvalidOid.  Views have labels, too, but those of the
 * extension's functions are older and stand before them.
 */
static Oid
find_derivation(const char *name)
{
	Relation	labels = table_open(SecLabelRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(labels, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		FormData_pg_seclabel *form = (FormData_pg_seclabel *) GETSTRUCT(tuple);
		bool		isnull;

		if (form->classoid == ProcedureRelationId && form->objsubid == 0 &&
			strcmp(TextDatumGetCString(heap_getattr(tuple, Anum_pg_seclabel_provider,
													RelationGetDescr(labels), &isnull)), DERIVE_LABEL_PROVIDER) == 0 &&
			strcmp(TextDatumGetCString(heap_getattr(tuple, Anum_pg_seclabel_label,
													RelationGetDescr(labels), &isnull)), name) == 0)
			result = form->objoid;
	}
	systable_endscan(scan);
	table_close(labels, AccessShareLock);
	return result;
}

/* Call it, and check what it returns. */
static const DeriveRoutine *
call_handler(Oid handler, const char *name)
{
	const DeriveRoutine *routine = (const DeriveRoutine *) DatumGetPointer(OidFunctionCall1(handler, PointerGetDatum(NULL)));

	if (routine == NULL || routine->api_version != DERIVE_API_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("derivation \"%s\" was compiled for another version of pg_derive", name),
				 errdetail("Its version of the interface is %u, that of this server is %u.",
						   routine ? routine->api_version : 0, DERIVE_API_VERSION)));
	if (routine->declare == NULL || routine->apply == NULL)
		elog(ERROR, "derivation \"%s\" lacks the callbacks declare or apply", name);
	return routine;
}

const DeriveRoutine *
derive_find_routine(const char *name)
{
	Oid			handler = find_derivation(name);

	if (!OidIsValid(handler))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("derivation \"%s\" does not exist", name),
				 errhint("See derive.derivations for those that do.")));
	return call_handler(handler, name);
}

static Oid
handler_type(void)
{
	Oid			schema = get_namespace_oid("derive", true);

	return OidIsValid(schema) ?
		GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("derivation_handler"), ObjectIdGetDatum(schema)) :
		InvalidOid;
}

bool
derive_is_handler(Oid function)
{
	Oid			type = handler_type();

	return OidIsValid(type) && get_func_rettype(function) == type;
}

/* ERROR if a maintained view is by this derivation; NULL: by one that does not exist. */
static void
check_unused(const char *name)
{
	ListCell   *lc;

	if (!OidIsValid(derive_extension_oid(true)))
		return;
	foreach(lc, derive_registry_all())
	{
		Oid			view = ((DeriveViewRow *) lfirst(lc))->relid;
		const char *used;

		LockRelationOid(view, AccessShareLock);
		if (get_rel_name(view) == NULL)
			continue;
		used = derive_definition_of_view(view)->derivation;
		if (name != NULL ? strcmp(used, name) == 0 : !OidIsValid(find_derivation(used)))
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot unregister derivation \"%s\" because view \"%s\" uses it",
							used, get_rel_name(view)),
					 errhint("Drop or release the view first.")));
	}
}

void
derive_handlers_dropped(void)
{
	check_unused(NULL);
}

/* ERROR if somebody who may not does this to a derivation, whose name may be unknown. */
static void
check_superuser(const char *verb, const char *name)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s derivation \"%s\"", verb, name),
				 errhint("Must be superuser to %s a derivation.", verb)));
}

/* The present name of a handler, or NULL. */
static char *
name_of_handler(Oid handler)
{
	ObjectAddress object;

	ObjectAddressSet(object, ProcedureRelationId, handler);
	return GetSecurityLabel(&object, DERIVE_LABEL_PROVIDER);
}

/* May this function get this name?  Nobody else gives names until the transaction ends. */
static void
check_registration(Oid handler, const char *name)
{
	Oid		   *argtypes;
	int			nargs;
	Oid			other;

	check_superuser("register", name);
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("the name of a derivation must not be empty")));
	if (get_func_name(handler) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", handler)));
	if (get_func_signature(handler, &argtypes, &nargs) != handler_type())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function %s must return type %s", get_func_name(handler), "derive.derivation_handler")));
	if (nargs != 1 || argtypes[0] != INTERNALOID)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function %s must take one argument of type %s", get_func_name(handler), "internal")));
	(void) call_handler(handler, name);

	LockRelationOid(SecLabelRelationId, ShareRowExclusiveLock);
	other = find_derivation(name);
	if (OidIsValid(other) && other != handler)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("derivation \"%s\" already exists", name)));
}

static void
check_unregistration(const char *name)
{
	check_superuser("unregister", name);
	if (strcmp(name, DERIVE_SELECT_NAME) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("derivation \"%s\" is required by pg_derive", name)));
	LockRelationOid(SecLabelRelationId, ShareRowExclusiveLock);
	check_unused(name);
}

/* As a dump has it. */
void
derive_handler_check_label(const ObjectAddress *object, const char *label)
{
	char	   *old = name_of_handler(object->objectId);

	if (old != NULL && label != NULL && strcmp(old, label) == 0)
		return;
	if (old != NULL)
		check_unregistration(old);
	if (label != NULL)
		check_registration(object->objectId, label);
}

/* derive.register(name text, handler regproc) */
Datum
derive_register_sql(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			handler = PG_GETARG_OID(1);
	ObjectAddress object;
	char	   *old;

	check_registration(handler, name);
	old = name_of_handler(handler);
	if (OidIsValid(find_derivation(name)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("derivation \"%s\" already exists", name)));
	if (old != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("function %s is the handler of derivation \"%s\" already", get_func_name(handler), old)));
	ObjectAddressSet(object, ProcedureRelationId, handler);
	SetSecurityLabel(&object, DERIVE_LABEL_PROVIDER, name);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/* derive.unregister(name text) */
Datum
derive_unregister_sql(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ObjectAddress object;

	check_unregistration(name);
	ObjectAddressSet(object, ProcedureRelationId, find_derivation(name));
	if (!OidIsValid(object.objectId))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("derivation \"%s\" does not exist", name)));
	SetSecurityLabel(&object, DERIVE_LABEL_PROVIDER, NULL);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/* Input and output of type derive.derivation_handler, which has no values that people can see. */
Datum
derive_handler_in(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot accept a value of type %s", "derive.derivation_handler")));
	PG_RETURN_VOID();
}

Datum
derive_handler_out(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot display a value of type %s", "derive.derivation_handler")));
	PG_RETURN_VOID();
}
