/*-------------------------------------------------------------------------
 *
 * tape.h
 *	  A tape: a sequence of bytes that is written at its end and read anywhere.
 *
 * What is written is records: the bytes of one call of derive_tape_reserve(),
 * which start MAXALIGNed and stay together.  The newest bytes are in memory, up
 * to a limit, and those before them in a temporary file that outlives
 * transactions.  Offsets count from the beginning.
 *
 * A reader hands out pointers: into the tape's own memory, or to a copy of a
 * stretch of the file.  They are valid until the next call for the same reader;
 * the tape must not be written while it is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_TAPE_H
#define DERIVE_TAPE_H

#include "storage/fd.h"
#include "utils/palloc.h"

typedef struct DeriveTape
{
	MemoryContext cxt;			/* holds all of this */
	MemoryContextCallback callback; /* closes the file */
	File		file;			/* 0: none */
	int64		flushed;		/* so many bytes are in the file */
	char	   *block;			/* those that follow */
	Size		used;
	Size		most;			/* of it since the tape was empty */
	int			unused;			/* how many times it was less than a quarter */
	Size		size;			/* allocated */
	Size		limit;			/* beyond this they go to the file */
} DeriveTape;

typedef struct DeriveTapeReader
{
	DeriveTape *tape;
	MemoryContext cxt;			/* for the copy */
	char	   *copy;			/* or NULL */
	Size		size;			/* allocated for it */
	const char *window;			/* bytes that can be had at once */
	int64		start;			/* their offset */
	Size		length;
} DeriveTapeReader;

/* In a child of CurrentMemoryContext. */
extern DeriveTape *derive_tape_create(Size limit);
extern void derive_tape_free(DeriveTape *tape);

/* Forget what follows an offset, at which a record starts. */
extern void derive_tape_truncate(DeriveTape *tape, int64 offset);

/* Inside of derive_tape_reserve(). */
extern void derive_tape_make_room(DeriveTape *tape, Size size);

/* Reading; the copy is made in CurrentMemoryContext. */
extern void derive_tape_open(DeriveTapeReader *reader, DeriveTape *tape);
extern void derive_tape_close(DeriveTapeReader *reader);

/* Inside of derive_tape_read(). */
extern void derive_tape_fetch(DeriveTapeReader *reader, int64 offset, Size size);

/* The offset of what will be written next. */
static inline int64
derive_tape_end(const DeriveTape *tape)
{
	return tape->flushed + (int64) tape->used;
}

/* Room for a record, which the caller fills before anything else happens. */
static inline char *
derive_tape_reserve(DeriveTape *tape, Size size)
{
	char	   *result;

	size = MAXALIGN(size);
	if (tape->used + size > tape->size)
		derive_tape_make_room(tape, size);
	result = tape->block + tape->used;
	tape->used += size;
	return result;
}

/* A record, or the first bytes of one. */
static inline const char *
derive_tape_read(DeriveTapeReader *reader, int64 offset, Size size)
{
	if (offset < reader->start || offset + (int64) size > reader->start + (int64) reader->length)
		derive_tape_fetch(reader, offset, size);
	return reader->window + (offset - reader->start);
}

#endif							/* DERIVE_TAPE_H */
