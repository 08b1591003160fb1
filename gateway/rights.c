/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  May a role read these columns of a view?
 *
 *-------------------------------------------------------------------------
 */
#include "rights.h"

#include "clock.h"
#include "memory.h"
#include "session.h"
#include "settings.h"

#include <stdlib.h>
#include <string.h>

/*
 * $1 the role's name, $2 the view, $3 numbers of columns.  NULL: it may.  From 16 on
 * membership alone does not allow SET ROLE.
 */
static const char *const may_sql =
"SELECT CASE "
"WHEN r.oid IS NULL THEN 'there is no such role' "
"WHEN NOT pg_catalog.pg_has_role(r.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 160000 THEN 'SET' ELSE 'MEMBER' END) "
"THEN 'the gateway may not act as this role' "
"WHEN r.rolsuper OR r.rolbypassrls THEN 'the gateway does not act as a superuser' "
"WHEN NOT pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE') THEN 'permission denied for the schema' "
"WHEN NOT pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT') AND NOT (SELECT coalesce(pg_catalog.bool_and("
"pg_catalog.has_column_privilege(r.oid, c.oid, n, 'SELECT')), false) FROM pg_catalog.unnest($3::int2[]) AS n) "
"THEN 'permission denied for the view, or for columns of it; those to be read are named by select' END "
"FROM pg_class c LEFT JOIN pg_roles r ON r.rolname = $1 WHERE c.oid = $2::oid";

static void
set_answer(GwGrant *grant, int status, const char *problem)
{
	grant->known = true;
	grant->allowed = problem == NULL;
	grant->confirmed_at = grant->asked_at;
	grant->status = status;
	free(grant->problem);
	grant->problem = problem ? client_strdup(problem) : NULL;
}

static void
got_answer(void *arg, const PGresult *result)
{
	GwGrant    *grant = arg;
	GwFeed	   *feed = grant->feed;
	bool		was_known = grant->known;

	grant->asking = false;
	if (client_result_ok(result))
	{
		if (PQntuples(result) == 0)
			set_answer(grant, 404, "there is no such view");
		else
			set_answer(grant, 403, PQgetisnull(result, 0, 0) ? NULL : PQgetvalue(result, 0, 0));
	}
	else if (!was_known && result != NULL)
		set_answer(grant, 503, client_result_message(result));

	/*
	 * who follows goes on while the database is away: it tells nothing new
	 * then
	 */
	if (grant->known && !grant->allowed)
	{
		bool		gone = grant->status == 404;

		for (GwClient *client = feed->clients, *next; client != NULL; client = next)
		{
			next = client->feed_next;
			if (client->grant == grant && client->state == GW_STREAMING)
				gw_session_drop(client, gone ? GW_DROP_VIEW : GW_DROP_RIGHTS, gone ? "view_dropped" : "permission_denied", grant->problem);
		}
	}
	/* who waits, for rows for example, finds out that it may not, too */
	if (grant->known && (!was_known || !grant->allowed))
		gw_feed_continue(feed);
	gw_grant_release(grant);
}

void
gw_grant_ask(GwGrant *grant)
{
	char		oid[16];
	const char *const values[] = {grant->role, oid, grant->attributes};

	if (grant->asking)
		return;
	(void) snprintf(oid, sizeof(oid), "%u", grant->feed->view->oid);
	grant->asking = true;
	grant->users++;
	grant->asked_at = client_now_ms();
	client_query(gw_catalog(), may_sql, 3, NULL, values, got_answer, grant);
}

GwGrant *
gw_grant_get(GwFeed *feed, const char *role, char *attributes)
{
	GwGrant    *grant;

	for (grant = feed->grants; grant != NULL; grant = grant->next)
	{
		if (strcmp(grant->role, role) == 0 && strcmp(grant->attributes, attributes) == 0)
			break;
	}
	if (grant == NULL)
	{
		grant = client_alloc(sizeof(GwGrant));
		grant->feed = feed;
		(void) snprintf(grant->role, sizeof(grant->role), "%s", role);
		grant->attributes = client_strdup(attributes);
		grant->next = feed->grants;
		feed->grants = grant;
	}
	grant->users++;
	/* a refusal is asked about again: it may have been granted since */
	if (!grant->known || !grant->allowed || client_now_ms() - grant->asked_at > gw_settings.rights_interval)
	{
		grant->known = false;
		gw_grant_ask(grant);
	}
	return grant;
}

void
gw_grant_release(GwGrant *grant)
{
	GwGrant   **place = &grant->feed->grants;

	if (--grant->users > 0)
		return;
	while (*place != grant)
		place = &(*place)->next;
	*place = grant->next;
	free(grant->attributes);
	free(grant->problem);
	free(grant);
}

void
gw_grants_check(GwFeed *feed)
{
	for (GwGrant *grant = feed->grants; grant != NULL; grant = grant->next)
		gw_grant_ask(grant);
}

void
gw_grants_expire(GwFeed *feed, int64_t since)
{
	for (GwClient *client = feed->clients, *next; client != NULL; client = next)
	{
		next = client->feed_next;
		if (client->state == GW_STREAMING && client->grant != NULL && client->grant->confirmed_at < since)
			gw_session_drop(client, GW_DROP_RIGHTS, "unconfirmed", "the database does not say whether this may still be read");
	}
}
