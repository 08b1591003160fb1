/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  What the rows in the tables of an operator follow from, as a digest.
 *
 * Internal tables outlive the process that made them.  When a view is loaded again
 * they are found by the number of their operator in the program; that they are this
 * operator's, and that their rows are what it would have put there itself, its digest
 * says (see materialize/program.c).  So everything goes in that the operator works by:
 *
 *		input		its branches, as trees (compile/digest.c)
 *		groups		keys and how they are compared, aggregates and their functions,
 *					where their states are, what is shown of a group
 *
 * and which compiler it was (DERIVE_COMPILER_VERSION), since how a state is used is
 * said by the code alone.  What the tables look like, and how rows in them are found,
 * is added by those who make them (materialize/internal_tables.c).
 *
 * Whoever adds something to an operator that decides what it stores, adds it here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compile/digest.h"
#include "derive/aggregate.h"
#include "derive/operator.h"

static uint64
add_text(uint64 digest, const char *text)
{
	return hash_combine64(digest, hash_bytes_extended((const unsigned char *) text, strlen(text), 0));
}

static uint64
add_key(uint64 digest, const DeriveKey *key)
{
	digest = derive_digest_add(digest, key->type);
	digest = derive_digest_add(digest, key->typmod);
	digest = derive_digest_add(digest, key->collation);
	digest = derive_digest_add(digest, key->eqop);
	digest = derive_digest_add(digest, key->hash.fn_oid);
	digest = derive_digest_add(digest, key->image_hash);
	return derive_digest_add(digest, key->hidden);
}

static uint64
add_function(uint64 digest, const DeriveAggFunction *function)
{
	digest = derive_digest_add(digest, function->cls);
	digest = derive_digest_add(digest, function->strict);
	digest = derive_digest_add(digest, function->state_type);
	digest = derive_digest_add(digest, function->stored_type);
	digest = derive_digest_add(digest, function->transfn.fn_oid);
	digest = derive_digest_add(digest, function->invtransfn.fn_oid);
	digest = derive_digest_add(digest, function->finalfn.fn_oid);
	digest = derive_digest_add(digest, function->serialfn.fn_oid);
	digest = derive_digest_add(digest, function->deserialfn.fn_oid);
	digest = derive_digest_add(digest, function->combinefn.fn_oid);
	digest = derive_digest_add(digest, function->better.fn_oid);
	digest = derive_digest_add(digest, function->loose);
	return derive_digest_add(digest, function->bool_or);
}

static uint64
add_call(uint64 digest, const DeriveAggCall *call, List *own)
{
	digest = derive_digest_tree(digest, call->aggref, own);
	digest = add_function(digest, call->function);
	for (int i = 0; i < list_length(call->aggref->args); i++)
		digest = derive_digest_add(digest, call->args[i]);
	digest = derive_digest_add(digest, call->filter);
	digest = derive_digest_add(digest, call->count_attno);
	digest = derive_digest_add(digest, call->value_attno);
	return derive_digest_add(digest, call->hidden);
}

uint64
derive_aggregation_digest(uint64 digest, const DeriveAggregation *agg, List *own)
{
	digest = derive_digest_add(digest, agg->grouped);
	digest = derive_digest_add(digest, agg->recompute);
	digest = derive_digest_add(digest, agg->loose);
	digest = derive_digest_add(digest, agg->nidentity);
	digest = derive_digest_add(digest, agg->nkeys);
	for (int i = 0; i < agg->nkeys; i++)
		digest = add_key(digest, &agg->keys[i]);
	digest = derive_digest_add(digest, agg->ncalls);
	for (int i = 0; i < agg->ncalls; i++)
		digest = add_call(digest, &agg->calls[i], own);
	digest = derive_digest_tree(digest, agg->targets, own);
	digest = derive_digest_tree(digest, agg->having, own);
	return derive_digest_add(digest, agg->same_attno);
}

uint64
derive_operator_digest(uint64 digest, DeriveOperator *op, List *own)
{
	digest = derive_digest_add(digest, DERIVE_COMPILER_VERSION);
	digest = derive_digest_add(digest, op->number);
	digest = add_text(digest, op->routine->name);
	return op->routine->digest(op, digest, own);
}
