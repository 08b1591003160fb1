/*-------------------------------------------------------------------------
 *
 * joinorder.c
 *	  Planning queries that join a few rows, in a tuplestore, with many relations.
 *
 * A term of a delta (term.c) joins a few changed rows with relations of any size;
 * so does the query that computes a few groups afresh (aggredo.c).  What that costs
 * follows the change only if the few rows come first and the others are looked up
 * from there, one after the other.  The planner finds this out as long as it
 * compares all orders.  It does for up to join_collapse_limit relations, by default
 * 8; longer joins are cut into groups, and those that the few rows are not in are
 * joined as a whole:
 *
 *	FROM a1 JOIN a2 .. JOIN a26, with changes d of a9
 *		(a1 .. a8), d, a10 .. a16		all of a1 .. a8 is joined before it meets d
 *
 * Nor would it help to raise the limits: the time to compare all orders grows with
 * each relation by a factor, and from geqo_threshold on only some are compared.
 *
 * So we write long joins down in an order that is good enough and have the planner
 * follow it, by join_collapse_limit = 1; what is left to it is how to make each of
 * the joins.  That takes some 3 ms for 26 relations, which is less than it takes to
 * plan groups of 8.  For shorter joins the planner knows better, and nothing is
 * changed.
 *
 * The order.  First the tuplestore.  Then always the entry of FROM that is reached
 * best from those that are placed (Reach, below), the one with the fewest rows
 * to be met where several are:
 *
 *	FROM (d JOIN b ON b.id = d.b) JOIN c ON c.id = b.c, f, s
 *	WHERE f.b = b.id AND s.name = f.name
 *		d	the changed rows
 *		b	one row: its primary key is known from d
 *		c	one row: its primary key is known from b
 *		f	several rows, by an index on f (b)
 *		s	by equality, but there is no index on s (name): all of it is read,
 *			and would be wherever it is placed
 *
 * Equality is transitive, as it is for the planner: from a.x = b.x and b.x = c.x it
 * makes a.x = c.x, so that c can be looked up from a before b is.
 *
 * Where nothing is joined with the tuplestore alone ("GROUP BY a.x + b.y": keys k,
 * a.x + b.y = k.key), it would multiply whatever comes next; then the others come
 * first, and it follows as soon as it restricts something.
 *
 * Sub-queries.  The planner merges simple sub-queries in FROM with the query around
 * them, but what was a sub-query remains a group in the order of joins.  So we
 * merge them ourselves, before we order, by the same rules.  Inner joins make that
 * simple: their conditions can go wherever the columns are at hand, and columns of
 * a sub-query can be replaced by what they stand for without a thought for NULLs
 * (the planner needs placeholders and "nulling relations" for outer joins only).
 * All conditions end up in WHERE.  Range table entries of joins and merged
 * sub-queries become entries that nothing refers to.  Our JoinExprs have none,
 * like those that the planner makes itself for IN and EXISTS, in 15 to 18.
 *
 * Sub-queries that cannot be merged (a set-returning function in the select list,
 * UNION ALL, a security barrier, an outer join) are ordered by themselves.  Where they are short,
 * their FROM becomes a plain list, which the planner orders as ever: the limit is
 * one for JOIN, and a list without sub-lists is one problem.
 *
 * Outer joins cannot be made in any order.  Where a long join has one, all of it is one
 * problem for the planner, which takes it longer: for 11 relations some tenths of a second, once
 * for each plan.  From geqo_threshold on it looks at some orders only, and need not find the best;
 * but the few rows are among those that it may begin with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "optimizer/planmain.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "compile/carve.h"
#include "compile/query.h"
#include "derive/joinorder.h"

/* What the planner compares all orders of by default. */
#define MANY_RELATIONS	8

/* What it has to order where there are outer joins, at most. */
#define MOST_RELATIONS	20

/* Rows of what there is no estimate for, as the planner has it for functions. */
#define UNKNOWN_ROWS	1000

