/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Calling what may fail, and going on.
 *
 * An ERROR can only be left behind by rolling back a subtransaction; a PG_CATCH
 * alone would leave locks, buffers and the role of whoever ran it as they were.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "base/usercode.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* What of each text of an error is kept, in bytes. */
#define MAX_TEXT	8192

static void
cut(char *text)
{
	if (text !=NULL && strlen(text) > MAX_TEXT)
		strcpy(text +pg_mbcliplen(text, strlen(text), MAX_TEXT - 4), "...");
}

ErrorData *
derive_copy_error(void)
{
	ErrorData  *edata = CopyErrorData();

	if (derive_is_worker)
	{
		cut(edata->message);
		cut(edata->detail);
		cut(edata->detail_log);
		cut(edata->hint);
		cut(edata->context);
		cut(edata->internalquery);
	}
	return edata;
}

/* keep: what it did, unless it ended with an ERROR, which is returned. */
static ErrorData *
run(DeriveGuardedFunction function, void *arg, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		edata = derive_copy_error();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return edata;
}

ErrorData *
derive_guarded(DeriveGuardedFunction function, void *arg)
{
	return run(function, arg, true);
}

void
derive_undone(DeriveGuardedFunction function, void *arg)
{
	ErrorData  *edata = run(function, arg, false);

	if (edata != NULL)
		ReThrowError(edata);
}

bool
derive_error_is_transient(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR):
			return true;
		default:
			return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

bool
derive_error_may_pass(int sqlerrcode)
{
	return !derive_error_is_transient(sqlerrcode) && sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE;
}
