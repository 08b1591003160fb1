/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Small steps on query trees that the compiler is made of.
 *
 * The compiler works on what PostgreSQL itself stored for the view: the
 * analysed tree of its rule.  So names are resolved, renames do no harm, and
 * there is no SQL text to build or parse anywhere.
 *
 * The rewriter adds to each view's range table entries that nothing reads
 * (OLD and NEW, until PostgreSQL 15); therefore every loop over a range table
 * goes through derive_query_used().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/prep.h"
#include "parser/parse_clause.h"
#include "parser/parse_coerce.h"
#include "parser/parse_oper.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/error_context.h"
#include "compile/hidden.h"
#include "compile/query.h"

typedef struct InlineContext
{
	const char *name;			/* the CTE to inline */
	Query	   *query;			/* its query */
	int			depth;			/* levels below the query that declares it */
} InlineContext;

typedef struct NamesContext
{
	Oid			view;			/* whose definition it is */
	DeriveNameVisitor visit;
	void	   *arg;
} NamesContext;

static void inline_ctes(Query *query);
static bool inline_ctes_walker(Node *node, void *context);
static bool inline_cte_walker(Node *node, InlineContext *context);
static bool strip_permissions_walker(Node *node, void *context);
static bool reads_relations_walker(Node *node, int *depth);
static bool outer_reference_walker(Node *node, int *depth);
static bool row_types_walker(Node *node, List **relids);
static bool names_walker(Node *node, NamesContext *context);

/* -------------------------------------------------------------------------
 * From the catalog to a tree that the compiler can work on
 * -------------------------------------------------------------------------
 */

Query *
derive_query_of_view(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	RewriteRule *rule;
	Query	   *query;

	if (rel->rd_rel->relkind != RELKIND_MATVIEW ||
		rel->rd_rules == NULL || rel->rd_rules->numLocks != 1)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view",
						RelationGetRelationName(rel))));
	rule = rel->rd_rules->rules[0];
	query = copyObject(linitial_node(Query, rule->actions));
	table_close(rel, NoLock);
	return derive_query_rewrite(query);
}

Query *
derive_query_rewrite(Query *query)
{
	List	   *rewritten;

	AcquireRewriteLocks(query, true, false);
	rewritten = QueryRewrite(query);
	if (list_length(rewritten) != 1)
		elog(ERROR, "unexpected rewrite result for the query of a view");
	query = linitial_node(Query, rewritten);

	inline_ctes(query);
	(void) strip_permissions_walker((Node *) query, NULL);
	return query;
}

/*
 * Put the query of each WITH entry where it is used.  Only deterministic
 * queries reach us, so evaluating one twice makes no difference.  Entries that read
 * themselves stay.
 */
static void
inline_ctes(Query *query)
{
	List	   *recursive = NIL;
	ListCell   *lc;

	/*
	 * in the order in which they were declared, or, in WITH RECURSIVE, in
	 * which they must be evaluated: later ones may use earlier ones
	 */
	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (!IsA(cte->ctequery, Query))
			continue;
		inline_ctes((Query *) cte->ctequery);
		if (cte->cterecursive)
			recursive = lappend(recursive, cte);
		else
			derive_query_inline_cte(query, cte->ctename, (Query *) cte->ctequery);
	}
	query->cteList = recursive;
	query->hasRecursive = recursive != NIL;
	(void) query_tree_walker(query, inline_ctes_walker, NULL, QTW_IGNORE_CTE_SUBQUERIES);
}

void
derive_query_inline_cte(Query *query, const char *name, Query *by)
{
	InlineContext context = {.name = name,.query = by,.depth = -1};

	(void) inline_cte_walker((Node *) query, &context);
}

static bool
inline_ctes_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		inline_ctes((Query *) node);
		return false;
	}
	return expression_tree_walker(node, inline_ctes_walker, context);
}

