# Old row versions: they are kept for as long as the limits say and not longer, people can
# see it, and views are exact whether they are there or not.  A hold with a gap in it is
# not taken for one.
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

# The tests say when VACUUM comes.
my $node = derive_node('hold', conf => "pg_derive.lock_timeout = 100ms\nautovacuum = off\nlog_min_messages = debug1\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE TABLE busy (id int)');

# keyed: old rows are found by key.  full: the log has them.
$node->safe_psql('postgres', q{
CREATE TABLE keyed (id int PRIMARY KEY, g int, v int);
CREATE TABLE side (g int PRIMARY KEY, name text);
CREATE TABLE logged (id int, g int, v int);
CREATE TABLE y (id int PRIMARY KEY);
CREATE TABLE elsewhere (id int);
ALTER TABLE logged REPLICA IDENTITY FULL;
INSERT INTO keyed SELECT i, i % 5, i FROM generate_series(1, 200) i;
INSERT INTO side SELECT i, 'name ' || i FROM generate_series(0, 4) i;
INSERT INTO logged SELECT * FROM keyed;
INSERT INTO y VALUES (1);
CREATE FUNCTION gate(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_setting('gate.closed', true) = 'on' THEN
		RAISE insufficient_resources USING MESSAGE = 'the gate is closed';
	END IF;
	RETURN i;
END $$;
SELECT derive.create_view('groups', 'SELECT g, count(*) AS n, sum(gate(v)) FROM keyed GROUP BY g');
SELECT derive.create_view('named', 'SELECT s.name, count(*) AS n, sum(gate(k.v)) FROM keyed k JOIN side s USING (g) GROUP BY s.name');
SELECT derive.create_view('from_log', 'SELECT g, count(*) AS n, sum(gate(v)) FROM logged GROUP BY g');
SELECT derive.create_view('other', 'SELECT count(*) AS n FROM y');
});
wait_derived($node, 'built');

my $offset = 0;
my $locker = background($node);
my $holder = background($node);

# Views stand still while the gate is closed.  (A session that locks them would have a
# transaction, and nothing that it could still see were removed anyway.)
sub gate
{
	my ($closed) = @_;
	$node->append_conf('postgresql.conf', "gate.closed = $closed");
	$node->reload;
	return;
}

sub reconnect
{
	$_->quit for $locker, $holder;
	($locker, $holder) = (background($node), background($node));
	return;
}

sub setting
{
	my (%values) = @_;
	$node->append_conf('postgresql.conf', "pg_derive.$_ = '$values{$_}'") for sort keys %values;
	$node->reload;
	return;
}

sub slot_xmin
{
	return $node->safe_psql('postgres', q{SELECT xmin FROM pg_replication_slots WHERE database = 'postgres' AND slot_name LIKE 'pg_derive%'});
}

sub becomes
{
	my ($condition, $label) = @_;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $label)
	  or diag(DeriveTest::state($node) . "\n" . slot_xmin());
	return;
}

# The slot's xmin is there, and nothing that is committed by now is held.
sub hold_moves
{
	my ($label) = @_;
	my $xid = $node->safe_psql('other', 'SELECT pg_current_xact_id()::xid');
	$node->safe_psql('postgres', 'INSERT INTO elsewhere VALUES (1)');
	becomes(qq{age(xmin) < age('$xid'::xid) FROM pg_replication_slots WHERE database = 'postgres'}, "$label: the xmin moves on");
	return;
}

# Changes of all kinds, and what VACUUM makes of them.
my $step = 0;

sub change
{
	my $sql = sprintf q{
UPDATE keyed SET v = v + 1, g = (g + 1) %% 5 WHERE id %% 7 = %1$d %% 7;
DELETE FROM keyed WHERE id = %1$d;
INSERT INTO keyed VALUES (1000 + %1$d, %1$d %% 5, %1$d);
UPDATE side SET name = name || %1$d WHERE g = %1$d %% 5;
UPDATE logged SET v = v + 1 WHERE id %% 7 = %1$d %% 7;
INSERT INTO y VALUES (1000 + %1$d);
}, ++$step;
	$node->safe_psql('postgres', $sql);
	return;
}

# The server runs, but no process is left for workers.
sub without_worker
{
	my ($code) = @_;
	$offset = -s $node->logfile;
	$_->quit for $locker, $holder;
	$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
	$node->restart;
	$code->();
	$node->append_conf('postgresql.conf', 'max_worker_processes = 24');
	$node->restart;
	($locker, $holder) = (background($node), background($node));
	return;
}

sub vacuum
{
	$node->safe_psql('postgres', 'VACUUM (FREEZE) keyed, side, logged');
	return;
}

sub count_in_log
{
	my ($pattern, $offset) = @_;
	return scalar(() = slurp_file($node->logfile, $offset) =~ /$pattern/g);
}

# How often was a view computed anew, since its old rows were gone?
sub recomputed
{
	my ($view) = @_;
	return count_in_log("recomputing an operator of view \"public[.]$view\": its old rows could not be read", $offset);
}

#
# What is seen, and that it moves.
#
hold_moves('unrelated commits');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.stats WHERE held_xmin IS NOT NULL AND held_age >= 0}),
	4, 'derive.stats tells what is held');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.stats s, pg_replication_slots WHERE age(xmin) < held_age}),
	0, 'and the slot holds no less');
