# Beside libraries that hook into planning, execution and DDL, loaded before and
# after pg_derive: whatever our processes run looks to them like a statement.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @others = qw(pgaudit pg_stat_statements auto_explain);
my $libdir = PostgreSQL::Test::Cluster->new('unused')->config_data('--pkglibdir');
for my $library (@others)
{
	plan skip_all => "library $library is not installed in $libdir" unless -e "$libdir/$library.so";
}

my %orders = (before => join(', ', @others, 'pg_derive'), after => join(', ', 'pg_derive', reverse @others));
for my $order (sort keys %orders)
{
	my $node = derive_node("others_$order", conf => <<"CONF");
shared_preload_libraries = '$orders{$order}'
pgaudit.log = 'all'
pgaudit.log_relation = on
pgaudit.log_parameter = on
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_analyze = on
auto_explain.log_verbose = on
pg_stat_statements.track = 'all'
pg_stat_statements.track_planning = on
compute_query_id = on
CONF
	$node->safe_psql('postgres', 'CREATE EXTENSION pgaudit; CREATE EXTENSION pg_stat_statements');

	# the owner is somebody who has just the rights that the view needs
	load_tables($node);
	$node->safe_psql('postgres', q{
CREATE ROLE reader;
ALTER TABLE accounts REPLICA IDENTITY FULL;
GRANT CREATE ON SCHEMA public TO reader;
GRANT SELECT (id, branch) ON accounts TO reader;
SET ROLE reader;
SELECT derive.create_view('readers', 'SELECT branch, max(id) FROM accounts GROUP BY branch');
RESET ROLE;
CREATE TABLE clicks (who text, at timestamptz, page text);
INSERT INTO clicks VALUES ('ann', '2026-01-01 10:00', '/'), ('ann', '2026-01-01 10:20', '/a'), ('bob', '2026-01-01 10:00', '/');
SELECT derive.create_view('visits', 'sessionize', '{clicks}', options => '{"user": "who", "time": "at", "gap": "30 minutes"}');
SELECT derive.subscribe('by_branch', 'somebody');
});
	# these are more than their definition says of the present
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', q{
CREATE EXTENSION pg_derive;
CREATE TABLE t (a int PRIMARY KEY);
SELECT derive.create_topic('events', 'a int');
SELECT derive.create_view('versions', 'history', '{t}');
});
	wait_derived($node, "$order: built in another database", 'other');
	wait_derived($node, "$order: built");
	is_exact($node, "$order: built");

	$node->safe_psql('postgres', q{
UPDATE accounts SET balance = balance + id, branch = 4 WHERE id % 7 = 0;
INSERT INTO history SELECT i, i % 3 FROM generate_series(1, 500) i;
DELETE FROM accounts WHERE id % 11 = 0;
UPDATE branches SET name = upper(name);
INSERT INTO clicks VALUES ('ann', '2026-01-01 10:40', '/b');
DELETE FROM clicks WHERE who = 'bob';
});
	$node->safe_psql('other', q{SELECT derive.append('events', ROW(1)); INSERT INTO t VALUES (1); UPDATE t SET a = 2});
	wait_derived($node, "$order: a batch in another database", 'other');
	is($node->safe_psql('other', 'SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM versions)'), '1|2', "$order: an event and versions");
	wait_derived($node, "$order: a batch");
	is_exact($node, "$order: a batch");
	$node->safe_psql('postgres', 'TRUNCATE history; INSERT INTO history VALUES (1, 1)');
	wait_derived($node, "$order: TRUNCATE");
	is_exact($node, "$order: TRUNCATE");
	isnt($node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('somebody')}), '0', "$order: changes for a subscriber");

	$node->safe_psql('postgres', q{SELECT derive.repair(view) FROM derive.views; REFRESH MATERIALIZED VIEW joined});
	is_exact($node, "$order: repaired");

	# compiled once more, by another worker
	kill('TERM', worker_pid($node));
	$node->safe_psql('postgres', 'UPDATE accounts SET branch = 1 WHERE id % 13 = 0');
	wait_derived($node, "$order: another worker");
	is_exact($node, "$order: another worker");

	# who loses a right loses the view, not the server
	$node->safe_psql('postgres', 'REVOKE SELECT (branch) ON accounts FROM reader; COMMENT ON MATERIALIZED VIEW readers IS $$compile it again$$');
	kill('TERM', worker_pid($node));
	derive_wait_state($node, 'readers', 'failed', "$order: a right was taken away");
	like($node->safe_psql('postgres', q{SELECT error FROM derive_state.view_states WHERE name = 'readers'}), qr/permission denied for table accounts/, "$order: and the reason");
	$node->safe_psql('postgres', 'GRANT SELECT (branch) ON accounts TO reader; SELECT derive.repair($$readers$$)');
	is_exact($node, "$order: the right is back");

	$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW readers; DROP MATERIALIZED VIEW by_branch CASCADE');
	wait_derived($node, "$order: views dropped");
	is_exact($node, "$order: views dropped");

	my $log = slurp_file($node->logfile);
	like($log, qr/AUDIT: SESSION,.*pg_derive/, "$order: the audit knows what the worker did");
	like($log, qr/pg_derive worker.*duration: .* plan:/, "$order: so does auto_explain");
	unlike($log, qr/pg_derive worker \w+ (?:LOG|WARNING):  .*(?:a batch failed|computed anew)/, "$order: no batch failed");
	log_is_clean($node);
	$node->safe_psql('postgres', 'DROP EXTENSION pg_derive CASCADE');
	$node->stop;
}
done_testing();
