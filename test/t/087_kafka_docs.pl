# docs/kafka.md as a reader takes it: its blocks, with a real Kafka (test/perl/DocTest.pm).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use DocTest;
use File::Basename;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = kafka_start(1);
my $tester = doc_tester('shop');
my $node = $tester->{node};

# Where the page finds the program, its working folder, and Kafka, whose port is another one here.
my $folder = "$tester->{folder}/work";
mkdir $folder;
$tester->{cwd} = $folder;
$tester->{env}{PATH} = dirname($ENV{PG_DERIVE_KAFKA}) . ":$tester->{env}{PATH}";
my $page = "$tester->{folder}/kafka.md";
my $text = slurp_file("$tester->{root}/docs/kafka.md");
my $brokers = kafka_brokers($kafka);
$text =~ s/localhost:9092/$brokers/g;
append_to_file($page, $text);
kafka_create_topic($kafka, 'payments', 1);

# The tables are those of the tutorial.
$node->safe_psql('shop', q{
CREATE EXTENSION pg_derive;
CREATE TABLE customers (id int PRIMARY KEY, region text);
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id int, amount numeric);
INSERT INTO customers VALUES (1, 'EU'), (2, 'US');
INSERT INTO orders (customer_id, amount) VALUES (1, 10), (2, 20), (1, 30), (1, 12);
});
$tester->{root} = $folder;
run_page($tester, $page);
is($node->safe_psql('shop', q{SELECT view, state, error FROM derive.views WHERE state <> 'ready'}), '', 'every view is ready');
is($node->safe_psql('shop', q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', 'every view equals its query');
cmp_ok($tester->{not_run}, '<=', 1, 'hardly a block is not run');
$node->stop;
kafka_stop($kafka);
done_testing();
