# Errors: injected at every stage of a batch, in a view's own expressions, and
# in functions that wait.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('errors');
my ($rc, $out, $err);

load_tables($node);
wait_derived($node, 'built');

# ---- a view that fails of itself; the others go on

$node->safe_psql('postgres', q{
CREATE TABLE numbers (id int PRIMARY KEY, d int);
INSERT INTO numbers VALUES (1, 1), (2, 2);
SELECT derive.create_view('quotients', 'SELECT id, 100 / d AS q FROM numbers');
SELECT derive.create_view('counted', 'SELECT count(*) FROM numbers');
});
wait_derived($node);
is_exact($node, 'before the error');
$node->safe_psql('postgres', 'INSERT INTO numbers VALUES (3, 0)');
is($node->safe_psql('postgres', q{SELECT derive.wait('counted', '180 s')}), 't', 'division by zero: the other view goes on');
derive_wait_state($node, 'quotients', 'failed');
like($node->safe_psql('postgres', q{SELECT error FROM derive.stats s WHERE s::text LIKE '%quotients%'}), qr/division by zero/, 'the message is kept');
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.wait('quotients', '180 s')});
isnt($rc, 0, 'waiting for a failed view is an error');
like($err, qr/quotients/, 'which names it');
is($node->safe_psql('postgres', 'SELECT count(*) FROM quotients'), '2', 'the failed view keeps its last rows');
$node->safe_psql('postgres', 'INSERT INTO numbers VALUES (4, 4); UPDATE accounts SET balance = 1 WHERE id = 1');
is($node->safe_psql('postgres', q{SELECT derive.wait('counted', '180 s'), derive.wait('by_branch', '180 s')}), 't|t', 'and the others go on');
$node->safe_psql('postgres', q{DELETE FROM numbers WHERE d = 0; SELECT derive.resume('quotients')});
wait_derived($node, 'resumed');
is_exact($node, 'after resume');
$node->safe_psql('postgres', 'INSERT INTO numbers VALUES (3, 0)');
derive_wait_state($node, 'quotients', 'failed', 'failed again');
$node->safe_psql('postgres', q{UPDATE numbers SET d = 5 WHERE d = 0; SELECT derive.repair('quotients')});
wait_derived($node, 'repaired');
is_exact($node, 'after repair');

# an error while building
$node->safe_psql('postgres', q{INSERT INTO numbers VALUES (9, 0); SELECT derive.pause('quotients');
SELECT derive.create_view('unbuildable', 'SELECT sum(1 / d) FROM numbers')});
derive_wait_state($node, 'unbuildable', 'failed', 'an error during the build');
$node->safe_psql('postgres', q{DELETE FROM numbers WHERE d = 0; SELECT derive.resume('quotients'); SELECT derive.resume('unbuildable')});
wait_derived($node);
is_exact($node, 'built after all');

# a function that is replaced, and one that is dropped with CASCADE
$node->safe_psql('postgres', q{
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2';
SELECT derive.create_view('doubled', 'SELECT id, twice(d) AS t FROM numbers')});
wait_derived($node);
$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 3';
UPDATE numbers SET d = d + 1; DELETE FROM numbers WHERE id = 2});
$node->safe_psql('postgres', q{SELECT derive.repair('doubled')});
wait_derived($node, 'a replaced function');
is_exact($node, 'a replaced function, after repair');
$node->safe_psql('postgres', 'DROP FUNCTION twice CASCADE');
wait_derived($node, 'a dropped function takes its view along');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive_state.view_states WHERE name::text = 'doubled'}), '0', 'it is gone');

# pause stands still, waits are refused, resume catches up
$node->safe_psql('postgres', q{SELECT derive.pause('by_branch'); UPDATE accounts SET balance = balance + 1 WHERE id < 1000});
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.wait('by_branch', '180 s')});
isnt($rc, 0, 'waiting for a paused view is an error');
like($err, qr/paused/, 'which says so');
is($node->safe_psql('postgres', q{SELECT oracle('by_branch') > 0}), 't', 'a paused view stands still');
$node->safe_psql('postgres', q{SELECT derive.resume('by_branch')});
wait_derived($node, 'resumed');
is_exact($node, 'after pause');

