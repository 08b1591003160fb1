/*-------------------------------------------------------------------------
 *
 * passing_time.c
 *	  Conditions that compare something with now(): rows enter and leave as time passes.
 *
 * Such a condition is one of those in WHERE, in ON of an inner join or in HAVING that must
 * all hold, and has the form
 *
 *	expression  =, <, <=, >, >=  f(now())			created > now() - interval '1 hour'
 *
 * in which the expression does not depend on the time, and f on nothing but the time.
 * The present is then a relation of its own, so to speak: a value T that is stored with
 * the position of the view and moves with it, and one more term of the derivative
 * (derivative.c).  In all terms of relations T is what it was; then it moves, in one term
 * for each condition c1 .. cm of time, those before it having moved already:
 *
 *	Q(T') - Q(T) = sum over k of  Q(c1(T') .. ck(T'), c(k+1)(T) ..) - Q(c1(T') .. c(k-1)(T'), ck(T) ..)
 *
 * Q being FROM, WHERE and a select list, that is what ck lets in or drops:
 *
 *	+1	.. WHERE ck(T') AND NOT ck(T)		created > T' - '1 hour' AND created <= T - '1 hour'
 *	-1	.. WHERE ck(T) AND NOT ck(T')		created > T - '1 hour' AND created <= T' - '1 hour'
 *
 * The operator and its negator make a range, which an index on "created" finds; one of the two
 * ranges is empty, and found to be so at once.  Nothing is said of how f moves with T
 * ("now() - interval '1 month'" jumps back at the end of February), nor that T only
 * grows: a clock that is set back makes rows come back.  The operators are of a btree
 * family and strict, so that a NULL is never in.
 *
 * Worked example.  "created > now() - interval '1 hour'", T moves from 12:00 to 12:01:
 *
 *	created		T - 1h = 11:00		T' - 1h = 11:01
 *	10:59		out					out				in no range
 *	11:00:30	in					out				-1
 *	11:30		in					in				in no range
 *
 * In the query T is an external parameter.  Its value is that of the position to which the
 * view moves, and in the terms the one that it leaves (derive/plan.c).
 *
 * So that all of this is to be known for WHERE of a plain SELECT only, queries
 * are brought to that form: conditions of inner joins go to WHERE, HAVING becomes WHERE of
 * a query over the groups (stages.c), WHERE below windows or LIMIT a query of its own
 * (derive_split_time()), and a sub-query with such a condition keeps its rows in a table
 * (derive/compile.c).  So does what a correlated sub-query reads, but for the conditions that
 * make it correlated:
 *
 *	EXISTS (SELECT FROM p WHERE p.id = o.id AND p.until > now())
 *		EXISTS (SELECT FROM (SELECT p.id FROM p WHERE p.until > now()) WHERE id = o.id)
 *
 * Where that does not work either, in LATERAL below that, say, the view is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "compile/check.h"
#include "compile/derivative.h"
#include "compile/lower.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "compile/stages.h"

/* -------------------------------------------------------------------------
 * The present, as people write it
 * -------------------------------------------------------------------------
 */

bool
derive_is_now_function(Oid funcid)
{
	return funcid == F_NOW || funcid == F_TRANSACTION_TIMESTAMP;
}

bool
derive_is_now(Node *node)
{
	if (IsA(node, FuncExpr))
		return derive_is_now_function(((FuncExpr *) node)->funcid);
	if (!IsA(node, SQLValueFunction))
		return false;
	switch (((SQLValueFunction *) node)->op)
	{
		case SVFOP_CURRENT_DATE:
		case SVFOP_CURRENT_TIMESTAMP:
		case SVFOP_CURRENT_TIMESTAMP_N:
		case SVFOP_LOCALTIMESTAMP:
		case SVFOP_LOCALTIMESTAMP_N:
			return true;
		default:
			return false;
	}
}

static bool
holds_now(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (derive_is_now(node))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, holds_now, context, 0);
	return expression_tree_walker(node, holds_now, context);
}

/* Is there anything that depends on more than the time? */
static bool
holds_more(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Param:
		case T_SubLink:
		case T_Aggref:
		case T_GroupingFunc:
		case T_WindowFunc:
			return true;
		default:
			return expression_tree_walker(node, holds_more, context);
	}
}

/* Is the condition of the form that is maintained? */
static bool
is_time_condition(Node *node)
{
	OpExpr	   *op = (OpExpr *) node;
	Node	   *left;
	Node	   *right;

	if (node == NULL || !IsA(node, OpExpr) || list_length(op->args) != 2 || op->opretset)
		return false;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (holds_now(left, NULL) == holds_now(right, NULL) || holds_more(holds_now(left, NULL) ? left : right, NULL))
		return false;
	return op_strict(op->opno) && OidIsValid(get_negator(op->opno)) && derive_compat_is_comparison(op->opno);
}

