/*-------------------------------------------------------------------------
 *
 * rights.h
 *	  What the current user may do with a view, what rights of roles follow from, and
 *	  becoming another one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_RIGHTS_H
#define DERIVE_RIGHTS_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "utils/inval.h"

/*
 * May the current user do this to the view (ACL_SELECT, ACL_INSERT), as a
 * statement that names it would?  Views are given by OID, so nobody has looked at
 * their schema yet.  check: ERROR if not, or if there is no such relation.
 */
extern bool derive_may_read(Oid view);
extern void derive_check_may(Oid view, AclMode mode);

/* The same, or may the user change it anyway? */
extern bool derive_may_watch(Oid view);

/* What is in messages about the view's rows and query: for its owner, and pg_read_all_stats. */
extern bool derive_may_see_errors(Oid view);

/* As what is of the database as a whole: for its owner. */
extern bool derive_may_create_groups(void);

/* ERROR if there is no such relation. */
extern Oid	derive_owner_of(Oid view);

/*
 * What these roles may do follows from it, besides what is granted on an object to a role:
 * their attributes, which roles they are members of, at any depth, and whose the database is.  Needs a
 * transaction.  0 for a role that is not there.
 */
extern uint64 derive_roles_digest(List *roles);

/* Have it called when the digest of some roles may have changed. */
extern void derive_on_role_change(SyscacheCallbackFunction callback);

/*
 * Become somebody else, such as the owner of a view whose code is to be run, in a
 * security-restricted operation with a fixed search_path; and whoever we were
 * again.  An ERROR between them does the latter, too, when its (sub)transaction is
 * rolled back.
 */
typedef struct DeriveRole
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} DeriveRole;

extern void derive_role_enter(Oid role, DeriveRole *saved);
extern void derive_role_leave(DeriveRole *saved);

#endif							/* DERIVE_RIGHTS_H */
