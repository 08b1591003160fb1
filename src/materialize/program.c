/*-------------------------------------------------------------------------
 *
 * program.c
 *	  A view's program: the derivation that maintains it, at work.
 *
 * What is common to all derivations: finding the one that a view's definition
 * names, its sources and the rights to read them, which relations to lock,
 * running its callbacks as the view's owner, and comparing the view with its
 * definition.  The derivation for SELECTs is in operators.c; what others are
 * given is in context.c.
 *
 * Everything runs as the view's owner in a security-restricted operation with
 * a fixed search_path, as in REFRESH MATERIALIZED VIEW, and under the settings
 * that were recorded when the view was declared (base/eval_settings.c).
 *
 * Outdated programs.  The registry remembers a digest of the program that a view's
 * internal tables were made for: everything that their rows follow from, see
 * derive/identity.c.  A program whose own digest is another one, or whose tables are
 * not there, is outdated:
 *
 *	CREATE TABLE child () INHERITS (parent)		rows of "SELECT .. FROM parent" are
 *												no longer found by the primary key
 *	ALTER TYPE pair DROP ATTRIBUTE b			rows of the view that differ in b
 *												alone are equal now
 *	a library with another compiler				its trees, or DERIVE_COMPILER_VERSION,
 *												are not those of the tables
 *
 * Such a view goes back to the state "building".  Its internal tables are made
 * anew, it is filled like a new one, and readers see its old contents until then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "commands/extension.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
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
#include "base/error_context.h"
#include "base/eval_settings.h"
#include "base/gucs.h"
#include "base/published.h"
#include "base/registry.h"
#include "base/subscribed.h"
#include "compile/check.h"
#include "delta/consolidate.h"
#include "delta/events.h"
#include "delta/stream.h"
#include "deposit/fill.h"
#include "derive/handlers.h"
#include "derive/term.h"
#include "materialize/internal_tables.h"
#include "materialize/program.h"
#include "materialize/program_internal.h"

/* Names that a function looks up were found in the session that declared the view. */
static void
name_not_found(void *arg)
{
	switch (geterrcode())
	{
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_TABLE:
			errhint("Names are looked up with search_path = pg_catalog, pg_temp. "
					"Qualify them with their schemas, or use ALTER FUNCTION ... SET search_path.");
			break;
	}
}

void
derive_owner_enter(DeriveProgram *program, DeriveOwnerContext *saved)
{
	derive_role_enter(program->owner, &saved->role);
	saved->settings_changed = derive_settings_enter(program->settings);
	derive_usercode_enter(&saved->code);
	saved->callback.callback = name_not_found;
	saved->callback.previous = error_context_stack;
	error_context_stack = &saved->callback;
}

void
derive_owner_leave(DeriveOwnerContext *saved)
{
	error_context_stack = saved->callback.previous;
	derive_role_leave(&saved->role);
	derive_settings_leave(saved->settings_changed);
	derive_usercode_leave(&saved->code);
}

bool
derive_view_populated(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	bool		populated = RelationIsPopulated(rel);

	table_close(rel, NoLock);
	return populated;
}

void
derive_see_own_changes(void)
{
	CommandCounterIncrement();
	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
}

/* -------------------------------------------------------------------------
 * Loading
 * -------------------------------------------------------------------------
 */

/* Follow the sources that the definition names; the derivation for SELECTs finds its own. */
static void
add_named_sources(DeriveProgram *program, DeriveDefinition *definition)
{
	ListCell   *lc;

	foreach(lc, definition->sources)
	{
		DeriveSource *source = palloc0(sizeof(DeriveSource));
		AclResult	result;

		/*
		 * before the lock, which is not for everybody; ERROR if it is not
		 * there
		 */
		source->relid = lfirst_oid(lc);
		result = pg_class_aclcheck(source->relid, program->owner, ACL_SELECT);
		if (result != ACLCHECK_OK)
			aclcheck_error(result, get_relkind_objtype(get_rel_relkind(source->relid)), get_rel_name(source->relid));
		LockRelationOid(source->relid, AccessShareLock);
		derive_check_source(source->relid, true, program->owner);

		if (get_rel_relkind(source->relid) == RELKIND_MATVIEW)
			program->view_sources = lappend_oid(program->view_sources, source->relid);
		else
			source->inh = source->events = true;
		program->sources = lappend(program->sources, source);
	}
	if (definition->sources != NIL || strcmp(definition->derivation, DERIVE_SELECT_NAME) == 0)
		return;

	if (!(program->routine->flags & DERIVE_WITHOUT_SOURCES))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("derivation \"%s\" needs a source", definition->derivation)));
	if (OidIsValid(program->view))
	{
		/* events that are addressed to the view itself */
		DeriveSource *source = palloc0(sizeof(DeriveSource));

		source->relid = program->view;
		source->events = true;
		program->sources = lappend(program->sources, source);
	}
}

