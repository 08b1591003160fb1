/*-------------------------------------------------------------------------
 *
 * shape.h
 *	  Which rows and columns of a view a client sees.
 *
 * A request's conditions and columns, checked against the view.  The rows of the view
 * are chosen by the database, its changes here (value.h), by the same values: the
 * database has been asked once what they mean, so that "amount=gt.010" and
 * "day=eq.tomorrow" say the same in both places.
 *
 *	conditions "region = EU", of changes of the view
 *	update {"region": "US", "n": 1} to {"region": "EU", "n": 1}		is an insert of the latter
 *	update {"region": "EU", "n": 1} to {"region": "EU", "n": 2}		is an update
 *	update {"region": "EU", "n": 2} to {"region": "US", "n": 2}		is a delete of the former
 *	insert {"region": "US", "n": 3}									is nothing
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_SHAPE_H
#define GW_SHAPE_H

#include "buffer.h"
#include "request.h"
#include "view.h"

/* A short text may be a long value: of 1e100000 all digits are written. */
#define GW_MAX_VALUE_BYTES	4096
#define GW_MAX_SHAPE_BYTES	262144

typedef struct GwFilter
{
	int			column;			/* in the view's columns */
	GwOperator	operator;
	int			count;
	char	  **values;			/* as given; then as the database writes them
								 * as text */
	char	  **json;			/* as it writes them as JSON; NULL until it
								 * was asked */
} GwFilter;

typedef struct GwShape
{
	const GwView *view;
	int		   *columns;		/* those selected, in the order of the view;
								 * NULL: all */
	int			column_count;
	GwFilter	filters[GW_MAX_CONDITIONS];
	int			filter_count;
	char	   *key;			/* equal shapes have equal keys */
} GwShape;

/* NULL, and what is wrong with the request, for free(). */
extern GwShape *gw_shape_create(const GwView *view, const GwRequest *request, char **wrong);
extern void gw_shape_free(GwShape *shape);

/*
 * The query that asks what the values mean; false if there are none.  Its types and
 * values are arrays of "count", for free(); the values themselves belong to the shape.
 */
extern bool gw_shape_question(const GwShape *shape, char **sql, int *count, Oid **types, const char ***values);

/* Its result, which is one of success.  False if a value is too long, or all together are. */
extern bool gw_shape_answer(GwShape *shape, const PGresult *result);

/*
 * The query for the rows: one column with the JSON of a row, or the columns as text.
 * Likewise.  The limit is that of the gateway and one more, or that of the request.
 */
extern char *gw_shape_query(const GwShape *shape, bool as_text, int64_t limit, int order_column, bool descending,
							int *count, Oid **types, const char ***values);

/* Does a row meet the conditions?  1, 0, or -1 if the row lacks a column that a condition is on. */
extern int	gw_shape_matches(const GwShape *shape, const char *row);

/* Add what of a row is selected. */
extern void gw_shape_add_row(const GwShape *shape, ClientBuffer *buffer, const char *row);

/* Add ", "omitted": [...]" with those of an array of column names that are selected; nothing, if none is. */
extern void gw_shape_add_omitted(const GwShape *shape, ClientBuffer *buffer, const char *omitted);

/* Do two rows differ in what is selected? */
extern bool gw_shape_differs(const GwShape *shape, const char *a, const char *b);

/* The numbers (attnum) of all columns that are read, as the text of an SQL array: {1,3}. */
extern char *gw_shape_attributes(const GwShape *shape, int order_column);

#endif
