/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Everything that the processes of pg_derive share: making it, and the
 *	  small operations on it.
 *
 * The header documents each field.  Nothing here survives a restart of the
 * server, and nothing has to: what must is in the tables of derive_state.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/transam.h"
#include "base/elapsed.h"
#include "base/gucs.h"
#include "miscadmin.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define TRANCHE_NAME "pg_derive"

static DeriveShared *shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void request_shared_memory(void);
static void startup_shared_memory(void);
static Size shared_size(void);
static void wait_for_place(DeriveGroupId id);
static void init_requests(DeriveGroup *place);
static void init_standing(DeriveGroup *place);


/* ----------------------------------------------------------------
 *		Making it
 * ----------------------------------------------------------------
 */

void
derive_shmem_install_hooks(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared_memory;
}

static Size
shared_size(void)
{
	return add_size(offsetof(DeriveShared, groups),
					mul_size(derive_max_databases, sizeof(DeriveGroup)));
}

static void
request_shared_memory(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	RequestAddinShmemSpace(MAXALIGN(shared_size()));
	RequestAddinShmemSpace(derive_stats_shared_size());
	RequestNamedLWLockTranche(TRANCHE_NAME, 2);
}

static void
startup_shared_memory(void)
{
	bool		found;
	int			i;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);

	shared = ShmemInitStruct("pg_derive", shared_size(), &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE_NAME);

		memset(shared, 0, shared_size());
		shared->lock = &locks[0].lock;
		shared->stats_lock = &locks[1].lock;
		pg_atomic_init_u32(&shared->generation, 1);
		pg_atomic_init_u64(&shared->last_request, 0);
		for (i = 0; i < DERIVE_MAX_BUILD_SLOTS; i++)
		{
			pg_atomic_init_u64(&shared->builds[i].tuples_done, 0);
			pg_atomic_init_u64(&shared->builds[i].tuples_total, 0);
			pg_atomic_init_u64(&shared->builds[i].blocks_done, 0);
			pg_atomic_init_u64(&shared->builds[i].blocks_total, 0);
			pg_atomic_init_u64(&shared->builds[i].blocked_on, 0);
			ConditionVariableInit(&shared->builds[i].cv);
		}
		shared->ngroups = derive_max_databases;
		for (i = 0; i < shared->ngroups; i++)
		{
			DeriveGroup *place = &shared->groups[i];

			pg_atomic_init_u64(&place->id, 0);
			pg_atomic_init_u32(&place->sleeping, 0);
			pg_atomic_init_u64(&place->hold_moved_at, 0);
			pg_atomic_init_u64(&place->commits, 0);
			pg_atomic_init_u64(&place->commits_applied, 0);
			pg_atomic_init_u64(&place->covered_at, 0);
			pg_atomic_init_u64(&place->pinned_lsn, InvalidXLogRecPtr);
			pg_atomic_init_u32(&place->still, 0);
			init_standing(place);
			derive_wait_point_init(&place->point);
			init_requests(place);
		}
	}

	derive_stats_init_shared(!found);

	LWLockRelease(AddinShmemInitLock);
}

/* In a place that belongs to nobody, or to a new group. */
static void
init_requests(DeriveGroup *place)
{
	memset(place->requests, 0, sizeof(place->requests));
	memset(place->assistants, 0, sizeof(place->assistants));
	for (int i = 0; i < DERIVE_ASSISTANTS; i++)
		pg_atomic_init_u64(&place->assistants[i].blocked_on, 0);
	memset(&place->verifier, 0, sizeof(place->verifier));
	pg_atomic_init_u64(&place->asked, 0);
	pg_atomic_init_u64(&place->answered, 0);
	pg_atomic_init_u64(&place->batches, 0);
	memset(&place->lane, 0, sizeof(place->lane));
	pg_atomic_init_u64(&place->lane.sees, 0);
	pg_atomic_init_u64(&place->lane.runs, 0);
}