/* Maintained views have one; a view that is being declared has it already. */
static DeriveViewRow *
registered_row(Oid view)
{
	DeriveViewRow *row = derive_registry_get(view);

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("materialized view \"%s\" is not maintained", get_rel_name(view))));
	return row;
}

static const DeriveProgramKind calling_program;

static DeriveProgram *
make_program(MemoryContext cxt, DeriveDefinition *definition, Oid view, Oid owner, TupleDesc desc, bool creating)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveProgram *program = palloc0(sizeof(DeriveProgram));

	program->cxt = cxt;
	program->view = view;
	program->owner = owner;
	program->roles = list_make1_oid(owner);
	program->creating = creating;
	if (OidIsValid(view))
		program->settings = derive_settings_read(registered_row(view)->settings);
	program->routine = derive_find_routine(definition->derivation);
	add_named_sources(program, definition);
	derive_context_create(program, definition, desc ? CreateTupleDescCopy(desc) : NULL);
	program->kind = strcmp(definition->derivation, DERIVE_SELECT_NAME) == 0 ? &derive_select_program : &calling_program;
	if (desc)
	{
		derive_context_declare(program);
		if (OidIsValid(view) && program->kind->declared != NULL)
			program->kind->declared(program);
	}
	MemoryContextSwitchTo(old);
	return program;
}

/* Its memory; after an ERROR it goes with the caller's. */
static MemoryContext
create_program_context(void)
{
	return AllocSetContextCreate(CurrentMemoryContext, "pg_derive program", ALLOCSET_DEFAULT_SIZES);
}

static void
refuse_outdated(DeriveProgram *program)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("view \"%s\" is maintained in another way than its internal tables were made for",
					get_rel_name(program->view)),
			 errhint("Call derive.release() and derive.maintain().")));
}

/* Do the internal tables fit what the definition means now? */
static void
check_outdated(DeriveProgram *program)
{
	DeriveViewRow *row = derive_registry_get(program->view);

	if (program->outdated == NULL && row != NULL && (uint64) row->program != program->digest)
		program->outdated = "its internal tables were made to maintain it in another way";
	if (program->outdated != NULL &&
		!(program->routine->flags & DERIVE_OF_CURRENT_ROWS) && program->routine->resync == NULL)
		refuse_outdated(program);
}

static DeriveProgram *
program_of_view(Oid view, MemoryContext parent, bool creating)
{
	MemoryContext cxt = create_program_context();
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveDefinition *definition = derive_definition_of_view(view);
	Relation	rel = table_open(view, AccessShareLock);
	DeriveProgram *program = make_program(cxt, definition, view, rel->rd_rel->relowner,
										  RelationGetDescr(rel), creating);

	table_close(rel, NoLock);
	if (!creating)
		check_outdated(program);
	if (DERIVE_DEBUG_SKIPS("incremental") || DERIVE_DEBUG_SKIPS(psprintf("incremental-%s", get_rel_name(view))))
		program->whole = "a debug point";
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, parent);
	return program;
}

DeriveProgram *
derive_program_load(Oid view, MemoryContext parent)
{
	DeriveErrorContext context;
	DeriveProgram *program;

	derive_error_context_enter(&context, DERIVE_DOING_LOAD, view, NULL, NULL, InvalidXLogRecPtr);
	program = program_of_view(view, parent, false);
	derive_error_context_leave(&context);
	return program;
}

