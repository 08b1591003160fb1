/*-------------------------------------------------------------------------
 *
 * operators.c
 *	  The derivation "select": a view's SELECT, compiled to a DAG of operators.
 *
 * It is registered and called as every other derivation; what sets it apart is
 * that it looks into the program for deltas instead of asking for changes.
 *
 * An operator reads base tables, other views or the internal derived table of
 * an earlier operator, turns their deltas into the delta of its own table, and
 * changes that table; the last operator's table is the view.  What an operator
 * changed is the delta that later operators of the program read, and, where
 * another view reads this one, the delta that the view adds to the batch.  Each
 * operator sees what earlier ones wrote: the command counter moves and the
 * snapshot's curcid with it.
 *
 * Where a delta is unknown (TRUNCATE, say), the operator that reads it starts
 * over and its table is made equal to the new result by difference.  The
 * difference is an exact delta again, so operators and views after it go on as
 * if nothing had happened.  resync() does that for every operator, a build
 * writes new tables instead.
 *
 * Compiling the same view can give another program than it did: a child makes a
 * key worthless, CREATE OR REPLACE AGGREGATE changes what is kept of a group, a new
 * version of the compiler keeps something else.  Internal tables that do not fit, or
 * that were filled by another program (digest_of()), are not an ERROR; the program is
 * then outdated (program.c) and good for nothing but to say what it reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/debug_point.h"
#include "base/error_context.h"
#include "base/registry.h"
#include "base/rights.h"
#include "compile/query.h"
#include "deposit/fill.h"
#include "derive/compile.h"
#include "materialize/internal_tables.h"
#include "materialize/lookups.h"
#include "materialize/program_internal.h"

/*
 * The planner overestimates smaller tables as long as it knows nothing of them,
 * which does no harm, as plans are kept while they grow.
 */
#define ROWS_TO_ANALYZE	1000

PG_FUNCTION_INFO_V1(derive_select_handler);

/* -------------------------------------------------------------------------
 * Declaring
 * -------------------------------------------------------------------------
 */

static Oid
create_table(void *arg, int operator, char role, TupleDesc desc)
{
	DeriveProgram *program = arg;
	Oid			relid = derive_internal_create(program->view, operator, role, desc);

	if (role == 's')
		derive_internal_index_state(relid);
	return relid;
}

/* InvalidOid if there is none, or one that does not fit. */
static Oid
find_table(void *arg, int operator, char role, TupleDesc desc)
{
	DeriveProgram *program = arg;
	Oid			relid = derive_registry_relation(program->view, operator, role);

	if (!OidIsValid(relid) || !derive_internal_has_columns(relid, desc))
		program->outdated = "an internal table is missing or has other columns";
	else if (role == 's' && !derive_internal_has_state_index(relid))
		program->outdated = "the index of an internal table is missing";
	else
		return relid;
	return InvalidOid;
}

void
derive_check_privileges(DeriveProgram *program, Query *query)
{
	DeriveOwnerContext saved;

	derive_owner_enter(program, &saved);
	AcquireRewriteLocks(query, true, false);
	query = linitial_node(Query, QueryRewrite(query));
	derive_query_check_permissions(query);
	derive_owner_leave(&saved);
}

/* The query of a view as it was declared. */
static Query *
declared_query(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = copyObject(linitial_node(Query, rel->rd_rules->rules[0]->actions));

	table_close(rel, NoLock);
	return query;
}

/* All sources of the operators but for their own derived tables, with the columns that are read. */
static void
collect_sources(DeriveProgram *program)
{
	ListCell   *lc;

	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);

		program->sources = op->routine->sources(op, program->sources);
		if (OidIsValid(op->state))
			program->internal = lappend_oid(program->internal, op->state);
		if (OidIsValid(op->table))
			program->internal = lappend_oid(program->internal, op->table);
	}
	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		/* one that find_table() has not found is no source either */
		if (!OidIsValid(source->relid) || list_member_oid(program->internal, source->relid))
			program->sources = foreach_delete_current(program->sources, lc);
		else if (get_rel_relkind(source->relid) == RELKIND_MATVIEW)
			program->view_sources = list_append_unique_oid(program->view_sources, source->relid);
	}
}