/* What is only to be seen by people, likewise. */
static void
init_standing(DeriveGroup *place)
{
	place->reading_changed_at = 0;
	pg_atomic_init_u64(&place->behind_since, 0);
	pg_atomic_init_u32(&place->activity, DERIVE_STARTING);
	pg_atomic_init_u64(&place->clock_ahead, 0);
	pg_atomic_init_u64(&place->read_from, InvalidXLogRecPtr);
	pg_atomic_init_u64(&place->read_lsn, InvalidXLogRecPtr);
	pg_atomic_init_u64(&place->read_upto, InvalidXLogRecPtr);
	pg_atomic_init_u64(&place->read_since, 0);
	place->slot_cutoff = InvalidTransactionId;
	place->slot_lockers = 0;
	place->error_at = 0;
}

DeriveShared *
derive_shared(void)
{
	return shared;
}


/* ----------------------------------------------------------------
 *		Groups
 * ----------------------------------------------------------------
 */

/* A database has more groups than these in no sane system; then all places are looked at. */
#define MAX_CACHED	16

static DeriveGroup *
find_place(DeriveGroupId id)
{
	int			i;

	if (shared == NULL)
		return NULL;
	for (i = 0; i < shared->ngroups; i++)
	{
		if (pg_atomic_read_u64(&shared->groups[i].id) == id)
			return &shared->groups[i];
	}
	return NULL;
}

DeriveGroup *
derive_group_find(Oid dboid, int number)
{
	return find_place(DERIVE_GROUP_ID(dboid, number));
}

static bool
is_of_database(const DeriveGroup *place, Oid dboid)
{
	return DERIVE_GROUP_DATABASE(pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &place->id))) == dboid;
}

int
derive_group_places_free(void)
{
	int			result = 0;

	for (int i = 0; i < shared->ngroups; i++)
	{
		if (pg_atomic_read_u64(&shared->groups[i].id) == 0)
			result++;
	}
	return result;
}

