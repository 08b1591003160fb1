# How pg_derive_kafka begins: with a relation that was not followed for a while, and with a slot or a server
# that is not the one that it has left.  No change is lost without a word.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use File::Path qw(make_path);
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = kafka_start(1);
my $node = derive_node('starts');

# Kafka has the rows that there are.
sub topic_equals
{
	my ($topic, $relation, $label) = @_;
	my $differs = q{(SELECT count(*) FROM (SELECT * FROM %s EXCEPT ALL SELECT * FROM %s) d)};

	kafka_load_table($kafka, $node, $topic, $relation, 'rebuilt');
	is($node->safe_psql('postgres', 'SELECT ' . sprintf("$differs, $differs", 'rebuilt', $relation, $relation, 'rebuilt')), '0|0', $label);
	return;
}

# Start it, and wait until it follows.
sub start
{
	my ($name, @more) = @_;
	my $from = -s "$PostgreSQL::Test::Utils::log_path/$name.txt" // 0;
	my $program = connector_start($name, @more);

	ok(connector_waits($program, qr/following/, $from), "$name follows");
	return $program;
}

sub run_sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# --- a relation that is left out, and taken in again ------------------------------

run_sql(q{
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY, v text);
INSERT INTO a SELECT i, 'first' FROM generate_series(1, 10) i;
});
my $both = to_kafka($node, $kafka, 'shop', 'public.a, public.b');
is(connector_stop(start('shop', $both)), 0, 'ends');
my $alone = start('alone', to_kafka($node, $kafka, 'shop', 'public.b'));
run_sql(q{INSERT INTO a VALUES (100, 'unseen'); DELETE FROM a WHERE id = 1});
ok(kafka_caught_up($node, 'shop'), 'the slot moves where there is nothing to send');
is(connector_stop($alone), 0, 'ends');
is(connector_stop(start('shop', $both)), 0, 'ends');
topic_equals('shop.public.a', 'a', 'what was left out is read anew');

# --- a slot that is lost ----------------------------------------------------------

# Killed between the new slot and the rows: the next start must not take the slot for a good one.
run_sql(q{SELECT pg_drop_replication_slot('kafka_shop'); INSERT INTO a VALUES (101, 'in the gap'); DELETE FROM a WHERE id = 2});
my $dying = connector_start('dying', [ @$both, '--reload_lost=on' ], env => { PG_DERIVE_KAFKA_KILL => 'slot' });
is(connector_ends($dying), -9, 'killed when there is a new slot, and no row');
is(run_sql(q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'kafka_shop'}), 1, 'there is a new slot');
is(connector_stop(start('shop', $both)), 0, 'ends');
topic_equals('shop.public.a', 'a', 'rows are read anew all the same');

# Another slot of the same name, and the same one that somebody has moved.
foreach my $sql (q{SELECT pg_drop_replication_slot('kafka_shop'); %s; SELECT pg_create_logical_replication_slot('kafka_shop', 'pg_derive')},
	q{%s; SELECT pg_replication_slot_advance('kafka_shop', pg_current_wal_lsn())})
{
	run_sql(sprintf($sql, q{INSERT INTO a SELECT max(id) + 1, 'unseen' FROM a}));
	my $refused = connector_start('refused', $both);
	is(connector_ends($refused), 1, 'stops where the slot is ahead of Kafka');
	like(connector_log($refused), qr/is lost, and with it changes since/, 'and says so');
	is(connector_stop(start('shop', [ @$both, '--reload_lost=on' ])), 0, 'ends');
	topic_equals('shop.public.a', 'a', 'or reads all rows anew');
}

# The slot follows the log where there is nothing to send, but never is ahead of Kafka.
my $idle = start('shop', $both);
ok(kafka_caught_up($node, 'shop'), 'the slot moves');
connector_kill($idle);
is(connector_stop(start('shop', $both)), 0, 'and is a good one after a kill');

# Killed when the first rows are there, and nothing else was sent.
my $new = to_kafka($node, $kafka, 'new', 'public.a');
is(connector_ends(connector_start('dying', $new, env => { PG_DERIVE_KAFKA_KILL => $_ })), -9, "killed at $_") foreach qw(slot loaded);
is(connector_stop(start('new', $new)), 0, 'begins with its slot');
run_sql(q{SELECT pg_drop_replication_slot('kafka_new')});

# --- a relation of the same name ---------------------------------------------------

run_sql(q{CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (1), (2)});
my $three = to_kafka($node, $kafka, 'three', 'public.c');
is(connector_stop(start('three', $three)), 0, 'ends');
run_sql(q{DROP TABLE c; CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (2), (3)});
my $three_again = start('three', $three);
topic_equals('three.public.c', 'c', 'rows of a table that is gone are deleted at the start');
my $three_log = length(connector_log($three_again));
run_sql(q{DROP TABLE c; CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (4), (5)});
ok(connector_waits($three_again, qr/is another relation.*initial rows/s, $three_log), 'it hears of another table');
ok(kafka_caught_up($node, 'three'), 'caught up');
is(connector_stop($three_again), 0, 'ends');
topic_equals('three.public.c', 'c', 'rows of a table that is gone are deleted');
run_sql(q{SELECT pg_drop_replication_slot('kafka_three')});

# --- a server that was promoted without all that Kafka has ---------------------------

# A copy, with the slot, goes on from here; what the server writes after this is in Kafka, and never in the copy.
is(connector_stop(start('shop', $both)), 0, 'ends');
$node->stop;
my $promoted = PostgreSQL::Test::Cluster->new('promoted');
rmdir $promoted->data_dir;
make_path($promoted->basedir);
system_or_bail('cp', '-a', $node->data_dir, $promoted->data_dir);
$promoted->append_conf('postgresql.conf', sprintf("port = %d\nunix_socket_directories = '%s'\n", $promoted->port, $promoted->host));
$promoted->append_conf('postgresql.conf', "data_directory = '" . $promoted->data_dir . "'\n");
$promoted->set_standby_mode;
$node->start;
my $last = start('shop', $both);
run_sql(q{INSERT INTO a VALUES (300, 'never there'); UPDATE a SET v = 'other' WHERE id = 5});
ok(kafka_caught_up($node, 'shop'), 'Kafka has what the copy has not');
is(connector_stop($last), 0, 'ends');
$node->stop;

$promoted->start;
$promoted->promote;
$node = $promoted;
run_sql(q{INSERT INTO a VALUES (301, 'after the promotion'); SELECT pg_switch_wal()}) ;
run_sql(q{INSERT INTO a VALUES (302, 'after the promotion'); SELECT pg_switch_wal()});
my $after = to_kafka($node, $kafka, 'shop', 'public.a, public.b');
my $refused = connector_start('refused', $after);
is(connector_ends($refused), 1, 'stops where Kafka has another past');
like(connector_log($refused), qr/was promoted without transactions that Kafka has/, 'and says so');
is(connector_stop(start('shop', [ @$after, '--reload_lost=on' ])), 0, 'ends');
topic_equals('shop.public.a', 'a', 'or reads all rows anew');

# Promoted again, with all that Kafka has: it goes on.
$node->stop;
$node->set_standby_mode;
$node->start;
$node->promote;
is(connector_stop(start('shop', $after)), 0, 'goes on after a promotion that has lost nothing');
topic_equals('shop.public.a', 'a', 'with what there is');

$node->stop;
kafka_stop($kafka);
done_testing();
