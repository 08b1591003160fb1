/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  derive_state.lane and derive_state.stale: the views in the slow lane, and
 *	  which of them have something to catch up with.
 *
 * Tables (schema derive_state, as in registry.h):
 *
 *	lane		view oid primary key
 *				declared_at timestamptz		views.created_at of the view; the row
 *											is void if they differ
 *				position pg_snapshot		what the view contains; NULL: it is to be
 *											filled
 *				lsn pg_lsn					everything that committed before this is
 *											contained; NULL: not known
 *				at timestamptz				when that was; likewise
 *				duration float8				ms that its last run took; NULL: none yet
 *				whole float8				how much of that was for what has no
 *											incremental operator
 *				as_of timestamptz			the time of position
 *				error text, error_at timestamptz	why it could not be computed, the
 *											last time; then it has not moved
 *				behind_since timestamptz	with error: about when that committed which
 *											it lacks, the oldest of it
 *	stale		view oid					a batch has found changes of something that
 *											the view reads
 *				kind "char"					DeriveStaleKind
 *				behind_since timestamptz	about when the oldest of these committed
 *
 * Who is in the lane, the worker decides: it inserts and deletes rows of "lane" under
 * a lock of the view which excludes a run of the lane; a run updates them.  Rows of
 * "stale" are inserted by the worker's batches and deleted by runs, so that nobody
 * ever changes a row that somebody else may change at the same time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LANE_H
#define DERIVE_LANE_H

#include "access/xlogdefs.h"
#include "base/position.h"
#include "base/registry.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

typedef struct DeriveLaneRow
{
	Oid			view;
	TimestampTz declared_at;
	DerivePosition *position;	/* or NULL */
	XLogRecPtr	lsn;			/* or InvalidXLogRecPtr */
	TimestampTz at;				/* 0: not known */
	double		duration;		/* in ms; below 0: none yet */
	double		whole;			/* likewise */
	char	   *error;			/* or NULL */
	TimestampTz error_at;		/* 0 without error */
	TimestampTz behind_since;	/* likewise */
} DeriveLaneRow;

/*
 * All rows of lane, or that of a view (NULL if there is none), in
 * CurrentMemoryContext.  snapshot NULL: with a fresh catalog snapshot.
 */
extern List *derive_lane_all(Snapshot snapshot);	/* of DeriveLaneRow * */
extern DeriveLaneRow *derive_lane_get(Oid view, Snapshot snapshot);

/* That of a view whose row in derive_state.views is known; NULL if it is not in the lane. */
extern DeriveLaneRow *derive_lane_of(const DeriveViewRow *row, Snapshot snapshot);

/* Enter a row, in place of the view's old one, if any. */
extern void derive_lane_set(const DeriveLaneRow *row);

/* The view leaves the lane; no error if it is not there. */
extern void derive_lane_end(Oid view);

typedef enum DeriveStaleKind
{
	DERIVE_STALE_CHANGED = 'c',
	DERIVE_STALE_FOLLOWS = 'f', /* a view in the lane that it reads is stale,
								 * and that is all */
	DERIVE_STALE_RESTART = 'r'	/* and its journal must begin anew */
} DeriveStaleKind;

/* The rows of stale for one view. */
typedef struct DeriveStale
{
	Oid			view;
	bool		changed;		/* there are others than those that follow */
	bool		restart;
	TimestampTz behind_since;	/* the earliest */
} DeriveStale;

extern List *derive_stale_all(Snapshot snapshot);	/* of DeriveStale *, one
													 * for each view */
extern DeriveStale *derive_stale_get(Oid view, Snapshot snapshot);	/* NULL if there is none */
extern void derive_stale_add(Oid view, DeriveStaleKind kind, TimestampTz behind_since);

/* Delete those of a view that the snapshot shows. */
extern void derive_stale_end(Oid view, Snapshot snapshot);

/*
 * Where a view that is ready stands, by our catalog: at a position of its own, or
 * where all do.  In CurrentMemoryContext.
 */
extern DerivePosition *derive_position_of_view(const DeriveViewRow *row);

/* From now on it stands still: the row, to be written, says where, and since when it lacks something. */
extern void derive_stand_still(DeriveViewRow *row);

#endif							/* DERIVE_LANE_H */
