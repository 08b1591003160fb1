/*-------------------------------------------------------------------------
 *
 * histories.c
 *	  Looking at histories: derive.as_of() and derive.changes_of().
 *
 * They are queries on the view, put together here, after it was looked at whether
 * the caller may read it.  Whose code may run in them, see foreign_code.c: as_of() is
 * run as the caller, without casts of others; changes_of(), which compares keys, as
 * the view's owner, and its rows become jsonb as in rowjson.c.  Under the fixed
 * search_path, names must be qualified, operators too.
 *
 * What is added: a moment that the history does not know, because
 * it began later or because retention has removed versions since, is an error
 * and not a wrong answer; and a moment that the history has not reached yet is
 * waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/registry.h"
#include "base/rights.h"
#include "base/unlocked.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "derivations/history.h"
#include "derive/definition.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "server/request.h"
#include "sql/foreign_code.h"
#include "sql/rowjson.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(derive_as_of_lsn_sql);
PG_FUNCTION_INFO_V1(derive_as_of_time_sql);
PG_FUNCTION_INFO_V1(derive_changes_of_sql);

/* Rows that are fetched at once. */
#define FETCH_ROWS	1000

/* A history, as these functions see it. */
typedef struct History
{
	Oid			relid;
	const char *table;			/* its name, qualified and quoted */
	TupleDesc	desc;
	int			ncolumns;		/* of the source */
	DeriveDefinition *definition;
	DeriveRowJson json;
} History;


static History *
open_history(Oid relid)
{
	History    *history = palloc0(sizeof(History));
	char	   *name = get_rel_name(relid);
	Relation	rel;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	derive_check_may(relid, ACL_SELECT);
	if (get_rel_relkind(relid) == RELKIND_MATVIEW)
		history->definition = derive_definition_of_view(relid);
	if (history->definition == NULL || strcmp(history->definition->derivation, "history") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a history", name),
				 errhint("Histories are made by derive.create_view() with the derivation \"history\".")));
	history->relid = history->json.view = relid;
	history->table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
	rel = table_open(relid, AccessShareLock);
	history->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	history->ncolumns = history->desc->natts - HISTORY_NCOLUMNS;
	table_close(rel, NoLock);
	return history;
}

/* Name of a column, quoted: of the source's, or ncolumns + one of DeriveHistoryColumn. */
static const char *
column_name(History *history, int i)
{
	return quote_identifier(NameStr(TupleDescAttr(history->desc, i)->attname));
}

static const char *
history_column(History *history, DeriveHistoryColumn column)
{
	return column_name(history, history->ncolumns + column);
}

/* Number of the source's column with this name, or -1. */
static int
find_column(History *history, const char *name)
{
	for (int i = 0; i < history->ncolumns; i++)
		if (strcmp(NameStr(TupleDescAttr(history->desc, i)->attname), name) == 0)
			return i;
	return -1;
}

/* The row of the history's state, as the active snapshot sees it; its values are not pointers.  False: there is none. */
static bool
find_state(Oid relid, Datum *values)
{
	Relation	rel;
	TupleTableSlot *slot;
	TableScanDesc scan;
	bool		found;

	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
	if (found)
	{
		slot_getallattrs(slot);
		memcpy(values, slot->tts_values, sizeof(Datum) * HISTORY_STATE_NCOLUMNS);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return found;
}

static Oid
state_table(History *history)
{
	derive_require_version();
	return derive_registry_relation(history->relid, HISTORY_STATE, 's');
}

static void
read_state(History *history, Datum *values)
{
	Oid			relid = state_table(history);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("history \"%s\" is not maintained", get_rel_name(history->relid)),
				 errhint("Call derive.maintain() for it.")));
	if (!find_state(relid, values))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("history \"%s\" has not been built yet", get_rel_name(history->relid)),
				 errhint("Call derive.wait() for it.")));
}


/* ----------------------------------------------------------------
 *		The rows of a moment
 * ----------------------------------------------------------------
 */

/* Is the moment before the history began, in what was removed, or in the gap? */
static void
unknown_moment(History *history, const char *moment, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("history \"%s\" does not know the rows of %s", get_rel_name(history->relid), moment),
			 errdetail_internal("%s", detail)));
}

static const char *
lsn_text(XLogRecPtr lsn)
{
	return psprintf("%X/%X", LSN_FORMAT_ARGS(lsn));
}

