/*-------------------------------------------------------------------------
 *
 * derivation.h
 *	  Derivation functions in C: what a library needs to maintain views of its
 *	  own with pg_derive.
 *
 * A derivation function turns the changes of some tables (its sources) into
 * the rows of a view.  It is a set of callbacks, returned by a handler
 *
 *		CREATE FUNCTION my_handler(internal) RETURNS derive.derivation_handler
 *			AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
 *		SELECT derive.register('my_derivation', 'my_handler');
 *
 * and used by
 *
 *		SELECT derive.create_view('v', derivation => 'my_derivation',
 *			sources => '{t}', columns => '(k int, n bigint)', key => '{k}',
 *			options => '{"size": 10}');
 *
 * which makes a materialized view.  Everything that a derivation asks of
 * pg_derive goes through function pointers in DeriveContext, so that a library
 * needs no symbol of ours and this header is all it includes of us.
 *
 * What is guaranteed
 *
 *	Exactly once.	Every change that commits is applied once.  What a callback
 *		writes commits together with the position up to which changes were
 *		applied, in one transaction with all other views; after a crash, what
 *		was not committed is applied again.  State belongs into tables (the view,
 *		state tables); what is kept in memory must be something that can be
 *		lost, and may be stale after an ERROR: see "begin".
 *	Order.	Transactions come in the order of their commits, and the changes of
 *		one in the order in which they were made.  There is one exception: a
 *		transaction whose commit record is written but which others do not see
 *		yet comes in a later batch, after others that were visible before
 *		it.  Transactions that changed the same row always come in order.
 *		Changes of sources that are views come after those of tables, those of
 *		one view in no particular order.
 *	The present.	While a callback runs, the active snapshot shows the
 *		database after the last change of the batch, and what was written
 *		through the context.  SPI may be used for reading; it sees the sources
 *		in that state.
 *	Rights.	Callbacks run as the view's owner, in a security-restricted
 *		operation with search_path "pg_catalog, pg_temp", as REFRESH MATERIALIZED
 *		VIEW does.  At declaration it was checked that the owner may read the
 *		sources.  The context's functions write the view and its state tables,
 *		which nobody else can do.
 *	Errors.	ereport(ERROR) rolls back what the batch did.  The view is then
 *		computed anew if DERIVE_OF_CURRENT_ROWS is set, and otherwise, or if
 *		that fails too, marked as failed with the message; other views go on.
 *		A crash in a callback takes the server down, as in any C function.
 *	Memory.	CurrentMemoryContext is reset after apply(), resync() and expire();
 *		what shall live as long as the derivation goes into context->memory.
 *	Processes.	Callbacks run in pg_derive's worker, in a process that builds
 *		the view, and in sessions (declaring, explaining, derive.apply()).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_DERIVE_DERIVATION_H
#define PG_DERIVE_DERIVATION_H

#include "access/transam.h"
#include "access/tupdesc.h"
#include "access/xlogdefs.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Version of this interface.  Incompatible changes count it up. */
#define DERIVE_API_VERSION 1

/*
 * The view is a function of the rows that its sources have now: computing it
 * anew gives the same.  It can then be verified, and is computed anew after
 * TRUNCATE, the loss of changes, or an ERROR.
 */
#define DERIVE_OF_CURRENT_ROWS	(1 << 0)

/*
 * TRUNCATE of a source comes as a change (DERIVE_TRUNCATED).  Otherwise, and
 * if the source has partitions or children, it means that changes are lost.
 */
#define DERIVE_TAKES_TRUNCATE	(1 << 1)

/* May be declared without sources. */
#define DERIVE_WITHOUT_SOURCES	(1 << 2)

/*
 * With DERIVE_TAKES_TRUNCATE: also of a partition or child of a source, where
 * it means that some rows are gone, and read_source() tells which are left.
 */
#define DERIVE_TAKES_PARTITION_TRUNCATE (1 << 3)

/*
 * Rows that are written by key are kept in memory (up to pg_derive.work_mem)
 * until the batch ends; get() and read_table() see them, SPI may not.  It makes a
 * row that is changed often in one batch, such as a counter, as cheap as one that
 * is changed once; without it, each change leaves a version of the row that
 * the next get() passes by.
 */
#define DERIVE_BUFFERED	(1 << 4)

typedef struct DeriveContext DeriveContext;

