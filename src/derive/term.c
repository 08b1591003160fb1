/*-------------------------------------------------------------------------
 *
 * term.c
 *	  Deltas of select-project-join queries.
 *
 * A linear query Q over the relations R1 .. Rn (the same table joined twice is
 * two of them, an "occurrence" each) has the delta
 *
 *	dQ = sum over k of  Q(R1', .., R(k-1)', dRk, R(k+1), .., Rn)
 *
 * where R' is the relation after the batch and R before it.  This is the
 * product rule, telescoped: n terms, each with one delta in it, whatever
 * changed together.  Weights multiply.
 *
 * Under the batch's snapshot the base table itself is R'.  R is never stored.
 * It is read in one of two ways:
 *
 *	old versions	the table itself, under the snapshot of the position before the
 *				batch (old_scan.c).  So a term is a plain join, each relation in it
 *				once, and its cost is that of the rows that the delta meets.
 *	log			"R' UNION ALL the delta with its weights negated".  Where the old
 *				versions cannot be had: pg_derive.old_rows is "log", nothing holds
 *				them, or DDL changed the table since.  Where n relations of a join
 *				changed together, the term has 2^n combinations of these, and a
 *				key that is to be looked up in an Append reaches the index of only
 *				one of its halves.
 *
 * With old versions, all occurrences after k are read so, whether or not they
 * changed: it makes no difference then, and k alone decides which plan it is.
 *
 * A term is made by rewriting the query tree: occurrence k becomes a named
 * tuplestore, those after it are marked as old, or, from the log, those that
 * changed become the UNION ALL above.  Each replaced entry gains a weight column,
 * and the product of the weights becomes the last column of the result, passed up
 * through sub-queries.  In a sub-query that is a UNION ALL only the branch that
 * holds occurrence k stays.
 *
 * Plans are cached for (branch, k, how the others are read, size of the delta).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/gucs.h"
#include "compile/query.h"
#include "derive/old_scan.h"
#include "derive/term.h"

/* Deltas of these sizes get plans of their own; the planner is told this many rows. */
static const struct
{
	int64		up_to;
	double		planned_for;
}			size_classes[] =

{
	{64, 10},
	{10000, 1000},
	{PG_INT64_MAX, 200000},
};

typedef struct CachedTerm
{
	int			branch;
	int			occurrence;		/* -1: the whole branch, no delta */
	Bitmapset  *old;			/* occurrences that are read as they were */
	Bitmapset  *undone;			/* occurrences whose delta is undone */
	int			size_class;
	DerivePlan *plan;
} CachedTerm;

struct DeriveLinear
{
	MemoryContext cxt;
	List	   *branches;		/* of Query * */
	bool		parallel;		/* for the whole result */
	TupleDesc	desc;
	int			noccurrences;
	DeriveOccurrence *occurrences;
	List	   *sources;		/* of DeriveSource *; made when first needed */
	List	   *terms;			/* of CachedTerm * */
};

typedef struct TermContext
{
	int			next;			/* number of the next occurrence met */
	int			delta;			/* the occurrence to replace by its delta */
	Bitmapset  *old;			/* see CachedTerm */
	Bitmapset  *undone;
	double		ntuples;
} TermContext;

static AttrNumber rewrite_subquery(RangeTblEntry *rte, TermContext *context);
static Expr *rewrite_query(Query *query, TermContext *context);
static int	count_occurrences(Query *query);

/* -------------------------------------------------------------------------
 * Rewriting a query to one of its terms
 * -------------------------------------------------------------------------
 */

static char *
delta_name(Oid relid, bool inh)
{
	return psprintf("delta_%u%s", relid, inh ? "" : "_only");
}

static Expr *
constant_one(void)
{
	return (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(1),
							  false, FLOAT8PASSBYVAL);
}

