/*-------------------------------------------------------------------------
 *
 * compile.c
 *	  From a view's SELECT to its operators.
 *
 * A SELECT is cut where it stops being linear.  Each block that groups,
 * aggregates or removes duplicates becomes an aggregate operator; blocks inside
 * FROM come first and keep their rows in a derived table, which takes the
 * block's place in the block around it:
 *
 *	SELECT .. FROM a JOIN (SELECT .. FROM b GROUP BY ..) s ON ..
 *		operator 0	aggregate	b			--> derived table 0
 *		operator 1	select		a, table 0	--> the view
 *
 *	SELECT DISTINCT x, count(*) FROM a GROUP BY x, y
 *		operator 0	aggregate	a			--> derived table 0
 *		operator 1	aggregate	table 0		--> the view		(DISTINCT)
 *
 *	(SELECT .. UNION SELECT ..) UNION ALL SELECT ..
 *		operator 0	aggregate	two branches		--> derived table 0
 *		operator 1	select		table 0, a branch	--> the view
 *
 * Linear sub-queries stay where they are, term.c looks into them.
 *
 * A block of which some part has no incremental operator (compile/verdict.c) is
 * evaluated as a whole.  What its sub-queries in FROM do on their own is still
 * maintained as above:
 *
 *	SELECT .. FROM (SELECT k, count(*) AS n FROM a GROUP BY k) s ORDER BY n OFFSET 10
 *		operator 0	aggregate	a			--> derived table 0
 *		operator 1	whole		table 0		--> the view
 *
 * With LIMIT 10 instead, operator 1 is a top operator, which keeps the first rows.
 *
 * What reads itself in WITH RECURSIVE becomes an operator, too, if it can be taken apart
 * (compile/recursion.c), and the block reads its table:
 *
 *	WITH RECURSIVE x AS (SELECT .. FROM a UNION SELECT .. FROM x JOIN b ..) SELECT .. FROM x JOIN c ..
 *		operator 0	recursive	a, b		--> derived table 0
 *		operator 1	select		table 0, c	--> the view
 *
 * A view that reads no table at all is evaluated once, and not cut:
 *
 *	SELECT g % 3, count(*) FROM generate_series(1, 10) g GROUP BY 1
 *		operator 0	whole		nothing		--> the view
 *
 * To add a kind of operator (an outer join, a window): take the construct out of
 * that table, cut at it in compile_block(), and give it a routine.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_am_d.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "commands/defrem.h"

#include "compile/check.h"
#include "compile/derivative.h"
#include "compile/hidden.h"
#include "compile/limit.h"
#include "compile/lower.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "compile/recursion.h"
#include "compile/running.h"
#include "compile/shape.h"
#include "compile/stages.h"
#include "derive/aggregate.h"
#include "derive/choice.h"
#include "derive/compile.h"
#include "derive/exactsum.h"
#include "derive/inherited_order.h"
#include "derive/recursive.h"
#include "derive/running.h"
#include "derive/top.h"
#include "derive/whole.h"

typedef struct Compiler
{
	DeriveTableResolver resolve;
	void	   *arg;
	List	   *operators;		/* of DeriveOperator *, in order */
	List	   *kept;			/* of KeptQuery * */
} Compiler;

/* A sub-query whose rows are kept: the same query again reads the same table. */
typedef struct KeptQuery
{
	Query	   *query;			/* as it was before it was compiled */
	DeriveOperator *op;
	TupleDesc	shown;
} KeptQuery;

static DeriveOperator *compile_block(Compiler *compiler, Query *query);
static void flatten_from(Compiler *compiler, Query *query);

static DeriveOperator *
new_operator(Compiler *compiler, const char *label)
{
	DeriveOperator *op = palloc0(sizeof(DeriveOperator));

	op->number = list_length(compiler->operators);
	op->label = label;
	return op;
}

/* Operators are numbered when they are complete: those they read come first. */
static DeriveOperator *
add_operator(Compiler *compiler, DeriveOperator *op)
{
	Assert(op->number == list_length(compiler->operators));
	compiler->operators = lappend(compiler->operators, op);
	return op;
}

