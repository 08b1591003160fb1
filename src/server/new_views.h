/*-------------------------------------------------------------------------
 *
 * new_views.h
 *	  CREATE MATERIALIZED VIEW where pg_derive.maintain_new is on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_NEW_VIEWS_H
#define DERIVE_NEW_VIEWS_H

#include "nodes/nodes.h"
#include "nodes/pg_list.h"

/* A utility command that is running, and what it has created itself. */
typedef struct DeriveNewViews
{
	struct DeriveNewViews *outer;	/* the command in whose course it runs */
	MemoryContext cxt;
	List	   *relations;		/* of Oid */
} DeriveNewViews;

/* Around each utility command; end also after an ERROR. */
extern void derive_new_views_begin(DeriveNewViews *level, Node *stmt);
extern void derive_new_views_end(DeriveNewViews *level);

/* The running command has created the relation, or gives it data for the first time. */
extern void derive_new_views_note(Oid relid);

/* After the command: put those that are materialized views with data under maintenance. */
extern void derive_new_views_declare(DeriveNewViews *level);

/*
 * derive.maintain(), as the owner of the view at this address (of Oid), in whose course
 * any ERROR that the function has may be raised; a DeriveGuardedFunction.
 */
extern void derive_maintain_for_owner(void *view);

/* Does an ERROR of that mean that the view cannot be maintained? */
extern bool derive_is_refusal(int sqlerrcode);

#endif							/* DERIVE_NEW_VIEWS_H */
