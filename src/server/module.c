/*-------------------------------------------------------------------------
 *
 * module.c
 *	  Loading the library.
 *
 * Preloaded at server start, it brings shared memory, hooks and the launcher.
 * Loaded later, by a function call or as an output plugin, it brings settings
 * and functions only; the functions that need a worker then say so.  So it does
 * in the servers that pg_upgrade runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/gucs.h"
#include "base/label.h"
#include "capture/decoder.h"
#include "derive/handlers.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/hooks.h"
#include "server/labelled_views.h"
#include "server/launcher.h"
#include "server/shmem.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	derive_define_gucs();
	derive_labels_init(derive_handler_check_label, derive_labelled_view_check_label);

	if (!process_shared_preload_libraries_in_progress)
		return;

	/*
	 * pg_upgrade's servers must not be changed by us.  But it makes slots
	 * again that our workers have used, without asking for more rights than
	 * they do.
	 */
	if (IsBinaryUpgrade)
	{
		derive_plugin_allow(PGC_POSTMASTER, PGC_S_OVERRIDE);
		return;
	}

	derive_shmem_install_hooks();
	derive_hooks_install();
	derive_launcher_register();
}
