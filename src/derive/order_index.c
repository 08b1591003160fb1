/*-------------------------------------------------------------------------
 *
 * order_index.c
 *	  The rows of an internal table, in an order of its columns, from a place on.
 *
 * Who wants to know what comes right after a place, or before it, reads a btree index on the
 * columns from there.  It does not ask the planner, which may know nothing of a table that
 * has just grown.
 *
 * Where to begin is told to the index by the first column alone, and rows that are not yet
 * there are passed over.  An index does not compare with NULL, so that there may be two parts:
 *
 *		order by a, b NULLS LAST	from (3, 1) on:		a >= 3, then a IS NULL
 *
 * What an index can hold is limited (2700 bytes), what people store is not.  Where a column
 * is not of fixed length, the index is a partial one, of those rows whose columns are
 * short; a second one has the others, of which there will be few, if any:
 *
 *		CREATE INDEX ON t (c1 DESC, c2, c3) WHERE size <= 2000;
 *		CREATE INDEX ON t (size) WHERE size > 2000;
 *			size, if c3 is a name: 64 + octet_length(image(c1)) + octet_length(image(c2)), NULL
 *			being 0.  What an index row has besides, headers and alignment, is 360 bytes at most.
 *
 * Those of the second are read and sorted once, before the first scan, and merged with the
 * first in each one.  Of them only the columns of the order are kept, as they are compared,
 * and where the row is.
 *
 * The table is ours, but people may have made indexes on it.  One of these is taken for ours
 * only if it has the same rows in the same order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/sortsupport.h"

#include "base/compat.h"
#include "base/gucs.h"
#include "derive/choice.h"
#include "derive/order_index.h"

struct DeriveOrdering
{
	int			n;
	struct
	{
		const DeriveOrderColumn *column;
		SortSupportData sort;
		int16		len;
		bool		byval;
	}			columns[FLEXIBLE_ARRAY_MEMBER];
};

/* -------------------------------------------------------------------------
 * Comparing
 * -------------------------------------------------------------------------
 */

DeriveOrdering *
derive_ordering_create(List *order)
{
	DeriveOrdering *ordering = palloc0(offsetof(DeriveOrdering, columns) + list_length(order) * sizeof(ordering->columns[0]));
	ListCell   *lc;

	ordering->n = list_length(order);
	foreach(lc, order)
	{
		const DeriveOrderColumn *column = lfirst(lc);
		SortSupport sort = &ordering->columns[foreach_current_index(lc)].sort;

		ordering->columns[foreach_current_index(lc)].column = column;
		get_typlenbyval(column->type, &ordering->columns[foreach_current_index(lc)].len,
						&ordering->columns[foreach_current_index(lc)].byval);
		sort->ssup_cxt = CurrentMemoryContext;
		sort->ssup_collation = column->collation;
		sort->ssup_nulls_first = column->nulls_first;
		PrepareSortSupportFromOrderingOp(column->sortop, sort);
	}
	return ordering;
}

static AttrNumber
attno_of(const DeriveOrderColumn *column, bool input)
{
	return input ? column->input : column->attno;
}

DerivePlace *
derive_place_create(DeriveOrdering *ordering)
{
	DerivePlace *place = palloc0(sizeof(DerivePlace));

	place->cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive place", ALLOCSET_SMALL_SIZES);
	place->values = palloc0(sizeof(Datum) * ordering->n);
	place->nulls = palloc0(sizeof(bool) * ordering->n);
	return place;
}

/* A copy that is compared without being expanded each time. */
static Datum
copy_expanded(Datum value, bool byval, int16 len)
{
	return len == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : datumCopy(value, byval, len);
}

static void
set_value(DeriveOrdering *ordering, DerivePlace *place, int i, Datum value, bool isnull)
{
	MemoryContext old = MemoryContextSwitchTo(place->cxt);

	place->nulls[i] = isnull;
	place->values[i] = isnull ? (Datum) 0 : copy_expanded(value, ordering->columns[i].byval, ordering->columns[i].len);
	MemoryContextSwitchTo(old);
}

void
derive_place_set(DeriveOrdering *ordering, DerivePlace *place, TupleTableSlot *row, bool input)
{
	MemoryContextReset(place->cxt);
	for (int i = 0; i < ordering->n; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(row, attno_of(ordering->columns[i].column, input), &isnull);

		set_value(ordering, place, i, value, isnull);
	}
}

