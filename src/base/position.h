/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Positions: which transactions a view already contains.
 *
 * A position is an MVCC snapshot reduced to its top-level transaction ids,
 * the same thing that SQL calls pg_snapshot.  One rule holds everywhere in
 * pg_derive: a decoded transaction belongs to the batch that moves a view
 * from position P to position S iff S covers its top-level xid and P does
 * not.  Redelivery after a crash, the first build of a view, its hand-over
 * and its repair are all this rule with different P.
 *
 * A query can depend on the time as well (compile/passing_time.c), so a position has one:
 * the view is what its query was at that snapshot and that time.
 *
 * Transaction ids are 64 bits wide here, so positions never wrap around.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_POSITION_H
#define DERIVE_POSITION_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "utils/snapshot.h"

typedef struct DerivePosition
{
	FullTransactionId xmin;		/* every xid before this one is covered */
	FullTransactionId xmax;		/* no xid from this one on is covered */
	TimestampTz time;			/* what now() is there; 0: not known */
	int			nxip;			/* xids in between that are not covered */
	FullTransactionId xip[FLEXIBLE_ARRAY_MEMBER];	/* ascending */
} DerivePosition;

/* The position of an MVCC snapshot (not taken during recovery), without a time; palloc'd in CurrentMemoryContext. */
extern DerivePosition *derive_position_from_snapshot(Snapshot snapshot);

/* A palloc'd copy in CurrentMemoryContext; NULL gives NULL. */
extern DerivePosition *derive_position_copy(const DerivePosition *position);

/* What now() is for a snapshot that has just been taken. */
extern TimestampTz derive_position_present(void);

/* Does the position contain the transaction?  A NULL position covers nothing. */
extern bool derive_position_covers(const DerivePosition *position, FullTransactionId xid);

/*
 * Does the first cover everything that the second does?  For positions of one
 * server; NULL covers nothing.
 */
extern bool derive_position_includes(const DerivePosition *position, const DerivePosition *other);

/*
 * The first and the last transaction that "to" covers and "from" does not, of those
 * that have been given a number; false if there is none.  Neither may be NULL.
 */
extern bool derive_position_range(const DerivePosition *from, const DerivePosition *to,
								  FullTransactionId *first, FullTransactionId *last);

/*
 * To and from the external form of pg_snapshot ("xmin:xmax:xip,xip").
 * derive_position_in raises ERROR (invalid_text_representation) on bad input.
 */
extern char *derive_position_out(const DerivePosition *position);
extern DerivePosition *derive_position_in(const char *string);

/* Its time, which pg_snapshot does not have, to and from a column of its own; of NULL it is NULL. */
extern void derive_position_time_out(const DerivePosition *position, Datum *value, bool *isnull);
extern void derive_position_time_in(DerivePosition *position, Datum value, bool isnull);

/*
 * Widen a 32-bit xid, taken from recent WAL, by its signed distance to the
 * next xid.  Correct for every xid within two billion of the present, in
 * either direction, so there is no race with xids assigned meanwhile.
 */
extern FullTransactionId derive_widen_xid(TransactionId xid);

#endif							/* DERIVE_POSITION_H */
