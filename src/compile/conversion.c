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
 * to_json(x) and all that make JSON of values call a cast to json instead, if there
 * is one of a type that is not PostgreSQL's.  Its function is to be IMMUTABLE, too;
 * that casts come and go, server/dependents.c listens to.
 *
 * Where what cannot be converted is an error, what decides on that need not be
 * known: there is no result.  JSON_VALUE(.. RETURNING d NULL ON ERROR) has one, so
 * no domain can be there, whose constraints come and go, and call what they like.
 *
 * Types that are made of others convert these: arrays, domains, ranges, rows.
 * What an anonymous row (type record) consists of is seen where it is made, and
 * there it is refused, be it converted or not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/tupdesc.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "compile/check.h"
#include "compile/conversion.h"
#include "compile/query.h"
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

/* What is made of a value, or of what a value is made. */
typedef enum Conversion
{
	TO_TEXT,
	TO_JSON,
	FROM_TEXT,
} Conversion;

static void check_type(Oid type, Conversion conversion);

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

/* The one that functions that make JSON look for. */
static void
check_cast_to_json(Oid type)
{
	Oid			funcid;

	if (type >= FirstNormalObjectId &&
		find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &funcid) == COERCION_PATH_FUNC)
		derive_check_function(funcid);
}

static void
check_row_type(Oid type, Conversion conversion)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			check_type(TupleDescAttr(desc, i)->atttypid, conversion);
	FreeTupleDesc(desc);
}

static void
check_type(Oid type, Conversion conversion)
{
	Conversion	of_parts = conversion == TO_JSON ? TO_TEXT : conversion;
	Oid			element;

	type = getBaseType(type);
	element = get_element_type(type);
	if (OidIsValid(element))
	{
		check_type(element, conversion);
		return;
	}
	if (get_typtype(type) == TYPTYPE_COMPOSITE)
	{
		check_row_type(type, conversion);
		return;
	}
	if (conversion == TO_JSON)
		check_cast_to_json(type);
	switch (get_typtype(type))
	{
		case TYPTYPE_BASE:
			check_base_type(type, conversion != FROM_TEXT);
			break;
		case TYPTYPE_RANGE:
			check_type(get_range_subtype(type), of_parts);
			break;
		case TYPTYPE_MULTIRANGE:
			check_type(get_multirange_range(type), of_parts);
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
	check_type(type, TO_JSON);
}

static void
check_types(List *types, Conversion conversion)
{
	ListCell   *lc;

	foreach(lc, types)
		check_type(lfirst_oid(lc), conversion);
}

static void
check_expressions(List *expressions, Conversion conversion)
{
	ListCell   *lc;

	foreach(lc, expressions)
		check_type(exprType(lfirst(lc)), conversion);
}

/* Each expression that the node consists of, and no further. */
static bool
check_parts_walker(Node *node, void *context)
{
	Oid			type;

	if (node == NULL)
		return false;
	if (IsA(node, List))
		return expression_tree_walker(node, check_parts_walker, context);
	type = exprType(node);
	if (OidIsValid(type))		/* ERROR ON ERROR has none */
		check_type(type, TO_JSON);
	return false;
}

static void
add_types_within(Oid type, List **types)
{
	TupleDesc	desc;

	if (list_member_oid(*types, type) || !SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		return;
	*types = lappend_oid(*types, type);
	switch (get_typtype(type))
	{
		case TYPTYPE_BASE:
			add_types_within(get_element_type(type), types);
			break;
		case TYPTYPE_DOMAIN:
			add_types_within(getBaseType(type), types);
			break;
		case TYPTYPE_RANGE:
			add_types_within(get_range_subtype(type), types);
			break;
		case TYPTYPE_MULTIRANGE:
			add_types_within(get_multirange_range(type), types);
			break;
		case TYPTYPE_COMPOSITE:
			desc = lookup_rowtype_tupdesc_copy(type, -1);
			for (int i = 0; i < desc->natts; i++)
				if (!TupleDescAttr(desc, i)->attisdropped)
					add_types_within(TupleDescAttr(desc, i)->atttypid, types);
			FreeTupleDesc(desc);
			break;
		default:
			break;
	}
}

List *
derive_types_within(Oid type)
{
	List	   *types = NIL;

	add_types_within(type, &types);
	return types;
}

/* What cannot be converted is no error: then a domain's constraints are a part of the result. */
static void
check_swallowed_errors(Node *node)
{
	ListCell   *lc;

	foreach(lc, derive_types_within(exprType(node)))
		if (get_typtype(lfirst_oid(lc)) == TYPTYPE_DOMAIN)
		derive_refuse(psprintf("a JSON expression that returns domain %s, but not with ERROR ON ERROR,",
							   format_type_be(lfirst_oid(lc))),
					  "The constraints of a domain, which may be altered, would be part of the result.",
					  "Add ERROR ON ERROR, or return the type that the domain is over.");
}

static bool
json_types_walker(Node *node, List **types)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, json_types_walker, types, 0);
	if (derive_compat_is_json_expression(node))
		add_types_within(exprType(node), types);
	return expression_tree_walker(node, json_types_walker, types);
}

