# One publisher, two nodes with some of the views each, and a physical standby of one of them that serves
# views.  Under load that node dies and the standby is promoted: it goes on with the subscription, and its
# views are exact.  The other node notices nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ReplicationTest;
use Test::More;
use Time::HiRes qw(usleep);

my $shop = publisher('shop', bank_tables());

# Each node subscribes to what its views read.
my $conf = "wal_retrieve_retry_interval = 200ms\nwal_receiver_status_interval = 1s\nhot_standby_feedback = on\n";
my $sums = derive_node('sums', conf => $conf);
my $joins = derive_node('joins', conf => $conf);
$sums->safe_psql('postgres', q{
CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance bigint NOT NULL);
CREATE TABLE entries (account int, delta int);
SELECT derive.create_view('by_branch', 'SELECT branch, count(*) AS n, sum(balance) AS balance FROM accounts GROUP BY branch');
SELECT derive.create_view('total', 'SELECT sum(n) AS n, sum(balance) AS balance FROM by_branch');
SELECT derive.create_view('flow', 'SELECT account, sum(delta), count(*) FROM entries GROUP BY account');
SELECT derive.wait()});
$joins->safe_psql('postgres', q{
CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance bigint NOT NULL);
CREATE TABLE entries (account int, delta int);
CREATE INDEX ON entries (account);
SELECT derive.create_view('statement', 'SELECT a.id, branch, delta FROM accounts a JOIN entries e ON e.account = a.id');
SELECT derive.create_view('idle', 'SELECT id FROM accounts WHERE NOT EXISTS (SELECT FROM entries WHERE account = id)');
SELECT derive.wait()});
# what the standby does not have yet is not confirmed to the publisher: without that, it could lack transactions
subscribe($sums, 'sums', $shop, 'synchronous_commit = on');
subscribe($joins, 'joins', $shop);

sub follow
{
	my ($standby, $primary) = @_;
	my $name = $standby->name;
	my $conninfo = ($primary->connstr('postgres') . " application_name=$name") =~ s/'/''/gr;

	$primary->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('$name', true)");
	$standby->append_conf('postgresql.conf', "primary_conninfo = '$conninfo'\nprimary_slot_name = '$name'\n");
	$standby->set_standby_mode;
	$standby->start;
	$primary->append_conf('postgresql.conf', "synchronous_standby_names = '$name'\n");
	$primary->reload;
	$primary->poll_query_until('postgres', q{SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication}) or die 'the standby is not synchronous';
	return;
}

# A standby cannot maintain views, and so not verify() them.
sub standby_is_exact
{
	my ($standby, $primary, $label) = @_;
	$primary->wait_for_catchup($standby->name, 'replay', $primary->lsn('insert'));
	is( $standby->safe_psql('postgres', q{
		WITH v AS MATERIALIZED (SELECT view FROM derive.views), o AS MATERIALIZED (SELECT view, oracle(view) FROM v)
		SELECT count(*), sum(oracle) FROM o}), '3|0', "$label: every view of the standby equals its query");
	is($standby->safe_psql('postgres', 'SELECT n, balance FROM total'), '2000|200000', "$label: its total");
	return;
}

sub caught_up
{
	my ($node, $name, $label) = @_;
	wait_applied($node, $name, $shop);
	wait_derived($node, "$label: $name");
	is_exact($node, "$label: $name");
	is_copied($shop, $node, "$label: $name", bank_copied());
	return;
}

my $count = sub { my ($node) = @_; my ($rc, $out) = eval { $node->psql('postgres', 'SELECT count(*) FROM entries') }; return $out || 0 };
sub wait_for_traffic
{
	my ($node) = @_;
	my $before = $count->($node);
	for my $i (1 .. 600)
	{
		return if $count->($node) >= $before + 400;
		usleep(100_000);
	}
	die 'nothing arrives at ' . $node->name;
}

# ---- the standby serves views, under load

$sums->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($sums, 'base');
follow($standby, $sums);
my $pgbench = start_load($shop, 600, undef, bank_load());
wait_for_traffic($standby);
for (1 .. 20)
{
	my $seen = $standby->safe_psql('postgres', 'SELECT n, balance FROM total');
	next if $seen eq '2000|200000';
	is($seen, '2000|200000', 'the standby shows whole transactions');
	last;
}
wait_for_traffic($joins);
stop_load($pgbench);
caught_up($sums, 'sums', 'under load');
caught_up($joins, 'joins', 'under load');
standby_is_exact($standby, $sums, 'under load');

# ---- the node dies, the standby takes over its views and its subscription

$pgbench = start_load($shop, 600, undef, bank_load());
wait_for_traffic($standby);
# All of it at once, as a machine does.  A process that applies changes and finds only the postmaster dead no longer waits for
# the standby (SyncRepWaitForLSN()), and confirms what that does not have as long as there is more to apply.
my $applies = apply_pid($sums, 'sums');
kill('STOP', $applies);
$sums->kill9;
kill('KILL', $applies);
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$standby->promote;
wait_for_traffic($standby);
wait_for_traffic($joins);
stop_load($pgbench);
caught_up($standby, 'sums', 'after the promotion');
caught_up($joins, 'joins', 'after the promotion');
is($standby->safe_psql('postgres', 'SELECT n, balance FROM total'), '2000|200000', 'the total');

# ---- the other node loses its worker and what applies, the new primary all

$pgbench = start_load($shop, 600, undef, bank_load());
wait_for_traffic($standby);
kill('KILL', apply_pid($joins, 'joins'), worker_pid($joins));
$standby->kill9;
comes_back($joins);
start_again($standby);
wait_for_traffic($_) for $standby, $joins;
stop_load($pgbench);
foreach ([ $standby, 'sums' ], [ $joins, 'joins' ])
{
	resume_failed($_->[0]);
	caught_up(@$_, 'after more kills');
}
log_is_clean($_) for $standby, $joins;
$_->stop foreach $standby, $joins, $shop;
done_testing();
