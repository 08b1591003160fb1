/*-------------------------------------------------------------------------
 *
 * sessionize.c
 *	  The derivation "sessionize": clicks into sessions.
 *
 * A session is a longest run of clicks of one user in which each one comes at
 * most a gap after the one before.  The source has a row per click, the view
 *
 *		user, session_start, session_end, n
 *
 * A click without user or without time belongs to no session.  The view is a
 * function of the clicks that there are, so late ones, updates and deletes are
 * as good as new ones.
 *
 * The changes of a batch are sorted by user and time, and what a click took and
 * gave back in the same batch is dropped.  What is left are points with a
 * weight.  A user's points and the sessions of the view that are near them are
 * put into chains: a chain goes on while the next point or session begins at
 * most a gap after its end.  Nothing outside of a chain is within a gap of
 * anything that is or was in it, so its sessions can be replaced by themselves:
 *
 *	- Clicks came, none went: the chain is one session, and its ends and count
 *	  are those of its parts.  The source is not read.
 *	- A click went: the clicks between the ends of the chain are read from the
 *	  source, and sessions made of them.
 *
 * So a batch costs a look-up in the view per user, and where clicks went, one
 * in the source.  If it has very many users compared with the view, all that is
 * needed is read at once: the sort is made again with the view's rows and the
 * source's rows of these users in it, and their sessions are made anew.
 *
 * Times are compared as 64-bit integers.  The gap is a number of microseconds,
 * because "one day later" would depend on the time zone of who computes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "derivations/support.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(derive_sessionize_handler);

/* Users of a batch from which on reading everything at once is considered. */
#define MANY_USERS 1000

/* Columns of the sort. */
enum
{
	SORT_USER = 1,
	SORT_KIND,
	SORT_TIME,					/* of a click; the start of a session */
	SORT_END,					/* of a session */
	SORT_N,						/* weight of a click; clicks of a session */
	SORT_NATTS = SORT_N
};

typedef enum RowKind
{
	ROW_CHANGE,					/* a click came (n = 1) or went (n = -1) */
	ROW_SESSION,				/* a row of the view */
	ROW_CLICK					/* a row of the source */
} RowKind;

typedef struct Session
{
	int64		start;
	int64		end;
	int64		n;
} Session;

typedef struct SessionList
{
	Session    *items;
	int			n;
	int			size;
} SessionList;

typedef struct Sessionize
{
	DeriveContext *context;
	AttrNumber	user;			/* columns of the source */
	AttrNumber	time;
	Oid			usertype;
	Oid			timetype;
	bool		userbyval;
	int16		userlen;
	int64		gap;			/* in microseconds */
	TupleDesc	sortdesc;
	DeriveSupportStatement sessions;
	DeriveSupportStatement clicks;

	/* of the present apply() */
	Tuplesortstate *sort;
	TupleTableSlot *slot;		/* of sortdesc */
} Sessionize;

/* ---------- declaration ---------- */

static int64
gap_option(DeriveContext *context)
{
	Interval   *gap = DatumGetIntervalP(context->option(context, "gap", INTERVALOID, "30 minutes", NULL));
	int64		microseconds;

	if (gap->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"gap\" must not have months or years"),
				 errdetail("Their length depends on the date."),
				 errhint("Give days; one is 24 hours.")));
	if (pg_mul_s64_overflow(gap->day, USECS_PER_DAY, &microseconds) ||
		pg_add_s64_overflow(microseconds, gap->time, &microseconds) || microseconds <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"gap\" must be positive, and not too long")));
	return microseconds;
}

