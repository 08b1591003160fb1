/*-------------------------------------------------------------------------
 *
 * old_scan.c
 *	  One query, two sights: some relations as they are, some as they were.
 *
 * The executor takes the snapshot of a scan from the scan node's EState, mostly
 * with the first row, and uses little else of it while it runs (execScan.c and the
 * nodes below: es_snapshot, es_direction, es_query_cxt, es_epq_active,
 * es_query_dsa).  So after ExecutorStart() each scan of a marked entry is given a
 * shallow copy of the EState, in which only es_snapshot is another.  Expression
 * contexts, SubPlans and ExecutorEnd() go on with the original.
 *
 *		node						takes its snapshot
 *		Seq, Index, IndexOnly,		at the first row
 *		TidRange, Sample
 *		Tid							at every row
 *		BitmapIndex					at ExecutorStart(): corrected in its scan
 *		BitmapHeap					the same up to 17, at the first row since 18
 *
 * To exchange es_snapshot while ExecutorStart() runs would miss most of them; to
 * exchange it around each call of the node would catch the SubPlans in its filter
 * as well.
 *
 * An entry is marked by its alias, which survives all of planning: pull-up of
 * sub-queries, the flattened range table, and the expansion of partitions (inherit.c
 * copies it).  It is longer than an identifier can be, so that nobody has it by
 * accident.  Materialized views, which the transaction itself writes, are read as
 * they were at its beginning, tables as at the past's position (base/past.h).
 *
 * The planner must not believe what is true only now:
 *
 *	indexes		one that is younger than the position may lack rows that only it
 *				sees, and what it says to be unique may not have been so.  The hook
 *				takes it from the list.  A plan without it is made anew once the
 *				positions have passed it.
 *	self joins	18 merges "t JOIN t old ON t.id = old.id" into one scan
 *	constraints	CHECK constraints may have been violated then
 *	hooks		other extensions would add nodes that know nothing of this
 *	NOT NULL	base/past.c does not show such a relation
 *
 * Parallel workers would scan under the active snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relscan.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/debug_point.h"
#include "base/error_context.h"
#include "compile/occurrence.h"
#include "derive/joinorder.h"
#include "derive/old_scan.h"

/* Tables, and what the transaction itself writes. */
typedef enum OldKind
{
	OLD_TABLE,
	OLD_VIEW
} OldKind;

/* While a query is planned. */
static DerivePast *planning_past = NULL;
static DeriveOldIndexes *planning_indexes = NULL;
static get_relation_info_hook_type next_hook = NULL;

static OldKind
kind_of(const RangeTblEntry *rte)
{
	return rte->relkind == RELKIND_MATVIEW ? OLD_VIEW : OLD_TABLE;
}

static Snapshot
snapshot_of(DerivePast *past, OldKind kind)
{
	return kind == OLD_VIEW ? past->own : past->snapshot;
}

/* ---------- planning ---------- */

static void
note_later(FullTransactionId *xid, FullTransactionId other)
{
	if (FullTransactionIdPrecedes(*xid, other))
		*xid = other;
}

/* May the index be used?  Notes what that depends on. */
static bool
is_old_enough(Oid index, OldKind kind)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	TransactionId xmin;
	bool		lacks;

	if (!HeapTupleIsValid(tuple))
		return false;
	xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	lacks = derive_past_lacks(snapshot_of(planning_past, kind), xmin);
	if (lacks)
		elog(DEBUG1, "index \"%s\" is younger than what is read: planning without it", derive_relation_name(index));
	if (TransactionIdIsNormal(xmin))
		note_later(lacks ? &planning_indexes->left_out[kind] : &planning_indexes->youngest[kind],
				   derive_widen_xid(xmin));
	return !lacks;
}

static void
hide_young_indexes(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	ListCell   *lc;

	if (next_hook)
		next_hook(root, relid, inhparent, rel);
	if (planning_past == NULL || !derive_occurrence_is_old(rte) || DERIVE_DEBUG_SKIPS("young-indexes"))
		return;
	foreach(lc, rel->indexlist)
	{
		if (!is_old_enough(lfirst_node(IndexOptInfo, lc)->indexoid, kind_of(rte)))
			rel->indexlist = foreach_delete_current(rel->indexlist, lc);
	}
}

static void
install_hook(void)
{
	static bool installed = false;

	if (installed)
		return;
	next_hook = get_relation_info_hook;
	get_relation_info_hook = hide_young_indexes;
	installed = true;
}

/* Of the planner's own variables, since code of views may set the settings. */
typedef struct PlannerSettings
{
	int			constraint_exclusion;
	bool		self_joins;
	set_rel_pathlist_hook_type rel_hook;
	set_join_pathlist_hook_type join_hook;
	create_upper_paths_hook_type upper_hook;
} PlannerSettings;

