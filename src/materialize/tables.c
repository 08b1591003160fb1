/*-------------------------------------------------------------------------
 *
 * tables.c
 *	  The tables that a derivation in C writes: the view and state tables.
 *
 * All of them are written through targets (delta/target.h), row by row, so that
 * a callback sees what it did.  Rows are found by the key's index: a unique one
 * on columns of fixed length, else one on a hash of the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am_d.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/registry.h"
#include "materialize/body.h"
#include "materialize/internal.h"

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

	table->locator.unique = unique && indexable(table->desc, nkeys, keys);
	table->locator.nattrs = nkeys;
	table->locator.attrs = palloc(sizeof(AttrNumber) * Max(nkeys, 1));
	memcpy(table->locator.attrs, keys, sizeof(AttrNumber) * nkeys);
	MemoryContextSwitchTo(old);
}

void
derive_tables_create(DeriveProgram *program)
{
	ListCell   *lc;

	for (int i = 0; i < program->tables->ntables; i++)
	{
		DeriveTable *table = program->tables->tables[i];

		table->relid = i == DERIVE_VIEW ? program->view : derive_internal_create(program->view, i, 's', table->desc);
		table->index = derive_internal_locator(program->view, i, table->relid, InvalidOid, &table->locator);
		if (i != DERIVE_VIEW)
			program->internal = lappend_oid(program->internal, table->relid);
	}
	foreach(lc, program->tables->indexes)
	{
		DeriveIndex *index = lfirst(lc);

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
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("view \"%s\" is maintained in another way than its internal tables were made for",
							get_rel_name(program->view)),
					 errhint("Call derive.release() and derive.maintain().")));
		table->index = derive_registry_relation(program->view, i, 'i');
		if (i != DERIVE_VIEW)
			program->internal = lappend_oid(program->internal, table->relid);
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

static TupleTableSlot *
row_of(DeriveTable *table, const Datum *values, const bool *isnull)
{
	int			natts = table->desc->natts;

	ExecClearTuple(table->row);
	memcpy(table->row->tts_values, values, sizeof(Datum) * natts);
	memcpy(table->row->tts_isnull, isnull, sizeof(bool) * natts);
	return ExecStoreVirtualTuple(table->row);
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
	return ExecStoreVirtualTuple(table->row);
}

static TupleTableSlot *
lookup(DeriveTable *table, TupleTableSlot *row)
{
	TupleTableSlot *found = derive_target_lookup(table->target, row);

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

	table->found = false;
	derive_target_insert(table->target, row_of(table, values, isnull));
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
	derive_target_replace_found(table->target, values ? row_of(table, values, isnull) : NULL);
}

static void
context_put(DeriveContext *context, int number, const Datum *values, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);
	TupleTableSlot *row = row_of(table, values, isnull);

	if (lookup(table, row) != NULL)
		derive_target_replace_found(table->target, row);
	else
		derive_target_insert(table->target, row);
	table->found = false;
}

static bool
context_remove(DeriveContext *context, int number, const Datum *key, const bool *isnull)
{
	DeriveTable *table = open_table(context, number);

	if (lookup(table, key_of(table, key, isnull)) == NULL)
		return false;
	table->found = false;
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
	TableScanDesc scan = table_beginscan(rel, SnapshotSelf, 0, NULL);

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
