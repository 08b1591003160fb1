/*-------------------------------------------------------------------------
 *
 * groups.h
 *	  Groups of maintained views; see groups.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_GROUPS_H
#define DERIVE_GROUPS_H

#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

/* The number of the one that every database has. */
#define DERIVE_DEFAULT_GROUP		0
#define DERIVE_DEFAULT_GROUP_NAME	"default"

/* Its number; -1, or ERROR undefined_object, if there is none. */
extern int	derive_group_number(const char *name, bool missing_ok);

/* Its name, palloc'd; NULL if there is none. */
extern char *derive_group_name(int number);

/* All numbers, ascending, the default group's included: List of int. */
extern List *derive_group_numbers(void);

/*
 * It is to be there until the end of the transaction: views are about to be put into it.
 * ERROR undefined_object if it is not.
 */
extern void derive_group_keep(int number);

/*
 * What handing a view over to another group (server/moves.c) is kept from by others, and keeps from what they do, to the
 * end of the transaction; nobody else takes these locks.  A view that is about to be read by a new one stays where
 * it is: waits.  The other two do not wait, and are false if somebody else has the lock: the view may
 * leave; and views may be handed over to the group (ShareLock), or none is, by anybody (ExclusiveLock).
 */
extern void derive_group_keep_view(Oid view);
extern bool derive_group_view_is_kept(Oid view);	/* by us */
extern bool derive_group_may_leave(Oid view);
extern bool derive_group_lock_arrivals(int number, LOCKMODE mode);

/* As derive_group_keep(), where nothing may be waited for; false: it is being dropped, or was. */
extern bool derive_group_try_keep(int number);

/* Names are unique: ERROR duplicate_object.  Returns the number. */
extern int	derive_group_create(const char *name);

/* Before views are looked for that may be in it: no others will come. */
extern void derive_group_lock_to_drop(void);
extern void derive_group_drop(int number);

/* A view that is to move, see server/moves.c; void if the view was declared at another time. */
typedef struct DeriveMove
{
	Oid			view;
	TimestampTz declared_at;
	int			to_group;
	bool		planned_here;	/* by this transaction; not for writing */
} DeriveMove;

/* All of them, of DeriveMove *; snapshot NULL: the latest. */
extern List *derive_moves_all(Snapshot snapshot);

/* Enter one, in place of the view's old one, if any; remove it, if there is one.  Announced to workers. */
extern void derive_move_set(const DeriveMove *move);
extern void derive_move_end(Oid view);

#endif							/* DERIVE_GROUPS_H */
