/*-------------------------------------------------------------------------
 *
 * statistics.c
 *	  What maintaining each view has cost, and what it waits for.
 *
 * A hash table in shared memory, with room for pg_derive.max_views entries; views beyond
 * have no statistics.
 *
 * Counters outlive a clean restart of the server, as those of pg_stat_* do: the postmaster
 * writes them to a file when it stops, and when it starts it reads and removes that.  So
 * after a crash they begin with nothing.  Entries of databases that were dropped meanwhile
 * the launcher removes, those of views the worker, when they start.
 *
 *		magic, which changes with the form of an entry
 *		number of entries
 *		key and counters of each
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "base/gucs.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/shmem.h"
#include "server/statistics.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#define STATS_FILE		PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_derive.stat"
#define STATS_FILE_TMP	STATS_FILE ".tmp"
#define STATS_MAGIC		0x64657201

/* An entry in the file. */
typedef struct SavedStats
{
	DeriveStatsKey key;
	DeriveCounters counters;
} SavedStats;

static HTAB *stats_table = NULL;


/* ----------------------------------------------------------------
 *		The file
 * ----------------------------------------------------------------
 */

static void
report_file(const char *what, const char *path)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, path)));
}

/* False on an error, which has not been reported. */
static bool
write_entries(FILE *file)
{
	const uint32 header[2] = {STATS_MAGIC, (uint32) hash_get_num_entries(stats_table)};
	HASH_SEQ_STATUS status;
	DeriveStats *entry;
	bool		ok = fwrite(header, sizeof(header), 1, file) == 1;

	hash_seq_init(&status, stats_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		SavedStats	saved;

		memset(&saved, 0, sizeof(saved));
		saved.key = entry->key;
		saved.counters = entry->counters;
		ok = ok && fwrite(&saved, sizeof(saved), 1, file) == 1;
	}
	return ok;
}

/* The postmaster stops; all others have. */
static void
save(int code, Datum arg)
{
	FILE	   *file;
	bool		ok;

	if (code != 0)
		return;					/* crashed: who knows what is in memory */
	file = AllocateFile(STATS_FILE_TMP, PG_BINARY_W);
	if (file == NULL)
	{
		report_file("create", STATS_FILE_TMP);
		return;
	}
	ok = write_entries(file);
	if (FreeFile(file) != 0 || !ok)
	{
		report_file("write", STATS_FILE_TMP);
		unlink(STATS_FILE_TMP);
	}
	else
		(void) durable_rename(STATS_FILE_TMP, STATS_FILE, LOG);
}

/* False if the file is not as it was written. */
static bool
read_entries(FILE *file)
{
	uint32		header[2];
	SavedStats	saved;

	if (fread(header, sizeof(header), 1, file) != 1)
		return false;
	if (header[0] != STATS_MAGIC)
		return false;
	for (uint32 i = 0; i < header[1]; i++)
	{
		DeriveStats *entry;
		bool		found;

		if (fread(&saved, sizeof(saved), 1, file) != 1)
			return false;
		if (hash_get_num_entries(stats_table) >= derive_max_views)
			return true;
		entry = hash_search(stats_table, &saved.key, HASH_ENTER_NULL, &found);
		if (entry == NULL || found)
			continue;
		memset(entry, 0, sizeof(*entry));
		entry->key = saved.key;
		entry->counters = saved.counters;
		SpinLockInit(&entry->mutex);
	}
	return true;
}

static void
load(void)
{
	FILE	   *file = AllocateFile(STATS_FILE, PG_BINARY_R);

	if (file == NULL)
	{
		if (errno != ENOENT)
			report_file("open", STATS_FILE);
		return;
	}
	if (!read_entries(file))
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" is incomplete, damaged or of another version", STATS_FILE),
				 errdetail("Statistics of maintained views that it does not have begin anew.")));
	FreeFile(file);
	unlink(STATS_FILE);
}


/* ----------------------------------------------------------------
 *		The table
 * ----------------------------------------------------------------
 */

Size
derive_stats_shared_size(void)
{
	return hash_estimate_size(derive_max_views, sizeof(DeriveStats));
}

void
derive_stats_init_shared(bool first)
{
	HASHCTL		info;

	memset(&info, 0, sizeof(info));
	info.keysize = sizeof(DeriveStatsKey);
	info.entrysize = sizeof(DeriveStats);
	stats_table = ShmemInitHash("pg_derive statistics", derive_max_views, derive_max_views,
								&info, HASH_ELEM | HASH_BLOBS);
	if (IsUnderPostmaster)
		return;
	on_shmem_exit(save, (Datum) 0);
	if (first)
		load();
}

/*
 * The entry of a view of this database, made if there is room, with stats_lock
 * held; or NULL, and the lock is not held: a view without statistics.
 */