static DeriveOperator *
select_operator(Compiler *compiler, List *branches, const char *label)
{
	DeriveOperator *op = new_operator(compiler, label);
	ListCell   *lc;

	foreach(lc, branches)
		derive_query_choose_inside(lfirst_node(Query, lc));
	op->routine = &derive_select_routine;
	op->input = derive_linear_create(branches, true);
	op->desc = derive_query_desc(linitial_node(Query, branches));
	return add_operator(compiler, op);
}

static DeriveOperator *
distinct_operator(Compiler *compiler, List *branches, const char *label)
{
	DeriveOperator *op = new_operator(compiler, label);
	ListCell   *lc;

	foreach(lc, branches)
		derive_query_choose_inside(lfirst_node(Query, lc));
	derive_aggregation_distinct(op, branches, compiler->resolve, compiler->arg);
	return add_operator(compiler, op);
}

/* Give an inner operator its derived table, and the query that reads it. */
static Query *
derived_scan(Compiler *compiler, DeriveOperator *op)
{
	TupleDesc	shown = op->desc;

	op->routine->hide(op);
	op->table = compiler->resolve(compiler->arg, op->number, 'd', op->desc);
	return derive_query_scan(op->table, op->desc, shown);
}

/* -------------------------------------------------------------------------
 * FROM
 * -------------------------------------------------------------------------
 */

/*
 * Is the sub-query all that the query reads?  Then its partitions are evaluated when they
 * change, and at no other time.
 */
static bool
is_all_of_from(Query *query, Query *subquery)
{
	return (derive_partition_clauses(subquery) != NIL || subquery->hasDistinctOn) && derive_query_is_linear(query) &&
		bms_membership(derive_query_used(query)) == BMS_SINGLETON &&
		!derive_sublinks_read_relations((Node *) query->targetList) &&
		!derive_sublinks_read_relations(query->jointree->quals) &&
		derive_query_verdict(subquery) == NULL;
}

/*
 * Would the sub-query have to be evaluated as a whole, again and again, if its rows were not
 * kept?  Or do rows leave it as time passes, which no term of a query around it would tell?
 */
static bool
is_worth_keeping(Query *subquery)
{
	return (!derive_query_is_linear(subquery) || derive_count_time_conditions(subquery) > 0) &&
		!derive_query_refers_outside(subquery);
}

/* A sub-query in WITH that is used twice, say, is computed once. */
static Query *
keep(Compiler *compiler, Query *subquery)
{
	KeptQuery  *kept;
	ListCell   *lc;
	Query	   *scan;

	foreach(lc, compiler->kept)
	{
		kept = lfirst(lc);
		if (equal(kept->query, subquery))
			return derive_query_scan(kept->op->table, kept->op->desc, kept->shown);
	}
	kept = palloc(sizeof(KeptQuery));
	kept->query = copyObject(subquery);
	kept->op = compile_block(compiler, subquery);
	kept->shown = kept->op->desc;
	scan = derived_scan(compiler, kept->op);
	compiler->kept = lappend(compiler->kept, kept);
	return scan;
}

/* Sub-queries in expressions. */
static bool
flatten_walker(Node *node, Compiler *compiler)
{
	if (node == NULL || IsA(node, Query))
		return false;
	if (IsA(node, SubLink))
	{
		SubLink    *sublink = (SubLink *) node;
		Query	   *subquery = castNode(Query, sublink->subselect);

		if (!derive_query_reads_relations(subquery))
			return expression_tree_walker(sublink->testexpr, flatten_walker, compiler);

		/*
		 * the rows of ARRAY(..) may be in order, and those that are kept are
		 * not
		 */
		if (sublink->subLinkType != ARRAY_SUBLINK && is_worth_keeping(subquery))
			sublink->subselect = (Node *) keep(compiler, subquery);
		else
			flatten_from(compiler, subquery);
		return flatten_walker(sublink->testexpr, compiler);
	}
	return expression_tree_walker(node, flatten_walker, compiler);
}