static Expr *
multiply(Expr *a, Expr *b)
{
	if (a == NULL || b == NULL)
		return a ? a : b;
	return (Expr *) makeFuncExpr(F_INT8MUL, INT8OID, list_make2(a, b),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* Append the weight as the last column of a query and return its number. */
static AttrNumber
append_weight(Query *query, Expr *weight)
{
	AttrNumber	resno = list_length(query->targetList) + 1;

	query->targetList = lappend(query->targetList,
								makeTargetEntry(weight ? weight : constant_one(), resno,
												pstrdup("weight"), false));
	return resno;
}

/* "SELECT all columns FROM rte", keeping attribute numbers; desc names the columns. */
static Query *
scan_query(RangeTblEntry *rte, TupleDesc desc, int natts)
{
	Query	   *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);

	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	derive_compat_strip_permissions(query);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr	   *expr;

		if (att->attisdropped)
			expr = (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
		else
			expr = (Expr *) makeVar(1, i + 1, att->atttypid, att->atttypmod, att->attcollation, 0);
		query->targetList = lappend(query->targetList,
									makeTargetEntry(expr, i + 1, pstrdup(NameStr(att->attname)), false));
	}
	return query;
}

/*
 * A relation as it was before the batch.
 */
static RangeTblEntry *
pre_state_rte(RangeTblEntry *rte, TupleDesc delta_desc, TermContext *context)
{
	int			natts = delta_desc->natts - 1;
	Query	   *after = scan_query(rte, delta_desc, natts);
	Query	   *undo = scan_query(derive_query_enr_rte(delta_name(rte->relid, rte->inh),
													   delta_desc, context->ntuples),
								  delta_desc, natts);
	Var		   *weight = makeVar(1, natts + 1, INT8OID, -1, InvalidOid, 0);

	append_weight(after, NULL);
	append_weight(undo, (Expr *) makeFuncExpr(F_INT8UM, INT8OID, list_make1(weight),
											  InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
	return derive_query_subquery_rte(derive_query_union_all(list_make2(after, undo)), "before");
}

/* Rewrite one occurrence; the weight's attribute number, or 0 if it stays as it is. */
static AttrNumber
rewrite_relation(ListCell *cell, TermContext *context)
{
	RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
	int			number = context->next++;
	Relation	rel;
	TupleDesc	desc;

	if (bms_is_member(number, context->old))
		derive_old_mark(rte);
	if (number != context->delta && !bms_is_member(number, context->undone))
		return 0;

	rel = table_open(rte->relid, AccessShareLock);
	desc = derive_delta_desc(RelationGetDescr(rel));
	table_close(rel, NoLock);

	if (number == context->delta)
		lfirst(cell) = derive_query_enr_rte(delta_name(rte->relid, rte->inh), desc,
											context->ntuples);
	else
		lfirst(cell) = pre_state_rte(rte, desc, context);
	return derive_delta_weight_attno(desc);
}

static int
count_occurrences(Query *query)
{
	Bitmapset  *used = derive_query_used(query);
	int			count = 0;
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind == RTE_RELATION)
			count++;
		else if (rte->rtekind == RTE_SUBQUERY && derive_query_reads_relations(rte->subquery))
			count += count_occurrences(rte->subquery);
	}
	return count;
}

/* A UNION ALL in FROM, none of whose branches holds the delta. */
static AttrNumber
rewrite_union_before(RangeTblEntry *rte, TermContext *context)
{
	List	   *branches = derive_query_union_branches(rte->subquery, NULL, NULL);
	AttrNumber	attno = 0;
	ListCell   *lc;

	foreach(lc, branches)
	{
		Query	   *branch = lfirst_node(Query, lc);

		attno = append_weight(branch, rewrite_query(branch, context));

		/*
		 * a branch now lies one level below the place that the set operation
		 * had
		 */
		IncrementVarSublevelsUp((Node *) branch, 1, 1);
	}
	rte->subquery = derive_query_union_all(branches);
	return attno;
}

/* A UNION ALL in FROM, one of whose branches holds the delta: the others vanish. */
static AttrNumber
rewrite_union_delta(RangeTblEntry *rte, TermContext *context)
{
	List	   *branches = derive_query_union_branches(rte->subquery, NULL, NULL);
	ListCell   *lc;
	AttrNumber	attno = 0;

	foreach(lc, branches)
	{
		Query	   *branch = lfirst_node(Query, lc);
		int			count = count_occurrences(branch);

		if (context->delta < context->next || context->delta >= context->next + count)
		{
			context->next += count;
			continue;
		}
		attno = append_weight(branch, rewrite_query(branch, context));
		rte->subquery = branch;
	}
	Assert(attno != 0);
	return attno;
}

/* Only mark what is to be read as it was; no weights arise. */
static void
mark_old(Query *query, TermContext *context)
{
	Bitmapset  *used = derive_query_used(query);
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind == RTE_RELATION && bms_is_member(context->next++, context->old))
			derive_old_mark(rte);
		else if (rte->rtekind == RTE_SUBQUERY && derive_query_reads_relations(rte->subquery))
			mark_old(rte->subquery, context);
	}
}

