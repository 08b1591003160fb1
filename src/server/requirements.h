/*-------------------------------------------------------------------------
 *
 * requirements.h
 *	  What the server must be set to for views to be maintained.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_REQUIREMENTS_H
#define DERIVE_REQUIREMENTS_H

/*
 * Report those that are not met, all at once, as an error or a warning (elevel).
 * only_hard: those alone without which no view can be declared; the others may be met
 * by the time it is to be built.
 */
extern void derive_requirements_report(int elevel, bool only_hard);

/* What is said of one of them, palloc'd, for another error's detail. */
extern char *derive_requirement_words(const char *setting);

#endif							/* DERIVE_REQUIREMENTS_H */
