/*-------------------------------------------------------------------------
 *
 * maintain.h
 *	  What the functions for owners of views have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_MAINTAIN_H
#define DERIVE_MAINTAIN_H

#include "base/registry.h"

/*
 * Lock a maintained view of the current user's and return its row; ERROR if it is none.
 * It is looked at before and after it has been waited for.
 */
extern DeriveViewRow *derive_lock_own_view(Oid view, LOCKMODE mode);

#endif							/* DERIVE_MAINTAIN_H */
