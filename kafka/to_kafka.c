/*-------------------------------------------------------------------------
 *
 * to_kafka.c
 *	  From tables, topics and views to Kafka.
 *
 * A logical slot keeps the changes of the database until they are in Kafka.  Its event
 * stream has transactions in the order of their commits, and so has Kafka; some of them
 * are put together into one transaction of Kafka, none is divided.  With its records
 * goes the position in the log (control.h):
 *
 *		event stream	begin a commit  begin b commit  begin c ...
 *		Kafka			begin  a  b  position: end of b  commit
 *		slot												   confirm: end of b
 *
 * After a crash, wherever it was, the position in Kafka says which transactions are
 * there.  The slot sends those that it was not told of, and what is there already is
 * passed over.
 *
 * The whole is an attempt (outcome.h), and the order in which it begins matters: the
 * producer first ends what a crashed one has left, then the control topic can be read.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "client/clock.h"
#include "client/log.h"
#include "client/memory.h"
#include "client/options.h"
#include "database.h"
#include "debug_point.h"
#include "event.h"
#include "source.h"

/* Changes that are read before the clock is looked at. */
#define CHUNK 256

/* How long lines may gather where there are some all the time, in ms: to be read with fewer calls. */
#define GATHER 1

/* How long we wait for lines, in ms: at most, and where the server is to be told of something soon. */
#define LONGEST_WAIT 1000
#define SHORT_WAIT 100

/* Log with nothing for us that is kept, at most, in bytes. */
#define MOST_BEHIND (16 * 1024 * 1024)

/* How long we rest before we begin anew, in ms: longer each time, up to so many times that. */
#define PAUSE 1000
#define MOST_PAUSES 10

/* What is said of a relation whose identity has changed. */
#define OTHER_KEYS "is another relation, or has another key"

volatile sig_atomic_t source_stopping = 0;

static void
stop(int number)
{
	(void) number;
	source_stopping = 1;
}


/* ----------------------------------------------------------------
 *		Beginning
 * ----------------------------------------------------------------
 */

/* While Kafka takes its time: the server must know that we are alive, and people may want us to end. */
static Outcome
keep_alive(void *arg)
{
	Source	   *source = arg;

	if (source_stopping)
		return OUTCOME_AGAIN;
	if (source->stream.connection == NULL || PQtransactionStatus(source->stream.connection) != PQTRANS_ACTIVE)
		return OUTCOME_OK;
	return stream_confirm(&source->stream, 0);
}

/* Whose log it is, and how long. */
static Outcome
identify(Source *source)
{
	PGresult   *result;
	Outcome		outcome = database_command(source->stream.connection, &result, PGRES_TUPLES_OK,
										   "identify the database cluster", "IDENTIFY_SYSTEM");

	if (outcome != OUTCOME_OK)
		return outcome;
	free(source->system);
	source->system = client_strdup(PQgetvalue(result, 0, 0));
	source->timeline = number_parse(span_of(PQgetvalue(result, 0, 1)));
	(void) lsn_parse(span_of(PQgetvalue(result, 0, 2)), &source->end_of_log);
	PQclear(result);
	return OUTCOME_OK;
}

typedef enum SlotState
{
	SLOT_GOOD,
	SLOT_NONE,
	SLOT_LOST					/* it has not all of the log */
} SlotState;

static Outcome
find_slot(Source *source, SlotState *state)
{
	static const char *const sql =
	"SELECT active, coalesce(wal_status = 'lost', false), plugin, coalesce(database = current_database(), false), confirmed_flush_lsn "
	"FROM pg_replication_slots WHERE slot_name = $1";
	const char *params[] = {source->slot};
	PGresult   *result;
	Outcome		outcome = database_query(source->connection, &result, PGRES_TUPLES_OK, "find the replication slot", sql, 1, params);

	if (outcome != OUTCOME_OK)
		return outcome;
	if (PQntuples(result) == 0)
		*state = SLOT_NONE;
	else if (strcmp(PQgetvalue(result, 0, 2), "pg_derive") != 0 || PQgetvalue(result, 0, 3)[0] != 't')
	{
		client_log(CLIENT_ERROR, "there is a replication slot \"%s\" that is not ours", source->slot);
		outcome = OUTCOME_FAILED;
	}
	else if (PQgetvalue(result, 0, 0)[0] == 't')
	{
		client_log(source->waiting ? CLIENT_DEBUG : CLIENT_WARNING,
				   "the replication slot \"%s\" is in use; waiting until it is not", source->slot);
		source->waiting = true;
		outcome = OUTCOME_RETRY;
	}
	else
	{
		*state = PQgetvalue(result, 0, 1)[0] == 't' ? SLOT_LOST : SLOT_GOOD;
		if (!lsn_parse(span_of(PQgetvalue(result, 0, 4)), &source->slot_begin))
			source->slot_begin = 0;
	}
	PQclear(result);
	return outcome;
}

