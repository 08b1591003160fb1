/*-------------------------------------------------------------------------
 *
 * old_scan.h
 *	  One query, two sights: some relations as they are, some as they were.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_OLD_SCAN_H
#define DERIVE_OLD_SCAN_H

#include "base/past.h"
#include "executor/execdesc.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/*
 * Of the indexes of relations that are read as they were (tables, and materialized
 * views): the youngest that the planner saw, and one that it did not because it was
 * too young; by the transactions that made them, invalid: none.
 */
typedef struct DeriveOldIndexes
{
	FullTransactionId youngest[2];
	FullTransactionId left_out[2];
} DeriveOldIndexes;

/*
 * derive_join_plan() for a query with marked entries; past NULL: it has none.  Sets
 * *indexes.  Never parallel if there is a past.
 */
extern PlannedStmt *derive_old_plan(Query *query, int cursor_options, ParamListInfo estimates,
									DerivePast *past, DeriveOldIndexes *indexes);

/* Is the plan right, and as good as can be, for this past? */
extern bool derive_old_indexes_fit(const DeriveOldIndexes *indexes, DerivePast *past);

/*
 * After ExecutorStart(): let the scans of marked entries see the past.  The plan
 * must be run forward.  ERROR if some node could not.
 */
extern void derive_old_scans(QueryDesc *desc, DerivePast *past);

#endif							/* DERIVE_OLD_SCAN_H */