$node->safe_psql('postgres', q{SELECT derive.pause('other')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.stats WHERE state = 'paused' AND held_xmin IS NULL}), 1, 'a paused view holds nothing');
change();
hold_moves('beside a paused view');
$node->safe_psql('postgres', q{SELECT derive.resume('other')});
wait_derived($node, 'resumed');
is_exact($node, 'resumed');

#
# A view that stands still.
#
$offset = -s $node->logfile;
setting(max_hold => '2s');
gate('on');
change();
derive_wait_state($node, $_, 'waiting') for qw(groups named from_log);
my $held = slot_xmin();
change();
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
becomes(q{count(*) = 3 FROM derive.views WHERE state = 'waiting' AND waiting_for LIKE '%old row versions are no longer kept%'}, 'after max_hold, views say that their past is gone');
hold_moves('beside views that stand still');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.stats WHERE state = 'waiting' AND held_xmin IS NULL}), 3, 'nothing is held for them');
change();
vacuum();
usleep(1_500_000);
is(count_in_log('LOG:  old row versions are no longer kept for view', $offset), 3, 'one line for each in the log');
gate('off');
wait_derived($node, 'back after max_hold');
cmp_ok(recomputed('groups'), '>', 0, 'a view that needs old rows by key is computed anew');
is(recomputed('from_log'), 0, 'one whose table logs them comes back by the log');
is_exact($node, 'back after max_hold');
setting(max_hold => '30min');

# The same, and a crash right after the xmin has moved on, which brings back what was
# in the slot's file.
$node->safe_psql('postgres', 'CHECKPOINT');
gate('on');
change();
derive_wait_state($node, $_, 'waiting') for qw(groups named);
$node->safe_psql('postgres', 'CHECKPOINT');
setting(max_hold => '1s');
becomes(q{count(*) >= 2 FROM derive.views WHERE waiting_for LIKE '%no longer kept%'}, 'given up');
$held = $node->safe_psql('postgres', q{SELECT max(pg_snapshot_xmin(position)::text) FROM derive_state.waiting});
becomes(qq{age(xmin) < age('$held'::xid) FROM pg_replication_slots WHERE database = 'postgres'}, 'let go');
vacuum();
gate('off');
$node->stop('immediate');
start_again($node);
reconnect();
wait_derived($node, 'back after a crash');
is_exact($node, 'back after a crash');
setting(max_hold => '30min');

# Younger than that, they come back by what was kept, whatever VACUUM did.
gate('on');
change();
derive_wait_state($node, 'named', 'waiting');
$offset = -s $node->logfile;
change();
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
hold_stays();
vacuum();
gate('off');
wait_derived($node, 'back before max_hold');
is(recomputed('named') + recomputed('groups'), 0, 'by its changes');
is_exact($node, 'back before max_hold');

sub hold_stays
{
	$node->safe_psql('postgres', 'INSERT INTO elsewhere VALUES (1)');
	$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
	usleep(2_500_000);
	# the xmin may lag behind what is needed
	is($node->safe_psql('postgres', q{SELECT age(xmin) >= (SELECT max(age(pg_snapshot_xmin(position)::xid)) FROM derive_state.waiting)
		FROM pg_replication_slots WHERE database = 'postgres' AND slot_name LIKE 'pg_derive%'}), 't', 'what a view needs that stands still is held');
	return;
}

