/*-------------------------------------------------------------------------
 *
 * tables.c
 *	  The tables that a derivation in C writes: the view and state tables.
 *
 * All of them are written through targets (deposit/target.h), row by row, so that
 * a callback sees what it did.  Rows are found by the key's index: a unique one
 * on columns of fixed length, else one on a hash of the key.  Where a derivation
 * wants it, they are kept in memory until the batch ends (buffer.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/registry.h"
#include "compile/digest.h"
#include "compile/query.h"
#include "materialize/internal_tables.h"
#include "materialize/program_internal.h"

/* -------------------------------------------------------------------------
 * Declaring
 * -------------------------------------------------------------------------
 */

DeriveTable *
derive_tables_add(DeriveProgram *program, TupleDesc desc)
{
	DeriveTables *tables = program->tables;
	DeriveTable *table = palloc0(sizeof(DeriveTable));
	int			n = tables->ntables++;

	tables->tables = n == 0 ? palloc(sizeof(DeriveTable *)) :
		repalloc(tables->tables, sizeof(DeriveTable *) * tables->ntables);
	tables->tables[n] = table;
	table->desc = desc;
	return table;
}

/* May a unique index on these columns take any value? */
static bool
indexable(TupleDesc desc, int nkeys, const AttrNumber *keys)
{
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, keys[i] - 1);

		if (att->attlen <= 0 || !OidIsValid(GetDefaultOpClass(att->atttypid, BTREE_AM_OID)))
			return false;
	}
	return nkeys > 0 && nkeys <= INDEX_MAX_KEYS;
}

void
derive_table_set_key(DeriveTable *table, int nkeys, const AttrNumber *keys, bool unique)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(table));

	table->unique = unique;
	table->locator.unique = unique && indexable(table->desc, nkeys, keys);
	table->locator.nattrs = nkeys;
	table->locator.attrs = palloc(sizeof(AttrNumber) * Max(nkeys, 1));
	memcpy(table->locator.attrs, keys, sizeof(AttrNumber) * nkeys);
	MemoryContextSwitchTo(old);
}

/* Will the locator's index do? */
static bool
locator_serves(const DeriveLocator *locator, DeriveIndex *index)
{
	return locator->unique && index->nattrs <= locator->nattrs &&
		memcmp(locator->attrs, index->attrs, sizeof(AttrNumber) * index->nattrs) == 0;
}

void
derive_tables_create(DeriveProgram *program)
{
	ListCell   *lc;

	for (int i = 0; i < program->tables->ntables; i++)
	{
		DeriveTable *table = program->tables->tables[i];

		table->relid = i == DERIVE_VIEW ? program->view : derive_internal_create(program->view, i, 's', table->desc);
		if (i != DERIVE_VIEW || !derive_view_populated(program->view))
			table->index = derive_internal_locator(program->view, i, table->relid, InvalidOid, &table->locator);
		if (i != DERIVE_VIEW)
			program->internal = lappend_oid(program->internal, table->relid);
	}
	foreach(lc, program->tables->indexes)
	{
		DeriveIndex *index = lfirst(lc);

		if (locator_serves(&program->tables->tables[DERIVE_VIEW]->locator, index))
			continue;
		derive_internal_index_columns(program->view, index->method, index->nattrs, index->attrs);
	}
}

void
derive_tables_find(DeriveProgram *program)
{
	for (int i = 0; i < program->tables->ntables; i++)
	{
		DeriveTable *table = program->tables->tables[i];

		table->relid = i == DERIVE_VIEW ? program->view : derive_registry_relation(program->view, i, 's');
		if (!OidIsValid(table->relid) || !derive_internal_has_columns(table->relid, table->desc))
		{
			program->outdated = "an internal table is missing or has other columns";
			continue;
		}
		table->index = derive_internal_registered_locator(program->view, i, &table->locator);
		if (i != DERIVE_VIEW)
			program->internal = lappend_oid(program->internal, table->relid);
	}
	program->unfilled = !OidIsValid(derive_registry_relation(program->view, DERIVE_VIEW, 'i'));
}

