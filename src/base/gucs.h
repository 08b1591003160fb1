/*-------------------------------------------------------------------------
 *
 * gucs.h
 *	  Every setting pg_derive.*, in alphabetical order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_GUCS_H
#define DERIVE_GUCS_H

extern bool derive_allow_recompute; /* new views may have parts that are
									 * computed as a whole */
extern int	derive_batch_interval;	/* ms; from one batch to the next, at
									 * most, while nobody waits */
extern double derive_batch_share;	/* of the time, for batches */
extern double derive_build_share;	/* of a processor, for one builder */
extern int	derive_cleanup_interval;	/* ms; from one removal of what is too
										 * old to the next */
extern int	derive_debug_clock_offset;	/* s; test builds only */
extern char *derive_debug_point;	/* test builds only, see debug_point.h */
extern int	derive_decoding_work_mem;	/* kB; the worker's
										 * logical_decoding_work_mem */
extern char *derive_default_group;	/* its name; "": the default group */
extern int	derive_fillfactor;	/* percent; for the tables of new views */
extern int	derive_lock_timeout;	/* ms; one try for a lock that writers
									 * would wait behind */
extern int	derive_log_min_duration;	/* ms; batches that take longer are
										 * logged; -1: none */
extern bool derive_maintain_new;	/* what CREATE MATERIALIZED VIEW creates
									 * is maintained */
extern int	derive_max_builds;	/* views that are built at the same time, per
								 * group */
extern int	derive_max_databases;	/* workers, one for each group; sizes
									 * shared memory (postmaster) */
extern int	derive_max_groups;	/* those with views, per database */
extern int	derive_max_hold;	/* ms; old rows are kept for a view that does
								 * not move; 0: no limit */
extern int	derive_max_hold_age;	/* transactions; the same */
extern int	derive_max_views;	/* views with statistics; sizes shared memory
								 * (postmaster) */
extern int	derive_max_wal_backlog; /* MB; of the log, kept for a database; 0:
									 * no limit */
extern int	derive_old_rows;	/* of enum DeriveOldRows */
extern double derive_recompute_share;
extern int	derive_subscription_max_size;	/* kB; changes kept for the
											 * subscribers of a view; 0: no
											 * limit */
extern int	derive_subscription_retention;	/* s; how long they are kept; 0:
											 * no limit */
extern int	derive_time_resolution; /* ms; from one tick to the next of views
									 * that depend on the time */
extern int	derive_view_max_memory; /* kB; by which the worker may grow while
									 * one view moves; 0: no limit */
extern int	derive_view_timeout;	/* ms; that one view may take in a batch;
									 * 0: no limit */
extern int	derive_waiting_max_size;	/* kB; of the log, held for views that
										 * cannot be moved; 0: no limit */
extern int	derive_work_mem;	/* kB; each store of changes before it spills
								 * to disk */

typedef enum DeriveOldRows
{
	DERIVE_OLD_ROWS_AUTO,
	DERIVE_OLD_ROWS_LOG
} DeriveOldRows;

/*
 * Are tables as they were before a batch read from old row versions?  Not if the
 * setting, or another one of the server, says otherwise.
 */
extern bool derive_old_rows_are_read(void);

/*
 * Define them all.  The postmaster-level ones only while
 * process_shared_preload_libraries_in_progress.
 */
extern void derive_define_gucs(void);

#endif							/* DERIVE_GUCS_H */