DeriveGroup *
derive_group_next_mine(int *i)
{
	static uint32 cached_generation = 0;
	static int	cached[MAX_CACHED];
	static int	ncached = 0;	/* may be more than that */
	uint32		generation;

	if (shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	generation = pg_atomic_read_u32(&shared->generation);
	if (generation != cached_generation)
	{
		ncached = 0;
		for (int j = 0; j < shared->ngroups; j++)
		{
			if (!is_of_database(&shared->groups[j], MyDatabaseId))
				continue;
			if (ncached < MAX_CACHED)
				cached[ncached] = j;
			ncached++;
		}
		cached_generation = generation;
	}
	if (ncached <= MAX_CACHED)
		return *i < ncached ? &shared->groups[cached[(*i)++]] : NULL;
	while (*i < shared->ngroups)
	{
		DeriveGroup *place = &shared->groups[(*i)++];

		if (is_of_database(place, MyDatabaseId))
			return place;
	}
	return NULL;
}

DeriveGroup *
derive_group_mine(int number)
{
	DeriveGroupId id = DERIVE_GROUP_ID(MyDatabaseId, number);
	DeriveGroup *place;
	int			i = 0;

	while ((place = derive_group_next_mine(&i)) != NULL && pg_atomic_read_u64(&place->id) != id)
		;
	return place;
}

/* Under the lock. */
static bool
has_assistants(DeriveGroup *place)
{
	for (int i = 0; i < DERIVE_ASSISTANTS; i++)
	{
		if (place->assistants[i].pid != 0)
			return true;
	}
	return false;
}

/*
 * Under the lock.  Sessions may still look at the place, but only for what is atomic or
 * under the lock, and they check the id again.
 */
static bool
is_unused(DeriveGroup *place)
{
	return !place->wanted && place->holds == 0 && place->reservations == 0 && place->worker_pid == 0 && !has_assistants(place);
}

/* Under the lock: so many sessions need the database without our processes. */
static int
holds_of(Oid dboid)
{
	for (int i = 0; i < shared->ngroups; i++)
	{
		if (is_of_database(&shared->groups[i], dboid))
			return shared->groups[i].holds;
	}
	return 0;
}

/* Under the lock: the place of the group, or one that it can have; or NULL, and why. */
static DeriveGroup *
look_for_place(DeriveGroupId id, DerivePlace *what)
{
	DeriveGroup *place = find_place(id);
	int			ngroups = 0;

	for (int i = 0; i < shared->ngroups && place == NULL; i++)
	{
		if (is_of_database(&shared->groups[i], DERIVE_GROUP_DATABASE(id)) && !is_unused(&shared->groups[i]))
			ngroups++;
	}
	*what = DERIVE_TOO_MANY_GROUPS;
	if (ngroups >= derive_max_groups)
		return NULL;
	if (place == NULL)
		place = find_place(0);
	for (int i = 0; i < shared->ngroups && place == NULL; i++)
	{
		if (is_unused(&shared->groups[i]))
			place = &shared->groups[i]; /* the launcher would free it */
	}
	*what = place != NULL ? DERIVE_PLACE_IS_THERE : DERIVE_PLACES_TAKEN;
	return place;
}

DerivePlace
derive_group_place(Oid dboid, int number)
{
	DerivePlace result;

	LWLockAcquire(shared->lock, LW_SHARED);
	(void) look_for_place(DERIVE_GROUP_ID(dboid, number), &result);
	LWLockRelease(shared->lock);
	return result;
}

/* Under the lock: that place, made its own; or NULL, and why. */
static DeriveGroup *
take_place(DeriveGroupId id, DerivePlace *what)
{
	DeriveGroup *place = look_for_place(id, what);

	if (place == NULL || pg_atomic_read_u64(&place->id) == id)
		return place;

	place->wanted = false;
	place->holds = holds_of(DERIVE_GROUP_DATABASE(id));
	place->reservations = 0;
	place->finish = false;
	place->worker_pid = 0;
	place->worker_latch = NULL;
	place->epoch = 0;
	place->log_given_up = false;
	place->log_exceeded_at = 0;
	place->left = place->was_told_to_end = false;
	place->start_failures = 0;
	place->no_process = false;
	pg_atomic_write_u32(&place->sleeping, 0);
	pg_atomic_write_u64(&place->hold_moved_at, 0);
	pg_atomic_write_u64(&place->commits, 0);
	pg_atomic_write_u64(&place->commits_applied, 0);
	pg_atomic_write_u64(&place->covered_at, 0);
	pg_atomic_write_u64(&place->pinned_lsn, InvalidXLogRecPtr);
	pg_atomic_write_u32(&place->still, 0);
	init_standing(place);
	derive_wait_point_init(&place->point);
	init_requests(place);
	pg_atomic_write_u64(&place->id, id);
	pg_atomic_fetch_add_u32(&shared->generation, 1);
	return place;
}

DeriveGroup *
derive_group_want(Oid dboid, int number)
{
	DeriveGroup *place;
	DerivePlace what;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	place = take_place(DERIVE_GROUP_ID(dboid, number), &what);
	if (place != NULL)
		place->wanted = true;
	else
		wait_for_place(DERIVE_GROUP_ID(dboid, number));
	LWLockRelease(shared->lock);

	if (place != NULL)
		derive_group_wake(place);
	derive_launcher_wake();
	return place;
}

DeriveGroup *
derive_group_reserve(Oid dboid, int number, bool *undecided)
{
	DeriveGroup *place;
	DerivePlace what;

	*undecided = false;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	place = take_place(DERIVE_GROUP_ID(dboid, number), &what);
	if (place != NULL)
		place->reservations++;
	for (int i = 0; i < shared->ngroups && place == NULL; i++)
	{
		DeriveGroup *other = &shared->groups[i];

		if (what == DERIVE_TOO_MANY_GROUPS && !is_of_database(other, dboid))
			continue;
		/* it is leaving, or has yet to find out whether there are views */
		if (other->reservations == 0 && other->holds == 0 &&
			(!other->wanted || (other->epoch == 0 && other->start_failures == 0)))
			*undecided = true;
	}
	LWLockRelease(shared->lock);
	return place;
}

void
derive_group_release(DeriveGroup *place)
{
	bool		unused;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	Assert(place->reservations > 0);
	place->reservations--;
	unused = is_unused(place);
	LWLockRelease(shared->lock);
	if (unused)
		derive_launcher_wake();
}

bool
derive_groups_hold(Oid dboid, bool finish)
{
	bool		any = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->ngroups; i++)
	{
		DeriveGroup *place = &shared->groups[i];

		if (!is_of_database(place, dboid))
			continue;
		place->holds++;
		place->finish |= finish;
		any = true;
	}
	LWLockRelease(shared->lock);
	return any;
}

