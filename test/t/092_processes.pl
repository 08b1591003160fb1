# Watching from inside: what ps and pg_stat_activity show of each process and each wait, as docs/monitoring.md lists them,
# and the lines in the log about what takes long.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('processes', conf => "pg_derive.max_databases = 3\npg_derive.build_share = 1\n");
my $page = slurp_file("$FindBin::RealBin/../../docs/monitoring.md");
my (%type_seen, %event_seen);

sub sql
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql);
}

# Wait until somebody waits so.  Who: a condition on pg_stat_activity.  Again: what makes him wait so, for a while.
sub waits_so
{
	my ($event, $who, $label, $again) = @_;
	my $shown = $node->pg_version >= 17 ? $event : 'Extension';
	my $found = '';
	for my $i (1 .. 600)
	{
		$found = sql("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND wait_event = '$shown' AND pid <> pg_backend_pid() AND ($who)");
		last if $found eq 't';
		$again->() if $again && $i % 50 == 0;
		usleep(100_000);
	}
	is($found, 't', "$event: $label")
	  or diag(sql('SELECT pid, datname, backend_type, wait_event_type, wait_event, state, query FROM pg_stat_activity'));
	$event_seen{$event} = 1;
	return;
}

# Wait until there is a process of this type, with this title.  Again: what it is started for.
sub has_title
{
	my ($type, $title, $again) = @_;
	my $shown = '';
	for my $i (1 .. 600)
	{
		my @pids = split /,/, sql("SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE backend_type = '$type'");
		# what ps shows, which not every system has; a process may be gone meanwhile
		$shown = join "\n", map { (eval { slurp_file("/proc/$_/cmdline") } // '') =~ s/\0+$//r } @pids;
		last if $shown =~ $title;
		$again->() if $again && !@pids && $i % 20 == 0;
		usleep(100_000);
	}
	like($shown, $title, "$type: its title");
	$type_seen{$type} = 1;
	return;
}

load_tables($node);
sql(q{
CREATE TABLE numbers (id int PRIMARY KEY, x int);
CREATE TABLE keyless (a int);
INSERT INTO numbers SELECT i, i FROM generate_series(1, 1000) i;
-- computed as a whole, and so dear that it is not done in batches
SELECT derive.create_view('dear', 'SELECT x, g FROM numbers, generate_series(1, 500) g ORDER BY x, g OFFSET 499990');
SELECT derive.create_group('apart');
SET pg_derive.default_group = 'apart';
SELECT derive.create_view('sums', 'SELECT x % 10 AS k, sum(id) FROM numbers GROUP BY 1')});
wait_derived($node, 'built');

# ---- at rest

has_title('pg_derive launcher', qr/pg_derive launcher/);
has_title('pg_derive worker', qr/pg_derive worker postgres *$/m);
has_title('pg_derive worker', qr/pg_derive worker postgres, group \d+/);
waits_so('DeriveLauncherIdle', "backend_type = 'pg_derive launcher'", 'the launcher has nothing to do');
waits_so('DeriveIdle', "backend_type = 'pg_derive worker' AND state = 'idle'", 'nor has a worker');
sql('INSERT INTO numbers VALUES (2000, 5); SELECT derive.wait()');
# both of them end when there was nothing to do for some seconds
my $compute = sub { sql('UPDATE numbers SET x = 11 - x WHERE id = 2000; SELECT derive.wait()') };
has_title('pg_derive slow lane', qr/pg_derive slow lane postgres/, $compute);
waits_so('DeriveAssistantIdle', "backend_type = 'pg_derive slow lane'", 'the slow lane has done what there was', $compute);
my $verify = sub { sql(q{SELECT * FROM derive.verify('by_branch')}) };
$verify->();
has_title('pg_derive verifier', qr/pg_derive verifier postgres/, $verify);
waits_so('DeriveAssistantIdle', "backend_type = 'pg_derive verifier'", 'the verifier has, too', $verify);

# ---- sessions that wait for the worker

my $stopped = stop_worker($node);
my $session = background($node);
$session->query_until(qr/go/, "\\echo go\nSELECT derive.wait('by_branch');\n");
sql('INSERT INTO accounts VALUES (10001, 1, 1)');
my $second = background($node);
$second->query_until(qr/go/, "\\echo go\nSELECT derive.wait('by_branch');\n");
waits_so('DeriveView', "backend_type = 'client backend' AND query ~ 'derive.wait'", 'a session waits for a view');
let_go_on($stopped);
$_->quit foreach $session, $second;

# ---- batches that are put together, and errors

# the least share: what a batch of all rows takes is not saved up in the time between two tries
sql(q{ALTER SYSTEM SET pg_derive.batch_interval = '10s'; ALTER SYSTEM SET pg_derive.batch_share = 0.001; SELECT pg_reload_conf()});
my $change = sub {
	sql('UPDATE accounts SET balance = balance + 1');
	sql("UPDATE accounts SET balance = balance + $_ WHERE id = 500") for 1 .. 3;
};
$change->();
waits_so('DeriveBatchInterval', "backend_type = 'pg_derive worker'", 'a worker puts commits together', $change);
sql(q{ALTER SYSTEM RESET pg_derive.batch_interval; ALTER SYSTEM RESET pg_derive.batch_share; SELECT pg_reload_conf()});
wait_derived($node, 'after the interval');

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);

	set_debug_point($node, 'batch-applied:error');
	$change = sub { sql('UPDATE accounts SET balance = balance + 7 WHERE id = 7') };
	$change->();
	waits_so('DeriveErrorPause', "backend_type = 'pg_derive worker'", 'before another try', $change);
	set_debug_point($node, '');
	wait_derived($node, 'after errors');

	# a builder whose worker does not answer
	my $holder = background($node);
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-identity'))});
	set_debug_point($node, 'build-before-identity:wait');
	sql(q{SELECT derive.create_view('built', 'SELECT count(*) FROM numbers')});
	waits_at($node, 'build-before-identity');
	has_title('pg_derive builder', qr/pg_derive builder .*built/);
	$stopped = stop_worker($node);
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	waits_so('DeriveCapture', "backend_type = 'pg_derive builder'", 'a builder waits for its changes to be kept');
	let_go_on($stopped);
	wait_derived($node, 'built after a while');

	# the slow lane, when its worker does not make a batch
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('lane-locked'))});
	set_debug_point($node, 'lane-locked:wait');
	sql('INSERT INTO numbers VALUES (2001, 5)');
	waits_at($node, 'lane-locked');
	$stopped = stop_worker($node);
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	waits_so('DeriveBatch', "backend_type = 'pg_derive slow lane'", 'the slow lane waits for a batch');
	let_go_on($stopped);
	wait_derived($node, 'computed after a while');

	# and one that wants to show a view that somebody looks at
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-fill'))});
	set_debug_point($node, 'build-before-fill:wait');
	sql(q{SELECT derive.create_view('looked_at', 'SELECT max(x) FROM numbers')});
	waits_at($node, 'build-before-fill');
	my $looker = background($node);
	$looker->query_safe('BEGIN; EXPLAIN SELECT * FROM looked_at');
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	waits_so('DeriveLock', "backend_type = 'pg_derive builder'", 'before another try to get a lock');
	$looker->query_safe('COMMIT');
	$_->quit foreach $looker, $holder;
	wait_derived($node, 'built after a lock');
}

