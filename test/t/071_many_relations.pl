# More relations than the lock table has room for: neither a batch nor the start of the worker locks
# all of them at once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($tables, $partitions) = (30, 45);
my $node = derive_node('many', conf => "max_locks_per_transaction = 10\nmax_connections = 20\nmax_prepared_transactions = 0\nautovacuum = off\npg_derive.max_builds = 4\n");

$node->safe_psql('postgres', qq{
DO \$\$ BEGIN
	FOR t IN 1..$tables LOOP
		EXECUTE format('CREATE TABLE t%s (k int, v int) PARTITION BY LIST (k)', t);
		FOR p IN 1..$partitions LOOP
			EXECUTE format('CREATE TABLE t%s_%s PARTITION OF t%s FOR VALUES IN (%s)', t, p, t, p);
		END LOOP;
		EXECUTE format('INSERT INTO t%s SELECT i, i FROM generate_series(1, $partitions) i', t);
		COMMIT;
		PERFORM derive.create_view(format('v%s', t), format('SELECT k %% 3 AS g, count(*) AS n, sum(v) AS s FROM t%s GROUP BY 1', t));
		COMMIT;
		PERFORM derive.wait(format('v%s', t)::regclass);	-- what is handed over is locked, all of it at once
		COMMIT;
	END LOOP;
END \$\$;
});

# One by one: all together have more relations than a session may lock, too.
sub all_exact
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.views WHERE state = 'ready'}), $tables, "$label: every view is ready");
	is($node->safe_psql('postgres', q{SELECT format('SELECT %L WHERE oracle(%L) <> 0', view, view) FROM derive.views \gexec}),
		'', "$label: every view equals its query");
	return;
}

my ($rc, $out, $err) = $node->psql('postgres', 'BEGIN; SELECT count(oracle(view)) FROM derive.views');
like($err, qr/out of shared memory/, 'there is no room for all of them');
my $before = -s $node->logfile;
all_exact('built');

$node->safe_psql('postgres', "INSERT INTO t7 SELECT i, i FROM generate_series(1, $partitions) i");
all_exact('a change of one');
$node->safe_psql('postgres', join(';', map { "INSERT INTO t$_ VALUES ($_, 1)" } 11 .. 19));
all_exact('changes of some');
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO t30 VALUES (1, 1); TRUNCATE t29_3');
all_exact('started again');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.verify('v30') WHERE missing <> 0 OR extra <> 0}), '0', 'derive.verify()');
unlike(slurp_file($node->logfile, $before), qr/out of shared memory/, 'there was room for what was needed');
log_is_clean($node);
done_testing();
