/*-------------------------------------------------------------------------
 *
 * unattended.c
 *	  Slots of workers that are not there: what they hold is let go.
 *
 * A slot goes on holding old row versions, in the whole cluster, when its worker is
 * gone: no process is left for one, it is held away, it crashed, its database has no
 * place.  Workers are to come back and find them; but the limits of holding.c hold for
 * them, too.  So the launcher looks at slots that nobody has acquired, as soon as a
 * worker ends and then once in a while, and lets go of those of which the hold has not
 * been found right for pg_derive.max_hold, or is older than pg_derive.max_hold_age.
 * Before the first batch since the launcher started, with the server as a rule, the time
 * counts from that start.
 *
 * The worker finds the slot without an xmin, and so without a past.  If it comes back
 * at this very moment it cannot acquire the slot, and tries again.
 *
 * A copy of a slot of ours that somebody made has a copy of the xmin, which nobody
 * moves.  It has no worker, and is let go as well.
 *
 * A standby has no workers at all.  A slot of ours that it has all the same is one of the
 * time when it was a primary, or came with a copy of the files.  It is good for nothing any more
 * (capture/branch.c), but keeps the log here and, by hot_standby_feedback, old row versions and
 * catalog rows on the primary; and 17 and later cannot copy the primary's slot under
 * that name.  So it is dropped.  One that is such a copy belongs to the server; only the hold
 * is ended that it may have from a time when it was used.
 *
 * A process that has the slot and does nothing, since it was stopped by a signal,
 * say, is beyond help: nobody but the owner of a slot may change it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/guard.h"
#include "capture/hold.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "server/background.h"
#include "server/shmem.h"
#include "server/unattended.h"
#include "server/worker.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* An error is given so much time to go away. */
#define RETRY_MS	60000

/* When was the hold last found right? */
static TimestampTz
moved_at(const DeriveUnattendedHold *hold)
{
	DeriveGroup *place = NULL;

	int			number;

	if (derive_is_slot_name(NameStr(hold->slot), hold->dboid, &number))
		place = derive_group_find(hold->dboid, number);
	return place == NULL ? MyStartTimestamp :
		Max(MyStartTimestamp, (TimestampTz) pg_atomic_read_u64(&place->hold_moved_at));
}

/* A hold that is to end, as an argument for derive_guarded(). */
typedef struct LetGo
{
	const DeriveUnattendedHold *hold;
	TimestampTz since;
} LetGo;

static void
let_go(void *arg)
{
	LetGo	   *letting = arg;
	const char *dbname = get_database_name(letting->hold->dboid);

	derive_hold_end_unattended(NameStr(letting->hold->slot));
	derive_hold_report_end(dbname != NULL ? psprintf("database \"%s\"", dbname) : "a database without a name",
						   psprintf("Replication slot \"%s\" has no worker process, and kept them since %s.",
									NameStr(letting->hold->slot), timestamptz_to_str(letting->since)));
}

/* In how many ms is the slot to be looked at again?  -1: never.  An error is its own, not that of others. */
static long
tend_slot(const DeriveUnattendedHold *hold)
{
	LetGo		letting = {hold, moved_at(hold)};
	int32		age = (int32) (XidFromFullTransactionId(ReadNextFullTransactionId()) - hold->xmin);
	long		ms = derive_hold_remaining(age, letting.since);
	ErrorData  *edata;

	if (!TransactionIdIsValid(hold->xmin))
		return -1;
	if (ms > 0)
		return ms;
	edata = derive_guarded(let_go, &letting);
	if (edata == NULL)
		return -1;
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("could not let go of the old row versions of replication slot \"%s\": %s",
					NameStr(hold->slot), edata->message)));
	return RETRY_MS;
}

static void
tidy_up(void *arg)
{
	const DeriveUnattendedHold *slot = arg;

	if (slot->synced)
	{
		derive_hold_end_unattended(NameStr(slot->slot));
		return;
	}
	ReplicationSlotDrop(NameStr(slot->slot), true);
	ereport(LOG,
			(errmsg("dropped replication slot \"%s\", which is from before the server became a standby",
					NameStr(slot->slot))));
}

void
derive_unattended_on_standby(void)
{
	static TimestampTz logged = 0;
	MemoryContext cxt = CurrentMemoryContext;
	ListCell   *lc;

	StartTransactionCommand();
	foreach(lc, derive_hold_unattended())
	{
		DeriveUnattendedHold *slot = lfirst(lc);
		ErrorData  *edata = NULL;

		if (derive_is_slot_name(NameStr(slot->slot), slot->dboid, NULL) &&
			(!slot->synced || TransactionIdIsValid(slot->xmin)))
			edata = derive_guarded(tidy_up, slot);
		if (edata != NULL && derive_background_log_again(&logged))
			ereport(LOG,
					(errcode(edata->sqlerrcode),
					 errmsg("could not tidy up replication slot \"%s\" of a standby: %s",
							NameStr(slot->slot), edata->message)));
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
}

long
derive_unattended_tend(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	long		result = -1;
	ListCell   *lc;

	StartTransactionCommand();
	foreach(lc, derive_hold_unattended())
	{
		long		ms = tend_slot(lfirst(lc));

		if (ms >= 0)
			result = result < 0 ? ms : Min(result, ms);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return result;
}
