/*-------------------------------------------------------------------------
 *
 * reachability.c
 *	  The derivation "reachability": the transitive closure of a graph.
 *
 * The source has a row per edge, the view a row (x, y) for each two nodes, or
 * one node twice, where a path of one edge or more leads from x to y.  How many
 * paths, and how many rows say the same edge, does not matter.  A row with NULL
 * at an end is no edge.
 *
 * What a batch took and gave back is dropped.  Then edges that are gone are
 * dealt with before those that came.
 *
 * An edge a -> b that is gone: delete and rederive (Gupta, Mumick and
 * Subrahmanian, "Maintaining Views Incrementally", 1993).  Every pair (x, y)
 * of which a path may have used one of these edges, that is all from what
 * reached a to what b reached, is in doubt.  Such a pair is proved by an edge
 * x -> z that is there, if z is y or (z, y) is not in doubt; each pair that is
 * proved may prove others.  What is not proved in the end goes.
 *
 * An edge a -> b that came: if (a, b) was there, nothing is new.  Else each x
 * that reaches a, and a itself, now reaches all that b does; those that reached
 * b already have that.
 *
 * So the cost follows the pairs that are affected.  Who reaches a node, and
 * whom it reaches, is asked of the view, which the batch does not change before
 * it knows everything; a hash table of pairs has what is different.  Edges are
 * read from the source, and only if some are gone.  Where that would be most
 * of the closure anyway, all is computed anew: read the edges and search from
 * each node.  That is also how the view is built.
 *
 * Nodes are numbered while a batch lasts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "derivations/support.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(derive_reachability_handler);

/* Edges and pairs of a batch from which on computing anew is considered. */
#define MANY_EDGES 1000
#define MANY_PAIRS 100000

/* ---------- growing arrays of node numbers ---------- */

typedef struct NodeList
{
	uint32	   *items;
	uint64		n;
	uint64		size;
} NodeList;

static inline void
append_node(NodeList *list, uint32 node)
{
	if (list->n == list->size)
	{
		list->size = Max(8, list->size * 2);
		if (list->items == NULL)
			list->items = palloc(list->size * sizeof(uint32));
		else
			list->items = repalloc_huge(list->items, list->size * sizeof(uint32));
	}
	list->items[list->n++] = node;
}

/* ---------- nodes: values and their numbers ---------- */

typedef struct NodeType
{
	bool		byval;
	int16		len;
} NodeType;

typedef struct NodeEntry
{
	Datum		value;
	uint32		number;
	uint32		hash;
	char		status;
} NodeEntry;

#define NODE_TYPE(table) ((const NodeType *) (table)->private_data)
#define SH_PREFIX node
#define SH_ELEMENT_TYPE NodeEntry
#define SH_KEY_TYPE Datum
#define SH_KEY value
#define SH_HASH_KEY(table, key) datum_image_hash(key, NODE_TYPE(table)->byval, NODE_TYPE(table)->len)
#define SH_EQUAL(table, a, b) datum_image_eq(a, b, NODE_TYPE(table)->byval, NODE_TYPE(table)->len)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) ((entry)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---------- pairs of nodes, and what is known of them ---------- */

typedef struct PairEntry
{
	uint64		key;			/* from, to */
	int64		weight;			/* as an edge: net change in this batch */
	bool		known;			/* are the following set? */
	bool		old;			/* it is in the view */
	bool		now;			/* it will be */
	bool		doubt;			/* an edge that it may have used is gone */
	bool		isnew;			/* as an edge: was not there before */
	char		status;
} PairEntry;

#define PAIR(from, to) (((uint64) (from) << 32) | (to))
#define PAIR_FROM(key) ((uint32) ((key) >> 32))
#define PAIR_TO(key) ((uint32) (key))

#define SH_PREFIX pair
#define SH_ELEMENT_TYPE PairEntry
#define SH_KEY_TYPE uint64
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_combine(murmurhash32(PAIR_FROM(key)), murmurhash32(PAIR_TO(key)))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct PairList
{
	uint64	   *items;
	uint64		n;
	uint64		size;
} PairList;