DeriveProgram *
derive_program_without_view(DeriveDefinition *definition, TupleDesc desc)
{
	if (strcmp(definition->derivation, DERIVE_SELECT_NAME) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("derivation \"%s\" takes a query", definition->derivation),
				 errhint("Call derive.create_view() with a name and a query.")));
	return make_program(create_program_context(), definition, InvalidOid, GetUserId(), desc, false);
}

TupleDesc
derive_program_columns(DeriveProgram *program)
{
	MemoryContext old = MemoryContextSwitchTo(program->cxt);
	TupleDesc	desc;

	if (program->routine->columns == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("derivation \"%s\" has no default columns", program->context->name),
				 errhint("Name the columns of the view: columns => '(name type, ...)'.")));
	desc = program->routine->columns(program->context);
	if (desc == NULL)
		elog(ERROR, "derivation \"%s\" returned no columns", program->context->name);
	MemoryContextSwitchTo(old);
	return desc;
}

void
derive_program_free(DeriveProgram *program)
{
	if (program->routine->end != NULL && program->context->desc != NULL)
		program->routine->end(program->context);
	MemoryContextDelete(program->cxt);
}

/* -------------------------------------------------------------------------
 * Declaring and dropping
 * -------------------------------------------------------------------------
 */

/* key_would_do: also a key in place of FULL. */
static void
check_identity_of(Oid relid, bool key_would_do, bool pglogical)
{
	const char *name = get_rel_name(relid);
	const char *qualified = derive_relation_name(relid);
	const char *hint;
	char	   *reason;

	if (!derive_owns_relation(relid, GetUserId()) && key_would_do)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" has neither a usable replica identity nor replica identity FULL", name),
				 errdetail("The write-ahead log must tell which rows are updated or deleted, and only the owner of the table may have that logged."),
				 errhint("Ask its owner to add a primary key, or to run ALTER TABLE %s REPLICA IDENTITY FULL.", qualified)));
	else if (!derive_owns_relation(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" does not have replica identity FULL", name),
				 errdetail("Old row images are needed to maintain a view, and only the owner of the table may have them logged."),
				 errhint("Ask its owner to run ALTER TABLE %s REPLICA IDENTITY FULL.", qualified)));
	if (derive_subscription_needs_identity(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" cannot get replica identity FULL, since a subscription finds its rows by the index that is its replica identity", name),
				 errdetail("Old row images are needed to maintain a view."),
				 errhint("Add a primary key, by which the subscription finds them as well; or set replica identity FULL on the publisher, and then here.")));
	reason = derive_publication_refuses_full(relid, &hint);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" cannot get replica identity FULL, since %s", name, reason),
				 errdetail("Old row images are needed to maintain a view, and with them the server would refuse every UPDATE and DELETE of the table."),
				 errhint("%s%s", key_would_do ? "Add a primary key; or: " : "", hint)));
	if (pglogical)
		ereport(NOTICE,
				(errmsg("table \"%s\" gets replica identity FULL, which pglogical cannot replicate", name),
				 errdetail("Old row images are needed to maintain a view; pglogical needs an index instead, on the provider and on the subscriber."),
				 errhint("If pglogical replicates this table, use a publication instead, or drop the view and set the replica identity back.")));
}

/*
 * Of an updated or deleted row the log must tell the key, by which the row is found
 * among the old row versions, or all of it.  What a table logs only its owner may
 * decide; a worker sets it, later, in a transaction of its own.
 */
static void
check_identity(DeriveProgram *program)
{
	bool		pglogical = OidIsValid(get_extension_oid("pglogical", true));
	ListCell   *lc,
			   *lc2;

	foreach(lc, program->sources)
	{
		DeriveSource *source = lfirst(lc);

		foreach(lc2, derive_source_without_identity(source))
			check_identity_of(lfirst_oid(lc2), !source->events && derive_old_rows_are_read(), pglogical);
	}
}

/* The recorded settings name a configuration; one of PostgreSQL's own stays anyway. */
void
derive_depend_on_text_search(DeriveProgram *program)
{
	ObjectAddress view,
				config;

	ObjectAddressSet(view, RelationRelationId, program->view);
	ObjectAddressSet(config, TSConfigRelationId, derive_settings_text_search_config(program->settings));
	if (config.objectId >= FirstNormalObjectId)
		recordDependencyOn(&view, &config, DEPENDENCY_NORMAL);
}

