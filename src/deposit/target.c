/*-------------------------------------------------------------------------
 *
 * target.c
 *	  Changing the rows of a view's table or of an internal table.
 *
 * Writing
 *
 *	Rows are written as the executor writes them, minus the plan: a
 *	ResultRelInfo with its indexes open and an EState for the index
 *	expressions.  A row that is replaced is updated in place, so that it stays
 *	on its page and needs no index entries (HOT) where no indexed column
 *	changes.
 *
 * Finding
 *
 *	Through the locator's index under SnapshotSelf, that is, what is committed
 *	and what we did ourselves, up to the last change: this is right because
 *	nobody else writes these relations.  A candidate must equal the wanted row
 *	by image in all columns.
 *
 *	Where a row was written by this very command, the heap would not let the
 *	same command change it, so the command counter moves first.
 *
 *	Rows with one and the same key that are taken one by one leave dead entries
 *	in the index, which each search for the next of them would pass again: n
 *	rows, n^2/2 steps.  So from the second row of a key on, a search remembers
 *	where some more are that it met (copies.h).
 *
 * Uniqueness
 *
 *	Unique indexes are checked at once, row by row.  Two rows that swap a
 *	unique value would collide half-way, so where there is a unique index that
 *	may see a value come before it went, removals are done first and additions
 *	wait in a tuplestore until close.  A locator that is a unique index does
 *	not need that, because changes are paired by its key, except if its
 *	equality is wider than that of the image (0.0 and -0.0).
 *
 *	A collision in the locator's own index means that the view has a row that
 *	it should not have: it has diverged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/class_row.h"
#include "base/compat.h"
#include "base/gucs.h"
#include "base/rowhash.h"
#include "base/usercode.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "delta/consolidate.h"
#include "deposit/copies.h"
#include "deposit/target.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* From this many additions on, write as COPY does. */
#define BULK_THRESHOLD	1000

#define ROW_HASH_SCHEMA		"derive_state"
#define ROW_HASH_FUNCTION	"row_hash"

struct DeriveTarget
{
	MemoryContext cxt;			/* holds all of this */
	MemoryContext row_cxt;		/* reset after each change */

	Relation	rel;
	EState	   *estate;
	ResultRelInfo *rri;
	TupleTableSlot *found;		/* a row of the relation */
	TupleTableSlot *written;	/* a row on its way into it */

	/* finding */
	DeriveLocator locator;
	Relation	index;			/* the locator's, one of rri's */
	IndexScanDesc scan;			/* NULL until needed */
	int			nscankeys;
	ScanKeyData *scankeys;
	ExprState  *hash;			/* what a locator that is not unique has;
								 * NULL: derive_state.row_hash() */
	AttrNumber *scanattrs;		/* column of each scan key; unique locator
								 * only */
	DeriveCopies *copies;		/* of rows that lookup() returned and that
								 * were taken; NULL: none was, or they have
								 * unique keys */

	/* uniqueness */
	List	   *arbiters;		/* the locator's index where it is unique */
	Bitmapset  *unique_columns; /* columns of the other unique indexes */
	bool		add_at_close;	/* additions wait */
	Tuplestorestate *additions; /* the waiting ones; NULL if none */

	BulkInsertState bulk;		/* NULL until it pays */
	bool		dirty;			/* written since the command counter moved */
	DeriveConsolidator *consolidator;	/* NULL unless rows come by add() */
	DeriveDelta *output;		/* or NULL */
	DeriveObserver observer;	/* or NULL */
	void	   *observer_arg;
	DeriveTargetCounts counts;
};

/*
 * Locators
 */

static IndexElem *
index_element(char *column, Node *expr)
{
	IndexElem  *element = makeNode(IndexElem);

	element->name = column;
	element->expr = expr;
	element->indexcolname = column != NULL ? NULL : pstrdup(ROW_HASH_FUNCTION);
	element->ordering = SORTBY_DEFAULT;
	element->nulls_ordering = SORTBY_NULLS_DEFAULT;

	return element;
}

/* The OID of derive_state.row_hash(record); nobody needs rights on the schema for it. */
static Oid
hash_function(void)
{
	Oid			argtype = RECORDOID;

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(ROW_HASH_FUNCTION),
						   PointerGetDatum(buildoidvector(&argtype, 1)),
						   ObjectIdGetDatum(get_namespace_oid(ROW_HASH_SCHEMA, false)));
}

