/*-------------------------------------------------------------------------
 *
 * lower_setops.c
 *	  INTERSECT and EXCEPT as groups that count.
 *
 * How often a row is in the result of a tree of set operations depends on nothing
 * but how often it is in each of the leaves:
 *
 *		UNION ALL		l + r				UNION		l > 0 or r > 0
 *		INTERSECT ALL	least(l, r)			INTERSECT	l > 0 and r > 0
 *		EXCEPT ALL		greatest(l - r, 0)	EXCEPT		l > 0 and not r > 0
 *
 * So a whole tree is one GROUP BY over the UNION ALL of its leaves, with a count for
 * each leaf and the formula in HAVING; counts are what is cheapest to maintain.
 * NULLs are equal to set operations as they are to GROUP BY, and a row that is in no
 * leaf is in no result, as there is no group without rows.
 *
 *		SELECT x FROM a  EXCEPT  SELECT x FROM b
 *
 *		SELECT x FROM (SELECT x, 1 AS leaf FROM a UNION ALL SELECT x, 2 FROM b) u
 *		GROUP BY x
 *		HAVING count(*) FILTER (WHERE leaf = 1) > 0
 *		   AND NOT count(*) FILTER (WHERE leaf = 2) > 0
 *
 *		a: 1, 1, 2, NULL	b: 2, 3		groups (x, leaf 1, leaf 2):
 *		(1, 2, 0) shown		(2, 1, 1)	(3, 0, 1)	(NULL, 1, 0) shown
 *
 * With ALL the formula is a number, and the row is repeated that often by a block
 * around the group, which joins generate_series(1, number): (1, 2, 0) gives 1 twice.
 *
 * Fewer counts.  Leaves of which only the sum matters have one in common: those
 * below a UNION ALL, below a UNION whose result is only asked for being there, and
 * what is subtracted one after the other: "a EXCEPT b EXCEPT c" is "a EXCEPT (b
 * UNION c)", and with ALL likewise.
 *
 * What is not one group.  An operation whose columns have other types or collations
 * than the one above it compares in another way, so it becomes a leaf, a sub-query
 * that is lowered by itself.  So does part of a tree with too many counts, which are
 * columns of one table.  A tree that is UNION ALL at the top stays one, since its
 * branches need no group; and trees without INTERSECT and EXCEPT are left alone.
 *
 * Each node of a tree is visited a fixed number of times; the queries that come out
 * are as long as the one that went in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"

#include "base/compat.h"
#include "compile/carve.h"
#include "compile/lower.h"
#include "compile/query.h"

/* More counts than this for a row are not kept in one group. */
#define MAX_COUNTS 32

/* A tree of set operations on the columns of its top. */
typedef struct Term
{
	SetOperation op;
	bool		all;
	struct Term *left;			/* NULL: one count, of these leaves */
	struct Term *right;
	List	   *leaves;			/* of range table indexes */
	int			count;			/* its number, from 1 */
	int			ncounts;		/* in the whole term */
} Term;

/* -------------------------------------------------------------------------
 * The tree of a query
 * -------------------------------------------------------------------------
 */

static bool
is_bag_union(Node *node)
{
	return IsA(node, SetOperationStmt) && ((SetOperationStmt *) node)->op == SETOP_UNION && ((SetOperationStmt *) node)->all;
}

/*
 * Take the leaves of a tree along to another query, which is one level further down.
 * Nothing of them may stay: whoever changes all sub-queries of the query would change them
 * twice.
 */
static void
move_leaves(Node *node, Query *from, Query *to)
{
	check_stack_depth();
	if (IsA(node, RangeTblRef))
	{
		RangeTblRef *ref = (RangeTblRef *) node;
		RangeTblEntry *rte = rt_fetch(ref->rtindex, from->rtable);

		derive_query_clear_entry(from, ref->rtindex);
		IncrementVarSublevelsUp((Node *) rte->subquery, 1, 1);
		to->rtable = lappend(to->rtable, rte);
		ref->rtindex = list_length(to->rtable);
		return;
	}
	move_leaves(castNode(SetOperationStmt, node)->larg, from, to);
	move_leaves(castNode(SetOperationStmt, node)->rarg, from, to);
}

