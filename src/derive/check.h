/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Which SELECTs are maintained, and how the others are refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CHECK_H
#define DERIVE_CHECK_H

#include "nodes/parsenodes.h"

#include "base/compat.h"

/*
 * Raise ERROR feature_not_supported with the construct in the message, why as
 * detail and what to do as hint (either may be NULL).
 */
DERIVE_NORETURN extern void derive_refuse(const char *construct, const char *detail, const char *hint);

/*
 * Check the whole rewritten query of a view, which is run as owner; also
 * expands whole-row references (it changes the tree).
 */
extern void derive_check_query(Query *query, Oid owner);

/* The same for one relation as a source (inh: and its children): a table or a maintained view. */
extern void derive_check_source(Oid relid, bool inh, Oid owner);

#endif							/* DERIVE_CHECK_H */
