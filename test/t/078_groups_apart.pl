# Groups of views beyond the moves between them: what happens to one does not happen to the
# others; a dump keeps them; DROP DATABASE, copies and the places in shared memory.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('apart', conf => "pg_derive.max_databases = 5\nmax_replication_slots = 16\n");
$node->safe_psql('postgres', 'CREATE DATABASE shop');
create_extension($node, 'shop');
$node->safe_psql('shop', q{
CREATE TABLE t (id int PRIMARY KEY, k int, x int);
CREATE TABLE no_key (k int, x int);
INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 500) i;
INSERT INTO no_key SELECT i % 7, i FROM generate_series(1, 500) i;
SELECT derive.create_group('first "one"');
SELECT derive.create_group('second');
SELECT derive.create_view('d', 'SELECT k, count(*), sum(x) FROM t GROUP BY k');
SET pg_derive.default_group = 'first "one"';
SELECT derive.create_view('a', 'SELECT k, max(x), count(*) FROM no_key GROUP BY k');
SELECT derive.create_view('over_a', 'SELECT sum(count) FROM a');
SET pg_derive.default_group = 'second';
SELECT derive.create_view('b', 'SELECT t.id, n.x FROM t JOIN no_key n ON n.x = t.id');
});

sub write_rows
{
	$node->safe_psql('shop', q{
		UPDATE t SET x = x + 1 WHERE id % 5 = 0; UPDATE no_key SET x = x + 1000 WHERE k = 3; UPDATE no_key SET x = x - 1000 WHERE k = 3;
		DELETE FROM no_key WHERE x = (SELECT max(x) FROM no_key)});
	return;
}

