/*-------------------------------------------------------------------------
 *
 * declare.c
 *	  Creating views, and putting them under maintenance.
 *
 * derive.create_view() runs CREATE MATERIALIZED VIEW as the caller's own
 * command.  For a derivation in C the query is a call of derive.apply(); see
 * derive/definition.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/debug_point.h"
#include "base/eval_settings.h"
#include "base/groups.h"
#include "base/gucs.h"
#include "base/label.h"
#include "base/registry.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "compile/unqualified.h"
#include "compile/verdict.h"
#include "derive/definition.h"
#include "derive/handlers.h"
#include "fmgr.h"
#include "funcapi.h"
#include "materialize/program.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "server/hooks.h"
#include "server/request.h"
#include "server/shmem.h"
#include "sql/arguments.h"
#include "sql/declare.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(derive_create_view_sql);
PG_FUNCTION_INFO_V1(derive_create_derived_view_sql);
PG_FUNCTION_INFO_V1(derive_create_derived_view_of_text_sql);
PG_FUNCTION_INFO_V1(derive_apply_sql);
PG_FUNCTION_INFO_V1(derive_plan_sql);

static void
warn_of_call(DeriveUnqualifiedCall *call)
{
	char	   *callee = format_procedure_qualified(call->callee);

	ereport(NOTICE,
			(errmsg("function %s may not find function %s when the view is maintained",
					format_procedure(call->caller), callee),
			 errdetail("Views are evaluated with search_path = pg_catalog, pg_temp, and the name is not qualified."),
			 errhint("Qualify the name with its schema, or use ALTER FUNCTION %s SET search_path.",
					 format_procedure(call->caller))));
}

/* ORDER BY that only says in which order the rows are stored at first. */
static void
warn_of_order(Oid view)
{
	Query	   *query = derive_definition_tree(view);

	if (query->sortClause != NIL && query->limitCount == NULL && query->limitOffset == NULL && !query->hasDistinctOn)
		ereport(NOTICE,
				(errmsg("rows of view \"%s\" will have no order", get_rel_name(view)),
				 errdetail("ORDER BY without LIMIT in the query of a view says nothing about the order in which its rows are read."),
				 errhint("Use ORDER BY in the queries that read the view.")));
}

/* A position in the query is none in the statement around it. */
static void
transpose_error_position(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/* The same of one that counts bytes. */
static void
transpose_refusal_position(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
		errposition(pg_mbstrlen_with_len((const char *) arg, position - 1) + 1);
	transpose_error_position(arg);
}

/* A part that costs as much as the whole is told of, or refused. */
static void
announce_recompute(Oid view, const DeriveVerdict *verdict, Query *written, const char *text)
{
	ErrorContextCallback errcallback = {error_context_stack, transpose_refusal_position, unconstify(char *, text)};
	int			location = written != NULL ? derive_verdict_location(verdict, written) : -1;
	const char *refused = derive_allow_recompute ? NULL : "Setting \"pg_derive.allow_recompute\" is off.";

	error_context_stack = &errcallback;
	ereport(refused ? ERROR : NOTICE,
			(errcode(refused ? ERRCODE_FEATURE_NOT_SUPPORTED : ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("view \"%s\" has a part that is computed anew as a whole with every change: %s",
					get_rel_name(view), verdict->construct),
			 errdetail("%s%s%s", verdict->detail, refused ? " " : "", refused ? refused : ""),
			 verdict->hint ? errhint("%s", verdict->hint) : 0,
			 errposition(location + 1)));
	error_context_stack = errcallback.previous;
}

void
derive_refuse_pausing_topic(Oid view)
{
	if (derive_view_is_topic(view))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" cannot be paused", get_rel_name(view)),
				 errdetail("Events that are appended meanwhile would be lost."),
				 errhint("Pause the views that read it instead.")));
}

/* Those of the session, but for those that the label of the view has. */
static ArrayType *
settings_of_declaration(Oid view)
{
	DeriveLabelSettings saved;
	ArrayType  *result;

	derive_view_label_enter(derive_view_label(view), &saved);
	result = derive_settings_current();
	derive_view_label_leave(&saved);
	return result;
}

/* Where the view goes if it reads no other: what its label says, which is of where it was dumped; else the setting. */
static const char *
wanted_group(const DeriveViewLabel *label)
{
	const char *name = label != NULL ? label->group : derive_default_group;

	return name != NULL && name[0] != '\0' ? name : DERIVE_DEFAULT_GROUP_NAME;
}

/*
 * Views that read one another are in one group, and so are a view and the one that is to take its
 * place (beside; or InvalidOid).  Others are in the one that is wanted.  If there is none of that name,
 * they are in the default group: as with default_tablespace, a setting or a dump must not keep anybody
 * from having a view.  What it reads stays there until this view is seen by all.
 */