static AttrNumber
rewrite_subquery(RangeTblEntry *rte, TermContext *context)
{
	int			first = context->next;
	int			count = count_occurrences(rte->subquery);
	bool		has_delta = context->delta >= first && context->delta < first + count;
	bool		has_old = false;
	bool		has_undone = false;
	AttrNumber	attno;

	for (int i = first; i < first + count; i++)
	{
		has_old |= bms_is_member(i, context->old);
		has_undone |= bms_is_member(i, context->undone);
	}
	if (!has_delta && !has_undone)
	{
		if (has_old)
			mark_old(rte->subquery, context);
		else
			context->next += count;
		return 0;
	}
	if (rte->subquery->setOperations == NULL)
		attno = append_weight(rte->subquery, rewrite_query(rte->subquery, context));
	else if (has_delta)
		attno = rewrite_union_delta(rte, context);
	else
		attno = rewrite_union_before(rte, context);

	/* columns may have been added to a view since its alias list was made */
	while (list_length(rte->eref->colnames) < attno - 1)
		rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("?column?")));
	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("weight")));
	return attno;
}

/* Rewrite all occurrences in a query without set operation; its weight, or NULL for 1. */
static Expr *
rewrite_query(Query *query, TermContext *context)
{
	Bitmapset  *used = derive_query_used(query);
	Expr	   *weight = NULL;
	int			i = -1;

	Assert(query->setOperations == NULL);
	while ((i = bms_next_member(used, i)) >= 0)
	{
		ListCell   *cell = list_nth_cell(query->rtable, i - 1);
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		AttrNumber	attno = 0;

		if (rte->rtekind == RTE_RELATION)
			attno = rewrite_relation(cell, context);
		else if (rte->rtekind == RTE_SUBQUERY && derive_query_reads_relations(rte->subquery))
			attno = rewrite_subquery(rte, context);
		if (attno != 0)
			weight = multiply(weight, (Expr *) makeVar(i, attno, INT8OID, -1, InvalidOid, 0));
	}
	return weight;
}

/* -------------------------------------------------------------------------
 * What is read
 * -------------------------------------------------------------------------
 */

typedef struct SourcesContext
{
	List	   *queries;		/* enclosing queries, innermost first */
	List	   *sources;		/* of DeriveSource * */
} SourcesContext;

static DeriveSource *
find_source(List **sources, Oid relid, bool inh)
{
	DeriveSource *source;
	ListCell   *lc;

	foreach(lc, *sources)
	{
		source = lfirst(lc);
		if (source->relid == relid && source->inh == inh)
			return source;
	}
	source = palloc0(sizeof(DeriveSource));
	source->relid = relid;
	source->inh = inh;
	*sources = lappend(*sources, source);
	return source;
}

