/*-------------------------------------------------------------------------
 *
 * subscribed.h
 *	  Tables that subscriptions of logical replication write to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SUBSCRIBED_H
#define DERIVE_SUBSCRIBED_H

/*
 * Is the index that is the table's replica identity what a subscription finds rows by, so
 * that the table could not be given another identity?
 */
extern bool derive_subscription_needs_identity(Oid relid);

#endif							/* DERIVE_SUBSCRIBED_H */
