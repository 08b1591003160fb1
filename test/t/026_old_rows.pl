# Tables as they were before a batch are read from old row versions.  That is right
# under four conditions (src/base/past.c), and if one is missing nothing says so: so
# each scenario runs twice, once with the precaution left out by a debug point, to
# show that it would be noticed, and once as it is.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('old_rows', conf => "log_min_messages = debug1\nautovacuum = off\nfsync = off\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);
my $holder = background($node);
my $writer = background($node);

my $lost = qr/its old rows could not be read/;
my $recomputed = qr/recomputing (?:an operator of )?view|undoing changes of a join/;
my $noticed = qr/is computed anew because its contents were not as expected|debug point|missing chunk|could not open|maintenance of view .* has failed/;

# Tables with keys, and views over them, new for each run.
sub fresh
{
	$node->safe_psql('postgres', q{
SET client_min_messages = warning;
DROP TABLE IF EXISTS a, b CASCADE;
CREATE TABLE a (id int PRIMARY KEY, k int, v int) WITH (fillfactor = 50);
CREATE TABLE b (id int PRIMARY KEY, k int, w int) WITH (fillfactor = 50);
INSERT INTO a SELECT i, i, 0 FROM generate_series(1, 5000) i;
INSERT INTO b SELECT i, (i + 1) / 2, 0 FROM generate_series(1, 5000) i;
VACUUM ANALYZE a;
VACUUM ANALYZE b;
SELECT derive.create_view('plain', 'SELECT id, v FROM a');
SELECT derive.create_view('joined', 'SELECT a.id, a.v, b.id AS b, b.w FROM a JOIN b ON b.k = a.k');
SELECT derive.create_view('sums', 'SELECT a.v, count(*), sum(b.w), min(c.v) FROM a JOIN b ON b.k = a.k JOIN a c ON c.id = b.id GROUP BY a.v');
SELECT derive.create_view('over', 'SELECT p.v, count(*), sum(b.w) FROM plain p JOIN b ON b.id = p.id GROUP BY p.v');
});
	wait_derived($node, 'built');
	# so that the position before the next batch is that of a later transaction
	$node->safe_psql('postgres', 'UPDATE a SET v = v + 1 WHERE id = 4000; UPDATE b SET w = w + 1 WHERE id = 4000');
	wait_derived($node, 'first batch');
	return;
}

# What there is to see of an old state that was not right.
sub damage
{
	my ($offset) = @_;
	my $wrong = $node->safe_psql('postgres', q{
WITH o AS MATERIALIZED (SELECT view, oracle(view) AS rows FROM derive.views) SELECT string_agg(view || ': ' || rows, ', ') FROM o WHERE rows <> 0});
	my @lines = grep { /$noticed/ } split /\n/, slurp_file($node->logfile, $offset);
	return join("\n", ($wrong ? $wrong : ()), @lines);
}

# $run->($precaution) with it left out, and with it.  Where old rows cannot be had the
# second run ends with the announced fall-back, otherwise without.
sub both_ways
{
	my ($precaution, $label, $fallback, $run) = @_;
	for my $skip ($precaution, '')
	{
		set_debug_point($node, $skip ? "$skip:skip" : '');
		fresh();
		my $offset = -s $node->logfile;
		$run->($skip ? "$skip:skip" : '');
		wait_derived($node, "$label: caught up");
		my $damage = damage($offset);
		my $log = slurp_file($node->logfile, $offset);
		if ($skip)
		{
			isnt($damage, '', "$label: without the precaution it is wrong") or diag($log);
			note($damage);
			next;
		}
		is($damage, '', "$label: right");
		is_exact($node, $label);
		like($log, $fallback, "$label: falls back") if $fallback;
		unlike($log, $recomputed, "$label: by old rows") unless $fallback;
	}
	return;
}

