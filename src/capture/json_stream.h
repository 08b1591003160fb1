/*-------------------------------------------------------------------------
 *
 * json_stream.h
 *	  The readable event stream: see json_stream.c.  Private to capture.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_JSON_STREAM_H
#define DERIVE_JSON_STREAM_H

struct OutputPluginCallbacks;

/* Fill in the callbacks of the readable mode. */
extern void derive_json_stream_init(struct OutputPluginCallbacks *cb);

#endif							/* DERIVE_JSON_STREAM_H */