/* Learn options and source; the four columns of the view. */
static void
learn(DeriveContext *context, Sessionize *s, DeriveSupportColumn *columns)
{
	Form_pg_attribute att;

	derive_support_one_source(context);
	s->context = context;
	s->user = derive_support_column_option(context, "user", true);
	s->time = derive_support_column_option(context, "time", true);
	s->gap = gap_option(context);

	derive_support_require_image(context, s->user);
	att = TupleDescAttr(context->sources[0].desc, s->time - 1);
	if (att->atttypid != TIMESTAMPOID && att->atttypid != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\", option \"time\", must be of type timestamp or timestamptz",
						NameStr(att->attname))));
	s->timetype = att->atttypid;

	columns[0] = derive_support_column(context, s->user, NULL);
	columns[1] = derive_support_column(context, s->time, "session_start");
	columns[2] = derive_support_column(context, s->time, "session_end");
	columns[3] = derive_support_new_column("n", INT8OID);

	att = TupleDescAttr(context->sources[0].desc, s->user - 1);
	s->usertype = att->atttypid;
	s->userbyval = att->attbyval;
	s->userlen = att->attlen;
}

static TupleDesc
sessionize_columns(DeriveContext *context)
{
	Sessionize	s = {0};
	DeriveSupportColumn columns[4];

	learn(context, &s, columns);
	return derive_support_columns(context, 4, columns);
}

static void
sessionize_declare(DeriveContext *context)
{
	Sessionize *s;
	DeriveSupportColumn columns[4];
	MemoryContext oldcxt = MemoryContextSwitchTo(context->memory);

	s = palloc0(sizeof(Sessionize));
	learn(context, s, columns);
	derive_support_check_columns(context, 4, columns);
	derive_support_first_columns_are_key(context, 2, true);
	derive_support_look_up_by(context, 1);

	s->sortdesc = CreateTemplateTupleDesc(SORT_NATTS);
	TupleDescInitEntry(s->sortdesc, SORT_USER, "user", s->usertype, -1, 0);
	TupleDescInitEntryCollation(s->sortdesc, SORT_USER, columns[0].collation);
	TupleDescInitEntry(s->sortdesc, SORT_KIND, "kind", INT8OID, -1, 0);
	TupleDescInitEntry(s->sortdesc, SORT_TIME, "time", INT8OID, -1, 0);
	TupleDescInitEntry(s->sortdesc, SORT_END, "end", INT8OID, -1, 0);
	TupleDescInitEntry(s->sortdesc, SORT_N, "n", INT8OID, -1, 0);
	context->private = s;
	MemoryContextSwitchTo(oldcxt);
}

static void
sessionize_end(DeriveContext *context)
{
	Sessionize *s = context->private;

	if (s == NULL)
		return;
	derive_support_forget(&s->sessions);
	derive_support_forget(&s->clicks);
}

/* ---------- times ---------- */

/*
 * The last time that is still in the same session as a click at this time, and
 * the first one.  Infinite times are a gap away from all others.
 */
static int64
latest(const Sessionize *s, int64 time)
{
	int64		result;

	if (time == DT_NOBEGIN || time == DT_NOEND)
		return time;
	if (pg_add_s64_overflow(time, s->gap, &result) || result == DT_NOEND)
		return DT_NOEND - 1;
	return result;
}

static int64
earliest(const Sessionize *s, int64 time)
{
	int64		result;

	if (time == DT_NOBEGIN || time == DT_NOEND)
		return time;
	if (pg_sub_s64_overflow(time, s->gap, &result) || result == DT_NOBEGIN)
		return DT_NOBEGIN + 1;
	return result;
}

/* ---------- lists of sessions ---------- */

static Session *
append_session(SessionList *list)
{
	if (list->n == list->size)
	{
		list->size = Max(8, list->size * 2);
		if (list->items == NULL)
			list->items = palloc(list->size * sizeof(Session));
		else
			list->items = repalloc_huge(list->items, list->size * sizeof(Session));
	}
	return &list->items[list->n++];
}

/* Clicks in order of their time: continue the last session, or begin one. */
static void
append_click(const Sessionize *s, SessionList *list, int64 time, int64 n)
{
	Session    *last = list->n > 0 ? &list->items[list->n - 1] : NULL;

	if (last == NULL || time > latest(s, last->end))
	{
		last = append_session(list);
		last->start = time;
		last->n = 0;
	}
	last->end = time;
	last->n += n;
}

