/*-------------------------------------------------------------------------
 *
 * stable.c
 *	  Which STABLE functions of PostgreSQL a view may call, and what then
 *	  changes its result.
 *
 * STABLE says that a result may be another one in the next statement.  For a view
 * that follows its tables it matters why:
 *
 *	settings	to_char(), timestamptz::date: not while the view is evaluated
 *				under the settings recorded for it, see base/eval_settings.c
 *	conversion	concat(), to_json(), "||": of values to text and back, by the
 *				functions of their types, see conversion.c
 *	text search	to_tsvector(text): by the default configuration, which is
 *				recorded, and whose definition may be altered; 'english'::text::
 *				regconfig finds one by name.  server/dependents.c listens to
 *				the commands that do that.
 *	the rest	now(), current_user, pg_table_size(), 't'::text::regclass: the
 *				log does not tell when their results change
 *
 * Only functions that are listed here are accepted; those that a new version of
 * PostgreSQL brings are refused until somebody has looked at them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "compile/stable.h"

/* By name, in pg_catalog; a trailing '*' matches any rest. */
static const struct
{
	const char *name;
	DeriveStable kind;
}			stable_functions[] =

{
	/* times and dates: TimeZone, DateStyle, IntervalStyle, lc_time */
	{"date", DERIVE_STABLE_SETTINGS},
	{"date_*", DERIVE_STABLE_SETTINGS},
	{"extract", DERIVE_STABLE_SETTINGS},
	{"generate_series", DERIVE_STABLE_SETTINGS},
	{"in_range", DERIVE_STABLE_SETTINGS},
	{"interval_*", DERIVE_STABLE_SETTINGS},
	{"make_timestamptz", DERIVE_STABLE_SETTINGS},
	{"overlaps", DERIVE_STABLE_SETTINGS},
	{"time", DERIVE_STABLE_SETTINGS},
	{"time_*", DERIVE_STABLE_SETTINGS},
	{"timestamp*", DERIVE_STABLE_SETTINGS},
	{"timetz", DERIVE_STABLE_SETTINGS},
	{"timezone", DERIVE_STABLE_SETTINGS},
	{"to_char", DERIVE_STABLE_SETTINGS},
	{"to_date", DERIVE_STABLE_SETTINGS},
	{"to_timestamp", DERIVE_STABLE_SETTINGS},
	/* numbers and money: lc_numeric, lc_monetary */
	{"cash_*", DERIVE_STABLE_SETTINGS},
	{"money", DERIVE_STABLE_SETTINGS},
	{"numeric", DERIVE_STABLE_SETTINGS},
	{"to_number", DERIVE_STABLE_SETTINGS},
	/* encodings: conversions of pg_catalog, which search_path is locked to */
	{"convert", DERIVE_STABLE_SETTINGS},
	{"convert_from", DERIVE_STABLE_SETTINGS},
	{"convert_to", DERIVE_STABLE_SETTINGS},
	{"length", DERIVE_STABLE_SETTINGS},
	/* xmloption */
	{"xml", DERIVE_STABLE_SETTINGS},
	{"xml_is_well_formed", DERIVE_STABLE_SETTINGS},
	/* what is known when the query is declared */
	{"pg_typeof", DERIVE_STABLE_SETTINGS},
	/* values to text and back */
	{"anytextcat", DERIVE_STABLE_CONVERTS},
	{"array_to_json", DERIVE_STABLE_CONVERTS},
	{"array_to_string", DERIVE_STABLE_CONVERTS},
	{"concat", DERIVE_STABLE_CONVERTS},
	{"concat_ws", DERIVE_STABLE_CONVERTS},
	{"format", DERIVE_STABLE_CONVERTS},
	{"json_agg*", DERIVE_STABLE_CONVERTS},
	{"json_build_*", DERIVE_STABLE_CONVERTS},
	{"json_object_agg*", DERIVE_STABLE_CONVERTS},
	{"json_populate_record*", DERIVE_STABLE_CONVERTS},
	{"json_to_record*", DERIVE_STABLE_CONVERTS},
	{"jsonb_agg*", DERIVE_STABLE_CONVERTS},
	{"jsonb_build_*", DERIVE_STABLE_CONVERTS},
	{"jsonb_object_agg*", DERIVE_STABLE_CONVERTS},
	{"jsonb_populate_record*", DERIVE_STABLE_CONVERTS},
	{"jsonb_to_record*", DERIVE_STABLE_CONVERTS},
	{"quote_literal", DERIVE_STABLE_CONVERTS},
	{"quote_nullable", DERIVE_STABLE_CONVERTS},
	{"row_to_json", DERIVE_STABLE_CONVERTS},
	{"textanycat", DERIVE_STABLE_CONVERTS},
	{"to_json", DERIVE_STABLE_CONVERTS},
	{"to_jsonb", DERIVE_STABLE_CONVERTS},
	/* text search without a configuration */
	{"json_to_tsvector", DERIVE_STABLE_TEXT_SEARCH},
	{"jsonb_to_tsvector", DERIVE_STABLE_TEXT_SEARCH},
	{"phraseto_tsquery", DERIVE_STABLE_TEXT_SEARCH},
	{"plainto_tsquery", DERIVE_STABLE_TEXT_SEARCH},
	{"to_tsquery", DERIVE_STABLE_TEXT_SEARCH},
	{"to_tsvector", DERIVE_STABLE_TEXT_SEARCH},
	{"ts_headline", DERIVE_STABLE_TEXT_SEARCH},
	{"ts_match_tq", DERIVE_STABLE_TEXT_SEARCH}, /* text @@ tsquery */
	{"ts_match_tt", DERIVE_STABLE_TEXT_SEARCH}, /* text @@ text */
	{"websearch_to_tsquery", DERIVE_STABLE_TEXT_SEARCH},
	{"get_current_ts_config", DERIVE_STABLE_TEXT_SEARCH_NAME},
	{"ts_parse", DERIVE_STABLE_TEXT_SEARCH_NAME},
	{"ts_token_type", DERIVE_STABLE_TEXT_SEARCH_NAME},
};

