/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Keeping old row versions: the xmin of the replication slot.
 *
 * For the process that has acquired the slot (capture/decoder.h), unless said
 * otherwise.  While the slot holds an xmin, no row version is removed, anywhere in the
 * cluster, that a snapshot with this xmin or a later one sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HOLD_H
#define DERIVE_HOLD_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* A limit in transactions must be looked at that often. */
#define DERIVE_HOLD_LOOK_MS 60000

/*
 * For how many ms at least something may still be held that is so many transactions old
 * and is held since then: at most DERIVE_HOLD_LOOK_MS, then ask again; 0: it is beyond
 * pg_derive.max_hold or pg_derive.max_hold_age.  For any process.
 */
extern long derive_hold_remaining(int64 age, TimestampTz since);

/*
 * Tell, at level WARNING, that nothing is held any more for these views ("group .. of
 * database ..").  detail: why, a sentence.  For any process.
 */
extern void derive_hold_report_end(const char *whose, const char *detail);

/* What is held now; InvalidTransactionId: nothing. */
extern TransactionId derive_hold_xmin(void);

/*
 * Begin to hold an xmin, until the process releases the slot; from the first
 * derive_hold_move() on, across restarts as well.  The caller has a live snapshot
 * with this xmin until the end of its transaction, and calls derive_hold_confirm()
 * before that.
 */
extern void derive_hold_begin(TransactionId xmin);
extern void derive_hold_confirm(void);

/*
 * Hold only from here on.  Whoever needs this xmin is on disk: see hold.c; the first
 * time, who needs the one that the hold began with.  Never moves back.  file_first:
 * there may be somebody on disk who would need what is let go.
 */
extern void derive_hold_move(TransactionId xmin, bool file_first);

/* Hold nothing, also on disk. */
extern void derive_hold_end(void);

/*
 * For a process without a slot: slots of our plugin that nobody has acquired, of all
 * databases, in CurrentMemoryContext; and let go what one of them holds.  ERROR
 * (object_in_use) if somebody has acquired it since.
 */
typedef struct DeriveUnattendedHold
{
	NameData	slot;
	Oid			dboid;
	TransactionId xmin;			/* invalid: it holds nothing */
	bool		synced;			/* it is a copy of a primary's slot */
} DeriveUnattendedHold;

extern List *derive_hold_unattended(void);	/* of DeriveUnattendedHold * */
extern void derive_hold_end_unattended(const char *slot);

#endif							/* DERIVE_HOLD_H */
