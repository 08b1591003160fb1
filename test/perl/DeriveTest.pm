# What the TAP tests share: a server that has pg_derive, and the oracle.
#
# DERIVE_DESTDIR names the DESTDIR of "make install" where the library was not
# installed into the server's own folders.
package DeriveTest;

use strict;
use warnings;

# Nothing here takes this long; before the modules below read it.
BEGIN { $ENV{PG_TEST_TIMEOUT_DEFAULT} //= 60; }

use Exporter 'import';
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PsqlSession;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  derive_node create_extension start_again comes_back wait_derived is_exact worker_pid slot_is_copied kill_process crash
  load_tables start_client stop_client start_load stop_load latencies has_debug_points set_debug_point
  waits_at background log_says log_is_clean derive_wait_state resume_failed
  load_faults set_faults
  stop_worker let_go_on
);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# How long views may take: a pause after an error, a launcher that waits longer each time, and a machine that
# stops for a while may come together.
my $patience = 3 * $timeout;

# The oracle that the regression tests have, by the name that it has here.
my $oracle = slurp_file(dirname(__FILE__) . '/../oracle.sql') . q{
CREATE FUNCTION oracle(v regclass) RETURNS bigint LANGUAGE sql AS 'SELECT rows_that_differ(v)';
};

# A new server gets a copy of a data directory that is there already.  From version 16 on, Cluster does that by itself.
my $run = \&PostgreSQL::Test::Utils::system_or_bail;
{
	no warnings 'redefine';
	*PostgreSQL::Test::Utils::system_or_bail = sub {
		my @command = @_;
		@command = ('cp', '-RPp', $ENV{INITDB_TEMPLATE}, $1)
		  if $ENV{INITDB_TEMPLATE} && "@command" =~ /^initdb -D (\S+) -A trust -N$/;
		return $run->(@command);
	};
}

