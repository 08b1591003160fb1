/*-------------------------------------------------------------------------
 *
 * program.c
 *	  A view's program: its operators, run one after the other.
 *
 * What an operator changed is the delta that later operators of the program
 * read, and, where another view reads this one, the delta that the view adds
 * to the batch.  Each operator sees what earlier ones wrote: the command
 * counter moves and the snapshot's curcid with it.
 *
 * Where a delta is unknown (TRUNCATE, say), the operator that reads it starts
 * over and its table is made equal to the new result by difference.  The
 * difference is an exact delta again, so operators and views after it go on as
 * if nothing had happened.  derive_program_recompute() does that for every
 * operator, derive_program_build() writes new tables instead.
 *
 * Everything runs as the view's owner in a security-restricted operation with
 * a fixed search_path, as in REFRESH MATERIALIZED VIEW.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/registry.h"
#include "delta/consolidate.h"
#include "delta/fill.h"
#include "delta/stream.h"
#include "derive/aggregate.h"
#include "derive/compile.h"
#include "derive/query.h"
#include "materialize/body.h"
#include "materialize/internal.h"
#include "materialize/program.h"

/* What running as the view's owner replaced. */
typedef struct OwnerContext
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} OwnerContext;

static void
enter_owner(Oid owner, OwnerContext *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_RESTRICTED_OPERATION);
	saved->guc_level = NewGUCNestLevel();
	derive_compat_restrict_search_path();
}

static void
leave_owner(OwnerContext *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

/* -------------------------------------------------------------------------
 * Compiling
 * -------------------------------------------------------------------------
 */

static Oid
create_table(void *arg, int operator, char role, TupleDesc desc)
{
	Oid			view = *(Oid *) arg;
	Oid			relid = derive_internal_create(view, operator, role, desc);

	if (role == 's')
		derive_internal_index_state(relid);
	return relid;
}

/*
 * Was the table made for these columns?  How an aggregate is maintained, and
 * so what is kept of it, changes with CREATE OR REPLACE AGGREGATE, for instance.
 */
static bool
has_columns(Oid relid, TupleDesc desc)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	stored = RelationGetDescr(rel);
	bool		result = stored->natts == desc->natts;

	for (int i = 0; result && i < desc->natts; i++)
		result = !TupleDescAttr(stored, i)->attisdropped &&
			TupleDescAttr(stored, i)->atttypid == TupleDescAttr(desc, i)->atttypid;
	table_close(rel, NoLock);
	return result;
}

static Oid
find_table(void *arg, int operator, char role, TupleDesc desc)
{
	Oid			view = *(Oid *) arg;
	Oid			relid = derive_registry_relation(view, operator, role);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("an internal table of view \"%s\" is missing", get_rel_name(view)),
				 errhint("Call derive.release() and derive.maintain().")));
	if (!has_columns(relid, desc))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view \"%s\" is maintained in another way than its internal tables were made for",
						get_rel_name(view)),
				 errhint("Call derive.release() and derive.maintain().")));
	return relid;
}

/* The owner must be allowed to read what the view reads; checked as REFRESH would. */
static void
check_privileges(Oid view, Oid owner)
{
	OwnerContext saved;
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = copyObject(linitial_node(Query, rel->rd_rules->rules[0]->actions));

	table_close(rel, NoLock);
	enter_owner(owner, &saved);
	AcquireRewriteLocks(query, true, false);
	query = linitial_node(Query, QueryRewrite(query));
	derive_compat_check_permissions(pg_plan_query(query, "pg_derive", 0, NULL));
	leave_owner(&saved);
}

/* All sources of the operators but for their own derived tables, with the columns that are read. */
static void
collect_sources(DeriveProgram *program)
{
	ListCell   *lc;

	foreach(lc, program->body->operators)
	{
		DeriveOperator *op = lfirst(lc);

		program->sources = derive_linear_sources(op->input, program->sources);
		if (op->aggregation)
			program->internal = lappend_oid(program->internal, op->aggregation->state_table);
		if (OidIsValid(op->table))
			program->internal = lappend_oid(program->internal, op->table);
	}
	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		if (list_member_oid(program->internal, source->relid))
			program->sources = foreach_delete_current(program->sources, lc);
		else if (get_rel_relkind(source->relid) == RELKIND_MATVIEW)
			program->view_sources = list_append_unique_oid(program->view_sources, source->relid);
	}
}

static DeriveProgram *
compile(Oid view, MemoryContext parent, DeriveTableResolver resolve)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "pg_derive program", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveProgram *program = palloc0(sizeof(DeriveProgram));
	Relation	rel = table_open(view, AccessShareLock);

	program->cxt = cxt;
	program->view = view;
	program->owner = rel->rd_rel->relowner;
	program->body = palloc0(sizeof(DeriveProgramBody));
	if (rel->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", RelationGetRelationName(rel))));
	table_close(rel, NoLock);

	program->body->operators = derive_compile(view, program->owner, resolve, &view, &program->body->query);
	program->row_types = derive_query_row_types(program->body->query);
	check_privileges(view, program->owner);
	collect_sources(program);
	((DeriveOperator *) llast(program->body->operators))->table = view;
	MemoryContextSwitchTo(old);
	return program;
}

