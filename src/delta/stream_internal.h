/*-------------------------------------------------------------------------
 *
 * stream_internal.h
 *	  The inside of a stream; for stream.c, sources.c, sink.c and backlog.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STREAM_INTERNAL_H
#define DERIVE_STREAM_INTERNAL_H

#include "access/transam.h"
#include "access/tupdesc.h"
#include "base/position.h"
#include "capture/decoder.h"
#include "delta/delta.h"
#include "delta/events.h"
#include "delta/keys.h"
#include "delta/stream.h"
#include "nodes/bitmapset.h"
#include "utils/hsearch.h"

typedef struct Backlog Backlog;

/* Belongs to DeriveStream.sources_cxt, except where noted. */
typedef struct Source
{
	DeriveSource pub;			/* columns: all that are tracked */
	bool		is_view;		/* a materialized view: the log does not have
								 * its changes */
	bool		is_topic;		/* its changes are messages; events only */
	bool		changed;		/* it is in DeriveStream.changed */
	TupleDesc	desc;			/* the relation's */
	List	   *members;		/* of Oid, ascending */
	DeriveKeys	keys;			/* of its members */
	bool		keep;			/* backlog is wanted */

	/*
	 * Columns (and ROWS_THEMSELVES) that every transaction in sight was
	 * captured with.  The others will join them when no transaction up to
	 * number incomplete_upto is pending.
	 */
	Bitmapset  *complete;
	uint64		incomplete_upto;
#ifdef USE_ASSERT_CHECKING
	bool		settled;		/* and so was all that is in current */
#endif

	DeriveDelta *current;		/* in DeriveStream.cxt; NULL until needed */
	FullTransactionId current_xid;	/* one of the transactions in current, if
									 * it has rows */
	Backlog    *backlog;		/* in DeriveStream.cxt; NULL unless keep */

	/* the transaction that is being delivered */
	uint64		touched_by;		/* number of the last one that changed this
								 * source */
	DeriveDelta *pending;		/* its delta, if it is pending, ... */
	uint64		pending_in;		/* in the transaction of this number */

	/* one row on its way; columns that are not tracked stay NULL */
	Datum	   *values;
	bool	   *nulls;
	Datum	   *oldvalues;
	bool	   *oldnulls;
	Datum	   *keyvalues;		/* of a touch; the rest stays NULL */
	bool	   *keynulls;
} Source;

/* How rows of a member become rows of a source. */
typedef struct Route
{
	Source	   *source;
	int			ncolumns;		/* tracked columns */
	AttrNumber *from;			/* attribute of the member */
	AttrNumber *to;				/* attribute of the source */
	DeriveMemberKey *key;		/* of the member; or NULL */
} Route;

typedef struct Member
{
	Oid			relid;			/* hash key */
	List	   *routes;			/* of Route * */
	bool		events;			/* its changes go to the event log */
	bool		topic;			/* its messages do */
} Member;

typedef struct Pending
{
	MemoryContext cxt;			/* holds all of this */
	FullTransactionId xid;
	uint64		number;
	XLogRecPtr	commit_lsn;
	List	   *deltas;			/* of DeriveDelta * */
	bool		moving;			/* half of it may be in current already */
	TimestampTz touched_at;		/* its commit time, if it changes rows; else 0 */
	bool		catalog;		/* it changes the catalog */
} Pending;

/* Subtransactions of a transaction that runs at a position in use; see stream.c. */
typedef struct Subtransactions
{
	FullTransactionId xid;		/* top-level */
	int			n;
	FullTransactionId subxids[FLEXIBLE_ARRAY_MEMBER];
} Subtransactions;

typedef enum TransactionFate
{
	FATE_SKIP,
	FATE_WAITING,				/* for views that stand still only */
	FATE_CURRENT,
	FATE_PENDING
} TransactionFate;

/* The transaction that is being delivered. */
typedef struct Delivery
{
	bool		active;
	TransactionFate fate;
	FullTransactionId xid;
	uint64		number;
	XLogRecPtr	commit_lsn;
	TimestampTz commit_time;
	Pending    *pending;
} Delivery;

struct DeriveStream
{
	MemoryContext cxt;			/* holds all of this */
	DeriveSink	sink;

