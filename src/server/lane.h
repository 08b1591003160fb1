/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  The slow lane: views with a pace of their own, in a process of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SERVER_LANE_H
#define DERIVE_SERVER_LANE_H

#include "postmaster/bgworker.h"

/*
 * Start the process for the current database (worker).  NULL if the server has no
 * background worker left.
 */
extern BackgroundWorkerHandle *derive_lane_start(void);

extern PGDLLEXPORT void derive_lane_main(Datum arg);

#endif							/* DERIVE_SERVER_LANE_H */
