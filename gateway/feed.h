/*-------------------------------------------------------------------------
 *
 * feed.h
 *	  A view that clients read: what it is, its last changes, who follows it.
 *
 * States:
 *
 *	DESCRIBING --described--> KNOWN --gw_feed_follow()--> OPENING <----------+
 *	                                                        |  |             | connection lost,
 *	                                                        |  +-> FOLLOWING-+ subscription lost
 *	                                                        |
 *	    gw_feed_close(), from each of them: clients are told, and it is gone
 *
 * A feed has two durable subscriptions, GATEWAY/OID and GATEWAY/OID/kept.  The first one
 * delivers changes as they come.  The second one stays behind, at the floor of the ring:
 * it is polled in a transaction that is rolled back, whenever the feed opens, and so the
 * ring comes back after a restart of the gateway, and what was lost with a connection
 * comes again.  The database keeps each change once for both.
 *
 * feed_open.c has how a feed opens, feed.c the rest.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_FEED_H
#define GW_FEED_H

#include "channel.h"
#include "client.h"
#include "metrics.h"
#include "ring.h"
#include "subscription.h"
#include "view.h"

typedef enum GwFeedState
{
	GW_DESCRIBING,
	GW_KNOWN,
	GW_OPENING,
	GW_FOLLOWING
} GwFeedState;

typedef struct GwFeed
{
	struct GwFeed *next;
	char	  **names;			/* by which clients have asked for it; ends
								 * with NULL */
	GwFeedState state;
	bool		follow_when_known;
	bool		asking;			/* the catalogs, what it is */
	bool		checking;		/* and whether it is still that */
	bool		closing;		/* it is gone, and only waits for those who
								 * still use it */
	GwView	   *view;			/* from KNOWN on */
	char		live[GW_MAX_NAME + 1];	/* the subscriptions */
	char		kept[GW_MAX_NAME + 1];
	ClientSubscription *subscription;	/* from OPENING on */
	unsigned	session;		/* number of its connection's session */
	ClientTimer retry;			/* of opening */
	struct GwRefill *refill;	/* while it opens; or NULL */
	char	   *problem;		/* why it does not open, or the state of the
								 * view; or NULL */
	char	   *view_state;		/* as in derive.views; or NULL */
	double		view_lag;		/* seconds; below 0: not known */

	GwRing		ring;
	unsigned	epoch;			/* raised by a reset: what was read before
								 * does not fit any more */
	uint64_t	visible;		/* changes up to here are sent; those behind
								 * have an LSN that is not complete */
	bool		incomplete;		/* the last LSN of those that are visible */
	bool		advancing;
	bool		ever_followed;	/* the ring is that of the subscriptions */

	GwClient   *clients;
	int			client_count;
	int64_t		used_at;		/* when it last had a client */
	GwChannel  *channels;
	struct GwGrant *grants;
	struct GwJob *jobs;			/* that wait for a snapshot */
	bool		exporting;		/* a snapshot is being made */
	bool		export_wanted;	/* when no poll is under way */
} GwFeed;

extern GwFeed *gw_feeds;

/* Begin: the connection for catalogs and so on is made, and views that were followed before are again. */
extern void gw_feeds_start(ClientLoop *loop);

/* The connection for catalogs. */
extern ClientConnection *gw_catalog(void);
extern ClientLoop *gw_loop(void);

/* The feed by a name that a client gave, made if there is none. */
extern GwFeed *gw_feed_get(const char *name);

/* It is followed, or may be: there are not max_views others. */
extern bool gw_feed_has_place(const GwFeed *feed);

/* Follow the view, if that has not begun. */
extern void gw_feed_follow(GwFeed *feed);

extern void gw_feed_add_client(GwFeed *feed, GwClient *client);
extern void gw_feed_remove_client(GwClient *client);

/* Let all clients that wait go on, as far as they can. */
extern void gw_feed_continue(GwFeed *feed);

/* Add a row of a poll to a ring; an initial row is none. */
extern void gw_feed_add_row(GwRing *ring, const PGresult *rows, int row);

/* Have the rows of a poll other columns than we know?  Then the feed is closed. */
extern bool gw_feed_is_changed(GwFeed *feed, const PGresult *rows);

/* Add the changes of a poll.  False if the feed was closed. */
extern bool gw_feed_take(GwFeed *feed, const PGresult *rows);

/*
 * Send what was taken to those who follow.  Incomplete: the poll may have ended within
 * an LSN, which then is not sent yet.
 */
extern void gw_feed_publish(GwFeed *feed, bool incomplete);

/* What was known before is void: all who follow begin anew. */
extern void gw_feed_reset(GwFeed *feed, GwPosition floor);

/* Tell all clients, and forget it; with its subscriptions, if asked for.  Later, when no handler of it runs. */
extern void gw_feed_close(GwFeed *feed, GwDropReason reason, const char *code, const char *message, bool unsubscribe);

/* Look whether the view is there still, and how it is. */
extern void gw_feed_check(GwFeed *feed);

/* The kept subscription to the floor of the ring. */
extern void gw_feed_advance(GwFeed *feed);

/* A session of the feed's connection begins: prepare it for polls, and let them begin (feed_open.c). */
extern void gw_feed_open(GwFeed *feed);

/* Its connection is gone: so is what was being read (feed_open.c). */
extern void gw_feed_end_refill(GwFeed *feed);

/* Something of it has failed: open again, after a moment. */
extern void gw_feed_open_again(GwFeed *feed, const char *problem);

#endif
