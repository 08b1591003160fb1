/*-------------------------------------------------------------------------
 *
 * lookups.c
 *	  By which columns the operators of a SELECT look up relations.
 *
 * A small change of one relation of a join costs as much as it takes to find the
 * rows of the others that it meets, so that each equality between columns of two
 * relations wants an index on either side:
 *
 *	SELECT .. FROM f JOIN (SELECT k, j, count(*) AS n FROM g GROUP BY k, j) s
 *		ON s.k = f.k AND s.j = f.j
 *
 *		f by k, j and derived table 0 by c1, c2
 *
 * The same is true of conditions in sub-queries, wherever they are, that compare columns with
 * those of queries around them.  Where a change finds the rows that it concerns by key or
 * partition (compile/derivative.c), the rows are looked up by that, and the other side is
 * when they are evaluated again:
 *
 *	SELECT .. FROM f WHERE f.k IN (SELECT y FROM g WHERE g.z = f.z)
 *
 *		f by k, z and g by y, z
 *
 * Sub-queries that only pass a column on are looked through.  People's tables are
 * people's business: they are told (explain.c).  Derived tables are ours.
 *
 * A condition with now() wants an index that finds a range (compile/passing_time.c), and so does
 * the order of windows over all rows (derive/running.c).
 *
 * Which index.  Equality is all else that is asked for.  Columns of fixed length go
 * into one btree index.  A text may be too long for that (2700 bytes), and then the
 * view could not be maintained; a hash index takes any value, though only one
 * column, so each of the others gets one of its own, and the planner takes the best
 * or combines them.  Where the table's locator is a unique index on some of the
 * columns, nothing is better than that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_am_d.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "compile/derivative.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "compile/running.h"
#include "materialize/internal_tables.h"
#include "materialize/lookups.h"

/* Columns of one place in FROM that are equal to columns of another one. */
typedef struct Pair
{
	RangeTblEntry *mine;
	const void *other;			/* an entry, or a step of a change; NULL: an
								 * expression */
} Pair;

typedef struct LookupContext
{
	List	   *queries;		/* enclosing queries, innermost first */
	bool		in_condition;	/* what is walked is one of FROM or WHERE */
	List	   *pairs;			/* of Pair *; its position is the group */
	List	   *lookups;		/* of DeriveLookup * */
} LookupContext;

/* Where the column of a range table entry comes from. */
static void
add_lookup(LookupContext *context, RangeTblEntry *rte, AttrNumber attno, int group, bool range)
{
	Query	   *query = rte->subquery;

	if (rte->rtekind == RTE_RELATION)
	{
		DeriveLookup *lookup = palloc(sizeof(DeriveLookup));

		lookup->range = range;
		lookup->relid = rte->relid;
		lookup->attno = attno;
		lookup->group = group;
		context->lookups = lappend(context->lookups, lookup);
	}
	else if (rte->rtekind == RTE_SUBQUERY && query->setOperations != NULL)
	{
		Bitmapset  *used = derive_query_used(query);
		int			i = -1;

		while ((i = bms_next_member(used, i)) >= 0)
			add_lookup(context, rt_fetch(i, query->rtable), attno, group, range);
	}
	else if (rte->rtekind == RTE_SUBQUERY)
	{
		TargetEntry *tle = get_tle_by_resno(query->targetList, attno);
		Var		   *var = tle ? derive_query_plain_column(derive_compat_flatten_join_aliases(query, (Node *) tle->expr)) : NULL;

		if (var != NULL && var->varlevelsup == 0)
			add_lookup(context, rt_fetch(var->varno, query->rtable), var->varattno, group, range);
	}
}

static RangeTblEntry *
place_of(LookupContext *context, Var *var)
{
	if (var == NULL || (int) var->varlevelsup >= list_length(context->queries))
		return NULL;
	return rt_fetch(var->varno, ((Query *) list_nth(context->queries, var->varlevelsup))->rtable);
}

