/*-------------------------------------------------------------------------
 *
 * program.h
 *	  A view's program: the derivation that maintains it, at work.
 *
 * API
 *
 *	derive_program_create()		at declaration: check, make internal tables
 *	derive_program_load()		in a worker: check, find internal tables
 *	derive_program_renew()		the internal tables were made for another program
 *	derive_program_apply()		changes of the sources in, changes of the view out
 *	derive_program_recompute()	no changes: bring everything to what it should be
 *	derive_program_build()		fill from nothing
 *	derive_program_compare()	the oracle: view against definition
 *	derive_program_succeed()	a view gets the query of another one, and all that it contains
 *	derive_program_explain()	for people
 *	derive_program_preview()	the same, of a query that is no view yet
 *	derive_program_try()		only whether it is refused
 *
 * Every derivation, our own for SELECTs included, is the set of callbacks of
 * include/pg_derive/derivation.h; a program is one of them together with what it
 * was declared with.  Loading is deterministic, so that internal tables are
 * found again in derive_state.relations, by view and number, after a restart.
 * If they do not fit what the definition means now, the program is outdated.
 *
 * Callbacks run under the active snapshot and as the view's owner, in a
 * security-restricted operation; the caller holds locks on all relations of
 * the program (derive_program_read_relations() and write_relations()).
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PROGRAM_H
#define DERIVE_PROGRAM_H

#include "base/registry.h"
#include "delta/delta.h"
#include "deposit/target.h"
#include "derive/definition.h"
#include "nodes/pg_list.h"
#include "pg_derive/derivation.h"

typedef struct DeriveProgram
{
	Oid			view;			/* InvalidOid: derive.apply() without one */
	Oid			owner;
	const DeriveRoutine *routine;
	DeriveContext *context;		/* its "internal" is this program */
	List	   *sources;		/* of DeriveSource *: base tables and
								 * maintained views */
	List	   *view_sources;	/* of Oid: those of them that are materialized
								 * views */
	List	   *row_types;		/* of Oid: relations of the composite types in
								 * the view's query */
	List	   *plain_views;	/* of Oid: those that the view's query names,
								 * at any depth */
	List	   *roles;			/* of Oid: those whose rights it reads with */
	List	   *internal;		/* of Oid: state and derived tables of the
								 * program */
	Query	   *query;			/* the definition, for comparing; NULL without
								 * a view */
	uint64		digest;			/* what internal tables and indexes, and the
								 * rows in them, must be like */
	const char *outdated;		/* not NULL: why its internal tables do not
								 * fit; it cannot run */
	bool		log_lost;		/* if it is recomputed: since a part of the
								 * log was not read for it; set by who calls
								 * that */
	bool		unfilled;		/* its internal tables have nothing to do with
								 * the view's contents yet */
	const char *whole;			/* not NULL: what of it has no incremental
								 * operator ("LIMIT or OFFSET"), so that a
								 * change may cost as much as the whole */
	double		whole_ms;		/* what these parts took, in its last run */
	bool		timed;			/* what it contains depends on the time */
	TimestampTz present;		/* set by who runs it: what now() is in its
								 * query; 0: it does not matter */
	bool		exported;		/* set by the worker: another view reads this
								 * one */
	bool		expire;			/* set by the worker: the next apply() shall
								 * remove what is too old */
	DeriveObserver observer;	/* set by the worker: who wants to see each
								 * change of the view; or NULL */
	void	   *observer_arg;
	struct DeriveSettings *settings;	/* what it is evaluated under; NULL
										 * without a view: those of the
										 * session */
	MemoryContext cxt;			/* everything of the program; delete it to
								 * free */

	/* private to this folder, see program_internal.h */
	bool		creating;
	const struct DeriveProgramKind *kind;
	struct DeriveProgramRun *run;
	struct DeriveOperators *operators;	/* of "select" */
	struct DeriveTables *tables;	/* of the others */
} DeriveProgram;

/*
 * Check the definition of an existing materialized view, create its internal
 * tables and locator indexes and enter them in derive_state.relations.  Raises
 * ERROR (feature_not_supported, with detail and hint) for what cannot be
 * maintained, insufficient_privilege where the owner may not read a source or
 * a source lacks REPLICA IDENTITY FULL and is not the owner's.  Caller holds
 * AccessExclusiveLock on the view.
 */
extern DeriveProgram *derive_program_create(Oid view);

/* Enter into the view's row what is remembered of its program; it is not yet written. */
extern void derive_program_describe(DeriveProgram *program, DeriveViewRow *row);

/* Drop the internal tables and the locator index of a view (release). */
extern void derive_program_drop(Oid view);

/*
 * Look at the definition again; ERROR if the view cannot be maintained (any
 * more).  Look at outdated and unfilled before anything else is done with it.
 */
extern DeriveProgram *derive_program_load(Oid view, MemoryContext parent);

