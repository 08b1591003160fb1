# Histories under concurrent writers, with kill -9 again and again: no version
# is lost, none is there twice, and moments of the past are what they were.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{DERIVE_TEST_KILLS} || 8;
my $node = derive_node('history', conf => "fsync = on\nwork_mem = 64kB\n");

# What triggers saw is what the histories should say.
$node->safe_psql('postgres', q{
CREATE TABLE rows (id integer PRIMARY KEY, v integer, note text);
CREATE TABLE bag (v integer, note text);
CREATE TABLE parts (id integer, part integer, v integer, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parts0 PARTITION OF parts FOR VALUES IN (0);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE seen (source text, op text, xid xid8);
CREATE TABLE moments (n serial PRIMARY KEY, lsn pg_lsn, at timestamptz);
CREATE TABLE copies (n integer, id integer, v integer, note text);
INSERT INTO rows SELECT i, i, 'note ' || i FROM generate_series(1, 500) i;
INSERT INTO bag SELECT i % 10, 'note' FROM generate_series(1, 200) i;
INSERT INTO parts SELECT i, i % 2, i FROM generate_series(1, 100) i;
SELECT derive.create_view('rows_history', 'history', '{rows}');
SELECT derive.create_view('bag_history', 'history', '{bag}');
SELECT derive.create_view('parts_history', 'history', '{parts}');
SELECT derive.create_view('versions', 'SELECT id, count(*), max(v) FROM rows_history GROUP BY id');
});
wait_derived($node, 'built');
$node->safe_psql('postgres', q{
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		EXECUTE format('INSERT INTO seen SELECT %L, ''end'', pg_current_xact_id() FROM %I', TG_ARGV[0], TG_TABLE_NAME);
		RETURN NULL;
	END IF;
	IF TG_OP <> 'DELETE' THEN INSERT INTO seen VALUES (TG_ARGV[0], 'begin', pg_current_xact_id()); END IF;
	IF TG_OP <> 'INSERT' THEN INSERT INTO seen VALUES (TG_ARGV[0], 'end', pg_current_xact_id()); END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON rows FOR EACH ROW EXECUTE FUNCTION see('rows');
CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON bag FOR EACH ROW EXECUTE FUNCTION see('bag');
CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON parts FOR EACH ROW EXECUTE FUNCTION see('parts');
CREATE TRIGGER see_truncate BEFORE TRUNCATE ON rows EXECUTE FUNCTION see('rows');
CREATE TRIGGER see_truncate BEFORE TRUNCATE ON parts1 EXECUTE FUNCTION see('parts');
});

my $script = q{
\set a random(1, 600)
\set b random(1, 600)
\set d random(1, 100)
BEGIN;
INSERT INTO rows VALUES (:a, :d, repeat('x', :d)) ON CONFLICT (id) DO UPDATE SET v = rows.v + 1;
UPDATE rows SET v = v + :d WHERE id = :a AND :d % 2 = 0;
SAVEPOINT s;
UPDATE rows SET note = 'never' WHERE id = :a;
INSERT INTO bag VALUES (-1, 'never');
ROLLBACK TO s;
INSERT INTO bag VALUES (:d, 'new');
UPDATE bag SET v = v + 1 WHERE ctid = (SELECT ctid FROM bag WHERE v = :d LIMIT 1);
DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE v > :d LIMIT 1);
DELETE FROM rows WHERE id = :a AND :d % 5 = 0;
INSERT INTO parts VALUES (:a, :d % 2, :d) ON CONFLICT DO NOTHING;
UPDATE parts SET v = v + 1, part = 1 - part WHERE id = :a AND :d % 3 = 0 AND NOT EXISTS (SELECT FROM parts p WHERE p.id = parts.id AND p.part = 1 - parts.part);
DELETE FROM parts WHERE id = :b AND :d % 7 = 0;
COMMIT;
};

sub start_writers
{
	my ($seconds) = @_;
	return start_load($node, $seconds, undef, $script);
}

# While nobody writes: where the log is, what the clock says, and the rows.
sub remember
{
	$node->safe_psql('postgres', q{
BEGIN;
LOCK TABLE rows IN SHARE MODE;
INSERT INTO moments (lsn, at) VALUES (pg_current_wal_insert_lsn(), clock_timestamp());
INSERT INTO copies SELECT (SELECT max(n) FROM moments), * FROM rows;
COMMIT;
});
	return;
}

