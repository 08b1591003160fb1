/*-------------------------------------------------------------------------
 *
 * support.c
 *	  What the derivations that come with pg_derive have in common.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/table.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "derivations/support.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Rows that are taken from a cursor at a time. */
#define ROWS_PER_FETCH 1000

TupleDesc
derive_support_columns(DeriveContext *context, int n, const DeriveSupportColumn *columns)
{
	TupleDesc	desc = CreateTemplateTupleDesc(n);

	for (int i = 0; i < n; i++)
	{
		TupleDescInitEntry(desc, i + 1, columns[i].name, columns[i].type, columns[i].typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, columns[i].collation);
	}
	return desc;
}

/* "user text, session_start timestamp", for a person who gave others. */
static char *
column_list(int n, const DeriveSupportColumn *columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, "%s%s %s", i == 0 ? "" : ", ", quote_identifier(columns[i].name),
						 format_type_be(columns[i].type));
	return list.data;
}

void
derive_support_check_columns(DeriveContext *context, int n, const DeriveSupportColumn *columns)
{
	bool		good = context->desc->natts == n;

	for (int i = 0; i < n && good; i++)
		good = TupleDescAttr(context->desc, i)->atttypid == columns[i].type;
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the columns of the view do not fit derivation \"%s\"", context->name),
				 errdetail("It gives (%s).", column_list(n, columns)),
				 errhint("Leave the columns out, or give %d columns of these types, in this order.", n)));
}

void
derive_support_first_columns_are_key(DeriveContext *context, int n, bool unique)
{
	AttrNumber *keys = palloc(n * sizeof(AttrNumber));
	bool		good = context->nkeys == 0 || context->nkeys == n;

	for (int i = 0; i < n; i++)
	{
		keys[i] = i + 1;
		if (good && context->nkeys > 0)
			good = context->view_column(context, context->keys[i], InvalidOid) == i + 1;
	}
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key of a view by derivation \"%s\" is always its first %d columns",
						context->name, n),
				 errhint("Leave the key out.")));
	context->set_key(context, n, keys, unique);
}

/* Values of variable length may be too long for btree. */
void
derive_support_look_up_by(DeriveContext *context, AttrNumber attno)
{
	bool		fixed = TupleDescAttr(context->desc, attno - 1)->attlen > 0;

	context->add_index(context, fixed ? "btree" : "hash", 1, &attno);
}

void
derive_support_one_source(DeriveContext *context)
{
	if (context->nsources != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("derivation \"%s\" needs one source, not %d", context->name, context->nsources)));
}

AttrNumber
derive_support_column_option(DeriveContext *context, const char *option, bool required)
{
	bool		isnull = false;
	Datum		name;

	name = context->option(context, option, TEXTOID, NULL, required ? NULL : &isnull);
	if (isnull)
		return InvalidAttrNumber;
	return context->source_column(context, 0, TextDatumGetCString(name));
}

AttrNumber
derive_support_named(DeriveContext *context, AttrNumber attno)
{
	if (attno == InvalidAttrNumber)
		return attno;
	return context->source_column(context, 0, NameStr(TupleDescAttr(context->sources[0].desc, attno - 1)->attname));
}

DeriveSupportColumn
derive_support_column(DeriveContext *context, AttrNumber attno, const char *name)
{
	Form_pg_attribute att = TupleDescAttr(context->sources[0].desc, attno - 1);
	DeriveSupportColumn column;

	column.name = name ? name : pstrdup(NameStr(att->attname));
	column.type = att->atttypid;
	column.typmod = att->atttypmod;
	column.collation = att->attcollation;
	return column;
}

DeriveSupportColumn
derive_support_new_column(const char *name, Oid type)
{
	DeriveSupportColumn column;

	column.name = name;
	column.type = type;
	column.typmod = -1;
	column.collation = get_typcollation(type);
	return column;
}

/*
 * Operator classes say whether equal values have equal images: btree uses that
 * for deduplication.
 */
TupleDesc
derive_support_keyed_number(TupleDesc desc, int nkeys, const AttrNumber *keys, const char *name)
{
	TupleDesc	result = CreateTemplateTupleDesc(nkeys + 1);

	for (int i = 0; i < nkeys; i++)
		TupleDescCopyEntry(result, i + 1, desc, keys[i]);
	TupleDescInitEntry(result, nkeys + 1, name, INT8OID, -1, 0);
	return result;
}