void
derive_place_copy(DeriveOrdering *ordering, DerivePlace *place, const DerivePlace *other)
{
	MemoryContextReset(place->cxt);
	for (int i = 0; i < ordering->n; i++)
		set_value(ordering, place, i, other->values[i], other->nulls[i]);
}

int
derive_place_compare(DeriveOrdering *ordering, TupleTableSlot *row, bool input, const DerivePlace *place)
{
	for (int i = 0; i < ordering->n; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(row, attno_of(ordering->columns[i].column, input), &isnull);
		int			result = ApplySortComparator(value, isnull, place->values[i], place->nulls[i],
												 &ordering->columns[i].sort);

		if (result != 0)
			return result;
	}
	return 0;
}

int
derive_places_compare(DeriveOrdering *ordering, const DerivePlace *place, const DerivePlace *other)
{
	for (int i = 0; i < ordering->n; i++)
	{
		int			result = ApplySortComparator(place->values[i], place->nulls[i], other->values[i], other->nulls[i],
												 &ordering->columns[i].sort);

		if (result != 0)
			return result;
	}
	return 0;
}

/* -------------------------------------------------------------------------
 * The indexes
 * -------------------------------------------------------------------------
 */

static Expr *
size_constant(int64 value)
{
	return (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(value), false, FLOAT8PASSBYVAL);
}

/* "coalesce(octet_length(image(c1)), 0)", as int8 */
static Expr *
size_of_column(Form_pg_attribute att)
{
	CoalesceExpr *size = makeNode(CoalesceExpr);
	FuncExpr   *image = makeFuncExpr(derive_state_function("image", 1, ANYOID), BYTEAOID,
									 list_make1(makeVar(1, att->attnum, att->atttypid, att->atttypmod, att->attcollation, 0)),
									 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	FuncExpr   *length = makeFuncExpr(F_OCTET_LENGTH_BYTEA, INT4OID, list_make1(image), InvalidOid, InvalidOid,
									  COERCE_EXPLICIT_CALL);

	size->coalescetype = INT8OID;
	size->args = list_make2(makeFuncExpr(F_INT8_INT4, INT8OID, list_make1(length), InvalidOid, InvalidOid,
										 COERCE_EXPLICIT_CALL),
							size_constant(0));
	size->location = -1;
	return (Expr *) size;
}

/* "64 + coalesce(..) + .." of the columns; NULL if all of them are of fixed length. */
static Expr *
size_expression(Relation table, List *order)
{
	Expr	   *size;
	int64		fixed = 0;
	bool		all_fixed = true;
	ListCell   *lc;

	foreach(lc, order)
		fixed += Max(TupleDescAttr(RelationGetDescr(table), ((DeriveOrderColumn *) lfirst(lc))->attno - 1)->attlen, 0);
	Assert(fixed <= DERIVE_LONGEST_IN_INDEX);
	size = size_constant(fixed);
	foreach(lc, order)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(table), ((DeriveOrderColumn *) lfirst(lc))->attno - 1);

		if (att->attlen > 0)
			continue;
		all_fixed = false;
		size = (Expr *) makeFuncExpr(F_INT8PL, INT8OID, list_make2(size, size_of_column(att)), InvalidOid, InvalidOid,
									 COERCE_EXPLICIT_CALL);
	}
	return all_fixed ? NULL : size;
}

/* "size <= 2000", or ">" */
static Node *
size_condition(Expr *size, StrategyNumber strategy)
{
	Oid			operator = get_opfamily_member(INTEGER_BTREE_FAM_OID, INT8OID, INT8OID, strategy);
	OpExpr	   *condition = (OpExpr *) make_opclause(operator, BOOLOID, false, copyObject(size),
													 size_constant(DERIVE_LONGEST_IN_INDEX), InvalidOid, InvalidOid);

	condition->opfuncid = get_opcode(operator);
	return (Node *) condition;
}

static bool
is_usable(Relation index)
{
	return index->rd_index->indisvalid && index->rd_index->indisready && index->rd_index->indislive &&
		index->rd_rel->relam == BTREE_AM_OID;
}

