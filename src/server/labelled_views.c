/*-------------------------------------------------------------------------
 *
 * labelled_views.c
 *	  Views that a label says to be maintained, and that are not yet.
 *
 * The label of a maintained view (base/label.c) is in dumps.  This is what makes a restored
 * view maintained again without anybody's help; pg_restore does, in this order:
 *
 *		CREATE EXTENSION pg_derive
 *		CREATE MATERIALIZED VIEW v .. WITH NO DATA
 *		SECURITY LABEL ON v .. 'maintained ..'		noted, nothing else: no table has a key
 *													yet, and nobody the right to read it
 *		data, keys, GRANT
 *		REFRESH MATERIALIZED VIEW v					v is maintained
 *
 * So: a REFRESH of a view with a label that is not maintained puts it under maintenance, as a
 * part of the command, whether it has data or not.  All of it is done under the settings that
 * the label has.  Somebody who writes the label by hand gets the same at once if the view has
 * data, which in a restore it never has.
 *
 * A REFRESH that fails, fails the restore, but the reason why it does is known since before
 * the dump: such a view has failed there, and in most cases waits for other rows.  Neither do
 * people want the restore to stop for views that cannot be maintained where they restore.
 *
 *		the query raises an error		WARNING; the view is maintained, has no data, and the
 *										builder, which meets the same error, tries it again
 *		the view cannot be maintained	WARNING; it has data and stands still; its next
 *										REFRESH, or derive.maintain(), makes another attempt
 *		both							the error of the query, as if there were no label; the same where
 *										the view has data, for which a REFRESH is not that of a restore
 *
 * A label is written by the owner of its view.  What it can say is no more than what the owner
 * can do by SET and derive.maintain(), in whose name it is done; see new_views.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/groups.h"
#include "base/guard.h"
#include "base/position.h"
#include "base/registry.h"
#include "base/rights.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "materialize/program.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "server/labelled_views.h"
#include "server/new_views.h"
#include "server/request.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* ----------------------------------------------------------------
 *		SECURITY LABEL
 * ----------------------------------------------------------------
 */

/* A maintained view has the label that pg_derive writes. */
static void
check_label_of_maintained(Oid view, const DeriveViewLabel *label)
{
	DeriveViewLabel *present = derive_view_label(view);

	if (label == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot remove the label of the maintained view \"%s\"", get_rel_name(view)),
				 errhint("Call derive.release() for the view.")));

	/* one that the script of an extension has created and declared by now */
	if (OidIsValid(getExtensionOfObject(RelationRelationId, view)))
		return;
	if (present == NULL || !derive_view_label_agrees(label, present))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change the label of the maintained view \"%s\"", get_rel_name(view)),
				 errhint("Call derive.pause() or derive.resume() for the view, or derive.release() for other settings.")));
}

void
derive_labelled_view_check_label(const ObjectAddress *object, const char *text)
{
	Oid			view = object->objectId;
	DeriveViewLabel *label = NULL;

	if (object->objectSubId != 0 || get_rel_relkind(view) != RELKIND_MATVIEW ||
		get_rel_namespace(view) == derive_state_schema_oid(true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("labels of provider \"%s\" are for materialized views and handler functions of derivations",
						DERIVE_LABEL_PROVIDER)));
	if (text !=NULL)
		label = derive_view_label_parse(text);
	if (IsBinaryUpgrade)
		return;					/* tables of ours may have no rows yet */
	if (derive_registry_get(view) != NULL)
		check_label_of_maintained(view, label);
	else if (label != NULL && derive_is_populated(view))
	{
		/* it will be maintained in a moment, if anything here can */
		(void) derive_extension_oid(false);
		derive_require_service();
		if (label->paused)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("materialized view \"%s\" is not maintained and cannot be paused", get_rel_name(view)),
					 errhint("Call derive.maintain() and then derive.pause() for the view.")));
	}
}

/*
 * Groups are in no dump, but in labels: who restores one, and may create groups, creates them.  Only by
 * the label, not when the view is filled: that may be by the owner of the database, while
 * the label is by somebody who may not.
 */
static void
create_group_of(const DeriveViewLabel *label)
{
	if (label->group == NULL || !OidIsValid(derive_extension_oid(true)) ||
		derive_group_number(label->group, true) >= 0 || !derive_may_create_groups())
		return;
	derive_group_lock_to_drop();	/* another job of pg_restore may do it now */
	if (derive_group_number(label->group, true) < 0)
		(void) derive_group_create(label->group);
}

