/*-------------------------------------------------------------------------
 *
 * append.c
 *	  derive.append(): an event of a topic, written to the log and nowhere else.
 *
 * The event is checked, converted and made a row here, in the session of who
 * appends it, so that errors are his (but for domains of the topic's columns, which
 * are checked as the topic's owner; see foreign_code.c); the log gets a transactional message (see
 * base/topic.h), which the worker turns into a row of the topic once the
 * transaction has committed.
 *
 * To be fast, what is known of a topic is kept for the session: its columns,
 * that it is one, that its worker takes events, who was found to have the right
 * to append, and how rows of some type become its rows.  Invalidation messages,
 * which DDL, GRANT and our own catalog send, end this; they arrive with the lock
 * that each call takes.  Conversions that can run code of users, such as casts
 * and checks of domains, are kept for the statement only, as elsewhere; such
 * code may append, too.
 *
 * The lock is that of INSERT, so that whoever stops the maintenance of a topic
 * waits for transactions that have appended.
 *
 * Events that were appended before the topic was made ready would be lost, for
 * the position at which it begins contains them.  So the first append of a
 * session waits for that; in the transaction that makes the topic, it is an
 * error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/topic.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "derive/definition.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "server/request.h"
#include "sql/arguments.h"
#include "sql/foreign_code.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(derive_append_record_sql);
PG_FUNCTION_INFO_V1(derive_append_jsonb_sql);
PG_FUNCTION_INFO_V1(derive_append_text_sql);

/* Far below what a record of the log can hold; the worker has an event in memory. */
#define MAX_EVENT_SIZE	((Size) 256 * 1024 * 1024)

/* Columns that the worker fills in, and the most that they take in a row. */
#define TOPIC_METADATA	3
#define METADATA_SIZE	(4 * sizeof(int64))

/* How rows of one type become rows of a topic. */
typedef struct RowForm
{
	uint64		row_type;		/* identifier of the type */
	TupleDesc	desc;			/* its columns */
	AttrNumber *from;			/* column of the row for each column of the
								 * topic */
	bool		simple;			/* no expressions are needed */
	FmgrInfo  **inputs;			/* if simple: for literals; NULL where the
								 * value is taken as it is */
	Oid		   *ioparams;
	ExprState **conversions;	/* if not: likewise */
	Datum	   *values;			/* scratch: of the row */
	bool	   *nulls;
} RowForm;

/* A topic, as this session knows it. */
typedef struct Topic
{
	Oid			relid;			/* key of the hash table */
	bool		valid;
	bool		may_append;		/* "role" was found to have the right */
	Oid			role;
	uint64		number;			/* of this description; each has another one */
	MemoryContext cxt;			/* of all below */
	TupleDesc	desc;
	List	   *forms;			/* of RowForm *, without expressions */
} Topic;

/* What a statement knows: that needs user-defined code. */
typedef struct Appender
{
	MemoryContext cxt;			/* of all below */
	uint64		number;			/* of the topic's description */
	TupleDesc	desc;			/* of the topic; ours */
	Oid			owner;			/* of the topic, if it has domains to check;
								 * else InvalidOid */
	RowForm    *form;
	TupleTableSlot *slot;		/* what the conversions read */
	ExprContext *econtext;
	FmgrInfo	populate;		/* for JSON */
} Appender;

/* An event, to be written. */
typedef struct Event
{
	Oid			topic;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
} Event;

static HTAB *topics = NULL;
static Oid	registry_oid = InvalidOid;	/* derive_state.views */
static uint64 ndescribed = 0;


/* ----------------------------------------------------------------
 *		What the session knows of topics
 * ----------------------------------------------------------------
 */

static void
forget_topics(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	Topic	   *topic;

	if (OidIsValid(relid))
	{
		topic = hash_search(topics, &relid, HASH_FIND, NULL);
		if (topic)
		{
			topic->valid = false;
			return;
		}
		if (relid != registry_oid)
			return;
	}
	hash_seq_init(&status, topics);
	while ((topic = hash_seq_search(&status)) != NULL)
		topic->valid = false;
}

static void
forget_rights(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	Topic	   *topic;

	hash_seq_init(&status, topics);
	while ((topic = hash_seq_search(&status)) != NULL)
		topic->may_append = false;
}

