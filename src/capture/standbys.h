/*-------------------------------------------------------------------------
 *
 * standbys.h
 *	  What the standbys have that may take over with a copy of our slot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STANDBYS_H
#define DERIVE_STANDBYS_H

#include "access/xlogdefs.h"

/* Is the log up to there on the disks of all that are connected? */
extern bool derive_standbys_have(XLogRecPtr lsn);

/* Who is connected, as a number that changes with each that comes; 0: nobody. */
extern uint64 derive_standbys_connected(void);

#endif							/* DERIVE_STANDBYS_H */
