/*-------------------------------------------------------------------------
 *
 * broker.h
 *	  What both directions need of Kafka: configuration, topics, errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BROKER_H
#define BROKER_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "outcome.h"

/* How long one question to the brokers may take, in ms, before we begin anew. */
#define BROKER_TIMEOUT 30000

/* One property of librdkafka; lists of them end with a name that is NULL. */
typedef struct BrokerProperty
{
	const char *name;
	const char *value;
} BrokerProperty;

/* How the brokers are reached: as the user has said. */
typedef struct BrokerOptions
{
	const char *brokers;		/* host:port, ... */
	const char *properties;		/* name=value; ...; NULL for none.  They come
								 * before those that we ask for */
} BrokerOptions;

/* A client with these properties.  An unknown one, or a wrong value, ends the program.  For rd_kafka_destroy(). */
extern rd_kafka_t *broker_client(rd_kafka_type_t type, const BrokerOptions *options, const BrokerProperty *properties);

/* A consumer of a group, which hears of partitions that it gets and loses. */
typedef void (*BrokerRebalance) (rd_kafka_t *client, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *partitions,
								 void *arg);
extern rd_kafka_t *broker_consumer(const BrokerOptions *options, const BrokerProperty *properties,
								   BrokerRebalance rebalance, void *arg);

/*
 * Make a topic, if it is not there.  replication -1: as the broker is set.  The list
 * has properties of the topic.
 */
extern Outcome broker_create_topic(rd_kafka_t *client, const char *topic, int partitions, int replication,
								   const BrokerProperty *properties);

/* How many partitions a topic has; 0: there is no such topic. */
extern Outcome broker_partitions(rd_kafka_t *client, const char *topic, int *partitions);

/* A property of a topic, for free(); NULL if it does not have it. */
extern Outcome broker_topic_property(rd_kafka_t *client, const char *topic, const char *name, char **value);

/* Log an error, "could not " what, and tell whether it may pass. */
extern Outcome broker_error(rd_kafka_resp_err_t error, const char *what, const char *message);

#endif							/* BROKER_H */
