# The slot is given up at pg_derive.max_wal_backlog, dropped by hand, invalidated: each
# time the state is shown at once, views are computed anew by themselves, and what
# histories and topics have lost is said.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = derive_node('lost', initdb => ['--wal-segsize=1'],
	conf => "min_wal_size = 2MB\nmax_wal_size = 8MB\npg_derive.view_timeout = 0\npg_derive.max_wal_backlog = 0\nautovacuum = off\n");
my ($rc, $out, $err);
my $ours = q{slot_name = 'pg_derive_' || datoid};

sub sql
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql);
}

load_tables($node);
sql(q{
CREATE TABLE prices (id int PRIMARY KEY, price int);
INSERT INTO prices VALUES (1, 10), (2, 20);
SELECT derive.create_view('price_history', 'history', '{prices}');
SELECT derive.create_topic('events', 'what text');
CREATE TABLE filler (t text);
ALTER TABLE filler ALTER COLUMN t SET STORAGE EXTERNAL;
});
sql(q{SELECT derive.subscribe('by_branch', 'of_view'), derive.subscribe('events', 'of_topic')});
wait_derived($node, 'built');
sql(q{SELECT derive.append('events', '{"what": "first"}')});
wait_derived($node, 'the first event');
sql(q{SELECT count(*) FROM derive.poll('of_view'); SELECT count(*) FROM derive.poll('of_topic')});

# What of_view has got, applied.
sql(q{CREATE TABLE copy AS SELECT to_jsonb(v) AS row FROM by_branch v});

# Rows of the log that concern nobody, in MB.
sub write_log
{
	my ($mb) = @_;
	sql(qq{INSERT INTO filler SELECT repeat('x', 8000) FROM generate_series(1, $mb * 128); TRUNCATE filler});
	return;
}

# It comes to be true.  How soon, of each kind the fastest says: a machine may stop for a while, but not each time.
my %took;

sub shown_soon
{
	my ($sql, $label, $kind) = @_;
	my $begin = time;
	ok($node->poll_query_until('postgres', "SELECT $sql"), $label) or diag(DeriveTest::state($node));
	push @{ $took{$kind} }, time - $begin;
	return;
}

# Changes of everything, of which the log is the only witness.
my $round = 0;

sub change_all
{
	$round++;
	sql(qq{
UPDATE accounts SET balance = balance + $round, branch = (branch + 1) % 10 WHERE id % 50 = $round;
INSERT INTO history SELECT i, $round FROM generate_series(1, 50) i;
UPDATE prices SET price = price + 1;
SELECT derive.append('events', '{"what": "lost $round"}');
});
	return;
}

