# Groups of views: a worker, a slot and a position for each; views move from one to another
# under load, and while processes are killed at every step of it, with nothing lost and nothing
# counted twice.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('groups', conf => "log_min_messages = debug1\n");
load_tables($node);
$node->safe_psql('postgres', q{
CREATE TABLE keyed (id int PRIMARY KEY, v int);
INSERT INTO keyed SELECT i, 0 FROM generate_series(1, 50) i;
SELECT derive.create_view('versions', 'history', ARRAY['keyed'::regclass]);
SELECT derive.create_topic('signals', 'n bigint');
SELECT derive.create_view('seen', 'SELECT count(*), sum(n) FROM signals');
SELECT derive.create_view('slow', 'SELECT n, branch FROM (SELECT balance AS n, branch FROM accounts ORDER BY md5(balance::text || branch), id LIMIT (SELECT 10)) s');
SELECT derive.create_view('over_slow', 'SELECT count(*), max(n) FROM slow');
SELECT derive.create_view('stopped', 'SELECT branch, count(*) FROM accounts GROUP BY branch');
CREATE TABLE divisors (id int PRIMARY KEY, d int);
INSERT INTO divisors VALUES (1, 1);
SELECT derive.create_view('ratio', 'SELECT id, 100 / d AS r FROM divisors');
SELECT derive.create_group('heavy');
SELECT derive.subscribe('by_branch', 'follower');
});
wait_derived($node, 'built');
$node->safe_psql('postgres', q{
SELECT derive.pause('stopped');
UPDATE divisors SET d = 0;
SELECT count(*) FROM derive.poll('follower', 100000, '10 s');
CREATE TABLE mirror (branch int, n bigint, sum numeric, avg numeric, min bigint, max text);
INSERT INTO mirror SELECT * FROM by_branch;
});
$node->poll_query_until('postgres', q{SELECT state = 'failed' FROM derive.views WHERE view = 'ratio'::regclass}) or die;

my $appended = 0;

# What the subscriber gets is all that the view has become.
sub follow
{
	my ($label) = @_;
	$node->safe_psql('postgres', q{
		DO $$
		DECLARE
			c record;
			n int;
		BEGIN
			LOOP
				n := 0;
				FOR c IN SELECT * FROM derive.poll('follower', 100000) LOOP
					n := n + 1;
					IF c.operation NOT IN ('insert', 'update', 'delete') THEN
						RAISE 'it starts anew: %', c.operation;
					END IF;
					IF c.old IS NOT NULL THEN
						DELETE FROM mirror WHERE ctid = (SELECT m.ctid FROM mirror m
							WHERE m IS NOT DISTINCT FROM jsonb_populate_record(NULL::mirror, c.old) LIMIT 1);
						IF NOT FOUND THEN
							RAISE 'no such row: %', c.old;
						END IF;
					END IF;
					IF c.new IS NOT NULL THEN
						INSERT INTO mirror SELECT (jsonb_populate_record(NULL::mirror, c.new)).*;
					END IF;
				END LOOP;
				EXIT WHEN n = 0;
			END LOOP;
		END $$});
	is($node->safe_psql('postgres', q{
		SELECT count(*) FROM ((TABLE mirror EXCEPT ALL TABLE by_branch) UNION ALL (TABLE by_branch EXCEPT ALL TABLE mirror)) d}),
		'0', "$label: the subscriber has all of it");
	return;
}

