/*-------------------------------------------------------------------------
 *
 * minimal_plugin.c
 *	  What a consumer of the log must at least do to keep a 10-group aggregate.
 *
 * A logical decoding output plugin that unpacks each row and folds it into a hash table
 * by its second column: count(*), sum() of the fourth one, and count() and sum() of the third
 * one for an avg().  No snapshots, no state on disk, no types: all it knows is that the columns
 * are integers.  It returns one line for each transaction, so that nothing can be
 * left out.  bench/large_batch compares the worker with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"
#include "utils/rel.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

typedef struct Group
{
	int32		g;
	int64		nrows;
	int64		sum_v;
	int64		nh;
	int64		sum_h;
	char		status;
} Group;

#define SH_PREFIX group
#define SH_ELEMENT_TYPE Group
#define SH_KEY_TYPE int32
#define SH_KEY g
#define SH_HASH_KEY(tb, k) murmurhash32(k)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define MOST_COLUMNS 16

static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	ctx->output_plugin_private = group_create(ctx->context, 64, NULL);
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

#if PG_VERSION_NUM >= 170000
#define TUPLE_OF(change_tuple) (change_tuple)
#else
#define TUPLE_OF(change_tuple) (&(change_tuple)->tuple)
#endif

static void
fold(LogicalDecodingContext *ctx, TupleDesc desc, HeapTuple tuple, int64 weight)
{
	Datum		values[MOST_COLUMNS];
	bool		nulls[MOST_COLUMNS];
	Group	   *group;
	bool		found;

	heap_deform_tuple(tuple, desc, values, nulls);
	group = group_insert((group_hash *) ctx->output_plugin_private,
						 nulls[1] ? PG_INT32_MIN : DatumGetInt32(values[1]), &found);
	if (!found)
		group->nrows = group->sum_v = group->nh = group->sum_h = 0;
	group->nrows += weight;
	if (!nulls[3])
		group->sum_v += weight * DatumGetInt32(values[3]);
	if (!nulls[2])
	{
		group->nh += weight;
		group->sum_h += weight * DatumGetInt32(values[2]);
	}
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *change)
{
	TupleDesc	desc = RelationGetDescr(relation);

	if (desc->natts < 4 || desc->natts > MOST_COLUMNS)
		return;
	if (change->data.tp.oldtuple != NULL)
		fold(ctx, desc, TUPLE_OF(change->data.tp.oldtuple), -1);
	if (change->data.tp.newtuple != NULL)
		fold(ctx, desc, TUPLE_OF(change->data.tp.newtuple), 1);
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	group_hash *groups = ctx->output_plugin_private;
	group_iterator iterator;
	Group	   *group;
	int64		total = 0;

	group_start_iterate(groups, &iterator);
	while ((group = group_iterate(groups, &iterator)) != NULL)
		total += group->nrows + group->sum_v + group->nh + group->sum_h;
	OutputPluginPrepareWrite(ctx, true);
	appendStringInfo(ctx->out, "%lld", (long long) total);
	OutputPluginWrite(ctx, true);
}

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = startup;
	cb->begin_cb = begin;
	cb->change_cb = change;
	cb->commit_cb = commit;
}
