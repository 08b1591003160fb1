/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  Everything that the processes of pg_derive share.
 *
 * Locks: one LWLock (DeriveShared.lock) guards all fields that are not atomic
 * unless the field says otherwise; it is held for moments only and never while
 * waiting.  Statistics have a lock of their own, see statistics.h.
 *
 * Exists only where the library was preloaded: derive_shared() is NULL
 * elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SHMEM_H
#define DERIVE_SHMEM_H

#include "notify/wait.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lockdefs.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#define DERIVE_MAX_REQUESTS		32	/* verify and repair calls under way in
									 * one group */
#define DERIVE_MAX_VERIFIES		(DERIVE_MAX_REQUESTS / 2)	/* those of verify,
															 * which who may read a
															 * view can call */
#define DERIVE_MAX_BUILD_SLOTS	32	/* builders, whole server */
#define DERIVE_MAX_WAITING		64	/* groups that found no place */
#define DERIVE_ERROR_LENGTH		512
#define DERIVE_PHASE_LENGTH		32
#define DERIVE_RETRY_PAUSE_MS	300000	/* a view that has failed is tried
										 * again then at the latest */
#define DERIVE_PHASE_IDENTITY	"setting replica identity"
#define DERIVE_PHASE_TRACKING	"waiting for change capture"

/*
 * Something that a session wants done: a view to be verified, by its group's
 * verifier, or to be repaired, inside a batch of its worker.
 *
 *	FREE -> PENDING (session) -> RUNNING (who does it) -> DONE or ERROR (the same) -> FREE (session)
 *
 * A session that gives up frees a place that does not run, and marks one that
 * runs as abandoned; who runs it then frees it, also when it ends itself.
 */
typedef enum DeriveRequestStatus
{
	DERIVE_REQUEST_FREE,
	DERIVE_REQUEST_PENDING,
	DERIVE_REQUEST_RUNNING,
	DERIVE_REQUEST_ABANDONED,
	DERIVE_REQUEST_DONE,
	DERIVE_REQUEST_ERROR
} DeriveRequestStatus;

typedef enum DeriveRequestKind
{
	DERIVE_REQUEST_VERIFY,
	DERIVE_REQUEST_REPAIR
} DeriveRequestKind;

typedef struct DeriveRequest
{
	DeriveRequestStatus status;
	DeriveRequestKind kind;
	uint64		number;			/* never the same again; they are served in
								 * this order */
	Oid			view;
	int			lives;			/* processes that ended while they ran it */

	/* written by who runs it, valid once DONE */
	int64		missing;
	int64		extra;

	/* written by who runs it, valid once ERROR */
	int			sqlerrcode;
	char		error[DERIVE_ERROR_LENGTH];
} DeriveRequest;

/*
 * Processes that a group has one of, beside its worker, see assistant.c.
 */
typedef enum DeriveAssistantRole
{
	DERIVE_VERIFIER,
	DERIVE_SLOW_LANE
} DeriveAssistantRole;

#define DERIVE_ASSISTANTS	(DERIVE_SLOW_LANE + 1)

typedef struct DeriveAssistant
{
	/* 0: none runs; written by it */
	pid_t		pid;
	Latch	   *latch;

	/*
	 * Starts of it that failed in a row; counted by the worker, set back by
	 * it.
	 */
	int			start_failures;

	pg_atomic_uint64 blocked_on;	/* see derive_blocked_set(); written by it */
} DeriveAssistant;

/*
 * What the process that verifies views of a group is doing, see verifier.c.
 */
typedef struct DeriveVerifier
{
	/* written by it */
	Oid			view;			/* that it verifies now, or InvalidOid */
	uint64		running;		/* the request's number, or 0 */
	TimestampTz started_at;		/* with that */
	char		phase[DERIVE_PHASE_LENGTH]; /* for people */

	/*
	 * Set by sessions that interrupt it, cleared by it when it has noticed:
	 * since when (0: not at all), and whether it shall begin again because
	 * others wait for its locks, or else because nobody wants the result.
	 */
	int64		interrupted_at; /* derive_monotonic_ms(); 0: it was not */
	bool		give_way;
} DeriveVerifier;

/*
 * What the process that computes the views in the slow lane of a group has done, see lane.c.
 */
