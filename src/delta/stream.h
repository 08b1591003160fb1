/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  From the decoder's transactions to the deltas of a batch.
 *
 * API (all called by the worker, once per batch, in this order)
 *
 *	derive_stream_create()			once
 *	derive_stream_set_sources()		when the set of views or a table changed
 *	derive_stream_begin_batch()		with the positions from and to, before decoding
 *	(decoding calls the sink)
 *	derive_stream_batch()			the deltas of the batch
 *	derive_stream_end_batch()		after the batch committed: forget what was applied
 *	derive_stream_covered()			how far the slot may be confirmed
 *
 * Classification of a decoded transaction, by its top-level xid:
 *
 *	covered by from			skipped: redelivered after a crash; or, if a view
 *							stands still at a position that does not cover it,
 *							its rows go to the backlog
 *	covered by to			its rows go to the batch's deltas
 *	neither					pending: committed in WAL but not yet visible;
 *							kept per transaction until a later batch covers it
 *
 * PITFALL: after the commit of a batch derive_stream_end_batch() must be the
 * very next thing, or the same rows would be applied again.
 *
 * If a batch fails, its deltas stay; the next batch, with a later "to", adds
 * to them.  So nothing is decoded twice and nothing is lost by an ERROR.
 *
 * Pending transactions are remembered even where they touched no tracked
 * relation, since the slot must not be confirmed past them: a relation may
 * become tracked before they are visible.
 *
 * Backlog: while views are being built, or stand still, the rows of the
 * relations they read are also kept after they were applied to the other views,
 * each with its xid, so that a view built under snapshot S_b can catch up from
 * S_b, and one that stands still from where it stands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_STREAM_H
#define DERIVE_STREAM_H

#include "base/position.h"
#include "capture/decoder.h"
#include "delta/delta.h"

typedef struct DeriveStream DeriveStream;

/* Lives in its own child context of CurrentMemoryContext. */
extern DeriveStream *derive_stream_create(void);
extern void derive_stream_free(DeriveStream *stream);
extern const DeriveSink *derive_stream_sink(DeriveStream *stream);

/*
 * Track exactly these sources (List of DeriveSource *, copied; duplicates of
 * (relid, inh, events) are merged by union of columns).  Must run in a transaction
 * with a valid catalog snapshot; takes no locks beyond AccessShare.  Columns
 * outside of a source's set are stored as NULL, and an UPDATE that changes
 * none of the set is dropped.
 *
 * keep_backlog: List of DeriveSource * (same matching) whose backlog must be
 * kept; the backlog of every other relation is freed.
 *
 * Rows already held are carried over to a changed layout by attribute number.
 */
extern void derive_stream_set_sources(DeriveStream *stream, List *sources, List *keep_backlog);

/*
 * Is every transaction that is not yet covered by the last "to" captured with
 * this source (and all of these columns) tracked?  Only a snapshot taken after
 * this became true may start a view that reads the source.
 */
extern bool derive_stream_complete(DeriveStream *stream, const DeriveSource *source);

extern void derive_stream_begin_batch(DeriveStream *stream, const DerivePosition *from, const DerivePosition *to);

/* In a batch, before its deltas are used: what now() is at its end. */
extern void derive_stream_set_time(DeriveStream *stream, TimestampTz time);

/*
 * The deltas between from and to.  Valid until end_batch or the next
 * begin_batch.  With since = NULL: the deltas as collected.  With a since
 * that is later than from, and backlog kept for all of the sources: what
 * "to" covers and since does not, from backlog and current rows, for a view
 * at position since.
 *
 * Sources that are followed event by event have no delta: the batch has the
 * event log and the positions to read it with.  For since, keep_backlog must
 * have named them.
 */
extern DeriveBatch *derive_stream_batch(DeriveStream *stream);
extern DeriveBatch *derive_stream_batch_since(DeriveStream *stream, List *sources, const DerivePosition *since);

/*
 * In a batch, before its end: keep the backlog of these sources (List of
 * DeriveSource *) from "from" on, for a view that stays there.  If the batch
 * fails, derive_stream_set_sources() ends it.  Not for sources that are views.
 * False if one of them is not followed.
 */
extern bool derive_stream_keep(DeriveStream *stream, List *sources);

/*
 * Views stand still at these positions (List of DerivePosition *, copied), which
 * "from" includes.  To be called before anything is read that they lack, with
 * keep_backlog for their sources.
 */
extern void derive_stream_set_waiting(DeriveStream *stream, List *positions);

extern void derive_stream_end_batch(DeriveStream *stream);

/*
 * What the batch has: relations of which it has changes, or does not know them, as List
 * of Oid in CurrentMemoryContext.  Of a source its relation, of one that is followed event
 * by event, its members.
 */
extern List *derive_stream_changed(DeriveStream *stream);

/*
 * Does the batch have a transaction that changes the catalog?  Late: one that was
 * decoded for an earlier batch, which did not see it yet.  Invalidations are repeated while
 * a transaction is decoded, so what that one invalidated was looked at before it could be seen.
 */
typedef enum DeriveCatalogChange
{
	DERIVE_CATALOG_SAME,
	DERIVE_CATALOG_CHANGED,
	DERIVE_CATALOG_CHANGED_LATE
} DeriveCatalogChange;

extern DeriveCatalogChange derive_stream_catalog_change(DeriveStream *stream);

/* The start LSN of the first pending transaction's commit record, or else decoded_upto. */
extern XLogRecPtr derive_stream_covered(DeriveStream *stream, XLogRecPtr decoded_upto);
extern bool derive_stream_has_pending(DeriveStream *stream);

/*
 * When did the first transaction commit that the batch has, of those that change
 * rows of tables?  0: there is none.  It can be shown to others, in shared memory, as
 * soon as it is known.
 */
extern TimestampTz derive_stream_oldest_commit(DeriveStream *stream);
extern void derive_stream_show(DeriveStream *stream, pg_atomic_uint64 *oldest_commit);

/*
 * A digest of the relations that a source stands for (itself, partitions,
 * inheritance children), to notice ATTACH, DETACH and INHERIT.
 */
extern uint64 derive_source_members_digest(const DeriveSource *source);

/*
 * Of its members those for which the log lacks what the source needs of old rows:
 * List of Oid, in CurrentMemoryContext.  They must get replica identity FULL.
 */
extern List *derive_source_without_identity(const DeriveSource *source);

/* The members themselves: List of Oid; relations that can hold rows only. */
extern List *derive_source_members(Oid relid, bool inh);

#endif							/* DERIVE_STREAM_H */
