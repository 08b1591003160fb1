/*-------------------------------------------------------------------------
 *
 * build_progress.c
 *	  How far a builder is, for people who look at derive.progress.
 *
 * A query that groups or sorts has no row until it has read all of its tables, so its
 * rows tell nothing.  But the server counts, in each process, what that has read of
 * each table, for pg_stat_all_tables.  The builder looks at these counters of its own
 * once in a while, by a timer, and shows the sum beside what there is to read.
 *
 *		table		blocks	rows (estimate)		counted so far		shown
 *		orders		  4425	  500000			 4425	 500000
 *		clicks		 12000	 2000000			 3000	 510000
 *					 16425	 2500000								7425 blocks, 1010000 rows
 *
 * A parallel worker counts by itself.  So those that help with a query of a builder (base/usercode.h)
 * look at their own counters in the same way, of the tables that their part of the plan
 * has opened, and add what is new to what the builder shows.
 *
 * The counters of a table stay where they are until the transaction ends, also if the
 * relation cache forgets the table meanwhile: the handler of the timer reads them, and
 * does nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/relation.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/usercode.h"
#include "catalog/pg_class.h"
#include "delta/stream.h"
#include "executor/executor.h"
#include "materialize/program.h"
#include "optimizer/plancat.h"
#include "pgstat.h"
#include "server/build_progress.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "utils/rel.h"
#include "utils/timeout.h"

#define LOOK_MS		500

static TimeoutId timer;
static bool timer_registered = false;

static DeriveBuild *shown;
static PgStat_TableStatus **counted;
static int	ncounted;
static uint64 tuples_shown;
static uint64 blocks_shown;

static ExecutorStart_hook_type next_executor_start = NULL;
static ExecutorEnd_hook_type next_executor_end = NULL;

/* May run anywhere. */
static void
look(void)
{
	uint64		tuples = 0;
	uint64		blocks = 0;

	for (int i = 0; i < ncounted; i++)
	{
		tuples += derive_compat_tuples_returned(counted[i]);
		blocks += derive_compat_blocks_fetched(counted[i]);
	}
	pg_atomic_fetch_add_u64(&shown->tuples_done, tuples - tuples_shown);
	pg_atomic_fetch_add_u64(&shown->blocks_done, blocks - blocks_shown);
	tuples_shown = tuples;
	blocks_shown = blocks;
}

static void
begin_counting(DeriveBuild *build, int most)
{
	shown = build;
	ncounted = 0;
	counted = palloc(sizeof(PgStat_TableStatus *) * Max(most, 1));
	tuples_shown = blocks_shown = 0;
}

static void
count_table(Relation rel)
{
	if (pgstat_should_count_relation(rel))
		counted[ncounted++] = rel->pgstat_info;
}

static void
look_from_now_on(void)
{
	if (ncounted == 0)
		return;
	if (!timer_registered)
		timer = RegisterTimeout(USER_TIMEOUT, look);
	timer_registered = true;
	enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_MS), LOOK_MS);
}

static void
look_no_more(void)
{
	if (timer_registered)
		disable_timeout(timer, false);
}

/* All tables that it reads, of Oid. */
static List *
tables_of(DeriveProgram *program)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		result = list_concat_unique_oid(result, derive_source_members(source->relid, source->inh));
	}
	return result;
}

void
derive_build_progress_begin(DeriveBuild *build, DeriveProgram *program)
{
	List	   *tables = tables_of(program);
	double		tuples_total = 0;
	uint64		blocks_total = 0;
	ListCell   *lc;

	begin_counting(build, list_length(tables));
	foreach(lc, tables)
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);	/* is locked */
		BlockNumber blocks;
		double		tuples;
		double		visible;

		if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
		{
			estimate_rel_size(rel, NULL, &blocks, &tuples, &visible);
			blocks_total += RelationGetNumberOfBlocks(rel);
			tuples_total += tuples;
			count_table(rel);
		}
		relation_close(rel, NoLock);
	}
	pg_atomic_write_u64(&build->tuples_total, (uint64) tuples_total);
	pg_atomic_write_u64(&build->blocks_total, blocks_total);
	look_from_now_on();
}

void
derive_build_progress_end(void)
{
	look_no_more();
	if (ncounted > 0)
		look();
	ncounted = 0;
}


/* ----------------------------------------------------------------
 *		In parallel workers
 * ----------------------------------------------------------------
 */

/* The build of the process that we help; or NULL. */
static DeriveBuild *
build_of_leader(void)
{
	DeriveShared *shared = derive_shared();
	PGPROC	   *leader = MyProc->lockGroupLeader;
	DeriveBuild *result = NULL;

	if (shared == NULL || leader == NULL)
		return NULL;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (int i = 0; i < DERIVE_MAX_BUILD_SLOTS; i++)
		if (OidIsValid(shared->builds[i].view) && shared->builds[i].pid == leader->pid)
			result = &shared->builds[i];
	LWLockRelease(shared->lock);
	return result;
}

static void
executor_start(QueryDesc *desc, int flags)
{
	DeriveBuild *build;

	if (next_executor_start != NULL)
		next_executor_start(desc, flags);
	else
		standard_ExecutorStart(desc, flags);
	/* not those of functions */
	if (!derive_helps_with_query() || ncounted > 0 || strcmp(desc->sourceText, DERIVE_QUERY_TEXT) != 0 ||
		(build = build_of_leader()) == NULL)
		return;
	begin_counting(build, desc->estate->es_range_table_size);
	for (int i = 0; i < desc->estate->es_range_table_size; i++)
		if (desc->estate->es_relations[i] != NULL)
			count_table(desc->estate->es_relations[i]);
	look_from_now_on();
}

static void
executor_end(QueryDesc *desc)
{
	if (IsParallelWorker() && strcmp(desc->sourceText, DERIVE_QUERY_TEXT) == 0)
		derive_build_progress_end();
	if (next_executor_end != NULL)
		next_executor_end(desc);
	else
		standard_ExecutorEnd(desc);
}

/* After an error the counters are gone. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PARALLEL_ABORT)
	{
		look_no_more();
		ncounted = 0;
	}
}

void
derive_build_progress_install(void)
{
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	next_executor_end = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
	RegisterXactCallback(at_transaction_end, NULL);
}
