# Subscribers: exactly once through kill -9 and immediate shutdown, what is kept
# for how long, NOTIFY, and that nobody who sits there holds back maintenance.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use IPC::Run;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $rounds = $ENV{DERIVE_TEST_KILLS} || 8;
my @views = qw(by_branch joined names totals);
my $node = derive_node('subscriptions', conf => "fsync = on\n");
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

load_tables($node);
wait_derived($node, 'built');

# A consumer: it keeps a copy of the view, and changes it in the transaction that
# moves the subscription.
$node->safe_psql('postgres', q{
CREATE TABLE copies (subscriber text, r jsonb);
CREATE INDEX ON copies USING hash (r);
CREATE PROCEDURE consume(subscriber text, max_rows int, wait interval DEFAULT '0') LANGUAGE plpgsql AS $$
DECLARE
	c record;
	n int;
	victim tid;
BEGIN
	LOOP
		n := 0;
		FOR c IN SELECT * FROM derive.poll(subscriber, max_rows, wait) LOOP
			n := n + 1;
			IF c.operation IN ('update', 'delete') THEN
				SELECT k.ctid INTO STRICT victim FROM copies k WHERE k.r = c.old AND k.subscriber = consume.subscriber LIMIT 1;
				DELETE FROM copies k WHERE k.ctid = victim;
			END IF;
			IF c.operation <> 'delete' THEN
				INSERT INTO copies VALUES (subscriber, c.new);
			END IF;
		END LOOP;
		COMMIT;
		EXIT WHEN n = 0;
	END LOOP;
END $$;
CREATE FUNCTION differences(view regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((SELECT to_jsonb(v) FROM %1$s v EXCEPT ALL SELECT r FROM copies WHERE subscriber = %2$L)
		UNION ALL (SELECT r FROM copies WHERE subscriber = %2$L EXCEPT ALL SELECT to_jsonb(v) FROM %1$s v)) d', view, view) INTO n;
	RETURN n;
END $$;
});
$node->safe_psql('postgres', "SELECT derive.subscribe('$_', '$_')") for @views;

# psql that polls until it dies with the server.
sub start_consumer
{
	my ($view) = @_;
	my $script = join '', map { "CALL consume('$view', " . (1 + $_ % 3 * 20) . ", '100 ms');\n" } 1 .. 500;
	my ($out, $err) = ('', '');
	return start_client($node,
		[ $node->installed_command('psql'), '-XqAt', '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<' => \$script, '>' => \$out, '2>' => \$err);
}

sub copies_are_exact
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	for my $view (@views)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "CALL consume('$view', 1000)");
		is($rc, 0, "$label: $view is polled") or diag($err);
		is($node->safe_psql('postgres', "SELECT differences('$view')"), '0', "$label: the copy of $view");
	}
	return;
}

sub subscribe_again
{
	$node->safe_psql('postgres', "SELECT derive.unsubscribe('$_')") for @views;
	$node->safe_psql('postgres', "DELETE FROM copies; " . join '', map { "SELECT derive.subscribe('$_', '$_');" } @views);
	return;
}

for my $i (1 .. $rounds)
{
	if ($i == int($rounds / 2) + 1)
	{
		$node->append_conf('postgresql.conf', "synchronous_commit = off\nwal_writer_delay = 10s\n");
		$node->reload;
	}
	my $load = start_load($node, 600);
	my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM history');
	my @consumers = map { start_consumer($_) } @views;
	$node->poll_query_until('postgres', "SELECT count(*) > $n + 20 FROM history") or die 'no load';
	usleep(rand 600_000);
	my $how = crash($node, $i);
	stop_load($load);
	stop_client($_) for @consumers;
	copies_are_exact("kill $i ($how)");
}
is_exact($node, 'after all kills');
$node->append_conf('postgresql.conf', "synchronous_commit = on\nwal_writer_delay = 200ms\n");
$node->reload;

# The slot is lost while the worker is away: computed anew, by difference.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', q{
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
UPDATE accounts SET balance = balance + 1, branch = (branch + id) % 10;
DELETE FROM history WHERE account % 2 = 0;
});
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$node->restart;
copies_are_exact('lost slot');

# What every subscriber has got is removed.
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM derive_state.changes'), 'what was delivered is removed');

