/*-------------------------------------------------------------------------
 *
 * worker_internal.h
 *	  What the parts of the worker share; for them only.
 *
 * worker.c runs the loop and the batch, reading.c reads the log, views.c knows
 * the views, concerned.c which of them a batch looks at, basis.c what they rest on, advance.c moves them, retry.c tries those that
 * have failed again, slow_views.c knows those that others move, replace.c lets one take the place of another, moves.c hands them over to other groups, serve.c does what others ask for, tend.c looks after builders and the verifier, setbacks.c is for when
 * it cannot go on.  One process is one worker, so that its state is one global variable.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WORKER_INTERNAL_H
#define DERIVE_WORKER_INTERNAL_H

#include "access/xlogdefs.h"
#include "base/lane.h"
#include "base/position.h"
#include "base/registry.h"
#include "base/waiting.h"
#include "capture/decoder.h"
#include "delta/delta.h"
#include "delta/stream.h"
#include "materialize/program.h"
#include "notify/journal.h"
#include "postmaster/bgworker.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

/* Look again at a view that is locked while it is built. */
#define RELOAD_MS			100

/* After a lock or process could not be had. */
#define RETRY_MS			1000

/* Transient errors in a row before a view is blamed. */
#define PATIENCE			5

/* Where an ERROR came from decides what must be thrown away. */
typedef enum Phase
{
	PHASE_OTHER,
	PHASE_CAPTURE,				/* opening or running the decoder */
	PHASE_APPLY					/* changing views */
} Phase;

/* What the watchdog has decided about a view. */
typedef enum GiveUp
{
	KEEP_TRYING,
	GIVE_TO_BUILDER,			/* or fail, if no builder can fill it */
	GIVE_UP
} GiveUp;

/*
 * A maintained view, as this process knows it.
 */