/* Make tables of all sub-queries, at any depth, that are worth it. */
static void
flatten_from(Compiler *compiler, Query *query)
{
	Bitmapset  *used = derive_query_used(query);
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind != RTE_SUBQUERY)
		{
			(void) range_table_entry_walker(rte, flatten_walker, compiler, QTW_IGNORE_JOINALIASES);
			continue;
		}
		if (!derive_query_reads_relations(rte->subquery))
			continue;
		if (!is_worth_keeping(rte->subquery) || is_all_of_from(query, rte->subquery))
		{
			if (derive_query_is_linear(rte->subquery))
				derive_query_normalize(rte->subquery);
			flatten_from(compiler, rte->subquery);
			continue;
		}
		rte->subquery = keep(compiler, rte->subquery);
		rte->lateral = false;
		rte->security_barrier = false;
	}
	(void) query_tree_walker(query, flatten_walker, compiler, QTW_IGNORE_RANGE_TABLE);
}

/* -------------------------------------------------------------------------
 * Blocks
 * -------------------------------------------------------------------------
 */

/* UNION below another set operation: its own operator. */
static Query *
inner_union(void *arg, List *branches)
{
	Compiler   *compiler = arg;
	ListCell   *lc;

	foreach(lc, branches)
		flatten_from(compiler, lfirst_node(Query, lc));
	return derived_scan(compiler, distinct_operator(compiler, branches, "UNION"));
}

static DeriveOperator *
compile_union(Compiler *compiler, Query *query)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);
	List	   *branches = derive_query_union_branches(query, inner_union, compiler);
	ListCell   *lc;

	/* the set operation names the columns */
	foreach(lc, linitial_node(Query, branches)->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->resname = list_nth_node(TargetEntry, query->targetList, foreach_current_index(lc))->resname;
	}
	foreach(lc, branches)
		flatten_from(compiler, lfirst_node(Query, lc));
	if (op->all)
		return select_operator(compiler, branches, "UNION ALL");
	return distinct_operator(compiler, branches, "UNION");
}

static DeriveOperator *
compile_grouping(Compiler *compiler, Query *query)
{
	DeriveOperator *op;
	const char *label = query->groupClause ? "GROUP BY" : "aggregate";

	flatten_from(compiler, query);
	derive_query_choose_inside(query);
	op = new_operator(compiler, label);
	derive_aggregation_compile(op, query, compiler->resolve, compiler->arg);
	return add_operator(compiler, op);
}

static const char *
select_label(Query *query)
{
	Bitmapset  *used = derive_query_used(query);
	int			nrelations = 0;
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
		if (rt_fetch(i, query->rtable)->rtekind != RTE_JOIN)
			nrelations++;
	return nrelations > 1 ? "join" : "select";
}

static DeriveOperator *
compile_whole(Compiler *compiler, Query *query, const DeriveVerdict *verdict)
{
	DeriveOperator *op;

	flatten_from(compiler, query);
	op = new_operator(compiler, verdict->construct);
	op->verdict = verdict;
	derive_whole_compile(op, query);
	return add_operator(compiler, op);
}

/* A block whose FROM is done, if the changes of all that it reads have terms. */
static DeriveOperator *
compile_select(Compiler *compiler, Query *query, const char *label)
{
	if (!derive_linear_is_possible(query))
		return compile_whole(compiler, query, &derive_verdict_without_terms);
	return select_operator(compiler, list_make1(query), label);
}

/* Window functions, DISTINCT ON. */
static DeriveOperator *
compile_partitioned(Compiler *compiler, Query *query)
{
	const char *label = query->hasDistinctOn ? "DISTINCT ON" : "window";

	Assert(!query->hasDistinctOn || !query->hasWindowFuncs);	/* see stages.c */
	flatten_from(compiler, query);
	return compile_select(compiler, derive_query_wrap(query), label);
}

