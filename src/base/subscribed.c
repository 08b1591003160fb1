/*-------------------------------------------------------------------------
 *
 * subscribed.c
 *	  Tables that subscriptions of logical replication write to.
 *
 * What applies changes finds the row to update or delete by the index that is the
 * table's replica identity or, if there is none, by its primary key.  Without both it
 * compares whole rows, which needs FULL on the publisher; there the identity may be
 * the key only:
 *
 *		publisher	REPLICA IDENTITY USING INDEX k		node		the same
 *		node		REPLICA IDENTITY FULL, no primary key: an UPDATE stops the subscription
 *
 * What the publisher has nobody here knows.
 *
 * A subscription of a partitioned table is to that table alone, and its partitions are
 * written to, each by its own index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "base/subscribed.h"
#include "base/unlocked.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_subscription_rel.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool
is_subscribed(Oid relid)
{
	Relation	catalog = table_open(SubscriptionRelRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		result;

	ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, SubscriptionRelSrrelidSrsubidIndexId, true, NULL, 1, &key);
	result = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

bool
derive_subscription_needs_identity(Oid relid)
{
	const DeriveUnlocked *rel = derive_unlocked_read(relid);
	List	   *targets = list_make1_oid(relid);
	ListCell   *lc;

	if (rel == NULL || rel->form.relreplident != REPLICA_IDENTITY_INDEX)
		return false;
	foreach(lc, rel->indexes)
	{
		if (((DeriveUnlockedIndex *) lfirst(lc))->primary)
			return false;
	}
	if (rel->form.relispartition)
		targets = list_concat(targets, get_partition_ancestors(relid));
	foreach(lc, targets)
	{
		if (is_subscribed(lfirst_oid(lc)))
			return true;
	}
	return false;
}
