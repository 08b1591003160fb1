/*-------------------------------------------------------------------------
 *
 * live_keys.h
 *	  The keys that have a row in a Kafka topic: whose last record is no tombstone.
 *
 * Who loses all of its rows at once (TRUNCATE, a view that is built anew) does not say
 * which ones they were.  Kafka knows: the topic itself is read, and each key that is
 * alive gets its delete.  Nothing is kept between, so nothing can be wrong after a crash.
 * Memory is needed for the keys while that is done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVE_KEYS_H
#define LIVE_KEYS_H

#include "client/json_span.h"
#include "producer.h"

typedef struct LiveKeys
{
	void	   *tree;			/* of tsearch() */
	size_t		count;
	size_t		records;		/* that the topic has, with or without a key */
	Producer   *producer;		/* to be kept alive while we read */
} LiveKeys;

/* Read the topic, with_open as in topic_read().  A set that is {0}, or was read, is to be freed. */
extern Outcome live_keys_read(LiveKeys *keys, const BrokerOptions *options, Producer *producer, const char *topic,
							  int partitions, bool with_open);
extern void live_keys_free(LiveKeys *keys);

extern void live_keys_remove(LiveKeys *keys, Span key);

/* Call it for each key, until it does not return OUTCOME_OK; returns what it did. */
extern Outcome live_keys_each(const LiveKeys *keys, Outcome (*call) (void *arg, Span key), void *arg);

#endif							/* LIVE_KEYS_H */