/* Part of a query's tree as a sub-query, lowered; the leaf that stands for it. */
static Node *
make_leaf(Query *query, SetOperationStmt *op)
{
	Query	   *leaf = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell   *type,
			   *typmod,
			   *collation;

	leaf->commandType = CMD_SELECT;
	leaf->canSetTag = true;
	leaf->jointree = makeFromExpr(NIL, NULL);
	leaf->setOperations = (Node *) op;
	move_leaves((Node *) op, query, leaf);
	forthree(type, op->colTypes, typmod, op->colTypmods, collation, op->colCollations)
	{
		AttrNumber	attno = foreach_current_index(type) + 1;
		Var		   *var = makeVar(1, attno, lfirst_oid(type), lfirst_int(typmod), lfirst_oid(collation), 0);

		leaf->targetList = lappend(leaf->targetList,
								   makeTargetEntry((Expr *) var, attno, psprintf("c%d", attno), false));
	}
	if (derive_has_other_setop((Node *) op))
		derive_lower_setops(leaf);
	query->rtable = lappend(query->rtable, derive_query_subquery_rte(leaf, "part"));
	ref->rtindex = list_length(query->rtable);
	return (Node *) ref;
}

/* -------------------------------------------------------------------------
 * Terms
 * -------------------------------------------------------------------------
 */

/* Are rows equal to the one operation that are equal to the other? */
static bool
compares_alike(SetOperationStmt *a, SetOperationStmt *b)
{
	return equal(a->colTypes, b->colTypes) && equal(a->colCollations, b->colCollations);
}

/* "(x EXCEPT y) EXCEPT z" as "x EXCEPT (y UNION z)", both or none of them with ALL. */
static void
subtract_at_once(SetOperationStmt *op)
{
	SetOperationStmt *left = (SetOperationStmt *) op->larg;

	while (op->op == SETOP_EXCEPT && IsA(left, SetOperationStmt) && left->op == SETOP_EXCEPT &&
		   left->all == op->all && compares_alike(left, op))
	{
		SetOperationStmt *sum = makeNode(SetOperationStmt);

		memcpy(sum, op, sizeof(SetOperationStmt));
		sum->op = SETOP_UNION;
		sum->larg = left->rarg;
		op->larg = left->larg;
		op->rarg = (Node *) sum;
		left = (SetOperationStmt *) op->larg;
	}
}

/* Is of the arguments only asked whether the row is there? */
static bool
asks_for_presence(SetOperation op, bool all, bool presence)
{
	if (!all)
		return true;
	return op != SETOP_EXCEPT && presence;
}

static Term *
leaf_term(Node *node)
{
	Term	   *term = palloc0(sizeof(Term));

	term->leaves = list_make1_int(castNode(RangeTblRef, node)->rtindex);
	term->ncounts = 1;
	return term;
}

static Term *
make_term(Query *query, SetOperationStmt *op, bool presence)
{
	Term	   *term = palloc0(sizeof(Term));
	Node	  **args[2] = {&op->larg, &op->rarg};
	Term	   *sides[2];

	check_stack_depth();
	subtract_at_once(op);
	for (int i = 0; i < 2; i++)
	{
		if (IsA(*args[i], SetOperationStmt) && !compares_alike((SetOperationStmt *) *args[i], op))
			*args[i] = make_leaf(query, (SetOperationStmt *) *args[i]);
		sides[i] = IsA(*args[i], RangeTblRef) ? leaf_term(*args[i]) :
			make_term(query, (SetOperationStmt *) *args[i], asks_for_presence(op->op, op->all, presence));
	}

	/* one count for both: the longer list takes in the shorter one */
	if (op->op == SETOP_UNION && (op->all || presence) && sides[0]->left == NULL && sides[1]->left == NULL)
	{
		int			longer = list_length(sides[0]->leaves) >= list_length(sides[1]->leaves) ? 0 : 1;

		sides[longer]->leaves = list_concat(sides[longer]->leaves, sides[1 - longer]->leaves);
		return sides[longer];
	}
	if (sides[0]->ncounts + sides[1]->ncounts > MAX_COUNTS)
	{
		int			larger = sides[0]->ncounts >= sides[1]->ncounts ? 0 : 1;

		*args[larger] = make_leaf(query, (SetOperationStmt *) *args[larger]);
		sides[larger] = leaf_term(*args[larger]);
	}
	term->op = op->op;
	term->all = op->all;
	term->left = sides[0];
	term->right = sides[1];
	term->ncounts = sides[0]->ncounts + sides[1]->ncounts;
	return term;
}