/* Replace references to one CTE; walks into every sub-query, later CTEs included. */
static bool
inline_cte_walker(Node *node, InlineContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		context->depth++;
		(void) query_tree_walker((Query *) node, inline_cte_walker, context,
								 QTW_EXAMINE_RTES_AFTER);
		context->depth--;
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == context->depth &&
			strcmp(rte->ctename, context->name) == 0)
		{
			rte->subquery = copyObject(context->query);
			if (context->depth > 0)
				IncrementVarSublevelsUp((Node *) rte->subquery, context->depth, 1);
			rte->rtekind = RTE_SUBQUERY;
			rte->ctename = NULL;
			rte->ctelevelsup = 0;
			rte->self_reference = false;
			rte->coltypes = rte->coltypmods = rte->colcollations = NIL;
		}
		return false;
	}
	return expression_tree_walker(node, inline_cte_walker, context);
}

/* Permissions are checked once, when the program is loaded, not at each execution. */
static bool
strip_permissions_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		derive_compat_strip_permissions((Query *) node);
		return query_tree_walker((Query *) node, strip_permissions_walker, context, 0);
	}
	return expression_tree_walker(node, strip_permissions_walker, context);
}

/* -------------------------------------------------------------------------
 * Questions
 * -------------------------------------------------------------------------
 */

static void
add_used(Node *node, Bitmapset **used)
{
	if (node == NULL)
		return;
	if (IsA(node, RangeTblRef))
		*used = bms_add_member(*used, ((RangeTblRef *) node)->rtindex);
	else if (IsA(node, SetOperationStmt))
	{
		add_used(((SetOperationStmt *) node)->larg, used);
		add_used(((SetOperationStmt *) node)->rarg, used);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		if (join->rtindex > 0)
			*used = bms_add_member(*used, join->rtindex);
		add_used(join->larg, used);
		add_used(join->rarg, used);
	}
	else if (IsA(node, FromExpr))
	{
		ListCell   *lc;

		foreach(lc, ((FromExpr *) node)->fromlist)
			add_used(lfirst(lc), used);
	}
	else
		elog(ERROR, "unexpected node type in FROM: %d", (int) nodeTag(node));
}

Bitmapset *
derive_query_used(Query *query)
{
	Bitmapset  *used = NULL;

	add_used((Node *) query->jointree, &used);
	add_used(query->setOperations, &used);
	return used;
}

Bitmapset *
derive_from_members(Node *tree)
{
	Bitmapset  *members = NULL;

	add_used(tree, &members);
	return members;
}

/* Entries on the side of outer joins that may be missing. */
static void
add_nullable(Node *node, Bitmapset **nullable)
{
	ListCell   *lc;

	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			add_nullable(lfirst(lc), nullable);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		add_nullable(join->larg, nullable);
		add_nullable(join->rarg, nullable);
		if (join->jointype == JOIN_LEFT || join->jointype == JOIN_FULL)
			*nullable = bms_join(*nullable, derive_from_members(join->rarg));
		if (join->jointype == JOIN_RIGHT || join->jointype == JOIN_FULL)
			*nullable = bms_join(*nullable, derive_from_members(join->larg));
	}
}

Bitmapset *
derive_query_nullable(Query *query)
{
	Bitmapset  *nullable = NULL;

	add_nullable((Node *) query->jointree, &nullable);
	return nullable;
}

bool
derive_column_is_not_null(Query *query, Node *expr, int level)
{
	Var		   *var = derive_query_plain_column(expr);
	RangeTblEntry *rte;

	if (var == NULL || (int) var->varlevelsup != level)
		return false;
	rte = rt_fetch(var->varno, query->rtable);
	return rte->rtekind == RTE_RELATION && !bms_is_member(var->varno, derive_query_nullable(query)) &&
		derive_compat_column_is_not_null(rte->relid, rte->inh, var->varattno);
}

