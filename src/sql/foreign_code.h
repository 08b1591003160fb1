/*-------------------------------------------------------------------------
 *
 * foreign_code.h
 *	  Whose code runs when a session's values meet somebody else's view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_FOREIGN_CODE_H
#define DERIVE_FOREIGN_CODE_H

#include "nodes/nodes.h"

/* Does making a value of the type check a domain: itself, or one of its parts? */
extern bool derive_type_has_domain(Oid type);

/*
 * The conversion of a column's value: ERROR unless all code that it calls is
 * superusers', or of who runs it.  as_other: that will not be the current user,
 * but somebody who answers for the domains in the type that it makes.
 */
extern void derive_refuse_foreign_code(Node *expr, bool as_other, const char *column);

#endif							/* DERIVE_FOREIGN_CODE_H */
