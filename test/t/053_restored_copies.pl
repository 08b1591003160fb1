# Copies of a server that run beside it: with and without the replication slot, as of the end of the
# log or of a point in time.  Their views are right, whatever the slot's file says, and the slot of the origin
# is not touched.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

# The tests say when VACUUM comes.
my $origin = derive_node('origin', conf => "autovacuum = off\nautovacuum_naptime = 1d\n");
$origin->enable_archiving;
$origin->restart;

# keyed: old rows are read from the table, so that they must be there.
$origin->safe_psql('postgres', q{
CREATE TABLE keyed (id int PRIMARY KEY, g int, v int);
CREATE TABLE side (g int PRIMARY KEY, name text);
INSERT INTO keyed SELECT i, i % 5, i FROM generate_series(1, 200) i;
INSERT INTO side SELECT i, 'name ' || i FROM generate_series(0, 4) i;
SELECT derive.create_view('groups', 'SELECT g, count(*) AS n, sum(v) FROM keyed GROUP BY g');
SELECT derive.create_view('named', 'SELECT s.name, k.id, k.v FROM keyed k JOIN side s USING (g)');
});
wait_derived($origin, 'built');

my $step = 0;

sub change
{
	my ($node) = @_;
	$step++;
	$node->safe_psql('postgres', qq{
		UPDATE keyed SET v = v + 1, g = (g + 1) % 5 WHERE id % 7 = $step % 7;
		DELETE FROM keyed WHERE id = $step;
		INSERT INTO keyed VALUES (1000 + $step, $step % 5, $step);
		UPDATE side SET name = name || 'x' WHERE g = $step % 5;});
	return;
}

# Whose it is, and not where it stands: its worker moves it on whenever the server logs what runs.  It holds old row
# versions, from a moment after the worker has begun.
sub slot
{
	my ($node) = @_;
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_replication_slots WHERE plugin = 'pg_derive' AND xmin IS NOT NULL}) or die 'nothing is held';
	return $node->safe_psql('postgres', q{SELECT slot_name, active_pid FROM pg_replication_slots WHERE plugin = 'pg_derive'});
}

# The files of the running server, with its slots, as a snapshot of the file system or rsync has them.
sub snapshot
{
	my ($name) = @_;
	my $target = $origin->backup_dir . "/$name";
	my $session = background($origin);
	$session->query_safe("SELECT pg_backup_start('$name', true)");
	PostgreSQL::Test::RecursiveCopy::copypath($origin->data_dir, $target,
		filterfn => sub { my ($file) = @_; return $file !~ m{^(?:log|pg_wal/.+|postmaster\.(?:pid|opts))$}; });
	my $label = $session->query('SELECT labelfile FROM pg_backup_stop()');	# a notice is no failure
	$session->quit;
	append_to_file("$target/backup_label", "$label\n");
	return;
}

# A copy that ends where the log did, or at a restore point.
sub restored
{
	my ($name, $backup, $point) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);
	$copy->init_from_backup($origin, $backup, has_restoring => 1, standby => 0);
	$copy->append_conf('postgresql.conf', "archive_mode = off\nrecovery_target_name = '$point'\nrecovery_target_action = promote\n");
	return $copy;
}

# It starts, and goes on from what it can rely on.
sub starts_right
{
	my ($copy, $pattern, $label) = @_;
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery';
	wait_derived($copy, "$label: the views follow");
	is_exact($copy, $label);
	change($copy);
	wait_derived($copy, "$label: they go on");
	is_exact($copy, "$label, changed");
	like(slurp_file($copy->logfile), $pattern, "$label: the log says how");
	return;
}

# ---- files of a server that was stopped, with the slot: the copy is what the origin is

$origin->stop;
my $twin = PostgreSQL::Test::Cluster->new('twin');
PostgreSQL::Test::RecursiveCopy::copypath($origin->data_dir, $origin->backup_dir . '/stopped');
$twin->init_from_backup($origin, 'stopped');
$twin->append_conf('postgresql.conf', "archive_mode = off\n");
$origin->start;
change($origin);
wait_derived($origin, 'the origin goes on');
my $before = slot($origin);
starts_right($twin, qr/pg_derive worker for database "postgres" started/, 'a twin');
unlike(slurp_file($twin->logfile), qr/computed anew/, 'it goes on with the slot that it has');
is(slot($origin), $before, 'the slot of the origin is its own');
$twin->safe_psql('postgres', 'DROP EXTENSION pg_derive CASCADE');
ok($twin->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'its own slot is dropped');
is(slot($origin), $before, 'and not that of the origin');
$twin->stop;

# ---- a base backup, which has no slots

$origin->backup('base');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($origin, 'base');
$restored->append_conf('postgresql.conf', "archive_mode = off\n");
$before = slot($origin);
starts_right($restored, qr/WARNING:  all maintained views of database "postgres" are computed anew: the replication slot does not exist/, 'a base backup');
is(slot($origin), $before, 'the slot of the origin is its own');
$restored->stop;

# ---- a snapshot with the slot, and its hold; the log has what the origin did when nothing was held

like(slot($origin), qr/^pg_derive_\d+\|\d+$/, 'the slot holds old row versions');
snapshot('with_slot');
change($origin);
wait_derived($origin, 'after the snapshot');
$origin->append_conf('postgresql.conf', "max_worker_processes = 2\npg_derive.max_hold = 1s\n");
my $offset = -s $origin->logfile;
$origin->restart;
ok($origin->poll_query_until('postgres', q{SELECT xmin IS NULL FROM pg_replication_slots WHERE plugin = 'pg_derive'}), 'old row versions are let go');
change($origin);
$origin->safe_psql('postgres', 'VACUUM keyed, side');
$origin->safe_psql('postgres', q{SELECT pg_create_restore_point('vacuumed')});
$origin->append_conf('postgresql.conf', "max_worker_processes = 24\npg_derive.max_hold = 30min\n");
$origin->restart;
wait_derived($origin, 'the origin goes on');
is_exact($origin, 'the origin');
change($origin);
wait_derived($origin, 'the origin goes on again');
my $segment = $origin->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$origin->safe_psql('postgres', 'SELECT pg_switch_wal(); CHECKPOINT');
$origin->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die 'archiver';
my $reason = qr/WARNING:  all maintained views of database "postgres" are computed anew: the server was promoted or restored, and no replication slot came with it/;

$before = slot($origin);
my $earlier = restored('earlier', 'with_slot', 'vacuumed');
ok(-e $_, 'the copy has a slot') for glob($earlier->data_dir . '/pg_replslot/pg_derive_*/state');
starts_right($earlier, $reason, 'a point in time after the slot');
is(slot($origin), $before, 'the slot of the origin is its own');
$earlier->stop;

# the slot's file is from later than the point in time: it would skip what comes until then
my $later = restored('later', 'with_slot', 'vacuumed');
my ($own) = glob($later->data_dir . '/pg_replslot/pg_derive_*');
rmtree($own);
my ($newer) = glob($origin->data_dir . '/pg_replslot/pg_derive_*');
$later->append_conf('postgresql.conf', "hot_standby = off\n");
PostgreSQL::Test::RecursiveCopy::copypath($newer, $own);
starts_right($later, $reason, 'a point in time before the slot');
is(slot($origin), $before, 'the slot of the origin is its own');
log_is_clean($_) for $origin, $twin, $restored, $earlier, $later;
$later->stop;
$origin->stop;
done_testing();
