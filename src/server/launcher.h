/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The one static process: starts a worker for each database that needs one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LAUNCHER_H
#define DERIVE_LAUNCHER_H

/* From _PG_init while preloading. */
extern void derive_launcher_register(void);

extern PGDLLEXPORT void derive_launcher_main(Datum arg);

#endif							/* DERIVE_LAUNCHER_H */