DeriveProgram *
derive_program_load(Oid view, MemoryContext parent)
{
	DeriveProgram *program = compile(view, parent, find_table);
	ListCell   *lc;

	foreach(lc, program->body->operators)
	{
		DeriveOperator *op = lfirst(lc);

		op->index = derive_registry_relation(view, op->number, 'i');
	}
	return program;
}

void
derive_program_free(DeriveProgram *program)
{
	MemoryContextDelete(program->cxt);
}

/* -------------------------------------------------------------------------
 * Declaring and dropping
 * -------------------------------------------------------------------------
 */

/*
 * Old row images come from REPLICA IDENTITY FULL.  A worker sets it, later, in
 * a transaction of its own; but only the tables' owner may decide that.
 */
static void
check_identity(DeriveProgram *program)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		foreach(lc2, derive_source_members(source->relid, source->inh))
		{
			Relation	rel = table_open(lfirst_oid(lc2), AccessShareLock);

			if (rel->rd_rel->relkind != RELKIND_MATVIEW &&
				rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL &&
				!derive_owns_relation(RelationGetRelid(rel), GetUserId()))
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("table \"%s\" does not have replica identity FULL",
								RelationGetRelationName(rel)),
						 errdetail("Old row images are needed to maintain a view, and only the owner of the table may have them logged."),
						 errhint("Ask its owner to run ALTER TABLE %s REPLICA IDENTITY FULL.",
								 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
															RelationGetRelationName(rel)))));
			table_close(rel, AccessShareLock);
		}
	}
}

static void
depend_on_constraints(DeriveProgram *program)
{
	ObjectAddress view,
				constraint;
	DeriveOperator *op = llast(program->body->operators);
	ListCell   *lc;

	ObjectAddressSet(view, RelationRelationId, program->view);
	foreach(lc, op->constraints)
	{
		ObjectAddressSet(constraint, ConstraintRelationId, lfirst_oid(lc));
		recordDependencyOn(&view, &constraint, DEPENDENCY_NORMAL);
	}
}

/* Make the locator index of an operator's table and register it. */
static void
create_locator_index(DeriveProgram *program, DeriveOperator *op)
{
	op->index = derive_internal_index_locator(op->table, &op->locator);
	derive_registry_set_relation(program->view, op->number, 'i', op->index);
}

DeriveProgram *
derive_program_create(Oid view)
{
	DeriveProgram *program = compile(view, CurrentMemoryContext, create_table);
	ListCell   *lc;

	check_identity(program);
	foreach(lc, program->body->operators)
		create_locator_index(program, lfirst(lc));
	depend_on_constraints(program);
	return program;
}

void
derive_program_drop(Oid view)
{
	(void) deleteDependencyRecordsForClass(RelationRelationId, view, ConstraintRelationId,
										   DEPENDENCY_NORMAL);
	derive_internal_drop(view);
}

/* -------------------------------------------------------------------------
 * Locks
 * -------------------------------------------------------------------------
 */

List *
derive_program_read_relations(DeriveProgram *program)
{
	List	   *relations = NIL;
	ListCell   *lc;

	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		relations = list_append_unique_oid(relations, source->relid);
		relations = list_concat_unique_oid(relations,
										   derive_source_members(source->relid, source->inh));
	}
	relations = list_concat_unique_oid(relations, program->row_types);
	list_sort(relations, list_oid_cmp);
	return relations;
}

List *
derive_program_write_relations(DeriveProgram *program)
{
	List	   *relations = lappend_oid(list_copy(program->internal), program->view);

	list_sort(relations, list_oid_cmp);
	return relations;
}

uint64
derive_program_row_types_digest(DeriveProgram *program)
{
	uint64		digest = 0;
	ListCell   *lc;

	foreach(lc, program->row_types)
	{
		TupleDesc	desc = lookup_rowtype_tupdesc(get_rel_type_id(lfirst_oid(lc)), -1);

		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			digest = hash_combine64(digest, hash_bytes_extended((const unsigned char *) NameStr(att->attname),
																strlen(NameStr(att->attname)),
																att->atttypid));
		}
		ReleaseTupleDesc(desc);
	}
	return digest;
}

/* -------------------------------------------------------------------------
 * Running
 * -------------------------------------------------------------------------
 */

static void
see_own_changes(void)
{
	CommandCounterIncrement();
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
}

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

/* An index of the operator's table that can serve as its locator, or InvalidOid. */
static Oid
find_locator_index(DeriveOperator *op)
{
	Relation	rel = table_open(op->table, AccessShareLock);
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (derive_locator_matches(index, &op->locator))
			result = lfirst_oid(lc);
		index_close(index, NoLock);
		if (OidIsValid(result))
			break;
	}
	table_close(rel, NoLock);
	return result;
}

