# No session ever loses a deadlock to a process of ours: what they do while holding locks
# takes a lock only if it is free, or gives way, also where the lock is not one on a relation.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Our processes must not live on the server's setting, which is too long to help.
my $node = derive_node('order', conf => "deadlock_timeout = 10min\nlog_lock_waits = on\npg_derive.lock_timeout = 100ms\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);

my $holder = background($node);
my $user = background($node);
# Longer than a machine may stop for a while: ours ends its wait after pg_derive.lock_timeout.
$user->query_safe(q{SET deadlock_timeout = '30s'; SET statement_timeout = '60s'});

my $user_pid = $user->query_safe('SELECT pg_backend_pid()');

# A statement of the user, until he waits for a lock or has done it; finish() looks at what
# it said.
sub begin_statement
{
	my ($sql) = @_;
	$user->{stdin} .= "$sql\n\\echo done\n";
	for my $i (1 .. 3000)
	{
		$user->{run}->pump_nb;
		return if $user->{stdout} =~ /done/;
		return if $node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $user_pid AND NOT granted") ne '0';
		usleep(20_000);
	}
	die "neither waits nor ends: $sql";
}

sub finish
{
	my ($label) = @_;
	my ($out) = $user->query('SELECT 1');
	my $err = $user->{stderr};
	$user->{stderr} = '';
	$err =~ s/^.*(?:NOTICE|DETAIL|drop cascades|WARNING|HINT|LINE).*\n?//mg;
	unlike($err, qr/ERROR/, "$label: the user does not fail");
	return;
}

my $roles = q{CREATE ROLE ann; CREATE ROLE bob; GRANT ALL ON SCHEMA public TO ann, bob};
$node->safe_psql('postgres', $roles);

# Everything that a view may depend on, all of it owned by ann.
my $world = q{
DROP SCHEMA IF EXISTS w, x CASCADE;
DROP EXTENSION IF EXISTS citext CASCADE;
CREATE EXTENSION citext;
CREATE SCHEMA w AUTHORIZATION ann;
CREATE SCHEMA x;
GRANT ALL ON SCHEMA x TO ann, bob;
GRANT CREATE ON DATABASE postgres TO ann;
SET ROLE ann;
CREATE TYPE w.mood AS ENUM ('calm', 'angry');
CREATE DOMAIN w.positive AS int CHECK (value > 0);
CREATE TYPE w.pair AS (a int, b int);
CREATE COLLATION w.german (provider = icu, locale = 'de');
CREATE FUNCTION w.twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * i';
CREATE TABLE w.t (id w.positive PRIMARY KEY, m w.mood, p w.pair, c public.citext, g text COLLATE w.german, n int);
CREATE TABLE w.u (id int PRIMARY KEY, n int);
INSERT INTO w.t SELECT i, 'calm', ROW(i, i)::w.pair, 'c' || i, 'g', i FROM generate_series(1, 100) i;
INSERT INTO w.u SELECT i, i % 7 FROM generate_series(1, 100) i;
};
my $declare = q{SELECT derive.create_view('w.v', 'SELECT t.id, t.m, t.p, t.c, max(t.g) AS g, w.twice(u.n) AS n, count(*) AS k FROM w.t JOIN w.u ON t.n = u.id GROUP BY 1, 2, 3, 4, 6')};

# The builder has its locks on relations, and goes on while the user waits for one of them.
for my $sql (
	'DROP SCHEMA w CASCADE',
	'DROP TYPE w.mood CASCADE',
	'DROP DOMAIN w.positive CASCADE',
	'DROP TYPE w.pair CASCADE',
	'DROP COLLATION w.german CASCADE',
	'DROP EXTENSION citext CASCADE',
	'DROP FUNCTION w.twice CASCADE',
	'DROP TABLE w.u, w.t CASCADE',
	'DROP OWNED BY ann CASCADE',
	'BEGIN; DROP OWNED BY ann CASCADE; REVOKE ALL ON DATABASE postgres FROM ann; COMMIT',
	'REASSIGN OWNED BY ann TO bob',
	'ALTER TABLE w.t SET SCHEMA x',
	'ALTER TYPE w.mood SET SCHEMA x; DROP SCHEMA w CASCADE',
	'ALTER MATERIALIZED VIEW w.v SET SCHEMA x; DROP SCHEMA x CASCADE; CREATE SCHEMA x',
	'BEGIN; ALTER SCHEMA w RENAME TO y; DROP SCHEMA y CASCADE; COMMIT; CREATE SCHEMA w',
	'CREATE INDEX CONCURRENTLY v_n ON w.v (n)',
	'REINDEX SCHEMA CONCURRENTLY w',
	'DROP EXTENSION pg_derive CASCADE',
)
{
	$node->safe_psql('postgres', $world);
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-fill'))});
	set_debug_point($node, 'build-before-fill:wait');
	$node->safe_psql('postgres', "SET ROLE ann; $declare");
	waits_at($node, 'build-before-fill');
	begin_statement("$sql;");
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	finish("built, $sql");
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_derive') if $sql =~ /pg_derive/;
	$node->safe_psql('postgres', 'DROP OWNED BY bob CASCADE') if $sql =~ /TO bob/;
	$node->safe_psql('postgres', 'GRANT ALL ON SCHEMA public TO ann, bob');
	next if $node->safe_psql('postgres', 'SELECT count(*) FROM derive.views') eq '0';
	wait_derived($node, "built, $sql: caught up");
	is_exact($node, "built, $sql");
}

# The user has one of two tables, and wants the other: the builder compiles the view meanwhile.
$node->safe_psql('postgres', $world);
for my $order (['w.t', 'w.u'], ['w.u', 'w.t'], ['w.u', 'w.v'], ['w.v', 'w.t'])
{
	my ($first, $second) = @$order;

	$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW IF EXISTS w.v');
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-identity'))});
	set_debug_point($node, 'build-before-identity:wait');
	$node->safe_psql('postgres', "SET ROLE ann; $declare");
	waits_at($node, 'build-before-identity');
	$user->query_safe('BEGIN');
	$user->query_safe($first eq 'w.v' ? 'ALTER MATERIALIZED VIEW w.v ALTER COLUMN n SET STORAGE plain' : "LOCK TABLE $first IN ACCESS EXCLUSIVE MODE");
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE backend_type = 'pg_derive builder' AND NOT granted});
	begin_statement($second eq 'w.v' ? 'ALTER MATERIALIZED VIEW w.v ALTER COLUMN n SET STORAGE plain;' : "LOCK TABLE $second IN ACCESS EXCLUSIVE MODE;");
	finish("builder compiles, $first, then $second");
	$user->query_safe('COMMIT');
	wait_derived($node, "$first, then $second: caught up");
}
is_exact($node, 'locks of two tables');

