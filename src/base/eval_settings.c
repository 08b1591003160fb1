/*-------------------------------------------------------------------------
 *
 * eval_settings.c
 *	  The settings that a view is evaluated under.
 *
 * "at::date" is another date in another time zone, and which one is in force may
 * change: by a reload, ALTER DATABASE, ALTER ROLE, in a session.  Rows computed
 * under different settings must not meet in one view.  So the session that
 * declares a view records the settings that change what an expression means,
 * all of them and as it has them, as CREATE FUNCTION ... SET ... FROM CURRENT
 * does; from then on whoever evaluates the view does so under these:
 *
 *	session		SET TimeZone = 'Asia/Tokyo';
 *				SELECT derive.create_view('per_day', 'SELECT at::date, ...')
 *	recorded	{..., TimeZone=Asia/Tokyo, ...}
 *	worker		has Etc/UTC; sets Asia/Tokyo while this view moves
 *
 * What PostgreSQL evaluates when it reads a query, constants above all, it has
 * evaluated under the same settings when the view was declared.
 *
 * Cost.  A batch may take 0.2 ms, so only the settings are set that differ;
 * to find that none does takes microseconds.
 *
 * Plans.  Functions in PL/pgSQL, SQL and others keep plans of what they run for
 * the rest of the session, with constants that were read under the settings of
 * the first call.  A function that is IMMUTABLE should not have such constants,
 * but the worker calls it for views of several settings, so its plans are made
 * anew when the settings become others than those of the last evaluation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/eval_settings.h"
#include "catalog/namespace.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "tsearch/ts_cache.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

#define TEXT_SEARCH_CONFIG "default_text_search_config"

/*
 * What a function of PostgreSQL, or the parser in the body of a function, reads.
 * Everybody may set them.  standard_conforming_strings, backslash_quote and
 * plpgsql.variable_conflict are not here: the texts of functions are read but once in a
 * process, so they are the same for all views (server/background.c).
 */
static const struct
{
	const char *name;
	const char *default_value;	/* where the library that has it is not
								 * loaded, and nobody has set it; or NULL */
}			recorded[] =

{
	{"array_nulls"},
	{"bytea_output"},
	{"DateStyle"},
	{TEXT_SEARCH_CONFIG},
	{"extra_float_digits"},
	{"IntervalStyle"},
	{"lc_monetary"},
	{"lc_numeric"},
	{"lc_time"},
	{"plpgsql.check_asserts", "on"},
	{"plpgsql.extra_errors", "none"},
	{"quote_all_identifiers"},
	{"TimeZone"},
	{"timezone_abbreviations"},
	{"transform_null_equals"},
	{"xmlbinary"},
	{"xmloption"},
};

typedef struct Setting
{
	char	   *name;
	char	   *value;
} Setting;

struct DeriveSettings
{
	uint64		digest;
	int			n;
	Setting		settings[FLEXIBLE_ARRAY_MEMBER];
};

/* In a background process: the settings under which functions' plans were made; 0: none were. */
static uint64 plans_digest = 0;

/* -------------------------------------------------------------------------
 * Recording
 * -------------------------------------------------------------------------
 */

static char *
text_search_config_name(Oid config)
{
	HeapTuple	tuple = SearchSysCache1(TSCONFIGOID, ObjectIdGetDatum(config));
	Form_pg_ts_config form;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_ts_config) GETSTRUCT(tuple);
	result = quote_qualified_identifier(get_namespace_name(form->cfgnamespace), NameStr(form->cfgname));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * What the setting is where it says this.  That of a library which this process has not loaded is not there, or,
 * once somebody has set and reset it, empty.
 */
static const char *
or_default(const char *name, const char *value)
{
	if (value != NULL && value[0] != '\0')
		return value;
	for (int i = 0; i < lengthof(recorded); i++)
	{
		if (recorded[i].default_value != NULL && strcmp(name, recorded[i].name) == 0)
			return recorded[i].default_value;
	}
	return value;
}

/* As GetConfigOption(); NULL: no library of this server has it. */
static const char *
value_in_force(const char *name)
{
	return or_default(name, GetConfigOption(name, true, false));
}

/* NULL: there is none that could be put into force. */
static const char *
current_value(const char *name)
{
	Oid			config;

	if (strcmp(name, TEXT_SEARCH_CONFIG) != 0)
		return or_default(name, GetConfigOptionByName(name, NULL, true));

	/* found by the session's search_path, which nobody else has */
	config = getTSCurrentConfig(false);
	return OidIsValid(config) ? text_search_config_name(config) : NULL;
}

static ArrayType *
to_array(List *items)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(list_length(items), 1));
	ListCell   *lc;

	foreach(lc, items)
		values[foreach_current_index(lc)] = CStringGetTextDatum((char *) lfirst(lc));
	return construct_array(values, list_length(items), TEXTOID, -1, false, TYPALIGN_INT);
}