/*
 * What hash_record_extended() can hash of a column: equal images must have equal
 * hashes, on every machine and for ever.  That is true of PostgreSQL's own types
 * with a hash function, of what the others among them are sent as, and of text
 * whose collation does not matter.  NULL for the types of others, whose code is
 * not run here, and for composite ones.
 */
static Expr *
portable_image(Var *var)
{
	Oid			type = getBaseType(var->vartype);
	Oid			element = get_element_type(type);
	Oid			send;
	bool		is_varlena;

	if (!OidIsValid(element))
		element = type;
	if (element >= FirstGenbkiObjectId && get_typtype(element) != TYPTYPE_ENUM)
		return NULL;

	if (lookup_type_cache(var->vartype, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc != InvalidOid)
	{
		CollateExpr *bytewise;

		if (!OidIsValid(var->varcollid) || get_collation_isdeterministic(var->varcollid))
			return (Expr *) var;
		bytewise = makeNode(CollateExpr);
		bytewise->arg = (Expr *) var;
		bytewise->collOid = C_COLLATION_OID;
		bytewise->location = -1;
		return (Expr *) bytewise;
	}
	if (type == XMLOID)
		return (Expr *) makeRelabelType((Expr *) var, TEXTOID, -1, DEFAULT_COLLATION_OID,
										COERCE_EXPLICIT_CAST);
	getTypeBinaryOutputInfo(type, &send, &is_varlena);
	if (element != type || func_volatile(send) != PROVOLATILE_IMMUTABLE)
		return NULL;
	return (Expr *) makeFuncExpr(send, BYTEAOID,
								 list_make1(applyRelabelType((Node *) var, type, -1, InvalidOid,
															 COERCE_IMPLICIT_CAST, -1, false)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/*
 * The expression of a locator that is not unique, analysed: a hash of its
 * columns.  It may be any hash that is equal for equal images, since what is
 * found is compared.
 *
 * Internal tables have derive_state.row_hash(ROW(columns)), the hash of the image.
 * The index of a view goes where the view goes, with "pg_dump -t" also to places
 * where nobody knows us, so it has PostgreSQL's own function wherever that can hash
 * the columns:
 *
 *		(word text, n bigint, at point)
 *			-> hash_record_extended(ROW(word, n, point_send(at)), 0)
 */
static Node *
hash_expression(Relation relation, const DeriveLocator *locator)
{
	TupleDesc	desc = RelationGetDescr(relation);
	int			n = locator->nattrs > 0 ? locator->nattrs : desc->natts;
	bool		portable = relation->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
	RelationGetNamespace(relation) != get_namespace_oid(ROW_HASH_SCHEMA, false);
	List	   *images = NIL;
	RowExpr    *row = makeNode(RowExpr);
	List	   *args = list_make1(row);
	Oid			function = hash_function();

	if (!OidIsValid(function))
		elog(ERROR, "function %s.%s(record) does not exist", ROW_HASH_SCHEMA, ROW_HASH_FUNCTION);

	for (int i = 0; i < n; i++)
	{
		AttrNumber	attno = locator->nattrs > 0 ? locator->attrs[i] : i + 1;
		Form_pg_attribute att = TupleDescAttr(desc, attno - 1);
		Var		   *var = makeVar(1, attno, att->atttypid, att->atttypmod, att->attcollation, 0);
		Expr	   *image = portable ? portable_image(var) : NULL;

		row->args = lappend(row->args, var);
		row->colnames = lappend(row->colnames, makeString(psprintf("f%d", i + 1)));
		images = lappend(images, image);
		portable = portable && image != NULL;
	}
	row->row_typeid = RECORDOID;
	row->row_format = COERCE_EXPLICIT_CALL;
	row->location = -1;
	if (portable)
	{
		function = F_HASH_RECORD_EXTENDED;
		row->args = images;
		args = lappend(args, makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(0),
									   false, FLOAT8PASSBYVAL));
	}

	return (Node *) makeFuncExpr(function, INT8OID, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static bool
is_row_hash(Node *expression)
{
	return IsA(expression, FuncExpr) && ((FuncExpr *) expression)->funcid == hash_function();
}

/*
 * The index needs our function, which is a member of the extension.  DROP
 * EXTENSION shall take the index away, not complain about it.
 */
static void
depend_automatically(Oid index)
{
	ObjectAddress depender;
	ObjectAddress referenced;

	CommandCounterIncrement();
	ObjectAddressSet(depender, RelationRelationId, index);
	ObjectAddressSet(referenced, ProcedureRelationId, hash_function());
	deleteDependencyRecordsForSpecific(RelationRelationId, index, DEPENDENCY_NORMAL,
									   ProcedureRelationId, referenced.objectId);
	recordDependencyOn(&depender, &referenced, DEPENDENCY_AUTO);
}

Oid
derive_locator_create_index(Relation relation, const DeriveLocator *locator)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Oid			schema = RelationGetNamespace(relation);
	IndexStmt  *stmt = makeNode(IndexStmt);
	Node	   *hash = locator->unique ? NULL : hash_expression(relation, locator);
	Oid			index;

	stmt->relation = makeRangeVar(get_namespace_name(schema),
								  pstrdup(RelationGetRelationName(relation)), -1);
	stmt->accessMethod = pstrdup("btree");
	stmt->transformed = true;
	if (locator->unique)
	{
		stmt->unique = true;
		stmt->nulls_not_distinct = true;
		for (int i = 0; i < locator->nattrs; i++)
		{
			char	   *column = NameStr(TupleDescAttr(desc, locator->attrs[i] - 1)->attname);

			stmt->indexParams = lappend(stmt->indexParams, index_element(pstrdup(column), NULL));
		}
	}
	else
	{
		stmt->idxname = ChooseRelationName(RelationGetRelationName(relation), NULL,
										   "derive_idx", schema, false);
		stmt->indexParams = list_make1(index_element(NULL, hash));
	}

	derive_class_row_require(RelationGetRelid(relation));
	index = derive_compat_define_index(RelationGetRelid(relation), stmt);
	if (hash != NULL && is_row_hash(hash))
		depend_automatically(index);

	return index;
}

/* Are these the key columns of the index, in any order? */
static bool
index_has_columns(Form_pg_index form, const DeriveLocator *locator)
{
	if (form->indnkeyatts != locator->nattrs)
		return false;

	for (int i = 0; i < locator->nattrs; i++)
	{
		bool		seen = false;

		for (int j = 0; j < form->indnkeyatts; j++)
			seen |= (form->indkey.values[j] == locator->attrs[i]);
		if (!seen)
			return false;
	}

	return true;
}

bool
derive_locator_matches(Relation index, const DeriveLocator *locator)
{
	Form_pg_index form = index->rd_index;
	Relation	relation;
	List	   *expressions;
	bool		matches;

	if (!form->indisvalid || !form->indisready || !form->indislive ||
		index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;

	/* it may be somebody else's */
	if (!derive_is_trusted(derive_index_stored(index, Anum_pg_index_indexprs)))
		return false;
	expressions = RelationGetIndexExpressions(index);
	if (locator->unique)
		return expressions == NIL && form->indisunique && form->indimmediate &&
			form->indnullsnotdistinct && index_has_columns(form, locator);

	if (list_length(expressions) != 1 || form->indnkeyatts != 1)
		return false;
	relation = RelationIdGetRelation(form->indrelid);
	if (relation == NULL)
		return false;
	/* those of an index are simplified when they are read */
	matches = equal(linitial(expressions), eval_const_expressions(NULL, hash_expression(relation, locator)));
	RelationClose(relation);

	return matches;
}

/*
 * Opening
 */

static void
init_scan_keys(DeriveTarget *target)
{
	Relation	index = target->index;

	target->nscankeys = target->locator.unique ? IndexRelationGetNumberOfKeyAttributes(index) : 1;
	target->scankeys = palloc0(sizeof(ScanKeyData) * target->nscankeys);
	if (!target->locator.unique)
	{
		Node	   *hash = linitial(RelationGetIndexExpressions(index));

		ScanKeyInit(&target->scankeys[0], 1, BTEqualStrategyNumber, F_INT8EQ, (Datum) 0);
		target->hash = is_row_hash(hash) ? NULL : ExecPrepareExpr((Expr *) hash, target->estate);
		return;
	}

	target->scanattrs = palloc(sizeof(AttrNumber) * target->nscankeys);
	for (int i = 0; i < target->nscankeys; i++)
	{
		Oid			operator = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
												   index->rd_opcintype[i], BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "missing equality operator of index \"%s\"", RelationGetRelationName(index));
		target->scanattrs[i] = index->rd_index->indkey.values[i];
		ScanKeyEntryInitialize(&target->scankeys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(operator), (Datum) 0);
	}
}

/* Add the columns that an index looks at, in keys, expressions or predicate. */
static Bitmapset *
add_index_columns(Bitmapset *columns, IndexInfo *info)
{
	Bitmapset  *offset = NULL;
	int			i = -1;

	for (int k = 0; k < info->ii_NumIndexKeyAttrs; k++)
	{
		if (info->ii_IndexAttrNumbers[k] != 0)
			columns = bms_add_member(columns, info->ii_IndexAttrNumbers[k]);
	}

	pull_varattnos((Node *) info->ii_Expressions, 1, &offset);
	pull_varattnos((Node *) info->ii_Predicate, 1, &offset);
	while ((i = bms_next_member(offset, i)) >= 0)
		columns = bms_add_member(columns, Max(i + FirstLowInvalidHeapAttributeNumber, 0));

	return columns;
}

/* Open the relation's indexes, and find out about the locator's and the unique ones. */
static void
open_indexes(DeriveTarget *target, Oid index)
{
	ResultRelInfo *rri = target->rri;

	ExecOpenIndices(rri, false);
	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		IndexInfo  *info = rri->ri_IndexRelationInfo[i];

		if (RelationGetRelid(rri->ri_IndexRelationDescs[i]) == index)
			target->index = rri->ri_IndexRelationDescs[i];
		else if (info->ii_Unique || info->ii_ExclusionOps != NULL)
		{
			target->unique_columns = add_index_columns(target->unique_columns, info);
			target->add_at_close = true;
		}
	}

	if (target->index == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index with OID %u of relation \"%s\" does not exist",
						index, RelationGetRelationName(target->rel))));
	if (target->locator.unique)
	{
		target->arbiters = list_make1_oid(index);
		if (!_bt_allequalimage(target->index, false))
			target->add_at_close = true;
	}
}

DeriveTarget *
derive_target_open(Oid relid, Oid index, const DeriveLocator *locator, DeriveDelta *output)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive target",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveTarget *target = palloc0(sizeof(DeriveTarget));

	target->cxt = cxt;
	target->row_cxt = AllocSetContextCreate(cxt, "pg_derive target row", ALLOCSET_DEFAULT_SIZES);
	target->output = output;
	target->locator = *locator;
	if (locator->nattrs > 0)
	{
		target->locator.attrs = palloc(sizeof(AttrNumber) * locator->nattrs);
		memcpy(target->locator.attrs, locator->attrs, sizeof(AttrNumber) * locator->nattrs);
	}

	target->rel = table_open(relid, NoLock);
	target->estate = CreateExecutorState();
	target->rri = makeNode(ResultRelInfo);
	/* range table index 0: the relation is in no range table */
	InitResultRelInfo(target->rri, target->rel, 0, NULL, 0);
	open_indexes(target, index);
	init_scan_keys(target);
	target->found = table_slot_create(target->rel, NULL);
	target->written = table_slot_create(target->rel, NULL);
	MemoryContextSwitchTo(old);

	return target;
}

