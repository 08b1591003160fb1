/*-------------------------------------------------------------------------
 *
 * http.c
 *	  HTTP, Server-Sent Events and WebSockets, by libwebsockets.
 *
 * libwebsockets has the process' event loop.  Our own loop (connections to the database,
 * timers, signals) is one descriptor, which it watches beside its sockets.
 *
 * Sending.  When something is to be sent, we ask for a callback once the socket takes
 * bytes.  There we copy as much as fits into one buffer, from as many events as are
 * there, and write it at once: the more there is to be sent, the more goes with each
 * write.  What the socket does not take libwebsockets keeps, at most that buffer, and
 * calls us again when it is gone.  So a client costs no more memory than that, however
 * much waits for it.
 *
 * A connection can have several requests, one after the other; each is a GwClient of its
 * own.
 *
 *-------------------------------------------------------------------------
 */
#include "http.h"

#include "clock.h"
#include "feed.h"
#include "log.h"
#include "memory.h"
#include "session.h"
#include "settings.h"

#include <libwebsockets.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is written at a time. */
#define CHUNK			16384

/* Headers of a request; a token has some hundred bytes. */
#define MAX_HEADERS		16384

typedef struct Connection
{
	GwClient   *client;			/* NULL: no request */
} Connection;

static struct lws_context *context;
static unsigned char scratch[LWS_PRE + CHUNK];
static char **origins;			/* of cors_origins */


/* ----------------------------------------------------------------
 *		Requests
 * ----------------------------------------------------------------
 */

/* A header, for free(); NULL if there is none. */
static char *
header(struct lws *wsi, enum lws_token_indexes token)
{
	int			length = lws_hdr_total_length(wsi, token);
	char	   *result;

	if (length <= 0)
		return NULL;
	result = client_alloc((size_t) length + 1);
	if (lws_hdr_copy(wsi, result, length + 1, token) < 0)
		result[0] = '\0';
	return result;
}

/* Likewise, one that libwebsockets does not know.  Its name is in lower case, with a colon. */
static char *
custom_header(struct lws *wsi, const char *name)
{
	int			length = lws_hdr_custom_length(wsi, name, (int) strlen(name));
	char	   *result;

	if (length <= 0)
		return NULL;
	result = client_alloc((size_t) length + 1);
	if (lws_hdr_custom_copy(wsi, result, length + 1, name, (int) strlen(name)) < 0)
		result[0] = '\0';
	return result;
}

static GwClient *
create_client(struct lws *wsi, bool websocket)
{
	GwClient   *client = client_alloc(sizeof(GwClient));

	client->wsi = wsi;
	client->websocket = websocket;
	client->since = client->progress = client_now_ms();
	client->next = gw_clients;
	if (gw_clients != NULL)
		gw_clients->previous = client;
	gw_clients = client;
	return client;
}

static void
end_client(Connection *connection)
{
	GwClient   *client = connection ? connection->client : NULL;

	if (client == NULL)
		return;
	connection->client = NULL;
	if (client->previous != NULL)
		client->previous->next = client->next;
	else
		gw_clients = client->next;
	if (client->next != NULL)
		client->next->previous = client->previous;
	gw_session_end(client);
	free(client);
}

/* Returns what is wrong with a parameter, or NULL. */
static char *
read_parameters(struct lws *wsi, GwRequest *request)
{
	char	   *wrong = NULL;
	char	   *parameter = client_alloc(MAX_HEADERS);

	for (int i = 0; wrong == NULL; i++)
	{
		int			length = lws_hdr_copy_fragment(wsi, parameter, MAX_HEADERS, WSI_TOKEN_HTTP_URI_ARGS, i);

		if (length < 0)
			break;

		/* an empty one at the end, as after a "?" alone, comes as a slash */
		if (parameter[0] != '\0' && strcmp(parameter, "/") != 0)
			wrong = strlen(parameter) == (size_t) length ? gw_request_parameter(request, parameter) :
				client_strdup("a parameter has a zero byte");
	}
	free(parameter);
	return wrong;
}

static bool
identify(struct lws *wsi, GwClient *client)
{
	char	   *authorization = header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
	char	   *api_key = custom_header(wsi, "x-api-key:");
	const char *wrong = gw_auth_identify(authorization, api_key, client->request.access_token, &client->identity);

	free(authorization);
	free(api_key);
	if (wrong != NULL)
		gw_session_fail(client, 401, "unauthorized", wrong);
	return wrong == NULL;
}

static int64_t
count_clients(void)
{
	int64_t		count = 0;

	for (const GwClient *client = gw_clients; client != NULL; client = client->next)
		count++;
	return count;
}

