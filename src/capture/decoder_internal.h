/*-------------------------------------------------------------------------
 *
 * decoder_internal.h
 *	  What decoder.c and the output plugin share.  Private to capture.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DECODER_INTERNAL_H
#define DERIVE_DECODER_INTERNAL_H

#include "capture/decoder.h"

/* One decoder's output: where rows go, and what decoding did. */
typedef struct DeriveCapture
{
	const DeriveSink *sink;
	MemoryContext row_cxt;		/* reset for each row that has to be rebuilt */
	bool		skipping;		/* the sink does not want this transaction */
	bool		touched;		/* it knows that it changes rows */
	TransactionId xid;			/* being replayed, or invalid; for messages */
	const char *relation;		/* whose change is being handed over, or NULL;
								 * likewise */
	XLogRecPtr	oldest_snapshot;	/* least base snapshot of those replayed;
									 * the decoder sets it to PG_UINT64_MAX */
} DeriveCapture;

/*
 * The decoding context that is created next, in this process, is our own
 * decoder's; NULL: is anybody's.  This is the only way into the in-process
 * mode of the plugin.
 */
extern void derive_plugin_expect(DeriveCapture *capture);

#endif							/* DERIVE_DECODER_INTERNAL_H */
