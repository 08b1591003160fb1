/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Compare values as the database does.
 *
 * A change is compared with a filter here, and not by the database: else each filter of
 * each client would be a query for each change.  So it is done only where it can be done
 * exactly, by kinds of types:
 *
 *	number		smallint, integer, bigint, numeric, real, double precision.  Their JSON is
 *				a decimal number of all digits, or "NaN", "Infinity", "-Infinity"; NaN
 *				equals itself and is the largest.  (A floating point number is written
 *				with the fewest digits that tell it from all others, and those are in the
 *				order of the numbers.)
 *	boolean		false < true
 *	time		date, time, timestamp, timestamptz (in UTC): ISO 8601, with " BC", "infinity"
 *	text		text, varchar, name, uuid and enums: bytes.  Their order is that of the
 *				database for collation C and for uuid only
 *	padded		char(n): the same without blanks at the end
 *
 * Values are slices of JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_VALUE_H
#define GW_VALUE_H

#include "json_span.h"

typedef enum GwKind
{
	GW_NOTHING,					/* cannot be compared, nor told from null
								 * (json, row types) */
	GW_NULLABLE,				/* cannot be compared, but may be null or not */
	GW_NUMBER,
	GW_BOOLEAN,
	GW_TIME,
	GW_TEXT,
	GW_PADDED
} GwKind;

/* As strcmp(), of two values of the kind that are not null. */
extern int	gw_value_compare(GwKind kind, Span a, Span b);

#endif