/* Windows over all rows of which each row follows from those before it. */
static DeriveOperator *
compile_running(Compiler *compiler, Query *query)
{
	DeriveRunning *running;
	DeriveOperator *op;

	flatten_from(compiler, query);
	derive_check_time_places(query, false);
	running = derive_running_take_apart(query);
	if (!derive_linear_is_possible(running->input))
		return compile_whole(compiler, running->query, &derive_verdict_without_terms);
	op = new_operator(compiler, "window");
	derive_running_compile(op, running);
	return add_operator(compiler, op);
}

/* ORDER BY .. LIMIT. */
static DeriveOperator *
compile_top(Compiler *compiler, Query *query, const DeriveLimit *limit)
{
	DeriveOperator *op;

	flatten_from(compiler, query);
	if (!derive_linear_is_possible(derive_top_input(query)))
		return compile_whole(compiler, query, &derive_verdict_without_terms);
	op = new_operator(compiler, "LIMIT");
	derive_top_compile(op, query, limit, compiler->resolve, compiler->arg);
	return add_operator(compiler, op);
}

/* An entry of WITH RECURSIVE: the query that reads its rows, or NULL. */
static Query *
compile_recursion(Compiler *compiler, CommonTableExpr *cte)
{
	DeriveRecursion recursion;
	DeriveOperator *op;

	/* once there are tables for what it reads there is no way back */
	if (!derive_recursion_take_apart(cte, &recursion) ||
		!derive_linear_is_possible(derive_recursion_step(&recursion, NULL, false)))
		return NULL;
	if (!derive_query_reads_relations(recursion.base))
		recursion.base = derive_query_wrap(recursion.base);
	else if (!derive_query_is_linear(recursion.base) || recursion.base->setOperations != NULL)
		recursion.base = keep(compiler, recursion.base);
	derive_query_coerce_columns(recursion.base, recursion.op);
	flatten_from(compiler, recursion.base);
	if (!derive_linear_is_possible(recursion.base))
		recursion.base = derived_scan(compiler, compile_whole(compiler, recursion.base, &derive_verdict_without_terms));
	flatten_from(compiler, recursion.step);
	derive_query_choose_inside(recursion.base);
	derive_query_choose_inside(recursion.step);
	op = new_operator(compiler, "WITH RECURSIVE");
	derive_recursive_compile(op, &recursion, compiler->resolve, compiler->arg);
	add_operator(compiler, op);
	return derive_query_scan(op->table, op->desc, op->desc);
}

static void
refuse_endless(CommonTableExpr *cte)
{
	if (cte->cterefcount > 0 && derive_recursion_is_endless(cte))
		derive_refuse("a WITH RECURSIVE that does not end", "Its recursive term makes a row of every row.",
					  "Let it have a condition that fails in the end, in place of a LIMIT around it.");
}

/* Make tables of what reads itself, as far as that can be maintained; the rest stays. */
static void
compile_recursions(Compiler *compiler, Query *query)
{
	List	   *rest = NIL;
	ListCell   *lc;

	if (query->cteList == NIL)
		return;
	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);
		Query	   *scan;

		if (cte->cterefcount == 0)
			continue;			/* it is not evaluated */
		refuse_endless(cte);
		scan = compile_recursion(compiler, cte);
		if (scan != NULL)
			derive_query_inline_cte(query, cte->ctename, scan);
		else
			rest = lappend(rest, cte);
	}
	query->cteList = rest;
	query->hasRecursive = rest != NIL;
	if (rest == NIL)
	{
		derive_lower_query(query);
		derive_lower_joins(query);
	}
}

static bool
endless_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CommonTableExpr))
		refuse_endless((CommonTableExpr *) node);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, endless_walker, context, 0);
	return expression_tree_walker(node, endless_walker, context);
}

/*
 * A query that reads no table, whatever it does: evaluated once, by the build.  Nothing
 * that changes could concern it, so that none of its blocks needs an operator.
 */
static DeriveOperator *
compile_constant(Compiler *compiler, Query *query)
{
	DeriveOperator *op = new_operator(compiler, "constant");

	(void) endless_walker((Node *) query, NULL);
	derive_whole_compile(op, query);
	return add_operator(compiler, op);
}

