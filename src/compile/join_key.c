/*-------------------------------------------------------------------------
 *
 * join_key.c
 *	  Which columns of a join's result are a key of it.
 *
 * The result of a join is identified by the primary keys that it shows, if these
 * determine every other table: a table is determined if the join equates all
 * columns of its primary key with columns of determined tables.
 *
 *	SELECT o.id, o.at, c.name FROM orders o JOIN customers c ON c.id = o.customer
 *
 * shows the key of orders; customers' key is equated with a column of orders; so
 * o.id is a key.  The condition of an outer join counts for the rows that meet a
 * row on its right side; those that meet none have NULLs there, once.
 *
 * A sub-query that is itself such a join, with windows perhaps, counts as a table with
 * this key:
 *
 *	SELECT w.id, w.n FROM (SELECT id, row_number() OVER (PARTITION BY g ORDER BY at) AS n FROM orders) w
 *
 * The proof rests on constraints, which may be dropped; the caller is told which.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "compile/join_key.h"
#include "compile/query.h"

/* The columns of a table's primary key that is enforced at once, or NIL. */
static List *
primary_key(Oid relid, Oid *constraint)
{
	Bitmapset  *columns = get_primary_key_attnos(relid, false, constraint);
	List	   *attnos = NIL;
	int			i = -1;

	while ((i = bms_next_member(columns, i)) >= 0)
		attnos = lappend_int(attnos, i + FirstLowInvalidHeapAttributeNumber);
	return attnos;
}

/* One table of a join, on the way to a key of the result. */
typedef struct JoinedTable
{
	int			varno;
	List	   *key;			/* attribute numbers of the primary key */
	List	   *constraints;	/* that it follows from */
	bool		determined;		/* by the result's key columns found so far */
} JoinedTable;

/* A condition of a join. */
typedef struct JoinCondition
{
	OpExpr	   *clause;
	const Bitmapset *determines;	/* NULL: it holds for every row; else for
									 * rows in which these entries are not
									 * missing */
} JoinCondition;

static List *
key_of_table(RangeTblEntry *rte, List **constraints)
{
	Oid			constraint = InvalidOid;
	List	   *key;

	/*
	 * a partition or child may hold the same key again, unless the key is the
	 * tree's
	 */
	if (rte->relkind == RELKIND_RELATION && rte->inh && has_subclass(rte->relid))
		return NIL;
	key = primary_key(rte->relid, &constraint);
	*constraints = list_make1_oid(constraint);
	return key;
}

/* One of a LATERAL sub-query would be a key for each row of the tables that it refers to. */
static List *
key_of_subquery(RangeTblEntry *rte, List **constraints)
{
	Query	   *query = rte->subquery;

	if (rte->lateral || query->commandType != CMD_SELECT || query->setOperations != NULL ||
		query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL || query->havingQual != NULL ||
		query->distinctClause != NIL || query->cteList != NIL)
		return NIL;
	return derive_join_key(query, constraints);
}

/*
 * The tables of a join, all of them with a primary key; NIL if there is
 * anything else in FROM that could multiply rows.
 */
static List *
joined_tables(Query *query)
{
	Bitmapset  *used = derive_query_used(query);
	List	   *tables = NIL;
	int			i = -1;

	while ((i = bms_next_member(used, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);
		JoinedTable *table;

		if (rte->rtekind == RTE_JOIN)
			continue;
		table = palloc0(sizeof(JoinedTable));
		table->varno = i;
		if (rte->rtekind == RTE_RELATION)
			table->key = key_of_table(rte, &table->constraints);
		else if (rte->rtekind == RTE_SUBQUERY)
			table->key = key_of_subquery(rte, &table->constraints);
		if (table->key == NIL)
			return NIL;
		tables = lappend(tables, table);
	}
	return tables;
}

/* The output columns that show a table's primary key, or NIL if not all are shown. */
static List *
shown_key(Query *query, JoinedTable *table)
{
	List	   *attnos = NIL;
	ListCell   *lc;

	foreach(lc, table->key)
	{
		AttrNumber	attno = derive_query_find_output(query->targetList, table->varno, lfirst_int(lc));

		if (attno == 0)
			return NIL;
		attnos = list_append_unique_int(attnos, attno);
	}
	return attnos;
}

static bool
is_determined(List *tables, int varno)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		JoinedTable *table = lfirst(lc);

		if (table->varno == varno)
			return table->determined;
	}
	return false;
}

