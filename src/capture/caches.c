/*-------------------------------------------------------------------------
 *
 * caches.c
 *	  Keeping present and historic catalog contents apart in this process.
 *
 * PROBLEM.  While a transaction is decoded, the relation cache and the catalog
 * caches are filled under a historic snapshot: the catalog as it was when the
 * transaction ran.  The same process then plans and runs queries, which must
 * see the catalog as it is.  Two mistakes are possible:
 *
 *	backward	a relation was changed by DDL, its present descriptor is
 *				cached, and an older row of it is decoded with that
 *	forward		a descriptor that was loaded for an older row stays in the
 *				cache, and our own queries use it
 *
 * Calling InvalidateSystemCaches() before and after each decoding, as the
 * SQL-callable slot functions do, excludes both, at half a millisecond and
 * all cached plans.  We do less, in the ordinary case nothing.
 *
 * IDEA.  The catalog differs between a transaction's snapshot and the present
 * only in objects for which an invalidation was sent in between, and every
 * invalidation reaches our callbacks below.  So we remember which relations
 * were invalidated, each with its date: an insert position of the WAL read
 * after the invalidation arrived, hence behind the commit record of its cause.
 * A decoded transaction whose base snapshot is at or behind that date saw the
 * change, as we do; to all others, called old here, it may have been invisible.
 * decoder.c therefore repeats the remembered invalidations
 *
 *	- before the first old transaction of a run is replayed (backward), and
 *	- after a run that replayed an old transaction (forward),
 *
 * and forgets an invalidation when no old transaction can follow: decoding has
 * passed its date, and so has the base snapshot of every transaction that is
 * still running in the reorder buffer.
 *
 * WHY THAT IS ENOUGH.  Write T for the transaction that does DDL, c for the
 * place of its commit record.
 *
 * 1. Between transactions of one run the reorder buffer itself executes T's
 *	  invalidations when it comes to c, also where T is skipped (another
 *	  database, our own origin), and, in minor releases since 2025, at the end
 *	  of each transaction that ran concurrently with T.  Where it does not, an
 *	  older descriptor is loaded behind c only by a transaction that wrote to
 *	  the table before c.  T then held a lock that lets writers pass, so the
 *	  shape of the rows is the same before and after; and that transaction is
 *	  old, so the second flush drops what it left.
 * 2. Invalidations that arrive in the middle of a run are dated at its end, so
 *	  that all its transactions are old to them.  The same holds for those that
 *	  the reorder buffer executes: the callbacks do not tell them apart, and
 *	  need not.  Repeating them at the end also removes descriptors that are
 *	  too new: T's commit record may be decoded while T does not look committed
 *	  to us yet (it waits for a synchronous standby, say).
 * 3. A descriptor loaded for a transaction that is not old is what our own
 *	  queries would load, but for DDL of which we have not been told; the
 *	  invalidation is still in the queue, or not sent yet, and will drop it.
 *	  For layouts the present cannot be ahead of what we were told: T holds
 *	  AccessExclusiveLock until it has sent its invalidations, and we load
 *	  descriptors for our own queries under a lock.
 * 4. Our own uncommitted DDL is noticed as well, at CommandCounterIncrement.
 *	  It is invisible to historic snapshots; every transaction is old to it.
 *
 * Relations are repeated one by one.  Everything is thrown away (whole) if the
 * invalidation says so (queue overflow), concerns a system catalog or its
 * indexes (whose cached rows are not only in the relation cache), an access
 * method, or when more relations than fit are remembered.  Other catalog
 * caches are not filled by decoding: the plugin's callbacks for our own
 * decoder look up no types, functions or names, a relation descriptor is built
 * by scans, and decoding opens no index of a user's table.
 *
 * Temporary tables of other sessions fill our list like any other table, which
 * costs a hash lookup each, and no plan.
 *
 * A caller that keeps a relation open during decoding gets its descriptor
 * rebuilt under it, perhaps twice.  Don't.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "capture/caches.h"

#define MAX_NOTICED		1024
#define MAX_REMEMBERED	4096

typedef struct Remembered
{
	Oid			relid;
	XLogRecPtr	date;
} Remembered;

/*
 * Written by the callbacks, which may run anywhere: no allocation, no errors.
 */
