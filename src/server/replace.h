/*-------------------------------------------------------------------------
 *
 * replace.h
 *	  Views that are to take the place of others: what sessions and the worker have
 *	  in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_REPLACE_H
#define DERIVE_REPLACE_H

#include "base/registry.h"

/* Drop the view that is to take this one's place, if there is one; true if there was. */
extern bool derive_cancel_replacement(Oid view);

/* A view is no longer there to take another one's place, if it was; its row is not written. */
extern void derive_detach_replacement(DeriveViewRow *row);

/* ERROR if a view that took the other one's place would read itself. */
extern void derive_check_replacement(Oid replacement, Oid view);

#endif							/* DERIVE_REPLACE_H */