/* Does it have what our snapshot sees?  It may not where rows were updated as it was made. */
static bool
is_readable(Relation index)
{
	return !index->rd_index->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

/* Has it the rows of which that is true (NULL: all)? */
static bool
has_predicate(Relation index, Node *condition)
{
	List	   *predicate = NIL;

	/* as the relcache has it */
	if (condition != NULL)
	{
		condition = eval_const_expressions(NULL, copyObject(condition));
		predicate = make_ands_implicit(canonicalize_qual((Expr *) condition, false));
		fix_opfuncids((Node *) predicate);
	}
	return equal(RelationGetIndexPredicate(index), predicate);
}

static bool
is_of_order(Relation index, List *order, Node *condition)
{
	ListCell   *lc;

	if (!is_usable(index) || index->rd_index->indnkeyatts != list_length(order) || !has_predicate(index, condition))
		return false;
	foreach(lc, order)
	{
		DeriveOrderColumn *column = lfirst(lc);
		int			i = foreach_current_index(lc);
		int16		option = (column->reverse ? INDOPTION_DESC : 0) | (column->nulls_first ? INDOPTION_NULLS_FIRST : 0);

		if (index->rd_index->indkey.values[i] != column->attno || index->rd_indoption[i] != option ||
			index->rd_opfamily[i] != column->opfamily || index->rd_indcollation[i] != column->collation)
			return false;
	}
	return true;
}

static bool
is_of_long_rows(Relation index, Expr *size)
{
	return is_usable(index) && index->rd_index->indnkeyatts == 1 && index->rd_index->indkey.values[0] == 0 &&
		equal(linitial(RelationGetIndexExpressions(index)), eval_const_expressions(NULL, (Node *) copyObject(size))) &&
		has_predicate(index, size_condition(size, BTGreaterStrategyNumber));
}

static Node *
condition_of_order(Expr *size)
{
	return size == NULL ? NULL : size_condition(size, BTLessEqualStrategyNumber);
}

/* Those that are there, InvalidOid for others.  readable: that can be read now. */
static void
find_indexes(Relation table, List *order, Expr *size, bool readable, Oid *of_order, Oid *of_long_rows)
{
	Node	   *condition = condition_of_order(size);
	ListCell   *lc;

	*of_order = *of_long_rows = InvalidOid;
	foreach(lc, RelationGetIndexList(table))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (readable && !is_readable(index))
			 /* not now */ ;
		else if (is_of_order(index, order, condition))
			*of_order = lfirst_oid(lc);
		else if (size != NULL && is_of_long_rows(index, size))
			*of_long_rows = lfirst_oid(lc);
		index_close(index, NoLock);
	}
}

static IndexStmt *
index_statement(Relation table, List *elements, Node *predicate)
{
	IndexStmt  *stmt = makeNode(IndexStmt);

	stmt->relation = makeRangeVar(get_namespace_name(RelationGetNamespace(table)),
								  pstrdup(RelationGetRelationName(table)), -1);
	stmt->accessMethod = pstrdup("btree");
	stmt->transformed = true;
	stmt->indexParams = elements;
	stmt->whereClause = predicate;
	return stmt;
}

List *
derive_order_index_statements(Relation table, List *order)
{
	Expr	   *size = size_expression(table, order);
	List	   *statements = NIL;
	List	   *elements = NIL;
	IndexElem  *element;
	Oid			of_order;
	Oid			of_long_rows;
	ListCell   *lc;

	find_indexes(table, order, size, false, &of_order, &of_long_rows);
	foreach(lc, order)
	{
		DeriveOrderColumn *column = lfirst(lc);

		element = makeNode(IndexElem);
		element->name = pstrdup(NameStr(TupleDescAttr(RelationGetDescr(table), column->attno - 1)->attname));
		element->ordering = column->reverse ? SORTBY_DESC : SORTBY_ASC;
		element->nulls_ordering = column->nulls_first ? SORTBY_NULLS_FIRST : SORTBY_NULLS_LAST;
		elements = lappend(elements, element);
	}
	if (!OidIsValid(of_order))
		statements = lappend(statements, index_statement(table, elements, condition_of_order(size)));
	if (size != NULL && !OidIsValid(of_long_rows))
	{
		element = makeNode(IndexElem);
		element->expr = (Node *) size;
		element->indexcolname = pstrdup("size");
		statements = lappend(statements, index_statement(table, list_make1(element), size_condition(size, BTGreaterStrategyNumber)));
	}
	return statements;
}

/* -------------------------------------------------------------------------
 * Reading
 * -------------------------------------------------------------------------
 */

/* A row that is not in the index of the order. */
typedef struct LongRow
{
	ItemPointerData tid;
	DerivePlace place;			/* without a context of its own */
} LongRow;

struct DeriveOrderReader
{
	Relation	table;
	DeriveOrdering *ordering;
	Snapshot	snapshot;
	Relation	index;			/* of the order */
	LongRow    *long_rows;		/* sorted */
	int			nlong;
};

