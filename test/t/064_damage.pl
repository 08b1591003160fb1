# Damage: rows of internal tables that a superuser has changed, pages that are not what was
# written, files that are garbage.  Nothing crashes; the view is computed anew, or
# derive.verify() says that it is wrong and derive.repair() ends it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('damage', conf => "log_min_messages = log\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(q{
CREATE TABLE t (id int PRIMARY KEY, k int, n numeric, j text);
INSERT INTO t SELECT i, i % 5, i * 1.5, 'j' || i FROM generate_series(1, 3000) i;
SELECT derive.create_view('extrema', 'SELECT k, count(*), max(j), min(n) FROM t GROUP BY k');
SELECT derive.create_view('sums', 'SELECT k, sum(n), avg(id) FROM t GROUP BY k');
SELECT derive.create_view('different', 'SELECT DISTINCT k FROM t');
SELECT derive.create_view('top10', 'SELECT id, j FROM t ORDER BY j DESC, id LIMIT 10');
SELECT derive.create_view('running', 'SELECT id, sum(n) OVER (ORDER BY id) FROM t');
SELECT derive.create_view('approx', derivation => 'approx_distinct', sources => '{t}', options => '{"value": "j"}');
-- the table of a view's state; others may not be written
CREATE FUNCTION state_of(v regclass) RETURNS regclass LANGUAGE sql AS
	$$SELECT relid::regclass FROM derive_state.relations WHERE view = v AND role IN ('s', 'd') ORDER BY role, operator LIMIT 1$$;
CREATE PROCEDURE damage(v regclass, change text) LANGUAGE plpgsql AS $$
DECLARE
	state regclass := state_of(v);
BEGIN
	SET LOCAL allow_system_table_mods = on;
	UPDATE pg_class SET relkind = 'r', relhasrules = false WHERE oid = state;
	EXECUTE format(change, state);
	UPDATE pg_class SET relkind = 'm', relhasrules = true WHERE oid = state;
END $$;
});
wait_derived($node, 'built');
is_exact($node, 'at the start');
my $worker = worker_pid($node);

# Touch every group and row that matters.
my $round = 0;
sub touch
{
	$round++;
	sql("BEGIN; UPDATE t SET n = n + 1, k = (k + 1) % 5 WHERE id % 13 = $round % 13; INSERT INTO t SELECT 10000 * $round + g, g % 5, 1, 'new' FROM generate_series(1, 5) g;
		DELETE FROM t WHERE (k, j) IN (SELECT k, max(j) FROM t GROUP BY k); DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY j DESC LIMIT 3); COMMIT");
	return;
}

# Found when it is next touched, and computed anew by itself.
for ([ 'extrema', 'DELETE FROM %s' ], [ 'extrema', 'DELETE FROM %s WHERE k1 < 3' ], [ 'extrema', 'UPDATE %s SET n = NULL' ],
	[ 'extrema', 'UPDATE %s SET n = n - 7' ], [ 'extrema', 'UPDATE %s SET s2 = NULL' ], [ 'extrema', 'UPDATE %s SET c2 = 0' ],
	[ 'extrema', 'UPDATE %s SET h = h + 1' ],
	[ 'sums', 'DELETE FROM %s' ], [ 'sums', 'UPDATE %s SET s1 = NULL' ], [ 'sums', q{UPDATE %s SET s2 = '{}'} ],
	[ 'different', 'DELETE FROM %s' ],
	[ 'top10', 'DELETE FROM %s' ], [ 'top10', 'UPDATE %s SET n = NULL, h = NULL' ],
	[ 'approx', 'UPDATE %s SET registers = NULL' ], [ 'approx', q{UPDATE %s SET registers = '\x00'} ])
{
	my ($view, $change) = @$_;
	sql("CALL damage('$view', \$\$$change\$\$)");
	touch();
	wait_derived($node, "$view: $change");
	is_exact($node, "$view: $change");
}

# Found by derive.verify(), and ended by derive.repair(): what nobody looks at while it goes on.
for ([ 'running', 'UPDATE %s SET c2 = c2 + 1' ], [ 'running', 'DELETE FROM %s WHERE c1 BETWEEN 1000 AND 2000' ])
{
	my ($view, $change) = @$_;
	sql("CALL damage('$view', \$\$$change\$\$)");
	touch();
	wait_derived($node, "$view: $change");
	for my $wrong (split /\n/, sql('SELECT view FROM derive.verify() WHERE missing <> 0 OR extra <> 0'))
	{
		is($wrong, $view, "$view: $change: verify");
		sql("SELECT derive.repair('$wrong')");
	}
	wait_derived($node, "$view: repaired");
	is_exact($node, "$view: $change");
}
is(worker_pid($node), $worker, 'the worker has done all this');

# Pages that were overwritten while the server was down: what an index or a table says of
# itself is wrong.
for my $role ('s', 'i')
{
	for my $view (qw(extrema top10 approx))
	{
		my ($path) = split /\n/, sql("SELECT pg_relation_filepath(relid) FROM derive_state.relations WHERE view = '$view'::regclass AND role = '$role' ORDER BY operator LIMIT 1");
		next unless $path;
		sql('CHECKPOINT');
		$node->stop;
		open my $file, '+<', $node->data_dir . "/$path" or die $!;
		binmode $file;
		seek $file, 0, 0;
		print $file "\xde\xad" x 4096;
		close $file;
		$node->start;
		touch();
		wait_derived($node, "$view: $role overwritten");
		is_exact($node, "$view: $role overwritten");
	}
}

# Files of ours.
my ($offset, $oid) = (-s $node->logfile, sql(q{SELECT oid FROM pg_database WHERE datname = 'postgres'}));
my $statistics = $node->data_dir . '/pg_stat/pg_derive.stat';
my $guard = $node->data_dir . "/pg_stat_tmp/pg_derive.$oid";
for my $content ('', 'x', "\xff" x 8, "\xff" x 1000, "\x01\x72\x65\x64\xff\xff\xff\xff", "\x01\x72\x65\x64\xff\xff\xff\xff" . "\xee" x 5000, "\x01\x72\x67\x64" . "\xff" x 500)
{
	$node->stop;
	for ($statistics, $guard)
	{
		open my $file, '>', $_ or die $!;
		binmode $file;
		print $file $content;
		close $file;
	}
	$node->start;
	touch();
	wait_derived($node, 'garbage of ' . length($content) . ' bytes');
	is_exact($node, 'garbage of ' . length($content) . ' bytes');
}
my $log = slurp_file($node->logfile, $offset);
like($log, qr/LOG:.*file "pg_stat\/pg_derive.stat" is incomplete, damaged or of another version/, 'the file of statistics is ignored, and it is said');
like($log, qr/LOG:.*ignoring file "pg_stat_tmp\/pg_derive\.$oid", which is damaged or of another version/, 'the one of crashes, too');
unlike($log, qr/crashed \d+ times/, 'nobody believes it');

log_is_clean($node);
$node->stop;
done_testing();
