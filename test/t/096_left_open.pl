# GRANT on a view that is being built, or that takes another's place: it waits and works, as
# on any relation, instead of "tuple concurrently updated"; and where rights are given in a
# transaction that stays open, the view waits for that, and no other view.  Neither does one
# wait for anything else that an owner may do to a view, or to its table, and leave open.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('rights', conf => "pg_derive.lock_timeout = 100ms\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);

$node->safe_psql('postgres', q{
CREATE ROLE reader;
CREATE TABLE t AS SELECT i AS id, i % 10 AS g FROM generate_series(1, 1000) i;
SELECT derive.create_view('agg', 'SELECT g, count(*), sum(id) FROM t GROUP BY g'),
	derive.create_view('other', 'SELECT id FROM t WHERE g = 3'),
	derive.create_view('top', 'SELECT id FROM t ORDER BY id DESC LIMIT 5')});
wait_derived($node);

my $holder = background($node);
my $user = background($node);

sub may_read
{
	my ($view) = @_;
	return $node->safe_psql('postgres', "SELECT has_table_privilege('reader', '$view', 'SELECT')");
}

# Run the statement, until a process of ours stops at the point.
sub stop_at
{
	my ($point, $sql) = @_;
	$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
	set_debug_point($node, "$point:wait");
	$node->safe_psql('postgres', $sql);
	waits_at($node, $point);
	return;
}

sub go_on
{
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	return;
}

# The rights are given while our process has changed the row of pg_class and not committed.
sub while_changed
{
	my ($point, $sql, $view) = @_;
	stop_at($point, $sql);
	$user->query_until(qr/go/, "\\echo go\nGRANT SELECT ON $view TO reader;\n\\echo done\n");
	$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'GRANT%' AND wait_event_type = 'Lock')})
	  or die 'GRANT does not wait';
	go_on();
	$user->query_until(qr/done/, '');
	is($user->{stderr}, '', "$point: GRANT has worked");
	is(may_read($view), 't', "$point: the right is there");
	wait_derived($node, "$point: goes on");
	is_exact($node, $point);
	return;
}

while_changed('build-after-fill', q{SELECT derive.create_view('built', 'SELECT g, count(*) FROM t GROUP BY g')}, 'built');
while_changed('replace-committing', q{SELECT derive.replace_view('other', 'SELECT id FROM t WHERE g = 4')}, 'other');

# They are given in a transaction that stays open, before the statement or, with a point, after it.
sub left_open
{
	my ($sql, $view, $point) = @_;
	stop_at($point, $sql) if $point;
	$user->query_safe("BEGIN; GRANT SELECT ON $view TO reader");
	my $start = -s $node->logfile;
	$point ? go_on() : $node->safe_psql('postgres', $sql);
	for my $i (1 .. 3)
	{
		$node->safe_psql('postgres', "INSERT INTO t VALUES (10000 + $i, 3)");
		is($node->safe_psql('postgres', q{SELECT derive.wait('top', '180 s'), oracle('top')}), 't|0', "$sql: other views go on");
		is($node->safe_psql('postgres', "SET statement_timeout = '60s'; SELECT count(*) >= 0 FROM $view"), 't', "$sql: the view can be read")
		  unless $point;
	}
	$user->query_safe('COMMIT');
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM derive.replacements') or die 'no view takes the place';
	wait_derived($node, "$sql: the rights are given");
	is_exact($node, $sql);
	is(may_read($view), 't', "$sql: and they are there");
	unlike(slurp_file($node->logfile, $start), qr/\bXX\d{3} /, "$sql: nothing internal in the log");
	$node->safe_psql('postgres', "REVOKE ALL ON $view FROM reader");
	return;
}

$node->safe_psql('postgres', 'REVOKE ALL ON other FROM reader');
left_open(q{SELECT derive.create_view('open', 'SELECT g, count(*) FROM t GROUP BY g')}, 'open', 'build-before-fill');
left_open(q{SELECT derive.replace_view('other', 'SELECT id FROM t WHERE g = 5')}, 'other');
left_open('TRUNCATE t', 'agg');
left_open(q{SELECT derive.repair('agg')}, 'agg');
left_open('REFRESH MATERIALIZED VIEW other', 'agg');
left_open('VACUUM FULL t', 'agg');

# An index that is made anew changes the row as well, in place, and would wait in the middle of that.
$node->safe_psql('postgres', 'DROP INDEX agg_g_idx');
$user->query_safe('BEGIN; GRANT SELECT ON agg TO reader');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (20000, 3)');
ok($node->poll_query_until('postgres', q{SELECT state = 'waiting' AND waiting_for LIKE '%"agg" in pg_class' FROM derive.views WHERE view = 'agg'::regclass}),
	'an index is to be made: the view says what it waits for')
  or diag($node->safe_psql('postgres', 'SELECT view, state, waiting_for, error FROM derive.views'));
is($node->safe_psql('postgres', q{SELECT derive.wait('top', '180 s'), oracle('top')}), 't|0', 'other views go on');
$user->query_safe('COMMIT');
wait_derived($node, 'an index is made');
is_exact($node, 'an index is made');

# Whatever is left open, while the view needs its index anew and changes, or is computed anew.
for my $open (
	'COMMENT ON MATERIALIZED VIEW agg IS $$x$$',
	'ALTER MATERIALIZED VIEW agg SET (fillfactor = 70)',
	'ALTER MATERIALIZED VIEW agg ALTER COLUMN g SET STATISTICS 10',
	'ALTER MATERIALIZED VIEW agg RENAME COLUMN count TO n',
	'ALTER MATERIALIZED VIEW agg OWNER TO reader',
	'CREATE STATISTICS on_view ON g, count FROM agg',
	'ANALYZE agg',
	'GRANT SELECT (g) ON agg TO reader',
	'CREATE INDEX more ON agg (count)',
	'DECLARE c CURSOR FOR SELECT * FROM agg',
	'GRANT SELECT ON t TO reader',
	'ALTER TABLE t SET (fillfactor = 90)',
	'CREATE STATISTICS on_table ON g, id FROM t',
	'GRANT ALL ON SCHEMA public TO reader')
{
	my $start = -s $node->logfile;
	$node->psql('postgres', 'DROP INDEX agg_g_idx');
	$user->query_safe("BEGIN; $open");
	for my $sql ('INSERT INTO t VALUES (30000, 3)', 'TRUNCATE t; INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 300) i')
	{
		# a lock on the table itself stops who wants to empty it
		$node->psql('postgres', "SET lock_timeout = '100ms'; $sql");
		is($node->safe_psql('postgres', q{SELECT derive.wait('top', '180 s'), oracle('top')}), 't|0', "$open: other views go on");
	}
	$user->query_safe('ROLLBACK');
	wait_derived($node, "$open: it ends");
	is_exact($node, $open);
	unlike(slurp_file($node->logfile, $start), qr/\bXX\d{3} /, "$open: nothing internal in the log");
}

$_->quit for $holder, $user;
log_is_clean($node);
$node->stop;
done_testing();
