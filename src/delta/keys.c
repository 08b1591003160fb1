/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  By which columns the log names rows.
 *
 * A table's replica identity says what the log tells of a row that was updated or
 * deleted: the whole row (FULL), or the columns of a unique index, by default those
 * of the primary key.  With old row versions (base/past.h) the columns are enough,
 * and nobody need alter tables.
 *
 * The members of a source (its partitions and children) each have a key of their
 * own, perhaps on other columns, or none.  See keyed.c for why that matters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/gucs.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_opclass.h"
#include "delta/keys.h"
#include "executor/spi.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * The index whose columns name rows.  Under FULL, and without identity, the one that
 * would if the identity were the default, so that a change of identity is no change
 * of the key.  A deferrable key may have rows twice while it is not checked, and is no
 * identity.  That of a primary key WITHOUT OVERLAPS (18) is a GiST index, whose
 * strategies are others.
 */
static const DeriveUnlockedIndex *
key_index(const DeriveUnlocked *rel)
{
	bool		by_index = rel->form.relreplident == REPLICA_IDENTITY_INDEX;
	ListCell   *lc;

	foreach(lc, rel->indexes)
	{
		const DeriveUnlockedIndex *index = lfirst(lc);

		if (by_index ? index->identity : index->primary)
			return index->relam == BTREE_AM_OID ? index : NULL;
	}
	return NULL;
}

/* False if the operator class is gone, and the index with it. */
static bool
get_opclass(Oid opclass, Oid *opfamily, Oid *opcintype)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	*opfamily = form->opcfamily;
	*opcintype = form->opcintype;
	ReleaseSysCache(tuple);
	return true;
}

/* The source's column of the same name; 0 or less: none. */
static AttrNumber
column_of_source(const DeriveUnlocked *member, AttrNumber attno, Oid source, TupleDesc source_desc)
{
	if (member->relid == source)
		return attno;
	return SPI_fnumber(source_desc, NameStr(TupleDescAttr(member->desc, attno - 1)->attname));
}

static DeriveMemberKey *
key_of_index(const DeriveUnlocked *member, const DeriveUnlockedIndex *index, Oid source, TupleDesc source_desc)
{
	DeriveMemberKey *key = palloc0(sizeof(DeriveMemberKey));
	int			n = index->nkeys;

	key->relid = member->relid;
	key->index = index->relid;
	key->nkeys = n;
	key->member_columns = palloc(sizeof(AttrNumber) * n);
	key->columns = palloc(sizeof(AttrNumber) * n);
	key->opfamilies = palloc(sizeof(Oid) * n);
	key->opcintypes = palloc(sizeof(Oid) * n);
	key->collations = palloc(sizeof(Oid) * n);
	for (int i = 0; i < n; i++)
	{
		AttrNumber	attno = index->columns[i];

		if (attno <= 0)
			return NULL;
		key->member_columns[i] = attno;
		key->columns[i] = column_of_source(member, attno, source, source_desc);
		if (key->columns[i] <= 0)
			return NULL;
		if (!get_opclass(index->opclasses[i], &key->opfamilies[i], &key->opcintypes[i]))
			return NULL;
		key->collations[i] = index->collations[i];
	}
	return key;
}

DeriveMemberKey *
derive_member_key(const DeriveUnlocked *member, Oid source, TupleDesc source_desc, bool *in_log)
{
	const DeriveUnlockedIndex *index = NULL;
	DeriveMemberKey *key = NULL;

	if (derive_old_rows_are_read() && member->form.relkind == RELKIND_RELATION)
		index = key_index(member);
	if (index != NULL)
		key = key_of_index(member, index, source, source_desc);
	*in_log = key != NULL && (member->form.relreplident == REPLICA_IDENTITY_DEFAULT ||
							  member->form.relreplident == REPLICA_IDENTITY_INDEX);
	return key;
}

static bool
same_member_key(const DeriveMemberKey *a, const DeriveMemberKey *b)
{
	return a->nkeys == b->nkeys &&
		memcmp(a->columns, b->columns, sizeof(AttrNumber) * a->nkeys) == 0 &&
		memcmp(a->opfamilies, b->opfamilies, sizeof(Oid) * a->nkeys) == 0 &&
		memcmp(a->opcintypes, b->opcintypes, sizeof(Oid) * a->nkeys) == 0 &&
		memcmp(a->collations, b->collations, sizeof(Oid) * a->nkeys) == 0;
}

/*
 * Is it the part of an index of the source?  That contains the partition key, so
 * that a key belongs to one partition.
 */
static bool
is_of_partitioned_index(Oid index, Oid source)
{
	ListCell   *lc;

	if (!get_rel_relispartition(index))
		return false;
	foreach(lc, get_partition_ancestors(index))
	{
		if (IndexGetRelation(lfirst_oid(lc), true) == source)
			return true;
	}
	return false;
}

void
derive_keys_finish(DeriveKeys *keys, Oid source, int nmembers)
{
	ListCell   *lc;

	keys->uniform = keys->members != NIL && list_length(keys->members) == nmembers;
	keys->key_tells_member = true;
	foreach(lc, keys->members)
	{
		DeriveMemberKey *key = lfirst(lc);

		keys->uniform = keys->uniform && same_member_key(key, linitial(keys->members));
		if (nmembers > 1 && !is_of_partitioned_index(key->index, source))
			keys->key_tells_member = false;
	}
}

DeriveMemberKey *
derive_keys_find(const DeriveKeys *keys, Oid member)
{
	ListCell   *lc;

	foreach(lc, keys->members)
	{
		if (((DeriveMemberKey *) lfirst(lc))->relid == member)
			return lfirst(lc);
	}
	return NULL;
}

bool
derive_keys_same(const DeriveKeys *a, const DeriveKeys *b)
{
	ListCell   *lc;

	if (list_length(a->members) != list_length(b->members) || a->uniform != b->uniform)
		return false;
	foreach(lc, a->members)
	{
		DeriveMemberKey *key = lfirst(lc);
		DeriveMemberKey *other = derive_keys_find(b, key->relid);

		if (other == NULL || !same_member_key(key, other))
			return false;
	}
	return true;
}
