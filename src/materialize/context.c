/*-------------------------------------------------------------------------
 *
 * context.c
 *	  What a derivation in C is given: DeriveContext.
 *
 * This file has the declaration (options, columns, keys, state tables), runs of
 * the callbacks, and the changes that they ask for one by one.  The tables that
 * they write are in tables.c.
 *
 * Where changes come from
 *
 *	building		the rows of each source, read under the active snapshot
 *	base tables		the batch's event log, one pass over all of them, so that
 *					transactions come in the order of their commits
 *	views			their deltas in the batch, which have no order
 *
 * Rows of the log are given as they were decoded; only those of partitions, or
 * from before a column was added, have to be converted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "delta/stream.h"
#include "materialize/program_internal.h"

/* Transactions and subtransactions of this process that were rolled back: what callbacks remember may be wrong. */
static uint64 aborts = 0;

/* -------------------------------------------------------------------------
 * The declaration
 * -------------------------------------------------------------------------
 */

static DeriveProgram *
program_of(DeriveContext *context)
{
	return context->internal;
}

/* A mistake of the derivation's: with other arguments, or elsewhere, the call would be right. */
static void
misused(DeriveContext *context, const char *function, const char *how)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION),
			 errmsg("derivation \"%s\" calls %s() %s", context->name, function, how)));
}

static void
require_declaring(DeriveContext *context, const char *function)
{
	if (!program_of(context)->tables->declaring)
		misused(context, function, "outside of declare()");
}

static void
require_running(DeriveContext *context, const char *function)
{
	DeriveProgram *program = program_of(context);

	if (program->run == NULL || !program->tables->running)
		misused(context, function, "outside of apply(), resync() and expire()");
}

static DeriveContextSource *
source_number(DeriveContext *context, int source, const char *function)
{
	if (source < 0 || source >= context->nsources)
		misused(context, function, psprintf("for source number %d", source));
	return &context->sources[source];
}

/* The text of a JSON scalar; NULL for null. */
static char *
scalar_text(const char *name, JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" must be a string, number or boolean", name)));
	}
	return NULL;				/* keep compiler quiet */
}

static void
option_error(void *arg)
{
	errcontext("option \"%s\"", (char *) arg);
}

/* The definition of what an option names may be altered, see server/dependents.c. */
static void
depend_on_option(DeriveProgram *program, Oid type, Oid object)
{
	ObjectAddress view,
				referenced;

	ObjectAddressSet(view, RelationRelationId, program->view);
	if (type == REGCONFIGOID)
		ObjectAddressSet(referenced, TSConfigRelationId, object);
	else if (type == REGDICTIONARYOID)
		ObjectAddressSet(referenced, TSDictionaryRelationId, object);
	else
		return;
	recordDependencyOn(&view, &referenced, DEPENDENCY_NORMAL);
}

static Datum
context_option(DeriveContext *context, const char *name, Oid type, const char *default_value, bool *isnull)
{
	DeriveProgram *program = program_of(context);
	MemoryContext old = MemoryContextSwitchTo(context->memory);
	JsonbValue *value = getKeyJsonValueFromContainer(&context->options->root, name, strlen(name), NULL);
	char	   *string = value ? scalar_text(name, value) : NULL;
	ErrorContextCallback callback = {error_context_stack, option_error, unconstify(char *, name)};
	Datum		result = (Datum) 0;
	Oid			input;
	Oid			ioparam;

	program->tables->asked = lappend(program->tables->asked, pstrdup(name));
	if (string == NULL && default_value != NULL)
		string = pstrdup(default_value);
	if (string == NULL && isnull == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("derivation \"%s\" needs option \"%s\"", context->name, name)));
	if (isnull != NULL)
		*isnull = (string == NULL);
	if (string != NULL)
	{
		getTypeInputInfo(type, &input, &ioparam);
		error_context_stack = &callback;
		result = OidInputFunctionCall(input, string, ioparam, -1);
		error_context_stack = callback.previous;
		if (program->creating)
			depend_on_option(program, type, DatumGetObjectId(result));
	}
	MemoryContextSwitchTo(old);
	return result;
}