/* Do the join conditions equate this column, in the sense of its key, with one of a determined table? */
static bool
equated(List *conditions, List *tables, int varno, AttrNumber attno)
{
	ListCell   *lc;

	foreach(lc, conditions)
	{
		JoinCondition *condition = lfirst(lc);
		OpExpr	   *op = condition->clause;

		if (condition->determines != NULL && !bms_is_member(varno, condition->determines))
			continue;
		for (int side = 0; side < 2; side++)
		{
			Var		   *mine = list_nth(op->args, side);
			Var		   *other = list_nth(op->args, 1 - side);

			if (IsA(mine, Var) && mine->varno == varno && mine->varattno == attno && mine->varlevelsup == 0 &&
				IsA(other, Var) && other->varlevelsup == 0 && is_determined(tables, other->varno) &&
				(!OidIsValid(mine->varcollid) || op->inputcollid == mine->varcollid) &&
				get_opfamily_member(lookup_type_cache(mine->vartype, TYPECACHE_BTREE_OPFAMILY)->btree_opf,
									exprType(linitial(op->args)), exprType(lsecond(op->args)),
									BTEqualStrategyNumber) == op->opno)
				return true;
		}
	}
	return false;
}

static bool
key_is_equated(List *conditions, List *tables, JoinedTable *table)
{
	ListCell   *lc;

	foreach(lc, table->key)
		if (!equated(conditions, tables, table->varno, lfirst_int(lc)))
		return false;
	return true;
}

static void
add_join_conditions(Node *quals, const Bitmapset *determines, List **conditions)
{
	ListCell   *lc;

	foreach(lc, make_ands_implicit((Expr *) quals))
	{
		OpExpr	   *op = lfirst(lc);
		JoinCondition *condition;

		if (!IsA(op, OpExpr) || list_length(op->args) != 2)
			continue;
		condition = palloc(sizeof(JoinCondition));
		condition->clause = op;
		condition->determines = determines;
		*conditions = lappend(*conditions, condition);
	}
}

/* All conditions of FROM.  That of an outer join says nothing of the rows that meet none on its right side. */
static void
join_conditions(Node *node, const Bitmapset *determines, List **conditions)
{
	ListCell   *lc;

	if (IsA(node, JoinExpr))
	{
		JoinExpr   *join = (JoinExpr *) node;

		join_conditions(join->larg, determines, conditions);
		if (join->jointype != JOIN_INNER)
			determines = derive_from_members(join->rarg);
		join_conditions(join->rarg, determines, conditions);
		add_join_conditions(join->quals, determines, conditions);
	}
	else if (IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			join_conditions(lfirst(lc), determines, conditions);
		add_join_conditions(((FromExpr *) node)->quals, determines, conditions);
	}
}

/*
 * A key of a join's result: primary keys that the output shows, such that every
 * other table joins by its whole primary key to tables that these determine.
 */
List *
derive_join_key(Query *query, List **constraints)
{
	Bitmapset  *nullable;
	List	   *tables;
	List	   *conditions = NIL;
	List	   *attnos = NIL;
	ListCell   *lc;
	bool		progress = true;

	if (query->hasTargetSRFs)
		return NIL;
	tables = joined_tables(query);
	nullable = derive_query_nullable(query);
	foreach(lc, tables)
	{
		JoinedTable *table = lfirst(lc);
		List	   *shown = bms_is_member(table->varno, nullable) ? NIL : shown_key(query, table);

		table->determined = shown != NIL;
		attnos = list_concat_unique_int(attnos, shown);
		*constraints = list_concat_unique_oid(*constraints, table->constraints);
	}
	join_conditions((Node *) query->jointree, NULL, &conditions);
	while (progress)
	{
		progress = false;
		foreach(lc, tables)
		{
			JoinedTable *table = lfirst(lc);

			if (!table->determined && key_is_equated(conditions, tables, table))
				table->determined = progress = true;
		}
	}
	foreach(lc, tables)
		if (!((JoinedTable *) lfirst(lc))->determined)
		return NIL;
	return attnos;
}