/* ---------- the view ---------- */

static void
write_session(Sessionize *s, Datum user, const Session *session, bool isnew)
{
	DeriveContext *context = s->context;
	Datum		values[4] = {user, Int64GetDatum(session->start), Int64GetDatum(session->end),
	Int64GetDatum(session->n)};
	bool		isnull[4] = {false};

	if (isnew)
		context->insert(context, DERIVE_VIEW, values, isnull);
	else
		context->put(context, DERIVE_VIEW, values, isnull);
}

static void
remove_session(Sessionize *s, Datum user, const Session *session)
{
	Datum		key[2] = {user, Int64GetDatum(session->start)};
	bool		isnull[2] = {false};

	if (!s->context->remove(s->context, DERIVE_VIEW, key, isnull))
		elog(ERROR, "a session is not in the view any more");
}

/* Put the sessions "made" in the place of "old"; both are sorted. */
static void
replace_sessions(Sessionize *s, Datum user, const Session *old, int nold, const Session *made, int nmade)
{
	int			i = 0;
	int			j = 0;

	while (i < nold || j < nmade)
	{
		if (j == nmade || (i < nold && old[i].start < made[j].start))
			remove_session(s, user, &old[i++]);
		else if (i == nold || made[j].start < old[i].start)
			write_session(s, user, &made[j++], true);
		else
		{
			if (old[i].end != made[j].end || old[i].n != made[j].n)
				write_session(s, user, &made[j], false);
			i++;
			j++;
		}
	}
}

/* ---------- reading by SQL ---------- */

