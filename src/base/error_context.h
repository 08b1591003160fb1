/*-------------------------------------------------------------------------
 *
 * error_context.h
 *	  Names for messages, and what errors say of where they happened.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_ERROR_CONTEXT_H
#define DERIVE_ERROR_CONTEXT_H

#include "access/xlogdefs.h"
#include "base/position.h"
#include "utils/elog.h"

/*
 * Schema and name of a relation, quoted where need be; the OID of one that does not
 * exist any more.  Palloc'd.  In a transaction that has not failed.
 */
extern char *derive_relation_name(Oid relid);

/* What is done with a view. */
typedef enum DeriveDoing
{
	DERIVE_DOING_LOAD,			/* its definition is compiled */
	DERIVE_DOING_CHANGE,		/* it is moved by deltas */
	DERIVE_DOING_RECOMPUTE,
	DERIVE_DOING_FILL,
	DERIVE_DOING_COMPARE
} DeriveDoing;

/* To be kept by the caller between enter and leave. */
typedef struct DeriveErrorContext
{
	ErrorContextCallback callback;
	DeriveDoing doing;
	const char *view;
	const DerivePosition *from;
	const DerivePosition *to;
	XLogRecPtr	lsn;
} DeriveErrorContext;

/*
 * From here on all messages say what is done, and with which view; an ERROR needs no
 * leave.  from and to: the batch, which must stay as they are meanwhile.  from NULL:
 * no batch, the tables are read as of "to"; both NULL: nothing is read.  lsn: whatever
 * is in "to" committed before.
 */
extern void derive_error_context_enter(DeriveErrorContext *context, DeriveDoing doing, Oid view,
									   const DerivePosition *from, const DerivePosition *to, XLogRecPtr lsn);
extern void derive_error_context_leave(DeriveErrorContext *context);

#endif							/* DERIVE_ERROR_CONTEXT_H */