both_ways('past-xmin', 'a transaction that ran when a builder took its snapshot, and at no batch', undef, sub {
	my ($skip) = @_;
	my @points = ('build-tracked:wait', $skip ? $skip : ());

	# its subtransactions are not noted from the log, so they are looked up
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-tracked'))});
	set_debug_point($node, join(',', @points));
	$node->safe_psql('postgres', q{SELECT derive.create_view('young', 'SELECT id, v, k FROM a')});
	waits_at($node, 'build-tracked');
	my $worker = stop_worker($node);
	$writer->query_safe('BEGIN; SAVEPOINT s; UPDATE a SET v = 100 WHERE id <= 10; RELEASE s; SAVEPOINT s; DELETE FROM a WHERE id = 11');
	# a later one is complete, so that the snapshot must say that this one is not
	$node->safe_psql('postgres', 'UPDATE a SET v = v + 1 WHERE id = 4001');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	$node->poll_query_until('postgres', q{SELECT state = 'c' FROM derive_state.views WHERE relid = 'young'::regclass}) or die 'not built';
	$writer->query_safe('COMMIT');
	let_go_on($worker);
});

both_ways('young-keys', 'REINDEX CONCURRENTLY of a key', $lost, sub {
	my $worker = stop_worker($node);
	$node->safe_psql('postgres', 'DELETE FROM a WHERE id <= 10');
	$node->safe_psql('postgres', 'UPDATE a SET id = id + 10000 WHERE id BETWEEN 11 AND 20');
	$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY a_pkey');
	let_go_on($worker);
});

both_ways('young-indexes', 'CREATE INDEX CONCURRENTLY', undef, sub {
	my $worker = stop_worker($node);
	$node->safe_psql('postgres', 'UPDATE a SET v = 7 WHERE id <= 10; DELETE FROM b WHERE k <= 5; UPDATE b SET k = k + 1 WHERE k BETWEEN 6 AND 10');
	$node->safe_psql('postgres', 'CREATE INDEX CONCURRENTLY b_k ON b (k)');
	$node->safe_psql('postgres', 'ANALYZE b');
	let_go_on($worker);
});

both_ways('young-indexes', 'duplicates deleted, then a unique index', undef, sub {
	# while somebody may see the row that fresh() updated in place, PostgreSQL itself does not use a new index
	$node->poll_query_until('postgres', q{SELECT xmin::text::bigint > (SELECT max(xmin::text::bigint) FROM b)
		FROM pg_replication_slots WHERE plugin = 'pg_derive'}) or die 'old rows are held';
	my $worker = stop_worker($node);
	$node->safe_psql('postgres', 'UPDATE a SET v = 7 WHERE id <= 300; DELETE FROM b WHERE id % 2 = 0');
	$node->safe_psql('postgres', 'CREATE UNIQUE INDEX b_k ON b (k)');
	$node->safe_psql('postgres', 'ANALYZE b');
	let_go_on($worker);
});

both_ways('past-subtransactions', 'a crash, and a subtransaction that ran before', undef, sub {
	$writer->query_safe('BEGIN; UPDATE a SET v = 50 WHERE id = 9; SAVEPOINT s; UPDATE a SET v = 100 WHERE id <= 8; DELETE FROM b WHERE id = 11; RELEASE s');
	for my $i (1, 2)
	{
		$node->safe_psql('postgres', "BEGIN; UPDATE a SET v = 5 WHERE id = 20 + $i; SAVEPOINT s; UPDATE a SET v = 60 WHERE id = 30 + $i; PREPARE TRANSACTION 'prepared $i'");
	}
	$node->safe_psql('postgres', 'UPDATE a SET v = 1 WHERE id = 3000');
	wait_derived($node, 'a batch while it runs');
	my $worker = stop_worker($node);
	$writer->query_safe('COMMIT');
	$node->safe_psql('postgres', "COMMIT PREPARED 'prepared 1'");
	$_->quit for $holder, $writer;
	$node->stop('immediate');
	start_again($node);
	($holder, $writer) = (background($node), background($node));
	wait_derived($node, 'after the crash');
	$node->safe_psql('postgres', 'UPDATE b SET w = w + 1 WHERE id <= 40');
	wait_derived($node, 'a batch while one is still prepared');
	$node->safe_psql('postgres', "COMMIT PREPARED 'prepared 2'");
});

