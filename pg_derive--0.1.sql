/* pg_derive--0.1.sql: materialized views that follow their tables */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_derive" to load this file. \quit

/* ----------------------------------------------------------------
 *		Internals: schema derive_state
 * ----------------------------------------------------------------
 */

CREATE SCHEMA derive_state;
COMMENT ON SCHEMA derive_state IS
	'internal state of pg_derive; nobody but pg_derive should touch it';

/*
 * What we keep are materialized views in name, as what people see of us is, and
 * written as those are.  So they are never published: a publication FOR ALL TABLES
 * would send them to subscribers, who do not have them and would stop.  REFRESH
 * finds that their query fails (this function returns false while the extension is
 * created).
 */
CREATE FUNCTION derive_state.is_written_by_us() RETURNS boolean
	AS 'MODULE_PATHNAME', 'derive_is_written_by_us'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE MATERIALIZED VIEW derive_state.views AS SELECT
	NULL::oid AS relid,
	NULL::"char" AS state,
	NULL::boolean AS rebuild,
	NULL::text AS error,
	NULL::timestamptz AS error_at,
	NULL::timestamptz AS created_at,
	NULL::pg_snapshot AS position,
	NULL::int8 AS epoch,
	NULL::int8 AS members,
	NULL::int8 AS basis,
	NULL::text[] AS settings,
	NULL::int8 AS program,
	NULL::"char" AS maintained,
	NULL::boolean AS timed,
	NULL::timestamptz AS as_of,
	NULL::boolean AS retry,
	NULL::oid AS replaces,
	NULL::timestamptz AS since,
	NULL::timestamptz AS behind_since,
	NULL::int4 AS crashes,
	NULL::timestamptz AS retry_at,
	NULL::int4 AS in_group
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX views_pkey ON derive_state.views (relid);
COMMENT ON MATERIALIZED VIEW derive_state.views IS 'the maintained views';
COMMENT ON COLUMN derive_state.views.relid IS 'the materialized view';
COMMENT ON COLUMN derive_state.views.state IS
	'b = building, c = filled and catching up, r = ready, p = paused, f = failed';
COMMENT ON COLUMN derive_state.views.rebuild IS 'compute it anew in the next batch';
COMMENT ON COLUMN derive_state.views.error IS 'why it failed';
COMMENT ON COLUMN derive_state.views.error_at IS 'when it failed';
COMMENT ON COLUMN derive_state.views.created_at IS 'when it was put under maintenance';
COMMENT ON COLUMN derive_state.views.position IS
	'the transactions that it contains, while these are not those of derive_state.position';
COMMENT ON COLUMN derive_state.views.epoch IS
	'life of the worker in which it was filled, while it is catching up; else 0';
COMMENT ON COLUMN derive_state.views.members IS
	'digest of the partitions and children of its tables';
COMMENT ON COLUMN derive_state.views.basis IS
	'digest of the files and definitions that its contents rest on, as last seen';
COMMENT ON COLUMN derive_state.views.settings IS
	'settings that it is evaluated under, as its declaration had them';
COMMENT ON COLUMN derive_state.views.program IS
	'digest of the program that its internal relations were made for, and filled by';
COMMENT ON COLUMN derive_state.views.maintained IS
	'i = incrementally, w = some part of it as a whole';
COMMENT ON COLUMN derive_state.views.timed IS 'its query depends on the time';
COMMENT ON COLUMN derive_state.views.as_of IS 'what now() is in its query, at its own position';
COMMENT ON COLUMN derive_state.views.retry IS 'it has failed, and the worker tries it again by itself';
COMMENT ON COLUMN derive_state.views.replaces IS 'the view whose place it is to take; NULL: none';
COMMENT ON COLUMN derive_state.views.since IS 'when its state began';
COMMENT ON COLUMN derive_state.views.behind_since IS
	'while it stands still: about when the oldest commit was that it lacks; NULL if it lacks none';
COMMENT ON COLUMN derive_state.views.crashes IS
	'so many times in a row it has failed because processes had crashed over it';
COMMENT ON COLUMN derive_state.views.retry_at IS
	'if it has failed by crashes: it is tried again then; else when it would have been, or NULL';
COMMENT ON COLUMN derive_state.views.in_group IS 'its group; 0 = the default group';

CREATE MATERIALIZED VIEW derive_state.groups AS SELECT
	NULL::int4 AS number,
	NULL::name AS name
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX groups_pkey ON derive_state.groups (number);
CREATE UNIQUE INDEX groups_name ON derive_state.groups (name);
COMMENT ON MATERIALIZED VIEW derive_state.groups IS 'groups of maintained views, but for the default group';
COMMENT ON COLUMN derive_state.groups.number IS 'by which all but people know it';
COMMENT ON COLUMN derive_state.groups.name IS 'by which people know it';

CREATE MATERIALIZED VIEW derive_state.moves AS SELECT
	NULL::oid AS view,
	NULL::timestamptz AS declared_at,
	NULL::int4 AS to_group
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX moves_pkey ON derive_state.moves (view);
COMMENT ON MATERIALIZED VIEW derive_state.moves IS 'views that are to move to another group';
COMMENT ON COLUMN derive_state.moves.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.moves.declared_at IS
	'derive_state.views.created_at; the row is void if they differ';
COMMENT ON COLUMN derive_state.moves.to_group IS 'the group';

CREATE MATERIALIZED VIEW derive_state.relations AS SELECT
	NULL::oid AS view,
	NULL::int4 AS operator,
	NULL::"char" AS role,
	NULL::oid AS relid
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX relations_pkey ON derive_state.relations (view, operator, role);
COMMENT ON MATERIALIZED VIEW derive_state.relations IS 'relations that belong to maintained views';
COMMENT ON COLUMN derive_state.relations.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.relations.operator IS 'number of the operator in the view''s program';
COMMENT ON COLUMN derive_state.relations.role IS
	's = state table, d = derived table, i = locator index';
COMMENT ON COLUMN derive_state.relations.relid IS 'the table or index';

CREATE MATERIALIZED VIEW derive_state.position WITH (fillfactor = 10) AS SELECT
	NULL::pg_snapshot AS snapshot,
	NULL::pg_lsn AS lsn,
	NULL::timestamptz AS committed_at,
	NULL::pg_snapshot AS held_since,
	NULL::timestamptz AS as_of,
	NULL::int8 AS cluster,
	NULL::int4 AS of_group
	WHERE derive_state.is_written_by_us();
COMMENT ON MATERIALIZED VIEW derive_state.position IS
	'where the views of each group stand; at most one row for each, written with every batch that changes a view of it';
COMMENT ON COLUMN derive_state.position.snapshot IS 'the transactions that the views contain';
COMMENT ON COLUMN derive_state.position.lsn IS
	'everything that committed before this is contained';
COMMENT ON COLUMN derive_state.position.committed_at IS 'when the last batch was written';
COMMENT ON COLUMN derive_state.position.held_since IS
	'old row versions are held since then without a gap, if the replication slot has an xmin; else NULL';
COMMENT ON COLUMN derive_state.position.as_of IS 'what now() is in the queries of the views';
COMMENT ON COLUMN derive_state.position.cluster IS 'the system identifier of the cluster whose positions these are';
COMMENT ON COLUMN derive_state.position.of_group IS 'the group';

