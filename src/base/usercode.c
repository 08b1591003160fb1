/*-------------------------------------------------------------------------
 *
 * usercode.c
 *	  Code of the owners of views in our own processes, which may only read.
 *
 * What our processes write is marked so that nobody takes it for changes of
 * tables: neither we when we read the log, nor other subscribers.  That is right
 * for the rows of views and for our own tables.  But worker and builders also run
 * the functions that views call, and a function that is declared IMMUTABLE may
 * call one that writes: what it wrote would reach no view, and no view would
 * ever know.
 *
 * So meanwhile the transaction is read-only, as by SET TRANSACTION READ ONLY.  The
 * server then refuses every statement that writes, and lets nobody make it
 * read-write again, since the transaction has taken its snapshot.  Our own code
 * does not care: it writes tables and catalogs with functions that are below
 * these checks.
 *
 *		derive_usercode_enter()		read-only
 *			f(x)					INSERT: ERROR
 *			heap_insert()			a row of the view: fine
 *		derive_usercode_leave()		as before
 *
 * A parallel worker does not take that over, but nothing can be written there anyway.
 *
 * A read-only transaction, or a parallel worker, may still send notifications, write messages to the
 * log, take any lock and, up to PostgreSQL 15, write large objects.  This is refused by
 * two lists below, which the hooks ask.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/registry.h"
#include "base/usercode.h"
#include "nodes/nodeFuncs.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

bool		derive_is_worker = false;

/* Say who must not write; the view is marked as failed with the message. */
static void
explain_error(void *arg)
{
	MemoryContext oldcontext;
	ErrorData  *edata;

	if (geterrcode() != ERRCODE_READ_ONLY_SQL_TRANSACTION)
		return;
	oldcontext = MemoryContextSwitchTo(CurTransactionContext);
	edata = CopyErrorData();
	errmsg("functions that a maintained view calls must not write: %s", edata->message);
	FreeErrorData(edata);
	MemoryContextSwitchTo(oldcontext);
}

void
derive_usercode_enter(DeriveUserCode *saved)
{
	saved->read_only = XactReadOnly;
	if (!derive_is_worker || saved->read_only)
		return;
	saved->callback.callback = explain_error;
	saved->callback.arg = NULL;
	saved->callback.previous = error_context_stack;
	error_context_stack = &saved->callback;
	XactReadOnly = true;
}

void
derive_usercode_leave(DeriveUserCode *saved)
{
	if (!derive_is_worker || saved->read_only)
		return;
	Assert(XactReadOnly && error_context_stack == &saved->callback);
	error_context_stack = saved->callback.previous;
	XactReadOnly = false;
}

bool
derive_helps_with_query(void)
{
	return IsParallelWorker() && debug_query_string != NULL && strcmp(debug_query_string, DERIVE_QUERY_TEXT) == 0;
}

/* Our processes have no other reason to be read-only. */
bool
derive_usercode_running(void)
{
	return (derive_is_worker && XactReadOnly) || derive_helps_with_query();
}

/* Functions that write without asking whether they may. */
static bool
writes_unasked(const char *name)
{
	static const char *const names[] = {
		"lo_creat", "lo_create", "lo_from_bytea", "lo_import", "lo_put", "lo_truncate", "lo_truncate64",
		"lo_unlink", "lowrite", "pg_logical_emit_message", "pg_notify",
	};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

void
derive_usercode_check_function(Oid function)
{
	char	   *name;

	if (!derive_usercode_running() || function >= FirstNormalObjectId)
		return;
	name = get_func_name(function);
	if (name != NULL && writes_unasked(name))
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s() in a read-only transaction", name)));
}

void
derive_usercode_check_command(Node *stmt)
{
	if (!derive_usercode_running())
		return;
	switch (nodeTag(stmt))
	{
		case T_ClusterStmt:
		case T_ListenStmt:
		case T_LockStmt:
		case T_NotifyStmt:
		case T_ReindexStmt:
			ereport(ERROR,
					(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
					 errmsg("cannot execute %s in a read-only transaction",
							GetCommandTagName(CreateCommandTag(stmt)))));
			break;
		default:
			break;
	}
}

Node *
derive_index_stored(Relation index, AttrNumber attno)
{
	bool		isnull;
	Datum		stored = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, attno, &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(stored));
}

static bool
is_foreign_function(Oid function, void *arg)
{
	return function >= FirstNormalObjectId && get_func_namespace(function) != derive_state_schema_oid(true);
}

static bool
foreign_code_walker(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_foreign_function, NULL) ||
		expression_tree_walker(node, foreign_code_walker, NULL);
}

bool
derive_is_trusted(Node *node)
{
	return !foreign_code_walker(node, NULL);
}