/* -------------------------------------------------------------------------
 * Formulas
 * -------------------------------------------------------------------------
 */

static Expr *multiplicity(Term *term, AttrNumber leaf_column);

static Expr *
call(Oid function, Oid type, Expr *a, Expr *b)
{
	return (Expr *) makeFuncExpr(function, type, b ? list_make2(a, b) : list_make1(a),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Expr *
extreme(MinMaxOp op, Expr *a, Expr *b)
{
	MinMaxExpr *expr = makeNode(MinMaxExpr);

	expr->minmaxtype = INT8OID;
	expr->op = op;
	expr->args = list_make2(a, b);
	expr->location = -1;
	return (Expr *) expr;
}

static Expr *
leaf_number(int number)
{
	return (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(number), false, true);
}

/* "count(*) FILTER (WHERE leaf = number)" */
static Expr *
count_of(Term *term, AttrNumber leaf_column)
{
	Aggref	   *aggref = derive_query_count_rows();

	aggref->aggfilter = call(F_INT4EQ, BOOLOID, (Expr *) makeVar(1, leaf_column, INT4OID, -1, InvalidOid, 0),
							 leaf_number(term->count));
	return (Expr *) aggref;
}

/* Is the row there? */
static Expr *
presence(Term *term, AttrNumber leaf_column)
{
	Expr	   *left,
			   *right;

	check_stack_depth();
	if (term->left == NULL)
		return call(F_INT8GT, BOOLOID, count_of(term, leaf_column), derive_lower_number(0));
	if (term->op == SETOP_EXCEPT && term->all)
		return call(F_INT8GT, BOOLOID, multiplicity(term->left, leaf_column), multiplicity(term->right, leaf_column));
	left = presence(term->left, leaf_column);
	right = presence(term->right, leaf_column);
	if (term->op == SETOP_EXCEPT)
		right = makeBoolExpr(NOT_EXPR, list_make1(right), -1);
	return makeBoolExpr(term->op == SETOP_UNION ? OR_EXPR : AND_EXPR, list_make2(left, right), -1);
}

/* How often is it there? */
static Expr *
multiplicity(Term *term, AttrNumber leaf_column)
{
	Expr	   *left,
			   *right;

	check_stack_depth();
	if (term->left == NULL)
		return count_of(term, leaf_column);
	if (!term->all)
		return call(F_INT8_INT4, INT8OID, call(F_INT4_BOOL, INT4OID, presence(term, leaf_column), NULL), NULL);
	left = multiplicity(term->left, leaf_column);
	right = multiplicity(term->right, leaf_column);
	switch (term->op)
	{
		case SETOP_UNION:
			return call(F_INT8PL, INT8OID, left, right);
		case SETOP_INTERSECT:
			return extreme(IS_LEAST, left, right);
		default:
			Assert(term->op == SETOP_EXCEPT);
			return extreme(IS_GREATEST, call(F_INT8MI, INT8OID, left, right), derive_lower_number(0));
	}
}

/* -------------------------------------------------------------------------
 * Queries
 * -------------------------------------------------------------------------
 */

/* Number the counts, and make a branch of each leaf: its columns, and the number of its count. */
static List *
make_branches(Term *term, Query *query, SetOperationStmt *op, int *ncounts, List *branches)
{
	ListCell   *lc;

	check_stack_depth();
	if (term->left != NULL)
	{
		branches = make_branches(term->left, query, op, ncounts, branches);
		return make_branches(term->right, query, op, ncounts, branches);
	}
	term->count = ++(*ncounts);
	foreach(lc, term->leaves)
	{
		Query	   *branch = derive_query_wrap(rt_fetch(lfirst_int(lc), query->rtable)->subquery);

		/*
		 * the leaf was one level down: now it is in a branch of the union in
		 * the group
		 */
		IncrementVarSublevelsUp((Node *) branch, op->all ? 3 : 2, 1);
		derive_query_coerce_columns(branch, op);
		branch->targetList = lappend(branch->targetList,
									 makeTargetEntry(leaf_number(term->count),
													 list_length(branch->targetList) + 1, pstrdup("leaf"), false));
		branches = lappend(branches, branch);
	}
	return branches;
}

/* Let a query read one sub-query instead of what it reads. */
static void
read_from(Query *query, Query *inner)
{
	RangeTblRef *ref = makeNode(RangeTblRef);

	ref->rtindex = 1;
	query->rtable = list_make1(derive_query_subquery_rte(inner, "counted"));
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	query->setOperations = NULL;
	derive_compat_strip_permissions(query);
}

/* "SELECT columns FROM (group with a number) g, generate_series(1, g.number)" */
static void
repeat_rows(Query *query, Query *group, Expr *number)
{
	RangeTblRef *ref = makeNode(RangeTblRef);
	AttrNumber	attno = list_length(group->targetList) + 1;

	group->targetList = lappend(group->targetList, makeTargetEntry(number, attno, pstrdup("number"), false));
	read_from(query, group);
	query->rtable = lappend(query->rtable,
							derive_lower_series((Expr *) makeVar(1, attno, INT8OID, -1, InvalidOid, 0)));
	ref->rtindex = 2;
	query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
}

/* A query whose whole tree becomes one group. */
static void
count_rows_of(Query *query)
{
	SetOperationStmt *op = castNode(SetOperationStmt, query->setOperations);
	Term	   *term = make_term(query, op, !op->all);
	int			ncounts = 0;
	List	   *branches = make_branches(term, query, op, &ncounts, NIL);
	AttrNumber	leaf_column = list_length(op->colTypes) + 1;
	Query	   *leaves = derive_query_union_all(branches);
	Query	   *group = op->all ? derive_query_wrap(leaves) : query;
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->expr = (Expr *) makeVarFromTargetEntry(1, get_tle_by_resno(leaves->targetList, tle->resno));
	}
	if (op->all)
		group->targetList = list_truncate(group->targetList, leaf_column - 1);
	else
		read_from(query, leaves);
	derive_query_group_by_columns(group);
	group->havingQual = (Node *) presence(term, leaf_column);
	group->hasAggs = true;
	if (op->all)
		repeat_rows(query, group, multiplicity(term, leaf_column));
}

/* Below a UNION ALL at the top, each tree that counts becomes a sub-query. */
static void
lower_branches(Query *query, SetOperationStmt *op)
{
	Node	  **args[2] = {&op->larg, &op->rarg};

	check_stack_depth();
	for (int i = 0; i < 2; i++)
	{
		if (is_bag_union(*args[i]))
			lower_branches(query, (SetOperationStmt *) *args[i]);
		else if (derive_has_other_setop(*args[i]))
			*args[i] = make_leaf(query, (SetOperationStmt *) *args[i]);
	}
}

/* The columns of a set operation are those of its first leaf, which may be another one now. */
static void
read_first_leaf(Query *query)
{
	Node	   *leaf = query->setOperations;
	ListCell   *lc;

	while (IsA(leaf, SetOperationStmt))
		leaf = ((SetOperationStmt *) leaf)->larg;
	foreach(lc, query->targetList)
	{
		castNode(Var, lfirst_node(TargetEntry, lc)->expr)->varno = castNode(RangeTblRef, leaf)->rtindex;
	}
}

void
derive_lower_setops(Query *query)
{
	Assert(derive_has_other_setop(query->setOperations));
	if (is_bag_union(query->setOperations))
	{
		lower_branches(query, (SetOperationStmt *) query->setOperations);
		read_first_leaf(query);
	}
	else
		count_rows_of(query);
}