static bool
any_loaded(const Source *source)
{
	for (int i = 0; i < source->relations.count; i++)
	{
		if (source->relations.relations[i].loaded)
			return true;
	}
	return false;
}

/*
 * The changes since are not to be had; what was loaded has to be loaded again.  That is in Kafka before there is
 * a new slot: whoever finds that one must not think that it has all changes since the load.
 */
static Outcome
make_up_for_lost_slot(Source *source)
{
	Outcome		outcome;

	if (!source->options->reload_lost)
	{
		client_log(CLIENT_ERROR, source->diverged ?
				   "\"%s\" was promoted without transactions that Kafka has, up to %X/%X; reload_lost = on reads all rows anew" :
				   "the replication slot \"%s\" is lost, and with it changes since %X/%X; reload_lost = on reads all rows anew",
				   source->diverged ? PQdb(source->connection) : source->slot,
				   (unsigned) (source->control.lsn >> 32), (unsigned) source->control.lsn);
		return OUTCOME_FAILED;
	}
	client_log(CLIENT_WARNING, source->diverged ?
			   "\"%s\" was promoted without transactions that Kafka has: reading all rows anew" :
			   "the replication slot \"%s\" is lost: reading all rows anew",
			   source->diverged ? PQdb(source->connection) : source->slot);
	outcome = producer_begin(&source->producer);
	for (int i = 0; outcome == OUTCOME_OK && i < source->relations.count; i++)
	{
		source->relations.relations[i].loaded = false;
		outcome = control_write_loaded(&source->control, &source->producer, &source->relations.relations[i]);
	}
	if (outcome == OUTCOME_OK)
		outcome = producer_commit(&source->producer);
	return outcome;
}

static Outcome
prepare_slot(Source *source, SlotState state)
{
	const char *params[] = {source->slot};
	Outcome		outcome = OUTCOME_OK;

	/*
	 * another one of this name, or somebody has moved it: it never is ahead
	 * of Kafka by us
	 */
	if (state == SLOT_GOOD && any_loaded(source) && (source->slot_begin > source->control.lsn || source->diverged))
		state = SLOT_LOST;
	if (state == SLOT_GOOD)
	{
		/* where it says nothing of Kafka, Kafka says nothing of it */
		if (!any_loaded(source))
			source->control.lsn = source->slot_begin;
		return OUTCOME_OK;
	}
	if (any_loaded(source))
		outcome = make_up_for_lost_slot(source);
	if (outcome == OUTCOME_OK && state == SLOT_LOST)
		outcome = database_query(source->connection, NULL, PGRES_TUPLES_OK, "drop the lost replication slot",
								 "SELECT pg_drop_replication_slot($1)", 1, params);
	if (outcome == OUTCOME_OK)
		outcome = stream_create_slot(&source->stream, source->slot, false, &source->control.lsn, NULL);
	debug_point("slot");
	return outcome;
}

/*
 * Where our timeline has left that one; false if it never was on it.  A history has lines like
 *
 *		1	0/3000180	no recovery target specified
 */
static bool
find_switch(const char *history, uint32_t timeline, uint64_t *lsn)
{
	for (const char *line = history; line != NULL && *line != '\0'; line = strchr(line + 1, '\n'))
	{
		unsigned	parent;
		unsigned	high;
		unsigned	low;

		/* the blank is the end of the line before, too */
		if (sscanf(line, " %u %8X/%8X", &parent, &high, &low) == 3 && parent == timeline)
		{
			*lsn = ((uint64_t) high << 32) | low;
			return true;
		}
	}
	return false;
}

/*
 * After a promotion: did Kafka get transactions that the server had not, which was promoted?  A slot may be there
 * all the same, and would send what the new timeline has in their place.
 */
