# derive.verify(): exact under load, beside the batches, and ended in every way.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('verify', conf => "max_worker_processes = 16\n");
my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my ($rc, $out, $err);

sub verifier_pid
{
	my ($db) = @_;
	$db //= 'postgres';
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_derive verifier' AND datname = '$db'");
}

# One that runs, or the next one.
sub await_verifier
{
	my ($what) = @_;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_derive verifier' AND query LIKE '$what'")
	  or die "no verifier does $what";
	return verifier_pid();
}

# The one that compares a view for a call of now; what pg_stat_activity says may be of the one before.
sub compares
{
	my ($view) = @_;
	my $pid = "SELECT min(pid) FROM derive.progress WHERE view = '$view'::regclass AND state = 'verifying' AND phase = 'comparing'";
	$node->poll_query_until('postgres', "SELECT ($pid) IS NOT NULL") or die "$view is not compared";
	return $node->safe_psql('postgres', $pid);
}

# A session that executes something in the background, and what it has said when it is done.
sub start_sql
{
	my ($sql, %opt) = @_;
	my $session = background($node, timeout => 10 * $timeout, %opt);
	$session->{stdin} .= "$sql;\n\\echo finished\n";
	$session->{run}->pump_nb;
	return $session;
}

sub start_verify
{
	my ($call, %opt) = @_;
	return start_sql("SELECT * FROM derive.verify($call)", %opt);
}

sub finish
{
	my ($session) = @_;
	my $result = $session->query_until(qr/finished/, '');
	$session->quit;
	return $result;
}

load_tables($node);
$node->safe_psql('postgres', q{
SELECT derive.create_view('named', 'SELECT b.name, v.n, v.sum FROM branches b JOIN by_branch v USING (branch)');
CREATE TABLE small (id int PRIMARY KEY, x int);
INSERT INTO small SELECT i, i % 5 FROM generate_series(1, 100) i;
SELECT derive.create_view('of_small', 'SELECT x, count(*) AS n FROM small GROUP BY x');
});
wait_derived($node, 'built');
is_exact($node, 'at the start');

# ---- under load, with subtransactions, many of them, rollbacks and prepared transactions

my $load = start_load($node, 600, undef, q{
\set a random(1, 5000)
\set b random(0, 9)
\set d random(-50, 50)
BEGIN;
UPDATE accounts SET balance = balance + :d, branch = CASE WHEN :d % 5 = 0 THEN :b ELSE branch END WHERE id = :a;
INSERT INTO history (account, delta) VALUES (:a, :d);
SAVEPOINT s;
DELETE FROM history WHERE account = :a + 1;
UPDATE accounts SET note = 'never' WHERE id = :a;
ROLLBACK TO s;
SAVEPOINT t;
DELETE FROM history WHERE account = :a - 7;
INSERT INTO small VALUES (:a, :b) ON CONFLICT (id) DO UPDATE SET x = :b;
COMMIT;
\if :d > 40
DO $$ BEGIN FOR i IN 1 .. 80 LOOP BEGIN
UPDATE small SET x = x + 1 WHERE id = i; IF i % 9 = 0 THEN RAISE division_by_zero; END IF;
EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$;
\endif
BEGIN;
UPDATE branches SET name = 'branch ' || :d WHERE branch = :b;
UPDATE accounts SET balance = balance - 1 WHERE id = :a;
PREPARE TRANSACTION 'p:client_id';
\if :d > 0
COMMIT PREPARED 'p:client_id';
\else
ROLLBACK PREPARED 'p:client_id';
\endif
});
my $changes = $node->safe_psql('postgres', 'SELECT count(*) FROM history');
$node->poll_query_until('postgres', "SELECT count(*) > $changes + 20 FROM history") or die 'no load';

my $loop = q{
DO $$
DECLARE
	r record;
	n int := 0;
BEGIN
	FOR i IN 1 .. 40 LOOP
		FOR r IN SELECT * FROM derive.verify() LOOP
			n := n + 1;
			IF r.missing <> 0 OR r.extra <> 0 THEN
				RAISE EXCEPTION '% after % comparisons: % missing, % extra', r.view, n, r.missing, r.extra;
			END IF;
		END LOOP;
	END LOOP;
	RAISE NOTICE '% comparisons', n;
END $$;
};
$changes = $node->safe_psql('postgres', 'SELECT txid_current()');
($rc, $out, $err) = $node->psql('postgres', $loop);
cmp_ok($node->safe_psql('postgres', "SELECT txid_current()") - $changes, '>', 500, 'there was load');
is($rc, 0, 'exact under load') or diag($err);
like($err, qr/240 comparisons/, 'each view, each time');