typedef enum DeriveOperation
{
	DERIVE_INSERTED = 'I',
	DERIVE_UPDATED = 'U',
	DERIVE_DELETED = 'D',
	DERIVE_TRUNCATED = 'T',		/* all rows are gone; no row is given */
	DERIVE_APPENDED = 'M'		/* an event of a topic; for the topic itself */
} DeriveOperation;

/*
 * One change of one source.  Rows have the columns of the source
 * (context->sources[source].desc); slots are valid until the next call of
 * next_change().
 */
typedef struct DeriveChange
{
	DeriveOperation operation;
	int			source;			/* index in context->sources */
	TupleTableSlot *oldrow;		/* UPDATED, DELETED; else NULL */
	TupleTableSlot *newrow;		/* INSERTED, UPDATED, APPENDED; else NULL */
	FullTransactionId xid;		/* top-level transaction; invalid while
								 * building and for sources that are views */
	XLogRecPtr	commit_lsn;		/* of its commit record; while building, and
								 * for views, that of the batch */
	TimestampTz commit_time;	/* likewise */
	XLogRecPtr	lsn;			/* APPENDED: what derive.append() returned */
} DeriveChange;

/* A source, as declared. */
typedef struct DeriveContextSource
{
	Oid			relid;
	TupleDesc	desc;			/* as it is now; virtual generated columns as
								 * if they had been dropped */
} DeriveContextSource;

/* Receives rows one by one; the slot is valid during the call. */
typedef void (*DeriveRowCallback) (void *arg, TupleTableSlot *row);

/*
 * Number of the view itself among the tables that a derivation writes.  State
 * tables have the numbers that declare_state() returned.
 */
#define DERIVE_VIEW 0

/*
 * What a derivation is given.  Fields are to be read only, except for
 * "private".
 *
 * Functions that write take all columns of the table, as arrays (pass-by-
 * reference values are copied).  They raise ERROR for what PostgreSQL raises it.
 */
struct DeriveContext
{
	/* the declaration */
	Oid			view;			/* InvalidOid in columns(), and where
								 * derive.apply() is called without a view */
	const char *name;			/* of the derivation */
	int			nsources;
	DeriveContextSource *sources;
	TupleDesc	desc;			/* columns of the view; NULL in columns() */
	int			nkeys;			/* the key of the view, as given; 0: none */
	const char *const *keys;	/* names of columns */
	Jsonb	   *options;		/* an object; use option() */

	/* now */
	bool		building;		/* the changes are the rows that the sources
								 * have, as INSERTED, not what was done to
								 * them */
	bool		emptied;		/* resync(): the rows of the view are lost as
								 * well, those of state tables are not */
	bool		log_lost;		/* resync(): a part of the log was not read,
								 * or the view has failed since; else somebody
								 * has just asked for it */
	XLogRecPtr	lsn;			/* the batch brings the view to this point */
	XLogRecPtr	covered;		/* after the batch the view has everything
								 * that committed before this; 0/0 while
								 * building */
	TimestampTz time;			/* when its snapshot was taken */
	MemoryContext memory;		/* lives as long as the derivation in this
								 * process */
	void	   *private;		/* yours; NULL at first */

	/* ---- in columns() and declare() ---- */

	/*
	 * The value of an option as a Datum of a type, made by the type's input
	 * function from the JSON scalar, in context->memory.  If it is missing or
	 * null, the default (text that the type's input function takes), or, if
	 * that is NULL too, *isnull; isnull NULL: it is required.  ERROR, with
	 * the option's name, if it is no scalar or its type does not take it.
	 * Options that declare() has not asked for are refused.
	 */
	Datum		(*option) (DeriveContext *context, const char *name, Oid type,
						   const char *default_value, bool *isnull);

	/*
	 * The column of a source with this name; ERROR if there is none.  If
	 * another column gets the name, the view is computed anew.
	 */
	AttrNumber	(*source_column) (DeriveContext *context, int source, const char *name);

	/*
	 * The same for the view; type: what it must be, or InvalidOid.
	 */
	AttrNumber	(*view_column) (DeriveContext *context, const char *name, Oid type);

	/*
	 * How rows of the view will be found by get(), put() and remove();
	 * several rows may have the same key unless "unique".  Without this call
	 * the key of the declaration is used and is unique.  Columns of any type
	 * will do.
	 */
	void		(*set_key) (DeriveContext *context, int nkeys, const AttrNumber *keys, bool unique);

	/*
	 * An index of the view that is made along with it, for look-ups by SPI
	 * and for people: "btree" (values of up to 2.6 kB) or "hash" (one column,
	 * values of any length).  It is left out if there is one that serves the
	 * same, and is an index like any other: people may drop it, then look-ups
	 * are slow.
	 */
	void		(*add_index) (DeriveContext *context, const char *method, int nattrs, const AttrNumber *attrs);

