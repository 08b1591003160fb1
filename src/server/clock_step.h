/*-------------------------------------------------------------------------
 *
 * clock_step.h
 *	  What was under way when the clock of the machine was set back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CLOCK_STEP_H
#define DERIVE_CLOCK_STEP_H

#include "server/shmem.h"

/* For the worker in that place, which sets timers now.  May be called in a signal handler. */
extern void derive_clock_step_note(DeriveGroup *place);

/*
 * For the launcher: if the clock was set back since a worker set its timers, have it begin its
 * batch anew.  Returns in how many ms to look again, -1 if there is no worker.
 * Raises no ERROR.
 */
extern long derive_clock_step_tend(void);

#endif							/* DERIVE_CLOCK_STEP_H */
