/*-------------------------------------------------------------------------
 *
 * term.c
 *	  Deltas of what an operator reads.
 *
 * The input of an operator is a query, or several in UNION ALL, of which compile/
 * says that it has terms (derivative.c): its difference between two states is the sum of
 * one query for each relation that has changed.  Those are made here when they are first
 * needed, and run.
 *
 * Under the batch's snapshot a table itself is R', the relation after the batch.  R, before
 * it, is never stored.  It is read in one of two ways:
 *
 *	old versions	the table itself, under the snapshot of the position before the
 *				batch (old_scan.c).  So a term is a plain join, each relation in it
 *				once, and its cost is that of the rows that the delta meets.
 *	log			"R' UNION ALL the delta with its weights negated".  Where the old
 *				versions cannot be had: pg_derive.old_rows is "log", nothing holds
 *				them, or DDL changed the table since.  Where n relations of a join
 *				changed together, the term has 2^n combinations of these, and a
 *				key that is to be looked up in an Append reaches the index of only
 *				one of its halves.  Good for inner joins only: where a row decides
 *				together with others, it needs old versions, or the input is
 *				computed anew.
 *
 * With old versions, all occurrences after k are read so, whether or not they
 * changed: it makes no difference then, and k alone decides which plan it is.
 *
 * Last comes time.  Where conditions compare with now(), all of the above is evaluated at the
 * time of the position before the batch, and then there is one term for each condition and
 * direction in which rows pass it (compile/passing_time.c).
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
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/gucs.h"
#include "compile/derivative.h"
#include "compile/lower.h"
#include "compile/passing_time.h"
#include "compile/query.h"
#include "compile/shape.h"
#include "delta/consolidate.h"
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
	{1000, 200},
	{10000, 1000},
	{PG_INT64_MAX, 200000},
};

/* Of these. */
#define FEW_ROWS	0
#define MANY_ROWS	2

#define WHOLE_BRANCH	(-1)

/* Rows that pass in a longer time are many, perhaps. */
#define LONG_STEP	(60 * USECS_PER_SEC)

typedef struct CachedTerm
{
	int			branch;
	int			occurrence;		/* WHOLE_BRANCH: no delta; below: see
								 * time_term() */
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
	DeriveOccurrence *occurrences;	/* the first has number 1 */
	DeriveReach *reach;			/* of each of them */
	bool	   *direct;			/* of each branch: of all of its occurrences? */
	bool		not_null;		/* a branch relies on columns being NOT NULL */
	int		   *ntimes;			/* of each branch: conditions of time */
	Bitmapset **columns;		/* that are read of each; made when first
								 * needed */
	List	   *terms;			/* of CachedTerm * */
};

/* -------------------------------------------------------------------------
 * What is read
 * -------------------------------------------------------------------------
 */

