# What the worker does when it cannot go on: it crashes at its start, or the log
# cannot be read.  The server stays up, the views are right or say that they are
# not, and what is lost is said.
# It waits for minutes, and so runs beside others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('setbacks');
my ($rc, $out, $err);

load_tables($node);
wait_derived($node, 'built');
is_exact($node, 'at the start');

sub states
{
	return $node->safe_psql('postgres', q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM derive_state.view_states});
}

sub crashes
{
	my ($log) = @_;
	my @found = $log =~ /terminated by signal/g;
	return scalar @found;
}

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);

	# ---- the worker crashes while it reads the log

	my $offset = -s $node->logfile;
	# twice; and then it does not come back before it is told to
	set_debug_point($node, 'batch-snapshot:kill,come-back-3:skip');
	eval { $node->psql('postgres', 'UPDATE accounts SET balance = 1 WHERE id = 1') };
	my $log = log_says($node, qr/pg_derive stays away from database "postgres" for 10 s/, $offset, 'the worker stays away, and longer the second time');
	like($log, qr/for 5 s: the worker process crashed 2 times in a row, while reading the log/, 'and says why');
	comes_back($node);
	my $away = stop_worker($node, $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'}));
	is(states(), 'by_branch waiting, joined waiting, names waiting, totals waiting', 'all views wait');
	like($node->safe_psql('postgres', q{SELECT DISTINCT waiting_for FROM derive.views}),
		qr/^another try at 20\S+ \S+: the worker process crashed \d times in a row, while reading the log$/, 'for what, and why');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots}), '1', 'nothing is lost');
	is($node->safe_psql('postgres', q{SELECT derive.wait(timeout => '1 s')}), 'f', 'one can wait for it');
	# the one of a worker that was well, two more, and that of the second try
	is(crashes(slurp_file($node->logfile, $offset)), 4, 'and no further crash');
	set_debug_point($node, '');
	$node->poll_query_until('postgres', q{SELECT current_setting('pg_derive.debug_point') = ''}) or die 'not reloaded';
	let_go_on($away);
	wait_derived($node, 'it goes on by itself');
	is_exact($node, 'it goes on by itself');

	# somebody calls it back
	$offset = -s $node->logfile;
	set_debug_point($node, 'batch-snapshot:kill');
	eval { $node->psql('postgres', 'UPDATE accounts SET balance = 3 WHERE id = 3') };
	log_says($node, qr/pg_derive stays away from database "postgres" for $_ s/, $offset, "it stays away for $_ s") for 5, 10, 20, 40;
	comes_back($node);
	for my $call (q{derive.wait('joined')}, q{derive.wait()})
	{
		($rc, $out, $err) = $node->psql('postgres', "SELECT $call");
		like($err, qr/the worker process that maintains the views of this database stays away until 20\S+ \S+: the worker process crashed \d times in a row/, "$call says so");
	}
	set_debug_point($node, '');
	$offset = -s $node->logfile;
	$node->safe_psql('postgres', q{SELECT derive.repair('names')});
	wait_derived($node, 'called back');
	is_exact($node, 'called back');
	unlike(slurp_file($node->logfile, $offset), qr/are computed anew/, 'from where it was');

	# ---- it crashes at one view

	$offset = -s $node->logfile;
	set_debug_point($node, 'load-joined:kill');
	eval { $node->psql('postgres', 'ALTER TABLE history ADD COLUMN note text; UPDATE accounts SET balance = 2 WHERE id = 1') };
	log_says($node, qr/maintenance of view "joined" has failed: the worker process crashed 2 times in a row, while loading the view/,
		$offset, 'one view has failed');
	comes_back($node);
	is($node->safe_psql('postgres', q{SELECT derive.wait('by_branch', timeout => '180 s')}), 't', 'the others go on');
	is(states(), 'by_branch ready, joined failed, names ready, totals ready', 'are ready');
	is($node->safe_psql('postgres', q{SELECT sum(missing + extra) FROM derive.verify()}), '0', 'and right');
	is(crashes(slurp_file($node->logfile, $offset)), 3, 'no further crash');
	set_debug_point($node, '');
	$node->safe_psql('postgres', q{SELECT derive.repair('joined')});
	is_exact($node, 'repaired');

	# ---- a builder crashes

	$offset = -s $node->logfile;
	set_debug_point($node, 'build-before-fill:kill');
	eval { $node->psql('postgres', q{SELECT derive.create_view('young', 'SELECT branch, max(balance) FROM accounts GROUP BY 1')}) };
	log_says($node, qr/maintenance of view "young" has failed: the process that builds the view crashed 2 times in a row, while running the query/,
		$offset, 'the view has failed');
	comes_back($node);
	is($node->safe_psql('postgres', q{SELECT derive.wait('by_branch', timeout => '180 s')}), 't', 'the others go on');
	derive_wait_state($node, 'young', 'failed');
	is(states(), 'by_branch ready, joined ready, names ready, totals ready, young failed', 'are ready');
	is(crashes(slurp_file($node->logfile, $offset)), 2, 'no further crash');
	set_debug_point($node, '');
	$node->safe_psql('postgres', q{SELECT derive.resume('young')});
	wait_derived($node, 'built after all');
	is_exact($node, 'built after all');

	# ---- others crash, and take a worker with them that never gets beyond its start

	# the errors of a worker are in the log soon after its start, or a minute later
	$offset = -s $node->logfile;
	set_debug_point($node, 'batch-snapshot:error');
	for my $i (1 .. 4)
	{
		my $life = $i > 1 ? 'reinitializing.*' : '';
		eval { $node->psql('postgres', 'UPDATE accounts SET balance = 3 WHERE id = 1') };
		log_says($node, qr/${life}debug point "batch-snapshot" was reached/s, $offset, "the worker is at its start, $i");
		my $victim = background($node);
		my $pid = $victim->query_safe('SELECT pg_backend_pid()');
		$offset = -s $node->logfile;
		kill_process($pid);
		comes_back($node);
		eval { $victim->quit };
	}
	set_debug_point($node, '');
	wait_derived($node, 'crashes of others do not count');
	is_exact($node, 'crashes of others do not count');
	is(join(' ', glob($node->data_dir . '/pg_stat_tmp/pg_derive*')), '', 'no file is left');

	# ---- an error in the same place of the log, again and again

	$offset = -s $node->logfile;
	set_debug_point($node, 'decode-record:error');
	$node->safe_psql('postgres', 'UPDATE accounts SET balance = 4 WHERE id = 1');
	log_says($node, qr/all maintained views of database "postgres" are computed anew: a record of the log at .* could not be decoded: debug point "decode-record" was reached/,
		$offset, 'a record that cannot be decoded');
	ok($node->poll_query_until('postgres', q{SELECT state || ': ' || waiting_for ~ '^rebuilding: .*could not be decoded: debug point' FROM derive_state.view_states WHERE name = 'joined'}),
		'the view says so');
	set_debug_point($node, '');
	wait_derived($node, 'computed anew');
	is_exact($node, 'computed anew');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.views WHERE waiting_for IS NOT NULL}), '0', 'and says it no longer');
}

