# What was maintained when the database was dumped is maintained where the dump was restored,
# under the settings that it had, whoever restores it and in whichever way.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $oracle = slurp_file("$FindBin::RealBin/../oracle.sql") . q{
-- as the session that declared the view would compare it
CREATE FUNCTION recorded(view regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	item text;
BEGIN
	FOR item IN SELECT unnest(v.settings) FROM derive_state.view_states v WHERE v.view = $1 LOOP
		PERFORM set_config(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1), true);
	END LOOP;
	RETURN rows_that_differ(view);
END $$};
if (my $shared = $ENV{DERIVE_DESTDIR})
{
	# one to which an extension can be added
	$ENV{DERIVE_DESTDIR} = "$PostgreSQL::Test::Utils::tmp_check/inst";
	system('cp', '-a', $shared, $ENV{DERIVE_DESTDIR}) == 0 or die 'cp';
}
my $node = derive_node('restore', extension => 0);
my $file = "$PostgreSQL::Test::Utils::tmp_check/dump";

# ---- what is dumped: declared under settings of a session, by a role with no special rights

$node->safe_psql('postgres', q{
CREATE ROLE maker LOGIN;
CREATE ROLE reader;
CREATE DATABASE shop});
$node->safe_psql('shop', 'CREATE EXTENSION pg_derive; GRANT CREATE ON SCHEMA public TO maker');

sub as_maker
{
	my ($on, $db, $sql) = @_;
	my ($rc, $out, $err) = $on->psql($db, $sql, extra_params => [ '-U', 'maker' ]);
	is($rc, 0, 'as the owner') or diag($err);
	return $out;
}

