# The slow lane: views that are computed as a whole are exact at a position of their own,
# and nobody waits for them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('lane', conf => "pg_derive.recompute_share = 1\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# These are computed as a whole.
my $whole = join(',', map { "incremental-$_:skip" } qw(whole quotient sums));
my ($holder, $id) = (undef, 10_000);

sub point
{
	set_debug_point($node, join(',', $whole, @_));
	return;
}

# The next run of the lane will stop there; other points are set beside it.
sub hold_lane
{
	my ($point, @others) = @_;
	$holder = background($node);
	$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
	point("$point:wait", @others);
	return;
}

sub let_lane_go
{
	point();
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	$holder->quit;
	return;
}

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub change
{
	$id++;
	sql("BEGIN; INSERT INTO t VALUES ($id, $id % 7, $id); UPDATE t SET x = x + 1, g = (g + 1) % 7 WHERE id = $id - 10000; DELETE FROM t WHERE id = $id - 9000; COMMIT");
	return;
}

sub waits
{
	my ($view, $ms) = @_;
	return sql("SELECT derive.wait('$view', timeout => '$ms ms')");
}

point();
sql(q{
CREATE TABLE t (id int PRIMARY KEY, g int, x int);
CREATE TABLE u (id int PRIMARY KEY, y int);
INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 2000) i;
INSERT INTO u SELECT i, i FROM generate_series(1, 20) i;
SELECT derive.create_view('inc', 'SELECT g, count(*) AS n, sum(x) AS s FROM t GROUP BY g');
SELECT derive.create_view('whole', 'SELECT g, count(*) AS n, max(x) AS m, sum(x) AS s FROM t GROUP BY g');
SELECT derive.create_view('over', 'SELECT w.g, w.m, i.n - w.n AS nothing, i.s - w.s AS nothing_too FROM whole w JOIN inc i USING (g)');
SELECT derive.create_view('top', 'SELECT sum(m) AS m, count(*) AS n, max(abs(nothing)) AS bad FROM over');
SELECT derive.create_view('quotient', 'SELECT id, 60 / y AS q FROM u');
SELECT derive.create_view('over_quotient', 'SELECT q, count(*) AS n FROM quotient GROUP BY q');
SELECT derive.create_view('of_u', 'SELECT y, count(*) AS n FROM u GROUP BY y');
SELECT derive.create_view('past', derivation => 'history', sources => ARRAY['whole'::regclass]);
});
is(sql(q{SELECT derive.wait(timeout => '180 s')}), 't', 'built');
is(sql(q{SELECT string_agg(view::regclass::text, ' ' ORDER BY view::regclass::text) FROM derive_state.lane}),
	'over over_quotient past quotient top whole', 'these are in the lane, and no others');