# ---- waiting can be cancelled

my $locker = background($node);
$locker->query_safe('BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', q{INSERT INTO numbers VALUES (20, 20); UPDATE branches SET name = name || '!' WHERE branch = 1});
is($node->safe_psql('postgres', q{SELECT derive.wait('counted', '180 s')}), 't', 'a lock: a view that does not read the table goes on');
for my $call (q{SELECT derive.wait('joined')}, q{SELECT derive.wait()}, q{SELECT * FROM derive.verify('joined')},
	q{SELECT derive.repair('joined')}, q{REFRESH MATERIALIZED VIEW joined})
{
	($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '1s'; $call");
	isnt($rc, 0, "$call waits");
	like($err, qr/statement timeout/, "$call can be cancelled");
}
is($node->safe_psql('postgres', q{UPDATE branches SET name = name || '?' WHERE branch = 1; SELECT derive.wait('joined', '1s', pg_current_wal_insert_lsn())}), 'f',
	'a timeout is false, not an error');
$locker->query_safe('ROLLBACK');
wait_derived($node, 'after the lock');
is_exact($node, 'after the lock');
$locker->quit;

# ---- errors injected at each stage of a batch

# Changes until the log says it: the worker may have missed the first ones, or
# not have read the setting before them.
sub change_until
{
	my ($pattern, $offset) = @_;
	for my $i (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		eval { $node->psql('postgres', q{
UPDATE accounts SET balance = balance + 3, branch = (branch + 1) % 10 WHERE id % 11 = 0;
INSERT INTO history SELECT i, i FROM generate_series(1, 50) i;
DELETE FROM numbers WHERE id = 20; INSERT INTO numbers VALUES (20, 1)}) };
		return 1 if slurp_file($node->logfile, $offset) =~ $pattern;
		usleep(100_000);
	}
	return 0;
}

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	for my $point (qw(batch-locked batch-snapshot decoded batch-decoded batch-mid-apply batch-view-applied batch-applied batch-committed))
	{
		for my $action (qw(once error kill))
		{
			my $offset = -s $node->logfile;
			set_debug_point($node, "$point:$action");
			if ($action eq 'kill')
			{
				ok(change_until(qr/was terminated by signal 9/, $offset), "$point:$action");
				# the worker comes back and is killed again, until the point is taken away
				set_debug_point($node, '');
				comes_back($node);
				resume_failed($node);
			}
			else
			{
				ok(change_until(qr/debug point "$point" was reached/, $offset), "$point:$action");
				set_debug_point($node, '') if $action eq 'error';
			}
			# an error that repeats inside a view marks it as failed; nothing else does
			if ($action eq 'error' && $point =~ /mid-apply|view-applied/)
			{
				resume_failed($node);
			}
			wait_derived($node, "$point:$action: caught up");
			is_exact($node, "$point:$action");
		}
	}
	set_debug_point($node, '');

	# and in a build
	for my $point (qw(build-before-identity build-before-fill build-after-fill))
	{
		set_debug_point($node, "$point:once");
		my $offset = -s $node->logfile;
		$node->safe_psql('postgres', qq{SELECT derive.create_view('"$point"', 'SELECT branch, count(*) FROM accounts GROUP BY 1')});
		derive_wait_state($node, qq{"$point"}, 'failed');
		like(slurp_file($node->logfile, $offset), qr/could not build view "$point": debug point/, "$point: the log says why");
		is($node->safe_psql('postgres', q{SELECT derive.wait('by_branch', '180 s')}), 't', "$point: the others go on");
		set_debug_point($node, '');
		$node->safe_psql('postgres', qq{SELECT derive.resume('"$point"')});
		wait_derived($node, "$point:once");
		is_exact($node, "$point:once");
	}
}

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|problem in alloc set|signal (?:6|11)\b/, 'server log');
$node->stop;
done_testing();
