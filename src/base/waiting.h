/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  derive_state.waiting: the views that should move and cannot.
 *
 * Table (schema derive_state, as in registry.h):
 *
 *	waiting		view oid primary key
 *				declared_at timestamptz		views.created_at of the view; the row
 *											is void if they differ
 *				position pg_snapshot		what the view contains; NULL: it must be
 *											computed anew as soon as it can be moved
 *				lsn pg_lsn					everything that committed before this is
 *											contained; NULL with position
 *				as_of timestamptz			the time of position, NULL with it
 *				since timestamptz
 *				reason text					for people
 *				relation oid, mode text		the lock that it waits for, or NULL
 *				behind_since timestamptz	about when that committed which it lacks, the
 *											oldest of it
 *
 * Only the database's worker writes this table, under no lock of the view: that
 * lock is mostly just what it cannot have.  Sessions, which change a view's row
 * in derive_state.views under a lock of the view, only read it.  So a row can
 * outlive what it is about, which declared_at and the state in derive_state.views
 * tell; the worker removes such rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WAITING_H
#define DERIVE_WAITING_H

#include "access/xlogdefs.h"
#include "base/position.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/timestamp.h"

/* What is added to a reason. */
#define DERIVE_PAST_IS_GONE " (old row versions are no longer kept for it)"

typedef struct DeriveWaitingRow
{
	Oid			view;
	TimestampTz declared_at;
	DerivePosition *position;	/* or NULL */
	XLogRecPtr	lsn;			/* InvalidXLogRecPtr without position */
	TimestampTz since;
	char	   *reason;
	Oid			relation;		/* InvalidOid: it waits for no lock */
	LOCKMODE	mode;			/* NoLock likewise */
	TimestampTz behind_since;
} DeriveWaitingRow;

/* All rows, or that of a view (NULL if there is none), in CurrentMemoryContext; with a fresh catalog snapshot. */
extern List *derive_waiting_all(void);	/* of DeriveWaitingRow * */
extern DeriveWaitingRow *derive_waiting_get(Oid view);

/* The same as an MVCC snapshot shows them. */
extern List *derive_waiting_all_at(Snapshot snapshot);
extern DeriveWaitingRow *derive_waiting_get_at(Oid view, Snapshot snapshot);

/* Worker: enter a row, in place of the view's old one, if any. */
extern void derive_waiting_set(const DeriveWaitingRow *row);

/* Worker: remove the view's row; no error if there is none. */
extern void derive_waiting_end(Oid view);

#endif							/* DERIVE_WAITING_H */
