/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  A durable subscription of a view, polled when there is something.
 *
 * It has a connection of its own.  derive.subscribe() is called if there is no such
 * subscription yet.  derive.poll() is called at once, when derive_<view> is notified,
 * and now and then without; what it returns goes to a handler, in order:
 *
 *	transactional	poll is called in a transaction that is open while the handler's
 *					caller works, however long; client_subscription_commit() ends it,
 *					or client_subscription_rollback(), after which the same comes again.
 *					Exactly once together with what else is done in that transaction, by
 *					queries on the same connection; at least once otherwise.
 *	otherwise		each poll is committed by itself, and the next one follows.  What a
 *					poll returned is lost if the connection is lost with its result.
 *
 * When the connection comes back all of this starts over, from the position that is
 * committed.
 *
 * A worked example, a program that prints the changes of a view:
 *
 *	static void
 *	print(void *arg, uint64_t batch, const PGresult *rows)
 *	{
 *		for (int i = 0; i < PQntuples(rows); i++)
 *			puts(PQgetvalue(rows, i, CLIENT_POLL_NEW));
 *		client_subscription_commit(*(ClientSubscription **) arg, batch);
 *	}
 *
 *	ClientSubscription *subscription;
 *	ClientSubscriptionHandlers handlers = {.rows = print, .arg = &subscription};
 *	ClientLoop *loop = client_loop_create();
 *
 *	subscription = client_subscription_create(loop, "dbname=shop", "printer", &(ClientSubscriptionPlan) {
 *		.schema = "public", .view = "totals", .name = "printer", .transactional = true}, &handlers);
 *	for (;;)
 *		client_loop_service(loop, -1);
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_SUBSCRIPTION_H
#define CLIENT_SUBSCRIPTION_H

#include "connection.h"

typedef struct ClientSubscription ClientSubscription;

/* Columns of the rows that poll returns: operation, old, new, lsn, omitted. */
typedef enum ClientPollColumn
{
	CLIENT_POLL_OPERATION,		/* "initial", "insert", "update" or "delete" */
	CLIENT_POLL_OLD,			/* the text of a jsonb, or null */
	CLIENT_POLL_NEW,
	CLIENT_POLL_LSN,			/* "0/16E44F8"; null if a view without changes
								 * has it not */
	CLIENT_POLL_OMITTED			/* the text of a jsonb: an array of names of
								 * columns, or null */
} ClientPollColumn;

/* What is subscribed to, and how.  Texts are copied. */
typedef struct ClientSubscriptionPlan
{
	const char *schema;
	const char *view;
	const char *name;			/* of the subscription; 1 to 63 bytes */
	int			max_rows;		/* of a poll; 0: 1000 */
	bool		transactional;
	int			poll_ms;		/* longest time between two polls; 0: 10 s */
} ClientSubscriptionPlan;

/* Each may be NULL but "rows". */
typedef struct ClientSubscriptionHandlers
{
	/*
	 * at least one row; not called again before commit or rollback, if it is
	 * transactional
	 */
	void		(*rows) (void *arg, uint64_t batch, const PGresult *rows);

	/* a poll returned nothing: for the moment there is nothing more */
	void		(*caught_up) (void *arg);

	/*
	 * a new session; before the first poll.  Queries that are queued here
	 * come before it
	 */
	void		(*connected) (void *arg, ClientConnection *connection);

	/* the connection is lost: an open transaction was rolled back */
	void		(*disconnected) (void *arg);

	/*
	 * subscribe, poll or COMMIT fails.  True: go on and try it again after a
	 * pause (of 1 s); false: leave it alone until
	 * client_subscription_resume(). SQLSTATE 42704 is a subscription that
	 * went with its view, 55000 one that has fallen behind, or whose view is
	 * paused or failed before its first poll.  After COMMIT has failed with
	 * an error the transaction was rolled back.
	 */
	bool		(*failed) (void *arg, const char *sqlstate, const char *message);
	void	   *arg;
} ClientSubscriptionHandlers;

extern ClientSubscription *client_subscription_create(ClientLoop *loop, const char *conninfo, const char *application_name,
													  const ClientSubscriptionPlan *plan,
													  const ClientSubscriptionHandlers *handlers);

/* The subscription itself stays in the database.  Not from within a handler of it. */
extern void client_subscription_destroy(ClientSubscription *subscription);

/* End the transaction of a batch.  Nothing is done if that was lost meanwhile: the number of each batch is its own. */
extern void client_subscription_commit(ClientSubscription *subscription, uint64_t batch);
extern void client_subscription_rollback(ClientSubscription *subscription, uint64_t batch);

/* Poll no more; go on. While it is paused and idle its connection is free for other queries. */
extern void client_subscription_pause(ClientSubscription *subscription);
extern void client_subscription_resume(ClientSubscription *subscription);

/* No poll, commit or rollback is under way or open. */
extern bool client_subscription_is_idle(const ClientSubscription *subscription);

extern ClientConnection *client_subscription_connection(ClientSubscription *subscription);

#endif
