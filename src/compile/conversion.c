/*-------------------------------------------------------------------------
 *
 * conversion.c
 *	  Values to text and back: where that depends on more than the value.
 *
 * "x::text", "'a' || x", to_json(x), format('%s', x), '{1,2}'::text::int[] call
 * the output or input functions of types, whatever the types are.  Nearly all of
 * these depend on the value and on settings, which are recorded.  The others:
 *
 *	regclass and its kin, aclitem	are object identifiers whose text is a name.
 *				A rename changes it without a word in the log.  Names of text
 *				search configurations and dictionaries are followed, as input.
 *	timetz		as input, "12:00 Europe/Berlin" takes the offset of today
 *	users'		base types whose functions are not IMMUTABLE
 *
 * Types that are made of others convert these: arrays, domains, ranges, rows.
 * What an anonymous row (type record) consists of is seen where it is made, and
 * there it is refused, be it converted or not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/tupdesc.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "compile/check.h"
#include "compile/conversion.h"
#include "compile/stable.h"

static const char *const by_name =
"The text of such a value is the name of an object, which may change without any change of the tables.";

/* NULL: fine */
static const struct
{
	Oid			type;
	const char *output;
	const char *input;
}			unsafe_types[] =

{
	{ACLITEMOID, by_name, by_name},
	{REGCLASSOID, by_name, by_name},
	{REGCOLLATIONOID, by_name, by_name},
	{REGCONFIGOID, by_name, NULL},
	{REGDICTIONARYOID, by_name, NULL},
	{REGNAMESPACEOID, by_name, by_name},
	{REGOPERATOROID, by_name, by_name},
	{REGOPEROID, by_name, by_name},
	{REGPROCEDUREOID, by_name, by_name},
	{REGPROCOID, by_name, by_name},
	{REGROLEOID, by_name, by_name},
	{REGTYPEOID, by_name, by_name},
	{TIMETZOID, NULL, "Without a date, the offset of a time zone is that of today."},
};

static void check_type(Oid type, bool output);

static void
check_base_type(Oid type, bool output)
{
	for (int i = 0; i < lengthof(unsafe_types); i++)
	{
		const char *detail = output ? unsafe_types[i].output : unsafe_types[i].input;

		if (unsafe_types[i].type == type && detail != NULL)
			derive_refuse(psprintf(output ? "a view that converts type %s to text" : "a view that converts text to type %s",
								   format_type_be(type)),
						  detail, "Convert it when reading the view instead.");
	}
	if (type >= FirstNormalObjectId)
	{
		Oid			funcid;
		Oid			ioparam;
		bool		varlena;

		if (output)
			getTypeOutputInfo(type, &funcid, &varlena);
		else
			getTypeInputInfo(type, &funcid, &ioparam);
		derive_check_function(funcid);
	}
}

static void
check_row_type(Oid type, bool output)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			check_type(TupleDescAttr(desc, i)->atttypid, output);
	FreeTupleDesc(desc);
}

static void
check_type(Oid type, bool output)
{
	Oid			element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
	{
		check_type(element, output);
		return;
	}
	switch (get_typtype(type))
	{
		case TYPTYPE_BASE:
			check_base_type(type, output);
			break;
		case TYPTYPE_COMPOSITE:
			check_row_type(type, output);
			break;
		case TYPTYPE_RANGE:
			check_type(get_range_subtype(type), output);
			break;
		case TYPTYPE_MULTIRANGE:
			check_type(get_multirange_range(type), output);
			break;
		default:

			/*
			 * the values of an enum may get other names; server/dependents.c
			 * listens to that
			 */
			break;
	}
}

void
derive_check_output(Oid type)
{
	check_type(type, true);
}

void
derive_check_input(Oid type)
{
	check_type(type, false);
}

static void
check_types(List *types, bool output)
{
	ListCell   *lc;

	foreach(lc, types)
		check_type(lfirst_oid(lc), output);
}

static void
check_expressions(List *expressions)
{
	ListCell   *lc;

	foreach(lc, expressions)
		derive_check_output(exprType(lfirst(lc)));
}

/* Each expression that the node consists of, and no further. */
static bool
check_parts_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, List))
		return expression_tree_walker(node, check_parts_walker, context);
	derive_check_output(exprType(node));
	return false;
}

static bool
converts(Oid funcid)
{
	return func_volatile(funcid) == PROVOLATILE_STABLE && derive_stable_function(funcid) == DERIVE_STABLE_CONVERTS;
}

void
derive_check_conversion(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CoerceViaIO:
			derive_check_output(exprType((Node *) ((CoerceViaIO *) node)->arg));
			derive_check_input(((CoerceViaIO *) node)->resulttype);
			break;
		case T_FuncExpr:
			if (!converts(((FuncExpr *) node)->funcid))
				break;
			check_expressions(((FuncExpr *) node)->args);
			derive_check_input(exprType(node));
			break;
		case T_OpExpr:
			if (converts(get_opcode(((OpExpr *) node)->opno)))
				check_expressions(((OpExpr *) node)->args);
			break;
		case T_Aggref:
			if (converts(((Aggref *) node)->aggfnoid))
				check_types(((Aggref *) node)->aggargtypes, true);
			break;
		case T_RowExpr:
			if (((RowExpr *) node)->row_typeid == RECORDOID)
				check_expressions(((RowExpr *) node)->args);
			break;
		case T_XmlExpr:
			check_expressions(((XmlExpr *) node)->named_args);
			check_expressions(((XmlExpr *) node)->args);
			break;
		default:
			if (derive_compat_is_json_expression(node))
			{
				(void) expression_tree_walker(node, check_parts_walker, NULL);
				derive_check_input(exprType(node));
			}
			break;
	}
}

void
derive_check_converted_rows(RangeTblEntry *rte)
{
	ListCell   *lc;

	if (rte->rtekind == RTE_TABLEFUNC)
		check_types(rte->tablefunc->coltypes, false);
	if (rte->rtekind == RTE_FUNCTION)
	{
		foreach(lc, rte->functions)
		{
			RangeTblFunction *function = lfirst_node(RangeTblFunction, lc);

			if (IsA(function->funcexpr, FuncExpr) && converts(((FuncExpr *) function->funcexpr)->funcid))
				check_types(function->funccoltypes, false);
		}
	}
}