typedef struct SourcesContext
{
	List	   *queries;		/* enclosing queries, innermost first */
	List	   *sources;		/* of DeriveSource * */
	Bitmapset **columns;		/* by occurrence, from 1; or NULL: do not ask */
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
		Query	   *query = (Query *) node;
		Bitmapset  *used = derive_query_used(query);
		int			i = -1;

		context->queries = lcons(node, context->queries);
		while ((i = bms_next_member(used, i)) >= 0)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->rtekind == RTE_RELATION)
				(void) find_source(&context->sources, rte->relid, rte->inh);
		}

		/*
		 * a join's column list names every column; we want those that are
		 * used
		 */
		(void) query_tree_walker(query, sources_walker, context, QTW_IGNORE_JOINALIASES);
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
			if (context->columns != NULL && derive_occurrence_of(rte) != 0)
				context->columns[derive_occurrence_of(rte) - 1] =
					bms_add_member(context->columns[derive_occurrence_of(rte) - 1], var->varattno);
		}
		else if (rte->rtekind == RTE_JOIN)
		{
			SourcesContext outer = {list_copy_tail(context->queries, var->varlevelsup), context->sources, context->columns};

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
derive_query_sources(Query *query, List *sources)
{
	SourcesContext context = {NIL, sources, NULL};

	(void) sources_walker((Node *) query, &context);
	return context.sources;
}

List *
derive_linear_sources(DeriveLinear *linear, List *sources)
{
	SourcesContext context = {NIL, sources, NULL};
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

bool
derive_linear_is_possible(Query *query)
{
	Query	   *copy = copyObject(query);
	int			noccurrences = list_length(derive_occurrences_number(copy, 0, NIL));

	for (int i = 1; i <= noccurrences; i++)
		if (derive_query_reach(copy, i) == DERIVE_REACH_NONE)
			return false;
	return true;
}

DeriveLinear *
derive_linear_create(List *branches, bool parallel)
{
	DeriveLinear *linear = palloc0(sizeof(DeriveLinear));
	List	   *occurrences = NIL;
	ListCell   *lc;

	linear->cxt = CurrentMemoryContext;
	linear->branches = branches;
	linear->parallel = parallel;
	linear->desc = derive_query_desc(linitial_node(Query, branches));
	foreach(lc, branches)
	{
		{
			occurrences = derive_occurrences_number(lfirst_node(Query, lc), foreach_current_index(lc), occurrences);
			derive_assert_shape(lfirst_node(Query, lc), DERIVE_SHAPE_NUMBERED);
		}
		linear->not_null |= derive_query_relies_on_not_null(lfirst_node(Query, lc));
	}

	linear->noccurrences = list_length(occurrences);
	linear->occurrences = palloc0(sizeof(DeriveOccurrence) * Max(linear->noccurrences, 1));
	linear->reach = palloc0(sizeof(DeriveReach) * Max(linear->noccurrences, 1));
	linear->ntimes = palloc0(sizeof(int) * list_length(branches));
	foreach(lc, branches)
	{
		derive_check_time_places(lfirst(lc), true);
		linear->ntimes[foreach_current_index(lc)] = derive_count_time_conditions(lfirst(lc));
	}
	linear->direct = palloc0(sizeof(bool) * list_length(branches));
	memset(linear->direct, true, sizeof(bool) * list_length(branches));
	foreach(lc, occurrences)
	{
		int			i = foreach_current_index(lc);
		DeriveOccurrence *occurrence = lfirst(lc);

		linear->occurrences[i] = *occurrence;
		linear->reach[i] = derive_query_reach(list_nth_node(Query, branches, occurrence->branch), i + 1);
		linear->direct[occurrence->branch] &= linear->reach[i] == DERIVE_REACH_DIRECT;

		/* the result would be wrong, and nothing would say so */
		if (linear->reach[i] == DERIVE_REACH_NONE)
			elog(ERROR, "a query that is to be maintained has no terms");
	}
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

static DeriveDelta *
occurrence_delta(DeriveLinear *linear, int occurrence, DeriveBatch *batch)
{
	DeriveOccurrence *o = &linear->occurrences[occurrence];
	DeriveDelta *delta = derive_batch_find(batch, o->relid, o->inh);

	if (delta != NULL)
		delta = derive_batch_rows(batch, delta);
	return delta && (delta->unknown || delta->nrows > 0) ? delta : NULL;
}

/*
 * The columns that the query reads of an occurrence.  In
 *
 *	FROM t WHERE EXISTS (SELECT FROM t u WHERE u.parent = t.id AND u.id <> t.id)
 *
 * an UPDATE of t.name is a change of the first one at most.
 */
static const Bitmapset *
columns_of(DeriveLinear *linear, int occurrence)
{
	if (linear->columns == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(linear->cxt);
		SourcesContext context = {.columns = palloc0(sizeof(Bitmapset *) * linear->noccurrences)};
		ListCell   *lc;

		foreach(lc, linear->branches)
			(void) sources_walker(lfirst(lc), &context);
		linear->columns = context.columns;
		MemoryContextSwitchTo(old);
	}
	return linear->columns[occurrence];
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
			delta = derive_batch_narrow(batch, delta, columns_of(linear, i));
		if (delta != NULL && joins)
			delta = derive_batch_net(batch, delta);
		if (delta != NULL && delta->nrows > 0)
			result[i] = delta;
	}
	return result;
}

static bool
past_shows(DeriveLinear *linear, int i, DerivePast *past)
{
	return past != NULL && derive_past_shows(past, linear->occurrences[i].relid, linear->occurrences[i].inh);
}

static bool
is_shown(DeriveLinear *linear, int i, DeriveBatch *batch)
{
	return past_shows(linear, i, batch->past);
}

bool
derive_linear_was_shown(DeriveLinear *linear, DeriveBatch *batch)
{
	for (int i = 0; i < linear->noccurrences; i++)
		if (occurrence_delta(linear, i, batch) != NULL && !is_shown(linear, i, batch))
			return false;
	return true;
}

/*
 * Can the terms be had?  Not if a relation has changed which some term reads as it was
 * before, that cannot be read so, and undoing its changes would not do; or if there may
 * be NULLs in its changes where the query counts on none (lower_in.c).
 */
static const char *
missing_past(DeriveLinear *linear, DeriveBatch *batch)
{
	int			changed = -1;	/* the last one, in the same branch */

	for (int i = 0; i < linear->noccurrences; i++)
	{
		DeriveOccurrence *o = &linear->occurrences[i];

		if (linear->direct[o->branch] || occurrence_delta(linear, i, batch) == NULL)
			continue;
		if (!is_shown(linear, i, batch) &&
			(linear->reach[i] != DERIVE_REACH_DIRECT || linear->not_null ||
			 (changed >= 0 && linear->occurrences[changed].branch == o->branch)))
			return "a relation cannot be read as it was";
		changed = i;
	}
	return NULL;
}

bool
derive_linear_timed(DeriveLinear *linear)
{
	for (int branch = 0; branch < list_length(linear->branches); branch++)
		if (linear->ntimes[branch] > 0)
			return true;
	return false;
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
	if (derive_linear_timed(linear) && derive_batch_passes_time(batch))
	{
		touched = true;
		if (batch->from == NULL || batch->from->time == 0)
			*unknown = "the time for which it was evaluated is not known";
	}
	if (*unknown == NULL && touched)
		*unknown = missing_past(linear, batch);
	return touched;
}

/* -------------------------------------------------------------------------
 * Terms
 * -------------------------------------------------------------------------
 */

static TupleDesc
describe_delta(RangeTblEntry *rte)
{
	Relation	rel = table_open(rte->relid, AccessShareLock);
	TupleDesc	desc = derive_delta_desc(RelationGetDescr(rel));

	table_close(rel, NoLock);
	return desc;
}

/* The rows that pass a condition of time, in one direction, are a term like that of an occurrence. */
static int
time_term(int condition, bool entering)
{
	return WHOLE_BRANCH - 1 - (2 * condition + (entering ? 1 : 0));
}

static int
time_condition(int term)
{
	return (WHOLE_BRANCH - 1 - term) / 2;
}

static bool
time_entering(int term)
{
	return (WHOLE_BRANCH - 1 - term) % 2 == 1;
}

/* The cached plan of a term, made when first needed. */
static DerivePlan *
find_term(DeriveLinear *linear, int branch, int occurrence, Bitmapset *old_ones, Bitmapset *undone,
		  int size_class)
{
	MemoryContext old;
	CachedTerm *term;
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
	if (occurrence == WHOLE_BRANCH)
		options = linear->parallel ? CURSOR_OPT_PARALLEL_OK : 0;
	else if (occurrence < WHOLE_BRANCH)
		query = derive_time_term(query, time_condition(occurrence), time_entering(occurrence));
	else
	{
		DeriveTerm	derivative = {
			.occurrence = occurrence + 1,
			.old = old_ones,
			.undone = undone,
			.ntuples = size_classes[size_class].planned_for,
			.describe = describe_delta
		};

		query = derive_query_term(query, &derivative);

		/* those of the last class are enough for a hash table to be worth it */
		if (size_class < lengthof(size_classes) - 1)
			query = derive_lower_in_for_few(query);
	}

	old = MemoryContextSwitchTo(linear->cxt);
	term = palloc0(sizeof(CachedTerm));
	term->branch = branch;
	term->occurrence = occurrence;
	term->old = bms_copy(old_ones);
	term->undone = bms_copy(undone);
	term->size_class = size_class;
	term->plan = derive_plan_create(query, options);
	if (occurrence != WHOLE_BRANCH)
		derive_plan_at_old_time(term->plan);
	linear->terms = lappend(linear->terms, term);
	MemoryContextSwitchTo(old);
	return term->plan;
}

int
derive_size_class(int64 nrows, double *planned_for)
{
	int			size_class = 0;

	while (nrows > size_classes[size_class].up_to)
		size_class++;
	*planned_for = size_classes[size_class].planned_for;
	return size_class;
}

static QueryEnvironment *
delta_environment(DeriveLinear *linear, DeriveDelta **deltas)
{
	QueryEnvironment *env = create_queryEnv();

	for (int i = 0; i < linear->noccurrences; i++)
	{
		DeriveDelta *delta = deltas[i];

		if (delta != NULL)
			derive_env_register(env, derive_delta_name(i + 1), delta->desc, delta->rows, delta->nrows);
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
				 errmsg("relation \"%s\" changed its columns during a batch", get_rel_name(delta->relid))));
}

typedef struct NetSink
{
	DeriveRowSink sink;
	void	   *arg;
} NetSink;

static void
add_to_net(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_consolidate_add(arg, row, weight);
}

static void
pass_net(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	NetSink    *net = arg;

	net->sink(net->arg, old ? old : new, old ? -count : count);
}

/*
 * A term by key evaluates rows twice of which most may not have changed.  An aggregate
 * would take each of them away and add it again.
 */
static void
run_term(DeriveLinear *linear, int occurrence, DerivePlan *plan, QueryEnvironment *env, DerivePast *past,
		 DeriveRowSink sink, void *arg)
{
	DeriveConsolidator *net;
	NetSink		net_sink = {sink, arg};

	if (linear->reach[occurrence] == DERIVE_REACH_DIRECT)
	{
		derive_plan_run(plan, env, past, true, sink, arg);
		return;
	}
	net = derive_consolidate_begin(linear->desc, 0, NULL, false);
	derive_plan_run(plan, env, past, true, add_to_net, net);
	derive_consolidate_finish(net, pass_net, &net_sink);
}

/* What comes and goes in a branch because time has passed; a long step, after a pause, has a plan of its own. */
static void
run_time_terms(DeriveLinear *linear, int branch, DeriveBatch *batch, DeriveRowSink sink, void *arg)
{
	TimestampTz step = batch->to->time - batch->from->time;
	int			size_class = step > LONG_STEP || step < -LONG_STEP ? MANY_ROWS : FEW_ROWS;

	for (int i = 0; i < linear->ntimes[branch]; i++)
	{
		derive_plan_run(find_term(linear, branch, time_term(i, true), NULL, NULL, size_class), NULL, NULL, true, sink, arg);
		derive_plan_run(find_term(linear, branch, time_term(i, false), NULL, NULL, size_class), NULL, NULL, true, sink, arg);
	}
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
		int			size_class;
		double		planned_for;

		if (delta == NULL)
			continue;
		check_layout(delta);
		for (int j = i + 1; j < linear->noccurrences && linear->occurrences[j].branch == branch; j++)
		{
			if (is_shown(linear, j, batch))
				old = bms_add_member(old, j + 1);
			else if (deltas[j] != NULL)
			{
				Assert(linear->direct[branch]);
				undone = bms_add_member(undone, j + 1);
				if (derive_old_rows_are_read())
					elog(DEBUG1, "reading relation %u as it was by its changes", linear->occurrences[j].relid);
			}
		}
		if (undone != NULL)
			elog(DEBUG1, "undoing changes of a join, since relations cannot be read as they were");
		size_class = derive_size_class(delta->nrows, &planned_for);
		run_term(linear, i, find_term(linear, branch, i, old, undone, size_class), env,
				 old != NULL || linear->reach[i] != DERIVE_REACH_DIRECT ? batch->past : NULL, sink, arg);
	}
	if (derive_batch_passes_time(batch))
		for (int branch = 0; branch < list_length(linear->branches); branch++)
			run_time_terms(linear, branch, batch, sink, arg);
}