void
derive_target_observe(DeriveTarget *target, DeriveObserver observer, void *arg)
{
	target->observer = observer;
	target->observer_arg = arg;
}

/*
 * Finding
 */

static void
diverged(DeriveTarget *target, const char *detail)
{
	ereport(ERROR,
			(errcode(DERIVE_ERRCODE_DIVERGED),
			 errmsg("contents of \"%s\" do not agree with its definition",
					RelationGetRelationName(target->rel)),
			 errdetail_internal("%s", detail)));
}

/* What is looked for in the index. */
static void
set_scan_keys(DeriveTarget *target, TupleTableSlot *row)
{
	slot_getallattrs(row);
	if (target->locator.unique)
	{
		for (int i = 0; i < target->nscankeys; i++)
		{
			ScanKey		key = &target->scankeys[i];
			int			attno = target->scanattrs[i] - 1;

			key->sk_argument = row->tts_isnull[attno] ? (Datum) 0 : row->tts_values[attno];
			key->sk_flags = row->tts_isnull[attno] ? (SK_ISNULL | SK_SEARCHNULL) : 0;
		}
	}
	else if (target->hash != NULL)
	{
		ExprContext *econtext = GetPerTupleExprContext(target->estate);
		bool		isnull;

		econtext->ecxt_scantuple = row;
		target->scankeys[0].sk_argument = ExecEvalExprSwitchContext(target->hash, econtext, &isnull);
		Assert(!isnull);
		ResetExprContext(econtext);
	}
	else
	{
		int			n = target->locator.nattrs;

		target->scankeys[0].sk_argument =
			Int64GetDatum(n > 0 ? derive_row_hash(row, n, target->locator.attrs) :
						  derive_values_hash(RelationGetDescr(target->rel),
											 row->tts_values, row->tts_isnull));
	}
}

