/*-------------------------------------------------------------------------
 *
 * aggcompile.c
 *	  Compiling GROUP BY, aggregates, HAVING and DISTINCT.
 *
 * A grouped block "SELECT f(keys, aggregates) FROM .. WHERE .. GROUP BY keys
 * HAVING h(keys, aggregates)" is taken apart into
 *
 *	input	SELECT keys, arguments of the aggregates, conditions of FILTER
 *			FROM .. WHERE ..				(linear: its delta is known)
 *	targets	f, and having h, over a row of keys and aggregate results
 *
 * DISTINCT and UNION are the same with every column a key and no aggregate.
 *
 * Columns that are not grouped but depend on a grouped primary key are further
 * keys, which do not identify the group: children of a table may repeat its
 * primary key with other values.
 *
 * Where whole groups must be recomputed, the block is put together again over
 * the input as a sub-query, restricted by a join with the set of keys:
 *
 *	SELECT i.keys, count(*), aggregates(i.arguments)
 *	FROM (input) i, derive_keys k WHERE i.key = k.key .. GROUP BY i.keys
 *
 * The planner pulls the sub-query up, so indexes on the grouping columns are
 * used.  Equality does not find NULLs, so there is a second form with IS NOT
 * DISTINCT FROM, used for just those keys that have a NULL.
 *
 * In the same way, without a restriction, the executor computes what the state table
 * gets when the view is built.  For sum(x) FILTER (WHERE b), count(y), bool_or(z):
 *
 *	SELECT i.keys, count(*),
 *		count(*) FILTER (WHERE b AND x IS NOT NULL), avg(x) FILTER (WHERE b),
 *		count(*) FILTER (WHERE y IS NOT NULL),
 *		count(*) FILTER (WHERE z IS NOT NULL), count(*) FILTER (WHERE z)
 *	FROM (input) i GROUP BY i.keys
 *
 * where avg(x) is to stop before its final function (see plan.h).  Not where choices
 * are made among equal values: for these every row must be looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_clause.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "compile/check.h"
#include "compile/hidden.h"
#include "compile/query.h"
#include "derive/aggregate.h"
#include "derive/choice.h"

typedef struct SplitContext
{
	List	   *keys;			/* of Expr *: the input's first columns */
	List	   *aggrefs;		/* of Aggref *, distinct */
	bool		collecting;		/* first pass: gather, change nothing */
} SplitContext;

static Node *split_mutator(Node *node, SplitContext *context);

/* -------------------------------------------------------------------------
 * Taking the block apart
 * -------------------------------------------------------------------------
 */

static int
position_in(List *list, Node *node)
{
	ListCell   *lc;

	foreach(lc, list)
		if (equal(lfirst(lc), node))
		return foreach_current_index(lc);
	return -1;
}

