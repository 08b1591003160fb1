/*-------------------------------------------------------------------------
 *
 * json_string.h
 *	  What a string of JSON says.
 *
 *		"a\"b\u0001"		a"b and a control character
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_JSON_STRING_H
#define GW_JSON_STRING_H

#include "json_span.h"

/* The text of a string, for free(), and its length if that is asked for; NULL if it is no string. */
extern char *gw_json_string(Span value, size_t *length);

#endif
