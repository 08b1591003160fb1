# ALTER EXTENSION UPDATE: after it the catalogs are what CREATE EXTENSION makes of them, for each
# version that can be updated; and views that were maintained before go on, with the library of
# the new version telling what is to be done until then.
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
# the first version, and what CREATE EXTENSION runs after it
my ($first) = map { /pg_derive--([^-]*)\.sql$/ } glob("$folder/pg_derive--*.sql");
my $script = slurp_file("$folder/pg_derive--$first.sql");

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
my @released = map { /pg_derive--(.*?)--/ } sort glob("$folder/pg_derive--*--*.sql");
cmp_ok(scalar(@released), '>=', 1, 'there is an older version');
is(differences($_, $catalog), "\n", "an update from $_ makes the same objects") foreach @released;

# The comparison sees what an update script has forgotten.
my @forgotten = (
	[ 'a comment', sub { s/'the maintained views'/'views'/ }, qr/materialized view derive_state\.views: comment: the maintained views/ ],
	[ 'the comment of a column', sub { s/'why it failed'/'why'/ }, qr/column: 4 error .* why it failed$/m ],
	[ 'a type', sub { s/NULL::int8 AS members/NULL::int4 AS members/ }, qr/column: 9 members bigint/ ],
	[ 'an option', sub { s/derive_state\.position WITH \(fillfactor = 10\)/derive_state.position/ }, qr/position"?: relation: m p \{fillfactor=10\}/ ],
	[ 'an index', sub { s/^CREATE INDEX stale_view [^;]*;//m }, qr/stale: index: .*stale_view/ ],
	[ 'a function', sub { $_ .= "DROP FUNCTION derive.create_topic;\n" }, qr{^function derive\.create_topic\(.*\): member: $}m ],
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
	append_to_file("$folder/pg_derive--$version--$first.sql", "-- nothing\n");
	like(differences($version, $catalog), $seen, "$what: seen");
}

# ---- views go on

# Statements that make of a database with the newest version one with an older one, whatever is in it: functions that the
# older one does not have are dropped, and others have the definition that they had.  What else a step changes has to
# be undone here as well; otherwise the comparison below fails.
sub steps_back
{
	my ($older) = @_;
	my $functions = q{SELECT jsonb_object_agg(oid::regprocedure, pg_get_functiondef(oid)) FROM pg_proc
		WHERE prokind = 'f' AND oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass
			AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_derive') AND deptype = 'e')};
	my $old = $node->safe_psql($older, $functions);
	my $new = $node->safe_psql('postgres', $functions);
	return $node->safe_psql('postgres', qq{
		SELECT concat_ws(';', coalesce(o.value, format('ALTER EXTENSION pg_derive DROP FUNCTION %s; DROP FUNCTION %1\$s', key)), '')
		FROM jsonb_each_text(\$a\$$old\$a\$) o FULL JOIN jsonb_each_text(\$b\$$new\$b\$) n USING (key) WHERE o.value IS DISTINCT FROM n.value});
}

$node->safe_psql('postgres', "CREATE DATABASE older");
$node->safe_psql('older', "CREATE EXTENSION pg_derive VERSION '$released[-1]'");
my $catalog_of_older = extension_catalog($node, 'older');
my $back = steps_back('older');
isnt($back, '', "version $newest has other functions than $released[-1]");
append_to_file("$folder/pg_derive--$newest--$released[-1].sql", $back);

load_tables($node);
$node->safe_psql('postgres', q{
SELECT derive.create_view('versions', 'history', '{branches}');
SELECT derive.create_topic('signals', 'n int');
SELECT derive.create_view('seen', 'SELECT count(*), sum(n) FROM signals');
-- people may have views over ours, and have granted what is theirs
CREATE ROLE probe;
GRANT EXECUTE ON FUNCTION derive.health TO probe;
CREATE VIEW ill AS SELECT h.problems, v.*, s.batches FROM derive.health() h, derive.views v JOIN derive.stats s USING (view) WHERE NOT h.ok});
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
$node->safe_psql('postgres', "ALTER EXTENSION pg_derive UPDATE TO '$released[-1]'");
is(version_of('postgres'), $released[-1], 'an older version');
my $taken_back = extension_catalog($node, 'postgres');
is(missing_lines($catalog_of_older, $taken_back), '', 'its objects are those of that version');
is(missing_lines($taken_back, $catalog_of_older), join("\n", grep { /derive\.health.*: acl: / } split /\n/, $taken_back), 'and no others');
$node->safe_psql('postgres', q{UPDATE accounts SET balance = balance + 2 WHERE id % 50 = 2; DELETE FROM history WHERE account % 50 = 2; UPDATE branches SET name = 'older' WHERE branch = 2});
# also with a worker that meets it when it starts
my $offset = -s $node->logfile;
$node->restart;
my $says = qr/the SQL objects of extension "pg_derive" are of version \Q$released[-1]\E, the library is of version \Q$newest\E/;
ok($node->wait_for_log(qr/pg_derive worker \w+ ERROR:  $says\n.*HINT:  Run ALTER EXTENSION pg_derive UPDATE;/, $offset), 'the worker says what is to be done');
is($node->safe_psql('postgres', q{SELECT ok, value, needed FROM derive.check() WHERE setting = 'extension version'}), "f|$released[-1]|must be $newest, as the library", 'derive.check()');
for my $query (q{SELECT derive.wait()}, q{SELECT * FROM derive.health()}, q{SELECT * FROM ill})
{
	my ($rc, $out, $err) = $node->psql('postgres', $query);
	like($err, qr/ERROR:  (?:$says|.*\n.*"extension version" must be \Q$newest\E, as the library; it is "\Q$released[-1]\E"\.)\nHINT:  Run ALTER EXTENSION pg_derive UPDATE;/, "so does $query");
}
$node->safe_psql('postgres', q{UPDATE accounts SET balance = balance + 3 WHERE id % 50 = 3});
$node->safe_psql('postgres', 'ALTER EXTENSION pg_derive UPDATE');
is(version_of('postgres'), $newest, 'updated');
is(missing_lines($before, extension_catalog($node, 'postgres')), '', 'its objects are back');
is($node->safe_psql('postgres', q{SELECT has_function_privilege('probe', 'derive.health(interval)', 'EXECUTE'), count(*) FROM ill}), 't|0', 'grants and views of people are still there');
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