static int
group_for(Oid view, DeriveProgram *program, Oid beside, const DeriveViewLabel *label)
{
	const char *name = wanted_group(label);
	const DeriveViewRow *first = OidIsValid(beside) ? derive_registry_get(beside) : NULL;
	int			result;
	ListCell   *lc;

	foreach(lc, program->view_sources)
	{
		DeriveViewRow *source;

		if (!DERIVE_DEBUG_SKIPS("declare-keep"))
			derive_group_keep_view(lfirst_oid(lc));
		source = derive_registry_get(lfirst_oid(lc));
		if (source == NULL)
			continue;
		if (first != NULL && first->group != source->group)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("views that read one another must be in one group"),
					 errdetail("View \"%s\" is in group \"%s\", view \"%s\" is in group \"%s\".",
							   get_rel_name(first->relid), derive_group_name(first->group),
							   get_rel_name(source->relid), derive_group_name(source->group)),
					 errhint("Move one of them with derive.move().")));
		first = source;
	}
	result = first != NULL ? first->group : derive_group_number(name, true);
	if (result < 0)
	{
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("group \"%s\" does not exist, view \"%s\" will be in the default group", name, get_rel_name(view)),
				 errhint("Create the group with derive.create_group(), then call derive.move() for the view.")));
		result = DERIVE_DEFAULT_GROUP;
	}
	derive_group_keep(result);
	return result;
}

void
derive_declare_view(Oid view, bool with_data, Oid beside, Query *written, const char *text)
{
	DeriveProgram *program;
	DeriveViewRow *present = derive_registry_get(view);
	DeriveViewLabel *label = derive_view_label(view);
	DeriveViewRow row;
	List	   *advice;
	ListCell   *lc;

	if (present != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("materialized view \"%s\" is already maintained", get_rel_name(view)),
				 present->state != DERIVE_VIEW_PAUSED ? 0 : errhint("Call derive.resume() for the view.")));

	memset(&row, 0, sizeof(row));
	row.relid = view;
	row.state = with_data ? DERIVE_VIEW_BUILDING : DERIVE_VIEW_PAUSED;
	row.created_at = GetCurrentTimestamp();
	row.settings = settings_of_declaration(view);
	derive_registry_insert(&row);

	program = derive_program_create(view);
	row.group = group_for(view, program, beside, label);
	derive_reserve_worker(row.group);
	if (!with_data)
		derive_refuse_pausing_topic(view);
	derive_program_describe(program, &row);
	derive_registry_update(&row);
	foreach(lc, derive_program_verdicts(program))
		announce_recompute(view, lfirst(lc), written, text);
	advice = derive_program_index_advice(program);
	foreach(lc, advice)
		ereport(NOTICE,
				(errmsg("maintaining view \"%s\" would be faster with another index",
						get_rel_name(view)),
				 errhint("%s", (char *) lfirst(lc))));
	warn_of_order(view);
	foreach(lc, program->query ? derive_query_unqualified_calls(program->query) : NIL)
		warn_of_call(lfirst(lc));
	derive_program_free(program);
}

Query *
derive_query_of_command(Query *command)
{
	return castNode(Query, castNode(CreateTableAsStmt, command->utilityStmt)->query);
}

/* Refuse what cannot be maintained, and say where in the query that is.  plan: or else how it would be (of char *). */
static void
try_query(Query *query, const char *text, List **plan)
{
	ErrorContextCallback errcallback = {error_context_stack, transpose_refusal_position, unconstify(char *, text)};

	error_context_stack = &errcallback;
	if (plan != NULL)
		*plan = derive_program_preview(query);
	else
		derive_program_try(query);
	error_context_stack = errcallback.previous;
}

/* name WITH (fillfactor) .. WITH NO DATA */
IntoClause *
derive_new_matview(RangeVar *relation)
{
	IntoClause *into = makeNode(IntoClause);

	into->rel = relation;
	into->options = list_make1(makeDefElem("fillfactor",
										   (Node *) makeInteger(derive_fillfactor), -1));
	into->onCommit = ONCOMMIT_NOOP;
	into->skipData = true;
	return into;
}