typedef struct WorkerView
{
	Oid			relid;
	DeriveViewRow *row;			/* as last read, in config_cxt */
	DeriveProgram *program;		/* NULL if not needed in this state, or
								 * unusable */
	int			rank;			/* its place in derive_worker.views */
	List	   *reads;			/* relations to lock, of Oid, in program->cxt */
	List	   *writes;
	uint64		roles_digest;	/* derive_roles_digest() of the program's */
	bool		dirty;			/* an invalidation hit one of its relations;
								 * set in callbacks */
	bool		seen;			/* while reading the registry */
	bool		repair;			/* a session asked for it */
	bool		backlog;		/* the stream keeps the backlog of its sources */
	bool		fill;			/* it is to be filled in the next batch, see
								 * can_fill_here() */
	bool		diverged;		/* recompute it, in this batch and careful
								 * mode */

	/* Whether it can be moved; see cohort.c. */
	DeriveWaitingRow *waiting;	/* its row in derive_state.waiting, in cxt; or
								 * NULL */
	bool		announced;		/* the log says that it waits */
	bool		kept;			/* if it is ready: the stream has, or will
								 * have, all that it lacks */
	Oid			busy;			/* what could not be locked for it, or
								 * InvalidOid */
	LOCKMODE	busy_mode;
	TimestampTz hold_until;		/* not to be moved before */
	char	   *hold_reason;	/* why, in cxt; or NULL */
	int			transient_errors;	/* in a row */
	int			timeouts;		/* in a row, see watchdog.c */
	GiveUp		give_up;		/* what to do instead of moving it */
	bool		selected;		/* this batch looks at it, see concerned.c;
								 * what follows of a batch is false of others */
	uint64		hot_until;		/* so does every batch up to this one; 0: it
								 * is not hot */
	bool		locked;			/* in this batch: all its locks are held */
	bool		fresh;			/* in this batch: it contains what the
								 * snapshot shows; ask
								 * derive_worker_is_fresh() */
	bool		had_turn;		/* in this batch: it has moved, or cannot */
	bool		moved;			/* in this batch: it has */
	bool		stuck;			/* in this batch: it should have moved, or be
								 * compared, and could not */
	bool		past_gone;		/* it stands still, and its old rows are no
								 * longer held: for people, and for what is
								 * held; base/past.c decides by itself */
	bool		past_announced; /* the log says that */
	DeriveBatch *cohort;		/* in this batch: the deltas that it came back
								 * with */
	int			cohort_deltas;	/* how many there were before its own */

	/* Whether it has a pace of its own; see slow_views.c. */
	bool		slow;			/* it should be in the slow lane */
	DeriveLaneRow *lane;		/* its row in derive_state.lane, in cxt; NULL:
								 * it is not there */
	bool		stale;			/* it is to be computed by the lane */
	uint64		marked_in;		/* the last batch that noted that, see
								 * DeriveGroup.batches; 0: none */
	bool		costly;			/* it is not, but should be: what it took for
								 * parts that are computed as a whole */
	double		whole_ms;		/* in its last batch, or 0 */
	uint64		follows_in;		/* the last one that did so for what it reads */
	bool		found_stale;	/* in this batch: it lacks something new */
	bool		followed;		/* in this batch: no change of what it reads
								 * will be missed from here on */
	uint64		repair_in;		/* the batch that noted that it is to be
								 * repaired; 0: none */
	DerivePosition *repair_position;	/* of that batch, in cxt; or NULL */

	/* Whether it is tried again after an error; see retry.c. */
	TimestampTz known_error_at; /* of the failure that is known; 0: none */
	TimestampTz failed_at;		/* pauses begin here */
	int64		retry_pause;	/* in ms, after that */
	bool		retry_changed;	/* what it reads may have changed since the
								 * last try */
	bool		tried_after_crash;	/* that it is has been written down */
	bool		retried;		/* it takes part in batches for that */
	bool		bug_reported;	/* an internal error behind a recompute */

	uint64		digest;			/* of the members of its sources, now */
	uint64		basis;			/* of files and definitions, now */
	bool		has_children;	/* some source has partitions or children */
	TimestampTz expire_at;		/* remove what is too old, not before */

	/* Whether it is to take the place of another one; see replace.c. */
	Oid			replaces;		/* as its row says */
	bool		replaced;		/* another one is to take its place */
	TimestampTz switch_at;		/* it could not, and is not tried before; 0:
								 * with every batch */
	int			switch_tries;	/* in a row in which the batch was rolled back */
	bool		switch_blindly; /* without looking how its rows differ */

	DeriveJournal *journal;		/* its changes are kept for subscribers; or
								 * NULL; in cxt */

	/* While it is built by a builder. */
	DeriveBuild *build;
	BackgroundWorkerHandle *builder;
	int64		build_epoch;	/* our life when it was started */
	bool		delays_pin;		/* it was built already when a pin was first
								 * wanted, see moves.c */
	bool		keeping;		/* its backlog has been kept ever since it
								 * asked, also after it has ended, until the
								 * view is handed over */
	int64		looked_at;		/* when we last looked after the builder; as
								 * derive_monotonic_ms() */
	int			idle_looks;		/* in a row at which its query just waited */
	int64		cancelled_at;	/* when it was cancelled, likewise; 0: it was
								 * not */
	TimestampTz retry_at;		/* not before */
	FullTransactionId build_xmin;	/* old rows are held from here on */
	DeriveWaitsFor waits_for;	/* what we have said that its build waits for */
	Oid			waits_relation;
	TimestampTz told_try_at;	/* when we have said that it is tried again */
} WorkerView;

/*
 * The process's state.
 */
