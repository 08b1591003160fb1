# "Why is my view not moving?": each reason is in derive.views, with what the view waits
# for, and in derive.progress; and how far behind it is.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('why', conf => "pg_derive.max_databases = 2\npg_derive.max_builds = 1\nmax_worker_processes = 8\nautovacuum = off\n");

sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }

# The view gets into this state and waits for that; derive.progress has a row of it that
# says the same (or, of one that is where it should be, none).
sub why
{
	my ($view, $state, $pattern, $label, $db) = @_;
	my $where = "view = '$view'::regclass";
	my $is = "SELECT state || ': ' || coalesce(waiting_for, '') FROM derive.views WHERE $where";
	ok($node->poll_query_until($db // 'postgres', "SELECT ($is) ~ '^($state): $pattern\$'"), $label) or diag(sql($is, $db));
	my $progress = "SELECT coalesce((SELECT concat(state, '|', phase) FROM derive.progress WHERE $where), '')";
	my $says = $state =~ /^(ready|paused)$/ ? '^$' : "^($state)[|].";
	ok($node->poll_query_until($db // 'postgres', "SELECT ($progress) ~ '$says'"), "$label: derive.progress") or diag(sql($progress, $db));
	return;
}

sub progress
{
	my ($view, $columns) = @_;
	return sql("SELECT $columns FROM derive.progress WHERE view = '$view'::regclass");
}

# derive.health() in a line: whether all is well, and what is not.
sub health
{
	my ($max_lag, $db) = @_;
	return sql("SELECT ok, problems, views, ready, failed FROM derive.health('$max_lag')", $db);
}

# What derive.wait() says when its time is over.
sub wait_says
{
	my ($arguments, $pattern, $label) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT derive.wait($arguments)");
	is($out, 'f', "$label: derive.wait()");
	like($err, $pattern, "$label: and why");
	return;
}

sql('CREATE DATABASE template');
is(health('1 min'), 't|{}|0|0|0', 'health: there is nothing to be ill');
sql('CREATE TABLE t (id int PRIMARY KEY, x int); CREATE TABLE u (a int); CREATE TABLE xids (a int)');
sql(q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT a FROM t'); SELECT derive.wait()}, 'template');

# ---- 1. transactions that were there before the first view

my $old = background($node);
$old->query_safe('BEGIN; INSERT INTO xids VALUES (1)');
my $pid = $old->query_safe('SELECT pg_backend_pid()');
sql(q{SELECT derive.create_view('v', 'SELECT x, count(*) AS n FROM t GROUP BY x')});
why('v', 'queued', "transactions older than \\d+ to end \\(pid $pid\\)", 'an old transaction');
is(progress('v', 'pid, blocked_by, current_locker_pid, lockers_total >= 1, lockers_done, percent'), "|{$pid}|$pid|t|0|", 'and who');
is(sql('SELECT pid IS NOT NULL, state, activity ~ $$^waiting for transactions older than$$, error FROM derive.worker'), 't|starting|t|', 'derive.worker');
wait_says("'v', '100 ms'", qr/^psql:<stdin>:1: NOTICE:  timed out while waiting for view "v"\nDETAIL:  View "v" is queued and waits for: transactions older than \d+ to end \(pid $pid\)\.$/m, 'an old transaction');
is(sql(q{SELECT lag IS NULL, rows IS NULL, since <= now() FROM derive.views}), 't|t|t', 'it has no lag yet');
$old->query_safe('COMMIT');
why('v', 'ready', '', 'the transaction has ended');
wait_derived($node);

# ---- the identity, and a lock; and 5., a build that waits for its turn

$old->query_safe('BEGIN; LOCK TABLE u IN ACCESS SHARE MODE');
sql(q{SELECT derive.create_view('w', 'SELECT a FROM u')});
why('w', 'building|queued', "replica identity of public\\.u \\(lock held by pid $pid\\)", 'the identity');
$old->query_safe('COMMIT; BEGIN');
derive_wait_state($node, 'w', 'ready');
# the worker begins when something is locked: a table, and the view that is built first
my $stopped = stop_worker($node);
sql(q{SELECT derive.create_view('locked', 'SELECT x, count(*) FROM t GROUP BY x')});
sql(q{SELECT derive.create_view('third', 'SELECT x FROM t')});
sql(q{SELECT derive.create_view('unread', 'SELECT a FROM u')});
$old->query_safe(q{LOCK TABLE u IN ACCESS EXCLUSIVE MODE; COMMENT ON MATERIALIZED VIEW locked IS 'locked'});
let_go_on($stopped);
why('unread', 'queued', "lock on public\\.u held by pid $pid", 'a lock');
why('locked', 'building', "lock on public\\.locked held by pid $pid", 'a lock on the view');
like(progress('locked', q{pid, phase, percent > 90 OR percent IS NULL, blocked_by, lockers_total, lockers_done, started_at <= now()}),
	qr/^\d+\|waiting for the view's lock\|t\|\{$pid\}\|1\|0\|t$/, 'and its builder');
why('third', 'queued', 'its turn \(pg_derive\.max_builds\)', 'other builds');
wait_says("timeout => '100 ms'", qr/View "locked" is building and waits for: lock on public\.locked held by pid $pid\.\nView "third" is queued and waits for: its turn/, 'builds');
is(sql(q{SELECT count(*), count(query) > 0, count(size) > 0, count(query) < 5 FROM derive.views}), '5|t|t|t', 'who looks waits for no lock');
$old->query_safe('COMMIT');
wait_derived($node);

# ---- 7. a lock on a table of a view that is ready; the others go on

$stopped = stop_worker($node);
sql('INSERT INTO u VALUES (1); INSERT INTO t VALUES (1, 1)');
$old->query_safe('BEGIN; ALTER TABLE u ADD COLUMN b int');
let_go_on($stopped);
is(sql(q{SELECT derive.wait('v', '180 s')}), 't', 'who does not read it goes on');
why('v', 'ready', '', 'that is so');
why('w', 'waiting', "lock on public\\.u held by pid $pid", 'a table is locked');
is(sql(q{SELECT lag > '0' AND lag < '10 min' FROM derive.views WHERE view = 'w'::regclass}), 't', 'it is behind');
is(sql(q{SELECT lag FROM derive.views WHERE view = 'v'::regclass}), '00:00:00', 'others are not');
wait_says("'w', '100 ms'", qr/View "w" is waiting, it waits for: lock on public\.u held by pid $pid\./, 'a table is locked');

# who has no right sees no names
sql('CREATE ROLE guest');
is(sql(q{SET ROLE guest; SELECT state, waiting_for, query FROM derive.views WHERE view::text = 'w'}), 'waiting|a lock|', 'others see no names');
is(sql(q{SET ROLE guest; SELECT phase, blocked_by FROM derive.progress WHERE view::text = 'w'}), "waiting for a lock|{$pid}", 'nor in derive.progress');
$old->query_safe('COMMIT');
why('w', 'ready', '', 'free again');
wait_derived($node);

# ---- 8. no place for another database, which has views since it is a copy

sql('CREATE DATABASE other TEMPLATE template');
why('v', 'waiting', 'a place among the databases \(pg_derive\.max_databases\)', 'another database', 'other');
is(sql('SELECT pid, state, activity FROM derive.worker', 'other'), '|missing|waiting for a place among the databases (pg_derive.max_databases)', 'derive.worker');
like(health('1 h', 'other'), qr/^f\|\{"\\"pg_derive\.max_databases\\" must leave a place for this database","the worker is missing: waiting for a place among the databases \(pg_derive\.max_databases\)"\}\|1\|0\|0$/, 'health: no worker');
sql("DROP DATABASE $_") for qw(other template);

# ---- 6. much of the log is to be read

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	my $holder = background($node);
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext(p)) FROM unnest('{batch-snapshot,decode-record}'::text[]) p});
	set_debug_point($node, 'batch-snapshot:wait, decode-record:wait');
	sql('INSERT INTO xids VALUES (1)');
	waits_at($node, 'batch-snapshot');
	sql('INSERT INTO t SELECT i, i % 10 FROM generate_series(100, 100000) i');
	$holder->query_safe(q{SELECT pg_advisory_unlock(hashtext('batch-snapshot'))});
	waits_at($node, 'decode-record');
	ok($node->poll_query_until('postgres', q{SELECT state = 'ready' AND lag > '1 s' AND waiting_for ~ '^the worker to read the log \(\d+ .B left\)$' FROM derive.views WHERE view = 'v'::regclass}), 'much to read');
	like(progress('v', 'state, percent, pid, phase'), qr/^ready\|\d+\|\|waiting for the worker to read the log/, 'derive.progress');
	sql(q{SELECT derive.create_view('young', 'SELECT x FROM t')});
	why('young', 'queued', 'the worker to read the log \(\d+ .B left\)', 'a view that was declared then');
	like(sql('SELECT state, activity FROM derive.worker'), qr/^running\|reading the log, \d+ .B left$/, 'derive.worker');
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	wait_derived($node, 'read');
	$holder->quit;
}

# ---- 9. failed, tried again, resumed; and a view over it

sql(q{SELECT derive.create_view('ratio', 'SELECT id, 100 / x AS r FROM t WHERE x <> 0 OR id < 100')});
sql(q{SELECT derive.create_view('over', 'SELECT count(*) FROM ratio')});
wait_derived($node);
sql('INSERT INTO t VALUES (2, 0)');
why('ratio', 'failed', 'another try.*', 'a division by zero');
why('over', 'waiting', 'view public\.ratio, which it reads and which has failed', 'and a view over it');
is(sql(q{SELECT count(*) FROM derive.views WHERE view IN ('ratio'::regclass, 'over'::regclass) AND lag > '0' AND lag < '10 min' AND (error IS NULL) = (view = 'over'::regclass)}), '2', 'both are behind');
like(health('1 h'), qr/^f\|\{"view ratio has failed"\}\|\d+\|\d+\|1$/, 'health: a failed view');
like(health('0'), qr/^f\|\{"view ratio has failed","view over is [\d:.]+ behind: view public\.ratio, which it reads and which has failed"\}\|/, 'health: and one that is behind');
my ($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.wait(timeout => '180 s')});
like($err, qr/WARNING:  not waiting for views that are paused or have failed: "ratio"/, 'who waits for all is told');
my $position = sql(q{SELECT position FROM derive_state.view_states WHERE view = 'ratio'::regclass});
isnt($position, sql(q{SELECT position FROM derive_state.view_states WHERE view = 'v'::regclass}), 'it stands where it stood');
$stopped = stop_worker($node);
sql(q{SELECT derive.resume('ratio')});
why('ratio', 'rebuilding', 'its next batch', 'resumed, and not moved yet');
is(sql(q{SELECT position::text = '} . $position . q{', lsn IS NULL, error IS NULL, lag > '0' FROM derive_state.view_states WHERE view = 'ratio'::regclass}), 't|t|t|t', 'it contains what it did');
let_go_on($stopped);
why('ratio', 'failed', 'another try.*', 'failed again');
sql('UPDATE t SET x = 1 WHERE id = 2');
why('ratio', 'ready', '', 'mended');
why('over', 'ready', '', 'and the view over it');
like(health('1 h'), qr/^t\|\{\}\|(\d+)\|\1\|0$/, 'health: well again');

# ---- paused: it is behind when there is something that it lacks

sql(q{SELECT derive.pause('v')});
sql('INSERT INTO xids VALUES (2)');
sql(q{SELECT derive.wait()});
why('v', 'paused', 'derive\.resume\(\)', 'paused');
sql(q{INSERT INTO t VALUES (3, 3); SELECT derive.wait()});
ok($node->poll_query_until('postgres', q{SELECT lag > '0' FROM derive.views WHERE view = 'v'::regclass}), 'it lacks something');
$node->restart;
is(sql(q{SELECT lag > '0' AND since < now() FROM derive.views WHERE view = 'v'::regclass}), 't', 'also after a restart');
sql(q{SELECT derive.resume('v')});
why('v', 'ready', '', 'resumed');
wait_derived($node);

# ---- how far behind: time in which nothing is committed does not count

is(sql(q{SELECT DISTINCT lag FROM derive.views}), '00:00:00', 'nothing is lacking');
$stopped = stop_worker($node);
is(sql(q{SELECT DISTINCT lag FROM derive.views}), '00:00:00', 'nor while the worker is stopped');
sql('INSERT INTO t VALUES (4, 4)');
my ($lag) = sql(q{SELECT DISTINCT extract(epoch FROM lag) FROM derive.views});
cmp_ok($lag, '>', 0, 'something is');
cmp_ok($lag, '<', 60, 'not older than the last look');
ok($node->poll_query_until('postgres', "SELECT bool_and(extract(epoch FROM lag) > $lag) FROM derive.views"), 'it grows');
let_go_on($stopped);
wait_derived($node);
is(sql(q{SELECT DISTINCT lag FROM derive.views}), '00:00:00', 'nothing is lacking any more');
is_exact($node, 'moving');

# ---- on a standby: what the catalog says; how far behind it is nobody can know there

$node->backup('why');
my $standby = PostgreSQL::Test::Cluster->new('why_standby');
$standby->init_from_backup($node, 'why', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', q{SELECT DISTINCT state, waiting_for, lag, query IS NOT NULL FROM derive.views}), 'ready|||t', 'a standby');
is($standby->safe_psql('postgres', q{SELECT (SELECT count(*) FROM derive.progress), (SELECT count(*) FROM derive.worker)}), '0|0', 'which has no worker');
like($standby->safe_psql('postgres', 'SELECT ok, problems, lag, retained_bytes FROM derive.health()'), qr/^t\|\{\}\|\|$/, 'health: none of its business');
$standby->stop;

# ---- 4. no replication slot

$node->append_conf('postgresql.conf', "max_replication_slots = 0\n");
$node->stop;
# the slot that is there would keep the server from starting
rename $node->data_dir . "/pg_replslot/$_", $node->basedir . "/$_" foreach map { s{.*/}{}r } glob($node->data_dir . '/pg_replslot/*');
$node->start;
sql(q{SELECT derive.create_view('slotless', 'SELECT x FROM t')});
why('slotless', 'queued', 'a replication slot \(max_replication_slots\)', 'no slot');
why('v', 'waiting|rebuilding', 'a replication slot \(max_replication_slots\)', 'no slot for views that are there');
ok($node->poll_query_until('postgres', 'SELECT state, activity, slot FROM derive.worker', 'starting|waiting for a replication slot (max_replication_slots)|'), 'derive.worker');
$node->append_conf('postgresql.conf', "max_replication_slots = 8\n");

# ---- 2. and 3. no background worker is left: for a builder, for the worker, for the launcher

my $others = sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication launcher'});
foreach (
	[ $others + 2, 'ready', '', 'queued', 'a background worker \(max_worker_processes\)', 'no process for a builder' ],
	[ $others + 1, 'waiting', 'a background worker \(max_worker_processes\)', 'queued', 'a background worker \(max_worker_processes\)', 'no process for the worker' ],
	[ $others, 'waiting', 'the launcher process \(max_worker_processes\)', 'queued', 'the launcher process \(max_worker_processes\)', 'no process for the launcher' ])
{
	my ($processes, $state, $reason, $new_state, $new_reason, $label) = @$_;
	$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
	$node->restart;
	wait_derived($node, "$label: all is well before");
	sql('DROP MATERIALIZED VIEW IF EXISTS new');
	$node->append_conf('postgresql.conf', "max_worker_processes = $processes");
	$node->restart;
	sql(q{SELECT derive.create_view('new', 'SELECT id FROM t')});
	why('new', $new_state, $new_reason, $label);
	why('v', $state, $reason, "$label: a view that was there");
	next if $state eq 'ready';
	is(sql('SELECT pid, state, activity ~ $$max_worker_processes$$ FROM derive.worker'), '|missing|t', "$label: derive.worker");
	is(sql(q{SELECT lag > '0' FROM derive.views WHERE view = 'v'::regclass}), 't', "$label: it may be behind");
}
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
wait_derived($node);
is_exact($node, 'in the end');
$old->quit;
log_is_clean($node);
$node->stop;
done_testing();