typedef struct DeriveLane
{
	/*
	 * Its run sees no batch after this one, by DeriveGroup.batches;
	 * PG_UINT64_MAX: it has yet to decide.  Written by it.
	 */
	pg_atomic_uint64 sees;

	pg_atomic_uint64 runs;		/* so many have ended; written by it */
} DeriveLane;

/* What a worker is at; for people. */
typedef enum DeriveActivity
{
	DERIVE_STARTING,
	DERIVE_CREATING_SLOT,
	DERIVE_IDLE,
	DERIVE_LOCKING,
	DERIVE_READING,
	DERIVE_MOVING,
	DERIVE_PAUSING				/* before it tries again what has failed */
} DeriveActivity;

/*
 * Which group of which database; as one number, so that it can be read without the
 * lock.  0: none.
 */
typedef uint64 DeriveGroupId;

#define DERIVE_GROUP_ID(dboid, number)	(((uint64) (dboid) << 32) | (uint32) (number))
#define DERIVE_GROUP_DATABASE(id)		((Oid) ((id) >> 32))
#define DERIVE_GROUP_NUMBER(id)			((int) ((id) & PG_UINT32_MAX))

/*
 * A group of a database that has, or may have, maintained views; see base/groups.c.
 */
typedef struct DeriveGroup
{
	/* 0: free.  Written under the lock, read without. */
	pg_atomic_uint64 id;

	/*
	 * A worker should run: set by launcher and sessions, cleared by the
	 * worker when it finds nothing to do.
	 */
	bool		wanted;

	/*
	 * Sessions that need the database without workers (DROP DATABASE and the
	 * like); each adds and subtracts its one, for all groups of the database,
	 * so that these have the same number.
	 */
	int			holds;

	/*
	 * One of them wants the worker to read the log to its end before it
	 * leaves.
	 */
	bool		finish;

	/*
	 * Transactions that have declared a view and not ended, so that the place
	 * is kept; each adds and subtracts its one.
	 */
	int			reservations;

	/* The running worker, 0 if none; written by the worker. */
	pid_t		worker_pid;
	Latch	   *worker_latch;

	/*
	 * Which life of the worker this is, 0 until it has found views; written
	 * by the worker.  See reading.c.
	 */
	int64		epoch;

	/*
	 * The worker reads the log; else errors in a row that kept it from that,
	 * and the last one; written by the worker.
	 */
	bool		reading;
	TimestampTz reading_changed_at; /* 0: never, since the server started */
	int			slot_failures;
	int			slot_sqlerrcode;
	char		slot_error[DERIVE_ERROR_LENGTH];
	char		slot_hint[DERIVE_ERROR_LENGTH];

	/*
	 * The worker has crashed and stays away until then, 0: it does not; and
	 * why.  Written by it, see setbacks.c.
	 */
	TimestampTz away_until;
	char		away_reason[DERIVE_ERROR_LENGTH];

	/*
	 * The slot kept too much of the log and is, or will be, dropped; set by
	 * the launcher, cleared by a worker that has a new one.  See log_limit.c.
	 */
	bool		log_given_up;

	/*
	 * Since when it has been too much, as derive_monotonic_ms(); 0: it is
	 * not.  For the launcher only.
	 */
	int64		log_exceeded_at;

	/*
	 * The last worker ended of its own accord; set by it, cleared by the
	 * launcher.
	 */
	bool		left;

	/*
	 * Somebody ended it (SIGTERM), so that it says nothing that it did not do
	 * a batch; likewise.
	 */
	bool		was_told_to_end;

	/*
	 * The view that the last worker ended for, since a function of it did not
	 * stop; written by that worker, cleared by the next one.
	 */
	Oid			stubborn_view;

	/*
	 * When the hold on old row versions was last found to be where it must
	 * be, 0: not since the server started; written by the worker.
	 */
	pg_atomic_uint64 hold_moved_at;

	/*
	 * Starts of the worker that failed in a row; counted by the launcher, set
	 * back by a worker that has done a batch.
	 */
	int			start_failures;

	/* No process was left for the worker; written by the launcher. */
	bool		no_process;

	/*
	 * 1 while the worker sleeps and wants its latch set by commits, 2: only
	 * by who waits; written by the worker.
	 */
	pg_atomic_uint32 sleeping;

	/*
	 * Transactions with an xid that became visible; added to by every
	 * backend's commit.
	 */
	pg_atomic_uint64 commits;

	/* The value of "commits" before the snapshot of the worker's last batch. */
	pg_atomic_uint64 commits_applied;

	/* When that snapshot was taken (TimestampTz). */
	pg_atomic_uint64 covered_at;

	/*
	 * The slot has let go of nothing behind this, neither log nor old rows,
	 * and will not as long as that is said here, for views that are to come
	 * from other groups (moves.c); invalid: it is not said.  Written by the
	 * worker.
	 */
	pg_atomic_uint64 pinned_lsn;

	/* How many views are paused or have failed; written by the worker. */
	pg_atomic_uint32 still;

	/*
	 * About when the oldest transaction committed that the views lack
	 * (TimestampTz), if they lack one; 0: not known.  Written by the worker
	 * and by who looks, see standing.c.
	 */
	pg_atomic_uint64 behind_since;

	/*
	 * What the worker is at, and while it reads: from where, how far and up
	 * to where, and since when; the transactions from which on those are that
	 * a new slot does not wait for, and how many there were when it began.
	 * Written by it.
	 */
	pg_atomic_uint32 activity;
	pg_atomic_uint64 clock_ahead;	/* when it last set timers; see
									 * clock_step.c */
	pg_atomic_uint64 read_from;
	pg_atomic_uint64 read_lsn;
	pg_atomic_uint64 read_upto;
	pg_atomic_uint64 read_since;	/* TimestampTz */
	TransactionId slot_cutoff;
	int			slot_lockers;

	/*
	 * Its last error; error_at 0: none, or batches succeed again and no view
	 * fails.
	 */
	TimestampTz error_at;
	char		error[DERIVE_ERROR_LENGTH];

	/* What sessions wait for. */
	DeriveWaitPoint point;

	DeriveAssistant assistants[DERIVE_ASSISTANTS];

	/* What they want done; and who verifies. */
	DeriveRequest requests[DERIVE_MAX_REQUESTS];
	DeriveVerifier verifier;

	/*
	 * Batches: who wants to see what one has seen (batch_snapshot.c) counts
	 * up "asked" and waits until "answered", written by the worker, has come
	 * as far, by a batch whose snapshot was taken after that and whose
	 * position is in the catalog.  And so many have been committed; written
	 * by the worker.
	 */
	pg_atomic_uint64 asked;
	pg_atomic_uint64 answered;
	pg_atomic_uint64 batches;

	DeriveLane	lane;
} DeriveGroup;

