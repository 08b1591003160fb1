# The clock of the machine is set forwards and back by an hour: nothing hangs or spins, and
# views are right, those that depend on the time, too.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

load_faults();
my $node = derive_node('clock', conf => "pg_derive.time_resolution = '100ms'\npg_derive.recompute_share = 1\n");
my $points = has_debug_points($node);
my $id = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Seconds of CPU that a process has used.
sub cpu
{
	my ($pid) = @_;
	my @fields = split ' ', slurp_file("/proc/$pid/stat") =~ s/.*\)//r;
	return ($fields[11] + $fields[12]) / 100;
}

sql(q{
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, k int, d int DEFAULT 1);
CREATE TABLE u (id int PRIMARY KEY, x int);
SELECT derive.create_view('recent', $$SELECT id, at, k FROM t WHERE at > now() - interval '30 minutes'$$);
SELECT derive.create_view('soon', $$SELECT k, count(*) FROM t WHERE at > now() GROUP BY k$$);
SELECT derive.create_view('grouped', 'SELECT k, count(*), max(at) FROM t GROUP BY k');
SELECT derive.create_view('ratio', 'SELECT id, 10 / d AS r FROM t');
SELECT derive.create_view('of_u', 'SELECT x, count(*) FROM u GROUP BY x');
SELECT derive.create_view('past', 'history', 't');
SELECT derive.create_topic('events', 'n int');
});

sub change
{
	sql(qq{INSERT INTO t SELECT $id + i, clock_timestamp() + (i - 50) * interval '2 minutes', i % 5 FROM generate_series(1, 100) i;
		UPDATE t SET k = k + 1 WHERE id % 7 = 3; DELETE FROM t WHERE id = $id - 50; SELECT derive.append('events', ROW($id)); INSERT INTO u VALUES ($id, $id % 3)});
	$id += 100;
	return;
}

my @took;

