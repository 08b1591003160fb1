/*-------------------------------------------------------------------------
 *
 * scratch.c
 *	  Running a derivation in C from nothing.
 *
 * Builds, recomputing and derive.apply() are the same: the derivation gets the
 * rows that its sources have now as insertions, through the callbacks that
 * maintain the view, and writes tables that are there for this purpose only.
 * They are made in a subtransaction that is rolled back once their rows have
 * been copied to tuplestores, so nothing of them remains, and whatever happens
 * meanwhile nobody else sees them.
 *
 * The rows then replace those of the real tables: as new contents (a build),
 * or by difference, so that views and subscribers get exact changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/table.h"
#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/guard.h"
#include "base/gucs.h"
#include "deposit/fill.h"
#include "materialize/internal_tables.h"
#include "materialize/program_internal.h"

/* The derivation once more, with nothing that it remembers. */
static DeriveProgram *
clone_program(DeriveProgram *program)
{
	DeriveProgram *clone = derive_program_without_view(program->tables->definition, program->context->desc);

	clone->context->lsn = program->context->lsn;
	clone->context->time = program->context->time;
	return clone;
}

static void
create_tables(DeriveProgram *program)
{
	for (int i = 0; i < program->tables->ntables; i++)
	{
		DeriveTable *table = program->tables->tables[i];

		table->relid = derive_internal_create_scratch(i, table->desc);
		table->index = derive_internal_index_locator(table->relid, &table->locator);
	}
}

typedef struct CopyRows
{
	Tuplestorestate *rows;
	MemoryContext row_cxt;		/* reset after each row */
} CopyRows;

/* Large values stand in another table, which will be gone, too. */
static void
copy_row(void *arg, TupleTableSlot *row)
{
	CopyRows   *copy = arg;
	TupleDesc	desc = row->tts_tupleDescriptor;
	MemoryContext old = MemoryContextSwitchTo(copy->row_cxt);
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);

	slot_getallattrs(row);
	for (int i = 0; i < desc->natts; i++)
	{
		values[i] = row->tts_values[i];
		if (TupleDescAttr(desc, i)->attlen == -1 && !row->tts_isnull[i] &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			values[i] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(values[i])));
	}
	tuplestore_putvalues(copy->rows, desc, values, row->tts_isnull);
	MemoryContextSwitchTo(old);
	MemoryContextReset(copy->row_cxt);
}

/* In the subtransaction: run, and copy. */
static void
run_in_scratch(DeriveProgram *program, Tuplestorestate **rows, DeriveProgramRun *run)
{
	program->context->building = true;
	create_tables(program);
	derive_see_own_changes();
	derive_context_run(program, program->routine->apply);
	derive_tables_open(program);
	if (run->progress)
		run->progress(run->build_arg, "copying rows");
	for (int i = 0; i < program->tables->ntables; i++)
	{
		CopyRows	copy = {rows[i]};

		copy.row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row", ALLOCSET_DEFAULT_SIZES);
		program->context->read_table(program->context, i, copy_row, &copy);
		MemoryContextDelete(copy.row_cxt);
	}
	derive_tables_close(program);
	PopActiveSnapshot();
}

Tuplestorestate **
derive_scratch_run(DeriveProgram *program, DeriveProgramRun *run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	DeriveProgram *clone = clone_program(program);
	DeriveProgramRun clone_run = {0};
	Tuplestorestate **rows = palloc(sizeof(Tuplestorestate *) * clone->tables->ntables);
	ErrorData  *volatile edata = NULL;
	int			flags = MyXactFlags;

	if (run->progress)
		run->progress(run->build_arg, "deriving");
	for (int i = 0; i < clone->tables->ntables; i++)
		rows[i] = derive_tuplestore_create(derive_work_mem);
	clone->run = &clone_run;

	/*
	 * A subtransaction that ends with the session's transaction would be
	 * taken for one of its user's.
	 */
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run_in_scratch(clone, rows, run);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		edata = derive_copy_error();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	/* nothing temporary is left, so the transaction may be prepared */
	if (!(flags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE))
		MyXactFlags &= ~XACT_FLAGS_ACCESSEDTEMPNAMESPACE;
	derive_program_free(clone);
	if (edata != NULL && edata->sqlerrcode == DERIVE_ERRCODE_DIVERGED)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("derivation \"%s\" writes rows that do not fit together", program->context->name),
				 edata->detail ? errdetail_internal("%s", edata->detail) : 0));
	if (edata != NULL)
		ReThrowError(edata);
	return rows;
}

void
derive_scratch_apply(DeriveProgram *program)
{
	Tuplestorestate **rows = derive_scratch_run(program, program->run);
	DeriveTables *tables = program->tables;

	derive_see_own_changes();
	derive_tables_open(program);
	for (int i = 0; i < tables->ntables; i++)
	{
		DeriveTable *table = tables->tables[i];
		TupleTableSlot *slot = MakeSingleTupleTableSlot(table->desc, &TTSOpsMinimalTuple);

		derive_target_subtract_contents(table->target);
		while (tuplestore_gettupleslot(rows[i], true, false, slot))
			derive_target_add(table->target, slot, 1);
		ExecDropSingleTupleTableSlot(slot);
	}
	derive_tables_close(program);
	PopActiveSnapshot();
	tables->clean = false;
}

void
derive_scratch_fill(DeriveProgram *program)
{
	DeriveProgramRun *run = program->run;
	Tuplestorestate **rows = derive_scratch_run(program, run);
	DeriveTables *tables = program->tables;

	derive_see_own_changes();
	for (int i = tables->ntables - 1; i >= 0; i--)
	{
		DeriveTable *table = tables->tables[i];
		TupleTableSlot *slot = MakeSingleTupleTableSlot(table->desc, &TTSOpsMinimalTuple);
		DeriveFill *fill = derive_fill_begin(table->relid);

		while (tuplestore_gettupleslot(rows[i], true, false, slot))
			derive_fill_add(fill, slot);
		ExecDropSingleTupleTableSlot(slot);
		derive_before_swap(program, table->relid, &table->locator);
		run->rows = derive_fill_finish(fill);
		table->index = derive_internal_locator(program->view, i, table->relid, table->index, &table->locator);
	}
	PopActiveSnapshot();
	tables->clean = false;
}