/* How an entry's rows are found from those of the entries placed before it; best first. */
typedef enum Reach
{
	REACH_ONE_ROW,				/* by all columns of a unique index, or there
								 * is but one */
	REACH_INDEX,				/* by an index, or computed from them */
	REACH_EQUALITY,				/* by equality, without an index that we know */
	REACH_CONDITION,			/* by some other condition */
	REACH_ALL					/* not at all: all of them */
} Reach;

/* An index by which rows of an entry can be looked up. */
typedef struct Lookup
{
	bool		unique;
	int			ncolumns;
	AttrNumber	columns[INDEX_MAX_KEYS];
} Lookup;

/* An entry of FROM. */
typedef struct Entry
{
	int			rtindex;
	RangeTblEntry *rte;
	Relids		needs;			/* LATERAL: the entries that it refers to */
	double		nrows;			/* in all that pass its own conditions */
	bool		single;			/* one row at most, whatever it meets */
	List	   *lookups;		/* of Lookup * */
	Bitmapset  *known;			/* columns that are equal to constants or to
								 * columns of entries placed */
	Bitmapset  *linked;			/* of these: equal to columns of entries
								 * placed */
} Entry;

/* One of the conditions that are joined by AND. */
typedef struct Condition
{
	Relids		relids;			/* the entries that it looks at */
	bool		equality;
	Node	   *sides[2];		/* of an equality */
	Relids		side_relids[2];
} Condition;

typedef struct Order
{
	List	   *entries;		/* of Entry *: those to be placed, in the
								 * order of FROM */
	Entry	  **by_rtindex;		/* the same */
	List	   *conditions;		/* of Condition * */
	Relids		placed;
	Node	   *tree;			/* the join of those placed */
} Order;

static bool reads_tuplestore(Query *query);
static int	count_entries(Query *query);

/* -------------------------------------------------------------------------
 * Questions
 * -------------------------------------------------------------------------
 */

/* Can the planner, and can we, merge it with the query around it?  See is_simple_subquery() in prepjointree.c. */
static bool
can_be_merged(RangeTblEntry *rte)
{
	Query	   *query = rte->subquery;

	return rte->rtekind == RTE_SUBQUERY && !rte->security_barrier &&
		derive_query_is_linear(query) && derive_query_is_plain(query) &&
		query->setOperations == NULL && !query->hasTargetSRFs &&
		!contain_volatile_functions((Node *) query->targetList);
}

/* Calls the function for each range table entry in FROM, or of a set operation, that is no join; sums up. */
static int
sum_over_entries(Query *query, int (*function) (RangeTblEntry *))
{
	Bitmapset  *used = derive_query_used(query);
	int			sum = 0;
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind != RTE_JOIN)
			sum += function(rte);
	}
	return sum;
}

static int
count_entry(RangeTblEntry *rte)
{
	return can_be_merged(rte) ? count_entries(rte->subquery) : 1;
}

/* The entries of FROM, after merging. */
static int
count_entries(Query *query)
{
	return sum_over_entries(query, count_entry);
}

static int
entry_reads_tuplestore(RangeTblEntry *rte)
{
	return rte->rtekind == RTE_NAMEDTUPLESTORE ||
		(rte->rtekind == RTE_SUBQUERY && reads_tuplestore(rte->subquery));
}

static bool
reads_tuplestore(Query *query)
{
	return sum_over_entries(query, entry_reads_tuplestore) > 0;
}

/* How many entries the planner orders as one problem. */
static int
entries_at_once(void)
{
	return Min(MANY_RELATIONS, Min(join_collapse_limit, from_collapse_limit));
}

bool
derive_join_is_long(Query *query)
{
	return query->setOperations == NULL && !derive_query_has_outer_join(query) &&
		count_entries(query) > entries_at_once();
}

static int
entry_has_long_join(RangeTblEntry *rte)
{
	Query	   *query = rte->subquery;

	return rte->rtekind == RTE_SUBQUERY && reads_tuplestore(query) &&
		(derive_join_is_long(query) || sum_over_entries(query, entry_has_long_join) > 0);
}