/* It is known by its name; should that be another column's one day, all rows change. */
static void
remember_column(DeriveTables *tables, int source, const char *name, AttrNumber attno)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) name, strlen(name), attno);

	tables->columns_digest = hash_combine64(tables->columns_digest, hash_combine64(hash, source));
}

static bool
is_virtual(Form_pg_attribute att)
{
	return att->attgenerated == 'v';	/* a macro from 18 on only */
}

/* ERROR if the column is one that describe_source() has left out. */
static void
refuse_virtual_column(DeriveContextSource *source, const char *name)
{
	for (int i = 0; i < source->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(source->desc, i);

		if (is_virtual(att) && strcmp(NameStr(att->attname), name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a derivation cannot read the virtual generated column \"%s\" of source \"%s\"",
							name, get_rel_name(source->relid)),
					 errdetail("The write-ahead log does not carry its values."),
					 errhint("Declare a view over the table, and let the derivation read the view.")));
	}
}

static AttrNumber
context_source_column(DeriveContext *context, int source, const char *name)
{
	DeriveContextSource *from = source_number(context, source, "source_column");
	AttrNumber	attno = SPI_fnumber(from->desc, name);

	refuse_virtual_column(from, name);
	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of source \"%s\" does not exist", name, get_rel_name(from->relid))));
	remember_column(program_of(context)->tables, source, name, attno);
	return attno;
}

static AttrNumber
context_view_column(DeriveContext *context, const char *name, Oid type)
{
	AttrNumber	attno;

	if (context->desc == NULL)
		misused(context, "view_column", "in columns()");
	attno = SPI_fnumber(context->desc, name);
	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("derivation \"%s\" needs a column \"%s\" in the view", context->name, name)));
	if (OidIsValid(type) && TupleDescAttr(context->desc, attno - 1)->atttypid != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("derivation \"%s\" needs column \"%s\" of the view to be of type %s",
						context->name, name, format_type_be(type))));
	return attno;
}

static void
context_set_key(DeriveContext *context, int nkeys, const AttrNumber *keys, bool unique)
{
	require_declaring(context, "set_key");
	if (nkeys < 0)
		misused(context, "set_key", "with a negative number of columns");
	for (int i = 0; i < nkeys; i++)
	{
		if (keys[i] < 1 || keys[i] > context->desc->natts)
			misused(context, "set_key", psprintf("with column number %d", keys[i]));
		for (int j = 0; j < i; j++)
			if (keys[j] == keys[i])
				misused(context, "set_key", psprintf("with column number %d twice", keys[i]));
	}
	derive_table_set_key(program_of(context)->tables->tables[DERIVE_VIEW], nkeys, keys, unique);
}

static void
context_add_index(DeriveContext *context, const char *method, int nattrs, const AttrNumber *attrs)
{
	DeriveProgram *program = program_of(context);
	MemoryContext old = MemoryContextSwitchTo(program->cxt);
	DeriveIndex *index = palloc(sizeof(DeriveIndex));

	index->method = pstrdup(method);
	index->nattrs = nattrs;
	index->attrs = palloc(sizeof(AttrNumber) * nattrs);
	memcpy(index->attrs, attrs, sizeof(AttrNumber) * nattrs);
	program->tables->indexes = lappend(program->tables->indexes, index);
	MemoryContextSwitchTo(old);
}