# NOTIFY, and a poll that waits
my $listener = background($node, timeout => 500);
$listener->query_safe('LISTEN derive_by_branch');
$node->safe_psql('postgres', q{SELECT derive.subscribe('by_branch', 'waiting')});
$node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('waiting')});
my $waiting = start_waiting_poll('waiting', 300);
usleep(300_000);
my $started = time;
$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1 WHERE id = 1');
$waiting->finish;
cmp_ok(time - $started, '<', 60, 'a poll that waits is woken by a change');
like($main::waiting_out, qr/^update\|/, 'and gets it');
wait_derived($node);
my $heard = '';
for my $i (1 .. 10 * $timeout)
{
	$heard .= $listener->query('SELECT 1');
	last if $heard =~ /derive_by_branch/;
	usleep(100_000);
}
like($heard, qr{notification "derive_by_branch" with payload "[0-9A-F]+/[0-9A-F]+"}, 'NOTIFY with an LSN');

# Somebody whose NOTIFY does not come to an end, since no standby confirms it:
# all who notify wait, but for us.
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
# who waits for a standby goes by what the checkpointer has read; the first may have begun before
$node->safe_psql('postgres', 'CHECKPOINT; CHECKPOINT');
my $stuck = background($node, timeout => 500);
$stuck->query_until(qr/begun/, "\\echo begun\nBEGIN; INSERT INTO copies VALUES (NULL); NOTIFY something; COMMIT;\n");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), 'a NOTIFY that hangs');
$listener->query('SELECT 1');
for my $i (1 .. 3)
{
	$node->safe_psql('postgres', 'SET synchronous_commit = local; UPDATE accounts SET balance = balance + 1 WHERE id % 10 = 3');
	# derive.wait() would wait for that transaction, too, which nobody sees yet
	ok($node->poll_query_until('postgres', "SELECT oracle('by_branch') = 0"), "maintenance goes on beside it, $i");
}
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$stuck->query('SELECT 1');
$stuck->quit;
$heard = '';
for my $i (1 .. 10 * $timeout)
{
	$heard .= $listener->query('SELECT 1');
	last if $heard =~ /derive_by_branch/;
	usleep(100_000);
}
like($heard, qr/derive_by_branch/, 'subscribers hear of it later');

sub start_waiting_poll
{
	my ($name, $seconds) = @_;
	our $waiting_out = '';
	my $err = '';
	return IPC::Run::start(
		[ $node->installed_command('psql'), '-XqAt', '-h', $node->host, '-p', $node->port, '-c',
			"SELECT * FROM derive.poll('$name', timeout => '$seconds s')", 'postgres' ],
		'<' => \'', '>' => \$main::waiting_out, '2>' => \$err);
}

# Sitting in transactions: a poller, a listener, an old snapshot.
my $poller = background($node, timeout => 500);
$poller->query_safe(q{BEGIN; SELECT count(*) FROM derive.poll('by_branch')});
$listener->query_safe('BEGIN; LISTEN derive_totals');
my $reader = background($node, timeout => 500);
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM by_branch');
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1 WHERE id % 10 = 3');
	wait_derived($node, "maintenance goes on, $i");
}

# What was removed stays in the index for the old snapshot.  Nobody reads it again
# and again: neither the worker nor a subscriber who takes rows in small portions.
sub entries_read
{
	return $node->safe_psql('postgres', "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname IN ('changes_pkey', 'spool_pkey')");
}
$node->safe_psql('postgres', q{
CREATE TABLE many (id int PRIMARY KEY, x int);
INSERT INTO many SELECT i, 0 FROM generate_series(1, 20000) i;
SELECT derive.create_view('all_many', 'SELECT id, x FROM many')});
wait_derived($node);
$node->safe_psql('postgres', q{SELECT derive.subscribe('all_many', 'many'), derive.subscribe('all_many', 'portions')});
$node->safe_psql('postgres', $_) for q{SELECT count(*) FROM derive.poll('many', 100000)}, q{SELECT count(*) FROM derive.poll('portions', 1)};
my $old_reader = background($node, timeout => 500);
$old_reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM by_branch');
my $read_before = entries_read();
$node->safe_psql('postgres', q{DO $$ BEGIN FOR i IN 1 .. 100 LOOP PERFORM count(*) FROM derive.poll('portions', 200); COMMIT; END LOOP; END $$});
$node->safe_psql('postgres', 'UPDATE many SET x = x + 1');
wait_derived($node);
is($node->safe_psql('postgres', "SELECT count(*) FROM derive.poll('$_', 100000)"), '20000', "$_ gets many changes") for qw(many portions);
ok($node->poll_query_until('postgres', q{SELECT j.floor >= s.position
	FROM derive_state.subscriptions s JOIN derive_state.journals j USING (view) WHERE s.name = 'many'}), 'which are removed then');
