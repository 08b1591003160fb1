# Builds with parallel workers: that they are used, that the view is what its query was under
# the builder's snapshot, the same settings and rights, and what happens when a worker of
# the query fails, or is killed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('parallel_builds', conf => qq{
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
min_parallel_index_scan_size = 0
max_parallel_workers = 8
enable_partitionwise_aggregate = on
log_min_messages = debug1
autovacuum = off
pg_derive.max_builds = 4
});

sub sql { return $node->safe_psql('postgres', $_[0]) }

# What the log has of the queries of a view's builder: launched parallel workers.
sub launched
{
	my ($view, $log) = @_;
	my ($pid) = $log =~ /\[(\d+)\] .* LOG:  view "public\.$view" is filled/ or return 'not built';
	my @lines = $log =~ /\[$pid\] .*DEBUG:  a query was run with (\d+) of \d+ parallel workers/g;
	return scalar(grep { $_ > 0 } @lines);
}

sub build
{
	my ($view, $query) = @_;
	my $offset = -s $node->logfile;
	sql("SELECT derive.create_view('$view', \$q\$$query\$q\$)");
	wait_derived($node, "$view is built");
	return slurp_file($node->logfile, $offset);
}

sql(q{
CREATE TABLE dim (g int PRIMARY KEY, name text);
INSERT INTO dim SELECT i, 'g' || i % 7 FROM generate_series(0, 99) i;
CREATE TABLE t (id int PRIMARY KEY, g int, i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(10,2), f4 float4, f8 float8,
	b bool, tx text, iv interval, mo money, at timestamptz, pt point);
INSERT INTO t SELECT i, nullif(i % 100, 99), nullif(i % 50, 3), nullif(i % 1000, 7), i::int8 << 30, (i % 1000)::numeric / (10 ^ (i % 4))::numeric,
	i % 300, i::float4 / 8, i::float8 / 4, nullif(i % 11, 5) > 3, md5(i::text), i * interval '1 minute', (i % 100)::numeric::money,
	'2020-01-01'::timestamptz + i * interval '1 hour', point(i % 3, 1) FROM generate_series(1, 20000) i;
CREATE TABLE parts (id int, g int, v int) PARTITION BY LIST (g);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
CREATE TABLE parts_3 PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT i, i % 5, i FROM generate_series(1, 5000) i;
ANALYZE;
CREATE FUNCTION agg_add(state int8, x int4) RETURNS int8 IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql AS 'SELECT state + x';
CREATE FUNCTION agg_remove(state int8, x int4) RETURNS int8 IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql AS 'SELECT state - x';
CREATE AGGREGATE total(int4) (sfunc = agg_add, stype = int8, initcond = 10, combinefunc = int8pl,
	msfunc = agg_add, minvfunc = agg_remove, mstype = int8, minitcond = 10);
CREATE AGGREGATE total_from(int4) (sfunc = agg_add, stype = int8, initcond = 10, combinefunc = int8pl, parallel = safe,
	msfunc = agg_add, minvfunc = agg_remove, mstype = int8, minitcond = 20);
CREATE FUNCTION safe(x int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql AS 'BEGIN RETURN x + 1; END';
CREATE FUNCTION unsafe(x int8) RETURNS int8 IMMUTABLE LANGUAGE plpgsql AS
	'BEGIN BEGIN PERFORM 1 / (x - x); EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN x; END';
});

# name, query, in parallel?
my @views = (
	[ 'p_select', 'SELECT id, g, safe(i4) FROM t WHERE b', 1 ],
	[ 'p_join', 'SELECT t.id, d.name FROM t JOIN dim d USING (g)', 1 ],
	[ 'p_left', 'SELECT t.id, d.name FROM t LEFT JOIN dim d ON d.g = t.g AND d.name <> \'g1\'', 1 ],
	[ 'p_counts', q{SELECT g, count(*), count(i4) AS c, count(i4) FILTER (WHERE b) AS f, bool_and(b), bool_or(b), every(i4 > 3) FILTER (WHERE id > 50) FROM t GROUP BY g}, 1 ],
	[ 'p_ints', 'SELECT g, sum(i2) AS s2, avg(i2) AS a2, sum(i4) AS s4, avg(i4) AS a4, sum(i8) AS s8, avg(i8) AS a8, min(i2), max(i8) FROM t GROUP BY g', 1 ],
	[ 'p_vars', 'SELECT g, var_pop(i4), stddev(i2), variance(i8), var_samp(n2) FROM t GROUP BY g HAVING count(*) > 10', 1 ],
	[ 'p_numerics', 'SELECT g, sum(n), avg(n), sum(n2) AS s2, sum(n) FILTER (WHERE i4 > 500) AS f FROM t GROUP BY g', 1 ],
	[ 'p_floats', 'SELECT g, sum(f4) AS s4, avg(f8), sum(f8) FROM t GROUP BY g', 1 ],
	[ 'p_others', 'SELECT g, sum(iv) AS si, avg(iv), sum(mo), min(tx), max(at), max(b::int) AS mb FROM t GROUP BY g', 1 ],
	[ 'p_one', 'SELECT count(*), sum(i4), max(tx), avg(n) FROM t', 1 ],
	[ 'p_none', 'SELECT count(*), count(i4) AS c, sum(i4), max(tx), avg(n) FROM t WHERE id < 0', undef ],
	[ 'p_distinct', 'SELECT DISTINCT g, i2 FROM t', 1 ],
	[ 'p_union', 'SELECT g FROM t UNION SELECT g FROM dim', 1 ],
	[ 'p_redo', 'SELECT g, count(DISTINCT i4), sum(i4) FROM t GROUP BY g', undef ],
	[ 'p_parts', 'SELECT g, count(*), sum(v) FROM parts GROUP BY g', 1 ],
	[ 'p_agg_over_join', 'SELECT d.name, count(*), sum(t.i4), max(t.tx) FROM t JOIN dim d USING (g) GROUP BY d.name', 1 ],
	[ 'p_window', 'SELECT id, g, row_number() OVER (PARTITION BY g ORDER BY id) AS n FROM t', undef ],
	# who may not: functions and aggregates that are not PARALLEL SAFE
	[ 'p_unsafe', 'SELECT id, unsafe(i4) FROM t', 0 ],
	[ 'p_unsafe_input', 'SELECT unsafe(g), count(*) FROM t GROUP BY 1', 0 ],
	[ 'p_unsafe_shown', 'SELECT g, unsafe(sum(i4)) FROM t GROUP BY g', 0 ],
	[ 'p_unsafe_having', 'SELECT g, count(*) FROM t GROUP BY g HAVING unsafe(sum(i4)) > 100', 0 ],
	[ 'p_unsafe_redo', 'SELECT g, unsafe(count(DISTINCT i4)) FROM t GROUP BY g', 0 ],
	[ 'p_unsafe_aggregate', 'SELECT g, total(i4) FROM t GROUP BY g', 0 ],
	# folded row by row: equal values that are not the same; another state than the executor's
	[ 'p_loose', 'SELECT n, count(*), max(n) FROM t GROUP BY n', 0 ],
	[ 'p_total_from', 'SELECT g, total_from(i4) AS s FROM t WHERE g < 0 GROUP BY g', 0 ],
);

sub change
{
	sql(q{
	UPDATE t SET i4 = i4 + 1, i2 = NULL, n = n + 0.001, b = NOT b WHERE id % 97 = 0;
	DELETE FROM t WHERE id % 101 = 0 OR g = 17;
	INSERT INTO t SELECT i, 200, 1, 1, 1, 1.5, 1.5, 1, 1, true, 'x', '1 s', 1::money, now(), point(1, 1) FROM generate_series(100001, 100050) i ON CONFLICT DO NOTHING;
	UPDATE t SET g = 3 WHERE id % 103 = 0; UPDATE t SET tx = 'zzz' || id WHERE id % 107 = 0;
	UPDATE dim SET name = 'moved' WHERE g = 5; UPDATE parts SET g = 1, v = v + 1 WHERE id % 7 = 0; DELETE FROM parts WHERE g = 2;
	});
	return;
}

for my $view (@views)
{
	my ($name, $query, $parallel) = @$view;
	my $log = build($name, $query);
	next unless defined $parallel;
	$parallel ? cmp_ok(launched($name, $log), '>', 0, "$name is built in parallel") : is(launched($name, $log), 0, "$name is not");
}
is_exact($node, 'built in parallel');
change();
wait_derived($node);
is_exact($node, 'states that were built in parallel');
sql('DELETE FROM t WHERE g < 50');
wait_derived($node);
is_exact($node, 'and groups that are gone');

# The settings are those of the session that declared the view.
my $offset = -s $node->logfile;
sql(q{SET timezone = 'Asia/Kolkata'; SELECT derive.create_view('p_setting', $$SELECT date_trunc('day', at) AS day, count(*) FROM t GROUP BY 1$$)});
wait_derived($node);
cmp_ok(launched('p_setting', slurp_file($node->logfile, $offset)), '>', 0, 'p_setting is built in parallel');
is(sql(q{SELECT missing, extra FROM derive.verify('p_setting')}), '0|0', 'settings');
sql('DROP MATERIALIZED VIEW p_setting');

# Not with less than a whole processor, since others would not rest.
sql("ALTER SYSTEM SET pg_derive.build_share = 0.9; SELECT pg_reload_conf()");
is(launched('p_rests', build('p_rests', 'SELECT g, count(*), sum(i4) FROM t GROUP BY g')), 0, 'a builder that rests');
sql("ALTER SYSTEM RESET pg_derive.build_share; SELECT pg_reload_conf()");

# Views that have another program now are built anew, readers keep what they see until then.
$offset = -s $node->logfile;
sql('CREATE TABLE child () INHERITS (t); INSERT INTO child (id, g, i4, b) VALUES (51, 1, 1, true)');
wait_derived($node, 'built anew');
like(slurp_file($node->logfile, $offset), qr/pg_derive builder .*DEBUG:  a query was run with [1-9]\d* of/, 'in parallel');
is_exact($node, 'built anew');

# Writers commit after the snapshot, and before the query runs.
SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	my $holder = background($node);
	$offset = -s $node->logfile;
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-fill'))});
	set_debug_point($node, 'build-before-fill:wait');
	sql(q{SELECT derive.create_view('late_' || n, q) FROM (VALUES ('groups', 'SELECT g, count(*), sum(i4), avg(n), max(tx) FROM t GROUP BY g'),
		('join', 'SELECT t.id, t.tx, d.name FROM t JOIN dim d USING (g)'), ('over_join', 'SELECT d.name, sum(t.i4) FROM t JOIN dim d USING (g) GROUP BY d.name')) v (n, q)});
	$node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) or die;
	sql(q{BEGIN; UPDATE t SET i4 = 5000, g = (g + 1) % 100; DELETE FROM t WHERE id % 10 = 0; INSERT INTO t (id, g, i4) VALUES (-1, 1, 1); COMMIT; VACUUM t});
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	$holder->quit;
	wait_derived($node, 'views whose snapshots are older than the tables');
	my $log = slurp_file($node->logfile, $offset);
	cmp_ok(launched("late_$_", $log), '>', 0, "late_$_ is built in parallel") for qw(groups join over_join);
	is_exact($node, 'with rows that parallel workers must not see');
}

