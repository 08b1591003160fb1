/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The process that maintains one group of the views of a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WORKER_H
#define DERIVE_WORKER_H

/* The name of a group's replication slot, palloc'd. */
extern char *derive_slot_name(Oid dboid, int group);

/* Is it one of a group of this database?  Then *group is set, which may be NULL. */
extern bool derive_is_slot_name(const char *name, Oid dboid, int *group);

extern PGDLLEXPORT void derive_worker_main(Datum arg);

#endif							/* DERIVE_WORKER_H */
