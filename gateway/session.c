/*-------------------------------------------------------------------------
 *
 * session.c
 *	  What becomes of a request, step by step.
 *
 *-------------------------------------------------------------------------
 */
#include "session.h"

#include "clock.h"
#include "http.h"
#include "log.h"
#include "memory.h"
#include "rights.h"
#include "round.h"
#include "settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Last words may take so long. */
#define LEAVE_MS	5000

GwClient   *gw_clients;

static bool stopping;


/* ----------------------------------------------------------------
 *		Answers
 * ----------------------------------------------------------------
 */

static void
detach(GwClient *client)
{
	gw_job_leave(client);
	if (client->grant != NULL)
		gw_grant_release(client->grant);
	if (client->channel != NULL)
		gw_channel_release(client->channel);
	if (client->feed != NULL)
		gw_feed_remove_client(client);
	client->grant = NULL;
	client->channel = NULL;
}

/* After what is being sent. */
static void
send_blob(GwClient *client, GwBlob *blob)
{
	if (client->blob == NULL)
	{
		client->blob = blob;
		client->offset = 0;
	}
	else
	{
		gw_blob_release(client->next_blob);
		client->next_blob = blob;
	}
	gw_http_wake(client);
}

static void
answer(GwClient *client, int status, const char *content_type, GwBlob *blob)
{
	client->state = GW_ANSWERING;
	client->status = status;
	client->content_type = content_type;
	gw_metrics.requests[status / 100 % 6]++;
	send_blob(client, blob);
}

static GwBlob *
error_blob(bool event, const char *code, const char *message)
{
	ClientBuffer text = {0};
	GwBlob	   *blob;

	client_buffer_add_text(&text, event ? "data: {\"operation\": \"error\", \"code\": " : "{\"code\": ");
	client_buffer_add_json(&text, code);
	client_buffer_add_text(&text, ", \"message\": ");
	client_buffer_add_json(&text, message);
	client_buffer_add_text(&text, event ? "}\n\n" : "}\n");
	blob = gw_blob_create(&text);
	client_buffer_free(&text);
	return blob;
}

void
gw_session_fail(GwClient *client, int status, const char *code, const char *message)
{
	bool		event = client->headers_sent || client->websocket;
	GwBlob	   *last_words;

	client_log(CLIENT_DEBUG, "%s: %d %s: %s", client->identity.role, status, code, message);
	if (client->state == GW_ANSWERING || client->state == GW_LEAVING)
		return;

	/*
	 * the message may be that of a grant or a channel, which goes with its
	 * last user
	 */
	last_words = error_blob(event, code, message);
	detach(client);
	if (!event)
	{
		gw_blob_release(client->blob);
		gw_blob_release(client->next_blob);
		client->blob = client->next_blob = NULL;
		answer(client, status, "application/json", last_words);
		return;
	}
	if (!client->headers_sent)
		gw_metrics.requests[status / 100 % 6]++;
	client->state = GW_LEAVING;
	client->since = client_now_ms();
	client->status = status;
	send_blob(client, last_words);
}

void
gw_session_drop(GwClient *client, GwDropReason reason, const char *code, const char *message)
{
	static const int statuses[GW_DROP_REASONS] = {
		[GW_DROP_SLOW] = 503,[GW_DROP_RIGHTS] = 403,[GW_DROP_VIEW] = 404,[GW_DROP_STOPPING] = 503,[GW_DROP_ERROR] = 500
	};

	if (client->state == GW_ANSWERING || client->state == GW_LEAVING)
		return;
	if (client->state == GW_STREAMING)
		gw_metrics.dropped[reason]++;
	gw_session_fail(client, statuses[reason], code, message);
}


/* ----------------------------------------------------------------
 *		Steps
 * ----------------------------------------------------------------
 */

static void
begin_stream(GwClient *client, uint64_t seq, GwBlob *rows)
{
	client->state = GW_STREAMING;
	client->seq = seq;
	if (!client->headers_sent)
	{
		gw_metrics.streams++;
		gw_metrics.requests[2]++;
	}
	if (rows != NULL)
		send_blob(client, gw_blob_keep(rows));
	gw_http_wake(client);
}

/* What it has got is known, and what comes then is there. */
static bool
can_resume(GwClient *client)
{
	GwPosition	position;
	uint64_t	seq;

	if (!client->resumes || !gw_position_parse(client->request.last_event_id, &position) ||
		!gw_ring_find(&client->feed->ring, position, &seq))
		return false;
	gw_metrics.resumed++;

	/*
	 * if it has to begin anew later, the old id says nothing of what it has
	 * then
	 */
	client->resumes = false;
	begin_stream(client, seq, NULL);
	return true;
}

/* The tag of the rows of a view at a position, in this form. */
static void
make_etag(const GwClient *client, GwPosition position, char *etag)
{
	char		text[GW_POSITION_SIZE];

	(void) snprintf(etag, GW_ETAG_SIZE, "\"%s%s\"", gw_position_text(position, text), client->csv ? "-csv" : "");
}

