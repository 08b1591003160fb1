/*-------------------------------------------------------------------------
 *
 * occurrence.h
 *	  The places at which a query reads relations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_OCCURRENCE_H
#define DERIVE_OCCURRENCE_H

#include "nodes/parsenodes.h"

/*
 * One place where a relation is read.  The same table joined twice is two of them.
 * They are numbered from 1; 0 is none.
 */
typedef struct DeriveOccurrence
{
	Oid			relid;
	bool		inh;
	int			branch;			/* for the caller */
} DeriveOccurrence;

/*
 * Number all occurrences in a query, at any depth, and append them (DeriveOccurrence *,
 * palloc'd) to the list; its length is the number of the last one.  The numbers are
 * noted in the tree, and copies of it have them.
 */
extern List *derive_occurrences_number(Query *query, int branch, List *occurrences);

/* The number that an entry was given; 0 for one that is no relation. */
extern int	derive_occurrence_of(const RangeTblEntry *rte);

/* Does the tree (a query, an expression, a range table entry, a list) hold this occurrence?  Or one of these? */
extern bool derive_holds_occurrence(Node *node, int occurrence);
extern bool derive_holds_occurrences(Node *node, const Bitmapset *occurrences);

/* Mark these occurrences to be read as they were before the batch; see old_scan.c. */
extern void derive_occurrences_mark_old(Node *node, const Bitmapset *occurrences);

/* These are no occurrences any more; marked or not, how they are read is decided. */
extern void derive_occurrences_forget(Node *node, const Bitmapset *occurrences);
extern bool derive_occurrence_is_old(const RangeTblEntry *rte);

#endif							/* DERIVE_OCCURRENCE_H */
