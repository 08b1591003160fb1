/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings of the gateway; settings.c says what they are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_SETTINGS_H
#define GW_SETTINGS_H

#include "options.h"

#define GW_PROGRAM	"pg_derive_gateway"
#define GW_VERSION	"0.2"

typedef struct GwSettings
{
	const char *database;
	const char *name;
	const char *schemas;
	const char *listen_address;
	int64_t		listen_port;
	const char *tls_certificate;
	const char *tls_key;
	const char *cors_origins;
	const char *static_files;

	const char *anonymous_role;
	const char *api_keys;
	const char *jwt_secret;
	const char *jwt_public_key;
	const char *jwt_role_claim;
	const char *jwt_audience;
	bool		token_in_url;
	int64_t		rights_interval;

	int64_t		max_clients;
	int64_t		max_views;
	int64_t		max_rows;
	int64_t		max_result;
	int64_t		result_memory;
	int64_t		max_lag;
	int64_t		keep_changes;
	int64_t		keep_changes_for;
	int64_t		readers;
	int64_t		query_timeout;
	int64_t		header_timeout;
	int64_t		send_timeout;
	int64_t		ping_interval;
	int64_t		unfollow_after;
	int64_t		stop_timeout;
	const char *log_level;
} GwSettings;

extern GwSettings gw_settings;
extern const ClientOption gw_options[];

#endif