# ---- a database that is moved to another tablespace

my $space = PostgreSQL::Test::Utils::tempdir();
my $space2 = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', qq{CREATE TABLESPACE space LOCATION '$space'});
$node->safe_psql('postgres', qq{CREATE TABLESPACE space2 LOCATION '$space2'});
$node->safe_psql('postgres', 'CREATE DATABASE moved');
$node->safe_psql('moved', q{
CREATE EXTENSION pg_derive;
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM count(*) FROM generate_series(1, 3000000 * i); RETURN i; END';
SELECT derive.create_view('v', 'SELECT id, slow(v) AS v FROM t');
SELECT derive.create_topic('events', 'x int');
SELECT derive.wait();
});

# the worker has more to do than it is given time for otherwise
$node->safe_psql('moved', q{INSERT INTO t VALUES (1, 2); SELECT derive.append('events', ROW(1))});
my $offset = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER DATABASE moved SET TABLESPACE space');
wait_derived($node, 'moved', 'moved');
is($node->safe_psql('moved', 'SELECT (SELECT count(*) FROM v), (SELECT count(*) FROM events)'), '1|1', 'nothing is lost');
unlike(slurp_file($node->logfile, $offset), qr/WARNING|ERROR/, 'nor computed anew');

# while nobody reads the log
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('moved', 'INSERT INTO t VALUES (2, 0); DELETE FROM t WHERE id = 1');
$node->safe_psql('postgres', 'ALTER DATABASE moved SET TABLESPACE space2');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$offset = -s $node->logfile;
$node->restart;
wait_derived($node, 'computed anew', 'moved');
is($node->safe_psql('moved', 'SELECT * FROM v'), '2|0', 'the view is right');
my $log = slurp_file($node->logfile, $offset);
like($log, qr/all maintained views of database "moved" are computed anew: a record of the log at .* could not be decoded: could not map filen(?:ode|umber)/,
	'the log says why');
