/*-------------------------------------------------------------------------
 *
 * emit.c
 *	  Records of rows and changes: see source.h.
 *
 *		event					key		op		value
 *		initial row {"id":1}	1		r		after
 *		insert {"id":1}			1		c		after
 *		update of id 1			1		u		before, after
 *		update of id 1 to 2		1		d		before
 *								1				(a tombstone)
 *								2		c		after
 *		delete of id 2			2		d		before
 *								2				(a tombstone)
 *		truncate				all		d		before: the key; and a tombstone of each
 *
 * Without keys there is no tombstone, an update is one record whatever it changes, and
 * a truncate is one with op "t" in each partition.
 *
 *-------------------------------------------------------------------------
 */
#include "client/log.h"
#include "debug_point.h"
#include "live_keys.h"
#include "source.h"

static Span
contents(const ClientBuffer *buffer)
{
	return span_at(buffer->data, buffer->length);
}

/* The key of a row; old_row is as for record_key(). */
static Outcome
make_key(Relation *relation, ClientBuffer *key, Span row, Span old_row)
{
	const char *why = NULL;

	client_buffer_clear(key);
	switch (record_key(key, relation, row, old_row))
	{
		case KEY_GOOD:
			return OUTCOME_OK;
		case KEY_MISSING:
			why = "a row has not all columns of the key";
			break;
		case KEY_NULL:
			why = "a row has NULL in its key, of which the unique index allows several; make it NULLS NOT DISTINCT";
			break;
	}
	client_log(CLIENT_ERROR, "cannot follow \"%s\".\"%s\": %s", relation->schema, relation->table, why);
	return OUTCOME_FAILED;
}

static Outcome
send_value(Source *source, Relation *relation, int32_t partition, const ClientBuffer *key, char op,
		   Span before, Span after, const Span unavailable[2])
{
	client_buffer_clear(&source->value);
	record_value(&source->value, relation, &source->origin, op, before, after, unavailable);
	debug_point("send");
	return producer_send(&source->producer, relation->handle, partition, key ? contents(key) : no_span(),
						 contents(&source->value), relation->schema_id);
}

/* One row appears, under its key. */
static Outcome
send_row(Source *source, Relation *relation, char op, Span row, const Span unavailable[2])
{
	Outcome		outcome;

	if (relation->keyless)
		return send_value(source, relation, ANY_PARTITION, NULL, op, no_span(), row, unavailable);
	outcome = make_key(relation, &source->key, row, no_span());
	if (outcome != OUTCOME_OK)
		return outcome;
	return send_value(source, relation, ANY_PARTITION, &source->key, op, no_span(), row, unavailable);
}

/* The row of a key is gone. */
static Outcome
send_delete(Source *source, Relation *relation, const ClientBuffer *key, Span before, const Span unavailable[2])
{
	Outcome		outcome = send_value(source, relation, ANY_PARTITION, key, 'd', before, no_span(), unavailable);

	if (outcome == OUTCOME_OK)
		outcome = producer_send(&source->producer, relation->handle, ANY_PARTITION, contents(key), no_span(),
								relation->schema_id);
	return outcome;
}

Outcome
emit_row(Source *source, Relation *relation, Span row)
{
	return send_row(source, relation, 'r', row, NULL);
}

Outcome
emit_insert(Source *source, Relation *relation, Span new_row, const Span unavailable[2])
{
	return send_row(source, relation, 'c', new_row, unavailable);
}

Outcome
emit_update(Source *source, Relation *relation, Span old_row, Span new_row, const Span unavailable[2])
{
	Outcome		outcome;

	if (relation->keyless)
		return send_value(source, relation, ANY_PARTITION, NULL, 'u', old_row, new_row, unavailable);
	outcome = make_key(relation, &source->key, new_row, old_row);
	if (outcome == OUTCOME_OK && old_row.data)
		outcome = make_key(relation, &source->old_key, old_row, no_span());
	if (outcome != OUTCOME_OK)
		return outcome;

	/* The log has no old row where the key is as it was. */
	if (old_row.data == NULL || span_equal(contents(&source->key), contents(&source->old_key)))
		return send_value(source, relation, ANY_PARTITION, &source->key, 'u', old_row, new_row, unavailable);
	outcome = send_delete(source, relation, &source->old_key, old_row, unavailable);
	if (outcome != OUTCOME_OK)
		return outcome;
	return send_value(source, relation, ANY_PARTITION, &source->key, 'c', no_span(), new_row, unavailable);
}

Outcome
emit_delete(Source *source, Relation *relation, Span old_row, const Span unavailable[2])
{
	Outcome		outcome;

	if (old_row.data == NULL)
	{
		client_log(CLIENT_ERROR, "cannot follow \"%s\".\"%s\": a row was deleted that is not in the log; it needs a REPLICA IDENTITY",
				   relation->schema, relation->table);
		return OUTCOME_FAILED;
	}
	if (relation->keyless)
		return send_value(source, relation, ANY_PARTITION, NULL, 'd', old_row, no_span(), unavailable);
	outcome = make_key(relation, &source->key, old_row, no_span());
	if (outcome != OUTCOME_OK)
		return outcome;
	return send_delete(source, relation, &source->key, old_row, unavailable);
}

Outcome
emit_delete_of_key(Source *source, Relation *relation, Span key)
{
	client_buffer_clear(&source->key);
	client_buffer_add(&source->key, key.data, key.length);
	return send_delete(source, relation, &source->key, key, NULL);
}

Outcome
emit_truncate_keyless(Source *source, Relation *relation, int partitions)
{
	Outcome		outcome = OUTCOME_OK;

	for (int i = 0; i < partitions && outcome == OUTCOME_OK; i++)
		outcome = send_value(source, relation, i, NULL, 't', no_span(), no_span(), NULL);
	return outcome;
}

/* For live_keys_each(). */
typedef struct Truncation
{
	Source	   *source;
	Relation   *relation;
} Truncation;

static Outcome
delete_key(void *arg, Span key)
{
	Truncation *truncation = arg;

	return emit_delete_of_key(truncation->source, truncation->relation, key);
}

Outcome
emit_truncate(Source *source, Relation *relation)
{
	Truncation	truncation = {source, relation};
	LiveKeys	keys = {0};
	int			partitions;
	Outcome		outcome = broker_partitions(source->producer.client, relation->topic, &partitions);

	if (outcome == OUTCOME_OK && relation->keyless)
		return emit_truncate_keyless(source, relation, partitions);
	if (outcome == OUTCOME_OK)
		outcome = producer_flush(&source->producer);
	if (outcome == OUTCOME_OK)
		outcome = live_keys_read(&keys, &source->options->broker, &source->producer, relation->topic, partitions, true);
	debug_point("truncate");
	if (outcome == OUTCOME_OK)
		outcome = live_keys_each(&keys, delete_key, &truncation);
	live_keys_free(&keys);
	return outcome;
}
