# The server's log.  Whoever reads of an error must be told the view, the transactions
# and the place in the write-ahead log, in every process and at every stage; and what is
# done without being asked for is written down.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# an autovacuum worker that is ended with the server says so with FATAL
my $node = derive_node('log', conf => "autovacuum = off\n");
my $lsn = qr{([0-9A-F]+/[0-9A-F]+)};
my ($rc, $out, $err);

# Does the log say that of a batch that has this transaction?
sub is_of_batch
{
	my ($log, $phrase, $xid, $committed, $label) = @_;
	if ($log !~ /CONTEXT:  (?:[^\n]*\n\t)*?$phrase for transactions? (\d+)(?: to (\d+))?, committed before $lsn/)
	{
		fail("$label: context of a batch");
		diag($log);
		return;
	}
	my ($first, $last, $before) = ($1, $2 // $1, $3);
	ok($first <= $xid && $xid <= $last, "$label: transaction $xid is among $first to $last");
	is($node->safe_psql('postgres', "SELECT '$before'::pg_lsn >= '$committed'::pg_lsn"), 't', "$label: it committed before $before");
	return;
}

# Run it in one transaction: its number, and an LSN that its commit record is behind.
sub run
{
	my ($sql) = @_;
	return split /\|/, $node->safe_psql('postgres', "BEGIN; $sql; SELECT pg_current_xact_id(), pg_current_wal_insert_lsn(); COMMIT;");
}

$node->safe_psql('postgres', q{
CREATE SCHEMA "My App";
CREATE TABLE numbers (id int PRIMARY KEY, d int);
INSERT INTO numbers VALUES (1, 1), (2, 2);
SELECT derive.create_view('"My App".quotients', 'SELECT id, 100 / d AS q FROM numbers');
SELECT derive.create_view('counted', 'SELECT count(*) FROM numbers');
});
wait_derived($node);
is_exact($node, 'before the errors');

# ---- what was done without being asked for

like(slurp_file($node->logfile), qr/LOG:  pg_derive worker for database "postgres" started\n/, 'a worker started');
like(slurp_file($node->logfile), qr/LOG:  view "\Q"My App".quotients\E" is filled: 2 rows in \d+\.\d s\n/, 'a view was built');
like(slurp_file($node->logfile), qr/LOG:  view "public\.counted" is filled: 1 row in \d+\.\d s\n/, 'and another one');

# ---- who it is, and what it does: nothing, at the moment
my $idle = q{SELECT state = 'idle' AND query = '' FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'};
ok($node->poll_query_until('postgres', $idle), 'pg_stat_activity shows that the worker does nothing');
my $worker = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'});
SKIP:
{
	skip 'there is no /proc', 1 unless -r "/proc/$worker/cmdline";
	like(slurp_file("/proc/$worker/cmdline"), qr/pg_derive worker postgres/, 'the title of the process has the name of the database');
}

# ---- the worker: by deltas, and then computing it anew

my $quotients = qr/view ""My App"\.quotients"/;
my $offset = -s $node->logfile;
my ($xid, $committed) = run('INSERT INTO numbers VALUES (3, 0)');
derive_wait_state($node, '"My App".quotients', 'failed');
my $log = log_says($node, qr/has failed: division by zero/, $offset, 'a view failed');
my ($batch) = $log =~ /(LOG:  a batch failed and is run again.*?)LOG:  view "quotients"/s;
is_of_batch($batch // '', qr/changing $quotients/, $xid, $committed, 'batch');
my ($anew) = $log =~ /(LOG:  view "quotients" is computed anew because its changes.*?)WARNING/s;
is_of_batch($anew // '', qr/changing $quotients/, $xid, $committed, 'why it is computed anew');
my ($failed) = $log =~ /(WARNING:  maintenance of view "quotients" has failed.*)/s;
is_of_batch($failed // '', qr/computing $quotients anew/, $xid, $committed, 'why it failed');
is($node->safe_psql('postgres', q{SELECT error FROM derive.stats WHERE view = '"My App".quotients'::regclass}),
	'division by zero', 'the message itself stays what it is');
$node->safe_psql('postgres', q{DELETE FROM numbers WHERE d = 0; SELECT derive.resume('"My App".quotients')});
wait_derived($node, 'resumed');

# ---- the builder

$offset = -s $node->logfile;
$node->safe_psql('postgres', q{SELECT derive.create_view('unbuildable', 'SELECT 1 / (d - 2) AS x FROM numbers')});
derive_wait_state($node, 'unbuildable', 'failed');
log_says($node, qr/WARNING:  could not build view "unbuildable": division by zero\n.*?filling view "public\.unbuildable" as of snapshot \d+:\d+:[\d,]*, at $lsn/s,
	$offset, 'builder');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW unbuildable');

# ---- the verifier

$node->safe_psql('postgres', q{
CREATE TABLE mood (bad boolean);
CREATE FUNCTION moody(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
$$BEGIN IF EXISTS (SELECT FROM public.mood) THEN RAISE 'not today'; END IF; RETURN i; END$$;
SELECT derive.create_view('moods', 'SELECT moody(id) FROM numbers')});
wait_derived($node);
$offset = -s $node->logfile;
$node->safe_psql('postgres', 'INSERT INTO mood VALUES (true)');
($rc, $out, $err) = $node->psql('postgres', q{SELECT * FROM derive.verify('moods')});
isnt($rc, 0, 'the comparison fails');
like($err, qr/not today/, 'with its message');
log_says($node, qr/LOG:  view "public\.moods" could not be verified: not today\n.*?comparing view "public\.moods" with its definition as of snapshot \d+:\d+:[\d,]*, at $lsn/s,
	$offset, 'verifier');
$node->safe_psql('postgres', 'DELETE FROM mood');

# ---- loading

$node->safe_psql('postgres', q{
CREATE ROLE reader;
GRANT CREATE ON SCHEMA public TO reader;
GRANT SELECT ON numbers TO reader;
ALTER TABLE numbers REPLICA IDENTITY FULL;
SET ROLE reader;
SELECT derive.create_view('read', 'SELECT d FROM numbers')});
wait_derived($node);
$offset = -s $node->logfile;
$node->safe_psql('postgres', q{REVOKE SELECT ON numbers FROM reader});
derive_wait_state($node, 'read', 'failed');
log_says($node, qr/WARNING:  maintenance of view "read" has failed: permission denied for table numbers\n.*?CONTEXT:  loading view "public\.read"/s,
	$offset, 'loading');
$node->safe_psql('postgres', q{GRANT SELECT ON numbers TO reader; SELECT derive.resume('read')});
wait_derived($node);

# ---- reading the log

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	set_debug_point($node, 'decode-change:once');
	$offset = -s $node->logfile;
	($xid) = run('INSERT INTO numbers VALUES (5, 5)');
	$log = log_says($node, qr/ERROR:  debug point "decode-change" was reached\n.*?reading a change of table "numbers" by transaction \d+, committed at $lsn/s,
		$offset, 'decoder');
	like($log, qr/associated LSN $lsn.*by transaction $xid,/s, 'which transaction, and the LSN of the change');
	set_debug_point($node, '');
}

# ---- internal tables that another library has filled (sql/rebuild.sql looks at the rest)

wait_derived($node);
$offset = -s $node->logfile;
$node->safe_psql('postgres', q{
SET allow_system_table_mods = on;
BEGIN;
UPDATE pg_class SET relkind = 'r', relhasrules = false WHERE oid = 'derive_state.views'::regclass;
UPDATE derive_state.views SET program = 42 WHERE relid = 'counted'::regclass;
UPDATE pg_class SET relkind = 'm', relhasrules = true WHERE oid = 'derive_state.views'::regclass;
COMMIT});
$node->restart;
comes_back($node);
wait_derived($node, 'built anew');
is_exact($node, 'built anew');
$log = slurp_file($node->logfile, $offset);
my @anew = $log =~ /LOG:  view "(.*?)" is built anew: its internal tables were made to maintain it in another way/g;
is("@anew", 'counted', 'the view is built anew by itself, and no other one');
like($log, qr/LOG:  internal tables of view "counted" are made anew/, 'with other internal tables');

# ---- nothing shows numbers in place of names

wait_derived($node, 'at the end');
is_exact($node, 'at the end');
unlike(slurp_file($node->logfile), qr/(?:relation|view|table|index) \d/, 'no OID in the log');
log_is_clean($node);

# ---- counters outlive a clean restart, and no crash

my $counted = q{SELECT batches, changes_in, rows_inserted, delta_ms, apply_ms, last_batch_at, stats_reset FROM derive.stats WHERE view = 'counted'::regclass};
my $before = $node->safe_psql('postgres', $counted);
like($before, qr/^[1-9]\d*\|/, 'there is something to be counted');
$node->safe_psql('postgres', 'SELECT derive.pause(view) FROM derive.views');	# or the restart would be counted
$node->restart;
is($node->safe_psql('postgres', $counted), $before, 'counters are kept over a restart');
$node->safe_psql('postgres', q{SELECT derive.reset_stats('counted')});
is($node->safe_psql('postgres', q{SELECT batches, changes_in, apply_ms, last_batch_ms, stats_reset > now() - interval '1 min' FROM derive.stats WHERE view = 'counted'::regclass}),
	'0|0|0||t', 'and begin anew if one asks for that');
isnt($node->safe_psql('postgres', q{SELECT batches FROM derive.stats WHERE view = '"My App".quotients'::regclass}), '0', 'for that view');
$node->safe_psql('postgres', q{SELECT derive.resume(view) FROM derive.views; INSERT INTO numbers VALUES (99, 99)});
wait_derived($node, 'with counters of before');
is_exact($node, 'with counters of before');
$node->stop('immediate');
$node->start;
wait_derived($node, 'after a crash');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.stats WHERE batches > 5}), '0', 'after a crash they begin with nothing');

# ---- what takes long

is(scalar(() = slurp_file($node->logfile) =~ / took [0-9.]+ ms/g), 0, 'durations are not logged unless one asks for them');
$node->safe_psql('postgres', 'ALTER SYSTEM SET pg_derive.log_min_duration = 0; SELECT pg_reload_conf()');
my $offset_of_slow = -s $node->logfile;
$node->safe_psql('postgres', q{INSERT INTO numbers VALUES (101, 1), (102, 2); UPDATE numbers SET d = 3 WHERE id = 1});
wait_derived($node, 'with durations in the log');
my $slow = log_says($node, qr/LOG:  batch took [0-9.]+ ms: [0-9.]+ ms for reading the log, and 4 of 4 views changed\n/, $offset_of_slow, 'a batch that took long');
like($slow, qr/LOG:  view ""My App"\.quotients" took [0-9.]+ ms: \d+ changes in, \d+ rows inserted, \d+ updated, \d+ deleted\n/, 'and a view in it');
$node->safe_psql('postgres', q{ALTER SYSTEM SET pg_derive.log_min_duration = '1h'; SELECT pg_reload_conf()});
wait_derived($node);
$offset_of_slow = -s $node->logfile;
$node->safe_psql('postgres', q{INSERT INTO numbers VALUES (103, 1)});
wait_derived($node);
is(scalar(() = slurp_file($node->logfile, $offset_of_slow) =~ / took [0-9.]+ ms/g), 0, 'one that did not');

# ---- the end

my $offset_of_end = -s $node->logfile;
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'});
log_says($node, qr/LOG:  pg_derive worker for database "postgres" stopped\n.*started\n/s, $offset_of_end, 'a worker that is terminated');
$node->safe_psql('postgres', q{INSERT INTO numbers VALUES (100, 100)});
wait_derived($node, 'with another worker');
$node->stop;
$log = slurp_file($node->logfile, $offset_of_end);
is(scalar(() = $log =~ /LOG:  pg_derive worker for database "postgres" stopped\n/g), 2, 'a worker stops with the server');
# a session of this test may have been there still
unlike($log, qr/^(?!.*client backend).*FATAL/m, 'which is no reason for alarm');
done_testing();