DeriveProgram *
derive_program_create(Oid view)
{
	DeriveProgram *program = program_of_view(view, CurrentMemoryContext, true);

	check_identity(program);
	derive_depend_on_text_search(program);
	return program;
}

void
derive_forget_dependencies(Oid view)
{
	const Oid	classes[] = {ConstraintRelationId, TSConfigRelationId, TSDictionaryRelationId};

	for (int i = 0; i < lengthof(classes); i++)
		(void) deleteDependencyRecordsForClass(RelationRelationId, view, classes[i], DEPENDENCY_NORMAL);
}

void
derive_program_drop(Oid view)
{
	derive_forget_dependencies(view);
	derive_internal_drop(view);
}

void
derive_program_describe(DeriveProgram *program, DeriveViewRow *row)
{
	row->program = (int64) program->digest;
	row->timed = program->timed;
	row->maintained = program->whole != NULL ? DERIVE_MAINTAINED_AS_A_WHOLE : DERIVE_MAINTAINED_INCREMENTALLY;
}

void
derive_program_renew(Oid view)
{
	DeriveViewRow *row = derive_registry_get(view);
	DeriveProgram *program;

	derive_forget_dependencies(view);
	derive_internal_drop_tables(view);
	program = program_of_view(view, CurrentMemoryContext, true);
	derive_depend_on_text_search(program);
	derive_program_describe(program, row);
	derive_registry_update(row);
	derive_program_free(program);
}

void
derive_program_check_stable(DeriveProgram *program)
{
	DeriveProgram *again;

	if (!program->kind->drifts)
		return;
	again = program_of_view(program->view, CurrentMemoryContext, false);
	if (again->digest != program->digest || (again->outdated == NULL) != (program->outdated == NULL))
		refuse_outdated(program);
	derive_program_free(again);
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
	relations = list_concat_unique_oid(relations, program->plain_views);
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

	if (!(program->routine->flags & DERIVE_OF_CURRENT_ROWS))
		return 0;
	foreach(lc, program->row_types)
	{
		TupleDesc	desc = lookup_rowtype_tupdesc(get_rel_type_id(lfirst_oid(lc)), -1);

		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			digest = hash_combine64(digest, hash_bytes_extended((const unsigned char *) NameStr(att->attname),
																strlen(NameStr(att->attname)),
																att->atttypid));
			digest = hash_combine64(digest, hash_bytes_uint32_extended(att->atttypmod, att->attcollation));
		}
		ReleaseTupleDesc(desc);
	}
	return digest;
}

uint64
derive_program_columns_digest(DeriveProgram *program)
{
	return program->tables->columns_digest;
}

/* -------------------------------------------------------------------------
 * Running
 * -------------------------------------------------------------------------
 */

/* Changes of a view are known from its delta, those of a table that is followed event by event from the log. */
static int64
changes_of_source(DeriveProgram *program, DeriveSource *source, DeriveBatch *batch, bool *unknown, bool *truncated)
{
	DeriveDelta *delta;

	if (source->events)
	{
		List	   *members = derive_source_members(source->relid, source->inh);
		int64		result = batch->log == NULL ? 0 :
		derive_events_count(batch->log, members, batch->from, batch->to, unknown, truncated);

		/* what a partition had, among others, nobody can tell */
		*unknown |= *truncated && list_length(members) > 1 &&
			!(program->routine->flags & DERIVE_TAKES_PARTITION_TRUNCATE);
		return result;
	}
	delta = derive_batch_find(batch, source->relid, source->inh);
	if (delta == NULL)
		return 0;
	*unknown |= delta->unknown;
	return delta->nrows;
}

static int64
count_changes(DeriveProgram *program, DeriveBatch *batch, bool *unknown, bool *truncated)
{
	int64		result = 0;
	ListCell   *lc;

	*unknown = *truncated = false;
	foreach(lc, program->sources)
	{
		bool		unknown_here = false;
		bool		truncated_here = false;

		result += changes_of_source(program, lfirst(lc), batch, &unknown_here, &truncated_here);
		*unknown |= unknown_here;
		*truncated |= truncated_here;
	}
	return result;
}

