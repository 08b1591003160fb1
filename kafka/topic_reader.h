/*-------------------------------------------------------------------------
 *
 * topic_reader.h
 *	  All that a Kafka topic has at the moment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TOPIC_READER_H
#define TOPIC_READER_H

#include "broker.h"

/* OUTCOME_OK: go on. */
typedef Outcome (*TopicRecordHandler) (void *arg, const rd_kafka_message_t *record);

/*
 * Give each committed record to the handler, in the order of its partition, up to the end as it
 * is now, unless that ends it.  with_open: then also those of the transaction that is open, which must
 * be ours, and flushed.
 *
 * All transactions of one id have ended before another producer of that id may write.
 * So where only one id writes, what follows the first record of an open
 * transaction is of that transaction:
 *
 *		committed	aborted		committed	open (ours)
 *		|--------------------------------|	|-----------|
 *		begin							stable			end
 *
 * The first part is read with isolation.level=read_committed, and ends at the last
 * stable offset; the second one is read as it is.
 */
extern Outcome topic_read(const BrokerOptions *options, const char *topic, int partitions, bool with_open,
						  TopicRecordHandler handler, void *arg);

#endif							/* TOPIC_READER_H */
