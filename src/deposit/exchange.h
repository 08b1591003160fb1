/*-------------------------------------------------------------------------
 *
 * exchange.h
 *	  Two relations exchange what is stored in them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DERIVE_EXCHANGE_H
#define DERIVE_EXCHANGE_H

#include "nodes/pg_list.h"

/*
 * Exchange the rows of two materialized views that have the same columns (one may have
 * more of them than its rows, which are NULL then), with their TOAST tables and indexes.
 * Indexes of the first one that have no counterpart are built; those of the second one
 * are worth nothing afterwards, nor is it, where it was empty: to be dropped.  Caller
 * holds AccessExclusiveLock on both; CommandCounterIncrement()s.
 */
extern void derive_exchange_contents(Oid view, Oid other);

/*
 * Indexes of a view that another one, of the same columns and empty, is given as well, so
 * that the two can be exchanged.  Those that we made for the view are left out, and those
 * that cannot be copied.  Runs as the current user.
 */
extern void derive_exchange_prepare(Oid view, Oid other);

#endif							/* DERIVE_EXCHANGE_H */
