/*-------------------------------------------------------------------------
 *
 * hidden.c
 *	  Values of row types in columns that nobody sees.
 *
 * A column of a row type stands in the way of ALTER TABLE: PostgreSQL does not
 * rewrite values that are stored elsewhere, and refuses what would need it.  For a
 * column of a person's view that is as it should be.  But in
 *
 *	SELECT count(*) FROM (SELECT DISTINCT t FROM t) q
 *
 * the rows are kept in a state table and in a derived table only, which nobody knows
 * of, and an ordinary materialized view would let the table be altered.
 *
 * So internal tables have such values as bytea: a value of a row type, or of a domain,
 * array or range over one, is a varlena that says itself what it is, and its bytes are
 * stored as they are.  They are only ever interpreted under the row type that they
 * were made under: when that gets, loses or changes a column, the view is computed
 * anew (derive_program_row_types_digest()), whereby the images are compared by their
 * bytes and thrown away.
 *
 * State tables are read and written here and there in agg*.c, by way of
 * derive_hidden_value().  Derived tables are read and written by queries, so that there
 * the two directions are functions, put around what an operator returns and around the
 * columns of the query that reads it; NULL stays NULL.  Rows of a derived table are
 * found again by their image, which must therefore be the same for the same value:
 * all fields are expanded.
 *
 * The function that makes a value of bytes believes them.  It has an argument of type
 * internal and is strict, so that SQL cannot call it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/registry.h"
#include "base/rowhash.h"
#include "compile/hidden.h"
#include "compile/query.h"

PG_FUNCTION_INFO_V1(derive_row_image_sql);
PG_FUNCTION_INFO_V1(derive_row_of_image_sql);

bool
derive_is_row_type(Oid type)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	if (get_typtype(type) == TYPTYPE_PSEUDO)
		return false;
	TupleDescInitEntry(desc, 1, "value", type, -1, 0);
	return derive_row_types_of(desc) != NIL;
}

void
derive_hidden_column(TupleDesc desc, AttrNumber attno, const char *name, Oid type, int32 typmod, Oid collation)
{
	bool		image = derive_is_row_type(type);

	TupleDescInitEntry(desc, attno, name, image ? BYTEAOID : type, image ? -1 : typmod, 0);
	TupleDescInitEntryCollation(desc, attno, image ? InvalidOid : collation);
}

Datum
derive_hidden_value(Datum image)
{
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(image));
}

static Oid
state_function(const char *name, int nargs, const Oid *argtypes)
{
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name),
										   PointerGetDatum(buildoidvector(argtypes, nargs)),
										   ObjectIdGetDatum(derive_state_schema_oid(false)));

	if (!OidIsValid(function))
		elog(ERROR, "function derive_state.%s is missing", name);
	return function;
}

Expr *
derive_hide(Expr *value)
{
	static const Oid argtypes[] = {ANYOID};

	Assert(derive_is_row_type(exprType((Node *) value)));
	return (Expr *) makeFuncExpr(state_function("row_image", 1, argtypes), BYTEAOID, list_make1(value),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

Expr *
derive_show(Expr *image, Oid type)
{
	static const Oid argtypes[] = {BYTEAOID, INTERNALOID};
	Const	   *key = makeConst(INTERNALOID, -1, InvalidOid, sizeof(Datum), (Datum) 1, false, true);

	return (Expr *) makeFuncExpr(state_function("row_of_image", 2, argtypes), type, list_make2(image, key),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

bool
derive_hide_targets(List *targets)
{
	bool		hidden = false;
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!derive_is_row_type(exprType((Node *) tle->expr)))
			continue;
		tle->expr = derive_hide(tle->expr);
		hidden = true;
	}
	return hidden;
}

/* derive_state.row_image("any") returns bytea */
Datum
derive_row_image_sql(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);

	if (!OidIsValid(type) || get_typlen(type) != -1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument of \"row_image\" must be of a row type")));
	PG_RETURN_DATUM(derive_datum_image(type, PG_GETARG_DATUM(0)));
}

/* derive_state.row_of_image(bytea, internal) returns record */
Datum
derive_row_of_image_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(derive_hidden_value(PG_GETARG_DATUM(0)));
}