# So many transactions are a limit, too.
setting(max_hold_age => 50);
$locker->query_safe('BEGIN; CREATE INDEX ON groups (n)');
change();
derive_wait_state($node, 'groups', 'waiting');
$node->safe_psql('other', 'DO $$ BEGIN FOR i IN 1 .. 60 LOOP INSERT INTO busy VALUES (i); COMMIT; END LOOP; END $$');
becomes(q{waiting_for LIKE '%no longer kept%' FROM derive.views WHERE view = 'groups'::regclass}, 'after max_hold_age');
$locker->query_safe('ROLLBACK');
wait_derived($node, 'back after max_hold_age');
is_exact($node, 'back after max_hold_age');
setting(max_hold_age => 50000000);

#
# A worker whose batches fail, for errors of its own or while it reads the log.
#
for my $point (qw(batch-applied batch-decoded decoded))
{
	$offset = -s $node->logfile;
	setting(max_hold => '2s');
	set_debug_point($node, "$point:error");
	change();
	becomes(q{xmin IS NULL FROM pg_replication_slots WHERE database = 'postgres'}, "$point: a worker that fails lets go");
	change();
	vacuum();
	usleep(3_000_000);
	is(count_in_log('WARNING:  old row versions are no longer kept', $offset), 1, "$point: said once");
	is(slot_xmin(), '', "$point: and holds nothing more");
	set_debug_point($node, '');
	setting(max_hold => '30min');
	wait_derived($node, "$point: goes on");
	is_exact($node, "$point: goes on");
	hold_moves("$point: afterwards");
}

# Or for a lock on our own catalog, which it waits for.
setting(max_hold => '1s');
$offset = -s $node->logfile;
$locker->query_safe('SET allow_system_table_mods = on; BEGIN; CREATE INDEX ON derive_state.position (lsn)');
change();
becomes(q{xmin IS NULL FROM pg_replication_slots WHERE database = 'postgres'}, 'a worker that waits lets go');
change();
vacuum();
$locker->query_safe('ROLLBACK');
setting(max_hold => '30min');
wait_derived($node, 'after the wait');
is_exact($node, 'after the wait');

#
# A hold that begins with a batch that fails is none, even if the xmin is the same since a
# transaction of another database runs.
#
sub only_after_a_failure
{
	my ($label, $meanwhile) = @_;
	setting(old_rows => 'log');
	becomes(q{xmin IS NULL FROM pg_replication_slots WHERE database = 'postgres'}, "$label: nothing is held");
	change();
	wait_derived($node, "$label: log");
	is_exact($node, "$label: log");
	becomes(q{count(*) = 2 FROM pg_class WHERE relname IN ('keyed', 'side') AND relreplident = 'f'}, "$label: tables log old rows");
	$node->safe_psql('other', q{BEGIN; INSERT INTO busy VALUES (1); PREPARE TRANSACTION 'long'});
	change();
	wait_derived($node, "$label: beside a transaction elsewhere");
	$offset = -s $node->logfile;
	$meanwhile->(sub {
		change();
		$node->safe_psql('postgres', q{UPDATE keyed SET v = v * 2; UPDATE side SET name = name || 'x'; DELETE FROM side WHERE g = 2});
		vacuum();
		setting(old_rows => 'auto', debug_point => 'batch-decoded:once,batch-applied:once');
	});
	wait_derived($node, "$label: a hold that began in vain");
	is_exact($node, "$label: a hold that began in vain");
	is(count_in_log('debug point "batch-(?:decoded|applied)" was reached', $offset), 2, "$label: twice");
	set_debug_point($node, '');
	$node->safe_psql('other', q{COMMIT PREPARED 'long'});
	$node->safe_psql('postgres', q{INSERT INTO side VALUES (2, 'two')});
	hold_moves("$label: auto again");
	change();
	wait_derived($node, "$label: auto");
	is_exact($node, "$label: auto");
	return;
}
only_after_a_failure('a new worker', \&without_worker);
only_after_a_failure('the same worker', sub {
	my ($code) = @_;
	my $worker = stop_worker($node);
	$code->();
	let_go_on($worker);
});

