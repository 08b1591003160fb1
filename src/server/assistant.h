/*-------------------------------------------------------------------------
 *
 * assistant.h
 *	  What the verifier and the slow lane have in common: processes that a database has one of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ASSISTANT_H
#define DERIVE_ASSISTANT_H

#include "server/shmem.h"


/* ----------------------------------------------------------------
 *		For the worker
 * ----------------------------------------------------------------
 */

/*
 * There is something to do: start the process if none runs.  Call it again and again
 * while there is; it looks at the time by itself.
 */
extern void derive_assistant_tend(DeriveAssistantRole role, DeriveGroup *place);


/* ----------------------------------------------------------------
 *		For the process itself
 * ----------------------------------------------------------------
 */

/* This process, and the group that it is for; set by derive_assistant_begin(). */
extern DeriveAssistant *derive_assistant_self;
extern DeriveGroup *derive_assistant_group;
extern int	derive_assistant_number(void);

/*
 * What the program of a view was made for may have changed since this was set to false:
 * some relation was invalidated.
 */
extern volatile bool derive_assistant_changed;

/*
 * Take the group's place for a process of this role, which is given back at exit,
 * and connect.  Exits if another one has it, or nobody is to have it now.
 */
extern void derive_assistant_begin(DeriveAssistantRole role);

/* At the head of the loop: end or read the settings again if we were told to; forget late cancels. */
extern void derive_assistant_heed_signals(void);

/* Sleep; false if there was nothing to be woken for in so many ms. */
extern bool derive_assistant_nap(long ms);

/* Does somebody need the database without our processes? */
extern bool derive_assistant_must_leave(void);

#endif							/* DERIVE_ASSISTANT_H */