static DeriveOperator *
compile_block(Compiler *compiler, Query *query)
{
	const DeriveVerdict *verdict;
	DeriveLimit limit;

	compile_recursions(compiler, query);
	verdict = derive_query_verdict(query);
	if (verdict != NULL)
		return compile_whole(compiler, query, verdict);
	if (derive_query_limit(query, &limit) == DERIVE_LIMIT_CONSTANT)
		return compile_top(compiler, query, &limit);
	if (query->setOperations)
		return compile_union(compiler, query);
	if (query->distinctClause != NIL && !query->hasDistinctOn)
	{
		query->distinctClause = NIL;
		derive_query_normalize(query);
		flatten_from(compiler, query);
		return distinct_operator(compiler, list_make1(query), "DISTINCT");
	}
	if (derive_query_is_running(query))
		return compile_running(compiler, query);
	if (query->hasWindowFuncs || query->hasDistinctOn)
		return compile_partitioned(compiler, query);
	if (derive_query_is_grouped(query))
		return compile_grouping(compiler, query);
	derive_query_normalize(query);
	flatten_from(compiler, query);
	return compile_select(compiler, query, select_label(query));
}

/* -------------------------------------------------------------------------
 * Keys: how rows of an operator's table are found
 * -------------------------------------------------------------------------
 */

/* May these columns have a unique index of their own, whatever the values? */
static bool
indexable(TupleDesc desc, List *attnos)
{
	ListCell   *lc;

	if (attnos == NIL || list_length(attnos) > INDEX_MAX_KEYS)
		return false;
	foreach(lc, attnos)
	{
		Form_pg_attribute att = TupleDescAttr(desc, lfirst_int(lc) - 1);

		if (att->attlen <= 0 || !OidIsValid(GetDefaultOpClass(att->atttypid, BTREE_AM_OID)))
			return false;
	}
	return true;
}

static void
choose_locator(DeriveOperator *op)
{
	List	   *constraints = NIL;
	List	   *key = op->routine->key(op, &constraints);
	ListCell   *lc;

	op->locator.unique = indexable(op->desc, key);

	/*
	 * a key of other types is found by its hash; where it may cease to be
	 * one, so is the whole row
	 */
	if (!op->locator.unique && constraints != NIL)
		key = NIL;
	if (op->locator.unique)
		op->constraints = constraints;
	op->locator.nattrs = list_length(key);
	op->locator.attrs = palloc(sizeof(AttrNumber) * Max(list_length(key), 1));
	foreach(lc, key)
		op->locator.attrs[foreach_current_index(lc)] = lfirst_int(lc);
}

/* -------------------------------------------------------------------------
 * Entry point
 * -------------------------------------------------------------------------
 */

List *
derive_compile(Oid view, Oid owner, DeriveTableResolver resolve, void *arg, Query **query)
{
	return derive_compile_query(derive_query_of_view(view), owner, resolve, arg, query);
}

List *
derive_compile_query(Query *tree, Oid owner, DeriveTableResolver resolve, void *arg, Query **query)
{
	Compiler	compiler = {resolve, arg, NIL, NIL};
	ListCell   *lc;

	derive_check_query(tree, owner);
	derive_query_exact_floats(tree);
	derive_query_inherit_order(tree);
	derive_query_stage(tree);
	derive_assert_shape(tree, DERIVE_SHAPE_ANY);
	*query = copyObject(tree);
	derive_query_choose(*query);
	derive_split_time(tree);

	if (derive_query_reads_relations(tree))
	{
		derive_lower_query(tree);
		derive_lower_joins(tree);
		derive_lower_in(tree);
		derive_assert_shape(tree, DERIVE_SHAPE_LOWERED);
		(void) compile_block(&compiler, tree);
	}
	else
		(void) compile_constant(&compiler, tree);
	foreach(lc, compiler.operators)
		choose_locator(lfirst(lc));
	return compiler.operators;
}
