# docs/gateway.md and examples/live/README.md as a reader takes them: their blocks, with the program (test/perl/DocTest.pm).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use DocTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tester = doc_tester('shop');
my $node = $tester->{node};

# The tables are those of the tutorial.
$node->safe_psql('shop', q{
CREATE EXTENSION pg_derive;
CREATE TABLE customers (id int PRIMARY KEY, region text);
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id int, amount numeric);
CREATE INDEX ON orders (customer_id);
INSERT INTO customers VALUES (1, 'EMEA'), (2, 'US'), (3, 'ASIA');
INSERT INTO orders (customer_id, amount) VALUES (1, 10), (1, 15), (2, 20), (2, 40), (2, 7), (3, 30);
});
run_page($tester, "$tester->{root}/docs/gateway.md");
wait_derived($node, undef, 'shop');
is($node->safe_psql('shop', q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', 'every view equals its query');

$node->safe_psql('postgres', 'CREATE DATABASE live');
use_database($tester, 'live');
run_page($tester, "$tester->{root}/examples/live/README.md");
wait_derived($node, undef, 'live');
is($node->safe_psql('live', q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', 'every view of the live page equals its query');
cmp_ok($tester->{not_run}, '<=', 1, 'hardly a block is not run');
$node->stop;
done_testing();
