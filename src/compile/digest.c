/*-------------------------------------------------------------------------
 *
 * digest.c
 *	  Digests of what internal tables were made for.
 *
 * The compiler gives the same tree for the same view each time, until the view's
 * definition, something that it rests on, or the compiler itself is another one.  So
 * the text of the tree, as PostgreSQL stores trees in its catalogs, says what the rows
 * in internal tables mean.  Of that text is left out, before it is hashed, what may
 * change while the meaning stays:
 *
 *	names			of tables and columns: they can be renamed.  A tree refers to them
 *					by OID and number; the names in it are for people.
 *	join columns	which a join only passes on.  They go when a column is dropped that
 *					nobody reads.
 *	locations		in the text of the query
 *	opfuncid		the function behind an operator, which is looked up by the first
 *					who asks
 *	row security	that the tables have some: what matters of it are the conditions
 *	our own tables	have other OIDs when they are made anew
 *
 * For example, of SELECT k, v FROM t under "ALTER TABLE t RENAME k TO key":
 *
 *	{TARGETENTRY :expr {VAR :varno 1 :varattno 1 ..} :resno 1 :resname key ..}		before
 *	{TARGETENTRY :expr {VAR :varno 1 :varattno 1 ..} :resno 1 :resname <> ..}		hashed
 *
 * The text has another form in each major version of PostgreSQL, which does no harm:
 * the views of a server that was upgraded are computed anew anyway.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "nodes/nodes.h"

#include "compile/digest.h"

/* Fields with a number that says nothing. */
static const char *const without_meaning[] = {
	":location ", ":stmt_location ", ":stmt_len ", ":opfuncid ", ":perminfoindex ",
};

/* A join's columns that are just those of one of its sides. */
static List *
computed_columns(List *columns)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, columns)
		result = lappend(result, lfirst(lc) != NULL && IsA(lfirst(lc), Var) ? NULL : lfirst(lc));
	return result;
}

static void
forget_names_of_rte(RangeTblEntry *rte, List *own)
{
	ListCell   *lc;

	rte->alias = rte->eref = NULL;
	rte->joinaliasvars = computed_columns(rte->joinaliasvars);
	rte->joinleftcols = rte->joinrightcols = NIL;
	foreach(lc, own)
		if (OidIsValid(rte->relid) && rte->relid == lfirst_oid(lc))
	{
		rte->relid = (Oid) (foreach_current_index(lc) + 1);
		break;
	}
}

/* Changes the tree. */
static bool
forget_walker(Node *node, List *own)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			((Query *) node)->hasRowSecurity = false;
			return query_tree_walker((Query *) node, forget_walker, own, QTW_EXAMINE_RTES_BEFORE);
		case T_RangeTblEntry:
			forget_names_of_rte((RangeTblEntry *) node, own);
			return false;		/* query_tree_walker() looks inside */
		case T_TargetEntry:
			((TargetEntry *) node)->resname = NULL;
			((TargetEntry *) node)->resorigtbl = InvalidOid;
			((TargetEntry *) node)->resorigcol = 0;
			break;
		case T_JoinExpr:
			((JoinExpr *) node)->alias = ((JoinExpr *) node)->join_using_alias = NULL;
			((JoinExpr *) node)->usingClause = NIL;
			break;
		case T_RowExpr:
			((RowExpr *) node)->colnames = NIL;
			break;
		case T_RangeTblFunction:
			((RangeTblFunction *) node)->funccolnames = NIL;
			break;
		default:
			break;
	}
	return expression_tree_walker(node, forget_walker, own);
}

/* The length of a field without meaning that begins here, or 0. */
static int
field_to_skip(const char *text)
{
	for (int i = 0; i < lengthof(without_meaning); i++)
	{
		size_t		length = strlen(without_meaning[i]);

		if (strncmp(text, without_meaning[i], length) == 0)
			return length + strspn(text +length, "-0123456789");
	}
	return 0;
}

uint64
derive_digest_tree(uint64 digest, const void *tree, List *own)
{
	Node	   *copy = copyObject(unconstify(void *, tree));
	StringInfoData text;

	(void) forget_walker(copy, own);
	initStringInfo(&text);

	/*
	 * PITFALL: a space or colon within a value is escaped, so these are
	 * fields
	 */
	for (const char *c = nodeToString(copy); *c != '\0'; c++)
	{
		if (*c == ':' && text.len > 0 && text.data[text.len - 1] == ' ')
			c += field_to_skip(c);
		if (*c == '\0')
			break;
		appendStringInfoChar(&text, *c);
	}
	digest = hash_combine64(digest, hash_bytes_extended((const unsigned char *) text.data, text.len, 0));
	pfree(text.data);
	return digest;
}