/* timetz of a time: without a date, the offset of a time zone is that of today. */
static bool
takes_offset_of_today(Oid funcid)
{
	Oid		   *argtypes;
	int			nargs;

	return get_func_signature(funcid, &argtypes, &nargs) == TIMETZOID && argtypes[0] != TIMESTAMPTZOID;
}

DeriveStable
derive_stable_function(Oid funcid)
{
	char	   *name = get_func_name(funcid);

	if (name == NULL || funcid >= FirstNormalObjectId || takes_offset_of_today(funcid))
		return DERIVE_STABLE_REFUSED;
	for (int i = 0; i < lengthof(stable_functions); i++)
	{
		const char *pattern = stable_functions[i].name;
		size_t		len = strlen(pattern);

		if (pattern[len - 1] == '*' ? strncmp(name, pattern, len - 1) == 0 : strcmp(name, pattern) == 0)
			return stable_functions[i].kind;
	}
	return DERIVE_STABLE_REFUSED;
}

/* -------------------------------------------------------------------------
 * Text search
 * -------------------------------------------------------------------------
 */

typedef struct SearchContext
{
	Oid			default_config;
	List	   *objects;		/* of Oid; NIL: any */
} SearchContext;

static bool
concerns(SearchContext *context, Oid object)
{
	return context->objects == NIL || list_member_oid(context->objects, object);
}

static bool
is_object(Oid type)
{
	return type == REGCONFIGOID || type == REGDICTIONARYOID;
}

/* ... or an array of them */
static bool
has_objects(Oid type)
{
	return is_object(type) || is_object(get_element_type(type));
}

static bool
function_searches_text(Oid funcid, void *arg)
{
	SearchContext *context = arg;

	if (func_volatile(funcid) != PROVOLATILE_STABLE)
		return false;
	switch (derive_stable_function(funcid))
	{
		case DERIVE_STABLE_TEXT_SEARCH:
			return concerns(context, context->default_config);
		case DERIVE_STABLE_TEXT_SEARCH_NAME:
			return true;
		default:
			return false;
	}
}

static bool
searches_text_walker(Node *node, SearchContext *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			return query_tree_walker((Query *) node, searches_text_walker, context, 0);
		case T_Const:
			return is_object(((Const *) node)->consttype) && !((Const *) node)->constisnull &&
				concerns(context, DatumGetObjectId(((Const *) node)->constvalue));
		case T_CoerceViaIO:
			if (has_objects(((CoerceViaIO *) node)->resulttype))
				return true;
			break;
		case T_FuncExpr:
			/* which configuration it is, each row says anew */
			foreach(lc, ((FuncExpr *) node)->args)
				if (!IsA(lfirst(lc), Const) && has_objects(exprType(lfirst(lc))))
				return true;
			break;
		default:
			break;
	}
	return check_functions_in_node(node, function_searches_text, context) ||
		expression_tree_walker(node, searches_text_walker, context);
}

bool
derive_query_searches_text(Query *query, Oid default_config, List *objects)
{
	SearchContext context = {default_config, objects};

	return searches_text_walker((Node *) query, &context);
}
