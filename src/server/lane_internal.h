/*-------------------------------------------------------------------------
 *
 * lane_internal.h
 *	  What the parts of the slow lane share; for them only.
 *
 *	lane.c			the process and its loop
 *	lane_pace.c		which views are to be computed, and when
 *	lane_run.c		a run: one group, from its locks to its commit
 *	lane_compute.c	one view in a run
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LANE_INTERNAL_H
#define DERIVE_LANE_INTERNAL_H

#include "base/lane.h"
#include "base/position.h"
#include "base/registry.h"
#include "materialize/program.h"
#include "notify/journal.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "storage/lockdefs.h"

/* Longest pause before a run begins again, or before we look again, in ms. */
#define LAST_PAUSE_MS		1000

/* A group of which a view is to be computed. */
typedef struct LaneGroup
{
	List	   *views;			/* of Oid */
	TimestampTz due;			/* not before */
} LaneGroup;

/* A view in a run. */
typedef struct LaneView
{
	Oid			relid;
	DeriveViewRow *row;
	DeriveLaneRow *lane;		/* as S+ shows it */
	DeriveProgram *program;
	List	   *reads;
	List	   *writes;			/* without the view itself */
	uint64		digest;			/* of its sources, before V */
	DeriveStale *stale;			/* as S+ shows it; or NULL */
	DeriveJournal *journal;		/* or NULL */

	bool		announces;		/* subscribers are to be told of changes */
	bool		moved;			/* its contents may be others now */
	bool		replaced;		/* and nobody knows by which changes */
	bool		rebuild;		/* what is stored of it is damaged */
	const char *error;			/* why it could not be computed; or NULL */
	int			sqlerrcode;
	const char *context;		/* of that error; or NULL */
	DeriveCounters stats;
} LaneView;

/* A run. */
typedef struct LaneRun
{
	List	   *views;			/* of LaneView *, in the order in which they
								 * read each other */
	Oid			busy;			/* what could not be locked; or InvalidOid */
	LOCKMODE	busy_mode;
	DerivePosition *position;	/* S */
	XLogRecPtr	lsn;
	TimestampTz at;				/* S was taken after this */
	DeriveBatch *batch;
	double		duration;		/* in ms; below 0: it came to nothing */
} LaneRun;

/* lane.c */

extern MemoryContext derive_lane_cxt;	/* life of the process */

/* In PG_CATCH: end what was under way, say why, and be in this context again. */
extern void derive_lane_handle_error(MemoryContext context);

/* Subscribers of the view are to be notified of what is committed. */
extern void derive_lane_announce(Oid view);

/* lane_pace.c */

/*
 * The groups of which a view is to be computed, that which is due first at the head.
 * In CurrentMemoryContext, in a transaction of its own.  *any_error: some view could
 * not be computed, and waits for another try.
 */
extern List *derive_lane_wanted_groups(bool *any_error);

/* After a run over these views (List of Oid); duration, in ms, below 0: an attempt that came to nothing. */
extern void derive_lane_note_end(List *views, double duration);

/* lane_run.c */

/* Compute what is to be computed of a group; what cannot be, as its locks are not free, is tried again later. */
extern void derive_lane_run(const LaneGroup *group);

/* The view of the run with this OID, or NULL. */
extern LaneView *derive_lane_find_view(LaneRun *run, Oid relid);

/* lane_compute.c */

/* Step 6 for one view, whose sources in the run have been: in a subtransaction.  Sets what it has come to. */
extern void derive_lane_compute(LaneRun *run, LaneView *view);

#endif							/* DERIVE_LANE_INTERNAL_H */