int64
derive_program_changes(DeriveProgram *program, DeriveBatch *batch)
{
	bool		unknown;
	bool		truncated;
	int64		result = count_changes(program, batch, &unknown, &truncated);

	if (program->timed && derive_batch_passes_time(batch))
		return result;
	return result > 0 || unknown || truncated ? result : -1;
}

static void
resync_by_calls(DeriveProgram *program)
{
	if (program->routine->resync != NULL)
		derive_context_run(program, program->routine->resync);
	else if (program->routine->flags & DERIVE_OF_CURRENT_ROWS)
		derive_scratch_apply(program);
	else
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes that view \"%s\" needs are lost", get_rel_name(program->view)),
				 errdetail("Derivation \"%s\" cannot tell from the rows that its sources have now what was done to them.",
						   program->context->name),
				 errhint("Drop the view and create it again.")));
}

static void
apply_by_calls(DeriveProgram *program, int64 nchanges, bool unknown, bool truncated)
{
	if (unknown || (truncated && !(program->routine->flags & DERIVE_TAKES_TRUNCATE)))
	{
		elog(DEBUG1, "recomputing view \"%s\": %s", derive_relation_name(program->view),
			 truncated ? "a source was truncated" : "changes of its sources are not known");
		resync_by_calls(program);
	}
	else
		derive_context_run(program, nchanges > 0 || truncated ? program->routine->apply : NULL);
}

static void
apply(DeriveProgram *program)
{
	bool		unknown;
	bool		truncated;
	int64		nchanges = count_changes(program, program->run->batch, &unknown, &truncated);

	program->run->changes = nchanges;
	program->kind->apply(program, nchanges, unknown, truncated);
}

static void
resync(DeriveProgram *program)
{
	program->kind->resync(program);
}

/*
 * Is what the view contains more than the rows that its sources have now can
 * tell?  Then it is continued.
 */
static bool
keeps_past(DeriveProgram *program)
{
	return !(program->routine->flags & DERIVE_OF_CURRENT_ROWS) && program->routine->resync != NULL;
}

/* Has it written anything into its state tables? */
static bool
has_state(DeriveProgram *program)
{
	bool		result = false;

	for (int i = DERIVE_VIEW + 1; i < program->tables->ntables; i++)
	{
		Relation	rel = table_open(program->tables->tables[i]->relid, NoLock);

		result |= RelationGetNumberOfBlocks(rel) > 0;
		table_close(rel, NoLock);
	}
	return result;
}

/* Somebody emptied a view that kept more than can be computed: say so, and let it go on without. */
static void
continue_emptied(DeriveProgram *program)
{
	(void) derive_fill_finish(derive_fill_begin(program->view));
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the rows of view \"%s\" are lost", get_rel_name(program->view)),
			 errdetail("Somebody emptied it while the server ran without \"pg_derive\" in \"shared_preload_libraries\". By derivation \"%s\" they cannot be computed anew.",
					   program->context->name)));
	program->context->emptied = true;
	derive_see_own_changes();
	resync(program);
	PopActiveSnapshot();
	program->context->emptied = false;
}

static void
build_by_calls(DeriveProgram *program)
{
	if (derive_view_populated(program->view) && keeps_past(program))
	{
		/*
		 * its rows stay, but what is found by the locator may be another hash
		 * now
		 */
		if (program->unfilled)
			derive_before_swap(program, program->view, NULL);
		resync(program);
		return;
	}
	if (keeps_past(program) && has_state(program))
	{
		continue_emptied(program);
		return;
	}
	program->context->building = true;
	derive_scratch_fill(program);
}

static void
build(DeriveProgram *program)
{
	program->kind->build(program);
}

/* Who calls derive.apply() without a view knows what he does. */
static void
enter_error_context(DeriveProgram *program, DeriveErrorContext *context, DeriveDoing doing, DeriveBatch *batch,
					XLogRecPtr lsn)
{
	if (!OidIsValid(program->view))
		return;
	if (batch != NULL && batch->from != NULL)
		derive_error_context_enter(context, doing, program->view, batch->from, batch->to, lsn);
	else
		derive_error_context_enter(context, doing, program->view, NULL,
								   derive_position_from_snapshot(GetActiveSnapshot()), lsn);
}

