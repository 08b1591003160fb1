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

#include "access/genam.h"
#include "access/htup_details.h"
#include "base/gucs.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "delta/keys.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

/*
 * The index whose columns name rows.  Under FULL, and without identity, the one that
 * would if the identity were the default, so that a change of identity is no change
 * of the key.
 */
static Oid
key_index(Relation rel, bool *in_log)
{
	*in_log = rel->rd_rel->relreplident == REPLICA_IDENTITY_DEFAULT ||
		rel->rd_rel->relreplident == REPLICA_IDENTITY_INDEX;
	if (*in_log)
		return RelationGetReplicaIndex(rel);
	list_free(RelationGetIndexList(rel));
	return rel->rd_pkindex;
}

/*
 * A deferrable key may have rows twice while it is not checked, and is no identity.
 * That of a primary key WITHOUT OVERLAPS (18) is a GiST index, whose strategies are
 * others.
 */
static bool
is_usable(Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		index->rd_index->indisvalid && index->rd_index->indisunique && index->rd_index->indimmediate &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/* The source's column of the same name; 0: none. */
static AttrNumber
column_of_source(Relation member, AttrNumber attno, Oid source, TupleDesc source_desc)
{
	const char *name = NameStr(TupleDescAttr(RelationGetDescr(member), attno - 1)->attname);

	if (RelationGetRelid(member) == source)
		return attno;
	for (int i = 0; i < source_desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(source_desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i + 1;
	}
	return 0;
}

static DeriveMemberKey *
key_of_index(Relation member, Relation index, Oid source, TupleDesc source_desc)
{
	DeriveMemberKey *key = palloc0(sizeof(DeriveMemberKey));
	int			n = index->rd_index->indnkeyatts;

	key->relid = RelationGetRelid(member);
	key->index = RelationGetRelid(index);
	key->nkeys = n;
	key->member_columns = palloc(sizeof(AttrNumber) * n);
	key->columns = palloc(sizeof(AttrNumber) * n);
	key->opfamilies = palloc(sizeof(Oid) * n);
	key->opcintypes = palloc(sizeof(Oid) * n);
	key->collations = palloc(sizeof(Oid) * n);
	for (int i = 0; i < n; i++)
	{
		AttrNumber	attno = index->rd_index->indkey.values[i];

		if (attno <= 0)
			return NULL;
		key->member_columns[i] = attno;
		key->columns[i] = column_of_source(member, attno, source, source_desc);
		if (key->columns[i] == 0)
			return NULL;
		key->opfamilies[i] = index->rd_opfamily[i];
		key->opcintypes[i] = index->rd_opcintype[i];
		key->collations[i] = index->rd_indcollation[i];
	}
	return key;
}

DeriveMemberKey *
derive_member_key(Relation member, Oid source, TupleDesc source_desc, bool *in_log)
{
	Oid			indexoid;
	Relation	index;
	DeriveMemberKey *key = NULL;

	*in_log = false;
	if (!derive_old_rows_are_read() || member->rd_rel->relkind != RELKIND_RELATION)
		return NULL;
	indexoid = key_index(member, in_log);
	if (!OidIsValid(indexoid))
	{
		*in_log = false;
		return NULL;
	}
	index = RelationIdGetRelation(indexoid);
	if (index != NULL && is_usable(index))
		key = key_of_index(member, index, source, source_desc);
	if (index != NULL)
		RelationClose(index);
	*in_log = *in_log && key != NULL;
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
