/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Places in the changes of a view: the ids of events.
 *
 *	0/16E47F8		behind the first change with this LSN
 *	0/16E47F8-3		behind the third one
 *	start-17644038	before all changes that are known since the view is followed, which
 *					was then (the number stands for nothing else)
 *
 * Changes come with the LSN of the batch that made them, some with the same one, and in
 * the same order whoever asks for them.  So the number within an LSN is the same after a
 * restart of the gateway or of the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_POSITION_H
#define GW_POSITION_H

#include <stdbool.h>
#include <stdint.h>

typedef struct GwPosition
{
	uint64_t	lsn;			/* 0: a start */
	uint64_t	number;			/* within the LSN, from 1 on; which start */
} GwPosition;

#define GW_POSITION_SIZE	64

/* The text, in a place of GW_POSITION_SIZE bytes, which is returned. */
extern char *gw_position_text(GwPosition position, char *text);

/* False if it is none. */
extern bool gw_position_parse(const char *text, GwPosition *position);

/* An LSN alone, as the server writes it; 0 if it is none. */
extern uint64_t gw_lsn_parse(const char *text);

/* As strcmp(); starts come first. */
extern int	gw_position_compare(GwPosition a, GwPosition b);

#endif