static Outcome
compare_timelines(Source *source)
{
	char	   *command = client_sprintf("TIMELINE_HISTORY %u", (unsigned) source->timeline);
	PGresult   *result;
	uint64_t	lsn;
	Outcome		outcome = OUTCOME_OK;

	source->diverged = false;
	if (source->control.timeline != 0 && source->control.timeline != source->timeline)
	{
		source->diverged = true;
		/* the first one has no history */
		if (source->timeline > 1)
			outcome = database_command(source->stream.connection, &result, PGRES_TUPLES_OK, "get the history of the timeline", command);
		if (source->timeline > 1 && outcome == OUTCOME_OK)
		{
			if (find_switch(PQgetvalue(result, 0, 1), source->control.timeline, &lsn))
				source->diverged = source->control.lsn > lsn;
			PQclear(result);
		}
	}
	free(command);
	return outcome;
}

/* Is what Kafka has of this cluster, and of this past of it? */
static Outcome
check_system(Source *source)
{
	Outcome		outcome = compare_timelines(source);

	if (outcome != OUTCOME_OK)
		return outcome;
	if (source->control.system == NULL)
		return OUTCOME_OK;
	if (strcmp(source->control.system, source->system) != 0)
		client_log(CLIENT_ERROR, "the Kafka topics of \"%s\" are those of another database cluster (%s, and this is %s)",
				   source->options->name, source->control.system, source->system);
	else if (source->control.lsn > source->end_of_log && !source->diverged)
		client_log(CLIENT_ERROR, "Kafka has transactions of \"%s\" up to %X/%X, which this database does not have",
				   source->options->name, (unsigned) (source->control.lsn >> 32), (unsigned) source->control.lsn);
	else
		return OUTCOME_OK;
	return OUTCOME_FAILED;
}

/*
 * What is not followed any more is not loaded any more.  This is in Kafka before the slot moves, by which
 * changes are gone that nobody sends.
 */
static Outcome
forget_unknown(Source *source)
{
	Outcome		outcome;

	if (source->control.nunknown == 0)
		return OUTCOME_OK;
	outcome = producer_begin(&source->producer);
	if (outcome == OUTCOME_OK)
		outcome = control_forget_unknown(&source->control, &source->producer);
	if (outcome == OUTCOME_OK)
		outcome = producer_commit(&source->producer);
	return outcome;
}

/* A record is about to be made. */
static Outcome
need_transaction(Source *source)
{
	if (!source->producer.in_transaction)
		source->begun_at = client_now_ms();
	return producer_begin(&source->producer);
}

/*
 * From here on the relation has the rows, or the keys, of another one, which we have not followed: it
 * is to be read anew, once all before is in Kafka.
 */
static Outcome
read_anew(Source *source, Relation *relation, const char *why)
{
	Outcome		outcome;

	client_log(CLIENT_INFO, "\"%s\".\"%s\" %s: reading its rows anew", relation->schema, relation->table, why);
	outcome = need_transaction(source);
	if (outcome != OUTCOME_OK)
		return outcome;
	relation->loaded = false;
	source->reload = true;
	return control_write_loaded(&source->control, &source->producer, relation);
}

/* A relation that is another one by now, or has another key. */
static Outcome
compare_identities(Source *source)
{
	Outcome		outcome = OUTCOME_OK;

	for (int i = 0; outcome == OUTCOME_OK && i < source->relations.count; i++)
	{
		Relation   *relation = &source->relations.relations[i];

		if (relation->loaded && strcmp(relation->identity, relation->loaded_as) != 0)
			outcome = read_anew(source, relation, OTHER_KEYS);
	}
	if (outcome == OUTCOME_OK && source->producer.in_transaction)
		outcome = producer_commit(&source->producer);
	source->reload = false;
	return outcome;
}

static Outcome
prepare_relations(Source *source)
{
	Outcome		outcome = OUTCOME_OK;

	for (int i = 0; outcome == OUTCOME_OK && i < source->relations.count; i++)
	{
		Relation   *relation = &source->relations.relations[i];
		const BrokerProperty properties[] = {
			{"cleanup.policy", relation->keyless ? "delete" : "compact"},
			{relation->keyless ? "retention.ms" : "delete.retention.ms", relation->keyless ? "-1" : "86400000"},
			{source->options->replication >= 3 ? "min.insync.replicas" : NULL, "2"},
			{NULL, NULL}
		};

		outcome = relation_look_up(relation, source->options->name, source->connection, NULL);
		if (outcome == OUTCOME_OK)
			outcome = broker_create_topic(source->producer.client, relation->topic, (int) source->options->partitions,
										  (int) source->options->replication, properties);
		if (outcome == OUTCOME_OK)
			relation->handle = rd_kafka_topic_new(source->producer.client, relation->topic, NULL);
	}
	return outcome;
}

