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

/* ERROR, with advice, where no worker can ever run. */
extern void derive_require_service(void);

/*
 * Wait until the view (InvalidOid: all) is ready and contains everything that
 * was committed before lsn (InvalidXLogRecPtr: before now).  False on timeout
 * (timeout_ms < 0: none).  ERROR if it cannot get there.
 */
extern bool derive_wait_for_view(Oid view, XLogRecPtr lsn, int64 timeout_ms);

/* Compare the view with its query, inside a batch. */
extern void derive_verify_view(Oid view, int64 *missing, int64 *extra);

/* Recompute the view inside a batch, or wait for its build. */
extern void derive_repair_view(Oid view);

#endif							/* DERIVE_REQUEST_H */
