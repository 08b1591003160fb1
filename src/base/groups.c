/*-------------------------------------------------------------------------
 *
 * groups.c
 *	  Groups of maintained views: their catalog.
 *
 * The views of a group have a worker, a replication slot and a position of their own.  They
 * stand at one position and move together; groups do not wait for each other, so that
 * views which cost much are maintained by another core, and are nobody else's delay.
 * Views that read one another are in one group.
 *
 *		group		worker		slot				views				position
 *		0 default	pid 4711	pg_derive_5			per_day, per_week	820
 *		1 heavy		pid 4712	pg_derive_5_1		ranking				790
 *
 * Who reads per_day and ranking in one query sees two positions, each exact by itself.
 *
 * What a database has for each group, and what once:
 *
 *	group		worker, slot, row of derive_state.position, hold on old row versions, limit of
 *				the log, crash guard; slow lane and verifier, which see what a batch of their
 *				worker saw; requests, and the point at which sessions wait
 *	database	the catalog; counters of views, which are by view; builders in number
 *				(pg_derive.max_builds is for each group); journals and subscriptions, of which each
 *				worker writes those of its views, and whichever comes first removes what belongs to
 *				views that are gone; replica identities, which a worker gives back only where no
 *				view of another group needs them
 *
 * Of shared memory, a group with views, or into which one is about to move, takes one of the places
 * that pg_derive.max_databases says there are, and one database as many as pg_derive.max_groups says: who
 * owns one can create any number of groups, and must not leave the others without.
 *
 * A group is a name and a number, by which all but people know it.  Group 0 is in every
 * database, is named "default", and is not in the table; numbers of groups that were
 * dropped may come again, since the last thing that a worker without views does is to drop
 * its slot.
 *
 *	derive_state.groups		number int4, name name
 *	derive_state.moves		view oid, declared_at timestamptz, to_group int4: views that are to go to
 *							another group.  Sessions write it, under a lock that does not keep
 *							workers from the view (ShareUpdateExclusiveLock), which is why it is not
 *							in derive_state.views.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/groups.h"
#include "base/registry.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* derive_state.groups */
#define Anum_groups_number	1
#define Anum_groups_name	2
#define Natts_groups		2

/* derive_state.moves */
#define Anum_moves_view			1
#define Anum_moves_declared_at	2
#define Anum_moves_to_group		3
#define Natts_moves				3

typedef struct GroupRow
{
	int			number;
	NameData	name;
} GroupRow;

static bool
collect(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **result = arg;
	GroupRow   *group = palloc(sizeof(GroupRow));
	bool		isnull;

	group->number = DatumGetInt32(heap_getattr(tuple, Anum_groups_number, RelationGetDescr(rel), &isnull));
	group->name = *DatumGetName(heap_getattr(tuple, Anum_groups_name, RelationGetDescr(rel), &isnull));
	*result = lappend(*result, group);
	return true;
}

/* Of GroupRow *, without the default group. */
static List *
all_groups(void)
{
	List	   *result = NIL;

	derive_registry_read("groups", AccessShareLock, NULL, collect, &result);
	return result;
}

int
derive_group_number(const char *name, bool missing_ok)
{
	ListCell   *lc;

	if (strcmp(name, DERIVE_DEFAULT_GROUP_NAME) == 0)
		return DERIVE_DEFAULT_GROUP;
	foreach(lc, all_groups())
	{
		GroupRow   *group = lfirst(lc);

		if (strcmp(NameStr(group->name), name) == 0)
			return group->number;
	}
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("group \"%s\" does not exist", name),
				 errhint("Create it with derive.create_group().")));
	return -1;
}

char *
derive_group_name(int number)
{
	ListCell   *lc;

	if (number == DERIVE_DEFAULT_GROUP)
		return pstrdup(DERIVE_DEFAULT_GROUP_NAME);
	foreach(lc, all_groups())
	{
		GroupRow   *group = lfirst(lc);

		if (group->number == number)
			return pstrdup(NameStr(group->name));
	}
	return NULL;
}

static int
compare_ints(const ListCell *a, const ListCell *b)
{
	return (lfirst_int(a) > lfirst_int(b)) - (lfirst_int(a) < lfirst_int(b));
}

List *
derive_group_numbers(void)
{
	List	   *result = list_make1_int(DERIVE_DEFAULT_GROUP);
	ListCell   *lc;

	foreach(lc, all_groups())
		result = lappend_int(result, ((GroupRow *) lfirst(lc))->number);
	list_sort(result, compare_ints);
	return result;
}

