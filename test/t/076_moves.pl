# Views that cannot move to another group at present, or not at all: what is kept for them has an end, nobody else
# waits for them, and it is said.
# It waits for minutes, and so runs beside others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = derive_node('moves', conf => "pg_derive.max_builds = 1\n");
$node->safe_psql('postgres', 'CREATE DATABASE shop');
create_extension($node, 'shop');
$node->safe_psql('shop', q{
CREATE TABLE t (id int PRIMARY KEY, k int, x int);
CREATE TABLE u (id serial PRIMARY KEY, x int);
INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 500) i;
INSERT INTO u (x) SELECT i FROM generate_series(1, 100) i;
SELECT derive.create_group('heavy');
SELECT derive.create_view('v', 'SELECT k, count(*), sum(x) FROM t GROUP BY k');
SELECT derive.create_view('over_v', 'SELECT max(count) FROM v');
SELECT derive.create_view('none', 'SELECT k FROM v WHERE count < 0');
SELECT derive.create_view('b', 'SELECT k, max(x) FROM t GROUP BY k');
SET pg_derive.default_group = 'heavy';
SELECT derive.create_view('own', 'SELECT x % 5 AS r, count(*) FROM u GROUP BY 1')});
wait_derived($node, 'built', 'shop');

sub write_rows
{
	$node->safe_psql('shop', 'UPDATE t SET x = x + 1 WHERE id % 5 = 0; INSERT INTO u (x) SELECT x FROM u LIMIT 3');
	return;
}

sub all_right
{
	my ($label) = @_;
	write_rows();
	wait_derived($node, "$label: caught up", 'shop');
	is_exact($node, $label, 'shop');
	return;
}

sub groups
{
	return $node->safe_psql('shop', q{SELECT string_agg(view || ' ' || group_name, ', ' ORDER BY view::text) FROM derive.views WHERE view IN ('v', 'over_v')});
}

# Plan the move of v; a session has locked what goes with it before anybody can hand it over.  There are no
# rows to analyse, so that it has no transaction id, which would keep old rows by itself.
sub plan_locked
{
	my $plan = background($node, db => 'shop');
	my $lock = background($node, db => 'shop');

	$plan->query_safe(q{BEGIN; SELECT derive.move('v', 'heavy')});
	$lock->query_until(qr/begun/, "BEGIN;\n\\echo begun\nANALYZE none;\n");
	$node->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'none'::regclass AND NOT granted)}) or die;
	$plan->query_safe('COMMIT');
	$plan->quit;
	$node->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.relation = 'none'::regclass AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted AND a.query ~ 'ANALYZE' AND a.state = 'idle in transaction' AND a.backend_xid IS NULL)}) or die;
	return $lock;
}

sub heavy_slot
{
	return $node->safe_psql('shop', q{SELECT slot FROM derive.groups WHERE group_name = 'heavy'});
}

# ---- a view that is locked for long

my $slot = heavy_slot();
my $lock = plan_locked();
for my $round (1 .. 2)
{
	my ($lsn, $xid) = split /\|/, $node->safe_psql('shop', 'SELECT pg_current_wal_lsn(), txid_current()');
	write_rows();
	ok($node->poll_query_until('shop', qq{SELECT confirmed_flush_lsn > '$lsn' AND xmin::text::bigint > $xid FROM pg_replication_slots WHERE slot_name = '$slot' AND pg_current_xact_id() IS NOT NULL}),
		"round $round: neither log nor old rows are kept for it");
}
is(groups(), 'over_v default, v default', 'it has not moved');
is($node->safe_psql('shop', q{SELECT moving_here FROM derive.groups WHERE group_name = 'heavy'}), '3', 'it still is to');
$node->safe_psql('shop', q{
SET pg_derive.default_group = 'heavy';
SELECT derive.create_view('late_' || i, 'SELECT x, count(*) FROM u GROUP BY x') FROM generate_series(1, 2) i});
is($node->safe_psql('shop', q{SELECT derive.wait('late_1', '120 s'), derive.wait('late_2', '120 s')}), 't|t', 'views are built meanwhile');
my $started = time;
my ($rc, $out, $err) = $node->psql('postgres', 'ALTER DATABASE shop SET TABLESPACE pg_default');
like($err, qr/being accessed by other users|^$/, 'no worker is in the way of a command for the database');
unlike($err, qr/could not read the log/, 'it has read all of the log');
cmp_ok(time - $started, '<', 40, 'nor makes it wait');
$lock->query_safe('ROLLBACK');
$lock->quit;
is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s'), derive.wait_moved('over_v', '180 s')}), 't|t', 'it moves when it is free');
is(groups(), 'over_v heavy, v heavy', 'with the one that reads it');
all_right('after the lock');

