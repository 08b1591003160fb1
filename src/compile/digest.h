/*-------------------------------------------------------------------------
 *
 * digest.h
 *	  Digests of what internal tables were made for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DIGEST_H
#define DERIVE_DIGEST_H

#include "common/hashfn.h"
#include "nodes/pg_list.h"

/*
 * Version of what is kept in internal tables.  To be counted up whenever the same
 * query, compiled to the same trees, means other contents of them than before: other
 * columns of a state, another hash, another choice among right answers.  All views are
 * then built anew, each when a worker first loads it.
 */
#define DERIVE_COMPILER_VERSION 1

static inline uint64
derive_digest_add(uint64 digest, uint32 value)
{
	return hash_combine64(digest, hash_bytes_uint32_extended(value, 0));
}

/*
 * Add what a tree (a Query, an expression, a list of them; NULL) means, and nothing
 * that it does not mean.  own: List of Oid, relations that are known by their places in
 * this list, since they get other OIDs when they are made anew.
 */
extern uint64 derive_digest_tree(uint64 digest, const void *tree, List *own);

#endif							/* DERIVE_DIGEST_H */
