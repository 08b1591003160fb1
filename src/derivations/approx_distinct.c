/*-------------------------------------------------------------------------
 *
 * approx_distinct.c
 *	  The derivation "approx_distinct": about how many different values there
 *	  are in each group, by HyperLogLog.
 *
 * The key of the declaration names the columns of the source that make the
 * groups; without a key there is one group, which is always there.  NULL
 * values do not count; a group of nothing else has the estimate 0.
 *
 * A state table keeps the registers of each group, PostgreSQL's own (see
 * lib/hyperloglog.h): 2^bits bytes.  Registers are the maximum over what each
 * value gives, so they depend on the set of values only, not on their order or
 * number, and are the same whether they were made at once or bit by bit.
 *
 * The changes of a batch are sorted by group and by the value's hash, and what
 * came and went in the same batch is dropped.  Then, for each group:
 *
 *	- Values came, none went: the registers are raised.  Where none rises, as
 *	  for nearly all rows once a group is large, nothing is written.
 *	- A value went: whether others gave the same, the registers do not tell.  The
 *	  group is read from the source.  If there are very many such groups, the
 *	  source is read once, and sorted together with the changes.
 *
 * Hashes are those of the type's extended hash function, which partitioning
 * relies on and which thus stays as it is; equal values have equal ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "derivations/support.h"
#include "lib/hyperloglog.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(derive_approx_distinct_handler);

#define DEFAULT_BITS	12
#define MIN_BITS		4
#define MAX_BITS		16

/* Groups that lost values from which on the source is read as a whole. */
#define MANY_GROUPS 1000

/* The sort has the columns of the group and these. */
enum
{
	SORT_KIND,
	SORT_HASH,					/* NULL for a NULL value */
	SORT_WEIGHT,
	SORT_MORE
};

typedef enum RowKind
{
	ROW_CHANGE,
	ROW_SOURCE
} RowKind;

typedef struct ApproxDistinct
{
	DeriveContext *context;
	int			ngroup;			/* columns of a group */
	AttrNumber *group;			/* columns of the source */
	AttrNumber *viewgroup;		/* the same of the view */
	AttrNumber	estimate;		/* column of the view */
	AttrNumber	value;			/* column of the source */
	Oid			valuecollation;
	FmgrInfo	hash;
	int			bits;
	int			state;			/* the state table */
	TupleDesc	sortdesc;
	DeriveSupportStatement rows;

	/* of the present apply() */
	Tuplesortstate *sort;
	TupleTableSlot *slot;		/* of sortdesc */
} ApproxDistinct;

/* A group while its rows come out of the sort. */
typedef struct ValueGroup
{
	Datum	   *values;
	bool	   *isnull;
	hyperLogLogState came;		/* values that came */
	hyperLogLogState all;		/* values of the source */
	bool		touched;		/* rows came or went */
	bool		lost;			/* values went */
	bool		exists;			/* the source has rows of it */
	bool		inhash;			/* there is a present hash: */
	bool		hashnull;
	int32		hash;
	int64		weight;
} ValueGroup;

/* ---------- declaration ---------- */

/* Options "bits" and "error": how many registers. */
static int
bits_option(DeriveContext *context)
{
	bool		nobits;
	bool		noerror;
	Datum		bits = context->option(context, "bits", INT4OID, NULL, &nobits);
	Datum		error = context->option(context, "error", FLOAT8OID, NULL, &noerror);
	int			result = DEFAULT_BITS;

	if (!nobits && !noerror)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"bits\" and \"error\" exclude each other")));
	if (!nobits)
		result = DatumGetInt32(bits);
	if (!noerror)
	{
		result = MIN_BITS;
		while (result <= MAX_BITS && !(1.04 / sqrt((double) (1 << result)) <= DatumGetFloat8(error)))
			result++;
		if (result > MAX_BITS || DatumGetFloat8(error) >= 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"error\" must be at least 0.0041 and less than 1")));
	}
	if (result < MIN_BITS || result > MAX_BITS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"bits\" must be from %d to %d", MIN_BITS, MAX_BITS)));
	return result;
}