static void
leave_error_context(DeriveProgram *program, DeriveErrorContext *context)
{
	if (OidIsValid(program->view))
		derive_error_context_leave(context);
}

/* All ways to run a program: as the view's owner. */
static void
run_as_owner(DeriveProgram *program, DeriveProgramRun *run, DeriveDoing doing, void (*what) (DeriveProgram *program))
{
	DeriveOwnerContext saved;
	DeriveErrorContext context;

	if (program->outdated != NULL)
		elog(ERROR, "the program of view \"%s\" does not fit its internal tables: %s",
			 derive_relation_name(program->view), program->outdated);
	program->run = run;
	program->whole_ms = 0;
	program->context->building = program->context->emptied = false;
	program->context->log_lost = program->log_lost;
	program->context->lsn = run->batch && run->batch->lsn ? run->batch->lsn : GetXLogInsertRecPtr();
	program->context->covered = run->batch ? run->batch->covered : InvalidXLogRecPtr;
	program->context->time = run->batch && run->batch->time ? run->batch->time : GetCurrentTimestamp();
	derive_plan_set_time(run->batch && run->batch->from ? run->batch->from->time : 0, program->present);
	enter_error_context(program, &context, doing, run->batch, program->context->lsn);
	derive_owner_enter(program, &saved);
	PG_TRY();
	{
		what(program);
	}
	PG_FINALLY();
	{
		program->run = NULL;
	}
	PG_END_TRY();
	derive_owner_leave(&saved);
	leave_error_context(program, &context);
}

int64
derive_program_apply(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts)
{
	DeriveProgramRun run = {.batch = batch,.counts = counts};

	run_as_owner(program, &run, DERIVE_DOING_CHANGE, apply);
	return run.changes;
}

void
derive_program_recompute(DeriveProgram *program, DeriveBatch *batch, DeriveTargetCounts *counts)
{
	DeriveProgramRun run = {.batch = batch,.counts = counts};

	derive_fill_lock_dependencies(derive_program_write_relations(program));
	run_as_owner(program, &run, DERIVE_DOING_RECOMPUTE, resync);
}

void
derive_before_swap(DeriveProgram *program, Oid relid, const DeriveLocator *locator)
{
	if (relid == program->view && program->run->take_lock != NULL)
		program->run->take_lock(program->run->build_arg, relid);
	derive_internal_drop_misfits(relid, locator);
}

int64
derive_program_build(DeriveProgram *program, DeriveProgress progress, DeriveTakeLock take_lock, void *arg)
{
	DeriveProgramRun run = {.progress = progress,.take_lock = take_lock,.build_arg = arg};

	derive_fill_lock_dependencies(derive_program_write_relations(program));
	run_as_owner(program, &run, DERIVE_DOING_FILL, build);
	return run.rows;
}

static void
compute_contents(DeriveProgram *program)
{
	program->run->contents = derive_scratch_run(program, program->run)[DERIVE_VIEW];
}

Tuplestorestate *
derive_program_rows(DeriveProgram *program)
{
	DeriveProgramRun run = {0};

	run_as_owner(program, &run, DERIVE_DOING_FILL, compute_contents);
	return run.contents;
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

static uint32
flags_of_view(Oid view)
{
	return derive_find_routine(derive_definition_of_view(view)->derivation)->flags;
}

bool
derive_view_comparable(Oid view)
{
	return (flags_of_view(view) & DERIVE_OF_CURRENT_ROWS) != 0;
}

void
derive_check_comparable(Oid view)
{
	const char *name = derive_definition_of_view(view)->derivation;

	if (!derive_view_comparable(view))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("view \"%s\" cannot be verified", get_rel_name(view)),
				 errdetail("By derivation \"%s\" it is not a function of the rows that its sources have now.", name)));
}

bool
derive_view_is_topic(Oid view)
{
	return (flags_of_view(view) & DERIVE_WITHOUT_SOURCES) != 0;
}

