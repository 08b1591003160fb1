/*-------------------------------------------------------------------------
 *
 * keys.h
 *	  By which columns the log names rows, and reading rows by these.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_KEYS_H
#define DERIVE_KEYS_H

#include "access/tupdesc.h"
#include "base/past.h"
#include "base/unlocked.h"
#include "delta/delta.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* How one table's rows are found, and become rows of a source. */
typedef struct DeriveMemberKey
{
	Oid			relid;
	Oid			index;			/* unique, immediate, without predicate */
	int			nkeys;
	AttrNumber *member_columns; /* of the table, in the index's order */
	AttrNumber *columns;		/* the same as columns of the source */
	Oid		   *opfamilies;
	Oid		   *opcintypes;
	Oid		   *collations;

	/* all columns that the source follows */
	int			ncolumns;
	AttrNumber *from;			/* of the table */
	AttrNumber *to;				/* of the source */
} DeriveMemberKey;

/* Of all members of a source. */
typedef struct DeriveKeys
{
	List	   *members;		/* of DeriveMemberKey *; those that have a key */
	bool		uniform;		/* all members have one, on the same columns */
	bool		key_tells_member;	/* rows with equal keys are in one member */
} DeriveKeys;

/*
 * The key of a table within a source with these columns, in
 * CurrentMemoryContext; NULL: it has none, or the source lacks a column of it.
 * *in_log: does the log name rows by it, as the table's replica identity is
 * now?
 */
extern DeriveMemberKey *derive_member_key(const DeriveUnlocked *member, Oid source, TupleDesc source_desc, bool *in_log);

/* Completes keys->uniform and keys->key_tells_member. */
extern void derive_keys_finish(DeriveKeys *keys, Oid source, int nmembers);

/* Are rows by the one what they are by the other? */
extern bool derive_keys_same(const DeriveKeys *a, const DeriveKeys *b);

/* The key of a member; NULL: it has none, or is no member. */
extern DeriveMemberKey *derive_keys_find(const DeriveKeys *keys, Oid member);

/*
 * A delta with touched rows in it (delta.h), resolved: what rows there were by
 * their keys in the past, and what there are under the active snapshot.  A new
 * delta in CurrentMemoryContext; unknown if the past cannot be read.  The caller
 * holds locks on the source's members.
 */
extern DeriveDelta *derive_keys_resolve(DeriveDelta *delta, DerivePast *past);

#ifdef USE_ASSERT_CHECKING
/*
 * Is what the log says of rows, together with what was made of that (rows; the delta
 * itself where there was nothing to be resolved), what there is by their keys?  The
 * process fails if not.  For small deltas, since it costs as much as resolving them.
 */
extern bool derive_keys_can_check(const DeriveDelta *delta, const DerivePast *past);
extern void derive_keys_check(DeriveDelta *delta, DeriveDelta *rows, DerivePast *past);
#endif

#endif							/* DERIVE_KEYS_H */