cmp_ok(entries_read() - $read_before, '<', 8 * 20000, 'what was removed is not read again');
$node->safe_psql('postgres', 'UPDATE many SET x = x + 1');
wait_derived($node);
my $orphans = $node->safe_psql('postgres', q{SELECT 'all_many'::regclass::oid});
$node->safe_psql('postgres', 'DROP TABLE many CASCADE');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM derive_state.changes WHERE view = $orphans"), 'changes of a view that is dropped go');
$old_reader->query_safe('COMMIT');
$old_reader->quit;

# With its owner, a subscription goes.
$node->safe_psql('postgres', q{CREATE ROLE leaving; GRANT SELECT ON totals TO leaving;
	SET ROLE leaving; SELECT derive.subscribe('totals', 'leaving'); RESET ROLE;
	DROP OWNED BY leaving; DROP ROLE leaving});
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM derive.subscriptions WHERE subscriber = 'leaving'"), 'a subscription whose owner is dropped');

# What a failed batch wrote is no longer counted.
SKIP:
{
	skip 'no debug points', 1 unless has_debug_points($node);
	$node->safe_psql('postgres', 'UPDATE accounts SET note = note || 0');
	wait_derived($node);
	set_debug_point($node, 'batch-view-applied:once');
	$node->safe_psql('postgres', 'UPDATE accounts SET note = note || id');
	wait_derived($node, 'a batch that failed once');
	set_debug_point($node, '');
	$node->safe_psql('postgres', 'UPDATE accounts SET note = note || 1');
	wait_derived($node);
	is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT total - lag(total) OVER (PARTITION BY view ORDER BY seq) AS bytes,
			coalesce(octet_length(old) + 4, 0) + coalesce(octet_length(new) + 4, 0) AS expected
		FROM derive_state.changes WHERE view = 'names'::regclass) c WHERE bytes <> expected}), '0', 'bytes are counted once');
}

# Limits: those who are behind are lost, and are told.
$node->append_conf('postgresql.conf', "pg_derive.subscription_max_size = '10kB'");
$node->reload;
$node->safe_psql('postgres', 'UPDATE accounts SET note = note || id WHERE id % 2 = 0');
ok($node->poll_query_until('postgres', "SELECT state = 'lost' FROM derive.subscriptions WHERE subscriber = 'names'"),
	'a subscription beyond the size limit is lost') or diag($node->safe_psql('postgres', 'TABLE derive.subscriptions'));
is($node->safe_psql('postgres', "SELECT state FROM derive.subscriptions WHERE subscriber = 'totals'"), 'following', 'another one is not');
$poller->query_safe('ROLLBACK');
$reader->query_safe('COMMIT');
$listener->query_safe('COMMIT');
$node->safe_psql('postgres', q{SELECT derive.unsubscribe('waiting')});
my ($rc, $out, $err) = $node->psql('postgres', "SELECT * FROM derive.poll('names')");
like($err, qr/subscription "names" has fallen behind.*derive.unsubscribe/s, 'and polling it says what to do');
$node->append_conf('postgresql.conf', "pg_derive.subscription_max_size = 0");
$node->reload;
subscribe_again();
copies_are_exact('subscribed again');
$node->append_conf('postgresql.conf', "pg_derive.subscription_retention = '1s'");
$node->reload;
$node->safe_psql('postgres', 'UPDATE accounts SET note = note || id WHERE id % 2 = 0');
ok($node->poll_query_until('postgres', "SELECT state = 'lost' FROM derive.subscriptions WHERE subscriber = 'names'"),
	'a subscription beyond the age limit is lost');
$node->append_conf('postgresql.conf', "pg_derive.subscription_retention = 0");
$node->reload;
subscribe_again();
copies_are_exact('and again');

# Contents that are replaced as a whole: nobody knows the changes.
$node->safe_psql('postgres', q{SET allow_system_table_mods = on;
UPDATE pg_class SET relkind = 'r', relhasrules = false WHERE oid = 'derive_state.views'::regclass;
UPDATE derive_state.views SET state = 'b' WHERE relid = 'names'::regclass;
UPDATE pg_class SET relkind = 'm', relhasrules = true WHERE oid = 'derive_state.views'::regclass});
kill_process(worker_pid($node));
comes_back($node);
wait_derived($node, 'built again');
($rc, $out, $err) = $node->psql('postgres', "SELECT * FROM derive.poll('names')");
like($err, qr/has fallen behind/, 'a view that was built again');
subscribe_again();
copies_are_exact('after that');

