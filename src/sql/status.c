/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What the views derive.views, derive.progress, derive.worker and derive.stats show.
 *
 * Their functions, in derive_state, read shared memory and the registry, change
 * nothing, and wait for no lock.  What a caller may not see they leave out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/guard.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/background.h"
#include "server/shmem.h"
#include "server/standing.h"
#include "server/statistics.h"
#include "server/worker.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(derive_counters_sql);
PG_FUNCTION_INFO_V1(derive_service_sql);
PG_FUNCTION_INFO_V1(derive_slot_of_sql);
PG_FUNCTION_INFO_V1(derive_standings_sql);
PG_FUNCTION_INFO_V1(derive_verifications_sql);
PG_FUNCTION_INFO_V1(derive_size_of_sql);
PG_FUNCTION_INFO_V1(derive_query_of_sql);


/* derive_state.counters(): one row per view of which anything is known. */
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
		Datum		values[11];
		bool		nulls[11] = {false};

		if (!derive_stats_get(view, &stats))
			continue;
		values[0] = ObjectIdGetDatum(view);
		values[1] = Int64GetDatum(stats.counters.batches);
		values[2] = Int64GetDatum(stats.counters.changes_in);
		values[3] = Int64GetDatum(stats.counters.inserted);
		values[4] = Int64GetDatum(stats.counters.updated);
		values[5] = Int64GetDatum(stats.counters.deleted);
		values[6] = Float8GetDatum(stats.counters.delta_ms);
		values[7] = Float8GetDatum(stats.counters.apply_ms);
		values[8] = Float8GetDatum(stats.counters.last_batch_ms);
		values[9] = TimestampTzGetDatum(stats.counters.last_batch_at);
		nulls[8] = nulls[9] = (stats.counters.batches == 0);
		values[10] = TimestampTzGetDatum(stats.counters.reset_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static Datum
interval_datum(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = Max(us, 0);
	return IntervalPGetDatum(interval);
}

/*
 * derive_state.service(): the workers of this database.  Their last errors may have values
 * of tables in them.
 */
Datum
derive_service_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		may_see = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, derive_services())
	{
		DeriveService *service = lfirst(lc);
		Datum		values[8] = {0};
		bool		nulls[8] = {false};

		values[0] = Int32GetDatum(service->group);
		values[1] = Int32GetDatum(service->pid);
		nulls[1] = (service->pid == 0);
		values[2] = CStringGetTextDatum(service->state);
		nulls[3] = (service->activity == NULL);
		if (!nulls[3])
			values[3] = CStringGetTextDatum(service->activity);
		values[4] = LSNGetDatum(service->lsn);
		nulls[4] = nulls[5] = XLogRecPtrIsInvalid(service->lsn);
		if (!nulls[5])
			values[5] = Int64GetDatum(service->current ? 0 : (int64) (GetXLogInsertRecPtr() - service->lsn));
		nulls[6] = (service->error_at == 0 || !may_see);
		if (!nulls[6])
			values[6] = CStringGetTextDatum(service->error);
		values[7] = TimestampTzGetDatum(service->error_at);
		nulls[7] = (service->error_at == 0);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* derive_state.slot_of(group) */
Datum
derive_slot_of_sql(PG_FUNCTION_ARGS)
{
	Name		result = palloc(NAMEDATALEN);

	namestrcpy(result, derive_slot_name(MyDatabaseId, PG_GETARG_INT32(0)));
	PG_RETURN_NAME(result);
}

/* The requests of one group for derive_state.verifications(). */
static void
put_verifications(ReturnSetInfo *rsinfo, DeriveGroup *place)
{
	for (int i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &place->requests[i];
		char		phase[DERIVE_PHASE_LENGTH] = "waiting for its turn";
		Datum		values[4] = {0};
		bool		nulls[4] = {false};
		bool		runs;
		bool		waits;

		LWLockAcquire(derive_shared()->lock, LW_SHARED);
		waits = request->kind == DERIVE_REQUEST_VERIFY && request->status == DERIVE_REQUEST_PENDING;
		runs = request->kind == DERIVE_REQUEST_VERIFY && request->status == DERIVE_REQUEST_RUNNING &&
			request->number == place->verifier.running;
		values[0] = ObjectIdGetDatum(request->view);
		values[1] = Int32GetDatum((int) place->assistants[DERIVE_VERIFIER].pid);
		if (runs)
			strlcpy(phase, place->verifier.phase, sizeof(phase));
		values[3] = TimestampTzGetDatum(place->verifier.started_at);
		LWLockRelease(derive_shared()->lock);
		if (!waits && !runs)
			continue;
		values[2] = CStringGetTextDatum(phase);
		nulls[1] = nulls[3] = !runs;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/* derive_state.verifications(): the calls of derive.verify() in this database. */
Datum
derive_verifications_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DeriveGroup *place;
	int			i = 0;

	InitMaterializedSRF(fcinfo, 0);
	while ((place = derive_group_next_mine(&i)) != NULL)
		put_verifications(rsinfo, place);
	return (Datum) 0;
}

static Datum
pids_datum(List *pids)
{
	Datum	   *values = palloc(sizeof(Datum) * list_length(pids));
	ListCell   *lc;

	foreach(lc, pids)
		values[foreach_current_index(lc)] = Int32GetDatum(lfirst_int(lc));
	return PointerGetDatum(construct_array(values, list_length(pids), INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* How much of the query has been run, or of the log read, in percent?  Below 0: not known. */
static double
percent_done(const DeriveStanding *standing)
{
	double		done = standing->blocks_total > 0 ? standing->blocks_done : standing->tuples_done;
	double		total = standing->blocks_total > 0 ? standing->blocks_total : standing->tuples_total;

	if (standing->log_total > 0)
	{
		done = standing->log_done;
		total = standing->log_total;
	}
	if (total == 0 || (done == 0 && standing->log_total == 0))
		return -1;
	return Min(done / total, 0.99) * 100;	/* both are estimates */
}

/*
 * derive_state.standings(): one row per view.  State and position are to fit, so it
 * sees our catalog as the query that calls it does.
 */
Datum
derive_standings_sql(PG_FUNCTION_ARGS)
{
	enum
	{
		VIEW, STATE, WAITING_FOR, SINCE, LAG, PID, PHASE, LOCKERS_TOTAL, LOCKERS_DONE, BLOCKED_BY,
		BLOCKS_TOTAL, BLOCKS_DONE, TUPLES_TOTAL, TUPLES_DONE, PERCENT, REMAINING, STARTED_AT, NCOLUMNS
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, derive_standings(GetActiveSnapshot()))
	{
		DeriveStanding *standing = lfirst(lc);
		DeriveReason *reason = &standing->reason;
		const char *waiting_for = derive_reason_text(standing);
		double		percent = percent_done(standing);
		int			lockers = Max(reason->lockers, list_length(reason->blockers));
		Datum		values[NCOLUMNS] = {0};
		bool		nulls[NCOLUMNS] = {false};

		values[VIEW] = ObjectIdGetDatum(standing->row->relid);
		values[STATE] = CStringGetTextDatum(standing->state);
		if (waiting_for != NULL)
			values[WAITING_FOR] = CStringGetTextDatum(waiting_for);
		nulls[WAITING_FOR] = (waiting_for == NULL);
		values[SINCE] = TimestampTzGetDatum(standing->since);
		values[LAG] = interval_datum(standing->behind_since == 0 ? 0 : now - standing->behind_since);
		nulls[LAG] = !standing->lag_known;

		values[PID] = Int32GetDatum(standing->pid);
		nulls[PID] = (standing->pid == 0);
		if (standing->phase != NULL)
			values[PHASE] = CStringGetTextDatum(standing->phase);
		else if (waiting_for != NULL)
			values[PHASE] = CStringGetTextDatum(psprintf("waiting for %s", waiting_for));
		nulls[PHASE] = (standing->phase == NULL && waiting_for == NULL);
		values[LOCKERS_TOTAL] = Int64GetDatum(lockers);
		values[LOCKERS_DONE] = Int64GetDatum(lockers - list_length(reason->blockers));
		nulls[LOCKERS_TOTAL] = nulls[LOCKERS_DONE] = (lockers == 0);
		nulls[BLOCKED_BY] = (reason->blockers == NIL);
		if (!nulls[BLOCKED_BY])
			values[BLOCKED_BY] = pids_datum(reason->blockers);
		values[BLOCKS_TOTAL] = Int64GetDatum((int64) standing->blocks_total);
		values[BLOCKS_DONE] = Int64GetDatum((int64) standing->blocks_done);
		nulls[BLOCKS_TOTAL] = nulls[BLOCKS_DONE] = (standing->blocks_total == 0);
		values[TUPLES_TOTAL] = Int64GetDatum((int64) standing->tuples_total);
		nulls[TUPLES_TOTAL] = (standing->tuples_total == 0);
		values[TUPLES_DONE] = Int64GetDatum((int64) standing->tuples_done);
		nulls[TUPLES_DONE] = (standing->pid == 0);
		values[PERCENT] = Int32GetDatum((int) percent);
		nulls[PERCENT] = (percent < 0);
		nulls[REMAINING] = (percent < 1);
		if (percent >= 1)
			values[REMAINING] = interval_datum((int64) ((now - standing->phase_at) * (100 - percent) / percent));
		values[STARTED_AT] = TimestampTzGetDatum(standing->started_at);
		nulls[STARTED_AT] = (standing->started_at == 0);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}


/* ----------------------------------------------------------------
 *		What is read of relations, if nobody has locked them
 * ----------------------------------------------------------------
 */

/* derive_state.size_of(view): bytes of the view and all that is kept for it; NULL: some of it is locked. */
Datum
derive_size_of_sql(PG_FUNCTION_ARGS)
{
	Oid			view = PG_GETARG_OID(0);
	List	   *relids = lcons_oid(view, derive_registry_relations(view));
	int64		size = 0;
	ListCell   *lc;

	foreach(lc, relids)
	{
		Oid			relid = lfirst_oid(lc);
		bool		is_index = get_rel_relkind(relid) == RELKIND_INDEX;

		if (is_index)
			continue;			/* is one of the view's */
		if (!ConditionalLockRelationOid(relid, AccessShareLock))
			PG_RETURN_NULL();
		if (get_rel_name(relid) != NULL)
			size += DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(relid)));
		UnlockRelationOid(relid, AccessShareLock);
	}
	PG_RETURN_INT64(size);
}

typedef struct Definition
{
	Oid			view;
	text	   *query;			/* NULL: something is locked */
} Definition;

static void
read_definition(void *arg)
{
	Definition *definition = arg;
	Oid			busy;

	if (derive_lock_definition(definition->view, &busy))
		definition->query = DatumGetTextPP(DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(definition->view)));
}

/*
 * derive_state.query_of(view): its query, for those who may see it.  NULL also while
 * somebody has locked what it reads: who looks is likely to look for just that, and
 * must not wait.
 */
Datum
derive_query_of_sql(PG_FUNCTION_ARGS)
{
	Definition	definition = {PG_GETARG_OID(0), NULL};

	if (get_rel_name(definition.view) == NULL || !derive_may_see_errors(definition.view))
		PG_RETURN_NULL();
	derive_undone(read_definition, &definition);
	if (definition.query == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(definition.query);
}
