/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  Which derivation maintains a materialized view.
 *
 * A view by a C derivation is a materialized view like any other one; its
 * definition is a call of derive.apply(), which computes the same rows from
 * nothing.  So the server keeps track of what the view depends on (the sources
 * stand in the query as constants of type regclass, which it knows to be
 * references), pg_dump writes and restores it, and REFRESH works even where
 * pg_derive does not maintain it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/error_context.h"
#include "derive/definition.h"

/* derive.apply(text, regclass[], text[], jsonb), or InvalidOid. */
static Oid
apply_function(void)
{
	Oid			argtypes[4] = {TEXTOID, REGCLASSARRAYOID, TEXTARRAYOID, JSONBOID};
	Oid			schema = get_namespace_oid("derive", true);

	if (!OidIsValid(schema))
		return InvalidOid;
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("apply"),
						   PointerGetDatum(buildoidvector(argtypes, 4)), ObjectIdGetDatum(schema));
}

static Jsonb *
empty_object(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* The elements of an array, which must not be NULL. */
static int
elements(ArrayType *array, const char *what, Datum **values)
{
	bool	   *nulls;
	int			n;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align, values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s of a derivation must not be null", what)));
	return n;
}

DeriveDefinition *
derive_definition_make(char *derivation, ArrayType *sources, ArrayType *keys, Jsonb *options)
{
	DeriveDefinition *definition = palloc0(sizeof(DeriveDefinition));
	Datum	   *values;
	int			n;

	definition->derivation = derivation;
	n = sources ? elements(sources, "sources", &values) : 0;
	for (int i = 0; i < n; i++)
	{
		if (list_member_oid(definition->sources, DatumGetObjectId(values[i])))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("source \"%s\" is named twice", get_rel_name(DatumGetObjectId(values[i])))));
		definition->sources = lappend_oid(definition->sources, DatumGetObjectId(values[i]));
	}
	n = keys ? elements(keys, "key columns", &values) : 0;
	for (int i = 0; i < n; i++)
	{
		char	   *key = TextDatumGetCString(values[i]);
		ListCell   *lc;

		foreach(lc, definition->keys)
			if (strcmp(lfirst(lc), key) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("key column \"%s\" is named twice", key)));
		definition->keys = lappend(definition->keys, key);
	}
	definition->options = options ? options : empty_object();
	if (!JB_ROOT_IS_OBJECT(definition->options))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of a derivation must be a JSON object")));
	return definition;
}

static bool
is_not_builtin(Oid funcid, void *context)
{
	return funcid >= FirstUnpinnedObjectId;
}

/* Does computing it run code of its author's?  We may be somebody with more rights. */
static bool
runs_code_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) || check_functions_in_node(node, is_not_builtin, NULL))
		return true;
	return expression_tree_walker(node, runs_code_walker, context);
}

/* A constant argument; NULL gives 0. */
static Datum
constant(List *args, int n)
{
	Node	   *arg = list_nth(args, n);
	Const	   *value = NULL;

	if (!runs_code_walker(arg, NULL))
		value = (Const *) eval_const_expressions(NULL, copyObject(arg));
	if (value == NULL || !IsA(value, Const))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("arguments of derive.apply() in the definition of a view must be constants"),
				 errdetail("They are computed wherever the view is worked with, so they may call functions of PostgreSQL's own only.")));
	return value->constisnull ? (Datum) 0 : value->constvalue;
}

static bool
is_function(Oid funcid, void *context)
{
	return funcid == *(Oid *) context;
}

/* Does the query call the function anywhere? */
static bool
find_call_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_function, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_call_walker, context, 0);
	return expression_tree_walker(node, find_call_walker, context);
}