# Two sessions at once, and an old transaction that holds the horizon.
my $old = background($node, timeout => 10 * $timeout);
$old->query_safe('BEGIN; INSERT INTO history VALUES (1, 1)');
$loop =~ s/1 \.\. 40/1 .. 5/;
my @loops = map { start_sql($loop) } 1, 2;
finish($_) for @loops;
is($_->{stderr} =~ /(\d+ comparisons)/ ? $1 : $_->{stderr}, '30 comparisons', 'two sessions take turns') for @loops;
is($node->safe_psql('postgres', q{SELECT count(*) <= 1 FROM pg_stat_activity WHERE backend_type = 'pg_derive verifier'}),
	't', 'there is one verifier');
$old->query_safe('COMMIT');
$old->quit;
stop_load($load);
$node->safe_psql('postgres', $_) for split /\n/, $node->safe_psql('postgres',
	q{SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts});
wait_derived($node, 'after the load');
is_exact($node, 'after the load');

# ---- it sees what is wrong

# a superuser can put a row into a view, with some violence
$node->safe_psql('postgres', q{
BEGIN;
UPDATE pg_class SET relkind = 'r' WHERE oid = 'by_branch'::regclass;
INSERT INTO by_branch (branch, n, sum) VALUES (-5, 1, 1);
UPDATE pg_class SET relkind = 'm' WHERE oid = 'by_branch'::regclass;
COMMIT});
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('by_branch')}), 'by_branch|0|1', 'a row too many');
$node->safe_psql('postgres', q{SELECT derive.repair('by_branch')});
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('by_branch')}), 'by_branch|0|0', 'and gone when repaired');

# and a function can call itself immutable and be nothing of the kind
$node->safe_psql('postgres', q{
CREATE TABLE lie (k int); INSERT INTO lie VALUES (1);
CREATE FUNCTION lies(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN i * (SELECT k FROM public.lie); END $$;
SELECT derive.create_view('lied', 'SELECT id, lies(x) AS y FROM small WHERE id <= 3');
SELECT derive.wait('lied')});
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('lied')}), 'lied|0|0', 'not yet');
$node->safe_psql('postgres', 'UPDATE lie SET k = 1000; SELECT derive.wait()');
like($node->safe_psql('postgres', q{SELECT * FROM derive.verify('lied')}), qr/^lied\|([123])\|\1$/, 'rows computed otherwise');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW lied');

# ---- a slow comparison, beside which the others go on

$node->safe_psql('postgres', q{
CREATE ROLE slow LOGIN; CREATE SCHEMA slow AUTHORIZATION slow; SET ROLE slow;
CREATE TABLE slow.t (id int PRIMARY KEY);
CREATE TABLE slow.hold (locked boolean);
CREATE FUNCTION slow.f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM pg_sleep(10000) FROM slow.hold; RETURN i; END $$;
SELECT derive.create_view('slow.v', 'SELECT slow.f(id) AS id FROM slow.t');
INSERT INTO slow.t VALUES (1), (2);
SELECT derive.wait('slow.v');
INSERT INTO slow.hold VALUES (true)});

my $slow = start_verify(q{'slow.v'});
await_verifier('%slow.v: comparing');
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', "INSERT INTO small VALUES ($i + 10000, $i) ON CONFLICT DO NOTHING; UPDATE accounts SET balance = $i WHERE id = $i");
	is($node->safe_psql('postgres', q{SELECT derive.wait(timeout => '180 s')}), 't', "views go on beside it: $i");
}
is_deeply([ $node->psql('postgres', q{SELECT * FROM derive.verify('of_small', timeout => '1 s')}) ]->[0], 3, 'a verification behind it has a timeout');
($rc, $out, $err) = $node->psql('postgres', q{\set VERBOSITY verbose
SELECT * FROM derive.verify('of_small', timeout => '1 s')});
like($err, qr/57014: could not verify view "of_small" within the timeout/, 'which is an error');
like($err, qr/Its turn had not come, view "v" was being verified for another session/, 'that says what it waited for');
($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '1 s'; SELECT * FROM derive.verify('of_small')});
like($err, qr/statement timeout/, 'and can be cancelled');
($rc, $out, $err) = $node->psql('postgres', q{SELECT * FROM derive.verify('of_small', timeout => '-1 s')});
like($err, qr/timeout must not be negative/, 'a negative timeout');