/* All headers are there. */
static void
begin_request(struct lws *wsi, GwClient *client, const char *path)
{
	GwRequest  *request = &client->request;
	char	   *accept = header(wsi, WSI_TOKEN_HTTP_ACCEPT);
	char	   *event_id = custom_header(wsi, "last-event-id:");
	char	   *wrong;

	gw_request_init(request, path);
	client->if_none_match = header(wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH);
	client->csv = accept != NULL && strncmp(accept, "text/csv", 8) == 0;
	free(accept);
	wrong = read_parameters(wsi, request);

	/*
	 * the header is newer than what the URL says: a browser sends it when it
	 * comes again
	 */
	if (event_id != NULL)
	{
		free(request->last_event_id);
		request->last_event_id = event_id;
	}

	/*
	 * libwebsockets takes a line end that the URL has as %0A for the end of
	 * the URL, and loses the rest
	 */
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP) <= 0)
		gw_session_fail(client, 400, "bad_request", "a URL cannot have line ends");
	else if (count_clients() > gw_settings.max_clients)
		gw_session_fail(client, 503, "too_many_clients", "too many clients (max_clients)");
	else if (wrong != NULL)
		gw_session_fail(client, 400, "bad_request", wrong);
	else if (client->websocket && request->kind != GW_CHANGES)
		gw_session_fail(client, 404, "not_found", "a WebSocket follows /views/NAME/changes");
	else if (request->kind == GW_HEALTH || request->kind == GW_METRICS || request->kind == GW_UNKNOWN || identify(wsi, client))
		gw_session_begin(client);
	free(wrong);
}


/* ----------------------------------------------------------------
 *		Origins
 * ----------------------------------------------------------------
 */

static bool
origin_is_allowed(const char *origin)
{
	for (char **allowed = origins; *allowed != NULL; allowed++)
	{
		if (strcmp(*allowed, "*") == 0 || strcasecmp(*allowed, origin) == 0)
			return true;
	}
	return false;
}

/*
 * A browser lets any page open a WebSocket, and says only which one it was.  So pages of
 * others are refused here, like CORS does elsewhere.
 */
static bool
websocket_is_allowed(struct lws *wsi)
{
	char	   *origin = header(wsi, WSI_TOKEN_ORIGIN);
	char	   *host = header(wsi, WSI_TOKEN_HOST);
	const char *place = origin ? strstr(origin, "://") : NULL;
	bool		result = origin == NULL || origin_is_allowed(origin) ||
	(place != NULL && host != NULL && strcasecmp(place + 3, host) == 0);

	free(origin);
	free(host);
	return result;
}

static bool
add_header(struct lws *wsi, const char *name, const char *value, unsigned char **place, unsigned char *end)
{
	return lws_add_http_header_by_name(wsi, (const unsigned char *) name, (const unsigned char *) value, (int) strlen(value), place, end) == 0;
}

static bool
add_cors(struct lws *wsi, unsigned char **place, unsigned char *end, bool preflight)
{
	char	   *origin = header(wsi, WSI_TOKEN_ORIGIN);
	bool		ok = true;

	if (*origins != NULL)
		ok = add_header(wsi, "vary:", "Origin", place, end);
	if (origin != NULL && origin_is_allowed(origin))
	{
		ok = ok && add_header(wsi, "access-control-allow-origin:", origin, place, end) &&
			add_header(wsi, "access-control-expose-headers:", "ETag", place, end);
		if (preflight)
			ok = ok && add_header(wsi, "access-control-allow-methods:", "GET", place, end) &&
				add_header(wsi, "access-control-allow-headers:", "Authorization, X-API-Key, Last-Event-ID, If-None-Match, Accept", place, end) &&
				add_header(wsi, "access-control-max-age:", "600", place, end);
	}
	free(origin);
	return ok;
}


/* ----------------------------------------------------------------
 *		Sending
 * ----------------------------------------------------------------
 */

void
gw_http_wake(GwClient *client)
{
	if (client->pending_since == 0)
		client->pending_since = client_now_ms();
	lws_callback_on_writable(client->wsi);
}

