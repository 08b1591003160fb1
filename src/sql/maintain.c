/*-------------------------------------------------------------------------
 *
 * maintain.c
 *	  What is done with a view that is there: derive.maintain(), release(), pause(),
 *	  resume(), repair(), wait(), verify() and explain().
 *
 * Everybody may call them; each one checks here whether the caller may do this
 * to this view:
 *
 *	maintain, release, pause,	owner of the view
 *	resume, repair
 *	verify						who may read the view
 *	wait, explain				who may read the view, its owner, and for
 *								explain pg_read_all_stats
 *
 * Without a view, wait and verify are about all views of which that is true.  The
 * message of a failed view is for its owner and pg_read_all_stats, since it may
 * have values of tables in it.  The same of all functions is in docs/security.md, and
 * tested by sql/rights.sql.
 *
 * What they change is in the tables of derive_state, in the caller's
 * transaction.  The worker learns of it by the invalidation message at commit,
 * so all of it can be rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/elapsed.h"
#include "base/groups.h"
#include "base/guard.h"
#include "base/lane.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "notify/journal.h"
#include "notify/wait.h"
#include "server/crash_guard.h"
#include "server/dependents.h"
#include "server/hooks.h"
#include "server/replace.h"
#include "server/request.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "sql/arguments.h"
#include "sql/declare.h"
#include "sql/maintain.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(derive_maintain_sql);
PG_FUNCTION_INFO_V1(derive_release_sql);
PG_FUNCTION_INFO_V1(derive_pause_sql);
PG_FUNCTION_INFO_V1(derive_resume_sql);
PG_FUNCTION_INFO_V1(derive_repair_sql);
PG_FUNCTION_INFO_V1(derive_reset_stats_sql);
PG_FUNCTION_INFO_V1(derive_wait_sql);
PG_FUNCTION_INFO_V1(derive_verify_sql);
PG_FUNCTION_INFO_V1(derive_explain_sql);

static void check_is_matview(Oid view);
static void check_ownership(Oid view);


/* ----------------------------------------------------------------
 *		Checks
 * ----------------------------------------------------------------
 */

static void
check_is_matview(Oid view)
{
	char	   *name = get_rel_name(view);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", view)));
	if (get_rel_relkind(view) != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", name)));
}

static void
check_ownership(Oid view)
{
	if (!derive_owns_relation(view, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view));
}

static Oid
view_argument(FunctionCallInfo fcinfo)
{
	derive_require_arguments(fcinfo, 1);
	return PG_GETARG_OID(0);
}

static void
not_maintained(Oid view)
{
	derive_require_version();
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("materialized view \"%s\" is not maintained", get_rel_name(view)),
			 errhint("Call derive.maintain() for the view.")));
}

DeriveViewRow *
derive_lock_own_view(Oid view, LOCKMODE mode)
{
	DeriveViewRow *row;

	PreventCommandDuringRecovery("changing a maintained view");
	check_is_matview(view);
	check_ownership(view);
	LockRelationOid(view, mode);
	check_is_matview(view);
	check_ownership(view);
	row = derive_registry_get(view);
	if (row == NULL)
		not_maintained(view);
	return row;
}

/* For the others, when the rights have been checked: read. */
static DeriveViewRow *
get_row(Oid view)
{
	DeriveViewRow *row;

	check_is_matview(view);
	row = derive_registry_get(view);
	if (row == NULL)
		not_maintained(view);
	return row;
}


/* ----------------------------------------------------------------
 *		Declaring views
 * ----------------------------------------------------------------
 */

Datum
derive_maintain_sql(PG_FUNCTION_ARGS)
{
	Oid			view = view_argument(fcinfo);

	PreventCommandIfReadOnly("derive.maintain()");
	derive_require_service();
	check_is_matview(view);
	check_ownership(view);
	LockRelationOid(view, AccessExclusiveLock);
	check_is_matview(view);
	check_ownership(view);
	derive_declare_view(view, true, InvalidOid, NULL, NULL);
	PG_RETURN_OID(view);
}

