/*-------------------------------------------------------------------------
 *
 * producer.h
 *	  Records to Kafka, in transactions.
 *
 * A producer has a transactional id; the brokers let only the newest one of an id
 * write, and end what an older one has left open.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PRODUCER_H
#define PRODUCER_H

#include <stdint.h>

#include "broker.h"
#include "client/json_span.h"

typedef struct Producer
{
	rd_kafka_t *client;
	bool		in_transaction;
	uint64_t	records;		/* of the transaction */
	/* called now and then while something takes long; OUTCOME_OK to go on */
	Outcome		(*keep_alive) (void *arg);
	void	   *arg;
} Producer;

/* Wherever the key puts it. */
#define ANY_PARTITION RD_KAFKA_PARTITION_UA

/* Connect, and end what a producer of this id has left.  A producer that is {0}, or was opened, is to be closed. */
extern Outcome producer_open(Producer *producer, const BrokerOptions *options, const char *id, int64_t timeout_ms);

/* What is open is aborted. */
extern void producer_close(Producer *producer);

/* To be called now and then by who does something that takes long; OUTCOME_OK: go on. */
extern Outcome producer_keep_alive(Producer *producer);

/* Begin a transaction, unless one is open. */
extern Outcome producer_begin(Producer *producer);

/*
 * A record of the transaction.  All is copied; data NULL is a key or a value that is null.  schema_id is
 * its header "schema", unless it is NULL.
 */
extern Outcome producer_send(Producer *producer, rd_kafka_topic_t *topic, int32_t partition, Span key, Span value,
							 const char *schema_id);

/* Wait until the brokers have all records of the transaction. */
extern Outcome producer_flush(Producer *producer);

extern Outcome producer_commit(Producer *producer);

#endif							/* PRODUCER_H */
