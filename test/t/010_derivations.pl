# Derivations in C: every committed change once and in order, through kill -9
# of the worker and the postmaster, errors, and builds under load; transactions
# that are prepared, concurrent, or too large for memory.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{DERIVE_TEST_KILLS} || 12;
my $node = derive_node('derivations', conf => "fsync = on\npg_derive.work_mem = 64kB\npg_derive.decoding_work_mem = 64kB\n");

# test/modules/derive_example, which tools/test installs
plan skip_all => 'extension derive_example is not installed'
  if !$ENV{DERIVE_DESTDIR} && $node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'derive_example'}) eq '0';

$node->safe_psql('postgres', q{
CREATE EXTENSION derive_example;
CREATE TABLE item (id int PRIMARY KEY, v int NOT NULL, note text);
CREATE TABLE journal (id bigserial PRIMARY KEY, xid xid8 DEFAULT pg_current_xact_id());
INSERT INTO item SELECT i, 0, 'note ' || i % 7 FROM generate_series(1, 200) i;
INSERT INTO journal SELECT FROM generate_series(1, 10);

-- What a trace of the two tables must be: without gaps, each version of a row upon
-- the one before it, each row of the journal once, and transactions one after the other.
CREATE FUNCTION trace_errors(view regclass) RETURNS TABLE (what text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TEMP TABLE e ON COMMIT DROP AS SELECT n, operation AS op, source, xid, commit_lsn,
		coalesce((regexp_match(new, ''^id=(\d+)''))[1], (regexp_match(old, ''^id=(\d+)''))[1])::bigint AS id,
		(regexp_match(old, '', v=(\d+)''))[1]::int AS oldv, (regexp_match(new, '', v=(\d+)''))[1]::int AS newv FROM %s', view);
	RETURN QUERY
	SELECT 'numbers', max(e.n) - count(*) FROM e
	UNION ALL
	SELECT 'resyncs', count(*) FROM e WHERE op = 'resync'
	UNION ALL
	SELECT 'versions', count(*) FROM (SELECT *, lag(newv) OVER (PARTITION BY id ORDER BY e.n) AS before FROM e WHERE source = 'item') c
		WHERE c.before IS DISTINCT FROM c.oldv
	UNION ALL
	SELECT 'last versions', count(*) FROM (SELECT DISTINCT ON (id) id, newv FROM e WHERE source = 'item' ORDER BY id, e.n DESC) l
		FULL JOIN item USING (id) WHERE newv IS DISTINCT FROM v
	UNION ALL
	SELECT 'journal, twice', count(*) FROM (SELECT FROM e WHERE source = 'journal' GROUP BY id HAVING count(*) > 1) d
	UNION ALL
	SELECT 'journal, missing', count(*) FROM (SELECT id, xid FROM e WHERE source = 'journal') l FULL JOIN journal j USING (id)
		WHERE l.id IS NULL OR j.id IS NULL OR l.xid <> j.xid
	UNION ALL
	SELECT 'mixed transactions', count(*) FROM (SELECT FROM e WHERE xid IS NOT NULL GROUP BY xid HAVING max(e.n) - min(e.n) + 1 <> count(*)) t
	UNION ALL
	SELECT 'commits', count(*) FROM (SELECT FROM e WHERE xid IS NOT NULL GROUP BY xid HAVING count(DISTINCT commit_lsn) <> 1) t;
END $$;
SELECT derive.create_view('log', 'trace', '{item, journal}');
SELECT derive.create_view('copy', 'mirror', '{item}', key => '{source, id}');
SELECT derive.create_view('bag', 'mirror', '{item}');
SELECT derive.create_view('notes', 'word_count', '{item}', '(word text, n bigint)', options => '{"column": "note"}');
SELECT derive.create_view('nothing', 'noop', '{item, journal}');
SELECT derive.create_view('summary', 'SELECT source, operation, count(*) FROM log GROUP BY source, operation');
});

my $load_script = q{
\set a random(1, 200)
\set b random(1, 200)
BEGIN;
UPDATE item SET v = v + 1 WHERE id = LEAST(:a, :b);
INSERT INTO journal DEFAULT VALUES;
SAVEPOINT s;
UPDATE item SET v = v + 1000000 WHERE id = GREATEST(:a, :b);
INSERT INTO journal DEFAULT VALUES;
ROLLBACK TO s;
UPDATE item SET v = v + 1, note = 'note ' || :a WHERE id = GREATEST(:a, :b);
DELETE FROM item WHERE id = :a AND :b % 20 = 0;
INSERT INTO item SELECT :a, 1, 'again' WHERE :b % 20 = 0 ON CONFLICT DO NOTHING;
COMMIT;
};

# All views right: those that are functions of the rows, and the traces.
sub all_right
{
	my ($label, @traces) = @_;
	wait_derived($node, "$label: caught up");
	is($node->safe_psql('postgres', q{SELECT name, state, error FROM derive_state.view_states WHERE state <> 'ready'}), '', "$label: all ready");
	is( $node->safe_psql('postgres', q{
		WITH v AS MATERIALIZED (SELECT view FROM derive_state.view_states WHERE name NOT IN ('log', 'young_log')),
			o AS MATERIALIZED (SELECT view, oracle(view) FROM v)
		SELECT * FROM o WHERE oracle <> 0}), '', "$label: views equal their definitions");
	is($node->safe_psql('postgres', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	for my $trace (@traces)
	{
		is($node->safe_psql('postgres', "SELECT * FROM trace_errors('$trace') WHERE n <> 0"), '', "$label: $trace has every change once, in order");
	}
	return;
}

all_right('built', 'log');

# ---- kill -9 under load, with views that are being built

for my $i (1 .. $rounds)
{
	# In the second half a crash also takes back what clients were told is committed.
	if ($i == int($rounds / 2) + 1)
	{
		$node->append_conf('postgresql.conf', "synchronous_commit = off\nwal_writer_delay = 10s\n");
		$node->reload;
	}
	my $load = start_load($node, 600, undef, $load_script);
	my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM journal');
	$node->poll_query_until('postgres', "SELECT count(*) > $n + 20 FROM journal") or die 'no load';

	# being built, handed over, or just ready when it happens
	$node->safe_psql('postgres', q{SELECT derive.create_view('young_log', 'strict_trace', '{item, journal}');
		SELECT derive.create_view('young', 'mirror', '{item}', key => '{source, id}')}) if $i % 3;
	usleep(rand 400_000);
	my $how = crash($node, $i);
	stop_load($load);
	# the crash may have taken it back
	my $young = $i % 3 && $node->safe_psql('postgres', q{SELECT to_regclass('young_log') IS NOT NULL}) eq 't';
	all_right("kill $i ($how)", 'log', $young ? 'young_log' : ());
	$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW IF EXISTS young, young_log');
}
$node->append_conf('postgresql.conf', "synchronous_commit = on\n");
$node->reload;

# ---- a build under load, without an accident

my $load = start_load($node, 600, undef, $load_script);
my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM journal');
$node->poll_query_until('postgres', "SELECT count(*) > $n + 20 FROM journal") or die 'no load';
$node->safe_psql('postgres', q{SELECT derive.create_view('young_log', 'strict_trace', '{item, journal}');
	SELECT derive.create_view('young', 'mirror', '{item}', key => '{source, id}')});
$node->poll_query_until('postgres', q{SELECT bool_and(state = 'ready') FROM derive.views}) or die 'not built';
$n = $node->safe_psql('postgres', 'SELECT count(*) FROM journal');
$node->poll_query_until('postgres', "SELECT count(*) > $n + 20 FROM journal") or die 'no load';
is($node->safe_psql('postgres', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', 'exact while others write');
stop_load($load);
all_right('built under load', 'log', 'young_log');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW young, young_log');

# ---- a batch that is rolled back: what was remembered is forgotten

SKIP:
{
	skip 'no debug points', 1 unless has_debug_points($node);
	for my $point ('batch-mid-apply', 'batch-view-applied', 'batch-applied')
	{
		my $offset = -s $node->logfile;
		set_debug_point($node, "$point:once");
		$node->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id % 10 = 0; INSERT INTO journal DEFAULT VALUES');
		wait_derived($node, "error at $point");
		log_says($node, qr/debug point "$point" was reached/, $offset, "error at $point: there was one");
		set_debug_point($node, '');
		$node->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id % 10 = 1; INSERT INTO journal DEFAULT VALUES');
		all_right("after an error at $point", 'log');
	}
}

# ---- commit order is not the order of writing

my $one = background($node);
my $two = background($node);
$node->safe_psql('postgres', 'DELETE FROM item WHERE id > 1000');
wait_derived($node);
my $from = $node->safe_psql('postgres', 'SELECT max(n) FROM log');
$one->query_safe('BEGIN; INSERT INTO item VALUES (1001, 1)');
$two->query_safe('BEGIN; INSERT INTO item VALUES (1002, 1); UPDATE item SET v = 2 WHERE id = 1002; COMMIT');
$one->query_safe('INSERT INTO item VALUES (1003, 1)');
$two->query_safe('BEGIN; INSERT INTO item VALUES (1004, 1)');
$one->query_safe('UPDATE item SET v = 2 WHERE id = 1001; COMMIT');
$two->query_safe(q{PREPARE TRANSACTION 'two'});
$one->query_safe(q{BEGIN; INSERT INTO item VALUES (1005, 1); PREPARE TRANSACTION 'one'});
$node->safe_psql('postgres', 'INSERT INTO item VALUES (1006, 1)');
wait_derived($node, 'two transactions are prepared');
$node->restart;
$node->safe_psql('postgres', q{COMMIT PREPARED 'one'; UPDATE item SET v = 2 WHERE id = 1005; ROLLBACK PREPARED 'two'});
wait_derived($node, 'and ended');
is( $node->safe_psql('postgres', "SELECT string_agg(operation || substring(new, '^id=(\\d+)'), ' ' ORDER BY n) FROM log WHERE n > $from"),
	'I1002 U1002 I1001 I1003 U1001 I1006 I1005 U1005', 'in the order of commits, then of statements');
eval { $one->quit; $two->quit; };

# ---- more than memory holds; with subtransactions, and together with small ones

$from = $node->safe_psql('postgres', 'SELECT max(n) FROM log');
$load = start_load($node, 600, undef, $load_script);
$node->safe_psql('postgres', q{
BEGIN;
INSERT INTO item SELECT i, 0, repeat('x', i % 50) FROM generate_series(10001, 40000) i;
SAVEPOINT s;
UPDATE item SET v = v + 1 WHERE id > 10000;
SAVEPOINT s2;
DELETE FROM item WHERE id > 10000;
ROLLBACK TO s2;
UPDATE item SET v = v + 1, note = repeat('y', 3000) WHERE id > 39000;
DELETE FROM item WHERE id BETWEEN 10001 AND 25000;
COMMIT;
});
stop_load($load);
all_right('a large transaction', 'log');
cmp_ok($node->safe_psql('postgres', "SELECT max(count) FROM (SELECT count(*) FROM log WHERE n > $from GROUP BY xid) c"), '==', 76000, 'all of its changes');
$node->safe_psql('postgres', 'UPDATE item SET v = v + 1 WHERE id > 39500; DELETE FROM item WHERE id > 1000');
all_right('after it', 'log');

# ---- a crash that falls into the large batch

$node->safe_psql('postgres', 'INSERT INTO item SELECT i, 0 FROM generate_series(10001, 40000) i');
kill_process(worker_pid($node));
comes_back($node);
all_right('killed in a large batch', 'log');

log_is_clean($node);
$node->stop;
done_testing();
