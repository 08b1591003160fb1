/*-------------------------------------------------------------------------
 *
 * held.c
 *	  Rows of a delta that may be gone with the next change.
 *
 * A row that is updated again and again, a counter, say, leaves as many rows in the
 * delta, of which all but the first and the last one cancel out.  So an UPDATE is held back
 * for a while, and the next one that finds its old row here goes on where it ended:
 *
 *		UPDATE (1,a) -> (1,b)	held -(1,a) +(1,b)
 *		UPDATE (1,b) -> (1,c)	held -(1,a) +(1,c)
 *		UPDATE (1,c) -> (1,d)	held -(1,a) +(1,d)
 *		end of the log			delta -(1,a) +(1,d)
 *
 * A delta is a set of rows with weights, so their order does not matter, and what was
 * in it twice, once with each sign, was never there.  (The two stay side by side, which
 * make_narrow() in delta.c likes.)  Of touches (delta.h) the last one of a key says as
 * much as all of them: the key was touched, and this is what there is now.
 *
 * The rows are kept in a table with one place for each hash.  Where two want the same
 * place, the older one goes to the delta.  Rows are compared as bytes; equal ones that are
 * stored differently just do not cancel out here.  Nor do large ones, or ones
 * whose values are elsewhere.
 *
 * It is of use where the same rows come often.  If few of so many looks find something,
 * there are no more of them before the next batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delta/delta.h"
#include "delta/held.h"
#include "utils/memutils.h"

#ifdef USE_ASSERT_CHECKING
#define PLACES			16		/* so that tests have rows that want the same
								 * one */
#else
#define PLACES			1024	/* a power of two */
#endif
#define LARGEST_ROW		512		/* bytes; together they take 1 MB, at most */
#define LOOKS			1024
#define LEAST_FOUND		(LOOKS / 4)

#define NO_MEMBER		0		/* of a row that is no touch */

typedef struct Row
{
	int			size;			/* 0: none */
	int			capacity;
	char	   *bytes;
} Row;

/*
 * What is compared comes first in the bytes: of a row all of it, of a touch its key,
 * behind which the row follows.
 */
typedef struct Place
{
	Row			row;			/* none: the place is empty */
	Row			start;			/* what it was before all this; of a touch
								 * none */
	int			compared;
	Oid			member;
	bool		listed;			/* in "used" */
	int64		weight;
} Place;

struct DeriveHeld
{
	MemoryContext cxt;
	TupleDesc	desc;
	int			ncolumns;
	DeriveHeldRow out;
	void	   *arg;
	int			looks;			/* of this turn */
	int			found;
	bool		useless;
	Place	   *places;
	int			nused;
	Place	  **used;			/* all that are not empty, and some that are */
	char	   *bytes;			/* a row that has just come */
	Row			start;			/* of one that is on its way to its place */
	Datum	   *values;			/* one that goes out */
	bool	   *nulls;
};

DeriveHeld *
derive_held_create(TupleDesc desc, int ncolumns, DeriveHeldRow out, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive held rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	DeriveHeld *held = palloc0(sizeof(DeriveHeld));

	held->cxt = cxt;
	held->desc = desc;
	held->ncolumns = ncolumns;
	held->out = out;
	held->arg = arg;
	held->places = palloc0(sizeof(Place) * PLACES);
	held->used = palloc(sizeof(Place *) * PLACES);
	held->bytes = palloc(2 * LARGEST_ROW);
	held->values = palloc(sizeof(Datum) * ncolumns);
	held->nulls = palloc(sizeof(bool) * ncolumns);
	MemoryContextSwitchTo(old);
	return held;
}

bool
derive_held_wanted(const DeriveHeld *held)
{
	return !held->useless;
}

/* The size of a value that is stored elsewhere than in the Datum, or -1: it is not to be held. */
static int
size_of(Form_pg_attribute att, Datum value)
{
	if (att->attlen > 0)
		return att->attlen;
	if (att->attlen == -2)
		return strlen(DatumGetCString(value)) + 1;
	return VARATT_IS_EXTERNAL(DatumGetPointer(value)) ? -1 : VARSIZE_ANY(DatumGetPointer(value));
}

/*
 * Put columns behind what is in held->bytes; columns NULL: all of them.  Returns the new
 * size, or -1.  Padding is zero, since it is compared.
 */
static int
append(DeriveHeld *held, int size, int ncolumns, const AttrNumber *columns, const Datum *values, const bool *nulls)
{
	int			at = size + MAXALIGN(ncolumns);

	if (at > LARGEST_ROW)
		return -1;
	memset(held->bytes + size, 0, MAXALIGN(ncolumns));
	for (int i = 0; i < ncolumns; i++)
	{
		int			column = columns != NULL ? columns[i] - 1 : i;
		Form_pg_attribute att = TupleDescAttr(held->desc, column);
		int			length;

		held->bytes[size + i] = nulls[column];
		if (nulls[column])
			continue;
		if (att->attbyval)
		{
			if (at + (int) sizeof(Datum) > LARGEST_ROW)
				return -1;
			memcpy(held->bytes + at, &values[column], sizeof(Datum));
			at += sizeof(Datum);
			continue;
		}
		length = size_of(att, values[column]);
		if (length < 0 || length > LARGEST_ROW - at)
			return -1;
		memcpy(held->bytes + at, DatumGetPointer(values[column]), length);
		memset(held->bytes + at + length, 0, MAXALIGN(length) - length);
		at += MAXALIGN(length);
	}
	return at;
}