typedef struct DeriveWorker
{
	DeriveGroup *place;			/* our place in shared memory */
	int			group;			/* our group */
	char	   *slot;			/* name of the replication slot, in cxt */
	char	   *dbname;			/* in cxt */
	char	   *whose;			/* database "shop", or group "heavy" of it;
								 * for messages, in cxt */
	MemoryContext cxt;			/* life of the process */
	MemoryContext config_cxt;	/* rows of the registry; reset when they are
								 * read again */
	MemoryContext batch_cxt;	/* one batch */

	/* capture */
	DeriveDecoder *decoder;		/* NULL between two lives */
	DeriveStream *stream;		/* lives and dies with the decoder */
	int64		epoch;			/* of this life; never the same again */
	XLogRecPtr	stuck_at;		/* where decoding failed */
	int			stuck_tries;	/* so many times in a row */
	char	   *undecodable;	/* given up, and why; or NULL; in cxt */
	XLogRecPtr	decoded_upto;	/* the log has been read up to here */
	XLogRecPtr	covered;		/* "position" has everything that committed
								 * before */

	/* The position of all ready views; in cxt; NULL: none yet. */
	DerivePosition *position;

	/* the views */
	List	   *views;			/* of WorkerView *, in dependency order */
	List	   *unsettled;		/* those that need looking after without any
								 * change; see concerned.c */
	List	   *selected;		/* those that this batch looks at, or the last
								 * one did; in dependency order */
	bool		any_replacement;	/* some of them is to take the place of
									 * another one */
	List	   *incoming;		/* groups from which views are to move to
								 * ours: of int, in cxt */
	XLogRecPtr	pin;			/* no further is the slot confirmed for now;
								 * invalid: it is not pinned */
	FullTransactionId pin_xmin; /* the same for old rows */
	List	   *without_identity;	/* Oids of members, in cxt */
	List	   *identity_not_needed;	/* Oids of tables that get back
										 * theirs, in cxt */
	TimestampTz identity_retry_at;	/* do not try to give it to them before */
	Oid			registry_oid;	/* derive_state.views */
	volatile bool reload;		/* the registry changed; set in callbacks */
	volatile bool any_dirty;	/* some view is dirty; set in callbacks */
	volatile uint64 role_changes;	/* how often roles may have got other
									 * rights; counted in callbacks */
	uint64		role_changes_seen;	/* the views have been looked at for those */
	TimestampTz reload_at;		/* reload then, 0: need not */
	int			reload_tries;	/* in a row that left some view dirty */
	WorkerView *loading;		/* whose program is being loaded */
	uint64		decode_counter; /* SharedInvalidMessageCounter when decoding
								 * began */
	bool		decoding;		/* invalidations may be the decoder's own */

	/* What derive_state.position says, and when that was written. */
	XLogRecPtr	stored_lsn;
	TimestampTz stored_at;
	uint64		stored_bytes;	/* derive_decoder_bytes_read() then */
	int			stores_left;	/* for letting go of WAL, while nothing
								 * happens */

	/* So that standbys can copy the slot, while nothing happens. */
	uint64		standbys;		/* derive_standbys_connected() */
	TimestampTz beat_at;		/* store the next position for them, ... */
	int			beat_ms;		/* and the one after that so much later */
	bool		beating;		/* it is to be stored now */

	FullTransactionId stored_xmin;	/* of the position that is stored */
	uint64		commits_stored; /* commits_seen of that batch */
	TimestampTz hold_asked_at;	/* a batch ended to which it was due to store
								 * its position for that */
	DerivePosition *hold_since; /* what is held now, is held since then; in
								 * cxt */
	bool		hold_begun;		/* in this batch, which is not committed */
	bool		hold_pinned;	/* it may be held for something else than that
								 * position */
	FullTransactionId hold_moved_xid;	/* the next one at
										 * DeriveGroup.hold_moved_at */

	/* What is to be confirmed once the log is flushed up to confirm_after. */
	XLogRecPtr	confirm_after;
	XLogRecPtr	confirm_lsn;	/* invalid: nothing */

	/* What there is to do. */
	uint64		commits_seen;	/* DeriveGroup.commits before the last batch */
	bool		basis_checked;	/* nothing has changed behind our back since
								 * the last worker */
	bool		unwatched;		/* something may have */
	bool		unfinished;		/* something waits for the next batch */
	bool		look_around;	/* the idle timeout has passed */
	int			pending_rounds; /* batches in a row that left transactions
								 * pending */
	TimestampTz try_at;			/* try to move views that are set aside then,
								 * 0: there are none */
	int64		locked_at;		/* when this batch had its locks; as
								 * derive_monotonic_ms() */
	bool		yielding;		/* this batch moves no more views: somebody
								 * waits for its locks */
	List	   *requests;		/* those of this batch, of ActiveRequest *, in
								 * batch_cxt */

	/* errors */
	Phase		phase;			/* what we are doing now */
	bool		careful;		/* the batch failed: each view in a
								 * subtransaction */
	int			failures;		/* errors since the last batch that succeeded */

	bool		leave;			/* nothing to do here any more */
	bool		finishing;		/* held away, once all of the log is read */
} DeriveWorker;

