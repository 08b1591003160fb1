/*-------------------------------------------------------------------------
 *
 * published.h
 *	  Tables that publications of logical replication publish.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_PUBLISHED_H
#define DERIVE_PUBLISHED_H

/*
 * Would the server refuse every UPDATE or DELETE of the table, if it had replica identity
 * FULL?  Then the reason, which names the publication, and what can be done about it,
 * in CurrentMemoryContext; else NULL.  The table need not be locked.
 */
extern char *derive_publication_refuses_full(Oid relid, const char **hint);

#endif							/* DERIVE_PUBLISHED_H */
