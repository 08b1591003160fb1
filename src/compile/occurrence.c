/*-------------------------------------------------------------------------
 *
 * occurrence.c
 *	  The places at which a query reads relations.
 *
 * Each is given a number, which is noted in its range table entry, so that it is
 * the same in every copy of the query, however that was rewritten.  The entry of a
 * relation has no room for it of its own; it stands in ctelevelsup, which means
 * something for references to WITH only, and which is copied like all others.
 *
 * Only entries that FROM uses are occurrences: the rewriter may leave others behind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "compile/occurrence.h"
#include "compile/query.h"

#define MARK "a relation that is read as it was before the batch, by pg_derive only"

int
derive_occurrence_of(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION ? (int) rte->ctelevelsup : 0;
}

/* -------------------------------------------------------------------------
 * Visiting them
 * -------------------------------------------------------------------------
 */

typedef struct VisitContext
{
	bool		(*visit) (RangeTblEntry *rte, void *arg);
	void	   *arg;
} VisitContext;

static bool
visit_walker(Node *node, VisitContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		if (((RangeTblEntry *) node)->rtekind == RTE_RELATION)
			return context->visit((RangeTblEntry *) node, context->arg);
		return range_table_entry_walker((RangeTblEntry *) node, visit_walker, context, QTW_IGNORE_JOINALIASES);
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		Bitmapset  *used = derive_query_used(query);
		int			i = -1;

		while ((i = bms_next_member(used, i)) >= 0)
			if (visit_walker((Node *) rt_fetch(i, query->rtable), context))
				return true;
		bms_free(used);
		return query_tree_walker(query, visit_walker, context, QTW_IGNORE_RANGE_TABLE);
	}
	return expression_tree_walker(node, visit_walker, context);
}

typedef struct NumberContext
{
	int			branch;
	List	   *occurrences;
} NumberContext;

static bool
number_entry(RangeTblEntry *rte, void *arg)
{
	NumberContext *context = arg;
	DeriveOccurrence *occurrence = palloc(sizeof(DeriveOccurrence));

	occurrence->relid = rte->relid;
	occurrence->inh = rte->inh;
	occurrence->branch = context->branch;
	context->occurrences = lappend(context->occurrences, occurrence);
	rte->ctelevelsup = list_length(context->occurrences);
	return false;
}

List *
derive_occurrences_number(Query *query, int branch, List *occurrences)
{
	NumberContext context = {branch, occurrences};
	VisitContext visit = {number_entry, &context};

	(void) visit_walker((Node *) query, &visit);
	return context.occurrences;
}

static bool
entry_is_one_of(RangeTblEntry *rte, void *arg)
{
	return bms_is_member(derive_occurrence_of(rte), (const Bitmapset *) arg);
}

bool
derive_holds_occurrences(Node *node, const Bitmapset *occurrences)
{
	VisitContext visit = {entry_is_one_of, unconstify(Bitmapset *, occurrences)};

	return visit_walker(node, &visit);
}

bool
derive_holds_occurrence(Node *node, int occurrence)
{
	Bitmapset  *one = bms_make_singleton(occurrence);
	bool		result = derive_holds_occurrences(node, one);

	bms_free(one);
	return result;
}

/* -------------------------------------------------------------------------
 * The state before the batch
 * -------------------------------------------------------------------------
 */

static bool
mark_entry(RangeTblEntry *rte, void *arg)
{
	if (!entry_is_one_of(rte, arg))
		return false;
	StaticAssertStmt(sizeof(MARK) > NAMEDATALEN, "the mark must not be a possible alias");
	/* a derived table need not be there yet */
	Assert(rte->relkind == get_rel_relkind(rte->relid) || get_rel_relkind(rte->relid) == '\0');
	rte->alias = NULL;
	rte->eref = makeAlias(MARK, rte->eref->colnames);
	return false;
}

void
derive_occurrences_mark_old(Node *node, const Bitmapset *occurrences)
{
	VisitContext visit = {mark_entry, unconstify(Bitmapset *, occurrences)};

	if (!bms_is_empty(occurrences))
		(void) visit_walker(node, &visit);
}

static bool
forget_entry(RangeTblEntry *rte, void *arg)
{
	if (entry_is_one_of(rte, arg))
		rte->ctelevelsup = 0;
	return false;
}

void
derive_occurrences_forget(Node *node, const Bitmapset *occurrences)
{
	VisitContext visit = {forget_entry, unconstify(Bitmapset *, occurrences)};

	(void) visit_walker(node, &visit);
}

bool
derive_occurrence_is_old(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && strcmp(rte->eref->aliasname, MARK) == 0;
}
