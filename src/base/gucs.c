/*-------------------------------------------------------------------------
 *
 * gucs.c
 *	  Every setting pg_derive.*, in alphabetical order.
 *
 * Tuning is reloadable (PGC_SIGHUP): it concerns the workers, which belong to
 * no session.  What sizes shared memory needs a restart, and is defined only
 * while the postmaster preloads us: a library that is loaded late (through a
 * function call, or as an output plugin by a walsender) must not define a
 * postmaster-level setting, that would end the session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/groups.h"
#include "base/gucs.h"
#include "base/registry.h"

bool		derive_allow_recompute = true;
int			derive_batch_interval = 5;
double		derive_batch_share = 0.25;
double		derive_build_share = 1.0;
int			derive_cleanup_interval = 60 * 1000;
int			derive_debug_clock_offset = 0;
char	   *derive_debug_point = NULL;
int			derive_decoding_work_mem = 256 * 1024;
char	   *derive_default_group = NULL;
int			derive_fillfactor = 80;
int			derive_lock_timeout = 200;
int			derive_log_min_duration = -1;
bool		derive_maintain_new = false;
int			derive_max_builds = 2;
int			derive_max_databases = 8;
int			derive_max_groups = 4;
int			derive_max_hold = 30 * 60 * 1000;
int			derive_max_hold_age = 50 * 1000 * 1000;
int			derive_max_views = 1024;
int			derive_max_wal_backlog = 64 * 1024;
int			derive_old_rows = DERIVE_OLD_ROWS_AUTO;
double		derive_recompute_share = 0.25;
int			derive_subscription_max_size = 1024 * 1024;
int			derive_subscription_retention = 24 * 60 * 60;
int			derive_time_resolution = 1000;
int			derive_view_max_memory = 2 * 1024 * 1024;
int			derive_view_timeout = 10 * 1000;
int			derive_waiting_max_size = 1024 * 1024;
int			derive_work_mem = 128 * 1024;

static const struct config_enum_entry old_rows_options[] =
{
	{"auto", DERIVE_OLD_ROWS_AUTO, false},
	{"log", DERIVE_OLD_ROWS_LOG, false},
	{NULL, 0, false}
};

bool
derive_old_rows_are_read(void)
{
	return derive_old_rows == DERIVE_OLD_ROWS_AUTO && !derive_compat_prunes_despite_slots();
}

/* As PostgreSQL does it for default_tablespace: whoever sets it now is told; what a session begins with is not looked at. */
static bool
check_default_group(char **newval, void **extra, GucSource source)
{
	if (source < PGC_S_INTERACTIVE || (*newval)[0] == '\0' || InitializingParallelWorker ||
		!IsTransactionState() || !OidIsValid(MyDatabaseId) || !OidIsValid(derive_extension_oid(true)) ||
		derive_group_number(*newval, true) >= 0)
		return true;
	if (source != PGC_S_TEST)
	{
		GUC_check_errdetail("Group \"%s\" does not exist.", *newval);
		return false;
	}
	ereport(NOTICE,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("group \"%s\" does not exist", *newval)));
	return true;
}

