/*-------------------------------------------------------------------------
 *
 * http.h
 *	  HTTP, Server-Sent Events and WebSockets, by libwebsockets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_HTTP_H
#define GW_HTTP_H

#include "client.h"
#include "loop.h"

/* Listen, and drive the loop from that of libwebsockets.  The program ends if that is refused. */
extern void gw_http_start(ClientLoop *loop);

/* Do what there is to do, and wait for more. */
extern void gw_http_service(void);

/* There is something to be sent. */
extern void gw_http_wake(GwClient *client);

/* Close the connection without a word. */
extern void gw_http_kill(GwClient *client);

/* Let gw_http_service() return. */
extern void gw_http_interrupt(void);

extern void gw_http_stop(void);

#endif
