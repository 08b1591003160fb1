/*-------------------------------------------------------------------------
 *
 * wait_event.h
 *	  What our processes, and sessions that wait for them, show in
 *	  pg_stat_activity.wait_event; wait_event_type is Extension.
 *
 * Before 17 an extension cannot name its wait events: it is Extension there, too.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WAIT_EVENT_H
#define DERIVE_WAIT_EVENT_H

typedef enum DeriveWaitEvent
{
	DERIVE_WAIT_ASSISTANT_IDLE,
	DERIVE_WAIT_BATCH,
	DERIVE_WAIT_BATCH_INTERVAL,
	DERIVE_WAIT_BUILD_PAUSE,
	DERIVE_WAIT_CAPTURE,
	DERIVE_WAIT_ERROR_PAUSE,
	DERIVE_WAIT_IDLE,
	DERIVE_WAIT_LAUNCHER_IDLE,
	DERIVE_WAIT_LOCK,
	DERIVE_WAIT_PLACE,
	DERIVE_WAIT_VERIFIER,
	DERIVE_WAIT_VIEW,
	DERIVE_WAIT_WORKER_EXIT
} DeriveWaitEvent;

/* What WaitLatch() and ConditionVariableTimedSleep() take. */
extern uint32 derive_wait_event(DeriveWaitEvent event);

#endif							/* DERIVE_WAIT_EVENT_H */