static int
entry_has_long_outer_join(RangeTblEntry *rte)
{
	Query	   *query = rte->subquery;

	return rte->rtekind == RTE_SUBQUERY && reads_tuplestore(query) &&
		((derive_query_has_outer_join(query) && count_entries(query) > entries_at_once()) ||
		 sum_over_entries(query, entry_has_long_outer_join) > 0);
}

/* Is a tuplestore part of a long join, here or in a sub-query? */
static bool
has_long_join(Query *query, int (*entry_has_one) (RangeTblEntry *))
{
	RangeTblEntry whole = {.type = T_RangeTblEntry,.rtekind = RTE_SUBQUERY,.subquery = query};

	return entry_has_one(&whole) > 0;
}

/* -------------------------------------------------------------------------
 * Merging: FROM becomes a plain list, WHERE has all conditions
 * -------------------------------------------------------------------------
 */

/* FROM and WHERE from a list of entries and one of conditions. */
static FromExpr *
make_from(List *entries, List *conditions)
{
	return makeFromExpr(entries, conditions ? (Node *) make_ands_explicit(conditions) : NULL);
}

/* The entries (of RangeTblRef *) and conditions of a tree of inner joins. */
static void
take_apart(Node *node, List **entries, List **conditions)
{
	ListCell   *lc;

	if (IsA(node, RangeTblRef))
		*entries = lappend(*entries, node);
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		if (join->jointype != JOIN_INNER)
			elog(ERROR, "unexpected join type: %d", (int) join->jointype);
		take_apart(join->larg, entries, conditions);
		take_apart(join->rarg, entries, conditions);
		*conditions = list_concat(*conditions, derive_conditions_of(join->quals));
	}
	else
	{
		FromExpr   *from = castNode(FromExpr, node);

		foreach(lc, from->fromlist)
			take_apart(lfirst(lc), entries, conditions);
		*conditions = list_concat(*conditions, derive_conditions_of(from->quals));
	}
}

/* "FROM a JOIN b USING (x), c" becomes "FROM a, b, c WHERE a.x = b.x", without columns of joins. */
static void
flatten_joins(Query *query)
{
	List	   *entries = NIL;
	List	   *conditions = NIL;
	ListCell   *lc;

	derive_query_flatten_aliases(query);
	take_apart((Node *) query->jointree, &entries, &conditions);
	query->jointree = make_from(entries, conditions);
	foreach(lc, query->rtable)
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_JOIN)
		derive_query_clear_entry(query, foreach_current_index(lc) + 1);
}

static Node *
replace_column(Var *var, replace_rte_variables_context *context)
{
	TargetEntry *tle = get_tle_by_resno(context->callback_arg, var->varattno);
	Node	   *expr;

	if (tle == NULL)
		elog(ERROR, "no column %d in a sub-query", var->varattno);
	expr = copyObject((Node *) tle->expr);
	if (var->varlevelsup > 0)
		IncrementVarSublevelsUp(expr, var->varlevelsup, 0);
	return expr;
}

/* What was merged from a LATERAL sub-query may itself refer to what is beside it now. */
static void
mark_lateral(List *rtable)
{
	ListCell   *lc;

	foreach(lc, rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rte->lateral = rte->rtekind == RTE_SUBQUERY || rte->rtekind == RTE_FUNCTION ||
			rte->rtekind == RTE_VALUES || rte->rtekind == RTE_TABLEFUNC;
	}
}

/* Merge the n-th entry of FROM, a sub-query; returns the changed query. */
static Query *
merge_subquery(Query *query, int n)
{
	int			rtindex = list_nth_node(RangeTblRef, query->jointree->fromlist, n)->rtindex;
	RangeTblEntry *rte = rt_fetch(rtindex, query->rtable);
	Query	   *subquery = rte->subquery;
	List	   *entries = NIL;
	List	   *conditions = NIL;

	flatten_joins(subquery);
	OffsetVarNodes((Node *) subquery, list_length(query->rtable), 0);
	IncrementVarSublevelsUp((Node *) subquery, -1, 1);
	if (rte->lateral)
		mark_lateral(subquery->rtable);
	derive_query_clear_entry(query, rtindex);
	query = (Query *) replace_rte_variables((Node *) query, rtindex, 0, replace_column,
											subquery->targetList, NULL);

	query->rtable = list_concat(query->rtable, subquery->rtable);
	query->hasSubLinks |= subquery->hasSubLinks;
	query->jointree->fromlist = list_delete_nth_cell(query->jointree->fromlist, n);
	take_apart((Node *) query->jointree, &entries, &conditions);
	take_apart((Node *) subquery->jointree, &entries, &conditions);
	query->jointree = make_from(entries, conditions);
	return query;
}