static int
context_declare_state(DeriveContext *context, TupleDesc desc, int nkeys)
{
	DeriveProgram *program = program_of(context);
	MemoryContext old = MemoryContextSwitchTo(program->cxt);
	DeriveTable *table;
	AttrNumber *keys;

	require_declaring(context, "declare_state");
	if (desc == NULL || desc->natts < 1 || nkeys < 0 || nkeys > desc->natts)
		misused(context, "declare_state", "without columns, or with more keys than there are columns");
	table = derive_tables_add(program, CreateTupleDescCopy(desc));
	keys = palloc(sizeof(AttrNumber) * Max(nkeys, 1));
	for (int i = 0; i < nkeys; i++)
		keys[i] = i + 1;
	derive_table_set_key(table, nkeys, keys, true);
	MemoryContextSwitchTo(old);
	return program->tables->ntables - 1;
}

/* A source's columns as they are now, but for virtual generated ones: neither the log nor a row has values of them. */
static void
describe_source(DeriveContextSource *source, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);

	source->relid = relid;
	source->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	for (int i = 0; i < source->desc->natts; i++)
	{
		if (is_virtual(TupleDescAttr(source->desc, i)))
			derive_compat_hide_column(source->desc, i);
	}
	table_close(rel, NoLock);
}

static bool next_change(DeriveContext *context, DeriveChange *change);
static void end_scan(DeriveScan *scan);
static void read_source(DeriveContext *context, int source, DeriveRowCallback callback, void *arg);

void
derive_context_create(DeriveProgram *program, DeriveDefinition *definition, TupleDesc desc)
{
	DeriveContext *context = palloc0(sizeof(DeriveContext));
	const char **keys = palloc0(sizeof(char *) * Max(list_length(definition->keys), 1));
	ListCell   *lc;

	program->context = context;
	context->internal = program;
	context->memory = program->cxt;
	context->view = program->view;
	context->name = definition->derivation;
	context->desc = desc;
	context->options = definition->options;
	context->sources = palloc0(sizeof(DeriveContextSource) * Max(list_length(definition->sources), 1));
	foreach(lc, definition->sources)
		describe_source(&context->sources[context->nsources++], lfirst_oid(lc));
	foreach(lc, definition->keys)
		keys[context->nkeys++] = lfirst(lc);
	context->keys = keys;

	context->option = context_option;
	context->source_column = context_source_column;
	context->view_column = context_view_column;
	context->set_key = context_set_key;
	context->add_index = context_add_index;
	context->declare_state = context_declare_state;
	context->next_change = next_change;
	context->rewind_changes = derive_changes_rewind;
	context->read_source = read_source;
	derive_tables_set_functions(context);

	program->tables = palloc0(sizeof(DeriveTables));
	program->tables->definition = definition;
	if (desc != NULL)
		(void) derive_tables_add(program, desc);
}

/* The key of the declaration, unless the derivation sets another one. */
static void
set_declared_key(DeriveContext *context)
{
	AttrNumber *keys = palloc(sizeof(AttrNumber) * Max(context->nkeys, 1));

	for (int i = 0; i < context->nkeys; i++)
	{
		keys[i] = SPI_fnumber(context->desc, context->keys[i]);
		if (keys[i] <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" is not a column of the view", context->keys[i])));
	}
	context->set_key(context, context->nkeys, keys, context->nkeys > 0);
}

static void
check_options(DeriveContext *context)
{
	List	   *asked = program_of(context)->tables->asked;
	JsonbIterator *it = JsonbIteratorInit(&context->options->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	ListCell   *lc;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *name;
		bool		known = false;
		StringInfoData list;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		initStringInfo(&list);
		foreach(lc, asked)
		{
			known |= (strcmp(lfirst(lc), name) == 0);
			appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "", (char *) lfirst(lc));
		}
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("derivation \"%s\" has no option \"%s\"", context->name, name),
					 list.len > 0 ? errhint("Its options are %s.", list.data) : 0));
	}
}

void
derive_context_declare(DeriveProgram *program)
{
	DeriveContext *context = program->context;
	DeriveOwnerContext saved;

	program->tables->declaring = true;
	set_declared_key(context);
	derive_owner_enter(program, &saved);
	program->routine->declare(context);
	derive_owner_leave(&saved);
	program->tables->declaring = false;
	check_options(context);
}