Datum
derive_release_sql(PG_FUNCTION_ARGS)
{
	Oid			view = view_argument(fcinfo);
	DeriveViewRow *row;
	List	   *readers;

	PreventCommandIfReadOnly("derive.release()");
	row = derive_lock_own_view(view, AccessExclusiveLock);
	derive_cancel_replacement(view);
	derive_detach_replacement(row);
	readers = derive_readers(view);
	if (readers != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot release materialized view \"%s\" because maintained view \"%s\" reads it",
						get_rel_name(view), get_rel_name(linitial_oid(readers))),
				 errhint("Release the views that read it first.")));
	derive_journal_forget(view);
	derive_program_drop(view);
	derive_registry_delete(view);
	derive_stats_forget(view);
	PG_RETURN_VOID();
}


/* ----------------------------------------------------------------
 *		Pausing
 * ----------------------------------------------------------------
 */

/* Also if it is being tried again: that try may have begun before whatever the caller has done. */
static bool
has_failed(const DeriveViewRow *row)
{
	return row->state == DERIVE_VIEW_FAILED || (row->state == DERIVE_VIEW_BUILDING && row->error != NULL);
}

Datum
derive_pause_sql(PG_FUNCTION_ARGS)
{
	Oid			view = view_argument(fcinfo);
	DeriveViewRow *row;

	PreventCommandIfReadOnly("derive.pause()");
	row = derive_lock_own_view(view, ShareRowExclusiveLock);
	derive_refuse_pausing_topic(view);
	switch (has_failed(row) ? DERIVE_VIEW_FAILED : row->state)
	{
		case DERIVE_VIEW_BUILDING:
		case DERIVE_VIEW_CATCHUP:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("materialized view \"%s\" is being built", get_rel_name(view)),
					 errhint("Wait for it with derive.wait(), or give it up with derive.release().")));
			break;
		case DERIVE_VIEW_PAUSED:
			break;
		case DERIVE_VIEW_READY:
		case DERIVE_VIEW_FAILED:
			derive_stand_still(row);
			row->state = DERIVE_VIEW_PAUSED;
			derive_registry_update(row);
			break;
	}
	PG_RETURN_VOID();
}

/* Whoever asks for another try gets one. */
static void
forget_crashes(const DeriveViewRow *row)
{
	DeriveGroup *place = derive_group_find(MyDatabaseId, row->group);

	derive_crash_guard_forget(DERIVE_GROUP_ID(MyDatabaseId, row->group), InvalidOid);
	derive_crash_guard_forget(DERIVE_GROUP_ID(MyDatabaseId, DERIVE_DEFAULT_GROUP), row->relid);
	if (place == NULL)
		return;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	place->away_until = 0;
	LWLockRelease(derive_shared()->lock);
}

Datum
derive_resume_sql(PG_FUNCTION_ARGS)
{
	Oid			view = view_argument(fcinfo);
	DeriveViewRow *row;

	PreventCommandIfReadOnly("derive.resume()");
	row = derive_lock_own_view(view, ShareRowExclusiveLock);
	if (row->state == DERIVE_VIEW_PAUSED || has_failed(row))
	{
		derive_restart_view(row);
		forget_crashes(row);
	}
	PG_RETURN_VOID();
}

Datum
derive_repair_sql(PG_FUNCTION_ARGS)
{
	Oid			view = view_argument(fcinfo);

	PreventCommandIfReadOnly("derive.repair()");
	derive_require_service();
	check_is_matview(view);
	check_ownership(view);
	forget_crashes(get_row(view));
	derive_repair_view(view);
	PG_RETURN_VOID();
}


/* derive.reset_stats(view) */
Datum
derive_reset_stats_sql(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	derive_require_service();
	if (!PG_ARGISNULL(0))
	{
		check_is_matview(PG_GETARG_OID(0));
		check_ownership(PG_GETARG_OID(0));
		(void) get_row(PG_GETARG_OID(0));
		derive_stats_reset(PG_GETARG_OID(0));
		PG_RETURN_VOID();
	}
	foreach(lc, derive_registry_all())
	{
		Oid			view = ((DeriveViewRow *) lfirst(lc))->relid;

		if (derive_owns_relation(view, GetUserId()))
			derive_stats_reset(view);
	}
	PG_RETURN_VOID();
}