/* Conditions that all must hold, as a flat list. */
List *
derive_conditions_of(Node *quals)
{
	List	   *flat = NIL;
	ListCell   *lc;

	foreach(lc, make_ands_implicit((Expr *) quals))
	{
		if (is_andclause(lfirst(lc)))
			flat = list_concat(flat, derive_conditions_of(lfirst(lc)));
		else
			flat = lappend(flat, lfirst(lc));
	}
	return flat;
}

Node *
derive_all_of(List *conditions)
{
	return conditions ? (Node *) make_ands_explicit(conditions) : NULL;
}

static bool
reads_relations_walker(Node *node, int *depth)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		Bitmapset  *used = derive_query_used(query);
		bool		result;
		int			i = -1;

		(*depth)++;
		while ((i = bms_next_member(used, i)) >= 0)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->rtekind == RTE_RELATION ||
				(rte->rtekind == RTE_CTE && (int) rte->ctelevelsup > *depth))
				return true;
		}
		result = query_tree_walker(query, reads_relations_walker, depth, 0);
		(*depth)--;
		return result;
	}
	return expression_tree_walker(node, reads_relations_walker, depth);
}

bool
derive_query_reads_relations(Query *query)
{
	int			depth = -1;

	return reads_relations_walker((Node *) query, &depth);
}

bool
derive_sublinks_read_relations(Node *expr)
{
	int			depth = -1;

	return reads_relations_walker(expr, &depth);
}

static bool
outer_reference_walker(Node *node, int *depth)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		bool		result;

		(*depth)++;
		result = query_tree_walker((Query *) node, outer_reference_walker, depth, QTW_EXAMINE_RTES_BEFORE);
		(*depth)--;
		return result;
	}
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_CTE &&
			(int) ((RangeTblEntry *) node)->ctelevelsup > *depth;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup > *depth)
		return true;
	return expression_tree_walker(node, outer_reference_walker, depth);
}

bool
derive_refers_outside(Node *expr)
{
	int			depth = 0;

	return outer_reference_walker(expr, &depth);
}

bool
derive_query_refers_outside(Query *query)
{
	int			depth = -1;

	return outer_reference_walker((Node *) query, &depth);
}

static void
add_row_types(Oid type, List **relids)
{
	Oid			element;
	Oid			relid;
	TupleDesc	desc;

	type = getBaseType(type);
	element = get_element_type(type);
	if (!OidIsValid(element))
		element = type_is_multirange(type) ? get_multirange_range(type) : get_range_subtype(type);
	if (OidIsValid(element))
		add_row_types(element, relids);
	relid = get_typ_typrelid(type);
	if (!OidIsValid(relid) || list_member_oid(*relids, relid))
		return;
	*relids = lappend_oid(*relids, relid);
	desc = lookup_rowtype_tupdesc_copy(type, -1);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			add_row_types(TupleDescAttr(desc, i)->atttypid, relids);
}

List *
derive_row_types_of(TupleDesc desc)
{
	List	   *relids = NIL;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			add_row_types(TupleDescAttr(desc, i)->atttypid, &relids);
	return relids;
}

TupleDesc
derive_anonymous_row_of_call(Node *node)
{
	TupleDesc	desc;

	return exprType(node) == RECORDOID && get_expr_result_type(node, NULL, &desc) == TYPEFUNC_COMPOSITE ? desc : NULL;
}

static void
add_all_row_types(List *types, List **relids)
{
	ListCell   *lc;

	foreach(lc, types)
		add_row_types(lfirst_oid(lc), relids);
}