/* A name in the plugin's lists, where some characters have a meaning. */
static void
add_pattern(ClientBuffer *buffer, const char *name)
{
	for (; *name != '\0'; name++)
	{
		if (strchr("*,.\\ \t\n\r\f\v", *name) != NULL)
			client_buffer_add_char(buffer, '\\');
		if (*name == '\'')
			client_buffer_add_char(buffer, '\'');
		client_buffer_add_char(buffer, *name);
	}
}

/* Views or tables; a list that would be empty has what no relation is called. */
static void
add_patterns(ClientBuffer *buffer, const Source *source, bool views)
{
	bool		first = true;

	for (int i = 0; i < source->relations.count; i++)
	{
		const Relation *relation = &source->relations.relations[i];

		if (relation->is_view != views)
			continue;
		client_buffer_add_text(buffer, first ? "" : ",");
		add_pattern(buffer, relation->schema);
		client_buffer_add_char(buffer, '.');
		add_pattern(buffer, relation->table);
		first = false;
	}
	if (first)
		client_buffer_add_text(buffer, "pg_derive.none");
}

static Outcome
start_stream(Source *source)
{
	ClientBuffer options = {0};
	Outcome		outcome;

	client_buffer_add_text(&options, "format '1', joined 'on', relations 'on', views '");
	add_patterns(&options, source, true);
	client_buffer_add_text(&options, "', tables '");
	add_patterns(&options, source, false);
	client_buffer_add_text(&options, "'");
	outcome = stream_start(&source->stream, source->slot, source->control.lsn, options.data);
	client_buffer_free(&options);
	source->done = source->control.lsn;
	source->moved_at = client_now_ms();
	return outcome;
}

static Outcome
begin(Source *source)
{
	const SourceOptions *options = source->options;
	char	   *id = client_sprintf("pg_derive_kafka.%s", options->name);
	SlotState	slot = SLOT_NONE;
	Outcome		outcome = database_connect(&source->connection, options->database, "pg_derive_kafka", NULL);

	if (outcome == OUTCOME_OK)
		outcome = database_write_as_stream(source->connection);
	if (outcome == OUTCOME_OK)
		outcome = stream_open(&source->stream, options->database, "pg_derive_kafka");
	if (outcome == OUTCOME_OK)
		outcome = identify(source);
	if (outcome == OUTCOME_OK)
		outcome = find_slot(source, &slot);
	if (outcome == OUTCOME_OK)
		outcome = producer_open(&source->producer, &options->broker, id, options->transaction_timeout);
	free(id);
	if (outcome == OUTCOME_OK)
		outcome = prepare_relations(source);
	if (outcome == OUTCOME_OK)
		outcome = control_open(&source->control, &options->broker, &source->producer, options->name,
							   (int) options->replication, &source->relations);
	if (outcome == OUTCOME_OK)
		outcome = check_system(source);
	if (outcome == OUTCOME_OK)
		outcome = forget_unknown(source);
	if (outcome == OUTCOME_OK)
		outcome = compare_identities(source);
	if (outcome == OUTCOME_OK)
		outcome = prepare_slot(source, slot);
	for (int i = 0; outcome == OUTCOME_OK && i < source->relations.count; i++)
	{
		if (!source->relations.relations[i].loaded)
		{
			outcome = load_relations(source);
			break;
		}
	}
	if (outcome == OUTCOME_OK)
		outcome = start_stream(source);
	if (outcome == OUTCOME_OK)
		client_log(CLIENT_INFO, "following %d relations from %X/%X on", source->relations.count,
				   (unsigned) (source->done >> 32), (unsigned) source->done);
	return outcome;
}

static void
end(Source *source)
{
	for (int i = 0; i < source->relations.count; i++)
	{
		if (source->relations.relations[i].handle)
			rd_kafka_topic_destroy(source->relations.relations[i].handle);
		source->relations.relations[i].handle = NULL;
	}
	control_close(&source->control);
	producer_close(&source->producer);
	stream_close(&source->stream);
	PQfinish(source->connection);
	source->connection = NULL;
	source->in_transaction = false;
	source->reload = false;
}


