# pg_derive_kafka under load, while it, our server and Kafka are killed again and again: every change is in
# Kafka once, and what Kafka has is what the tables and views have, at the end and at each transaction.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{DERIVE_TEST_KILLS} || 9;
my $kafka = kafka_start(1);
my $node = derive_node('kills', conf => "fsync = on\n");

load_tables($node);
$node->safe_psql('postgres', q{
CREATE TABLE log (id bigserial PRIMARY KEY, account int, delta int);
SELECT derive.create_topic('moves', 'n bigint, account int, delta int');
SELECT derive.create_view('by_account', 'SELECT account, count(*), sum(delta) FROM moves GROUP BY account');
});
wait_derived($node, 'views are built');
$node->safe_psql('postgres', q{
CREATE UNIQUE INDEX ON by_branch (branch) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX ON by_account (account) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX ON moves (event_id);
ALTER MATERIALIZED VIEW by_branch REPLICA IDENTITY FULL;
ALTER MATERIALIZED VIEW by_account REPLICA IDENTITY FULL;
ALTER MATERIALIZED VIEW moves REPLICA IDENTITY FULL;
SELECT derive.create_topic('back', 'before jsonb, after jsonb, source jsonb, op text, ts_ms bigint, k text, p int, o bigint');
});
wait_derived($node, 'indexes are there');

# Records of Kafka that are events of a topic again, by a second program.
my @relations = qw(accounts log moves by_branch by_account);
my $arguments = to_kafka($node, $kafka, 'bank', join(',', map { "public.$_" } @relations), '--kafka=statistics.interval.ms=0');
my $back = from_kafka($node, $kafka, 'back', 'bank.public.log', 'back', '--key_column=k', '--partition_column=p', '--offset_column=o');
my $script = q{
\set a random(1, 5000)
\set d random(-50, 50)
BEGIN;
UPDATE accounts SET balance = balance + :d, branch = CASE WHEN :d % 7 = 0 THEN :a % 10 ELSE branch END WHERE id = :a;
INSERT INTO log (account, delta) VALUES (:a, :d);
SELECT derive.append('moves', ROW(:a, :a % 50, :d));
SAVEPOINT s;
INSERT INTO log (account, delta) VALUES (:a, 1000000);
ROLLBACK TO s;
COMMIT;
};

# The initial rows are read while others are written, and more than once.
my $first_load = start_load($node, 60, undef, $script);
foreach my $point ('load:4000', 'before_commit')
{
	my $dying = connector_start('dying', $arguments, env => { PG_DERIVE_KAFKA_KILL => $point });
	is(connector_ends($dying), -9, "killed at $point");
}
my $program = connector_start('bank', $arguments);
ok(connector_waits($program, qr/following/), 'it follows') or BAIL_OUT(connector_log($program));
my $reader = connector_start('back', $back);
stop_load($first_load);

my %kill = (
	program => sub { connector_kill($program); $program = connector_start('bank', $arguments); },
	reader => sub { connector_kill($reader); $reader = connector_start('back', $back); },
	kafka => sub { kafka_kill($kafka, 1); kafka_start_node($kafka, 1); },
	immediate => sub { $node->stop('immediate'); start_again($node); },
	postmaster => sub { $node->kill9; start_again($node); });
my @kinds = qw(program kafka program immediate program reader kafka postmaster program);

foreach my $round (0 .. $rounds - 1)
{
	my $kind = $kinds[ $round % @kinds ];
	my $load = start_load($node, 60, undef, $script);
	my $written = $node->safe_psql('postgres', 'SELECT coalesce(max(id), 0) FROM log');

	# somewhere in the middle of the load, and of what the program does
	$node->poll_query_until('postgres', "SELECT max(id) > $written + 100 + (random() * 200)::int FROM log") or die;
	usleep(int(rand(150_000)));
	note("round $round: $kind");
	$kill{$kind}->();
	$written = $node->safe_psql('postgres', 'SELECT max(id) FROM log');
	if ($kind !~ /immediate|postmaster/)
	{
		$node->poll_query_until('postgres', "SELECT max(id) > $written + 100 FROM log") or die;
	}
	stop_load($load);
	foreach ($program, $reader)
	{
		ok(kill(0, $_->{pid}), "round $round ($kind): $_->{name} goes on") or diag(connector_log($_));
	}
}