# All that is ready is exact; nothing of what only the log has is lost.
sub all_right
{
	my ($label) = @_;
	# who stands still is warned of
	wait_derived($node, "$label: caught up");
	is($node->safe_psql('postgres', q{
		WITH v AS MATERIALIZED (SELECT view FROM derive.views WHERE state = 'ready' AND view NOT IN ('signals', 'versions')), o AS MATERIALIZED (SELECT view, oracle(view) FROM v)
		SELECT * FROM o WHERE oracle <> 0}), '', "$label: every view equals its query");
	is($node->safe_psql('postgres', q{SET client_min_messages = error; SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', "$label: derive.verify()");
	is($node->safe_psql('postgres', q{SELECT view, state FROM derive.views WHERE state <> 'ready' ORDER BY view::text}), "ratio|failed\nstopped|paused", "$label: states");
	is($node->safe_psql('postgres', q{SELECT count FROM seen}), $appended, "$label: every event once");
	is($node->safe_psql('postgres', q{SELECT count(*) - (SELECT sum(v) + 50 FROM keyed) FROM versions}), '0', "$label: every version once");
	follow($label);
	return;
}

sub worker_of
{
	my ($group) = @_;
	my $sql = "SELECT pid FROM derive.worker WHERE group_name = '$group' AND pid IS NOT NULL";
	$node->poll_query_until('postgres', "SELECT EXISTS ($sql)") or die "no worker of $group";
	return $node->safe_psql('postgres', $sql);
}

my @connected = ([ 'totals', 'by_branch' ], [ 'joined' ], [ 'names' ], [ 'versions' ], [ 'seen', 'signals' ], [ 'over_slow', 'slow' ], [ 'stopped' ], [ 'ratio' ]);
my $place = 'default';

# Events and versions, which are nowhere but in the log.
sub change_log
{
	my ($n) = @_;
	for (1 .. $n)
	{
		$node->safe_psql('postgres', "SELECT derive.append('signals', '{\"n\": 1}'); UPDATE keyed SET v = v + 1 WHERE id = 1 + $_");
		$appended++;
	}
	return;
}

sub plans
{
	return map { "SELECT derive.move('$_->[0]', '$place')" } @connected;
}

sub start_move
{
	$place = $place eq 'default' ? 'heavy' : 'default';
	$node->safe_psql('postgres', join(';', plans()));
	return;
}

# The same where it may wait for a worker that has come to a stop; what it does not get to is done later.
sub start_move_aside
{
	$place = $place eq 'default' ? 'heavy' : 'default';
	my ($in, $out) = ('', '');
	return start_client($node, [ $node->installed_command('psql'), '-XAt', '-d', $node->connstr('postgres'), map { ('-c', $_) } plans() ], '<' => \$in, '>' => \$out, '2>&1');
}

sub ends_well
{
	my ($label) = @_;
	for my $view (map { @$_ } @connected)
	{
		my ($rc, $out, $err);
		for my $i (1 .. 60)
		{
			($rc, $out, $err) = eval { $node->psql('postgres', "SELECT derive.wait_moved('$view', '180 s')") };
			($rc, $out, $err) = (-1, '', 'closed') unless defined $rc;
			last if $rc == 0 || $err !~ /recovery|starting up|shutting down|terminated|lost|closed/;
			usleep(500_000);
		}
		is("$rc $out", '0 t', "$label: $view is moved") or diag($err . $node->safe_psql('postgres', 'SELECT * FROM derive.views; SELECT * FROM derive.worker; SELECT * FROM derive.groups'));
	}
	is($node->safe_psql('postgres', 'SELECT DISTINCT group_name FROM derive.views'), $place, "$label: all are in group $place");
	return;
}

all_right('at the start');

# ---- under load, nobody is computed anew

for my $round (1 .. 4)
{
	my $offset = -s $node->logfile;
	my $load = start_load($node, 600);
	change_log(20);
	start_move();
	change_log(20);
	ends_well("round $round");
	change_log(20);
	stop_load($load);
	all_right("round $round");
	my @lines = grep { /worker/ } split /\n/, slurp_file($node->logfile, $offset);
	is(join("\n", grep { /recomputing|WARNING/ } @lines), '', "round $round: nothing is computed anew");
}

# A group without views has no worker and no slot.
is($place, 'default', 'back in the default group');
$node->poll_query_until('postgres', q{SELECT slot IS NULL FROM derive.groups WHERE group_name = 'heavy'}) or die;
is($node->safe_psql('postgres', q{SELECT group_name, views, slot ~ '^pg_derive_\d+$' FROM derive.groups ORDER BY 1}), "default|11|t\nheavy|0|", 'the group is empty');

# ---- killed at every step of it

SKIP:
{
	skip 'no debug points in a release build', 1 unless has_debug_points($node);
	for my $point ('move-pin', 'move-pinned', 'move-locked', 'move-written', 'move-committed', 'move-found', 'move-taken')
	{
		for my $how ('worker', 'postmaster')
		{
			my $label = "$how killed at $point";
			set_debug_point($node, "$point:wait");
			my $psql = background($node);
			$psql->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
			my $load = start_load($node, 600);
			change_log(5);
			my $moves = start_move_aside();
			my $pid = waits_at($node, $point);
			change_log(5);
			set_debug_point($node, '');
			if ($how eq 'worker')
			{
				kill_process($pid);
			}
			else
			{
				$node->kill9;
			}
			eval { $psql->quit };
			undef $psql;
			$how eq 'worker' ? comes_back($node) : start_again($node);
			stop_client($moves);
			stop_load($load);
			$node->safe_psql('postgres', join(';', plans()));
			ends_well($label);
			change_log(5);
			all_right($label);
		}
	}
	# the old group has handed all over, and its slot is gone; nobody but its worker can have put that on disk
	{
		my $label = 'server killed when a slot is gone';
		my $walwriter = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
		my $old_slot = $node->safe_psql('postgres', "SELECT slot FROM derive.groups WHERE group_name = '$place'");
		set_debug_point($node, 'move-locked:wait, move-found:wait');
		my $psql = background($node);
		$psql->query_safe(q{SELECT pg_advisory_lock(hashtext('move-locked')), pg_advisory_lock(hashtext('move-found'))});
		my $moves = start_move_aside();
		waits_at($node, 'move-locked');
		change_log(5);
		kill('STOP', $walwriter);
		$psql->query_safe(q{SELECT pg_advisory_unlock(hashtext('move-locked'))});
		ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$old_slot')"), "$label: it is");
		$node->kill9;
		kill('KILL', $walwriter);
		eval { $psql->quit };
		undef $psql;
		$node->append_conf('postgresql.conf', "pg_derive.debug_point = ''");
		start_again($node);
		stop_client($moves);
		$node->safe_psql('postgres', join(';', plans()));
		ends_well($label);
		all_right($label);
	}
	# at no point of it in particular
	for my $i (1 .. 8)
	{
		my $load = start_load($node, 600);
		change_log(5);
		start_move();
		usleep(rand 300_000);
		if ($i % 2)
		{
			# there may be one only
			my $pid = $node->safe_psql('postgres', q{SELECT pid FROM derive.worker WHERE pid IS NOT NULL ORDER BY random() LIMIT 1});
			kill_process($pid) if $pid;
			comes_back($node);
		}
		else
		{
			$node->stop('immediate');
			start_again($node);
		}
		stop_load($load);
		ends_well("kill $i");
		all_right("kill $i");
	}
}

# ---- given up, and planned again

$node->safe_psql('postgres', q{SELECT derive.move('totals', 'heavy'); SELECT derive.move('by_branch', 'default')});
$node->safe_psql('postgres', q{BEGIN; SELECT derive.move('totals', 'heavy'); SELECT derive.move('by_branch', 'default'); COMMIT});
all_right('given up');

# ---- a group stands still; the others do not care

start_move() if $place ne 'default';
ends_well('home') if $place eq 'default';
$node->safe_psql('postgres', q{SELECT derive.move('joined', 'heavy'); });
is($node->safe_psql('postgres', q{SELECT derive.wait_moved('joined', '180 s'); SELECT derive.wait('joined', '180 s')}), "t\nt", 'one view has a group of its own');
my $pid = stop_worker($node, worker_of('heavy'));
$node->safe_psql('postgres', q{UPDATE accounts SET balance = balance + 1 WHERE id < 10; INSERT INTO history VALUES (1, 1)});
is($node->safe_psql('postgres', q{SELECT derive.wait('totals', '180 s')}), 't', 'the other group moves');
is($node->safe_psql('postgres', q{SELECT derive.wait('joined', '300 ms')}), 'f', 'this one does not');
is($node->safe_psql('postgres', q{SET client_min_messages = error; SELECT derive.wait(NULL, '300 ms')}), 'f', 'and all of them are not there');
let_go_on($pid);
all_right('goes on');

log_is_clean($node);
$node->stop;
done_testing();