like($log, qr/WARNING:  the log from \S+ to \S+ \(\d+ bytes\) was not read for database "moved"\n.*DETAIL:  Events of topics that were committed there are lost: "events"/,
	'and what is lost');
$node->safe_psql('moved', q{SELECT derive.append('events', ROW(2))});
wait_derived($node, 'the topic goes on', 'moved');
is($node->safe_psql('moved', 'SELECT string_agg(x::text, $$,$$ ORDER BY event_id) FROM events'), '1,2', 'events');

# ---- the slot is not there, as on a promoted standby

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = 'moved'});
$node->safe_psql('moved', 'INSERT INTO t VALUES (3, 0)');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$offset = -s $node->logfile;
$node->restart;
wait_derived($node, 'the slot is made anew', 'moved');
is($node->safe_psql('moved', 'SELECT string_agg(id::text, $$,$$ ORDER BY id) FROM v'), '2,3', 'the view is right');
$log = slurp_file($node->logfile, $offset);
like($log, qr/all maintained views of database "moved" are computed anew: the replication slot does not exist/, 'the log says why');
like($log, qr/WARNING:  the log from .* was not read for database "moved"\n.*are lost: "events"/, 'and what is lost');

# ---- a worker that is well and is ended, again and again

for my $i (1 .. 5)
{
	kill('TERM', worker_pid($node));
	$node->safe_psql('postgres', 'INSERT INTO history VALUES (1, 1)');
	is($node->safe_psql('postgres', q{SELECT derive.wait(timeout => '180 s')}), 't', "ended, $i");
}
is_exact($node, 'ended five times');

# ---- whoever waits is told when the extension is dropped, or what is in the way

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{
CREATE EXTENSION pg_derive;
CREATE TABLE t (a int);
SELECT derive.create_view('v', 'SELECT count(*) FROM t');
SELECT derive.wait();
SELECT derive.subscribe('v', 'somebody');
SELECT count(*) FROM derive.poll('somebody', timeout => '30 s');
});
my %waiting = map { $_ => background($node, db => 'other') }
	q{SELECT derive.wait('v', lsn => 'FFFFFFFF/0')}, q{SELECT derive.wait(lsn => 'FFFFFFFF/0')}, q{SELECT * FROM derive.poll('somebody', timeout => '1 h')};
$waiting{$_}->query_until(qr/go/, "\\echo go\n$_;\n") for keys %waiting;
$node->poll_query_until('other', q{SELECT count(*) = 3 FROM pg_stat_activity WHERE query ~ '^SELECT.*(FFFF|1 h)' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()}) or die 'nobody waits';
$node->safe_psql('other', 'DROP EXTENSION pg_derive CASCADE');
for my $call (sort keys %waiting)
{
	my $session = $waiting{$call};
	pump_until($session->{run}, $session->{timeout}, \$session->{stderr}, qr/ERROR.*\n/);
	like($session->{stderr}, qr/ERROR:  extension "pg_derive" was dropped/, "$call is told");
	$session->quit;
}
ok($node->poll_query_until('other', q{SELECT count(*) = 0 FROM pg_replication_slots WHERE database = 'other'}), 'the slot is dropped');

$node->safe_psql('other', q{SELECT pg_create_logical_replication_slot('pg_derive_' || oid, 'test_decoding') FROM pg_database WHERE datname = 'other'});
$node->safe_psql('other', q{CREATE EXTENSION pg_derive; SELECT derive.create_view('w', 'SELECT count(*) FROM t')});
ok($node->poll_query_until('other', q{SELECT view = 'w'::regclass AND pid IS NULL AND phase ~ 'waiting for the replication slot: replication slot "pg_derive_\d+" is in the way' FROM derive.progress}),
	'progress says what a view waits for');