static const char *
time_text(TimestampTz time)
{
	return pstrdup(timestamptz_to_str(time));
}

static void
check_known_lsn(History *history, XLogRecPtr at, const Datum *state)
{
	XLogRecPtr	began = DatumGetLSN(state[HISTORY_STATE_BEGAN_LSN]);
	XLogRecPtr	horizon = DatumGetLSN(state[HISTORY_STATE_HORIZON_LSN]);
	XLogRecPtr	gap = DatumGetLSN(state[HISTORY_STATE_GAP_LSN]);
	XLogRecPtr	gap_end = DatumGetLSN(state[HISTORY_STATE_GAP_END_LSN]);

	if (at < began && began >= horizon)
		unknown_moment(history, lsn_text(at), psprintf(_("It begins at %s."), lsn_text(began)));
	if (at < horizon)
		unknown_moment(history, lsn_text(at), psprintf(_("It is complete from %s on."), lsn_text(horizon)));
	if (at >= gap && at < gap_end)
		unknown_moment(history, lsn_text(at), psprintf(_("What happened between %s and %s was lost."),
													   lsn_text(gap), lsn_text(gap_end)));
}

static void
check_known_time(History *history, TimestampTz at, const Datum *state)
{
	TimestampTz began = DatumGetTimestampTz(state[HISTORY_STATE_BEGAN]);
	TimestampTz horizon = DatumGetTimestampTz(state[HISTORY_STATE_HORIZON]);
	TimestampTz gap = DatumGetTimestampTz(state[HISTORY_STATE_GAP]);
	TimestampTz gap_end = DatumGetTimestampTz(state[HISTORY_STATE_GAP_END]);

	if (at < began && began >= horizon)
		unknown_moment(history, time_text(at), psprintf(_("It begins at %s."), time_text(began)));
	if (at < horizon)
		unknown_moment(history, time_text(at), psprintf(_("It is complete from %s on."), time_text(horizon)));
	if (at >= gap && at < gap_end)
		unknown_moment(history, time_text(at), psprintf(_("What happened between %s and %s was lost."),
														time_text(gap), time_text(gap_end)));
}

/* One that has failed or is paused stays readable up to where it stands. */
static bool
has_reached(History *history, XLogRecPtr lsn)
{
	Datum		state[HISTORY_STATE_NCOLUMNS];
	bool		result;

	PushActiveSnapshot(GetTransactionSnapshot());
	result = find_state(state_table(history), state) && lsn < DatumGetLSN(state[HISTORY_STATE_KNOWN_LSN]);
	PopActiveSnapshot();
	return result;
}

/* Wait until the history has everything that was committed before the LSN (invalid: now). */
static void
wait_for(History *history, XLogRecPtr lsn)
{
	if (!RecoveryInProgress() && (XLogRecPtrIsInvalid(lsn) || !has_reached(history, lsn)))
		(void) derive_wait_for_view(history->relid, lsn, -1);
}

/* A column of the history cast to what the caller wants: by whose code? */
static void
check_cast(Form_pg_attribute from, Form_pg_attribute to)
{
	Node	   *var = (Node *) makeVar(1, from->attnum, from->atttypid, from->atttypmod, from->attcollation, 0);
	Node	   *cast = coerce_to_target_type(NULL, var, from->atttypid, to->atttypid, to->atttypmod,
											 COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);

	if (cast != NULL)			/* else the query will say that there is none */
		derive_refuse_foreign_code(cast, false, NameStr(to->attname));
}

/* The columns that the caller wants, in order; those that were dropped are left out. */
static char *
wanted_columns(History *history, TupleDesc wanted, bool missing_ok)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < wanted->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(wanted, i);
		int			column;

		if (att->attisdropped)
			continue;
		if (list.len > 0)
			appendStringInfoString(&list, ", ");
		column = find_column(history, NameStr(att->attname));
		if (column < 0 && !missing_ok)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("history \"%s\" has no column \"%s\" of its source",
							get_rel_name(history->relid), NameStr(att->attname))));
		if (column < 0)
			appendStringInfoString(&list, "NULL");
		else
		{
			check_cast(TupleDescAttr(history->desc, column), att);
			appendStringInfo(&list, "h.%s::%s", column_name(history, column),
							 format_type_with_typemod(att->atttypid, att->atttypmod));
		}
	}
	return list.data;
}