static bool
row_types_walker(Node *node, List **relids)
{
	TupleDesc	desc;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			return query_tree_walker((Query *) node, row_types_walker, relids, QTW_IGNORE_JOINALIASES);
			/* what stands in FROM may be read as an anonymous row */
		case T_RangeTblFunction:
			add_all_row_types(((RangeTblFunction *) node)->funccoltypes, relids);
			break;
		case T_TableFunc:
			add_all_row_types(((TableFunc *) node)->coltypes, relids);
			break;
		case T_FuncExpr:
		case T_OpExpr:
			desc = derive_anonymous_row_of_call(node);
			if (desc != NULL)
				*relids = list_concat_unique_oid(*relids, derive_row_types_of(desc));
			/* FALLTHROUGH */
		case T_Var:
		case T_Const:
		case T_Aggref:
		case T_WindowFunc:
		case T_RowExpr:
		case T_CoerceViaIO:
			add_row_types(exprType(node), relids);
			break;
		default:
			if (derive_compat_is_json_expression(node))
				add_row_types(exprType(node), relids);
			break;
	}
	return expression_tree_walker(node, row_types_walker, relids);
}

List *
derive_query_row_types(Query *query)
{
	List	   *relids = NIL;

	(void) row_types_walker((Node *) query, &relids);
	return relids;
}

static bool
names_walker(Node *node, NamesContext *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, names_walker, context);
	foreach(lc, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		/* before 16, the definition of a view names the view itself */
		if (rte->rtekind != RTE_RELATION || rte->relid == context->view)
			continue;
		if (context->visit(rte->relid, context->arg) ||
			(get_rel_relkind(rte->relid) == RELKIND_VIEW &&
			 derive_visit_names(rte->relid, context->visit, context->arg)))
			return true;
	}
	return query_tree_walker((Query *) node, names_walker, context, 0);
}

bool
derive_visit_names(Oid view, DeriveNameVisitor visit, void *arg)
{
	NamesContext context = {view, visit, arg};
	Relation	rel = relation_open(view, NoLock);
	bool		result = rel->rd_rules != NULL &&
	names_walker(linitial(rel->rd_rules->rules[0]->actions), &context);

	relation_close(rel, NoLock);
	return result;
}

static bool
add_plain_view(Oid relid, void *arg)
{
	List	  **views = arg;

	if (get_rel_relkind(relid) == RELKIND_VIEW)
	{
		LockRelationOid(relid, AccessShareLock);
		*views = list_append_unique_oid(*views, relid);
	}
	return false;
}

List *
derive_plain_views_below(Oid view)
{
	List	   *views = NIL;

	(void) derive_visit_names(view, add_plain_view, &views);
	return views;
}

Var *
derive_query_plain_column(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node && IsA(node, Var) && ((Var *) node)->varattno > 0 ? (Var *) node : NULL;
}

AttrNumber
derive_query_find_output(List *targets, int varno, AttrNumber varattno)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Var		   *var = (Var *) tle->expr;

		if (IsA(var, Var) && var->varno == varno && var->varattno == varattno && var->varlevelsup == 0)
			return tle->resno;
	}
	return 0;
}

static bool
removes_duplicates(Node *setop)
{
	SetOperationStmt *op = (SetOperationStmt *) setop;

	if (setop == NULL || !IsA(setop, SetOperationStmt))
		return false;
	return !(op->op == SETOP_UNION && op->all) ||
		removes_duplicates(op->larg) || removes_duplicates(op->rarg);
}

bool
derive_query_is_grouped(Query *query)
{
	return query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL;
}

bool
derive_query_is_linear(Query *query)
{
	return !derive_query_is_grouped(query) && query->distinctClause == NIL && !query->hasWindowFuncs &&
		query->limitCount == NULL && query->limitOffset == NULL && query->cteList == NIL &&
		!removes_duplicates(query->setOperations);
}

bool
derive_has_other_setop(Node *node)
{
	SetOperationStmt *op = (SetOperationStmt *) node;

	return node != NULL && IsA(node, SetOperationStmt) &&
		(op->op != SETOP_UNION || derive_has_other_setop(op->larg) || derive_has_other_setop(op->rarg));
}

bool
derive_query_has_other_setop(Query *query)
{
	return derive_has_other_setop(query->setOperations);
}