/*
 * A view that is being built.  The worker takes and fills the slot, then
 * starts the builder, which frees it when it exits.
 */
typedef struct DeriveBuild
{
	Oid			view;			/* InvalidOid: free */
	DeriveGroupId group;
	int64		epoch;			/* of the worker that wants it */
	pid_t		pid;			/* 0 until the builder runs; written by the
								 * builder */
	TimestampTz started_at;
	char		phase[DERIVE_PHASE_LENGTH]; /* for people; written by the
											 * builder */
	TimestampTz phase_at;		/* when that began */
	bool		tracking_requested; /* the builder asks the worker to keep the
									 * changes of its sources */
	bool		tracking_ready; /* the worker does so, and has captured all
								 * that matters */
	bool		filling;		/* the view's query runs, and code of its
								 * owner; written by the builder */
	bool		resting;		/* for its share of the processor
								 * (throttle.c); written by the builder */
	pg_atomic_uint64 tuples_done;	/* written by the builder */
	pg_atomic_uint64 tuples_total;	/* estimate, 0 if unknown; written by the
									 * builder */
	pg_atomic_uint64 blocks_done;	/* likewise */
	pg_atomic_uint64 blocks_total;
	pg_atomic_uint64 blocked_on;	/* see derive_blocked_set(); written by
									 * the builder */
	ConditionVariable cv;		/* broadcast when tracking_ready is set */
} DeriveBuild;

