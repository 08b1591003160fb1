/*-------------------------------------------------------------------------
 *
 * rights.h
 *	  May a role read these columns of a view?
 *
 * Asked before anything is read, and again every rights_interval for all who follow.
 * The role needs what it would need in SQL: USAGE on the schema, and SELECT on the view
 * or on each of the columns.  And the gateway's role must be a member of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_RIGHTS_H
#define GW_RIGHTS_H

#include "feed.h"

typedef struct GwGrant
{
	struct GwGrant *next;
	GwFeed	   *feed;
	char		role[GW_MAX_NAME + 1];
	char	   *attributes;		/* as {1,3} */
	int			users;			/* clients, and a question that is under way */
	bool		asking;
	bool		known;
	bool		allowed;
	int			status;			/* if not: 403 or 503, and why */
	char	   *problem;
	int64_t		asked_at;
	int64_t		confirmed_at;	/* when the question was asked that has the
								 * answer */
} GwGrant;

/* With one more user.  Its answer may be there already. */
extern GwGrant *gw_grant_get(GwFeed *feed, const char *role, char *attributes);
extern void gw_grant_release(GwGrant *grant);

/* Ask, if it is not asked already. */
extern void gw_grant_ask(GwGrant *grant);

/* Ask about all of a feed again. */
extern void gw_grants_check(GwFeed *feed);

/* Drop those who follow by a right that was not confirmed since a time, as client_now_ms(). */
extern void gw_grants_expire(GwFeed *feed, int64_t since);

#endif
