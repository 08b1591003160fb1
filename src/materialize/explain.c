/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  What a view's program does, for people.
 *
 * One paragraph for each operator, the last one (the view's) first and the
 * operators that it reads indented below it.  For each relation whose changes
 * are joined with others, the indexes that the cached plan of a small change
 * would use are named, and a CREATE INDEX for each equality that no index
 * serves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "derive/aggregate.h"
#include "derive/query.h"
#include "materialize/body.h"
#include "materialize/program.h"

static char *
relation_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* -------------------------------------------------------------------------
 * Index advice
 * -------------------------------------------------------------------------
 */

typedef struct AdviceContext
{
	List	   *queries;		/* enclosing queries, innermost first */
	List	   *advice;			/* of char * */
	List	   *used;			/* of char *: "relation: index" */
} AdviceContext;

/* A valid index whose first column is this one, or InvalidOid. */
static Oid
leading_index(Oid relid, AttrNumber attno)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && index->rd_index->indkey.values[0] == attno &&
			RelationGetIndexPredicate(index) == NIL)
			found = lfirst_oid(lc);
		index_close(index, AccessShareLock);
	}
	table_close(rel, AccessShareLock);
	return found;
}

/* One side of an equality: is there an index to find its rows by? */
static void
consider_column(AdviceContext *context, Node *node)
{
	Var		   *var;
	RangeTblEntry *rte;
	Oid			index;
	char	   *line;

	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	var = (Var *) node;
	if (node == NULL || !IsA(node, Var) || var->varattno <= 0 ||
		(int) var->varlevelsup >= list_length(context->queries))
		return;
	rte = rt_fetch(var->varno, ((Query *) list_nth(context->queries, var->varlevelsup))->rtable);
	if (rte->rtekind != RTE_RELATION)
		return;

	index = leading_index(rte->relid, var->varattno);
	if (OidIsValid(index))
	{
		line = psprintf("%s by index %s", relation_name(rte->relid), quote_identifier(get_rel_name(index)));
		context->used = list_append_unique(context->used, makeString(line));
		return;
	}
	line = psprintf("CREATE INDEX ON %s (%s);", relation_name(rte->relid),
					quote_identifier(get_attname(rte->relid, var->varattno, false)));
	context->advice = list_append_unique(context->advice, makeString(line));
}

static bool
advice_walker(Node *node, AdviceContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = copyObject((Query *) node);
		Node	   *jointree = derive_compat_flatten_join_aliases(query, (Node *) query->jointree);
		Bitmapset  *used = derive_query_used(query);
		int			i = -1;

		context->queries = lcons(query, context->queries);
		(void) advice_walker(jointree, context);
		while ((i = bms_next_member(used, i)) >= 0)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->rtekind == RTE_SUBQUERY)
				(void) advice_walker((Node *) rte->subquery, context);
		}
		context->queries = list_delete_first(context->queries);
		return false;
	}
	if (IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2)
	{
		OpExpr	   *op = (OpExpr *) node;
		Node	   *left = get_leftop((Expr *) op);
		Node	   *right = get_rightop((Expr *) op);

		if (op_mergejoinable(op->opno, exprType(left)) && contain_var_clause(left) && contain_var_clause(right))
		{
			consider_column(context, left);
			consider_column(context, right);
		}
		return false;
	}
	return expression_tree_walker(node, advice_walker, context);
}

static void
advise_operator(DeriveOperator *op, AdviceContext *context)
{
	ListCell   *lc;

	foreach(lc, derive_linear_branches(op->input))
		(void) advice_walker(lfirst(lc), context);

	/* groups that may have to be recomputed are found by their keys */
	if (op->aggregation && op->aggregation->core && op->aggregation->grouped)
	{
		bool		redo = op->aggregation->recompute;
		Query	   *core = op->aggregation->core;

		for (int i = 0; i < op->aggregation->ncalls; i++)
			redo |= op->aggregation->calls[i].function->cls == DERIVE_AGG_EXTREMUM;
		if (redo)
		{
			context->queries = list_make1(core);
			consider_column(context, derive_compat_flatten_join_aliases(core,
																		(Node *) linitial_node(TargetEntry, core->targetList)->expr));
			context->queries = NIL;
		}
	}
}

static List *
strings(List *values)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, values)
		result = lappend(result, strVal(lfirst(lc)));
	return result;
}

List *
derive_operators_advice(DeriveProgram *program)
{
	AdviceContext context = {NIL, NIL, NIL};
	ListCell   *lc;

	foreach(lc, program->operators->list)
		advise_operator(lfirst(lc), &context);
	return strings(context.advice);
}

/* -------------------------------------------------------------------------
 * The tree
 * -------------------------------------------------------------------------
 */

static List *
indented(List *lines, int depth, const char *text)
{
	return lappend(lines, psprintf("%*s%s", depth * 2, "", text));
}

static char *
locator_text(DeriveOperator *op)
{
	if (op->locator.unique)
		return psprintf("Rows found by: unique index %s", quote_identifier(get_rel_name(op->index) ? get_rel_name(op->index) : "(to be created)"));
	return psprintf("Rows found by: hash of %s, index %s",
					op->locator.nattrs > 0 ? "the key" : "the row",
					quote_identifier(get_rel_name(op->index) ? get_rel_name(op->index) : "(to be created)"));
}

static List *
explain_operator(DeriveProgram *program, DeriveOperator *op, int depth, List *lines)
{
	DeriveOccurrence *occurrences;
	int			noccurrences = derive_linear_occurrences(op->input, &occurrences);
	AdviceContext advice = {NIL, NIL, NIL};
	ListCell   *lc;
	List	   *seen = NIL;

	lines = indented(lines, depth, psprintf("%s%s (%s) -> %s %s", depth > 0 ? "<- " : "",
											op->label, op->routine->name,
											op->table == program->view ? "view" : "derived table",
											relation_name(op->table)));
	foreach(lc, op->routine->explain(op, NIL))
		lines = indented(lines, depth + 2, lfirst(lc));
	lines = indented(lines, depth + 2, locator_text(op));

	advise_operator(op, &advice);
	foreach(lc, strings(advice.used))
		lines = indented(lines, depth + 2, psprintf("Looks up: %s", (char *) lfirst(lc)));
	foreach(lc, strings(advice.advice))
		lines = indented(lines, depth + 2, psprintf("Would help: %s", (char *) lfirst(lc)));

	for (int i = 0; i < noccurrences; i++)
	{
		Oid			relid = occurrences[i].relid;
		DeriveOperator *inner = NULL;

		if (list_member_oid(seen, relid))
			continue;
		seen = lappend_oid(seen, relid);
		foreach(lc, program->operators->list)
			if (((DeriveOperator *) lfirst(lc))->table == relid)
			inner = lfirst(lc);
		if (inner)
			lines = explain_operator(program, inner, depth + 1, lines);
		else
			lines = indented(lines, depth + 1,
							 psprintf("<- %s %s", get_rel_relkind(relid) == RELKIND_MATVIEW ? "changes of view" : "changes of",
									  relation_name(relid)));
	}
	return lines;
}

List *
derive_operators_explain(DeriveProgram *program)
{
	return explain_operator(program, llast(program->operators->list), 0, NIL);
}
