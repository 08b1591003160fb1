/*-------------------------------------------------------------------------
 *
 * eval_settings.h
 *	  The settings that a view is evaluated under.
 *
 * A session records them when it declares a view (derive_state.views.settings,
 * 'name=value' as in pg_proc.proconfig); every process that evaluates something
 * of the view puts them into force first.  See eval_settings.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_EVAL_SETTINGS_H
#define DERIVE_EVAL_SETTINGS_H

#include "nodes/pg_list.h"
#include "utils/array.h"

typedef struct DeriveSettings DeriveSettings;

/* What this session has now, as text[]; in CurrentMemoryContext. */
extern ArrayType *derive_settings_current(void);

/* Has it the form of recorded ones, each of a name that we record? */
extern bool derive_settings_are_valid(ArrayType *recorded);

/* Recorded ones, to be put into force; in CurrentMemoryContext. */
extern DeriveSettings *derive_settings_read(ArrayType *recorded);

/*
 * Put them into force, until the GUC nest level that the caller has begun ends;
 * after that call derive_settings_leave() with the result.  NULL: those that
 * are in force already.  ERROR if the server does not know a value any more.
 */
extern bool derive_settings_enter(const DeriveSettings *settings);
extern void derive_settings_leave(bool changed);

/* Those that this session has other values of, "name = 'value'", List of char *. */
extern List *derive_settings_differences(const DeriveSettings *settings);

/* The default text search configuration, InvalidOid if there is none by that name. */
extern Oid	derive_settings_text_search_config(const DeriveSettings *settings);

/* The same settings with another one; in CurrentMemoryContext. */
extern ArrayType *derive_settings_set_text_search_config(ArrayType *recorded, Oid config);

#endif							/* DERIVE_EVAL_SETTINGS_H */