($rc, $out, $err) = $node->psql('other', q{SELECT derive.wait(timeout => '30 s')});
like($err, qr/cannot read the log: replication slot "pg_derive_\d+" is in the way of pg_derive\nHINT:  Drop the slot with pg_drop_replication_slot/, 'derive.wait() says what is in the way');
$node->safe_psql('other', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = 'other'});
# it tries again, if less and less often
ok($node->poll_query_until('other', q{SELECT state = 'ready' FROM derive.views}), 'out of the way');
is($node->safe_psql('other', 'SELECT sum(missing + extra) FROM derive.verify()'), '0', 'and right');

# ---- requests of a database that is dropped

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	for my $round (1 .. 4)
	{
		$node->safe_psql('postgres', 'CREATE DATABASE leak');
		$node->safe_psql('leak', q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT a FROM t'); SELECT derive.wait()});
		my $holder = background($node, db => 'leak');
		$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-locked')), pg_advisory_lock(hashtext('batch-applied'))});
		set_debug_point($node, 'batch-locked:wait, batch-applied:wait');
		my @callers = map { background($node, db => 'leak') } 1 .. 16;
		$_->query_until(qr/go/, "\\echo go\nSELECT derive.repair('v');\n") for @callers;
		my $calling = q{SELECT count(*) = 16 FROM pg_stat_activity WHERE datname = 'leak' AND query ~ 'repair' AND wait_event_type = 'Extension'};
		$node->poll_query_until('postgres', $calling) or die 'calls';
		$holder->query_safe(q{SELECT pg_advisory_unlock(hashtext('batch-locked'))});
		$node->poll_query_until('leak', q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = (hashtext('batch-applied')::bigint & 4294967295)::oid}) or die 'batch';
		# it fails if one of so many sessions takes more than five seconds to end
		usleep(100_000) until $node->psql('postgres', 'DROP DATABASE leak WITH (FORCE)') == 0;
		set_debug_point($node, '');
		eval { $_->quit } for @callers, $holder;
	}
	is($node->safe_psql('postgres', 'SELECT sum(missing + extra) FROM derive.verify()'), '0', 'there is still room for calls');
}

log_is_clean($node);
$node->stop;

# ---- templates, databases without connections, more databases than places, and no process left

$node = derive_node('places', extension => 0, conf => "pg_derive.max_databases = 3\nmax_prepared_transactions = 2\nlog_min_messages = log\n");
my $view = q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT count(*) AS n FROM t')};
for my $db (qw(template closed))
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "$view; SELECT derive.wait()");
}
$node->safe_psql('postgres', 'ALTER DATABASE template IS_TEMPLATE true; ALTER DATABASE closed ALLOW_CONNECTIONS false');
$node->restart;
for my $db (qw(template closed))
{
	like(worker_pid($node, $db), qr/^\d+$/, "$db has a worker");
}
$node->safe_psql('template', 'INSERT INTO t VALUES (1)');
ok($node->poll_query_until('template', 'SELECT n = 1 FROM v'), 'the view of a template is maintained');

# somebody who may copy it, but does not own it
$node->safe_psql('postgres', 'CREATE ROLE copier CREATEDB');
is(($node->psql('postgres', 'SET ROLE copier; CREATE DATABASE copied TEMPLATE template'))[0], 0, 'its worker makes way for a copy');
$node->safe_psql('copied', 'INSERT INTO t VALUES (2)');
ok($node->poll_query_until('copied', 'SELECT n = 2 FROM v'), 'the view of the copy is maintained');

# The worker of a database without views has noticed that.
sub has_left
{
	my ($db) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_replication_slots WHERE database = '$db'") or die "worker of $db";
	return;
}

# no place: said at once, and nothing is left behind
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(late other);
($rc, $out, $err) = $node->psql('late', "$view; SELECT 1");
isnt($rc, 0, 'no place is left');
like($err, qr/ERROR:  too many databases with maintained views\nDETAIL:  "pg_derive.max_databases" must leave a place for this database; it is "3".\nHINT:.*max_databases/, 'which is an error');
is($node->safe_psql('late', q{SELECT count(*) FROM derive.views}) . $node->safe_psql('late', q{SELECT count(*) FROM pg_matviews WHERE schemaname = 'public'}), '00', 'nothing was declared');
$node->safe_psql('late', 'CREATE MATERIALIZED VIEW m AS SELECT a FROM t');
like(($node->psql('late', q{SELECT derive.maintain('m')}))[2], qr/ERROR:  too many databases/, 'by derive.maintain() neither');

