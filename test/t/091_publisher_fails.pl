# The publisher of a node dies under load, and its standby is promoted.  From 17 on the standby has the
# subscription's slot, and the node goes on with it; before that the node subscribes anew, with a copy of the
# tables.  Either way tables are as the new publisher has them, and views equal their queries.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ReplicationTest;
use Test::More;

my $alpha = publisher('alpha', bank_tables(),
	conf => "hot_standby_feedback = on\nwal_receiver_status_interval = 1s\n");
my $copies_slots = $alpha->pg_version >= 17;
my $node = derive_node('node', conf => "wal_retrieve_retry_interval = 200ms\n");

$node->safe_psql('postgres', q{
CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance bigint NOT NULL);
CREATE TABLE entries (account int, delta int);
CREATE INDEX ON entries (account);
SELECT derive.create_view('total', 'SELECT count(*) AS n, sum(balance) AS balance FROM accounts');
SELECT derive.create_view('wrong', 'SELECT id, balance, delta FROM accounts LEFT JOIN (SELECT account, sum(delta) AS delta FROM entries GROUP BY account) e
	ON account = id WHERE balance <> 100 + coalesce(delta, 0)');
SELECT derive.wait()});
subscribe($node, 'shop', $alpha, $copies_slots ? 'failover = true' : undef);

# ---- a standby, which has all that the node has

$alpha->backup('base');
my $beta = PostgreSQL::Test::Cluster->new('beta');
$beta->init_from_backup($alpha, 'base');
$alpha->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('beta', true)});
my $conninfo = ($alpha->connstr('postgres') . ' application_name=beta') =~ s/'/''/gr;
$beta->append_conf('postgresql.conf', "primary_conninfo = '$conninfo'\nprimary_slot_name = 'beta'\n" . ($copies_slots ? "sync_replication_slots = on\n" : ''));
$beta->set_standby_mode;
$beta->start;
if ($copies_slots)
{
	$alpha->append_conf('postgresql.conf', "synchronized_standby_slots = 'beta'\n");
	$alpha->reload;
}
my $pgbench = start_load($alpha, 600, undef, bank_load());
my $arrived = q{SELECT count(*) >= 1000 FROM entries};
$node->poll_query_until('postgres', $arrived) or die 'nothing arrives at the node';
$beta->poll_query_until('postgres', $arrived) or die 'nothing arrives at the standby';
ok($beta->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'shop' AND synced AND NOT temporary}), 'the standby has the slot')
  if $copies_slots;
$alpha->kill9;
stop_load($pgbench);
$beta->append_conf('postgresql.conf', "synchronized_standby_slots = ''\n") if $copies_slots;
$beta->promote;

# ---- the node turns to it

$node->safe_psql('postgres', 'ALTER SUBSCRIPTION shop DISABLE');
if ($copies_slots)
{
	$conninfo = $beta->connstr('postgres') =~ s/'/''/gr;
	$node->safe_psql('postgres', "ALTER SUBSCRIPTION shop CONNECTION '$conninfo'");
	$node->safe_psql('postgres', 'ALTER SUBSCRIPTION shop ENABLE');
}
else
{
	$node->safe_psql('postgres', 'ALTER SUBSCRIPTION shop SET (slot_name = NONE)');
	$node->safe_psql('postgres', 'DROP SUBSCRIPTION shop');
	$node->safe_psql('postgres', 'TRUNCATE accounts, entries');
	wait_derived($node, 'without rows');
	is($node->safe_psql('postgres', 'SELECT n FROM total'), 0, 'the views follow that');
	subscribe($node, 'shop', $beta);
}
$pgbench = start_load($beta, 600, undef, bank_load());
my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM entries');
$node->poll_query_until('postgres', "SELECT count(*) >= $before + 400 FROM entries") or die 'nothing arrives from the new publisher';
stop_load($pgbench);
wait_applied($node, 'shop', $beta);
wait_derived($node, 'the new publisher');
is_exact($node, 'the new publisher');
is_copied($beta, $node, 'the new publisher', bank_copied());
is($node->safe_psql('postgres', 'SELECT n, balance, (SELECT count(*) FROM wrong) FROM total'), '2000|200000|0', 'each transaction is there once');
log_is_clean($node);
$_->stop foreach $node, $beta;
done_testing();