# Dropped views: what was kept for their subscribers goes, too; but nobody waits
# for a poller.
$node->safe_psql('postgres', q{SELECT derive.create_view('gone', 'SELECT id, balance FROM accounts')});
wait_derived($node);
$node->safe_psql('postgres', q{SELECT derive.subscribe('gone', 'gone1'), derive.subscribe('gone', 'gone2')});
$node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('gone1', 100, '60s')});
$node->safe_psql('postgres', q{UPDATE accounts SET balance = balance + 1});
wait_derived($node);
$poller = background($node, timeout => 500);
$poller->query_safe(q{BEGIN; SELECT count(*) FROM derive.poll('gone1', 10)});
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW gone');
$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1 WHERE id = 7');
wait_derived($node, 'a poller of a view that is dropped');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM derive_state.subscriptions WHERE name = 'gone2'"), 'its other subscriptions are removed');
is($node->safe_psql('postgres', "SELECT count(*) FROM derive.subscriptions WHERE subscriber = 'gone1'"), '0', 'the one that is locked is not shown');
$poller->query_safe('COMMIT');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM derive_state.subscriptions WHERE name = 'gone1'"), 'and goes later');
ok($node->poll_query_until('postgres', "SELECT (SELECT count(*) FROM derive_state.spool) = 0
	AND NOT EXISTS (SELECT FROM derive_state.changes c WHERE NOT EXISTS (SELECT FROM derive_state.journals j WHERE j.view = c.view))"),
	'so do its rows');

# Without subscriptions nothing is kept.
$node->safe_psql('postgres', 'SELECT derive.unsubscribe(subscriber) FROM derive.subscriptions');
ok($node->poll_query_until('postgres', 'SELECT (SELECT count(*) FROM derive_state.journals) + (SELECT count(*) FROM derive_state.changes) = 0'),
	'unused journals are dropped');
$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1');
wait_derived($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM derive_state.changes'), '0', 'and nothing is written');

# pg_recvlogical follows a view
sub receive
{
	my (@options) = @_;
	$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS flush (); INSERT INTO flush DEFAULT VALUES');
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
	my ($stdout, $stderr) = run_command([
		$node->installed_command('pg_recvlogical'), '-h', $node->host, '-p', $node->port, '-d', 'postgres',
		'--slot', 'follower', '--start', '--no-loop', '--endpos', $lsn, '-f', '-', map { ('-o', $_) } @options ]);
	return map { JSON::PP->new->decode($_) } split /\n/, $stdout;
}
my %copy;
sub replay
{
	my $key = sub { JSON::PP->new->canonical->encode($_[0]) };
	for my $event (@_)
	{
		%copy = () if $event->{event} eq 'truncate';
		next if ($event->{table} // '') ne 'followed';
		if (exists $event->{old})
		{
			my $k = $key->($event->{old});
			die "no such row: $k" unless $copy{$k};
			delete $copy{$k} if --$copy{$k} == 0;
		}
		$copy{ $key->($event->{new}) }++ if exists $event->{new};
	}
	my %view;
	$view{ $key->(JSON::PP->new->decode($_)) }++ for split /\n/, $node->safe_psql('postgres', 'SELECT to_jsonb(f) FROM followed f');
	return $key->(\%copy) eq $key->(\%view);
}
$node->command_ok([ 'pg_recvlogical', '-d', 'postgres', '--slot', 'follower', '--create-slot', '-P', 'pg_derive' ], 'a slot for a follower');
$node->safe_psql('postgres', q{SELECT derive.create_view('followed', 'SELECT branch, note, count(*) FROM accounts GROUP BY branch, note');
	ALTER MATERIALIZED VIEW followed REPLICA IDENTITY FULL});
wait_derived($node);
ok(replay(receive('views=public.followed', 'origin=none')), 'pg_recvlogical: built');
my $load = start_load($node, 3);
$load->finish;
wait_derived($node);
ok(replay(receive('views=*.followed')), 'pg_recvlogical: under load');
$node->safe_psql('postgres', 'TRUNCATE accounts');
$node->safe_psql('postgres', q{INSERT INTO accounts SELECT i, i % 3, 1, 'n' FROM generate_series(1, 50) i; SELECT derive.repair('followed')});
ok(replay(receive('views=public.f*')), 'pg_recvlogical: computed anew');
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('follower')});

wait_derived($node);
is_exact($node, 'at the end');
$_->quit for ($listener, $poller, $reader);
log_is_clean($node);
$node->stop;
done_testing();
