# A lock that somebody holds for long stalls the views that need it and nobody else, also a
# prepared transaction's, which outlives the server; who waits for a lock is not kept waiting
# by us.  And what happens to databases while their views are being built or moved.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = derive_node('databases', conf => "pg_derive.lock_timeout = 100ms\npg_derive.max_databases = 8\nallow_in_place_tablespaces = on\n");
my $world = q{
CREATE TABLE x (id int PRIMARY KEY, g int);
CREATE TABLE y (id int PRIMARY KEY, g int);
INSERT INTO x SELECT i, i % 3 FROM generate_series(1, 30) i;
INSERT INTO y SELECT i, i % 3 FROM generate_series(1, 30) i;
SELECT derive.create_view('of_x', 'SELECT g, count(*) AS n FROM x GROUP BY g');
SELECT derive.create_view('of_y', 'SELECT g, count(*) AS n FROM y GROUP BY g');
SELECT derive.create_view('of_both', 'SELECT x.id, y.g FROM x JOIN y USING (id)');
SELECT derive.create_view('of_whole', 'SELECT id, ntile(2) OVER (ORDER BY g, id) FROM x');
};
$node->safe_psql('postgres', $world);
wait_derived($node, 'built');

my $serial = 100;

# The views of y move, whatever is locked; those of x say what they wait for.
sub others_move
{
	my ($label, $reason) = @_;
	$serial++;
	$node->safe_psql('postgres', "INSERT INTO y VALUES ($serial, 1)");
	is(($node->psql('postgres', q{SELECT derive.wait('of_y', '180 s')}))[1], 't', "$label: the others move");
	is($node->safe_psql('postgres', q{SELECT oracle('of_y')}), '0', "$label: exactly");
	$node->poll_query_until('postgres', qq{SELECT waiting_for ~ '$reason' FROM derive.views WHERE view = 'of_both'::regclass}) or
	  diag($node->safe_psql('postgres', 'SELECT view, state, waiting_for FROM derive.views'));
	like($node->safe_psql('postgres', q{SELECT state || ': ' || waiting_for FROM derive.views WHERE view = 'of_both'::regclass}),
		qr/^waiting: .*$reason/, "$label: those that cannot say why");
	is($node->safe_psql('postgres', q{SELECT string_agg(a.backend_type, ' ') FROM pg_stat_activity a JOIN pg_locks l USING (pid)
		WHERE a.backend_type LIKE 'pg_derive%' AND NOT l.granted AND l.mode <> 'AccessShareLock'}), '', "$label: none of ours is in anybody's way");
	return;
}

# ---- a prepared transaction, for days and over restarts

for my $mode ('LOCK TABLE x IN ACCESS EXCLUSIVE MODE', 'ALTER TABLE x ADD COLUMN p int DEFAULT 3', 'TRUNCATE x')
{
	$serial++;
	$node->safe_psql('postgres', "BEGIN; INSERT INTO x VALUES ($serial, 2); $mode; PREPARE TRANSACTION 'days'");
	others_move("prepared, $mode", 'prepared transaction');
	for my $how ('restart', 'kill', 'worker')
	{
		$how eq 'restart' ? $node->restart : $how eq 'worker' ? kill_process(worker_pid($node)) : $node->kill9;
		$how eq 'kill' ? start_again($node) : comes_back($node);
		others_move("prepared, $mode, $how", 'prepared transaction');
	}
	my ($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.create_view('late', 'SELECT id FROM y')});
	is(($node->psql('postgres', q{SELECT derive.wait('late', '180 s')}))[1], 't', "prepared, $mode: a new view is built");
	$node->safe_psql('postgres', q{SELECT derive.drop_view('late')});
	$node->safe_psql('postgres', $mode =~ /TRUNCATE/ ? q{ROLLBACK PREPARED 'days'} : q{COMMIT PREPARED 'days'});
	wait_derived($node, "prepared, $mode: caught up");
	is_exact($node, "prepared, $mode");
}

# ---- ALTER TABLE waits behind a reader, and everybody else behind that

my $reader = background($node);
my $alter = background($node);
my @took;
for my $round (1 .. 3)
{
	$reader->query_safe('BEGIN; SELECT count(*) FROM x');
	$node->safe_psql('postgres', 'UPDATE x SET g = g + 1 WHERE id < 9');
	$alter->query_until(qr/go/, "\\echo go\nALTER TABLE x ADD COLUMN a$round int;\n\\echo altered\n");
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'x'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted}) or die 'it does not wait';
	# the worker may have it now and then, as others that were there before
	others_move("ALTER TABLE, $round", 'lock on public.x');
	my $since = time();
	$reader->query_safe('COMMIT');
	until ($alter->{stdout} =~ /altered/ || time() > $since + 60)
	{
		$alter->{run}->pump_nb;
		usleep(5_000);
	}
	push @took, time() - $since;
	like($alter->{stdout}, qr/altered/, "ALTER TABLE, $round: has its turn when the reader has gone");
	$alter->{stdout} = '';
	wait_derived($node, "ALTER TABLE, $round: caught up");
	is_exact($node, "ALTER TABLE, $round");
}
cmp_ok((sort { $a <=> $b } @took)[0], '<', 5, 'ALTER TABLE: at once');
is($alter->{stderr}, '', 'ALTER TABLE did not fail');
$_->quit for $reader, $alter;

# ---- several databases; one of them changes while its processes are at work

