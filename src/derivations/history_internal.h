/*-------------------------------------------------------------------------
 *
 * history_internal.h
 *	  What the parts of the derivation "history" share; for them only.
 *
 *	history_declare.c	columns, keys, options
 *	history.c			versions, changes, retention
 *	history_compare.c	the open versions against the rows of the source
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HISTORY_INTERNAL_H
#define DERIVE_HISTORY_INTERNAL_H

#include "derivations/history.h"
#include "derivations/pending.h"
#include "derivations/support.h"
#include "storage/block.h"

/* What begins and ends versions. */
typedef struct Cause
{
	const char *operation;
	FullTransactionId xid;		/* or invalid */
	XLogRecPtr	lsn;
	TimestampTz time;			/* corrected */
} Cause;

typedef struct History
{
	/* the declaration */
	int			ncolumns;		/* of the source, in the view */
	AttrNumber *from;			/* the source's column for each of them */
	int			nlocate;		/* by which open versions are found */
	AttrNumber *locate;			/* columns of the view, and until_lsn */
	bool		family;			/* the source has partitions or children */
	bool		is_view;		/* the source is a view: no order */
	Interval   *retention;		/* or NULL */
	bool		compact;
	int			newest;			/* state table: key -> newest version; if
								 * compact */
	int			nkeys;
	AttrNumber *keys;			/* columns of the view; those of the
								 * declaration */

	/* the row of HISTORY_STATE */
	bool		loaded;
	Datum		state[HISTORY_STATE_NCOLUMNS];

	/* apply() */
	DerivePending *pending;		/* open versions; NULL: they are written at
								 * once */

	/* expire() */
	BlockNumber next_block;

	Datum	   *values;			/* scratch: a row */
	bool	   *nulls;
	Datum	   *key;			/* scratch: a key */
	bool	   *key_nulls;
} History;

/* Number and index of a column of DeriveHistoryColumn in the view. */
#define ATTNO(history, column)	((AttrNumber) ((history)->ncolumns + (column) + 1))
#define INDEX(history, column)	((history)->ncolumns + (column))

/* columns() and declare() */
extern TupleDesc derive_history_columns(DeriveContext *context);
extern void derive_history_declare(DeriveContext *context);

/* The open version of a row (of the source, or of the view) that is written, or NULL. */
extern TupleTableSlot *derive_history_find_open(DeriveContext *context, History *history,
												TupleTableSlot *row, bool of_view);

/*
 * Begin a version of a row, after the end of the one before it; end one that
 * was found.  Returns where it ends.
 */
extern void derive_history_begin_version(DeriveContext *context, History *history, TupleTableSlot *row, bool of_view,
										 const Cause *cause, XLogRecPtr not_before);
extern XLogRecPtr derive_history_end_version(DeriveContext *context, History *history,
											 TupleTableSlot *version, const Cause *cause);

/* Write a version that is not in the view, as one that has ended. */
extern void derive_history_write_ended(DeriveContext *context, History *history, TupleTableSlot *version, const Cause *cause);

/* Make the open versions what the source has now.  oldest: of equal ones, those that began first are ended. */
extern void derive_history_compare(DeriveContext *context, const Cause *end, const Cause *begin, bool oldest);

#endif							/* DERIVE_HISTORY_INTERNAL_H */