/* REINDEX CONCURRENTLY puts another index in the place of ours; people may drop it. */
static void
ensure_index(DeriveProgram *program, DeriveOperator *op)
{
	if (OidIsValid(op->index) && get_rel_relkind(op->index) != '\0' && get_index_isvalid(op->index))
		return;
	op->index = find_locator_index(op);
	if (OidIsValid(op->index))
		derive_registry_set_relation(program->view, op->number, 'i', op->index);
	else
		create_locator_index(program, op);
}

/* Run one operator: on the batch's deltas, or, if afresh, from its input's contents. */
static void
run_operator(DeriveProgram *program, DeriveOperator *op, DeriveBatch *batch, bool afresh,
			 DeriveTargetCounts *counts)
{
	bool		is_view = (op->table == program->view);
	DeriveDelta *output = NULL;
	DeriveTarget *target;

	if (batch && (!is_view || program->exported))
		output = create_output(op);

	see_own_changes();
	target = derive_target_open(op->table, op->index, &op->locator, output);
	if (afresh)
	{
		derive_target_subtract_contents(target);
		op->routine->produce(op, add_to_target, target);
	}
	else
		op->routine->apply(op, batch, target);
	DERIVE_DEBUG_POINT("batch-mid-apply");
	derive_target_close(target, is_view ? counts : NULL);
	PopActiveSnapshot();

	if (output && output->nrows > 0)
		derive_batch_add(batch, output);
}

static void
run_program(DeriveProgram *program, DeriveBatch *batch, bool afresh, DeriveTargetCounts *counts)
{
	OwnerContext saved;
	ListCell   *lc;

	foreach(lc, program->body->operators)
		ensure_index(program, lfirst(lc));
	enter_owner(program->owner, &saved);
	foreach(lc, program->body->operators)
	{
		DeriveOperator *op = lfirst(lc);
		const char *unknown = NULL;

		CHECK_FOR_INTERRUPTS();
		if (!afresh && !derive_linear_touched(op->input, batch, &unknown))
			continue;
		if (unknown)
			elog(DEBUG1, "recomputing an operator of view %u: %s", program->view, unknown);
		run_operator(program, op, batch, afresh || unknown, counts);
	}
	leave_owner(&saved);
}

void
derive_program_apply(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts)
{
	run_program(program, batch, false, counts);
}

void
derive_program_recompute(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts)
{
	run_program(program, batch, true, counts);
}

typedef struct BuildState
{
	DeriveFill *fill;
	DeriveProgress progress;
	void	   *arg;
	const char *phase;
	int64		rows;
} BuildState;

static void
add_to_fill(void *arg, TupleTableSlot *row, int64 weight)
{
	BuildState *build = arg;

	derive_fill_add(build->fill, row);
	if (build->progress && ++build->rows % 1000 == 0)
		build->progress(build->arg, build->phase, build->rows);
}

int64
derive_program_build(DeriveProgram *program, DeriveProgress progress, void *arg)
{
	OwnerContext saved;
	BuildState	build = {.progress = progress,.arg = arg};
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, program->body->operators)
		ensure_index(program, lfirst(lc));
	enter_owner(program->owner, &saved);
	foreach(lc, program->body->operators)
	{
		DeriveOperator *op = lfirst(lc);

		see_own_changes();
		build.phase = op->table == program->view ? "filling the view" : "filling internal tables";
		build.fill = derive_fill_begin(op->table);
		op->routine->produce(op, add_to_fill, &build);
		if (progress)
			progress(arg, "building indexes", build.rows);
		rows = derive_fill_finish(build.fill);
		PopActiveSnapshot();
	}
	leave_owner(&saved);
	return rows;
}

/* -------------------------------------------------------------------------
 * The oracle
 * -------------------------------------------------------------------------
 */

typedef struct Comparison
{
	DeriveConsolidator *rows;
	int64		missing;
	int64		extra;
} Comparison;

static void
compare_add(void *arg, TupleTableSlot *row, int64 weight)
{
	derive_consolidate_add(((Comparison *) arg)->rows, row, weight);
}

static void
compare_result(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	Comparison *comparison = arg;

	if (old)
		comparison->extra += count;
	if (new)
		comparison->missing += count;
}

void
derive_program_compare(DeriveProgram *program, int64 *missing, int64 *extra)
{
	OwnerContext saved;
	Relation	rel;
	TupleTableSlot *slot;
	TableScanDesc scan;
	Comparison	comparison = {0};

	enter_owner(program->owner, &saved);
	see_own_changes();
	rel = table_open(program->view, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	comparison.rows = derive_consolidate_begin(RelationGetDescr(rel), 0, NULL, true);

	derive_query_run(copyObject(program->body->query), NULL, compare_add, &comparison);
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		derive_consolidate_add(comparison.rows, slot, -1);
	}
	table_endscan(scan);
	derive_consolidate_finish(comparison.rows, compare_result, &comparison);

	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	PopActiveSnapshot();
	leave_owner(&saved);
	*missing = comparison.missing;
	*extra = comparison.extra;
}

void
derive_program_invalidate_plans(Oid relid)
{
	derive_plans_invalidate(relid);
}