static int
group_of(LookupContext *context, RangeTblEntry *mine, const void *other)
{
	Pair	   *pair;
	ListCell   *lc;

	foreach(lc, context->pairs)
	{
		pair = lfirst(lc);
		if (pair->mine == mine && pair->other == other && other != NULL)
			return foreach_current_index(lc);
	}
	pair = palloc(sizeof(Pair));
	pair->mine = mine;
	pair->other = other;
	context->pairs = lappend(context->pairs, pair);
	return list_length(context->pairs) - 1;
}

/* An expression is compared with another place, or with several of a step. */
static void
consider_column(LookupContext *context, Node *side, const void *other, bool range)
{
	Var		   *var = derive_query_plain_column(side);
	RangeTblEntry *mine = place_of(context, var);

	if (mine != NULL && mine != other)
		add_lookup(context, mine, var->varattno, group_of(context, mine, other), range);
}

static void
consider_side(LookupContext *context, Node *side, Node *opposite, bool range)
{
	consider_column(context, side, place_of(context, derive_query_plain_column(opposite)), range);
}

/* Has an expression columns of one of the queries that we are in? */
static bool
has_columns(LookupContext *context, Node *expr)
{
	for (int level = 0; level < list_length(context->queries); level++)
		if (contain_vars_of_level(expr, level))
			return true;
	return false;
}

static bool
lookup_walker(Node *node, LookupContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = copyObject((Query *) node);
		Bitmapset  *used = derive_query_used(query);
		bool		saved = context->in_condition;
		int			i = -1;

		context->queries = lcons(query, context->queries);
		context->in_condition = true;
		(void) lookup_walker((Node *) query->jointree, context);
		context->in_condition = false;
		(void) lookup_walker((Node *) query->targetList, context);
		(void) lookup_walker(query->havingQual, context);
		while ((i = bms_next_member(used, i)) >= 0)
			(void) range_table_entry_walker(rt_fetch(i, query->rtable), lookup_walker, context, QTW_IGNORE_JOINALIASES);
		context->queries = list_delete_first(context->queries);
		context->in_condition = saved;
		return false;
	}
	if (context->in_condition && IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2)
	{
		OpExpr	   *op = (OpExpr *) node;
		Node	   *left = get_leftop((Expr *) op);
		Node	   *right = get_rightop((Expr *) op);

		if ((op_mergejoinable(op->opno, exprType(left)) || op_hashjoinable(op->opno, exprType(left))) &&
			has_columns(context, left) && has_columns(context, right))
		{
			consider_side(context, left, right, false);
			consider_side(context, right, left, false);
		}
	}
	return expression_tree_walker(node, lookup_walker, context);
}

static void
consider_step(LookupContext *context, DeriveStep *step)
{
	ListCell   *lc;

	context->queries = step->partitions ? list_make1(step->query) : list_make2(step->part, step->query);
	foreach(lc, step->pairs)
	{
		DeriveKeyPair *pair = lfirst(lc);
		Node	   *left = get_leftop((Expr *) pair->condition);
		Node	   *right = get_rightop((Expr *) pair->condition);

		consider_column(context, left, step, false);
		if (!step->partitions)
			consider_column(context, right, step, false);
	}
	context->queries = NIL;
}

/* What changes of the relations that a query reads look up. */
static void
consider_changes(LookupContext *context, Query *query)
{
	int			noccurrences;
	ListCell   *lc;

	query = copyObject(query);
	noccurrences = list_length(derive_occurrences_number(query, 0, NIL));
	for (int i = 1; i <= noccurrences; i++)
		foreach(lc, derive_query_steps(query, i))
			consider_step(context, lfirst(lc));
}

/* Rows of a query are looked up by its first column. */
static void
consider_key(LookupContext *context, Query *query)
{
	Node	   *key = (Node *) linitial_node(TargetEntry, query->targetList)->expr;

	context->queries = list_make1(query);
	consider_side(context, derive_compat_flatten_join_aliases(query, key), NULL, false);
	context->queries = NIL;
}

