/*-------------------------------------------------------------------------
 *
 * preview.c
 *	  How a SELECT would be maintained, without a view.
 *
 * The query is compiled as that of a view would be, with the rights of the current user, and
 * its operators are told of.  No table is made: derived tables get OIDs that no relation has,
 * which is enough as long as nothing is run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "compile/query.h"
#include "derive/compile.h"
#include "materialize/program_internal.h"

typedef struct Preview
{
	Oid			last;			/* that was given to a derived table */
} Preview;

static Oid
no_table(void *arg, int operator, char role, TupleDesc desc)
{
	Preview    *preview = arg;

	if (role == 's')
		return InvalidOid;
	do
	{
		preview->last--;
	} while (get_rel_relkind(preview->last) != '\0');
	return preview->last;
}

static DeriveProgram *
try_query(Query *query)
{
	Preview		preview = {OID_MAX};
	DeriveProgram *program = palloc0(sizeof(DeriveProgram));
	DeriveOwnerContext saved;

	program->owner = GetUserId();
	program->operators = palloc0(sizeof(DeriveOperators));
	derive_owner_enter(program, &saved);
	program->operators->list = derive_compile_query(derive_query_rewrite(copyObject(query)), program->owner, no_table,
													&preview, &program->query);
	derive_owner_leave(&saved);
	derive_check_privileges(program, query);
	return program;
}

void
derive_program_try(Query *query)
{
	(void) try_query(query);
}

List *
derive_program_preview(Query *query)
{
	DeriveProgram *program = try_query(query);
	DeriveOwnerContext saved;
	List	   *lines;

	derive_owner_enter(program, &saved);
	lines = derive_operators_explain(program);
	derive_owner_leave(&saved);
	return lines;
}
