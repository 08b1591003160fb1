/*-------------------------------------------------------------------------
 *
 * body.h
 *	  The inside of a program, for this folder only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BODY_H
#define DERIVE_BODY_H

#include "derive/operator.h"
#include "nodes/parsenodes.h"

typedef struct DeriveProgramBody
{
	List	   *operators;		/* of DeriveOperator *, in the order in which
								 * they run */
	Query	   *query;			/* the whole definition, for comparing */
} DeriveProgramBody;

#endif							/* DERIVE_BODY_H */