my $check = q{
WITH made AS (
	SELECT '%1$s' AS source, 'begin' AS op, xid FROM %1$s_history WHERE xid IS NOT NULL
	UNION ALL SELECT '%1$s', 'end', until_xid FROM %1$s_history WHERE until_xid IS NOT NULL),
saw AS (SELECT source, op, xid FROM seen WHERE source = '%1$s')
SELECT (SELECT count(*) FROM (TABLE made EXCEPT ALL TABLE saw) d) || ' too many, '
	|| (SELECT count(*) FROM (TABLE saw EXCEPT ALL TABLE made) d) || ' missing, '
	|| (SELECT count(*) FROM %1$s_history WHERE 'resync' IN (operation, ended_by)) || ' unknown, '
	|| (SELECT count(*) FROM %1$s_history WHERE until_lsn < lsn OR until < committed_at) || ' invalid, '
	|| (SELECT count(*) FROM ((SELECT %2$s FROM %1$s EXCEPT ALL SELECT %2$s FROM %1$s_history WHERE until IS NULL)
		UNION ALL (SELECT %2$s FROM %1$s_history WHERE until IS NULL EXCEPT ALL SELECT %2$s FROM %1$s)) d) || ' different';
};

my $chains = q{
SELECT count(*) FROM (
	SELECT *, lead(lsn) OVER w AS next_lsn, lead(committed_at) OVER w AS next_at, lead(xid) OVER w AS next_xid,
		lead(operation) OVER w AS next_operation
	FROM rows_history WINDOW w AS (PARTITION BY id ORDER BY version)) v
WHERE next_lsn IS NOT NULL AND (until_lsn IS NULL OR next_lsn < until_lsn OR next_at < until
	OR (next_operation = 'update') <> (ended_by = 'update')
	OR (ended_by = 'update' AND (next_lsn, next_at, next_xid) <> (until_lsn, until, until_xid)))
};

my $moments = q{
SELECT count(*) FROM moments m WHERE
	EXISTS ((SELECT id, v, note FROM copies c WHERE c.n = m.n EXCEPT SELECT id, v, note FROM derive.as_of('rows_history', m.lsn, NULL::rows))
		UNION ALL (SELECT id, v, note FROM derive.as_of('rows_history', m.lsn, NULL::rows) EXCEPT SELECT id, v, note FROM copies c WHERE c.n = m.n))
	OR EXISTS ((SELECT id, v, note FROM copies c WHERE c.n = m.n EXCEPT SELECT id, v, note FROM derive.as_of('rows_history', m.at, NULL::rows))
		UNION ALL (SELECT id, v, note FROM derive.as_of('rows_history', m.at, NULL::rows) EXCEPT SELECT id, v, note FROM copies c WHERE c.n = m.n))
};

sub histories_are_right
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	for my $table (['rows', 'id, v, note'], ['bag', 'v, note'], ['parts', 'id, part, v'])
	{
		is( $node->safe_psql('postgres', sprintf($check =~ s/%(\d)\$s/%$1\$s/gr, @$table)),
			'0 too many, 0 missing, 0 unknown, 0 invalid, 0 different', "$label: history of $table->[0]");
	}
	is($node->safe_psql('postgres', $chains), '0', "$label: versions of a row follow each other");
	is($node->safe_psql('postgres', $moments), '0', "$label: moments");
	return;
}

remember();
histories_are_right('at the start');

