/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Positions: which transactions a view already contains.
 *
 * A position is made from an MVCC snapshot, stored as text of the type
 * pg_snapshot, and asked one question: does it cover this transaction?
 *
 * A snapshot lists the top-level transactions in progress in its xip array,
 * and subtransactions separately; only the former matter here, since a
 * decoded transaction is known by its top-level xid.  This also makes an
 * overflowed list of subtransactions harmless.
 *
 * Snapshots and WAL hold 32-bit xids.  They are widened by their distance to
 * the next xid to be assigned, which is right for everything that is within
 * two billion transactions of the present; the server itself does not let
 * older or newer ones exist.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/gucs.h"
#include "base/position.h"
#include "lib/stringinfo.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define POSITION_SIZE(nxip) (offsetof(DerivePosition, xip) + sizeof(FullTransactionId) * (nxip))

static FullTransactionId
widen_xid_relative_to(FullTransactionId next, TransactionId xid)
{
	int32		distance;

	/* bootstrap and frozen xids have no epoch */
	if (!TransactionIdIsNormal(xid))
		return FullTransactionIdFromEpochAndXid(0, xid);

	distance = (int32) (xid - XidFromFullTransactionId(next));

	return FullTransactionIdFromU64(U64FromFullTransactionId(next) + (int64) distance);
}

FullTransactionId
derive_widen_xid(TransactionId xid)
{
	return widen_xid_relative_to(ReadNextFullTransactionId(), xid);
}

static int
compare_xids(const void *a, const void *b)
{
	uint64		x = U64FromFullTransactionId(*(const FullTransactionId *) a);
	uint64		y = U64FromFullTransactionId(*(const FullTransactionId *) b);

	return (x > y) - (x < y);
}

DerivePosition *
derive_position_from_snapshot(Snapshot snapshot)
{
	FullTransactionId next = ReadNextFullTransactionId();
	DerivePosition *position;

	Assert(IsMVCCSnapshot(snapshot));
	Assert(!snapshot->takenDuringRecovery);

	position = palloc0(POSITION_SIZE(snapshot->xcnt));
	position->xmin = widen_xid_relative_to(next, snapshot->xmin);
	position->xmax = widen_xid_relative_to(next, snapshot->xmax);
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		FullTransactionId xid = widen_xid_relative_to(next, snapshot->xip[i]);

		/* the array may hold more than the interval needs */
		if (FullTransactionIdFollowsOrEquals(xid, position->xmin) &&
			FullTransactionIdPrecedes(xid, position->xmax))
			position->xip[position->nxip++] = xid;
	}

	if (position->nxip > 1)
		qsort(position->xip, position->nxip, sizeof(FullTransactionId), compare_xids);

	return position;
}

TimestampTz
derive_position_present(void)
{
	TimestampTz now = GetCurrentTimestamp();

#ifdef USE_ASSERT_CHECKING
	now = TimestampTzPlusMilliseconds(now, derive_debug_clock_offset * INT64CONST(1000));
#endif
	return now;
}

DerivePosition *
derive_position_copy(const DerivePosition *position)
{
	DerivePosition *copy;

	if (position == NULL)
		return NULL;

	copy = palloc(POSITION_SIZE(position->nxip));
	memcpy(copy, position, POSITION_SIZE(position->nxip));

	return copy;
}

bool
derive_position_covers(const DerivePosition *position, FullTransactionId xid)
{
	if (position == NULL)
		return false;
	if (FullTransactionIdPrecedes(xid, position->xmin))
		return true;
	if (FullTransactionIdFollowsOrEquals(xid, position->xmax))
		return false;

	return bsearch(&xid, position->xip, position->nxip,
				   sizeof(FullTransactionId), compare_xids) == NULL;
}

/*
 * Of two snapshots of a server, the later one has no smaller xmax, and lacks
 * no transaction that the earlier one has.
 */
