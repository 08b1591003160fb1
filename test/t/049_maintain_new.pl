# pg_derive.maintain_new where the server is more than one session: dump and restore, settings
# of databases and roles, scripts of extensions, and errors that are no refusals.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $oracle = slurp_file("$FindBin::RealBin/../oracle.sql");
my $extensions;					# where they can be added
if (my $shared = $ENV{DERIVE_DESTDIR})
{
	$ENV{DERIVE_DESTDIR} = "$PostgreSQL::Test::Utils::tmp_check/inst";
	system('cp', '-a', $shared, $ENV{DERIVE_DESTDIR}) == 0 or die 'cp';
}
my $node = derive_node('maintain_new');
$extensions = $ENV{DERIVE_DESTDIR} . $node->config_data('--sharedir') . '/extension' if $ENV{DERIVE_DESTDIR};
my $file = "$PostgreSQL::Test::Utils::tmp_check/dump";

# A database where nobody calls derive.create_view(), with roles, views over views, and views
# that cannot be maintained; the tables have keys, partitions and none.
$node->safe_psql('postgres', q{
CREATE ROLE maker LOGIN;
CREATE ROLE plain LOGIN;
CREATE DATABASE shop;
CREATE DATABASE copy});
$node->safe_psql('shop', q{
CREATE EXTENSION pg_derive;
ALTER DATABASE shop SET pg_derive.maintain_new = on;
GRANT CREATE ON SCHEMA public TO maker});
my $psql = sub {
	my ($db, $role, $sql) = @_;
	return $node->psql($db, $sql, extra_params => [ '-U', $role ]);
};
my ($rc, $out, $err) = $psql->('shop', 'maker', q{
CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL);
CREATE TABLE orders (id int, customer int, amount numeric, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE orders_25 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE orders_26 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE clicks (page text, n int);
INSERT INTO customers SELECT n, 'region ' || n % 4 FROM generate_series(1, 40) n;
INSERT INTO orders SELECT n, n % 40, n % 90, date '2025-06-01' + n FROM generate_series(1, 500) n;
INSERT INTO clicks SELECT 'page ' || n % 9, n FROM generate_series(1, 100) n;
GRANT SELECT ON customers TO plain;
CREATE MATERIALIZED VIEW totals AS SELECT region, count(*) AS n, sum(amount) AS amount FROM orders o JOIN customers c ON c.id = o.customer GROUP BY region;
CREATE MATERIALIZED VIEW grand AS SELECT sum(n) AS n, max(amount) AS amount FROM totals;
CREATE MATERIALIZED VIEW pages AS SELECT DISTINCT page FROM clicks;
CREATE MATERIALIZED VIEW by_customer AS SELECT c.id, region, count(o.id) AS n FROM customers c LEFT JOIN orders o ON o.customer = c.id GROUP BY c.id;
CREATE UNIQUE INDEX ON by_customer (id);
CREATE MATERIALIZED VIEW shuffled AS SELECT *, random() AS r FROM customers;
CREATE MATERIALIZED VIEW versions AS SELECT * FROM derive.apply('history', ARRAY['customers'::regclass], NULL, NULL)
	AS t(id int, region text, version bigint, operation text, xid xid8, lsn pg_lsn, committed_at timestamptz, ended_by text, until_xid xid8, until_lsn pg_lsn, until timestamptz);
CREATE MATERIALIZED VIEW later AS SELECT count(*) FROM orders WITH NO DATA});
is($rc, 0, 'a database is made by ordinary commands') or diag($err);
like($err, qr/NOTICE:  materialized view "shuffled" is not maintained: a view that calls function random\(\)/, 'what cannot be maintained is said');
my $maintained = q{SELECT string_agg(view::text, ' ' ORDER BY view::text) FROM derive.views};
my @views = qw(by_customer grand pages totals versions);
is($node->safe_psql('shop', $maintained), "@views", 'its views are maintained');
wait_derived($node, 'built', 'shop');

