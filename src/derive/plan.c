/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Cached plans of query trees, and running them.
 *
 * Plans are made when they are first needed and dropped by invalidation, exactly
 * as in plancache.c; that file itself cannot be used since it wants to re-analyse
 * the source text, and here is none.
 *
 * A query may read some relations as they were in the past (old_scan.c).  Its
 * plan is good for those pasts that know the indexes it uses.
 *
 * A query may refer to the present by parameters (compile/passing_time.c).  The planner is
 * told what they are now, so that it knows how few rows are in a range between two of them,
 * but makes a plan that is good for others as well.
 *
 * What the executor can compute in parts, it computes up to states, brings these together,
 * and makes results of them in the end.  A plan of states leaves that last step out; each
 * aggregate then returns its state as it would be sent to another process.  The planner
 * knows no such query, so its plan is changed: the uppermost aggregation, which is that of
 * the query, or one for each partition, becomes one more that is done in part.  The types
 * in the query are those of the states.
 *
 *	HashAggregate				simple -> initial, serializing
 *
 *	Finalize HashAggregate		deserializing -> deserializing, serializing, not final
 *		Gather
 *			Partial HashAggregate
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/params.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "compile/passing_time.h"
#include "derive/old_scan.h"
#include "derive/plan.h"

struct DerivePlan
{
	dlist_node	link;			/* in all_plans */
	Query	   *query;			/* what to plan; never changed */
	int			cursor_options;
	bool		at_old_time;
	bool		states;			/* not the aggregates' results */
	MemoryContext cxt;			/* of this struct and the query */
	MemoryContext stmt_cxt;		/* of stmt, reset when planning again */
	MemoryContextCallback on_delete;
	PlannedStmt *stmt;
	bool		valid;
	DeriveOldIndexes indexes;	/* of relations that are read as they were */
};

typedef struct SinkReceiver
{
	DestReceiver pub;
	bool		weighted;		/* the last column is the weight */
	DeriveRowSink sink;
	void	   *arg;
	TupleTableSlot *row;
} SinkReceiver;

static dlist_head all_plans = DLIST_STATIC_INIT(all_plans);

/* What now() is in queries, see plan.h. */
static TimestampTz time_before = 0;
static TimestampTz time_now = 0;


/* -------------------------------------------------------------------------
 * The present
 * -------------------------------------------------------------------------
 */

void
derive_plan_at_old_time(DerivePlan *plan)
{
	plan->at_old_time = true;
}

void
derive_plan_set_time(TimestampTz before, TimestampTz now)
{
	time_before = before;
	time_now = now;
}

/* The parameters by which queries refer to the present; without them such a query is an ERROR. */
static ParamListInfo
time_params(bool at_old_time)
{
	const TimestampTz times[DERIVE_TIME_PARAMS] = {
		[DERIVE_PARAM_NOW - 1] = at_old_time ? time_before : time_now,
		[DERIVE_PARAM_LATER - 1] = time_now,
	};
	ParamListInfo params;

	if (times[DERIVE_PARAM_NOW - 1] == 0)
		return NULL;
	params = makeParamList(DERIVE_TIME_PARAMS);
	for (int i = 0; i < DERIVE_TIME_PARAMS; i++)
	{
		params->params[i].value = TimestampTzGetDatum(times[i]);
		params->params[i].isnull = false;
		params->params[i].pflags = 0;	/* plans are kept */
		params->params[i].ptype = TIMESTAMPTZOID;
	}
	return params;
}

/* -------------------------------------------------------------------------
 * Cached plans
 * -------------------------------------------------------------------------
 */

static void
plan_deleted(void *arg)
{
	dlist_delete(&((DerivePlan *) arg)->link);
}

static void
syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	derive_plans_invalidate(InvalidOid);
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;

	/*
	 * relations: the process's own relcache callback calls
	 * derive_plans_invalidate()
	 */
	CacheRegisterSyscacheCallback(PROCOID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(AMOPOPID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(CONSTROID, syscache_callback, (Datum) 0);
	registered = true;
}

DerivePlan *
derive_plan_create(Query *query, int cursor_options)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive plan",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DerivePlan *plan = palloc0(sizeof(DerivePlan));

	register_callbacks();
	plan->cxt = cxt;
	plan->stmt_cxt = AllocSetContextCreate(cxt, "pg_derive planned statement",
										   ALLOCSET_SMALL_SIZES);
	plan->query = copyObject(query);
	plan->cursor_options = cursor_options;
	dlist_push_tail(&all_plans, &plan->link);
	plan->on_delete.func = plan_deleted;
	plan->on_delete.arg = plan;
	MemoryContextRegisterResetCallback(cxt, &plan->on_delete);
	MemoryContextSwitchTo(old);
	return plan;
}

