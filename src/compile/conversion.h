/*-------------------------------------------------------------------------
 *
 * conversion.h
 *	  Values to text and back: where that depends on more than the value.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_CONVERSION_H
#define DERIVE_CONVERSION_H

#include "nodes/parsenodes.h"

/*
 * Refuse values of this type, or with parts of it, where they are made text (or
 * JSON, XML), and where text is made such a value.
 */
extern void derive_check_output(Oid type);
extern void derive_check_input(Oid type);

/* Refuse an expression that converts values of such types, itself: what is below it is not looked at. */
extern void derive_check_conversion(Node *node);

/* The same for what stands in FROM. */
extern void derive_check_converted_rows(RangeTblEntry *rte);

#endif							/* DERIVE_CONVERSION_H */