/* Has it what it would get? */
static bool
has_it(GwClient *client)
{
	if (client->if_none_match == NULL)
		return false;
	make_etag(client, gw_ring_position(&client->feed->ring), client->etag);
	return strcmp(client->if_none_match, "*") == 0 || strstr(client->if_none_match, client->etag) != NULL;
}

static void
answer_unchanged(GwClient *client)
{
	ClientBuffer nothing = {0};

	detach(client);
	answer(client, 304, NULL, gw_blob_create(&nothing));
}

/* Its shape; false if it has failed. */
static bool
find_channel(GwClient *client)
{
	char	   *wrong;

	if (client->channel == NULL)
	{
		client->channel = gw_channel_get(client->feed, &client->request, &wrong);
		if (client->channel == NULL)
		{
			gw_session_fail(client, 400, "bad_request", wrong);
			free(wrong);
			return false;
		}
	}
	return true;
}

/* What the values of the shape mean; false if it has to wait or has failed. */
static bool
find_meaning(GwClient *client)
{
	gw_channel_ask(client->channel);
	if (client->channel->state == GW_CHANNEL_WRONG)
		gw_session_fail(client, client->channel->status, client->channel->status == 400 ? "bad_value" : "unavailable", client->channel->problem);
	return client->state == GW_WAITING && client->channel->state == GW_CHANNEL_READY;
}

/* Whether it may; likewise. */
static bool
find_grant(GwClient *client)
{
	int			order_column = -1;

	if (client->request.order_column != NULL)
	{
		order_column = gw_view_column(client->feed->view, client->request.order_column);
		if (order_column < 0)
		{
			gw_session_fail(client, 400, "bad_request", "there is no such column to order by");
			return false;
		}
	}
	if (client->grant == NULL)
	{
		char	   *attributes = gw_shape_attributes(client->channel->shape, order_column);

		client->grant = gw_grant_get(client->feed, client->identity.role, attributes);
		free(attributes);
	}
	if (client->grant->known && !client->grant->allowed)
		gw_session_fail(client, client->grant->status,
						client->grant->status == 403 ? "permission_denied" : client->grant->status == 404 ? "no_such_view" : "unavailable",
						client->grant->problem);
	return client->state == GW_WAITING && client->grant->known;
}

void
gw_session_continue(GwClient *client)
{
	GwFeed	   *feed = client->feed;

	if (client->state != GW_WAITING || feed == NULL || feed->view == NULL || feed->closing ||
		!find_channel(client) || !find_grant(client) || !find_meaning(client))
		return;
	if (!gw_feed_has_place(feed))
	{
		gw_session_fail(client, 503, "too_many_views", "too many views are followed (max_views)");
		return;
	}
	gw_feed_follow(feed);
	if (feed->state != GW_FOLLOWING)
		return;
	if (client->request.kind == GW_CHANGES && can_resume(client))
		return;
	client->resumes = false;
	if (client->request.kind == GW_ROWS && has_it(client))
	{
		answer_unchanged(client);
		return;
	}
	if (client->job == NULL)
		gw_job_join(client);
}

void
gw_session_got_rows(GwClient *client)
{
	GwJob	   *job = client->job;

	gw_job_leave(client);
	if (job->status != 200)
		gw_session_fail(client, job->status,
						job->status == 403 ? "permission_denied" : job->status == 413 ? "too_large" :
						job->status == 503 ? "unavailable" : "error", job->problem);
	else if (client->request.kind == GW_CHANGES)
	{
		if (job->epoch == client->feed->epoch)
			begin_stream(client, job->seq, job->blob);
		else
			gw_session_continue(client);
	}
	else
	{
		make_etag(client, job->position, client->etag);
		detach(client);
		answer(client, 200, client->csv ? "text/csv; charset=utf-8; header=present" : "application/json", gw_blob_keep(job->blob));
	}
}

void
gw_session_start_over(GwClient *client)
{
	gw_blob_release(client->next_blob);
	client->next_blob = NULL;
	client->state = GW_WAITING;
	client->since = client_now_ms();
	gw_session_continue(client);
}

static void
answer_text(GwClient *client, void (*metrics) (ClientBuffer *text))
{
	ClientBuffer text = {0};
	int			status = 200;

	if (metrics != NULL)
		metrics(&text);
	else
		status = gw_health_write(&text) ? 200 : 503;
	answer(client, status, metrics ? "text/plain; version=0.0.4; charset=utf-8" : "application/json", gw_blob_create(&text));
	client_buffer_free(&text);
}

