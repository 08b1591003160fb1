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
 * This transaction declares something that needs a worker: keep a place for the
 * group, ERROR if all are taken, and ask for its worker at the commit.
 */
extern void derive_reserve_worker(int group);

/* At the commit of this transaction, ask for the worker of the group. */
extern void derive_want_worker_at_commit(int group);

#endif							/* DERIVE_HOOKS_H */
