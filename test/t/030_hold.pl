# Old row versions are held for a position without a gap, or not taken for what it sees:
# also where a transaction of another database gives positions before and after a gap
# the same xmin, which VACUUM does not care about.  And a slot that is left
# alone does not hold them for ever.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('hold', conf => "autovacuum = off\n");
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', q{
CREATE TABLE x (k int, v int);
CREATE TABLE y (k int, w int);
CREATE TABLE locked (g int);
CREATE TABLE z (v int);
ALTER TABLE x REPLICA IDENTITY FULL;
ALTER TABLE y REPLICA IDENTITY FULL;
ALTER TABLE locked REPLICA IDENTITY FULL;
ALTER TABLE z REPLICA IDENTITY FULL;
INSERT INTO x SELECT i, 1 FROM generate_series(1, 50) i;
INSERT INTO y SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO locked VALUES (1);
SELECT derive.create_view('joined', 'SELECT g, sum(v * w) AS s, count(*) AS n FROM x JOIN y USING (k) CROSS JOIN locked GROUP BY g');
SELECT derive.create_view('zs', 'SELECT count(*) AS n FROM z');
});
wait_derived($node, 'built');

# A batch after which the slot is where it must be.
sub batch
{
	my ($label) = @_;
	$node->safe_psql('postgres', 'INSERT INTO z VALUES (1)');
	is($node->safe_psql('postgres', q{SELECT derive.wait('zs', timeout => '60 s')}), 't', $label);
	return;
}

sub slot_xmin
{
	return $node->safe_psql('postgres', q{SELECT xmin FROM pg_replication_slots WHERE plugin = 'pg_derive'});
}

sub read_old_rows
{
	my ($from) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET pg_derive.old_rows = '$from'");
	$node->reload;
	for (1 .. 20)
	{
		batch("old rows from: $from");
		last if (slot_xmin() ne '') == ($from eq 'auto');
	}
	is(slot_xmin() ne '' ? 'auto' : 'log', $from, "what is held is what is asked for ($from)");
	return;
}

my $elsewhere = $node->background_psql('other');
$elsewhere->query_safe('BEGIN; CREATE TEMP TABLE t ()');
my $xid = $elsewhere->query_safe('SELECT txid_current()');
for (1 .. 20)
{
	batch('on to the other transaction');
	last if $node->safe_psql('postgres', 'SELECT position FROM derive_state.position') =~ /^\($xid:/;
}
like($node->safe_psql('postgres', 'SELECT position FROM derive_state.position'), qr/^\($xid:/, 'the position has the xmin of the other transaction');

# The view stands still at a position with that xmin, while its lock goes from an older to a younger transaction.
my @lockers = (background($node), background($node));
$lockers[0]->query_safe('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', 'UPDATE x SET v = v + 1');
$node->safe_psql('postgres', 'UPDATE y SET w = w + 1000');
batch('the others go on');
is($node->safe_psql('postgres', q{SELECT split_part(position::text, ':', 1) FROM derive_state.waiting}), $xid, 'it stands at the xmin');
$lockers[1]->query_until(qr/begun/, "\\echo begun\nBEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE;\n");
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_locks WHERE NOT granted') or die 'nobody waits for the lock';
$lockers[0]->query_safe('ROLLBACK');

read_old_rows('log');
$node->safe_psql('postgres', 'VACUUM x; VACUUM y');
read_old_rows('auto');
is(slot_xmin(), $xid, 'the hold has begun again with the same xmin');
$lockers[1]->query_safe('ROLLBACK');
wait_derived($node, 'back');
is($node->safe_psql('postgres', q{SELECT oracle('joined')}), '0', 'the view is exact');

# From the same xmin on it is used again, without anything that must be computed anew.
$node->safe_psql('postgres', 'UPDATE x SET v = v + 1 WHERE k < 5; UPDATE y SET w = w + 1 WHERE k < 7');
wait_derived($node, 'goes on');
is($node->safe_psql('postgres', q{SELECT oracle('joined')}), '0', 'and goes on so');

$elsewhere->query_safe('ROLLBACK');
$_->quit for $elsewhere, @lockers;

# Slots that nobody uses
$node->append_conf('postgresql.conf', 'pg_derive.max_hold = 1s');
$node->safe_psql('postgres', q{SELECT pg_copy_logical_replication_slot(slot_name, 'a_copy') FROM pg_replication_slots WHERE plugin = 'pg_derive'});
isnt($node->safe_psql('postgres', q{SELECT xmin FROM pg_replication_slots WHERE slot_name = 'a_copy'}), '', 'a copy holds what the slot holds');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT xmin IS NULL FROM pg_replication_slots WHERE slot_name = 'a_copy'}), 'but not for ever');
isnt($node->safe_psql('postgres', q{SELECT xmin FROM pg_replication_slots WHERE slot_name <> 'a_copy'}), '', 'that which is used holds');
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('a_copy')});
$node->stop;
done_testing();