/* In worker.c. */
extern DeriveWorker derive_worker;

/* For people: what we are at now, with the same for pg_stat_activity. */
extern void derive_worker_set_activity(DeriveActivity activity);


/*
 * reading.c: the slot, the decoder and the stream
 */

/* Begin and end a life. */
extern void derive_worker_open_capture(void);
extern void derive_worker_close_capture(void);

/* Drop the slot, if there is one, in a transaction of its own. */
extern void derive_worker_drop_slot(void);

/* Read the log up to now.  Returns how far the views will have come. */
extern XLogRecPtr derive_worker_capture(const DerivePosition *to);

/* In a batch: about when the oldest transaction committed that the views lack without it. */
extern TimestampTz derive_worker_lacking_since(void);

/*
 * Should a batch that changed nothing store its position, so that the slot can
 * be told?  And, after the commit of one that stored it, for that reason (due)
 * or another one:
 */
extern bool derive_worker_position_is_due(XLogRecPtr covered);
extern void derive_worker_position_stored(const DerivePosition *position, XLogRecPtr covered, bool due);

/*
 * While nothing happens: if it is time to let standbys copy the slot, write something to read.
 * Returns a timeout until then.
 */
extern long derive_worker_beat(long timeout);

/* Tell the slot, once what it would no longer deliver is safely on disk. */
extern void derive_worker_confirm_durable(void);

/* Likewise; is there still something to tell? */
extern bool derive_worker_is_confirming(void);

/* The same now, for all that is stored. */
extern void derive_worker_confirm_stored(void);

/* Between batches: the stored position, and with it the slot, come to where the views are. */
extern void derive_worker_store_at_rest(void);


/*
 * holding.c: old row versions
 */

/* The decoder was opened; since when it holds something, if it does, as stored. */
extern void derive_worker_open_hold(const DerivePosition *since);

/* Before a batch takes its snapshot: protect what it may read besides that. */
extern void derive_worker_open_past(void);

/* In a batch, right after its snapshot was taken: hold that for the next one. */
extern void derive_worker_hold_present(const DerivePosition *to);

/*
 * At its end: must it store its position, since a hold begins with it?  And after its
 * commit, and after derive_worker_position_stored():
 */
extern bool derive_worker_confirm_hold(void);
extern void derive_worker_hold_committed(void);

/* The batch is left with nothing done. */
extern void derive_worker_leave_hold(void);

/* The stored position is on disk: hold only what is needed from there on. */
extern void derive_worker_move_hold(void);

/* Before the view's builder takes its snapshot: hold what that will see.  False: not yet. */
extern bool derive_worker_hold_for_build(WorkerView *view);

/* Between batches: is all held that there should be?  From *xmin on, or invalid if that is nothing. */
extern bool derive_worker_hold_is_set(FullTransactionId *xmin);

/* Between batches: must one store its position for that?  And when to look again. */
extern bool derive_worker_hold_is_due(void);
extern long derive_worker_hold_timeout(long timeout);

/* Between batches: move it, or let go if batches have failed for too long; there was nothing to do. */
extern void derive_worker_tend_hold(void);
extern void derive_worker_hold_idle(void);

