/*-------------------------------------------------------------------------
 *
 * program.h
 *	  A view's program: its SELECT, compiled to a DAG of operators.
 *
 * API
 *
 *	derive_program_create()		at declaration: compile, make internal tables
 *	derive_program_load()		in a worker: compile, find internal tables
 *	derive_program_apply()		deltas of the sources in, changes of the view out
 *	derive_program_recompute()	no deltas: bring everything to what the query says
 *	derive_program_build()		fill from nothing
 *	derive_program_compare()	the oracle: view against query
 *	derive_program_explain()	for people
 *
 * A program is a list of operators in dependency order.  Each one reads base
 * tables, other views or the internal derived table of an earlier operator,
 * turns their deltas into the delta of its own table, and changes that table;
 * the last operator's table is the view.  Compilation is deterministic, so an
 * operator is known by its number and the internal tables of (view, operator)
 * are found again in derive_state.relations after a restart.
 *
 * All functions that run queries do so under the active snapshot and as the
 * view's owner, in a security-restricted operation; the caller holds locks on
 * all relations of the program (derive_program_relations()).
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PROGRAM_H
#define DERIVE_PROGRAM_H

#include "delta/delta.h"
#include "delta/target.h"
#include "nodes/pg_list.h"

typedef struct DeriveProgram
{
	Oid			view;
	Oid			owner;
	List	   *sources;		/* of DeriveSource *: base tables and
								 * maintained views */
	List	   *view_sources;	/* of Oid: those of them that are materialized
								 * views */
	List	   *row_types;		/* of Oid: relations of the composite types in
								 * the view's query */
	List	   *internal;		/* of Oid: state and derived tables of the
								 * program */
	bool		exported;		/* set by the worker: another view reads this
								 * one */
	MemoryContext cxt;			/* everything of the program; delete it to
								 * free */
	struct DeriveProgramBody *body;
} DeriveProgram;

/*
 * Check and compile the definition of an existing materialized view, create
 * its internal tables and locator index and enter them in
 * derive_state.relations.  Raises ERROR (feature_not_supported, with detail
 * and hint) for what cannot be maintained, insufficient_privilege where the
 * owner may not read a source or a source lacks REPLICA IDENTITY FULL and is
 * not the owner's.  Caller holds AccessExclusiveLock on the view.
 */
extern DeriveProgram *derive_program_create(Oid view);

/* Drop the internal tables and the locator index of a view (release). */
extern void derive_program_drop(Oid view);

/* Compile again; ERROR if the view cannot be maintained (any more). */
extern DeriveProgram *derive_program_load(Oid view, MemoryContext parent);
extern void derive_program_free(DeriveProgram *program);

/*
 * Relations to lock before the snapshot is taken: sources and all their
 * members, and row types, in AccessShareLock, view and internal tables in
 * RowExclusiveLock.
 * Returns OIDs in ascending order, in CurrentMemoryContext.
 */
extern List *derive_program_read_relations(DeriveProgram *program);
extern List *derive_program_write_relations(DeriveProgram *program);

/* Changes when a column is added to, dropped from or renamed in one of program->row_types; 0 if there are none. */
extern uint64 derive_program_row_types_digest(DeriveProgram *program);

/*
 * Move the view from the batch's first position to its second (the active
 * snapshot, whose curcid must see this transaction's earlier writes).  Falls
 * back to derive_program_recompute() where a delta is unknown.  If
 * program->exported, adds the view's own delta to the batch.
 */
extern void derive_program_apply(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts);

/* Recompute under the active snapshot and apply the difference. */
extern void derive_program_recompute(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts);

/* Fill view and internal tables from nothing; returns the view's rows. progress may be NULL. */
typedef void (*DeriveProgress) (void *arg, const char *phase, int64 tuples_done);
extern int64 derive_program_build(DeriveProgram *program, DeriveProgress progress, void *arg);

/* Compare the view's table with the stored query, as multisets. */
extern void derive_program_compare(DeriveProgram *program, int64 *missing, int64 *extra);

/* List of char *, one line each. */
extern List *derive_program_explain(DeriveProgram *program);

/* An invalidation may have changed what the program was compiled for (called from callbacks: flags only). */
extern void derive_program_invalidate_plans(Oid relid);

/* CREATE INDEX statements that would help, List of char *. */
extern List *derive_program_index_advice(DeriveProgram *program);

#endif							/* DERIVE_PROGRAM_H */
