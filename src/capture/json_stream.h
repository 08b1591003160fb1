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

/*
 * Prefix of the message that says in the log that a view will be filled anew, by
 * rows of the same transaction; its content is the view's OID.
 */
#define DERIVE_FILL_MESSAGE "pg_derive.fill"

/* The same of one that says that a view is about to take the place of another; the OIDs of this one and of that. */
#define DERIVE_REPLACE_MESSAGE "pg_derive.replace"

/* Fill in the callbacks of the readable mode. */
extern void derive_json_stream_init(struct OutputPluginCallbacks *cb);

#endif							/* DERIVE_JSON_STREAM_H */
