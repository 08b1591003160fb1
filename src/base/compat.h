/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between the supported server versions (15 to 18).
 *
 * Each wrapper has a name of its own and says which change in core made it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_COMPAT_H
#define DERIVE_COMPAT_H

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication.h"
#include "commands/defrem.h"
#include "commands/publicationcmds.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"
#include "parser/parse_relation.h"
#include "pgstat.h"
#include "replication/message.h"
#include "replication/reorderbuffer.h"
#include "replication/slot.h"
#include "replication/walsender_private.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/jsonpath.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"
/* 16 took the macros for variable-length values out of postgres.h (commit d952373a9). */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_derive supports PostgreSQL 15 to 18"
#endif

/*
 * 18 replaced pg_attribute_noreturn(), which stood at the end of a declaration,
 * by pg_noreturn at its beginning.
 */
#if PG_VERSION_NUM >= 180000
#define DERIVE_NORETURN pg_noreturn
#else
#define DERIVE_NORETURN pg_attribute_noreturn()
#endif

/*
 * 16 moved permission checks from range table entries to RTEPermissionInfo
 * (commit a61b1f748).  The planner wants one for each relation it scans, so
 * "no permission needed" is an entry that asks for none.  Also to be called for
 * queries made by hand, and when an entry moved to another query.
 */
#if PG_VERSION_NUM >= 160000
static inline void
derive_compat_strip_permissions(Query *query)
{
	ListCell   *lc;

	query->rteperminfos = NIL;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rte->perminfoindex = 0;
		if (rte->rtekind == RTE_RELATION)
			(void) addRTEPermissionInfo(&query->rteperminfos, rte);
	}
}
#else
static inline void
derive_compat_strip_permissions(Query *query)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rte->requiredPerms = 0;
		rte->checkAsUser = InvalidOid;
		rte->selectedCols = NULL;
	}
}
#endif

/*
 * 18 represents grouped columns by Vars of an RTE_GROUP entry (commit
 * 247dea89f); we want the expressions themselves, as before.  The entry stays
 * in the range table, since others come after it perhaps, but as one that
 * means nothing: the planner expects RTE_GROUP only where hasGroupRTE is set.
 */
static inline void
derive_compat_flatten_groups(Query *query)
{
#if PG_VERSION_NUM >= 180000
	ListCell   *lc;

	if (!query->hasGroupRTE)
		return;
	query->targetList = (List *) flatten_group_exprs(NULL, query, (Node *) query->targetList);
	query->havingQual = flatten_group_exprs(NULL, query, query->havingQual);
	query->hasGroupRTE = false;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_GROUP)
			continue;
		rte->rtekind = RTE_RESULT;
		rte->groupexprs = NIL;
	}
#endif
}

/* The same entry of a query that groups no more, and whose range table is another one. */
static inline void
derive_compat_forget_groups(Query *query)
{
#if PG_VERSION_NUM >= 180000
	query->hasGroupRTE = false;
#endif
}

/* 18 dropped ExecutorRun()'s execute_once (commit 3eea7a0c9). */
static inline void
derive_compat_executor_run(QueryDesc *desc)
{
#if PG_VERSION_NUM >= 180000
	ExecutorRun(desc, ForwardScanDirection, 0);
#else
	ExecutorRun(desc, ForwardScanDirection, 0, true);
#endif
}

/* 17: ReorderBufferChange holds plain HeapTuples, no ReorderBufferTupleBuf. */
static inline HeapTuple
derive_change_oldtuple(ReorderBufferChange *change)
{
#if PG_VERSION_NUM >= 170000
	return change->data.tp.oldtuple;
#else
	return change->data.tp.oldtuple ? &change->data.tp.oldtuple->tuple : NULL;
#endif
}

static inline HeapTuple
derive_change_newtuple(ReorderBufferChange *change)
{
#if PG_VERSION_NUM >= 170000
	return change->data.tp.newtuple;
#else
	return change->data.tp.newtuple ? &change->data.tp.newtuple->tuple : NULL;
#endif
}