# A started server with the extension in database postgres.  Options:
# conf => text, preload => 0, wal_level => ..., extension => 0, initdb => [...],
# install_path and destdir => those of another version, start => 0
sub derive_node
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $opt{install_path} ? (install_path => $opt{install_path}) : ());
	my $pkglibdir = $node->config_data('--pkglibdir');
	my $bindir = $node->config_data('--bindir');

	{
		delete local $ENV{INITDB_TEMPLATE} if $opt{install_path};
		$node->init($opt{initdb} ? (extra => $opt{initdb}) : ());
	}
	my $conf = "wal_level = " . ($opt{wal_level} // 'logical') . "\n";
	$conf .= "max_replication_slots = 8\nmax_wal_senders = 4\nmax_worker_processes = 24\n";
	$conf .= "max_prepared_transactions = 10\nlog_line_prefix = '%m [%p] %b %e '\n";
	$conf .= "timezone = 'UTC'\nlog_min_messages = warning\nrestart_after_crash = on\njit = off\n";
	$conf .= "shared_preload_libraries = 'pg_derive'\n" if $opt{preload} // 1;
	# a view is not to be stopped since the machine has other things to do
	$conf .= "pg_derive.view_timeout = '5min'\n";
	$conf .= "output_plugin_libraries = 'pgoutput, test_decoding, pg_derive'\n"
	  if `$bindir/postgres --describe-config` =~ /^output_plugin_libraries\b/m;
	if (my $destdir = $opt{destdir} // $ENV{DERIVE_DESTDIR})
	{
		$conf .= "dynamic_library_path = '$destdir$pkglibdir:\$libdir'\n";
		if ($node->pg_version >= 18)
		{
			my $sharedir = $node->config_data('--sharedir');
			$conf .= "extension_control_path = '$destdir$sharedir:\$system'\n";
		}
		else
		{
			$conf .= "extension_destdir = '$destdir'\n";
		}
	}
	$node->append_conf('postgresql.conf', $conf . ($opt{conf} // ''));
	return $node unless $opt{start} // 1;
	$node->start;
	create_extension($node, 'postgres') if $opt{extension} // 1;
	return $node;
}

# The extension and the oracle, in a database.
sub create_extension
{
	my ($node, $db) = @_;
	$node->safe_psql($db, "CREATE EXTENSION pg_derive; $oracle");
	return;
}

# Start after a crash: the children of a killed postmaster need a moment to go.
sub start_again
{
	my ($node) = @_;
	for my $i (1 .. 10 * $timeout)
	{
		last if $node->start(fail_ok => 1);
		usleep(100_000);
		$node->stop('fast', fail_ok => 1);
	}
	comes_back($node);
	return;
}

# Wait until a server that recovers from a crash lets sessions in again.  psql
# may be gone before it has read its input, which is an exception to IPC::Run.
sub comes_back
{
	my ($node) = @_;
	for my $i (1 .. 10 * $timeout)
	{
		# by a session of its own: one from before may answer once more
		my ($rc, $out) = eval { $node->psql('postgres', 'SELECT pg_backend_pid() > 0') };
		return if ($out // '') eq 't';
		usleep(100_000);
	}
	die 'server does not come back';
}

# Everything committed so far is in every view.
sub wait_derived
{
	my ($node, $label, $db) = @_;
	my ($rc, $out, $err);
	for my $i (1 .. 60)
	{
		($rc, $out, $err) = eval { $node->psql($db // 'postgres', "SELECT derive.wait(NULL, '${patience}s')") };
		($rc, $out, $err) = (-1, '', 'closed') unless defined $rc;
		# a server in crash recovery is not an answer
		last if $rc == 0 || $err !~ /recovery|starting up|shutting down|terminated|lost|closed/;
		usleep(500_000);
	}
	is("$rc $out", '0 t', $label // 'views caught up') or diag($err . state($node, $db));
	return;
}

sub state
{
	my ($node, $db) = @_;
	my ($rc, $out) = $node->psql($db // 'postgres', 'SELECT * FROM derive.views; SELECT * FROM derive.stats;');
	return $out;
}

sub derive_wait_state
{
	my ($node, $view, $state, $label) = @_;
	ok( $node->poll_query_until(
			'postgres', "SELECT state = '$state' FROM derive.views WHERE view = '$view'::regclass"),
		$label // "$view is $state") or diag(state($node));
	return;
}

# A worker that was killed may have come back, and been killed, so often that it has
# given up views, or stays away.  The last of these crashes may still be under way.
sub resume_failed
{
	my ($node) = @_;
	for my $i (1 .. 10 * $timeout)
	{
		my ($rc, $out) = eval {
			my $err = ($node->psql('postgres', q{SELECT derive.wait(timeout => '60 s')}))[2];
			$node->psql('postgres', q{SELECT derive.repair(view) FROM derive.views LIMIT 1}) if $err =~ /stays away/;
			$node->psql('postgres', q{SELECT count(derive.resume(view)) FROM derive.views WHERE state = 'failed' OR error IS NOT NULL});
		};
		return if ($out // '') eq '0';
		usleep(100_000);
	}
	die 'views cannot be resumed';
}

# After wait_derived(): every view equals its query, and derive.verify() agrees.  Histories that are named have rows
# from before, and are for derive.verify() alone.
sub is_exact
{
	my ($node, $label, $db, @histories) = @_;
	$db //= 'postgres';
	my $histories = join ', ', @histories;
	# derive.wait() does not wait for a view that has failed and is tried again
	$node->poll_query_until($db, q{SELECT count(*) FILTER (WHERE state = 'ready') > 0 AND count(*) FILTER (WHERE state <> 'ready') = 0 FROM derive.views});
	my $views = $node->safe_psql($db,
		q{SELECT count(*) FILTER (WHERE state = 'ready') > 0, count(*) FILTER (WHERE state <> 'ready') FROM derive.views});
	is($views, 't|0', "$label: every view is ready") or diag(state($node, $db));
	is( $node->safe_psql($db, q{
		WITH v AS MATERIALIZED (SELECT view FROM derive.views WHERE view::text <> ALL ('} . "{$histories}" . q{')), o AS MATERIALIZED (SELECT view, oracle(view) FROM v)
		SELECT * FROM o WHERE oracle <> 0}), '', "$label: every view equals its query");
	is( $node->safe_psql($db, 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'),
		'', "$label: derive.verify()");
	return;
}

# The worker of a database, known by its slot; where there are groups, that of the default group.
sub worker_pid
{
	my ($node, $db) = @_;
	$db //= 'postgres';
	my $pid = '';
	for my $i (1 .. 10 * $timeout)
	{
		my ($rc, $out) = eval { $node->psql('postgres',
			"SELECT active_pid FROM pg_replication_slots JOIN pg_database ON datname = database
			WHERE slot_name = 'pg_derive_' || oid AND plugin = 'pg_derive' AND database = '$db' AND active_pid IS NOT NULL") };
		$pid = $out // '';
		last if $pid =~ /^\d+$/;
		usleep(100_000);
	}
	die "no worker for database $db" unless $pid =~ /^\d+$/;
	return $pid;
}

# Wait until a standby has a copy of a worker's slot that it can go on with.  Who copies it rests longer and longer, up to
# 30 s, and looks at once when it is told to read its settings.
sub slot_is_copied
{
	my ($standby) = @_;
	for my $i (1 .. 3 * $timeout)
	{
		return 1 if $standby->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE synced AND NOT temporary AND invalidation_reason IS NULL) > 0
			FROM pg_replication_slots WHERE plugin = 'pg_derive'}) eq 't';
		$standby->reload;
		usleep(1_000_000);
	}
	return 0;
}

# Kill, and wait until the postmaster has taken notice: before that, sessions
# are still let in, and thrown out a moment later.
sub kill_process
{
	my ($pid) = @_;
	my $killed = kill('KILL', $pid);
	for my $i (1 .. 100 * $timeout)
	{
		last unless kill(0, $pid);
		usleep(10_000);
	}
	return $killed;
}

# A crash of one kind or another, by the number of the round; returns which.
sub crash
{
	my ($node, $round) = @_;
	my $how = ('worker', 'postmaster', 'immediate', 'worker twice')[ $round % 4 ];
	if ($how =~ /^worker/)
	{
		for (1 .. ($how eq 'worker' ? 1 : 2))
		{
			kill_process(worker_pid($node));
			comes_back($node);
		}
		return $how;
	}
	if ($how eq 'postmaster')
	{
		$node->kill9;
	}
	else
	{
		$node->stop('immediate');
	}
	start_again($node);
	return $how;
}

# Tables, rows and views for the tests under load.
sub load_tables
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
CREATE TABLE accounts (id integer PRIMARY KEY, branch integer, balance bigint NOT NULL, note text);
CREATE TABLE history (account integer, delta integer, at timestamptz DEFAULT now());
CREATE TABLE branches (branch integer, name text);
CREATE INDEX ON history (account);
INSERT INTO accounts SELECT i, i % 10, 100, CASE WHEN i % 3 = 0 THEN 'x' || i % 7 END FROM generate_series(1, 5000) i;
INSERT INTO branches SELECT i, 'branch ' || i FROM generate_series(0, 9) i;
INSERT INTO branches VALUES (3, 'again'), (NULL, 'none');
SELECT derive.create_view('by_branch', 'SELECT branch, count(*) AS n, sum(balance), avg(balance), min(balance), max(note) FROM accounts GROUP BY branch');
SELECT derive.create_view('joined', 'SELECT a.id, b.name, h.delta FROM accounts a JOIN branches b USING (branch) JOIN history h ON h.account = a.id');
SELECT derive.create_view('names', 'SELECT DISTINCT note, branch % 2 AS odd FROM accounts WHERE balance <> 100');
SELECT derive.create_view('totals', 'SELECT count(*), sum(n), max(sum) FROM by_branch');
});
	return;
}

my $script = q{
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
DELETE FROM history WHERE account = :a - 7;
COMMIT;
};

# A program in the background, with redirections for IPC::Run; it may die with the server.  Its sessions are known by
# the name of their application, since a backend outlives its client: it finishes what it was told to, and commits it.
my %client_of;

sub start_client
{
	my ($node, @command) = @_;
	my $name = 'client ' . ++(our $clients);
	local $ENV{PGAPPNAME} = $name;
	my $client = IPC::Run::start(@command);
	$client_of{$client} = { node => $node, name => $name };
	return $client;
}

# When this returns, nothing that the program did is still to come.
sub stop_client
{
	my ($client) = @_;
	eval { $client->kill_kill(grace => 1) };

	my ($node, $name) = @{ delete $client_of{$client} }{qw(node name)};
	my $end = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE application_name = '$name'";
	for my $i (1 .. 10 * $timeout)
	{
		# which dies if psql is gone before it was told what to do
		my ($rc, $out, $err) = eval { $node->psql('postgres', $end) };
		# a server that is down, or comes up again, has no sessions
		return if defined $rc && ($rc == 0 ? $out eq '' : $err =~ /refused|No such file|starting up|shutting down|recovery/);
		usleep(100_000);
	}
	die "sessions of $name do not end";
}

# pgbench in the background.  With a log it can be asked for latencies() later.  The script is that for load_tables(),
# or one's own.  Four clients write at the same time, but no more in all than leaves something for other tests: as much
# as they can where latencies are asked for.
sub start_load
{
	my ($node, $seconds, $log, $own_script) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/load_" . $node->name . ".sql";
	open my $out, '>', $file or die $!;
	print $out $own_script // $script;
	close $out;
	my ($stdout, $stderr) = ('', '');
	my $bin = $node->installed_command('pgbench');
	my @log = $log ? ('-l', '--log-prefix', "$PostgreSQL::Test::Utils::tmp_check/$log") : ('-R', '300');
	return start_client($node,
		[ $bin, '-n', '-c', '4', '-j', '2', '-T', $seconds, '--max-tries=10', @log, '-f', $file, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<' => \'', '>' => \$stdout, '2>' => \$stderr);
}

sub stop_load
{
	my ($load, $log) = @_;

	# pgbench writes its log when it has some lines of it, and none when it is told to end
	for my $i (1 .. 10 * $timeout)
	{
		last if !$log || grep { -s } glob("$PostgreSQL::Test::Utils::tmp_check/$log.*");
		usleep(100_000);
	}
	stop_client($load);
	return;
}

# Median, 99th percentile and maximum in ms, and the number, of a load's transactions.
sub latencies
{
	my ($log) = @_;
	my @us;
	for my $file (glob("$PostgreSQL::Test::Utils::tmp_check/$log.*"))
	{
		push @us, map { (split ' ')[2] } split /\n/, slurp_file($file);
	}
	die "no latencies in $log" unless @us;
	@us = sort { $a <=> $b } @us;
	return (map({ sprintf '%.1f', $_ / 1000 } $us[ @us / 2 ], $us[ @us * 0.99 ], $us[-1]), scalar @us);
}

sub has_debug_points
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'pg_derive.debug_point'}) eq '1';
}

# Where processes should stop or fail; '' for nowhere.  Works while the server
# recovers, too.
sub set_debug_point
{
	my ($node, $value) = @_;

	# a reload with a setting that is wrong goes on with the one before
	die "no such action: $value" if grep { !/:(?:error|once|full|kill|wait|skip)$/ } split /,/, $value;
	$node->append_conf('postgresql.conf', "pg_derive.debug_point = '$value'");
	$node->reload;
	return;
}

# The process that waits at a debug point with action "wait", once it does.
sub waits_at
{
	my ($node, $point) = @_;
	for my $i (1 .. 10 * $timeout)
	{
		my ($rc, $pid) = $node->psql('postgres',
			"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
			  . "AND objid = (hashtext('$point')::bigint & 4294967295)::oid LIMIT 1");
		return $pid if $pid;
		usleep(100_000);
	}
	die "nobody waits at $point";
}

# Stop the worker, or the one with this pid, while it sleeps between two batches: it holds no lock and no
# snapshot that other sessions would wait for.  let_go_on() ends that.
sub stop_worker
{
	my ($node, $pid) = @_;
	$pid //= worker_pid($node);
	my $asleep = sub {
		return $node->safe_psql('postgres', qq{
			SELECT wait_event_type IN ('Activity', 'Extension') AND backend_xmin IS NULL
			   AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid) FROM pg_stat_activity a WHERE pid = $pid}) eq 't';
	};
	for my $i (1 .. 100 * $timeout)
	{
		# one that works may hold a lock that looking at it needs
		if ($asleep->())
		{
			kill('STOP', $pid);
			return $pid if $asleep->();
			kill('CONT', $pid);
		}
		usleep(10_000);
	}
	die 'the worker does not sleep';
}

sub let_go_on
{
	my ($pid) = @_;
	return kill('CONT', $pid);
}

# A psql that stays, for statements of one session.
sub background
{
	my ($node, %opt) = @_;
	my $session = $node->background_psql($opt{db} // 'postgres', on_error_stop => 0, timeout => 5 * $timeout, %opt);

	# for each query, and not for the life of the session, which may rest in between
	$session->set_query_timer_restart;
	return $session;
}

# Wait until the log, from the offset on, has the pattern; returns that part of it.
sub log_says
{
	my ($node, $pattern, $offset, $label) = @_;
	eval { $node->wait_for_log($pattern, $offset) };
	my $log = slurp_file($node->logfile, $offset);
	like($log, $pattern, $label);
	return $log;
}

# Faults of the machine for servers that are started from now on: see faults.c.
my $faults;

sub load_faults
{
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my $source = __FILE__ =~ s/[^\/]*$/faults.c/r;
	my $cc = $ENV{CC} // 'cc';
	system("$cc -shared -fPIC -O1 -o $folder/faults.so $source -ldl") == 0 or die 'faults.c cannot be compiled';
	$faults = "$folder/faults";
	open my $out, '>', $faults or die $!;
	print $out pack('q2', 0, 0);
	close $out or die $!;
	$ENV{DERIVE_FAULTS} = $faults;
	# after a sanitizer's, which has to be the first
	$ENV{LD_PRELOAD} = join ':', $ENV{LD_PRELOAD} // (), "$folder/faults.so";
	return;
}

# clock => seconds, full => 0 or 1; what is not named is well.
sub set_faults
{
	my (%fault) = @_;
	open my $out, '+<', $faults or die $!;
	print $out pack('q2', 1_000_000 * ($fault{clock} // 0), $fault{full} // 0);
	close $out or die $!;
	return;
}

# No line in the log that must never be there.
sub log_is_clean
{
	my ($node) = @_;
	my $log = slurp_file($node->logfile);
	my @bad = grep {
		/\bPANIC:|TRAP:|problem in alloc set|signal (?:6|11)\b/
		  || (/WARNING:/ && /leak|own a lock|not active/)
	} split /\n/, $log;
	is(join("\n", @bad), '', 'server log of ' . $node->name);
	return;
}

1;
