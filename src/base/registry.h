/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Our catalog: which views are maintained, their state, their internal
 *	  relations, and the positions of the groups.
 *
 * Tables (schema derive_state, created by the extension script, members of the
 * extension, not readable by PUBLIC; SQL sees them through views in schema
 * derive):
 *
 *	views		relid oid primary key		the materialized view
 *				state "char"				DeriveViewState
 *				rebuild boolean				recompute it in the next batch
 *				error text, error_at timestamptz	why it failed
 *				created_at timestamptz
 *				position pg_snapshot		its own position while it differs
 *											from the database's; else NULL
 *				epoch int8					which life of the worker its own
 *											position belongs to; else 0
 *				members int8				digest of the members of its sources
 *				basis int8					digest of the files and definitions that
 *											its contents rest on
 *				settings text[]				what it is evaluated under, see
 *											eval_settings.h
 *				program int8				digest of the program that its internal
 *											relations were made for, and filled by
 *				maintained "char"			enum DeriveMaintained
 *				timed boolean				its query depends on the time
 *				as_of timestamptz			the time of position
 *				retry boolean				it has failed, and is tried again by itself
 *				replaces oid				the view whose place it is to take, see
 *											server/replace.c; NULL: none
 *				since timestamptz			when the present state began
 *				behind_since timestamptz	about when that committed which it lacks, the
 *											oldest of it, while it stands still; else NULL
 *				crashes int4				so many times in a row it has failed because
 *											processes had crashed over it
 *				retry_at timestamptz		if it has failed by crashes: it is tried again
 *											then; see server/crashed_view.h
 *				in_group int4				the number of its group, see groups.c
 *	relations	view oid, operator int4, role "char", relid oid
 *				primary key (view, operator, role), index on relid
 *				role: 's' state table, 'd' derived table, 'i' locator index
 *	position	at most one row for each group: of_group int4, snapshot pg_snapshot, lsn pg_lsn, committed_at timestamptz,
 *				held_since pg_snapshot: old row versions are held since then without
 *				a gap, if the slot holds any; see server/holding.c; as_of timestamptz: the time
 *
 * All functions write with the rights of C code (as core writes catalogs);
 * callers check permissions.  All reads use a fresh catalog snapshot
 * (GetLatestSnapshot/GetCatalogSnapshot semantics) so that the worker sees
 * what has been committed.  Every change to views or relations sends a relcache
 * invalidation for derive_state.views, which is how workers notice.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_REGISTRY_H
#define DERIVE_REGISTRY_H

#include "access/htup.h"
#include "access/xlogdefs.h"
#include "base/position.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/array.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

/*
 * building --> catching up --> ready <--> paused
 *   ^ ^            |           |  |
 *   | +------------+-----------+  |     ready --> building: its program is another one now
 *   +---------------- failed <----+     resume/repair: failed --> ready (rebuild) or building
 *										another try: failed --> building, with the error
 */
typedef enum DeriveViewState
{
	DERIVE_VIEW_BUILDING = 'b', /* waits for a builder or is being filled */
	DERIVE_VIEW_CATCHUP = 'c',	/* filled at its own position, to be handed
								 * over */
	DERIVE_VIEW_READY = 'r',	/* advances with every batch */
	DERIVE_VIEW_PAUSED = 'p',	/* stands still at its own position */
	DERIVE_VIEW_FAILED = 'f'	/* stands still, see error */
} DeriveViewState;

typedef enum DeriveMaintained
{
	DERIVE_MAINTAINED_INCREMENTALLY = 'i',
	DERIVE_MAINTAINED_AS_A_WHOLE = 'w'	/* some part of it */
} DeriveMaintained;

typedef struct DeriveViewRow
{
	Oid			relid;
	DeriveViewState state;
	bool		rebuild;
	char	   *error;			/* or NULL */
	TimestampTz error_at;		/* 0 if none */
	bool		retry;			/* of an error: the worker tries the view
								 * again; see server/retry.c */
	TimestampTz created_at;
	DerivePosition *position;	/* or NULL */
	int64		epoch;
	int64		members;
	int64		basis;
	ArrayType  *settings;
	int64		program;
	DeriveMaintained maintained;
	bool		timed;			/* what it contains depends on the time of its
								 * position */
	Oid			replaces;		/* InvalidOid: it is there for itself */
	int			group;			/* its number */
	int			move_to;		/* the group that it is to move to, or -1; not
								 * for writing, and only of all rows */
	TimestampTz since;			/* not for writing */
	TimestampTz behind_since;	/* 0 if none */
	int			crashes;		/* see server/crashed_view.h */
	TimestampTz retry_at;		/* 0 if none */
	ItemPointerData version;	/* where this version of the row is stored;
								 * not for writing */
} DeriveViewRow;

#define DERIVE_EXTENSION_NAME "pg_derive"

/* Of the SQL objects that this library knows; the default_version of the control file. */
#define DERIVE_EXTENSION_VERSION "0.2"
#define DERIVE_VERSION_HINT \
	"Run ALTER EXTENSION pg_derive UPDATE; or, if the library is the older one, install the other one and restart the server."

