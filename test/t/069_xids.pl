# Transaction numbers come to half of their range, wrap around, and begin another epoch, while the
# server is up and while it is not: views, histories and topics go on from where they are.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('xids', conf => "autovacuum = off\n");
my $id = 0;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q{
CREATE TABLE t (id int PRIMARY KEY, k int, v int);
SELECT derive.create_view('grouped', 'SELECT k, count(*), sum(v) FROM t GROUP BY k');
SELECT derive.create_view('joined', 'SELECT a.id, b.v FROM t a JOIN t b ON b.id = a.k');
SELECT derive.create_view('over', 'SELECT count(*), max(sum) FROM grouped');
SELECT derive.create_view('past', 'history', 't');
SELECT derive.create_topic('events', 'n int')});
# before, somebody who has changed a source may not wait for the topic
wait_derived($node, 'built');

# Transactions of several kinds, some of which are open over a number.
sub change
{
	$id += 10;
	sql(qq{
INSERT INTO t SELECT $id + i, i, i FROM generate_series(1, 10) i;
BEGIN; UPDATE t SET v = v + 1 WHERE id % 3 = 0; SAVEPOINT a; DELETE FROM t WHERE id = $id - 15; ROLLBACK TO a; UPDATE t SET v = v + 2 WHERE k = 4; COMMIT;
BEGIN; DELETE FROM t WHERE id = $id - 14; SELECT derive.append('events', ROW($id)); COMMIT;
BEGIN; UPDATE t SET v = 0; ROLLBACK});
	return;
}

sub is_right
{
	my ($label) = @_;
	wait_derived($node, $label);
	is(sql(q{SELECT string_agg(name || ' ' || state || ' ' || coalesce(error, ''), ', ') FROM derive_state.view_states WHERE state <> 'ready' OR name IN ('grouped', 'joined', 'over') AND oracle(view) <> 0}), '', "$label: exact");
	is(sql('SELECT sum(missing + extra) FROM derive.verify()'), '0', "$label: verify");
	is(sql('SELECT count(*), sum(n), count(DISTINCT event_id) FROM events'), join('|', $id / 10, ($id / 10) * ($id + 10) / 2, $id / 10), "$label: every event, once");
	is(sql(q{SELECT count(*) FROM (SELECT p.version, lag(p.version) OVER (PARTITION BY id ORDER BY lsn, version) AS before FROM past p) s WHERE version <= before}), '0', "$label: versions in order");
	return;
}

# The next transaction number becomes this one, with the server down, once all rows are older than any.
sub jump_once
{
	my ($next, $epoch) = @_;
	# rows of catalogs stay as old as the slot says; it moves by what checkpoints log
	for (1 .. 60)
	{
		change();
		sql('SELECT derive.wait(); CHECKPOINT');
		last if sql('SELECT max(age(catalog_xmin)) < 100000 FROM pg_replication_slots') eq 't';
	}
	$node->safe_psql($_, 'VACUUM FREEZE') for qw(template0 template1 postgres);
	sql('CHECKPOINT');
	$node->stop;
	my $folder = $node->data_dir;
	system_or_bail('pg_resetwal', '-f', '-x', $next, '-e', $epoch, $folder);
	my $file = sprintf '%s/pg_xact/%04X', $folder, int($next / (8192 * 4 * 32));
	unless (-e $file)
	{
		open my $out, '>', $file or die $!;
		print $out "\0" x 262144;
		close $out or die $!;
	}
	$node->start;
	# pg_resetwal has thrown the log away, and with it what the slot would read: it is made anew
	wait_derived($node, "the next transaction is $next");
	return;
}

# By steps that are less than half of the range.
sub jump
{
	my ($next, $epoch) = @_;
	my $now = sql('SELECT pg_current_xact_id()') % 2**32;
	for (; $next - $now > 1.9e9; )
	{
		$now += 1.8e9;
		jump_once($now, $epoch);
	}
	jump_once($next, $epoch);
	return;
}

sql(q{UPDATE pg_database SET datallowconn = true WHERE datname = 'template0'});
change() for 1 .. 3;
is_right('at the start');

# a number, and its epoch, that few transactions come past while the server is up
my $offset = -s $node->logfile;
for my $to ([ 'half of the range', 2**31 - 65536, 0 ], [ 'the end of the range', 2**32 - 65536, 0 ], [ 'the end of another epoch', 2**32 - 65536, 5 ])
{
	my ($label, $next, $epoch) = @$to;
	jump($next, $epoch);
	change();
	is_right("before $label");
	# some thousand numbers at once, by subtransactions; and an open transaction over the step
	my $open = background($node);
	$open->query_safe("BEGIN; INSERT INTO t VALUES (-1, 3, 100)");
	my $before = sql('SELECT pg_current_xact_id()');
	for (1 .. 14)
	{
		sql(q{DO $$ BEGIN FOR i IN 1 .. 5000 LOOP BEGIN INSERT INTO t VALUES (1000000, 1, 1); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$});
	}
	change();
	cmp_ok(int(sql('SELECT pg_current_xact_id()') / 2**31), '>', int($before / 2**31), "past $label");
	wait_derived($node, "past $label");
	$open->query_safe('COMMIT');
	$open->quit;
	change();
	is_right("past $label");
	sql('DELETE FROM t WHERE id = -1');
	kill('TERM', worker_pid($node));
	change();
	is_right("past $label, another worker");
	$node->stop('immediate');
	$node->start;
	change();
	is_right("past $label, after a crash");
}

log_is_clean($node);
$node->stop;
done_testing();