static Node *
group_column(int position, Node *expr)
{
	return (Node *) makeVar(1, position + 1, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
}

/*
 * Replace grouping expressions and aggregates by columns of the group's row.
 * The first pass only collects the aggregates.
 */
static Node *
split_mutator(Node *node, SplitContext *context)
{
	int			position;

	if (node == NULL)
		return NULL;
	position = position_in(context->keys, node);
	if (position >= 0)
		return context->collecting ? node : group_column(position, node);
	if (IsA(node, Aggref))
	{
		position = position_in(context->aggrefs, node);
		if (position < 0)
		{
			Assert(context->collecting);
			context->aggrefs = lappend(context->aggrefs, copyObject(node));
		}
		return context->collecting ? node :
			group_column(list_length(context->keys) + position, node);
	}
	Assert(!IsA(node, SubLink));	/* see stages.c */
	return expression_tree_mutator(node, split_mutator, context);
}

static void
check_key_type(Node *expr)
{
	if (get_typtype(exprType(expr)) == TYPTYPE_PSEUDO)
		derive_refuse(psprintf("GROUP BY or DISTINCT with a column of pseudo-type %s", format_type_be(exprType(expr))),
					  "Such values cannot be stored.", "Group by its fields instead.");
}

static void
setup_key(DeriveKey *key, Node *expr)
{
	check_key_type(expr);
	key->type = exprType(expr);
	key->typmod = exprTypmod(expr);
	key->collation = exprCollation(expr);
	get_typlenbyval(key->type, &key->len, &key->byval);
}

/* How a key that identifies the group is compared; eqop InvalidOid: by the type's own operator. */
static void
setup_identity(DeriveKey *key, Oid eqop)
{
	Oid			hashfn = InvalidOid,
				righthash;

	if (!OidIsValid(eqop))
		eqop = lookup_type_cache(key->type, TYPECACHE_EQ_OPR)->eq_opr;
	if (!OidIsValid(eqop))
		elog(ERROR, "could not find an equality operator for type %s", format_type_be(key->type));
	key->eqop = eqop;
	fmgr_info(get_opcode(eqop), &key->eq);
	if (op_hashjoinable(eqop, key->type) && get_op_hash_functions(eqop, &hashfn, &righthash))
		fmgr_info(hashfn, &key->hash);
	else
	{
		/*
		 * types that can only be sorted, but whose equal values are the same
		 * bits
		 */
		key->image_hash = key->type == MONEYOID || key->type == BITOID || key->type == VARBITOID;
	}
}

static int
add_column(Query *input, Expr *expr)
{
	AttrNumber	resno = list_length(input->targetList) + 1;
	ListCell   *lc;

	foreach(lc, input->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (equal(tle->expr, expr))
			return tle->resno - 1;
	}
	input->targetList = lappend(input->targetList,
								makeTargetEntry(expr, resno, psprintf("c%d", resno), false));
	return resno - 1;
}

/*
 * An argument, as a column of the input.  FILTER protects it from rows that it cannot be
 * evaluated for, as in sum(1 / x) FILTER (WHERE x <> 0).
 */
static Expr *
filtered(Expr *arg, Expr *filter)
{
	CaseExpr   *result = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);

	if (filter == NULL || IsA(arg, Var) || IsA(arg, Const))
		return copyObject(arg);
	when->expr = copyObject(filter);
	when->result = copyObject(arg);
	when->location = -1;
	result->casetype = exprType((Node *) arg);
	result->casecollid = exprCollation((Node *) arg);
	result->args = list_make1(when);
	result->defresult = (Expr *) makeNullConst(result->casetype, exprTypmod((Node *) arg), result->casecollid);
	result->location = -1;
	return (Expr *) result;
}

static void
setup_call(DeriveAggCall *call, Aggref *aggref, Query *input)
{
	ListCell   *lc;
	int			i = 0;

	if (get_typtype(aggref->aggtype) == TYPTYPE_PSEUDO)
		derive_refuse(psprintf("an aggregate that returns pseudo-type %s", format_type_be(aggref->aggtype)),
					  "Such values cannot be stored.", NULL);
	call->aggref = aggref;
	call->function = derive_aggregate_function(aggref);
	call->args = palloc0(sizeof(int) * Max(list_length(aggref->args), 1));
	foreach(lc, aggref->args)
		call->args[i++] = add_column(input, filtered(lfirst_node(TargetEntry, lc)->expr, aggref->aggfilter));
	call->filter = aggref->aggfilter ? add_column(input, copyObject(aggref->aggfilter)) : -1;
}

/* -------------------------------------------------------------------------
 * The state table
 * -------------------------------------------------------------------------
 */

static void
add_attribute(TupleDesc desc, AttrNumber attno, const char *name, Oid type, int32 typmod, Oid collation)
{
	TupleDescInitEntry(desc, attno, name, type, typmod, 0);
	TupleDescInitEntryCollation(desc, attno, collation);
}