/* Learn options, key and source. */
static void
learn(DeriveContext *context, ApproxDistinct *a)
{
	Form_pg_attribute att;
	TypeCacheEntry *entry;

	derive_support_one_source(context);
	a->context = context;
	a->bits = bits_option(context);
	a->value = derive_support_column_option(context, "value", true);
	att = TupleDescAttr(context->sources[0].desc, a->value - 1);
	entry = lookup_type_cache(att->atttypid, TYPECACHE_HASH_EXTENDED_PROC | TYPECACHE_HASH_EXTENDED_PROC_FINFO);
	if (!OidIsValid(entry->hash_extended_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("values of column \"%s\" of type %s cannot be counted",
						NameStr(att->attname), format_type_be(att->atttypid)),
				 errdetail("The type has no extended hash function.")));
	fmgr_info_copy(&a->hash, &entry->hash_extended_proc_finfo, context->memory);
	a->valuecollation = att->attcollation;

	a->ngroup = context->nkeys;
	a->group = palloc(Max(1, a->ngroup) * sizeof(AttrNumber));
	for (int i = 0; i < a->ngroup; i++)
	{
		a->group[i] = context->source_column(context, 0, context->keys[i]);
		derive_support_require_image(context, a->group[i]);
	}
}

static TupleDesc
approx_distinct_columns(DeriveContext *context)
{
	ApproxDistinct a = {0};
	DeriveSupportColumn *columns;

	learn(context, &a);
	columns = palloc((a.ngroup + 1) * sizeof(DeriveSupportColumn));
	for (int i = 0; i < a.ngroup; i++)
		columns[i] = derive_support_column(context, a.group[i], NULL);
	columns[a.ngroup] = derive_support_new_column("estimate", INT8OID);
	return derive_support_columns(context, a.ngroup + 1, columns);
}

/* Which columns of the view are the group, and which one the estimate. */
static void
learn_view(DeriveContext *context, ApproxDistinct *a)
{
	TupleDesc	desc = context->desc;
	Bitmapset  *seen = NULL;

	a->viewgroup = palloc(Max(1, a->ngroup) * sizeof(AttrNumber));
	for (int i = 0; i < a->ngroup; i++)
	{
		Form_pg_attribute att = TupleDescAttr(context->sources[0].desc, a->group[i] - 1);

		a->viewgroup[i] = context->view_column(context, context->keys[i], att->atttypid);
		seen = bms_add_member(seen, a->viewgroup[i]);
	}
	a->estimate = 1;
	while (bms_is_member(a->estimate, seen))
		a->estimate++;
	if (bms_num_members(seen) != a->ngroup || desc->natts != a->ngroup + 1 ||
		TupleDescAttr(desc, a->estimate - 1)->atttypid != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the columns of the view do not fit derivation \"%s\"", context->name),
				 errdetail("They must be those of the key and one of type bigint for the estimate.")));
}

/*
 * Registers by group.  Without groups the key is a constant, and the row of
 * the view, the only one, is found by what is in it.
 */
static void
declare_tables(DeriveContext *context, ApproxDistinct *a)
{
	TupleDesc	desc = CreateTemplateTupleDesc(Max(1, a->ngroup) + 1);

	for (int i = 0; i < a->ngroup; i++)
	{
		DeriveSupportColumn column = derive_support_column(context, a->group[i], psprintf("group%d", i + 1));

		TupleDescInitEntry(desc, i + 1, column.name, column.type, column.typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, column.collation);
	}
	if (a->ngroup == 0)
		TupleDescInitEntry(desc, 1, "all", INT4OID, -1, 0);
	TupleDescInitEntry(desc, desc->natts, "registers", BYTEAOID, -1, 0);
	a->state = context->declare_state(context, desc, Max(1, a->ngroup));
	if (a->ngroup > 0)
		context->set_key(context, a->ngroup, a->viewgroup, true);
	else
		context->set_key(context, 1, &a->estimate, true);
}

static void
approx_distinct_declare(DeriveContext *context)
{
	MemoryContext oldcxt = MemoryContextSwitchTo(context->memory);
	ApproxDistinct *a = palloc0(sizeof(ApproxDistinct));

	learn(context, a);
	learn_view(context, a);
	declare_tables(context, a);

	a->sortdesc = CreateTemplateTupleDesc(a->ngroup + SORT_MORE);
	for (int i = 0; i < a->ngroup; i++)
	{
		DeriveSupportColumn column = derive_support_column(context, a->group[i], NULL);

		TupleDescInitEntry(a->sortdesc, i + 1, column.name, column.type, -1, 0);
		TupleDescInitEntryCollation(a->sortdesc, i + 1, column.collation);
	}
	TupleDescInitEntry(a->sortdesc, a->ngroup + 1 + SORT_KIND, "kind", INT4OID, -1, 0);
	TupleDescInitEntry(a->sortdesc, a->ngroup + 1 + SORT_HASH, "hash", INT4OID, -1, 0);
	TupleDescInitEntry(a->sortdesc, a->ngroup + 1 + SORT_WEIGHT, "weight", INT8OID, -1, 0);
	context->private = a;
	MemoryContextSwitchTo(oldcxt);
}

