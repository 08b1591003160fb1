/*-------------------------------------------------------------------------
 *
 * statistics.h
 *	  What maintaining each view has cost, and what it waits for: for people, see
 *	  derive.stats and standing.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STATISTICS_H
#define DERIVE_STATISTICS_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

/*
 * What a view that is to be built waits for, while it has no builder; for people, see
 * standing.c.
 */
typedef enum DeriveWaitsFor
{
	DERIVE_WAITS_FOR_NOTHING,
	DERIVE_WAITS_FOR_LOCK,
	DERIVE_WAITS_FOR_IDENTITY,	/* and the lock that setting it needs */
	DERIVE_WAITS_FOR_VIEW,		/* that it reads */
	DERIVE_WAITS_FOR_TURN,
	DERIVE_WAITS_FOR_PLACE,
	DERIVE_WAITS_FOR_PROCESS,
	DERIVE_WAITS_FOR_BATCH,		/* to take the place of another view; likewise
								 * below */
	DERIVE_WAITS_FOR_LANE,
	DERIVE_WAITS_FOR_RETRY		/* after an error that says nothing of it */
} DeriveWaitsFor;

typedef struct DeriveStatsKey
{
	Oid			dboid;
	Oid			view;
} DeriveStatsKey;

/* Of one view, since reset_at. */
typedef struct DeriveCounters
{
	int64		batches;
	int64		changes_in;
	int64		inserted;
	int64		updated;
	int64		deleted;
	double		delta_ms;		/* its share in decoding and collecting: that
								 * of each batch it took part in */
	double		apply_ms;		/* deriving and changing its table */
	double		last_batch_ms;
	TimestampTz last_batch_at;
	TimestampTz reset_at;
} DeriveCounters;

/*
 * Entries come and go under stats_lock in exclusive mode; all of it is written by the
 * worker, what the view waits for by its builder, too, and read by anyone, under
 * stats_lock in shared mode and the entry's mutex.
 */
typedef struct DeriveStats
{
	DeriveStatsKey key;
	slock_t		mutex;
	DeriveCounters counters;
	DeriveWaitsFor waits_for;	/* its build, while it has no builder */
	Oid			waits_relation; /* InvalidOid if that is about none */
	LOCKMODE	waits_mode;		/* of the lock on it, or NoLock */
	TimestampTz waits_since;	/* since it has no builder */
	TimestampTz next_try_at;	/* if it has failed and is tried again; else 0 */
	TimestampTz came_back_at;	/* when it was last with the others again; 0:
								 * not known */
} DeriveStats;

/*
 * When shared memory is made (shmem.c): its size, and making it.  first: by the server's
 * first process, which reads what the last server has left, and writes it when it stops.
 */
extern Size derive_stats_shared_size(void);
extern void derive_stats_init_shared(bool first);

/* Add a batch's work (but for reset_at); makes the entry if there is room. */
extern void derive_stats_add(Oid view, const DeriveCounters *add);

/* Begin to count anew. */
extern void derive_stats_reset(Oid view);

/* What the view's build waits for, and on which relation (or InvalidOid) in which mode (or NoLock). */
extern void derive_stats_set_waits(Oid view, DeriveWaitsFor what, Oid relation, LOCKMODE mode);

/* When it is tried again, 0: not at all; and that it is with the others again. */
extern void derive_stats_set_next_try(Oid view, TimestampTz at);
extern void derive_stats_came_back(Oid view);

/* Copy what is known of a view of this database; false if there is nothing. */
extern bool derive_stats_get(Oid view, DeriveStats *result);
extern void derive_stats_forget(Oid view);
extern void derive_stats_forget_database(Oid dboid);

/*
 * What there are entries of, as a List of Oid: databases, or views of this database.  For who
 * knows which of them are gone.
 */
extern List *derive_stats_databases(void);
extern List *derive_stats_views(void);

#endif							/* DERIVE_STATISTICS_H */
