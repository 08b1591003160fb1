/*-------------------------------------------------------------------------
 *
 * tape.c
 *	  A tape: a sequence of bytes that is written at its end and read anywhere.
 *
 * Writing is a copy into a block of memory, which doubles until it has reached
 * the tape's limit.  Then the block goes to the file as a whole and is used
 * again, so that a record is never half here and half there.  A record longer
 * than the limit gets a block of its own length.
 *
 * The file is one that outlives transactions, with a memory context that closes
 * it (see derive_temporary_file_create()).  Truncating a tape does not shorten
 * the file, whose bytes will be overwritten; a tape that is emptied gives it back.
 *
 * If writing to the file fails the block is still there, and the tape is as it
 * was before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delta/delta.h"
#include "delta/tape.h"
#include "utils/memutils.h"

/* The first block, and what an empty tape may keep. */
#define FIRST_BLOCK (16 * 1024)
#define KEPT_BLOCK	(1024 * 1024)

/* So much is read from the file at once. */
#define STRETCH		(64 * 1024)

DeriveTape *
derive_tape_create(Size limit)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive tape",
											  ALLOCSET_SMALL_SIZES);
	DeriveTape *tape = MemoryContextAllocZero(cxt, sizeof(DeriveTape));

	tape->cxt = cxt;
	tape->limit = limit;
	return tape;
}

void
derive_tape_free(DeriveTape *tape)
{
	MemoryContextDelete(tape->cxt);
}

static void
free_block(DeriveTape *tape)
{
	if (tape->block != NULL)
		pfree(tape->block);
	tape->block = NULL;
	tape->size = 0;
}

static void
seek(DeriveTape *tape, int64 offset)
{
	if (BufFileSeek(tape->file, 0, (off_t) offset, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file of pg_derive: %m")));
}

static void
spill(DeriveTape *tape)
{
	if (tape->file == NULL)
	{
		MemoryContext old;

		if (tape->file_cxt == NULL)
			tape->file_cxt = AllocSetContextCreate(tape->cxt, "pg_derive tape file",
												   ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(tape->file_cxt);
		tape->file = derive_temporary_file_create();
		MemoryContextSwitchTo(old);
	}
	seek(tape, tape->flushed);
	BufFileWrite(tape->file, tape->block, tape->used);
	tape->flushed += tape->used;
	tape->used = 0;
	if (tape->size > tape->limit)
		free_block(tape);
}

void
derive_tape_make_room(DeriveTape *tape, Size size)
{
	Size		newsize;

	if (tape->used > 0 && tape->used + size > tape->limit)
		spill(tape);
	if (tape->used + size <= tape->size)
		return;

	newsize = Max(tape->size * 2, FIRST_BLOCK);
	newsize = Min(newsize, tape->limit);
	while (newsize < tape->used + size)
		newsize = Min(newsize * 2, tape->used + size);
	if (tape->block == NULL)
		tape->block = MemoryContextAllocHuge(tape->cxt, newsize);
	else
		tape->block = repalloc_huge(tape->block, newsize);
	tape->size = newsize;
}

void
derive_tape_truncate(DeriveTape *tape, int64 offset)
{
	Assert(offset <= derive_tape_end(tape));
	if (offset >= tape->flushed)
		tape->used = (Size) (offset - tape->flushed);
	else
	{
		tape->used = 0;
		tape->flushed = offset;
	}
	if (offset > 0)
		return;

	if (tape->size > KEPT_BLOCK)
		free_block(tape);
	if (tape->file != NULL)
	{
		tape->file = NULL;
		MemoryContextReset(tape->file_cxt);
	}
}

void
derive_tape_open(DeriveTapeReader *reader, DeriveTape *tape)
{
	memset(reader, 0, sizeof(DeriveTapeReader));
	reader->tape = tape;
	reader->cxt = CurrentMemoryContext;
}

void
derive_tape_close(DeriveTapeReader *reader)
{
	if (reader->copy != NULL)
		pfree(reader->copy);
	memset(reader, 0, sizeof(DeriveTapeReader));
}

/* Copy a stretch of the file. */
static void
read_file(DeriveTapeReader *reader, int64 offset, Size size)
{
	DeriveTape *tape = reader->tape;
	Size		wanted = (Size) Min((int64) Max(size, STRETCH), tape->flushed - offset);

	reader->length = 0;
	if (wanted > reader->size)
	{
		if (reader->copy != NULL)
			pfree(reader->copy);
		reader->copy = NULL;
		reader->copy = MemoryContextAllocHuge(reader->cxt, wanted);
		reader->size = wanted;
	}
	seek(tape, offset);
	if (BufFileRead(tape->file, reader->copy, wanted) != wanted)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from temporary file of pg_derive: read too little")));
	reader->window = reader->copy;
	reader->start = offset;
	reader->length = wanted;
}

void
derive_tape_fetch(DeriveTapeReader *reader, int64 offset, Size size)
{
	DeriveTape *tape = reader->tape;

	if (offset < tape->flushed)
		read_file(reader, offset, size);
	else
	{
		reader->window = tape->block;
		reader->start = tape->flushed;
		reader->length = tape->used;
	}
	if (offset + (int64) size > reader->start + (int64) reader->length)
		elog(ERROR, "read beyond the end of a tape");
}
