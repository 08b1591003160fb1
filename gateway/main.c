/*-------------------------------------------------------------------------
 *
 * main.c
 *	  pg_derive_gateway: maintained views for browsers and services.
 *
 * One process, one thread, one event loop.  Who does what:
 *
 *	http.c		requests in, bytes out
 *	session.c	what becomes of a request, step by step
 *	feed.c		a view that is read: its last changes, who follows it
 *	channel.c	the same changes as events, for those who want the same rows and columns
 *	round.c		rows at a known place in the changes
 *	rights.c	who may read what
 *
 * SIGTERM and SIGINT: say farewell to all, and end.  SIGHUP: read keys again.
 *
 *-------------------------------------------------------------------------
 */
#include "clock.h"
#include "feed.h"
#include "http.h"
#include "log.h"
#include "round.h"
#include "session.h"
#include "settings.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static ClientTimer stop_timer;
static bool stopping;
static int64_t stop_at;

static void
wait_for_clients(void *arg)
{
	(void) arg;
	gw_http_interrupt();
	client_timer_set(gw_loop(), &stop_timer, 20, wait_for_clients, NULL);
}

static void
stop(void *arg, int signal)
{
	(void) arg;
	(void) signal;
	if (stopping)
		stop_at = 0;
	else
	{
		client_log(CLIENT_INFO, "stopping");
		stop_at = client_now_ms() + gw_settings.stop_timeout;
		gw_sessions_stop();
	}
	stopping = true;
	wait_for_clients(NULL);
}

static void
reload(void *arg, int signal)
{
	char	   *wrong = gw_auth_load();

	(void) arg;
	(void) signal;
	if (wrong != NULL)
		client_log(CLIENT_ERROR, "keys are not read again: %s", wrong);
	else
	{
		client_log(CLIENT_INFO, "keys are read again");
		gw_sessions_check_keys();
	}
	free(wrong);
}

static void
check_settings(void)
{
	char	   *wrong;

	client_log_set_level(gw_settings.log_level);
	if (gw_settings.name == NULL || strlen(gw_settings.name) > 40)
		client_fatal("name has 1 to 40 bytes");
	if (gw_settings.schemas == NULL)
		client_fatal("schemas names at least one schema");
	if ((gw_settings.tls_certificate == NULL) != (gw_settings.tls_key == NULL))
		client_fatal("tls_certificate and tls_key are set together");
	wrong = gw_auth_load();
	if (wrong != NULL)
		client_fatal("%s", wrong);
}

int
main(int argc, char **argv)
{
	ClientLoop *loop;

	if (argc == 3 && strcmp(argv[1], "--hash-key") == 0)
		return gw_auth_hash_key(argv[2]);
	client_options_read(gw_options, argc, argv, GW_PROGRAM, GW_VERSION,
						"Maintained views of PostgreSQL for browsers and services: rows as JSON and CSV, changes as\n"
						"Server-Sent Events and WebSocket messages. docs/gateway.md has all of it.\n"
						"\n" GW_PROGRAM " --hash-key ROLE reads an API key and prints its line for the file api_keys.");
	check_settings();
	(void) signal(SIGPIPE, SIG_IGN);
	loop = client_loop_create();
	client_on_signal(loop, SIGTERM, stop, NULL);
	client_on_signal(loop, SIGINT, stop, NULL);
	client_on_signal(loop, SIGHUP, reload, NULL);
	gw_feeds_start(loop);
	gw_rounds_start(loop);
	gw_http_start(loop);
	while (!stopping || (gw_clients != NULL && client_now_ms() < stop_at))
		gw_http_service();
	gw_http_stop();
	return 0;
}