# a copy has views already: they wait
$node->safe_psql('postgres', 'CREATE DATABASE copied_too TEMPLATE template');
like(($node->psql('copied_too', q{SELECT derive.subscribe('v', 's')}))[2], qr/ERROR:  too many databases/, 'nobody can subscribe to them');
$node->safe_psql('postgres', 'DROP DATABASE copied');
$node->safe_psql('copied_too', 'INSERT INTO t VALUES (2)');
ok($node->poll_query_until('copied_too', 'SELECT n = 2 FROM v'), 'a place that becomes free is taken');

# the last place, for two at once: who declares first has it until the end of the transaction
$node->safe_psql('postgres', 'DROP DATABASE copied_too');
$node->safe_psql('other', 'CREATE EXTENSION pg_derive; CREATE TABLE t (a int); CREATE MATERIALIZED VIEW m AS SELECT a FROM t');
my $first = background($node, db => 'late');
$first->query_safe(q{BEGIN; SELECT derive.maintain('m')});
like(($node->psql('other', q{SELECT derive.maintain('m')}))[2], qr/ERROR:  too many databases/, 'the last place is kept for who came first');
$first->query_safe('ROLLBACK');
$node->safe_psql('other', q{SELECT derive.maintain('m')});
pass('and is free after its rollback');
like(($node->psql('late', q{SELECT derive.maintain('m')}))[2], qr/ERROR:  too many databases/, 'now the other one has it');
is($node->safe_psql('other', q{SELECT derive.wait('m', '180 s')}), 't', 'and its worker');
$node->safe_psql('other', q{SELECT derive.release('m')});
has_left('other');
$first->query_safe(q{BEGIN; SAVEPOINT s; SELECT derive.maintain('m'); ROLLBACK TO s; SELECT derive.create_view('v', 'SELECT count(*) AS n FROM t'); COMMIT});
$first->quit;
is($node->safe_psql('late', q{SELECT derive.wait('v', '180 s')}), 't', 'a place is free again when the last view is gone');

# a prepared transaction keeps no place: its view waits
$node->safe_psql('late', 'SELECT derive.release(view) FROM derive.views');
has_left('late');
$node->safe_psql('other', q{BEGIN; SELECT derive.maintain('m'); PREPARE TRANSACTION 'p'});
$node->safe_psql('late', q{SELECT derive.maintain('v')});
# its slot waits for the prepared transaction
$node->poll_query_until('late', 'SELECT pid IS NOT NULL FROM derive.worker') or die 'no worker';
($rc, $out, $err) = $node->psql('other', q{COMMIT PREPARED 'p'});
like($err, qr/WARNING:  the views of this database wait until fewer databases have maintained views\nHINT:.*max_databases/, 'a prepared transaction comes too late');
is($node->safe_psql('other', 'SELECT phase FROM derive.progress'), 'waiting for a place among the databases (pg_derive.max_databases)', 'progress says what its view waits for');
$node->safe_psql('late', 'SELECT derive.release(view) FROM derive.views');
ok($node->poll_query_until('other', q{SELECT state = 'ready' FROM derive.views}), 'a place that becomes free is taken');
$node->safe_psql('other', 'SELECT derive.release(view) FROM derive.views');
has_left('other');
$node->safe_psql('late', q{SELECT derive.maintain('v'); SELECT derive.wait('v', '180 s')});
$node->safe_psql('postgres', 'DROP DATABASE other');

# no process: those of the launcher, three workers, and none for a builder
my $workers = 4 + $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication launcher'});
$node->append_conf('postgresql.conf', "max_worker_processes = $workers");
$node->restart;
worker_pid($node, $_) for qw(template closed late);
$offset = -s $node->logfile;
$node->safe_psql('late', q{SELECT derive.create_view('w', 'SELECT a FROM t')});
ok($node->poll_query_until('late', q{SELECT phase = 'waiting for a background worker (max_worker_processes)' FROM derive.progress}), 'no process is left');
# it tries each second
usleep(3_000_000);
my @lines = slurp_file($node->logfile, $offset) =~ /no background worker left/g;
is(scalar @lines, 1, 'which is said once');
$node->append_conf('postgresql.conf', "max_worker_processes = 24");
$node->restart;
ok($node->poll_query_until('late', q{SELECT bool_and(state = 'ready') FROM derive.views}), 'now there is one');

log_is_clean($node);
$node->stop;
done_testing();
