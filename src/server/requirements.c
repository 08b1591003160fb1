/*-------------------------------------------------------------------------
 *
 * requirements.c
 *	  What the server must be set to for views to be maintained.
 *
 * Most of it needs a restart, so whoever installs pg_derive is told everything that is
 * missing at once: by CREATE EXTENSION, as a warning; by derive.check(), as rows, each
 * with its remedy; by functions that cannot do without, as an error with the same words.
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
#include "base/compat.h"
#include "base/groups.h"
#include "base/gucs.h"
#include "base/registry.h"
#include "capture/decoder.h"
#include "catalog/pg_authid.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "server/requirements.h"
#include "server/shmem.h"
#include "server/worker.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

/* PostgreSQL's logical replication launcher, ours, a worker, and a builder or assistant. */
#define FEWEST_PROCESSES 4

#define RESTART	"Change this in postgresql.conf and restart the server, once for all of it."

PG_FUNCTION_INFO_V1(derive_check_sql);
PG_FUNCTION_INFO_V1(derive_warn_of_requirements_sql);

static bool is_preloaded(void);
static bool is_logical(void);
static bool has_slot(void);
static bool has_good_slot(void);
static bool has_processes(void);
static bool has_place(void);
static bool has_few_groups(void);
static bool stream_is_allowed(void);
static bool versions_agree(void);
static const char *visible_value(const char *setting);
static const char *sql_version(const char *setting);
static const char *slot_value(const char *setting);

/*
 * What is in quotes is a setting, or has a value as one has.  hard: no view can be
 * declared without; what else is missing may be there by the time a view is to be built.
 */
static const struct
{
	const char *setting;
	const char *needed;
	const char *remedy;
	bool		hard;
	bool		(*met) (void);
	const char *(*value) (const char *setting);
}			requirements[] =

{
	{"shared_preload_libraries", "contain pg_derive", RESTART, true, is_preloaded, visible_value},
	{"wal_level", "be logical", RESTART, true, is_logical, visible_value},
	{"extension version", "be " DERIVE_EXTENSION_VERSION ", as the library", DERIVE_VERSION_HINT, true, versions_agree, sql_version},
	{"max_replication_slots", "leave a replication slot for this database",
	"Increase it and restart the server, or drop a slot that nobody needs with pg_drop_replication_slot().", false, has_slot, visible_value},
	{"replication slot", "be one of pg_derive that has not been invalidated, if there is one",
	"Drop one that is not pg_derive's with pg_drop_replication_slot(). One that was invalidated pg_derive replaces by itself; \"max_slot_wal_keep_size\" may be too small.", false, has_good_slot, slot_value},
	{"max_worker_processes", "be at least " CppAsString2(FEWEST_PROCESSES) ", and leave one for the launcher of pg_derive",
	"Increase it and restart the server.", false, has_processes, visible_value},
	{"pg_derive.max_databases", "leave a place for this database",
	"Increase it and restart the server.", false, has_place, visible_value},
	{"pg_derive.max_groups", "be no less than the number of groups of this database that have views",
	"Increase it and reload the configuration, or move views to other groups with derive.move().", false, has_few_groups, visible_value},
	{"output_plugin_libraries", "contain pg_derive where others read the event stream",
	"Add pg_derive to it in postgresql.conf and reload that.", false, stream_is_allowed, visible_value},
};


/* ----------------------------------------------------------------
 *		One by one
 * ----------------------------------------------------------------
 */

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

static bool
versions_agree(void)
{
	const char *version = sql_version(NULL);

	/*
	 * a script of ours may be the first one of those that lead to this
	 * version; that of another extension is a user as any
	 */
	return version == NULL || strcmp(version, DERIVE_EXTENSION_VERSION) == 0 ||
		(creating_extension && CurrentExtensionObject == get_extension_oid(DERIVE_EXTENSION_NAME, true));
}

static const char *
sql_version(const char *setting)
{
	return derive_extension_version();
}

static bool
has_our_name(const ReplicationSlotPersistentData *data)
{
	return derive_is_slot_name(NameStr(data->name), MyDatabaseId, NULL);
}

/* Call it for copies of all slots that there are, until it returns true. */
static bool
any_slot(bool (*test) (const ReplicationSlotPersistentData *data))
{
	bool		result = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !result; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		ReplicationSlotPersistentData data;

		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		data = slot->data;
		SpinLockRelease(&slot->mutex);
		result = test(&data);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return result;
}

static int	nslots;
static int	nours;
static StringInfoData names;	/* of ours */

static bool
count_slot(const ReplicationSlotPersistentData *data)
{
	nslots++;
	if (has_our_name(data))
	{
		appendStringInfo(&names, "%s%s", nours > 0 ? ", " : "", NameStr(data->name));
		nours++;
	}
	return false;
}

static void
count_slots(void)
{
	nslots = nours = 0;
	initStringInfo(&names);
	(void) any_slot(count_slot);
}

/* The groups of this database that have views, or are about to; the default group if there is none yet.  List of int. */
static List *
groups_in_use(void)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, OidIsValid(derive_extension_oid(true)) ? derive_registry_all() : NIL)
	{
		DeriveViewRow *row = lfirst(lc);

		result = list_append_unique_int(result, row->group);
		if (row->move_to >= 0)
			result = list_append_unique_int(result, row->move_to);
	}
	return result != NIL ? result : list_make1_int(DERIVE_DEFAULT_GROUP);
}

