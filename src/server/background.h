/*-------------------------------------------------------------------------
 *
 * background.h
 *	  What every background process of ours does: connecting, taking locks
 *	  without ever waiting while holding, setting replica identities, and
 *	  renewing the internal tables of a view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BACKGROUND_H
#define DERIVE_BACKGROUND_H

#include "base/usercode.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "storage/lockdefs.h"

/*
 * Start another of our processes, "pg_derive kind for class object".  It begins with a
 * function of the library, by name, which is given the object, and has as many bytes
 * more (at most BGW_EXTRALEN) in bgw_extra; it ends when that returns and is not started
 * again.  We get a signal when it begins and when it ends.  The handle is palloc'd;
 * NULL: there is no process left.
 */
extern BackgroundWorkerHandle *derive_background_launch(const char *kind, const char *class, Oid object,
														const char *function, const void *extra, Size size);

/* Signals, and what goes to the server log. */
extern void derive_background_init(void);

/* Did somebody have the process end (SIGTERM)? */
extern bool derive_background_was_told_to_end(void);

/* The same; connection as superuser to the database of the group, settings, title. */
extern void derive_background_start(DeriveGroupId group);

/* What bgw_extra has, for processes of which it is that: the group that they are for. */
extern DeriveGroupId derive_background_group(void);

/* While an error lasts that has been logged: keep what the server says when decoding begins out of its log. */
extern void derive_background_be_quiet(bool on);

/*
 * Is it time to log something that goes on, such as a shortage?  At once, and then each
 * minute.  *last is when it was logged before; the caller sets it to 0 when it is over.
 */
extern bool derive_background_log_again(TimestampTz *last);

/* For pg_stat_activity: nothing is done at present. */
extern void derive_background_idle(void);

/*
 * As CHECK_FOR_INTERRUPTS(), between two pieces of work: what cancels a query has nothing to
 * cancel then, as in a session that waits for one.
 */
extern void derive_background_check_interrupts(void);

/*
 * Start a transaction for reading and changing views: repeatable read, its
 * changes marked so that neither we nor subscribers decode them.
 */
extern void derive_background_begin(void);
extern void derive_background_commit(void);
extern void derive_background_abort(void);

/*
 * In PG_CATCH of a process of ours, outside of which it goes on: end the transaction,
 * if there is one, and all that an ERROR outside of one leaves behind (LWLocks,
 * condition variables).  Returns the error, which is flushed, in that context, and
 * makes it the current one.
 */
extern ErrorData *derive_background_catch(MemoryContext context);

/* No wait for a lock in this transaction lasts longer. */
extern void derive_background_limit_lock_waits(int ms);

/*
 * Lock all of them (List of Oid) or say which one could not be had, or does
 * not exist any more; then the caller must abort its transaction.
 */
extern bool derive_lock_all(List *relids, LOCKMODE mode, Oid *busy);

/* The same, in AccessShareLock, of a view and of all that is locked when it is compiled. */
extern bool derive_lock_definition(Oid view, Oid *busy);

/*
 * In a transaction of its own: wait until the lock can be had, and let it go.  ERROR
 * (lock_not_available) after so many ms; 0: never.
 */
extern void derive_lock_wait(Oid relid, LOCKMODE mode, pg_atomic_uint64 *blocked_on, int ms);

/* Wait for so many ms at most, in the current transaction; false if it is not to be had by then.  0: do not wait. */
extern bool derive_lock_within(Oid relid, LOCKMODE mode, int timeout_ms);

/*
 * The same at the end of long work, in a transaction that holds other locks: never
 * waits longer than pg_derive.lock_timeout at a time, but until the lock is to be
 * had.  ERROR (lock_not_available) if a session waits for one of the others meanwhile,
 * since it may well hold the one that we want (derive_someone_waits_for_us()).
 */
extern void derive_lock_at_end(Oid relid, LOCKMODE mode, pg_atomic_uint64 *blocked_on);

/* The internal tables of a view: its relations without locator indexes. */
extern List *derive_internal_tables(Oid view);

/*
 * Let the internal tables of a view that is to be built fit its program, in the
 * current transaction.  False: a lock, that on *busy in *mode, was not free; then
 * the caller must abort its transaction.
 */
extern bool derive_renew_view(Oid view, Oid *busy, LOCKMODE *mode);

/* Log that a view has been filled: so many rows, since then (derive_monotonic_ms()). */
extern void derive_log_built(Oid view, int64 rows, int64 since);

/*
 * Has work that took so many ms been slow, by pg_derive.log_min_duration?  If so, log what a
 * view did in a batch; in the transaction of that batch, since it looks up the view's name.
 */
extern bool derive_is_slow(double ms);
extern void derive_log_slow_view(Oid view, const DeriveCounters *did);

/* What is to be remembered of an error; in CurrentMemoryContext, or the error's. */
extern char *derive_error_text(const ErrorData *edata);

/* Errors that tell of what is stored, rather than of the query: build the view from nothing. */
extern bool derive_error_is_damage(int sqlerrcode);

/*
 * Something is to be done at that time, which was at most so long ahead when it was planned.
 * If it is further ahead now, the clock was set back meanwhile, and it is to be done now.
 */
extern bool derive_clock_was_set_back(TimestampTz now, TimestampTz at, int64 longest_ms);

#endif							/* DERIVE_BACKGROUND_H */
