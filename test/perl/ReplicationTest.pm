# What the tests of scaling out share: tables that a publisher writes, a node that subscribes
# to them and maintains views, and the proof that nothing got lost between the two.
package ReplicationTest;

use strict;
use warnings;

use DeriveTest;
use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(bank_tables bank_load bank_copied publisher subscribe apply_pid wait_applied wait_synced is_copied);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# A bank: accounts whose sum never changes, and an entry for each change.
sub bank_tables
{
	return q{
CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance bigint NOT NULL);
CREATE TABLE entries (account int, delta int);
ALTER TABLE entries REPLICA IDENTITY FULL;
INSERT INTO accounts SELECT i, i % 10, 100 FROM generate_series(1, 2000) i};
}

# Of pgbench: money is moved, for start_load().
sub bank_load
{
	return q{
\set a random(1, 1000)
\set b random(1001, 2000)
\set d random(-50, 50)
BEGIN;
UPDATE accounts SET balance = balance + :d WHERE id = :a;
UPDATE accounts SET balance = balance - :d, branch = (branch + 1) % 10 WHERE id = :b;
INSERT INTO entries VALUES (:a, :d), (:b, 0 - :d);
COMMIT;
};
}

# For is_copied().
sub bank_copied
{
	return ('SELECT * FROM accounts', 'SELECT * FROM entries');
}

# A server without the extension, which publishes all of its tables, or as many as the
# statement says.  Options: publication => statement; the others are those of derive_node().
sub publisher
{
	my ($name, $tables, %opt) = @_;
	my $publication = delete $opt{publication} // "CREATE PUBLICATION shop FOR ALL TABLES";
	my $node = derive_node($name, preload => 0, extension => 0, %opt);

	$node->safe_psql('postgres', "$tables; $publication");
	return $node;
}

# By name, from a publisher, with options of CREATE SUBSCRIPTION; waits for the initial copy.
sub subscribe
{
	my ($node, $name, $publisher, $options, $publication) = @_;
	my $conninfo = $publisher->connstr('postgres') =~ s/'/''/gr;

	$publication //= 'shop';
	$node->safe_psql('postgres',
		"CREATE SUBSCRIPTION $name CONNECTION '$conninfo' PUBLICATION $publication" . ($options ? " WITH ($options)" : ''));
	wait_synced($node);
	return;
}

# The initial copies of all subscriptions are done.
sub wait_synced
{
	my ($node) = @_;
	$node->poll_query_until('postgres', q{SELECT bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel})
	  or die 'the initial copy does not end';
	return;
}

# The process that applies what the publisher commits.
sub apply_pid
{
	my ($node, $name) = @_;
	my $sql = "SELECT pid FROM pg_stat_subscription WHERE subname = '$name' AND relid IS NULL AND pid IS NOT NULL";

	for my $i (1 .. 10 * $timeout)
	{
		my ($rc, $out) = eval { $node->psql('postgres', "$sql LIMIT 1") };
		return $out if ($out // '') =~ /^\d+$/;
		usleep(100_000);
	}
	die "no process applies subscription $name";
}

# What the publisher has committed so far is in the node's tables, and what is in these is in its views.
sub wait_applied
{
	my ($node, $name, $publisher) = @_;
	my $lsn = $publisher->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');

	# a server that lost its last process may confirm only after the next transaction, which an idle one has none of
	$publisher->safe_psql('postgres', q{SELECT pg_logical_emit_message(true, 'test', 'a commit')});
	ok( $publisher->poll_query_until('postgres',
			"SELECT count(*) > 0 FROM pg_replication_slots WHERE slot_name = '$name' AND active AND confirmed_flush_lsn >= '$lsn'"),
		"subscription $name has applied all")
	  or diag($publisher->safe_psql('postgres', "SELECT *, '$lsn' FROM pg_replication_slots") . "\n"
		  . $node->safe_psql('postgres', 'SELECT * FROM pg_stat_subscription'));
	return;
}

# Queries that give the same rows here and there, in both directions: each is run on both sides.
sub is_copied
{
	my ($publisher, $node, $label, @queries) = @_;

	foreach my $query (@queries)
	{
		my ($here, $there) = map {
			$_->safe_psql('postgres', "SELECT count(*), md5(string_agg(r, E'\\n' ORDER BY r COLLATE \"C\")) FROM (SELECT q::text AS r FROM ($query) q) s")
		} $publisher, $node;
		is($there, $here, "$label: as the publisher has it: $query");
	}
	return;
}

1;
