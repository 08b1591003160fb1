/*-------------------------------------------------------------------------
 *
 * wait_event.c
 *	  Names of what we wait for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/wait_event.h"

static const char *const names[] = {
	[DERIVE_WAIT_ASSISTANT_IDLE] = "DeriveAssistantIdle",	/* lane, verifier:
															 * nothing to do */
	[DERIVE_WAIT_BATCH] = "DeriveBatch",	/* lane, verifier: for a batch to
											 * be committed */
	[DERIVE_WAIT_BATCH_INTERVAL] = "DeriveBatchInterval",	/* pg_derive.batch_interval */
	[DERIVE_WAIT_BUILD_PAUSE] = "DeriveBuildPause", /* builder:
													 * pg_derive.build_share */
	[DERIVE_WAIT_CAPTURE] = "DeriveCapture",	/* a builder: for its changes
												 * to be kept */
	[DERIVE_WAIT_ERROR_PAUSE] = "DeriveErrorPause", /* after an error, before
													 * the next try */
	[DERIVE_WAIT_IDLE] = "DeriveIdle",	/* worker: nothing to do */
	[DERIVE_WAIT_LAUNCHER_IDLE] = "DeriveLauncherIdle",
	[DERIVE_WAIT_LOCK] = "DeriveLock",	/* between two attempts to get a lock */
	[DERIVE_WAIT_PLACE] = "DerivePlace",	/* a session: for a place among
											 * the databases */
	[DERIVE_WAIT_VERIFIER] = "DeriveVerifier",	/* verifier: for a view that
												 * cannot be compared now */
	[DERIVE_WAIT_VIEW] = "DeriveView",	/* a session: derive.wait() and others */
	[DERIVE_WAIT_WORKER_EXIT] = "DeriveWorkerExit", /* a session: for our
													 * processes to leave a
													 * database */
};

uint32
derive_wait_event(DeriveWaitEvent event)
{
	static uint32 known[lengthof(names)];

	if (known[event] == 0)
		known[event] = derive_compat_wait_event(names[event]);
	return known[event];
}