static void
append_pair(PairList *list, uint64 key)
{
	if (list->n == list->size)
	{
		list->size = Max(8, list->size * 2);
		if (list->items == NULL)
			list->items = palloc(list->size * sizeof(uint64));
		else
			list->items = repalloc_huge(list->items, list->size * sizeof(uint64));
	}
	list->items[list->n++] = key;
}

/* ---------- the derivation ---------- */

/* A node of the present batch. */
typedef struct GraphNode
{
	Datum		value;
	bool		hassources;		/* are these read? */
	bool		hastargets;
	bool		hasedges;
	NodeList	sources;		/* who reaches it, by the view */
	NodeList	targets;		/* whom it reaches, by the view */
	NodeList	newsources;		/* the same that came in this batch */
	NodeList	newtargets;
	NodeList	edges;			/* its edges that are there and were there */
	NodeList	back;			/* nodes whose edges lead here, as far as read */
} GraphNode;

typedef struct Reachability
{
	DeriveContext *context;
	AttrNumber	source;			/* columns of the source */
	AttrNumber	target;
	Oid			type;
	NodeType	nodetype;
	DeriveSupportStatement sources;
	DeriveSupportStatement targets;
	DeriveSupportStatement edges;
	DeriveSupportStatement count;

	/* of the present apply() */
	MemoryContext cxt;
	node_hash  *numbers;
	GraphNode  *nodes;
	uint32		nnodes;
	uint32		maxnodes;
	pair_hash  *pairs;
} Reachability;

/* ---------- declaration ---------- */

/* The columns that options name, or else the first two. */
static void
learn(DeriveContext *context, Reachability *r, DeriveSupportColumn *columns)
{
	TupleDesc	desc;
	AttrNumber	live[2] = {InvalidAttrNumber, InvalidAttrNumber};
	int			nlive = 0;
	Form_pg_attribute source;
	Form_pg_attribute target;

	derive_support_one_source(context);
	desc = context->sources[0].desc;
	for (int i = 0; i < desc->natts && nlive < 2; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			live[nlive++] = i + 1;
	}
	r->context = context;
	r->source = derive_support_column_option(context, "source", false);
	r->target = derive_support_column_option(context, "target", false);
	if (r->source == InvalidAttrNumber)
		r->source = derive_support_named(context, live[0]);
	if (r->target == InvalidAttrNumber)
		r->target = derive_support_named(context, live[1]);
	if (r->source == InvalidAttrNumber || r->target == InvalidAttrNumber || r->source == r->target)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an edge needs two columns"),
				 errhint("Name them in the options \"source\" and \"target\".")));

	derive_support_require_image(context, r->source);
	derive_support_require_image(context, r->target);
	source = TupleDescAttr(desc, r->source - 1);
	target = TupleDescAttr(desc, r->target - 1);
	if (source->atttypid != target->atttypid)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("columns \"%s\" and \"%s\" must be of the same type",
						NameStr(source->attname), NameStr(target->attname)),
				 errdetail("They are of type %s and %s.", format_type_be(source->atttypid),
						   format_type_be(target->atttypid))));
	r->type = source->atttypid;
	r->nodetype.byval = source->attbyval;
	r->nodetype.len = source->attlen;
	columns[0] = derive_support_column(context, r->source, NULL);
	columns[1] = derive_support_column(context, r->target, NULL);
}

static TupleDesc
reachability_columns(DeriveContext *context)
{
	Reachability r = {0};
	DeriveSupportColumn columns[2];

	learn(context, &r, columns);
	return derive_support_columns(context, 2, columns);
}

static void
reachability_declare(DeriveContext *context)
{
	Reachability *r = MemoryContextAllocZero(context->memory, sizeof(Reachability));
	DeriveSupportColumn columns[2];

	learn(context, r, columns);
	derive_support_check_columns(context, 2, columns);
	derive_support_first_columns_are_key(context, 2, true);
	derive_support_look_up_by(context, 1);
	derive_support_look_up_by(context, 2);
	context->private = r;
}

static void
reachability_end(DeriveContext *context)
{
	Reachability *r = context->private;

	if (r == NULL)
		return;
	derive_support_forget(&r->sources);
	derive_support_forget(&r->targets);
	derive_support_forget(&r->edges);
	derive_support_forget(&r->count);
}

/* ---------- numbering ---------- */