static void
init_topics(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Topic)};

	if (topics)
		return;
	topics = hash_create("pg_derive topics", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_topics, (Datum) 0);
	derive_on_role_change(forget_rights);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_rights, (Datum) 0);
}

static void
not_a_topic(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("topic with OID %u does not exist", relid)));
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a topic", name),
			 errhint("Topics are made by derive.create_topic().")));
}

/*
 * Wait until its worker takes events; ERROR if it never will.  Whoever makes it
 * needs strong locks on it, so we must have none of our own yet.
 */
static void
wait_until_ready(Oid relid)
{
	DeriveViewRow *row;

	if (get_rel_relkind(relid) != RELKIND_MATVIEW)
		not_a_topic(relid);
	derive_check_may(relid, ACL_INSERT);
	row = derive_registry_get(relid);
	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is not maintained", get_rel_name(relid)),
				 errhint("Call derive.maintain() for it, if it is a topic.")));
	if (derive_registry_changed_here(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot append to topic \"%s\" in the transaction that makes or changes it",
						get_rel_name(relid)),
				 errhint("Commit first.")));
	derive_require_service();
	if (row->state != DERIVE_VIEW_READY)
		(void) derive_wait_for_view(relid, InvalidXLogRecPtr, -1);
}

/* Look at the locked topic, and remember what we see; false if it is not ready. */
static bool
describe(Topic *topic)
{
	DeriveViewRow *row = derive_registry_get(topic->relid);
	Relation	rel;
	MemoryContext old;

	if (row == NULL || row->state != DERIVE_VIEW_READY || derive_registry_changed_here(topic->relid))
		return false;
	if (strcmp(derive_definition_of_view(topic->relid)->derivation, "topic") != 0)
		not_a_topic(topic->relid);

	/* What changes from here on makes it invalid again. */
	topic->valid = true;
	registry_oid = derive_registry_table_oid("views", false);
	rel = table_open(topic->relid, NoLock);
	if (topic->cxt)
		MemoryContextReset(topic->cxt);
	else
		topic->cxt = AllocSetContextCreate(TopMemoryContext, "pg_derive topic", ALLOCSET_SMALL_SIZES);
	topic->forms = NIL;
	old = MemoryContextSwitchTo(topic->cxt);
	topic->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	MemoryContextSwitchTo(old);
	table_close(rel, NoLock);
	topic->number = ++ndescribed;
	topic->may_append = false;
	return topic->valid;
}

static void
check_rights(Topic *topic)
{
	derive_check_may(topic->relid, ACL_INSERT);
	topic->role = GetUserId();
	topic->may_append = true;
}

static Topic *
open_topic(Oid relid)
{
	Topic	   *topic;
	bool		found;

	PreventCommandDuringRecovery("derive.append()");
	PreventCommandIfReadOnly("derive.append()");
	init_topics();
	for (;;)
	{
		topic = hash_search(topics, &relid, HASH_FIND, NULL);
		if (topic == NULL || !topic->valid)
			wait_until_ready(relid);
		LockRelationOid(relid, RowExclusiveLock);
		if (topic == NULL)
		{
			topic = hash_search(topics, &relid, HASH_ENTER, &found);
			memset((char *) topic + sizeof(Oid), 0, sizeof(Topic) - sizeof(Oid));
		}
		if (topic->valid || describe(topic))
			break;
		UnlockRelationOid(relid, RowExclusiveLock);
		CHECK_FOR_INTERRUPTS();
	}
	if (!topic->may_append || topic->role != GetUserId())
		check_rights(topic);
	return topic;
}


/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

static void
init_event(Event *event, Oid relid, TupleDesc desc)
{
	event->topic = relid;
	event->desc = desc;
	event->values = palloc(sizeof(Datum) * desc->natts);
	event->nulls = palloc(sizeof(bool) * desc->natts);
}

/*
 * Can a table hold it?  The worker could not do anything else with it.  What
 * matters is the least that the table's TOASTer can make of it.
 */