#
# The same of a view that stands still at that xmin while the hold ends and begins again;
# its lock goes on from an older to a younger transaction meanwhile.
#
reconnect();
$node->safe_psql('postgres', q{
CREATE TABLE pair_lock (g int);
CREATE TABLE pair_x (k int, v int);
CREATE TABLE pair_y (k int, w int);
ALTER TABLE pair_lock REPLICA IDENTITY FULL;
ALTER TABLE pair_x REPLICA IDENTITY FULL;
ALTER TABLE pair_y REPLICA IDENTITY FULL;
INSERT INTO pair_lock VALUES (1);
INSERT INTO pair_x SELECT i, 1 FROM generate_series(1, 50) i;
INSERT INTO pair_y SELECT i, i FROM generate_series(1, 50) i;
SELECT derive.create_view('pairs', 'SELECT g, sum(v * w) AS s, count(*) AS n FROM pair_x JOIN pair_y USING (k) CROSS JOIN pair_lock GROUP BY g');
});
wait_derived($node, 'pairs');

my $elsewhere = background($node, db => 'other');
my $xid = $elsewhere->query_safe('BEGIN; SELECT pg_current_xact_id()::xid');
change();
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
is($node->safe_psql('postgres', q{SELECT pg_snapshot_xmin(position) FROM derive_state.view_states WHERE view = 'other'::regclass}), $xid,
	'the position has the xmin of the transaction elsewhere');
$locker->query_safe('BEGIN; LOCK TABLE pair_lock IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', 'UPDATE pair_x SET v = v + 1; UPDATE pair_y SET w = w + 1000');
derive_wait_state($node, 'pairs', 'waiting');
is($node->safe_psql('postgres', q{SELECT pg_snapshot_xmin(position) FROM derive_state.view_states WHERE view = 'pairs'::regclass}), $xid,
	'and so has that of the view');
$holder->query_until(qr/begun/, "\\echo begun\nBEGIN; LOCK TABLE pair_lock IN ACCESS EXCLUSIVE MODE;\n");
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_locks WHERE NOT granted') or die 'nobody waits for the lock';
$locker->query_safe('ROLLBACK');
setting(old_rows => 'log');
becomes(q{xmin IS NULL FROM pg_replication_slots WHERE database = 'postgres'}, 'nothing is held');
$node->safe_psql('postgres', 'VACUUM pair_x; VACUUM pair_y');
setting(old_rows => 'auto');
change();
becomes(qq{xmin = '$xid'::xid FROM pg_replication_slots WHERE database = 'postgres'}, 'a hold begins with the same xmin');
$holder->query_safe('ROLLBACK');
wait_derived($node, 'back after a gap');
is_exact($node, 'back after a gap');

# From the same xmin on it is used again.
$node->safe_psql('postgres', 'UPDATE pair_x SET v = v + 1 WHERE k < 5; UPDATE pair_y SET w = w + 1 WHERE k < 7');
wait_derived($node, 'after the gap');
is_exact($node, 'after the gap');
$elsewhere->query_safe('ROLLBACK');
$elsewhere->quit;
hold_moves('after the gap');

#
# A build lasts longer than the limit.
#
reconnect();
setting(max_hold => '1s', max_hold_age => 50);
$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-after-fill'))});
set_debug_point($node, 'build-after-fill:wait');
$node->safe_psql('postgres', q{SELECT derive.create_view('built', 'SELECT s.name, k.id, k.v FROM keyed k JOIN side s USING (g)')});
waits_at($node, 'build-after-fill');
$held = $node->safe_psql('postgres', q{SELECT backend_xmin FROM pg_stat_activity WHERE backend_type = 'pg_derive builder' AND datname = 'postgres'});
$node->safe_psql('other', 'DO $$ BEGIN FOR i IN 1 .. 60 LOOP INSERT INTO busy VALUES (i); COMMIT; END LOOP; END $$');
change();
$node->safe_psql('postgres', q{SELECT derive.wait('groups', timeout => '180 s')});
usleep(2_000_000);
change();
$node->safe_psql('postgres', q{SELECT derive.wait('groups', timeout => '180 s')});
is($node->safe_psql('postgres', qq{SELECT age(xmin) >= age('$held'::xid) FROM pg_replication_slots WHERE database = 'postgres' AND slot_name LIKE 'pg_derive%'}),
	't', 'a build is held for, however long it takes');
