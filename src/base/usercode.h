/*-------------------------------------------------------------------------
 *
 * usercode.h
 *	  Code of the owners of views in our own processes, which may only read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_USERCODE_H
#define DERIVE_USERCODE_H

#include "nodes/nodes.h"
#include "utils/elog.h"

/* True in our own background processes, whose commits need not wake anyone. */
extern bool derive_is_worker;

/* What is put back afterwards. */
typedef struct DeriveUserCode
{
	bool		read_only;
	ErrorContextCallback callback;
} DeriveUserCode;

/*
 * Around everything that may run such code, in a pair; "saved" stays where it is
 * between the two.  An ERROR that leaves the (sub)transaction ends it as well.
 * Nothing happens in other processes.
 */
extern void derive_usercode_enter(DeriveUserCode *saved);
extern void derive_usercode_leave(DeriveUserCode *saved);

/* Between the two? */
extern bool derive_usercode_running(void);

/*
 * While it is: ERROR read_only_sql_transaction for what writes although the
 * server lets it pass in a transaction that is read-only.
 */
extern void derive_usercode_check_function(Oid function);
extern void derive_usercode_check_command(Node *stmt);

#endif							/* DERIVE_USERCODE_H */