static Query *
merge_subqueries(Query *query)
{
	bool		merged = false;

	Assert(query->groupingSets == NIL);
	flatten_joins(query);
	for (int i = 0; i < list_length(query->jointree->fromlist);)
	{
		int			rtindex = list_nth_node(RangeTblRef, query->jointree->fromlist, i)->rtindex;

		if (!can_be_merged(rt_fetch(rtindex, query->rtable)))
		{
			i++;
			continue;
		}
		query = merge_subquery(query, i);
		merged = true;
	}
	if (merged)
		derive_compat_strip_permissions(query);
	return query;
}

/* -------------------------------------------------------------------------
 * What is to be joined
 * -------------------------------------------------------------------------
 */

static Lookup *
make_lookup(Form_pg_index index)
{
	Lookup	   *lookup = palloc0(sizeof(Lookup));

	lookup->unique = index->indisunique;
	lookup->ncolumns = index->indnkeyatts;
	/* 0, for an expression, is never known */
	for (int i = 0; i < lookup->ncolumns; i++)
		lookup->columns[i] = index->indkey.values[i];
	return lookup;
}

static void
describe_relation(Entry *entry)
{
	Relation	rel = table_open(entry->rte->relid, AccessShareLock);
	BlockNumber pages;
	double		all_visible;
	ListCell   *lc;

	estimate_rel_size(rel, NULL, &pages, &entry->nrows, &all_visible);
	if (entry->nrows < 0)		/* a partitioned table, never analyzed */
		entry->nrows = UNKNOWN_ROWS;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			(index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID))
			entry->lookups = lappend(entry->lookups, make_lookup(index->rd_index));
		index_close(index, NoLock);
	}
	table_close(rel, NoLock);
}

static Entry *
make_entry(Query *query, int rtindex)
{
	Entry	   *entry = palloc0(sizeof(Entry));
	RangeTblEntry *rte = rt_fetch(rtindex, query->rtable);

	entry->rtindex = rtindex;
	entry->rte = rte;
	entry->nrows = UNKNOWN_ROWS;
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			describe_relation(entry);
			break;
		case RTE_SUBQUERY:
			entry->needs = pull_varnos_of_level(NULL, (Node *) rte->subquery, 1);
			break;
		case RTE_FUNCTION:
			entry->needs = pull_varnos(NULL, (Node *) rte->functions);
			entry->single = !expression_returns_set((Node *) rte->functions);
			break;
		case RTE_TABLEFUNC:
			entry->needs = pull_varnos(NULL, (Node *) rte->tablefunc);
			break;
		case RTE_VALUES:
			entry->needs = pull_varnos(NULL, (Node *) rte->values_lists);
			entry->nrows = list_length(rte->values_lists);
			entry->single = entry->nrows <= 1;
			break;
		case RTE_NAMEDTUPLESTORE:
			entry->nrows = rte->enrtuples;
			break;
		case RTE_RESULT:
			entry->single = true;
			break;
		default:
			elog(ERROR, "unexpected kind of range table entry in FROM: %d", (int) rte->rtekind);
	}
	return entry;
}

