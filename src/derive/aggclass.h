/*-------------------------------------------------------------------------
 *
 * aggclass.h
 *	  How each aggregate function is maintained.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_AGGCLASS_H
#define DERIVE_AGGCLASS_H

#include "catalog/pg_attribute.h"
#include "fmgr.h"
#include "nodes/primnodes.h"

typedef enum DeriveAggClass
{
	DERIVE_AGG_COUNT,			/* the number of inputs is the result */
	DERIVE_AGG_INVERTIBLE,		/* the moving-aggregate functions add and
								 * remove */
	DERIVE_AGG_EXTREMUM,		/* add; removing the extremum recomputes the
								 * group */
	DERIVE_AGG_BOOL,			/* count of true inputs against count of
								 * inputs */
	DERIVE_AGG_RECOMPUTE		/* recompute every group that is touched */
} DeriveAggClass;

/*
 * Everything needed to run the transitions of one aggregate call, except for
 * DERIVE_AGG_RECOMPUTE, where only cls and result_type are set.
 */
typedef struct DeriveAggFunction
{
	DeriveAggClass cls;
	Oid			result_type;
	int32		result_typmod;
	Oid			result_collation;
	int			nargs;			/* direct arguments of the transition function */
	bool		strict;			/* inputs with a NULL do not count */
	Oid			state_type;		/* in memory; INTERNALOID possible */
	Oid			stored_type;	/* in the state table: state_type, or bytea */
	bool		state_byval;
	int16		state_len;
	bool		initial_isnull;
	Datum		initial;
	FmgrInfo	transfn;
	FmgrInfo	invtransfn;
	FmgrInfo	finalfn;		/* fn_oid InvalidOid: the state is the result */
	int			final_nargs;
	FmgrInfo	serialfn;		/* only for internal states */
	FmgrInfo	deserialfn;
	FmgrInfo	combinefn;		/* fn_oid InvalidOid: none */
	const char *initial_text;	/* of initial; NULL if that is */
	FmgrInfo	better;			/* EXTREMUM: is the first strictly better than
								 * the second? */
	bool		loose;			/* EXTREMUM: inputs may be equal without being
								 * the same; the one with the least image is
								 * taken */
	FormData_pg_attribute attribute;	/* the state's, for comparing images */
	bool		bool_or;		/* BOOL: any rather than all */
	Oid			collation;
} DeriveAggFunction;

extern DeriveAggClass derive_aggregate_class(Aggref *aggref);

/* The operator that DERIVE_AGG_EXTREMUM sorts by. */
extern Oid	derive_aggregate_sort_operator(Oid aggfnoid);

/* Look everything up; memory in CurrentMemoryContext, which must live as long as the result. */
extern DeriveAggFunction *derive_aggregate_function(Aggref *aggref);

/*
 * An aggregate of which the state, when the executor computes it, is the one that
 * DERIVE_AGG_INVERTIBLE keeps for this call, and that the current user may call; InvalidOid:
 * there is none.
 */
extern Oid	derive_aggregate_with_state(Aggref *aggref, const DeriveAggFunction *f);

/* For derive.explain: how this class is maintained. */
extern const char *derive_aggregate_class_name(DeriveAggClass cls);

#endif							/* DERIVE_AGGCLASS_H */