static void
describe(DeriveOperator *op, DeriveAggregation *agg)
{
	int			nstate = 2 + agg->nkeys;
	AttrNumber	attno = DERIVE_STATE_FIRST_KEY;

	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];

		if (!agg->recompute)
			call->count_attno = ++nstate;
		if (agg->recompute || OidIsValid(call->function->stored_type))
			call->value_attno = ++nstate;
	}
	if (agg->loose && !agg->recompute)
		agg->same_attno = ++nstate;

	agg->group_desc = CreateTemplateTupleDesc(agg->nkeys + agg->ncalls);
	op->state_desc = CreateTemplateTupleDesc(nstate);
	add_attribute(op->state_desc, DERIVE_STATE_HASH, "h", INT4OID, -1, InvalidOid);
	add_attribute(op->state_desc, DERIVE_STATE_ROWS, "n", INT8OID, -1, InvalidOid);
	for (int i = 0; i < agg->nkeys; i++)
	{
		DeriveKey  *key = &agg->keys[i];
		const char *name = psprintf("k%d", i + 1);

		key->hidden = derive_is_row_type(key->type);
		agg->hidden_keys |= key->hidden;
		derive_hidden_column(op->state_desc, attno++, name, key->type, key->typmod, key->collation);
		add_attribute(agg->group_desc, i + 1, name, key->type, key->typmod, key->collation);
	}
	for (int i = 0; i < agg->ncalls; i++)
	{
		DeriveAggCall *call = &agg->calls[i];
		DeriveAggFunction *f = call->function;

		if (call->count_attno)
			add_attribute(op->state_desc, call->count_attno, psprintf("c%d", i + 1), INT8OID, -1, InvalidOid);
		if (call->value_attno)
		{
			Oid			type = agg->recompute ? f->result_type : f->stored_type;

			call->hidden = derive_is_row_type(type);
			derive_hidden_column(op->state_desc, call->value_attno, psprintf("s%d", i + 1), type, -1,
								 agg->recompute ? f->result_collation : get_typcollation(type));
		}
		add_attribute(agg->group_desc, agg->nkeys + i + 1, psprintf("a%d", i + 1),
					  f->result_type, f->result_typmod, f->result_collation);
	}
	if (agg->same_attno)
		add_attribute(op->state_desc, agg->same_attno, "r", INT8OID, -1, InvalidOid);
}

TupleDesc
derive_aggregation_desc(DeriveAggregation *agg)
{
	Query		query = {.type = T_Query,.targetList = agg->targets};

	return derive_query_desc(&query);
}

/* -------------------------------------------------------------------------
 * Entry points
 * -------------------------------------------------------------------------
 */

static void
finish(DeriveOperator *op, DeriveAggregation *agg, List *branches,
	   DeriveStateResolver resolve, void *arg)
{
	agg->loose = agg->nidentity < agg->nkeys;
	for (int i = 0; i < agg->nidentity; i++)
		agg->loose |= derive_type_is_loose(agg->keys[i].type, agg->keys[i].typmod, agg->keys[i].collation);
	describe(op, agg);
	op->routine = &derive_aggregate_routine;
	op->aggregation = agg;

	/*
	 * its rows are folded by one process: gathering them from others costs
	 * more than it saves
	 */
	op->input = derive_linear_create(branches, false);
	op->desc = derive_aggregation_desc(agg);
	agg->core = list_length(branches) == 1 ? linitial_node(Query, branches) : derive_linear_query(op->input);
	if (agg->recompute)
		(void) derive_aggregation_block(agg, false, false); /* refuse now what would
															 * fail later */
	op->state = resolve(arg, op->number, 's', op->state_desc);
}

void
derive_aggregation_distinct(DeriveOperator *op, List *branches,
							DeriveStateResolver resolve, void *arg)
{
	DeriveAggregation *agg = palloc0(sizeof(DeriveAggregation));
	Query	   *first = linitial_node(Query, branches);
	ListCell   *lc;

	agg->grouped = true;
	agg->nkeys = agg->nidentity = list_length(first->targetList);
	agg->keys = palloc0(sizeof(DeriveKey) * Max(agg->nkeys, 1));
	foreach(lc, first->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		int			i = foreach_current_index(lc);

		setup_key(&agg->keys[i], (Node *) tle->expr);
		setup_identity(&agg->keys[i], InvalidOid);
		agg->targets = lappend(agg->targets,
							   makeTargetEntry((Expr *) group_column(i, (Node *) tle->expr),
											   i + 1, tle->resname, false));
	}
	finish(op, agg, branches, resolve, arg);
}

