/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What a client asks for, by its URL.
 *
 *	/views/NAME?region=eq.EU&select=region,total	rows
 *	/views/NAME/changes?region=eq.EU				a stream: rows, then changes
 *	/health, /metrics
 *
 * NAME is the name of a view as it is, without quotes, or SCHEMA.NAME.  Here is only the
 * form of a request; whether there is such a view, shape.c and session.c find out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_REQUEST_H
#define GW_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

typedef enum GwRequestKind
{
	GW_UNKNOWN,
	GW_ROWS,
	GW_CHANGES,
	GW_HEALTH,
	GW_METRICS
} GwRequestKind;

typedef enum GwOperator
{
	GW_EQ, GW_NEQ, GW_LT, GW_LTE, GW_GT, GW_GTE, GW_IN,
	GW_IS_NULL, GW_IS_NOT_NULL, GW_IS_TRUE, GW_IS_FALSE
} GwOperator;

/* "amount=gt.10": the column, the operator, and its values as they were given. */
typedef struct GwCondition
{
	char	   *column;
	GwOperator	operator;
	int			count;			/* 1, any number with GW_IN, 0 with those that
								 * are "is" */
	char	  **values;
} GwCondition;

#define GW_MAX_CONDITIONS	32
#define GW_MAX_VALUES		1000	/* of an "in" */
#define GW_MAX_NAME			63	/* bytes of a name in PostgreSQL */

typedef struct GwRequest
{
	GwRequestKind kind;
	char	   *view;			/* "NAME" or "SCHEMA.NAME" */
	char	  **select;			/* names of columns, ends with NULL; NULL: all */
	GwCondition conditions[GW_MAX_CONDITIONS];
	int			condition_count;
	int64_t		limit;			/* -1: none */
	char	   *order_column;	/* or NULL */
	bool		descending;
	char	   *last_event_id;	/* or NULL */
	char	   *access_token;	/* or NULL */
} GwRequest;

/* Its path, decoded; the rest of the request is empty. */
extern void gw_request_init(GwRequest *request, const char *path);

/* A parameter, decoded: "name=value".  NULL, or what is wrong with it, for free(). */
extern char *gw_request_parameter(GwRequest *request, const char *parameter);

extern void gw_request_free(GwRequest *request);

/* "=" and so on; NULL for GW_IN and those that are "is". */
extern const char *gw_operator_sql(GwOperator operator);

/* The operator compares by order, and not only for equality. */
extern bool gw_operator_needs_order(GwOperator operator);

#endif
