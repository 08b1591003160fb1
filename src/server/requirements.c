/*-------------------------------------------------------------------------
 *
 * requirements.c
 *	  What the server must be set to for views to be maintained.
 *
 * All of it needs a restart, so whoever installs pg_derive is told everything that is
 * missing at once: by CREATE EXTENSION, as a warning; by derive.check(), as rows; by
 * functions that cannot do without, as an error.
 *
 *		WARNING:  pg_derive cannot maintain views on this server yet
 *		DETAIL:  "shared_preload_libraries" must contain pg_derive; it is "".
 *		"wal_level" must be logical; it is "replica".
 *		HINT:  Change this in postgresql.conf and restart the server, once for all of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "server/requirements.h"
#include "server/shmem.h"
#include "server/worker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

/* PostgreSQL's logical replication launcher, ours, a worker, and a builder or assistant. */
#define FEWEST_PROCESSES 4

PG_FUNCTION_INFO_V1(derive_check_sql);
PG_FUNCTION_INFO_V1(derive_warn_of_requirements_sql);

static bool is_preloaded(void);
static bool is_logical(void);
static bool has_slot(void);
static bool has_processes(void);

static const struct
{
	const char *setting;
	const char *needed;
	bool		hard;
	bool		(*met) (void);
}			requirements[] =

{
	{"shared_preload_libraries", "contain pg_derive", true, is_preloaded},
	{"wal_level", "be logical", true, is_logical},
	{"max_replication_slots", "leave a replication slot for this database", false, has_slot},
	{"max_worker_processes", "be at least " CppAsString2(FEWEST_PROCESSES), false, has_processes},
};


static bool
is_preloaded(void)
{
	return derive_shared() != NULL;
}

static bool
is_logical(void)
{
	return wal_level >= WAL_LEVEL_LOGICAL;
}

/* One that is free, or this database's own. */
static bool
has_slot(void)
{
	bool		result = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (!slot->in_use || strcmp(NameStr(slot->data.name), derive_slot_name(MyDatabaseId)) == 0)
			result = true;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return result;
}

static bool
has_processes(void)
{
	return max_worker_processes >= FEWEST_PROCESSES;
}

/* As people would set it; NULL where the current user may not know. */
static const char *
visible_value(const char *setting)
{
	if ((GetConfigOptionFlags(setting, false) & GUC_SUPERUSER_ONLY) != 0 &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS))
		return NULL;
	return pstrdup(GetConfigOption(setting, false, false));
}

void
derive_requirements_report(int elevel, bool only_hard)
{
	StringInfoData missing;

	initStringInfo(&missing);
	for (int i = 0; i < lengthof(requirements); i++)
	{
		const char *setting = requirements[i].setting;
		const char *value;

		if ((only_hard && !requirements[i].hard) || requirements[i].met())
			continue;
		value = visible_value(setting);
		if (missing.len > 0)
			appendStringInfoChar(&missing, '\n');
		if (value != NULL)
			appendStringInfo(&missing, _("\"%s\" must %s; it is \"%s\"."), setting, requirements[i].needed, value);
		else
			appendStringInfo(&missing, _("\"%s\" must %s."), setting, requirements[i].needed);
	}
	if (missing.len > 0)
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_derive cannot maintain views on this server yet"),
				 errdetail_internal("%s", missing.data),
				 errhint("Change this in postgresql.conf and restart the server, once for all of it.")));
	pfree(missing.data);
}

/* derive_state.warn_of_requirements() */
Datum
derive_warn_of_requirements_sql(PG_FUNCTION_ARGS)
{
	derive_requirements_report(WARNING, false);
	PG_RETURN_VOID();
}

/* derive.check(): one row for each requirement. */
Datum
derive_check_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(requirements); i++)
	{
		const char *value = visible_value(requirements[i].setting);
		Datum		values[4] = {0};
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(requirements[i].setting);
		nulls[1] = (value == NULL);
		if (value != NULL)
			values[1] = CStringGetTextDatum(value);
		values[2] = CStringGetTextDatum(psprintf("must %s", requirements[i].needed));
		values[3] = BoolGetDatum(requirements[i].met());
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
