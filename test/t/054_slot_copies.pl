# Copies of the slot on a standby, from 17 on: when one can begin although nothing happens, and that none is
# ahead of the tables, unless the standby stands still; what a promotion does then.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $primary = derive_node('primary', conf => "hot_standby_feedback = on\nautovacuum = off\n");
plan skip_all => 'slots are copied from version 17 on' if $primary->pg_version < 17;
plan skip_all => 'a release build has no debug points' unless has_debug_points($primary);

$primary->safe_psql('postgres', q{
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
SELECT derive.create_view('v', 'SELECT v % 10 AS g, count(*) FROM t GROUP BY 1');
SELECT derive.create_view('h', 'history', '{t}');
SELECT derive.create_topic('events', 'x int');
SELECT derive.wait();
SELECT pg_create_physical_replication_slot('standby', true);
});
sub one
{
	my ($sql) = @_;
	return $primary->safe_psql('postgres', $sql);
}

is($primary->safe_psql('postgres', q{SELECT failover FROM pg_replication_slots WHERE plugin = 'pg_derive'}), 't', 'the slot is to be copied');

# ---- nothing happens

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base');
$standby->append_conf('postgresql.conf', "primary_conninfo = '" . ($primary->connstr('postgres') . ' application_name=standby') =~ s/'/''/gr
	  . "'\nprimary_slot_name = 'standby'\n");
$standby->set_standby_mode;
$standby->start;
$primary->wait_for_catchup('standby', 'replay', $primary->lsn('insert'));
# the slot has no log to let go, and transaction ids are used that tell no worker anything
for my $i (1 .. 100)
{
	last if one(q{SELECT pg_walfile_name(restart_lsn) = pg_walfile_name(pg_current_wal_lsn()) FROM pg_replication_slots WHERE plugin = 'pg_derive'}) eq 't';
	one('UPDATE t SET v = v + 1 WHERE id = 1; SELECT derive.wait(); SELECT pg_log_standby_snapshot()');
	usleep(300_000);
}
$primary->safe_psql('template1', 'BEGIN; SELECT pg_current_xact_id(); ROLLBACK;' x 50);
$primary->wait_for_catchup('standby', 'replay', $primary->lsn('insert'));
$standby->append_conf('postgresql.conf', 'sync_replication_slots = on');
$standby->restart;
my $started = time;
ok(slot_is_copied($standby), 'the slot is copied');
diag sprintf 'copied after %.1f s', time - $started;

# ---- a standby that receives nothing more, from between what a batch covers and its commit

my $confirmed = q{(SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE plugin = 'pg_derive')};

# nothing is confirmed from now on but what is written here, and all before it is
my $holder = background($primary);
$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-view-applied'))});
set_debug_point($primary, 'batch-view-applied:wait,beat:skip');
one('UPDATE t SET v = v WHERE id = 1');
waits_at($primary, 'batch-view-applied');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
wait_derived($primary, 'the batch before it');
ok($primary->poll_query_until('postgres', "SELECT $confirmed >= max(lsn) FROM derive_state.position"), 'earlier confirmations');

$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-view-applied'))});
my ($xid) = one(q{BEGIN; UPDATE t SET v = v + 1 WHERE id <= 10; SELECT derive.append('events', ROW(1)); SELECT pg_current_xact_id()::xid; COMMIT}) =~ /(\d+)$/;
waits_at($primary, 'batch-view-applied');
$primary->wait_for_catchup('standby', 'flush', one('SELECT pg_current_wal_insert_lsn()'));
my $receiver = $standby->safe_psql('postgres', 'SELECT pid FROM pg_stat_wal_receiver');
my $stood_at = one("SELECT $confirmed");
kill('STOP', $receiver);
set_debug_point($primary, 'beat:skip');
my $released = time;
$holder->query_safe('SELECT pg_advisory_unlock_all()');
wait_derived($primary, 'the batch is committed');
ok($primary->poll_query_until('postgres', qq{SELECT age(xmin) < age('$xid'::xid) FROM pg_replication_slots WHERE plugin = 'pg_derive'}), 'and on our disk')
  or diag(one('SELECT slot_name, xmin FROM pg_replication_slots'));
ok($primary->poll_query_until('postgres', "SELECT $confirmed > '$stood_at'"), 'the slot does not wait for ever');
cmp_ok(time - $released, '>=', 10, 'but for the standby');
for my $i (1 .. 600)
{
	last if $standby->safe_psql('postgres', "SELECT $confirmed > '$stood_at'") eq 't';
	# who copies slots sleeps for up to half a minute
	$standby->reload;
	usleep(100_000);
}
is($standby->safe_psql('postgres', "SELECT $confirmed > '$stood_at'"), 't', 'the standby copies it, as the log is there that it has confirmed');
$holder->quit;
$primary->kill9;
my $offset = -s $standby->logfile;
# what was sent to it meanwhile it never reads
kill_process($receiver);
comes_back($standby);
$standby->promote;
wait_derived($standby, 'promoted');
is_exact_but_topics($standby, 'promoted');
my $log = slurp_file($standby->logfile, $offset);
like($log, qr/WARNING:  replication slot "pg_derive_\d+" was synchronized further than the maintained views of database "postgres" were replicated, they are computed anew/, 'the log says why');
like($log, qr/WARNING:  the log from \S+ to \S+ \(\d+ bytes\) was not read.*\n.*Versions of rows .*: "h"\.\n\tEvents .* are lost: "events"/, 'and what is lost');
$standby->safe_psql('postgres', 'UPDATE t SET v = v + 1 WHERE id < 50');
wait_derived($standby, 'it goes on');
is_exact_but_topics($standby, 'it goes on');
is($standby->safe_psql('postgres', q{SELECT synced FROM pg_replication_slots WHERE plugin = 'pg_derive'}), 'f', 'the slot is no copy any more');
log_is_clean($_) for $primary, $standby;
$standby->stop;
done_testing();

sub is_exact_but_topics
{
	my ($node, $label) = @_;
	is($node->safe_psql('postgres', q{SELECT rows_that_differ('v')}), 0, "$label: the view equals its query");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), 0, "$label: derive.verify()");
	return;
}
