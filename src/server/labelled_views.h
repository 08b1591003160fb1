/*-------------------------------------------------------------------------
 *
 * labelled_views.h
 *	  Views that a label says to be maintained, and that are not yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LABELLED_VIEWS_H
#define DERIVE_LABELLED_VIEWS_H

#include "base/guard.h"
#include "base/label.h"
#include "nodes/parsenodes.h"

/* SECURITY LABEL on a relation; a DeriveLabelCheck. */
extern void derive_labelled_view_check_label(const ObjectAddress *object, const char *label);

/* After SECURITY LABEL: put the view under maintenance, if it has data. */
extern void derive_labelled_view_end(SecLabelStmt *stmt);

/* Has this view, which is not maintained, a label that says it should be? */
extern bool derive_labelled_view_waits(Oid view);

/*
 * REFRESH of one that does, not WITH NO DATA, by somebody who may; refresh does it.
 * False: the query cannot be evaluated now, and the view is maintained all the same.
 */
extern bool derive_labelled_view_refresh(Oid view, DeriveGuardedFunction refresh, void *arg);

#endif							/* DERIVE_LABELLED_VIEWS_H */