/* How long to wait for a lock without which there is no batch; 0: until it is free. */
extern int	derive_worker_lock_wait_ms(void);


/*
 * views.c: what is known of the views
 */

/* NULL if it is not maintained. */
extern WorkerView *derive_worker_find_view(Oid relid);

/*
 * The views that have something to do with a relation: it is the view itself, one of its internal
 * tables, something that it reads, or a member of that.  List of WorkerView *, not to be
 * changed, and valid until a program is loaded.
 */
extern List *derive_worker_views_of(Oid relid);

/* Those that we have, of Oid, in CurrentMemoryContext. */
extern List *derive_worker_view_oids(void);

/*
 * May we remove from this table, and what goes with it, what belongs to views that are gone, until the end of the
 * transaction?  Another worker may be about to.
 */
extern bool derive_worker_may_sweep(const char *table);

/*
 * A row of our catalog is about a view that we do not have.  Is it about none at all, and ours to
 * remove?
 */
extern bool derive_worker_is_leftover(Oid relid);

/* Relcache callback. */
extern void derive_worker_note_invalidation(Datum arg, Oid relid);
extern void derive_worker_note_role_change(Datum arg, int cacheid, uint32 hashvalue);

/* Are all sources of the second program, with all columns, sources of the first one? */
extern bool derive_worker_follows_all(DeriveProgram *program, DeriveProgram *other);

/* Bring everything in line with the registry, in transactions of its own. */
extern void derive_worker_load_registry(void);

/* Does the stream follow all base tables of the view, and has it done so long enough? */
extern bool derive_worker_sources_complete(WorkerView *view);


/*
 * concerned.c: which views a batch looks at
 */

/* While the registry is read, when all is known of the views. */
extern void derive_worker_sort_out_views(void);

/* The process no longer knows the view. */
extern void derive_worker_deselect(WorkerView *view);

/* In a batch, before its locks: sets derive_worker.selected. */
extern void derive_worker_select_views(void);

/* After an error, which may be that not all locks found room. */
extern void derive_worker_guess_again(void);

/*
 * After the log was read: are all selected that the batch has something for?  If not,
 * leave it; the next one will have them.
 */
extern bool derive_worker_selection_suffices(DeriveBatch *batch);

/* After the views have moved. */
#ifdef USE_ASSERT_CHECKING
extern void derive_worker_check_selection(DeriveBatch *batch);
#endif

/* After the commit, before anything asks which views are unsettled. */
extern void derive_worker_settle(void);

/* In a batch: does the view contain what the snapshot shows? */
extern bool derive_worker_is_fresh(WorkerView *view);

/* WorkerView.expire_at has been changed. */
extern void derive_worker_plan_expiry(void);

/* When is the next view due to remove what is too old?  And to move because time passes?  0: none is. */
extern TimestampTz derive_worker_next_expiry(void);
extern TimestampTz derive_worker_next_tick(TimestampTz now);

/* What now() is at the end of the batch; present: what it is for its snapshot. */
extern TimestampTz derive_worker_time_of_batch(DeriveBatch *batch, TimestampTz present);


/*
 * basis.c: what contents rest on besides the log
 */
extern uint64 derive_worker_basis(DeriveProgram *program);

/*
 * In a batch, before views move: mark those that were changed while the server
 * ran without our library.  True if it wrote something.  Due: all views must be
 * selected for that.  And after its commit:
 */
extern bool derive_worker_basis_is_due(void);
extern bool derive_worker_check_basis(void);
extern void derive_worker_basis_checked(void);

/* While the registry is read: write down what has been noticed meanwhile. */
extern void derive_worker_store_basis(WorkerView *view);


/*
 * advance.c: moving views
 */

/* Is the view one that the next batch may change? */
extern bool derive_worker_takes_part(WorkerView *view);

/* Could a builder make its contents?  Not those that only the worker has the changes for. */
extern bool derive_worker_can_be_built(WorkerView *view);

/* Is it time to remove from the view what is too old? */
extern bool derive_worker_expire_due(WorkerView *view);

