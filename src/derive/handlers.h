/*-------------------------------------------------------------------------
 *
 * handlers.h
 *	  The registry of derivations: derive.derivations.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_HANDLERS_H
#define DERIVE_HANDLERS_H

#include "catalog/objectaddress.h"
#include "pg_derive/derivation.h"

/*
 * The callbacks of a registered derivation.  ERROR undefined_object if there
 * is none of this name, or its handler is of another version of the interface.
 */
extern const DeriveRoutine *derive_find_routine(const char *name);

/* Is this function, which exists, a handler? */
extern bool derive_is_handler(Oid function);

/*
 * Handlers were dropped: ERROR dependent_objects_still_exist if a maintained view
 * is by one of them.
 */
extern void derive_handlers_dropped(void);

/* SECURITY LABEL on a function; a DeriveLabelCheck. */
extern void derive_handler_check_label(const ObjectAddress *object, const char *label);

#endif							/* DERIVE_HANDLERS_H */
