/*-------------------------------------------------------------------------
 *
 * feed_open.c
 *	  How a feed opens.
 *
 * When the feed's connection is there, and polls are paused:
 *
 *	lock()		a lock of the session: no other gateway of this name follows the view
 *	look()		are both subscriptions there, and have they begun?
 *	  renew()	if not, or one is lost: subscribe anew, with both at the same place
 *	  begin()	if they are new: under one snapshot, skip the rows of the view.  The ring is
 *				empty, its floor a new start.  Who follows begins anew
 *	  refill()	if not: under one snapshot, read all that the kept one has, and take it back;
 *				then skip what the other one has, which is a part of that
 *
 * In between the subscription's own first statements run on the same connection (LISTEN,
 * and subscribe, if there is none of that name); they do no harm, wherever they come.
 *
 * refill() adds to the ring what is behind its last change.  That change must be among
 * what is read, if it is not the floor of the ring, and vice versa; if neither is known,
 * something was lost, and all begin anew.
 *
 *-------------------------------------------------------------------------
 */
#include "feed.h"
#include "log.h"
#include "memory.h"
#include "round.h"
#include "settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS	1000
#define LOOK_MS		50

/* All that there is. */
#define EVERYTHING	"2147483647"

/*
 * The number of the start that a ring without a change begins with: it is another one
 * whenever the kept subscription was moved on.  Else one who has got nothing but the rows
 * would seem to lack only what is kept.  A poll that is rolled back does not change it.
 */
#define START \
	"(pg_catalog.date_part('epoch', coalesce(polled_at, created_at)) * 1000000)::int8"

static void lock(void *arg);
static void look(void *arg);

static ClientConnection *
connection_of(GwFeed *feed)
{
	return client_subscription_connection(feed->subscription);
}

void
gw_feed_open_again(GwFeed *feed, const char *problem)
{
	bool		was_following = feed->state == GW_FOLLOWING;

	if (feed->closing)
		return;
	if (feed->problem == NULL || strcmp(feed->problem, problem) != 0)
	{
		client_log(CLIENT_WARNING, "view %s is not followed: %s", feed->view->identifier, problem);
		free(feed->problem);
		feed->problem = client_strdup(problem);
	}
	feed->state = GW_OPENING;
	client_subscription_pause(feed->subscription);
	if (was_following)
		gw_rounds_feed_lost(feed);
	client_timer_set(gw_loop(), &feed->retry, RETRY_MS, lock, feed);
}

/* True if the result is none of success; of a lost connection all is told elsewhere. */
static bool
has_failed(GwFeed *feed, const PGresult *result)
{
	if (client_result_ok(result))
		return false;
	if (result != NULL)
	{
		client_query(connection_of(feed), "ROLLBACK", 0, NULL, NULL, NULL, NULL);
		gw_feed_open_again(feed, client_result_message(result));
	}
	return true;
}

/* Likewise of a COMMIT; that of a transaction that has failed rolls back, and is no error. */
static bool
has_not_committed(GwFeed *feed, const PGresult *result)
{
	if (has_failed(feed, result))
		return true;
	if (strcmp(PQcmdStatus((PGresult *) result), "COMMIT") == 0)
		return false;
	gw_feed_open_again(feed, feed->problem ? feed->problem : "a transaction was rolled back");
	return true;
}

static void
opened(GwFeed *feed)
{
	if (feed->closing)
		return;
	feed->state = GW_FOLLOWING;
	free(feed->problem);
	feed->problem = NULL;
	client_log(CLIENT_INFO, "view %s is followed, with %" PRIu64 " changes kept", feed->view->identifier,
			   feed->ring.next_seq - feed->ring.first_seq);
	client_subscription_resume(feed->subscription);
	gw_feed_publish(feed, false);
	gw_feed_check(feed);
	gw_feed_continue(feed);
	gw_rounds_continue();
}


/* ----------------------------------------------------------------
 *		New subscriptions
 * ----------------------------------------------------------------
 */