static bool
sources_walker(Node *node, SourcesContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		context->queries = lcons(node, context->queries);

		/*
		 * a join's column list names every column; we want those that are
		 * used
		 */
		(void) query_tree_walker((Query *) node, sources_walker, context, QTW_IGNORE_JOINALIASES);
		context->queries = list_delete_first(context->queries);
		return false;
	}
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		Query	   *query = list_nth(context->queries, var->varlevelsup);
		RangeTblEntry *rte = rt_fetch(var->varno, query->rtable);

		if (rte->rtekind == RTE_RELATION)
		{
			DeriveSource *source = find_source(&context->sources, rte->relid, rte->inh);

			Assert(var->varattno > 0);
			source->columns = bms_add_member(source->columns, var->varattno);
		}
		else if (rte->rtekind == RTE_JOIN)
		{
			SourcesContext outer = {list_copy_tail(context->queries, var->varlevelsup), context->sources};

			if (var->varattno > 0)
				(void) sources_walker(list_nth(rte->joinaliasvars, var->varattno - 1), &outer);
			else
				(void) expression_tree_walker((Node *) rte->joinaliasvars, sources_walker, &outer);
			context->sources = outer.sources;
		}
		return false;
	}
	return expression_tree_walker(node, sources_walker, context);
}

List *
derive_linear_sources(DeriveLinear *linear, List *sources)
{
	SourcesContext context = {NIL, sources};
	ListCell   *lc;

	for (int i = 0; i < linear->noccurrences; i++)
		(void) find_source(&context.sources, linear->occurrences[i].relid, linear->occurrences[i].inh);
	foreach(lc, linear->branches)
		(void) sources_walker(lfirst(lc), &context);
	return context.sources;
}

/* -------------------------------------------------------------------------
 * Linear queries
 * -------------------------------------------------------------------------
 */

static void
collect_occurrences(Query *query, int branch, List **occurrences)
{
	Bitmapset  *used = derive_query_used(query);
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->rtekind == RTE_RELATION)
		{
			DeriveOccurrence *occurrence = palloc(sizeof(DeriveOccurrence));

			occurrence->relid = rte->relid;
			occurrence->inh = rte->inh;
			occurrence->branch = branch;
			*occurrences = lappend(*occurrences, occurrence);
		}
		else if (rte->rtekind == RTE_SUBQUERY && derive_query_reads_relations(rte->subquery))
			collect_occurrences(rte->subquery, branch, occurrences);
	}
}

/*
 * What the product rule does not hold for must not come here: the result would be
 * wrong, and nothing would say so.  check.c refuses it, or compile.c cuts there;
 * this is for the day when one of them lets something new pass.  Sub-queries that
 * read no relation may do anything; in expressions there are no others, since
 * nothing here would rewrite them.
 */
static bool
check_linear_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && derive_query_reads_relations((Query *) ((SubLink *) node)->subselect))
		elog(ERROR, "a sub-query in an expression reads relations");
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_linear_walker, context);
	if (!derive_query_reads_relations((Query *) node))
		return false;
	if (!derive_query_is_linear((Query *) node) || !derive_query_is_plain((Query *) node))
		elog(ERROR, "a query is not linear");
	return query_tree_walker((Query *) node, check_linear_walker, context, 0);
}

DeriveLinear *
derive_linear_create(List *branches, bool parallel)
{
	DeriveLinear *linear = palloc0(sizeof(DeriveLinear));
	List	   *occurrences = NIL;
	ListCell   *lc;

	foreach(lc, branches)
		(void) check_linear_walker(lfirst(lc), NULL);

	linear->cxt = CurrentMemoryContext;
	linear->branches = branches;
	linear->parallel = parallel;
	linear->desc = derive_query_desc(linitial_node(Query, branches));
	foreach(lc, branches)
		collect_occurrences(lfirst_node(Query, lc), foreach_current_index(lc), &occurrences);

	linear->noccurrences = list_length(occurrences);
	linear->occurrences = palloc0(sizeof(DeriveOccurrence) * Max(linear->noccurrences, 1));
	foreach(lc, occurrences)
		linear->occurrences[foreach_current_index(lc)] = *(DeriveOccurrence *) lfirst(lc);
	return linear;
}

TupleDesc
derive_linear_desc(DeriveLinear *linear)
{
	return linear->desc;
}

List *
derive_linear_branches(DeriveLinear *linear)
{
	return linear->branches;
}