/* Move all views; true if anything was written.  Adds to *stats. */
extern bool derive_worker_advance_views(DeriveBatch *batch, List **stats, double delta_ms);

/* The view has other contents: those that read it must not rely on a delta that nobody has. */
extern void derive_worker_export_unknown(WorkerView *view, DeriveBatch *batch, const char *reason);

/* After the commit: what they did. */
extern void derive_worker_report_stats(List *stats, double delta_ms);

/*
 * A view is to be built anew, for this reason; its contents stay until then.  As the
 * next one.
 */
extern bool derive_worker_rebuild_view(WorkerView *view, const char *reason);

/*
 * A view can go no further: write down why, in the current transaction; of the error
 * only code and context are looked at.  retry: try it again by and by (retry.c), or
 * else only when somebody asks for it.  False if its row may not be changed now,
 * because a session has locked the view.
 */
extern bool derive_worker_fail_view(WorkerView *view, const char *message, const ErrorData *error, bool retry);

/* A view that has failed because processes crashed over it is tried again after this batch: write that down.  Likewise. */
extern bool derive_worker_announce_try(WorkerView *view);

/* A view that has failed goes to a builder once more.  As derive_worker_rebuild_view(). */
extern bool derive_worker_send_to_retry(WorkerView *view);


/*
 * retry.c: views that have failed and are tried again
 */

/* While the registry is read: when is each of them tried again? */
extern void derive_worker_plan_retries(void);

/* In a batch, in the view's turn: let it be tried if it is time.  True if something was written. */
extern bool derive_worker_watch_failed_view(WorkerView *view, DeriveBatch *batch);

/* What it reads has changed, which a try that begins now will see. */
extern void derive_worker_note_retry(WorkerView *view);

/* Between batches: must one let a view be tried?  And when to look again. */
extern bool derive_worker_retry_is_due(void);
extern long derive_worker_retry_timeout(long timeout);


/*
 * replace.c: views that take the place of others
 */

/* The view that is to take this one's place, or NULL. */
extern WorkerView *derive_worker_replacement(WorkerView *view);

/* Does one view read another one, as far as their programs are known, through whatever lies between? */
extern bool derive_worker_reads(WorkerView *reader, WorkerView *view);

/* In a batch, in the view's turn: see there.  Set *wrote if something was written. */
extern bool derive_worker_replace(WorkerView *view, DeriveBatch *batch, bool *wrote);
extern bool derive_worker_hold_for_replacement(WorkerView *view, bool *wrote);

/* Does the stream have what this program reads, for the sake of the view's replacement? */
extern bool derive_worker_followed_by_replacement(WorkerView *view, DeriveProgram *program);

/* Between batches: is one to be tried again?  And when to look again. */
extern bool derive_worker_replace_is_due(void);
extern long derive_worker_replace_timeout(long timeout);


/*
 * moves.c: views that come from other groups, and go there
 */

/* Around reading the registry; begin: before it. */
extern void derive_worker_begin_pin(void);
extern void derive_worker_end_pin(void);

/* The decoder was opened, and nothing confirmed. */
extern void derive_worker_pin_slot(void);

/* Let go of the slot with the next look at the registry, if nothing is being handed over just then. */
extern void derive_worker_give_up_pin(void);

/* May a builder start?  If not, its turn comes. */
extern bool derive_worker_may_build(void);

/* Between batches: say that the slot is pinned, once it is. */
extern void derive_worker_tend_moves(void);

/* While the registry is read: those that stand still, and cannot come back from there, are computed anew. */
extern void derive_worker_check_waiting(void);

/* What a batch writes for that, to be locked. */
extern List *derive_worker_moves_relations(void);

/* In a batch, after the views have moved: hand some over, at its position.  True if something was written. */
extern bool derive_worker_hand_over(const DerivePosition *position, XLogRecPtr lsn);

/* The clock was set back. */
extern void derive_worker_moves_note_clock(TimestampTz now);

