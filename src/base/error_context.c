/*-------------------------------------------------------------------------
 *
 * error_context.c
 *	  Names for messages, and what errors say of where they happened.
 *
 * An expression of a view fails in a process that nobody looks at, for a change
 * that was committed long ago.  So whoever reads the log must be told which view it
 * was, and by which transactions:
 *
 *		ERROR:  division by zero
 *		CONTEXT:  changing view "public.quotients" for transaction 738, committed before 0/1A2B3C8
 *		CONTEXT:  changing view "public.quotients" for transactions 738 to 741, committed before 0/1A2B3C8
 *		CONTEXT:  filling view "public.quotients" as of snapshot 738:742:740, at 0/1A2B3C8
 *
 * Which transactions is told by the positions of the batch: the first and the last
 * one that it may have.  Some in between may be of other databases, or have been
 * aborted.
 *
 * Catalogs must not be read while an error is reported, so the name is looked up
 * before anything can go wrong.  All else is put together if it is wanted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/error_context.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What is done with the view "..." that is named in between. */
static const struct
{
	const char *before;
	const char *after;
}			phrases[] =

{
	[DERIVE_DOING_LOAD] = {"loading", ""},
	[DERIVE_DOING_CHANGE] = {"changing", ""},
	[DERIVE_DOING_RECOMPUTE] = {"computing", " anew"},
	[DERIVE_DOING_FILL] = {"filling", ""},
	[DERIVE_DOING_COMPARE] = {"comparing", " with its definition"},
};

char *
derive_relation_name(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		return psprintf("%u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

static char *
transactions_of_batch(const DeriveErrorContext *context)
{
	FullTransactionId first;
	FullTransactionId last;

	if (!derive_position_range(context->from, context->to, &first, &last))
		return "no transaction";
	if (FullTransactionIdEquals(first, last))
		return psprintf("transaction " UINT64_FORMAT, U64FromFullTransactionId(first));
	return psprintf("transactions " UINT64_FORMAT " to " UINT64_FORMAT,
					U64FromFullTransactionId(first), U64FromFullTransactionId(last));
}

static void
add_context(void *arg)
{
	const DeriveErrorContext *context = arg;
	const char *before = phrases[context->doing].before;
	const char *after = phrases[context->doing].after;

	if (context->from != NULL)
		errcontext("%s view \"%s\"%s for %s, committed before %X/%X", before, context->view, after,
				   transactions_of_batch(context), LSN_FORMAT_ARGS(context->lsn));
	else if (context->to != NULL)
		errcontext("%s view \"%s\"%s as of snapshot %s, at %X/%X", before, context->view, after,
				   derive_position_out(context->to), LSN_FORMAT_ARGS(context->lsn));
	else
		errcontext("%s view \"%s\"%s", before, context->view, after);
}

void
derive_error_context_enter(DeriveErrorContext *context, DeriveDoing doing, Oid view,
						   const DerivePosition *from, const DerivePosition *to, XLogRecPtr lsn)
{
	context->doing = doing;
	context->view = derive_relation_name(view);
	context->from = from;
	context->to = to;
	context->lsn = lsn;
	context->callback.callback = add_context;
	context->callback.arg = context;
	context->callback.previous = error_context_stack;
	error_context_stack = &context->callback;
}

void
derive_error_context_leave(DeriveErrorContext *context)
{
	Assert(error_context_stack == &context->callback);
	error_context_stack = context->callback.previous;
}
