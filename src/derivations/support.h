/*-------------------------------------------------------------------------
 *
 * support.h
 *	  What the derivations that come with pg_derive have in common.
 *
 * Like them it uses only PostgreSQL's headers and the public one, so that a
 * library may copy what it needs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_SUPPORT_H
#define DERIVE_SUPPORT_H

#include "executor/spi.h"
#include "pg_derive/derivation.h"
#include "utils/timestamp.h"
/* 16 took the macros for variable-length values out of postgres.h (commit d952373a9). */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* A column of a view, as a derivation wants it. */
typedef struct DeriveSupportColumn
{
	const char *name;			/* unless the declaration says otherwise */
	Oid			type;
	int32		typmod;
	Oid			collation;
} DeriveSupportColumn;

/* For columns(), and for declare(): the same columns by position, of whatever name. */
extern TupleDesc derive_support_columns(DeriveContext *context, int n,
										const DeriveSupportColumn *columns);
extern void derive_support_check_columns(DeriveContext *context, int n,
										 const DeriveSupportColumn *columns);

/* The key is the first n columns of the view; ERROR if the declaration has another one. */
extern void derive_support_first_columns_are_key(DeriveContext *context, int n, bool unique);

/* See to it that rows of the view can be looked up by this column. */
extern void derive_support_look_up_by(DeriveContext *context, AttrNumber attno);

/* ERROR unless the derivation has exactly one source. */
extern void derive_support_one_source(DeriveContext *context);

/* A column of source 0 that an option names; InvalidAttrNumber if the option is missing and "required" is not set. */
extern AttrNumber derive_support_column_option(DeriveContext *context, const char *option, bool required);

/* A column of source 0 that is read without being named, as if it were: then pg_derive notices when another one takes its place. */
extern AttrNumber derive_support_named(DeriveContext *context, AttrNumber attno);

/* A column of a view: as one of the source, under this name or (NULL) the same; or of a type. */
extern DeriveSupportColumn derive_support_column(DeriveContext *context, AttrNumber attno, const char *name);
extern DeriveSupportColumn derive_support_new_column(const char *name, Oid type);

/* Columns of a state table that keeps a bigint for each key: some columns of another one, then this. */
extern TupleDesc derive_support_keyed_number(TupleDesc desc, int nkeys, const AttrNumber *keys, const char *name);

/*
 * Derivations find rows by image.  Where equal values can have different
 * images (numeric 1.0 and 1.00), that would be wrong: ERROR for such columns.
 */
extern void derive_support_require_image(DeriveContext *context, AttrNumber attno);

/* For SQL: names that need no search_path. */
extern const char *derive_support_relation(Oid relid);
extern const char *derive_support_attribute(TupleDesc desc, AttrNumber attno);
extern const char *derive_support_equals(Oid type);

/*
 * Around all that uses the functions below: SPI, and plans that take an index
 * where there is one.  Plans are kept, and a table may have been empty when one
 * was made, so the planner must not weigh that.
 */
typedef struct DeriveSupportConnection
{
	int			guc_level;
} DeriveSupportConnection;

extern DeriveSupportConnection derive_support_connect(void);
extern void derive_support_finish(DeriveSupportConnection connection);

/*
 * A prepared statement that lives as long as the derivation.  The text is made
 * anew for each use, so that it has the present names; the plan is kept as
 * long as the text stays the same.
 */
typedef struct DeriveSupportStatement
{
	char	   *sql;
	SPIPlanPtr	plan;
} DeriveSupportStatement;

extern SPIPlanPtr derive_support_prepare(DeriveContext *context, DeriveSupportStatement *statement,
										 const char *sql, int nargs, Oid *types);
extern void derive_support_forget(DeriveSupportStatement *statement);

/*
 * Call a function for each row that a plan returns.  Reads in portions.
 */
typedef void (*DeriveSupportRow) (void *arg, HeapTuple row, TupleDesc desc);
extern void derive_support_each(SPIPlanPtr plan, const Datum *values, const char *nulls,
								DeriveSupportRow callback, void *arg);

/* The time so long before that one; -infinity if there is none: a span of 9999 years is for ever. */
extern TimestampTz derive_support_before(TimestampTz time, Interval *span);

/* About how many rows a table has. */
extern double derive_support_estimate_rows(Oid relid);

#endif							/* DERIVE_SUPPORT_H */