void
derive_linear_step(DeriveLinear *linear, DeriveDelta *delta, DerivePast *past, DeriveRowSink sink, void *arg)
{
	QueryEnvironment *env = create_queryEnv();
	Bitmapset  *old = NULL;
	int			changed = -1;
	int			size_class;
	double		planned_for;

	for (int i = 0; i < linear->noccurrences; i++)
	{
		if (linear->occurrences[i].relid == delta->relid)
			changed = i;
		else if (past_shows(linear, i, past))
			old = bms_add_member(old, i + 1);
	}
	Assert(changed >= 0 && linear->reach[changed] == DERIVE_REACH_DIRECT);
	derive_env_register(env, derive_delta_name(changed + 1), delta->desc, delta->rows, delta->nrows);
	size_class = derive_size_class(delta->nrows, &planned_for);
	run_term(linear, changed,
			 find_term(linear, linear->occurrences[changed].branch, changed, old, NULL, size_class),
			 env, old != NULL ? past : NULL, sink, arg);
}

void
derive_linear_full(DeriveLinear *linear, DeriveRowSink sink, void *arg)
{
	for (int branch = 0; branch < list_length(linear->branches); branch++)
		derive_plan_run(find_term(linear, branch, WHOLE_BRANCH, NULL, NULL, 0), NULL, NULL, false, sink, arg);
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
	Query	   *query = derive_query_wrap(all);

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
