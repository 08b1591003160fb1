/*-------------------------------------------------------------------------
 *
 * feed.c
 *	  A view that clients read: what it is, its last changes, who follows it.
 *
 *-------------------------------------------------------------------------
 */
#include "feed.h"

#include "clock.h"
#include "http.h"
#include "log.h"
#include "memory.h"
#include "rights.h"
#include "round.h"
#include "session.h"
#include "settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The kept subscription follows the floor in steps of about so many changes: polls wait meanwhile. */
#define ADVANCE_STEP	200

/* A feed that was never followed is forgotten after this time. */
#define FORGET_MS		60000

/* Who follows is dropped if his rights were not confirmed for so many rounds of checks. */
#define UNCONFIRMED_ROUNDS	5

GwFeed	   *gw_feeds;

static GwFeed *closing_feeds;
static ClientLoop *loop;
static ClientConnection *catalog;
static int64_t catalog_since;	/* the session has been there since then, as
								 * client_now_ms() */
static ClientTimer check_timer;
static ClientTimer tend_timer;
static bool found_old_ones;

ClientConnection *
gw_catalog(void)
{
	return catalog;
}

ClientLoop *
gw_loop(void)
{
	return loop;
}


/* ----------------------------------------------------------------
 *		Clients
 * ----------------------------------------------------------------
 */

void
gw_feed_add_client(GwFeed *feed, GwClient *client)
{
	client->feed = feed;
	client->feed_previous = NULL;
	client->feed_next = feed->clients;
	if (feed->clients != NULL)
		feed->clients->feed_previous = client;
	feed->clients = client;
	feed->client_count++;
	feed->used_at = client_now_ms();
}

void
gw_feed_remove_client(GwClient *client)
{
	GwFeed	   *feed = client->feed;

	if (client->feed_previous != NULL)
		client->feed_previous->feed_next = client->feed_next;
	else
		feed->clients = client->feed_next;
	if (client->feed_next != NULL)
		client->feed_next->feed_previous = client->feed_previous;
	feed->client_count--;
	feed->used_at = client_now_ms();
	client->feed = NULL;
	client->feed_next = client->feed_previous = NULL;
}

void
gw_feed_continue(GwFeed *feed)
{
	for (GwClient *client = feed->clients, *next; client != NULL; client = next)
	{
		next = client->feed_next;
		if (client->state == GW_WAITING)
			gw_session_continue(client);
	}
}


/* ----------------------------------------------------------------
 *		Changes
 * ----------------------------------------------------------------
 */

void
gw_feed_add_row(GwRing *ring, const PGresult *rows, int row)
{
	const char *texts[3];
	const int	columns[] = {CLIENT_POLL_OLD, CLIENT_POLL_NEW, CLIENT_POLL_OMITTED};

	if (strcmp(PQgetvalue(rows, row, CLIENT_POLL_OPERATION), "initial") == 0)
		return;
	for (int i = 0; i < 3; i++)
		texts[i] = PQgetisnull(rows, row, columns[i]) ? NULL : PQgetvalue(rows, row, columns[i]);
	gw_ring_add(ring, gw_lsn_parse(PQgetvalue(rows, row, CLIENT_POLL_LSN)), PQgetvalue(rows, row, CLIENT_POLL_OPERATION)[0],
				texts[0], texts[1], texts[2]);
	gw_metrics.changes++;
}

/* Has a row the columns that the view had when it was described?  What no JSON can hold is missing. */
static bool
has_columns(const GwFeed *feed, const char *row, bool omits)
{
	JsonScan	scan = json_scan(span_of(row));
	Span		name;
	Span		value;
	int			count = 0;

	while (json_next_member(&scan, &name, &value))
	{
		int			i = 0;

		while (i < feed->view->column_count && !span_is(name, feed->view->columns[i].json_name))
			i++;
		if (i == feed->view->column_count)
			return false;
		count++;
	}
	return count == feed->view->column_count || (omits && count < feed->view->column_count);
}

/*
 * A view that got another query with more columns has all rows in that form from then on,
 * old ones too, and so does one with a column renamed.  All rows of one poll are alike.
 */
bool
gw_feed_is_changed(GwFeed *feed, const PGresult *rows)
{
	int			column = PQntuples(rows) == 0 ? -1 : !PQgetisnull(rows, 0, CLIENT_POLL_NEW) ? CLIENT_POLL_NEW : CLIENT_POLL_OLD;

	if (column < 0 || has_columns(feed, PQgetvalue(rows, 0, column), !PQgetisnull(rows, 0, CLIENT_POLL_OMITTED)))
		return false;
	gw_feed_close(feed, GW_DROP_VIEW, "view_changed", "the columns of the view have changed", true);
	return true;
}