# A function lies about being safe: it fails, and nothing is written.
sql(q{
CREATE TABLE witness (x int);
CREATE FUNCTION writer(x int) RETURNS void PARALLEL SAFE LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.witness VALUES (x); END';
CREATE FUNCTION liar(x int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql AS 'BEGIN PERFORM public.writer(x); RETURN x; END';
CREATE FUNCTION crier(x int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql AS
	$$BEGIN PERFORM pg_logical_emit_message(false, 'crier', 'x'); RETURN x; END$$;
CREATE FUNCTION failing(x int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql AS 'BEGIN RETURN 1 / (x - 15057); END';
SELECT derive.create_view('by_' || f, format('SELECT %s(id), count(*) FROM t GROUP BY 1', f)) FROM unnest('{liar,crier,failing}'::text[]) f;
});
derive_wait_state($node, "by_$_", 'failed') for qw(liar crier failing);
like(sql(q{SELECT error FROM derive.views WHERE view = 'by_failing'::regclass}), qr/division by zero/, 'the error of a parallel worker');
like(sql(q{SELECT error FROM derive.views WHERE view = 'by_liar'::regclass}), qr/cannot execute INSERT (?:during a parallel operation|in a read-only transaction)/, 'a function that writes');
like(sql(q{SELECT error FROM derive.views WHERE view = 'by_crier'::regclass}), qr/cannot execute pg_logical_emit_message\(\) in a read-only transaction/, 'a function that writes to the log');
sql('DROP MATERIALIZED VIEW by_liar, by_crier, by_failing');

# A slow query: progress; its parallel worker ends, is killed; the builder is in the way of DROP.  It does not come to its
# end before a session lets it.
my $holder = background($node);
$holder->query_safe('SELECT pg_advisory_lock(75)');
sql(q{
CREATE FUNCTION slow(x int) RETURNS int IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql AS $$
DECLARE
	since timestamptz := clock_timestamp();
BEGIN
	-- one that sleeps would be taken for one that waits
	WHILE clock_timestamp() < since + interval '1 ms' LOOP END LOOP;
	WHILE x > 15000 AND EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 75) LOOP
		since := clock_timestamp();
		WHILE clock_timestamp() < since + interval '20 ms' LOOP END LOOP;
	END LOOP;
	RETURN x;
END $$;
SELECT derive.create_view('slow_groups', 'SELECT slow(id) % 100 AS g, count(*), sum(i4) FROM t GROUP BY 1');
});
my $helper = q{SELECT min(h.pid) FROM pg_stat_activity h JOIN pg_stat_activity b ON b.pid = h.leader_pid WHERE b.backend_type = 'pg_derive builder'};
$node->poll_query_until('postgres', "SELECT ($helper) IS NOT NULL") or die 'no parallel worker';
ok($node->poll_query_until('postgres', q{SELECT coalesce(tuples_done > 1000 AND percent > 0, false) FROM derive.progress WHERE view = 'slow_groups'::regclass}), 'progress');
$offset = -s $node->logfile;
sql("SELECT pg_terminate_backend(($helper))");
log_says($node, qr/could not build view "slow_groups"|parallel worker.*terminated|terminating connection|is filled/, $offset, 'a parallel worker ends');
$node->poll_query_until('postgres', "SELECT ($helper) IS NOT NULL") or die 'no parallel worker';
kill_process(sql($helper));
comes_back($node);
eval { $holder->quit };
wait_derived($node, 'after that');
is_exact($node, 'a parallel worker was killed');
sql('DROP MATERIALIZED VIEW slow_groups');
$holder = background($node);
$holder->query_safe('SELECT pg_advisory_lock(75)');
sql(q{SELECT derive.create_view('slow_join', 'SELECT t.id, slow(t.id) FROM t JOIN dim d USING (g)')});
$node->poll_query_until('postgres', "SELECT ($helper) IS NOT NULL") or die 'no parallel worker';
sql(q{SET lock_timeout = '60 s'; DROP MATERIALIZED VIEW slow_join});
is(sql(q{SELECT count(*) FROM derive.views WHERE view::text = 'slow_join'}), '0', 'dropped while it is built');
$holder->quit;
wait_derived($node);
is_exact($node, 'in the end');
log_is_clean($node);
$node->stop;
done_testing();
