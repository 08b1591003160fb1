# The first rows of ORDER BY .. LIMIT: what is kept of them survives, and is not read again
# where that is not needed; a view for which it cannot be read does not harm others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('top');
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q{
CREATE TABLE t (id int PRIMARY KEY, k int, n int, x text);
CREATE INDEX ON t (k);
INSERT INTO t SELECT i, i % 200, i, repeat('x', i % 7) || i FROM generate_series(1, 5000) i;
SELECT derive.create_view('first', 'SELECT id, n, x FROM t ORDER BY n DESC, id LIMIT 10');
SELECT derive.create_view('first_groups', 'SELECT k, sum(n) AS s FROM t GROUP BY k ORDER BY s DESC, k OFFSET 2 LIMIT 5');
SELECT derive.create_view('over_first', 'SELECT max(n) AS n FROM first');
SELECT derive.create_view('groups', 'SELECT k, count(*) AS c FROM t GROUP BY k');
});
wait_derived($node, 'built');
is_exact($node, 'built');

# Nothing is read again from here on: neither for changes nor after a restart.
set_debug_point($node, 'top-fill:error');
my $id = 10_000;
for my $round (1 .. 3)
{
	$id++;
	sql("INSERT INTO t VALUES ($id, $round, $id, 'new'), (-$id, 199, -$id, 'last')");
	sql("UPDATE t SET n = n - 3000, x = x || '!' WHERE id IN (SELECT id FROM first ORDER BY n DESC LIMIT 2)");
	sql("DELETE FROM t WHERE id IN (SELECT id FROM first ORDER BY n DESC OFFSET 3 LIMIT 4)");
	sql("BEGIN; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; UPDATE t SET n = n + 40000 WHERE id = $round; COMMIT");
	wait_derived($node, "round $round");
	is_exact($node, "round $round");
	$node->restart if $round == 2;
}

# The rows that are kept and those that are shown go together.
my $holder = background($node);
$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-mid-apply'))});
set_debug_point($node, 'top-fill:error,batch-mid-apply:wait');
sql(q{
BEGIN;
INSERT INTO t VALUES (20001, 1, 90001, 'a'), (20002, 2, 90002, 'b');
DELETE FROM t WHERE n BETWEEN 4990 AND 4995;
COMMIT;
});
kill_process(waits_at($node, 'batch-mid-apply'));
comes_back($node);
eval { $holder->quit };
set_debug_point($node, 'top-fill:error');
wait_derived($node, 'after a crash');
is_exact($node, 'after a crash');

# More go than are kept.  The others go on, and it is right again when it can be read.
sql("DELETE FROM t WHERE n > 4000");
ok($node->poll_query_until('postgres', q{SELECT state <> 'ready' FROM derive_state.view_states WHERE name = 'first'}),
	'a view whose rows cannot be read is set aside');
sql("UPDATE t SET k = 7 WHERE id = 5");
is(sql(q{SELECT derive.wait('groups', timeout => '180 s')}), 't', 'others go on');
is(sql(q{SELECT oracle('groups')}), '0', 'and are right');
set_debug_point($node, '');
resume_failed($node);
wait_derived($node, 'it can be read again');
is_exact($node, 'it can be read again');
done_testing();