static Condition *
make_condition(Node *clause)
{
	Condition  *condition = palloc0(sizeof(Condition));
	OpExpr	   *op = (OpExpr *) clause;

	condition->relids = pull_varnos(NULL, clause);
	if (IsA(clause, OpExpr) && list_length(op->args) == 2)
	{
		Oid			type = exprType(linitial(op->args));

		condition->equality = op_mergejoinable(op->opno, type) || op_hashjoinable(op->opno, type);
	}
	for (int i = 0; i < 2 && condition->equality; i++)
	{
		condition->sides[i] = list_nth(op->args, i);
		condition->side_relids[i] = pull_varnos(NULL, condition->sides[i]);
	}
	return condition;
}

/* -------------------------------------------------------------------------
 * What is known from what is placed
 * -------------------------------------------------------------------------
 */

/* The entry, still to be placed, that this is a column of, or NULL. */
static Entry *
entry_of_column(Order *order, Node *node, AttrNumber *attno)
{
	Var		   *var = derive_query_plain_column(node);

	if (var == NULL || var->varlevelsup > 0)
		return NULL;
	*attno = var->varattno;
	return order->by_rtindex[var->varno];
}

static bool
add_column(Bitmapset **columns, AttrNumber attno)
{
	if (bms_is_member(attno, *columns))
		return false;
	*columns = bms_add_member(*columns, attno);
	return true;
}

/* One thing is equal to another: true if that tells something new about a column. */
static bool
learn(Order *order, Node *node, Node *equal, Relids equal_relids)
{
	AttrNumber	attno;
	AttrNumber	equal_attno;
	Entry	   *entry = entry_of_column(order, node, &attno);
	Entry	   *other = entry_of_column(order, equal, &equal_attno);
	bool		known;
	bool		linked;

	if (entry == NULL)
		return false;
	if (other != NULL)
	{
		known = bms_is_member(equal_attno, other->known);
		linked = bms_is_member(equal_attno, other->linked);
	}
	else
	{
		known = bms_is_subset(equal_relids, order->placed);
		linked = known && !bms_is_empty(equal_relids);
	}
	known = known && add_column(&entry->known, attno);
	linked = linked && add_column(&entry->linked, attno);
	return known || linked;
}

static void
learn_all(Order *order)
{
	bool		progress = true;

	while (progress)
	{
		ListCell   *lc;

		progress = false;
		foreach(lc, order->conditions)
		{
			Condition  *condition = lfirst(lc);

			for (int i = 0; i < 2 && condition->equality; i++)
				progress |= learn(order, condition->sides[i], condition->sides[1 - i],
								  condition->side_relids[1 - i]);
		}
	}
}

/* -------------------------------------------------------------------------
 * Choosing the next entry
 * -------------------------------------------------------------------------
 */

static Reach
reach_by_lookup(Entry *entry, Lookup *lookup)
{
	bool		linked = false;
	int			i = 0;

	while (i < lookup->ncolumns && bms_is_member(lookup->columns[i], entry->known))
		linked |= bms_is_member(lookup->columns[i++], entry->linked);
	if (lookup->unique && i == lookup->ncolumns)
		return REACH_ONE_ROW;
	return linked ? REACH_INDEX : REACH_ALL;
}

static Reach
reach_by_condition(Order *order, Entry *entry, Condition *condition)
{
	Relids		others = bms_del_member(bms_copy(condition->relids), entry->rtindex);

	if (!bms_is_member(entry->rtindex, condition->relids) ||
		bms_is_empty(others) || !bms_is_subset(others, order->placed))
		return REACH_ALL;
	for (int i = 0; i < 2 && condition->equality; i++)
		if (bms_equal(condition->side_relids[i], others))
			return REACH_EQUALITY;
	return REACH_CONDITION;
}

static Reach
reach_of(Order *order, Entry *entry)
{
	Reach		best = REACH_ALL;
	ListCell   *lc;

	if (entry->single)
		return REACH_ONE_ROW;
	if (!bms_is_empty(entry->needs))
		return REACH_INDEX;
	if (!bms_is_empty(entry->linked))
		best = REACH_EQUALITY;
	foreach(lc, entry->lookups)
		best = Min(best, reach_by_lookup(entry, lfirst(lc)));
	foreach(lc, order->conditions)
		best = Min(best, reach_by_condition(order, entry, lfirst(lc)));
	/* there is no index on a tuplestore, nor is one needed */
	if (best == REACH_EQUALITY && entry->rte->rtekind == RTE_NAMEDTUPLESTORE)
		best = REACH_INDEX;
	return best;
}

