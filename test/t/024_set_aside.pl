# Views that are set aside: nothing that they miss is lost when batches fail, programs
# are loaded late, or partitions come and go meanwhile; and who waits costs nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = derive_node('aside', conf => "pg_derive.lock_timeout = 100ms\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);

$node->safe_psql('postgres', q{
CREATE TABLE x (id int PRIMARY KEY, g int, t text);
CREATE TABLE y (id int PRIMARY KEY, g int);
INSERT INTO x SELECT i, i % 3, i FROM generate_series(1, 9) i;
SELECT derive.create_view('narrow', 'SELECT id FROM x');
SELECT derive.create_view('groups', 'SELECT g, count(*) AS n, max(t) AS t FROM x GROUP BY g');
SELECT derive.create_view('history', derivation => 'history', sources => ARRAY['x'::regclass]);
SELECT derive.create_view('other', 'SELECT g, count(*) AS n FROM y GROUP BY g');
});
wait_derived($node, 'built');

my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $holder = background($node);
my $locker = background($node);

sub restart_worker
{
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'});
	return;
}

# A history has more than the query over its table, but ends with its rows.
sub all_exact
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	is($node->safe_psql('postgres', q{SELECT view, oracle(view) FROM derive.views WHERE view::text NOT IN ('history', 'kept') AND oracle(view) <> 0}),
		'', "$label: every view equals its query");
	is($node->safe_psql('postgres', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	is($node->safe_psql('postgres', q{SELECT id, g, t FROM x EXCEPT ALL SELECT id, g, t FROM history WHERE until_lsn IS NULL}),
		'', "$label: the history has the rows of its table");
	return;
}

# The worker starts while a table is locked, so that nobody follows it for these
# views; the batch that reads its changes fails, and then they can be loaded.
for my $relation (qw(x groups))
{
	$locker->query_safe(q{BEGIN; UPDATE x SET g = g + 1, t = t || 'a' WHERE id < 4; INSERT INTO x SELECT max(id) + 1, 1, 'b' FROM x});
	$locker->query_safe($relation eq 'x' ? 'LOCK TABLE x IN ACCESS EXCLUSIVE MODE' : 'CREATE INDEX groups_n ON groups (n)');
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-locked'))});
	set_debug_point($node, "batch-locked:wait,batch-applied:once,$relation:once");
	restart_worker();
	waits_at($node, 'batch-locked');
	$locker->query_safe('COMMIT');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	all_exact("$relation: loaded after its changes were read");
	set_debug_point($node, '');
}

# A column gets another name, so that a view must be computed anew, and its old one back,
# while the view stands still: nothing was kept for it meanwhile, so that it has lost
# its place for good.
$node->safe_psql('postgres', q{
CREATE TABLE named (id int PRIMARY KEY, a int);
SELECT derive.create_view('names', 'SELECT id, to_jsonb(named) AS n FROM named');
});
wait_derived($node, 'names');
$locker->query_safe('BEGIN; CREATE INDEX names_id ON names (id)');
$node->safe_psql('postgres', 'INSERT INTO named VALUES (1, 1)');
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
is($node->safe_psql('postgres', q{SELECT state FROM derive.views WHERE view = 'names'::regclass}), 'waiting', 'it stands still');
my $stands_at = $node->safe_psql('postgres', q{SELECT lsn FROM derive_state.view_states WHERE view = 'names'::regclass});
$node->safe_psql('postgres', 'ALTER TABLE named RENAME a TO b');
ok($node->poll_query_until('postgres', qq{WITH i AS (INSERT INTO y SELECT count(*), 1 FROM y) SELECT confirmed_flush_lsn > '$stands_at' FROM pg_replication_slots}),
	'another name: it need not come back from there');
$node->safe_psql('postgres', 'ALTER TABLE named RENAME b TO a; INSERT INTO named VALUES (2, 2)');
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
is($node->safe_psql('postgres', q{SELECT state FROM derive_state.view_states WHERE view = 'names'::regclass}), 'rebuilding', 'the old name: nor can it');
$locker->query_safe('ROLLBACK');
all_exact('another name and back');
unlike(slurp_file($node->logfile), qr/somebody else has read/, 'nobody else is blamed for it');

# Who waits costs nothing: the worker sleeps, also if the view has rows to be removed
# by now.
$node->safe_psql('postgres', q{
ALTER SYSTEM SET pg_derive.cleanup_interval = '50ms';
SELECT pg_reload_conf();
SELECT derive.create_view('kept', derivation => 'history', sources => ARRAY['named'::regclass], options => '{"retention": "1 day"}');
});
wait_derived($node, 'kept');

# How often does the worker go to sleep, in a second?
sub naps
{
	my $status = '/proc/' . worker_pid($node) . '/status';
	my (@naps, @at);
	for my $ms (1000, 0)
	{
		push @naps, (-r $status && slurp_file($status) =~ /^voluntary_ctxt_switches:\s*(\d+)/m) ? $1 : 0;
		push @at, time;
		usleep($ms * 1000);
	}
	return ($naps[1] - $naps[0]) / ($at[1] - $at[0]);
}

$locker->query_safe('BEGIN; CREATE INDEX kept_id ON kept (id)');
usleep(200_000);
cmp_ok(naps(), '<', 50, 'asleep beside a view that is locked');
$node->safe_psql('postgres', 'INSERT INTO named VALUES (3, 3)');
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
usleep(2_000_000);
cmp_ok(naps(), '<', 50, 'asleep beside a view that is set aside');
$locker->query_safe('ROLLBACK');
all_exact('asleep');
$node->safe_psql('postgres', q{DROP MATERIALIZED VIEW kept; ALTER SYSTEM RESET pg_derive.cleanup_interval; SELECT pg_reload_conf()});

# A failed view is repaired when a table that it reads is free again, and not before.
$node->safe_psql('postgres', q{SELECT derive.create_view('quotient', 'SELECT id, 60 / a AS q FROM named')});
wait_derived($node, 'quotient');
$node->safe_psql('postgres', 'UPDATE named SET a = 0 WHERE id = 1');
derive_wait_state($node, 'quotient', 'failed');
$locker->query_safe('BEGIN; UPDATE named SET a = 5 WHERE id = 1; LOCK TABLE named IN ACCESS EXCLUSIVE MODE');
my ($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '2s'; SELECT derive.repair('quotient')});
like($err, qr/canceling statement due to statement timeout/, 'repair waits for the lock');
cmp_ok(naps(), '<', 50, 'asleep beside a repair that waits');
$locker->query_safe('COMMIT');
$node->safe_psql('postgres', q{SELECT derive.repair('quotient')});
all_exact('repaired');

