/*-------------------------------------------------------------------------
 *
 * whole.h
 *	  Any query, evaluated anew: the whole operator.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_WHOLE_H
#define DERIVE_WHOLE_H

#include "derive/operator.h"

/*
 * Compile a block into op: one that refers to nothing outside, and whose
 * sub-queries in FROM may be scans of derived tables already.
 */
extern void derive_whole_compile(DeriveOperator *op, Query *block);

#endif							/* DERIVE_WHOLE_H */
