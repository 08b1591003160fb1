/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  How long the worker rests between two batches.
 *
 * Much of what a batch costs it costs for one transaction as for ten: the lock of each
 * table, the snapshot, the flush of the log up to there, its own commit.  So while commits come one
 * upon the other, some are put together, as few as pg_derive.batch_share asks for.  The time
 * that batches take is set against that share of all time; while they have taken more, the
 * worker rests.  At a share of 0.25:
 *
 *		balance		0 ms
 *		a batch takes 0.4 ms				- 0.4 + 0.25 * 0.4 =	-0.3 ms
 *		it rests for 0.3 / 0.25 ms, in whole ms: 2		+ 0.25 * 2 =	0.2 ms
 *		a batch takes 0.2 ms				- 0.2 + 0.25 * 0.2 =	0.05 ms
 *		the next one may follow at once
 *
 * So one writer that waits for its own row hardly ever waits for a pause, since its own
 * flush of the log takes longer, and with many of them the batches become as large as it
 * takes for their number to fit.
 *
 * It is the time that counts, and not only that of the processor.  Writers do not wait for a batch, but
 * they flush the log as well: a batch that has to wait for the disk has kept it from them.
 * And where processors are scarce a batch takes longer, so that there are fewer.
 *
 * What a row costs is not saved by that.  A load of which the rows alone take more than the share
 * would make rests, and batches, longer and longer.  Therefore pg_derive.batch_interval
 * bounds them: the balance stays within the share of one interval, in both directions.
 * Neither does one long batch make many others wait, nor is there much to be spent at
 * once after a quiet time.  And where a batch takes longer than the interval, the next one starts
 * at once (worker.c): views that are behind catch up as fast as they can.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "base/gucs.h"
#include "portability/instr_time.h"
#include "server/pace.h"

static double balance = 0;		/* ms; what batches may take before a rest */

void
derive_pace_account(bool worked)
{
	static instr_time before;
	double		bound = derive_batch_share * derive_batch_interval;
	instr_time	now;
	instr_time	passed;

	INSTR_TIME_SET_CURRENT(now);
	passed = now;
	INSTR_TIME_SUBTRACT(passed, before);
	before = now;

	balance += (derive_batch_share - (worked ? 1 : 0)) * INSTR_TIME_GET_MILLISEC(passed);
	balance = Min(Max(balance, -bound), bound);
}

long
derive_pace_rest(void)
{
	return balance >= 0 ? 0 : (long) ceil(-balance / derive_batch_share);
}
