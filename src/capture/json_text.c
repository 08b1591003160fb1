/*-------------------------------------------------------------------------
 *
 * json_text.c
 *	  Values of PostgreSQL as JSON text, for the event stream.
 *
 * The stream must not depend on who reads it, nor end at a row that cannot be
 * written.
 *
 * Settings.  Output functions look at settings of the session, also those of what
 * is inside of an array, a range or a row.  All that matter are set for the time
 * in which a transaction is sent, to what loses nothing; the table below has them.
 *
 * Encoding.  JSON is UTF-8.  Our lines are in the encoding of the database, as the
 * server demands of a plugin's text.  Where that is another one, all other than
 * ASCII is written as escapes, which are the same in each encoding:
 *
 *	LATIN1		é (E9)		\u00e9
 *	EUC_JP		(B4C1)		\u6f22
 *	SQL_ASCII	any bytes	as UTF-8, if they are that, else there is no JSON
 *
 * What cannot be written.  A line has at most 1 GB, and a value of 1 GB may need
 * six times as much; an output function may raise an ERROR, be it that its result
 * is too long.  Where any of this is possible, the function is called in a
 * subtransaction.  It is not for small values of types that come with PostgreSQL:
 * these are many.
 *
 * Whose code.  Output functions are run as whoever reads the stream, as by
 * pgoutput.  Only superusers can make them.  Casts to json, which everybody can
 * make, are not called.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/guard.h"
#include "capture/json_text.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

static const struct
{
	const char *name;
	const char *value;
}			settings[] =

{
	{"bytea_output", "hex"},
	{"datestyle", "ISO, MDY"},
	{"extra_float_digits", "1"},	/* shortest that is exact */
	{"intervalstyle", "postgres"},
	{"lc_monetary", "C"},
	{"quote_all_identifiers", "off"},
	{"search_path", "pg_catalog"},	/* regclass: schemas are named */
	{"timezone", "GMT"},		/* UTC, and known to every server */
};

/* A value of this many bytes: whatever its type makes of it is below 1 GB. */
#define SMALL_VALUE		((Size) 32 * 1024)

/* A value on its way to text; for derive_guarded(). */
typedef struct Text
{
	Oid			function;
	Datum		value;
	char	   *string;
} Text;

void
derive_json_fix_settings(void)
{
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i].name, settings[i].value, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}


/* ----------------------------------------------------------------
 *		Characters
 * ----------------------------------------------------------------
 */

/* What follows the backslash; 0: none is needed. */
static char
short_escape(char c)
{
	switch (c)
	{
		case '\b':
			return 'b';
		case '\f':
			return 'f';
		case '\n':
			return 'n';
		case '\r':
			return 'r';
		case '\t':
			return 't';
		case '"':
		case '\\':
			return c;
		default:
			return '\0';
	}
}

static bool
must_escape(void)
{
	return GetDatabaseEncoding() != PG_UTF8;
}

static Size
escaped_size(const char *string)
{
	bool		escape = must_escape();
	Size		size = 2;

	while (*string != '\0')
	{
		if (IS_HIGHBIT_SET(*string) && escape)
		{
			int			length = pg_encoding_mblen(PG_UTF8, string);

			size += length < 4 ? 6 : 12;
			string += length;
			continue;
		}
		size += short_escape(*string) != '\0' ? 2 : (unsigned char) *string < ' ' ? 6 : 1;
		string++;
	}
	return size;
}

