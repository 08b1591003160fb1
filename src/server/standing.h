/*-------------------------------------------------------------------------
 *
 * standing.h
 *	  Where a view stands, what it waits for, and how far behind it is: the one
 *	  answer that derive.views, derive.progress and derive.wait() give.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STANDING_H
#define DERIVE_STANDING_H

#include "base/registry.h"
#include "nodes/pg_list.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

/* What something waits for. */
typedef struct DeriveReason
{
	const char *text;			/* completes "waiting for"; NULL: it does not
								 * wait */
	const char *in_general;		/* the same for those who may not see names of
								 * relations and messages */
	List	   *blockers;		/* whose end it waits for: pids, as integers */
	int			lockers;		/* how many there were when it began, if known */
} DeriveReason;

typedef struct DeriveStanding
{
	DeriveViewRow *row;
	const char *state;			/* as in derive.views */
	DeriveReason reason;
	Oid			lacking;		/* it is where it should be, but this view,
								 * which it reads, stands still */
	TimestampTz since;			/* when the state began */
	bool		lag_known;		/* not while it is filled for the first time,
								 * nor on a standby */
	TimestampTz behind_since;	/* the oldest commit that it lacks is not
								 * older; 0: it lacks none */

	/* while a process builds it; pid 0: none does */
	int			pid;
	const char *phase;
	TimestampTz started_at;
	TimestampTz phase_at;
	uint64		tuples_done;
	uint64		tuples_total;	/* 0: not known, likewise below */
	uint64		blocks_done;
	uint64		blocks_total;

	/*
	 * while it waits for the worker to read the log, which began at phase_at:
	 * bytes
	 */
	uint64		log_done;
	uint64		log_total;
} DeriveStanding;

/*
 * All views of this database (List of DeriveStanding *), as the snapshot shows our
 * catalog (NULL: as it is now), in CurrentMemoryContext.
 */
extern List *derive_standings(Snapshot snapshot);

/* What a view waits for, as the current user may see it; NULL: nothing, or it is not maintained. */
extern const char *derive_waits_for(Oid view);

/* That of a standing, if the user may see it. */
extern const char *derive_reason_text(const DeriveStanding *standing);

/* The worker of a group of this database, for people. */
typedef struct DeriveService
{
	int			group;			/* its number */
	int			pid;			/* 0: none */
	const char *state;			/* as in derive.worker */
	const char *activity;
	XLogRecPtr	lsn;			/* of all views that follow; or invalid */
	bool		current;		/* they lack nothing */
	TimestampTz error_at;		/* of its last error; 0: none */
	const char *error;
} DeriveService;

/* One for each group that has views, or is to get some: List of DeriveService *, in CurrentMemoryContext.  None on a standby. */
extern List *derive_services(void);

#endif							/* DERIVE_STANDING_H */