/* 18: ReplicationSlotAcquire() was given error_if_invalid. */
static inline void
derive_slot_acquire(const char *name, bool nowait)
{
#if PG_VERSION_NUM >= 180000
	ReplicationSlotAcquire(name, nowait, true);
#else
	ReplicationSlotAcquire(name, nowait);
#endif
}

/*
 * 17: ReplicationSlotCreate() was given failover and synced (commits c393308b6 and
 * ddd5f4f54): standbys that synchronize slots have a copy of ours.
 */
static inline void
derive_slot_create_ephemeral(const char *name)
{
#if PG_VERSION_NUM >= 170000
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false, true, false);
#else
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false);
#endif
}

/* Is it the copy of a slot of the primary, or was it one before a promotion (same commits)? */
static inline bool
derive_slot_is_synced(const ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 170000
	return data->synced;
#else
	return false;
#endif
}

/* Whoever uses a copy after a promotion may say that it is none any more: there it has no meaning for the server. */
static inline void
derive_slot_unset_synced(ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 170000
	data->synced = false;
#endif
}

/* Does the process send to a standby that may have copies of slots (same commits)? */
static inline bool
derive_compat_sends_to_copies(const WalSnd *sender)
{
#if PG_VERSION_NUM >= 170000
	return sender->kind == REPLICATION_KIND_PHYSICAL;
#else
	return false;
#endif
}

/* 16: a slot stores the cause of its invalidation, not just the place. */
static inline bool
derive_slot_is_invalidated(const ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 160000
	return data->invalidated != RS_INVAL_NONE;
#else
	return !XLogRecPtrIsInvalid(data->invalidated_at);
#endif
}

/* What became of an invalidated slot, for people. */
static inline const char *
derive_slot_invalidation(const ReplicationSlotPersistentData *data)
{
#if PG_VERSION_NUM >= 160000
	if (data->invalidated == RS_INVAL_WAL_LEVEL)
		return "the replication slot was invalidated by a change of \"wal_level\"";
	if (data->invalidated == RS_INVAL_HORIZON)
		return "the replication slot has lost catalog rows that it needs";
#endif
#if PG_VERSION_NUM >= 180000
	if (data->invalidated == RS_INVAL_IDLE_TIMEOUT)
		return "the replication slot was invalidated after \"idle_replication_slot_timeout\"";
#endif
	return "the replication slot has lost required WAL";
}

/* 17 gave LockHeldByMe() a third argument, "or a stronger mode" (commit 0cecc908e). */
static inline bool
derive_lock_held_by_me(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
#endif
}

/* 17 put the parts of a process's virtual transaction id together (commit ab355e3a8). */
static inline LocalTransactionId
derive_compat_lxid(const PGPROC *proc)
{
#if PG_VERSION_NUM >= 170000
	return proc->vxid.lxid;
#else
	return proc->lxid;
#endif
}

/*
 * The process that holds a lock, from what GetLockConflicts() says; 0: a prepared
 * transaction, which goes by the id of the session that prepared it.  17 counts
 * processes by ProcNumber (commits 024c52111 and ab355e3a8).
 */
static inline int
derive_compat_vxid_pid(const VirtualTransactionId *vxid)
{
	PGPROC	   *proc;

	if (VirtualTransactionIdIsRecoveredPreparedXact(*vxid))
		return 0;
#if PG_VERSION_NUM >= 170000
	proc = ProcNumberGetProc(vxid->procNumber);
#else
	proc = BackendIdGetProc(vxid->backendId);
#endif
	return proc != NULL && derive_compat_lxid(proc) == vxid->localTransactionId ? proc->pid : 0;
}

/* 17 lets extensions name their wait events (commit c9af05465). */
static inline uint32
derive_compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* 16 shortened the names of the counters of a table (commit 8018ffbf5). */
static inline uint64
derive_compat_tuples_returned(const PgStat_TableStatus *table)
{
#if PG_VERSION_NUM >= 160000
	return table->counts.tuples_returned;
#else
	return table->t_counts.t_tuples_returned;
#endif
}

static inline uint64
derive_compat_blocks_fetched(const PgStat_TableStatus *table)
{
#if PG_VERSION_NUM >= 160000
	return table->counts.blocks_fetched;
#else
	return table->t_counts.t_blocks_fetched;
#endif
}