# ---- the verifier: a view that can be read, and that its worker cannot move

my $locker = background($node);
$locker->query_safe('BEGIN; CREATE INDEX ON joined (id)');
sql('UPDATE accounts SET branch = 4 WHERE id = 4');
derive_wait_state($node, 'joined', 'waiting', 'a view that cannot move');
$session = background($node);
$session->query_until(qr/go/, "\\echo go\nSELECT * FROM derive.verify('joined');\n");
waits_so('DeriveVerifier', "backend_type = 'pg_derive verifier'", 'the verifier waits for it');
$locker->query_safe('COMMIT');
$locker->quit;
$session->quit;

# ---- databases: places, and workers that have to go

sql("CREATE DATABASE $_") foreach 'one', 'two';
sql('CREATE EXTENSION pg_derive; CREATE TABLE t (a int)', $_) foreach 'one', 'two';
# the last place is that of a worker which has no views any more, and leaves when a table has its identity again
my $user = background($node, db => 'one');
my $waiting = background($node, db => 'two');
my $got;
# it waits for 10 s, which a machine may stop for
for my $i (1 .. 5)
{
	sql(q{SELECT derive.create_view('v', 'SELECT count(*) FROM t'); SELECT derive.wait()}, 'one');
	$user->query_safe('BEGIN; LOCK TABLE t IN ACCESS SHARE MODE');
	sql(q{SELECT derive.drop_view('v')}, 'one');
	waits_so('DeriveLock', "datname = 'one' AND backend_type = 'pg_derive worker'", 'for a lock that an identity needs');
	$waiting->query_until(qr/go/, "\\echo go\nSELECT derive.create_view('v', 'SELECT count(*) FROM t');\n");
	waits_so('DerivePlace', "datname = 'two' AND backend_type = 'client backend'", 'a session waits for the last place');
	$user->query_safe('COMMIT');
	$got = $waiting->query(q{SELECT derive.wait('v', '1 min')}) =~ /^t\z/m;
	last if $got;
	$waiting->{stderr} = '';
}
ok($got, 'and gets it');
$_->quit foreach $user, $waiting;
$stopped = stop_worker($node, worker_pid($node, 'two'));
$session = background($node);
$session->query_until(qr/go/, "\\echo go\nDROP DATABASE two;\n");
waits_so('DeriveWorkerExit', "query = 'DROP DATABASE two;'", 'for the worker of a database that is dropped');
let_go_on($stopped);
$session->quit;
is(sql(q{SELECT count(*) FROM pg_database WHERE datname = 'two'}), '0', 'which it is');

