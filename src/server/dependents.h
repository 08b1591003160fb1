/*-------------------------------------------------------------------------
 *
 * dependents.h
 *	  Maintained views that rely on the definition of something else.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DEPENDENTS_H
#define DERIVE_DEPENDENTS_H

#include "base/registry.h"
#include "nodes/pg_list.h"

/*
 * The object (of pg_rewrite, pg_proc, pg_type, pg_ts_config or pg_ts_dict; of pg_class: a
 * generated column of it, or all its rows; of pg_attribute: the type of a column of
 * this relation; of pg_attrdef: a virtual column of this relation) was created or redefined by the utility command that is now
 * ending.  Raises ERROR
 * dependent_objects_still_exist where a maintained view cannot follow, marks
 * views to be recomputed where it can.
 */
extern void derive_definition_changed(Oid class_id, Oid object_id);

/* The same where an enum has one value more than before. */
extern void derive_enum_value_added(Oid type);

/*
 * Users' types (of Oid) whose values are made JSON by the object, if it is a cast, or compared by it, if it is a
 * member of an operator family.  Nothing in pg_depend says so of who uses the type.
 */
extern List *derive_types_served_by(Oid class_id, Oid object_id);

/*
 * Let a view that stands still move again, computed anew; for a row of which the
 * caller holds ShareRowExclusiveLock on the view.
 */
extern void derive_restart_view(DeriveViewRow *row);

/* The maintained views that read this one, of Oid. */
extern List *derive_readers(Oid view);

/*
 * A maintained view and all others that it reads or that read it, in any number of steps, of Oid; with
 * those that are to take the place of one of them.
 */
extern List *derive_connected_views(Oid view);

/* The same of several views: first what is directly connected, which costs most. */
extern List *derive_connections(void);
extern List *derive_connected_by(List *connections, Oid view);

/* Does it matter that the view reads the table, or what that is a child or partition of? */
typedef bool (*DeriveReaderCheck) (Oid view, Oid table, void *arg);

/* Does a maintained view that is none of these (of Oid) read one of both, so that it matters? */
extern bool derive_is_read_elsewhere(Oid relid, List *views, DeriveReaderCheck matters, void *arg);

/* Does one maintained view read another one, through whatever lies between? */
extern bool derive_view_reads(Oid reader, Oid view);

#endif							/* DERIVE_DEPENDENTS_H */
