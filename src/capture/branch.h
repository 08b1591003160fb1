/*-------------------------------------------------------------------------
 *
 * branch.h
 *	  Was the server promoted, or restored to a point in time, since an LSN?
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BRANCH_H
#define DERIVE_BRANCH_H

#include "access/xlogdefs.h"

/* Does the log before and after the LSN belong to different timelines?  Not during recovery. */
extern bool derive_log_has_branched(XLogRecPtr lsn);

#endif							/* DERIVE_BRANCH_H */
