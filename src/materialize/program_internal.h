/*-------------------------------------------------------------------------
 *
 * program_internal.h
 *	  The inside of a program, for this folder only.
 *
 *	program.c		what is common to all derivations
 *	operators.c		the derivation "select": runs a compiled SELECT
 *	context.c		what other derivations are given: DeriveContext
 *	tables.c		the tables that they write
 *	buffer.c		their rows in memory
 *	scratch.c		running them from nothing
 *	explain.c		what a compiled SELECT does, for people
 *	preview.c		the same of a SELECT without a view
 *	succession.c	a view takes over the query of another one
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PROGRAM_INTERNAL_H
#define DERIVE_PROGRAM_INTERNAL_H

#include "base/rights.h"
#include "base/usercode.h"
#include "delta/events.h"
#include "derive/operator.h"
#include "materialize/program.h"
#include "nodes/parsenodes.h"

/* What a run of a program works on. */
typedef struct DeriveProgramRun
{
	DeriveBatch *batch;			/* NULL while building */
	DeriveTargetCounts *counts; /* or NULL */
	DeriveProgress progress;	/* or NULL */
	DeriveTakeLock take_lock;	/* or NULL */
	void	   *build_arg;		/* of both */
	int64		changes;		/* of the sources, in the batch */
	int64		rows;			/* of the view, once it is built */
	Tuplestorestate *contents;	/* of the view, for derive.apply() */
} DeriveProgramRun;

/*
 * There are two kinds of programs: a compiled SELECT (operators.c), and one that calls a
 * derivation in C through its context (program.c).  make_program() decides which it is;
 * nobody else asks.  All but the last three are called as the view's owner, and those
 * after "declared" in a run.
 */
typedef struct DeriveProgramKind
{
	bool		drifts;			/* what declare() did may be another thing
								 * next time, and nobody tells us */

	/* After declare(), for a view; or NULL. */
	void		(*declared) (DeriveProgram *program);

	/*
	 * Take so many changes of the sources in; unknown, truncated: there may
	 * be others, that the batch does not have
	 */
	void		(*apply) (DeriveProgram *program, int64 nchanges, bool unknown, bool truncated);

	/* Bring the view to what it should be, whatever it is. */
	void		(*resync) (DeriveProgram *program);

	/* The same of one that has no rows yet, or not those of this program. */
	void		(*build) (DeriveProgram *program);

	/*
	 * For people: lines of text; what is computed as a whole (DeriveVerdict
	 * *); lines of advice about indexes.
	 */
	List	   *(*explain) (DeriveProgram *program);
	List	   *(*verdicts) (DeriveProgram *program);
	List	   *(*advice) (DeriveProgram *program);
} DeriveProgramKind;

extern const DeriveProgramKind derive_select_program;

/* Of the derivation "select". */
typedef struct DeriveOperators
{
	List	   *list;			/* of DeriveOperator *, in the order in which
								 * they run */
} DeriveOperators;

typedef struct DeriveBuffer DeriveBuffer;

/* A table that a derivation writes. */
typedef struct DeriveTable
{
	Oid			relid;
	Oid			index;			/* of the locator */
	TupleDesc	desc;
	DeriveLocator locator;
	bool		unique;			/* so the derivation says, whatever the index
								 * can do */

	/* while it is open */
	DeriveTarget *target;
	DeriveBuffer *buffer;		/* or NULL */
	TupleTableSlot *row;		/* to be written */
	bool		found;			/* get() returned a row that is still there */
} DeriveTable;

/* An index of the view that a derivation asked for. */
typedef struct DeriveIndex
{
	const char *method;
	int			nattrs;
	AttrNumber *attrs;
} DeriveIndex;

/* How rows of a decoded table become rows of a source. */
typedef struct DeriveConversion
{
	TupleDesc	from;
	Oid			relid;
	struct AttrMap *map;		/* NULL: they are the same */
	TupleTableSlot *slot;		/* of "from", for a decoded tuple; or NULL */
} DeriveConversion;

typedef struct DeriveSourceReader
{
	TupleTableSlot *oldrow;
	TupleTableSlot *newrow;
	TupleTableSlot *virtual_old;	/* after conversion */
	TupleTableSlot *virtual_new;
	List	   *members;		/* of Oid */
	List	   *conversions;	/* of DeriveConversion * */
} DeriveSourceReader;

/* Reading what a source has now. */
typedef struct DeriveScan
{
	int			next_member;
	Relation	relation;		/* NULL: none is open */
	struct TableScanDescData *scan;
	TupleTableSlot *slot;
} DeriveScan;