void
derive_plans_invalidate(Oid relid)
{
	dlist_iter	iter;

	dlist_foreach(iter, &all_plans)
	{
		DerivePlan *plan = dlist_container(DerivePlan, link, iter.cur);

		if (plan->stmt == NULL || !plan->valid || !OidIsValid(relid) ||
			list_member_oid(plan->stmt->relationOids, relid))
			plan->valid = false;
	}
}

void
derive_plan_of_states(DerivePlan *plan)
{
	plan->states = true;
}

static bool
leave_state_walker(Node *node, AggSplit *split)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		((Aggref *) node)->aggsplit = *split;
		return false;
	}
	return expression_tree_walker(node, leave_state_walker, split);
}

/* Let the uppermost aggregation of a plan be of states. */
static void
leave_states(Plan *plan)
{
	ListCell   *lc;
	List	   *children = NIL;

	if (IsA(plan, Agg))
	{
		Agg		   *agg = (Agg *) plan;

		Assert(!DO_AGGSPLIT_SKIPFINAL(agg->aggsplit));
		agg->aggsplit = (AggSplit) (agg->aggsplit | AGGSPLITOP_SKIPFINAL | AGGSPLITOP_SERIALIZE);
		(void) leave_state_walker((Node *) plan->targetlist, &agg->aggsplit);
		(void) leave_state_walker((Node *) plan->qual, &agg->aggsplit);
		return;
	}
	if (IsA(plan, Append))
		children = ((Append *) plan)->appendplans;
	else if (IsA(plan, MergeAppend))
		children = ((MergeAppend *) plan)->mergeplans;
	else if (outerPlan(plan) != NULL && innerPlan(plan) == NULL)
		children = list_make1(outerPlan(plan));
	if (children == NIL)
		elog(ERROR, "a plan of node type %d computes no states", (int) nodeTag(plan));
	foreach(lc, children)
		leave_states(lfirst(lc));
}

static void
plan_query(DerivePlan *plan, DerivePast *past)
{
	MemoryContext tmp = AllocSetContextCreate(CurrentMemoryContext, "pg_derive planning",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(tmp);
	PlannedStmt *stmt;

	plan->stmt = NULL;
	MemoryContextReset(plan->stmt_cxt);
	plan->valid = true;			/* an invalidation while planning takes it
								 * back */
	stmt = derive_old_plan(copyObject(plan->query), plan->cursor_options, time_params(plan->at_old_time), past,
						   &plan->indexes);
	if (plan->states)
		leave_states(stmt->planTree);
	MemoryContextSwitchTo(plan->stmt_cxt);
	plan->stmt = copyObject(stmt);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(tmp);
}

/* Lock what the plan reads, planning again until it is current under the locks. */
static void
make_valid(DerivePlan *plan, DerivePast *past)
{
	for (;;)
	{
		ListCell   *lc;

		CHECK_FOR_INTERRUPTS();
		if (plan->stmt == NULL || !plan->valid ||
			(past != NULL && !derive_old_indexes_fit(&plan->indexes, past)))
			plan_query(plan, past);
		foreach(lc, plan->stmt->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_RELATION)
				LockRelationOid(rte->relid, rte->rellockmode);
		}
		if (plan->valid)
			return;
	}
}

PlannedStmt *
derive_plan_stmt(DerivePlan *plan)
{
	make_valid(plan, NULL);
	return plan->stmt;
}

/* -------------------------------------------------------------------------
 * Execution
 * -------------------------------------------------------------------------
 */

static void
sink_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	SinkReceiver *receiver = (SinkReceiver *) self;
	int			natts = typeinfo->natts - (receiver->weighted ? 1 : 0);
	TupleDesc	desc = CreateTemplateTupleDesc(natts);

	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(desc, i, typeinfo, i);
	receiver->row = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
}