# ---- all that the page lists

my %type = map { $_ => 1 } $page =~ /^\| `(pg_derive [\w ]+)` \|/mg;
is_deeply(\%type, \%type_seen, 'each process of docs/monitoring.md, and no other') if has_debug_points($node);
my %event = map { $_ => 1 } map { /`(Derive\w+)`/g } $page =~ /^\| (`Derive[^|]*) \|/mg;
# test/t/004_build.pl has this one
delete $event{DeriveBuildPause};
is_deeply([ sort keys %event ], [ sort keys %event_seen ], 'each wait event, and no other') if has_debug_points($node);

# ---- what takes long

sql(q{
CREATE FUNCTION slowly(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(0.15); RETURN x; END';
SELECT derive.create_view('slow', 'SELECT slowly(x) AS x FROM numbers WHERE id > 5000');
ALTER SYSTEM SET pg_derive.log_min_duration = '100ms';
SELECT pg_reload_conf()});
wait_derived($node, 'with a slow view');
my $offset = -s $node->logfile;
sql('INSERT INTO numbers VALUES (5001, 1)');
wait_derived($node, 'a slow batch');
my $log = log_says($node, qr/LOG:  batch took (\d+)\.\d+ ms: \d+\.\d+ ms for reading the log, and \d+ of \d+ views changed\n/, $offset, 'a slow batch is logged');
my %took = $log =~ /LOG:  view "(?:public\.)?(\w+)" took (\d+)\.\d+ ms/g;
cmp_ok($took{slow} // 0, '>=', 150, 'and the view that made it slow, with its time');
is(join(' ', grep { $took{$_} < 100 } keys %took), '', 'and no view that took less than that');
sql(q{ALTER SYSTEM SET pg_derive.log_min_duration = 0; SELECT pg_reload_conf()});
wait_derived($node);
$offset = -s $node->logfile;
sql('INSERT INTO numbers VALUES (3000, 3000)');
wait_derived($node, 'a change of a view that is computed as a whole');
log_says($node, qr/LOG:  view "(?:public\.)?dear" took \d+\.\d+ ms: .* \d+ rows inserted/, $offset, 'a view in the slow lane is logged, too');

# A worker that somebody ends again and again, before it has done anything, is not one that cannot run.
if (has_debug_points($node))
{
	my $holder = background($node);
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-snapshot'))});
	set_debug_point($node, 'batch-snapshot:wait');
	sql('INSERT INTO numbers VALUES (3001, 3001)');
	for my $i (1 .. 5)
	{
		my $pid = waits_at($node, 'batch-snapshot');
		sql("SELECT pg_terminate_backend($pid)");
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die 'it does not end';
	}
	set_debug_point($node, '');
	$holder->quit;
	my ($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.wait(NULL, '180 s')});
	is("$out$err", 't', 'ended five times, and waited for at once');
}

# What cancels a query does not end who has none at present, and what it does cancel is done again.
my %before = (worker => worker_pid($node), launcher => sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_derive launcher'}));
for my $i (1 .. 200)
{
	kill('INT', values %before);
	sql("INSERT INTO numbers VALUES (4000 + $i, $i)") if $i % 10 == 0;
	usleep(5_000);
}
# which may have made its slot unusable several times in a row: then it says so, and goes on
$node->poll_query_until('postgres', q{SELECT derive.wait(NULL, '180 s')}) or die 'it does not go on';
wait_derived($node, 'cancelled again and again');
is(sql("SELECT backend_type FROM pg_stat_activity WHERE pid = $before{$_}"), "pg_derive $_", "$_: it is the same") for sort keys %before;

is_exact($node, 'in the end');
log_is_clean($node);
$node->stop;
done_testing();