# ---- the server is stopped meanwhile: the slot comes to the end of the log

$node->safe_psql('shop', q{SELECT derive.move('v', 'default')});
is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'back');
all_right('back');
$lock = plan_locked();
$lock->query_safe(q{PREPARE TRANSACTION 'lock'});
$lock->quit;
write_rows();
wait_derived($node, 'before the stop', 'shop');
my $lsn = $node->safe_psql('shop', 'SELECT pg_current_wal_lsn()');
$node->stop('fast');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
is($node->safe_psql('postgres', "SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = '$slot'"), 't', 'a worker that leaves lets go');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'\n");
$node->restart;
$node->safe_psql('shop', q{ROLLBACK PREPARED 'lock'});
is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'the move goes on');
is(groups(), 'over_v heavy, v heavy', 'to its end');
all_right('after the restart');

# ---- a view of somebody else that came later

$node->safe_psql('shop', q{SELECT derive.move('v', 'default')});
is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'back again');
$node->safe_psql('shop', q{CREATE ROLE alice; GRANT SELECT ON v TO alice; GRANT CREATE ON SCHEMA public TO alice});
$lock = plan_locked();
$node->safe_psql('shop', q{SET ROLE alice; SELECT derive.create_view('of_alice', 'SELECT min(count) FROM v')});
is($node->safe_psql('shop', q{SELECT derive.wait('of_alice', '180 s')}), 't', 'somebody creates a view over it');
my $offset = -s $node->logfile;
$lock->query_safe('ROLLBACK');
$lock->quit;
($rc, $out, $err) = $node->psql('shop', q{SELECT derive.wait_moved('v', '180 s')});
like("$rc $err", qr/^3 .*the move of view "v" was given up|^0 $/, 'who waits is told, if he came in time');
log_says($node, qr/WARNING: .* does not move to group "heavy".*\n.*View "of_alice", which would have to move with it/, $offset, 'the log says why');
$node->poll_query_until('shop', q{SELECT moving_here = 0 FROM derive.groups WHERE group_name = 'heavy'}) or die;
is($node->safe_psql('shop', q{SELECT DISTINCT group_name FROM derive.views WHERE view IN ('v', 'over_v', 'of_alice')}), 'default', 'nobody has moved');
all_right('given up');
$node->safe_psql('shop', q{SELECT derive.move('v', 'heavy')});
is($node->safe_psql('shop', q{SELECT derive.wait_moved('of_alice', '180 s')}), 't', 'who may move all of them, does');
is($node->safe_psql('shop', q{SELECT DISTINCT group_name FROM derive.views WHERE view IN ('v', 'over_v', 'of_alice')}), 'heavy', 'all have moved');
all_right('all of them');

# ---- a group that has never had a view, and no old rows: it has a position of its own before it takes one

$node->append_conf('postgresql.conf', "pg_derive.old_rows = log\n");
$node->reload;
$offset = -s $node->logfile;
for my $group ('fresh', 'heavy')
{
	$node->safe_psql('shop', q{SELECT derive.create_group('fresh')}) if $group eq 'fresh';
	$node->safe_psql('shop', qq{SELECT derive.move('v', '$group')});
	write_rows();
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', "moved to group $group");
	all_right("old_rows = log, $group");
}
unlike(slurp_file($node->logfile, $offset), qr/WARNING|recomputing|computed anew/, 'nothing is computed anew');
$node->append_conf('postgresql.conf', "pg_derive.old_rows = auto\n");
$node->reload;