# who refreshes sees what was committed before, by others, too
$psql->('shop', 'maker', q{INSERT INTO orders VALUES (1000, 1, 5, '2026-05-05')});
is(($psql->('shop', 'maker', 'REFRESH MATERIALIZED VIEW totals; SELECT sum(n) FROM totals'))[1], $node->safe_psql('shop', 'SELECT count(*) FROM orders JOIN customers c ON c.id = customer'), 'REFRESH returns when it is fresh');
is(($psql->('shop', 'maker', 'REFRESH MATERIALIZED VIEW CONCURRENTLY by_customer; SELECT sum(n) FROM by_customer'))[1], $node->safe_psql('shop', 'SELECT count(*) FROM orders JOIN customers c ON c.id = customer'), 'and so does REFRESH CONCURRENTLY');
is($node->safe_psql('shop', 'SELECT sum(missing + extra) FROM derive.verify()'), '0', 'exact');

# roles: their settings, and their rights
$node->safe_psql('shop', 'GRANT CREATE ON SCHEMA public TO plain; ALTER ROLE plain IN DATABASE shop SET pg_derive.maintain_new = off');
$psql->('shop', 'plain', 'CREATE MATERIALIZED VIEW of_plain AS SELECT count(*) FROM customers');
is($node->safe_psql('shop', q{SELECT count(*) FROM derive.views WHERE view = 'of_plain'::regclass}), '0', 'a role can have another setting');
($rc, $out, $err) = $psql->('shop', 'plain', 'SET pg_derive.maintain_new = on; CREATE MATERIALIZED VIEW of_plain_too AS SELECT count(*) FROM orders');
isnt($rc, 0, 'the rights to read are those of PostgreSQL');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_class WHERE relname = 'of_plain_too'}), '0', 'which refuses the view itself');

$node->safe_psql('shop', 'DROP MATERIALIZED VIEW of_plain');

# ---- dump and restore

# From outside, but for the history, which is more than its query; and by derive.verify().
sub exact_copy
{
	my ($label) = @_;
	$node->safe_psql('copy', "BEGIN; SET LOCAL search_path = oracle; CREATE SCHEMA IF NOT EXISTS oracle; $oracle; COMMIT") if $node->safe_psql('copy', q{SELECT to_regproc('oracle.rows_that_differ') IS NULL}) eq 't';
	is($node->safe_psql('copy', q{SET search_path = public, oracle; SELECT view, rows_that_differ(view) FROM derive.views WHERE view <> ALL (SELECT oid FROM pg_class WHERE relname = 'versions') AND rows_that_differ(view) <> 0}), '', "$label: every view equals its query");
	is($node->safe_psql('copy', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	is($node->safe_psql('copy', q{SELECT * FROM derive.views WHERE state <> 'ready'}), '', "$label: every view is ready");
	return;
}

# Everything is there once, maintained, and follows.
sub check_copy
{
	my ($label) = @_;
	is($node->safe_psql('copy', $maintained), "@views", "$label: the same views are maintained");
	is($node->safe_psql('copy', q{SELECT count(*) FROM pg_class WHERE relkind = 'm' AND relnamespace = 'public'::regnamespace}), '7', "$label: all views are there");
	is($node->safe_psql('copy', 'SELECT relispopulated FROM pg_class WHERE oid = $$later$$::regclass'), 'f', "$label: one has no data");
	wait_derived($node, "$label: built", 'copy');
	for my $view (grep { $_ ne 'versions' } @views)
	{
		is($node->safe_psql('copy', "SELECT v::text FROM $view v ORDER BY 1"), $node->safe_psql('shop', "SELECT v::text FROM $view v ORDER BY 1"), "$label: same rows of $view");
	}
	is($node->safe_psql('copy', q{SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM derive.views v JOIN pg_class c ON c.oid = v.view}), 'maker', "$label: same owner");
	# a table with a key does not log more than that, though it got its key late
	is($node->safe_psql('copy', q{SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname) FROM pg_class WHERE relname IN ('customers', 'orders_25', 'clicks')}),
		$node->safe_psql('shop', q{SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname) FROM pg_class WHERE relname IN ('customers', 'orders_25', 'clicks')}), "$label: same replica identities");
	is($node->safe_psql('copy', q{SELECT count(*) FROM pg_index i JOIN derive.views v ON v.view = i.indrelid}),
		$node->safe_psql('shop', q{SELECT count(*) FROM pg_index i JOIN derive.views v ON v.view = i.indrelid}), "$label: no index twice");
	$node->safe_psql('copy', q{
INSERT INTO orders SELECT n, n % 40, 7, date '2026-01-01' + n % 300 FROM generate_series(2000, 2100) n;
UPDATE orders SET amount = amount + 1 WHERE id % 3 = 0;
UPDATE customers SET region = 'elsewhere' WHERE id % 5 = 0;
DELETE FROM orders WHERE id % 7 = 0;
DELETE FROM clicks WHERE page = 'page 3';
INSERT INTO clicks VALUES ('new', 1)});
	wait_derived($node, "$label: changed", 'copy');
	exact_copy($label);
	is($node->safe_psql('copy', q{SELECT count(*) FROM versions WHERE until IS NULL}), '40', "$label: the history goes on");
	return;
}

