/*-------------------------------------------------------------------------
 *
 * aggregate.h
 *	  GROUP BY, aggregates, HAVING, DISTINCT: the aggregate operator.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_AGGREGATE_H
#define DERIVE_AGGREGATE_H

#include "derive/aggclass.h"
#include "derive/operator.h"

/* One grouping column. */
typedef struct DeriveKey
{
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		byval;
	int16		len;
	Oid			eqop;			/* this and the rest only of keys that
								 * identify the group */
	FmgrInfo	eq;
	FmgrInfo	hash;			/* fn_oid InvalidOid: see image_hash */
	bool		image_hash;		/* hash the image instead (or, if false,
								 * nothing) */
	bool		hidden;			/* the state table has the image, see hidden.c */
} DeriveKey;

/* One aggregate call. */
typedef struct DeriveAggCall
{
	Aggref	   *aggref;			/* as in the query */
	DeriveAggFunction *function;
	int		   *args;			/* columns of the input row, from 0 */
	int			filter;			/* column of FILTER's condition, or -1 */
	AttrNumber	count_attno;	/* in the state table, 0 if not kept */
	AttrNumber	value_attno;	/* in the state table, 0 if not kept */
	bool		hidden;			/* the state table has the image of the value */
} DeriveAggCall;

/*
 * The first keys identify the group: what is grouped by.  Columns that depend on
 * these, by a primary key, are further keys, which are only shown.
 *
 * The input row has the keys first, then arguments and filters.  The state
 * table has the columns h int4 (hash of the keys), n int8 (number of input
 * rows), k1 .. (keys), and for each aggregate c<i> int8 (number of inputs that
 * counted) and s<i> (transition state, or the result where the executor
 * recomputes it).  targets and having are expressions over a row of keys and
 * aggregate results.
 *
 * Of keys that are equal but not the same the group shows those of its least row
 * (choice.c): the last column, r int8, counts the rows that have them, so that
 * others take their place when they are gone.  Columns that depend on the keys
 * have a choice as well, where children of a table repeat its primary key.  They
 * may come at any time, so r is kept whether there are any or not: it costs a
 * comparison of images for each input row, and no state table changes its
 * columns when a child comes.
 */
typedef struct DeriveAggregation
{
	bool		grouped;		/* false: one group, always there */
	bool		recompute;		/* some aggregate is DERIVE_AGG_RECOMPUTE */
	bool		loose;			/* the group's keys may not be those of all
								 * its rows: 1.0 and 1.00 */
	bool		hidden_keys;	/* some key is hidden */
	int			nkeys;
	int			nidentity;		/* that many of them identify the group */
	DeriveKey  *keys;
	int			ncalls;
	DeriveAggCall *calls;
	List	   *targets;		/* of TargetEntry * */
	Node	   *having;			/* or NULL */
	TupleDesc	group_desc;		/* keys, then results */
	AttrNumber	same_attno;		/* in the state table: number of rows with the
								 * very key that is shown, 0 if not kept */
	Query	   *core;			/* the input as a query */

	/* plans made when first needed; see aggredo.c */
	DerivePlan *redo_plans[2][2];	/* whole groups, extrema; keys without
									 * NULLs, with */
	DerivePlan *full;
} DeriveAggregation;

#define DERIVE_STATE_HASH 1		/* attribute numbers in the state table */
#define DERIVE_STATE_ROWS 2
#define DERIVE_STATE_FIRST_KEY 3

/*
 * Compile a block with aggregates or GROUP BY (its FROM already linear), or
 * the removal of duplicates from branches, into op; resolve as in compile.h,
 * called with role 's'.
 */
typedef Oid (*DeriveStateResolver) (void *arg, int operator, char role, TupleDesc desc);
extern void derive_aggregation_compile(DeriveOperator *op, Query *block, DeriveStateResolver resolve, void *arg);
extern void derive_aggregation_distinct(DeriveOperator *op, List *branches, DeriveStateResolver resolve, void *arg);

/* The columns of what targets give. */
extern TupleDesc derive_aggregation_desc(DeriveAggregation *agg);

/* Queries for a set of keys (tuplestore DERIVE_KEYS_ENR), see aggredo.c. */
extern Query *derive_aggregation_input(DeriveAggregation *agg, bool restricted, bool with_nulls);
extern Query *derive_aggregation_block(DeriveAggregation *agg, bool restricted, bool with_nulls);

/*
 * The state table without its first column, the hash: keys, number of rows, and what it has
 * of each aggregate, for a plan of states (plan.h).  NULL if the executor cannot compute that.
 */
extern Query *derive_aggregation_states(DeriveAggregation *agg);
extern Query *derive_aggregation_extrema(DeriveAggregation *agg, bool with_nulls);
extern TupleDesc derive_aggregation_key_desc(DeriveAggregation *agg);

/* Add to a digest what the states and what is shown of them follow from; identity.c.  own: as for operators. */
extern uint64 derive_aggregation_digest(uint64 digest, const DeriveAggregation *agg, List *own);

#define DERIVE_KEYS_ENR "derive_keys"

#endif							/* DERIVE_AGGREGATE_H */