/* Rows that enter or leave as time passes are those between two values. */
static void
consider_time(LookupContext *context, Query *query)
{
	ListCell   *lc;

	context->queries = list_make1(query);
	foreach(lc, derive_time_sides(query))
		consider_side(context, derive_compat_flatten_join_aliases(query, lfirst(lc)), NULL, true);
	context->queries = NIL;
}

/* The rows that come after one in an order are those beyond a value of the first column. */
static void
consider_order(LookupContext *context, Query *input, DeriveOrderColumn *first)
{
	Node	   *expr = (Node *) list_nth_node(TargetEntry, input->targetList, first->input - 1)->expr;

	context->queries = list_make1(input);
	consider_side(context, derive_compat_flatten_join_aliases(input, expr), NULL, true);
	context->queries = NIL;
}

List *
derive_operator_lookups(DeriveOperator *op)
{
	LookupContext context = {NIL};
	Query	   *by_key;
	ListCell   *lc;

	foreach(lc, op->routine->queries(op, &by_key))
	{
		(void) lookup_walker(lfirst(lc), &context);
		consider_changes(&context, lfirst_node(Query, lc));
		consider_time(&context, lfirst(lc));
	}
	if (by_key != NULL)
		consider_key(&context, by_key);
	if (op->order != NIL)
		consider_order(&context, linitial_node(Query, op->routine->queries(op, &by_key)), linitial(op->order));
	return context.lookups;
}

/* -------------------------------------------------------------------------
 * Indexes of derived tables
 * -------------------------------------------------------------------------
 */

/* Is every row that is found by these columns found by the locator's unique index? */
static bool
locator_serves(const DeriveLocator *locator, List *attnos)
{
	for (int i = 0; i < locator->nattrs; i++)
		if (!list_member_int(attnos, locator->attrs[i]))
			return false;
	return locator->unique;
}

static void
create_indexes(DeriveOperator *table, List *attnos, bool range)
{
	AttrNumber *fixed = palloc(sizeof(AttrNumber) * list_length(attnos));
	int			nfixed = 0;
	ListCell   *lc;

	if (locator_serves(&table->locator, attnos))
		return;
	foreach(lc, attnos)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, lfirst_int(lc) - 1);
		AttrNumber	attno = lfirst_int(lc);

		if (att->attlen > 0 && nfixed < INDEX_MAX_KEYS && OidIsValid(GetDefaultOpClass(att->atttypid, BTREE_AM_OID)))
			fixed[nfixed++] = attno;
		else if (!range && OidIsValid(GetDefaultOpClass(att->atttypid, HASH_AM_OID)))
			derive_internal_index_columns(table->table, "hash", 1, &attno);
	}
	if (nfixed > 0)
		derive_internal_index_columns(table->table, "btree", nfixed, fixed);
}

List *
derive_lookup_columns(List *lookups, Oid relid, int group)
{
	List	   *attnos = NIL;
	ListCell   *lc;

	foreach(lc, lookups)
	{
		DeriveLookup *lookup = lfirst(lc);

		if (lookup->group == group && lookup->relid == relid)
			attnos = list_append_unique_int(attnos, lookup->attno);
	}
	list_sort(attnos, list_int_cmp);
	return attnos;
}

static void
index_table(DeriveOperator *table, List *lookups)
{
	int			ngroups = 0;
	Bitmapset  *ranges = NULL;
	ListCell   *lc;

	foreach(lc, lookups)
	{
		DeriveLookup *lookup = lfirst(lc);

		ngroups = Max(ngroups, lookup->group + 1);
		if (lookup->range)
			ranges = bms_add_member(ranges, lookup->group);
	}
	for (int group = 0; group < ngroups; group++)
	{
		List	   *attnos = derive_lookup_columns(lookups, table->table, group);

		if (attnos != NIL)
			create_indexes(table, attnos, bms_is_member(group, ranges));
	}
}

void
derive_index_lookups(List *operators)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, operators)
	{
		List	   *lookups = derive_operator_lookups(lfirst(lc));

		foreach(lc2, operators)
			if (lfirst(lc2) != llast(operators))
			index_table(lfirst(lc2), lookups);
	}
}