both_ways('hold', 'VACUUM before the batch', undef, sub {
	# until the slot has moved on once
	my $xid = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
	$node->poll_query_until('postgres', "WITH i AS (UPDATE a SET v = v + 1 WHERE id = 4001) SELECT xmin::text::bigint > $xid FROM pg_replication_slots")
	  or die 'the hold does not move';
	wait_derived($node, 'moved');
	my $worker = stop_worker($node);
	$node->safe_psql('postgres', 'DELETE FROM a WHERE id <= 10');
	$node->safe_psql('postgres', 'UPDATE a SET id = id + 10000, v = 3 WHERE id BETWEEN 11 AND 20');
	$node->safe_psql('postgres', 'VACUUM (FREEZE) a');
	let_go_on($worker);
});

SKIP:
{
	skip 'only 18 and later remove self-joins', 1 if $node->pg_version < 18;
	both_ways('self-joins', 'a table joined with itself by its key', undef, sub {
		$node->safe_psql('postgres', q{SELECT derive.create_view('self', 'SELECT x.id, x.v, y.v AS y, b.w FROM a x JOIN b ON b.id = x.id JOIN a y ON y.id = x.id')});
		wait_derived($node, 'self-join');
		my $worker = stop_worker($node);
		$node->safe_psql('postgres', 'UPDATE a SET v = 7 WHERE id <= 10; UPDATE b SET w = 8 WHERE id <= 10');
		let_go_on($worker);
	});
}

# An index that was too young for one batch serves the next one.
set_debug_point($node, '');
fresh();
my $worker = stop_worker($node);
my $offset = -s $node->logfile;
$node->safe_psql('postgres', 'UPDATE a SET v = 7 WHERE id <= 10; UPDATE b SET k = k + 1 WHERE k <= 10');
$node->safe_psql('postgres', 'CREATE INDEX CONCURRENTLY b_k ON b (k)');
$node->safe_psql('postgres', 'ANALYZE b');
let_go_on($worker);
wait_derived($node, 'young index');
like(slurp_file($node->logfile, $offset), qr/index "public[.]b_k" is younger than what is read/, 'a young index is left out');
ok($node->poll_query_until('postgres', q{WITH u AS (UPDATE a SET v = v + 1 WHERE id = 7)
	SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelid = 'b_k'::regclass}), 'and used later');
wait_derived($node, 'older index');
is_exact($node, 'older index');

# What needs no lock that the batch holds, begun in the middle of one.
for my $sql ('REINDEX TABLE CONCURRENTLY a', 'CREATE INDEX CONCURRENTLY b_k ON b (k)')
{
	fresh();
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-decoded'))});
	set_debug_point($node, 'batch-decoded:wait');
	$node->safe_psql('postgres', 'UPDATE a SET v = 7 WHERE id <= 10; DELETE FROM a WHERE id BETWEEN 11 AND 15; DELETE FROM b WHERE k <= 5; UPDATE b SET k = k + 1 WHERE k BETWEEN 6 AND 10');
	waits_at($node, 'batch-decoded');
	$offset = -s $node->logfile;
	$writer->{stdin} .= "$sql;\n";
	$writer->{run}->pump_nb;
	$node->poll_query_until('postgres', qq{SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE query LIKE '$sql%'}) or die 'does not wait';
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	set_debug_point($node, '');
	$writer->query_safe('SELECT 1');
	wait_derived($node, "in a batch: $sql");
	is(damage($offset), '', "in a batch: $sql: right");
	$node->safe_psql('postgres', 'UPDATE a SET v = 9 WHERE id BETWEEN 5 AND 20; DELETE FROM b WHERE k = 8');
	wait_derived($node, "after it: $sql");
	is_exact($node, "after it: $sql");
}

