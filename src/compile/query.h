/*-------------------------------------------------------------------------
 *
 * query.h
 *	  Small steps on query trees that the compiler is made of.
 *
 * All functions work on analysed Query trees that are theirs to change (copy
 * first); what they return shares structure with what they were given.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_QUERY_H
#define DERIVE_QUERY_H

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"

/*
 * The definition of a materialized view, rewritten: plain views inside are
 * expanded, CTEs that do not read themselves are inlined, range table entries carry no permission checks.
 * A fresh tree in CurrentMemoryContext.  Takes the rewriter's locks.
 */
extern Query *derive_query_of_view(Oid view);

/* The same of an analysed query that was not rewritten; it is scribbled on. */
extern Query *derive_query_rewrite(Query *query);

/* Put a query in the place of every reference to an entry of the query's WITH, at any depth. */
extern void derive_query_inline_cte(Query *query, const char *name, Query *by);

/* Indexes of the range table entries that FROM (or a set operation) really uses. */
extern Bitmapset *derive_query_used(Query *query);

/* The same of a part of FROM. */
extern Bitmapset *derive_from_members(Node *tree);

/* Those that an outer join may make NULL. */
extern Bitmapset *derive_query_nullable(Query *query);

/* Is the expression a column, of a query so many levels up, that is never NULL? */
extern bool derive_column_is_not_null(Query *query, Node *expr, int level);

/* Conditions that all must hold, as a flat list, and as one expression, NULL for none. */
extern List *derive_conditions_of(Node *quals);
extern Node *derive_all_of(List *conditions);

/*
 * Does the query, at any depth, read a relation, or a WITH RECURSIVE around it?  If
 * not, it is a function of the row.
 */
extern bool derive_query_reads_relations(Query *query);

/* Does a sub-query in this expression? */
extern bool derive_sublinks_read_relations(Node *expr);

/* Does the query, at any depth, use columns of a query around it, or its WITH? */
extern bool derive_query_refers_outside(Query *query);
extern bool derive_refers_outside(Node *expr);	/* an expression of a query */

/*
 * Visit the relations that the definition of a view or materialized view names, also those that the definitions of plain
 * views among them name, each before its own definition is looked at: there it can be locked.  Ends
 * with true when the visitor returns true.
 */
typedef bool (*DeriveNameVisitor) (Oid relid, void *arg);
extern bool derive_visit_names(Oid view, DeriveNameVisitor visit, void *arg);

/* The plain views among them, of Oid, each once; takes AccessShareLock. */
extern List *derive_plain_views_below(Oid view);

/*
 * The composite types, as OIDs of their relations, that values in the query
 * have, or parts of them.  Their columns come and go, and change their names,
 * while the query stays the same.
 */
extern List *derive_query_row_types(Query *query);

/* The same of values in such columns. */
extern List *derive_row_types_of(TupleDesc desc);

/* What a call consists of that returns a row without a type, by OUT parameters; NULL: it is none, or nobody knows. */
extern TupleDesc derive_anonymous_row_of_call(Node *node);

/* The column that the expression is, a change of type that changes nothing aside; else NULL. */
extern Var *derive_query_plain_column(Node *node);

/* The output column that shows a column of the input unchanged, or 0. */
extern AttrNumber derive_query_find_output(List *targets, int varno, AttrNumber varattno);

/* Is every row made of single rows of FROM?  Not by other set operations than UNION ALL, GROUP BY, DISTINCT, windows, LIMIT. */
extern bool derive_query_is_linear(Query *query);

/* Has it GROUP BY, aggregates or HAVING? */
extern bool derive_query_is_grouped(Query *query);

/* Is some join in FROM, those of sub-queries aside, no inner join? */
extern bool derive_query_has_outer_join(Query *query);

/* Is some set operation of it, those of sub-queries aside, no UNION? */
extern bool derive_query_has_other_setop(Query *query);
extern bool derive_has_other_setop(Node *setop);

/*
 * Has it none of the other things that a query can do with the rows of FROM: outer
 * joins, windows, LIMIT, ORDER BY, WITH, locks and so on?  Set-returning functions in
 * the select list are nothing special.
 */
extern bool derive_query_is_plain(Query *query);

/* Replace the columns of joins by what they stand for, in the query and its sub-queries. */
extern void derive_query_flatten_aliases(Query *query);

/* Drop ORDER BY and the columns that only it needs; number the rest from 1. */
extern void derive_query_normalize(Query *query);

/* "EXISTS (query)", or with EXPR_SUBLINK "(query)", its one value; the expression around it has sublinks then. */
extern SubLink *derive_query_sublink(SubLinkType type, Query *query);

/* The target list of a query of which nothing is asked but whether it has rows: "SELECT 1". */
extern List *derive_query_one_target(void);

/* "SELECT every column FROM (query)", where the query does not refer to anything outside */
extern Query *derive_query_wrap(Query *inner);

/* Coerce the columns of a leaf of a set operation to the types of the latter. */
extern void derive_query_coerce_columns(Query *query, SetOperationStmt *op);

/* Let a query without GROUP BY group by all its columns. */
extern void derive_query_group_by_columns(Query *query);

/* "count(*)" */
extern Aggref *derive_query_count_rows(void);

/* "a UNION ALL b UNION ALL ..": branches with the same column types; a single one is returned as it is. */
extern Query *derive_query_union_all(List *branches);

/*
 * "SELECT every column FROM relid", relid being one of our derived tables, with
 * columns as stored, which may be images of those shown (hidden.h).
 */
extern Query *derive_query_scan(Oid relid, TupleDesc stored, TupleDesc shown);

/*
 * The leaves of a tree of UNION ALL as queries of their own, each with its
 * columns coerced to the types of the set operation.  A subtree of a UNION ALL that
 * removes duplicates is handed to distinct(), which returns the query that stands
 * for it; those of a UNION at the top are left to the caller.
 */
typedef Query *(*DeriveDistinctUnion) (void *arg, List *branches);
extern List *derive_query_union_branches(Query *query, DeriveDistinctUnion distinct, void *arg);

/* The result columns of a normalized query. */
extern TupleDesc derive_query_desc(Query *query);

/* A range table entry for a sub-query. */
extern RangeTblEntry *derive_query_subquery_rte(Query *query, const char *name);

/* A range table entry for a tuplestore that is registered as enrname. */
extern RangeTblEntry *derive_query_enr_rte(const char *enrname, TupleDesc desc, double ntuples);

/*
 * The comparison of a SubLink, at the level of its sub-query, with that one's outputs in place of
 * the Params that stand for them; NULL if one of them is not usable (usable NULL: all are).
 */
extern Node *derive_query_put_outputs(Node *comparison, Query *subquery, bool (*usable) (Node *output));

#endif							/* DERIVE_QUERY_H */
