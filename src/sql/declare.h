/*-------------------------------------------------------------------------
 *
 * declare.h
 *	  Putting views under maintenance, for the functions of schema derive that do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DECLARE_H
#define DERIVE_DECLARE_H

/* Put a materialized view, on which we hold AccessExclusiveLock, under maintenance. */
extern void derive_declare_view(Oid view);

#endif							/* DERIVE_DECLARE_H */