static int64
int_of(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static void
receive_session(void *arg, HeapTuple row, TupleDesc desc)
{
	Session    *session = append_session(arg);

	session->start = int_of(row, desc, 1);
	session->end = int_of(row, desc, 2);
	session->n = int_of(row, desc, 3);
}

/* Sessions of the view that overlap the range, in order. */
static void
find_sessions(Sessionize *s, Datum user, int64 from, int64 to, SessionList *list)
{
	TupleDesc	desc = s->context->desc;
	Oid			types[3] = {s->usertype, s->timetype, s->timetype};
	Datum		values[3] = {user, Int64GetDatum(from), Int64GetDatum(to)};
	const char *start = derive_support_attribute(desc, 2);
	const char *end = derive_support_attribute(desc, 3);
	char	   *sql;

	sql = psprintf("SELECT %s, %s, %s FROM %s WHERE %s %s $1 AND %s >= $2 AND %s <= $3 ORDER BY %s",
				   start, end, derive_support_attribute(desc, 4),
				   derive_support_relation(s->context->view),
				   derive_support_attribute(desc, 1), derive_support_equals(s->usertype),
				   end, start, start);
	derive_support_each(derive_support_prepare(s->context, &s->sessions, sql, 3, types),
						values, NULL, receive_session, list);
}

typedef struct ClickReceiver
{
	Sessionize *s;
	SessionList *list;
} ClickReceiver;

static void
receive_click(void *arg, HeapTuple row, TupleDesc desc)
{
	ClickReceiver *receiver = arg;

	append_click(receiver->s, receiver->list, int_of(row, desc, 1), 1);
}

/* Make sessions of the clicks that the source has in a range. */
static void
read_sessions(Sessionize *s, Datum user, int64 from, int64 to, SessionList *list)
{
	DeriveContextSource *source = &s->context->sources[0];
	const char *time = derive_support_attribute(source->desc, s->time);
	Oid			types[3] = {s->usertype, s->timetype, s->timetype};
	Datum		values[3] = {user, Int64GetDatum(from), Int64GetDatum(to)};
	ClickReceiver receiver = {s, list};
	char	   *sql;

	sql = psprintf("SELECT %s FROM %s WHERE %s %s $1 AND %s >= $2 AND %s <= $3 ORDER BY %s",
				   time, derive_support_relation(source->relid),
				   derive_support_attribute(source->desc, s->user), derive_support_equals(s->usertype),
				   time, time, time);
	derive_support_each(derive_support_prepare(s->context, &s->clicks, sql, 3, types),
						values, NULL, receive_click, &receiver);
}

/* ---------- one user ---------- */

/*
 * Bring the sessions of a user up to date.  The points (start = end = time,
 * n = weight, never 0) are sorted and not none.
 */
static void
update_user(Sessionize *s, Datum user, const SessionList *points)
{
	SessionList old = {0};
	int			i = 0;
	int			j = 0;

	find_sessions(s, user, earliest(s, points->items[0].start),
				  latest(s, points->items[points->n - 1].start), &old);

	while (i < points->n)
	{
		Session		chain = points->items[i++];
		bool		lost = chain.n < 0;
		SessionList made = {0};
		int			first;

		while (j < old.n && old.items[j].end < earliest(s, chain.start))
			j++;
		first = j;
		for (;;)
		{
			const Session *next;

			if (j < old.n && old.items[j].start <= latest(s, chain.end))
				next = &old.items[j++];
			else if (i < points->n && points->items[i].start <= latest(s, chain.end))
			{
				next = &points->items[i++];
				lost = lost || next->n < 0;
			}
			else
				break;
			chain.start = Min(chain.start, next->start);
			chain.end = Max(chain.end, next->end);
			chain.n += next->n;
		}
		if (lost)
			read_sessions(s, user, chain.start, chain.end, &made);
		else
			*append_session(&made) = chain;
		replace_sessions(s, user, old.items + first, j - first, made.items, made.n);
	}
}

/* ---------- the sort ---------- */

static Tuplesortstate *
begin_sort(Sessionize *s)
{
	AttrNumber	attrs[] = {SORT_USER, SORT_KIND, SORT_TIME};
	Oid			intless = lookup_type_cache(INT8OID, TYPECACHE_LT_OPR)->lt_opr;
	Oid			operators[] = {lookup_type_cache(s->usertype, TYPECACHE_LT_OPR)->lt_opr, intless, intless};
	Oid			collations[] = {TupleDescAttr(s->sortdesc, SORT_USER - 1)->attcollation, InvalidOid, InvalidOid};
	bool		nullsfirst[3] = {false};

	return tuplesort_begin_heap(s->sortdesc, 3, attrs, operators, collations, nullsfirst,
								work_mem, NULL, TUPLESORT_RANDOMACCESS);
}

static void
sort_row(Sessionize *s, Datum user, RowKind kind, int64 time, int64 end, int64 n)
{
	TupleTableSlot *slot = s->slot;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, SORT_NATTS * sizeof(bool));
	slot->tts_values[SORT_USER - 1] = user;
	slot->tts_values[SORT_KIND - 1] = Int64GetDatum(kind);
	slot->tts_values[SORT_TIME - 1] = Int64GetDatum(time);
	slot->tts_values[SORT_END - 1] = Int64GetDatum(end);
	slot->tts_values[SORT_N - 1] = Int64GetDatum(n);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(s->sort, slot);
	ExecClearTuple(slot);
}

/* Add a row of the source; false if it belongs to no session. */
static bool
sort_source_row(Sessionize *s, TupleTableSlot *row, RowKind kind, int64 n)
{
	bool		nouser;
	bool		notime;
	Datum		user = slot_getattr(row, s->user, &nouser);
	Datum		time = slot_getattr(row, s->time, &notime);

	if (nouser || notime)
		return false;
	sort_row(s, user, kind, DatumGetInt64(time), 0, n);
	return true;
}

static void
sort_click(void *arg, TupleTableSlot *row)
{
	sort_source_row(arg, row, ROW_CLICK, 1);
}

static void
sort_session(void *arg, TupleTableSlot *row)
{
	slot_getallattrs(row);
	/* we wrote none */
	for (int i = 0; i < 4; i++)
	{
		if (row->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("a session in the view has NULL")));
	}
	sort_row(arg, row->tts_values[0], ROW_SESSION, DatumGetInt64(row->tts_values[1]),
			 DatumGetInt64(row->tts_values[2]), DatumGetInt64(row->tts_values[3]));
}