typedef struct DeriveShared
{
	LWLock	   *lock;
	LWLock	   *stats_lock;
	Latch	   *launcher_latch; /* NULL if none; written by the launcher */

	/*
	 * Counts changes of any id below, so that backends can cache where the
	 * groups of their database are.
	 */
	pg_atomic_uint32 generation;

	/*
	 * Groups that want a worker and found no place; written by sessions,
	 * taken out by the launcher.
	 */
	DeriveGroupId waiting[DERIVE_MAX_WAITING];

	pg_atomic_uint64 last_request;	/* the highest DeriveRequest.number */

	DeriveBuild builds[DERIVE_MAX_BUILD_SLOTS];

	int			ngroups;
	DeriveGroup groups[FLEXIBLE_ARRAY_MEMBER];
} DeriveShared;

/* From _PG_init while preloading. */
extern void derive_shmem_install_hooks(void);

/* NULL where the library was not preloaded. */
extern DeriveShared *derive_shared(void);

/* The place of a group, or NULL. */
extern DeriveGroup *derive_group_find(Oid dboid, int number);

/* That of one of MyDatabaseId; few atomic reads in the usual case. */
extern DeriveGroup *derive_group_mine(int number);

/*
 * The groups of MyDatabaseId that have places, one after the other; begin with *i = 0.
 * NULL: no more.  As cheap.
 */
extern DeriveGroup *derive_group_next_mine(int *i);

/* Has the group a place, or can it have one? */
typedef enum DerivePlace
{
	DERIVE_PLACE_IS_THERE,
	DERIVE_PLACES_TAKEN,		/* pg_derive.max_databases */
	DERIVE_TOO_MANY_GROUPS		/* of its database: pg_derive.max_groups */
} DerivePlace;

extern DerivePlace derive_group_place(Oid dboid, int number);

/* How many places belong to nobody? */
extern int	derive_group_places_free(void);

/*
 * Ask for a worker; takes a place if there is none.  NULL if it can have none; then
 * the group gets one that becomes free.  Never raises ERROR.
 */
extern DeriveGroup *derive_group_want(Oid dboid, int number);

/*
 * Keep a place for the group, taken if there is none, until it is released; ask for
 * no worker.  NULL if it can have none; undecided: it may in a moment.
 */
extern DeriveGroup *derive_group_reserve(Oid dboid, int number, bool *undecided);
extern void derive_group_release(DeriveGroup *place);

/*
 * Keep our processes away from a database; finish: once its workers have read the log to
 * its end.  False if it has no group that has a place.  And let them come back.
 */
extern bool derive_groups_hold(Oid dboid, bool finish);
extern void derive_groups_release_hold(Oid dboid);

/* The database is gone: it needs no workers. */
extern void derive_groups_unwanted(Oid dboid);

/* Take a group out of those that wait for a place; 0 if there is none (launcher). */
extern DeriveGroupId derive_group_next_waiting(void);

/* Give a place back if nobody needs it (launcher). */
extern bool derive_group_free(DeriveGroup *place);
extern void derive_group_wake(DeriveGroup *place);
extern void derive_launcher_wake(void);
extern bool derive_group_has_worker(DeriveGroup *place);

/* Does the launcher run? */
extern bool derive_has_launcher(void);

/* A number for a new request; then room for it, NULL if there is none, or the place is no longer the group's. */
extern uint64 derive_request_number(void);
extern DeriveRequest *derive_request_submit(DeriveGroup *place, DeriveGroupId id, uint64 number,
											DeriveRequestKind kind, Oid view);

/* A copy of it; false if it is no longer there. */
extern bool derive_request_look(DeriveRequest *request, uint64 number, DeriveRequest *copy);

/* Session: done with it, or gives up.  Harmless if it is no longer there. */
extern void derive_request_release(DeriveGroup *place, DeriveRequest *request, uint64 number);

/* Who runs requests of this kind ends: somebody else will have to. */
extern void derive_requests_hand_back(DeriveGroup *place, DeriveRequestKind kind);

/* Does a request of this kind wait? */
extern bool derive_requests_pending(DeriveGroup *place, DeriveRequestKind kind);

extern DeriveBuild *derive_build_take(DeriveGroupId group, Oid view, int64 epoch);	/* NULL if all are taken */
extern DeriveBuild *derive_build_find(Oid dboid, Oid view);
extern void derive_build_free(DeriveBuild *build);

#endif							/* DERIVE_SHMEM_H */