# A session waits for a view while another one, which stands in the worker's way, waits for it.
# The server knows nothing of that; so it is the waiting session itself that notices.
my %took;
for my $case (
	[ 'queue', 'SELECT count(*) FROM w.t', 'UPDATE w.u SET n = n + 1 WHERE id = 1', ['LOCK TABLE w.t IN ACCESS EXCLUSIVE MODE'] ],
	[ 'table', 'SELECT count(*) FROM w.v', 'UPDATE w.u SET n = n + 1 WHERE id = 1', [ 'LOCK TABLE w.u IN ACCESS EXCLUSIVE MODE', 'REINDEX TABLE w.v' ] ],
	[ 'view', 'SELECT count(*) FROM w.v', 'UPDATE w.u SET n = n + 1 WHERE id = 1', ['ALTER MATERIALIZED VIEW w.v ALTER COLUMN n SET STORAGE plain'] ])
{
	my ($label, $read, $write, $locks) = @$case;
	for my $wait (q{derive.wait('w.v', '200 s')}, q{derive.verify('w.v', '200 s')}, q{derive.repair('w.v')})
	{
		$holder->query_safe('BEGIN');
		$holder->query_safe($read);
		$user->query_safe('BEGIN');
		$node->safe_psql('postgres', $write);
		begin_statement(join(';', @$locks) . ';');
		$node->safe_psql('postgres', $write) unless "@$locks" =~ /w\.u/;
		my $since = time();
		$holder->query("SELECT * FROM $wait");
		like($holder->{stderr}, qr/^$|cannot wait for maintained views while another session waits for a lock of this transaction/, "$label, $wait: the cycle is noticed");
		push @{ $took{$wait} }, time() - $since;
		cmp_ok($took{$wait}[-1], '<', 55, "$label, $wait: before its time is over");
		$holder->{stderr} = '';
		$holder->query('ROLLBACK');
		finish("$label, $wait");
		$user->query('COMMIT');
		wait_derived($node, "$label, $wait: caught up");
	}
}

cmp_ok((sort { $a <=> $b } @{ $took{$_} })[0], '<', 15, "$_: soon") for sort keys %took;

