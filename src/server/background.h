/*-------------------------------------------------------------------------
 *
 * background.h
 *	  What every background process of ours does: connecting, taking locks
 *	  without ever waiting while holding, and setting replica identities.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BACKGROUND_H
#define DERIVE_BACKGROUND_H

#include "base/usercode.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "storage/lockdefs.h"

/* Signals, connection as superuser, settings. */
extern void derive_background_start(Oid dboid);

/*
 * Start a transaction for reading and changing views: repeatable read, its
 * changes marked so that neither we nor subscribers decode them.
 */
extern void derive_background_begin(void);
extern void derive_background_commit(void);
extern void derive_background_abort(void);

/*
 * Lock all of them (List of Oid) or say which one could not be had, or does
 * not exist any more; then the caller must abort its transaction.
 */
extern bool derive_lock_all(List *relids, LOCKMODE mode, Oid *busy);

/* In a transaction of its own: wait until the lock can be had, and let it go. */
extern void derive_lock_wait(Oid relid, LOCKMODE mode, pg_atomic_uint64 *blocked_on);

/* Those of the relations that lack REPLICA IDENTITY FULL. */
extern List *derive_identity_missing(List *relids);

/*
 * Set it, each in a transaction of its own, waiting for the lock at most
 * pg_derive.lock_timeout.  False if some lock could not be had: try again
 * later.
 */
extern bool derive_identity_set(List *relids, pg_atomic_uint64 *blocked_on);

/* What is to be remembered of an error; in CurrentMemoryContext, or the error's. */
extern char *derive_error_text(const ErrorData *edata);

#endif							/* DERIVE_BACKGROUND_H */
