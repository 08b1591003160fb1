/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The process that maintains the views of one database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WORKER_H
#define DERIVE_WORKER_H

/* The name of a database's replication slot, palloc'd. */
extern char *derive_slot_name(Oid dboid);

extern PGDLLEXPORT void derive_worker_main(Datum arg);

#endif							/* DERIVE_WORKER_H */