static Oid	noticed[MAX_NOTICED];
static int	nnoticed = 0;
static bool noticed_whole = false;

/* Written by derive_caches_collect() and derive_caches_forget(). */
static Remembered remembered[MAX_REMEMBERED];
static int	nremembered = 0;
static XLogRecPtr whole_date = InvalidXLogRecPtr;

/*
 * The calls that we cause ourselves while repeating an invalidation: exactly
 * one per message, ignored.  Others may arrive nested in it and count.
 */
static bool ignore_relcache = false;
static Oid	ignore_relid = InvalidOid;
static bool ignore_syscache = false;

/* Was the relation among the last few?  DDL invalidates the same one often. */
static bool
noticed_lately(Oid relid)
{
	for (int i = nnoticed - 1; i >= 0 && i >= nnoticed - 8; i--)
	{
		if (noticed[i] == relid)
			return true;
	}
	return false;
}

static void
relcache_callback(Datum arg, Oid relid)
{
	if (ignore_relcache && relid == ignore_relid)
		ignore_relcache = false;
	else if (noticed_whole || noticed_lately(relid))
		return;
	else if (relid < FirstNormalObjectId || nnoticed == MAX_NOTICED)
		noticed_whole = true;
	else
		noticed[nnoticed++] = relid;
}

static void
syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (ignore_syscache)
		ignore_syscache = false;
	else
		noticed_whole = true;
}

void
derive_caches_watch(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(AMOID, syscache_callback, (Datum) 0);
		registered = true;
	}
	ignore_relcache = false;
	ignore_syscache = false;
	noticed_whole = true;
}

static void
remember(Oid relid, XLogRecPtr date)
{
	for (int i = 0; i < nremembered; i++)
	{
		if (remembered[i].relid == relid)
		{
			remembered[i].date = date;
			return;
		}
	}
	if (nremembered == MAX_REMEMBERED)
		whole_date = date;
	else
	{
		remembered[nremembered].relid = relid;
		remembered[nremembered].date = date;
		nremembered++;
	}
}

void
derive_caches_collect(void)
{
	XLogRecPtr	now;

	if (nnoticed == 0 && !noticed_whole)
		return;
	now = GetXLogInsertRecPtr();
	if (noticed_whole)
		whole_date = now;
	else
	{
		for (int i = 0; i < nnoticed; i++)
			remember(noticed[i], now);
	}
	nnoticed = 0;
	noticed_whole = false;
	if (whole_date == now)
		nremembered = 0;		/* all older ones are contained in it */
}

XLogRecPtr
derive_caches_newest(void)
{
	XLogRecPtr	newest = whole_date;

	for (int i = 0; i < nremembered; i++)
		newest = Max(newest, remembered[i].date);
	return newest;
}

static void
flush_whole(void)
{
	ignore_relid = InvalidOid;
	ignore_relcache = true;
	ignore_syscache = true;
	InvalidateSystemCaches();
	ignore_relcache = false;
	ignore_syscache = false;
}

static void
flush_relation(Oid relid)
{
	SharedInvalidationMessage msg;

	memset(&msg, 0, sizeof(msg));
	msg.rc.id = SHAREDINVALRELCACHE_ID;
	msg.rc.dbId = MyDatabaseId;
	msg.rc.relId = relid;

	ignore_relid = relid;
	ignore_relcache = true;
	LocalExecuteInvalidationMessage(&msg);
	ignore_relcache = false;
}

void
derive_caches_flush(XLogRecPtr since)
{
	if (whole_date > since)
	{
		flush_whole();
		return;
	}
	for (int i = 0; i < nremembered; i++)
	{
		if (remembered[i].date > since)
			flush_relation(remembered[i].relid);
	}
}

void
derive_caches_forget(XLogRecPtr upto)
{
	int			kept = 0;

	if (whole_date <= upto)
		whole_date = InvalidXLogRecPtr;
	for (int i = 0; i < nremembered; i++)
	{
		if (remembered[i].date > upto)
			remembered[kept++] = remembered[i];
	}
	nremembered = kept;
}