void
derive_program_compare(DeriveProgram *program, int64 *missing, int64 *extra)
{
	DeriveOwnerContext saved;
	DeriveErrorContext context;
	Relation	rel;
	TupleTableSlot *slot;
	TableScanDesc scan;
	Comparison	comparison = {0};

	derive_check_comparable(program->view);
	enter_error_context(program, &context, DERIVE_DOING_COMPARE, NULL, GetXLogInsertRecPtr());
	derive_owner_enter(program, &saved);
	derive_plan_set_time(0, program->present);
	derive_see_own_changes();
	rel = table_open(program->view, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	comparison.rows = derive_consolidate_begin(RelationGetDescr(rel), 0, NULL, true);

	derive_query_run(copyObject(program->query), NULL, compare_add, &comparison);
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
	derive_owner_leave(&saved);
	leave_error_context(program, &context);
	*missing = comparison.missing;
	*extra = comparison.extra;
}

void
derive_program_invalidate_plans(Oid relid)
{
	derive_plans_invalidate(relid);
}

/* -------------------------------------------------------------------------
 * For people
 * -------------------------------------------------------------------------
 */

/* Who asks and finds other results than the view's wants to know why. */
static List *
explain_settings(DeriveProgram *program, List *lines)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, derive_settings_differences(program->settings))
		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", (char *) lfirst(lc));
	return text.len > 0 ? lappend(lines, psprintf("  Settings: %s", text.data)) : lines;
}

static List *
explain_calls(DeriveProgram *program)
{
	StringInfoData text;
	List	   *lines = NIL;
	char	   *line;
	char	   *rest;
	ListCell   *lc;
	DeriveOwnerContext saved;

	lines = lappend(lines, psprintf("derivation %s -> view %s", program->context->name,
									derive_relation_name(program->view)));
	initStringInfo(&text);
	if (program->routine->explain != NULL)
	{
		derive_owner_enter(program, &saved);
		program->routine->explain(program->context, &text);
		derive_owner_leave(&saved);
	}
	for (line = strtok_r(text.data, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		lines = lappend(lines, psprintf("    %s", line));
	if (program->routine->resync == NULL && (program->routine->flags & DERIVE_OF_CURRENT_ROWS))
		lines = lappend(lines, "    After TRUNCATE or lost changes: computed anew");
	foreach(lc, program->context->nsources > 0 ? program->sources : NIL)
	{
		Oid			relid = ((DeriveSource *) lfirst(lc))->relid;

		lines = lappend(lines, psprintf("  <- %s %s", get_rel_relkind(relid) == RELKIND_MATVIEW ? "changes of view" : "changes of",
										derive_relation_name(relid)));
	}
	return lines;
}

static List *
nothing_of_calls(DeriveProgram *program)
{
	return NIL;
}

static const DeriveProgramKind calling_program = {
	.drifts = true,
	.declared = derive_context_declared,
	.apply = apply_by_calls,
	.resync = resync_by_calls,
	.build = build_by_calls,
	.explain = explain_calls,
	.verdicts = nothing_of_calls,
	.advice = nothing_of_calls,
};

/* Of which tables the log lacks old rows, since publications stand in the way. */
static List *
explain_identity(DeriveProgram *program, List *lines)
{
	const char *hint;
	ListCell   *lc,
			   *lc2;

	foreach(lc, program->sources)
	{
		foreach(lc2, derive_source_without_identity(lfirst(lc)))
		{
			char	   *reason = derive_publication_refuses_full(lfirst_oid(lc2), &hint);

			if (reason != NULL)
				lines = lappend(lines, psprintf("Old rows of %s are not in the log, since %s. %s",
												derive_relation_name(lfirst_oid(lc2)), reason, hint));
		}
	}
	return lines;
}

List *
derive_program_explain(DeriveProgram *program)
{
	if (program->outdated != NULL)
		return list_make1(psprintf("view %s is about to be built anew: %s",
								   derive_relation_name(program->view), program->outdated));
	return explain_identity(program, explain_settings(program, program->kind->explain(program)));
}

List *
derive_program_verdicts(DeriveProgram *program)
{
	return program->kind->verdicts(program);
}

List *
derive_program_index_advice(DeriveProgram *program)
{
	return program->kind->advice(program);
}