List *
derive_json_types_of_view(Oid view)
{
	List	   *types = NIL;
	List	   *relations;
	ListCell   *lc;

	relations = lcons_oid(view, derive_plain_views_below(view));
	foreach(lc, relations)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		if (rel->rd_rules != NULL)
			(void) json_types_walker((Node *) linitial(rel->rd_rules->rules[0]->actions), &types);
		table_close(rel, NoLock);
	}
	return types;
}

static bool
converts(Oid funcid)
{
	return func_volatile(funcid) == PROVOLATILE_STABLE && derive_stable_function(funcid) == DERIVE_STABLE_CONVERTS;
}

static Conversion
into(Oid result)
{
	return result == JSONOID || result == JSONBOID ? TO_JSON : TO_TEXT;
}

void
derive_check_conversion(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CoerceViaIO:
			check_type(exprType((Node *) ((CoerceViaIO *) node)->arg), TO_TEXT);
			check_type(((CoerceViaIO *) node)->resulttype, FROM_TEXT);
			break;
		case T_FuncExpr:
			if (!converts(((FuncExpr *) node)->funcid))
				break;
			check_expressions(((FuncExpr *) node)->args, into(exprType(node)));
			check_type(exprType(node), FROM_TEXT);
			break;
		case T_OpExpr:
			if (converts(get_opcode(((OpExpr *) node)->opno)))
				check_expressions(((OpExpr *) node)->args, TO_TEXT);
			break;
		case T_Aggref:
			if (converts(((Aggref *) node)->aggfnoid))
				check_types(((Aggref *) node)->aggargtypes, into(exprType(node)));
			break;
		case T_RowExpr:
			if (((RowExpr *) node)->row_typeid == RECORDOID)
				check_expressions(((RowExpr *) node)->args, TO_JSON);
			break;
		case T_XmlExpr:
			check_expressions(((XmlExpr *) node)->named_args, TO_TEXT);
			check_expressions(((XmlExpr *) node)->args, TO_TEXT);
			break;
		default:
			if (derive_compat_is_json_expression(node))
			{
				(void) expression_tree_walker(node, check_parts_walker, NULL);
				check_type(exprType(node), FROM_TEXT);
				if (derive_compat_json_swallows_errors(node))
					check_swallowed_errors(node);
			}
			break;
	}
}

void
derive_check_made_row(Node *node)
{
	TupleDesc	desc = derive_anonymous_row_of_call(node);

	for (int i = 0; desc != NULL && i < desc->natts; i++)
		derive_check_output(TupleDescAttr(desc, i)->atttypid);
}

void
derive_check_converted_rows(RangeTblEntry *rte)
{
	ListCell   *lc;

	if (rte->rtekind == RTE_TABLEFUNC)
		check_types(rte->tablefunc->coltypes, FROM_TEXT);
	if (rte->rtekind == RTE_FUNCTION)
	{
		foreach(lc, rte->functions)
		{
			RangeTblFunction *function = lfirst_node(RangeTblFunction, lc);

			if (IsA(function->funcexpr, FuncExpr) && converts(((FuncExpr *) function->funcexpr)->funcid))
				check_types(function->funccoltypes, FROM_TEXT);
		}
	}
}