static void
approx_distinct_end(DeriveContext *context)
{
	ApproxDistinct *a = context->private;

	if (a != NULL)
		derive_support_forget(&a->rows);
}

/* ---------- values and registers ---------- */

static uint32
hash_value(ApproxDistinct *a, Datum value)
{
	uint64		hash = DatumGetUInt64(FunctionCall2Coll(&a->hash, a->valuecollation, value,
														Int64GetDatum(0)));

	return (uint32) (hash ^ (hash >> 32));
}

static void
clear_registers(hyperLogLogState *registers)
{
	memset(registers->hashesArr, 0, registers->arrSize);
}

static int64
estimate(const uint8 *registers, hyperLogLogState *scratch)
{
	memcpy(scratch->hashesArr, registers, scratch->nRegisters);
	return (int64) rint(estimateHyperLogLog(scratch));
}

/* ---------- tables ---------- */

/* The registers that the state table has for the group, or NULL. */
static const uint8 *
stored_registers(ApproxDistinct *a, const ValueGroup *group)
{
	Datum		one = Int32GetDatum(1);
	bool		notnull = false;
	TupleTableSlot *row;
	bytea	   *registers;
	Datum		value;
	bool		isnull;

	if (a->ngroup > 0)
		row = a->context->get(a->context, a->state, group->values, group->isnull);
	else
		row = a->context->get(a->context, a->state, &one, &notnull);
	if (row == NULL)
		return NULL;
	value = slot_getattr(row, Max(1, a->ngroup) + 1, &isnull);
	registers = isnull ? NULL : DatumGetByteaPP(value);
	if (registers == NULL || VARSIZE_ANY_EXHDR(registers) != 1 << a->bits)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("registers of a group are missing or have the wrong size")));
	return (const uint8 *) VARDATA_ANY(registers);
}

static void
write_state(ApproxDistinct *a, const ValueGroup *group, const uint8 *registers, bool isnew)
{
	DeriveContext *context = a->context;
	int			nkeys = Max(1, a->ngroup);
	Datum	   *values = palloc((nkeys + 1) * sizeof(Datum));
	bool	   *isnull = palloc0((nkeys + 1) * sizeof(bool));
	Size		size = (Size) 1 << a->bits;
	bytea	   *bytes = palloc(VARHDRSZ + size);

	values[0] = Int32GetDatum(1);
	if (a->ngroup > 0)
	{
		memcpy(values, group->values, a->ngroup * sizeof(Datum));
		memcpy(isnull, group->isnull, a->ngroup * sizeof(bool));
	}
	SET_VARSIZE(bytes, VARHDRSZ + size);
	memcpy(VARDATA(bytes), registers, size);
	values[nkeys] = PointerGetDatum(bytes);
	if (isnew)
		context->insert(context, a->state, values, isnull);
	else
		context->put(context, a->state, values, isnull);
}

static void
write_view(ApproxDistinct *a, const ValueGroup *group, int64 value, bool isnew)
{
	DeriveContext *context = a->context;
	Datum	   *values = palloc((a->ngroup + 1) * sizeof(Datum));
	bool	   *isnull = palloc0((a->ngroup + 1) * sizeof(bool));

	for (int i = 0; i < a->ngroup; i++)
	{
		values[a->viewgroup[i] - 1] = group->values[i];
		isnull[a->viewgroup[i] - 1] = group->isnull[i];
	}
	values[a->estimate - 1] = Int64GetDatum(value);
	if (isnew)
		context->insert(context, DERIVE_VIEW, values, isnull);
	else
		context->put(context, DERIVE_VIEW, values, isnull);
}

static void
remove_row(ApproxDistinct *a, int table, const Datum *key, const bool *isnull)
{
	if (!a->context->remove(a->context, table, key, isnull))
		elog(ERROR, "a group is not there any more");
}