# As is_exact(), where there are a history and a topic, which are more than queries.
sub all_exact
{
	my ($label) = @_;
	is(sql(q{SELECT string_agg(name || ' ' || state, ', ') FROM derive_state.view_states WHERE state <> 'ready'}), '', "$label: all are ready");
	is(sql(q{SELECT sum(oracle(view)) FROM (SELECT view FROM derive_state.view_states WHERE name NOT IN ('price_history', 'events') OFFSET 0) v}), '0', "$label: every view equals its query");
	is(sql(q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', "$label: derive.verify()");
	return;
}

# After the loss: all is right again, by itself, and what cannot be is said.
sub is_right_again
{
	my ($label, $offset, $why) = @_;
	my $log;
	wait_derived($node, "$label: by itself");
	all_exact($label);
	is(sql('SELECT count(*) FROM prices p FULL JOIN (SELECT id, price FROM price_history WHERE until IS NULL) h USING (id) WHERE p.price IS DISTINCT FROM h.price'), '0',
		"$label: the history is right again");
	is(sql(q{SELECT count(*) > 0 FROM price_history WHERE operation = 'resync'}), 't', "$label: and says where it does not know");
	$log = slurp_file($node->logfile, $offset);
	like($log, qr/WARNING:  all maintained views of database "postgres" are computed anew: $why/, "$label: the log says why");
	like($log, qr/WARNING:  the log from \S+ to \S+ \(\d+ bytes\) was not read for database "postgres"\n.*DETAIL:  Versions of rows that began and ended there are not in the histories: "price_history"\.\n\tEvents of topics that were committed there are lost: "events"/,
		"$label: and what is lost");

	# the topic goes on, and who follows it sees that something is missing
	my $last = sql('SELECT coalesce(max(event_id), 0) FROM events');
	sql(qq{SELECT derive.append('events', '{"what": "kept $round"}')});
	wait_derived($node, "$label: next event");
	is(sql(qq{SELECT string_agg(new->>'what', ',') || ' ' || bool_and((new->>'event_id')::int >= $last + 2) FROM derive.poll('of_topic')}), "kept $round true",
		"$label: a number is left out for the subscriber of the topic");

	# of a view, all changes are known
	sql(q{
DO $$
DECLARE c record;
BEGIN
	FOR c IN SELECT * FROM derive.poll('of_view', max_rows => 1000000) LOOP
		IF c.old IS NOT NULL THEN DELETE FROM copy WHERE row = c.old; END IF;
		IF c.new IS NOT NULL THEN INSERT INTO copy VALUES (c.new); END IF;
	END LOOP;
END $$});
	is(sql('SELECT count(*) FROM (SELECT row FROM copy EXCEPT ALL SELECT to_jsonb(v) FROM by_branch v) x'), '0', "$label: the subscriber of a view has what it has");
	is(sql("SELECT count(*) FROM pg_replication_slots WHERE $ours AND wal_status <> 'lost'"), '1', "$label: one slot");
	is(sql(q{SELECT count(*) FROM derive.views WHERE state <> 'ready' OR waiting_for IS NOT NULL}), '0', "$label: nothing is left to say");
	return;
}

sub reload
{
	$node->append_conf('postgresql.conf', $_[0]);
	$node->reload;
	return;
}

# Without a process for the worker.
sub without_worker
{
	$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
	$node->restart;
	shown_soon(q{bool_and(state = 'waiting' AND waiting_for = 'a background worker (max_worker_processes)') FROM derive.views}, $_[0], 'no worker');
	return;
}

sub with_worker
{
	$node->append_conf('postgresql.conf', 'max_worker_processes = 24');
	$node->restart;
	return;
}

# The worker stops in the middle of a batch that changes all, until the session lets it go on.
sub stop_in_batch
{
	my $holder = background($node);
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-applied'))});
	set_debug_point($node, 'batch-applied:wait');
	change_all();
	waits_at($node, 'batch-applied');
	return $holder;
}

my $offset;

# ---- more than pg_derive.max_wal_backlog, and the worker is in the middle of a batch

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	my $holder = stop_in_batch();
	$offset = -s $node->logfile;
	reload('pg_derive.max_wal_backlog = 8MB');
	write_log(4);
	usleep(1_500_000);
	is(sql("SELECT count(*) FROM pg_replication_slots WHERE $ours AND active"), '1', 'less than the limit');
	change_all();
	write_log(8);
	shown_soon(q{bool_or(state = 'rebuilding' AND waiting_for ~ 'more of the log was kept for them than "pg_derive.max_wal_backlog"') FROM derive_state.view_states}, 'the limit, a worker that is stuck', 'given up');
	shown_soon("coalesce(max(pg_current_wal_insert_lsn() - restart_lsn) < 8 * 1024 * 1024, true) FROM pg_replication_slots WHERE $ours", 'the limit: the log is let go', 'let go');
	set_debug_point($node, '');
	$holder->query_safe(q{SELECT pg_advisory_unlock_all()});
	$holder->quit;
	is_right_again('the limit, a worker that is stuck', $offset, 'more of the log was kept for them than "pg_derive.max_wal_backlog"');
	my $log = slurp_file($node->logfile, $offset);
	like($log, qr/WARNING:  the log that the maintained views of database "postgres" have not read yet is given up, they will be computed anew\n.*DETAIL:  Replication slot "pg_derive_\d+" kept \d+ MB of it\.\n.*HINT:  "pg_derive.max_wal_backlog" says/,
		'the limit: the log says what was done');
	is(scalar(() = $log =~ /is given up, they will be/g), 1, 'the limit: once');
}
reload('pg_derive.max_wal_backlog = 8MB');

# ---- an open transaction keeps the log: the slot that is made anew waits for it, and does not keep more either

my $old = background($node);
$old->query_safe('BEGIN; INSERT INTO history VALUES (1, 1)');
change_all();
wait_derived($node, 'caught up');
sql(q{SELECT count(*) FROM derive.poll('of_topic')});
$offset = -s $node->logfile;
write_log(10);
shown_soon(q{bool_and(state = 'rebuilding' AND waiting_for ~ '^transactions older than') FROM derive_state.view_states WHERE name IN ('by_branch', 'joined')}, 'an old transaction', 'given up');
for my $i (1 .. 3)
{
	write_log(9);
	shown_soon("coalesce(max(pg_current_wal_insert_lsn() - restart_lsn) < 8 * 1024 * 1024, true) FROM pg_replication_slots WHERE $ours", "an old transaction: the new slot, $i", 'let go');
}
change_all();
$old->query_safe('COMMIT');
$old->quit;
is_right_again('an old transaction', $offset, 'more of the log');

# ---- there is no worker at all: the launcher lets go

without_worker('no process for the worker');
change_all();
$offset = -s $node->logfile;
write_log(10);
shown_soon("count(*) = 0 FROM pg_replication_slots WHERE $ours", 'no worker: the slot goes', 'given up');
like(slurp_file($node->logfile, $offset), qr/views of database "postgres" have not read yet is given up/, 'no worker: the log says so');
is(sql(q{SELECT bool_and(state = 'waiting' AND waiting_for = 'a background worker (max_worker_processes)') FROM derive.views}), 't', 'no worker: nor do the views move');
with_worker();
is_right_again('no worker', $offset, 'the replication slot does not exist');

# a slot that somebody else has made with our plugin is his
sql(q{SELECT pg_create_logical_replication_slot('mine', 'pg_derive')});
$offset = -s $node->logfile;
for my $i (1 .. 20)
{
	write_log(1);
	sql(q{INSERT INTO history VALUES (1, 2); SELECT derive.wait(timeout => '180 s')});
	# as fast as anybody writes, measured by the limit, as long as that is not near
	$node->poll_query_until('postgres', "SELECT pg_current_wal_insert_lsn() - restart_lsn < 5 * 1024 * 1024 FROM pg_replication_slots WHERE $ours") or die 'the log is not let go';
}
is(sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'mine'}), '1', 'slots of others stay');
sql(q{SELECT pg_drop_replication_slot('mine')});
unlike(slurp_file($node->logfile, $offset), qr/given up/, 'nor is ours given up while the worker keeps pace');
reload('pg_derive.max_wal_backlog = 0');

