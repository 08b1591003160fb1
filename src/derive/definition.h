/*-------------------------------------------------------------------------
 *
 * definition.h
 *	  Which derivation maintains a materialized view.
 *
 * The definition of a view says it: "SELECT * FROM derive.apply(...)" names a
 * derivation with its sources, key and options; any other query is for the
 * derivation "select".
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DEFINITION_H
#define DERIVE_DEFINITION_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#define DERIVE_SELECT_NAME	"select"

typedef struct DeriveDefinition
{
	char	   *derivation;
	List	   *sources;		/* of Oid */
	List	   *keys;			/* of char * */
	Jsonb	   *options;		/* an object */
} DeriveDefinition;

/*
 * That of a materialized view, in CurrentMemoryContext.  ERROR if it calls
 * derive.apply() in any other way than the one above.
 */
extern DeriveDefinition *derive_definition_of_view(Oid view);

/* Does the query call derive.apply() anywhere? */
extern bool derive_definition_is_call(Query *query);

/* The stored definition itself, a copy. */
extern Query *derive_definition_tree(Oid view);

/*
 * From the arguments of derive.apply(); NULL is an empty one.  ERROR for
 * repeated or NULL elements, and options that are no object.
 */
extern DeriveDefinition *derive_definition_make(char *derivation, ArrayType *sources, ArrayType *keys, Jsonb *options);

/* The SELECT of a view with this definition; columns: what follows AS, in parentheses. */
extern char *derive_definition_query(DeriveDefinition *definition, const char *columns);

#endif							/* DERIVE_DEFINITION_H */
