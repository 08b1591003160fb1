/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Which SELECTs can be maintained at all, and how the others are refused.
 *
 * A view is either maintained exactly or refused when it is declared: what is
 * refused here names the construct, the reason and a way around it.  There
 * are two kinds of reasons:
 *
 *	- the result may change without any change in the log: volatile functions,
 *	  now() but in some conditions (passing_time.c), functions that look elsewhere,
 *	  temporary and foreign tables, row security;
 *	- the log does not carry what is asked for: system columns, TABLESAMPLE.
 *
 * Everything else is maintained, if need be by computing it anew (verdict.c).
 *
 * A sub-query that reads no relation is just a function of the row it stands
 * in, and may do anything deterministic.
 *
 * What a STABLE function of PostgreSQL depends on is known (stable.c); it is
 * accepted if that is its arguments and settings, which are recorded for the view
 * (base/eval_settings.c), or definitions whose changes are followed
 * (server/dependents.c).  So are values made text and back, but of types whose
 * text is a name (conversion.c).  A user's function must be IMMUTABLE, and so must
 * those that a user's aggregate calls.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/tlist.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/error_context.h"
#include "base/registry.h"
#include "compile/check.h"
#include "compile/conversion.h"
#include "compile/missing_rows.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "compile/stable.h"
#include "compile/stages.h"

typedef struct CheckContext
{
	Oid			owner;
	List	   *queries;		/* enclosing queries, innermost first */
	Node	   *from;			/* a function in FROM: what reads its rows is
								 * looked at, see check_var() */
} CheckContext;

static bool check_walker(Node *node, CheckContext *context);

/*
 * What is being looked at: a byte of the query's text, or -1.  Queries that were stored do
 * not know where they stood.
 */
static int	looking_at = -1;

void
derive_look_at(Node *node)
{
	looking_at = node != NULL && !IsA(node, Query) ? exprLocation(node) : -1;
}

void
derive_refuse(const char *construct, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s cannot be maintained", construct),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 errposition(looking_at + 1)));
}

/* -------------------------------------------------------------------------
 * Functions
 * -------------------------------------------------------------------------
 */

static void
refuse_time(void)
{
	derive_refuse("this use of the current time",
				  "The result changes with every moment, and not only for some rows.",
				  "What is maintained is a comparison (=, <, <=, >, >=) with it that must hold in WHERE, HAVING or an inner join, as in \"created > now() - interval '1 hour'\". Apply others when reading the view.");
}

void
derive_check_function(Oid funcid)
{
	char		volatility = func_volatile(funcid);

	if (volatility == PROVOLATILE_IMMUTABLE ||
		(volatility == PROVOLATILE_STABLE && derive_stable_function(funcid) != DERIVE_STABLE_REFUSED))
		return;
	if (derive_is_now_function(funcid))
		refuse_time();
	derive_refuse(psprintf("a view that calls function %s", format_procedure(funcid)),
				  volatility == PROVOLATILE_VOLATILE
				  ? "The function is VOLATILE: its result may change without any change of the tables."
				  : "The function is STABLE: its result may depend on more than its arguments.",
				  funcid < FirstNormalObjectId
				  ? "Apply it when reading the view instead."
				  : "Declare the function IMMUTABLE if its result depends on its arguments alone.");
}

static bool
check_function(Oid funcid, void *context)
{
	derive_check_function(funcid);
	return false;
}

/* What a user's aggregate calls; PostgreSQL calls the aggregate itself IMMUTABLE, whatever these are. */
static void
check_aggregate(Oid aggregate)
{
	HeapTuple	tuple;
	Form_pg_aggregate form;

	if (aggregate < FirstNormalObjectId)
		return;
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggregate);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	{
		const Oid	functions[] = {form->aggtransfn, form->aggfinalfn, form->aggcombinefn,
		form->aggmtransfn, form->aggminvtransfn, form->aggmfinalfn};

		for (int i = 0; i < lengthof(functions); i++)
			if (OidIsValid(functions[i]))
				derive_check_function(functions[i]);
	}
	ReleaseSysCache(tuple);
}

/* -------------------------------------------------------------------------
 * Relations
 * -------------------------------------------------------------------------
 */

