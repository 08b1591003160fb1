/*-------------------------------------------------------------------------
 *
 * replica_identity.h
 *	  Replica identities of the tables that views read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_REPLICA_IDENTITY_H
#define DERIVE_REPLICA_IDENTITY_H

#include "nodes/pg_list.h"
#include "port/atomics.h"

/*
 * Set REPLICA IDENTITY FULL, each in a transaction of its own, waiting for the lock at most
 * pg_derive.lock_timeout.  False if some lock could not be had, that of *busy (may be
 * NULL) being one: try again later.  *blocked_on (NULL: none) says what lock that is to
 * sessions which wait for a view that cannot do without.
 */
extern bool derive_identity_set(List *relids, pg_atomic_uint64 *blocked_on, Oid *busy);

/* Those of the tables (of Oid) that publications allow to have it; of the others the log says why not. */
extern List *derive_identity_possible(List *relids);

/* The tables that have it by us, although publications do not allow it by now: List of Oid. */
extern List *derive_identity_refused(void);

/*
 * The tables of which we have changed the identity and which no longer need that, where these
 * sources (of DeriveSource *) are all that our views (of Oid) read, nor others: List of Oid, in CurrentMemoryContext.
 */
extern List *derive_identity_not_needed(List *views, List *sources);

/*
 * Give them the identity back that they had, but for those that other views than ours need
 * by now and may have; otherwise as derive_identity_set().
 */
extern bool derive_identity_restore(List *views, List *relids);

/*
 * A session has changed what is published, in the current transaction: tables that may no longer be FULL have back
 * what they had, so that no writer ever finds them so.  locks_no_table: the command does not lock tables that it concerns.
 * ERROR (lock_not_available) if a table cannot be locked in a few seconds.
 */
extern void derive_identity_yield(bool locks_no_table);

/* Give it back to all tables whose identity we have changed, in the current transaction of a session. */
extern void derive_identity_restore_here(void);

#endif							/* DERIVE_REPLICA_IDENTITY_H */