static void
begun(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;

	if (has_failed(feed, result) || feed->closing)
		return;
	if (PQntuples(result) == 0)
	{
		gw_feed_open_again(feed, "a subscription is gone");
		return;
	}
	feed->ring.floor.number = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	opened(feed);
}

static void
skipping_committed(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;
	const char *const values[] = {feed->kept};

	if (has_not_committed(feed, result) || feed->closing)
		return;
	client_query(connection_of(feed), "SELECT " START " FROM derive.subscriptions WHERE subscriber = $1", 1, NULL, values, begun, feed);
}

static void
skipped(void *arg, const PGresult *result)
{
	(void) has_failed(arg, result);
}

static void
begin(GwFeed *feed, uint64_t start)
{
	const char *const values[] = {feed->live, feed->kept};
	ClientConnection *connection = connection_of(feed);
	GwPosition	floor = {0, start};

	feed->ever_followed = true;
	gw_feed_reset(feed, floor);
	client_query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ", 0, NULL, NULL, NULL, NULL);
	client_query(connection, "SELECT pg_catalog.count(*) FROM (SELECT FROM derive.poll($1, " EVERYTHING ") "
				 "UNION ALL SELECT FROM derive.poll($2, " EVERYTHING ")) AS p", 2, NULL, values, skipped, feed);
	client_query(connection, "COMMIT", 0, NULL, NULL, skipping_committed, feed);
}

static void
renewed(void *arg, const PGresult *result)
{
	if (!has_failed(arg, result))
		look(arg);
}

static void
removed(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;
	char		oid[16];
	const char *const values[] = {oid, feed->live, feed->kept};

	if (has_failed(feed, result))
		return;
	(void) snprintf(oid, sizeof(oid), "%u", feed->view->oid);
	client_query(connection_of(feed), "SELECT derive.subscribe($1::oid::regclass, $2), derive.subscribe($1::oid::regclass, $3)",
				 3, NULL, values, renewed, feed);
}

static void
renew(GwFeed *feed)
{
	const char *const values[] = {feed->live, feed->kept};

	client_query(connection_of(feed), "SELECT derive.unsubscribe(subscriber) FROM derive.subscriptions WHERE subscriber IN ($1, $2)",
				 2, NULL, values, removed, feed);
}


/* ----------------------------------------------------------------
 *		Old ones
 * ----------------------------------------------------------------
 */

/* What the kept subscription has. */
typedef struct GwRefill
{
	GwFeed	   *feed;
	GwRing		ring;			/* what is read */
	bool		failed;
} GwRefill;

static void
refilled(void *arg, const PGresult *result)
{
	GwRefill   *refill = arg;
	GwFeed	   *feed = refill->feed;

	if (!refill->failed && !has_not_committed(feed, result))
	{
		if (!gw_ring_merge(&feed->ring, &refill->ring))
		{
			if (feed->ever_followed)
				client_log(CLIENT_WARNING, "view %s: what was followed does not go on; all begin anew", feed->view->identifier);
			gw_feed_reset(feed, refill->ring.floor);
			(void) gw_ring_merge(&feed->ring, &refill->ring);
			feed->visible = feed->ring.next_seq;
		}
		feed->ever_followed = true;
		opened(feed);
	}
	gw_feed_end_refill(feed);
}

void
gw_feed_end_refill(GwFeed *feed)
{
	if (feed->refill != NULL)
		gw_ring_free(&feed->refill->ring);
	free(feed->refill);
	feed->refill = NULL;
}

static void
refill_step(void *arg, const PGresult *result)
{
	GwRefill   *refill = arg;

	if (!refill->failed && has_failed(refill->feed, result))
		refill->failed = true;
}

static void
refill_row(void *arg, const PGresult *result)
{
	GwRefill   *refill = arg;

	if (PQresultStatus(result) != PGRES_SINGLE_TUPLE)
	{
		refill_step(arg, result);
		return;
	}
	if (refill->failed)
		return;
	if (refill->ring.first_seq == refill->ring.next_seq && gw_feed_is_changed(refill->feed, result))
	{
		refill->failed = true;
		return;
	}
	gw_feed_add_row(&refill->ring, result, 0);
	gw_ring_trim(&refill->ring, (uint64_t) gw_settings.keep_changes, 0);
}

