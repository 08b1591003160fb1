/*-------------------------------------------------------------------------
 *
 * caches.h
 *	  Keeping present and historic catalog contents apart in this process.
 *
 * Private to capture; see caches.c for the whole story.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CACHES_H
#define DERIVE_CACHES_H

#include "access/xlogdefs.h"

/* Start to watch, and distrust everything that is cached now. */
extern void derive_caches_watch(void);

/* Date the invalidations that were noticed since the last call. */
extern void derive_caches_collect(void);

/* The date of the newest invalidation that is remembered, or Invalid. */
extern XLogRecPtr derive_caches_newest(void);

/* Repeat all remembered invalidations that are newer than this. */
extern void derive_caches_flush(XLogRecPtr since);

/* Forget those up to this. */
extern void derive_caches_forget(XLogRecPtr upto);

#endif							/* DERIVE_CACHES_H */
