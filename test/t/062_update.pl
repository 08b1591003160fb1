# ALTER EXTENSION UPDATE: after it the catalogs are what CREATE EXTENSION of the newest version makes
# of them, for each version that can be updated, and maintained views go on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use CatalogTest;
use DeriveTest;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no version can be added to the extensions of the server' unless $ENV{DERIVE_DESTDIR};

# one to which versions can be added
my $shared = $ENV{DERIVE_DESTDIR};
$ENV{DERIVE_DESTDIR} = "$PostgreSQL::Test::Utils::tmp_check/inst";
system('cp', '-a', $shared, $ENV{DERIVE_DESTDIR}) == 0 or die 'cp';

my $node = derive_node('update');
my $folder = $ENV{DERIVE_DESTDIR} . $node->config_data('--sharedir') . '/extension';
my ($newest) = slurp_file("$folder/pg_derive.control") =~ /^default_version = '(.*)'$/m;
my $script = slurp_file("$folder/pg_derive--$newest.sql");

sub version_of
{
	my ($db) = @_;
	return $node->safe_psql($db, q{SELECT extversion FROM pg_extension WHERE extname = 'pg_derive'});
}

# ---- comparing catalogs

# What differs between a database with the newest version and one that was updated to it.
sub differences
{
	my ($from, $newest_catalog) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE updated');
	$node->safe_psql('updated', "CREATE EXTENSION pg_derive VERSION '$from'");
	is(version_of('updated'), $from, "version $from");
	$node->safe_psql('updated', 'ALTER EXTENSION pg_derive UPDATE');
	is(version_of('updated'), $newest, "updated from $from");
	my $catalog = extension_catalog($node, 'updated');
	$node->safe_psql('postgres', 'DROP DATABASE updated');
	return missing_lines($newest_catalog, $catalog) . "\n" . missing_lines($catalog, $newest_catalog);
}

my $catalog = extension_catalog($node, 'postgres');
cmp_ok(scalar(split /\n/, $catalog), '>', 500, 'facts of the newest version');
for my $file (sort glob("$folder/pg_derive--*--*.sql"))
{
	my ($from) = basename($file) =~ /^pg_derive--(.*?)--/;
	next unless -e "$folder/pg_derive--$from.sql";
	is(differences($from, $catalog), "\n", "an update from $from makes the same objects");
}

# The comparison sees what an update script has forgotten.
my @forgotten = (
	[ 'a comment', sub { s/'the maintained views'/'views'/ }, qr/materialized view derive_state\.views: comment: the maintained views/ ],
	[ 'the comment of a column', sub { s/'why it failed'/'why'/ }, qr/column: 4 error .* why it failed$/m ],
	[ 'a type', sub { s/NULL::int8 AS members/NULL::int4 AS members/ }, qr/column: 9 members bigint/ ],
	[ 'an option', sub { s/derive_state\.position WITH \(fillfactor = 10\)/derive_state.position/ }, qr/position"?: relation: m p \{fillfactor=10\}/ ],
	[ 'an index', sub { s/^CREATE INDEX stale_view [^;]*;//m }, qr/stale: index: .*stale_view/ ],
	[ 'a function', sub { $_ .= "DROP FUNCTION derive.health(interval);\n" }, qr{^function derive\.health\(interval\): member: $}m ],
	[ 'a property of a function', sub { s/('derive_check_sql'\s+LANGUAGE C STRICT) VOLATILE/$1 STABLE/ }, qr/check"?\(\): function: / ],
	[ 'a privilege', sub { s/^REVOKE ALL ON derive_state\.views, /GRANT SELECT ON derive_state.views TO PUBLIC;\nREVOKE ALL ON /m }, qr/derive_state\.views: acl: =r/ ]);
my $number = 0;
for my $case (@forgotten)
{
	my ($what, $change, $seen) = @$case;
	my $version = 'forgot' . ++$number;
	local $_ = $script;
	ok($change->(), "$what: forgotten");
	append_to_file("$folder/pg_derive--$version.sql", $_);
	append_to_file("$folder/pg_derive--$version--$newest.sql", "-- nothing\n");
	like(differences($version, $catalog), $seen, "$what: seen");
}

# ---- views go on

# An older version is played by the newest one, taken back by a step.
append_to_file("$folder/pg_derive--$newest--older.sql", q{
ALTER EXTENSION pg_derive DROP FUNCTION derive.version_of_tests(); DROP FUNCTION derive.version_of_tests();
COMMENT ON MATERIALIZED VIEW derive_state.views IS 'older';
});
append_to_file("$folder/pg_derive--older--$newest.sql", q{
CREATE FUNCTION derive.version_of_tests() RETURNS int LANGUAGE sql RETURN 1;
COMMENT ON MATERIALIZED VIEW derive_state.views IS 'the maintained views';
});
load_tables($node);
$node->safe_psql('postgres', q{
SELECT derive.create_view('versions', 'history', '{branches}');
SELECT derive.create_topic('signals', 'n int');
SELECT derive.create_view('seen', 'SELECT count(*), sum(n) FROM signals');
CREATE FUNCTION derive.version_of_tests() RETURNS int LANGUAGE sql RETURN 1;
ALTER EXTENSION pg_derive ADD FUNCTION derive.version_of_tests()});
wait_derived($node, 'built');
my $before = extension_catalog($node, 'postgres');

# Changes, of which the n-th are those of an n-th version.
sub change
{
	my ($n) = @_;
	$node->safe_psql('postgres', qq{
UPDATE accounts SET balance = balance + $n, branch = branch % 7 WHERE id % 50 = $n;
DELETE FROM accounts WHERE id % 90 = $n;
INSERT INTO history (account, delta) SELECT id, $n FROM accounts WHERE id % 40 = $n;
UPDATE branches SET name = name || $n WHERE branch = $n;
SELECT derive.append('signals', '{"n": $n}')});
	return;
}
change(1);
$node->safe_psql('postgres', q{ALTER EXTENSION pg_derive UPDATE TO 'older'});
is(version_of('postgres'), 'older', 'an older version');
isnt(extension_catalog($node, 'postgres'), $before, 'its objects differ');
$node->safe_psql('postgres', q{UPDATE accounts SET balance = balance + 2 WHERE id % 50 = 2; DELETE FROM history WHERE account % 50 = 2; UPDATE branches SET name = 'older' WHERE branch = 2});
# also with a worker that meets it when it starts
$node->restart;
$node->safe_psql('postgres', q{UPDATE accounts SET balance = balance + 3 WHERE id % 50 = 3});
$node->safe_psql('postgres', 'ALTER EXTENSION pg_derive UPDATE');
is(version_of('postgres'), $newest, 'updated');
is(missing_lines($before, extension_catalog($node, 'postgres')), '', 'its objects are back');
change(4);
wait_derived($node, 'views go on');
is($node->safe_psql('postgres', q{SELECT view, state FROM derive.views WHERE state <> 'ready' OR view <> ALL ('{versions, signals}'::regclass[]) AND oracle(view) <> 0}), '', 'every view is ready and equals its query');
is($node->safe_psql('postgres', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', 'derive.verify()');
is($node->safe_psql('postgres', 'TABLE seen'), '2|5', 'each event once');
# of each update of a branch
is($node->safe_psql('postgres', q{SELECT count(*) FROM versions WHERE until IS NOT NULL}), '3', 'versions');
unlike(slurp_file($node->logfile), qr/computed anew|built anew/, 'nothing is computed anew');

log_is_clean($node);
$node->stop;
done_testing();
