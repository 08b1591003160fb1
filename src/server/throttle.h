/*-------------------------------------------------------------------------
 *
 * throttle.h
 *	  Builders rest in between, so that they take no more than their share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_THROTTLE_H
#define DERIVE_THROTTLE_H

/* Called when a rest begins and when it is over. */
typedef void (*DeriveResting) (bool resting);

/*
 * From now on the queries of views that this process runs take no more of a processor than
 * pg_derive.build_share, as it is at any time, if that is below 1 now.  Once in the life of
 * a process.
 */
extern void derive_throttle_queries(DeriveResting resting);

#endif							/* DERIVE_THROTTLE_H */