# ---- dropped by hand: not while the worker has it, and else it is made anew

($rc, $out, $err) = $node->psql('postgres', "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE $ours");
like($err, qr/is active for PID/, 'the worker has it');
without_worker('dropped by hand');
$offset = -s $node->logfile;
change_all();
sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE $ours");
with_worker();
is_right_again('dropped by hand', $offset, 'the replication slot does not exist');

# in the moment in which the worker is ended
$offset = -s $node->logfile;
my $dropped = 0;
for my $i (1 .. 20)
{
	my $pid = worker_pid($node);
	($rc) = $node->psql('postgres', qq{
DO \$\$
DECLARE slot name;
BEGIN
	PERFORM pg_terminate_backend($pid);
	FOR i IN 1 .. 20000 LOOP
		SELECT slot_name INTO slot FROM pg_replication_slots WHERE $ours AND NOT active;
		EXIT WHEN FOUND;
	END LOOP;
	ASSERT slot IS NOT NULL;
	PERFORM pg_drop_replication_slot(slot);
END \$\$});
	$dropped = $rc == 0;
	last if $dropped;
	wait_derived($node, "still there, $i");
}
ok($dropped, 'dropped between two workers');
change_all();
wait_derived($node, 'dropped between two workers');
all_exact('dropped between two workers');
like(slurp_file($node->logfile, $offset), qr/are computed anew: the replication slot does not exist/, 'dropped between two workers: the log says why');
sql(q{SELECT count(*) FROM derive.poll('of_topic'); SELECT count(*) FROM derive.poll('of_view'); TRUNCATE copy; INSERT INTO copy SELECT to_jsonb(v) FROM by_branch v});

