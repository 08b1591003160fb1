/*-------------------------------------------------------------------------
 *
 * crash_guard.c
 *	  A process that crashes at its start must not take the server down for ever.
 *
 * When a process dies by a signal, the server ends all others and starts anew,
 * and so does our launcher, and the worker, which will do just what it did
 * before.  Shared memory is new then; so how a life ended must be remembered in
 * a file.  It does not have to survive the machine: no fsync.
 *
 * There is one file for each worker and each builder that is at risk,
 *
 *		pg_stat_tmp/pg_derive.<database>[_<group>][.<view>]
 *
 * (a folder of which backups make no copy).  It is written when the guard is
 * entered, and says how many lives in a row have ended badly, this one included,
 * until the guard is left.  So it is there at the start of a life only if the one
 * before crashed in the risky part:
 *
 *		life	file at start	written			ends by
 *		1		none			1				SIGSEGV in the first batch
 *		2		1				2				SIGSEGV in the first batch
 *		3		2				3				-
 *
 * and life 3 knows better than to do it again; what it does instead is decided
 * in setbacks.c and builder.c.  A worker leaves the guard after its first batch
 * that has left nothing over, a builder when it exits.
 *
 * The file also has the view and the place in the log at which the life is, and how
 * many in a row were there when they ended: one that ends elsewhere begins anew.
 *
 *		life	ended at		count at that place of the log
 *		1		0/1500028		1
 *		2		0/1500028		2
 *		3		view 16400		-
 *		4		0/1500028		1
 *
 * The place is the record of the log that is being decoded, none before the first and after
 * the last one.  To write down each would slow down reading; so a first life notes only those
 * that end transactions, whose changes are decoded with them, and lives after a crash all.
 *
 * Not every sudden end is our own fault.  The server tells us by SIGQUIT that
 * somebody else has crashed, or that it stops at once; a PANIC because the disk
 * is full would have hit any process.  Then the file is set back to what it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/groups.h"
#include "base/guard.h"
#include "libpq/pqsignal.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "server/crash_guard.h"
#include "storage/fd.h"
#include "storage/ipc.h"

#define GUARD_MAGIC		0x64677202

/* The file. */
typedef struct GuardFile
{
	uint32		magic;			/* changes with the form of the file */
	int			lives;			/* bad ones in a row, with the current one */
	int			at_view;		/* of those, the last ones that were at it;
								 * likewise */
	Oid			view;			/* at which the current one is */
	int			at_lsn;			/* the same for the place in the log, if that
								 * is read */
	XLogRecPtr	lsn;
	char		activity[DERIVE_ACTIVITY_LENGTH];
} GuardFile;

static int	guard_fd = -1;		/* -1: no guard */
static char guard_path[MAXPGPATH];
static GuardFile guard;
static GuardFile guard_before;	/* what the file said at the start */
static emit_log_hook_type prev_emit_log = NULL;

static void
make_path(char *path, DeriveGroupId group, Oid view)
{
	int			len = snprintf(path, MAXPGPATH, PG_STAT_TMP_DIR "/pg_derive.%u", DERIVE_GROUP_DATABASE(group));

	if (DERIVE_GROUP_NUMBER(group) != DERIVE_DEFAULT_GROUP)
		len += snprintf(path + len, MAXPGPATH - len, "_%d", DERIVE_GROUP_NUMBER(group));
	if (OidIsValid(view))
		snprintf(path + len, MAXPGPATH - len, ".%u", view);
}

static void
nothing_before(void)
{
	memset(&guard_before, 0, sizeof(guard_before));
	guard_before.magic = GUARD_MAGIC;
}

/* What the file says, if it is one of ours. */
static void
read_before(void)
{
	ssize_t		size = pg_pread(guard_fd, &guard_before, sizeof(guard_before), 0);

	if (size == sizeof(guard_before) && guard_before.magic == GUARD_MAGIC &&
		memchr(guard_before.activity, '\0', sizeof(guard_before.activity)) != NULL)
		return;
	if (size != 0)
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("ignoring file \"%s\", which is damaged or of another version", guard_path)));
	nothing_before();
}

