/*-------------------------------------------------------------------------
 *
 * channel.c
 *	  The events that clients with the same shape get.
 *
 *-------------------------------------------------------------------------
 */
#include "channel.h"

#include "feed.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>


/* ----------------------------------------------------------------
 *		Channels
 * ----------------------------------------------------------------
 */

static void
got_answer(void *arg, const PGresult *result)
{
	GwChannel  *channel = arg;
	GwFeed	   *feed = channel->feed;

	channel->asking = false;
	if (result == NULL)
	{
		gw_channel_release(channel);
		return;
	}
	if (!client_result_ok(result))
	{
		channel->state = GW_CHANNEL_WRONG;
		channel->status = strncmp(client_result_sqlstate(result), "22", 2) == 0 ? 400 : 503;
		channel->problem = client_strdup(client_result_message(result));
	}
	else if (!gw_shape_answer(channel->shape, result))
	{
		channel->state = GW_CHANNEL_WRONG;
		channel->status = 400;
		channel->problem = client_sprintf("a value of a condition has more than %d bytes, or all together have more than %d",
										  GW_MAX_VALUE_BYTES, GW_MAX_SHAPE_BYTES);
	}
	else
		channel->state = GW_CHANNEL_READY;
	gw_feed_continue(feed);
	gw_channel_release(channel);
}

void
gw_channel_ask(GwChannel *channel)
{
	char	   *sql;
	int			count;
	Oid		   *types;
	const char **values;

	channel->wanted = true;
	if (channel->state != GW_CHANNEL_ASKING || channel->asking)
		return;
	if (!gw_shape_question(channel->shape, &sql, &count, &types, &values))
	{
		channel->state = GW_CHANNEL_READY;
		return;
	}
	channel->asking = true;
	channel->users++;
	client_query(gw_catalog(), sql, count, types, values, got_answer, channel);
	free(sql);
	free(types);
	free(values);
}

/* One that is wrong is not found: maybe the database was away. */
GwChannel *
gw_channel_get(GwFeed *feed, const GwRequest *request, char **wrong)
{
	GwShape    *shape = gw_shape_create(feed->view, request, wrong);
	GwChannel  *channel;

	if (shape == NULL)
		return NULL;
	for (channel = feed->channels; channel != NULL; channel = channel->next)
	{
		if (channel->state != GW_CHANNEL_WRONG && strcmp(channel->shape->key, shape->key) == 0)
		{
			gw_shape_free(shape);
			channel->users++;
			return channel;
		}
	}
	channel = client_alloc(sizeof(GwChannel));
	channel->feed = feed;
	channel->shape = shape;
	channel->users = 1;
	channel->next = feed->channels;
	feed->channels = channel;
	return channel;
}

void
gw_channel_forget(GwChannel *channel)
{
	for (int i = 0; i < GW_CHANNEL_EVENTS; i++)
	{
		gw_blob_release(channel->events[i].blob);
		memset(&channel->events[i], 0, sizeof(GwEvent));
	}
}

void
gw_channel_release(GwChannel *channel)
{
	GwChannel **place = &channel->feed->channels;

	if (--channel->users > 0)
		return;
	while (*place != channel)
		place = &(*place)->next;
	*place = channel->next;
	gw_channel_forget(channel);
	gw_shape_free(channel->shape);
	free(channel->problem);
	free(channel);
}


/* ----------------------------------------------------------------
 *		Events
 * ----------------------------------------------------------------
 */

/* What becomes of the operation by the conditions; 0: nothing. */
static char
seen_operation(const GwShape *shape, const GwChange *change, bool *broken)
{
	int			old = change->operation != 'i' ? gw_shape_matches(shape, change->old) : 0;
	int			new = change->operation != 'd' ? gw_shape_matches(shape, change->new) : 0;

	*broken = old < 0 || new < 0;
	if (*broken)
		return 0;
	if (old && new)
		return gw_shape_differs(shape, change->old, change->new) ? 'u' : 0;
	return old ? 'd' : new ? 'i' : 0;
}

/*
 * Is no change with this LSN behind it seen in this shape?  Then with it the copy of a
 * client is what the view was at one moment.
 */
static bool
is_last(const GwShape *shape, const GwFeed *feed, GwRing *ring, uint64_t seq)
{
	uint64_t	lsn = gw_ring_get(ring, seq)->position.lsn;
	bool		broken;

	while (++seq < ring->next_seq && gw_ring_get(ring, seq)->position.lsn == lsn)
	{
		if (seen_operation(shape, gw_ring_get(ring, seq), &broken) != 0)
			return false;
	}
	return seq < ring->next_seq || !feed->incomplete;
}

static GwBlob *
make_event(const GwChannel *channel, GwRing *ring, uint64_t seq, bool *broken)
{
	static ClientBuffer buffer = {0};
	const GwShape *shape = channel->shape;
	const GwChange *change = gw_ring_get(ring, seq);
	char		id[GW_POSITION_SIZE];
	char		operation = seen_operation(shape, change, broken);

	if (operation == 0)
		return NULL;
	gw_position_text(change->position, id);
	client_buffer_addf(&buffer, "id: %s\ndata: {\"id\": \"%s\", \"operation\": \"%s\"", id, id,
					   operation == 'i' ? "insert" : operation == 'u' ? "update" : "delete");
	if (operation != 'i')
	{
		client_buffer_add_text(&buffer, ", \"old\": ");
		gw_shape_add_row(shape, &buffer, change->old);
	}
	if (operation != 'd')
	{
		client_buffer_add_text(&buffer, ", \"new\": ");
		gw_shape_add_row(shape, &buffer, change->new);
	}
	if (change->omitted != NULL)
		gw_shape_add_omitted(shape, &buffer, change->omitted);
	if (is_last(shape, channel->feed, ring, seq))
		client_buffer_add_text(&buffer, ", \"last\": true");
	client_buffer_add_text(&buffer, "}\n\n");
	return gw_blob_create(&buffer);
}

GwBlob *
gw_channel_event(GwChannel *channel, GwRing *ring, uint64_t seq, bool *broken)
{
	GwEvent    *event = &channel->events[seq % GW_CHANNEL_EVENTS];

	*broken = false;
	if (event->seq != seq + 1)
	{
		gw_blob_release(event->blob);
		event->seq = 0;
		event->blob = make_event(channel, ring, seq, broken);
		if (!*broken)
			event->seq = seq + 1;
	}
	return event->blob;
}
