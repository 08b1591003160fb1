# Failover: a standby shows the views, and takes over when it is promoted.  From 17 on it goes on with
# its copy of the slot, so that no event and no version is lost that the old primary had sent; before
# that it computes the views anew, and says what is lost.  The old primary comes back as a standby, by
# pg_rewind or as it is, and takes over in turn.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $alpha = derive_node('alpha', conf => "wal_log_hints = on\nhot_standby_feedback = on\nwal_keep_size = 512MB\nwal_receiver_status_interval = 1s\nautovacuum_naptime = 1s\n");
my $copies_slots = $alpha->pg_version >= 17;
my $beta;

# ledger, lines: old rows are in the log.  accounts: they are read from the table.
$alpha->safe_psql('postgres', q{
CREATE TABLE ledger (id int PRIMARY KEY, g int, v int NOT NULL);
CREATE TABLE accounts (id int PRIMARY KEY, g int, v int NOT NULL);
CREATE TABLE lines (ledger int, amount int);
ALTER TABLE lines REPLICA IDENTITY FULL;
CREATE TABLE copy (r jsonb);
INSERT INTO ledger SELECT i, i % 7, 0 FROM generate_series(1, 1000) i;
INSERT INTO accounts SELECT i, i % 7, 0 FROM generate_series(1, 1000) i;
SELECT derive.create_view('by_g', 'SELECT g, count(*) AS n, sum(v) FROM accounts GROUP BY g');
SELECT derive.create_view('joined', 'SELECT a.id, a.g, l.amount FROM accounts a JOIN lines l ON l.ledger = a.id');
SELECT derive.create_view('sums', 'SELECT ledger, sum(amount) FROM lines GROUP BY ledger');
SELECT derive.create_view('ledger_history', 'history', '{ledger}');
SELECT derive.create_topic('events', 'ledger int');
SELECT derive.wait();
SELECT derive.subscribe('by_g', 'reader');
CREATE PROCEDURE consume() LANGUAGE plpgsql AS $$
DECLARE c record;
BEGIN
	FOR c IN SELECT * FROM derive.poll('reader', 100000) LOOP
		IF c.operation IN ('update', 'delete') THEN DELETE FROM copy WHERE ctid = (SELECT ctid FROM copy WHERE r = c.old LIMIT 1); END IF;
		IF c.operation <> 'delete' THEN INSERT INTO copy VALUES (c.new); END IF;
	END LOOP;
END $$;
CALL consume();
});
my $load = q{
\set a random(1, 200)
BEGIN;
UPDATE ledger SET v = v + 1, g = (g + :a) % 7 WHERE id = :a;
UPDATE accounts SET v = v + 1, g = (g + :a) % 7 WHERE id = :a;
INSERT INTO lines VALUES (:a, :a);
DELETE FROM lines WHERE ledger = :a + 1;
SELECT derive.append('events', ROW(:a));
COMMIT;
};

# A stopped server, or one from a backup, becomes a standby of another one.
sub follow
{
	my ($standby, $primary) = @_;
	my $name = $standby->name;
	$primary->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('$name', true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$name')");
	# what it has for its own standbys of before holds old rows on its primary
	my $slots = $standby->data_dir . '/pg_replslot';
	rmtree("$slots/" . $primary->name);
	my $conninfo = $primary->connstr('postgres') . " application_name=$name";
	$conninfo =~ s/'/''/g;
	$standby->append_conf('postgresql.conf', "primary_conninfo = '$conninfo'\nprimary_slot_name = '$name'\n");
	$standby->append_conf('postgresql.conf', "sync_replication_slots = on\n") if $copies_slots;
	$standby->set_standby_mode;
	$standby->start;
	$primary->wait_for_catchup($name, 'replay', $primary->lsn('insert'));
	return;
}

sub own_slot
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{SELECT slot_name FROM pg_replication_slots WHERE plugin = 'pg_derive'});
}

# 17 and later: the standby has a copy of the slot that is good for a promotion.  It stays so from when the
# primary knows by the standby's feedback which rows of the catalogs the copy needs; until then, VACUUM of
# these invalidates it, and it is made again.
sub is_copied
{
	my ($standby, $primary, $label) = @_;
	return unless $copies_slots;
	my $started = time;
	my $name = $standby->name;
	ok($primary->poll_query_until('postgres', "SELECT catalog_xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = '$name'"),
		"$label: the primary keeps what it needs");
	ok(slot_is_copied($standby), "$label: the slot is copied");
	note sprintf('%s: the slot was copied after %.1f s', $label, time - $started);
	return;
}