/* The call, if the query is "SELECT all columns FROM derive.apply()" and no more. */
static FuncExpr *
only_call(Query *query, Oid funcid)
{
	RangeTblEntry *rte = NULL;
	RangeTblFunction *function;
	Node	   *from = query->jointree->fromlist ? linitial(query->jointree->fromlist) : NULL;
	ListCell   *lc;

	if (list_length(query->jointree->fromlist) != 1 || query->jointree->quals != NULL || !IsA(from, RangeTblRef) ||
		query->setOperations || query->hasAggs || query->groupClause || query->distinctClause || query->hasWindowFuncs ||
		query->sortClause || query->limitCount || query->limitOffset || query->cteList || query->hasTargetSRFs)
		return NULL;
	rte = rt_fetch(((RangeTblRef *) from)->rtindex, query->rtable);
	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1 || rte->funcordinality)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	if (!IsA(function->funcexpr, FuncExpr) || ((FuncExpr *) function->funcexpr)->funcid != funcid ||
		list_length(query->targetList) != function->funccolcount)
		return NULL;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!IsA(tle->expr, Var) || ((Var *) tle->expr)->varattno != foreach_current_index(lc) + 1)
			return NULL;
	}
	return (FuncExpr *) function->funcexpr;
}

/*
 * The key names columns as they were called at the declaration, which the call still has:
 *
 *		SELECT id AS ident FROM derive.apply(.., ARRAY['id'], ..) AS t(id int)
 *
 * They follow ALTER MATERIALIZED VIEW .. RENAME COLUMN.
 */
static void
rename_keys(DeriveDefinition *definition, Query *query, Oid view)
{
	RangeTblEntry *rte = rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex, query->rtable);
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, definition->keys)
	{
		foreach(lc2, rte->eref->colnames)
		{
			if (strcmp(strVal(lfirst(lc2)), lfirst(lc)) != 0)
				continue;
			lfirst(lc) = get_attname(view, foreach_current_index(lc2) + 1, false);
			break;
		}
	}
}

Query *
derive_definition_tree(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query;

	if (rel->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", RelationGetRelationName(rel))));
	query = copyObject(linitial_node(Query, rel->rd_rules->rules[0]->actions));

	/*
	 * who needs it to stay so has locked it, and who waits for the worker
	 * after this must not
	 */
	table_close(rel, AccessShareLock);
	return query;
}

bool
derive_definition_is_call(Query *query)
{
	Oid			funcid = apply_function();

	return OidIsValid(funcid) && find_call_walker((Node *) query, &funcid);
}

DeriveDefinition *
derive_definition_of_view(Oid view)
{
	Query	   *query = derive_definition_tree(view);
	FuncExpr   *call;
	DeriveDefinition *definition;

	if (!derive_definition_is_call(query))
		return derive_definition_make(pstrdup(DERIVE_SELECT_NAME), NULL, NULL, NULL);

	call = only_call(query, apply_function());
	if (call == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a query over derive.apply() cannot be maintained"),
				 errdetail("Its call must be all of the query: SELECT * FROM derive.apply(...)."),
				 errhint("Declare a view for the call alone, and another one that reads it.")));
	if (constant(call->args, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a derivation must not be null")));
	definition = derive_definition_make(TextDatumGetCString(constant(call->args, 0)),
										(ArrayType *) DatumGetPointer(constant(call->args, 1)),
										(ArrayType *) DatumGetPointer(constant(call->args, 2)),
										(Jsonb *) DatumGetPointer(constant(call->args, 3)));
	rename_keys(definition, query, view);
	return definition;
}

char *
derive_definition_query(DeriveDefinition *definition, const char *columns)
{
	StringInfoData query;
	ListCell   *lc;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT * FROM derive.apply(%s, ARRAY[", quote_literal_cstr(definition->derivation));
	foreach(lc, definition->sources)
		appendStringInfo(&query, "%s%s::pg_catalog.regclass", lc == list_head(definition->sources) ? "" : ", ",
						 quote_literal_cstr(derive_relation_name(lfirst_oid(lc))));
	appendStringInfoString(&query, "]::pg_catalog.regclass[], ARRAY[");
	foreach(lc, definition->keys)
		appendStringInfo(&query, "%s%s", lc == list_head(definition->keys) ? "" : ", ", quote_literal_cstr(lfirst(lc)));
	appendStringInfo(&query, "]::pg_catalog.text[], %s::pg_catalog.jsonb) AS t%s",
					 quote_literal_cstr(JsonbToCString(NULL, &definition->options->root, VARSIZE(definition->options))),
					 columns);
	return query.data;
}