static double
distinct_values(Entry *entry, AttrNumber attno)
{
	double		result = DEFAULT_NUM_DISTINCT;
	HeapTuple	tuple = NULL;

	/* of the table with its children, or of the table */
	for (int inh = entry->rte->inh; inh >= 0 && tuple == NULL; inh--)
		tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(entry->rte->relid),
								Int16GetDatum(attno), BoolGetDatum(inh));
	if (tuple != NULL)
	{
		float4		stadistinct = ((Form_pg_statistic) GETSTRUCT(tuple))->stadistinct;

		if (stadistinct != 0)
			result = stadistinct > 0 ? stadistinct : -stadistinct * entry->nrows;
		ReleaseSysCache(tuple);
	}
	return Max(result, 1);
}

/* How many rows have the values that are known? */
static double
expected_rows(Entry *entry)
{
	double		nrows = entry->nrows;
	int			attno = -1;

	if (entry->rte->rtekind != RTE_RELATION)
		return nrows;
	while ((attno = bms_next_member(entry->known, attno)) >= 0)
		nrows /= distinct_values(entry, attno);
	return nrows;
}

static Entry *
choose_next(Order *order)
{
	Entry	   *best = NULL;
	Reach		best_reach = REACH_ALL;
	double		best_rows = 0;
	ListCell   *lc;

	foreach(lc, order->entries)
	{
		Entry	   *entry = lfirst(lc);
		Reach		reach;
		double		nrows;

		if (!bms_is_subset(entry->needs, order->placed))
			continue;
		reach = reach_of(order, entry);
		if (best != NULL && reach > best_reach)
			continue;
		nrows = reach == REACH_ONE_ROW ? 1 : expected_rows(entry);
		if (best == NULL || reach < best_reach || nrows < best_rows)
		{
			best = entry;
			best_reach = reach;
			best_rows = nrows;
		}
	}
	if (best == NULL)
		elog(ERROR, "entries of FROM refer to each other");
	return best;
}

/* Is it joined with some other entry, with no need of a third one? */
static bool
meets_another(Order *order, Entry *entry)
{
	ListCell   *lc;

	foreach(lc, order->conditions)
	{
		Condition  *condition = lfirst(lc);

		if (bms_is_member(entry->rtindex, condition->relids) && bms_num_members(condition->relids) == 2)
			return true;
	}
	foreach(lc, order->entries)
		if (bms_is_member(entry->rtindex, ((Entry *) lfirst(lc))->needs))
		return true;
	return false;
}

/*
 * The entry to begin with: the tuplestore, or else the sub-query that reads it.
 * Sub-queries that put the state before a batch together (term.c) read tuplestores
 * as well, but all of a relation, too.
 */
static Entry *
choose_first(Order *order)
{
	Entry	   *first = NULL;
	ListCell   *lc;

	foreach(lc, order->entries)
	{
		Entry	   *entry = lfirst(lc);

		if (entry->rte->rtekind == RTE_NAMEDTUPLESTORE)
			first = entry;
		else if (first == NULL && entry->rte->rtekind == RTE_SUBQUERY &&
				 entry->rte->subquery->setOperations == NULL && reads_tuplestore(entry->rte->subquery))
			first = entry;
	}
	if (first == NULL || !bms_is_empty(first->needs) || !meets_another(order, first))
		first = choose_next(order);
	return first;
}

static void
place(Order *order, Entry *entry)
{
	RangeTblRef *ref = makeNode(RangeTblRef);

	ref->rtindex = entry->rtindex;
	if (order->tree == NULL)
		order->tree = (Node *) ref;
	else
	{
		JoinExpr   *join = makeNode(JoinExpr);

		join->jointype = JOIN_INNER;
		join->larg = order->tree;
		join->rarg = (Node *) ref;
		order->tree = (Node *) join;
	}
	order->placed = bms_add_member(order->placed, entry->rtindex);
	order->entries = list_delete_ptr(order->entries, entry);
	order->by_rtindex[entry->rtindex] = NULL;
	learn_all(order);
}

