# The slot: lost, dropped while the server was down, gone with the extension
# and with the database.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('slot', initdb => ['--wal-segsize=1'],
	conf => "max_slot_wal_keep_size = 2MB\nmin_wal_size = 2MB\nmax_wal_size = 4MB\ncheckpoint_timeout = 30s\n");
my ($rc, $out, $err);

load_tables($node);
wait_derived($node, 'built');
is_exact($node, 'at the start');
is($node->safe_psql('postgres', q{SELECT count(*), bool_and(slot_type = 'logical') FROM pg_replication_slots WHERE plugin = 'pg_derive'}), '1|t', 'one slot');

# ---- lost: the worker is held up by a lock while more WAL is written than may be kept

my $locker = background($node);
$locker->query_safe('BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE; UPDATE accounts SET balance = balance + 1 WHERE id < 100');
$node->safe_psql('postgres', 'CREATE TABLE filler (t text)');
my $lost = 0;
for my $i (1 .. 20)
{
	$node->safe_psql('postgres', q{INSERT INTO filler SELECT repeat(md5(i::text), 20) FROM generate_series(1, 3000) i; SELECT pg_switch_wal(); INSERT INTO history VALUES (1, 1)});
	$node->safe_psql('postgres', 'CHECKPOINT');
	# the worker may have taken notice, and made another slot
	$lost = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'}) > 0 ||
	  slurp_file($node->logfile) =~ /the replication slot has lost required WAL/;
	last if $lost;
}
$locker->query_safe('COMMIT');
$locker->quit;
ok($lost, 'the slot was lost');
# from here on no worker loses its slot by being slow
$node->append_conf('postgresql.conf', 'max_slot_wal_keep_size = -1');
$node->reload;
wait_derived($node, 'views are rebuilt by themselves');
is_exact($node, 'slot lost');
$node->safe_psql('postgres', 'UPDATE accounts SET branch = 2 WHERE id % 50 = 0');
wait_derived($node);
is_exact($node, 'slot lost, afterwards');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'pg_derive' AND wal_status <> 'lost'}), '1', 'one good slot');

# ---- gone while the server was down

$node->safe_psql('postgres', 'DELETE FROM history; UPDATE accounts SET balance = 1 WHERE id = 3');
$node->stop('fast');
for my $dir (glob($node->data_dir . '/pg_replslot/pg_derive*'))
{
	PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $dir);
}
$node->start;
$node->safe_psql('postgres', 'INSERT INTO history VALUES (9, 9)');
wait_derived($node, 'slot removed: views are rebuilt');
is_exact($node, 'slot removed');

# ---- a slot that somebody drops while the worker runs cannot be: it is in use

($rc, $out, $err) = $node->psql('postgres', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE plugin = 'pg_derive'});
isnt($rc, 0, 'a slot in use cannot be dropped');
like($err, qr/is active for PID/, 'and the reason');
$node->safe_psql('postgres', 'UPDATE accounts SET balance = 2 WHERE id = 3');
wait_derived($node);
is_exact($node, 'after the attempt');

# ---- somebody else reads from the slot while the worker is away

my $slot = $node->safe_psql('postgres', q{SELECT slot_name FROM pg_replication_slots WHERE plugin = 'pg_derive'});

sub foreign_reads
{
	my @found = slurp_file($node->logfile) =~ /WARNING: .*somebody else has read from replication slot "$slot"/g;
	return scalar @found;
}

# WAL that concerns no view, until the slot has moved past it
sub idle_traffic
{
	my $lsn = $node->safe_psql('postgres', q{INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 200); SELECT pg_current_wal_insert_lsn()});
	ok($node->poll_query_until('postgres', "SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = '$slot'"),
		'the slot moves on without changes of views');
	$node->safe_psql('postgres', q{INSERT INTO filler VALUES ('a little more')});
	return;
}

for my $mode (qw(fast immediate))
{
	idle_traffic();
	$node->stop($mode);
	$node->start;
	wait_derived($node, "stop $mode");
	$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1 WHERE id < 20');
	$node->stop($mode);
	$node->start;
	wait_derived($node, "stop $mode after changes");
	is_exact($node, "stop $mode after changes");
}
kill_process(worker_pid($node));
comes_back($node);
wait_derived($node, 'kill -9 of the worker');
is(foreign_reads(), 0, 'none of this looks like reading by somebody else');