/* 16 replaced the pg_xxx_ownercheck() functions (commit afbfc0298). */
static inline bool
derive_owns_relation(Oid relid, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, role);
#else
	return pg_class_ownercheck(relid, role);
#endif
}

/* 16 replaced the pg_xxx_aclcheck() functions (commit c727f511b). */
static inline AclResult
derive_compat_schema_aclcheck(Oid schema, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, mode);
#else
	return pg_namespace_aclcheck(schema, role, mode);
#endif
}

static inline AclResult
derive_compat_function_aclcheck(Oid function, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, mode);
#else
	return pg_proc_aclcheck(function, role, mode);
#endif
}

static inline bool
derive_owns_database(Oid dboid, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, dboid, role);
#else
	return pg_database_ownercheck(dboid, role);
#endif
}

/* 17 lets holders of MAINTAIN refresh a materialized view (commit ecb0fd337). */
static inline bool
derive_may_refresh(Oid relid, Oid role)
{
#if PG_VERSION_NUM >= 170000
	return pg_class_aclcheck(relid, role, ACL_MAINTAIN) == ACLCHECK_OK;
#else
	return derive_owns_relation(relid, role);
#endif
}

/* 18 gave index_beginscan() a place for statistics of the scan (commit 0fbceae84). */
static inline IndexScanDesc
derive_compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* 16 can update summarizing indexes alone after a HOT update (commit 19d8e2308). */
static inline List *
derive_compat_insert_index_tuples(ResultRelInfo *rri, TupleTableSlot *slot, EState *estate,
								  bool update, List *arbiters, bool only_summarizing)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(rri, slot, estate, update, arbiters != NIL, NULL, arbiters,
								 only_summarizing);
#else
	return ExecInsertIndexTuples(rri, slot, estate, update, arbiters != NIL, NULL, arbiters);
#endif
}

/* Update the row at tid and the indexes that need it (same commit). */
static inline List *
derive_compat_update_tuple(ResultRelInfo *rri, ItemPointer tid, TupleTableSlot *slot,
						   EState *estate, List *arbiters)
{
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;

	simple_table_tuple_update(rri->ri_RelationDesc, tid, slot, SnapshotSelf, &update_indexes);
	if (update_indexes == TU_None)
		return NIL;
	return derive_compat_insert_index_tuples(rri, slot, estate, true, arbiters,
											 update_indexes == TU_Summarizing);
#else
	bool		update_indexes;

	simple_table_tuple_update(rri->ri_RelationDesc, tid, slot, SnapshotSelf, &update_indexes);
	if (!update_indexes)
		return NIL;
	return derive_compat_insert_index_tuples(rri, slot, estate, true, arbiters, false);
#endif
}

/* 16 gave DefineIndex() the number of partitions (commit 27f5c712b). */
static inline Oid
derive_compat_define_index(Oid relid, IndexStmt *stmt)
{
#if PG_VERSION_NUM >= 160000
	return DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid, -1,
					   false, false, false, false, true).objectId;
#else
	return DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid,
					   false, false, false, false, true).objectId;
#endif
}

/*
 * Rows of pg_attribute for all columns of a descriptor, with these options ((Datum) 0:
 * none).  17 takes them with the statistics target (commit 4f622503d).
 */
static inline void
derive_compat_insert_attributes(Relation attributes, TupleDesc desc, Oid relid, Datum *options,
								CatalogIndexState indexes)
{
#if PG_VERSION_NUM >= 170000
	FormExtraData_pg_attribute *extra = palloc0(sizeof(FormExtraData_pg_attribute) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		extra[i].attstattarget.isnull = true;
		extra[i].attoptions.isnull = options[i] == (Datum) 0;
		extra[i].attoptions.value = options[i];
	}
	InsertPgAttributeTuples(attributes, desc, relid, extra, indexes);
#else
	InsertPgAttributeTuples(attributes, desc, relid, options, indexes);
#endif
}

/* 16 renamed it (commit b0a55e432). */
static inline void
derive_compat_empty_files(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	RelationSetNewRelfilenumber(rel, rel->rd_rel->relpersistence);
#else
	RelationSetNewRelfilenode(rel, rel->rd_rel->relpersistence);
#endif
}