static bool
has_outer_join(Node *node)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		return false;
	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		return join->jointype != JOIN_INNER || has_outer_join(join->larg) || has_outer_join(join->rarg);
	}
	foreach(lc, castNode(FromExpr, node)->fromlist)
		if (has_outer_join(lfirst(lc)))
		return true;
	return false;
}

bool
derive_query_has_outer_join(Query *query)
{
	return has_outer_join((Node *) query->jointree);
}

bool
derive_query_is_plain(Query *query)
{
	return query->commandType == CMD_SELECT && query->groupingSets == NIL && query->sortClause == NIL &&
		query->cteList == NIL && query->limitCount == NULL && query->limitOffset == NULL &&
		query->rowMarks == NIL && !query->hasWindowFuncs && !query->hasForUpdate &&
		!derive_query_has_outer_join(query);
}

TupleDesc
derive_query_desc(Query *query)
{
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(query->targetList));
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;

		TupleDescInitEntry(desc, tle->resno, tle->resname,
						   exprType(expr), exprTypmod(expr), 0);
		TupleDescInitEntryCollation(desc, tle->resno, exprCollation(expr));
	}
	return desc;
}

/* -------------------------------------------------------------------------
 * Changes
 * -------------------------------------------------------------------------
 */

static Node *
flatten_aliases_mutator(Node *node, void *query)
{
	return derive_compat_flatten_join_aliases(query, node);
}

void
derive_query_flatten_aliases(Query *query)
{
	(void) query_tree_mutator(query, flatten_aliases_mutator, query,
							  QTW_IGNORE_JOINALIASES | QTW_DONT_COPY_QUERY);
}

void
derive_query_normalize(Query *query)
{
	List	   *targets = NIL;
	ListCell   *lc;

	query->sortClause = NIL;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
		{
			/* GROUP BY and DISTINCT may still refer to it */
			if (tle->ressortgroupref != 0 &&
				(query->groupClause != NIL || query->distinctClause != NIL))
				targets = lappend(targets, tle);
			continue;
		}
		targets = lappend(targets, tle);
		if (query->groupClause == NIL && query->distinctClause == NIL)
			tle->ressortgroupref = 0;
	}
	query->targetList = targets;
}

Query *
derive_query_scan(Oid relid, TupleDesc stored, TupleDesc shown)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;

	for (int i = 0; i < stored->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(stored, i);
		Form_pg_attribute as = TupleDescAttr(shown, i);
		Expr	   *expr = (Expr *) makeVar(1, i + 1, att->atttypid, att->atttypmod,
											att->attcollation, 0);

		if (as->atttypid != att->atttypid)
			expr = derive_show(expr, as->atttypid);
		names = lappend(names, makeString(pstrdup(NameStr(att->attname))));
		query->targetList = lappend(query->targetList,
									makeTargetEntry(expr, i + 1,
													pstrdup(NameStr(att->attname)), false));
	}
	rte->rtekind = RTE_RELATION;
	rte->relid = relid;
	rte->relkind = RELKIND_MATVIEW; /* see materialize/internal_tables.c */
	rte->rellockmode = AccessShareLock;
	rte->inFromCl = true;
	rte->eref = makeAlias("derived", names);
	ref->rtindex = 1;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	derive_compat_strip_permissions(query);
	return query;
}

void
derive_query_coerce_columns(Query *query, SetOperationStmt *op)
{
	ListCell   *lc;
	ListCell   *type = list_head(op->colTypes);
	ListCell   *typmod = list_head(op->colTypmods);
	ListCell   *collation = list_head(op->colCollations);

	derive_query_normalize(query);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;

		if (exprType(expr) != lfirst_oid(type))
		{
			expr = coerce_to_target_type(NULL, expr, exprType(expr),
										 lfirst_oid(type), -1,
										 COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
			if (expr == NULL)
				elog(ERROR, "could not coerce a column of a set operation");
		}
		if (exprTypmod(expr) != lfirst_int(typmod) || exprCollation(expr) != lfirst_oid(collation))
			expr = applyRelabelType(expr, lfirst_oid(type), lfirst_int(typmod),
									lfirst_oid(collation), COERCE_IMPLICIT_CAST, -1, false);
		tle->expr = (Expr *) expr;
		type = lnext(op->colTypes, type);
		typmod = lnext(op->colTypmods, typmod);
		collation = lnext(op->colCollations, collation);
	}
}