static uint32
number_of(Reachability *r, Datum value)
{
	bool		found;
	NodeEntry  *entry = node_insert(r->numbers, value, &found);

	if (found)
		return entry->number;
	if (r->nnodes == PG_UINT32_MAX)
		elog(ERROR, "too many nodes");
	if (r->nnodes == r->maxnodes)
	{
		r->maxnodes = Max(64, r->maxnodes * 2);
		if (r->nodes == NULL)
			r->nodes = palloc(r->maxnodes * sizeof(GraphNode));
		else
			r->nodes = repalloc_huge(r->nodes, (Size) r->maxnodes * sizeof(GraphNode));
	}
	if (!r->nodetype.byval)
		value = r->nodetype.len == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) :
			datumCopy(value, false, r->nodetype.len);
	entry->value = value;
	entry->number = r->nnodes;
	memset(&r->nodes[r->nnodes], 0, sizeof(GraphNode));
	r->nodes[r->nnodes].value = value;
	return r->nnodes++;
}

/* The ends of the edge that a row of the source stands for; false if it is none. */
static bool
edge_of(Reachability *r, TupleTableSlot *row, uint32 *from, uint32 *to)
{
	bool		sourceisnull;
	bool		targetisnull;
	Datum		source = slot_getattr(row, r->source, &sourceisnull);
	Datum		target = slot_getattr(row, r->target, &targetisnull);

	if (sourceisnull || targetisnull)
		return false;
	*from = number_of(r, source);
	*to = number_of(r, target);
	return true;
}

static void
pair_values(Reachability *r, uint64 key, Datum *values)
{
	values[0] = r->nodes[PAIR_FROM(key)].value;
	values[1] = r->nodes[PAIR_TO(key)].value;
}

/* ---------- reading by SQL ---------- */

typedef struct NodeReceiver
{
	Reachability *r;
	NodeList	list;
} NodeReceiver;

static void
receive_node(void *arg, HeapTuple row, TupleDesc desc)
{
	NodeReceiver *receiver = arg;
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, 1, &isnull);
	MemoryContext oldcxt;

	if (isnull)
		return;
	oldcxt = MemoryContextSwitchTo(receiver->r->cxt);
	append_node(&receiver->list, number_of(receiver->r, value));
	MemoryContextSwitchTo(oldcxt);
}

/* Column "want" of the rows of a table that have a node in column "by". */
static NodeList
read_nodes(Reachability *r, DeriveSupportStatement *statement, Oid relid, TupleDesc desc,
		   AttrNumber want, AttrNumber by, uint32 node)
{
	NodeReceiver receiver = {r, {0}};
	char	   *sql = psprintf("SELECT %s FROM %s WHERE %s %s $1", derive_support_attribute(desc, want),
							   derive_support_relation(relid), derive_support_attribute(desc, by),
							   derive_support_equals(r->type));

	derive_support_each(derive_support_prepare(r->context, statement, sql, 1, &r->type),
						&r->nodes[node].value, NULL, receive_node, &receiver);
	return receiver.list;
}

static const NodeList *
old_sources(Reachability *r, uint32 node)
{
	if (!r->nodes[node].hassources)
	{
		NodeList	list = read_nodes(r, &r->sources, r->context->view, r->context->desc, 1, 2, node);

		r->nodes[node].sources = list;	/* reading may have moved the array */
		r->nodes[node].hassources = true;
	}
	return &r->nodes[node].sources;
}

static const NodeList *
old_targets(Reachability *r, uint32 node)
{
	if (!r->nodes[node].hastargets)
	{
		NodeList	list = read_nodes(r, &r->targets, r->context->view, r->context->desc, 2, 1, node);

		r->nodes[node].targets = list;
		r->nodes[node].hastargets = true;
	}
	return &r->nodes[node].targets;
}

static void
receive_count(void *arg, HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	*(int64 *) arg = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
}

/* How many rows of the source say this edge. */
static int64
count_edges(Reachability *r, uint64 key)
{
	DeriveContextSource *source = &r->context->sources[0];
	const char *equals = derive_support_equals(r->type);
	Oid			types[2] = {r->type, r->type};
	Datum		values[2];
	int64		result = 0;
	char	   *sql = psprintf("SELECT count(*) FROM %s WHERE %s %s $1 AND %s %s $2",
							   derive_support_relation(source->relid),
							   derive_support_attribute(source->desc, r->source), equals,
							   derive_support_attribute(source->desc, r->target), equals);

	pair_values(r, key, values);
	derive_support_each(derive_support_prepare(r->context, &r->count, sql, 2, types),
						values, NULL, receive_count, &result);
	return result;
}