# What is given up is cancelled, and the next one has its turn.
my $next = start_verify(q{'of_small'});
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%verify(''slow.v'')%' AND pid <> pg_backend_pid()});
like(finish($next), qr/of_small\|0\|0/, 'after a cancel the next one is served');
finish($slow);
like($slow->{stderr}, qr/canceling statement due to user request/, 'the cancelled session');
for my $s (1, 5, 20)
{
	($rc, $out, $err) = $node->psql('postgres', "SELECT * FROM derive.verify('slow.v', timeout => '$s s')");
	last if $err =~ /last seen comparing/;
}
like($err, qr/could not verify view "v" within the timeout.*was last seen comparing/s, 'its own timeout');
($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '1 s'; SELECT * FROM derive.verify('slow.v')});
like($err, qr/statement timeout/, 'statement_timeout');
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('of_small')}), 'of_small|0|0', 'and on it goes');

# A session that is terminated.
$slow = start_verify(q{'slow.v'});
await_verifier('%slow.v: comparing');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%verify(''slow.v'')%' AND pid <> pg_backend_pid()});
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('of_small')}), 'of_small|0|0', 'after a session was terminated');
eval { $slow->quit };

# An administrator cancels the verifier, or ends it.
$slow = start_verify(q{'slow.v'});
my $pid = await_verifier('%slow.v: comparing');
# it goes soon if it has nothing to do
$next = start_verify(q{'slow.v'});
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query LIKE '%verify(''slow.v'')%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()})
  or die 'no two calls';
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
finish($slow);
like($slow->{stderr}, qr/could not verify view "v"\nDETAIL:  canceling statement/, 'who cancels the verifier cancels the comparison');
is(compares('slow.v'), $pid, 'and the process goes on');
$slow = $next;
for my $life (1 .. 3)
{
	$pid = compares('slow.v');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die;
}
finish($slow);
like($slow->{stderr}, qr/could not verify view "v"\nDETAIL:  the processes that compared it have ended/, 'ended three times');
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('of_small')}), 'of_small|0|0', 'the others are served');

# A function that catches the cancel is ended with its process, for the sake of others.
$node->safe_psql('postgres', q{SET ROLE slow; TRUNCATE slow.hold; CREATE OR REPLACE FUNCTION slow.f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF EXISTS (SELECT FROM slow.hold) THEN
		LOOP
			BEGIN PERFORM pg_sleep(10000); EXCEPTION WHEN query_canceled THEN NULL; END;
		END LOOP;
	END IF;
	RETURN i;
END $$;
SELECT derive.wait('slow.v'); INSERT INTO slow.hold VALUES (true)});
($rc, $out, $err) = $node->psql('postgres', q{SELECT * FROM derive.verify('slow.v', timeout => '1 s')});
like($err, qr/within the timeout/, 'a function that cannot be cancelled');
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('of_small')}), 'of_small|0|0', 'is ended when others wait');

# ---- locks

# It gives way to who wants to lock what it reads, and begins again behind him.
$slow = start_verify(q{'slow.v'});
await_verifier('%slow.v: comparing');
$node->safe_psql('postgres', q{SET statement_timeout = '60 s'; ALTER TABLE slow.t ADD COLUMN more int; TRUNCATE slow.hold});
like(finish($slow), qr/v\|0\|0/, 'gives way to ALTER TABLE, if need be with its process');
$node->safe_psql('postgres', q{SET ROLE slow; CREATE OR REPLACE FUNCTION slow.f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM pg_sleep(10000) FROM slow.hold; RETURN i; END $$; SELECT derive.wait('slow.v'); INSERT INTO slow.hold VALUES (true)});
$slow = start_verify(q{'slow.v'});
await_verifier('%slow.v: comparing');
$node->safe_psql('postgres', q{SET statement_timeout = '30 s'; ALTER TABLE slow.t DROP COLUMN more; TRUNCATE slow.hold});
like(finish($slow), qr/v\|0\|0/, 'gives way to ALTER TABLE');
$node->safe_psql('postgres', q{INSERT INTO slow.hold VALUES (true)});
$slow = start_verify(q{'slow.v'});
await_verifier('%slow.v: comparing');
$node->safe_psql('postgres', q{SET statement_timeout = '30 s'; DROP MATERIALIZED VIEW slow.v});
finish($slow);
like($slow->{stderr}, qr/could not verify view|no longer maintained/, 'gives way to DROP');
$node->safe_psql('postgres', q{DROP TABLE slow.t; DROP FUNCTION slow.f});