void
derive_support_require_image(DeriveContext *context, AttrNumber attno)
{
	Form_pg_attribute att = TupleDescAttr(context->sources[0].desc, attno - 1);
	TypeCacheEntry *entry = lookup_type_cache(att->atttypid, TYPECACHE_BTREE_OPFAMILY);
	Oid			function = InvalidOid;

	if (OidIsValid(entry->btree_opf))
		function = get_opfamily_proc(entry->btree_opf, entry->btree_opintype,
									 entry->btree_opintype, BTEQUALIMAGE_PROC);
	if (!OidIsValid(function) ||
		!DatumGetBool(OidFunctionCall1Coll(function, att->attcollation,
										   ObjectIdGetDatum(entry->btree_opintype))))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("derivation \"%s\" cannot use column \"%s\" of type %s",
						context->name, NameStr(att->attname), format_type_be(att->atttypid)),
				 errdetail("Values of this type or collation can be equal and yet differ, as 1.0 and 1.00 do, or have no order."),
				 errhint("Use a column of another type, or a view with a cast as the source.")));
}

const char *
derive_support_relation(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

const char *
derive_support_attribute(TupleDesc desc, AttrNumber attno)
{
	return quote_identifier(NameStr(TupleDescAttr(desc, attno - 1)->attname));
}

/* The equality operator of the type's default btree operator class. */
const char *
derive_support_equals(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	Form_pg_operator operator;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "type %s has no equality operator", format_type_be(type));
	operator = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(operator->oprnamespace)),
					NameStr(operator->oprname));

	ReleaseSysCache(tuple);
	return text;
}

DeriveSupportConnection
derive_support_connect(void)
{
	DeriveSupportConnection connection;

	SPI_connect();
	connection.guc_level = NewGUCNestLevel();
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return connection;
}

void
derive_support_finish(DeriveSupportConnection connection)
{
	AtEOXact_GUC(true, connection.guc_level);
	SPI_finish();
}

SPIPlanPtr
derive_support_prepare(DeriveContext *context, DeriveSupportStatement *statement,
					   const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	plan;

	if (statement->sql != NULL && strcmp(statement->sql, sql) == 0)
		return statement->plan;

	derive_support_forget(statement);
	plan = SPI_prepare(sql, nargs, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	statement->plan = plan;
	statement->sql = MemoryContextStrdup(context->memory, sql);
	return plan;
}

void
derive_support_forget(DeriveSupportStatement *statement)
{
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	if (statement->sql != NULL)
		pfree(statement->sql);
	statement->plan = NULL;
	statement->sql = NULL;
}

void
derive_support_each(SPIPlanPtr plan, const Datum *values, const char *nulls,
					DeriveSupportRow callback, void *arg)
{
	Portal		portal = SPI_cursor_open(NULL, plan, unconstify(Datum *, values), nulls, true);
	uint64		nrows;

	do
	{
		SPITupleTable *rows;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, ROWS_PER_FETCH);
		rows = SPI_tuptable;
		nrows = SPI_processed;
		for (uint64 i = 0; i < nrows; i++)
			callback(arg, rows->vals[i], rows->tupdesc);
		SPI_freetuptable(rows);
	} while (nrows == ROWS_PER_FETCH);
	SPI_cursor_close(portal);
}

TimestampTz
derive_support_before(TimestampTz time, Interval *span)
{
	/* no month is longer, or shorter */
	double		days = span->month * (span->month < 0 ? 28.0 : 31.0) + span->day + (double) span->time / USECS_PER_DAY;

	if (days > (double) (time - MIN_TIMESTAMP) / USECS_PER_DAY)
		return DT_NOBEGIN;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(time), IntervalPGetDatum(span)));
}

double
derive_support_estimate_rows(Oid relid)
{
	Relation	relation = table_open(relid, AccessShareLock);
	BlockNumber pages;
	double		rows;
	double		visible;

	estimate_rel_size(relation, NULL, &pages, &rows, &visible);
	table_close(relation, AccessShareLock);
	return rows;
}
