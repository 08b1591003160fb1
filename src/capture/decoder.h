/*-------------------------------------------------------------------------
 *
 * decoder.h
 *	  In-process logical decoding: WAL in, changes of committed transactions
 *	  out, in commit order.
 *
 * API
 *
 *	derive_slot_create(name)		create the permanent logical slot (plugin pg_derive)
 *	derive_slot_drop(name)			drop it, if it exists and is not somebody else's
 *	derive_slot_state(name, stored)	usable, missing, lost or left behind
 *	derive_decoder_open(name, sink)	acquire the slot; MUST run inside a transaction
 *	derive_decoder_run(d, upto)		decode up to an LSN, calling the sink
 *	derive_decoder_confirm(d, lsn)	what lies before lsn is never needed again
 *	derive_decoder_close(d)			release the slot
 *
 * The decoding context is created once and lives in the MemoryContext that is
 * current at derive_decoder_open().  It must be opened inside a transaction:
 * outside of one, StartupDecodingContext() sets PROC_IN_LOGICAL_DECODING and
 * vacuum would from then on ignore this backend's xmin (src: logical.c,
 * procarray.c ComputeXidHorizons).
 *
 * Sink callbacks run inside decoding, under a historic catalog snapshot: they
 * may copy tuples and look at the Relation they are given, and must not run
 * user expressions, type input/output or SQL.  An ERROR in a callback leaves
 * the decoder unusable: close it and open it again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DECODER_H
#define DERIVE_DECODER_H

#include "access/htup.h"
#include "access/transam.h"
#include "access/xlogdefs.h"
#include "port/atomics.h"
#include "utils/guc.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#define DERIVE_PLUGIN_NAME "pg_derive"

typedef struct DeriveDecoder DeriveDecoder;

typedef enum DeriveChangeKind
{
	DERIVE_INSERT = 'I',
	DERIVE_UPDATE = 'U',
	DERIVE_DELETE = 'D'
} DeriveChangeKind;

/*
 * Where the decoder sends what it reads.  A transaction is delivered whole:
 * begin, its changes in the order in which they were made, commit.
 */
typedef struct DeriveSink
{
	/*
	 * A committed transaction: its top-level xid (widened), the LSN at which
	 * its commit record starts, its commit time.  Return false to skip its
	 * changes; commit is still called.
	 */
	bool		(*begin) (void *arg, FullTransactionId xid, XLogRecPtr commit_lsn, TimestampTz commit_time);

	/*
	 * Before begin, if it has any: the subtransactions of the next
	 * transaction that changed something.
	 */
	void		(*subtransactions) (void *arg, FullTransactionId xid, int n, const FullTransactionId *subxids);

	/*
	 * After begin, unless that returned false: the transaction changes the
	 * catalog.
	 */
	void		(*catalog) (void *arg);

	/*
	 * One row.  relation is as it was at the time of the change (historic
	 * descriptor).  newtuple is NULL for DELETE; oldtuple is NULL for INSERT
	 * and also where the log does not carry it; *old_complete tells whether
	 * oldtuple is a full image (REPLICA IDENTITY FULL) or just key columns.
	 * Both tuples are self-contained: values that the reorder buffer held
	 * outside of the tuple are inlined, and unchanged TOAST values of
	 * newtuple were taken from oldtuple.  They are valid during the call. A
	 * value that the log does not carry at all remains an on-disk TOAST
	 * pointer, and then new_complete is false.
	 */
	void		(*change) (void *arg, DeriveChangeKind kind, Relation relation,
						   HeapTuple oldtuple, bool old_complete,
						   HeapTuple newtuple, bool new_complete);

	/*
	 * The transaction changes rows of some table, followed or not: called
	 * once, before its first such change.  Materialized views count only if
	 * they are wanted.
	 */
	void		(*touch) (void *arg);

	/* Cheap test before tuples are prepared: is this relation of interest? */
	bool		(*wants) (void *arg, Oid relid);

	/* TRUNCATE of these relations. */
	void		(*truncate) (void *arg, int nrelations, Relation *relations);

	/*
	 * A transactional logical message; lsn is where its record starts.  The
	 * content is not aligned.
	 */
	void		(*message) (void *arg, const char *prefix, XLogRecPtr lsn,
							Size size, const char *content);

	/* End of the transaction; end_lsn is where its commit record ends. */
	void		(*commit) (void *arg, XLogRecPtr end_lsn);

	void	   *arg;
} DeriveSink;