# Nothing holds: the fall-back, then old rows again.
fresh();
$node->safe_psql('postgres', q{ALTER SYSTEM SET pg_derive.old_rows = log; SELECT pg_reload_conf()});
$node->poll_query_until('postgres', q{WITH i AS (UPDATE a SET v = v + 1 WHERE id = 4002) SELECT xmin IS NULL FROM pg_replication_slots}) or die 'still held';
$worker = stop_worker($node);
$offset = -s $node->logfile;
$node->safe_psql('postgres', q{ALTER SYSTEM RESET pg_derive.old_rows; SELECT pg_reload_conf()});
$node->safe_psql('postgres', 'DELETE FROM a WHERE id <= 10; UPDATE b SET w = 5 WHERE id < 100');
$node->safe_psql('postgres', 'VACUUM a');
let_go_on($worker);
wait_derived($node, 'not held');
is_exact($node, 'not held');
like(slurp_file($node->logfile, $offset), $recomputed, 'not held: falls back');
$offset = -s $node->logfile;
$worker = stop_worker($node);
$node->safe_psql('postgres', 'DELETE FROM a WHERE id <= 20; UPDATE b SET w = 6 WHERE id < 100');
$node->safe_psql('postgres', 'VACUUM a');
let_go_on($worker);
wait_derived($node, 'held again');
is_exact($node, 'held again');
unlike(slurp_file($node->logfile, $offset), $recomputed, 'held again: by old rows');

# A view that stands still: its position is older than that of the others, and held
# for it, also across a crash, until it is too old.
for my $age (0, 500)
{
	fresh();
	$node->safe_psql('postgres', 'ALTER SYSTEM SET pg_derive.max_hold_age = 0; SELECT pg_reload_conf()');
	my $label = $age ? 'stood still for too long' : 'stood still';
	$offset = -s $node->logfile;
	for my $crash (0 .. ($age ? 0 : 1))
	{
		$writer->query_safe('BEGIN; UPDATE a SET v = v + 100 WHERE id = 2000; SAVEPOINT s; UPDATE a SET v = v + 200 WHERE id BETWEEN 2001 AND 2010');
		$node->safe_psql('postgres', 'UPDATE a SET v = v + 1 WHERE id = 3000');
		wait_derived($node, "$label: position of a moment");
		$holder->query_safe('BEGIN; CREATE INDEX joined_lock ON joined (id); CREATE INDEX plain_lock ON plain (id)');
		$node->safe_psql('postgres', 'UPDATE a SET v = 3, k = -k WHERE id <= 10; DELETE FROM a WHERE id BETWEEN 11 AND 20; UPDATE b SET w = w + 1, k = k + 1 WHERE id <= 30');
		$node->safe_psql('postgres', q{SELECT derive.wait('sums', timeout => '180 s')});
		derive_wait_state($node, 'joined', 'waiting', "$label: it does");
		$writer->query_safe('COMMIT');
		for my $i (1 .. 40)
		{
			$node->safe_psql('postgres', "UPDATE a SET v = v + 1 WHERE id IN ($i, 1000 + $i)");
			$node->safe_psql('postgres', q{SELECT derive.wait('sums', timeout => '180 s')}) if $i % 4 == 0;
		}
		if ($age)
		{
			$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1..600 LOOP BEGIN UPDATE a SET v = v + 1 WHERE id = 3100; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$');
			# By now tries are rare.  The batch is made durable after its end, and the
			# worker woken up: so it is between batches that the hold is too old.
			while (slurp_file($node->logfile, $offset) !~ /old row versions are no longer kept for view "joined"/)
			{
				$node->safe_psql('postgres', $_) for "UPDATE b SET w = w + 1 WHERE id = 4002; SELECT derive.wait('sums', timeout => '180 s'); CHECKPOINT",
				  "ALTER SYSTEM SET pg_derive.max_hold_age = $age; SELECT pg_reload_conf()";
			}
		}
		$node->safe_psql('postgres', 'VACUUM a; VACUUM b');
		if ($crash)
		{
			$worker = stop_worker($node);
			$_->quit for $holder, $writer;
			$node->stop('immediate');
			start_again($node);
			($holder, $writer) = (background($node), background($node));
		}
		else
		{
			$holder->query_safe('ROLLBACK');
		}
		wait_derived($node, "$label: back");
		is_exact($node, $label);
	}
	is(damage($offset), '', "$label: right");
	like(slurp_file($node->logfile, $offset), $recomputed, "$label: falls back") if $age;
	unlike(slurp_file($node->logfile, $offset), $recomputed, "$label: by old rows") unless $age;
}

$_->quit for $holder, $writer;
log_is_clean($node);
done_testing();