void
derive_groups_release_hold(Oid dboid)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->ngroups; i++)
	{
		DeriveGroup *place = &shared->groups[i];

		if (!is_of_database(place, dboid))
			continue;
		Assert(place->holds > 0);
		if (--place->holds == 0)
			place->finish = false;
	}
	LWLockRelease(shared->lock);
	derive_launcher_wake();
}

void
derive_groups_unwanted(Oid dboid)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->ngroups; i++)
	{
		if (is_of_database(&shared->groups[i], dboid))
			shared->groups[i].wanted = false;
	}
	LWLockRelease(shared->lock);
}

/* Under the lock.  Where even this is full, a restart of the server finds the group. */
static void
wait_for_place(DeriveGroupId id)
{
	int			i;

	for (i = 0; i < DERIVE_MAX_WAITING && shared->waiting[i] != 0; i++)
	{
		if (shared->waiting[i] == id)
			return;
	}
	if (i < DERIVE_MAX_WAITING)
		shared->waiting[i] = id;
}

DeriveGroupId
derive_group_next_waiting(void)
{
	DeriveGroupId result;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	result = shared->waiting[0];
	memmove(&shared->waiting[0], &shared->waiting[1], sizeof(DeriveGroupId) * (DERIVE_MAX_WAITING - 1));
	shared->waiting[DERIVE_MAX_WAITING - 1] = 0;
	LWLockRelease(shared->lock);
	return result;
}

bool
derive_group_free(DeriveGroup *place)
{
	bool		result = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (is_unused(place))
	{
		pg_atomic_write_u64(&place->id, 0);
		pg_atomic_fetch_add_u32(&shared->generation, 1);
		result = true;
	}
	LWLockRelease(shared->lock);
	return result;
}

void
derive_group_wake(DeriveGroup *place)
{
	Latch	   *latch;

	LWLockAcquire(shared->lock, LW_SHARED);
	latch = place->worker_latch;
	LWLockRelease(shared->lock);
	if (latch)
		SetLatch(latch);
}

void
derive_launcher_wake(void)
{
	Latch	   *latch;

	LWLockAcquire(shared->lock, LW_SHARED);
	latch = shared->launcher_latch;
	LWLockRelease(shared->lock);
	if (latch)
		SetLatch(latch);
}

bool
derive_group_has_worker(DeriveGroup *place)
{
	bool		result;

	LWLockAcquire(shared->lock, LW_SHARED);
	result = (place->worker_pid != 0);
	LWLockRelease(shared->lock);
	return result;
}


bool
derive_has_launcher(void)
{
	bool		result;

	LWLockAcquire(shared->lock, LW_SHARED);
	result = (shared->launcher_latch != NULL);
	LWLockRelease(shared->lock);
	return result;
}


/* ----------------------------------------------------------------
 *		Requests
 * ----------------------------------------------------------------
 */

uint64
derive_request_number(void)
{
	return pg_atomic_add_fetch_u64(&shared->last_request, 1);
}

DeriveRequest *
derive_request_submit(DeriveGroup *place, DeriveGroupId id, uint64 number, DeriveRequestKind kind, Oid view)
{
	DeriveRequest *result = NULL;
	int			verifies = 0;
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &place->requests[i];

		if (request->status == DERIVE_REQUEST_FREE)
			result = request;
		else if (request->kind == DERIVE_REQUEST_VERIFY)
			verifies++;
	}
	if (pg_atomic_read_u64(&place->id) != id ||
		(kind == DERIVE_REQUEST_VERIFY && verifies >= DERIVE_MAX_VERIFIES))
		result = NULL;
	if (result != NULL)
	{
		memset(result, 0, sizeof(*result));
		result->status = DERIVE_REQUEST_PENDING;
		result->kind = kind;
		result->number = number;
		result->view = view;
		if (kind == DERIVE_REQUEST_VERIFY && place->assistants[DERIVE_VERIFIER].pid != 0)
			SetLatch(place->assistants[DERIVE_VERIFIER].latch);
	}
	LWLockRelease(shared->lock);

	if (result != NULL)
		derive_group_wake(place);
	return result;
}