struct DeriveOrderScan
{
	DeriveOrderReader *reader;
	bool		backward;
	IndexScanDesc scan;
	ScanKeyData keys[2];		/* of the parts */
	int			nkeys;			/* in each of them: 0 or 1 */
	int			nparts;			/* that have not been begun */
	TupleTableSlot *row;		/* the next one of the index, or empty */
	bool		taken;			/* it has been returned */
	bool		at_end;			/* of the index: asked again it would begin
								 * again */
	TupleTableSlot *long_row;	/* the last one returned */
	int			next_long;		/* its number; -1 or reader->nlong: there is
								 * none */
};

/* -------------------------------------------------------------------------
 * Long rows
 * -------------------------------------------------------------------------
 */

static int
compare_long_rows(const void *a, const void *b, void *arg)
{
	CHECK_FOR_INTERRUPTS();
	return derive_places_compare(arg, &((const LongRow *) a)->place, &((const LongRow *) b)->place);
}

/*
 * Set what is compared.  Values are expanded, once and not in each comparison, as far as
 * the memory allows; *memory is what they take.
 */
static void
set_long_row(DeriveOrdering *ordering, LongRow *long_row, TupleTableSlot *row, Size *memory)
{
	DerivePlace *place = &long_row->place;

	long_row->tid = row->tts_tid;
	place->cxt = NULL;
	place->values = palloc(sizeof(Datum) * ordering->n);
	place->nulls = palloc(sizeof(bool) * ordering->n);
	for (int i = 0; i < ordering->n; i++)
	{
		Datum		value = slot_getattr(row, ordering->columns[i].column->attno, &place->nulls[i]);
		int16		len = ordering->columns[i].len;

		place->values[i] = (Datum) 0;
		if (place->nulls[i])
			continue;
		if (len != -1 || *memory + toast_raw_datum_size(value) <= (Size) derive_work_mem * 1024)
			place->values[i] = copy_expanded(value, ordering->columns[i].byval, len);
		else
			place->values[i] = datumCopy(value, ordering->columns[i].byval, len);
		if (!ordering->columns[i].byval)
			*memory += datumGetSize(place->values[i], false, len);
	}
}