void
derive_tables_describe(DeriveProgram *program)
{
	bool		recomputable = (program->routine->flags & DERIVE_OF_CURRENT_ROWS) != 0;

	/* what others keep cannot be had again: the less they look at, the better */
	if (!recomputable && program->routine->resync == NULL)
		return;
	if (recomputable)
		program->digest = derive_digest_add(program->digest, DERIVE_COMPILER_VERSION);
	if (recomputable && OidIsValid(program->view))
		program->digest = derive_digest_tree(program->digest, derive_definition_tree(program->view), NIL);
	for (int i = 0; i < program->tables->ntables; i++)
	{
		DeriveTable *table = program->tables->tables[i];

		program->digest = recomputable ?
			derive_internal_digest(program->digest, table->desc, &table->locator) :
			derive_internal_digest_types(program->digest, table->desc);
		program->row_types = list_concat_unique_oid(program->row_types, derive_row_types_of(table->desc));
	}
}

/* -------------------------------------------------------------------------
 * Opening and closing
 * -------------------------------------------------------------------------
 */

void
derive_tables_open(DeriveProgram *program)
{
	DeriveTables *tables = program->tables;
	bool		is_view = OidIsValid(program->view);

	tables->output = program->exported && program->run->batch != NULL ?
		derive_delta_create(program->view, false, program->context->desc) : NULL;
	for (int i = 0; i < tables->ntables; i++)
	{
		DeriveTable *table = tables->tables[i];

		if (is_view)
			table->index = derive_internal_locator(program->view, i, table->relid, table->index, &table->locator);
		table->target = derive_target_open(table->relid, table->index, &table->locator,
										   i == DERIVE_VIEW ? tables->output : NULL);
		table->row = MakeSingleTupleTableSlot(table->desc, &TTSOpsVirtual);
		table->buffer = program->routine->flags & DERIVE_BUFFERED ? derive_buffer_create(table) : NULL;
		table->found = false;
		if (i == DERIVE_VIEW && is_view && program->observer)
			derive_target_observe(table->target, program->observer, program->observer_arg);
	}
}

void
derive_tables_close(DeriveProgram *program)
{
	DeriveTables *tables = program->tables;

	for (int i = 0; i < tables->ntables; i++)
	{
		DeriveTable *table = tables->tables[i];

		if (table->buffer != NULL)
		{
			derive_buffer_flush(table);
			derive_buffer_free(table);
		}
		derive_target_close(table->target, i == DERIVE_VIEW ? program->run->counts : NULL);
		ExecDropSingleTupleTableSlot(table->row);
		table->target = NULL;
	}
	if (tables->output != NULL && tables->output->nrows > 0)
		derive_batch_add(program->run->batch, tables->output);
	tables->output = NULL;
}

/* -------------------------------------------------------------------------
 * The functions of DeriveContext
 * -------------------------------------------------------------------------
 */

static DeriveTable *
open_table(DeriveContext *context, int number)
{
	DeriveProgram *program = context->internal;
	DeriveTables *tables = program->tables;

	if (number < 0 || number >= tables->ntables)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION),
				 errmsg("derivation \"%s\" has no table number %d", context->name, number)));
	if (program->run == NULL || tables->tables[number]->target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION),
				 errmsg("derivation \"%s\" uses its tables outside of apply(), resync() and expire()", context->name)));
	return tables->tables[number];
}

/* Values may point into the row that get() returned, which the next look-up forgets. */
static TupleTableSlot *
store_row(DeriveTable *table)
{
	ExecStoreVirtualTuple(table->row);
	if (table->found)
		ExecMaterializeSlot(table->row);
	return table->row;
}

static TupleTableSlot *
row_of(DeriveTable *table, const Datum *values, const bool *isnull)
{
	int			natts = table->desc->natts;

	ExecClearTuple(table->row);
	memcpy(table->row->tts_values, values, sizeof(Datum) * natts);
	memcpy(table->row->tts_isnull, isnull, sizeof(bool) * natts);
	return store_row(table);
}