/* Before 17, whoever gives a relation other files closes those it had (commit 21d9c3ee4). */
static inline void
derive_compat_close_files(Oid relid)
{
#if PG_VERSION_NUM < 170000
	RelationCloseSmgrByOid(relid);
#endif
}

/* 17 gave reindex_index() the statement, for event triggers (commit 7e28d3ad0). */
static inline void
derive_compat_reindex_index(Oid index)
{
	ReindexParams params = {0};

#if PG_VERSION_NUM >= 170000
	reindex_index(NULL, index, false, RELPERSISTENCE_PERMANENT, &params);
#else
	reindex_index(index, false, RELPERSISTENCE_PERMANENT, &params);
#endif
}

/* 18 counts the pages that are all frozen, too (commit 99f8f3fbb). */
static inline void
derive_compat_exchange_frozen(Form_pg_class a, Form_pg_class b)
{
#if PG_VERSION_NUM >= 180000
	int32		pages = a->relallfrozen;

	a->relallfrozen = b->relallfrozen;
	b->relallfrozen = pages;
#endif
}

/*
 * 17 locks search_path in maintenance operations by RestrictSearchPath()
 * (commit 2af07e2f7); the value is the same.  Undone by AtEOXact_GUC().
 */
static inline void
derive_compat_restrict_search_path(void)
{
#if PG_VERSION_NUM >= 170000
	RestrictSearchPath();
#else
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
#endif
}

/* 16 lets stringToQualifiedNameList() return errors (commit 858e776c8). */
static inline List *
derive_compat_qualified_name(const char *string)
{
#if PG_VERSION_NUM >= 160000
	return stringToQualifiedNameList(string, NULL);
#else
	return stringToQualifiedNameList(string);
#endif
}

/* 16 gave flatten_join_alias_vars() the planner's state. */
static inline Node *
derive_compat_flatten_join_aliases(Query *query, Node *node)
{
#if PG_VERSION_NUM >= 160000
	return flatten_join_alias_vars(NULL, query, node);
#else
	return flatten_join_alias_vars(query, node);
#endif
}

/*
 * Since 16 a column names the outer joins that may make it NULL (commit 2489d76c4).
 * Take these from it, or all others.
 */
static inline void
derive_compat_not_nulled_by(Var *var, const Bitmapset *joins)
{
#if PG_VERSION_NUM >= 160000
	var->varnullingrels = bms_difference(var->varnullingrels, joins);
#endif
}

static inline void
derive_compat_nulled_by_only(Var *var, const Bitmapset *joins)
{
#if PG_VERSION_NUM >= 160000
	var->varnullingrels = bms_intersect(var->varnullingrels, joins);
#endif
}

/*
 * Is an attribute never NULL?  18 has NOT NULL constraints that were not validated (commit
 * 14e87ffa5).
 */
static inline bool
derive_compat_attribute_is_not_null(TupleDesc desc, int i)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(desc, i)->attnullability == ATTNULLABLE_VALID;
#else
	return TupleDescAttr(desc, i)->attnotnull;
#endif
}

/*
 * The same of a column of a table, its partitions and children; constraints are not
 * passed on to every child before 18.
 */
static inline bool
derive_compat_column_is_not_null(Oid relid, bool inh, AttrNumber attno)
{
	Relation	rel = try_table_open(relid, NoLock);
	TupleDesc	desc;
	bool		result;

	if (rel == NULL)
		return false;
	desc = RelationGetDescr(rel);
	result = attno > 0 && attno <= desc->natts && derive_compat_attribute_is_not_null(desc, attno - 1) &&
		(!inh || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || !has_subclass(relid));
	table_close(rel, NoLock);
	return result;
}

/*
 * The record of a setting; NULL if the server has none of the name.  16 made the function
 * that finds it public (commit 0a20ff54f).
 */
static inline struct config_generic *
derive_compat_find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, ERROR);
#else
	struct config_generic **all = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
#endif
}