/* As many that are free, or this database's own, as it has groups. */
static bool
has_slot(void)
{
	count_slots();
	return max_replication_slots - nslots >= list_length(groups_in_use()) - nours;
}

static bool
is_bad(const ReplicationSlotPersistentData *data)
{
	return has_our_name(data) &&
		(strcmp(NameStr(data->plugin), DERIVE_PLUGIN_NAME) != 0 || data->database != MyDatabaseId ||
		 derive_slot_is_invalidated(data));
}

static bool
has_good_slot(void)
{
	return !any_slot(is_bad);
}

/* Their names, if there are any. */
static const char *
slot_value(const char *setting)
{
	count_slots();
	return nours > 0 ? names.data : NULL;
}

static bool
has_processes(void)
{
	return max_worker_processes >= FEWEST_PROCESSES &&
		(!is_preloaded() || RecoveryInProgress() || derive_has_launcher());
}

/* Asked only where it can be known.  As many that are free as there are groups without. */
static bool
has_place(void)
{
	int			nwithout = 0;
	ListCell   *lc;

	if (!is_preloaded())
		return true;
	foreach(lc, groups_in_use())
	{
		if (derive_group_mine(lfirst_int(lc)) == NULL)
			nwithout++;
	}
	return nwithout <= derive_group_places_free();
}

static bool
has_few_groups(void)
{
	return list_length(groups_in_use()) <= derive_max_groups;
}

/* Somebody's own, with our plugin. */
static bool
is_stream(const ReplicationSlotPersistentData *data)
{
	return strcmp(NameStr(data->plugin), DERIVE_PLUGIN_NAME) == 0 &&
		!derive_is_slot_name(NameStr(data->name), data->database, NULL);
}

/* Our own processes allow it to themselves. */
static bool
stream_is_allowed(void)
{
	return derive_plugin_is_allowed() || !any_slot(is_stream);
}

/* As people would set it; NULL where the current user may not know, or there is no such setting. */
static const char *
visible_value(const char *setting)
{
	const char *value;

	if ((GetConfigOptionFlags(setting, true) & GUC_SUPERUSER_ONLY) != 0 &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS))
		return NULL;
	value = GetConfigOption(setting, true, false);
	return value ? pstrdup(value) : NULL;
}


/* ----------------------------------------------------------------
 *		Telling
 * ----------------------------------------------------------------
 */

/* "wal_level" must be logical; it is "replica". */
static char *
words(int i)
{
	const char *value = requirements[i].value(requirements[i].setting);

	return value != NULL ?
		psprintf(_("\"%s\" must %s; it is \"%s\"."), requirements[i].setting, requirements[i].needed, value) :
		psprintf(_("\"%s\" must %s."), requirements[i].setting, requirements[i].needed);
}

char *
derive_requirement_words(const char *setting)
{
	for (int i = 0; i < lengthof(requirements); i++)
	{
		if (strcmp(requirements[i].setting, setting) == 0)
			return words(i);
	}
	elog(ERROR, "there is no requirement \"%s\"", setting);
}

void
derive_requirements_report(int elevel, bool only_hard)
{
	StringInfoData missing;
	List	   *remedies = NIL;
	StringInfoData hint;
	ListCell   *lc;

	initStringInfo(&missing);
	initStringInfo(&hint);
	for (int i = 0; i < lengthof(requirements); i++)
	{
		if ((only_hard && !requirements[i].hard) || requirements[i].met())
			continue;
		appendStringInfo(&missing, "%s%s", missing.len > 0 ? "\n" : "", words(i));
		remedies = list_append_unique(remedies, makeString(unconstify(char *, requirements[i].remedy)));
	}
	foreach(lc, remedies)
		appendStringInfo(&hint, "%s%s", hint.len > 0 ? " " : "", strVal(lfirst(lc)));
	if (missing.len > 0)
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_derive cannot maintain views on this server yet"),
				 errdetail_internal("%s", missing.data),
				 errhint("%s", hint.data)));
	pfree(missing.data);
	pfree(hint.data);
}

/* derive_state.warn_of_requirements() */
Datum
derive_warn_of_requirements_sql(PG_FUNCTION_ARGS)
{
	derive_requirements_report(WARNING, false);
	PG_RETURN_VOID();
}

/* derive.check(): one row for each requirement; not for one of a setting that this server does not have. */
Datum
derive_check_sql(PG_FUNCTION_ARGS)
{
	enum
	{
		SETTING, VALUE, NEEDED, OK, REMEDY, NCOLUMNS
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);

	/* it is there to be called when versions differ */
	if (rsinfo->setDesc->natts != NCOLUMNS)
		derive_require_version();
	for (int i = 0; i < lengthof(requirements); i++)
	{
		const char *value = requirements[i].value(requirements[i].setting);
		bool		ok = requirements[i].met();
		Datum		values[NCOLUMNS] = {0};
		bool		nulls[NCOLUMNS] = {false};

		if (value == NULL && ok && requirements[i].value == visible_value)
			continue;
		values[SETTING] = CStringGetTextDatum(requirements[i].setting);
		nulls[VALUE] = (value == NULL);
		if (value != NULL)
			values[VALUE] = CStringGetTextDatum(value);
		values[NEEDED] = CStringGetTextDatum(psprintf("must %s", requirements[i].needed));
		values[OK] = BoolGetDatum(ok);
		nulls[REMEDY] = ok;
		if (!ok)
			values[REMEDY] = CStringGetTextDatum(requirements[i].remedy);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
