/*-------------------------------------------------------------------------
 *
 * throttle.c
 *	  Builders rest in between, so that they take no more than their share.
 *
 * A query that groups or sorts returns nothing until it is almost done, so there would be no
 * moment to rest if we looked at its rows only.  But between two rows of any plan node there
 * is one: nothing is held then but locks of relations, which the builder has anyway, and pins
 * of pages, like those of a cursor from which nobody fetches.  So the nodes of each plan of ours are called by way of
 * rest_and_execute(), which looks at the clock now and then:
 *
 *		pg_derive.build_share = 0.25
 *		works for 20 ms | rests for 60 ms | works for 20 ms | rests for 60 ms | ...
 *
 * The time in which it works has that for which it waits for the disk in it: where that is
 * the bottleneck, reading is what is limited.  Queries of functions that a view calls are
 * part of the row that they are called for.  Indexes are made without a rest.
 *
 * Whoever raises the share wants it to be so now: the configuration is read again while the
 * builder works, as by autovacuum (vacuum_delay_point()).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/gucs.h"
#include "base/wait_event.h"
#include "derive/plan.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "server/throttle.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/hsearch.h"

/* It works for so long between two rests. */
#define WORK_MS			20

/* The clock is looked at once in so many rows. */
#define ROWS_PER_LOOK	64

/* A rest is no longer than this; or a change of the setting would be noticed late. */
#define MOST_REST_MS	1000

/* What a node's rows are really made by. */
typedef struct ThrottledNode
{
	PlanState  *node;
	ExecProcNodeMtd execute;
} ThrottledNode;

static ExecutorStart_hook_type next_executor_start = NULL;
static DeriveResting tell = NULL;
static HTAB *nodes = NULL;
static instr_time worked_since;


static void
reload(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static void
rest(double ms)
{
	while (ms >= 1)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) Min(ms, MOST_REST_MS), derive_wait_event(DERIVE_WAIT_BUILD_PAUSE));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			break;
		ms -= MOST_REST_MS;
	}
	reload();
}

static void
rest_if_due(void)
{
	static int	calls = 0;
	instr_time	now;
	double		worked;

	if (++calls < ROWS_PER_LOOK)
		return;
	calls = 0;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, worked_since);
	worked = INSTR_TIME_GET_MILLISEC(now);
	if (worked < WORK_MS)
		return;
	tell(true);
	rest(worked * (1 - derive_build_share) / derive_build_share);
	tell(false);
	INSTR_TIME_SET_CURRENT(worked_since);
}

static TupleTableSlot *
rest_and_execute(PlanState *node)
{
	ThrottledNode *throttled = hash_search(nodes, &node, HASH_FIND, NULL);

	Assert(throttled != NULL);
	rest_if_due();
	return throttled->execute(node);
}

static bool
throttle_node(PlanState *node, void *context)
{
	ThrottledNode *throttled;

	if (node == NULL)
		return false;
	/* there may be one of an earlier plan, which had the same address */
	throttled = hash_search(nodes, &node, HASH_ENTER, NULL);
	throttled->execute = node->ExecProcNodeReal;
	ExecSetExecProcNode(node, rest_and_execute);
	return planstate_tree_walker(node, throttle_node, context);
}

static void
executor_start(QueryDesc *desc, int flags)
{
	if (next_executor_start != NULL)
		next_executor_start(desc, flags);
	else
		standard_ExecutorStart(desc, flags);
	if (flags == 0 && strcmp(desc->sourceText, DERIVE_QUERY_TEXT) == 0)
		(void) throttle_node(desc->planstate, NULL);
}

void
derive_throttle_queries(DeriveResting resting)
{
	HASHCTL		form = {.keysize = sizeof(PlanState *),.entrysize = sizeof(ThrottledNode),.hcxt = TopMemoryContext};

	if (derive_build_share >= 1)
		return;
	nodes = hash_create("pg_derive throttled nodes", 64, &form, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	tell = resting;
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	INSTR_TIME_SET_CURRENT(worked_since);
	/* others would not rest */
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_SUSET, PGC_S_OVERRIDE);
}
