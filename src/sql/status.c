/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What the views derive.stats and derive.progress show.
 *
 * Their functions, in derive_state, read shared memory and the registry, and change
 * nothing.  Whose rows a caller gets is a condition of the views.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/registry.h"
#include "base/waiting.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/shmem.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(derive_counters_sql);
PG_FUNCTION_INFO_V1(derive_service_sql);
PG_FUNCTION_INFO_V1(derive_builds_sql);


/* derive_state.counters(): one row per view that has taken part in a batch. */
Datum
derive_counters_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, derive_registry_all())
	{
		Oid			view = ((DeriveViewRow *) lfirst(lc))->relid;
		DeriveStats stats;
		Datum		values[10];
		bool		nulls[10] = {false};

		if (!derive_stats_get(view, &stats) || stats.batches == 0)
			continue;
		values[0] = ObjectIdGetDatum(view);
		values[1] = Int64GetDatum(stats.batches);
		values[2] = Int64GetDatum(stats.changes_in);
		values[3] = Int64GetDatum(stats.inserted);
		values[4] = Int64GetDatum(stats.updated);
		values[5] = Int64GetDatum(stats.deleted);
		values[6] = Float8GetDatum(stats.delta_ms);
		values[7] = Float8GetDatum(stats.apply_ms);
		values[8] = Float8GetDatum(stats.last_batch_ms);
		values[9] = TimestampTzGetDatum(stats.last_batch_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * derive_state.service(): this database's worker, and how far behind it is.
 * Nothing is behind as long as no transaction has committed since the last
 * batch's snapshot; otherwise everything since that snapshot may be.
 */
Datum
derive_service_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DeriveDatabase *db = derive_database_mine();
	XLogRecPtr	applied;
	TimestampTz covered_at;
	bool		current;
	int			pid;
	Datum		values[4];
	bool		nulls[4] = {false};

	InitMaterializedSRF(fcinfo, 0);
	if (db == NULL)
		return (Datum) 0;

	LWLockAcquire(derive_shared()->lock, LW_SHARED);
	pid = (int) db->worker_pid;
	LWLockRelease(derive_shared()->lock);
	applied = pg_atomic_read_u64(&db->point.applied_lsn);
	covered_at = (TimestampTz) pg_atomic_read_u64(&db->covered_at);
	current = pg_atomic_read_u64(&db->commits) == pg_atomic_read_u64(&db->commits_applied) &&
		pid != 0;

	values[0] = Int32GetDatum(pid);
	nulls[0] = (pid == 0);
	values[1] = LSNGetDatum(applied);
	nulls[1] = XLogRecPtrIsInvalid(applied);
	values[2] = Int64GetDatum(current ? 0 : (int64) (GetXLogInsertRecPtr() - applied));
	nulls[2] = XLogRecPtrIsInvalid(applied);
	if (covered_at == 0)
		nulls[3] = true;
	else
	{
		Interval   *lag = palloc0(sizeof(Interval));

		lag->time = current ? 0 : Max(GetCurrentTimestamp() - covered_at, 0);
		values[3] = IntervalPGetDatum(lag);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* What a view waits for that is to be built and has no builder. */
static const char *
what_it_waits_for(const DeriveViewRow *row)
{
	DeriveShared *shared = derive_shared();
	DeriveDatabase *db = derive_database_mine();
	DeriveStats stats;
	bool		alive;
	bool		no_process;
	bool		reading;

	if (shared == NULL)
		return "pg_derive (shared_preload_libraries)";
	if (db == NULL)
		return "a worker (pg_derive.max_databases)";
	LWLockAcquire(shared->lock, LW_SHARED);
	alive = db->worker_pid != 0;
	no_process = db->no_process;
	reading = db->reading;
	LWLockRelease(shared->lock);
	if (!alive)
		return no_process ? "a process (max_worker_processes)" : "a worker";
	if (!reading)
		return "the replication slot";
	if (derive_waiting_get(row->relid) != NULL)
		return "what derive.views says";
	if (row->state == DERIVE_VIEW_CATCHUP)
		return "the next batch";
	if (derive_stats_get(row->relid, &stats) && stats.waits_for[0] != '\0')
		return pstrdup(stats.waits_for);
	return "its turn";
}

/* Is it to be built, or to take the place of another view? */
static bool
is_to_come(const DeriveViewRow *row)
{
	return row->state == DERIVE_VIEW_BUILDING || row->state == DERIVE_VIEW_CATCHUP ||
		(row->state == DERIVE_VIEW_READY && OidIsValid(row->replaces));
}

/* derive_state.builds(): the builders at work in this database, and who waits for one. */
Datum
derive_builds_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DeriveShared *shared = derive_shared();
	List	   *built = NIL;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; shared != NULL && i < DERIVE_MAX_BUILD_SLOTS; i++)
	{
		DeriveBuild *build = &shared->builds[i];
		char		phase[DERIVE_PHASE_LENGTH];
		Datum		values[6];
		bool		nulls[6] = {false};
		uint64		total;
		bool		used;

		LWLockAcquire(shared->lock, LW_SHARED);
		used = OidIsValid(build->view) && build->dboid == MyDatabaseId;
		values[0] = ObjectIdGetDatum(build->view);
		values[1] = Int32GetDatum((int) build->pid);
		nulls[1] = (build->pid == 0);
		strlcpy(phase, build->phase, sizeof(phase));
		values[5] = TimestampTzGetDatum(build->started_at);
		LWLockRelease(shared->lock);
		if (!used)
			continue;

		values[2] = CStringGetTextDatum(phase);
		values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&build->tuples_done));
		total = pg_atomic_read_u64(&build->tuples_total);
		values[4] = Int64GetDatum((int64) total);
		nulls[4] = (total == 0);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		built = lappend_oid(built, DatumGetObjectId(values[0]));
	}

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);
		Datum		values[6] = {0};
		bool		nulls[6] = {false, true, false, true, true, true};

		if (!is_to_come(row) || list_member_oid(built, row->relid))
			continue;
		values[0] = ObjectIdGetDatum(row->relid);
		values[2] = CStringGetTextDatum(psprintf("waiting for %s", what_it_waits_for(row)));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