/* ---------- pairs ---------- */

/* The entry of a pair, with "old" and "now" known. */
static PairEntry *
look_up(Reachability *r, uint64 key)
{
	PairEntry  *entry = pair_lookup(r->pairs, key);
	bool		found;
	Datum		values[2];
	bool		isnull[2] = {false};

	if (entry != NULL && entry->known)
		return entry;
	pair_values(r, key, values);
	found = r->context->get(r->context, DERIVE_VIEW, values, isnull) != NULL;
	if (entry == NULL)
	{
		bool		exists;

		entry = pair_insert(r->pairs, key, &exists);
		memset(&entry->weight, 0, offsetof(PairEntry, status) - offsetof(PairEntry, weight));
	}
	entry->known = true;
	entry->old = entry->now = found;
	return entry;
}

/* The same where the view is known to have it. */
static PairEntry *
look_up_old(Reachability *r, uint64 key)
{
	bool		found;
	PairEntry  *entry = pair_insert(r->pairs, key, &found);

	if (!found)
		memset(&entry->weight, 0, offsetof(PairEntry, status) - offsetof(PairEntry, weight));
	if (!entry->known)
		entry->known = entry->old = entry->now = true;
	return entry;
}

/* Is a pair that the view has still there? */
static bool
still_there(Reachability *r, uint64 key)
{
	PairEntry  *entry = pair_lookup(r->pairs, key);

	return entry == NULL || !entry->known || entry->now;
}

/* ---------- edges that are gone ---------- */

/* Edges of x that are there and were there before the batch. */
static const NodeList *
remaining_edges(Reachability *r, uint32 x)
{
	NodeList	list;
	uint64		n = 0;

	if (r->nodes[x].hasedges)
		return &r->nodes[x].edges;
	list = read_nodes(r, &r->edges, r->context->sources[0].relid, r->context->sources[0].desc,
					  r->target, r->source, x);
	for (uint64 i = 0; i < list.n; i++)
	{
		PairEntry  *edge = pair_lookup(r->pairs, PAIR(x, list.items[i]));

		if (edge != NULL && edge->isnew)
			continue;
		append_node(&r->nodes[list.items[i]].back, x);
		list.items[n++] = list.items[i];
	}
	list.n = n;
	r->nodes[x].edges = list;
	r->nodes[x].hasedges = true;
	return &r->nodes[x].edges;
}

/* Put a pair that the view has in doubt. */
static void
doubt(Reachability *r, uint64 key, PairList *doubted)
{
	PairEntry  *entry = look_up_old(r, key);

	if (entry->doubt)
		return;
	entry->doubt = true;
	entry->now = false;
	append_pair(doubted, key);
}

/* All pairs of which a path may have used the edge. */
static void
doubt_paths(Reachability *r, uint64 edge, PairList *doubted)
{
	NodeList	sources = *old_sources(r, PAIR_FROM(edge));
	NodeList	targets = *old_targets(r, PAIR_TO(edge));

	for (uint64 i = 0; i <= sources.n; i++)
	{
		uint32		x = i < sources.n ? sources.items[i] : PAIR_FROM(edge);

		CHECK_FOR_INTERRUPTS();
		for (uint64 j = 0; j < targets.n; j++)
			doubt(r, PAIR(x, targets.items[j]), doubted);
		doubt(r, PAIR(x, PAIR_TO(edge)), doubted);
	}
}

/* Does an edge prove the pair, without the help of pairs in doubt? */
static bool
proved(Reachability *r, uint64 key)
{
	const NodeList edges = *remaining_edges(r, PAIR_FROM(key));

	for (uint64 i = 0; i < edges.n; i++)
	{
		if (edges.items[i] == PAIR_TO(key) || look_up(r, PAIR(edges.items[i], PAIR_TO(key)))->now)
			return true;
	}
	return false;
}

/*
 * Find out which pairs in doubt are still there.  Pairs are proved from the
 * beginning of the list, which is then used as a queue of proved ones.
 */
