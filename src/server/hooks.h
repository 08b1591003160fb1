/*-------------------------------------------------------------------------
 *
 * hooks.h
 *	  What people do with ordinary SQL to maintained views and their databases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HOOKS_H
#define DERIVE_HOOKS_H

/* From _PG_init while preloading. */
extern void derive_hooks_install(void);

/* A view is gone: delete its registry rows and drop its internal tables. */
extern void derive_forget_view(Oid view);

/*
 * This transaction declares something that needs a worker: keep a place for this
 * database, ERROR if all are taken, and ask for the worker at the commit.
 */
extern void derive_reserve_worker(void);

/* At the commit of this transaction, ask for a worker in this database. */
extern void derive_want_worker_at_commit(void);

#endif							/* DERIVE_HOOKS_H */