void
derive_context_declared(DeriveProgram *program)
{
	if (program->creating)
		derive_tables_create(program);
	else
		derive_tables_find(program);
	derive_tables_describe(program);
	program->query = derive_definition_tree(program->view);
}

/* -------------------------------------------------------------------------
 * Runs
 * -------------------------------------------------------------------------
 */

static void
count_abort(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		aborts++;
}

/* A view that moves in a subtransaction may fail when its derivation is done. */
static void
count_subabort(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		aborts++;
}

/* Nothing that was remembered may be trusted after a batch was rolled back. */
static void
begin_if_needed(DeriveProgram *program)
{
	static bool registered = false;
	DeriveTables *tables = program->tables;

	if (!registered)
	{
		RegisterXactCallback(count_abort, NULL);
		RegisterSubXactCallback(count_subabort, NULL);
		registered = true;
	}
	if ((!tables->clean || tables->aborts != aborts) && program->routine->begin != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(program->cxt);

		program->routine->begin(program->context);
		MemoryContextSwitchTo(old);
	}
	tables->clean = false;
	tables->aborts = aborts;
}

static void
end_reading(DeriveTables *tables)
{
	if (tables->events)
		derive_events_end(tables->events);
	tables->events = NULL;
	if (tables->delta_slot)
	{
		ExecDropSingleTupleTableSlot(tables->delta_slot);
		ExecDropSingleTupleTableSlot(tables->view_row);
	}
	tables->delta_slot = tables->view_row = NULL;
	tables->delta = NULL;
	tables->repeat = 0;
	end_scan(&tables->scan);
}

static void
call_in_run(DeriveProgram *program, void (*call) (DeriveContext *context))
{
	MemoryContext old;

	derive_see_own_changes();
	program->tables->running = true;
	derive_changes_rewind(program->context);
	old = MemoryContextSwitchTo(program->tables->run_cxt);
	call(program->context);
	MemoryContextSwitchTo(old);
	program->tables->running = false;
	end_reading(program->tables);
	PopActiveSnapshot();
}

/*
 * The callback, then expire() if it is due, with the tables open.  The delta of
 * the view is complete when they are closed.
 */
void
derive_context_run(DeriveProgram *program, void (*call) (DeriveContext *context))
{
	DeriveTables *tables = program->tables;
	bool		expire = program->expire && program->routine->expire != NULL;

	tables->run_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive derivation", ALLOCSET_DEFAULT_SIZES);
	tables->events = NULL;
	tables->delta = NULL;
	tables->delta_slot = tables->view_row = tables->topic_row = NULL;
	tables->repeat = 0;
	memset(&tables->scan, 0, sizeof(tables->scan));
	derive_tables_open(program);
	begin_if_needed(program);
	if (call != NULL)
		call_in_run(program, call);
	if (expire)
		call_in_run(program, program->routine->expire);
	DERIVE_DEBUG_POINT("batch-mid-apply");
	derive_tables_close(program);
	MemoryContextDelete(tables->run_cxt);
	tables->run_cxt = NULL;
	tables->clean = true;
	program->expire = false;
}

/* -------------------------------------------------------------------------
 * Rows as they are now
 * -------------------------------------------------------------------------
 */

