/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  The slow lane: views with a pace of their own, in a process of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SERVER_LANE_H
#define DERIVE_SERVER_LANE_H

extern PGDLLEXPORT void derive_lane_main(Datum arg);

#endif							/* DERIVE_SERVER_LANE_H */