static bool
sink_receive(TupleTableSlot *slot, DestReceiver *self)
{
	SinkReceiver *receiver = (SinkReceiver *) self;
	TupleTableSlot *row = receiver->row;
	int			natts = row->tts_tupleDescriptor->natts;
	int64		weight = 1;

	slot_getallattrs(slot);
	if (receiver->weighted)
	{
		Assert(!slot->tts_isnull[natts]);
		weight = DatumGetInt64(slot->tts_values[natts]);
	}
	if (weight == 0)
		return true;
	ExecClearTuple(row);
	memcpy(row->tts_values, slot->tts_values, natts * sizeof(Datum));
	memcpy(row->tts_isnull, slot->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(row);
	receiver->sink(receiver->arg, row, weight);
	return true;
}

static void
sink_shutdown(DestReceiver *self)
{
	SinkReceiver *receiver = (SinkReceiver *) self;

	if (receiver->row)
		ExecDropSingleTupleTableSlot(receiver->row);
	receiver->row = NULL;
}

static void
sink_destroy(DestReceiver *self)
{
}

/* For people and tests; they are gone with the plan. */
static bool
log_parallel(PlanState *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, GatherState))
		elog(DEBUG1, "a query was run with %d of %d parallel workers", ((GatherState *) node)->nworkers_launched,
			 ((Gather *) node->plan)->num_workers);
	else if (IsA(node, GatherMergeState))
		elog(DEBUG1, "a query was run with %d of %d parallel workers, which sort", ((GatherMergeState *) node)->nworkers_launched,
			 ((GatherMerge *) node->plan)->num_workers);
	return planstate_tree_walker(node, log_parallel, context);
}

static void
execute(PlannedStmt *stmt, bool at_old_time, QueryEnvironment *env, DerivePast *past, bool weighted,
		DeriveRowSink sink, void *arg)
{
	SinkReceiver receiver = {
		.pub = {sink_receive, sink_startup, sink_shutdown, sink_destroy, DestNone},
		.weighted = weighted,
		.sink = sink,
		.arg = arg
	};
	QueryDesc  *desc = CreateQueryDesc(stmt, DERIVE_QUERY_TEXT, GetActiveSnapshot(), InvalidSnapshot,
									   &receiver.pub, time_params(at_old_time), env, 0);

	ExecutorStart(desc, 0);
	if (past != NULL)
		derive_old_scans(desc, past);
	derive_compat_executor_run(desc);
	if (stmt->parallelModeNeeded)
		(void) log_parallel(desc->planstate, NULL);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

void
derive_plan_run(DerivePlan *plan, QueryEnvironment *env, DerivePast *past, bool weighted,
				DeriveRowSink sink, void *arg)
{
	make_valid(plan, past);
	execute(plan->stmt, plan->at_old_time, env, past, weighted, sink, arg);
}

void
derive_query_run(Query *query, QueryEnvironment *env, DeriveRowSink sink, void *arg)
{
	PlannedStmt *stmt = pg_plan_query(query, DERIVE_QUERY_TEXT, CURSOR_OPT_PARALLEL_OK, NULL);

	execute(stmt, false, env, NULL, false, sink, arg);
}

Cost
derive_query_cost(Query *query)
{
	return pg_plan_query(query, DERIVE_QUERY_TEXT, CURSOR_OPT_PARALLEL_OK, NULL)->planTree->total_cost;
}

/*
 * The executor is started as for EXPLAIN, which checks the rights and reads
 * nothing.  To call the check alone would be shorter, but it calls a hook, and
 * libraries that audit expect to be inside of a statement there.
 */
void
derive_query_check_permissions(Query *query)
{
	PlannedStmt *stmt = pg_plan_query(query, DERIVE_QUERY_TEXT, 0, NULL);
	QueryDesc  *desc = CreateQueryDesc(stmt, DERIVE_QUERY_TEXT, GetActiveSnapshot(), InvalidSnapshot,
									   None_Receiver, NULL, NULL, 0);

	ExecutorStart(desc, EXEC_FLAG_EXPLAIN_ONLY);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

void
derive_env_register(QueryEnvironment *env, const char *name, TupleDesc desc,
					Tuplestorestate *rows, double nrows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = pstrdup(name);
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = nrows;
	enr->reldata = rows;
	register_ENR(env, enr);
}