bool
gw_feed_take(GwFeed *feed, const PGresult *rows)
{
	if (gw_feed_is_changed(feed, rows))
		return false;
	for (int i = 0; i < PQntuples(rows); i++)
		gw_feed_add_row(&feed->ring, rows, i);
	return true;
}

/* Does each channel have something to tell of what is new? */
static void
look_for_news(GwFeed *feed, uint64_t from)
{
	for (GwChannel *channel = feed->channels; channel != NULL; channel = channel->next)
	{
		bool		broken = false;

		channel->news = false;
		if (channel->state != GW_CHANNEL_READY)
			continue;
		for (uint64_t seq = from; seq < feed->visible && !channel->news; seq++)
			channel->news = gw_channel_event(channel, &feed->ring, seq, &broken) != NULL || broken;
	}
}

void
gw_feed_publish(GwFeed *feed, bool incomplete)
{
	GwRing	   *ring = &feed->ring;
	uint64_t	from = feed->visible > ring->first_seq ? feed->visible : ring->first_seq;
	uint64_t	to = ring->next_seq;

	/* but an LSN that is as large as all that is kept is sent in pieces */
	if (incomplete && ring->end - ring->start <= (uint64_t) gw_settings.keep_changes)
	{
		uint64_t	last_lsn = gw_ring_position(ring).lsn;

		while (to > from && gw_ring_get(ring, to - 1)->position.lsn == last_lsn)
			to--;
	}
	if (to == from)
		return;
	feed->incomplete = incomplete && to == ring->next_seq;
	feed->visible = to;
	look_for_news(feed, from);
	for (GwClient *client = feed->clients; client != NULL; client = client->feed_next)
	{
		if (client->state != GW_STREAMING || client->channel == NULL)
			continue;
		if (client->channel->news)
			gw_http_wake(client);
		else if (client->seq == from)
			client->seq = to;
	}
	gw_ring_trim(ring, (uint64_t) gw_settings.keep_changes, client_now_ms() - gw_settings.keep_changes_for);
	if (feed->visible < ring->first_seq)
		feed->visible = ring->first_seq;
	gw_feed_advance(feed);
}

void
gw_feed_reset(GwFeed *feed, GwPosition floor)
{
	gw_ring_reset(&feed->ring, floor);
	feed->epoch++;
	feed->visible = feed->ring.next_seq;
	for (GwChannel *channel = feed->channels; channel != NULL; channel = channel->next)
		gw_channel_forget(channel);
	for (GwClient *client = feed->clients, *next; client != NULL; client = next)
	{
		next = client->feed_next;
		if (client->state == GW_STREAMING)
			gw_session_start_over(client);
	}
}

static void
advanced(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;

	feed->advancing = false;
	if (result != NULL && !client_result_ok(result))
	{
		gw_feed_open_again(feed, client_result_message(result));
		return;
	}
	if (result != NULL && !feed->closing)
		gw_feed_advance(feed);
}

/*
 * On the feed's own connection: whoever opens the feed anew waits for its lock, and so
 * for the end of this.  Else it might count changes of which we take some away.
 */
void
gw_feed_advance(GwFeed *feed)
{
	uint64_t	removed;
	char		count[32];
	const char *const values[] = {feed->kept, count};

	if (feed->advancing || feed->exporting || feed->state != GW_FOLLOWING)
		return;
	removed = gw_ring_take_removed(&feed->ring, ADVANCE_STEP);
	if (removed == 0)
		return;
	feed->advancing = true;
	(void) snprintf(count, sizeof(count), "%" PRIu64, removed);
	client_query(client_subscription_connection(feed->subscription),
				 "SELECT pg_catalog.count(*) FROM derive.poll($1, $2::int4)", 2, NULL, values, advanced, feed);
}


/* ----------------------------------------------------------------
 *		Following
 * ----------------------------------------------------------------
 */

static void
polled(void *arg, uint64_t batch, const PGresult *rows)
{
	GwFeed	   *feed = arg;

	(void) batch;
	if (feed->state != GW_FOLLOWING)
		return;
	if (!gw_feed_take(feed, rows))
		return;
	gw_feed_publish(feed, PQntuples(rows) == 1000);
	if (feed->export_wanted)
		gw_round_export(feed);
}