	/*
	 * A table of the derivation's own, of which the first nkeys columns are
	 * the unique key.  Returns its number.  Must be the same calls each time.
	 */
	int			(*declare_state) (DeriveContext *context, TupleDesc desc, int nkeys);

	/* ---- in apply(), resync() and expire() ---- */

	/*
	 * apply(): the next change.  False at the end.  Rows read while the view
	 * is built may be any number, so take them one by one.
	 */
	bool		(*next_change) (DeriveContext *context, DeriveChange *change);

	/* apply(): begin with the first one again. */
	void		(*rewind_changes) (DeriveContext *context);

	/* All rows that a source has now. */
	void		(*read_source) (DeriveContext *context, int source, DeriveRowCallback callback, void *arg);

	/* All rows of a table; it must not be changed meanwhile. */
	void		(*read_table) (DeriveContext *context, int table, DeriveRowCallback callback, void *arg);

	/*
	 * The (or a) row with this key (values of the key columns, in order), or
	 * NULL.  Valid until the next call for this table.  Keys are the same if
	 * their stored images are.
	 */
	TupleTableSlot *(*get) (DeriveContext *context, int table, const Datum *key, const bool *isnull);

	/* Add a row; ERROR if its key is unique and there already. */
	void		(*insert) (DeriveContext *context, int table, const Datum *values, const bool *isnull);

	/* Add a row in place of the one with its key, if there is one. */
	void		(*put) (DeriveContext *context, int table, const Datum *values, const bool *isnull);

	/* Remove the (or a) row with this key; false if there is none. */
	bool		(*remove) (DeriveContext *context, int table, const Datum *key, const bool *isnull);

	/*
	 * Put newvalues in the place of the row that get() returned last for this
	 * table; NULL: delete that row.
	 */
	void		(*replace) (DeriveContext *context, int table, const Datum *newvalues, const bool *isnull);

	/*
	 * Add a row to the view weight times, or take it away -weight times.  The
	 * net effect of all these calls is applied at the end of the batch.  Not
	 * to be mixed with other calls that write the view.
	 */
	void		(*add) (DeriveContext *context, const Datum *values, const bool *isnull, int64 weight);

	/* pg_derive's own */
	void	   *internal;
};

/*
 * The callbacks.  A handler returns a pointer to a struct that stays valid in
 * its process, such as a static const one.  Those marked (optional) may be NULL.
 */
typedef struct DeriveRoutine
{
	uint32		api_version;	/* DERIVE_API_VERSION */
	uint32		flags;

	/*
	 * (optional) The columns that a view gets if the declaration names none,
	 * from context->sources and options, in context->memory.
	 */
	TupleDesc	(*columns) (DeriveContext *context);

	/*
	 * Look at sources, columns, key and options, and say what is needed
	 * (set_key, declare_state).  Called when a view is declared, where ERROR
	 * refuses it, and in each process that begins to work with the view,
	 * where ERROR means that it cannot go on (a column was dropped, say).
	 * What it learns it may keep in context->private.  Must not read or write
	 * tables.
	 */
	void		(*declare) (DeriveContext *context);

	/*
	 * (optional) Before the first of the callbacks below in a process, and
	 * again after a batch was rolled back; anything remembered from tables
	 * must be forgotten here.
	 */
	void		(*begin) (DeriveContext *context);

	/* Apply all changes of a batch, or build the view. */
	void		(*apply) (DeriveContext *context);

	/*
	 * (optional) Changes were lost (the log was removed, TRUNCATE): bring the
	 * view to the rows that the sources have now.  For derivations that are
	 * not DERIVE_OF_CURRENT_ROWS; without it such a view fails.  Also called
	 * when a view that has rows is put under maintenance, after
	 * derive.release() or a restore: its state tables are empty then.  With
	 * context->emptied the view is empty, and its state tables are not.
	 */
	void		(*resync) (DeriveContext *context);

	/*
	 * (optional) Every pg_derive.cleanup_interval: remove what is too old.
	 */
	void		(*expire) (DeriveContext *context);

	/* (optional) The process stops to work with the view. */
	void		(*end) (DeriveContext *context);

	/* (optional) Append lines for derive.explain(), each ended by a newline. */
	void		(*explain) (DeriveContext *context, StringInfo text);
} DeriveRoutine;

#endif							/* PG_DERIVE_DERIVATION_H */