# roles may be different there: it is a setting of the database that the restore is into
sub fresh_copy
{
	$node->safe_psql('postgres', 'DROP DATABASE copy; CREATE DATABASE copy; ALTER DATABASE copy SET pg_derive.maintain_new = on');
	return;
}

my @connect = ('-h', $node->host, '-p', $node->port, '-U', $node->safe_psql('postgres', 'SELECT current_user'));
$node->command_ok([ 'pg_dump', '-f', "$file.sql", $node->connstr('shop') ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$file.c", $node->connstr('shop') ], 'pg_dump -Fc');
foreach my $restore (
	[ 'psql', [ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$file.sql", $node->connstr('copy') ] ],
	[ 'psql --single-transaction', [ 'psql', '-qX', '-1', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$file.sql", $node->connstr('copy') ] ],
	[ 'pg_restore -j', [ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('copy'), "$file.c" ] ],
	[ 'pg_restore --single-transaction', [ 'pg_restore', '-e', '-1', '-d', $node->connstr('copy'), "$file.c" ] ])
{
	fresh_copy();
	$node->command_ok($restore->[1], $restore->[0]);
	check_copy($restore->[0]);
}

# pg_dump | psql, with the settings
{
	fresh_copy();
	my $pipe = join ' ', $node->installed_command('pg_dump'), @connect, '--create', 'shop', '|', "sed 's/DATABASE shop/DATABASE copy/; s/connect shop/connect copy/'", '|',
	  $node->installed_command('psql'), @connect, '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', 'postgres';
	$node->safe_psql('postgres', 'DROP DATABASE copy');
	is(system($pipe), 0, 'pg_dump --create | psql') or diag($pipe);
	# the setting is a part of such a dump, as is that of the role
	is($node->safe_psql('copy', 'SHOW pg_derive.maintain_new'), 'on', 'with the settings of the database');
	check_copy('pg_dump --create');
}

# the schema first, of which REFRESH is a part, and then the data
fresh_copy();
$node->command_ok([ 'pg_restore', '-e', '-s', '-d', $node->connstr('copy'), "$file.c" ], 'only the schema');
is($node->safe_psql('copy', $maintained), "@views", 'the views are maintained');
$node->command_ok([ 'pg_restore', '-e', '-a', '-d', $node->connstr('copy'), "$file.c" ], 'and then the data');
check_copy('schema and data');

# by a user with no more rights than those of an owner
$node->safe_psql('postgres', 'DROP DATABASE copy; CREATE DATABASE copy OWNER maker; ALTER DATABASE copy SET pg_derive.maintain_new = on');
$node->safe_psql('copy', 'CREATE EXTENSION pg_derive; GRANT CREATE ON SCHEMA public TO maker');
my @as_maker = ('-h', $node->host, '-p', $node->port, '-U', 'maker', '-d', 'copy');
$node->command_ok([ 'pg_restore', '-e', '-x', '-O', '-t', 'customers', '-t', 'orders', '-t', 'orders_25', '-t', 'orders_26', '-t', 'clicks', '-t', 'totals', '-t', 'pages', @as_maker, "$file.c" ], 'some tables, by their owner');
is($node->safe_psql('copy', $maintained), 'pages totals', 'its views are maintained');
wait_derived($node, 'restored by its owner', 'copy');
exact_copy('restored by its owner');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# ---- elsewhere

# no extension: an ordinary command
$node->safe_psql('postgres', 'CREATE DATABASE without; ALTER DATABASE without SET pg_derive.maintain_new = on');
($rc, $out, $err) = $node->psql('without', 'CREATE MATERIALIZED VIEW v AS SELECT relname FROM pg_class; REFRESH MATERIALIZED VIEW v');
is("$rc$err", '0', 'nothing happens in a database without pg_derive');
$node->safe_psql('without', 'CREATE EXTENSION pg_derive');
is($node->safe_psql('without', 'SELECT count(*) FROM derive.views'), '0', 'nor does CREATE EXTENSION pg_derive declare a view');

# scripts of extensions
SKIP:
{
	skip 'no extension can be added', 2 unless defined $extensions;
	append_to_file("$extensions/with_view.control", "default_version = '1'\nrelocatable = true\n");
	append_to_file("$extensions/with_view--1.sql",
		"CREATE TABLE of_extension (a int);\nCREATE MATERIALIZED VIEW view_of_extension AS SELECT count(*) FROM of_extension;\nCREATE MATERIALIZED VIEW filled_by_extension AS SELECT count(*) FROM of_extension WITH NO DATA;\nREFRESH MATERIALIZED VIEW filled_by_extension;\n");
	($rc, $out, $err) = $node->psql('shop', 'CREATE EXTENSION with_view');
	is("$rc$err", '0', 'an extension with views');
	is($node->safe_psql('shop', q{SELECT count(*) FROM derive.views WHERE view::text LIKE '%extension'}), '0', 'which are its own');
}

# An error that is no refusal ends the command: here a lock that cannot be had.
my $dropping = background($node, db => 'shop');
$dropping->query_safe('SET client_min_messages = warning; BEGIN; DROP EXTENSION pg_derive CASCADE');
($rc, $out, $err) = $psql->('shop', 'maker', q{SET lock_timeout = '100 ms'; CREATE MATERIALIZED VIEW locked AS SELECT count(*) FROM customers});
like($err, qr/ERROR:  canceling statement due to lock timeout/, 'a lock that cannot be had is an error');
$dropping->query_safe('ROLLBACK');
$dropping->quit;
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_class WHERE relname = 'locked'}), '0', 'and there is no view');

# no worker can ever run: the view stays as it is
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->safe_psql('shop', 'DROP EXTENSION pg_derive CASCADE');
$node->safe_psql('without', 'DROP EXTENSION pg_derive CASCADE');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots') or die 'slots';
$node->restart;
$node->safe_psql('without', 'CREATE EXTENSION pg_derive');
($rc, $out, $err) = $node->psql('without', 'CREATE TABLE t (a int); CREATE MATERIALIZED VIEW w AS SELECT count(*) FROM t');
is($rc, 0, 'a view is created where none can be maintained');
like($err, qr/NOTICE:  materialized view "w" is not maintained: pg_derive cannot maintain views on this server yet\nDETAIL:  "wal_level" must be logical/, 'and it is said why');

log_is_clean($node);
$node->stop;
done_testing();
