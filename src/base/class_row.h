/*-------------------------------------------------------------------------
 *
 * class_row.h
 *	  The row of pg_class of a relation that gets other files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CLASS_ROW_H
#define DERIVE_CLASS_ROW_H

/*
 * Keep others from changing it until the end of the transaction, without waiting.
 * False, and nothing is kept: somebody is about to change it, or has changed it in a
 * transaction that has not ended; or the relation is gone.
 */
extern bool derive_class_row_lock(Oid relid);

/* The same; ERROR (lock_not_available) if not.  A session that is not a process of ours may wait, and locks nothing. */
extern void derive_class_row_require(Oid relid);

/* Could it be locked now? */
extern bool derive_class_row_is_free(Oid relid);

#endif							/* DERIVE_CLASS_ROW_H */
