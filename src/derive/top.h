/*-------------------------------------------------------------------------
 *
 * top.h
 *	  ORDER BY .. LIMIT over rows that can be maintained: the top operator.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_TOP_H
#define DERIVE_TOP_H

#include "compile/limit.h"
#include "derive/compile.h"
#include "derive/operator.h"

/*
 * The block without its LIMIT and ORDER BY, to see whether it has terms (term.h); what it sorts
 * by are columns behind the others.  A copy.
 */
extern Query *derive_top_input(Query *block);

/* Compile a block that has this limit, and such an input, into op. */
extern void derive_top_compile(DeriveOperator *op, Query *block, const DeriveLimit *limit,
							   DeriveTableResolver resolve, void *arg);

#endif							/* DERIVE_TOP_H */
