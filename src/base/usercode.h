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
#include "utils/relcache.h"

/* True in our own background processes, whose commits need not wake anyone. */
extern bool derive_is_worker;

/*
 * What stands for the text of our queries in the eyes of other libraries (QueryDesc.sourceText).
 * A parallel worker knows by it whom it helps.
 */
#define DERIVE_QUERY_TEXT	"pg_derive"
extern bool derive_helps_with_query(void);

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

/*
 * Expressions or predicate (Anum_pg_index_indexprs, indpred) of an index as they are stored, NULL if
 * it has none (a List; one expression); in CurrentMemoryContext.  To get them from the relcache would simplify
 * them, which calls functions of whoever made the index, with the rights that we have.
 */
extern Node *derive_index_stored(Relation index, AttrNumber attno);

/* Does the expression call no functions but PostgreSQL's and our own? */
extern bool derive_is_trusted(Node *node);

/* Between the two, or in a parallel worker that helps with a query of ours? */
extern bool derive_usercode_running(void);

/*
 * While it is: ERROR read_only_sql_transaction for what writes although the
 * server lets it pass in a transaction that is read-only.
 */
extern void derive_usercode_check_function(Oid function);
extern void derive_usercode_check_command(Node *stmt);

#endif							/* DERIVE_USERCODE_H */