/* 18 gave expandRTE() the kind of row in RETURNING (commit 80feb727c). */
static inline void
derive_compat_expand_rte(RangeTblEntry *rte, int rtindex, int sublevels_up, int location,
						 bool include_dropped, List **names, List **vars)
{
#if PG_VERSION_NUM >= 180000
	expandRTE(rte, rtindex, sublevels_up, VAR_RETURNING_DEFAULT, location, include_dropped,
			  names, vars);
#else
	expandRTE(rte, rtindex, sublevels_up, location, include_dropped, names, vars);
#endif
}

/*
 * 18 has generated columns that are computed when they are read (commit
 * 83ea6c540): what a reference to one stands for.
 */
static inline Node *
derive_compat_virtual_column(Oid relid, Var *var)
{
#if PG_VERSION_NUM >= 180000
	Relation	rel = table_open(relid, AccessShareLock);
	Node	   *expr = build_generation_expression(rel, var->varattno);

	table_close(rel, NoLock);
	ChangeVarNodes(expr, 1, var->varno, 0);
	if (var->varlevelsup > 0)
		IncrementVarSublevelsUp(expr, var->varlevelsup, 0);
	return expr;
#else
	return (Node *) var;
#endif
}

/* 18 says in a sort clause whether its operator is a "greater than". */
static inline void
derive_compat_set_reverse_sort(SortGroupClause *clause, bool reverse)
{
#if PG_VERSION_NUM >= 180000
	clause->reverse_sort = reverse;
#endif
}

/* 18 lets a copied minimal tuple have space in front of it. */
static inline MinimalTuple
derive_compat_copy_minimal_tuple(MinimalTuple tuple)
{
#if PG_VERSION_NUM >= 180000
	return heap_copy_minimal_tuple(tuple, 0);
#else
	return heap_copy_minimal_tuple(tuple);
#endif
}

/* 16 has JSON_OBJECT and others (commit 7081ac46a), 17 JSON_VALUE and others (commit 6185c9737). */
static inline bool
derive_compat_is_json_expression(Node *node)
{
#if PG_VERSION_NUM >= 170000
	return IsA(node, JsonConstructorExpr) || IsA(node, JsonExpr);
#elif PG_VERSION_NUM >= 160000
	return IsA(node, JsonConstructorExpr);
#else
	return false;
#endif
}

/* Is it a value also where there is none of its type, by NULL ON ERROR, say? */
static inline bool
derive_compat_json_swallows_errors(Node *node)
{
#if PG_VERSION_NUM >= 170000
	JsonExpr   *json = (JsonExpr *) node;

	return IsA(node, JsonExpr) && (json->on_error == NULL || json->on_error->btype != JSON_BEHAVIOR_ERROR);
#else
	return false;
#endif
}

/* Does it compare times with and without zone, whose offset is that of today, or may it? */
static inline bool
derive_compat_json_takes_today(Node *node)
{
#if PG_VERSION_NUM >= 170000
	JsonExpr   *json = (JsonExpr *) node;
	Const	   *path;

	if (!IsA(node, JsonExpr))
		return false;
	path = (Const *) json->path_spec;
	if (!IsA(path, Const))
		return true;
	return !path->constisnull &&
		jspIsMutable(DatumGetJsonPathP(path->constvalue), json->passing_names, json->passing_values);
#else
	return false;
#endif
}

/*
 * Is the operator <, <=, =, >= or > of a btree operator family?  18 asks about all access
 * methods that have an order.
 */
static inline bool
derive_compat_is_comparison(Oid opno)
{
	ListCell   *lc;

#if PG_VERSION_NUM >= 180000
	foreach(lc, get_op_index_interpretation(opno))
	{
		CompareType type = ((OpIndexInterpretation *) lfirst(lc))->cmptype;

		if (type >= COMPARE_LT && type <= COMPARE_GT)
			return true;
	}
#else
	foreach(lc, get_op_btree_interpretation(opno))
	{
		int			strategy = ((OpBtreeInterpretation *) lfirst(lc))->strategy;

		if (strategy >= BTLessStrategyNumber && strategy <= BTGreaterStrategyNumber)
			return true;
	}
#endif
	return false;
}

