/*-------------------------------------------------------------------------
 *
 * unqualified.c
 *	  Functions that call others by names that will not be found.
 *
 * A view is evaluated with search_path = pg_catalog, pg_temp, as REFRESH does from
 * PostgreSQL 17 on.  A function whose body is a string looks names up each time it
 * is called, so one that works in the session of its author may fail in the
 * worker.  CREATE MATERIALIZED VIEW finds that out by calling it; we do not call
 * anything while a view is declared, since how long that takes depends on the rows
 * (and if there is none, nothing is called).  PostgreSQL's planner tries to inline
 * functions in SQL, which refuses most of these; for the others, the text of the
 * body is looked at:
 *
 *	... RETURN 'n' || twice($1); ...
 *					  ^^^^^ is followed by "(", not preceded by ".", and is the
 *							name of a function that this session finds, and
 *							pg_catalog has none of that name
 *
 * That is a guess, good enough for a NOTICE: it knows nothing of comments, strings
 * and languages, and does not see tables, types and operators.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/scansup.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compile/unqualified.h"

#define SEARCH_PATH "search_path="

static bool
is_identifier_start(char c)
{
	return isalpha((unsigned char) c) || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
is_identifier(char c)
{
	return is_identifier_start(c) || isdigit((unsigned char) c) || c == '$';
}

/* The function that the session finds by this name; InvalidOid if there is none, or pg_catalog has one. */
static Oid
only_this_session_finds(const char *name)
{
	FuncCandidateList candidate = FuncnameGetCandidates(list_make1(makeString(pstrdup(name))), -1, NIL,
														false, false, false, true);
	Oid			result = InvalidOid;

	for (; candidate != NULL; candidate = candidate->next)
	{
		if (get_func_namespace(candidate->oid) == PG_CATALOG_NAMESPACE)
			return InvalidOid;
		result = candidate->oid;
	}
	return result;
}

static Oid
find_call(const char *body)
{
	const char *p = body;

	while (*p)
	{
		const char *start = p;
		const char *after;
		char	   *name;
		Oid			callee;

		if (!is_identifier_start(*p))
		{
			/* a number, or $1 */
			do
				p++;
			while (is_identifier(start[0]) && is_identifier(*p));
			continue;
		}
		while (is_identifier(*p))
			p++;
		for (after = p; scanner_isspace(*after); after++)
			;
		if (*after != '(' || (start > body && (start[-1] == '.' || start[-1] == '"')))
			continue;
		name = downcase_truncate_identifier(start, p - start, false);
		callee = only_this_session_finds(name);
		if (OidIsValid(callee))
			return callee;
	}
	return InvalidOid;
}

static bool
sets_search_path(HeapTuple tuple)
{
	bool		isnull;
	Datum		config = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	Datum	   *values;
	int			n;

	if (isnull)
		return false;
	deconstruct_array(DatumGetArrayTypeP(config), TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
		if (pg_strncasecmp(TextDatumGetCString(values[i]), SEARCH_PATH, strlen(SEARCH_PATH)) == 0)
			return true;
	return false;
}

static bool
check_body(Oid funcid, void *context)
{
	List	  **calls = context;
	HeapTuple	tuple;
	Form_pg_proc form;
	Datum		body;
	bool		isnull;
	bool		parsed;
	Oid			callee = InvalidOid;
	ListCell   *lc;

	if (funcid < FirstNormalObjectId)
		return false;
	foreach(lc, *calls)
		if (((DeriveUnqualifiedCall *) lfirst(lc))->caller == funcid)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	(void) SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	parsed = !isnull;
	body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	if (form->prokind == PROKIND_FUNCTION && form->prolang != INTERNALlanguageId && form->prolang != ClanguageId &&
		!parsed && !isnull && !sets_search_path(tuple))
		callee = find_call(TextDatumGetCString(body));
	ReleaseSysCache(tuple);
	if (OidIsValid(callee))
	{
		DeriveUnqualifiedCall *call = palloc(sizeof(DeriveUnqualifiedCall));

		call->caller = funcid;
		call->callee = callee;
		*calls = lappend(*calls, call);
	}
	return false;
}

/* What an aggregate of a user's calls. */
static void
check_aggregate(Oid aggregate, List **calls)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Form_pg_aggregate form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	(void) check_body(form->aggtransfn, calls);
	(void) check_body(form->aggfinalfn, calls);
	(void) check_body(form->aggmtransfn, calls);
	(void) check_body(form->aggminvtransfn, calls);
	(void) check_body(form->aggmfinalfn, calls);
	ReleaseSysCache(tuple);
}

static bool
calls_walker(Node *node, List **calls)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, calls_walker, calls, 0);
	if (IsA(node, Aggref))
		check_aggregate(((Aggref *) node)->aggfnoid, calls);
	(void) check_functions_in_node(node, check_body, calls);
	return expression_tree_walker(node, calls_walker, calls);
}

List *
derive_query_unqualified_calls(Query *query)
{
	List	   *calls = NIL;

	(void) calls_walker((Node *) query, &calls);
	return calls;
}