/* ----------------------------------------------------------------
 *		Following
 * ----------------------------------------------------------------
 */

static Outcome
broken_stream(const char *what)
{
	client_log(CLIENT_ERROR, "the event stream has %s", what);
	return OUTCOME_FAILED;
}

/* Everything that was sent is in Kafka, or nothing of it. */
static Outcome
commit(Source *source)
{
	Outcome		outcome = control_write_position(&source->control, &source->producer, source->done, source->timeline, source->system);

	if (outcome == OUTCOME_OK)
		outcome = producer_commit(&source->producer);
	source->moved_at = client_now_ms();
	if (outcome == OUTCOME_OK)
		outcome = stream_confirm(&source->stream, source->done);
	return outcome;
}

static Outcome
begin_event(Source *source, const Event *event)
{
	uint64_t	lsn;
	int64_t		committed;

	if (!lsn_parse(event->commit_lsn, &lsn) || !time_parse(event->commit_time, &committed))
		return broken_stream("a begin that is not understood");
	record_origin(&source->origin, lsn, committed, event->xid);
	source->in_transaction = true;
	source->skipped = lsn < source->control.lsn;
	return OUTCOME_OK;
}

static Outcome
commit_event(Source *source, const Event *event)
{
	uint64_t	lsn;

	if (!lsn_parse(event->end_lsn, &lsn))
		return broken_stream("a commit that is not understood");
	source->in_transaction = false;
	if (!source->skipped)
		source->done = lsn;
	if (!source->reload)
		return OUTCOME_OK;
	/* a relation has to be loaded, and all before that has to be in Kafka */
	if (source->producer.in_transaction)
	{
		Outcome		outcome = commit(source);

		if (outcome != OUTCOME_OK)
			return outcome;
	}
	return OUTCOME_AGAIN;
}

/* The relation of an event, if it is to be sent; else NULL. */
static Relation *
wanted_relation(Source *source, Span schema, Span table)
{
	Relation   *relation = relation_find(&source->relations, schema, table);

	if (relation == NULL || source->skipped || !relation->loaded || source->origin.lsn < relation->loaded_lsn)
		return NULL;
	return relation;
}

static Outcome
relation_event(Source *source, const Event *event)
{
	Relation   *relation = relation_find(&source->relations, event->schema, event->table);
	Outcome		outcome;

	if (relation == NULL)
		return OUTCOME_OK;
	relation_describe(relation, event->oid, event->columns, event->key, event->key_nulls);
	if (wanted_relation(source, event->schema, event->table) == NULL)
		return OUTCOME_OK;
	if (relation->nkey == 0 && !relation->keyless)
	{
		client_log(CLIENT_ERROR, "cannot follow \"%s\".\"%s\": it has lost the unique index that was its key",
				   relation->schema, relation->table);
		return OUTCOME_FAILED;
	}
	if (strcmp(relation->identity, relation->loaded_as) != 0)
		return read_anew(source, relation, OTHER_KEYS);
	outcome = need_transaction(source);
	if (outcome == OUTCOME_OK)
		outcome = control_write_schema(&source->control, &source->producer, relation);
	return outcome;
}

static Outcome
change_event(Source *source, const Event *event)
{
	Relation   *relation = wanted_relation(source, event->schema, event->table);
	const Span	lists[2] = {event->omitted, event->unchanged};
	const Span *unavailable = event->unchanged.data || event->omitted.data ? lists : NULL;
	Outcome		outcome;

	if (relation == NULL)
		return OUTCOME_OK;
	outcome = need_transaction(source);
	if (outcome != OUTCOME_OK)
		return outcome;
	source->origin.changes++;
	switch (event->kind)
	{
		case EVENT_INSERT:
			return emit_insert(source, relation, event->new_row, unavailable);
		case EVENT_UPDATE:
			return emit_update(source, relation, event->old_row, event->new_row, unavailable);
		default:
			return emit_delete(source, relation, event->old_row, unavailable);
	}
}

static Outcome
truncate_event(Source *source, const Event *event)
{
	JsonScan	tables = json_scan(event->tables);
	Outcome		outcome = OUTCOME_OK;
	Span		table;

	while (outcome == OUTCOME_OK && json_next_element(&tables, &table))
	{
		Event		names;
		Relation   *relation;

		if (!event_parse(&names, table))
			return broken_stream("a truncate that is not understood");
		relation = wanted_relation(source, names.schema, names.table);
		if (relation == NULL)
			continue;
		source->origin.changes++;
		outcome = need_transaction(source);
		if (outcome == OUTCOME_OK)
			outcome = emit_truncate(source, relation);
	}
	return outcome;
}