static void
check_size(Event *event, Size size)
{
	TupleDesc	desc = event->desc;
	Size		least = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));

	if (size > MAX_EVENT_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too big: size %zu, maximum size %zu", size, MAX_EVENT_SIZE)));

	/* those filled in later are there by then */
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Size		length = Max(att->attlen, 0);

		if (i >= TOPIC_METADATA && event->nulls[i])
			continue;
		if (att->attlen == -1)
			length = VARSIZE_ANY(DatumGetPointer(event->values[i]));
		if (att->attlen == -1 && att->attstorage != TYPSTORAGE_PLAIN)
			length = Min(length, TOAST_POINTER_SIZE);
		if (att->attlen == -2)
			length = strlen(DatumGetCString(event->values[i])) + 1;
		least = att_align_nominal(least, att->attalign) + length;
	}
	if (MAXALIGN(least) > MaxHeapTupleSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too big for a row: size %zu, maximum size %zu",
						least, MaxHeapTupleSize)));
}

/* Nothing of it may be elsewhere. */
static void
detoast(Event *event)
{
	for (int i = TOPIC_METADATA; i < event->desc->natts; i++)
	{
		if (!event->nulls[i] && TupleDescAttr(event->desc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(event->values[i])))
			event->values[i] =
				PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(event->values[i])));
	}
}

/*
 * Write the event, and return where it ends.  The row is made in place: what a
 * message does not have of it is more than the header that it has instead.
 */
static XLogRecPtr
write_event(Event *event)
{
	TupleDesc	desc = event->desc;
	int			hoff = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));
	DeriveTopicHeader header = {0};
	HeapTupleHeader row;
	Size		size;
	char	   *content;

	StaticAssertStmt(DERIVE_TOPIC_TUPLE_OFFSET >= DERIVE_TOPIC_HEADER_SIZE, "no space for the header");

	for (int i = 0; i < TOPIC_METADATA; i++)
		event->nulls[i] = true;
	detoast(event);
	size = hoff + heap_compute_data_size(desc, event->values, event->nulls);
	if (size > MaxHeapTupleSize - METADATA_SIZE)
		check_size(event, size);

	row = palloc0(size);
	HeapTupleHeaderSetNatts(row, desc->natts);
	row->t_hoff = hoff;
	heap_fill_tuple(desc, event->values, event->nulls, (char *) row + hoff, size - hoff,
					&row->t_infomask, row->t_bits);

	content = (char *) row + DERIVE_TOPIC_TUPLE_OFFSET;
	size -= DERIVE_TOPIC_TUPLE_OFFSET;
	header.seal = derive_topic_seal(GetTopFullTransactionId(), event->topic, content, size);
	header.topic = event->topic;
	content -= DERIVE_TOPIC_HEADER_SIZE;
	memcpy(content, &header, DERIVE_TOPIC_HEADER_SIZE);
	return derive_compat_log_message(DERIVE_TOPIC_PREFIX, content, size + DERIVE_TOPIC_HEADER_SIZE);
}


/* ----------------------------------------------------------------
 *		Rows
 * ----------------------------------------------------------------
 */

/* The columns of a row, without those that were dropped. */
static int
visible_columns(TupleDesc desc)
{
	int			n = 0;

	for (int i = 0; i < desc->natts; i++)
		n += !TupleDescAttr(desc, i)->attisdropped;
	return n;
}

/* Is a value of one column one of the other? */
static bool
same_type(Form_pg_attribute from, Form_pg_attribute to)
{
	if (to->atttypmod >= 0)
		return from->atttypid == to->atttypid && from->atttypmod == to->atttypmod;
	return IsBinaryCoercible(from->atttypid, to->atttypid);
}

/* A literal in ROW(), whose type is read by code that does not call others? */
static bool
is_simple_literal(Form_pg_attribute from, Form_pg_attribute to)
{
	char		kind = get_typtype(to->atttypid);

	return from->atttypid == UNKNOWNOID && (kind == TYPTYPE_BASE || kind == TYPTYPE_ENUM) &&
		!OidIsValid(get_element_type(to->atttypid));
}