static void
define_postmaster_gucs(void)
{
	DefineCustomIntVariable("pg_derive.max_databases",
							"Sets the maximum number of databases with maintained views, and of groups in them.",
							"Each group with views, and that is one where there are no others, has one worker process, which counts against max_worker_processes, and one replication slot.",
							&derive_max_databases,
							8, 1, 1024,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.max_views",
							"Sets the maximum number of maintained views with statistics, in all databases.",
							"Views beyond that are maintained without statistics.",
							&derive_max_views,
							1024, 1, 1000000,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
}

static void
define_debug_gucs(void)
{
#ifdef USE_ASSERT_CHECKING
	DefineCustomIntVariable("pg_derive.debug_clock_offset",
							"Lets the clock that views go by differ from the server's.",
							NULL,
							&derive_debug_clock_offset,
							0, INT_MIN, INT_MAX,
							PGC_SIGHUP, GUC_NOT_IN_SAMPLE | GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomStringVariable("pg_derive.debug_point",
							   "Stops or fails the code at named points.",
							   "A comma-separated list of name:action, where action is error, once, full, kill, wait or skip.",
							   &derive_debug_point,
							   "",
							   PGC_SUSET, GUC_NOT_IN_SAMPLE,
							   derive_debug_point_check, NULL, NULL);
#endif
}

void
derive_define_gucs(void)
{
	define_debug_gucs();
	DefineCustomBoolVariable("pg_derive.allow_recompute",
							 "Allows new views to have parts that are computed anew with every change.",
							 "If it is off, a view that cannot be maintained incrementally as a whole is refused.",
							 &derive_allow_recompute,
							 true,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.batch_interval",
							"Sets the longest time for which commits are put together, from the start of one batch to that of the next.",
							"How long it is within that, pg_derive.batch_share says.  0 means that they are not.",
							&derive_batch_interval,
							5, 0, 10000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomRealVariable("pg_derive.batch_share",
							 "Sets the share of the time that batches may take before commits are put together.",
							 "The worker rests between batches as this makes necessary, but no longer than pg_derive.batch_interval, and not while a session waits for its views.  1 means that it does not rest.",
							 &derive_batch_share,
							 0.25, 0.001, 1.0,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomRealVariable("pg_derive.build_share",
							 "Sets the share of one processor that the building of one view may take.",
							 "The builder rests in between.  1 means that it does not, and may use parallel workers.",
							 &derive_build_share,
							 1.0, 0.01, 1.0,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.cleanup_interval",
							"Sets the time from one removal of what views keep for a limited time to the next.",
							"It concerns histories and topics with a retention.",
							&derive_cleanup_interval,
							60 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.decoding_work_mem",
							"Sets the memory in which a worker collects running transactions before it spills them to disk.",
							"It takes the place of logical_decoding_work_mem in the workers.",
							&derive_decoding_work_mem,
							256 * 1024, 64, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomStringVariable("pg_derive.default_group",
							   "Selects the group that new views are put into.",
							   "Empty means the default group, and so does a group that does not exist.  A view that reads maintained views is in their group.",
							   &derive_default_group,
							   "",
							   PGC_USERSET, 0,
							   check_default_group, NULL, NULL);
	DefineCustomIntVariable("pg_derive.fillfactor",
							"Sets the fillfactor of the tables of new views, in percent.",
							"Free space in its page makes the update of a row cheap.",
							&derive_fillfactor,
							80, 10, 100,
							PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.lock_timeout",
							"Sets the maximum duration of one wait for a lock that makes writers queue behind it.",
							"After that time the wait is given up and tried again later.",
							&derive_lock_timeout,
							200, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.log_min_duration",
							"Sets the minimum duration above which batches, and what single views take in them, are logged.",
							"0 logs all of them, -1 none.",
							&derive_log_min_duration,
							-1, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("pg_derive.maintain_new",
							 "Maintains materialized views that are created by CREATE MATERIALIZED VIEW.",
							 "One that is created WITH NO DATA is maintained from its first REFRESH on; one that cannot be maintained stays as it is, with a notice.",
							 &derive_maintain_new,
							 false,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.max_builds",
							"Sets the maximum number of views that are built at the same time in one database.",
							NULL,
							&derive_max_builds,
							2, 1, 64,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress)
		define_postmaster_gucs();
	DefineCustomIntVariable("pg_derive.max_groups",
							"Sets the maximum number of groups with views in one database.",
							"It keeps the owner of one database from taking all that pg_derive.max_databases allows.",
							&derive_max_groups,
							4, 1, 1024,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.max_hold",
							"Sets for how long old row versions are kept for views that do not move.",
							"After that time VACUUM may remove them, and the views are computed anew when they can be moved.  0 means no limit.",
							&derive_max_hold,
							30 * 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.max_hold_age",
							"Sets for how many transactions old row versions are kept for views that do not move.",
							"See pg_derive.max_hold.  0 means no limit.",
							&derive_max_hold_age,
							50 * 1000 * 1000, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.max_wal_backlog",
							"Sets how much of the write-ahead log is kept for a database whose views have not caught up with it.",
							"Beyond that the log is given up and the views are computed anew; events of topics that were not read yet are lost.  0 means no limit.",
							&derive_max_wal_backlog,
							64 * 1024, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("pg_derive.old_rows",
							 "Selects where tables as they were before a change are read from.",
							 "\"auto\" reads old row versions, which VACUUM keeps for some moments; \"log\" has old rows written to the log, by replica identity FULL.",
							 &derive_old_rows,
							 DERIVE_OLD_ROWS_AUTO, old_rows_options,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomRealVariable("pg_derive.recompute_share",
							 "Sets the share of one processor that views which are recomputed as a whole may take.",
							 "After a view has been recomputed, it rests for as long as this makes necessary.",
							 &derive_recompute_share,
							 0.25, 0.001, 1.0,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.subscription_max_size",
							"Sets how much of a view's changes, and of a role's initial rows, is kept for subscribers that have not got them yet.",
							"A subscription that needs older ones has to start anew.  0 means no limit.",
							&derive_subscription_max_size,
							1024 * 1024, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.subscription_retention",
							"Sets how long a view's changes are kept for subscribers that have not got them yet.",
							"A subscription that needs older ones has to start anew.  0 means no limit.",
							&derive_subscription_retention,
							24 * 60 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.time_resolution",
							"Sets the time after which views whose queries compare with now() are moved although nothing has changed.",
							"A batch that is made for other reasons moves them as well.",
							&derive_time_resolution,
							1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.view_max_memory",
							"Sets the memory by which the worker may grow while one view moves in a batch.",
							"A view that needs more is recomputed by a process of its own.  0 means no limit.",
							&derive_view_max_memory,
							2 * 1024 * 1024, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.view_timeout",
							"Sets the maximum time that one view may take in a batch.",
							"A view that takes longer is set aside and tried again later, with more time; the others go on.  0 means no limit.",
							&derive_view_timeout,
							10 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.waiting_max_size",
							"Sets how much of the write-ahead log is held for a view that cannot be moved.",
							"A view that needs more is computed anew when it can be moved; for topics, whose events are nowhere else, there is no limit.  0 means no limit.",
							&derive_waiting_max_size,
							1024 * 1024, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("pg_derive.work_mem",
							"Sets the memory that each store of changes uses before it spills to disk.",
							NULL,
							&derive_work_mem,
							128 * 1024, 64, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("pg_derive");
}