CREATE MATERIALIZED VIEW derive_state.waiting WITH (fillfactor = 50) AS SELECT
	NULL::oid AS view,
	NULL::timestamptz AS declared_at,
	NULL::pg_snapshot AS position,
	NULL::pg_lsn AS lsn,
	NULL::timestamptz AS since,
	NULL::text AS reason,
	NULL::oid AS relation,
	NULL::text AS mode,
	NULL::timestamptz AS as_of,
	NULL::timestamptz AS behind_since
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX waiting_pkey ON derive_state.waiting (view);
COMMENT ON MATERIALIZED VIEW derive_state.waiting IS 'views that should move and cannot; written by the worker only';
COMMENT ON COLUMN derive_state.waiting.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.waiting.declared_at IS
	'derive_state.views.created_at; the row is void if they differ';
COMMENT ON COLUMN derive_state.waiting.position IS
	'the transactions that the view contains; NULL if it is to be computed anew';
COMMENT ON COLUMN derive_state.waiting.lsn IS
	'everything that committed before this is contained';
COMMENT ON COLUMN derive_state.waiting.since IS 'when it could not be moved for the first time';
COMMENT ON COLUMN derive_state.waiting.reason IS 'why';
COMMENT ON COLUMN derive_state.waiting.relation IS 'the relation whose lock it waits for, if that is it';
COMMENT ON COLUMN derive_state.waiting.mode IS 'the mode of that lock';
COMMENT ON COLUMN derive_state.waiting.as_of IS 'what now() is in its query, at that position';
COMMENT ON COLUMN derive_state.waiting.behind_since IS 'about when the oldest commit was that it lacks';

CREATE MATERIALIZED VIEW derive_state.lane WITH (fillfactor = 50) AS SELECT
	NULL::oid AS view,
	NULL::timestamptz AS declared_at,
	NULL::pg_snapshot AS position,
	NULL::pg_lsn AS lsn,
	NULL::timestamptz AS at,
	NULL::float8 AS duration,
	NULL::float8 AS whole,
	NULL::text AS error,
	NULL::timestamptz AS error_at,
	NULL::timestamptz AS as_of,
	NULL::timestamptz AS behind_since
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX lane_pkey ON derive_state.lane (view);
COMMENT ON MATERIALIZED VIEW derive_state.lane IS
	'views that are computed anew as a whole, and those that read them, each at a pace of its own';
COMMENT ON COLUMN derive_state.lane.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.lane.declared_at IS
	'derive_state.views.created_at; the row is void if they differ';
COMMENT ON COLUMN derive_state.lane.position IS
	'the transactions that the view contains; NULL if it is to be filled';
COMMENT ON COLUMN derive_state.lane.lsn IS 'everything that committed before this is contained';
COMMENT ON COLUMN derive_state.lane.at IS 'when that was so';
COMMENT ON COLUMN derive_state.lane.duration IS 'how long it took to compute it the last time, in ms';
COMMENT ON COLUMN derive_state.lane.whole IS 'how much of that was for parts that have no incremental operator, in ms';
COMMENT ON COLUMN derive_state.lane.error IS 'why it could not be computed the last time';
COMMENT ON COLUMN derive_state.lane.error_at IS 'when that was';
COMMENT ON COLUMN derive_state.lane.as_of IS 'what now() is in its query, at that position';
COMMENT ON COLUMN derive_state.lane.behind_since IS
	'about when the oldest commit was that it lacks, if it could not be computed';

CREATE MATERIALIZED VIEW derive_state.stale AS SELECT
	NULL::oid AS view,
	NULL::"char" AS kind,
	NULL::timestamptz AS behind_since
	WHERE derive_state.is_written_by_us();
CREATE INDEX stale_view ON derive_state.stale (view);
COMMENT ON MATERIALIZED VIEW derive_state.stale IS
	'views in derive_state.lane that are to be computed anew';
COMMENT ON COLUMN derive_state.stale.view IS 'the materialized view; there may be several rows of one';
COMMENT ON COLUMN derive_state.stale.kind IS
	'c = something that it reads has changed, f = a view in derive_state.lane that it reads is stale, r = subscribers must start anew, too';
COMMENT ON COLUMN derive_state.stale.behind_since IS 'about when the oldest of these changes was committed';

CREATE MATERIALIZED VIEW derive_state.identities AS SELECT
	NULL::oid AS relid,
	NULL::"char" AS identity,
	NULL::oid AS index
	WHERE derive_state.is_written_by_us();
COMMENT ON MATERIALIZED VIEW derive_state.identities IS
	'the tables that got REPLICA IDENTITY FULL for a view, until they get back what they had';
COMMENT ON COLUMN derive_state.identities.relid IS 'the table';
COMMENT ON COLUMN derive_state.identities.identity IS 'what it had, as in pg_class.relreplident';
COMMENT ON COLUMN derive_state.identities.index IS 'that index, if it was one; else 0';

REVOKE ALL ON derive_state.views, derive_state.groups, derive_state.moves, derive_state.relations, derive_state.position,
	derive_state.waiting, derive_state.lane, derive_state.stale, derive_state.identities FROM PUBLIC;

CREATE MATERIALIZED VIEW derive_state.journals AS SELECT
	NULL::oid AS view,
	NULL::boolean AS active,
	NULL::int8 AS floor,
	NULL::int8 AS id
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX journals_pkey ON derive_state.journals (view);
COMMENT ON MATERIALIZED VIEW derive_state.journals IS 'views whose changes are kept for subscribers';
COMMENT ON COLUMN derive_state.journals.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.journals.active IS 'every change of the view is written';
COMMENT ON COLUMN derive_state.journals.floor IS
	'changes up to this number are not there, or no longer';
COMMENT ON COLUMN derive_state.journals.id IS
	'tells it from an earlier one of the same view';

CREATE MATERIALIZED VIEW derive_state.changes WITH (vacuum_truncate = off) AS SELECT
	NULL::oid AS view,
	NULL::int8 AS seq,
	NULL::int8 AS total,
	NULL::pg_lsn AS lsn,
	NULL::timestamptz AS at,
	NULL::bytea AS old,
	NULL::bytea AS new
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX changes_pkey ON derive_state.changes (view, seq);
COMMENT ON MATERIALIZED VIEW derive_state.changes IS 'changes of the views in journals, in order';
COMMENT ON COLUMN derive_state.changes.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.changes.seq IS 'number of the change';
COMMENT ON COLUMN derive_state.changes.total IS 'bytes of all changes up to this one';
COMMENT ON COLUMN derive_state.changes.lsn IS
	'with this change the view contains everything that committed before this';
COMMENT ON COLUMN derive_state.changes.at IS 'when it was made';
COMMENT ON COLUMN derive_state.changes.old IS 'the row that went, as a value of the view''s row type';
COMMENT ON COLUMN derive_state.changes.new IS 'the row that came';

CREATE MATERIALIZED VIEW derive_state.subscriptions WITH (fillfactor = 10) AS SELECT
	NULL::name AS name,
	NULL::oid AS view,
	NULL::int8 AS journal,
	NULL::oid AS owner,
	NULL::int8 AS position,
	NULL::pg_lsn AS lsn,
	NULL::timestamptz AS created_at,
	NULL::timestamptz AS polled_at,
	NULL::int8 AS spooled,
	NULL::int8 AS spool_size
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX subscriptions_pkey ON derive_state.subscriptions (name);
COMMENT ON MATERIALIZED VIEW derive_state.subscriptions IS 'who has got which changes';
COMMENT ON COLUMN derive_state.subscriptions.name IS 'name of the subscription';
COMMENT ON COLUMN derive_state.subscriptions.view IS 'the materialized view';
COMMENT ON COLUMN derive_state.subscriptions.journal IS 'id of its journal';
COMMENT ON COLUMN derive_state.subscriptions.owner IS 'who may poll it';
COMMENT ON COLUMN derive_state.subscriptions.position IS
	'number of the last change that was delivered; NULL before the first delivery';