# All views have all that is committed within seconds, whatever the clock says, and rest afterwards.
sub is_well
{
	my ($label) = @_;
	my $start = time;
	sql('DELETE FROM t WHERE id >= 1000000');
	change();
	wait_derived($node, $label);
	push @took, time - $start;
	is(sql('SELECT sum(missing + extra) FROM derive.verify()'), '0', "$label: every view is right");
	is(sql(q{SELECT count(*) FROM (SELECT id, k, d, at FROM past WHERE until IS NULL EXCEPT ALL SELECT id, k, d, at FROM t) x}), '0', "$label: the history has the present rows");
	is(sql('SELECT count(*) FROM past WHERE until < committed_at'), '0', "$label: and no version that ends before it begins");
	is(sql('SELECT count(*), count(DISTINCT n) FROM events'), ($id / 100) . '|' . ($id / 100), "$label: every event, once");
	is(sql(q{SELECT string_agg(view::text || ' ' || state, ', ') FROM derive.views WHERE state <> 'ready'}), '', "$label: ready");
	# rows come and go by time alone, at the pace of the clock that there is now
	my $seen = sql(q{INSERT INTO t SELECT 1000000 + extract(epoch FROM clock_timestamp())::int, clock_timestamp() + interval '1 s', 77 RETURNING id});
	is(sql(q{SELECT derive.wait('soon', '20 s'), count(*) FROM soon WHERE k = 77}) =~ s/\|.*//r, 't', "$label: a row of the future");
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM soon WHERE k = 77'), "$label: it is past soon");
	# who spins does so each time; work that is left over comes to an end
	my $share;
	for (1 .. 10)
	{
		my $pid = worker_pid($node);
		my ($before, $since) = (cpu($pid), time);
		usleep(700_000);
		$share = (cpu($pid) - $before) / (time - $since);
		last if $share < 0.57;
	}
	cmp_ok($share, '<', 0.57, "$label: nobody spins");
	return;
}

is_well('at the start');
for my $clock (3600, 0, -3600, 3600, 86400)
{
	set_faults(clock => $clock);
	is_well("the clock is off by $clock s");
}

# ---- set back while something waits for its time

set_faults(clock => 86400);
sql('INSERT INTO t VALUES (-1, now(), 1, 0)');
derive_wait_state($node, 'ratio', 'failed', 'a view has failed');
set_faults(clock => 0);
sql('UPDATE t SET d = 1 WHERE id = -1');
derive_wait_state($node, 'ratio', 'ready', 'and comes back, though the clock was set back');

# a lock is held, and the clock set back before it is given back
set_faults(clock => 3600);
my $locker = background($node);
$locker->query_safe('BEGIN; CREATE INDEX ON grouped (k)');
change();
is(sql(q{SELECT derive.wait('of_u', '180 s')}), 't', 'a locked view: others go on');
ok($node->poll_query_until('postgres', q{SELECT state = 'waiting' FROM derive.views WHERE view = 'grouped'::regclass}), 'a locked view waits');
set_faults(clock => -3600);
change();
is(sql(q{SELECT derive.wait('of_u', '180 s')}), 't', 'a locked view: others go on with the clock set back');
$locker->query_safe('COMMIT');
$locker->quit;
is_well('a lock over a clock that is set back');

# ---- set while a view moves

# The worker in the middle of a batch, in which a function goes on until the clock is set.
my $keeper = background($node);

sub set_in_batch
{
	my ($rows, $clock) = @_;
	my $pid = worker_pid($node);
	$keeper->query_safe('SELECT pg_advisory_lock(68)');
	sql("INSERT INTO s SELECT * FROM unnest(ARRAY[$rows])");
	ok($node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid"), 'a view moves');
	set_faults(clock => $clock);
	$keeper->query_safe('SELECT pg_advisory_unlock(68)');
	return;
}

# The function does something between two times that it sleeps, so that it does not seem to wait.
set_faults(clock => 0);
sql(q{
ALTER SYSTEM SET pg_derive.view_timeout = '60s';
SELECT pg_reload_conf();
CREATE TABLE s (x int);
CREATE FUNCTION slow(x int, ms int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
	since timestamptz;
BEGIN
	LOOP
		PERFORM pg_sleep(ms / 1000.0);
		EXIT WHEN NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 68);
		since := clock_timestamp();
		WHILE abs(extract(epoch FROM clock_timestamp() - since)) < 0.2 LOOP END LOOP;
	END LOOP;
	RETURN x;
END $$;
SELECT derive.create_view('slow', 'SELECT slow(x, 300) AS x FROM s');
});
wait_derived($node, 'a slow view');
my $from = -s $node->logfile;
set_in_batch('1', 7200);
wait_derived($node, 'set forwards: it has not taken two hours');
unlike(slurp_file($node->logfile, $from), qr/set aside|batch failed/, 'and nobody thinks so');

# forwards and back within a moment
set_faults(clock => 7200);
set_in_batch('3', 0);
wait_derived($node, 'set forwards and back: it does not wait two hours');
set_faults(clock => 7200);

# set back, it is not waited for; and one that moves after it has as much time as before
sql(q{SELECT derive.create_view('stuck', 'SELECT slow(x, 300000) AS x FROM slow WHERE x = 2')});
wait_derived($node, 'a stuck view');
set_in_batch('2', 0);
is(sql(q{SELECT derive.wait('of_u', '180 s')}), 't', 'set back: a view that waits is stopped, and the others go on');
sql('DROP MATERIALIZED VIEW stuck; ALTER SYSTEM RESET pg_derive.view_timeout; SELECT pg_reload_conf()');
$keeper->quit;
is_well('set while a view moves');

SKIP:
{
	skip 'debug points are not compiled in', 1 unless $points;

	# errors, with pauses
	set_faults(clock => 3600);
	set_debug_point($node, 'batch-decoded:full');
	change();
	ok($node->poll_query_until('postgres', q{SELECT error ~ 'no space left' FROM derive.worker}), 'errors');
	set_faults(clock => -3600);
	set_debug_point($node, '');
	is_well('an error, and the clock set back');

	# a builder at work
	for my $clock (3600, -3600)
	{
		my $holder = background($node);
		$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-fill'))});
		set_debug_point($node, 'build-before-fill:wait');
		sql(q{SELECT derive.create_view('young', $$SELECT k, max(at) FROM t WHERE at > now() - interval '1 hour' GROUP BY k$$)});
		waits_at($node, 'build-before-fill');
		change();
		set_faults(clock => $clock);
		set_debug_point($node, '');
		$holder->quit;
		derive_wait_state($node, 'young', 'ready', "built over a clock that is set by $clock s");
		is_well("built over a clock that is set by $clock s");
		sql('DROP MATERIALIZED VIEW young');
	}

	# the worker stays away
	set_faults(clock => 3600);
	my $offset = -s $node->logfile;
	set_debug_point($node, 'batch-snapshot:kill');
	eval { change() };
	log_says($node, qr/pg_derive stays away from database "postgres" for 5 s/, $offset, 'the worker stays away');
	comes_back($node);
	set_faults(clock => -3600);
	set_debug_point($node, '');
	ok($node->poll_query_until('postgres', q{SELECT bool_and(state = 'ready') FROM derive.views}), 'and comes back, though the clock was set back');
}

cmp_ok((sort { $a <=> $b } @took)[0], '<', 20, 'all this is soon');

log_is_clean($node);
$node->stop;
done_testing();