int
derive_linear_occurrences(DeriveLinear *linear, DeriveOccurrence **occurrences)
{
	*occurrences = linear->occurrences;
	return linear->noccurrences;
}

static DeriveDelta *
occurrence_delta(DeriveLinear *linear, int occurrence, DeriveBatch *batch)
{
	DeriveOccurrence *o = &linear->occurrences[occurrence];
	DeriveDelta *delta = derive_batch_find(batch, o->relid, o->inh);

	if (delta != NULL)
		delta = derive_batch_rows(batch, delta);
	return delta && (delta->unknown || delta->nrows > 0) ? delta : NULL;
}

/* The columns of an occurrence's relation that the query reads anywhere. */
static Bitmapset *
source_columns(DeriveLinear *linear, int occurrence)
{
	DeriveOccurrence *o = &linear->occurrences[occurrence];

	if (linear->sources == NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(linear->cxt);

		linear->sources = derive_linear_sources(linear, NIL);
		MemoryContextSwitchTo(old);
	}
	return find_source(&linear->sources, o->relid, o->inh)->columns;
}

/*
 * The deltas that the terms read, by occurrence: only what changed in columns
 * that are read.  In a join each row costs as much as the rows that it meets,
 * and where several relations changed, the product: so these are net changes.
 */
static DeriveDelta **
deltas_to_read(DeriveLinear *linear, DeriveBatch *batch)
{
	DeriveDelta **result = palloc0(sizeof(DeriveDelta *) * linear->noccurrences);
	bool		joins = linear->noccurrences > list_length(linear->branches);

	for (int i = 0; i < linear->noccurrences; i++)
	{
		DeriveDelta *delta = occurrence_delta(linear, i, batch);

		Assert(delta == NULL || !delta->unknown);
		if (delta != NULL)
			delta = derive_batch_narrow(batch, delta, source_columns(linear, i));
		if (delta != NULL && joins)
			delta = derive_batch_net(batch, delta);
		if (delta != NULL && delta->nrows > 0)
			result[i] = delta;
	}
	return result;
}

bool
derive_linear_touched(DeriveLinear *linear, DeriveBatch *batch, const char **unknown)
{
	bool		touched = false;

	*unknown = NULL;
	for (int i = 0; i < linear->noccurrences; i++)
	{
		DeriveDelta *delta = occurrence_delta(linear, i, batch);

		if (delta == NULL)
			continue;
		touched = true;
		if (delta->unknown)
			*unknown = delta->reason;
	}
	return touched;
}

/* -------------------------------------------------------------------------
 * Terms
 * -------------------------------------------------------------------------
 */

/* The cached plan of a term, made when first needed. */
static DerivePlan *
find_term(DeriveLinear *linear, int branch, int occurrence, Bitmapset *old_ones, Bitmapset *undone,
		  int size_class)
{
	MemoryContext old;
	CachedTerm *term;
	TermContext context;
	Query	   *query;
	ListCell   *lc;
	int			options = 0;

	foreach(lc, linear->terms)
	{
		term = lfirst(lc);
		if (term->branch == branch && term->occurrence == occurrence &&
			term->size_class == size_class && bms_equal(term->old, old_ones) && bms_equal(term->undone, undone))
			return term->plan;
	}

	query = copyObject(list_nth_node(Query, linear->branches, branch));
	if (occurrence < 0)
		options = linear->parallel ? CURSOR_OPT_PARALLEL_OK : 0;
	else
	{
		context.next = 0;
		while (linear->occurrences[context.next].branch != branch)
			context.next++;
		context.delta = occurrence;
		context.old = old_ones;
		context.undone = undone;
		context.ntuples = size_classes[size_class].planned_for;
		append_weight(query, rewrite_query(query, &context));
	}

	old = MemoryContextSwitchTo(linear->cxt);
	term = palloc0(sizeof(CachedTerm));
	term->branch = branch;
	term->occurrence = occurrence;
	term->old = bms_copy(old_ones);
	term->undone = bms_copy(undone);
	term->size_class = size_class;
	term->plan = derive_plan_create(query, options);
	linear->terms = lappend(linear->terms, term);
	MemoryContextSwitchTo(old);
	return term->plan;
}

