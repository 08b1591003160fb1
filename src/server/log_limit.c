/*-------------------------------------------------------------------------
 *
 * log_limit.c
 *	  Giving up the log of groups of views that have not caught up with it.
 *
 * A slot keeps the log until its worker has read it.  If the worker is away, stuck, or
 * slower than the writers, that fills the disk, and then nobody can write at all.  So
 * once the slot of a group keeps more than pg_derive.max_wal_backlog it is dropped,
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
 *		64.1 GB									waits a moment; SIGTERM; "log_given_up"
 *					ends, its batch is undone	is woken up, drops the slot
 *					starts; no slot: creates
 *					one, computes views anew
 *
 * A slot of which creation has not ended (that waits for old transactions, however
 * long) goes with its process.  A process that does not end, since it was stopped by a
 * signal, is beyond help: nobody but the owner of a slot may drop it.
 *
 * What a slot keeps is more than what is to be read: the server finds out with each list
 * of running transactions in the log, every 15 s, what the slot can do without.  So from
 * half of the limit on such lists are written more often, and the worker is asked to read
 * them; and one that has the slot is given a moment to do so.
 *
 * The next look is due when the limit can have been reached, if the log grows as fast
 * as it ever does; and soon, while a group has no slot yet.  Slots that others made with
 * our plugin are theirs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/elapsed.h"
#include "base/gucs.h"
#include "base/guard.h"
#include "capture/decoder.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "server/log_limit.h"
#include "server/shmem.h"
#include "server/worker.h"
#include "storage/lwlock.h"
#include "storage/standby.h"
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

/* To let go of the log, after it has become too much. */
#define GRACE_MS		2000

/* A slot of a group's worker. */
typedef struct LogHolder
{
	NameData	slot;
	Oid			dboid;
	int			number;			/* of the group */
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
		int			number;

		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		data = slot->data;
		pid = slot->active_pid;
		SpinLockRelease(&slot->mutex);
		if (strcmp(NameStr(data.plugin), DERIVE_PLUGIN_NAME) != 0 ||
			!derive_is_slot_name(NameStr(data.name), data.database, &number) ||
			XLogRecPtrIsInvalid(data.restart_lsn) || derive_slot_is_invalidated(&data))
			continue;
		holder = palloc(sizeof(LogHolder));
		holder->slot = data.name;
		holder->dboid = data.database;
		holder->number = number;
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

/* To be found by the next worker.  True if it is news. */
static bool
note_given_up(const LogHolder *holder)
{
	DeriveGroup *place = derive_group_find(holder->dboid, holder->number);
	bool		known;

	if (place == NULL)
		return true;
	LWLockAcquire(derive_shared()->lock, LW_EXCLUSIVE);
	known = place->log_given_up;
	place->log_given_up = true;
	LWLockRelease(derive_shared()->lock);
	return !known;
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
	ErrorData  *edata;

	if (note_given_up(holder))
		report(holder);
	if (holder->pid != 0)
	{
		(void) kill(holder->pid, SIGTERM);
		return RETRY_MS;
	}
	edata = derive_guarded(drop, pstrdup(NameStr(holder->slot)));
	if (edata == NULL)
		return FIRST_LOOK_MS;
	if (edata->sqlerrcode != ERRCODE_OBJECT_IN_USE && edata->sqlerrcode != ERRCODE_UNDEFINED_OBJECT)
		ereport(LOG,
				(errcode(edata->sqlerrcode),
				 errmsg("could not drop replication slot \"%s\": %s", NameStr(holder->slot), edata->message)));
	return RETRY_MS;
}

/* Have the slot find out what it can do without, if there is something new in the log. */
static void
nudge(DeriveGroup *place)
{
	static XLogRecPtr nudged_at = InvalidXLogRecPtr;
	XLogRecPtr	end = GetXLogInsertRecPtr();

	if (end - nudged_at >= wal_segment_size)
		nudged_at = LogStandbySnapshot();
	derive_wait_ask(&place->point, nudged_at);
	derive_group_wake(place);
}

/* Has it been too much for longer than the worker needs to let go of it? */
static bool
is_patience_over(const LogHolder *holder, DeriveGroup *place)
{
	if (place == NULL || holder->pid == 0)
		return true;
	if (place->log_exceeded_at == 0)
		place->log_exceeded_at = derive_monotonic_ms();
	return derive_has_elapsed(place->log_exceeded_at, GRACE_MS);
}

/* In how many ms is it to be looked at again? */
static long
tend_slot(const LogHolder *holder)
{
	uint64		limit = (uint64) derive_max_wal_backlog * 1024 * 1024;
	DeriveGroup *place = derive_group_find(holder->dboid, holder->number);

	if (holder->retained > limit && is_patience_over(holder, place))
		return give_up(holder);
	if (place != NULL && holder->retained <= limit)
		place->log_exceeded_at = 0;
	if (place != NULL && holder->retained > limit / 2)
		nudge(place);
	if (holder->retained > limit)
		return RETRY_MS;
	return Max(FIRST_LOOK_MS, (long) Min((limit - holder->retained) / BYTES_PER_MS, LAST_LOOK_MS));
}

/*
 * Is there a group whose slot is not among these, but may come to be at any time, which nobody will say?  It
 * will have time of its own.
 */
static bool
any_slot_is_to_come(List *holders)
{
	DeriveShared *shared = derive_shared();
	bool		result = false;

	for (int i = 0; i < shared->ngroups; i++)
	{
		DeriveGroupId id = pg_atomic_read_u64(&shared->groups[i].id);
		bool		there = id == 0;
		ListCell   *lc;

		foreach(lc, holders)
		{
			LogHolder  *holder = lfirst(lc);

			there = there || DERIVE_GROUP_ID(holder->dboid, holder->number) == id;
		}
		if (!there)
		{
			shared->groups[i].log_exceeded_at = 0;
			result = true;
		}
	}
	return result;
}

long
derive_log_limit_tend(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	long		result = -1;
	List	   *holders;
	ListCell   *lc;

	if (derive_max_wal_backlog == 0)
		return -1;
	StartTransactionCommand();
	holders = log_holders();
	foreach(lc, holders)
	{
		long		ms = tend_slot(lfirst(lc));

		result = result < 0 ? ms : Min(result, ms);
	}
	if (any_slot_is_to_come(holders))
		result = result < 0 ? FIRST_LOOK_MS : Min(result, FIRST_LOOK_MS);
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return result;
}