static void
caught_up(void *arg)
{
	GwFeed	   *feed = arg;

	if (feed->state != GW_FOLLOWING)
		return;
	gw_feed_publish(feed, false);
	if (feed->export_wanted)
		gw_round_export(feed);
}

static void
connected(void *arg, ClientConnection *connection)
{
	(void) connection;
	gw_feed_open(arg);
}

static void
disconnected(void *arg)
{
	GwFeed	   *feed = arg;

	if (feed->closing)
		return;
	feed->state = GW_OPENING;
	feed->advancing = false;
	client_timer_clear(&feed->retry);
	gw_rounds_feed_lost(feed);
}

/* The view is looked at by check_feed() soon, and opening finds out what to do about the subscription. */
static bool
failed(void *arg, const char *sqlstate, const char *message)
{
	(void) sqlstate;
	gw_feed_open_again(arg, message);
	return false;
}

bool
gw_feed_has_place(const GwFeed *feed)
{
	int64_t		count = 0;

	for (const GwFeed *other = gw_feeds; other != NULL; other = other->next)
		count += other->state > GW_KNOWN;
	return feed->state > GW_KNOWN || count < gw_settings.max_views;
}

void
gw_feed_follow(GwFeed *feed)
{
	ClientSubscriptionHandlers handlers = {
		.rows = polled,.caught_up = caught_up,.connected = connected,.disconnected = disconnected,
		.failed = failed,.arg = feed
	};
	ClientSubscriptionPlan plan = {.name = feed->live,.max_rows = 1000};

	if (feed->state != GW_KNOWN || feed->view == NULL || !gw_feed_has_place(feed))
		return;
	plan.schema = feed->view->schema;
	plan.view = feed->view->name;
	(void) snprintf(feed->live, sizeof(feed->live), "%.40s/%u", gw_settings.name, feed->view->oid);
	(void) snprintf(feed->kept, sizeof(feed->kept), "%.40s/%u/kept", gw_settings.name, feed->view->oid);
	feed->state = GW_OPENING;
	feed->subscription = client_subscription_create(loop, gw_settings.database, gw_settings.name, &plan, &handlers);
}


/* ----------------------------------------------------------------
 *		Feeds come
 * ----------------------------------------------------------------
 */

static void
add_name(GwFeed *feed, const char *name)
{
	size_t		count = 0;

	while (feed->names != NULL && feed->names[count] != NULL)
		count++;
	feed->names = client_realloc(feed->names, (count + 2) * sizeof(char *));
	feed->names[count] = client_strdup(name);
	feed->names[count + 1] = NULL;
}

static bool
has_name(const GwFeed *feed, const char *name)
{
	for (char **own = feed->names; *own != NULL; own++)
	{
		if (strcmp(*own, name) == 0)
			return true;
	}
	return false;
}

static GwFeed *
other_feed_of(const GwFeed *feed, Oid oid)
{
	for (GwFeed *other = gw_feeds; other != NULL; other = other->next)
	{
		if (other != feed && other->view != NULL && other->view->oid == oid)
			return other;
	}
	return NULL;
}

/* The same view by another name. */
static void
join(GwFeed *feed, GwFeed *other)
{
	bool		follow = feed->follow_when_known;

	add_name(other, feed->names[0]);
	while (feed->clients != NULL)
	{
		GwClient   *client = feed->clients;

		gw_feed_remove_client(client);
		gw_feed_add_client(other, client);
	}
	gw_feed_close(feed, GW_DROP_VIEW, "", "", false);
	if (follow)
		gw_feed_follow(other);
	gw_feed_continue(other);
}

static void
described(void *arg, GwView *view, int status, const char *message)
{
	GwFeed	   *feed = arg;
	GwFeed	   *other = view ? other_feed_of(feed, view->oid) : NULL;

	/*
	 * while the database is away clients wait: a browser gives up for ever if
	 * it is refused
	 */
	feed->asking = false;
	if (status == 503 && !feed->closing)
		return;
	feed->state = GW_KNOWN;
	if (feed->closing || view == NULL)
	{
		gw_view_free(view);
		for (GwClient *client = feed->clients, *next; client != NULL; client = next)
		{
			next = client->feed_next;
			if (client->state == GW_WAITING)
				gw_session_fail(client, status, status == 422 ? "not_offered" : "no_such_view", message);
		}
		gw_feed_close(feed, GW_DROP_VIEW, "no_such_view", "", false);
		return;
	}
	if (other != NULL)
	{
		gw_view_free(view);
		join(feed, other);
		return;
	}
	feed->view = view;
	if (feed->follow_when_known)
		gw_feed_follow(feed);
	gw_feed_continue(feed);
}

