/*-------------------------------------------------------------------------
 *
 * log_limit.c
 *	  Giving up the log of databases whose views have not caught up with it.
 *
 * A slot keeps the log until its worker has read it.  If the worker is away, stuck, or
 * slower than the writers, that fills the disk, and then nobody can write at all.  So
 * once the slot of a database keeps more than pg_derive.max_wal_backlog it is dropped,
 * and the worker begins with a new one, as with one that was lost in any other way
 * (reading.c, setbacks.c): views are computed anew.  Histories compare with their
 * sources; the events of topics that were not read yet are lost, which the log says,
 * and those who follow the topics are told.
 *
 * It is the launcher that does it, whatever the worker is at, as the server's
 * checkpointer does for max_slot_wal_keep_size: the process that has the slot is
 * asked to end, and nobody else is let in before the slot is gone.
 *
 *		retained	worker						launcher
 *		60 GB		applies a large batch		looks again in 4 s
 *		64.1 GB									SIGTERM; "log_given_up"
 *					ends, its batch is undone	is woken up, drops the slot
 *					starts; no slot: creates
 *					one, computes views anew
 *
 * A slot of which creation has not ended (that waits for old transactions, however
 * long) goes with its process.  A process that does not end, since it was stopped by a
 * signal, is beyond help: nobody but the owner of a slot may drop it.
 *
 * The next look is due when the limit can have been reached, if the log grows as fast
 * as it ever does.  Slots that others made with our plugin are theirs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/gucs.h"
#include "base/guard.h"
#include "capture/decoder.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "server/background.h"
#include "server/log_limit.h"
#include "server/shmem.h"
#include "server/worker.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* No server writes more than that. */
#define BYTES_PER_MS	(1024 * 1024)

#define FIRST_LOOK_MS	1000
#define LAST_LOOK_MS	60000

/* A process that was asked to end, or an error, is given so much time. */
#define RETRY_MS		1000

/* A slot of a database's worker. */
typedef struct LogHolder
{
	NameData	slot;
	Oid			dboid;
	uint64		retained;		/* bytes */
	pid_t		pid;			/* who has it; 0: nobody */
} LogHolder;

/* Those that keep a part of the log, in the current context. */
static List *
log_holders(void)
{
	XLogRecPtr	end = GetXLogInsertRecPtr();
	List	   *result = NIL;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		LogHolder  *holder;
		ReplicationSlotPersistentData data;
		pid_t		pid;

		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		data = slot->data;
		pid = slot->active_pid;
		SpinLockRelease(&slot->mutex);
		if (strcmp(NameStr(data.plugin), DERIVE_PLUGIN_NAME) != 0 ||
			strcmp(NameStr(data.name), derive_slot_name(data.database)) != 0 ||
			XLogRecPtrIsInvalid(data.restart_lsn) || derive_slot_is_invalidated(&data))
			continue;
		holder = palloc(sizeof(LogHolder));
		holder->slot = data.name;
		holder->dboid = data.database;
		holder->retained = end > data.restart_lsn ? end - data.restart_lsn : 0;
		holder->pid = pid;
		result = lappend(result, holder);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return result;
}

static void
drop(void *arg)
{
	ReplicationSlotDrop(arg, true);
}

/* To be found by the next worker. */
static void
note_given_up(const LogHolder *holder)
{
	DeriveDatabase *db = derive_database_find(holder->dboid);

	if (db == NULL)
		return;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	db->log_given_up = true;
	LWLockRelease(derive_shared()->lock);
}

static void
report(const LogHolder *holder)
{
	const char *dbname = get_database_name(holder->dboid);

	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the log that the maintained views of database \"%s\" have not read yet is given up, they will be computed anew",
					dbname ? dbname : "?"),
			 errdetail("Replication slot \"%s\" kept %s of it.", NameStr(holder->slot),
					   TextDatumGetCString(DirectFunctionCall1(pg_size_pretty, Int64GetDatum((int64) holder->retained)))),
			 errhint("\"pg_derive.max_wal_backlog\" says how much of the log is kept.")));
}

/* Drop it, or ask who has it to end.  An error is its own, not that of others. */
static long
give_up(const LogHolder *holder)
{
	static TimestampTz reported_at = 0;
	static Oid	reported = InvalidOid;
	ErrorData  *edata;

	if (holder->dboid != reported)
		reported_at = 0;
	reported = holder->dboid;
	if (derive_background_log_again(&reported_at))
		report(holder);
	note_given_up(holder);
	if (holder->pid != 0)
	{
		(void) kill(holder->pid, SIGTERM);
		return RETRY_MS;
	}
	edata = derive_guarded(drop, pstrdup(NameStr(holder->slot)));
	if (edata == NULL)
	{
		reported_at = 0;		/* another time is another matter */
		return FIRST_LOOK_MS;
	}
	if (edata->sqlerrcode != ERRCODE_OBJECT_IN_USE && edata->sqlerrcode != ERRCODE_UNDEFINED_OBJECT)
		ereport(LOG,
				(errcode(edata->sqlerrcode),
				 errmsg("could not drop replication slot \"%s\": %s", NameStr(holder->slot), edata->message)));
	return RETRY_MS;
}

/* In how many ms is it to be looked at again? */
static long
tend_slot(const LogHolder *holder)
{
	uint64		limit = (uint64) derive_max_wal_backlog * 1024 * 1024;

	if (holder->retained > limit)
		return give_up(holder);
	return Max(FIRST_LOOK_MS, (long) Min((limit - holder->retained) / BYTES_PER_MS, LAST_LOOK_MS));
}

long
derive_log_limit_tend(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	long		result = -1;
	ListCell   *lc;

	if (derive_max_wal_backlog == 0)
		return -1;
	StartTransactionCommand();
	foreach(lc, log_holders())
	{
		long		ms = tend_slot(lfirst(lc));

		result = result < 0 ? ms : Min(result, ms);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return result;
}