void
derive_aggregation_compile(DeriveOperator *op, Query *block, DeriveStateResolver resolve, void *arg)
{
	DeriveAggregation *agg = palloc0(sizeof(DeriveAggregation));
	Query	   *input;
	List	   *output = NIL;
	List	   *eqops = NIL;
	SplitContext split = {NIL, NIL, true};
	ListCell   *lc;

	derive_compat_flatten_groups(block);
	foreach(lc, block->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Node	   *expr = get_sortgroupclause_expr(clause, block->targetList);

		if (position_in(split.keys, expr) >= 0)
			continue;
		split.keys = lappend(split.keys, expr);
		eqops = lappend_oid(eqops, clause->eqop);
	}
	foreach(lc, block->targetList)
		if (!lfirst_node(TargetEntry, lc)->resjunk)
		output = lappend(output, lfirst(lc));

	agg->nidentity = list_length(split.keys);
	split.keys = list_concat(split.keys, derive_ungrouped_columns((Node *) list_make2(output, block->havingQual),
																  split.keys));
	(void) split_mutator((Node *) output, &split);
	(void) split_mutator(block->havingQual, &split);
	split.collecting = false;
	agg->targets = (List *) split_mutator((Node *) output, &split);
	agg->having = split_mutator(block->havingQual, &split);
	foreach(lc, agg->targets)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		tle->resno = foreach_current_index(lc) + 1;
		tle->ressortgroupref = 0;
	}
	Assert(!expression_returns_set((Node *) agg->targets));

	/* the input: same FROM and WHERE, other columns */
	input = block;
	input->targetList = NIL;
	input->groupClause = NIL;
	input->havingQual = NULL;
	input->sortClause = NIL;
	input->hasAggs = false;
	agg->grouped = split.keys != NIL;
	agg->nkeys = list_length(split.keys);
	agg->keys = palloc0(sizeof(DeriveKey) * Max(agg->nkeys, 1));
	foreach(lc, split.keys)
	{
		int			i = foreach_current_index(lc);

		input->targetList = lappend(input->targetList,
									makeTargetEntry(lfirst(lc), i + 1, psprintf("k%d", i + 1), false));
		setup_key(&agg->keys[i], lfirst(lc));
		if (i < agg->nidentity)
			setup_identity(&agg->keys[i], list_nth_oid(eqops, i));
	}

	agg->ncalls = list_length(split.aggrefs);
	agg->calls = palloc0(sizeof(DeriveAggCall) * Max(agg->ncalls, 1));
	foreach(lc, split.aggrefs)
	{
		DeriveAggCall *call = &agg->calls[foreach_current_index(lc)];

		setup_call(call, lfirst_node(Aggref, lc), input);
		if (call->function->cls == DERIVE_AGG_RECOMPUTE)
			agg->recompute = true;
	}
	input->hasTargetSRFs = expression_returns_set((Node *) input->targetList);
	if (input->targetList == NIL)
		(void) add_column(input, (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
													Int32GetDatum(1), false, true));
	finish(op, agg, list_make1(input), resolve, arg);
}

/* -------------------------------------------------------------------------
 * Putting the block together again, for recomputing groups
 * -------------------------------------------------------------------------
 */

TupleDesc
derive_aggregation_key_desc(DeriveAggregation *agg)
{
	TupleDesc	desc = CreateTemplateTupleDesc(agg->nkeys);

	for (int i = 1; i <= agg->nkeys; i++)
		TupleDescCopyEntry(desc, i, agg->group_desc, i);
	return desc;
}

static RangeTblEntry *
input_rte(Query *core)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, core->targetList)
		names = lappend(names, makeString(pstrdup(lfirst_node(TargetEntry, lc)->resname)));
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = copyObject(core);
	rte->inFromCl = true;
	rte->eref = makeAlias("input", names);
	return rte;
}

/*
 * "input.key = keys.key", for each key that identifies the group; the keys are
 * range table entry keys_varno of the query this many levels up.
 */