/* Safe in signal handlers. */
static void
write_guard(const GuardFile *file)
{
	/* if it cannot be written then there is no guard, and that is all */
	if (guard_fd >= 0 && pg_pwrite(guard_fd, file, sizeof(*file), 0) != sizeof(*file))
		guard_fd = -1;
}

/* SIGQUIT: it was not us. */
static void
quit(SIGNAL_ARGS)
{
	write_guard(&guard_before);
	SignalHandlerForCrashExit(postgres_signal_arg);
}

/* A PANIC for want of space says nothing about what we do. */
static void
before_message(ErrorData *edata)
{
	if (edata->elevel >= PANIC && derive_error_is_transient(edata->sqlerrcode))
		write_guard(&guard_before);
	if (prev_emit_log)
		prev_emit_log(edata);
}

static void
exit_guard(int code, Datum arg)
{
	derive_crash_guard_leave();
}

void
derive_crash_guard_enter(DeriveGroupId group, Oid view, DeriveCrashes *before)
{
	Assert(guard_fd < 0);
	memset(before, 0, sizeof(*before));
	nothing_before();
	make_path(guard_path, group, view);
	guard_fd = BasicOpenFile(guard_path, O_RDWR | O_CREAT | PG_BINARY);
	if (guard_fd < 0)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", guard_path)));
		return;
	}
	read_before();

	before->count = guard_before.lives;
	before->view = guard_before.view;
	before->at_view = guard_before.at_view;
	before->lsn = guard_before.lsn;
	before->at_lsn = guard_before.at_lsn;
	strlcpy(before->activity, guard_before.activity, sizeof(before->activity));

	guard.magic = GUARD_MAGIC;
	guard.lives = guard_before.lives + 1;
	on_proc_exit(exit_guard, (Datum) 0);
	prev_emit_log = emit_log_hook;
	emit_log_hook = before_message;
	pqsignal(SIGQUIT, quit);
	derive_crash_guard_note(InvalidOid, "starting");
}

char *
derive_crashes_text(const DeriveCrashes *crashes, int count)
{
	if (count == 1)
		return psprintf("crashed, while %s", crashes->activity);
	return psprintf("crashed %d times in a row, while %s", count, crashes->activity);
}

/* So many lives in a row, this one included, were there if it ends now; 0: it is nowhere. */
static int
count_at(bool somewhere, bool same, int times_before)
{
	return !somewhere ? 0 : same ? times_before + 1 : 1;
}

static void
set_view(Oid view)
{
	guard.view = view;
	guard.at_view = count_at(OidIsValid(view), view == guard_before.view, guard_before.at_view);
}

static void
set_lsn(XLogRecPtr lsn)
{
	guard.lsn = lsn;
	guard.at_lsn = count_at(!XLogRecPtrIsInvalid(lsn), lsn == guard_before.lsn, guard_before.at_lsn);
}

void
derive_crash_guard_note(Oid view, const char *activity)
{
	if (guard_fd < 0)
		return;
	set_view(view);
	set_lsn(InvalidXLogRecPtr);
	strlcpy(guard.activity, activity, sizeof(guard.activity));
	write_guard(&guard);
}

void
derive_crash_guard_note_reading(XLogRecPtr lsn)
{
	if (guard_fd < 0)
		return;
	set_lsn(lsn);
	write_guard(&guard);
}

bool
derive_crash_guard_is_wary(void)
{
	return guard_fd >= 0 && guard_before.lives > 0;
}

void
derive_crash_guard_settle(Oid view)
{
	if (guard_fd < 0 || guard_before.view != view)
		return;
	nothing_before();
	guard.lives = 1;
	set_view(guard.view);
	set_lsn(guard.lsn);
	write_guard(&guard);
}

void
derive_crash_guard_leave(void)
{
	int			fd = guard_fd;

	if (fd < 0)
		return;
	guard_fd = -1;
	close(fd);
	unlink(guard_path);
}

bool
derive_crash_guard_is_forgotten(void)
{
	return guard_fd >= 0 && access(guard_path, F_OK) != 0 && errno == ENOENT;
}

void
derive_crash_guard_forget(DeriveGroupId group, Oid view)
{
	char		path[MAXPGPATH];

	make_path(path, group, view);
	unlink(path);
}
