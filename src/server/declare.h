/*-------------------------------------------------------------------------
 *
 * declare.h
 *	  Creating views, for the functions of schema derive that do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DECLARE_H
#define DERIVE_DECLARE_H

#include "derive/definition.h"

/*
 * CREATE MATERIALIZED VIEW name AS query, as the current user, and put it under
 * maintenance.  name may be qualified.  Returns the view.
 */
extern Oid	derive_create_view(const char *name, const char *query);

/*
 * The same for a derivation.  columns: "(name type, ...)", or NULL for the
 * derivation's default.
 */
extern Oid	derive_create_derived_view(const char *name, DeriveDefinition *definition, const char *columns);

/* Put a materialized view, on which we hold AccessExclusiveLock, under maintenance. */
extern void derive_declare_view(Oid view);

#endif							/* DERIVE_DECLARE_H */