typedef enum DeriveSlotState
{
	DERIVE_SLOT_USABLE,
	DERIVE_SLOT_MISSING,
	DERIVE_SLOT_LOST,			/* invalidated, or its WAL is gone */
	DERIVE_SLOT_LEFT_BEHIND		/* from before a promotion, see branch.c */
} DeriveSlotState;

/*
 * Create the permanent slot of the current database.  Must be the first thing
 * in a transaction without xid; waits for running transactions to end, as
 * every creation of a logical slot does.  Returns the LSN from which on it
 * decodes.  Errors as pg_create_logical_replication_slot().  Where the server
 * has the setting output_plugin_libraries and it does not name pg_derive, the
 * session's value is extended first (SetConfigOption, PGC_SUSET).
 */
extern XLogRecPtr derive_slot_create(const char *name);

/*
 * Minor releases since August 2026 refuse output plugins that the setting output_plugin_libraries
 * does not name.  Does it name ours, or not ask for it?  Name it, for this process and those that
 * it starts.
 */
extern bool derive_plugin_is_allowed(void);
extern void derive_plugin_allow(GucContext context, GucSource source);

extern void derive_slot_drop(const char *name);

/*
 * stored: up to where its changes were taken, or invalid.  *why: why it cannot be used, for
 * people, if it cannot.
 */
extern DeriveSlotState derive_slot_state(const char *name, XLogRecPtr stored, const char **why);

extern DeriveDecoder *derive_decoder_open(const char *slotname, const DeriveSink *sink);

/* Where others can see how far it is, in shared memory: written with each record. */
extern void derive_decoder_show(DeriveDecoder *decoder, pg_atomic_uint64 *lsn);

/*
 * Called with the place of each record in the log, or only of those that end transactions,
 * before it is decoded; and with an invalid one when a run has ended.
 */
extern void derive_decoder_on_progress(DeriveDecoder *decoder, void (*callback) (XLogRecPtr lsn), bool each_record);

/*
 * Decode all records that start before upto (which must be flushed).  Must
 * run inside a transaction.  Handles cache invalidation: historic catalog
 * contents never survive the call.  Returns the LSN up to which was decoded
 * (the end of the last record read).  Interruptible.
 */
extern XLogRecPtr derive_decoder_run(DeriveDecoder *decoder, XLogRecPtr upto);

/*
 * The current end of WAL as a value for upto: the insert position, taken back
 * over the page header where it points exactly behind one, and flushed.
 */
extern XLogRecPtr derive_decoder_end_of_wal(void);

/*
 * Transactions whose commit record starts before lsn will not be delivered
 * again; WAL and catalog rows that only they need may go.  Call it after the
 * transaction that stored their effects has committed: the confirmation takes
 * effect once that commit is on disk, also with synchronous_commit = off, and, but for
 * at_once, standbys that may have a copy of the slot have it (standbys.h).
 */
extern void derive_decoder_confirm(DeriveDecoder *decoder, XLogRecPtr lsn, bool at_once);

/* Is a confirmation still to take effect?  One that can, does. */
extern bool derive_decoder_is_confirming(DeriveDecoder *decoder);

/* Would confirming lsn let go of a segment of WAL? */
extern bool derive_decoder_would_release(DeriveDecoder *decoder, XLogRecPtr lsn);

/* Sum of the sizes of the records that were read; not of empty space in the log. */
extern uint64 derive_decoder_bytes_read(DeriveDecoder *decoder);

/* After a run that ended with an ERROR: the last record that was read; else invalid. */
extern XLogRecPtr derive_decoder_failed_at(DeriveDecoder *decoder);

/*
 * Did the server run without our library at some time between an LSN (of a time
 * when it ran with it) and what has been decoded?  To be asked for before the
 * first run; see lives.c.
 */
extern void derive_decoder_watch_lives(DeriveDecoder *decoder, XLogRecPtr since);
extern bool derive_decoder_saw_unmarked_life(DeriveDecoder *decoder);

/*
 * What the slot says is confirmed.  Being ahead of what was ever passed to
 * derive_decoder_confirm() means that somebody else has read from the slot.
 */
extern XLogRecPtr derive_decoder_confirmed(DeriveDecoder *decoder);

/* The same with what derive_decoder_confirm() was called for and has not taken effect. */
extern XLogRecPtr derive_decoder_asked(DeriveDecoder *decoder);

extern void derive_decoder_close(DeriveDecoder *decoder);

#endif							/* DERIVE_DECODER_H */
