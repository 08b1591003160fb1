/*-------------------------------------------------------------------------
 *
 * published.c
 *	  Tables that publications of logical replication publish.
 *
 * What is published of an UPDATE or DELETE has the replica identity, so the server refuses
 * these where the publication lacks some of its columns.  FULL is all columns:
 *
 *		CREATE PUBLICATION p FOR TABLE t (id, a)
 *		ALTER TABLE t REPLICA IDENTITY FULL
 *		UPDATE t ..		ERROR:  cannot update table "t"
 *
 * and from 18 on the generated ones as well, which few publications publish.  Row filters
 * may use any column of the replica identity: FULL is no harm to them.
 *
 * The judgement is the server's own (RelationBuildPublicationDesc()), one publication after
 * the other.  It is given a relation made for that, as the table would be with FULL; so nothing is
 * changed or locked.  It does not look at its indexes, since the relation says it has none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guard.h"
#include "base/published.h"
#include "base/unlocked.h"
#include "catalog/partition.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* What is asked, and the answer. */
typedef struct Question
{
	Oid			relid;
	char	   *reason;
	const char *hint;
} Question;

/* The table as it would be. */
static Relation
make_relation(const DeriveUnlocked *table)
{
	Relation	rel = palloc0(sizeof(RelationData));

	rel->rd_id = table->relid;
	rel->rd_rel = palloc(sizeof(FormData_pg_class));
	memcpy(rel->rd_rel, &table->form, sizeof(FormData_pg_class));
	rel->rd_rel->relreplident = REPLICA_IDENTITY_FULL;
	rel->rd_rel->relhasindex = false;
	rel->rd_att = CreateTupleDescCopy(table->desc);
	rel->rd_att->constr = palloc0(sizeof(TupleConstr));
	for (int i = 0; i < rel->rd_att->natts; i++)
	{
		if (!TupleDescAttr(table->desc, i)->attisdropped)
			derive_compat_note_generated(rel->rd_att->constr, TupleDescAttr(table->desc, i)->attgenerated);
	}
	return rel;
}

/* Of the table or partitioned table itself, or its schema. */
static List *
add_publications(List *publications, Oid relid)
{
	publications = list_concat_unique_oid(publications, GetRelationPublications(relid));
	return list_concat_unique_oid(publications, GetSchemaPublications(get_rel_namespace(relid)));
}

static void
ask(void *arg)
{
	Question   *question = arg;
	const DeriveUnlocked *table = derive_unlocked_read(question->relid);
	List	   *ancestors = NIL;
	List	   *publications;
	Relation	rel;
	ListCell   *lc;

	question->reason = NULL;
	if (table == NULL)
		return;
	publications = add_publications(GetAllTablesPublications(), question->relid);
	if (table->form.relispartition)
		ancestors = get_partition_ancestors(question->relid);
	foreach(lc, ancestors)
		publications = add_publications(publications, lfirst_oid(lc));
	if (publications == NIL)
		return;

	rel = make_relation(table);
	if (!is_publishable_relation(rel))
		return;
	foreach(lc, publications)
	{
		Publication *publication = GetPublication(lfirst_oid(lc));
		bool		columns;
		bool		generated;

		if (!publication->pubactions.pubupdate && !publication->pubactions.pubdelete)
			continue;
		derive_compat_judge_publication(publication, rel, ancestors, &columns, &generated);
		if (!columns && !generated)
			continue;
		question->reason = psprintf(columns ? "publication \"%s\" has a list of columns for it" :
									"publication \"%s\" does not publish its generated columns", publication->name);
		if (generated && derive_compat_has_virtual(rel->rd_att->constr))
			question->hint = "Take the table out of the publication, or make its virtual columns stored ones and have these published.";
		else if (columns)
			question->hint = "Have the publication publish all columns of the table, without a list.";
		else
			question->hint = "Set publish_generated_columns = stored for the publication.";
		return;
	}
}

char *
derive_publication_refuses_full(Oid relid, const char **hint)
{
	Question	question = {relid, NULL, NULL};
	ErrorData  *edata = derive_guarded(ask, &question);

	/* a publication may be dropped between two looks at the catalogs */
	if (edata != NULL)
	{
		if (derive_error_is_transient(edata->sqlerrcode))
			ReThrowError(edata);
		AcceptInvalidationMessages();
		ask(&question);
	}
	*hint = question.hint;
	return question.reason;
}