vacuum();
set_debug_point($node, '');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
wait_derived($node, 'built');
ok($node->poll_query_until('postgres', q{SELECT batches = 1 AND changes_in > 0 FROM derive.stats WHERE view = 'built'::regclass}), 'and handed over with its changes');
is_exact($node, 'built');
hold_moves('after a build');
setting(max_hold => '30min', max_hold_age => 50000000);

#
# An idle server comes to rest, with views in two databases.
#
$node->safe_psql('other', q{CREATE EXTENSION pg_derive; SELECT derive.create_view('busy_count', 'SELECT count(*) FROM busy'); SELECT derive.wait()});
$node->safe_psql('other', 'DO $$ BEGIN FOR i IN 1 .. 3000 LOOP INSERT INTO busy VALUES (i); COMMIT; END LOOP; END $$');
change();
wait_derived($node, 'two databases');

# Background processes of the server write now and then, too, but not so often.
sub wal_stands_still
{
	my $lsn = '';
	for my $i (1 .. 60)
	{
		my $now = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
		return 1 if $now eq $lsn;
		$lsn = $now;
		usleep(5_000_000);
	}
	return 0;
}
ok(wal_stands_still(), 'an idle server is at rest');
becomes(q{bool_and(age(xmin) < 1100) FROM pg_replication_slots}, 'and both slots have moved on');

# Also beside a view that stands still, which keeps the xmin where it is.
reconnect();
$locker->query_safe('BEGIN; CREATE INDEX ON groups (n)');
change();
derive_wait_state($node, 'groups', 'waiting');
$node->safe_psql('other', 'DO $$ BEGIN FOR i IN 1 .. 3000 LOOP INSERT INTO busy VALUES (i); COMMIT; END LOOP; END $$');
ok(wal_stands_still(), 'an idle server is at rest beside a view that stands still');
$locker->query_safe('ROLLBACK');
wait_derived($node, 'rested');
is_exact($node, 'rested');

# Commits of the other database are enough.
my $then = slot_xmin();
$node->safe_psql('other', 'DO $$ BEGIN FOR i IN 1 .. 3000 LOOP INSERT INTO busy VALUES (i); COMMIT; END LOOP; END $$');
becomes(qq{age(xmin) < age('$then'::xid) - 2000 FROM pg_replication_slots WHERE database = 'postgres'}, 'transactions of another database move it on');

#
# A worker that is not there: no process is left for it.
#
$node->safe_psql('postgres', q{SELECT pg_copy_logical_replication_slot(slot_name, 'copied') FROM pg_replication_slots WHERE database = 'postgres'});
isnt($node->safe_psql('postgres', q{SELECT xmin FROM pg_replication_slots WHERE slot_name = 'copied'}), '', 'a copy of a slot holds what the slot holds');
setting(max_hold => '3s');
change();
becomes(q{xmin IS NULL FROM pg_replication_slots WHERE slot_name = 'copied'}, 'but not for longer than others');
becomes(q{bool_and(xmin IS NOT NULL) FROM pg_replication_slots WHERE slot_name <> 'copied'}, 'those that are used hold on');
setting(max_hold => '30min');
without_worker(sub {
	like(slot_xmin(), qr/^\d+$/m, 'a slot holds across restarts');
	setting(max_hold => '3s');
	change();
	becomes(q{count(xmin) = 0 FROM pg_replication_slots}, 'the launcher lets go where there is no worker');
	log_says($node, qr/(?:WARNING:  old row versions are no longer kept.*?){2}/s, $offset, 'and says so');
	change();
	vacuum();
	setting(max_hold => '30min');
});
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('copied')});
wait_derived($node, 'a worker again');
is_exact($node, 'a worker again');
wait_derived($node, 'a worker again, other database', 'other');
hold_moves('a worker again');

#
# Where the server removes old row versions despite slots, they are not relied on.
#
SKIP:
{
	skip 'no old_snapshot_threshold', 5 if $node->pg_version >= 17;
	$node->append_conf('postgresql.conf', "old_snapshot_threshold = '1min'");
	$node->restart;
	change();
	wait_derived($node, 'old_snapshot_threshold');
	is_exact($node, 'old_snapshot_threshold');
	is(slot_xmin(), '', 'old_snapshot_threshold: nothing is held');
}

$_->quit for $locker, $holder;
log_is_clean($node);
done_testing();