static QueryEnvironment *
delta_environment(DeriveLinear *linear, DeriveDelta **deltas)
{
	QueryEnvironment *env = create_queryEnv();

	for (int i = 0; i < linear->noccurrences; i++)
	{
		DeriveDelta *delta = deltas[i];
		char	   *name;

		if (delta == NULL)
			continue;
		name = delta_name(delta->relid, delta->inh);
		if (get_visible_ENR_metadata(env, name) == NULL)
			derive_env_register(env, name, delta->desc, delta->rows, delta->nrows);
	}
	return env;
}

/* The delta's layout is compiled into the plans; a change of it reloads the program first. */
static void
check_layout(DeriveDelta *delta)
{
	Relation	rel = table_open(delta->relid, AccessShareLock);
	int			natts = RelationGetNumberOfAttributes(rel);

	table_close(rel, NoLock);
	if (natts + 1 != delta->desc->natts)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("relation %u changed its columns during a batch", delta->relid)));
}

void
derive_linear_delta(DeriveLinear *linear, DeriveBatch *batch, DeriveRowSink sink, void *arg)
{
	DeriveDelta **deltas = deltas_to_read(linear, batch);
	QueryEnvironment *env = delta_environment(linear, deltas);

	for (int i = 0; i < linear->noccurrences; i++)
	{
		DeriveDelta *delta = deltas[i];
		int			branch = linear->occurrences[i].branch;
		Bitmapset  *old = NULL;
		Bitmapset  *undone = NULL;
		int			size_class = 0;

		if (delta == NULL)
			continue;
		check_layout(delta);
		for (int j = i + 1; j < linear->noccurrences; j++)
		{
			DeriveOccurrence *other = &linear->occurrences[j];

			if (other->branch != branch)
				break;
			if (batch->past != NULL && derive_past_shows(batch->past, other->relid, other->inh))
				old = bms_add_member(old, j);
			else if (deltas[j] != NULL)
			{
				undone = bms_add_member(undone, j);
				if (derive_old_rows_are_read())
					elog(DEBUG1, "reading relation %u as it was by its changes", other->relid);
			}
		}
		if (undone != NULL)
			elog(DEBUG1, "undoing changes of a join, since relations cannot be read as they were");
		while (delta->nrows > size_classes[size_class].up_to)
			size_class++;
		derive_plan_run(find_term(linear, branch, i, old, undone, size_class), env,
						old != NULL ? batch->past : NULL, true, sink, arg);
	}
}

void
derive_linear_full(DeriveLinear *linear, DeriveRowSink sink, void *arg)
{
	for (int branch = 0; branch < list_length(linear->branches); branch++)
		derive_plan_run(find_term(linear, branch, -1, NULL, NULL, 0), NULL, NULL, false, sink, arg);
}

Query *
derive_linear_query(DeriveLinear *linear)
{
	return derive_query_union_all(copyObject(linear->branches));
}

bool
derive_linear_sorted(DeriveLinear *linear, int nkeys, DeriveRowSink sink, void *arg)
{
	Query	   *all = derive_linear_query(linear);
	Query	   *query = scan_query(derive_query_subquery_rte(all, "input"), linear->desc, linear->desc->natts);

	for (int i = 0; i < nkeys; i++)
	{
		SortGroupClause *clause = makeNode(SortGroupClause);
		TargetEntry *tle = list_nth_node(TargetEntry, query->targetList, i);

		get_sort_group_operators(exprType((Node *) tle->expr), false, false, false,
								 &clause->sortop, &clause->eqop, NULL, &clause->hashable);
		if (!OidIsValid(clause->sortop))
			return false;
		tle->ressortgroupref = clause->tleSortGroupRef = i + 1;
		query->sortClause = lappend(query->sortClause, clause);
	}
	derive_query_run(query, NULL, sink, arg);
	return true;
}
