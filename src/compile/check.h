/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Which SELECTs can be maintained at all, and how the others are refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CHECK_H
#define DERIVE_CHECK_H

#include "nodes/parsenodes.h"

#include "base/compat.h"

/*
 * Raise ERROR feature_not_supported with the construct in the message, why as
 * detail and what to do as hint (either may be NULL); at the position, in bytes from 1, of what was
 * looked at last, where that is known.
 */
DERIVE_NORETURN extern void derive_refuse(const char *construct, const char *detail, const char *hint);

/* What follows is about this expression (NULL: about no place of the query). */
extern void derive_look_at(Node *node);

/* Replace whole-row references, virtual columns and a LIMIT that limits nothing by what they stand for, in the tree. */
extern void derive_query_expand(Query *query);

/*
 * Check the whole rewritten query of a view, which is run as owner, and
 * expand it.
 */
extern void derive_check_query(Query *query, Oid owner);

/* The same for a function that is called. */
extern void derive_check_function(Oid funcid);

/* The same for one relation as a source (inh: and its children): a table or a maintained view. */
extern void derive_check_source(Oid relid, bool inh, Oid owner);

#endif							/* DERIVE_CHECK_H */
