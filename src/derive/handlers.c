/*-------------------------------------------------------------------------
 *
 * handlers.c
 *	  The registry of derivations: derive.derivations.
 *
 * A derivation is a name and a handler function.  Handlers are kept by name
 * and schema, not by OID, so that the table can be dumped; those that the
 * script of an extension registers are left out of dumps, since the script
 * registers them again.
 *
 * The derivation "select", which compiles a SELECT, is one of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/registry.h"
#include "derive/definition.h"
#include "derive/handlers.h"

/* derive_state.derivations */
#define Anum_derivations_name			1
#define Anum_derivations_handler_schema 2
#define Anum_derivations_handler_name	3
#define Anum_derivations_from_extension 4
#define Natts_derivations				4

PG_FUNCTION_INFO_V1(derive_register_sql);
PG_FUNCTION_INFO_V1(derive_unregister_sql);
PG_FUNCTION_INFO_V1(derive_handler_in);
PG_FUNCTION_INFO_V1(derive_handler_out);

/* The table in this lock, and a copy of the row with this name, or NULL. */
static HeapTuple
find_derivation(const char *name, LOCKMODE lockmode, Relation *table)
{
	HeapTuple	tuple;
	HeapTuple	result = NULL;
	SysScanDesc scan;

	*table = table_open(derive_registry_table_oid("derivations", false), lockmode);
	scan = systable_beginscan(*table, InvalidOid, false, NULL, 0, NULL);
	while (result == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_derivations_name, RelationGetDescr(*table), &isnull);

		if (strcmp(TextDatumGetCString(value), name) == 0)
			result = heap_copytuple(tuple);
	}
	systable_endscan(scan);
	return result;
}

/* schema.name(internal), or InvalidOid. */
static Oid
find_handler(const char *schema, const char *name)
{
	Oid			argtype = INTERNALOID;
	Oid			namespace = get_namespace_oid(schema, true);

	if (!OidIsValid(namespace))
		return InvalidOid;
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(&argtype, 1)), ObjectIdGetDatum(namespace));
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
	Relation	table;
	HeapTuple	tuple = find_derivation(name, AccessShareLock, &table);
	Datum		values[Natts_derivations];
	bool		nulls[Natts_derivations];
	Oid			handler;

	if (tuple == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("derivation \"%s\" does not exist", name),
				 errhint("See derive.derivations for those that do.")));
	heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
	table_close(table, AccessShareLock);

	handler = find_handler(TextDatumGetCString(values[Anum_derivations_handler_schema - 1]),
						   TextDatumGetCString(values[Anum_derivations_handler_name - 1]));
	if (!OidIsValid(handler))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler of derivation \"%s\" does not exist", name),
				 errhint("Create the function, or register another one.")));
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

/* ERROR if a maintained view is by this derivation. */
static void
check_unused(const char *name)
{
	ListCell   *lc;

	foreach(lc, derive_registry_all())
	{
		Oid			view = ((DeriveViewRow *) lfirst(lc))->relid;

		LockRelationOid(view, AccessShareLock);
		if (get_rel_name(view) != NULL && strcmp(derive_definition_of_view(view)->derivation, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot unregister derivation \"%s\" because view \"%s\" uses it",
							name, get_rel_name(view)),
					 errhint("Drop or release the view first.")));
	}
}

void
derive_forget_dropped_handlers(void)
{
	Oid			relid = derive_registry_table_oid("derivations", true);
	Relation	table;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return;
	table = table_open(relid, ShareRowExclusiveLock);
	scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum		values[Natts_derivations];
		bool		nulls[Natts_derivations];

		heap_deform_tuple(tuple, RelationGetDescr(table), values, nulls);
		if (OidIsValid(find_handler(TextDatumGetCString(values[Anum_derivations_handler_schema - 1]),
									TextDatumGetCString(values[Anum_derivations_handler_name - 1]))))
			continue;
		check_unused(TextDatumGetCString(values[Anum_derivations_name - 1]));
		CatalogTupleDelete(table, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(table, NoLock);
	CommandCounterIncrement();
}

/* derive.register(name text, handler regproc) */
Datum
derive_register_sql(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			handler = PG_GETARG_OID(1);
	Datum		values[Natts_derivations];
	bool		nulls[Natts_derivations] = {false};
	Relation	table;
	Oid		   *argtypes;
	int			nargs;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to register derivation \"%s\"", name),
				 errhint("Must be superuser to register a derivation.")));
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

	if (find_derivation(name, ShareRowExclusiveLock, &table) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("derivation \"%s\" already exists", name)));
	values[Anum_derivations_name - 1] = CStringGetTextDatum(name);
	values[Anum_derivations_handler_schema - 1] = CStringGetTextDatum(get_namespace_name(get_func_namespace(handler)));
	values[Anum_derivations_handler_name - 1] = CStringGetTextDatum(get_func_name(handler));
	values[Anum_derivations_from_extension - 1] = BoolGetDatum(creating_extension);
	CatalogTupleInsert(table, heap_form_tuple(RelationGetDescr(table), values, nulls));
	table_close(table, NoLock);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/* derive.unregister(name text) */
Datum
derive_unregister_sql(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Relation	table;
	HeapTuple	tuple;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to unregister derivation \"%s\"", name),
				 errhint("Must be superuser to unregister a derivation.")));
	if (strcmp(name, DERIVE_SELECT_NAME) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("derivation \"%s\" is required by pg_derive", name)));

	tuple = find_derivation(name, ShareRowExclusiveLock, &table);
	if (tuple == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("derivation \"%s\" does not exist", name)));
	check_unused(name);
	CatalogTupleDelete(table, &tuple->t_self);
	table_close(table, NoLock);
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