/* A row of the query's result becomes one of ours. */
typedef void (*RowReceiver) (History *history, ReturnSetInfo *rsinfo, HeapTuple row, TupleDesc rowdesc);

static void
receive_as_it_is(History *history, ReturnSetInfo *rsinfo, HeapTuple row, TupleDesc rowdesc)
{
	TupleDesc	desc = rsinfo->setDesc;
	Datum	   *values = palloc0(sizeof(Datum) * (desc->natts + 1));
	bool	   *nulls = palloc(sizeof(bool) * (desc->natts + 1));
	int			column = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		nulls[i] = true;
		if (!TupleDescAttr(desc, i)->attisdropped)
			values[i] = SPI_getbinval(row, rowdesc, ++column, &nulls[i]);
	}
	tuplestore_putvalues(rsinfo->setResult, desc, values, nulls);
}

/* Run a query of one parameter, and add its rows to the result. */
static void
run_query(History *history, ReturnSetInfo *rsinfo, const char *query, Oid type, Datum parameter,
		  RowReceiver receive)
{
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive row",
												  ALLOCSET_DEFAULT_SIZES);
	Portal		portal;

	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, query, 1, &type, &parameter, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			MemoryContext old = MemoryContextSwitchTo(row_cxt);

			receive(history, rsinfo, SPI_tuptable->vals[row], SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(old);
			MemoryContextReset(row_cxt);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	MemoryContextDelete(row_cxt);
}

/* Prepare the result: of the columns that the caller lists, or of a row type that is given. */
static ReturnSetInfo *
start_result(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			wanted = PG_NARGS() == 3 ? get_fn_expr_argtype(fcinfo->flinfo, 2) : RECORDOID;

	if (!type_is_rowtype(wanted) || get_typtype(wanted) == TYPTYPE_DOMAIN)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("third argument of derive.as_of() must be of a row type"),
				 errhint("Such as NULL::name_of_the_source.")));
	InitMaterializedSRF(fcinfo, PG_NARGS() == 3 ? 0 : MAT_SRF_USE_EXPECTED_DESC);
	return rsinfo;
}

static void
run_as_of(ReturnSetInfo *rsinfo, History *history, bool missing_ok, Oid type, Datum at)
{
	bool		lsn = (type == LSNOID);
	const char *from = history_column(history, lsn ? HISTORY_LSN : HISTORY_COMMITTED_AT);
	const char *until = history_column(history, lsn ? HISTORY_UNTIL_LSN : HISTORY_UNTIL);
	int			guc_level = NewGUCNestLevel();
	char	   *query;

	derive_compat_restrict_search_path();
	query = psprintf("SELECT %s FROM %s h WHERE h.%s OPERATOR(pg_catalog.<=) $1 AND (h.%s IS NULL OR h.%s OPERATOR(pg_catalog.>) $1)",
					 wanted_columns(history, rsinfo->setDesc, missing_ok), history->table, from, until, until);
	run_query(history, rsinfo, query, type, at, receive_as_it_is);
	AtEOXact_GUC(false, guc_level);
}