bool
derive_request_look(DeriveRequest *request, uint64 number, DeriveRequest *copy)
{
	LWLockAcquire(shared->lock, LW_SHARED);
	*copy = *request;
	LWLockRelease(shared->lock);
	return copy->status != DERIVE_REQUEST_FREE && copy->number == number;
}

/*
 * The verifier is told, by the signal that cancels queries, under the lock:
 * there it also says that it is done with a request.
 */
void
derive_request_release(DeriveGroup *place, DeriveRequest *request, uint64 number)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (request->number != number)
		;						/* the place is another group's by now */
	else if (request->status != DERIVE_REQUEST_RUNNING)
		request->status = DERIVE_REQUEST_FREE;
	else
	{
		request->status = DERIVE_REQUEST_ABANDONED;
		if (request->kind == DERIVE_REQUEST_VERIFY && place->assistants[DERIVE_VERIFIER].pid != 0)
		{
			place->verifier.interrupted_at = derive_monotonic_ms();
			kill(place->assistants[DERIVE_VERIFIER].pid, SIGINT);
		}
	}
	LWLockRelease(shared->lock);

	/* Somebody may wait for the place. */
	ConditionVariableBroadcast(&place->point.cv);
}

void
derive_requests_hand_back(DeriveGroup *place, DeriveRequestKind kind)
{
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < DERIVE_MAX_REQUESTS; i++)
	{
		DeriveRequest *request = &place->requests[i];

		if (request->kind != kind)
			continue;
		if (request->status == DERIVE_REQUEST_ABANDONED)
			request->status = DERIVE_REQUEST_FREE;
		else if (request->status == DERIVE_REQUEST_RUNNING)
		{
			request->status = DERIVE_REQUEST_PENDING;
			request->lives++;
		}
	}
	LWLockRelease(shared->lock);
}

bool
derive_requests_pending(DeriveGroup *place, DeriveRequestKind kind)
{
	bool		result = false;
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_REQUESTS && !result; i++)
		result = place->requests[i].status == DERIVE_REQUEST_PENDING && place->requests[i].kind == kind;
	LWLockRelease(shared->lock);
	return result;
}


/* ----------------------------------------------------------------
 *		Builds
 * ----------------------------------------------------------------
 */

DeriveBuild *
derive_build_take(DeriveGroupId group, Oid view, int64 epoch)
{
	DeriveBuild *result = NULL;
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < DERIVE_MAX_BUILD_SLOTS && result == NULL; i++)
	{
		DeriveBuild *build = &shared->builds[i];

		if (OidIsValid(build->view))
			continue;
		build->view = view;
		build->group = group;
		build->epoch = epoch;
		build->pid = 0;
		build->started_at = build->phase_at = GetCurrentTimestamp();
		strlcpy(build->phase, "starting", DERIVE_PHASE_LENGTH);
		build->tracking_requested = false;
		build->tracking_ready = false;
		build->filling = build->resting = false;
		pg_atomic_write_u64(&build->tuples_done, 0);
		pg_atomic_write_u64(&build->tuples_total, 0);
		pg_atomic_write_u64(&build->blocks_done, 0);
		pg_atomic_write_u64(&build->blocks_total, 0);
		pg_atomic_write_u64(&build->blocked_on, 0);
		result = build;
	}
	LWLockRelease(shared->lock);
	return result;
}

DeriveBuild *
derive_build_find(Oid dboid, Oid view)
{
	DeriveBuild *result = NULL;
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < DERIVE_MAX_BUILD_SLOTS && result == NULL; i++)
	{
		if (shared->builds[i].view == view && DERIVE_GROUP_DATABASE(shared->builds[i].group) == dboid)
			result = &shared->builds[i];
	}
	LWLockRelease(shared->lock);
	return result;
}

void
derive_build_free(DeriveBuild *build)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	build->view = InvalidOid;
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&build->cv);
}