void
derive_labelled_view_end(SecLabelStmt *stmt)
{
	Oid			view;
	DeriveViewRow *row;

	if (stmt->objtype != OBJECT_MATVIEW ||
		(stmt->provider != NULL && strcmp(stmt->provider, DERIVE_LABEL_PROVIDER) != 0))
		return;
	CommandCounterIncrement();
	view = RangeVarGetRelid(makeRangeVarFromNameList((List *) stmt->object), NoLock, false);
	row = derive_registry_get(view);
	if (row != NULL)
		derive_registry_write_label(row);
	else if (derive_view_label(view) != NULL)
	{
		create_group_of(derive_view_label(view));
		if (derive_is_populated(view))
			derive_maintain_for_owner(&view);
	}
}

/* ----------------------------------------------------------------
 *		REFRESH MATERIALIZED VIEW
 * ----------------------------------------------------------------
 */

bool
derive_labelled_view_waits(Oid view)
{
	return OidIsValid(derive_extension_oid(true)) && derive_registry_get(view) == NULL &&
		derive_view_label(view) != NULL;
}

/* To see whether the server takes them. */
static void
try_settings(void *arg)
{
	DeriveLabelSettings saved;

	derive_view_label_enter(arg, &saved);
	derive_view_label_leave(&saved);
}

/* As derive.pause() does, of a view whose rows are of the present snapshot. */
static void
pause_view(Oid view)
{
	DeriveViewRow *row = derive_registry_get(view);

	Assert(row != NULL);
	if (derive_view_is_topic(view))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" cannot be paused", get_rel_name(view))));
	row->state = DERIVE_VIEW_PAUSED;
	if (derive_is_populated(view))
	{
		row->position = derive_position_from_snapshot(GetActiveSnapshot());
		row->position->time = derive_position_present();
	}
	derive_registry_update(row);
}

typedef struct Takeover
{
	Oid			view;
	bool		paused;
} Takeover;

static void
take_over(void *arg)
{
	Takeover   *takeover = arg;

	derive_maintain_for_owner(&takeover->view);
	if (takeover->paused)
		pause_view(takeover->view);
}

/* Was it the query that raised the error, and not what the command or the session is like? */
static bool
is_of_query(const ErrorData *edata)
{
	switch (ERRCODE_TO_CATEGORY(edata->sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR):
		case ERRCODE_TO_CATEGORY(ERRCODE_INVALID_TRANSACTION_STATE):
		case ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED):
			return false;
		default:
			return edata->sqlerrcode != ERRCODE_OBJECT_IN_USE && derive_error_may_pass(edata->sqlerrcode);
	}
}

static void
warn_of_refusal(Oid view, ErrorData *edata)
{
	ereport(WARNING,
			(errcode(edata->sqlerrcode),
			 errmsg("materialized view \"%s\" is not maintained: %s", get_rel_name(view), edata->message),
			 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
			 errhint("%s%sCall derive.maintain() for the view once that is mended.",
					 edata->hint ? edata->hint : "", edata->hint ? " " : "")));
}

bool
derive_labelled_view_refresh(Oid view, DeriveGuardedFunction refresh, void *arg)
{
	DeriveViewLabel *label = derive_view_label(view);
	Takeover	takeover = {view, label->paused};
	ErrorData  *refusal = derive_guarded(try_settings, label);
	ErrorData  *failure;
	DeriveLabelSettings saved;

	if (refusal != NULL)
	{
		refresh(arg);
		warn_of_refusal(view, refusal);
		return true;
	}

	derive_view_label_enter(label, &saved);
	failure = derive_guarded(refresh, arg);
	derive_view_label_leave(&saved);
	if (failure != NULL && (derive_is_populated(view) || !is_of_query(failure)))
		ReThrowError(failure);

	CommandCounterIncrement();
	refusal = derive_guarded(take_over, &takeover);
	if (refusal != NULL && !derive_is_refusal(refusal->sqlerrcode))
		ReThrowError(refusal);
	if (refusal != NULL && failure != NULL)
		ReThrowError(failure);
	if (refusal != NULL)
		warn_of_refusal(view, refusal);
	if (failure != NULL)
		ereport(WARNING,
				(errcode(failure->sqlerrcode),
				 errmsg("materialized view \"%s\" is maintained but has no data: %s", get_rel_name(view), failure->message),
				 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
				 takeover.paused ? errhint("Call derive.resume() for the view once that is mended.") :
				 errhint("It is filled once that is mended; see derive.views for its state.")));
	return failure == NULL;
}
