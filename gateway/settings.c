/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The settings of the gateway.
 *
 * docs/gateway.md has this table; test/t/081_gateway_rights.pl compares them.
 *
 *-------------------------------------------------------------------------
 */
#include "settings.h"

GwSettings	gw_settings;

#define S(field)	&gw_settings.field
#define MB	(1024 * 1024)

const ClientOption gw_options[] = {
	{"database", CLIENT_STRING, S(database), "", 0, 0,
	"Connection string or URI of the database; what it lacks comes from the environment (PGHOST and so on)."},
	{"name", CLIENT_STRING, S(name), "gateway", 0, 0,
	"Name of this gateway in the database: its subscriptions begin with it. Two gateways of a database have different ones."},
	{"schemas", CLIENT_STRING, S(schemas), "public", 0, 0,
	"Schemas whose maintained views can be read, with commas; a name without a schema is looked up in them in this order."},
	{"listen_address", CLIENT_STRING, S(listen_address), "127.0.0.1", 0, 0,
	"Address to listen on; empty: all."},
	{"listen_port", CLIENT_INTEGER, S(listen_port), "8080", 1, 65535,
	"Port to listen on."},
	{"tls_certificate", CLIENT_STRING, S(tls_certificate), "", 0, 0,
	"File with the certificate and those that signed it (PEM); with it, only TLS is spoken."},
	{"tls_key", CLIENT_STRING, S(tls_key), "", 0, 0,
	"File with the key of the certificate (PEM)."},
	{"cors_origins", CLIENT_STRING, S(cors_origins), "", 0, 0,
	"Origins whose pages may read, with commas; * allows all. Empty: only pages of the gateway itself."},
	{"static_files", CLIENT_STRING, S(static_files), "", 0, 0,
	"Folder whose files are served beside /views."},
	{"anonymous_role", CLIENT_STRING, S(anonymous_role), "", 0, 0,
	"Role of clients that do not say who they are; empty: they are refused."},
	{"api_keys", CLIENT_STRING, S(api_keys), "", 0, 0,
	"File with lines of a role and the SHA-256 of a key; pg_derive_gateway --hash-key makes them."},
	{"jwt_secret", CLIENT_STRING, S(jwt_secret), "", 0, 0,
	"File with the secret of tokens signed with HS256."},
	{"jwt_public_key", CLIENT_STRING, S(jwt_public_key), "", 0, 0,
	"File with the public key of tokens signed with RS256 (PEM)."},
	{"jwt_role_claim", CLIENT_STRING, S(jwt_role_claim), "role", 0, 0,
	"Claim of a token that has the role."},
	{"jwt_audience", CLIENT_STRING, S(jwt_audience), "", 0, 0,
	"What the claim aud of a token must have; empty: anything."},
	{"token_in_url", CLIENT_BOOLEAN, S(token_in_url), "off", 0, 0,
	"Accept a token as parameter access_token, since a browser's EventSource sends no headers. URLs are logged in many places."},
	{"rights_interval", CLIENT_DURATION, S(rights_interval), "5s", 100, 3600000,
	"How often the rights of those who follow a view are checked again, and the view itself."},
	{"max_clients", CLIENT_INTEGER, S(max_clients), "10000", 1, 1000000,
	"Most connections at a time; one more is told 503."},
	{"max_views", CLIENT_INTEGER, S(max_views), "50", 1, 1000,
	"Most views that are followed; each takes one connection to the database."},
	{"max_rows", CLIENT_INTEGER, S(max_rows), "100000", 1, 100000000,
	"Most rows of an answer, and of the initial rows of a stream."},
	{"max_result", CLIENT_SIZE, S(max_result), "64MB", 1024, INT64_C(1) << 40,
	"Most bytes of an answer, and of the initial rows of a stream."},
	{"result_memory", CLIENT_SIZE, S(result_memory), "1GB", 65536, INT64_C(1) << 40,
	"Most bytes of all answers and initial rows together that are read, or wait to be sent; one more is told 503."},
	{"max_lag", CLIENT_SIZE, S(max_lag), "1MB", 1024, INT64_C(1) << 40,
	"Most bytes of changes that wait for one client; who is further behind is dropped."},
	{"keep_changes", CLIENT_SIZE, S(keep_changes), "16MB", 65536, INT64_C(1) << 40,
	"Most bytes of a view's changes that are kept for clients that come again."},
	{"keep_changes_for", CLIENT_DURATION, S(keep_changes_for), "1h", 1000, INT64_C(86400000) * 365,
	"For how long they are kept; less than pg_derive.subscription_retention."},
	{"readers", CLIENT_INTEGER, S(readers), "2", 1, 100,
	"Connections that read rows of views."},
	{"query_timeout", CLIENT_DURATION, S(query_timeout), "30s", 100, 86400000,
	"Longest time to read rows of a view, and for which a request waits for them."},
	{"header_timeout", CLIENT_DURATION, S(header_timeout), "10s", 1000, 3600000,
	"Longest time for a client to send its request."},
	{"send_timeout", CLIENT_DURATION, S(send_timeout), "30s", 1000, 3600000,
	"Longest time for which a client takes nothing of what waits for it."},
	{"ping_interval", CLIENT_DURATION, S(ping_interval), "15s", 1000, 3600000,
	"After this time without a change something is sent, so that nobody on the way takes the connection for dead."},
	{"unfollow_after", CLIENT_DURATION, S(unfollow_after), "1h", 1000, INT64_C(86400000) * 365,
	"A view that nobody has read for so long is no longer followed."},
	{"stop_timeout", CLIENT_DURATION, S(stop_timeout), "10s", 0, 3600000,
	"After SIGTERM, longest time to say farewell to all clients."},
	{"log_level", CLIENT_STRING, S(log_level), "info", 0, 0,
	"error, warning, info or debug."},
	{NULL, CLIENT_STRING, NULL, NULL, 0, 0, NULL}
};
