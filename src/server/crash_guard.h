/*-------------------------------------------------------------------------
 *
 * crash_guard.h
 *	  A process that crashes at its start must not take the server down for ever.
 *
 * One guard per process: enter it before what may crash, say now and then what
 * is being done, leave it when all is well.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CRASH_GUARD_H
#define DERIVE_CRASH_GUARD_H

#include "access/xlogdefs.h"
#include "server/shmem.h"

#define DERIVE_ACTIVITY_LENGTH 64

/* So many crashes in a row are enough. */
#define DERIVE_MAX_CRASHES	2

/* How the lives before this one ended. */
typedef struct DeriveCrashes
{
	int			count;			/* so many crashed, one after the other */
	int			at_view;		/* of those, the last ones, all at this view */
	Oid			view;
	int			at_lsn;			/* of those, the last ones, all while reading
								 * this place of the log */
	XLogRecPtr	lsn;
	char		activity[DERIVE_ACTIVITY_LENGTH];	/* what the last one was
													 * doing */
} DeriveCrashes;

/*
 * For the worker of a group (view InvalidOid), or the builder of a view of it.
 * Ends by itself when the process exits in any ordinary way.
 */
extern void derive_crash_guard_enter(DeriveGroupId group, Oid view, DeriveCrashes *before);

/* For messages: "crashed 2 times in a row, while .."; these are all, or those over one view.  palloc'd. */
extern char *derive_crashes_text(const DeriveCrashes *crashes, int count);

/* What is being done now, and to which view, if to one; nothing where no guard is. */
extern void derive_crash_guard_note(Oid view, const char *activity);

/* This record of the log is read now, or none (invalid); likewise.  Is each to be noted, since a life before crashed? */
extern void derive_crash_guard_note_reading(XLogRecPtr lsn);
extern bool derive_crash_guard_is_wary(void);

/* The crashes before this life, if they were over this view, count no longer: it did well, or has paid for them. */
extern void derive_crash_guard_settle(Oid view);

/* All is well. */
extern void derive_crash_guard_leave(void);

/* A person wants another try (any process); has one asked for that, since the guard was entered? */
extern void derive_crash_guard_forget(DeriveGroupId group, Oid view);
extern bool derive_crash_guard_is_forgotten(void);

#endif							/* DERIVE_CRASH_GUARD_H */