/* Give a group these registers; old: those that it had, or NULL. */
static void
store_group(ApproxDistinct *a, ValueGroup *group, const uint8 *registers, const uint8 *old)
{
	bool		isnew = old == NULL;
	int64		oldvalue = 0;
	int64		value;

	if (!isnew)
	{
		if (memcmp(old, registers, (Size) 1 << a->bits) == 0)
			return;
		oldvalue = estimate(old, &group->all);
	}
	write_state(a, group, registers, isnew);
	value = estimate(registers, &group->all);
	if (!isnew && value == oldvalue)
		return;
	if (!isnew && a->ngroup == 0)
	{
		Datum		key = Int64GetDatum(oldvalue);
		bool		notnull = false;

		remove_row(a, DERIVE_VIEW, &key, &notnull);
		isnew = true;
	}
	write_view(a, group, value, isnew);
}

static void
remove_group(ApproxDistinct *a, const ValueGroup *group)
{
	remove_row(a, a->state, group->values, group->isnull);
	remove_row(a, DERIVE_VIEW, group->values, group->isnull);
}

/* ---------- reading a group by SQL ---------- */

typedef struct ValueReceiver
{
	ApproxDistinct *a;
	ValueGroup *group;
} ValueReceiver;

static void
receive_value(void *arg, HeapTuple row, TupleDesc desc)
{
	ValueReceiver *receiver = arg;
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, 1, &isnull);

	receiver->group->exists = true;
	if (!isnull)
		addHyperLogLog(&receiver->group->all, hash_value(receiver->a, value));
}

static void
read_group(ApproxDistinct *a, ValueGroup *group)
{
	DeriveContextSource *source = &a->context->sources[0];
	Oid		   *types = palloc(Max(1, a->ngroup) * sizeof(Oid));
	char	   *nulls = palloc(a->ngroup + 1);
	ValueReceiver receiver = {a, group};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s", derive_support_attribute(source->desc, a->value),
					 derive_support_relation(source->relid));
	for (int i = 0; i < a->ngroup; i++)
	{
		const char *column = derive_support_attribute(source->desc, a->group[i]);

		types[i] = TupleDescAttr(source->desc, a->group[i] - 1)->atttypid;
		nulls[i] = group->isnull[i] ? 'n' : ' ';
		appendStringInfoString(&sql, i == 0 ? " WHERE " : " AND ");
		if (group->isnull[i])
			appendStringInfo(&sql, "%s IS NULL", column);
		else
			appendStringInfo(&sql, "%s %s $%d", column, derive_support_equals(types[i]), i + 1);
	}
	clear_registers(&group->all);
	derive_support_each(derive_support_prepare(a->context, &a->rows, sql.data, a->ngroup, types),
						group->values, nulls, receive_value, &receiver);
}

/* ---------- the sort ---------- */

static Tuplesortstate *
begin_sort(ApproxDistinct *a)
{
	int			n = a->ngroup + 2;	/* the group, kind and hash */
	AttrNumber *attrs = palloc(n * sizeof(AttrNumber));
	Oid		   *operators = palloc(n * sizeof(Oid));
	Oid		   *collations = palloc(n * sizeof(Oid));
	bool	   *nullsfirst = palloc0(n * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(a->sortdesc, i);

		attrs[i] = i + 1;
		operators[i] = lookup_type_cache(att->atttypid, TYPECACHE_LT_OPR)->lt_opr;
		collations[i] = att->attcollation;
	}
	return tuplesort_begin_heap(a->sortdesc, n, attrs, operators, collations, nullsfirst,
								work_mem, NULL, TUPLESORT_RANDOMACCESS);
}

static void
sort_row(ApproxDistinct *a, TupleTableSlot *row, RowKind kind, int64 weight)
{
	TupleTableSlot *slot = a->slot;
	Datum	   *more = slot->tts_values + a->ngroup;
	bool	   *moreisnull = slot->tts_isnull + a->ngroup;
	Datum		value;

	ExecClearTuple(slot);
	for (int i = 0; i < a->ngroup; i++)
		slot->tts_values[i] = slot_getattr(row, a->group[i], &slot->tts_isnull[i]);
	memset(moreisnull, 0, SORT_MORE * sizeof(bool));
	more[SORT_KIND] = Int32GetDatum(kind);
	value = slot_getattr(row, a->value, &moreisnull[SORT_HASH]);
	more[SORT_HASH] = (Datum) 0;
	if (!moreisnull[SORT_HASH])
		more[SORT_HASH] = Int32GetDatum((int32) hash_value(a, value));
	more[SORT_WEIGHT] = Int64GetDatum(weight);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(a->sort, slot);
	ExecClearTuple(slot);
}