/* Which columns of rows of this type become which of the topic's; in CurrentMemoryContext. */
static RowForm *
make_form(TupleDesc desc, uint64 row_type, TupleDesc row_desc)
{
	RowForm    *form = palloc0(sizeof(RowForm));
	int			given = visible_columns(row_desc);
	int			column = TOPIC_METADATA;

	if (given == desc->natts)	/* a row of a topic */
		column = 0;
	else if (given != desc->natts - TOPIC_METADATA)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the event has %d columns but the topic has %d",
						given, desc->natts - TOPIC_METADATA)));

	form->row_type = row_type;
	form->desc = CreateTupleDescCopy(row_desc);
	form->from = palloc0(sizeof(AttrNumber) * desc->natts);
	form->values = palloc(sizeof(Datum) * row_desc->natts);
	form->nulls = palloc(sizeof(bool) * row_desc->natts);
	form->simple = true;
	for (int i = 0; i < row_desc->natts; i++)
	{
		Form_pg_attribute from = TupleDescAttr(row_desc, i);

		if (from->attisdropped)
			continue;
		form->from[column] = i + 1;
		if (column >= TOPIC_METADATA && !same_type(from, TupleDescAttr(desc, column)) &&
			!is_simple_literal(from, TupleDescAttr(desc, column)))
			form->simple = false;
		column++;
	}
	return form;
}

/* Input functions for literals. */
static void
prepare_inputs(RowForm *form, TupleDesc desc)
{
	form->inputs = palloc0(sizeof(FmgrInfo *) * desc->natts);
	form->ioparams = palloc0(sizeof(Oid) * desc->natts);
	for (int i = TOPIC_METADATA; i < desc->natts; i++)
	{
		Oid			input;

		if (same_type(TupleDescAttr(form->desc, form->from[i] - 1), TupleDescAttr(desc, i)))
			continue;
		getTypeInputInfo(TupleDescAttr(desc, i)->atttypid, &input, &form->ioparams[i]);
		form->inputs[i] = palloc(sizeof(FmgrInfo));
		fmgr_info_cxt(input, form->inputs[i], CurrentMemoryContext);
	}
}

/* The form of this row for the topic, which the session remembers. */
static RowForm *
get_form(Topic *topic, HeapTupleHeader row)
{
	Oid			type = HeapTupleHeaderGetTypeId(row);
	int32		typmod = HeapTupleHeaderGetTypMod(row);
	uint64		row_type = assign_record_type_identifier(type, typmod);
	TupleDesc	row_desc;
	RowForm    *form;
	MemoryContext old;
	ListCell   *lc;

	foreach(lc, topic->forms)
	{
		form = lfirst(lc);
		if (form->row_type == row_type)
			return form;
	}
	row_desc = lookup_rowtype_tupdesc_copy(type, typmod);
	old = MemoryContextSwitchTo(topic->cxt);
	form = make_form(topic->desc, row_type, row_desc);
	if (form->simple)
		prepare_inputs(form, topic->desc);
	topic->forms = lcons(form, topic->forms);
	MemoryContextSwitchTo(old);
	return form;
}

static void
deform_row(HeapTupleHeader row, TupleDesc desc, Datum *values, bool *nulls)
{
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	heap_deform_tuple(&tuple, desc, values, nulls);
}

static void
take_simple_row(Event *event, RowForm *form, HeapTupleHeader row)
{
	deform_row(row, form->desc, form->values, form->nulls);
	for (int i = TOPIC_METADATA; i < event->desc->natts; i++)
	{
		int			from = form->from[i] - 1;

		event->values[i] = form->values[from];
		event->nulls[i] = form->nulls[from];
		if (form->inputs[i] && !event->nulls[i])
			event->values[i] = InputFunctionCall(form->inputs[i], DatumGetCString(event->values[i]),
												 form->ioparams[i], TupleDescAttr(event->desc, i)->atttypmod);
	}
}

/* Forget what the statement knew of another topic, or another form of this one. */
static Appender *
get_appender(FunctionCallInfo fcinfo, Topic *topic)
{
	Appender   *appender = fcinfo->flinfo->fn_extra;
	MemoryContext cxt;
	MemoryContext old;

	if (appender && appender->number == topic->number)
		return appender;

	fcinfo->flinfo->fn_extra = NULL;
	if (appender)
		MemoryContextDelete(appender->cxt);
	cxt = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pg_derive append", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	appender = palloc0(sizeof(Appender));
	appender->cxt = cxt;
	appender->number = topic->number;
	appender->desc = CreateTupleDescCopy(topic->desc);
	for (int i = TOPIC_METADATA; i < appender->desc->natts && !OidIsValid(appender->owner); i++)
	{
		if (derive_type_has_domain(TupleDescAttr(appender->desc, i)->atttypid))
			appender->owner = derive_owner_of(topic->relid);
	}
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = appender;
	return appender;
}

