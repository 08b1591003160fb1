/*-------------------------------------------------------------------------
 *
 * aggclass.c
 *	  How each aggregate function is maintained.
 *
 * There is no list of supported aggregates.  pg_aggregate itself says what an
 * aggregate can do, and users' aggregates are read the same way:
 *
 *	INVERTIBLE	it has moving-aggregate functions (aggmtransfn and
 *				aggminvtransfn, made for window frames), its final function
 *				leaves the state alone, and the state can be stored: either it
 *				has an ordinary type, or it is "internal", is the same as the
 *				plain aggregate's, and that one can be serialized.  Results are
 *				then PostgreSQL's own, down to the scale of a numeric.  What is
 *				removed from a window frame is its oldest row, so an aggregate of
 *				users may rely on that, or on the order at all, as long as it
 *				does not say that it can be computed in parts (a combine
 *				function)
 *	EXTREMUM	its state is the best input by its sort operator (min, max)
 *	COUNT, BOOL	count, bool_and, bool_or, every, by their numbers of inputs
 *	RECOMPUTE	everything else, and whatever has DISTINCT
 *
 * What is kept of an invertible aggregate is the state that its moving-aggregate
 * functions make, and the executor computes plain aggregates.  Mostly that is the
 * same, but not always; then another aggregate of PostgreSQL's may have that state:
 *
 *				plain				moving				computed as
 *	avg(int4)	int4_avg_accum		int4_avg_accum		avg(int4)
 *	sum(int4)	int4_sum			int4_avg_accum		avg(int4)
 *
 * Those of users are no substitute for one another, since they may belong to different
 * people.
 *
 * An inverse transition may answer "cannot" (NULL): sum(numeric) does, when
 * the only input with the largest scale goes.  The group is then recomputed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_agg.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "derive/aggclass.h"
#include "derive/choice.h"

/* A copy of the fixed part of the pg_aggregate row, and the state's initial value. */
typedef struct AggCatalog
{
	FormData_pg_aggregate form;
	char	   *minitval;		/* or NULL */
	char	   *initval;		/* or NULL */
} AggCatalog;

static char *
text_attribute(HeapTuple tuple, AttrNumber attno)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(AGGFNOID, tuple, attno, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static void
read_catalog(Oid aggfnoid, AggCatalog *catalog)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggfnoid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggfnoid);
	memcpy(&catalog->form, GETSTRUCT(tuple), sizeof(FormData_pg_aggregate));
	catalog->minitval = text_attribute(tuple, Anum_pg_aggregate_aggminitval);
	catalog->initval = text_attribute(tuple, Anum_pg_aggregate_agginitval);
	ReleaseSysCache(tuple);
}

static bool
is_invertible(const AggCatalog *catalog)
{
	const		FormData_pg_aggregate *form = &catalog->form;

	if (!OidIsValid(form->aggmtransfn) || !OidIsValid(form->aggminvtransfn) ||
		form->aggmfinalmodify != AGGMODIFY_READ_ONLY)
		return false;
	if (form->aggfnoid >= FirstNormalObjectId && !OidIsValid(form->aggcombinefn))
		return false;
	if (form->aggmtranstype != INTERNALOID)
		return true;
	return form->aggmtransfn == form->aggtransfn &&
		form->aggtranstype == INTERNALOID &&
		OidIsValid(form->aggserialfn) && OidIsValid(form->aggdeserialfn);
}

static bool
is_extremum(Aggref *aggref, const AggCatalog *catalog)
{
	const		FormData_pg_aggregate *form = &catalog->form;

	return OidIsValid(form->aggsortop) &&
		!OidIsValid(form->aggfinalfn) && catalog->initval == NULL &&
		list_length(aggref->aggargtypes) == 1 &&
		form->aggtranstype != INTERNALOID &&
		func_strict(form->aggtransfn);
}

DeriveAggClass
derive_aggregate_class(Aggref *aggref)
{
	AggCatalog	catalog;
	bool		duplicates_matter;

	read_catalog(aggref->aggfnoid, &catalog);
	if (aggref->aggkind != AGGKIND_NORMAL || aggref->aggvariadic)
		return DERIVE_AGG_RECOMPUTE;

	duplicates_matter = !OidIsValid(catalog.form.aggsortop);
	if (aggref->aggdistinct != NIL && duplicates_matter)
		return DERIVE_AGG_RECOMPUTE;

	switch (aggref->aggfnoid)
	{
		case F_COUNT_:
		case F_COUNT_ANY:
			return DERIVE_AGG_COUNT;
		case F_BOOL_AND:
		case F_BOOL_OR:
		case F_EVERY:
			return DERIVE_AGG_BOOL;
	}
	if (is_extremum(aggref, &catalog))
		return DERIVE_AGG_EXTREMUM;
	/* for a user's aggregate, an order asked for may matter */
	if (is_invertible(&catalog) && aggref->aggorder == NIL && aggref->aggdistinct == NIL)
		return DERIVE_AGG_INVERTIBLE;
	return DERIVE_AGG_RECOMPUTE;
}