static void
sort_source_row(void *arg, TupleTableSlot *row)
{
	sort_row(arg, row, ROW_SOURCE, 1);
}

static bool
sort_changes(ApproxDistinct *a)
{
	DeriveChange change;
	bool		some = false;

	while (a->context->next_change(a->context, &change))
	{
		CHECK_FOR_INTERRUPTS();
		some = true;
		if (change.oldrow)
			sort_row(a, change.oldrow, ROW_CHANGE, -1);
		if (change.newrow)
			sort_row(a, change.newrow, ROW_CHANGE, 1);
	}
	return some;
}

static bool
same_group(const ApproxDistinct *a, const ValueGroup *group, TupleTableSlot *row)
{
	for (int i = 0; i < a->ngroup; i++)
	{
		Form_pg_attribute att = TupleDescAttr(a->sortdesc, i);
		bool		isnull;
		Datum		value = slot_getattr(row, i + 1, &isnull);

		if (isnull != group->isnull[i] ||
			(!isnull && !datum_image_eq(group->values[i], value, att->attbyval, att->attlen)))
			return false;
	}
	return true;
}

/* ---------- one group ---------- */

static void
begin_group(const ApproxDistinct *a, ValueGroup *group, TupleTableSlot *row)
{
	for (int i = 0; i < a->ngroup; i++)
	{
		Form_pg_attribute att = TupleDescAttr(a->sortdesc, i);
		Datum		value = slot_getattr(row, i + 1, &group->isnull[i]);

		group->values[i] = (Datum) 0;
		if (!group->isnull[i])
			group->values[i] = datumCopy(value, att->attbyval, att->attlen);
	}
	clear_registers(&group->came);
	clear_registers(&group->all);
	group->touched = group->lost = group->exists = group->inhash = false;
}

/* All changes with one hash are seen. */
static void
finish_hash(ValueGroup *group)
{
	if (!group->inhash)
		return;
	group->inhash = false;
	if (group->weight == 0)
		return;
	group->touched = true;
	if (group->weight < 0)
		group->lost = true;
	else if (!group->hashnull)
		addHyperLogLog(&group->came, (uint32) group->hash);
}

static void
add_to_group(const ApproxDistinct *a, ValueGroup *group, TupleTableSlot *row)
{
	bool		isnull;
	bool		hashnull;
	RowKind		kind = DatumGetInt32(slot_getattr(row, a->ngroup + 1 + SORT_KIND, &isnull));
	int32		hash = DatumGetInt32(slot_getattr(row, a->ngroup + 1 + SORT_HASH, &hashnull));

	if (kind == ROW_SOURCE)
	{
		finish_hash(group);
		group->exists = true;
		if (!hashnull)
			addHyperLogLog(&group->all, (uint32) hash);
		return;
	}
	if (group->inhash && (hashnull != group->hashnull || (!hashnull && hash != group->hash)))
		finish_hash(group);
	if (!group->inhash)
	{
		group->inhash = true;
		group->hashnull = hashnull;
		group->hash = hash;
		group->weight = 0;
	}
	group->weight += DatumGetInt64(slot_getattr(row, a->ngroup + 1 + SORT_WEIGHT, &isnull));
}

static void
finish_group(ApproxDistinct *a, ValueGroup *group, bool everything)
{
	const uint8 *old;

	finish_hash(group);
	if (!group->touched)
		return;
	if (group->lost && !everything)
		read_group(a, group);

	old = a->context->building ? NULL : stored_registers(a, group);
	if (!group->lost)
	{
		for (Size i = 0; old != NULL && i < group->came.nRegisters; i++)
			group->came.hashesArr[i] = Max(group->came.hashesArr[i], old[i]);
	}
	else if (group->exists || a->ngroup == 0)
		memcpy(group->came.hashesArr, group->all.hashesArr, group->all.nRegisters);
	else
	{
		if (old != NULL)
			remove_group(a, group);
		return;
	}
	store_group(a, group, group->came.hashesArr, old);
}

