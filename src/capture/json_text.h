/*-------------------------------------------------------------------------
 *
 * json_text.h
 *	  Values of PostgreSQL as JSON text, for the event stream.  Private to
 *	  capture.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_JSON_TEXT_H
#define DERIVE_JSON_TEXT_H

#include "lib/stringinfo.h"

/*
 * Text may grow to this; what is not a value (names of columns that are left
 * out, closing braces) must fit between it and what memory and the protocol
 * allow, which is 1 GB.
 */
#define DERIVE_JSON_MAX	((Size) 1000000000)

/* To the end of the (sub)transaction, which must end with a rollback: the settings that output functions look at. */
extern void derive_json_fix_settings(void);

/*
 * Append a value; false, and nothing is appended, if it has no JSON or too much
 * of it.  In a transaction.
 */
extern bool derive_json_append_value(StringInfo out, Oid type, Datum value);

/* Append text as a JSON string; the same.  Out of a transaction, text that would have to be converted has none. */
extern bool derive_json_append_string(StringInfo out, const char *string);

/* Likewise for a name, which always has: characters that cannot be converted become U+FFFD. */
extern void derive_json_append_name(StringInfo out, const char *name);

#endif							/* DERIVE_JSON_TEXT_H */