/* How a row with this descriptor becomes one of the source; NULL map: it is one. */
static DeriveConversion *
find_conversion(DeriveProgram *program, int number, Oid relid, TupleDesc from)
{
	DeriveSourceReader *reader = &program->tables->readers[number];
	TupleDesc	to = program->context->sources[number].desc;
	DeriveConversion *conversion;
	MemoryContext old;
	ListCell   *lc;

	foreach(lc, reader->conversions)
	{
		conversion = lfirst(lc);
		if (conversion->from == from && conversion->relid == relid)
			return conversion;
	}

	old = MemoryContextSwitchTo(program->tables->run_cxt);
	conversion = palloc0(sizeof(DeriveConversion));
	conversion->from = from;
	conversion->relid = relid;
	if (!equalTupleDescs(from, to) || relid != program->context->sources[number].relid)
	{
		/*
		 * columns are known by their names now; those in a decoded row may be
		 * old
		 */
		Relation	member = relid == program->context->sources[number].relid ? NULL :
		table_open(relid, AccessShareLock);

		conversion->map = make_attrmap(to->natts);
		for (int i = 0; i < to->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(to, i);
			AttrNumber	attno;

			if (att->attisdropped)
				continue;
			attno = member == NULL ? i + 1 : SPI_fnumber(RelationGetDescr(member), NameStr(att->attname));
			if (attno < 0 || attno > from->natts || (attno > 0 && TupleDescAttr(from, attno - 1)->attisdropped))
				attno = InvalidAttrNumber;
			if (attno != InvalidAttrNumber && TupleDescAttr(from, attno - 1)->atttypid != att->atttypid)
				ereport(ERROR,
						(errcode(ERRCODE_DATATYPE_MISMATCH),
						 errmsg("the type of column \"%s\" of table \"%s\" changed",
								NameStr(att->attname), get_rel_name(relid))));
			conversion->map->attnums[i] = attno;
		}
		if (member != NULL)
			table_close(member, NoLock);
	}
	reader->conversions = lappend(reader->conversions, conversion);
	MemoryContextSwitchTo(old);
	return conversion;
}

/* A decoded tuple as a row of the source. */
static TupleTableSlot *
convert_tuple(DeriveProgram *program, DeriveConversion *conversion, HeapTuple tuple,
			  TupleTableSlot *slot, TupleTableSlot *converted)
{
	if (conversion->map == NULL)
		return ExecStoreHeapTuple(tuple, slot, false);
	if (conversion->slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(program->tables->run_cxt);

		conversion->slot = MakeSingleTupleTableSlot(conversion->from, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}
	ExecStoreHeapTuple(tuple, conversion->slot, false);
	execute_attr_map_slot(conversion->map, conversion->slot, converted);
	ExecMaterializeSlot(converted);
	return converted;
}

/* The slots of a source, made when they are first needed. */
static DeriveSourceReader *
prepare_reader(DeriveProgram *program, int number)
{
	DeriveSourceReader *reader = &program->tables->readers[number];
	TupleDesc	desc = program->context->sources[number].desc;

	if (reader->oldrow == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(program->tables->run_cxt);

		reader->oldrow = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		reader->newrow = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		reader->virtual_old = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		reader->virtual_new = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		MemoryContextSwitchTo(old);
	}
	return reader;
}

static void
end_scan(DeriveScan *scan)
{
	if (scan->relation == NULL)
		return;
	ExecDropSingleTupleTableSlot(scan->slot);
	table_endscan(scan->scan);
	table_close(scan->relation, NoLock);
	scan->relation = NULL;
}

/* The next row that a source has now, in a slot of its columns; NULL at the end. */
static TupleTableSlot *
next_current_row(DeriveProgram *program, int number, DeriveScan *scan)
{
	DeriveSourceReader *reader = prepare_reader(program, number);

	for (;;)
	{
		DeriveConversion *conversion;

		if (scan->relation == NULL)
		{
			MemoryContext old;

			if (scan->next_member >= list_length(reader->members))
				return NULL;
			old = MemoryContextSwitchTo(program->tables->run_cxt);
			scan->relation = table_open(list_nth_oid(reader->members, scan->next_member++), AccessShareLock);
			scan->scan = table_beginscan(scan->relation, GetActiveSnapshot(), 0, NULL);
			scan->slot = table_slot_create(scan->relation, NULL);
			MemoryContextSwitchTo(old);
		}
		CHECK_FOR_INTERRUPTS();
		if (table_scan_getnextslot(scan->scan, ForwardScanDirection, scan->slot))
		{
			conversion = find_conversion(program, number, RelationGetRelid(scan->relation), RelationGetDescr(scan->relation));
			return conversion->map == NULL ? scan->slot :
				execute_attr_map_slot(conversion->map, scan->slot, reader->virtual_new);
		}
		end_scan(scan);
	}
}

static void
read_source(DeriveContext *context, int source, DeriveRowCallback callback, void *arg)
{
	TupleTableSlot *row;
	DeriveScan	scan = {0};

	require_running(context, "read_source");
	(void) source_number(context, source, "read_source");
	while ((row = next_current_row(program_of(context), source, &scan)) != NULL)
		callback(arg, row);
}

/* -------------------------------------------------------------------------
 * Changes
 * -------------------------------------------------------------------------
 */

void
derive_changes_rewind(DeriveContext *context)
{
	DeriveProgram *program = program_of(context);
	DeriveTables *tables = program->tables;
	MemoryContext old;
	DeriveBatch *batch;
	List	   *relids = NIL;
	ListCell   *lc;

	require_running(context, "rewind_changes");
	batch = program->run->batch;
	old = MemoryContextSwitchTo(tables->run_cxt);
	end_reading(tables);
	tables->readers = palloc0(sizeof(DeriveSourceReader) * Max(context->nsources, 1));
	tables->next_source = 0;
	tables->event_source = context->nsources;
	tables->scan.next_member = 0;
	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);
		List	   *members = derive_source_members(source->relid, source->inh);

		/* that of a topic is not among the declared ones */
		if (foreach_current_index(lc) < context->nsources)
			tables->readers[foreach_current_index(lc)].members = members;
		if (source->events)
			relids = list_concat(relids, members);
	}
	if (!context->building && batch != NULL && batch->log != NULL && relids != NIL)
		tables->events = derive_events_read(batch->log, relids, batch->from, batch->to);
	MemoryContextSwitchTo(old);
}