COMMENT ON COLUMN derive_state.subscriptions.lsn IS 'what the initial rows contain';
COMMENT ON COLUMN derive_state.subscriptions.created_at IS 'when it was created';
COMMENT ON COLUMN derive_state.subscriptions.polled_at IS 'when something was last delivered';
COMMENT ON COLUMN derive_state.subscriptions.spooled IS
	'number of the last initial row in the spool that was delivered';
COMMENT ON COLUMN derive_state.subscriptions.spool_size IS
	'bytes of rows that were spooled, while some are still to be delivered; else 0';

CREATE MATERIALIZED VIEW derive_state.spool AS SELECT
	NULL::name AS subscription,
	NULL::int8 AS n,
	NULL::bytea AS rows
	WHERE derive_state.is_written_by_us();
CREATE UNIQUE INDEX spool_pkey ON derive_state.spool (subscription, n);
COMMENT ON MATERIALIZED VIEW derive_state.spool IS 'initial rows that are still to be delivered';
COMMENT ON COLUMN derive_state.spool.subscription IS 'name of the subscription';
COMMENT ON COLUMN derive_state.spool.n IS 'number of the last one of these rows';
COMMENT ON COLUMN derive_state.spool.rows IS 'some values of the view''s row type, one after the other';

REVOKE ALL ON derive_state.journals, derive_state.changes, derive_state.subscriptions,
	derive_state.spool FROM PUBLIC;

CREATE FUNCTION derive_state.row_hash(record) RETURNS int8
	AS 'MODULE_PATHNAME', 'derive_row_hash_sql'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.row_hash(record) IS
	'hash of a row by the binary image of its values; for indexes by which rows of views are found';
CREATE FUNCTION derive_state.image("any") RETURNS bytea
	AS 'MODULE_PATHNAME', 'derive_image_sql'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.image("any") IS
	'the binary image of a value, by which values are told apart that are equal; see src/base/rowhash.c';

-- The first of the inputs, NULLs included; see src/derive/choice.c.
CREATE FUNCTION derive_state.first_add(internal, anyelement) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_first_add';
CREATE FUNCTION derive_state.first_get(internal, anyelement) RETURNS anyelement LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_first_get';
CREATE AGGREGATE derive_state.first(anyelement) (
	sfunc = derive_state.first_add, stype = internal, finalfunc = derive_state.first_get, finalfunc_extra, parallel = safe);

-- A sum that goes on from a value, the second one; see src/derive/sumfrom.c.
CREATE FUNCTION derive_state.sum_from_add(internal, numeric, numeric) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_sum_from_add';
CREATE AGGREGATE derive_state.sum_from(numeric, numeric) (
	sfunc = derive_state.sum_from_add, stype = internal, sspace = 128, finalfunc = pg_catalog.numeric_sum);

-- Values of row types in internal tables; see src/derive/hidden.c.
CREATE FUNCTION derive_state.row_image("any") RETURNS bytea
	AS 'MODULE_PATHNAME', 'derive_row_image_sql'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.row_image("any") IS 'a value of a row type as internal tables have it';
CREATE FUNCTION derive_state.row_of_image(bytea, internal) RETURNS record
	AS 'MODULE_PATHNAME', 'derive_row_of_image_sql'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.row_of_image(bytea, internal) IS 'the value of an image; cannot be called in SQL';

-- Floating-point sums that can be taken back; see src/derive/exactsum.c.
CREATE FUNCTION derive_state.exact_add(internal, real) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_add4';
CREATE FUNCTION derive_state.exact_add(internal, double precision) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_add8';
CREATE FUNCTION derive_state.exact_remove(internal, real) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_remove4';
CREATE FUNCTION derive_state.exact_remove(internal, double precision) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_remove8';
CREATE FUNCTION derive_state.exact_combine(internal, internal) RETURNS internal LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_combine';
CREATE FUNCTION derive_state.exact_serialize(internal) RETURNS bytea LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_serialize';
CREATE FUNCTION derive_state.exact_deserialize(bytea, internal) RETURNS internal LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_deserialize';
CREATE FUNCTION derive_state.exact_sum4(internal) RETURNS real LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_sum4';
CREATE FUNCTION derive_state.exact_sum8(internal) RETURNS double precision LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_sum8';
CREATE FUNCTION derive_state.exact_avg(internal) RETURNS double precision LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'derive_exact_avg';
CREATE AGGREGATE derive_state.exact_sum(real) (
	sfunc = derive_state.exact_add, stype = internal, sspace = 600, finalfunc = derive_state.exact_sum4,
	combinefunc = derive_state.exact_combine, serialfunc = derive_state.exact_serialize, deserialfunc = derive_state.exact_deserialize,
	msfunc = derive_state.exact_add, minvfunc = derive_state.exact_remove, mstype = internal, mfinalfunc = derive_state.exact_sum4, parallel = safe);
CREATE AGGREGATE derive_state.exact_sum(double precision) (
	sfunc = derive_state.exact_add, stype = internal, sspace = 600, finalfunc = derive_state.exact_sum8,
	combinefunc = derive_state.exact_combine, serialfunc = derive_state.exact_serialize, deserialfunc = derive_state.exact_deserialize,
	msfunc = derive_state.exact_add, minvfunc = derive_state.exact_remove, mstype = internal, mfinalfunc = derive_state.exact_sum8, parallel = safe);
CREATE AGGREGATE derive_state.exact_avg(real) (
	sfunc = derive_state.exact_add, stype = internal, sspace = 600, finalfunc = derive_state.exact_avg,
	combinefunc = derive_state.exact_combine, serialfunc = derive_state.exact_serialize, deserialfunc = derive_state.exact_deserialize,
	msfunc = derive_state.exact_add, minvfunc = derive_state.exact_remove, mstype = internal, mfinalfunc = derive_state.exact_avg, parallel = safe);
CREATE AGGREGATE derive_state.exact_avg(double precision) (
	sfunc = derive_state.exact_add, stype = internal, sspace = 600, finalfunc = derive_state.exact_avg,
	combinefunc = derive_state.exact_combine, serialfunc = derive_state.exact_serialize, deserialfunc = derive_state.exact_deserialize,
	msfunc = derive_state.exact_add, minvfunc = derive_state.exact_remove, mstype = internal, mfinalfunc = derive_state.exact_avg, parallel = safe);