/* What was asked when the database was away, or is to be asked first. */
static void
ask_again(GwFeed *feed)
{
	if (!client_connection_is_open(catalog))
		return;
	if (feed->state == GW_DESCRIBING && !feed->asking)
	{
		feed->asking = true;
		gw_view_describe(catalog, feed->names[0], described, feed);
	}
	for (GwChannel *channel = feed->channels; channel != NULL; channel = channel->next)
	{
		if (channel->wanted)
			gw_channel_ask(channel);
	}
	for (GwGrant *grant = feed->grants; grant != NULL; grant = grant->next)
	{
		if (!grant->known)
			gw_grant_ask(grant);
	}
}

GwFeed *
gw_feed_get(const char *name)
{
	GwFeed	   *feed;

	for (feed = gw_feeds; feed != NULL; feed = feed->next)
	{
		if (has_name(feed, name))
			return feed;
	}
	feed = client_alloc(sizeof(GwFeed));
	add_name(feed, name);
	feed->used_at = client_now_ms();
	feed->view_lag = -1;
	feed->next = gw_feeds;
	gw_feeds = feed;
	ask_again(feed);
	return feed;
}


/* ----------------------------------------------------------------
 *		Feeds go
 * ----------------------------------------------------------------
 */

static void
free_feed(GwFeed *feed)
{
	for (char **name = feed->names; *name != NULL; name++)
		free(*name);
	free(feed->names);
	gw_view_free(feed->view);
	gw_ring_free(&feed->ring);
	free(feed->problem);
	free(feed->view_state);
	free(feed);
}

/* Nobody refers to it any more. */
static bool
is_unused(const GwFeed *feed)
{
	return feed->clients == NULL && feed->channels == NULL && feed->grants == NULL && feed->jobs == NULL &&
		!feed->asking && !gw_round_reads(feed);
}

static void
reap(void)
{
	GwFeed	  **place = &closing_feeds;

	while (*place != NULL)
	{
		GwFeed	   *feed = *place;

		if (feed->subscription != NULL)
		{
			client_subscription_destroy(feed->subscription);
			feed->subscription = NULL;
			gw_feed_end_refill(feed);
			feed->exporting = false;
		}
		if (is_unused(feed))
		{
			*place = feed->next;
			free_feed(feed);
		}
		else
			place = &feed->next;
	}
}

void
gw_feed_close(GwFeed *feed, GwDropReason reason, const char *code, const char *message, bool unsubscribe)
{
	GwFeed	  **place = &gw_feeds;
	const char *const values[] = {feed->live, feed->kept};

	if (feed->closing)
		return;
	while (*place != feed)
		place = &(*place)->next;
	*place = feed->next;
	feed->next = closing_feeds;
	closing_feeds = feed;
	feed->closing = true;
	client_timer_clear(&feed->retry);
	if (feed->subscription != NULL)
	{
		client_log(CLIENT_INFO, "view %s is no longer followed: %s", feed->view->identifier, message);
		client_subscription_pause(feed->subscription);
		gw_rounds_feed_lost(feed);
		feed->state = GW_KNOWN;
	}
	for (GwClient *client = feed->clients, *next; client != NULL; client = next)
	{
		next = client->feed_next;
		gw_session_drop(client, reason, code, message);
	}
	/* their rows wait for nobody now */
	while (feed->jobs != NULL)
		gw_job_drop(feed);
	if (unsubscribe && feed->live[0] != '\0')
		client_query(catalog, "SELECT derive.unsubscribe(subscriber) FROM derive.subscriptions WHERE subscriber IN ($1, $2)",
					 2, NULL, values, NULL, NULL);
}


/* ----------------------------------------------------------------
 *		Checks
 * ----------------------------------------------------------------
 */

static void
checked(void *arg, const PGresult *result)
{
	/* it may have gone meanwhile, and is known by its OID */
	char	   *oid = arg;
	GwFeed	   *feed = other_feed_of(NULL, (Oid) strtoul(oid, NULL, 10));
	bool		changed = false;

	free(oid);
	if (feed == NULL)
		return;
	feed->checking = false;
	if (!client_result_ok(result))
		return;
	if (PQntuples(result) == 0 || PQgetisnull(result, 0, 1))
	{
		gw_feed_close(feed, GW_DROP_VIEW, "view_dropped", "the view is gone, or not maintained any more", true);
		return;
	}
	if (strcmp(PQgetvalue(result, 0, 0), feed->view->fingerprint) != 0)
	{
		gw_feed_close(feed, GW_DROP_VIEW, "view_changed", "the name or the columns of the view have changed", true);
		return;
	}
	feed->view_lag = PQgetisnull(result, 0, 2) ? -1 : atof(PQgetvalue(result, 0, 2));
	if (strcmp(feed->view_state ? feed->view_state : "ready", PQgetvalue(result, 0, 1)) != 0)
		changed = true;
	free(feed->view_state);
	feed->view_state = client_strdup(PQgetvalue(result, 0, 1));
	if (changed)
		gw_session_tell_state(feed);
}