Oid
derive_aggregate_sort_operator(Oid aggfnoid)
{
	AggCatalog	catalog;

	read_catalog(aggfnoid, &catalog);
	return catalog.form.aggsortop;
}

const char *
derive_aggregate_class_name(DeriveAggClass cls)
{
	switch (cls)
	{
		case DERIVE_AGG_COUNT:
			return "counted";
		case DERIVE_AGG_INVERTIBLE:
			return "added and removed by its moving-aggregate functions";
		case DERIVE_AGG_EXTREMUM:
			return "kept; looked up when the extremum goes";
		case DERIVE_AGG_BOOL:
			return "counted";
		case DERIVE_AGG_RECOMPUTE:
			return "recomputed for each group that changes";
	}
	return "";
}

static Datum
initial_value(Oid type, const char *text, bool *isnull)
{
	Oid			input,
				ioparam;

	*isnull = (text == NULL);
	if (text == NULL)
		return (Datum) 0;
	getTypeInputInfo(type, &input, &ioparam);
	return OidInputFunctionCall(input, pstrdup(text), ioparam, -1);
}

static void
lookup(FmgrInfo *finfo, Oid function, Expr *expr)
{
	fmgr_info(function, finfo);
	fmgr_info_set_expr((Node *) expr, finfo);
}

static void
setup_invertible(DeriveAggFunction *f, Aggref *aggref, const AggCatalog *catalog)
{
	const		FormData_pg_aggregate *form = &catalog->form;
	Oid			types[FUNC_MAX_ARGS];
	int			ntypes = get_aggregate_argtypes(aggref, types);
	Expr	   *transexpr,
			   *invexpr,
			   *finalexpr;

	f->state_type = resolve_aggregate_transtype(aggref->aggfnoid, form->aggmtranstype,
												types, ntypes);
	build_aggregate_transfn_expr(types, ntypes, 0, false, f->state_type,
								 aggref->inputcollid, form->aggmtransfn,
								 form->aggminvtransfn, &transexpr, &invexpr);
	lookup(&f->transfn, form->aggmtransfn, transexpr);
	lookup(&f->invtransfn, form->aggminvtransfn, invexpr);
	if (f->transfn.fn_strict != f->invtransfn.fn_strict)
		elog(ERROR, "transition functions of aggregate \"%s\" disagree in strictness", get_func_name(aggref->aggfnoid));
	f->strict = f->transfn.fn_strict;
	if (OidIsValid(form->aggmfinalfn))
	{
		f->final_nargs = form->aggmfinalextra ? ntypes + 1 : 1;
		build_aggregate_finalfn_expr(types, f->final_nargs, f->state_type,
									 aggref->aggtype, aggref->inputcollid,
									 form->aggmfinalfn, &finalexpr);
		lookup(&f->finalfn, form->aggmfinalfn, finalexpr);
	}
	if (f->state_type == INTERNALOID)
	{
		fmgr_info(form->aggserialfn, &f->serialfn);
		fmgr_info(form->aggdeserialfn, &f->deserialfn);
		if (OidIsValid(form->aggcombinefn))
			fmgr_info(form->aggcombinefn, &f->combinefn);
		f->stored_type = BYTEAOID;
	}
	else
		f->stored_type = f->state_type;
	f->initial = initial_value(f->state_type, catalog->minitval, &f->initial_isnull);
	f->initial_text = catalog->minitval;
}