static int64
sorted_int(TupleTableSlot *slot, AttrNumber attno)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(slot, attno, &isnull));
}

static bool
same_user(const Sessionize *s, Datum a, Datum b)
{
	return datum_image_eq(a, b, s->userbyval, s->userlen);
}

/* What the sort has about one user. */
typedef struct UserRows
{
	Datum		user;
	SessionList points;			/* changes, netted by time */
	SessionList old;			/* sessions of the view */
	SessionList made;			/* sessions made of clicks of the source */
	bool		touched;
} UserRows;

static void
add_point(SessionList *points, int64 time, int64 n)
{
	Session    *last = points->n > 0 ? &points->items[points->n - 1] : NULL;

	if (last == NULL || last->start != time)
	{
		last = append_session(points);
		last->start = last->end = time;
		last->n = 0;
	}
	last->n += n;
}

/* Changes come first: forget those that cancel out before others come. */
static void
add_sorted(Sessionize *s, UserRows *rows, TupleTableSlot *slot)
{
	int64		time = sorted_int(slot, SORT_TIME);
	int64		n = sorted_int(slot, SORT_N);
	Session    *session;

	switch ((RowKind) sorted_int(slot, SORT_KIND))
	{
		case ROW_CHANGE:
			rows->touched = true;
			if (s->context->building)
				append_click(s, &rows->made, time, n);
			else
				add_point(&rows->points, time, n);
			break;
		case ROW_SESSION:
			if (!rows->touched)
				break;
			session = append_session(&rows->old);
			session->start = time;
			session->end = sorted_int(slot, SORT_END);
			session->n = n;
			break;
		case ROW_CLICK:
			if (rows->touched)
				append_click(s, &rows->made, time, n);
			break;
	}
}

static void
finish_user(Sessionize *s, UserRows *rows, bool everything)
{
	SessionList *points = &rows->points;
	int			n = 0;

	if (everything)
	{
		replace_sessions(s, rows->user, rows->old.items, rows->old.n, rows->made.items, rows->made.n);
		return;
	}
	for (int i = 0; i < points->n; i++)
	{
		if (points->items[i].n != 0)
			points->items[n++] = points->items[i];
	}
	points->n = n;
	if (n > 0)
		update_user(s, rows->user, points);
}

/*
 * Go through the sort, user by user.  everything: it has what is needed to
 * make the sessions of all touched users, else the view and the source are
 * asked.
 */
static void
work_off(Sessionize *s, bool everything)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "sessionize user",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcxt = MemoryContextSwitchTo(cxt);
	UserRows	rows = {0};
	bool		some = false;

	while (tuplesort_gettupleslot(s->sort, true, false, s->slot, NULL))
	{
		bool		isnull;
		Datum		user = slot_getattr(s->slot, SORT_USER, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (some && !same_user(s, rows.user, user))
		{
			finish_user(s, &rows, everything);
			MemoryContextReset(cxt);
			some = false;
		}
		if (!some)
		{
			memset(&rows, 0, sizeof(rows));
			rows.user = datumCopy(user, s->userbyval, s->userlen);
			some = true;
		}
		add_sorted(s, &rows, s->slot);
	}
	if (some)
		finish_user(s, &rows, everything);
	MemoryContextSwitchTo(oldcxt);
	MemoryContextDelete(cxt);
}

static int64
count_users(Sessionize *s)
{
	Datum		last = (Datum) 0;
	int64		n = 0;

	while (tuplesort_gettupleslot(s->sort, true, false, s->slot, NULL))
	{
		bool		isnull;
		Datum		user = slot_getattr(s->slot, SORT_USER, &isnull);

		if (n > 0 && same_user(s, last, user))
			continue;
		if (n > 0 && !s->userbyval)
			pfree(DatumGetPointer(last));
		last = datumCopy(user, s->userbyval, s->userlen);
		n++;
	}
	tuplesort_rescan(s->sort);
	return n;
}