void
gw_feed_check(GwFeed *feed)
{
	char	   *oid;
	const char *values[1];

	if (feed->checking)
		return;
	feed->checking = true;
	values[0] = oid = client_sprintf("%u", feed->view->oid);
	client_query(catalog, gw_fingerprint_sql, 1, NULL, values, checked, oid);
}

static void
check(void *arg)
{
	int64_t		patience = UNCONFIRMED_ROUNDS * gw_settings.rights_interval + gw_settings.query_timeout;
	int64_t		now = client_now_ms();

	(void) arg;
	client_timer_set(loop, &check_timer, gw_settings.rights_interval, check, NULL);

	/*
	 * each question is asked once at a time, however busy the connection is:
	 * who keeps it busy does not keep rights that were taken away
	 */
	for (GwFeed *feed = gw_feeds, *next; feed != NULL && client_connection_is_open(catalog); feed = next)
	{
		next = feed->next;
		if (feed->view == NULL)
			continue;
		if (now - catalog_since > patience)
			gw_grants_expire(feed, now - patience);
		gw_feed_check(feed);
		gw_grants_check(feed);
	}
}

/* Once a second. */
static void
tend(void *arg)
{
	int64_t		now = client_now_ms();

	(void) arg;
	client_timer_set(loop, &tend_timer, 1000, tend, NULL);
	gw_sessions_check();
	for (GwFeed *feed = gw_feeds, *next; feed != NULL; feed = next)
	{
		next = feed->next;
		ask_again(feed);
		if (feed->clients != NULL || (feed->view == NULL && feed->asking))
			continue;
		if (feed->state <= GW_KNOWN ? now - feed->used_at > FORGET_MS : now - feed->used_at > gw_settings.unfollow_after)
			gw_feed_close(feed, GW_DROP_VIEW, "", "nobody reads it", true);
	}
	reap();
}

/* Views of subscriptions that an earlier gateway of this name has left are followed again. */
static void
got_old_ones(void *arg, const PGresult *result)
{
	(void) arg;
	if (!client_result_ok(result))
		return;
	found_old_ones = true;
	for (int i = 0; i < PQntuples(result); i++)
	{
		GwFeed	   *feed = gw_feed_get(PQgetvalue(result, i, 0));

		feed->follow_when_known = true;
		gw_feed_follow(feed);
	}
}

static void
got_own_role(void *arg, const PGresult *result)
{
	(void) arg;
	if (client_result_ok(result) && PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "t") == 0)
		client_log(CLIENT_WARNING, "the gateway connects as a superuser; give it a role of its own (docs/gateway.md)");
}

static void
catalog_connected(void *arg)
{
	const char *const values[] = {gw_settings.name};
	char		timeout[32];
	const char *const timeouts[] = {timeout};

	(void) arg;
	catalog_since = client_now_ms();
	(void) snprintf(timeout, sizeof(timeout), "%" PRId64, gw_settings.query_timeout);
	client_query(catalog, "SELECT pg_catalog.set_config('statement_timeout', $1, false)", 1, NULL, timeouts, NULL, NULL);
	client_query(catalog, "SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER", 0, NULL, NULL, got_own_role, NULL);
	for (GwFeed *feed = gw_feeds; feed != NULL; feed = feed->next)
		ask_again(feed);
	if (!found_old_ones)
		client_query(catalog, "SELECT DISTINCT n.nspname || '.' || c.relname FROM derive.subscriptions s JOIN pg_class c ON c.oid = s.view "
					 "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.subscriber = $1 || '/' || c.oid", 1, NULL, values, got_old_ones, NULL);
}

void
gw_feeds_start(ClientLoop *of)
{
	ClientConnectionHandlers handlers = {.connected = catalog_connected};

	loop = of;
	catalog = client_connection_create(loop, "catalog", gw_settings.database, gw_settings.name, &handlers);
	client_timer_set(loop, &check_timer, gw_settings.rights_interval, check, NULL);
	client_timer_set(loop, &tend_timer, 1000, tend, NULL);
}