/*
 * PITFALL: an index scan keeps what it allocates while it runs, so it must not
 * run in the row's context.
 */
static void
start_scan(DeriveTarget *target)
{
	MemoryContext old = MemoryContextSwitchTo(target->cxt);

	if (target->scan == NULL)
		target->scan = derive_compat_index_beginscan(target->rel, target->index, SnapshotSelf,
													 target->nscankeys);
	index_rescan(target->scan, target->scankeys, target->nscankeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

/* Begin a search for copies of a row. */
static void
begin_search(DeriveTarget *target, TupleTableSlot *row)
{
	set_scan_keys(target, row);
	start_scan(target);
}

/* The next copy of the row, in target->found; ERROR if there is none. */
static void
next_copy(DeriveTarget *target, TupleTableSlot *row)
{
	TupleTableSlot *found = target->found;

	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(target->cxt);
		bool		more = index_getnext_slot(target->scan, ForwardScanDirection, found);

		MemoryContextSwitchTo(old);
		if (!more)
			break;
		if (derive_row_equal(found, row, 0, NULL))
			return;
	}

	diverged(target, "A row that should be removed is not there.");
}

/* Make sure that this command may change the row in target->found. */
static void
make_changeable(DeriveTarget *target)
{
	bool		isnull;
	TransactionId xmin;

	if (!target->dirty)
		return;
	xmin = DatumGetTransactionId(slot_getsysattr(target->found, MinTransactionIdAttributeNumber, &isnull));
	if (TransactionIdIsCurrentTransactionId(xmin))
	{
		CommandCounterIncrement();
		target->dirty = false;
	}
}

/*
 * Writing
 */

/* Tell who wants to know. */
static void
record(DeriveTarget *target, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	if (target->output != NULL && old != NULL)
		derive_delta_add_slot(target->output, old, -count);
	if (target->output != NULL && new != NULL)
		derive_delta_add_slot(target->output, new, count);
	if (target->observer != NULL)
		target->observer(target->observer_arg, old, new, count);
}

static void
remove_copies(DeriveTarget *target, TupleTableSlot *row, int64 count)
{
	begin_search(target, row);
	for (int64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		next_copy(target, row);
		make_changeable(target);
		simple_table_tuple_delete(target->rel, &target->found->tts_tid, SnapshotSelf);
		target->dirty = true;
	}
	ExecClearTuple(target->found);
	target->counts.deleted += count;
}

/* After index entries were made: in the arbiter they must not have met others. */
static void
check_collision(DeriveTarget *target, List *collisions)
{
	if (collisions != NIL)
		diverged(target, "A row that should be added is already there.");
	ResetPerTupleExprContext(target->estate);
}

static void
write_copies(DeriveTarget *target, TupleTableSlot *row, int64 count)
{
	for (int64 i = 0; i < count; i++)
	{
		List	   *collisions = NIL;

		CHECK_FOR_INTERRUPTS();
		if (target->bulk == NULL && target->counts.inserted >= BULK_THRESHOLD)
		{
			MemoryContext old = MemoryContextSwitchTo(target->cxt);

			target->bulk = GetBulkInsertState();
			MemoryContextSwitchTo(old);
		}

		ExecCopySlot(target->written, row);
		table_tuple_insert(target->rel, target->written, GetCurrentCommandId(true), 0, target->bulk);
		target->dirty = true;
		if (target->rri->ri_NumIndices > 0)
			collisions = derive_compat_insert_index_tuples(target->rri, target->written,
														   target->estate, false,
														   target->arbiters, false);
		check_collision(target, collisions);
		target->counts.inserted++;
	}
	ExecClearTuple(target->written);
}

static void
add_copies(DeriveTarget *target, TupleTableSlot *row, int64 count, bool at_close)
{
	if (!at_close)
	{
		write_copies(target, row, count);
		return;
	}

	if (target->additions == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(target->cxt);

		target->additions = tuplestore_begin_heap(false, false, derive_work_mem);
		MemoryContextSwitchTo(old);
	}
	for (int64 i = 0; i < count; i++)
		tuplestore_puttupleslot(target->additions, row);
}

/* Is the row the same in every column that some unique index looks at? */
static bool
unique_columns_agree(DeriveTarget *target, TupleTableSlot *old, TupleTableSlot *new)
{
	int			attno = -1;

	if (target->locator.unique &&
		!derive_row_equal(old, new, target->locator.nattrs, target->locator.attrs))
		return false;
	while ((attno = bms_next_member(target->unique_columns, attno)) >= 0)
	{
		AttrNumber	column = attno;

		/* 0 is the whole row, which does change */
		if (attno == 0 || !derive_row_equal(old, new, 1, &column))
			return false;
	}

	return true;
}

/* The row in target->found, in place. */
static void
update_found(DeriveTarget *target, TupleTableSlot *new)
{
	make_changeable(target);
	ExecCopySlot(target->written, new);
	check_collision(target,
					derive_compat_update_tuple(target->rri, &target->found->tts_tid, target->written,
											   target->estate, target->arbiters));
	target->dirty = true;
	target->counts.updated++;
	ExecClearTuple(target->found);
	ExecClearTuple(target->written);
}

static void
replace(DeriveTarget *target, TupleTableSlot *old, TupleTableSlot *new)
{
	if (!unique_columns_agree(target, old, new))
	{
		remove_copies(target, old, 1);
		add_copies(target, new, 1, true);
		return;
	}

	begin_search(target, old);
	next_copy(target, old);
	update_found(target, new);
}

static void
apply_net_change(void *arg, TupleTableSlot *old, TupleTableSlot *new, int64 count)
{
	DeriveTarget *target = arg;
	MemoryContext save = MemoryContextSwitchTo(target->row_cxt);

	record(target, old, new, count);

	if (old != NULL && new != NULL)
		replace(target, old, new);
	else if (old != NULL)
		remove_copies(target, old, count);
	else if (new != NULL)
		add_copies(target, new, count, target->add_at_close);

	MemoryContextSwitchTo(save);
	MemoryContextReset(target->row_cxt);
}

void
derive_target_change(DeriveTarget *target, TupleTableSlot *old, TupleTableSlot *new)
{
	Assert(target->consolidator == NULL);
	Assert(old == NULL || old->tts_tupleDescriptor->natts == RelationGetDescr(target->rel)->natts);
	Assert(new == NULL || new->tts_tupleDescriptor->natts == RelationGetDescr(target->rel)->natts);

	if (old != NULL && new != NULL)
	{
		MemoryContext save = MemoryContextSwitchTo(target->row_cxt);
		bool		same = derive_row_equal(old, new, 0, NULL);

		MemoryContextSwitchTo(save);
		if (same)
			return;
	}

	apply_net_change(target, old, new, 1);
}

/*
 * By key
 */

/* Is target->found such a row? */
static bool
has_key_of(DeriveTarget *target, TupleTableSlot *row)
{
	return target->locator.unique ||
		derive_row_equal(target->found, row, target->locator.nattrs, target->locator.attrs);
}

/* The next row with the key from the index, in target->found. */
static bool
next_with_key(DeriveTarget *target, TupleTableSlot *row)
{
	bool		more;

	do
	{
		MemoryContext old = MemoryContextSwitchTo(target->cxt);

		more = index_getnext_slot(target->scan, ForwardScanDirection, target->found);
		MemoryContextSwitchTo(old);
	} while (more && !has_key_of(target, row));
	return more;
}

/* One that an earlier search met and that is still as it was, in target->found. */
static bool
remembered(DeriveTarget *target, TupleTableSlot *row)
{
	ItemPointer tid;

	while ((tid = derive_copies_first(target->copies)) != NULL)
	{
		if (table_tuple_fetch_row_version(target->rel, tid, SnapshotSelf, target->found) &&
			has_key_of(target, row))
			return true;
		derive_copies_remove_first(target->copies);
	}
	return false;
}

TupleTableSlot *
derive_target_lookup(DeriveTarget *target, TupleTableSlot *row)
{
	bool		found;

	set_scan_keys(target, row);
	if (target->copies != NULL &&
		derive_copies_find(target->copies, DatumGetInt64(target->scankeys[0].sk_argument)))
	{
		if (!remembered(target, row))
		{
			start_scan(target);
			derive_copies_refill(target->copies);
			while (derive_copies_want_more(target->copies) && next_with_key(target, row))
				derive_copies_add(target->copies, &target->found->tts_tid);
		}
		found = remembered(target, row);
	}
	else
	{
		start_scan(target);
		found = next_with_key(target, row);
	}
	MemoryContextReset(target->row_cxt);

	return found ? target->found : NULL;
}

/* The row that lookup() has found goes. */
static void
note_taken(DeriveTarget *target)
{
	if (target->locator.unique)
		return;
	if (target->copies == NULL)
		target->copies = derive_copies_create(target->cxt);
	derive_copies_note_taken(target->copies, DatumGetInt64(target->scankeys[0].sk_argument));
}

void
derive_target_replace_found(DeriveTarget *target, TupleTableSlot *new)
{
	MemoryContext save = MemoryContextSwitchTo(target->row_cxt);

	Assert(!TTS_EMPTY(target->found));
	if (new == NULL || !derive_row_equal(target->found, new, 0, NULL))
	{
		record(target, target->found, new, 1);
		note_taken(target);
		if (new != NULL && unique_columns_agree(target, target->found, new))
			update_found(target, new);
		else
		{
			/* values of the new row may point into the old one */
			if (new != NULL)
				ExecMaterializeSlot(new);
			make_changeable(target);
			simple_table_tuple_delete(target->rel, &target->found->tts_tid, SnapshotSelf);
			target->dirty = true;
			target->counts.deleted++;
			ExecClearTuple(target->found);
			if (new != NULL)
				write_copies(target, new, 1);
		}
	}
	MemoryContextSwitchTo(save);
	MemoryContextReset(target->row_cxt);
}

void
derive_target_insert(DeriveTarget *target, TupleTableSlot *row)
{
	MemoryContext save = MemoryContextSwitchTo(target->row_cxt);

	record(target, NULL, row, 1);
	write_copies(target, row, 1);
	MemoryContextSwitchTo(save);
	MemoryContextReset(target->row_cxt);
}

void
derive_target_add(DeriveTarget *target, TupleTableSlot *row, int64 weight)
{
	if (target->consolidator == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(target->cxt);

		target->consolidator = derive_consolidate_begin(RelationGetDescr(target->rel),
														target->locator.nattrs,
														target->locator.attrs, false);
		MemoryContextSwitchTo(old);
	}

	derive_consolidate_add(target->consolidator, row, weight);
}

void
derive_target_subtract_contents(DeriveTarget *target)
{
	TableScanDesc scan = table_beginscan(target->rel, SnapshotSelf, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, target->found))
	{
		CHECK_FOR_INTERRUPTS();
		derive_target_add(target, target->found, -1);
	}
	ExecClearTuple(target->found);
	table_endscan(scan);
}