static Outcome
replace_event(Source *source, const Event *event)
{
	Relation   *relation = wanted_relation(source, event->schema, event->table);

	return relation ? read_anew(source, relation, "was replaced") : OUTCOME_OK;
}

static Outcome
ignored_event(Source *source, const Event *event)
{
	(void) source;
	(void) event;
	return OUTCOME_OK;
}

static Outcome
unknown_event(Source *source, const Event *event)
{
	(void) source;
	client_log(CLIENT_ERROR, "the event stream has an event of an unknown kind, %.*s", (int) event->event.length,
			   event->event.data ? event->event.data : "");
	return OUTCOME_FAILED;
}

static Outcome (*const handlers[]) (Source *, const Event *) =
{
	[EVENT_UNKNOWN] = unknown_event,
		[EVENT_BEGIN] = begin_event,
		[EVENT_COMMIT] = commit_event,
		[EVENT_RELATION] = relation_event,
		[EVENT_INSERT] = change_event,
		[EVENT_UPDATE] = change_event,
		[EVENT_DELETE] = change_event,
		[EVENT_TRUNCATE] = truncate_event,
		[EVENT_REPLACE] = replace_event,
		[EVENT_MESSAGE] = ignored_event,
};

static bool
commit_is_due(const Source *source)
{
	return source->producer.in_transaction && !source->in_transaction &&
		(source_stopping || client_now_ms() - source->begun_at >= source->options->commit_interval);
}

/* Handle what has come, up to so many lines; *empty if that was all. */
static Outcome
handle_lines(Source *source, int most, bool *empty)
{
	Outcome		outcome = OUTCOME_OK;

	*empty = false;
	for (int i = 0; outcome == OUTCOME_OK && i < most; i++)
	{
		Event		event;
		Span		line;

		switch (stream_next(&source->stream, &line))
		{
			case STREAM_LINE:
				if (!event_parse(&event, line))
					return broken_stream("a line that is not understood");
				outcome = handlers[event.kind] (source, &event);

				/*
				 * none of many small transactions may be in the next commit
				 * if it is due
				 */
				if (event.kind == EVENT_COMMIT)
					return outcome;
				break;
			case STREAM_EMPTY:
				*empty = true;
				return OUTCOME_OK;
			case STREAM_LOST:
				return OUTCOME_RETRY;
		}
	}
	return outcome;
}

/* The time until the position is to be moved, in ms, where nothing is to be sent; LONGEST_WAIT: or longer. */
static int64_t
time_to_move(const Source *source)
{
	int64_t		left = source->moved_at + source->options->position_interval - client_now_ms();

	if (source->stream.seen <= source->done)
		return LONGEST_WAIT;
	if (source->stream.reply_wanted || source->stream.seen - source->done >= MOST_BEHIND || left < 0)
		return 0;
	return left < LONGEST_WAIT ? left : LONGEST_WAIT;
}

/*
 * Nothing is under way: the server may forget what it has passed over, too, but not before that is in
 * Kafka.  The slot never is ahead of the position there, so that a slot that is can be known as another one.
 */
static Outcome
confirm(Source *source, bool empty)
{
	Outcome		outcome;

	if (!empty || source->in_transaction || source->producer.in_transaction || time_to_move(source) > 0)
		return stream_confirm(&source->stream, 0);
	source->done = source->stream.seen;
	outcome = need_transaction(source);
	if (outcome == OUTCOME_OK)
		outcome = commit(source);
	return outcome;
}

static void
rest(int64_t ms)
{
	struct timespec pause = {.tv_sec = ms / 1000,.tv_nsec = ms % 1000 * 1000000};

	/* a signal ends it */
	(void) nanosleep(&pause, NULL);
}

/* There is nothing to read; but something may have to be committed, or told. */
static void
wait_for_lines(Source *source)
{
	if (source->producer.in_transaction)
	{
		stream_wait(&source->stream, (int) (source->options->commit_interval + source->begun_at - client_now_ms()));
		rest(GATHER);
	}
	else
		stream_wait(&source->stream, source->stream.reported < source->stream.confirmed ? SHORT_WAIT : (int) time_to_move(source));
}

