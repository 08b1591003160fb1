/*-------------------------------------------------------------------------
 *
 * debug_point.c
 *	  Named points where a test can stop or fail the code.
 *
 * The setting pg_derive.debug_point is read anew each time a point is
 * reached, so that a reload arms and disarms points in running workers.
 *
 * "once" must fire once per change of the setting, in each process.  The
 * process remembers the list it has seen last (last_list) and the names in it
 * that have fired; a different list makes it forget them.  To fire the same
 * point again a test therefore sets the list to '' and back, with a reload
 * and one pass of any point in between, or adds a harmless entry to it.
 *
 * "error" is one that says something about the code, "full" one that will pass.
 *
 * "wait" takes the session-level advisory lock that SQL knows as
 * pg_advisory_lock(hashtext(name)), and gives it back at once: whoever holds
 * it decides when the code goes on.  It needs a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/debug_point.h"

#ifdef USE_ASSERT_CHECKING

#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/gucs.h"

static char *last_list = NULL;	/* in TopMemoryContext */
static char *fired = NULL;		/* ",name,name," of last_list; or NULL */
static volatile bool waiting = false;

/* Find "name:action" in the list; return a palloc'd action or NULL. */
static char *
find_action(const char *list, const char *name)
{
	size_t		len = strlen(name);
	const char *item = list;

	while (item != NULL && *item != '\0')
	{
		const char *end = strchr(item, ',');

		while (*item == ' ')
			item++;
		if (strncmp(item, name, len) == 0 && item[len] == ':')
		{
			const char *action = item + len + 1;

			return end ? pnstrdup(action, end - action) : pstrdup(action);
		}
		item = end ? end + 1 : NULL;
	}
	return NULL;
}

/* One with an unknown action would do nothing, and its test show nothing. */
bool
derive_debug_point_check(char **newval, void **extra, GucSource source)
{
	static const char *const actions[] = {"error", "once", "full", "kill", "wait", "skip"};

	for (const char *item = *newval; item != NULL && *item != '\0';)
	{
		const char *end = item + strcspn(item, ",");
		const char *colon = memchr(item, ':', end - item);
		bool		known = false;

		for (int i = 0; i < lengthof(actions) && colon != NULL; i++)
			known |= end - colon - 1 == (ptrdiff_t) strlen(actions[i]) &&
				strncmp(colon + 1, actions[i], strlen(actions[i])) == 0;
		if (!known)
		{
			GUC_check_errdetail("\"%.*s\" has no known action.", (int) (end - item), item);
			return false;
		}
		item = *end == ',' ? end + 1 : end;
	}
	return true;
}

/* Has the list changed since the last point was reached? */
static void
notice_new_list(void)
{
	if (last_list != NULL && strcmp(last_list, derive_debug_point) == 0)
		return;
	if (last_list != NULL)
		pfree(last_list);
	if (fired != NULL)
		pfree(fired);
	fired = NULL;
	last_list = MemoryContextStrdup(TopMemoryContext, derive_debug_point);
}

/* The first time for this name since the list changed? */
static bool
first_time(const char *name)
{
	char	   *entry = psprintf(",%s,", name);
	char	   *all;

	if (fired != NULL && strstr(fired, entry) != NULL)
		return false;
	all = psprintf("%s%s", fired ? fired : "", entry);
	if (fired != NULL)
		pfree(fired);
	fired = MemoryContextStrdup(TopMemoryContext, all);
	return true;
}

static void
wait_for_test(const char *name)
{
	int64		key = (int32) DatumGetInt32(hash_any((const unsigned char *) name, strlen(name)));

	MemoryContext context = CurrentMemoryContext;
	bool		outside = !IsTransactionState();
	int			level;

	if (outside)
		StartTransactionCommand();
	level = NewGUCNestLevel();
	/* as long as the test wants */
	(void) set_config_option("lock_timeout", "0", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	waiting = true;
	PG_TRY();
	{
		DirectFunctionCall1(pg_advisory_lock_int8, Int64GetDatum(key));
		DirectFunctionCall1(pg_advisory_unlock_int8, Int64GetDatum(key));
	}
	PG_FINALLY();
	{
		waiting = false;
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);

	/*
	 * what the test did meanwhile may be noticed by the next look at a
	 * catalog; it is noticed now
	 */
	AcceptInvalidationMessages();
	if (outside)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

bool
derive_debug_point_waiting(void)
{
	return waiting;
}

bool
derive_debug_point_any(void)
{
	return derive_debug_point != NULL && derive_debug_point[0] != '\0';
}

void
derive_debug_point_reached(const char *name)
{
	char	   *action;

	if (derive_debug_point == NULL)
		return;
	notice_new_list();
	action = find_action(derive_debug_point, name);
	if (action == NULL)
		return;

	if (strcmp(action, "error") == 0 ||
		(strcmp(action, "once") == 0 && first_time(name)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("debug point \"%s\" was reached", name)));
	else if (strcmp(action, "full") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("no space left at debug point \"%s\"", name)));
	else if (strcmp(action, "kill") == 0)
		kill(MyProcPid, SIGKILL);
	else if (strcmp(action, "wait") == 0)
		wait_for_test(name);
}

bool
derive_debug_point_skips(const char *name)
{
	char	   *action;
	bool		result;

	if (derive_debug_point == NULL || *derive_debug_point == '\0')
		return false;
	action = find_action(derive_debug_point, name);
	result = action != NULL && strcmp(action, "skip") == 0;
	if (action != NULL)
		pfree(action);
	return result;
}

#endif							/* USE_ASSERT_CHECKING */