wait_derived($node);
ok(kafka_caught_up($node, 'bank'), 'all is in Kafka');
my $differs = q{(SELECT count(*) FROM (SELECT * FROM %s EXCEPT ALL SELECT * FROM %s) d)};
foreach my $relation (@relations)
{
	kafka_load_table($kafka, $node, "bank.public.$relation", $relation, "r_$relation");
	is($node->safe_psql('postgres', 'SELECT ' . sprintf("$differs, $differs", "r_$relation", $relation, $relation, "r_$relation")),
		'0|0', "$relation: what Kafka has is what there is");
}

# Every change is one record: of what is only inserted, one; of the views, each leads from one row to the next.
foreach my $relation (qw(log moves))
{
	is( $node->safe_psql('postgres', qq{SELECT count(*) - count(DISTINCT key), count(*) FILTER (WHERE value->>'op' NOT IN ('c', 'r')),
		count(*) - (SELECT count(*) FROM $relation) FROM r_${relation}_records}), '0|0|0', "$relation: each row is one record");
}
foreach my $relation (@relations)
{
	is( $node->safe_psql('postgres', qq{
		SELECT count(*) FROM (
			SELECT value->>'op' AS op, value->'before' AS before, lag(value->'after') OVER w AS last, lag(value->>'op') OVER w AS last_op,
				row_number() OVER w AS n
			FROM r_${relation}_records WINDOW w AS (PARTITION BY key ORDER BY record_offset)) q
		WHERE (op = 'u' AND (last IS NULL OR (before <> 'null' AND before <> last))) OR (op IN ('c', 'r') AND last IS NOT NULL AND last <> 'null')}),
		'0', "$relation: each record follows from the one before it");
	is( $node->safe_psql('postgres', qq{SELECT count(*) - count(DISTINCT (value->'source'->>'sequence', value->>'op')) FROM r_${relation}_records
		WHERE value IS NOT NULL AND value->>'op' <> 'r'}), '0', "$relation: no change comes twice");
}

# Transactions are whole: the sum over all moves of a prefix of Kafka's log is that of the view's record there.
is( $node->safe_psql('postgres', q{
	WITH m AS MATERIALIZED (
		SELECT account, count(*) OVER w AS n, sum(delta) OVER w AS sum FROM moves WINDOW w AS (PARTITION BY account ORDER BY event_id)
	), v AS MATERIALIZED (
		SELECT (value->'after'->>'account')::int AS account, (value->'after'->>'count')::bigint AS n, (value->'after'->>'sum')::bigint AS sum
		FROM r_by_account_records WHERE value->>'op' IN ('c', 'u'))
	SELECT count(*) FROM (SELECT * FROM v EXCEPT SELECT * FROM m) d}), '0', 'each record of the view was true at its moment');

# And back: each record of Kafka is one event.
ok($node->poll_query_until('postgres', q{SELECT (SELECT count(*) FROM back) >= (SELECT count(*) FROM log)}), 'all is back');
wait_derived($node);
is($node->safe_psql('postgres', sprintf("SELECT $differs, $differs", ('(SELECT (after->>\'id\')::bigint AS id, (after->>\'account\')::int, (after->>\'delta\')::int FROM back) x', 'log',
		'log', '(SELECT (after->>\'id\')::bigint, (after->>\'account\')::int, (after->>\'delta\')::int FROM back) x'))), '0|0', 'what came back is what there is');
is($node->safe_psql('postgres', q{SELECT count(*) - count(DISTINCT (p, o)) FROM back}), '0', 'each record is one event');
views_are_exact($node, 'the views themselves');
is(connector_stop($program), 0, 'the program ends');
is(connector_stop($reader), 0, 'the reader ends');
log_is_clean($node);
$node->stop;
kafka_stop($kafka);
done_testing();