/* ---------- the callbacks ---------- */

static void
init_group(const ApproxDistinct *a, ValueGroup *group)
{
	memset(group, 0, sizeof(ValueGroup));
	group->values = palloc(Max(1, a->ngroup) * sizeof(Datum));
	group->isnull = palloc(Max(1, a->ngroup) * sizeof(bool));
	initHyperLogLog(&group->came, a->bits);
	initHyperLogLog(&group->all, a->bits);
}

/* Of a source without rows: the only group is there all the same. */
static void
build_empty(ApproxDistinct *a)
{
	ValueGroup	group;

	init_group(a, &group);
	store_group(a, &group, group.came.hashesArr, NULL);
}

/*
 * Go through the sort, group by group.  count: only say how many groups lost
 * values.
 */
static int64
work_off(ApproxDistinct *a, TupleTableSlot *row, bool everything, bool count)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "approx_distinct group",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt;
	ValueGroup	group;
	bool		some = false;
	int64		lost = 0;

	init_group(a, &group);
	oldcxt = MemoryContextSwitchTo(cxt);
	for (;;)
	{
		bool		more = tuplesort_gettupleslot(a->sort, true, false, row, NULL);

		CHECK_FOR_INTERRUPTS();
		if (some && (!more || !same_group(a, &group, row)))
		{
			if (count)
				finish_hash(&group);
			else
				finish_group(a, &group, everything);
			lost += group.lost ? 1 : 0;
			some = false;
			MemoryContextReset(cxt);
		}
		if (!more)
			break;
		if (!some)
			begin_group(a, &group, row);
		some = true;
		add_to_group(a, &group, row);
	}
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
	return lost;
}

/* Sort the changes again, together with the whole source. */
static void
sort_everything(ApproxDistinct *a)
{
	tuplesort_end(a->sort);
	a->sort = begin_sort(a);
	a->context->rewind_changes(a->context);
	(void) sort_changes(a);
	a->context->read_source(a->context, 0, sort_source_row, a);
	tuplesort_performsort(a->sort);
}

static void
approx_distinct_apply(DeriveContext *context)
{
	ApproxDistinct *a = context->private;
	TupleTableSlot *row = MakeSingleTupleTableSlot(a->sortdesc, &TTSOpsMinimalTuple);
	bool		everything = false;
	DeriveSupportConnection connection;

	a->slot = MakeSingleTupleTableSlot(a->sortdesc, &TTSOpsVirtual);
	a->sort = begin_sort(a);
	if (!sort_changes(a) && context->building && a->ngroup == 0)
		build_empty(a);
	tuplesort_performsort(a->sort);
	if (!context->building)
	{
		everything = work_off(a, row, false, true) > MANY_GROUPS;
		if (everything)
			sort_everything(a);
		else
			tuplesort_rescan(a->sort);
	}
	connection = derive_support_connect();
	(void) work_off(a, row, everything, false);
	derive_support_finish(connection);
	tuplesort_end(a->sort);
	a->sort = NULL;
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(a->slot);
}

static void
approx_distinct_explain(DeriveContext *context, StringInfo text)
{
	ApproxDistinct *a = context->private;
	DeriveContextSource *source = &context->sources[0];
	const char *name = derive_support_relation(source->relid);

	appendStringInfo(text, "HyperLogLog with %d registers, standard error %.2f %%\n",
					 1 << a->bits, 104.0 / sqrt((double) (1 << a->bits)));
	appendStringInfo(text, "new values: raise the registers of the group\n");
	appendStringInfo(text, "deleted and changed values: read the group from %s", name);
	for (int i = 0; i < a->ngroup; i++)
		appendStringInfo(text, "%s%s", i == 0 ? psprintf("; an index on %s (", name) : ", ",
						 derive_support_attribute(source->desc, a->group[i]));
	appendStringInfoString(text, a->ngroup > 0 ? ") serves that\n" : " again\n");
}

static const DeriveRoutine approx_distinct_routine = {
	.api_version = DERIVE_API_VERSION,
	.flags = DERIVE_OF_CURRENT_ROWS,
	.columns = approx_distinct_columns,
	.declare = approx_distinct_declare,
	.apply = approx_distinct_apply,
	.end = approx_distinct_end,
	.explain = approx_distinct_explain
};

Datum
derive_approx_distinct_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&approx_distinct_routine);
}