/* Run what the topic's columns need: as its owner, if that may call code of his. */
static void
enter(const Appender *appender, DeriveRole *saved)
{
	if (OidIsValid(appender->owner))
		derive_role_enter(appender->owner, saved);
}

static void
leave(const Appender *appender, DeriveRole *saved)
{
	if (OidIsValid(appender->owner))
		derive_role_leave(saved);
}

/* What makes a value of the topic's column from one of the row's, as INSERT would. */
static ExprState *
make_conversion(Appender *appender, Form_pg_attribute from, AttrNumber column, Form_pg_attribute to)
{
	Node	   *var = (Node *) makeVar(1, column, from->atttypid, from->atttypmod, from->attcollation, 0);
	Oid			type = from->atttypid;
	Node	   *expr;
	ExprState  *state;
	DeriveRole	saved;

	if (same_type(from, to))
		return NULL;

	/* a literal in ROW() */
	if (type == UNKNOWNOID)
	{
		CoerceViaIO *literal = makeNode(CoerceViaIO);

		type = getBaseType(to->atttypid);
		literal->arg = (Expr *) var;
		literal->resulttype = type;
		literal->resultcollid = get_typcollation(type);
		literal->coerceformat = COERCE_IMPLICIT_CAST;
		literal->location = -1;
		var = (Node *) literal;
	}
	expr = coerce_to_target_type(NULL, var, type, to->atttypid, to->atttypmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the topic is of type %s but the event's is of type %s",
						NameStr(to->attname), format_type_be(to->atttypid), format_type_be(from->atttypid)),
				 errhint("You will need to cast it.")));
	derive_refuse_foreign_code(expr, OidIsValid(appender->owner), NameStr(to->attname));
	enter(appender, &saved);	/* who may call the functions, too */
	state = ExecInitExpr((Expr *) expression_planner((Expr *) expr), NULL);
	leave(appender, &saved);
	return state;
}

static void
prepare_conversions(Appender *appender, RowForm *known)
{
	MemoryContext old = MemoryContextSwitchTo(appender->cxt);
	RowForm    *form = make_form(appender->desc, known->row_type, known->desc);

	appender->form = NULL;
	form->conversions = palloc0(sizeof(ExprState *) * appender->desc->natts);
	for (int i = TOPIC_METADATA; i < appender->desc->natts; i++)
		form->conversions[i] = make_conversion(appender, TupleDescAttr(form->desc, form->from[i] - 1),
											   form->from[i], TupleDescAttr(appender->desc, i));
	appender->slot = MakeSingleTupleTableSlot(form->desc, &TTSOpsVirtual);
	if (appender->econtext == NULL)
		appender->econtext = CreateStandaloneExprContext();
	appender->econtext->ecxt_scantuple = appender->slot;
	appender->form = form;
	MemoryContextSwitchTo(old);
}

static void
take_converted_row(Event *event, Appender *appender, RowForm *known, HeapTupleHeader row)
{
	TupleTableSlot *slot;
	RowForm    *form;
	DeriveRole	saved;

	if (appender->form == NULL || appender->form->row_type != known->row_type)
		prepare_conversions(appender, known);
	form = appender->form;
	slot = appender->slot;
	ExecClearTuple(slot);
	deform_row(row, form->desc, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);

	ResetExprContext(appender->econtext);
	enter(appender, &saved);
	for (int i = TOPIC_METADATA; i < event->desc->natts; i++)
	{
		int			from = form->from[i] - 1;

		if (form->conversions[i])
			event->values[i] = ExecEvalExprSwitchContext(form->conversions[i], appender->econtext, &event->nulls[i]);
		else
		{
			event->values[i] = slot->tts_values[from];
			event->nulls[i] = slot->tts_isnull[from];
		}
	}
	leave(appender, &saved);
}