/* ----------------------------------------------------------------
 *		Waiting and verifying
 * ----------------------------------------------------------------
 */

Datum
derive_wait_sql(PG_FUNCTION_ARGS)
{
	Oid			view = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	XLogRecPtr	lsn = PG_ARGISNULL(2) ? InvalidXLogRecPtr : PG_GETARG_LSN(2);
	int64		timeout_ms = -1;

	derive_require_service();
	if (!PG_ARGISNULL(1))
		timeout_ms = derive_timeout_ms(PG_GETARG_INTERVAL_P(1));
	if (OidIsValid(view))
	{
		check_is_matview(view);
		if (!derive_may_watch(view))
			derive_check_may(view, ACL_SELECT);
		(void) get_row(view);
	}
	PG_RETURN_BOOL(derive_wait_for_view(view, lsn, timeout_ms));
}

/* The views that a call is about: the given one, or all that are maintained. */
static List *
views_to_verify(Oid view)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (OidIsValid(view))
	{
		check_is_matview(view);
		derive_check_may(view, ACL_SELECT);
		(void) get_row(view);
		derive_check_comparable(view);
		return list_make1_oid(view);
	}

	foreach(lc, derive_registry_all())
	{
		DeriveViewRow *row = lfirst(lc);

		if (!derive_may_read(row->relid))
			continue;
		if (row->state != DERIVE_VIEW_READY)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("view \"%s\" was not verified because it is %s",
							get_rel_name(row->relid),
							row->state == DERIVE_VIEW_PAUSED ? "paused" :
							row->state == DERIVE_VIEW_FAILED ? "failed" : "being built")));
		else if (derive_view_comparable(row->relid))
			result = lappend_oid(result, row->relid);
	}
	return result;
}

Datum
derive_verify_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		start = derive_monotonic_ms();
	int64		timeout_ms = -1;
	List	   *views;
	ListCell   *lc;

	derive_require_service();
	if (!PG_ARGISNULL(1))
		timeout_ms = derive_timeout_ms(PG_GETARG_INTERVAL_P(1));
	InitMaterializedSRF(fcinfo, 0);
	views = views_to_verify(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0));
	foreach(lc, views)
	{
		int64		missing;
		int64		extra;
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		/*
		 * The time is for all of them together.  Of all, some may be dropped
		 * meanwhile, or have taken the place of others.
		 */
		if (!derive_verify_view(lfirst_oid(lc), PG_ARGISNULL(0),
								derive_time_left(start, timeout_ms),
								&missing, &extra))
			continue;
		values[0] = ObjectIdGetDatum(lfirst_oid(lc));
		values[1] = Int64GetDatum(missing);
		values[2] = Int64GetDatum(extra);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

typedef struct Explanation
{
	Oid			view;
	List	   *lines;
} Explanation;

static void
explain(void *arg)
{
	Explanation *explanation = arg;
	DeriveProgram *program;

	LockRelationOid(explanation->view, AccessShareLock);
	(void) get_row(explanation->view);
	program = derive_program_load(explanation->view, CurrentMemoryContext);
	explanation->lines = derive_program_explain(program);
	derive_program_free(program);
}

/* Its locks, on tables that the caller may not even read, end with the call. */
Datum
derive_explain_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Explanation explanation = {view_argument(fcinfo), NIL};
	ListCell   *lc;

	check_is_matview(explanation.view);
	if (!derive_may_watch(explanation.view) && !derive_may_see_errors(explanation.view))
		derive_check_may(explanation.view, ACL_SELECT);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	derive_undone(explain, &explanation);
	foreach(lc, explanation.lines)
	{
		Datum		value = CStringGetTextDatum((char *) lfirst(lc));
		bool		null = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &null);
	}
	return (Datum) 0;
}