/* Give a row to the caller. */
static void
give(DeriveHeld *held, const char *nulls, int64 weight)
{
	const char *at = nulls + MAXALIGN(held->ncolumns);

	for (int i = 0; i < held->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(held->desc, i);

		held->nulls[i] = nulls[i];
		if (nulls[i])
			continue;
		if (att->attbyval)
		{
			memcpy(&held->values[i], at, sizeof(Datum));
			at += sizeof(Datum);
			continue;
		}
		held->values[i] = PointerGetDatum(at);
		at += MAXALIGN(size_of(att, held->values[i]));
	}
	held->out(held->arg, held->values, held->nulls, weight);
}

/* Give what is in a place to the caller, and forget it. */
static void
let_go(DeriveHeld *held, Place *place)
{
	Row		   *row = &place->row;
	Row		   *start = &place->start;

	if (place->member != NO_MEMBER)
		give(held, row->bytes + place->compared, place->weight);
	else if (start->size != row->size || memcmp(start->bytes, row->bytes, row->size) != 0)
	{
		give(held, start->bytes, -1);
		give(held, row->bytes, 1);
	}
	row->size = start->size = 0;
}

/* The place for what is in held->bytes. */
static Place *
place_for(DeriveHeld *held, int compared)
{
	uint64		hash = 0;

	Assert(compared % sizeof(uint64) == 0);
	for (int i = 0; i < compared; i += sizeof(uint64))
	{
		uint64		word;

		memcpy(&word, held->bytes + i, sizeof(uint64));
		hash = (hash ^ word) * UINT64CONST(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return &held->places[hash & (PLACES - 1)];
}

static bool
is_there(DeriveHeld *held, Place *place, int compared, Oid member)
{
	bool		result = place->row.size > 0 && place->compared == compared && place->member == member &&
	memcmp(place->row.bytes, held->bytes, compared) == 0;

	held->looks++;
	if (result)
		held->found++;
	if (held->looks == LOOKS)
	{
		held->useless = held->found < LEAST_FOUND;
		held->looks = held->found = 0;
	}
	return result;
}

/* Keep what is in held->bytes. */
static void
keep(DeriveHeld *held, Row *row, int size)
{
	if (row->capacity < size)
	{
		row->capacity = 0;
		if (row->bytes != NULL)
			pfree(row->bytes);
		row->bytes = MemoryContextAlloc(held->cxt, size);
		row->capacity = size;
	}
	memcpy(row->bytes, held->bytes, size);
	row->size = size;
}

/* Put what is in held->bytes into an empty place. */
static void
fill(DeriveHeld *held, Place *place, int size, int compared, Oid member, int64 weight)
{
	Assert(size > 0 && place->row.size == 0 && place->start.size == 0);
	if (!place->listed)
		held->used[held->nused++] = place;
	place->listed = true;
	keep(held, &place->row, size);
	place->compared = compared;
	place->member = member;
	place->weight = weight;
}

static void
exchange(Row *a, Row *b)
{
	Row			row = *a;

	*a = *b;
	*b = row;
}

void
derive_held_update(DeriveHeld *held, const Datum *oldvalues, const bool *oldnulls,
				   const Datum *newvalues, const bool *newnulls)
{
	int			size = append(held, 0, held->ncolumns, NULL, oldvalues, oldnulls);
	Place	   *place;

	if (size < 0)
	{
		held->out(held->arg, oldvalues, oldnulls, -1);
		held->out(held->arg, newvalues, newnulls, 1);
		return;
	}
	place = place_for(held, size);
	if (is_there(held, place, size, NO_MEMBER))
	{
		exchange(&held->start, &place->start);
		place->row.size = place->start.size = 0;
	}
	else
		keep(held, &held->start, size);

	size = append(held, 0, held->ncolumns, NULL, newvalues, newnulls);
	if (size < 0)
	{
		give(held, held->start.bytes, -1);
		held->out(held->arg, newvalues, newnulls, 1);
		return;
	}
	place = place_for(held, size);
	if (place->row.size > 0)
		let_go(held, place);
	fill(held, place, size, size, NO_MEMBER, 1);
	exchange(&held->start, &place->start);
}

void
derive_held_touch(DeriveHeld *held, const Datum *values, const bool *nulls, int64 weight,
				  int nkeys, const AttrNumber *keys)
{
	Oid			member = derive_touched_member(weight);
	int			compared = append(held, 0, nkeys, keys, values, nulls);
	int			size = compared < 0 ? -1 : append(held, compared, held->ncolumns, NULL, values, nulls);
	Place	   *place;

	if (size < 0)
	{
		held->out(held->arg, values, nulls, weight);
		return;
	}
	place = place_for(held, compared);
	if (is_there(held, place, compared, member))
		place->row.size = 0;
	else if (place->row.size > 0)
		let_go(held, place);
	fill(held, place, size, compared, member, weight);
}

void
derive_held_release(DeriveHeld *held)
{
	for (int i = 0; i < held->nused; i++)
	{
		held->used[i]->listed = false;
		if (held->used[i]->row.size > 0)
			let_go(held, held->used[i]);
	}
	held->nused = 0;
}

void
derive_held_free(DeriveHeld *held)
{
	MemoryContextDelete(held->cxt);
}