# ---- invalidated by the server, which ends the worker

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	my $holder = stop_in_batch();
	$offset = -s $node->logfile;
	reload("max_slot_wal_keep_size = 4MB\nmax_wal_size = 2MB\n");
	write_log(20);
	sql('CHECKPOINT');
	shown_soon(q{bool_or(state = 'rebuilding' AND waiting_for ~ 'the replication slot has lost required WAL') FROM derive_state.view_states}, 'max_slot_wal_keep_size', 'given up');
	set_debug_point($node, '');
	$holder->query_safe(q{SELECT pg_advisory_unlock_all()});
	$holder->quit;
	is_right_again('max_slot_wal_keep_size', $offset, 'the replication slot has lost required WAL');
	reload("max_slot_wal_keep_size = -1\n");
}

# ---- by idle_replication_slot_timeout, where there is that, while the worker is away

SKIP:
{
	skip 'no idle_replication_slot_timeout', 1 if $node->pg_version < 18;
	without_worker('idle timeout');
	change_all();
	$offset = -s $node->logfile;
	reload('idle_replication_slot_timeout = 1');
	usleep(1_500_000);
	sql('CHECKPOINT');
	is(sql("SELECT invalidation_reason FROM pg_replication_slots WHERE $ours"), 'idle_timeout', 'idle timeout');
	is(sql(q{SELECT ok FROM derive.check() WHERE setting = 'replication slot'}), 'f', 'derive.check() knows');
	with_worker();
	is_right_again('idle timeout', $offset, 'the replication slot was invalidated after "idle_replication_slot_timeout"');
	write_log(2);
	wait_derived($node, 'a worker that is there is not idle');
	reload('idle_replication_slot_timeout = 0');
}

# ---- wal_level lowered, which the server refuses as long as there is a slot, and raised again

for my $level ('replica', 'minimal')
{
	$node->append_conf('postgresql.conf', "wal_level = $level\nmax_wal_senders = 0\n");
	$node->stop;
	$offset = -s $node->logfile;
	ok(!$node->start(fail_ok => 1), "wal_level = $level: the server does not start with a slot");
	$node->append_conf('postgresql.conf', "wal_level = logical\nshared_preload_libraries = ''\n");
	$node->start;
	sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE $ours");
	$node->append_conf('postgresql.conf', "wal_level = $level\nshared_preload_libraries = 'pg_derive'\n");
	$node->restart;
	shown_soon(q{bool_and(state = 'waiting' AND waiting_for = 'the log to have rows (wal_level)') FROM derive.views}, "wal_level = $level", 'no worker');
	is(sql(q{SELECT state || ': ' || activity FROM derive.worker}), 'missing: waiting for the log to have rows (wal_level)', "wal_level = $level: derive.worker");
	$node->poll_query_until('postgres', q{SELECT ok FROM derive.check() WHERE setting = 'max_worker_processes'}) or die 'no launcher';
	is(sql(q{SELECT setting || ' ' || remedy FROM derive.check() WHERE NOT ok}), 'wal_level Change this in postgresql.conf and restart the server, once for all of it.', "wal_level = $level: derive.check()");
	sql(q{UPDATE accounts SET balance = balance * 2 WHERE id % 20 = 3; UPDATE prices SET price = price + 1});
	($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.append('events', '{"what": "refused"}')});
	like($err, qr/"wal_level" must be logical; it is "$level"/, "wal_level = $level: a topic takes no events");
	$node->append_conf('postgresql.conf', "wal_level = logical\nmax_wal_senders = 4\n");
	$node->restart;
	is_right_again("wal_level = $level", $offset, 'the replication slot does not exist');
}

cmp_ok((sort { $a <=> $b } @{ $took{$_} })[0], '<', 5, "$_: shown within 5 s") for sort keys %took;

log_is_clean($node);
$node->stop;
done_testing();