# A history ends with the rows of its view.
sub all_exact
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	is(sql(q{SELECT view, state, error FROM derive.views WHERE state <> 'ready'}), '', "$label: all are ready");
	is(sql(q{SELECT view, oracle(view) FROM derive.views WHERE view::text NOT LIKE 'past%' AND oracle(view) <> 0}),
		'', "$label: every view equals its query");
	is(sql('SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	is(sql('SELECT coalesce(bad, 0) FROM top'), '0', "$label: tables and views were read at one position");
	is(sql(q{(SELECT g, n, m, s FROM whole EXCEPT ALL SELECT g, n, m, s FROM past WHERE until_lsn IS NULL)
		UNION ALL (SELECT g, n, m, s FROM past WHERE until_lsn IS NULL EXCEPT ALL SELECT g, n, m, s FROM whole)}),
		'', "$label: the history has its rows") if sql(q{SELECT to_regclass('past') IS NOT NULL}) eq 't';
	return;
}
sub subscribe
{
	my ($view) = @_;
	sql("SELECT derive.subscribe('$view', '$view'); CREATE TABLE copy_of_$view AS SELECT * FROM $view LIMIT 0");
	return;
}

# Apply what there is, as a subscriber would, and compare.
sub follow
{
	my ($view, $label) = @_;
	my $do = q{DO $$
DECLARE
	c record;
	n int;
BEGIN
	LOOP
		n := 0;
		FOR c IN SELECT * FROM derive.poll('VIEW') LOOP
			n := n + 1;
			IF c.old IS NOT NULL THEN
				DELETE FROM copy WHERE ctid = (SELECT ctid FROM copy k WHERE to_jsonb(k) = c.old LIMIT 1);
			END IF;
			IF c.new IS NOT NULL THEN
				INSERT INTO copy SELECT * FROM jsonb_populate_record(NULL::copy, c.new);
			END IF;
		END LOOP;
		EXIT WHEN n = 0;
	END LOOP;
END $$};
	$do =~ s/VIEW/$view/;
	$do =~ s/\bcopy\b/copy_of_$view/g;
	sql($do);
	is(sql("(TABLE $view EXCEPT ALL TABLE copy_of_$view) UNION ALL (TABLE copy_of_$view EXCEPT ALL TABLE $view)"), '', "$label: the subscriber has all changes");
	return;
}
all_exact('built');

# ---- it delays nobody

for my $point (qw(lane-locked lane-snapshot lane-computed-whole lane-before-commit))
{
	my $old = sql('SELECT md5(string_agg(whole::text, NULL ORDER BY g)) FROM whole');
	hold_lane($point);
	change();
	waits_at($node, $point);
	for (1 .. 3)
	{
		is(waits('inc', 60_000), 't', "$point: an incremental view goes on");
		change();
	}
	is(waits('whole', 100), 'f', "$point: the view does not contain it");
	is(waits('top', 100), 'f', "$point: nor one over it");
	is(sql('SELECT md5(string_agg(whole::text, NULL ORDER BY g)) FROM whole'), $old, "$point: it stays as it is");
	is(sql('SELECT max(abs(nothing)) FROM over'), '0', "$point: and so does one over it and others");
	is( sql(q{SELECT v.state, v.lsn < i.lsn, pg_snapshot_xmax(v.position) < pg_snapshot_xmax(i.position), s.lag_bytes > 0, s.lag > '0'
			FROM derive_state.view_states v JOIN derive.stats s USING (view), derive_state.view_states i WHERE v.view = 'whole'::regclass AND i.view = 'inc'::regclass}),
		'ready|t|t|t|t', "$point: and says so");
	let_lane_go();
	all_exact("$point: later");
}

# A run that ends sees what its batch saw; what comes after that is for another one.
hold_lane('lane-snapshot');
change();
waits_at($node, 'lane-snapshot');
change();
is(waits('inc', 60_000), 't', 'a change after the snapshot of a run');
my $n = sql('SELECT sum(n) FROM whole');
sql('INSERT INTO t SELECT i, 3, i FROM generate_series(20001, 20100) i');
is(waits('inc', 60_000), 't', 'and another one');
point('lane-locked:wait');
my $second = background($node);
$second->query_safe(q{SELECT pg_advisory_lock(hashtext('lane-locked'))});
$holder->query_safe('SELECT pg_advisory_unlock_all()');
waits_at($node, 'lane-locked');
is(sql('SELECT sum(n) FROM whole'), $n, 'the first run has made its changes, and no others');
is(sql('SELECT max(abs(nothing)) FROM over'), '0', 'in all of its views');
$second->query_safe('SELECT pg_advisory_unlock_all()');
$second->quit;
let_lane_go();
all_exact('after the second run');

# ---- crashes

for my $point (qw(lane-locked lane-snapshot lane-computed-whole lane-computed-top lane-before-commit lane-committed))
{
	for my $how ('process', 'server')
	{
		hold_lane($point);
		change();
		my $pid = waits_at($node, $point);
		change();
		is(waits('inc', 60_000), 't', "$how killed at $point");
		point();
		if ($how eq 'process')
		{
			kill_process($pid);
			comes_back($node);
		}
		else
		{
			$node->kill9;
			start_again($node);
		}
		eval { $holder->quit };
		resume_failed($node);
		all_exact("$how killed at $point");
	}
}

# The worker ends, and another one comes, while the lane is at work.
hold_lane('lane-snapshot');
change();
waits_at($node, 'lane-snapshot');
sql(q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'});
change();
is(waits('inc', 60_000), 't', 'another worker');
change();
let_lane_go();
all_exact('another worker');

# ---- people get through

my %command = (
	'ALTER TABLE' => 'ALTER TABLE t ADD COLUMN added int',
	'ALTER TYPE' => 'ALTER TABLE t ALTER COLUMN added TYPE bigint',
	'TRUNCATE' => 'TRUNCATE t',
	'VACUUM FULL' => 'VACUUM FULL t',
	'CREATE INDEX' => 'CREATE INDEX ON whole (m)',
	'pause' => q{SELECT derive.pause('whole')},
	'resume' => q{SELECT derive.resume('whole')},
	'redefined' => 'CREATE OR REPLACE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT i + 1$$',
	'LOCK' => 'BEGIN; LOCK t; INSERT INTO t VALUES (-1, 1, 1); COMMIT');
for my $what ('ALTER TABLE', 'ALTER TYPE', 'TRUNCATE', 'VACUUM FULL', 'CREATE INDEX', 'LOCK', 'pause')
{
	hold_lane('lane-snapshot');
	change();
	waits_at($node, 'lane-snapshot');
	my ($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '30 s'; " . ($what eq 'VACUUM FULL' ? '' : $command{$what}));
	($rc, $out, $err) = $node->psql('postgres', $command{$what}) if $what eq 'VACUUM FULL';
	is($rc, 0, "$what beside a run") or diag($err);
	let_lane_go();
	all_exact("$what beside a run") unless $what eq 'pause';
}
is(sql(q{SELECT state FROM derive.views WHERE view = 'whole'::regclass}), 'paused', 'it is paused');
my $frozen = sql('SELECT sum(n) FROM whole');
change();
is(waits('inc', 60_000), 't', 'changes that a paused view does not get');
is(sql('SELECT sum(n) FROM whole'), $frozen, 'it does not move');
like([ $node->psql('postgres', q{SELECT derive.wait('whole')}) ]->[2], qr/maintenance of view "whole" is paused/, 'nor can one wait for it');
is(waits('over', 60_000), 't', 'what is over it reads it as it is');
is(sql(q{SELECT oracle('over')}), '0', 'and is exact');
sql(q{SELECT derive.resume('whole')});
all_exact('resumed');

# A function that it calls gets another body.
sql(q{CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT i$$;
	SELECT derive.create_view('sums', 'SELECT g, sum(f(x)) AS s FROM t GROUP BY g')});
change();
all_exact('a view that calls a function');
sql('CREATE OR REPLACE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT 1000 * i$$');
all_exact('it has another body');

# ---- errors

change();
all_exact('before the error');
sql('INSERT INTO u VALUES (100, 0)');
is(waits('of_u', 60_000), 't', 'others do not mind');
like([ $node->psql('postgres', q{SELECT derive.wait('quotient', timeout => '180 s')}) ]->[2],
	qr/maintenance of view "quotient" has failed\nDETAIL:  The error was: division by zero/, 'who waits is told');
like([ $node->psql('postgres', q{SELECT derive.wait('over_quotient', timeout => '180 s')}) ]->[2],
	qr/The error was: view "quotient", which it reads, could not be computed/, 'also of a view over it');
is(sql(q{SELECT state, error, waiting_for FROM derive.views WHERE view = 'quotient'::regclass}),
	'failed|division by zero|another try, or a change of what it reads', 'it is in derive.views');
like([ $node->psql('postgres', q{SELECT derive.repair('quotient')}) ]->[2], qr/division by zero/, 'no repair helps');
is(sql('SELECT count(*) FROM quotient'), '20', 'it stays as it was');
change();
is(waits('whole', 60_000), 't', 'others of the lane go on');
sql('UPDATE u SET y = 5 WHERE id = 100');
is(waits('over_quotient', 60_000), 't', 'it is back by itself');
all_exact('after an error');
sql(q{SELECT derive.repair('quotient'); SELECT derive.repair('top'); REFRESH MATERIALIZED VIEW whole});
all_exact('repaired');

# One that never could be computed has failed, as others do.
sql('INSERT INTO u VALUES (101, 0)');
point('incremental-never:skip');
sql(q{SELECT derive.create_view('never', 'SELECT 1 / y AS q FROM u')});
derive_wait_state($node, 'never', 'failed', 'one that cannot be built');
sql('DELETE FROM u WHERE id = 101');
sql(q{SELECT derive.repair('never')});
all_exact('and is, later');
sql('DROP MATERIALIZED VIEW never');
point();

# ---- subscribers

subscribe('whole');
all_exact('subscribed');

follow('whole', 'initial rows');
for (1 .. 3)
{
	change();
	is(waits('whole', 60_000), 't', 'a change');
	follow('whole', 'a change');
}
hold_lane('lane-before-commit');
change();
my $pid = waits_at($node, 'lane-before-commit');
follow('whole', 'before the commit');
point();
kill_process($pid);
comes_back($node);
eval { $holder->quit };
resume_failed($node);
all_exact('after a crash');
follow('whole', 'after a crash');
my $listener = background($node);
$listener->query_safe('LISTEN derive_whole');
change();
is(waits('whole', 60_000), 't', 'a change to be announced');
my $heard = '';
for (1 .. 10 * $timeout)
{
	$heard .= $listener->query('SELECT 1');
	last if $heard =~ /derive_whole/;
	usleep(100_000);
}
like($heard, qr/derive_whole/, 'it is announced');
$listener->quit;
follow('whole', 'announced');

# ---- those that cost little go with the others

sql(q{
CREATE TABLE w (id int PRIMARY KEY, x int);
INSERT INTO w SELECT i, i FROM generate_series(1, 10) i;
CREATE FUNCTION sometimes_slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF i < 0 THEN PERFORM pg_sleep(0.3); END IF; RETURN i; END $$;
SELECT derive.create_view('ten', 'SELECT id, sometimes_slow(x) AS x FROM w ORDER BY sometimes_slow(x), id LIMIT (SELECT 10)');
SELECT derive.create_view('over_ten', 'SELECT sum(x) AS s FROM ten');
});
# for now a batch that takes long because of other processes is no reason to get back into the lane
point('lane-costs:skip');
all_exact('a view that is cheap');
subscribe('ten');

# What is measured depends on what else the machine does.
sub moves_to
{
	my ($lane, $label) = @_;
	my $is = '';
	for my $i (1 .. 10 * $timeout)
	{
		$id++;
		sql("INSERT INTO w VALUES ($id, $id % 13)");
		is(waits('over_ten', 60_000), 't', "$label: it follows") if $i == 1;
		waits('over_ten', 60_000);
		$is = sql(q{SELECT count(*) FROM derive_state.lane WHERE view = 'ten'::regclass});
		last if $is eq $lane;
		usleep(100_000);
	}
	is($is, $lane, $label);
	return;
}
moves_to(0, 'it has left the lane');
follow('ten', 'it has left the lane');
for (1 .. 3)
{
	$id++;
	sql("INSERT INTO w VALUES ($id, 1)");
	is(waits('over_ten', 60_000), 't', 'with the others');
	follow('ten', 'with the others');
}
hold_lane('lane-locked', 'lane-costs:skip');
change();
waits_at($node, 'lane-locked');
sql('UPDATE w SET x = x + 1 WHERE id = 3');
is(waits('ten', 60_000), 't', 'it does not wait for the lane');
is(sql(q{SELECT oracle('ten'), oracle('over_ten')}), '0|0', 'and is exact');
let_lane_go();
sql('INSERT INTO w VALUES (0, -1)');
is(waits('over_ten', 60_000), 't', 'it has become slow');
follow('ten', 'it has become slow');
moves_to(1, 'so it is in the lane again');
follow('ten', 'so it is in the lane again');
all_exact('it has become slow');
sql('DELETE FROM w WHERE id = 0');
moves_to(0, 'it has left the lane again');
follow('ten', 'it has left the lane again');
all_exact('it has left the lane again');
sql(q{SELECT derive.unsubscribe('ten'); DROP MATERIALIZED VIEW ten CASCADE});

# ---- its share

sql('INSERT INTO t SELECT i, i % 7, i FROM generate_series(100001, 140000) i');
is(waits('whole', 120_000), 't', 'a run after which it rests for long');
sql(q{ALTER SYSTEM SET pg_derive.recompute_share = 0.001; SELECT pg_reload_conf()});
change();
is(waits('inc', 60_000), 't', 'others do not rest');
my $rests;
for (1 .. 10 * $timeout)
{
	# the lane may hear of the change before it hears of its share
	last if ($rests = waits('whole', 1000)) eq 'f';
	change();
}
is($rests, 'f', 'it rests');
sql(q{ALTER SYSTEM SET pg_derive.recompute_share = 1; SELECT pg_reload_conf()});
is(waits('whole', 60_000), 't', 'it may have more');
all_exact('a larger share');

# ---- load and crashes

sql('DROP MATERIALIZED VIEW past');
my $load = start_load($node, 600, undef, q{
\set a random(1, 5000)
\set d random(-50, 50)
BEGIN;
INSERT INTO t VALUES (1000000 + :client_id * 100000 + :a, :d % 7, :d) ON CONFLICT (id) DO UPDATE SET x = t.x + :d, g = (t.g + 1) % 7;
SAVEPOINT s;
DELETE FROM t WHERE id = 1000000 + :client_id * 100000 + :a + 1;
ROLLBACK TO s;
DELETE FROM t WHERE id = 1000000 + :client_id * 100000 + :a - 7;
COMMIT;
});
my ($rows, $moves) = (0, 0);
my $last = '';
for (my $i = 0; $i < 150 || ($moves <= 10 && $i < 100 * $timeout); $i++)
{
	my ($bad, $now) = split /\|/, sql(q{SELECT count(*) FILTER (WHERE nothing <> 0 OR nothing_too <> 0), (SELECT max(lsn) FROM derive_state.lane) FROM over});
	$rows += $bad;
	$moves++ if $now ne $last;
	$last = $now;
	usleep(10_000);
}
is($rows, 0, 'under load, tables and views are always read at one position');
cmp_ok($moves, '>', 10, 'and it moves');
stop_load($load);
all_exact('after the load');

# ---- dropping

hold_lane('lane-computed-whole');
change();
waits_at($node, 'lane-computed-whole');
sql(q{SET statement_timeout = '30 s'; DROP MATERIALIZED VIEW top});
sql(q{SET statement_timeout = '30 s'; DROP MATERIALIZED VIEW whole CASCADE});
let_lane_go();
wait_derived($node, 'dropped');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM derive_state.lane}), 'their rows are gone');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM derive_state.stale}), 'and their marks');
is(sql(q{SELECT view, oracle(view) FROM derive.views WHERE oracle(view) <> 0}), '', 'the others are exact');
hold_lane('lane-computed-quotient');
sql('INSERT INTO u VALUES (200, 7)');
waits_at($node, 'lane-computed-quotient');
sql(q{SET statement_timeout = '30 s'; DROP EXTENSION pg_derive CASCADE});
let_lane_go();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('pg_derive slow lane', 'pg_derive worker')}),
	'nobody is left without the extension');

log_is_clean($node);
$node->stop;
done_testing();