# A lock held by the very session that waits would be waited for for ever.
($rc, $out, $err) = $node->psql('postgres', q{BEGIN; LOCK TABLE small IN ACCESS EXCLUSIVE MODE; SELECT * FROM derive.verify('of_small')});
like($err, qr/cannot wait for maintained views while holding a lock on relation "small"/, 'a lock of its own');
# and one that another session holds is waited for
my $locker = background($node);
$locker->query_safe('BEGIN; LOCK TABLE small IN ACCESS EXCLUSIVE MODE');
($rc, $out, $err) = $node->psql('postgres', q{SELECT * FROM derive.verify('of_small', timeout => '1 s')});
like($err, qr/within the timeout/, 'waits for a lock');
$next = start_verify(q{'of_small'});
$locker->query_safe('ROLLBACK');
$locker->quit;
like(finish($next), qr/of_small\|0\|0/, 'until it is free');

# ---- views that cannot be compared

# one that the worker cannot move is compared when it is with the others again
my $state = $node->safe_psql('postgres', q{SELECT relid::regclass FROM derive_state.relations WHERE view = 'of_small'::regclass AND role = 's' LIMIT 1});
$locker = background($node);
$locker->query_safe("BEGIN; REINDEX TABLE $state");
$node->safe_psql('postgres', 'UPDATE small SET x = x + 1 WHERE id < 10');
$node->poll_query_until('postgres', q{SELECT state = 'waiting' FROM derive.views WHERE view = 'of_small'::regclass}) or die;
for my $s (1, 5, 20)
{
	($rc, $out, $err) = $node->psql('postgres', "SELECT * FROM derive.verify('of_small', timeout => '$s s')");
	last if $err =~ /cannot be moved at present/;
}
like($err, qr/within the timeout.*The view cannot be moved at present/s, 'a view that stands still');
$next = start_verify(q{'of_small'});
await_verifier('%waiting for the view');
is($node->safe_psql('postgres', q{UPDATE branches SET name = name || '.'; SELECT derive.wait('named', timeout => '180 s')}), 't', 'the others go on');
$locker->query_safe('ROLLBACK');
$locker->quit;
like(finish($next), qr/of_small\|0\|0/, 'until it is with the others again');

($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.pause('of_small'); SELECT * FROM derive.verify('of_small')});
like($err, qr/the view is paused/, 'paused');
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.resume('of_small'); SELECT * FROM derive.verify('of_small')});
like($out, qr/of_small\|0\|0/, 'resumed') or diag($err);

