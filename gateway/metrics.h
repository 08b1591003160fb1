/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  What the gateway counts, and /health and /metrics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_METRICS_H
#define GW_METRICS_H

#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Why a client was dropped. */
typedef enum GwDropReason
{
	GW_DROP_SLOW,				/* too far behind, or takes nothing */
	GW_DROP_RIGHTS,				/* may not read the view any more; its token
								 * has expired */
	GW_DROP_VIEW,				/* the view is gone or another one */
	GW_DROP_STOPPING,			/* the gateway stops */
	GW_DROP_ERROR
} GwDropReason;

#define GW_DROP_REASONS		5

extern const char *const gw_drop_names[GW_DROP_REASONS];

typedef struct GwMetrics
{
	uint64_t	requests[6];	/* by the first digit of the status */
	uint64_t	dropped[GW_DROP_REASONS];
	uint64_t	streams;		/* begun */
	uint64_t	resumed;		/* of them, from an event id */
	uint64_t	changes;		/* of views that came */
	uint64_t	events;			/* sent to clients */
	uint64_t	bytes;			/* sent to clients */
	uint64_t	reads;			/* of rows of views */
	int64_t		connections;	/* now */
} GwMetrics;

extern GwMetrics gw_metrics;

/* Text for Prometheus. */
extern void gw_metrics_write(ClientBuffer *text);

/* JSON; false if not all is well. */
extern bool gw_health_write(ClientBuffer *text);

#endif