sub all_right
{
	my ($label, $db) = @_;
	wait_derived($node, "$label: caught up", $db // 'shop');
	is_exact($node, $label, $db // 'shop');
	return;
}

sub slot_of
{
	my ($group) = @_;
	my $sql = "SELECT slot FROM derive.worker WHERE group_name = '$group' AND slot IS NOT NULL";
	$node->poll_query_until('shop', "SELECT EXISTS ($sql)") or die;
	return $node->safe_psql('shop', $sql);
}

# Until slots other than this one keep less of the log than would make anybody ask them for it.  They find out what
# they can do without with each checkpoint, when a commit has them read on.
sub let_others_read
{
	my ($slot) = @_;
	for (1 .. 600)
	{
		$node->safe_psql('shop', 'CHECKPOINT; SELECT pg_current_xact_id()');
		return if $node->safe_psql('shop', qq{SELECT max(pg_current_wal_insert_lsn() - restart_lsn) < 4 * 1024 * 1024 FROM pg_replication_slots WHERE slot_name <> '$slot'}) eq 't';
		usleep(100_000);
	}
	die 'the others do not read';
}

wait_derived($node, 'built', 'shop');
write_rows();
all_right('three groups');
is($node->safe_psql('shop', 'SELECT count(DISTINCT pid), count(DISTINCT slot) FROM derive.worker'), '3|3', 'three workers and slots');
is($node->safe_psql('shop', q{SELECT relreplident FROM pg_class WHERE oid = 'no_key'::regclass}), 'f', 'replica identity');

# A table that two groups read keeps the identity that the other one needs.
$node->safe_psql('shop', 'DROP MATERIALIZED VIEW b');
usleep(1_500_000);
write_rows();
is($node->safe_psql('shop', q{SELECT relreplident FROM pg_class WHERE oid = 'no_key'::regclass}), 'f', 'one group needs it still');
all_right('one view less');
$node->safe_psql('shop', q{SET pg_derive.default_group = 'second'; SELECT derive.create_view('b', 'SELECT t.id, n.x FROM t JOIN no_key n ON n.x = t.id')});
all_right('the group has a view again');

# The slot of one group is lost: only its views are computed anew.
for my $how ('dropped', 'too much of the log')
{
	my $offset = -s $node->logfile;
	my $slot = slot_of('second');
	my $others = $node->safe_psql('shop', q{SELECT array_agg(pid ORDER BY pid) FROM derive.worker WHERE group_name <> 'second'});
	if ($how eq 'dropped')
	{
		$node->safe_psql('shop', qq{SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = '$slot'});
		for (1 .. 100)
		{
			my ($rc) = $node->psql('shop', "SELECT pg_drop_replication_slot('$slot')");
			last if $rc == 0;
			$node->psql('shop', qq{SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE slot_name = '$slot'});
		}
	}
	else
	{
		my $pid = stop_worker($node, $node->safe_psql('shop', q{SELECT pid FROM derive.worker WHERE group_name = 'second'}));
		let_others_read($slot);
		$node->append_conf('postgresql.conf', 'pg_derive.max_wal_backlog = 8');
		$node->reload;
		$node->safe_psql('shop', 'CREATE TABLE other (i int, t text)');
		do
		{
			$node->safe_psql('shop', q{INSERT INTO other SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i});
			let_others_read($slot);
		} until $node->safe_psql('shop', qq{SELECT coalesce(max(pg_current_wal_insert_lsn() - restart_lsn) > 8.5 * 1024 * 1024, true) FROM pg_replication_slots WHERE slot_name = '$slot'}) eq 't';
		$node->wait_for_log(qr/is given up, they will be computed anew/, $offset);
		$node->safe_psql('shop', 'DROP TABLE other');
		let_go_on($pid);
		$node->wait_for_log(qr/all maintained views of group "second" of database "shop" are computed anew: /, $offset);
		$node->append_conf('postgresql.conf', 'pg_derive.max_wal_backlog = 0');
		$node->reload;
	}
	write_rows();
	my $log = log_says($node, qr/all maintained views of group "second" of database "shop" are computed anew: /, $offset, "$how: the log says so");
	unlike($log, qr/all maintained views of (?:database|group "first)/, "$how: the others go on");
	all_right($how);
	is($node->safe_psql('shop', q{SELECT array_agg(pid ORDER BY pid) FROM derive.worker WHERE group_name <> 'second'}), $others, "$how: by the same processes")
	  if $how eq 'dropped';
}

# A dump has the groups, and who restores it gets them.
my $file = "$PostgreSQL::Test::Utils::tmp_check/dump";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('shop') ], 'dump');
$node->append_conf('postgresql.conf', 'pg_derive.max_databases = 12');
$node->restart;
all_right('restarted');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-j', '3', '-d', $node->connstr('copy'), $file ], 'restore');
all_right('restored', 'copy');
is($node->safe_psql('copy', q{SELECT view, group_name FROM derive.views ORDER BY view::text}), qq{a|first "one"\nb|second\nd|default\nover_a|first "one"}, 'each is in its group')
  or diag($node->safe_psql('copy', 'SELECT * FROM pg_seclabels'));

# A copy of the files of the database has them, too, and goes with all of its slots.
$node->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE shop');
all_right('a copy', 'twin');
all_right('its template');
is($node->safe_psql('twin', 'SELECT count(DISTINCT slot) FROM derive.worker'), '3', 'three slots of its own');
my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'twin'});
$node->safe_psql('postgres', 'ALTER DATABASE twin RENAME TO other_twin');
all_right('renamed', 'other_twin');
my ($rc, $out, $err);
for (1 .. 50)
{
	# slots of logical decoding are in the way of DROP DATABASE as long as they are active
	($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE other_twin');
	last if $rc == 0;
	usleep(200_000);
}
is($rc, 0, 'DROP DATABASE') or diag($err);
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ '^pg_derive_${oid}(_|\$)'"), '0', 'no slot is left');

# No place is left for another group.
$node->append_conf('postgresql.conf', 'pg_derive.max_databases = 3');
$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->restart;
all_right('no place too many');
$node->safe_psql('shop', q{SELECT derive.create_group('third')});
($rc, $out, $err) = $node->psql('shop', q{SELECT derive.move('d', 'third')});
like($err, qr/ERROR:  too many databases with maintained views/, 'no place for another group');
is($node->safe_psql('shop', q{SELECT moving_away FROM derive.groups WHERE group_name = 'default'}), '0', 'it stays');
all_right('at the end');

# The extension goes with all of it.
$node->safe_psql('shop', 'DROP EXTENSION pg_derive CASCADE');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name ~ '^pg_derive_'}) or die;
is($node->safe_psql('shop', q{SELECT relreplident FROM pg_class WHERE oid = 'no_key'::regclass}), 'd', 'identity as it was');

log_is_clean($node);
$node->stop;
done_testing();
