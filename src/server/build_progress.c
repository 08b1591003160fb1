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
 * The counters of a table stay where they are until the transaction ends, also if the
 * relation cache forgets the table meanwhile: the handler of the timer reads them, and
 * does nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "delta/stream.h"
#include "materialize/program.h"
#include "optimizer/plancat.h"
#include "pgstat.h"
#include "server/build_progress.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timeout.h"

#define LOOK_MS		500

static TimeoutId timer;
static bool timer_registered = false;

static DeriveBuild *shown;
static PgStat_TableStatus **counted;
static int	ncounted;

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
	pg_atomic_write_u64(&shown->tuples_done, tuples);
	pg_atomic_write_u64(&shown->blocks_done, blocks);
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

	shown = build;
	ncounted = 0;
	counted = palloc(sizeof(PgStat_TableStatus *) * Max(list_length(tables), 1));
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
			if (pgstat_should_count_relation(rel))
				counted[ncounted++] = rel->pgstat_info;
		}
		relation_close(rel, NoLock);
	}
	pg_atomic_write_u64(&build->tuples_total, (uint64) tuples_total);
	pg_atomic_write_u64(&build->blocks_total, blocks_total);

	if (ncounted == 0)
		return;
	if (!timer_registered)
		timer = RegisterTimeout(USER_TIMEOUT, look);
	timer_registered = true;
	enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_MS), LOOK_MS);
}

void
derive_build_progress_end(void)
{
	if (timer_registered)
		disable_timeout(timer, false);
	if (ncounted > 0)
		look();
	ncounted = 0;
}