static void
rederive(Reachability *r, const PairList *doubted)
{
	PairList	queue = {0};

	for (uint64 i = 0; i < doubted->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (proved(r, doubted->items[i]))
		{
			pair_lookup(r->pairs, doubted->items[i])->now = true;
			append_pair(&queue, doubted->items[i]);
		}
	}
	for (uint64 i = 0; i < queue.n; i++)
	{
		const NodeList back = r->nodes[PAIR_FROM(queue.items[i])].back;

		CHECK_FOR_INTERRUPTS();
		for (uint64 j = 0; j < back.n; j++)
		{
			uint64		key = PAIR(back.items[j], PAIR_TO(queue.items[i]));
			PairEntry  *entry = pair_lookup(r->pairs, key);

			if (entry != NULL && entry->doubt && !entry->now)
			{
				entry->now = true;
				append_pair(&queue, key);
			}
		}
	}
}

/* Would so many pairs be in doubt that computing anew is better? */
static bool
too_doubtful(Reachability *r, const PairList *gone)
{
	double		limit = derive_support_estimate_rows(r->context->view) / 4;
	double		n = 0;

	limit = Max(limit, MANY_PAIRS);
	for (uint64 i = 0; i < gone->n && n <= limit; i++)
		n += (old_sources(r, PAIR_FROM(gone->items[i]))->n + 1.0) *
			(old_targets(r, PAIR_TO(gone->items[i]))->n + 1.0);
	return n > limit;
}

/* ---------- edges that came ---------- */

/* A list as it is now: what is left of the old one, what came, and the node itself. */
static NodeList
present_sources(Reachability *r, uint32 node)
{
	NodeList	old = *old_sources(r, node);
	const NodeList *new = &r->nodes[node].newsources;
	NodeList	result = {0};

	append_node(&result, node);
	for (uint64 i = 0; i < old.n; i++)
	{
		if (still_there(r, PAIR(old.items[i], node)))
			append_node(&result, old.items[i]);
	}
	for (uint64 i = 0; i < new->n; i++)
		append_node(&result, new->items[i]);
	return result;
}

static NodeList
present_targets(Reachability *r, uint32 node)
{
	NodeList	old = *old_targets(r, node);
	const NodeList *new = &r->nodes[node].newtargets;
	NodeList	result = {0};

	append_node(&result, node);
	for (uint64 i = 0; i < old.n; i++)
	{
		if (still_there(r, PAIR(node, old.items[i])))
			append_node(&result, old.items[i]);
	}
	for (uint64 i = 0; i < new->n; i++)
		append_node(&result, new->items[i]);
	return result;
}

static void
add_edge(Reachability *r, uint64 edge)
{
	NodeList	sources;
	NodeList	targets;

	if (look_up(r, edge)->now)
		return;
	sources = present_sources(r, PAIR_FROM(edge));
	targets = present_targets(r, PAIR_TO(edge));
	for (uint64 i = 0; i < sources.n; i++)
	{
		uint32		x = sources.items[i];

		CHECK_FOR_INTERRUPTS();
		if (look_up(r, PAIR(x, PAIR_TO(edge)))->now)
			continue;
		for (uint64 j = 0; j < targets.n; j++)
		{
			uint32		y = targets.items[j];
			PairEntry  *entry = look_up(r, PAIR(x, y));

			if (entry->now)
				continue;
			entry->now = true;
			if (entry->old)
				continue;		/* in the lists of the view */
			append_node(&r->nodes[x].newtargets, y);
			append_node(&r->nodes[y].newsources, x);
		}
	}
}

/* ---------- everything anew ---------- */

/* The graph while it is read: edges, and later where those of each node begin. */
typedef struct Graph
{
	Reachability *r;
	PairList	edges;
	uint64	   *begin;			/* nnodes + 1 of them */
	uint32	   *targets;
} Graph;

static void
receive_edge(void *arg, TupleTableSlot *row)
{
	Graph	   *graph = arg;
	MemoryContext oldcxt = MemoryContextSwitchTo(graph->r->cxt);
	uint32		from;
	uint32		to;

	if (edge_of(graph->r, row, &from, &to))
		append_pair(&graph->edges, PAIR(from, to));
	MemoryContextSwitchTo(oldcxt);
}