/* Between batches: must one do that?  And when to look again. */
extern bool derive_worker_move_is_due(void);
extern long derive_worker_moves_timeout(long timeout);

/* While the registry is read, after the programs: views that read others which have moved. */
extern void derive_worker_follow_sources(void);


/*
 * cohort.c: views that cannot be moved now
 */

/* Must it be computed anew, whatever changed? */
extern bool derive_worker_needs_recompute(WorkerView *view);

/* Does it stand still at a position of its own?  And at which one, or else that of all? */
extern bool derive_worker_stands_still(WorkerView *view);
extern const DerivePosition *derive_worker_position_of(WorkerView *view);

/* While the registry is read, after the views and before the stream is told of the sources. */
extern void derive_worker_load_waiting(void);

/* The process no longer knows the view: free what these files keep of it. */
extern void derive_worker_forget_view_state(WorkerView *view);

/* The log is needed from here on by views that stand still; invalid: by none. */
extern XLogRecPtr derive_worker_waiting_lsn(void);

/* Lock relations in order to load the view's program; false: view->busy says which one was not free. */
extern bool derive_worker_lock_to_load(WorkerView *view, List *relids);

/* In a batch, before its snapshot; false: the decoder must be opened anew first. */
extern bool derive_worker_lock_views(void);

/* Do not try the view for a while; reason: for people. */
extern void derive_worker_hold_back(WorkerView *view, const char *reason, int64 ms);
extern void derive_worker_hold_back_after_error(WorkerView *view, const ErrorData *edata);

/* In a batch: the view should move and cannot.  True if something was written. */
extern bool derive_worker_set_aside(WorkerView *view);

/* In a batch: it was moved, or has failed. */
extern void derive_worker_end_waiting(WorkerView *view);

/* In a transaction: what the view lacks cannot be had, it is to be computed anew. */
extern void derive_worker_lose_changes(WorkerView *view, const char *reason);

/* In a batch: the same where too much of the log is held.  True if something was written. */
extern bool derive_worker_limit_waiting(XLogRecPtr covered);

/* In a batch: are all views that it reads where the snapshot is? */
extern bool derive_worker_sources_fresh(WorkerView *view);

/* In a batch: the deltas with which a view comes back; NULL: recompute it. */
extern DeriveBatch *derive_worker_cohort_batch(WorkerView *view, const DeriveBatch *batch);

/* It did not come back with them after all. */
extern void derive_worker_leave_cohort(WorkerView *view);

/* After a batch: sets try_at. */
extern void derive_worker_plan_next_try(void);

/* Was the view left behind by the last batch, and is it too early to try again? */
extern bool derive_worker_is_stuck(Oid relid);


/*
 * slow_views.c: views with a pace of their own, in the slow lane
 */

/* A view leaves the lane: go on with its journal, which another process has written. */
extern void derive_worker_take_journal(WorkerView *view);

/* While the registry is read, after the views were sorted. */
extern void derive_worker_load_lane(void);
extern void derive_worker_forget_lane(WorkerView *view);

/* In a batch: views enter the lane and leave it; true if something was written. */
extern bool derive_worker_assign_lane(void);

/* Should it be there?  Asked of the views in the order in which they read each other. */
extern bool derive_worker_is_slow(WorkerView *view);

/* In a batch, after the views have moved: has that taken too long for those of which parts are computed as a whole? */
extern void derive_worker_watch_costs(void);

/* Its builder has filled it: it goes on in the lane from there. */
extern void derive_worker_hand_to_lane(WorkerView *view, bool changed);

/* Note that it is to be computed anew; restart: and that its subscribers are to start anew. */
extern void derive_worker_mark_stale(WorkerView *view, bool restart);

/* In a batch, in its turn: must it be computed anew?  True if something was written. */
extern bool derive_worker_watch_slow_view(WorkerView *view, bool changed);

/* After the commit of a batch. */
extern void derive_worker_lane_committed(void);