as_maker($node, 'shop', q{
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL);
CREATE TABLE orders (id int, customer int, amount numeric, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE orders_25 PARTITION OF orders FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2026-01-01 00:00+00');
CREATE TABLE orders_26 PARTITION OF orders FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2027-01-01 00:00+00');
CREATE TABLE clicks (page text, n int);
INSERT INTO customers SELECT n, 'region ' || n % 4 FROM generate_series(1, 40) n;
INSERT INTO orders SELECT n, n % 40, n % 90, timestamptz '2025-09-01 00:30+00' + n * interval '7 hours' FROM generate_series(1, 500) n;
INSERT INTO clicks SELECT 'page ' || n % 9, n FROM generate_series(1, 100) n;
SELECT derive.create_view('per_day', 'SELECT at::date AS day, count(*), sum(amount) FROM orders GROUP BY 1');
CREATE UNIQUE INDEX ON per_day (day);
SELECT derive.create_view('as_text', 'SELECT at::text AS at, to_char(at, ''TZ'') AS tz, count(*) FROM orders GROUP BY 1, 2');
SELECT derive.create_view('best', 'SELECT max(sum) AS best, count(*) FROM per_day');
SELECT derive.create_view('totals', 'SELECT region, count(*) AS n, sum(amount) AS amount FROM orders o JOIN customers c ON c.id = o.customer GROUP BY region');
SELECT derive.create_view('"A ""grand"" one"', 'SELECT sum(n) AS n, max(amount) AS amount FROM totals');
SELECT derive.create_view('pages', 'SELECT DISTINCT page FROM clicks');
SELECT derive.create_view('ratio', 'SELECT id, 1000 / (amount - 1000) AS r FROM orders');
SELECT derive.create_view('over_ratio', 'SELECT count(*) FROM ratio');
SELECT derive.create_view('stopped', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer');
SELECT derive.create_view('later', 'SELECT count(*) FROM orders', with_data => false);
SELECT derive.create_view('versions', 'history', ARRAY['customers'::regclass]);
SELECT derive.create_topic('signals', 'what text, at timestamptz');
SELECT derive.create_view('seen', 'SELECT what, count(*) FROM signals GROUP BY what');
SELECT derive.wait(timeout => '180 s');
CREATE MATERIALIZED VIEW ordinary AS SELECT * FROM totals;
GRANT SELECT ON totals TO reader;
SELECT derive.append('signals', '{"what": "a", "at": "2026-01-01"}'), derive.append('signals', '{"what": "b"}');
SELECT derive.wait(timeout => '180 s');
SELECT derive.pause('stopped');
INSERT INTO orders VALUES (1000, 1, 1000, '2026-05-05 00:00+00')});
$node->poll_query_until('shop', q{SELECT state = 'failed' FROM derive_state.view_states WHERE name = 'ratio'}) or die 'ratio';
wait_derived($node, 'built', 'shop');
$node->safe_psql('shop', 'REFRESH MATERIALIZED VIEW ordinary');

# What a view is when all is said and done: its name, state and settings.
my $maintained = q{SELECT name, CASE WHEN state = 'paused' THEN state ELSE 'moves' END, settings, pg_get_userbyid(relowner)
	FROM derive_state.view_states v JOIN pg_class c ON c.oid = v.view WHERE name <> 'later' ORDER BY 1};
my $labels = q{SELECT objname, label FROM pg_seclabels WHERE provider = 'pg_derive' AND objtype = 'materialized view' ORDER BY 1};
my $same = $node->safe_psql('shop', $maintained);
like($same, qr/^stopped\|paused\|.*TimeZone=Asia\/Tokyo/m, 'views with settings, one of them paused');
my $same_labels = $node->safe_psql('shop', $labels);
is(scalar(split /\n/, $same_labels), 13, 'all of them have labels');
my %rows = map { ($_ => $node->safe_psql('shop', qq{SELECT v::text FROM "$_" v ORDER BY 1})) } ('per_day', 'as_text', 'best', 'totals', 'pages', 'ordinary');
like($rows{as_text}, qr/ JST/, 'rows as the settings say');

# From outside, but for those that are more than their queries; and by derive.verify().
sub exact
{
	my ($on, $db, $label) = @_;
	$on->safe_psql($db, "BEGIN; CREATE SCHEMA oracle; SET LOCAL search_path = oracle; $oracle; COMMIT")
	  if $on->safe_psql($db, q{SELECT to_regproc('oracle.recorded') IS NULL}) eq 't';
	is($on->safe_psql($db, q{SET search_path = public, oracle; SELECT name, recorded(view) FROM derive_state.view_states WHERE name <> ALL ('{versions,signals}') AND recorded(view) <> 0}), '', "$label: every view equals its query");
	is($on->safe_psql($db, 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	is($on->safe_psql($db, q{SELECT name, state, error FROM derive_state.view_states WHERE state <> 'ready'}), '', "$label: every view is ready");
	return;
}

# All of it is there, and moves.
sub check_copy
{
	my ($on, $db, $label) = @_;
	is($on->safe_psql($db, $maintained), $same, "$label: the same views are maintained");
	is($on->safe_psql($db, $labels), $same_labels, "$label: they have the same labels");
	# nothing has changed there yet
	is($on->safe_psql($db, qq{SELECT v::text FROM "$_" v ORDER BY 1}), $rows{$_}, "$label: rows of $_") for sort keys %rows;
	wait_derived($on, "$label: built", $db);
	is($on->safe_psql($db, qq{SELECT v::text FROM "$_" v ORDER BY 1}), $rows{$_}, "$label: rows of $_ from its derivation") for sort keys %rows;
	is($on->safe_psql($db, q{SELECT name, error FROM derive_state.view_states WHERE state = 'failed' ORDER BY 1}),
		qq{over_ratio|it reads view "ratio", which could not be built\nratio|division by zero}, "$label: what had failed has failed");
	is($on->safe_psql($db, q{SELECT sum(n) FROM stopped}), '501', "$label: a paused view has data");
	is($on->safe_psql($db, q{SELECT has_table_privilege('reader', 'totals', 'SELECT')}), 't', "$label: and rights");
	as_maker($on, $db, q{
INSERT INTO orders SELECT n, n % 40, 7, timestamptz '2026-01-01 12:00+00' + n % 300 * interval '1 hour' FROM generate_series(2000, 2100) n;
UPDATE orders SET amount = 3 WHERE id % 3 = 0 OR amount = 1000;
UPDATE customers SET region = 'elsewhere' WHERE id % 5 = 0;
DELETE FROM orders WHERE id % 7 = 0;
DELETE FROM clicks WHERE page = 'page 3';
SELECT derive.append('signals', '{"what": "c"}'), derive.append('signals', '{"what": "c"}');
REFRESH MATERIALIZED VIEW later});
	is($on->safe_psql($db, q{SELECT sum(n) FROM stopped}), '501', "$label: it stays paused");
	as_maker($on, $db, q{SELECT derive.resume('stopped')});
	# by itself after a while; this is sooner
	as_maker($on, $db, q{DO $$ BEGIN FOR i IN 1 .. 600 LOOP
		PERFORM derive.resume(view) FROM derive.views WHERE state = 'failed'; COMMIT;
		PERFORM derive.wait(timeout => '1 s'); COMMIT;
		EXIT WHEN NOT EXISTS (SELECT FROM derive.views WHERE state <> 'ready');
	END LOOP; END $$});
	wait_derived($on, "$label: changed", $db);
	exact($on, $db, $label);
	is($on->safe_psql($db, 'TABLE seen'), 'c|2', "$label: the topic has the events that come");
	is($on->safe_psql($db, q{SELECT count(*) FILTER (WHERE until IS NULL), count(*) FILTER (WHERE until IS NOT NULL) FROM versions}), '40|8', "$label: the history goes on");
	return;
}

sub fresh_copy
{
	$node->safe_psql('postgres', $_) for ('DROP DATABASE IF EXISTS copy', 'CREATE DATABASE copy ' . ($_[0] // ''));
	return;
}

# For who restores without REFRESH, which is in neither a dump with -s nor one with -a.
my $refresh = join '; ', map { "REFRESH MATERIALIZED VIEW $_" }
  ('per_day', 'as_text', 'best', 'totals', '"A ""grand"" one"', 'pages', 'ratio', 'over_ratio', 'stopped', 'versions', 'signals', 'seen', 'ordinary');

# ---- in all ways

my @script = ('psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('copy'));
my @archive = ('pg_restore', '-e', '-d', $node->connstr('copy'));
my @dump = ('pg_dump', '-d', $node->connstr('shop'));
$node->command_ok([ @dump, '-f', "$file.sql" ], 'pg_dump');
$node->command_ok([ @dump, '-Fc', '-f', "$file.c" ], 'pg_dump -Fc');
$node->command_ok([ @dump, '-Fd', '-j', '2', '-f', "$file.d" ], 'pg_dump -Fd -j');
$node->command_ok([ @dump, '-s', '-f', "$file.schema.sql" ], 'pg_dump -s');
$node->command_ok([ @dump, '-a', '-f', "$file.data.sql" ], 'pg_dump -a');
for my $restore (
	[ 'psql', [ @script, '-f', "$file.sql" ] ],
	[ 'psql -1', [ @script, '-1', '-f', "$file.sql" ] ],
	[ 'pg_restore', [ @archive, "$file.c" ] ],
	[ 'pg_restore -1', [ @archive, '-1', "$file.c" ] ],
	[ 'pg_restore -j', [ @archive, '-j', '4', "$file.d" ] ],
	[ 'schema, data', [ @script, '-f', "$file.schema.sql" ], [ @script, '-f', "$file.data.sql" ], [ @script, '-c', $refresh ] ],
	[ 'sections', map { [ @archive, "--section=$_", "$file.c" ] } ('pre-data', 'data', 'post-data') ])
{
	my ($label, @steps) = @$restore;
	fresh_copy();
	$node->command_ok($_, $label) for @steps;
	check_copy($node, 'copy', $label);
}

# over what is there, and was changed; of a partition's key pg_dump wants more than can be
$node->command_ok([ @dump, '--clean', '--if-exists', '-f', "$file.clean.sql" ], 'pg_dump --clean');
for my $restore ([ 'pg_restore --clean', 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr('copy'), "$file.c" ],
	[ 'pg_dump --clean', 'psql', '-qX', '-o', '/dev/null', '-d', $node->connstr('copy'), '-f', "$file.clean.sql" ])
{
	my ($label, @step) = @$restore;
	my ($out, $err) = run_command(\@step);
	is(join("\n", grep { !/cannot drop inherited constraint "orders_2._pkey"/ } $err =~ /^(.*ERROR: .*)$/mg), '', $label);
	check_copy($node, 'copy', $label);
}

# A dump of what was restored is the same.
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$file.again", $node->connstr('copy') ], 'dumped again');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('again'), "$file.again" ], 'restored again');
wait_derived($node, 'restored again', 'again');
exact($node, 'again', 'restored again');
is($node->safe_psql('again', q{SELECT count(*) FROM derive_state.view_states}), '13', 'all of them');
$node->safe_psql('postgres', 'DROP DATABASE again');

# the schema with the REFRESH that is a part of it for pg_restore, before there are data
fresh_copy();
$node->command_ok([ @archive, '-s', "$file.c" ], 'pg_restore -s');
$node->command_ok([ @archive, '-a', "$file.c" ], 'pg_restore -a');
wait_derived($node, 'data after REFRESH', 'copy');
as_maker($node, 'copy', q{DELETE FROM orders WHERE id = 1000; SELECT derive.resume(view) FROM derive.views WHERE state IN ('failed', 'paused')});
wait_derived($node, 'data after REFRESH, all views', 'copy');
exact($node, 'copy', 'data after REFRESH');

# under settings of its own, by somebody with no more rights than an owner has, over what is there
fresh_copy('OWNER maker');
$node->safe_psql('copy', 'CREATE EXTENSION pg_derive; GRANT CREATE ON SCHEMA public TO maker');
my $connection = sprintf 'host=%s port=%s dbname=copy user=maker', $node->host, $node->port;
my @tables = map { ('-t', $_) } ('customers', 'orders', 'orders_25', 'orders_26', 'per_day', 'totals', 'as_text');
$node->command_ok([ @dump, '-Fc', @tables, '-f', "$file.some" ], 'pg_dump of some');
{
	local $ENV{PGOPTIONS} = '-c TimeZone=America/New_York -c DateStyle=German';
	$node->command_ok([ 'pg_restore', '-e', '-x', '-O', '-d', $connection, "$file.some" ], 'some tables and views, by their owner');
}
my $some = $same =~ s/^(?!per_day|totals|as_text)[^\n]*\n?//mgr =~ s/\n$//r;
is($node->safe_psql('copy', $maintained), $some, 'they are maintained');
is($node->safe_psql('copy', 'SELECT v::text FROM as_text v ORDER BY 1'), $rows{as_text}, 'and have rows as their settings say');
as_maker($node, 'copy', q{UPDATE orders SET amount = amount + 1, at = at + interval '1 hour' WHERE id % 3 = 0; DELETE FROM customers WHERE id % 7 = 0});
wait_derived($node, 'by their owner', 'copy');
exact($node, 'copy', 'by their owner');

# one view, beside the one that it was
$node->safe_psql('copy', 'ALTER MATERIALIZED VIEW totals RENAME TO totals_before; DROP INDEX IF EXISTS totals_derive_idx');
$node->command_ok([ @dump, '-t', 'totals', '-f', "$file.one" ], 'pg_dump -t');
my $one = slurp_file("$file.one");
my ($index) = $one =~ /INDEX (\S+) ON public\.totals /;
$node->safe_psql('copy', qq{ALTER INDEX IF EXISTS $index RENAME TO of_before}) if defined $index;
$node->command_ok([ @script, '-f', "$file.one" ], 'one view');
wait_derived($node, 'beside the original', 'copy');
is($node->safe_psql('copy', q{SELECT string_agg(name, ' ' ORDER BY name) FROM derive_state.view_states}), 'as_text per_day totals totals_before', 'both are maintained');
$node->safe_psql('copy', q{UPDATE customers SET region = 'moved' WHERE id < 20});
wait_derived($node, 'beside the original, changed', 'copy');
exact($node, 'copy', 'beside the original');

# a copy by template
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE copy');
wait_derived($node, 'clone', 'clone');
exact($node, 'clone', 'clone');
$node->safe_psql('postgres', 'DROP DATABASE clone');

# Views that the scripts of extensions make are declared by these.
SKIP:
{
	skip 'no extension can be added', 7 unless $ENV{DERIVE_DESTDIR};
	my $extensions = $ENV{DERIVE_DESTDIR} . $node->config_data('--sharedir') . '/extension';
	append_to_file("$extensions/restore_test.control", "default_version = '1'\nrequires = 'pg_derive'\n");
	append_to_file("$extensions/restore_test--1.sql",
		"CREATE TABLE of_extension (a int PRIMARY KEY);\nSELECT derive.create_view('view_of_extension', 'SELECT count(*) FROM of_extension');\n");
	$node->safe_psql('postgres', 'CREATE DATABASE extended');
	$node->safe_psql('extended', q{SET TimeZone = 'Asia/Tokyo'; CREATE EXTENSION restore_test CASCADE});
	wait_derived($node, 'extension', 'extended');
	$node->command_ok([ 'pg_dump', '-f', "$file.extended", $node->connstr('extended') ], 'pg_dump of an extension with views');
	fresh_copy();
	$node->command_ok([ @script, '-f', "$file.extended" ], 'restored');
	wait_derived($node, 'restored extension', 'copy');
	exact($node, 'copy', 'restored extension');
	is($node->safe_psql('copy', q[SELECT substr(label, strpos(label, '{'))::text[] = settings FROM pg_seclabels JOIN derive_state.view_states ON objoid = view WHERE provider = 'pg_derive']), 't', 'its label is that of the declaration');
	$node->safe_psql('postgres', 'DROP DATABASE extended');
}

# ---- into another server

# all databases, with their roles
$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->safe_psql('postgres', 'CREATE DATABASE workshop');
$node->safe_psql('workshop', q{CREATE EXTENSION pg_derive; CREATE TABLE tools (name text PRIMARY KEY); INSERT INTO tools VALUES ('saw'), ('plane');
SELECT derive.create_view('all_tools', 'SELECT count(*) FROM tools')});
wait_derived($node, 'another database', 'workshop');
$node->command_ok([ 'pg_dumpall', '-f', "$file.all", '-d', $node->connstr('postgres') ], 'pg_dumpall');
my $other = derive_node('other', extension => 0);
my $me = $node->safe_psql('postgres', 'SELECT current_user');
my $all = slurp_file("$file.all") =~ s/^(CREATE|ALTER) ROLE "?\Q$me\E"?\b[^\n]*\n//mgr;
append_to_file("$file.others", $all);
$other->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $other->connstr('postgres'), '-f', "$file.others" ], 'into a new cluster');
check_copy($other, 'shop', 'pg_dumpall');
$other->safe_psql('workshop', q{INSERT INTO tools VALUES ('file')});
wait_derived($other, 'pg_dumpall: another database', 'workshop');
is($other->safe_psql('workshop', 'TABLE all_tools'), '3', 'pg_dumpall: its view');

# No place for the database: it is said, the restore goes on, and a REFRESH makes another attempt.
$other->append_conf('postgresql.conf', 'pg_derive.max_databases = 1');
$other->restart;
$other->poll_query_until('shop', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pg_derive worker'}) or die 'worker';
$other->safe_psql('postgres', 'CREATE DATABASE crowded');
my ($out, $err) = run_command([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $other->connstr('crowded'), '-f', "$file.sql" ]);
like($err, qr/WARNING:  materialized view "per_day" is not maintained: .*\n(?:.*\n)*?.*HINT: .*Call derive\.maintain\(\) for the view once that is mended\./, 'views for which there is no place');
is($other->safe_psql('crowded', 'SELECT count(*) FROM derive_state.view_states'), '0', 'none is maintained');
is($other->safe_psql('crowded', 'SELECT v::text FROM as_text v ORDER BY 1'), $rows{as_text}, 'they have rows as their settings say');
$other->append_conf('postgresql.conf', 'pg_derive.max_databases = 4');
$other->restart;
as_maker($other, 'crowded', q{REFRESH MATERIALIZED VIEW totals; SELECT derive.maintain('per_day')});
wait_derived($other, 'later', 'crowded');
is($other->safe_psql('crowded', $maintained), $same =~ s/^(?!per_day|totals)[^\n]*\n?//mgr =~ s/\n$//r, 'maintained later, under the same settings');
exact($other, 'crowded', 'later');
log_is_clean($other);
$other->stop;

# Where the library is there but not loaded at the start, labels are taken, and serve later.
my $idle = derive_node('idle', extension => 0, preload => 0);
$idle->safe_psql('postgres', 'CREATE ROLE maker LOGIN; CREATE ROLE reader; CREATE DATABASE copy');
run_command([ 'psql', '-X', '-o', '/dev/null', '-d', $idle->connstr('copy'), '-f', "$file.sql" ]);
is($idle->safe_psql('copy', qq{SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SELECT v::text FROM "$_" v ORDER BY 1}), $_ eq 'as_text' ? $idle->safe_psql('copy', 'SELECT v::text FROM as_text v ORDER BY 1') : $rows{$_}, "readable: $_") for ('totals', 'pages', 'ordinary');
is($idle->safe_psql('copy', $labels), $same_labels, 'labels are kept');
$idle->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$idle->restart;
as_maker($idle, 'copy', q{DELETE FROM orders WHERE id = 1000});
$idle->safe_psql('copy', $refresh);
is($idle->safe_psql('copy', $maintained), $same, 'REFRESH makes them what they were');
$idle->safe_psql('copy', q{SELECT derive.resume('stopped')});
wait_derived($idle, 'taken over later', 'copy');
exact($idle, 'copy', 'taken over later');
log_is_clean($idle);
$idle->stop;

# A server that knows nothing of pg_derive: the views are ordinary ones.
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->start;
$bare->safe_psql('postgres', 'CREATE ROLE maker LOGIN; CREATE ROLE reader; CREATE DATABASE copy');
my @ordinary = map { ('-t', $_) } ('customers', 'orders', 'orders_25', 'orders_26', 'clicks', 'per_day', 'totals', 'pages', 'stopped', 'best');
$node->command_ok([ @dump, @ordinary, '-f', "$file.bare" ], 'pg_dump of ordinary views');
($out, $err) = run_command([ 'psql', '-X', '-o', '/dev/null', '-d', $bare->connstr('copy'), '-f', "$file.bare" ]);
is(join("\n", map { s/^\S+ //r } grep { /ERROR/ } split /\n/, $err), join("\n", ('ERROR:  security label provider "pg_derive" is not loaded') x 5), 'one error for each label, and no other');
$bare->safe_psql('postgres', 'DROP DATABASE copy; ');
$bare->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ @dump, @ordinary, '--no-security-labels', '-f', "$file.plain" ], 'pg_dump --no-security-labels');
$bare->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $bare->connstr('copy'), '-f', "$file.plain" ], 'and none without labels');
is($bare->safe_psql('copy', qq{SELECT v::text FROM $_ v ORDER BY 1}), $rows{$_}, "readable: $_") for ('totals', 'pages');
$bare->stop;

log_is_clean($node);
$node->stop;
done_testing();