/* Sort the edges by their node. */
static void
arrange(Graph *graph)
{
	uint32		nnodes = graph->r->nnodes;
	MemoryContext cxt = graph->r->cxt;

	graph->begin = MemoryContextAllocHuge(cxt, (nnodes + UINT64CONST(2)) * sizeof(uint64));
	memset(graph->begin, 0, (nnodes + UINT64CONST(2)) * sizeof(uint64));
	graph->targets = MemoryContextAllocHuge(cxt, (graph->edges.n + 1) * sizeof(uint32));
	for (uint64 i = 0; i < graph->edges.n; i++)
		graph->begin[PAIR_FROM(graph->edges.items[i]) + UINT64CONST(2)]++;
	for (uint64 i = 1; i < nnodes + UINT64CONST(2); i++)
		graph->begin[i] += graph->begin[i - 1];
	for (uint64 i = 0; i < graph->edges.n; i++)
	{
		uint64		edge = graph->edges.items[i];

		graph->targets[graph->begin[PAIR_FROM(edge) + UINT64CONST(1)]++] = PAIR_TO(edge);
	}
}

static void
write_pair(Reachability *r, uint64 key)
{
	Datum		values[2];
	bool		isnull[2] = {false};

	pair_values(r, key, values);
	if (r->context->building)
		r->context->insert(r->context, DERIVE_VIEW, values, isnull);
	else
		r->context->add(r->context, values, isnull, 1);
}

/* Search from each node. */
static void
search(Graph *graph)
{
	Reachability *r = graph->r;
	uint32	   *seen = MemoryContextAllocHuge(r->cxt, (r->nnodes + UINT64CONST(1)) * sizeof(uint32));
	NodeList	queue = {0};

	memset(seen, 0xff, (r->nnodes + UINT64CONST(1)) * sizeof(uint32));
	for (uint32 x = 0; x < r->nnodes; x++)
	{
		queue.n = 0;
		append_node(&queue, x);
		for (uint64 i = 0; i < queue.n; i++)
		{
			uint32		z = queue.items[i];

			CHECK_FOR_INTERRUPTS();
			if (i > 0 && z == x)
				continue;		/* a cycle: its edges are done */
			for (uint64 j = graph->begin[z]; j < graph->begin[z + UINT64CONST(1)]; j++)
			{
				uint32		y = graph->targets[j];

				if (seen[y] == x)
					continue;
				seen[y] = x;
				append_node(&queue, y);
				write_pair(r, PAIR(x, y));
			}
		}
	}
}

static void
subtract_row(void *arg, TupleTableSlot *row)
{
	DeriveContext *context = arg;

	slot_getallattrs(row);
	context->add(context, row->tts_values, row->tts_isnull, -1);
}

static void
compute(Reachability *r)
{
	DeriveContext *context = r->context;
	Graph		graph = {0};
	DeriveChange change;

	graph.r = r;
	if (context->building)
	{
		while (context->next_change(context, &change))
			receive_edge(&graph, change.newrow);
	}
	else
	{
		context->read_table(context, DERIVE_VIEW, subtract_row, context);
		context->read_source(context, 0, receive_edge, &graph);
	}
	arrange(&graph);
	search(&graph);
}

/* ---------- the callbacks ---------- */

/* Net the edges of the batch. */
static void
net_changes(Reachability *r)
{
	DeriveChange change;

	while (r->context->next_change(r->context, &change))
	{
		for (int sign = -1; sign <= 1; sign += 2)
		{
			TupleTableSlot *row = sign < 0 ? change.oldrow : change.newrow;
			PairEntry  *entry;
			uint32		from;
			uint32		to;
			bool		found;

			if (row == NULL || !edge_of(r, row, &from, &to))
				continue;
			entry = pair_insert(r->pairs, PAIR(from, to), &found);
			if (!found)
				memset(&entry->weight, 0, offsetof(PairEntry, status) - offsetof(PairEntry, weight));
			entry->weight += sign;
		}
	}
}

/* Sort net changes into edges that came and edges that went. */
static void
list_changes(Reachability *r, PairList *came, PairList *went)
{
	pair_iterator iterator;
	PairEntry  *entry;

	pair_start_iterate(r->pairs, &iterator);
	while ((entry = pair_iterate(r->pairs, &iterator)) != NULL)
	{
		if (entry->weight > 0)
			append_pair(came, entry->key);
		else if (entry->weight < 0)
			append_pair(went, entry->key);
	}
}

