/*-------------------------------------------------------------------------
 *
 * label.h
 *	  Security labels of provider "pg_derive", and those of maintained views.
 *
 * Handler functions of derivations have them, too; see derive/handlers.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_LABEL_H
#define DERIVE_LABEL_H

#include "catalog/objectaddress.h"
#include "utils/array.h"

#define DERIVE_LABEL_PROVIDER "pg_derive"

/*
 * SECURITY LABEL is about to give the object, which belongs to the current user, this
 * label; NULL: none.  ERROR if it may not.
 */
typedef void (*DeriveLabelCheck) (const ObjectAddress *object, const char *label);

/* When the library is loaded: become the provider, whose labels are for objects of these classes. */
extern void derive_labels_init(DeriveLabelCheck functions, DeriveLabelCheck relations);

/* What the label of a maintained view says; see label.c. */
typedef struct DeriveViewLabel
{
	const char *group;			/* its name; NULL: the default group */
	bool		paused;
	ArrayType  *settings;		/* as derive_state.views has them, or NULL */
} DeriveViewLabel;

/* ERROR invalid_parameter_value or invalid_text_representation if it is none; in CurrentMemoryContext. */
extern DeriveViewLabel *derive_view_label_parse(const char *text);

/* Of this view, NULL if there is none; in CurrentMemoryContext, ERROR as above. */
extern DeriveViewLabel *derive_view_label(Oid view);

/* NULL: remove it, if there is one. */
extern void derive_view_label_set(Oid view, const DeriveViewLabel *label);

/* Do they say the same, of settings, too, unless the first one has none? */
extern bool derive_view_label_agrees(const DeriveViewLabel *label, const DeriveViewLabel *other);

/*
 * Put the settings of a label into force, if it has any; label may be NULL.  ERROR if the
 * server does not take one of them.  An ERROR between the two ends that, too, when its
 * (sub)transaction is rolled back.
 */
typedef struct DeriveLabelSettings
{
	int			guc_level;
	bool		changed;
} DeriveLabelSettings;

extern void derive_view_label_enter(const DeriveViewLabel *label, DeriveLabelSettings *saved);
extern void derive_view_label_leave(const DeriveLabelSettings *saved);

/* Of all views of the database. */
extern void derive_view_labels_remove(void);

#endif							/* DERIVE_LABEL_H */