# What is in the tables is in what has only the log for it, and nothing else is.
sub nothing_is_lost
{
	my ($node, $label) = @_;
	is($node->safe_psql('postgres', 'SELECT (SELECT sum(v) FROM ledger) - (SELECT count(*) FROM events)'), 0, "$label: no event is lost, none is there twice");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM ledger l WHERE v + 1 <> (SELECT count(*) FROM ledger_history h WHERE h.id = l.id)'), 0,
		"$label: no version is lost, none is there twice");
	return;
}

# A topic has nothing to be compared with.
sub views_are_exact
{
	my ($node, $label) = @_;
	is($node->safe_psql('postgres', q{SELECT count(*) = 5 AND bool_and(state = 'ready') FROM derive.views}), 't', "$label: every view is ready");
	is($node->safe_psql('postgres', q{SELECT sum(rows_that_differ(view)) FROM derive.views WHERE NOT view::text ~ 'history|events'}), 0, "$label: every view equals its query");
	return if $node->safe_psql('postgres', 'SELECT pg_is_in_recovery()') eq 't';
	is($node->safe_psql('postgres', 'SELECT count(*) FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), 0, "$label: derive.verify()");
	return;
}

sub is_followed
{
	my ($node, $label) = @_;
	$node->safe_psql('postgres', 'CALL consume()');
	is($node->safe_psql('postgres', q{
		SELECT count(*) FROM ((SELECT r FROM copy EXCEPT ALL SELECT to_jsonb(v) FROM by_g v) UNION ALL (SELECT to_jsonb(v) FROM by_g v EXCEPT ALL SELECT r FROM copy)) d}),
		0, "$label: the subscriber has what the view has");
	return;
}

my @took;

# Promote, and wait for the views.  Returns the part of the log since then.
sub take_over
{
	my ($node, $label) = @_;
	my $offset = -s $node->logfile;
	my $started = time;
	$node->promote;
	wait_derived($node, "$label: the views follow");
	my $seconds = time - $started;
	diag(sprintf '%s: resumed %.1f s after the promotion began', $label, $seconds);
	push @took, $seconds;
	return slurp_file($node->logfile, $offset);
}

# ---- what a standby shows

$alpha->backup('base');
$beta = PostgreSQL::Test::Cluster->new('beta');
$beta->init_from_backup($alpha, 'base');
follow($beta, $alpha);
$alpha->safe_psql('postgres', 'UPDATE ledger SET v = v + 1, g = 0 WHERE id <= 100; UPDATE accounts SET v = v + 1, g = 0 WHERE id <= 100; INSERT INTO lines VALUES (1, 1), (2, 2)');
$alpha->safe_psql('postgres', q{SELECT derive.append('events', ROW(i)) FROM generate_series(1, 100) i});
wait_derived($alpha, 'the primary');
$alpha->wait_for_catchup('beta', 'replay', $alpha->lsn('insert'));
views_are_exact($beta, 'a standby');
nothing_is_lost($beta, 'a standby');
is($beta->safe_psql('postgres', q{SELECT string_agg(DISTINCT state || coalesce(waiting_for, '') || coalesce(lag::text, ''), ',') FROM derive.views}), 'ready', 'derive.views');
is($beta->safe_psql('postgres', 'SELECT count(*) FROM derive.stats'), 5, 'derive.stats');
is($beta->safe_psql('postgres', 'SELECT count(*) FROM derive.subscriptions'), 1, 'derive.subscriptions');
is($beta->safe_psql('postgres', 'SELECT (SELECT count(*) FROM derive.progress) + (SELECT count(*) FROM derive.worker) + (SELECT count(*) FROM derive.replacements)'), 0,
	'derive.progress, worker and replacements');
is($beta->safe_psql('postgres', q{SELECT count(*) > 0 FROM derive.explain('joined')}), 't', 'derive.explain()');
is($beta->safe_psql('postgres', q{SELECT count(*) > 0 FROM derive.plan('SELECT g, count(*) FROM ledger GROUP BY g')}), 't', 'derive.plan()');
is($beta->safe_psql('postgres', q{SELECT bool_and(ok) FROM derive.check()}), 't', 'derive.check()');
is($beta->safe_psql('postgres', q{SELECT count(*) FROM derive.as_of('ledger_history', (SELECT max(committed_at) FROM ledger_history), NULL::ledger)}), 1000, 'derive.as_of()');
is($beta->safe_psql('postgres', q{SELECT count(*) FROM derive.changes_of('ledger_history', (SELECT max(xid) FROM ledger_history))}), 100, 'derive.changes_of()');
for my $call (q{derive.wait()}, q{derive.wait('by_g', timeout => '1 s')}, q{derive.verify()}, q{derive.wait_replaced('by_g')}, q{derive.reset_stats()})
{
	like(($beta->psql('postgres', "SELECT $call"))[2], qr/ERROR:  views are not maintained on a standby server\nHINT:  Call this function on the primary/, $call);
}
for my $call (
	q{derive.create_view('w', 'SELECT count(*) FROM ledger')}, q{derive.create_view('w', 'history', '{lines}')}, q{derive.create_topic('t', 'x int')},
	q{derive.replace_view('by_g', 'SELECT g, count(*) AS n, sum(v) FROM accounts GROUP BY g')}, q{derive.create_or_replace_view('w', 'SELECT count(*) FROM ledger')},
	q{derive.maintain('by_g')}, q{derive.release('by_g')}, q{derive.drop_view('by_g')}, q{derive.pause('by_g')}, q{derive.resume('by_g')}, q{derive.repair('by_g')},
	q{derive.subscribe('by_g', 's')}, q{derive.unsubscribe('reader')}, q{derive.poll('reader')},
	q{derive.append('events', ROW(1))}, q{derive.append('events', '{"ledger": 1}'::jsonb)})
{
	like(($beta->psql('postgres', "SELECT $call"))[2], qr/ERROR:  cannot execute derive[.]\w+\(\) (in a read-only transaction|during recovery)/, $call);
}
like(($beta->psql('postgres', 'REFRESH MATERIALIZED VIEW by_g'))[2], qr/ERROR:  cannot execute REFRESH MATERIALIZED VIEW in a read-only transaction/, 'REFRESH');

# ---- the primary dies under load

# nothing happens on the primary, and yet
is_copied($beta, $alpha, 'an idle primary');

# a transaction that is under way, one that is prepared, one that waits for somebody
my $running = background($alpha);
$running->query_safe('BEGIN; UPDATE accounts SET v = v + 1 WHERE id = 900');
$alpha->safe_psql('postgres', q{
BEGIN; UPDATE ledger SET v = v + 1, g = 3 WHERE id = 901; UPDATE accounts SET v = v + 1, g = 3 WHERE id = 901; INSERT INTO lines VALUES (901, 1); SELECT derive.append('events', ROW(901)); PREPARE TRANSACTION 'p'});
my $pgbench = start_load($alpha, 600, undef, $load);
sleep 5;
my $holder = background($beta);
unless ($copies_slots)
{
	set_debug_point($beta, 'batch-locked:wait');
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-locked'))});
}
$alpha->kill9;
stop_load($pgbench);
eval { $running->quit };

my $log;
if ($copies_slots)
{
	$log = take_over($beta, 'failover');
	like($log, qr/LOG:  maintained views of database "postgres" go on with replication slot "pg_derive_\d+" after the promotion of the server/, 'the log says how');
	unlike($log, qr/computed anew|was not read|has read from/, 'not otherwise');
	nothing_is_lost($beta, 'failover');
}
else
{
	my $offset = -s $beta->logfile;
	my $reason = 'the server was promoted or restored, and no replication slot came with it';
	$beta->promote;
	if (has_debug_points($beta))
	{
		# a new slot waits for all that is under way
		ok($beta->poll_query_until('postgres', q{SELECT count(*) = 5 FROM derive.views WHERE waiting_for ~ 'prepared'}), 'the views say what they wait for') or diag($beta->safe_psql('postgres', 'TABLE derive.views'));
		$beta->safe_psql('postgres', q{COMMIT PREPARED 'p'});
		waits_at($beta, 'batch-locked');
		is($beta->safe_psql('postgres', q{SELECT DISTINCT state || ': ' || waiting_for FROM derive.views}), "rebuilding: its turn to be computed anew: $reason",
			'the views say how they are meanwhile');
		$holder->query_safe('SELECT pg_advisory_unlock_all()');
		set_debug_point($beta, '');
	}
	wait_derived($beta, 'failover: the views follow');
	$log = slurp_file($beta->logfile, $offset);
	like($log, qr/WARNING:  all maintained views of database "postgres" are computed anew: $reason/, 'the log says why');
	like($log, qr/WARNING:  the log from \S+ to \S+ \(\d+ bytes\) was not read for database "postgres"\n.*DETAIL:  Versions of rows that began and ended there are not in the histories: "ledger_history"\.\n\tEvents of topics that were committed there are lost: "events"/,
		'and what is lost');
	is($beta->safe_psql('postgres', 'SELECT count(*) FROM ledger l WHERE (g, v) IS DISTINCT FROM (SELECT (h.g, h.v) FROM ledger_history h WHERE h.id = l.id AND until_lsn IS NULL)'),
		0, 'the history knows the rows that there are');
}
$holder->quit;
views_are_exact($beta, 'failover');
is_followed($beta, 'failover');
is($beta->safe_psql('postgres', 'SELECT v FROM accounts WHERE id = 900'), 0, 'what was under way is gone');
if ($copies_slots)
{
	$beta->safe_psql('postgres', q{COMMIT PREPARED 'p'});
	wait_derived($beta, 'what was prepared');
	views_are_exact($beta, 'what was prepared');
	is($beta->safe_psql('postgres', q{SELECT (SELECT count(*) FROM events WHERE ledger = 901), (SELECT count(*) FROM ledger_history WHERE id = 901)}), '1|2', 'is not lost');
}
is($beta->safe_psql('postgres', q{SELECT bool_and(xmin IS NOT NULL AND active) FROM pg_replication_slots WHERE plugin = 'pg_derive'}), 't', 'old row versions are held again');

# what was lost before does not count from here on
my $fresh = q{
BEGIN; TRUNCATE ledger; INSERT INTO ledger SELECT i, i % 7, 0 FROM generate_series(1, 1000) i; COMMIT;
SELECT derive.wait(), derive.drop_view('events'), derive.drop_view('ledger_history');
SELECT derive.create_topic('events', 'ledger int');
SELECT derive.create_view('ledger_history', 'history', '{ledger}');
SELECT derive.wait()};
$beta->safe_psql('postgres', $fresh);

# ---- the old primary comes back by pg_rewind, and takes over in its turn: nothing fails

my $conf = $alpha->data_dir . '/postgresql.conf';
my $own_conf = slurp_file($conf);
$beta->safe_psql('postgres', 'CHECKPOINT');
# pg_rewind starts it to recover, and a process that was killed is there until somebody has asked for how it ended;
# its children are there for a moment longer, with their shared memory
my ($killed, $memory) = slurp_file($alpha->data_dir . '/postmaster.pid') =~ /^(\d+)\n(?:.*\n){5} *\d+ +(\d+)/;
for (1 .. 6000)
{
	last unless kill(0, $killed) || slurp_file('/proc/sysvipc/shm') =~ /^ *-?\d+ +$memory +\d+ +\d+ +\d+ +\d+ +[1-9]/m;
	usleep(10_000);
}
command_ok([ 'pg_rewind', '--target-pgdata', $alpha->data_dir, '--source-server', $beta->connstr('postgres') ], 'pg_rewind');
unlink $conf;
append_to_file($conf, $own_conf);
follow($alpha, $beta);
is(own_slot($alpha), '', 'pg_rewind leaves no slot') unless $copies_slots;
is_copied($alpha, $beta, 'rewound');
$pgbench = start_load($beta, 600, undef, $load);
sleep 3;
stop_load($pgbench);
wait_derived($beta, 'before the switch');
$beta->stop;
$log = take_over($alpha, 'switchover');
views_are_exact($alpha, 'switchover');
is_followed($alpha, 'switchover');
nothing_is_lost($alpha, 'switchover');
like($log, $copies_slots ? qr/go on with replication slot/ : qr/computed anew: the server was promoted or restored, and no/, 'the log says how');

# ---- one that was shut down becomes a standby as it is: with its slot of before

cmp_ok(scalar(glob($beta->data_dir . '/pg_replslot/pg_derive_*')), 'ne', '', 'the slot of the old primary is there');
my $offset = -s $beta->logfile;
follow($beta, $alpha);
ok($beta->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots WHERE plugin = 'pg_derive' AND xmin IS NOT NULL}), 'it is dropped');
log_says($beta, qr/LOG:  dropped replication slot "pg_derive_\d+", which is from before the server became a standby/, $offset, 'which the log says');
is_copied($beta, $alpha, 'demoted');
my $xid = $alpha->safe_psql('postgres', 'SELECT pg_current_xact_id()::xid');
$alpha->safe_psql('postgres', 'UPDATE ledger SET v = v + 1 WHERE id = 1');
$alpha->safe_psql('postgres', q{SELECT derive.append('events', ROW(1))});
ok($alpha->poll_query_until('postgres', qq{SELECT count(*) = 0 FROM pg_replication_slots WHERE age(xmin) >= age('$xid'::xid)}), 'the standby makes the primary hold nothing')
  or diag($alpha->safe_psql('postgres', 'SELECT slot_name, xmin, catalog_xmin FROM pg_replication_slots'));

# ---- a last time: the primary dies, and it is this standby that takes over

$pgbench = start_load($alpha, 600, undef, $load);
sleep 3;
$alpha->kill9;
stop_load($pgbench);
take_over($beta, 'failover back');
views_are_exact($beta, 'failover back');
is_followed($beta, 'failover back');
nothing_is_lost($beta, 'failover back') if $copies_slots;
cmp_ok((sort { $a <=> $b } @took)[0], '<', 30, 'who takes over is there soon');
log_is_clean($_) for $alpha, $beta;
$beta->stop;
done_testing();