static List *
key_conditions(DeriveAggregation *agg, bool with_nulls, int keys_varno, Index keys_level)
{
	List	   *conditions = NIL;

	for (int i = 0; i < agg->nidentity; i++)
	{
		DeriveKey  *key = &agg->keys[i];
		OpExpr	   *op;

		op = (OpExpr *) make_opclause(key->eqop, BOOLOID, false,
									  (Expr *) makeVar(1, i + 1, key->type, key->typmod, key->collation, 0),
									  (Expr *) makeVar(keys_varno, i + 1, key->type, key->typmod, key->collation, keys_level),
									  InvalidOid, key->collation);
		set_opfuncid(op);
		if (with_nulls)
		{
			NodeSetTag(op, T_DistinctExpr);
			conditions = lappend(conditions,
								 makeBoolExpr(NOT_EXPR, list_make1(op), -1));
		}
		else
			conditions = lappend(conditions, op);
	}
	return conditions;
}

static Query *
empty_query_over_input(DeriveAggregation *agg, bool restricted, bool with_nulls)
{
	Query	   *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Node	   *quals = NULL;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(input_rte(agg->core));
	ref->rtindex = 1;
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	if (restricted && agg->grouped)
	{
		ref = makeNode(RangeTblRef);
		ref->rtindex = 2;
		query->rtable = lappend(query->rtable,
								derive_query_enr_rte(DERIVE_KEYS_ENR, derive_aggregation_key_desc(agg), 10));
		query->jointree->fromlist = lappend(query->jointree->fromlist, ref);
		quals = (Node *) make_ands_explicit(key_conditions(agg, with_nulls, 2, 0));
	}
	query->jointree->quals = quals;
	return query;
}

/* The rows of the input, for groups whose states are folded again. */
Query *
derive_aggregation_input(DeriveAggregation *agg, bool restricted, bool with_nulls)
{
	Query	   *query = empty_query_over_input(agg, restricted, with_nulls);
	ListCell   *lc;

	foreach(lc, agg->core->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) makeVarFromTargetEntry(1, tle),
													tle->resno, tle->resname, false));
	}
	return query;
}

static Var *
input_var(DeriveAggregation *agg, int column)
{
	return makeVarFromTargetEntry(1, list_nth_node(TargetEntry, agg->core->targetList, column));
}

typedef struct DirectContext
{
	DeriveAggregation *agg;
} DirectContext;

/* Direct arguments of ordered-set aggregates may only refer to keys. */
static Node *
direct_mutator(Node *node, DirectContext *context)
{
	if (node == NULL)
		return NULL;
	for (int i = 0; i < context->agg->nkeys; i++)
	{
		TargetEntry *tle = list_nth_node(TargetEntry, context->agg->core->targetList, i);

		if (equal(tle->expr, node))
			return (Node *) makeVarFromTargetEntry(1, tle);
	}
	return expression_tree_mutator(node, direct_mutator, context);
}

static Aggref *
aggref_over_input(DeriveAggregation *agg, DeriveAggCall *call)
{
	Aggref	   *aggref = copyObject(call->aggref);
	DirectContext context = {agg};
	ListCell   *lc;

	foreach(lc, aggref->args)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!IsA(tle->expr, Const))
			tle->expr = (Expr *) input_var(agg, call->args[foreach_current_index(lc)]);
	}
	if (call->filter >= 0)
		aggref->aggfilter = (Expr *) input_var(agg, call->filter);
	aggref->aggdirectargs = (List *) direct_mutator((Node *) aggref->aggdirectargs, &context);
	return aggref;
}

static void
add_output(Query *query, Aggref *aggref, char *name)
{
	query->targetList = lappend(query->targetList,
								makeTargetEntry((Expr *) aggref, list_length(query->targetList) + 1, name, false));
}

/* "count(*) FILTER (WHERE ..)": the inputs of an aggregate that count, and for which this is true, unless NULL. */
static Aggref *
count_of_inputs(Aggref *aggref, bool strict, Expr *condition)
{
	Aggref	   *count = derive_query_count_rows();
	List	   *conditions = aggref->aggfilter ? list_make1(aggref->aggfilter) : NIL;
	ListCell   *lc;

	foreach(lc, strict ? aggref->args : NIL)
	{
		NullTest   *test = makeNode(NullTest);

		test->arg = lfirst_node(TargetEntry, lc)->expr;
		test->nulltesttype = IS_NOT_NULL;
		test->location = -1;
		conditions = lappend(conditions, test);
	}
	if (condition != NULL)
		conditions = lappend(conditions, condition);
	if (conditions != NIL)
		count->aggfilter = copyObject(make_ands_explicit(conditions));
	return count;
}

