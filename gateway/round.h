/*-------------------------------------------------------------------------
 *
 * round.h
 *	  Rows of a view at a known place in its changes.
 *
 * Who wants rows joins a job; those who want the same rows in the same form, as the same
 * role, share one.  Jobs of a feed that wait are done in a round, under one snapshot:
 *
 *	the feed's connection					a reader
 *	BEGIN ISOLATION LEVEL REPEATABLE READ
 *	SELECT pg_export_snapshot()
 *	SELECT ... FROM derive.poll()			(all that this snapshot sees: so the rows are
 *											those behind the ring's last change)
 *											BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
 *											SET TRANSACTION SNAPSHOT '...'
 *	COMMIT, and changes flow again			for each job, as its role: SELECT ...
 *											COMMIT
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_ROUND_H
#define GW_ROUND_H

#include "feed.h"

typedef enum GwForm
{
	GW_FORM_EVENTS,				/* a reset, the rows, and that these were all */
	GW_FORM_JSON,				/* an array of rows */
	GW_FORM_CSV
} GwForm;

typedef struct GwJob
{
	struct GwJob *next;			/* of the feed, or of the round */
	GwFeed	   *feed;
	GwChannel  *channel;
	char		role[GW_MAX_NAME + 1];
	GwForm		form;
	int64_t		limit;			/* -1: none */
	int			order_column;	/* -1: none */
	bool		descending;
	int			users;			/* clients that wait for it */
	bool		running;
	int			tries;			/* that a loss of connection has ended */

	/* when it is done */
	int			status;			/* 200, or what is wrong */
	char	   *problem;
	GwBlob	   *blob;			/* rows */
	unsigned	epoch;			/* of the feed, when they were read */
	GwPosition	position;		/* what they contain */
	uint64_t	seq;			/* the change that comes then */

	ClientBuffer text;			/* while it runs */
	int64_t		rows;
} GwJob;

/* Make the connections that read. */
extern void gw_rounds_start(ClientLoop *loop);

/* Join a job for the client's request, which then is client->job. */
extern void gw_job_join(GwClient *client);

/* The client no longer wants it. */
extern void gw_job_leave(GwClient *client);

/* End the first job of a feed that closes. */
extern void gw_job_drop(GwFeed *feed);

/* Begin a round where jobs wait and one can begin. */
extern void gw_rounds_continue(void);

/* No poll of this feed is under way: the snapshot that is wanted can be made. */
extern void gw_round_export(GwFeed *feed);

/* The feed's connection is lost, or the feed closes. */
extern void gw_rounds_feed_lost(GwFeed *feed);

/* A round of this feed is under way. */
extern bool gw_round_reads(const GwFeed *feed);

#endif
