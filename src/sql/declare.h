/*-------------------------------------------------------------------------
 *
 * declare.h
 *	  Putting views under maintenance, for the functions of schema derive that do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DECLARE_H
#define DERIVE_DECLARE_H

/*
 * Put a materialized view, on which we hold AccessExclusiveLock, under maintenance: it is
 * filled after commit, or else stands still until derive.resume() or REFRESH.
 */
extern void derive_declare_view(Oid view, bool with_data);

/* ERROR if the view is a topic: it would lose events. */
extern void derive_refuse_pausing_topic(Oid view);

#endif							/* DERIVE_DECLARE_H */
