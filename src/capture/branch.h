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

/* Is the LSN, if it is valid, of an earlier timeline than the end of the log?  Not during recovery. */
extern bool derive_log_has_branched(XLogRecPtr lsn);

#endif							/* DERIVE_BRANCH_H */