static Param *
time_param(int number)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = TIMESTAMPTZOID;
	param->paramtypmod = -1;
	param->paramcollid = InvalidOid;
	param->location = -1;
	return param;
}

static Expr *
call(Oid function, Oid type, Expr *arg)
{
	return (Expr *) makeFuncExpr(function, type, list_make1(arg), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Expr *
rounded(Oid function, Oid type, Expr *arg, int32 typmod)
{
	Const	   *digits = makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(typmod), false, true);

	return (Expr *) makeFuncExpr(function, type, list_make2(arg, digits), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Node *
present_mutator(Node *node, void *context)
{
	Expr	   *now;
	SQLValueFunction *function = (SQLValueFunction *) node;

	if (node == NULL)
		return NULL;
	if (!derive_is_now(node))
		return expression_tree_mutator(node, present_mutator, context);
	now = (Expr *) time_param(DERIVE_PARAM_NOW);
	if (IsA(node, FuncExpr))
		return (Node *) now;
	switch (function->op)
	{
		case SVFOP_CURRENT_DATE:
			return (Node *) call(F_DATE_TIMESTAMPTZ, DATEOID, now);
		case SVFOP_LOCALTIMESTAMP:
			return (Node *) call(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, now);
		case SVFOP_LOCALTIMESTAMP_N:
			return (Node *) rounded(F_TIMESTAMP_TIMESTAMP_INT4, TIMESTAMPOID,
									call(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, now), function->typmod);
		case SVFOP_CURRENT_TIMESTAMP_N:
			return (Node *) rounded(F_TIMESTAMPTZ_TIMESTAMPTZ_INT4, TIMESTAMPTZOID, now, function->typmod);
		default:
			return (Node *) now;
	}
}

/* -------------------------------------------------------------------------
 * Questions
 * -------------------------------------------------------------------------
 */

bool
derive_is_time_param(Node *node)
{
	return IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN;
}

static bool
time_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (derive_is_time_param(node))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, time_walker, context, 0);
	return expression_tree_walker(node, time_walker, context);
}

bool
derive_holds_time(Node *tree)
{
	return time_walker(tree, NULL);
}

/* -------------------------------------------------------------------------
 * Bringing it to the form
 * -------------------------------------------------------------------------
 */

/* Conditions that must all hold; BETWEEN is two of them. */
static List *
take_conditions(Node *quals, List **timed)
{
	List	   *rest = NIL;
	ListCell   *lc;

	foreach(lc, derive_conditions_of(quals))
	{
		Node	   *condition = lfirst(lc);

		if (is_time_condition(condition))
			*timed = lappend(*timed, present_mutator(condition, NULL));
		else
			rest = lappend(rest, condition);
	}
	return rest;
}

/* Take them from joins which a row passes only if it meets them. */
static void
take_from_joins(Node *node, List **timed)
{
	ListCell   *lc;

	if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			take_from_joins(lfirst(lc), timed);
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		if (join->jointype == JOIN_INNER)
			join->quals = derive_all_of(take_conditions(join->quals, timed));
		if (join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT)
			take_from_joins(join->larg, timed);
		if (join->jointype == JOIN_INNER || join->jointype == JOIN_RIGHT)
			take_from_joins(join->rarg, timed);
	}
}

static bool
take_walker(Node *node, void *context)
{
	if (node == NULL || IsA(node, CommonTableExpr))
		return false;			/* a recursive one: it is not of the form */
	if (IsA(node, Query))
	{
		derive_take_time((Query *) node);
		return false;
	}
	return expression_tree_walker(node, take_walker, context);
}

void
derive_take_time(Query *query)
{
	List	   *timed = NIL;
	List	   *having = NIL;
	List	   *rest;

	check_stack_depth();
	(void) query_tree_walker(query, take_walker, NULL, 0);
	if (query->setOperations != NULL || !derive_query_reads_relations(query))
		return;
	rest = take_conditions(query->jointree->quals, &timed);
	take_from_joins((Node *) query->jointree, &timed);
	if (timed != NIL)
		query->jointree->quals = derive_all_of(list_concat(rest, timed));
	rest = take_conditions(query->havingQual, &having);
	if (having != NIL)
		query->havingQual = derive_all_of(list_concat(rest, having));
}

static bool
is_plain(Query *query)
{
	return !query->hasWindowFuncs && !query->hasDistinctOn && query->groupingSets == NIL &&
		query->limitCount == NULL && query->limitOffset == NULL && query->cteList == NIL;
}

/*
 * "SELECT .. FROM (SELECT columns FROM .. WHERE ..)"; conditions that depend on rows of
 * queries around it stay outside.
 */
