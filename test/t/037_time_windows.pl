# Views whose queries compare with now(): time passes while the worker is busy, down, killed or
# kept away from a view, and back.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('time', conf => "pg_derive.time_resolution = 50ms\npg_derive.lock_timeout = 100ms\nfsync = on\nautovacuum = off\n");
plan skip_all => 'a release build has no clock of its own' unless has_debug_points($node);

# A row for every hour; seen from here, half past it.
$node->safe_psql('postgres', q{
CREATE TABLE e (id int PRIMARY KEY, g int, at timestamptz);
CREATE INDEX ON e (at);
INSERT INTO e SELECT i, i % 5, now() + i * interval '1 hour' + interval '30 minutes' FROM generate_series(-200, 199) i;
SELECT derive.create_view('windowed', $$SELECT id, at FROM e WHERE at > now() - interval '4 hours' AND at <= now()$$);
SELECT derive.create_view('sums', $$SELECT g, count(*) AS n, max(at) AS m FROM e WHERE at > now() - interval '24 hours' AND at <= now() GROUP BY g$$);
SELECT derive.create_view('ranks', $$SELECT id, row_number() OVER (PARTITION BY g ORDER BY at) AS r FROM e WHERE at > now() - interval '24 hours'$$);
SELECT derive.create_view('pairs', $$SELECT a.id, b.id AS b FROM e a JOIN e b ON b.id = a.id + 1 WHERE a.at > now() - interval '5 hours' AND b.at <= now()$$);
SELECT derive.create_view('above', 'SELECT count(*) AS n FROM windowed');
SELECT derive.create_view('timeless', 'SELECT g, count(*) AS n FROM e GROUP BY g');
});
wait_derived($node, 'built');

my $hours = 0;

sub set_clock
{
	($hours) = @_;
	my $seconds = int($hours * 3600);
	$node->append_conf('postgresql.conf', "pg_derive.debug_clock_offset = $seconds\n");
	$node->reload if defined $node->{_pid};
	return;
}

# The time of a view, in hours from now; 'f' if it has none.
sub has_time
{
	my ($view, $expected) = @_;
	return "SELECT coalesce(abs(extract(epoch FROM as_of - now()) / 3600 - $expected) < 0.3, false) FROM derive.views WHERE view = '$view'::regclass";
}

sub await_clock
{
	my ($label, @views) = @_;
	for my $view (@views ? @views : qw(windowed sums ranks pairs))
	{
		ok($node->poll_query_until('postgres', has_time($view, $hours)), "$label: $view goes by the clock");
	}
	return;
}

# The query of "windowed" at the time that it says it has.
my $at = q{(SELECT as_of FROM derive.views WHERE view = 'windowed'::regclass)};
my $by_hand = "SELECT id, at FROM e WHERE at > $at - interval '4 hours' AND at <= $at";

sub all_exact
{
	my ($label) = @_;
	wait_derived($node, $label);
	is($node->safe_psql('postgres', "(TABLE windowed EXCEPT ALL ($by_hand)) UNION ALL (($by_hand) EXCEPT ALL TABLE windowed)"),
		'', "$label: the view is its query at its time");
	is($node->safe_psql('postgres', q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', "$label: derive.verify()");
	is($node->safe_psql('postgres', q{SELECT view, state FROM derive.views WHERE state <> 'ready'}), '', "$label: all are ready");
	return;
}

sub ids
{
	return $node->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM windowed});
}

all_exact('at first');
is(ids(), '-4 -3 -2 -1', 'its rows');

# Ticks, forth and back.
for my $clock (2, 50, 49, -100, 0)
{
	set_clock($clock);
	await_clock("clock $clock");
	all_exact("clock $clock");
	is(ids(), join(' ', $clock - 4 .. $clock - 1), "clock $clock: its rows");
}

# A tick costs what passes: nobody reads the table.
$node->safe_psql('postgres', q{
INSERT INTO e SELECT i, i % 5, now() - i * interval '1 hour' FROM generate_series(1000, 20000) i;
ANALYZE e;
});
wait_derived($node, 'many rows');
my $reads = q{SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'e'};
my $batches = q{SELECT batches FROM derive.stats WHERE view = 'windowed'::regclass};
my $ticks = $node->safe_psql('postgres', $batches);
# statistics of the worker arrive after a while
ok($node->poll_query_until('postgres', "SELECT ($batches) > $ticks + 40"), 'ticks');
my $before = $node->safe_psql('postgres', $reads);
$ticks = $node->safe_psql('postgres', $batches);
set_clock(1);
await_clock('cost');
ok($node->poll_query_until('postgres', "SELECT ($batches) > $ticks + 40"), 'more ticks');
my $read = $node->safe_psql('postgres', $reads) - $before;
$ticks = $node->safe_psql('postgres', $batches) - $ticks;
# each reads a few rows; all of them would be 20000
cmp_ok($read, '<', 100 * $ticks, 'a tick costs what passes') or diag("$ticks ticks");
all_exact('cost');