/* A row that has only its key. */
static TupleTableSlot *
key_of(DeriveTable *table, const Datum *key, const bool *isnull)
{
	int			natts = table->desc->natts;

	ExecClearTuple(table->row);
	memset(table->row->tts_isnull, true, sizeof(bool) * natts);
	for (int i = 0; i < (table->locator.nattrs ? table->locator.nattrs : natts); i++)
	{
		int			attno = table->locator.nattrs ? table->locator.attrs[i] - 1 : i;

		table->row->tts_values[attno] = key[i];
		table->row->tts_isnull[attno] = isnull[i];
	}
	return store_row(table);
}

static void
refuse_second(DeriveTable *table)
{
	ereport(ERROR,
			(errcode(DERIVE_ERRCODE_DIVERGED),
			 errmsg("contents of \"%s\" do not agree with its definition", get_rel_name(table->relid)),
			 errdetail("A row that should be added is already there.")));
}

static TupleTableSlot *
lookup(DeriveTable *table, TupleTableSlot *row)
{
	TupleTableSlot *found = table->buffer ? derive_buffer_get(table, row) : derive_target_lookup(table->target, row);

	table->found = (found != NULL);
	return found;
}

static TupleTableSlot *
context_get(DeriveContext *context, int number, const Datum *key, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);

	return lookup(table, key_of(table, key, isnull));
}

static void
context_insert(DeriveContext *context, int number, const Datum *values, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);

	TupleTableSlot *row = row_of(table, values, isnull);

	table->found = false;
	if (table->buffer != NULL)
	{
		if (!derive_buffer_insert(table, row))
			refuse_second(table);
		return;
	}
	/* an index on a hash lets everything in */
	if (table->unique && !table->locator.unique && derive_target_lookup(table->target, row) != NULL)
		refuse_second(table);
	derive_target_insert(table->target, row);
}

static void
context_replace(DeriveContext *context, int number, const Datum *values, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);

	if (!table->found)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION),
				 errmsg("derivation \"%s\" replaces a row that it did not get", context->name)));
	table->found = false;
	if (table->buffer == NULL)
		derive_target_replace_found(table->target, values ? row_of(table, values, isnull) : NULL);
	else if (!derive_buffer_replace(table, values ? row_of(table, values, isnull) : NULL))
		refuse_second(table);
}

static void
context_put(DeriveContext *context, int number, const Datum *values, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);
	TupleTableSlot *row = row_of(table, values, isnull);

	table->found = false;
	if (table->buffer != NULL)
		derive_buffer_put(table, row);
	else if (derive_target_lookup(table->target, row) != NULL)
		derive_target_replace_found(table->target, row);
	else
		derive_target_insert(table->target, row);
}

static bool
context_remove(DeriveContext *context, int number, const Datum *key, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);
	TupleTableSlot *row;

	row = key_of(table, key, isnull);
	table->found = false;
	if (table->buffer != NULL)
		return derive_buffer_remove(table, row);
	if (derive_target_lookup(table->target, row) == NULL)
		return false;
	derive_target_replace_found(table->target, NULL);
	return true;
}

static void
context_add(DeriveContext *context, const Datum *values, const bool *isnull, int64 weight)
{
	DeriveTable *table = open_table(context, DERIVE_VIEW);

	derive_target_add(table->target, row_of(table, values, isnull), weight);
}

static void
context_read_table(DeriveContext *context, int number, DeriveRowCallback callback, void *arg)
{
	DeriveTable *table = open_table(context, number);
	Relation	rel = table_open(table->relid, NoLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;

	if (table->buffer != NULL)
		derive_buffer_flush(table);
	scan = table_beginscan(rel, SnapshotSelf, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		callback(arg, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

void
derive_tables_set_functions(DeriveContext *context)
{
	context->get = context_get;
	context->insert = context_insert;
	context->put = context_put;
	context->remove = context_remove;
	context->replace = context_replace;
	context->add = context_add;
	context->read_table = context_read_table;
}