/* OIDs of our own objects; InvalidOid / error where the extension is not in this database. */
extern Oid	derive_extension_oid(bool missing_ok);

/* The version of the SQL objects, palloc'd; NULL if they are not installed. */
extern char *derive_extension_version(void);

/* It is another one now, maybe: every process has to look again. */
extern void derive_registry_version_changed(void);

/* ERROR if it is not the one that this library knows: nothing in them can be relied on. */
extern void derive_require_version(void);
extern Oid	derive_state_schema_oid(bool missing_ok);
extern Oid	derive_registry_table_oid(const char *name, bool missing_ok);

/* Open one of our tables; an ERROR for people if the extension was dropped meanwhile. */
extern Relation derive_registry_open(const char *name, LOCKMODE mode);

/*
 * Read one of our tables that has few rows, as a whole: the reader is called for each row,
 * and says whether to go on.  snapshot NULL: the latest.  Nothing happens where the
 * extension is not installed.
 */
typedef bool (*DeriveTupleReader) (Relation rel, HeapTuple tuple, void *arg);
extern void derive_registry_read(const char *name, LOCKMODE mode, Snapshot snapshot, DeriveTupleReader reader, void *arg);

extern void derive_registry_insert(const DeriveViewRow *row);	/* unique violation:
																 * already maintained */
extern void derive_registry_update(const DeriveViewRow *row);	/* "since" follows from
																 * what changes */

/* The view has failed, for this reason (not copied), which is no crash; retry: see above.  The caller writes the row. */
extern void derive_row_set_error(DeriveViewRow *row, const char *message, bool retry);
extern void derive_registry_delete(Oid view);	/* the view and its relations
												 * entries; no error if absent */
extern DeriveViewRow *derive_registry_get(Oid view);	/* NULL if not
														 * maintained */

/* The same as an MVCC snapshot shows it. */
extern DeriveViewRow *derive_registry_get_at(Oid view, Snapshot snapshot);
extern DeriveViewRow *derive_registry_replacement(Oid view);	/* the one that is to
																 * take its place, or
																 * NULL */
extern List *derive_registry_all(void); /* of DeriveViewRow *, ascending relid */
extern List *derive_registry_all_at(Snapshot snapshot);

/* Was the view's row written by the current, uncommitted transaction, so that workers cannot see it yet? */
extern bool derive_registry_changed_here(Oid view);

/*
 * insert, update and delete keep the view's label (label.h) in step; whoever changes what
 * it says holds a lock on the view that conflicts with that of SECURITY LABEL.  This one
 * writes it anew.
 */
extern void derive_registry_write_label(const DeriveViewRow *row);

/* Has the view any contents?  It takes no lock; false if there is no such relation. */
extern bool derive_is_populated(Oid relid);

/* Enter an internal relation, in place of the one that had this role. */
extern void derive_registry_set_relation(Oid view, int operator, char role, Oid relid);
extern void derive_registry_forget_relations(Oid view, char role);	/* 0: any */
extern void derive_registry_move_relations(Oid view, Oid to);	/* which has none */

/*
 * Locator indexes are on people's views and may be theirs.  Those that we made go
 * away with the extension, which is how we know them again.
 */
extern void derive_registry_own_index(Oid index);
extern bool derive_registry_owns_index(Oid index);

extern Oid	derive_registry_relation(Oid view, int operator, char role);	/* InvalidOid if none */
extern List *derive_registry_relations(Oid view);	/* of Oid, all roles */

/* That of a group.  NULL if never set; lsn and held_since may be NULL. */
extern DerivePosition *derive_registry_position(int group, XLogRecPtr *lsn, DerivePosition **held_since);

/* The same as an MVCC snapshot shows it, and by which transaction it was stored; lsn may be NULL. */
extern DerivePosition *derive_registry_position_at(int group, Snapshot snapshot, TransactionId *stored_by, XLogRecPtr *lsn);

/* When that was stored; 0 if never. */
extern TimestampTz derive_registry_committed_at(int group, Snapshot snapshot);
extern void derive_registry_set_position(int group, const DerivePosition *position, XLogRecPtr lsn,
										 const DerivePosition *held_since);

/*
 * Nothing that concerns a view was committed between the stored LSN and this one: move it there, in
 * place, which is not undone with the transaction and needs no commit.  False: nothing is stored,
 * since the group was dropped.
 */
extern bool derive_registry_overwrite_lsn(int group, XLogRecPtr lsn);

/* The group is gone. */
extern void derive_registry_forget_position(int group);

/* Was it stored in another cluster, of which pg_upgrade has made this one? */
extern bool derive_registry_position_is_foreign(int group);

/* Something that workers must know of was written into another table of ours; as for a change of ours. */
extern void derive_registry_announce(void);

/* Forget cached OIDs (after DROP/CREATE EXTENSION). */
extern void derive_registry_reset(void);

#endif							/* DERIVE_REGISTRY_H */
