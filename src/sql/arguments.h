/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  Arguments that functions of schema derive cannot do without.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ARGUMENTS_H
#define DERIVE_ARGUMENTS_H

#include "fmgr.h"

/* ERROR null_value_not_allowed, with the argument's name, if one of the first n is NULL. */
extern void derive_require_arguments(FunctionCallInfo fcinfo, int n);

/* The same of one argument, from 0. */
extern void derive_require_argument(FunctionCallInfo fcinfo, int arg);

#endif							/* DERIVE_ARGUMENTS_H */