SubLink *
derive_query_sublink(SubLinkType type, Query *query)
{
	SubLink    *sublink = makeNode(SubLink);

	Assert(type == EXISTS_SUBLINK || type == EXPR_SUBLINK);
	sublink->subLinkType = type;
	sublink->subselect = (Node *) query;
	sublink->location = -1;
	return sublink;
}

List *
derive_query_one_target(void)
{
	Const	   *one = makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(1), false, true);

	return list_make1(makeTargetEntry((Expr *) one, 1, pstrdup("one"), false));
}

Query *
derive_query_wrap(Query *inner)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, inner->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->resjunk)
			continue;
		names = lappend(names, makeString(tle->resname ? tle->resname : pstrdup("?column?")));
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) makeVarFromTargetEntry(1, tle),
													tle->resno, tle->resname, false));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = inner;
	rte->inFromCl = true;
	rte->eref = makeAlias("branch", names);
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	return query;
}

void
derive_query_group_by_columns(Query *query)
{
	ListCell   *lc;

	Assert(query->groupClause == NIL);
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		SortGroupClause *clause = makeNode(SortGroupClause);

		get_sort_group_operators(exprType((Node *) tle->expr), false, true, false,
								 &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		clause->tleSortGroupRef = assignSortGroupRef(tle, query->targetList);
		query->groupClause = lappend(query->groupClause, clause);
	}
}

Aggref *
derive_query_count_rows(void)
{
	Aggref	   *aggref = makeNode(Aggref);

	aggref->aggfnoid = F_COUNT_;
	aggref->aggtype = INT8OID;
	aggref->aggstar = true;
	aggref->aggkind = AGGKIND_NORMAL;
	aggref->aggno = aggref->aggtransno = -1;
	aggref->location = -1;
	return aggref;
}

static bool
same_columns(SetOperationStmt *a, SetOperationStmt *b)
{
	return equal(a->colTypes, b->colTypes) && equal(a->colTypmods, b->colTypmods) &&
		equal(a->colCollations, b->colCollations);
}

/*
 * "a UNION ALL b UNION ALL c ..." is as deep a tree as it has branches, so what is
 * done at each level must not be done to all branches below it.  Duplicates that
 * are removed further up need not be removed twice.
 */
static List *
union_branches(Query *query, SetOperationStmt *op, bool distinct_around,
			   DeriveDistinctUnion distinct, void *arg)
{
	List	   *branches = NIL;
	Node	   *args[2] = {op->larg, op->rarg};

	for (int i = 0; i < 2; i++)
	{
		List	   *parts = NIL;
		ListCell   *lc;
		bool		coerced = false;

		if (IsA(args[i], SetOperationStmt))
		{
			SetOperationStmt *inner = (SetOperationStmt *) args[i];

			parts = union_branches(query, inner, distinct_around || !op->all, distinct, arg);
			coerced = (inner->all || distinct_around || !op->all) && same_columns(inner, op);
		}
		else
		{
			RangeTblEntry *rte = rt_fetch(((RangeTblRef *) args[i])->rtindex, query->rtable);

			parts = list_make1(derive_query_wrap(rte->subquery));
		}
		if (!coerced)
			foreach(lc, parts)
				derive_query_coerce_columns(lfirst_node(Query, lc), op);
		branches = branches == NIL ? parts : list_concat(branches, parts);
	}
	if (!op->all && !distinct_around)
	{
		/*
		 * hand the duplicates over to an operator; coerced again by our
		 * caller
		 */
		branches = list_make1(distinct(arg, branches));
	}
	return branches;
}

