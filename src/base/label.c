/*-------------------------------------------------------------------------
 *
 * label.c
 *	  Security labels of provider "pg_derive", and those of maintained views.
 *
 * Our tables are no part of a dump: what they say is true of this database and its log
 * only.  That a view is maintained shall be in it, and is, as a label of the view, which
 * pg_dump dumps with it wherever the view goes:
 *
 *		SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW per_day IS
 *			'maintained {array_nulls=on,"DateStyle=ISO, MDY",TimeZone=Asia/Tokyo}'
 *
 * The words are
 *
 *		maintained			first
 *		in "name"			the group that it is in, if that is not the default group
 *		paused				if it is, and has data
 *		{name=value,...}	the settings that it is evaluated under, as in
 *							derive_state.views, so that they are not those of the
 *							session that restores the dump
 *
 * A view that is to take the place of another one has none: where the dump is restored it
 * is an ordinary one.
 *
 * base/registry.c writes it whenever the row of the view that it is made of is written, so
 * the two never differ.  What a label means that was there before its view was maintained
 * says server/labelled_views.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/eval_settings.h"
#include "base/label.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_seclabel.h"
#include "catalog/pg_type.h"
#include "commands/seclabel.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"

static DeriveLabelCheck check_function;
static DeriveLabelCheck check_relation;

static void
check_label(const ObjectAddress *object, const char *label)
{
	if (object->classId == ProcedureRelationId)
		check_function(object, label);
	else if (object->classId == RelationRelationId)
		check_relation(object, label);
	else
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("labels of provider \"%s\" are for materialized views and handler functions of derivations",
						DERIVE_LABEL_PROVIDER)));
}

void
derive_labels_init(DeriveLabelCheck functions, DeriveLabelCheck relations)
{
	check_function = functions;
	check_relation = relations;
	register_label_provider(DERIVE_LABEL_PROVIDER, check_label);
}

/* Is this the next word of the text?  Then go beyond it. */
static bool
skip_word(const char **text, const char *word)
{
	size_t		len = strlen(word);

	if (strncmp(*text, word, len) != 0 || ((*text)[len] != ' ' && (*text)[len] != '\0'))
		return false;
	*text +=len;
	*text +=strspn(*text, " ");
	return true;
}

/* Is this a name in double quotes?  Then go beyond it. */
static bool
skip_name(const char **text, const char **name)
{
	const char *rest = *text;
	char	   *result = palloc(strlen(rest) + 1);
	char	   *end = result;

	if (*rest++ != '"')
		return false;
	for (; *rest != '\0' && (*rest != '"' || rest[1] == '"'); rest++)
	{
		if (*rest == '"')
			rest++;
		*end++ = *rest;
	}
	*end = '\0';
	if (*rest != '"' || end == result || end - result >= NAMEDATALEN || (rest[1] != ' ' && rest[1] != '\0'))
		return false;
	rest++;
	*text = rest + strspn(rest, " ");
	*name = result;
	return true;
}

DeriveViewLabel *
derive_view_label_parse(const char *text)
{
	DeriveViewLabel *label = palloc0(sizeof(DeriveViewLabel));
	const char *rest = text;
	bool		valid = skip_word(&rest, "maintained");

	if (valid && skip_word(&rest, "in"))
		valid = skip_name(&rest, &label->group);
	label->paused = valid && skip_word(&rest, "paused");
	if (valid && *rest == '{')
	{
		label->settings = DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, pstrdup(rest), TEXTOID, -1));
		valid = derive_settings_are_valid(label->settings);
	}
	else
		valid = valid && *rest == '\0';
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid label of a maintained view: \"%s\"", text),
				 errhint("It must be 'maintained', or what pg_dump wrote.")));
	return label;
}

static char *
label_text(const DeriveViewLabel *label)
{
	StringInfoData group;

	initStringInfo(&group);
	if (label->group != NULL)
	{
		appendStringInfoString(&group, " in \"");
		for (const char *c = label->group; *c != '\0'; c++)
			appendStringInfo(&group, *c == '"' ? "\"\"" : "%c", *c);
		appendStringInfoChar(&group, '"');
	}
	return psprintf("maintained%s%s%s%s", group.data, label->paused ? " paused" : "", label->settings ? " " : "",
					label->settings ? OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(label->settings)) : "");
}

DeriveViewLabel *
derive_view_label(Oid view)
{
	ObjectAddress object;
	char	   *text;

	ObjectAddressSet(object, RelationRelationId, view);
	text = GetSecurityLabel(&object, DERIVE_LABEL_PROVIDER);
	return text ? derive_view_label_parse(text) : NULL;
}

void
derive_view_label_set(Oid view, const DeriveViewLabel *label)
{
	ObjectAddress object;

	ObjectAddressSet(object, RelationRelationId, view);
	SetSecurityLabel(&object, DERIVE_LABEL_PROVIDER, label ? label_text(label) : NULL);
	CommandCounterIncrement();
}

bool
derive_view_label_agrees(const DeriveViewLabel *label, const DeriveViewLabel *other)
{
	DeriveViewLabel completed = {label->group, label->paused, label->settings ? label->settings : other->settings};

	return strcmp(label_text(&completed), label_text(other)) == 0;
}

static void
hint_at_label(void *arg)
{
	errhint("With the label 'maintained' the view has the settings of the session that puts it under maintenance.");
}

void
derive_view_label_enter(const DeriveViewLabel *label, DeriveLabelSettings *saved)
{
	ErrorContextCallback callback = {error_context_stack, hint_at_label, NULL};

	error_context_stack = &callback;
	saved->guc_level = NewGUCNestLevel();
	saved->changed = derive_settings_enter(label && label->settings ? derive_settings_read(label->settings) : NULL);
	error_context_stack = callback.previous;
}

void
derive_view_label_leave(const DeriveLabelSettings *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	derive_settings_leave(saved->changed);
}

void
derive_view_labels_remove(void)
{
	Relation	labels = table_open(SecLabelRelationId, RowExclusiveLock);
	SysScanDesc scan = systable_beginscan(labels, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		if (((FormData_pg_seclabel *) GETSTRUCT(tuple))->classoid == RelationRelationId &&
			strcmp(TextDatumGetCString(heap_getattr(tuple, Anum_pg_seclabel_provider,
													RelationGetDescr(labels), &isnull)), DERIVE_LABEL_PROVIDER) == 0)
			CatalogTupleDelete(labels, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(labels, RowExclusiveLock);
	CommandCounterIncrement();
}