/* What the state table has of a call.  False if that cannot be computed. */
static bool
add_state(Query *query, DeriveAggregation *agg, DeriveAggCall *call)
{
	DeriveAggFunction *f = call->function;
	Aggref	   *aggref = aggref_over_input(agg, call);

	if (f->loose)
		return false;
	add_output(query, count_of_inputs(aggref, f->strict, NULL), pstrdup("c"));
	switch (f->cls)
	{
		case DERIVE_AGG_COUNT:
			return true;
		case DERIVE_AGG_BOOL:
			aggref = count_of_inputs(aggref, true, linitial_node(TargetEntry, aggref->args)->expr);
			break;
		case DERIVE_AGG_EXTREMUM:
			break;
		case DERIVE_AGG_INVERTIBLE:
			aggref->aggfnoid = derive_aggregate_with_state(aggref, f);
			aggref->aggtype = f->stored_type;
			aggref->aggcollid = get_typcollation(f->stored_type);
			if (!OidIsValid(aggref->aggfnoid))
				return false;
			break;
		case DERIVE_AGG_RECOMPUTE:
			return false;
	}
	add_output(query, aggref, pstrdup("s"));
	return true;
}

/*
 * "SELECT keys, count(*), .. FROM input GROUP BY keys", begun and ended; what is between
 * are the columns of the aggregates.
 */
static Query *
begin_block(DeriveAggregation *agg, bool restricted, bool with_nulls)
{
	Query	   *query = empty_query_over_input(agg, restricted, with_nulls);
	List	   *keys = NIL;
	ListCell   *lc;

	for (int i = 0; i < agg->nkeys; i++)
		keys = lappend(keys, input_var(agg, i));
	foreach(lc, keys)
	{
		Expr	   *key = lfirst(lc);
		int			resno = foreach_current_index(lc) + 1;

		query->targetList = lappend(query->targetList,
									makeTargetEntry(agg->loose ? (Expr *) derive_value_of_least(key, keys) : key,
													resno, psprintf("k%d", resno), false));
	}
	add_output(query, derive_query_count_rows(), pstrdup("n"));
	return query;
}

