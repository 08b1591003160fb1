/*-------------------------------------------------------------------------
 *
 * journal.h
 *	  Journals: the changes of subscribed views, written by the worker.
 *
 * API
 *
 *	derive_journals_all()		which views have one
 *	derive_journal_create()		session: somebody subscribes
 *	derive_journal_forget()		session: the view is dropped or released
 *
 *	derive_journal_load()		worker: go on where it ends
 *	derive_journal_open(), _observe(), _close()		around a view's changes
 *	derive_journal_begin()		from now on all changes are in it, so far they
 *								were not
 *	derive_journal_trim()		forget what nobody needs, or what is too much
 *	derive_journals_sweep()		remove what belongs to no journal
 *
 *	derive_journal_get(), _last(), _read()			session: under a snapshot
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_JOURNAL_H
#define DERIVE_JOURNAL_H

#include "access/xlogdefs.h"
#include "catalog/indexing.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

/* A row of derive_state.journals. */
typedef struct DeriveJournalRow
{
	Oid			view;
	bool		active;			/* every change of the view is written */
	int64		floor;			/* changes up to this number are not here, or
								 * no longer; who has not got them is lost */
	int64		id;				/* when it was created; tells it from an
								 * earlier one of the same OID */
} DeriveJournalRow;

/* One change, as read. */
typedef struct DeriveJournalEntry
{
	int64		seq;
	XLogRecPtr	lsn;
	Datum		oldrow;			/* composite of the view's row type; 0: none */
	Datum		newrow;
} DeriveJournalEntry;

/* A journal in the worker. */
typedef struct DeriveJournal
{
	Oid			view;
	int64		id;				/* as in the row */
	bool		active;
	int64		last_seq;		/* number of the last change */
	int64		total;			/* bytes of all changes ever written */
	int64		committed;		/* the same, before this batch */
	int64		trimmed;		/* changes up to this number were removed */

	/* the batch; set by the worker */
	XLogRecPtr	lsn;
	TimestampTz at;
	int64		nchanges;		/* written in it */
	bool		announce;		/* subscribers are to be notified */

	/* while it is open */
	Relation	changes;
	CatalogIndexState indexes;
	TupleDesc	rowdesc;		/* of the view */
	MemoryContext cxt;
	MemoryContext row_cxt;		/* those that wait to be written; in cxt */
	TupleTableSlot **waiting;
	int			nwaiting;
} DeriveJournal;

/* The tables, to be locked by a batch (RowExclusiveLock). */
extern List *derive_journal_relations(void);

extern List *derive_journals_all(void); /* of DeriveJournalRow *, as committed */

/*
 * The view's journal, made if there is none; returns its id.  Locks it so that
 * it stays until the end of the transaction.  The caller holds AccessShareLock
 * on the view.
 */
extern int64 derive_journal_create(Oid view);

/* The caller holds AccessExclusiveLock on the view, or it is gone. */
extern void derive_journal_forget(Oid view);

extern DeriveJournal *derive_journal_load(const DeriveJournalRow *row);
extern void derive_journal_free(DeriveJournal *journal);

/*
 * In the transaction or subtransaction that changes the view.  observe() is a
 * DeriveObserver; it is to be called between open and close only.
 */
extern void derive_journal_open(DeriveJournal *journal);
extern void derive_journal_observe(void *arg, TupleTableSlot *oldrow, TupleTableSlot *newrow, int64 count);
extern void derive_journal_close(DeriveJournal *journal);
extern void derive_journal_begin(DeriveJournal *journal);

/*
 * Remove changes up to "passed", and those that are beyond the limits of the
 * settings, but not more than max_rows.  False if there is more to remove.
 * *trimmed: how far it has come, to begin there the next time; 0 at first, and
 * after a transaction that was rolled back.
 */
extern bool derive_journal_trim(const DeriveJournalRow *row, int64 *trimmed, int64 passed, int max_rows);

/* Drop the journal, unless somebody is about to subscribe. */
typedef bool (*DeriveJournalCheck) (Oid view);
extern void derive_journal_drop(Oid view, DeriveJournalCheck unused);

/* Remove changes of views without a journal; as derive_journal_trim(). */
typedef struct DeriveJournalSweep
{
	Oid			view;
	int64		seq;
} DeriveJournalSweep;

extern bool derive_journals_sweep(DeriveJournalSweep *sweep, int max_rows);

/* False if there is none.  own: it was made by this transaction. */
extern bool derive_journal_get(Oid view, Snapshot snapshot, DeriveJournalRow *row, bool *own);

/* Number of the last change that the snapshot sees. */
extern int64 derive_journal_last(const DeriveJournalRow *row, Snapshot snapshot);

/*
 * Read changes after a number, in order, until the callback returns false.  It
 * is called in a memory context that is reset after it.
 */
typedef bool (*DeriveJournalReader) (void *arg, const DeriveJournalEntry *entry);
extern void derive_journal_read(Oid view, int64 after, Snapshot snapshot,
								DeriveJournalReader reader, void *arg);

#endif							/* DERIVE_JOURNAL_H */
