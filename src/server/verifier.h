/*-------------------------------------------------------------------------
 *
 * verifier.h
 *	  Comparing views with their queries, in a process of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_VERIFIER_H
#define DERIVE_VERIFIER_H

#include "server/shmem.h"

/*
 * For the session whose request is running: look after the verifier.  Call it
 * now and then, not more than once a second.
 */
extern void derive_verifier_look_after(DeriveGroup *place, const DeriveRequest *request);

extern PGDLLEXPORT void derive_verifier_main(Datum arg);

#endif							/* DERIVE_VERIFIER_H */