# ---- races, one by one

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);

	# Verify up to a point, do something else, go on.
	my $race = sub {
		my ($point, $call, $sql, $label, $pattern) = @_;
		my $holder = background($node);
		$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		set_debug_point($node, "$point:wait");
		my $session = start_verify($call);
		waits_at($node, $point);
		is($node->safe_psql('postgres', q{SELECT p.view, p.state, p.phase <> '', p.started_at < now(), a.backend_type FROM derive.progress p
				JOIN pg_stat_activity a USING (pid) WHERE p.state = 'verifying'}),
			($call =~ /'(\w+)'/)[0] . '|verifying|t|t|pg_derive verifier', "$point: derive.progress");
		$node->safe_psql('postgres', $_) for @$sql;
		set_debug_point($node, '');
		$holder->query_safe("SELECT pg_advisory_unlock(hashtext('$point'))");
		$holder->quit;
		like(finish($session), $pattern, "$point: $label") or diag($session->{stderr});
		return;
	};
	my $changes = 'DELETE FROM small WHERE id % 7 = 1; UPDATE small SET x = x + 1; INSERT INTO small SELECT i, 3 FROM generate_series(20000, 20100) i ON CONFLICT (id) DO UPDATE SET x = small.x + 1';

	for my $point (qw(verify-locked verify-batch verify-snapshot))
	{
		$race->($point, q{'of_small'}, [ $changes, 'SELECT derive.wait()', 'VACUUM small, of_small', $changes, 'SELECT derive.wait()', 'VACUUM FREEZE small, of_small' ],
			'changes, batches and VACUUM', qr/of_small\|0\|0/);
		$race->($point, q{'named'}, [ 'UPDATE branches SET name = name || 1', 'UPDATE accounts SET branch = branch % 9 + 1', 'SELECT derive.wait()',
				'UPDATE branches SET name = name || 2; VACUUM accounts, branches, by_branch' ],
			'a view of a view and a table', qr/named\|0\|0/);
	}

	# a prepared transaction and one in progress, which end at each point
	for my $point (qw(verify-locked verify-batch verify-snapshot))
	{
		my $open = background($node);
		$open->query_safe('BEGIN; UPDATE small SET x = x + 2 WHERE id < 50; SAVEPOINT a; DELETE FROM small WHERE id > 4000; SAVEPOINT b; INSERT INTO small VALUES (-1, 1); ROLLBACK TO b');
		$node->safe_psql('postgres', q{BEGIN; SAVEPOINT a; UPDATE small SET x = x + 3 WHERE id BETWEEN 60 AND 70; PREPARE TRANSACTION 'p'});
		$race->($point, q{'of_small'}, [ q{SELECT pg_stat_clear_snapshot()} ], 'transactions in progress', qr/of_small\|0\|0/);
		my $holder = background($node);
		$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		set_debug_point($node, "$point:wait");
		my $session = start_verify(q{'of_small'});
		waits_at($node, $point);
		$open->query_safe('COMMIT');
		$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
		$node->safe_psql('postgres', 'SELECT derive.wait()');
		set_debug_point($node, '');
		$holder->query_safe("SELECT pg_advisory_unlock(hashtext('$point'))");
		like(finish($session), qr/of_small\|0\|0/, "$point: they commit meanwhile") or diag($session->{stderr});
		$holder->quit;
		$open->quit;
	}

	# a batch in careful mode changes views in subtransactions
	$node->safe_psql('postgres', "SELECT 1");
	set_debug_point($node, 'batch-applied:once');
	$node->safe_psql('postgres', "$changes; UPDATE accounts SET balance = balance + 1 WHERE id < 100");
	is($node->safe_psql('postgres', q{SELECT view, missing, extra FROM derive.verify() WHERE missing + extra > 0}), '', 'a batch in careful mode');
	set_debug_point($node, '');

	# a function that is replaced during the comparison marks the view; so the result is not of two minds
	$node->safe_psql('postgres', q{
CREATE FUNCTION once(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1';
SELECT derive.create_view('replaced', 'SELECT id, once(x) AS x FROM small'); SELECT derive.wait('replaced')});
	for my $point (qw(verify-snapshot verify-compared))
	{
		my $n = $point eq 'verify-snapshot' ? 5 : 6;
		$race->($point, q{'replaced'}, [ "CREATE OR REPLACE FUNCTION once(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + $n'", 'SELECT derive.wait()' ],
			'a function is replaced', qr/replaced\|0\|0/);
	}

	# so does a partition that comes
	$node->safe_psql('postgres', q{
CREATE TABLE parts (id int) PARTITION BY LIST (id);
CREATE TABLE part1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE part2 (id int);
INSERT INTO part1 VALUES (1), (1); INSERT INTO part2 VALUES (2), (2), (2);
SELECT derive.create_view('of_parts', 'SELECT id, count(*) AS n FROM parts GROUP BY id'); SELECT derive.wait('of_parts')});
	for my $point (qw(verify-locked verify-batch verify-snapshot))
	{
		$race->($point, q{'of_parts'}, [ 'ALTER TABLE parts ATTACH PARTITION part2 FOR VALUES IN (2)' ], 'a partition comes', qr/of_parts\|0\|0/);
		$node->safe_psql('postgres', 'ALTER TABLE parts DETACH PARTITION part2; SELECT derive.wait()');
	}

	# the worker ends while the verifier waits for its batch, and while it compares
	for my $point (qw(verify-locked verify-snapshot))
	{
		my $worker = worker_pid($node);
		$race->($point, q{'of_small'}, [ "SELECT pg_terminate_backend($worker)" ], 'the worker ends', qr/of_small\|0\|0/);
	}

	# an error of the verifier's own is the session's
	set_debug_point($node, 'verify-snapshot:error');
	($rc, $out, $err) = $node->psql('postgres', q{SELECT * FROM derive.verify('of_small')});
	like($err, qr/could not verify view "of_small"\nDETAIL:  debug point "verify-snapshot" was reached/, 'an error in the verifier');
	set_debug_point($node, '');
	is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('of_small')}), 'of_small|0|0', 'after which it goes on');

	# ---- kill -9

	my $holder = background($node);
	$holder->query_safe("SELECT pg_advisory_lock(hashtext('verify-snapshot'))");
	set_debug_point($node, 'verify-snapshot:wait');
	my $session = start_verify(q{'of_small'});
	$pid = waits_at($node, 'verify-snapshot');
	set_debug_point($node, '');
	kill_process($pid);
	comes_back($node);
	eval { $_->quit } for $session, $holder;
	wait_derived($node, 'after kill -9 of the verifier');
	is_exact($node, 'after kill -9 of the verifier');
}