/* ----------------------------------------------------------------
 *		JSON
 * ----------------------------------------------------------------
 */

/* Everything in the object must be a column of the event. */
static void
check_names(TupleDesc desc, Jsonb *event)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event in JSON must be an object")));

	it = JsonbIteratorInit(&event->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		bool		found = (token != WJB_KEY);

		for (int i = TOPIC_METADATA; !found && i < desc->natts; i++)
		{
			const char *name = NameStr(TupleDescAttr(desc, i)->attname);

			found = strlen(name) == value.val.string.len &&
				memcmp(name, value.val.string.val, value.val.string.len) == 0;
		}
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the topic has no column \"%.*s\" for events",
							value.val.string.len, value.val.string.val)));
	}
}

/* jsonb_populate_record(), for the topic's row type. */
static void
prepare_for_json(Appender *appender, Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(appender->cxt);
	Oid			type = get_rel_type_id(relid);
	Const	   *base = makeConst(type, -1, InvalidOid, -1, (Datum) 0, true, false);
	Const	   *json = makeConst(JSONBOID, -1, InvalidOid, -1, (Datum) 0, true, false);

	fmgr_info_cxt(F_JSONB_POPULATE_RECORD, &appender->populate, appender->cxt);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, type, list_make2(base, json),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &appender->populate);
	MemoryContextSwitchTo(old);
}

static void
take_json(Event *event, Appender *appender, Jsonb *json)
{
	LOCAL_FCINFO(fcinfo, 2);
	DeriveRole	saved;
	Datum		result;

	check_names(event->desc, json);
	if (appender->populate.fn_addr == NULL)
		prepare_for_json(appender, event->topic);
	InitFunctionCallInfoData(*fcinfo, &appender->populate, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].isnull = true;
	fcinfo->args[1].value = JsonbPGetDatum(json);
	fcinfo->args[1].isnull = false;
	enter(appender, &saved);
	result = FunctionCallInvoke(fcinfo);
	leave(appender, &saved);
	if (fcinfo->isnull)			/* it makes NULL of {} */
		memset(event->nulls, true, sizeof(bool) * event->desc->natts);
	else
		deform_row(DatumGetHeapTupleHeader(result), event->desc, event->values, event->nulls);
}


/* ----------------------------------------------------------------
 *		SQL
 * ----------------------------------------------------------------
 */

static Oid
topic_argument(FunctionCallInfo fcinfo)
{
	derive_require_arguments(fcinfo, 2);
	return PG_GETARG_OID(0);
}

Datum
derive_append_record_sql(PG_FUNCTION_ARGS)
{
	Oid			relid = topic_argument(fcinfo);
	Topic	   *topic = open_topic(relid);
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(1);
	RowForm    *form = get_form(topic, row);
	Event		event;

	if (form->simple)
	{
		init_event(&event, relid, topic->desc);
		take_simple_row(&event, form, row);
	}
	else
	{
		Appender   *appender = get_appender(fcinfo, topic);

		init_event(&event, relid, appender->desc);
		take_converted_row(&event, appender, form, row);
	}
	PG_RETURN_LSN(write_event(&event));
}

static XLogRecPtr
append_json(FunctionCallInfo fcinfo, Oid relid, Jsonb *json)
{
	Appender   *appender = get_appender(fcinfo, open_topic(relid));
	Event		event;

	init_event(&event, relid, appender->desc);
	take_json(&event, appender, json);
	return write_event(&event);
}

Datum
derive_append_jsonb_sql(PG_FUNCTION_ARGS)
{
	Oid			relid = topic_argument(fcinfo);

	PG_RETURN_LSN(append_json(fcinfo, relid, PG_GETARG_JSONB_P(1)));
}

/* For literals, and parameters of drivers, which have no type of their own: JSON. */
Datum
derive_append_text_sql(PG_FUNCTION_ARGS)
{
	Oid			relid = topic_argument(fcinfo);
	char	   *event = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum		json = DirectFunctionCall1(jsonb_in, CStringGetDatum(event));

	PG_RETURN_LSN(append_json(fcinfo, relid, DatumGetJsonbP(json)));
}