/*
 * Give a view the query, the program and the contents of another view, whose program
 * "successor" is: a SELECT, of the same columns and perhaps more.  The registry's row of
 * the view has been given that of the successor already.  The difference between its rows
 * and the new ones is reported to the observer, which may be NULL.  Caller holds
 * AccessExclusiveLock on both and on their internal relations.  The other view is then to
 * be dropped.
 */
extern void derive_program_succeed(DeriveProgram *successor, Oid view, DeriveObserver observer, void *arg);

/*
 * ERROR, in the words of CREATE OR REPLACE VIEW and ALTER TABLE ADD COLUMN, unless a view
 * with these columns can take the place of one with those, of which the row type is known.
 */
extern void derive_check_columns(TupleDesc new, TupleDesc old);

/* ERROR if a derivation in C declares something else each time, or there would be no end to that. */
extern void derive_program_check_stable(DeriveProgram *program);

/*
 * Make internal tables that fit, in place of those that do not, for a view that
 * is to be built; its own contents and indexes stay until then.  Caller holds
 * RowExclusiveLock on the view and AccessExclusiveLock on its internal relations
 * (derive_registry_relations()).
 */
extern void derive_program_renew(Oid view);
extern void derive_program_free(DeriveProgram *program);

/*
 * A program without a view, to be run from nothing by derive.apply(): as the
 * current user.  desc NULL: only good for derive_program_columns().
 */
extern DeriveProgram *derive_program_without_view(DeriveDefinition *definition, TupleDesc desc);

/* The columns that such a view gets if none are named; ERROR if it has no default. */
extern TupleDesc derive_program_columns(DeriveProgram *program);

/* Run it over the rows of its sources; the view's rows in CurrentMemoryContext. */
extern Tuplestorestate *derive_program_rows(DeriveProgram *program);

/*
 * Relations to lock before the snapshot is taken: sources and all their
 * members, row types and plain views, in AccessShareLock, view and internal tables in
 * RowExclusiveLock.
 * Returns OIDs in ascending order, in CurrentMemoryContext.
 */
extern List *derive_program_read_relations(DeriveProgram *program);
extern List *derive_program_write_relations(DeriveProgram *program);

/*
 * Changes when a column is added to, dropped from or renamed in one of
 * program->row_types; 0 if there are none, or the view is more than a function of
 * the rows that its sources have now.
 */
extern uint64 derive_program_row_types_digest(DeriveProgram *program);

/* Changes when a derivation in C finds other columns of its sources under their names; 0 for a SELECT. */
extern uint64 derive_program_columns_digest(DeriveProgram *program);

/* How many changes does the batch have for it; -1: none, and nothing is unknown. */
extern int64 derive_program_changes(DeriveProgram *program, DeriveBatch *batch);

/*
 * Move the view from the batch's first position to its second (the active
 * snapshot, whose curcid must see this transaction's earlier writes).  Falls
 * back to derive_program_recompute() where changes are unknown.  If
 * program->exported, adds the view's own delta to the batch.  Returns how many
 * changes of its sources the batch had.
 */
extern int64 derive_program_apply(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts);

/* Recompute under the active snapshot and apply the difference. */
extern void derive_program_recompute(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts);

/*
 * Fill view and internal tables from nothing; returns the view's rows.  The view's
 * new contents replace the old ones under AccessExclusiveLock; take_lock, unless
 * NULL, is called to get that.  progress may be NULL.
 */
typedef void (*DeriveProgress) (void *arg, const char *phase);
typedef void (*DeriveTakeLock) (void *arg, Oid view);
extern int64 derive_program_build(DeriveProgram *program, DeriveProgress progress, DeriveTakeLock take_lock, void *arg);

/* Has the materialized view any contents? */
extern bool derive_view_populated(Oid view);

/* Can the view be compared with its definition at all? */
extern bool derive_view_comparable(Oid view);

/* ERROR (wrong_object_type) if it cannot. */
extern void derive_check_comparable(Oid view);

/* Does it get events of its own, rather than changes of sources? */
extern bool derive_view_is_topic(Oid view);

/* Compare the view's table with its definition, as multisets. */
extern void derive_program_compare(DeriveProgram *program, int64 *missing, int64 *extra);

/* Why parts of it are computed as a whole, in the order in which they are; List of const DeriveVerdict *. */
extern List *derive_program_verdicts(DeriveProgram *program);

/* List of char *, one line each. */
extern List *derive_program_explain(DeriveProgram *program);

/*
 * The same for a query that is no view yet, analysed and not rewritten (scribbled on), as
 * the current user.  Creates nothing; refuses what derive_program_create() would, but for what
 * the sources' replica identity lacks, and for names and types that columns cannot have.
 */
extern List *derive_program_preview(Query *query);

/* Only the refusals of that; they have the place in the query's text, in bytes, where it is known. */
extern void derive_program_try(Query *query);

/* An invalidation may have changed what the program was compiled for (called from callbacks: flags only). */
extern void derive_program_invalidate_plans(Oid relid);

/* CREATE INDEX statements that would help and make a difference, List of char *; derive_program_explain() has all of them. */
extern List *derive_program_index_advice(DeriveProgram *program);

#endif							/* DERIVE_PROGRAM_H */