# ---- many at once

my @many = map { start_verify(q{'of_small'}) } 1 .. 40;
my @answers = map { finish($_) =~ /of_small\|0\|0/ ? 1 : 0 } @many;
is(scalar(grep { $_ } @answers), 40, 'more calls than there are places') or diag(join("\n", map { $_->{stderr} } @many));

# ---- the process ends when it has nothing to do

$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_derive verifier'})
  or die 'the verifier does not end';
pass('the verifier ends after a while');
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('of_small')}), 'of_small|0|0', 'and comes back');

# ---- databases and the extension go away

for my $db (qw(gone kept))
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, q{CREATE EXTENSION pg_derive;
CREATE TABLE t AS SELECT g AS id, g AS x FROM generate_series(1, 1000) g;
CREATE TABLE hold (h boolean);
CREATE FUNCTION f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(10000) FROM public.hold; RETURN i; END $$;
SELECT derive.create_view('v', 'SELECT f(id) AS id FROM t');
SELECT derive.create_view('w', 'SELECT x, count(*) FROM t GROUP BY x');
SELECT derive.wait()});
}

for my $round (1 .. 2)
{
	# one is compared, the others wait, some of them for a place
	$node->safe_psql('gone', 'SELECT derive.wait(); INSERT INTO hold VALUES (true)');
	my @waiting = map { start_verify(q{'v'}, db => 'gone') } 1 .. 20;
	await_verifier('%v: comparing');
	is($node->safe_psql('kept', q{SELECT * FROM derive.verify('w')}), 'w|0|0', 'another database has places, and a verifier, of its own');
	usleep(100_000) until $node->psql('postgres', 'DROP DATABASE gone WITH (FORCE)') == 0;
	eval { $_->quit } for @waiting;
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = \'kept\'');
	usleep(100_000) until $node->psql('postgres', 'CREATE DATABASE gone TEMPLATE kept') == 0;
}
is(join(' ', map { $node->safe_psql('gone', q{SELECT * FROM derive.verify('w')}) } 1 .. 20), join(' ', ('w|0|0') x 20), 'no place is lost');

# An idle verifier is no session that keeps others from the database.
is($node->safe_psql('gone', q{SELECT * FROM derive.verify('w')}), 'w|0|0', 'a verifier is there');
$node->safe_psql('postgres', 'ALTER DATABASE gone RENAME TO renamed');
is($node->safe_psql('renamed', q{SELECT * FROM derive.verify('w')}), 'w|0|0', 'it leaves when it must');

$node->safe_psql('renamed', 'INSERT INTO hold VALUES (true)');
my $session = start_verify(q{'v'}, db => 'renamed');
await_verifier('%v: comparing');
$node->safe_psql('renamed', q{SET statement_timeout = '60 s'; DROP EXTENSION pg_derive CASCADE});
finish($session);
like($session->{stderr}, qr/extension "pg_derive" was dropped|not maintained/, 'the extension is dropped');
$node->safe_psql('renamed', q{CREATE EXTENSION pg_derive; DROP MATERIALIZED VIEW w; SELECT derive.create_view('w', 'SELECT x, count(*) FROM t GROUP BY x'); SELECT derive.wait()});
is($node->safe_psql('renamed', q{SELECT * FROM derive.verify('w')}), 'w|0|0', 'and comes back');

wait_derived($node, 'at the end');
is_exact($node, 'at the end');
log_is_clean($node);
$node->stop;
done_testing();
