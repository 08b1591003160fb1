/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Calling what may fail, and going on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_GUARD_H
#define DERIVE_GUARD_H

typedef void (*DeriveGuardedFunction) (void *arg);

/*
 * Call a function in a subtransaction of its own.  Returns NULL, or the ERROR
 * that it ended with, in the caller's memory context; then nothing of what it
 * did has happened.  What it allocates is the caller's.
 */
extern ErrorData *derive_guarded(DeriveGuardedFunction function, void *arg);

/* Call a function, and undo what it did: above all, let go the locks that it took. */
extern void derive_undone(DeriveGuardedFunction function, void *arg);

/*
 * In PG_CATCH, instead of CopyErrorData().  The code of whoever owns a view makes texts as long
 * as it likes, and our processes log and keep them, with each new try: there they are cut.
 */
extern ErrorData *derive_copy_error(void);

/* Errors that say nothing about what was tried: try again. */
extern bool derive_error_is_transient(int sqlerrcode);

/*
 * Errors that a query ends with, and may not end with once rows, functions or the time
 * are others.  Not so where somebody must first be allowed to read something.
 */
extern bool derive_error_may_pass(int sqlerrcode);

#endif							/* DERIVE_GUARD_H */
