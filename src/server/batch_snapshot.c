/*-------------------------------------------------------------------------
 *
 * batch_snapshot.c
 *	  Seeing what a batch of the worker showed, from another process.
 *
 * A batch takes a snapshot S, moves the views to it in a transaction w, and at
 * its end stores S in derive_state.position, in the row of its group, in the same transaction.  Under S
 * and with the changes of w on top, every view equals its query; nobody but the
 * worker, inside that transaction, ever had this sight.  Any process can have it
 * afterwards, since a snapshot is no more than a rule that tells which
 * transactions are in:
 *
 *		S+ = what is in S, and w.
 *
 * S is read from derive_state.position, and w is the transaction that stored the
 * row.  Both are of one batch, since they are one row.
 *
 * Worked example.  When the batch takes S, 103 and 105 are running and 107 is the
 * next xid: S is 103:107:103,105.  A writer gets 107, the batch w = 108, another
 * writer 109 with a subtransaction 110; 103, 107 and 109 commit, then the batch.
 * The row of derive_state.position is read under a later snapshot L, whose xmax is
 * 111.  As a snapshot of the server S+ is
 *
 *		xmin 103, xmax 111, xip {103, 105, 107, 109, 110}
 *
 * that is, the xip of S, and each number from the xmax of S up to that of L,
 * except w.  108 is in; so are the subtransactions of w, because the snapshot is
 * marked as overflowed: the server then looks up the top-level transaction of a
 * number in pg_subtrans before it looks at xip, which lists those (positions know
 * no others), and subtransactions of 109, which are there for nothing, do no
 * harm.  L sees w as committed, so its xmax is beyond all numbers of w.
 *
 * If w got its number before S was taken (an AccessExclusiveLock is logged under
 * an xid), S+ is right as well: a snapshot never lists its own transaction, so that
 * w is below the xmax of S, and not in xip.
 *
 * Why the rows are still there.  Rows that S+ sees may have been deleted since,
 * and must not have been removed.  The transaction that calls us has a snapshot V,
 * taken before S and held to its end: xmin(V) is what it tells others to keep.
 * Snapshots of one server have ascending xmins, so that xmin(V) <= xmin(S): who
 * deleted a row that S+ sees is not in S+, so it is not below xmin(S), and nothing
 * of that may be removed, or frozen, or marked as seen by all, in tables as in
 * clog and pg_subtrans.  That V is older is checked here, by the xmins; that S is of
 * a batch that began after V, and not of an old one, is up to the caller, and
 * matters for what no snapshot protects from: TRUNCATE and rewritten tables.  Who
 * held a lock on the tables before V was taken, and asked for the batch after
 * that, is safe from these, too.
 *
 * What views are filled with from nothing (fill.c) is written frozen, so that it
 * is seen under every snapshot; to swap it in takes AccessExclusiveLock, so the
 * same lock on the view keeps it away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/position.h"
#include "base/registry.h"
#include "base/wait_event.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/batch_snapshot.h"
#include "storage/condition_variable.h"
#include "utils/snapmgr.h"

/*
 * The server searches xip from its beginning to its end.  So many numbers are
 * given out during one batch in no sane system.
 */
#define MAX_XIDS_SINCE	(1024 * 1024)

/* S+ from its parts; common is what they share with V. */
static void
push_snapshot(const SnapshotData *common, const DerivePosition *position, TransactionId writer,
			  TransactionId xmax, int64 xids_since)
{
	SnapshotData plus = *common;
	TransactionId xid;

	plus.xmin = XidFromFullTransactionId(position->xmin);
	plus.xmax = xmax;
	plus.xip = palloc(sizeof(TransactionId) * (position->nxip + xids_since));
	plus.xcnt = 0;
	for (int i = 0; i < position->nxip; i++)
		plus.xip[plus.xcnt++] = XidFromFullTransactionId(position->xip[i]);
	xid = XidFromFullTransactionId(position->xmax);
	while (xid != xmax)
	{
		if (xid != writer)
			plus.xip[plus.xcnt++] = xid;
		TransactionIdAdvance(xid);
	}
	plus.subxip = NULL;
	plus.subxcnt = 0;
	plus.suboverflowed = true;
	plus.curcid = GetCurrentCommandId(false);
	plus.snapXactCompletionCount = 0;

	PushCopiedSnapshot(&plus);
	pfree(plus.xip);
	Assert(!XidInMVCCSnapshot(writer, GetActiveSnapshot()));
}

/* Does the worker run, and not wait for a lock? */
static bool
worker_is_free(DeriveGroup *place)
{
	return pg_atomic_read_u64(&place->point.blocked_on) == 0 && derive_group_has_worker(place);
}

bool
derive_await_batch(DeriveGroup *place)
{
	uint64		number = pg_atomic_add_fetch_u64(&place->asked, 1);
	bool		result;

	/* As commits do: it need not hurry, but it must not sleep. */
	if (pg_atomic_read_u32(&place->sleeping) == 1)
		derive_group_wake(place);
	ConditionVariablePrepareToSleep(&place->point.cv);
	while (!(result = pg_atomic_read_u64(&place->answered) >= number) && worker_is_free(place))
	{
		(void) ConditionVariableTimedSleep(&place->point.cv, 100, derive_wait_event(DERIVE_WAIT_BATCH));
		CHECK_FOR_INTERRUPTS();
	}
	ConditionVariableCancelSleep();
	return result;
}

bool
derive_push_batch_snapshot(int group, DerivePosition **stored, XLogRecPtr *lsn)
{
	Snapshot	v = GetTransactionSnapshot();
	DerivePosition *position;
	TransactionId writer;
	TransactionId xmax;
	int64		xids_since;

	Assert(IsolationUsesXactSnapshot());
	Assert(!v->takenDuringRecovery);
	Assert(TransactionIdPrecedesOrEquals(TransactionXmin, v->xmin));

	PushActiveSnapshot(GetLatestSnapshot());
	xmax = GetActiveSnapshot()->xmax;
	position = derive_registry_position_at(group, GetActiveSnapshot(), &writer, lsn);
	PopActiveSnapshot();

	if (position == NULL || !TransactionIdIsNormal(writer) ||
		TransactionIdPrecedes(writer, v->xmin) ||
		TransactionIdPrecedes(XidFromFullTransactionId(position->xmin), v->xmin))
		return false;
	writer = SubTransGetTopmostTransaction(writer);
	xids_since = (int32) (xmax - XidFromFullTransactionId(position->xmax));
	if (xids_since < 0 || xids_since > MAX_XIDS_SINCE)
		return false;

	push_snapshot(v, position, writer, xmax, xids_since);
	if (stored != NULL)
		*stored = position;
	return true;
}