Datum
derive_as_of_lsn_sql(PG_FUNCTION_ARGS)
{
	History    *history;
	XLogRecPtr	at;
	ReturnSetInfo *rsinfo;
	Datum		state[HISTORY_STATE_NCOLUMNS];

	rsinfo = start_result(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	history = open_history(PG_GETARG_OID(0));
	at = PG_GETARG_LSN(1);
	if (!RecoveryInProgress() && at > GetXLogInsertRecPtr())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the log has not reached %X/%X yet", LSN_FORMAT_ARGS(at))));
	wait_for(history, at);

	PushActiveSnapshot(GetTransactionSnapshot());
	read_state(history, state);
	check_known_lsn(history, at, state);
	run_as_of(rsinfo, history, PG_NARGS() == 3, LSNOID, LSNGetDatum(at));
	PopActiveSnapshot();
	return (Datum) 0;
}

Datum
derive_as_of_time_sql(PG_FUNCTION_ARGS)
{
	History    *history;
	TimestampTz at;
	ReturnSetInfo *rsinfo;
	Datum		state[HISTORY_STATE_NCOLUMNS];

	rsinfo = start_result(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	history = open_history(PG_GETARG_OID(0));
	at = PG_GETARG_TIMESTAMPTZ(1);
	if (at > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is in the future", timestamptz_to_str(at))));

	/* Nothing that comes from now on can have been before the latest version. */
	PushActiveSnapshot(GetTransactionSnapshot());
	read_state(history, state);
	if (at >= DatumGetTimestampTz(state[HISTORY_STATE_LATEST]))
	{
		PopActiveSnapshot();
		wait_for(history, InvalidXLogRecPtr);
		PushActiveSnapshot(GetTransactionSnapshot());
		read_state(history, state);
	}
	check_known_time(history, at, state);
	run_as_of(rsinfo, history, PG_NARGS() == 3, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	PopActiveSnapshot();
	return (Datum) 0;
}


/* ----------------------------------------------------------------
 *		What a transaction did
 * ----------------------------------------------------------------
 */

/* Names of the columns by which rows are known: the declared key, or the source's primary key, if the history has it. */
static List *
key_columns(History *history)
{
	List	   *result = NIL;
	Oid			source = linitial_oid(history->definition->sources);
	Oid			constraint;
	Bitmapset  *columns;
	int			i = -1;

	if (history->definition->keys != NIL)
		return history->definition->keys;
	columns = get_primary_key_attnos(source, false, &constraint);
	while ((i = bms_next_member(columns, i)) >= 0)
	{
		char	   *name = get_attname(source, i + FirstLowInvalidHeapAttributeNumber, false);

		if (find_column(history, name) < 0)
			return NIL;
		result = lappend(result, name);
	}
	return result;
}

/* Is the index one of these columns (numbers of the table's), and of no NULLs? */
static bool
is_of_columns(const DeriveUnlocked *table, const DeriveUnlockedIndex *index, const Bitmapset *columns)
{
	for (int i = 0; i < index->nkeys; i++)
	{
		AttrNumber	attno = index->columns[i];

		if (attno <= 0 || !bms_is_member(attno, columns) || !TupleDescAttr(table->desc, attno - 1)->attnotnull)
			return false;
	}
	return true;
}

/*
 * Can no two rows of the source be the same in these columns, by an index?  Without a lock on it: who may read the
 * history need not be allowed to hold the source.
 */
static bool
name_rows(History *history, List *keys)
{
	const DeriveUnlocked *source = derive_unlocked_read(linitial_oid(history->definition->sources));
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	/* an index of a parent says nothing of its children */
	if (source == NULL || (source->form.relkind == RELKIND_RELATION && source->form.relhassubclass))
		return false;
	foreach(lc, keys)
		columns = bms_add_member(columns, get_attnum(source->relid, lfirst(lc)));
	foreach(lc, source->indexes)
	{
		if (is_of_columns(source, lfirst(lc), columns))
			return true;
	}
	return false;
}

/* The equality operator of a key column, qualified. */
static char *
equality(History *history, const char *column)
{
	int			i = find_column(history, column);
	Oid			type = i < 0 ? InvalidOid : TupleDescAttr(history->desc, i)->atttypid;
	Oid			operator = OidIsValid(type) ? lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr : InvalidOid;
	Form_pg_operator form;
	HeapTuple	tuple;
	char	   *result;

	if (!OidIsValid(operator))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for key column \"%s\"", column)));
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/* A row of the source; NULL if there is no version. */
static char *
row_of_source(History *history, const char *alias)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < history->ncolumns; i++)
		appendStringInfo(&list, "%s%s.%s", i > 0 ? ", " : "", alias, column_name(history, i));
	/* with "r" alone, a column of that name would be meant */
	return psprintf("CASE WHEN %s.%s IS NOT NULL THEN (SELECT (r.*)::pg_catalog.record FROM (SELECT %s) r) END",
					alias, history_column(history, HISTORY_VERSION), list.data);
}

/*
 * Which rows before the transaction became which ones after it, where a key may be that of several: b1 and a1 have those
 * whose key is that of no other one.
 */
static void
append_pairs(StringInfo query, List *keys, const char *version, const char *equal)
{
	StringInfoData columns;
	ListCell   *lc;

	initStringInfo(&columns);
	foreach(lc, keys)
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(lfirst(lc)));
	for (const char *side = "ba"; *side != '\0'; side++)
		appendStringInfo(query, ", %c1 AS (SELECT %s, pg_catalog.min(%s) AS %s FROM %c GROUP BY %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) 1)",
						 *side, columns.data, version, version, *side, columns.data);
	appendStringInfo(query, ", pair AS (SELECT b.%s AS b, a.%s AS a FROM b1 b JOIN a1 a ON %s)", version, version, equal);
}