List *
derive_query_union_branches(Query *query, DeriveDistinctUnion distinct, void *arg)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);

	/* the caller removes those of the set operation itself */
	return union_branches(query, op, !op->all, distinct, arg);
}

RangeTblEntry *
derive_query_subquery_rte(Query *query, const char *name)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		names = lappend(names, makeString(tle->resname ? pstrdup(tle->resname) : pstrdup("?column?")));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->inFromCl = true;
	rte->eref = makeAlias(name, names);
	return rte;
}

Query *
derive_query_union_all(List *branches)
{
	Query	   *query = makeNode(Query);
	Node	   *tree = NULL;
	ListCell   *lc;
	Query	   *first = linitial_node(Query, branches);

	foreach(lc, branches)
	{
		RangeTblRef *ref = makeNode(RangeTblRef);
		SetOperationStmt *op;

		query->rtable = lappend(query->rtable, derive_query_subquery_rte(lfirst_node(Query, lc), "branch"));
		ref->rtindex = list_length(query->rtable);
		if (tree == NULL)
		{
			tree = (Node *) ref;
			continue;
		}
		op = makeNode(SetOperationStmt);
		op->op = SETOP_UNION;
		op->all = true;
		op->larg = tree;
		op->rarg = (Node *) ref;
		tree = (Node *) op;
	}
	if (IsA(tree, RangeTblRef))
		return first;

	foreach(lc, first->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;
		Var		   *var = makeVar(1, tle->resno, exprType(expr), exprTypmod(expr),
								  exprCollation(expr), 0);

		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) var, tle->resno, tle->resname, false));
		for (Node *node = tree; IsA(node, SetOperationStmt); node = ((SetOperationStmt *) node)->larg)
		{
			SetOperationStmt *op = (SetOperationStmt *) node;

			op->colTypes = lappend_oid(op->colTypes, exprType(expr));
			op->colTypmods = lappend_int(op->colTypmods, exprTypmod(expr));
			op->colCollations = lappend_oid(op->colCollations, exprCollation(expr));
		}
	}
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->jointree = makeFromExpr(NIL, NULL);
	query->setOperations = tree;
	return query;
}

RangeTblEntry *
derive_query_enr_rte(const char *enrname, TupleDesc desc, double ntuples)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *names = NIL;

	rte->rtekind = RTE_NAMEDTUPLESTORE;
	rte->enrname = pstrdup(enrname);
	rte->enrtuples = ntuples;
	rte->inFromCl = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		names = lappend(names, makeString(pstrdup(NameStr(att->attname))));
		rte->coltypes = lappend_oid(rte->coltypes, att->attisdropped ? InvalidOid : att->atttypid);
		rte->coltypmods = lappend_int(rte->coltypmods, att->atttypmod);
		rte->colcollations = lappend_oid(rte->colcollations, att->attcollation);
	}
	rte->eref = makeAlias(enrname, names);
	return rte;
}

/* -------------------------------------------------------------------------
 * Comparisons with sub-queries
 * -------------------------------------------------------------------------
 */

typedef struct OutputContext
{
	Query	   *subquery;
	bool		(*usable) (Node *output);
	bool		failed;
} OutputContext;

static Node *
output_mutator(Node *node, OutputContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
	{
		TargetEntry *tle = get_tle_by_resno(context->subquery->targetList, ((Param *) node)->paramid);

		if (tle != NULL && (context->usable == NULL || context->usable((Node *) tle->expr)))
			return copyObject((Node *) tle->expr);
		context->failed = true;
		return node;
	}
	if (IsA(node, SubLink))
		return copyObject(node);	/* its comparison is with its own outputs */
	return expression_tree_mutator(node, output_mutator, context);
}

Node *
derive_query_put_outputs(Node *comparison, Query *subquery, bool (*usable) (Node *output))
{
	OutputContext context = {subquery, usable, false};
	Node	   *result = output_mutator(comparison, &context);

	return context.failed ? NULL : result;
}
