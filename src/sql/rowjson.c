/*-------------------------------------------------------------------------
 *
 * rowjson.c
 *	  Rows of views as jsonb, for sessions.
 *
 * derive.poll() and derive.changes_of() hand out rows as to_jsonb() makes them.
 * Two things can go wrong with that.
 *
 * Whose code.  to_jsonb() calls the cast to json that somebody may have given his
 * type.  The columns of a view have the types that its owner chose, so that is
 * code that he answers for: it runs as he, as it would in the worker, and never
 * as the session that happens to read.
 *
 * What no jsonb can hold.  Some values of a row cannot be converted, however
 * often one tries, such as
 *
 *	json '{"name": "x\u0000y"}'		a character that type text does not have
 *	a text of 300 MB				a string of jsonb has less than 256 MB
 *	jsonb '[1e131000, 1e131000, ... ]'	a jsonb of kilobytes, a text of gigabytes
 *	a cast of the owner's that raises an ERROR
 *
 * and a reader who must have this row before he gets the next one would never get
 * any further.  So each row is converted in a subtransaction.  If that fails, the
 * columns are converted one by one, and those that cannot be are left out and
 * named.  What is left out depends on nothing but the row, so that an old row
 * still is what the new row was before.  Errors that say nothing about the row
 * (a cancel, no memory) are the session's, as always.
 *
 * A subtransaction takes as long as the rest.  Small rows of types that come with
 * PostgreSQL, other than json, can neither fail nor call anybody's code, and do
 * without.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "base/guard.h"
#include "base/rights.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/primnodes.h"
#include "sql/rowjson.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/*
 * Both rows of a change have to fit into a message of the protocol (1 GB), as
 * text.  The text of small ones needs no look: most of it are digits of numbers,
 * of which a byte of numeric can have no more than some ten thousand.
 */
#define MAX_TEXT		((Size) 500000000)
#define SMALL_JSONB		((Size) 32 * 1024)

/* With compressed values in it, still far from what a jsonb can hold. */
#define SMALL_ROW		((Size) 32 * 1024)

/* What a jsonb can hold (JENTRY_OFFLENMASK), without the names of columns. */
#define MAX_JSONB		((Size) 255 * 1024 * 1024)

/* A value to be converted; for derive_guarded(). */
typedef struct Conversion
{
	Oid			owner;
	Oid			type;
	Datum		value;
	Jsonb	   *result;
} Conversion;

static void
refuse_text(Size size)
{
	if (size > MAX_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("JSON text is too long: size %zu, maximum size %zu", size, MAX_TEXT)));
}

static Size
text_size(Jsonb *jsonb)
{
	StringInfoData text;

	initStringInfo(&text);
	(void) JsonbToCString(&text, &jsonb->root, VARSIZE(jsonb));
	pfree(text.data);
	return text.len;
}

/* to_jsonb() learns the type of its argument from the expression that calls it. */
static Jsonb *
call_to_jsonb(Oid type, Datum value)
{
	FmgrInfo	to_jsonb;
	Expr	   *argument = (Expr *) makeNullConst(type, -1, InvalidOid);

	fmgr_info(F_TO_JSONB, &to_jsonb);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &to_jsonb);
	return DatumGetJsonbP(FunctionCall1(&to_jsonb, value));
}

static void
convert(void *arg)
{
	Conversion *conversion = arg;
	DeriveRole	saved;

	derive_role_enter(conversion->owner, &saved);
	conversion->result = call_to_jsonb(conversion->type, conversion->value);
	derive_role_leave(&saved);
	if (VARSIZE(conversion->result) > SMALL_JSONB)
		refuse_text(text_size(conversion->result));
}

/* False if it cannot be converted. */
static bool
try_to_convert(Conversion *conversion)
{
	ErrorData  *edata = derive_guarded(convert, conversion);

	if (edata == NULL)
		return true;
	if (derive_error_is_transient(edata->sqlerrcode))
		ReThrowError(edata);
	ereport(DEBUG1,
			(errmsg_internal("a value of type %s has no JSON: %s",
							 format_type_be(conversion->type), edata->message)));
	FreeErrorData(edata);
	return false;
}

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = pstrdup(name);
	key.val.string.len = strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &key);
}