SKIP:
{
	skip 'no debug points in a release build', 1 unless has_debug_points($node);

	# ---- what nothing keeps together is not moved to and fro

	$node->safe_psql('shop', q{DROP MATERIALIZED VIEW of_alice; SELECT derive.move('v', 'default')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'home');
	my $declares = background($node, db => 'shop');
	$declares->query_safe(q{SET pg_derive.debug_point = 'declare-keep:skip'; BEGIN; SELECT derive.create_view('w', 'SELECT v.k, v.count, b.max FROM v JOIN b USING (k)')});
	$node->safe_psql('shop', q{SELECT derive.move('v', 'heavy')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'half of what it reads has gone');
	$declares->query_safe('COMMIT');
	$declares->quit;
	$node->poll_query_until('shop', q{SELECT state = 'failed' FROM derive.views WHERE view = 'w'::regclass}) or die;
	like($node->safe_psql('shop', q{SELECT error FROM derive.views WHERE view = 'w'::regclass}), qr/it reads view "v", which is in group "heavy", and views of other groups/, 'it says so');
	$node->safe_psql('shop', q{SELECT derive.move('b', 'heavy')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved(view::regclass, '180 s') FROM derive.views WHERE view IN ('v', 'b', 'w')}), "t\nt\nt", 'all can be moved to one group');
	$node->safe_psql('shop', q{SELECT derive.resume('w')});
	all_right('together again');
	is($node->safe_psql('shop', q{SELECT DISTINCT group_name, state FROM derive.views}), 'heavy|ready', 'where all are ready');

	# ---- a view that follows what it reads is there: no plan of its own is left

	$node->safe_psql('shop', q{SELECT derive.move('v', 'default')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'home once more');
	$declares = background($node, db => 'shop');
	$declares->query_safe(q{SET pg_derive.debug_point = 'declare-keep:skip'; BEGIN; SELECT derive.create_view('follows', 'SELECT max(k) FROM v')});
	$node->safe_psql('shop', q{SELECT derive.move('v', 'heavy')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'what it reads has gone');
	$declares->query_safe(q{SELECT derive.move('follows', 'heavy'); COMMIT});
	$declares->quit;
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('follows', '180 s')}), 't', 'it follows');
	is($node->safe_psql('shop', q{SELECT group_name, (SELECT count(*) FROM derive_state.moves) FROM derive.views WHERE view = 'follows'::regclass}), 'heavy|0', 'and need not move any more');
	all_right('following');

	# ---- a group that is just getting a view is not dropped

	$node->safe_psql('shop', q{SELECT derive.create_group('other')});
	my $held = background($node, db => 'shop');
	$held->query_safe(q{SELECT pg_advisory_lock(hashtext('move-written'))});
	set_debug_point($node, 'move-written:wait');
	$node->safe_psql('shop', q{SELECT derive.move('v', 'other')});
	waits_at($node, 'move-written');
	my $drops = background($node, db => 'shop');
	$drops->query_until(qr/begun/, "\\echo begun\nSELECT derive.drop_group('other');\n");
	ok($node->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'derive_state.groups'::regclass AND NOT granted)}), 'who drops the group waits');
	set_debug_point($node, '');
	$held->quit;
	ok($node->poll_query_until('shop', q{SELECT NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'derive_state.groups'::regclass AND NOT granted)}), 'until it has it');
	$drops->quit;
	is($node->safe_psql('shop', q{SELECT DISTINCT derive.wait_moved(view::regclass, '180 s') FROM derive.views}), 't', 'moved');
	is($node->safe_psql('shop', q{SELECT group_name FROM derive.views WHERE view = 'v'::regclass}), 'other', 'there it is');
	all_right('not dropped');

	# ---- a pin that is over, while the batch that hands something over takes long: the others go on

	$node->append_conf('postgresql.conf', "pg_derive.max_hold = '1s'\n");
	$held = background($node, db => 'shop');
	$held->query_safe(q{SELECT pg_advisory_lock(hashtext('move-written'))});
	set_debug_point($node, 'move-written:wait');
	$node->safe_psql('shop', q{SELECT derive.move('v', 'heavy')});
	waits_at($node, 'move-written');
	my $all = 1;
	for ($started = time; $all && time - $started < 8; usleep(200_000))
	{
		$node->safe_psql('shop', 'INSERT INTO u (x) VALUES (1)');
		$all = $node->safe_psql('shop', q{SELECT derive.wait('own', '20 s')}) eq 't';
	}
	ok($all, 'batches run while a pin cannot end');
	set_debug_point($node, '');
	$held->quit;
	$node->append_conf('postgresql.conf', "pg_derive.max_hold = '30min'\n");
	$node->reload;
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'it has moved');
	all_right('after a long batch');
	$node->safe_psql('shop', q{SELECT derive.move('v', 'other')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '180 s')}), 't', 'and back');

	# ---- a builder that needs long, and then a view that is locked: builders and moves take turns nevertheless

	$node->append_conf('postgresql.conf', "pg_derive.max_builds = 2\n");
	$held = background($node, db => 'shop');
	$held->query_safe(q{SELECT pg_advisory_lock(hashtext('build-after-fill'))});
	set_debug_point($node, 'build-after-fill:wait');
	$node->safe_psql('shop', q{SET pg_derive.default_group = 'heavy'; SELECT derive.create_view('long', 'SELECT id, x FROM u')});
	waits_at($node, 'build-after-fill');
	set_debug_point($node, '');
	$node->safe_psql('shop', q{SELECT derive.move('v', 'heavy')});
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '1 s')}), 'f', 'a move waits for a builder that is at work');
	$node->safe_psql('shop', q{SET pg_derive.default_group = 'heavy'; SELECT derive.create_view('second', 'SELECT max(x) FROM u')});
	is($node->safe_psql('shop', q{SELECT derive.wait('second', '180 s')}), 't', 'others need not wait for the move, which cannot go yet');
	my $locks = background($node, db => 'shop');
	$locks->query_until(qr/begun/, "BEGIN;\n\\echo begun\nCREATE INDEX ON long (id);\n");
	$node->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'long'::regclass AND mode = 'ShareLock' AND NOT granted)}) or die;
	$held->quit;
	$node->poll_query_until('shop', q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'long'::regclass AND mode = 'ShareLock' AND granted)}) or die;
	is($node->safe_psql('shop', q{SELECT derive.wait_moved('v', '120 s')}), 't', 'nor does it wait for ever for one that is locked');
	$node->safe_psql('shop', q{SET pg_derive.default_group = 'heavy'; SELECT derive.create_view('third', 'SELECT min(x) FROM u')});
	is($node->safe_psql('shop', q{SELECT derive.wait('third', '180 s')}), 't', 'nor do builders');
	is($node->safe_psql('shop', q{SELECT state <> 'ready' FROM derive.views WHERE view = 'long'::regclass}), 't', 'it still is');
	$locks->query_safe('ROLLBACK');
	$locks->quit;
	wait_derived($node, 'it is free', 'shop');
	all_right('turns');

	# ---- events that the new slot does not have are said to be lost

	$node->safe_psql('shop', q{SELECT derive.create_topic('signals', 'n bigint')});
	wait_derived($node, 'a topic', 'shop');
	$held = background($node, db => 'shop');
	$held->query_safe(q{SELECT pg_advisory_lock(hashtext('move-found'))});
	set_debug_point($node, 'move-found:wait');
	$node->safe_psql('shop', q{SELECT derive.move('signals', 'heavy')});
	waits_at($node, 'move-found');
	$node->safe_psql('shop', q{SELECT derive.append('signals', '{"n": 1}')});
	$node->append_conf('postgresql.conf', "pg_derive.debug_point = ''\nshared_preload_libraries = ''\n");
	$node->stop('immediate');
	eval { $held->quit };
	start_again($node);
	$slot = $node->safe_psql('shop', q{SELECT slot_name FROM pg_replication_slots WHERE slot_name ~ '_1$'});
	$node->safe_psql('shop', qq{SELECT pg_replication_slot_advance('$slot', pg_current_wal_lsn())});
	$offset = -s $node->logfile;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'\n");
	$node->restart;
	log_says($node, qr/WARNING: .* was not read for view "signals"\n.*Events of topics that were committed there are lost: "signals"/, $offset, 'the log says what is lost');
	all_right('at the end');
}

log_is_clean($node);
$node->stop;
done_testing();