CREATE FUNCTION derive_state.counters(
	OUT view oid,
	OUT batches int8,
	OUT changes_in int8,
	OUT rows_inserted int8,
	OUT rows_updated int8,
	OUT rows_deleted int8,
	OUT delta_ms float8,
	OUT apply_ms float8,
	OUT last_batch_ms float8,
	OUT last_batch_at timestamptz,
	OUT reset_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_counters_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION derive_state.counters() IS 'statistics of the views; see derive.stats';

CREATE FUNCTION derive_state.service(
	OUT of_group int4,
	OUT pid int4,
	OUT state text,
	OUT activity text,
	OUT lsn pg_lsn,
	OUT lag_bytes int8,
	OUT error text,
	OUT error_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_service_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION derive_state.service() IS 'the worker of each group of this database; see derive.worker';

CREATE FUNCTION derive_state.slot_of(of_group int4) RETURNS name
	AS 'MODULE_PATHNAME', 'derive_slot_of_sql'
	LANGUAGE C STRICT STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION derive_state.slot_of(int4) IS 'the name of the replication slot of a group';

CREATE FUNCTION derive_state.verifications(
	OUT view oid,
	OUT pid int4,
	OUT phase text,
	OUT started_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_verifications_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION derive_state.verifications() IS 'views that are compared with their queries; see derive.progress';

CREATE FUNCTION derive_state.standings(
	OUT view oid,
	OUT state text,
	OUT waiting_for text,
	OUT since timestamptz,
	OUT lag interval,
	OUT pid int4,
	OUT phase text,
	OUT lockers_total int8,
	OUT lockers_done int8,
	OUT blocked_by int4[],
	OUT blocks_total int8,
	OUT blocks_done int8,
	OUT tuples_total int8,
	OUT tuples_done int8,
	OUT percent int4,
	OUT remaining interval,
	OUT started_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_standings_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION derive_state.standings() IS
	'where the views stand and what they wait for; see derive.views and derive.progress';

CREATE FUNCTION derive_state.size_of(view oid) RETURNS int8
	AS 'MODULE_PATHNAME', 'derive_size_of_sql'
	LANGUAGE C STRICT STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION derive_state.size_of(oid) IS 'bytes of a view and of all that is kept for it; NULL while it is locked';

CREATE FUNCTION derive_state.query_of(view oid) RETURNS text
	AS 'MODULE_PATHNAME', 'derive_query_of_sql'
	LANGUAGE C STRICT STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive_state.query_of(oid) IS 'the query of a view, for who may see it; NULL while something in it is locked';

/* ----------------------------------------------------------------
 *		For people: schema derive
 *
 * The functions that take a query or a name resolve it by the caller's own
 * search_path, so they must not set one.  All of them are written in C and
 * check the caller's rights themselves.
 * ----------------------------------------------------------------
 */

CREATE SCHEMA derive;
COMMENT ON SCHEMA derive IS 'materialized views that follow their tables';

CREATE FUNCTION derive.create_view(
	name text,
	query text,
	if_not_exists boolean DEFAULT false,
	with_data boolean DEFAULT true)
	RETURNS regclass
	AS 'MODULE_PATHNAME', 'derive_create_view_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.create_view(text, text, boolean, boolean) IS
	'create a materialized view and keep it fresh; it is filled after commit, or without data when derive.resume() is called';

-- A literal of unknown type is text for the parser, rather than boolean or an array.
CREATE FUNCTION derive.create_view(
	name text,
	derivation text,
	sources text,
	columns text DEFAULT NULL,
	key text[] DEFAULT NULL,
	options jsonb DEFAULT NULL,
	if_not_exists boolean DEFAULT false,
	with_data boolean DEFAULT true)
	RETURNS regclass
	AS 'MODULE_PATHNAME', 'derive_create_derived_view_of_text_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.create_view(text, text, text, text, text[], jsonb, boolean, boolean) IS
	'create a view that a derivation maintains, see derive.derivations; its sources are one name, or several as {a, b}';

CREATE FUNCTION derive.create_view(
	name text,
	derivation text,
	sources regclass[],
	columns text DEFAULT NULL,
	key text[] DEFAULT NULL,
	options jsonb DEFAULT NULL,
	if_not_exists boolean DEFAULT false,
	with_data boolean DEFAULT true)
	RETURNS regclass
	AS 'MODULE_PATHNAME', 'derive_create_derived_view_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.create_view(text, text, regclass[], text, text[], jsonb, boolean, boolean) IS
	'the same with sources as an array';

CREATE FUNCTION derive.replace_view(view regclass, query text) RETURNS regclass
	AS 'MODULE_PATHNAME', 'derive_replace_view_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.replace_view(regclass, text) IS
	'give a view another query, with the same columns or more at the end; the old one serves until the new one is built. The present one: give up what is being built';

CREATE FUNCTION derive_state.relation_to_replace(name text) RETURNS regclass
	AS 'MODULE_PATHNAME', 'derive_relation_to_replace_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive_state.relation_to_replace(text) IS
	'the relation that has the name which a new view would have';

CREATE FUNCTION derive.create_or_replace_view(name text, query text) RETURNS regclass
	LANGUAGE sql CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE
	RETURN CASE WHEN derive_state.relation_to_replace(name) IS NULL THEN derive.create_view(name, query)
		ELSE derive.replace_view(derive_state.relation_to_replace(name), query) END;
COMMENT ON FUNCTION derive.create_or_replace_view(text, text) IS
	'derive.replace_view() of the view of this name, or derive.create_view() if there is none';

CREATE FUNCTION derive.wait_replaced(view regclass, timeout interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'derive_wait_replaced_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.wait_replaced(regclass, interval) IS
	'wait until a view has the query that derive.replace_view() gave it; false on timeout, an error if that has failed';

CREATE FUNCTION derive.apply(
	derivation text,
	sources regclass[],
	key text[],
	options jsonb)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_apply_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.apply(text, regclass[], text[], jsonb) IS
	'what a derivation makes of the rows that its sources have now; defines the views of derivations';

CREATE FUNCTION derive.maintain(view regclass) RETURNS regclass
	AS 'MODULE_PATHNAME', 'derive_maintain_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.maintain(regclass) IS
	'keep an existing materialized view fresh from now on';

CREATE FUNCTION derive.release(view regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_release_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.release(regclass) IS
	'stop maintaining a view; it stays as an ordinary materialized view';

CREATE FUNCTION derive.drop_view(
	name text,
	if_exists boolean DEFAULT false,
	cascade boolean DEFAULT false)
	RETURNS void
	AS 'MODULE_PATHNAME', 'derive_drop_view_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.drop_view(text, boolean, boolean) IS
	'drop a maintained view with all that is kept for it, and with cascade what depends on it';

CREATE FUNCTION derive.pause(view regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_pause_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.pause(regclass) IS
	'let a view stand still until derive.resume()';

CREATE FUNCTION derive.resume(view regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_resume_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.resume(regclass) IS
	'bring a paused or failed view to the present and keep it fresh again';

CREATE FUNCTION derive.repair(view regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_repair_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.repair(regclass) IS
	'compute a view anew, change what differs, and wait until that is done';

CREATE FUNCTION derive.wait(
	view regclass DEFAULT NULL,
	timeout interval DEFAULT NULL,
	lsn pg_lsn DEFAULT NULL)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'derive_wait_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.wait(regclass, interval, pg_lsn) IS
	'wait until a view, or all that one may read, contain what was committed before the call or the LSN; false on timeout';

CREATE FUNCTION derive.verify(
	view regclass DEFAULT NULL,
	timeout interval DEFAULT NULL)
	RETURNS TABLE (view regclass, missing bigint, extra bigint)
	AS 'MODULE_PATHNAME', 'derive_verify_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.verify(regclass, interval) IS
	'compare a view, or all that one may read, with its query; 0 missing and 0 extra rows mean equal; an error on timeout';

CREATE FUNCTION derive.create_group(name name) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_create_group_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.create_group(name) IS
	'create a group of views, which a process of its own maintains';

CREATE FUNCTION derive.drop_group(name name, if_exists boolean DEFAULT false) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_drop_group_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.drop_group(name, boolean) IS
	'drop a group that has no views';

CREATE FUNCTION derive.move(view regclass, to_group name) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_move_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.move(regclass, name) IS
	'move a view, and all that it reads or that read it, to another group after commit, while it is maintained; to its own: give that up';

CREATE FUNCTION derive.wait_moved(view regclass, timeout interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'derive_wait_moved_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.wait_moved(regclass, interval) IS
	'wait until a view is in the group that derive.move() named; false on timeout, an error if the move is given up';

CREATE FUNCTION derive.explain(view regclass) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'derive_explain_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.explain(regclass) IS 'show how a view is maintained';

CREATE FUNCTION derive.plan(query text) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'derive_plan_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.plan(text) IS 'show how a view of this query would be maintained';

CREATE FUNCTION derive.reset_stats(view regclass DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_reset_stats_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION derive.reset_stats(regclass) IS
	'begin to count anew in derive.stats: for a view, or all that the caller owns';

CREATE FUNCTION derive.check(
	OUT setting text,
	OUT value text,
	OUT needed text,
	OUT ok boolean,
	OUT remedy text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_check_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 8;
COMMENT ON FUNCTION derive.check() IS
	'whether the server is set up for maintained views: what must be, what is, and what to do where that differs';

CREATE FUNCTION derive.subscribe(view regclass, subscriber text) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_subscribe_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.subscribe(regclass, text) IS
	'keep the changes of a view for a subscriber, who gets them by derive.poll()';

CREATE FUNCTION derive.unsubscribe(subscriber text) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_unsubscribe_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.unsubscribe(text) IS 'give up a subscription';

CREATE FUNCTION derive.poll(
	subscriber text,
	max_rows int4 DEFAULT 1000,
	timeout interval DEFAULT '0')
	RETURNS TABLE (operation text, old jsonb, new jsonb, lsn pg_lsn, omitted text[])
	AS 'MODULE_PATHNAME', 'derive_poll_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.poll(text, int4, interval) IS
	'the rows of the view, then its changes in order, each once; wait for them until the timeout';

CREATE VIEW derive_state.view_states AS
	SELECT v.relid::pg_catalog.regclass AS view,
		n.nspname AS schema,
		c.relname AS name,
		s.state,
		s.waiting_for,
		CASE v.maintained WHEN 'w' THEN 'as a whole' ELSE 'incrementally' END AS maintained,
		s.lag,
		CASE
			WHEN v.error IS NOT NULL THEN v.position
			WHEN v.state NOT IN ('b', 'c') AND v.rebuild THEN v.position
			WHEN v.state NOT IN ('b', 'c') AND (w.since IS NULL OR w.position IS NOT NULL)
				THEN coalesce(v.position, w.position, l.position, p.snapshot)
		END AS position,
		CASE
			WHEN v.state = 'r' AND v.position IS NULL AND NOT v.rebuild AND (w.since IS NULL OR w.position IS NOT NULL)
				THEN CASE WHEN l.view IS NULL THEN coalesce(w.lsn, p.lsn) ELSE l.lsn END
		END AS lsn,
		CASE WHEN c.relispopulated THEN
			coalesce(nullif(pg_catalog.pg_stat_get_live_tuples(v.relid), 0), nullif(c.reltuples, -1)::int8)
		END AS rows,
		derive_state.size_of(v.relid) AS size,
		CASE WHEN m.may_see THEN coalesce(v.error, l.error) END AS error,
		coalesce(v.error_at, l.error_at) AS error_at,
		pg_catalog.date_trunc('second', s.since) AS since,
		v.created_at,
		CASE WHEN m.may_see THEN v.settings END AS settings,
		CASE
			WHEN NOT v.timed THEN NULL
			WHEN v.error IS NOT NULL THEN v.as_of
			WHEN v.state IN ('b', 'c') THEN NULL
			WHEN v.position IS NOT NULL THEN v.as_of
			WHEN w.position IS NOT NULL THEN w.as_of
			WHEN l.position IS NOT NULL THEN l.as_of
			ELSE p.as_of
		END AS as_of,
		derive_state.query_of(v.relid) AS query,
		v.in_group,
		coalesce(g.name, 'default') AS group_name
	FROM derive_state.views v
		LEFT JOIN derive_state.groups g ON g.number OPERATOR(pg_catalog.=) v.in_group
		JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) v.relid
		JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
		LEFT JOIN derive_state.standings() s ON s.view OPERATOR(pg_catalog.=) v.relid
		LEFT JOIN derive_state.position p ON p.of_group OPERATOR(pg_catalog.=) v.in_group
		LEFT JOIN derive_state.waiting w ON w.view OPERATOR(pg_catalog.=) v.relid
			AND w.declared_at OPERATOR(pg_catalog.=) v.created_at AND v.state IN ('b', 'c', 'r')
		-- only those that have a position of their own now: the others are where all are
		LEFT JOIN derive_state.lane l ON l.view OPERATOR(pg_catalog.=) v.relid
			AND l.declared_at OPERATOR(pg_catalog.=) v.created_at AND v.state IN ('b', 'r')
			AND (l.error IS NOT NULL
				OR EXISTS (SELECT FROM derive_state.stale s WHERE s.view OPERATOR(pg_catalog.=) l.view))
		CROSS JOIN LATERAL (
			SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE')
				OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')) m(may_see);
COMMENT ON VIEW derive_state.view_states IS
	'all that can be said of the maintained views; derive.views is what of it is for people';
REVOKE ALL ON derive_state.view_states FROM PUBLIC;

CREATE VIEW derive.views AS
	SELECT v.view,
		v.state,
		v.waiting_for,
		v.maintained,
		v.lag,
		v.rows,
		v.size,
		v.error,
		v.error_at,
		v.since,
		v.as_of,
		v.query,
		v.group_name
	FROM derive_state.view_states v;
COMMENT ON VIEW derive.views IS 'the maintained views of this database';
COMMENT ON COLUMN derive.views.view IS 'the materialized view';
COMMENT ON COLUMN derive.views.state IS
	'queued, building, catching up (filled, but not with the others yet), ready, waiting (it cannot be moved now), rebuilding (it is computed anew), paused or failed';
COMMENT ON COLUMN derive.views.waiting_for IS
	'why it does not move, or what must happen first; without names of relations and messages unless one has the rights of its owner or of pg_read_all_stats';
COMMENT ON COLUMN derive.views.maintained IS
	'incrementally, or as a whole, if a change may cost as much as all of it; derive.explain() tells which parts';
COMMENT ON COLUMN derive.views.lag IS
	'age of the oldest commit that it does not contain; 0 if there is none; NULL while it is filled for the first time, and on a standby. If the worker does not answer, it may be too large by the time without commits before, up to 10 s, or since the last position was stored if the server was started meanwhile';
COMMENT ON COLUMN derive.views.rows IS 'rows, about; NULL if not known';
COMMENT ON COLUMN derive.views.size IS
	'bytes of the view, its indexes, and the tables that are kept for it; NULL while one of them is locked';
COMMENT ON COLUMN derive.views.error IS
	'why it failed; NULL unless one has the rights of its owner or of pg_read_all_stats';
COMMENT ON COLUMN derive.views.error_at IS 'when it failed';
COMMENT ON COLUMN derive.views.since IS 'when its state began';
COMMENT ON COLUMN derive.views.as_of IS
	'what now() is in its query: it is what its query was at that time; NULL if it does not depend on the time';
COMMENT ON COLUMN derive.views.query IS
	'its query; NULL unless one has the rights of its owner or of pg_read_all_stats, and while something in it is locked';
COMMENT ON COLUMN derive.views.group_name IS 'its group; see derive.create_group()';

CREATE VIEW derive.stats AS
	SELECT v.view,
		v.state,
		coalesce(s.batches, 0) AS batches,
		coalesce(s.changes_in, 0) AS changes_in,
		coalesce(s.rows_inserted, 0) AS rows_inserted,
		coalesce(s.rows_updated, 0) AS rows_updated,
		coalesce(s.rows_deleted, 0) AS rows_deleted,
		coalesce(pg_catalog.round(s.delta_ms::numeric, 3)::float8, 0) AS delta_ms,
		coalesce(pg_catalog.round(s.apply_ms::numeric, 3)::float8, 0) AS apply_ms,
		pg_catalog.round(s.last_batch_ms::numeric, 3)::float8 AS last_batch_ms,
		s.last_batch_at,
		CASE WHEN v.state = 'ready' THEN
			CASE WHEN l.view IS NULL THEN w.lag_bytes
				ELSE w.lag_bytes OPERATOR(pg_catalog.+) pg_catalog.pg_wal_lsn_diff(w.lsn, v.lsn)::int8
			END
		END AS lag_bytes,
		v.lag,
		v.error,
		v.error_at,
		h.xmin AS held_xmin,
		pg_catalog.age(h.xmin::pg_catalog.xid) AS held_age,
		s.reset_at AS stats_reset,
		v.group_name
	FROM derive_state.view_states v
		LEFT JOIN derive_state.counters() s ON s.view OPERATOR(pg_catalog.=) v.view::pg_catalog.oid
		LEFT JOIN derive_state.service() w ON w.of_group OPERATOR(pg_catalog.=) v.in_group
		LEFT JOIN derive_state.lane l ON l.view OPERATOR(pg_catalog.=) v.view::pg_catalog.oid
			AND l.declared_at OPERATOR(pg_catalog.=) v.created_at
			AND EXISTS (SELECT FROM derive_state.stale s WHERE s.view OPERATOR(pg_catalog.=) l.view)
		LEFT JOIN LATERAL (
			SELECT pg_catalog.pg_snapshot_xmin(v.position) AS xmin
			FROM pg_catalog.pg_replication_slots s
			WHERE v.state IN ('ready', 'waiting')
				AND s.slot_name OPERATOR(pg_catalog.=) derive_state.slot_of(v.in_group)
				AND s.database OPERATOR(pg_catalog.=) pg_catalog.current_database()
				AND pg_catalog.age(s.xmin) OPERATOR(pg_catalog.>=)
					pg_catalog.age(pg_catalog.pg_snapshot_xmin(v.position)::pg_catalog.xid)) h ON true;
COMMENT ON VIEW derive.stats IS
	'what maintaining each view has cost, and how far it is behind';
COMMENT ON COLUMN derive.stats.view IS 'the materialized view';
COMMENT ON COLUMN derive.stats.state IS 'as in derive.views';
COMMENT ON COLUMN derive.stats.batches IS 'batches that changed it';
COMMENT ON COLUMN derive.stats.changes_in IS
	'rows added to and removed from the tables that it reads (an UPDATE counts twice)';
COMMENT ON COLUMN derive.stats.rows_inserted IS 'rows inserted into it';
COMMENT ON COLUMN derive.stats.rows_updated IS 'rows of it updated';
COMMENT ON COLUMN derive.stats.rows_deleted IS 'rows deleted from it';
COMMENT ON COLUMN derive.stats.delta_ms IS
	'time spent reading the log in these batches, shared by all views, in ms';
COMMENT ON COLUMN derive.stats.apply_ms IS
	'time spent deriving and writing its changes, in ms';
COMMENT ON COLUMN derive.stats.last_batch_ms IS 'time of its last batch, in ms';
COMMENT ON COLUMN derive.stats.last_batch_at IS 'end of its last batch';
COMMENT ON COLUMN derive.stats.lag_bytes IS
	'log written since its position; 0 if nothing was committed since; NULL unless ready';
COMMENT ON COLUMN derive.stats.lag IS 'as in derive.views';
COMMENT ON COLUMN derive.stats.error IS
	'why it failed; NULL unless one has the rights of its owner or of pg_read_all_stats';
COMMENT ON COLUMN derive.stats.error_at IS 'when it failed';
COMMENT ON COLUMN derive.stats.held_xmin IS
	'old row versions that transactions from this one on have removed are kept for it; NULL if none are';
COMMENT ON COLUMN derive.stats.held_age IS 'age of held_xmin, in transactions';
COMMENT ON COLUMN derive.stats.group_name IS 'as in derive.views';
COMMENT ON COLUMN derive.stats.stats_reset IS
	'since when this is counted: the view was new, the server had crashed, or derive.reset_stats() was called';

CREATE VIEW derive.progress AS
	SELECT s.view::pg_catalog.regclass AS view,
		s.state,
		s.pid,
		coalesce(s.phase, s.state) AS phase,
		s.percent,
		s.remaining,
		s.blocked_by,
		s.lockers_total,
		s.lockers_done,
		s.blocked_by[1] AS current_locker_pid,
		s.blocks_total,
		s.blocks_done,
		s.tuples_total,
		s.tuples_done,
		coalesce(s.started_at, s.since) AS started_at
	FROM derive_state.standings() s
	WHERE s.state NOT IN ('ready', 'paused') OR s.state = 'ready' AND s.waiting_for IS NOT NULL
	UNION ALL
	SELECT c.view::pg_catalog.regclass, 'verifying', c.pid, c.phase, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, c.started_at
	FROM derive_state.verifications() c;
COMMENT ON VIEW derive.progress IS
	'views that are not where they should be: to be built, being built, waiting, or failed; and calls of derive.verify()';
COMMENT ON COLUMN derive.progress.view IS 'the materialized view';
COMMENT ON COLUMN derive.progress.state IS 'as in derive.views, or verifying';
COMMENT ON COLUMN derive.progress.pid IS 'the process that builds or verifies it; NULL while there is none';
COMMENT ON COLUMN derive.progress.phase IS 'what is done with it, or waited for';
COMMENT ON COLUMN derive.progress.percent IS 'how much of its query has been run, or of the log that it waits for been read, as estimated; NULL if unknown';
COMMENT ON COLUMN derive.progress.remaining IS 'how long that will still take, as estimated; NULL if unknown';
COMMENT ON COLUMN derive.progress.blocked_by IS 'processes whose locks or transactions are waited for';
COMMENT ON COLUMN derive.progress.lockers_total IS 'number of them when the wait began, if known';
COMMENT ON COLUMN derive.progress.lockers_done IS 'number of those that are gone';
COMMENT ON COLUMN derive.progress.current_locker_pid IS 'one of blocked_by';
COMMENT ON COLUMN derive.progress.blocks_total IS 'blocks of the tables that it reads; NULL while no process reads them';
COMMENT ON COLUMN derive.progress.blocks_done IS 'blocks of them that were read; one that is read twice counts twice';
COMMENT ON COLUMN derive.progress.tuples_total IS
	'rows of the tables that it reads, as estimated; NULL if unknown';
COMMENT ON COLUMN derive.progress.tuples_done IS 'rows processed so far';
COMMENT ON COLUMN derive.progress.started_at IS 'when the build, or else the state, began';

CREATE VIEW derive.worker AS
	SELECT w.pid,
		r.slot_name AS slot,
		w.state,
		w.activity,
		w.lsn,
		pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), r.restart_lsn)::int8 AS retained_bytes,
		r.xmin AS held_xmin,
		w.error,
		w.error_at,
		coalesce(g.name, 'default') AS group_name
	FROM derive_state.service() w
		LEFT JOIN derive_state.groups g ON g.number OPERATOR(pg_catalog.=) w.of_group
		LEFT JOIN pg_catalog.pg_replication_slots r
			ON r.slot_name OPERATOR(pg_catalog.=) derive_state.slot_of(w.of_group)
			AND r.database OPERATOR(pg_catalog.=) pg_catalog.current_database();
COMMENT ON VIEW derive.worker IS
	'the process that maintains the views of this database, or one for each group; also a row if there should be one and is not';
COMMENT ON COLUMN derive.worker.pid IS 'the process; NULL while there is none';
COMMENT ON COLUMN derive.worker.slot IS 'its replication slot; NULL while there is none';
COMMENT ON COLUMN derive.worker.state IS
	'missing, starting (it does not read the log yet), idle, running, or waiting';
COMMENT ON COLUMN derive.worker.activity IS 'what it does or waits for; NULL if it is idle';
COMMENT ON COLUMN derive.worker.lsn IS
	'everything that committed before this is contained in all views of the group that are ready';
COMMENT ON COLUMN derive.worker.retained_bytes IS 'log that is kept for it';
COMMENT ON COLUMN derive.worker.held_xmin IS
	'old row versions that transactions from this one on have removed are kept for it; NULL if none are';
COMMENT ON COLUMN derive.worker.error IS
	'its last error, until batches succeed and no view fails; NULL unless one has the rights of pg_read_all_stats';
COMMENT ON COLUMN derive.worker.error_at IS 'when that was';
COMMENT ON COLUMN derive.worker.group_name IS 'the group whose views it maintains';

CREATE VIEW derive.groups AS
	SELECT g.name AS group_name,
		pg_catalog.count(v.relid) AS views,
		pg_catalog.count(m.view) AS moving_away,
		(SELECT pg_catalog.count(*)
			FROM derive_state.moves h
				JOIN derive_state.views o ON o.relid OPERATOR(pg_catalog.=) h.view AND o.created_at OPERATOR(pg_catalog.=) h.declared_at
			WHERE h.to_group OPERATOR(pg_catalog.=) g.number) AS moving_here,
		r.slot_name AS slot
	FROM (SELECT 0 AS number, 'default'::pg_catalog.name AS name UNION ALL SELECT number, name FROM derive_state.groups) g
		LEFT JOIN derive_state.views v ON v.in_group OPERATOR(pg_catalog.=) g.number
		LEFT JOIN derive_state.moves m ON m.view OPERATOR(pg_catalog.=) v.relid AND m.declared_at OPERATOR(pg_catalog.=) v.created_at
		LEFT JOIN pg_catalog.pg_replication_slots r
			ON r.slot_name OPERATOR(pg_catalog.=) derive_state.slot_of(g.number)
			AND r.database OPERATOR(pg_catalog.=) pg_catalog.current_database()
	GROUP BY g.number, g.name, r.slot_name;
COMMENT ON VIEW derive.groups IS 'groups of maintained views, each with a process, a replication slot and a position of its own';
COMMENT ON COLUMN derive.groups.group_name IS 'the group; default is the one that every database has';
COMMENT ON COLUMN derive.groups.views IS 'number of its views';
COMMENT ON COLUMN derive.groups.moving_away IS 'number of those that are to move to another group';
COMMENT ON COLUMN derive.groups.moving_here IS 'number of views of other groups that are to move here';
COMMENT ON COLUMN derive.groups.slot IS 'its replication slot; NULL while there is none';

CREATE VIEW derive.replacements AS
	SELECT r.replaces::pg_catalog.regclass AS view,
		v.view AS replacement,
		v.state,
		v.waiting_for,
		v.error,
		v.error_at,
		r.created_at AS since,
		v.query
	FROM derive_state.views r
		JOIN derive_state.view_states v ON v.view::pg_catalog.oid OPERATOR(pg_catalog.=) r.relid
	WHERE r.replaces IS NOT NULL;
COMMENT ON VIEW derive.replacements IS 'views that are to take the place of others, by derive.replace_view()';
COMMENT ON COLUMN derive.replacements.view IS 'the view that is to get another query';
COMMENT ON COLUMN derive.replacements.replacement IS
	'the view with that query, which is built beside it and gone in the end';
COMMENT ON COLUMN derive.replacements.state IS 'state of the latter, as in derive.views';
COMMENT ON COLUMN derive.replacements.waiting_for IS 'what it waits for, as in derive.views; derive.progress has more';
COMMENT ON COLUMN derive.replacements.error IS
	'why it failed; NULL unless one has the rights of its owner or of pg_read_all_stats';
COMMENT ON COLUMN derive.replacements.error_at IS 'when it failed';
COMMENT ON COLUMN derive.replacements.since IS 'when derive.replace_view() was called';
COMMENT ON COLUMN derive.replacements.query IS
	'the new query; NULL unless one has the rights of its owner or of pg_read_all_stats';

/* ----------------------------------------------------------------
 *		Derivations
 * ----------------------------------------------------------------
 */

CREATE TYPE derive.derivation_handler;
CREATE FUNCTION derive_state.handler_in(cstring) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_handler_in'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION derive_state.handler_out(derive.derivation_handler) RETURNS cstring
	AS 'MODULE_PATHNAME', 'derive_handler_out'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE TYPE derive.derivation_handler (
	INPUT = derive_state.handler_in,
	OUTPUT = derive_state.handler_out,
	LIKE = pg_catalog.internal
);
COMMENT ON TYPE derive.derivation_handler IS 'what the handler function of a derivation returns';

CREATE FUNCTION derive.register(name text, handler regproc) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_register_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.register(text, regproc) IS 'make a derivation known';

CREATE FUNCTION derive.unregister(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'derive_unregister_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.unregister(text) IS 'forget a derivation that no view uses';

-- A derivation is a handler function with a label, its name; see src/derive/handlers.c.
CREATE VIEW derive.derivations AS
	SELECT l.label AS name, l.objoid::pg_catalog.regprocedure AS handler
	FROM pg_catalog.pg_seclabel l
	WHERE l.provider = 'pg_derive' AND l.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass;
COMMENT ON VIEW derive.derivations IS 'the derivations that views can be made by';
COMMENT ON COLUMN derive.derivations.name IS 'name, as in derive.create_view()';
COMMENT ON COLUMN derive.derivations.handler IS 'its handler function';

CREATE FUNCTION derive_state.select_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_select_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.select_handler(internal) IS 'derivation of a SELECT';
SELECT derive.register('select', 'derive_state.select_handler');

-- derivations that come with pg_derive

CREATE FUNCTION derive_state.sessionize_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_sessionize_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.sessionize_handler(internal) IS 'derivation of sessions from clicks';
SELECT derive.register('sessionize', 'derive_state.sessionize_handler');

CREATE FUNCTION derive_state.inverted_index_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_inverted_index_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.inverted_index_handler(internal) IS 'derivation of words from documents';
SELECT derive.register('inverted_index', 'derive_state.inverted_index_handler');

CREATE FUNCTION derive_state.reachability_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_reachability_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.reachability_handler(internal) IS 'derivation of the transitive closure of a graph';
SELECT derive.register('reachability', 'derive_state.reachability_handler');

CREATE FUNCTION derive_state.approx_distinct_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_approx_distinct_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.approx_distinct_handler(internal) IS 'derivation of approximate numbers of distinct values';
SELECT derive.register('approx_distinct', 'derive_state.approx_distinct_handler');

-- histories

CREATE FUNCTION derive_state.history_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_history_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.history_handler(internal) IS 'derivation of the versions of rows';
SELECT derive.register('history', 'derive_state.history_handler');

CREATE FUNCTION derive.as_of(history regclass, at pg_lsn) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_as_of_lsn_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.as_of(regclass, pg_lsn) IS
	'the rows that the source of a history had at a place in the log';

CREATE FUNCTION derive.as_of(history regclass, at timestamptz) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_as_of_time_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.as_of(regclass, timestamptz) IS
	'the rows that the source of a history had at a time';

CREATE FUNCTION derive.as_of(history regclass, at pg_lsn, row_type anyelement) RETURNS SETOF anyelement
	AS 'MODULE_PATHNAME', 'derive_as_of_lsn_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.as_of(regclass, pg_lsn, anyelement) IS
	'the rows that the source of a history had at a place in the log, of the type of the third argument';

CREATE FUNCTION derive.as_of(history regclass, at timestamptz, row_type anyelement) RETURNS SETOF anyelement
	AS 'MODULE_PATHNAME', 'derive_as_of_time_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.as_of(regclass, timestamptz, anyelement) IS
	'the rows that the source of a history had at a time, of the type of the third argument';

CREATE FUNCTION derive.changes_of(
	history regclass,
	transaction xid8,
	OUT operation text,
	OUT before jsonb,
	OUT after jsonb,
	OUT now jsonb,
	OUT conflict boolean,
	OUT omitted text[])
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'derive_changes_of_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.changes_of(regclass, xid8) IS
	'what a transaction did to the rows of a history''s source, and whether somebody has changed them since';

-- topics

CREATE FUNCTION derive_state.topic_handler(internal) RETURNS derive.derivation_handler
	AS 'MODULE_PATHNAME', 'derive_topic_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION derive_state.topic_handler(internal) IS 'derivation of a topic from its events';
SELECT derive.register('topic', 'derive_state.topic_handler');

CREATE FUNCTION derive.create_topic(
	name text,
	columns text,
	key text[] DEFAULT NULL,
	options jsonb DEFAULT NULL,
	if_not_exists boolean DEFAULT false)
	RETURNS regclass
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	RETURN derive.create_view(name, 'topic', '{}'::pg_catalog.regclass[],
		'(event_id bigint, event_lsn pg_lsn, event_time timestamptz, '
			OPERATOR(pg_catalog.||) pg_catalog.regexp_replace(columns, '^\s*\((.*)\)\s*$', '\1')
			OPERATOR(pg_catalog.||) ')',
		key, options, if_not_exists);
COMMENT ON FUNCTION derive.create_topic(text, text, text[], jsonb, boolean) IS
	'create a topic: events that are written to the log only, and kept as rows of a view';

CREATE FUNCTION derive.append(topic regclass, event record) RETURNS pg_lsn
	AS 'MODULE_PATHNAME', 'derive_append_record_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.append(regclass, record) IS
	'write an event of a topic; returns where it is in the log';

CREATE FUNCTION derive.append(topic regclass, event jsonb) RETURNS pg_lsn
	AS 'MODULE_PATHNAME', 'derive_append_jsonb_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.append(regclass, jsonb) IS
	'write an event of a topic; returns where it is in the log';

CREATE FUNCTION derive.append(topic regclass, event text) RETURNS pg_lsn
	AS 'MODULE_PATHNAME', 'derive_append_text_sql'
	LANGUAGE C CALLED ON NULL INPUT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION derive.append(regclass, text) IS
	'write an event of a topic, given as JSON; returns where it is in the log';

CREATE VIEW derive.subscriptions AS
	SELECT s.name::text AS subscriber,
		s.view::pg_catalog.regclass AS view,
		pg_catalog.pg_get_userbyid(s.owner) AS owner,
		CASE
			WHEN NOT j.active THEN 'starting'
			WHEN s.position OPERATOR(pg_catalog.<) j.floor THEN 'lost'
			WHEN s.position IS NULL OR i.rows OPERATOR(pg_catalog.>) 0 THEN 'initial'
			ELSE 'following'
		END AS state,
		CASE WHEN s.position OPERATOR(pg_catalog.>=) j.floor
			THEN i.rows OPERATOR(pg_catalog.+) greatest(c.last OPERATOR(pg_catalog.-) s.position, 0)
		END AS behind,
		s.created_at,
		s.polled_at
	FROM derive_state.subscriptions s
		JOIN derive_state.journals j
			ON j.view OPERATOR(pg_catalog.=) s.view AND j.id OPERATOR(pg_catalog.=) s.journal
		CROSS JOIN LATERAL (
			SELECT coalesce(pg_catalog.max(p.n) OPERATOR(pg_catalog.-) s.spooled, 0) AS rows
			FROM derive_state.spool p
			WHERE p.subscription OPERATOR(pg_catalog.=) s.name
				AND p.n OPERATOR(pg_catalog.>) s.spooled) i
		CROSS JOIN LATERAL (
			SELECT pg_catalog.max(c.seq) AS last
			FROM derive_state.changes c
			WHERE c.view OPERATOR(pg_catalog.=) s.view
				AND c.seq OPERATOR(pg_catalog.>) j.floor) c;
COMMENT ON VIEW derive.subscriptions IS 'who subscribes to which view, and how far they are';
COMMENT ON COLUMN derive.subscriptions.subscriber IS 'name of the subscription';
COMMENT ON COLUMN derive.subscriptions.view IS 'the materialized view';
COMMENT ON COLUMN derive.subscriptions.owner IS 'who may poll it';
COMMENT ON COLUMN derive.subscriptions.state IS
	'starting, initial (rows of the view are still to be delivered), following, or lost';
COMMENT ON COLUMN derive.subscriptions.behind IS
	'rows that are to be delivered, about; NULL before the first poll, and if it is lost';
COMMENT ON COLUMN derive.subscriptions.created_at IS 'when it was created';
COMMENT ON COLUMN derive.subscriptions.polled_at IS 'when something was last delivered';

CREATE FUNCTION derive.health(
	max_lag interval DEFAULT '1 min',
	OUT ok boolean,
	OUT problems text[],
	OUT views int8,
	OUT ready int8,
	OUT failed int8,
	OUT lag interval,
	OUT retained_bytes int8)
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	WITH views AS (SELECT v.view::text AS name, v.state, v.waiting_for, v.lag, v.since FROM derive.views v),
		worker AS (SELECT w.group_name, w.state, w.activity, w.retained_bytes FROM derive.worker w),
		problem(rank, sentence) AS (
			SELECT 1, format('"%s" %s', c.setting, c.needed)
			FROM derive.check() c
			WHERE NOT c.ok AND EXISTS (SELECT FROM views)
			UNION ALL
			SELECT 2, concat_ws(': ', format('the worker%s is %s',
				CASE WHEN w.group_name <> 'default' THEN format(' of group %s', w.group_name) END, w.state), w.activity)
			FROM worker w
			WHERE w.state = 'missing'
			UNION ALL
			SELECT 3, format('view %s has failed', v.name)
			FROM views v
			WHERE v.state = 'failed'
			UNION ALL
			SELECT 4, format('view %s is %s behind%s', v.name, v.lag, ': ' || v.waiting_for)
			FROM views v
			WHERE v.state NOT IN ('failed', 'paused') AND v.lag > max_lag
			UNION ALL
			SELECT 5, format('subscription %s is lost', s.subscriber)
			FROM derive.subscriptions s
			WHERE s.state = 'lost')
	SELECT NOT EXISTS (SELECT FROM problem),
		coalesce((SELECT array_agg(p.sentence ORDER BY p.rank, p.sentence) FROM problem p), '{}'),
		count(*),
		count(*) FILTER (WHERE v.state = 'ready'),
		count(*) FILTER (WHERE v.state = 'failed'),
		max(v.lag) FILTER (WHERE v.state <> 'paused'),
		(SELECT max(w.retained_bytes) FROM worker w)
	FROM views v;
END;
COMMENT ON FUNCTION derive.health(interval) IS
	'one row for a probe: whether all is well in this database, what is not, and the figures; views that are paused may be behind, others up to max_lag';

GRANT USAGE ON SCHEMA derive TO PUBLIC;
GRANT SELECT ON derive.views, derive.stats, derive.progress, derive.worker, derive.groups, derive.replacements, derive.derivations,
	derive.subscriptions TO PUBLIC;

/* ----------------------------------------------------------------
 *		What else is needed
 * ----------------------------------------------------------------
 */

CREATE FUNCTION derive_state.warn_of_requirements() RETURNS void
	AS 'MODULE_PATHNAME', 'derive_warn_of_requirements_sql'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
SELECT derive_state.warn_of_requirements();