static Outcome
follow(Source *source)
{
	Outcome		outcome = OUTCOME_OK;

	while (outcome == OUTCOME_OK)
	{
		bool		empty;

		outcome = handle_lines(source, CHUNK, &empty);
		if (outcome == OUTCOME_OK && commit_is_due(source))
			outcome = commit(source);
		if (outcome == OUTCOME_OK && source_stopping && (empty || !source->producer.in_transaction))
			return OUTCOME_AGAIN;
		if (outcome == OUTCOME_OK)
			outcome = confirm(source, empty);
		if (outcome == OUTCOME_OK && empty)
			wait_for_lines(source);
	}
	return outcome;
}


/* ----------------------------------------------------------------
 *		The program
 * ----------------------------------------------------------------
 */

static void
check_name(const char *name)
{
	if (name == NULL)
		client_fatal("the source has no name: set name");
	if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name) || strlen(name) > 40)
		client_fatal("name may have lower-case letters, digits and underscores, 40 at most: \"%s\"", name);
}

int
to_kafka(int argc, char **argv)
{
	static SourceOptions options;
	static const char *log_level;
	static const ClientOption table[] = {
		{"name", CLIENT_STRING, &options.name, NULL, 0, 0, "Name of the source: what its Kafka topics begin with."},
		{"database", CLIENT_STRING, &options.database, NULL, 0, 0, "Connection string of the database."},
		{"brokers", CLIENT_STRING, &options.broker.brokers, "localhost:9092", 0, 0, "Brokers to begin with: host:port, ..."},
		{"kafka", CLIENT_STRING, &options.broker.properties, NULL, 0, 0, "Properties of librdkafka: name=value; ..."},
		{"relations", CLIENT_STRING, &options.relations, NULL, 0, 0, "Tables, topics and views: schema.table, ..."},
		{"keyless", CLIENT_STRING, &options.keyless, NULL, 0, 0, "Those whose records have no key."},
		{"slot", CLIENT_STRING, &options.slot, NULL, 0, 0, "The replication slot; kafka_NAME if none is given."},
		{"partitions", CLIENT_INTEGER, &options.partitions, "6", 1, 10000, "Partitions of Kafka topics that are made."},
		{"replication", CLIENT_INTEGER, &options.replication, "-1", -1, 100, "Replicas of those; -1: as the brokers are set."},
		{"commit_interval", CLIENT_DURATION, &options.commit_interval, "100ms", 0, 60000, "How long records are gathered for a transaction in Kafka."},
		{"position_interval", CLIENT_DURATION, &options.position_interval, "10s", 0, 3600000, "How often the position is moved where there is nothing to send."},
		{"transaction_timeout", CLIENT_DURATION, &options.transaction_timeout, "10min", 1000, 86400000, "How long a transaction in Kafka may take."},
		{"reload_lost", CLIENT_BOOLEAN, &options.reload_lost, "off", 0, 0, "Where the replication slot is lost, read all rows anew."},
		{"log_level", CLIENT_STRING, &log_level, "info", 0, 0, "error, warning, info or debug."},
		{NULL, CLIENT_STRING, NULL, NULL, 0, 0, NULL}
	};
	static Source source;
	struct sigaction action = {.sa_handler = stop};
	int			failures = 0;
	Outcome		outcome;

	client_options_read(table, argc, argv, "pg_derive_kafka to_kafka", PG_DERIVE_VERSION,
						"Sends tables, topics and views to Kafka, and every change of them, once.");
	client_log_set_level(log_level);
	check_name(options.name);
	if (options.database == NULL || options.relations == NULL)
		client_fatal("set database and relations");
	relations_parse(&source.relations, options.name, options.relations, options.keyless);
	source.options = &options;
	source.slot = options.slot ? client_strdup(options.slot) : client_sprintf("kafka_%s", options.name);
	source.producer.keep_alive = keep_alive;
	source.producer.arg = &source;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	do
	{
		outcome = begin(&source);
		if (outcome == OUTCOME_OK)
		{
			failures = 0;
			source.waiting = false;
			outcome = follow(&source);
		}
		end(&source);
		if (outcome == OUTCOME_RETRY && !source_stopping)
			rest(PAUSE * (failures < MOST_PAUSES ? ++failures : MOST_PAUSES));
	} while (outcome != OUTCOME_FAILED && !source_stopping);
	client_log(CLIENT_INFO, "ends");
	return outcome == OUTCOME_FAILED ? 1 : 0;
}