static void
setup_extremum(DeriveAggFunction *f, Aggref *aggref, const AggCatalog *catalog)
{
	const		FormData_pg_aggregate *form = &catalog->form;
	Oid			type = linitial_oid(aggref->aggargtypes);
	Node	   *expr = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
	Expr	   *transexpr;

	f->state_type = resolve_aggregate_transtype(aggref->aggfnoid, form->aggtranstype, &type, 1);
	build_aggregate_transfn_expr(&type, 1, 0, false, f->state_type, aggref->inputcollid,
								 form->aggtransfn, InvalidOid, &transexpr, NULL);
	lookup(&f->transfn, form->aggtransfn, transexpr);
	fmgr_info(get_opcode(form->aggsortop), &f->better);
	f->strict = true;
	f->stored_type = f->state_type;
	f->initial_isnull = true;
	f->loose = derive_type_is_loose(exprType(expr), exprTypmod(expr), exprCollation(expr));
	f->attribute.atttypid = f->state_type;
	get_typlenbyval(f->state_type, &f->attribute.attlen, &f->attribute.attbyval);
}

DeriveAggFunction *
derive_aggregate_function(Aggref *aggref)
{
	DeriveAggFunction *f = palloc0(sizeof(DeriveAggFunction));
	AggCatalog	catalog;

	read_catalog(aggref->aggfnoid, &catalog);
	f->cls = derive_aggregate_class(aggref);
	f->result_type = aggref->aggtype;
	f->result_typmod = exprTypmod((Node *) aggref);
	f->result_collation = aggref->aggcollid;
	f->collation = aggref->inputcollid;
	f->nargs = list_length(aggref->args);

	switch (f->cls)
	{
		case DERIVE_AGG_COUNT:
			f->strict = true;
			f->state_byval = true;	/* there is no state */
			break;
		case DERIVE_AGG_BOOL:
			f->strict = true;
			f->bool_or = (aggref->aggfnoid == F_BOOL_OR);
			f->state_type = f->stored_type = INT8OID;
			f->initial = Int64GetDatum(0);
			break;
		case DERIVE_AGG_INVERTIBLE:
			setup_invertible(f, aggref, &catalog);
			break;
		case DERIVE_AGG_EXTREMUM:
			setup_extremum(f, aggref, &catalog);
			break;
		case DERIVE_AGG_RECOMPUTE:
			f->state_type = f->stored_type = aggref->aggtype;
			f->initial_isnull = true;
			break;
	}
	if (OidIsValid(f->state_type))
		get_typlenbyval(f->state_type, &f->state_len, &f->state_byval);
	return f;
}

/* Does the executor, for this aggregate, go from the same state by the same steps? */
static bool
has_state(Oid aggfnoid, Aggref *aggref, const DeriveAggFunction *f)
{
	AggCatalog	catalog;
	Oid		   *argtypes;
	int			nargs;
	bool		same_arguments;

	read_catalog(aggfnoid, &catalog);
	if (catalog.form.aggkind != AGGKIND_NORMAL ||
		catalog.form.aggtransfn != f->transfn.fn_oid ||
		(catalog.initval == NULL) != (f->initial_text == NULL) ||
		(catalog.initval != NULL && strcmp(catalog.initval, f->initial_text) != 0))
		return false;
	if (aggfnoid == aggref->aggfnoid)
		return catalog.form.aggtranstype == catalog.form.aggmtranstype;
	(void) get_func_signature(aggfnoid, &argtypes, &nargs);
	same_arguments = nargs == list_length(aggref->aggargtypes);
	for (int i = 0; same_arguments && i < nargs; i++)
		same_arguments = argtypes[i] == list_nth_oid(aggref->aggargtypes, i);
	return same_arguments && catalog.form.aggtranstype == f->state_type &&
		OidIsValid(catalog.form.aggcombinefn) &&
		derive_compat_function_aclcheck(aggfnoid, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
}

Oid
derive_aggregate_with_state(Aggref *aggref, const DeriveAggFunction *f)
{
	Oid			result = InvalidOid;
	Relation	aggregates;
	SysScanDesc scan;
	HeapTuple	tuple;

	Assert(f->cls == DERIVE_AGG_INVERTIBLE);
	if (has_state(aggref->aggfnoid, aggref, f))
		return aggref->aggfnoid;
	if (aggref->aggfnoid >= FirstNormalObjectId)
		return InvalidOid;

	aggregates = table_open(AggregateRelationId, AccessShareLock);
	scan = systable_beginscan(aggregates, InvalidOid, false, NULL, 0, NULL);
	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_aggregate form = (Form_pg_aggregate) GETSTRUCT(tuple);

		if (form->aggfnoid < FirstNormalObjectId && form->aggtransfn == f->transfn.fn_oid &&
			has_state(form->aggfnoid, aggref, f))
			result = form->aggfnoid;
	}
	systable_endscan(scan);
	table_close(aggregates, AccessShareLock);
	return result;
}
