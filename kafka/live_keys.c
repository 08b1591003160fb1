/*-------------------------------------------------------------------------
 *
 * live_keys.c
 *	  The keys that have a row in a Kafka topic: see live_keys.h.
 *
 *-------------------------------------------------------------------------
 */
#include <search.h>
#include <stdlib.h>

#include "client/memory.h"
#include "live_keys.h"
#include "topic_reader.h"

typedef struct Key
{
	size_t		length;
	char		bytes[];
} Key;

static int
compare(const void *a, const void *b)
{
	const Key  *x = a;
	const Key  *y = b;
	size_t		common = x->length < y->length ? x->length : y->length;
	int			order = memcmp(x->bytes, y->bytes, common);

	return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

static Key *
make_key(Span span)
{
	Key		   *key = client_alloc(sizeof(Key) + span.length);

	key->length = span.length;
	memcpy(key->bytes, span.data, span.length);
	return key;
}

static void
add(LiveKeys *keys, Span span)
{
	Key		   *key = make_key(span);
	Key		  **node = tsearch(key, &keys->tree, compare);

	if (node == NULL)
		abort();				/* no memory: as in client/memory.c */
	if (*node == key)
		keys->count++;
	else
		free(key);
}

void
live_keys_remove(LiveKeys *keys, Span span)
{
	Key		   *key = make_key(span);
	Key		  **node = tfind(key, &keys->tree, compare);

	if (node != NULL)
	{
		Key		   *found = *node;

		tdelete(key, &keys->tree, compare);
		free(found);
		keys->count--;
	}
	free(key);
}

static Outcome
take_record(void *arg, const rd_kafka_message_t *record)
{
	LiveKeys   *keys = arg;
	Span		key = {record->key, record->key_len};

	if (key.data != NULL && record->payload == NULL)
		live_keys_remove(keys, key);
	else if (key.data != NULL)
		add(keys, key);
	return ++keys->records % 4096 == 0 ? producer_keep_alive(keys->producer) : OUTCOME_OK;
}

Outcome
live_keys_read(LiveKeys *keys, const BrokerOptions *options, Producer *producer, const char *topic,
			   int partitions, bool with_open)
{
	memset(keys, 0, sizeof(*keys));
	keys->producer = producer;
	return topic_read(options, topic, partitions, with_open, take_record, keys);
}

/* What a walk through the tree is for. */
typedef struct Walk
{
	Outcome		(*call) (void *arg, Span key);
	void	   *arg;
	Outcome		outcome;
} Walk;

static void
visit(const void *node, VISIT order, void *arg)
{
	Walk	   *walk = arg;
	const Key  *key = *(Key *const *) node;
	Span		span = {key->bytes, key->length};

	if ((order == postorder || order == leaf) && walk->outcome == OUTCOME_OK)
		walk->outcome = walk->call(walk->arg, span);
}

Outcome
live_keys_each(const LiveKeys *keys, Outcome (*call) (void *arg, Span key), void *arg)
{
	Walk		walk = {call, arg, OUTCOME_OK};

	twalk_r(keys->tree, visit, &walk);
	return walk.outcome;
}

void
live_keys_free(LiveKeys *keys)
{
	tdestroy(keys->tree, free);
	memset(keys, 0, sizeof(*keys));
}