/* Does the log of this server carry the table's changes? */
static void
check_logged(Oid relid)
{
	const char *name = derive_relation_name(relid);

	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		derive_refuse(psprintf("a view over foreign table %s", name),
					  "The write-ahead log of this server does not carry its changes.", NULL);
	switch (get_rel_persistence(relid))
	{
		case RELPERSISTENCE_TEMP:
			derive_refuse(psprintf("a view over temporary table %s", name),
						  "The write-ahead log does not carry its changes.", NULL);
			break;
		case RELPERSISTENCE_UNLOGGED:
			derive_refuse(psprintf("a view over unlogged table %s", name),
						  "The write-ahead log does not carry its changes.",
						  "Use ALTER TABLE ... SET LOGGED.");
			break;
	}
}

/* Partitions and inheritance children; other sessions' temporary ones are not read. */
static void
check_children(Oid relid)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		if (lfirst_oid(lc) != relid && !isOtherTempNamespace(get_rel_namespace(lfirst_oid(lc))))
		check_logged(lfirst_oid(lc));
}

void
derive_check_source(Oid relid, bool inh, Oid owner)
{
	Relation	rel = table_open(relid, AccessShareLock);
	const char *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));
	char		relkind = rel->rd_rel->relkind;

	check_logged(relid);
	if (RelationGetNamespace(rel) == get_namespace_oid("derive_state", true))
		derive_refuse(psprintf("a view over %s, which belongs to pg_derive,", name),
					  "It changes with every batch, and so would the view.", NULL);
	if (relkind == RELKIND_MATVIEW)
	{
		if (derive_registry_get(relid) == NULL)
			derive_refuse(psprintf("a view over materialized view %s, which is not maintained,", name),
						  "REFRESH MATERIALIZED VIEW replaces its contents without telling what changed.",
						  "Call derive.maintain() for it first.");
	}
	else if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		derive_refuse(psprintf("a view over %s, which is not a table,", name), NULL, NULL);
	if (IsCatalogRelation(rel) || RelationIsUsedAsCatalogTable(rel))
		derive_refuse(psprintf("a view over system catalog %s", name),
					  "Logical decoding does not deliver changes of catalogs.", NULL);
	if (check_enable_rls(relid, owner, true) == RLS_ENABLED)
		derive_refuse(psprintf("a view over %s, which has row-level security for the view's owner,", name),
					  "The write-ahead log carries all rows, whatever the policies say.",
					  "Let a role that is not subject to the policies own the view.");
	if (inh && relkind != RELKIND_MATVIEW && has_subclass(relid))
		check_children(relid);
	table_close(rel, NoLock);
}

static void
check_relation(RangeTblEntry *rte, CheckContext *context)
{
	derive_check_source(rte->relid, rte->inh, context->owner);
	if (rte->relkind == RELKIND_MATVIEW)
		rte->inh = false;		/* it has no children: ONLY makes no
								 * difference */
	if (rte->tablesample != NULL)
		derive_refuse("TABLESAMPLE",
					  "Which rows it takes depends on chance, or with REPEATABLE on where they are stored, which CLUSTER changes without a trace in the log.",
					  "Take rows by a hash of their key.");
	if (rte->securityQuals != NIL)
		derive_refuse(psprintf("a view over %s, which has row-level security,", get_rel_name(rte->relid)), NULL, NULL);
}

/* -------------------------------------------------------------------------
 * Queries
 * -------------------------------------------------------------------------
 */

/* What a query that reads tables may not contain. */
static void
check_block(Query *query)
{
	const struct
	{
		bool		present;
		const char *construct;
		const char *detail;
		const char *hint;
	}			refused[] =
	{
		{query->hasModifyingCTE, "a data-modifying WITH", NULL, NULL},
		{query->rowMarks != NIL, "FOR UPDATE or FOR SHARE", NULL, NULL},
	};

	for (int i = 0; i < lengthof(refused); i++)
		if (refused[i].present)
			derive_refuse(refused[i].construct, refused[i].detail, refused[i].hint);
}

static void
check_range_table(Query *query, CheckContext *context)
{
	Bitmapset  *used = derive_query_used(query);
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind == RTE_RELATION)
			check_relation(rte, context);
		derive_check_converted_rows(rte);
	}
}