/* Conditions of one entry alone make it smaller; equality with a constant is known better (expected_rows()). */
static void
restrict_entries(Order *order)
{
	ListCell   *lc;

	foreach(lc, order->conditions)
	{
		Condition  *condition = lfirst(lc);
		int			rtindex;

		if (!condition->equality && bms_get_singleton_member(condition->relids, &rtindex))
			order->by_rtindex[rtindex]->nrows *= DEFAULT_INEQ_SEL;
	}
}

/* FROM is a plain list; make it a chain of joins. */
static void
order_entries(Query *query)
{
	Order		order = {NIL};
	ListCell   *lc;

	order.by_rtindex = palloc0(sizeof(Entry *) * (list_length(query->rtable) + 1));
	foreach(lc, query->jointree->fromlist)
	{
		Entry	   *entry = make_entry(query, lfirst_node(RangeTblRef, lc)->rtindex);

		order.entries = lappend(order.entries, entry);
		order.by_rtindex[entry->rtindex] = entry;
	}
	foreach(lc, make_ands_implicit((Expr *) query->jointree->quals))
		order.conditions = lappend(order.conditions, make_condition(lfirst(lc)));
	restrict_entries(&order);
	learn_all(&order);			/* constants */
	place(&order, choose_first(&order));
	while (order.entries != NIL)
		place(&order, choose_next(&order));
	query->jointree->fromlist = list_make1(order.tree);
}

/* The query and its sub-queries, to be planned with join_collapse_limit = 1. */
static Query *
order_query(Query *query)
{
	Bitmapset  *used;
	int			i = -1;

	if (query->setOperations == NULL && !derive_query_has_outer_join(query))
		query = merge_subqueries(query);
	used = derive_query_used(query);
	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		/* one that reads no tables has anything in it, but nothing to gain */
		if (rte->rtekind == RTE_SUBQUERY && derive_query_reads_relations(rte->subquery))
			rte->subquery = order_query(rte->subquery);
	}
	if (derive_join_is_long(query))
		order_entries(query);
	return query;
}

/* -------------------------------------------------------------------------
 * Planning
 * -------------------------------------------------------------------------
 */

/* Plan a query whose joins are made in the order in which they are written. */
static PlannedStmt *
plan_in_order(Query *query, int cursor_options, ParamListInfo estimates)
{
	int			save_limit = join_collapse_limit;
	PlannedStmt *stmt = NULL;

	PG_TRY();
	{
		join_collapse_limit = 1;
		stmt = pg_plan_query(query, "pg_derive", cursor_options, estimates);
	}
	PG_FINALLY();
	{
		join_collapse_limit = save_limit;
	}
	PG_END_TRY();
	return stmt;
}

/* Plan a query whose joins are one problem. */
static PlannedStmt *
plan_as_one(Query *query, int cursor_options, ParamListInfo estimates)
{
	int			save_joins = join_collapse_limit;
	int			save_entries = from_collapse_limit;
	PlannedStmt *stmt = NULL;

	PG_TRY();
	{
		join_collapse_limit = from_collapse_limit = MOST_RELATIONS;
		stmt = pg_plan_query(query, "pg_derive", cursor_options, estimates);
	}
	PG_FINALLY();
	{
		join_collapse_limit = save_joins;
		from_collapse_limit = save_entries;
	}
	PG_END_TRY();
	return stmt;
}

PlannedStmt *
derive_join_plan(Query *query, int cursor_options, ParamListInfo estimates)
{
	if (has_long_join(query, entry_has_long_join))
		return plan_in_order(order_query(query), cursor_options, estimates);
	if (has_long_join(query, entry_has_long_outer_join))
		return plan_as_one(query, cursor_options, estimates);
	return pg_plan_query(query, "pg_derive", cursor_options, estimates);
}