/* CREATE MATERIALIZED VIEW into AS query, analysed. */
Query *
derive_analyse_matview(IntoClause *into, const char *query)
{
	ErrorContextCallback errcallback;
	List	   *parsed;
	List	   *analysed;
	RawStmt    *raw;
	CreateTableAsStmt *stmt;

	errcallback.callback = transpose_error_position;
	errcallback.arg = unconstify(char *, query);
	errcallback.previous = error_context_stack;
	error_context_stack = &errcallback;

	parsed = raw_parser(query, RAW_PARSE_DEFAULT);
	if (list_length(parsed) != 1 ||
		!IsA(linitial_node(RawStmt, parsed)->stmt, SelectStmt) ||
		((SelectStmt *) linitial_node(RawStmt, parsed)->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query of a view must be one SELECT or VALUES statement")));

	stmt = makeNode(CreateTableAsStmt);
	stmt->query = linitial_node(RawStmt, parsed)->stmt;
	stmt->into = into;
	stmt->objtype = OBJECT_MATVIEW;

	raw = makeNode(RawStmt);
	raw->stmt = (Node *) stmt;

	analysed = pg_analyze_and_rewrite_fixedparams(raw, query, NULL, 0, NULL);
	error_context_stack = errcallback.previous;
	return linitial_node(Query, analysed);
}

/* That command, run as the caller's own in this schema, so that all rules and rights are the server's. */
Oid
derive_create_matview(Query *command, Oid schema, const char *query)
{
	RangeVar   *relation = castNode(CreateTableAsStmt, command->utilityStmt)->into->rel;
	List	   *plans;
	Oid			result;

	if (!derive_definition_is_call(derive_query_of_command(command)))
		try_query(copyObject(derive_query_of_command(command)), query, NULL);
	plans = pg_plan_queries(list_make1(command), query, 0, NULL);
	ProcessUtility(linitial_node(PlannedStmt, plans), query, false,
				   PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();

	result = get_relname_relid(relation->relname, schema);
	if (!OidIsValid(result))
		elog(ERROR, "could not find the materialized view just created");
	return result;
}

/* What the calls of derive.create_view() have in common. */
typedef struct CreateArguments
{
	RangeVar   *relation;		/* name, maybe with a schema */
	bool		with_data;
	Oid			schema;			/* in which it will be, as CREATE decides */
	Oid			existing;		/* what has the name already, if that is no
								 * error */
} CreateArguments;

/* Those are arguments number 0, flags and flags + 1.  Before anything of the others is looked at. */
static CreateArguments
create_arguments(FunctionCallInfo fcinfo, int flags)
{
	CreateArguments result;
	bool		maintained;

	derive_require_argument(fcinfo, flags);
	derive_require_argument(fcinfo, flags + 1);
	PreventCommandIfReadOnly("derive.create_view()");
	derive_require_service();
	result.relation = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	result.with_data = PG_GETARG_BOOL(flags + 1);
	result.schema = RangeVarGetCreationNamespace(result.relation);
	result.existing = get_relname_relid(result.relation->relname, result.schema);
	if (!OidIsValid(result.existing))
		return result;

	if (!PG_GETARG_BOOL(flags))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", result.relation->relname)));
	if (creating_extension)
	{
		ObjectAddress address;

		/* it could be somebody's who lay in wait for the script */
		ObjectAddressSet(address, RelationRelationId, result.existing);
		checkMembershipInCurrentExtension(&address);
	}
	maintained = derive_registry_get(result.existing) != NULL;
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("relation \"%s\" already exists, skipping", result.relation->relname),
			 maintained ? 0 : errdetail("It is not a maintained view."),
			 maintained || get_rel_relkind(result.existing) != RELKIND_MATVIEW ? 0 :
			 errhint("Call derive.maintain() for the view.")));
	return result;
}

/*
 * CREATE MATERIALIZED VIEW name AS query, as the current user, and put it under
 * maintenance.  Returns the view.
 */
static Oid
create_view(const CreateArguments *arguments, const char *query)
{
	Query	   *command = derive_analyse_matview(derive_new_matview(arguments->relation), query);
	Query	   *written = copyObject(derive_query_of_command(command));
	Oid			view = derive_create_matview(command, arguments->schema, query);

	LockRelationOid(view, AccessExclusiveLock);
	derive_declare_view(view, arguments->with_data, InvalidOid, written, query);
	return view;
}

/* derive.create_view(name, query, if_not_exists, with_data) */
Datum
derive_create_view_sql(PG_FUNCTION_ARGS)
{
	CreateArguments arguments;

	derive_require_arguments(fcinfo, 2);
	arguments = create_arguments(fcinfo, 2);
	if (OidIsValid(arguments.existing))
		PG_RETURN_OID(arguments.existing);
	PG_RETURN_OID(create_view(&arguments, text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/* derive.plan(query): as derive.create_view() would, without a view. */
Datum
derive_plan_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *string;
	Query	   *query;
	List	   *plan;
	ListCell   *lc;

	derive_require_arguments(fcinfo, 1);
	string = text_to_cstring(PG_GETARG_TEXT_PP(0));
	query = derive_query_of_command(derive_analyse_matview(derive_new_matview(makeRangeVar(NULL, "plan", -1)), string));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	try_query(query, string, &plan);
	foreach(lc, plan)
	{
		Datum		value = CStringGetTextDatum(lfirst(lc));
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* "(name type, ...)" */
static char *
columns_text(TupleDesc desc)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		appendStringInfo(&text, "%s%s %s", i == 0 ? "(" : ", ", quote_identifier(NameStr(att->attname)),
						 format_type_extended(att->atttypid, att->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
			appendStringInfo(&text, " COLLATE %s", generate_collation_name(att->attcollation));
	}
	appendStringInfoChar(&text, ')');
	return text.data;
}

/* What a person wrote, in parentheses. */
static char *
in_parentheses(const char *columns)
{
	columns += strspn(columns, " \t\r\n");
	return columns[0] == '(' ? pstrdup(columns) : psprintf("(%s)", columns);
}

/* Is it "true" or the like, and no relation?  Then it was meant for the other create_view(). */
static bool
is_misplaced_flag(const char *source)
{
	bool		value;

	return parse_bool(source, &value) &&
		!OidIsValid(RangeVarGetRelid(makeRangeVar(NULL, pstrdup(source), -1), NoLock, true));
}

/* Sources as people write them: log, "S s".log, or {a, b}. */
static ArrayType *
sources_of_text(char *text)
{
	Datum		source;
	Oid			input;
	Oid			param;

	if (text[strspn(text, " \t\r\n")] == '{')
	{
		getTypeInputInfo(REGCLASSARRAYOID, &input, &param);
		return DatumGetArrayTypeP(OidInputFunctionCall(input, text, param, -1));
	}
	if (is_misplaced_flag(text))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", text),
				 errdetail("The third argument of derive.create_view() is the source of a derivation unless it is of type boolean."),
				 errhint("Write if_not_exists => %s.", text)));
	source = DirectFunctionCall1(regclassin, CStringGetDatum(text));
	return construct_array(&source, 1, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT);
}

/* derive.create_view(name, derivation, sources, columns, key, options, if_not_exists, with_data) */
static Oid
create_derived_view(FunctionCallInfo fcinfo, bool sources_are_text)
{
	CreateArguments arguments;
	DeriveDefinition *definition;
	DeriveProgram *program;
	char	   *columns;

	derive_require_arguments(fcinfo, 3);
	arguments = create_arguments(fcinfo, 6);
	if (OidIsValid(arguments.existing))
		return arguments.existing;
	definition = derive_definition_make(text_to_cstring(PG_GETARG_TEXT_PP(1)),
										sources_are_text ? sources_of_text(text_to_cstring(PG_GETARG_TEXT_PP(2))) :
										PG_GETARG_ARRAYTYPE_P(2),
										PG_ARGISNULL(4) ? NULL : PG_GETARG_ARRAYTYPE_P(4),
										PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5));
	program = derive_program_without_view(definition, NULL);
	columns = PG_ARGISNULL(3) ? columns_text(derive_program_columns(program)) :
		in_parentheses(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	derive_program_free(program);
	return create_view(&arguments, derive_definition_query(definition, columns));
}

Datum
derive_create_derived_view_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(create_derived_view(fcinfo, false));
}

Datum
derive_create_derived_view_of_text_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(create_derived_view(fcinfo, true));
}

/*
 * REFRESH of a maintained view never gets here: our hook lets the worker do what
 * is to be done.  Without the hook, in a server that was started without our
 * library, it would replace the rows of a topic or history by fewer.
 */
static void
check_loaded(DeriveDefinition *definition)
{
	if (derive_shared() != NULL ||
		(derive_find_routine(definition->derivation)->flags & DERIVE_OF_CURRENT_ROWS))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows by derivation \"%s\" cannot be computed while library \"pg_derive\" is not loaded at server start",
					definition->derivation),
			 errdetail("They are more than what the sources have now, and could replace rows that are nowhere else."),
			 errhint("Add \"pg_derive\" to \"shared_preload_libraries\" and restart the server.")));
}

/*
 * derive.apply(derivation, sources, key, options): the rows of a view that is
 * defined so, computed from nothing.
 */
Datum
derive_apply_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DeriveDefinition *definition;
	DeriveProgram *program;
	Tuplestorestate *rows;
	TupleTableSlot *slot;

	PreventCommandDuringRecovery("derive.apply()");
	derive_require_argument(fcinfo, 0);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);

	definition = derive_definition_make(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1),
										PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2),
										PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3));
	check_loaded(definition);
	program = derive_program_without_view(definition, rsinfo->expectedDesc);
	rows = derive_program_rows(program);
	slot = MakeSingleTupleTableSlot(rsinfo->setDesc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rows, true, false, slot))
		tuplestore_puttupleslot(rsinfo->setResult, slot);
	ExecDropSingleTupleTableSlot(slot);
	derive_program_free(program);
	return (Datum) 0;
}
