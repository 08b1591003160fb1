/*-------------------------------------------------------------------------
 *
 * builder.h
 *	  Filling a new view in a process of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_BUILDER_H
#define DERIVE_BUILDER_H

#include "materialize/program.h"
#include "postmaster/bgworker.h"
#include "server/shmem.h"

/*
 * Start a builder for this slot, which names the view.  NULL if the server has
 * no background worker left.
 */
extern BackgroundWorkerHandle *derive_builder_start(DeriveBuild *build);

/* A digest of the members of all base tables of a program; see derive_source_members_digest(). */
extern uint64 derive_sources_digest(DeriveProgram *program);

extern PGDLLEXPORT void derive_builder_main(Datum arg);

#endif							/* DERIVE_BUILDER_H */
