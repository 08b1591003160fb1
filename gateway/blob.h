/*-------------------------------------------------------------------------
 *
 * blob.h
 *	  Bytes that are sent to many clients, and are there once.
 *
 * Those of a stream are events in the form of Server-Sent Events, one or more:
 *
 *	id: 0/16E47F8
 *	data: {"id": "0/16E47F8", "operation": "insert", "new": {"n": 1}}
 *	(a blank line)
 *
 * A WebSocket gets what is after "data: " as a message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_BLOB_H
#define GW_BLOB_H

#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct GwBlob
{
	int			references;
	bool		is_result;		/* counted in gw_result_bytes */
	size_t		length;
	char		data[];			/* with a zero byte behind */
} GwBlob;

/* With one reference.  The buffer is empty afterwards, with its memory kept. */
extern GwBlob *gw_blob_create(ClientBuffer *buffer);

/* Bytes of all that are results: rows of views for a client or some. */
extern int64_t gw_result_bytes;

/* Likewise, of a result. */
extern GwBlob *gw_blob_create_result(ClientBuffer *buffer);

/* One more; returns it. */
extern GwBlob *gw_blob_keep(GwBlob *blob);

/* One less; with the last one it goes.  NULL is allowed. */
extern void gw_blob_release(GwBlob *blob);

#endif