static void
split_where(Query *query)
{
	Query	   *inner = makeNode(Query);
	DerivePushDown push = {0};
	List	   *here = NIL;
	List	   *correlated = NIL;
	ListCell   *lc;

	derive_compat_flatten_groups(query);
	foreach(lc, derive_conditions_of(query->jointree->quals))
	{
		if (derive_refers_outside(lfirst(lc)))
			correlated = lappend(correlated, lfirst(lc));
		else
			here = lappend(here, lfirst(lc));
	}
	*inner = *query;
	inner->jointree = makeFromExpr(query->jointree->fromlist, derive_all_of(here));
	correlated = (List *) derive_push_down((Node *) correlated, &push);
	query->targetList = (List *) derive_push_down((Node *) query->targetList, &push);
	query->havingQual = derive_push_down(query->havingQual, &push);
	query->windowClause = (List *) derive_push_down((Node *) query->windowClause, &push);
	query->limitCount = derive_push_down(query->limitCount, &push);
	query->limitOffset = derive_push_down(query->limitOffset, &push);
	if (push.columns == NIL)
		push.columns = derive_query_one_target();
	inner->targetList = push.columns;
	inner->groupClause = inner->groupingSets = NIL;
	inner->groupDistinct = false;
	inner->havingQual = NULL;
	inner->hasAggs = false;
	inner->distinctClause = NIL;
	inner->hasDistinctOn = false;
	inner->windowClause = NIL;
	inner->hasWindowFuncs = false;
	inner->hasTargetSRFs = false;
	derive_query_read_from(query, inner);
	query->jointree->quals = derive_all_of(correlated);
}

static bool
split_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		derive_split_time((Query *) node);
		return false;
	}
	return expression_tree_walker(node, split_walker, context);
}

void
derive_split_time(Query *query)
{
	(void) query_tree_walker(query, split_walker, NULL, 0);
	if (derive_count_time_conditions(query) > 0 && (!is_plain(query) || derive_query_refers_outside(query)))
		split_where(query);
}

/* -------------------------------------------------------------------------
 * Places
 * -------------------------------------------------------------------------
 */

/* A condition that was made here: one side has the time. */
static bool
is_timed(Node *condition)
{
	return IsA(condition, OpExpr) && derive_holds_time(condition);
}

int
derive_count_time_conditions(Query *query)
{
	int			n = 0;
	ListCell   *lc;

	if (query->jointree == NULL)
		return 0;
	foreach(lc, derive_conditions_of(query->jointree->quals))
		n += is_timed(lfirst(lc));
	return n;
}

void
derive_check_time_places(Query *query, bool at_all)
{
	Query	   *rest = copyObject(query);
	List	   *others = NIL;
	ListCell   *lc;

	if (at_all)
	{
		foreach(lc, derive_conditions_of(rest->jointree->quals))
			if (!is_timed(lfirst(lc)))
			others = lappend(others, lfirst(lc));
		rest->jointree->quals = derive_all_of(others);
	}
	if (derive_holds_time((Node *) rest))
		derive_refuse("a condition with the current time in this place",
					  "It stands in a sub-query that depends on the rows of the query around it.",
					  "Move the condition into a sub-query in FROM: FROM (SELECT ... FROM ... WHERE ... > now() ...) AS s.");
}

List *
derive_time_sides(Query *query)
{
	List	   *sides = NIL;
	ListCell   *lc;

	if (query->jointree == NULL)
		return NIL;
	foreach(lc, derive_conditions_of(query->jointree->quals))
	{
		Node	   *condition = lfirst(lc);

		if (is_timed(condition))
		{
			Node	   *left = get_leftop((Expr *) condition);

			sides = lappend(sides, derive_holds_time(left) ? get_rightop((Expr *) condition) : left);
		}
	}
	return sides;
}

/* -------------------------------------------------------------------------
 * Terms
 * -------------------------------------------------------------------------
 */

static Node *
later_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (derive_is_time_param(node))
		return (Node *) time_param(DERIVE_PARAM_LATER);
	return expression_tree_mutator(node, later_mutator, context);
}

static Node *
later(Node *condition)
{
	return later_mutator(condition, NULL);
}

/* NOT, for values that are not NULL. */
static Node *
negated(Node *condition)
{
	OpExpr	   *op = castNode(OpExpr, copyObject(condition));

	op->opno = get_negator(op->opno);
	op->opfuncid = InvalidOid;
	set_opfuncid(op);
	return (Node *) op;
}

Query *
derive_time_term(Query *query, int n, bool entering)
{
	Query	   *term = copyObject(query);
	List	   *conditions = NIL;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, derive_conditions_of(term->jointree->quals))
	{
		Node	   *condition = lfirst(lc);

		if (!is_timed(condition) || i++ > n)
			conditions = lappend(conditions, condition);
		else if (i <= n)
			conditions = lappend(conditions, later(condition));
		else
		{
			Node	   *after = later(condition);

			conditions = lappend(conditions, entering ? after : condition);
			conditions = lappend(conditions, negated(entering ? condition : after));
		}
	}
	Assert(i > n);
	term->jointree->quals = derive_all_of(conditions);
	return derive_with_weight(term, derive_lower_number(entering ? 1 : -1));
}