	MemoryContext sources_cxt;	/* sources, members, routes; replaced as a
								 * whole */
	List	   *sources;		/* of Source * */
	HTAB	   *members;		/* of Member */
	Oid			last_relid;		/* the last one that was looked up */
	Member	   *last_member;	/* NULL: it is no member */
	List	   *changed;		/* of Source *, in cxt: those that may have
								 * something in current */
	bool		events_kept;	/* a view that is being built will read the
								 * event log */
	bool		broken;			/* set_sources failed half-way */

	MemoryContext batch_cxt;	/* from, to; reset by begin_batch */
	DerivePosition *from;
	DerivePosition *to;
	MemoryContext views_cxt;	/* batches handed out */

	List	   *waiting;		/* of DerivePosition *; in cxt */

	List	   *subtransactions;	/* of Subtransactions *; in cxt */
	DeriveEventLog *log;
	List	   *pending;		/* of Pending *, in order of commit */
	Delivery	delivery;
	uint64		ndelivered;		/* numbers transactions */
	XLogRecPtr	last_commit_lsn;	/* of the last one delivered in full */
	TimestampTz oldest_commit;	/* of those in this batch that change rows; 0:
								 * none */
	DeriveCatalogChange catalog;	/* what this batch has of that */
	pg_atomic_uint64 *shown;	/* it is written there, too; or NULL */

	/* scratch for deforming */
	int			natts;
	Datum	   *oldvalues;
	bool	   *oldnulls;
	Datum	   *newvalues;
	bool	   *newnulls;
};


/*
 * stream.c
 */

/* NULL if the stream does not follow it. */
extern Source *derive_stream_find_source(List *sources, Oid relid, bool inh, bool events);

/* An empty delta of the source's layout. */
extern DeriveDelta *derive_stream_create_delta(MemoryContext parent, Source *source);

/* It may have something in current from here on. */
extern void derive_stream_note_changed(DeriveStream *stream, Source *source);

/* The source's deltas; made if there is none, except by find. */
extern DeriveDelta *derive_stream_current_delta(DeriveStream *stream, Source *source);
extern DeriveDelta *derive_stream_pending_delta(Pending *pending, Source *source);
extern DeriveDelta *derive_stream_find_pending_delta(Pending *pending, Oid relid, bool inh);

/* Nothing is held back by the current deltas any longer. */
extern void derive_stream_settle(DeriveStream *stream);

/* A backlog for a source that has none, with what the batch has of it. */
extern void derive_stream_begin_backlog(DeriveStream *stream, Source *source);

/* If decoding failed within a transaction. */
extern void derive_stream_forget_interrupted(DeriveStream *stream);

/* FATAL if a change of sources failed half-way. */
extern void derive_stream_check_usable(DeriveStream *stream);


/*
 * sink.c
 */
extern void derive_stream_set_sink(DeriveStream *stream);

/* The batch contains a transaction that changes rows and committed then. */
extern void derive_stream_note_commit(DeriveStream *stream, TimestampTz commit_time);

/* Was the transaction running at one of the positions that the stream knows? */
extern bool derive_stream_runs_somewhere(DeriveStream *stream, FullTransactionId xid);


/*
 * backlog.c: its rows, and for whom the source is unknown
 */
extern Backlog *derive_backlog_create(DeriveStream *stream, Source *source);
extern void derive_backlog_free(Backlog *backlog);

/* The transaction makes the source unknown; xid invalid: for everyone. */
extern void derive_backlog_mark(Backlog *backlog, FullTransactionId xid, const char *reason);

extern void derive_backlog_add(Backlog *backlog, FullTransactionId xid,
							   const Datum *values, const bool *nulls, int64 weight);

/* All of a transaction's delta. */
extern void derive_backlog_append(Backlog *backlog, FullTransactionId xid, DeriveDelta *delta);

/*
 * To a delta what since does not cover, or to a copy everything; one of delta and
 * copy is NULL.
 */
extern void derive_backlog_copy(Backlog *backlog, const DerivePosition *since,
								DeriveDelta *delta, Backlog *copy);

#endif							/* DERIVE_STREAM_INTERNAL_H */