static bool
check_node_query(Query *query, CheckContext *context)
{
	bool		result;

	if (query->commandType != CMD_SELECT)
		derive_refuse("a statement other than SELECT", NULL, NULL);
	if (derive_query_reads_relations(query))
		check_block(query);
	check_range_table(query, context);
	context->queries = lcons(query, context->queries);
	result = query_tree_walker(query, check_walker, context, 0);
	context->queries = list_delete_first(context->queries);
	return result;
}

static void
check_var(Var *var, CheckContext *context)
{
	Query	   *query = list_nth(context->queries, var->varlevelsup);
	RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);

	if (var->varattno < 0)
		derive_refuse(psprintf("a view that uses system column \"%s\"",
							   NameStr(SystemAttributeDefinition(var->varattno)->attname)),
					  "System columns are not part of the rows that the write-ahead log carries.", NULL);

	/* the rows of a function, say, as an anonymous row */
	if (var->varattno == InvalidAttrNumber && var->vartype == RECORDOID)
	{
		List	   *names;
		List	   *columns;
		ListCell   *lc;

		derive_compat_expand_rte(rte, var->varno, var->varlevelsup, var->location, false, &names, &columns);
		foreach(lc, columns)
			derive_check_output(exprType(lfirst(lc)));
	}
}

static bool
check_walker(Node *node, CheckContext *context)
{
	if (node == NULL)
		return false;
	derive_look_at(node);
	switch (nodeTag(node))
	{
		case T_Query:
			return check_node_query((Query *) node, context);
		case T_Var:
			check_var((Var *) node, context);
			return false;
		case T_RangeTblFunction:
			context->from = ((RangeTblFunction *) node)->funcexpr;
			break;
		case T_FuncExpr:
		case T_OpExpr:
			if (node != context->from)
				derive_check_made_row(node);
			break;
		case T_SQLValueFunction:
			if (derive_is_now(node))
				refuse_time();
			derive_refuse("a view that uses the current time, user or schema",
						  "The result changes without any change of the tables.",
						  "Apply it when reading the view instead.");
			break;
		case T_Aggref:
			check_aggregate(((Aggref *) node)->aggfnoid);
			break;
		case T_CoerceViaIO:
			/* its functions are those of types, which may consist of others */
			derive_check_conversion(node);
			return expression_tree_walker(node, check_walker, context);
		case T_Param:
			/* "x IN (SELECT ..)" without any table: a column of the sub-query */
			if (((Param *) node)->paramkind == PARAM_SUBLINK || derive_is_time_param(node))
				break;
			/* FALLTHROUGH */
		case T_NextValueExpr:
		case T_CurrentOfExpr:
			derive_refuse("a view with parameters or sequences", NULL, NULL);
			break;
		default:
			break;
	}
	derive_check_conversion(node);
	if (derive_compat_json_takes_today(node))
		derive_refuse("a JSON path that compares times with and without time zone",
					  "Without a date, the offset of a time zone is that of today.", NULL);
	(void) check_functions_in_node(node, check_function, context);
	return expression_tree_walker(node, check_walker, context);
}

/* -------------------------------------------------------------------------
 * Whole-row references, virtual generated columns, limits that are none
 *
 * A tuplestore of changes has no row type of its own and one column more than
 * the relation, so "t" and "t.*" as a value become ROW(t.a, t.b, ...)::t.
 * Virtual columns are not part of the rows that the log carries either; they
 * become the expressions that they stand for.  (Where an outer join may leave the
 * whole out, see missing_rows.c.)  A LIMIT that limits nothing goes,
 * whose only effect is to keep the planner from looking into the sub-query.
 * -------------------------------------------------------------------------
 */

typedef struct ExpandContext
{
	List	   *queries;
} ExpandContext;

/* LIMIT ALL, LIMIT NULL, OFFSET 0 */
static bool
limits_nothing(Node *limit, bool offset)
{
	Const	   *value = (Const *) strip_implicit_coercions(limit);

	if (value == NULL || !IsA(value, Const))
		return false;
	if (value->constisnull)
		return true;
	return offset && (value->consttype == INT4OID ? DatumGetInt32(value->constvalue) == 0 :
					  value->consttype == INT8OID && DatumGetInt64(value->constvalue) == 0);
}

static Node *expand_mutator(Node *node, ExpandContext *context);