my $expected = 0;
for my $read ("SELECT count(*) FROM pg_logical_slot_peek_changes('$slot', NULL, NULL)",
	"SELECT count(*) FROM pg_logical_slot_get_changes('$slot', NULL, NULL)",
	"SELECT end_lsn FROM pg_replication_slot_advance('$slot', pg_current_wal_lsn())")
{
	$expected++ unless $read =~ /peek/;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->restart;
	$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 7, branch = 4 WHERE id % 100 = 1; INSERT INTO history SELECT i, 3 FROM generate_series(1, 50) i; DELETE FROM history WHERE account % 10 = 5');
	isnt($node->safe_psql('postgres', $read), '0', $read);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
	$node->restart;
	wait_derived($node, 'afterwards');
	is_exact($node, $read);
	is(foreign_reads(), $expected, 'the log tells');
	$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 7 WHERE id % 100 = 2');
	wait_derived($node);
	is_exact($node, 'the next changes');
	$node->restart;
	wait_derived($node);
	is(foreign_reads(), $expected, 'once is enough');
}

# ---- an idle database does not keep WAL

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION pg_derive; CREATE TABLE t (a int); '
	  . q{SELECT derive.create_view('v', 'SELECT a, count(*) FROM t GROUP BY a'); INSERT INTO t VALUES (1)});
wait_derived($node, 'second database', 'other');
is($node->safe_psql('other', 'SELECT count(*) FROM v'), '1', 'its view');
my $before = $node->safe_psql('postgres', q{SELECT pg_current_wal_insert_lsn()});
$node->safe_psql('postgres', q{INSERT INTO filler SELECT repeat(md5(i::text), 20) FROM generate_series(1, 3000) i; DROP TABLE filler});
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 AND bool_and(confirmed_flush_lsn > '$before') FROM pg_replication_slots WHERE plugin = 'pg_derive'"),
	'there is a slot for each database, and those of idle ones move on');

# ---- dropping databases and the extension

is(($node->psql('postgres', 'DROP DATABASE other'))[0], 0, 'DROP DATABASE');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'pg_derive'}), '1', 'takes its slot along');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION pg_derive; CREATE TABLE t (a int); '
	  . q{SELECT derive.create_view('v', 'SELECT a, count(*) FROM t GROUP BY a'); SELECT derive.wait('v', '180 s')});
is(($node->psql('postgres', 'DROP DATABASE other WITH (FORCE)'))[0], 0, 'DROP DATABASE WITH (FORCE)');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_replication_slots WHERE plugin = 'pg_derive'}), '1', 'takes its slot along');

$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION pg_derive; ROLLBACK');
$node->safe_psql('postgres', 'INSERT INTO history VALUES (10, 10)');
wait_derived($node, 'DROP EXTENSION rolled back');
is_exact($node, 'DROP EXTENSION rolled back');
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM by_branch');
is(($node->psql('postgres', 'DROP EXTENSION pg_derive'))[0], 0, 'DROP EXTENSION with maintained views');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots}), 'no slot is left');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname IN ('derive', 'derive_state')}), '0', 'no schema is left');
is($node->safe_psql('postgres', 'SELECT count(*) FROM by_branch'), $rows, 'the views stay as ordinary materialized views');
is(($node->psql('postgres', 'REFRESH MATERIALIZED VIEW by_branch'))[0], 0, 'which can be refreshed');
is(($node->psql('postgres', 'UPDATE accounts SET balance = 3; DROP MATERIALIZED VIEW by_branch CASCADE'))[0], 0, 'and dropped');

# and come back
$node->safe_psql('postgres', q{CREATE EXTENSION pg_derive; SELECT derive.maintain('joined'); SELECT derive.create_view('again', 'SELECT count(*) FROM accounts')});
wait_derived($node, 'installed again');
is_exact($node, 'installed again');
$node->restart;
wait_derived($node, 'after a restart');

log_is_clean($node);
$node->stop;
done_testing();
