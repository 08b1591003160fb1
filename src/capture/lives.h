/*-------------------------------------------------------------------------
 *
 * lives.h
 *	  Did the server ever run without our library?  The log tells.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LIVES_H
#define DERIVE_LIVES_H

#include "access/xlogdefs.h"
#include "access/xlogreader.h"

/* What has been read of the log. */
typedef struct DeriveLives
{
	XLogRecPtr	since;			/* look at records from here on */
	bool		marked;			/* the life that is being read has a mark */
	bool		unmarked;		/* one that has ended had none */
} DeriveLives;

/* Leave a mark in the log, once after each start of the server. */
extern void derive_lives_mark(void);

/* Begin to look, from a place in the log that belongs to a life with the library. */
extern void derive_lives_watch(DeriveLives *lives, XLogRecPtr since);

/* The next record of the log. */
extern void derive_lives_note(DeriveLives *lives, XLogReaderState *record);

#endif							/* DERIVE_LIVES_H */