/* Between batches: start the lane's process, and see what it has done. */
extern void derive_worker_tend_lane(void);

/* Make its process give way, if it must. */
extern void derive_worker_look_after_lane(void);
extern long derive_worker_lane_timeout(long timeout);


/*
 * watchdog.c: a limit on the time that one view takes in a batch
 */
extern void derive_watchdog_start(WorkerView *view);
extern void derive_watchdog_stop(void);

/* From here to the stop, it takes the place of another view. */
extern void derive_watchdog_start_switch(WorkerView *replacement);

/* No view moves for a while. */
extern void derive_watchdog_rest(void);

/* Is this a wait for something else than memory, locks of a moment, and disk? */
extern bool derive_watchdog_is_idle_wait(uint32 wait_event_info);

/* After an ERROR: the view that the watchdog stopped, which is now held back; or NULL. */
extern WorkerView *derive_watchdog_bitten(void);


/*
 * serve.c: requests of sessions
 */

/* Does a session wait for a batch? */
extern bool derive_worker_has_pending_request(void);

/*
 * Does another process wait for one?  Before the snapshot of a batch: note what has been
 * asked for; and then: must the batch store its position for that?
 */
extern bool derive_worker_is_asked_for_batch(void);
extern void derive_worker_note_asked(void);
extern bool derive_worker_must_store_position(void);

/* Sets WorkerView.repair, before the registry is read. */
extern void derive_worker_mark_repairs(void);

/* The steps of a batch, in this order; collect: true if it wrote to the registry. */
extern bool derive_worker_collect_requests(void);
extern void derive_worker_answer_repairs(WorkerView *view, ErrorData *edata);
extern void derive_worker_answer_requests(void);

/* Or instead, after an error: they wait for the next batch. */
extern void derive_worker_postpone_requests(void);


/*
 * journals.c: subscribed views
 */

/* While the registry is read, after the views. */
extern void derive_worker_load_journals(void);
extern void derive_worker_drop_journal(WorkerView *view);

/* The steps of a batch; activate: true if it wrote something. */
extern List *derive_worker_journal_relations(void);
extern void derive_worker_begin_journals(XLogRecPtr lsn, TimestampTz at);
extern bool derive_worker_activate_journals(void);
extern void derive_worker_notify_subscribers(void);

/* Between batches, and at the end. */
extern void derive_worker_tend_journals(void);
extern void derive_worker_sweep_journals(void);
extern long derive_worker_journals_timeout(long timeout);


/*
 * setbacks.c: when it cannot go on from where the views stand
 */

/* The new slot begins here: say which part of the log nobody has read.  In a transaction. */
extern void derive_worker_report_skipped(XLogRecPtr start);

/* The same of a view that stands still, if it keeps what only the log has (start: PG_UINT64_MAX if not known); it is computed anew. */
extern void derive_worker_lose_log(WorkerView *view, XLogRecPtr start, const char *reason);

/* In the error handler: the slot could not be opened.  Waiting sessions are told. */
extern void derive_worker_note_slot_error(const ErrorData *edata);

/* In the error handler, before the decoder is closed: sets "undecodable" in the end. */
extern void derive_worker_note_undecodable(const ErrorData *edata);

/* First of all, after the state is set up; may take long, or end the process. */
extern void derive_worker_survive_crashes(void);


/*
 * tend.c: between batches
 */
extern void derive_worker_tend_identity(void);
extern void derive_worker_restore_identities(void);

/* Log that there is a worker, now that it is known to have something to do. */
extern void derive_worker_announce(void);
extern void derive_worker_tend_builds(void);

/*
 * Make the processes of ours that compute give way to who waits for their locks.  Takes no
 * lock itself; about once a second.  Are there any?
 */
extern bool derive_worker_look_after(void);
extern void derive_worker_tend_verifier(void);

/* Must the stream keep what the view may have to catch up with? */
extern bool derive_worker_wants_backlog(WorkerView *view);

#endif							/* DERIVE_WORKER_INTERNAL_H */
