/*-------------------------------------------------------------------------
 *
 * recursive.h
 *	  WITH RECURSIVE: the recursive operator.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_RECURSIVE_H
#define DERIVE_RECURSIVE_H

#include "compile/recursion.h"
#include "derive/compile.h"
#include "derive/operator.h"

/*
 * Compile a recursion into op: one whose sub-queries in FROM may be scans of derived
 * tables already.  Sets op->table, which the operator itself reads.
 */
extern void derive_recursive_compile(DeriveOperator *op, DeriveRecursion *recursion,
									 DeriveTableResolver resolve, void *arg);

#endif							/* DERIVE_RECURSIVE_H */
