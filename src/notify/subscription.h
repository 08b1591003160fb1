/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  Subscriptions: who has got which changes of a view.
 *
 * API, for sessions
 *
 *	derive_subscription_create()	at derive.subscribe()
 *	derive_subscription_drop()		at derive.unsubscribe()
 *	derive_subscription_look()		is there something to deliver?
 *	derive_subscription_deliver()	do so
 *
 * and for the worker
 *
 *	derive_subscriptions_passed()	how much of a journal nobody needs
 *	derive_subscriptions_sweep()	remove those whose view or owner is gone, and
 *									spools that are too old
 *
 * Functions that take a name check that it exists and that the current user may
 * use it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SUBSCRIPTION_H
#define DERIVE_SUBSCRIPTION_H

#include "access/xlogdefs.h"
#include "notify/journal.h"

typedef enum DerivePollState
{
	DERIVE_POLL_STARTING,		/* its journal has not begun */
	DERIVE_POLL_EMPTY,			/* everything was delivered */
	DERIVE_POLL_PENDING,		/* there is something to deliver */
	DERIVE_POLL_LOST			/* some of it is gone */
} DerivePollState;

extern void derive_subscription_create(const char *name, Oid view);
extern void derive_subscription_drop(const char *name);

/* The view, if its owner is the current user, who may still read the view; else ERROR. */
extern Oid	derive_subscription_view(const char *name);

/* Look under a new snapshot.  *own: the journal was made by this transaction, so that the worker cannot know of it. */
extern DerivePollState derive_subscription_look(const char *name, bool *own);

/*
 * Deliver up to max_rows rows in order and note that they were delivered.
 * Returns their number.  The receiver is called in a memory context that is
 * reset after it; rows are composite values, 0 where there is none.
 */
typedef void (*DeriveSubscriptionReceiver) (void *arg, const char *operation,
											Datum oldrow, Datum newrow, XLogRecPtr lsn);
extern int64 derive_subscription_deliver(const char *name, int64 max_rows,
										 DeriveSubscriptionReceiver receiver, void *arg);

/* Is anybody subscribed to the view? */
extern bool derive_subscriptions_none(Oid view);

/* The number of the last change that no subscriber of the journal needs. */
extern int64 derive_subscriptions_passed(const DeriveJournalRow *row);

/*
 * Remove subscriptions without a journal or an owner, and spools that nobody has
 * read from for too long, but for those that somebody has locked, and not more
 * than max_rows of their rows.  False if there is more.
 */
extern bool derive_subscriptions_sweep(int max_rows);

#endif							/* DERIVE_SUBSCRIPTION_H */