/* A character of UTF-8 that is not ASCII; returns its length. */
static int
append_escape(StringInfo out, const char *string)
{
	pg_wchar	c = utf8_to_unicode((const unsigned char *) string);

	if (c >= 0x10000)
		appendStringInfo(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
	else
		appendStringInfo(out, "\\u%04x", c);
	return pg_encoding_mblen(PG_UTF8, string);
}

static void
append_quoted(StringInfo out, const char *string)
{
	if (!must_escape() || pg_is_ascii(string))
	{
		escape_json(out, string);
		return;
	}
	appendStringInfoChar(out, '"');
	while (*string != '\0')
	{
		char		escape = short_escape(*string);

		if (IS_HIGHBIT_SET(*string))
		{
			string += append_escape(out, string);
			continue;
		}
		if (escape != '\0')
			appendStringInfo(out, "\\%c", escape);
		else if ((unsigned char) *string < ' ')
			appendStringInfo(out, "\\u%04x", *string);
		else
			appendStringInfoChar(out, *string);
		string++;
	}
	appendStringInfoChar(out, '"');
}

/* What is JSON already, on one line; all that is not ASCII is in strings. */
static void
append_json(StringInfo out, const char *string)
{
	bool		escape = must_escape();

	while (*string != '\0')
	{
		if (IS_HIGHBIT_SET(*string) && escape)
		{
			string += append_escape(out, string);
			continue;
		}
		appendStringInfoChar(out, (*string == '\n' || *string == '\r') ? ' ' : *string);
		string++;
	}
}

static bool
fits(StringInfo out, Size size)
{
	return size <= DERIVE_JSON_MAX && out->len + size <= DERIVE_JSON_MAX;
}

/* As a string, or as the JSON that it is; false if there is too much of it. */
static bool
append_text(StringInfo out, const char *string, bool quoted)
{
	/* a character of one byte is six in an escape, at worst */
	if (!fits(out, strlen(string) * 6 + 2) && !fits(out, escaped_size(string)))
		return false;
	if (quoted)
		append_quoted(out, string);
	else
		append_json(out, string);
	return true;
}


/* ----------------------------------------------------------------
 *		What may fail
 * ----------------------------------------------------------------
 */

static void
call_output(void *arg)
{
	Text	   *text = arg;

	text	  ->string = OidOutputFunctionCall(text->function, text->value);
}

static void
convert_to_utf8(void *arg)
{
	Text	   *text = arg;

	text	  ->string = (char *) pg_do_encoding_conversion((unsigned char *) text->string, strlen(text->string),
															GetDatabaseEncoding(), PG_UTF8);
}

static bool
try_to(DeriveGuardedFunction function, Text *text)
{
	ErrorData  *edata = derive_guarded(function, text);

	if (edata == NULL)
		return true;
	if (derive_error_is_transient(edata->sqlerrcode))
		ReThrowError(edata);
	ereport(DEBUG1,
			(errmsg_internal("a value is left out of the event stream: %s", edata->message)));
	FreeErrorData(edata);
	return false;
}

/* Into UTF-8, if it has to be looked at as characters. */
static bool
make_convertible(Text *text)
{
	if (!must_escape() || pg_is_ascii(text->string))
		return true;
	return IsTransactionState() && try_to(convert_to_utf8, text);
}

/* May the type's output function raise an ERROR for a sound value? */
static bool
may_fail(Oid base, Datum value)
{
	if (base >= FirstNormalObjectId)
		return get_typtype(base) != TYPTYPE_ENUM;
	return get_typlen(base) == -1 &&
		toast_raw_datum_size(value) > SMALL_VALUE;
}

static bool
make_text(Oid type, Oid base, Text *text)
{
	bool		varlena;

	getTypeOutputInfo(type, &text->function, &varlena);
	if (may_fail(base, text->value))
	{
		if (!try_to(call_output, text))
			return false;
	}
	else
		call_output(text);
	return make_convertible(text);
}


/* ----------------------------------------------------------------
 *		Values
 * ----------------------------------------------------------------
 */

/* Is the text of a number a JSON number?  Not NaN and the infinities. */
static bool
is_finite(const char *string)
{
	return string[0] != '\0' && strspn(string, "0123456789+-.eE") == strlen(string);
}

bool
derive_json_append_value(StringInfo out, Oid type, Datum value)
{
	Oid			base = getBaseType(type);
	char		buffer[MAXDATELEN + 1];
	Text text = {.value = value};

	switch (base)
	{
		case BOOLOID:
			appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
			return true;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			JsonEncodeDateTime(buffer, value, base, NULL);
			escape_json(out, buffer);
			return true;
		default:
			break;
	}

	if (!make_text(type, base, &text))
		return false;
	switch (base)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return append_text(out, text.string, !is_finite(text.string));
		case JSONOID:
		case JSONBOID:
			return append_text(out, text.string, false);
		default:
			return append_text(out, text.string, true);
	}
}

bool
derive_json_append_string(StringInfo out, const char *string)
{
	Text text = {.string = unconstify(char *, string)};

	return make_convertible(&text) && append_text(out, text.string, true);
}

void
derive_json_append_name(StringInfo out, const char *name)
{
	Text text = {.string = unconstify(char *, name)};

	if (make_convertible(&text))
	{
		append_quoted(out, text.string);
		return;
	}
	appendStringInfoChar(out, '"');
	for (; *name != '\0'; name++)
	{
		if (IS_HIGHBIT_SET(*name))
			appendStringInfoString(out, "\\ufffd");
		else if (short_escape(*name) != '\0')
			appendStringInfo(out, "\\%c", short_escape(*name));
		else if ((unsigned char) *name < ' ')
			appendStringInfo(out, "\\u%04x", *name);
		else
			appendStringInfoChar(out, *name);
	}
	appendStringInfoChar(out, '"');
}
