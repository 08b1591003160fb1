/*-------------------------------------------------------------------------
 *
 * history.h
 *	  The tables of the derivation "history", for those who read them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HISTORY_H
#define DERIVE_HISTORY_H

/* The last columns of a history, behind those of its source. */
typedef enum DeriveHistoryColumn
{
	HISTORY_VERSION,			/* bigint */
	HISTORY_OPERATION,			/* text */
	HISTORY_XID,				/* xid8 */
	HISTORY_LSN,				/* pg_lsn */
	HISTORY_COMMITTED_AT,		/* timestamptz */
	HISTORY_ENDED_BY,			/* text */
	HISTORY_UNTIL_XID,			/* xid8 */
	HISTORY_UNTIL_LSN,			/* pg_lsn */
	HISTORY_UNTIL,				/* timestamptz */
	HISTORY_NCOLUMNS
} DeriveHistoryColumn;

/* The state table with this number has one row with these columns. */
#define HISTORY_STATE	1

typedef enum DeriveHistoryState
{
	HISTORY_STATE_ID,			/* bigint, 1 */
	HISTORY_STATE_LAST_VERSION, /* bigint */
	HISTORY_STATE_BEGAN_LSN,	/* pg_lsn: where the history begins */
	HISTORY_STATE_BEGAN,		/* timestamptz */
	HISTORY_STATE_HORIZON_LSN,	/* pg_lsn: versions that ended before may be
								 * removed */
	HISTORY_STATE_HORIZON,		/* timestamptz */
	HISTORY_STATE_LATEST,		/* timestamptz: none of any version is later */
	HISTORY_STATE_KNOWN_LSN,	/* pg_lsn: what committed before it is all
								 * there */
	HISTORY_STATE_GAP_LSN,		/* pg_lsn: from here ... */
	HISTORY_STATE_GAP,			/* timestamptz */
	HISTORY_STATE_GAP_END_LSN,	/* pg_lsn: ... to here it is not known what
								 * happened; 0/0: it is */
	HISTORY_STATE_GAP_END,		/* timestamptz */
	HISTORY_STATE_NCOLUMNS
} DeriveHistoryState;

#endif							/* DERIVE_HISTORY_H */