void
gw_session_begin(GwClient *client)
{
	const GwRequest *request = &client->request;
	GwFeed	   *feed;

	client->resumes = request->last_event_id != NULL;
	if (request->kind == GW_HEALTH)
		answer_text(client, NULL);
	else if (request->kind == GW_METRICS)
		answer_text(client, gw_metrics_write);
	else if (request->kind == GW_UNKNOWN)
		gw_session_fail(client, 404, "not_found", "there are /views/NAME, /views/NAME/changes, /health and /metrics");
	else if (request->kind == GW_CHANGES && (request->limit >= 0 || request->order_column != NULL))
		gw_session_fail(client, 400, "bad_request",
						"which rows are the first ones changes: make a view with ORDER BY and LIMIT, and follow that");
	else if (stopping)
		gw_session_fail(client, 503, "stopping", "the gateway stops");
	else
	{
		feed = gw_feed_get(request->view);
		gw_feed_add_client(feed, client);
		gw_session_continue(client);
	}
}

void
gw_session_end(GwClient *client)
{
	detach(client);
	gw_request_free(&client->request);
	free(client->if_none_match);
	gw_blob_release(client->blob);
	gw_blob_release(client->next_blob);
}


/* ----------------------------------------------------------------
 *		All of them
 * ----------------------------------------------------------------
 */

void
gw_session_tell_state(GwFeed *feed)
{
	ClientBuffer text = {0};
	GwBlob	   *blob;

	client_buffer_add_text(&text, "data: {\"operation\": \"state\", \"state\": ");
	client_buffer_add_json(&text, feed->view_state);
	client_buffer_add_text(&text, "}\n\n");
	blob = gw_blob_create(&text);
	client_buffer_free(&text);
	for (GwClient *client = feed->clients; client != NULL; client = client->feed_next)
	{
		if (client->state == GW_STREAMING && client->next_blob == NULL)
			send_blob(client, gw_blob_keep(blob));
	}
	gw_blob_release(blob);
}

/* An event that moves the id on and has nothing else, which a browser does not show to the page. */
static void
ping(GwClient *client)
{
	GwRing	   *ring = &client->feed->ring;
	ClientBuffer text = {0};
	char		id[GW_POSITION_SIZE];

	if (client->seq != ring->next_seq)
		return;
	gw_position_text(gw_ring_position(ring), id);
	if (client->websocket)
		client_buffer_addf(&text, "data: {\"id\": \"%s\", \"operation\": \"ping\"}\n\n", id);
	else
		client_buffer_addf(&text, "id: %s\n\n", id);
	send_blob(client, gw_blob_create(&text));
	client_buffer_free(&text);
}

static uint64_t
lag(const GwClient *client)
{
	GwRing	   *ring = &client->feed->ring;

	if (client->seq >= client->feed->visible)
		return 0;
	if (client->seq <= ring->first_seq)
		return ring->end - ring->start;
	return ring->end - gw_ring_get(ring, client->seq - 1)->end;
}

static void
check(GwClient *client, int64_t now)
{
	if (client->identity.expires != 0 && client->identity.expires <= time(NULL) && client->state == GW_STREAMING)
		gw_session_drop(client, GW_DROP_RIGHTS, "token_expired", "the token has expired");
	else if (client->state == GW_WAITING && now - client->since > gw_settings.query_timeout + 1000)
		gw_session_fail(client, 503, "unavailable", client->feed && client->feed->problem ? client->feed->problem : "the database does not answer");
	else if (client->state == GW_STREAMING && lag(client) > (uint64_t) gw_settings.max_lag)
		gw_session_drop(client, GW_DROP_SLOW, "too_slow", "more changes wait than are kept for one client (max_lag); come again with the id of the last event");

	if ((client->pending_since != 0 && now - client->pending_since > gw_settings.send_timeout) ||
		(client->state == GW_LEAVING && now - client->since > LEAVE_MS))
	{
		if (client->state != GW_LEAVING)
			gw_metrics.dropped[GW_DROP_SLOW]++;
		gw_http_kill(client);
	}
	else if (client->state == GW_STREAMING && client->pending_since == 0 && now - client->progress >= gw_settings.ping_interval)
		ping(client);
}

void
gw_sessions_check(void)
{
	int64_t		now = client_now_ms();

	for (GwClient *client = gw_clients, *next; client != NULL; client = next)
	{
		next = client->next;
		check(client, now);
	}
}

void
gw_sessions_check_keys(void)
{
	for (GwClient *client = gw_clients, *next; client != NULL; client = next)
	{
		next = client->next;
		if (!gw_auth_holds(&client->identity))
			gw_session_drop(client, GW_DROP_RIGHTS, "key_removed", "the key, or what verifies the token, is not valid any more");
	}
}

void
gw_sessions_stop(void)
{
	stopping = true;
	for (GwClient *client = gw_clients, *next; client != NULL; client = next)
	{
		next = client->next;
		gw_session_drop(client, GW_DROP_STOPPING, "stopping", "the gateway stops; come again with the id of the last event");
	}
}