/* Conflicts with derive_group_lock_to_drop(). */
void
derive_group_keep(int number)
{
	if (number == DERIVE_DEFAULT_GROUP)
		return;
	table_close(derive_registry_open("groups", RowExclusiveLock), NoLock);
	if (derive_group_name(number) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the group of views was dropped")));
}

bool
derive_group_try_keep(int number)
{
	return number == DERIVE_DEFAULT_GROUP ||
		(ConditionalLockRelationOid(derive_registry_table_oid("groups", false), RowExclusiveLock) &&
		 derive_group_name(number) != NULL);
}

void
derive_group_keep_view(Oid view)
{
	LockDatabaseObject(derive_registry_table_oid("views", false), view, 0, ShareLock);
}

/* That of the lock of an object of the catalog, by the table that has it. */
static LOCKTAG
tag_of(const char *table, Oid object)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, derive_registry_table_oid(table, false), object, 0);
	return tag;
}

/* It is not waited for. */
static bool
lock_if_free(const char *table, Oid object, LOCKMODE mode)
{
	LOCKTAG		tag = tag_of(table, object);

	return LockAcquire(&tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

bool
derive_group_view_is_kept(Oid view)
{
	LOCKTAG		tag = tag_of("views", view);

	return derive_lock_held_by_me(&tag, ShareLock);
}

bool
derive_group_may_leave(Oid view)
{
	return lock_if_free("views", view, ExclusiveLock);
}

bool
derive_group_lock_arrivals(int number, LOCKMODE mode)
{
	return lock_if_free("groups", (Oid) number, mode);
}

int
derive_group_create(const char *name)
{
	Relation	rel = derive_registry_open("groups", ShareRowExclusiveLock);
	Datum		values[Natts_groups];
	bool		nulls[Natts_groups] = {false};
	NameData	copy;
	int			number = llast_int(derive_group_numbers()) + 1;

	if (derive_group_number(name, true) >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("group \"%s\" already exists", name)));
	namestrcpy(&copy, name);
	values[Anum_groups_number - 1] = Int32GetDatum(number);
	values[Anum_groups_name - 1] = NameGetDatum(&copy);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return number;
}

void
derive_group_lock_to_drop(void)
{
	table_close(derive_registry_open("groups", ShareRowExclusiveLock), NoLock);
}

static bool
delete_if_found(Relation rel, HeapTuple tuple, void *arg)
{
	bool		isnull;

	if (DatumGetInt32(heap_getattr(tuple, Anum_groups_number, RelationGetDescr(rel), &isnull)) == *(int *) arg)
		CatalogTupleDelete(rel, &tuple->t_self);
	return true;
}

void
derive_group_drop(int number)
{
	derive_registry_read("groups", RowExclusiveLock, NULL, delete_if_found, &number);
	CommandCounterIncrement();
}


/* ----------------------------------------------------------------
 *		Moves
 * ----------------------------------------------------------------
 */

static bool
collect_move(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **result = arg;
	DeriveMove *move = palloc(sizeof(DeriveMove));
	Datum		values[Natts_moves];
	bool		nulls[Natts_moves];

	heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
	move->view = DatumGetObjectId(values[Anum_moves_view - 1]);
	move->declared_at = DatumGetTimestampTz(values[Anum_moves_declared_at - 1]);
	move->to_group = DatumGetInt32(values[Anum_moves_to_group - 1]);
	move->planned_here = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	*result = lappend(*result, move);
	return true;
}

List *
derive_moves_all(Snapshot snapshot)
{
	List	   *result = NIL;

	derive_registry_read("moves", AccessShareLock, snapshot, collect_move, &result);
	return result;
}

static bool
delete_move(Relation rel, HeapTuple tuple, void *arg)
{
	bool		isnull;

	if (DatumGetObjectId(heap_getattr(tuple, Anum_moves_view, RelationGetDescr(rel), &isnull)) == *(Oid *) arg)
		CatalogTupleDelete(rel, &tuple->t_self);
	return true;
}

void
derive_move_end(Oid view)
{
	derive_registry_read("moves", RowExclusiveLock, NULL, delete_move, &view);
	derive_registry_announce();
}

void
derive_move_set(const DeriveMove *move)
{
	Relation	rel;
	Datum		values[Natts_moves] = {ObjectIdGetDatum(move->view), TimestampTzGetDatum(move->declared_at), Int32GetDatum(move->to_group)};
	bool		nulls[Natts_moves] = {false};

	derive_move_end(move->view);
	rel = derive_registry_open("moves", RowExclusiveLock);
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	table_close(rel, NoLock);
	derive_registry_announce();
}