static void
fill_from_event(DeriveProgram *program, DeriveEvent *event, int number, DeriveChange *change)
{
	DeriveSourceReader *reader;
	DeriveConversion *conversion;

	change->operation = (DeriveOperation) event->kind;
	change->source = number;
	change->oldrow = change->newrow = NULL;
	change->xid = event->xid;
	change->commit_lsn = event->commit_lsn;
	change->commit_time = event->commit_time;
	change->lsn = event->lsn;
	if (event->oldtuple == NULL && event->newtuple == NULL)
		return;

	if (number < 0)
	{
		/* an event of a topic has the columns of the view */
		if (program->tables->topic_row == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(program->tables->run_cxt);

			program->tables->topic_row = MakeSingleTupleTableSlot(program->context->desc, &TTSOpsHeapTuple);
			MemoryContextSwitchTo(old);
		}
		change->newrow = ExecStoreHeapTuple(event->newtuple, program->tables->topic_row, false);
		return;
	}
	reader = prepare_reader(program, number);
	conversion = find_conversion(program, number, event->relid, event->desc);
	if (event->oldtuple)
		change->oldrow = convert_tuple(program, conversion, event->oldtuple, reader->oldrow, reader->virtual_old);
	if (event->newtuple)
		change->newrow = convert_tuple(program, conversion, event->newtuple, reader->newrow, reader->virtual_new);
}

/*
 * The next event is a change of the source that its table belongs to; of several
 * ones, if a table and a partition of it are both sources.
 */
static bool
next_from_events(DeriveContext *context, DeriveChange *change)
{
	DeriveProgram *program = program_of(context);
	DeriveTables *tables = program->tables;

	for (;;)
	{
		while (tables->event_source < context->nsources)
		{
			int			number = tables->event_source++;

			if (!list_member_oid(tables->readers[number].members, tables->event.relid))
				continue;
			fill_from_event(program, &tables->event, number, change);
			return true;
		}
		if (!derive_events_next(tables->events, &tables->event))
			return false;
		tables->event_source = 0;
		if (tables->event.relid == program->view)
		{
			fill_from_event(program, &tables->event, -1, change);
			tables->event_source = context->nsources;
			return true;
		}
	}
}

