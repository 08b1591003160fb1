/*-------------------------------------------------------------------------
 *
 * subscription.c
 *	  A durable subscription of a view, polled when there is something.
 *
 * States, and what leads from one to the next:
 *
 *	AWAY ---connected, LISTEN, subscribe---> RESTING <------------------------+
 *	                                         |     ^                          |
 *	               notified, timer, resume   |     | no rows; rows, if not    | COMMIT,
 *	                                         v     | transactional            | ROLLBACK done
 *	                                        POLLING ---> HANDED_OUT ---> ENDING
 *	                                               rows            commit(), rollback()
 *
 * A loss of the connection leads from each to AWAY.  "wanted" says that there may be
 * something: it is set by a notification in any state, so that one which comes while
 * a poll is under way is not missed, and after a poll that returned rows.
 *
 * LISTEN comes before the first poll: what is committed between the two is polled or
 * notified.  BEGIN and poll are sent one after the other without waiting.
 *
 *-------------------------------------------------------------------------
 */
#include "subscription.h"

#include "log.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_ROWS	1000
#define DEFAULT_POLL_MS		10000
#define RETRY_MS			1000

/* As of the server's NAMEDATALEN: a longer name of a channel is cut there. */
#define MAX_NAME			63

typedef enum State
{
	AWAY,
	RESTING,
	POLLING,
	HANDED_OUT,
	ENDING
} State;

struct ClientSubscription
{
	ClientLoop *loop;
	ClientConnection *connection;
	ClientSubscriptionHandlers handlers;
	char	   *schema;
	char	   *view;
	char	   *name;
	char		max_rows[16];
	bool		transactional;
	int			poll_ms;
	State		state;
	bool		wanted;
	bool		paused;
	bool		stopped;		/* after an error, until resume */
	uint64_t	batch;			/* number of the last one that was handed out */
	ClientTimer timer;			/* the next poll without a notification, or
								 * after an error */
};

static void poll_if_wanted(ClientSubscription *subscription);
static void begin_session(ClientSubscription *subscription);


/* ----------------------------------------------------------------
 *		Errors
 * ----------------------------------------------------------------
 */

static void
retry(void *arg)
{
	ClientSubscription *subscription = arg;

	if (subscription->stopped || !client_connection_is_open(subscription->connection))
		return;
	if (subscription->state == AWAY)
		begin_session(subscription);
	else
	{
		subscription->wanted = true;
		poll_if_wanted(subscription);
	}
}

/* Returns whether the result is none of success.  A lost connection is told by "disconnected". */
static bool
has_failed(ClientSubscription *subscription, const PGresult *result)
{
	if (client_result_ok(result))
		return false;
	if (result == NULL)
		return true;
	client_log(CLIENT_WARNING, "subscription \"%s\": %s", subscription->name, client_result_message(result));
	subscription->wanted = false;
	if (subscription->handlers.failed == NULL ||
		subscription->handlers.failed(subscription->handlers.arg, client_result_sqlstate(result), client_result_message(result)))
		client_timer_set(subscription->loop, &subscription->timer, RETRY_MS, retry, subscription);
	else
		subscription->stopped = true;
	return true;
}


/* ----------------------------------------------------------------
 *		Polling
 * ----------------------------------------------------------------
 */

static void
is_due(void *arg)
{
	ClientSubscription *subscription = arg;

	subscription->wanted = true;
	poll_if_wanted(subscription);
}

static void
rest(ClientSubscription *subscription)
{
	subscription->state = RESTING;
	if (!subscription->stopped && subscription->timer.loop == NULL)
		client_timer_set(subscription->loop, &subscription->timer, subscription->poll_ms, is_due, subscription);
	poll_if_wanted(subscription);
}

static void
transaction_ended(void *arg, const PGresult *result)
{
	ClientSubscription *subscription = arg;

	(void) has_failed(subscription, result);
	if (result != NULL)
		rest(subscription);
}

static void
end_transaction(ClientSubscription *subscription, const char *how)
{
	subscription->state = ENDING;
	client_query(subscription->connection, how, 0, NULL, NULL, transaction_ended, subscription);
}