/* 17 gave LogLogicalMessage() a choice to flush (commit 173b56f1e). */
static inline XLogRecPtr
derive_compat_log_message(const char *prefix, const char *content, Size size)
{
#if PG_VERSION_NUM >= 170000
	return LogLogicalMessage(prefix, content, size, true, false);
#else
	return LogLogicalMessage(prefix, content, size, true);
#endif
}

/* The same, outside of any transaction. */
static inline XLogRecPtr
derive_compat_log_message_at_once(const char *prefix, const char *content, Size size)
{
#if PG_VERSION_NUM >= 170000
	return LogLogicalMessage(prefix, content, size, false, false);
#else
	return LogLogicalMessage(prefix, content, size, false);
#endif
}

/*
 * Overwrite the only row of a table that has this key (by a heap scan), which is that of tuple, by one of
 * the same length, for everybody and without a transaction ID.  18 removed heap_inplace_update() (commit a07e03fd8).
 */
static inline void
derive_compat_overwrite(Relation rel, HeapTuple tuple, const ScanKeyData *key)
{
#if PG_VERSION_NUM >= 180000
	HeapTuple	old;
	void	   *state;

	systable_inplace_update_begin(rel, InvalidOid, false, NULL, 1, key, &old, &state);
	if (!HeapTupleIsValid(old))
		elog(ERROR, "table \"%s\" does not have the row", RelationGetRelationName(rel));
	systable_inplace_update_finish(state, tuple);
	heap_freetuple(old);
#else
	heap_inplace_update(rel, tuple);
#endif
}

/*
 * Up to 16, old_snapshot_threshold lets pruning remove row versions that a slot's
 * xmin holds (heap_page_prune_opt()); 17 removed it (commit f691f5b80).
 */
static inline bool
derive_compat_prunes_despite_slots(void)
{
#if PG_VERSION_NUM >= 170000
	return false;
#else
	return old_snapshot_threshold >= 0;
#endif
}

/*
 * 18 merges the self joins of a unique key into one scan (commit fc069a3a6).  Sets the
 * variable itself, and returns what it was.
 */
static inline bool
derive_compat_eliminate_self_joins(bool eliminate)
{
#if PG_VERSION_NUM >= 180000
	bool		before = enable_self_join_elimination;

	enable_self_join_elimination = eliminate;
	return before;
#else
	return false;
#endif
}

/*
 * Of a table as rel shows it, would the server refuse what the publication publishes of updates and deletes:
 * for its column list, or, from 18 on (commit 87ce27de6), for generated columns that it does not publish?
 */
static inline void
derive_compat_judge_publication(Publication *publication, Relation rel, List *ancestors, bool *columns, bool *generated)
{
#if PG_VERSION_NUM >= 180000
	(void) pub_contains_invalid_column(publication->oid, rel, ancestors, publication->pubviaroot,
									   publication->pubgencols_type, columns, generated);
#else
	*columns = !publication->alltables &&
		pub_collist_contains_invalid_column(publication->oid, rel, ancestors, publication->pubviaroot);
	*generated = false;
#endif
}

/* Note a generated column of that kind.  18 has virtual ones (commit 83ea6c540). */
static inline void
derive_compat_note_generated(TupleConstr *constr, char attgenerated)
{
	if (attgenerated == ATTRIBUTE_GENERATED_STORED)
		constr->has_generated_stored = true;
#if PG_VERSION_NUM >= 180000
	if (attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		constr->has_generated_virtual = true;
#endif
}

/* Has it such columns, which no publication publishes? */
static inline bool
derive_compat_has_virtual(const TupleConstr *constr)
{
#if PG_VERSION_NUM >= 180000
	return constr->has_generated_virtual;
#else
	return false;
#endif
}

/*
 * Have the descriptor say that the column, by its index, is not there.  18 has part of what it says twice
 * (commit 5983a4cff).
 */
static inline void
derive_compat_hide_column(TupleDesc desc, int i)
{
	TupleDescAttr(desc, i)->attisdropped = true;
#if PG_VERSION_NUM >= 180000
	populate_compact_attribute(desc, i);
#endif
}

#endif							/* DERIVE_COMPAT_H */
