/*-------------------------------------------------------------------------
 *
 * session.h
 *	  What becomes of a request, step by step.
 *
 * gw_session_continue() looks how far the client can go, and is called again when
 * something has changed that it waits for: the view is described, the rights are known,
 * what its values mean is known, the view is followed, its rows are read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_SESSION_H
#define GW_SESSION_H

#include "feed.h"

/* The client's request and identity are set. */
extern void gw_session_begin(GwClient *client);
extern void gw_session_continue(GwClient *client);

/* The rows that it waits for are there; its job is given back. */
extern void gw_session_got_rows(GwClient *client);

/* What it has got is void: read the rows again. */
extern void gw_session_start_over(GwClient *client);

/* Answer with an error; a stream gets it as its last event. */
extern void gw_session_fail(GwClient *client, int status, const char *code, const char *message);

/* End a stream that has begun, or fail. */
extern void gw_session_drop(GwClient *client, GwDropReason reason, const char *code, const char *message);

/* The state of the view has changed. */
extern void gw_session_tell_state(GwFeed *feed);

/* Keys were read again: drop those whose key is not there any more. */
extern void gw_sessions_check_keys(void);

/* No more requests are taken, and all streams end. */
extern void gw_sessions_stop(void);

/* The connection is closed, or another request comes: forget this one. */
extern void gw_session_end(GwClient *client);

/* Drop those who are too slow, wait too long or whose token has expired; ping the others.  Once a second. */
extern void gw_sessions_check(void);

#endif