void
derive_depend_on_constraints(DeriveProgram *program)
{
	ObjectAddress view,
				constraint;
	DeriveOperator *op = llast(program->operators->list);
	ListCell   *lc;

	ObjectAddressSet(view, RelationRelationId, program->view);
	foreach(lc, op->constraints)
	{
		ObjectAddressSet(constraint, ConstraintRelationId, lfirst_oid(lc));
		recordDependencyOn(&view, &constraint, DEPENDENCY_NORMAL);
	}
}

/*
 * The unique key of a join is gone when a table gets a child, and back when that
 * is dropped; but the hash that took its place will do for ever.
 */
static void
keep_hash(DeriveProgram *program, DeriveOperator *op)
{
	if (op->constraints != NIL && derive_internal_located_by_hash(program->view, op->number))
	{
		op->locator.unique = false;
		op->locator.nattrs = 0;
		op->constraints = NIL;
	}
}

/* What internal tables and indexes, and the rows in them, follow from. */
static uint64
digest_of(List *operators)
{
	uint64		digest = 0;
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, operators)
		tables = lappend_oid(tables, ((DeriveOperator *) lfirst(lc))->table);
	foreach(lc, operators)
	{
		DeriveOperator *op = lfirst(lc);

		digest = derive_operator_digest(digest, op, tables);
		digest = derive_internal_digest(digest, op->desc, &op->locator);
		if (op->state_desc != NULL)
			digest = derive_internal_digest(digest, op->state_desc, NULL);
	}
	return digest;
}

static void
declare(DeriveContext *context)
{
	DeriveProgram *program = context->internal;
	DeriveTableResolver resolve = program->creating ? create_table : find_table;
	DeriveOperator *last;
	ListCell   *lc;

	program->operators = palloc0(sizeof(DeriveOperators));
	program->operators->list = derive_compile(program->view, program->owner, resolve, program, &program->query);
	program->row_types = derive_query_row_types(program->query);
	program->plain_views = derive_plain_views_below(program->view);
	foreach(lc, program->plain_views)
		program->roles = list_append_unique_oid(program->roles, derive_owner_of(lfirst_oid(lc)));
	derive_check_privileges(program, declared_query(program->view));
	collect_sources(program);
	last = llast(program->operators->list);
	last->table = program->view;
	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);

		program->timed |= op->input != NULL && derive_linear_timed(op->input);
		if (op->verdict != NULL && program->whole == NULL)
			program->whole = op->verdict->construct;
		if (!program->creating)
			keep_hash(program, op);
		else if (op != last || !derive_view_populated(program->view))
			op->index = derive_internal_locator(program->view, op->number, op->table, InvalidOid, &op->locator);
		Assert(op->order == NIL || op != last);
		if (program->creating && op->order != NIL)
			derive_internal_index_order(op->table, op->order);
	}
	if (!program->creating)
	{
		foreach(lc, program->operators->list)
		{
			DeriveOperator *op = lfirst(lc);

			op->index = derive_registry_relation(program->view, op->number, 'i');
		}
		program->unfilled = !OidIsValid(last->index);
	}
	else
	{
		derive_depend_on_constraints(program);
		derive_index_lookups(program->operators->list);
	}
	program->digest = digest_of(program->operators->list);
}

/* -------------------------------------------------------------------------
 * Running
 * -------------------------------------------------------------------------
 */

static void
add_to_target(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_target_add((DeriveTarget *) arg, row, weight);
}

/* A delta for an operator's changes, which goes with the current memory context. */
static DeriveDelta *
create_output(DeriveOperator *op)
{
	Relation	rel = table_open(op->table, AccessShareLock);
	DeriveDelta *output = derive_delta_create(op->table, false, RelationGetDescr(rel));

	table_close(rel, NoLock);
	return output;
}