# Who subscribes to a view that stands still is told what it contains, and then gets
# what it missed.
$locker->query_safe('BEGIN; CREATE INDEX names_id ON names (id)');
$node->safe_psql('postgres', 'DELETE FROM named WHERE id = 1');
$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
$node->safe_psql('postgres', q{INSERT INTO y SELECT count(*), 1 FROM y; SELECT derive.wait('other', timeout => '180 s')});
$node->safe_psql('postgres', q{SELECT derive.subscribe('names', 'reader')});
is($node->safe_psql('postgres', q{SELECT DISTINCT p.operation, p.lsn = v.lsn FROM derive.poll('reader', timeout => '30s') p, derive_state.view_states v WHERE v.view = 'names'::regclass}),
	'initial|t', 'a new subscriber is told what a waiting view contains');
$locker->query_safe('ROLLBACK');
wait_derived($node, 'subscribed');
is($node->safe_psql('postgres', q{SELECT p.operation, p.old->>'id', p.lsn <= v.lsn FROM derive.poll('reader', timeout => '30s') p, derive_state.view_states v WHERE v.view = 'names'::regclass}),
	'delete|1|t', 'and gets what it missed');

# The log tells of long waits only.
sub lines_about_waiting
{
	my ($offset) = @_;
	return scalar(() = slurp_file($node->logfile, $offset) =~ /is set aside|with the others again/g);
}

my ($offset, $short) = (0, 0);
for (my $i = 1; $short < 5 && $i <= 10 * $timeout; $i++)
{
	my $began = time;
	$offset = -s $node->logfile;
	$locker->query_safe('BEGIN; CREATE INDEX names_id ON names (id)');
	$node->safe_psql('postgres', "INSERT INTO named VALUES (100 + $i, 1)");
	$node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')});
	$locker->query_safe('ROLLBACK');
	wait_derived($node, "a short wait, $i");
	# one that was not short says nothing
	next if time - $began >= 1;
	$short++;
	is(lines_about_waiting($offset), 0, "short waits are not in the log, $short");
}
is($short, 5, 'there were short waits');
$offset = -s $node->logfile;
$locker->query_safe('BEGIN; CREATE INDEX names_id ON names (id)');
$node->safe_psql('postgres', 'DELETE FROM named WHERE id > 100');
log_says($node, qr/view "names" is set aside; it waits for: /, $offset, 'a long wait is in the log');
$locker->query_safe('ROLLBACK');
all_exact('long wait');
is(lines_about_waiting($offset), 2, 'a long one is, with its end');