/*
 * Closing
 */

static void
write_additions(DeriveTarget *target)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(target->rel), &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(target->additions, true, false, slot))
	{
		MemoryContext save = MemoryContextSwitchTo(target->row_cxt);

		write_copies(target, slot, 1);
		MemoryContextSwitchTo(save);
		MemoryContextReset(target->row_cxt);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(target->additions);
}

void
derive_target_close(DeriveTarget *target, DeriveTargetCounts *counts)
{
	if (target->consolidator != NULL)
		derive_consolidate_finish(target->consolidator, apply_net_change, target);
	if (target->additions != NULL)
		write_additions(target);

	if (target->bulk != NULL)
	{
		FreeBulkInsertState(target->bulk);
		table_finish_bulk_insert(target->rel, 0);
	}
	if (target->scan != NULL)
		index_endscan(target->scan);
	ExecDropSingleTupleTableSlot(target->found);
	ExecDropSingleTupleTableSlot(target->written);
	ExecCloseIndices(target->rri);
	FreeExecutorState(target->estate);
	table_close(target->rel, NoLock);

	if (target->dirty)
		CommandCounterIncrement();
	if (counts != NULL)
	{
		counts->inserted += target->counts.inserted;
		counts->updated += target->counts.updated;
		counts->deleted += target->counts.deleted;
	}
	MemoryContextDelete(target->cxt);
}