/* b: what was there before the transaction, a: after it, n: what is there now. */
static char *
changes_query(History *history)
{
	List	   *keys = key_columns(history);
	const char *version = history_column(history, HISTORY_VERSION);
	const char *xid = history_column(history, HISTORY_XID);
	const char *until_xid = history_column(history, HISTORY_UNTIL_XID);
	StringInfoData query;
	StringInfoData equal;
	StringInfoData now;
	ListCell   *lc;

	initStringInfo(&equal);
	initStringInfo(&now);
	foreach(lc, keys)
	{
		const char *key = quote_identifier(lfirst(lc));
		const char *equals = equality(history, lfirst(lc));

		appendStringInfo(&equal, "%sb.%s %s a.%s", equal.len > 0 ? " AND " : "", key, equals, key);
		appendStringInfo(&now, "%sn.%s %s coalesce(a.%s, b.%s)", now.len > 0 ? " AND " : "", key, equals, key, key);
	}

	initStringInfo(&query);
	appendStringInfo(&query,
					 "WITH b AS (SELECT * FROM %s WHERE %s OPERATOR(pg_catalog.=) $1 AND %s IS DISTINCT FROM $1), "
					 "a AS (SELECT * FROM %s WHERE %s OPERATOR(pg_catalog.=) $1 AND %s IS DISTINCT FROM $1), "
					 "n AS (SELECT * FROM %s WHERE %s IS NULL)",
					 history->table, until_xid, xid, history->table, xid, until_xid,
					 history->table, history_column(history, HISTORY_UNTIL_LSN));
	if (keys != NIL)
		append_pairs(&query, keys, version, equal.data);
	appendStringInfo(&query,
					 " SELECT CASE WHEN b.%s IS NULL THEN 'insert' WHEN a.%s IS NULL THEN 'delete' ELSE 'update' END, "
					 "%s, %s, %s, n.%s IS DISTINCT FROM a.%s FROM ",
					 version, version,
					 row_of_source(history, "b"), row_of_source(history, "a"), row_of_source(history, "n"),
					 version, version);

	if (keys != NIL)
		appendStringInfo(&query, "(b LEFT JOIN pair ON pair.b OPERATOR(pg_catalog.=) b.%s) FULL JOIN a ON pair.a OPERATOR(pg_catalog.=) a.%s",
						 version, version);
	else
		appendStringInfo(&query, "b FULL JOIN a ON a.%s OPERATOR(pg_catalog.=) b.%s", version, version);

	/*
	 * Where no key tells now what became of a row, it is there as it was made
	 * then, or it is not.
	 */
	if (keys != NIL && name_rows(history, keys))
		appendStringInfo(&query, " LEFT JOIN n ON %s", now.data);
	else
		appendStringInfo(&query, " LEFT JOIN n ON n.%s OPERATOR(pg_catalog.=) a.%s", version, version);
	appendStringInfo(&query, " ORDER BY coalesce(b.%s, a.%s)", version, version);
	return query.data;
}

/* operation, before, after, now (rows of the source), conflict */
static void
receive_change(History *history, ReturnSetInfo *rsinfo, HeapTuple row, TupleDesc rowdesc)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {false};
	List	   *omitted = NIL;

	for (int i = 0; i < 5; i++)
		values[i] = SPI_getbinval(row, rowdesc, i + 1, &nulls[i]);
	for (int i = 1; i < 4; i++)
	{
		if (!nulls[i])
			values[i] = derive_row_to_jsonb(&history->json, values[i], &omitted);
	}
	values[5] = derive_omitted_array(omitted);
	nulls[5] = (omitted == NIL);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
derive_changes_of_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	History    *history = open_history(PG_GETARG_OID(0));
	DeriveRole	saved;

	InitMaterializedSRF(fcinfo, 0);
	wait_for(history, InvalidXLogRecPtr);
	PushActiveSnapshot(GetTransactionSnapshot());
	derive_role_enter(derive_owner_of(history->relid), &saved);
	run_query(history, rsinfo, changes_query(history), XID8OID, PG_GETARG_DATUM(1), receive_change);
	derive_role_leave(&saved);
	PopActiveSnapshot();
	return (Datum) 0;
}