static void
ignore(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

static void
polled(void *arg, const PGresult *result)
{
	ClientSubscription *subscription = arg;
	bool		failed = has_failed(subscription, result);
	bool		rows = !failed && PQntuples(result) > 0;

	if (result == NULL)
		return;
	if (rows)
	{
		subscription->wanted = true;
		subscription->state = subscription->transactional ? HANDED_OUT : RESTING;
		subscription->handlers.rows(subscription->handlers.arg, ++subscription->batch, result);
	}
	else if (!failed && subscription->handlers.caught_up != NULL)
	{
		if (!subscription->transactional)
			subscription->state = RESTING;
		subscription->handlers.caught_up(subscription->handlers.arg);
	}
	if (!subscription->transactional)
		rest(subscription);
	else if (!rows)
		end_transaction(subscription, "ROLLBACK");
}

static void
poll_if_wanted(ClientSubscription *subscription)
{
	const char *const values[] = {subscription->name, subscription->max_rows};

	if (!subscription->wanted || subscription->paused || subscription->stopped || subscription->state != RESTING ||
		!client_connection_is_open(subscription->connection))
		return;
	client_timer_clear(&subscription->timer);
	subscription->wanted = false;
	subscription->state = POLLING;
	if (subscription->transactional)
		client_query(subscription->connection, "BEGIN", 0, NULL, NULL, ignore, NULL);
	client_query(subscription->connection,
				 "SELECT operation, old, new, lsn, pg_catalog.to_jsonb(omitted) FROM derive.poll($1, $2::pg_catalog.int4)",
				 2, NULL, values, polled, subscription);
}


/* ----------------------------------------------------------------
 *		The session
 * ----------------------------------------------------------------
 */

static void
subscribed(void *arg, const PGresult *result)
{
	ClientSubscription *subscription = arg;

	if (has_failed(subscription, result))
		return;
	subscription->wanted = true;
	rest(subscription);
}

/*
 * One statement subscribes if there is no such subscription.  "duplicate object" would
 * be an error in the server's log whenever we connect.
 */
static void
begin_session(ClientSubscription *subscription)
{
	const char *const values[] = {subscription->schema, subscription->view, subscription->name};
	char	   *channel = client_sprintf("derive_%s", subscription->view);
	size_t		length = strlen(channel);
	char	   *identifier;
	char	   *listen;

	/* cut as the server does, before the character that does not fit whole */
	if (length > MAX_NAME)
	{
		for (length = MAX_NAME; ((unsigned char) channel[length] & 0xC0) == 0x80;)
			length--;
	}
	identifier = PQescapeIdentifier(client_connection_pq(subscription->connection), channel, length);
	listen = client_sprintf("LISTEN %s", identifier ? identifier : "derive_");
	client_query(subscription->connection, listen, 0, NULL, NULL, ignore, NULL);
	free(listen);
	free(channel);
	PQfreemem(identifier);
	client_query(subscription->connection,
				 "SELECT CASE WHEN NOT EXISTS (SELECT FROM derive.subscriptions WHERE subscriber = $3) THEN "
				 "derive.subscribe(pg_catalog.format('%I.%I', $1::text, $2::text)::pg_catalog.regclass, $3)::text END",
				 3, NULL, values, subscribed, subscription);
}

static void
connected(void *arg)
{
	ClientSubscription *subscription = arg;

	if (subscription->handlers.connected != NULL)
		subscription->handlers.connected(subscription->handlers.arg, subscription->connection);
	if (!subscription->stopped)
		begin_session(subscription);
}

static void
disconnected(void *arg, const char *why)
{
	ClientSubscription *subscription = arg;

	(void) why;
	subscription->state = AWAY;
	subscription->wanted = false;
	client_timer_clear(&subscription->timer);
	if (subscription->handlers.disconnected != NULL)
		subscription->handlers.disconnected(subscription->handlers.arg);
}

static void
notified(void *arg, const char *channel, const char *payload)
{
	(void) channel;
	(void) payload;
	is_due(arg);
}


/* ----------------------------------------------------------------
 *		Calls
 * ----------------------------------------------------------------
 */

ClientSubscription *
client_subscription_create(ClientLoop *loop, const char *conninfo, const char *application_name,
						   const ClientSubscriptionPlan *plan, const ClientSubscriptionHandlers *handlers)
{
	ClientSubscription *subscription = client_alloc(sizeof(ClientSubscription));
	ClientConnectionHandlers own = {connected, disconnected, notified, subscription};
	char	   *label = client_sprintf("subscription \"%s\"", plan->name);

	subscription->loop = loop;
	subscription->handlers = *handlers;
	subscription->schema = client_strdup(plan->schema);
	subscription->view = client_strdup(plan->view);
	subscription->name = client_strdup(plan->name);
	(void) snprintf(subscription->max_rows, sizeof(subscription->max_rows), "%d",
					plan->max_rows > 0 ? plan->max_rows : DEFAULT_MAX_ROWS);
	subscription->transactional = plan->transactional;
	subscription->poll_ms = plan->poll_ms > 0 ? plan->poll_ms : DEFAULT_POLL_MS;
	subscription->connection = client_connection_create(loop, label, conninfo, application_name, &own);
	free(label);
	return subscription;
}

void
client_subscription_destroy(ClientSubscription *subscription)
{
	client_timer_clear(&subscription->timer);
	client_connection_destroy(subscription->connection);
	free(subscription->schema);
	free(subscription->view);
	free(subscription->name);
	free(subscription);
}

void
client_subscription_commit(ClientSubscription *subscription, uint64_t batch)
{
	if (subscription->state == HANDED_OUT && subscription->batch == batch)
		end_transaction(subscription, "COMMIT");
}

void
client_subscription_rollback(ClientSubscription *subscription, uint64_t batch)
{
	if (subscription->state == HANDED_OUT && subscription->batch == batch)
		end_transaction(subscription, "ROLLBACK");
}

void
client_subscription_pause(ClientSubscription *subscription)
{
	subscription->paused = true;
}

void
client_subscription_resume(ClientSubscription *subscription)
{
	bool		was_stopped = subscription->stopped;

	subscription->paused = false;
	subscription->stopped = false;
	if (was_stopped)
		client_timer_set(subscription->loop, &subscription->timer, 0, retry, subscription);
	else
		poll_if_wanted(subscription);
}

bool
client_subscription_is_idle(const ClientSubscription *subscription)
{
	return subscription->state == AWAY || subscription->state == RESTING;
}

ClientConnection *
client_subscription_connection(ClientSubscription *subscription)
{
	return subscription->connection;
}