static void
refill(GwFeed *feed, uint64_t start)
{
	GwRefill   *refill = client_alloc(sizeof(GwRefill));
	ClientConnection *connection = connection_of(feed);
	const char *const kept[] = {feed->kept};
	const char *const live[] = {feed->live};

	feed->refill = refill;
	refill->feed = feed;
	refill->ring.floor.number = start;
	client_query(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ", 0, NULL, NULL, NULL, NULL);
	client_query(connection, "SAVEPOINT kept", 0, NULL, NULL, NULL, NULL);
	client_query_rows(connection, "SELECT operation, old, new, lsn, pg_catalog.to_jsonb(omitted) FROM derive.poll($1, " EVERYTHING ")",
					  1, NULL, kept, refill_row, refill);
	client_query(connection, "ROLLBACK TO SAVEPOINT kept", 0, NULL, NULL, refill_step, refill);
	client_query(connection, "SELECT pg_catalog.count(*) FROM derive.poll($1, " EVERYTHING ")", 1, NULL, live, refill_step, refill);
	client_query(connection, "COMMIT", 0, NULL, NULL, refilled, refill);
}


/* ----------------------------------------------------------------
 *		The beginning
 * ----------------------------------------------------------------
 */

/* The state of the live one, that of the kept one, and the start of the latter. */
static void
looked(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;
	const char *states[2] = {"none", "none"};
	uint64_t	start;

	if (has_failed(feed, result) || feed->closing)
		return;
	for (int i = 0; i < 2; i++)
	{
		if (!PQgetisnull(result, 0, i))
			states[i] = PQgetvalue(result, 0, i);
	}
	start = strtoull(PQgetvalue(result, 0, 2), NULL, 10);
	if (strcmp(states[0], "following") == 0 && strcmp(states[1], "following") == 0)
		refill(feed, start);
	else if (strcmp(states[0], "initial") == 0 && strcmp(states[1], "initial") == 0)
		begin(feed, start);
	else if (strcmp(states[0], "starting") == 0 && strcmp(states[1], "starting") == 0)
		client_timer_set(gw_loop(), &feed->retry, LOOK_MS, look, feed);
	else if ((strcmp(states[0], "starting") == 0 && strcmp(states[1], "initial") == 0) ||
			 (strcmp(states[0], "initial") == 0 && strcmp(states[1], "starting") == 0))
		client_timer_set(gw_loop(), &feed->retry, LOOK_MS, look, feed);
	else
		renew(feed);
}

static void
look(void *arg)
{
	GwFeed	   *feed = arg;
	const char *const values[] = {feed->live, feed->kept};

	client_query(connection_of(feed),
				 "SELECT pg_catalog.max(state) FILTER (WHERE subscriber = $1), pg_catalog.max(state) FILTER (WHERE subscriber = $2), "
				 "pg_catalog.max(" START ") FILTER (WHERE subscriber = $2) "
				 "FROM derive.subscriptions WHERE subscriber IN ($1, $2)", 2, NULL, values, looked, feed);
}

static void
locked(void *arg, const PGresult *result)
{
	GwFeed	   *feed = arg;

	if (has_failed(feed, result) || feed->closing)
		return;
	if (strcmp(PQgetvalue(result, 0, 0), "t") == 0)
		look(feed);
	else
		gw_feed_open_again(feed, "another gateway of this name follows it");
}

/* A session that has the lock already gets it once more, which does no harm. */
static void
lock(void *arg)
{
	GwFeed	   *feed = arg;
	const char *const values[] = {feed->live};

	if (feed->closing || !client_connection_is_open(connection_of(feed)))
		return;
	client_query(connection_of(feed), "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 7013))",
				 1, NULL, values, locked, feed);
}

void
gw_feed_open(GwFeed *feed)
{
	if (feed->closing)
		return;
	feed->session++;
	feed->state = GW_OPENING;
	client_subscription_pause(feed->subscription);
	lock(feed);
}