/* Sort the changes again, together with the whole view and the whole source. */
static void
sort_everything(Sessionize *s)
{
	DeriveContext *context = s->context;
	Tuplesortstate *changes = s->sort;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(s->sortdesc, &TTSOpsMinimalTuple);

	s->sort = begin_sort(s);
	while (tuplesort_gettupleslot(changes, true, false, slot, NULL))
		tuplesort_puttupleslot(s->sort, slot);
	tuplesort_end(changes);
	ExecDropSingleTupleTableSlot(slot);
	context->read_table(context, DERIVE_VIEW, sort_session, s);
	context->read_source(context, 0, sort_click, s);
	tuplesort_performsort(s->sort);
}

/* ---------- the callbacks ---------- */

static bool
same_click(const Sessionize *s, TupleTableSlot *a, TupleTableSlot *b)
{
	bool		anull;
	bool		bnull;
	Datum		auser = slot_getattr(a, s->user, &anull);
	Datum		buser = slot_getattr(b, s->user, &bnull);

	if (anull || bnull || !same_user(s, auser, buser))
		return false;
	return slot_getattr(a, s->time, &anull) == slot_getattr(b, s->time, &bnull) && !anull && !bnull;
}

static bool
sort_changes(Sessionize *s)
{
	DeriveContext *context = s->context;
	DeriveChange change;
	bool		some = false;

	while (context->next_change(context, &change))
	{
		if (change.oldrow && change.newrow && same_click(s, change.oldrow, change.newrow))
			continue;
		if (change.oldrow)
			some |= sort_source_row(s, change.oldrow, ROW_CHANGE, -1);
		if (change.newrow)
			some |= sort_source_row(s, change.newrow, ROW_CHANGE, 1);
	}
	return some;
}

static void
sessionize_apply(DeriveContext *context)
{
	Sessionize *s = context->private;
	TupleTableSlot *reading = MakeSingleTupleTableSlot(s->sortdesc, &TTSOpsMinimalTuple);
	TupleTableSlot *writing = MakeSingleTupleTableSlot(s->sortdesc, &TTSOpsVirtual);
	bool		everything = context->building;
	DeriveSupportConnection connection;

	s->sort = begin_sort(s);
	s->slot = writing;
	if (sort_changes(s))
	{
		tuplesort_performsort(s->sort);
		s->slot = reading;
		if (!context->building)
		{
			int64		nusers = count_users(s);

			everything = nusers > MANY_USERS && nusers > derive_support_estimate_rows(context->view) / 16;
		}
		if (everything && !context->building)
		{
			s->slot = writing;
			sort_everything(s);
			s->slot = reading;
		}
		connection = derive_support_connect();
		work_off(s, everything);
		derive_support_finish(connection);
	}
	tuplesort_end(s->sort);
	s->sort = NULL;
	ExecDropSingleTupleTableSlot(reading);
	ExecDropSingleTupleTableSlot(writing);
}

static void
sessionize_explain(DeriveContext *context, StringInfo text)
{
	Sessionize *s = context->private;
	TupleDesc	desc = context->sources[0].desc;
	const char *source = derive_support_relation(context->sources[0].relid);
	const char *user = derive_support_attribute(desc, s->user);

	appendStringInfo(text, "new clicks: look up the sessions of the user in the view\n");
	appendStringInfo(text, "deleted and moved clicks: read the session's clicks from %s again; an index on %s (%s, %s) serves that\n",
					 source, source, user, derive_support_attribute(desc, s->time));
}

static const DeriveRoutine sessionize_routine = {
	.api_version = DERIVE_API_VERSION,
	.flags = DERIVE_OF_CURRENT_ROWS,
	.columns = sessionize_columns,
	.declare = sessionize_declare,
	.apply = sessionize_apply,
	.end = sessionize_end,
	.explain = sessionize_explain
};

Datum
derive_sessionize_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&sessionize_routine);
}