static void
push_value(JsonbParseState **state, Jsonb *jsonb)
{
	JsonbValue	value;

	if (jsonb == NULL)
		value.type = jbvNull;
	else if (!JB_ROOT_IS_SCALAR(jsonb) || !JsonbExtractScalar(&jsonb->root, &value))
		JsonbToJsonbValue(jsonb, &value);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

static void
add_name(List **names, const char *name)
{
	ListCell   *lc;

	foreach(lc, *names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return;
	}
	*names = lappend(*names, pstrdup(name));
}

/* Column by column, without those that cannot be converted, or do not fit any more. */
static Datum
convert_columns(Oid owner, HeapTupleHeader row, List **omitted)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row),.t_data = row};
	JsonbParseState *state = NULL;
	Size text = 0;
	Size		size = 0;

	heap_deform_tuple(&tuple, desc, values, nulls);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Conversion	conversion = {owner, att->atttypid, values[i], NULL};

		if (att->attisdropped)
			continue;
		if (!nulls[i])
		{
			Size		more_text = 0;
			bool		fits = try_to_convert(&conversion);

			if (fits)
			{
				more_text = text_size(conversion.result);
				fits = text +more_text <= MAX_TEXT && size + VARSIZE(conversion.result) <= MAX_JSONB;
			}
			if (!fits)
			{
				add_name(omitted, NameStr(att->attname));
				continue;
			}
			text	  +=more_text;

			size += VARSIZE(conversion.result);
		}
		push_key(&state, NameStr(att->attname));
		push_value(&state, conversion.result);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Can a small row of these columns always be converted, by PostgreSQL alone? */
static bool
is_harmless(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			type = att->attisdropped ? InvalidOid : getBaseType(att->atttypid);

		if (OidIsValid(get_element_type(type)))
			type = get_element_type(type);
		if (!att->attisdropped &&
			(type >= FirstNormalObjectId || type == JSONOID || get_typtype(type) != TYPTYPE_BASE))
			return false;
	}
	return true;
}

static void
look_at_columns(DeriveRowJson *state, HeapTupleHeader row)
{
	TupleDesc	desc;

	if (state->type == HeapTupleHeaderGetTypeId(row) && state->typmod == HeapTupleHeaderGetTypMod(row))
		return;
	state->type = HeapTupleHeaderGetTypeId(row);
	state->typmod = HeapTupleHeaderGetTypMod(row);
	desc = lookup_rowtype_tupdesc(state->type, state->typmod);
	state->harmless = is_harmless(desc);
	ReleaseTupleDesc(desc);
}

Datum
derive_row_to_jsonb(DeriveRowJson *state, Datum row, List **omitted)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	Conversion	conversion = {derive_owner_of(state->view), HeapTupleHeaderGetTypeId(header), row, NULL};

	look_at_columns(state, header);
	if (state->harmless && HeapTupleHeaderGetDatumLength(header) <= SMALL_ROW)
	{
		Jsonb	   *jsonb = call_to_jsonb(state->type, row);

		if (VARSIZE(jsonb) <= SMALL_JSONB)
			return JsonbPGetDatum(jsonb);
	}
	if (try_to_convert(&conversion))
		return JsonbPGetDatum(conversion.result);
	return convert_columns(conversion.owner, header, omitted);
}

Datum
derive_omitted_array(List *omitted)
{
	Datum	   *names = palloc(sizeof(Datum) * (list_length(omitted) + 1));
	ListCell   *lc;

	if (omitted == NIL)
		return (Datum) 0;
	foreach(lc, omitted)
		names[foreach_current_index(lc)] = CStringGetTextDatum((char *) lfirst(lc));
	return PointerGetDatum(construct_array(names, list_length(omitted), TEXTOID, -1, false, TYPALIGN_INT));
}