/*
 * Of the edges that went, keep those that are really gone, and if there are
 * any, mark those that were not there before.
 */
static void
tell_gone(Reachability *r, const PairList *came, PairList *went)
{
	uint64		n = 0;

	for (uint64 i = 0; i < went->n; i++)
	{
		if (count_edges(r, went->items[i]) == 0)
			went->items[n++] = went->items[i];
	}
	went->n = n;
	for (uint64 i = 0; n > 0 && i < came->n; i++)
	{
		PairEntry  *entry = pair_lookup(r->pairs, came->items[i]);

		entry->isnew = count_edges(r, came->items[i]) <= entry->weight;
	}
}

static void
write_changes(Reachability *r)
{
	DeriveContext *context = r->context;
	pair_iterator iterator;
	PairEntry  *entry;

	pair_start_iterate(r->pairs, &iterator);
	while ((entry = pair_iterate(r->pairs, &iterator)) != NULL)
	{
		Datum		values[2];
		bool		isnull[2] = {false};

		if (!entry->known || entry->old == entry->now)
			continue;
		pair_values(r, entry->key, values);
		if (entry->now)
			context->insert(context, DERIVE_VIEW, values, isnull);
		else if (!context->remove(context, DERIVE_VIEW, values, isnull))
			elog(ERROR, "a pair is not in the view any more");
	}
}

/* Apply the changes of a batch; false if computing anew is better. */
static bool
apply_changes(Reachability *r)
{
	PairList	came = {0};
	PairList	went = {0};
	PairList	doubted = {0};

	net_changes(r);
	list_changes(r, &came, &went);
	if (came.n + went.n > MANY_EDGES &&
		came.n + went.n > derive_support_estimate_rows(r->context->view) / 16)
		return false;
	if (went.n > 0)
		tell_gone(r, &came, &went);
	if (went.n > 0)
	{
		if (too_doubtful(r, &went))
			return false;
		for (uint64 i = 0; i < went.n; i++)
			doubt_paths(r, went.items[i], &doubted);
		rederive(r, &doubted);
	}
	for (uint64 i = 0; i < came.n; i++)
		add_edge(r, came.items[i]);
	write_changes(r);
	return true;
}

static void
begin_nodes(Reachability *r)
{
	MemoryContextReset(r->cxt);
	r->numbers = node_create(r->cxt, 256, &r->nodetype);
	r->pairs = pair_create(r->cxt, 256, NULL);
	r->nodes = NULL;
	r->nnodes = r->maxnodes = 0;
}

static void
reachability_apply(DeriveContext *context)
{
	Reachability *r = context->private;
	DeriveSupportConnection connection = derive_support_connect();
	MemoryContext oldcxt;

	r->cxt = AllocSetContextCreate(CurrentMemoryContext, "reachability", ALLOCSET_DEFAULT_SIZES);
	oldcxt = MemoryContextSwitchTo(r->cxt);
	begin_nodes(r);
	if (context->building)
		compute(r);
	else if (!apply_changes(r))
	{
		begin_nodes(r);
		compute(r);
	}
	MemoryContextSwitchTo(oldcxt);
	derive_support_finish(connection);
}

static void
reachability_explain(DeriveContext *context, StringInfo text)
{
	Reachability *r = context->private;
	TupleDesc	desc = context->sources[0].desc;
	const char *source = derive_support_relation(context->sources[0].relid);

	appendStringInfo(text, "new edges: pair what reaches the one end with what the other end reaches, by the view\n");
	appendStringInfo(text, "deleted edges: delete and rederive the pairs between them; an index on %s (%s, %s) serves that\n",
					 source, derive_support_attribute(desc, r->source), derive_support_attribute(desc, r->target));
}

static const DeriveRoutine reachability_routine = {
	.api_version = DERIVE_API_VERSION,
	.flags = DERIVE_OF_CURRENT_ROWS,
	.columns = reachability_columns,
	.declare = reachability_declare,
	.apply = reachability_apply,
	.end = reachability_end,
	.explain = reachability_explain
};

Datum
derive_reachability_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&reachability_routine);
}