# With a coarse resolution time alone makes no batch.
$node->append_conf('postgresql.conf', "pg_derive.time_resolution = 1d\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('pg_derive.time_resolution') = '1d'});
$node->safe_psql('postgres', q{SELECT derive.verify('windowed')});
my $stood = $node->safe_psql('postgres', "SELECT $at");
set_clock(3);
$node->safe_psql('postgres', 'CREATE TABLE elsewhere (); DROP TABLE elsewhere');
wait_derived($node, 'coarse');
is($node->safe_psql('postgres', "SELECT $at"), $stood, 'a batch that has nothing for it leaves it at its time');
all_exact('coarse');
$node->safe_psql('postgres', q{INSERT INTO e VALUES (500, 1, now() + interval '3 hours')});
await_clock('a change');
all_exact('a change');
is(ids(), '-1 0 1 2 500', 'a row that is valid from now on is there');
$node->safe_psql('postgres', 'DELETE FROM e WHERE id = 500');
$node->append_conf('postgresql.conf', "pg_derive.time_resolution = 50ms\n");
$node->reload;

# The worker dies in a tick, before and after its commit.
for my $point (qw(batch-mid-apply batch-view-applied batch-applied batch-committed))
{
	my $offset = -s $node->logfile;
	set_debug_point($node, "$point:kill");
	set_clock($hours + 7);
	$node->wait_for_log(qr/"pg_derive worker" \(PID \d+\) was terminated by signal 9/, $offset);
	set_debug_point($node, '');
	comes_back($node);
	resume_failed($node);
	await_clock($point);
	all_exact($point);
	is(ids(), join(' ', $hours - 4 .. $hours - 1), "$point: its rows");
}

# The server is down while time passes; or crashes.  That is one step, however long.
$node->stop('fast');
set_clock($hours + 60);
$node->start;
await_clock('down');
all_exact('down');
$node->stop('immediate');
set_clock($hours - 90);
$node->start;
await_clock('crashed');
all_exact('crashed');
is(ids(), join(' ', $hours - 4 .. $hours - 1), 'crashed: its rows');

# Set aside: it stands at a time of its own, and comes back from there.  The clock comes
# to a stop meanwhile, which is a position like another but for the time.
my $locker = background($node);
for my $restart (0, 1)
{
	my $stands = $hours;
	$locker->query_safe('BEGIN; CREATE INDEX held ON windowed (at); CREATE INDEX held_too ON ranks (r)');
	set_clock($hours + 3);
	await_clock('set aside', 'sums', 'pairs');
	$node->safe_psql('postgres', q{UPDATE e SET at = at - interval '1 hour' WHERE id % 4 = 0; DELETE FROM e WHERE id % 17 = 0});
	$node->safe_psql('postgres', q{SELECT derive.wait('sums', timeout => '180 s')});
	is($node->safe_psql('postgres', q{SELECT state FROM derive.views WHERE view = 'windowed'::regclass}), 'waiting', 'it stands still');
	is($node->safe_psql('postgres', has_time('windowed', $stands)), 't', 'at its time');
	is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('sums') WHERE missing <> 0 OR extra <> 0}), '', 'others go on');
	if ($restart)
	{
		kill_process(worker_pid($node));
		comes_back($node);
		$locker = background($node);
		resume_failed($node);
	}
	else
	{
		$locker->query_safe('ROLLBACK');
	}
	await_clock('back');
	all_exact('back');
}

# A view that is built while time passes, and one that is compared.
my $holder = background($node);
$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-after-fill'))});
set_debug_point($node, 'build-after-fill:wait');
$node->safe_psql('postgres', q{SELECT derive.create_view('young', $$SELECT id FROM e WHERE at > now() - interval '9 hours'$$)});
waits_at($node, 'build-after-fill');
set_clock($hours + 5);
await_clock('built meanwhile');
$node->safe_psql('postgres', q{INSERT INTO e VALUES (600, 1, now())});
$holder->query_safe('SELECT pg_advisory_unlock_all()');
await_clock('built', 'young');
all_exact('built');

$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('verify-snapshot'))});
set_debug_point($node, 'verify-snapshot:wait');
my $verifier = background($node);
$verifier->query_until(qr/asked/, "\\echo asked\nSELECT * FROM derive.verify('windowed');\n");
waits_at($node, 'verify-snapshot');
set_clock($hours + 5);
await_clock('compared meanwhile');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
set_debug_point($node, '');
like($verifier->query_safe('SELECT 1'), qr/windowed\|0\|0/, 'it is compared at the time of its batch');

# An error in a tick: careful mode.
set_debug_point($node, 'batch-view-applied:once');
set_clock($hours + 4);
await_clock('after an error');
set_debug_point($node, '');
all_exact('after an error');

# Dropped: the last of them takes the ticks with it.
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW above, windowed, sums, ranks, pairs, young');
wait_derived($node, 'dropped');
$node->safe_psql('postgres', q{SELECT derive.verify('timeless')});
# ticks would come all the time; what is left to be done comes to an end
my ($written, $written_before) = ('', 'not looked yet');
for (1 .. 20)
{
	($written_before, $written) = ($written, $node->safe_psql('postgres', 'SELECT committed_at FROM derive_state.position'));
	last if $written eq $written_before;
	$node->safe_psql('postgres', 'SELECT pg_sleep(0.5)');
}
is($written, $written_before, 'no ticks for nobody');
is($node->safe_psql('postgres', 'SELECT as_of FROM derive.views'), '', 'a view without time has none');

$_->quit for $holder, $locker, $verifier;
log_is_clean($node);
done_testing();
