/*-------------------------------------------------------------------------
 *
 * running.h
 *	  Windows over all rows: the running operator.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_DERIVE_RUNNING_H
#define DERIVE_DERIVE_RUNNING_H

#include "compile/running.h"
#include "derive/operator.h"

/* Set up the operator for a query that was taken apart, and whose input has terms; all is kept. */
extern void derive_running_compile(DeriveOperator *op, DeriveRunning *running);

#endif							/* DERIVE_DERIVE_RUNNING_H */