# It is no cycle if that other one is a process of ours, which gives up: here the worker, which wants a replica identity.
$node->append_conf('postgresql.conf', "pg_derive.lock_timeout = '3s'\n");
$holder->query_safe('BEGIN');
$holder->query_safe('SELECT count(*) FROM w.t');
$node->append_conf('postgresql.conf', "pg_derive.old_rows = log\n");
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE backend_type = 'pg_derive worker'
	AND relation = 'w.t'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted}), 'the worker wants a lock that it cannot have yet');
is($holder->query_safe(q{SELECT * FROM derive.verify('w.v', '60 s')}), 'w.v|0|0', 'which ends by itself');
$holder->query_safe('COMMIT');
$node->append_conf('postgresql.conf', "pg_derive.lock_timeout = '200ms'\npg_derive.old_rows = auto\n");
$node->reload;
wait_derived($node, 'caught up without it');

# One session locks what it can, in any order, while builder, worker, slow lane and verifier are
# at work.  There is nobody else with whom it could deadlock.
$node->safe_psql('postgres', q{
CREATE TABLE w.load (id int PRIMARY KEY, n int);
SELECT derive.create_view('w.joined', 'SELECT t.id, u.n, l.n AS m FROM w.t JOIN w.u ON t.n = u.id LEFT JOIN w.load l ON l.id = t.id');
SELECT derive.create_view('w.above', 'SELECT n, count(*) AS k FROM w.joined GROUP BY n');
SELECT derive.create_view('w.whole', 'SELECT n, ntile(4) OVER (ORDER BY n, id) FROM w.u');
});
wait_derived($node, 'storm: before');
$user->query_safe(q{SET deadlock_timeout = '5s'; SET lock_timeout = '20s'});
my $seed = $ENV{DERIVE_SEED} // int(rand(1_000_000));
note("DERIVE_SEED=$seed");
srand($seed);
local $ENV{PGAPPNAME} = 'storm';
my $writer = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{
SET lock_timeout = '5min'}, '-c', q{DO $$ BEGIN FOR i IN 1 .. 100000 LOOP
	UPDATE w.u SET n = (n + i) % 11 WHERE id = 1 + i % 100; COMMIT;
	UPDATE w.t SET n = 1 + i % 100 WHERE id = 1 + i % 90; COMMIT;
	INSERT INTO w.load VALUES (i, i); COMMIT;
	DELETE FROM w.load WHERE id < i - 50; COMMIT;
	PERFORM pg_sleep(0.002);
END LOOP; END $$} ], '>', \my $writer_out, '2>', \my $writer_err);
my $verifier = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{DO $$ BEGIN LOOP
	BEGIN PERFORM derive.verify(); EXCEPTION WHEN lock_not_available OR object_not_in_prerequisite_state OR undefined_table THEN NULL; END; COMMIT;
END LOOP; END $$} ], '>', \my $verifier_out, '2>', \my $verifier_err);
delete $ENV{PGAPPNAME};
my @tables = qw(w.t w.u w.load);
my @views = qw(w.v w.joined w.above w.whole);
my @strong = ('SET STORAGE plain', 'SET STATISTICS 50');
my $end = time() + ($ENV{DERIVE_STORM_SECONDS} // 12);
my ($rounds, $through, @lost) = (0, 0);
while (time() < $end || ($through <= 20 && time() < $end + 120))
{
	my @steps;
	for (1 .. 2 + int(rand(3)))
	{
		my $kind = rand();
		push @steps, $kind < 0.5 ? "LOCK TABLE $tables[rand @tables] IN ACCESS EXCLUSIVE MODE"
		  : $kind < 0.75 ? "ALTER MATERIALIZED VIEW $views[rand @views] ALTER COLUMN n $strong[rand @strong]"
		  : $kind < 0.85 ? "SELECT derive.repair('$views[rand @views]')"
		  : $kind < 0.95 ? "REFRESH MATERIALIZED VIEW $views[rand @views]"
		  : "TRUNCATE w.load";
	}
	my $sql = join('; ', 'BEGIN', @steps, 'COMMIT');
	my ($out) = $user->query("$sql; ROLLBACK;");
	push @lost, "$sql: $user->{stderr}" if $user->{stderr} =~ /deadlock/;
	$through++ unless $user->{stderr} =~ /timeout/;
	$user->{stderr} = '';
	$rounds++;
	usleep(rand(30_000));
}
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'storm'});
$_->finish for $writer, $verifier;
is(join("\n", @lost), '', "storm: no deadlock in $rounds rounds");
unlike($writer_err, qr/deadlock|timeout/, 'storm: the writer was never in the way of a deadlock');
cmp_ok($through, '>', 20, 'storm: the user came through');
wait_derived($node, 'storm: caught up');
is_exact($node, 'storm');

$_->quit for $holder, $user;
log_is_clean($node);
done_testing();
