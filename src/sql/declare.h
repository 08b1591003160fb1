/*-------------------------------------------------------------------------
 *
 * declare.h
 *	  Putting views under maintenance, for the functions of schema derive that do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DECLARE_H
#define DERIVE_DECLARE_H

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/*
 * Put a materialized view, on which we hold AccessExclusiveLock, under maintenance: it is
 * filled after commit, or else stands still until derive.resume() or REFRESH.  What is
 * said of its query says where that is in its text, if both are given: written, as it
 * was analysed.  beside: a view in whose group it must be, or InvalidOid.
 */
extern void derive_declare_view(Oid view, bool with_data, Oid beside, Query *written, const char *text);

/* ERROR if the view is a topic: it would lose events. */
extern void derive_refuse_pausing_topic(Oid view);

/*
 * CREATE MATERIALIZED VIEW in three steps: what it is to be like, the command for a query,
 * analysed, with errors that show where in the query, and running it as the caller's own
 * in this schema.  Refuses what cannot be maintained.  Returns the view.
 */
extern IntoClause *derive_new_matview(RangeVar *relation);
extern Query *derive_analyse_matview(IntoClause *into, const char *query);
extern Oid	derive_create_matview(Query *command, Oid schema, const char *query);

/* The query in such a command. */
extern Query *derive_query_of_command(Query *command);

#endif							/* DERIVE_DECLARE_H */