static void
read_long_rows(DeriveOrderReader *reader, Oid relid)
{
	Relation	index = index_open(relid, AccessShareLock);
	IndexScanDesc all = derive_compat_index_beginscan(reader->table, index, reader->snapshot, 0);
	TupleTableSlot *row = table_slot_create(reader->table, NULL);
	Size		allocated = 0;
	Size		memory = 0;

	index_rescan(all, NULL, 0, NULL, 0);
	while (index_getnext_slot(all, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		if (reader->nlong == allocated)
		{
			allocated = Max(allocated * 2, 16);
			reader->long_rows = reader->long_rows == NULL ? palloc(sizeof(LongRow) * allocated) :
				repalloc_huge(reader->long_rows, sizeof(LongRow) * allocated);
		}
		set_long_row(reader->ordering, &reader->long_rows[reader->nlong++], row, &memory);
	}
	ExecDropSingleTupleTableSlot(row);
	index_endscan(all);
	index_close(index, NoLock);
	if (reader->nlong > 1)
		qsort_arg(reader->long_rows, reader->nlong, sizeof(LongRow), compare_long_rows, reader->ordering);
}

/* The number of the first one that is at the place or, in the direction, after it. */
static int
first_long_row(DeriveOrderReader *reader, bool backward, const DerivePlace *place)
{
	int			low = 0;
	int			high = reader->nlong;

	if (place == NULL)
		return backward ? reader->nlong - 1 : 0;

	/*
	 * those below "low" are before it in the order, or, if backward, not
	 * after it
	 */
	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = derive_places_compare(reader->ordering, &reader->long_rows[middle].place, place);

		if (backward ? order <= 0 : order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return backward ? low - 1 : low;
}

/* Does the scan return a long row before the one of the index? */
static bool
long_row_is_next(DeriveOrderScan *scan)
{
	int			order;

	if (scan->next_long < 0 || scan->next_long >= scan->reader->nlong)
		return false;
	if (scan->taken)
		return true;			/* there is none of the index */
	order = derive_place_compare(scan->reader->ordering, scan->row, false, &scan->reader->long_rows[scan->next_long].place);
	return scan->backward ? order < 0 : order > 0;
}

static TupleTableSlot *
fetch_long_row(DeriveOrderScan *scan)
{
	LongRow    *long_row = &scan->reader->long_rows[scan->next_long];

	scan->next_long += scan->backward ? -1 : 1;
	if (!table_tuple_fetch_row_version(scan->reader->table, &long_row->tid, scan->reader->snapshot, scan->long_row))
		elog(ERROR, "could not fetch a row of \"%s\" again", RelationGetRelationName(scan->reader->table));
	return scan->long_row;
}

/* -------------------------------------------------------------------------
 * Scans
 * -------------------------------------------------------------------------
 */

/* The parts of the index that have the rows at a place and after it, in the direction of reading. */
static void
choose_parts(DeriveOrderScan *scan, const DerivePlace *place)
{
	const DeriveOrderColumn *first = scan->reader->ordering->columns[0].column;
	bool		nulls_at_end = first->nulls_first == scan->backward;
	bool		greater = scan->backward == first->reverse;
	StrategyNumber strategy = greater ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber;
	Oid			opcintype = scan->reader->index->rd_opcintype[0];
	Oid			operator;

	scan->nparts = 1;
	if (place == NULL || (place->nulls[0] && !nulls_at_end))
		return;					/* all of it */
	scan->nkeys = 1;

	/* from the last part to the first */
	ScanKeyEntryInitialize(&scan->keys[0], SK_ISNULL | SK_SEARCHNULL, 1, InvalidStrategy, InvalidOid, InvalidOid,
						   InvalidOid, (Datum) 0);
	if (place->nulls[0])
		return;
	operator = get_opfamily_member(first->opfamily, opcintype, opcintype, strategy);
	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d(%u,%u) in opfamily %u", strategy, opcintype, opcintype, first->opfamily);
	if (nulls_at_end)
		scan->nparts = 2;
	ScanKeyEntryInitialize(&scan->keys[scan->nparts - 1], 0, 1, strategy, InvalidOid, first->collation,
						   get_opcode(operator),
						   datumCopy(place->values[0], scan->reader->ordering->columns[0].byval, scan->reader->ordering->columns[0].len));
}

DeriveOrderReader *
derive_order_reader_open(Relation table, List *order, DeriveOrdering *ordering, Snapshot snapshot)
{
	Expr	   *size = size_expression(table, order);
	DeriveOrderReader *reader;
	Oid			of_order;
	Oid			of_long_rows;

	find_indexes(table, order, size, true, &of_order, &of_long_rows);
	if (!OidIsValid(of_order) || (size != NULL && !OidIsValid(of_long_rows)))
		return NULL;
	reader = palloc0(sizeof(DeriveOrderReader));
	reader->table = table;
	reader->ordering = ordering;
	reader->snapshot = snapshot;
	reader->index = index_open(of_order, AccessShareLock);
	if (size != NULL)
		read_long_rows(reader, of_long_rows);
	return reader;
}

void
derive_order_reader_close(DeriveOrderReader *reader)
{
	index_close(reader->index, NoLock);
}

DeriveOrderScan *
derive_order_scan_begin(DeriveOrderReader *reader, bool backward, const DerivePlace *place)
{
	DeriveOrderScan *scan = palloc0(sizeof(DeriveOrderScan));

	scan->reader = reader;
	scan->backward = backward;
	scan->row = table_slot_create(reader->table, NULL);
	scan->long_row = table_slot_create(reader->table, NULL);
	scan->next_long = first_long_row(reader, backward, place);
	choose_parts(scan, place);
	scan->scan = derive_compat_index_beginscan(reader->table, reader->index, reader->snapshot, scan->nkeys);
	index_rescan(scan->scan, &scan->keys[--scan->nparts], scan->nkeys, NULL, 0);
	scan->taken = true;
	return scan;
}

static bool
next_of_index(DeriveOrderScan *scan)
{
	for (;;)
	{
		if (index_getnext_slot(scan->scan, scan->backward ? BackwardScanDirection : ForwardScanDirection, scan->row))
			return true;
		if (scan->nparts == 0)
			return false;
		index_rescan(scan->scan, &scan->keys[--scan->nparts], scan->nkeys, NULL, 0);
	}
}

TupleTableSlot *
derive_order_scan_next(DeriveOrderScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	if (scan->taken && !scan->at_end)
		scan->taken = scan->at_end = !next_of_index(scan);
	if (long_row_is_next(scan))
		return fetch_long_row(scan);
	if (scan->taken)
		return NULL;
	scan->taken = true;
	return scan->row;
}

void
derive_order_scan_end(DeriveOrderScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->row);
	ExecDropSingleTupleTableSlot(scan->long_row);
}