# A new slot, and batches that are interrupted right after their commit: where a view
# stands is known all the same.
# (the next worker may be faster)
do { restart_worker() } until $node->psql('postgres', 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots') == 0;
set_debug_point($node, 'batch-committed:error');
usleep(100_000) until slurp_file($node->logfile) =~ /computed anew: the replication slot does not exist/;
# before that, it is still ready as it was
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_replication_slots') or die 'no slot';
derive_wait_state($node, 'names', 'ready', 'computed anew');
$locker->query_safe('BEGIN; CREATE INDEX names_id ON names (id)');
$node->safe_psql('postgres', 'INSERT INTO named VALUES (201, 1)');
derive_wait_state($node, 'names', 'waiting', 'set aside');
set_debug_point($node, '');
$node->safe_psql('postgres', q{INSERT INTO y SELECT count(*), 1 FROM y; SELECT derive.wait('other', timeout => '180 s')});
$node->safe_psql('postgres', q{INSERT INTO y SELECT count(*), 1 FROM y; SELECT derive.wait('other', timeout => '180 s')});
is($node->safe_psql('postgres', q{SELECT confirmed_flush_lsn <= w.lsn FROM pg_replication_slots, derive_state.waiting w WHERE view = 'names'::regclass}),
	't', 'what it lacks is held');
$locker->query_safe('ROLLBACK');
all_exact('a new slot');

# Batches give way again and again, before they come to their end: all views move all
# the same.
$node->safe_psql('postgres', q{
CREATE TABLE work (id int PRIMARY KEY);
CREATE FUNCTION toil(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE t timestamptz := clock_timestamp();
BEGIN
	WHILE clock_timestamp() < t + interval '60 ms' LOOP END LOOP;
	RETURN i;
END $$;
SELECT derive.create_view('toil' || n, 'SELECT toil(work.id) FROM work JOIN y ON y.id = 0') FROM generate_series(1, 4) n;
ALTER SYSTEM SET pg_derive.lock_timeout = '20ms';
SELECT pg_reload_conf();
});
wait_derived($node, 'toil');
my $moved = 0;
for (my $i = 1; $i <= 10 || ($moved < 4 && $i <= 10 * $timeout); $i++)
{
	$holder->query_safe("INSERT INTO work VALUES ($i)");
	usleep(20_000);
	$locker->query_safe('BEGIN; LOCK TABLE y IN ACCESS EXCLUSIVE MODE; COMMIT');
	$moved = $node->safe_psql('postgres', q{SELECT count(*) FROM derive.stats WHERE view::text LIKE 'toil_' AND batches > 1}) if $i >= 10;
}
is($moved, '4', 'batches that give way: all views move');
$node->safe_psql('postgres', 'DELETE FROM work WHERE id > 1');
all_exact('batches that give way');

# A view waits for longer than its old row versions are kept, which is noticed when a
# batch has just ended.
$node->safe_psql('postgres', q{
CREATE TABLE u (k int, n int);
CREATE TABLE w (k int, n int);
INSERT INTO u SELECT i, i FROM generate_series(1, 9) i;
INSERT INTO w SELECT i, i FROM generate_series(1, 9) i;
SELECT derive.create_view('pairs', 'SELECT k, u.n, w.n AS m FROM u JOIN w USING (k)');
ALTER SYSTEM SET pg_derive.max_hold_age = 100;
SELECT pg_reload_conf();
});
all_exact('pairs');
$locker->query_safe('BEGIN; CREATE INDEX pairs_k ON pairs (k)');
$node->safe_psql('postgres', 'UPDATE u SET n = n + 1; UPDATE w SET n = n + 1; UPDATE y SET g = g + 1');
$node->poll_query_until('postgres', q{SELECT state = 'waiting' FROM derive_state.view_states WHERE name = 'pairs'});
$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-applied'))});
set_debug_point($node, 'batch-applied:wait');
$node->safe_psql('postgres', 'UPDATE y SET g = g + 1');
waits_at($node, 'batch-applied');
$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 200 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
set_debug_point($node, '');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
$node->wait_for_log(qr/old row versions are no longer kept for view "pairs"/);
$locker->query_safe('COMMIT');
all_exact('given up');

$_->quit for $holder, $locker;
log_is_clean($node);
done_testing();
