/*-------------------------------------------------------------------------
 *
 * outcome.h
 *	  How a step ended, and what to do about it.
 *
 * Between the last transaction that Kafka, or the database, has committed and now
 * there is nothing that could not be done again.  So there is one way to deal with
 * whatever may pass by itself (a server that restarts, a broker that is gone): log
 * it, drop every connection, and begin anew from what was committed.  The log line
 * is written where it is known what has happened; callers hand the outcome on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTCOME_H
#define OUTCOME_H

typedef enum Outcome
{
	OUTCOME_OK,
	OUTCOME_AGAIN,				/* begin anew at once: not an error */
	OUTCOME_RETRY,				/* begin anew after a pause */
	OUTCOME_FAILED				/* a person has to do something */
} Outcome;

#endif							/* OUTCOME_H */
