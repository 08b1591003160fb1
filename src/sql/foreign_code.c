/*-------------------------------------------------------------------------
 *
 * foreign_code.c
 *	  Whose code runs when a session's values meet somebody else's view.
 *
 * Types are not passive: a cast may be a function that anybody wrote, and a domain
 * has CHECK constraints.  Where the two sides of a conversion belong to two roles,
 * such code could take over the other one's rights, whoever runs it:
 *
 *	append()	values of the caller's types become values of the topic's.  A
 *				cast from the caller's type must not run as the topic's owner,
 *				nor a cast or a domain of the topic's owner as the caller.
 *	as_of()		values of the history's types become values of those that the
 *				caller lists; likewise.
 *
 * So the rule is: a function in a conversion must be a superuser's, or that of
 * the role that runs it.  Others are refused; who wants them can write the cast
 * himself, around the call or inside of ROW(), and it is his own then.  Domains
 * of a topic's columns are checked as the topic's owner, who chose them.
 *
 * Input and output functions, and those of operator classes, only superusers can
 * make; what they call in turn are the same, and domains.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compile/conversion.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "sql/foreign_code.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

typedef struct Check
{
	bool		as_other;
	const char *column;
} Check;

static bool
is_trusted(Oid owner, bool as_other)
{
	return superuser_arg(owner) || (!as_other && owner == GetUserId());
}

static Oid
owner_of_type(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	result = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
	ReleaseSysCache(tuple);
	return result;
}

static Oid
owner_of_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	result = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return result;
}

/* Has the type a domain in it; if foreign, one that the current user need not trust? */
static bool
has_domain(Oid type, bool foreign)
{
	ListCell   *lc;

	foreach(lc, derive_types_within(type))
	{
		if (get_typtype(lfirst_oid(lc)) == TYPTYPE_DOMAIN &&
			(!foreign || !is_trusted(owner_of_type(lfirst_oid(lc)), false)))
			return true;
	}
	return false;
}

bool
derive_type_has_domain(Oid type)
{
	return has_domain(type, false);
}

static bool
is_foreign(Oid function, void *context)
{
	return !is_trusted(owner_of_function(function), ((Check *) context)->as_other);
}

static void
refuse(const Check *check, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the value of column \"%s\" cannot be converted here", check->column),
			 errdetail("The conversion would run code of another role: %s.", what),
			 errhint("Use the column's own type, and write the cast yourself where you want it.")));
}

static bool
check_walker(Node *node, void *context)
{
	Check	   *check = context;

	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_foreign, check))
		refuse(check, IsA(node, FuncExpr) ? format_procedure(((FuncExpr *) node)->funcid) : _("a function"));
	if (!check->as_other && (IsA(node, CoerceToDomain) || IsA(node, CoerceViaIO)) &&
		has_domain(exprType(node), true))
		refuse(check, format_type_be(exprType(node)));
	return expression_tree_walker(node, check_walker, context);
}

void
derive_refuse_foreign_code(Node *expr, bool as_other, const char *column)
{
	Check		check = {as_other, column};

	(void) check_walker(expr, &check);
}
