/*-------------------------------------------------------------------------
 *
 * channel.h
 *	  The events that clients with the same shape get.
 *
 * An event is made once for all of them, when the first one needs it.  The last ones are
 * kept; who is further behind has older ones made again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_CHANNEL_H
#define GW_CHANNEL_H

#include "blob.h"
#include "ring.h"
#include "shape.h"

/* Events that are kept. */
#define GW_CHANNEL_EVENTS	256

typedef enum GwChannelState
{
	GW_CHANNEL_ASKING,			/* the database, what its values mean */
	GW_CHANNEL_READY,
	GW_CHANNEL_WRONG			/* "problem" says why */
} GwChannelState;

typedef struct GwEvent
{
	uint64_t	seq;			/* plus one; 0: empty */
	GwBlob	   *blob;			/* NULL: the change is not seen in this shape */
} GwEvent;

struct GwFeed;

typedef struct GwChannel
{
	struct GwChannel *next;
	struct GwFeed *feed;
	GwShape    *shape;
	GwChannelState state;
	bool		wanted;			/* it was asked: by somebody who may read */
	bool		asking;			/* the question is under way */
	char	   *problem;
	int			status;			/* of the problem */
	int			users;			/* clients and jobs, and its question */
	bool		news;			/* what is published now has an event for it */
	GwEvent		events[GW_CHANNEL_EVENTS];
} GwChannel;

/* The one for a request, with one more user; or NULL, and what is wrong with the request, for free(). */
extern GwChannel *gw_channel_get(struct GwFeed *feed, const GwRequest *request, char **wrong);
extern void gw_channel_release(GwChannel *channel);

/* Ask what its values mean, if that is not known and not asked already. */
extern void gw_channel_ask(GwChannel *channel);

/*
 * The event for a change: a blob that is the channel's until the next call, or NULL.
 * "broken" is set if it cannot be told, since the change lacks a column that is compared.
 */
extern GwBlob *gw_channel_event(GwChannel *channel, GwRing *ring, uint64_t seq, bool *broken);

/* Positions have another meaning now. */
extern void gw_channel_forget(GwChannel *channel);

#endif
