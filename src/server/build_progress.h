/*-------------------------------------------------------------------------
 *
 * build_progress.h
 *	  How far a builder is, for people who look at derive.progress.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BUILD_PROGRESS_H
#define DERIVE_BUILD_PROGRESS_H

#include "materialize/program.h"
#include "server/shmem.h"

/*
 * From here on show in shared memory what is read of the program's sources, which are
 * locked, and how much there is.  Ends with the transaction at the latest, of which
 * derive_build_progress_end() must be told before it ends.
 */
extern void derive_build_progress_begin(DeriveBuild *build, DeriveProgram *program);
extern void derive_build_progress_end(void);

/* At server start: parallel workers that help a builder are counted as well. */
extern void derive_build_progress_install(void);

#endif							/* DERIVE_BUILD_PROGRESS_H */
