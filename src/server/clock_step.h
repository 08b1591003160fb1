/*-------------------------------------------------------------------------
 *
 * clock_step.h
 *	  What was under way when the clock of the machine was set back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CLOCK_STEP_H
#define DERIVE_CLOCK_STEP_H

/*
 * For the launcher: if the clock was set back since the last call, have the workers begin
 * their batches anew.  Returns in how many ms to look again, -1 if there is no worker.
 * Raises no ERROR.
 */
extern long derive_clock_step_tend(void);

#endif							/* DERIVE_CLOCK_STEP_H */