/* Run one operator: on the batch's deltas, or, if afresh, from its input's contents. */
static void
run_operator(DeriveProgram *program, DeriveOperator *op, bool afresh)
{
	DeriveBatch *batch = program->run->batch;
	bool		is_view = (op->table == program->view);
	DeriveDelta *output = NULL;
	DeriveTarget *target;
	instr_time	start;
	instr_time	duration;

	INSTR_TIME_SET_CURRENT(start);
	if (batch && (!is_view || program->exported))
		output = create_output(op);

	derive_see_own_changes();
	target = derive_target_open(op->table, op->index, &op->locator, output);
	if (is_view && program->observer)
		derive_target_observe(target, program->observer, program->observer_arg);
	if (afresh)
	{
		derive_target_subtract_contents(target);
		op->routine->produce(op, add_to_target, target);
	}
	else
	{
		op->routine->apply(op, batch, target);
		DERIVE_DEBUG_POINT("batch-changes-applied");
	}
	DERIVE_DEBUG_POINT("batch-mid-apply");
	derive_target_close(target, is_view ? program->run->counts : NULL);
	PopActiveSnapshot();
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	if (op->verdict != NULL)
		program->whole_ms += INSTR_TIME_GET_MILLISEC(duration);

	if (output && output->nrows > 0)
		derive_batch_add(batch, output);
}

static void
run_operators(DeriveProgram *program, bool afresh)
{
	ListCell   *lc;

	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);
		const char *unknown = NULL;

		CHECK_FOR_INTERRUPTS();
		if (!afresh && !op->routine->touched(op, program->run->batch, &unknown))
			continue;
		if (unknown)
			elog(DEBUG1, "recomputing an operator of view \"%s\": %s",
				 derive_relation_name(program->view), unknown);
		run_operator(program, op, afresh || unknown);
	}
}

/* -------------------------------------------------------------------------
 * Building
 * -------------------------------------------------------------------------
 */

static void
add_to_fill(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_fill_add(arg, row);
}

static void
build_operators(DeriveProgram *program)
{
	DeriveProgramRun *run = program->run;
	ListCell   *lc;

	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);
		DeriveFill *fill;

		derive_see_own_changes();
		if (run->progress)
			run->progress(run->build_arg, op->table == program->view ? "filling the view" : "filling internal tables");
		fill = derive_fill_begin(op->table);
		op->routine->produce(op, add_to_fill, fill);
		if (run->progress)
			run->progress(run->build_arg, "building indexes");
		derive_before_swap(program, op->table, &op->locator);
		run->rows = derive_fill_finish(fill);
		if (op->table != program->view && run->rows >= ROWS_TO_ANALYZE)
			derive_internal_analyze(op->table);
		op->index = derive_internal_locator(program->view, op->number, op->table, op->index, &op->locator);
		PopActiveSnapshot();
	}
}

/* -------------------------------------------------------------------------
 * The callbacks
 * -------------------------------------------------------------------------
 */

/* REINDEX CONCURRENTLY puts another index in the place of ours; people may drop it. */
static void
ensure_indexes(DeriveProgram *program)
{
	ListCell   *lc;

	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);

		op->index = derive_internal_locator(program->view, op->number, op->table, op->index, &op->locator);
		if (op->order != NIL)
			derive_internal_index_order(op->table, op->order);
	}
}

static void
apply(DeriveContext *context)
{
	DeriveProgram *program = context->internal;

	if (context->building)
	{
		build_operators(program);
		return;
	}
	ensure_indexes(program);
	run_operators(program, false);
}

static void
resync(DeriveContext *context)
{
	DeriveProgram *program = context->internal;

	ensure_indexes(program);
	run_operators(program, true);
}

/* Operators see by the batch what has changed, and whether that is known. */
static void
apply_program(DeriveProgram *program, int64 nchanges, bool unknown, bool truncated)
{
	apply(program->context);
}

static void
resync_program(DeriveProgram *program)
{
	resync(program->context);
}

static void
build_program(DeriveProgram *program)
{
	program->context->building = true;
	apply(program->context);
}

static List *
verdicts(DeriveProgram *program)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, program->operators->list)
	{
		DeriveOperator *op = lfirst(lc);

		if (op->verdict != NULL)
			result = lappend(result, unconstify(DeriveVerdict *, op->verdict));
	}
	return result;
}

const DeriveProgramKind derive_select_program = {
	.apply = apply_program,
	.resync = resync_program,
	.build = build_program,
	.explain = derive_operators_explain,
	.verdicts = verdicts,
	.advice = derive_operators_advice,
};

Datum
derive_select_handler(PG_FUNCTION_ARGS)
{
	static const DeriveRoutine routine = {
		.api_version = DERIVE_API_VERSION,
		.flags = DERIVE_OF_CURRENT_ROWS | DERIVE_TAKES_TRUNCATE,
		.declare = declare,
		.apply = apply,
		.resync = resync,
	};

	PG_RETURN_POINTER(&routine);
}
