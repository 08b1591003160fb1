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
 * The file is one that outlives transactions and that no resource owner knows; the
 * tape's memory context closes it when it goes.  It is written and read by fd.c
 * directly, in pieces so large that another buffer would only cost.  Truncating a
 * tape does not shorten the file, whose bytes will be overwritten; a tape that
 * is emptied gives it back.
 *
 * If writing to the file fails the block is still there, and the tape is as it
 * was before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delta/tape.h"
#include "pgstat.h"
#include "utils/memutils.h"

/*
 * The first block, and what an empty tape may keep.  It keeps a larger one, too,
 * until it has used less than a quarter of it so many times: memory that comes
 * from the operating system is cleared first, which costs as much as to write
 * what goes into it.
 */
#define FIRST_BLOCK (16 * 1024)
#define KEPT_BLOCK	(1024 * 1024)
#define KEPT_TIMES	100

/* So much is read from the file at once. */
#define STRETCH		(64 * 1024)

/* The most that is asked of the operating system at once. */
#define PIECE		(64 * 1024 * 1024)

static void
close_file(void *arg)
{
	DeriveTape *tape = arg;

	if (tape->file > 0)
		FileClose(tape->file);
	tape->file = 0;
}

DeriveTape *
derive_tape_create(Size limit)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "pg_derive tape",
											  ALLOCSET_SMALL_SIZES);
	DeriveTape *tape = MemoryContextAllocZero(cxt, sizeof(DeriveTape));

	tape->cxt = cxt;
	tape->limit = limit;
	tape->callback.func = close_file;
	tape->callback.arg = tape;
	MemoryContextRegisterResetCallback(cxt, &tape->callback);

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
	tape->unused = 0;
}

static void
spill(DeriveTape *tape)
{
	Size		done = 0;

	if (tape->file == 0)
		tape->file = OpenTemporaryFile(true);
	while (done < tape->used)
	{
		int			amount = (int) Min(tape->used - done, PIECE);

		errno = 0;
		if (FileWrite(tape->file, tape->block + done, amount, (off_t) (tape->flushed + done),
					  WAIT_EVENT_BUFFILE_WRITE) != amount)
		{
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write to temporary file \"%s\": %m",
							FilePathName(tape->file))));
		}
		done += amount;
	}
	tape->most = Max(tape->most, tape->used);
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
	tape->most = Max(tape->most, tape->used);
	if (offset >= tape->flushed)
		tape->used = (Size) (offset - tape->flushed);
	else
	{
		tape->used = 0;
		tape->flushed = offset;
	}
	if (offset > 0)
		return;

	if (tape->most >= tape->size / 4)
		tape->unused = 0;
	else if (tape->most > 0 && tape->size > KEPT_BLOCK && ++tape->unused >= KEPT_TIMES)
		free_block(tape);
	tape->most = 0;
	close_file(tape);
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
	Size		done = 0;

	reader->length = 0;
	if (wanted > reader->size)
	{
		if (reader->copy != NULL)
			pfree(reader->copy);
		reader->copy = NULL;
		reader->size = 0;
		reader->copy = MemoryContextAllocHuge(reader->cxt, wanted);
		reader->size = wanted;
	}
	while (done < wanted)
	{
		int			amount = (int) Min(wanted - done, PIECE);
		int			n = (int) FileRead(tape->file, reader->copy + done, amount,
									   (off_t) (offset + done), WAIT_EVENT_BUFFILE_READ);

		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read from temporary file \"%s\": %m",
							FilePathName(tape->file))));
		if (n == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("temporary file \"%s\" ends too early", FilePathName(tape->file))));
		done += n;
	}
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