static Query *
end_block(Query *query, DeriveAggregation *agg)
{
	for (int i = 0; i < agg->nidentity; i++)
	{
		SortGroupClause *clause = makeNode(SortGroupClause);
		TargetEntry *tle = list_nth_node(TargetEntry, query->targetList, i);

		if (agg->loose)
		{
			tle = makeTargetEntry((Expr *) input_var(agg, i), list_length(query->targetList) + 1, NULL, true);
			query->targetList = lappend(query->targetList, tle);
		}
		get_sort_group_operators(exprType((Node *) tle->expr), false, true, false,
								 &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		clause->tleSortGroupRef = assignSortGroupRef(tle, query->targetList);
		query->groupClause = lappend(query->groupClause, clause);
	}
	query->hasAggs = true;
	return query;
}

/* Keys, number of rows and results of every aggregate, for groups that the executor recomputes. */
Query *
derive_aggregation_block(DeriveAggregation *agg, bool restricted, bool with_nulls)
{
	Query	   *query = begin_block(agg, restricted, with_nulls);

	for (int i = 0; i < agg->ncalls; i++)
		add_output(query, derive_aggref_choose(aggref_over_input(agg, &agg->calls[i])), psprintf("a%d", i + 1));
	return end_block(query, agg);
}

/* The planner either sorts or hashes. */
static bool
can_be_grouped(Query *query)
{
	bool		sortable = true;
	bool		hashable = true;
	ListCell   *lc;

	foreach(lc, query->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		sortable = sortable && OidIsValid(clause->sortop);
		hashable = hashable && clause->hashable;
	}
	return sortable || hashable;
}

Query *
derive_aggregation_states(DeriveAggregation *agg)
{
	Query	   *query;

	Assert(!agg->recompute);
	if (agg->loose)
		return NULL;
	query = begin_block(agg, false, false);
	for (int i = 0; i < agg->ncalls; i++)
		if (!add_state(query, agg, &agg->calls[i]))
			return NULL;
	query = end_block(query, agg);
	return can_be_grouped(query) ? query : NULL;
}

/* "SELECT aggref FROM input WHERE input.key = keys.key AND condition", keys being this many levels up. */
static Query *
lookup_query(DeriveAggregation *agg, DeriveAggCall *call, Aggref *aggref, bool with_nulls, Index level, Node *condition)
{
	Query	   *query = empty_query_over_input(agg, false, false);
	List	   *conditions = key_conditions(agg, with_nulls, 1, level);

	/* the planner takes an index for min() and max() without FILTER only */
	if (call->filter >= 0)
		conditions = lappend(conditions, input_var(agg, call->filter));
	aggref->aggfilter = NULL;
	if (condition != NULL)
		conditions = lappend(conditions, condition);
	query->jointree->quals = conditions ? (Node *) make_ands_explicit(conditions) : NULL;
	query->targetList = list_make1(makeTargetEntry((Expr *) aggref, 1, pstrdup("extremum"), false));
	query->hasAggs = true;
	return query;
}

/*
 * "SELECT max(x) FROM input WHERE ..", keys being outside.  Of values that are
 * equal without being the same, the one with the least image: "SELECT first(x
 * ORDER BY image(x)) FROM input WHERE .. AND x = (SELECT max(x) ..)", both of
 * which an index on keys and x answers.
 */
static Query *
extremum_query(DeriveAggregation *agg, DeriveAggCall *call, bool with_nulls)
{
	Aggref	   *aggref = aggref_over_input(agg, call);
	Expr	   *value = linitial_node(TargetEntry, aggref->args)->expr;
	Oid			equal = get_equality_op_for_ordering_op(derive_aggregate_sort_operator(aggref->aggfnoid), NULL);
	OpExpr	   *is_extremum;
	Query	   *query;

	if (!call->function->loose)
		return lookup_query(agg, call, aggref, with_nulls, 1, NULL);
	query = lookup_query(agg, call, aggref, with_nulls, 2, NULL);
	is_extremum = (OpExpr *) make_opclause(equal, BOOLOID, false, value, (Expr *) derive_query_sublink(EXPR_SUBLINK, query),
										   InvalidOid, aggref->inputcollid);
	set_opfuncid(is_extremum);
	query = lookup_query(agg, call, derive_value_of_least(value, list_make1(value)), with_nulls, 1, (Node *) is_extremum);
	query->hasSubLinks = true;
	return query;
}

/* The keys, and for each of them every min() and max() of the block, each by a sub-query. */
Query *
derive_aggregation_extrema(DeriveAggregation *agg, bool with_nulls)
{
	Query	   *query = makeNode(Query);
	AttrNumber	resno = 0;

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->jointree = makeFromExpr(NIL, NULL);
	if (agg->grouped)
	{
		RangeTblRef *ref = makeNode(RangeTblRef);

		ref->rtindex = 1;
		query->rtable = list_make1(derive_query_enr_rte(DERIVE_KEYS_ENR, derive_aggregation_key_desc(agg), 10));
		query->jointree->fromlist = list_make1(ref);
	}
	for (int i = 0; i < agg->nkeys; i++)
	{
		DeriveKey  *key = &agg->keys[i];

		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) makeVar(1, i + 1, key->type, key->typmod, key->collation, 0),
													++resno, psprintf("k%d", i + 1), false));
	}
	for (int i = 0; i < agg->ncalls; i++)
	{
		if (agg->calls[i].function->cls != DERIVE_AGG_EXTREMUM)
			continue;
		query->targetList = lappend(query->targetList,
									makeTargetEntry((Expr *) derive_query_sublink(EXPR_SUBLINK, extremum_query(agg, &agg->calls[i], with_nulls)),
													++resno, psprintf("a%d", i + 1), false));
	}
	query->hasSubLinks = true;
	return query;
}
