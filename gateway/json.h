/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Pieces of rows, as the server writes them.
 *
 * Rows come as the text of a jsonb, and their values leave as they came: numbers keep
 * all digits.  So nothing is built from the text but slices of it:
 *
 *	{"n": 2, "total": 10.50, "region": "EU"}
 *	           member "total" is the slice 10.50, member "region" the slice "EU" with its quotes
 *
 * Any text may be given; of one that is no object, nothing is found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_JSON_H
#define GW_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* A part of a text that somebody else has. */
typedef struct GwSlice
{
	const char *text;
	size_t		length;
} GwSlice;

/*
 * The next member of an object: "place" is where to go on, at first the object.  The
 * name is a slice with its quotes and escapes.  False at the end, or where the text is
 * no JSON.
 */
extern bool gw_json_next(const char **place, GwSlice *name, GwSlice *value);

/* Likewise the next element of an array. */
extern bool gw_json_element(const char **place, GwSlice *value);

/* The member with this name, which is given with quotes and escapes too. */
extern bool gw_json_member(const char *object, const char *quoted_name, GwSlice *value);

/* The text of a string, for free(), and its length if that is asked for; NULL if it is no string. */
extern char *gw_json_string(GwSlice value, size_t *length);

extern bool gw_slice_is(GwSlice slice, const char *text);

#endif
