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
 *		CREATE INDEX ON t (c1 DESC, c2) WHERE size <= 2000;
 *		CREATE INDEX ON t (size) WHERE size > 2000;
 *			size: octet_length(image(c1)) + .., NULL being 0
 *
 * Those of the second are sorted here, and merged with the first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sortsupport.h"

#include "base/compat.h"
#include "derive/choice.h"
#include "derive/order_index.h"

/* Longer values are not in the index of the order. */
#define LONGEST_IN_INDEX	2000

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

static void
set_value(DeriveOrdering *ordering, DerivePlace *place, int i, Datum value, bool isnull)
{
	MemoryContext old = MemoryContextSwitchTo(place->cxt);

	place->nulls[i] = isnull;
	place->values[i] = isnull ? (Datum) 0 : datumCopy(value, ordering->columns[i].byval, ordering->columns[i].len);
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

/* "octet_length(image(c1)) + .." of the columns that have no fixed length, or NULL. */
static Expr *
size_expression(Relation table, List *order)
{
	Expr	   *size = NULL;
	ListCell   *lc;

	foreach(lc, order)
	{
		AttrNumber	attno = ((DeriveOrderColumn *) lfirst(lc))->attno;
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(table), attno - 1);
		CoalesceExpr *here;
		FuncExpr   *image;

		if (att->attlen > 0)
			continue;
		image = makeFuncExpr(derive_state_function("image", ANYOID), BYTEAOID,
							 list_make1(makeVar(1, attno, att->atttypid, att->atttypmod, att->attcollation, 0)),
							 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
		here = makeNode(CoalesceExpr);
		here->coalescetype = INT4OID;
		here->args = list_make2(makeFuncExpr(F_OCTET_LENGTH_BYTEA, INT4OID, list_make1(image), InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
								makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(0), false, true));
		here->location = -1;
		size = size == NULL ? (Expr *) here :
			(Expr *) makeFuncExpr(F_INT4PL, INT4OID, list_make2(size, here), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	}
	return size;
}

/* "size <= 2000", or ">" */
static Node *
size_condition(Expr *size, StrategyNumber strategy)
{
	Oid			operator = get_opfamily_member(INTEGER_BTREE_FAM_OID, INT4OID, INT4OID, strategy);
	OpExpr	   *condition = (OpExpr *) make_opclause(operator, BOOLOID, false, copyObject(size),
													 (Expr *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
																		Int32GetDatum(LONGEST_IN_INDEX), false, true),
													 InvalidOid, InvalidOid);

	condition->opfuncid = get_opcode(operator);
	return (Node *) condition;
}

static bool
is_usable(Relation index)
{
	return index->rd_index->indisvalid && index->rd_index->indisready && index->rd_index->indislive &&
		index->rd_rel->relam == BTREE_AM_OID;
}

static bool
is_of_order(Relation index, List *order, bool partial)
{
	ListCell   *lc;

	if (!is_usable(index) || index->rd_index->indnkeyatts != list_length(order) ||
		(RelationGetIndexPredicate(index) != NIL) != partial)
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
is_of_long_rows(Relation index)
{
	return is_usable(index) && index->rd_index->indnkeyatts == 1 && index->rd_index->indkey.values[0] == 0 &&
		RelationGetIndexPredicate(index) != NIL;
}

/* Those that are there, InvalidOid for others. */
static void
find_indexes(Relation table, List *order, bool sized, Oid *of_order, Oid *of_long_rows)
{
	ListCell   *lc;

	*of_order = *of_long_rows = InvalidOid;
	foreach(lc, RelationGetIndexList(table))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (is_of_order(index, order, sized))
			*of_order = lfirst_oid(lc);
		else if (sized && is_of_long_rows(index))
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

	find_indexes(table, order, size != NULL, &of_order, &of_long_rows);
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
		statements = lappend(statements, index_statement(table, elements, size ? size_condition(size, BTLessEqualStrategyNumber) : NULL));
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

struct DeriveOrderScan
{
	DeriveOrdering *ordering;
	bool		backward;
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData keys[2];		/* of the parts */
	int			nkeys;			/* in each of them: 0 or 1 */
	int			nparts;			/* that have not been begun */
	TupleTableSlot *row;		/* the next one of the index, or empty */
	bool		taken;			/* it has been returned */
	bool		at_end;			/* of the index: asked again it would begin
								 * again */
	TupleTableSlot **long_rows; /* that are not in it, against the direction */
	int			nlong;
	int			nleft;			/* of these, not yet returned */
};

/* < 0: in the direction of reading the one comes before the other. */
static int
compare_rows(DeriveOrderScan *scan, TupleTableSlot *one, TupleTableSlot *other)
{
	DerivePlace *place = derive_place_create(scan->ordering);
	int			result;

	derive_place_set(scan->ordering, place, other, false);
	result = derive_place_compare(scan->ordering, one, false, place);
	MemoryContextDelete(place->cxt);
	pfree(place->values);
	pfree(place->nulls);
	pfree(place);
	return scan->backward ? -result : result;
}

static int
compare_long_rows(const void *a, const void *b, void *arg)
{
	return compare_rows(arg, *(TupleTableSlot *const *) b, *(TupleTableSlot *const *) a);
}

static void
read_long_rows(DeriveOrderScan *scan, Relation table, Oid relid, Snapshot snapshot)
{
	Relation	index = index_open(relid, AccessShareLock);
	IndexScanDesc all = derive_compat_index_beginscan(table, index, snapshot, 0);
	int			allocated = 0;

	index_rescan(all, NULL, 0, NULL, 0);
	while (index_getnext_slot(all, ForwardScanDirection, scan->row))
	{
		TupleTableSlot *copy = MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsMinimalTuple);

		CHECK_FOR_INTERRUPTS();
		ExecCopySlot(copy, scan->row);
		if (scan->nlong == allocated)
		{
			allocated = Max(allocated * 2, 16);
			scan->long_rows = scan->long_rows == NULL ? palloc(sizeof(TupleTableSlot *) * allocated) :
				repalloc(scan->long_rows, sizeof(TupleTableSlot *) * allocated);
		}
		scan->long_rows[scan->nlong++] = copy;
	}
	index_endscan(all);
	index_close(index, NoLock);
	if (scan->nlong > 1)
		qsort_arg(scan->long_rows, scan->nlong, sizeof(TupleTableSlot *), compare_long_rows, scan);
	scan->nleft = scan->nlong;
}

/* The parts of the index that have the rows at a place and after it, in the direction of reading. */
static void
choose_parts(DeriveOrderScan *scan, const DerivePlace *place)
{
	const DeriveOrderColumn *first = scan->ordering->columns[0].column;
	bool		nulls_at_end = first->nulls_first == scan->backward;
	bool		greater = scan->backward == first->reverse;
	StrategyNumber strategy = greater ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber;
	Oid			opcintype = scan->index->rd_opcintype[0];
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
						   datumCopy(place->values[0], scan->ordering->columns[0].byval, scan->ordering->columns[0].len));
}

DeriveOrderScan *
derive_order_scan_begin(Relation table, List *order, DeriveOrdering *ordering, Snapshot snapshot,
						bool backward, const DerivePlace *place)
{
	bool		sized = size_expression(table, order) != NULL;
	DeriveOrderScan *scan;
	Oid			of_order;
	Oid			of_long_rows;

	find_indexes(table, order, sized, &of_order, &of_long_rows);
	if (!OidIsValid(of_order) || (sized && !OidIsValid(of_long_rows)))
		return NULL;
	scan = palloc0(sizeof(DeriveOrderScan));
	scan->ordering = ordering;
	scan->backward = backward;
	scan->row = table_slot_create(table, NULL);
	if (sized)
		read_long_rows(scan, table, of_long_rows, snapshot);
	scan->index = index_open(of_order, AccessShareLock);
	choose_parts(scan, place);
	scan->scan = derive_compat_index_beginscan(table, scan->index, snapshot, scan->nkeys);
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
	if (scan->nleft > 0 && (scan->taken || compare_rows(scan, scan->long_rows[scan->nleft - 1], scan->row) < 0))
		return scan->long_rows[--scan->nleft];
	if (scan->taken)
		return NULL;
	scan->taken = true;
	return scan->row;
}

void
derive_order_scan_end(DeriveOrderScan *scan)
{
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
	ExecDropSingleTupleTableSlot(scan->row);
	for (int i = 0; i < scan->nlong; i++)
		ExecDropSingleTupleTableSlot(scan->long_rows[i]);
}
