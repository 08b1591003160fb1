/*-------------------------------------------------------------------------
 *
 * gateway/client.h
 *	  A client: one request, and how far its answer is.
 *
 * States:
 *
 *	WAITING ----> ANSWERING			an answer with a length: rows, an error, metrics
 *	   |   <---
 *	   |      |  reset
 *	   +----> STREAMING				what is in "blob", then in "next_blob", then the changes from "seq" on
 *	              |
 *	              +---> LEAVING		the last words are in "blob"; then the connection is closed
 *
 * session.c leads it from WAITING on, http.c sends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_CLIENT_H
#define GW_CLIENT_H

#include "auth.h"
#include "blob.h"
#include "request.h"

struct lws;
struct GwFeed;
struct GwChannel;
struct GwGrant;
struct GwJob;

typedef enum GwClientState
{
	GW_WAITING,
	GW_ANSWERING,
	GW_STREAMING,
	GW_LEAVING
} GwClientState;

#define GW_ETAG_SIZE	96

typedef struct GwClient
{
	struct lws *wsi;
	bool		websocket;
	bool		csv;			/* is asked for */
	GwClientState state;
	GwRequest	request;
	GwIdentity	identity;
	char	   *if_none_match;	/* or NULL */
	int64_t		since;			/* when the request came, as client_now_ms() */
	int64_t		progress;		/* when something was sent last */
	int64_t		pending_since;	/* for so long it has taken nothing of what
								 * waits for it; 0: nothing waits */

	int			status;			/* of an answer */
	const char *content_type;
	char		etag[GW_ETAG_SIZE]; /* "": none */
	bool		headers_sent;
	GwBlob	   *blob;			/* what is being sent, or NULL */
	size_t		offset;			/* of it, so much has been sent */
	GwBlob	   *next_blob;		/* what comes then, or NULL */
	bool		in_message;		/* a WebSocket message was sent up to "offset" */
	uint64_t	seq;			/* the change that comes then */
	bool		resumes;		/* it has said what it has got, and that was
								 * not looked at yet */

	struct GwFeed *feed;		/* what it waits for or follows; NULL: nothing */
	struct GwChannel *channel;
	struct GwGrant *grant;
	struct GwJob *job;
	struct GwClient *feed_next; /* of the same feed */
	struct GwClient *feed_previous;
	struct GwClient *next;		/* of all */
	struct GwClient *previous;
} GwClient;

/* All of them. */
extern GwClient *gw_clients;

#endif