/* The next row of the deltas of views, as an insertion or deletion. */
static bool
next_from_deltas(DeriveContext *context, DeriveChange *change)
{
	DeriveProgram *program = program_of(context);
	DeriveTables *tables = program->tables;

	while (tables->repeat == 0)
	{
		if (tables->delta == NULL)
		{
			DeriveSource *source;
			MemoryContext old;

			if (tables->next_source >= context->nsources || program->run->batch == NULL)
				return false;
			source = list_nth(program->sources, tables->next_source++);
			tables->delta = source->events ? NULL : derive_batch_find(program->run->batch, source->relid, source->inh);
			if (tables->delta == NULL)
				continue;
			Assert(tables->delta->ntouched == 0);	/* views have no touches */
			old = MemoryContextSwitchTo(tables->run_cxt);
			tables->delta_slot = MakeSingleTupleTableSlot(tables->delta->desc, &TTSOpsMinimalTuple);
			tables->view_row = MakeSingleTupleTableSlot(context->sources[tables->next_source - 1].desc, &TTSOpsVirtual);
			MemoryContextSwitchTo(old);
			derive_delta_rewind(tables->delta);
		}
		if (derive_delta_next(tables->delta, tables->delta_slot))
		{
			bool		isnull;

			tables->repeat = DatumGetInt64(slot_getattr(tables->delta_slot, derive_delta_weight_attno(tables->delta->desc), &isnull));
		}
		else
		{
			ExecDropSingleTupleTableSlot(tables->delta_slot);
			ExecDropSingleTupleTableSlot(tables->view_row);
			tables->delta_slot = tables->view_row = NULL;
			tables->delta = NULL;
		}
	}

	change->operation = tables->repeat > 0 ? DERIVE_INSERTED : DERIVE_DELETED;
	tables->repeat += tables->repeat > 0 ? -1 : 1;
	slot_getallattrs(tables->delta_slot);
	ExecClearTuple(tables->view_row);
	memcpy(tables->view_row->tts_values, tables->delta_slot->tts_values,
		   sizeof(Datum) * tables->view_row->tts_tupleDescriptor->natts);
	memcpy(tables->view_row->tts_isnull, tables->delta_slot->tts_isnull,
		   sizeof(bool) * tables->view_row->tts_tupleDescriptor->natts);
	ExecStoreVirtualTuple(tables->view_row);
	change->source = tables->next_source - 1;
	change->oldrow = change->operation == DERIVE_DELETED ? tables->view_row : NULL;
	change->newrow = change->operation == DERIVE_INSERTED ? tables->view_row : NULL;
	return true;
}

static bool
next_change(DeriveContext *context, DeriveChange *change)
{
	DeriveProgram *program = program_of(context);
	DeriveTables *tables = program->tables;

	require_running(context, "next_change");
	CHECK_FOR_INTERRUPTS();
	if (tables->events != NULL)
	{
		if (next_from_events(context, change))
			return true;
		derive_events_end(tables->events);
		tables->events = NULL;
	}

	change->xid = InvalidFullTransactionId;
	change->commit_lsn = context->lsn;
	change->commit_time = context->time;
	change->lsn = InvalidXLogRecPtr;
	if (!context->building)
		return next_from_deltas(context, change);

	while (tables->next_source < context->nsources)
	{
		change->newrow = next_current_row(program, tables->next_source, &tables->scan);
		if (change->newrow != NULL)
		{
			change->operation = DERIVE_INSERTED;
			change->source = tables->next_source;
			change->oldrow = NULL;
			return true;
		}
		tables->next_source++;
		tables->scan.next_member = 0;
	}
	return false;
}