SKIP:
{
	skip 'a release build has no debug points', 1 unless has_debug_points($node);
	my $holder = background($node);
	my $functions = q{
CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(0.3); RETURN i; END';
CREATE FUNCTION never(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN WHILE i < 1000000 LOOP END LOOP; RETURN i; END';
};
	$node->safe_psql('postgres', q{CREATE TABLESPACE elsewhere LOCATION ''});

	# at a debug point, or in code of the view's owner
	my %busy = (
		'the builder has its locks' => [ 'build-before-fill', q{SELECT derive.create_view('more', 'SELECT id FROM x')} ],
		'the builder has filled' => [ 'build-after-fill', q{SELECT derive.create_view('more', 'SELECT id FROM x')} ],
		'the builder runs a query' => [ '', q{SELECT derive.create_view('more', 'SELECT slow(id) FROM x')} ],
		'the builder is in a loop' => [ '', q{SELECT derive.create_view('more', 'SELECT never(id) FROM x')} ],
		'the worker has applied a batch' => [ 'batch-applied', 'UPDATE x SET g = g + 1 WHERE id = 1' ],
		'the worker decodes' => [ 'decode-change', 'UPDATE x SET g = g + 1 WHERE id = 1' ],
		'the slow lane computes' => [ 'lane-computed', 'UPDATE x SET g = g + 1 WHERE id = 1' ]);
	my %commands = (
		'DROP DATABASE b' => 'gone',
		'DROP DATABASE b WITH (FORCE)' => 'gone',
		'ALTER DATABASE b RENAME TO c' => 'c',
		'ALTER DATABASE b SET TABLESPACE elsewhere' => 'b',
		'CREATE DATABASE c TEMPLATE b' => 'b',
		'DROP EXTENSION pg_derive CASCADE' => 'dropped');

	sub create_b
	{
		$node->psql('postgres', 'DROP DATABASE IF EXISTS b');
		$node->psql('postgres', 'DROP DATABASE IF EXISTS c');
		$node->safe_psql('postgres', 'CREATE DATABASE b');
		create_extension($node, 'b');
		$node->safe_psql('b', $functions . $world
			. q{SELECT derive.create_view('of_slow', 'SELECT g, ntile(2) OVER (ORDER BY id) FROM x WHERE id < 3')});
		wait_derived($node, 'another database', 'b');
		return;
	}

	my @states = sort keys %busy;
	my @statements = sort keys %commands;
	for my $i (0 .. $#states)
	{
		for my $j (0 .. $#statements)
		{
			# all of them would take two minutes: DERIVE_ALL=1
			next if ($i + $j) % 3 != 1 && !$ENV{DERIVE_ALL};
			my ($what, $command) = ($states[$i], $statements[$j]);
			my ($point, $sql) = @{ $busy{$what} };
			my $label = "$command while $what";

			create_b();
			if ($point ne '')
			{
				$holder->quit;
				$holder = background($node, db => 'b');
				$holder->query_safe(qq{SELECT pg_advisory_lock(hashtext('$point'))});
				set_debug_point($node, "$point:wait");
			}
			$node->safe_psql('b', $sql);
			if ($point ne '')
			{
				$node->poll_query_until('postgres', qq{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
					AND objid = (hashtext('$point')::bigint & 4294967295)::oid)}) or die "$label: nobody waits there";
			}
			else
			{
				$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pg_derive builder' AND datname = 'b'}) or die "$label: no builder";
			}

			my $since = time();
			if ($command =~ /EXTENSION/)
			{
				# a process at a debug point heeds nobody; as soon as it goes on, it is in the way no longer
				my $dropper = background($node, db => 'b');
				$dropper->query_until(qr/go/, "\\echo go\nSET deadlock_timeout = '60s';\n$command;\n\\echo dropped\n");
				$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'b' AND query LIKE 'DROP EXT%' AND (state = 'idle' OR wait_event_type = 'Lock')});
				set_debug_point($node, '');
				$holder->query_safe('SELECT pg_advisory_unlock_all()');
				until ($dropper->{stdout} =~ /dropped/ || time() > $since + 60)
				{
					$dropper->{run}->pump_nb;
					usleep(5_000);
				}
				unlike($dropper->{stderr}, qr/ERROR/, $label);
				$dropper->quit;
			}
			else
			{
				# the one who holds the lock must not be in the database
				if ($point ne '')
				{
					$holder->quit;
					$holder = background($node);
				}
				my ($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '50s'; $command");
				is($rc, 0, $label) or diag($err);
			}
			cmp_ok(time() - $since, '<', 40, "$label: takes no longer than it must");
			set_debug_point($node, '');
			$holder->quit;
			$holder = background($node);
			others_go_on($label);
			my $name = $commands{$command};
			if ($name eq 'dropped')
			{
				is($node->safe_psql('b', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'derive%'}), '0', "$label: nothing is left of it");
			}
			elsif ($name ne 'gone' && $sql !~ /slow|never/)
			{
				wait_derived($node, "$label: caught up", $name);
				is_exact($node, $label, $name);
			}
			if ($name eq 'gone' || $name eq 'dropped')
			{
				ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots WHERE database = 'b'}), "$label: its slot is gone");
			}
		}
	}
	$holder->quit;

	sub others_go_on
	{
		my ($label) = @_;
		$serial++;
		$node->safe_psql('postgres', "INSERT INTO x VALUES ($serial, 1); INSERT INTO y VALUES ($serial, 1)");
		wait_derived($node, "$label: the other database goes on");
		is($node->safe_psql('postgres', q{SELECT string_agg(view::text, ' ') FROM derive.views WHERE oracle(view) <> 0}), '', "$label: exactly");
		return;
	}
}

log_is_clean($node);
$node->stop;
done_testing();