/* Is it the row of a relation, by a whole-row reference or as missing_rows.c keeps it? */
static bool
is_row_of_relation(Node *node, ExpandContext *context)
{
	Var		   *var = (Var *) node;
	RangeTblEntry *rte;

	if (node == NULL || !IsA(node, Var) || !OidIsValid(typeidTypeRelid(var->vartype)))
		return false;
	rte = rt_fetch(var->varno, ((Query *) list_nth(context->queries, var->varlevelsup))->rtable);
	return rte->rtekind == (var->varattno == InvalidAttrNumber ? RTE_RELATION : RTE_SUBQUERY);
}

/*
 * "t IS NULL" looks at each column of t.  In ROW(..)::t a dropped one is a NULL like
 * any other, so name the columns that there are.
 */
static Node *
expand_null_test(NullTest *test, ExpandContext *context)
{
	Node	   *row = expand_mutator((Node *) test->arg, context);
	TupleDesc	desc = lookup_rowtype_tupdesc(exprType(row), -1);
	List	   *tests = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		FieldSelect *field = makeNode(FieldSelect);
		NullTest   *one = makeNode(NullTest);

		if (att->attisdropped)
			continue;
		field->arg = copyObject((Expr *) row);
		field->fieldnum = i + 1;
		field->resulttype = att->atttypid;
		field->resulttypmod = att->atttypmod;
		field->resultcollid = att->attcollation;
		one->arg = (Expr *) field;
		one->nulltesttype = test->nulltesttype;
		one->location = -1;
		tests = lappend(tests, one);
	}
	ReleaseTupleDesc(desc);
	return (Node *) make_ands_explicit(tests);
}

static Node *
expand_mutator(Node *node, ExpandContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (limits_nothing(query->limitCount, false))
			query->limitCount = NULL;
		if (limits_nothing(query->limitOffset, true))
			query->limitOffset = NULL;
		/* WINDOW may name some that nobody uses: these are never evaluated */
		derive_query_keep_used_windows(query);
		context->queries = lcons(query, context->queries);
		/* in place: the enclosing queries on the list stay what they are */
		(void) query_tree_mutator(query, expand_mutator, context, QTW_DONT_COPY_QUERY);
		context->queries = list_delete_first(context->queries);
		return node;
	}
	if (IsA(node, NullTest) && ((NullTest *) node)->argisrow &&
		is_row_of_relation((Node *) ((NullTest *) node)->arg, context))
		return expand_null_test((NullTest *) node, context);
	if (IsA(node, Var) && ((Var *) node)->varattno > 0)
	{
		Var		   *var = (Var *) node;
		Query	   *query = list_nth(context->queries, var->varlevelsup);
		RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);

		if (rte->rtekind == RTE_RELATION && get_attgenerated(rte->relid, var->varattno) == 'v')
			return derive_compat_virtual_column(rte->relid, var);
	}
	if (IsA(node, Var) && ((Var *) node)->varattno == InvalidAttrNumber)
	{
		Var		   *var = (Var *) node;
		Query	   *query = list_nth(context->queries, var->varlevelsup);
		RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);

		if (rte->rtekind == RTE_RELATION || rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_CTE)
		{
			RowExpr    *row = makeNode(RowExpr);
			List	   *names;

			derive_compat_expand_rte(rte, var->varno, var->varlevelsup, var->location,
									 var->vartype != RECORDOID, &names, &row->args);
			row->args = (List *) expand_mutator((Node *) row->args, context);
			row->row_typeid = var->vartype;
			row->row_format = COERCE_IMPLICIT_CAST;
			row->colnames = var->vartype == RECORDOID ? names : NIL;
			row->location = var->location;
			return (Node *) row;
		}
	}
	return expression_tree_mutator(node, expand_mutator, context);
}

void
derive_query_expand(Query *query)
{
	ExpandContext expand = {NIL};

	derive_keep_missing_rows(query);
	(void) expand_mutator((Node *) query, &expand);
}

void
derive_check_query(Query *query, Oid owner)
{
	CheckContext check = {owner, NIL, NULL};

	derive_look_at(NULL);
	derive_take_time(query);
	derive_query_expand(query);
	(void) check_walker((Node *) query, &check);
	derive_look_at(NULL);
}
