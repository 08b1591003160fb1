# Three nodes of Kafka, of which one at a time is killed; two of our servers, with Kafka between them; and
# consumers in a group, of which one is killed.  A SELECT over what has come out of Kafka is the same as over
# what went in.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{DERIVE_TEST_KILLS} || 3;
my $kafka = kafka_start(3);
my $node = derive_node('sender');
my $target = derive_node('receiver');

$node->safe_psql('postgres', q{
CREATE TABLE sales (id bigserial PRIMARY KEY, region int, amount int);
CREATE TABLE regions (region int PRIMARY KEY, name text);
INSERT INTO regions SELECT i, 'region ' || i FROM generate_series(0, 9) i;
SELECT derive.create_view('totals', 'SELECT name, count(*) AS n, sum(amount) AS total FROM sales JOIN regions USING (region) GROUP BY name');
});
wait_derived($node);
$node->safe_psql('postgres', q{
CREATE UNIQUE INDEX ON totals (name) NULLS NOT DISTINCT;
ALTER MATERIALIZED VIEW totals REPLICA IDENTITY FULL;
});
$target->safe_psql('postgres', q{
SELECT derive.create_topic('sales', 'before jsonb, after jsonb, source jsonb, op text, ts_ms bigint, p int, o bigint');
SELECT derive.create_view('by_region', $$
	SELECT (after->>'region')::int AS region, count(*) AS n, sum((after->>'amount')::int) AS total FROM sales WHERE op IN ('c', 'r') GROUP BY 1 $$);
});
wait_derived($target);

my $program = connector_start('sender', to_kafka($node, $kafka, 'shop', 'public.sales, public.totals', '--replication=3', '--partitions=4'));
ok(connector_waits($program, qr/following/), 'it follows') or BAIL_OUT(connector_log($program));
my $into = from_kafka($target, $kafka, 'warehouse', 'shop.public.sales', 'sales', '--partition_column=p', '--offset_column=o');
my @readers = map { connector_start("reader$_", $into) } 1, 2;
foreach my $reader (@readers)
{
	ok(connector_waits($reader, qr/partition \d of/), "$reader->{name} has partitions") or diag(connector_log($reader));
}

my $script = q{
\set r random(0, 9)
\set d random(1, 100)
INSERT INTO sales (region, amount) SELECT :r, i FROM generate_series(1, 1 + :d % 5) i;
};
foreach my $round (1 .. $rounds)
{
	my $load = start_load($node, 60, undef, $script);
	my $id = 1 + ($round - 1) % 3;
	my $last = sub { $node->safe_psql('postgres', 'SELECT coalesce(max(id), 0) FROM sales') };
	my $written = $last->();

	$node->poll_query_until('postgres', "SELECT max(id) > $written + 200 FROM sales") or die;
	note("round $round: node $id");
	kafka_kill($kafka, $id);
	# without this node the others go on
	$written = $last->();
	ok($target->poll_query_until('postgres', qq{SELECT coalesce(max((after->>'id')::bigint), 0) > $written FROM sales}), "round $round: goes on without node $id");
	my $reader = $readers[ $round % 2 ];
	connector_kill($reader);
	kafka_start_node($kafka, $id);
	$readers[ $round % 2 ] = connector_start($reader->{name}, $into);
	$written = $last->();
	ok($target->poll_query_until('postgres', qq{SELECT coalesce(max((after->>'id')::bigint), 0) > $written FROM sales}), "round $round: goes on with it");
	stop_load($load);
}

wait_derived($node);
ok(kafka_caught_up($node, 'shop'), 'all is in Kafka');
my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM sales');
ok($target->poll_query_until('postgres', "SELECT count(*) >= $count FROM sales"), 'all is out of it');
wait_derived($target);
kafka_load_table($kafka, $node, "shop.public.$_", $_, "r_$_") foreach qw(sales totals);
my $differs = q{(SELECT count(*) FROM (SELECT * FROM %s EXCEPT ALL SELECT * FROM %s) d)};
foreach (qw(sales totals))
{
	is($node->safe_psql('postgres', 'SELECT ' . sprintf("$differs, $differs", "r_$_", $_, $_, "r_$_")), '0|0', "$_: what Kafka has is what there is");
}
is($node->safe_psql('postgres', q{SELECT count(*) - count(DISTINCT key), count(*) - (SELECT count(*) FROM sales) FROM r_sales_records}), '0|0', 'each row is one record');
my $by_region = 'SELECT region, n, total FROM by_region ORDER BY region';
is( $target->safe_psql('postgres', $by_region),
	$node->safe_psql('postgres', 'SELECT region, count(*), sum(amount) FROM sales GROUP BY region ORDER BY region'),
	'the SELECT over what came out equals the SELECT over what went in');
is($target->safe_psql('postgres', q{SELECT count(*) - count(DISTINCT (p, o)), count(*) - count(DISTINCT after->>'id') FROM sales}), '0|0', 'each record is one event');
is($target->safe_psql('postgres', q{SELECT count(*) FROM (SELECT o, lag(o) OVER (PARTITION BY p ORDER BY event_id) AS before FROM sales) q WHERE o <= before}),
	'0', 'in the order of its partition');
views_are_exact($node, 'the sender');
views_are_exact($target, 'the receiver');
is(connector_stop($_), 0, "$_->{name} ends") foreach $program, @readers;
log_is_clean($_) foreach $node, $target;
$node->stop;
$target->stop;
kafka_stop($kafka);
done_testing();
