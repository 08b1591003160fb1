/*-------------------------------------------------------------------------
 *
 * ring.h
 *	  The last changes of a view.
 *
 * Changes have consecutive numbers ("seq") that are the ring's own, and positions
 * (position.h), by which clients know them.
 *
 *	            seq	   7          8          9
 *	       position	   0/A0       0/A0-2     0/B8
 *	floor 0/98-3  ^                                  ^ next_seq 10
 *
 * The floor is the position of the last change that is not there any more, or the start.
 * A client that has got all up to a position goes on with the change behind it, if the
 * position is the floor or that of a change that is there; else nobody knows what it
 * lacks.
 *
 * The kept subscription (feed.h) is to follow the floor, but whole LSNs at a time: numbers
 * within an LSN are counted from where it begins.  So the ring also knows of how many
 * changes the LSNs were that it has removed and the subscription still has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_RING_H
#define GW_RING_H

#include "position.h"

#include <stddef.h>

typedef struct GwChange
{
	GwPosition	position;
	int64_t		at;				/* when it came, as client_now_ms() */
	uint64_t	end;			/* bytes of all changes so far, this one
								 * included */
	char		operation;		/* 'i', 'u' or 'd' */
	char	   *old;			/* rows as JSON, or NULL; one block of memory
								 * with the following */
	char	   *new;
	char	   *omitted;
} GwChange;

/* Of an LSN so many changes were removed; the others are there, or come yet. */
typedef struct GwRemoved
{
	uint64_t	lsn;
	uint64_t	count;
} GwRemoved;

typedef struct GwRing
{
	GwChange   *changes;		/* seq is at seq % size */
	uint64_t	size;			/* a power of two, or 0 */
	uint64_t	first_seq;
	uint64_t	next_seq;
	GwPosition	floor;
	uint64_t	start;			/* bytes of all changes up to the floor */
	uint64_t	end;			/* and up to the last one */
	GwRemoved  *removed;		/* the oldest first */
	size_t		removed_count;
	size_t		removed_size;
} GwRing;

/* Forget all; from here on positions count from this one. */
extern void gw_ring_reset(GwRing *ring, GwPosition floor);
extern void gw_ring_free(GwRing *ring);

/* Add a change with an LSN; its number within the LSN follows from the one before. */
extern void gw_ring_add(GwRing *ring, uint64_t lsn, char operation, const char *old, const char *new, const char *omitted);

extern GwChange *gw_ring_get(GwRing *ring, uint64_t seq);

/* The position of the last change, or the floor. */
extern GwPosition gw_ring_position(const GwRing *ring);

/* The seq to go on with after a position; false if that is not known. */
extern bool gw_ring_find(GwRing *ring, GwPosition position, uint64_t *seq);

/*
 * Remove the oldest changes until no more than so many bytes are there and none came
 * before "since", but not those of the last LSN, and always all of an LSN.  But if the
 * last LSN alone has more bytes than that, all are removed.
 */
extern void gw_ring_trim(GwRing *ring, uint64_t bytes, int64_t since);

/*
 * Some of the oldest LSNs that were removed, and their number of changes together: at
 * least one, or about "most".  But not an LSN of which changes are there still, or may
 * come: the subscription has all of an LSN or nothing.  Zero if there is none else.
 */
extern uint64_t gw_ring_take_removed(GwRing *ring, uint64_t most);

/*
 * Add to a ring what another one has behind its last change, and have as removed what
 * that has: it is what the subscription has.  False if that does not know the last change.
 */
extern bool gw_ring_merge(GwRing *ring, GwRing *other);

#endif