static DeriveStats *
lock_stats(Oid view)
{
	DeriveStatsKey key = {MyDatabaseId, view};
	DeriveStats *entry;
	bool		found;

	LWLockAcquire(derive_shared()->stats_lock, LW_SHARED);
	entry = hash_search(stats_table, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;
	LWLockRelease(derive_shared()->stats_lock);

	LWLockAcquire(derive_shared()->stats_lock, LW_EXCLUSIVE);
	if (hash_get_num_entries(stats_table) < derive_max_views &&
		(entry = hash_search(stats_table, &key, HASH_ENTER_NULL, &found)) != NULL)
	{
		if (!found)
		{
			memset(entry, 0, sizeof(*entry));
			entry->key = key;
			entry->counters.reset_at = GetCurrentTimestamp();
			SpinLockInit(&entry->mutex);
		}
		return entry;
	}
	LWLockRelease(derive_shared()->stats_lock);
	return NULL;
}

void
derive_stats_set_waits(Oid view, DeriveWaitsFor what, Oid relation, LOCKMODE mode)
{
	DeriveStats *entry = lock_stats(view);
	TimestampTz now = GetCurrentTimestamp();

	if (entry == NULL)
		return;
	SpinLockAcquire(&entry->mutex);
	if (entry->waits_for == DERIVE_WAITS_FOR_NOTHING)
		entry->waits_since = now;
	entry->waits_for = what;
	entry->waits_relation = relation;
	entry->waits_mode = mode;
	SpinLockRelease(&entry->mutex);
	LWLockRelease(derive_shared()->stats_lock);
}

void
derive_stats_set_next_try(Oid view, TimestampTz at)
{
	DeriveStats *entry = lock_stats(view);

	if (entry == NULL)
		return;
	SpinLockAcquire(&entry->mutex);
	entry->next_try_at = at;
	SpinLockRelease(&entry->mutex);
	LWLockRelease(derive_shared()->stats_lock);
}

void
derive_stats_came_back(Oid view)
{
	DeriveStats *entry = lock_stats(view);
	TimestampTz now = GetCurrentTimestamp();

	if (entry == NULL)
		return;
	SpinLockAcquire(&entry->mutex);
	entry->came_back_at = now;
	SpinLockRelease(&entry->mutex);
	LWLockRelease(derive_shared()->stats_lock);
}

void
derive_stats_add(Oid view, const DeriveCounters *add)
{
	DeriveStats *entry = lock_stats(view);
	DeriveCounters *counters;

	if (entry == NULL)
		return;
	counters = &entry->counters;
	SpinLockAcquire(&entry->mutex);
	counters->batches += add->batches;
	counters->changes_in += add->changes_in;
	counters->inserted += add->inserted;
	counters->updated += add->updated;
	counters->deleted += add->deleted;
	counters->delta_ms += add->delta_ms;
	counters->apply_ms += add->apply_ms;
	counters->last_batch_ms = add->delta_ms + add->apply_ms;
	counters->last_batch_at = add->last_batch_at;
	SpinLockRelease(&entry->mutex);
	LWLockRelease(derive_shared()->stats_lock);
}

void
derive_stats_reset(Oid view)
{
	DeriveCounters fresh = {.reset_at = GetCurrentTimestamp()};
	DeriveStats *entry = lock_stats(view);

	if (entry == NULL)
		return;
	SpinLockAcquire(&entry->mutex);
	entry->counters = fresh;
	SpinLockRelease(&entry->mutex);
	LWLockRelease(derive_shared()->stats_lock);
}

bool
derive_stats_get(Oid view, DeriveStats *result)
{
	DeriveStatsKey key = {MyDatabaseId, view};
	DeriveStats *entry;

	if (derive_shared() == NULL)
		return false;
	LWLockAcquire(derive_shared()->stats_lock, LW_SHARED);
	entry = hash_search(stats_table, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		SpinLockAcquire(&entry->mutex);
		*result = *entry;
		SpinLockRelease(&entry->mutex);
	}
	LWLockRelease(derive_shared()->stats_lock);
	return entry != NULL;
}

void
derive_stats_forget(Oid view)
{
	DeriveStatsKey key = {MyDatabaseId, view};

	if (derive_shared() == NULL)
		return;
	LWLockAcquire(derive_shared()->stats_lock, LW_EXCLUSIVE);
	hash_search(stats_table, &key, HASH_REMOVE, NULL);
	LWLockRelease(derive_shared()->stats_lock);
}

/* One way to go through all entries: collect an Oid of each that the caller wants. */
static List *
collect(Oid (*wanted) (const DeriveStatsKey *key))
{
	HASH_SEQ_STATUS status;
	DeriveStats *entry;
	List	   *result = NIL;

	if (derive_shared() == NULL)
		return NIL;
	LWLockAcquire(derive_shared()->stats_lock, LW_SHARED);
	hash_seq_init(&status, stats_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		Oid			oid = wanted(&entry->key);

		if (OidIsValid(oid))
			result = list_append_unique_oid(result, oid);
	}
	LWLockRelease(derive_shared()->stats_lock);
	return result;
}

static Oid
database_of(const DeriveStatsKey *key)
{
	return key->dboid;
}

static Oid
view_of_mine(const DeriveStatsKey *key)
{
	return key->dboid == MyDatabaseId ? key->view : InvalidOid;
}

List *
derive_stats_databases(void)
{
	return collect(database_of);
}

List *
derive_stats_views(void)
{
	return collect(view_of_mine);
}

void
derive_stats_forget_database(Oid dboid)
{
	HASH_SEQ_STATUS status;
	DeriveStats *entry;

	LWLockAcquire(derive_shared()->stats_lock, LW_EXCLUSIVE);
	hash_seq_init(&status, stats_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dboid == dboid)
			hash_search(stats_table, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(derive_shared()->stats_lock);
}