for my $i (1 .. $rounds)
{
	# In the second half a crash also takes back what clients were told is committed.
	if ($i == int($rounds / 2) + 1)
	{
		$node->append_conf('postgresql.conf', "synchronous_commit = off\nwal_writer_delay = 10s\n");
		$node->reload;
	}
	my $load = start_writers(600);
	my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM seen');
	$node->poll_query_until('postgres', "SELECT count(*) > $n + 50 FROM seen") or die 'no load';
	remember();
	if ($i % 3 == 0)
	{
		$node->safe_psql('postgres', q{
BEGIN;
TRUNCATE rows;
INSERT INTO rows SELECT i, -i, 'again' FROM generate_series(1, 50) i;
COMMIT;
TRUNCATE parts1;
});
		remember();
	}
	$node->safe_psql('postgres', qq{
BEGIN;
INSERT INTO rows VALUES ($i + 1000, $i, 'prepared');
INSERT INTO bag VALUES ($i, 'prepared');
PREPARE TRANSACTION 'p$i';
});
	usleep(rand 300_000);
	my $how = crash($node, $i);
	stop_load($load);
	$node->safe_psql('postgres', ($i % 2 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'p$i'");
	histories_are_right("kill $i ($how)");
}
is($node->safe_psql('postgres', q{SELECT oracle('versions')}), '0', 'view of a history');

# Times never run backwards, whatever the order in which transactions come.
is($node->safe_psql('postgres',
		q{SELECT count(*) FROM (SELECT committed_at, lag(committed_at) OVER (ORDER BY version) AS before FROM rows_history) v WHERE committed_at < before}),
	'0', 'times of versions');

# Versions lie in the history's file where there was room, so one that begins may lie before an older one that is open, and be
# found first.  When a partition is truncated, it is the older one that has ended.
sub fill_gaps
{
	my ($table, $key) = @_;
	$node->safe_psql('postgres', qq{
CREATE TABLE $table (id int $key, v text) PARTITION BY RANGE (id);
CREATE TABLE ${table}_1 PARTITION OF $table FOR VALUES FROM (0) TO (100);
CREATE TABLE ${table}_2 PARTITION OF $table FOR VALUES FROM (100) TO (100000);
INSERT INTO $table SELECT i, 'old' FROM generate_series(200, 5000) i;
SELECT derive.create_view('${table}_history', 'history', '{$table}', options => '{"retention": "1 s"}');
SELECT derive.wait();
INSERT INTO $table VALUES (1, 'one'), (2, 'two'), (101, 'elsewhere');
DELETE FROM $table WHERE id >= 200;
SELECT derive.wait()});
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM ${table}_history WHERE id >= 200") or die 'not cleaned up';
	for my $id (10 .. 99)
	{
		$node->safe_psql('postgres', "VACUUM ${table}_history");
		$node->safe_psql('postgres', "INSERT INTO $table VALUES ($id, 'new'); SELECT derive.wait()");
		return if $node->safe_psql('postgres', "SELECT max(ctid) FILTER (WHERE id = $id) < min(ctid) FILTER (WHERE id = 1) FROM ${table}_history") eq 't';
		usleep(200_000);
	}
	die 'no room';
}

sub is_present
{
	my ($table, $label) = @_;
	my ($one, $other) = ("SELECT id, v FROM $table", "SELECT id, v FROM ${table}_history WHERE until IS NULL");
	is($node->safe_psql('postgres', "($one EXCEPT ALL $other) UNION ALL ($other EXCEPT ALL $one)"), '', $label);
	return;
}

$node->safe_psql('postgres', $_) for "ALTER SYSTEM SET pg_derive.cleanup_interval = '100ms'", "ALTER SYSTEM SET pg_derive.old_rows = 'log'", 'SELECT pg_reload_conf()';
fill_gaps('keyed', 'PRIMARY KEY');
$node->safe_psql('postgres', q{
BEGIN; TRUNCATE keyed_1; INSERT INTO keyed VALUES (2, 'new'); UPDATE keyed SET id = 1 WHERE id = 2; COMMIT; SELECT derive.wait()});
is_present('keyed', 'a key that comes again by UPDATE after TRUNCATE of a partition');
$node->safe_psql('postgres', q{UPDATE keyed SET v = 'more' WHERE id = 1; SELECT derive.wait()});
is_present('keyed', 'and is changed');

fill_gaps('equals', '');
my $stopped = stop_worker($node);
$node->safe_psql('postgres', 'TRUNCATE equals_1');
my $between = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', q{INSERT INTO equals VALUES (1, 'one')});
let_go_on($stopped);
wait_derived($node, 'both in one batch');
is_present('equals', 'an equal row after TRUNCATE of a partition');
is($node->safe_psql('postgres', "SELECT * FROM derive.as_of('equals_history', '$between'::pg_lsn, NULL::equals)"), '101|elsewhere', 'which was not there before it came');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW keyed_history, equals_history');
$node->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET pg_derive.cleanup_interval', 'ALTER SYSTEM RESET pg_derive.old_rows', 'SELECT pg_reload_conf()';

# A history whose log was lost goes on, and says since when.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', q{
UPDATE rows SET v = v + 1 WHERE id % 2 = 0;
DELETE FROM bag WHERE v % 2 = 0;
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE plugin = 'pg_derive';
});
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$node->restart;
wait_derived($node, 'after the loss of the log');
is($node->safe_psql('postgres', q{SELECT string_agg(view::text || ' ' || state, ', ' ORDER BY view::text) FROM derive.views}),
	'bag_history ready, parts_history ready, rows_history ready, versions ready', 'histories go on');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT id, v, note FROM rows EXCEPT ALL SELECT id, v, note FROM rows_history WHERE until IS NULL) d}),
	'0', 'rows after the loss of the log');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT v, note FROM bag_history WHERE until IS NULL EXCEPT ALL SELECT v, note FROM bag) d}),
	'0', 'bag after the loss of the log');
is($node->safe_psql('postgres', q{SELECT count(*) = (SELECT count(*) FROM rows WHERE id % 2 = 0) FROM rows_history WHERE operation = 'resync' AND until IS NULL AND xid IS NULL}),
	't', 'what was changed meanwhile is marked');
is($node->safe_psql('postgres', $chains =~ s/OR \(next_operation.*?\n//r), '0', 'versions of a row still follow each other');

log_is_clean($node);
$node->stop;
done_testing();
