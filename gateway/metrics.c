/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  What the gateway counts, and /health and /metrics.
 *
 *-------------------------------------------------------------------------
 */
#include "metrics.h"

#include "feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

GwMetrics	gw_metrics;

const char *const gw_drop_names[GW_DROP_REASONS] = {
	[GW_DROP_SLOW] = "slow",[GW_DROP_RIGHTS] = "rights",[GW_DROP_VIEW] = "view",
	[GW_DROP_STOPPING] = "stopping",[GW_DROP_ERROR] = "error"
};

static const struct
{
	const char *name;
	const char *type;
	const char *help;
	const uint64_t *value;
}			counters[] =

{
	{"streams_total", "counter", "Streams that have begun.", &gw_metrics.streams},
	{"resumed_streams_total", "counter", "Streams that went on from the id of an event.", &gw_metrics.resumed},
	{"changes_total", "counter", "Changes of views that came.", &gw_metrics.changes},
	{"events_total", "counter", "Changes that were sent to clients.", &gw_metrics.events},
	{"sent_bytes_total", "counter", "Bytes that were sent to clients, without TLS and frames.", &gw_metrics.bytes},
	{"reads_total", "counter", "Times that rows of a view were read.", &gw_metrics.reads},
};

static void
heading(ClientBuffer *text, const char *name, const char *type, const char *help)
{
	client_buffer_addf(text, "# HELP pg_derive_gateway_%s %s\n# TYPE pg_derive_gateway_%s %s\n", name, help, name, type);
}

static double
view_followed(const GwFeed *feed)
{
	return feed->state == GW_FOLLOWING;
}

static double
view_streams(const GwFeed *feed)
{
	double		result = 0;

	for (const GwClient *client = feed->clients; client != NULL; client = client->feed_next)
		result += client->state == GW_STREAMING;
	return result;
}

static double
view_kept(const GwFeed *feed)
{
	return (double) (feed->ring.next_seq - feed->ring.first_seq);
}

static double
view_kept_bytes(const GwFeed *feed)
{
	return (double) (feed->ring.end - feed->ring.start);
}

static double
view_lag(const GwFeed *feed)
{
	return feed->view_lag;
}

static const struct
{
	const char *name;
	const char *help;
	double		(*value) (const GwFeed *feed);
}			gauges[] =

{
	{"view_followed", "1 while changes of the view arrive.", view_followed},
	{"view_streams", "Clients that follow the view.", view_streams},
	{"view_kept_changes", "Changes that are kept for clients that come again.", view_kept},
	{"view_kept_bytes", "Their bytes.", view_kept_bytes},
	{"view_lag_seconds", "Lag of the view in the database; -1: not known.", view_lag},
};

/* A value of a label, with what has to be escaped there. */
static void
add_label(ClientBuffer *text, const char *value)
{
	for (; *value != '\0'; value++)
	{
		if (*value == '"' || *value == '\\')
			client_buffer_add_char(text, '\\');
		if (*value == '\n')
			client_buffer_add_text(text, "\\n");
		else
			client_buffer_add_char(text, *value);
	}
}

static long
resident_bytes(void)
{
	long		pages = 0;
	FILE	   *file = fopen("/proc/self/statm", "r");

	if (file == NULL || fscanf(file, "%*s %ld", &pages) != 1)
		pages = 0;
	if (file != NULL)
		fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

void
gw_metrics_write(ClientBuffer *text)
{
	heading(text, "connections", "gauge", "Connections of clients.");
	client_buffer_addf(text, "pg_derive_gateway_connections %" PRId64 "\n", gw_metrics.connections);
	heading(text, "resident_bytes", "gauge", "Memory of the process.");
	client_buffer_addf(text, "pg_derive_gateway_resident_bytes %ld\n", resident_bytes());
	heading(text, "requests_total", "counter", "Requests, by the first digit of their status.");
	for (int i = 2; i < 6; i++)
		client_buffer_addf(text, "pg_derive_gateway_requests_total{status=\"%dxx\"} %" PRIu64 "\n", i, gw_metrics.requests[i]);
	heading(text, "dropped_streams_total", "counter", "Streams that the gateway has ended, by reason.");
	for (int i = 0; i < GW_DROP_REASONS; i++)
		client_buffer_addf(text, "pg_derive_gateway_dropped_streams_total{reason=\"%s\"} %" PRIu64 "\n", gw_drop_names[i], gw_metrics.dropped[i]);
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
	{
		heading(text, counters[i].name, counters[i].type, counters[i].help);
		client_buffer_addf(text, "pg_derive_gateway_%s %" PRIu64 "\n", counters[i].name, *counters[i].value);
	}
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
	{
		heading(text, gauges[i].name, "gauge", gauges[i].help);
		for (const GwFeed *feed = gw_feeds; feed != NULL; feed = feed->next)
		{
			if (feed->view == NULL)
				continue;
			client_buffer_addf(text, "pg_derive_gateway_%s{view=\"", gauges[i].name);
			add_label(text, feed->view->schema);
			client_buffer_add_char(text, '.');
			add_label(text, feed->view->name);
			client_buffer_addf(text, "\"} %.15g\n", gauges[i].value(feed));
		}
	}
}

bool
gw_health_write(ClientBuffer *text)
{
	bool		database = client_connection_is_open(gw_catalog());
	bool		ok = database;
	const char *separator = "";

	client_buffer_addf(text, "{\"database\": %s, \"views\": [", database ? "true" : "false");
	for (const GwFeed *feed = gw_feeds; feed != NULL; feed = feed->next)
	{
		if (feed->view == NULL || feed->state == GW_KNOWN)
			continue;
		ok = ok && feed->state == GW_FOLLOWING;
		client_buffer_addf(text, "%s\n  {\"view\": ", separator);
		client_buffer_add_json(text, feed->view->identifier);
		client_buffer_addf(text, ", \"followed\": %s, \"state\": ", feed->state == GW_FOLLOWING ? "true" : "false");
		client_buffer_add_json(text, feed->view_state ? feed->view_state : "");
		client_buffer_addf(text, ", \"lag\": %.3f, \"streams\": %.0f}", feed->view_lag, view_streams(feed));
		separator = ",";
	}
	client_buffer_addf(text, "], \"ok\": %s}\n", ok ? "true" : "false");
	return ok;
}