bool
derive_position_includes(const DerivePosition *position, const DerivePosition *other)
{
	if (other == NULL)
		return true;
	if (position == NULL || FullTransactionIdPrecedes(position->xmax, other->xmax))
		return false;
	for (int i = 0; i < position->nxip; i++)
	{
		if (derive_position_covers(other, position->xip[i]))
			return false;
	}
	return true;
}

bool
derive_position_range(const DerivePosition *from, const DerivePosition *to,
					  FullTransactionId *first, FullTransactionId *last)
{
	int			n;

	/* between its xmin and xmax a position lists what it lacks */
	*last = to->xmax;
	for (n = to->nxip;; n--)
	{
		FullTransactionIdRetreat(last);
		if (n == 0 || !FullTransactionIdEquals(*last, to->xip[n - 1]))
			break;
	}
	for (n = 0; n < from->nxip; n++)
	{
		*first = from->xip[n];
		if (derive_position_covers(to, *first))
			return true;
	}
	*first = from->xmax;
	while (FullTransactionIdPrecedes(*first, to->xmax) && !derive_position_covers(to, *first))
		FullTransactionIdAdvance(first);
	return FullTransactionIdPrecedesOrEquals(*first, *last);
}

char *
derive_position_out(const DerivePosition *position)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, UINT64_FORMAT ":" UINT64_FORMAT ":",
					 U64FromFullTransactionId(position->xmin),
					 U64FromFullTransactionId(position->xmax));
	for (int i = 0; i < position->nxip; i++)
		appendStringInfo(&buf, "%s" UINT64_FORMAT, i > 0 ? "," : "",
						 U64FromFullTransactionId(position->xip[i]));

	return buf.data;
}

/* Read a number and step over the separator behind it; false if there is no number. */
static bool
parse_xid(const char **cursor, char separator, FullTransactionId *xid)
{
	char	   *end;
	uint64		value;

	if (**cursor < '0' || **cursor > '9')
		return false;

	errno = 0;
	value = strtoull(*cursor, &end, 10);
	if (errno != 0)
		return false;
	if (separator != '\0')
	{
		if (*end != separator)
			return false;
		end++;
	}

	*cursor = end;
	*xid = FullTransactionIdFromU64(value);

	return true;
}

/* Parse the list of xids, which must ascend and lie in [xmin, xmax). */
static bool
parse_xip(const char *cursor, DerivePosition *position)
{
	FullTransactionId xid;

	if (*cursor == '\0')
		return true;

	for (;;)
	{
		if (!parse_xid(&cursor, '\0', &xid) ||
			FullTransactionIdPrecedes(xid, position->xmin) ||
			FullTransactionIdFollowsOrEquals(xid, position->xmax))
			return false;
		if (position->nxip > 0 &&
			FullTransactionIdFollowsOrEquals(position->xip[position->nxip - 1], xid))
			return false;
		position->xip[position->nxip++] = xid;

		if (*cursor == '\0')
			return true;
		if (*cursor++ != ',')
			return false;
	}
}

DerivePosition *
derive_position_in(const char *string)
{
	const char *cursor = string;
	DerivePosition *position;
	int			nxip = 1;

	for (const char *c = string; *c != '\0'; c++)
		nxip += (*c == ',');

	position = palloc0(POSITION_SIZE(nxip));
	if (!parse_xid(&cursor, ':', &position->xmin) ||
		!parse_xid(&cursor, ':', &position->xmax) ||
		!FullTransactionIdIsNormal(position->xmin) ||
		FullTransactionIdPrecedes(position->xmax, position->xmin) ||
		!parse_xip(cursor, position))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "pg_snapshot", string)));

	return position;
}

void
derive_position_time_out(const DerivePosition *position, Datum *value, bool *isnull)
{
	*isnull = position == NULL || position->time == 0;
	*value = TimestampTzGetDatum(*isnull ? 0 : position->time);
}

void
derive_position_time_in(DerivePosition *position, Datum value, bool isnull)
{
	position->time = isnull ? 0 : DatumGetTimestampTz(value);
}