ArrayType *
derive_settings_current(void)
{
	List	   *items = NIL;

	for (int i = 0; i < lengthof(recorded); i++)
	{
		const char *value = current_value(recorded[i].name);

		if (value != NULL)
			items = lappend(items, psprintf("%s=%s", recorded[i].name, value));
	}
	return to_array(items);
}

/* -------------------------------------------------------------------------
 * Reading what is recorded
 * -------------------------------------------------------------------------
 */

static List *
from_array(ArrayType *settings)
{
	List	   *items = NIL;
	Datum	   *values;
	int			n;

	deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
		items = lappend(items, TextDatumGetCString(values[i]));
	return items;
}

bool
derive_settings_are_valid(ArrayType *settings)
{
	ListCell   *lc;

	if (ARR_NDIM(settings) != 1 || array_contains_nulls(settings))
		return false;
	foreach(lc, from_array(settings))
	{
		const char *item = lfirst(lc);
		bool		found = false;

		for (int i = 0; i < lengthof(recorded); i++)
		{
			size_t		len = strlen(recorded[i].name);

			found |= strncmp(item, recorded[i].name, len) == 0 && item[len] == '=';
		}
		if (!found)
			return false;
	}
	return true;
}

DeriveSettings *
derive_settings_read(ArrayType *settings)
{
	List	   *items = from_array(settings);
	DeriveSettings *result = palloc0(offsetof(DeriveSettings, settings) + sizeof(Setting) * list_length(items));
	ListCell   *lc;

	result->digest = 1;
	foreach(lc, items)
	{
		Setting    *setting = &result->settings[result->n];
		char	   *item = lfirst(lc);

		result->digest = hash_combine64(result->digest,
										hash_bytes_extended((const unsigned char *) item, strlen(item), 0));
		setting->value = strchr(item, '=');
		if (setting->value == NULL)
			elog(ERROR, "invalid recorded setting \"%s\"", item);
		*setting->value++ = '\0';
		setting->name = item;
		/* made by a version of the server that had it, this one does not */
		if (value_in_force(setting->name) != NULL)
			result->n++;
	}
	return result;
}

Oid
derive_settings_text_search_config(const DeriveSettings *settings)
{
	for (int i = 0; i < settings->n; i++)
		if (strcmp(settings->settings[i].name, TEXT_SEARCH_CONFIG) == 0)
			return get_ts_config_oid(derive_compat_qualified_name(settings->settings[i].value), true);
	return InvalidOid;
}

ArrayType *
derive_settings_set_text_search_config(ArrayType *settings, Oid config)
{
	List	   *items = from_array(settings);
	ListCell   *lc;

	foreach(lc, items)
		if (strncmp(lfirst(lc), TEXT_SEARCH_CONFIG "=", strlen(TEXT_SEARCH_CONFIG "=")) == 0)
		lfirst(lc) = psprintf("%s=%s", TEXT_SEARCH_CONFIG, text_search_config_name(config));
	return to_array(items);
}

List *
derive_settings_differences(const DeriveSettings *settings)
{
	List	   *result = NIL;

	for (int i = 0; i < settings->n; i++)
	{
		const Setting *setting = &settings->settings[i];
		const char *value = current_value(setting->name);

		if (value == NULL || strcmp(value, setting->value) != 0)
			result = lappend(result, psprintf("%s = %s", setting->name, quote_literal_cstr(setting->value)));
	}
	return result;
}

/* -------------------------------------------------------------------------
 * Putting them into force
 * -------------------------------------------------------------------------
 */

static bool
in_background(void)
{
	return MyBackendType == B_BG_WORKER;
}

static void
setting_error(void *arg)
{
	errcontext("setting \"%s\", recorded when the view was declared", (const char *) arg);
}

bool
derive_settings_enter(const DeriveSettings *settings)
{
	ErrorContextCallback callback = {error_context_stack, setting_error, NULL};
	bool		changed = false;

	if (settings == NULL)
		return false;
	error_context_stack = &callback;
	for (int i = 0; i < settings->n; i++)
	{
		const Setting *setting = &settings->settings[i];

		/* may say the same in other words; then setting it does no harm */
		if (strcmp(value_in_force(setting->name), setting->value) == 0)
			continue;
		callback.arg = setting->name;
		(void) set_config_option(setting->name, setting->value, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		changed = true;
	}
	error_context_stack = callback.previous;

	/* A background process evaluates nothing but views. */
	if (in_background() ? plans_digest != settings->digest : changed)
	{
		ResetPlanCache();
		plans_digest = settings->digest;
	}
	return changed;
}

void
derive_settings_leave(bool changed)
{
	if (changed && !in_background())
		ResetPlanCache();
}