/* Of a derivation in C. */
typedef struct DeriveTables
{
	DeriveDefinition *definition;
	bool		declaring;		/* declare() is being called */
	bool		running;		/* apply(), resync() or expire() is; an ERROR
								 * leaves it set */
	List	   *asked;			/* of char *: options that were asked for */
	uint64		columns_digest; /* of the columns that were asked for */
	List	   *indexes;		/* of DeriveIndex * */
	int			ntables;
	DeriveTable **tables;		/* 0 is the view */
	DeriveSourceReader *readers;	/* one per source */
	bool		clean;			/* the last run went well, and so ... */
	uint64		aborts;			/* ... has everything since then */
	DeriveDelta *output;		/* of the run; or NULL */

	/* next_change() */
	MemoryContext run_cxt;		/* NULL: no run */
	DeriveEventReader *events;
	DeriveEvent event;			/* the present one, and ... */
	int			event_source;	/* ... the source that it may be for next */
	int			next_source;	/* whose rows or delta come next */
	DeriveDelta *delta;			/* being read */
	TupleTableSlot *delta_slot;
	TupleTableSlot *view_row;	/* the same without its weight */
	TupleTableSlot *topic_row;
	int64		repeat;			/* copies of the row in delta_slot to come */
	DeriveScan	scan;
} DeriveTables;


/* program.c: becoming the view's owner */
typedef struct DeriveOwnerContext
{
	DeriveRole	role;
	DeriveUserCode code;
	bool		settings_changed;
	ErrorContextCallback callback;
} DeriveOwnerContext;

/* ... and taking the settings that the view was declared with */
extern void derive_owner_enter(DeriveProgram *program, DeriveOwnerContext *saved);
extern void derive_owner_leave(DeriveOwnerContext *saved);

/*
 * Before a table's new contents take the place of the old ones: lock it, and drop
 * locator indexes that we made for another locator (NULL: all).
 */
extern void derive_before_swap(DeriveProgram *program, Oid relid, const DeriveLocator *locator);

/* Let the active snapshot see what this transaction has done; to be popped. */
extern void derive_see_own_changes(void);

/* What the view depends on besides its query, so that it is told of or refused; and none of that. */
extern void derive_depend_on_text_search(DeriveProgram *program);
extern void derive_forget_dependencies(Oid view);

/* operators.c */
extern void derive_depend_on_constraints(DeriveProgram *program);

/* The owner must be allowed to read what an analysed query reads, which is scribbled on; checked as REFRESH would. */
extern void derive_check_privileges(DeriveProgram *program, Query *query);

/* explain.c */
extern List *derive_operators_explain(DeriveProgram *program);
extern List *derive_operators_advice(DeriveProgram *program);

/* context.c */
extern void derive_context_create(DeriveProgram *program, DeriveDefinition *definition, TupleDesc desc);

/* Call declare(), and check what it did. */
extern void derive_context_declare(DeriveProgram *program);

/* Make or find the tables that it asked for. */
extern void derive_context_declared(DeriveProgram *program);

/* A run: call() is the routine's apply(), resync() or expire(); the tables are open meanwhile. */
extern void derive_context_run(DeriveProgram *program, void (*call) (DeriveContext *context));

/* Changes are given one by one: begin with the first. */
extern void derive_changes_rewind(DeriveContext *context);

/* tables.c */
extern DeriveTable *derive_tables_add(DeriveProgram *program, TupleDesc desc);
extern void derive_table_set_key(DeriveTable *table, int nkeys, const AttrNumber *keys, bool unique);
extern void derive_tables_set_functions(DeriveContext *context);
extern void derive_tables_create(DeriveProgram *program);	/* and register */
extern void derive_tables_find(DeriveProgram *program); /* or say that it is
														 * outdated */
extern void derive_tables_describe(DeriveProgram *program); /* digest, row types */
extern void derive_tables_open(DeriveProgram *program);
extern void derive_tables_close(DeriveProgram *program);

/* buffer.c: see there; the functions of DeriveContext for a table that has one */
extern DeriveBuffer *derive_buffer_create(DeriveTable *table);
extern void derive_buffer_free(DeriveTable *table);
extern TupleTableSlot *derive_buffer_get(DeriveTable *table, TupleTableSlot *key);
extern bool derive_buffer_insert(DeriveTable *table, TupleTableSlot *new);
extern void derive_buffer_put(DeriveTable *table, TupleTableSlot *new);
extern bool derive_buffer_remove(DeriveTable *table, TupleTableSlot *key);
extern bool derive_buffer_replace(DeriveTable *table, TupleTableSlot *new);

/* Write what is in memory. */
extern void derive_buffer_flush(DeriveTable *table);

/* scratch.c */

/*
 * Run the derivation from nothing, in tables that are gone afterwards.  Returns
 * an array of the rows of each table, in CurrentMemoryContext.
 */
extern Tuplestorestate **derive_scratch_run(DeriveProgram *program, DeriveProgramRun *run);

/* Make the tables of the program equal to that. */
extern void derive_scratch_apply(DeriveProgram *program);

/* Fill them. */
extern void derive_scratch_fill(DeriveProgram *program);

#endif							/* DERIVE_PROGRAM_INTERNAL_H */
