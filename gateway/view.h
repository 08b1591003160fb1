/*-------------------------------------------------------------------------
 *
 * view.h
 *	  What the catalogs say of a maintained view.
 *
 * It is asked for by the name that a client gives, as a parameter.  What goes into SQL
 * later are the names that the catalogs have, quoted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_VIEW_H
#define GW_VIEW_H

#include "connection.h"
#include "value.h"

typedef struct GwColumn
{
	char	   *name;
	char	   *identifier;		/* as SQL wants it */
	char	   *json_name;		/* as JSON wants it */
	int			number;			/* pg_attribute.attnum */
	Oid			type;			/* below a domain */
	char	   *type_name;
	GwKind		kind;
	bool		ordered;		/* its order is the one of value.h */
} GwColumn;

typedef struct GwView
{
	Oid			oid;
	char	   *schema;
	char	   *name;
	char	   *identifier;		/* schema and name, as SQL wants them */
	char	   *fingerprint;	/* changes with its name, columns and types */
	GwColumn   *columns;
	int			column_count;
} GwView;

/* The view, or what is wrong: status 404 or 422 and a message. */
typedef void (*GwViewHandler) (void *arg, GwView *view, int status, const char *message);

/* Look for a view by "NAME" or "SCHEMA.NAME". */
extern void gw_view_describe(ClientConnection *connection, const char *name, GwViewHandler handler, void *arg);

extern void gw_view_free(GwView *view);

/* Its number in "columns", -1 if there is none. */
extern int	gw_view_column(const GwView *view, const char *name);

/* The query that gives the fingerprint of the view with OID $1 in its first column; no row: it is gone. */
extern const char *const gw_fingerprint_sql;

#endif