/* See the head of the file. */
static void
restrict_planner(PlannerSettings *saved)
{
	saved->constraint_exclusion = constraint_exclusion;
	saved->self_joins = derive_compat_eliminate_self_joins(DERIVE_DEBUG_SKIPS("self-joins"));
	saved->rel_hook = set_rel_pathlist_hook;
	saved->join_hook = set_join_pathlist_hook;
	saved->upper_hook = create_upper_paths_hook;
	constraint_exclusion = CONSTRAINT_EXCLUSION_OFF;
	set_rel_pathlist_hook = NULL;
	set_join_pathlist_hook = NULL;
	create_upper_paths_hook = NULL;
}

static void
restore_planner(const PlannerSettings *saved)
{
	constraint_exclusion = saved->constraint_exclusion;
	(void) derive_compat_eliminate_self_joins(saved->self_joins);
	set_rel_pathlist_hook = saved->rel_hook;
	set_join_pathlist_hook = saved->join_hook;
	create_upper_paths_hook = saved->upper_hook;
}

PlannedStmt *
derive_old_plan(Query *query, int cursor_options, ParamListInfo estimates, DerivePast *past,
				DeriveOldIndexes *indexes)
{
	PlannedStmt *stmt;
	PlannerSettings saved;

	memset(indexes, 0, sizeof(DeriveOldIndexes));
	if (past == NULL)
		return derive_join_plan(query, cursor_options, estimates);

	Assert(planning_past == NULL);
	install_hook();
	planning_past = past;
	planning_indexes = indexes;
	restrict_planner(&saved);
	PG_TRY();
	{
		stmt = derive_join_plan(query, cursor_options & ~CURSOR_OPT_PARALLEL_OK, estimates);
	}
	PG_FINALLY();
	{
		restore_planner(&saved);
		planning_past = NULL;
		planning_indexes = NULL;
	}
	PG_END_TRY();
	return stmt;
}

/* Does the past lack an index that this transaction made? */
static bool
lacks(DerivePast *past, OldKind kind, FullTransactionId maker)
{
	Snapshot	snapshot = snapshot_of(past, kind);

	return FullTransactionIdIsValid(maker) &&
		FullTransactionIdFollowsOrEquals(maker, derive_widen_xid(snapshot->xmin)) &&
		derive_past_lacks(snapshot, XidFromFullTransactionId(maker));
}

bool
derive_old_indexes_fit(const DeriveOldIndexes *indexes, DerivePast *past)
{
	for (OldKind kind = OLD_TABLE; kind <= OLD_VIEW; kind++)
	{
		if (lacks(past, kind, indexes->youngest[kind]) ||
			(FullTransactionIdIsValid(indexes->left_out[kind]) && !lacks(past, kind, indexes->left_out[kind])))
			return false;
	}
	return true;
}

/* ---------- execution ---------- */

typedef struct OldScans
{
	DerivePast *past;
	EState	   *estate;
	EState	   *copies[2];
	List	   *range_table;
} OldScans;

static EState *
copy_estate(OldScans *scans, OldKind kind)
{
	EState	   *copy = MemoryContextAlloc(scans->estate->es_query_cxt, sizeof(EState));

	*copy = *scans->estate;
	copy->es_snapshot = snapshot_of(scans->past, kind);
	copy->es_direction = ForwardScanDirection;	/* ExecutorRun() sets the
												 * original's */
	copy->es_tupleTable = copy->es_exprcontexts = NIL;	/* nothing may be added */
	return copy;
}

static void
set_old_scan(ScanState *scan, OldScans *scans)
{
	RangeTblEntry *rte = rt_fetch(((Scan *) scan->ps.plan)->scanrelid, scans->range_table);
	OldKind		kind;

	if (!derive_occurrence_is_old(rte))
		return;
	kind = kind_of(rte);
	if (scans->copies[kind] == NULL)
		scans->copies[kind] = copy_estate(scans, kind);
	scan->ps.state = scans->copies[kind];
	if (scan->ss_currentScanDesc != NULL)
		scan->ss_currentScanDesc->rs_snapshot = scan->ps.state->es_snapshot;
	if (IsA(scan, BitmapIndexScanState))
		((BitmapIndexScanState *) scan)->biss_ScanDesc->xs_snapshot = scan->ps.state->es_snapshot;
}

static bool
visit_node(PlanState *node, OldScans *scans)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SeqScanState:
		case T_SampleScanState:
		case T_IndexScanState:
		case T_IndexOnlyScanState:
		case T_BitmapIndexScanState:
		case T_BitmapHeapScanState:
		case T_TidScanState:
		case T_TidRangeScanState:
			set_old_scan((ScanState *) node, scans);
			break;
		case T_ForeignScanState:
		case T_CustomScanState:
		case T_GatherState:
		case T_GatherMergeState:
		case T_LockRowsState:
		case T_ModifyTableState:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a plan of node type %d cannot read tables as they were", (int) nodeTag(node))));
		default:
			break;
	}
	return planstate_tree_walker(node, visit_node, scans);
}

void
derive_old_scans(QueryDesc *desc, DerivePast *past)
{
	OldScans	scans = {.past = past,.estate = desc->estate,.range_table = desc->plannedstmt->rtable};

	(void) visit_node(desc->planstate, &scans);
}