void
gw_http_kill(GwClient *client)
{
	lws_set_timeout(client->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static bool
send_headers(GwClient *client)
{
	struct lws *wsi = client->wsi;
	unsigned char *start = scratch + LWS_PRE;
	unsigned char *place = start;
	unsigned char *end = scratch + sizeof(scratch) - 1;
	bool		stream = client->state != GW_ANSWERING;
	int			status = stream ? 200 : client->status;

	if (lws_add_http_header_status(wsi, (unsigned int) status, &place, end) != 0 ||
		!add_header(wsi, "content-type:", stream ? "text/event-stream" : client->content_type ? client->content_type : "text/plain", &place, end) ||
		!add_header(wsi, "cache-control:", stream ? "no-store" : "no-cache", &place, end) ||
		!add_cors(wsi, &place, end, false))
		return false;
	if (stream)
	{
		/*
		 * the end of the connection is the end of the stream; a proxy is not
		 * to collect it
		 */
		if (!add_header(wsi, "connection:", "close", &place, end) || !add_header(wsi, "x-accel-buffering:", "no", &place, end))
			return false;
	}
	else
	{
		if (client->status == 401 && !add_header(wsi, "www-authenticate:", "Bearer", &place, end))
			return false;
		if (client->status == 503 && !add_header(wsi, "retry-after:", "1", &place, end))
			return false;
		if (client->status == 405 && !add_header(wsi, "allow:", "GET, OPTIONS", &place, end))
			return false;
		if (client->etag[0] != '\0' && (client->status == 200 || client->status == 304) &&
			(!add_header(wsi, "etag:", client->etag, &place, end) || !add_header(wsi, "vary:", "Accept, Authorization, X-API-Key", &place, end)))
			return false;
		if (client->status != 304 && lws_add_http_header_content_length(wsi, client->blob->length, &place, end) != 0)
			return false;
	}
	if (lws_finalize_write_http_header(wsi, start, &place, end) != 0)
		return false;
	client->headers_sent = true;
	if (stream)
	{
		/* the headers of the request are not needed any more */
		lws_http_headers_detach(wsi);
		lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	}
	return true;
}

/* Have the next thing to send in "blob"; false if there is nothing. */
static bool
next_blob(GwClient *client)
{
	GwFeed	   *feed = client->feed;
	bool		broken = false;

	if (client->blob != NULL)
		return true;
	client->blob = client->next_blob;
	client->next_blob = NULL;
	client->offset = 0;
	while (client->blob == NULL && client->state == GW_STREAMING && client->seq < feed->visible)
	{
		GwBlob	   *event;

		if (client->seq < feed->ring.first_seq)
		{
			gw_session_drop(client, GW_DROP_SLOW, "too_slow", "the changes that come next are not kept any more; begin anew");
			return client->blob != NULL;
		}
		event = gw_channel_event(client->channel, &feed->ring, client->seq++, &broken);
		if (broken)
			gw_session_drop(client, GW_DROP_ERROR, "omitted", "a column that is compared has a value that no JSON can hold");
		else if (event != NULL)
		{
			client->blob = gw_blob_keep(event);
			gw_metrics.events++;
		}
	}
	return client->blob != NULL;
}

static void
advance(GwClient *client, size_t bytes)
{
	client->offset += bytes;
	if (client->offset < client->blob->length)
		return;
	gw_blob_release(client->blob);
	client->blob = NULL;
	client->offset = 0;
}

static void
has_sent(GwClient *client, size_t bytes)
{
	gw_metrics.bytes += bytes;
	client->progress = client_now_ms();
	client->pending_since = next_blob(client) ? client->progress : 0;
	if (client->pending_since != 0)
		lws_callback_on_writable(client->wsi);
}

/* Bytes of a stream or an answer.  False: the connection is to be closed. */
static bool
send_bytes(GwClient *client)
{
	size_t		length = 0;
	bool		last;

	while (length < CHUNK && next_blob(client))
	{
		size_t		left = client->blob->length - client->offset;
		size_t		part = left < CHUNK - length ? left : CHUNK - length;

		memcpy(scratch + LWS_PRE + length, client->blob->data + client->offset, part);
		length += part;
		advance(client, part);
	}
	last = client->state == GW_ANSWERING && !next_blob(client);
	if ((length > 0 || last) &&
		lws_write(client->wsi, scratch + LWS_PRE, length, last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < (int) length)
		return false;
	has_sent(client, length);
	/* what may come of a body is not a request */
	if (last)
		return client->status != 405 && lws_http_transaction_completed(client->wsi) == 0;
	return client->state != GW_LEAVING || client->blob != NULL;
}

/*
 * Messages of a WebSocket: of each event what is after "data: ".  A large one goes in
 * several frames.
 */
static bool
send_messages(GwClient *client)
{
	size_t		sent = 0;

	while (sent < CHUNK && next_blob(client))
	{
		const char *event = client->blob->data + client->offset;
		const char *start = client->in_message ? event : strstr(event, "data: ");
		const char *end;
		size_t		length;
		bool		whole;

		if (start == NULL)
		{
			advance(client, client->blob->length - client->offset);
			continue;
		}
		if (!client->in_message)
			start += strlen("data: ");
		end = strstr(start, "\n\n");
		length = (size_t) (end - start);
		whole = length <= CHUNK;
		if (!whole)
			length = CHUNK;
		memcpy(scratch + LWS_PRE, start, length);
		if (lws_write(client->wsi, scratch + LWS_PRE, length,
					  (enum lws_write_protocol) lws_write_ws_flags(LWS_WRITE_TEXT, !client->in_message, whole)) < (int) length)
			return false;
		sent += length;
		client->in_message = !whole;
		advance(client, (size_t) (start - event) + length + (whole ? 2 : 0));
		if (lws_send_pipe_choked(client->wsi))
			break;
	}
	has_sent(client, sent);
	if (client->state == GW_LEAVING && client->blob == NULL)
	{
		/* of those that one can see in a browser, the nearest */
		lws_close_reason(client->wsi, client->status == 503 ? 1013 : client->status == 500 ? LWS_CLOSE_STATUS_UNEXPECTED_CONDITION :
						 LWS_CLOSE_STATUS_POLICY_VIOLATION, NULL, 0);
		return false;
	}
	return true;
}

/* The socket takes bytes.  False: close it. */
static bool
writeable(GwClient *client)
{
	if (client->state == GW_WAITING && client->blob == NULL)
	{
		client->pending_since = 0;
		return true;
	}
	if (client->websocket)
		return send_messages(client);
	if (!client->headers_sent)
	{
		if (!send_headers(client))
			return false;
		/* one write in each callback */
		lws_callback_on_writable(client->wsi);
		return true;
	}
	return send_bytes(client);
}


/* ----------------------------------------------------------------
 *		Callbacks
 * ----------------------------------------------------------------
 */

/* A page of others asks what it may do. */
static int
answer_preflight(struct lws *wsi)
{
	unsigned char *start = scratch + LWS_PRE;
	unsigned char *place = start;
	unsigned char *end = scratch + sizeof(scratch) - 1;

	if (lws_add_http_header_status(wsi, 204, &place, end) != 0 || !add_cors(wsi, &place, end, true) ||
		lws_finalize_write_http_header(wsi, start, &place, end) != 0)
		return -1;
	return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int
begin_http(struct lws *wsi, Connection *connection)
{
	char	   *uri;
	int			length;
	int			method = lws_http_get_uri_and_method(wsi, &uri, &length);
	char	   *path;

	end_client(connection);
	if (method == LWSHUMETH_OPTIONS)
		return answer_preflight(wsi);
	connection->client = create_client(wsi, false);
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	path = method >= 0 ? client_strndup(uri, (size_t) length) : client_strdup("");
	if (method == LWSHUMETH_GET)
		begin_request(wsi, connection->client, path);
	else
		gw_session_fail(connection->client, 405, "method_not_allowed", "there is GET only");
	free(path);
	return 0;
}

static int
begin_websocket(struct lws *wsi, Connection *connection)
{
	char	   *path = header(wsi, WSI_TOKEN_GET_URI);

	connection->client = create_client(wsi, true);
	begin_request(wsi, connection->client, path ? path : "");
	free(path);
	return 0;
}

static int
gateway_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	Connection *connection = user;

	switch (reason)
	{
		case LWS_CALLBACK_WSI_CREATE:
			gw_metrics.connections++;
			return 0;
		case LWS_CALLBACK_WSI_DESTROY:
			gw_metrics.connections--;
			return 0;
		case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
			/* some more than clients, so that those can be told */
			return gw_metrics.connections > gw_settings.max_clients + 100;
		case LWS_CALLBACK_HTTP:
			return begin_http(wsi, connection);
		case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
			if (websocket_is_allowed(wsi))
				return 0;
			(void) lws_return_http_status(wsi, 403, NULL);
			return 1;
		case LWS_CALLBACK_ESTABLISHED:
			return begin_websocket(wsi, connection);
		case LWS_CALLBACK_HTTP_WRITEABLE:
		case LWS_CALLBACK_SERVER_WRITEABLE:
			if (connection == NULL || connection->client == NULL)
				return 0;
			return writeable(connection->client) ? 0 : -1;
		case LWS_CALLBACK_RECEIVE:
			/* a client has nothing to say */
			lws_close_reason(wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
			return -1;
		case LWS_CALLBACK_HTTP_BODY:
		case LWS_CALLBACK_HTTP_BODY_COMPLETION:
			/* of a request that is refused */
			return 0;
		case LWS_CALLBACK_CLOSED:
		case LWS_CALLBACK_CLOSED_HTTP:
		case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
		case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
			end_client(connection);
			return 0;
		default:
			return lws_callback_http_dummy(wsi, reason, user, in, length);
	}
}

/* The descriptor of our own loop. */
static int
loop_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	(void) wsi;
	(void) user;
	(void) in;
	(void) length;
	if (reason == LWS_CALLBACK_RAW_RX_FILE)
		(void) client_loop_service(gw_loop(), 0);
	return 0;
}


/* ----------------------------------------------------------------
 *		Start and stop
 * ----------------------------------------------------------------
 */

static const struct lws_protocols protocols[] = {
	{"gateway", gateway_callback, sizeof(Connection), 0, 0, NULL, 0},
	{"loop", loop_callback, 0, 0, 0, NULL, 0},
	{NULL, NULL, 0, 0, 0, NULL, 0}
};

static struct lws_http_mount mounts[4];

/* /views, /health and /metrics are ours, and all else files. */
static const struct lws_http_mount *
make_mounts(void)
{
	static const char *const ours[] = {"/views", "/health", "/metrics"};

	if (gw_settings.static_files == NULL)
		return NULL;
	for (int i = 0; i < 3; i++)
	{
		mounts[i].mountpoint = ours[i];
		mounts[i].mountpoint_len = (unsigned char) strlen(ours[i]);
		mounts[i].origin = "gateway";
		mounts[i].protocol = "gateway";
		mounts[i].origin_protocol = LWSMPRO_CALLBACK;
		mounts[i].mount_next = &mounts[i + 1];
	}
	mounts[3].mountpoint = "/";
	mounts[3].mountpoint_len = 1;
	mounts[3].origin = gw_settings.static_files;
	mounts[3].def = "index.html";
	mounts[3].origin_protocol = LWSMPRO_FILE;
	return mounts;
}

static void
log_line(int level, const char *line)
{
	client_log(level & LLL_ERR ? CLIENT_ERROR : level & LLL_WARN ? CLIENT_WARNING : CLIENT_DEBUG, "libwebsockets: %s", line);
}

void
gw_http_start(ClientLoop *loop)
{
	struct lws_context_creation_info info = {0};
	lws_sock_file_fd_type fd;

	origins = client_split_list(gw_settings.cors_origins);
	lws_set_log_level(LLL_ERR | LLL_WARN, log_line);
	info.port = (int) gw_settings.listen_port;
	info.iface = gw_settings.listen_address;
	info.protocols = protocols;
	info.mounts = make_mounts();
	info.server_string = GW_PROGRAM;
	info.max_http_header_data2 = MAX_HEADERS;
	info.fd_limit_per_thread = (unsigned int) gw_settings.max_clients + 400;
	info.rlimit_nofile = (int) gw_settings.max_clients + 500;
	info.timeout_secs = (unsigned int) (gw_settings.header_timeout / 1000);
	info.keepalive_timeout = 30;
	info.ka_time = 60;
	info.ka_interval = 10;
	info.ka_probes = 3;
	info.pt_serv_buf_size = MAX_HEADERS;
	if (gw_settings.listen_address != NULL && strchr(gw_settings.listen_address, ':') == NULL)
		info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
	if (gw_settings.tls_certificate != NULL)
	{
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.ssl_cert_filepath = gw_settings.tls_certificate;
		info.ssl_private_key_filepath = gw_settings.tls_key;

		/*
		 * a browser opens few connections of HTTP/1.1, but HTTP/2 is not
		 * tested here
		 */
		info.alpn = "http/1.1";
	}
	/* is for clients, and the library complains of one that is empty */
	unsetenv("http_proxy");
	context = lws_create_context(&info);
	if (context == NULL)
		client_fatal("cannot listen on %s, port %d", gw_settings.listen_address ? gw_settings.listen_address : "*", info.port);
	fd.filefd = client_loop_fd(loop);
	if (lws_adopt_descriptor_vhost(lws_get_vhost_by_name(context, "default"), LWS_ADOPT_RAW_FILE_DESC, fd, "loop", NULL) == NULL)
		client_fatal("libwebsockets does not take our event loop");
	client_log(CLIENT_INFO, "listening on %s, port %d%s", gw_settings.listen_address ? gw_settings.listen_address : "*", info.port,
			   gw_settings.tls_certificate ? ", with TLS" : "");
}

void
gw_http_service(void)
{
	(void) lws_service(context, 0);
}

void
gw_http_interrupt(void)
{
	lws_cancel_service(context);
}

void
gw_http_stop(void)
{
	lws_context_destroy(context);
}
