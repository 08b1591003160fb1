/*-------------------------------------------------------------------------
 *
 * request.h
 *	  A session's side: asking the worker of its database for something, and
 *	  waiting for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_REQUEST_H
#define DERIVE_REQUEST_H

#include "access/xlogdefs.h"
#include "base/compat.h"
#include "notify/wait.h"
#include "utils/timestamp.h"

/* ERROR, with advice, where no worker can ever run. */
extern void derive_require_service(void);

/* ERROR: all places for databases are taken, or there are too many groups in this one. */
DERIVE_NORETURN extern void derive_refuse_group(int group);

/*
 * Wait until the view (InvalidOid: all that the current user may read or owns) is ready and contains everything that
 * was committed before lsn (InvalidXLogRecPtr: before now).  False on timeout
 * (timeout_ms < 0: none).  ERROR if it cannot get there.
 */
extern bool derive_wait_for_view(Oid view, XLogRecPtr lsn, int64 timeout_ms);

/*
 * Wait until a check is satisfied; it is called whenever the worker of the view's group has
 * done a batch.  False on timeout (timeout_ms < 0: none).
 */
extern bool derive_wait_for_worker(Oid view, int64 timeout_ms, DeriveWaitCheck check, void *arg);

/* A timeout as people give it, in ms; ERROR if it is negative. */
extern int64 derive_timeout_ms(const Interval *timeout);

/*
 * Have the view compared with its query, as of a batch after this call
 * (verifier.c).  ERROR if it cannot be, or took longer than that (timeout_ms < 0:
 * no limit).  False, if missing_ok, or else ERROR: it is no longer maintained.
 */
extern bool derive_verify_view(Oid view, bool missing_ok, int64 timeout_ms, int64 *missing, int64 *extra);

/* Recompute the view inside a batch, or wait for its build. */
extern void derive_repair_view(Oid view);

#endif							/* DERIVE_REQUEST_H */
