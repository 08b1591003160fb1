/*-------------------------------------------------------------------------
 *
 * ring.c
 *	  The last changes of a view.
 *
 *-------------------------------------------------------------------------
 */
#include "ring.h"

#include "clock.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

#define SMALLEST	64

/* What a change takes beside its rows. */
#define OVERHEAD	(sizeof(GwChange) + 32)

static void
remove_first(GwRing *ring)
{
	GwChange   *change = gw_ring_get(ring, ring->first_seq);

	ring->floor = change->position;
	ring->start = change->end;
	free(change->old);
	ring->first_seq++;
}

void
gw_ring_reset(GwRing *ring, GwPosition floor)
{
	while (ring->first_seq < ring->next_seq)
		remove_first(ring);
	ring->floor = floor;
	ring->removed_count = 0;
}

void
gw_ring_free(GwRing *ring)
{
	gw_ring_reset(ring, ring->floor);
	free(ring->changes);
	free(ring->removed);
	ring->changes = NULL;
	ring->removed = NULL;
	ring->size = ring->removed_size = 0;
}

/* All of the first LSN that are there, and up to a position at most; returns how many they were. */
static uint64_t
remove_first_lsn(GwRing *ring, GwPosition to)
{
	uint64_t	lsn = gw_ring_get(ring, ring->first_seq)->position.lsn;
	uint64_t	count = 0;

	while (ring->first_seq < ring->next_seq && gw_ring_get(ring, ring->first_seq)->position.lsn == lsn &&
		   gw_position_compare(gw_ring_get(ring, ring->first_seq)->position, to) <= 0)
	{
		remove_first(ring);
		count++;
	}
	return count;
}

/* Of an LSN that is removed in pieces the last one is known. */
static void
add_removed(GwRing *ring, uint64_t lsn, uint64_t count)
{
	if (ring->removed_count > 0 && ring->removed[ring->removed_count - 1].lsn == lsn)
	{
		ring->removed[ring->removed_count - 1].count += count;
		return;
	}
	if (ring->removed_count == ring->removed_size)
	{
		ring->removed_size = ring->removed_size ? 2 * ring->removed_size : SMALLEST;
		ring->removed = client_realloc(ring->removed, ring->removed_size * sizeof(GwRemoved));
	}
	ring->removed[ring->removed_count].lsn = lsn;
	ring->removed[ring->removed_count++].count = count;
}

GwChange *
gw_ring_get(GwRing *ring, uint64_t seq)
{
	return &ring->changes[seq & (ring->size - 1)];
}

GwPosition
gw_ring_position(const GwRing *ring)
{
	if (ring->first_seq == ring->next_seq)
		return ring->floor;
	return ring->changes[(ring->next_seq - 1) & (ring->size - 1)].position;
}

static void
grow(GwRing *ring)
{
	uint64_t	size = ring->size ? 2 * ring->size : SMALLEST;
	GwChange   *changes = client_alloc(size * sizeof(GwChange));

	for (uint64_t seq = ring->first_seq; seq < ring->next_seq; seq++)
		changes[seq & (size - 1)] = *gw_ring_get(ring, seq);
	free(ring->changes);
	ring->changes = changes;
	ring->size = size;
}

/* A copy at a place that moves on; NULL for NULL. */
static char *
put(char **place, const char *text)
{
	char	   *result = *place;

	if (text == NULL)
		return NULL;
	*place = stpcpy(*place, text) + 1;
	return result;
}

void
gw_ring_add(GwRing *ring, uint64_t lsn, char operation, const char *old, const char *new, const char *omitted)
{
	GwPosition	last = gw_ring_position(ring);
	const char *const texts[] = {old, new, omitted};
	size_t		bytes = 1;
	GwChange   *change;
	char	   *place;

	if (ring->next_seq - ring->first_seq == ring->size)
		grow(ring);
	for (int i = 0; i < 3; i++)
		bytes += texts[i] ? strlen(texts[i]) + 1 : 0;
	change = gw_ring_get(ring, ring->next_seq++);
	change->position.lsn = lsn;
	change->position.number = last.lsn == lsn ? last.number + 1 : 1;
	change->at = client_now_ms();
	change->end = ring->end += bytes + OVERHEAD;
	change->operation = operation;

	/* the old row is first, so that it is what is to be freed */
	place = client_alloc(bytes);
	change->old = place;
	*place++ = '\0';
	if (old != NULL)
	{
		place = change->old;
		(void) put(&place, old);
	}
	change->new = put(&place, new);
	change->omitted = put(&place, omitted);
}

bool
gw_ring_find(GwRing *ring, GwPosition position, uint64_t *seq)
{
	uint64_t	low = ring->first_seq;
	uint64_t	high = ring->next_seq;

	*seq = ring->first_seq;
	if (gw_position_compare(position, ring->floor) == 0)
		return true;
	while (low < high)
	{
		uint64_t	middle = low + (high - low) / 2;
		int			order = gw_position_compare(gw_ring_get(ring, middle)->position, position);

		if (order == 0)
		{
			*seq = middle + 1;
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

void
gw_ring_trim(GwRing *ring, uint64_t bytes, int64_t since)
{
	uint64_t	last_lsn = gw_ring_position(ring).lsn;

	while (ring->first_seq < ring->next_seq &&
		   (ring->end - ring->start > bytes || gw_ring_get(ring, ring->first_seq)->at < since))
	{
		uint64_t	lsn = gw_ring_get(ring, ring->first_seq)->position.lsn;

		if (lsn == last_lsn && ring->end - ring->start <= bytes)
			break;
		add_removed(ring, lsn, remove_first_lsn(ring, gw_ring_position(ring)));
	}
}

uint64_t
gw_ring_take_removed(GwRing *ring, uint64_t most)
{
	/* the LSN that begins what is there, or will */
	uint64_t	open_lsn = ring->first_seq < ring->next_seq ? gw_ring_get(ring, ring->first_seq)->position.lsn : ring->floor.lsn;
	uint64_t	result = 0;
	size_t		n = 0;

	while (n < ring->removed_count && ring->removed[n].lsn != open_lsn && (n == 0 || result + ring->removed[n].count <= most))
		result += ring->removed[n++].count;
	ring->removed_count -= n;
	if (ring->removed_count > 0)
		memmove(ring->removed, ring->removed + n, ring->removed_count * sizeof(GwRemoved));
	return result;
}

bool
gw_ring_merge(GwRing *ring, GwRing *other)
{
	uint64_t	seq;

	if (!gw_ring_find(other, gw_ring_position(ring), &seq))
		return false;
	/* what the other one has removed and this one has not */
	while (ring->first_seq < ring->next_seq && gw_position_compare(gw_ring_get(ring, ring->first_seq)->position, other->floor) <= 0)
		(void) remove_first_lsn(ring, other->floor);
	ring->removed_count = 0;
	for (size_t i = 0; i < other->removed_count; i++)
		add_removed(ring, other->removed[i].lsn, other->removed[i].count);
	for (; seq < other->next_seq; seq++)
	{
		GwChange   *change = gw_ring_get(other, seq);

		gw_ring_add(ring, change->position.lsn, change->operation, change->operation == 'i' ? NULL : change->old, change->new, change->omitted);
	}
	/* and the other way round */
	while (other->first_seq < other->next_seq && gw_position_compare(gw_ring_get(other, other->first_seq)->position, ring->floor) <= 0)
	{
		uint64_t	lsn = gw_ring_get(other, other->first_seq)->position.lsn;

		add_removed(ring, lsn, remove_first_lsn(other, ring->floor));
	}
	return true;
}
